"""One cell: a turn of a session, folded into a transcript, drawn on a canvas."""

from __future__ import annotations

import asyncio
from typing import Any

from alloy_nb.engine.run import Result, Run, RunStatus
from alloy_nb.engine.sessions.session import Session
from alloy_nb.notebook.canvas import Canvas
from alloy_nb.notebook.transcript import Transcript

__all__ = ["run_cell"]

STOPPED = "Stopped. What was said so far is kept, and you can go on."


async def run_cell(
    session: Session,
    prompt: str,
    *,
    transcript: Transcript,
    canvas: Canvas,
    settings: dict[str, Any],
) -> Result:
    """Take a turn and draw it as it happens.

    However the turn ends, the last frame shows all of it. A cancellation stops the turn, waits
    until its connection is closed, and is raised again.
    """
    run: Run | None = None
    seen = 0
    canvas.before = session.flush  # what is shown outlives the kernel
    canvas.mark()
    try:
        async with session.start(prompt, **settings) as run:
            for note in run.notes:
                transcript.notice("info", note)
            if run.replays is not None:
                transcript.replayed()
            async for count in run.batches():
                seen = _apply(run, transcript, seen, count)
                canvas.mark()
            result = await run.result()
        if result.status is RunStatus.CANCELLED:
            transcript.stopped(STOPPED)
        return result
    except asyncio.CancelledError:
        if run is not None:
            _apply(run, transcript, seen, len(run.events))
        transcript.stopped(STOPPED)
        raise
    finally:
        canvas.finish()


def _apply(run: Run, transcript: Transcript, seen: int, count: int) -> int:
    for event in run.events[seen:count]:
        transcript.apply(event)
    return count

"""One cell: a turn of a session, folded into a transcript, drawn on a canvas."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from alloy_nb.engine.agent import Prompt
from alloy_nb.engine.run import Result, Run, RunStatus
from alloy_nb.engine.sessions.session import Session
from alloy_nb.events import Delegated, RunFinished, ToolFinished
from alloy_nb.notebook.approval.rules import current_approver
from alloy_nb.notebook.approval.stage import Stage, current_stage
from alloy_nb.notebook.drawing.canvas import Canvas
from alloy_nb.notebook.drawing.transcript import Transcript
from alloy_nb.notebook.kernel.images import SHOWN
from alloy_nb.notebook.kernel.namespace import Names, told

__all__ = ["run_cell"]

STOPPED = "Stopped. What was said so far is kept, and you can go on."


async def run_cell(
    session: Session,
    prompt: Prompt,
    *,
    transcript: Transcript,
    canvas: Canvas,
    settings: dict[str, Any],
    begun: Callable[[], object] = lambda: None,
    names: Names | None = None,
) -> Result:
    """Take a turn and draw it as it happens.

    It calls `begun` when it has the turn. However that ends, the last frame shows all of it. A
    cancellation stops the turn, waits until its connection is closed, and is raised again.
    """
    run: Run | None = None
    seen = 0
    if names is not None:
        names.begin(session.id)

    def apply(run: Run, count: int) -> int:
        for event in run.events[seen:count]:
            if isinstance(event.body, RunFinished):
                _tell_names(names, session, transcript)
            transcript.apply(event)
            inner = event.body
            while isinstance(inner, Delegated):
                inner = inner.event.body
            if isinstance(inner, ToolFinished) and inner.data == SHOWN:
                transcript.card(inner.call).images = ()  # they are outputs of their own
        return count

    canvas.before = session.flush  # what is shown outlives the kernel
    canvas.mark()
    current_stage.set(Stage(transcript, canvas))  # of this task, which ends with the cell
    current_approver.set(settings.get("approve"))
    try:
        async with session.start(prompt, **settings) as run:
            begun()
            transcript.events = run.events
            for note in run.notes:
                transcript.notice("info", note)
            if run.replays is not None:
                transcript.replayed()
            async for count in run.batches():
                seen = apply(run, count)
                canvas.mark()
            result = await run.result()
        if result.status is RunStatus.CANCELLED:
            transcript.stopped(STOPPED)
        return result
    except asyncio.CancelledError:
        if run is not None:
            seen = apply(run, len(run.events))
        transcript.stopped(STOPPED)
        raise
    finally:
        canvas.finish()


def _tell_names(names: Names | None, session: Session, transcript: Transcript) -> None:
    """Say above the footer what the turn did to the variables."""
    changes = names.ended(session.id) if names is not None else []
    if changes:
        transcript.notice("names", told(changes))

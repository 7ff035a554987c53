"""What a front end asked for, done in the order in which it was asked.

Each message's work has a thread of its own, since some of it takes long. So that a model that was
chosen answers the prompt that was sent right after it, work begins when all before it is done, and
a prompt waits for what came before it. Work that asks something itself, as ``/fix`` does, counts as
done from there on: its prompt stands in the line, and it waits for the answer.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import ContextVar

from alloy_nb.engine import portal
from alloy_nb.engine.calls.workers import in_thread

__all__ = ["Order"]

Step = Future[None]

_own: ContextVar[Step | None] = ContextVar("alloy_panel_step", default=None)
"""The step that the running code is."""


class Order:
    """The steps of one panel."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: Step | None = None

    def begin(self, function: Callable[[], object], *, after: bool = True) -> None:
        """Call a function on a thread, where it is wanted `after` all that came before."""
        step: Step = Future()
        with self._lock:
            before = self._last if after else None
            if after:
                self._last = step

        def work() -> None:
            _own.set(step)
            try:
                function()
            finally:
                _done(step)

        async def begin() -> None:
            await _over(before)
            await in_thread(work)

        portal.spawn(begin())

    @property
    def is_busy(self) -> bool:
        """Whether something that came before is not done yet."""
        last = self._last
        return last is not None and not last.done()

    def release(self) -> None:
        """Let what comes next begin; called by the step that is running, if one is."""
        own = _own.get()
        if own is not None:
            _done(own)


async def _over(step: Step | None) -> None:
    """Wait until a step is done; who stops waiting does not stop it."""
    if step is not None and not step.done():
        await asyncio.shield(asyncio.wrap_future(step))


def _done(step: Step) -> None:
    if not step.done():
        step.set_result(None)

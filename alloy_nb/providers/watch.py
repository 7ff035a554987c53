"""The end of a reply on which nothing moves."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from alloy_nb.errors import TimedOut

if TYPE_CHECKING:
    from alloy_nb.providers.http import Call

__all__ = ["Watch"]


class Watch:
    """Ends a reply on which nothing moves, or which passes its deadline.

    One timer a reply instead of one a chunk. It cancels the task that reads, and only while it
    reads: a consumer that takes its time over an event is not the vendor's delay.
    """

    def __init__(self, call: Call) -> None:
        self.moved = time.monotonic()
        self.reading = False
        self.begun = False
        self.fired = False
        self._call = call
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._left(), self._look)

    def stop(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def error(self) -> TimedOut:
        """Return what was the matter with the reply that was ended."""
        call = self._call
        if self._task is not None:
            self._task.uncancel()  # it was asked for here, and it ends here
        late = call.deadline is not None and time.monotonic() >= call.deadline
        what = (
            "did not finish within the time that the run had"
            if late
            else f"sent nothing new for {call.progress_seconds:g} seconds"
        )
        return TimedOut(
            f"{call.provider} {what}, so the request was closed. Ask again, or raise timeout=.",
            provider=call.provider,
            model=call.model,
        )

    def _left(self) -> float:
        now = time.monotonic()
        left = self.moved + self._call.progress_seconds - now
        if self._call.deadline is not None:
            left = min(left, self._call.deadline - now)
        return left

    def _look(self) -> None:
        left = self._left()
        if left <= 0 and self.reading and self._task is not None:
            self.fired = True
            self._task.cancel()
            return
        # A consumer that is slow is looked at again soon.
        self._timer = self._loop.call_later(max(left, 0.05), self._look)

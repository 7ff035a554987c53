"""What the saved notebook shows of a panel: the conversation, drawn into the panel's own output.

It is shown anew after each turn, all of it each time. So that a long conversation does not fill the
line, and the notebook's file, with itself, only its newest turns are shown, and it is shown anew
the more rarely the larger it is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from alloy_nb.notebook.drawing.canvas import Clock, Timer
from alloy_nb.notebook.drawing.conversation import Said, conversation
from alloy_nb.notebook.drawing.render import Bundle

__all__ = ["Saved", "saved"]

# Of all three forms together, in characters.
_MOST = 400_000
# So many bytes a second may be spent on it, after so many at once.
_RATE = 20_000.0
_BURST = 800_000.0
_REST = 1.0


def saved(turns: Sequence[Said], *, earlier: int = 0, panel: str = "") -> Bundle:
    """Draw as many of the newest turns as a notebook should hold; as `conversation`."""
    size, kept = 0, 0
    for turn in reversed(turns):
        size += turn.size
        if kept and size > _MOST:
            break
        kept += 1
    left = earlier + len(turns) - kept
    return conversation(turns[len(turns) - kept :], earlier=left, panel=panel)


class Saved:
    """Shows the conversation anew some time after it has changed, or with the end of a cell.

    Args:
        clock: The loop on which time passes.
        show: Shows it, and returns how many bytes that took.
    """

    def __init__(self, clock: Clock, show: Callable[[], int]) -> None:
        self._clock = clock
        self._show = show
        self._lock = threading.Lock()
        self._is_due = False
        self._timer: Timer | None = None
        self._credit = _BURST
        self._counted = clock.time()

    def mark(self) -> None:
        """Note that it has changed; on the loop's thread."""
        self._is_due = True
        if self._timer is None:
            lacking = -(self._credit + _RATE * (self._clock.time() - self._counted))
            self._timer = self._clock.call_later(max(_REST, lacking / _RATE), self._ring)

    def now(self) -> None:
        """Show it now if it has changed, and was not shown too often; on any thread."""
        with self._lock:
            if not self._is_due:
                return
            now = self._clock.time()
            credit = min(_BURST, self._credit + _RATE * (now - self._counted))
            if credit < 0:
                return  # the timer comes when there is enough
            self._is_due = False
            self._credit, self._counted = credit - self._show(), now

    def close(self) -> None:
        """Show nothing more; on any thread."""
        self._is_due = False

    def _ring(self) -> None:
        self._timer = None
        self.now()
        if self._is_due:
            self.mark()

"""A line about work under way: drawn again in its place, and readable in a saved notebook.

In a notebook it is one output that is updated; a terminal writes the line over itself, and what is
no terminal gets the last form alone.
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable

from alloy_nb.markup.plain import one_line
from alloy_nb.notebook.drawing.canvas import Publish, publish_to_ipython
from alloy_nb.notebook.drawing.render import render_line

__all__ = ["Bar", "TerminalBar", "bar_for"]

_FRAME = 0.25
_WIDEST = 160


class Bar:
    """A line in an output of a notebook.

    Args:
        publish: Shows an output; `publish_to_ipython` in earnest.
        clock: Seconds, as `time.monotonic`.
    """

    def __init__(
        self, publish: Publish = publish_to_ipython, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._publish = publish
        self._clock = clock
        self._id = f"alloy-{uuid.uuid4().hex[:16]}"
        self._next = 0.0
        self._shown: dict[str, object] | None = None

    def show(self, text: str, *, last: bool = False) -> None:
        """Show a text in the place of the one before; not more than four times a second."""
        now = self._clock()
        if now < self._next and not last and self._shown is not None:
            return
        data = render_line(text, live=not last).mimebundle()
        if data == self._shown:
            return
        self._next = now + _FRAME
        self._publish(data, display_id=self._id, update=self._shown is not None, metadata={})
        self._shown = data


class TerminalBar(Bar):
    """A line in a terminal.

    Args:
        write: Takes text; by default standard output.
        is_terminal: Whether a line can be written over itself.
    """

    def __init__(
        self,
        write: Callable[[str], object] | None = None,
        *,
        is_terminal: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(clock=clock)
        self._write = write or _to_stdout
        self._is_live = sys.stdout.isatty() if is_terminal is None else is_terminal

    def show(self, text: str, *, last: bool = False) -> None:
        """Write a text over the one before."""
        now = self._clock()
        if not last and (now < self._next or not self._is_live):
            return
        self._next = now + _FRAME
        line = one_line(text, _WIDEST)
        over = "\r\x1b[K" if self._is_live else ""
        self._write(f"{over}{line}" + ("\n" if last else ""))


def bar_for(shell: object) -> Bar:
    """Return the bar that suits an IPython shell."""
    return Bar() if hasattr(shell, "kernel") else TerminalBar()


def _to_stdout(text: str) -> None:
    print(text, end="", flush=True)  # noqa: T201  # a terminal is what this is for

"""Several answers at once, drawn beside each other in one output.

A live frame shows the end of each answer, so that its size does not grow with them, and frames are
paced by the bytes that they send, as those of `canvas` are. The last frame shows all of it.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence

from alloy_nb.notebook.drawing.canvas import Clock, Publish, Timer, publish_to_ipython
from alloy_nb.notebook.drawing.render import (
    Bundle,
    combine,
    render,
    render_phase,
    render_text,
    side_by_side,
)
from alloy_nb.notebook.drawing.segments import Segment, TextSegment, is_done
from alloy_nb.notebook.drawing.terminal import TerminalCanvas
from alloy_nb.notebook.drawing.transcript import Transcript

__all__ = ["Column", "Columns", "columns_for"]

_FRAME = 0.1
_RATE = 22_000.0  # bytes a second, as on any canvas
_LIVE = 1_500  # characters of an answer that a live frame shows


class Column:
    """The canvas of one answer: what it has to say, the others draw too."""

    def __init__(self, title: str, transcript: Transcript, columns: Columns) -> None:
        self.title = title
        self.transcript = transcript
        self.before: Callable[[], object] = lambda: None
        self.done = False
        self._columns = columns
        self._began = time.monotonic()

    def mark(self) -> None:
        """Note that there is something new."""
        self._columns.mark()

    def finish(self) -> None:
        """Note that the turn is over; an error may still be said."""
        self.before()
        self.mark()

    def close(self) -> None:
        """Note that nothing more is coming."""
        self.done = True
        self._columns.finished(self)

    def bundle(self, *, live: bool) -> Bundle:
        """Draw the answer as it is."""
        look = self.transcript.look
        shown = [segment for segment in self.transcript.segments if look.shows(segment)]
        parts = [self._part(segment, live=live) for segment in shown]
        if not self.done and self.transcript.idle:
            parts.append(render_phase(self.transcript.phase_after(time.monotonic() - self._began)))
        parts = [part for part in parts if part.plain.strip()]
        return combine(parts) if parts else render_phase("no answer")

    def _part(self, segment: Segment, *, live: bool) -> Bundle:
        open_ = live and not is_done(segment)
        look = self.transcript.look
        if live and isinstance(segment, TextSegment) and look.form in ("md", "code"):
            text = segment.recent(_LIVE)
            cut = "… " if segment.length > len(text) else ""
            return render_text(cut + text, live=open_)
        return render(segment, live=open_, look=look)


class Columns:
    """Answers beside each other, in an output of a notebook.

    Args:
        publish: Shows an output; `publish_to_ipython` in earnest.
        clock: The loop; by default the one that runs when something is first marked.
    """

    def __init__(self, publish: Publish, *, clock: Clock | None = None) -> None:
        self.columns: list[Column] = []
        self._publish = publish
        self._clock = clock
        self._id = f"alloy-{uuid.uuid4().hex[:16]}"
        self._shown: dict[str, str] | None = None
        self._timer: Timer | None = None
        self._marked = False
        self._next = 0.0
        self._closed = False

    def column(self, title: str, transcript: Transcript) -> Column:
        """Return the canvas of one more answer."""
        column = Column(title, transcript, self)
        self.columns.append(column)
        return column

    def mark(self) -> None:
        """Note that there is something new; the next frame shows it."""
        if self._marked or self._closed:
            return
        self._marked = True
        if self._timer is not None:
            self._timer.cancel()
        if self._clock is None:
            self._clock = asyncio.get_running_loop()
        self._later(self._next - self._clock.time())

    def finished(self, column: Column) -> None:  # noqa: ARG002  # a terminal needs to know whose
        """Hear that an answer is whole."""
        self.mark()

    def finish(self) -> None:
        """Draw all of it; afterwards nothing is drawn."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._draw(live=False)

    def _frame(self) -> None:
        self._timer, self._marked = None, False
        if self._closed or self._clock is None:
            return
        begin = self._clock.time()
        sent = self._draw(live=True)
        now = self._clock.time()
        # Half of the loop's time is left to others, however slow the answers are to draw.
        self._next = now + max(_FRAME, sent / _RATE, now - begin)
        if not all(column.done for column in self.columns):
            self._later(max(1.0, self._next - now))  # the reader sees that time passes

    def _draw(self, *, live: bool) -> int:
        for column in self.columns:
            column.before()
        drawn = side_by_side([(c.title, c.bundle(live=live)) for c in self.columns])
        data = drawn.mimebundle()
        if data == self._shown:
            return 0
        self._publish(data, display_id=self._id, update=self._shown is not None, metadata={})
        self._shown = data
        return sum(len(text.encode()) for text in data.values())

    def _later(self, delay: float) -> None:
        if self._clock is not None:
            self._timer = self._clock.call_later(max(0.0, delay), self._frame)


class _Stacked(Columns):
    """Answers below each other in a terminal, each when it is whole."""

    def __init__(self, write: Callable[[str], object] | None = None) -> None:
        super().__init__(publish_to_ipython)
        self._write = write

    def mark(self) -> None:
        """Do nothing: a terminal keeps what it was sent, and two answers would mix."""

    def finished(self, column: Column) -> None:
        """Write an answer."""
        canvas = TerminalCanvas(column.transcript, self._write)
        canvas.line(f"── {column.title} ──")
        canvas.finish()

    def finish(self) -> None:
        """Do nothing: all is written."""


def columns_for(shell: object, titles: Sequence[str]) -> Columns:
    """Return what draws answers in an IPython shell."""
    if hasattr(shell, "kernel"):
        return Columns(publish_to_ipython)
    print(f"Asking {', '.join(titles)} …")  # noqa: T201  # a terminal shows nothing until one is whole
    return _Stacked()

"""A transcript, written to a plain IPython terminal as it comes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from alloy_nb.markup.plain import clean, settled
from alloy_nb.notebook.drawing.render import render, render_text
from alloy_nb.notebook.drawing.segments import Segment, TextSegment, ThinkingSegment, is_done
from alloy_nb.notebook.drawing.transcript import Transcript

__all__ = ["TerminalCanvas"]

_DIM, _RESET = "\x1b[2m", "\x1b[0m"


class TerminalCanvas:
    """Writes an answer as it comes, and one line for everything else.

    A terminal keeps what it was sent, so nothing is drawn twice. The only control sequences are
    ours.

    Args:
        transcript: What to draw.
        write: Takes text; by default standard output.
        colour: Whether lines about the run are dimmed; by default where a terminal shows it, and
            ``NO_COLOR`` does not forbid it.
    """

    def __init__(
        self,
        transcript: Transcript,
        write: Callable[[str], object] | None = None,
        *,
        colour: bool | None = None,
    ) -> None:
        self.before: Callable[[], object] = lambda: None
        self._transcript = transcript
        self._write = write or _to_stdout
        self._colour = _shows_colour() if colour is None else colour
        self._written: set[int] = set()
        self._read = 0
        self._held = ""
        self._column = 0
        self._closed = False

    def mark(self) -> None:
        """Write what is new and will not change."""
        if not self._closed:
            self._advance(final=False)

    def finish(self) -> None:
        """Write the rest."""
        if not self._closed:
            self._advance(final=True)
            self._break()
            self._closed = True

    def line(self, text: str) -> None:
        """Write a line of ours."""
        self._line(text)

    def _advance(self, *, final: bool) -> None:
        self.before()
        for segment in self._transcript.segments:
            if id(segment) in self._written or not self._transcript.look.shows(segment):
                continue
            done = final or is_done(segment)
            if isinstance(segment, TextSegment):
                self._text(segment, done=done)
            elif done:
                self._card(segment)
            if not done:
                return
            self._written.add(id(segment))
            self._read = 0

    def _text(self, segment: TextSegment, *, done: bool) -> None:
        text = self._held + segment.since(self._read)
        self._read = len(segment.pieces)
        ready = text if done else settled(text)
        self._held = text[len(ready) :]
        if ready:
            self._say(clean(ready))
        if done:
            self._break()
            if segment.references:
                self._line(render_text("", sources=segment.references).plain.strip())

    def _card(self, segment: Segment) -> None:
        look = self._transcript.look
        if isinstance(segment, ThinkingSegment) and look.detail != "verbose":
            self._line(render(segment).plain.split("\n", 1)[0])
        else:
            self._line(render(segment, look=look).plain)

    def _line(self, text: str) -> None:
        self._break()
        self._say(f"{_DIM}{text}{_RESET}\n" if self._colour else f"{text}\n")

    def _break(self) -> None:
        if self._column:
            self._say("\n")

    def _say(self, text: str) -> None:
        self._write(text)
        self._column = 0 if text.endswith("\n") else 1


def _shows_colour() -> bool:
    forbidden = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not forbidden


def _to_stdout(text: str) -> None:
    print(text, end="", flush=True)  # noqa: T201 - a terminal is what this is for

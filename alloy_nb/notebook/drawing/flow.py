"""One stretch of an answer, laid out in outputs: sealed ones, a growing body, the live tail.

::

    sealed │ sealed │ body          │ tail
    final    final    finished        finished blocks that are too few for a body,
                      blocks          then the pending block

The body is drawn again only when much came to it, the tail is drawn at every frame, and a body
that is large enough is sealed: then the tail's output becomes the next body. So a frame costs
what is new, not what was said before. The layout depends on the text alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from alloy_nb.notebook.drawing.blocks import Piece, Splitter, join
from alloy_nb.notebook.drawing.segments import Reference

__all__ = ["Flow", "Group", "seal_size"]

# So much finished text makes a body; less stays in the tail.
_BODY = 1024
_SEAL = 4096
# The first outputs are small, so that frames are; then they grow, so that JupyterLab's limit of 50
# outputs a cell is far away even for a million characters.
_SMALL_OUTPUTS = 10
_GROWTH = 1.5


def seal_size(outputs: int) -> int:
    """Return the size at which a body is sealed when the cell has `outputs` before it."""
    return int(_SEAL * _GROWTH ** max(0, outputs + 1 - _SMALL_OUTPUTS))


@dataclass(slots=True, eq=False)
class Group:
    """The pieces of one output; `start` is the offset of the first in the segment's text."""

    start: int
    pieces: list[Piece] = field(default_factory=list)
    size: int = 0
    sealed: bool = False
    drawn: int = 0
    """How many pieces the output shows so far."""

    def add(self, piece: Piece) -> None:
        """Append a piece."""
        self.pieces.append(piece)
        self.size += len(piece.text)

    @property
    def text(self) -> str:
        """The Markdown of the output, which stands alone."""
        return join(self.pieces)

    @property
    def waiting(self) -> int:
        """Characters that the output does not show yet."""
        return sum(len(piece.text) for piece in self.pieces[self.drawn :])

    def references(self, every: Sequence[Reference], *, last: bool) -> list[Reference]:
        """Return those of `every` that belong here, counted from the beginning of `text`."""
        shift = (len(self.pieces[0].opening) if self.pieces else 0) - self.start
        stop = self.start + self.size
        return [
            Reference(r.number, r.citation, r.end + shift)
            for r in every
            if r.end is not None
            and (self.start < r.end or self.start == 0)
            and (r.end <= stop or last)
        ]


class Flow:
    """Lays out a text that arrives; the last group is the tail.

    Args:
        before: Outputs that the cell has already.
    """

    def __init__(self, before: int = 0) -> None:
        self.groups: list[Group] = [Group(0)]
        self.closed = False
        self._before = before
        self._splitter = Splitter()

    @property
    def body(self) -> Group | None:
        """The group that grows and is not the tail."""
        body = self.groups[-2] if len(self.groups) > 1 else None
        return None if body is None or body.sealed else body

    def feed(self, text: str) -> None:
        """Take more text."""
        for piece in self._splitter.feed(text):
            self._place(piece)

    def tail(self) -> list[Piece]:
        """Return what the tail's output shows: all that no other output shows yet."""
        body = self.body
        waiting = body.pieces[body.drawn :] if body else []
        return [*waiting, *self.groups[-1].pieces, self._splitter.rest()]

    def close(self) -> None:
        """The text is complete: every group is sealed."""
        if self.closed:
            return
        self.closed = True
        rest = self._splitter.rest()
        if rest.text:
            self.groups[-1].add(rest)
        for group in self.groups:
            group.sealed = True

    def _place(self, piece: Piece) -> None:
        body = self.body
        group = body or self.groups[-1]
        group.add(piece)
        if body is None and group.size >= _BODY:
            # The tail is a body now, in the same output; a new tail begins behind it.
            body = group
            self.groups.append(Group(group.start + group.size))
        elif body is not None:
            self.groups[-1].start += len(piece.text)
        if body is not None and self._full(body, piece):
            body.sealed = True

    def _full(self, body: Group, last: Piece) -> bool:
        limit = seal_size(self._before + len(self.groups) - 2)
        # Rather at the end of a block than inside one, if that comes soon.
        return body.size >= (2 * limit if last.open else limit)

"""Markdown that still arrives, cut at borders where each piece can stand alone.

A live answer is drawn in pieces, or every frame would cost as much as the whole answer. A cut is
made only where Markdown itself ends a block, and inside a block that does not end: in a fence
between lines (the fence is opened again), in a table between rows (its header is repeated), in a
list between items, in an endless paragraph at white space.

Where the cuts fall depends on the text alone, never on how it was cut into deltas, so that the
same answer always leaves the same outputs behind. The work is proportional to the text: what is
finished is never read again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.token import Token

__all__ = ["Piece", "Splitter", "join"]

# The text is looked at each time that so much of it is new.
_STEP = 256
# A block that has grown beyond this is cut inside, if its kind allows it.
_LONG = 1024
# So long may a line or paragraph be before it is cut at white space.
_ENDLESS = 8192
# A fence's info string is repeated in each piece, so a hostile one is not taken whole.
_INFO = 40

_NO_KEY = re.compile(r"[^A-Za-z0-9._~+/=-]")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")

_parser = MarkdownIt("commonmark", {"html": False}).enable("table")
_parser.disable(["reference", "html_block"])
_parser.core.ruler.enableOnly(["normalize", "block"])


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the source text.

    `opening` and `closing` make it stand alone where the cut went through a block; `open` says
    that the block goes on in the next piece.
    """

    text: str
    opening: str = ""
    closing: str = ""
    open: bool = False


def join(pieces: Sequence[Piece]) -> str:
    """Return the Markdown of neighbouring pieces; blocks that were cut between them are whole."""
    if not pieces:
        return ""
    body = "".join(piece.text for piece in pieces)
    closing = pieces[-1].closing
    if closing and not body.endswith("\n"):
        closing = "\n" + closing
    return pieces[0].opening + body + closing


class Splitter:
    """Takes text as it comes and gives back finished pieces.

    The last block always stays in `pending`, so that what is unfinished is never empty once there
    was text.
    """

    def __init__(self) -> None:
        self.pending = ""
        self.opening = ""
        self._seen = 0

    def feed(self, text: str) -> list[Piece]:
        """Take more text and return the pieces that it finished."""
        self.pending += text
        pieces: list[Piece] = []
        while (end := self._checkpoint()) is not None:
            self._seen = end
            cut = self._cut(end)
            if cut is not None:
                pieces.append(cut)
        return pieces

    def rest(self) -> Piece:
        """Return what is pending, as a piece."""
        return Piece(self.pending, opening=self.opening)

    def _checkpoint(self) -> int | None:
        """Return where the pending text is looked at next, or ``None`` if more must come first.

        A block that cannot be cut is looked at ever more rarely, or a long one would cost the
        square of its length.
        """
        start = self._seen + max(_STEP, self._seen // 4)
        newline = self.pending.find("\n", start - 1, start + _ENDLESS)
        if newline >= 0:
            return newline + 1
        return start + _ENDLESS if len(self.pending) >= start + _ENDLESS else None

    def _cut(self, end: int) -> Piece | None:
        """Cut off what is finished in ``pending[:end]``."""
        # A carriage return is a line to the parser and not to us; a blank keeps the offsets.
        source = (self.opening + self.pending[:end]).replace("\r", " ").replace("\0", " ")
        starts = _line_starts(source)
        blocks = [t for t in _parser.parse(source) if t.level == 0 and t.map and t.nesting >= 0]
        if not blocks:
            return None
        last = blocks[-1]
        assert last.map is not None  # noqa: S101 - it was chosen for having one
        begin = starts[last.map[0]] - len(self.opening)
        if begin > 0 and self.pending[:begin].strip():
            return self._take(begin, Piece(self.pending[:begin], opening=self.opening), "")
        if end - max(begin, 0) < _LONG:
            return None
        return self._cut_inside(source, last, starts)

    def _cut_inside(self, source: str, block: Token, starts: list[int]) -> Piece | None:
        shift = len(self.opening)
        first = block.map[0] if block.map else 0
        match block.type:
            case "fence":
                head, closing = _fence(source[starts[first] : starts[first + 1]], block)
                return self._take_lines(source, starts, first + 1, head, closing)
            case "table_open":
                head = source[starts[first] : starts[first + 2]]
                if len(head) > _LONG:
                    return None
                return self._take_lines(source, starts, first + 2, head, "")
            case "bullet_list_open" | "ordered_list_open":
                return self._take_items(source, starts)
            case "paragraph_open" if len(source) - starts[first] >= _ENDLESS:
                at = _gap(source) - shift
                if at <= 0 or not self.pending[at:].strip() or not self.pending[:at].strip():
                    return None
                piece = Piece(self.pending[:at], opening=self.opening, open=True)
                return self._take(at, piece, "")
        return None

    def _take_lines(
        self, source: str, starts: list[int], body: int, opening: str, closing: str
    ) -> Piece | None:
        """Cut before the last line that says something, `body` being the first that may be cut."""
        line = len(starts) - 2
        while line > body and not source[starts[line] : starts[line + 1]].strip():
            line -= 1
        at = starts[line] - len(self.opening)
        if line <= body or at <= 0:
            return None
        piece = Piece(self.pending[:at], self.opening, closing, open=True)
        return self._take(at, piece, opening)

    def _take_items(self, source: str, starts: list[int]) -> Piece | None:
        """Cut before the last top-level item of the list that `source` ends with."""
        items = [t for t in _parser.parse(source) if t.level == 1 and t.type == "list_item_open"]
        if len(items) < 2 or not items[-1].map:
            return None
        at = starts[items[-1].map[0]] - len(self.opening)
        if at <= 0 or not self.pending[at:].strip():
            return None
        return self._take(at, Piece(self.pending[:at], opening=self.opening, open=True), "")

    def _take(self, at: int, piece: Piece, opening: str) -> Piece:
        self.pending = self.pending[at:]
        self.opening = opening
        self._seen = max(0, self._seen - at)
        return piece


def _line_starts(source: str) -> list[int]:
    """Return the offset of each line, and of the end."""
    return [0, *(found.end() for found in _LINE.finditer(source))]


def _gap(source: str) -> int:
    """Return where an endless paragraph may be cut: nowhere inside what might be a key."""
    space = max(source.rfind("\n", 0, -1), source.rfind(" ", 0, -1)) + 1
    if space > 0 or len(source) < 2 * _ENDLESS:
        return space
    found = [0, *(gap.end() for gap in _NO_KEY.finditer(source, 0, len(source) - 1))]
    return found[-1]


def _fence(line: str, block: Token) -> tuple[str, str]:
    """Return the lines that open and close the fence of `block` again."""
    info = block.info.strip()
    if len(info) > _INFO:
        info = ""
    indent = line[: len(line) - len(line.lstrip(" "))]
    return f"{indent}{block.markup}{info}\n", f"{block.markup}\n"

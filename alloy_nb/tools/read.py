"""The tool `read`: a page of a text file, with line numbers.

Memory, time and the size of the answer are bounded, whatever the file: it is read in pieces, a
line over 2,000 characters is cut, a page ends at 256 KB, and looking for far lines and counting
the rest gives up after two seconds. What was left out is said in brackets after the page.
"""

from __future__ import annotations

import codecs
import io
import re
import time
from collections.abc import Iterator

from alloy_nb.engine.calls.tool import ToolContext, tool
from alloy_nb.errors import ToolError
from alloy_nb.tools.files import encoding_of, folder_of, open_regular, reason_of
from alloy_nb.tools.paths import Place, locate

__all__ = ["read"]

_PAGE_BYTES = 250_000
_LINE_CHARS = 2_000
# Four bytes hold any character.
_LINE_BYTES = 4 * _LINE_CHARS
_PIECE = 1 << 18
_SECONDS = 2.0

# What formats without text begin with, so that the model hears what it met.
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive (also .xlsx, .docx, .npz, .whl)"),
    (b"\x1f\x8b", "gzip-compressed data"),
    (b"PAR1", "a Parquet table"),
    (b"ARROW1", "an Arrow table"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x7fELF", "a program"),
)
_CONTROL = re.compile(rb"[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f]")


@tool(risk="read")
def read(file_path: str, offset: int = 1, limit: int = 2000, *, context: ToolContext) -> str:
    """Read a text file, or `limit` lines of it from line `offset` on (the first line is 1).

    Each line comes with its number and a tab in front. What does not fit is left out, and a note
    in brackets at the end says how much.

    Raises:
        ToolError: The path is not allowed, or there is no regular file that can be read.
    """
    place = locate(file_path, context)
    try:
        with folder_of(place) as folder, open_regular(folder, place.parts[-1]) as (file, status):
            head = file.peek(8192)[:8192]
            encoding = encoding_of(head)
            if encoding == "utf-8" and _is_binary(head):
                return _describe(place, head, status.st_size)
            return _page(_Lines(file, encoding), place, status.st_size, max(offset, 1), limit)
    except OSError as error:
        raise ToolError(
            f"{place.asked} does not exist or is not a readable file ({reason_of(error)})."
        ) from None


def _is_binary(head: bytes) -> bool:
    # Text has next to no control characters; compressed data has one in ten bytes.
    return b"\0" in head or len(_CONTROL.findall(head)) * 20 > len(head)


def _describe(place: Place, head: bytes, size: int) -> str:
    kind = next((name for magic, name in _MAGIC if head.startswith(magic)), "binary data")
    return (
        f"[{place.asked} is {kind} of {size:,} bytes, not text. "
        f"It begins with: {head[:32].hex(' ')}]\n"
    )


def _page(lines: _Lines, place: Place, size: int, offset: int, limit: int) -> str:
    number = lines.skip(offset - 1) + 1
    if number < offset:
        if lines.at_end:
            return ""
        raise ToolError(
            f"Line {offset:,} of {place.asked} ({size:,} bytes) is too far to reach in "
            f"{_SECONDS:.0f} s: use bash, such as tail or sed -n."
        )
    shown: list[str] = []
    room = _PAGE_BYTES
    while len(shown) < max(limit, 1) and room > 0 and (line := lines.next()) is not None:
        shown.append(_cut(*line))
        room -= len(shown[-1].encode())
    last = offset + len(shown) - 1
    width = max(6, len(str(last)))
    page = "".join(f"{n:>{width}}\t{text}\n" for n, text in enumerate(shown, offset))
    return page + _left_out(lines, last, size)


def _cut(line: bytes, dropped: int) -> str:
    """Return a line as text, cut to 2,000 characters with a note of how much is missing."""
    # A cut may have gone through a character: `final` says whether that would be an error.
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(line, final=not dropped)
    if len(text) <= _LINE_CHARS and not dropped:
        return text
    dropped += len(line) - len(text[:_LINE_CHARS].encode())
    return f"{text[:_LINE_CHARS]} [line cut: {dropped:,} more bytes]"


def _left_out(lines: _Lines, last: int, size: int) -> str:
    """Say what follows the page, counting lines as long as the time allows."""
    left = max(size - lines.position, 0)
    rest = lines.skip(None)
    if lines.at_end and not rest:
        return ""
    count = f"{rest:,}" if lines.at_end else f"more than {rest:,}"
    return (
        f"[{count} more lines, {left:,} of {size:,} bytes, were left out; "
        f"read on with offset={last + 1}]\n"
    )


class _Lines:
    r"""The lines of a file as UTF-8 without their ``\n`` or ``\r\n``, in bounded memory and time.

    When the time is up, it behaves as if the file ended, and `at_end` stays false.
    """

    def __init__(self, file: io.BufferedReader, encoding: str) -> None:
        self._file = file
        self._pieces = _as_utf8(file, encoding)
        self._piece = next(self._pieces, b"")
        self._start = 0
        self._until = time.monotonic() + _SECONDS
        self.at_end = False

    @property
    def position(self) -> int:
        """How many bytes of the file were used; of UTF-16 about how many."""
        return self._file.tell() - (len(self._piece) - self._start)

    def next(self) -> tuple[bytes, int] | None:
        """Return the next line, at most 8,000 bytes of it, and how many bytes were dropped."""
        kept, length = bytearray(), 0
        while True:
            end = self._piece.find(b"\n", self._start)
            stop = end if end >= 0 else len(self._piece)
            kept += self._piece[self._start : min(stop, self._start + _LINE_BYTES - len(kept))]
            length += stop - self._start
            self._start = stop + (end >= 0)
            if end >= 0:
                break
            if not self._refill():
                if not length:
                    return None
                break
        if length == len(kept) and kept.endswith(b"\r"):
            del kept[-1]
            length -= 1
        return bytes(kept), length - len(kept)

    def skip(self, count: int | None) -> int:
        """Pass over so many lines, or over all; return how many there were."""
        passed, open_line = 0, False
        while True:
            here = self._piece.count(b"\n", self._start)
            if count is not None and passed + here >= count:
                for _ in range(count - passed):
                    self._start = self._piece.index(b"\n", self._start) + 1
                return count
            passed += here
            if self._start < len(self._piece):
                open_line = not self._piece.endswith(b"\n")
            self._start = len(self._piece)
            if not self._refill():
                return passed + (open_line and self.at_end)

    def _refill(self) -> bool:
        if time.monotonic() > self._until:
            return False
        self._piece, self._start = next(self._pieces, b""), 0
        self.at_end = not self._piece
        return bool(self._piece)


def _as_utf8(file: io.BufferedReader, encoding: str) -> Iterator[bytes]:
    """Read the file in pieces, without its byte order mark."""
    mark = codecs.BOM_UTF8
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    while raw := file.read(_PIECE):
        piece = raw if encoding == "utf-8" else decoder.decode(raw).encode("utf-8", "replace")
        yield piece.removeprefix(mark)
        mark = b""

"""Server-sent events: bytes in, events out. No networking here.

Follows the WHATWG specification of the event stream format
(https://html.spec.whatwg.org/multipage/server-sent-events.html, read 2026-11), with one addition:
data that is complete but for its last blank line is delivered when the stream ends, because some
servers leave that line out.

Lines end at CR, LF or CRLF only (never at U+2028 or U+0085, which occur inside JSON strings), and
bytes are cut into lines before they are decoded, so a character that is split over two chunks is
never seen in halves.
"""

from __future__ import annotations

__all__ = ["MAX_EVENT_BYTES", "EventTooLarge", "SSEDecoder"]

# A reply that sends more than this without a blank line is not an answer.
MAX_EVENT_BYTES = 64 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"


class EventTooLarge(ValueError):
    """One event is larger than `MAX_EVENT_BYTES`."""


class SSEDecoder:
    """Splits a stream of bytes, cut anywhere, into events.

    An event is a pair of its name (``None`` without an ``event`` field) and its data as bytes.
    """

    def __init__(self) -> None:
        self._pending: list[bytes] = []  # pieces of the event that is not complete yet
        self._size = 0
        self._last = b""  # its last byte: a blank line may be split over two chunks
        self._after_cr = False
        self._started = False

    def feed(self, chunk: bytes) -> list[tuple[str | None, bytes]]:
        """Take more bytes and return the events that they complete."""
        if (
            self._started
            and not self._last
            and chunk.startswith(b"data: ")
            and chunk.find(b"\n") == len(chunk) - 2
            and chunk.endswith(b"\n\n")
            and b"\r" not in chunk
            and not self._after_cr
        ):
            return [(None, chunk[6:-2])]  # one whole event: what a vendor's chunk nearly always is
        if not self._started or b"\r" in chunk or self._after_cr:
            chunk = self._normalised(chunk)
        if not chunk:
            return []
        if b"\n\n" not in chunk and not (self._last == b"\n" and chunk.startswith(b"\n")):
            self._keep(chunk)
            return []
        if self._pending:
            self._pending.append(chunk)
            chunk = b"".join(self._pending)
            self._pending.clear()
            self._size = 0
        *blocks, rest = chunk.split(b"\n\n")
        self._last = b""
        if rest:
            self._keep(rest)
        return [event for block in blocks if (event := _parse(block)) is not None]

    def close(self) -> list[tuple[str | None, bytes]]:
        """Return the event that lacked nothing but its last blank line, if there is one."""
        event = _parse(b"".join(self._pending))
        self._pending.clear()
        return [] if event is None else [event]

    def _keep(self, piece: bytes) -> None:
        self._pending.append(piece)
        self._last = piece[-1:]
        self._size += len(piece)
        if self._size > MAX_EVENT_BYTES:
            raise EventTooLarge(f"an event of more than {MAX_EVENT_BYTES >> 20} MB")

    def _normalised(self, chunk: bytes) -> bytes:
        """Return the chunk with every line end as LF, and without the stream's byte-order mark."""
        if not self._started:
            chunk = b"".join((*self._pending, chunk))
            self._pending.clear()
            self._size = 0
            if len(chunk) < len(_BOM) and _BOM.startswith(chunk):
                if chunk:
                    self._keep(chunk)
                return b""
            self._started = True
            chunk = chunk.removeprefix(_BOM)
        if self._after_cr and chunk:
            # The CR was taken for a whole line end already; the LF of a CRLF adds nothing.
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        self._after_cr = self._after_cr or chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _parse(block: bytes) -> tuple[str | None, bytes] | None:
    """Return the event that the lines of a block make, or ``None`` where they hold no data."""
    # The two shapes that vendors send, without a loop over lines.
    first = block.find(b"\n")
    if first < 0 and block.startswith(b"data: "):
        return None, block[6:]
    if (
        block.startswith(b"event: ")
        and block.startswith(b"data: ", first + 1)
        and block.find(b"\n", first + 1) < 0
    ):
        return block[7:first].decode("utf-8", "replace"), block[first + 7 :]
    name: str | None = None
    data: list[bytes] = []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace") or None
    return (name, b"\n".join(data)) if data else None

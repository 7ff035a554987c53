"""Requests of HTTP/1.1 as bytes, and replies from theirs (RFC 9112). No networking here.

Only what a client needs that sends one request at a time and reads its reply: a head, then a body
that is chunked, or as long as the head says, or as long as the connection lasts. It is strict where
two readings would be possible, since what stands after a reply belongs to the next one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Fault", "Head", "ReplyReader", "written"]

# A head or a line of a chunk that is longer is an attack, or no HTTP.
_LONGEST_HEAD = 64 * 1024
_LONGEST_LINE = 4 * 1024

_STATUS = re.compile(rb"HTTP/1\.([01]) (\d{3})(?: [^\r\n\x00]*)?")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([^\r\n\x00]*)")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_SIZE = re.compile(rb"([0-9a-fA-F]{1,16})[ \t]*(?:;[^\r\n]*)?")
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,16})\r\n")
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")


class Fault(Exception):
    """What came, or is to go out, is no HTTP/1.1; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a reply; the names of the fields are in lower case."""

    status: int
    fields: list[tuple[bytes, bytes]]
    is_kept: bool
    """Whether the connection stays open after the reply, as far as the server says."""

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of a field, one for each time that it stands there."""
        return [value for own, value in self.fields if own == name]

    def by_name(self) -> dict[str, str]:
        """Return the fields as text; of one that stands there several times, all values."""
        named: dict[str, str] = {}
        for raw, value in self.fields:
            name, text = raw.decode("ascii"), value.decode("latin-1")
            named[name] = f"{named[name]}, {text}" if name in named else text
        return named


def written(method: str, target: bytes, fields: Mapping[str, str], body: bytes) -> bytes:
    """Return a request in one piece: a head that goes out alone would wake the server twice.

    Raises:
        Fault: A field would break the head: a line in it would be another field, or a request.
        UnicodeEncodeError: A field is not ASCII.
    """
    fields = {**fields, "content-length": str(len(body))} if body or method == "POST" else fields
    lines = [f"{name}: {value}" for name, value in fields.items()]
    head = "\r\n".join(lines)
    if not all(map(_NAME.fullmatch, fields)) or "\0" in head:
        raise Fault("a header cannot be sent")
    if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1:
        raise Fault("a header has a line break in it")
    first = b"%b %b HTTP/1.1\r\n" % (method.encode("ascii"), target)
    return b"%b%b\r\n\r\n%b" % (first, head.encode("ascii"), body)


class ReplyReader:
    """Reads the replies of one connection, one after the other.

    `feed` it what comes, ask for the `head` until there is one, then for the `body` until it
    `is_done`; `end` says that nothing comes any more.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self.is_done = False
        """Whether the whole reply was read."""
        self._head: Head | None = None
        self._left: int | None = 0  # of the body, or of its chunk; None is until the end
        self._is_chunked = False
        self._expects = b"size"

    @property
    def pending(self) -> int:
        """How many bytes were fed and not read so far."""
        return len(self._data)

    def start(self) -> None:
        """Begin to read the next reply.

        Raises:
            Fault: There is something already, and nothing was asked.
        """
        if self._data:
            raise Fault("bytes came before the request")
        self._head, self.is_done = None, False

    def feed(self, data: bytes) -> None:
        """Take what came."""
        self._data += data

    def head(self) -> Head | None:
        """Return the head of the reply, or ``None`` where more is needed.

        Raises:
            Fault: It is none.
        """
        while self._head is None:
            end = _END_OF_HEAD.search(self._data)
            if end is None:
                if len(self._data) > _LONGEST_HEAD:
                    raise Fault("its head does not end")
                return None
            if end.start() > _LONGEST_HEAD:
                raise Fault("its head is too long")
            head = _parsed(bytes(self._data[: end.start()]))
            del self._data[: end.end()]
            if head.status == 101:
                raise Fault("it wants to speak another protocol")
            if head.status >= 200:  # those before are on the way to it
                self._head = head
                self._frame(head)
        return self._head

    def body(self) -> bytes:
        """Return what there is of the body, as far as it was not read; nothing is no end.

        Raises:
            Fault: A chunk is none.
        """
        if self._is_chunked:
            return self._chunks()
        piece = bytes(self._data if self._left is None else self._data[: self._left])
        del self._data[: len(piece)]
        if self._left is not None:
            self._left -= len(piece)
            self.is_done = not self._left
        return piece

    def end(self) -> None:
        """Take note that nothing comes any more.

        Raises:
            Fault: The reply is not whole.
        """
        if self._head is None or self._is_chunked or self._left is not None:
            if not self.is_done:
                raise Fault("the connection ended before the reply")
        else:
            self.is_done = not self._data

    # --- framing ----------------------------------------------------------------------------

    def _frame(self, head: Head) -> None:
        """Find out where the body ends (RFC 9112, 6.3)."""
        self._is_chunked, self._left, self._expects = False, None, b"size"
        codings = b",".join(head.values(b"transfer-encoding")).lower().replace(b" ", b"")
        lengths = set(head.values(b"content-length"))
        if head.status in (204, 304):
            self._left = 0
        elif codings:
            if codings != b"chunked":
                raise Fault("its transfer-encoding is unknown")
            self._is_chunked, self._left = True, 0
        elif lengths:
            value = lengths.pop()
            if lengths or not value.isdigit() or len(value) > 18:
                raise Fault("its content-length is no number")
            self._left = int(value)
        self.is_done = self._left == 0 and not self._is_chunked

    def _chunks(self) -> bytes:
        data, at, pieces = self._data, 0, []
        while not self.is_done:
            if self._left:
                piece = data[at : at + self._left]
                if not piece:
                    break
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                continue
            if self._expects == b"size" and (whole := _CHUNK.match(data, at)) is not None:
                # Nearly always a chunk is there as a whole: that takes one step instead of three.
                begin = whole.end()
                end = begin + int(whole[1], 16)
                if end > begin and data.startswith(b"\r\n", end):
                    pieces.append(data[begin:end])
                    at = end + 2
                    continue
            end = data.find(b"\n", at, at + _LONGEST_LINE)
            if end < 0:
                if len(data) - at >= _LONGEST_LINE:
                    raise Fault("a line between its chunks does not end")
                break
            line = bytes(data[at:end]).removesuffix(b"\r")
            at = end + 1
            self._line(line)
        del data[:at]
        return b"".join(pieces)

    def _line(self, line: bytes) -> None:
        """Take a line between chunks: the end of one, the size of the next, or after the last."""
        if self._expects == b"trailer":
            self.is_done = not line  # fields after the body say nothing to us
        elif self._expects == b"end":
            if line:
                raise Fault("a chunk is longer than it says")
            self._expects = b"size"
        else:
            size = _SIZE.fullmatch(line)
            if size is None:
                raise Fault("the size of a chunk is no number")
            self._left = int(size[1], 16)
            self._expects = b"end" if self._left else b"trailer"


def _parsed(head: bytes) -> Head:
    first, *lines = head.replace(b"\r\n", b"\n").split(b"\n")
    status = _STATUS.fullmatch(first)
    if status is None:
        raise Fault("it does not begin as HTTP/1 does")
    fields: list[tuple[bytes, bytes]] = []
    for line in lines:
        if line[:1] in (b" ", b"\t") and fields:  # a field may go on in the next line
            name, value = fields.pop()
            fields.append((name, value + b" " + line.strip()))
            continue
        found = _FIELD.fullmatch(line)
        if found is None:
            raise Fault("a field of its head is none")
        fields.append((found[1].lower(), found[2].strip(b" \t")))
    says = b",".join(value for name, value in fields if name == b"connection").lower()
    is_kept = status[1] == b"1" and b"close" not in says
    return Head(int(status[2]), fields, is_kept)

"""An HTTP/1.1 server in a thread that answers from a script and can misbehave at any byte.

::

    with Server(stream(anthropic_events(reply)), html_page(502)) as server:
        client.post(server.url + "/v1/messages", ...)          # the first answer of the script
        server.requests[0].json["stream"]                      # what came
        server.requests[0].wait_closed()                       # when the client hung up

A body is an iterable, pulled as it is sent: ``bytes`` go out as one write, a `Pause` waits, `STALL`
waits for the client to leave, `RESET` breaks the connection with RST and `CLOSE` ends it with FIN.
Whatever the server waits for, it notices at once that the client closed. Times are
``time.monotonic()``, which all processes of a machine share.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, Self

from tests.servers.wire import (
    Block,
    Reply,
    anthropic_body,
    anthropic_events,
    chat_body,
    chat_events,
)

__all__ = [
    "CLOSE",
    "RESET",
    "STALL",
    "Answer",
    "Pause",
    "Request",
    "Server",
    "byte_by_byte",
    "cut",
    "hang_up",
    "header_flood",
    "html_page",
    "json_answer",
    "loop",
    "paced",
    "redirect",
    "stream",
]


@dataclass(frozen=True)
class Pause:
    """Wait before the next piece."""

    seconds: float


class End(Enum):
    """Ways not to go on."""

    RESET = "reset"
    CLOSE = "close"
    STALL = "stall"


RESET, CLOSE, STALL = End.RESET, End.CLOSE, End.STALL
Piece = bytes | Pause | End


@dataclass(frozen=True)
class Answer:
    """What to send. `length` may lie about the body; `raw` sends the body alone, with no head."""

    body: Iterable[Piece] = ()
    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    content_type: str | None = "text/event-stream"
    framing: Literal["chunked", "length", "close"] = "chunked"
    length: int | None = None
    raw: bool = False


@dataclass
class Request:
    """What came, and what became of the answer."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    arrived_at: float
    sent: int = 0
    first_byte_at: float | None = None
    finished_at: float | None = None
    closed_at: float | None = None
    _closed: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def cut_short(self) -> bool:
        """Whether the client left before it had the whole answer."""
        return self.closed_at is not None and self.finished_at is None

    def wait_closed(self, timeout: float = 5.0) -> float:
        """Wait until the client closed the connection; return the time at which it did."""
        if not self._closed.wait(timeout):
            raise TimeoutError(f"the client kept {self.path} open for {timeout} s")
        assert self.closed_at is not None
        return self.closed_at

    def _note_closed(self) -> None:
        if self.closed_at is None:
            self.closed_at = time.monotonic()
            self._closed.set()


Handler = Callable[[Request], Answer]


class Server:
    """Answers each request with the next item of the script; then with `otherwise`, if given.

    An item is an `Answer` or a function from `Request` to `Answer`. A request past the end gets
    a 500 that says so. What a handler raises is raised again where the server is closed.
    """

    def __init__(self, *script: Answer | Handler, otherwise: Answer | Handler | None = None):
        self._script = list(script)
        self._otherwise = otherwise or _past_the_end
        self.requests: list[Request] = []
        self.errors: list[BaseException] = []
        self._changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._wake, self._waker = socket.socketpair()
        self._threads: list[threading.Thread] = []
        self._spawn(self._accept)

    @property
    def url(self) -> str:
        """The address, with no path."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
        if self.errors and exc[0] is None:
            raise self.errors[0]

    def close(self) -> None:
        """Stop at once, whatever is being sent, and free every socket and thread."""
        self._waker.close()  # readable for ever after: all waits end
        for thread in self._threads:
            thread.join(5)
        self._listener.close()
        self._wake.close()

    def wait_for_requests(self, count: int = 1, timeout: float = 10.0) -> list[Request]:
        """Wait until `count` requests have come and return all."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.requests) >= count, timeout):
                raise TimeoutError(f"{len(self.requests)} of {count} requests in {timeout} s")
            return list(self.requests)

    def _spawn(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            ready, _, _ = select.select([self._listener, self._wake], [], [])
            if self._wake in ready:
                return
            connection, _ = self._listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._spawn(self._serve, _Line(connection, self._wake))

    def _serve(self, line: _Line) -> None:
        with line, contextlib.suppress(_Gone):
            try:
                while request := line.read_request():
                    if not line.send_answer(self._next_answer(request), request):
                        return
            except _Gone:
                raise
            except BaseException as error:  # a handler of a test failed: tell the test
                self.errors.append(error)

    def _next_answer(self, request: Request) -> Answer:
        with self._changed:
            number = len(self.requests)
            self.requests.append(request)
            self._changed.notify_all()
        item = self._script[number] if number < len(self._script) else self._otherwise
        return item(request) if callable(item) else item


class _Gone(Exception):
    """The client left, or the server stops."""


class _Line:
    """One connection."""

    def __init__(self, connection: socket.socket, wake: socket.socket) -> None:
        self._socket = connection
        self._wake = wake
        self._buffer = b""
        self._current: Request | None = None
        connection.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    # reading

    def read_request(self) -> Request | None:
        """Return the next request of the connection, or None where the client closed it."""
        while b"\r\n\r\n" not in self._buffer:
            if not self._receive():
                return None
        head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        first, *rest = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = {
            name.lower(): value.strip() for name, _, value in (h.partition(":") for h in rest)
        }
        body = self._read_body(headers)
        self._current = Request(method, path, headers, body, time.monotonic())
        return self._current

    def _read_body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return b"".join(iter(self._read_chunk, b""))
        return self._read_exactly(int(headers.get("content-length", 0)))

    def _read_chunk(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._receive_more()
        size, self._buffer = self._buffer.split(b"\r\n", 1)
        return self._read_exactly(int(size, 16) + 2)[:-2]

    def _read_exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._receive_more()
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def _receive_more(self) -> None:
        if not self._receive():
            raise _Gone

    def _receive(self) -> bool:
        ready, _, _ = select.select([self._socket, self._wake], [], [])
        if self._wake in ready:
            raise _Gone
        try:
            data = self._socket.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._note_closed()
        self._buffer += data
        return bool(data)

    # writing

    def send_answer(self, answer: Answer, request: Request) -> bool:
        """Send an answer; return whether the connection may serve another request."""
        pieces = answer.body
        if answer.framing == "length" and answer.length is None and not answer.raw:
            pieces = list(pieces)
        if not answer.raw:
            self._send(_head(answer, pieces), request)
        chunked = answer.framing == "chunked" and not answer.raw
        for piece in pieces:
            if not self._send_piece(piece, request, chunked=chunked):
                return False
        if chunked:
            self._send(b"0\r\n\r\n", request)
        request.finished_at = time.monotonic()
        return not answer.raw and answer.framing != "close" and answer.length is None

    def _send_piece(self, piece: Piece, request: Request, *, chunked: bool) -> bool:
        match piece:
            case bytes():
                framed = b"%x\r\n%b\r\n" % (len(piece), piece) if chunked and piece else piece
                self._send(framed, request)
                request.sent += len(piece)
            case Pause(seconds):
                self._wait(seconds)
            case End.STALL:
                self._wait(None)
            case End.RESET:
                linger_not = struct.pack("ii", 1, 0)
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)
                return False
            case End.CLOSE:
                return False
        return True

    def _send(self, data: bytes, request: Request) -> None:
        if data and request.first_byte_at is None:
            request.first_byte_at = time.monotonic()
        while data:
            ready, writable, _ = select.select([self._socket, self._wake], [self._socket], [])
            self._check(ready)
            if writable:
                try:
                    data = data[self._socket.send(data) :]
                except OSError as error:
                    self._note_closed()
                    raise _Gone from error

    def _wait(self, seconds: float | None) -> None:
        """Wait, but not for a client that left: without a limit until it does."""
        end = None if seconds is None else time.monotonic() + seconds
        while True:
            left = None if end is None else max(0.0, end - time.monotonic())
            ready, _, _ = select.select([self._socket, self._wake], [], [], left)
            self._check(ready)
            if end is not None and time.monotonic() >= end:
                return

    def _check(self, ready: list[socket.socket]) -> None:
        if self._wake in ready:
            raise _Gone
        if self._socket in ready and not self._receive():
            raise _Gone

    def _note_closed(self) -> None:
        if self._current is not None:
            self._current._note_closed()


def _head(answer: Answer, pieces: Iterable[Piece]) -> bytes:
    headers = list(answer.headers)
    if answer.content_type is not None:
        headers.append(("Content-Type", answer.content_type))
    if answer.framing == "chunked":
        headers.append(("Transfer-Encoding", "chunked"))
    if answer.framing == "length":
        headers.append(("Content-Length", str(_length(answer, pieces))))
    if answer.framing == "close":
        headers.append(("Connection", "close"))
    lines = [f"HTTP/1.1 {answer.status} Scripted", *(f"{k}: {v}" for k, v in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _length(answer: Answer, pieces: Iterable[Piece]) -> int:
    if answer.length is not None:
        return answer.length
    return sum(len(piece) for piece in pieces if isinstance(piece, bytes))


def _past_the_end(request: Request) -> Answer:
    return json_answer({"error": {"message": "the test's script has no answer left"}}, status=500)


# Answers


def stream(pieces: Iterable[Piece], **options: Any) -> Answer:
    """Answer with an event stream."""
    return Answer(body=pieces, **options)


def json_answer(
    value: Any, *, status: int = 200, headers: Sequence[tuple[str, str]] = ()
) -> Answer:
    """Answer with JSON, as an error or a reply that was not streamed."""
    body = [json.dumps(value).encode()]
    return Answer(body, status, headers, content_type="application/json", framing="length")


def html_page(status: int = 502, text: str = "Bad Gateway") -> Answer:
    """Answer as a proxy does that knows nothing of the API."""
    page = f"<!doctype html><html><body><h1>{status} {text}</h1></body></html>".encode()
    return Answer([page], status, content_type="text/html", framing="length")


def redirect(to: str, status: int = 307) -> Answer:
    """Answer with another address."""
    return Answer([], status, [("Location", to)], content_type=None, framing="length")


def header_flood(count: int = 100_000) -> Answer:
    """Answer with a head that is too long for anyone."""
    lines = (b"X-Flood-%d: %b\r\n" % (number, b"x" * 100) for number in range(count))
    return Answer([b"HTTP/1.1 200 OK\r\n", *lines, b"\r\n"], raw=True)


def hang_up() -> Answer:
    """Close the connection without a byte."""
    return Answer([CLOSE], raw=True)


def loop(*replies: Sequence[Block] | Reply, per_second: float | None = None) -> list[Handler]:
    """Return a script of replies, in the format and the mode that each request asks for."""
    return [_reply_handler(_as_reply(r, n), per_second) for n, r in enumerate(replies, 1)]


def _as_reply(reply: Sequence[Block] | Reply, number: int) -> Reply:
    return reply if isinstance(reply, Reply) else Reply(reply, id=f"reply_{number}")


def _reply_handler(reply: Reply, per_second: float | None) -> Handler:
    def answer(request: Request) -> Answer:
        anthropic = request.path.partition("?")[0].endswith("/messages")
        if not request.json.get("stream"):
            return json_answer(anthropic_body(reply) if anthropic else chat_body(reply))
        events = anthropic_events(reply) if anthropic else chat_events(reply)
        return stream(paced(events, per_second) if per_second else events)

    return answer


# Bodies


def paced(pieces: Iterable[Piece], per_second: float) -> Iterator[Piece]:
    """Send so many pieces a second; a late piece does not make the later ones late."""
    start = time.monotonic()
    for number, piece in enumerate(pieces):
        early = start + number / per_second - time.monotonic()
        if early > 0:
            yield Pause(early)
        yield piece


def cut(pieces: Iterable[Piece], after: int, end: End = RESET) -> Iterator[Piece]:
    """Send the first `after` bytes, then break off with `RESET`, `CLOSE` or `STALL`."""
    left = after
    for piece in pieces:
        if not isinstance(piece, bytes):
            yield piece
        elif len(piece) < left:
            left -= len(piece)
            yield piece
        else:
            yield piece[:left]
            break
    yield end


def byte_by_byte(pieces: Iterable[Piece], every: float = 0.0) -> Iterator[Piece]:
    """Send each byte as a write and a chunk of its own, `every` so many seconds."""
    for piece in pieces:
        if not isinstance(piece, bytes):
            yield piece
            continue
        for number in piece:
            yield bytes((number,))
            if every:
                yield Pause(every)

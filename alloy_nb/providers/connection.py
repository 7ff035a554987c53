"""One connection of HTTP/1.1 over asyncio's own transport: a request, its reply, the next one.

httpx does this in four layers, each of which locks, checks and copies at every step: of the time
that a short request took here, four fifths were theirs. With many in flight that is the limit: one
thread made 480 requests a second, and makes over 1,000.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import ssl
import time

from alloy_nb.providers.http11 import Head, ReplyReader

__all__ = ["Connection", "Unanswered"]

# A reader that is slower than the server is not sent more than this.
_MOST_PENDING = 1 << 20
# Servers close what is idle for longer, without a word to those behind a router.
_IDLE_SECONDS = 60.0
_NEXT_ADDRESS_SECONDS = 0.25


class Unanswered(Exception):
    """The connection was open already, and broke without a byte of answer: it had been closed."""


class Connection(asyncio.Protocol):
    """An open connection. Closing it is all that helps when something on it did not end well."""

    def __init__(self) -> None:
        self._reader = ReplyReader()
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._is_over = False
        self._error: Exception | None = None
        self._is_paused = False
        self._is_used = False
        self._idle_since = 0.0
        self._is_kept = True

    @classmethod
    async def open(
        cls, host: str, port: int, *, tls: ssl.SSLContext | None, seconds: float
    ) -> Connection:
        """Connect, within so many seconds.

        Raises:
            TimeoutError: It took longer.
            OSError: It failed; `ssl.SSLError` and `socket.gaierror` are kinds of it.
        """
        loop = asyncio.get_running_loop()
        # Of several addresses the first that answers.
        delay = None if _is_address(host) else _NEXT_ADDRESS_SECONDS
        try:
            async with asyncio.timeout(seconds):
                _, connection = await loop.create_connection(
                    cls, host, port, ssl=tls, happy_eyeballs_delay=delay
                )
        except OSError as error:
            # For several addresses there is one error, which has the others only in its text.
            if f"[Errno {errno.ECONNREFUSED}]" in str(error):
                raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused") from error
            raise
        return connection

    @property
    def is_usable(self) -> bool:
        """Whether another request can be sent over it."""
        if self._is_over or not self._is_kept or self._reader.pending:
            return False
        return not self._is_used or time.monotonic() - self._idle_since < _IDLE_SECONDS

    @property
    def is_done(self) -> bool:
        """Whether all of the last reply was read."""
        return self._reader.is_done

    async def ask(self, request: bytes) -> Head:
        """Send a request, and return the head of its reply.

        Raises:
            Unanswered: See there; the request may be sent again, over another connection.
            Fault: The reply is none.
            OSError: The connection broke.
        """
        reader, again = self._reader, self._is_used
        self._is_used, self._is_kept = True, False
        assert self._transport is not None  # noqa: S101  # it is open
        reader.start()
        self._transport.write(request)
        while (head := reader.head()) is None:
            try:
                is_over = not await self._more()
            except OSError:
                if again and not reader.pending:
                    raise Unanswered from None
                raise
            if is_over and again and not reader.pending:
                raise Unanswered
            if is_over:
                reader.end()
        self._is_kept = head.is_kept
        return head

    async def piece(self) -> bytes:
        """Return the next piece of the body of the reply; nothing is its end.

        Raises:
            Fault: It is none, or is not whole.
            OSError: The connection broke.
        """
        reader = self._reader
        while True:
            piece = reader.body()
            if piece or reader.is_done:
                return piece
            if not await self._more():
                reader.end()

    def release(self) -> None:
        """Be done with a reply: what is left of it ends the connection."""
        self._idle_since = time.monotonic()
        if not self._reader.is_done or not self._is_kept:
            self.close()

    def close(self) -> None:
        """Close it at once."""
        self._is_over = True
        if self._transport is not None:
            self._transport.abort()

    async def _more(self) -> bool:
        """Wait for more bytes; return whether there are any."""
        if self._is_over:
            if self._error is not None:
                raise self._error
            return False
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()
        before = self._reader.pending
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None
        if self._reader.pending > before:
            return True
        if self._error is not None:
            raise self._error
        return not self._is_over

    # --- what asyncio calls -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = transport  # type: ignore[assignment]  # of a connection it is a Transport

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        self._reader.feed(data)
        if self._reader.pending > _MOST_PENDING and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """Note that the server sends no more; the transport then closes itself."""
        self._is_over = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that it is over, and why."""
        self._is_over, self._error = True, exc
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True

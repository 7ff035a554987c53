"""The one transport: a request whose reply is a stream, of events nearly always.

This file alone imports httpx, and no httpx exception, request or response leaves it: they print
keys and URLs, and a notebook saves what is printed. It never follows a redirect (httpx carries
``x-api-key`` along to other hosts) and never retries, but over a dead connection (the engine does).

Connections belong to the event loop that made them. Each is ours (`connection`), taken for a
request and kept for the next; one whose request did not end well is thrown away. Through a proxy it
is a pool of httpx with one place: one of many walks all its connections at every step, and a task
that is cancelled while httpcore (1.0) takes or gives back a connection leaves its place taken for
ever. All share one TLS context.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import httpx

from alloy_nb.errors import ConnectionFailed, ProviderError, StreamTruncated, TimedOut
from alloy_nb.providers.connection import Connection, Unanswered
from alloy_nb.providers.decoding import Reading
from alloy_nb.providers.failure import Failure
from alloy_nb.providers.http11 import Fault, Head, written
from alloy_nb.providers.listening import listening
from alloy_nb.providers.proxies import is_proxied, way
from alloy_nb.providers.watch import Watch

__all__ = ["Call", "Failure", "close_clients", "stream_events"]

CONNECT_SECONDS = 5.0
# How much of an error's body is kept: enough for any vendor's JSON, not for a web page.
_ERROR_BYTES = 16 * 1024
_CONNECTIONS = 256
# A server that keeps the connection open after the last event gets this long to end its reply.
_DRAIN_SECONDS = 0.25
Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class Call:
    """One request: where to, with what, within which limits.

    Args:
        url: The whole address; keys are never part of it.
        headers: All headers, the key's among them.
        body: The JSON body.
        provider: The vendor's name, for errors.
        model: The model's id, for errors.
        progress_seconds: How long nothing may move the reply on.
        deadline: ``time.monotonic()`` at which the whole reply must be there, or ``None``.
        fail: Names the error of a reply with an error status.
        client: A client of the user's own, with httpx's async interface, or ``None``.
        method: ``POST``, or ``GET``.
        kind: What the type of the reply has to hold; anything where it is empty.
        once: Whether it must never be sent a second time, also not over a dead connection.
        heard: Told of the headers of the reply, or ``None``.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    provider: str
    model: str
    progress_seconds: float
    deadline: float | None
    fail: Callable[[Failure], ProviderError]
    client: Any = field(default=None, repr=False)
    method: str = "POST"
    kind: str = "text/event-stream"
    once: bool = False
    heard: Callable[[Mapping[str, str]], object] | None = field(default=None, repr=False)


async def stream_events(call: Call, decoder: Reading[Read]) -> AsyncGenerator[Read, None]:
    """Send the call and yield the events of its reply; closing the iterator closes the connection.

    Raises:
        ProviderError: See :mod:`alloy_nb.errors`; nothing of httpx is in it.
    """
    watch = Watch(call)
    failure: ProviderError
    try:
        async with (
            _connection_for(call) as send,
            contextlib.aclosing(await _opened(send, call, watch)) as response,
        ):
            chunks = _chunks(response)
            watch.reading = True
            async for chunk in chunks:
                events = decoder.feed(chunk)
                if events is None:
                    continue
                watch.reading = False
                for event in events:
                    yield event
                if decoder.fault or decoder.ended:
                    break
                # Counted from here: the time that the consumer took is not the vendor's.
                watch.moved = time.monotonic()
                watch.reading = True
            if decoder.fault is None and not decoder.ended:
                watch.reading = False
                for event in decoder.close():
                    yield event
            if decoder.fault is None:
                if not _is_whole(response):
                    await _drain(chunks)
                return
            failure = decoder.fault
    except asyncio.CancelledError:
        if not watch.fired:
            raise
        failure = watch.error()
    except ProviderError as error:
        failure = error
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, Fault, OSError) as error:
        failure = _translated(error, call, begun=watch.begun)
    finally:
        watch.stop()
    # Raised out here, and from here, the error holds neither the one behind it, which holds the
    # request, nor frames whose variables hold what the server sent, which may repeat the key. That
    # it is not shown is not enough: where tblib is installed, as with Dask, it would be pickled.
    chunk, events = b"", None
    failure.__context__ = None
    raise failure.with_traceback(None) from None


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    """Read what follows the terminal event, so that the connection can be used again."""
    with contextlib.suppress(TimeoutError, httpx.HTTPError, Fault, OSError):
        # The answer is whole: what a server does afterwards cannot change it.
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for _ in chunks:
                pass


def _is_whole(response: Response) -> bool:
    """Return whether nothing of a reply is left, as far as that can be told without waiting."""
    return isinstance(response, _Reply) and response.is_whole


def _chunks(response: Response) -> AsyncIterator[bytes]:
    # The stream itself skips two layers that would run for each chunk; we ask for no compression.
    if response.headers.get("content-encoding", "identity") == "identity":
        return aiter(response.stream)  # type: ignore[arg-type]  # of an AsyncClient it is async
    return response.aiter_bytes()


async def _opened(send: Send, call: Call, watch: Watch) -> Response:
    """Send the request and return its response, if its status and type are as they should be."""
    watch.reading = True
    response = await send(call)
    try:
        if call.heard is not None:
            call.heard(response.headers)
        kind = response.headers.get("content-type", call.kind)
        if response.status_code != 200 or call.kind not in kind.lower():
            body = await _body(response)
            raise call.fail(Failure(response.status_code, response.headers, body))
    except BaseException:  # whatever it is, the connection goes back first
        await response.aclose()
        raise
    watch.reading = False
    watch.begun = True
    return response


async def _body(response: Response) -> bytes:
    kept = bytearray()
    # A body that breaks off takes nothing from what its status and headers say.
    with contextlib.suppress(httpx.HTTPError, Fault, OSError):
        async for piece in response.aiter_bytes():
            kept += piece
            if len(kept) >= _ERROR_BYTES:
                break
    return bytes(kept[:_ERROR_BYTES])


# --- errors -----------------------------------------------------------------------------------


def _translated(error: Exception, call: Call, *, begun: bool) -> ProviderError:
    """Name a failure of the network in our terms, without a word of httpx's own text."""
    about = {"provider": call.provider, "model": call.model}
    host = urlsplit(call.url).netloc.rpartition("@")[2] or call.url[:80]
    if begun:
        return StreamTruncated(
            f"The connection to {host} broke in the middle of the answer: it is incomplete and no "
            "tool of it was run. Ask again.",
            **about,  # type: ignore[arg-type]  # the dict's values are all str
        )
    match error:
        case httpx.ConnectTimeout():
            text = (
                f"{host} did not answer within {CONNECT_SECONDS:g} seconds. Is the address right?"
            )
            return TimedOut(text, **about)  # type: ignore[arg-type]  # as above
        case httpx.TimeoutException():
            return TimedOut(f"{host} took too long to answer.", **about)  # type: ignore[arg-type]
        case _NoProxy():
            text = f"The proxy on the way to {host} cannot be used: {error}."
        case httpx.ProxyError():
            text = f"The proxy on the way to {host} refused: check HTTPS_PROXY and NO_PROXY."
        case httpx.ConnectError():
            url = _parsed(call.url)
            between = "" if call.client is not None else way(url.scheme, url.host)
            text = f"Cannot connect to {host}{between}: {_cause(error)}.".replace("?.", "?")
        case httpx.UnsupportedProtocol() | httpx.InvalidURL() | UnicodeError():
            text = f"{host!r} is no address: give base_url= as https://host or http://host:port."
        case httpx.RemoteProtocolError() | Fault():
            text = f"{host} closed the connection without an answer, or does not speak HTTP."
        case _:
            text = f"The connection to {host} broke: {_cause(error)}."
    return ConnectionFailed(text, **about)  # type: ignore[arg-type]  # as above


def _cause(error: BaseException) -> str:
    """Say why a connection failed, from the system's error behind httpx's."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({seen.verify_message})"
        if isinstance(seen, ssl.SSLError):
            return "it does not speak TLS as expected; is it http:// rather than https://?"
        if isinstance(seen, ConnectionRefusedError):
            return "nothing listens there; is the server running?"
        if isinstance(seen, socket.gaierror):
            return "its name does not resolve; is the network there?"
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror.lower()
        seen = seen.__cause__ or seen.__context__
    text = str(error).lower()
    if "name or service not known" in text or "getaddrinfo" in text or "resolution" in text:
        return "its name does not resolve; is the network there?"
    if "attempts failed" in text or "refused" in text:
        return "nothing listens there; is the server running?"
    if "certificate" in text:
        return "its certificate is not trusted"
    if "ssl" in text:
        return "it does not speak TLS as expected; is it http:// rather than https://?"
    return type(error).__name__


# --- connections --------------------------------------------------------------------------------

Address = tuple[str, str, int | None]

_HEADERS = {"accept": "text/event-stream", "accept-encoding": "identity", "user-agent": "alloy_nb"}
# The watch ends a silent reply; a limit on each read could not tell comments from events.
_TIMEOUTS = httpx.Timeout(None, connect=CONNECT_SECONDS)
_LIMITS = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=60)
_BROKEN = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)


class _Kept:
    """Sends once more where a kept connection took a request and broke without a byte of answer.

    httpx cannot tell none from a cut head, so the stream, which comes with an answer, is heard.
    """

    def __init__(self) -> None:
        self._stream: Any = None

    async def ask(self, send: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
        with listening(self._stream) as heard:
            try:
                response = await send()
            except _BROKEN:
                if heard != {"written"}:
                    raise
                response = await send()  # httpx has closed the broken one, and opens another
        self._stream = response.extensions.get("network_stream")
        return response


class _Reply(httpx.AsyncByteStream):
    """A reply that came over a connection of ours, in the words of httpx's responses.

    It is none of them: to make, read and close one takes five times as long as this.
    """

    def __init__(self, connection: Connection, head: Head) -> None:
        self.status_code = head.status
        self.headers = head.by_name()
        self._head = head
        self._connection = connection

    @property
    def stream(self) -> _Reply:
        return self

    @property
    def is_whole(self) -> bool:
        return self._connection.is_done

    def aiter_bytes(self) -> AsyncIterator[bytes]:
        """Return the body without its compression, which httpx undoes."""
        head = self._head
        return httpx.Response(head.status, headers=head.fields, stream=self).aiter_bytes()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        # No generator: one that is left before its end costs the loop a task to end it.
        if piece := await self._connection.piece():
            return piece
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._connection.release()


Response = httpx.Response | _Reply
Send = Callable[[Call], Awaitable[Response]]


class _Transport:
    """Sends over a connection of ours, which it opens and keeps."""

    def __init__(self) -> None:
        self._connection: Connection | None = None

    async def send(self, call: Call) -> _Reply:
        url = _parsed(call.url)
        fields = {"host": url.netloc.decode("ascii"), **_HEADERS, **call.headers}
        request, head = written(call.method, url.raw_path, fields, call.body), None
        if self._connection is not None and self._connection.is_usable:
            with contextlib.suppress(Unanswered):
                head = await self._connection.ask(request)
        if head is None:
            await self.aclose()
            self._connection = await _opened_to(url)
            head = await self._connection.ask(request)
        return _Reply(self._connection, head)  # type: ignore[arg-type]  # there is one by now

    async def aclose(self) -> None:
        if self._connection is not None:
            self._connection.close()


async def _opened_to(url: httpx.URL) -> Connection:
    host, is_tls = url.raw_host.decode("ascii"), url.scheme == "https"
    port = url.port or (443 if is_tls else 80)
    tls = _tls() if is_tls else None
    try:
        return await Connection.open(host, port, tls=tls, seconds=CONNECT_SECONDS)
    except TimeoutError:
        raise httpx.ConnectTimeout("") from None
    except OSError as error:
        raise httpx.ConnectError("") from error


class _Client:
    """Sends with a client: the user's own, or one that finds its proxy in the environment."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.aclose = client.aclose
        self._kept = _Kept()

    async def send(self, call: Call) -> httpx.Response:
        client = self._client
        request = client.build_request(
            call.method,
            call.url,
            content=call.body,
            headers={**_HEADERS, **call.headers},
            timeout=_TIMEOUTS,  # httpx's own would end a model that thinks for six seconds
        )
        send = functools.partial(client.send, request, stream=True, follow_redirects=False)
        return await self._kept.ask(send)


class _Place:
    """A connection for the time of a request. No generator: there is one for each request."""

    def __init__(self, connections: _Connections, address: Address, *, new: bool) -> None:
        self._connections = connections
        self._address = address
        self._new = new
        self._connection: _Transport | _Client | None = None

    async def __aenter__(self) -> Send:
        self._connection = await self._connections.take(self._address, new=self._new)
        return self._connection.send

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        assert self._connection is not None  # noqa: S101  # it was entered
        # An error that the server sent is an answer too, read and closed as it should be.
        well = error is None or isinstance(error, ProviderError)
        self._connections.give_back(self._address, self._connection, well=well)


class _Connections:
    """The connections of one loop: taken for a request, kept for the next one if it ended well."""

    def __init__(self, new: Callable[[], _Transport | _Client]) -> None:
        self._new = new
        self._idle: dict[Address, list[_Transport | _Client]] = {}
        self._room = asyncio.Semaphore(_CONNECTIONS)
        self._closing: set[asyncio.Task[None]] = set()

    def one(self, url: httpx.URL, *, new: bool) -> _Place:
        """Return the place of a request: entered, it has a connection."""
        return _Place(self, (url.scheme, url.host, url.port), new=new)

    async def take(self, address: Address, *, new: bool) -> _Transport | _Client:
        """Wait for room, and return a connection; a new one cannot be dead yet."""
        await self._room.acquire()
        try:
            idle = self._idle.get(address)
            return idle.pop() if idle and not new else self._new()
        except BaseException:  # whatever it is, the room that was taken is given back
            self._room.release()
            raise

    def give_back(self, address: Address, connection: _Transport | _Client, *, well: bool) -> None:
        """Keep a connection whose request ended well; httpcore may lose count of its place."""
        self._room.release()
        if well:
            self._idle.setdefault(address, []).append(connection)
        else:
            self._throw_away(connection)

    async def close(self) -> None:
        for idle in self._idle.values():
            for connection in idle:
                self._throw_away(connection)
        self._idle.clear()
        await asyncio.gather(*self._closing)

    def _throw_away(self, connection: _Transport | _Client) -> None:
        # In a task of its own: the one that runs is often being cancelled, perhaps again.
        task = asyncio.ensure_future(connection.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


class _NoProxy(httpx.ProxyError):
    """What the environment says of proxies cannot be used; the text says why, in our words."""


def _through_proxy() -> _Client:
    try:
        client = httpx.AsyncClient(verify=_tls(), trust_env=True, limits=_LIMITS, timeout=_TIMEOUTS)
    except ImportError:
        raise _NoProxy("SOCKS needs pip install 'httpx[socks]'") from None
    except (ValueError, httpx.InvalidURL):
        raise _NoProxy("check HTTPS_PROXY, ALL_PROXY and NO_PROXY") from None
    return _Client(client)


_tls_context: ssl.SSLContext | None = None
_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[bool, _Connections]] = WeakKeyDictionary()


def _tls() -> ssl.SSLContext:
    global _tls_context
    if _tls_context is None:
        _tls_context = httpx.create_ssl_context()
        _tls_context.set_alpn_protocols(["http/1.1"])
    return _tls_context


def _connection_for(call: Call) -> contextlib.AbstractAsyncContextManager[Send]:
    if call.client is not None:
        return contextlib.nullcontext(_Client(call.client).send)
    url = _parsed(call.url)
    proxied = is_proxied(url.host)
    of_loop = _loops.setdefault(asyncio.get_running_loop(), {})
    if proxied not in of_loop:
        of_loop[proxied] = _Connections(_through_proxy if proxied else _Transport)
    return of_loop[proxied].one(url, new=call.once)


@functools.lru_cache(maxsize=256)
def _parsed(url: str) -> httpx.URL:
    """Parse an address once; an agent sends to the same one again and again."""
    parsed = httpx.URL(url)
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise httpx.UnsupportedProtocol("")
    return parsed


async def close_clients() -> None:
    """Close all connections of the running loop."""
    for connections in _loops.pop(asyncio.get_running_loop(), {}).values():
        await connections.close()

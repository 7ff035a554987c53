"""The one transport: a POST whose reply is a stream of events.

This file alone imports httpx, and no httpx exception, request or response leaves it: they print
keys and URLs, and a notebook saves what is printed. It never follows a redirect (httpx carries
``x-api-key`` along to other hosts) and never retries, but over a dead connection (the engine does).

Connections belong to the event loop that made them. Each is a pool of httpx with one place, and
we keep them, for two reasons. A pool of many walks all its connections at every step: 64 requests
on one cost ten times the CPU. And a task that is cancelled while httpcore (1.0) takes or gives back
a connection leaves its place taken for ever, so after some interrupts a shared pool would hang:
here a connection whose request did not end well is thrown away. All share one TLS context.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import functools
import ipaddress
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies
from weakref import WeakKeyDictionary

import httpx

from alloy_nb.errors import ConnectionFailed, ProviderError, StreamTruncated, TimedOut
from alloy_nb.events import ModelEvent
from alloy_nb.providers.decoding import ReplyDecoder
from alloy_nb.providers.listening import listening

__all__ = ["Call", "Failure", "close_clients", "stream_events"]

CONNECT_SECONDS = 5.0
# How much of an error's body is kept: enough for any vendor's JSON, not for a web page.
_ERROR_BYTES = 16 * 1024
_CONNECTIONS = 256
# A server that keeps the connection open after the last event gets this long to end its reply.
_DRAIN_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Failure:
    """A reply with an error status, for the wire to name."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def request_id(self) -> str | None:
        """The vendor's id of the request, under whichever header it sends it."""
        for name in ("request-id", "x-request-id", "x-amzn-requestid", "cf-ray"):
            if name in self.headers:
                return self.headers[name]
        return None

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait, from ``retry-after-ms`` or ``retry-after`` (seconds or a date)."""
        if (milliseconds := _seconds(self.headers.get("retry-after-ms", ""))) is not None:
            return milliseconds / 1000
        value = self.headers.get("retry-after", "")
        return _seconds(value) if _is_number(value) else _seconds_until(value)


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _seconds(value: str) -> float | None:
    return float(value) if _is_number(value) and 0 <= float(value) < float("inf") else None


def _seconds_until(date: str) -> float | None:
    try:
        moment = email.utils.parsedate_to_datetime(date)
        return max(0.0, moment.timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


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


async def stream_events(call: Call, decoder: ReplyDecoder) -> AsyncIterator[ModelEvent]:
    """Send the call and yield the events of its reply; closing the iterator closes the connection.

    Raises:
        ProviderError: See :mod:`alloy_nb.errors`; nothing of httpx is in it.
    """
    watch = _Watch(call)
    failure: ProviderError
    try:
        async with _connection_for(call) as send, _opened(send, call, watch) as response:
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
                await _drain(chunks)
                return
            failure = decoder.fault
    except asyncio.CancelledError:
        if not watch.fired:
            raise
        failure = watch.error()
    except ProviderError as error:
        failure = error
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, ssl.SSLError, OSError) as error:
        failure = _translated(error, call, begun=watch.begun)
    finally:
        watch.stop()
    # Raised out here, and from here, the error holds neither the one behind it, which holds the
    # request, nor frames whose variables hold what the server sent, which may repeat the key.
    chunk, events = b"", None
    raise failure.with_traceback(None) from None


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    """Read what follows the terminal event, so that the connection can be used again."""
    with contextlib.suppress(TimeoutError, httpx.HTTPError):
        # The answer is whole: what a server does afterwards cannot change it.
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for _ in chunks:
                pass


def _chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    # The stream itself skips two layers that would run for each chunk; we ask for no compression.
    if response.headers.get("content-encoding", "identity") == "identity":
        return aiter(response.stream)  # type: ignore[arg-type]  # of an AsyncClient it is async
    return response.aiter_bytes()


@contextlib.asynccontextmanager
async def _opened(send: Send, call: Call, watch: _Watch) -> AsyncIterator[httpx.Response]:
    """Send the request and give its response, if its status and type are as they should be."""
    watch.reading = True
    response = await send(call)
    try:
        kind = response.headers.get("content-type", "text/event-stream")
        if response.status_code != 200 or "text/event-stream" not in kind.lower():
            body = await _body(response)
            raise call.fail(Failure(response.status_code, response.headers, body))
        watch.reading = False
        watch.begun = True
        yield response
    finally:
        await response.aclose()


async def _body(response: httpx.Response) -> bytes:
    kept = bytearray()
    async for piece in response.aiter_bytes():
        kept += piece
        if len(kept) >= _ERROR_BYTES:
            break
    return bytes(kept[:_ERROR_BYTES])


class _Watch:
    """Ends a reply on which nothing moves, or which passes its deadline.

    One timer a reply instead of one a chunk. It cancels the task that reads, and only while it
    reads: a consumer that takes its time over an event is not the vendor's delay.
    """

    def __init__(self, call: Call) -> None:
        self.moved = time.monotonic()
        self.reading = False
        self.begun = False
        self.fired = False
        self._call = call
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._left(), self._look)

    def stop(self) -> None:
        self._timer.cancel()

    def error(self) -> TimedOut:
        call = self._call
        if self._task is not None:
            self._task.uncancel()  # it was asked for here, and it ends here
        late = call.deadline is not None and time.monotonic() >= call.deadline
        what = (
            "did not finish within the time that the run had"
            if late
            else f"sent nothing new for {call.progress_seconds:g} seconds"
        )
        return TimedOut(
            f"{call.provider} {what}, so the request was closed. Ask again, or raise timeout=.",
            provider=call.provider,
            model=call.model,
        )

    def _left(self) -> float:
        now = time.monotonic()
        left = self.moved + self._call.progress_seconds - now
        if self._call.deadline is not None:
            left = min(left, self._call.deadline - now)
        return left

    def _look(self) -> None:
        left = self._left()
        if left <= 0 and self.reading and self._task is not None:
            self.fired = True
            self._task.cancel()
            return
        # A consumer that is slow is looked at again soon.
        self._timer = self._loop.call_later(max(left, 0.05), self._look)


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
        case httpx.ProxyError():
            text = f"The proxy on the way to {host} refused: check HTTPS_PROXY and NO_PROXY."
        case httpx.ConnectError():
            text = f"Cannot connect to {host}: {_cause(error)}."
        case httpx.UnsupportedProtocol() | httpx.InvalidURL() | UnicodeError():
            text = f"{host!r} is no address: give base_url= as https://host or http://host:port."
        case httpx.RemoteProtocolError():
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

Send = Callable[[Call], Awaitable[httpx.Response]]

_HEADERS = {"accept": "text/event-stream", "accept-encoding": "identity", "user-agent": "alloy_nb"}
# The watch ends a silent reply; a limit on each read could not tell comments from events.
_TIMEOUTS = httpx.Timeout(None, connect=CONNECT_SECONDS)
_EXTENSIONS = {"timeout": _TIMEOUTS.as_dict()}
_LIMITS = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=60)
_BROKEN = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)


class _Kept:
    """Sends once more where a kept connection took a request and broke without a byte of answer.

    httpx cannot tell none from a cut head, so the stream, which comes with an answer, is heard.

    Args:
        joins: Whether a request goes out in one piece. Not where others share the stream.
    """

    def __init__(self, *, joins: bool = False) -> None:
        self._stream: Any = None
        self._joins = joins

    async def ask(self, send: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
        with listening(self._stream, joins=self._joins) as heard:
            try:
                response = await send()
            except _BROKEN:
                if heard != {"written"}:
                    raise
                response = await send()  # httpx has closed the broken one, and opens another
        self._stream = response.extensions.get("network_stream")
        return response


class _Transport:
    """Sends over httpx's transport itself.

    Cookies, redirects and authentication are not for us, and cost time in every request.
    """

    def __init__(self) -> None:
        self._transport = httpx.AsyncHTTPTransport(verify=_tls(), trust_env=False, limits=_LIMITS)
        self.aclose = self._transport.aclose
        self._kept = _Kept(joins=True)

    async def send(self, call: Call) -> httpx.Response:
        url, size = _parsed(call.url), str(len(call.body))
        headers = {"host": url.netloc.decode("ascii"), "content-length": size, **_HEADERS}
        headers.update(call.headers)
        # Given a stream, httpx adds no headers: to find out which takes it 18 us.
        body = httpx.ByteStream(call.body)
        request = httpx.Request("POST", url, headers=headers, stream=body, extensions=_EXTENSIONS)
        return await self._kept.ask(lambda: self._transport.handle_async_request(request))


class _Client:
    """Sends with a client: the user's own, or one that finds its proxy in the environment."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.aclose = client.aclose
        self._kept = _Kept()

    async def send(self, call: Call) -> httpx.Response:
        client = self._client
        request = client.build_request(
            "POST",
            call.url,
            content=call.body,
            headers={**_HEADERS, **call.headers},
            timeout=_TIMEOUTS,  # httpx's own would end a model that thinks for six seconds
        )
        send = functools.partial(client.send, request, stream=True, follow_redirects=False)
        return await self._kept.ask(send)


class _Connections:
    """The connections of one loop: taken for a request, kept for the next one if it ended well."""

    def __init__(self, new: Callable[[], _Transport | _Client]) -> None:
        self._new = new
        self._idle: dict[tuple[str, str, int | None], list[_Transport | _Client]] = {}
        self._room = asyncio.Semaphore(_CONNECTIONS)
        self._closing: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def one(self, url: httpx.URL) -> AsyncIterator[Send]:
        async with self._room:
            idle = self._idle.setdefault((url.scheme, url.host, url.port), [])
            connection = idle.pop() if idle else self._new()
            try:
                yield connection.send
            except ProviderError:  # an answer too, read and closed as it should be
                idle.append(connection)
                raise
            except BaseException:  # raised again; httpcore may have lost count of its place
                self._throw_away(connection)
                raise
            idle.append(connection)

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


def _through_proxy() -> _Client:
    return _Client(
        httpx.AsyncClient(verify=_tls(), trust_env=True, limits=_LIMITS, timeout=_TIMEOUTS)
    )


_tls_context: ssl.SSLContext | None = None
_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[bool, _Connections]] = WeakKeyDictionary()


def _tls() -> ssl.SSLContext:
    global _tls_context
    if _tls_context is None:
        _tls_context = httpx.create_ssl_context()
    return _tls_context


def _connection_for(call: Call) -> contextlib.AbstractAsyncContextManager[Send]:
    if call.client is not None:
        return contextlib.nullcontext(_Client(call.client).send)
    url = _parsed(call.url)
    proxied = _is_proxied(url.host)
    of_loop = _loops.setdefault(asyncio.get_running_loop(), {})
    if proxied not in of_loop:
        of_loop[proxied] = _Connections(_through_proxy if proxied else _Transport)
    return of_loop[proxied].one(url)


@functools.lru_cache(maxsize=256)
def _parsed(url: str) -> httpx.URL:
    """Parse an address once; an agent sends to the same one again and again."""
    parsed = httpx.URL(url)
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise httpx.UnsupportedProtocol("")
    return parsed


@functools.lru_cache(maxsize=256)
def _is_proxied(host: str) -> bool:
    """Return whether the environment names a proxy that may be meant for this host.

    Never for a server on this machine. The environment is read once for each host.
    """
    return bool(getproxies()) and not _is_loopback(host)


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def close_clients() -> None:
    """Close all connections of the running loop."""
    for connections in _loops.pop(asyncio.get_running_loop(), {}).values():
        await connections.close()

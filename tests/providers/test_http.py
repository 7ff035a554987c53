"""The transport: every failure has a type and a sentence, nothing hangs, connections are reused.

It is the same for all formats, so one of them is enough; what each does over it is in
`test_contract`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from alloy_nb.errors import (
    AuthFailed,
    BadRequest,
    ConfigError,
    ConnectionFailed,
    ProviderError,
    QuotaExceeded,
    RateLimited,
    ServerFault,
    StreamTruncated,
    TimedOut,
)
from alloy_nb.events import TextDelta
from alloy_nb.messages import user
from alloy_nb.providers import Anthropic, OpenAICompat, http
from alloy_nb.providers import provider as make
from alloy_nb.providers.base import ModelRequest
from alloy_nb.providers.http import close_clients
from tests.providers.wires import ask, collect, headers_of, request
from tests.servers.sse import (
    CLOSE,
    RESET,
    STALL,
    Answer,
    Pause,
    Server,
    byte_by_byte,
    cut,
    hang_up,
    html_page,
    json_answer,
    loop,
    redirect,
    stream,
)
from tests.servers.wire import Reply, Say, chat_events, words

KEY = "sk-ant-api03-canary0123456789abcdefghij"
HELLO = Reply([Say("Hello there")])


def provider_of(url: str, **more: Any) -> Any:
    settings = {"api_key": KEY, "timeout": 5.0} | more
    return OpenAICompat("scripted-1", url, name="local", **settings)


def events_of(reply: Reply = HELLO) -> list[bytes]:
    return chat_events(reply)


def failure(provider: Any, asked: ModelRequest | None = None) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        ask(provider, asked)
    error = caught.value
    assert error.provider == provider.name
    assert error.model == "scripted-1"
    assert KEY not in str(error)
    assert "http" not in type(error).__module__
    return error


def failing(*script: Any, **more: Any) -> ProviderError:
    with Server(*script) as server:
        return failure(provider_of(server.url, **more))


# --- a status -------------------------------------------------------------------------------------


def test_a_refused_key_names_the_variable_that_holds_it(monkeypatch):
    monkeypatch.setenv("MISTRAL_API_KEY", KEY)

    def refuse(asked: httpx.Request) -> httpx.Response:
        return httpx.Response(401, json={"error": {"message": "bad key"}})

    client = httpx.AsyncClient(transport=httpx.MockTransport(refuse))
    with pytest.raises(AuthFailed, match="MISTRAL_API_KEY"):
        ask(make("mistral/m", http_client=client))


def test_a_missing_key_is_told_before_anything_is_sent(monkeypatch):
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="ANTHROPIC_API_KEY"):
        ask(Anthropic("m"))


@pytest.mark.parametrize("key", ["sk-ant bad key 123", "sk-ant-é12345678", "sk\nant-1234567"])
def test_a_key_that_cannot_be_one_is_told_before_anything_is_sent(key):
    with pytest.raises(ConfigError, match="Copy it again") as caught:
        ask(Anthropic("m", api_key=key))
    assert key not in str(caught.value)


def in_an_hour():
    """Counted when the test runs: the tests before it may have taken long."""
    return format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)


RETRIES = {
    "seconds": ("retry-after", "7", 7.0),
    "a part of a second": ("retry-after", "0.5", 0.5),
    "milliseconds": ("retry-after-ms", "250", 0.25),
    "a date": ("retry-after", in_an_hour, 3600.0),
    "a date that is over": ("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
    "a date far away": ("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT", 2.5e11),
    "garbage": ("retry-after", "soon", None),
    "negative": ("retry-after", "-5", None),
    "no number": ("retry-after", "nan", None),
    "for ever": ("retry-after", "inf", None),
    "blank": ("retry-after", "", None),
    "garbage in milliseconds": ("retry-after-ms", "nan", None),
}


def test_a_date_is_one_of_the_servers_clock():
    answered = datetime(2031, 5, 1, tzinfo=UTC)
    headers = [
        ("Date", format_datetime(answered, usegmt=True)),
        ("Retry-After", format_datetime(answered + timedelta(seconds=7), usegmt=True)),
    ]
    error = failing(json_answer({}, status=429, headers=headers))
    assert error.retry_after == 7


@pytest.mark.parametrize(("header", "value", "seconds"), RETRIES.values(), ids=RETRIES.keys())
def test_how_long_to_wait_is_read_in_every_form(header, value, seconds):
    value = value() if callable(value) else value
    error = failing(json_answer({}, status=429, headers=[(header, value)]))
    assert isinstance(error, RateLimited)
    assert error.retry_after == (seconds if not seconds else pytest.approx(seconds, rel=0.1))


# --- replies that are none ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "cause", "hint"),
    [
        (html_page(200, "Login"), ServerFault, "a web page"),
        (html_page(502), ServerFault, "HTTP 502"),
        (Answer([], content_type="application/json", framing="length"), ServerFault, "empty"),
        (
            json_answer({"error": {"message": "quota", "type": "insufficient_quota"}}),
            QuotaExceeded,
            "quota",
        ),
        (json_answer({"error": "no such model"}), ServerFault, "no such model"),
        (json_answer({"id": "x", "choices": []}), ServerFault, "base_url="),
        (Answer([b"hello"], content_type="text/plain"), ServerFault, "base_url="),
    ],
)
def test_a_reply_that_is_no_stream_is_told_as_what_it_is(answer, cause, hint):
    error = failing(answer)
    assert type(error) is cause
    assert hint in str(error)


def test_a_page_of_any_size_is_not_repeated():
    page = Answer([b"<html>" + b"x" * 100_000], 500, content_type="text/html")
    assert len(str(failing(page))) < 600


@pytest.mark.parametrize("body", [[], [b": nothing\n\n"]])
def test_an_event_stream_without_events_is_a_cut_reply(body):
    assert isinstance(failing(stream(body)), StreamTruncated)


def test_a_client_that_follows_redirects_does_not_follow_ours():
    async def go(url: str) -> None:
        async with httpx.AsyncClient(follow_redirects=True) as client:
            with pytest.raises(BadRequest):
                await collect(provider_of(url, http_client=client))

    with Server() as other, Server(redirect(other.url)) as server:
        asyncio.run(go(server.url))
        assert other.requests == []


# --- no reply at all ------------------------------------------------------------------------------


@contextlib.contextmanager
def closed_port() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


def test_a_refused_connection_asks_whether_the_server_runs():
    with closed_port() as url:
        error = failure(provider_of(url))
    assert type(error) is ConnectionFailed
    assert "is the server running?" in str(error)
    assert error.retryable


def test_a_name_that_does_not_resolve_is_told_so(monkeypatch):
    monkeypatch.delenv("HTTP_PROXY", raising=False)
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.delenv("all_proxy", raising=False)
    monkeypatch.delenv("ALL_PROXY", raising=False)
    error = failure(provider_of("http://nobody.invalid:8000"))
    assert type(error) is ConnectionFailed
    assert "nobody.invalid" in str(error)
    assert "does not resolve" in str(error)


def test_a_server_that_hangs_up_is_no_answer():
    error = failing(hang_up())
    assert type(error) is ConnectionFailed
    assert "without an answer" in str(error)


def test_a_connection_that_is_reset_before_the_answer_is_told():
    assert type(failing(Answer([RESET], raw=True))) is ConnectionFailed


def test_a_server_that_speaks_no_http_is_told():
    assert type(failing(Answer([b"SSH-2.0-OpenSSH_9\r\n", CLOSE], raw=True))) is ConnectionFailed


def test_tls_to_a_plain_server_suggests_http():
    async def go() -> ProviderError:
        def answer(reader: Any, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ProviderError) as caught:
            await collect(provider_of(f"https://127.0.0.1:{port}"))
        server.close()
        await close_clients()
        return caught.value

    error = asyncio.run(go())
    assert type(error) is ConnectionFailed
    assert "http:// rather than https://" in str(error)


@pytest.mark.parametrize("address", ["http://", "ftp://x", "http://[::1", "https://"])
def test_an_address_that_is_none_is_told_so(address):
    try:
        error: Exception = failure(provider_of(address))
    except ConfigError as refused:
        error = refused
    assert "address" in str(error)


@pytest.mark.parametrize(
    "address",
    ["http://h:99999", "http://h:port", "ftp://h", "http://h/v1?api-version=1", "http://h/v1#x"],
)
def test_an_address_that_no_request_could_go_to_is_refused_at_once(address):
    with pytest.raises(ConfigError, match="base_url"):
        OpenAICompat("m", address)


def test_what_stands_behind_a_question_mark_is_not_shown_for_it_may_be_a_key():
    with pytest.raises(ConfigError) as caught:
        OpenAICompat("m", "http://h/v1?key=hunter2secret")
    assert "hunter2secret" not in str(caught.value)


def test_spaces_around_an_address_are_none_of_it():
    with Server(*loop([Say("hi")])) as server:
        assert ask(provider_of(f" {server.url}/v1\n")).message.text == "hi"


@pytest.mark.parametrize("end", [CLOSE, RESET])
def test_an_error_whose_body_breaks_off_is_still_that_error(end):
    head = b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 99\r\n\r\n"
    error = failing(Answer([head, b'{"err', Pause(0.05), end], raw=True))
    assert isinstance(error, RateLimited)
    assert error.retry_after == 7


def test_an_error_whose_body_cannot_be_unpacked_is_still_that_error():
    packed = Answer([b"no gzip"], 401, [("Content-Encoding", "gzip")], framing="length")
    assert type(failing(packed)) is AuthFailed


@pytest.fixture
def proxies(monkeypatch):
    """Set what the environment says of proxies, for a host that was not asked so far."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch.setenv


def test_a_proxy_that_is_not_there_is_named_in_the_error(proxies):
    proxies("HTTPS_PROXY", "http://127.0.0.1:9")
    said = str(failure(provider_of("https://one.example")))
    assert said.startswith("Cannot connect to one.example through the proxy that HTTPS_PROXY")
    assert said.endswith("is the server running?")


def test_a_host_that_needs_no_proxy_is_not_said_to_have_one(proxies):
    proxies("HTTPS_PROXY", "http://127.0.0.1:9")
    proxies("NO_PROXY", "two.invalid")
    assert "proxy" not in str(failure(provider_of("https://two.invalid")))


@pytest.mark.parametrize(
    ("name", "value"),
    [("HTTPS_PROXY", "gopher://127.0.0.1:9"), ("NO_PROXY", "fe80::1/64")],
)
def test_proxies_that_cannot_be_used_are_named_in_the_error(proxies, name, value):
    proxies("HTTP_PROXY", "http://127.0.0.1:9")
    proxies(name, value)
    error = failure(provider_of(f"https://{name.lower().replace('_', '-')}.example"))
    assert type(error) is ConnectionFailed
    assert "check HTTPS_PROXY, ALL_PROXY and NO_PROXY" in str(error)


def test_a_socks_proxy_says_what_it_needs(proxies, monkeypatch):
    monkeypatch.setitem(sys.modules, "socksio", None)
    proxies("ALL_PROXY", "socks5://127.0.0.1:9")
    error = failure(provider_of("https://three.example"))
    assert type(error) is ConnectionFailed
    assert "httpx[socks]" in str(error)


def test_a_proxy_that_refuses_is_told_without_its_password(monkeypatch):
    with Server(*[json_answer({}, status=407)] * 2) as proxy:
        address = proxy.url.replace("http://", "http://me:hunter2secret@")
        for name in ("https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, address)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        error = failure(provider_of("https://model.example"))
    assert type(error) is ConnectionFailed
    assert "proxy" in str(error)
    assert "hunter2secret" not in str(error)


def test_a_proxy_is_not_asked_for_this_machine(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server(*loop([Say("hi")])) as server:
        assert ask(provider_of(server.url)).message.text == "hi"


# --- in the middle --------------------------------------------------------------------------------


def texts(answer: Answer, **more: Any) -> tuple[str, ProviderError]:
    """Return what was said before the reply broke, and the error."""

    async def go(url: str) -> tuple[str, ProviderError]:
        said = []
        try:
            with pytest.raises(ProviderError) as caught:
                async for event in provider_of(url, **more).stream(request()):
                    if isinstance(event, TextDelta):
                        said.append(event.text)
        finally:
            await close_clients()
        return "".join(said), caught.value

    with Server(answer) as server:
        return asyncio.run(go(server.url))


LONG = Reply([Say(words(60))])


@pytest.mark.parametrize("end", [RESET, CLOSE], ids=["RST", "FIN"])
@pytest.mark.parametrize("framing", ["chunked", "close", "length"])
def test_a_reply_that_breaks_keeps_what_had_arrived(end, framing):
    whole = b"".join(events_of(LONG))
    sent = whole[: len(whole) // 2]
    answer = stream([sent, Pause(0.05), end], framing=framing, length=len(whole))
    said, error = texts(answer)
    assert type(error) is StreamTruncated
    assert not error.retryable
    # A reset may overtake what was sent before it, in the system's own buffers.
    assert LONG.text_of(Say).startswith(said)
    if end is CLOSE:
        assert len(said) > 100


def test_a_reply_cut_in_a_character_keeps_what_had_arrived():
    whole = b"".join(events_of(Reply([Say("ab😀cd", size=9)])))
    at = whole.index("😀".encode()) + 2
    said, error = texts(stream(cut([whole], at, CLOSE)))
    assert type(error) is StreamTruncated
    assert said == ""


def test_a_reply_that_is_compressed_all_the_same_is_read():
    whole = gzip.compress(b"".join(events_of(Reply([Say("hello")]))))
    fields = [("Content-Encoding", "gzip"), ("X-Place", "caf\xe9")]

    async def go(url: str) -> str:
        events = [event async for event in provider_of(url).stream(request())]
        await close_clients()
        return "".join(event.text for event in events if isinstance(event, TextDelta))

    with Server(stream([whole[:20], whole[20:]], headers=fields)) as server:
        assert asyncio.run(go(server.url)) == "hello"


def test_broken_compression_is_a_cut_reply():
    answer = stream([b"no gzip at all" * 10], headers=[("Content-Encoding", "gzip")])
    _, error = texts(answer)
    assert type(error) is StreamTruncated


def limit(seconds: float = 0.5) -> dict[str, float]:
    return {"timeout": seconds}


class Stopwatch:
    def __enter__(self) -> Stopwatch:
        self.began = time.monotonic()
        return self

    def __exit__(self, *exc: object) -> None:
        self.seconds = time.monotonic() - self.began


STALLS = {
    "before the head": lambda: Answer([STALL], raw=True),
    "within the head": lambda: Answer([b"HTTP/1.1 200 OK\r\nX-", STALL], raw=True),
    "before the first event": lambda: stream([STALL]),
    "after some events": lambda: stream([*events_of(LONG)[:9], STALL]),
    "within an event": lambda: stream(cut(events_of(LONG), 700, STALL)),
    "behind comments": lambda: stream(
        [*events_of(LONG)[:9], *[b": keep-alive\n\n", Pause(0.05)] * 200]
    ),
    "a byte at a time": lambda: stream(byte_by_byte(events_of(LONG), 0.02)),
    "in an error": lambda: Answer([b'{"error"', STALL], 500, content_type="application/json"),
    "in a page": lambda: Answer([b"<html>", STALL], content_type="text/html"),
}


@pytest.mark.parametrize("stall", STALLS.values(), ids=STALLS.keys())
def test_a_reply_on_which_nothing_moves_ends_at_the_limit(stall):
    with Stopwatch() as watch:
        _, error = texts(stall(), timeout=0.4)
    assert type(error) is TimedOut
    assert "timeout=" in str(error)
    assert watch.seconds < 8


def test_pings_of_the_format_keep_a_reply_alive():
    events = events_of(HELLO)
    ping = b'event: ping\ndata: {"type": "ping"}\n\n'
    body = [events[0], *[Pause(0.2), ping] * 8, *events[1:]]
    with Server(stream(body)) as server:
        assert ask(provider_of(server.url, timeout=1.5)).message.text == "Hello there"


def test_a_slow_reply_that_moves_on_is_not_ended():
    events = events_of(HELLO)
    body = [piece for event in events for piece in (Pause(1.6 / len(events)), event)]
    with Server(stream(body)) as server:
        assert ask(provider_of(server.url, timeout=1.5)).message.text == "Hello there"


def test_a_slow_consumer_is_not_the_servers_delay():
    events = events_of(HELLO)
    body = [*events[:3], Pause(1.7), *events[3:]]

    async def go(url: str) -> str:
        said, slept = "", False
        async for event in provider_of(url, timeout=1.5).stream(request()):
            if isinstance(event, TextDelta):
                said += event.text
                if not slept:
                    slept = True
                    # The server goes on 0.1 s after the reader does.
                    await asyncio.sleep(1.6)
        await close_clients()
        return said

    with Server(stream(body)) as server:
        assert asyncio.run(go(server.url)) == "Hello there"


def test_the_deadline_ends_a_reply_that_moves():
    body = [piece for event in events_of(LONG) for piece in (Pause(0.05), event)]

    async def go(url: str) -> float:
        began = time.monotonic()
        asked = ModelRequest([user("hi")], deadline=began + 0.4)
        with pytest.raises(TimedOut, match="time that the run had"):
            await collect(provider_of(url), asked)
        await close_clients()
        return time.monotonic() - began

    with Server(stream(body)) as server:
        assert 0.3 < asyncio.run(go(server.url)) < 0.05 * len(events_of(LONG))


def test_a_limit_that_was_reached_leaves_no_cancellation_behind():
    async def go(url: str) -> int:
        with pytest.raises(TimedOut):
            await collect(provider_of(url, timeout=0.1))
        await close_clients()
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    with Server(stream([STALL])) as server:
        assert asyncio.run(go(server.url)) == 0


def test_the_limits_of_a_client_of_the_users_own_do_not_end_a_slow_reply():
    # httpx's own default would end a model that thinks for six seconds.
    async def go(url: str) -> str:
        async with httpx.AsyncClient(timeout=0.1) as client:
            events = await collect(provider_of(url, http_client=client))
        return "".join(e.text for e in events if isinstance(e, TextDelta))

    with Server(stream([Pause(0.4), *events_of()])) as server:
        assert asyncio.run(go(server.url)) == "Hello there"


# --- connections ----------------------------------------------------------------------------------


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a server that is held up the time to end its reply, so that its connection is kept."""
    monkeypatch.setattr(http, "_DRAIN_SECONDS", 20.0)


def test_readers_cancelled_anywhere_leave_room_for_the_next():
    # Each leaves at another step. Nothing of theirs may stay taken: a shared pool hung here.
    async def go(url: str) -> None:
        for step in range(600):
            reading = asyncio.create_task(collect(provider_of(url)))
            for _ in range(step % 40):
                await asyncio.sleep(0)
                if step % 40 > 15:
                    await asyncio.to_thread(int)  # a little longer, for the answer to come
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
        async with asyncio.timeout(30):
            await asyncio.gather(*(collect(provider_of(url)) for _ in range(16)))
        await close_clients()

    with Server(otherwise=stream(events_of())) as server:
        asyncio.run(go(server.url))


def test_a_server_that_does_not_end_its_reply_does_not_hold_it_up():
    with Stopwatch() as watch, Server(stream([*events_of(), STALL])) as server:
        assert ask(provider_of(server.url)).message.text == "Hello there"
    assert watch.seconds < 20  # it would wait for ever


class CountingServer(Server):
    """Counts its connections."""

    def __init__(self, *script: Any, **more: Any) -> None:
        self.connections = 0
        super().__init__(*script, **more)

    def _serve(self, line: Any) -> None:
        self.connections += 1
        super()._serve(line)


@pytest.mark.usefixtures("kept")
def test_a_hundred_replies_at_once_open_no_more_connections_than_that():
    reply = stream([*events_of()[:2], Pause(0.2), *events_of()[2:]])

    async def go(url: str) -> None:
        for _ in range(2):
            await asyncio.gather(*(collect(provider_of(url)) for _ in range(100)))
        await close_clients()

    with CountingServer(otherwise=reply) as server:
        with Stopwatch() as watch:
            asyncio.run(go(server.url))
        assert len(server.requests) == 200
        assert server.connections <= 100
    assert watch.seconds < 30  # one after another they would take forty


def test_a_connection_that_the_server_closed_meanwhile_is_replaced():
    once = stream(events_of(), framing="close")

    async def go(url: str) -> int:
        count = 0
        for _ in range(5):
            count += len(await collect(provider_of(url)))
            await asyncio.sleep(0.02)
        await close_clients()
        return count

    with Server(*[once] * 5) as server:
        assert asyncio.run(go(server.url)) > 0


# --- a kept connection that is dead ---------------------------------------------------------------


def after_one(*script: Answer) -> tuple[list[str], int]:
    """Ask once, then once more over the kept connection: return what came, and how many asked."""

    async def go(url: str) -> list[str]:
        said = []
        for _ in range(2):
            try:
                events = await collect(provider_of(url))
                said.append("".join(e.text for e in events if isinstance(e, TextDelta)))
            except ProviderError as error:
                said.append(type(error).__name__)
        await close_clients()
        return said

    with Server(stream(events_of()), *script) as server:
        return asyncio.run(go(server.url)), len(server.requests)


DEATHS = {
    "FIN": Answer([CLOSE], raw=True),
    "RST": Answer([RESET], raw=True),
    "FIN later": Answer([Pause(0.1), CLOSE], raw=True),
}
deaths = pytest.mark.parametrize("death", DEATHS.values(), ids=DEATHS.keys())


@deaths
@pytest.mark.usefixtures("kept")
def test_a_kept_connection_that_dies_before_a_byte_of_answer_is_replaced_unseen(death):
    said, requests = after_one(death, stream(events_of()))
    assert said == ["Hello there", "Hello there"]
    assert requests == 3  # the one in the middle was heard by nobody


@deaths
@pytest.mark.usefixtures("kept")
def test_a_request_is_sent_once_more_and_no_more(death):
    said, requests = after_one(death, death, stream(events_of()))
    assert said == ["Hello there", "ConnectionFailed"]
    assert requests == 3


@pytest.mark.parametrize(
    "answer",
    [
        Answer([b"H", CLOSE], raw=True),
        Answer([b"HTTP/1.1 200 OK\r\nContent-", CLOSE], raw=True),
        Answer([b"HTTP/1.1 200 OK\r\nContent-", Pause(0.2), RESET], raw=True),
        stream([CLOSE]),
        stream([*events_of()[:2], CLOSE]),
    ],
    ids=["a byte", "half a head", "half a head, then RST", "a head", "a part"],
)
@pytest.mark.usefixtures("kept")
def test_after_a_byte_of_answer_nothing_is_sent_again(answer):
    said, requests = after_one(answer, stream(events_of()))
    assert said[1] in ("ConnectionFailed", "StreamTruncated")
    assert requests == 2


@deaths
def test_a_new_connection_that_dies_is_a_failure(death):
    with Server(death, stream(events_of())) as server:
        assert type(failure(provider_of(server.url))) is ConnectionFailed
        assert len(server.requests) == 1


@pytest.mark.usefixtures("kept")
def test_a_connection_goes_on_to_be_kept_after_it_was_replaced():
    async def go(url: str) -> None:
        for _ in range(4):
            await collect(provider_of(url))
        await close_clients()

    script = [stream(events_of()), DEATHS["FIN"], *[stream(events_of())] * 3]
    with CountingServer(*script) as server:
        asyncio.run(go(server.url))
        assert (len(server.requests), server.connections) == (5, 2)


def test_closing_is_silent_when_nothing_was_opened():
    asyncio.run(close_clients())


# --- what is sent ---------------------------------------------------------------------------------


def test_the_key_of_anthropic_goes_in_its_own_header():
    seen = headers_of(Anthropic("m", api_key=KEY))
    assert seen["x-api-key"] == KEY
    assert seen["anthropic-version"] == "2023-06-01"
    assert seen["url"] == "https://api.anthropic.com/v1/messages"


def test_the_key_of_chat_goes_as_a_bearers():
    seen = headers_of(OpenAICompat("m", "http://h", api_key=KEY))
    assert seen["authorization"] == f"Bearer {KEY}"
    assert KEY not in seen["url"]


def test_without_a_key_there_is_no_header_for_it():
    seen = headers_of(OpenAICompat("m", "http://h"))
    assert "authorization" not in seen


def test_more_headers_go_along():
    assert (
        headers_of(Anthropic("m", api_key=KEY, extra_headers={"anthropic-beta": "x"}))[
            "anthropic-beta"
        ]
        == "x"
    )


def test_a_request_says_to_which_host_it_goes_and_how_long_it_is():
    with Server(stream(events_of())) as server:
        ask(provider_of(server.url))
        (got,) = server.requests
    assert got.headers["host"] == server.url.removeprefix("http://")
    assert got.headers["content-length"] == str(len(got.body))
    assert "transfer-encoding" not in got.headers


def test_a_host_that_was_given_goes_in_the_place_of_the_address():
    with Server(stream(events_of())) as server:
        ask(provider_of(server.url, extra_headers={"Host": "models.example"}))
        (got,) = server.requests
    assert got.headers["host"] == "models.example"


def test_a_key_from_the_environment_is_used_and_trimmed(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", f" {KEY}\n")
    assert headers_of(Anthropic("m"))["x-api-key"] == KEY


def test_an_untrusted_certificate_is_told_and_not_accepted(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def go() -> ConnectionFailed:
        server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ConnectionFailed) as caught:
            await collect(provider_of(f"https://127.0.0.1:{port}"))
        server.close()
        await close_clients()
        return caught.value

    assert "certificate is not trusted" in str(asyncio.run(go()))

"""No key comes out anywhere, on any path of failure, in any wire.

A canary is the key; then every surface is searched on which a person or a file could see it: texts
and reprs, tracebacks with and without their locals, log records of us and of httpx at DEBUG,
events, results, pickles, exports.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import logging
import pickle
import socket
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

import alloy_nb as al
from alloy_nb.engine import export
from alloy_nb.engine.agent import Agent
from alloy_nb.errors import AlloyError, AuthFailed, ConfigError, ProviderError
from alloy_nb.secrets import redact
from tests.providers.wires import WIRES, Wire, collect, data
from tests.servers.sse import (
    CLOSE,
    RESET,
    STALL,
    Answer,
    Server,
    hang_up,
    html_page,
    json_answer,
    redirect,
    stream,
)
from tests.servers.wire import Reply, Say, words

each = pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES.keys())

# Of no vendor's shape, so that only knowing it can mask it.
KEY = "canary/+key=9f8e7d6c5b4a"
FORMS = (KEY, quote(KEY, safe=""), json.dumps(KEY)[1:-1], KEY.encode().hex())


def model_of(wire: Wire, url: str, **more: Any) -> Any:
    return wire.make(url, api_key=KEY, **({"timeout": 0.3} | more))


def begun(wire: Wire) -> list[bytes]:
    """Return how a reply begins."""
    return wire.said(Reply([Say(words(9))]))[:5]


def echo(status: int) -> Answer:
    message = f"the key {KEY} is not ours; headers: x-api-key: {KEY}, authorization: Bearer {KEY}"
    return json_answer({"error": {"type": "x", "message": message}}, status=status)


# In the words of every format at once; each reads its own.
FAILURE = {"code": "server_error", "message": f"bad key {KEY}, authorization: Bearer {KEY}"}
ERROR = {"type": "error", **FAILURE, "error": FAILURE}
FAILED = {"type": "response.failed", "response": {"error": FAILURE}}
LOST = {"error": f"Response with id={KEY} not found"}
PATHS = {
    **{f"{code}": lambda wire, code=code: echo(code) for code in (200, 400, 401, 403, 404)},
    **{f"{code}": lambda wire, code=code: echo(code) for code in (429, 500, 503, 529)},
    "lost state": lambda wire: json_answer(LOST, status=404),
    "a page": lambda wire: html_page(502, KEY),
    "plain text": lambda wire: Answer([KEY.encode()], 500, content_type="text/plain"),
    "redirect": lambda wire: redirect(f"http://127.0.0.1:9/?key={quote(KEY)}"),
    "hang up": lambda wire: hang_up(),
    "no HTTP": lambda wire: Answer([KEY.encode() + b"\r\n", CLOSE], raw=True),
    "stall": lambda wire: stream([STALL]),
    "reset": lambda wire: stream([*begun(wire), RESET]),
    "cut": lambda wire: stream(begun(wire), framing="close"),
    "broken event": lambda wire: stream([*begun(wire), f"data: {KEY}\n\n".encode()]),
    "error event": lambda wire: stream([*begun(wire), data(ERROR)]),
    "failed": lambda wire: stream([*begun(wire), data(FAILED)], framing="close"),
    "bad compression": lambda wire: stream([b"x" * 99], headers=[("Content-Encoding", "gzip")]),
}


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.getMessage()} {record.args!r} {record.exc_text or ''}")


@pytest.fixture
def records() -> Iterator[Records]:
    """Record what every logger says, httpx's and httpcore's too."""
    handler, root = Records(), logging.getLogger()
    names = ("", "alloy_nb", "httpx", "httpcore", "asyncio")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def surfaces_of_error(error: BaseException) -> Iterator[tuple[str, Any]]:
    yield "str", str(error)
    yield "repr", repr(error)
    yield "args", error.args
    yield "vars", vars(error)
    yield "traceback", "".join(traceback.format_exception(error))
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    yield "traceback with locals", "".join(told.format())
    yield "pickle", pickle.dumps(error)
    if isinstance(error, AlloyError):
        yield "IPython's traceback", error._render_traceback_()


def assert_clean(where: str, value: Any) -> None:
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    for form in FORMS:
        assert form not in text, f"the key is in the {where}: {text[:2000]}"


def chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    todo = [error]
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        todo += [e for e in (one.__cause__, one.__context__) if e is not None]


@each
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
def test_the_key_comes_out_nowhere(wire, path, records, tmp_path):
    with Server(path(wire), otherwise=path(wire)) as server:
        model = model_of(wire, server.url)
        with pytest.raises(ProviderError) as caught:
            asyncio.run(collect(model))
        for where, value in surfaces_of_error(caught.value):
            assert_clean(where, value)
        # What is behind it is nothing of httpx, which would hold the request and its headers.
        assert not [e for e in chain(caught.value) if type(e).__module__.startswith("http")]

        stores = {"store": True} if "store" in model.takes else {}
        session = al.Session(provider=model, max_retries=0, **stores)
        result = session.chat("hi")
        assert result.status == "error"
        assert_clean("result", repr(result))
        assert_clean("values of the result", [repr(value) for value in result.values()])
        assert_clean("session", repr(session))
        assert_clean("memory of the session", repr(session._history.memory))
        for ending in export.ENDINGS:
            path = export.write(session, tmp_path / f"a{ending}")
            assert_clean(ending, path.read_text())
        assert_clean("events", [repr(event) for event in log_of(model)])
        assert all(KEY not in repr(request.body) for request in server.requests)
        assert all(KEY not in request.path for request in server.requests)
        sent = [KEY in str(request.headers) for request in server.requests]
        assert all(sent)  # it was a key that was sent
    assert_clean("log", "\n".join(records.lines))


def log_of(model: Any) -> list[Any]:
    async def go() -> list[Any]:
        async with Agent(model, retry=al_retry()).start("hi") as run:
            await run.result()
            return run.events

    return asyncio.run(go())


def al_retry() -> Any:
    from alloy_nb.engine.retry import RetryPolicy

    return RetryPolicy(max_retries=1, backoff=0.001)


@each
def test_the_key_comes_out_nowhere_when_nobody_listens(wire, records):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ProviderError) as caught:
        asyncio.run(collect(model_of(wire, f"http://127.0.0.1:{port}")))
    for where, value in surfaces_of_error(caught.value):
        assert_clean(where, value)
    assert_clean("log", "\n".join(records.lines))


@each
def test_a_provider_and_what_holds_it_show_no_key(wire):
    model = model_of(wire, "http://127.0.0.1:9")
    for holder in (model, Agent(model), al.Session(provider=model)):
        assert_clean("repr", repr(holder))
        assert_clean("vars", vars(holder))
    assert_clean("source of the key", model.key_source)
    assert_clean("copy", repr(copy.copy(model)))


@each
def test_a_fault_while_a_request_is_made_shows_no_key(wire):
    # A traceback with locals, as IPython's Verbose mode and pytest print it.
    class Bad(al.Message):
        @property
        def content(self) -> Any:  # type: ignore[override]
            raise ZeroDivisionError

    model = model_of(wire, "http://127.0.0.1:9")
    model.extra_body = {"x": Unprintable()}
    with pytest.raises(Exception) as caught:
        asyncio.run(collect(model))
    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert_clean("traceback with locals", "".join(told.format()))


class Unprintable:
    def __str__(self) -> str:
        raise ZeroDivisionError


def test_a_key_in_the_environment_is_masked_too(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    with Server(echo(401)) as server, pytest.raises(ProviderError) as caught:
        asyncio.run(collect(al.Anthropic("m", base_url=server.url, api_key="another-key-123")))
    assert_clean("str", str(caught.value))


def test_an_export_masks_a_key_that_was_said(tmp_path: Path):
    from tests.engine.scripted import Scripted, says

    session = al.Session(provider=Scripted(says(f"your key is {KEY}")))
    al.Anthropic("m", api_key=KEY)  # from here on it is known
    session.chat("what is my key?")
    for ending in export.ENDINGS:
        assert_clean(ending, export.write(session, tmp_path / f"a{ending}").read_text())


def test_a_password_in_an_address_is_not_shown():
    model = al.OpenAICompat("m", "http://me:hunter2secret@127.0.0.1:9")
    assert "hunter2secret" not in repr(model)
    with pytest.raises(ProviderError) as caught:
        asyncio.run(collect(model))
    assert "hunter2secret" not in str(caught.value)


def test_a_name_and_a_password_in_an_address_sign_in_and_stay_hidden():
    with Server(otherwise=json_answer({}, status=401)) as server:
        url = server.url.replace("http://", "http://me:p%40ss%20word@")
        model = al.OpenAICompat("m", url)
        with pytest.raises(ProviderError):
            asyncio.run(collect(model))
    sent = server.requests[0].headers["authorization"]
    assert sent == "Basic " + base64.b64encode(b"me:p@ss word").decode()
    assert sent not in redact(f"the header was {sent}")


def test_a_key_goes_before_the_password_in_an_address():
    with Server(otherwise=json_answer({}, status=401)) as server:
        url = server.url.replace("http://", "http://me:password@")
        with pytest.raises(ProviderError):
            asyncio.run(collect(al.OpenAICompat("m", url, api_key=KEY)))
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


# --- whose key goes where -------------------------------------------------------------------------

VENDORS = {
    "anthropic": (al.Anthropic, "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "api.anthropic.com"),
    "openai": (al.OpenAI, "OPENAI_API_KEY", "OPENAI_BASE_URL", "api.openai.com"),
    "xai": (al.XAI, "XAI_API_KEY", "XAI_BASE_URL", "api.x.ai"),
    "gemini": (
        al.Gemini,
        "GEMINI_API_KEY",
        "GOOGLE_GEMINI_BASE_URL",
        "generativelanguage.googleapis.com",
    ),
}
vendors = pytest.mark.parametrize(
    ("make", "key", "address", "host"), VENDORS.values(), ids=VENDORS.keys()
)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Put the canary into the environment as every vendor's key, and no address."""
    for _, key, address, _ in VENDORS.values():
        monkeypatch.setenv(key, KEY)
        monkeypatch.delenv(address, raising=False)
    return monkeypatch


def heads_of(make: Any, **settings: Any) -> tuple[str, str]:
    """Return the headers of a request, and where it went."""
    seen: list[httpx.Request] = []

    def answer(asked: httpx.Request) -> httpx.Response:
        seen.append(asked)
        return httpx.Response(200, content=b"")

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    with pytest.raises(ProviderError):
        asyncio.run(collect(make("m", http_client=client, **settings)))
    return str(dict(seen[0].headers)), str(seen[0].url)


@vendors
def test_the_key_of_the_environment_goes_to_the_vendor(known, make, key, address, host):
    heads, url = heads_of(make)
    assert KEY in heads
    assert url.startswith(f"https://{host}/")


@vendors
@pytest.mark.parametrize("before", ["eu.", "us-east-1."])
def test_the_key_of_the_environment_goes_to_a_region_of_the_vendor(
    known, make, key, address, host, before
):
    heads, _ = heads_of(make, base_url=f"https://{before}{host}")
    assert KEY in heads


@vendors
@pytest.mark.parametrize(
    "url",
    [
        "https://gateway.example",
        "https://{host}.example",
        "https://evil{host}",
        "http://{host}",
        "https://{host}@gateway.example",
        "http://127.0.0.1:9",
        "http://localhost:8080/v1",
    ],
)
def test_the_key_of_the_environment_goes_nowhere_else(known, make, key, address, host, url):
    heads, _ = heads_of(make, base_url=url.format(host=host))
    assert_clean("headers", heads)


@vendors
def test_a_key_that_is_given_goes_where_it_is_given_for(known, make, key, address, host):
    heads, _ = heads_of(make, base_url="https://gateway.example", api_key="another-key-1234")
    assert "another-key-1234" in heads
    assert_clean("headers", heads)


@vendors
def test_an_address_in_the_environment_is_asked_with_the_key_beside_it(
    known, make, key, address, host
):
    known.setenv(address, "https://gateway.example/llm/")
    heads, url = heads_of(make)
    assert KEY in heads
    assert url.startswith("https://gateway.example/llm/")
    assert KEY in heads_of(make, base_url="https://gateway.example/llm/")[0]
    assert_clean("headers", heads_of(make, base_url="https://other.example")[0])


@vendors
def test_an_address_of_ones_own_goes_before_that_of_the_environment(
    known, make, key, address, host
):
    known.setenv(address, "https://gateway.example")
    assert make("m", base_url="http://127.0.0.1:9").base_url == "http://127.0.0.1:9"


@vendors
def test_a_server_of_ones_own_needs_no_key(monkeypatch, make, key, address, host):
    monkeypatch.delenv(key, raising=False)
    heads, _ = heads_of(make, base_url="http://127.0.0.1:9")
    assert "key" not in heads and "authorization" not in heads


@vendors
def test_a_server_that_misses_a_key_is_told_of_in_one_sentence(known, make, key, address, host):
    refusal = json_answer({"error": {"message": "no key"}}, status=401)
    with Server(refusal) as server:
        model = make("m", base_url=server.url)
        with pytest.raises(AuthFailed) as caught:
            asyncio.run(collect(model))
    told = str(caught.value)
    assert f"{key} is for {model.name} alone" in told
    assert "pass api_key=" in told and address in told
    assert key in model.key_source
    assert not model.has_key


@vendors
def test_an_address_in_the_environment_that_is_none_is_told_by_its_name(
    known, make, key, address, host
):
    known.setenv(address, "gateway")
    with pytest.raises(ConfigError, match=f"{address}='gateway' is no address"):
        make("m")


def test_the_demo_asks_nobody_whatever_the_environment_says(known):
    known.setenv("ANTHROPIC_BASE_URL", "https://gateway.example")
    assert al.provider("demo").base_url == "http://demo.invalid"

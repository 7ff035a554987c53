"""No key comes out anywhere, on any path of failure, in any wire.

A canary is the key; then every surface is searched on which a person or a file could see it: texts
and reprs, tracebacks with and without their locals, log records of us and of httpx at DEBUG,
events, results, pickles, exports.
"""

from __future__ import annotations

import asyncio
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

import pytest

import alloy_nb as al
from alloy_nb.engine import export
from alloy_nb.engine.agent import Agent
from alloy_nb.errors import AlloyError, ProviderError
from tests.providers.wires import NAMES, collect
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
from tests.servers.wire import Reply, Say, anthropic_events, chat_events

# Of no vendor's shape, so that only knowing it can mask it.
KEY = "canary/+key=9f8e7d6c5b4a"
FORMS = (KEY, quote(KEY, safe=""), json.dumps(KEY)[1:-1], KEY.encode().hex())


def model_of(wire: str, url: str, **more: Any) -> Any:
    make = al.Anthropic if wire == "anthropic" else al.OpenAICompat
    return make("scripted-1", base_url=url, api_key=KEY, **({"timeout": 0.3} | more))


def events_of(wire: str) -> list[bytes]:
    reply = Reply([Say("Hello there")])
    return anthropic_events(reply) if wire == "anthropic" else chat_events(reply)


def echo(status: int) -> Answer:
    message = f"the key {KEY} is not ours; headers: x-api-key: {KEY}, authorization: Bearer {KEY}"
    return json_answer({"error": {"type": "x", "message": message}}, status=status)


PATHS = {
    "400": lambda wire: echo(400),
    "401": lambda wire: echo(401),
    "404": lambda wire: echo(404),
    "429": lambda wire: echo(429),
    "500": lambda wire: echo(500),
    "529": lambda wire: echo(529),
    "200 with an error": lambda wire: echo(200),
    "a page": lambda wire: html_page(502, KEY),
    "plain text": lambda wire: Answer([KEY.encode()], 500, content_type="text/plain"),
    "redirect": lambda wire: redirect(f"http://127.0.0.1:9/?key={quote(KEY)}"),
    "hang up": lambda wire: hang_up(),
    "no HTTP": lambda wire: Answer([KEY.encode() + b"\r\n", CLOSE], raw=True),
    "stall": lambda wire: stream([STALL]),
    "reset": lambda wire: stream([*events_of(wire)[:4], RESET]),
    "cut": lambda wire: stream(events_of(wire)[:3], framing="close"),
    "broken event": lambda wire: stream([*events_of(wire)[:3], f"data: {KEY}\n\n".encode()]),
    "error event": lambda wire: stream(
        [
            *events_of(wire)[:3],
            b"event: error\ndata: "
            + json.dumps({"type": "error", "error": {"message": f"bad key {KEY}"}}).encode()
            + b"\n\n",
        ]
    ),
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


@pytest.mark.parametrize("wire", NAMES)
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

        session = al.Session(provider=model, max_retries=0)
        result = session.chat("hi")
        assert result.status == "error"
        assert_clean("result", repr(result))
        assert_clean("values of the result", [repr(value) for value in result.values()])
        assert_clean("session", repr(session))
        for name in ("a.md", "a.json"):
            assert_clean(name, export.write(session, tmp_path / name).read_text())
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


@pytest.mark.parametrize("wire", NAMES)
def test_the_key_comes_out_nowhere_when_nobody_listens(wire, records):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ProviderError) as caught:
        asyncio.run(collect(model_of(wire, f"http://127.0.0.1:{port}")))
    for where, value in surfaces_of_error(caught.value):
        assert_clean(where, value)
    assert_clean("log", "\n".join(records.lines))


@pytest.mark.parametrize("wire", NAMES)
def test_a_provider_and_what_holds_it_show_no_key(wire):
    model = model_of(wire, "http://127.0.0.1:9")
    for holder in (model, Agent(model), al.Session(provider=model)):
        assert_clean("repr", repr(holder))
        assert_clean("vars", vars(holder))
    assert_clean("source of the key", model.key_source)
    assert_clean("copy", repr(copy.copy(model)))


@pytest.mark.parametrize("wire", NAMES)
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
    for name in ("a.md", "a.json"):
        assert_clean(name, export.write(session, tmp_path / name).read_text())


def test_a_password_in_an_address_is_not_shown():
    model = al.OpenAICompat("m", "http://me:hunter2secret@127.0.0.1:9")
    assert "hunter2secret" not in repr(model)
    with pytest.raises(ProviderError) as caught:
        asyncio.run(collect(model))
    assert "hunter2secret" not in str(caught.value)

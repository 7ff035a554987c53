"""No key comes out anywhere, on any path of failure of the Responses wires."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any
from urllib.parse import quote

import pytest

import alloy_nb as al
from alloy_nb.engine import export
from alloy_nb.engine.agent import Agent
from alloy_nb.errors import ProviderError
from tests.providers.responses_streams import event, events_of, message
from tests.providers.test_keys import (
    KEY,
    assert_clean,
    chain,
    echo,
    log_of,
    records,  # noqa: F401  # a fixture
    surfaces_of_error,
)
from tests.providers.wires import collect
from tests.servers.sse import (
    CLOSE,
    RESET,
    STALL,
    Answer,
    Server,
    hang_up,
    html_page,
    redirect,
    stream,
)

CLASSES = {"responses": al.OpenAI, "xai": al.XAI}
both = pytest.mark.parametrize("make", CLASSES.values(), ids=CLASSES.keys())
BEGUN = events_of(message("Hello there"))[:5]
FAILURE = {"code": "server_error", "message": f"bad key {KEY}, authorization: Bearer {KEY}"}
PATHS = {
    **{f"{status}": echo(status) for status in (200, 400, 401, 403, 404, 429, 500, 503, 529)},
    "a page": html_page(502, KEY),
    "plain text": Answer([KEY.encode()], 500, content_type="text/plain"),
    "redirect": redirect(f"http://127.0.0.1:9/?key={quote(KEY)}"),
    "hang up": hang_up(),
    "no HTTP": Answer([KEY.encode() + b"\r\n", CLOSE], raw=True),
    "stall": stream([STALL]),
    "reset": stream([*BEGUN, RESET]),
    "cut": stream(BEGUN, framing="close"),
    "broken event": stream([*BEGUN, f"data: {KEY}\n\n".encode()]),
    "error event": stream([*BEGUN, event("error", **FAILURE)]),
    "failed": stream([*BEGUN, event("response.failed", response={"error": FAILURE})]),
    "gone": Answer(
        [json.dumps({"error": f"Response with id={KEY} not found"}).encode()],
        404,
        content_type="application/json",
    ),
}


@both
@pytest.mark.parametrize("path", PATHS)
def test_the_key_comes_out_nowhere(make, path, records, tmp_path):  # noqa: F811
    with Server(otherwise=PATHS[path]) as server:
        model = make("scripted-1", base_url=server.url, api_key=KEY, timeout=0.3)
        with pytest.raises(ProviderError) as caught:
            asyncio.run(collect(model))
        for where, value in surfaces_of_error(caught.value):
            assert_clean(where, value)
        assert not [e for e in chain(caught.value) if type(e).__module__.startswith("http")]
        session = al.Session(provider=model, max_retries=0, store=True)
        result = session.chat("hi")
        assert result.status == "error"
        assert_clean("result", repr(result))
        assert_clean("values of the result", [repr(value) for value in result.values()])
        assert_clean("memory of the session", repr(session._memory))
        for name in ("a.md", "a.json"):
            assert_clean(name, export.write(session, tmp_path / name).read_text())
        assert_clean("events", [repr(each) for each in log_of(model)])
        assert all(KEY not in repr(request.body) for request in server.requests)
        assert all(KEY in str(request.headers) for request in server.requests)
    assert_clean("log", "\n".join(records.lines))


@both
def test_the_key_comes_out_nowhere_when_nobody_listens(make, records):  # noqa: F811
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ProviderError) as caught:
        asyncio.run(collect(make("m", base_url=f"http://127.0.0.1:{port}", api_key=KEY)))
    for where, value in surfaces_of_error(caught.value):
        assert_clean(where, value)
    assert_clean("log", "\n".join(records.lines))


@both
def test_a_provider_and_what_holds_it_show_no_key(make):
    model: Any = make("m", base_url="http://127.0.0.1:9", api_key=KEY)
    for holder in (model, Agent(model), al.Session(provider=model)):
        assert_clean("repr", repr(holder))
        assert_clean("vars", vars(holder))


@both
def test_a_redirect_is_not_followed_and_the_key_stays_here(make):
    with Server() as other, Server(redirect(other.url + "/v1/responses", 307)) as server:
        with pytest.raises(ProviderError):
            asyncio.run(collect(make("m", base_url=server.url, api_key=KEY)))
        assert other.requests == []

"""The test server does what a script says, well-behaved or not, and sees what the client does."""

import time

import anthropic
import httpx
import openai
import pytest

from tests.quickest import quickest
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
    header_flood,
    html_page,
    json_answer,
    loop,
    paced,
    redirect,
    stream,
)
from tests.servers.wire import Call, Reply, Say, anthropic_events, words

HELLO = [b"data: hello\n\n", b"data: world\n\n"]
WHOLE = b"".join(HELLO)


@pytest.fixture
def client():
    with httpx.Client(trust_env=False, timeout=5) as client:
        yield client


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_a_body_arrives_whole_in_each_framing(client, framing):
    with Server(stream(HELLO, framing=framing)) as server:
        assert client.get(server.url).content == WHOLE


def test_a_request_is_recorded(client):
    with Server(json_answer({})) as server:
        client.post(f"{server.url}/v1/x?q=1", json={"a": 1}, headers={"X-Api-Key": "k"})
        (request,) = server.requests
    assert (request.method, request.path, request.json) == ("POST", "/v1/x?q=1", {"a": 1})
    assert request.headers["x-api-key"] == "k"


def test_a_chunked_request_is_read_too(client):
    with Server(json_answer({})) as server:
        client.post(server.url, content=iter([b"ab", b"cd"]))
        assert server.requests[0].body == b"abcd"


def test_one_connection_serves_several_requests(client):
    with Server(stream(HELLO), json_answer({}), html_page(503)) as server:
        statuses = [client.get(server.url).status_code for _ in range(3)]
    assert statuses == [200, 200, 503]
    assert server.requests[0].closed_at is None


def test_a_request_past_the_script_gets_a_500_that_says_so(client):
    with Server() as server:
        answer = client.get(server.url)
    assert answer.status_code == 500
    assert "script" in answer.text


@pytest.mark.parametrize("end", [RESET, CLOSE])
@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_a_cut_body_ends_after_exactly_so_many_bytes(client, end, framing):
    got = b""
    answer = stream(cut(HELLO, 17, end), framing=framing, length=len(WHOLE))
    with Server(answer) as server, client.stream("GET", server.url) as response:
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            for part in response.iter_raw():
                got += part
        assert server.requests[0].sent == 17
    assert got == WHOLE[:17]


def test_a_short_body_breaks_its_content_length(client):
    answer = stream(HELLO, framing="length", length=999)
    with Server(answer) as server, pytest.raises(httpx.RemoteProtocolError):
        client.get(server.url)


def test_a_connection_closed_before_a_byte_is_a_protocol_error(client):
    with Server(hang_up()) as server, pytest.raises(httpx.RemoteProtocolError):
        client.get(server.url)


def test_a_header_flood_is_refused_by_the_client(client):
    with Server(header_flood(2000)) as server, pytest.raises(httpx.RemoteProtocolError):
        client.get(server.url)


def test_a_redirect_names_the_other_address(client):
    with Server(redirect("http://127.0.0.1:9/x")) as server:
        answer = client.post(server.url)
    assert (answer.status_code, answer.headers["location"]) == (307, "http://127.0.0.1:9/x")


def test_an_empty_answer_has_no_body(client):
    with Server(Answer(framing="length")) as server:
        assert client.get(server.url).content == b""


def test_byte_by_byte_sends_each_byte_alone(client):
    answer = stream(byte_by_byte(HELLO, every=0.001))
    with Server(answer) as server, client.stream("GET", server.url) as response:
        parts = list(response.iter_raw())
    assert b"".join(parts) == WHOLE
    assert len(parts) > 5  # the client may read a few at once


def seconds_to_see_a_close(client, server):
    with client.stream("GET", server.url) as response:
        next(response.iter_raw())
    left_at = time.monotonic()
    return server.requests[-1].wait_closed() - left_at


@pytest.mark.parametrize("wait", [STALL, Pause(30)], ids=["stall", "pause"])
def test_a_close_is_seen_at_once_while_the_server_waits(client, wait):
    with Server(otherwise=stream([*HELLO, wait])) as server:
        assert quickest(lambda: seconds_to_see_a_close(client, server), 0.25) < 0.25
        assert server.requests[-1].cut_short


def test_a_close_is_seen_while_the_server_streams(client):
    events = anthropic_events(Reply([Say(words(1000))]))
    with Server(otherwise=lambda _: stream(paced(events, 500))) as server:
        assert quickest(lambda: seconds_to_see_a_close(client, server), 0.25) < 0.25


def test_a_client_that_does_not_read_is_seen_to_leave(client):
    with Server(stream([b"x" * 50_000_000])) as server:
        with client.stream("GET", server.url):
            pass
        server.requests[0].wait_closed()


def test_pacing_keeps_the_rate(client):
    with Server(stream(paced([b"x"] * 101, 500))) as server:
        client.get(server.url)
        request = server.requests[0]
    assert 0.19 < request.finished_at - request.first_byte_at < 5


def test_closing_the_server_ends_a_stall(client):
    begun = time.monotonic()
    with Server(stream([*HELLO, STALL])) as server:
        response = client.send(client.build_request("GET", server.url), stream=True)
    response.close()
    assert time.monotonic() - begun < 4  # for the thread itself it waits for five


def test_what_a_handler_raises_reaches_the_test(client):
    server = Server(lambda request: 1 / 0)
    with pytest.raises(ZeroDivisionError), server, pytest.raises(httpx.RemoteProtocolError):
        client.get(server.url)


TURNS = [[Call("bash", {"command": "ls"})], [Say("two files")]]
ASK = [{"role": "user", "content": "what is here?"}]


@pytest.fixture
def loop_server():
    with Server(*loop(*TURNS)) as server:
        yield server


@pytest.mark.parametrize("streaming", [True, False])
def test_a_scripted_loop_speaks_to_the_anthropic_sdk(loop_server, streaming):
    ask = {"model": "m", "max_tokens": 9, "messages": ASK}
    with anthropic.Anthropic(base_url=loop_server.url, api_key="k", max_retries=0) as sdk:
        if streaming:
            with sdk.messages.stream(**ask) as events:
                first = events.get_final_message()
        else:
            first = sdk.messages.create(**ask)
        second = sdk.messages.create(**ask)
    assert first.content[0].input == {"command": "ls"}
    assert second.content[0].text == "two files"


@pytest.mark.parametrize("streaming", [True, False])
def test_a_scripted_loop_speaks_to_the_openai_sdk(loop_server, streaming):
    ask = {"model": "m", "messages": ASK}
    with openai.OpenAI(base_url=f"{loop_server.url}/v1", api_key="k", max_retries=0) as sdk:
        if streaming:
            with sdk.chat.completions.stream(**ask) as events:
                first = events.get_final_completion()
        else:
            first = sdk.chat.completions.create(**ask)
        second = sdk.chat.completions.create(**ask)
    assert first.choices[0].message.tool_calls[0].function.arguments == '{"command": "ls"}'
    assert second.choices[0].message.content == "two files"

"""What every wire holds to, whatever its format: bytes, ends, faults, counts, blocks, connections.

The bytes are those of `wires.WIRES`, a table that says of each where it comes from. Most are
constructed, because no vendor is asked in tests; that vendors send such is shown beside the
official SDKs (`test_random_streams`, `test_responses_sdk`, `test_gemini_decoder`). In three formats
there is also a reply that a real server sent; `tests/e2e` has more of them, live. That no key comes
out of any wire is in `test_keys`. What a vendor alone does is in the file of that vendor.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alloy_nb.errors import (
    AuthFailed,
    BadRequest,
    ContextOverflow,
    Overloaded,
    ProviderError,
    QuotaExceeded,
    RateLimited,
    ServerFault,
    StateLost,
    StreamTruncated,
    TimedOut,
)
from alloy_nb.events import Stopped, TextDelta, ToolInputDelta, UsageReported
from alloy_nb.messages import Opaque, StopReason, user
from alloy_nb.providers import http, sse
from alloy_nb.providers.http import close_clients
from tests.providers.wires import WIRES, ask, body, collect, data, decode, escaped, request, same
from tests.servers.sse import STALL, Answer, Server, json_answer, redirect, stream
from tests.servers.wire import Call, Reply, Say, Think, words

each = pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES.keys())
KEY = "sk-ant-api03-canary0123456789abcdefghij"
FULL = Reply(
    [
        Think("À voir 🤔."),
        Say("Voilà: 😀 fin\u2028."),
        Call("bash", {"command": "écho '😀'"}),
        Call("read", {}),
    ]
)
SHORT = Reply([Think("À 🤔."), Say("Voilà 😀\u2028."), Call("f", {"é": "😀"})])
HELLO = Reply([Say("Hello there")])
LONG = Reply([Say(words(60))])


def test_every_wire_says_where_its_bytes_come_from():
    for wire in WIRES.values():
        assert wire.source.startswith("constructed ")
        assert wire.recorded is None or "2026-11-21" in wire.recorded[1]


# --- bytes ----------------------------------------------------------------------------------------


def ends(line: bytes) -> Any:
    """Return what gives lines another end, whichever they had."""
    return lambda wire: wire.stream(SHORT).replace(b"\r\n", b"\n").replace(b"\n", line)


def noise(wire: Any) -> bytes:
    plain = ends(b"\n")(wire)
    return b"\xef\xbb\xbf: hello\n\n" + plain.replace(b"\n\n", b"\nid: 7\n\n: ping\n\n")


def without_its_last_blank_line(wire: Any) -> bytes:
    return ends(b"\n")(wire)[:-1]


def cut_short(wire: Any) -> bytes:
    events = wire.said(SHORT)
    return b"".join(events)[: -len(events[-1]) // 2 - len(b"".join(events[-3:-1]))]


def failed(wire: Any) -> bytes:
    return b"".join(wire.said(SHORT)[:6]) + wire.error


def past_its_end(wire: Any) -> bytes:
    return wire.stream(HELLO) + b"data: [DONE]\n\n" + b"data: {oops\n\n"


VARIANTS = {
    "plain": lambda wire: wire.stream(FULL),
    "LF": ends(b"\n"),
    "CRLF": ends(b"\r\n"),
    "CR": ends(b"\r"),
    "noise": noise,
    "escaped": lambda wire: escaped(ends(b"\n")(wire)),
    "no last blank line": without_its_last_blank_line,
    "cut": cut_short,
    "error": failed,
    "past its end": past_its_end,
    "recorded": lambda wire: wire.recorded[0],
}
# xAI's decoder is that of Responses.
CASES = [
    (name, variant)
    for name in WIRES
    for variant in VARIANTS
    if (name != "xai" or variant == "plain") and (variant != "recorded" or WIRES[name].recorded)
]
cases = pytest.mark.parametrize(("name", "variant"), CASES)


@cases
def test_bytes_cut_at_any_offset_give_the_same_events(name, variant):
    model, stream = WIRES[name].model, VARIANTS[variant](WIRES[name])
    whole = decode(model, stream)
    for cut in range(1, len(stream)):
        assert same(decode(model, stream, [cut]), whole), cut


@cases
def test_bytes_that_come_one_by_one_give_the_same_events(name, variant):
    model, stream = WIRES[name].model, VARIANTS[variant](WIRES[name])
    assert same(decode(model, stream, range(len(stream))), decode(model, stream))


@given(st.sampled_from(CASES), st.lists(st.integers(0, 6000), max_size=40))
@settings(max_examples=300, deadline=None)
def test_bytes_cut_in_any_places_give_the_same_events(case, cuts):
    model, stream = WIRES[case[0]].model, VARIANTS[case[1]](WIRES[case[0]])
    assert same(decode(model, stream, cuts), decode(model, stream))


@pytest.mark.parametrize("name", [name for name, wire in WIRES.items() if wire.recorded])
def test_a_reply_that_a_real_server_sent_is_whole_and_counted(name):
    made = decode(WIRES[name].model, VARIANTS["recorded"](WIRES[name])).reply
    assert made.message.content
    assert made.usage.output_tokens > 0
    assert made.usage.unreported == 0


@each
@pytest.mark.parametrize("variant", ["LF", "CRLF", "CR", "noise", "escaped"])
def test_every_character_arrives(wire, variant):
    message = decode(wire.model, VARIANTS[variant](wire)).message
    assert (message.text, message.thinking) == ("Voilà 😀\u2028.", "À 🤔.")
    assert [call.input for call in message.tool_calls] == [{"é": "😀"}]


@each
@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (("a\ud83d", "\ude00b"), "a😀b"),
        (("\ud83d", "\ude00\ud83d", "\ude01"), "😀😁"),
        (("a\ud83d", "b"), "a\ufffdb"),
        (("a", "\ude00b"), "a\ufffdb"),
        (("a\ud83d",), "a\ufffd"),
        (("\ud83d", "\ud83d\ude00"), "\ufffd😀"),
        (("a\ud83d", "", "\ude00"), "a😀"),
    ],
)
def test_halves_of_a_character_in_text_are_joined_or_replaced(wire, pieces, text):
    decoded = decode(wire.model, wire.halves(*pieces))
    assert decoded.message.text == text
    assert all(e.text.encode() for e in decoded.events if isinstance(e, TextDelta))


@pytest.mark.parametrize("name", [name for name, wire in WIRES.items() if wire.pieces])
@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (('{"a": "\ud83d', '\ude00"}'), "😀"),
        (('{"a": "\ud83d', 'x"}'), "\ufffdx"),
        (('{"a": "', '\ude00"}'), "\ufffd"),
    ],
)
def test_halves_of_a_character_in_arguments_are_joined_or_replaced(name, pieces, text):
    wire = WIRES[name]
    decoded = decode(wire.model, wire.pieces(*pieces))
    assert decoded.message.tool_calls[0].input == {"a": text}
    assert all(e.json.encode() for e in decoded.events if isinstance(e, ToolInputDelta))


# --- the end --------------------------------------------------------------------------------------


@each
def test_a_stream_without_its_last_event_is_no_whole_reply(wire):
    events = wire.said(FULL)
    for count in range(len(events) - wire.optional_end):
        decoded = decode(wire.model, b"".join(events[:count]))
        assert isinstance(decoded.fault, StreamTruncated), count
        assert not any(isinstance(e, Stopped) for e in decoded.events)


@each
def test_what_may_be_missing_at_the_end_may_be_missing(wire):
    events = wire.said(FULL)
    for count in range(wire.optional_end + 1):
        decoded = decode(wire.model, b"".join(events[: len(events) - count]))
        assert decoded.reply.stop is StopReason.TOOL_USE


@each
def test_what_had_arrived_of_a_cut_reply_can_be_had_without_its_calls(wire):
    whole = wire.stream(FULL)
    cut = whole.index(b'"bash"') + 30
    partial = decode(wire.model, whole[:cut]).builder.partial()
    assert partial is not None
    assert partial.text == "Voilà: 😀 fin\u2028."
    assert partial.stop == "interrupted"
    assert not partial.tool_calls


@each
def test_a_stopped_reply_stops_once(wire):
    twice = wire.stream(HELLO) * 2
    assert sum(isinstance(e, Stopped) for e in decode(wire.model, twice).events) == 1


@pytest.mark.parametrize("name", [name for name in WIRES if name != "gemini"])
def test_what_follows_the_last_event_changes_nothing(name):
    # Gemini's last event is the end of the bytes themselves.
    wire = WIRES[name]
    whole = wire.stream(FULL)
    for tail in (wire.error, b"data: {oops\n\n", data({"error": "late"}), whole):
        assert same(decode(wire.model, whole + tail), decode(wire.model, whole))


@each
def test_a_reply_that_holds_nothing_is_a_whole_reply(wire):
    assert decode(wire.model, wire.stream(Reply([]))).message.content == ()


# --- faults ---------------------------------------------------------------------------------------


@each
def test_broken_json_cuts_the_reply_and_keeps_what_came_before_it(wire):
    good = wire.said(LONG)
    decoded = decode(wire.model, b"".join([*good[:6], b'data: {"broken\n\n', *good[6:]]))
    assert isinstance(decoded.fault, StreamTruncated)
    assert decoded.events == decode(wire.model, b"".join(good[:6])).events
    assert LONG.text_of(Say).startswith(decoded.builder.partial().text)


@each
def test_an_event_with_blank_data_is_a_keep_alive(wire):
    whole = wire.stream(FULL)
    blank = b"data:\n\ndata: \n\nevent: ping\ndata:\n\n"
    noisy = b"".join(event + blank for event in wire.said(FULL))
    assert same(decode(wire.model, noisy), decode(wire.model, whole))


@each
@pytest.mark.parametrize("value", [None, 1, "x", [], [1], True, {}, {"type": None}, {"type": 3}])
def test_an_event_that_means_nothing_is_ignored(wire, value):
    first, *rest = wire.said(FULL)
    noisy = b"".join([first, data(value), *rest])
    assert same(decode(wire.model, noisy), decode(wire.model, wire.stream(FULL)))


@each
def test_an_error_event_fails_the_reply_by_its_kind_and_loses_nothing_before_it(wire):
    # In one piece, so that the error is in the same bytes as what came before it.
    decoded = decode(wire.model, b"".join(wire.said(LONG)[:9]) + wire.error)
    assert type(decoded.fault) is Overloaded
    assert "busy" in str(decoded.fault)
    assert len(decoded.builder.partial().text) > 8


@each
def test_an_endless_event_ends_the_reply(wire, monkeypatch):
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 10_000)
    stream = b"".join([*wire.said(LONG)[:9], b"data: " + b"x" * 40_000])
    decoded = decode(wire.model, stream, range(0, 50_000, 500))
    assert isinstance(decoded.fault, StreamTruncated)
    assert LONG.text_of(Say).startswith(decoded.builder.partial().text)


# --- counts and blocks ----------------------------------------------------------------------------


@each
def test_counts_are_absolute_so_a_later_report_replaces_an_earlier_one(wire):
    decoded = decode(wire.model, wire.counted(5, 7))
    used = decoded.reply.usage
    assert (used.input_tokens, used.output_tokens) == (9, 7)
    assert all(e.usage.input_tokens == 9 for e in decoded.events if isinstance(e, UsageReported))


@pytest.mark.parametrize("name", [name for name, wire in WIRES.items() if wire.unknown])
def test_a_block_that_nobody_knows_goes_back_as_it_came(name):
    wire = WIRES[name]
    assert wire.unknown is not None
    stream, raw = wire.unknown
    message = decode(wire.model, stream).message
    assert Opaque(vendor=wire.model.name, raw=raw) in message.content
    sent = body(wire.model, user("hi"), message, user("and?"))
    assert raw in list(objects(sent))


def objects(value: Any) -> Any:
    """Yield every object in a JSON value."""
    if isinstance(value, dict):
        yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in inner:
        yield from objects(item)


# --- statuses -------------------------------------------------------------------------------------


def api_error(kind: str, message: str, code: Any = None) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message, "code": code}}


def google(status: int, name: str, message: str = "no") -> dict[str, Any]:
    return {"error": {"code": status, "message": message, "status": name}}


INVALID = "invalid_request_error"
TOO_LONG = "The input token count (9) exceeds the maximum number of tokens allowed (8)."
GONE = "previous_response_not_found"
# Bodies in the words of Anthropic, OpenAI, Gemini, llama.cpp, Ollama and xAI: a server behind a
# gateway may answer in any of them, so every wire understands them all.
STATUSES: dict[str, tuple[int, Any, type[ProviderError], str]] = {
    "400": (400, api_error(INVALID, "bad field"), BadRequest, "bad field"),
    "400 too long": (
        400,
        api_error(INVALID, "prompt is too long: 9 tokens > 8 maximum"),
        ContextOverflow,
        "reset",
    ),
    "400 too long, by code": (
        400,
        api_error(INVALID, "too many", "context_length_exceeded"),
        ContextOverflow,
        "too long",
    ),
    "400 too long, in words": (
        400,
        api_error(INVALID, "it exceeds the context window"),
        ContextOverflow,
        "too long",
    ),
    "400 too long, llama.cpp": (
        400,
        api_error("exceed_context_size_error", "the request exceeds", 400),
        ContextOverflow,
        "too long",
    ),
    "400 too long, Gemini": (
        400,
        google(400, "INVALID_ARGUMENT", TOO_LONG),
        ContextOverflow,
        "too long",
    ),
    "400 INVALID_ARGUMENT": (400, google(400, "INVALID_ARGUMENT"), BadRequest, "no"),
    "400 FAILED_PRECONDITION": (400, google(400, "FAILED_PRECONDITION"), BadRequest, "no"),
    "400 gone": (400, api_error(INVALID, "not found", GONE), StateLost, "not found"),
    "401": (401, api_error("authentication_error", "invalid x-api-key"), AuthFailed, "api_key="),
    "401 by code": (401, api_error(INVALID, "wrong", "invalid_api_key"), AuthFailed, "api_key="),
    "401 UNAUTHENTICATED": (401, google(401, "UNAUTHENTICATED"), AuthFailed, "api_key="),
    "402": (402, api_error("billing_error", "no credit"), QuotaExceeded, "quota"),
    "403": (403, api_error("permission_error", "not yours"), AuthFailed, "not yours"),
    "403 PERMISSION_DENIED": (403, google(403, "PERMISSION_DENIED"), AuthFailed, "no"),
    "404": (404, api_error("not_found_error", "model: x"), BadRequest, "base_url="),
    "404 by code": (404, api_error(INVALID, "x", "model_not_found"), BadRequest, "base_url="),
    "404 NOT_FOUND": (404, google(404, "NOT_FOUND"), BadRequest, "base_url="),
    "408": (408, api_error("timeout", "slow"), TimedOut, "slow"),
    "413": (413, api_error("request_too_large", "too large"), ContextOverflow, "too long"),
    "422": (422, {"detail": "bad field"}, BadRequest, "bad field"),
    "429": (429, api_error("rate_limit_error", "slow down"), RateLimited, "Wait"),
    "429 by code": (429, api_error("requests", "slow", "rate_limit_exceeded"), RateLimited, "Wait"),
    "429 RESOURCE_EXHAUSTED": (429, google(429, "RESOURCE_EXHAUSTED"), RateLimited, "Wait"),
    "429 without money": (
        429,
        api_error("insufficient_quota", "no money", "insufficient_quota"),
        QuotaExceeded,
        "quota",
    ),
    "500": (500, api_error("api_error", "broke"), ServerFault, "broke"),
    "500 by code": (500, api_error("server_error", "broke", "server_error"), ServerFault, "broke"),
    "500 INTERNAL": (500, google(500, "INTERNAL"), ServerFault, "no"),
    "502": (502, {}, ServerFault, "HTTP 502"),
    "503": (503, api_error("service_unavailable_error", "busy"), Overloaded, "overloaded"),
    "503 UNAVAILABLE": (503, google(503, "UNAVAILABLE"), Overloaded, "overloaded"),
    "504": (504, {}, TimedOut, "504"),
    "520": (520, {}, ServerFault, "520"),
    "529": (529, api_error("overloaded_error", "Overloaded"), Overloaded, "Wait"),
    "a string": (500, {"error": "model is loading"}, ServerFault, "model is loading"),
    "a list": (400, [google(400, "INVALID", "bad")], BadRequest, "bad"),
    "an empty list": (400, [], BadRequest, "HTTP 400"),
    "a null": (500, {"error": None}, ServerFault, "HTTP 500"),
    "a number": (500, 7, ServerFault, "HTTP 500"),
    "odd kinds": (500, {"error": {"type": 3, "message": ["x"]}}, ServerFault, "x"),
    "204": (204, {}, ServerFault, "HTTP 204"),
}


@each
@pytest.mark.parametrize(
    ("status", "answer", "cause", "hint"), STATUSES.values(), ids=STATUSES.keys()
)
def test_each_status_has_a_type_and_a_sentence_to_act_on(wire, status, answer, cause, hint):
    refusal = json_answer(answer, status=status, headers=[("request-id", "req_7")])
    with Server(refusal) as server, pytest.raises(ProviderError) as caught:
        ask(wire.make(server.url, api_key=KEY))
    error = caught.value
    assert type(error) is cause
    assert (error.status, error.request_id) == (status, "req_7")
    assert (error.provider, error.model) == (wire.model.name, "scripted-1")
    assert hint in str(error)
    assert str(error).endswith((".", ")."))
    assert KEY not in str(error)


# --- connections ----------------------------------------------------------------------------------


@each
def test_a_reply_that_came_over_the_network_is_the_one_that_its_bytes_mean(wire):
    with Server(stream(wire.said(FULL))) as server:
        made = ask(wire.make(server.url)).message
    assert made.content == decode(wire.model, wire.stream(FULL)).message.content


def begun(wire: Any, *then: Any) -> Answer:
    return stream([*wire.said(LONG)[:9], *then, STALL])


async def first_text(events: Any) -> None:
    async for event in events:
        if isinstance(event, TextDelta):
            return


@each
def test_leaving_the_stream_closes_its_connection_at_once(wire):
    async def go(server: Server) -> float:
        events = wire.make(server.url).stream(request())
        await first_text(events)
        left = time.monotonic()
        await events.aclose()
        return await asyncio.to_thread(server.requests[0].wait_closed) - left

    with Server(begun(wire)) as server:
        assert asyncio.run(go(server)) < 2


@each
def test_cancelling_the_reader_closes_its_connection_at_once(wire):
    async def go(server: Server) -> float:
        reading = asyncio.create_task(collect(wire.make(server.url)))
        await asyncio.to_thread(server.wait_for_requests)
        await asyncio.sleep(0.05)
        left = time.monotonic()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        return await asyncio.to_thread(server.requests[0].wait_closed) - left

    with Server(begun(wire)) as server:
        assert asyncio.run(go(server)) < 2


@each
@pytest.mark.parametrize("fault", ["broken JSON", "an error event"])
def test_an_error_within_a_reply_closes_its_connection_at_once(wire, fault):
    async def go(server: Server) -> float:
        with pytest.raises(ProviderError):
            await collect(wire.make(server.url))
        left = time.monotonic()
        return await asyncio.to_thread(server.requests[0].wait_closed) - left

    with Server(begun(wire, wire.error if fault == "an error event" else b"data: {\n\n")) as server:
        assert asyncio.run(go(server)) < 2


@each
def test_a_reply_that_ended_leaves_its_connection_to_the_next_one(wire, monkeypatch):
    monkeypatch.setattr(http, "_DRAIN_SECONDS", 20.0)  # also where the server is held up

    async def go(url: str) -> None:
        for _ in range(3):
            await collect(wire.make(url))
        await close_clients()

    lines: list[int] = []

    class Counting(Server):
        def _serve(self, line: Any) -> None:
            lines.append(1)
            super()._serve(line)

    with Counting(otherwise=stream(wire.said(HELLO))) as server:
        asyncio.run(go(server.url))
        assert (len(server.requests), len(lines)) == (3, 1)


@each
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_the_key_stays_here(wire, status):
    with Server() as other, Server(redirect(other.url + "/v1/x", status)) as server:
        with pytest.raises(BadRequest, match="base_url=") as caught:
            ask(wire.make(server.url, api_key=KEY))
        assert other.requests == []
        assert KEY in json.dumps(server.requests[0].headers)
    assert caught.value.status == status

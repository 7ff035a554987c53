"""From bytes to events: cuts change nothing, halves are joined, and a cut reply is no reply."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alloy_nb.errors import Overloaded, RateLimited, ServerFault, StreamTruncated
from alloy_nb.events import Stopped, TextDelta, ToolInputDelta
from alloy_nb.providers import sse
from tests.providers.wires import ANTHROPIC, CHAT, NAMES, WIRES, blocks, chunks, data, decode, same
from tests.servers.wire import (
    Call,
    Reply,
    Say,
    Think,
    anthropic_event,
    anthropic_events,
    chat_chunk,
    chat_events,
)

FULL = Reply(
    [
        Think("Hmm, à voir 🤔."),
        Say("Voilà: 😀 fin\u2028."),
        Call("bash", {"command": "écho '😀'"}),
        Call("read", {}),
    ]
)


def anthropic_stream(reply: Reply = FULL) -> bytes:
    return b"".join(anthropic_events(reply))


def chat_stream(reply: Reply = FULL) -> bytes:
    return b"".join(chat_events(reply))


def remade(stream: bytes, end: bytes) -> bytes:
    return stream.replace(b"\n", end)


def with_noise(stream: bytes) -> bytes:
    return b"\xef\xbb\xbf: hello\n\n" + stream.replace(b"\n\n", b"\nid: 7\n\n: ping\n\n")


def escaped(stream: bytes) -> bytes:
    """Write every character beyond ASCII as JSON escapes."""
    lines = []
    for line in stream.decode().split("\n"):
        if line.startswith("data: {"):
            line = "data: " + json.dumps(json.loads(line[6:]))
        lines.append(line)
    return "\n".join(lines).encode()


ERROR = anthropic_event("error", error={"type": "overloaded_error", "message": "Overloaded"})
STREAMS = {
    "anthropic": (ANTHROPIC, anthropic_stream()),
    "anthropic CRLF": (ANTHROPIC, remade(anthropic_stream(), b"\r\n")),
    "anthropic CR": (ANTHROPIC, remade(anthropic_stream(), b"\r")),
    "anthropic noise": (ANTHROPIC, with_noise(anthropic_stream())),
    "anthropic escaped": (ANTHROPIC, escaped(anthropic_stream())),
    "anthropic no last blank line": (ANTHROPIC, anthropic_stream()[:-1]),
    "anthropic cut": (ANTHROPIC, anthropic_stream()[:-60]),
    "anthropic error": (ANTHROPIC, b"".join(anthropic_events(FULL)[:12]) + ERROR),
    "anthropic error after the end": (ANTHROPIC, anthropic_stream(Reply([Say("hi")])) + ERROR),
    "anthropic garbage after the end": (
        ANTHROPIC,
        anthropic_stream(Reply([Say("hi")])) + b"data: {oops\n\n",
    ),
    "anthropic twice": (ANTHROPIC, anthropic_stream(Reply([Say("hi")])) * 2),
    "chat": (CHAT, chat_stream()),
    "chat CRLF": (CHAT, remade(chat_stream(), b"\r\n")),
    "chat CR": (CHAT, remade(chat_stream(), b"\r")),
    "chat noise": (CHAT, with_noise(chat_stream())),
    "chat escaped": (CHAT, escaped(chat_stream())),
    "chat no last blank line": (CHAT, chat_stream()[:-1]),
    "chat no DONE": (CHAT, b"".join(chat_events(FULL)[:-1])),
    "chat cut": (CHAT, b"".join(chat_events(FULL)[:-3])),
    "chat error": (CHAT, b"".join(chat_events(FULL)[:8]) + data({"error": {"message": "no"}})),
    "chat garbage after the end": (CHAT, chat_stream(Reply([Say("hi")])) + b"data: {oops\n\n"),
    "chat twice": (CHAT, chat_stream(Reply([Say("hi")])) * 2),
}
streams = pytest.mark.parametrize(("wire", "stream"), STREAMS.values(), ids=STREAMS.keys())


@streams
def test_bytes_cut_at_any_offset_give_the_same_events(wire, stream):
    whole = decode(wire, stream)
    for cut in range(1, len(stream)):
        assert same(decode(wire, stream, [cut]), whole), cut


@streams
def test_bytes_that_come_one_by_one_give_the_same_events(wire, stream):
    assert same(decode(wire, stream, range(len(stream))), decode(wire, stream))


@given(st.sampled_from(list(STREAMS.values())), st.lists(st.integers(0, 4000), max_size=40))
@settings(max_examples=200, deadline=None)
def test_bytes_cut_in_any_places_give_the_same_events(case, cuts):
    wire, stream = case
    assert same(decode(wire, stream, cuts), decode(wire, stream))


@pytest.mark.parametrize(
    ("wire", "stream"), [(ANTHROPIC, anthropic_stream()), (CHAT, chat_stream())], ids=NAMES
)
def test_every_character_arrives(wire, stream):
    message = decode(wire, stream).message
    assert message.text == "Voilà: 😀 fin\u2028."
    assert message.thinking == "Hmm, à voir 🤔."
    assert [call.input for call in message.tool_calls] == [{"command": "écho '😀'"}, {}]


# --- halves of characters -------------------------------------------------------------------------


def text_of(wire, *pieces: str) -> bytes:
    """Return a stream of text deltas that are escaped one by one, so that halves stay halves."""
    if wire is CHAT:
        return chunks(*({"content": piece} for piece in pieces))
    deltas = [{"type": "text_delta", "text": piece} for piece in pieces]
    return escaped(surrogates(deltas, {"type": "text", "text": ""}))


def surrogates(deltas, start) -> bytes:
    def event(kind, **more):
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n".encode()

    return b"".join(
        [
            anthropic_event("message_start", message={"id": "m", "model": "m"}),
            event("content_block_start", index=0, content_block=start),
            *(event("content_block_delta", index=0, delta=delta) for delta in deltas),
            event("content_block_stop", index=0),
            anthropic_event("message_delta", delta={"stop_reason": "end_turn"}, usage={}),
            anthropic_event("message_stop"),
        ]
    )


both = pytest.mark.parametrize("wire", WIRES, ids=NAMES)


@both
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
    decoded = decode(wire, text_of(wire, *pieces))
    assert decoded.message.text == text
    assert all(e.text.encode() for e in decoded.events if isinstance(e, TextDelta))


def call_of(wire, *pieces: str) -> bytes:
    if wire is CHAT:
        first = {"index": 0, "id": "c1", "function": {"name": "f", "arguments": ""}}
        return chunks(
            {"tool_calls": [first]},
            *({"tool_calls": [{"index": 0, "function": {"arguments": p}}]} for p in pieces),
            finish="tool_calls",
        )
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    return surrogates(deltas, {"type": "tool_use", "id": "c1", "name": "f", "input": {}})


@both
@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (('{"a": "\ud83d', '\ude00"}'), "😀"),
        (('{"a": "\ud83d', 'x"}'), "\ufffdx"),
        (('{"a": "', '\ude00"}'), "\ufffd"),
    ],
)
def test_halves_of_a_character_in_arguments_are_joined_or_replaced(wire, pieces, text):
    decoded = decode(wire, call_of(wire, *pieces))
    assert decoded.message.tool_calls[0].input == {"a": text}
    assert all(e.json.encode() for e in decoded.events if isinstance(e, ToolInputDelta))


def test_halves_of_a_character_anywhere_else_are_replaced():
    start = {"type": "tool_use", "id": "c\ud83d", "name": "f\ude00", "input": {}}
    decoded = decode(ANTHROPIC, surrogates([], start))
    assert decoded.message.model_dump_json()


def test_half_a_character_in_a_citation_is_replaced():
    citation = {"type": "web_search_result_location", "url": "http://x", "title": "a\ud83d"}
    deltas = [
        {"type": "text_delta", "text": "a"},
        {"type": "citations_delta", "citation": citation},
    ]
    decoded = decode(ANTHROPIC, surrogates(deltas, {"type": "text", "text": ""}))
    assert decoded.message.content[0].citations[0].title == "a\ufffd"
    assert decoded.message.model_dump_json()


# --- the end --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wire", "events"), [(ANTHROPIC, anthropic_events(FULL)), (CHAT, chat_events(FULL))], ids=NAMES
)
def test_a_stream_without_its_last_event_is_no_whole_reply(wire, events):
    # The chat format's end is a finish reason; what follows it may be missing.
    last = 1 if wire is ANTHROPIC else 3
    for count in range(len(events) - last + 1):
        decoded = decode(wire, b"".join(events[:count]))
        assert isinstance(decoded.fault, StreamTruncated), count
        assert not any(isinstance(e, Stopped) for e in decoded.events)


@pytest.mark.parametrize("wire", WIRES, ids=NAMES)
def test_what_had_arrived_of_a_cut_reply_can_be_had_without_its_calls(wire):
    stream = anthropic_stream() if wire is ANTHROPIC else chat_stream()
    cut = stream.index(b'"bash"') + 30
    partial = decode(wire, stream[:cut]).builder.partial()
    assert partial is not None
    assert partial.text == "Voilà: 😀 fin\u2028."
    assert partial.stop == "interrupted"
    assert not partial.tool_calls


def test_a_chat_reply_without_done_is_whole_after_its_finish_reason():
    assert decode(CHAT, b"".join(chat_events(FULL)[:-1])).fault is None


@both
def test_a_stopped_reply_stops_once(wire):
    stream = anthropic_stream() if wire is ANTHROPIC else chat_stream()
    assert sum(isinstance(e, Stopped) for e in decode(wire, stream + stream).events) == 1


@both
def test_what_follows_the_last_event_changes_nothing(wire):
    stream = anthropic_stream() if wire is ANTHROPIC else chat_stream()
    for tail in (ERROR, b"data: {oops\n\n", data({"error": "late"}), stream):
        assert same(decode(wire, stream + tail), decode(wire, stream))


# --- faults ---------------------------------------------------------------------------------------


@both
def test_broken_json_cuts_the_reply_and_keeps_what_came_before_it(wire):
    good = anthropic_events(FULL) if wire is ANTHROPIC else chat_events(FULL)
    decoded = decode(wire, b"".join(good[:6]) + b'data: {"broken\n\n' + b"".join(good[6:]))
    assert isinstance(decoded.fault, StreamTruncated)
    assert decoded.events == decode(wire, b"".join(good[:6])).events


@both
def test_an_event_with_blank_data_is_a_keep_alive(wire):
    stream = anthropic_stream() if wire is ANTHROPIC else chat_stream()
    noisy = stream.replace(b"\n\n", b"\n\ndata:\n\ndata: \n\nevent: ping\ndata:\n\n")
    assert same(decode(wire, noisy), decode(wire, stream))


@both
@pytest.mark.parametrize("value", [None, 1, "x", [], [1], True, {}, {"type": None}, {"type": 3}])
def test_an_event_that_means_nothing_is_ignored(wire, value):
    stream = anthropic_stream() if wire is ANTHROPIC else chat_stream()
    head, tail = stream.split(b"\n\n", 1)
    noisy = head + b"\n\n" + data(value) + tail
    assert same(decode(wire, noisy), decode(wire, stream))


def test_unknown_events_and_deltas_of_anthropic_are_ignored():
    good = anthropic_events(FULL)
    odd = [
        anthropic_event("content_block_magic", index=0),
        anthropic_event("content_block_delta", index=0, delta={"type": "smell_delta", "x": 1}),
        anthropic_event("content_block_delta", index=77, delta={"type": "smell_delta", "x": 1}),
        anthropic_event("content_block_stop", index=99),
    ]
    noisy = b"".join([*good[:3], *odd, *good[3:]])
    assert same(decode(ANTHROPIC, noisy), decode(ANTHROPIC, b"".join(good)))


def test_events_before_a_fault_in_the_same_bytes_are_not_lost():
    events = anthropic_events(Reply([Say("Hello there")]))
    decoded = decode(ANTHROPIC, b"".join(events[:4]) + ERROR)
    assert isinstance(decoded.fault, Overloaded)
    assert decoded.builder.partial().text == "Hello there"[:16]


@pytest.mark.parametrize(
    ("error", "cause", "status"),
    [
        ({"message": "slow down", "code": 429}, RateLimited, 429),
        ({"message": "slow down", "code": "429"}, RateLimited, 429),
        ({"message": "busy", "type": "overloaded_error"}, Overloaded, None),
        ({"message": "Provider returned error", "code": 502}, ServerFault, 502),
        ({"message": "?"}, ServerFault, None),
        ("a string", ServerFault, None),
        ({}, None, None),
        ([], None, None),
        ([{"message": "list"}], ServerFault, None),
        (17, ServerFault, None),
    ],
)
def test_an_error_in_a_chat_stream_fails_it_by_its_kind(error, cause, status):
    head = chat_chunk(FULL, choices=[{"index": 0, "delta": {"content": "a"}}])
    decoded = decode(CHAT, head + data({"error": error}))
    if cause is None:
        assert isinstance(decoded.fault, StreamTruncated)
    else:
        assert type(decoded.fault) is cause
        assert decoded.fault.status == status
    assert decoded.builder.partial().text == "a"


@pytest.mark.parametrize("error", [None, "x", 3, [], {}, {"type": 5, "message": 6}, {"type": []}])
def test_an_anthropic_error_event_of_any_shape_fails_the_reply(error):
    decoded = decode(ANTHROPIC, anthropic_event("error", error=error))
    assert isinstance(decoded.fault, ServerFault)
    assert str(decoded.fault)


def test_an_endless_event_ends_the_reply(monkeypatch):
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 10_000)
    stream = b"".join(anthropic_events(Reply([Say("Hello")]))[:3]) + b"data: " + b"x" * 40_000
    decoded = decode(ANTHROPIC, stream, range(0, 50_000, 500))
    assert isinstance(decoded.fault, StreamTruncated)
    assert decoded.builder.partial().text == "Hello"


def test_a_reply_that_holds_nothing_is_a_whole_reply():
    assert decode(ANTHROPIC, blocks()).message.content == ()
    assert decode(CHAT, chunks()).message.content == ()

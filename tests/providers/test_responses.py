"""The Responses wire: what servers mean by their events."""

from __future__ import annotations

import json
import tracemalloc
from decimal import Decimal
from typing import Any

import pytest

from alloy_nb.errors import RateLimited, ServerFault, StreamTruncated
from alloy_nb.events import (
    BlockSealed,
    BlockStarted,
    CitationAdded,
    ReplyStarted,
    TextDelta,
    ThinkingDelta,
    ToolInputDelta,
    UsageReported,
)
from alloy_nb.messages import Image, Message, Opaque, StopReason, Text, Thinking, ToolCall
from tests.providers.responses_streams import (
    EVIL,
    USAGE,
    bare,
    call,
    created,
    event,
    events_of,
    item_events,
    last,
    message,
    part,
    reasoning,
    response,
    stream,
    url_citation,
)
from tests.providers.wires import GROK, RESPONSES, body, decode, same

DONE = b"data: [DONE]\n\n"
NOTE = url_citation("https://a.example", 0, 5)


def reply(*output: dict[str, Any], **more: Any):
    return decode(RESPONSES, stream(*output, **more)).reply


def of(*events: bytes):
    return decode(RESPONSES, b"".join(events)).reply


def kinds(made: Message) -> list[str]:
    return [block.type for block in made.content]


def calls_of(made: Message) -> list[tuple[str, str, dict[str, Any]]]:
    assert all(each.invalid is None for each in made.tool_calls), made
    return [(each.id, each.name, each.input) for each in made.tool_calls]


def without(events: list[bytes], *words: str) -> list[bytes]:
    """Return the events but those of these kinds."""
    return [e for e in events if not any(f'"type":"{word}'.encode() in e[:120] for word in words)]


def renamed(data: bytes, change: Any) -> bytes:
    """Return a stream whose events went through a function."""
    out = []
    for block in data.split(b"\n\n")[:-1]:
        value = json.loads(block.partition(b"data: ")[2])
        change(value)
        out.append(b"data: " + json.dumps(value).encode() + b"\n\n")
    return b"".join(out)


# --- the beginning --------------------------------------------------------------------------------


def test_the_id_is_known_with_the_first_event():
    assert decode(RESPONSES, created("resp_9")).events == [ReplyStarted("resp_9", "m-1")]


@pytest.mark.parametrize("kind", ["response.in_progress", "response.queued"])
def test_the_id_is_known_where_another_event_is_the_first(kind):
    assert decode(RESPONSES, created("resp_9", kind)).events == [ReplyStarted("resp_9", "m-1")]


def test_the_reply_begins_once():
    events = decode(RESPONSES, stream(message("a"))).events
    assert sum(isinstance(e, ReplyStarted) for e in events) == 1


def test_the_last_event_names_a_reply_that_no_other_has():
    made = of(last(message("a"), id="resp_9"))
    assert (made.message.origin.response_id, made.state) == ("resp_9", {"response_id": "resp_9"})


def test_a_reply_that_is_renamed_goes_by_its_last_name():
    made = of(created("early"), last(message("a"), id="late"))
    assert (made.message.origin.response_id, made.state) == ("late", {"response_id": "late"})


def test_a_last_event_without_an_id_leaves_the_first_one():
    made = of(created("resp_9"), last(message("a"), id=None))
    assert made.state == {"response_id": "resp_9"}


# --- text -----------------------------------------------------------------------------------------


def test_text_comes_in_deltas():
    events = decode(RESPONSES, stream(message("Hello you"))).events
    assert [e.text for e in events if isinstance(e, TextDelta)] == ["Hell", "o yo", "u"]


def test_a_block_begins_before_its_text_and_is_sealed_after_it():
    events = decode(RESPONSES, stream(message("Hi"))).events
    assert events[1:4] == [BlockStarted(0, "text"), TextDelta(0, "Hi"), BlockSealed(0)]


def test_parts_of_a_message_are_blocks():
    assert [b.text for b in reply(message("one", "two")).message.content] == ["one", "two"]


def test_messages_keep_their_order():
    made = reply(message("a"), call("f"), message("b")).message
    assert kinds(made) == ["text", "tool_call", "text"]


@pytest.mark.parametrize(
    "left_out",
    [
        ("response.content_part",),
        ("response.output_item.added",),
        ("response.output_item",),
        ("response.content_part", "response.output_item"),
        ("response.output_text.done", "response.content_part.done"),
        ("response.output_text.delta",),
        ("response.output_text.delta", "response.output_text.done"),
        ("response.output", "response.content"),
        ("response.created", "response.in_progress"),
    ],
    ids=str,
)
def test_text_is_read_once_whatever_a_server_leaves_out(left_out):
    made = of(*without(events_of(message("Hello there", "and you")), *left_out)).message
    assert [b.text for b in made.content] == ["Hello there", "and you"]


def test_text_that_comes_only_in_its_done_event_is_told_then():
    events = without(item_events(message("Hello"), 0), "response.output_text.delta")
    decoded = decode(RESPONSES, b"".join([created(), *events[:-2]]))
    assert decoded.builder.partial().text == "Hello"


def test_content_that_is_a_string_is_text():
    item = {"type": "message", "id": "m", "content": "Hello"}
    assert of(created(), last(item)).message.text == "Hello"


def test_text_beside_the_items_is_read_where_there_are_none():
    assert of(created(), last(output_text="Hello")).message.text == "Hello"


def test_text_beside_the_items_is_not_read_twice():
    assert reply(message("Hello"), output_text="Hello").message.text == "Hello"


def test_a_delta_that_comes_after_its_whole_text_is_not_read_twice():
    events = item_events(message("Hello", name="m"), 0)
    deltas = [e for e in events if b"output_text.delta" in e]
    rest = [e for e in events if b"output_text.delta" not in e]
    assert of(created(), *rest, *deltas, last(message("Hello", name="m"))).message.text == "Hello"


def test_a_delta_after_the_end_of_its_message_is_not_lost():
    whole = message("Hello", name="m")
    late = event(
        "response.output_text.delta", output_index=0, item_id="m", content_index=0, delta="!"
    )
    assert of(created(), *item_events(whole, 0), late, last(whole)).message.text == "Hello!"


def test_an_empty_text_makes_no_block():
    assert reply(message("")).message.content == ()


def test_the_phase_of_a_message_goes_back():
    made = reply(
        message("on it", phase="commentary"), message("done", phase="final_answer")
    ).message
    sent = body(RESPONSES, made)["input"]
    assert [item.get("phase") for item in sent if item.get("role") == "assistant"] == [
        "commentary",
        "final_answer",
    ]


# --- refusals -------------------------------------------------------------------------------------


def test_a_refusal_is_said_and_is_the_reason():
    made = reply(message(part("I cannot.", refusal=True)))
    assert (made.message.text, made.stop) == ("I cannot.", StopReason.REFUSAL)


def test_a_refusal_that_only_the_last_event_brings_is_said():
    made = of(created(), last(message(part("No.", refusal=True))))
    assert (made.message.text, made.stop) == ("No.", StopReason.REFUSAL)


def test_a_refusal_is_said_once():
    events = [
        e.text
        for e in decode(RESPONSES, stream(message(part("No", refusal=True)))).events
        if isinstance(e, TextDelta)
    ]
    assert events == ["No"]


# --- thinking -------------------------------------------------------------------------------------


def test_a_summary_is_thinking_in_paragraphs():
    assert reply(reasoning("First.", "Second.")).message.thinking == "First.\n\nSecond."


def test_reasoning_text_is_thinking():
    assert reply(reasoning(text="Let me see.")).message.thinking == "Let me see."


def test_reasoning_text_and_a_summary_are_paragraphs_of_one_thought():
    made = reply(reasoning("In short.", text="At length.")).message
    assert [b.text for b in made.content] == ["In short.\n\nAt length."]


def test_thinking_comes_in_deltas():
    events = decode(RESPONSES, stream(reasoning("Let me"))).events
    assert [e.text for e in events if isinstance(e, ThinkingDelta)] == ["Let ", "me"]


@pytest.mark.parametrize(
    "left_out",
    [
        ("response.reasoning_summary_text.delta",),
        ("response.reasoning_summary_text",),
        ("response.output_item.added", "response.reasoning_summary_part"),
        ("response.output_item.done",),
        ("response.output", "response.reasoning"),
    ],
    ids=str,
)
def test_thinking_is_read_once_whatever_a_server_leaves_out(left_out):
    made = of(*without(events_of(reasoning("First.", "Second."), message("a")), *left_out)).message
    assert made.thinking == "First.\n\nSecond."


def test_reasoning_goes_back_as_its_done_event_gave_it():
    item = reasoning("Hm.", encrypted="WHOLE", name="rs_1")
    (thought, _) = reply(item, message("a")).message.content
    assert thought.replay["encrypted_content"] == "WHOLE"


def test_reasoning_without_words_is_kept_for_the_vendor():
    (thought,) = reply(reasoning(encrypted="ENC")).message.content
    assert (thought.text, thought.replay["encrypted_content"]) == ("", "ENC")


def test_reasoning_that_only_the_last_event_brings_is_kept():
    (thought,) = of(created(), last(reasoning("Hm."))).message.content
    assert (thought.text, thought.replay["encrypted_content"]) == ("Hm.", "ENC")


# --- calls ----------------------------------------------------------------------------------------

LS = call("bash", {"command": "ls"}, item_id="fc_1", call_id="call_1")


def test_a_call_is_answered_by_its_call_id():
    assert calls_of(reply(LS).message) == [("call_1", "bash", {"command": "ls"})]


def test_a_call_makes_the_reply_a_tool_use():
    assert reply(LS).stop is StopReason.TOOL_USE


def test_arguments_come_in_deltas():
    events = decode(RESPONSES, stream(LS)).events
    assert "".join(e.json for e in events if isinstance(e, ToolInputDelta)) == LS["arguments"]


@pytest.mark.parametrize(
    "left_out",
    [
        ("response.function_call_arguments.delta",),
        ("response.function_call_arguments.done",),
        ("response.function_call_arguments",),
        ("response.output_item.added",),
        ("response.output_item.done",),
        ("response.output_item.done", "response.function_call_arguments.delta"),
        ("response.output_item.done", "response.function_call_arguments.done"),
        ("response.output", "response.function_call_arguments"),
    ],
    ids=str,
)
def test_a_call_is_read_once_whatever_a_server_leaves_out(left_out):
    made = of(*without(events_of(LS), *left_out)).message
    assert calls_of(made) == [("call_1", "bash", {"command": "ls"})]


@pytest.mark.parametrize(
    "left_out", ["response.output_item.done", "response.function_call_arguments.done"]
)
def test_a_call_needs_nothing_of_the_last_event(left_out):
    events = without(events_of(LS), left_out)[:-1]
    assert calls_of(of(*events, last()).message) == [("call_1", "bash", {"command": "ls"})]


def test_the_whole_arguments_go_before_deltas_of_which_some_are_missing():
    events = [e for e in events_of(LS) if b'"delta":"{\\"co"' not in e]
    assert len(events) < len(events_of(LS))
    assert calls_of(of(*events).message) == [("call_1", "bash", {"command": "ls"})]


def test_arguments_as_an_object_are_understood():
    made = of(created(), last(LS | {"arguments": {"x": [1]}})).message
    assert calls_of(made)[0][2] == {"x": [1]}


@pytest.mark.parametrize("nothing", ["", None, {}])
def test_no_arguments_are_an_empty_object(nothing):
    events = [
        created(),
        event("response.output_item.done", output_index=0, item=LS | {"arguments": nothing}),
        last(),
    ]
    assert calls_of(of(*events).message)[0][2] == {}


def test_arguments_that_are_no_object_are_kept_as_they_came():
    (made,) = reply(call("f", '{"a')).message.tool_calls
    assert (made.invalid, made.input) == ('{"a', {})


def test_a_call_without_a_call_id_goes_by_its_id():
    item = {k: v for k, v in LS.items() if k != "call_id"}
    assert calls_of(reply(item).message)[0][0] == "fc_1"


def test_calls_that_are_mixed_are_told_apart():
    a, b = call("a", {"x": "one two three"}), call("b", {"y": "four five six"})
    runs = [item_events(a, 0), item_events(b, 1)]
    mixed = [e for pair in zip(*runs, strict=True) for e in pair]
    made = of(created(), *mixed, last(a, b)).message
    assert [(c.name, c.input) for c in made.tool_calls] == [
        ("a", {"x": "one two three"}),
        ("b", {"y": "four five six"}),
    ]


ITEMS = (
    reasoning("Hm.", name="rs"),
    message("Hello", name="msg"),
    call("f", {"x": 1}, item_id="fa"),
    call("f", {"x": 2}, item_id="fb"),
)
WHOLE = [("thinking", "Hm."), ("text", "Hello"), ("tool_call", {"x": 1}), ("tool_call", {"x": 2})]


def blocks(made: Message) -> list[tuple[str, Any]]:
    return [(b.type, b.input if isinstance(b, ToolCall) else b.text) for b in made.content]


def no_places(value: dict[str, Any]) -> None:
    for name in ("output_index", "content_index", "summary_index"):
        value.pop(name, None)


def no_ids(value: dict[str, Any]) -> None:
    value.pop("item_id", None)
    for item in (value.get("item"), *(value.get("response", {}).get("output") or ())):
        if item:
            item.pop("id", None)
            item.pop("call_id", None)


def no_item_ids(value: dict[str, Any]) -> None:
    value.pop("item_id", None)


def other_ids_at_the_end(value: dict[str, Any]) -> None:
    for item in value.get("response", {}).get("output") or ():
        item["id"] = "new_" + item["id"]
        item.pop("call_id", None)


def other_ids_when_done(value: dict[str, Any]) -> None:
    if value["type"] == "response.output_item.done":
        value["item"]["id"] = "new_" + value["item"]["id"]


def neither(value: dict[str, Any]) -> None:
    no_places(value)
    no_ids(value)


def places_with_gaps(value: dict[str, Any]) -> None:
    if "output_index" in value:
        value["output_index"] = value["output_index"] * 3 + 1


def one_place(value: dict[str, Any]) -> None:
    if "output_index" in value:
        value["output_index"] = 0


def places_that_are_text(value: dict[str, Any]) -> None:
    if "output_index" in value:
        value["output_index"] = str(value["output_index"])


NAMINGS = (
    no_places,
    no_ids,
    no_item_ids,
    neither,
    other_ids_at_the_end,
    other_ids_when_done,
    places_with_gaps,
    one_place,
    places_that_are_text,
)


@pytest.mark.parametrize("change", NAMINGS, ids=lambda change: change.__name__)
def test_items_are_told_apart_however_a_server_names_them(change):
    assert blocks(decode(RESPONSES, renamed(stream(*ITEMS), change)).message) == WHOLE


@pytest.mark.parametrize("change", NAMINGS, ids=lambda change: change.__name__)
def test_items_without_deltas_are_told_apart_however_a_server_names_them(change):
    events = without(
        events_of(*ITEMS),
        "response.output_text",
        "response.reasoning",
        "response.function",
        "response.content",
    )
    assert blocks(decode(RESPONSES, renamed(b"".join(events), change)).message) == WHOLE


def test_an_item_that_the_last_event_adds_is_not_taken_for_another():
    a, b = call("f", {"x": 1}, item_id="fa"), call("f", {"x": 2}, item_id="fb")
    made = of(created(), *item_events(b, 1), last(a, b)).message
    assert sorted(c.input["x"] for c in made.tool_calls) == [1, 2]


def test_an_item_that_is_begun_twice_is_one():
    events = events_of(LS)
    assert calls_of(of(*events[:3], *events[2:]).message) == calls_of(reply(LS).message)


def test_an_item_that_is_begun_again_after_its_end_is_one():
    events = events_of(LS)
    assert calls_of(of(*events[:-1], events[2], events[-1]).message) == calls_of(reply(LS).message)


def test_an_item_that_is_ended_twice_is_one():
    events = events_of(LS)
    assert calls_of(of(*events[:-1], *events[-2:]).message) == calls_of(reply(LS).message)


def test_a_placeholder_without_an_item_is_nothing():
    empty = event("response.output_item.added", output_index=0, item=None)
    assert kinds(of(created(), empty, *item_events(LS, 1), last(LS)).message) == ["tool_call"]


def test_a_place_of_any_size_costs_nothing():
    tracemalloc.start()
    made = of(created(), *item_events(LS, 10**12), last(LS))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(made.message.tool_calls) == 1
    assert peak < 10_000_000


# --- tools that the vendor ran --------------------------------------------------------------------

SERVER = {
    "web_search_call": {"action": {"type": "search", "query": "x", "queries": ["x"]}},
    "x_search_call": {"action": {"query": "x"}},
    "file_search_call": {"queries": ["x"], "results": None},
    "code_interpreter_call": {"code": "1+1", "container_id": "c", "outputs": []},
    "mcp_call": {"server_label": "s", "name": "n", "arguments": '{"a": 1}', "output": "out"},
}
servers = pytest.mark.parametrize("kind", SERVER)


def server_item(kind: str) -> dict[str, Any]:
    return {"id": f"{kind}_1", "type": kind, "status": "completed", **SERVER[kind]}


@servers
def test_a_tool_that_the_vendor_ran_is_shown_and_not_dispatched(kind):
    made = reply(server_item(kind), message("a")).message
    (ran, _) = made.content
    assert (ran.server, ran.name, ran.id) == (True, kind.removesuffix("_call"), f"{kind}_1")
    assert made.tool_calls == []


@servers
def test_a_tool_that_the_vendor_ran_does_not_make_a_tool_use(kind):
    assert reply(server_item(kind), message("a")).stop is StopReason.END_TURN


@servers
def test_a_tool_that_the_vendor_ran_is_told_when_it_begins(kind):
    events = decode(RESPONSES, b"".join(item_events(server_item(kind), 0, cut=1))).events
    assert events == [
        BlockStarted(0, "tool_call", f"{kind}_1", kind.removesuffix("_call"), server=True)
    ]


@servers
def test_a_tool_that_the_vendor_ran_goes_back_as_it_came(kind):
    item = server_item(kind)
    assert item in body(RESPONSES, reply(item, message("a")).message)["input"]


@servers
def test_a_tool_that_the_vendor_ran_does_not_go_to_another_vendor(kind):
    sent = body(GROK, reply(server_item(kind), message("a")).message)["input"]
    assert [item.get("role") for item in sent] == ["user", "assistant"]


def test_what_a_tool_of_the_vendor_was_asked_is_its_input():
    (ran, *_) = reply(server_item("web_search_call"), message("a")).message.content
    assert ran.input == {"action": {"type": "search", "query": "x", "queries": ["x"]}}


def test_arguments_of_a_remote_tool_are_read():
    (ran, *_) = reply(server_item("mcp_call"), message("a")).message.content
    assert ran.input == {"server_label": "s", "name": "n", "arguments": {"a": 1}}


PICTURE = {"id": "ig_1", "type": "image_generation_call", "status": "completed", "result": "UEs="}


def test_a_picture_that_the_vendor_drew_is_an_image():
    made = reply(PICTURE | {"output_format": "webp"}, message("a")).message
    assert made.content[1] == Image(media_type="image/webp", data="UEs=")


def test_a_picture_that_the_vendor_drew_goes_back_whole():
    made = reply(PICTURE, message("a")).message
    assert PICTURE in body(RESPONSES, made)["input"]


def test_a_picture_is_held_once():
    (ran, picture, _) = reply(PICTURE, message("a")).message.content
    assert "result" not in ran.replay
    assert picture.data == "UEs="


def test_a_picture_that_failed_is_a_call_without_one():
    failed = PICTURE | {"result": None, "status": "failed"}
    made = reply(failed, message("a")).message
    assert kinds(made) == ["tool_call", "text"]
    assert failed in body(RESPONSES, made)["input"]


def test_pieces_of_a_picture_are_no_text():
    where = {"output_index": 0, "item_id": "ig_1", "partial_image_index": 0}
    piece = event("response.image_generation_call.partial_image", **where, partial_image_b64="UEs=")
    made = of(created(), *item_events(PICTURE, 0, cut=1), piece, last(PICTURE)).message
    assert kinds(made) == ["tool_call", "image"]


UNKNOWN = {"id": "new_1", "type": "telepathy_call", "thought": {"a": [1]}}


def test_an_unknown_item_is_kept_whole():
    (kept, _) = reply(UNKNOWN, message("a")).message.content
    assert kept == Opaque(vendor="openai", raw=UNKNOWN)


def test_an_unknown_item_goes_back_as_it_came():
    assert UNKNOWN in body(RESPONSES, reply(UNKNOWN, message("a")).message)["input"]


@pytest.mark.parametrize("kind", ["custom_tool_call", "computer_call", "shell_call"])
def test_a_call_that_nobody_can_answer_is_kept_and_not_sent_back(kind):
    item = {"id": "c_1", "type": kind, "call_id": "call_1", "input": "x"}
    made = reply(item, message("a")).message
    assert made.content[0] == Opaque(vendor="openai", raw=item)
    assert made.tool_calls == []
    assert [i.get("type") for i in body(RESPONSES, made)["input"]] == [None, "message"]


def test_a_call_that_the_vendor_answered_itself_goes_back_with_its_answer():
    ran = {"id": "s_1", "type": "shell_call", "call_id": "call_1", "action": {"commands": ["ls"]}}
    answer = {"id": "s_2", "type": "shell_call_output", "call_id": "call_1", "output": []}
    sent = body(RESPONSES, reply(ran, answer, message("a")).message)["input"]
    assert [item.get("type") for item in sent] == [
        None,
        "shell_call",
        "shell_call_output",
        "message",
    ]


# --- sources --------------------------------------------------------------------------------------


def cited(*notes: dict[str, Any], text: str = "Hello there", **more: Any) -> tuple[Any, ...]:
    made = reply(message(part(text, *notes)), **more).message
    return made.content[0].citations


def test_a_page_is_cited_with_its_place():
    (citation,) = cited(NOTE)
    assert (citation.kind, citation.url, citation.title) == ("url", "https://a.example", "A title")
    assert (citation.start, citation.end, citation.raw) == (0, 5, NOTE)


def test_a_file_is_cited_at_its_place():
    note = {"type": "file_citation", "file_id": "file_1", "filename": "a.pdf", "index": 7}
    (citation,) = cited(note)
    assert (citation.kind, citation.title, citation.start, citation.end) == ("file", "a.pdf", 7, 7)


def test_a_file_of_a_sandbox_is_cited():
    note = {"type": "container_file_citation", "container_id": "c", "file_id": "f"}
    note |= {"filename": "plot.png", "start_index": 1, "end_index": 4}
    (citation,) = cited(note)
    assert (citation.kind, citation.title, citation.start, citation.end) == (
        "file",
        "plot.png",
        1,
        4,
    )


def test_a_path_of_a_file_has_no_place():
    (citation,) = cited({"type": "file_path", "file_id": "file_1", "index": 0})
    assert (citation.kind, citation.title, citation.start) == ("file", "file_1", None)


def test_a_source_is_told_as_it_comes_and_only_once():
    events = decode(RESPONSES, stream(message(part("Hello", NOTE)))).events
    assert sum(isinstance(e, CitationAdded) for e in events) == 1


def test_a_source_that_only_the_whole_message_brings_is_told():
    events = without(events_of(message(part("Hello", NOTE))), "response.output_text.annotation")
    assert [c.url for c in of(*events).message.content[0].citations] == ["https://a.example"]


def test_a_source_that_is_cited_in_two_places_counts_twice():
    assert len(cited(NOTE, url_citation("https://a.example", 6, 9))) == 2


def test_the_same_source_in_two_parts_counts_in_both():
    made = reply(message(part("one", NOTE), part("two", NOTE))).message
    assert [len(block.citations) for block in made.content] == [1, 1]


def test_two_places_of_one_file_are_two_sources():
    note = {"type": "file_citation", "file_id": "f", "filename": "a.pdf", "index": 3}
    assert len(cited(note, note | {"index": 8})) == 2


def test_an_unknown_annotation_is_no_source():
    assert cited({"type": "vibe", "url": "x"}) == ()


def test_a_list_of_sources_belongs_to_the_answer():
    urls = ["https://a.example", "https://b.example", "https://b.example"]
    assert [c.url for c in cited(NOTE, citations=urls)] == [
        "https://a.example",
        "https://b.example",
    ]


def test_a_list_of_sources_may_hold_titles():
    (citation,) = cited(citations=[{"url": "https://b.example", "title": "B"}, None, 3, {}])
    assert (citation.url, citation.title) == ("https://b.example", "B")


def test_a_list_of_sources_without_an_answer_is_left_out():
    assert reply(LS, citations=["https://a.example"]).message.tool_calls


# --- usage ----------------------------------------------------------------------------------------


def test_usage_is_read_with_its_details():
    usage = reply(message("a")).usage
    assert (usage.input_tokens, usage.output_tokens) == (30, 12)
    assert (usage.cache_read_tokens, usage.cache_write_tokens) == (20, 4)
    assert usage.reasoning_tokens == 8


def test_usage_is_kept_as_it_came():
    assert reply(message("a"), usage=USAGE | {"new": 1}).usage.raw == USAGE | {"new": 1}


@pytest.mark.parametrize("missing", [None, [], "x"])
def test_no_report_is_unknown_not_zero(missing):
    assert reply(message("a"), usage=missing).usage is None


@pytest.mark.parametrize("bad", [-3, "7", 1.5, [], None, True])
def test_a_count_that_is_none_counts_nothing(bad):
    usage = reply(message("a"), usage={"input_tokens": bad, "output_tokens": 2}).usage
    assert (usage.input_tokens, usage.output_tokens) == (0, 2)


def test_usage_is_reported_once():
    events = decode(RESPONSES, stream(message("a"))).events
    assert sum(isinstance(e, UsageReported) for e in events) == 1


def test_an_incomplete_reply_has_its_usage():
    end = last(message("a"), kind="response.incomplete", status="incomplete")
    assert of(created(), end).usage.output_tokens == 12


def test_searches_are_counted():
    assert reply(message("a"), tool_usage={"web_search": {"num_requests": 3}}).usage.searches == 3


# --- ends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("why", "reason"),
    [
        ("max_output_tokens", StopReason.MAX_TOKENS),
        ("content_filter", StopReason.REFUSAL),
        ("steered", StopReason.MAX_TOKENS),
    ],
)
def test_an_incomplete_reply_says_why(why, reason):
    more = {"status": "incomplete", "incomplete_details": {"reason": why}}
    made = of(created(), *item_events(message("Hel"), 0), last(kind="response.incomplete", **more))
    assert (made.stop, made.detail, made.message.text) == (reason, why, "Hel")


def test_an_incomplete_reply_keeps_its_calls_and_its_id():
    more = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    made = of(created(), *item_events(LS, 0), last(LS, kind="response.incomplete", **more))
    assert (made.stop, made.state) == (StopReason.MAX_TOKENS, {"response_id": "resp_1"})
    assert len(made.message.tool_calls) == 1


def test_a_completed_event_that_says_incomplete_is():
    assert reply(message("a"), status="incomplete").stop is StopReason.MAX_TOKENS


FAILURE = {"code": "server_error", "message": "The model broke"}


@pytest.mark.parametrize("kind", ["response.failed", "response.completed"])
def test_a_failed_reply_fails_with_what_it_says(kind):
    end = event(kind, response=response(status="failed", error=FAILURE))
    decoded = decode(RESPONSES, b"".join([created(), *item_events(message("Hel"), 0), end]))
    assert isinstance(decoded.fault, ServerFault)
    assert "The model broke" in str(decoded.fault)
    assert decoded.builder.partial().text == "Hel"


@pytest.mark.parametrize(
    "data",
    [
        {"code": "rate_limit_exceeded", "message": "slow down", "param": None},
        {"error": {"code": "rate_limit_exceeded", "message": "slow down"}},
        {"error": {"type": "rate_limit_error", "message": "slow down"}},
    ],
)
def test_an_error_event_fails_the_reply_by_its_kind(data):
    decoded = decode(RESPONSES, created() + event("error", **data))
    assert isinstance(decoded.fault, RateLimited)
    assert "slow down" in str(decoded.fault)


@pytest.mark.parametrize("kind", ["error", "response.failed"])
@pytest.mark.parametrize("value", EVIL, ids=repr)
def test_an_error_of_any_shape_fails_the_reply(kind, value):
    for data in (
        {"error": value},
        {"response": value},
        {"response": {"error": value}},
        {"code": value, "message": value},
    ):
        decoded = decode(RESPONSES, created() + bare(kind, **data))
        assert decoded.fault is not None
        str(decoded.fault).encode()


def test_done_alone_is_no_end():
    decoded = decode(RESPONSES, b"".join(events_of(message("Hello"))[:-1]) + DONE)
    assert isinstance(decoded.fault, StreamTruncated)
    assert decoded.builder.partial().text == "Hello"


def test_done_after_the_end_changes_nothing():
    whole = stream(*ITEMS)
    assert same(decode(RESPONSES, whole + DONE), decode(RESPONSES, whole))


# --- bytes ----------------------------------------------------------------------------------------

CITED = message(part("Voilà: 😀\u2028.", url_citation("https://a", 0, 5)), name="m")
FULL = (
    reasoning("À voir 🤔.", "Donc."),
    CITED,
    {"id": "ws_1", "type": "code_interpreter_call", "code": "1"},
    call("f", {"é": "😀"}),
)


def test_sources_and_tools_of_the_vendor_come_the_same_however_bytes_are_cut():
    data = stream(*FULL)
    assert same(decode(RESPONSES, data, range(len(data))), decode(RESPONSES, data))


def test_comments_and_unknown_events_are_nothing():
    events = events_of(*FULL)
    odd = [
        b": keep-alive\n\n",
        event("response.magic", output_index=0),
        event("response.in_progress"),
    ]
    odd += [b"data:\n\n", b"data: 3\n\n", b"data: []\n\n", b'data: {"type": null}\n\n']
    noisy = b"".join([*events[:4], *odd, *events[4:-1], *odd, events[-1]])
    assert same(decode(RESPONSES, noisy), decode(RESPONSES, b"".join(events)))


def test_the_name_of_an_event_stands_in_for_a_type_that_is_missing():
    lines = stream(message("Hello")).decode().split("\n")
    bare_lines = []
    for line in lines:
        if line.startswith("data: "):
            value = json.loads(line[6:])
            value.pop("type")
            line = "data: " + json.dumps(value)
        bare_lines.append(line)
    assert decode(RESPONSES, "\n".join(bare_lines).encode()).message.text == "Hello"


def test_halves_of_a_character_anywhere_else_are_replaced():
    item = call("f\ud83d", '{"a": "\ude00"}', item_id="i\ud83d", call_id="c\ud83d")
    note = url_citation("https://x", 0, 1, "t\ud83d")
    data = renamed(stream(message(part("a", note)), UNKNOWN), lambda value: None)
    assert decode(RESPONSES, data).message.model_dump_json().encode()
    odd = created() + bare("response.output_item.done", output_index=0, item=item) + last()
    assert decode(RESPONSES, odd).message.model_dump_json().encode()


# --- evil values ----------------------------------------------------------------------------------


def evil_events() -> list[tuple[str, dict[str, Any]]]:
    whole = events_of(
        reasoning("a", text="b"), message(part("c", NOTE)), LS, server_item("mcp_call"), PICTURE
    )
    out = []
    for each in whole:
        value = json.loads(each.partition(b"data: ")[2])
        out.append((value.pop("type"), value))
    return out


@pytest.mark.parametrize("value", EVIL, ids=repr)
def test_a_value_of_any_kind_in_any_place_is_no_foreign_failure(value):
    events = evil_events()
    for at, (kind, fields) in enumerate(events):
        for name in fields:
            changed = [*events[:at], (kind, {**fields, name: value}), *events[at + 1 :]]
            decoded = decode(RESPONSES, b"".join(bare(k, **f) for k, f in changed))
            partial = decoded.builder.partial()
            assert partial is None or partial.model_dump_json().encode()


@pytest.mark.parametrize("value", EVIL, ids=repr)
def test_a_value_of_any_kind_in_an_item_is_no_foreign_failure(value):
    for item in (reasoning("a"), message(part("c", NOTE)), LS, server_item("mcp_call"), PICTURE):
        for name in item:
            odd = {**item, name: value}
            for data in (
                created() + bare("response.output_item.added", output_index=0, item=odd) + last(),
                created() + bare("response.output_item.done", output_index=0, item=odd) + last(),
                created() + bare("response.completed", response=response(output=[odd])),
            ):
                made = decode(RESPONSES, data).message
                assert made.model_dump_json().encode()
                body(RESPONSES, made)


@pytest.mark.parametrize("value", EVIL, ids=repr)
def test_a_value_of_any_kind_in_the_last_event_is_no_foreign_failure(value):
    for name in response():
        data = stream(message("a")).rpartition(b"event: ")[0] + bare(
            "response.completed", response={**response(), name: value}
        )
        assert decode(RESPONSES, data).builder.partial().text == "a"


def test_a_stated_cost_is_read():
    made = decode(GROK, stream(message("a"), usage=USAGE | {"cost_in_usd_ticks": 37756000})).reply
    assert made.usage.stated_cost == Decimal("0.0037756")


def test_thinking_is_no_text():
    made = reply(reasoning("Hm."), message("a")).message
    assert [type(b) for b in made.content] == [Thinking, Text]

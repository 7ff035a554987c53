"""Anthropic's wire: what is sent, what a reply means, what goes back as it came."""

from __future__ import annotations

import json
from typing import Any

import pytest

from alloy_nb.errors import ConfigError, ServerFault
from alloy_nb.events import (
    BlockStarted,
    CitationAdded,
    ReplyStarted,
    ToolInputDelta,
    UsageReported,
)
from alloy_nb.messages import (
    Document,
    Image,
    Message,
    Opaque,
    StopReason,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    assistant,
    user,
)
from alloy_nb.providers import Anthropic
from alloy_nb.providers.base import ModelOptions, ModelRequest, ToolSpec
from tests.oracles.invariants import check_anthropic
from tests.oracles.strict import validate_anthropic
from tests.providers.wires import ANTHROPIC, URL, anthropic_pieces, blocks, body, decode, same
from tests.servers.wire import Call, Reply, Say, Think, anthropic_event, anthropic_events

TEXT = {"type": "text", "text": ""}
THINK = {"type": "thinking", "thinking": "", "signature": ""}


def said(text: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    return TEXT, [{"type": "text_delta", "text": text}]


def call(arguments: str, **more: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    start = {"type": "tool_use", "id": "toolu_1", "name": "bash", "input": {}, **more}
    return start, [{"type": "input_json_delta", "partial_json": arguments}]


def reply(*parts: Any, **more: Any):
    return decode(ANTHROPIC, blocks(*parts, **more)).reply


def sent_back(message: Message) -> list[dict[str, Any]]:
    """Return the content of an answer as the next request holds it."""
    following = [user("go on")]
    if message.tool_calls:
        following = [user(*(ToolResult(call_id=c.id) for c in message.tool_calls))]
    sent = body(ANTHROPIC, user("hi"), message, *following)
    validate_anthropic(sent)
    check_anthropic(sent)
    return sent["messages"][1]["content"]


# --- usage ----------------------------------------------------------------------------------------


def test_later_counts_replace_earlier_ones():
    usage = reply(
        said("a"),
        start_usage={"input_tokens": 100, "output_tokens": 5},
        usage={"output_tokens": 46},
    ).usage
    assert (usage.input_tokens, usage.output_tokens) == (100, 46)


def test_a_later_report_that_repeats_the_input_does_not_double_it():
    counts = {"input_tokens": 100, "output_tokens": 46}
    usage = reply(
        said("a"), start_usage={"input_tokens": 100, "output_tokens": 5}, usage=counts
    ).usage
    assert (usage.input_tokens, usage.output_tokens) == (100, 46)


def test_a_null_does_not_replace_a_count():
    usage = reply(
        said("a"), start_usage={"input_tokens": 9}, usage={"input_tokens": None, "output_tokens": 3}
    ).usage
    assert (usage.input_tokens, usage.output_tokens) == (9, 3)


def test_cached_tokens_are_part_of_the_input():
    counts = {
        "input_tokens": 10,
        "cache_read_input_tokens": 200,
        "cache_creation_input_tokens": 3000,
        "cache_creation": {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 2000},
    }
    usage = reply(said("a"), start_usage=counts, usage={"output_tokens": 4}).usage
    assert usage.input_tokens == 3210
    assert usage.cache_read_tokens == 200
    assert usage.cache_write_tokens == 3000
    assert usage.cache_write_1h_tokens == 2000
    assert usage.total_tokens == 3214


def test_searches_are_counted():
    counts = {"output_tokens": 1, "server_tool_use": {"web_search_requests": 3}}
    assert reply(said("a"), usage=counts).usage.searches == 3


@pytest.mark.parametrize("bad", [-5, "7", 1.5, [], {}, None])
def test_a_count_that_is_none_counts_nothing(bad):
    usage = reply(said("a"), start_usage={"input_tokens": bad, "output_tokens": 2}).usage
    assert usage.input_tokens == 0
    assert usage.output_tokens == 2


def test_every_report_is_an_event_of_absolute_counts():
    events = decode(ANTHROPIC, blocks(said("a"), usage={"output_tokens": 9})).events
    reports = [e.usage.output_tokens for e in events if isinstance(e, UsageReported)]
    assert reports == [1, 9]


# --- why it stopped -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        ("end_turn", StopReason.END_TURN),
        ("max_tokens", StopReason.MAX_TOKENS),
        ("model_context_window_exceeded", StopReason.MAX_TOKENS),
        ("stop_sequence", StopReason.STOP_SEQUENCE),
        ("refusal", StopReason.REFUSAL),
        ("pause_turn", StopReason.PAUSE),
    ],
)
def test_each_reason_to_stop_is_kept(stop, reason):
    assert reply(said("a"), stop=stop).stop is reason


def test_a_call_makes_any_normal_end_a_tool_use():
    assert reply(call("{}"), stop="end_turn").stop is StopReason.TOOL_USE


def test_tool_use_without_a_call_is_the_end():
    assert reply(said("a"), stop="tool_use").stop is StopReason.END_TURN


def test_a_reason_that_nobody_knows_is_kept_as_detail():
    assert reply(said("a"), stop="sunset").detail == "sunset"


def test_the_sequence_at_which_it_stopped_is_kept():
    end = anthropic_event(
        "message_delta", delta={"stop_reason": "stop_sequence", "stop_sequence": "END"}
    )
    stream = blocks(said("a"), stop=None).replace(
        b"event: message_stop", end + b"event: message_stop"
    )
    assert decode(ANTHROPIC, stream).reply.detail == "END"


# --- thinking -------------------------------------------------------------------------------------


def test_signed_thinking_goes_back_as_it_came():
    deltas = [
        {"type": "thinking_delta", "thinking": "Let me "},
        {"type": "thinking_delta", "thinking": "see.\n"},
        {"type": "signature_delta", "signature": "abc"},
    ]
    message = reply((THINK, deltas), said("a")).message
    assert message.thinking == "Let me see.\n"
    assert message.text == "a"
    expected = {"type": "thinking", "thinking": "Let me see.\n", "signature": "abc"}
    assert sent_back(message)[0] == expected


def test_a_signature_in_pieces_is_joined():
    deltas = [{"type": "signature_delta", "signature": part} for part in ("ab", "cd")]
    assert sent_back(reply((THINK, deltas), said("a")).message)[0]["signature"] == "abcd"


def test_thinking_and_signature_in_the_start_are_kept():
    start = {"type": "thinking", "thinking": "hm", "signature": "s"}
    assert sent_back(reply((start, []), said("a")).message)[0] == start


def test_thinking_without_a_signature_is_shown_and_not_sent():
    deltas = [{"type": "thinking_delta", "thinking": "hm"}]
    message = reply((THINK, deltas), said("a")).message
    assert message.thinking == "hm"
    assert sent_back(message) == [{"type": "text", "text": "a"}]


def test_redacted_thinking_goes_back_as_it_came():
    start = {"type": "redacted_thinking", "data": "ENC"}
    message = reply((start, []), said("a")).message
    assert isinstance(message.content[0], Thinking)
    assert message.content[0].redacted
    assert message.thinking == ""
    assert sent_back(message)[0] == start


def test_an_answer_of_thinking_alone_does_not_end_with_it():
    # The interface refuses a message whose final block is thinking.
    deltas = [{"type": "signature_delta", "signature": "s"}]
    assert sent_back(reply((THINK, deltas)).message)[-1]["type"] == "text"


# --- calls ----------------------------------------------------------------------------------------


def test_arguments_are_put_together():
    start, _ = call("")
    deltas = [
        {"type": "input_json_delta", "partial_json": p} for p in ("", '{"comm', 'and": "l', 's"}')
    ]
    decoded = decode(ANTHROPIC, blocks((start, deltas), stop="tool_use"))
    assert decoded.message.tool_calls == [
        ToolCall(id="toolu_1", name="bash", input={"command": "ls"})
    ]
    pieces = [e.json for e in decoded.events if isinstance(e, ToolInputDelta)]
    assert pieces == ['{"comm', 'and": "l', 's"}']


def test_no_arguments_are_an_empty_object():
    assert reply(call("")).message.tool_calls[0].input == {}


@pytest.mark.parametrize("deltas", [[], [{"type": "input_json_delta", "partial_json": ""}]])
def test_arguments_that_come_whole_in_the_start_are_kept(deltas):
    start, _ = call("", input={"command": "ls"})
    assert reply((start, deltas)).message.tool_calls[0].input == {"command": "ls"}


@pytest.mark.parametrize(
    "bad", ['{"a', "[1]", '"x"', "null", "NaN", '{"a": NaN}', '{"a": 1e999}', "{}{}"]
)
def test_arguments_that_are_no_object_are_kept_as_they_came(bad):
    (made,) = reply(call(bad)).message.tool_calls
    assert made.invalid == bad
    assert made.input == {}


def test_a_call_with_bad_arguments_goes_back_in_a_form_that_is_accepted():
    assert sent_back(reply(call('{"a')).message)[0]["input"] == {}


def test_calls_of_the_server_are_shown_and_not_ours_to_run():
    start = {
        "type": "server_tool_use",
        "id": "srvtoolu_1",
        "name": "web_search",
        "input": {},
    }
    query = [{"type": "input_json_delta", "partial_json": '{"query": "x"}'}]
    result = {
        "type": "web_search_tool_result",
        "tool_use_id": "srvtoolu_1",
        "content": [
            {
                "type": "web_search_result",
                "url": "http://x",
                "title": "X",
                "encrypted_content": "E",
            }
        ],
    }
    message = reply((start, query), (result, []), said("found")).message
    assert message.tool_calls == []
    assert message.stop is StopReason.END_TURN
    assert isinstance(message.content[0], ToolCall)
    assert message.content[0].server
    back = sent_back(message)
    assert back[0] == start | {"input": {"query": "x"}}
    assert back[1] == result


def test_a_server_call_whose_result_never_came_is_not_sent():
    start = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
    message = reply(said("a"), (start, [])).message
    assert sent_back(message) == [{"type": "text", "text": "a"}]


def test_a_server_result_without_its_call_is_not_sent():
    result = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
    assert sent_back(reply(said("a"), (result, [])).message) == [{"type": "text", "text": "a"}]


def test_a_paused_turn_goes_back_whole_to_be_continued():
    start = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
    message = reply(said("a"), (start, []), stop="pause_turn").message
    sent = body(ANTHROPIC, user("hi"), message)
    assert [b["type"] for b in sent["messages"][-1]["content"]] == ["text", "server_tool_use"]


# --- blocks that nobody knows ---------------------------------------------------------------------


def test_an_unknown_block_is_kept_and_goes_back_verbatim():
    start = {"type": "hologram", "beams": [1, {"two": None}], "text": "x"}
    message = reply((start, []), said("a")).message
    assert message.content[0] == Opaque(vendor="anthropic", raw=start)
    sent = body(ANTHROPIC, user("hi"), message, user("go on"))
    assert sent["messages"][1]["content"][0] == start


def test_an_unknown_block_begins_with_its_own_name():
    events = decode(ANTHROPIC, blocks(({"type": "hologram"}, []))).events
    assert BlockStarted(0, "opaque", name="hologram") in events


# --- citations ------------------------------------------------------------------------------------

CITATIONS = [
    {
        "type": "char_location",
        "cited_text": "The sky is blue.",
        "document_index": 0,
        "document_title": "Sky",
        "start_char_index": 0,
        "end_char_index": 16,
        "file_id": None,
    },
    {
        "type": "page_location",
        "cited_text": "Page",
        "document_index": 0,
        "document_title": None,
        "start_page_number": 1,
        "end_page_number": 2,
        "file_id": None,
    },
    {
        "type": "content_block_location",
        "cited_text": "Block",
        "document_index": 0,
        "document_title": "B",
        "start_block_index": 0,
        "end_block_index": 1,
        "file_id": None,
    },
    {
        "type": "web_search_result_location",
        "cited_text": "Web",
        "encrypted_index": "E",
        "title": "W",
        "url": "https://w.example",
    },
    {
        "type": "search_result_location",
        "cited_text": "S",
        "search_result_index": 0,
        "source": "https://s.example",
        "title": "S",
        "start_block_index": 0,
        "end_block_index": 1,
    },
]


def cited(*citations: dict[str, Any]):
    deltas = [{"type": "text_delta", "text": "blue"}]
    deltas += [{"type": "citations_delta", "citation": citation} for citation in citations]
    return decode(ANTHROPIC, blocks((TEXT, deltas)))


@pytest.mark.parametrize("raw", CITATIONS, ids=lambda raw: raw["type"])
def test_a_citation_of_each_kind_is_an_event_and_part_of_its_text(raw):
    decoded = cited(raw)
    (event,) = [e for e in decoded.events if isinstance(e, CitationAdded)]
    (text,) = decoded.message.content
    assert text.citations == (event.citation,)
    assert event.citation.quote == raw["cited_text"]
    assert event.citation.raw == raw


def test_a_citation_of_the_web_names_its_address_and_one_of_a_document_its_title():
    first, web = cited(CITATIONS[0], CITATIONS[3]).message.content[0].citations
    assert (first.kind, first.title, first.url) == ("document", "Sky", None)
    assert (web.kind, web.title, web.url) == ("url", "W", "https://w.example")


def test_citations_go_back_in_a_form_that_is_accepted():
    (block,) = sent_back(cited(*CITATIONS).message)
    assert len(block["citations"]) == len(CITATIONS)
    assert block["citations"][3] == CITATIONS[3]


# --- odd streams ----------------------------------------------------------------------------------


def test_the_reply_names_its_id_and_model():
    decoded = decode(ANTHROPIC, blocks(said("a")))
    assert decoded.events[0] == ReplyStarted("msg_1", "m")
    assert decoded.message.origin.response_id == "msg_1"


def test_text_in_the_start_of_a_block_is_kept():
    start = {"type": "text", "text": "He"}
    assert reply((start, [{"type": "text_delta", "text": "llo"}])).message.text == "Hello"


def test_blocks_that_are_interleaved_are_kept_apart():
    stream = b"".join(
        [
            anthropic_event("message_start", message={"id": "m"}),
            anthropic_event("content_block_start", index=0, content_block=TEXT),
            anthropic_event("content_block_start", index=1, content_block=call("")[0]),
            anthropic_event("content_block_delta", index=1, delta=call('{"a"')[1][0]),
            anthropic_event(
                "content_block_delta", index=0, delta={"type": "text_delta", "text": "x"}
            ),
            anthropic_event("content_block_delta", index=1, delta=call(": 1}")[1][0]),
            anthropic_event("content_block_stop", index=1),
            anthropic_event("content_block_stop", index=0),
            anthropic_event("message_delta", delta={"stop_reason": "tool_use"}),
            anthropic_event("message_stop"),
        ]
    )
    message = decode(ANTHROPIC, stream).message
    assert message.text == "x"
    assert message.tool_calls[0].input == {"a": 1}


def test_a_delta_without_a_start_is_not_lost():
    stream = b"".join(
        [
            anthropic_event("message_start", message={"id": "m"}),
            anthropic_event(
                "content_block_delta", index=0, delta={"type": "text_delta", "text": "x"}
            ),
            anthropic_event("message_delta", delta={"stop_reason": "end_turn"}),
            anthropic_event("message_stop"),
        ]
    )
    assert decode(ANTHROPIC, stream).message.text == "x"


def test_unknown_events_and_deltas_of_anthropic_are_ignored():
    good = anthropic_events(Reply([Think("Hm."), Say("Voilà."), Call("read", {})]))
    odd = [
        anthropic_event("content_block_magic", index=0),
        anthropic_event("content_block_delta", index=0, delta={"type": "smell_delta", "x": 1}),
        anthropic_event("content_block_delta", index=77, delta={"type": "smell_delta", "x": 1}),
        anthropic_event("content_block_stop", index=99),
    ]
    noisy = b"".join([*good[:3], *odd, *good[3:]])
    assert same(decode(ANTHROPIC, noisy), decode(ANTHROPIC, b"".join(good)))


@pytest.mark.parametrize("error", [None, "x", 3, [], {}, {"type": 5, "message": 6}, {"type": []}])
def test_an_anthropic_error_event_of_any_shape_fails_the_reply(error):
    decoded = decode(ANTHROPIC, anthropic_event("error", error=error))
    assert isinstance(decoded.fault, ServerFault)
    assert str(decoded.fault)


def test_halves_of_a_character_anywhere_else_are_replaced():
    start = {"type": "tool_use", "id": "c\ud83d", "name": "f\ude00", "input": {}}
    decoded = decode(ANTHROPIC, anthropic_pieces(start, []))
    assert decoded.message.model_dump_json()


def test_half_a_character_in_a_citation_is_replaced():
    citation = {"type": "web_search_result_location", "url": "http://x", "title": "a\ud83d"}
    deltas = [
        {"type": "text_delta", "text": "a"},
        {"type": "citations_delta", "citation": citation},
    ]
    decoded = decode(ANTHROPIC, anthropic_pieces({"type": "text", "text": ""}, deltas))
    assert decoded.message.content[0].citations[0].title == "a\ufffd"
    assert decoded.message.model_dump_json()


def mixed(kind: str, *deltas: dict[str, Any]) -> Message:
    """Return the message of a block whose deltas are of other kinds, mixed up by a proxy."""
    start = {"type": kind, "id": "c1", "name": "f", "input": {}, "thinking": "", "signature": ""}
    said = {"type": "text", "text": ""}
    more = ({"type": "text_delta", "text": "after"},)
    return decode(ANTHROPIC, blocks((start, deltas), (said, more))).message


@pytest.mark.parametrize("kind", ["tool_use", "thinking", "hologram"])
def test_text_within_a_block_of_another_kind_is_not_lost(kind):
    said = [{"type": "text_delta", "text": piece} for piece in ("so ", "it is")]
    assert mixed(kind, *said).text.startswith("so it is")


def test_thoughts_within_a_text_are_thoughts():
    made = mixed("text", {"type": "thinking_delta", "thinking": "hm"})
    assert (made.thinking, made.text) == ("hm", "after")


@pytest.mark.parametrize("kind", ["text", "thinking", "hologram"])
def test_arguments_within_another_block_are_no_part_of_it(kind):
    made = mixed(kind, {"type": "input_json_delta", "partial_json": '{"a": 1}'})
    assert (made.text, made.thinking) == ("after", "")


def test_events_named_by_the_sse_field_alone_are_understood():
    stream = blocks(said("Hello"))
    bare = stream.replace(b'"type":"content_block_delta",', b"").replace(
        b'"type":"message_stop"', b""
    )
    assert decode(ANTHROPIC, bare).message.text == "Hello"


# --- requests -------------------------------------------------------------------------------------

TOOL = ToolSpec("bash", "Run.", {"type": "object", "properties": {}})


def asked(**more: Any) -> dict[str, Any]:
    options = {k: more.pop(k) for k in list(more) if k in ModelOptions.__dataclass_fields__}
    made = ModelRequest(messages=[user("hi")], options=ModelOptions(**options), **more)
    sent = json.loads(ANTHROPIC.body(made))
    # The newest SDK has no types for these any more, since the newest models refuse them.
    validate_anthropic({k: v for k, v in sent.items() if k not in ("temperature", "top_k")})
    return sent


def test_a_plain_request_holds_what_it_must_and_no_more():
    assert asked() == {
        "model": "scripted-1",
        "max_tokens": 8192,
        "stream": True,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    }


def test_the_system_prompt_is_a_field():
    assert asked(system="be brief")["system"] == "be brief"


@pytest.mark.parametrize("blank", ["", "  \n"])
def test_a_blank_system_prompt_is_left_out(blank):
    assert "system" not in asked(system=blank)


def test_tools_are_described():
    assert asked(tools=(TOOL,))["tools"] == [
        {
            "name": "bash",
            "description": "Run.",
            "input_schema": {"type": "object", "properties": {}},
        }
    ]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", {"type": "auto"}),
        ("any", {"type": "any"}),
        ("none", {"type": "none"}),
        ("bash", {"type": "tool", "name": "bash"}),
    ],
)
def test_a_choice_of_tools_is_sent(choice, sent):
    assert asked(tools=(TOOL,), tool_choice=choice)["tool_choice"] == sent


@pytest.mark.parametrize("effort", ["low", "medium", "high", "max"])
def test_the_limit_on_output_is_larger_than_the_budget_for_thinking(effort):
    sent = asked(effort=effort)
    assert sent["max_tokens"] > sent["thinking"]["budget_tokens"] >= 1024


@pytest.mark.parametrize("limit", [1025, 1500, 2048, 4000, 100_000])
def test_thinking_fits_below_a_limit_that_was_asked_for(limit):
    sent = asked(effort="high", max_output_tokens=limit)
    assert sent["max_tokens"] == limit
    assert limit > sent["thinking"]["budget_tokens"] >= 1024


def test_a_limit_that_leaves_no_room_to_think_is_refused():
    with pytest.raises(ConfigError, match="no room to think"):
        asked(effort="low", max_output_tokens=1024)


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-sonnet-4-6"])
@pytest.mark.parametrize("options", [{}, {"effort": "off"}])
def test_temperature_goes_without_thinking(model, options):
    wire = Anthropic(model, base_url=URL)
    assert body(wire, temperature=0.2, **options)["temperature"] == 0.2


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-sonnet-4-6"])
@pytest.mark.parametrize("options", [{"effort": "low"}, {"thinking_budget": 2000}])
def test_a_temperature_for_a_model_that_thinks_is_refused_and_not_left_out(model, options):
    wire = Anthropic(model, base_url=URL)
    with pytest.raises(ConfigError, match=r"temperature=0\.2"):
        body(wire, temperature=0.2, **options)
    assert body(wire, temperature=1.0, **options)["temperature"] == 1.0  # its own


def test_texts_to_stop_at_are_sent():
    assert asked(stop=("END",))["stop_sequences"] == ["END"]


def test_extra_body_replaces_any_field():
    assert asked(extra_body={"max_tokens": 5, "top_k": 3})["max_tokens"] == 5


def test_the_request_goes_before_the_provider_in_extra_body():
    provider = Anthropic("m", base_url=URL, extra_body={"top_k": 1, "top_p": 0.5})
    sent = json.loads(
        provider.body(ModelRequest([user("hi")], options=ModelOptions(extra_body={"top_k": 2})))
    )
    assert (sent["top_k"], sent["top_p"]) == (2, 0.5)


PIXEL = "iVBORw0KGgo="


def test_pictures_and_documents_are_sent():
    content = (
        Image(data=PIXEL, media_type="image/png"),
        Image(url="https://x.example/a.png"),
        Document(data="JVBERi0=", title="A"),
        Document(url="https://x.example/a.pdf"),
        Document(data="aGVsbG8=", media_type="text/plain", title="N"),
    )
    sent = body(ANTHROPIC, user("look", *content))
    validate_anthropic(sent)
    sources = [block["source"]["type"] for block in sent["messages"][0]["content"][1:]]
    assert sources == ["base64", "url", "base64", "url", "text"]


def test_a_result_holds_text_and_pictures_and_says_that_it_failed():
    call_ = ToolCall(id="a", name="f")
    result = ToolResult(call_id="a", content=(Text(text="x"), Image(data=PIXEL)), is_error=True)
    sent = body(ANTHROPIC, user("hi"), assistant(call_), user(result))
    validate_anthropic(sent)
    (block,) = sent["messages"][2]["content"]
    assert block["is_error"] is True
    assert [part["type"] for part in block["content"]] == ["text", "image"]


def test_numbers_that_json_has_not_are_never_sent():
    made = assistant(ToolCall(id="a", name="f", input={"x": float("inf"), "y": float("nan")}))
    sent = body(ANTHROPIC, user("hi"), made, user("go on"))
    check_anthropic(sent)
    assert sent["messages"][1]["content"][0]["input"] == {"x": None, "y": None}


def test_half_a_character_is_never_sent():
    check_anthropic(body(ANTHROPIC, user("a\ud83d"), assistant("b\ude00"), user("c")))


@pytest.mark.parametrize(
    "address", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"]
)
def test_the_address_may_end_with_its_version(address):
    assert Anthropic("m", base_url=address).base_url == "http://h:1"

"""The chat-completions wire: what is sent, and what servers of all kinds mean by their chunks."""

from __future__ import annotations

import json
import tracemalloc
from decimal import Decimal
from typing import Any

import pytest

from alloy_nb.errors import ConfigError, Overloaded, RateLimited, ServerFault, StreamTruncated
from alloy_nb.events import BlockStarted, ReplyStarted, ToolInputDelta
from alloy_nb.messages import (
    Document,
    Image,
    Origin,
    StopReason,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    assistant,
    user,
)
from alloy_nb.providers import OpenAICompat, Quirks
from alloy_nb.providers import provider as make
from alloy_nb.providers.base import ModelOptions, ModelRequest, ToolSpec
from tests.oracles.invariants import check_chat
from tests.oracles.strict import validate_chat
from tests.providers.wires import CHAT, URL, body, chunks, data, decode
from tests.servers.wire import Reply, chat_chunk


def reply(*deltas: dict[str, Any], **more: Any):
    return decode(CHAT, chunks(*deltas, **more)).reply


def part(arguments: Any = None, name: Any = None, **more: Any) -> dict[str, Any]:
    """Return a delta of one fragment of a call; what is not given is left out."""
    function = {k: v for k, v in (("name", name), ("arguments", arguments)) if v is not None}
    return {"tool_calls": [{"function": function, **more}]}


def calls_of(*deltas: dict[str, Any], **more: Any) -> list[tuple[str, dict[str, Any]]]:
    made = reply(*deltas, **({"finish": "tool_calls"} | more)).message.tool_calls
    assert all(call.invalid is None for call in made), made
    return [(call.name, call.input) for call in made]


# --- calls ----------------------------------------------------------------------------------------


def test_fragments_are_put_together_by_index():
    assert calls_of(
        part("", "a", index=0, id="1"),
        part('{"x"', index=0),
        part("", "b", index=1, id="2"),
        part(": 1}", index=0),
        part('{"y": 2}', index=1),
    ) == [("a", {"x": 1}), ("b", {"y": 2})]


@pytest.mark.parametrize("later", [{}, {"id": None}, {"id": ""}, {"id": "1"}])
def test_an_id_is_kept_whatever_later_fragments_say(later):
    message = reply(
        part("", "a", index=0, id="1"), part('{"x": 1}', index=0, **later), finish="tool_calls"
    ).message
    assert message.tool_calls == [ToolCall(id="1", name="a", input={"x": 1})]


@pytest.mark.parametrize("name", ["", None, "a"])
def test_a_name_that_is_repeated_or_blank_changes_nothing(name):
    first = part('{"x', "a", index=0, id="1")
    assert calls_of(first, part('": 1', name, index=0), part("}", name, index=0)) == [
        ("a", {"x": 1})
    ]


def test_calls_without_an_index_are_told_apart_by_their_id():
    assert calls_of(
        part('{"x":', "a", id="1"), part(" 1}"), part("{}", "b", id="2"), part("", id="2")
    ) == [("a", {"x": 1}), ("b", {})]


def test_a_new_id_under_a_used_index_is_a_new_call():
    assert calls_of(
        part('{"x": 1}', "a", index=0, id="1"),
        part('{"y"', "b", index=0, id="2"),
        part(": 2}", index=0),
    ) == [("a", {"x": 1}), ("b", {"y": 2})]


def test_an_index_that_comes_back_belongs_to_its_newest_call():
    assert calls_of(
        part('{"x": 1}', "a", index=0, id="1"),
        part("{", "b", index=0, id="2"),
        part("{", "c", index=1, id="3"),
        part('"y": 2}', index=0),
        part('"z": 3}', index=1),
    ) == [("a", {"x": 1}), ("b", {"y": 2}), ("c", {"z": 3})]


@pytest.mark.parametrize(
    "marks", [{}, {"index": 0}, {"id": ""}, {"id": None}, {"id": "same"}, {"index": 0, "id": ""}]
)
def test_whole_calls_that_nothing_tells_apart_but_their_place_are_apart(marks):
    one, two = (part(f'{{"x": {n}}}', "f", **marks)["tool_calls"][0] for n in (1, 2))
    assert calls_of({"tool_calls": [one, two]}) == [("f", {"x": 1}), ("f", {"x": 2})]
    assert calls_of({"tool_calls": [one]}, {"tool_calls": [two]}) == [
        ("f", {"x": 1}),
        ("f", {"x": 2}),
    ]


def test_calls_of_other_names_that_nothing_else_tells_apart_are_apart():
    assert calls_of(part("", "a"), part("", "b"), part("{}")) == [("a", {}), ("b", {})]


def test_a_whole_call_in_one_delta_may_bring_its_arguments_as_an_object():
    assert calls_of(part({"x": [1]}, "a", index=0, id="1")) == [("a", {"x": [1]})]


@pytest.mark.parametrize("nothing", ["", None, {}])
def test_no_arguments_are_an_empty_object(nothing):
    assert calls_of(part(nothing, "a", index=0, id="1")) == [("a", {})]


def test_the_old_form_of_a_call_is_understood():
    assert calls_of(
        {"function_call": {"name": "a", "arguments": ""}},
        {"function_call": {"arguments": '{"x": 1}'}},
        finish="function_call",
    ) == [("a", {"x": 1})]


@pytest.mark.parametrize("finish", ["stop", "tool_calls", "function_call"])
def test_calls_make_any_normal_end_a_tool_use(finish):
    assert reply(part("{}", "a", index=0, id="1"), finish=finish).stop is StopReason.TOOL_USE


def test_arguments_that_are_no_object_are_kept_as_they_came():
    (made,) = reply(part('{"a', "a", index=0, id="1"), finish="tool_calls").message.tool_calls
    assert (made.invalid, made.input) == ('{"a', {})


def test_an_index_of_any_size_costs_nothing():
    tracemalloc.start()
    made = calls_of(part("{}", "a", index=10**12, id="1"), part("{}", "b", index=-5, id="2"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert made == [("a", {}), ("b", {})]
    assert peak < 10_000_000


@pytest.mark.parametrize("index", [None, "0", 0.0, True, [], {}])
def test_an_index_of_any_kind_is_no_failure(index):
    assert calls_of(part("{}", "a", index=index, id="1")) == [("a", {})]


def test_input_is_told_as_it_comes():
    stream = chunks(part("", "a", index=0, id="1"), part("{", index=0), part("}", index=0))
    pieces = [e for e in decode(CHAT, stream).events if isinstance(e, ToolInputDelta)]
    assert [piece.json for piece in pieces] == ["{", "}"]


# --- text and thinking ----------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "thinking"])
def test_thinking_goes_by_several_names(field):
    message = reply({field: "Let me "}, {field: "see."}, {"content": "Yes"}).message
    assert (message.thinking, message.text) == ("Let me see.", "Yes")


def test_thinking_that_comes_under_two_names_at_once_is_read_once():
    message = reply({"reasoning": "hm", "reasoning_content": "hm"}, {"content": "Yes"}).message
    assert message.thinking == "hm"


def test_content_as_a_list_of_parts_is_understood():
    message = reply(
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]},
        {"content": [{"type": "thinking", "thinking": "m"}, {"type": "text", "text": "Yes"}]},
        {"content": [None, 3, {"type": "image"}, {"type": "text", "text": "!"}]},
    ).message
    assert (message.thinking, message.text) == ("hmm", "Yes!")


@pytest.mark.parametrize("blank", [None, "", [], {}, 7])
def test_blank_content_says_nothing(blank):
    assert reply({"content": blank, "reasoning_content": blank}).message.content == ()


def test_a_refusal_is_said_and_is_the_reason():
    made = reply({"refusal": "I can"}, {"refusal": "not."})
    assert (made.message.text, made.stop) == ("I cannot.", StopReason.REFUSAL)


def test_text_thinking_and_calls_keep_their_order():
    kinds = [
        b.type
        for b in reply(
            {"reasoning": "a"},
            {"content": "b"},
            {"reasoning": "c"},
            {"content": "d"},
            part("{}", "f", index=0, id="1"),
        ).message.content
    ]
    assert kinds == ["thinking", "text", "thinking", "text", "tool_call"]


def test_other_choices_are_not_mixed_in():
    other = data({"choices": [{"index": 1, "delta": {"content": "no"}, "finish_reason": "stop"}]})
    assert decode(CHAT, other + chunks({"content": "yes"})).message.text == "yes"


def test_a_last_chunk_in_the_form_of_a_message_is_understood():
    whole = {"choices": [{"index": 0, "message": {"content": "Yes"}, "finish_reason": "stop"}]}
    assert decode(CHAT, data(whole)).message.text == "Yes"


def test_a_chunk_that_names_only_the_role_says_nothing():
    assert reply({"role": "assistant"}, {"content": "a"}).message.text == "a"


def test_the_reply_names_its_id_and_model_once():
    events = decode(CHAT, chunks({"content": "a"}, {"content": "b"})).events
    assert [e for e in events if isinstance(e, ReplyStarted)] == [ReplyStarted("r", "m")]
    assert events[1] == BlockStarted(0, "text")


# --- usage ----------------------------------------------------------------------------------------

USAGE = {"prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42}


def test_usage_comes_in_a_chunk_of_its_own():
    usage = reply({"content": "a"}, usage=USAGE).usage
    assert (usage.input_tokens, usage.output_tokens) == (30, 12)


def test_usage_beside_choices_is_read():
    beside = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]}
    assert decode(CHAT, data(beside | {"usage": USAGE})).reply.usage.output_tokens == 12


def test_usage_beside_plain_text_is_read():
    beside = {"choices": [{"index": 0, "delta": {"content": "b"}, "finish_reason": None}]}
    stream = data({"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]})
    decoded = decode(CHAT, stream + data(beside | {"usage": USAGE}) + chunks())
    assert decoded.reply.usage.output_tokens == 12
    assert decoded.message.text == "ab"


def test_usage_of_groq_is_read():
    assert reply({"content": "a"}, x_groq={"usage": USAGE}).usage.input_tokens == 30


def test_a_later_report_replaces_an_earlier_one():
    early = data({"choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": 1}})
    assert (
        decode(CHAT, early + chunks({"content": "a"}, usage=USAGE)).reply.usage.total_tokens == 42
    )


@pytest.mark.parametrize("missing", [{}, {"usage": None}, {"usage": []}])
def test_no_report_is_unknown_not_zero(missing):
    assert reply({"content": "a"}, **missing).usage is None


def test_details_of_usage_are_read():
    usage = reply(
        {"content": "a"},
        usage=USAGE
        | {
            "prompt_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 5},
            "completion_tokens_details": {"reasoning_tokens": 8},
        },
    ).usage
    assert usage.input_tokens == 30  # what was cached is a part of it
    assert (usage.cache_read_tokens, usage.cache_write_tokens) == (20, 5)
    assert usage.reasoning_tokens == 8


def test_the_cache_of_deepseek_is_read():
    assert (
        reply(
            {"content": "a"}, usage=USAGE | {"prompt_cache_hit_tokens": 9}
        ).usage.cache_read_tokens
        == 9
    )


def test_a_stated_cost_is_read():
    assert reply({"content": "a"}, usage=USAGE | {"cost": 0.00125}).usage.stated_cost == Decimal(
        "0.00125"
    )


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf"), "1", True, None, []])
def test_a_stated_cost_that_is_none_is_unknown(bad):
    assert reply({"content": "a"}, usage=USAGE | {"cost": bad}).usage.stated_cost is None


@pytest.mark.parametrize("bad", [-3, "7", 1.5, [], None])
def test_a_count_that_is_none_counts_nothing(bad):
    usage = reply({"content": "a"}, usage={"prompt_tokens": bad, "completion_tokens": 2}).usage
    assert (usage.input_tokens, usage.output_tokens) == (0, 2)


# --- citations ------------------------------------------------------------------------------------


def test_annotations_are_citations():
    note = {
        "type": "url_citation",
        "url_citation": {
            "url": "https://a.example",
            "title": "A",
            "start_index": 0,
            "end_index": 3,
            "content": "q",
        },
    }
    (text,) = reply(
        {"content": "yes"}, {"annotations": [note, {"type": "?"}, None]}
    ).message.content
    (citation,) = text.citations
    assert (citation.url, citation.title, citation.quote) == ("https://a.example", "A", "q")
    assert (citation.start, citation.end, citation.raw) == (0, 3, note)


def test_a_list_of_sources_repeated_in_every_chunk_is_read_once():
    sources = {"citations": ["https://a.example", "https://b.example"]}
    chunk = {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}], **sources}
    message = decode(CHAT, data(chunk) * 3 + chunks()).message
    assert message.text == "xxx"
    assert [c.url for c in message.content[0].citations] == sources["citations"]


# --- ends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", StopReason.END_TURN),
        ("length", StopReason.MAX_TOKENS),
        ("content_filter", StopReason.REFUSAL),
    ],
)
def test_each_reason_to_stop_is_kept(finish, reason):
    assert reply({"content": "a"}, finish=finish).stop is reason


def test_a_reason_that_nobody_knows_is_kept_as_detail():
    assert reply({"content": "a"}, finish="sunset").detail == "sunset"


def test_the_reason_error_fails_the_reply():
    stream = chunks({"content": "a"}, finish="error")
    assert isinstance(decode(CHAT, stream).fault, ServerFault)


def test_an_error_beside_choices_fails_the_reply():
    plain = {"choices": [{"index": 0, "delta": {"content": "b"}, "finish_reason": None}]}
    stream = data(plain) + data(plain | {"error": {"message": "lost"}})
    decoded = decode(CHAT, stream)
    assert isinstance(decoded.fault, ServerFault)
    assert "lost" in str(decoded.fault)


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
    head = chat_chunk(Reply([]), choices=[{"index": 0, "delta": {"content": "a"}}])
    decoded = decode(CHAT, head + data({"error": error}))
    if cause is None:
        assert isinstance(decoded.fault, StreamTruncated)
    else:
        assert type(decoded.fault) is cause
        assert decoded.fault.status == status
    assert decoded.builder.partial().text == "a"


def test_done_without_a_reason_to_stop_is_a_cut_reply():
    assert isinstance(decode(CHAT, chunks({"content": "a"}, finish=None)).fault, StreamTruncated)


# --- requests -------------------------------------------------------------------------------------

TOOL = ToolSpec("bash", "Run.", {"type": "object", "properties": {}})


def asked(wire: OpenAICompat = CHAT, **more: Any) -> dict[str, Any]:
    options = {k: more.pop(k) for k in list(more) if k in ModelOptions.__dataclass_fields__}
    made = ModelRequest(messages=[user("hi")], options=ModelOptions(**options), **more)
    sent = json.loads(wire.body(made))
    validate_chat(sent)
    return sent


def test_a_plain_request_holds_what_it_must_and_no_more():
    assert asked() == {
        "model": "scripted-1",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": "hi"}],
    }


def test_the_system_prompt_is_the_first_message():
    assert asked(system="be brief")["messages"][0] == {"role": "system", "content": "be brief"}


def test_a_blank_system_prompt_is_left_out():
    assert asked(system=" ")["messages"] == [{"role": "user", "content": "hi"}]


def test_tools_are_described():
    (tool,) = asked(tools=(TOOL,))["tools"]
    assert tool["function"]["name"] == "bash"


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", "auto"),
        ("any", "required"),
        ("none", "none"),
        ("bash", {"type": "function", "function": {"name": "bash"}}),
    ],
)
def test_a_choice_of_tools_is_sent(choice, sent):
    assert asked(tools=(TOOL,), tool_choice=choice)["tool_choice"] == sent


@pytest.mark.parametrize(
    ("effort", "sent"), [("off", "none"), ("low", "low"), ("high", "high"), ("max", "high")]
)
def test_effort_is_sent(effort, sent):
    assert asked(effort=effort)["reasoning_effort"] == sent


def test_quirks_name_the_limit_and_hold_back_what_a_server_refuses():
    wire = OpenAICompat(
        "m", URL, quirks=Quirks(output_limit="max_completion_tokens", usage_on_request=False)
    )
    sent = asked(wire, max_output_tokens=9)
    assert sent["max_completion_tokens"] == 9
    assert "stream_options" not in sent
    assert "max_tokens" not in sent


def test_results_are_messages_of_their_own_and_come_first():
    calls = (ToolCall(id="a", name="f"), ToolCall(id="b", name="f", input={"x": 1}))
    results = (
        ToolResult(call_id="b", content=(Text(text="two"),), is_error=True),
        ToolResult(call_id="a", content=()),
    )
    sent = body(CHAT, user("hi"), assistant("so", *calls), user(*results, "and?"))
    validate_chat(sent)
    check_chat(sent)
    assert sent["messages"][2:] == [
        {"role": "tool", "tool_call_id": "a", "content": "(no output)"},
        {"role": "tool", "tool_call_id": "b", "content": "Error: two"},
        {"role": "user", "content": "and?"},
    ]


def test_pictures_of_a_result_follow_in_a_message_of_the_user():
    result = ToolResult(call_id="a", content=(Image(data="AAAA"),))
    sent = body(CHAT, user("hi"), assistant(ToolCall(id="a", name="f")), user(result))
    validate_chat(sent)
    assert sent["messages"][2]["content"] == "(see the picture below)"
    assert sent["messages"][3]["content"][0]["image_url"]["url"] == "data:image/png;base64,AAAA"


def test_pictures_and_documents_are_sent():
    content = (
        Image(url="https://x.example/a.png"),
        Document(data="JVBERi0=", title="A.pdf"),
        Document(url="https://x.example"),
    )
    sent = body(CHAT, user("look", *content))
    validate_chat(sent)
    assert [p["type"] for p in sent["messages"][0]["content"]] == [
        "text",
        "image_url",
        "file",
        "text",
    ]


def thought(name: str, text: str = "hm") -> Any:
    made = assistant(Thinking(text=text), "so")
    return made.model_copy(update={"origin": Origin(provider=name, model="m")})


def test_thinking_is_not_sent_back():
    assert body(CHAT, user("hi"), thought("openai-compat"), user("on"))["messages"][1] == {
        "role": "assistant",
        "content": "so",
    }


def test_thinking_is_sent_back_to_servers_that_want_it():
    wire = OpenAICompat("m", URL, quirks=Quirks(echo_reasoning="reasoning_content"))
    sent = body(wire, user("hi"), thought("openai-compat"), user("on"))
    validate_chat(sent, allow=["reasoning_content"])
    assert sent["messages"][1]["reasoning_content"] == "hm"


def test_ids_that_mistral_does_not_take_are_replaced():
    wire = make("mistral/m", api_key="k" * 20)
    sent = body(wire, user("hi"), assistant(ToolCall(id="toolu_1", name="f")), user("on"))
    id_ = sent["messages"][1]["tool_calls"][0]["id"]
    assert len(id_) == 9
    assert id_.isalnum()
    assert sent["messages"][2]["tool_call_id"] == id_


@pytest.mark.parametrize(
    "address", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"]
)
def test_the_address_may_end_with_its_version(address):
    wire = OpenAICompat("m", address)
    assert wire.base_url + wire.path == "http://h:1/v1/chat/completions"


@pytest.mark.parametrize("address", [None, ""])
def test_there_must_be_an_address(address):
    with pytest.raises(ConfigError, match="base_url="):
        OpenAICompat("m", address)


def test_an_address_without_a_scheme_is_refused():
    with pytest.raises(ConfigError, match="http://"):
        OpenAICompat("m", "localhost:8080")

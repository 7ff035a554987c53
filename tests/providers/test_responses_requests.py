"""The Responses wire: what is sent. Every body passes the SDK's own types, hardened."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alloy_nb.errors import (
    ConfigError,
    StateLost,
)
from alloy_nb.messages import (
    Document,
    Image,
    Message,
    Opaque,
    Origin,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    assistant,
    user,
)
from alloy_nb.providers import OpenAI
from alloy_nb.providers.base import EFFORTS, ModelOptions, ModelRequest, ToolSpec
from tests.oracles.strict import validate_responses
from tests.providers.histories import HISTORIES
from tests.providers.responses_streams import check_items
from tests.providers.wires import GROK, RESPONSES, URL, ask, body, headers_of
from tests.servers.sse import Server, json_answer

TOOL = ToolSpec("bash", "Run.", {"type": "object", "properties": {}})
OURS = Origin(provider="openai", model="m", response_id="resp_1")
PIXEL = "iVBORw0KGgo="


def asked(wire: OpenAI = RESPONSES, *messages: Message, **more: Any) -> dict[str, Any]:
    """Return a body that passed the validator, of these messages, options and tools."""
    options = {k: more.pop(k) for k in list(more) if k in ModelOptions.__dataclass_fields__}
    history = list(messages) or [user("hi")]
    made = ModelRequest(messages=history, options=ModelOptions(**options), **more)
    sent = json.loads(wire.body(made))
    if wire.name == "openai":
        validate_responses(sent)
    return sent


def said(*content: Any) -> Message:
    """Return a message of the vendor's own."""
    return assistant(*content).model_copy(update={"origin": OURS})


# --- fields ---------------------------------------------------------------------------------------


def test_a_plain_request_holds_what_it_must_and_no_more():
    assert asked() == {
        "model": "scripted-1",
        "stream": True,
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
    }


def test_the_system_prompt_goes_as_instructions():
    sent = asked(system="be brief")
    assert sent["instructions"] == "be brief"
    assert len(sent["input"]) == 1


@pytest.mark.parametrize("blank", ["", None])
def test_no_system_prompt_is_left_out(blank):
    assert "instructions" not in asked(system=blank)


@pytest.mark.parametrize(
    ("effort", "sent"),
    [
        ("off", {"effort": "none"}),
        ("low", {"effort": "low", "summary": "auto"}),
        ("medium", {"effort": "medium", "summary": "auto"}),
        ("high", {"effort": "high", "summary": "auto"}),
        ("max", {"effort": "xhigh", "summary": "auto"}),
    ],
)
def test_each_effort_has_a_word(effort, sent):
    assert asked(effort=effort)["reasoning"] == sent


@pytest.mark.parametrize(
    ("option", "value", "field"),
    [
        ("max_output_tokens", 99, "max_output_tokens"),
        ("temperature", 0.0, "temperature"),
        ("parallel_tool_calls", False, "parallel_tool_calls"),
        ("parallel_tool_calls", True, "parallel_tool_calls"),
        ("store", True, "store"),
        ("previous_response_id", "resp_9", "previous_response_id"),
    ],
)
def test_an_option_that_is_the_formats_own_goes_as_it_is(option, value, field):
    assert asked(**{option: value})[field] == value


def test_tools_are_described_flat_and_not_strict():
    assert asked(tools=(TOOL,))["tools"] == [
        {
            "type": "function",
            "name": "bash",
            "description": "Run.",
            "parameters": {"type": "object", "properties": {}},
            "strict": False,
        }
    ]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("any", "required"),
        ("bash", {"type": "function", "name": "bash"}),
        ("code_interpreter", {"type": "code_interpreter"}),
    ],
)
def test_each_choice_of_a_tool_has_its_form(choice, sent):
    made = asked(tools=(TOOL,), tool_choice=choice, code_execution=True)
    assert made["tool_choice"] == sent


def test_a_choice_without_tools_is_left_out():
    assert "tool_choice" not in asked(tool_choice="any")


# --- tools of the vendor --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings_", "sent"),
    [
        (True, {"type": "web_search"}),
        ({}, None),
        ({"search_context_size": "low"}, {"type": "web_search", "search_context_size": "low"}),
        (
            {"allowed_domains": ["a.org"]},
            {"type": "web_search", "filters": {"allowed_domains": ["a.org"]}},
        ),
        (
            {"filters": {"allowed_domains": ["a.org"]}},
            {"type": "web_search", "filters": {"allowed_domains": ["a.org"]}},
        ),
        ({"filters": None}, {"type": "web_search"}),
        ({"type": "odd"}, {"type": "web_search"}),
        (False, None),
        (None, None),
    ],
)
def test_a_search_is_asked_for_in_the_vendors_form(settings_, sent):
    assert asked(web_search=settings_).get("tools") == (None if sent is None else [sent])


def test_settings_of_a_search_stay_as_they_are():
    given = {"filters": {"allowed_domains": ["a.org"]}}
    asked(web_search=given)
    assert given == {"filters": {"allowed_domains": ["a.org"]}}


def test_code_runs_in_a_sandbox_that_the_vendor_makes():
    assert asked(code_execution=True)["tools"] == [
        {"type": "code_interpreter", "container": {"type": "auto"}}
    ]


def test_tools_of_the_vendor_come_last_and_as_they_are():
    own = {"type": "file_search", "vector_store_ids": ["v"]}
    sent = asked(tools=(TOOL,), web_search=True, code_execution=True, built_in_tools=(own,))
    assert [tool["type"] for tool in sent["tools"]] == [
        "function",
        "web_search",
        "code_interpreter",
        "file_search",
    ]
    assert sent["tools"][-1] == own


def test_a_search_of_x_is_refused_here():
    with pytest.raises(ConfigError, match="x search"):
        ask(
            OpenAI("m", base_url=URL),
            ModelRequest([user("hi")], options=ModelOptions(x_search=True)),
        )


@pytest.mark.parametrize(("option", "value"), [("stop", ("END",)), ("thinking_budget", 1024)])
def test_what_the_format_lacks_is_refused(option, value):
    request = ModelRequest([user("hi")], options=ModelOptions(**{option: value}))
    with pytest.raises(ConfigError, match=option.split("_")[0]):
        ask(OpenAI("m", base_url=URL), request)


# --- what a reply should hold ---------------------------------------------------------------------


def test_more_is_asked_for_beside_the_encrypted_reasoning():
    sent = asked(include=("web_search_call.action.sources",))
    assert sent["include"] == ["web_search_call.action.sources", "reasoning.encrypted_content"]


def test_encrypted_reasoning_is_asked_for_once():
    assert asked(include=("reasoning.encrypted_content",))["include"] == [
        "reasoning.encrypted_content"
    ]


@pytest.mark.parametrize("options", [{"store": True}, {"previous_response_id": "resp_9"}])
def test_what_is_stored_needs_no_encryption(options):
    assert "include" not in asked(**options)


# --- the last word --------------------------------------------------------------------------------


def test_an_extra_body_goes_before_everything():
    sent = asked(max_output_tokens=9, extra_body={"max_output_tokens": 7, "truncation": "auto"})
    assert (sent["max_output_tokens"], sent["truncation"]) == (7, "auto")


def test_the_providers_extra_body_goes_along():
    wire = OpenAI("m", base_url=URL, extra_body={"prompt_cache_key": "k", "store": True})
    assert asked(wire)["prompt_cache_key"] == "k"
    assert asked(wire)["store"] is True
    assert asked(wire, extra_body={"prompt_cache_key": "l"})["prompt_cache_key"] == "l"


def test_an_extra_body_can_be_the_conversation():
    assert asked(extra_body={"input": "hello"})["input"] == "hello"


def test_the_key_goes_as_a_bearers_and_not_in_the_address():
    seen = headers_of(OpenAI("m", api_key="sk-canary-123456"))
    assert seen["authorization"] == "Bearer sk-canary-123456"
    assert seen["url"] == "https://api.openai.com/v1/responses"


def test_more_headers_go_along():
    headers = {"OpenAI-Organization": "org"}
    assert (
        headers_of(OpenAI("m", api_key="sk-1234567", extra_headers=headers))["openai-organization"]
        == "org"
    )


def test_the_vendor_itself_needs_a_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        ask(OpenAI("m"))


# --- the history ----------------------------------------------------------------------------------


def parts(*content: Any) -> list[dict[str, Any]]:
    return asked(RESPONSES, user(*content))["input"][-1]["content"]


def test_a_picture_goes_as_an_address_of_its_data():
    assert parts("see", Image(data=PIXEL, media_type="image/webp"))[1] == {
        "type": "input_image",
        "image_url": f"data:image/webp;base64,{PIXEL}",
        "detail": "auto",
    }


def test_a_picture_by_its_address_goes_as_it():
    assert parts(Image(url="https://x.example/a.png"))[0]["image_url"] == "https://x.example/a.png"


@pytest.mark.parametrize(
    ("document", "name"),
    [
        (Document(data="JVBERi0=", title="A paper"), "A paper.pdf"),
        (Document(data="JVBERi0=", title="a.pdf"), "a.pdf"),
        (Document(data="JVBERi0="), "document.pdf"),
        (Document(data="aGk=", media_type="text/plain"), "document.txt"),
    ],
)
def test_a_document_has_a_name_that_says_what_it_is(document, name):
    (sent,) = parts(document)
    assert (sent["type"], sent["filename"]) == ("input_file", name)
    assert sent["file_data"].startswith(f"data:{document.media_type};base64,")


def test_a_document_by_its_address_goes_as_it():
    assert parts(Document(url="https://x.example/a.pdf"))[0] == {
        "type": "input_file",
        "file_url": "https://x.example/a.pdf",
    }


CALL = ToolCall(id="call_1", name="f", input={"a": "é"})


def result(*content: Any, error: bool = False) -> dict[str, Any]:
    answered = ToolResult(call_id="call_1", content=content, is_error=error)
    sent = asked(RESPONSES, user("go"), said(CALL), user(answered))
    assert sent["input"][1]["call_id"] == sent["input"][2]["call_id"] == "call_1"
    return sent["input"][2]


def test_a_call_goes_as_an_item_with_its_arguments_as_text():
    sent = asked(RESPONSES, user("go"), said(CALL), user(ToolResult(call_id="call_1")))
    assert sent["input"][1] == {
        "type": "function_call",
        "call_id": "call_1",
        "name": "f",
        "arguments": '{"a":"é"}',
    }


def test_a_result_goes_as_an_item():
    assert result(Text(text="42"))["output"] == "42"


def test_a_result_that_says_nothing_says_so():
    assert result()["output"] == "(no output)"


def test_a_failure_is_said_in_words():
    assert result(Text(text="no such file"), error=True)["output"] == "Error: no such file"


def test_a_result_may_hold_a_picture():
    sent = result(Text(text="plot"), Image(data=PIXEL))["output"]
    assert [part["type"] for part in sent] == ["input_text", "input_image"]


def test_a_failure_with_a_picture_is_said_in_words():
    sent = result(Text(text="plot"), Image(data=PIXEL), error=True)["output"]
    assert sent[0] == {"type": "input_text", "text": "Error:"}


def test_what_was_said_beside_results_comes_after_them():
    answered = user(ToolResult(call_id="call_1", content=(Text(text="1"),)), "and now?")
    sent = asked(RESPONSES, user("go"), said(CALL), answered)["input"]
    assert [item.get("type", item.get("role")) for item in sent[1:]] == [
        "function_call",
        "function_call_output",
        "user",
    ]


def test_what_the_model_said_goes_to_the_vendor_without_an_id():
    sent = asked(OpenAI("m", api_key="sk-1234567"), user("go"), said("Yes"), user("ok"))
    assert sent["input"][1] == {"role": "assistant", "content": "Yes"}


def test_what_the_model_said_goes_to_another_server_as_an_output():
    # llama.cpp: "Cannot determine type of 'item'" for the shorter form.
    item = asked(RESPONSES, user("go"), said("Yes"), user("ok"))["input"][1]
    assert (item["type"], item["status"]) == ("message", "completed")
    assert item["content"] == [{"type": "output_text", "text": "Yes", "annotations": []}]
    assert item["id"].startswith("msg_")


def test_two_texts_of_one_reply_have_ids_of_their_own():
    sent = asked(RESPONSES, user("go"), said("Yes", "Yes"), user("ok"))["input"]
    assert sent[1]["id"] != sent[2]["id"]


RAW = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "ENC", "status": None}


def test_encrypted_reasoning_goes_back_before_its_call():
    thought = Thinking(text="Hm.", replay=RAW)
    sent = asked(RESPONSES, user("go"), said(thought, CALL), user(ToolResult(call_id="call_1")))
    assert [item.get("type", "message") for item in sent["input"]] == [
        "message",
        "reasoning",
        "function_call",
        "function_call_output",
    ]
    assert sent["input"][1]["encrypted_content"] == "ENC"


@pytest.mark.parametrize("encrypted", [None, ""])
def test_reasoning_that_is_not_encrypted_is_left_out(encrypted):
    thought = Thinking(text="Hm.", replay=RAW | {"encrypted_content": encrypted})
    sent = asked(RESPONSES, user("go"), said(thought, "Yes"), user("ok"))["input"]
    assert [item.get("role") for item in sent] == ["user", "assistant", "user"]


def test_reasoning_of_another_vendor_is_left_out():
    thought = Thinking(text="Hm.", replay={"signature": "s"})
    foreign = assistant(thought, "Yes").model_copy(
        update={"origin": Origin(provider="anthropic", model="c")}
    )
    sent = asked(RESPONSES, user("go"), foreign, user("ok"))["input"]
    assert [item.get("role") for item in sent] == ["user", "assistant", "user"]


VENDORS = {"openai": RESPONSES, "xai": GROK}


def of_vendor(name: str, history: list[Message]) -> list[Message]:
    """Return a history in which what any vendor said was said by this one."""
    origin = Origin(provider=name, model="m", response_id="r")
    replay = {"type": "web_search_call", "id": "ws", "status": "completed"}
    replay["action"] = {"type": "search", "query": "x"}
    out = []
    for each in history:
        content = []
        for block in each.content:
            match block:
                case ToolCall(server=True):
                    block = block.model_copy(update={"replay": replay})
                case Thinking(replay=dict()):
                    block = block.model_copy(update={"replay": RAW, "redacted": False})
                case Text(replay=dict()):
                    block = block.model_copy(update={"replay": {"phase": "commentary"}})
                case Opaque():
                    block = Opaque(
                        vendor=name, raw={"type": "compaction", "encrypted_content": "x"}
                    )
            content.append(block)
        mine = {"origin": origin} if each.role == "assistant" else {}
        out.append(each.model_copy(update={"content": tuple(content), **mine}))
    return out


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("own", [False, True])
@given(history=HISTORIES)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_history_becomes_one_that_the_vendor_takes(vendor, own, history):
    if own:
        history = of_vendor(vendor, history)
    sent = body(VENDORS[vendor], *history, user("and now?"))
    validate_responses(sent)
    check_items(sent)
    json.dumps(sent, ensure_ascii=False, allow_nan=False).encode()


@given(st.lists(st.sampled_from(EFFORTS), min_size=1, max_size=1), st.data())
@settings(max_examples=150, deadline=None)
def test_any_options_make_a_request_that_the_vendor_takes(effort, data):
    pick = lambda *values: data.draw(st.sampled_from((None, *values)))  # noqa: E731
    asked(
        tools=(TOOL,) if pick(True) else (),
        system=pick("be brief"),
        effort=pick(*effort),
        temperature=pick(0.0, 1.5),
        max_output_tokens=pick(16, 100_000),
        tool_choice=pick("auto", "any", "none", "bash"),
        web_search=pick(True, {"allowed_domains": ["a.org"]}, {"search_context_size": "high"}),
        code_execution=pick(True, False),
        built_in_tools=({"type": "image_generation"},) if pick(True) else (),
        store=pick(True, False),
        include=("code_interpreter_call.outputs",) if pick(True) else (),
        parallel_tool_calls=pick(True, False),
        previous_response_id=pick("resp_1"),
    )


# --- failures -------------------------------------------------------------------------------------


GONE = "Previous response with id 'resp_1' not found."
STATUSES = {
    "404 in words": (404, {"error": {"type": "invalid_request_error", "message": GONE}}),
    "404 at xAI": (404, {"code": "not-found", "error": "Response with id=abc not found"}),
}


@pytest.mark.parametrize(("status", "answered"), STATUSES.values(), ids=STATUSES.keys())
def test_a_stored_reply_that_is_gone_is_told_apart_by_words(status, answered):
    with Server(json_answer(answered, status=status)) as server, pytest.raises(StateLost):
        ask(OpenAI("scripted-1", base_url=server.url))

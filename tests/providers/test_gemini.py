"""Requests of Gemini: each option in its place, any history in its form, the key in its header."""

from __future__ import annotations

import json
from typing import Any

import pytest

from alloy_nb.errors import (
    ConfigError,
    ServerFault,
)
from alloy_nb.messages import (
    Document,
    Image,
    Message,
    Origin,
    Text,
    ToolCall,
    ToolResult,
    assistant,
    user,
)
from alloy_nb.providers import Gemini, ModelOptions, ModelRequest, ToolSpec, provider
from alloy_nb.providers.gemini_decoder import MADE_UP
from tests.oracles.gemini import check_gemini, gemini_faults, validate_gemini
from tests.providers.gemini_streams import chunk, reply, signature, sse
from tests.providers.wires import URL, ask
from tests.servers.sse import Server, html_page, json_answer, stream

KEY = "AIza" + "k" * 35
TOOL = ToolSpec(
    "bash", "Run it.", {"type": "object", "additionalProperties": False, "$schema": "x"}
)


def sent(*messages: Message, model: str = "gemini-2.5-flash", **more: Any) -> dict[str, Any]:
    """Return the body of a request, seen by every oracle."""
    parts = {name: more.pop(name) for name in ("system", "tools") if name in more}
    asked = ModelRequest(
        messages=list(messages) or [user("hi")], options=ModelOptions(**more), **parts
    )
    body = json.loads(Gemini(model, base_url=URL).body(asked))
    validate_gemini(body)
    check_gemini(body, signed_calls=not model.startswith("gemini-2"))
    return body


def config(**options: Any) -> dict[str, Any]:
    return sent(**options)["generationConfig"]


# --- options --------------------------------------------------------------------------------------


def test_a_plain_request_holds_the_conversation_alone():
    assert sent() == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


def test_instructions_are_no_part_of_the_conversation():
    assert sent(system="Be brief.")["systemInstruction"] == {"parts": [{"text": "Be brief."}]}


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"max_output_tokens": 9}, {"maxOutputTokens": 9}),
        ({"temperature": 0.0}, {"temperature": 0.0}),
        ({"stop": ("a", "b")}, {"stopSequences": ["a", "b"]}),
    ],
)
def test_each_option_has_its_field(options, field):
    assert config(**options) == field


@pytest.mark.parametrize(
    ("effort", "budget"),
    [("off", 0), ("low", 2048), ("medium", 8192), ("high", 24576), ("max", 24576)],
)
def test_an_effort_is_a_budget_before_gemini_3(effort, budget):
    thinking = config(effort=effort)["thinkingConfig"]
    assert thinking == {"includeThoughts": effort != "off", "thinkingBudget": budget}


@pytest.mark.parametrize(
    "model", ["gemini-3-flash-preview", "gemini-3.5-flash", "gemini-flash-latest"]
)
@pytest.mark.parametrize(
    ("effort", "level"),
    [("off", "minimal"), ("low", "low"), ("medium", "medium"), ("high", "high"), ("max", "high")],
)
def test_an_effort_is_a_level_since_gemini_3(effort, level, model):
    thinking = config(effort=effort, model=model)["thinkingConfig"]
    assert thinking == {"includeThoughts": effort != "off", "thinkingLevel": level}


@pytest.mark.parametrize(("budget", "shown"), [(-1, True), (0, False), (512, True)])
def test_a_budget_to_think_goes_as_it_is(budget, shown):
    thinking = config(thinking_budget=budget)["thinkingConfig"]
    assert thinking == {"includeThoughts": shown, "thinkingBudget": budget}


@pytest.mark.parametrize(
    ("model", "options", "named"),
    [
        ("gemini-3-pro-preview", {"thinking_budget": 2000}, "thinking_budget"),
        ("gemini-flash-latest", {"thinking_budget": 2000}, "thinking_budget"),
        ("gemini-2.5-pro", {"thinking_budget": 0}, "thinking_budget"),
        ("gemini-2.5-flash", {"thinking_budget": -7}, "thinking_budget"),
        ("gemini-2.0-flash", {"thinking_budget": 2000}, "thinking_budget"),
        ("gemini-2.5-pro", {"effort": "off"}, "always thinks"),
        ("gemini-3-pro-preview", {"effort": "off"}, "always thinks"),
        ("gemini-3.1-pro-preview", {"effort": "off"}, "always thinks"),
        ("gemini-2.0-flash", {"effort": "high"}, "effort"),
        ("gemini-1.5-pro", {"effort": "low"}, "effort"),
        ("gemma-3-27b-it", {"effort": "low"}, "effort"),
    ],
)
def test_what_a_model_cannot_do_is_refused_by_name(model, options, named):
    with pytest.raises(ConfigError, match=named):
        sent(model=model, **options)


def test_a_model_that_does_not_think_may_be_told_not_to():
    assert "generationConfig" not in sent(model="gemini-2.0-flash", effort="off")


def test_tools_go_with_all_of_their_schema():
    (tools,) = sent(tools=(TOOL,))["tools"]
    (declared,) = tools["functionDeclarations"]
    schema = {"type": "object", "additionalProperties": False, "properties": {}}
    assert declared["parametersJsonSchema"] == schema


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("auto", {"mode": "AUTO"}),
        ("any", {"mode": "ANY"}),
        ("none", {"mode": "NONE"}),
        ("bash", {"mode": "ANY", "allowedFunctionNames": ["bash"]}),
    ],
)
def test_each_choice_of_a_tool_has_its_mode(choice, said):
    body = sent(tools=(TOOL,), tool_choice=choice)
    assert body["toolConfig"] == {"functionCallingConfig": said}


def test_a_choice_without_tools_is_left_out():
    assert "toolConfig" not in sent(tool_choice="any")


def test_the_vendors_own_tools_have_their_names():
    body = sent(web_search=True, code_execution=True, built_in_tools=({"urlContext": {}},))
    assert body["tools"] == [{"googleSearch": {}}, {"codeExecution": {}}, {"urlContext": {}}]


def test_a_search_takes_settings():
    search = {"excludeDomains": ["x.example"]}
    assert sent(web_search=search)["tools"] == [{"googleSearch": search}]


def test_tools_of_both_sides_go_together_since_gemini_3():
    body = sent(model="gemini-3-flash", web_search=True, tools=(TOOL,), tool_choice="auto")
    assert [list(tool) for tool in body["tools"]] == [["functionDeclarations"], ["googleSearch"]]
    assert body["toolConfig"] == {
        "functionCallingConfig": {"mode": "AUTO"},
        "includeServerSideToolInvocations": True,
    }


@pytest.mark.parametrize("option", [{"web_search": True}, {"code_execution": True}])
def test_tools_of_both_sides_are_refused_before_gemini_3(option):
    with pytest.raises(ConfigError, match=f"gemini-2.5-pro cannot use .*{next(iter(option))}"):
        sent(model="gemini-2.5-pro", tools=(TOOL,), **option)


def test_extra_fields_go_last_and_win():
    body = sent(temperature=1.0, extra_body={"generationConfig": {"topK": 3}, "safetySettings": []})
    assert (body["generationConfig"], body["safetySettings"]) == ({"topK": 3}, [])


# --- addresses and keys ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gemini-2.5-pro", "models/gemini-2.5-pro"])
def test_the_address_holds_the_model_once(name):
    made = provider(f"gemini/{name}")
    assert made.url == (
        "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-pro"
        ":streamGenerateContent?alt=sse"
    )


@pytest.mark.parametrize("end", ["", "/", "/v1beta", "/v1beta/"])
def test_an_address_may_end_in_the_version(end):
    assert Gemini("g", base_url=URL + end).url.startswith(f"{URL}/v1beta/models/g:")


def test_a_tuned_model_has_a_slash():
    assert "/models/tunedModels/mine:" in Gemini("tunedModels/mine", base_url=URL).url


@pytest.mark.parametrize("name", ["a b", "../x", "a?key=1", "a#b", "/", "a/../b", "a%2e", "a//b"])
def test_a_name_that_would_change_the_address_is_refused(name):
    with pytest.raises(ConfigError, match="cannot be the name"):
        Gemini(name, base_url=URL)


def test_the_key_goes_in_its_header_and_nowhere_else():
    with Server(stream([reply({"text": "ok"})])) as server:
        gemini = Gemini("gemini-2.5-pro", base_url=server.url, api_key=KEY)
        assert ask(gemini).message.text == "ok"
        (request,) = server.requests
    assert request.headers["x-goog-api-key"] == KEY
    rest = {k: v for k, v in request.headers.items() if k != "x-goog-api-key"}
    assert KEY not in f"{request.path} {rest} {request.body!r} {gemini!r} {vars(gemini)!r}"


def test_without_a_key_google_is_not_asked(monkeypatch):
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="GEMINI_API_KEY"):
        ask(Gemini("gemini-2.5-pro"))


# --- errors ---------------------------------------------------------------------------------------


def failing(status: int, name: str, message: str = "It is so.") -> dict[str, Any]:
    return {"error": {"code": status, "message": message, "status": name}}


@pytest.mark.parametrize(
    "answer",
    [html_page(200), json_answer([chunk({"text": "a"}, finish="STOP")]), json_answer({})],
    ids=["a page", "a list of chunks", "an object"],
)
def test_a_reply_that_is_no_stream_is_an_error_of_ours(answer):
    with Server(answer) as server, pytest.raises(ServerFault):
        ask(Gemini("g", base_url=server.url))


def test_output_that_cannot_be_used_reaches_the_caller():
    broken = sse(chunk({"text": "a"}, finish="MALFORMED_FUNCTION_CALL"))
    with (
        Server(stream([broken])) as server,
        pytest.raises(ServerFault, match="MALFORMED_FUNCTION_CALL"),
    ):
        ask(Gemini("g", base_url=server.url))


# --- histories ------------------------------------------------------------------------------------


def contents(*messages: Message, **more: Any) -> list[dict[str, Any]]:
    return sent(*messages, **more)["contents"]


def result(text: str, **more: Any) -> dict[str, Any]:
    """Return the part in which a tool's answer goes."""
    told = ToolResult(call_id="c1", content=(Text(text=text),), **more)
    made = contents(user("x"), assistant(ToolCall(id="c1", name="f", input={})), user(told))
    return made[2]["parts"][0]["functionResponse"]


def test_roles_alternate_whatever_the_history():
    history = [assistant("a"), assistant("b"), user("c"), user("d"), assistant("e"), user("f")]
    assert [c["role"] for c in contents(*history)] == ["user", "model", "user", "model", "user"]


def test_a_result_goes_with_its_calls_id_and_name():
    assert result("42") == {"id": "c1", "name": "f", "response": {"result": 42}}


@pytest.mark.parametrize(
    ("text", "payload"),
    [
        ('{"a": 1}', {"a": 1}),
        ("{}", {}),
        ("[1, 2]", {"result": [1, 2]}),
        ('"x"', {"result": "x"}),
        ("true", {"result": True}),
        ("null", {"result": None}),
        ("1.5", {"result": 1.5}),
        ("plain words", {"content": "plain words"}),
        ("", {"content": ""}),
        ("3.10", {"content": "3.10"}),
        ("1e999", {"content": "1e999"}),
        ("[Infinity]", {"content": "[Infinity]"}),
        ('{"a": NaN}', {"content": '{"a": NaN}'}),
        ('1, "x": 2', {"content": '1, "x": 2'}),
        ("{" * 3000, {"content": "{" * 3000}),
        ("123456789012345678901234567890", {"result": 123456789012345678901234567890}),
    ],
)
def test_a_result_is_an_object_and_loses_nothing(text, payload):
    assert result(text)["response"] == payload


def test_a_failed_result_says_so():
    assert result('{"a": 1}', is_error=True)["response"] == {"error": '{"a": 1}'}


def test_a_made_up_id_is_sent_with_neither_the_call_nor_its_result():
    call = ToolCall(id=f"{MADE_UP}1", name="f", input={"x": 1})
    told = ToolResult(call_id=call.id, content=(Text(text="ok"),))
    _, said, answered = contents(user("x"), assistant(call), user(told))
    assert said["parts"] == [{"functionCall": {"name": "f", "args": {"x": 1}}}]
    assert "id" not in answered["parts"][0]["functionResponse"]


def test_all_results_come_before_their_pictures_and_the_users_words():
    calls = [ToolCall(id=i, name=i, input={}) for i in ("a", "b")]
    picture = Image(data="iVBORw0KGgo=")
    told = [ToolResult(call_id=i, content=(Text(text="x"), picture)) for i in ("a", "b")]
    parts = contents(user("x"), assistant(*calls), user("so?", *told))[2]["parts"]
    assert [next(iter(part)) for part in parts] == [
        "functionResponse",
        "functionResponse",
        "inlineData",
        "inlineData",
        "text",
    ]


@pytest.mark.parametrize(
    ("block", "part"),
    [
        (
            Image(data="iVBORw0KGgo="),
            {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
        ),
        (
            Image(url="https://x.example/a.png"),
            {"fileData": {"mimeType": "image/png", "fileUri": "https://x.example/a.png"}},
        ),
        (
            Document(data="JVBERi0=", title="A"),
            {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0="}},
        ),
        (
            Document(data="aGk=", media_type="text/plain"),
            {"inlineData": {"mimeType": "text/plain", "data": "aGk="}},
        ),
        (
            Document(url="https://x.example/a.pdf"),
            {"fileData": {"mimeType": "application/pdf", "fileUri": "https://x.example/a.pdf"}},
        ),
    ],
)
def test_pictures_and_documents_go_inline_or_by_address(block, part):
    assert contents(user("see", block))[0]["parts"] == [{"text": "see"}, part]


def test_a_step_that_another_model_took_is_signed_as_such_since_gemini_3():
    made = Message(
        role="assistant",
        content=tuple(ToolCall(id=i, name="f", input={}, replay={"x": "y"}) for i in "ab"),
        origin=Origin(provider="anthropic", model="claude"),
    )
    one, two = contents(user("x"), made, user("y"), model="gemini-3-flash")[1]["parts"]
    assert one["thoughtSignature"] == "skip_thought_signature_validator"
    assert "thoughtSignature" not in two


def test_a_step_that_another_model_took_needs_no_signature_before_gemini_3():
    (call,) = contents(user("x"), assistant(ToolCall(id="a", name="f", input={})), user("y"))[1][
        "parts"
    ]
    assert "thoughtSignature" not in call


def test_a_signature_of_its_own_is_not_replaced():
    made = Message(
        role="assistant",
        content=(
            ToolCall(id="a", name="f", input={}, replay={"thoughtSignature": signature("s")}),
        ),
        origin=Origin(provider="gemini", model="gemini-3-flash"),
    )
    (call,) = contents(user("x"), made, user("y"), model="gemini-3-flash")[1]["parts"]
    assert call["thoughtSignature"] == signature("s")


def test_a_tool_loop_goes_through_with_signatures_and_results():
    signed = {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": signature("c")}
    with Server(stream([reply(signed)]), stream([reply({"text": "done"})])) as server:
        gemini = Gemini("gemini-3-flash", base_url=server.url)
        said = ask(gemini).message
        told = user(ToolResult(call_id=said.tool_calls[0].id, content=(Text(text="{}"),)))
        ask(gemini, ModelRequest(messages=[user("hi"), said, told]))
        body = server.requests[1].json
    validate_gemini(body)
    check_gemini(body, signed_calls=True)
    assert body["contents"][1]["parts"] == [signed]
    assert body["contents"][2]["parts"] == [{"functionResponse": {"name": "f", "response": {}}}]


# --- the oracle -----------------------------------------------------------------------------------

GOOD: dict[str, Any] = {
    "contents": [
        {"role": "user", "parts": [{"text": "a"}]},
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}, "id": "1"}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}, "id": "1"}}]},
    ],
    "generationConfig": {"maxOutputTokens": 1},
}
CONTENT = ("contents", 1, "parts", 0)
MALFORMED = {
    "an unknown key of a part": ((*CONTENT, "txt"), 1),
    "a key in Python's spelling": ((*CONTENT, "thought_signature"), "c2ln"),
    "an unknown key of a content": (("contents", 0, "x"), 1),
    "an unknown field": (("temprature",), 1),
    "a field in Python's spelling": (("generation_config",), {}),
    "a setting in Python's spelling": (("generationConfig",), {"max_output_tokens": 1}),
    "a number as a word": (("generationConfig", "maxOutputTokens"), "many"),
    "arguments as a string": ((*CONTENT, "functionCall", "args"), "{}"),
    "a call without a name": ((*CONTENT, "functionCall", "name"), ""),
    "the role assistant": (("contents", 1, "role"), "assistant"),
    "a part with two things": ((*CONTENT, "text"), "x"),
    "a signature that is no base64": ((*CONTENT, "thoughtSignature"), "%"),
    "instructions with a role": (("systemInstruction",), {"role": "user", "parts": []}),
}
FAULTY = {
    "an empty text": (("contents", 0, "parts", 0, "text"), " ", "an empty text"),
    "no parts": (("contents", 0, "parts"), [], "no parts"),
    "a result of another name": (
        ("contents", 2, "parts", 0, "functionResponse", "name"),
        "g",
        "have the results",
    ),
    "no result": (("contents", 2, "parts"), [{"text": "x"}], "have the results"),
    "a result too many": (
        ("contents", 2, "parts"),
        GOOD["contents"][2]["parts"] * 2,
        "have the results",
    ),
    "text before a result": (
        ("contents", 2, "parts"),
        [{"text": "x"}, *GOOD["contents"][2]["parts"]],
        "before a result",
    ),
    "a result at the beginning": (
        ("contents", 0),
        GOOD["contents"][2],
        "no call of the content before",
    ),
    "two turns of one role": (("contents", 0, "role"), "model", "in a row"),
    "an id twice": (("contents", 1, "parts"), GOOD["contents"][1]["parts"] * 2, "two calls"),
    "half a character": (("contents", 0, "parts", 0, "text"), "\ud83d", "no JSON in UTF-8"),
    "infinity": ((*CONTENT, "functionCall", "args"), {"x": float("inf")}, "no JSON in UTF-8"),
}


def changed(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(json.dumps(GOOD))
    inner: Any = body
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return body


def test_the_oracle_passes_a_good_request():
    validate_gemini(GOOD)
    check_gemini(GOOD)


@pytest.mark.parametrize(("path", "value"), MALFORMED.values(), ids=MALFORMED.keys())
def test_the_oracle_catches_a_malformed_request(path, value):
    with pytest.raises(ValueError, match=r"\w"):
        validate_gemini(changed(path, value))


@pytest.mark.parametrize(("path", "value", "fault"), FAULTY.values(), ids=FAULTY.keys())
def test_the_oracle_names_each_fault(path, value, fault):
    assert any(fault in found for found in gemini_faults(changed(path, value)))


def test_the_oracle_wants_the_first_call_signed_after_gemini_2():
    assert any("not signed" in found for found in gemini_faults(GOOD, signed_calls=True))

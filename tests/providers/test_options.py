"""What a model cannot do is refused before anything is sent; what Anthropic can, it is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from alloy_nb.engine.agent import make_agent
from alloy_nb.errors import ConfigError
from alloy_nb.messages import (
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
from alloy_nb.providers import Anthropic, Codex, ModelOptions, ModelRequest, ToolSpec, provider
from tests.oracles.strict import validate_anthropic
from tests.providers.wires import URL, ask
from tests.servers.sse import Server, json_answer

MODELS = {
    "anthropic": "anthropic/claude-sonnet-4-6",
    "openai": "openai/gpt-5.4",
    "xai": "xai/grok-4",
    "gemini": "gemini/gemini-2.5-flash",
    "chat": "openai-compat/m",
    "mistral": "mistral/m",
    "deepseek": "deepseek/m",
    "ollama": "ollama/m",
}
VALUES: dict[str, Any] = {
    "web_search": True,
    "x_search": True,
    "code_execution": True,
    "built_in_tools": ({"type": "x"},),
    "store": True,
    "include": ("x",),
    "previous_response_id": "r",
    "thinking_budget": 2000,
}
CANNOT = [
    (wire, option)
    for wire, spec in MODELS.items()
    for option in VALUES
    if option not in provider(spec, **({"base_url": URL} if wire == "chat" else {})).takes
]


def refused(spec: str, words: str, **options: Any) -> None:
    """Assert that a request is refused in these words, and that nobody was asked."""
    with Server(json_answer({}, status=500)) as server:
        wire = provider(spec, base_url=server.url, api_key="k")
        with pytest.raises(ConfigError, match=words):
            ask(wire, ModelRequest([user("hi")], options=ModelOptions(**options)))
        assert not server.requests


@pytest.mark.parametrize(("wire", "option"), CANNOT)
def test_what_a_vendor_cannot_do_is_refused_by_name_and_nobody_is_asked(wire, option):
    refused(MODELS[wire], f"{option}=", **{option: VALUES[option]})


def test_every_option_is_one_that_some_vendor_has():
    assert {option for _, option in CANNOT} == set(VALUES)


@pytest.mark.parametrize("option", VALUES)
def test_codex_refuses_what_it_cannot_be_told(option, tmp_path):
    program = tmp_path / "codex"
    program.write_text("#!/bin/sh\ntouch ran\n")
    program.chmod(0o755)
    codex = Codex(command=str(program), home=tmp_path)
    with pytest.raises(ConfigError, match=option):
        ask(codex, ModelRequest([user("hi")], options=ModelOptions(**{option: VALUES[option]})))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("mistral/m", "how much to think"),
        ("deepseek/deepseek-chat", "how much to think"),
        ("gemini/gemini-2.0-flash", "cannot think"),
        ("gemini/gemma-3-27b-it", "cannot think"),
    ],
)
def test_an_effort_on_a_model_that_cannot_think_is_refused(spec, words):
    refused(spec, words, effort="high")


@pytest.mark.parametrize("effort", ["off", "low"])
@pytest.mark.parametrize("spec", ["mistral/m", "deepseek/deepseek-reasoner"])
def test_a_server_that_cannot_be_told_is_not_told_in_silence(spec, effort):
    refused(spec, "how much to think", effort=effort)


@pytest.mark.parametrize("model", ["claude-opus-4-8", "claude-fable-5", "claude-opus-4-7"])
def test_a_budget_on_a_model_that_decides_itself_is_refused(model):
    refused(f"anthropic/{model}", "takes an effort", thinking_budget=2000)


def test_parallel_calls_cannot_be_turned_off_at_gemini():
    refused("gemini/gemini-2.5-pro", "parallel_tool_calls", parallel_tool_calls=False)


@pytest.mark.parametrize(
    "thinking",
    [*({"budget_tokens": n} for n in (None, 0, -1, True, "2000", 1.5)), {}, True, 0, 2000, "x", []],
    ids=repr,
)
def test_extended_thinking_without_a_positive_budget_is_refused(thinking):
    with pytest.raises(ConfigError, match="budget_tokens"):
        make_agent("anthropic/claude-sonnet-4-5", {"extended_thinking": thinking})


def test_extended_thinking_is_a_budget():
    agent, _ = make_agent("demo", {"extended_thinking": {"budget_tokens": 2000}})
    assert agent.options.thinking_budget == 2000


def test_an_unknown_effort_is_refused():
    with pytest.raises(ConfigError, match="low, medium, high"):
        make_agent("demo", {"effort": "enormous"})


# --- Anthropic ------------------------------------------------------------------------------------

TOOL = ToolSpec("bash", "Run.", {"type": "object", "properties": {}})


def sent(
    model: str = "claude-sonnet-4-5-20250929",
    messages: list[Message] | None = None,
    *,
    system: str | None = None,
    tools: tuple[ToolSpec, ...] = (),
    **options: Any,
) -> dict[str, Any]:
    """Return the body of a request to Anthropic, seen by the types of its SDK."""
    asked = ModelRequest(messages or [user("hi")], system, tools, ModelOptions(**options))
    body = json.loads(Anthropic(model, base_url=URL).body(asked))
    validate_anthropic(body)
    return body


BUDGETED = [
    "claude-3-7-sonnet-20250219",
    "claude-sonnet-4-5-20250929",
    "claude-opus-4-1",
    "mystery-1",
]
ADAPTIVE = ["claude-sonnet-4-6", "claude-opus-4-8", "claude-fable-5"]


@pytest.mark.parametrize("model", BUDGETED)
@pytest.mark.parametrize(
    ("effort", "budget"), [("low", 2048), ("medium", 8192), ("high", 24576), ("max", 49152)]
)
def test_an_effort_is_a_budget_below_the_limit_on_output_before_4_6(model, effort, budget):
    body = sent(model, effort=effort)
    assert body["thinking"] == {"type": "enabled", "budget_tokens": budget}
    assert body["max_tokens"] > budget
    assert "output_config" not in body


@pytest.mark.parametrize("model", ADAPTIVE)
@pytest.mark.parametrize("effort", ["low", "medium", "high", "max"])
def test_an_effort_is_an_effort_since_4_6(model, effort):
    body = sent(model, effort=effort)
    assert body["thinking"]["type"] == "adaptive"
    assert body["output_config"] == {"effort": effort}


@pytest.mark.parametrize("model", BUDGETED)
def test_no_effort_is_no_thinking_before_4_6(model):
    assert "thinking" not in sent(model, effort="off")


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "claude-sonnet-4-6", "mystery-1"])
def test_a_budget_goes_as_it_is_where_a_model_takes_one(model):
    body = sent(model, thinking_budget=5000)
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 5000}
    assert body["max_tokens"] > 5000


@pytest.mark.parametrize(
    "options",
    [
        {"thinking_budget": 1023},
        {"thinking_budget": 5000, "max_output_tokens": 5000},
        {"thinking_budget": 5000, "max_output_tokens": 4000},
        {"effort": "high", "max_output_tokens": 1024},
    ],
    ids=str,
)
def test_a_budget_that_the_interface_refuses_is_refused_here(options):
    with pytest.raises(ConfigError, match=r"budget|room"):
        sent(**options)


@pytest.mark.parametrize("limit", [1025, 2000, 2048, 4096, 30_000])
@pytest.mark.parametrize("effort", ["low", "medium", "high", "max"])
def test_an_effort_fits_below_any_limit_on_output(limit, effort):
    body = sent(effort=effort, max_output_tokens=limit)
    assert 1024 <= body["thinking"]["budget_tokens"] < body["max_tokens"] == limit


def marks(body: dict[str, Any]) -> list[str]:
    """Return where the breakpoints of the cache are."""
    found = []
    for place in ("system", "tools"):
        blocks = body.get(place, ())
        found += [f"{place}[{n}]" for n, b in enumerate(blocks) if "cache_control" in b]
    for number, message in enumerate(body["messages"]):
        for n, block in enumerate(message["content"]):
            if "cache_control" in block:
                found.append(f"messages[{number}][{n}]")
    return found


def test_the_cache_ends_with_instructions_tools_and_the_newest_message():
    history = [user("a"), assistant("b"), user("c", "d")]
    body = sent(messages=history, system="Be.", tools=(TOOL, TOOL), cache=True)
    assert marks(body) == ["system[0]", "tools[1]", "messages[2][1]"]


def test_there_are_at_most_four_breakpoints_however_long_a_conversation():
    history = [m for n in range(9) for m in (user(f"q{n}"), assistant(f"a{n}"))]
    body = sent(messages=[*history, user("x")], system="Be.", tools=(TOOL,), cache=True)
    assert len(marks(body)) <= 4


def test_the_breakpoint_of_the_tools_is_the_very_last_also_behind_the_vendors_own():
    body = sent(tools=(TOOL,), cache=True, web_search=True, code_execution=True)
    assert marks(body) == ["tools[2]", "messages[0][0]"]


@pytest.mark.parametrize(
    ("cache", "mark"),
    [
        (True, {"type": "ephemeral"}),
        ("5m", {"type": "ephemeral"}),
        ("1h", {"type": "ephemeral", "ttl": "1h"}),
    ],
)
def test_a_breakpoint_says_how_long(cache, mark):
    body = sent(system="Be.", cache=cache)
    assert body["system"][0]["cache_control"] == mark
    assert body["messages"][0]["content"][0]["cache_control"] == mark


@pytest.mark.parametrize("cache", ["2h", "yes", ""])
def test_another_time_is_refused(cache):
    with pytest.raises(ConfigError, match="cache="):
        sent(cache=cache)


@pytest.mark.parametrize("cache", [None, False])
def test_without_a_cache_there_is_no_breakpoint(cache):
    assert not marks(sent(system="Be.", tools=(TOOL,), cache=cache) | {"system": []})


def test_a_breakpoint_is_on_a_result_where_the_newest_message_holds_one():
    call = ToolCall(id="c1", name="bash", input={})
    told = user(ToolResult(call_id="c1", content=(Text(text="ok"),)))
    body = sent(messages=[user("a"), assistant(call), told], cache=True)
    assert marks(body) == ["messages[2][0]"]


def test_a_breakpoint_is_never_on_thinking():
    found = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []}
    said = Message(
        role="assistant",
        content=(
            Text(text="so"),
            ToolCall(id="s1", name="web_search", input={"query": "x"}, server=True, replay={}),
            Opaque(vendor="anthropic", raw=found),
            Thinking(text="Hm.", replay={"signature": "s"}),
        ),
        origin=Origin(provider="anthropic", model="m"),
    )
    body = sent(messages=[user("a"), said], cache=True)
    for message in body["messages"]:
        for block in message["content"]:
            assert not (block["type"] == "thinking" and "cache_control" in block)
    assert len(marks(body)) == 1


def test_the_cache_moves_on_with_the_conversation_and_leaves_no_breakpoint_behind():
    wire = Anthropic("claude-sonnet-4-6", base_url=URL)
    memory: dict[Any, Any] = {}
    messages = [user("a")]
    for _ in range(5):
        asked = ModelRequest(list(messages), options=ModelOptions(cache=True), memory=memory)
        body = json.loads(wire.body(asked))
        assert marks(body) == [f"messages[{len(messages) - 1}][0]"]
        messages += [assistant("b"), user("c")]


def headers(wire: Anthropic, **options: Any) -> dict[str, str]:
    return wire.headers("k", ModelOptions(**options))


def test_flags_of_betas_are_one_header_without_doubles():
    given = {"anthropic-beta": "context-1m-2025-08-07, code-execution-2025-08-25 ,, x"}
    wire = Anthropic("m", base_url=URL, extra_headers=given)
    flags = headers(wire, code_execution=True)["anthropic-beta"]
    assert flags == "context-1m-2025-08-07,code-execution-2025-08-25,x"


def test_flags_of_betas_are_merged_however_their_header_is_spelled():
    answer = json_answer(
        {"type": "error", "error": {"type": "api_error", "message": "x"}}, status=400
    )
    with Server(answer) as server:
        given = {"Anthropic-Beta": "context-1m-2025-08-07"}
        wire = Anthropic("m", base_url=server.url, extra_headers=given)
        asked = ModelRequest([user("hi")], options=ModelOptions(code_execution=True))
        with pytest.raises(Exception, match="x"):
            ask(wire, asked)
        (request,) = server.requests
    flags = request.headers["anthropic-beta"].replace(" ", "").split(",")
    assert sorted(flags) == ["code-execution-2025-08-25", "context-1m-2025-08-07"]


def test_without_betas_there_is_no_header():
    assert "anthropic-beta" not in headers(Anthropic("m", base_url=URL))


def test_the_vendors_own_tools_go_behind_ours():
    body = sent(tools=(TOOL,), web_search={"max_uses": 3}, code_execution=True)
    assert [tool["name"] for tool in body["tools"]] == ["bash", "web_search", "code_execution"]
    assert body["tools"][1]["max_uses"] == 3


@pytest.mark.parametrize("choice", ["auto", "any", "none", "bash"])
def test_each_choice_of_a_tool_is_one_that_the_interface_takes(choice):
    kind = choice if choice != "bash" else "tool"
    assert sent(tools=(TOOL,), tool_choice=choice)["tool_choice"]["type"] == kind


def test_calls_one_after_the_other_can_be_demanded():
    body = sent(tools=(TOOL,), parallel_tool_calls=False)
    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}


@pytest.mark.parametrize("choice", ["any", "bash"])
def test_a_forced_call_and_a_budget_to_think_do_not_go_together(choice):
    """The interface refuses both together (docs.anthropic.com, extended thinking, 2026-11)."""
    try:
        body = sent(tools=(TOOL,), tool_choice=choice, thinking_budget=2000)
    except ConfigError:
        return
    assert body["tool_choice"]["type"] == "auto"

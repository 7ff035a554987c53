"""The real model server speaks its wires, and what it says ends."""

import anthropic
import openai
import pytest

TOOL = {
    "name": "bash",
    "description": "Run a command.",
    "input_schema": {
        "type": "object",
        "properties": {"command": {"type": "string", "maxLength": 20}},
        "required": ["command"],
    },
}
FUNCTION = {"name": TOOL["name"], "parameters": TOOL["input_schema"]}
ASK = [{"role": "user", "content": "what is here?"}]


@pytest.fixture
def claude(real_model):
    with anthropic.Anthropic(base_url=real_model, api_key="none", max_retries=0) as sdk:
        yield sdk


@pytest.fixture
def gpt(real_model):
    with openai.OpenAI(base_url=f"{real_model}/v1", api_key="none", max_retries=0) as sdk:
        yield sdk


def test_it_streams_an_anthropic_reply(claude):
    with claude.messages.stream(model="m", max_tokens=200, messages=ASK) as events:
        message = events.get_final_message()
    assert message.stop_reason in ("end_turn", "max_tokens")
    assert message.usage.output_tokens > 0


def test_it_calls_a_tool_and_goes_on_after_the_result(claude):
    ask = {"model": "m", "max_tokens": 400, "tools": [TOOL]}
    first = claude.messages.create(messages=ASK, tool_choice={"type": "any"}, **ask)
    calls = [block for block in first.content if block.type == "tool_use"]
    assert first.stop_reason == "tool_use"
    assert all(isinstance(call.input["command"], str) for call in calls)
    results = [{"type": "tool_result", "tool_use_id": c.id, "content": "x"} for c in calls]
    turns = [
        {"role": "assistant", "content": [call.model_dump() for call in calls]},
        {"role": "user", "content": results},
    ]
    second = claude.messages.create(messages=[*ASK, *turns], **ask)
    assert second.stop_reason in ("end_turn", "max_tokens")


def test_it_streams_a_chat_completion_with_usage(gpt):
    chunks = gpt.chat.completions.create(
        model="m",
        messages=ASK,
        max_tokens=200,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"chat_template_kwargs": {"enable_thinking": False}},
    )
    with chunks:
        received = list(chunks)
    assert received[-1].usage.completion_tokens > 0
    assert any(chunk.choices and chunk.choices[0].delta.content for chunk in received)


def test_it_calls_a_function(gpt):
    completion = gpt.chat.completions.create(
        model="m",
        messages=ASK,
        tools=[{"type": "function", "function": FUNCTION}],
        tool_choice="required",
        max_tokens=400,
    )
    assert completion.choices[0].finish_reason == "tool_calls"
    assert completion.choices[0].message.tool_calls[0].function.name == "bash"


def test_too_long_a_prompt_is_a_400(gpt):
    long = [{"role": "user", "content": "word " * 10_000}]
    with pytest.raises(openai.BadRequestError, match="context"):
        gpt.chat.completions.create(model="m", messages=long)

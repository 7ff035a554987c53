"""The strict validators catch what the plain types let through."""

import copy
import json

import pytest
from pydantic import ValidationError

from tests.oracles.strict import validate_anthropic, validate_chat, validate_responses

ANTHROPIC = {
    "model": "m",
    "max_tokens": 100,
    "stream": True,
    "system": [{"type": "text", "text": "be", "cache_control": {"type": "ephemeral"}}],
    "tools": [{"name": "bash", "description": "run", "input_schema": {"type": "object"}}],
    "messages": [
        {"role": "user", "content": "list"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s1"},
                {"type": "text", "text": "so"},
                {"type": "tool_use", "id": "toolu_1", "name": "bash", "input": {"command": "ls"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "content": [{"type": "text", "text": "a b"}],
                    "is_error": False,
                }
            ],
        },
    ],
}
CHAT = {
    "model": "m",
    "stream": True,
    "stream_options": {"include_usage": True},
    "tools": [{"type": "function", "function": {"name": "bash", "parameters": {}}}],
    "messages": [
        {"role": "system", "content": "be"},
        {"role": "user", "content": [{"type": "text", "text": "list"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "bash", "arguments": '{"command": "ls"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "a b"},
    ],
}
RESPONSES = {
    "model": "m",
    "stream": True,
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "list"}]},
        {"type": "function_call", "call_id": "c1", "name": "bash", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "a b"},
    ],
    "tools": [{"type": "function", "name": "bash", "parameters": {}, "strict": False}],
}


def changed(body, *path, to=None):
    """Return a copy with one place set, or removed where `to` is None."""
    copied = copy.deepcopy(body)
    target = copied
    for key in path[:-1]:
        target = target[key]
    if to is None:
        del target[path[-1]]
    else:
        target[path[-1]] = to
    return copied


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(
    ("validate", "body"),
    [(validate_anthropic, ANTHROPIC), (validate_chat, CHAT), (validate_responses, RESPONSES)],
)
def test_a_good_request_passes(validate, body, streaming):
    body = body | {"stream": streaming}
    if not streaming:
        body.pop("stream_options", None)
    validate(json.loads(json.dumps(body)))


CALL, RESULT = ("messages", 1, "content"), ("messages", 2, "content", 0)
MALFORMED_ANTHROPIC = {
    "no max_tokens": changed(ANTHROPIC, "max_tokens"),
    "thinking without signature": changed(ANTHROPIC, *CALL, 0, "signature"),
    "tool_use.input is a string": changed(ANTHROPIC, *CALL, 2, "input", to="{}"),
    "tool_result without id": changed(ANTHROPIC, *RESULT, "tool_use_id"),
    "unknown block": changed(ANTHROPIC, *CALL, 1, to={"type": "poem", "text": "x"}),
    "unknown top-level key": changed(ANTHROPIC, "temprature", to=1),
    "unknown key in a block": changed(ANTHROPIC, *CALL, 1, "replay", to={}),
    "role tool": changed(ANTHROPIC, "messages", 2, "role", to="tool"),
}
CHAT_CALL = ("messages", 2, "tool_calls", 0, "function", "arguments")
MALFORMED_CHAT = {
    "arguments an object": changed(CHAT, *CHAT_CALL, to={"command": "ls"}),
    "tool without tool_call_id": changed(CHAT, "messages", 3, "tool_call_id"),
    "role human": changed(CHAT, "messages", 1, "role", to="human"),
    "unknown key": changed(CHAT, "max_token", to=1),
    "unknown key in a message": changed(CHAT, "messages", 2, "reasoning_content", to="hm"),
}
NESTED = [{"type": "function", "function": {"name": "bash"}}]
MALFORMED_RESPONSES = {
    "content type text": changed(RESPONSES, "input", 0, "content", 0, "type", to="text"),
    "chat-style nested tool": changed(RESPONSES, "tools", to=NESTED),
}


def cases(bodies):
    return pytest.mark.parametrize("body", bodies.values(), ids=bodies.keys())


@cases(MALFORMED_ANTHROPIC)
def test_a_malformed_messages_request_is_caught(body):
    with pytest.raises(ValidationError):
        validate_anthropic(body)


@cases(MALFORMED_CHAT)
def test_a_malformed_chat_request_is_caught(body):
    with pytest.raises(ValidationError):
        validate_chat(body)


@cases(MALFORMED_RESPONSES)
def test_a_malformed_responses_request_is_caught(body):
    with pytest.raises(ValidationError):
        validate_responses(body)


def test_a_compatible_vendors_key_can_be_allowed():
    body = changed(CHAT, "messages", 2, "reasoning_content", to="hm") | {"top_k": 3}
    validate_chat(body, allow=["reasoning_content", "top_k"])
    assert body["top_k"] == 3

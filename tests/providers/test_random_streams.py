"""Hundreds of streams: the well-formed mean what the official SDKs say, the rest is survived."""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from alloy_nb.errors import ProviderError
from alloy_nb.messages import StopReason, Thinking, ToolResult, user
from tests.oracles.invariants import check_anthropic, check_chat
from tests.providers.streams import events_of, foreseen, mutated, random_reply
from tests.providers.wires import ANTHROPIC, CHAT, NAMES, body, decode
from tests.servers.sse import Server, stream

WIRE = {"anthropic": ANTHROPIC, "chat": CHAT}
both = pytest.mark.parametrize("wire", NAMES)
HI: Any = [{"role": "user", "content": "hi"}]


@pytest.fixture
def served() -> Iterator[Any]:
    """Give a server that answers with the bytes set last."""

    class Served:
        bytes = b""

    def answer(request: Any) -> Any:
        return stream([Served.bytes])

    with Server(otherwise=answer) as server:
        Served.url = server.url
        yield Served


# --- as the official SDKs say ---------------------------------------------------------------------

ANTHROPIC_STOPS = {
    StopReason.END_TURN: {"end_turn"},
    StopReason.TOOL_USE: {"tool_use", "stop_sequence"},
    StopReason.MAX_TOKENS: {"max_tokens"},
    StopReason.STOP_SEQUENCE: {"stop_sequence"},
    StopReason.REFUSAL: {"refusal"},
    StopReason.PAUSE: {"pause_turn"},
}


def block_of(block: Any) -> tuple[Any, ...]:
    match block.type:
        case "text":
            return ("text", block.text)
        case "thinking":
            ours = isinstance(block, Thinking)
            signature = (block.replay or {}).get("signature") if ours else block.signature
            return ("thinking", block.text if ours else block.thinking, signature)
        case "tool_use" | "tool_call":
            return ("call", block.id, block.name, block.input)
    raise AssertionError(block)


@pytest.mark.slow
def test_well_formed_replies_of_anthropic_mean_what_its_sdk_makes_of_them(served):
    chance = random.Random(1)
    with anthropic.Anthropic(base_url=served.url, api_key="k", max_retries=0) as sdk:
        for _ in range(300):
            served.bytes = b"".join(events_of("anthropic", random_reply(chance, "anthropic")))
            with sdk.messages.stream(model="m", max_tokens=9, messages=HI) as events:
                theirs = events.get_final_message()
            ours = decode(ANTHROPIC, served.bytes).reply
            assert [block_of(b) for b in ours.message.content] == [
                block_of(b) for b in theirs.content
            ]
            assert theirs.stop_reason in ANTHROPIC_STOPS[ours.stop]
            used = theirs.usage
            cached = used.cache_read_input_tokens + used.cache_creation_input_tokens
            assert ours.usage.input_tokens == used.input_tokens + cached
            assert ours.usage.output_tokens == used.output_tokens


CHAT_STOPS = {
    "stop": {StopReason.END_TURN},
    "tool_calls": {StopReason.TOOL_USE},
    "length": {StopReason.MAX_TOKENS},
    "content_filter": {StopReason.REFUSAL},
}


@pytest.mark.slow
def test_well_formed_replies_of_chat_mean_what_openais_sdk_makes_of_them(served):
    chance = random.Random(2)
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="k", max_retries=0) as sdk:
        for _ in range(300):
            served.bytes = b"".join(events_of("chat", random_reply(chance, "chat")))
            ours = decode(CHAT, served.bytes).reply
            theirs = accumulated(sdk)
            said = theirs["content"]
            assert ours.message.text == said
            assert [(c.id, c.name, c.input) for c in ours.message.tool_calls] == theirs["calls"]
            assert ours.stop in CHAT_STOPS[theirs["finish"]]
            used = theirs["usage"]
            assert ours.usage.input_tokens == used.prompt_tokens
            assert ours.usage.output_tokens == used.completion_tokens
            assert ours.usage.cache_read_tokens == used.prompt_tokens_details.cached_tokens


def accumulated(sdk: openai.OpenAI) -> dict[str, Any]:
    """Let the SDK's own accumulator read the stream; it raises where a reply was cut."""
    asked: dict[str, Any] = {
        "model": "m",
        "messages": HI,
        "stream_options": {"include_usage": True},
    }
    with sdk.chat.completions.stream(**asked) as events:
        with contextlib.suppress(
            openai.LengthFinishReasonError, openai.ContentFilterFinishReasonError
        ):
            for _ in events:
                pass
        whole = events.current_completion_snapshot
    choice = whole.choices[0]
    calls = [
        (call.id, call.function.name, json.loads(call.function.arguments or "{}"))
        for call in choice.message.tool_calls or ()
    ]
    usage = whole.usage
    if usage is None:  # the accumulator stopped at the finish reason; the chunk after it counts
        usage = [chunk.usage for chunk in sdk.chat.completions.create(stream=True, **asked)][-1]
    return {
        "content": choice.message.content or "",
        "calls": calls,
        "finish": choice.finish_reason,
        "usage": usage,
    }


# --- survived -------------------------------------------------------------------------------------


@both
def test_mutated_replies_are_errors_of_ours_or_replies_that_can_be_written(wire):
    chance = random.Random(3)
    faults = 0
    for number in range(600):
        events = events_of(wire, random_reply(chance, wire))
        broken = mutated(chance, events)
        cuts = [chance.randrange(len(broken) + 1) for _ in range(chance.randint(0, 5))]
        began = time.monotonic()
        decoded = decode(WIRE[wire], broken, cuts)
        assert time.monotonic() - began < 5
        assert decoded.fault is None or isinstance(decoded.fault, ProviderError)
        faults += decoded.fault is not None
        for event in decoded.events:
            repr(event).encode()
            for name in ("text", "json", "id", "name", "detail"):
                value = getattr(event, name, None)
                assert not isinstance(value, str) or value.encode() is not None, number
        message = decoded.builder.partial() if decoded.fault else decoded.message
        if message is None:
            continue
        assert message.model_dump_json()
        results = user(*(ToolResult(call_id=call.id) for call in message.tool_calls), "go on")
        for judge, sender in ((check_anthropic, ANTHROPIC), (check_chat, CHAT)):
            judge(body(sender, user("hi"), message, results))
    assert 100 < faults < 550  # the mutations hurt, but not always


@both
def test_what_a_later_version_may_add_changes_nothing(wire):
    chance = random.Random(4)
    for _ in range(500):
        events = events_of(wire, random_reply(chance, wire))
        before = decode(WIRE[wire], b"".join(events)).reply
        after = decode(WIRE[wire], foreseen(chance, wire, events)).reply
        assert after.message == before.message
        assert after.stop == before.stop
        assert after.usage.total_tokens == before.usage.total_tokens

"""Thousands of streams: the well-formed mean what the official SDKs say, the rest is survived.

``ALLOY_TEST_STREAMS`` and ``ALLOY_TEST_BROKEN`` say how many of each; in full, 5,000 and 10,000.
The figures of Responses and Gemini are in `test_responses_sdk` and `test_gemini_decoder`, beside
what those SDKs make of a reply; what is asked of a broken stream is the same for all (`survives`).
"""

from __future__ import annotations

import contextlib
import json
import random
from typing import Any

import anthropic
import httpx
import httpx2  # what Anthropic's SDK stands on
import openai
import pytest

from alloy_nb.messages import StopReason, Thinking, ToolResult, user
from tests.oracles.invariants import check_anthropic, check_chat
from tests.providers.streams import BROKEN, STREAMS, events_of, foreseen, mutated, random_reply
from tests.providers.wires import ANTHROPIC, CHAT, body, decode, survives

WIRE = {"anthropic": ANTHROPIC, "chat": CHAT}
both = pytest.mark.parametrize("wire", WIRE)
HI: Any = [{"role": "user", "content": "hi"}]
_PARTS = 6  # so that a full run can be shared among processes
parts = pytest.mark.parametrize("part", range(_PARTS))


class Served:
    """An HTTP client that answers with the bytes set last."""

    def __init__(self, library: Any) -> None:
        def answer(_: Any) -> Any:
            head = {"content-type": "text/event-stream"}
            return library.Response(200, content=self.data, headers=head)

        self.data = b""
        self.client = library.Client(transport=library.MockTransport(answer))


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


@parts
def test_well_formed_replies_of_anthropic_mean_what_its_sdk_makes_of_them(part):
    served = Served(httpx2)
    sdk = anthropic.Anthropic(api_key="k", http_client=served.client, max_retries=0)
    for seed in range(part, STREAMS, _PARTS):
        reply = random_reply(random.Random(seed), "anthropic")
        served.data = b"".join(events_of("anthropic", reply))
        with sdk.messages.stream(model="m", max_tokens=9, messages=HI) as events:
            theirs = events.get_final_message()
        ours = decode(ANTHROPIC, served.data).reply
        assert [block_of(b) for b in ours.message.content] == [
            block_of(b) for b in theirs.content
        ], seed
        assert theirs.stop_reason in ANTHROPIC_STOPS[ours.stop], seed
        used = theirs.usage
        cached = used.cache_read_input_tokens + used.cache_creation_input_tokens
        assert ours.usage.input_tokens == used.input_tokens + cached, seed
        assert ours.usage.output_tokens == used.output_tokens, seed


CHAT_STOPS = {
    "stop": {StopReason.END_TURN},
    "tool_calls": {StopReason.TOOL_USE},
    "length": {StopReason.MAX_TOKENS},
    "content_filter": {StopReason.REFUSAL},
}


@parts
def test_well_formed_replies_of_chat_mean_what_openais_sdk_makes_of_them(part):
    served = Served(httpx)
    sdk = openai.OpenAI(api_key="k", http_client=served.client, max_retries=0)
    for seed in range(part, STREAMS, _PARTS):
        served.data = b"".join(events_of("chat", random_reply(random.Random(seed), "chat")))
        ours = decode(CHAT, served.data).reply
        theirs = accumulated(sdk)
        assert ours.message.text == theirs["content"], seed
        assert [(c.id, c.name, c.input) for c in ours.message.tool_calls] == theirs["calls"], seed
        assert ours.stop in CHAT_STOPS[theirs["finish"]], seed
        used = theirs["usage"]
        assert ours.usage.input_tokens == used.prompt_tokens, seed
        assert ours.usage.output_tokens == used.completion_tokens, seed
        assert ours.usage.cache_read_tokens == used.prompt_tokens_details.cached_tokens, seed


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


@parts
@both
def test_mutated_replies_are_errors_of_ours_or_replies_that_can_be_sent_on(wire, part):
    faults = 0
    seeds = range(part, BROKEN, _PARTS)
    for seed in seeds:
        chance = random.Random(seed)
        events = events_of(wire, random_reply(chance, wire))
        broken = mutated(chance, events)
        cuts = [chance.randrange(len(broken) + 1) for _ in range(chance.randint(0, 5))]
        decoded = survives(WIRE[wire], broken, cuts, before=b"".join(events))
        faults += decoded.fault is not None
        message = decoded.builder.partial() if decoded.fault else decoded.message
        if message is None:
            continue
        results = user(*(ToolResult(call_id=call.id) for call in message.tool_calls), "go on")
        for judge, sender in ((check_anthropic, ANTHROPIC), (check_chat, CHAT)):
            judge(body(sender, user("hi"), message, results))
    assert len(seeds) / 6 < faults < len(seeds) * 0.95  # the mutations hurt, but not always


@both
def test_what_a_later_version_may_add_changes_nothing(wire):
    for seed in range(STREAMS):
        chance = random.Random(seed)
        events = events_of(wire, random_reply(chance, wire))
        before = decode(WIRE[wire], b"".join(events)).reply
        after = decode(WIRE[wire], foreseen(chance, wire, events)).reply
        assert after.message == before.message, seed
        assert after.stop == before.stop, seed
        assert after.usage.total_tokens == before.usage.total_tokens, seed

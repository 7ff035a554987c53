"""Beside the official SDK, and against broken streams: what we make of the same bytes.

How many there are is said in `streams`.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

from alloy_nb.messages import Image, Message, Opaque, StopReason, Text, Thinking, ToolCall
from tests.providers.responses_streams import Draw
from tests.providers.streams import BROKEN, STREAMS
from tests.providers.wires import RESPONSES, decode, survives

_PARTS = 6


class Sdk:
    """The official client, asked with the bytes of a reply at hand."""

    def __init__(self) -> None:
        self.data = b""
        client = httpx.Client(transport=httpx.MockTransport(self._answer))
        self.client = openai.OpenAI(api_key="none", http_client=client, max_retries=0)

    def _answer(self, _: httpx.Request) -> httpx.Response:
        head = {"content-type": "text/event-stream"}
        return httpx.Response(200, content=self.data, headers=head)

    def reply(self, data: bytes) -> Any:
        """Return the response that the SDK puts together; of an incomplete one, its last form."""
        self.data = data
        made = None
        with self.client.responses.stream(model="m", input="x") as events:
            for each in events:
                if each.type in ("response.completed", "response.incomplete"):
                    made = each.response
        return made


@pytest.fixture(scope="module")
def sdk():
    made = Sdk()
    yield made
    made.client.close()


def theirs(item: Any) -> list[tuple[Any, ...]]:
    """Return the blocks of an item of the SDK."""
    match item.type:
        case "message":
            return [
                ("text", p.refusal, ())
                if p.type == "refusal"
                else (
                    "text",
                    p.text,
                    tuple((a.url, a.start_index, a.end_index) for a in p.annotations),
                )
                for p in item.content
            ]
        case "reasoning":
            parts = item.summary or item.content or []
            encrypted = item.encrypted_content
            return [("thinking", "\n\n".join(p.text for p in parts), encrypted)]
        case "function_call":
            return [("call", item.call_id, item.name, json.loads(item.arguments))]
        case "image_generation_call":
            return [("server", item.id), ("image", item.result)]
        case "web_search_call" | "code_interpreter_call" | "mcp_call":
            return [("server", item.id)]
    return [("opaque", item.id)]


def ours(message: Message) -> list[tuple[Any, ...]]:
    made: list[tuple[Any, ...]] = []
    for block in message.content:
        match block:
            case Text():
                cited = tuple((c.url, c.start, c.end) for c in block.citations)
                made.append(("text", block.text, cited))
            case Thinking():
                made.append(("thinking", block.text, (block.replay or {}).get("encrypted_content")))
            case ToolCall(server=True):
                made.append(("server", block.id))
            case ToolCall():
                made.append(("call", block.id, block.name, block.input))
            case Image():
                made.append(("image", block.data))
            case Opaque():
                made.append(("opaque", block.raw["id"]))
    return made


def stop_of(made: Any) -> StopReason:
    if made.status == "incomplete":
        limit = made.incomplete_details.reason == "max_output_tokens"
        return StopReason.MAX_TOKENS if limit else StopReason.REFUSAL
    if any(item.type == "function_call" for item in made.output):
        return StopReason.TOOL_USE
    parts = [p for item in made.output if item.type == "message" for p in item.content]
    refused = any(p.type == "refusal" for p in parts)
    return StopReason.REFUSAL if refused else StopReason.END_TURN


def counts(usage: Any) -> tuple[int, ...] | None:
    if usage is None:
        return None
    read, written = usage.input_tokens_details, usage.output_tokens_details
    return (
        usage.input_tokens,
        usage.output_tokens,
        read.cached_tokens,
        read.cache_write_tokens,
        written.reasoning_tokens,
    )


@pytest.mark.parametrize("share", range(_PARTS))
def test_a_well_formed_stream_means_what_the_sdk_makes_of_it(sdk, share):
    for seed in range(share, STREAMS, _PARTS):
        data = Draw(seed).stream()
        expected = sdk.reply(data)
        reply = decode(RESPONSES, data).reply
        assert ours(reply.message) == [b for i in expected.output for b in theirs(i)], seed
        assert reply.message.text == "".join(
            p.refusal if p.type == "refusal" else p.text
            for item in expected.output
            if item.type == "message"
            for p in item.content
        ), seed
        assert reply.stop is stop_of(expected), seed
        usage = reply.usage
        assert counts(expected.usage) == (
            usage
            and (
                usage.input_tokens,
                usage.output_tokens,
                usage.cache_read_tokens,
                usage.cache_write_tokens,
                usage.reasoning_tokens,
            )
        ), seed
        assert reply.state == {"response_id": expected.id}, seed


@pytest.mark.parametrize("share", range(_PARTS))
def test_a_broken_stream_fails_in_our_words_and_loses_nothing_before_its_fault(share):
    for seed in range(share, BROKEN, _PARTS):
        draw = Draw(seed)
        data = draw.stream()
        broken = draw.broken(data)
        cuts = [draw.random.randrange(len(broken) + 1) for _ in range(5)]
        survives(RESPONSES, broken, cuts, before=data)

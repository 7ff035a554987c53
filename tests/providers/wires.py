"""What the tests of both wires share: decode bytes, fold events, ask a server.

::

    decoded = decode(CHAT, b"".join(chat_events(reply)), cuts=[10, 11])
    decoded.reply.message.text        decoded.fault        decoded.events
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from alloy_nb.errors import ProviderError
from alloy_nb.events import ModelEvent
from alloy_nb.messages import Message, user
from alloy_nb.providers import XAI, Anthropic, OpenAI, OpenAICompat
from alloy_nb.providers.base import ModelOptions, ModelRequest
from alloy_nb.providers.decoding import ReplyDecoder
from alloy_nb.providers.fold import Reply, ReplyBuilder
from alloy_nb.providers.vendor import VendorProvider
from tests.servers.wire import anthropic_event

URL = "http://127.0.0.1:9"  # nobody listens: for tests that send nothing
ANTHROPIC = Anthropic("scripted-1", base_url=URL)
CHAT = OpenAICompat("scripted-1", URL, name="openai-compat")
WIRES: tuple[VendorProvider, ...] = (ANTHROPIC, CHAT)
NAMES = ("anthropic", "chat")
RESPONSES = OpenAI("scripted-1", base_url=URL)
GROK = XAI("scripted-1", base_url=URL)


@dataclass
class Decoded:
    """What the bytes of one reply came to."""

    events: list[ModelEvent]
    fault: ProviderError | None
    builder: ReplyBuilder

    @property
    def reply(self) -> Reply:
        if self.fault is not None:
            raise self.fault
        return self.builder.done()

    @property
    def message(self) -> Message:
        return self.reply.message


def decode(wire: VendorProvider, data: bytes, cuts: Iterable[int] = ()) -> Decoded:
    """Decode a reply whose bytes arrive cut at these offsets, as the transport does."""
    decoder = ReplyDecoder(wire.decoder(), provider=wire.name, model=wire.model)
    places = [0, *sorted(cut for cut in cuts if 0 <= cut <= len(data)), len(data)]
    events: list[ModelEvent] = []
    for start, end in pairwise(places):
        events += decoder.feed(data[start:end]) or []
        if decoder.fault or decoder.ended:
            break
    if decoder.fault is None and not decoder.ended:
        events += decoder.close()
    builder = ReplyBuilder(provider=wire.name, model=wire.model)
    for event in events:
        builder.feed(event)
    return Decoded(events, decoder.fault, builder)


def same(a: Decoded, b: Decoded) -> bool:
    """Tell whether two ways of cutting came to the same."""
    return a.events == b.events and str(a.fault) == str(b.fault) and type(a.fault) is type(b.fault)


def chunks(*deltas: dict[str, Any], finish: str | None = "stop", **more: Any) -> bytes:
    """Return a chat stream of these deltas."""
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    if finish is not None:
        choices.append({"index": 0, "delta": {}, "finish_reason": finish})
    events = [data({"id": "r", "model": "m", "choices": [choice]}) for choice in choices]
    if more:
        events.append(data({"id": "r", "model": "m", "choices": [], **more}))
    return b"".join([*events, b"data: [DONE]\n\n"])


def data(value: Any) -> bytes:
    """Return an event of this JSON; ``json.dumps`` escapes all that is not ASCII."""
    return f"data: {json.dumps(value)}\n\n".encode()


def blocks(
    *parts: tuple[dict[str, Any], Sequence[dict[str, Any]]],
    stop: str | None = "end_turn",
    usage: dict[str, Any] | None = None,
    start_usage: dict[str, Any] | None = None,
) -> bytes:
    """Return an Anthropic stream of blocks, each a start and its deltas."""
    start = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    start["usage"] = start_usage or {"input_tokens": 10, "output_tokens": 1}
    events = [anthropic_event("message_start", message=start)]
    for index, (block, deltas) in enumerate(parts):
        events.append(anthropic_event("content_block_start", index=index, content_block=block))
        for delta in deltas:
            events.append(anthropic_event("content_block_delta", index=index, delta=delta))
        events.append(anthropic_event("content_block_stop", index=index))
    delta = {"stop_reason": stop, "stop_sequence": None}
    events.append(anthropic_event("message_delta", delta=delta, usage=usage or {}))
    events.append(anthropic_event("message_stop"))
    return b"".join(events)


def request(*messages: Message, **options: Any) -> ModelRequest:
    """Return a request of these messages, by default of a greeting."""
    return ModelRequest(messages=list(messages) or [user("hi")], options=ModelOptions(**options))


def body(wire: VendorProvider, *messages: Message, **options: Any) -> dict[str, Any]:
    """Return the JSON body that a wire makes of messages."""
    return json.loads(wire.body(request(*messages, **options)))


async def collect(provider: Any, asked: ModelRequest | None = None) -> list[ModelEvent]:
    """Ask a provider and return its events."""
    return [event async for event in provider.stream(asked or request())]


def ask(provider: Any, asked: ModelRequest | None = None) -> Reply:
    """Ask a provider on a fresh loop and fold its reply."""

    async def go() -> Reply:
        from alloy_nb.providers.http import close_clients

        builder = ReplyBuilder(provider=provider.name, model=provider.model)
        try:
            async for event in provider.stream(asked or request()):
                builder.feed(event)
        finally:
            await close_clients()
        return builder.done()

    return asyncio.run(go())

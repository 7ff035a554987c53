"""The wires, each with how a server says things in it; and what their tests share.

::

    for wire in WIRES.values():
        decoded = decode(wire.model, b"".join(wire.said(reply)), cuts=[10, 11])
        decoded.reply.message.text        decoded.fault        decoded.events
        ask(wire.make(server.url))

A wire that is added to `WIRES` is under the whole contract: `test_contract` and `test_keys`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from alloy_nb.errors import ProviderError, StreamTruncated
from alloy_nb.events import BlockStarted, ModelEvent, TextDelta, ThinkingDelta, ToolInputDelta
from alloy_nb.messages import Message, user
from alloy_nb.providers import XAI, Anthropic, Gemini, OpenAI, OpenAICompat, fold
from alloy_nb.providers.base import ModelOptions, ModelRequest
from alloy_nb.providers.decoding import ReplyDecoder
from alloy_nb.providers.fold import ReplyBuilder
from alloy_nb.providers.vendor import VendorProvider
from tests.providers import gemini_streams, responses_streams
from tests.servers.wire import (
    Call,
    Reply,
    Say,
    Think,
    anthropic_event,
    anthropic_events,
    chat_events,
)

URL = "http://127.0.0.1:9"  # nobody listens: for tests that send nothing
ANTHROPIC = Anthropic("scripted-1", base_url=URL)
CHAT = OpenAICompat("scripted-1", URL, name="openai-compat")
RESPONSES = OpenAI("scripted-1", base_url=URL)
GROK = XAI("scripted-1", base_url=URL)
GEMINI = Gemini("scripted-1", base_url=URL)


@dataclass
class Decoded:
    """What the bytes of one reply came to."""

    events: list[ModelEvent]
    fault: ProviderError | None
    builder: ReplyBuilder

    @property
    def reply(self) -> fold.Reply:
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


def survives(
    wire: VendorProvider, data: bytes, cuts: Iterable[int] = (), *, before: bytes = b""
) -> Decoded:
    """Assert that a stream is a reply or an error of ours, soon, and that all of it is UTF-8.

    What the whole events say that it shares with the beginning of `before` must not be lost,
    neither as events nor from the message.
    """
    began = time.monotonic()
    decoded = decode(wire, data, cuts)
    assert time.monotonic() - began < 5
    assert decoded.fault is None or isinstance(decoded.fault, ProviderError)
    str(decoded.fault).encode()
    head = ReplyDecoder(wire.decoder(), provider=wire.name, model=wire.model)
    told = head.feed(_shared_events(before, data)) or []
    before_fault = [e for e in told if isinstance(e, (TextDelta, ThinkingDelta))]
    kept = [e for e in decoded.events if isinstance(e, (TextDelta, ThinkingDelta))]
    assert kept[: len(before_fault)] == before_fault
    message = decoded.builder.partial() if decoded.fault else decoded.builder.done().message
    said = "".join(e.text for e in decoded.events if isinstance(e, TextDelta))
    assert _letters(said) == _letters(message.text if message else "")
    for event in decoded.events:
        match event:
            case TextDelta(text=piece) | ThinkingDelta(text=piece) | ToolInputDelta(json=piece):
                piece.encode()
            case BlockStarted():
                f"{event.id}{event.name}".encode()
    if message is not None:
        message.model_dump_json().encode()
    return decoded


def _letters(text: str) -> Counter[str]:
    """Count what is not blank: texts that are nothing else are left out of a partial answer."""
    return Counter("".join(text.split()))


def _shared_events(a: bytes, b: bytes) -> bytes:
    """Return the whole events with which both begin."""
    pairs = enumerate(zip(a, b, strict=False))
    shared = a[: next((at for at, (x, y) in pairs if x != y), min(len(a), len(b)))]
    ends = [shared.rfind(end) + len(end) for end in (b"\n\n", b"\r\n\r\n") if end in shared]
    return shared[: max(ends, default=0)]


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


def ask(provider: Any, asked: ModelRequest | None = None) -> fold.Reply:
    """Ask a provider on a fresh loop and fold its reply."""

    async def go() -> fold.Reply:
        from alloy_nb.providers.http import close_clients

        builder = ReplyBuilder(provider=provider.name, model=provider.model)
        try:
            async for event in provider.stream(asked or request()):
                builder.feed(event)
        finally:
            await close_clients()
        return builder.done()

    return asyncio.run(go())


def headers_of(provider: Any) -> dict[str, str]:
    """Return the headers of a request, and as `url` its address, without sending it."""
    seen: dict[str, str] = {}

    def answer(asked: httpx.Request) -> httpx.Response:
        seen.update(asked.headers)
        seen["url"] = str(asked.url)
        return httpx.Response(200, content=b"")

    provider._client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    with pytest.raises(StreamTruncated):
        ask(provider)
    return seen


# --- the wires ------------------------------------------------------------------------------------

Events = list[bytes]


@dataclass(frozen=True)
class Wire:
    """One format: how to ask in it, and how a server says things in it.

    Args:
        model: A provider of it, for what needs no server.
        make: Makes one at an address, with settings.
        said: The events of a reply.
        error: An event by which a reply fails as overloaded.
        halves: A stream of a text in pieces, escaped one by one, so that halves stay halves.
        pieces: The same of a call's arguments; ``None`` where they always come whole.
        counted: A stream that reports two counts of its output, one after the other.
        unknown: A stream with a block of a kind that nobody knows, and that block as it goes back;
            ``None`` where the format has no blocks.
        optional_end: How many of a reply's last events may be missing.
        source: Where the bytes come from.
        recorded: A reply that a real server sent, in `recorded/`, and which server; else nothing.
    """

    model: VendorProvider
    make: Callable[..., VendorProvider]
    said: Callable[[Reply], Events]
    error: bytes
    halves: Callable[..., bytes]
    pieces: Callable[..., bytes] | None
    counted: Callable[[int, int], bytes]
    unknown: tuple[bytes, dict[str, Any]] | None
    optional_end: int
    source: str
    recorded: tuple[bytes, str] | None = None

    def stream(self, reply: Reply) -> bytes:
        """Return a reply as bytes."""
        return b"".join(self.said(reply))


def escaped(stream: bytes) -> bytes:
    """Write every character beyond ASCII as JSON escapes."""
    lines = []
    for line in stream.decode("utf-8", "surrogatepass").split("\n"):
        if line.startswith("data: {"):
            line = "data: " + json.dumps(json.loads(line[6:]))
        lines.append(line)
    return "\n".join(lines).encode()


def anthropic_pieces(start: dict[str, Any], deltas: list[dict[str, Any]]) -> bytes:
    """Return a stream of one block, whose events are escaped one by one."""

    def event(kind: str, **more: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n".encode()

    return b"".join(
        [
            event("message_start", message={"id": "m", "model": "m"}),
            event("content_block_start", index=0, content_block=start),
            *(event("content_block_delta", index=0, delta=delta) for delta in deltas),
            event("content_block_stop", index=0),
            event("message_delta", delta={"stop_reason": "end_turn"}, usage={}),
            event("message_stop"),
        ]
    )


def anthropic_halves(*pieces: str) -> bytes:
    """Return a text in pieces, each escaped by itself."""
    deltas = [{"type": "text_delta", "text": piece} for piece in pieces]
    return anthropic_pieces({"type": "text", "text": ""}, deltas)


def anthropic_arguments(*pieces: str) -> bytes:
    """Return a call whose arguments come in pieces, each escaped by itself."""
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    return anthropic_pieces({"type": "tool_use", "id": "c1", "name": "f", "input": {}}, deltas)


def _anthropic_counted(first: int, second: int) -> bytes:
    text = ({"type": "text", "text": "a"}, [])
    used = {"input_tokens": 9, "output_tokens": first}
    return blocks(text, start_usage=used, usage={"output_tokens": second})


def chat_halves(*pieces: str) -> bytes:
    """Return a text in pieces, each escaped by itself."""
    return chunks(*({"content": piece} for piece in pieces))


def chat_arguments(*pieces: str) -> bytes:
    """Return a call whose arguments come in pieces, each escaped by itself."""
    first = {"index": 0, "id": "c1", "function": {"name": "f", "arguments": ""}}
    rest = ({"tool_calls": [{"index": 0, "function": {"arguments": p}}]} for p in pieces)
    return chunks({"tool_calls": [first]}, *rest, finish="tool_calls")


def _chat_counted(first: int, second: int) -> bytes:
    def used(output: int) -> bytes:
        usage = {"prompt_tokens": 9, "completion_tokens": output}
        return data({"id": "r", "model": "m", "choices": [], "usage": usage})

    return used(first) + chunks({"content": "a"}).removesuffix(b"data: [DONE]\n\n") + used(second)


def responses_events(reply: Reply) -> Events:
    """Return the events of a reply in the Responses format."""
    items = []
    for number, block in reply.numbered():
        match block:
            case Say(text):
                items.append(responses_streams.message(text, name=f"msg_{number}"))
            case Think(text, signature):
                thought = responses_streams.reasoning(
                    text, encrypted=signature, name=f"rs_{number}"
                )
                items.append(thought)
            case Call():
                ids = {"item_id": f"fc_{number}", "call_id": block.id or f"call_{number}"}
                items.append(responses_streams.call(block.name, block.arguments, **ids))
    middle = [
        event
        for number, (item, block) in enumerate(zip(items, reply.blocks, strict=True))
        for event in responses_streams.item_events(item, number, block.size)
    ]
    used = reply.usage
    cached = {"cached_tokens": used.cache_read, "cache_write_tokens": used.cache_write}
    usage = {
        "input_tokens": used.input + used.cache_read + used.cache_write,
        "input_tokens_details": cached,
        "output_tokens": used.output,
        "output_tokens_details": {"reasoning_tokens": used.reasoning},
    }
    begun = responses_streams.created(reply.id)
    return [begun, *middle, responses_streams.last(*items, id=reply.id, usage=usage)]


def _responses_halves(kind: str, item: dict[str, Any], *pieces: str) -> bytes:
    where = {"output_index": 0, "item_id": "i"}
    bare = responses_streams.bare
    return b"".join(
        [
            responses_streams.created(),
            bare("response.output_item.added", output_index=0, item=item),
            *(bare(kind, **where, delta=piece) for piece in pieces),
            responses_streams.last(),
        ]
    )


def responses_text(*pieces: str) -> bytes:
    """Return a text in pieces, each escaped by itself."""
    item = {"type": "message", "id": "i", "content": []}
    return _responses_halves("response.output_text.delta", item, *pieces)


def responses_arguments(*pieces: str) -> bytes:
    """Return a call whose arguments come in pieces, each escaped by itself."""
    item = {"type": "function_call", "id": "i", "call_id": "c1", "name": "f", "arguments": ""}
    return _responses_halves("response.function_call_arguments.delta", item, *pieces)


def _responses_counted(first: int, second: int) -> bytes:
    item = responses_streams.message("a")
    used = {"input_tokens": 9, "output_tokens": first}
    early = responses_streams.event("response.in_progress", response={"id": "r", "usage": used})
    rest = responses_streams.item_events(item, 0)
    return (
        early
        + b"".join(rest)
        + responses_streams.last(item, usage=used | {"output_tokens": second})
    )


def gemini_events(reply: Reply) -> Events:
    """Return the chunks of a reply in Gemini's format: calls come whole, ids as they are given."""
    parts: list[dict[str, Any]] = []
    for number, block in reply.numbered():
        match block:
            case Say(text, size):
                parts += ({"text": piece} for piece in _cut(text, size))
            case Think(text, signature, size):
                parts += ({"text": piece, "thought": True} for piece in _cut(text, size))
                parts[-1]["thoughtSignature"] = signature
            case Call():
                call = {"id": block.id or f"call_{number}", "name": block.name, "args": block.input}
                parts.append({"functionCall": call})
    used = reply.usage
    usage = {
        "promptTokenCount": used.input + used.cache_read + used.cache_write,
        "cachedContentTokenCount": used.cache_read,
        "candidatesTokenCount": used.output - used.reasoning,
        "thoughtsTokenCount": used.reasoning,
    }
    chunks_ = [gemini_streams.chunk(part) for part in parts]
    finish = gemini_streams.chunk(finish=reply.stop or "STOP", usage=usage)
    return [gemini_streams.sse(each) for each in (*chunks_, finish)]


def _cut(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def gemini_halves(*pieces: str) -> bytes:
    """Return a text in pieces, each escaped by itself."""
    said = [gemini_streams.chunk({"text": piece}) for piece in pieces]
    return b"".join(data(each) for each in (*said, gemini_streams.chunk(finish="STOP")))


def _gemini_counted(first: int, second: int) -> bytes:
    used = {"promptTokenCount": 9, "candidatesTokenCount": first}
    begun = gemini_streams.chunk({"text": "a"}, usage=used)
    last = gemini_streams.chunk(finish="STOP", usage=used | {"candidatesTokenCount": second})
    return gemini_streams.sse(begun, last)


def _recorded(name: str) -> tuple[bytes, str]:
    path = Path(__file__).parent / "recorded" / f"{name}.sse"
    return path.read_bytes(), "llama.cpp of llama-cpp-python 0.3.36, tests/real_model, 2026-11-21"


_UPLOAD = {"type": "container_upload", "file_id": "file_1", "later": [1, None]}
_LISTED = {"id": "mcpl_1", "type": "mcp_list_tools", "server_label": "s", "tools": []}
_HOLOGRAM = {"hologram": {"x": [1, None]}, "thoughtSignature": "s"}
_BUSY = {"code": 503, "status": "UNAVAILABLE", "message": "busy"}

WIRES: dict[str, Wire] = {
    "anthropic": Wire(
        model=ANTHROPIC,
        make=lambda url, **more: Anthropic("scripted-1", base_url=url, **more),
        said=anthropic_events,
        error=anthropic_event("error", error={"type": "overloaded_error", "message": "busy"}),
        halves=anthropic_halves,
        pieces=anthropic_arguments,
        counted=_anthropic_counted,
        unknown=(blocks((_UPLOAD, [])), _UPLOAD),
        optional_end=0,
        source="constructed from the types of anthropic 2.11",
        recorded=_recorded("anthropic"),
    ),
    "chat": Wire(
        model=CHAT,
        make=lambda url, **more: OpenAICompat("scripted-1", url, **more),
        said=chat_events,
        error=data({"error": {"code": 503, "type": "overloaded_error", "message": "busy"}}),
        halves=chat_halves,
        pieces=chat_arguments,
        counted=_chat_counted,
        unknown=None,
        optional_end=2,  # the counts, and [DONE]
        source="constructed from the types of openai 3.52, chat.completions",
        recorded=_recorded("chat"),
    ),
    "responses": Wire(
        model=RESPONSES,
        make=lambda url, **more: OpenAI("scripted-1", base_url=url, **more),
        said=responses_events,
        error=responses_streams.event("error", code="overloaded_error", message="busy"),
        halves=responses_text,
        pieces=responses_arguments,
        counted=_responses_counted,
        unknown=(responses_streams.stream(_LISTED), _LISTED),
        optional_end=0,
        source="constructed from the types of openai 3.52, responses",
        recorded=_recorded("responses"),
    ),
    "gemini": Wire(
        model=GEMINI,
        make=lambda url, **more: Gemini("scripted-1", base_url=url, **more),
        said=gemini_events,
        error=gemini_streams.sse({"error": _BUSY}),
        halves=gemini_halves,
        pieces=None,
        counted=_gemini_counted,
        unknown=(gemini_streams.reply(_HOLOGRAM), _HOLOGRAM),
        optional_end=0,
        source="constructed from ai.google.dev/api/generate-content and google-genai 3.4",
    ),
}
WIRES["xai"] = replace(
    WIRES["responses"],
    model=GROK,
    make=lambda url, **more: XAI("scripted-1", base_url=url, **more),
    source="constructed as Responses, which docs.x.ai says it speaks",
    recorded=None,
)

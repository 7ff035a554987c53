"""Well-formed replies in two wire formats, from one description.

::

    Reply(blocks=[Think("hm"), Say("Hello"), Call("bash", {"command": "ls"})])
      anthropic_events(reply)  chat_events(reply)    one `bytes` for each event of a stream
      anthropic_body(reply)    chat_body(reply)      the answer to a request without `stream`

What they give was checked against the vendors' own response types (`tests/servers/test_wire.py`).
To make a stream ill-formed, change the list: drop the last event, join two, cut one in half.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "Call",
    "Reply",
    "Say",
    "Think",
    "Usage",
    "anthropic_body",
    "anthropic_event",
    "anthropic_events",
    "chat_body",
    "chat_chunk",
    "chat_events",
    "words",
]


@dataclass(frozen=True)
class Say:
    """Text; `size` characters a delta."""

    text: str
    size: int = 8


@dataclass(frozen=True)
class Think:
    """A thought; the chat format knows no signature and leaves it out."""

    text: str
    signature: str = "c2lnbmVk"
    size: int = 8


@dataclass(frozen=True)
class Call:
    """A tool call. `input` may be a string: then it is sent as it stands, valid JSON or not."""

    name: str
    input: dict[str, Any] | str = field(default_factory=dict)
    id: str = ""
    size: int = 8

    @property
    def arguments(self) -> str:
        """The input as JSON text."""
        return self.input if isinstance(self.input, str) else json.dumps(self.input)


Block = Say | Think | Call


@dataclass(frozen=True)
class Usage:
    """Token counts; `input` is what the cache did not hold."""

    input: int = 11
    output: int = 7
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0


@dataclass(frozen=True)
class Reply:
    """One assistant turn. `stop` is the wire's own word; by default it follows from the blocks."""

    blocks: Sequence[Block]
    stop: str | None = None
    usage: Usage = Usage()
    id: str = "reply_1"
    model: str = "scripted-1"

    def numbered(self) -> list[tuple[int, Block]]:
        """Return the blocks with their index."""
        return list(enumerate(self.blocks))

    def calls(self) -> list[tuple[int, Call]]:
        """Return the tool calls, counted from zero."""
        return list(enumerate(block for block in self.blocks if isinstance(block, Call)))

    def text_of(self, kind: type[Say] | type[Think]) -> str:
        """Return the text of all blocks of a kind."""
        return "".join(block.text for block in self.blocks if isinstance(block, kind))


def words(count: int) -> str:
    """Return `count` words of about six characters, the same each time."""
    return "".join(f"word{number % 100:02d} " for number in range(count))


# Anthropic


def anthropic_event(kind: str, **data: Any) -> bytes:
    """Return one event, its type in both places as Anthropic sends it."""
    return f"event: {kind}\ndata: {_json({'type': kind, **data})}\n\n".encode()


def anthropic_events(reply: Reply) -> list[bytes]:
    """Return the events of a streamed reply of the Messages API."""
    events = [anthropic_event("message_start", message=_anthropic_start(reply))]
    for index, block in reply.numbered():
        events.append(_anthropic_block_start(reply, index, block))
        events.extend(
            anthropic_event("content_block_delta", index=index, delta=delta)
            for delta in _anthropic_deltas(block)
        )
        events.append(anthropic_event("content_block_stop", index=index))
        if index == 0:
            events.append(anthropic_event("ping"))
    events.append(_anthropic_end(reply))
    events.append(anthropic_event("message_stop"))
    return events


def anthropic_body(reply: Reply) -> dict[str, Any]:
    """Return the reply of the Messages API to a request that does not stream."""
    content = [_anthropic_block(reply, index, block) for index, block in reply.numbered()]
    usage = _anthropic_usage(reply.usage) | {"output_tokens": reply.usage.output}
    stop = {"stop_reason": _anthropic_stop(reply), "usage": usage}
    return _anthropic_start(reply) | {"content": content} | stop


def _anthropic_start(reply: Reply) -> dict[str, Any]:
    return {
        "id": reply.id,
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": _anthropic_usage(reply.usage) | {"output_tokens": 1},
    }


def _anthropic_usage(usage: Usage) -> dict[str, int]:
    return {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
    }


def _anthropic_block_start(reply: Reply, index: int, block: Block) -> bytes:
    match block:
        case Say():
            start: dict[str, Any] = {"type": "text", "text": ""}
        case Think():
            start = {"type": "thinking", "thinking": "", "signature": ""}
        case Call():
            start = _anthropic_block(reply, index, block) | {"input": {}}
    return anthropic_event("content_block_start", index=index, content_block=start)


def _anthropic_deltas(block: Block) -> Iterator[dict[str, Any]]:
    match block:
        case Say(text, size):
            yield from ({"type": "text_delta", "text": part} for part in _parts(text, size))
        case Think(text, signature, size):
            for part in _parts(text, size):
                yield {"type": "thinking_delta", "thinking": part}
            yield {"type": "signature_delta", "signature": signature}
        case Call():
            for part in ["", *_parts(block.arguments, block.size)]:
                yield {"type": "input_json_delta", "partial_json": part}


def _anthropic_block(reply: Reply, index: int, block: Block) -> dict[str, Any]:
    match block:
        case Say(text):
            return {"type": "text", "text": text}
        case Think(text, signature):
            return {"type": "thinking", "thinking": text, "signature": signature}
        case Call():
            id_ = block.id or f"toolu_{reply.id}_{index}"
            return {"type": "tool_use", "id": id_, "name": block.name, "input": block.input}


def _anthropic_stop(reply: Reply) -> str:
    return reply.stop or ("tool_use" if reply.calls() else "end_turn")


def _anthropic_end(reply: Reply) -> bytes:
    delta = {"stop_reason": _anthropic_stop(reply), "stop_sequence": None}
    usage = {"output_tokens": reply.usage.output}
    return anthropic_event("message_delta", delta=delta, usage=usage)


# Chat completions


def chat_chunk(reply: Reply, *, choices: list[dict[str, Any]], **more: Any) -> bytes:
    """Return one chunk of a streamed chat completion."""
    head = {"id": reply.id, "object": "chat.completion.chunk", "created": 1, "model": reply.model}
    return f"data: {_json(head | {'choices': choices} | more)}\n\n".encode()


def chat_events(reply: Reply, *, usage: bool = True) -> list[bytes]:
    """Return the chunks of a streamed chat completion; `usage` is its ``include_usage``."""
    deltas = [{"role": "assistant", "content": ""}, *_chat_deltas(reply)]
    events = [chat_chunk(reply, choices=[_chat_choice(delta)]) for delta in deltas]
    events.append(chat_chunk(reply, choices=[_chat_choice({}, _chat_stop(reply))]))
    if usage:
        events.append(chat_chunk(reply, choices=[], usage=_chat_usage(reply.usage)))
    events.append(b"data: [DONE]\n\n")
    return events


def chat_body(reply: Reply) -> dict[str, Any]:
    """Return the chat completion for a request that does not stream."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text_of(Say) or None}
    message["refusal"] = None
    if thought := reply.text_of(Think):
        message["reasoning_content"] = thought
    if calls := reply.calls():
        message["tool_calls"] = [_chat_call(reply, number, call) for number, call in calls]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _chat_stop(reply)}
    head = {"id": reply.id, "object": "chat.completion", "created": 1, "model": reply.model}
    return head | {"choices": [choice], "usage": _chat_usage(reply.usage)}


def _chat_deltas(reply: Reply) -> Iterator[dict[str, Any]]:
    number = -1
    for block in reply.blocks:
        match block:
            case Say(text, size):
                yield from ({"content": part} for part in _parts(text, size))
            case Think(text, _, size):
                yield from ({"reasoning_content": part} for part in _parts(text, size))
            case Call():
                number += 1
                yield from _chat_call_deltas(reply, number, block)


def _chat_call_deltas(reply: Reply, number: int, call: Call) -> Iterator[dict[str, Any]]:
    start = _chat_call(reply, number, call)
    start["function"]["arguments"] = ""
    yield {"tool_calls": [{"index": number} | start]}
    for part in _parts(call.arguments, call.size):
        yield {"tool_calls": [{"index": number, "function": {"arguments": part}}]}


def _chat_call(reply: Reply, number: int, call: Call) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    id_ = call.id or f"call_{reply.id}_{number}"
    return {"id": id_, "type": "function", "function": function}


def _chat_choice(delta: dict[str, Any], stop: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": stop}


def _chat_stop(reply: Reply) -> str:
    return reply.stop or ("tool_calls" if reply.calls() else "stop")


def _chat_usage(usage: Usage) -> dict[str, Any]:
    prompt = usage.input + usage.cache_read + usage.cache_write
    return {
        "prompt_tokens": prompt,
        "completion_tokens": usage.output,
        "total_tokens": prompt + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def _parts(text: str, size: int) -> Iterator[str]:
    return (text[start : start + size] for start in range(0, len(text), size))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

"""What the mock model says, as server-sent events in each vendor's format."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from .script import REMARK, TOOL_NAME, Script, call_id

__all__ = ["events"]


@lru_cache(maxsize=64)
def _last(wire: str, script: Script) -> tuple[bytes, ...]:
    return tuple(_FORMATS[wire](script.last_pieces, ()))


def events(wire: str, script: Script, turn: int) -> tuple[bytes, ...]:
    """Return the events of reply number `turn` (from 0), one SSE event each."""
    if turn >= script.turns:
        return _last(wire, script)
    words = tuple(f" {word}" for word in REMARK.split())
    numbers = range(turn * script.calls, (turn + 1) * script.calls)
    return tuple(_FORMATS[wire](words, tuple(numbers)))


def _pieces(number: int) -> list[str]:
    """The arguments of a call, in the pieces in which they stream."""
    return ['{"', "n", '": ', str(number), "}"]


def _chat(pieces: tuple[str, ...], calls: tuple[int, ...]) -> Iterator[bytes]:
    """Yield the chunks of a chat completion."""
    yield _chat_chunk({"role": "assistant", "content": "", "refusal": None})
    for piece in pieces:
        yield _chat_chunk({"content": piece})
    for index, number in enumerate(calls):
        function = {"name": TOOL_NAME, "arguments": ""}
        call = {"index": index, "id": call_id(number), "type": "function", "function": function}
        yield _chat_chunk({"tool_calls": [call]})
        for part in _pieces(number):
            yield _chat_chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
    yield _chat_chunk({}, "tool_calls" if calls else "stop")
    usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
    yield _data({**_CHAT_HEAD, "choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


_CHAT_HEAD = {
    "id": "chatcmpl-C3BQxVzA1b2c3d4e5f6g7h8i9j0kL",
    "object": "chat.completion.chunk",
    "created": 1790000000,
    "model": "m",
    "service_tier": "default",
    "system_fingerprint": "fp_0123456789",
}


def _chat_chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return _data({**_CHAT_HEAD, "choices": [choice]})


def _messages(pieces: tuple[str, ...], calls: tuple[int, ...]) -> Iterator[bytes]:
    """Yield the events of an Anthropic message."""
    yield _named("message_start", message=_MESSAGE)
    yield _named("content_block_start", index=0, content_block={"type": "text", "text": ""})
    yield _named("ping")
    for piece in pieces:
        yield _delta(0, {"type": "text_delta", "text": piece})
    yield _named("content_block_stop", index=0)
    for index, number in enumerate(calls, start=1):
        block = {"type": "tool_use", "id": call_id(number), "name": TOOL_NAME, "input": {}}
        yield _named("content_block_start", index=index, content_block=block)
        for part in _pieces(number):
            yield _delta(index, {"type": "input_json_delta", "partial_json": part})
        yield _named("content_block_stop", index=index)
    stop = {"stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None}
    yield _named("message_delta", delta=stop, usage={"output_tokens": 9})
    yield _named("message_stop")


_MESSAGE = {
    "id": "msg_01ABCDEFGHJKLMNPQRSTUVWX",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": {"input_tokens": 9, "output_tokens": 1},
}


def _delta(index: int, delta: dict[str, Any]) -> bytes:
    return _named("content_block_delta", index=index, delta=delta)


def _named(name: str, **fields: Any) -> bytes:
    return f"event: {name}\n".encode() + _data({"type": name, **fields})


def _data(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


_FORMATS = {"chat": _chat, "messages": _messages}

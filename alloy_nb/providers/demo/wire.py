"""A reply's blocks, written as Anthropic's server sends them. No networking here.

Source: https://docs.anthropic.com/en/docs/build-with-claude/streaming, as of 2026-11.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from alloy_nb.messages import Text, Thinking, ToolCall
from alloy_nb.providers.wire_json import dumps

__all__ = ["ReplyBlock", "sse", "tokens"]

ReplyBlock = Text | Thinking | ToolCall

_CHARACTERS_A_TOKEN = 4
# About a token each; joined, the pieces are the text again.
_PIECE = re.compile(r"\s*\w{1,8}|\s*[^\w\s]{1,4}|\s+")
# Arguments of tools come in larger pieces than text does.
_JSON_PIECE = 24


def tokens(characters: int) -> int:
    """Return about how many tokens so many characters are."""
    return -(-characters // _CHARACTERS_A_TOKEN)


def sse(
    blocks: Sequence[ReplyBlock],
    *,
    identity: str,
    model: str,
    input_tokens: int,
    cached_tokens: int,
    max_tokens: int | None = None,
) -> Iterator[bytes]:
    """Yield the reply's events; it stops with ``max_tokens`` where it gets longer than that."""
    usage = {
        "input_tokens": input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached_tokens,
        "output_tokens": 1,
    }
    yield _event(
        "message_start",
        message={
            "id": f"msg_demo_{identity}",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        },
    )
    yield _event("ping")
    meter = _Meter(max_tokens)
    for index, block in enumerate(blocks):
        yield _event("content_block_start", index=index, content_block=_start(block))
        for delta in _deltas(block, meter):
            yield _event("content_block_delta", index=index, delta=delta)
        yield _event("content_block_stop", index=index)
        if meter.full:
            break
    yield _event(
        "message_delta",
        delta={"stop_reason": _stop_reason(blocks, meter), "stop_sequence": None},
        usage={**usage, "output_tokens": tokens(meter.characters)},
    )
    yield _event("message_stop")


class _Meter:
    """Counts what is sent, and says when the limit is reached."""

    def __init__(self, max_tokens: int | None) -> None:
        self.characters = 0
        self.full = False
        self._limit = None if max_tokens is None else max_tokens * _CHARACTERS_A_TOKEN

    def within(self, pieces: Iterator[str]) -> Iterator[str]:
        """Yield the pieces that still fit."""
        for piece in pieces:
            if self._limit is not None and self.characters + len(piece) > self._limit:
                self.full = True
                return
            self.characters += len(piece)
            yield piece


def _event(kind: str, **data: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), dumps({"type": kind, **data}))


def _start(block: ReplyBlock) -> dict[str, Any]:
    match block:
        case Text():
            start: dict[str, Any] = {"type": "text", "text": ""}
            return {**start, "citations": []} if block.citations else start
        case Thinking():
            return {"type": "thinking", "thinking": "", "signature": ""}
        case ToolCall():
            return {"type": "tool_use", "id": block.id, "name": block.name, "input": {}}


def _deltas(block: ReplyBlock, meter: _Meter) -> Iterator[dict[str, Any]]:
    match block:
        case Text():
            for piece in meter.within(_pieces(block.text)):
                yield {"type": "text_delta", "text": piece}
            if not meter.full:
                for citation in block.citations:
                    yield {"type": "citations_delta", "citation": citation.raw}
        case Thinking():
            for piece in meter.within(_pieces(block.text)):
                yield {"type": "thinking_delta", "thinking": piece}
            if not meter.full:
                yield {"type": "signature_delta", "signature": _signature(block.text)}
        case ToolCall():
            yield {"type": "input_json_delta", "partial_json": ""}
            for piece in meter.within(_json_pieces(block.input)):
                yield {"type": "input_json_delta", "partial_json": piece}


def _pieces(text: str) -> Iterator[str]:
    return (found[0] for found in _PIECE.finditer(text))


def _json_pieces(value: Any) -> Iterator[str]:
    text = json.dumps(value, ensure_ascii=False)
    return (text[i : i + _JSON_PIECE] for i in range(0, len(text), _JSON_PIECE))


def _signature(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
    return base64.b64encode(b"demo:" + digest).decode()


def _stop_reason(blocks: Sequence[ReplyBlock], meter: _Meter) -> str:
    if meter.full:
        return "max_tokens"
    return "tool_use" if any(isinstance(block, ToolCall) for block in blocks) else "end_turn"

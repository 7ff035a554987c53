"""A reply in Anthropic's Messages format, decoded. No networking here.

What is asked in this format is in `anthropic`, with its sources.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from alloy_nb.errors import ProviderError
from alloy_nb.events import (
    BlockSealed,
    BlockStarted,
    CitationAdded,
    ModelEvent,
    ReplyStarted,
    Stopped,
    TextDelta,
    ThinkingDelta,
    ToolInputDelta,
    UsageReported,
)
from alloy_nb.messages import Citation, Opaque, StopReason, Thinking, ToolCall
from alloy_nb.providers.lenient import count, string, unreported
from alloy_nb.usage import Usage

__all__ = ["AnthropicDecoder"]

_STOPS: Mapping[str, StopReason] = {
    "end_turn": StopReason.END_TURN,
    "tool_use": StopReason.TOOL_USE,
    "max_tokens": StopReason.MAX_TOKENS,
    "model_context_window_exceeded": StopReason.MAX_TOKENS,
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "refusal": StopReason.REFUSAL,
    "pause_turn": StopReason.PAUSE,
}


_Kind = Literal["text", "thinking", "tool_call", "other"]


class AnthropicDecoder:
    """Decodes one reply. Blocks are numbered in the order in which they begin."""

    def __init__(self, fail: Callable[[Any], ProviderError]) -> None:
        self.ended = False
        self._fail = fail
        self._number: dict[Any, int] = {}  # the vendor's index -> ours
        self._open: dict[int, dict[str, Any]] = {}
        self._blocks = 0
        self._usage: dict[str, Any] = {}
        self._counted = False  # whether the output was, and not only begun to be
        self._stop: tuple[StopReason, str | None] | None = None

    def feed(self, name: str | None, data: dict[str, Any]) -> list[ModelEvent]:
        """Return what one event means; unknown events and deltas mean nothing."""
        kind = data.get("type") or name
        if kind == "content_block_delta":
            return self._delta(data)
        match kind:
            case "content_block_start":
                return self._start(_key(data.get("index")), data.get("content_block"))
            case "content_block_stop":
                return self._seal(self._number.pop(_key(data.get("index")), None))
            case "message_start":
                return self._message(data.get("message"))
            case "message_delta":
                return self._message_delta(data)
            case "message_stop":
                return self._end()
            case "error":
                raise self._fail(data.get("error"))
        return []

    def close(self) -> list[ModelEvent]:
        """Return nothing: a reply without ``message_stop`` is not whole."""
        return []

    def _message(self, message: Any) -> list[ModelEvent]:
        if not isinstance(message, dict):
            return []
        started = ReplyStarted(
            string(message.get("id")) or None, string(message.get("model")) or None
        )
        return [started, *self._report(message.get("usage"))]

    def _message_delta(self, data: dict[str, Any]) -> list[ModelEvent]:
        delta = data.get("delta")
        if isinstance(delta, dict) and (reason := delta.get("stop_reason")):
            stop = _STOPS.get(string(reason), StopReason.END_TURN)
            known = string(reason) in _STOPS
            detail = string(delta.get("stop_sequence")) or (None if known else string(reason))
            self._stop = (stop, detail)
        usage = data.get("usage")
        if isinstance(usage, dict) and usage.get("output_tokens") is not None:
            self._counted = True
        return self._report(usage)

    def _end(self) -> list[ModelEvent]:
        events = [event for index in list(self._open) for event in self._seal(index)]
        self.ended = True
        reason, detail = self._stop or (StopReason.END_TURN, None)
        return [*events, Stopped(reason, detail)]

    def _report(self, usage: Any) -> list[ModelEvent]:
        if not isinstance(usage, dict):
            return []
        # Cumulative: the newest value that is not null counts.
        self._usage.update({k: v for k, v in usage.items() if v is not None})
        return [UsageReported(_usage(self._usage, counted=self._counted))]

    def _start(self, key: Any, block: Any) -> list[ModelEvent]:
        block = block if isinstance(block, dict) else {}
        index = self._blocks
        self._blocks += 1
        self._number[key] = index
        kind = string(block.get("type"))
        self._open[index] = {"type": kind, "raw": block, "json": [], "citations": []}
        match kind:
            case "text":
                events: list[ModelEvent] = [BlockStarted(index, "text")]
                if text := string(block.get("text")):
                    events.append(TextDelta(index, text))
                return events
            case "thinking":
                self._open[index]["signature"] = string(block.get("signature"))
                events = [BlockStarted(index, "thinking")]
                if text := string(block.get("thinking")):
                    events.append(ThinkingDelta(index, text))
                return events
            case "redacted_thinking":
                return [BlockStarted(index, "thinking")]
            case "tool_use" | "server_tool_use":
                started = BlockStarted(
                    index,
                    "tool_call",
                    id=string(block.get("id")),
                    name=string(block.get("name")),
                    server=kind == "server_tool_use",
                )
                return [started]
        return [BlockStarted(index, "opaque", name=kind)]

    def _delta(self, data: dict[str, Any]) -> list[ModelEvent]:
        delta = data.get("delta")
        if not isinstance(delta, dict):
            return []
        kind = string(delta.get("type"))
        begun: list[ModelEvent] = []
        index = self._number.get(_key(data.get("index")))
        if (said := _SAID_IN.get(kind)) and (index is None or self._open[index]["type"] != said):
            begun, index = self._begin_for(said, _key(data.get("index")))
        if index is None:
            return []
        if kind == "text_delta":
            text = delta.get("text")
            return [*begun, TextDelta(index, text)] if isinstance(text, str) and text else begun
        if kind == "thinking_delta":
            text = delta.get("thinking")
            return [*begun, ThinkingDelta(index, text)] if isinstance(text, str) and text else begun
        block = self._open[index]
        match kind:
            case "input_json_delta" if block["type"] in ("tool_use", "server_tool_use"):
                piece = string(delta.get("partial_json"))
                block["json"].append(piece)
                return [ToolInputDelta(index, piece)] if piece else []
            case "signature_delta" if block["type"] == "thinking":
                block["signature"] += string(delta.get("signature"))
            case "citations_delta" if isinstance(delta.get("citation"), dict):
                block["citations"].append(delta["citation"])
                return [CitationAdded(index, _citation(delta["citation"]))]
        return []

    def _begin_for(self, kind: str, key: Any) -> tuple[list[ModelEvent], int]:
        """Return the block that a delta belongs to whose own block is missing, or another's.

        A server that leaves out ``content_block_start``, or mixes up its indexes, still said it.
        """
        key = (key, kind) if key in self._number else key
        begun = [] if key in self._number else self._start(key, {"type": kind})
        return begun, self._number[key]

    def _seal(self, index: int | None) -> list[ModelEvent]:
        if index is None or index not in self._open:
            return []
        block = self._open.pop(index)
        return [_sealed(index, block)]


# Deltas that say something, and the kind of block in which they do.
_SAID_IN: Mapping[str, str] = {"text_delta": "text", "thinking_delta": "thinking"}


def _sealed(index: int, block: dict[str, Any]) -> BlockSealed:
    raw = block["raw"]
    match block["type"]:
        case "text":
            replay = {"citations": block["citations"]} if block["citations"] else None
            return BlockSealed(index, replay=replay)
        case "thinking":
            # The text of the signed block is filled in by the fold, which has all of it.
            signature = block.get("signature")
            return BlockSealed(index, replay={"signature": signature} if signature else None)
        case "redacted_thinking":
            return BlockSealed(index, block=Thinking(redacted=True, replay=dict(raw)))
        case "tool_use":
            return BlockSealed(index, block=_whole_call(block))
        case "server_tool_use":
            return BlockSealed(index, replay={}, block=_whole_call(block))
    return BlockSealed(index, block=Opaque(vendor="anthropic", raw=dict(raw)))


def _whole_call(block: dict[str, Any]) -> ToolCall | None:
    """Return a call that came with its arguments in one piece, as some servers send it."""
    raw = block["raw"]
    # An empty piece says nothing: some servers send one behind the whole input.
    if any(block["json"]) or not isinstance(raw.get("input"), dict) or not raw["input"]:
        return None
    return ToolCall(
        id=string(raw.get("id")),
        name=string(raw.get("name")),
        input=raw["input"],
        server=block["type"] == "server_tool_use",
        replay={} if block["type"] == "server_tool_use" else None,
    )


def _key(index: Any) -> Any:
    return index if isinstance(index, (int, str)) else None


def _usage(usage: dict[str, Any], *, counted: bool) -> Usage:
    """Return the counts; those of the beginning do not know the output yet."""
    cached = [usage.get(f"cache_{kind}_input_tokens") for kind in ("read", "creation")]
    owed = [usage.get("input_tokens"), usage.get("output_tokens"), *(n for n in cached if n)]
    read = count(usage.get("cache_read_input_tokens"))
    written = count(usage.get("cache_creation_input_tokens"))
    by_ttl = usage.get("cache_creation")
    server = usage.get("server_tool_use")
    return Usage(
        input_tokens=count(usage.get("input_tokens")) + read + written,
        output_tokens=count(usage.get("output_tokens")),
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=count(by_ttl.get("ephemeral_1h_input_tokens"))
        if isinstance(by_ttl, dict)
        else 0,
        searches=count(server.get("web_search_requests")) if isinstance(server, dict) else 0,
        unreported=unreported(*owed) if counted else 1,
        raw=dict(usage),
    )


def _citation(raw: dict[str, Any]) -> Citation:
    kind: Literal["url", "document"] = "url" if raw.get("url") else "document"
    title = raw.get("title") or raw.get("document_title")
    return Citation(
        kind=kind,
        url=string(raw.get("url")) or None,
        title=string(title) or None,
        quote=string(raw.get("cited_text")) or None,
        raw=raw,
    )

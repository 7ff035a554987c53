"""Anthropic's Messages format. No networking here.

Source: https://docs.anthropic.com/en/api/messages and .../build-with-claude/streaming, as of
2026-11, and the types of the official SDK, anthropic 2.11.

What is easily got wrong, and is right here: the counts in ``message_delta`` are cumulative, so they
replace those of ``message_start``; ``input_tokens`` leaves out what was cached, so the parts are
added up; the limit on output must be larger than the budget for thinking; an ``error`` event may
come inside a reply that began well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from alloy_nb.errors import ConfigError
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
from alloy_nb.messages import (
    Block,
    Citation,
    Document,
    Image,
    Message,
    Opaque,
    StopReason,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from alloy_nb.providers.base import ModelOptions, ModelRequest
from alloy_nb.providers.handoff import Rules
from alloy_nb.providers.vendor import VendorProvider
from alloy_nb.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from alloy_nb.errors import ProviderError

__all__ = ["Anthropic"]

# The interface demands a limit. This one is the largest that every model since Claude 3.5 takes.
DEFAULT_MAX_OUTPUT = 8192
# Tokens of thinking for each word of effort; 1,024 is the least that the interface takes.
BUDGETS: Mapping[str, int] = {"low": 2_048, "medium": 8_192, "high": 24_576, "max": 49_152}

_RULES = Rules(vendor="anthropic", call_id=re.compile(r"[a-zA-Z0-9_-]{1,64}"))
_STOPS: Mapping[str, StopReason] = {
    "end_turn": StopReason.END_TURN,
    "tool_use": StopReason.TOOL_USE,
    "max_tokens": StopReason.MAX_TOKENS,
    "model_context_window_exceeded": StopReason.MAX_TOKENS,
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "refusal": StopReason.REFUSAL,
    "pause_turn": StopReason.PAUSE,
}


class Anthropic(VendorProvider):
    """A Claude model, or any model behind a server that speaks the Messages format.

    Example:
        >>> Anthropic("claude-sonnet-4-6", base_url="http://127.0.0.1:8080").base_url
        'http://127.0.0.1:8080'
    """

    name: ClassVar[str] = "anthropic"
    key_variable: ClassVar[str | None] = "ANTHROPIC_API_KEY"
    default_base_url: ClassVar[str] = "https://api.anthropic.com"
    path: ClassVar[str] = "/v1/messages"
    version: ClassVar[str] = "2023-06-01"

    @property
    def needs_key(self) -> bool:
        """Anthropic itself needs a key; a server of one's own may not."""
        return self.base_url == self.default_base_url

    def headers(self, key: str | None) -> dict[str, str]:
        """Return Anthropic's headers: the version, and the key where there is one."""
        headers = {"anthropic-version": self.version}
        if key:
            headers["x-api-key"] = key
        return headers

    def rules(self) -> Rules:
        """Return the rules of Anthropic's histories."""
        return _RULES

    def fields(self, request: ModelRequest) -> dict[str, Any]:
        """Return the body without its messages."""
        options = request.options.over(self.options)
        thinking = _thinking(options)
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": _max_tokens(options, thinking),
            "stream": True,
        }
        if request.system:
            body["system"] = request.system
        if request.tools:
            body["tools"] = [
                {
                    "name": tool.name,
                    "description": tool.description,
                    "input_schema": dict(tool.input_schema),
                }
                for tool in request.tools
            ]
            if options.tool_choice:
                body["tool_choice"] = _tool_choice(options.tool_choice)
        if thinking:
            body["thinking"] = {"type": "enabled", "budget_tokens": thinking}
        if options.temperature is not None and not thinking:
            body["temperature"] = options.temperature
        if options.stop:
            body["stop_sequences"] = list(options.stop)
        return body

    def encode_message(self, message: Message) -> list[dict[str, Any]]:
        """Return one message as Anthropic takes it."""
        return [{"role": message.role, "content": [_encode(block) for block in message.content]}]

    def decoder(self) -> AnthropicDecoder:
        """Return a decoder for one reply."""
        return AnthropicDecoder(self.stream_error)


def _thinking(options: ModelOptions) -> int | None:
    if options.effort in (None, "off"):
        return None
    budget = BUDGETS[str(options.effort)]
    limit = options.max_output_tokens
    if limit is not None and limit <= 1024:
        raise ConfigError(
            f"max_output_tokens={limit} leaves no room to think: raise it above 1024, or turn "
            "thinking off."
        )
    # A limit that was asked for is kept, so thinking gets what fits below it.
    return budget if limit is None else min(budget, max(1024, limit - 1024), limit - 1)


def _max_tokens(options: ModelOptions, thinking: int | None) -> int:
    if options.max_output_tokens is not None:
        return options.max_output_tokens
    return DEFAULT_MAX_OUTPUT + (thinking or 0)


def _tool_choice(choice: str) -> dict[str, Any]:
    if choice in ("auto", "any", "none"):
        return {"type": choice}
    return {"type": "tool", "name": choice}


# --- encoding -----------------------------------------------------------------------------------


def _encode(block: Block) -> dict[str, Any]:
    match block:
        case Text():
            encoded: dict[str, Any] = {"type": "text", "text": block.text}
            if block.replay and block.replay.get("citations"):
                encoded["citations"] = [_sent_back(raw) for raw in block.replay["citations"]]
            return encoded
        case Thinking(redacted=True):
            return dict(block.replay or {})
        case Thinking():
            return {"type": "thinking", "thinking": block.text, **(block.replay or {})}
        case ToolCall():
            kind = "server_tool_use" if block.server else "tool_use"
            return {"type": kind, "id": block.id, "name": block.name, "input": block.input}
        case Opaque():
            return dict(block.raw)
        case ToolResult():
            return _encode_result(block)
        case Image():
            return {"type": "image", "source": _source(block)}
        case Document():
            document: dict[str, Any] = {"type": "document", "source": _source(block)}
            if block.title:
                document["title"] = block.title
            return document


# What a citation may hold when it is sent back. Replies add fields, such as ``file_id``, that the
# types of requests do not have (anthropic 2.11, text_citation_param).
_CITATION_FIELDS: Mapping[str, tuple[str, ...]] = {
    "char_location": ("document_index", "document_title", "start_char_index", "end_char_index"),
    "page_location": ("document_index", "document_title", "start_page_number", "end_page_number"),
    "content_block_location": (
        "document_index",
        "document_title",
        "start_block_index",
        "end_block_index",
    ),
    "web_search_result_location": ("encrypted_index", "title", "url"),
    "search_result_location": (
        "search_result_index",
        "source",
        "title",
        "start_block_index",
        "end_block_index",
    ),
}


def _sent_back(citation: dict[str, Any]) -> dict[str, Any]:
    allowed = _CITATION_FIELDS.get(_text(citation.get("type")))
    if allowed is None:
        return citation
    return {k: v for k, v in citation.items() if k in ("type", "cited_text", *allowed)}


def _encode_result(block: ToolResult) -> dict[str, Any]:
    parts = [_encode(p) for p in block.content if not (isinstance(p, Text) and not p.text.strip())]
    result: dict[str, Any] = {"type": "tool_result", "tool_use_id": block.call_id}
    if len(parts) == 1 and parts[0]["type"] == "text":
        result["content"] = parts[0]["text"]
    elif parts:
        result["content"] = parts
    if block.is_error:
        result["is_error"] = True
    return result


def _source(block: Image | Document) -> dict[str, Any]:
    if block.url:
        return {"type": "url", "url": block.url}
    return {"type": "base64", "media_type": block.media_type, "data": block.data or ""}


# --- decoding -----------------------------------------------------------------------------------

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
        self._stop: tuple[StopReason, str | None] | None = None

    def feed(self, name: str | None, data: dict[str, Any]) -> list[ModelEvent]:
        """Return what one event means; unknown events and deltas mean nothing."""
        kind = data.get("type") or name
        if kind == "content_block_delta":
            return self._delta(data)
        match kind:
            case "content_block_start":
                return self._start(data.get("index"), data.get("content_block"))
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
            _text(message.get("id")) or None, _text(message.get("model")) or None
        )
        return [started, *self._report(message.get("usage"))]

    def _message_delta(self, data: dict[str, Any]) -> list[ModelEvent]:
        delta = data.get("delta")
        if isinstance(delta, dict) and (reason := delta.get("stop_reason")):
            stop = _STOPS.get(_text(reason), StopReason.END_TURN)
            known = _text(reason) in _STOPS
            detail = _text(delta.get("stop_sequence")) or (None if known else _text(reason))
            self._stop = (stop, detail)
        return self._report(data.get("usage"))

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
        return [UsageReported(_usage(self._usage))]

    def _start(self, vendor_index: Any, block: Any) -> list[ModelEvent]:
        block = block if isinstance(block, dict) else {}
        index = self._blocks
        self._blocks += 1
        self._number[_key(vendor_index)] = index
        kind = _text(block.get("type"))
        self._open[index] = {"type": kind, "raw": block, "json": [], "citations": []}
        match kind:
            case "text":
                events: list[ModelEvent] = [BlockStarted(index, "text")]
                if text := _text(block.get("text")):
                    events.append(TextDelta(index, text))
                return events
            case "thinking":
                self._open[index]["signature"] = _text(block.get("signature"))
                events = [BlockStarted(index, "thinking")]
                if text := _text(block.get("thinking")):
                    events.append(ThinkingDelta(index, text))
                return events
            case "redacted_thinking":
                return [BlockStarted(index, "thinking")]
            case "tool_use" | "server_tool_use":
                started = BlockStarted(
                    index,
                    "tool_call",
                    id=_text(block.get("id")),
                    name=_text(block.get("name")),
                    server=kind == "server_tool_use",
                )
                return [started]
        return [BlockStarted(index, "opaque", name=kind)]

    def _delta(self, data: dict[str, Any]) -> list[ModelEvent]:
        delta = data.get("delta")
        if not isinstance(delta, dict):
            return []
        kind = delta.get("type")
        index = self._number.get(_key(data.get("index")))
        begun: list[ModelEvent] = []
        if index is None:
            opened = _OPENED_BY.get(_text(kind))
            if opened is None:
                return []
            # A server that leaves out content_block_start still said something.
            begun = self._start(data.get("index"), {"type": opened})
            index = self._number[_key(data.get("index"))]
        if kind == "text_delta":
            text = delta.get("text")
            return [*begun, TextDelta(index, text)] if isinstance(text, str) and text else begun
        if kind == "thinking_delta":
            text = delta.get("thinking")
            return [*begun, ThinkingDelta(index, text)] if isinstance(text, str) and text else begun
        block = self._open[index]
        match kind:
            case "input_json_delta":
                piece = _text(delta.get("partial_json"))
                block["json"].append(piece)
                return [ToolInputDelta(index, piece)] if piece else []
            case "signature_delta":
                block["signature"] = block.get("signature", "") + _text(delta.get("signature"))
            case "citations_delta" if isinstance(delta.get("citation"), dict):
                block["citations"].append(delta["citation"])
                return [CitationAdded(index, _citation(delta["citation"]))]
        return begun

    def _seal(self, index: int | None) -> list[ModelEvent]:
        if index is None or index not in self._open:
            return []
        block = self._open.pop(index)
        return [_sealed(index, block)]


# What a delta without a start belongs to.
_OPENED_BY: Mapping[str, str] = {"text_delta": "text", "thinking_delta": "thinking"}


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
    if block["json"] or not isinstance(raw.get("input"), dict) or not raw["input"]:
        return None
    return ToolCall(
        id=_text(raw.get("id")),
        name=_text(raw.get("name")),
        input=raw["input"],
        server=block["type"] == "server_tool_use",
        replay={} if block["type"] == "server_tool_use" else None,
    )


def _key(index: Any) -> Any:
    return index if isinstance(index, (int, str)) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _count(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    # A count that is negative or absurd must never lower what was spent.
    return value if isinstance(value, int) and value > 0 else 0


def _usage(usage: dict[str, Any]) -> Usage:
    read = _count(usage, "cache_read_input_tokens")
    written = _count(usage, "cache_creation_input_tokens")
    by_ttl = usage.get("cache_creation")
    server = usage.get("server_tool_use")
    return Usage(
        input_tokens=_count(usage, "input_tokens") + read + written,
        output_tokens=_count(usage, "output_tokens"),
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=_count(by_ttl, "ephemeral_1h_input_tokens")
        if isinstance(by_ttl, dict)
        else 0,
        searches=_count(server, "web_search_requests") if isinstance(server, dict) else 0,
        raw=dict(usage),
    )


def _citation(raw: dict[str, Any]) -> Citation:
    kind: Literal["url", "document"] = "url" if raw.get("url") else "document"
    title = raw.get("title") or raw.get("document_title")
    return Citation(
        kind=kind,
        url=_text(raw.get("url")) or None,
        title=_text(title) or None,
        quote=_text(raw.get("cited_text")) or None,
        raw=raw,
    )

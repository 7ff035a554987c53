"""The chat-completions format, which most servers speak. No networking here.

Source: https://platform.openai.com/docs/api-reference/chat, as of 2026-11, the types of the
official SDK, openai 3.52, and what the servers named at each quirk send in fact. Differences
between vendors are data (`Quirks`), never guesses from an address.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar

from alloy_nb.errors import ConfigError, ProviderError
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
    StopReason,
    Text,
    ToolResult,
)
from alloy_nb.providers.base import ModelRequest
from alloy_nb.providers.handoff import Rules
from alloy_nb.providers.vendor import VendorProvider
from alloy_nb.providers.wire_json import dumps
from alloy_nb.usage import Usage

__all__ = ["OpenAICompat", "Quirks"]


@dataclass(frozen=True, slots=True)
class Quirks:
    """Where a server differs from the format.

    Args:
        output_limit: The field for the limit on output. OpenAI's reasoning models refuse
            ``max_tokens``; most other servers know nothing else.
        usage_on_request: Whether to send ``stream_options.include_usage``, without which OpenAI
            and vLLM report no usage. Servers that refuse unknown fields need it off.
        echo_reasoning: The field in which earlier thinking goes back. DeepSeek demands it within a
            tool loop; OpenAI refuses it.
        call_id: The form of a tool call's id. Mistral takes nine letters and digits, no more.
        effort: The field for how much to think, or ``None`` where there is none.
    """

    output_limit: str = "max_tokens"
    usage_on_request: bool = True
    echo_reasoning: str | None = None
    call_id: str = r"[a-zA-Z0-9_-]{1,64}"
    call_id_length: int = 24
    effort: str | None = "reasoning_effort"


_STOPS: Mapping[str, StopReason] = {
    "stop": StopReason.END_TURN,
    "tool_calls": StopReason.TOOL_USE,
    "function_call": StopReason.TOOL_USE,
    "length": StopReason.MAX_TOKENS,
    "content_filter": StopReason.REFUSAL,
}
_EFFORTS: Mapping[str, str] = {"low": "low", "medium": "medium", "high": "high", "max": "high"}


class OpenAICompat(VendorProvider):
    """A model behind any server that speaks chat completions.

    Args:
        model: The model's id.
        base_url: The server's address, with or without ``/v1``. It is required.
        api_key: Its key; without one, no ``Authorization`` header is sent.
        name: The vendor's name in errors, footers and ``vendor/model``.
        key_variable: The environment variable that holds the key, if it needs one.
        path: The path of the interface under `base_url`.
        quirks: Where the server differs from the format.

    Raises:
        ConfigError: There is no address.
    """

    name: ClassVar[str] = "openai-compat"

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        *,
        name: str | None = None,
        key_variable: str | None = None,
        path: str = "/v1/chat/completions",
        quirks: Quirks | None = None,
        **settings: Any,
    ) -> None:
        if not base_url:
            raise ConfigError(
                "openai-compat needs the address of a server: give base_url=, such as "
                "base_url='http://127.0.0.1:8080' (in a cell: --base-url URL)."
            )
        super().__init__(model, base_url=base_url, **settings)
        # Presets are this class with other data, so what is a class's elsewhere is an instance's.
        self.name = name or type(self).name  # type: ignore[misc]
        self.key_variable = key_variable  # type: ignore[misc]
        self.path = path  # type: ignore[misc]
        self.quirks = quirks or Quirks()

    def rules(self) -> Rules:
        """Return the rules of this server's histories."""
        return Rules(
            vendor=self.name,
            call_id=re.compile(self.quirks.call_id),
            call_id_length=self.quirks.call_id_length,
            thinking=self.quirks.echo_reasoning is not None,
            unsigned_thinking=self.quirks.echo_reasoning is not None,
        )

    def fields(self, request: ModelRequest) -> dict[str, Any]:
        """Return the body without its messages."""
        options = request.options.over(self.options)
        body: dict[str, Any] = {"model": self.model, "stream": True}
        if self.quirks.usage_on_request:
            body["stream_options"] = {"include_usage": True}
        if options.max_output_tokens is not None:
            body[self.quirks.output_limit] = options.max_output_tokens
        if options.temperature is not None:
            body["temperature"] = options.temperature
        if options.stop:
            body["stop"] = list(options.stop)
        if options.effort in _EFFORTS and self.quirks.effort:
            body[self.quirks.effort] = _EFFORTS[str(options.effort)]
        if request.tools:
            body["tools"] = [
                {
                    "type": "function",
                    "function": {
                        "name": tool.name,
                        "description": tool.description,
                        "parameters": dict(tool.input_schema),
                    },
                }
                for tool in request.tools
            ]
            if options.tool_choice:
                body["tool_choice"] = _tool_choice(options.tool_choice)
        return body

    def first_messages(self, request: ModelRequest) -> list[dict[str, Any]]:
        """Return the system prompt as the first message."""
        return [{"role": "system", "content": request.system}] if request.system else []

    def encode_message(self, message: Message) -> list[dict[str, Any]]:
        """Return one message in this format: results of tools are messages of their own here."""
        if message.role == "assistant":
            return [self._encode_assistant(message)]
        results = [b for b in message.content if isinstance(b, ToolResult)]
        said: list[Block] = [b for b in message.content if not isinstance(b, ToolResult)]
        # A tool message holds text alone, so pictures follow in the user's own message.
        shown: list[Block] = [
            part for r in results for part in r.content if not isinstance(part, Text)
        ]
        out = [_encode_result(result) for result in results]
        if said or shown:
            out.append({"role": "user", "content": _encode_parts(shown + said)})
        return out

    def decoder(self) -> ChatDecoder:
        """Return a decoder for one reply."""
        return ChatDecoder(self.stream_error)

    def _encode_assistant(self, message: Message) -> dict[str, Any]:
        encoded: dict[str, Any] = {"role": "assistant", "content": message.text or None}
        calls = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.name,
                    "arguments": dumps(call.input).decode(),
                },
            }
            for call in message.tool_calls
        ]
        if calls:
            encoded["tool_calls"] = calls
        elif encoded["content"] is None:
            encoded["content"] = "(no answer)"
        if self.quirks.echo_reasoning and message.thinking:
            encoded[self.quirks.echo_reasoning] = message.thinking
        return encoded


def _tool_choice(choice: str) -> Any:
    match choice:
        case "auto" | "none":
            return choice
        case "any":
            return "required"
    return {"type": "function", "function": {"name": choice}}


# --- encoding -----------------------------------------------------------------------------------


def _encode_result(result: ToolResult) -> dict[str, Any]:
    text = result.text or ("(see the picture below)" if result.content else "(no output)")
    # The format has no flag for a failure, so the words must say it.
    if result.is_error:
        text = f"Error: {text}"
    return {"role": "tool", "tool_call_id": result.call_id, "content": text}


def _encode_parts(blocks: list[Block]) -> Any:
    if all(isinstance(block, Text) for block in blocks):
        return "\n\n".join(block.text for block in blocks if isinstance(block, Text))
    return [_encode_part(block) for block in blocks]


def _encode_part(block: Block) -> dict[str, Any]:
    match block:
        case Text():
            return {"type": "text", "text": block.text}
        case Image():
            url = block.url or f"data:{block.media_type};base64,{block.data or ''}"
            return {"type": "image_url", "image_url": {"url": url}}
        case Document() if block.data:
            data = f"data:{block.media_type};base64,{block.data}"
            file = {"filename": block.title or "document", "file_data": data}
            return {"type": "file", "file": file}
        case Document():
            return {"type": "text", "text": f"[document: {block.title or ''} {block.url or ''}]"}
    return {"type": "text", "text": f"[{block.type}]"}


# --- decoding -----------------------------------------------------------------------------------

# Thinking goes by several names: DeepSeek, vLLM and llama.cpp; OpenRouter, Groq and Ollama; others.
_THINKING_FIELDS = ("reasoning_content", "reasoning", "thinking")


class ChatDecoder:
    """Decodes one reply.

    The format has no blocks: a change from thinking to text to calls ends one and begins another.
    Calls are told apart by their index, else by their id, else by their place, since servers
    leave out one or the other.
    """

    def __init__(self, fail: Callable[[Any], ProviderError]) -> None:
        self.ended = False
        self._fail = fail
        self._blocks = 0
        self._current: tuple[str, int] | None = None  # the text or thinking that is being said
        self._calls: dict[Any, int] = {}
        self._ids: dict[Any, str] = {}  # the id that each index began with
        self._last_call: Any = None
        self._stop: tuple[StopReason, str | None] | None = None
        self._started = False
        self._cited: set[str] = set()

    def feed(self, name: str | None, data: dict[str, Any]) -> list[ModelEvent]:
        """Return what one chunk means."""
        if (delta := self._plain_text(data)) is not None:
            return [delta]
        if name == "[DONE]":
            return self.close()
        if data.get("error"):
            raise self._fail(data["error"])
        events: list[ModelEvent] = []
        if not self._started:
            self._started = True
            events.append(
                ReplyStarted(_text(data.get("id")) or None, _text(data.get("model")) or None)
            )
        choices = data.get("choices")
        if isinstance(choices, list):
            for choice in choices:
                # Asked for one answer, we read one: a second choice would be mixed into it.
                if isinstance(choice, dict) and choice.get("index") in (0, None):
                    events += self._choice(choice)
        usage = data.get("usage") or _dict(data.get("x_groq")).get("usage")
        if isinstance(usage, dict):
            events.append(UsageReported(_usage(usage)))
        if data.get("citations"):
            events += self._cite_urls(data["citations"])
        return events

    def _plain_text(self, data: dict[str, Any]) -> TextDelta | None:
        """Return the delta of a chunk that only goes on with the text, as nearly all of them do.

        It takes a fifth of the time of reading a chunk field by field.
        """
        if self._current is None or self._current[0] != "text" or data.get("usage"):
            return None
        try:
            (choice,) = data["choices"]
            delta = choice["delta"]
            if len(delta) == 1 and choice["finish_reason"] is None and choice["index"] == 0:
                content = delta["content"]
                if type(content) is str and content and "citations" not in data:
                    return TextDelta(self._current[1], content)
        except (LookupError, TypeError, ValueError):
            pass  # any other shape is read field by field
        return None

    def close(self) -> list[ModelEvent]:
        """End the reply at ``[DONE]``, or where the bytes end after a finish reason."""
        if self.ended or self._stop is None:
            return []
        self.ended = True
        reason, detail = self._stop
        return [*self._seal_current(), *self._seal_calls(), Stopped(reason, detail)]

    def _choice(self, choice: dict[str, Any]) -> list[ModelEvent]:
        # Some servers send the last chunk as a whole message.
        delta = choice.get("delta") or choice.get("message")
        events = self._delta(delta) if isinstance(delta, dict) else []
        if reason := choice.get("finish_reason"):
            if reason == "error":
                raise self._fail(choice.get("error") or {"message": "the model failed"})
            known = _STOPS.get(_text(reason))
            if self._stop is None or self._stop[0] is not StopReason.REFUSAL:
                self._stop = (known or StopReason.END_TURN, None if known else _text(reason))
        return events

    def _delta(self, delta: dict[str, Any]) -> list[ModelEvent]:
        events: list[ModelEvent] = []
        for field in _THINKING_FIELDS:
            if isinstance(text := delta.get(field), str) and text:
                events += self._say("thinking", text)
                break
        content = delta.get("content")
        if isinstance(content, str):
            if content:
                events += self._say("text", content)
        elif isinstance(content, list):
            for part in content:
                events += self._part(part)
        if isinstance(refusal := delta.get("refusal"), str) and refusal:
            events += self._say("text", refusal)
            self._stop = (StopReason.REFUSAL, None)
        if isinstance(calls := delta.get("tool_calls"), list):
            for place, call in enumerate(calls):
                if isinstance(call, dict):
                    events += self._call(call, place)
        if isinstance(legacy := delta.get("function_call"), dict):
            events += self._call({"index": "legacy", "function": legacy}, 0)
        if isinstance(annotations := delta.get("annotations"), list):
            events += self._annotate(annotations)
        return events

    def _part(self, part: Any) -> list[ModelEvent]:
        """Read a part of Mistral's list content: text, or thinking that holds text."""
        if not isinstance(part, dict):
            return []
        if part.get("type") == "thinking":
            inner = part.get("thinking")
            texts = (
                [_text(p.get("text")) for p in inner if isinstance(p, dict)]
                if isinstance(inner, list)
                else [_text(inner)]
            )
            return self._say("thinking", "".join(texts)) if any(texts) else []
        text = _text(part.get("text"))
        return self._say("text", text) if text else []

    def _say(self, kind: str, text: str) -> list[ModelEvent]:
        if self._current is not None and self._current[0] == kind:
            index = self._current[1]
            begun: list[ModelEvent] = []
        else:
            begun = self._seal_current()
            index = self._new_block()
            self._current = (kind, index)
            begun.append(BlockStarted(index, kind))
        delta: ModelEvent = TextDelta(index, text) if kind == "text" else ThinkingDelta(index, text)
        return [*begun, delta]

    def _call(self, call: dict[str, Any], place: int) -> list[ModelEvent]:
        function = _dict(call.get("function"))
        key = self._key_of(call, place)
        events: list[ModelEvent] = []
        if key not in self._calls:
            events += self._seal_current()
            index = self._calls[key] = self._new_block()
            name = _text(function.get("name"))
            events.append(BlockStarted(index, "tool_call", id=_text(call.get("id")), name=name))
        self._last_call = key
        index = self._calls[key]
        arguments = function.get("arguments")
        if isinstance(arguments, dict):  # Ollama sends the object itself
            arguments = dumps(arguments).decode()
        if isinstance(arguments, str) and arguments:
            events.append(ToolInputDelta(index, arguments))
        return events

    def _key_of(self, call: dict[str, Any], place: int) -> Any:
        """Say which call a fragment belongs to.

        A new id under a used index is a new call: Gemini's compatible interface and some
        versions of vLLM number all of them 0.
        """
        index, id_ = call.get("index"), _text(call.get("id"))
        if index is None:
            if id_:
                return ("id", id_)
            return self._last_call if self._last_call is not None else ("place", place)
        key = ("index", index if isinstance(index, (int, str)) else 0)
        if id_:
            known = self._ids.setdefault(key, id_)
            if known != id_:
                return ("id", id_)
        elif isinstance(self._last_call, tuple) and self._last_call[0] == "id":
            # Fragments without an id continue the newest call of that index.
            return self._last_call
        return key

    def _annotate(self, annotations: list[Any]) -> list[ModelEvent]:
        events: list[ModelEvent] = []
        for raw in annotations:
            cited = _dict(_dict(raw).get("url_citation"))
            if url := _text(cited.get("url")):
                events += self._cite(
                    Citation(
                        url=url,
                        title=_text(cited.get("title")) or None,
                        quote=_text(cited.get("content")) or None,
                        start=_offset(cited.get("start_index")),
                        end=_offset(cited.get("end_index")),
                        raw=raw,
                    )
                )
        return events

    def _cite_urls(self, urls: Any) -> list[ModelEvent]:
        """Read the list of sources that Perplexity and xAI repeat in every chunk."""
        events: list[ModelEvent] = []
        for url in urls if isinstance(urls, list) else []:
            if isinstance(url, str) and url not in self._cited and self._current:
                self._cited.add(url)
                events += self._cite(Citation(url=url, raw={"url": url}))
        return events

    def _cite(self, citation: Citation) -> list[ModelEvent]:
        if self._current is None or self._current[0] != "text":
            return []
        return [CitationAdded(self._current[1], citation)]

    def _new_block(self) -> int:
        self._blocks += 1
        return self._blocks - 1

    def _seal_current(self) -> list[ModelEvent]:
        if self._current is None:
            return []
        index = self._current[1]
        self._current = None
        return [BlockSealed(index)]

    def _seal_calls(self) -> list[ModelEvent]:
        return [BlockSealed(index) for index in self._calls.values()]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _offset(value: Any) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def _count(value: Any) -> int:
    # A count that is negative or absurd must never lower what was spent.
    return value if isinstance(value, int) and value > 0 else 0


def _usage(usage: dict[str, Any]) -> Usage:
    prompt = _dict(usage.get("prompt_tokens_details"))
    completion = _dict(usage.get("completion_tokens_details"))
    cached = prompt.get("cached_tokens", usage.get("prompt_cache_hit_tokens"))  # or DeepSeek's
    return Usage(
        input_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=_count(usage.get("completion_tokens")),
        cache_read_tokens=_count(cached),
        cache_write_tokens=_count(prompt.get("cache_write_tokens")),
        reasoning_tokens=_count(completion.get("reasoning_tokens")),
        stated_cost=_money(usage.get("cost")),  # OpenRouter states it
        raw=dict(usage),
    )


def _money(value: Any) -> Decimal | None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and amount >= 0 else None

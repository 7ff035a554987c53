"""Anthropic's Messages format. No networking here.

Source: https://docs.anthropic.com/en/api/messages and .../build-with-claude/streaming, as of
2026-11, and the types of the official SDK, anthropic 2.11.

What is easily got wrong, and is right here: the counts in ``message_delta`` are cumulative, so they
replace those of ``message_start``; ``input_tokens`` leaves out what was cached, so the parts are
added up; the limit on output must be larger than the budget for thinking; an ``error`` event may
come inside a reply that began well.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from alloy_nb.errors import ConfigError
from alloy_nb.messages import (
    Block,
    Document,
    Image,
    Message,
    Opaque,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from alloy_nb.providers.anthropic_decoder import AnthropicDecoder
from alloy_nb.providers.base import ModelOptions, ModelRequest, ToolSpec
from alloy_nb.providers.handoff import Rules
from alloy_nb.providers.lenient import string
from alloy_nb.providers.media import left_out
from alloy_nb.providers.tool_schemas import plain_schema, strict_schema, vendor_callers
from alloy_nb.providers.vendor import VendorProvider
from alloy_nb.providers.wire_json import dumps, loads

__all__ = ["Anthropic"]

# The interface demands a limit. This one is the largest that every model since Claude 3.5 takes.
DEFAULT_MAX_OUTPUT = 8192
# Tokens of thinking for each word of effort; 1,024 is the least that the interface takes.
BUDGETS: Mapping[str, int] = {"low": 2_048, "medium": 8_192, "high": 24_576, "max": 49_152}

_LEAST = 1_024
_ADAPTIVE = (4, 6)
_NO_BUDGET = (4, 7)
_NAME = re.compile(r"claude-(?:[a-z]+-)?(?P<major>\d+)(?:[-.](?P<minor>\d+))?")
_DATE = 6  # digits: what follows a version may be a date
_WEB_SEARCH = "web_search_20250305"
_CODE_EXECUTION = "code_execution_20250825"
_CALLERS: Mapping[str, str] = {"human": "direct", "code_execution": _CODE_EXECUTION}
_BETA = "anthropic-beta"
_CODE_EXECUTION_BETA = "code-execution-2025-08-25"

_RULES = Rules(vendor="anthropic", call_id=re.compile(r"[a-zA-Z0-9_-]{1,64}"))


class Anthropic(VendorProvider):
    """A Claude model, or any model behind a server that speaks the Messages format.

    Example:
        >>> Anthropic("claude-sonnet-4-6", base_url="http://127.0.0.1:8080").base_url
        'http://127.0.0.1:8080'
    """

    name: ClassVar[str] = "anthropic"
    key_variable: ClassVar[str | None] = "ANTHROPIC_API_KEY"
    base_url_variable: ClassVar[str | None] = "ANTHROPIC_BASE_URL"
    default_base_url: ClassVar[str] = "https://api.anthropic.com"
    path: ClassVar[str] = "/v1/messages"
    version: ClassVar[str] = "2023-06-01"
    takes: ClassVar[frozenset[str]] = frozenset(
        {"web_search", "code_execution", "built_in_tools", "thinking_budget"}
    )

    def headers(self, key: str | None, options: ModelOptions) -> dict[str, str]:
        """Return Anthropic's headers; the flags of all betas go into one."""
        headers = {"anthropic-version": self.version}
        if key:
            headers["x-api-key"] = key
        given = [
            flag
            for name, value in self.extra_headers.items()
            if name.lower() == _BETA
            for flag in value.split(",")
        ]
        betas = [*given, *([_CODE_EXECUTION_BETA] if options.code_execution else [])]
        flags = dict.fromkeys(flag.strip() for flag in betas if flag.strip())
        if flags:
            headers[_BETA] = ",".join(flags)
        return headers

    def rules(self) -> Rules:
        """Return the rules of Anthropic's histories."""
        return replace(_RULES, host=self.host)

    def fields(self, request: ModelRequest) -> dict[str, Any]:
        """Return the body without its messages."""
        options = request.options.over(self.options)
        thinking = self._thinking(options)
        mark = _cache_mark(options)
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": _max_tokens(options, thinking),
            "stream": True,
        }
        if request.system and request.system.strip():
            block = {"type": "text", "text": request.system}
            body["system"] = [{**block, "cache_control": mark}] if mark else request.system
        own = _functions(request, options, claude=_NAME.search(self.model) is not None)
        if tools := [*own, *_vendor_tools(options)]:
            if mark:
                tools[-1] = {**tools[-1], "cache_control": mark}
            body["tools"] = tools
            if options.tool_choice or options.parallel_tool_calls is not None:
                body["tool_choice"] = _tool_choice(options)
                _check_forced(body["tool_choice"], thinking)
        body.update(thinking)
        if options.temperature is not None:
            _check_temperature(options.temperature, thinking)
            body["temperature"] = options.temperature
        if options.stop:
            body["stop_sequences"] = list(options.stop)
        return body

    def finish(self, messages: list[bytes], options: ModelOptions) -> list[bytes]:
        """Mark the end of the history, so that the next request finds all of it in the cache."""
        mark = _cache_mark(options)
        if mark is None or not messages:
            return messages
        last = loads(messages[-1])
        for block in reversed(last["content"]):
            if block["type"] not in ("thinking", "redacted_thinking"):
                block["cache_control"] = mark
                return [*messages[:-1], dumps(last)]
        return messages

    def _thinking(self, options: ModelOptions) -> dict[str, Any]:
        """Return how much to think, in the form that this model takes.

        Since Claude 4.6 a model decides itself, told an effort; from 4.7 on it refuses a budget.
        """
        version = _version(self.model)
        if options.thinking_budget is not None:
            if version >= _NO_BUDGET:
                raise ConfigError(
                    f"{self.model} takes an effort (low, medium, high, max) instead of a number "
                    "of tokens to think."
                )
            return {"thinking": {"type": "enabled", "budget_tokens": _budget(options)}}
        if options.effort is None:
            return {}
        if version >= _ADAPTIVE:
            if options.effort == "off":
                return {"thinking": {"type": "disabled"}}
            return {
                "thinking": {"type": "adaptive", "display": "summarized"},
                "output_config": {"effort": options.effort},
            }
        if options.effort == "off":
            return {}
        return {"thinking": {"type": "enabled", "budget_tokens": _budget(options)}}

    def encode_message(self, message: Message) -> list[dict[str, Any]]:
        """Return one message as Anthropic takes it."""
        return [{"role": message.role, "content": [_encode(block) for block in message.content]}]

    def decoder(self) -> AnthropicDecoder:
        """Return a decoder for one reply."""
        return AnthropicDecoder(self.stream_error)


def _version(model: str) -> tuple[int, int]:
    """Return a Claude model's version from its name, and (0, 0) for any other model.

    Names have been ``claude-3-5-sonnet-DATE`` and ``claude-sonnet-4-6``.
    """
    found = _NAME.search(model)
    if found is None:
        return (0, 0)
    major, minor = found["major"], found["minor"]
    return (int(major), int(minor) if minor and len(minor) < _DATE else 0)


def _budget(options: ModelOptions) -> int:
    """Return the tokens to think with, below a limit on output that was asked for."""
    limit = options.max_output_tokens
    if options.thinking_budget is not None:
        budget = options.thinking_budget
        if budget < _LEAST:
            raise ConfigError(f"A budget to think of {budget} is below the least, {_LEAST}.")
        if limit is not None and budget >= limit:
            raise ConfigError(
                f"max_output_tokens={limit} includes thinking, so it must be larger than the "
                f"budget to think, {budget}."
            )
        return budget
    budget = BUDGETS[str(options.effort)]
    if limit is None:
        return budget
    if limit <= _LEAST:
        raise ConfigError(
            f"max_output_tokens={limit} leaves no room to think: raise it above {_LEAST}, or turn "
            "thinking off."
        )
    return min(budget, max(_LEAST, limit - _LEAST), limit - 1)


def _max_tokens(options: ModelOptions, thinking: Mapping[str, Any]) -> int:
    if options.max_output_tokens is not None:
        return options.max_output_tokens
    config = thinking.get("thinking", {})
    if config.get("type") == "adaptive":
        return DEFAULT_MAX_OUTPUT + BUDGETS[str(options.effort)]
    return DEFAULT_MAX_OUTPUT + int(config.get("budget_tokens", 0))


def _cache_mark(options: ModelOptions) -> dict[str, Any] | None:
    match options.cache:
        case None | False:
            return None
        case True | "5m":
            return {"type": "ephemeral"}
        case "1h":
            return {"type": "ephemeral", "ttl": "1h"}
    raise ConfigError(f'cache={options.cache!r}: use True, "5m" or "1h".')


def _functions(
    request: ModelRequest, options: ModelOptions, *, claude: bool
) -> list[dict[str, Any]]:
    # Another model behind this format knows none of Anthropic's own tools.
    natives = [tool.native.get("anthropic") if claude else None for tool in request.tools]
    return [_function(t, n, options) for t, n in zip(request.tools, natives, strict=True)]


# The fields past the schema need no flag of a beta any more: they are in the SDK's plain types
# (anthropic 2.11, ``ToolParam``, and .../tool-use/tool-reference, read 2026-11-21).
def _function(
    tool: ToolSpec, native: Mapping[str, Any] | None, options: ModelOptions
) -> dict[str, Any]:
    if native is not None:
        body = dict(native)
    else:
        strict = tool.strict is True
        schema = strict_schema(tool, all_required=False) if strict else plain_schema(tool)
        body = {"name": tool.name, "description": tool.description, "input_schema": schema}
    if tool.strict is not None:
        body["strict"] = tool.strict
    if callers := vendor_callers(tool, "anthropic", _CALLERS):
        if _CODE_EXECUTION in callers and not options.code_execution:
            raise ConfigError(
                f"{tool.name} may be called by code_execution, which is off: add "
                "code_execution=True."
            )
        body["allowed_callers"] = callers
    if tool.input_examples:
        body["input_examples"] = [dict(example) for example in tool.input_examples]
    if tool.defer_loading is not None:
        body["defer_loading"] = tool.defer_loading
    return body


def _vendor_tools(options: ModelOptions) -> list[dict[str, Any]]:
    """Return the tools that Anthropic runs itself; they go behind our own."""
    tools: list[dict[str, Any]] = []
    if options.web_search:
        settings = options.web_search if isinstance(options.web_search, Mapping) else {}
        tools.append({"type": _WEB_SEARCH, "name": "web_search", **settings})
    if options.code_execution:
        tools.append({"type": _CODE_EXECUTION, "name": "code_execution"})
    return [*tools, *(dict(tool) for tool in options.built_in_tools)]


def _check_forced(choice: Mapping[str, Any], thinking: Mapping[str, Any]) -> None:
    """Refuse what the interface refuses: a call that is forced, while the model is to think."""
    if _thinks(thinking) and choice["type"] in ("any", "tool"):
        raise ConfigError(
            "A model that thinks cannot be forced to call a tool: leave tool_choice= out, or turn "
            "thinking off."
        )


def _check_temperature(temperature: float, thinking: Mapping[str, Any]) -> None:
    """Refuse what the interface refuses: any temperature but its own, while the model is to think.

    Source: .../build-with-claude/extended-thinking#feature-compatibility, read 2026-11-21.
    """
    if _thinks(thinking) and temperature != 1:
        raise ConfigError(
            f"A model that thinks takes no temperature: leave temperature={temperature:g} out, or "
            "turn thinking off."
        )


def _thinks(thinking: Mapping[str, Any]) -> bool:
    return thinking.get("thinking", {}).get("type") in ("enabled", "adaptive")


def _tool_choice(options: ModelOptions) -> dict[str, Any]:
    choice = options.tool_choice or "auto"
    named = choice not in ("auto", "any", "none")
    chosen: dict[str, Any] = {"type": "tool", "name": choice} if named else {"type": choice}
    if options.parallel_tool_calls is not None and choice != "none":
        chosen["disable_parallel_tool_use"] = not options.parallel_tool_calls
    return chosen


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
        case Document() if instead := left_out(block):
            return {"type": "text", "text": instead}
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
    allowed = _CITATION_FIELDS.get(string(citation.get("type")))
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
    if isinstance(block, Document) and block.media_type.startswith("text/"):
        text = base64.b64decode(block.data or "").decode("utf-8", "replace")
        return {"type": "text", "media_type": "text/plain", "data": text}
    return {"type": "base64", "media_type": block.media_type, "data": block.data or ""}

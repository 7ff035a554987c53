"""Gemini's format, ``streamGenerateContent``. No networking here.

Source: https://ai.google.dev/api/generate-content, .../docs/thinking and
.../docs/thought-signatures, and the types of the official SDK, google-genai 3.4, read 2026-11.

What is easily got wrong, and is right here: a signature belongs to the part that it came with, also
to a text; roles must alternate; a result is matched by name where the model sent no id; the schema
goes under ``parametersJsonSchema``, which takes all of JSON Schema.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
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
from alloy_nb.providers.base import ModelOptions, ModelRequest
from alloy_nb.providers.gemini_decoder import MADE_UP, GeminiDecoder
from alloy_nb.providers.handoff import Rules
from alloy_nb.providers.vendor import VendorProvider
from alloy_nb.providers.wire_json import loads

__all__ = ["Gemini"]

# Gemini 2.5 takes a number of tokens; later models take a level, and refuse both together.
_BUDGETS: Mapping[str, int] = {
    "off": 0,
    "low": 2_048,
    "medium": 8_192,
    "high": 24_576,
    "max": 24_576,
}
_LEVELS: Mapping[str, str] = {
    "off": "minimal",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "max": "high",
}
_TAKES_BUDGET = re.compile(r"gemini-(1|2)\b|gemini-2\.")


class Gemini(VendorProvider):
    """A Gemini model.

    Example:
        >>> Gemini("models/gemini-2.5-pro").model
        'gemini-2.5-pro'
    """

    name: ClassVar[str] = "gemini"
    key_variable: ClassVar[str | None] = "GEMINI_API_KEY"
    default_base_url: ClassVar[str] = "https://generativelanguage.googleapis.com"
    history_field: ClassVar[str] = "contents"
    api_version: ClassVar[str] = "v1beta"
    takes: ClassVar[frozenset[str]] = frozenset(
        {"web_search", "code_execution", "built_in_tools", "thinking_budget"}
    )

    def __init__(self, model: str, **settings: Any) -> None:
        super().__init__(model.removeprefix("models/"), **settings)
        self.base_url = self.base_url.removesuffix(f"/{self.api_version}")
        if not re.fullmatch(r"[\w.:-]+(/[\w.:-]+)*", self.model):
            raise ConfigError(f"{model!r} cannot be the name of a Gemini model.")

    @property
    def needs_key(self) -> bool:
        """Google needs a key; a server of one's own may not."""
        return self.base_url == self.default_base_url

    @property
    def url(self) -> str:
        """The address holds the model, and never the key."""
        where = f"{self.base_url}/{self.api_version}/models/{self.model}"
        return f"{where}:streamGenerateContent?alt=sse"

    def headers(self, key: str | None, options: ModelOptions) -> dict[str, str]:  # noqa: ARG002  # for wires
        """Return the key's header; as a part of the address it would end up in logs."""
        return {"x-goog-api-key": key} if key else {}

    def rules(self) -> Rules:
        """Return the rules of Gemini's histories."""
        return Rules(
            vendor=self.name, call_id=re.compile(r"[\w.:-]{1,64}"), paired_server_tools=False
        )

    def fields(self, request: ModelRequest) -> dict[str, Any]:
        """Return the body without its history."""
        options = request.options.over(self.options)
        body: dict[str, Any] = {}
        if request.system:
            body["systemInstruction"] = {"parts": [{"text": request.system}]}
        if config := self._config(options):
            body["generationConfig"] = config
        tools = [*_functions(request), *_vendor_tools(options)]
        if tools:
            body["tools"] = tools
        if request.tools and options.tool_choice:
            body["toolConfig"] = {"functionCallingConfig": _tool_choice(options.tool_choice)}
        return body

    def encode_message(self, message: Message) -> list[dict[str, Any]]:
        """Return one message as a content."""
        role = "model" if message.role == "assistant" else "user"
        parts = [part for block in message.content for part in _encode(block)]
        return [{"role": role, "parts": parts or [{"text": "(no answer)"}]}]

    def decoder(self) -> GeminiDecoder:
        """Return a decoder for one reply."""
        return GeminiDecoder(self.stream_error, vendor=self.name)

    def _config(self, options: ModelOptions) -> dict[str, Any]:
        config: dict[str, Any] = {}
        if options.max_output_tokens is not None:
            config["maxOutputTokens"] = options.max_output_tokens
        if options.temperature is not None:
            config["temperature"] = options.temperature
        if options.stop:
            config["stopSequences"] = list(options.stop)
        if thinking := self._thinking(options):
            config["thinkingConfig"] = thinking
        return config

    def _thinking(self, options: ModelOptions) -> dict[str, Any]:
        """Return how much to think; thoughts come back only where they are asked for."""
        if options.effort is None and options.thinking_budget is None:
            return {}
        budgeted = _TAKES_BUDGET.match(self.model) is not None
        if options.thinking_budget is not None:
            if not budgeted:
                raise ConfigError(
                    f"{self.model} takes an effort (low, medium, high) instead of a number of "
                    "tokens to think."
                )
            return {"includeThoughts": True, "thinkingBudget": options.thinking_budget}
        effort = str(options.effort)
        shown = effort != "off"
        if budgeted:
            return {"includeThoughts": shown, "thinkingBudget": _BUDGETS[effort]}
        return {"includeThoughts": shown, "thinkingLevel": _LEVELS[effort]}


# --- encoding -----------------------------------------------------------------------------------


def _functions(request: ModelRequest) -> list[dict[str, Any]]:
    if not request.tools:
        return []
    declared = [
        {
            "name": tool.name,
            "description": tool.description,
            "parametersJsonSchema": dict(tool.input_schema),
        }
        for tool in request.tools
    ]
    return [{"functionDeclarations": declared}]


def _vendor_tools(options: ModelOptions) -> list[dict[str, Any]]:
    tools: list[dict[str, Any]] = []
    if options.web_search:
        settings = options.web_search if isinstance(options.web_search, Mapping) else {}
        tools.append({"googleSearch": dict(settings)})
    if options.code_execution:
        tools.append({"codeExecution": {}})
    return [*tools, *(dict(tool) for tool in options.built_in_tools)]


def _tool_choice(choice: str) -> dict[str, Any]:
    match choice:
        case "auto" | "any" | "none":
            return {"mode": choice.upper()}
    return {"mode": "ANY", "allowedFunctionNames": [choice]}


def _encode(block: Block) -> list[dict[str, Any]]:
    match block:
        case Text():
            return [_signed({"text": block.text}, block.replay)]
        case Thinking():
            # A thought itself is not sent back; its signature is, with what followed it.
            return []
        case ToolCall():
            call: dict[str, Any] = {"name": block.name, "args": block.input}
            if not block.id.startswith(MADE_UP):
                call["id"] = block.id
            return [_signed({"functionCall": call}, block.replay)]
        case ToolResult():
            return _encode_result(block)
        case Image():
            return [_media(block)]
        case Document():
            return [_media(block)]
        case Opaque():
            return [dict(block.raw)]


def _signed(part: dict[str, Any], replay: Mapping[str, Any] | None) -> dict[str, Any]:
    if replay and isinstance(replay.get("thoughtSignature"), str):
        part["thoughtSignature"] = replay["thoughtSignature"]
    return part


def _encode_result(result: ToolResult) -> list[dict[str, Any]]:
    answer: dict[str, Any] = {"name": result.name or "tool", "response": _payload(result)}
    if not result.call_id.startswith(MADE_UP):
        answer["id"] = result.call_id
    pictures = [_media(part) for part in result.content if not isinstance(part, Text)]
    return [{"functionResponse": answer}, *pictures]


def _payload(result: ToolResult) -> dict[str, Any]:
    """Return a result as the object that the format wants: JSON as it is, text under a name."""
    if result.is_error:
        return {"error": result.text}
    try:
        value = loads(result.text)
    except ValueError:
        return {"content": result.text}
    return value if isinstance(value, dict) else {"result": value}


def _media(block: Image | Document) -> dict[str, Any]:
    if block.url:
        return {"fileData": {"mimeType": block.media_type, "fileUri": block.url}}
    return {"inlineData": {"mimeType": block.media_type, "data": block.data or ""}}

"""Gemini's format, ``streamGenerateContent``. No networking here.

Source: https://ai.google.dev/api/generate-content, .../gemini-api/docs/thinking,
.../docs/thought-signatures and .../docs/tool-combination, and the types of the official SDK,
google-genai 3.4, read 2026-11-21.

What is easily got wrong, and is right here: a signature belongs to exactly the part that it came
with, also to a text, a thought or an empty text, and parts with one are joined with nothing;
all results come before anything else, in one content; roles must alternate; a result is matched by
name where the model sent no id; the schema goes under ``parametersJsonSchema``, which takes all of
JSON Schema.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
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
from alloy_nb.providers.gemini_decoder import MADE_UP, GeminiDecoder, signed_parts
from alloy_nb.providers.handoff import Rules
from alloy_nb.providers.lenient import mapping
from alloy_nb.providers.tool_schemas import gemini_schema, vendor_callers
from alloy_nb.providers.vendor import VendorProvider
from alloy_nb.providers.wire_json import dumps, loads, parse_arguments

__all__ = ["Gemini"]

# Gemini 2.5 takes a number of tokens; later models take a level, and refuse both together.
_BUDGETS: Mapping[str, int] = {
    "off": 0,
    "low": 2_048,
    "medium": 8_192,
    "high": 24_576,
    "max": 24_576,  # the most that all of them take
}
_LEVELS: Mapping[str, str] = {
    "off": "minimal",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "max": "high",
}
_OLD = re.compile(r"gemini-[12]\b")  # all that do not take a level
_NO_THINKING = re.compile(r"gemini-1\b|gemini-2\.0|gemma")
_ALWAYS_THINKS = re.compile(r"gemini-(2\.5|3(\.\d+)?)-pro")
# Later models refuse a step whose first call has no signature. This one, from the questions at the
# end of .../docs/thought-signatures, stands for calls that another model made.
_FOREIGN_SIGNATURE = "skip_thought_signature_validator"


class Gemini(VendorProvider):
    """A Gemini model.

    Example:
        >>> Gemini("models/gemini-2.5-pro").model
        'gemini-2.5-pro'
    """

    name: ClassVar[str] = "gemini"
    key_variable: ClassVar[str | None] = "GEMINI_API_KEY"
    base_url_variable: ClassVar[str | None] = "GOOGLE_GEMINI_BASE_URL"
    default_base_url: ClassVar[str] = "https://generativelanguage.googleapis.com"
    history_field: ClassVar[str] = "contents"
    api_version: ClassVar[str] = "v1beta"
    takes: ClassVar[frozenset[str]] = frozenset(
        {"web_search", "code_execution", "built_in_tools", "thinking_budget"}
    )

    def __init__(self, model: str, **settings: Any) -> None:
        super().__init__(model.removeprefix("models/"), **settings)
        self.base_url = self.base_url.removesuffix(f"/{self.api_version}")
        if not re.fullmatch(r"\w[\w.:-]*(/\w[\w.:-]*)*", self.model):
            raise ConfigError(f"{model!r} cannot be the name of a Gemini model.")

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
            vendor=self.name,
            host=self.host,
            call_id=re.compile(r"[\w.:-]{1,64}"),
            drawn=True,
            paired_server_tools=False,
        )

    def fields(self, request: ModelRequest) -> dict[str, Any]:
        """Return the body without its history."""
        options = request.options.over(self.options)
        if options.parallel_tool_calls is False:
            raise ConfigError("gemini has no parallel_tool_calls: leave parallel_tool_calls= out.")
        body: dict[str, Any] = {}
        if request.system:
            body["systemInstruction"] = {"parts": [{"text": request.system}]}
        if config := self._config(options):
            body["generationConfig"] = config
        own, theirs = _functions(request), _vendor_tools(options)
        if own or theirs:
            body["tools"] = [*own, *theirs]
        choice: dict[str, Any] = {}
        if own and options.tool_choice:
            choice["functionCallingConfig"] = _tool_choice(options.tool_choice)
        if own and theirs:
            if _OLD.match(self.model):
                named = "web_search" if options.web_search else "code_execution or built_in_tools"
                raise ConfigError(
                    f"{self.model} cannot use {named} and tools of yours in one request: leave "
                    "one of them out, or choose a Gemini 3 model."
                )
            # Without it the two cannot be used together.
            choice["includeServerSideToolInvocations"] = True
        if choice:
            body["toolConfig"] = choice
        return body

    def encode_message(self, message: Message) -> list[dict[str, Any]]:
        """Return one message as a content."""
        if message.role == "assistant":
            parts = _encode_answer(message.content)
            if not _OLD.match(self.model):
                _sign_first_call(parts)
            return [{"role": "model", "parts": parts or [{"text": "(no answer)"}]}]
        results = [block for block in message.content if isinstance(block, ToolResult)]
        parts = [_encode_result(result) for result in results]
        parts += [_media(p) for r in results for p in r.content if not isinstance(p, Text)]
        for block in message.content:
            if not isinstance(block, ToolResult):
                parts += _encode(block)
        return [{"role": "user", "parts": parts or [{"text": "(no message)"}]}]

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
        if options.thinking_budget is not None:
            return self._budget(options.thinking_budget)
        effort = options.effort
        if effort is None:
            return {}
        if _NO_THINKING.match(self.model):
            if effort == "off":
                return {}
            raise ConfigError(f"{self.model} cannot think: leave effort={effort!r} out.")
        if effort == "off" and _ALWAYS_THINKS.match(self.model):
            raise ConfigError(f"{self.model} always thinks: use effort='low' instead of 'off'.")
        shown = effort != "off"
        if _OLD.match(self.model):
            return {"includeThoughts": shown, "thinkingBudget": _BUDGETS[effort]}
        return {"includeThoughts": shown, "thinkingLevel": _LEVELS[effort]}

    def _budget(self, budget: int) -> dict[str, Any]:
        if _NO_THINKING.match(self.model):
            raise ConfigError(f"{self.model} cannot think: leave thinking_budget= out.")
        if not _OLD.match(self.model):
            raise ConfigError(
                f"{self.model} takes an effort (low, medium, high) instead of thinking_budget=, a "
                "number of tokens."
            )
        if budget < -1 or (budget == 0 and _ALWAYS_THINKS.match(self.model)):
            raise ConfigError(
                f"thinking_budget={budget} cannot be: give a positive number of tokens, or -1 to "
                f"let {self.model} decide."
            )
        return {"includeThoughts": budget != 0, "thinkingBudget": budget}


# --- encoding -----------------------------------------------------------------------------------


def _functions(request: ModelRequest) -> list[dict[str, Any]]:
    if not request.tools:
        return []
    for tool in request.tools:
        vendor_callers(tool, "gemini")
    # Nothing here holds one tool to its schema, and examples have no field: both are left out.
    declared = [
        {
            "name": tool.name,
            "description": tool.description,
            "parametersJsonSchema": gemini_schema(tool),
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


def _encode_answer(blocks: Sequence[Block]) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    for number, block in enumerate(blocks):
        follows = blocks[number + 1] if number + 1 < len(blocks) else None
        if isinstance(block, Image) and _is_same_picture(block, follows):
            continue  # the signed part itself goes back
        parts += _encode(block)
    return parts


def _is_same_picture(picture: Image, block: Block | None) -> bool:
    if not isinstance(block, Opaque):
        return False
    return (
        picture.data is not None
        and mapping(block.raw.get("inlineData")).get("data") == picture.data
    )


def _sign_first_call(parts: list[dict[str, Any]]) -> None:
    call = next((part for part in parts if "functionCall" in part), None)
    if call is not None and "thoughtSignature" not in call:
        call["thoughtSignature"] = _FOREIGN_SIGNATURE


def _encode(block: Block) -> list[dict[str, Any]]:
    match block:
        case Text():
            return [
                _signed({"text": text}, signature)
                for text, signature in signed_parts(block.text, block.replay)
            ]
        case Thinking():
            parts = signed_parts(block.text, block.replay)
            if not any(signature for _, signature in parts):
                return []  # means nothing to the vendor
            return [_signed({"text": text, "thought": True}, signed) for text, signed in parts]
        case ToolCall():
            call: dict[str, Any] = {"name": block.name, "args": block.input}
            if not block.id.startswith(MADE_UP):
                call["id"] = block.id
            signature = (block.replay or {}).get("thoughtSignature")
            return [_signed({"functionCall": call}, signature)]
        case ToolResult():
            return [_encode_result(block)]
        case Image() | Document():
            return [_media(block)]
        case Opaque():
            return [dict(block.raw)]


def _signed(part: dict[str, Any], signature: Any) -> dict[str, Any]:
    return {**part, "thoughtSignature": signature} if isinstance(signature, str) else part


def _encode_result(result: ToolResult) -> dict[str, Any]:
    answer: dict[str, Any] = {"name": result.name or "tool", "response": _payload(result)}
    if not result.call_id.startswith(MADE_UP):
        answer["id"] = result.call_id
    return {"functionResponse": answer}


def _payload(result: ToolResult) -> dict[str, Any]:
    """Return a result as the object that the format wants: JSON as it is, text under a name.

    Text is JSON here only where nothing is lost by it: ``3.10`` may be a version, and infinities
    are no JSON.
    """
    text = result.text
    if result.is_error:
        return {"error": text}
    plain = {"content": text}
    try:
        value = loads(text)
    except ValueError:
        return plain
    if isinstance(value, float) and dumps(value).decode() != text.strip():
        return plain
    parsed, invalid = parse_arguments(text if isinstance(value, dict) else f'{{"result": {text}}}')
    return plain if invalid is not None else parsed


def _media(block: Image | Document) -> dict[str, Any]:
    if block.url:
        return {"fileData": {"mimeType": block.media_type, "fileUri": block.url}}
    return {"inlineData": {"mimeType": block.media_type, "data": block.data or ""}}

"""The chat-completions format, which most servers speak. No networking here.

Source: https://platform.openai.com/docs/api-reference/chat, as of 2026-11, the types of the
official SDK, openai 3.52, and what the servers named at each quirk send in fact. Differences
between vendors are data (`Quirks`), never guesses from an address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from alloy_nb.errors import ConfigError
from alloy_nb.messages import (
    Block,
    Document,
    Image,
    Message,
    Text,
    ToolResult,
)
from alloy_nb.providers.base import ModelRequest, ToolSpec
from alloy_nb.providers.chat_decoder import ChatDecoder
from alloy_nb.providers.handoff import Rules
from alloy_nb.providers.media import left_out
from alloy_nb.providers.tool_schemas import plain_schema, strict_schema, vendor_callers
from alloy_nb.providers.vendor import VendorProvider
from alloy_nb.providers.wire_json import dumps

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
        effort: The field for how much to think, or ``None`` where there is none. ``off`` is sent
            as ``none``, so that a server which cannot turn thinking off says so.
        think_tags: Whether thinking may stand in the text, between tags. Models of one's own write
            it so where their server does not take it apart.
    """

    output_limit: str = "max_tokens"
    usage_on_request: bool = True
    echo_reasoning: str | None = None
    call_id: str = r"[a-zA-Z0-9_-]{1,64}"
    call_id_length: int = 24
    effort: str | None = "reasoning_effort"
    think_tags: bool = False


# ``none`` is in OpenAI's own types (openai 3.52, ``ReasoningEffort``, read 2026-11-21).
_EFFORTS: Mapping[str, str] = {
    "off": "none",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "max": "high",
}


# Read for a server of one's own, where it is set; most need none.
KEY_VARIABLE = "OPENAI_COMPAT_API_KEY"


class OpenAICompat(VendorProvider):
    """A model behind any server that speaks chat completions.

    Args:
        model: The model's id.
        base_url: The server's address, with or without ``/v1``. It is required.
        api_key: Its key; else ``OPENAI_COMPAT_API_KEY``. Without one, no ``Authorization`` header
            is sent.
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
        self.key_variable = key_variable or (None if name else KEY_VARIABLE)  # type: ignore[misc]
        self._wants_key = key_variable is not None
        self.path = path  # type: ignore[misc]
        self.quirks = quirks or Quirks()

    @property
    def needs_key(self) -> bool:
        """A preset knows whether its server wants a key; any other server may."""
        return self._wants_key

    def rules(self) -> Rules:
        """Return the rules of this server's histories."""
        return Rules(
            vendor=self.name,
            host=self.host,
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
        if options.parallel_tool_calls is not None and request.tools:
            body["parallel_tool_calls"] = options.parallel_tool_calls
        if options.stop:
            body["stop"] = list(options.stop)
        if options.effort in _EFFORTS:
            if self.quirks.effort is None:
                raise ConfigError(
                    f"{self.name} cannot be told how much to think: leave the effort out, or "
                    "choose a model that thinks."
                )
            body[self.quirks.effort] = _EFFORTS[str(options.effort)]
        if request.tools:
            body["tools"] = [
                {"type": "function", "function": _function(tool, self.name)}
                for tool in request.tools
            ]
            if options.tool_choice:
                body["tool_choice"] = _tool_choice(options.tool_choice)
        return body

    def first_messages(self, request: ModelRequest) -> list[dict[str, Any]]:
        """Return the system prompt as the first message."""
        if not request.system or not request.system.strip():
            return []
        return [{"role": "system", "content": request.system}]

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
        return ChatDecoder(self.stream_error, think_tags=self.quirks.think_tags)

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
                **(call.replay or {}),
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


def _function(tool: ToolSpec, vendor: str) -> dict[str, Any]:
    vendor_callers(tool, vendor)  # code at these servers calls no tools
    strict = tool.strict is True
    schema = strict_schema(tool, all_required=True) if strict else plain_schema(tool)
    function = {"name": tool.name, "description": tool.description, "parameters": schema}
    return function if tool.strict is None else {**function, "strict": tool.strict}


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
        case Document() if instead := left_out(block):
            return {"type": "text", "text": instead}
        case Document() if block.data:
            data = f"data:{block.media_type};base64,{block.data}"
            file = {"filename": block.title or "document", "file_data": data}
            return {"type": "file", "file": file}
        case Document():
            return {"type": "text", "text": f"[document: {block.title or ''} {block.url or ''}]"}
    return {"type": "text", "text": f"[{block.type}]"}

"""The Responses format of OpenAI, which others speak too. No networking here.

Source: the types of the official SDK, openai 3.52 (``openai.types.responses``), read 2026-11, and
https://platform.openai.com/docs/guides/conversation-state for what may be sent back.

Two ways to go on with a conversation. *Stateless*, the default: the whole history is sent, nothing
is stored at the vendor, and reasoning goes back encrypted. *Stored* (``store=True``): the vendor
keeps each reply, and only what is newer than the last one is sent, with its id.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

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
from alloy_nb.providers.handoff import Rules
from alloy_nb.providers.responses_decoder import ResponsesDecoder
from alloy_nb.providers.vendor import VendorProvider
from alloy_nb.providers.wire_json import dumps

__all__ = ["OpenAI"]

_EFFORTS: Mapping[str, str] = {
    "off": "none",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "max": "xhigh",
}
_ENCRYPTED = "reasoning.encrypted_content"


class OpenAI(VendorProvider):
    """A model of OpenAI, or of any server that speaks the Responses format.

    Example:
        >>> OpenAI("gpt-5.4").path
        '/v1/responses'
    """

    name: ClassVar[str] = "openai"
    key_variable: ClassVar[str | None] = "OPENAI_API_KEY"
    default_base_url: ClassVar[str] = "https://api.openai.com"
    path: ClassVar[str] = "/v1/responses"
    history_field: ClassVar[str] = "input"
    takes: ClassVar[frozenset[str]] = frozenset(
        {
            "web_search",
            "code_execution",
            "built_in_tools",
            "store",
            "include",
            "previous_response_id",
        }
    )

    @property
    def needs_key(self) -> bool:
        """The vendor itself needs a key; a server of one's own may not."""
        return self.base_url == self.default_base_url

    def rules(self) -> Rules:
        """Return the rules of this vendor's histories."""
        return Rules(
            vendor=self.name,
            call_id=re.compile(r"[a-zA-Z0-9_-]{1,64}"),
            paired_server_tools=False,
        )

    def fields(self, request: ModelRequest) -> dict[str, Any]:
        """Return the body without its history."""
        options = request.options.over(self.options)
        body: dict[str, Any] = {"model": self.model, "stream": True}
        if request.system:
            # Unlike a first message, instructions are not part of what the vendor stores.
            body["instructions"] = request.system
        if options.max_output_tokens is not None:
            body["max_output_tokens"] = options.max_output_tokens
        if options.temperature is not None:
            body["temperature"] = options.temperature
        if options.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = options.parallel_tool_calls
        if reasoning := self.reasoning(options):
            body["reasoning"] = reasoning
        if tools := [*_functions(request), *self.vendor_tools(options)]:
            body["tools"] = tools
            if options.tool_choice:
                body["tool_choice"] = _tool_choice(options.tool_choice)
        body["store"] = bool(options.store)
        if previous := self.previous_response(request):
            body["previous_response_id"] = previous
        include = list(options.include)
        if not options.store and not previous and _ENCRYPTED not in include:
            include.append(_ENCRYPTED)
        if include:
            body["include"] = include
        return body

    def reasoning(self, options: ModelOptions) -> dict[str, Any]:
        """Return how much to think; a summary is asked for where thinking is."""
        if options.effort is None:
            return {}
        reasoning = {"effort": _EFFORTS[options.effort]}
        if options.effort != "off":
            reasoning["summary"] = "auto"
        return reasoning

    def vendor_tools(self, options: ModelOptions) -> list[dict[str, Any]]:
        """Return the tools that the vendor runs itself."""
        tools: list[dict[str, Any]] = []
        if options.web_search:
            tools.append(_search("web_search", options.web_search))
        if options.code_execution:
            tools.append({"type": "code_interpreter", "container": {"type": "auto"}})
        return [*tools, *(dict(tool) for tool in options.built_in_tools)]

    def previous_response(self, request: ModelRequest) -> str | None:
        """Return the id of the stored reply that this request goes on from.

        Only a reply that is the newest in the history counts: after another model has answered,
        or the history was edited, what the vendor stores is another conversation.
        """
        options = request.options.over(self.options)
        if options.previous_response_id:
            return options.previous_response_id
        id_ = (request.state or {}).get("response_id")
        if not options.store or not isinstance(id_, str):
            return None
        newest = next((m for m in reversed(request.messages) if m.role == "assistant"), None)
        origin = newest.origin if newest is not None else None
        same = origin is not None and (origin.provider, origin.response_id) == (self.name, id_)
        return id_ if same else None

    def sends_newer_only(self, request: ModelRequest) -> bool:
        """Return whether the history up to the newest reply is at the vendor already."""
        options = request.options.over(self.options)
        return not options.previous_response_id and self.previous_response(request) is not None

    def encode_message(self, message: Message) -> list[dict[str, Any]]:
        """Return one message as items: in this format calls and results are no messages."""
        if message.role == "assistant":
            return _encode_assistant(message)
        results = [_encode_result(b) for b in message.content if isinstance(b, ToolResult)]
        said = [b for b in message.content if not isinstance(b, ToolResult)]
        if not said:
            return results
        return [*results, {"role": "user", "content": [_encode_part(block) for block in said]}]

    def decoder(self) -> ResponsesDecoder:
        """Return a decoder for one reply."""
        return ResponsesDecoder(self.stream_error, vendor=self.name)


# --- encoding -----------------------------------------------------------------------------------


def _functions(request: ModelRequest) -> list[dict[str, Any]]:
    return [
        {
            "type": "function",
            "name": tool.name,
            "description": tool.description,
            "parameters": dict(tool.input_schema),
            # The format's default is strict, which refuses schemas with optional parameters.
            "strict": False,
        }
        for tool in request.tools
    ]


def _tool_choice(choice: str) -> Any:
    match choice:
        case "auto" | "none":
            return choice
        case "any":
            return "required"
    return {"type": "function", "name": choice}


def _search(kind: str, settings: bool | Mapping[str, Any]) -> dict[str, Any]:
    """Return a search tool; lists of domains go under ``filters``, as OpenAI documents them."""
    if settings is True:
        return {"type": kind}
    tool = dict(settings) if isinstance(settings, Mapping) else {}
    filters = dict(tool.pop("filters", {}))
    for name in ("allowed_domains", "blocked_domains"):
        if name in tool:
            filters[name] = tool.pop(name)
    if filters:
        tool["filters"] = filters
    return {**tool, "type": kind}


def _encode_assistant(message: Message) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    for block in message.content:
        match block:
            case Text():
                items.append({"role": "assistant", "content": block.text})
            case Thinking():
                items.extend(_encode_reasoning(block))
            case ToolCall(server=True):
                items.append(dict(block.replay or {}))
            case ToolCall():
                items.append(
                    {
                        "type": "function_call",
                        "call_id": block.id,
                        "name": block.name,
                        "arguments": dumps(block.input).decode(),
                    }
                )
            case Opaque():
                items.append(dict(block.raw))
            case _:
                pass  # a picture that the vendor drew is not sent back
    return items


def _encode_reasoning(block: Thinking) -> list[dict[str, Any]]:
    """Return reasoning as it came; what is neither encrypted nor stored cannot be sent back."""
    raw = block.replay or {}
    if not raw.get("encrypted_content"):
        return []
    kept = ("id", "summary", "type", "content", "encrypted_content")
    return [{k: raw[k] for k in kept if raw.get(k) is not None}]


def _encode_result(result: ToolResult) -> dict[str, Any]:
    output: Any
    if all(isinstance(part, Text) for part in result.content):
        # The format has no flag for a failure, so the words must say it.
        output = (f"Error: {result.text}" if result.is_error else result.text) or "(no output)"
    else:
        output = [_encode_part(part) for part in result.content]
    return {"type": "function_call_output", "call_id": result.call_id, "output": output}


def _encode_part(block: Block) -> dict[str, Any]:
    match block:
        case Text():
            return {"type": "input_text", "text": block.text}
        case Image():
            url = block.url or f"data:{block.media_type};base64,{block.data or ''}"
            return {"type": "input_image", "image_url": url, "detail": "auto"}
        case Document() if block.url:
            return {"type": "input_file", "file_url": block.url}
        case Document():
            data = f"data:{block.media_type};base64,{block.data or ''}"
            return {
                "type": "input_file",
                "filename": block.title or "document",
                "file_data": data,
            }
    return {"type": "input_text", "text": f"[{block.type}]"}

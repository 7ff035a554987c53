"""The Responses format of OpenAI, which others speak too. No networking here.

Source: the types of the official SDK, openai 3.52 (``openai.types.responses``), read 2026-11; they
also say what goes back: reasoning with its encrypted form as ``output_item.done`` gave it, the
``phase`` of a message, the items of tools that the vendor ran.

Two ways to go on with a conversation. *Stateless*, the default: the whole history is sent, nothing
is stored at the vendor, and reasoning goes back encrypted. *Stored* (``store=True``): the vendor
keeps each reply, and only what is newer than the last one is sent, with its id.
"""

from __future__ import annotations

import hashlib
import mimetypes
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from operator import is_
from typing import TYPE_CHECKING, Any, ClassVar

from alloy_nb.errors import BadRequest, ConfigError, ProviderError, StateLost
from alloy_nb.events import ModelEvent
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
from alloy_nb.providers.base import ModelOptions, ModelRequest, ToolSpec
from alloy_nb.providers.handoff import Rules
from alloy_nb.providers.lenient import string
from alloy_nb.providers.media import left_out
from alloy_nb.providers.responses_decoder import ResponsesDecoder
from alloy_nb.providers.tool_schemas import plain_schema, strict_schema, vendor_callers
from alloy_nb.providers.vendor import VendorProvider
from alloy_nb.providers.wire_json import dumps

if TYPE_CHECKING:
    from alloy_nb.providers.http import Failure

__all__ = ["OpenAI"]

_EFFORTS: Mapping[str, str] = {
    "off": "none",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "max": "xhigh",
}
_ENCRYPTED = "reasoning.encrypted_content"
# Calls that are ours to answer, of tools in the vendor's own words; unanswered ones are refused.
_AWAITING = frozenset(
    {"custom_tool_call", "computer_call", "local_shell_call", "shell_call", "apply_patch_call"}
)
# Where a conversation's memory holds what was sent last.
_SENT = "responses: sent"
# Servers other than OpenAI say only in words that the reply to go on from is gone.
_GONE = re.compile(r"previous.response\b.*not found|response with id\b.*not found", re.I)


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent last, to whom, with which system prompt, going on from which stored reply."""

    to: tuple[str, str, str]
    messages: list[Message]
    system: str | None
    previous: str | None


class OpenAI(VendorProvider):
    """A model of OpenAI, or of any server that speaks the Responses format.

    Example:
        >>> OpenAI("gpt-5.4").path
        '/v1/responses'
    """

    name: ClassVar[str] = "openai"
    key_variable: ClassVar[str | None] = "OPENAI_API_KEY"
    base_url_variable: ClassVar[str | None] = "OPENAI_BASE_URL"
    default_base_url: ClassVar[str] = "https://api.openai.com"
    path: ClassVar[str] = "/v1/responses"
    history_field: ClassVar[str] = "input"
    code_tool: ClassVar[Mapping[str, Any]] = {
        "type": "code_interpreter",
        "container": {"type": "auto"},
    }
    exclude_field: ClassVar[str] = "blocked_domains"
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

    def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """Send the request and yield its events (the contract is in `providers.base`)."""
        events = super().stream(request)
        previous = self.previous_response(request)
        request.memory[_SENT] = Sent(
            self._memory_key, list(request.messages), request.system, previous
        )
        return events

    def rules(self) -> Rules:
        """Return the rules of this vendor's histories."""
        return Rules(
            vendor=self.name,
            host=self.host,
            call_id=re.compile(r"[a-zA-Z0-9_-]{1,64}"),
            paired_server_tools=False,
            drawn=True,
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
        if tools := [*map(_function, request.tools), *self.vendor_tools(options)]:
            body["tools"] = tools
            if options.tool_choice:
                body["tool_choice"] = _tool_choice(options.tool_choice, tools)
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
            tools.append(self.search(options.web_search))
        if options.code_execution:
            tools.append(dict(self.code_tool))
        return [*tools, *(dict(tool) for tool in options.built_in_tools)]

    def search(self, settings: bool | Mapping[str, Any]) -> dict[str, Any]:
        """Return the search of the web; lists of domains go under ``filters``, however given."""
        tool = dict(settings) if isinstance(settings, Mapping) else {}
        filters = dict(tool.pop("filters", None) or {})
        for name in ("allowed_domains", "blocked_domains", "excluded_domains"):
            given = tool.pop(name, None) or filters.pop(name, None)
            if given:
                filters[name if name == "allowed_domains" else self.exclude_field] = given
        if filters:
            tool["filters"] = filters
        return {**tool, "type": "web_search"}

    def previous_response(self, request: ModelRequest) -> str | None:
        """Return the id of the stored reply that this request goes on from.

        Only the newest reply of the history counts, and only with the history that it answered:
        after another model has spoken, or an edit, the vendor stores another conversation.
        """
        options = request.options.over(self.options)
        if options.previous_response_id:
            return options.previous_response_id
        id_ = (request.state or {}).get("response_id")
        if not options.store or not isinstance(id_, str) or not _asks(request.messages):
            return None
        place = _newest_reply(request.messages)
        origin = request.messages[place].origin if place is not None else None
        if place is None or origin is None:
            return None
        if (origin.provider, origin.model, origin.response_id) != (self.name, self.model, id_):
            return None
        if origin.host not in (None, self.host):
            return None
        last = request.memory.get(_SENT)
        if last is None:
            return id_  # a conversation that was kept elsewhere
        return id_ if self.goes_on(last, request, place, id_) else None

    def goes_on(self, last: Sent, request: ModelRequest, reply: int, id_: str) -> bool:
        """Return whether what was sent last is what the newest reply, at `reply`, answered."""
        if last.to != self._memory_key:
            return False
        newly = len(last.messages) == reply
        again = len(last.messages) > reply and last.previous == id_  # that request failed
        unchanged = all(map(is_, last.messages[: reply + 1], request.messages))
        return (newly or again) and unchanged

    def sends_newer_only(self, request: ModelRequest) -> bool:
        """Return whether the history up to the newest reply is at the vendor already."""
        options = request.options.over(self.options)
        return not options.previous_response_id and self.previous_response(request) is not None

    def encode_message(self, message: Message) -> list[dict[str, Any]]:
        """Return one message as items: in this format calls and results are no messages."""
        if message.role == "assistant":
            return _encode_assistant(message, whole=self.base_url != self.default_base_url)
        results = [_encode_result(b) for b in message.content if isinstance(b, ToolResult)]
        said = [b for b in message.content if not isinstance(b, ToolResult)]
        if not said:
            return results
        return [*results, {"role": "user", "content": [_encode_part(block) for block in said]}]

    def decoder(self) -> ResponsesDecoder:
        """Return a decoder for one reply."""
        return ResponsesDecoder(self.stream_error, vendor=self.name)

    def error(self, failure: Failure) -> ProviderError:
        """Name the error of a reply that is no stream of events."""
        made = super().error(failure)
        if type(made) is BadRequest and _GONE.search(str(made)):
            return StateLost(
                str(made),
                provider=made.provider,
                model=made.model,
                status=made.status,
                request_id=made.request_id,
            )
        return made

    def check(self, options: ModelOptions) -> None:
        """Refuse what this vendor cannot do, instead of leaving it out silently."""
        super().check(options)
        if options.stop:
            raise ConfigError(f"{self.name} cannot stop at texts: leave stop= out.")


def _newest_reply(messages: Sequence[Message]) -> int | None:
    places = reversed(range(len(messages)))
    return next((place for place in places if messages[place].role == "assistant"), None)


def _asks(messages: Sequence[Message]) -> bool:
    """Tell whether there is anything newer than the newest reply: a request cannot be empty."""
    return bool(messages) and messages[-1].role == "user"


# --- encoding -----------------------------------------------------------------------------------


_CALLERS: Mapping[str, str] = {"human": "direct", "code_execution": "programmatic"}


def _function(tool: ToolSpec) -> dict[str, Any]:
    strict = tool.strict is True
    function: dict[str, Any] = {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": strict_schema(tool, all_required=True) if strict else plain_schema(tool),
        # The format's default is strict, which refuses schemas with optional parameters.
        "strict": strict,
    }
    if callers := vendor_callers(tool, "openai", _CALLERS):
        function["allowed_callers"] = callers
    if tool.defer_loading is not None:
        function["defer_loading"] = tool.defer_loading
    return function


def _tool_choice(choice: str, tools: list[dict[str, Any]]) -> Any:
    match choice:
        case "auto" | "none":
            return choice
        case "any":
            return "required"
    if any(tool.get("type") == choice for tool in tools):
        return {"type": choice}  # a tool of the vendor goes by its kind
    return {"type": "function", "name": choice}


def _encode_assistant(message: Message, *, whole: bool) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    answered = {
        string(block.raw.get("call_id"))
        for block in message.content
        if isinstance(block, Opaque)
        if string(block.raw.get("type")).endswith("_output")
    }
    for block in message.content:
        match block:
            case Text():
                said = _whole_text(block, message, len(items)) if whole else _text(block)
                items.append({"role": "assistant", **said, **_phase(block)})
            case Thinking():
                items.extend(_encode_reasoning(block))
            case ToolCall(server=True):
                items.extend([dict(block.replay)] if block.replay else [])
            case ToolCall():
                items.append(
                    {
                        "type": "function_call",
                        "call_id": block.id,
                        "name": block.name,
                        "arguments": dumps(block.input).decode(),
                    }
                )
            case Image() if items and _lacks_picture(items[-1]):
                items[-1]["result"] = block.data  # it was kept as a block of its own
            case Opaque(raw=raw):
                kind, id_ = string(raw.get("type")), string(raw.get("call_id"))
                waits = kind in _AWAITING and id_ not in answered
                items.extend([dict(raw)] if kind and not waits else [])
            case _:
                pass  # no item of this format says that an assistant showed it
    for item in filter(_lacks_picture, items):
        item["result"] = None
    return items


def _lacks_picture(item: dict[str, Any]) -> bool:
    return item.get("type") == "image_generation_call" and "result" not in item


def _text(block: Text) -> dict[str, Any]:
    # Without an id, which would tie the text to the reasoning that was stored before it.
    return {"content": block.text}


def _whole_text(block: Text, message: Message, place: int) -> dict[str, Any]:
    """Return a text as an item that was an output: other servers know no shorter form.

    llama.cpp refuses it otherwise; that the id and the status belong to it is the SDK's word.
    """
    reply = message.origin.response_id if message.origin else None
    digest = hashlib.sha256(f"{reply}.{place}.{block.text}".encode("utf-8", "replace"))
    return {
        "type": "message",
        "id": f"msg_{digest.hexdigest()[:24]}",
        "status": "completed",
        "content": [{"type": "output_text", "text": block.text, "annotations": []}],
    }


def _phase(block: Text) -> dict[str, Any]:
    phase = (block.replay or {}).get("phase")
    return {"phase": phase} if phase in ("commentary", "final_answer") else {}


def _encode_reasoning(block: Thinking) -> list[dict[str, Any]]:
    """Return reasoning as it came; what is neither encrypted nor stored cannot be sent back."""
    raw = block.replay or {}
    if not raw.get("encrypted_content"):
        return []
    kept = ("id", "summary", "type", "content", "encrypted_content")
    return [{"summary": [], **{k: raw[k] for k in kept if raw.get(k) is not None}}]


def _encode_result(result: ToolResult) -> dict[str, Any]:
    output: Any
    if all(isinstance(part, Text) for part in result.content):
        # The format has no flag for a failure, so the words must say it.
        output = (f"Error: {result.text}" if result.is_error else result.text) or "(no output)"
    else:
        output = [_encode_part(part) for part in result.content]
        if result.is_error:
            output.insert(0, {"type": "input_text", "text": "Error:"})
    return {"type": "function_call_output", "call_id": result.call_id, "output": output}


def _encode_part(block: Block) -> dict[str, Any]:
    match block:
        case Text():
            return {"type": "input_text", "text": block.text}
        case Image():
            url = block.url or f"data:{block.media_type};base64,{block.data or ''}"
            return {"type": "input_image", "image_url": url, "detail": "auto"}
        case Document() if instead := left_out(block):
            return {"type": "input_text", "text": instead}
        case Document() if block.url:
            return {"type": "input_file", "file_url": block.url}
        case Document():
            data = f"data:{block.media_type};base64,{block.data or ''}"
            return {
                "type": "input_file",
                "filename": _filename(block),
                "file_data": data,
            }
    return {"type": "input_text", "text": f"[{block.type}]"}


def _filename(document: Document) -> str:
    """Return a name whose ending says what the document is; the vendor goes by it."""
    name = document.title or "document"
    ending = mimetypes.guess_extension(document.media_type) or ""
    return name if "." in name or not ending else name + ending

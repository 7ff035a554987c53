"""A reply in the Responses format, decoded. No networking here.

What is asked in this format is in `responses`. Source: the types of the official SDK, openai 3.52
(``openai.types.responses``, generated from OpenAI's OpenAPI document), read 2026-11.

The format names everything twice: as deltas, and whole in the ``.done`` events and the last
``response``. Deltas are what is shown; the whole forms fill in what no delta brought.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

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
from alloy_nb.messages import Citation, Image, Opaque, StopReason, ToolCall
from alloy_nb.providers.lenient import count, items, mapping, offset, string
from alloy_nb.providers.wire_json import parse_arguments
from alloy_nb.usage import Usage

__all__ = ["ResponsesDecoder"]

_INCOMPLETE: Mapping[str, StopReason] = {
    "max_output_tokens": StopReason.MAX_TOKENS,
    "content_filter": StopReason.REFUSAL,
}
# Items that are a tool which the vendor ran: what of them is its input, for the reader.
_SERVER_INPUT: Mapping[str, tuple[str, ...]] = {
    "web_search_call": ("action",),
    "x_search_call": ("action", "query"),
    "file_search_call": ("queries",),
    "code_interpreter_call": ("code",),
    "mcp_call": ("server_label", "name", "arguments"),
    "computer_call": ("action",),
}


class ResponsesDecoder:
    """Decodes one reply. Blocks are numbered in the order in which they begin.

    A block is found again by its item's ``output_index`` (or its id), and by the ``content_index``
    of the part within a message.
    """

    def __init__(self, fail: Callable[[Any], ProviderError], *, vendor: str) -> None:
        self.ended = False
        self._fail = fail
        self._vendor = vendor
        self._blocks = 0
        self._open: dict[tuple[Any, Any], int] = {}
        self._items: dict[Any, str] = {}  # output_index -> type
        self._spoken: set[int] = set()  # blocks of which a delta came
        self._sealed: set[Any] = set()  # output_index of whole items
        self._names: set[str] = set()  # their ids
        self._cited: set[tuple[Any, ...]] = set()
        self._last_text: int | None = None
        self._refused = False
        self._called = False
        self._summary_parts: dict[int, Any] = {}

    def feed(self, name: str | None, data: dict[str, Any]) -> list[ModelEvent]:
        """Return what one event means; unknown events mean nothing."""
        kind = data.get("type") or name
        if kind == "response.output_text.delta":
            return self._text(data, data.get("delta"))
        handler = _HANDLERS.get(str(kind))
        return handler(self, data) if handler is not None else []

    def close(self) -> list[ModelEvent]:
        """Return nothing: a reply without its last ``response`` is not whole."""
        return []

    # --- the beginning and the end --------------------------------------------------------------

    def _created(self, data: dict[str, Any]) -> list[ModelEvent]:
        response = mapping(data.get("response"))
        return [
            ReplyStarted(string(response.get("id")) or None, string(response.get("model")) or None)
        ]

    def _completed(self, data: dict[str, Any]) -> list[ModelEvent]:
        response = mapping(data.get("response"))
        if response.get("status") == "failed":
            return self._failed(data)
        events: list[ModelEvent] = []
        for index, item in enumerate(items(response.get("output"))):
            if isinstance(item, dict) and not self._is_known(index, item):
                events += self._item_done({"output_index": index, "item": item})
        events += [BlockSealed(block) for block in self._open.values()]
        self._open.clear()
        events += self._listed(items(response.get("citations")))
        if isinstance(usage := response.get("usage"), dict):
            events.append(UsageReported(_usage(usage)))
        self.ended = True
        reason, detail = self._reason(response)
        state = {"response_id": response["id"]} if isinstance(response.get("id"), str) else None
        return [*events, Stopped(reason, detail, state)]

    def _is_known(self, index: int, item: dict[str, Any]) -> bool:
        """Tell whether an item of the last event has come before; some servers number anew."""
        names = {string(item.get("id")), string(item.get("call_id"))} - {""}
        return index in self._sealed or bool(names & self._names)

    def _reason(self, response: dict[str, Any]) -> tuple[StopReason, str | None]:
        why = string(mapping(response.get("incomplete_details")).get("reason"))
        if why or response.get("status") == "incomplete":
            return _INCOMPLETE.get(why, StopReason.MAX_TOKENS), why or None
        if self._called:
            return StopReason.TOOL_USE, None
        if self._refused:
            return StopReason.REFUSAL, None
        return StopReason.END_TURN, None

    def _failed(self, data: dict[str, Any]) -> list[ModelEvent]:
        error = mapping(data.get("response")).get("error") or data.get("error") or data
        raise self._fail(error)

    # --- items ----------------------------------------------------------------------------------

    def _item_added(self, data: dict[str, Any]) -> list[ModelEvent]:
        item, index = mapping(data.get("item")), _where(data)
        kind = string(item.get("type"))
        self._items[index] = kind
        match kind:
            case "message":
                return []  # its parts are blocks of their own
            case "reasoning":
                return [BlockStarted(self._begin(index), "thinking")]
            case "function_call":
                self._called = True
                block = self._begin(index)
                return [_call_started(block, item)]
        if kind in _SERVER_INPUT:
            block = self._begin(index)
            name = kind.removesuffix("_call")
            return [BlockStarted(block, "tool_call", string(item.get("id")), name, server=True)]
        return [BlockStarted(self._begin(index), "opaque", name=kind)]

    def _item_done(self, data: dict[str, Any]) -> list[ModelEvent]:
        item, index = mapping(data.get("item")), _where(data)
        if index in self._sealed:
            return []
        self._sealed.add(index)
        self._names |= {string(item.get("id")), string(item.get("call_id"))} - {""}
        events: list[ModelEvent] = []
        if index not in self._items:
            events += self._item_added({"item": item, "output_index": index})
        if item.get("type") == "message":
            return [*events, *self._message_done(index, item)]
        block = self._open.pop((index, None), None)
        if block is None:
            return events
        return [*events, *self._sealed_item(block, item)]

    def _sealed_item(self, block: int, item: dict[str, Any]) -> list[ModelEvent]:
        kind = string(item.get("type"))
        match kind:
            case "reasoning":
                spoken = [] if block in self._spoken else _whole_thinking(block, item)
                return [*spoken, BlockSealed(block, replay=dict(item))]
            case "function_call":
                arguments = string(item.get("arguments"))
                missing = bool(arguments) and block not in self._spoken
                whole: list[ModelEvent] = [ToolInputDelta(block, arguments)] if missing else []
                return [*whole, BlockSealed(block)]
            case "image_generation_call" if string(item.get("result")):
                form = string(item.get("output_format")) or "png"
                picture = Image(media_type=f"image/{form}", data=string(item.get("result")))
                return [BlockSealed(block, block=picture)]
        if kind in _SERVER_INPUT:
            return [BlockSealed(block, block=_server_call(kind, item))]
        return [BlockSealed(block, block=Opaque(vendor=self._vendor, raw=dict(item)))]

    def _message_done(self, index: Any, item: dict[str, Any]) -> list[ModelEvent]:
        """Seal the parts of a message, with what no delta brought of them."""
        content = item.get("content")
        parts = content if isinstance(content, list) else [{"type": "output_text", "text": content}]
        events: list[ModelEvent] = []
        for place, part in enumerate(parts):
            if not isinstance(part, dict):
                continue
            where = {"output_index": index, "content_index": place}
            events += self._part_added({**where, "part": part})
            block = self._open[index, place]
            said = string(part.get("text")) or string(part.get("refusal"))
            if said and block not in self._spoken:
                self._last_text = block
                events.append(TextDelta(block, said))
            for raw in items(part.get("annotations")):
                events += self._annotated({**where, "annotation": raw})
        for key in [key for key in self._open if key[0] == index]:
            events.append(BlockSealed(self._open.pop(key)))
        return events

    # --- parts and deltas -----------------------------------------------------------------------

    def _part_added(self, data: dict[str, Any]) -> list[ModelEvent]:
        key = (_where(data), data.get("content_index"))
        part = mapping(data.get("part"))
        if part.get("type") == "refusal":
            self._refused = True
        if key in self._open or part.get("type") == "reasoning_text":
            return []
        return [BlockStarted(self._begin(*key), "text")]

    def _text(self, data: dict[str, Any], delta: Any) -> list[ModelEvent]:
        if not isinstance(delta, str) or not delta:
            return []
        key = (_where(data), data.get("content_index"))
        block = self._open.get(key)
        begun: list[ModelEvent] = []
        if block is None:
            block = self._begin(*key)
            begun = [BlockStarted(block, "text")]
        self._spoken.add(block)
        self._last_text = block
        return [*begun, TextDelta(block, delta)]

    def _refusal(self, data: dict[str, Any]) -> list[ModelEvent]:
        self._refused = True
        return self._text(data, data.get("delta"))

    def _thinking(self, data: dict[str, Any]) -> list[ModelEvent]:
        delta = data.get("delta")
        if not isinstance(delta, str) or not delta:
            return []
        events: list[ModelEvent] = []
        key = (_where(data), None)
        if key not in self._open:
            events.append(BlockStarted(self._begin(_where(data)), "thinking"))
            self._items.setdefault(_where(data), "reasoning")
        block = self._open[key]
        part = data.get("summary_index", data.get("content_index"))
        if block in self._spoken and self._summary_parts.get(block) != part:
            events.append(ThinkingDelta(block, "\n\n"))  # a summary comes in paragraphs
        self._summary_parts[block] = part
        self._spoken.add(block)
        return [*events, ThinkingDelta(block, delta)]

    def _arguments(self, data: dict[str, Any]) -> list[ModelEvent]:
        block = self._open.get((_where(data), None))
        delta = data.get("delta")
        if block is None or not isinstance(delta, str) or not delta:
            return []
        self._spoken.add(block)
        return [ToolInputDelta(block, delta)]

    def _annotated(self, data: dict[str, Any]) -> list[ModelEvent]:
        raw = mapping(data.get("annotation"))
        block = self._open.get((_where(data), data.get("content_index")))
        citation = _citation(raw)
        if block is None or citation is None:
            return []
        mark = (block, citation.url, citation.title, citation.start, citation.end)
        if mark in self._cited:
            return []
        self._cited.add(mark)
        return [CitationAdded(block, citation)]

    def _listed(self, urls: list[Any]) -> list[ModelEvent]:
        """Read xAI's list of sources, which anchors to the whole answer."""
        if self._last_text is None:
            return []
        known = {mark[1] for mark in self._cited}
        return [
            CitationAdded(self._last_text, Citation(url=url, raw={"url": url}))
            for url in urls
            if isinstance(url, str) and url not in known
        ]

    def _begin(self, output_index: Any, content_index: Any = None) -> int:
        block = self._blocks
        self._blocks += 1
        self._open[output_index, content_index] = block
        return block


_Handler = Callable[[ResponsesDecoder, dict[str, Any]], list[ModelEvent]]
_HANDLERS: Mapping[str, _Handler] = {
    "response.created": ResponsesDecoder._created,
    "response.output_item.added": ResponsesDecoder._item_added,
    "response.output_item.done": ResponsesDecoder._item_done,
    "response.content_part.added": ResponsesDecoder._part_added,
    "response.refusal.delta": ResponsesDecoder._refusal,
    "response.reasoning_summary_text.delta": ResponsesDecoder._thinking,
    "response.reasoning_text.delta": ResponsesDecoder._thinking,
    "response.function_call_arguments.delta": ResponsesDecoder._arguments,
    "response.output_text.annotation.added": ResponsesDecoder._annotated,
    "response.completed": ResponsesDecoder._completed,
    "response.incomplete": ResponsesDecoder._completed,
    "response.failed": ResponsesDecoder._failed,
    "error": ResponsesDecoder._failed,
}


def _where(data: dict[str, Any]) -> Any:
    """Return what tells an item apart: its index, or its id where a server leaves the index out."""
    index = data.get("output_index")
    if isinstance(index, (int, str)):
        return index
    return string(data.get("item_id")) or string(mapping(data.get("item")).get("id"))


def _call_started(block: int, item: dict[str, Any]) -> BlockStarted:
    id_ = string(item.get("call_id")) or string(item.get("id"))
    return BlockStarted(block, "tool_call", id_, string(item.get("name")))


def _server_call(kind: str, item: dict[str, Any]) -> ToolCall:
    shown = {name: item[name] for name in _SERVER_INPUT[kind] if item.get(name) is not None}
    arguments, invalid = parse_arguments(string(shown.get("arguments")))
    if arguments and invalid is None:
        shown["arguments"] = arguments
    return ToolCall(
        id=string(item.get("id")),
        name=kind.removesuffix("_call"),
        input=shown,
        server=True,
        replay=dict(item),
    )


def _whole_thinking(block: int, item: dict[str, Any]) -> list[ModelEvent]:
    parts = items(item.get("summary")) or items(item.get("content"))
    texts = [string(mapping(part).get("text")) for part in parts]
    said = "\n\n".join(text for text in texts if text)
    return [ThinkingDelta(block, said)] if said else []


def _citation(raw: dict[str, Any]) -> Citation | None:
    start, end = offset(raw.get("start_index")), offset(raw.get("end_index"))
    match raw.get("type"):
        case "url_citation":
            url = string(raw.get("url")) or None
            return Citation(
                url=url, title=string(raw.get("title")) or None, start=start, end=end, raw=raw
            )
        case "file_citation" | "container_file_citation" | "file_path":
            title = string(raw.get("filename")) or string(raw.get("file_id")) or None
            return Citation(kind="file", title=title, start=start, end=end, raw=raw)
    return None


def _usage(usage: dict[str, Any]) -> Usage:
    read = mapping(usage.get("input_tokens_details"))
    written = mapping(usage.get("output_tokens_details"))
    return Usage(
        input_tokens=count(usage.get("input_tokens")),
        output_tokens=count(usage.get("output_tokens")),
        cache_read_tokens=count(read.get("cached_tokens")),
        cache_write_tokens=count(read.get("cache_write_tokens")),
        reasoning_tokens=count(written.get("reasoning_tokens")),
        searches=count(usage.get("num_sources_used")),
        raw=dict(usage),
    )

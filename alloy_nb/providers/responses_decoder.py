"""A reply in the Responses format, decoded. No networking here.

What is asked in this format is in `responses`. Source: the types of the official SDK, openai 3.52
(``openai.types.responses``, generated from OpenAI's OpenAPI document), read 2026-11; llama.cpp's
server, whose events name an item by its id alone; and for xAI the sources named in `xai`.

The format names everything twice: as deltas, and whole in the ``.done`` events and the last
``response``. Deltas are what is shown; the whole forms fill in what no delta brought. Of a call the
whole arguments count, for what runs must be what the vendor meant.
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
from alloy_nb.providers.lenient import items, mapping, string
from alloy_nb.providers.responses_items import (
    MEDIA_TYPES,
    SERVER_KINDS,
    WHOLE,
    Item,
    Items,
    arguments_text,
    call_id,
    citation_of,
    differ,
    names_of,
    part_number,
    place_of,
    server_call,
    server_name,
    thinking_part,
    usage_of,
    whole_thinking,
)
from alloy_nb.providers.wire_json import parse_arguments

__all__ = ["ResponsesDecoder"]

_INCOMPLETE: Mapping[str, StopReason] = {
    "max_output_tokens": StopReason.MAX_TOKENS,
    "content_filter": StopReason.REFUSAL,
}


class ResponsesDecoder:
    """Decodes one reply. Blocks are numbered in the order in which they begin.

    Args:
        fail: Names an error that came as an event.
        vendor: Whose the blocks are that go back verbatim.
        server_kinds: The kinds of items that are a tool which this vendor ran.
    """

    def __init__(
        self,
        fail: Callable[[Any], ProviderError],
        *,
        vendor: str,
        server_kinds: frozenset[str] = SERVER_KINDS,
    ) -> None:
        self.ended = False
        self._fail = fail
        self._vendor = vendor
        self._server_kinds = server_kinds
        self._id: str | None = None
        self._blocks = 0
        self._items = Items()
        self._quick: dict[Any, int] = {}  # how deltas name their block -> the block
        self._cited: set[tuple[Any, ...]] = set()
        self._last_text: int | None = None
        self._refused = False
        self._called = False

    def feed(self, name: str | None, data: dict[str, Any]) -> list[ModelEvent]:
        """Return what one event means; unknown events mean nothing."""
        kind = data.get("type") or name
        if kind == "response.output_text.delta":
            return self._text(data)
        handler = _HANDLERS.get(str(kind))
        return handler(self, data) if handler is not None else []

    def close(self) -> list[ModelEvent]:
        """Return nothing: a reply without its last ``response`` is not whole."""
        return []

    # --- the beginning and the end --------------------------------------------------------------

    def _begun(self, data: dict[str, Any]) -> list[ModelEvent]:
        response = mapping(data.get("response"))
        id_ = string(response.get("id")) or None
        if self._id is not None or id_ is None:
            return []
        self._id = id_
        return [ReplyStarted(id_, string(response.get("model")) or None)]

    def _completed(self, data: dict[str, Any]) -> list[ModelEvent]:
        response = mapping(data.get("response"))
        if response.get("status") == "failed":
            return self._failed(data)
        events: list[ModelEvent] = []
        id_ = string(response.get("id")) or self._id
        if id_ != self._id:  # the last word counts: with it the conversation goes on
            events.append(ReplyStarted(id_, string(response.get("model")) or None))
        output = [item for item in items(response.get("output")) if isinstance(item, dict)]
        for item, known in self._items.matched(output):
            events += self._whole_item(known or self._items.new(item), item)
        if not self._items.all and (said := string(response.get("output_text"))):
            message = {"type": "message", "content": said}
            events += self._whole_item(self._items.new(message), message)
        for known in self._items.all:
            events += [BlockSealed(block) for block in known.blocks.values()]
        events += self._listed(items(response.get("citations")))
        if isinstance(usage := response.get("usage"), dict):
            events.append(UsageReported(usage_of(usage, mapping(response.get("tool_usage")))))
        self.ended = True
        reason, detail = self._reason(response)
        return [*events, Stopped(reason, detail, {"response_id": id_} if id_ else None)]

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
        raw, place = mapping(data.get("item")), place_of(data)
        if not raw:
            return []  # a server's placeholder for an item that it leaves out
        names = names_of(data)
        known = None
        if names or place is not None:
            known = self._items.find(data, string(raw.get("type")))
        if known is not None and not differ(names, known.names):
            return []  # it was told twice
        return self._opened(self._items.new(data, place), raw)

    def _opened(self, item: Item, raw: dict[str, Any]) -> list[ModelEvent]:
        """Begin the block of an item; the parts of a message are blocks of their own."""
        self._quick.clear()
        match item.kind:
            case "message":
                return []
            case "reasoning":
                return [BlockStarted(self._begin(item), "thinking")]
            case "function_call":
                self._called = True
                item.call = (call_id(raw), string(raw.get("name")))
                return [BlockStarted(self._begin(item), "tool_call", *item.call)]
        if item.kind in self._server_kinds:
            item.call = (string(raw.get("id")), server_name(raw))
            return [BlockStarted(self._begin(item), "tool_call", *item.call, server=True)]
        return [BlockStarted(self._begin(item), "opaque", name=item.kind)]

    def _item_done(self, data: dict[str, Any]) -> list[ModelEvent]:
        raw, place = mapping(data.get("item")), place_of(data)
        if not raw:
            return []
        known = self._items.find(data, string(raw.get("type")))
        if known is not None and known.done and differ(names_of(data), known.names):
            known = None  # another one in the place of one that is over
        return self._whole_item(known or self._items.new(data, place), raw)

    def _whole_item(self, item: Item, raw: dict[str, Any]) -> list[ModelEvent]:
        """Seal an item that is whole, with what no delta brought of it."""
        if item.done:
            return []
        self._items.remember(item, names_of(raw))
        if item.kind == "message":
            events = self._whole_message(item, raw)
        else:
            events = [] if WHOLE in item.blocks else self._opened(item, raw)
            block = item.blocks.pop(WHOLE)
            events += self._sealed(item, block, raw)
        item.done = True
        self._quick.clear()
        return events

    def _sealed(self, item: Item, block: int, raw: dict[str, Any]) -> list[ModelEvent]:
        match item.kind:
            case "reasoning":
                said = "" if item.told else whole_thinking(raw)
                spoken: list[ModelEvent] = [ThinkingDelta(block, said)] if said else []
                # Only now is the encrypted form sure to be complete.
                return [*spoken, BlockSealed(block, replay=dict(raw))]
            case "function_call":
                return self._sealed_call(item, block, raw)
            case "image_generation_call" if picture := string(raw.get("result")):
                kind = MEDIA_TYPES.get(string(raw.get("output_format")), "image/png")
                image = Image(media_type=kind, data=picture)
                drawn = self._begin(item, "picture")
                del item.blocks["picture"]
                # The call without its picture, which follows it: the wire puts it back.
                rest = {name: value for name, value in raw.items() if name != "result"}
                return [
                    BlockSealed(block, block=server_call(rest, item.call[0])),
                    BlockStarted(drawn, "image"),
                    BlockSealed(drawn, block=image),
                ]
        if item.kind in self._server_kinds:
            return [BlockSealed(block, block=server_call(raw, item.call[0]))]
        return [BlockSealed(block, block=Opaque(vendor=self._vendor, raw=dict(raw)))]

    def _sealed_call(self, item: Item, block: int, raw: dict[str, Any]) -> list[ModelEvent]:
        arguments = arguments_text(raw.get("arguments"))
        id_, name = call_id(raw) or item.call[0], string(raw.get("name")) or item.call[1]
        if not arguments and item.told:
            return [BlockSealed(block)]  # the deltas are all there is
        whole: list[ModelEvent] = []
        if arguments and not item.told:
            whole.append(ToolInputDelta(block, arguments))
        value, invalid = parse_arguments(arguments)
        call = ToolCall(id=id_, name=name, input=value, invalid=invalid)
        return [*whole, BlockSealed(block, block=call)]

    def _whole_message(self, item: Item, raw: dict[str, Any]) -> list[ModelEvent]:
        content = raw.get("content")
        events: list[ModelEvent] = []
        for place, given in enumerate(content if isinstance(content, list) else [content]):
            part = {"text": given} if isinstance(given, str) else mapping(given)
            said = string(part.get("text")) or string(part.get("refusal"))
            self._refused = self._refused or part.get("type") == "refusal"
            if said:
                events += self._whole_part(item, place, said)
            for note in items(part.get("annotations")):
                events += self._annotated_part(item, place, mapping(note))
        # Newer models tell an answer from a comment by the way, and want the word back.
        phase = string(raw.get("phase"))
        replay = {"phase": phase} if phase else None
        events += [BlockSealed(block, replay=replay) for block in item.blocks.values()]
        item.blocks.clear()
        return events

    # --- parts and deltas -----------------------------------------------------------------------

    def _part_added(self, data: dict[str, Any]) -> list[ModelEvent]:
        part = mapping(data.get("part"))
        self._refused = self._refused or part.get("type") == "refusal"
        item = self._items.find(data)
        if part.get("type") not in _TEXT_PARTS or (item is not None and item.done):
            return []
        if item is None:
            item = self._items.new(data, place_of(data), "message")
        if item.kind != "message":
            return []
        return self._text_block(item, part_number(data.get("content_index")))[1]

    def _text_block(self, item: Item, place: int) -> tuple[int, list[ModelEvent]]:
        block = item.blocks.get(place)
        if block is not None:
            return block, []
        block = self._begin(item, place)
        return block, [BlockStarted(block, "text")]

    def _text(self, data: dict[str, Any]) -> list[ModelEvent]:
        delta = data.get("delta")
        if not isinstance(delta, str) or not delta:
            return []
        where = (data.get("output_index"), data.get("item_id"), data.get("content_index"))
        try:
            return [TextDelta(self._quick[where], delta)]
        except (KeyError, TypeError):
            return self._first_text(data, delta, where)

    def _first_text(self, data: dict[str, Any], delta: str, where: Any) -> list[ModelEvent]:
        """Read the first delta of a part, or one that names its part oddly."""
        item = self._items.find(data)
        if item is None or item.kind != "message":
            item = self._items.new(data, place_of(data), "message")
        place = part_number(data.get("content_index"))
        if place in item.whole:
            return []
        block, events = self._text_block(item, place)
        item.told.add(place)
        self._last_text = block
        self._remember_block(where, block)
        return [*events, TextDelta(block, delta)]

    def _remember_block(self, where: tuple[Any, ...], block: int) -> None:
        """Let the deltas that follow find their block at once; most events are deltas."""
        if all(part is None or isinstance(part, (int, str)) for part in where):
            self._quick[where] = block

    def _refusal(self, data: dict[str, Any]) -> list[ModelEvent]:
        self._refused = True
        return self._text(data)

    def _part_done(self, data: dict[str, Any]) -> list[ModelEvent]:
        """Read a whole part of a message, for servers that send no deltas of it."""
        item = self._items.find(data, "message")
        said = string(data.get("text")) or string(data.get("refusal"))
        self._refused = self._refused or "refusal" in data
        if item is None or item.done or not said:
            return []
        return self._whole_part(item, part_number(data.get("content_index")), said)

    def _whole_part(self, item: Item, place: int, said: str) -> list[ModelEvent]:
        if place in item.told:
            return []
        item.told.add(place)
        item.whole.add(place)
        block, events = self._text_block(item, place)
        self._last_text = block
        return [*events, TextDelta(block, said)]

    def _thinking(self, data: dict[str, Any]) -> list[ModelEvent]:
        delta = data.get("delta")
        if not isinstance(delta, str) or not delta:
            return []
        where = (
            data.get("output_index"),
            data.get("item_id"),
            data.get("summary_index"),
            data.get("content_index"),
        )
        try:
            return [ThinkingDelta(self._quick[where], delta)]
        except (KeyError, TypeError):
            events = self._thought(data, delta)
        if events:
            self._remember_block(where, events[-1].index)
        return [*events]

    def _thinking_done(self, data: dict[str, Any]) -> list[ModelEvent]:
        item = self._items.find(data, "reasoning")
        if item is None or item.done or thinking_part(data) in item.told:
            return []
        said = string(data.get("text"))
        return [*self._thought(data, said)] if said else []

    def _thought(self, data: dict[str, Any], said: str) -> list[BlockStarted | ThinkingDelta]:
        events: list[BlockStarted | ThinkingDelta] = []
        item = self._items.find(data, "reasoning")
        if item is None:
            item = self._items.new(data, place_of(data), "reasoning")
        elif item.done and not item.told:
            return []  # it came whole already
        block = item.blocks.get(WHOLE)
        if block is None:
            block = self._begin(item)
            events.append(BlockStarted(block, "thinking"))
        part = thinking_part(data)
        if item.part not in (None, part):
            events.append(ThinkingDelta(block, "\n\n"))  # a summary comes in paragraphs
            self._quick.clear()
        item.part = part
        item.told.add(part)
        return [*events, ThinkingDelta(block, said)]

    def _arguments(self, data: dict[str, Any]) -> list[ModelEvent]:
        delta = data.get("delta")
        if not isinstance(delta, str) or not delta:
            return []
        where = (data.get("output_index"), data.get("item_id"))
        try:
            return [ToolInputDelta(self._quick[where], delta)]
        except (KeyError, TypeError):
            block = self._input_block(data)
        if block is None:
            return []
        self._remember_block(where, block)
        return [ToolInputDelta(block, delta)]

    def _arguments_done(self, data: dict[str, Any]) -> list[ModelEvent]:
        item = self._items.find(data)
        said = arguments_text(data.get("arguments", data.get("input")))
        if item is None or item.told or not said:
            return []
        block = self._input_block(data)
        return [] if block is None else [ToolInputDelta(block, said)]

    def _input_block(self, data: dict[str, Any]) -> int | None:
        """Return the block of a call; without a name there is none: the whole item brings both."""
        item = self._items.find(data)
        if item is None or not (item.kind == "function_call" or item.kind in self._server_kinds):
            return None
        if (block := item.blocks.get(WHOLE)) is not None:
            item.told.add(WHOLE)
        return block

    # --- sources --------------------------------------------------------------------------------

    def _annotated(self, data: dict[str, Any]) -> list[ModelEvent]:
        item = self._items.find(data, "message")
        if item is None:
            return []
        place = part_number(data.get("content_index"))
        return self._annotated_part(item, place, mapping(data.get("annotation")))

    def _annotated_part(self, item: Item, place: int, raw: dict[str, Any]) -> list[ModelEvent]:
        block = item.blocks.get(place)
        citation = citation_of(raw)
        if block is None or citation is None:
            return []
        file = string(raw.get("file_id"))
        mark = (block, citation.url, citation.title, citation.start, citation.end, file)
        if mark in self._cited:
            return []
        self._cited.add(mark)
        return [CitationAdded(block, citation)]

    def _listed(self, sources: list[Any]) -> list[ModelEvent]:
        """Read xAI's list of sources, which anchors to the whole answer."""
        if self._last_text is None:
            return []
        known = {mark[1] for mark in self._cited}
        events: list[ModelEvent] = []
        for source in sources:
            raw = {"url": source} if isinstance(source, str) else mapping(source)
            if not (url := string(raw.get("url"))) or url in known:
                continue
            known.add(url)
            title = string(raw.get("title")) or None
            events.append(CitationAdded(self._last_text, Citation(url=url, title=title, raw=raw)))
        return events

    def _begin(self, item: Item, part: Any = WHOLE) -> int:
        block = self._blocks
        self._blocks += 1
        item.blocks[part] = block
        return block


_Handler = Callable[[ResponsesDecoder, dict[str, Any]], list[ModelEvent]]
_HANDLERS: Mapping[str, _Handler] = {
    "response.created": ResponsesDecoder._begun,
    "response.queued": ResponsesDecoder._begun,
    "response.in_progress": ResponsesDecoder._begun,
    "response.output_item.added": ResponsesDecoder._item_added,
    "response.output_item.done": ResponsesDecoder._item_done,
    "response.content_part.added": ResponsesDecoder._part_added,
    "response.output_text.done": ResponsesDecoder._part_done,
    "response.refusal.delta": ResponsesDecoder._refusal,
    "response.refusal.done": ResponsesDecoder._part_done,
    "response.reasoning_summary_text.delta": ResponsesDecoder._thinking,
    "response.reasoning_summary_text.done": ResponsesDecoder._thinking_done,
    "response.reasoning_text.delta": ResponsesDecoder._thinking,
    "response.reasoning_text.done": ResponsesDecoder._thinking_done,
    "response.function_call_arguments.delta": ResponsesDecoder._arguments,
    "response.function_call_arguments.done": ResponsesDecoder._arguments_done,
    "response.mcp_call_arguments.delta": ResponsesDecoder._arguments,
    "response.custom_tool_call_input.delta": ResponsesDecoder._arguments,
    "response.output_text.annotation.added": ResponsesDecoder._annotated,
    "response.completed": ResponsesDecoder._completed,
    "response.incomplete": ResponsesDecoder._completed,
    "response.failed": ResponsesDecoder._failed,
    "error": ResponsesDecoder._failed,
}
_TEXT_PARTS = ("output_text", "refusal", "text")

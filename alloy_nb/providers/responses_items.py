"""The items of a Responses reply, and what they say: their names, calls, sources, counts.

For `responses_decoder`, where what they rest on is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from alloy_nb.messages import Citation, ToolCall
from alloy_nb.providers.lenient import count, items, mapping, offset, string, unreported
from alloy_nb.providers.wire_json import dumps, parse_arguments
from alloy_nb.usage import Usage

__all__ = [
    "MEDIA_TYPES",
    "SERVER_KINDS",
    "WHOLE",
    "Item",
    "Items",
    "arguments_text",
    "call_id",
    "citation_of",
    "differ",
    "names_of",
    "part_number",
    "place_of",
    "server_call",
    "server_name",
    "thinking_part",
    "usage_of",
    "whole_thinking",
]

SERVER_KINDS = frozenset(
    {
        "web_search_call",
        "x_search_call",
        "file_search_call",
        "code_interpreter_call",
        "mcp_call",
        "image_generation_call",
    }
)
"""Items that are a tool which the vendor ran."""
# What of such an item is its input, for the reader.
_INPUT = (
    "action",
    "query",
    "queries",
    "code",
    "server_label",
    "name",
    "arguments",
    "input",
    "revised_prompt",
)
_TICKS = Decimal(10**10)  # of a US dollar, in which xAI states what a reply cost
WHOLE = None  # the key of an item's only block; those of a message have their part's number
MEDIA_TYPES: Mapping[str, str] = {
    "webp": "image/webp",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "svg": "image/svg+xml",
}


@dataclass(slots=True, eq=False)
class Item:
    """One item of the reply's output, and how far it has come."""

    kind: str
    names: set[str] = field(default_factory=set)
    blocks: dict[Any, int] = field(default_factory=dict)  # those that are open, by their part
    told: set[Any] = field(default_factory=set)  # parts of which something was said
    whole: set[Any] = field(default_factory=set)  # parts that were said at once
    part: Any = None  # the part of the newest thinking
    call: tuple[str, str] = ("", "")
    done: bool = False


class Items:
    """The items of a reply, and which of them an event is about."""

    def __init__(self) -> None:
        self.all: list[Item] = []
        self._by_place: dict[int, Item] = {}
        self._by_name: dict[str, Item] = {}

    def _named(self, names: tuple[str, ...]) -> Item | None:
        return next((self._by_name[name] for name in names if name in self._by_name), None)

    def find(self, data: dict[str, Any], kind: str = "") -> Item | None:
        """Return the item that an event is about, by its id, its place, or as the newest.

        Args:
            data: The event.
            kind: What the item must be, where that is known.
        """
        names, place = names_of(data), place_of(data)
        found = self._named(names)
        if found is None and place is not None:
            found = self._by_place.get(place)
        if found is None and place is None and not names and self.all:
            found = self.all[-1]
        return None if found is None or (kind and found.kind != kind) else found

    def new(self, data: dict[str, Any], place: int | None = None, kind: str = "") -> Item:
        """Take note of an item, from an event about it or from its own JSON."""
        new = Item(kind or string((mapping(data.get("item")) or data).get("type")))
        self.all.append(new)
        self.remember(new, names_of(data), place)
        return new

    def remember(self, item: Item, names: tuple[str, ...], place: int | None = None) -> None:
        """Let an item be found under these names and at this place."""
        item.names.update(names)
        for name in names:
            self._by_name[name] = item
        if place is not None:
            self._by_place[place] = item

    def matched(self, output: list[dict[str, Any]]) -> list[tuple[dict[str, Any], Item | None]]:
        """Pair each item of the last event with the one that came before, if any.

        Its name goes before its place: some servers number anew, and some name anew.
        """
        known = [self._named(names_of(item)) for item in output]
        taken = {id(item) for item in known}
        for place, item in enumerate(output):
            there = self._by_place.get(place)
            if there is None and not self._by_place and place < len(self.all):
                there = self.all[place]
            same = there is not None and there.kind == string(item.get("type"))
            if known[place] is None and same and id(there) not in taken:
                known[place] = there
                taken.add(id(there))
        return list(zip(output, known, strict=True))


def names_of(data: dict[str, Any]) -> tuple[str, ...]:
    """Return the ids under which an item, or an event about one, goes."""
    item = mapping(data.get("item"))
    given = (
        data.get("item_id"),
        data.get("id"),
        data.get("call_id"),
        item.get("id"),
        item.get("call_id"),
    )
    return tuple(name for name in given if isinstance(name, str) and name)


def differ(names: tuple[str, ...], others: set[str]) -> bool:
    """Tell whether two items go by other names; without a name nobody knows."""
    return bool(names and others) and others.isdisjoint(names)


def place_of(data: dict[str, Any]) -> int | None:
    """Return the place of an item in the output, where an event tells it."""
    return offset(data.get("output_index"))


def part_number(value: Any) -> int:
    """Return the number of a part; servers that send one part only may leave it out."""
    return offset(value) or 0


def thinking_part(data: dict[str, Any]) -> tuple[str, int]:
    """Return which part of the reasoning an event is about."""
    if "summary_index" in data:
        return "summary", part_number(data["summary_index"])
    return "content", part_number(data.get("content_index"))


def call_id(raw: dict[str, Any]) -> str:
    """Return the id under which a call is answered."""
    return string(raw.get("call_id")) or string(raw.get("id"))


def arguments_text(value: Any) -> str:
    """Return arguments as text, in which some servers send an object."""
    return dumps(value).decode() if isinstance(value, dict) else string(value)


def server_name(raw: dict[str, Any]) -> str:
    """Return the name of a tool that the vendor ran."""
    kind = string(raw.get("type"))
    own = string(raw.get("name")) if kind == "custom_tool_call" else ""
    return own or kind.removesuffix("_call")


def server_call(raw: dict[str, Any], id_: str) -> ToolCall:
    """Return a call that the vendor ran itself, as it goes back."""
    shown = {name: raw[name] for name in _INPUT if raw.get(name) not in (None, "", [], {})}
    if raw.get("type") == "custom_tool_call":
        shown.pop("name", None)  # it is the call's own
    for name in ("arguments", "input"):
        arguments, invalid = parse_arguments(string(shown.get(name)))
        if arguments and invalid is None:
            shown[name] = arguments
    return ToolCall(
        id=string(raw.get("id")) or id_,
        name=server_name(raw),
        input=shown,
        server=True,
        replay=dict(raw),
    )


def whole_thinking(raw: dict[str, Any]) -> str:
    """Return the text of reasoning that came whole."""
    parts = items(raw.get("summary")) or items(raw.get("content"))
    texts = [string(mapping(part).get("text")) for part in parts]
    return "\n\n".join(text for text in texts if text)


def citation_of(raw: dict[str, Any]) -> Citation | None:
    """Return what an annotation cites, or ``None`` where it cites nothing."""
    start, end = offset(raw.get("start_index")), offset(raw.get("end_index"))
    kind = raw.get("type")
    if kind == "url_citation":
        url, title = string(raw.get("url")) or None, string(raw.get("title")) or None
        return Citation(url=url, title=title, start=start, end=end, raw=raw)
    if kind == "file_citation":
        start = end = offset(raw.get("index"))  # the place where it belongs
    elif kind not in ("container_file_citation", "file_path"):
        return None
    name = string(raw.get("filename")) or string(raw.get("file_id")) or None
    return Citation(kind="file", title=name, start=start, end=end, raw=raw)


def usage_of(usage: dict[str, Any], tools: dict[str, Any]) -> Usage:
    """Return what a reply used; `tools` is what its tools did."""
    read = mapping(usage.get("input_tokens_details"))
    written = mapping(usage.get("output_tokens_details"))
    ran = mapping(usage.get("server_side_tool_usage_details"))  # xAI
    searches = count(mapping(tools.get("web_search")).get("num_requests"))  # OpenAI
    searches += count(ran.get("web_search_calls")) + count(ran.get("x_search_calls"))
    ticks = offset(usage.get("cost_in_usd_ticks"))
    return Usage(
        input_tokens=count(usage.get("input_tokens")),
        output_tokens=count(usage.get("output_tokens")),
        cache_read_tokens=count(read.get("cached_tokens")),
        cache_write_tokens=count(read.get("cache_write_tokens")),
        reasoning_tokens=count(written.get("reasoning_tokens")),
        searches=searches or count(usage.get("num_sources_used")),
        unreported=unreported(usage.get("input_tokens"), usage.get("output_tokens")),
        stated_cost=None if ticks is None else Decimal(ticks) / _TICKS,
        raw=dict(usage),
    )

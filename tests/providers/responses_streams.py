"""Replies in the Responses format, made of items: by hand, at random, and broken on purpose.

::

    stream(message("Hello"), call("bash", {"command": "ls"}))       # the bytes of a whole reply
    Draw(7).stream()                                                # one at random, well formed
    Draw(7).broken(data)                                            # the same bytes, mutated

Constructed from the SDK's types (openai 3.52, ``openai.types.responses``), in the order of events
that its documentation gives; `test_responses_sdk` checks that the SDK takes them.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterable, Iterator
from typing import Any

__all__ = [
    "Draw",
    "bare",
    "call",
    "check_items",
    "created",
    "event",
    "events_of",
    "item_events",
    "last",
    "message",
    "reasoning",
    "stream",
    "url_citation",
]

Item = dict[str, Any]
USAGE = {
    "input_tokens": 30,
    "input_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 4},
    "output_tokens": 12,
    "output_tokens_details": {"reasoning_tokens": 8},
    "total_tokens": 42,
}
_numbers = itertools.count(1)


def event(kind: str, **data: Any) -> bytes:
    """Return one event, its type in both places as OpenAI sends it."""
    text = json.dumps({"type": kind, **data}, ensure_ascii=False, separators=(",", ":"))
    return f"event: {kind}\ndata: {text}\n\n".encode("utf-8", "surrogatepass")


def bare(kind: str, **data: Any) -> bytes:
    """Return one event in ASCII and without its name, as some servers send it."""
    return f"data: {json.dumps({'type': kind, **data})}\n\n".encode()


# --- items ----------------------------------------------------------------------------------------


def part(text: str, *annotations: Item, refusal: bool = False) -> Item:
    """Return a part of a message."""
    if refusal:
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": list(annotations), "logprobs": []}


def message(*parts: str | Item, name: str = "", **more: Any) -> Item:
    """Return a message of these parts; strings are text."""
    made = [part(p) if isinstance(p, str) else p for p in parts]
    id_ = name or f"msg_{next(_numbers)}"
    head = {"id": id_, "type": "message", "role": "assistant", "status": "completed"}
    return head | {"content": made} | more


def reasoning(*summary: str, text: str = "", encrypted: str | None = "ENC", name: str = "") -> Item:
    """Return reasoning, with a summary or with its own text."""
    item: Item = {"id": name or f"rs_{next(_numbers)}", "type": "reasoning"}
    item["summary"] = [{"type": "summary_text", "text": each} for each in summary]
    if text:
        item["content"] = [{"type": "reasoning_text", "text": text}]
    if encrypted is not None:
        item["encrypted_content"] = encrypted
    return item


def call(name: str, arguments: Any = None, *, item_id: str = "", call_id: str = "") -> Item:
    """Return a function call; arguments may be a text."""
    number = next(_numbers)
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
    head = {"id": item_id or f"fc_{number}", "type": "function_call", "status": "completed"}
    return head | {"call_id": call_id or f"call_{number}", "name": name, "arguments": text}


def url_citation(url: str, start: int, end: int, title: str = "A title") -> Item:
    """Return an annotation that cites a page."""
    head = {"type": "url_citation", "url": url, "title": title}
    return head | {"start_index": start, "end_index": end}


# --- events ---------------------------------------------------------------------------------------


def created(name: str = "resp_1", kind: str = "response.created", **more: Any) -> bytes:
    """Return the first event."""
    return event(kind, response=response(name, status="in_progress", usage=None, **more))


def last(*output: Item, kind: str = "response.completed", **more: Any) -> bytes:
    """Return the last event, which holds everything again."""
    return event(kind, response=response(output=list(output), **more))


def response(name: str = "resp_1", output: Any = (), **more: Any) -> Item:
    """Return the object that goes with the first event and the last."""
    head: Item = {"id": name, "object": "response", "created_at": 1, "status": "completed"}
    head |= {"model": "m-1", "error": None, "incomplete_details": None, "tools": []}
    head |= {"parallel_tool_calls": True, "tool_choice": "auto", "usage": USAGE}
    return head | {"output": None if output is None else list(output)} | more


def item_events(item: Item, index: int, size: int = 4, *, cut: int | None = None) -> list[bytes]:
    """Return the events of one item; `cut` events of them, where it is given."""
    return list(itertools.islice(_item_events(item, index, size), cut))


def _item_events(item: Item, index: int, size: int) -> Iterator[bytes]:
    where = {"output_index": index, "item_id": item.get("id")}
    yield event("response.output_item.added", output_index=index, item=_empty(item))
    match item["type"]:
        case "message":
            for place, each in enumerate(item["content"]):
                yield from _part_events(each, {**where, "content_index": place}, size)
        case "reasoning":
            yield from _reasoning_events(item, where, size)
        case "function_call" | "mcp_call":
            name = item["type"].replace("function_call", "function_call_arguments")
            name = name.replace("mcp_call", "mcp_call_arguments")
            for piece in _pieces(item["arguments"], size):
                yield event(f"response.{name}.delta", **where, delta=piece)
            yield event(f"response.{name}.done", **where, arguments=item["arguments"])
        case "custom_tool_call":
            for piece in _pieces(item["input"], size):
                yield event("response.custom_tool_call_input.delta", **where, delta=piece)
            yield event("response.custom_tool_call_input.done", **where, input=item["input"])
        case "web_search_call" | "file_search_call" | "x_search_call" as kind:
            for step in ("in_progress", "searching", "completed"):
                yield event(f"response.{kind}.{step}", **where)
        case "code_interpreter_call":
            yield event("response.code_interpreter_call.in_progress", **where)
            for piece in _pieces(item.get("code") or "", size):
                yield event("response.code_interpreter_call_code.delta", **where, delta=piece)
    yield event("response.output_item.done", output_index=index, item=item)


def _part_events(each: Item, where: Item, size: int) -> Iterator[bytes]:
    refusal = each["type"] == "refusal"
    field, kind = ("refusal", "refusal") if refusal else ("text", "output_text")
    empty = {**each, field: ""} | ({} if refusal else {"annotations": []})
    yield event("response.content_part.added", **where, part=empty)
    for piece in _pieces(each[field], size):
        more = {} if refusal else {"logprobs": []}
        yield event(f"response.{kind}.delta", **where, delta=piece, **more)
    for number, note in enumerate(each.get("annotations", ())):
        place = {**where, "annotation_index": number}
        yield event("response.output_text.annotation.added", **place, annotation=note)
    whole = {field: each[field]} | ({} if refusal else {"logprobs": []})
    yield event(f"response.{kind}.done", **where, **whole)
    yield event("response.content_part.done", **where, part=each)


def _reasoning_events(item: Item, where: Item, size: int) -> Iterator[bytes]:
    for number, each in enumerate(item["summary"]):
        place = {**where, "summary_index": number}
        empty = {**each, "text": ""}
        yield event("response.reasoning_summary_part.added", **place, part=empty)
        for piece in _pieces(each["text"], size):
            yield event("response.reasoning_summary_text.delta", **place, delta=piece)
        yield event("response.reasoning_summary_text.done", **place, text=each["text"])
        yield event("response.reasoning_summary_part.done", **place, part=each)
    for number, each in enumerate(item.get("content", ())):
        place = {**where, "content_index": number}
        for piece in _pieces(each["text"], size):
            yield event("response.reasoning_text.delta", **place, delta=piece)
        yield event("response.reasoning_text.done", **place, text=each["text"])


def _empty(item: Item) -> Item:
    """Return an item as it stands when it begins."""
    blank: Item = {"content": [], "summary": [], "arguments": "", "input": "", "result": None}
    blank |= {"code": "", "encrypted_content": "PARTIAL"}
    started = {name: blank.get(name, value) for name, value in item.items()}
    return started | ({"status": "in_progress"} if "status" in item else {})


def _pieces(text: str, size: int) -> Iterator[str]:
    return (text[start : start + size] for start in range(0, len(text), size))


def events_of(*output: Item, **more: Any) -> list[bytes]:
    """Return the events of a whole reply of these items."""
    begun = [created(), created(kind="response.in_progress")]
    middle = [e for index, item in enumerate(output) for e in item_events(item, index)]
    return [*begun, *middle, last(*output, **more)]


def stream(*output: Item, **more: Any) -> bytes:
    """Return a whole reply of these items; `more` goes into the last event's response."""
    return b"".join(events_of(*output, **more))


def check_items(body: Item) -> None:
    """Raise `AssertionError` unless each call has one result, before what is said next."""
    waiting: list[str] = []
    seen: set[str] = set()
    for item in body["input"]:
        match item.get("type"):
            case "function_call":
                assert item["call_id"] not in seen, f"{item['call_id']} names two calls"
                assert isinstance(json.loads(item["arguments"]), dict)
                seen.add(item["call_id"])
                waiting.append(item["call_id"])
            case "function_call_output":
                assert item["call_id"] in waiting, f"{item['call_id']} answers no call"
                waiting.remove(item["call_id"])
            case None | "message":
                assert item["content"], "nothing is said"
                assert item["role"] == "assistant" or not waiting, f"{waiting} are not answered"
    assert not waiting, f"{waiting} are not answered"
    json.dumps(body, ensure_ascii=False, allow_nan=False).encode()


# --- at random ------------------------------------------------------------------------------------

WORDS = (
    "hello",
    " ",
    "é",
    "😀",
    "a\u2028b",
    "\n",
    "[1]",
    "数",
    "the end.",
    '"',
    "\\",
    "\t",
    "\u0085",
)
EVIL = (
    None,
    0,
    -1,
    10**12,
    1.5,
    True,
    "",
    "x",
    "half \ud83d",
    [],
    [None],
    [[1]],
    {},
    {"type": "x"},
    {"type": []},
    float("inf"),
    float("nan"),
)


class Draw:
    """Makes streams from a seed; the same seed makes the same ones."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._count = 0

    def text(self, most: int = 12) -> str:
        words = self.random.choices(WORDS, k=self.random.randint(1, most))
        return "".join(words)

    def id(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count}"

    def arguments(self) -> str:
        text = self.text()
        return self.random.choice(
            ("{}", json.dumps({"a": text}), json.dumps({"n": [1, {"b": None}]}))
        )

    def item(self) -> Item:
        match self.random.choice("mmmrrffffwcxiu"):
            case "m":
                return self.message()
            case "r" if self.random.random() < 0.7:
                summary = [self.text() for _ in range(self.random.randint(0, 3))]
                return reasoning(*summary, name=self.id("rs"))
            case "r":
                return reasoning(text=self.text(), encrypted=None, name=self.id("rs"))
            case "f":
                id_, call_id = self.id("fc"), self.id("call")
                return call("tool", self.arguments(), item_id=id_, call_id=call_id)
            case "w":
                action = {"type": "search", "query": self.text(), "queries": [self.text()]}
                head = {"id": self.id("ws"), "type": "web_search_call", "status": "completed"}
                return head | {"action": action}
            case "c":
                head = {"id": self.id("ci"), "type": "code_interpreter_call", "status": "completed"}
                return head | {"code": self.text(), "container_id": "c1", "outputs": None}
            case "x":
                head = {"id": self.id("mcp"), "type": "mcp_call", "server_label": "s"}
                return head | {"name": "n", "arguments": self.arguments(), "output": self.text()}
            case "i":
                head = {"id": self.id("ig"), "type": "image_generation_call", "status": "completed"}
                return head | {"result": "iVBORw0KGgo=", "output_format": "webp"}
        return {"id": self.id("mcpl"), "type": "mcp_list_tools", "server_label": "s", "tools": []}

    def message(self) -> Item:
        parts = []
        for _ in range(self.random.randint(1, 3)):
            text = self.text()
            if self.random.random() < 0.1:
                parts.append(part(text, refusal=True))
                continue
            notes = [
                url_citation(f"https://x.example/{n}", n, len(text), self.text(2))
                for n in range(self.random.choice((0, 0, 1, 3)))
            ]
            parts.append(part(text, *notes))
        return message(*parts, name=self.id("msg"))

    def usage(self) -> Item:
        number = self.random.randint
        read, written, thought = number(0, 50), number(0, 50), number(0, 50)
        return {
            "input_tokens": read + written + number(0, 99),
            "input_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
            "output_tokens": thought + number(0, 99),
            "output_tokens_details": {"reasoning_tokens": thought},
            "total_tokens": 0,
        }

    def end(self, output: list[Item]) -> bytes:
        usage = self.random.choice((self.usage(), self.usage(), None))
        if self.random.random() < 0.15:
            why = {"reason": self.random.choice(("max_output_tokens", "content_filter"))}
            more: Item = {"status": "incomplete", "incomplete_details": why, "usage": usage}
            return last(*output, kind="response.incomplete", **more)
        if self.random.random() < 0.1:  # the SDK puts the items together itself then
            return event("response.completed", response=response(output=None, usage=usage))
        return last(*output, usage=usage)

    def events(self) -> list[bytes]:
        """Return the events of a well-formed reply; calls that stand together are mixed."""
        output = [self.item() for _ in range(self.random.randint(0, 6))]
        made = [created(), created(kind="response.in_progress")]
        for mixes, group in itertools.groupby(enumerate(output), lambda pair: _mixes(pair[1])):
            size = self.random.choice((1, 2, 5, 100))
            runs = [item_events(item, index, size) for index, item in group]
            if self.random.random() < 0.2:
                runs = [[e for e in run if b".delta" not in e[:60]] for run in runs]
            made += self.mixed(runs) if mixes else itertools.chain.from_iterable(runs)
            if self.random.random() < 0.2:
                made.append(
                    self.random.choice((b": keep-alive\n\n", event("ping"), event("response.new")))
                )
        end = [self.end(output)]
        return [*made, *end, *([b"data: [DONE]\n\n"] if self.random.random() < 0.3 else [])]

    def mixed(self, runs: Iterable[list[bytes]]) -> list[bytes]:
        """Return events of several items, each in its order and all begun in theirs."""
        waiting = [list(run) for run in runs]
        out = [run.pop(0) for run in waiting]
        while waiting := [run for run in waiting if run]:
            out.append(self.random.choice(waiting).pop(0))
        return out

    def stream(self) -> bytes:
        return b"".join(self.events())

    def broken(self, data: bytes) -> bytes:
        """Return the bytes with one to three faults: in bytes, in events, in values."""
        for _ in range(self.random.randint(1, 3)):
            data = self.random.choice(
                (self._cut, self._noise, self._moved, self._events, self._value, self._value)
            )(data)
        return data

    def _cut(self, data: bytes) -> bytes:
        return data[: self.random.randrange(len(data) + 1)]

    def _noise(self, data: bytes) -> bytes:
        at = self.random.randrange(len(data) + 1)
        return data[:at] + self.random.randbytes(self.random.randint(1, 9)) + data[at + 3 :]

    def _moved(self, data: bytes) -> bytes:
        a, b = sorted(self.random.randrange(len(data) + 1) for _ in range(2))
        return data[:b] + data[a:] if self.random.random() < 0.5 else data[:a] + data[b:]

    def _events(self, data: bytes) -> bytes:
        events = data.split(b"\n\n")
        at, to = (self.random.randrange(len(events)) for _ in range(2))
        match self.random.choice("drsm"):
            case "d":
                del events[at]
            case "r":
                events.insert(to, events[at])
            case "s":
                events[at], events[to] = events[to], events[at]
            case "m":
                events.insert(to, events.pop(at))
        return b"\n\n".join(events)

    def _value(self, data: bytes) -> bytes:
        """Put a value of any kind somewhere into one event."""
        events = data.split(b"\n\n")
        at = self.random.randrange(len(events))
        head, found, text = events[at].partition(b"data: ")
        try:
            value = json.loads(text)
        except ValueError:
            return data
        places = list(_places(value))
        if not found or not places:
            return data
        holder, key = self.random.choice(places)
        if self.random.random() < 0.2 and isinstance(holder, dict):
            del holder[key]
        else:
            holder[key] = self.random.choice(EVIL)
        events[at] = head + b"data: " + json.dumps(value).encode()
        return b"\n\n".join(events)


def _mixes(item: Item) -> bool:
    return item["type"] in ("function_call", "web_search_call", "mcp_call", "code_interpreter_call")


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict):
        for key in value:
            yield value, key
            yield from _places(value[key])
    elif isinstance(value, list):
        for key, each in enumerate(value):
            yield value, key
            yield from _places(each)

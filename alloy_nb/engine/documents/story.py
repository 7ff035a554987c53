"""A conversation as it is told: turns of prompts, thoughts, calls and answers. Pure.

::

    SessionRecord ─▶ story_of ─▶ Story ─▶ page | paper | cells | script

Everything that is text here is clean: keys are masked, control and hidden characters are gone. It
is still somebody else's text: each form escapes it as its format wants. Citations are numbered over
the whole conversation, and stand as `markup.markdown.mark` in the text that they support.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from alloy_nb.engine.sessions import switch
from alloy_nb.engine.sessions.record import SessionRecord, TurnRecord
from alloy_nb.markup.markdown import mark, safe_url
from alloy_nb.markup.marks import with_marks
from alloy_nb.markup.plain import clean, one_line
from alloy_nb.messages import (
    Block,
    Citation,
    Document,
    Image,
    Message,
    Opaque,
    Origin,
    StopReason,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from alloy_nb.secrets import redact
from alloy_nb.usage import Cost, Usage

__all__ = [
    "Noted",
    "Part",
    "Said",
    "Source",
    "Story",
    "Thought",
    "Turn",
    "Used",
    "starts",
    "story_of",
]

# Of one argument or result; tools cut their results far below this.
_MOST_CHARACTERS = 100_000


@dataclass(frozen=True, slots=True)
class Said:
    """Markdown, with marks for citations."""

    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    """What the model thought; empty where its vendor does not show it."""

    text: str


@dataclass(frozen=True, slots=True)
class Used:
    """A call of a tool and what it answered; `failed` is ``None`` where there is no answer.

    `asked` is the arguments to be read; `code` is the text of a call that ran Python, if all of it
    can be seen.
    """

    name: str
    asked: str
    result: str
    images: tuple[Image, ...] = ()
    failed: bool | None = None
    server: bool = False
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Noted:
    """One line about the conversation itself: another model, an interruption, a file."""

    text: str


Part = Said | Thought | Used | Noted | Image


@dataclass(frozen=True, slots=True)
class Source:
    """What a number stands for; `url` is one that a reader may follow, or ``None``."""

    number: int
    title: str
    url: str | None = None
    quote: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """A prompt and all that came of it; what is not known of it is ``None``."""

    number: int
    prompt: tuple[Part, ...]
    parts: tuple[Part, ...]
    models: tuple[str, ...]
    status: str | None = None
    usage: Usage | None = None
    cost: Cost | None = None
    seconds: float | None = None
    at: datetime | None = None

    @property
    def summary(self) -> str:
        """Model, tokens, cost and time in one line, as far as they are known."""
        words = list(self.models)
        if self.usage is not None:
            words.append(_tokens(self.usage))
        if self.cost is not None:
            words.append(str(self.cost))
        if self.seconds is not None:
            words.append(f"{self.seconds:.1f} s")
        if self.at is not None:
            words.append(_moment(self.at))
        if self.status not in (None, "completed"):
            words.append(one_line(str(self.status), 40).replace("_", " "))
        return " · ".join(words)


@dataclass(frozen=True, slots=True)
class Story:
    """A whole conversation."""

    title: str
    turns: tuple[Turn, ...]
    sources: tuple[Source, ...]
    usage: Usage
    cost: Cost
    created_at: datetime
    updated_at: datetime
    models: tuple[str, ...] = ()

    @property
    def links(self) -> dict[int, str | None]:
        """The address of each source, by number."""
        return {source.number: source.url for source in self.sources}

    @property
    def summary(self) -> str:
        """What the conversation was and cost, in one line."""
        turns = f"{len(self.turns)} turn" + ("" if len(self.turns) == 1 else "s")
        span = " to ".join(dict.fromkeys((_moment(self.created_at), _moment(self.updated_at))))
        return " · ".join([*self.models, turns, _tokens(self.usage), str(self.cost), span])


def story_of(record: SessionRecord) -> Story:
    """Tell what a record holds."""
    teller = _Teller()
    firsts, known = starts(record)
    ends = [*firsts, len(record.messages)][1:]
    turns = tuple(
        teller.turn(number, record.messages[first:end], known.get(first))
        for number, (first, end) in enumerate(zip(firsts, ends, strict=True), 1)
    )
    name = record.metadata.get("name")
    return Story(
        title=one_line(name, 80) if isinstance(name, str) and name.strip() else "Conversation",
        turns=turns,
        sources=tuple(teller.sources),
        usage=record.usage,
        cost=record.cost,
        created_at=record.created_at,
        updated_at=record.updated_at,
        models=tuple(dict.fromkeys(model for turn in turns for model in turn.models)),
    )


def starts(record: SessionRecord) -> tuple[list[int], dict[int, TurnRecord]]:
    """Return where turns begin, and what is known of those that were recorded."""
    messages = record.messages
    known = {turn.first: turn for turn in record.turns if 0 < turn.count <= len(messages)}
    known = {first: turn for first, turn in known.items() if first < len(messages)}
    firsts = sorted(known)
    found = {0, *firsts} if messages else set()
    for position, message in enumerate(messages):
        before = bisect_right(firsts, position) - 1
        # Within a turn that is known, a loop may have asked by itself: that begins no other one.
        inside = before >= 0 and position < firsts[before] + known[firsts[before]].count
        if not inside and _is_prompt(message):
            found.add(position)
    return sorted(found), known


def _is_prompt(message: Message) -> bool:
    return message.role == "user" and any(not isinstance(b, ToolResult) for b in message.content)


# --- one turn -----------------------------------------------------------------------------------


@dataclass(slots=True)
class _Teller:
    """Goes through a conversation once, and knows what stood before."""

    sources: list[Source] = field(default_factory=list)
    _numbers: dict[object, int] = field(default_factory=dict)
    _origin: Origin | None = None
    _private: dict[switch.Place, int] = field(default_factory=dict)

    def turn(self, number: int, messages: Sequence[Message], known: TurnRecord | None) -> Turn:
        """Tell one turn."""
        results = _results(messages)
        prompt: list[Part] = []
        parts: list[Part] = []
        models: dict[str, None] = {}
        for message in messages:
            answering = message.role == "assistant"
            if answering and message.origin is not None:
                models[switch.called(message.origin)] = None
                parts += self._switched(message.origin)
            told = self._told(message, results)
            if parts and not answering:
                told = map(_quoted, told)
            (parts if answering or parts else prompt).extend(told)
            if answering:
                parts += _ended(message)
                self._remember(message)
        if known is not None and known.error and not any(_is_interruption(p) for p in parts[-1:]):
            parts.append(Noted(one_line(known.error, 400)))
        if known is not None and known.decisions:
            parts.append(Noted(one_line(f"You decided: {'; '.join(known.decisions)}.", 400)))
        return Turn(
            number,
            tuple(prompt),
            tuple(parts),
            tuple(models),
            status=known.status if known else None,
            usage=known.usage if known else None,
            cost=known.cost if known else None,
            seconds=known.seconds if known else None,
            at=known.at if known else None,
        )

    def _told(self, message: Message, results: _Results) -> Iterable[Part]:
        texts: list[Text] = []
        for block in message.content:
            # Vendors cut a cited sentence into several blocks; neighbours are one text. What goes
            # along with a prompt is a block of its own.
            if isinstance(block, Text) and (message.role == "assistant" or not texts):
                texts.append(block)
                continue
            yield from self._said(texts)
            texts = [block] if isinstance(block, Text) else []
            yield from self._block(block, results)
        yield from self._said(texts)

    def _said(self, texts: Sequence[Text]) -> Iterable[Part]:
        whole = "".join(block.text for block in texts)
        if not whole.strip():
            return
        references: list[tuple[int, int | None]] = []
        base = 0
        for block in texts:
            length = len(block.text)
            for citation in block.citations:
                end = length if citation.end is None else min(max(0, citation.end), length)
                references.append((self._number(citation), base + end))
            base += length
        text, loose = with_marks(whole, references)
        if loose:
            text = f"{text.rstrip()}\n\n{''.join(mark(number) for number in sorted(loose))}"
        yield Said(text)

    def _block(self, block: Block, results: _Results) -> Iterable[Part]:
        match block:
            case Thinking(text=text):
                yield Thought(clean(text).strip())
            case ToolCall() as call:
                yield _used(call, results.take(call.id))
            case ToolResult() as result if not results.known(result.call_id):
                yield _used(ToolCall(id=result.call_id, name=result.name or "tool"), result)
            case Image():
                yield block
            case Document(title=title, media_type=kind):
                yield Noted(f"Document: {one_line(title or kind)}")
            case Opaque(vendor=vendor, raw=raw):
                kind = one_line(str(raw.get("type", "block")), 60)
                yield Noted(f"{kind} of {one_line(vendor, 40)}, which only it can read")

    def _number(self, citation: Citation) -> int:
        key = citation.url or (citation.kind, citation.title, citation.quote)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._numbers) + 1
            url = safe_url(clean(citation.url or ""))
            title = one_line(citation.title or citation.quote or url or citation.kind)
            quote = one_line(citation.quote or "", 200)
            self.sources.append(Source(number, title, url, "" if quote == title else quote))
        return number

    def _switched(self, origin: Origin) -> Iterable[Part]:
        """Say that another model answers, and what was not sent to it."""
        before, self._origin = self._origin, origin
        if before is None or switch.called(before) == switch.called(origin):
            return
        yield Noted(switch.sentence(before, origin, self._private))

    def _remember(self, message: Message) -> None:
        """Count what means nothing to another vendor; see `providers.handoff`."""
        if message.origin is not None and (count := switch.private(message)):
            there = switch.place(message.origin)
            self._private[there] = self._private.get(there, 0) + count


def _quoted(part: Part) -> Part:
    """Set off what was said to the model within a turn: those are not its words."""
    if not isinstance(part, Said):
        return part
    return Said("\n".join(f"> {line}" for line in part.text.split("\n")))


class _Results:
    """The results of a turn, by the id of their call: ids may come again, then in order."""

    def __init__(self, found: Mapping[str, list[ToolResult]], called: frozenset[str]) -> None:
        self._found = found
        self._called = called

    def take(self, call_id: str) -> ToolResult | None:
        """Return the next result of this id, or ``None`` where there is none."""
        waiting = self._found.get(call_id)
        return waiting.pop(0) if waiting else None

    def known(self, call_id: str) -> bool:
        """Tell whether there is a call of this id, which shows the result."""
        return call_id in self._called


def _results(messages: Sequence[Message]) -> _Results:
    found: dict[str, list[ToolResult]] = {}
    called: set[str] = set()
    for message in messages:
        for block in message.content:
            if isinstance(block, ToolResult):
                found.setdefault(block.call_id, []).append(block)
            elif isinstance(block, ToolCall):
                called.add(block.id)
    return _Results(found, frozenset(called))


def _used(call: ToolCall, result: ToolResult | None) -> Used:
    code = call.input.get("code")
    ran_python = call.name == "python" and not call.server and isinstance(code, str)
    return Used(
        name=one_line(call.name, 60) or "tool",
        asked=_asked(call),
        result=_shown(result),
        images=tuple(p for p in result.content if isinstance(p, Image)) if result else (),
        failed=result.is_error if result else None,
        server=call.server,
        code=_code(str(code)) if ran_python else None,
    )


def _code(code: str) -> str | None:
    """Return code with keys masked, or ``None`` where it holds what nobody sees."""
    plain = code.replace("\r\n", "\n")
    shown = clean(plain)
    return shown if shown == redact(plain) else None


def _shown(result: ToolResult | None) -> str:
    if result is None:
        return ""
    files = [p for p in result.content if isinstance(p, Document)]
    named = [f"[document: {one_line(f.title or f.media_type)}]" for f in files]
    return _read("\n".join([*([result.text] if result.text else []), *named]))


def _read(text: str) -> str:
    """Return what a tool was given or gave, clean, and as much of it as anybody reads."""
    missing = len(text) - _MOST_CHARACTERS
    if missing <= 0:
        return clean(text)
    return f"{clean(text[:_MOST_CHARACTERS])}\n… {missing:,} more characters are in the .json"


def _asked(call: ToolCall) -> str:
    """Return the arguments to be read: text with line breaks as such, the rest as JSON."""
    if call.invalid is not None:
        return _read(call.invalid)
    values = list(call.input.items())
    if len(values) == 1 and isinstance(values[0][1], str):
        return _read(values[0][1])  # code or a command needs no label
    lines = []
    for key, value in values:
        text = value if isinstance(value, str) else _json(value)
        lines.append(f"{key}:\n{text}" if "\n" in text else f"{key}: {text}")
    return _read("\n".join(lines))


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        return str(value)


_ENDED = {
    StopReason.INTERRUPTED: "Interrupted here: this is what had arrived.",
    StopReason.MAX_TOKENS: "The answer reached the limit of its length.",
    StopReason.REFUSAL: "The model declined to go on.",
}


def _ended(message: Message) -> Iterable[Part]:
    if message.stop in _ENDED:
        yield Noted(_ENDED[message.stop])


def _is_interruption(part: Part) -> bool:
    return isinstance(part, Noted) and part.text in _ENDED.values()


def _tokens(usage: Usage) -> str:
    if not usage.total_tokens and usage.unreported:
        return "tokens unknown"
    return f"{usage.input_tokens:,} tokens in, {usage.output_tokens:,} out"


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} {at.tzname() or ''}".strip()

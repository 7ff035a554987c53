"""Where the time of a turn went: waiting, thinking, writing, tools, and you. Pure.

::

    Event ─▶ spans_of ─▶ Span ─▶ rows (text bars) | charts.timeline (a figure)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from alloy_nb.events import (
    ApprovalAsked,
    ApprovalDecided,
    BlockSealed,
    BlockStarted,
    ContextCompacted,
    Event,
    RetryScheduled,
    RunFinished,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    TurnStarted,
)
from alloy_nb.markup.plain import one_line

__all__ = ["Span", "rows", "spans_of"]

Kind = Literal["waiting", "thinking", "writing", "tool", "you", "retry"]

_BAR = 36
_AT_ONCE = 0.05
"""Seconds below which nothing was between two stretches, and nobody was waited for."""
_KINDS: dict[str, tuple[Kind, str]] = {
    "thinking": ("thinking", "thinks"),
    "text": ("writing", "answers"),
    "tool_call": ("writing", "writes a call"),
}


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a turn, in seconds from its beginning; `tokens` where the vendor counted."""

    kind: Kind
    what: str
    start: float
    end: float
    tokens: str = ""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start


def spans_of(events: Sequence[Event]) -> list[Span]:
    """Return the stretches of a turn in the order in which they began."""
    if not events:
        return []
    teller = _Teller(events[0].at)
    for event in events:
        teller.feed(event)
    spans = sorted(teller.ended(events[-1].at), key=lambda span: (span.start, span.end))
    return _joined(spans)


def _joined(spans: Iterable[Span]) -> list[Span]:
    """Join stretches of the same that follow at once, as the blocks of an answer with sources."""
    joined: list[Span] = []
    for span in spans:
        last = joined[-1] if joined else None
        follows = last is not None and span.start - last.end < _AT_ONCE
        if last is not None and follows and last.what == span.what and span.kind == "writing":
            tokens = span.tokens or last.tokens
            joined[-1] = replace(last, end=max(last.end, span.end), tokens=tokens)
        else:
            joined.append(span)
    return joined


def rows(spans: Sequence[Span]) -> list[list[str]]:
    """Return the stretches as a table, each with a bar on a common scale."""
    whole = max((span.end for span in spans), default=0.0)
    table = [["at", "seconds", "what", "tokens", f"0 to {whole:.1f} s"]]
    for span in spans:
        bar = _bar(span, whole)
        table.append([f"{span.start:.1f}", f"{span.seconds:.1f}", span.what, span.tokens, bar])
    return table


def _bar(span: Span, whole: float) -> str:
    """Return a bar in characters of one width, in proportional fonts too; none is squeezed."""
    if whole <= 0:
        return ""
    first = min(_BAR - 1, int(span.start / whole * _BAR))
    length = min(_BAR - first, max(1, round(span.seconds / whole * _BAR)))
    return "▁" * first + "█" * length + "▁" * (_BAR - first - length)


class _Teller:
    def __init__(self, began: float) -> None:
        self._began = began
        self._open: dict[str, Span] = {}
        self._done: list[Span] = []

    def feed(self, event: Event) -> None:
        """Take an event in."""
        at, body = max(0.0, event.at - self._began), event.body
        match body:
            case TurnStarted(model=model):
                self._begin("reply", "waiting", f"waits for {one_line(model, 40)}", at)
            case BlockStarted(index=index, kind=kind):
                self._end("reply", at)
                known, what = _KINDS.get(kind, ("writing", one_line(kind, 40)))
                self._begin(f"block {index}", known, what, at)
            case BlockSealed(index=index):
                self._end(f"block {index}", at)
            case RetryScheduled(delay=delay, reason=reason):
                self._end("reply", at)
                what = f"tries again: {one_line(reason, 60)}"
                self._done.append(Span("retry", what, at, at + delay))
            case ToolStarted(call=call):
                self._begin(f"tool {call.id}", "tool", f"runs {one_line(call.name, 40)}", at)
            case ToolFinished(call=call):
                self._end(f"tool {call.id}", at)
            case ApprovalAsked(call=call):
                what = f"waits for you: {one_line(call.name, 40)}"
                self._begin(f"you {call.id}", "you", what, at)
            case ApprovalDecided(call=call, how=how):
                asked = self._open.get(f"you {call.id}")
                if how == "policy" and asked is not None and at - asked.start < _AT_ONCE:
                    del self._open[f"you {call.id}"]  # a rule said so: nobody was waited for
                self._end(f"you {call.id}", at)
            case ContextCompacted():
                self._done.append(Span("waiting", "shortened the conversation", at, at))
            case TurnFinished(usage=usage):
                self._end_all(at, ("reply", "block"))
                counted = f"{usage.input_tokens:,} in, {usage.output_tokens:,} out"
                if self._done and not usage.unreported:
                    self._done[-1] = replace(self._done[-1], tokens=counted)
            case RunFinished():
                self._end_all(at)

    def ended(self, at: float) -> Iterable[Span]:
        """Return all stretches; one that is open ends with the last event."""
        self._end_all(max(0.0, at - self._began))
        return self._done

    def _begin(self, key: str, kind: Kind, what: str, at: float) -> None:
        self._end(key, at)
        self._open[key] = Span(kind, what, at, at)

    def _end(self, key: str, at: float) -> None:
        span = self._open.pop(key, None)
        if span is not None:
            self._done.append(replace(span, end=max(span.start, at)))

    def _end_all(self, at: float, kinds: tuple[str, ...] = ("",)) -> None:
        for key in [key for key in self._open if key.startswith(kinds)]:
            self._end(key, at)

"""Agents that work for another one, each folded into segments of its own. Pure.

::

    Delegated(agent, event, call_id) ─▶ a Transcript for each run ─▶ ToolSegment.delegates

An agent that is asked twice is two delegates: each run has its own segments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from alloy_nb.events import (
    Delegated,
    Event,
    EventBody,
    RunFinished,
    RunStarted,
    TextDelta,
    ThinkingDelta,
    ToolFinished,
    ToolInputDelta,
)
from alloy_nb.messages import ToolCall
from alloy_nb.notebook.drawing.segments import Delegate, Segment, ToolSegment
from alloy_nb.usage import Cost

__all__ = ["Delegates"]

_DELTAS = (TextDelta, ThinkingDelta, ToolInputDelta)


class _Told(Protocol):
    """The part of a `Transcript` that is needed here; it holds one of these itself."""

    segments: list[Segment]
    model: str
    activity: str
    agent: str
    cost: Cost
    turns: int
    finished: bool
    delegates: Delegates

    def apply(self, event: Event) -> None: ...
    def stopped(self, text: str) -> None: ...
    def find(self, call: ToolCall) -> ToolSegment | None: ...


@dataclass(slots=True)
class _Working:
    """A delegate with what its events are folded into."""

    told: _Told
    shown: Delegate
    card: ToolSegment


class Delegates:
    """The agents that the calls of one run ask.

    Args:
        begin: Makes what the events of one of them are folded into.
    """

    def __init__(self, begin: Callable[[], _Told]) -> None:
        self._begin = begin
        self._runs: dict[tuple[str, str], _Working] = {}
        self.early: dict[str, ToolSegment] = {}
        """Cards in which a call was asked about before its own was there, by its id."""

    def apply(self, card: ToolSegment, body: Delegated) -> None:
        """Fold in an event of an agent that works for the call of this card."""
        key = (body.call_id, body.event.run_id)
        working = self._runs.get(key)
        if working is None:
            told = self._begin()
            working = _Working(told, Delegate(body.agent, told.segments), card)
            self._runs[key] = working
            card.delegates.append(working.shown)
        told, shown = working.told, working.shown
        told.apply(body.event)
        card.version += 1
        shown.activity = told.activity
        innermost = _innermost(body.event)
        if isinstance(innermost, _DELTAS):
            return  # one for each token: nothing else has changed
        if isinstance(innermost, ToolFinished):
            self._settle(told, innermost)
        match body.event.body:
            case RunStarted(prompt=task):
                shown.task = task.text if task is not None else ""
            case RunFinished() as end:
                shown.status, shown.error, shown.cost = end.status, end.error, end.cost
                return
        shown.model, shown.turns = told.model, told.turns
        shown.cost = told.cost + told.delegates.total()

    def _settle(self, told: _Told, body: ToolFinished) -> None:
        """Say in the card that was made early how the call went."""
        early, card = self.early.pop(body.call.id, None), told.find(body.call)
        if early is not None and card is not None:
            early.state, early.result = card.state, card.result
            early.is_error, early.seconds, early.subject = card.is_error, card.seconds, None
            early.version += 1

    def card(self, call: ToolCall) -> ToolSegment | None:
        """Return the card of a call that one of them makes, however deep, or ``None``."""
        for working in reversed(self._runs.values()):
            card = working.told.find(call)
            if card is not None:
                working.card.version += 1  # whoever asks is about to change it
                return card
        return None

    def end(self, card: ToolSegment) -> None:
        """Let those that work for a call be over, now that it is."""
        for working in self._runs.values():
            if working.card is card and working.shown.status is None:
                working.told.stopped("It was stopped.")
                working.shown.status = "cancelled"

    def spent(self, agent: str, cost: Cost) -> dict[str, Cost]:
        """Return what each agent cost itself, this one included; nothing where it asked nobody."""
        if not self._runs:
            return {}
        spent = {agent: cost}
        for working in self._runs.values():
            told = working.told
            name = told.agent or working.shown.agent
            theirs = told.delegates.spent(name, told.cost) or {name: told.cost}
            for one, share in theirs.items():
                spent[one] = spent.get(one, Cost()) + share
        return spent

    def total(self) -> Cost:
        """Return what all of them have cost so far."""
        return sum((working.shown.cost for working in self._runs.values()), Cost())


def _innermost(event: Event) -> EventBody:
    """Return what happened, however many agents passed it on."""
    while isinstance(event.body, Delegated):
        event = event.body.event
    return event.body

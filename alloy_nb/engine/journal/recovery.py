"""The messages of a turn whose process ended in the middle of it, from the events it left.

What was shown is kept: whole replies, results, and the part of a reply that had arrived. A call
without a result is answered with one that says so. Whether it ran is not known, even where its
start was not recorded, since the process may have ended between the two; a model that is told
"did not run" would run it twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import get_args

from alloy_nb.events import (
    Event,
    ModelEvent,
    Steered,
    ToolFinished,
    TurnFinished,
    TurnStarted,
)
from alloy_nb.messages import Message, Text, ToolCall, ToolResult
from alloy_nb.providers.fold import ReplyBuilder
from alloy_nb.providers.handoff import UNKNOWN
from alloy_nb.usage import Cost, Usage

__all__ = ["recovered", "spent"]

_MODEL_EVENTS = get_args(ModelEvent)


def recovered(prompt: Message | None, events: Iterable[Event]) -> list[Message]:
    """Return what the turn added to the conversation, well formed whenever it was cut."""
    turn = _Cut([] if prompt is None else [prompt])
    for event in events:
        turn.take(event)
    turn.end()
    return turn.messages


def spent(events: Iterable[Event]) -> tuple[Usage, Cost]:
    """Return what the whole replies of the turn used; a cut one's cost is unknown."""
    usage, cost, is_open = Usage(), Cost(), False
    for event in events:
        body = event.body
        if isinstance(body, TurnFinished):
            usage, cost, is_open = usage + body.usage, cost + body.cost, False
        elif isinstance(body, TurnStarted):
            is_open = True
    return (usage, cost + Cost.unknown()) if is_open else (usage, cost)


class _Cut:
    def __init__(self, messages: list[Message]) -> None:
        self.messages = messages
        self._builder: ReplyBuilder | None = None
        self._open: Sequence[ToolCall] = ()
        self._results: dict[str, ToolResult] = {}

    def take(self, event: Event) -> None:
        body = event.body
        match body:
            case TurnStarted():
                self.end()
                self._builder = ReplyBuilder(provider=body.provider, model=body.model)
            case TurnFinished():
                self._builder = None
                self.messages.append(body.message)
                self._open, self._results = body.message.tool_calls, {}
            case ToolFinished():
                self._results[body.result.call_id] = body.result
            case Steered(message):
                self.end()
                self._say(message)
            case _ if isinstance(body, _MODEL_EVENTS) and self._builder is not None:
                try:
                    self._builder.feed(body)
                except KeyError:  # a piece of a block whose beginning is damaged
                    return

    def _say(self, message: Message) -> None:
        """Add what was said meanwhile: behind results, or after an answer."""
        last = self.messages[-1] if self.messages else None
        if last is not None and last.role == "user":
            content = (*last.content, *message.content)
            self.messages[-1] = last.model_copy(update={"content": content})
        else:
            self.messages.append(message)

    def end(self) -> None:
        """Answer what is open, and keep the part of a reply that arrived."""
        if self._open:
            answers = tuple(self._results.get(c.id) or _unknown(c) for c in self._open)
            self.messages.append(Message(role="user", content=answers))
            self._open, self._results = (), {}
        partial = None if self._builder is None else self._builder.partial()
        self._builder = None
        if partial is not None:
            self.messages.append(partial)


def _unknown(call: ToolCall) -> ToolResult:
    content = (Text(text=UNKNOWN),)
    return ToolResult(call_id=call.id, name=call.name, content=content, is_error=True)

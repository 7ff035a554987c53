"""Turns that are over, drawn from what the conversation holds of them.

The messages are told to the same `Transcript` as events, so that a turn of last week looks like one
of now: only how long it thought, and what code displayed, nobody has kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from alloy_nb.engine.sessions.record import TurnRecord
from alloy_nb.events import (
    Event,
    EventBody,
    RunFinished,
    RunStarted,
    Steered,
    ToolFinished,
    TurnFinished,
    TurnStarted,
)
from alloy_nb.messages import Document, Image, Message, Text, ToolCall, ToolResult
from alloy_nb.notebook.drawing.render import render
from alloy_nb.notebook.drawing.segments import ThinkingSegment, ToolSegment
from alloy_nb.notebook.drawing.transcript import Transcript
from alloy_nb.notebook.panel.drawn import (
    Asked,
    Drawn,
    Part,
    State,
    asked_in,
    clock,
    facts_of,
    kind_of,
)
from alloy_nb.usage import Cost, Usage

__all__ = ["STATES", "drawn_from", "fill", "is_prompt"]

STATES: dict[str, State] = {"cancelled": "stopped", "halted": "stopped", "error": "failed"}
"""How a turn that ended so is called; all others are done."""

_UNANSWERED = "This was not answered, and is not part of the conversation."


def drawn_from(name: str, number: int, record: TurnRecord) -> Drawn:
    """Return a turn that is over, without its outputs: `fill` draws them when they are wanted."""
    state = STATES.get(record.status, "done")
    began = record.at.timestamp() - record.seconds
    return Drawn(name, number, clock(began), Asked(""), state=state, record=record)


def fill(turn: Drawn, messages: Sequence[Message]) -> None:
    """Draw the outputs of a turn, whose messages these are."""
    prompt = messages[0] if messages and is_prompt(messages[0]) else None
    turn.asked = asked_in(prompt)
    transcript = _told(messages, turn.record, prompt)
    turn.facts = facts_of(transcript.segments)
    turn.parts = {
        f"{turn.id}.{index}": Part(kind_of(segment), render(segment))
        for index, segment in enumerate(transcript.segments, 1)
    }


def is_prompt(message: Message) -> bool:
    """Tell whether a message is what a person asked, and not results of tools alone."""
    return message.role == "user" and any(not isinstance(b, ToolResult) for b in message.content)


def _told(
    messages: Sequence[Message], record: TurnRecord | None, prompt: Message | None
) -> Transcript:
    transcript = Transcript()
    began = 0.0 if record is None else record.at.timestamp() - record.seconds
    for index, body in enumerate(_events(messages, record, prompt), 1):
        transcript.apply(Event(1, index, "", "", 0, began, body))
    for segment in transcript.segments:
        if isinstance(segment, (ThinkingSegment, ToolSegment)):
            segment.seconds = None  # nobody knows
    if record is None:
        return transcript
    if record.error and record.status == "error":
        transcript.failed(record.error)
    elif record.status == "cancelled":
        transcript.stopped("Stopped. What was said so far is kept.")
    if not messages:
        transcript.notice("info", _UNANSWERED)
    return transcript


def _events(
    messages: Sequence[Message], record: TurnRecord | None, prompt: Message | None
) -> Iterator[EventBody]:
    calls: dict[str, ToolCall] = {}
    yield RunStarted(prompt, "", "")
    for message in messages:
        if message.role == "assistant":
            model = message.origin.model if message.origin else ""
            yield TurnStarted("", model)
            calls.update((call.id, call) for call in message.tool_calls)
            yield TurnFinished(message, Usage(), Cost(), 0.0)
        elif message is not prompt:
            yield from _results(message, calls)
    if record is not None:
        yield RunFinished(record.status, record.usage, record.cost, record.seconds, None)


def _results(message: Message, calls: dict[str, ToolCall]) -> Iterator[EventBody]:
    for block in message.content:
        if isinstance(block, ToolResult) and block.call_id in calls:
            yield ToolFinished(calls[block.call_id], block, 0.0)
    said = tuple(b for b in message.content if isinstance(b, (Text, Image, Document)))
    if said:
        yield Steered(message.model_copy(update={"content": said}))

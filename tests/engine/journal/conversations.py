"""Turns for tests: what an agent would note, and what it would hand in at the end."""

from __future__ import annotations

import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from alloy_nb.engine.journal import Journal
from alloy_nb.events import (
    BlockSealed,
    BlockStarted,
    Event,
    ReplyStarted,
    RunStarted,
    Stopped,
    TextDelta,
    ThinkingDelta,
    ToolFinished,
    ToolInputDelta,
    ToolStarted,
    TurnFinished,
    TurnStarted,
    UsageReported,
)
from alloy_nb.messages import Message, StopReason, Text, ToolCall, ToolResult, user
from alloy_nb.providers.fold import ReplyBuilder
from alloy_nb.providers.wire_json import dumps
from alloy_nb.usage import Cost, Usage

__all__ = ["USED", "answered", "reply", "say", "scripted", "stamped"]

USED = Usage(input_tokens=10, output_tokens=5)
PAID = Cost(known=Decimal("0.01"))


def stamped(*bodies: Any, run: str = "run-1", first: int = 1) -> list[Event]:
    """Return the bodies in envelopes, as a run stamps them."""
    events, turn = [], 0
    for seq, body in enumerate(bodies, first):
        turn += isinstance(body, TurnStarted)
        events.append(Event(1, seq, run, "main", turn, 1000.0 + seq, body))
    return events


def reply(*blocks: tuple[Any, ...], stop: StopReason = StopReason.END_TURN) -> Iterator[Any]:
    """Yield the events of a whole reply: ``("text", piece...)``, ``("thinking", piece...)`` or
    ``("call", id, name, arguments)``."""
    builder = ReplyBuilder(provider="scripted", model="scripted-1")
    yield TurnStarted("scripted", "scripted-1")
    for body in _of_reply(blocks, stop):
        builder.feed(body)
        yield body
    yield TurnFinished(builder.done().message, USED, PAID, 0.5)


def _of_reply(blocks: Any, stop: StopReason) -> Iterator[Any]:
    yield ReplyStarted("r1", "scripted-1")
    for index, (kind, *rest) in enumerate(blocks):
        match kind:
            case "text" | "thinking":
                yield BlockStarted(index, kind)
                delta = TextDelta if kind == "text" else ThinkingDelta
                yield from (delta(index, piece) for piece in rest)
            case "call":
                id_, name, arguments = rest
                yield BlockStarted(index, "tool_call", id=id_, name=name)
                json = dumps(arguments).decode()
                yield ToolInputDelta(index, json[:3])
                yield ToolInputDelta(index, json[3:])
        yield BlockSealed(index)
    yield UsageReported(USED)
    yield Stopped(stop)


def answered(id_: str, name: str, text: str) -> ToolResult:
    """Return a tool's result."""
    return ToolResult(call_id=id_, name=name, content=(Text(text=text),))


def say(journal: Journal, prompt: str, answer: str, **about: Any) -> str:
    """Take one whole turn, and return its id."""
    turn = journal.begin(user(prompt), **about)
    events = stamped(RunStarted(user(prompt), "scripted", "m"), *reply(("text", answer)))
    turn.note(events)
    turn.flush()
    turn.finish([user(prompt), events[-1].body.message], usage=USED, cost=PAID)
    return turn.id


def scripted(random: random.Random, *, tag: str) -> tuple[Message, list[Any], list[Message]]:
    """Return a random turn with tools: the prompt, what happens, and what it adds."""
    prompt = user(f"{tag}: {random.choice(['what', 'why', 'é€🎉'])}?")
    bodies: list[Any] = [RunStarted(prompt, "scripted", "scripted-1")]
    messages = [prompt]
    for number in range(random.randrange(3)):
        ids = [f"{tag}.{number}.{n}" for n in range(random.randrange(1, 4))]
        calls = [("call", id_, "add", {"a": random.randrange(9), "tag": tag}) for id_ in ids]
        said = list(reply(("thinking", "hm", "m"), *calls, stop=StopReason.TOOL_USE))
        bodies += said
        message = said[-1].message
        messages.append(message)
        done: list[ToolResult] = []
        made: list[ToolCall] = message.tool_calls
        for call in made:
            bodies.append(ToolStarted(call))
            size = random.choice((10, 9_000))
            result = answered(call.id, call.name, f"{tag} " + "x" * size)
            done.append(result)
            bodies.append(ToolFinished(call, result, 0.1, object()))
        messages.append(Message(role="user", content=tuple(done)))
    words = [f"{tag} word{n} " for n in range(random.randrange(1, 60))]
    said = list(reply(("text", *words)))
    messages.append(said[-1].message)
    return prompt, bodies + said, messages

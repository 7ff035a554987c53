"""The public scripted provider, with replies spelled out as events: tests of the engine cut them.

::

    model = Scripted(calls(("add", {"a": 1, "b": 2})), says("3"))
    al.run("1 + 2?", provider=model, tools=[add]).text          # "3"
    model.requests[1].messages                                   # what was sent

An item is a list of events, an exception to raise before any, or both in one list: then the events
come first. `HANG` in a list waits for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from alloy_nb.events import (
    BlockSealed,
    BlockStarted,
    ModelEvent,
    ReplyStarted,
    Stopped,
    TextDelta,
    ToolInputDelta,
    UsageReported,
)
from alloy_nb.messages import StopReason
from alloy_nb.providers.base import ModelRequest
from alloy_nb.providers.wire_json import dumps
from alloy_nb.testing import FOREVER, ScriptedProvider
from alloy_nb.usage import Usage

__all__ = ["HANG", "Scripted", "calls", "of_run", "says"]

HANG = FOREVER
Item = Sequence[Any] | BaseException | Callable[[ModelRequest], Any]
_USED = Usage(input_tokens=10, output_tokens=5)


class Scripted(ScriptedProvider):
    """Answers each request with the next item of the script, then with `otherwise`.

    With `steps`, whatever else the loop has to do is done between two events.
    """

    def __init__(
        self,
        *script: Item,
        name: str = "scripted",
        otherwise: Item | None = None,
        steps: bool = False,
    ) -> None:
        super().__init__(*script, name=name, otherwise=otherwise, pace=0.0 if steps else None)


def says(
    text: str,
    *more: str,
    stop: StopReason = StopReason.END_TURN,
    usage: Usage | None = _USED,
) -> list[ModelEvent]:
    """Return a reply of text, in these pieces."""
    pieces = [TextDelta(0, piece) for piece in (text, *more) if piece]
    body = [BlockStarted(0, "text"), *pieces, BlockSealed(0)] if pieces else []
    return _reply(body, stop, usage)


def calls(
    *wanted: tuple[str, Any] | tuple[str, Any, str],
    text: str = "",
    stop: StopReason = StopReason.TOOL_USE,
    usage: Usage | None = _USED,
) -> list[ModelEvent]:
    """Return a reply of calls: names and arguments, which may be a text, and perhaps ids."""
    body: list[ModelEvent] = []
    if text:
        body += [BlockStarted(0, "text"), TextDelta(0, text), BlockSealed(0)]
    for number, (name, arguments, *id_) in enumerate(wanted, 1):
        json = arguments if isinstance(arguments, str) else dumps(arguments).decode()
        started = BlockStarted(number, "tool_call", id=id_[0] if id_ else f"c{number}", name=name)
        body += [started, ToolInputDelta(number, json), BlockSealed(number)]
    return _reply(body, stop, usage)


def _reply(body: list[ModelEvent], stop: StopReason, usage: Usage | None) -> list[ModelEvent]:
    counted = [] if usage is None else [UsageReported(usage)]
    return [ReplyStarted("r1", "scripted-1"), *body, *counted, Stopped(stop)]


def of_run(kind: type, events: Sequence[Any]) -> list[Any]:
    """Return the bodies of one kind among the events of a run."""
    return [event.body for event in events if isinstance(event.body, kind)]

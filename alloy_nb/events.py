"""What happens while a model answers and while an agent runs, as small values.

A `ModelEvent` is one step of one reply, the same for every vendor. A `RunEvent` is a step of the
agent around it. An `Event` is either of them in its envelope, stamped in one place
(:meth:`alloy_nb.engine.run.Run.emit`).

Every type checker sees these classes as frozen. At run time they are plain slotted dataclasses: a
frozen one takes three times as long to make (it assigns through ``object.__setattr__``), and one
is made for each token.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar, dataclass_transform

from alloy_nb.messages import Block, Citation, Message, StopReason, ToolCall, ToolResult
from alloy_nb.usage import Cost, Usage

__all__ = [
    "ApprovalAsked",
    "ApprovalDecided",
    "BlockSealed",
    "BlockStarted",
    "BudgetWarned",
    "CitationAdded",
    "ContextCompacted",
    "Delegated",
    "Event",
    "EventBody",
    "ModelEvent",
    "ReplyStarted",
    "RetryScheduled",
    "RunEvent",
    "RunFinished",
    "RunStarted",
    "Steered",
    "Stopped",
    "TextDelta",
    "ThinkingDelta",
    "ToolFinished",
    "ToolInputDelta",
    "ToolProgress",
    "ToolStarted",
    "ToolWithheld",
    "TurnFinished",
    "TurnStarted",
    "UsageReported",
]

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True)
def _value(cls: type[_T]) -> type[_T]:
    return dataclass(slots=True)(cls)


# --- one reply of a model ---------------------------------------------------------------------


@_value
class ReplyStarted:
    """The vendor began to answer; `id` is its name for the reply, `host` where it was asked."""

    id: str | None = None
    model: str | None = None
    host: str | None = None


@_value
class BlockStarted:
    """Block `index` begins. `kind` is a block's ``type``; calls have an `id` and a `name`."""

    index: int
    kind: str
    id: str | None = None
    name: str | None = None
    server: bool = False


@_value
class TextDelta:
    """More text of block `index`."""

    index: int
    text: str


@_value
class ThinkingDelta:
    """More thinking of block `index`."""

    index: int
    text: str


@_value
class ToolInputDelta:
    """More of the JSON text that will be the arguments of the call in block `index`."""

    index: int
    json: str


@_value
class CitationAdded:
    """A source for the text of block `index`."""

    index: int
    citation: Citation


@_value
class BlockSealed:
    """Block `index` is whole.

    `replay` is what the vendor must get back with it. `block` is given where the block arrived
    in one piece; the deltas, if any, are then already part of it.
    """

    index: int
    replay: dict[str, Any] | None = None
    block: Block | None = None


@_value
class UsageReported:
    """The counts of this reply so far: absolute, so a later report replaces this one."""

    usage: Usage


@_value
class Stopped:
    """The reply ended as its format says it must; a stream without this event was cut.

    `state` is the vendor's own, to be sent with the next request.
    """

    reason: StopReason
    detail: str | None = None
    state: dict[str, Any] | None = None


ModelEvent = (
    ReplyStarted
    | BlockStarted
    | TextDelta
    | ThinkingDelta
    | ToolInputDelta
    | CitationAdded
    | BlockSealed
    | UsageReported
    | Stopped
)


# --- the agent around it ----------------------------------------------------------------------


@_value
class RunStarted:
    """A run begins, with the message that started it (``None`` when a history is continued)."""

    prompt: Message | None
    provider: str
    model: str
    correlation_id: str = ""
    """What ties the run to the caller's own records; see `Run.correlation_id`."""


@_value
class TurnStarted:
    """A request to the model is about to be sent; `turn` in the envelope counts from 1."""

    provider: str
    model: str


@_value
class Steered:
    """What the person said meanwhile goes along with the next request; see `Run.steer`."""

    message: Message


@_value
class RetryScheduled:
    """A request failed before its first event and is sent again in `delay` seconds."""

    attempt: int
    delay: float
    reason: str


@_value
class ContextCompacted:
    """What is sent was shortened to fit: the number of messages before and after.

    `how` is ``summary``, ``cleared`` (old results of tools) or ``truncated``. It was `forced` where
    the model had refused the longer one. `usage` and `cost` are those of the summary.
    """

    before: int
    after: int
    how: str = "summary"
    forced: bool = False
    usage: Usage | None = None
    cost: Cost | None = None


@_value
class ToolStarted:
    """A tool runs now."""

    call: ToolCall


@_value
class ToolProgress:
    """A line that a running tool reports."""

    call_id: str
    text: str


@_value
class ToolFinished:
    """A tool answered after `seconds`. `data` is what it returned for the program, if anything."""

    call: ToolCall
    result: ToolResult
    seconds: float
    data: Any = None


@_value
class ToolWithheld:
    """What a tool answered, of which less goes to the model; for the person alone.

    It comes before the `ToolFinished` of the call, whose result is what goes.
    """

    result: ToolResult


@_value
class ApprovalAsked:
    """The person is asked whether a call may run; `subject` is exactly what would run."""

    call: ToolCall
    subject: str


@_value
class ApprovalDecided:
    """It was decided whether a call may run; `call` is what runs, also where it was edited.

    `how` is one of `engine.calls.approval.Way`: who decided, and for how long. `reason` is what
    the person said, or why nobody could be asked.
    """

    call: ToolCall
    allowed: bool
    how: str = "policy"
    reason: str = ""


@_value
class BudgetWarned:
    """`spent` US dollars of `limit` are used."""

    spent: Decimal
    limit: Decimal


@_value
class Delegated:
    """An event of another agent, which works for this one in the call `call_id`."""

    agent: str
    event: Event
    call_id: str = ""


@_value
class TurnFinished:
    """A reply is complete: the message, what it used, what it cost."""

    message: Message
    usage: Usage
    cost: Cost
    seconds: float
    first_token: float | None = None
    """Seconds from the request to the first text or thinking, or ``None`` without any."""


@_value
class RunFinished:
    """The run is over. `status` is a `RunStatus`; `error` one sentence, or ``None``."""

    status: str
    usage: Usage
    cost: Cost
    seconds: float
    error: str | None = None


RunEvent = (
    RunStarted
    | TurnStarted
    | Steered
    | RetryScheduled
    | ContextCompacted
    | ToolStarted
    | ToolProgress
    | ToolFinished
    | ToolWithheld
    | ApprovalAsked
    | ApprovalDecided
    | BudgetWarned
    | Delegated
    | TurnFinished
    | RunFinished
)

EventBody = ModelEvent | RunEvent


@_value
class Event:
    """An event in its envelope, format version `v`.

    `seq` counts from 1 within a run, over all kinds. `turn` is the number of the reply that is
    being made. `at` is seconds since the epoch.
    """

    v: int
    seq: int
    run_id: str
    agent: str
    turn: int
    at: float
    body: EventBody

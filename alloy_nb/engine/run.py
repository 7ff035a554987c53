"""One execution of an agent: its event log, its result, and the one place that stamps events.

A run is an append-only log, and whoever watches it is a cursor on that log: a cell and a panel can
watch the same run, a watcher that comes late misses nothing, and one that fails takes nothing with
it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from types import TracebackType
from typing import Any

from alloy_nb.engine.steering import Steering
from alloy_nb.engine.window.conversation import View
from alloy_nb.errors import AlloyError
from alloy_nb.events import Event, EventBody
from alloy_nb.messages import Message, StopReason, user
from alloy_nb.usage import Cost, Usage

__all__ = ["Result", "Run", "RunStatus", "ToolRecord"]


class RunStatus(StrEnum):
    """How a run ended, or that it has not yet."""

    IDLE = "idle"
    RUNNING = "running"
    COMPLETED = "completed"
    MAX_TURNS = "max_turns"
    BUDGET_EXCEEDED = "budget_exceeded"
    HALTED = "halted"
    CANCELLED = "cancelled"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class ToolRecord:
    """One call that was made or refused: what was asked, how long it took, what went wrong."""

    id: str
    name: str
    input: dict[str, Any]
    seconds: float
    error: str | None = None
    data: Any = None
    """What the tool returned for the program, besides its text for the model."""
    start_event_seq: int | None = None
    """The number of the event with which it started, or ``None`` where it did not run."""
    end_event_seq: int | None = None
    """The number of the event with which it ended."""
    correlation_id: str = ""
    """The run's `Run.correlation_id`."""
    decision: str = ""
    """What a person decided about it, in words; empty where nobody was asked."""

    @property
    def duration_ms(self) -> int:
        """How long it took, in whole milliseconds."""
        return max(0, round(self.seconds * 1000))


@dataclass(frozen=True)
class Result(Mapping[str, Any]):
    """The outcome of a run, by attribute or by key.

    Args:
        text: The text of the last answer of this run; empty where there was none.
        thinking: What was thought before it.
        messages: The whole conversation, this run included.
        usage: Tokens of this run.
        cost: US dollars of this run.
        tool_calls: Every call of this run, in the model's order.
        status: How it ended.
        turns: Replies of the model in this run.
        seconds: How long it took.
        error: One sentence where the status is *error*, *halted* or *budget_exceeded*.
        stop_reason: Why the last reply ended; ``max_tokens`` means that it was cut.
        exception: The error itself, to raise or to inspect.
        output: The value that ``until_tool=`` with a type asked for, or ``None`` where the run
            ended without it.
        request_id: ``context["request_id"]``, or ``None``.
        view: What was sent of a conversation that was shortened; hand it on with the messages.
        metadata: What else is known: `provider_state`, to go on from at the same vendor;
            `provider_response`, with the last reply's citations and what the vendor ran itself;
            `run`, with what happened on the way (`compactions`, `context_overflow_recovered`, and
            an `error` by its parts); `context_tokens`, what the last reply read and wrote.
    """

    text: str
    thinking: str
    messages: list[Message]
    usage: Usage
    cost: Cost
    tool_calls: list[ToolRecord]
    status: RunStatus
    turns: int
    seconds: float = 0.0
    error: str | None = None
    stop_reason: StopReason | None = None
    exception: AlloyError | None = field(default=None, repr=False)
    output: Any = None
    request_id: str | None = None
    view: View | None = field(default=None, repr=False)
    metadata: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def unanswered(
        cls, status: RunStatus, error: str, *, exception: AlloyError | None = None
    ) -> Result:
        """Return the outcome of a run that could not begin, or was stopped before any answer."""
        return cls(
            text="",
            thinking="",
            messages=[],
            usage=Usage(),
            cost=Cost(),
            tool_calls=[],
            status=status,
            turns=0,
            error=error,
            exception=exception,
        )

    @property
    def ok(self) -> bool:
        """Whether the run ended by itself or at one of its limits."""
        return self.status in _FINE

    def raise_for_status(self) -> Result:
        """Raise the error of a run that failed; return the result of one that did not."""
        if self.exception is not None and not self.ok:
            raise self.exception
        return self

    def replace(self, **changes: Any) -> Result:
        """Return a copy with other values."""
        return replace(self, **changes)

    def pop(self, key: str) -> tuple[Any, Result]:
        """Return a value, and a copy of the result in which it is ``None``."""
        nothing: dict[str, Any] = {key: None}
        return self[key], replace(self, **nothing)

    def __getitem__(self, key: str) -> Any:
        if key in _FIELDS:
            return getattr(self, key)
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(_FIELDS)

    def __len__(self) -> int:
        return len(_FIELDS)

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        text = self.text if len(self.text) <= 60 else f"{self.text[:57]}..."
        return f"Result({text!r}, status={self.status.value!r}, turns={self.turns}, {self.cost})"


_FIELDS = tuple(f.name for f in fields(Result))
_FINE = (RunStatus.COMPLETED, RunStatus.MAX_TURNS, RunStatus.BUDGET_EXCEEDED)


class Run:
    """A run that is under way, and afterwards its record.

    Iterate it for its events, from the first, as often as wanted; await `result` for its outcome.
    Used as ``async with``, leaving the block stops it and waits until its connection is closed.
    """

    def __init__(
        self,
        *,
        agent: str,
        context: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.id = os.urandom(16).hex()  # as random as a UUID, in a tenth of the time
        self.agent = agent
        self.context = {} if context is None else context
        self.turn = 0
        self.replays: str | None = None
        """The turn of the journal that this shows again; nothing is sent."""
        self.notes: list[str] = []
        """What a face says first: a line each."""
        self.events: list[Event] = []
        self.watchers: list[Callable[[], None]] = []
        """Called after each event, on the loop's thread; they only take note."""
        self.steering = Steering()
        """What was said into it; see `steer`."""
        self._clock = clock
        self._waiting: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[Result] | None = None
        self._begun = False
        self._closed = False

    @property
    def correlation_id(self) -> str:
        """What ties this run to the caller's own records: the id that they gave, or the run's.

        A caller gives it as ``context={"request_id": ...}``, or else as ``"correlation_id"``.
        """
        given = self.context.get("request_id") or self.context.get("correlation_id")
        return self.id if given is None else str(given)

    def emit(self, body: EventBody) -> None:
        """Stamp an event, log it, and wake whoever waits for it."""
        events = self.events
        events.append(
            Event(1, len(events) + 1, self.id, self.agent, self.turn, self._clock(), body)
        )
        if self._waiting:
            self._wake()
        for watcher in self.watchers:
            watcher()

    def repeat(self, event: Event, body: EventBody) -> None:
        """Log an event of an earlier run again, with the time at which it happened."""
        self.turn = event.turn
        number = len(self.events) + 1
        self.events.append(replace(event, seq=number, run_id=self.id, body=body))
        if self._waiting:
            self._wake()
        for watcher in self.watchers:
            watcher()

    def start(self, work: Coroutine[Any, Any, Result]) -> Run:
        """Begin the work of this run on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._finish(work))
        # One that is cancelled before its first step, at exit, would leave its work unawaited.
        self._task.add_done_callback(lambda _: work.close())
        return self

    def cancel(self) -> None:
        """Stop the run: its partial answer is kept, and its status is *cancelled*."""
        if self._task is None:
            return
        if self._begun:
            self._task.cancel()
        else:
            # A task that is cancelled before its first step would never do its work's cleanup.
            self._task.get_loop().call_soon(self._task.cancel)

    def steer(self, prompt: str | Message) -> None:
        """Say something to the model while it works, from any thread.

        It goes along with the next request, behind the results of the tools that ran. Where the
        model had come to its end, the run goes on with it, within its limits. What a run does not
        come to hear, since it was stopped or reached a limit, is in `Steering.unheard`.

        Raises:
            SessionError: The run is over, or it is a replay.
        """
        self.steering.say(user(prompt) if isinstance(prompt, str) else prompt)

    @property
    def done(self) -> bool:
        """Whether the run is over."""
        return self._closed

    @property
    def status(self) -> RunStatus:
        """*idle* before it is started, *running* while it is under way, then how it ended."""
        if self._task is None:
            return RunStatus.IDLE
        if not self._task.done():
            return RunStatus.RUNNING
        return RunStatus.CANCELLED if self._task.cancelled() else self._task.result().status

    async def result(self) -> Result:
        """Wait for the outcome; a failed run has the status *error* and raises nothing here."""
        if self._task is None:
            raise RuntimeError("the run was not started")
        return await asyncio.shield(self._task)

    async def __aiter__(self) -> AsyncIterator[Event]:
        seen = 0
        async for count in self.batches():
            while seen < count:
                yield self.events[seen]
                seen += 1

    async def batches(self) -> AsyncIterator[int]:
        """Yield how many events there are, each time that there are more."""
        seen = 0
        while True:
            if len(self.events) > seen:
                seen = len(self.events)
                yield seen
            elif self._closed:
                return
            else:
                waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiting.append(waiting)
                await waiting

    async def __aenter__(self) -> Run:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._task is None or self._task.done():
            return
        self.cancel()
        with contextlib.suppress(asyncio.CancelledError):  # it is ours: we have just asked for it
            await asyncio.shield(asyncio.gather(self._task, return_exceptions=True))

    async def _finish(self, work: Coroutine[Any, Any, Result]) -> Result:
        self._begun = True
        try:
            return await work
        finally:
            self.steering.close()
            self._closed = True
            self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

"""Runs within runs: what a run that works for another owes it.

An agent that is given to another as a tool, or any run that a tool begins, counts for the run that
asked: what it uses and costs is part of that run's result, it spends from that run's budget too,
and it cannot go deeper than `MAX_DEPTH`. An agent that is a tool is also seen: each of its events
is an event `Delegated` of the run that asked, and it is stopped with that run.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from alloy_nb.engine.budget import joined
from alloy_nb.engine.calls.tool import Tool, ToolContext, ToolOutput, tool
from alloy_nb.engine.run import Result, Run, RunStatus
from alloy_nb.errors import ConfigError, SessionError, ToolError
from alloy_nb.events import Delegated
from alloy_nb.usage import Cost, Usage

if TYPE_CHECKING:
    from alloy_nb.engine.agent import Agent, Prompt
    from alloy_nb.engine.sessions.session import Session

__all__ = ["MAX_DEPTH", "Ledger", "Share", "as_tool"]

# An agent that asks an agent that asks an agent is a design; much more is a circle.
MAX_DEPTH = 5
# A worker may have a long task; the run's own limits hold besides.
SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Share:
    """What one agent used: tokens, US dollars, runs."""

    usage: Usage = field(default_factory=Usage)
    cost: Cost = field(default_factory=Cost)
    runs: int = 0

    def __add__(self, other: Share) -> Share:
        return Share(self.usage + other.usage, self.cost + other.cost, self.runs + other.runs)


class Ledger:
    """What several agents used, by their names; any thread may add to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_agent: dict[str, Share] = {}

    def add(self, agent: str, share: Share) -> None:
        """Count a run."""
        with self._lock:
            self._by_agent[agent] = self._by_agent.get(agent, Share()) + share

    @property
    def by_agent(self) -> dict[str, Share]:
        """The shares by name, as a copy."""
        with self._lock:
            return dict(self._by_agent)

    @property
    def total(self) -> Share:
        """All shares together."""
        return sum(self.by_agent.values(), Share())


ledgers: ContextVar[tuple[Ledger, ...]] = ContextVar("alloy_ledgers", default=())
"""Where the runs that begin here are counted, besides in their own results."""


@contextlib.contextmanager
def counted_in(ledger: Ledger | None) -> Iterator[None]:
    """Count the runs that begin inside the block, and theirs, once each."""
    outer = ledgers.get()
    if ledger is None or ledger in outer:
        yield
        return
    token = ledgers.set((*outer, ledger))
    try:
        yield
    finally:
        ledgers.reset(token)


@dataclass(frozen=True, slots=True)
class Frame:
    """A run under way, as those see it that it asks."""

    run: Run
    agent: Agent
    depth: int = 0
    delegates: Ledger = field(default_factory=Ledger)
    outer: tuple[Ledger, ...] = ()
    asked_by: Frame | None = None

    def leave(self) -> None:
        """End the run in its task: the run holds the task, and is freed when that lets go of it."""
        _current.set(self.asked_by)
        ledgers.set(self.outer)

    def roll_up(self, result: Result) -> Result:
        """Count a run where it belongs, and return its result with what its delegates used."""
        own = Share(result.usage, result.cost, runs=1)
        for ledger in self.outer:
            ledger.add(self.run.agent, own)
        theirs = self.delegates.by_agent
        if not theirs:
            return result
        whole = own + self.delegates.total
        theirs[self.run.agent] = own + theirs.get(self.run.agent, Share())
        metadata = {**result.metadata, "agents": theirs}
        return replace(result, usage=whole.usage, cost=whole.cost, metadata=metadata)


_current: ContextVar[Frame | None] = ContextVar("alloy_frame", default=None)


def enter(run: Run, agent: Agent) -> Frame:
    """Begin a run in the task that runs it; ``frame.agent`` has the budget that it is held to."""
    parent, outer = _current.get(), ledgers.get()
    depth = 0
    if parent is not None:
        depth = parent.depth + 1
        budget = joined(agent.budget, parent.agent.budget)
        if budget is not agent.budget:
            agent = replace(agent, budget=budget)
        handed = [m for m in parent.agent.middleware if m.inherited and m not in agent.middleware]
        if handed:
            agent = replace(agent, middleware=(*handed, *agent.middleware))
    frame = Frame(run, agent, depth=depth, outer=outer, asked_by=parent)
    _current.set(frame)
    ledgers.set((*outer, frame.delegates))
    return frame


def as_tool(
    worker: Agent | Session,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = SECONDS,
    max_depth: int = MAX_DEPTH,
) -> Tool:
    """Make an agent a tool of another one: its task is the argument, its answer the result.

    An agent begins anew with each call; a session goes on with its conversation, one call after
    the other.

    Args:
        worker: Who does the task.
        name: What the model calls it; the default is ``ask_`` and the agent's name.
        description: What the model is told of it.
        timeout: Seconds for one call.
        max_depth: How deep agents may ask agents.

    Raises:
        ConfigError: The name cannot be a tool's.
    """
    return ask_tool(
        lambda: worker,
        say=lambda task: task,
        like=worker,
        agent=worker.name,
        name=name or tool_name(worker.name),
        description=description or f"Give a task to the agent {worker.name!r}; it answers in text.",
        timeout=timeout,
        max_depth=max_depth,
    )


def tool_name(agent: str) -> str:
    """Return what a model may call the tool that asks an agent."""
    return f"ask_{re.sub(r'[^A-Za-z0-9_-]', '_', agent)}"[:64]


def _risk(worker: Agent | Session) -> str:
    """Return whether to give a task is to run things, or the worker asks for itself."""
    from alloy_nb.engine.sessions.session import (
        Session,  # it is made of agents, and so stands above
    )

    agent = worker.agent if isinstance(worker, Session) else worker
    reads = all(one.risk == "read" for one in agent.tools)
    return "read" if reads or agent.approve != "all" else "run"


def ask_tool(
    find: Callable[[], Agent | Session],
    *,
    say: Callable[[str], Prompt],
    like: Agent | Session,
    agent: str,
    name: str,
    description: str,
    timeout: float | None,
    max_depth: int,
) -> Tool:
    """Make the tool: `find` returns the worker when it is called, `say` what it is told.

    `like` is who it is when the tool is made, which says how risky it is to ask; `agent` is what
    it is called.
    """

    @tool(name=name, description=description, timeout=timeout, risk=_risk(like))
    async def ask(task: str, context: ToolContext) -> ToolOutput:
        frame = _current.get()
        if frame is not None and frame.depth >= max_depth:
            raise ToolError(
                f"{agent} was not asked: agents may ask each other {max_depth} deep, and this "
                "would be one more. Do the task yourself, or answer without it."
            )
        try:
            async with begin(find(), say(task)) as run:
                if frame is not None:
                    await _relay(run, frame.run, context.call_id)
                return _answer(run.agent, await run.result())
        except (SessionError, ConfigError) as error:
            raise ToolError(f"{agent} was not asked: {error}") from None

    return ask


def begin(worker: Agent | Session, task: Prompt) -> AbstractAsyncContextManager[Run]:
    """Return the run of a task, to be entered."""
    from alloy_nb.engine.sessions.session import Session

    return worker.start(task, wait=True) if isinstance(worker, Session) else worker.start(task)


async def _relay(run: Run, parent: Run, call_id: str) -> None:
    """Tell the parent's watchers of each event, until the run is over."""
    seen = 0
    async for count in run.batches():
        for event in run.events[seen:count]:
            parent.emit(Delegated(run.agent, event, call_id))
        seen = count


def _answer(agent: str, result: Result) -> ToolOutput:
    """Return what the asking model is told, and for the program how it went."""
    data: dict[str, Any] = {
        "agent": agent,
        "status": result.status.value,
        "turns": result.turns,
        "cost_usd": None if result.cost.usd is None else str(result.cost.usd),
    }
    if result.status is RunStatus.COMPLETED:
        return ToolOutput(result.text or "(no answer)", data=data)
    why = result.error or f"it ended with the status {result.status.value!r}"
    said = f"\n\nWhat it had said:\n{result.text}" if result.text else ""
    return ToolOutput(f"{agent} did not finish: {why}{said}", data=data, is_error=not result.ok)

"""A turn on its way into the journal: begun before anything is sent, written as it happens.

::

    settings, prompt ─▶ begun ─▶ Keeper ◀── the run's events
                                   │ flush: before a call runs, before a frame is drawn, by a clock
                                   └ finish: the messages, what it used, what it cost
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from alloy_nb.engine.agent import Agent
from alloy_nb.engine.journal import Journal, Turn
from alloy_nb.engine.run import Result, Run
from alloy_nb.engine.sessions import branches, replay, switch
from alloy_nb.engine.sessions.cue import Cue, deciding, model_of
from alloy_nb.engine.sessions.history import History
from alloy_nb.events import ToolFinished, ToolStarted, TurnFinished
from alloy_nb.messages import Message

__all__ = ["Keeper", "start"]

# Seconds after which what nobody has shown yet is written too.
_CLOCK = 0.25
# What a call may have done must be on disk before it does it, and its result before the next.
_AT_ONCE = (TurnFinished, ToolStarted, ToolFinished)


class Keeper:
    """Writes the events of one run; it lives on the thread of the run's loop."""

    def __init__(self, turn: Turn, run: Run) -> None:
        self._turn = turn
        self._run = run
        self._seen = 0
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        run.watchers.append(self._noticed)

    def flush(self) -> None:
        """Write what happened so far: when it returns, it outlives this process."""
        self._note()
        self._turn.flush()

    def finish(self, result: Result, new: Sequence[Message]) -> None:
        """Write how the turn ended, and the messages that it added."""
        self._note()
        view = None if result.view is None else result.view.model_dump(mode="json")
        self._turn.finish(
            new, status=result.status.value, usage=result.usage, cost=result.cost, view=view
        )

    def _noticed(self) -> None:
        # A run that is taken down after its loop, at exit, has no clock any more.
        if isinstance(self._run.events[-1].body, _AT_ONCE) or self._loop.is_closed():
            self.flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(_CLOCK, self.flush)

    def _note(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        events = self._run.events
        self._turn.note(events[self._seen :])
        self._seen = len(events)


def start(
    journal: Journal | None, history: History, agent: Agent, said: Message | None, *, cue: Cue
) -> tuple[Run, Keeper | None]:
    """Begin a turn: a new one, with what writes it, or the replay of one that was asked before.

    Raises:
        SessionError: Another process writes to this session, or it was only to be replayed.
        ConfigError: There is nothing to answer.
    """
    if journal is None:
        switched = switch.note(history.messages, agent.provider)
        return _noted(_started(history, agent, cue.with_note(said)), switched), None
    replaced = branches.replaced(journal, history, cue.key)
    switched = switch.note(history.messages, agent.provider)
    run = replay.again(journal, agent, said, cue=cue, history=history.messages)
    if run is not None:
        return _noted(run, switched), None
    turn = _begun(journal, agent, said, cue=cue, history=history.messages)
    try:
        # Where nothing was said before, there is nothing that the note would be about.
        run = _started(history, agent, cue.with_note(said) if history.messages else said)
    except BaseException:  # while a turn is open, no other can begin
        turn.finish((), status="error")
        raise
    return _noted(run, replaced, switched), Keeper(turn, run)


def _noted(run: Run, *notes: str | None) -> Run:
    run.notes += [note for note in notes if note]
    return run


def _started(history: History, agent: Agent, said: Message | None) -> Run:
    return agent.start(
        said,
        messages=history.messages,
        memory=history.memory,
        provider_state=history.provider_state,
        view=history.view,
    )


def _begun(
    journal: Journal, agent: Agent, said: Message | None, *, cue: Cue, history: Sequence[Message]
) -> Turn:
    """Begin a turn in the journal, which has the history before it afterwards.

    Raises:
        SessionError: Another process writes to this session.
    """
    if history and journal.head is None:  # it was handed in, and is no turn's
        journal.begin(None).finish(history)
    return journal.begin(
        said,
        key=cue.key,
        model=model_of(agent),
        settings=deciding(agent),
        references=cue.references,
    )

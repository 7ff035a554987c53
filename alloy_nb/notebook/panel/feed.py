"""One conversation, followed: its runs become the live turn, and turns that are over.

::

    session.bus ─┬─ a run ───▶ Live: transcript + canvas ─▶ output, output, ...
                 └─ changed ─▶ sync: the turns of the session, compared with those shown
    a prompt of the panel ───▶ Live, drawn by `turn`

What happens, happens on the portal's thread, so that all that is sent has one order, and a front
end that says hello in the middle is told everything once. Whoever begins a turn, a cell, a panel
or a program, it is drawn here, and told to all panels of the conversation.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakSet

from alloy_nb.engine.run import Run
from alloy_nb.engine.sessions.record import TurnRecord
from alloy_nb.engine.sessions.session import Session
from alloy_nb.engine.window.compaction import window_of
from alloy_nb.events import RunStarted
from alloy_nb.messages import Message
from alloy_nb.notebook.drawing.transcript import Transcript
from alloy_nb.notebook.panel.drawn import Asked, Drawn, asked_in, clock
from alloy_nb.notebook.panel.history import drawn_from, fill, is_prompt
from alloy_nb.notebook.panel.live import Live

__all__ = ["LAST", "Feed", "Listener"]

log = logging.getLogger("alloy_nb")

Listener = Callable[[str, Mapping[str, Any]], None]
"""What is told: the kind of a message, and its fields."""

LAST = 60
"""So many turns a front end gets at once; older ones it asks for."""

_LAST_BYTES = 400_000
_OLDER = 20
_OLDER_BYTES = 200_000
_RECENT = 10
_ids = itertools.count(1)


class Feed:
    """Follows one conversation for all panels that show it.

    Args:
        session: The conversation.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.turns: list[Drawn] = []
        """Those that are over."""
        self.live: Live | None = None
        self.version = 0
        """Counts the changes of `turns`."""
        self._listeners: list[Listener] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._runs: WeakSet[Run] = WeakSet()  # that are drawn, or were
        records, messages = session.export_session().turns, session.messages
        self._lead = records[0].first if records else len(messages)
        self.turns = _handed_in(messages[: self._lead])
        self.turns += [self._old(record, number) for number, record in enumerate(records, 1)]
        self._mark()
        self.last()  # drawn by whoever opens it: the portal's thread has others to serve
        self._subscriptions = [
            session.bus.subscribe(session.runs_topic, self._heard),
            session.bus.subscribe(session.changes_topic, self._changed),
        ]

    async def open(self) -> None:
        """Take in what happened since it was made, and the turn that is under way."""
        self.sync()
        run = self.session.run
        if run is not None:
            await self._heard(run)

    def close(self) -> None:
        """Follow it no more."""
        for subscription in self._subscriptions:
            subscription.close()
        self._listeners.clear()

    # --- who listens ------------------------------------------------------------------------------

    def listen(self, listener: Listener) -> None:
        """Tell somebody everything from now on."""
        self._listeners.append(listener)

    def leave(self, listener: Listener) -> bool:
        """Tell somebody nothing more; tell whether anybody is left."""
        if listener in self._listeners:
            self._listeners.remove(listener)
        return bool(self._listeners)

    def send(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Tell all who listen; one who fails takes nothing from the others."""
        for listener in list(self._listeners):
            try:
                listener(kind, fields)
            except Exception:  # a front end that is gone must not end a turn
                log.warning("A panel could not be told", exc_info=True)

    # --- what is shown ----------------------------------------------------------------------------

    def last(self, most: int = LAST) -> list[Drawn]:
        """Return the newest turns that are over, drawn: as many as a front end gets at once."""
        return self._back_from(len(self.turns), most, _LAST_BYTES)

    def before(self, index: int) -> list[Drawn]:
        """Return drawn turns that came just before one, by its index."""
        return self._back_from(max(0, min(index, len(self.turns))), _OLDER, _OLDER_BYTES)

    def part(self, turns: Sequence[Drawn]) -> dict[str, Any]:
        """Return neighbouring turns as the fields of a message."""
        every = self.turns
        first = every.index(turns[0]) if turns and turns[0] in every else len(every)
        return {
            "turns": [turn.entry() for turn in turns],
            "first": first,
            "total": len(every),
            "version": self.version,
        }

    def numbered(self, number: int) -> Drawn | None:
        """Return the turn with a number of the conversation, drawn."""
        found = next((turn for turn in self.turns if turn.number == number), None)
        if found is not None:
            self._fill(found, self.session.messages)
        return found

    def _back_from(self, end: int, most: int, most_bytes: int) -> list[Drawn]:
        chosen: list[Drawn] = []
        size, messages = 0, self.session.messages
        for turn in reversed(self.turns[max(0, end - most) : end]):
            self._fill(turn, messages)
            size += turn.size
            if chosen and size > most_bytes:
                break
            chosen.insert(0, turn)
        return chosen

    def _fill(self, turn: Drawn, messages: Sequence[Message]) -> None:
        if turn.record is not None and not turn.parts:
            fill(turn, _of(turn.record, messages))
        elif turn.span is not None and not turn.parts:
            fill(turn, messages[slice(*turn.span)])

    # --- the turn under way -----------------------------------------------------------------------

    def prepare(self, asked: Asked, transcript: Transcript) -> Live:
        """Return a turn that is to begin; nothing is told of it yet."""
        return Live(Drawn(f"t{next(_ids)}", None, "", asked), transcript, self.send)

    def begin(self, live: Live, run: Run, *, at: float | None = None) -> None:
        """Begin a turn, and tell all who listen."""
        self._runs.add(run)
        before = self.live
        if before is not None:  # it is over, and its end was not heard of yet
            self.finish(before)
        if before is not None and self.live is before:
            self._commit(before, None)
        self.live, live.run = live, run
        self.sync()
        live.turn.number = sum(turn.record is not None for turn in self.turns) + 1
        live.turn.at = clock(time.time() if at is None else at)
        live.begin()

    def finish(self, live: Live, *, alone: bool = False) -> None:
        """End the turn under way; one that is `alone` is none of the conversation."""
        if live.is_over:
            return
        live.catch_up()
        live.end()
        if alone:
            self._commit(live, None)
        else:
            self.sync()  # or later, when the session has given the turn back

    async def _heard(self, run: Run) -> None:
        if run in self._runs:  # a panel has begun it, and draws it
            return
        self._runs.add(run)
        if self.session.run is run:
            self.sync()  # a turn that is asked again takes the place of others
        elif any(turn.ends and turn.ends[0] is _prompt_of(run) for turn in self.turns[-_RECENT:]):
            return  # it was over before it was heard of, and is drawn already
        live = self._followed(run) if run.events else None
        task = asyncio.get_running_loop().create_task(self._follow(run, live))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self, run: Run, live: Live | None) -> None:
        """Draw a turn that somebody else has begun."""
        async for _ in run.batches():
            live = live or self._followed(run)
            live.catch_up()
            live.canvas.mark()
        if live is not None:
            self.finish(live)

    def _followed(self, run: Run) -> Live:
        session, first = self.session, run.events[0]
        transcript = Transcript(
            window_of(session.provider),
            getattr(session.provider, "label", None),
            total=session.cost,
        )
        transcript.events = run.events
        for note in run.notes:
            transcript.notice("info", note)
        if run.replays is not None:
            transcript.replayed()
        live = self.prepare(asked_in(_prompt_of(run)), transcript)
        live.follows, live.canvas.before = True, session.flush
        self.begin(live, run, at=first.at)
        return live

    def _commit(self, live: Live, record: TurnRecord | None) -> None:
        """Put the live turn among those that are over."""
        turn = live.turn
        turn.record = record
        turn.number = None if record is None else turn.number
        self.turns.append(turn)
        self.version += 1
        if self.live is live:
            self.live = None
        self.send("end", {"turn": turn.entry(), "total": len(self.turns), "version": self.version})

    # --- the conversation as it is ----------------------------------------------------------------

    async def _changed(self, _: object) -> None:
        self.sync()

    def sync(self) -> None:
        """Compare what is shown with the conversation, and tell what is different."""
        session = self.session
        records, messages = session.export_session().turns, session.messages
        known = [turn for turn in self.turns if turn.record is not None]
        same = 0
        for turn, record in zip(known, records, strict=False):
            if not _is_same(turn, record, messages):
                break
            turn.record, same = record, same + 1
        lead = records[0].first if records else len(messages)
        is_new = same < len(known) or lead != self._lead
        if same < len(known):
            self.turns = self.turns[: self.turns.index(known[same])]
        if lead != self._lead:
            self.turns = [turn for turn in self.turns if turn.record is not None or turn.ask]
            self.turns[:0], self._lead = _handed_in(messages[:lead]), lead
        new = [self._old(record, n) for n, record in enumerate(records[same:], same + 1)]
        live = self.live
        place = _place(new, live)
        own, after = new[place : place + 1], new[place + 1 :]
        self.turns += new[:place]
        if is_new or place:
            self._tell_all()
        if own and live is not None and live.is_over:
            live.turn.number, live.turn.ends = own[0].number, own[0].ends
            self._commit(live, own[0].record)
            self.turns += after
            if after:
                self._tell_all()
        self._mark()
        self.send("changed", {})

    def _tell_all(self) -> None:
        self.version += 1
        self.send("turns", self.part(self.last()))

    def _old(self, record: TurnRecord, number: int) -> Drawn:
        turn = drawn_from(f"t{next(_ids)}", number, record)
        turn.ends = _ends(record, self.session.messages)
        return turn

    def _mark(self) -> None:
        """Note which turns are hidden and pinned, and tell where that is different."""
        hidden, pinned = set(self.session.hidden), set(self.session.pinned)
        for turn in self.turns:
            now = (turn.number in hidden, turn.number in pinned)
            if now != (turn.hidden, turn.pinned):
                turn.hidden, turn.pinned = now
                self.send(
                    "mark", {"turn": turn.number, "id": turn.id, "hidden": now[0], "pinned": now[1]}
                )


def _prompt_of(run: Run) -> Message | None:
    """Return what a run was asked."""
    first = run.events[0].body if run.events else None
    return first.prompt if isinstance(first, RunStarted) else None


def _place(new: Sequence[Drawn], live: Live | None) -> int:
    """Return which of the turns that are over since is the one under way; else their number."""
    if live is None or not new:
        return len(new)
    prompt = None if live.run is None else _prompt_of(live.run)
    found = (n for n, turn in enumerate(new) if turn.ends and turn.ends[0] is prompt)
    # What was not answered at all is not among the messages.
    return next(found, len(new) - (live.run is not None and live.run.done))


def _handed_in(messages: Sequence[Message]) -> list[Drawn]:
    """Return the turns of a history that was handed in, of which nothing else is known."""
    starts = [n for n, message in enumerate(messages) if is_prompt(message)] or [0]
    starts[0] = 0
    spans = zip(starts, [*starts[1:], len(messages)], strict=True)
    return [
        Drawn(f"t{next(_ids)}", None, "", Asked(""), state="done", span=span)
        for span in spans
        if span[0] < span[1]
    ]


def _of(record: TurnRecord, messages: Sequence[Message]) -> Sequence[Message]:
    return messages[record.first : record.first + record.count]


def _ends(record: TurnRecord, messages: Sequence[Message]) -> tuple[Message, ...]:
    """Return the first and the last message of a turn, which say which turn it is."""
    own = _of(record, messages)
    return (own[0], own[-1]) if own else ()


def _is_same(turn: Drawn, record: TurnRecord, messages: Sequence[Message]) -> bool:
    if turn.record is record:
        return True
    place = turn.record and (turn.record.first, turn.record.count)
    # What a journal gave back is equal and not the same.
    return place == (record.first, record.count) and turn.ends == _ends(record, messages)

"""Sessions whose process is killed in the middle of a turn, again and again over one journal.

``python -m tests.engine.journal.dying FOLDER SEED ROUNDS URL`` prints one JSON object. A child
resumes the session, proves that all that was shown before is there, asks on, and streams turns with
tools from the server at URL until it is killed with SIGKILL: in a reply, in a tool, between two, or
while it resumes. What it shows it writes into a log just after `Session.flush`, as a notebook draws
just after it; a tool writes its id into a file, so that nobody can run one twice unseen.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import pickle
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import alloy_nb as al
from alloy_nb.engine.journal import CRASHED, Kept, Store, coalesced
from alloy_nb.engine.journal.batches import pack
from alloy_nb.engine.journal.rows import Blobs
from alloy_nb.engine.portal import run_sync
from alloy_nb.engine.sessions.cue import Cue
from alloy_nb.events import (
    Event,
    TextDelta,
    ThinkingDelta,
    ToolFinished,
    ToolInputDelta,
    ToolStarted,
    TurnFinished,
)
from alloy_nb.messages import ToolCall, ToolResult
from alloy_nb.providers.handoff import UNKNOWN
from tests.engine.journal.forks import WATCHDOG, ended, forked, kill

# Rounds after which the conversation is reset, so that requests do not grow for ever.
_RESET = 12


@dataclass
class Shown:
    """A turn as a person saw it; `whole` once its end was shown."""

    turn: str
    events: list[Event] = field(default_factory=list)
    whole: bool = False


def die(folder: Path, seed: int, rounds: int, url: str) -> dict[str, Any]:
    """Kill a child `rounds` times; return what was counted, and what is wrong."""
    dice = random.Random(seed)
    count: Counter[str] = Counter()
    faults: list[str] = []
    unproved: list[Shown] = []
    log = folder / "log"
    for number in range(rounds + 1):
        log.write_bytes(b"")
        life = _Life(folder, url, number, log=log, unproved=unproved, is_last=number == rounds)
        child = forked(life.live, watched=True)
        if life.is_last:
            if ended(child, within=WATCHDOG) != 0:
                faults.append("the last child did not end well")
        else:
            if number and dice.random() < 0.2:
                time.sleep(dice.random() * 0.06)  # it may still be resuming
            else:
                _wait_for_a_turn(log)
                time.sleep(dice.random() * 0.5)
            if not kill(child):
                faults.append(f"round {number}: the child ended by itself")
            count["rounds"] += 1
        unproved = _read(log.read_bytes(), unproved, count, faults)
    lines = (folder / "ran").read_text().split()
    count["tools"] = len(lines)
    faults += [f"{line} ran {times} times" for line, times in Counter(lines).items() if times > 1]
    return {**count, "unproved": len(unproved), "faults": faults}


def _wait_for_a_turn(log: Path) -> None:
    until = time.monotonic() + WATCHDOG
    while b'"turn"' not in log.read_bytes() and time.monotonic() < until:
        time.sleep(0.002)


def _read(log: bytes, unproved: list[Shown], count: Counter[str], faults: list[str]) -> list[Shown]:
    """Read what a child has told; return what its successor must find."""
    for line in log.split(b"\n")[:-1]:
        match json.loads(line):
            case {"fault": str(text)}:
                faults.append(text)
            case {"proved": dict(counted)}:
                count.update(counted)
                unproved = []
            case {"turn": str(turn)}:
                unproved = [*unproved, Shown(turn)]
            case {"shown": str(text)}:
                # A log of our own, written by our own child.
                unproved[-1].events += pickle.loads(base64.b64decode(text))
            case {"whole": _}:
                unproved[-1].whole = True
    if log and b'"proved"' not in log:
        count["killed_in_resuming"] += 1
    return unproved


# --- the child ----------------------------------------------------------------------------------


@dataclass
class _Life:
    """One child, from its first import to the kill."""

    folder: Path
    url: str
    number: int
    log: Path
    unproved: list[Shown]
    is_last: bool

    def live(self) -> None:
        self._out = os.open(self.log, os.O_WRONLY | os.O_APPEND)
        self._tell(begun=self.number)
        try:
            session = self._session()
            faults, counted = _Proof(session, self.folder / "ran").of(self.unproved)
            for fault in faults:
                self._tell(fault=f"round {self.number}: {fault}")
            self._tell(proved=counted)
            result = session.chat("Go on.")
            if result.text != "Yes.":
                self._tell(fault=f"round {self.number}: asked on, {result!r} {result.error}")
            if self.is_last:
                session.stop()
                return
            if self.number % _RESET == _RESET - 1:
                session.reset()
            for turn in itertools.count():
                run_sync(self._show(session, f"Question {self.number}.{turn}"))
        except BaseException:
            self._tell(fault=f"round {self.number}: {traceback.format_exc()[-2000:]}")
            raise

    def _session(self) -> al.Session:
        ran = os.open(self.folder / "ran", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

        @al.tool
        def append(line: str, wait: float, size: int) -> str:
            """Append a line to a file."""
            os.write(ran, f"{line}\n".encode())
            time.sleep(wait)
            return line + "x" * size

        key = "sk-of-a-test"
        model: Any = al.Anthropic("scripted-1", base_url=self.url, api_key=key)
        if self.number % 3 == 2:
            model = al.OpenAICompat("scripted-1", self.url, api_key=key)
        if not Store(self.folder).sessions():
            return al.Session(provider=model, journal=self.folder, tools=[append])
        return al.Session.resume(provider=model, folder=self.folder, tools=[append])

    async def _show(self, session: al.Session, prompt: str) -> None:
        """Take a turn and show it, a frame now and then."""
        dice = random.Random(prompt)
        draws, seen = dice.choice((0.05, 0.4, 1.0)), 0
        async with session.start(prompt, cue=Cue(key=prompt)) as run:
            assert session.journal is not None
            self._tell(turn=session.journal.head)
            async for count in run.batches():
                if dice.random() < draws:
                    session.flush()
                    self._shown(run.events[seen:count])
                    seen = count
                    await asyncio.sleep(0)
            session.flush()
            self._shown(run.events[seen:])
        self._tell(whole=True)

    def _shown(self, events: Iterable[Event]) -> None:
        self._tell(shown=base64.b64encode(pickle.dumps(list(events))).decode())

    def _tell(self, **what: Any) -> None:
        os.write(self._out, f"{json.dumps(what)}\n".encode())


# --- the proof ----------------------------------------------------------------------------------


class _Proof:
    """Compares a resumed session with what was shown, and with the tools that ran."""

    def __init__(self, session: al.Session, ran: Path) -> None:
        assert session.journal is not None
        self._session = session
        self._journal = session.journal
        self._ran = ran.read_text().split()
        self._faults: list[str] = []
        self._count: Counter[str] = Counter()

    def of(self, turns: Iterable[Shown]) -> tuple[list[str], Counter[str]]:
        """Return what is wrong, and what was counted."""
        nodes = {node.id: node for node in self._journal.tree()}
        if any(node.status == "running" for node in nodes.values()):
            self._faults.append("a turn is still running")
        for shown in turns:
            if shown.turn not in nodes:
                self._faults.append(f"the turn {shown.turn} is lost")
                continue
            self._turn(shown, self._journal.turn(shown.turn))
        self._history()
        return self._faults, self._count

    def _turn(self, shown: Shown, kept: Kept) -> None:
        self._count["turns"] += 1
        self._count["shown"] += len(shown.events)
        self._count["cut"] += kept.status == CRASHED
        events = coalesced(self._journal.events(kept.id))
        where = f"the turn {kept.prompt.text if kept.prompt else kept.id!r}"
        if shown.whole and kept.status != "completed":
            self._faults.append(f"{where} was whole, and is {kept.status}")
        if not _begins_with(events, coalesced(shown.events)):
            self._faults.append(f"{where} has lost what was shown")
        said = "".join(m.text for m in kept.messages if m.role == "assistant")
        seen = "".join(e.body.text for e in shown.events if isinstance(e.body, TextDelta))
        if not said.startswith(seen):
            self._faults.append(f"{where}: {seen[-60:]!r} is not in its messages")
        self._calls(shown, kept, events, where=where)

    def _calls(self, shown: Shown, kept: Kept, events: list[Event], *, where: str) -> None:
        blocks = [block for message in kept.messages for block in message.content]
        calls = [block.id for block in blocks if isinstance(block, ToolCall)]
        results = {b.call_id: b for b in blocks if isinstance(b, ToolResult)}
        whole = [
            call.id
            for event in events
            if isinstance(event.body, TurnFinished)
            for call in event.body.message.tool_calls
        ]
        if [*results] != calls or not set(whole) <= set(calls):
            self._faults.append(f"{where}: calls {calls} of {whole}, results {[*results]}")
        for event in shown.events:
            body = event.body
            if isinstance(body, ToolFinished) and results.get(body.call.id) != body.result:
                self._faults.append(f"{where}: the result of {body.call.id} was shown, and is lost")
        started = {e.body.call.id for e in events if isinstance(e.body, ToolStarted)}
        assert kept.prompt is not None
        tag = kept.prompt.text.removeprefix("Question ").replace(".", "_")
        for id_ in self._ran:
            if id_.startswith(f"toolu_{tag}_") and id_ not in started & {*calls}:
                self._faults.append(f"{where}: {id_} ran, and that was not written before")
        self._count["cut_in_a_tool"] += any(r.text == UNKNOWN for r in results.values())

    def _history(self) -> None:
        """The conversation is that of the journal's turns, and so are what they cost."""
        kept, record = self._journal.turns(), self._session.export_session()
        if [m for turn in kept for m in turn.messages] != [*record.messages]:
            self._faults.append("the messages are not those of the turns")
        parts = [record.messages[t.first : t.first + t.count] for t in record.turns]
        if parts != [turn.messages for turn in kept]:
            self._faults.append("the turns of the record have other messages")
        if [t.usage for t in record.turns] != [turn.usage for turn in kept]:
            self._faults.append("the turns of the record used something else")


def _begins_with(events: list[Event], shown: list[Event]) -> bool:
    """Tell whether the events begin with these; of the last one more may be there by now."""
    if not shown:
        return True
    *whole, last = shown
    there = events[: len(whole)]
    if len(events) < len(shown) or pack(there, Blobs()) != pack(whole, Blobs()):
        return False
    found = events[len(whole)]
    if isinstance(last.body, (TextDelta, ThinkingDelta)):
        return isinstance(found.body, type(last.body)) and found.body.text.startswith(
            last.body.text
        )
    if isinstance(last.body, ToolInputDelta):
        return isinstance(found.body, ToolInputDelta) and found.body.json.startswith(last.body.json)
    return pack([found], Blobs()) == pack([last], Blobs())


if __name__ == "__main__":
    where, first, times, address = sys.argv[1:]
    print(json.dumps(die(Path(where), int(first), int(times), address)))

"""Two processes of eight threads on one session, which only one of them may write to at a time.

``python -m tests.engine.journal.rivals FOLDER SEED ROUNDS`` prints one JSON object. Each thread
does what its dice say: ask, wait, send, undo, fork, go to another branch, reset, stop. Who finds
the session stopped resumes it; whose process is not the writer is refused, and tries again. What a
thread was told is compared with the journal when all are done.
"""

from __future__ import annotations

import json
import random
import re
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import alloy_nb as al
from alloy_nb.engine.journal import Kept, Node, Store
from alloy_nb.engine.run import Result
from alloy_nb.errors import SessionError
from alloy_nb.messages import Message, ToolCall, ToolResult, assistant, user
from alloy_nb.usage import Usage
from tests.engine.journal.forks import WATCHDOG, ended, forked
from tests.engine.scripted import Scripted, calls, says

_THREADS = 8
_STEPS = 8
_SESSION = "shared"
_BEGUN = (user("start"), assistant("begun"))
# What a thread may be told instead of an answer, each with what it can do about it.
_REFUSALS = re.compile(
    r"is answering|is stopped\. Make a new one|nothing to undo|was reset before|was stopped\."
    r"|is closed\. Resume it|queue of the session .* is full|There is no branch"
)
_TAKEN = re.compile(r"in use by (this kernel|process \d+ on \S+) since .* Close it there")


@dataclass
class Report:
    """What the threads of one process were told."""

    told: list[tuple[str, str, list[str]]] = field(default_factory=list)
    """Of each answer: what was asked, how it ended, and the conversation with it."""
    asked: list[str] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)
    refused: int = 0
    resumed: int = 0
    done: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def compete(folder: Path, seed: int, rounds: int) -> dict[str, Any]:
    """Let two processes compete `rounds` times, each for at most a minute."""
    count: Counter[str] = Counter()
    faults: list[str] = []
    for number in range(rounds):
        inner = folder / str(number)
        inner.mkdir()
        began = time.monotonic()
        wrong = _round(inner, seed + number, count)
        count["slowest"] = max(count["slowest"], round(time.monotonic() - began))
        faults += [f"round {number}: {fault}" for fault in wrong]
    return {**count, "faults": faults}


def _round(folder: Path, seed: int, count: Counter[str]) -> list[str]:
    with Store(folder) as store:
        store.new("main", session_id=_SESSION).begin(None).finish(_BEGUN)
    paths = [folder / f"report-{n}" for n in range(2)]
    rivals = [
        forked(lambda n=n: _Rival(folder, seed, n).compete(paths[n]), watched=True)
        for n in range(2)
    ]
    for rival in rivals:
        status = ended(rival, within=WATCHDOG + 5)
        if status != 0:
            return [f"a process ended with {status}: it hung, or failed"]
    reports = [Report(**json.loads(path.read_text())) for path in paths]
    verdict = folder / "verdict"
    judge = forked(lambda: verdict.write_text(json.dumps(_verdict(folder, reports))), watched=True)
    if ended(judge, within=WATCHDOG + 5) != 0:
        return ["the journal could not be read"]
    count["rounds"] += 1
    count["both_answered"] += all(report.told for report in reports)
    for report in reports:
        count.update(answers=len(report.told), refused=report.refused, resumed=report.resumed)
        count.update(report.done)
    found: list[str] = json.loads(verdict.read_text())
    return found + [fault for report in reports for fault in report.faults]


# --- a process ----------------------------------------------------------------------------------


class _Rival:
    """One of the two processes."""

    def __init__(self, folder: Path, seed: int, number: int) -> None:
        self._folder = folder
        self._seed = f"{seed}.{number}"
        self._number = number
        self._session: al.Session | None = None
        self._lock = threading.Lock()
        self._report = Report()

    def compete(self, path: Path) -> None:
        """Let the threads do as they like, and write what they were told."""
        threads = [threading.Thread(target=self._work, args=(n,)) for n in range(_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._session is not None:
            self._session.stop()
        path.write_text(json.dumps(asdict(self._report)))

    def _work(self, thread: int) -> None:
        dice = random.Random(f"{self._seed}.{thread}")
        for step in range(_STEPS):
            try:
                self._step(self._resumed(dice), dice, f"q{self._number}-{thread}-{step}")
            except SessionError as error:
                if not _REFUSALS.search(str(error)):
                    self._report.faults.append(f"refused with {error}")
            except BaseException:
                self._report.faults.append(traceback.format_exc()[-1500:])

    def _step(self, session: al.Session, dice: random.Random, tag: str) -> None:
        what = dice.choices(
            ("chat", "wait", "send", "undo", "fork", "use", "reset", "force", "export", "stop"),
            (2, 6, 4, 2, 1, 2, 1, 0.3, 1, 1.5),
        )[0]
        assert session.journal is not None
        match what:
            case "chat" | "wait":
                self._asks(tag)
                self._heard(tag, session.chat(tag, wait=what == "wait"))
            case "send":
                self._asks(tag)
                request = session.send_message(tag)
                self._heard(tag, session.response(request).result(WATCHDOG))
            case "undo":
                session.undo()
            case "fork":
                session.fork(f"fork {tag}")
            case "use":
                session.use_branch(dice.choice([*session.journal.branches()]))
            case "reset":
                session.reset()
            case "force":
                session.reset(cancel=True)
            case "export":
                self._report.faults += _of_record(session.export_session())
            case "stop":
                session.stop()
                time.sleep(dice.random() * 0.01)
        with self._lock:
            self._report.done[what] = self._report.done.get(what, 0) + 1

    def _asks(self, tag: str) -> None:
        with self._lock:
            self._report.asked.append(tag)

    def _heard(self, tag: str, result: Result) -> None:
        if result.status not in ("completed", "cancelled"):
            self._report.faults.append(f"{tag} ended with {result!r}: {result.error}")
        with self._lock:
            said = [_spoken(message) for message in result.messages]
            self._report.told.append((tag, result.status.value, said))

    def _resumed(self, dice: random.Random) -> al.Session:
        """Return the session; where it is stopped it is resumed, after whatever refusals."""
        while True:
            session = self._session
            if session is not None and session.health().status != "stopped":
                return session
            try:
                self._session = al.Session.resume(
                    _SESSION,
                    folder=self._folder,
                    provider=Scripted(otherwise=_answer, steps=True),
                    tools=[self._tool()],
                    max_pending=3,
                )
            except SessionError as error:
                assert _TAKEN.search(str(error)), error
                self._report.refused += 1
                time.sleep(dice.random() * 0.004)
            else:
                self._report.resumed += 1

    def _tool(self) -> Any:
        ran = self._report.ran

        @al.tool
        def echo(tag: str) -> str:
            """Say it again."""
            ran.append(tag)
            return f"echo {tag}"

        return echo


def _answer(request: Any) -> list[Any]:
    """Answer a question, perhaps after a call; each piece has the question's tag."""
    last = request.messages[-1].content[-1]
    if isinstance(last, ToolResult):
        return says(f"re {last.text.removeprefix('echo ')}")
    if random.Random(last.text).random() < 0.5:
        return calls(("echo", {"tag": last.text}, last.text), text=last.text)
    return says(f"re {last.text}")


def _spoken(message: Message) -> str:
    """Return all of a message as one text."""
    parts = []
    for block in message.content:
        match block:
            case ToolCall():
                parts.append(f"{block.id}({block.input})")
            case ToolResult():
                parts.append(f"{block.call_id}={block.text}")
            case _:
                parts.append(getattr(block, "text", repr(block)))
    return f"{message.role}: {' | '.join(parts)}"


# --- the verdict --------------------------------------------------------------------------------


def _verdict(folder: Path, reports: Sequence[Report]) -> list[str]:
    """Return what is wrong with the journal, given what the threads were told."""
    session = al.Session.resume(_SESSION, folder=folder, provider="demo")
    journal = session.journal
    assert journal is not None
    nodes = {node.id: node for node in journal.tree()}
    kept = {id_: journal.turn(id_) for id_ in nodes}
    faults = [*_of_turns(nodes, kept), *_of_answers(nodes, kept, reports)]
    used = sum((turn.usage for turn in kept.values()), Usage())
    if (journal.usage, session.usage) != (used, used):
        faults.append(f"the turns used {used}, and the session counts {journal.usage}")
    reached: set[str] = set()
    for name in journal.branches():
        session.use_branch(name)
        faults += _of_record(session.export_session())
        reached |= {turn.id for turn in journal.turns()}
    if reached != set(nodes):
        faults.append(f"{len(nodes) - len(reached)} turns are on no branch")
    session.stop()
    return faults


def _of_turns(nodes: dict[str, Node], kept: dict[str, Kept]) -> Iterable[str]:
    """Each turn is of one question, and ended."""
    for id_, turn in kept.items():
        if nodes[id_].status not in ("completed", "cancelled"):
            yield f"a turn is {nodes[id_].status}"
        if turn.prompt is None:
            if turn.messages != _BEGUN:
                yield "what was handed in is another"
        elif not all(turn.prompt.text in _spoken(message) for message in turn.messages):
            yield f"{turn.prompt.text} holds what is another's: {turn.messages}"


def _of_answers(
    nodes: dict[str, Node], kept: dict[str, Kept], reports: Sequence[Report]
) -> Iterable[str]:
    """What a thread was told is in the journal, after just what came before it then."""
    turns: dict[str, list[str]] = {}
    for id_, turn in kept.items():
        turns.setdefault(turn.prompt.text if turn.prompt else "", []).append(id_)
    yield from (f"{tag} is there {len(ids)} times" for tag, ids in turns.items() if len(ids) > 1)
    asked = {tag for report in reports for tag in report.asked}
    yield from (f"nobody asked {tag}" for tag in turns.keys() - asked - {""})
    for tag, status, said in (answer for report in reports for answer in report.told):
        if not said:
            continue  # it was stopped before it began
        if tag not in turns:
            yield f"{tag} was answered, and is lost"
            continue
        node: Node | None = nodes[turns[tag][0]]
        if node is not None and node.status != status:
            yield f"{tag} was {status}, and is {node.status}"
        way: list[str] = []
        while node is not None:
            way = [*map(_spoken, kept[node.id].messages), *way]
            node = nodes[node.parent] if node.parent else None
        if way != said:
            yield f"{tag} was answered after {said}, and stands after {way}"
    ran = Counter(tag for report in reports for tag in report.ran)
    yield from (f"the tool ran {times} times for {tag}" for tag, times in ran.items() if times > 1)


def _of_record(record: al.SessionRecord) -> list[str]:
    """The turns of a record are places in its messages, one after the other."""
    place, faults = record.turns[0].first if record.turns else 0, []
    for turn in record.turns:
        if turn.first != place:
            faults.append(f"a turn begins at {turn.first}, and not at {place}")
        place = turn.first + turn.count
    if record.turns and place != len(record.messages):
        faults.append(f"the turns end at {place} of {len(record.messages)} messages")
    return faults


if __name__ == "__main__":
    where, first, times = sys.argv[1:]
    print(json.dumps(compete(Path(where), int(first), int(times))))

"""Processes that are killed, and processes that compete, over one journal.

``python -m tests.engine.journal.victim kill FOLDER SEED ROUNDS`` kills a child with SIGKILL at a
random moment of streamed turns with tools, again and again over one file, and checks after each
what the child had shown. ``compete FOLDER SEED ROUNDS`` lets two processes of eight threads take
turns on one session. Both print one JSON object. Children are forks of this program, which has
imported everything already, so that a round takes milliseconds.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from alloy_nb.engine.journal import Journal, Store, coalesced
from alloy_nb.errors import SessionError
from alloy_nb.events import Event, ToolFinished
from alloy_nb.messages import Message, ToolCall, ToolResult, user
from alloy_nb.providers.handoff import UNKNOWN
from tests.engine.journal.conversations import USED, scripted, stamped
from tests.engine.journal.forks import forked
from tests.oracles.invariants import check_anthropic
from tests.oracles.strict import validate_anthropic
from tests.providers.wires import ANTHROPIC, body

# --- killed -------------------------------------------------------------------------------------


def kill(folder: Path, seed: int, rounds: int) -> dict[str, Any]:
    """Kill a child `rounds` times; return what was counted."""
    rng = random.Random(seed)
    count = {"rounds": 0, "shown": 0, "in_a_turn": 0, "tools_unknown": 0}
    faults: list[str] = []
    for number in range(rounds):
        log = folder / "shown"
        log.write_bytes(b"")
        seed = rng.randrange(1 << 30)
        (folder / f"seed-r{number}").write_text(str(seed))
        child = forked(lambda seed=seed, log=log, n=number: _stream(folder, seed, log, tag=f"r{n}"))
        _wait_for_first(log, child)
        time.sleep(rng.random() ** 2 * 0.15)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        try:
            _check(folder, log.read_bytes(), count)
        except Exception as error:
            faults.append(f"round {number}: {type(error).__name__}: {error}"[:2000])
        count["rounds"] += 1
    return {**count, "faults": faults}


def _stream(folder: Path, seed: int, log: Path, *, tag: str) -> None:
    """Stream turns for ever; each line of the log is what was shown, after it was flushed."""
    rng = random.Random(seed)
    shown = os.open(log, os.O_WRONLY | os.O_APPEND)
    journal = _resumed(Store(folder))
    number = 0
    while True:
        number += 1
        prompt, bodies, messages = scripted(rng, tag=f"{tag}.{number}")
        turn = journal.begin(prompt, key=f"cell-{number}", model="scripted/1")
        os.write(shown, f"{json.dumps({'begun': turn.id})}\n".encode())
        waiting = 0
        for event in stamped(*bodies):
            draw = rng.random()
            turn.note([event])
            waiting += 1
            if draw < 0.3:
                turn.flush()
                os.write(shown, f"{json.dumps({'shown': waiting})}\n".encode())
                waiting = 0
        turn.finish(messages, usage=USED)
        os.write(shown, f"{json.dumps({'finished': len(messages)})}\n".encode())


def _check(folder: Path, log: bytes, count: dict[str, int]) -> None:
    """Resume; all that was shown must be there, and the next request must be one."""
    lines = [json.loads(line) for line in log.split(b"\n")[:-1] if line.endswith(b"}")]
    with Store(folder) as store:
        journal = store.resume()
        begun = [line["begun"] for line in lines if "begun" in line]
        nodes = {node.id: node for node in journal.tree()}
        assert set(begun) <= set(nodes), "a turn that had begun is missing"
        for position, line in enumerate(lines):
            if "finished" in line:
                last = [b["begun"] for b in lines[:position] if "begun" in b][-1]
                assert nodes[last].status == "completed", nodes[last].status
                assert len(journal.turn(last).messages) == line["finished"]
        if begun and "finished" not in lines[-1]:
            at = max(i for i, line in enumerate(lines) if "begun" in line)
            shown = sum(line.get("shown", 0) for line in lines[at:])
            count["in_a_turn"] += 1
            count["shown"] += shown
            _check_events(folder, journal, begun[-1], shown)
            count["tools_unknown"] += sum(
                isinstance(block, ToolResult) and block.text == UNKNOWN
                for message in journal.turn(begun[-1]).messages
                for block in message.content
            )
        assert "running" not in {node.status for node in nodes.values()}
        _check_request(journal.messages())


def _check_events(folder: Path, journal: Journal, turn: str, shown: int) -> None:
    """What is recovered begins with what was shown, and no call has been made up or forgotten."""
    prompt = journal.turn(turn).prompt
    assert prompt is not None
    kept = coalesced(journal.events(turn))
    text = "".join(getattr(e.body, "text", "") or getattr(e.body, "json", "") for e in kept)
    total = _original(folder, prompt.text)
    want = _texts(total[:shown])
    assert text.startswith(want), f"{text[-80:]!r} does not hold {want[-80:]!r}"
    calls = [e.body.call.id for e in total[:shown] if isinstance(e.body, ToolFinished)]
    done = [e.body.call.id for e in kept if isinstance(e.body, ToolFinished)]
    assert done[: len(calls)] == calls, "a shown result is missing"
    answers = [b for m in journal.turn(turn).messages for b in m.content]
    wanted = [b.id for b in answers if isinstance(b, ToolCall)]
    given = [b.call_id for b in answers if isinstance(b, ToolResult)]
    assert wanted == given, "a call has no result"


_plans: dict[str, list[Event]] = {}


def _original(folder: Path, prompt: str) -> list[Event]:
    """Return the events of the turn with this prompt, made again from the seed that is noted."""
    tag = prompt.split(":")[0]
    if tag not in _plans:
        first, number = tag.split(".")
        rng = random.Random(int((folder / f"seed-{first}").read_text()))
        for n in range(1, int(number) + 1):
            _, bodies, _ = scripted(rng, tag=f"{first}.{n}")
            events = stamped(*bodies)
            for _ in events:
                rng.random()
        _plans.clear()
        _plans[tag] = events
    return _plans[tag]


def _texts(events: list[Event]) -> str:
    return "".join(getattr(e.body, "text", "") or getattr(e.body, "json", "") for e in events)


def _check_request(messages: list[Message]) -> None:
    sent = body(ANTHROPIC, *messages, user("go on"))
    check_anthropic(sent)
    validate_anthropic(sent)


# --- competing ----------------------------------------------------------------------------------


def compete(folder: Path, seed: int, rounds: int) -> dict[str, Any]:
    """Let two processes compete `rounds` times, each for at most a minute."""
    turns, faults = 0, []
    for number in range(rounds):
        inner = folder / str(number)
        inner.mkdir()
        signal.alarm(60)  # who waits for ever ends the program
        done, wrong = _compete(inner, seed + number)
        turns += done
        faults += [f"round {number}: {fault}" for fault in wrong]
    signal.alarm(0)
    return {"turns": turns, "faults": faults}


def _compete(folder: Path, seed: int) -> tuple[int, list[str]]:
    """Let two processes of eight threads take turns; return how many, and what is wrong."""
    with Store(folder) as store:
        journal = store.new("main", session_id="shared")
        journal.begin(None).finish([user("start")])
    reports = [folder / f"report-{n}" for n in range(2)]
    children = [
        forked(lambda n=n, path=path: path.write_text(json.dumps(_take_turns(folder, seed, n))))
        for n, path in enumerate(reports)
    ]
    for child in children:
        _, status = os.waitpid(child, 0)
        assert status == 0, f"a process ended with {status}"
    done = [tag for path in reports for tag in json.loads(path.read_text())]
    with Store(folder) as store:
        journal = store.resume("shared")
        faults = _mixed(journal, done)
    return len(done), faults


def _take_turns(folder: Path, seed: int, process: int, *, times: int = 3) -> list[str]:
    rng = random.Random(f"{seed}.{process}")
    done: list[str] = []
    store = Store(folder)
    for _ in range(times):
        journal = _acquired(store)
        threads = [
            threading.Thread(target=_talk, args=(journal, f"{process}-{n}-{rng.random()}", done))
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        journal.close()
        time.sleep(rng.random() * 0.004)
    store.close()
    return done


def _acquired(store: Store) -> Journal:
    while True:
        try:
            return store.resume("shared")
        except SessionError as error:
            assert "is in use by" in str(error), error
            time.sleep(0.002)


def _talk(journal: Journal, tag: str, done: list[str]) -> None:
    """Take one turn, after as many refusals as it takes."""
    prompt, bodies, messages = scripted(random.Random(tag), tag=tag)
    while True:
        try:
            turn = journal.begin(prompt)
            break
        except SessionError as error:
            assert "is answering" in str(error), error
            time.sleep(0.001)
    for number, event in enumerate(stamped(*bodies)):
        turn.note([event])
        if number % 16 == 0:
            turn.flush()
    journal.tree()
    turn.finish(messages)
    done.append(tag)


def _mixed(journal: Journal, done: list[str]) -> list[str]:
    """Return what is wrong: turns that are missing, twice there, or hold what is another's."""
    nodes = journal.tree()
    faults = [] if len(nodes) == len(done) + 1 else [f"{len(nodes)} turns, not {len(done) + 1}"]
    if any(child.parent != parent.id for parent, child in pairwise(nodes)):
        faults.append("the turns are no line")
    seen = []
    for node in nodes[1:]:
        kept = journal.turn(node.id)
        assert kept.prompt is not None
        tag = kept.prompt.text.split(":")[0]
        seen.append(tag)
        _, bodies, messages = scripted(random.Random(tag), tag=tag)
        if list(kept.messages) != messages:
            faults.append(f"the messages of {tag} are not its own")
        if _texts(journal.events(node.id)) != _texts(stamped(*bodies)):
            faults.append(f"the events of {tag} are not its own")
    return faults if sorted(seen) == sorted(done) else [*faults, "turns are missing"]


# --- both ---------------------------------------------------------------------------------------


def _resumed(store: Store) -> Journal:
    return store.resume() if store.sessions() else store.new()


def _wait_for_first(log: Path, child: int) -> None:
    until = time.monotonic() + 60
    while not log.stat().st_size:
        if os.waitpid(child, os.WNOHANG)[0] or time.monotonic() > until:
            raise RuntimeError("the child did not begin")
        time.sleep(0.001)


if __name__ == "__main__":
    what, where, first, *more = sys.argv[1:]
    if what == "kill":
        print(json.dumps(kill(Path(where), int(first), int(more[0]))))
    else:
        print(json.dumps(compete(Path(where), int(first), int(more[0]))))

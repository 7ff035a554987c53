"""The journal beside a model of it in memory, through any sequence of what can be done."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from alloy_nb.engine.journal import CRASHED, Store, outbox
from alloy_nb.events import BlockStarted, TextDelta, TurnStarted
from alloy_nb.messages import user
from tests.engine.journal.conversations import say, stamped

KEYS = st.sampled_from(["k1", "k2", "k3"])


class Machine(RuleBasedStateMachine):
    """`parents`, `texts`, `keys` know the turns; `branches` is their ends; `disk` may be locked."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.parents: dict[str, str | None] = {}
        self.texts: dict[str, list[str]] = {}
        self.keys: dict[str, str] = {}
        self.branches: dict[str, str | None] = {"main": None}
        self.current = "main"
        self.lock: sqlite3.Connection | None = None
        self.count = 0

    @initialize()
    def open(self) -> None:
        self.store = Store(self.folder)
        self.journal = self.store.new()
        self.said("k1", "0")

    def teardown(self) -> None:
        if self.lock is not None:
            self.lock.close()
        if hasattr(self, "store"):
            self.store.close()
        shutil.rmtree(self.folder)

    # --- the model ----------------------------------------------------------------------------

    @property
    def head(self) -> str | None:
        return self.branches[self.current]

    def path(self, turn: str | None) -> list[str]:
        out = []
        while turn is not None:
            out.append(turn)
            turn = self.parents[turn]
        return out[::-1]

    def leave(self, to: str | None) -> None:
        """Move the current branch; a turn that nothing else leads to gets a branch."""
        end = self.head
        others = [e for name, e in self.branches.items() if name != self.current]
        if end is not None and end not in self.parents.values() and end not in others:
            stem, _, number = self.current.rpartition("-")
            stem = stem if stem and number.isdigit() else self.current
            name = next(n for i in range(2, 999) if (n := f"{stem}-{i}") not in self.branches)
            self.branches[name] = end
        self.branches[self.current] = to

    def added(self, turn: str, key: str, texts: list[str]) -> None:
        self.parents[turn], self.texts[turn], self.keys[turn] = self.head, texts, key
        self.branches[self.current] = turn

    # --- what can be done ---------------------------------------------------------------------

    def said(self, key: str, text: str) -> None:
        turn = say(self.journal, text, f"answer {text}", key=key, model="m")
        self.added(turn, key, [text, f"answer {text}"])

    @rule(key=KEYS)
    def say_something(self, key: str) -> None:
        self.count += 1
        self.said(key, f"{self.count}")

    @rule(key=KEYS)
    def fail(self, key: str) -> None:
        turn = self.journal.begin(user("failed"), key=key)
        turn.finish([], status="error")
        self.added(turn.id, key, [])

    @precondition(lambda self: self.head is not None)
    @rule()
    def undo(self) -> None:
        self.journal.undo()
        self.leave(self.parents[self.head])

    @rule(key=KEYS)
    def replace(self, key: str) -> None:
        with_key = [turn for turn in self.path(self.head) if self.keys[turn] == key]
        replaced = self.journal.replace(key)
        assert (replaced.id if replaced else None) == (with_key[-1] if with_key else None)
        if with_key:
            self.leave(self.parents[with_key[-1]])

    @rule()
    def reset(self) -> None:
        self.journal.reset()
        if self.head is not None:
            self.leave(None)

    @rule(name=st.sampled_from(["a", "b", "c"]))
    def fork(self, name: str) -> None:
        if name not in self.branches:
            self.journal.fork(name)
            self.branches[name] = self.head
            self.current = name

    @rule(data=st.data())
    def use(self, data: st.DataObject) -> None:
        self.current = data.draw(st.sampled_from(sorted(self.branches)))
        self.journal.use(self.current)

    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        """Ask again what was asked here before: nothing is added."""
        after = [t for t, parent in self.parents.items() if parent == self.head and self.texts[t]]
        after = [t for t in after if len(self.texts[t]) == 2]
        if not after:
            return
        turn = data.draw(st.sampled_from(after))  # in their order: ids are random
        prompt, key = user(self.texts[turn][0]), self.keys[turn]
        found = self.journal.find(prompt, model="m", key=key)
        assert found.turn is not None
        assert found.turn.id == turn
        self.journal.replay(turn)
        self.leave(turn)
        kept = [n for n, e in self.branches.items() if e == turn and "-" in n]
        for name in kept:
            if name != self.current:
                del self.branches[name]

    @precondition(lambda self: self.lock is None)
    @rule()
    def restart(self) -> None:
        self.journal.close()
        self.store.close()
        self.store = Store(self.folder)
        self.journal = self.store.resume()

    @precondition(lambda self: self.lock is None)
    @rule(key=KEYS)
    def crash(self, key: str) -> None:
        """End in the middle of a turn."""
        turn = self.journal.begin(user("cut"), key=key)
        turn.note(stamped(TurnStarted("p", "m"), BlockStarted(0, "text"), TextDelta(0, "par")))
        turn.flush()
        self.restart()
        self.added(turn.id, key, ["cut", "par", CRASHED])

    @precondition(lambda self: self.lock is None)
    @rule()
    def lock_the_file(self) -> None:
        self.lock = sqlite3.connect(self.store.path, isolation_level=None)
        self.lock.execute("BEGIN IMMEDIATE")

    @precondition(lambda self: self.lock is not None)
    @rule()
    def unlock_the_file(self) -> None:
        assert self.lock is not None
        self.lock.execute("ROLLBACK")
        self.lock.close()
        self.lock = None
        assert self.journal.save()

    @precondition(lambda self: self.lock is None)
    @rule()
    def delete_the_folder(self) -> None:
        shutil.rmtree(self.folder / ".alloy")
        self.count += 1
        self.said("k1", f"{self.count}")

    # --- what holds always --------------------------------------------------------------------

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        if not hasattr(self, "journal"):
            return
        wanted = [t for turn in self.path(self.head) for t in self.texts[turn] if t != CRASHED]
        assert [m.text for m in self.journal.messages()] == wanted
        assert self.journal.branch == self.current
        assert self.journal.branches() == self.branches
        nodes = self.journal.tree()
        assert {n.id: n.parent for n in nodes} == self.parents
        assert {n.id for n in nodes if n.is_current} == set(self.path(self.head))

    @invariant()
    def every_turn_can_be_reached(self) -> None:
        reached = {turn for end in self.branches.values() for turn in self.path(end)}
        assert reached == set(self.parents)


@pytest.mark.slow
def test_the_tree_is_as_a_model_of_it_in_memory(monkeypatch):
    monkeypatch.setattr(outbox, "_PATIENT", 0.0)
    monkeypatch.setattr(outbox, "_BRIEF", 0.0)
    monkeypatch.setattr("alloy_nb.engine.journal.database._WAIT", 0.0)
    full = os.environ.get("ALLOY_TEST_FULL") == "1"
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=400 if full else 25,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )

"""What the journal costs: counted in SQLite's steps where that can be, and never by the clock."""

from __future__ import annotations

import sqlite3
import sys

import pytest

from alloy_nb.engine.journal import Store
from alloy_nb.events import TextDelta
from alloy_nb.messages import assistant, user
from tests.engine.journal.conversations import say, stamped
from tests.engine.journal.cost import calls_of, opened_and_asked, written


def steps(store: Store, work) -> int:
    """Return how many steps of SQLite's machine, in tens, `work` takes on the store's file."""
    count = 0

    def tick() -> int:
        nonlocal count
        count += 1
        return 0

    store._database.read(lambda file: file.set_progress_handler(tick, 10))
    work()
    store._database.read(lambda file: file.set_progress_handler(None, 0))
    return count


def opened_and_begun(folder, messages: int) -> int:
    """Return the steps of resuming a session of so many messages and taking its next turn."""
    with Store(folder) as store:
        journal = store.new()
        for number in range(messages // 4):
            turn = journal.begin(user(f"{number}"), key=f"cell-{number}")
            turn.finish([user(f"{number}"), assistant("a"), user("b"), assistant("c")])
    store = Store(folder)
    store.sessions()

    def work() -> None:
        journal = store.resume()
        journal.find(user("never asked"), key="cell-new")
        journal.replace("cell-new")
        say(journal, "next", "answer", key="cell-new")

    with store:
        return steps(store, work)


@pytest.mark.slow
def test_a_long_session_is_opened_and_gone_on_with_like_a_short_one(tmp_path):
    short = opened_and_begun(tmp_path / "short", 100)
    long = opened_and_begun(tmp_path / "long", 10_000)
    assert long <= 1.5 * short, (short, long)


@pytest.mark.slow
def test_no_code_of_ours_runs_for_each_message_when_a_long_session_is_opened(tmp_path):
    spent = []
    for count in (100, 10_000):
        folder = written(tmp_path / str(count), count)
        opened_and_asked(folder, calls_of)  # what is done once in a process
        spent.append(opened_and_asked(folder, calls_of))
    short, long = spent
    assert long.opening <= 1.5 * short.opening, spent
    assert long.turn - long.in_memory <= 1.5 * (short.turn - short.in_memory), spent


def test_noting_a_token_calls_nothing_of_ours(tmp_path):
    with Store(tmp_path) as store:
        turn = store.new().begin(user("x"))
        events = stamped(*(TextDelta(0, "w") for _ in range(1000)))
        called: list[str] = []
        sys.setprofile(lambda frame, what, _: called.append(what) if what == "call" else None)
        turn.note(events)
        sys.setprofile(None)
        assert called == ["call"]


def test_a_flush_is_one_transaction(tmp_path):
    with Store(tmp_path) as store:
        turn = store.new().begin(user("x"))
        said: list[str] = []
        store._database.read(lambda file: file.set_trace_callback(said.append))
        turn.note(stamped(*(TextDelta(0, "w") for _ in range(100))))
        turn.flush()
        turn.flush()
        store._database.read(lambda file: file.set_trace_callback(None))
        assert [s.split()[0] for s in said] == ["BEGIN", "INSERT", "COMMIT"]


def test_a_file_does_not_grow_with_the_frames_that_were_drawn(tmp_path):
    sizes = []
    for frames in (1, 400):
        with Store(tmp_path / str(frames)) as store:
            journal = store.new()
            turn = journal.begin(user("x"))
            for number in range(400):
                turn.note(stamped(TextDelta(0, "word "), first=number))
                if number % (400 // frames) == 0:
                    turn.flush()
            turn.finish([user("x"), assistant("word " * 400)])
            store._database.checkpoint()
        connection = sqlite3.connect(store.path)
        sizes.append(connection.execute("SELECT sum(length(body)) FROM events").fetchone()[0])
        connection.close()
    assert sizes[0] == sizes[1]

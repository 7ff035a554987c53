"""All sessions of a folder: listed, resumed, searched, forgotten; one writer for each."""

from __future__ import annotations

import gc
import multiprocessing
import os
import shutil
import sqlite3
import sys
import threading

import pytest

from alloy_nb.engine.journal import Store, lease
from alloy_nb.engine.journal.claim import Claim
from alloy_nb.errors import SessionError
from alloy_nb.messages import assistant, user
from alloy_nb.usage import Usage
from tests.engine.journal.conversations import say


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as store:
        yield store


def bytes_on_disk(store: Store) -> bytes:
    return b"".join(p.read_bytes() for p in store.path.parent.rglob("*") if p.is_file())


# --- listed and resumed -------------------------------------------------------------------------


def test_sessions_are_listed_the_last_used_first(store):
    for name in ("one", "two", "three"):
        say(store.new(name, notebook="a.ipynb"), f"in {name}", "a", model="p/m")
    say(store.resume("one"), "again", "b", model="p/other")
    assert [s.name for s in store.sessions()] == ["one", "three", "two"]
    info = store.sessions()[0]
    assert (info.turns, info.preview, info.model) == (2, "in one", "p/other")
    assert info.cost.usd is not None


def test_order_does_not_rest_on_the_clock(store, monkeypatch):
    import time

    say(store.new("one"), "x", "a")
    monkeypatch.setattr(time, "time", lambda: 0.0)
    say(store.new("two"), "x", "a")
    assert [s.name for s in store.sessions()] == ["two", "one"]


def test_resuming_without_a_name_takes_the_last_session_of_the_notebook(store):
    say(store.new("main", notebook="a.ipynb"), "in a", "a")
    say(store.new("main", notebook="b.ipynb"), "in b", "b")
    store.close()
    assert store.resume(notebook="a.ipynb").messages()[0].text == "in a"
    assert store.resume("main").messages()[0].text == "in b"
    assert [s.notebook for s in store.sessions(notebook="b.ipynb")] == ["b.ipynb"]


def test_a_session_is_found_by_its_id_or_the_beginning_of_it(store):
    say(store.new("main", session_id="abcdef"), "x", "a")
    store.close()
    assert store.read("abc").id == "abcdef"
    assert store.read("abcdef").name == "main"


def test_what_is_not_there_cannot_be_resumed(store):
    with pytest.raises(SessionError, match="No session 'nix' is kept in"):
        store.resume("nix")
    with pytest.raises(SessionError, match="No session is kept in"):
        store.resume()
    assert not store.path.exists()


def test_an_id_stands_for_one_session(store):
    say(store.new(session_id="s1"), "x", "a")
    with pytest.raises(SessionError, match="already"):
        store.new(session_id="s1")


@pytest.mark.parametrize("odd", ["..", "a:b", "a/../../b", "é" * 100])
def test_an_odd_id_names_no_file_of_ours(store, odd):
    say(store.new(session_id=odd), "x", "a")
    store.close()
    assert store.resume(odd).id == odd
    names = {p.name for p in store.path.parent.rglob("*.lock")}
    assert all(len(name) == len("0" * 32 + ".lock") for name in names)


def late(monkeypatch, act):
    """Let something happen just before the next journal gets the right to write."""
    demand = Claim.demand

    def demanded(claim):
        monkeypatch.undo()
        act()
        demand(claim)

    monkeypatch.setattr(Claim, "demand", demanded)


def test_what_another_kernel_does_until_the_session_is_ours_is_known(store, tmp_path, monkeypatch):
    first = store.new("main")
    say(first, "one", "a")

    def go_on():
        first.fork("idea")
        say(first, "two", "b")
        first.close()

    late(monkeypatch, go_on)
    with Store(tmp_path) as other:
        second = other.resume("main")
        assert (second.branch, second.head) == ("idea", first.head)
        assert (second.usage, second.cost) == (first.usage, first.cost)
        say(second, "three", "c")
        used = sum((node.usage for node in second.tree()), Usage())
        assert other.sessions()[0].usage == used


def test_a_session_that_is_forgotten_while_it_is_opened_is_not_there(store, tmp_path, monkeypatch):
    first = store.new("main")
    say(first, "one", "a")
    late(monkeypatch, lambda: store.forget(first.id))
    with Store(tmp_path) as other, pytest.raises(SessionError, match="forgotten just now"):
        other.resume("main")


# --- searched -----------------------------------------------------------------------------------


def test_words_are_found_in_any_session(store):
    say(store.new("one"), "How many zebras are there?", "Seven zebras in all.")
    say(store.new("two"), "And lions?", "None.")
    (hit,) = store.search("zebras seven")
    assert hit.name == "one"
    assert "zebras" in hit.snippet
    assert [h.name for h in store.search("lio")] == ["two"]
    assert store.search("giraffes") == []


@pytest.mark.parametrize(
    "odd", ["", '"', "a AND", "NEAR(", "*", "x'--", "-", "text:a", "(", "\x00"]
)
def test_any_words_may_be_searched_for(store, odd):
    say(store.new(), "a", "b")
    assert isinstance(store.search(odd), list)


def test_words_are_found_where_the_build_has_no_full_text(store):
    say(store.new("one"), "old", "words")
    store.close()
    connection = sqlite3.connect(store.path)
    connection.execute("DROP TABLE words")
    connection.execute("CREATE TABLE words (text TEXT, session TEXT, turn TEXT)")
    connection.commit()
    connection.close()
    say(store.new("two"), "How many zebras?", "Seven.")
    assert [h.name for h in store.search("zebra seven")] == ["two"]


# --- forgotten ----------------------------------------------------------------------------------


def test_what_is_forgotten_is_gone_from_the_disk(store):
    other = store.new("other")
    say(other, "shared " + "s" * 9_000, "keepme")
    journal = store.new("gone")
    for number in range(30):
        secret = f"canary{number} " * 40
        turn = journal.begin(user(secret), key="canary-key", model="canary-model")
        turn.finish([user(secret), assistant("canaryblob " + "x" * 9_000)])
    say(journal, "shared " + "s" * 9_000, "b")
    assert b"canary" in bytes_on_disk(store)
    assert store.forget(journal.id) == []
    assert b"canary" not in bytes_on_disk(store)
    assert store.search("canary1") == []
    assert [s.name for s in store.sessions()] == ["other"]
    assert other.messages()[0].text == "shared " + "s" * 9_000
    say(other, "goes on", "c")


def test_what_another_process_uses_is_not_forgotten(store, tmp_path):
    say(store.new("main", session_id="s1"), "x", "a")
    store.close()
    with Store(tmp_path) as other:
        held = other.resume("s1")
        with pytest.raises(SessionError, match="in use by this kernel"):
            store.forget("s1")
        assert len(held.messages()) == 2


def test_a_session_that_answers_is_not_forgotten(store):
    journal = store.new("mine")
    journal.begin(user("x"))
    with pytest.raises(SessionError, match="'mine' is answering"):
        store.forget(journal.id)
    assert store.sessions()[0].id == journal.id


def test_what_is_not_there_cannot_be_forgotten(store):
    with pytest.raises(SessionError, match="no session 'nix'"):
        store.forget("nix")


def test_after_forgetting_one_can_begin_anew_under_the_same_id(store):
    journal = store.new(session_id="s1")
    say(journal, "x", "a")
    store.forget("s1")
    with pytest.raises(SessionError, match="closed"):
        journal.begin(user("y"))
    say(store.new(session_id="s1"), "y", "b")
    assert [m.text for m in store.read("s1").messages()] == ["y", "b"]


def test_damaged_files_that_may_hold_parts_of_it_are_named(store):
    say(store.new(session_id="s1"), "x", "a")
    store.close()
    with store.path.open("r+b") as file:
        file.write(b"\xff" * 100)
    store.sessions()
    (aside,) = [p for p in store.forget("s1") if p.suffix == ".db"]
    assert aside.name == "sessions.damaged-1.db"


# --- one writer ---------------------------------------------------------------------------------


def test_the_second_writer_is_told_who_holds_it_and_may_read(store, tmp_path):
    journal = store.new("mine")
    say(journal, "x", "a")
    with Store(tmp_path) as other:
        with pytest.raises(SessionError, match=r"'mine' is in use by this kernel since 20\d\d-"):
            other.resume("mine")
        reader = other.read("mine")
        assert [m.text for m in reader.messages()] == ["x", "a"]
        with pytest.raises(SessionError, match="opened to be read"):
            reader.begin(user("y"))
        with pytest.raises(SessionError, match="opened to be read"):
            reader.undo()


def test_a_reader_never_takes_the_right_to_write(store, tmp_path):
    say(store.new("mine"), "x", "a")
    store.close()
    reader = store.read("mine")
    assert reader.save()
    with Store(tmp_path) as other:
        say(other.resume("mine"), "y", "b")


def test_a_reader_sees_what_is_there_after_the_folder_was_deleted(store, tmp_path):
    say(store.new("mine"), "x", "a")
    store.close()
    reader = store.read("mine")
    shutil.rmtree(tmp_path / ".alloy")
    assert reader.messages() == []
    assert reader.is_saved


def test_a_closed_journal_lets_others_write(store, tmp_path):
    journal = store.new()
    say(journal, "x", "a")
    journal.close()
    with Store(tmp_path) as other:
        say(other.resume(), "y", "b")


def test_a_journal_that_was_forgotten_to_be_closed_lets_others_write(store, tmp_path):
    say(store.new(), "x", "a")
    gc.collect()
    with Store(tmp_path) as other:
        say(other.resume(), "y", "b")


def _hold(folder: str, ready, leave) -> None:
    journal = Store(folder).resume()
    ready.set()
    leave.wait(60)
    os._exit(0 if journal else 1)


@pytest.mark.slow
def test_another_process_is_named_until_it_dies(store, tmp_path):
    say(store.new("mine"), "x", "a")
    store.close()
    context = multiprocessing.get_context("spawn")
    ready, leave = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(str(tmp_path), ready, leave))
    process.start()
    assert ready.wait(60)
    with pytest.raises(SessionError, match=f"in use by process {process.pid} on "):
        store.resume("mine")
    process.kill()
    process.join(60)
    assert store.resume("mine").messages()


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_neither_writes_nor_lets_go_what_its_parent_holds(store, tmp_path):
    journal = store.new("mine")
    say(journal, "x", "a")
    child = os.fork()
    if child == 0:
        try:
            journal.begin(user("y"))
            os._exit(1)
        except SessionError as error:
            journal.close()
            os._exit(0 if f"in use by process {os.getppid()}" in str(error) else 2)
        finally:
            os._exit(3)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    with pytest.raises(SessionError, match="in use by this kernel"):
        Store(tmp_path).resume()
    say(journal, "z", "b")
    assert [m.text for m in journal.messages()] == ["x", "a", "z", "b"]


def test_of_many_that_want_a_lease_one_gets_it(tmp_path):
    got: list[lease.Lease] = []
    refused: list[lease.Taken] = []
    start = threading.Barrier(8)

    def want() -> None:
        start.wait()
        try:
            got.append(lease.acquire(tmp_path / "x.lock"))
        except lease.Taken as taken:
            refused.append(taken)

    threads = [threading.Thread(target=want) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(got), len(refused)) == (1, 7)
    got[0].release()
    lease.acquire(tmp_path / "x.lock").release()


def test_a_lease_whose_file_was_taken_away_is_none(tmp_path):
    path = tmp_path / "x.lock"
    first = lease.acquire(path)
    path.unlink()
    assert not first.is_valid
    second = lease.acquire(path)
    assert second.is_valid
    second.release()

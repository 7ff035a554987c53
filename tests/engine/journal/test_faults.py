"""A disk that is full, read-only, locked, damaged or gone: the turn goes on, and is told once."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from alloy_nb.engine.journal import Store, outbox
from alloy_nb.errors import AlloyError, SessionError
from alloy_nb.events import TextDelta, TurnStarted
from alloy_nb.messages import assistant, user
from tests.engine.journal.conversations import say, scripted, stamped

FULL = os.environ.get("ALLOY_TEST_FULL") == "1"
needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="limits and rights of POSIX")


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path, told):
    with Store(tmp_path, tell=told.append) as store:
        yield store


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    """Try again at each write, instead of after seconds."""
    monkeypatch.setattr(outbox, "_PAUSE", 0.0)


def texts(journal) -> list[str]:
    return [m.text for m in journal.messages()]


def in_process(code: str, *arguments: str) -> Any:
    """Run code in a process of its own, whose limits are its own, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", _PRELUDE + code, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


_PRELUDE = """
import json, os, resource, signal, sys
from pathlib import Path
from alloy_nb.engine.journal import Store, outbox
from alloy_nb.messages import user, assistant
from tests.engine.journal.conversations import say
outbox._PAUSE = 0.0
folder, told = Path(sys.argv[1]), []
texts = lambda journal: [m.text for m in journal.messages()]
"""


# --- locked -------------------------------------------------------------------------------------


@contextlib.contextmanager
def locked(path: Path):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.execute("ROLLBACK")
    connection.close()


def test_a_locked_file_holds_up_no_turn_and_gets_all_of_it_later(store, told, tmp_path):
    journal = store.new()
    say(journal, "one", "a")
    with locked(store.path):
        began = time.monotonic()
        for number in range(3):
            say(journal, f"during {number}", "b", key="k")
        assert time.monotonic() - began < 60
        assert not journal.is_saved
        assert texts(journal)[-2:] == ["during 2", "b"]
        assert texts(Store(tmp_path).read()) == ["one", "a"]
    say(journal, "after", "c")
    assert journal.is_saved
    assert texts(Store(tmp_path).read()) == texts(journal)
    assert len(texts(journal)) == 10
    assert len(told) == 1
    assert "another program holds the file" in told[0]


@pytest.mark.parametrize(("quiet", "warnings"), [(0.0, 2), (600.0, 1)])
def test_a_warning_comes_again_only_later_and_after_all_was_saved(
    store, told, monkeypatch, quiet, warnings
):
    monkeypatch.setattr(outbox, "_QUIET", quiet)
    journal = store.new()
    say(journal, "one", "a")
    for _ in range(2):
        with locked(store.path):
            say(journal, "two", "b")
            say(journal, "three", "b")
        assert journal.save()
    assert len(told) == warnings


def test_the_tree_can_be_changed_while_nothing_can_be_written(store):
    journal = store.new()
    say(journal, "one", "a", key="k1")
    say(journal, "two", "b", key="k2")
    with locked(store.path):
        journal.undo()
        journal.fork("other")
        say(journal, "three", "c")
        journal.use("main-2")
        assert texts(journal) == ["one", "a", "two", "b"]
        journal.replace("k1")
        assert texts(journal) == []
        assert len(journal.tree()) == 3
    assert journal.save()
    before = journal.branches()
    journal.close()
    again = store.resume()
    assert again.branches() == before
    assert texts(again) == []


def test_a_session_that_is_in_memory_alone_is_listed(store, tmp_path):
    say(store.new("old"), "zero", "z")
    new = store.new("fresh")
    with locked(store.path):
        say(new, "one", "a")
        assert [(s.name, s.turns) for s in store.sessions()] == [("fresh", 1), ("old", 1)]
    new.save()
    assert [s.name for s in store.sessions()] == ["fresh", "old"]


def test_a_listener_that_fails_ends_no_turn(tmp_path):
    def fail(text: str) -> None:
        raise ZeroDivisionError

    with Store(tmp_path, tell=fail) as store:
        journal = store.new()
        say(journal, "one", "a")
        with locked(store.path):
            say(journal, "two", "b")
        assert len(texts(journal)) == 4


# --- full and read-only -------------------------------------------------------------------------


@needs_posix
@pytest.mark.parametrize("limit", [0, 1, 4096, 30_000, 120_000, 200_000])
def test_a_full_disk_loses_nothing_in_memory_and_damages_nothing(tmp_path, limit):
    seen = in_process(
        """
        limit, hard = int(sys.argv[2]), resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        store = Store(folder, tell=told.append)
        journal = store.new()
        for number in range(12):
            say(journal, f"{number}", f"{number}word " * 4_000)
        in_memory, was_saved = len(texts(journal)), journal.is_saved
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        say(journal, "after", "a")
        print(json.dumps([in_memory, was_saved, journal.is_saved, told, texts(journal)]))
        """.replace("\n        ", "\n"),
        str(tmp_path),
        str(limit),
    )
    in_memory, was_saved, is_saved, told, said = seen
    assert in_memory == 24
    assert (was_saved, is_saved) == (False, True)
    assert len(told) == 1
    assert "goes on in memory" in told[0]
    with Store(tmp_path) as store:
        assert texts(store.read()) == said
        assert len(said) == 26
    check = sqlite3.connect(tmp_path / ".alloy" / "sessions.db")
    assert check.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert check.execute("PRAGMA foreign_key_check").fetchall() == []
    check.close()


@needs_posix
def test_a_tiny_disk_that_is_full_gets_all_of_it_when_there_is_space(tmp_path, told):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine does not let us mount a tiny disk")
    try:
        with Store(disk, tell=told.append) as store:
            journal = store.new()
            for number in range(10):
                turn = journal.begin(user(f"{number}"))
                turn.finish([user(f"{number}"), assistant("".join(map(str, range(6_000))))])
            assert not journal.is_saved
            assert len(texts(journal)) == 20
            grown = ["mount", "-o", "remount,size=16m", str(disk)]
            subprocess.run(grown, check=True, capture_output=True)
            assert journal.save()
            assert len(told) == 1
            assert "the disk is full" in told[0]
            assert texts(store.read()) == texts(journal)
    finally:
        subprocess.run(["umount", str(disk)], check=True, capture_output=True)


@pytest.fixture
def folder():
    """Give a folder that a user without rights reaches; pytest's own are closed to others."""
    path = Path(tempfile.mkdtemp(prefix="alloy-journal-"))
    path.chmod(0o755)
    yield path
    for inner in [path, *path.rglob("*")]:
        inner.chmod(0o755)
    shutil.rmtree(path)


_AS_NOBODY = """
import tempfile
with tempfile.TemporaryDirectory() as warm, Store(warm) as store:
    say(store.new(), "x", "y")  # all is imported that this user may not be able to read
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
"""


@needs_posix
def test_in_a_folder_that_cannot_be_written_the_turn_goes_on_in_memory(folder):
    folder.chmod(0o555)
    seen = in_process(
        _AS_NOBODY
        + """
store = Store(folder, tell=told.append)
journal = store.new()
say(journal, "one", "a"); say(journal, "two", "b"); journal.undo()
print(json.dumps([texts(journal), journal.is_saved, told]))
""",
        str(folder),
    )
    assert seen[:2] == [["one", "a"], False]
    assert len(seen[2]) == 1
    assert "cannot be opened for writing" in seen[2][0]
    assert list(folder.iterdir()) == []


@needs_posix
def test_a_journal_that_cannot_be_written_can_be_read_and_gone_on_from(folder):
    with Store(folder) as store:
        say(store.new(), "one", "a")
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    seen = in_process(
        _AS_NOBODY
        + """
store = Store(folder, tell=told.append)
journal = store.resume()
found = [hit.snippet for hit in store.search("one")]
say(journal, "two", "b")
print(json.dumps([texts(journal), found, len(told)]))
""",
        str(folder),
    )
    assert seen == [["one", "a", "two", "b"], ["one\na"], 1]


# --- gone ---------------------------------------------------------------------------------------


def test_a_folder_that_was_deleted_is_made_again_with_the_whole_session(store, told, tmp_path):
    journal = store.new()
    say(journal, "one", "a")
    turn = journal.begin(user("two"))
    turn.note(stamped(TurnStarted("p", "m"), TextDelta(0, "par")))
    turn.flush()
    shutil.rmtree(tmp_path / ".alloy")
    turn.note(stamped(TextDelta(0, "tial"), first=3))
    turn.flush()
    turn.finish([user("two"), assistant("partial")])
    assert journal.is_saved
    journal.close()
    again = Store(tmp_path).resume()
    assert texts(again) == ["one", "a", "two", "partial"]
    assert [e.body.text for e in again.events(turn.id)[1:]] == ["par", "tial"]
    assert told == []


def test_after_the_folder_was_deleted_there_is_one_writer_still(store, tmp_path):
    journal = store.new()
    say(journal, "one", "a")
    shutil.rmtree(tmp_path / ".alloy")
    say(journal, "two", "b")
    with pytest.raises(SessionError, match="in use by this kernel"):
        Store(tmp_path).resume()


# --- damaged ------------------------------------------------------------------------------------


def made(folder: Path, *, turns: int = 25) -> list[str]:
    """Write a session and return its texts."""
    with Store(folder) as store:
        journal = store.new("main", session_id="s1")
        for number in range(turns):
            prompt, bodies, messages = scripted(random.Random(number), tag=f"t{number}")
            turn = journal.begin(prompt)
            turn.note(stamped(*bodies))
            turn.finish(messages)
        return texts(journal)


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> tuple[bytes, list[str]]:
    folder = tmp_path_factory.mktemp("sound")
    said = made(folder)
    return (folder / ".alloy" / "sessions.db").read_bytes(), said


def damaged(data: bytes, seed: int) -> bytes:
    rng = random.Random(seed)
    out = bytearray(data)
    match seed % 5:
        case 0:  # some bytes
            for _ in range(rng.randrange(1, 60)):
                out[rng.randrange(len(out))] = rng.randrange(256)
        case 1:  # a page
            at = rng.randrange(len(out) // 4096) * 4096
            out[at : at + 4096] = rng.randbytes(4096)
        case 2:  # cut
            del out[rng.randrange(len(out)) :]
        case 3:  # zeros
            at = rng.randrange(len(out))
            length = rng.randrange(1, 20_000)
            out[at : at + length] = bytes(len(out[at : at + length]))
        case 4:  # the header
            for _ in range(rng.randrange(1, 8)):
                out[rng.randrange(100)] = rng.randrange(256)
    return bytes(out)


@pytest.mark.parametrize("block", range(20))
def test_a_damaged_file_keeps_nobody_from_going_on(sound, tmp_path, block):
    data, _ = sound
    for seed in range(block * 10, block * 10 + (10 if FULL else 2)):
        folder = tmp_path / str(seed)
        (folder / ".alloy").mkdir(parents=True)
        (folder / ".alloy" / "sessions.db").write_bytes(damaged(data, seed))
        go_on(folder)


def go_on(folder: Path) -> int:
    """Use all there is to use; return how many messages were there."""
    told: list[str] = []
    with Store(folder, tell=told.append) as store:
        store.search("word1")
        names = [info.id for info in store.sessions()]
        journal = store.new("fresh")
        with contextlib.suppress(SessionError):  # nothing was left of it
            journal = store.resume("s1")
        kept = len(journal.messages())
        for node in journal.tree():
            journal.events(node.id)
            journal.turn(node.id)
        journal.find(user("x"))
        say(journal, "after", "a", key="k")
        say(journal, "more", "b")
        journal.undo()
        assert texts(journal)[-2:] == ["after", "a"]
        journal.replace("k")
        journal.fork("other")
        said = texts(journal)
        assert journal.is_saved, told
        assert len(store.sessions()) >= len(names)
    with Store(folder) as store:
        assert texts(store.resume()) == said
    check = sqlite3.connect(folder / ".alloy" / "sessions.db")
    faults = check.execute("PRAGMA foreign_key_check").fetchall()
    check.close()
    assert faults == []
    return kept


def test_most_of_a_file_with_a_damaged_page_is_rescued(sound, tmp_path):
    data, said = sound
    kept = []
    for page in range(1, len(data) // 4096, max(1, len(data) // 4096 // 12)):
        folder = tmp_path / str(page)
        (folder / ".alloy").mkdir(parents=True)
        broken = data[: page * 4096] + b"\xff" * 4096 + data[(page + 1) * 4096 :]
        (folder / ".alloy" / "sessions.db").write_bytes(broken)
        kept.append(go_on(folder) / len(said))
    kept.sort()
    assert kept[len(kept) // 2] > 0.8, kept


def test_a_damaged_file_is_moved_aside_and_the_person_is_told(sound, tmp_path, told):
    data, said = sound
    (tmp_path / ".alloy").mkdir()
    path = tmp_path / ".alloy" / "sessions.db"
    path.write_bytes(b"\x00" * 100 + data[100:])
    with Store(tmp_path, tell=told.append) as store:
        assert texts(store.resume("s1")) == said
        assert [h.session for h in store.search("word1", limit=1)] == ["s1"]
    assert len(told) == 1
    assert "was damaged. It was moved to sessions.damaged-1.db" in told[0]
    assert "1 session, 25 turns" in told[0]
    assert path.with_name("sessions.damaged-1.db").exists()


def test_a_file_that_is_damaged_under_an_open_journal_ends_no_turn(tmp_path, told):
    with Store(tmp_path, tell=told.append) as store:
        journal = store.new()
        say(journal, "one", "a")
        turn = journal.begin(user("two"))
        store._database.checkpoint()
        with store.path.open("r+b") as file:  # closing it drops SQLite's locks; nobody else is here
            file.truncate(0)
        turn.note(stamped(TurnStarted("p", "m"), TextDelta(0, "x")))
        turn.flush()
        turn.finish([user("two"), assistant("b")])
        assert journal.save(), told
        assert texts(journal)[-2:] == ["two", "b"]
        say(journal, "three", "c")
    with Store(tmp_path) as store:
        assert texts(store.resume())[-4:] == ["two", "b", "three", "c"]


def test_a_file_of_a_newer_version_is_left_alone(store, told, tmp_path):
    say(store.new("old"), "zero", "z")
    store.close()
    connection = sqlite3.connect(store.path)
    connection.execute("PRAGMA user_version=2")
    connection.close()
    before = store.path.read_bytes()
    with pytest.raises(SessionError, match="newer version"):
        store.sessions()
    journal = store.new()
    say(journal, "one", "a")
    assert texts(journal) == ["one", "a"]
    assert store.path.read_bytes() == before
    assert len(told) == 1
    assert "newer version of alloy-nb" in told[0]


def test_a_file_that_would_run_something_is_moved_aside(store, told):
    say(store.new(), "one", "a")
    store.close()
    connection = sqlite3.connect(store.path)
    connection.execute("CREATE TRIGGER t AFTER INSERT ON turns BEGIN DELETE FROM messages; END")
    connection.commit()
    connection.close()
    journal = store.resume()
    say(journal, "two", "b")
    assert texts(journal) == ["one", "a", "two", "b"]
    assert len(told) == 1


def test_rows_of_another_kind_raise_only_our_errors(store):
    journal = store.new(session_id="s1")
    say(journal, "one", "a", key="k")
    store.close()
    connection = sqlite3.connect(store.path)
    connection.execute("UPDATE turns SET depth = 'deep', prompt = x'ff', status = 1.5")
    connection.execute("UPDATE messages SET body = '{\"role\": 1}' WHERE number = 1")
    connection.execute("UPDATE sessions SET settings = '[1', usage = 'x'")
    connection.commit()
    connection.close()
    with contextlib.suppress(AlloyError):
        again = store.resume()
        again.messages()
        say(again, "two", "b")
    store.sessions()


def test_turns_that_are_their_own_ancestors_have_an_end(store):
    journal = store.new(session_id="s1")
    for number in range(3):
        say(journal, f"{number}", "a", key=f"{number}")
    store.close()
    connection = sqlite3.connect(store.path)
    connection.execute(
        "UPDATE turns SET parent = (SELECT id FROM turns WHERE key = '2') WHERE key = '0'"
    )
    connection.commit()
    connection.close()
    again = store.resume("s1")
    assert texts(again) == ["0", "a", "1", "a", "2", "a"]
    assert again.replace("0").key == "0"

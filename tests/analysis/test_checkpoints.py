"""Answers that are kept: found by what was asked, whole, and in every process."""

from __future__ import annotations

import os
import sqlite3
from decimal import Decimal

import pytest

from alloy_nb.analysis.checkpoints import Checkpoints, at
from alloy_nb.analysis.rows import Answer
from alloy_nb.errors import AlloyError, ConfigError
from alloy_nb.usage import Cost, Usage

ANSWER = Answer(
    "yes \U0001f600 \u2028",
    usage=Usage(input_tokens=3, output_tokens=4),
    cost=Cost(known=Decimal("0.000012")),
    model="acme/one",
    attempts=2,
)


@pytest.fixture
def kept(tmp_path):
    store = Checkpoints(tmp_path / "rows.db")
    yield store
    store.close()


def test_what_was_kept_is_found_whole_by_another_one(tmp_path):
    first = Checkpoints(tmp_path / "rows.db")
    first.save([("k", ANSWER)])
    second = Checkpoints(tmp_path / "rows.db")
    assert second.find(["k", "other"]) == {"k": ANSWER}
    first.close()
    second.close()


def test_a_cost_that_is_unknown_stays_unknown(kept):
    kept.save([("k", Answer("x", cost=Cost(known=Decimal(1), complete=False)))])
    assert kept.find(["k"])["k"].cost == Cost(known=Decimal(1), complete=False)


def test_half_a_character_keeps_no_other_answer_out(kept):
    kept.save([("a", Answer("x\ud83d")), ("b", ANSWER)])
    assert kept.find(["a", "b"]) == {"a": Answer("x?"), "b": ANSWER}


def test_rows_that_failed_are_not_kept(kept):
    kept.save([("k", Answer.failed(AlloyError("no")))])
    assert kept.find(["k"]) == {}


def test_the_later_of_two_answers_counts(kept):
    kept.save([("k", ANSWER)])
    kept.save([("k", Answer("no"))])
    assert kept.find(["k"])["k"].text == "no"


def test_many_keys_are_found_at_once(kept):
    kept.save((str(n), Answer(str(n))) for n in range(2_000))
    found = kept.find(str(n) for n in range(0, 4_000, 2))
    assert {key: answer.text for key, answer in found.items()} == {
        str(n): str(n) for n in range(0, 2_000, 2)
    }


def test_an_answer_is_in_the_file_before_save_returns(tmp_path, kept):
    kept.save([("k", ANSWER)])
    with sqlite3.connect(tmp_path / "rows.db") as other:
        assert other.execute("SELECT count(*) FROM answers").fetchone() == (1,)
    other.close()


def test_the_average_of_a_job_is_that_of_its_own_answers(kept):
    kept.save([("a", Answer("x", usage=Usage(output_tokens=10)))], job="one")
    kept.save([("b", Answer("x", usage=Usage(output_tokens=20)))], job="one")
    kept.save([("c", Answer("x", usage=Usage(output_tokens=99)))], job="two")
    assert kept.average("one") == (15.0, 2)
    assert kept.average("none") is None


def test_a_file_that_cannot_be_written_is_warned_of_once_and_written_later(tmp_path, kept, caplog):
    other = sqlite3.connect(tmp_path / "rows.db")
    kept._connection.execute("PRAGMA busy_timeout=10")
    other.execute("BEGIN IMMEDIATE")
    kept.save([("a", ANSWER)])
    kept.save([("b", ANSWER)])
    assert kept.unsaved == 2
    assert sum("cannot be written" in record.message for record in caplog.records) == 1
    other.rollback()
    other.close()
    kept.save([])
    assert kept.unsaved == 0
    assert set(kept.find(["a", "b"])) == {"a", "b"}


def test_a_file_that_another_one_writes_to_can_be_opened_and_read(tmp_path, kept):
    kept.save([("a", ANSWER)])
    other = sqlite3.connect(tmp_path / "rows.db")
    other.execute("BEGIN IMMEDIATE")
    second = Checkpoints(tmp_path / "rows.db")
    assert set(second.find(["a"])) == {"a"}
    other.rollback()
    other.close()
    second.close()


def test_a_file_that_stays_locked_is_waited_for_once(tmp_path, kept):
    waits = []
    kept._connection.set_trace_callback(waits.append)
    other = sqlite3.connect(tmp_path / "rows.db")
    other.execute("BEGIN IMMEDIATE")
    kept.save([("a", ANSWER)])
    kept.save([("b", ANSWER)])
    other.rollback()
    other.close()
    kept.save([("c", ANSWER)])
    assert [w for w in waits if "busy" in w] == [
        "PRAGMA busy_timeout=0",
        "PRAGMA busy_timeout=1000",
    ]
    assert set(kept.find("abc")) == set("abc")


def test_a_file_that_breaks_meanwhile_is_told_with_what_to_do(tmp_path, kept):
    kept.save([("a", ANSWER)])
    kept.write(("DROP TABLE answers", ()))
    with pytest.raises(ConfigError, match="checkpoint=False"):
        kept.find(["a"])


def test_what_is_no_place_for_answers_is_refused():
    with pytest.raises(ConfigError, match="checkpoint must be True, False, a folder or a file"):
        at(5)


def test_a_file_that_is_none_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "rows.db"
    path.write_bytes(b"something else entirely" * 100)
    with pytest.raises(ConfigError, match="checkpoint=False"):
        Checkpoints(path)
    assert path.read_bytes().startswith(b"something else")


def test_a_file_of_a_newer_version_is_left_alone(tmp_path):
    path = tmp_path / "rows.db"
    with sqlite3.connect(path) as made:
        made.execute("PRAGMA user_version=99")
    made.close()
    with pytest.raises(ConfigError, match="newer alloy_nb"):
        Checkpoints(path)


def test_the_folder_is_for_its_owner_and_not_for_git(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = at(True)
    store.close()
    folder = tmp_path / ".alloy"
    assert (folder / "rows.db").exists()
    assert (folder / ".gitignore").read_text() == "*\n"
    if os.name == "posix":
        assert folder.stat().st_mode & 0o077 == 0


def test_a_folder_may_be_given_and_a_file(tmp_path):
    for where, path in ((tmp_path, tmp_path / ".alloy" / "rows.db"), (tmp_path / "x.db",) * 2):
        store = at(where)
        assert store.path == path
        store.close()
    assert at(False) is None

"""The tree of a session: undo, fork, use, replace, reset; nothing said is lost."""

from __future__ import annotations

import pytest

from alloy_nb.engine.journal import Store
from alloy_nb.errors import SessionError
from alloy_nb.messages import user
from tests.engine.journal.conversations import say


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as store:
        yield store


@pytest.fixture
def journal(store):
    return store.new()


def said(journal) -> list[str]:
    return [m.text for m in journal.messages() if m.role == "user"]


def test_undo_goes_back_one_turn_and_tells_which(journal):
    say(journal, "one", "a")
    say(journal, "two", "b")
    assert journal.undo().prompt == user("two")
    assert said(journal) == ["one"]


def test_what_was_undone_is_on_a_branch_of_its_own(journal):
    say(journal, "one", "a")
    say(journal, "two", "b")
    journal.undo()
    assert sorted(journal.branches()) == ["main", "main-2"]
    journal.use("main-2")
    assert said(journal) == ["one", "two"]


def test_undoing_twice_leaves_one_branch(journal):
    say(journal, "one", "a")
    say(journal, "two", "b")
    journal.undo()
    journal.undo()
    assert said(journal) == []
    assert sorted(journal.branches()) == ["main", "main-2"]


def test_there_is_an_end_to_undoing(journal):
    with pytest.raises(SessionError, match="nothing to undo"):
        journal.undo()


def test_a_fork_goes_on_beside_its_origin(journal):
    say(journal, "one", "a")
    journal.fork("other")
    say(journal, "two", "b")
    assert said(journal) == ["one", "two"]
    journal.use("main")
    say(journal, "three", "c")
    assert said(journal) == ["one", "three"]
    assert journal.branch == "main"


def test_a_branch_needs_a_name_of_its_own(journal):
    say(journal, "one", "a")
    for name in ("main", "", "  ", "x" * 65, "a\nb"):
        with pytest.raises(SessionError):
            journal.fork(name)


def test_a_branch_that_is_not_there_is_named_with_those_that_are(journal):
    say(journal, "one", "a")
    with pytest.raises(SessionError, match=r"no branch 'nix'\. The branches are: main"):
        journal.use("nix")


def test_a_cell_that_is_run_again_replaces_its_turn_and_keeps_what_came_after(journal):
    first = say(journal, "one", "a", key="cell-1")
    say(journal, "two", "b", key="cell-2")
    say(journal, "three", "c", key="cell-3")
    assert journal.replace("cell-2").prompt == user("two")
    again = say(journal, "two!", "b", key="cell-2")
    assert said(journal) == ["one", "two!"]
    assert {n.id: n.parent for n in journal.tree()}[again] == first
    journal.use("main-2")
    assert said(journal) == ["one", "two", "three"]


def test_a_cell_that_was_not_run_replaces_nothing(journal):
    say(journal, "one", "a", key="cell-1")
    assert journal.replace("cell-2") is None
    assert said(journal) == ["one"]
    assert list(journal.branches()) == ["main"]


def test_a_turn_on_another_branch_is_not_replaced(journal):
    say(journal, "one", "a", key="cell-1")
    say(journal, "two", "b", key="cell-2")
    journal.undo()
    assert journal.replace("cell-2") is None
    assert said(journal) == ["one"]


def test_the_newest_of_several_turns_of_a_cell_is_replaced(journal):
    say(journal, "one", "a", key="k")
    say(journal, "two", "b", key="k")
    journal.replace("k")
    assert said(journal) == ["one"]


def test_a_reset_begins_anew_and_keeps_the_conversation(journal):
    say(journal, "one", "a")
    journal.reset()
    assert journal.messages() == []
    say(journal, "two", "b")
    assert said(journal) == ["two"]
    assert [n.parent for n in journal.tree()] == [None, None]
    journal.use("main-2")
    assert said(journal) == ["one"]


def test_a_reset_of_nothing_writes_nothing(store):
    store.new().reset()
    assert not store.path.exists()


def test_branches_are_numbered_from_their_stem(journal):
    for number in range(4):
        say(journal, f"{number}", "a")
        journal.reset()
    assert sorted(journal.branches()) == ["main", "main-2", "main-3", "main-4", "main-5"]
    journal.use("main-3")
    say(journal, "x", "a")
    journal.undo()
    assert "main-6" in journal.branches()


def test_the_tree_tells_what_a_person_wants_to_see(journal):
    say(journal, "one\n two  three " + "x" * 500, "a", key="cell-1", model="p/m")
    say(journal, "two", "b")
    journal.undo()
    first, second = journal.tree()
    assert first.preview.startswith("one two three xxx")
    assert len(first.preview) == 120
    assert (first.key, first.model, first.status) == ("cell-1", "p/m", "completed")
    assert (first.branches, first.is_current) == (("main",), True)
    assert (second.branches, second.is_current) == (("main-2",), False)
    assert second.parent == first.id
    assert first.ended >= first.began


def test_the_branch_in_use_and_the_tree_outlive_the_process(store, tmp_path):
    journal = store.new()
    say(journal, "one", "a")
    journal.fork("other")
    say(journal, "two", "b")
    journal.use("main")
    journal.use("other")
    journal.close()
    with Store(tmp_path) as again:
        resumed = again.resume()
        assert resumed.branch == "other"
        assert said(resumed) == ["one", "two"]
        say(resumed, "three", "c")
        assert said(resumed) == ["one", "two", "three"]


def test_what_was_spent_is_not_lowered_by_going_back(journal):
    say(journal, "one", "a")
    journal.undo()
    assert journal.usage.total_tokens == 15


def test_a_long_conversation_can_be_walked(journal):
    for number in range(1500):
        journal.begin(None, key=f"{number}").finish([user(f"{number}")])
    assert len(journal.messages()) == 1500
    journal.replace("0")
    assert journal.messages() == []

"""Was this asked before? Turns that are gone on from again, without asking again."""

from __future__ import annotations

import pytest

from alloy_nb.engine.journal import Store
from alloy_nb.errors import SessionError
from alloy_nb.messages import assistant, user
from tests.engine.journal.conversations import say

ABOUT = {"model": "p/m", "settings": {"effort": "high"}, "references": "r1"}


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as store:
        yield store


@pytest.fixture
def journal(store):
    journal = store.new()
    for number in range(3):
        say(journal, f"ask {number}", f"{number}", key=f"cell-{number}", **ABOUT)
    journal.close()
    return store.resume()


def test_the_same_question_at_the_same_point_is_found_with_its_messages(journal):
    journal.reset()
    found = journal.find(user("ask 0"), **ABOUT)
    assert found
    assert [m.text for m in found.turn.messages] == ["ask 0", "0"]


@pytest.mark.parametrize(
    ("changed", "differs"),
    [
        ({"model": "p/other"}, ("model",)),
        ({"settings": {"effort": "low"}}, ("settings",)),
        ({"references": "r2"}, ("references",)),
        ({"model": "x", "references": "r2"}, ("references", "model")),
    ],
)
def test_what_differs_is_named(journal, changed, differs):
    journal.reset()
    found = journal.find(user("ask 0"), **{**ABOUT, **changed})
    assert not found
    assert found.differs == differs


def test_another_prompt_in_the_same_cell_differs_by_its_prompt(journal):
    journal.reset()
    assert journal.find(user("ask!"), key="cell-0", **ABOUT).differs == ("prompt",)


def test_a_question_that_was_never_asked_differs_by_nothing(journal):
    journal.reset()
    assert journal.find(user("ask!"), key="cell-9", **ABOUT).differs == ()


def test_the_same_question_at_another_point_differs_by_its_history(journal):
    assert journal.find(user("ask 0"), **ABOUT).differs == ("history",)


def test_a_turn_that_was_not_answered_to_its_end_is_not_found(store):
    journal = store.new()
    journal.begin(user("one"), **ABOUT).finish([user("one"), assistant("a")], status="cancelled")
    journal.undo()
    assert journal.find(user("one"), **ABOUT).differs == ("status",)


def test_a_changed_answer_changes_the_history_of_what_follows(store):
    journal = store.new()
    say(journal, "one", "a", **ABOUT)
    say(journal, "two", "b", **ABOUT)
    journal.reset()
    say(journal, "one", "other", **ABOUT)
    assert journal.find(user("two"), **ABOUT).differs == ("history",)


def test_a_notebook_that_is_run_again_asks_nothing_and_leaves_no_branch(journal):
    before = [m.text for m in journal.messages()]
    for _ in range(3):
        for number in range(3):
            journal.replace(f"cell-{number}")
            found = journal.find(user(f"ask {number}"), key=f"cell-{number}", **ABOUT)
            assert journal.replay(found.turn.id) == found.turn
    assert [m.text for m in journal.messages()] == before
    assert len(journal.tree()) == 3
    assert list(journal.branches()) == ["main"]


def test_a_replay_costs_nothing(journal):
    spent = journal.cost
    journal.reset()
    journal.replay(journal.find(user("ask 0"), **ABOUT).turn.id)
    assert journal.cost == spent


def test_a_turn_is_not_replayed_at_another_point(journal):
    first = journal.tree()[0].id
    with pytest.raises(SessionError, match="another point"):
        journal.replay(first)
    with pytest.raises(SessionError, match="another point"):
        journal.replay("nix")


def test_after_a_replay_new_turns_go_on_from_it(journal):
    journal.replace("cell-1")
    journal.replay(journal.find(user("ask 1"), **ABOUT).turn.id)
    say(journal, "new", "n")
    texts = [m.text for m in journal.messages()]
    assert texts == ["ask 0", "0", "ask 1", "1", "new", "n"]
    journal.use("main-2")
    assert [m.text for m in journal.messages()][-1] == "2"


def test_a_keys_value_is_no_part_of_the_settings(store):
    journal = store.new()
    say(journal, "one", "a", settings={"api_key": "canary-1234567", "effort": "low"})
    journal.undo()
    assert journal.find(user("one"), settings={"api_key": "another-12345", "effort": "low"})


def test_how_a_conversation_began_is_part_of_its_history(store):
    journal = store.new()
    for first in ("one", "other"):
        journal.reset()
        say(journal, first, "a")
        say(journal, "same", "b")
        if first == "one":
            say(journal, "asked", "c", **ABOUT)
    assert journal.find(user("asked"), **ABOUT).differs == ("history",)

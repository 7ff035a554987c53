"""``%alloy retry``, ``edit``, ``--at`` and ``continue``."""

import pytest
from IPython.core.error import UsageError

from alloy_nb.engine.sessions.session import Session
from tests.engine.scripted import Scripted, calls, says
from tests.notebook.test_magics import magics


@pytest.fixture
def asked(shell, cell):
    """Two turns with a scripted model; returns the session and how to run a cell."""
    session = magics(shell).session()
    session.set_model(Scripted(*(says(word) for word in ("a", "b", "c", "d"))))
    cell("%alloy one")
    cell("%alloy two")
    return session, cell


def said(session):
    return [message.text for message in session.messages]


def refused(ran):
    assert isinstance(ran.error, UsageError)
    return ran.stderr


def test_retry_asks_the_last_prompt_again_in_its_place(asked):
    session, cell = asked
    assert cell("%alloy retry").ok
    assert said(session) == ["one", "a", "two", "c"]


def test_retry_can_ask_another_model(asked):
    session, cell = asked
    assert cell("%alloy retry -m demo").ok
    assert session.messages[-1].origin.provider == "demo"
    assert session.provider.name == "scripted"


def test_retry_keeps_what_its_prompt_refers_to_up_to_date(shell, asked):
    session, cell = asked
    shell.user_ns["numbers"] = [1]
    cell("%alloy what is in @numbers?")
    shell.user_ns["numbers"] = [1, 2, 3]
    cell("%alloy retry")
    asked_last = session.messages[-2].text
    assert asked_last.count("<reference") == 1
    assert "length 3" in asked_last


@pytest.fixture
def resumed(shell, cell, tmp_path, monkeypatch):
    """A conversation of another kernel, with a turn since, to which a note on that went along."""
    monkeypatch.chdir(tmp_path)
    with Session(provider="demo", journal=tmp_path) as earlier:
        earlier.chat("What is 6 * 7?")
    cell("%config Alloy.journal = 'on'\n%alloy approve all")
    assert cell("%alloy resume").ok
    assert cell("%alloy What is 2 * 3?").ok
    session = magics(shell).session()
    assert "<kernel>" in prompts(session)[-1].text
    return session, cell


def prompts(session):
    turns = session.export_session().turns
    return [session.messages[turn.first] for turn in turns]


def test_after_a_resume_retry_asks_what_was_typed(resumed):
    session, cell = resumed
    assert cell("%alloy retry").ok
    assert [prompt.content[0].text for prompt in prompts(session)] == [
        "What is 6 * 7?",
        "What is 2 * 3?",
    ]


def test_after_a_resume_edit_offers_what_was_typed(resumed):
    _, cell = resumed
    ran = cell("%alloy edit 2")
    assert "%%alloy --at 2\nWhat is 2 * 3?" in ran.text
    assert "<kernel>" not in ran.text


def test_before_the_first_turn_there_is_nothing_to_retry(cell):
    assert "Nothing was asked yet" in refused(cell("%alloy retry"))


def test_edit_asks_something_else_in_the_place_of_a_turn(asked):
    session, cell = asked
    assert cell("%alloy edit 1 another  {question}?").ok
    assert said(session) == ["another  {question}?", "c"]


def test_edit_alone_offers_the_prompt_to_be_changed(asked):
    session, cell = asked
    ran = cell("%alloy edit 1")
    assert "%%alloy --at 1\none" in ran.text
    assert said(session) == ["one", "a", "two", "b"]


def test_a_cell_can_ask_in_the_place_of_a_turn(asked):
    session, cell = asked
    assert cell("%%alloy --at 2\nother").ok
    assert said(session) == ["one", "a", "other", "c"]


@pytest.mark.parametrize("line", ["edit 7", "edit 7 x", "--at 7 x"])
def test_a_turn_that_is_not_there_is_named_and_nothing_is_lost(asked, line):
    session, cell = asked
    assert "no turn 7" in refused(cell(f"%alloy {line}"))
    assert len(session.messages) == 4


@pytest.mark.parametrize("line", ["edit", "edit two", "--at two x", "--at 0 x"])
def test_a_turn_without_a_number_is_asked_for(asked, line):
    session, cell = asked
    assert "%alloy" in refused(cell(f"%alloy {line}"))
    assert len(session.messages) == 4


def test_a_turn_that_came_to_its_end_is_not_continued(asked):
    _, cell = asked
    assert "came to its end" in refused(cell("%alloy continue"))


def test_a_turn_that_was_cut_off_goes_on(shell, cell):
    session = magics(shell).session()
    session.set_model(Scripted(calls(("python", {"code": "1"})), says("done")), max_turns=1)
    cell("%alloy --approve all count")
    session.configure(max_turns=5)
    assert cell("%alloy continue").ok
    assert said(session)[-1] == "done"
    assert "Go on where you were stopped" in said(session)[-2]

"""``%alloy retry``, ``edit``, ``--at`` and ``continue``."""

import base64

import pytest
from IPython.core.error import UsageError

from alloy_nb.engine.sessions.session import Session
from alloy_nb.markup.alongside import reference, referenced
from alloy_nb.messages import Image
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


# --- what went along ------------------------------------------------------------------------------

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PICTURE = Image(media_type="image/png", data=base64.b64encode(PNG).decode())
FORM = "Answer with code alone"


def asked_last(session):
    """Return the text and the pictures of the last prompt."""
    message = session.messages[-2]
    return message.text, [block for block in message.content if isinstance(block, Image)]


def test_retry_sends_what_was_typed_and_the_form_of_the_answer_once(asked):
    session, cell = asked
    cell("%%alloy -f code\nhello")
    before = session.messages[-2].text
    ran = cell("%alloy retry")
    assert ran.ok
    assert session.messages[-1].text == "d"
    assert session.messages[-2].text == before
    assert before.count(FORM) == 1
    assert "Copy it into a cell" in ran.text


def test_retry_may_ask_for_another_form(asked):
    session, cell = asked
    cell("%%alloy -f code\nhello")
    cell("%alloy retry -f md")
    assert session.messages[-2].text == "hello"


def test_edit_offers_what_was_typed_with_the_form_as_a_flag(asked):
    _, cell = asked
    cell("%%alloy -f code\nhello")
    ran = cell("%alloy edit 3")
    assert "%%alloy -f code --at 3\nhello" in ran.text
    assert FORM not in ran.text


def test_edit_keeps_the_form_of_the_answer(asked):
    session, cell = asked
    cell("%%alloy -f code\nhello")
    cell("%alloy edit 3 goodbye")
    assert session.messages[-2].text.startswith("goodbye\n\n<format")
    assert session.messages[-2].text.count(FORM) == 1


@pytest.mark.parametrize("line", ["retry", "edit 3 what is it?"])
def test_a_picture_that_no_name_stands_for_goes_along_again(asked, line):
    session, cell = asked
    session.chat(["what is it?", PICTURE])
    cell(f"%alloy {line}")
    assert session.messages[-1].text == "d"
    assert asked_last(session) == ("what is it?", [PICTURE])


@pytest.fixture
def photo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dot.png").write_bytes(PNG)


def test_a_picture_after_i_goes_along_again(photo, asked):
    session, cell = asked
    cell("%%alloy -i dot.png\nwhat is it?")
    assert asked_last(session)[1] == [PICTURE]
    cell("%alloy retry")
    text, pictures = asked_last(session)
    assert pictures == [PICTURE]
    assert text.count('<reference name="file:dot.png">') == 1


def test_a_picture_that_the_prompt_names_goes_along_once(photo, asked):
    session, cell = asked
    cell("%alloy what is in @file:dot.png?")
    cell("%alloy retry")
    text, pictures = asked_last(session)
    assert pictures == [PICTURE]
    assert text.count("<reference") == 1


def test_a_variable_after_i_is_looked_up_anew(shell, asked):
    session, cell = asked
    shell.user_ns["numbers"] = [1]
    cell("%%alloy -i numbers\nhow many?")
    assert "%%alloy -i numbers --at 3\nhow many?" in cell("%alloy edit 3").text
    shell.user_ns["numbers"] = [1, 2, 3]
    cell("%alloy retry")
    text, _ = asked_last(session)
    assert text.count("<reference") == 1
    assert "length 3" in text


def test_what_a_conversation_names_is_neither_read_nor_evaluated_unasked(photo, shell, asked):
    session, cell = asked
    names = ["file:dot.png", "$(1/0)", "numbers,file:dot.png", "numbers['a'],$(1/0)"]
    shell.user_ns["numbers"] = [1]
    session.chat("look\n\n" + "\n\n".join(reference(name, "then") for name in names))
    assert cell("%alloy retry").ok
    text, pictures = asked_last(session)
    assert pictures == []
    assert [block for _, block in referenced(text)] == [reference(name, "then") for name in names]


def test_a_narrower_dial_sends_no_attachment_again(asked):
    session, cell = asked
    session.chat(["what is it?", PICTURE])
    ran = cell("%alloy retry --data schema")
    assert asked_last(session) == ("what is it?", [])
    assert "attach it anew" in ran.text


def test_edit_says_what_a_cell_cannot_hold(asked):
    session, cell = asked
    session.chat(["what is it?", PICTURE])
    ran = cell("%alloy edit 3")
    assert "%%alloy --at 3\nwhat is it?" in ran.text
    assert "%alloy edit 3 PROMPT" in ran.text


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

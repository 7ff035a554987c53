"""``--bg`` in a terminal, where nothing runs between two lines, and what its words say."""

import threading

import pytest

from alloy_nb.engine.run import Result
from alloy_nb.notebook.turns.background import Background
from alloy_nb.testing import FOREVER, Wait
from tests.engine.holding import Holding
from tests.engine.scripted import calls, says
from tests.notebook.scripting import magics, refused, scripted


@pytest.fixture
def answers(monkeypatch):
    """Answer the questions of the cells; return those that were asked."""
    asked = []

    def answer(reply):
        monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or reply)
        return asked

    return answer


@pytest.fixture(autouse=True)
def nothing_is_left(shell):
    yield
    for magic in (c for c in shell.configurables if type(c).__name__ == "Alloy"):
        for turn in magic.desk.background:
            turn.stop()


def slow(text, seconds=0.3):
    first, *rest = says(text)
    return [first, Wait(seconds), *rest]


def test_the_cell_returns_a_handle_at_once(cell, shell):
    scripted(shell, [*says("x")[:2], FOREVER])
    ran = cell("%%alloy --bg -o turn\nhello")
    assert isinstance(ran.result, Background)
    assert shell.user_ns["turn"] is ran.result
    assert not ran.result.done
    cell("%alloy stop")


def test_waiting_shows_the_answer_and_the_variable_is_the_result(cell, shell):
    scripted(shell, slow("The answer."))
    cell("%%alloy --bg -o turn\nhello")
    assert "The answer." in cell("%alloy wait").stdout
    assert isinstance(shell.user_ns["turn"], Result)
    assert shell.user_ns["turn"].text == "The answer."


def test_a_turn_that_ends_at_once_is_in_its_variable_too(cell, shell):
    scripted(shell, *[says("quick")] * 20)
    for number in range(20):
        handle = cell(f"%%alloy --bg -o quick{number}\nhello").result
        assert handle._over.wait(30)
        assert shell.user_ns[f"quick{number}"].text == "quick"


def test_a_turn_that_cannot_begin_leaves_its_variable_alone(cell, shell):
    scripted(shell, [*says("x")[:2], FOREVER])
    cell("%%alloy --bg\nhello")
    shell.user_ns["kept"] = "before"
    for name in ("kept", "unset"):
        refused(cell(f"%%alloy --bg -o {name}\nhello"))
    assert (shell.user_ns["kept"], "unset" in shell.user_ns) == ("before", False)
    cell("%alloy stop")


def test_after_it_the_model_knows_that_the_kernel_is_new(cell, shell):
    scripted(shell, says("x"))
    desk = magics(shell).desk
    desk.aged.add(magics(shell).session().id)
    cell("%%alloy --bg\nhello")
    cell("%alloy wait")
    assert desk.aged == set()


def test_a_variable_that_is_used_anew_is_left_alone(cell, shell):
    scripted(shell, slow("The answer."))
    cell("%%alloy --bg -o turn\nhello")
    shell.user_ns["turn"] = "mine"
    cell("%alloy wait")
    assert shell.user_ns["turn"] == "mine"


def test_a_value_of_a_type_is_there_after_the_wait(cell, shell):
    scripted(shell, calls(("answer", {"value": 7})))
    cell("%%alloy --bg --as int -o made\nhello")
    assert "\n7\n" in cell("%alloy wait").stdout
    assert shell.user_ns["made"] == 7


def test_the_conversation_holds_what_was_said(cell, shell):
    scripted(shell, slow("The answer."))
    cell("%%alloy --bg\nhello")
    cell("%alloy wait")
    said = [message.text for message in magics(shell).session().messages]
    assert said == ["hello", "The answer."]


def test_another_cell_is_told_that_the_session_answers(cell, shell):
    scripted(shell, [*says("x")[:2], FOREVER])
    cell("%%alloy --bg\nhello")
    for again in ("%%alloy\nother", "%%alloy --bg\nother"):
        assert "is answering already" in refused(cell(again))
    cell("%alloy stop")


def test_a_question_waits_for_whoever_waits(cell, shell, answers):
    asked = answers("y")
    scripted(shell, calls(("python", {"code": "made_in_bg = 42"})), says("Done."))
    cell("%%alloy --bg\nhello")
    threading.Event().wait(0.3)
    assert (asked, "made_in_bg" in shell.user_ns) == ([], False)
    cell("%alloy wait")
    assert len(asked) == 1
    assert shell.user_ns["made_in_bg"] == 42


def test_what_nothing_would_ever_run_is_refused_with_a_reason(cell, shell):
    model = scripted(shell, calls(("python", {"code": "never = 1"})), says("Done."))
    handle = cell("%%alloy --bg --approve all\nhello").result
    # Not even a thread that waits brings the main thread: it must not hang.
    waiter = threading.Thread(target=handle.result)
    waiter.start()
    waiter.join(30)
    assert not waiter.is_alive()
    assert "types %alloy wait" in model.requests[1].messages[-1].content[0].text
    assert "never" not in shell.user_ns


def test_a_failure_is_raised_by_the_wait(cell, shell):
    scripted(shell)
    cell("%%alloy --bg\nhello")
    ran = cell("%alloy wait")
    assert not ran.ok
    assert "no reply left" in ran.text


def test_it_is_waited_for_once(cell, shell):
    scripted(shell, says("x"))
    cell("%%alloy --bg\nhello")
    cell("%alloy wait")
    assert "Nothing answers in the background" in refused(cell("%alloy wait"))


@pytest.mark.parametrize("word", ["wait", "stop"])
def test_with_nothing_there_the_word_says_so(cell, word):
    assert "--bg begins a turn there" in refused(cell(f"%alloy {word}"))


@pytest.mark.parametrize("form", ["%alloy stop one", "%alloy stop -s one"])
def test_one_of_several_is_stopped_by_its_name(cell, shell, form):
    for name in ("one", "two"):
        scripted(shell, [*says("x")[:2], FOREVER], session=name)
        cell(f"%%alloy --bg -s {name} -o {name}\nhello")
    assert cell(form).ok
    assert (shell.user_ns["one"].status.value, shell.user_ns["two"].status) == (
        "cancelled",
        "running",
    )
    assert "These do: two." in refused(cell("%alloy stop one"))
    cell("%alloy stop")


def test_unloading_ends_it(cell, shell):
    scripted(shell, [*says("x")[:2], FOREVER])
    handle = cell("%%alloy --bg\nhello").result
    cell("%unload_ext alloy_nb")
    assert handle._over.wait(30)


def test_nothing_of_it_stays_with_the_shell(cell, shell):
    scripted(shell, slow("x"))
    before = [list(each) for each in shell.events.callbacks.values()]
    cell("%%alloy --bg\nhello")
    cell("%alloy wait")
    assert [list(each) for each in shell.events.callbacks.values()] == before


def test_it_may_be_asked_once(cell, shell):
    scripted(shell, slow("Aside."))
    cell("%%alloy --bg --once -o aside\nhello")
    cell("%alloy wait")
    assert shell.user_ns["aside"].text == "Aside."
    assert magics(shell).session().messages == []


def test_a_turn_in_the_background_is_told_something_with_what_it_refers_to(cell, shell):
    hold = Holding()
    model = scripted(shell, calls(("hold", {})), says("done"))
    shell.user_ns["nums"] = [1]
    session = magics(shell).session()
    session.configure(tools=[hold.tool], approve="all")
    cell("%%alloy --bg -o turn\nhello")
    assert hold.held.wait(60)
    assert "is told" in cell("%alloy steer shorter, see @nums").stdout
    hold.let_go.set()
    cell("%alloy wait")
    said = model.requests[1].messages[-1].text
    assert said.startswith("shorter, see @nums\n\n<reference name=")


@pytest.mark.parametrize("line", ["%alloy steer", "%alloy steer more"])
def test_nothing_is_told_where_nothing_answers(cell, line):
    assert "Say what" in refused(cell(line)) or "Nothing" in refused(cell(line))

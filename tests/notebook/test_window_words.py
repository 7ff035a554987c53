"""``%alloy context``, ``hide``, ``pin``, ``compact``, ``tools`` and ``budget``."""

import pytest
from IPython.core.error import UsageError

from alloy_nb.errors import ConfigError
from tests.engine.scripted import Scripted, says
from tests.notebook.test_magics import magics

LONG = "word " * 400


@pytest.fixture
def session(shell, cell):
    """Give a conversation of three turns, the second of which is long."""
    session = magics(shell).session()
    session.set_model(Scripted(says("a"), says(LONG), says("c"), says("In short."), says("d")))
    for prompt in ("one", "two", "third"):
        cell(f"%alloy {prompt}")
    return session


def refused(ran):
    assert isinstance(ran.error, UsageError)
    return ran.stderr


def line_of(text, word):
    return next(line for line in text.splitlines() if word in line)


def test_the_context_lists_each_turn_with_its_size(session, cell):
    text = cell("%alloy context").text
    assert all(word in text for word in ("one", "two", "third", "system prompt", "tool python"))
    assert int(line_of(text, " two ").split()[2].replace(",", "")) > 200


def test_the_context_says_what_a_reference_costs(shell, session, cell):
    shell.user_ns["numbers"] = list(range(9))
    cell("%alloy look at @numbers")
    assert "@numbers" in line_of(cell("%alloy context").text, "look at").replace("at @numbers", "")


def test_a_hidden_turn_is_not_sent(session, cell):
    assert "not sent any more" in cell("%alloy hide 2").text
    cell("%alloy four")
    sent = [message.text for message in session.provider.requests[-1].messages]
    assert sent == ["one", "a", "third", "c", "four"]


def test_a_hidden_turn_counts_nothing_in_the_context(session, cell):
    cell("%alloy hide 2")
    line = line_of(cell("%alloy context").text, " two ")
    assert "hidden" in line
    assert line.split()[2] == "0"


def test_several_turns_are_hidden_and_shown_again(session, cell):
    cell("%alloy hide 1 2")
    assert session.hidden == (1, 2)
    cell("%alloy unhide 1 2")
    assert session.hidden == ()


@pytest.mark.parametrize("verb", ["hide", "pin"])
def test_none_of_several_turns_is_marked_where_one_is_not_there(session, cell, verb):
    assert "no turn 9" in refused(cell(f"%alloy {verb} 1 9"))
    assert (session.hidden, session.pinned) == ((), ())


def test_a_pinned_turn_is_marked(session, cell):
    cell("%alloy pin 2")
    assert "pinned" in line_of(cell("%alloy context").text, " two ")
    cell("%alloy unpin 2")
    assert session.pinned == ()


@pytest.mark.parametrize("line", ["hide", "hide two", "pin"])
def test_a_turn_is_asked_for_where_none_is_named(session, cell, line):
    assert "%alloy context" in refused(cell(f"%alloy {line}"))


def test_a_turn_that_is_not_there_is_named(session, cell):
    assert "no turn 9" in refused(cell("%alloy hide 9"))


def test_a_conversation_is_shortened_with_a_focus(session, cell):
    assert "tokens are" in cell("%alloy compact the long words").text
    assert "the long words" in session.provider.requests[-1].messages[0].text
    assert "summary of what is older" in cell("%alloy context").text


def test_there_is_nothing_to_shorten_before_the_first_turn(cell):
    assert "nothing was said yet" in refused(cell("%alloy compact"))


# --- tools and limits ---------------------------------------------------------------------------


def test_the_tools_are_listed_with_what_they_may(cell):
    text = cell("%alloy tools").text
    assert "run" in line_of(text, "python")
    assert "read" in line_of(text, "read")


def test_a_function_of_the_notebook_becomes_a_tool(shell, cell):
    cell("def rates(day: str) -> str:\n    'Exchange rates of a day.'\n    return day")
    assert "Added: rates (run)" in cell("%alloy tools add rates").text
    assert "rates" in magics(shell).session().agent.tools_by_name
    assert "rates" in magics(shell).session("other").agent.tools_by_name


def test_a_tool_is_dropped_from_one_session_alone(shell, cell):
    cell("%alloy tools -s one drop bash")
    assert "bash" not in magics(shell).session("one").agent.tools_by_name
    assert "bash" in magics(shell).session().agent.tools_by_name


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("tools add ratse", "Did you mean rates?"),
        ("tools drop nothing", "The tools are: python"),
        ("tools bake", "tools add NAME"),
        ("tools add", "tools add NAME"),
    ],
)
def test_a_wrong_word_about_tools_says_what_there_is(shell, cell, line, told):
    shell.user_ns["rates"] = len
    assert told in refused(cell(f"%alloy {line}"))


def test_what_is_no_tool_is_named_by_its_beginning(shell, cell):
    shell.user_ns["rows"] = list(range(100_000))
    told = refused(cell("%alloy tools add rows"))
    assert told.startswith("UsageError: [0, 1, 2,")
    assert len(told) < 200


def test_a_limit_is_set_shown_and_lifted(shell, cell):
    assert "Limit $2.5" in cell("%alloy budget 2.5").text
    assert magics(shell).session().agent.budget is not None
    assert "No limit" in cell("%alloy budget off").text
    assert magics(shell).session().agent.budget is None


@pytest.mark.parametrize("amount", ["1e400", "snan", "much", "nan", "0"])
def test_an_amount_that_is_none_is_refused(cell, amount):
    ran = cell(f"%alloy budget {amount}")
    assert isinstance(ran.error, UsageError | ConfigError)
    assert "budget" in ran.stderr

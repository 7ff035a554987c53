"""A session goes back, hides, pins and shortens what was said, with a journal and without."""

import pytest

import alloy_nb as al
from alloy_nb.errors import SessionError
from alloy_nb.messages import ToolResult
from tests.engine.scripted import Scripted, calls, says


@al.tool
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@pytest.fixture(params=["with a journal", "without a journal"])
def begin(request, tmp_path):
    """Begin a session whose model says what it is told to."""
    where = {"journal": tmp_path} if request.param == "with a journal" else {}

    def make(*script, **settings):
        return al.Session(provider=Scripted(*script), **where, **settings)

    return make


def said(session):
    return [message.text for message in session.messages]


def sent(session):
    """The texts of the last request."""
    return [message.text for message in session.provider.requests[-1].messages]


def three_turns(begin, *more, **settings):
    session = begin(says("a"), says("b"), says("c"), *more, **settings)
    for prompt in ("one", "two", "three"):
        session.chat(prompt)
    return session


# --- going back ---------------------------------------------------------------------------------


def test_undo_forgets_the_last_turn_and_returns_it(begin):
    session = three_turns(begin)
    assert session.undo().prompt.text == "three"
    assert said(session) == ["one", "a", "two", "b"]


def test_a_rewind_forgets_a_turn_and_all_after_it(begin):
    session = three_turns(begin)
    assert session.rewind(2).prompt.text == "two"
    assert said(session) == ["one", "a"]


def test_what_is_asked_after_a_rewind_goes_on_from_there(begin):
    session = three_turns(begin, says("d"))
    session.rewind(2)
    session.chat("other")
    assert sent(session) == ["one", "a", "other"]


def test_the_record_of_turns_follows_a_rewind(begin):
    session = three_turns(begin)
    session.rewind(2)
    assert [(turn.first, turn.count) for turn in session.export_session().turns] == [(0, 2)]


@pytest.mark.parametrize("turn", [0, 4, -4])
def test_a_turn_that_is_not_there_is_named(begin, turn):
    session = three_turns(begin)
    with pytest.raises(SessionError, match=f"no turn {turn}: it has 3"):
        session.rewind(turn)
    assert len(session.messages) == 6


def test_a_turn_with_tools_is_gone_back_over_whole(begin):
    session = begin(calls(("add", {"a": 1, "b": 2})), says("3"), says("x"), tools=[add])
    session.chat("sum")
    session.chat("next")
    session.rewind(1)
    assert session.messages == []


def test_a_continued_conversation_is_gone_back_over_by_turns(begin):
    session = begin(says("a"), says("more"))
    session.chat("one")
    session.chat(None)
    assert len(session.export_session().turns) == 2
    session.rewind(2)
    assert said(session) == ["one", "a"]


# --- what is sent -------------------------------------------------------------------------------


def test_a_hidden_turn_is_not_sent_and_stays_in_the_conversation(begin):
    session = three_turns(begin, says("d"))
    session.hide(2)
    session.chat("four")
    assert sent(session) == ["one", "a", "three", "c", "four"]
    assert said(session)[2:4] == ["two", "b"]


def test_a_hidden_turn_stays_hidden_in_later_turns(begin):
    session = three_turns(begin, says("d"), says("e"))
    session.hide(1)
    session.chat("four")
    session.chat("five")
    assert sent(session) == ["two", "b", "three", "c", "four", "d", "five"]
    assert session.hidden == (1,)


def test_a_turn_that_is_shown_again_is_sent_again(begin):
    session = three_turns(begin, says("d"))
    session.hide(2)
    session.hide(2, hide=False)
    session.chat("four")
    assert sent(session) == ["one", "a", "two", "b", "three", "c", "four"]


def test_no_call_of_a_hidden_turn_loses_its_result(begin):
    session = begin(
        says("a"), calls(("add", {"a": 1, "b": 2})), says("3"), says("x"), says("y"), tools=[add]
    )
    for prompt in ("one", "sum", "three"):
        session.chat(prompt)
    session.hide(2)
    session.chat("four")
    request = session.provider.requests[-1]
    blocks = [block for message in request.messages for block in message.content]
    assert not any(isinstance(block, ToolResult) for block in blocks)
    assert sent(session) == ["one", "a", "three", "x", "four"]


def test_all_turns_can_be_hidden(begin):
    session = three_turns(begin, says("d"))
    for turn in (1, 2, 3):
        session.hide(turn)
    session.chat("four")
    assert sent(session) == ["four"]


def test_what_is_hidden_is_hidden_after_a_resumption(tmp_path):
    with al.Session(provider=Scripted(says("a"), says("b")), journal=tmp_path) as first:
        first.chat("one")
        first.chat("two")
        first.hide(1)
    again = al.Session.resume(folder=tmp_path, provider=Scripted(says("c")))
    assert again.hidden == (1,)
    again.chat("three")
    assert sent(again) == ["two", "b", "three"]


# --- shortening ---------------------------------------------------------------------------------

LONG = "word " * 400


def long_turns(begin, *more):
    session = begin(*[says(f"{n} {LONG}") for n in range(6)], *more)
    for n in range(6):
        session.chat(f"q{n}")
    return session


def test_a_conversation_is_shortened_on_demand(begin):
    session = long_turns(begin, says("In short."), says("x"))
    outcome = session.compact()
    assert outcome.after < outcome.before
    session.chat("next")
    assert any(text.startswith("[Summary") for text in sent(session))
    assert len(session.messages) == 14


def test_what_the_summary_must_not_lose_is_asked_for(begin):
    session = long_turns(begin, says("In short."))
    session.compact("the prices")
    assert "Give most room to: the prices" in sent(session)[0]


def test_a_pinned_turn_is_sent_as_it_was(begin):
    session = long_turns(begin, says("In short."), says("x"))
    session.pin(2)
    session.compact()
    session.chat("next")
    assert f"1 {LONG}" in sent(session)
    assert f"2 {LONG}" not in sent(session)


def test_no_summary_is_made_of_a_pinned_turn(begin):
    session = long_turns(begin, says("In short."))
    session.pin(2)
    session.compact()
    assert "q1" not in sent(session)[0]


def test_there_is_nothing_to_shorten_in_one_turn(begin):
    session = begin(says("a"))
    session.chat("one")
    assert session.compact().view is None


def test_a_summary_is_counted_and_outlives_the_kernel(tmp_path):
    def make(*script):
        return lambda *_: al.Session(provider=Scripted(*script), journal=tmp_path)

    script = [says(f"{n} {LONG}") for n in range(6)]
    with make(*script, says("In short."))() as first:
        for n in range(6):
            first.chat(f"q{n}")
        before = first.usage.total_tokens
        first.compact()
        assert first.usage.total_tokens > before
    again = al.Session.resume(folder=tmp_path, provider=Scripted(says("x")))
    again.chat("next")
    assert any(text.startswith("[Summary") for text in sent(again))
    assert len(again.export_session().turns) == 7


def test_a_turn_that_a_summary_stands_for_cannot_be_hidden(begin):
    session = long_turns(begin, says("In short."))
    session.compact()
    with pytest.raises(SessionError, match="summary stands for turn 1"):
        session.hide(1)

"""`scratchpad` keeps notes for as long as its agent lives."""

from __future__ import annotations

import pytest

import alloy_nb as al
from alloy_nb.engine.calls.tool import ToolContext, as_tool
from alloy_nb.errors import ToolError
from tests.engine.scripted import Scripted, calls, says


def use(pad: al.Scratchpad, **arguments: str) -> str:
    return as_tool(pad).bind(arguments, ToolContext())()


@pytest.fixture
def pad() -> al.Scratchpad:
    return al.Scratchpad()


def test_without_notes_it_says_that_it_is_empty(pad):
    assert use(pad, action="read") == "(scratchpad is empty)"


def test_notes_are_read_one_a_line(pad):
    use(pad, action="write", key="a", value="1")
    use(pad, action="write", key="b", value="2")
    use(pad, action="write", key="a", value="3")
    assert use(pad, action="read") == "a: 3\nb: 2"


def test_clear_forgets_all_and_says_so(pad):
    use(pad, action="write", key="a", value="1")
    assert use(pad, action="clear") == "Scratchpad cleared"
    assert pad.notes == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"action": "write", "value": "1"}, "its key"),
        ({"action": "write", "key": "a"}, "its value"),
        ({"action": "dance"}, "Unknown action: dance"),
        ({"action": "write", "key": "a", "value": "x" * 200_000}, "over 100,000 characters"),
    ],
)
def test_what_cannot_be_done_names_what_is_wrong(pad, arguments, message):
    with pytest.raises(ToolError, match=message):
        use(pad, **arguments)
    assert pad.notes == {}


def test_notes_survive_a_reset_of_the_session():
    write = ("scratchpad", {"action": "write", "key": "a", "value": "1"})
    model = Scripted(
        calls(write), says("noted"), calls(("scratchpad", {"action": "read"})), says("1")
    )
    session = al.Session(provider=model, tools=[al.Scratchpad])
    session.chat("note it")
    session.reset()
    session.chat("read it")
    assert model.requests[3].messages[-1].content[0].text == "a: 1"


def test_as_a_class_each_agent_has_its_own():
    write = ("scratchpad", {"action": "write", "key": "a", "value": "1"})
    al.run("?", provider=Scripted(calls(write), says("")), tools=[al.Scratchpad])
    model = Scripted(calls(("scratchpad", {"action": "read"})), says(""))
    al.run("?", provider=model, tools=[al.Scratchpad])
    assert model.requests[1].messages[-1].content[0].text == "(scratchpad is empty)"


def test_as_an_object_it_is_shared(pad):
    write = ("scratchpad", {"action": "write", "key": "a", "value": "1"})
    al.run("?", provider=Scripted(calls(write), says("")), tools=[pad])
    assert pad.notes == {"a": "1"}


def test_a_note_written_and_read_in_one_message_is_there():
    model = Scripted(
        calls(
            ("scratchpad", {"action": "write", "key": "a", "value": "1"}),
            ("scratchpad", {"action": "read"}),
        ),
        says(""),
    )
    al.run("?", provider=model, tools=[al.Scratchpad])
    assert [part.text for part in model.requests[1].messages[-1].content] == ["Wrote a", "a: 1"]

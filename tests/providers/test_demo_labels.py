"""The demo fills in forms by the words of a text, asks other agents, and notes its claims."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

import alloy_nb as al
from alloy_nb.analysis.findings import findings_in
from alloy_nb.providers import provider


def filled(kind: Any, text: str, model: str = "demo") -> Any:
    """Return what the demo makes of a text."""
    answering = provider(f"demo/{model}", pace=0)
    return al.run(f"What is this: {text}", provider=answering, until_tool=kind).output


Mood = Literal["positive", "neutral", "negative"]


@pytest.mark.parametrize(
    ("text", "mood"),
    [
        ("I love it, works great.", "positive"),
        ("It broke and I want a refund.", "negative"),
        ("It is a chair.", "neutral"),
        ("Not good.", "negative"),
        ("It never fails.", "neutral"),
        ("Good: bad, bad, bad", "negative"),
        ("", "neutral"),
    ],
)
def test_a_mood_is_counted_by_words_of_praise_and_blame(text, mood):
    assert filled(Mood, text) == mood


def test_the_demo_in_a_hurry_reads_the_first_words_only():
    text = "At first I hated it, now it is excellent, the best, wonderful."
    assert filled(Mood, text) == "positive"
    assert filled(Mood, text, "quick") == "negative"


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Part(BaseModel):
    name: str
    wheels: int | None = None


class Whole(BaseModel):
    colour: Colour
    mentions_refund: bool
    stars: Annotated[int, Field(ge=1, le=5)]
    price: float
    words: list[str]
    part: Part
    kind: Literal["only"] = "only"


def test_every_kind_of_field_is_filled_in_so_that_the_form_is_valid():
    made = filled(Whole, "A blue cart, 4 of them, I want a refund.")
    assert (made.colour, made.mentions_refund, made.stars) == (Colour.BLUE, True, 4)
    assert made.part.name.startswith("A blue cart")


@pytest.mark.parametrize("kind", [int, float, bool, str, list[str], dict[str, Any], Whole, Part])
@pytest.mark.parametrize("text", ["", "x", "word " * 300, "{}[]\"'<script>", "-1e9 99 %"])
def test_no_text_makes_an_answer_that_is_not_of_its_type(kind, text):
    result = al.run(f"Fill in: {text}", provider=provider("demo", pace=0), until_tool=kind)
    assert result.ok, result.error
    assert len(result.tool_calls) == 1


# --- other agents, and findings -------------------------------------------------------------------


def test_every_agent_that_can_be_asked_is_asked_once_and_quoted():
    team = al.Team()
    team.add("one", provider=provider("demo", pace=0))
    team.add("two", provider=provider("demo", pace=0))
    lead = al.Session(provider=provider("demo", pace=0), tools=team.tools(), approve="all")
    result = lead.chat("What is the meaning of it?")
    assert sorted(record.name for record in result.tool_calls) == ["ask_one", "ask_two"]
    assert "`one` says:" in result.text
    assert "> I am the scripted demo" in result.text


@pytest.fixture
def python():
    @al.tool(name="python", risk="read")
    def python(code: str) -> str:
        """Run code."""
        return str(eval(code))

    return python


def test_what_it_computed_is_noted_where_that_is_wanted(python):
    session = al.Session(
        provider=provider("demo", pace=0), tools=[python, al.note_finding], approve="all"
    )
    session.chat("What is 6 * 7? Note the finding.")
    (found,) = findings_in(session.messages)
    assert found.claim == "6 * 7 is 42."
    assert [(one.name, one.kind) for one in found.evidence] == [("python #1", "call")]


def test_nothing_is_noted_where_nobody_wants_it(python):
    session = al.Session(
        provider=provider("demo", pace=0), tools=[python, al.note_finding], approve="all"
    )
    session.chat("What is 6 * 7?")
    assert findings_in(session.messages) == []

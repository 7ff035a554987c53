"""A run that ends with a value, or not before a tool was called."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter, field_validator
from typing_extensions import TypedDict

import alloy_nb as al
from alloy_nb.engine.agent import Agent
from alloy_nb.engine.structured import Structured
from alloy_nb.errors import ConfigError
from alloy_nb.messages import StopReason, ToolResult, user
from tests.engine.scripted import Scripted, calls, says
from tests.engine.test_loop import add
from tests.oracles.invariants import check_anthropic
from tests.providers.wires import ANTHROPIC, body


class Town(BaseModel):
    """A town and how many live there."""

    name: str
    people: int = Field(ge=0)


BONN = {"name": "Bonn", "people": 330_000}


def results_of(result: al.Result) -> list[ToolResult]:
    return [b for m in result.messages for b in m.content if isinstance(b, ToolResult)]


# --- a type ---------------------------------------------------------------------------------------


def test_the_run_ends_at_the_first_valid_call_with_the_validated_object():
    model = Scripted(calls(("Town", BONN), text="Here it is."))
    result = al.run("?", provider=model, until_tool=Town)
    assert result.output == Town(name="Bonn", people=330_000)
    assert (result.status, result.turns, result.text) == ("completed", 1, "Here it is.")
    assert len(model.requests) == 1


def test_the_model_is_told_of_the_tool_with_its_schema_and_purpose():
    model = Scripted(calls(("Town", BONN)))
    al.run("?", provider=model, until_tool=Town, tools=[add])
    first, made = model.requests[0].tools
    assert first.name == "add"
    assert made.name == "Town"
    assert made.description.startswith("A town and how many live there.")
    assert made.input_schema["properties"]["people"]["minimum"] == 0
    assert made.input_schema["required"] == ["name", "people"]


def test_an_invalid_call_goes_back_with_what_is_wrong():
    wrong = {"name": "Bonn", "people": -1}
    model = Scripted(calls(("Town", wrong)), calls(("Town", BONN)))
    result = al.run("?", provider=model, until_tool=Town)
    assert result.output == Town(**BONN)
    told = results_of(result)[0]
    assert told.is_error
    assert "people: Input should be greater than or equal to 0" in told.text
    assert [record.error is None for record in result.tool_calls] == [False, True]


def test_arguments_that_are_no_json_go_back_too():
    model = Scripted(calls(("Town", '{"name": ')), calls(("Town", BONN)))
    result = al.run("?", provider=model, until_tool=Town)
    assert result.output == Town(**BONN)
    assert "not a JSON object" in results_of(result)[0].text


def test_every_call_has_its_result_and_the_conversation_can_go_on():
    model = Scripted(calls(("add", {"a": 1, "b": 2}), ("Town", BONN), ("add", {"a": 3, "b": 4})))
    result = al.run("?", provider=model, until_tool=Town, tools=[add])
    assert [r.text for r in results_of(result)] == ["3", "The answer was taken.", "7"]
    check_anthropic(body(ANTHROPIC, *result.messages, user("go on")))


def test_of_two_answers_in_one_reply_the_first_counts():
    other = {"name": "Köln", "people": 1}
    model = Scripted(calls(("Town", BONN), ("Town", other)))
    result = al.run("?", provider=model, until_tool=Town)
    assert result.output.name == "Bonn"
    assert "not taken" in results_of(result)[1].text


def test_tools_run_before_the_answer():
    model = Scripted(calls(("add", {"a": 1, "b": 2})), calls(("Town", BONN)))
    result = al.run("?", provider=model, until_tool=Town, tools=[add])
    assert result.output == Town(**BONN)
    assert result.turns == 2


def test_a_model_that_stops_without_it_is_reminded_in_the_history():
    model = Scripted(says("I think it is Bonn."), calls(("Town", BONN)))
    result = al.run("?", provider=model, until_tool=Town)
    assert result.output == Town(**BONN)
    assert [m.role for m in result.messages] == ["user", "assistant", "user", "assistant", "user"]
    assert "call the tool Town" in result.messages[2].text
    assert model.requests[1].messages[2].text == result.messages[2].text


def test_a_model_that_never_calls_it_ends_at_the_limit_without_a_value():
    model = Scripted(otherwise=says("no"))
    result = al.run("?", provider=model, until_tool=Town, max_turns=3)
    assert (result.status, result.output, len(model.requests)) == ("max_turns", None, 3)


def test_a_model_that_refuses_is_not_reminded():
    model = Scripted(says("I will not.", stop=StopReason.REFUSAL))
    result = al.run("?", provider=model, until_tool=Town)
    assert (result.status, result.output, result.stop_reason) == ("completed", None, "refusal")


def test_a_call_that_was_cut_is_no_answer():
    model = Scripted(calls(("Town", BONN), stop=StopReason.MAX_TOKENS))
    result = al.run("?", provider=model, until_tool=Town)
    assert (result.status, result.output) == ("error", None)


@pytest.mark.parametrize("policy", ["ask", "read", "none", "all"])
def test_to_answer_needs_no_approval(policy):
    model = Scripted(calls(("Town", BONN)))
    assert al.run("?", provider=model, until_tool=Town, approve=policy).output == Town(**BONN)


def test_an_approver_is_asked_about_all_but_the_answer():
    asked: list[str] = []

    async def approve(call: Any, tool: Any) -> al.Decision:
        asked.append(call.name)
        return al.Decision(allowed=True)

    model = Scripted(calls(("add", {"a": 1, "b": 2}), ("Town", BONN)))
    al.run("?", provider=model, until_tool=Town, tools=[add], approve=approve)
    assert asked == ["add"]


def test_a_name_that_a_tool_has_already_is_not_taken():
    @al.tool(name="Town")
    def town(x: int) -> str:
        """Be in the way."""
        return "no"

    model = Scripted(calls(("Town_", BONN)))
    assert al.run("?", provider=model, until_tool=Town, tools=[town]).output == Town(**BONN)


def test_runs_of_one_agent_do_not_share_their_answers():
    agent = Agent(Scripted(calls(("Town", BONN)), says("no")), until_tool=Town, max_turns=1)
    assert agent.run("?").output == Town(**BONN)
    assert agent.run("?").output is None


def test_a_session_may_ask_for_a_value_in_one_turn_alone():
    model = Scripted(calls(("Town", BONN)), says("ok"))
    session = al.Session(provider=model)
    assert session.chat("?", until_tool=Town).output == Town(**BONN)
    assert session.chat("thanks").text == "ok"
    assert model.requests[1].tools == ()


# --- any type -------------------------------------------------------------------------------------


@dataclass
class Point:
    """Where."""

    x: int
    y: int = 0


class Tree(BaseModel):
    value: int
    children: list[Tree] = []


class Colour(Enum):
    RED = "red"


class Plain(TypedDict):
    a: int


class Strict(BaseModel, strict=True):
    day: date
    pair: tuple[int, int]


TYPES: list[tuple[Any, Any, Any]] = [
    (Point, {"x": 1, "y": 2}, Point(1, 2)),
    (Plain, {"a": 1}, {"a": 1}),
    (list[int], {"value": [1, 2]}, [1, 2]),
    (int, {"value": 3}, 3),
    (str, {"value": "a\u20ac"}, "a\u20ac"),
    (bool | None, {"value": None}, None),
    (Literal["a", "b"], {"value": "b"}, "b"),
    (Colour, {"value": "red"}, Colour.RED),
    (dict[str, int], {"value": {"a": 1}}, {"a": 1}),
    (TypeAdapter(list[Town]), {"value": [BONN]}, [Town(**BONN)]),
    (Town | Point, {"value": {"x": 1}}, Point(1)),
    (Strict, {"day": "2026-11-21", "pair": [1, 2]}, Strict(day=date(2026, 11, 21), pair=(1, 2))),
    (date, {"value": "2026-11-21"}, date(2026, 11, 21)),
]


@pytest.mark.parametrize(("kind", "arguments", "value"), TYPES, ids=[str(t[0]) for t in TYPES])
def test_any_type_will_do(kind, arguments, value):
    name = Structured.of(kind).spec.name
    result = al.run("?", provider=Scripted(calls((name, arguments))), until_tool=kind)
    assert result.status == "completed", results_of(result)
    assert result.output == value
    assert type(result.output) is type(value)


def test_a_type_that_holds_itself_will_do():
    kind = Structured.of(Tree)
    arguments = {"value": 1, "children": [{"value": 2, "children": []}]}
    given_ = {"value": arguments} if kind.is_wrapped else arguments
    result = al.run("?", provider=Scripted(calls((kind.spec.name, given_))), until_tool=Tree)
    assert result.output.children[0].value == 2
    assert kind.spec.input_schema["type"] == "object"
    assert "$defs" in kind.spec.input_schema


@pytest.mark.parametrize("kind", [t[0] for t in TYPES] + [Tree], ids=str)
def test_every_schema_is_that_of_an_object_under_a_name_that_vendors_take(kind):
    spec = Structured.of(kind).spec
    assert spec.input_schema["type"] == "object"
    assert spec.name.replace("_", "a").isalnum()
    al.Tool(lambda: None, spec.name, spec.description, spec.input_schema)


def test_a_validator_that_raises_anything_is_told_to_the_model():
    class Picky(BaseModel):
        x: int

        @field_validator("x")
        @classmethod
        def check(cls, value: int) -> int:
            return 1 // value

    model = Scripted(calls(("Picky", {"x": 0})), calls(("Picky", {"x": 1})))
    result = al.run("?", provider=model, until_tool=Picky)
    assert result.output.x == 1
    assert "ZeroDivisionError" in results_of(result)[0].text


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(["name", "people", "x", "self", "value"]), _JSON))
def test_whatever_the_arguments_are_they_are_valid_or_told_to_be_wrong(arguments):
    result = al.run(
        "?", provider=Scripted(calls(("Town", arguments))), until_tool=Town, max_turns=1
    )
    if result.output is None:
        assert results_of(result)[0].is_error
        assert result.status == "max_turns"
    else:
        assert isinstance(result.output, Town)
        assert result.status == "completed"


@pytest.mark.parametrize("kind", [3, object(), [int, str], {"a": 1}, lambda x: x, add])
def test_what_is_neither_a_type_nor_a_tool_is_refused_at_once(kind):
    model = Scripted()
    with pytest.raises(ConfigError, match="until_tool"):
        al.run("?", provider=model, until_tool=kind)
    assert model.requests == []


# --- a tool's name --------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", ["add", add])
def test_a_tool_that_is_named_runs_and_the_next_answer_ends_the_run(wanted):
    model = Scripted(calls(("add", {"a": 1, "b": 2})), says("3"))
    result = al.run("?", provider=model, tools=[add], until_tool=wanted)
    assert (result.text, result.turns, result.output) == ("3", 2, None)


def test_the_run_does_not_end_before_the_tool_was_called():
    model = Scripted(says("done"), calls(("add", {"a": 1, "b": 2})), says("3"))
    result = al.run("?", provider=model, tools=[add], until_tool="add")
    assert (result.text, result.turns) == ("3", 3)
    assert "call the tool add" in result.messages[2].text


def test_it_holds_for_an_answer_that_reached_its_limit():
    model = Scripted(
        says("do", stop=StopReason.MAX_TOKENS), calls(("add", {"a": 1, "b": 2})), says("3")
    )
    assert al.run("?", provider=model, tools=[add], until_tool="add").text == "3"


@pytest.mark.parametrize("arguments", [{"a": 1}, "no json"])
def test_a_call_that_failed_is_a_call(arguments):
    model = Scripted(calls(("add", arguments)), says("sorry"))
    result = al.run("?", provider=model, tools=[add], until_tool="add")
    assert (result.text, result.turns) == ("sorry", 2)


def test_a_call_that_was_refused_is_a_call():
    model = Scripted(calls(("add", {"a": 1, "b": 2})), says("sorry"))
    result = al.run("?", provider=model, tools=[add], until_tool="add", approve="none")
    assert (result.text, result.turns) == ("sorry", 2)


def test_a_call_of_an_earlier_run_does_not_count():
    model = Scripted(calls(("add", {"a": 1, "b": 2})), says("3"), otherwise=says("no"))
    session = al.Session(provider=model, tools=[add], until_tool="add", max_turns=2)
    assert session.chat("?").status == "completed"
    assert session.chat("?").status == "max_turns"


def test_a_name_that_no_tool_has_is_refused_at_once():
    model = Scripted()
    with pytest.raises(ConfigError, match=r"'sub'.*\(add\)"):
        al.run("?", provider=model, tools=[add], until_tool="sub")
    assert model.requests == []

"""Tools as classes, as objects and as data, and their settings."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

import alloy_nb as al
from alloy_nb.engine.calls.tool import ToolContext, as_tool, as_tools
from alloy_nb.errors import ConfigError, ToolError
from tests.engine.scripted import Scripted, calls, says


class Place(BaseModel):
    city: str
    days: int = 1


class Weather:
    """Look up the weather.

    More that the model need not know.
    """

    name = "weather"
    input_schema = Place
    concurrent = False
    max_result_chars = 50

    def run(self, place: Place, context: ToolContext) -> str:
        context.progress("looking")
        return f"{place.city} {place.days}"


class Bare:
    name = "bare"
    description = "Bare."

    async def execute(self, text: str, times: int = 2) -> str:
        return text * times


SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 0}, "m": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}
DOUBLE: dict[str, Any] = {
    "name": "double",
    "description": "Double it.",
    "input_schema": SCHEMA,
    "execute": lambda given, context: given["n"] * 2,
}


def use(tool: Any, **arguments: Any) -> Any:
    value = as_tool(tool).bind(arguments, ToolContext())()
    return asyncio.run(value) if asyncio.iscoroutine(value) else value


@pytest.mark.parametrize("form", [Weather, Weather()], ids=["class", "object"])
def test_a_class_and_its_object_are_tools(form):
    tool = as_tool(form)
    assert (tool.name, tool.description) == ("weather", "Look up the weather.")
    assert (tool.concurrent, tool.max_result_chars) == (False, 50)
    assert tool.input_schema["required"] == ["city"]
    assert use(form, city="Oslo", days=3) == "Oslo 3"


def test_a_class_without_a_schema_has_that_of_its_method():
    assert as_tool(Bare).input_schema["required"] == ["text"]
    assert use(Bare, text="ab") == "abab"


def test_a_tool_may_be_data():
    assert as_tool(DOUBLE).input_schema == SCHEMA
    assert use(DOUBLE, n=21) == 42


def test_a_function_of_the_input_alone_is_enough_for_data():
    assert use({**DOUBLE, "execute": lambda given: given["n"]}, n=1) == 1


def test_all_forms_run_in_one_message():
    model = Scripted(
        calls(("weather", {"city": "Oslo"}), ("bare", {"text": "x"}), ("double", {"n": 2})),
        says("done"),
    )
    al.run("?", provider=model, tools=[Weather, Bare(), DOUBLE])
    assert [part.text for part in model.requests[1].messages[-1].content] == ["Oslo 1", "xx", "4"]


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        (Weather, {"days": 1}, "city: Field required"),
        (DOUBLE, {}, "n: is required"),
        (DOUBLE, {"n": "2"}, "n: should be of the type integer"),
        (DOUBLE, {"n": -1}, "n: should be at least 0"),
        (DOUBLE, {"n": 1, "x": 2}, "x: there is no such property"),
    ],
)
def test_arguments_that_do_not_fit_are_told_and_nothing_runs(tool, arguments, message):
    with pytest.raises(ToolError, match=message):
        use(tool, **arguments)


@pytest.mark.parametrize(
    ("tool", "message"),
    [
        ({"name": "f"}, "needs a name"),
        ({**DOUBLE, "name": "a b"}, "cannot be a tool's name"),
        ({**DOUBLE, "name": 3}, "needs a name"),
        ({**DOUBLE, "input_schema": "x"}, "pydantic model or a JSON schema"),
        ({**DOUBLE, "execute": lambda: 1}, "as its first parameter"),
        ({**DOUBLE, "concurent": True}, "has no 'concurent'"),
        ({**DOUBLE, "risk": "none"}, "use one of read, write, run"),
        ({**DOUBLE, "timeout": 0}, "timeout must be"),
        ({**DOUBLE, "max_result_chars": "many"}, "max_result_chars must be"),
        ({**DOUBLE, "allowed_callers": ["robots"]}, "use one of human, code_execution"),
        ({**DOUBLE, "result_type": "xml"}, "use one of text, structured"),
        ({**DOUBLE, "input_examples": [{"n": "x"}]}, "An example of double does not fit"),
    ],
)
def test_a_wrong_setting_is_an_error_before_any_request(tool, message):
    model = Scripted()
    with pytest.raises(ConfigError, match=message):
        al.run("?", provider=model, tools=[tool])
    assert model.requests == []


def test_a_structured_result_is_text_for_the_model_and_data_for_the_program():
    @al.tool(result_type="structured")
    async def table() -> dict[str, int]:
        return {"rows": 3}

    model = Scripted(calls(("table", {})), says("done"))
    result = al.run("?", provider=model, tools=[table])
    assert result.tool_calls[0].data == {"rows": 3}
    assert model.requests[1].messages[-1].content[0].text == '{"rows":3}'


def test_a_tool_output_keeps_its_own_data():
    @al.tool(result_type="structured")
    def table() -> al.ToolOutput:
        return al.ToolOutput("text", data=[1])

    model = Scripted(calls(("table", {})), says("done"))
    assert al.run("?", provider=model, tools=[table]).tool_calls[0].data == [1]


def test_a_strict_tool_takes_null_for_what_is_left_out():
    @al.tool(strict=True)
    def f(a: int, b: int = 5, c: int | None = 7) -> str:
        """F."""
        return f"{a} {b} {c}"

    assert use(f, a=1, b=None, c=None) == "1 5 None"


def test_without_strict_null_is_an_argument():
    @al.tool
    def f(b: int = 5) -> str:
        """F."""
        return str(b)

    with pytest.raises(ToolError, match="b: Input should be a valid integer"):
        use(f, b=None)


def test_an_agent_is_a_tool_and_no_group_of_its_tools():
    agent = al.Agent(provider=Scripted(), tools=as_tools([DOUBLE]), name="helper")
    (tool,) = as_tools([agent])
    assert "helper" in tool.name


def test_what_is_asked_anew_goes_to_whoever_decides():
    asked: list[tuple[str, bool]] = []

    @al.tool
    async def f(*, context: ToolContext) -> str:
        """F."""
        return str(await context.ask("Really?") if context.ask else None)

    async def approve(call: Any, tool: al.Tool) -> al.Decision:
        asked.append((tool.subject_of(call.input), tool.ask_anew))
        return al.Decision(allowed=not tool.ask_anew)

    model = Scripted(calls(("f", {})), says("done"))
    al.run("?", provider=model, tools=[f], approve=approve)
    assert asked == [("f({})", False), ("Really?", True)]
    assert model.requests[1].messages[-1].content[0].text == "False"


def test_under_the_policy_all_nobody_is_asked_anew():
    @al.tool
    def f(*, context: ToolContext) -> str:
        """F."""
        return str(context.ask)

    model = Scripted(calls(("f", {})), says("done"))
    al.run("?", provider=model, tools=[f])
    assert model.requests[1].messages[-1].content[0].text == "None"

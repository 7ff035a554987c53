"""What each vendor is told of a tool: every field where it has one, and a schema that it takes."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from pydantic import BaseModel, Field

import alloy_nb as al
from alloy_nb.engine.calls.tool import as_tools
from alloy_nb.errors import ConfigError
from alloy_nb.messages import user
from alloy_nb.providers import Gemini
from alloy_nb.providers.base import ModelOptions, ModelRequest, ToolSpec
from alloy_nb.providers.tool_schemas import gemini_schema, plain_schema, strict_schema
from alloy_nb.providers.vendor import VendorProvider
from tests.engine.scripted import Scripted
from tests.oracles.gemini import validate_gemini
from tests.oracles.strict import validate_anthropic, validate_chat, validate_responses
from tests.providers.wires import CHAT, RESPONSES, URL
from tests.tools.test_arguments import schemas

CLAUDE = al.Anthropic("claude-sonnet-4-6", base_url=URL, api_key="k")
GEMINI = Gemini("gemini-3-pro", base_url=URL)
ALL = {"anthropic": CLAUDE, "chat": CHAT, "responses": RESPONSES, "gemini": GEMINI}
VALIDATORS = {
    "anthropic": validate_anthropic,
    "chat": validate_chat,
    "responses": validate_responses,
    "gemini": validate_gemini,
}


class Inner(BaseModel):
    x: int
    y: str = "y"


def lookup(city: str, days: int = 1) -> str:
    """Look up the weather."""
    return ""


def told(wire: VendorProvider, *tools: Any, **options: Any) -> dict[str, Any]:
    agent = al.Agent(provider=Scripted(), tools=as_tools(tools))
    asked = ModelRequest(
        messages=[user("hi")], tools=agent.tool_specs, options=ModelOptions(**options)
    )
    body: dict[str, Any] = json.loads(wire.body(asked))
    return body


def definition(name: str, *tools: Any, **options: Any) -> dict[str, Any]:
    """Return the definition of the first tool in a vendor's request, which its own types take."""
    body = told(ALL[name], *tools, **options)
    VALIDATORS[name](body)
    first = body["tools"][0]
    if name == "chat":
        first = first["function"]
    found: dict[str, Any] = first["functionDeclarations"][0] if name == "gemini" else first
    return found


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("anthropic", {"name", "description", "input_schema"}),
        ("chat", {"name", "description", "parameters"}),
        ("responses", {"type", "name", "description", "parameters", "strict"}),
        ("gemini", {"name", "description", "parametersJsonSchema"}),
    ],
)
def test_what_a_tool_does_not_say_has_no_key(name, keys):
    assert set(definition(name, lookup)) == keys


def test_anthropic_is_told_all_that_a_tool_says():
    tool = al.tool(
        strict=True,
        allowed_callers=["human", "code_execution"],
        input_examples=[{"city": "Oslo"}],
        defer_loading=True,
    )(lookup)
    found = definition("anthropic", tool, code_execution=True)
    assert found["strict"] is True
    assert found["allowed_callers"] == ["direct", "code_execution_20250825"]
    assert found["input_examples"] == [{"city": "Oslo"}]
    assert found["defer_loading"] is True
    assert found["input_schema"]["required"] == ["city"]


def test_betas_of_the_user_and_of_code_execution_are_one_header():
    model = al.Anthropic(
        "claude-sonnet-4-6", base_url=URL, extra_headers={"Anthropic-Beta": "a, b"}
    )
    headers = model.headers("k", ModelOptions(code_execution=True))
    assert headers["anthropic-beta"].split(",") == ["a", "b", "code-execution-2025-08-25"]


def test_openai_is_told_all_that_its_format_has():
    tool = al.tool(allowed_callers=["code_execution"], defer_loading=True)(lookup)
    found = definition("responses", tool)
    assert (found["allowed_callers"], found["defer_loading"]) == (["programmatic"], True)


def test_code_alone_cannot_call_where_there_is_none():
    tool = al.tool(allowed_callers=["code_execution"])(lookup)
    with pytest.raises(ConfigError, match=r"lookup.* code_execution=True"):
        told(CLAUDE, tool)
    for wire in (CHAT, GEMINI):
        with pytest.raises(ConfigError, match="lookup may be called by code_execution alone"):
            told(wire, tool)


@pytest.mark.parametrize("name", ["chat", "responses"])
def test_a_strict_schema_requires_all_and_lets_null_stand_for_nothing(name):
    @al.tool(strict=True)
    def f(
        a: Annotated[int, Field(ge=1, description="how many")],
        b: str = "b",
        c: Inner | None = None,
        d: Literal["u", "v"] = "u",
    ) -> str:
        """F."""
        return ""

    found = definition(name, f)
    schema = found["parameters"]
    assert found["strict"] is True
    assert schema["required"] == ["a", "b", "c", "d"]
    assert schema["properties"]["a"] == {"type": "integer", "description": "how many"}
    assert schema["properties"]["b"] == {"type": ["string", "null"]}
    assert schema["properties"]["d"]["anyOf"][-1] == {"type": "null"}
    assert schema["$defs"]["Inner"]["required"] == ["x", "y"]
    assert schema["$defs"]["Inner"]["additionalProperties"] is False
    assert "default" not in json.dumps(schema)


@pytest.mark.parametrize("name", ["anthropic", "chat", "responses"])
def test_what_cannot_be_strict_is_refused_by_name(name):
    @al.tool(strict=True)
    def f(options: dict[str, int]) -> str:
        """F."""
        return ""

    with pytest.raises(
        ConfigError, match="f cannot be strict, because it takes an object with any"
    ):
        told(ALL[name], f)


def spec(schema: dict[str, Any]) -> ToolSpec:
    return ToolSpec("f", "F.", schema)


def test_alternatives_at_the_top_become_one_object():
    one = {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a", "b"]}
    two = {"type": "object", "properties": {"a": {}, "c": {}}, "required": ["a", "c"]}
    assert plain_schema(spec({"anyOf": [one, two]})) == {
        "type": "object",
        "properties": {"a": {}, "b": {}, "c": {}},
        "required": ["a"],
    }
    assert plain_schema(spec({"allOf": [one, two]}))["required"] == ["a", "b", "c"]


def test_a_schema_of_no_object_is_refused():
    with pytest.raises(ConfigError, match="a tool's arguments are an object"):
        plain_schema(spec({"type": "string"}))


def test_gemini_gets_what_it_knows_of_a_schema():
    schema = {
        "$schema": "x",
        "type": "object",
        "properties": {
            "kind": {"const": "a", "default": "a"},
            "many": {"type": "array", "items": {"$ref": "#/definitions/item"}, "uniqueItems": True},
            "flag": {"enum": [True, False]},
            "some": {"allOf": [{"type": "integer"}], "multipleOf": 2},
        },
        "definitions": {"item": {"type": "string", "pattern": "a+", "description": "an item"}},
    }
    made = gemini_schema(spec(schema))
    assert made["properties"] == {
        "kind": {"enum": ["a"]},
        "many": {"type": "array", "items": {"$ref": "#/$defs/item"}},
        "flag": {},
        "some": {"type": "integer"},
    }
    assert made["$defs"] == {"item": {"type": "string", "description": "an item"}}
    assert "$schema" not in made


def test_a_property_may_have_the_name_of_a_keyword():
    schema = {"type": "object", "properties": {"pattern": {"type": "string"}, "default": {}}}
    assert set(gemini_schema(spec(schema))["properties"]) == {"pattern", "default"}
    strict = strict_schema(spec({**schema, "additionalProperties": False}), all_required=True)
    assert strict["required"] == ["pattern", "default"]


@settings(max_examples=200, deadline=None)
@given(schemas)
def test_any_schema_is_adapted_or_refused_in_one_sentence(schema):
    one = spec({**schema, "type": "object"})
    before = json.dumps(one.input_schema)
    for adapt in (
        plain_schema,
        gemini_schema,
        lambda s: strict_schema(s, all_required=True),
        lambda s: strict_schema(s, all_required=False),
    ):
        try:
            assert json.loads(json.dumps(adapt(one)))["type"] == "object"
        except ConfigError as error:
            assert "f" in str(error)
    assert json.dumps(one.input_schema) == before

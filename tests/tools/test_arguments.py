"""Arguments against JSON schemas: never an error of ours, and what jsonschema says."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alloy_nb.engine.calls.arguments import problems, without_nulls

jsonschema = pytest.importorskip("jsonschema")

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(-5, 5)
    | st.sampled_from(["", "a", "bc"])
)
names = st.sampled_from("abc")
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
KINDS = ["object", "array", "string", "number", "integer", "boolean", "null"]
leaves = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(KINDS) | st.lists(st.sampled_from(KINDS), min_size=1, unique=True),
        "minimum": st.integers(-3, 3),
        "exclusiveMaximum": st.integers(-3, 3),
        "minLength": st.integers(0, 2),
        "maxItems": st.integers(0, 2),
        "enum": st.lists(scalars, min_size=1, max_size=3),
    },
)
schemas = st.recursive(
    leaves | st.booleans(),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(KINDS),
            "properties": st.dictionaries(names, inner, max_size=3),
            "required": st.lists(names, unique=True, max_size=2),
            "additionalProperties": inner,
            "items": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=3),
            "allOf": st.lists(inner, min_size=1, max_size=2),
        },
    ),
    max_leaves=6,
).filter(lambda schema: isinstance(schema, dict))


@settings(max_examples=400, deadline=None)
@given(schemas, values)
def test_it_agrees_with_the_reference(schema, value):
    expected = jsonschema.Draft202012Validator(schema).is_valid(value)
    assert (problems(schema, value) == []) is expected


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            [*"abc", "type", "properties", "required", "items", "$ref", "enum", "anyOf"]
        ),
        values,
    ),
    values,
)
def test_a_schema_that_is_none_never_raises(schema, value):
    assert isinstance(problems(schema, value), list)


def test_references_lead_to_definitions_also_round_and_round():
    schema = {
        "type": "object",
        "properties": {"node": {"$ref": "#/$defs/node"}},
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"next": {"$ref": "#/$defs/node"}, "n": {"type": "integer"}},
                "required": ["n"],
            }
        },
    }
    assert problems(schema, {"node": {"n": 1, "next": {"n": 2}}}) == []
    assert problems(schema, {"node": {"n": 1, "next": {}}}) == ["node.next.n: is required"]


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]},
        {"allOf": [{"$ref": "#"}] * 10, "type": "object"},
        {"properties": {"a": {"type": "string", "pattern": "(a+)+$"}}},
        {"$ref": "https://example.com/schema"},
        {"$ref": "#/nowhere"},
    ],
    ids=range(6),
)
def test_a_schema_cannot_keep_us_busy(schema):
    start = time.monotonic()
    problems(schema, {"a": "a" * 50 + "!"})
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"a": None, "b": None, "c": None}, {"a": None, "c": None}),
        ({"a": 1, "d": {"x": None, "y": 1}}, {"a": 1, "d": {"y": 1}}),
        ({"a": 1, "e": [{"x": None}]}, {"a": 1, "e": [{}]}),
        ({"a": 1, "unknown": None}, {"a": 1, "unknown": None}),
    ],
)
def test_nulls_for_what_was_left_out_are_dropped(given: dict[str, Any], kept: dict[str, Any]):
    inner = {"type": "object", "properties": {"x": {"type": "string"}, "y": {"type": "integer"}}}
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "integer"},
            "b": {"type": "integer"},
            "c": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "d": {"$ref": "#/$defs/inner"},
            "e": {"type": "array", "items": {"$ref": "#/$defs/inner"}},
        },
        "required": ["a"],
        "$defs": {"inner": inner},
    }
    assert without_nulls(schema, given) == kept

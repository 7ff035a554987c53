"""Arguments checked against a JSON schema, for tools that are given as data.

Only what the schema can say in bounded time is checked: types, required and unknown properties,
enumerations, limits, alternatives and references inside the schema. ``pattern`` and ``format`` are
not: the schema may come from a server that nobody trusts, and a pattern can keep Python's ``re``
busy for hours. Keywords that are not known say nothing.

Source: https://json-schema.org/draft/2020-12, read 2026-11-21.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

__all__ = ["problems", "without_nulls"]

# A schema that refers to itself, or arguments nested without end, are not followed further down.
_DEEPEST = 64
# Each alternative may hold alternatives; this is how many places of a schema are looked at in all.
_MOST_STEPS = 20_000
# A model mends three faults at a time; the rest would only cost tokens.
_MOST_PROBLEMS = 10

_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, Mapping),
    "array": lambda value: isinstance(value, (list, tuple)),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: _is_number(value),
    "integer": lambda value: _is_number(value) and float(value).is_integer(),
}


def problems(schema: Mapping[str, Any], value: Any) -> list[str]:
    """Return what is wrong with a value, a sentence for each fault, and nothing where it fits."""
    found: list[str] = []
    for problem in _Check(schema).faults(schema, value, (), 0):
        found.append(problem)
        if len(found) == _MOST_PROBLEMS:
            break
    return found


def without_nulls(schema: Mapping[str, Any], value: Any) -> Any:
    """Return arguments without the nulls that stand for properties that were left out.

    A vendor that holds a model to a schema wants every property in each call, and takes null where
    there is nothing to say; the function wants its default then.
    """
    return _Check(schema).without_nulls(schema, value, 0)


class _Check:
    """One schema, and how many of its places were looked at so far."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._steps = 0

    def faults(self, schema: Any, value: Any, place: tuple[str, ...], depth: int) -> Iterator[str]:
        self._steps += 1
        if depth > _DEEPEST or self._steps > _MOST_STEPS:
            return
        if schema is False:
            yield f"{_named(place)}: nothing is allowed here"
        if not isinstance(schema, Mapping):
            return
        if isinstance(reference := schema.get("$ref"), str):
            yield from self.faults(self._followed(reference), value, place, depth + 1)
        yield from _plain_faults(schema, value, place)
        yield from self._alternatives(schema, value, place, depth)
        if isinstance(value, Mapping):
            yield from self._in_object(schema, value, place, depth)
        elif isinstance(value, (list, tuple)):
            yield from self._in_array(schema, value, place, depth)

    def without_nulls(self, schema: Any, value: Any, depth: int) -> Any:
        schema = self._whole(schema)
        if depth > _DEEPEST or not isinstance(schema, Mapping):
            return value
        if isinstance(value, list) and "items" in schema:
            return [self.without_nulls(schema["items"], item, depth + 1) for item in value]
        known = schema.get("properties")
        if not isinstance(value, Mapping) or not isinstance(known, Mapping):
            return value
        required = _required(schema)
        kept = {}
        for name, item in value.items():
            inner = known.get(name, True)
            optional = name in known and name not in required
            if item is None and optional and not self._takes_null(inner):
                continue
            kept[name] = self.without_nulls(inner, item, depth + 1)
        return kept

    def _takes_null(self, schema: Any) -> bool:
        return not any(True for _ in self.faults(schema, None, (), 0))

    def _whole(self, schema: Any) -> Any:
        """Return what a schema refers to, however often it refers on."""
        for _ in range(_DEEPEST):
            if not isinstance(schema, Mapping) or not isinstance(schema.get("$ref"), str):
                return schema
            schema = self._followed(schema["$ref"])
        return True

    def _followed(self, reference: str) -> Any:
        """Return the place in this schema that a reference names; elsewhere nobody looks."""
        if not reference.startswith("#"):
            return True
        here: Any = self._root
        for name in filter(None, unquote(reference[1:]).split("/")):
            name = name.replace("~1", "/").replace("~0", "~")
            if not isinstance(here, Mapping) or name not in here:
                return True
            here = here[name]
        return here

    def _alternatives(
        self, schema: Mapping[str, Any], value: Any, place: tuple[str, ...], depth: int
    ) -> Iterator[str]:
        for inner in _listed(schema, "allOf"):
            yield from self.faults(inner, value, place, depth + 1)
        for keyword in ("anyOf", "oneOf"):
            choices = _listed(schema, keyword)
            first = [next(self.faults(inner, value, place, depth + 1), None) for inner in choices]
            if first and all(first):
                yield f"{_named(place)}: fits none of the {len(first)} forms ({first[0]})"

    def _in_object(
        self,
        schema: Mapping[str, Any],
        value: Mapping[str, Any],
        place: tuple[str, ...],
        depth: int,
    ) -> Iterator[str]:
        known = schema.get("properties")
        known = known if isinstance(known, Mapping) else {}
        for name in _required(schema):
            if name not in value:
                yield f"{_named((*place, name))}: is required"
        other = True if "patternProperties" in schema else schema.get("additionalProperties", True)
        for name, item in value.items():
            if name not in known and other is False:
                yield f"{_named((*place, str(name)))}: there is no such property"
            else:
                yield from self.faults(known.get(name, other), item, (*place, str(name)), depth + 1)

    def _in_array(
        self, schema: Mapping[str, Any], value: Sequence[Any], place: tuple[str, ...], depth: int
    ) -> Iterator[str]:
        first = _listed(schema, "prefixItems")
        for number, item in enumerate(value):
            inner = first[number] if number < len(first) else schema.get("items", True)
            yield from self.faults(inner, item, (*place, str(number)), depth + 1)


def _plain_faults(schema: Mapping[str, Any], value: Any, place: tuple[str, ...]) -> Iterator[str]:
    """Yield what is wrong with the value itself, apart from what is in it."""
    kinds = schema.get("type")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    known = (
        [k for k in kinds if isinstance(k, str) and k in _TYPES] if isinstance(kinds, list) else []
    )
    if known and not any(_TYPES[kind](value) for kind in known):
        yield f"{_named(place)}: should be of the type {' or '.join(known)}"
        return
    if isinstance(allowed := schema.get("enum"), list) and not any(
        _same(value, a) for a in allowed
    ):
        yield f"{_named(place)}: should be one of {_shown(allowed)}"
    if "const" in schema and not _same(value, schema["const"]):
        yield f"{_named(place)}: should be {_shown(schema['const'])}"
    for keyword, measure, fits, words in _LIMITS:
        limit = schema.get(keyword)
        size = measure(value)
        if isinstance(limit, (int, float)) and size is not None and not fits(size, limit):
            yield f"{_named(place)}: should {words} {limit}"


def _characters(value: Any) -> float | None:
    return len(value) if isinstance(value, str) else None


def _items(value: Any) -> float | None:
    return len(value) if isinstance(value, (list, tuple)) else None


def _number(value: Any) -> float | None:
    return value if _is_number(value) else None


def _at_least(size: float, limit: float) -> bool:
    return size >= limit


def _at_most(size: float, limit: float) -> bool:
    return size <= limit


_LIMITS: tuple[
    tuple[str, Callable[[Any], float | None], Callable[[float, float], bool], str], ...
] = (
    ("minimum", _number, _at_least, "be at least"),
    ("maximum", _number, _at_most, "be at most"),
    ("exclusiveMinimum", _number, lambda size, limit: size > limit, "be more than"),
    ("exclusiveMaximum", _number, lambda size, limit: size < limit, "be less than"),
    ("minLength", _characters, _at_least, "have a length of at least"),
    ("maxLength", _characters, _at_most, "have a length of at most"),
    ("minItems", _items, _at_least, "have at least this many items:"),
    ("maxItems", _items, _at_most, "have at most this many items:"),
)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _same(one: Any, other: Any) -> bool:
    # JSON's true is not its 1, as Python's is.
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _listed(schema: Mapping[str, Any], keyword: str) -> list[Any]:
    value = schema.get(keyword)
    return value if isinstance(value, list) else []


def _required(schema: Mapping[str, Any]) -> list[str]:
    return [name for name in _listed(schema, "required") if isinstance(name, str)]


def _named(place: tuple[str, ...]) -> str:
    return ".".join(place) or "arguments"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 200 else f"{text[:200]}..."

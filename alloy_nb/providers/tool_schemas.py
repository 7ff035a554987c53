"""Schemas of tools' arguments, as far as each vendor takes them. No networking here.

A schema may be anybody's: pydantic's, written by hand, or sent by a server. Vendors take parts of
JSON Schema, and answer the rest with an error that names no tool. Here it is adapted where nothing
is lost that matters, because arguments are checked against the whole schema before a tool runs;
what cannot be adapted is refused, by the tool's name, before anything is sent.

Source, read 2026-11-21: the descriptions of fields in google-genai 3.4 (``parameters_json_schema``,
``response_json_schema``), openai 3.52 (``openai.lib._pydantic``, ``FunctionToolParam``) and
anthropic 2.11 (``anthropic.lib._parse._transform``, ``ToolParam``);
https://developers.openai.com/api/docs/guides/structured-outputs#supported-schemas; that neither
OpenAI nor Anthropic takes alternatives at the top of a tool's schema is what their errors say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from alloy_nb.errors import ConfigError
from alloy_nb.providers.base import ToolSpec
from alloy_nb.providers.lenient import items, mapping

__all__ = ["gemini_schema", "plain_schema", "strict_schema", "vendor_callers"]

# Deeper schemas are refused by all vendors, and would be walked through for ever if they are loops.
_DEEPEST = 100
_ALTERNATIVES = ("anyOf", "oneOf", "allOf")
_HOLDERS = ("properties", "$defs", "definitions")
_INNER = ("items", "additionalProperties")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")

_GEMINI = frozenset(
    (
        *("$id", "$defs", "$ref", "$anchor", "type", "format", "title", "description", "enum"),
        *("items", "prefixItems", "minItems", "maxItems", "minimum", "maximum", "anyOf", "oneOf"),
        *("properties", "additionalProperties", "required", "propertyOrdering"),
    )
)
# What a strict schema may not hold although it says nothing that the check of arguments would miss.
_NOT_STRICT = frozenset(
    (
        *("default", "examples", "title", "$schema", "$id", "minLength", "maxLength", "minimum"),
        *("maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minItems", "maxItems"),
        *("uniqueItems", "pattern", "format", "minProperties", "maxProperties"),
    )
)
_NEVER_STRICT = (
    *("not", "if", "then", "else", "patternProperties", "dependentRequired"),
    *("dependentSchemas", "unevaluatedProperties", "propertyNames", "contains"),
)


def plain_schema(tool: ToolSpec) -> dict[str, Any]:
    """Return the schema of an object with its properties, without alternatives at its top.

    Where it has some, all properties of all of them are named, and those are required that are
    required in each.
    """
    schema = dict(tool.input_schema)
    for keyword in _ALTERNATIVES:
        choices = schema.pop(keyword, None)
        if isinstance(choices, list):
            _merge(schema, choices, every=keyword == "allOf")
    kind = schema.get("type", "object")
    if kind != "object":
        raise ConfigError(
            f"The input_schema of {tool.name} describes {kind!r}: a tool's arguments are an object."
        )
    schema["type"] = "object"
    if not isinstance(schema.get("properties"), Mapping):
        schema["properties"] = {}
    return schema


def strict_schema(tool: ToolSpec, *, all_required: bool) -> dict[str, Any]:
    """Return a schema to which a vendor can hold a model.

    Args:
        tool: The tool; the error names it.
        all_required: Whether every property must be required, as at OpenAI: those that are not
            may be null then.

    Raises:
        ConfigError: It allows what no strict schema can, such as an object with any keys.
    """

    def strict(schema: dict[str, Any]) -> dict[str, Any]:
        for keyword in _NEVER_STRICT:
            if keyword in schema:
                raise _not_strict(tool, f"its schema has {keyword!r}")
        kept = {key: value for key, value in schema.items() if key not in _NOT_STRICT}
        if "oneOf" in kept:
            kept["anyOf"] = [*items(kept.get("anyOf")), *items(kept.pop("oneOf"))]
        if "allOf" in kept:
            parts = items(kept.pop("allOf"))
            if len(parts) != 1:
                raise _not_strict(tool, "its schema has 'allOf'")
            kept = {**mapping(parts[0]), **kept}
        if "$ref" in kept:
            return {"$ref": kept["$ref"]}
        if kept.get("type") == "object" or "properties" in kept:
            return _closed(tool, kept, all_required=all_required)
        return kept

    whole: dict[str, Any] = _walked(plain_schema(tool), strict, tool)
    return whole


def gemini_schema(tool: ToolSpec) -> dict[str, Any]:
    """Return the part of a schema that Gemini knows; the rest is checked here."""

    def known(schema: dict[str, Any]) -> dict[str, Any]:
        if "$ref" in schema:
            return {"$ref": schema["$ref"]}
        if "const" in schema:
            schema = {**schema, "enum": [schema["const"]]}
        if "definitions" in schema:
            old = mapping(schema["definitions"])
            schema = {**schema, "$defs": {**old, **mapping(schema.get("$defs"))}}
        for part in items(schema.get("allOf")):
            schema = {**mapping(part), **schema}
        kept = {key: value for key, value in schema.items() if key in _GEMINI}
        values = kept.get("enum")
        # Only texts and numbers can be listed.
        if values is not None and not all(map(_is_listable, items(values) or [None])):
            del kept["enum"]
        return kept

    schema = _walked(plain_schema(tool), known, tool)
    whole: dict[str, Any] = _with_references(schema, "#/definitions/", "#/$defs/")
    return whole


def vendor_callers(
    tool: ToolSpec, vendor: str, words: Mapping[str, str] | None = None
) -> list[str]:
    """Return who may call a tool in the vendor's words, or nothing where it leaves that open.

    Raises:
        ConfigError: Only code at the vendor may call it, and this vendor has none that can.
    """
    if not tool.allowed_callers:
        return []
    if words is None:
        if "human" not in tool.allowed_callers:
            raise ConfigError(
                f"{tool.name} may be called by code_execution alone, and code at {vendor} cannot "
                "call tools: add 'human' to its allowed_callers."
            )
        return []
    return [words[caller] for caller in tool.allowed_callers]


def _merge(schema: dict[str, Any], choices: list[Any], *, every: bool) -> None:
    parts = [choice for choice in choices if isinstance(choice, dict)]
    properties = dict(mapping(schema.get("properties")))
    for part in parts:
        for name, inner in mapping(part.get("properties")).items():
            properties.setdefault(name, inner)
    schema["properties"] = properties
    wanted = [_required(part) for part in parts]
    required = _required(schema)
    if wanted:
        required |= set.union(*wanted) if every else set.intersection(*wanted)
    schema.pop("required", None)
    if required:
        schema["required"] = sorted(required)


def _closed(tool: ToolSpec, schema: dict[str, Any], *, all_required: bool) -> dict[str, Any]:
    """Return an object that takes no keys but its properties."""
    properties = schema.get("properties")
    open_ended = schema.get("additionalProperties", False) is not False
    if open_ended or not isinstance(properties, dict):
        raise _not_strict(tool, "it takes an object with any keys")
    closed = {**schema, "type": "object", "additionalProperties": False}
    if all_required:
        required = _required(schema)
        closed["properties"] = {
            name: inner if name in required else _nullable(inner)
            for name, inner in properties.items()
        }
        closed["required"] = list(properties)
    return closed


def _required(schema: Mapping[str, Any]) -> set[str]:
    return {name for name in items(schema.get("required")) if isinstance(name, str)}


def _nullable(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    if "anyOf" in schema:
        choices = items(schema["anyOf"])
        if any(isinstance(choice, Mapping) and choice.get("type") == "null" for choice in choices):
            return schema
        return {**schema, "anyOf": [*choices, {"type": "null"}]}
    kind = schema.get("type")
    if isinstance(kind, str) and not {"enum", "const"} & set(schema):
        return schema if kind == "null" else {**schema, "type": [kind, "null"]}
    said = {key: schema[key] for key in ("description",) if key in schema}
    rest = {key: value for key, value in schema.items() if key not in said}
    return {**said, "anyOf": [rest, {"type": "null"}]}


def _not_strict(tool: ToolSpec, reason: str) -> ConfigError:
    return ConfigError(f"{tool.name} cannot be strict, because {reason}: leave strict= out.")


def _walked(
    schema: Any,
    change: Callable[[dict[str, Any]], dict[str, Any]],
    tool: ToolSpec,
    depth: int = 0,
) -> Any:
    """Return the schema with all schemas in it changed, the inner ones first."""
    if depth > _DEEPEST:
        raise ConfigError(f"The input_schema of {tool.name} is nested too deeply to be sent.")
    if not isinstance(schema, Mapping):
        return schema
    out = dict(schema)
    for key in _HOLDERS:
        if isinstance(inner := out.get(key), Mapping):
            out[key] = {n: _walked(part, change, tool, depth + 1) for n, part in inner.items()}
    for key in _INNER:
        if key in out:
            out[key] = _walked(out[key], change, tool, depth + 1)
    for key in _LISTS:
        if isinstance(parts := out.get(key), list):
            out[key] = [_walked(part, change, tool, depth + 1) for part in parts]
    return change(out)


def _with_references(schema: Any, old: str, new: str) -> Any:
    """Return the schema with references to where its definitions are now."""
    if isinstance(schema, dict):
        return {
            key: new + value.removeprefix(old)
            if key == "$ref" and isinstance(value, str) and value.startswith(old)
            else _with_references(value, old, new)
            for key, value in schema.items()
        }
    if isinstance(schema, list):
        return [_with_references(part, old, new) for part in schema]
    return schema


def _is_listable(value: Any) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)

"""Validate requests against the vendors' own types, hardened.

A plain `TypeAdapter` over an SDK's parameters is a trap: they declare ``Iterable[...]``, which
pydantic validates lazily, so that faults inside messages pass; and a typed dict lets unknown keys
through; and they take the classes of replies too, which allow anything. Here every iterable is a
list, every key must be known, and a reply's class matches none of our plain dicts. What types
cannot say (each call has its result, ids are unique) is in `invariants`.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from functools import cache
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import SchemaValidator

__all__ = ["strict_validator", "validate_anthropic", "validate_chat", "validate_responses"]


def validate_anthropic(body: dict[str, Any]) -> None:
    """Raise `pydantic.ValidationError` unless this is a request of the Messages API."""
    _anthropic(bool(body.get("stream"))).validate_python(body)


def validate_chat(body: dict[str, Any], *, allow: Collection[str] = ()) -> None:
    """Raise `pydantic.ValidationError` unless this is a request of chat completions.

    `allow` names keys that a compatible vendor adds, to the request or to a message, such as
    ``reasoning_content``.
    """
    _chat(bool(body.get("stream"))).validate_python(_without(body, allow))


def validate_responses(body: dict[str, Any]) -> None:
    """Raise `pydantic.ValidationError` unless this is a request of the Responses API."""
    _responses(bool(body.get("stream"))).validate_python(body)


@cache
def _anthropic(stream: bool) -> SchemaValidator:
    from anthropic.types import message_create_params as params

    kinds = (params.MessageCreateParamsNonStreaming, params.MessageCreateParamsStreaming)
    return strict_validator(kinds[stream])


@cache
def _chat(stream: bool) -> SchemaValidator:
    from openai.types.chat import completion_create_params as params

    kinds = (params.CompletionCreateParamsNonStreaming, params.CompletionCreateParamsStreaming)
    return strict_validator(kinds[stream])


@cache
def _responses(stream: bool) -> SchemaValidator:
    from openai.types.responses import response_create_params as params

    kinds = (params.ResponseCreateParamsNonStreaming, params.ResponseCreateParamsStreaming)
    return strict_validator(kinds[stream])


def strict_validator(kind: Any) -> SchemaValidator:
    """Compile a validator of a type that looks into iterables and knows every key."""
    return SchemaValidator(_harden(TypeAdapter(kind).core_schema))


def _harden(schema: Any) -> Any:
    if isinstance(schema, list | tuple):
        return type(schema)(_harden(part) for part in schema)
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "model":  # a reply's class, which takes any key: no part of a request
        place = {"ref": schema["ref"]} if "ref" in schema else {}
        return {"type": "is-instance", "cls": schema["cls"]} | place
    hard = {key: _harden(value) for key, value in schema.items()}
    if hard.get("type") == "generator":
        hard["type"] = "list"
    if hard.get("type") == "typed-dict":
        hard["extra_behavior"] = "forbid"
        hard.pop("config", None)  # the class's own word on extra keys would win
    return hard


def _without(body: dict[str, Any], keys: Collection[str]) -> dict[str, Any]:
    plain = copy.deepcopy({key: value for key, value in body.items() if key not in keys})
    for message in plain.get("messages", ()):
        for key in keys:
            message.pop(key, None)
    return plain

"""Validate requests of Gemini's ``generateContent`` against the official SDK's own types.

Those of google-genai know every key already, so they need no hardening, but four things: keys must
be written as the interface has them (the types also take Python's names), a part holds exactly one
thing, a function has a name, and the role is one of two. What types cannot say is in
`gemini_faults`, numbered as in `invariants`:

1. Every call has exactly one result, in the next content, in the order of the calls, before
   anything else there; where a call has an id, its result has it too, and where not, neither.
2. No result stands without its call.
3. Ids are unique.
4. No text is empty, but one that carries a signature.
5. After Gemini 2.5, the first call of a content is signed.
6. Roles alternate and the user begins.
7. All of it can be written as UTF-8 and as strict JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

__all__ = ["check_gemini", "gemini_faults", "validate_gemini"]

Body = dict[str, Any]
_HELD = (
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "toolCall",
    "toolResponse",
)


def validate_gemini(body: Body) -> None:
    """Raise `ValueError` unless this is a request of ``generateContent``."""
    _request().model_validate(body, by_alias=True, by_name=False)
    for content in body["contents"]:
        if content.get("role") not in ("user", "model"):
            raise ValueError(f"the role {content.get('role')!r}")
        for part in content.get("parts") or ():
            _validate_part(part)
    if "role" in body.get("systemInstruction", {}):
        raise ValueError("instructions have no role")


def check_gemini(body: Body, *, signed_calls: bool = False) -> None:
    """Raise `AssertionError` with all faults of a request."""
    faults = list(gemini_faults(body, signed_calls=signed_calls))
    assert not faults, "\n".join(faults)


def gemini_faults(body: Body, *, signed_calls: bool = False) -> Iterator[str]:
    """Return the faults of a request; `signed_calls` for models after 2.5."""
    contents = body["contents"]
    yield from _alternation([content["role"] for content in contents])
    for number, (content, following) in enumerate(pairwise([*contents, {"parts": []}])):
        where = f"contents[{number}]"
        parts = content["parts"]
        if not parts:
            yield f"{where}: no parts"
        for part in parts:
            if not part.get("text", "x").strip() and "thoughtSignature" not in part:
                yield f"{where}: an empty text"
        if content["role"] == "model":
            yield from _pairs(where, parts, following["parts"])
        else:
            yield from _user(where, parts, first=number == 0)
        calls = [part for part in parts if "functionCall" in part]
        if signed_calls and calls and "thoughtSignature" not in calls[0]:
            yield f"{where}: the first call is not signed"
    ids = [
        c["id"] for content in contents for c in _of(content["parts"], "functionCall") if "id" in c
    ]
    if len(ids) != len(set(ids)):
        yield f"an id names two calls: {ids}"
    try:
        json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, TypeError) as error:
        yield f"no JSON in UTF-8: {error}"


def _alternation(roles: list[str]) -> Iterator[str]:
    if not roles or roles[0] != "user":
        yield "the user does not begin"
    if any(a == b for a, b in pairwise(roles)):
        yield f"two contents of one role in a row: {roles}"


def _of(parts: list[Body], kind: str) -> list[Body]:
    return [part[kind] for part in parts if kind in part]


def _pairs(where: str, parts: list[Body], following: list[Body]) -> Iterator[str]:
    calls = [(c.get("id"), c["name"]) for c in _of(parts, "functionCall")]
    results = [(r.get("id"), r["name"]) for r in _of(following, "functionResponse")]
    if calls != results:
        yield f"{where}: the calls {calls} have the results {results}"
    if _of(parts, "functionResponse"):
        yield f"{where}: the model has a result"


def _user(where: str, parts: list[Body], *, first: bool) -> Iterator[str]:
    results = ["functionResponse" in part for part in parts]
    if results != sorted(results, reverse=True):
        yield f"{where}: something stands before a result"
    if first and any(results):
        yield f"{where}: a result, which no call of the content before has"
    if _of(parts, "functionCall"):
        yield f"{where}: the user has a call"


def _validate_part(part: Body) -> None:
    # A part is made by a function of its own, which knows Python's names whatever it is told.
    if any(
        "_" in key for key in (*part, *(k for v in part.values() if isinstance(v, dict) for k in v))
    ):
        raise ValueError(f"a key in Python's spelling: {part}")
    held = [kind for kind in _HELD if kind in part]
    if len(held) != 1:
        raise ValueError(f"a part holds {held or 'nothing'}: {part}")
    if held[0] in ("functionCall", "functionResponse") and not part[held[0]].get("name"):
        raise ValueError(f"a {held[0]} without a name")


@cache
def _request() -> type[BaseModel]:
    from google.genai import types

    fields: dict[str, Any] = {
        "contents": (list[types.Content], ...),
        "systemInstruction": (types.Content | None, None),
        "generationConfig": (types.GenerationConfig | None, None),
        "tools": (list[types.Tool] | None, None),
        "toolConfig": (types.ToolConfig | None, None),
        "safetySettings": (list[types.SafetySetting] | None, None),
        "cachedContent": (str | None, None),
    }
    return create_model("Request", __config__=ConfigDict(extra="forbid"), **fields)


assert ValidationError.__mro__[1] is ValueError  # callers need to expect one kind of error

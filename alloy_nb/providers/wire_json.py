"""JSON as vendors send it and as they accept it.

The fast parser and writer of pydantic-core do nearly all the work. They refuse lone UTF-16
surrogates, which vendors do send when an escaped pair is split over two deltas; then the standard
library reads, and `SurrogateJoiner` puts the halves together again.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from typing import Any

from pydantic_core import PydanticSerializationError, from_json, to_json

from alloy_nb.events import (
    BlockSealed,
    ModelEvent,
    Stopped,
    TextDelta,
    ThinkingDelta,
    ToolInputDelta,
)

__all__ = ["SurrogateJoiner", "dumps", "loads", "mended", "parse_arguments", "well_formed"]

# Where a vendor's event holds a piece of a longer text: the fields, and what they lie in.
_PIECES = frozenset(
    (
        *("text", "thinking", "partial_json"),  # Anthropic, Gemini
        *("content", "reasoning_content", "reasoning", "arguments"),  # chat completions
        "delta",  # Responses
    )
)
_AROUND_PIECES = frozenset(
    (
        *("delta", "choices", "message", "content", "thinking", "tool_calls", "function"),
        *("function_call", "candidates", "parts"),
    )
)


def loads(data: bytes | str) -> Any:
    """Parse JSON; strings in it may hold lone surrogates.

    Raises:
        ValueError: It is no JSON.
    """
    try:
        return from_json(data)
    except ValueError:
        try:
            return json.loads(data)
        except RecursionError:
            raise ValueError("nested too deeply") from None


def dumps(value: Any) -> bytes:
    """Write JSON in UTF-8, with lone surrogates replaced, since no vendor accepts them.

    Numbers that JSON has not (NaN and infinities) become null.
    """
    try:
        return to_json(value, inf_nan_mode="null")
    except (PydanticSerializationError, UnicodeEncodeError):
        return to_json(mended(value, pieces=False), inf_nan_mode="null")


def well_formed(text: str) -> str:
    """Join surrogate pairs and replace lone halves, so that the text encodes to UTF-8."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def mended(value: Any, *, pieces: bool = True) -> Any:
    """Return JSON values with every string well formed.

    With `pieces`, what an event of a stream says a piece of is left: `SurrogateJoiner` joins it.
    """
    match value:
        case str():
            return well_formed(value)
        case dict():
            return {
                well_formed(str(key)): item
                if pieces and isinstance(item, str) and key in _PIECES
                else mended(item, pieces=pieces and key in _AROUND_PIECES)
                for key, item in value.items()
            }
        case list() | tuple():
            return [mended(item, pieces=pieces) for item in value]
        case None | bool() | int() | float():
            return value
    return well_formed(str(value))


def parse_arguments(text: str) -> tuple[dict[str, Any], str | None]:
    """Parse a tool call's arguments.

    Returns:
        The object and ``None``, or an empty object and the text as it came where it is no JSON
        object. No text at all is an empty object: vendors send it for tools without parameters.
    """
    if not text.strip():
        return {}, None
    text = well_formed(text)
    try:
        value = from_json(text, allow_inf_nan=False)
    except ValueError:
        return {}, text
    # A number such as 1e999 is read as infinity, which is no JSON and can never be sent back.
    if not isinstance(value, dict) or (_HUGE.search(text) and not _is_finite(value)):
        return {}, text
    return value, None


_HUGE = re.compile(r"[eE]\+?\d{3}|\d{309}")


def _is_finite(value: Any) -> bool:
    match value:
        case float():
            return math.isfinite(value)
        case dict():
            return all(map(_is_finite, value.values()))
        case list():
            return all(map(_is_finite, value))
    return True


class SurrogateJoiner:
    """Joins the halves of a character that was split over two deltas of one block."""

    def __init__(self) -> None:
        self._halves: dict[tuple[type, int], str] = {}

    def join(self, events: list[ModelEvent]) -> list[ModelEvent]:
        """Return the events with text that encodes to UTF-8; a pending half waits for the next."""
        out: list[ModelEvent] = []
        for event in events:
            match event:
                case TextDelta() | ThinkingDelta():
                    out.append(replace(event, text=self._joined(event, event.text)))
                case ToolInputDelta():
                    out.append(replace(event, json=self._joined(event, event.json)))
                case BlockSealed(index=index):
                    out.extend(self._flush(index))
                    out.append(event)
                case Stopped():
                    out.extend(self._flush())
                    out.append(event)
                case _:
                    out.append(event)
        return [event for event in out if not _is_empty(event)]

    def _joined(self, event: TextDelta | ThinkingDelta | ToolInputDelta, piece: str) -> str:
        text = self._halves.pop((type(event), event.index), "") + piece
        if text and "\ud800" <= text[-1] <= "\udbff":
            self._halves[type(event), event.index] = text[-1]
            text = text[:-1]
        return well_formed(text)

    def _flush(self, index: int | None = None) -> list[ModelEvent]:
        keys = [key for key in self._halves if index is None or key[1] == index]
        for key in keys:
            del self._halves[key]
        return [kind(i, "\ufffd") for kind, i in keys]


def _is_empty(event: ModelEvent) -> bool:
    match event:
        case TextDelta() | ThinkingDelta():
            return not event.text
        case ToolInputDelta():
            return not event.json
    return False

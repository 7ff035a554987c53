"""The events of a turn, some at a time, as one row of text.

Pieces of the same block that follow each other are one event in the row: what is drawn together is
written together. A kind of event that this version does not know is left out when it is read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from alloy_nb.engine.journal.rows import Blobs, read_json, write_json
from alloy_nb.events import (
    Event,
    EventBody,
    TextDelta,
    ThinkingDelta,
    ToolFinished,
    ToolInputDelta,
)

__all__ = ["coalesced", "pack", "unpack"]

log = logging.getLogger("alloy_nb")

_KINDS: dict[str, Any] = {kind.__name__: kind for kind in get_args(EventBody)}


def coalesced(events: Iterable[Event]) -> list[Event]:
    """Return the events with pieces that follow each other joined, under the first one's number."""
    out: list[Event] = []
    pieces: list[str] = []
    for event in events:
        body = event.body
        if isinstance(body, (TextDelta, ThinkingDelta)):
            piece = body.text
        elif isinstance(body, ToolInputDelta):
            piece = body.json
        else:
            _join(out, pieces)
            out.append(event)
            continue
        if pieces and _goes_on(out[-1], event):
            pieces.append(piece)
        else:
            _join(out, pieces)
            out.append(event)
            pieces = [piece]
    _join(out, pieces)
    return out


def pack(events: Sequence[Event], blobs: Blobs) -> str:
    """Write events; one that cannot be written is left out."""
    rows = []
    for event in coalesced(events):
        fields = _fields(event.body)
        if fields is not None:
            kind = type(event.body).__name__
            rows.append([event.run_id, event.agent, event.seq, event.turn, event.at, kind, fields])
    try:
        return write_json(rows, blobs)
    except ValueError:
        kept = [row for row in rows if _is_writable(row)]
        log.warning("%d events could not be written to the journal", len(rows) - len(kept))
        return write_json(kept, blobs)


def unpack(text: str, blob: Callable[[str], str | None]) -> list[Event]:
    """Read what `pack` wrote, as far as it can be read."""
    try:
        rows = read_json(text, blob)
    except ValueError:
        log.warning("Some events in the journal are damaged, and left out")
        return []
    events = (_event(row) for row in (rows if isinstance(rows, list) else []))
    return [event for event in events if event is not None]


def _goes_on(one: Event, other: Event) -> bool:
    a, b = one.body, other.body
    same = type(a) is type(b) and one.run_id == other.run_id and one.turn == other.turn
    return same and getattr(a, "index", None) == getattr(b, "index", None)


def _join(out: list[Event], pieces: list[str]) -> None:
    """Put the pieces so far into the last event, of which the first one is."""
    if len(pieces) > 1:
        event = out[-1]
        name = "json" if isinstance(event.body, ToolInputDelta) else "text"
        body: Any = event.body
        out[-1] = replace(event, body=replace(body, **{name: "".join(pieces)}))
    pieces.clear()


def _fields(body: Any) -> Any:
    if isinstance(body, (TextDelta, ThinkingDelta)):
        return {"index": body.index, "text": body.text}
    if isinstance(body, ToolFinished):
        body = replace(body, data=None)  # any object of the user's, which is no JSON
    try:
        return _adapter(body.__class__).dump_python(body, mode="json")
    except (PydanticSerializationError, ValueError, RecursionError):
        log.warning("An event %s could not be written to the journal", type(body).__name__)
        return None


def _event(row: Any) -> Event | None:
    try:
        run_id, agent, seq, turn, at, name, fields = row
        kind = _KINDS[name]
        if kind is TextDelta or kind is ThinkingDelta:
            body: Any = kind(int(fields["index"]), str(fields["text"]))
        else:
            body = _adapter(kind).validate_python(fields)
        return Event(1, int(seq), str(run_id), str(agent), int(turn), float(at), body)
    except (KeyError, TypeError, ValueError, ValidationError):
        return None  # damaged, or of another version


def _is_writable(row: Any) -> bool:
    try:
        write_json(row, Blobs())
    except ValueError:
        return False
    return True


@cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)

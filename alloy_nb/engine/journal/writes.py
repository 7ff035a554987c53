"""The statements that write a session and its turns.

Each writes a row whole, whatever of it is there already: a row that was lost with a damaged or
deleted file comes back with the next write, instead of keeping it from being made.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from alloy_nb.engine.journal.batches import coalesced, pack
from alloy_nb.engine.journal.rows import Blobs, Statement, write_json
from alloy_nb.engine.journal.tree import pointed
from alloy_nb.engine.journal.values import CRASHED, RUNNING
from alloy_nb.events import Event
from alloy_nb.usage import Cost, Usage

__all__ = [
    "Begun",
    "Identity",
    "crashed",
    "event_rows",
    "message_rows",
    "session_row",
    "turn_rows",
    "unflushed",
    "view_rows",
]

# So that no row grows with its turn.
_EVENTS_IN_A_ROW = 1_000


@dataclass(slots=True)
class Identity:
    """Which session it is, and what is known of it besides its turns."""

    id: str
    name: str
    notebook: str = ""
    created: float = field(default_factory=time.time)
    branch: str = "main"
    settings: str = "{}"
    usage: Usage = field(default_factory=Usage)
    cost: Cost = field(default_factory=Cost)


@dataclass(frozen=True, slots=True)
class Begun:
    """What is known of a turn when it begins."""

    id: str
    seq: int
    parent: str | None
    depth: int
    key: str
    prompt: str | None
    prompt_hash: str
    references: str
    model: str
    settings: str
    before: str
    preview: str
    blobs: Blobs = field(repr=False)
    began: float = field(default_factory=time.time)


def session_row(known: Identity) -> Statement:
    """Return what writes the session itself, as the one that was used last."""
    return (
        """INSERT INTO sessions VALUES (?, ?, ?, ?, ?,
               (SELECT coalesce(max(touched), 0) + 1 FROM sessions), ?, ?, ?, ?)
           ON CONFLICT (id) DO UPDATE SET name = excluded.name, updated = excluded.updated,
               touched = excluded.touched, branch = excluded.branch,
               settings = excluded.settings, usage = excluded.usage, cost = excluded.cost""",
        (
            *(known.id, known.name, known.notebook, known.created, time.time(), known.branch),
            *(known.settings, known.usage.model_dump_json(), known.cost.model_dump_json()),
        ),
    )


def turn_rows(
    known: Identity,
    turn: Begun,
    *,
    status: str = RUNNING,
    after: str | None = None,
    usage: Usage | None = None,
    cost: Cost | None = None,
    view: str | None = None,
) -> list[Statement]:
    """Return what writes a turn and what leads to it; `after` is given when it has ended."""
    values = (
        *(turn.id, known.id, turn.seq, turn.parent, turn.depth, turn.key, turn.prompt),
        *(turn.prompt_hash, turn.references, turn.model, turn.settings, turn.before),
        *(turn.before if after is None else after, status),
        *((usage or Usage()).model_dump_json(), (cost or Cost()).model_dump_json()),
        *(turn.began, None if after is None else time.time(), turn.preview, view),
    )
    marks = ", ".join(["?"] * 16)
    row = (
        f"""INSERT INTO turns VALUES (?, ?, ?, (SELECT id FROM turns WHERE id = ?), {marks})
            ON CONFLICT (id) DO UPDATE SET after = excluded.after, status = excluded.status,
                usage = excluded.usage, cost = excluded.cost, ended = excluded.ended,
                view = excluded.view""",  # noqa: S608  # marks
        values,
    )
    return [
        session_row(known),
        row,
        *turn.blobs.statements(turn.id),
        pointed(known.id, known.branch, turn.id),
    ]


def view_rows(turn: str, view: Any) -> list[Statement]:
    """Return what writes the view of a turn that has ended."""
    blobs = Blobs()
    text = write_json(view, blobs)
    return [*blobs.statements(turn), ("UPDATE turns SET view = ? WHERE id = ?", (text, turn))]


def message_rows(turn: str, bodies: Sequence[str]) -> list[Statement]:
    """Return what writes the messages that a turn added."""
    return [
        ("INSERT OR REPLACE INTO messages VALUES (?, ?, ?)", (turn, number, body))
        for number, body in enumerate(bodies, 1)
    ]


def event_rows(turn: str, events: Iterable[Event], blobs: Blobs) -> list[Statement]:
    """Return what writes all events of a turn in few rows.

    Pieces that were written apart are joined, so that a key is masked which came in two.
    """
    joined, step = coalesced(events), _EVENTS_IN_A_ROW
    parts = [joined[at : at + step] for at in range(0, len(joined), step)]
    return [
        ("INSERT INTO events VALUES (?, ?, ?)", (turn, number, pack(part, blobs)))
        for number, part in enumerate(parts, 1)
    ]


def crashed(turn: str, *, after: str, usage: Usage, cost: Cost) -> Statement:
    """Return what ends a turn that its process left."""
    spent = (usage.model_dump_json(), cost.model_dump_json())
    return (
        "UPDATE turns SET status = ?, after = ?, usage = ?, cost = ?, ended = ? WHERE id = ?",
        (CRASHED, after, *spent, time.time(), turn),
    )


def unflushed(turn: str) -> list[Statement]:
    """Return what takes out the events that were written one frame at a time, and their blobs."""
    return [
        ("DELETE FROM events WHERE turn = ?", (turn,)),
        (
            """DELETE FROM blobs WHERE hash IN (SELECT blob FROM uses WHERE turn = ?) AND NOT EXISTS
               (SELECT 1 FROM uses WHERE uses.blob = blobs.hash AND uses.turn != ?)""",
            (turn, turn),
        ),
        ("DELETE FROM uses WHERE turn = ?", (turn,)),
    ]

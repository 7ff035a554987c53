"""The turns of a session as a tree, and its branches.

A branch is a name and the turn it ends with. Every turn lies on some branch: whoever moves a branch
away from a turn that nothing else leads to leaves a branch there, so that nothing said is lost.
"""

from __future__ import annotations

import contextlib
import gc
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from alloy_nb.engine.journal.batches import unpack
from alloy_nb.engine.journal.database import blobs_of
from alloy_nb.engine.journal.recovery import recovered
from alloy_nb.engine.journal.rows import (
    Statement,
    line,
    read_json,
    read_message,
    read_messages,
)
from alloy_nb.engine.journal.values import RUNNING, Kept, Node
from alloy_nb.errors import SessionError
from alloy_nb.events import Event
from alloy_nb.messages import Message
from alloy_nb.usage import Cost, Usage

__all__ = [
    "Head",
    "Standing",
    "branch_name",
    "branches_of",
    "cost_of",
    "events_of",
    "head_before",
    "head_of",
    "kept",
    "leads_to",
    "left",
    "messages_of",
    "nodes",
    "pointed",
    "prompt_of",
    "standing",
    "torn",
    "turn_with_key",
    "turns_of",
    "usage_of",
    "view_of",
]

# A parent lies less deep than its child, also in a damaged file: the walk ends.
_PATH = """WITH RECURSIVE path (id, parent, depth) AS (
    SELECT id, parent, depth FROM turns WHERE id = ?
    UNION ALL
    SELECT t.id, t.parent, t.depth FROM path JOIN turns AS t
    ON t.id = path.parent AND t.depth < path.depth
)"""
_IDS = f"{_PATH} SELECT id FROM path"  # noqa: S608  # constants


_KEPT = "t.id, t.key, t.prompt, t.model, t.status, t.usage, t.cost, t.began, t.ended"


@dataclass(frozen=True, slots=True)
class Head:
    """The turn that a branch ends with, as far as the next turn has to know it."""

    turn: str | None
    depth: int
    after: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a session stands; `left` are the turns that a process did not bring to an end."""

    branch: str
    settings: str
    usage: Usage
    cost: Cost
    end: str | None
    seq: int
    left: tuple[str, ...]


def standing(connection: sqlite3.Connection, session: str) -> Standing | None:
    """Return where a session stands, or ``None`` where it is not there."""
    row = connection.execute(
        "SELECT branch, settings, usage, cost FROM sessions WHERE id = ?", (session,)
    ).fetchone()
    if row is None:
        return None
    branch, settings, usage, cost = row
    query = "SELECT head FROM branches WHERE session = ? AND name = ?"
    end = connection.execute(query, (session, branch)).fetchone()
    seq = connection.execute("SELECT max(seq) FROM turns WHERE session = ?", (session,)).fetchone()
    query = "SELECT id FROM turns WHERE session = ? AND status = 'running'"
    left = tuple(turn for (turn,) in connection.execute(query, (session,)))
    used, paid = usage_of(usage), cost_of(cost)
    return Standing(branch, settings, used, paid, end and end[0], int(seq[0] or 0), left)


def head_of(connection: sqlite3.Connection, turn: str | None, *, root: str) -> Head:
    """Return a branch's end; `root` is the hash of an empty history."""
    row = connection.execute("SELECT depth, after FROM turns WHERE id = ?", (turn,)).fetchone()
    return Head(None, 0, root) if row is None else Head(turn, int(row[0]), str(row[1]))


def head_before(connection: sqlite3.Connection, turn: str, *, root: str) -> Head:
    """Return what a branch ends with that goes back to before a turn."""
    row = connection.execute("SELECT parent, before FROM turns WHERE id = ?", (turn,)).fetchone()
    head = head_of(connection, row[0], root=root)
    return Head(head.turn, head.depth, row[1])


def branches_of(connection: sqlite3.Connection, session: str) -> dict[str, str | None]:
    """Return the branches of a session, and the turn that each ends with."""
    query = "SELECT name, head FROM branches WHERE session = ? ORDER BY name"
    return dict(connection.execute(query, (session,)).fetchall())


def messages_of(connection: sqlite3.Connection, head: str | None) -> list[Message]:
    """Return the conversation that ends with `head`; of a turn that runs as it would be recovered.

    It is read when a session is opened: nothing else is looked at.
    """
    with _at_once(connection):
        read = read_messages([body for _, body in _bodies(connection, head)], blobs_of(connection))
        messages = [message for message in read if message is not None]
        return [*messages, *_running(connection, head)]


def turns_of(connection: sqlite3.Connection, head: str | None) -> list[Kept]:
    """Return the turns of the conversation that ends with `head`, the first one first.

    One that runs is as it would be recovered.
    """
    with _at_once(connection):
        blob = blobs_of(connection)
        bodies = _bodies(connection, head)
        read = read_messages([body for _, body in bodies], blob)
        said: dict[str, list[Message]] = {}
        for (turn, _), message in zip(bodies, read, strict=True):
            if message is not None:
                said.setdefault(turn, []).append(message)
        rows = connection.execute(
            f"{_PATH} SELECT {_KEPT} FROM path JOIN turns AS t ON t.id = path.id "  # noqa: S608  # constants
            "ORDER BY path.depth",
            (head,),
        ).fetchall()
        turns = [_kept(row, said.get(row[0], ()), blob) for row in rows]
        if turns:
            last = turns[-1]
            turns[-1] = replace(last, messages=(*last.messages, *_running(connection, last.id)))
        return turns


@contextlib.contextmanager
def _at_once(connection: sqlite3.Connection) -> Iterator[None]:
    """Read all as it is at one moment: whoever writes may end a turn meanwhile.

    No garbage is collected: none is made, and Python would look at each message again and again.
    """
    is_on = gc.isenabled()
    gc.disable()
    try:
        connection.execute("BEGIN")
        yield
    finally:
        if is_on:
            gc.enable()
        with contextlib.suppress(sqlite3.Error):  # nothing was changed that could be lost
            connection.execute("ROLLBACK")


def _bodies(connection: sqlite3.Connection, head: str | None) -> list[tuple[str, str]]:
    """Return the turn and the text of each message of a conversation, in their order."""
    return connection.execute(
        f"{_PATH} SELECT m.turn, m.body FROM path JOIN messages AS m ON m.turn = path.id "  # noqa: S608  # constants
        "ORDER BY path.depth, m.number",
        (head,),
    ).fetchall()


def _running(connection: sqlite3.Connection, turn: str | None) -> list[Message]:
    """Return what would be recovered of a turn, if it runs."""
    row = connection.execute("SELECT status FROM turns WHERE id = ?", (turn,)).fetchone()
    if turn is None or row is None or row[0] != RUNNING:
        return []
    return recovered(prompt_of(connection, turn), events_of(connection, turn))


def events_of(connection: sqlite3.Connection, turn: str) -> list[Event]:
    """Return what happened in a turn, as far as it was written."""
    blob = blobs_of(connection)
    rows = connection.execute(
        "SELECT body FROM events WHERE turn = ? ORDER BY number", (turn,)
    ).fetchall()
    return [event for (body,) in rows for event in unpack(body, blob)]


def torn(connection: sqlite3.Connection, turn: str) -> tuple[str, Message | None, list[Event]]:
    """Return what is there of a turn that its process left: the history's hash, prompt, events."""
    row = connection.execute("SELECT before FROM turns WHERE id = ?", (turn,)).fetchone()
    return str(row[0]), prompt_of(connection, turn), events_of(connection, turn)


def prompt_of(connection: sqlite3.Connection, turn: str) -> Message | None:
    """Return what began a turn."""
    row = connection.execute("SELECT prompt FROM turns WHERE id = ?", (turn,)).fetchone()
    return None if row is None or row[0] is None else read_message(row[0], blobs_of(connection))


def kept(connection: sqlite3.Connection, turn: str) -> Kept | None:
    """Return a turn with what it added."""
    row = connection.execute(f"SELECT {_KEPT} FROM turns AS t WHERE id = ?", (turn,)).fetchone()  # noqa: S608  # constants
    if row is None:
        return None
    blob = blobs_of(connection)
    bodies = connection.execute(
        "SELECT body FROM messages WHERE turn = ? ORDER BY number", (turn,)
    ).fetchall()
    messages = [m for (body,) in bodies if (m := read_message(body, blob)) is not None]
    return _kept(row, messages, blob)


def view_of(connection: sqlite3.Connection, turn: str | None) -> Any:
    """Return what a turn kept as its view, or ``None``."""
    row = connection.execute("SELECT view FROM turns WHERE id = ?", (turn,)).fetchone()
    if row is None or row[0] is None:
        return None
    try:
        return read_json(row[0], blobs_of(connection))
    except ValueError:  # the whole conversation can be sent instead
        return None


def leads_to(connection: sqlite3.Connection, turn: str, head: str | None) -> bool:
    """Return whether a turn is part of the conversation that ends with `head`."""
    return any(turn == each for (each,) in connection.execute(_IDS, (head,)))


def turn_with_key(connection: sqlite3.Connection, head: str | None, key: str) -> str | None:
    """Return the newest turn with this key in the conversation that ends with `head`."""
    row = connection.execute("SELECT session FROM turns WHERE id = ?", (head,)).fetchone()
    if row is None:
        return None
    wanted = connection.execute(
        "SELECT id FROM turns WHERE session = ? AND key = ?", (row[0], key)
    ).fetchall()
    if not wanted:  # a new cell: the way to the beginning is not walked
        return None
    among = {turn for (turn,) in wanted}
    path = connection.execute(_IDS, (head,))
    return next((turn for (turn,) in path if turn in among), None)


def nodes(connection: sqlite3.Connection, session: str, head: str | None) -> list[Node]:
    """Return all turns of a session in the order in which they began."""
    current = {turn for (turn,) in connection.execute(_IDS, (head,))}
    branches: dict[str, list[str]] = {}
    for name, end in connection.execute(
        "SELECT name, head FROM branches WHERE session = ? ORDER BY name", (session,)
    ):
        branches.setdefault(end, []).append(name)
    rows = connection.execute(
        """SELECT id, parent, key, preview, model, status, usage, cost, began, ended
           FROM turns WHERE session = ? ORDER BY seq""",
        (session,),
    )
    return [
        Node(
            *(turn, parent, key, preview, model, status),
            usage=usage_of(usage),
            cost=cost_of(cost),
            began=began,
            ended=ended,
            branches=tuple(branches.get(turn, ())),
            is_current=turn in current,
        )
        for turn, parent, key, preview, model, status, usage, cost, began, ended in rows
    ]


# --- moving a branch ----------------------------------------------------------------------------


def pointed(session: str, branch: str, turn: str | None) -> Statement:
    """Return what makes a branch end with a turn, if that is there, and makes the branch too."""
    return (
        """INSERT INTO branches VALUES (?, ?, (SELECT id FROM turns WHERE id = ?), 0)
           ON CONFLICT (session, name) DO UPDATE SET head = excluded.head""",
        (session, branch, turn),
    )


def branch_name(name: str) -> str:
    """Return a name as it is written.

    Raises:
        SessionError: It cannot be one.
    """
    name = line(name.strip())
    if not name or len(name) > 64 or not name.isprintable():
        raise SessionError("A branch's name has up to 64 letters that can be printed.")
    return name


def left(
    connection: sqlite3.Connection, session: str, branch: str, turn: str | None
) -> Iterator[Statement]:
    """Yield what keeps a turn that a branch is about to leave, if nothing else leads to it."""
    if turn is None:
        return
    child = connection.execute("SELECT 1 FROM turns WHERE parent = ? LIMIT 1", (turn,)).fetchone()
    names = dict(
        connection.execute("SELECT name, head FROM branches WHERE session = ?", (session,))
    )
    others = (end for name, end in names.items() if name != branch)
    if child is None and turn not in others:
        yield (
            "INSERT INTO branches VALUES (?, ?, ?, 1)",
            (session, _free_name(branch, names), turn),
        )


def _free_name(branch: str, names: Iterable[str]) -> str:
    stem, _, number = branch.rpartition("-")
    stem = stem if stem and number.isdigit() else branch
    taken, count = set(names), 2
    while f"{stem}-{count}" in taken:
        count += 1
    return f"{stem}-{count}"


def _kept(
    row: Sequence[Any], messages: Iterable[Message], blob: Callable[[str], str | None]
) -> Kept:
    turn, key, prompt, model, status, usage, cost, began, ended = row
    return Kept(
        id=turn,
        key=key,
        prompt=None if prompt is None else read_message(prompt, blob),
        messages=tuple(messages),
        model=model,
        status=status,
        usage=usage_of(usage),
        cost=cost_of(cost),
        began=began,
        ended=ended,
    )


def usage_of(text: Any) -> Usage:
    """Read what was used; unreadable is unreported."""
    try:
        return Usage.model_validate_json(text)
    except ValueError:
        return Usage(unreported=1)


def cost_of(text: Any) -> Cost:
    """Read what it cost; unreadable is unknown."""
    try:
        return Cost.model_validate_json(text)
    except ValueError:
        return Cost.unknown()

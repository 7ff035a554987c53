"""Was this asked before, at this point of the conversation?"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from alloy_nb.engine.journal import tree
from alloy_nb.engine.journal.rows import ROOT, Blobs, digest, hash_of, line, write_message
from alloy_nb.engine.journal.values import Found
from alloy_nb.messages import Message

__all__ = ["Asked", "asked", "find", "history_before"]

# Among so many turns that are like it the nearest is looked for, to say what differs.
_NEAR = 50


@dataclass(frozen=True, slots=True)
class Asked:
    """Everything that decides an answer, as hashes and names."""

    prompt: str
    references: str
    model: str
    settings: str
    history: str

    def differs(self, other: Asked) -> tuple[str, ...]:
        """Return what is not the same."""
        names = (field.name for field in fields(self))
        return tuple(name for name in names if getattr(self, name) != getattr(other, name))


def asked(
    prompt: Message,
    references: str,
    model: str,
    settings: Mapping[str, Any] | None,
    *,
    history: str,
) -> Asked:
    """Return what a question is looked for by; `history` is the hash of what stands before it."""
    return Asked(
        prompt=digest(write_message(prompt, Blobs())),
        references=line(references),
        model=line(model),
        settings=hash_of(settings),
        history=history,
    )


def find(connection: sqlite3.Connection, session: str, wanted: Asked, *, key: str) -> Found:
    """Return the newest turn that asked the same and was answered, or what differs."""
    same = (wanted.prompt, wanted.history)
    rows = _turns(connection, "prompt_hash = ? AND before = ?", session, *same)
    for turn, status, *was in rows:
        if status == "completed" and Asked(*was) == wanted:
            return Found(tree.kept(connection, turn))
    rows += _turns(connection, "prompt_hash = ?", session, wanted.prompt)
    if key:
        rows += _turns(connection, "key = ?", session, key)
    reasons = [wanted.differs(Asked(*was)) or ("status",) for _, _, *was in rows]
    return Found(None, min(reasons, key=len, default=()))


def history_before(connection: sqlite3.Connection, turn: str) -> str:
    """Return the hash of the conversation before a turn."""
    row = connection.execute("SELECT before FROM turns WHERE id = ?", (turn,)).fetchone()
    return ROOT if row is None else str(row[0])


def _turns(connection: sqlite3.Connection, where: str, *values: str) -> list[tuple[str, ...]]:
    # The + keeps SQLite from walking all turns in their order instead of using the index.
    query = f"""SELECT id, status, prompt_hash, refs, model, settings, before FROM turns
                WHERE session = ? AND {where} ORDER BY +seq DESC LIMIT {_NEAR}"""  # noqa: S608  # constants
    return connection.execute(query, values).fetchall()

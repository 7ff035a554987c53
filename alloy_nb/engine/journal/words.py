"""The full text of what was said, for `Store.search`."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable

from alloy_nb.engine.journal.rows import Statement, line, read_message
from alloy_nb.engine.journal.values import Hit
from alloy_nb.messages import Message

__all__ = ["again", "forgotten", "index", "is_full_text", "search"]

# A longer one is a file that was pasted; its beginning is enough to find it again.
_LONGEST = 100_000
_MOST_WORDS = 20


def index(messages: Iterable[Message], *, session: str, turn: str) -> list[Statement]:
    """Return what makes a turn's words findable: the texts of both sides, no results of tools."""
    text = "\n".join(m.text for m in messages if m.text)[:_LONGEST]
    if not text.strip():
        return []
    values = (line(text), session, turn)
    return [("INSERT INTO words (text, session, turn) VALUES (?, ?, ?)", values)]


def again(connection: sqlite3.Connection, session: str, turn: str) -> list[Statement]:
    """Return what makes the words of a turn findable that is in the file already."""
    rows = connection.execute("SELECT body FROM messages WHERE turn = ? ORDER BY number", (turn,))
    read = (read_message(body, _no_blob) for (body,) in rows)
    return index((m for m in read if m is not None), session=session, turn=turn)


def forgotten(session: str) -> Statement:
    """Return what takes the words of a session out."""
    return ("DELETE FROM words WHERE session = ?", (session,))


def search(connection: sqlite3.Connection, words: str, *, limit: int) -> list[Hit]:
    """Return where all of these words stand, the best place first."""
    wanted = re.findall(r"\w+", words)[:_MOST_WORDS]
    if not wanted:
        return []
    if is_full_text(connection):
        query = " ".join(f'"{word}"' for word in wanted[:-1]) + f' "{wanted[-1]}"*'
        where, values = "words MATCH ?", (query,)
        snippet, order = "snippet(words, 0, '', '', '…', 16)", "bm25(words)"
    else:
        where = " AND ".join("words.text LIKE ?" for _ in wanted)
        values = tuple(f"%{word}%" for word in wanted)  # type: ignore[assignment]
        snippet, order = "substr(words.text, 1, 200)", "t.began DESC"
    rows = connection.execute(
        f"""SELECT words.session, s.name, words.turn, {snippet}, t.began
            FROM words JOIN turns AS t ON t.id = words.turn
            JOIN sessions AS s ON s.id = words.session
            WHERE {where} ORDER BY {order} LIMIT ?""",  # noqa: S608  # constants and marks
        (*values, limit),
    )
    return [Hit(*row) for row in rows]


def is_full_text(connection: sqlite3.Connection) -> bool:
    """Return whether the words are in an index."""
    row = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'words'").fetchone()
    return row is not None and "fts5" in row[0]


def _no_blob(_: str) -> None:
    return None

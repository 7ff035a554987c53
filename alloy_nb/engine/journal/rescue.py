"""What can be read of a damaged file, copied into a new one.

Rows are read in order; where a page cannot be read, the next row behind it is looked for in
growing steps. What belongs to a row that is lost is mended so that the rest can be used: turns
without a session get one, a turn whose parent is lost goes on from the nearest one before it, and
every turn can be reached by a branch.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alloy_nb.engine.journal import schema, words

__all__ = ["Rescued", "copy"]

log = logging.getLogger("alloy_nb")

_MAGIC = b"SQLite format 3\x00"
# More rows than a file can hold: the search for the next readable one ends there.
_BEYOND = 1 << 40


@dataclass(frozen=True, slots=True)
class Rescued:
    """How much was read."""

    sessions: int
    turns: int
    messages: int

    def __str__(self) -> str:
        if not self.turns:
            return "nothing"
        parts = ((self.sessions, "session"), (self.turns, "turn"), (self.messages, "message"))
        return ", ".join(f"{n} {word}{'' if n == 1 else 's'}" for n, word in parts)


def copy(damaged: Path, target: sqlite3.Connection) -> Rescued:
    """Copy all readable rows.

    Raises:
        sqlite3.Error: The new file cannot be written.
    """
    target.execute("PRAGMA foreign_keys=OFF")
    target.execute("BEGIN IMMEDIATE")
    for table in schema.TABLES:
        _copy_table(damaged, table, target)
    _mend(target)
    for session, turn in target.execute("SELECT session, id FROM turns").fetchall():
        for statement in words.again(target, session, turn):
            target.execute(*statement)
    target.execute("COMMIT")
    target.execute("PRAGMA foreign_keys=ON")
    counts = (
        target.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608  # constants
        for table in ("sessions", "turns", "messages")
    )
    return Rescued(*counts)


def _copy_table(damaged: Path, table: str, target: sqlite3.Connection) -> None:
    columns = schema.TABLES[table]
    insert = f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({_marks(columns)})"  # noqa: S608  # constants
    try:
        source = _opened(damaged)
    except (sqlite3.Error, OSError, UnicodeError) as error:
        log.warning("Nothing of the damaged journal can be read: %s", error)
        return
    try:
        for row in _rows(source, table, list(columns)):
            if all(isinstance(v, kinds) for v, kinds in zip(row, columns.values(), strict=True)):
                target.execute(insert, row)
    finally:
        source.close()


def _marks(columns: Any) -> str:
    return ", ".join("?" * len(columns))


def _opened(damaged: Path) -> sqlite3.Connection:
    """Open the damaged file, with its first bytes as they must be if they are not."""
    connection = _connect(damaged)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return connection
    except (sqlite3.Error, UnicodeError):
        connection.close()
    _write_header(damaged)
    return _connect(damaged)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    return connection


def _write_header(path: Path) -> None:
    """Make the first bytes those of any journal that we write; the file is ours alone by now."""
    with path.open("r+b") as file:
        size = file.seek(0, 2)
        if size < 4096:
            return
        file.seek(0)
        # Name, page size 4096, with a log (2, 2), and the fractions of a page that are fixed.
        file.write(_MAGIC + bytes((0x10, 0, 2, 2, 0, 64, 32, 32)))
        file.seek(28)
        file.write((size // 4096).to_bytes(4, "big"))
        file.write(bytes(8))  # no free pages: their list may be damaged too
        file.seek(44)
        file.write((4).to_bytes(4, "big"))
        file.seek(52)
        file.write(bytes(4) + (1).to_bytes(4, "big"))


def _rows(source: sqlite3.Connection, table: str, columns: list[str]) -> Iterator[tuple[Any, ...]]:
    query = f"SELECT rowid, {', '.join(columns)} FROM {table} WHERE rowid > ? ORDER BY rowid"  # noqa: S608  # constants
    last, step = -1, 1
    while last < _BEYOND:
        try:
            for row in source.execute(query, (last,)):
                last, step = int(row[0]), 1
                yield row[1:]
            return
        except (sqlite3.Error, UnicodeError):  # SQLite repeats damaged names in its messages
            last, step = last + step, step * 2


# --- what the lost rows leave behind ------------------------------------------------------------


def _mend(target: sqlite3.Connection) -> None:
    for text in (
        """INSERT OR IGNORE INTO sessions
           SELECT session, 'rescued', '', min(began), max(began), 0, 'main', '{}', '{}', '{}'
           FROM turns WHERE session NOT IN (SELECT id FROM sessions) GROUP BY session""",
        "DELETE FROM branches WHERE session NOT IN (SELECT id FROM sessions)",
        "DELETE FROM messages WHERE turn NOT IN (SELECT id FROM turns)",
        "DELETE FROM events WHERE turn NOT IN (SELECT id FROM turns)",
        """DELETE FROM uses WHERE turn NOT IN (SELECT id FROM turns)
           OR blob NOT IN (SELECT hash FROM blobs)""",
        "UPDATE turns SET parent = NULL WHERE depth <= 0",
        """UPDATE turns SET parent = (
               SELECT t.id FROM turns AS t WHERE t.session = turns.session
               AND t.seq < turns.seq AND t.depth < turns.depth
               ORDER BY t.depth DESC, t.seq DESC LIMIT 1)
           WHERE parent IS NOT NULL AND parent NOT IN (SELECT id FROM turns)""",
        """UPDATE branches SET head = (
               SELECT t.id FROM turns AS t WHERE t.session = branches.session
               ORDER BY t.seq DESC LIMIT 1)
           WHERE head IS NOT NULL AND head NOT IN (SELECT id FROM turns)""",
        """INSERT OR IGNORE INTO branches
           SELECT session, 'rescued-' || seq, id, 1 FROM turns AS t
           WHERE NOT EXISTS (SELECT 1 FROM turns AS c WHERE c.parent = t.id)
           AND NOT EXISTS (SELECT 1 FROM branches AS b WHERE b.head = t.id)""",
        # A session whose current branch is lost goes on with its newest turn.
        """INSERT OR IGNORE INTO branches
           SELECT s.id, s.branch, (SELECT t.id FROM turns AS t WHERE t.session = s.id
                                   ORDER BY t.seq DESC LIMIT 1), 0 FROM sessions AS s""",
    ):
        target.execute(text)

"""What one session writes: to the file, or into memory until the file takes it again.

While the file cannot be written, everything goes on: what is to be written is held, in order, and
applied to a copy of the session in memory too, which is read instead of the file. The first write
that succeeds writes all of it in one transaction.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from alloy_nb.engine.journal import schema, words
from alloy_nb.engine.journal.database import Database, run
from alloy_nb.engine.journal.rows import Statement
from alloy_nb.engine.journal.trouble import Kind, Trouble

__all__ = ["Outbox"]

log = logging.getLogger("alloy_nb")

T = TypeVar("T")

# Seconds between two attempts, so that a file which blocks for a second does not hold up each
# frame that is drawn.
_PAUSE = 2.0
# Seconds before the same trouble is told again.
_QUIET = 600.0
# Seconds that another writer may hold up an attempt: a person who saves waits, a turn does not.
_PATIENT, _BRIEF = 1.0, 0.05


class Outbox:
    """The writes of one session.

    Args:
        database: The file.
        session: Whose rows they are.
        ready: Called before each attempt; raises `Trouble` where the session may not be written.
    """

    def __init__(self, database: Database, session: str, *, ready: Callable[[], object]) -> None:
        self._database = database
        self._session = session
        self._ready = ready
        self._held: list[Statement] = []
        self._mirror: sqlite3.Connection | None = None
        self._retry_at = 0.0
        self._in_trouble = False
        self._told: dict[Kind, float] = {}

    def __del__(self) -> None:
        self._close_mirror()

    @property
    def is_saved(self) -> bool:
        """Whether everything that was written is in the file."""
        return not self._held

    def write(self, statements: Iterable[Statement], *, urgent: bool = False) -> None:
        """Write, or hold; never raises for what is wrong with the file.

        With `urgent` an attempt is made however recently the last one failed.
        """
        new = list(statements)
        with self._database.lock:
            if self._held:
                self._hold(new)
                if urgent or time.monotonic() >= self._retry_at:
                    self._catch_up(wait=_PATIENT if urgent and not new else _BRIEF)
            elif new and not self._written(new):
                self._hold(new)
                if self._retry_at == 0.0:
                    self._catch_up(wait=_PATIENT)
        self._database.notices.deliver()

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return what `work` reads of the session, with all that was written.

        Raises:
            Trouble: It cannot be read.
        """
        try:
            with self._database.lock:
                if self._mirror is not None:
                    return work(self._mirror)
                return self._database.read(work)
        finally:
            self._database.notices.deliver()

    def carry(self, old: sqlite3.Connection) -> None:
        """Hold all of the session's rows, because the file that had them is going away."""
        mirror = self._mirror or schema.create()
        try:
            rows = _rows_of(old, self._session)
        except (sqlite3.Error, ValueError, TypeError):  # it is damaged besides: nothing to be had
            return
        if not rows:
            return
        self._held = [*rows, *self._held]
        if self._mirror is None:
            run(mirror, rows)
            self._mirror = mirror
        self._retry_at = 0.0

    def drop(self) -> None:
        """Forget what is held."""
        with self._database.lock:
            self._held = []
            self._close_mirror()

    def _written(self, new: list[Statement]) -> bool:
        try:
            self._ready()
            self._database.settle()
            if self._held:  # the file was replaced just now, and these rows come first
                return False
            self._database.transact(new)
        except Trouble as trouble:
            self._fail(trouble)
            return False
        return True

    def _catch_up(self, *, wait: float) -> None:
        try:
            self._ready()
            self._database.settle()
            self._database.transact(self._held, wait=wait)
        except Trouble as trouble:
            self._fail(trouble)
            return
        self._held = []
        self._retry_at = 0.0
        self._close_mirror()
        self._in_trouble = False

    def _fail(self, trouble: Trouble) -> None:
        self._retry_at = time.monotonic() + _PAUSE
        now = time.monotonic()
        # One warning until it is saved again, whatever else goes wrong meanwhile; and a disk that
        # is full again after each little that still fits is told of once.
        if not self._in_trouble and now - self._told.get(trouble.kind, -_QUIET) >= _QUIET:
            self._database.notices.add(trouble.notice(self._database.path))
            self._told[trouble.kind] = now
        self._in_trouble = True

    def _hold(self, new: list[Statement]) -> None:
        if self._mirror is None:
            self._mirror = self._copy_in_memory()
        self._held.extend(new)
        try:
            run(self._mirror, new)
        except (sqlite3.Error, ValueError):  # a fault of ours must not end the turn
            log.exception("The journal could not be held in memory")

    def _copy_in_memory(self) -> sqlite3.Connection:
        mirror = schema.create()
        try:
            rows = self._database.read(lambda file: _rows_of(file, self._session))
        except Trouble:  # what was said before cannot be read; the turn goes on without
            return mirror
        run(mirror, rows)
        return mirror

    def _close_mirror(self) -> None:
        if self._mirror is not None:
            self._mirror.close()
            self._mirror = None


_OF_SESSION = {
    "sessions": "id = :session",
    "branches": "session = :session",
    "turns": "session = :session",
    "messages": "turn IN (SELECT id FROM turns WHERE session = :session)",
    "events": "turn IN (SELECT id FROM turns WHERE session = :session)",
    "blobs": "hash IN (SELECT blob FROM uses JOIN turns ON turns.id = uses.turn "
    "WHERE turns.session = :session)",
    "uses": "turn IN (SELECT id FROM turns WHERE session = :session)",
}


def _rows_of(connection: sqlite3.Connection, session: str) -> list[Statement]:
    """Return what writes all rows of a session."""
    out: list[Statement] = []
    for table, columns in schema.TABLES.items():
        names = ", ".join(columns)
        marks = ", ".join("?" * len(columns))
        insert = f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})"  # noqa: S608  # constants
        select = f"SELECT {names} FROM {table} WHERE {_OF_SESSION[table]}"  # noqa: S608  # constants
        rows = connection.execute(select, {"session": session})
        out.extend((insert, tuple(row)) for row in rows)
    if out:
        out.append(words.forgotten(session))
    for (turn,) in connection.execute("SELECT id FROM turns WHERE session = ?", (session,)):
        out.extend(words.again(connection, session, turn))
    return out

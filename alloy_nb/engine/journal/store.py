"""All sessions beside one notebook: listed, found again, gone on with, and forgotten."""

from __future__ import annotations

import json
import logging
import secrets
import sqlite3
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from alloy_nb.engine.journal import lease, tree, words
from alloy_nb.engine.journal.claim import lock_of
from alloy_nb.engine.journal.database import Database
from alloy_nb.engine.journal.journal import Journal
from alloy_nb.engine.journal.rows import Statement, line
from alloy_nb.engine.journal.trouble import Trouble, trouble_of
from alloy_nb.engine.journal.values import Hit, SessionInfo
from alloy_nb.engine.journal.writes import Identity
from alloy_nb.errors import SessionError

__all__ = ["Store"]

log = logging.getLogger("alloy_nb")

T = TypeVar("T")

_COLUMNS = "id, name, notebook, created, updated, branch, settings, usage, cost"


class Store:
    """The journal's file beside a notebook, ``.alloy/sessions.db``; made with the first turn.

    Example:
        >>> store = Store("analysis")
        >>> journal = store.new("main")
        >>> turn = journal.begin(user("What is in the table?"))

    Args:
        folder: The notebook's folder.
        tell: Called with a sentence where the file cannot be written, or was damaged: once for each
            time, until all is saved again. The default logs it.
    """

    def __init__(
        self, folder: Path | str = ".", *, tell: Callable[[str], object] | None = None
    ) -> None:
        path = Path(folder).absolute() / ".alloy" / "sessions.db"
        self._database = Database(path, tell=tell or (lambda _: None))
        self._journals: weakref.WeakSet[Journal] = weakref.WeakSet()

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r})"

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """The file."""
        return self._database.path

    # --- one session ------------------------------------------------------------------------------

    def new(
        self, name: str = "main", *, session_id: str | None = None, notebook: str = ""
    ) -> Journal:
        """Return the journal of a new session, which is written with its first turn.

        Args:
            name: What a person calls it; several may have the same.
            session_id: What it is known by; the default is random.
            notebook: Which notebook it belongs to, where several lie in the folder.

        Raises:
            SessionError: There is a session of this id.
        """
        if session_id is not None and self._row("id = ?", (session_id,)) is not None:
            raise SessionError(f"There is a session {session_id!r} already. Resume it instead.")
        identity = Identity(session_id or secrets.token_urlsafe(16), line(name), line(notebook))
        return self._kept(Journal(self._database, identity))

    def resume(self, which: str | None = None, *, notebook: str | None = None) -> Journal:
        """Go on with a session: the one of this id or name, or the last one that was used.

        A turn that its process left unfinished is brought to an end: what was shown is kept.

        Args:
            which: An id, the beginning of one, or a name; of several the last one that was used.
            notebook: Only a session of this notebook.

        Raises:
            SessionError: There is none, somebody else writes to it, or the file cannot be read.
        """
        return self._opened(which, notebook, is_reader=False)

    def read(self, which: str | None = None, *, notebook: str | None = None) -> Journal:
        """Return a session's journal to be read, also while somebody else writes to it.

        Raises:
            SessionError: There is none, or the file cannot be read.
        """
        return self._opened(which, notebook, is_reader=True)

    # --- all of them ------------------------------------------------------------------------------

    def sessions(self, *, notebook: str | None = None, limit: int = 200) -> list[SessionInfo]:
        """Return the sessions, the one that was used last first.

        Raises:
            SessionError: The file cannot be read.
        """
        where = "1" if notebook is None else "notebook = ?"
        values = (limit,) if notebook is None else (notebook, limit)

        def work(file: sqlite3.Connection) -> list[SessionInfo]:
            query = f"SELECT {_COLUMNS} FROM sessions WHERE {where} ORDER BY touched DESC LIMIT ?"  # noqa: S608  # constants
            return [_info(file, row) for row in file.execute(query, values).fetchall()]

        found = self._read(work)
        return [*self._unsaved(notebook, {info.id for info in found}), *found][:limit]

    def search(self, text: str, *, limit: int = 50) -> list[Hit]:
        """Return where all of these words were said, in any session; the last may be a beginning.

        Raises:
            SessionError: The file cannot be read.
        """
        return self._read(lambda file: words.search(file, text, limit=limit))

    def forget(self, session_id: str) -> list[Path]:
        """Wipe a session from the disk: its rows, its words, and what no other session uses.

        Returns:
            Damaged files that were moved aside earlier, and may still hold parts of it.

        Raises:
            SessionError: There is none, it is answering, somebody else writes to it or reads just
                now, or the file cannot be written.
        """
        for journal in list(self._journals):
            if journal.id != session_id:
                continue
            if journal.is_answering:
                raise SessionError(f"The session {journal.name!r} is answering. Stop it first.")
            journal.close()
        if self._row("id = ?", (session_id,)) is None:
            raise SessionError(f"There is no session {session_id!r} here.")
        try:
            right = lease.acquire(lock_of(self._database, session_id))
        except lease.Taken as taken:
            raise SessionError(
                f"The session is in use by {taken}. Close it there before it is forgotten."
            ) from None
        except OSError as error:
            raise self._unwritable(trouble_of(error)) from None
        try:
            self._wipe(session_id)
        finally:
            right.release(remove=True)
        return sorted(self.path.parent.glob(f"{self.path.stem}.damaged-*"))

    def close(self) -> None:
        """Let go of everything; it opens again when it is used."""
        for journal in list(self._journals):
            journal.close()
        self._database.close()

    # --- inside -----------------------------------------------------------------------------------

    def _kept(self, journal: Journal) -> Journal:
        self._journals.add(journal)
        return journal

    def _opened(self, which: str | None, notebook: str | None, *, is_reader: bool) -> Journal:
        identity = self._find(which, notebook)
        if identity is None:
            what = "No session" if which is None else f"No session {which!r}"
            raise SessionError(f"{what} is kept in {self.path}. `sessions` lists what there is.")
        journal = Journal(self._database, identity, is_reader=is_reader)
        try:
            journal._resume()
        except BaseException:  # no claim is left on a session that nobody holds
            journal.close()
            raise
        return self._kept(journal)

    def _find(self, which: str | None, notebook: str | None) -> Identity | None:
        place, values = ("1", ()) if notebook is None else ("notebook = ?", (notebook,))
        if which is None:
            return self._row(place, values)
        for where in ("id = ?", "name = ?", "instr(id, ?) = 1"):
            found = self._row(f"{where} AND {place}", (which, *values))
            if found is not None:
                return found
        return None

    def _row(self, where: str, values: tuple[Any, ...]) -> Identity | None:
        def work(file: sqlite3.Connection) -> Identity | None:
            query = f"SELECT {_COLUMNS} FROM sessions WHERE {where} ORDER BY touched DESC LIMIT 1"  # noqa: S608  # constants
            row = file.execute(query, values).fetchone()
            if row is None:
                return None
            id_, name, notebook, created, _, branch, settings, usage, cost = row
            return Identity(
                id_, name, notebook, created, branch, settings,
                tree.usage_of(usage), tree.cost_of(cost),
            )  # fmt: skip

        return self._read(work)

    def _unsaved(self, notebook: str | None, known: set[str]) -> list[SessionInfo]:
        """Return the sessions of this process that are in memory alone."""

        def work(file: sqlite3.Connection) -> list[SessionInfo]:
            rows = file.execute(f"SELECT {_COLUMNS} FROM sessions").fetchall()  # noqa: S608  # constants
            return [_info(file, row) for row in rows]

        waiting = [journal for journal in list(self._journals) if not journal.is_saved]
        infos = [info for journal in waiting for info in journal._read(work)]
        return [i for i in infos if i.id not in known and notebook in (None, i.notebook)]

    def _wipe(self, session: str) -> None:
        def work(file: sqlite3.Connection) -> bool:
            return words.is_full_text(file)

        of_turns = "turn IN (SELECT id FROM turns WHERE session = ?)"
        statements: list[Statement] = [
            (
                f"""DELETE FROM blobs WHERE hash IN (SELECT blob FROM uses WHERE {of_turns})
                    AND NOT EXISTS (SELECT 1 FROM uses JOIN turns ON turns.id = uses.turn
                                    WHERE uses.blob = blobs.hash AND turns.session != ?)""",  # noqa: S608  # constants
                (session, session),
            ),
            *((f"DELETE FROM {table} WHERE {of_turns}", (session,))  # noqa: S608  # constants
              for table in ("uses", "messages", "events")),
            *((f"DELETE FROM {table} WHERE session = ?", (session,))  # noqa: S608  # constants
              for table in ("branches", "turns", "words")),
            ("DELETE FROM sessions WHERE id = ?", (session,)),
        ]  # fmt: skip
        if self._read(work):
            # An index only marks what was deleted, until its parts are merged.
            statements.append(("INSERT INTO words (words) VALUES ('optimize')", ()))
        try:
            self._database.transact(statements)
            is_clean = self._database.checkpoint()
        except Trouble as trouble:
            raise self._unwritable(trouble) from None
        if not is_clean:
            raise SessionError(
                "The session is forgotten, but another kernel reads the file just now, and its log "
                f"({self.path.name}-wal) keeps traces until that kernel is done."
            )

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return self._database.read(work)
        except Trouble as trouble:
            raise SessionError(f"The journal {self.path} cannot be read: {trouble}.") from None
        finally:
            self._database.notices.deliver()

    def _unwritable(self, trouble: Trouble) -> SessionError:
        return SessionError(f"The journal {self.path} cannot be written: {trouble}.")


def _info(file: sqlite3.Connection, row: Any) -> SessionInfo:
    id_, name, notebook, created, updated, _, settings, usage, cost = row
    first = file.execute(
        "SELECT preview FROM turns WHERE session = ? ORDER BY seq LIMIT 1", (id_,)
    ).fetchone()
    last = file.execute(
        "SELECT model FROM turns WHERE session = ? ORDER BY seq DESC LIMIT 1", (id_,)
    ).fetchone()
    turns = file.execute("SELECT count(*) FROM turns WHERE session = ?", (id_,)).fetchone()[0]
    return SessionInfo(
        id=id_,
        name=name,
        notebook=notebook,
        created=created,
        updated=updated,
        turns=turns,
        preview="" if first is None else first[0],
        model="" if last is None else last[0],
        usage=tree.usage_of(usage),
        cost=tree.cost_of(cost),
        settings=_settings(settings),
    )


def _settings(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}

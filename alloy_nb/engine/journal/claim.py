"""A session's one writer: how a journal becomes it, and what a second one is told."""

from __future__ import annotations

import weakref
from pathlib import Path

from alloy_nb.engine.journal import lease
from alloy_nb.engine.journal.database import Database
from alloy_nb.engine.journal.rows import digest
from alloy_nb.engine.journal.trouble import Kind, Trouble, trouble_of
from alloy_nb.errors import SessionError

__all__ = ["Claim", "lock_of"]


class Claim:
    """What one journal has of the right to write to its session.

    Args:
        database: Where the session is.
        session: The session's id.
        name: What it is called in errors.
        is_reader: Whether it is never to be had.
    """

    def __init__(self, database: Database, session: str, *, name: str, is_reader: bool) -> None:
        self.is_reader = is_reader
        self._database = database
        self._session = session
        self._name = name
        self._lease: lease.Lease | None = None
        self._forgotten: weakref.finalize[[], Claim] | None = None

    def demand(self) -> None:
        """Become the one who writes.

        A folder that cannot be written is no reason to refuse: a turn goes on in memory there, and
        `attempt` is called again before anything is written.

        Raises:
            SessionError: Somebody else writes, or this journal is to be read only.
        """
        if self.is_reader:
            raise SessionError(
                f"The session {self._name!r} was opened to be read. Resume it to go on with it."
            )
        try:
            self.attempt()
        except Trouble as trouble:
            if trouble.kind is Kind.TAKEN:
                raise SessionError(
                    f"The session {self._name!r} is in use by {trouble}. Close it there, or go on "
                    "with another session (-s NAME); it can be read meanwhile."
                ) from None

    def attempt(self) -> None:
        """Become the one who writes, or stay it.

        Raises:
            Trouble: Somebody else writes, or nobody can at the moment.
        """
        if self._lease is not None:
            if self._lease.is_valid:
                return
            self.release()  # its folder was taken away: others would lock another file
        try:
            held = self._lease = lease.acquire(lock_of(self._database, self._session))
        except lease.Taken as taken:
            raise Trouble(Kind.TAKEN, str(taken)) from None
        except OSError as error:
            raise trouble_of(error) from None
        # Who forgets to close a journal must not keep others from it.
        self._forgotten = weakref.finalize(self, held.release)
        self._forgotten.atexit = False

    def release(self) -> None:
        """Let somebody else write."""
        held, self._lease = self._lease, None
        if held is not None and self._forgotten is not None:
            self._forgotten()


def lock_of(database: Database, session: str) -> Path:
    """Return the file that stands for the right to write to a session.

    Raises:
        OSError: Its folder cannot be made.
    """
    # An id may hold what no file name may: `..`, or a colon on Windows.
    return database.folder("locks") / f"{digest(session)}.lock"

"""Why the journal cannot be written at the moment, and what a person is told of it."""

from __future__ import annotations

import errno
import sqlite3
from enum import StrEnum
from pathlib import Path

from alloy_nb.engine.journal.schema import Unfit

__all__ = ["Kind", "Trouble", "trouble_of"]


class Kind(StrEnum):
    """What stands in the way."""

    FULL = "full"
    READ_ONLY = "read-only"
    LOCKED = "locked"
    TAKEN = "taken"
    FAILING = "failing"
    REFUSED = "refused"
    NEWER = "newer"
    DAMAGED = "damaged"


_WHY = {
    Kind.FULL: "the disk is full",
    Kind.READ_ONLY: "it cannot be opened for writing",
    Kind.LOCKED: "another program holds the file",
    Kind.TAKEN: "another kernel has gone on with it",
    Kind.FAILING: "the disk or its file system fails",
    Kind.REFUSED: "the file does not take it",
    Kind.NEWER: "the file is of a newer version of alloy-nb",
    Kind.DAMAGED: "the file is damaged",
}
_CODES = {
    sqlite3.SQLITE_FULL: Kind.FULL,
    sqlite3.SQLITE_READONLY: Kind.READ_ONLY,
    sqlite3.SQLITE_PERM: Kind.READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: Kind.READ_ONLY,
    sqlite3.SQLITE_AUTH: Kind.READ_ONLY,
    sqlite3.SQLITE_BUSY: Kind.LOCKED,
    sqlite3.SQLITE_LOCKED: Kind.LOCKED,
    sqlite3.SQLITE_PROTOCOL: Kind.LOCKED,
    sqlite3.SQLITE_IOERR: Kind.FAILING,
    sqlite3.SQLITE_NOLFS: Kind.FULL,
    sqlite3.SQLITE_CORRUPT: Kind.DAMAGED,
    sqlite3.SQLITE_NOTADB: Kind.DAMAGED,
    sqlite3.SQLITE_FORMAT: Kind.DAMAGED,
    # A table or a column is missing, or an index says what the table does not.
    sqlite3.SQLITE_ERROR: Kind.DAMAGED,
    sqlite3.SQLITE_CONSTRAINT: Kind.REFUSED,
}
_NUMBERS = {
    errno.ENOSPC: Kind.FULL,
    errno.EDQUOT: Kind.FULL,
    errno.EFBIG: Kind.FULL,
    errno.EROFS: Kind.READ_ONLY,
    errno.EACCES: Kind.READ_ONLY,
    errno.EPERM: Kind.READ_ONLY,
    errno.ENOTDIR: Kind.READ_ONLY,
    errno.EEXIST: Kind.READ_ONLY,
}


class Trouble(Exception):
    """What keeps the journal from being written; it never leaves this package."""

    def __init__(self, kind: Kind, detail: str = "") -> None:
        super().__init__(detail or _WHY[kind])
        self.kind = kind

    def notice(self, path: Path) -> str:
        """Return what a person is told, once."""
        after = "" if self.kind is Kind.TAKEN else " It is saved as soon as that is possible again."
        return (
            f"The conversation is not being saved: {_WHY[self.kind]} ({path}). "
            f"It goes on in memory.{after}"
        )


def trouble_of(error: sqlite3.Error | OSError) -> Trouble:
    """Name the trouble behind an error; the code tells, never the text."""
    if isinstance(error, Unfit):
        return Trouble(Kind.NEWER if error.is_newer else Kind.DAMAGED, str(error))
    if isinstance(error, OSError):
        return Trouble(_NUMBERS.get(error.errno or 0, Kind.FAILING), str(error))
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # found by Python's module: text that is no UTF-8
        return Trouble(Kind.DAMAGED, str(error))
    return Trouble(_CODES.get(code & 0xFF, Kind.FAILING), str(error))

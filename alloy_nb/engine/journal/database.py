"""The file: opened when it is first needed, one connection for all threads of a process.

What goes wrong comes out as a `Trouble`, and leaves nothing half written. Two things are mended
here, since nobody else could: a file that was taken away or replaced is made anew (whoever writes
to it hands on what it needs of the old one, which an open connection can still read), and a
damaged one is moved aside and its readable rows are copied.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

from alloy_nb.engine.journal import lease, rescue, schema
from alloy_nb.engine.journal.rows import Statement, text_of_blob
from alloy_nb.engine.journal.trouble import Kind, Trouble, trouble_of

__all__ = ["Blob", "Carrier", "Database", "Notices", "blobs_of", "run"]

log = logging.getLogger("alloy_nb")

T = TypeVar("T")
Blob = Callable[[str], str | None]

# How long another kernel's write may hold ours up. It takes milliseconds, and whoever waits here
# may be drawing; what takes longer is written later.
_WAIT = 1.0
_PARTS = ("", "-wal", "-shm")


class Carrier(Protocol):
    """Whoever can hand on its rows when the file is replaced."""

    def carry(self, old: sqlite3.Connection) -> None:
        """Read from the old file what must be written to the new one; must not raise."""


class Notices:
    """What a person has to be told: collected under locks, told outside of them."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._tell = tell
        self._waiting: list[str] = []

    def add(self, text: str) -> None:
        """Say this at the next `deliver`."""
        log.warning("%s", text)
        self._waiting.append(text)

    def deliver(self) -> None:
        """Tell what waits; a fault of the listener's is its own."""
        while self._waiting:
            text = self._waiting.pop(0)
            try:
                self._tell(text)
            except Exception:  # a face that cannot show it must not end the turn
                log.exception("A notice could not be shown")


class Database:
    """The journal's file.

    Args:
        path: Where it is, or will be.
        tell: Called with a sentence when a damaged file was moved aside.
    """

    def __init__(self, path: Path, *, tell: Callable[[str], object]) -> None:
        self.path = path
        self.lock = threading.RLock()
        self.notices = Notices(tell)
        self.carriers: weakref.WeakSet[Carrier] = weakref.WeakSet()
        self._connection: sqlite3.Connection | None = None
        self._is_read_only = False
        self._identity: tuple[int, int] | None = None
        self._size = 0
        self._pid = os.getpid()

    def transact(self, statements: Iterable[Statement], *, wait: float | None = None) -> None:
        """Run all of them, or none; another writer may hold it up for `wait` seconds.

        Raises:
            Trouble: None of them was run.
        """
        work = list(statements)

        def write(connection: sqlite3.Connection) -> None:
            if wait is not None:
                connection.execute(f"PRAGMA busy_timeout={round(wait * 1000)}")
            try:
                run(connection, work)
            finally:
                if wait is not None:
                    connection.execute(f"PRAGMA busy_timeout={round(_WAIT * 1000)}")

        self._attempt(write, writing=True)

    def settle(self) -> None:
        """See whether the file was taken away or replaced; if so, carriers hand on their rows.

        Raises:
            Trouble: It cannot be opened.
        """
        self._attempt(lambda _: None, writing=False)

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return what `work` reads; a file that is not there is an empty one.

        Raises:
            Trouble: It cannot be read.
        """
        return self._attempt(work, writing=False)

    def folder(self, *names: str) -> Path:
        """Return the file's folder, or one in it; it is made if need be, and git leaves it out.

        Raises:
            OSError: It cannot be made.
        """
        top = self.path.parent
        # What a person asks, and the data in the answers, is for their eyes.
        top.mkdir(mode=0o700, parents=True, exist_ok=True)
        ignore = top / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
        inner = top.joinpath(*names)
        inner.mkdir(mode=0o700, exist_ok=True)
        return inner

    def checkpoint(self) -> bool:
        """Bring all of the log into the file and empty it; tell whether nobody stood in the way."""

        def work(connection: sqlite3.Connection) -> bool:
            row = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return bool(row[0] == 0)

        return self._attempt(work, writing=True)

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        with self.lock:
            connection, self._connection, self._identity = self._connection, None, None
            if connection is not None and self._pid == os.getpid():
                with contextlib.suppress(sqlite3.Error):
                    connection.close()

    def __del__(self) -> None:
        self.close()

    def _attempt(self, work: Callable[[sqlite3.Connection], T], *, writing: bool) -> T:
        with self.lock:
            try:
                return self._once(work, writing=writing)
            except Trouble as trouble:
                if trouble.kind is not Kind.DAMAGED or not self.path.exists():
                    raise
                self._replace(trouble)
            return self._once(work, writing=writing)

    def _once(self, work: Callable[[sqlite3.Connection], T], *, writing: bool) -> T:
        try:
            return work(self._opened(writing=writing))
        except (sqlite3.Error, OSError) as error:
            trouble = trouble_of(error)
            if self._says_read_only(error):
                trouble = Trouble(Kind.DAMAGED, str(error))
            if trouble.kind is not Kind.LOCKED:
                self.close()  # a connection on which something failed is not used again
            log.debug("The journal could not be used", exc_info=True)
            raise trouble from None
        except (TypeError, ValueError, OverflowError) as error:
            if writing and not isinstance(error, UnicodeDecodeError):
                log.exception("The journal was given what cannot be written")
                raise Trouble(Kind.REFUSED, str(error)) from None
            # A value of a kind that is never written there: a page is damaged.
            self.close()
            log.debug("The journal could not be read", exc_info=True)
            raise Trouble(Kind.DAMAGED, str(error)) from None

    def _says_read_only(self, error: sqlite3.Error | OSError) -> bool:
        """Tell whether it is the file's own header that says so, and not the disk: damage."""
        code = getattr(error, "sqlite_errorcode", None)
        places = (self.path, self.path.parent)
        return code == sqlite3.SQLITE_READONLY and all(os.access(p, os.W_OK) for p in places)

    # --- opening --------------------------------------------------------------------------------

    def _opened(self, *, writing: bool) -> sqlite3.Connection:
        if self._pid != os.getpid():
            # A fork must not use its parent's connection, nor close it: it would drop its locks.
            _abandoned.append(self._connection)
            self._connection, self._identity, self._pid = None, None, os.getpid()
        if self._connection is not None:
            if writing and (self._is_read_only or self._identity is None):
                self.close()
            elif self._is_another_file():
                self._left_behind(self._connection)
        if self._connection is None:
            self._connection = self._open(writing=writing)
        return self._connection

    def _open(self, *, writing: bool) -> sqlite3.Connection:
        self._is_read_only = False
        if not writing and not self.path.exists():
            return schema.create()  # its identity is none: looked for again at the next use
        try:
            return self._open_to_write()
        except (sqlite3.Error, OSError) as error:
            unwritable = (Kind.READ_ONLY, Kind.FULL, Kind.FAILING)
            if writing or trouble_of(error).kind not in unwritable:
                raise
        return self._open_to_read()

    def _open_to_write(self) -> sqlite3.Connection:
        self.folder()
        if not self.path.exists():
            with contextlib.suppress(FileExistsError):  # another kernel was quicker
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        connection = _connect(str(self.path))
        try:
            schema.set_up(connection)
            schema.migrate(connection)
            if not schema.has_words(connection):
                raise schema.Unfit(is_newer=True)  # made by a Python that can search, unlike this
        except BaseException:  # an open file would keep its locks until it is collected
            connection.close()
            raise
        self._identity, self._size = _identity(self.path), 0
        return connection

    def _open_to_read(self) -> sqlite3.Connection:
        """Open a file that cannot be written; SQLite wants to write even beside one that it reads.

        Where it may not do that either, the file is read as one that nobody changes.
        """
        address = self.path.absolute().as_uri()
        for mode in ("mode=ro", "immutable=1"):
            connection = _connect(f"{address}?{mode}", uri=True)
            try:
                schema.set_up(connection, read_only=True)
                schema.migrate(connection)
            except sqlite3.Error as error:
                connection.close()
                if mode == "immutable=1" or trouble_of(error).kind is Kind.DAMAGED:
                    raise
                continue
            self._is_read_only = True
            self._identity, self._size = _identity(self.path), 0
            return connection
        raise AssertionError("one of the two returned or raised")

    def _is_another_file(self) -> bool:
        """Tell whether what is open is not what is there, or somebody cut it: SQLite cannot."""
        if _identity(self.path) != self._identity:
            return True
        size = self.path.stat().st_size if self._identity is not None else 0
        before, self._size = self._size, size
        return size < before

    # --- mending --------------------------------------------------------------------------------

    def _left_behind(self, old: sqlite3.Connection) -> None:
        """Leave a file that is not at its path any more, with all that is still wanted of it."""
        if self._identity is not None:
            for carrier in list(self.carriers):
                carrier.carry(old)
        self.close()

    def _replace(self, trouble: Trouble) -> None:
        """Move a damaged file aside, and begin a new one with what can be read of it.

        Raises:
            Trouble: That was not possible.
        """
        seen = _identity(self.path)
        self.close()
        try:
            with self._alone():
                if _identity(self.path) != seen:
                    return  # another kernel has done it meanwhile
                aside = self._moved_aside()
                connection = self._open_to_write()
                rescued = rescue.copy(aside, connection)
                connection.close()
        except (sqlite3.Error, OSError, UnicodeError) as error:
            log.warning("A damaged journal could not be replaced: %s", error)
            raise trouble from None
        self.notices.add(
            f"The journal {self.path} was damaged. It was moved to {aside.name}, and a new one has "
            f"what could be read of it: {rescued}."
        )

    def _moved_aside(self) -> Path:
        number = 1
        while (aside := self.path.with_name(f"{self.path.stem}.damaged-{number}.db")).exists():
            number += 1
        for part in reversed(_PARTS):
            source = self.path.with_name(self.path.name + part)
            if source.exists():
                source.rename(aside.with_name(aside.name + part))
        return aside

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait until no other kernel mends the file.

        Raises:
            OSError: It took too long, or the lock cannot be had.
        """
        path = self.folder("locks") / "mending.lock"
        until = time.monotonic() + 10 * _WAIT
        while True:
            try:
                held = lease.acquire(path)
                break
            except lease.Taken:
                if time.monotonic() > until:
                    raise OSError("another kernel is mending the journal") from None
                time.sleep(0.02)
        try:
            yield
        finally:
            held.release()


def run(connection: sqlite3.Connection, statements: Iterable[Statement]) -> None:
    """Run statements in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        for text, values in statements:
            connection.execute(text, values)
        connection.execute("COMMIT")
    except BaseException:  # an interrupt too: the next statement must not join this transaction
        with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled back itself
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        raise


def blobs_of(connection: sqlite3.Connection) -> Blob:
    """Return what gives the string of a hash."""

    def blob(name: str) -> str | None:
        row = connection.execute("SELECT kind, data FROM blobs WHERE hash = ?", (name,)).fetchone()
        return None if row is None else text_of_blob(row[0], row[1])

    return blob


# Connections of a parent process: closing them here would drop the parent's locks.
_abandoned: list[sqlite3.Connection | None] = []


def _connect(address: str, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(
        address, timeout=_WAIT, isolation_level=None, check_same_thread=False, uri=uri
    )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino

"""What was answered before, in ``.alloy/rows.db``: nothing is asked twice, and nothing paid twice.

An answer is in the file before it counts as done. The key names what was asked, of whom and how
(see `rows.Job`), so that the same cell run again, or another table with the same rows, finds it;
rows that failed are not kept, and are asked again.

SQLite's write-ahead log without a forced write for each row (``synchronous=NORMAL``): that is safe
for a process that dies at any moment; a power cut may take the last rows, never the file.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from alloy_nb.analysis.rows import Answer
from alloy_nb.engine.checks import wrong
from alloy_nb.errors import ConfigError
from alloy_nb.usage import Cost, Usage

__all__ = ["Checkpoints", "at"]

log = logging.getLogger("alloy_nb")

_VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, job TEXT NOT NULL, at REAL NOT NULL,
    text TEXT NOT NULL, model TEXT NOT NULL,
    input INTEGER NOT NULL, output INTEGER NOT NULL, unreported INTEGER NOT NULL,
    cost TEXT, known TEXT NOT NULL, attempts INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answers_of_job ON answers (job);
"""
_INSERT = "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
# What SQLite takes as parameters of one statement, also where it is old.
_AT_ONCE = 500
# Another kernel's write takes milliseconds. Answers are written on the loop's thread, where all
# else waits meanwhile.
_WAIT, _WAIT_TO_KEEP = 5.0, 1.0


def at(where: bool | str | Path) -> Checkpoints | None:
    """Return the checkpoints that a setting means: ``True``, ``False``, a folder or a file.

    Raises:
        ConfigError: The file cannot be used.
    """
    if where is False or where is None:
        return None
    if where is True:
        return Checkpoints(Path.cwd() / ".alloy" / "rows.db")
    if not isinstance(where, (str, Path)):
        raise wrong("checkpoint", where, "True, False, a folder or a file")
    path = Path(where).expanduser().absolute()
    return Checkpoints(path / ".alloy" / "rows.db" if path.is_dir() else path)


class Checkpoints:
    """The file of answers; any thread may use it, one at a time.

    Args:
        path: Where it is, or will be.

    Raises:
        ConfigError: It cannot be opened, is no such file, or is one of a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unsaved = 0
        """Answers that could not be written so far; they are tried again with the next."""
        self._lock = threading.Lock()
        self._waiting: list[tuple[Any, ...]] = []
        self._connection = _opened(path)
        self._be_patient(_WAIT_TO_KEEP)

    def find(self, keys: Iterable[str]) -> dict[str, Answer]:
        """Return the answers that are kept under these keys."""
        wanted, found = list(dict.fromkeys(keys)), {}
        for first in range(0, len(wanted), _AT_ONCE):
            some = wanted[first : first + _AT_ONCE]
            marks = ",".join("?" * len(some))
            for row in self.read(f"SELECT * FROM answers WHERE key IN ({marks})", some):  # noqa: S608  # marks alone
                found[row[0]] = _answer(row)
        return found

    def save(self, answers: Iterable[tuple[str, Answer]], *, job: str = "") -> None:
        """Keep answers by their keys, all in one transaction; those of rows that failed are not.

        `job` is `rows.Job.fingerprint`, by which answers to the same question are known.

        A disk that is full does not end a map that is being paid for: there is one warning, and
        the answers are written as soon as that is possible.
        """
        now = time.time()
        self._waiting += [
            _row(key, job, answer, now) for key, answer in answers if answer.text is not None
        ]
        if not self._waiting:
            return
        try:
            with self._lock, self._connection:
                self._connection.executemany(_INSERT, self._waiting)
        except (sqlite3.Error, OSError) as error:
            if not self.unsaved:
                log.warning(
                    "%s cannot be written (%s): answers are kept in memory meanwhile",
                    self.path,
                    error,
                )
                self._be_patient(0)  # one who holds the file for long would hold up every answer
            self.unsaved = len(self._waiting)
        else:
            self._waiting.clear()
            if self.unsaved:
                self.unsaved = 0
                self._be_patient(_WAIT_TO_KEEP)

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query.

        Raises:
            ConfigError: The file cannot be read any more.
        """
        try:
            with self._lock:
                return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise _unusable(self.path, error) from None

    def write(self, *statements: tuple[str, Sequence[Any] | Mapping[str, Any]]) -> None:
        """Run all statements, or none.

        Raises:
            ConfigError: The file cannot be written.
        """
        self._be_patient(_WAIT)
        try:
            with self._lock, self._connection:
                for sql, values in statements:
                    self._connection.execute(sql, values)
        except sqlite3.Error as error:
            raise _unusable(self.path, error) from None
        finally:
            self._be_patient(0 if self.unsaved else _WAIT_TO_KEEP)

    def average(self, job: str) -> tuple[float, int] | None:
        """Return the average tokens of a job's answers, and of how many, where there are any."""
        sql = "SELECT avg(output), count(*) FROM answers WHERE job = ? AND unreported = 0"
        tokens, count = self.read(sql, (job,))[0]
        return (tokens, count) if count else None

    def close(self) -> None:
        """Write what waits, and close the file."""
        self._be_patient(_WAIT)
        self.save(())
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def _be_patient(self, seconds: float) -> None:
        """Say how long to wait for another one who writes."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._connection.execute(f"PRAGMA busy_timeout={seconds * 1000:.0f}")


def _opened(path: Path) -> sqlite3.Connection:
    connection = None
    try:
        _make_folder(path.parent)
        connection = sqlite3.connect(path, timeout=_WAIT, check_same_thread=False)
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found > _VERSION:
            raise ConfigError(
                f"{path} was written by a newer alloy_nb. Give checkpoint= another path."
            )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        if found < _VERSION:  # to write is to wait for all others who do
            connection.executescript(_TABLES)
            connection.execute(f"PRAGMA user_version={_VERSION}")
            connection.commit()
    except (sqlite3.Error, OSError) as error:
        if connection is not None:
            connection.close()
        raise _unusable(path, error) from None
    except BaseException:  # an interrupt too: an open file would keep its locks
        if connection is not None:
            connection.close()
        raise
    return connection


def _unusable(path: Path, error: Exception) -> ConfigError:
    return ConfigError(
        f"The checkpoints in {path} cannot be used ({error}). Give checkpoint= another path, "
        "or checkpoint=False to ask without keeping the answers."
    )


def _make_folder(folder: Path) -> None:
    """Make the folder; what is in a table is for its owner's eyes, and not for git."""
    is_own = folder.name == ".alloy"
    folder.mkdir(mode=0o700 if is_own else 0o777, parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    if is_own and not ignore.exists():
        ignore.write_text("*\n")


def _row(key: str, job: str, answer: Answer, now: float) -> tuple[Any, ...]:
    usage, cost = answer.usage, answer.cost
    # Half a character, which is no text, must not keep all others out of the file.
    text = (answer.text or "").encode("utf-8", "replace").decode("utf-8")
    return (
        *(key, job, now, text, answer.model),
        *(usage.input_tokens, usage.output_tokens, usage.unreported),
        *(None if cost.usd is None else str(cost.usd), str(cost.known), answer.attempts),
    )


def _answer(row: tuple[Any, ...]) -> Answer:
    _, _, _, text, model, read, written, unreported, usd, known, attempts = row
    return Answer(
        text,
        usage=Usage(input_tokens=read, output_tokens=written, unreported=unreported),
        cost=Cost(known=Decimal(known), complete=usd is not None),
        model=model,
        attempts=attempts,
    )

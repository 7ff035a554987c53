"""Which rows are in which batch of a vendor, on disk: a row is never in two of them.

The order is what makes that hold, whenever the process dies::

    intent (label, rows)  ─▶  the vendor makes the batch  ─▶  its id  ─▶  answers  ─▶  forgotten
            committed                                        committed     committed

An intent without an id may or may not be a batch at the vendor. It is looked for there, and only
when it is sure not to be there are its rows asked again (see `batches`).

Several processes may use the file. An intent takes its rows in one transaction, so of two that
would send the same row one does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from alloy_nb.analysis.rows import Answer
from alloy_nb.errors import ConfigError

__all__ = ["Batch", "Submitted"]

log = logging.getLogger("alloy_nb")

_TABLES = (
    """CREATE TABLE IF NOT EXISTS batches (
        label TEXT PRIMARY KEY, vendor TEXT NOT NULL, id TEXT, made REAL NOT NULL,
        due REAL NOT NULL, size INTEGER NOT NULL, reserved TEXT NOT NULL,
        fresh INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS batch_rows (
        key TEXT NOT NULL, label TEXT NOT NULL, PRIMARY KEY (key, label)
    ) WITHOUT ROWID""",
)
# What was answered since it was asked needs no batch any more; nor does a batch without rows.
_ANSWERED = """DELETE FROM batch_rows WHERE EXISTS (
    SELECT 1 FROM answers, batches WHERE answers.key = batch_rows.key
    AND batches.label = batch_rows.label AND answers.at >= batches.made)"""
# A row is taken by a batch, unless another one has it, or it was answered since.
_TAKE = """INSERT OR IGNORE INTO batch_rows SELECT :key, :label WHERE NOT EXISTS (
        SELECT 1 FROM batch_rows JOIN batches USING (label)
        WHERE key = :key AND label <> :label AND vendor = :vendor
    ) AND NOT EXISTS (SELECT 1 FROM answers WHERE key = :key AND at >= :since)"""
_COLUMNS = "label, id, made, due, size, reserved, fresh"
_EMPTY = "DELETE FROM batches WHERE label NOT IN (SELECT label FROM batch_rows)"


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch that was made, or may have been.

    Args:
        label: What we call it; the ids of its requests begin with it.
        id: What the vendor calls it, or ``None`` where no answer came.
        made: When it was sent, in seconds since 1970.
        due: Until when the vendor may still have been taking it in.
        size: How many requests it has.
        reserved: US dollars that it may cost at most.
        is_fresh: Whether it asks anew what was answered before.
    """

    label: str
    id: str | None
    made: float
    due: float
    size: int
    reserved: Decimal
    is_fresh: bool = False


class File(Protocol):
    """The file that the answers are in."""

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        ...

    def write(self, *statements: tuple[str, Sequence[Any] | Mapping[str, Any]]) -> None:
        """Run all statements, or none."""
        ...

    def find(self, keys: Iterable[str]) -> dict[str, Answer]:
        """Return the answers that are kept under these keys."""
        ...


class Submitted:
    """The batches of one vendor's account that are not all collected.

    Args:
        file: The checkpoints.
        vendor: Whose, and where: what names the interface that can be asked about them.
    """

    def __init__(self, file: File, vendor: str) -> None:
        self._file = file
        self._vendor = vendor
        file.write(*((table, ()) for table in _TABLES))
        if not file.read("SELECT 1 FROM pragma_table_info('batches') WHERE name = 'fresh'"):
            file.write(("ALTER TABLE batches ADD COLUMN fresh INTEGER NOT NULL DEFAULT 0", ()))
        self.clean()

    def open(self) -> tuple[dict[str, Batch], dict[str, str]]:
        """Return the batches by label, and the label of each row's batch by the row's key."""
        found = self._file.read(
            f"SELECT {_COLUMNS} FROM batches WHERE vendor = ?",  # noqa: S608  # names alone
            (self._vendor,),
        )
        batches = {row[0]: _batch(row) for row in found}
        rows = self._file.read("SELECT key, label FROM batch_rows")
        return batches, {key: label for key, label in rows if label in batches}

    def note(self, label: str) -> Batch | None:
        """Return what is noted of a batch by now, by whichever process."""
        sql = f"SELECT {_COLUMNS} FROM batches WHERE label = ?"  # noqa: S608  # names alone
        found = self._file.read(sql, (label,))
        return _batch(found[0]) if found else None

    def intend(self, batch: Batch, keys: Iterable[str], *, since: float) -> bool:
        """Note a batch before it is sent.

        Returns:
            Whether it has all of its rows; else nothing is noted. Another process has some of
            them in a batch, or they were answered since that moment.
        """
        values = (
            *(batch.label, batch.id, batch.made, batch.due),
            *(batch.size, str(batch.reserved), batch.is_fresh, self._vendor),
        )
        same = {"label": batch.label, "vendor": self._vendor, "since": since}
        wanted = list(keys)
        self._file.write(
            (
                f"INSERT OR REPLACE INTO batches ({_COLUMNS}, vendor) "  # noqa: S608  # names alone
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            ),
            *((_TAKE, {**same, "key": key}) for key in wanted),
        )
        count = "SELECT count(*) FROM batch_rows WHERE label = ?"
        if self._file.read(count, (batch.label,))[0][0] == len(wanted):
            return True
        self.forget(batch.label)
        return False

    def answered(self, keys: Iterable[str], *, since: float) -> dict[str, Answer]:
        """Return the answers that are there since a moment, whoever asked."""
        sql = "SELECT key FROM answers WHERE key = ? AND at >= ?"
        return self._file.find(key for key in keys if self._file.read(sql, (key, since)))

    def made(self, label: str, id_: str) -> None:
        """Note what the vendor calls a batch."""
        self._tell(("UPDATE batches SET id = ? WHERE label = ?", (id_, label)))

    def forget(self, label: str) -> None:
        """Forget a batch that there is not, or that nothing more will come of."""
        self._tell(
            ("DELETE FROM batch_rows WHERE label = ?", (label,)),
            ("DELETE FROM batches WHERE label = ?", (label,)),
        )

    def release(self, batch: Batch) -> bool:
        """Forget a batch that is sure not to be there; ``False`` where more is known of it now."""
        is_same = "label = ? AND id IS NULL AND due = ?"
        self._file.write(
            (f"DELETE FROM batches WHERE {is_same}", (batch.label, batch.due)),  # noqa: S608  # no values
            ("DELETE FROM batch_rows WHERE label NOT IN (SELECT label FROM batches)", ()),
        )
        return self.note(batch.label) is None

    def lapse(self, label: str) -> None:
        """Note that nothing comes of a batch, so that a fresh call asks its rows anew."""
        self._tell(("UPDATE batches SET fresh = 0 WHERE label = ?", (label,)))

    def drop(self, label: str, keys: Iterable[str]) -> None:
        """Forget rows of a batch, which may be asked again then."""
        gone = "DELETE FROM batch_rows WHERE key = ? AND label = ?"
        self._tell(*((gone, (key, label)) for key in keys), (_EMPTY, ()))

    def clean(self) -> None:
        """Forget the rows whose answers are in the file."""
        self._tell((_ANSWERED, ()), (_EMPTY, ()))

    def _tell(self, *statements: tuple[str, Sequence[Any]]) -> None:
        """Write what can also be found out at the vendor: no answer is lost where it fails."""
        try:
            self._file.write(*statements)
        except ConfigError as error:
            log.warning(
                "What became of a batch is not noted, and looked up the next time: %s", error
            )


def _batch(row: tuple[Any, ...]) -> Batch:
    label, id_, made, due, size, reserved, fresh = row
    return Batch(label, id_, made, due, size, Decimal(reserved), is_fresh=bool(fresh))


def now() -> float:
    """Return the seconds since 1970, by which batches are dated here and at vendors."""
    return time.time()

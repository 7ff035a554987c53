"""Which rows are in which batch of a vendor, on disk: a row is never in two of them.

The order is what makes that hold, whenever the process dies::

    intent (label, rows)  ─▶  the vendor makes the batch  ─▶  its id  ─▶  answers  ─▶  forgotten
            committed                                        committed     committed

An intent without an id may or may not be a batch at the vendor. It is looked for there, and only
when it is sure not to be there are its rows asked again (see `batches`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

__all__ = ["Batch", "Submitted"]

_TABLES = (
    """CREATE TABLE IF NOT EXISTS batches (
        label TEXT PRIMARY KEY, vendor TEXT NOT NULL, id TEXT, made REAL NOT NULL,
        due REAL NOT NULL, size INTEGER NOT NULL, reserved TEXT NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS batch_rows (
        key TEXT NOT NULL, label TEXT NOT NULL, PRIMARY KEY (key, label)
    ) WITHOUT ROWID""",
)
# What was answered since it was asked needs no batch any more; nor does a batch without rows.
_ANSWERED = """DELETE FROM batch_rows WHERE EXISTS (
    SELECT 1 FROM answers, batches WHERE answers.key = batch_rows.key
    AND batches.label = batch_rows.label AND answers.at >= batches.made)"""
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
    """

    label: str
    id: str | None
    made: float
    due: float
    size: int
    reserved: Decimal


class File(Protocol):
    """The file that the answers are in."""

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        ...

    def write(self, *statements: tuple[str, Sequence[Any]]) -> None:
        """Run all statements, or none."""
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
        self.clean()

    def open(self) -> tuple[dict[str, Batch], dict[str, str]]:
        """Return the batches by label, and the label of each row's batch by the row's key."""
        columns = "label, id, made, due, size, reserved"
        found = self._file.read(
            f"SELECT {columns} FROM batches WHERE vendor = ?",  # noqa: S608  # names alone
            (self._vendor,),
        )
        batches = {
            label: Batch(label, id_, made, due, size, Decimal(reserved))
            for label, id_, made, due, size, reserved in found
        }
        rows = self._file.read("SELECT key, label FROM batch_rows")
        return batches, {key: label for key, label in rows if label in batches}

    def intend(self, batch: Batch, keys: Iterable[str]) -> None:
        """Note a batch before it is sent."""
        values = (
            *(batch.label, self._vendor, batch.id, batch.made, batch.due),
            *(batch.size, str(batch.reserved)),
        )
        self._file.write(
            ("INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?, ?, ?, ?)", values),
            *(
                ("INSERT OR REPLACE INTO batch_rows VALUES (?, ?)", (key, batch.label))
                for key in keys
            ),
        )

    def made(self, label: str, id_: str) -> None:
        """Note what the vendor calls a batch."""
        self._file.write(("UPDATE batches SET id = ? WHERE label = ?", (id_, label)))

    def forget(self, label: str) -> None:
        """Forget a batch that there is not, or that nothing more will come of."""
        self._file.write(
            ("DELETE FROM batch_rows WHERE label = ?", (label,)),
            ("DELETE FROM batches WHERE label = ?", (label,)),
        )

    def drop(self, label: str, keys: Iterable[str]) -> None:
        """Forget rows of a batch, which may be asked again then."""
        gone = "DELETE FROM batch_rows WHERE key = ? AND label = ?"
        self._file.write(*((gone, (key, label)) for key in keys), (_EMPTY, ()))

    def clean(self) -> None:
        """Forget the rows whose answers are in the file."""
        self._file.write((_ANSWERED, ()), (_EMPTY, ()))


def now() -> float:
    """Return the seconds since 1970, by which batches are dated here and at vendors."""
    return time.time()

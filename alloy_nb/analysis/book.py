"""What is known of every row of a map: which ask the same, what came of each, what it cost.

It holds an answer as its text, and a number for each row: a map of 100,000 rows grows with its
answers, and with nothing else.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from sys import intern
from typing import Any

from alloy_nb.analysis.frames import Column, Field
from alloy_nb.analysis.rows import Answer
from alloy_nb.errors import ToolError

__all__ = ["Book"]

# Columns of ours; a field of the schema goes before them.
_COST, _TOKENS, _MODEL, _ERROR = "cost", "tokens", "model", "error"


@dataclass(frozen=True, slots=True)
class _Entry:
    text: str | None
    usd: float | None
    tokens: int | None
    model: str | None
    error: str | None


_OPEN = _Entry(None, None, None, None, "nothing was asked: the map was stopped before this row")


class Book:
    """The rows of a map by their place in the table, and the answers by what was asked."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._entries: list[_Entry] = []
        self._places = array("q")  # of each row, the number of its entry
        self._repeats: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._places)

    def place(self, key: str) -> tuple[int, bool]:
        """Note the next row; return the number of what it asks, and whether that is new."""
        number = self._numbers.get(key)
        is_new = number is None
        if number is None:
            number = self._numbers[key] = len(self._entries)
            self._entries.append(_OPEN)
        else:
            self._repeats[number] = self._repeats.get(number, 0) + 1
        self._places.append(number)
        return number, is_new

    def fail(self, error: str) -> None:
        """Note that the next row is not asked, and why."""
        self._places.append(len(self._entries))
        self._entries.append(_Entry(None, 0.0, 0, None, error))

    def settle(self, number: int, answer: Answer) -> None:
        """Note what came of what rows ask."""
        usage, usd = answer.usage, answer.cost.usd
        is_free = answer.error is not None and answer.is_free
        self._entries[number] = _Entry(
            answer.text,
            None if usd is None else float(usd),
            usage.total_tokens if is_free or not usage.unreported else None,
            intern(answer.model) if answer.model and not is_free else None,
            answer.error,
        )

    def is_answered(self, number: int) -> bool:
        """Return whether it is known what came of it."""
        return self._entries[number] is not _OPEN

    def is_failed(self, number: int) -> bool:
        """Return whether it is known, and is an error."""
        return self._entries[number].error is not None

    def repeats(self, number: int) -> int:
        """Return how many rows so far ask the same as an earlier one."""
        return self._repeats.get(number, 0)

    def columns(self, fields: list[Field], value: Callable[[str], Any]) -> list[Column]:
        """Return the columns of all rows: the fields of the answers, then what each took.

        What rows with the same question cost is at the first of them, so that a sum is right.
        """
        values, errors = self._values(value)
        firsts = self._firsts()
        entries, places = self._entries, self._places
        taken = {field.name for field in fields}
        columns = [
            Column(f.name, f.kind, _spread([_taken(f, v) for v in values], places)) for f in fields
        ]
        costs = [e.usd for e in entries]
        tokens = [e.tokens for e in entries]
        own = (
            (
                _COST,
                "float",
                [costs[n] if new else 0.0 for n, new in zip(places, firsts, strict=True)],
            ),
            (
                _TOKENS,
                "int",
                [tokens[n] if new else 0 for n, new in zip(places, firsts, strict=True)],
            ),
            (_MODEL, "text", _spread([e.model for e in entries], places)),
            (_ERROR, "text", _spread(errors, places)),
        )
        for name, kind, found in own:
            columns.append(Column(_free(name, taken), kind, found))  # type: ignore[arg-type]
        return columns

    def _values(self, value: Callable[[str], Any]) -> tuple[list[Any], list[str | None]]:
        values: list[Any] = []
        errors: list[str | None] = []
        for entry in self._entries:
            made, error = None, entry.error
            if entry.text is not None:
                try:
                    made = value(entry.text)
                except (ToolError, ValueError) as failure:
                    error = f"The answer that was kept does not fit the schema: {failure}"
            values.append(made)
            errors.append(error)
        return values, errors

    def _firsts(self) -> list[bool]:
        seen: set[int] = set()
        firsts = []
        for number in self._places:
            firsts.append(number not in seen)
            seen.add(number)
        return firsts


def _taken(field: Field, value: Any) -> Any:
    return None if value is None else field.take(value)


def _spread(values: list[Any], places: array[int]) -> list[Any]:
    return [values[number] for number in places]


def _free(name: str, taken: set[str]) -> str:
    """Return the name of a column of ours, which makes way for a field of the same name."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name

"""Which names of columns are the person's own, and which are values of a table.

A name is data as soon as somebody pivots: the rows' values are the columns' names then. So under
the dial's ``schema`` a name is told where the model's code says it already, or where it was a
column's of a table before any code of the model ran, and is the value of no cell, index or category
of a table that is there. Once told, it stays told: a table that is melted later has the names of
its columns in its cells.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from alloy_nb.engine.sessions.session import Session
from alloy_nb.notebook.inputs.exceptions import words_of
from alloy_nb.notebook.inputs.schema import is_table

__all__ = ["Columns", "Told", "columns_of", "values_among"]

log = logging.getLogger("alloy_nb")

_PACKAGES = ("pandas", "polars")
_MOST_TABLES = 200
_MOST_NAMES = 1_000
# Of a longer column, its first and its last values are looked at.
_MOST_VALUES = 2_500_000


class Columns:
    """The names of a kernel's columns."""

    def __init__(self) -> None:
        self._own: set[str | int] = set()
        self._made: set[str | int] = set()
        self._told: set[str] = set()
        self._words: WeakKeyDictionary[Session, set[str]] = WeakKeyDictionary()
        # Two turns may be under way, and the person's cells besides.
        self._lock = threading.RLock()

    def told_to(self, session: Session, namespace: Mapping[str, Any]) -> Told:
        """Return what may be told in a turn of this session."""
        with self._lock:
            self.look(namespace)
            tables = list(_tables(namespace))
            there = {name for table in tables for name in _names(table)} - self._made
            self._told |= {str(name) for name in there - values_among(there, tables)}
            return Told(self._told, self._words.setdefault(session, set()))

    def look(self, namespace: Mapping[str, Any]) -> None:
        """Take the columns that are there for the person's, before code of a model runs."""
        with self._lock:
            self._own |= self._there(namespace) - self._made

    def ran(self, namespace: Mapping[str, Any]) -> None:
        """Take the columns that are new for values, after code of a model ran."""
        with self._lock:
            known = {word for words in self._words.values() for word in words}
            new = self._there(namespace) - self._own
            self._made |= {name for name in new if str(name) not in known}

    def said(self, session: Session, code: str) -> None:
        """Note the words of code that a session's model wrote."""
        with self._lock:
            self._words.setdefault(session, set()).update(words_of(code))

    def _there(self, namespace: Mapping[str, Any]) -> set[str | int]:
        return {name for table in _tables(namespace) for name in _names(table)}


def columns_of(shell: Any) -> Columns:
    """Return the one of a kernel: what code of a model made stays so when we are loaded anew."""
    return _of_shell.setdefault(shell, Columns())


_of_shell: WeakKeyDictionary[Any, Columns] = WeakKeyDictionary()


class Told:
    """The names that may be told; it grows with the code that the model writes."""

    def __init__(self, columns: set[str], words: set[str]) -> None:
        self._columns = columns
        self._words = words

    def __contains__(self, name: object) -> bool:
        return name in self._columns or name in self._words


def values_among(names: set[str | int], tables: Iterable[Any]) -> set[str | int]:
    """Return those of the names that are a value in a table."""
    found: set[str | int] = set()
    for table in tables:
        for column in _columns(table):
            left = names - found
            if not left:
                return found
            try:
                found |= _among(left, column)
            except Exception as error:  # a column of any kind; what cannot be compared is no name
                log.debug("A column was not looked at: %s", type(error).__name__)
    return found


def _tables(namespace: Mapping[str, Any]) -> Iterator[Any]:
    count = 0
    for value in list(namespace.values()):
        if not _has_names(value):
            continue
        count += 1
        if count > _MOST_TABLES:
            return
        yield value


def _has_names(value: Any) -> bool:
    """Return whether this is a table or a column, by its type: no code of the person's runs."""
    packages = {
        str(kind.__dict__.get("__module__")).partition(".")[0] for kind in type(value).__mro__
    }
    return not packages.isdisjoint(_PACKAGES) and (is_table(value) or _is_column(value))


def _is_column(value: Any) -> bool:
    return (
        not issubclass(type(value), type)
        and hasattr(value, "dtype")
        and hasattr(value, "isin" if hasattr(value, "iloc") else "is_in")
    )


def _names(table: Any) -> Iterator[str | int]:
    if not is_table(table):
        return
    for name in list(table.columns)[:_MOST_NAMES]:
        for part in name if type(name) is tuple else (name,):
            if type(part) in (str, int):
                yield part


def _columns(table: Any) -> Iterator[Any]:
    """Return the columns of a table, and its index, as far as it has one."""
    if hasattr(table, "iloc"):  # pandas
        if is_table(table):
            for place in range(min(table.shape[1], _MOST_NAMES)):
                yield table.iloc[:, place]
        else:
            yield table
        index = table.index
        yield from getattr(index, "levels", [index])
    elif hasattr(table, "get_columns"):  # Polars
        yield from table.get_columns()[:_MOST_NAMES]
    elif hasattr(table, "is_in"):
        yield table


def _among(names: set[str | int], column: Any) -> set[str | int]:
    texts = [name for name in names if isinstance(name, str)]
    numbers = [name for name in names if isinstance(name, int)]
    if hasattr(column, "is_in"):  # Polars
        return names & {*column.unique().to_list()}
    column = getattr(getattr(column, "cat", None), "categories", column)
    column = getattr(column, "categories", column)  # of an index
    kind = getattr(column.dtype, "kind", "O")
    if kind in "iuf":
        return {int(value) for value in _in(column, numbers)}
    if kind in "bmM":
        return set()
    try:
        return names & {*_in(column, texts)}
    except TypeError:  # lists among the values cannot be looked up
        return names & {value for value in column if type(value) is str}


def _in(column: Any, names: list[Any]) -> Iterator[Any]:
    if not names or not len(column):
        return
    for part in _ends(column):
        yield from part[part.isin(names)].unique()


def _ends(column: Any) -> Iterator[Any]:
    if len(column) <= 2 * _MOST_VALUES:
        yield column
        return
    rows = column.iloc if hasattr(column, "iloc") else column
    yield rows[:_MOST_VALUES]
    yield rows[-_MOST_VALUES:]

"""Columns as a table of the library that is in use: pandas, Polars, or else a list of mappings."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

__all__ = ["column_of", "columns_of", "table_of"]

_LIBRARIES = ("pandas", "polars")


def table_of(columns: Mapping[str, Sequence[Any]], *, like: Any = None) -> Any:
    """Return columns as a table.

    Args:
        columns: By name, all of one length.
        like: A table whose kind it is to be of, and whose index it is to have.
    """
    module = type(like).__module__.partition(".")[0] if like is not None else ""
    if isinstance(like, list):
        name = None
    elif module in _LIBRARIES:
        name = module
    else:
        name = next((n for n in _LIBRARIES if n in sys.modules), None)
        name = name or next((n for n in _LIBRARIES if find_spec(n)), None)
    if name is None:
        rows = zip(*columns.values(), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in rows]
    library = import_module(name)
    made = library.DataFrame(dict(columns))
    if name == "pandas" and module == "pandas":
        made.index = like.index
    return made


def columns_of(table: Any) -> list[str]:
    """Return the names of a table's columns."""
    if isinstance(table, list):
        return list(table[0]) if table else []
    return [str(name) for name in table.columns]


def column_of(table: Any, name: str) -> list[Any]:
    """Return the values of a column; what is missing is ``None``."""
    values = [row[name] for row in table] if isinstance(table, list) else table[name].to_list()
    return [None if _is_missing(value) else value for value in values]


def _is_missing(value: Any) -> bool:
    # pandas' own NA is equal to nothing, and asking it raises; not-a-number is not itself.
    return value is None or type(value).__name__ in ("NAType", "NaTType") or value != value

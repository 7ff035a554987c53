"""What a value is, without what is in it: its type, its shape, the names and types of its columns.

Two tellings. `describe` trusts the names of columns, as in a prompt of a person who sends their
tables' schema with everything else. `Outline` does not: a pivoted table has values for names, a
type may be made with a value as its name, and a type of values may list them. It tells a name only
where somebody else has said it already.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from numbers import Integral
from typing import Any

__all__ = ["Outline", "columns_of", "describe", "is_table", "type_name"]

_MOST_COLUMNS = 200
_LONGEST_NAME = 120
_SCALARS = (bool, int, float, complex, str, bytes, type(None))
# Py_TPFLAGS_HEAPTYPE: a type that a ``class`` statement made, or ``type(name, ...)``.
_MADE_AT_RUN_TIME = 1 << 9
_SIZED = (str, bytes, list, tuple, dict, set, frozenset)

# Types of values of numpy, pandas, Polars and Arrow that say nothing but how a value is kept.
_PLAIN_DTYPE = re.compile(
    r"(?:u?int|float|complex)\d{1,3}|U?Int\d{1,3}|Float\d{1,3}|bool(?:ean)?|object|str|string|String"
    r"|category|Boolean|Utf8|Categorical|Date|Time|Null|Binary|Object|date32|date64|double|float"
    r"|string\[\w{1,20}\]|[<>|=]?[USV]\d{1,9}|(?:datetime64|timedelta64)(?:\[[a-z]{1,3}\])?"
)
# Of any other, its first word, where it is one of these.
_DTYPE_WORDS = frozenset(
    {
        *("datetime64", "timedelta64", "timestamp", "duration", "interval", "period", "Sparse"),
        *("Datetime", "Duration", "Decimal", "List", "Array", "Struct", "Enum", "list", "struct"),
        *("large_list", "map", "dictionary", "decimal128", "decimal256", "time32", "time64"),
        *("string", "large_string", "bool", "int8", "int16", "int32", "int64"),
        *("uint8", "uint16", "uint32", "uint64"),
    }
)


# --- for a person who sends it --------------------------------------------------------------------


def describe(name: str, value: Any) -> str:
    """Return one line of type and shape, and one for each column of a table. Never raises."""
    try:
        return "\n".join([f"{name}: {_kind(value, type_name(value))}", *_columns(value)])
    except Exception as error:  # a user's object may fail anywhere; its type is always known
        return f"{name}: {type_name(value)} (not described: {type(error).__name__})"


def is_table(value: Any) -> bool:
    """Return whether this is a table of pandas, Polars or their like, without importing any."""
    # By `type`, not `isinstance`: a proxy of what is gone, or a lazy object, may fail there. The
    # shape first: a lazy table has none, and works out its columns when it is asked for them.
    if issubclass(type(value), type):
        return False
    shape = getattr(value, "shape", None)
    return (
        isinstance(shape, tuple)
        and len(shape) == 2
        and hasattr(value, "columns")
        and hasattr(value, "dtypes")
    )


def _is_lazy(value: Any) -> bool:
    """Return whether this is a table of Polars that is not computed yet."""
    return type_name(value) == "polars.LazyFrame"


def columns_of(value: Any) -> list[tuple[Any, Any]]:
    """Return names and types of a table's columns, as far as they are told."""
    if _is_lazy(value):
        return list(value.collect_schema().items())[:_MOST_COLUMNS]
    return list(zip(list(value.columns), list(value.dtypes), strict=False))[:_MOST_COLUMNS]


def type_name(value: Any) -> str:
    """Return the name of a value's type, with the package that it is of."""
    return _named(type(value))


def _named(kind: type) -> str:
    module = _module_of(kind).partition(".")[0]
    named = kind.__qualname__
    return named if module in ("", "builtins") else f"{module}.{named}"


def _module_of(kind: type) -> str:
    """Return the module of a type; one that is made by ``type()`` may have none, or any object."""
    module = getattr(kind, "__module__", None)
    return module if isinstance(module, str) else ""


def _kind(value: Any, kind: str, dtype_of: Callable[[Any], str] | None = None) -> str:
    shape = getattr(value, "shape", None)
    if is_table(value) and shape is not None:
        # Those of a table of Dask are a number that is not computed yet.
        rows = shape[0] if isinstance(shape[0], Integral) else "unknown"
        return f"{kind}, {rows} rows × {shape[1]} columns"
    if _is_lazy(value):
        return f"{kind}, not computed yet, {len(value.collect_schema())} columns"
    if isinstance(shape, tuple) and all(isinstance(n, int) for n in shape):
        size = " × ".join(str(n) for n in shape) or "scalar"
        dtype = getattr(value, "dtype", None)
        told = "" if dtype is None else f", {(dtype_of or _dtype)(dtype)}"
        return f"{kind}, shape {size}{told}"
    if issubclass(type(value), _SIZED):
        return f"{kind}, length {len(value)}"
    return kind


def _columns(value: Any) -> list[str]:
    if not is_table(value) and not _is_lazy(value):
        return []
    rows = [f"  {_column_name(name)}: {_dtype(dtype)}" for name, dtype in columns_of(value)]
    return rows + _rest(value)


def _rest(value: Any) -> list[str]:
    columns = value.collect_schema() if _is_lazy(value) else list(value.columns)
    more = len(columns) - _MOST_COLUMNS
    return [f"  ... and {more} more columns"] if more > 0 else []


def _dtype(dtype: Any) -> str:
    """Return the name of a type of values; some types list values of the data in theirs."""
    kind = type(dtype).__name__
    if kind == "Enum" and hasattr(dtype, "categories"):  # Polars: Enum(categories=['Ada', ...])
        return f"Enum of {len(dtype.categories)} categories"
    if kind == "SparseDtype":  # pandas: Sparse[int64, 7], where 7 is the value that fills
        return f"Sparse[{dtype.subtype}]"
    return _column_name(dtype)


def _column_name(name: Any) -> str:
    text = str(name)
    # A name that could pass for our own markup, or for another line, is quoted.
    if not text.isprintable() or "<" in text or not text.strip():
        text = ascii(text).replace("<", "\\x3c")
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}..."


# --- for one who does not -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outline:
    """Tells a value by names that are known already, and counts what it does not tell.

    Args:
        is_known: Whether a name may be told: it stands in the code, or is a column's of the user's.
    """

    is_known: Callable[[str], bool]

    def of(self, value: Any) -> str:
        """Return type and shape, and a line for each column of a table. Never raises."""
        kind = "a value"
        try:
            kind = self.type_of(type(value))
            # To look into an object runs its code, and the person's own may take any time.
            if _module_of(type(value)) == "__main__" or self._is_told_by_type(value):
                return kind
            if not _has_sizes(value):
                return kind
            lines = [_kind(value, kind, self.dtype)]
            lines += self._columns(value) if is_table(value) else self._missing(value)
            return "\n".join(line for line in lines if line)
        except Exception:  # a user's object may fail anywhere
            return kind

    def type_of(self, kind: type) -> str:
        """Return a type's name, or that of the next type it is made of whose name says nothing.

        ``type(name, (), {})`` makes a type of any name: a name counts where a module defines it.
        """
        for each in kind.__mro__:
            if each is object:
                break
            if _is_defined(each) or self._is_of_the_notebook(each):
                return _named(each)
        return "an object"

    def dtype(self, dtype: Any) -> str:
        """Return a type of values without its parameters: fields and categories are data."""
        text = str(dtype)
        if _PLAIN_DTYPE.fullmatch(text):
            return text
        if type(dtype).__name__ == "Enum":
            return "Enum"
        names = getattr(dtype, "names", None)
        if isinstance(names, tuple):
            return f"a record of {len(names)} fields"
        word = re.match(r"\w*", text)
        told = word[0] if word else ""
        return told if told in _DTYPE_WORDS else "another type"

    def names(self, names: Iterable[Any]) -> list[str | None]:
        """Return each name that may be told, and ``None`` for the others."""
        return [self._name(name) for name in names]

    def _columns(self, value: Any) -> list[str]:
        pairs = columns_of(value)
        told = [
            str(place) if type(name) is int and name == place else self._name(name)
            for place, (name, _) in enumerate(pairs)
        ]
        dtypes = [self.dtype(dtype) for _, dtype in pairs]
        lines: list[str] = []
        for is_named, places in groupby(range(len(pairs)), lambda place: told[place] is not None):
            group = list(places)
            if is_named:
                lines += [f"  {told[place]}: {dtypes[place]}" for place in group]
            else:
                lines.append(f"  {_unnamed([dtypes[place] for place in group])}")
        return lines + _rest(value)

    def _name(self, name: Any) -> str | None:
        if type(name) is tuple and name:
            parts = self.names(name)
            return None if None in parts else str(tuple(parts))
        if type(name) not in (str, int) or not self.is_known(str(name)):
            return None
        return _column_name(name)

    def _missing(self, value: Any) -> Sequence[str]:
        """Count what is missing in a column; a count is no value."""
        if not hasattr(value, "dtype") or len(getattr(value, "shape", ())) != 1:
            return ()
        count = missing(value)
        return () if count is None else (f"  missing: {count}",)

    def _is_told_by_type(self, value: Any) -> bool:
        # The length of a text is no value, and that of a number's shape says nothing.
        return type(value) in _SCALARS and not isinstance(value, (str, bytes))

    def _is_of_the_notebook(self, kind: type) -> bool:
        return _module_of(kind) == "__main__" and self.is_known(kind.__qualname__)


def _unnamed(dtypes: list[str]) -> str:
    count = len(dtypes)
    kinds = ", ".join(dict.fromkeys(dtypes))
    what = "a column whose name is" if count == 1 else f"{count} columns whose names are"
    return f"{what} not sent: {kinds}"


def _has_sizes(value: Any) -> bool:
    """Return whether a shape is made of numbers; an object may call anything its shape."""
    shape = getattr(value, "shape", None)
    return not isinstance(shape, tuple) or all(type(size) is int for size in shape)


def missing(value: Any) -> int | None:
    """Return how many values of a column are missing, or ``None`` where nobody counts them."""
    for name in ("isna", "is_null"):
        method = getattr(value, name, None)
        if callable(method):
            return int(method().sum())
    return None


def _is_defined(kind: type) -> bool:
    """Return whether a type was named by a programmer: in C, or in the source of its module."""
    if not kind.__flags__ & _MADE_AT_RUN_TIME:
        return True
    if not re.fullmatch(r"[A-Za-z_]\w{0,60}", kind.__qualname__):
        return False
    module = sys.modules.get(_module_of(kind))
    if module is None or _module_of(kind) == "__main__":
        return False
    if vars(module).get(kind.__name__) is not kind:
        return False
    try:
        source = inspect.getsource(module)
    except (OSError, TypeError):
        return False
    return re.search(rf"\b{re.escape(kind.__name__)}\b", source) is not None

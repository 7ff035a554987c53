"""Tables of any kind as rows, and answers as a table of the same kind. Nothing is asked here.

pandas, Polars, Arrow and whatever else narwhals reads; a Series is a table with one value a row,
and so are lists and iterators. What comes out has a row for each row that went in, in the same
order, and the same index where there is one.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import importlib.util
import json
import types
import typing
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Any, Literal

from pydantic import BaseModel, RootModel

from alloy_nb.engine.checks import shown
from alloy_nb.errors import ConfigError

__all__ = ["ANSWER", "Column", "Field", "Table", "fields_of", "read"]

Kind = Literal["int", "float", "bool", "text", "time", "object"]
ANSWER = "answer"
"""The column of answers that have no fields."""

_ROWS_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class Column:
    """Values that are of one kind, or ``None``."""

    name: str
    kind: Kind
    values: Sequence[Any]


class Table:
    """Rows that can be read, and what their answers become.

    Args:
        columns: The names of the columns, or ``None`` where a row is one value.
        length: How many rows there are, or ``None`` where nobody knows.
        rows: Makes an iterator over the rows; each is a sequence in the order of the columns.
        build: Makes the table of answers of columns and the number of rows that were read.
        is_once: Whether the rows can be read but once.
    """

    def __init__(
        self,
        *,
        columns: Sequence[str] | None,
        length: int | None,
        rows: Callable[[], Iterator[Sequence[Any]]],
        build: Callable[[list[Column], int], Any],
        is_once: bool = False,
    ) -> None:
        self.columns = None if columns is None else tuple(columns)
        self.length = length
        self.rows = rows
        self.build = build
        self.is_once = is_once
        _check_names(columns or ())


def read(data: Any) -> Table:
    """Return the table that something is.

    Raises:
        ConfigError: It is none.
    """
    is_grouped = type(data).__name__.endswith("GroupBy")  # which is many tables
    if isinstance(data, (str, bytes, Mapping)) or is_grouped or not _is_many(data):
        raise ConfigError(
            f"data must be a DataFrame, a Series, a list or an iterator of rows, not {shown(data)}."
        )
    module = type(data).__module__.partition(".")[0]
    # Asked of the type: a label or a column of pandas may have any name, and is an attribute.
    if module == "dask" or hasattr(type(data), "dask"):
        return _of_dask(data)
    if isinstance(data, (list, tuple, range)) or module in ("builtins", "collections", "itertools"):
        return _of_items(data)
    if module == "pandas" and getattr(data, "ndim", 1) == 2:
        _check_names([str(name) for name in data.columns])
    import narwhals as nw

    found = nw.from_native(data, pass_through=True, allow_series=True)
    if isinstance(found, nw.LazyFrame):
        found = found.collect()
    if isinstance(found, nw.DataFrame):
        return _of_frame(found)
    if isinstance(found, nw.Series):
        return _of_series(found)
    return _of_items(data)


def _check_names(columns: Sequence[str]) -> None:
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise ConfigError(f"Several columns are called {', '.join(twice)}: rename them.")


def _is_many(data: Any) -> bool:
    return isinstance(data, Iterable) or hasattr(data, "collect") or hasattr(data, "__dataframe__")


# --- what there is ------------------------------------------------------------------------------


def _of_frame(frame: Any) -> Table:
    native = frame.to_native()
    return Table(
        columns=[str(name) for name in native.columns]
        if _is_pandas(native)
        else [str(name) for name in frame.columns],
        length=len(frame),
        rows=(lambda: native.itertuples(index=False, name=None))
        if _is_pandas(native)
        else (lambda: frame.iter_rows(named=False, buffer_size=_ROWS_AT_ONCE)),
        build=_builder(native, frame.implementation),
    )


def _of_series(series: Any) -> Table:
    native = series.to_native()
    return Table(
        columns=None,
        length=len(series),
        rows=lambda: ((value,) for value in native),
        build=_builder(native, series.implementation),
    )


def _of_items(items: Iterable[Any]) -> Table:
    """Return the table of a list or an iterator: of values, or of mappings with the same keys."""
    length: int | None
    again: Callable[[], Iterator[Any]]
    if isinstance(items, Sized):
        length, again = len(items), partial(iter, items)
        names = _names(items)
    else:
        once: Iterator[Any] = iter(items)
        first = list(islice(once, 1))
        length, again = None, partial(chain, first, once)
        names = _names(first)
    return Table(
        columns=names,
        length=length,
        rows=lambda: _items(again(), names),
        build=_of_plain,
        is_once=length is None,
    )


def _names(items: Iterable[Any]) -> list[str] | None:
    """Return all keys of a list of mappings, in the order in which they come up."""
    names: dict[str, None] = {}
    for number, item in enumerate(items):
        if not isinstance(item, Mapping):
            if number and names:
                raise ConfigError(
                    f"Row {number} is no mapping, and those before it are: {shown(item)}."
                )
            return None
        names.update((str(key), None) for key in item)
    return list(names) or None


def _items(items: Iterator[Any], names: list[str] | None) -> Iterator[Sequence[Any]]:
    if names is None:
        for item in items:
            yield (item,)
        return
    for item in items:
        by_name = {str(key): value for key, value in item.items()} if _maps(item) else {}
        yield [by_name.get(name) for name in names]


def _maps(item: Any) -> bool:
    return isinstance(item, Mapping)


def _of_dask(data: Any) -> Table:
    """Return the table of a Dask collection: computed part by part, and with a pandas index.

    Its length is not known without computing it, which would be done twice.
    """
    indexes: list[Any] = []

    def rows() -> Iterator[Sequence[Any]]:
        indexes.clear()
        for number in range(data.npartitions):
            part = data.partitions[number].compute()
            indexes.append(part.index)
            if part.ndim == 2:
                yield from part.itertuples(index=False, name=None)
            else:
                yield from ((value,) for value in part)

    def build(columns: list[Column], count: int) -> Any:
        index = indexes[0].append(indexes[1:]) if indexes else None
        return _pandas(columns, None if index is None else index[:count])

    names = (
        [str(name) for name in data.columns] if hasattr(data, "to_bag") and _wide(data) else None
    )
    return Table(columns=names, length=None, rows=rows, build=build)


def _wide(data: Any) -> bool:
    return hasattr(data, "columns") and data.ndim == 2


def _is_pandas(native: Any) -> bool:
    return type(native).__module__.partition(".")[0] == "pandas"


# --- what comes out -----------------------------------------------------------------------------


def _builder(native: Any, implementation: Any) -> Callable[[list[Column], int], Any]:
    """Return what makes a table of this kind."""
    index = getattr(native, "index", None)
    if index is not None and not callable(index):  # pandas, and those that are like it
        return lambda columns, count: _pandas(columns, index[:count])
    return lambda columns, _count: _other(columns, implementation)


def _of_plain(columns: list[Column], count: int) -> Any:
    """Return a pandas table with the index of a list, or a list of mappings without pandas."""
    if importlib.util.find_spec("pandas") is not None:
        return _pandas(columns, None)
    return [{c.name: c.values[number] for c in columns} for number in range(count)]


_PANDAS = {
    "int": "Int64",
    "float": "Float64",
    "bool": "boolean",
    "text": "string",
    "time": "datetime64[us]",
}


def _pandas(columns: list[Column], index: Any) -> Any:
    import pandas as pd

    made = {}
    for column in columns:
        make = partial(_pandas_series, list(column.values), index)
        made[column.name] = _tried(make, (_PANDAS.get(column.kind, "object"), "object"), column)
    return pd.DataFrame(made, index=index)


def _pandas_series(values: list[Any], index: Any, kind: str) -> Any:
    import pandas as pd

    return pd.Series(values, index=index, dtype=kind)


def _other(columns: list[Column], implementation: Any) -> Any:
    import narwhals as nw

    kinds = {
        "int": nw.Int64,
        "float": nw.Float64,
        "bool": nw.Boolean,
        "text": nw.String,
        "time": nw.Datetime,
    }
    made = []
    for column in columns:
        make = partial(_series, column.name, list(column.values), implementation)
        # Any library takes these, but for the objects of Python: Arrow has none.
        tries = (kinds.get(column.kind), None, nw.Object)
        try:
            made.append(_tried(make, tries, column))
        except NotImplementedError:
            made.append(_series(column.name, _texts(column), implementation, nw.String))
    first, *others = made
    return first.to_frame().with_columns(*others).to_native()


def _series(name: str, values: list[Any], implementation: Any, kind: Any) -> Any:
    import narwhals as nw

    return nw.new_series(name, values, kind, backend=implementation)


def _tried(make: Callable[[Any], Any], kinds: Iterable[Any], column: Column) -> Any:
    """Return values as the first of these kinds that holds all of them: a number may be too big."""
    *first, last = kinds
    for kind in first:
        try:
            made = make(kind)
            if column.kind not in ("object", "time") or _holds(made.to_list(), column.values):
                return made
        except Exception:  # each library has errors of its own, also ones of Rust  # noqa: S112
            continue
    return make(last)


def _holds(kept: Any, value: Any) -> bool:
    """Return whether a value is whole in what a column keeps of it.

    Polars takes the keys of the first mapping for those of all, and Arrow drops time zones.
    """
    if isinstance(value, Mapping):
        return isinstance(kept, Mapping) and all(
            key in kept and _holds(kept[key], inner) for key, inner in value.items()
        )
    if isinstance(value, (list, tuple)):
        is_list = isinstance(kept, (list, tuple)) and len(kept) == len(value)
        return is_list and all(map(_holds, kept, value))
    return value is None or bool(kept == value or value != value)  # the latter is NaN


def _texts(column: Column) -> list[str | None]:
    """Return values as text: JSON, but for what is a text already."""
    texts = [
        value if value is None or column.kind == "text" else json.dumps(value, default=str)
        for value in column.values
    ]
    # Half a character is no text.
    return [None if t is None else t.encode("utf-8", "replace").decode("utf-8") for t in texts]


# --- the fields of a schema ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Field:
    """A column that a schema has, and how to take it from a value."""

    name: str
    kind: Kind
    take: Callable[[Any], Any]


def fields_of(schema: Any) -> list[Field]:
    """Return the columns of answers of this type; a type without fields has the one, `ANSWER`."""
    if schema is None:
        return [Field(ANSWER, "text", _same)]
    hints = _hints(schema)
    if not hints:
        return [Field(ANSWER, _kind(schema), plain)]
    return [Field(name, _kind(hint), _taker(name)) for name, hint in hints.items()]


def _same(value: Any) -> Any:
    return value


def _taker(name: str) -> Callable[[Any], Any]:
    def take(value: Any) -> Any:
        found = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
        return plain(found)

    return take


def _hints(schema: Any) -> dict[str, Any]:
    if not isinstance(schema, type):
        return {}
    if issubclass(schema, BaseModel):
        if issubclass(schema, RootModel):
            return {}
        return {name: info.annotation for name, info in schema.model_fields.items()}
    if dataclasses.is_dataclass(schema):
        hints = _typed(schema)
        return {f.name: hints.get(f.name, f.type) for f in dataclasses.fields(schema)}
    return _typed(schema) if typing.is_typeddict(schema) else {}


def _typed(schema: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(schema)
    except Exception:  # names that are not there any more; the values are then objects
        return dict(getattr(schema, "__annotations__", {}))


_KINDS: dict[Any, Kind] = {
    int: "int",
    float: "float",
    bool: "bool",
    str: "text",
    datetime.datetime: "time",
}


def _kind(hint: Any) -> Kind:
    """Return the kind of a column for a type; what has parts, and what may be several, are objects.

    ``None`` is in every kind.
    """
    hint = _bare(hint)
    if typing.get_origin(hint) is Literal:
        return _common(type(value) for value in typing.get_args(hint))
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _common(type(member.value) for member in hint)
    return _KINDS.get(hint, "object") if isinstance(hint, type) else "object"


def _bare(hint: Any) -> Any:
    """Return a type without what is said about it, and without ``None``."""
    while True:
        if typing.get_origin(hint) is typing.Annotated:
            hint = typing.get_args(hint)[0]
        elif typing.get_origin(hint) in (typing.Union, types.UnionType):
            kept = [arg for arg in typing.get_args(hint) if arg is not type(None)]
            if len(kept) != 1:
                return hint
            hint = kept[0]
        elif hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        elif hasattr(hint, "__value__"):  # type X = ...
            hint = hint.__value__
        else:
            return hint


def _common(kinds: Iterable[type]) -> Kind:
    found = set(kinds) - {type(None)}
    return _KINDS.get(found.pop(), "object") if len(found) == 1 else "object"


def plain(value: Any) -> Any:
    """Return a value as a table holds it: a model as a mapping, a member of an enum by value."""
    match value:
        case enum.Enum():
            return plain(value.value)
        case RootModel():
            return plain(value.root)
        case BaseModel():
            return {name: plain(getattr(value, name)) for name in type(value).model_fields}
        case str() | bytes() | int() | float() | None:
            return value
        case Mapping():
            return {key: plain(inner) for key, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(inner) for inner in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return value

"""Copies of variables, taken before code runs: so that one sees what it changed, and can go back.

Only what is data is copied: lists, dicts, sets and their like with what stands in them, arrays, and
tables of pandas and Polars. Objects of other kinds are kept as they are. No ``__eq__`` of the
user's runs here, and nothing is imported: what is not loaded has no variables.
"""

from __future__ import annotations

import collections
import copy
import datetime
import decimal
import fractions
import operator
import sys
from collections.abc import Iterable
from typing import Any

__all__ = ["MISSING", "Room", "copied", "differs", "put_back", "size_of"]

MISSING: Any = object()

_ATOMS = (
    *(bool, int, float, complex, str, bytes, type(None), type(Ellipsis), range, slice),
    *(decimal.Decimal, fractions.Fraction, datetime.date, datetime.datetime, datetime.time),
    *(datetime.timedelta, frozenset),
)
_ROWS = (list, tuple, collections.deque)
_DICTS = (dict, collections.defaultdict, collections.OrderedDict, collections.Counter)
_DEPTH = 50


class Room:
    """What copies may take, all together; the same object is copied once.

    Args:
        size: Bytes of arrays, tables and texts.
        items: Elements of containers.
    """

    def __init__(self, size: int = 200_000_000, items: int = 200_000) -> None:
        self.size = size
        self.items = items
        self.known: dict[int, tuple[Any, Any]] = {}
        """The object, kept so that its id stays its own, and its copy."""

    def take(self, size: int = 0, items: int = 0) -> None:
        """Take some of it.

        Raises:
            NoRoom: There is not that much.
        """
        if size > self.size or items > self.items:
            raise NoRoom
        self.size -= size
        self.items -= items


class NoRoom(Exception):
    """A copy would be too large."""


def copied(value: Any, room: Room) -> Any:
    """Return a copy that later changes leave alone, or `MISSING` where there is none to be had.

    What cannot be changed is its own copy.
    """
    try:
        made = _copied(value, room, 0)
    except (NoRoom, RecursionError, MemoryError):
        return MISSING
    except Exception:  # a subclass with a copy of its own; then there is none
        return MISSING
    return MISSING if made is value and not _is_fixed(value) else made


def differs(now: Any, before: Any) -> bool:
    """Tell whether an object has changed since its copy was made."""
    try:
        return _differs(now, before, set(), 0)
    except Exception:  # it cannot be compared, so nothing is said
        return False


def put_back(value: Any, kept: Any) -> Any:
    """Return what a name is to mean so that it is as in the copy.

    What can be changed in place is, for others hold it as well; a table is a new object.
    """
    kind = type(value)
    if kind is list or kind is bytearray:
        value[:] = kept
    elif kind is collections.deque and value.maxlen == kept.maxlen:
        value.clear()
        value.extend(kept)
    elif kind in _DICTS or kind is set:
        value.clear()
        value.update(kept)
    elif _is_array(value) and value.shape == kept.shape and value.flags.writeable:
        value[...] = kept
    else:
        return kept
    return value


def size_of(value: Any) -> int:
    """Return about how many bytes an object holds; what is no data counts little."""
    try:
        if _is_array(value):
            return int(value.nbytes)
        if _is_pandas(value):
            used = value.memory_usage()
            return int(used if isinstance(used, int) else used.sum())
        if _is_polars(value):
            return int(value.estimated_size())
        size = sys.getsizeof(value)
        if type(value) in _DICTS or type(value) in _ROWS or type(value) is set:
            size += 64 * len(value)
    except Exception:  # a user's object may fail anywhere
        return 0
    return size


# --- copying ------------------------------------------------------------------------------------


def _copied(value: Any, room: Room, depth: int) -> Any:
    kind = type(value)
    if kind in _ATOMS:
        return value
    if id(value) in room.known:
        return room.known[id(value)][1]
    if depth > _DEPTH:
        raise NoRoom
    if kind in _ROWS or kind in _DICTS or kind is set:
        room.take(items=len(value) + 1)
        return _container(value, room, depth)
    if kind is bytearray or _is_array(value):
        room.take(size_of(value))
        made = value[:] if kind is bytearray else value.copy()
    elif _is_pandas(value):
        room.take(size_of(value))
        # Where pandas copies when it writes, the two share their memory until then.
        made = value.copy(deep=not _copies_on_write())
    elif _is_polars(value):
        made = value.clone()
    else:
        return value
    room.known[id(value)] = (value, made)
    return made


def _container(value: Any, room: Room, depth: int) -> Any:
    kind = type(value)
    if kind is tuple:
        inside = [_copied(part, room, depth + 1) for part in value]
        same = all(map(operator.is_, inside, value))
        return value if same else tuple(inside)
    made = copy.copy(value)
    room.known[id(value)] = (value, made)  # before its inside, which may hold it
    if kind in _DICTS:
        for key, part in value.items():
            made[key] = _copied(part, room, depth + 1)
    elif kind is not set:
        for place, part in enumerate(value):
            made[place] = _copied(part, room, depth + 1)
    return made


def _is_fixed(value: Any) -> bool:
    return type(value) in _ATOMS or type(value) is tuple


def _copies_on_write() -> bool:
    pandas: Any = sys.modules["pandas"]
    if int(pandas.__version__.split(".")[0]) >= 3:
        return True
    return pandas.get_option("mode.copy_on_write") is True


# --- comparing ----------------------------------------------------------------------------------


def _differs(now: Any, before: Any, seen: set[tuple[int, int]], depth: int) -> bool:
    if now is before:
        return False
    kind = type(now)
    if kind is not type(before):
        return True
    if kind in _ATOMS:
        # Not a number is no number's equal, not its own either.
        return not (now == before or (now != now and before != before))
    if (id(now), id(before)) in seen or depth > _DEPTH:
        return False
    seen.add((id(now), id(before)))
    if kind in _ROWS:
        return len(now) != len(before) or _any_differs(now, before, seen, depth)
    if kind in _DICTS:
        if len(now) != len(before) or any(key not in now for key in before):
            return True
        return _any_differs([now[key] for key in before], before.values(), seen, depth)
    if kind is set or kind is bytearray:
        return bool(now != before)
    if _is_array(now):
        return _array_differs(now, before, seen, depth)
    if _is_pandas(now):
        names = getattr(now, "name", None), now.index.names
        return names != (getattr(before, "name", None), before.index.names) or not now.equals(
            before
        )
    if _is_polars(now):
        return not now.equals(before)
    return True


def _any_differs(
    now: Iterable[Any], before: Iterable[Any], seen: set[tuple[int, int]], depth: int
) -> bool:
    return any(_differs(a, b, seen, depth + 1) for a, b in zip(now, before, strict=False))


def _array_differs(now: Any, before: Any, seen: set[tuple[int, int]], depth: int) -> bool:
    if now.shape != before.shape or now.dtype != before.dtype:
        return True
    if now.dtype.kind == "O":
        return _any_differs(now.flat, before.flat, seen, depth)
    same = now == before
    if now.dtype.kind in "fcmM":
        same |= (now != now) & (before != before)
    return not bool(same.all())


# --- kinds --------------------------------------------------------------------------------------


def _is_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and type(value) is getattr(numpy, "ndarray", None)


def _is_pandas(value: Any) -> bool:
    pandas = sys.modules.get("pandas")
    kinds = (getattr(pandas, "DataFrame", None), getattr(pandas, "Series", None))
    return pandas is not None and type(value) in kinds


def _is_polars(value: Any) -> bool:
    polars = sys.modules.get("polars")
    kinds = (getattr(polars, "DataFrame", None), getattr(polars, "Series", None))
    return polars is not None and type(value) in kinds

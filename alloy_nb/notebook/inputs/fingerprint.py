"""What a prompt refers to, as a hash: a replay holds only while it is the same.

A prompt tells the model the type and the shape of ``@df``; the answer depends on the values too.
They are hashed where that is quick and sure: numbers, texts, containers of these, arrays and
tables of pandas and Polars. Of a cell, an exception, a figure and a file, what was sent is hashed.
Of anything else the description counts.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from alloy_nb.notebook.inputs.schema import describe

__all__ = ["fingerprint", "hash_of"]

# More is not hashed whole: it would hold up the cell.
_MOST_BYTES = 256_000_000
_MOST_ITEMS = 100_000


def fingerprint(names: Iterable[str], values: Mapping[str, Any]) -> str:
    """Return a hash of the values of these names; ``""`` of none. Never raises."""
    whole = hashlib.sha256()
    there = False
    for name in sorted(set(names)):
        there = True
        whole.update(hash_of(name, values.get(name)))
    return whole.hexdigest()[:32] if there else ""


def hash_of(name: str, value: Any, *, most_bytes: int = _MOST_BYTES) -> bytes:
    """Return a hash of one value; of one that is larger, its description counts."""
    whole = hashlib.sha256(f"{name}:{describe(name, value)}\n".encode("utf-8", "replace"))
    try:
        whole.update(_content(value, most_bytes) or b"")
    except Exception:  # a user's object may fail anywhere; its description counts then
        return whole.digest()
    return whole.digest()


def _content(value: Any, most: int) -> bytes | None:
    pandas, numpy, polars = (sys.modules.get(name) for name in ("pandas", "numpy", "polars"))
    if pandas is not None and isinstance(value, (pandas.DataFrame, pandas.Series, pandas.Index)):
        if value.size > most // 8:
            return None
        hashed = pandas.util.hash_pandas_object(value, index=not isinstance(value, pandas.Index))
        return bytes(hashed.to_numpy().tobytes())
    if polars is not None and isinstance(value, polars.DataFrame):
        if value.height * value.width > most // 8:
            return None
        return bytes(value.hash_rows().to_numpy().tobytes())
    if numpy is not None and isinstance(value, numpy.ndarray):
        if value.nbytes > most or value.dtype.hasobject:
            return None
        return hashlib.sha256(value.tobytes()).digest()
    if type(value) is tuple and any(type(item) not in _PLAIN for item in value):
        return b"".join(_content(item, most) or b"-" for item in value)
    return _plain(value)


_PLAIN = (type(None), bool, int, float, complex, str, bytes)


def _plain(value: Any) -> bytes | None:
    """Return a plain value's text, as long as everything in it is plain."""
    left = _MOST_ITEMS

    def is_plain(item: Any) -> bool:
        nonlocal left
        left -= 1
        if left < 0:
            return False
        if item is None or type(item) in _PLAIN:
            return True
        if type(item) in (list, tuple):
            return all(map(is_plain, item))
        return type(item) is dict and all(is_plain(k) and is_plain(v) for k, v in item.items())

    if not is_plain(value):
        return None
    return hashlib.sha256(repr(value).encode("utf-8", "replace")).digest()

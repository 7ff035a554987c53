"""What a prompt refers to, as a hash: a replay holds only while it is the same.

A prompt tells the model the type and the shape of ``@df``; the answer depends on the values too.
They are hashed where that is quick and sure: numbers, texts, containers of these, arrays and
tables of pandas and Polars. Of anything else the description counts.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from alloy_nb.notebook.references import describe

__all__ = ["fingerprint"]

# More is not hashed whole: it would hold up the cell.
_MOST_BYTES = 256_000_000
_MOST_ITEMS = 100_000


def fingerprint(names: Iterable[str], namespace: Mapping[str, Any]) -> str:
    """Return a hash of the values of these names; ``""`` of none. Never raises."""
    whole = hashlib.sha256()
    there = False
    for name in sorted(set(names)):
        there = True
        whole.update(f"{name}:{describe(name, namespace.get(name))}\n".encode("utf-8", "replace"))
        whole.update(_of(namespace.get(name)))
    return whole.hexdigest()[:32] if there else ""


def _of(value: Any) -> bytes:
    try:
        return _content(value) or b""
    except Exception:  # a user's object may fail anywhere; its description counts then
        return b""


def _content(value: Any) -> bytes | None:
    pandas, numpy, polars = (sys.modules.get(name) for name in ("pandas", "numpy", "polars"))
    if pandas is not None and isinstance(value, (pandas.DataFrame, pandas.Series, pandas.Index)):
        if value.size > _MOST_BYTES // 8:
            return None
        hashed = pandas.util.hash_pandas_object(value, index=not isinstance(value, pandas.Index))
        return bytes(hashed.to_numpy().tobytes())
    if polars is not None and isinstance(value, polars.DataFrame):
        return bytes(value.hash_rows().to_numpy().tobytes())
    if numpy is not None and isinstance(value, numpy.ndarray):
        if value.nbytes > _MOST_BYTES or value.dtype.hasobject:
            return None
        return hashlib.sha256(value.tobytes()).digest()
    return _plain(value)


def _plain(value: Any) -> bytes | None:
    """Return a plain value's text, as long as everything in it is plain."""
    left = _MOST_ITEMS

    def is_plain(item: Any) -> bool:
        nonlocal left
        left -= 1
        if left < 0:
            return False
        if item is None or type(item) in (bool, int, float, complex, str, bytes):
            return True
        if type(item) in (list, tuple):
            return all(map(is_plain, item))
        return type(item) is dict and all(is_plain(k) and is_plain(v) for k, v in item.items())

    if not is_plain(value):
        return None
    return hashlib.sha256(repr(value).encode("utf-8", "replace")).digest()

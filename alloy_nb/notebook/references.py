"""What ``@name`` in a prompt tells the model: a variable's name, type, shape and column types.

Never its rows. A name that is no variable stays as it is: e-mail addresses, decorators and handles
are text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Resolved", "describe", "resolve"]

# Not after a word, a dot, a slash or another @: a@b.c, example.org/@ada and @@x are no references;
# \@x is meant literally.
_REFERENCE = re.compile(r"(?<![\w./@\\])@([A-Za-z_]\w*)")
_MOST_COLUMNS = 200
_LONGEST_NAME = 120


@dataclass(frozen=True, slots=True)
class Resolved:
    """A prompt with what its references mean, and the names that mean nothing here."""

    text: str
    names: tuple[str, ...]
    unknown: tuple[str, ...]


def resolve(prompt: str, namespace: Mapping[str, Any]) -> Resolved:
    r"""Append a description of each variable that the prompt refers to.

    The prompt itself is not changed, but for ``\@name``, which stands for a literal ``@name``.
    """
    found = dict.fromkeys(_REFERENCE.findall(prompt))
    names = tuple(name for name in found if name in namespace)
    unknown = tuple(name for name in found if name not in namespace)
    blocks = [
        f'<reference name="{name}">\n{describe(name, namespace[name])}\n</reference>'
        for name in names
    ]
    text = re.sub(r"\\(@[A-Za-z_])", r"\1", prompt)
    return Resolved("\n\n".join([text, *blocks]), names, unknown)


def describe(name: str, value: Any) -> str:
    """Return one line of type and shape, and one for each column of a table. Never raises."""
    try:
        return "\n".join([f"{name}: {_kind(value)}", *_columns(value)])
    except Exception as error:  # a user's object may fail anywhere; its type is always known
        return f"{name}: {_type_name(value)} (not described: {type(error).__name__})"


def _kind(value: Any) -> str:
    kind = _type_name(value)
    shape = getattr(value, "shape", None)
    if _is_table(value) and shape is not None:
        rows, columns = shape[0], shape[1]
        return f"{kind}, {rows} rows × {columns} columns"
    if isinstance(shape, tuple) and all(isinstance(n, int) for n in shape):
        size = " × ".join(str(n) for n in shape) or "scalar"
        dtype = getattr(value, "dtype", None)
        return f"{kind}, shape {size}" + (f", {_dtype(dtype)}" if dtype is not None else "")
    if isinstance(value, (str, bytes, list, tuple, dict, set, frozenset)):
        return f"{kind}, length {len(value)}"
    return kind


def _columns(value: Any) -> list[str]:
    if not _is_table(value):
        return []
    names, types = list(value.columns), list(value.dtypes)
    pairs = list(zip(names, types, strict=False))[:_MOST_COLUMNS]
    rows = [f"  {_column_name(name)}: {_dtype(dtype)}" for name, dtype in pairs]
    if len(names) > _MOST_COLUMNS:
        rows.append(f"  ... and {len(names) - _MOST_COLUMNS} more columns")
    return rows


def _is_table(value: Any) -> bool:
    """Return whether this is a table of pandas, Polars or their like, without importing any."""
    return (
        not isinstance(value, type)
        and hasattr(value, "columns")
        and hasattr(value, "dtypes")
        and len(getattr(value, "shape", ())) == 2
    )


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


def _type_name(value: Any) -> str:
    kind = type(value)
    module = kind.__module__.partition(".")[0]
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"

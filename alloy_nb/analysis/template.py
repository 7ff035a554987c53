"""Prompts with the columns of a row in braces: ``"Label the sentiment of: {review}"``.

A brace that is meant as one is doubled, as in Python's own format strings. Only columns can be
named: no attributes and no items of what is in them. What follows a colon says how a value is
written (``{price:.2f}``).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from alloy_nb.engine.agent import Prompt
from alloy_nb.engine.checks import shown
from alloy_nb.errors import ConfigError
from alloy_nb.messages import Document, Image, Message, Text

__all__ = ["VALUE", "Empty", "Template", "is_missing"]

VALUE = "value"
"""What the one value of a row is called that has no columns."""

_PARTS = (Text, Image, Document)
_SHOWN = 12


class Empty(Exception):
    """A row has nothing to ask about; the text says what is missing."""


class Template:
    """A prompt for every row.

    Args:
        prompt: A text with columns in braces, or a function of the row that returns a prompt; it
            is given a mapping of columns, or the value itself where there are no columns.
        columns: The names of the columns, or ``None`` where rows are values.

    Raises:
        ConfigError: It names a column that is not there, or none at all; or a brace is alone.
    """

    def __init__(
        self, prompt: str | Callable[[Any], Prompt | None], columns: Sequence[str] | None
    ) -> None:
        self._names = (VALUE,) if columns is None else tuple(columns)
        self._is_bare = columns is None
        self._function = None if isinstance(prompt, str) else _function(prompt)
        self._pieces = _pieces(prompt, self._names) if isinstance(prompt, str) else []
        self.used = tuple(dict.fromkeys(self._names[n] for _, n, _ in self._pieces if n >= 0))
        """The columns that it names."""

    def prompt(self, values: Sequence[Any]) -> Prompt:
        """Return what is said of a row, whose values come in the order of the columns.

        Raises:
            Empty: There is nothing in the row to ask about.
        """
        if self._function is not None:
            return self._from_function(values)
        filled = [values[n] for _, n, _ in self._pieces if n >= 0]
        if all(_is_blank(value) for value in filled):
            raise Empty(f"nothing was asked: {' and '.join(self.used)} is empty")
        if any(isinstance(value, _PARTS) for value in filled):
            return self._parts(values)
        return "".join([self._written(piece, values) for piece in self._pieces])

    def _written(self, piece: tuple[str, int, str], values: Sequence[Any]) -> str:
        literal, number, spec = piece
        if number < 0:
            return literal
        value = values[number]
        if type(value) is str and not spec:
            return literal + value
        return literal + ("" if is_missing(value) else format(value, spec))

    def _parts(self, values: Sequence[Any]) -> list[str | Text | Image | Document]:
        """Return the prompt around values that are pictures and documents."""
        parts: list[str | Text | Image | Document] = []
        for piece in self._pieces:
            literal, number, _ = piece
            if number >= 0 and isinstance(values[number], _PARTS):
                parts += [literal, values[number]] if literal.strip() else [values[number]]
            elif text := self._written(piece, values):
                before = parts.pop() if parts and isinstance(parts[-1], str) else ""
                parts.append(f"{before}{text}")
        return parts

    def _from_function(self, values: Sequence[Any]) -> Prompt:
        assert self._function is not None  # noqa: S101  # for the type checker
        given = values[0] if self._is_bare else dict(zip(self._names, values, strict=True))
        made = self._function(given)
        if made is None or (isinstance(made, str) and not made.strip()):
            raise Empty("nothing was asked: prompt() returned nothing for this row")
        if not isinstance(made, (str, Message, Sequence)):
            raise ConfigError(f"prompt() must return a text or a message, not {shown(made)}.")
        return made


def is_missing(value: Any) -> bool:
    """Return whether a value stands for none: ``None``, NaN of any kind, and pandas' own two."""
    if value is None:
        return True
    if isinstance(value, Decimal):
        return value.is_nan()
    if isinstance(value, float) or _is_scalar(value):
        return bool(value != value)  # which is what NaN is
    return type(value).__name__ in ("NAType", "NaTType")


def _is_scalar(value: Any) -> bool:
    return type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0


def _is_blank(value: Any) -> bool:
    return not value.strip() if isinstance(value, str) else is_missing(value)


def _function(prompt: Any) -> Callable[[Any], Prompt | None]:
    if callable(prompt) and not isinstance(prompt, type):
        function: Callable[[Any], Prompt | None] = prompt
        return function
    raise ConfigError(
        f"prompt must be a text with columns in braces, or a function of a row, not {shown(prompt)}"
    )


# A doubled brace, a column, or a brace that is neither.
_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def _pieces(prompt: str, names: tuple[str, ...]) -> list[tuple[str, int, str]]:
    """Return the literal texts, each with the number of the column that follows it, or -1."""
    pieces: list[tuple[str, int, str]] = []
    unknown: list[str] = []
    literal, at = "", 0
    for found in _BRACES.finditer(prompt):
        literal += prompt[at : found.start()]
        at = found.end()
        if found[1] is None:
            if found[0] not in ("{{", "}}"):
                raise ConfigError(f"A {found[0]} in the prompt stands alone. {_HINT}")
            literal += found[0][0]
            continue
        number, spec = _column(found[1], names)
        if number < 0:
            unknown.append(found[1])
        pieces.append((literal, number, spec))
        literal = ""
    pieces.append((literal + prompt[at:], -1, ""))
    if unknown:
        raise ConfigError(_unknown(unknown, names))
    if len(pieces) == 1:
        raise ConfigError(
            f"The prompt would be the same for every row: name a column in braces ({_list(names)})."
        )
    return pieces


def _column(inside: str, names: tuple[str, ...]) -> tuple[int, str]:
    """Return the number of a column and how it is written; it may have a colon in its name."""
    name, spec = inside, ""
    while name not in names:
        name, colon, more = name.rpartition(":")
        if not colon:
            return -1, ""
        spec = f"{more}:{spec}" if spec else more
    return names.index(name), spec


_HINT = "Write {{ and }} for braces that are meant as such."


def _unknown(unknown: list[str], names: tuple[str, ...]) -> str:
    wanted = ", ".join(f"{{{name}}}" for name in dict.fromkeys(unknown))
    what = "a column that is not" if len(set(unknown)) == 1 else "columns that are not"
    near = difflib.get_close_matches(unknown[0], names, n=1)
    hint = f" Did you mean {{{near[0]}}}?" if near else ""
    return f"The prompt names {what} there: {wanted}.{hint} There are: {_list(names)}. {_HINT}"


def _list(names: tuple[str, ...]) -> str:
    if not names:
        return "no columns"
    shown_names = ", ".join(f"{{{name}}}" for name in names[:_SHOWN])
    return f"{shown_names} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown_names

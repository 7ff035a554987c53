"""What may leave the kernel: one dial, and the one place where things become text for the model.

==============  ==================================================================================
``none``        nothing of the kernel, not even names: whether code ran, and where it failed
``names``       names and types
``schema``      also shapes, and the names and types of columns; never a value
``sample:N``    also values: the first N rows, items or lines of each output, each of them cut
``full``        all that code prints, shows and returns; ``@name`` in a prompt still sends a schema
==============  ==================================================================================

What is not sent is shown to the person in the cell all the same, and counted for the model.

How the hard cases of ``schema`` are decided:

- A text is never told, only that there is one. So what is printed and displayed, and the message of
  an exception, are counted; of an exception its type is told, and the line of the model's own code.
- A column's name is told where it stands in the code that the model wrote, or where it was a
  column's of a table of the person's before the model's code ran, and is no value of any table
  (`columns`). A pivoted table has values for names: they are numbered instead.
- The index, its name, categories and all else in a type's brackets are values, and are not told.
- A type's name is told where source code says it: ``type(value, (), {})`` tells nothing.
- A figure shows values: no picture goes below ``full``.

The dial keeps an answer from carrying the data along. It is no wall against code that was written
to smuggle: whoever may run code can say a number by the length of a list. Approval is that wall.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Literal

from alloy_nb.errors import ConfigError
from alloy_nb.notebook.inputs import exceptions
from alloy_nb.notebook.inputs.exceptions import words_of
from alloy_nb.notebook.inputs.schema import Outline, describe, is_table, type_name
from alloy_nb.notebook.inputs.sources import without_values

__all__ = ["KEY", "LEVELS", "MEANING", "Dial"]

Level = Literal["none", "names", "schema", "sample", "full"]

KEY = "data"
"""Where a run's ``context`` has its dial, or the level as text."""

LEVELS = ("none", "names", "schema", "sample:N", "full")
MEANING = {
    "none": "nothing of the kernel is sent, not even names; the model hears whether code ran",
    "names": "names and types are sent",
    "schema": "types, shapes and columns are sent, never a value",
    "sample": "the first {rows} rows, items or lines of each output are sent, cut to a width",
    "full": "what code returns is sent; @names send the schema only",
}

_ORDER: tuple[Level, ...] = ("none", "names", "schema", "sample", "full")
_MOST_ROWS = 10_000
_WIDTH = 200
_ITEMS = (list, tuple, set, frozenset)
_SCALARS = (bool, int, float, complex, type(None))
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = _WIDTH
_REPR.maxlist = _REPR.maxtuple = _REPR.maxset = _REPR.maxfrozenset = _REPR.maxdict = 20


@dataclass(frozen=True, slots=True)
class Dial:
    """How much of what is in the kernel goes to the model.

    Args:
        level: See the table above.
        rows: How many rows, items and lines of ``sample`` go.
        columns: Names that may be told: of columns of the person's tables, in the model's code.
        code: More that the model wrote, whose words it knows.
    """

    level: Level = "full"
    rows: int = 0
    columns: Container[str] = field(default=frozenset(), repr=False)
    code: str = field(default="", repr=False)

    @classmethod
    def parse(cls, text: str) -> Dial:
        """Return the dial that a person set, in the words of `LEVELS`.

        Raises:
            ConfigError: There is no such level.
        """
        word, colon, number = text.strip().lower().partition(":")
        if not colon:
            for level in ("none", "names", "schema", "full"):
                if word == level:
                    return cls(level)
        elif word == "sample" and re.fullmatch(r"[0-9]{1,5}", number):
            rows = int(number)
            if 1 <= rows <= _MOST_ROWS:
                return cls("sample", rows)
        raise ConfigError(
            f"data {text!r}: use one of {', '.join(LEVELS)}, where N is a number of rows up to "
            f"{_MOST_ROWS:,}, such as sample:5."
        )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Dial:
        """Return the dial of a run, from its ``context``; without one, all is sent.

        There it stands as a dial, as text, or as a function that returns the dial of the moment.
        """
        given = values.get(KEY)
        if given is None:
            return cls()
        if callable(given):
            given = given()
        return given if isinstance(given, Dial) else cls.parse(str(given))

    def __str__(self) -> str:
        return f"sample:{self.rows}" if self.level == "sample" else self.level

    @property
    def width(self) -> tuple[int, int]:
        """How much it lets through, to be compared with another's."""
        return _ORDER.index(self.level), self.rows

    @property
    def meaning(self) -> str:
        """What it does, in a line."""
        return MEANING[self.level].format(rows=self.rows)

    def knowing(self, columns: Container[str] | None = None, *, code: str = "") -> Dial:
        """Return the dial with the names that may be told, and with code whose words may be."""
        return replace(
            self, columns=self.columns if columns is None else columns, code=code or self.code
        )

    # --- what the python tool answers -------------------------------------------------------------

    @property
    def images(self) -> bool:
        """Whether pictures go."""
        return self.level == "full"

    def printed(self, text: str) -> str:
        """Return what the model is told of what was printed."""
        return self._text(text, "printed")

    def displayed(self, text: str) -> str:
        """Return what the model is told of what was displayed."""
        return self._text(text, "displayed")

    def value(self, value: object, text: str | None) -> str | None:
        """Return what the model is told of a value; `text` is how the notebook prints it."""
        if self.level == "full":
            return text
        if value is None:
            return None
        match self.level:
            case "none":
                return self._withheld("a value")
            case "names":
                return self._withheld(f"a value of type {self._outline.type_of(type(value))}")
            case "schema":
                return f"{self._outline.of(value)}\n{self._withheld('its values')}"
        return self._sample(value, text)

    def failed(self, error: BaseException, traceback_text: str, code: str) -> str:
        """Return what the model is told of its code's failure."""
        if self.level == "full":
            return traceback_text
        place = exceptions.place(error, code)
        if self.level == "none":
            return f"The code failed{place and f' on {place}'}. {self._withheld('why it failed')}"
        # The model knows the words of its own code, and none of the person's.
        known = self.knowing(code=code) if exceptions.is_of_the_model(error) else self
        told = exceptions.told(error, code, known._outline)
        if self.level == "sample":
            return f"{told}\n{self._lines(exceptions.message(error))}"
        return f"{told}\n{self._withheld('the message and the traceback')}"

    # --- what a prompt refers to ------------------------------------------------------------------

    def described(self, name: str, value: Any) -> str:
        """Return what the model is told of a variable, as `name`; nothing at ``none``."""
        match self.level:
            case "none":
                return ""
            case "names":
                return f"{name}: {self._outline.type_of(type(value))}"
            case "schema":
                return f"{name}: {self._outline.of(value)}"
            case "sample":
                rows = self._rows(value)
                return describe(name, value) + (f"\n{rows}" if rows else "")
        return describe(name, value)

    def source(self, code: str) -> str:
        """Return what the model is told of code that the person wrote; nothing at ``none``."""
        match self.level:
            case "none":
                return ""
            case "names":
                return self._withheld(f"code of {_lines(code)}")
            case "schema":
                told = without_values(code, self._outline.is_known)
                return (
                    self._withheld(f"{_lines(code)} that are not Python") if told is None else told
                )
        return code

    # --- what other tools answer ------------------------------------------------------------------

    def answered(self, name: str, text: str, *, failed: bool = False) -> str:
        """Return what the model is told of another tool's answer."""
        did = f"{name} failed" if failed else f"{name} answered"
        match self.level:
            case "full":
                return text
            case "sample":
                return self._lines(text)
            case "none":
                return self._withheld(did)
        return self._withheld(f"{did} with {_lines(text)}")

    def withheld(self, what: str) -> str:
        """Return the line that stands where something is not sent."""
        return self._withheld(what)

    # --- inside -----------------------------------------------------------------------------------

    @property
    def _outline(self) -> Outline:
        return Outline(_Known(self.columns, self.code))

    def _withheld(self, what: str) -> str:
        return f"[{what}, shown to the user, not sent: --data {self}]"

    def _text(self, text: str, did: str) -> str:
        if self.level == "full":
            return text
        if not text.strip():
            return text and "\n"  # how long a blank is may be a value
        if self.level == "sample":
            return self._lines(text)
        if self.level == "none":
            return self._withheld("output")
        return self._withheld(f"{did} {_lines(text)}")

    def _lines(self, text: str) -> str:
        """Return the first lines, each cut to a width."""
        lines = text.splitlines()
        told = [line if len(line) <= _WIDTH else f"{line[:_WIDTH]}..." for line in lines]
        if len(lines) > self.rows:
            more = self._withheld(f"{_counted(len(lines) - self.rows, 'more line')}")
            return "\n".join([*told[: self.rows], more])
        return "\n".join(told)

    def _sample(self, value: Any, text: str | None) -> str | None:
        if issubclass(type(value), str):
            return self._lines(text or value)
        rows = self._rows(value)
        if rows:
            return f"{self._outline.type_of(type(value))}, the first of {_size(value)}\n{rows}"
        return None if text is None else self._lines(text)

    def _rows(self, value: Any) -> str:
        """Return the first rows or items of what has any. Never raises."""
        try:
            if is_table(value) or _is_column(value):
                return self._cut(_first(value, self.rows))
            if type(value) in _ITEMS:
                items = islice(value, self.rows)
                return self._cut("\n".join(_short(item) for item in items))
            if type(value) is dict:
                pairs = islice(value.items(), self.rows)
                return self._cut("\n".join(f"{_short(k)}: {_short(v)}" for k, v in pairs))
        except Exception:  # a user's object may fail anywhere
            return ""
        return ""

    def _cut(self, text: str) -> str:
        """Cut each line; a table's head and its rows are one line each."""
        wide = 5 * _WIDTH
        return "\n".join(
            line if len(line) <= wide else f"{line[:wide]}..." for line in text.splitlines()
        )


@dataclass(frozen=True, slots=True)
class _Known:
    """Whether a name may be told."""

    columns: Container[str]
    code: str

    def __call__(self, name: str) -> bool:
        return name in self.columns or name in words_of(self.code)


def _size(value: Any) -> str:
    return _counted(len(value), "row" if hasattr(value, "shape") else "item")


def _is_column(value: Any) -> bool:
    return (
        not issubclass(type(value), type)
        and callable(getattr(value, "head", None))
        and len(getattr(value, "shape", ())) == 1
    )


def _first(value: Any, rows: int) -> str:
    head = value.head(rows)
    if hasattr(head, "to_string"):  # pandas
        named: Callable[..., str] = head.to_string
        return named(max_colwidth=_WIDTH) if is_table(head) else named()
    return str(head)


def _short(item: Any) -> str:
    """Return an item's text; what may run code of the user's is told by its type."""
    if type(item) in _SCALARS or type(item) in (str, bytes, dict, list, tuple, set, frozenset):
        text = _REPR.repr(item)
        return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}..."
    text = str(item) if type_name(item).startswith(("datetime.", "decimal.", "numpy.")) else ""
    return text[:_WIDTH] or f"<{type(item).__name__}>"


def _lines(text: str) -> str:
    return _counted(max(1, len(text.splitlines())), "line")


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"

"""An exception, told by its type and by the line of the code that raised it; never its message.

A message has values in it: ``KeyError: 'Ada'``, ``could not convert string to float: 'Ada'``. What
goes is what whoever wrote the code knows: their own line, and a name that stands in their code.
"""

from __future__ import annotations

import ast
import linecache
import re
import traceback
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from alloy_nb.notebook.inputs.sources import without_values

if TYPE_CHECKING:
    from alloy_nb.notebook.inputs.schema import Outline

__all__ = ["is_of_the_model", "message", "place", "told", "words_of"]

_LONGEST_LINE = 200
_LONGEST_NAME = 120
_MOST_CAUSES = 5
# Ours, and the only texts that an exception can have and still be told.
_OWN = re.compile(
    r"stopped at the limit of [\d.]{1,6} s"
    r"|a tool cannot end the user's kernel"
    r"|input\(\) does not work in a tool; ask the user in your answer instead"
)


def place(error: BaseException, code: str) -> str:
    """Return which line of the code it was, as ``line 3 of 7``; ``""`` where nobody knows."""
    number = _line(error, code)
    return "" if number is None else f"line {number} of {len(code.splitlines())}"


def told(error: BaseException, code: str, outline: Outline) -> str:
    """Return type, place and line of an exception, and the types of those that led to it."""
    where = place(error, code)
    first = _head(error, outline) + (f" on {where}" if where else "")
    number = _line(error, code)
    if number is not None:
        first += _quoted(code.splitlines()[number - 1].strip(), error, outline)
    return "\n".join([first, *(f"  {line}" for line in _causes(error, outline))])


def is_of_the_model(error: BaseException) -> bool:
    """Return whether code of the python tool failed, and not the person's own."""
    files = (frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(map(_is_tool, files))


def message(error: BaseException) -> str:
    """Return what an exception says; its text is made by code that may fail."""
    try:
        return str(error)
    except Exception as failure:  # only the failure's type is known to be harmless
        return f"(its text could not be made: {type(failure).__name__})"


def _head(error: BaseException, outline: Outline) -> str:
    kind = outline.type_of(type(error))
    name = _name(error)
    if name is not None and outline.is_known(name):
        return f"{kind}: {name!r}"
    own = _OWN.fullmatch(message(error))
    return f"{kind}: {own[0]}" if own else kind


def _name(error: BaseException) -> str | None:
    """Return the one name that an exception is about, if it is about a name."""
    match error:
        case NameError() | AttributeError() | ImportError():
            name: object = error.name
        case KeyError() if len(error.args) == 1:
            name = error.args[0]
        case _:
            return None
    return name if type(name) is str and 0 < len(name) <= _LONGEST_NAME else None


def _causes(error: BaseException, outline: Outline) -> Iterator[str]:
    for _ in range(_MOST_CAUSES):
        if error.__cause__ is not None:
            error, how = error.__cause__, "caused by"
        elif error.__context__ is not None and not error.__suppress_context__:
            error, how = error.__context__, "while it handled"
        else:
            return
        yield f"{how} {outline.type_of(type(error))}"


def _line(error: BaseException, code: str) -> int | None:
    """Return the line of the code at which it was left last, on the way down."""
    lines = code.splitlines()
    found = None
    for frame, number in traceback.walk_tb(error.__traceback__):
        filename = frame.f_code.co_filename
        if _is_tool(filename) or _is_source(filename, lines):
            found = number
    return found if found is not None and 1 <= found <= len(lines) else None


def _quoted(line: str, error: BaseException, outline: Outline) -> str:
    """Return the line as it is where the model wrote it, and else without the values in it."""
    told = line if is_of_the_model(error) else without_values(line, outline.is_known)
    return f": {told[:_LONGEST_LINE]}" if told else ""


def _is_tool(filename: str) -> bool:
    return filename.startswith("<alloy python ")


def _is_source(filename: str, lines: list[str]) -> bool:
    return bool(lines) and [line.rstrip("\n") for line in linecache.getlines(filename)] == lines


@lru_cache(maxsize=256)
def words_of(code: str) -> frozenset[str]:
    """Return the names and the whole texts that stand in code: whoever wrote it knows them."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset(re.findall(r"[^\W\d]\w*", code))
    return frozenset(word for node in ast.walk(tree) for word in _words(node))


def _words(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
            yield name
        case ast.keyword(arg=str(name)):
            yield name
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield name
        case ast.alias(name=name, asname=other):
            yield from name.split(".")
            if other:
                yield other
        case ast.Constant(value=str(text)) if len(text) <= _LONGEST_NAME:
            yield text
        case ast.Constant(value=int(number)):
            yield str(number)

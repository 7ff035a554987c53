"""``--as TYPE``: an answer that is a value of a type.

::

    "list[Label]" ─▶ wanted ─▶ Typed ─▶ until_tool= ... Result.output ─▶ value_of ─▶ NAME
                      names, attributes, subscripts    rows ─▶ DataFrame

The type is named in the words of an annotation and never called: names of the notebook, of Python
and of `typing`, their attributes, and subscripts of types. A table is asked for as a list of rows,
``DataFrame`` with rows of any columns and ``DataFrame[Row]`` with those of a class.
"""

from __future__ import annotations

import ast
import builtins
import dataclasses
import importlib
import importlib.util
import operator
import sys
import types
import typing
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import typing_extensions
from IPython.core.error import UsageError
from pydantic import BaseModel

from alloy_nb.engine.agent import Agent
from alloy_nb.engine.middleware.base import Middleware, ModelNext
from alloy_nb.engine.run import Result, RunStatus
from alloy_nb.engine.structured import Structured, reminder
from alloy_nb.errors import ConfigError, Halted
from alloy_nb.events import ModelEvent
from alloy_nb.messages import Message, ToolResult
from alloy_nb.providers.base import ModelRequest

__all__ = ["Typed", "wanted"]

_CELL = str | int | float | bool | None
# Words of annotations that need no import in the notebook.
_WORDS: Mapping[str, Any] = {
    name: getattr(typing, name)
    for name in ("Any", "Literal", "Optional", "Union", "Annotated", "List", "Dict", "Tuple", "Set")
}
_EXTENSIONS = "typing_extensions"
_LONGEST = 500
# So often a model may answer in words, or with a value that is none of the type.
_TRIES = 4


@dataclass(frozen=True, slots=True)
class Typed:
    """What an answer is to be.

    Args:
        text: The type as it was written.
        structured: The tool that the model ends its turn with.
        library: ``pandas`` or ``polars`` where its value is the rows of a table.
        row: The class of the rows, if they are of one.
    """

    text: str
    structured: Structured
    library: str = ""
    row: Any = None

    def settings(self, agent: Agent, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of the turn; a model that does not get there is stopped early."""
        layers = chosen.get("middleware", agent.middleware)
        return {
            "until_tool": self.structured,
            "middleware": (*layers, _Patience(self.structured.spec.name, self.text)),
        }

    def value_of(self, result: Result) -> Any:
        """Return the value that a turn came to.

        Raises:
            AlloyError: It came to none.
        """
        name = self.structured.spec.name
        if any(call.name == name and call.error is None for call in result.tool_calls):
            return self._table(result.output) if self.library else result.output
        raise result.exception or Halted(
            f"There is no {self.text}: {_WHY.get(result.status, 'the model gave none')}. What it "
            "said is in the conversation."
        )

    def _table(self, rows: list[Any]) -> Any:
        plain = [_plain(row) for row in rows]
        library = importlib.import_module(self.library)
        # A table without rows has the columns of its class all the same.
        return library.DataFrame(plain or {name: [] for name in self._columns})

    @property
    def _columns(self) -> list[str]:
        if isinstance(self.row, type) and issubclass(self.row, BaseModel):
            return list(self.row.model_fields)
        return list(typing.get_type_hints(self.row)) if isinstance(self.row, type) else []


_WHY = {
    RunStatus.MAX_TURNS: "the turn reached its limit of replies (--max-turns)",
    RunStatus.BUDGET_EXCEEDED: "the limit on cost was reached",
    RunStatus.CANCELLED: "it was stopped",
}


def wanted(text: str, namespace: Mapping[str, Any], taken: tuple[str, ...] = ()) -> Typed:
    """Return what ``--as TEXT`` asks for.

    Args:
        text: A type, as an annotation.
        namespace: Where its names are looked up first.
        taken: The names of the tools that there are.

    Raises:
        UsageError: It is no type, or one that no model can be asked for.
    """
    reader = _Reader(text, namespace)
    tree = reader.tree()
    table = reader.table(tree)
    row = None
    if table:
        row = reader.row(tree)
        kind: Any = list[dict[str, _CELL]] if row is None else types.GenericAlias(list, row)
    else:
        kind = reader.type(tree)
        if not _is_type(kind):
            raise UsageError(f"--as {text}: this is a {type(kind).__name__}, and no type.")
        kind = _for_pydantic(kind)
    try:
        structured = Structured.of(kind, taken)
    except ConfigError as error:
        reason = str(error).rpartition(": ")[2]
        raise UsageError(f"--as {text}: no model can be asked for this type: {reason}") from None
    return Typed(text, structured, table, row)


class _Reader:
    """Reads a type without running anything but attribute access and subscripts of types."""

    def __init__(self, text: str, namespace: Mapping[str, Any]) -> None:
        self._text = text
        self._namespace = namespace

    def tree(self) -> ast.expr:
        """Return the text as an expression."""
        if len(self._text) > _LONGEST:
            raise UsageError(f"--as: a type of more than {_LONGEST} characters; name it first.")
        try:
            return ast.parse(self._text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise self._wrong("that is no type; in quotes where it has blanks") from None

    def table(self, node: ast.expr) -> str:
        """Return the library of a table, or ``""`` where the type is none."""
        if isinstance(node, ast.Subscript):
            node = node.value
        name = node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")
        if name != "DataFrame":
            return ""
        if isinstance(node, ast.Name) and name not in self._namespace:
            return self._installed()
        module = getattr(self.type(node), "__module__", "").partition(".")[0]
        return module if module in ("pandas", "polars") else ""

    def row(self, node: ast.expr) -> Any:
        """Return the class of a table's rows, or ``None``."""
        return _for_pydantic(self.type(node.slice)) if isinstance(node, ast.Subscript) else None

    def type(self, node: ast.expr) -> Any:
        """Return what an expression names."""
        match node:
            case ast.Name(id=name):
                return self._named(name)
            case ast.Attribute(value=inner, attr=name):
                return self._attribute(self.type(inner), name)
            case ast.Constant(value=value) if value in (None, ...) or isinstance(value, (str, int)):
                return value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as value)):
                return -value
            case ast.Tuple(elts=parts):
                return tuple(map(self.type, parts))
            case ast.List(elts=parts):
                return list(map(self.type, parts))
            case ast.Subscript(value=inner, slice=index):
                return self._subscript(self.type(inner), self.type(index))
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return self._either(self.type(left), self.type(right))
        raise self._wrong("use names, attributes and subscripts, such as list[Row] or int | None")

    def _named(self, name: str) -> Any:
        for place in (self._namespace, vars(builtins), _WORDS):
            if name in place:
                return place[name]
        raise self._wrong(f"there is no {name} in this notebook")

    def _attribute(self, of: Any, name: str) -> Any:
        if not isinstance(of, (types.ModuleType, type)):
            raise self._wrong(f"only modules and classes have types, and .{name} is of neither")
        try:
            return getattr(of, name)
        except Exception as error:  # a module may make its names when they are asked for
            raise self._wrong(f"there is no {name} ({type(error).__name__})") from None

    def _subscript(self, of: Any, index: Any) -> Any:
        if not (isinstance(of, type) or type(of).__module__ in ("typing", _EXTENSIONS)):
            raise self._wrong("only types have [...] in a type")
        try:
            return operator.getitem(of, index)
        except Exception as error:  # a class of the user's own may raise anything
            raise self._wrong(str(error) or type(error).__name__) from None

    def _either(self, left: Any, right: Any) -> Any:
        try:
            return operator.or_(left, right)
        except Exception as error:  # a class of the user's own may raise anything
            raise self._wrong(str(error) or type(error).__name__) from None

    def _installed(self) -> str:
        """Return the library of tables that the notebook uses, else one that is installed."""
        used = {v.__name__ for v in self._namespace.values() if isinstance(v, types.ModuleType)}
        for name in ("pandas", "polars"):
            if name in used:
                return name
        for name in ("pandas", "polars"):
            if name in sys.modules or importlib.util.find_spec(name) is not None:
                return name
        raise self._wrong("a table needs pandas or polars, and neither is installed")

    def _wrong(self, why: str) -> UsageError:
        return UsageError(f"--as {self._text}: {why}.")


class _Patience(Middleware):
    """Ends a turn in which the model does not come to its value."""

    def __init__(self, tool: str, text: str) -> None:
        self._tool = tool
        self._text = text

    def model(self, request: ModelRequest, next: ModelNext) -> AsyncIterator[ModelEvent]:  # noqa: A002
        """Count the tries since the prompt; after too many no request is sent."""
        tries = 0
        for message in reversed(request.messages):
            if _is_failed(message, self._tool):
                tries += 1
            elif message.role == "user" and not _has_results(message):
                break
        if tries >= _TRIES:
            raise Halted(
                f"The model gave no {self._text} in {_TRIES} tries. What it said is in the "
                "conversation; ask in other words, ask for a simpler type, or another model."
            )
        return next(request)


def _is_failed(message: Message, tool: str) -> bool:
    if message.role == "user" and message.text == reminder(tool):
        return True
    return any(
        isinstance(block, ToolResult) and block.name == tool and block.is_error
        for block in message.content
    )


def _has_results(message: Message) -> bool:
    return any(isinstance(block, ToolResult) for block in message.content)


def _plain(row: Any) -> Any:
    if isinstance(row, BaseModel):
        return row.model_dump()
    if dataclasses.is_dataclass(row) and not isinstance(row, type):
        return dataclasses.asdict(row)
    return row


def _is_type(kind: Any) -> bool:
    made_by = type(kind).__module__
    return kind is None or isinstance(kind, type) or made_by in ("types", "typing", _EXTENSIONS)


def _for_pydantic(kind: Any) -> Any:
    """Return a type that pydantic reads: before Python 3.12 it takes no TypedDict of `typing`."""
    if sys.version_info >= (3, 12):
        return kind
    if type(kind).__name__ == "_TypedDictMeta" and type(kind).__module__ == "typing":
        hints = typing.get_type_hints(kind, include_extras=True)
        every = {name: _for_pydantic(hint) for name, hint in hints.items()}
        optional: frozenset[str] = getattr(kind, "__optional_keys__", frozenset())
        named = {
            name: typing_extensions.NotRequired[hint] if name in optional else hint
            for name, hint in every.items()
        }
        make: Any = typing_extensions.TypedDict
        return make(kind.__name__, named)
    arguments = typing.get_args(kind)
    if not arguments or typing.get_origin(kind) in (typing.Literal, typing.Annotated):
        return kind
    changed = tuple(map(_for_pydantic, arguments))
    if changed == arguments:
        return kind
    origin = typing.get_origin(kind)
    if origin is types.UnionType or origin is typing.Union:
        return typing.Union[changed]  # noqa: UP007  # there is no | of a tuple
    return operator.getitem(origin, changed)

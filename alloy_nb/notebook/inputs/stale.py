"""Which answers no longer fit: a variable, a cell or a file that they were given has changed.

An answer depends on what its prompt refers to, and on the variables that its Python read. When it
is there, each of these is known by a hash; later it is looked up again and compared. What is a
moment and not a thing (``@last``, ``@error``, ``@plot``) does not grow old.
"""

from __future__ import annotations

import ast
import hashlib
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from alloy_nb.analysis.findings import findings_in
from alloy_nb.engine.calls.tool import ToolContext
from alloy_nb.engine.run import Result
from alloy_nb.engine.sessions.session import Session
from alloy_nb.errors import ToolError
from alloy_nb.markup.alongside import beginning
from alloy_nb.messages import Message
from alloy_nb.notebook.cells import cells_of
from alloy_nb.notebook.inputs.attached import attached
from alloy_nb.notebook.inputs.fingerprint import hash_of
from alloy_nb.notebook.inputs.references import Resolved
from alloy_nb.notebook.inputs.schema import is_table, type_name

__all__ = ["Inputs", "note"]

# To hash a million texts takes two seconds, at the end of each cell: of a larger table or array,
# rows at even distances stand for all.
_MOST_CELLS = 200_000
_MOST_BYTES = 64_000_000
_MOST_NAMES = 40
_PREVIEW = 50
_NOTHING = object()


@dataclass(frozen=True, slots=True)
class _Mark:
    """What a value was: its hash, who it was, and what can be said of it."""

    hash: bytes
    identity: int
    kind: str
    size: tuple[int, ...] = ()
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Given:
    """An answer with what it was given."""

    turn: int
    preview: str
    marks: Mapping[str, _Mark]
    files: ToolContext
    place: int
    answer: Message

    def is_in(self, session: Session) -> bool:
        """Return whether the answer is a part of the conversation still."""
        messages = session.messages
        return self.place < len(messages) and messages[self.place] == self.answer


_given: WeakKeyDictionary[Result, tuple[_Given, Inputs]] = WeakKeyDictionary()


class Inputs:
    """What the answers of a notebook were given.

    Args:
        shell: Whose cells they are; it tells which cell ran under which number.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._by_session: WeakKeyDictionary[Session, list[_Given]] = WeakKeyDictionary()
        self._cells = cells_of(shell)
        self._cells.listen(shell)

    def close(self) -> None:
        """Stop listening."""
        self._cells.silence(self._shell)

    def remember(self, session: Session, prompt: Resolved, result: Result) -> None:
        """Note what an answer was given, now that it is there."""
        if not result.turns or "replayed" in result.metadata:
            return
        files = ToolContext(session.agent.working_directory, session.agent.allowed_paths)
        names = [*prompt.names, *_noted(result), *_read(result)]
        marks = {}
        for name in list(dict.fromkeys(_things(names)))[:_MOST_NAMES]:
            value = self._now(name, files)
            if value is not _NOTHING and not issubclass(type(value), _UNTOLD):
                marks[name] = _mark(name, value)
        if not marks or not result.messages:
            return
        place = len(result.messages) - 1
        turn = sum(map(_is_prompt, result.messages))
        asked = beginning(prompt.text, _PREVIEW)
        one = _Given(turn, asked, marks, files, place, result.messages[-1])
        self._by_session.setdefault(session, []).append(one)
        _given[result] = one, self

    def count(self, session: Session) -> int:
        """Return how many answers of a session were given anything that can change."""
        return len(self._of(session))

    def stale(self, session: Session) -> list[list[str]]:
        """Return a row for each input that has changed, below a head."""
        rows = [["turn", "asked", "input", "how it changed"]]
        for given in self._of(session):
            for name, how in self.changes(given):
                rows.append([str(given.turn), given.preview, name, how])
        return rows

    def since(self, session: Session, turn: int, names: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Yield which of these names have changed since the answer of a turn, and how."""
        wanted = set(_things(names))
        of_turn = [given for given in self._of(session) if given.turn == turn]
        for given in of_turn[-1:]:
            yield from ((name, how) for name, how in self.changes(given) if name in wanted)

    def look(self, name: str) -> Any:
        """Return what a name or a cell such as ``In[3]`` stands for now, or ``None``."""
        value = self._now(name, ToolContext())
        return None if value is _NOTHING else value

    def changes(self, given: _Given) -> Iterator[tuple[str, str]]:
        """Yield what has changed since an answer, and how."""
        for name, mark in given.marks.items():
            value = self._now(name, given.files)
            how = "gone" if value is _NOTHING else _how(mark, _mark(name, value))
            if how:
                yield name, how

    # --- inside -----------------------------------------------------------------------------------

    def _of(self, session: Session) -> list[_Given]:
        return [given for given in self._by_session.get(session, ()) if given.is_in(session)]

    def _now(self, name: str, files: ToolContext) -> Any:
        """Return what a name stands for now."""
        if name.startswith("file:"):
            try:
                return attached(name.removeprefix("file:"), files).data
            except ToolError:
                return _NOTHING
        if name.startswith("In["):
            return self._cell(int(name[3:-1]))
        value: Any = self._shell.user_ns
        for step in name.split("."):
            try:
                value = (
                    value[step]
                    if issubclass(type(value), Mapping) or is_table(value)
                    else (getattr(value, step))
                )
            except Exception:  # it is not there any more, or fails when it is looked at
                return _NOTHING
        return value

    def _cell(self, number: int) -> Any:
        newest = self._cells.newest(number)
        typed = self._shell.user_ns.get("In", ())
        if newest is not None:
            return newest
        return typed[number] if number < len(typed) else _NOTHING


_UNTOLD = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type)


def note(result: Result) -> str:
    """Return a line for an answer that is shown again and no longer fits; ``""`` for others."""
    given, inputs = _given.get(result, (None, None))
    if given is None or inputs is None:
        return ""
    told = [f"{name} {how}" for name, how in inputs.changes(given)]
    return f"Since this answer: {'; '.join(told)}." if told else ""


def _is_prompt(message: Message) -> bool:
    return message.role == "user" and not any(b.type == "tool_result" for b in message.content)


def _things(names: Iterable[str]) -> Iterator[str]:
    """Yield what can change: of an expression, the variables in it."""
    for name in names:
        if name in ("last", "error", "plot") or name.startswith("Out["):
            continue
        if name.startswith("$("):
            yield from _loaded(name[2:-1])
        elif "[" in name and not name.startswith(("In[", "file:")):
            yield name.partition("[")[0]
        else:
            yield name


def _read(result: Result) -> Iterator[str]:
    """Yield the variables that the Python of an answer read."""
    for call in result.tool_calls:
        code = call.input.get("code")
        if call.name == "python" and isinstance(code, str):
            yield from _loaded(code)


def _noted(result: Result) -> Iterator[str]:
    """Yield the variables and cells on which the findings of an answer rest."""
    for finding in findings_in(result.messages):
        if any(call.id == finding.call_id for call in result.tool_calls):
            yield from (e.name for e in finding.evidence if e.kind in ("cell", "variable"))


def _loaded(code: str) -> list[str]:
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    ]


def _mark(name: str, value: Any) -> _Mark:
    if name.startswith(("In[", "file:")) and isinstance(value, (str, bytes)):
        data = value.encode("utf-8", "replace") if isinstance(value, str) else value
        return _Mark(hashlib.sha256(data.strip()).digest(), 0, "", (len(data),))
    size: tuple[int, ...] = ()
    columns: tuple[str, ...] = ()
    try:
        shape = getattr(value, "shape", None)
        if isinstance(shape, tuple) and all(isinstance(n, int) for n in shape):
            size = tuple(shape)
        elif isinstance(value, (str, bytes, list, tuple, dict, set, frozenset)):
            size = (len(value),)
        if is_table(value):
            columns = tuple(map(str, value.columns))
    except Exception:  # a user's object may fail anywhere
        size = ()
    told = hash_of(name, _thinned(value), most_bytes=_MOST_BYTES)
    return _Mark(told, id(value), type_name(value), size, columns)


def _thinned(value: Any) -> Any:
    try:
        size = int(value.size)
        if size <= _MOST_CELLS or isinstance(value, type):
            return value
        step = -(-size // _MOST_CELLS)
        if hasattr(value, "iloc"):
            return value.iloc[::step]
        return value.flat[::step] if hasattr(value, "flat") else value
    except Exception:  # it has no size, or fails when it is asked
        return value


def _how(before: _Mark, now: _Mark) -> str:
    """Return how a value changed; ``""`` where it is the same."""
    if before.hash == now.hash:
        return ""
    if not before.kind:  # a cell or a file
        return "has another text now"
    parts = []
    if before.kind != now.kind:
        parts.append(f"{before.kind} -> {now.kind}")
    if before.size != now.size and len(before.size) == len(now.size) and before.size:
        if before.size[0] != now.size[0]:
            what = "rows" if now.columns or now.kind.endswith("Series") else "length"
            parts.append(f"{what} {before.size[0]:,} -> {now.size[0]:,}")
        elif not now.columns:
            parts.append(f"shape {_shape(before.size)} -> {_shape(now.size)}")
    parts += [f"+ {name}" for name in now.columns if name not in before.columns][:5]
    parts += [f"- {name}" for name in before.columns if name not in now.columns][:5]
    if not parts:
        parts.append("other values")
    how = "in place" if before.identity == now.identity else "rebound"
    return f"{', '.join(parts)} ({how})"


def _shape(size: tuple[int, ...]) -> str:
    return " × ".join(f"{n:,}" for n in size)

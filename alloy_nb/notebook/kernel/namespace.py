"""What a turn did to the variables of the notebook, and how to take it back.

::

    begin(turn)                            a person asks
      before(turn, code) · after(turn)     each run of the python tool
    ended(turn) ─▶ [Change, ...]           the line below the answer
    restore(names) ─▶ [Restored, ...]      %alloy restore

Before the first code of a turn runs, each name is noted with the object that it means. Before each
piece of code, what it may change in place (`mutation`) is copied, where a copy can be had
(`copies`): lists, dicts, sets, arrays, tables of pandas and Polars. A name that is bound anew needs
no copy, since the old object is kept.

What this holds in memory, and for how long:

- Copies: 200 MB and 200,000 items in a turn, all together; what is larger is not copied.
- Old objects: only those whose names the turn changed or deleted, and 1 GB at the most.
- All this of the last 3 turns that changed something, and 1 GB over all of them; then the oldest
  is let go. `forget` lets go of everything.

The model is told nothing of this. It wrote the code, so it knows the names, and anything more
would have to pass the data dial. Values are never told, not to the person either: the line says
names, types and sizes.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from alloy_nb.notebook.kernel.copies import MISSING, Room, copied, differs, put_back, size_of
from alloy_nb.notebook.kernel.functions import is_other_function
from alloy_nb.notebook.kernel.mutation import touched

__all__ = ["Change", "Names", "Restored", "told"]

How = Literal["new", "rebound", "in place", "deleted"]

_SIGNS: dict[How, str] = {"new": "+", "rebound": "~", "in place": "~", "deleted": "-"}
_TURNS = 3
_KEPT_BYTES = 1_000_000_000
_COPIED_BYTES = 200_000_000
_COPIED_ITEMS = 200_000
_MOST_TOLD = 10
_IPYTHON = frozenset(("In", "Out", "exit", "quit", "get_ipython", "open"))


@dataclass(frozen=True, slots=True)
class Look:
    """What is told of a value: the word for its kind, and its sizes."""

    kind: str
    sizes: tuple[int, ...] = ()
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.size}".rstrip()

    @property
    def size(self) -> str:
        """Its size: ``1000×5``, ``3 items`` or nothing."""
        if self.unit:
            return f"{self.sizes[0]:d} {self.unit}{'s' * (self.sizes[0] != 1)}"
        return "×".join(map(str, self.sizes))


@dataclass(frozen=True, slots=True)
class Change:
    """One name that a turn changed: how, and what it meant before and after."""

    name: str
    how: How
    before: Look | None = None
    after: Look | None = None
    kept: bool = True
    """Whether it can be restored."""

    @property
    def sign(self) -> str:
        """``+``, ``~`` or ``-``."""
        return _SIGNS[self.how]

    def __str__(self) -> str:
        return f"{self.sign} {self.name}{self._what}"

    @property
    def _what(self) -> str:
        before, after = self.before, self.after
        if self.how == "deleted" or after is None:
            return ""
        if self.how == "new" or before is None:
            return f" {after}"
        extent = _extent(before, after)
        if self.how == "in place":
            return f" {extent or after} (in place)"
        return f" {extent}" if extent else f" {after} (new value)"


@dataclass(frozen=True, slots=True)
class Restored:
    """What became of a name that was to be restored; `why` it could not be, if so."""

    name: str
    text: str
    why: str = ""


@dataclass(slots=True)
class _Held:
    """What a name meant when the turn began."""

    value: Any
    look: Look
    copy: Any = MISSING


@dataclass(slots=True)
class _Kept:
    """What is kept of a change, so that it can be taken back."""

    change: Change
    value: Any = MISSING
    copy: Any = MISSING
    why: str = ""
    back: bool = False
    """Whether it was restored, so that a second time takes that back."""


@dataclass(slots=True)
class _Turn:
    held: dict[str, _Held] | None = None
    room: Room = field(default_factory=lambda: Room(_COPIED_BYTES, _COPIED_ITEMS))
    changes: dict[str, _Kept] = field(default_factory=dict)


class Names:
    """The variables of a notebook, and what the last turns did to them.

    Args:
        namespace: The variables.
        hidden: Names that are not the person's, with their values, as IPython keeps them.
    """

    def __init__(
        self, namespace: MutableMapping[str, Any], hidden: Mapping[str, Any] | None = None
    ) -> None:
        self._namespace = namespace
        self._hidden = hidden if hidden is not None else {}
        self._turns: dict[str, _Turn] = {}
        self._stack: list[dict[str, _Kept]] = []

    # --- while a turn runs ------------------------------------------------------------------------

    def begin(self, turn: str) -> None:
        """Note that a turn begins; nothing is looked at before its first code."""
        self._turns[turn] = _Turn()

    def before(self, turn: str, code: str) -> None:
        """Keep what `code` may change. Never fails the code: what goes wrong is not kept."""
        now = self._turns.setdefault(turn, _Turn())
        visible = self._visible()
        if now.held is None:
            now.held = {name: _Held(value, look(value)) for name, value in visible.items()}
        names = touched(code, visible)
        for name, held in now.held.items():
            wanted = names is None or name in names
            if wanted and held.copy is MISSING and visible.get(name, MISSING) is held.value:
                held.copy = copied(held.value, now.room)

    def after(self, turn: str) -> None:
        """Compare with how it was when the turn began."""
        now = self._turns.get(turn)
        if now is not None and now.held is not None:
            now.changes = _compared(now.held, self._visible())

    def ended(self, turn: str) -> list[Change]:
        """Return what a turn changed; it can be restored from now on."""
        now = self._turns.pop(turn, None)
        if now is None or not now.changes:
            return []
        _limit(now.changes.values())
        self._stack.append(now.changes)
        del self._stack[:-_TURNS]
        while len(self._stack) > 1 and _weight(self._stack) > _KEPT_BYTES:
            del self._stack[0]
        return [kept.change for kept in now.changes.values()]

    # --- afterwards -------------------------------------------------------------------------------

    def last(self) -> list[Change]:
        """Return what the last turn that changed something changed."""
        return [kept.change for kept in self._stack[-1].values()] if self._stack else []

    def before_last(self) -> dict[str, Any]:
        """Return what the names that the last turn changed meant before it, where that is kept."""
        last = self._stack[-1] if self._stack else {}
        kept = {n: k.value if k.copy is MISSING else k.copy for n, k in last.items() if not k.back}
        return {name: value for name, value in kept.items() if value is not MISSING}

    def restore(self, names: Iterable[str] = ()) -> list[Restored]:
        """Put variables back as they were before the turn that changed them last.

        Without names, all that the last turn changed or deleted; what it made stays, unless it is
        named. The same again takes it back: what was there is kept in turn.
        """
        wanted = list(dict.fromkeys(names))
        if not wanted and self._stack:
            last = self._stack[-1]
            changed = [n for n, kept in last.items() if kept.back or kept.change.how != "new"]
            wanted = changed or list(last)
        redone: dict[int, tuple[Any, Any]] = {}
        return [self._restored(name, redone) for name in wanted]

    def forget(self) -> None:
        """Let go of all that is kept."""
        self._turns.clear()
        self._stack.clear()

    # --- inside -----------------------------------------------------------------------------------

    def _visible(self) -> dict[str, Any]:
        return {
            name: value
            for name, value in list(self._namespace.items())
            if not name.startswith("_")
            and not (name in _IPYTHON and name in self._hidden)
            and self._hidden.get(name, MISSING) is not value
            and not issubclass(type(value), types.ModuleType)
        }

    def _restored(self, name: str, redone: dict[int, tuple[Any, Any]]) -> Restored:
        entry = next((one for one in reversed(self._stack) if name in one), None)
        if entry is None:
            return Restored(name, "", "the last turns did not change it")
        kept = entry[name]
        if kept.why:
            return Restored(name, "", kept.why)
        now = self._namespace.get(name, MISSING)
        seen = MISSING if now is MISSING else look(now)
        target, redo = _taken_back(kept, redone)
        if target is MISSING:
            self._namespace.pop(name, None)
        else:
            self._namespace[name] = target
        then = None if target is MISSING else look(target)
        back = Change(name, kept.change.how, None if seen is MISSING else seen, then)
        # Whatever the name meant a moment ago is what a second restore brings back.
        same = target is now and redo is not MISSING
        change = replace(back, how=_how(now, target))
        entry[name] = _Kept(change, now, redo if same else MISSING, back=True)
        return Restored(name, "is gone again" if then is None else str(then))


def told(changes: list[Change]) -> str:
    """Return the line that stands below an answer."""
    order = ("in place", "rebound", "deleted", "new")
    listed = sorted(changes, key=lambda change: order.index(change.how))
    parts = [str(change) for change in listed[:_MOST_TOLD]]
    if len(listed) > _MOST_TOLD:
        parts.append(f"{len(listed) - _MOST_TOLD} more: %alloy names")
    return " · ".join(parts)


def look(value: Any) -> Look:
    """Return what is told of a value. Never raises, and runs no code of the user's for data."""
    kind = type(value)
    if kind is types.FunctionType:
        return Look("function")
    if issubclass(kind, type):
        return Look("class")
    try:
        shape = getattr(value, "shape", None)
        if isinstance(shape, tuple) and shape and all(isinstance(n, int) for n in shape):
            if len(shape) == 1:
                return Look(kind.__name__, (int(shape[0]),), "value")
            return Look(kind.__name__, tuple(map(int, shape)))
        if kind in (str, bytes, bytearray):
            return Look(kind.__name__, (len(value),), "character" if kind is str else "byte")
        if issubclass(kind, (list, tuple, dict, set, frozenset)):
            return Look(kind.__name__, (len(value),), "item")
    except Exception:  # a user's object may fail anywhere; its type is always known
        return Look(kind.__name__)
    return Look(kind.__name__)


# --- comparing ----------------------------------------------------------------------------------


def _compared(held: Mapping[str, _Held], now: Mapping[str, Any]) -> dict[str, _Kept]:
    found: dict[str, _Kept] = {}
    for name, one in held.items():
        if name not in now:
            found[name] = _kept(name, "deleted", one, None)
        elif now[name] is not one.value:
            if _is_other(one.value, now[name]):
                found[name] = _kept(name, "rebound", one, look(now[name]))
        elif _changed_in_place(one):
            found[name] = _kept(name, "in place", one, look(one.value))
    for name, value in now.items():
        if name not in held:
            found[name] = _Kept(Change(name, "new", None, look(value)))
    return found


def _is_other(before: Any, now: Any) -> bool:
    """Tell whether a new value is another one.

    An equal number or text is not worth a line, nor a function that was defined again as it was.
    """
    if type(now) is types.FunctionType and type(before) is types.FunctionType:
        return is_other_function(now, before)
    return differs(now, before) if type(now) in (int, float, str, bool, bytes, complex) else True


def _changed_in_place(held: _Held) -> bool:
    if held.copy is not MISSING:
        return held.copy is not held.value and differs(held.value, held.copy)
    return look(held.value) != held.look


def _kept(name: str, how: How, held: _Held, after: Look | None) -> _Kept:
    lost = how == "in place" and held.copy is MISSING
    why = "it was changed in place, and is too large to be copied or no data" if lost else ""
    change = Change(name, how, held.look, after, kept=not lost)
    return _Kept(change, held.value, held.copy, why)


def _limit(changes: Iterable[_Kept]) -> None:
    """Let go of old objects that are larger than what may be kept."""
    left = _KEPT_BYTES
    for kept in changes:
        if kept.change.how not in ("rebound", "deleted"):
            continue
        left -= size_of(kept.value)
        if left < 0:
            kept.value = kept.copy = MISSING
            kept.why = "it is too large to be kept"
            kept.change = replace(kept.change, kept=False)


def _weight(stack: Iterable[Mapping[str, _Kept]]) -> int:
    values = (value for entry in stack for kept in entry.values() for value in _values(kept))
    return sum(size_of(value) for value in values)


def _values(kept: _Kept) -> Iterable[Any]:
    return (value for value in (kept.value, kept.copy) if value is not MISSING)


def _extent(before: Look, after: Look) -> str:
    """Return how a value's kind or size changed; nothing where neither did."""
    if before.kind != after.kind:
        return f"{before} → {after}"
    if before.sizes == after.sizes or not after.sizes:
        return ""
    if len(before.sizes) == len(after.sizes) == 2:
        (rows, columns), (more_rows, more_columns) = before.sizes, after.sizes
        if columns == more_columns:
            return f"{rows} → {more_rows} rows"
        if rows == more_rows:
            return f"{columns} → {more_columns} columns"
    if before.unit:
        return f"{before.sizes[0]} → {after.size}"
    return f"{before.size} → {after.size}"


# --- taking back --------------------------------------------------------------------------------


def _taken_back(kept: _Kept, redone: dict[int, tuple[Any, Any]]) -> tuple[Any, Any]:
    """Return what the name is to mean, and a copy of what a changed object held until now."""
    value, copy = kept.value, kept.copy
    if value is MISSING or copy is MISSING or not differs(value, copy):
        return value, redone.get(id(value), (None, MISSING))[1]
    if id(value) not in redone:  # two names may mean the same object
        present = copied(value, Room(_COPIED_BYTES, _COPIED_ITEMS))
        redone[id(value)] = put_back(value, copy), present
    return redone[id(value)]


def _how(now: Any, target: Any) -> How:
    if now is MISSING:
        return "new"
    return "deleted" if target is MISSING else "in place" if now is target else "rebound"

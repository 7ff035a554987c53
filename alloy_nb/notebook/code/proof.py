"""Running promoted steps again, apart from the user's variables, to see whether they hold.

The steps run on this thread, through the python tool itself, so that what they return is told in
the same words; but in a namespace of their own, which begins with copies of what they need. Nothing
is shown, and what a step can change besides is put back: figures, the folder, the environment,
random numbers. What code wrote to files or sent is not undone; `promote.effects` finds the usual
ways, and asks first.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import datetime
import decimal
import enum
import fractions
import os
import pathlib
import random
import re
import sys
import time
import types
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from alloy_nb.engine.calls.tool import ToolContext, ToolOutput
from alloy_nb.errors import ToolError
from alloy_nb.markup.plain import clean, one_line
from alloy_nb.notebook.code.names import bound, parsed
from alloy_nb.notebook.code.promote import Promoted, Step
from alloy_nb.notebook.kernel.copies import MISSING, Room, copied
from alloy_nb.notebook.kernel.namespace import Names
from alloy_nb.notebook.kernel.stopping import TimeIsUp, Watch
from alloy_nb.notebook.kernel.tool import python_tool

__all__ = ["prove"]

_NO_OUTPUT = "(no output)"
_WITHHELD = re.compile(r"\[[^\]\n]*, not sent: --data [^\]\n]*\]")
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
# The tool cuts longer results, and says so in the middle.
_LONG = 15_000
_FIRST = 5_000
_LINE = 100
_SHARED = (type, types.ModuleType, types.BuiltinFunctionType, types.FunctionType, range, slice)
_COPY_SECONDS = 5.0
_ATOMS = (
    *(bool, int, float, complex, str, bytes, type(None), datetime.date, datetime.time),
    *(datetime.timedelta, decimal.Decimal, enum.Enum, fractions.Fraction, uuid.UUID),
    *(frozenset, pathlib.PurePath, re.Pattern, *_SHARED),
)


def prove(
    made: Promoted, shell: Any, limit: float, *, before: Mapping[str, Any] | None = None
) -> str:
    """Run the steps again and return what came of it, as a sentence or a few lines.

    Args:
        made: What was promoted.
        shell: Whose variables the copies are of.
        limit: Seconds that it may take, all together.
        before: What variables meant before the last turn changed them: where the steps give
            something else on what there is now, they run once more on these.
    """
    deadline = time.monotonic() + limit
    now = _proven(made, shell, deadline, shell.user_ns)
    earlier = {name: value for name, value in (before or {}).items() if name in made.inputs}
    if now.holds or not earlier:
        return now.told + ("" if now.holds else _hint(made))
    then = _proven(made, shell, deadline, {**shell.user_ns, **earlier})
    if then.holds:
        return f"{then.told} It began with {', '.join(earlier)} as before the turn."
    return now.told + _hint(made)


@dataclass(frozen=True, slots=True)
class _Proof:
    """Whether the steps gave the same again, and what is told of it."""

    holds: bool
    told: str


def _proven(made: Promoted, shell: Any, deadline: float, values: Mapping[str, Any]) -> _Proof:
    try:
        namespace = _inputs(made, values, shell.user_ns)
    except _CannotCopy as reason:
        return _Proof(False, f"It was not run again: {reason}.")
    began = time.monotonic()
    results: list[str] = []
    with _apart(shell, namespace):
        steps = [*([Step("\n".join(made.imports), "")] if made.imports else []), *made.steps]
        for number, step in enumerate(steps, 1 - bool(made.imports)):
            text, failure = _run(shell, step.code, deadline)
            if failure:
                which = f"step {number}" if number else "its imports"
                return _Proof(
                    False, f"Run again apart from your variables, {which} failed: {failure}"
                )
            results.append(text)
    compared = results[len(steps) - len(made.steps) :]
    return _compared(made, compared, time.monotonic() - began)


def _compared(made: Promoted, results: list[str], seconds: float) -> _Proof:
    pairs = list(zip(made.steps, results, strict=True))
    withheld = sum(bool(_WITHHELD.search(step.result)) for step, _ in pairs)
    wrong = [(n, step, now) for n, (step, now) in enumerate(pairs, 1) if not _same(step, now)]
    if wrong:
        number, step, now = wrong[0]
        before, after = _first_difference(step.result, now)
        more = f"\n{len(wrong) - 1} more steps differ." if len(wrong) > 1 else ""
        return _Proof(
            False,
            f"Run again apart from your variables, step {number} gives something else:\n"
            f"  then: {before}\n  now:  {after}{more}",
        )
    count = len(pairs) - withheld
    if not count:
        return _Proof(
            True,
            "It ran again without an error. Its results were withheld from the model, so there is "
            "nothing to compare them with.",
        )
    some = f"; {withheld} had been withheld and were not compared" if withheld else ""
    return _Proof(
        True,
        f"Reproduced: run again apart from your variables, {count} of {count} "
        f"result{'s are' if count != 1 else ' is'} the same{some} ({seconds:.1f} s).",
    )


def _hint(made: Promoted) -> str:
    if not made.inputs:
        return ""
    return f"\nIt began with copies of {', '.join(made.inputs)} as they are now."


# --- comparing ----------------------------------------------------------------------------------


def _same(step: Step, now: str) -> bool:
    then, after = _plain(step.result), _plain(now)
    if _WITHHELD.search(then):
        return True
    return then == after or (len(then) > _LONG and then[:_FIRST] == after[:_FIRST])


def _plain(text: str) -> str:
    """Return a result without what differs from run to run, and from code without imports."""
    lines = (line.rstrip() for line in _ADDRESS.sub("0x…", clean(text)).splitlines())
    joined = "\n".join(lines).strip()
    return "" if joined == _NO_OUTPUT else joined


def _first_difference(then: str, now: str) -> tuple[str, str]:
    before, after = _plain(then).splitlines(), _plain(now).splitlines()
    for place in range(max(len(before), len(after))):
        old = before[place] if place < len(before) else "(nothing more)"
        new = after[place] if place < len(after) else "(nothing more)"
        if old != new:
            return one_line(old, _LINE), one_line(new, _LINE)
    return "", ""


# --- running ------------------------------------------------------------------------------------


def _run(shell: Any, code: str, deadline: float) -> tuple[str, str]:
    """Run code as the tool does; return what it answers, and why it failed, in a line."""
    try:
        answer = python_tool(shell, Names({})).bind(
            {"code": code}, ToolContext(deadline=deadline)
        )()
    except ToolError as error:
        lines = [line for line in clean(str(error)).splitlines() if line.strip()]
        return "", one_line(lines[-1], 2 * _LINE) if lines else "it gave no reason"
    content = answer.content if isinstance(answer, ToolOutput) else answer
    if isinstance(content, str):
        return content, ""
    parts = content if isinstance(content, (list, tuple)) else ()
    return "\n".join(part for part in parts if isinstance(part, str)), ""


class _Silent:
    """A publisher that shows nothing."""

    def __init__(self, behind: Any) -> None:
        self._behind = behind

    def publish(self, *_: Any, **__: Any) -> None:
        """Show nothing."""

    def clear_output(self, wait: bool = False) -> None:
        """Clear nothing."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)


@contextlib.contextmanager
def _apart(shell: Any, namespace: dict[str, Any]) -> Iterator[None]:
    """Let the shell's code run in another namespace, and put back what it changes besides."""
    kept = shell.user_ns, shell.display_pub
    last = {name: getattr(sys, name) for name in _LAST if hasattr(sys, name)}
    with contextlib.ExitStack() as stack:
        stack.callback(_put_back_last, last)
        stack.enter_context(_same_process())
        shell.user_ns, shell.display_pub = namespace, _Silent(shell.display_pub)
        try:
            yield
        finally:
            shell.user_ns, shell.display_pub = kept


_LAST = ("last_exc", "last_value", "last_type", "last_traceback")


def _put_back_last(last: Mapping[str, Any]) -> None:
    for name in _LAST:
        if name in last:
            setattr(sys, name, last[name])
        elif hasattr(sys, name):
            delattr(sys, name)


@contextlib.contextmanager
def _same_process() -> Iterator[None]:
    """Put back the folder, the environment, the search path, random numbers and figures."""
    folder, environment, path = _folder(), dict(os.environ), list(sys.path)
    numbers, arrays = random.getstate(), _numpy_random()
    figures = set(_figures())
    try:
        yield
    finally:
        if folder is not None:
            with contextlib.suppress(OSError):
                os.chdir(folder)
        if dict(os.environ) != environment:
            os.environ.clear()
            os.environ.update(environment)
        sys.path[:] = path
        random.setstate(numbers)
        if arrays is not None:
            sys.modules["numpy"].random.set_state(arrays)
        pyplot = sys.modules.get("matplotlib.pyplot")
        for number in set(_figures()) - figures:
            if pyplot is not None:
                pyplot.close(number)


def _folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109  # it goes back into chdir as it is
    except OSError:
        return None


def _numpy_random() -> Any:
    numpy = sys.modules.get("numpy")
    return numpy.random.get_state() if numpy is not None and hasattr(numpy, "random") else None


def _figures() -> list[int]:
    pyplot = sys.modules.get("matplotlib.pyplot")
    return list(pyplot.get_fignums()) if pyplot is not None else []


# --- what it begins with ------------------------------------------------------------------------


class _CannotCopy(Exception):
    """Something that it needs is not there, or is not data."""


def _inputs(
    made: Promoted, user_ns: Mapping[str, Any], own_globals: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a namespace with copies of what the steps need.

    Functions of the person's, whose globals are `own_globals`, are made to work on the copies.

    Raises:
        _CannotCopy: One of them is gone, or cannot be copied.
    """
    namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
    for name in ("get_ipython", "display"):
        if name in user_ns:
            namespace[name] = user_ns[name]
    room = Room()
    waiting = list(made.inputs)
    own = {n for s in made.steps for node in ast.walk(parsed(s.code)) for n in bound(node)}
    while waiting:
        name = waiting.pop()
        if name in namespace:
            continue
        if name not in user_ns:
            if name in own:  # one of two branches sets it, and that one ran
                continue
            raise _CannotCopy(f"it needs {name}, which is not in the notebook")
        value = user_ns[name]
        namespace[name] = _copy_of(name, value, own_globals, namespace, room)
        if type(value) is types.FunctionType and value.__globals__ is own_globals:
            read = _names_of(value.__code__)
            waiting += [n for n in read if n in user_ns and n not in own and n not in namespace]
    return namespace


def _copy_of(
    name: str, value: Any, own_globals: Mapping[str, Any], namespace: dict[str, Any], room: Room
) -> Any:
    if type(value) is types.FunctionType and value.__globals__ is own_globals:
        # It would read and set the user's variables.
        again = types.FunctionType(
            value.__code__, namespace, value.__name__, value.__defaults__, value.__closure__
        )
        again.__kwdefaults__ = value.__kwdefaults__
        return again
    if issubclass(type(value), _fixed()):
        return value
    made = copied(value, room)
    if made is MISSING or not _is_apart(made):
        made = _deep_copy(value)
    if made is MISSING:
        raise _CannotCopy(
            f"{name} ({type(value).__name__}) cannot be copied, so your own would be used"
        )
    return made


def _deep_copy(value: Any) -> Any:
    """Return a copy of an object of any kind, or `MISSING` where it has none or takes long."""
    try:
        return Watch(_COPY_SECONDS).run(lambda: copy.deepcopy(value))
    except TimeIsUp:
        return MISSING
    except Exception:  # files, connections, locks, and whatever else has no copy
        return MISSING


def _fixed() -> tuple[type, ...]:
    """Return the types of what nobody can change, so that no copy is needed."""
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    more = [getattr(numpy, name, None) for name in ("generic", "dtype")]
    more += [getattr(pandas, name, None) for name in ("Index", "Interval", "Period")]
    return (*_ATOMS, *(kind for kind in more if isinstance(kind, type)))


def _is_apart(value: Any, depth: int = 0) -> bool:
    """Tell whether a copy shares nothing with the original that can be changed."""
    if isinstance(value, Mapping):
        return depth < 20 and all(_is_apart(part, depth + 1) for part in value.values())
    if isinstance(value, (list, tuple, set)) or type(value).__name__ == "deque":
        return depth < 20 and all(_is_apart(part, depth + 1) for part in value)
    return (
        isinstance(value, (*_fixed(), bytearray))
        or hasattr(value, "dtype")
        or (hasattr(value, "columns") and hasattr(value, "dtypes"))
    )


def _names_of(code: types.CodeType) -> list[str]:
    inside = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return [*code.co_names, *(name for each in inside for name in _names_of(each))]

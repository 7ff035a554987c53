"""Which variables a piece of code may change in place, read from its words. Nothing runs here.

What it says is meant to be too much rather than too little: a variable counts when the code names
it, when a function that the code may call names it, and when something that the code names holds
it. Code that reaches names in other ways (``exec``, ``globals``) may change all of them.
"""

from __future__ import annotations

import ast
import functools
import types
from collections import ChainMap, OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from alloy_nb.notebook.code.names import parsed

__all__ = ["touched"]

_ANYTHING = frozenset(
    (
        *("exec", "eval", "globals", "locals", "vars", "get_ipython", "gc", "sys", "inspect"),
        *("__import__", "__builtins__"),
    )
)
_ROWS = (list, tuple, set, frozenset, deque)
_DICTS = (dict, defaultdict, OrderedDict, ChainMap)
_MOST_OBJECTS = 20_000


def touched(code: str, namespace: Mapping[str, Any]) -> set[str] | None:
    """Return the names that `code` may change in place; ``None`` where it may change any."""
    names = {node.id for node in ast.walk(parsed(code)) if isinstance(node, ast.Name)}
    seen: dict[int, Any] = {}
    waiting: list[Any] = []
    for name in names:
        if name in _ANYTHING:
            return None
        if name in namespace:
            waiting.append(namespace[name])
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        if len(seen) >= _MOST_OBJECTS:
            return None
        seen[id(value)] = value
        for inside in _inside(value, namespace):
            if inside is _ANYTHING:
                return None
            waiting.append(inside)
    return {name for name, value in list(namespace.items()) if id(value) in seen}


def _inside(value: Any, namespace: Mapping[str, Any]) -> Iterable[Any]:
    """Yield what code may reach through an object."""
    kind = type(value)
    if kind in _ROWS:
        return list(value)
    if kind in _DICTS:
        return list(value.values())
    if kind is types.FunctionType:
        return _of_function(value, namespace)
    if kind in (types.MethodType, types.BuiltinMethodType):
        function = getattr(value, "__func__", None)
        return [one for one in (value.__self__, function) if one is not None]
    if kind is functools.partial:
        return [value.func, *value.args, *value.keywords.values()]
    if kind in (types.GeneratorType, types.CoroutineType):
        return [*(value.gi_frame.f_locals.values() if hasattr(value, "gi_frame") else ())]
    if kind.__module__ == "numpy" and getattr(value, "base", None) is not None:
        return [value.base]  # a view: what is written into it stands in the array behind it
    if issubclass(kind, type):
        return list(vars(value).values()) if value.__module__ == "__main__" else ()
    if kind.__module__ == "__main__":  # of a class that was made in this notebook
        return [kind, *(vars(value).values() if hasattr(value, "__dict__") else ())]
    return ()


def _of_function(function: types.FunctionType, namespace: Mapping[str, Any]) -> Iterator[Any]:
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not set yet
            continue
    if hasattr(function, "__wrapped__"):
        yield function.__wrapped__
    if function.__module__ != "__main__":
        return
    for name in _names_of(function.__code__):
        if name in _ANYTHING:
            yield _ANYTHING
        elif name in namespace:
            yield namespace[name]


def _names_of(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names_of(constant)

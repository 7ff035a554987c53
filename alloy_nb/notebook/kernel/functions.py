"""Whether a function that was defined again is the one that it was.

A model that makes its code run by itself defines its helpers again with each step. Such a function
is another object with other line numbers, and no news. No code of the user's runs here.
"""

from __future__ import annotations

import types
from typing import Any

from alloy_nb.notebook.kernel.copies import differs

__all__ = ["is_other_function"]

_ATOMS = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis))


def is_other_function(now: types.FunctionType, before: types.FunctionType) -> bool:
    """Tell whether a function does something else than one of before, or may."""
    if now.__closure__ or before.__closure__ or now.__globals__ is not before.__globals__:
        return True
    if any(differs(one, other) for one, other in zip(_data(now), _data(before), strict=True)):
        return True
    try:
        return _outline(now.__code__) != _outline(before.__code__) or _annotated(now, before)
    except RecursionError:  # functions in functions, without an end
        return True


def _data(function: types.FunctionType) -> tuple[Any, ...]:
    """Return what belongs to a function besides its code."""
    return (function.__defaults__, function.__kwdefaults__, function.__doc__, vars(function))


def _annotated(now: types.FunctionType, before: types.FunctionType) -> bool:
    """Tell whether two functions have other annotations.

    Since Python 3.14 they are code, which is compared as such: to ask for them would run it
    (https://docs.python.org/3/library/annotationlib.html, read 2026-11-21).
    """
    makers = [getattr(one, "__annotate__", None) for one in (now, before)]
    if all(maker is None for maker in makers):
        return differs(now.__annotations__, before.__annotations__)
    made, was_made = (_outline(getattr(maker, "__code__", None)) for maker in makers)
    return bool(made != was_made)


def _outline(value: Any) -> Any:
    """Return code, or a constant in it, so that it equals all that mean the same, and only those.

    Where the code stands is left out. Constants go by their text: 1, 1.0 and True are equal, and
    0.0 and -0.0.
    """
    kind = type(value)
    if kind is types.CodeType:
        counts = (value.co_argcount, value.co_posonlyargcount, value.co_kwonlyargcount)
        names = (value.co_names, value.co_varnames, value.co_freevars, value.co_cellvars)
        shape = (value.co_name, value.co_flags, counts, names)
        return shape, value.co_code, value.co_exceptiontable, _outline(value.co_consts)
    if kind is tuple:
        return kind, tuple(map(_outline, value))
    if kind is frozenset:
        return kind, frozenset(map(_outline, value))
    return kind, repr(value) if kind in _ATOMS else id(value)

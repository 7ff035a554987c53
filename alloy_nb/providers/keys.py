"""Where the key of a vendor is found, by the name of its environment variable.

The environment goes first. A face may know more places, such as a file or a person who types it: it
adds them (`also`), and they are asked in their order, each time that a key is needed. Nothing here
keeps a key.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from alloy_nb import secrets

__all__ = ["Found", "Place", "also", "found", "no_longer"]


@dataclass(frozen=True, slots=True)
class Found:
    """A key, and where it was: `source` is a few words for a person."""

    value: str = field(repr=False)
    source: str


Place = Callable[[str], Found | None]
"""Looks for the key that belongs to an environment variable."""

_first: list[Place] = []
_more: list[Place] = []


def found(variable: str | None) -> Found | None:
    """Return the key that belongs to a variable, or ``None`` where there is none."""
    if not variable:
        return None
    for place in (*_first, _environment, *_more):
        key = place(variable)
        if key is not None and key.value.strip():
            secrets.register(key.value.strip())
            return Found(key.value.strip(), key.source)
    return None


def also(place: Place, *, first: bool = False) -> None:
    """Look in another place too: after the environment, or before it."""
    (_first if first else _more).append(place)


def no_longer(place: Place) -> None:
    """Undo `also`."""
    for places in (_first, _more):
        if place in places:
            places.remove(place)


def _environment(variable: str) -> Found | None:
    value = os.environ.get(variable)
    return Found(value, variable) if value else None

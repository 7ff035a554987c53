"""The commands of ``%alloy``, a module for each kind; `grammar` says how they are written."""

from __future__ import annotations

from collections.abc import Callable

from alloy_nb.notebook import status
from alloy_nb.notebook.commands import files, models, sessions, spending
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.words import Words, usage

__all__ = ["commands"]

_FAMILIES = (models, sessions, files, spending)


def commands(desk: Desk) -> dict[str, Callable[[Words], None]]:
    """Return what does each command."""
    known: dict[str, Callable[[Words], None]] = {"help": lambda _: status.say(usage())}
    for family in _FAMILIES:
        known.update(family.commands(desk))
    return known

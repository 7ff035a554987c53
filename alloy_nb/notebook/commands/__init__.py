"""The commands of ``%alloy``, a module for each kind; `grammar` says how they are written."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches

from IPython.core.error import UsageError

from alloy_nb.engine.run import Result
from alloy_nb.notebook.commands import (
    approvals,
    coding,
    doctor,
    files,
    findings,
    helping,
    inputs,
    keys,
    mapping,
    models,
    names,
    panels,
    rewinding,
    sessions,
    spending,
    teams,
    tooling,
    turns,
    window,
)
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.drawing import status
from alloy_nb.notebook.grammar import COMMANDS
from alloy_nb.notebook.guide import usage, usage_of
from alloy_nb.notebook.words import Words

__all__ = ["commands"]

_FAMILIES = (
    models,
    approvals,
    sessions,
    rewinding,
    window,
    turns,
    tooling,
    teams,
    files,
    inputs,
    mapping,
    findings,
    names,
    panels,
    spending,
    helping,
    coding,
    keys,
    doctor,
)


def commands(desk: Desk) -> dict[str, Callable[[Words], Result | None]]:
    """Return what does each command."""
    known: dict[str, Callable[[Words], Result | None]] = {"help": _help}
    for family in _FAMILIES:
        known.update(family.commands(desk))
    return known


def _help(words: Words) -> None:
    """Show the help, or that of one command."""
    name = words.arguments[0].lstrip("%") if words.arguments else ""
    text = usage_of(name) if name else usage()
    if text is None:
        near = get_close_matches(name, [command.name for command in COMMANDS], n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UsageError(f"There is no command {name}.{hint} See %alloy help.")
    status.say(text)

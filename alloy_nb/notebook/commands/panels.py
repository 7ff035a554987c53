"""The word of ``%alloy`` for the chat panel."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from IPython.core.error import UsageError

from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.words import Words

if TYPE_CHECKING:
    from alloy_nb.notebook.panel import Panel

__all__ = ["commands"]


def commands(desk: Desk) -> Mapping[str, Callable[[Words], None]]:
    """Return what does the word."""

    def panel(words: Words) -> None:
        """Show the panel of a conversation."""
        _show(desk, words)

    return {"panel": panel}


def _show(desk: Desk, words: Words) -> None:
    if words.arguments not in ((), ("side",)):
        raise UsageError(f"%alloy panel {words.arguments[0]}: only side may follow.")
    if words.arguments and importlib.util.find_spec("sidecar") is None:
        raise UsageError(
            "%alloy panel side needs the package sidecar: pip install sidecar, and load the page "
            "anew. Without it, right-click the panel: Create New View for Cell Output."
        )
    # Only here: widgets take a while to import, and few cells show a panel.
    from alloy_nb.notebook.panel import open_panel

    opened = open_panel(desk.session(words.flags.get("session")))
    if words.arguments:
        _at_the_side(opened)
    else:
        opened.show()


def _at_the_side(panel: Panel) -> None:
    from IPython.display import display
    from sidecar import Sidecar

    with Sidecar(title=f"alloy: {panel.session.name}", anchor="split-right"):
        display(panel)  # type: ignore[no-untyped-call]  # IPython's

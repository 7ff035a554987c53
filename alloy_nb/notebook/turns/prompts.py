"""What becomes of a prompt.

::

    Words ─▶ answered ─┬─▶ preview.preview      --dry-run: shown, not sent
                       ├─▶ compare.compared     -m a,b: of several models, side by side
                       ├─▶ background.begun     --bg: while other cells run
                       └─▶ asking.asked         the usual way
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from IPython.core.error import UsageError

from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.turns.asking import asked, by_panel, prepared
from alloy_nb.notebook.turns.background import begun
from alloy_nb.notebook.turns.compare import compared, models_of
from alloy_nb.notebook.turns.preview import preview
from alloy_nb.notebook.words import Words

__all__ = ["answered"]


def answered(desk: Desk, words: Words, namespace: dict[str, Any]) -> object:
    """Do what a prompt and its flags ask for, and return the value of the cell.

    Raises:
        UsageError: A flag has a value that cannot be; nothing was changed or sent.
        AlloyError: The turn failed.
    """
    flags, models = words.flags, models_of(words.flags)
    if len(models) == 1:
        words = replace(words, flags={**flags, "model": models[0]})
    if "dry_run" in flags:
        for own in [{**flags, "model": model} for model in models] or [flags]:
            preview(desk, replace(words, flags=own), namespace)
        return None
    if by_panel.get() is not None and ("bg" in flags or len(models) > 1):
        raise UsageError("Several models side by side and --bg need a cell: ask it there.")
    if len(models) > 1:
        return compared(desk, words, namespace)
    if "bg" in flags:
        return begun(desk, prepared(desk, words, namespace))
    return asked(desk, prepared(desk, words, namespace))

"""Which source each cell had when it ran: the same cell may run again with another.

It listens from the moment that the extension is loaded, and so imports nothing.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

__all__ = ["Cells", "cells_of"]


class Cells:
    """The cells that ran in a shell, by their numbers, where the front end names them."""

    def __init__(self) -> None:
        self._cells: dict[int, str] = {}
        self._newest: dict[str, str] = {}

    def listen(self, shell: Any) -> None:
        """Note what runs from now on."""
        if self.ran not in shell.events.callbacks["post_run_cell"]:
            shell.events.register("post_run_cell", self.ran)

    def silence(self, shell: Any) -> None:
        """Undo `listen`."""
        if self.ran in shell.events.callbacks["post_run_cell"]:
            shell.events.unregister("post_run_cell", self.ran)

    def ran(self, outcome: Any) -> None:
        """Note the source of a cell that has run."""
        cell = getattr(outcome.info, "cell_id", None)
        if cell and outcome.execution_count is not None:
            self._cells[outcome.execution_count] = cell
            self._newest[cell] = outcome.info.raw_cell

    def newest(self, number: int) -> str | None:
        """Return what the cell that had this number says now, if it is known by an id."""
        cell = self._cells.get(number)
        return None if cell is None else self._newest[cell]


def cells_of(shell: Any) -> Cells:
    """Return the one of a shell."""
    return _of_shell.setdefault(shell, Cells())


_of_shell: WeakKeyDictionary[Any, Cells] = WeakKeyDictionary()

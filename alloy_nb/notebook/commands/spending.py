"""What it cost: ``%alloy cost``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from alloy_nb.notebook import status
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.words import Words

__all__ = ["commands"]


def commands(desk: Desk) -> Mapping[str, Callable[[Words], None]]:
    """Return what does each word."""

    def cost(_: Words) -> None:
        status.show(status.ledger(list(desk.sessions.values())))

    return {"cost": cost}

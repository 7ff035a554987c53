"""The questions of a panel's conversation, as its front end is told of them.

A question is told when it is asked, and again to each front end that says that it is there: a page
that is loaded anew in the middle of a question shows it. The first answer counts, wherever it was
given (`approval.pending`).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Protocol

from alloy_nb.engine.sessions.session import Session
from alloy_nb.notebook.approval.pending import Waiting
from alloy_nb.notebook.desk import Desk

__all__ = ["Questions"]


class _Panel(Protocol):
    desk: Desk

    @property
    def session(self) -> Session:
        """The conversation that it shows."""
        ...

    @property
    def is_seen(self) -> bool:
        """Whether a front end has said that it is there."""
        ...

    def tell(self, kind: str, **fields: Any) -> object:
        """Send a message to the front end."""
        ...


class Questions:
    """One panel's part in what is asked; it is a `Face`."""

    def __init__(self, panel: _Panel) -> None:
        self._panel = panel
        self._shown: set[str] = set()
        self._pending = panel.desk.approvals.pending
        self._leave = self._pending.join(self)

    @property
    def is_asking(self) -> bool:
        """Whether a question of the panel's conversation waits."""
        return bool(self._pending.waiting(self._panel.session.name))

    def asked(self, waiting: Waiting) -> bool:
        """Show a question of the panel's conversation; tell whether a front end is there."""
        if waiting.session != self._panel.session.name:
            return False
        self._show(waiting)
        return self._panel.is_seen

    def answered(self, waiting: Waiting) -> None:
        """Take a question away."""
        if waiting.key in self._shown:
            self._shown.discard(waiting.key)
            self._panel.tell("answered", call=waiting.key)

    def again(self) -> None:
        """Show what waits to a front end that has just said that it is there."""
        name = self._panel.session.name
        for key in self._shown - {waiting.key for waiting in self._pending.waiting(name)}:
            self._shown.discard(key)  # of the conversation that was shown before
            self._panel.tell("answered", call=key)
        for waiting in self._pending.waiting(name):
            self._show(waiting)
            waiting.see()

    def close(self) -> None:
        """Show no more."""
        self._leave()

    def _show(self, waiting: Waiting) -> None:
        self._shown.add(waiting.key)
        self._panel.tell("asked", call=waiting.key, question=asdict(waiting.question))

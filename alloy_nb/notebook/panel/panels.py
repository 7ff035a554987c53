"""The panels of a notebook: which are open, whose conversations they follow, when a cell runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from alloy_nb.engine import portal
from alloy_nb.engine.sessions.session import Session
from alloy_nb.errors import ConfigError, SessionError
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.kernel.errands import Errands
from alloy_nb.notebook.panel.feed import Feed
from alloy_nb.notebook.panel.turn import Line

if TYPE_CHECKING:
    from alloy_nb.notebook.panel.panel import Panel

__all__ = ["Panels"]


class Panels:
    """What the panels of one notebook have in common.

    Args:
        desk: The notebook's.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.open: list[Panel] = []
        self.is_busy = True
        """Whether a cell runs; one does that opens the first panel."""
        self._lock = threading.Lock()
        self._feeds: dict[str, tuple[Feed, Line]] = {}
        self._hooks = {"pre_run_cell": self._cell_began, "post_run_cell": self._cell_ended}
        for name, hook in self._hooks.items():
            desk.shell.events.register(name, hook)
        self._main = Errands(desk.shell, lambda _: None, lambda: None, is_busy=self._busy)

    def close(self) -> None:
        """Close all of them."""
        for panel in list(self.open):
            panel.close()
        for name, hook in self._hooks.items():
            self.desk.shell.events.unregister(name, hook)
        self._main.close()

    def panel_of(self, session: Session) -> Panel | None:
        """Return the panel that shows a conversation, if there is one."""
        return next((panel for panel in self.open if panel.session is session), None)

    def name_of(self, session: Session) -> str:
        """Return the name under which the notebook has a conversation.

        Raises:
            SessionError: It has it no more.
        """
        key = self._known(session)
        if key is None:
            raise SessionError(
                f"The conversation {session.name} was forgotten. Ask again, in the new one."
            )
        return key

    def key_of(self, session: Session) -> str:
        """Return the name under which the notebook has a conversation, which it takes in if new."""
        sessions, key = self.desk.sessions, self._known(session)
        if key is None:
            key, number = session.name, 2
            while key in sessions:
                key, number = f"{session.name} {number}", number + 1
            sessions[key] = session
        return key

    def follow(self, session: Session) -> tuple[Feed, Line]:
        """Return what follows a conversation, and what asks it."""
        with self._lock:
            known = self._feeds.get(session.id)
            if known is not None and known[0].session is session:
                return known
            feed = Feed(session)
            self._feeds[session.id] = feed, Line(self, feed)
        portal.spawn(feed.open())
        return self._feeds[session.id]

    def release(self, feed: Feed) -> None:
        """Let go of what no panel shows any more."""
        with self._lock:
            known = self._feeds.get(feed.session.id)
            is_shown = any(panel.feed is feed for panel in self.open)
            if known is None or known[0] is not feed or is_shown:
                return
            del self._feeds[feed.session.id]
        known[1].close()
        feed.close()

    def on_main(self, function: Callable[[], object]) -> None:
        """Run a function on the main thread when no cell does; from any thread, at once.

        Raises:
            ConfigError: Nothing runs there by itself, as in a terminal.
        """
        if not self._main.is_reachable:
            raise ConfigError("Nothing runs between two cells here: do it in a cell.")
        self._main.post(function)

    def _known(self, session: Session) -> str | None:
        known = list(self.desk.sessions.items())
        return next((name for name, one in known if one is session), None)

    # --- cells ------------------------------------------------------------------------------------

    def _busy(self) -> bool:
        return self.is_busy

    def _cell_began(self, *_: Any) -> None:
        self._note(busy=True)

    def _cell_ended(self, *_: Any) -> None:
        self._note(busy=False)
        for panel in list(self.open):
            panel.cell_ended()

    def _note(self, *, busy: bool) -> None:
        self.is_busy = busy
        for panel in list(self.open):
            panel.guarded(panel.catch_up)
            panel.refresh()

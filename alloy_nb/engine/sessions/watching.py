"""How a face follows a session: what is published of it, and the panel."""

from __future__ import annotations

import pkgutil
from typing import Any

from alloy_nb.engine.sessions.bus import EventBus

__all__ = ["Watched"]

_PANEL = "alloy_nb.notebook.panel:open_panel"


class Watched:
    """The part of a `Session` that is for those who show it."""

    id: str
    name: str
    bus: EventBus

    @property
    def responses_topic(self) -> str:
        """Where the `AgentResponse` of each request is published."""
        return f"agent:{self.id}:responses"

    @property
    def runs_topic(self) -> str:
        """Where each `Run` is published as it begins, so that a face can show it too."""
        return f"agent:{self.id}:runs"

    @property
    def changes_topic(self) -> str:
        """Where the session's name is published when it may be different, by a turn or by hand."""
        return f"agent:{self.id}:changes"

    def panel(self) -> Any:
        """Return the chat panel of this conversation, to be shown as the value of a cell.

        Raises:
            ConfigError: This is no notebook, or one whose front end has no widgets.
        """
        # By its name: the engine knows no face, and a session in a script needs none.
        return pkgutil.resolve_name(_PANEL)(self)

    def _tell_of_change(self) -> None:
        self.bus.publish(self.changes_topic, self.name)

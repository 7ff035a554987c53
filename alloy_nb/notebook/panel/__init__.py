"""The chat panel: a conversation beside the cells, in any notebook front end that has widgets."""

from __future__ import annotations

from typing import Any

import comm
from IPython import get_ipython

from alloy_nb.engine.sessions.session import Session
from alloy_nb.errors import ConfigError
from alloy_nb.notebook.magics import Alloy
from alloy_nb.notebook.panel.panel import Panel
from alloy_nb.notebook.panel.panels import Panels

__all__ = ["Panel", "open_panel"]

_NOWHERE = "There is no notebook here that could show a panel: use %alloy, or alloy-nb chat."


def open_panel(session: Session) -> Panel:
    """Return the panel of a conversation, which is opened where there is none yet.

    Raises:
        ConfigError: This is no notebook, or one whose front end has no widgets.
    """
    shell: Any = get_ipython()
    # What makes comms is put there by what has a front end, such as ipykernel.
    if shell is None or comm.create_comm.__module__ == "comm":
        raise ConfigError(_NOWHERE)
    panels = _panels(shell)
    return panels.panel_of(session) or Panel(panels, session)


def _panels(shell: Any) -> Panels:
    """Return the panels of a shell, in which the extension is loaded if it is not."""
    if Alloy.__name__ not in shell.magics_manager.registry:
        shell.extension_manager.load_extension("alloy_nb")
    desk = shell.magics_manager.registry[Alloy.__name__].desk
    if desk.panels is None:
        desk.panels = Panels(desk)
    found: Panels = desk.panels
    return found

"""The card in the cell: what would run, and buttons.

It is an anywidget, whose front end is in `front`. Everything that is shown is set as text there, so
nothing of it can become markup.

In ipykernel 7.4 the answers of a comm that a cell opened go to the main shell, which the cell
blocks. The opt-out below sends them where the front end sent them, to a subshell: its thread calls
us, and only hands the answer over. (Read in ipykernel 7.4.0, `comm/comm.py` and `kernelbase.py`, on
2026-11-21.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import anywidget
from traitlets import Dict

from alloy_nb.notebook import front
from alloy_nb.notebook.approval.pending import Waiting
from alloy_nb.notebook.approval.question import answer_in

__all__ = ["Card", "where_it_was_sent"]

_VIEW = "application/vnd.jupyter.widget-view+json"


class _Widget(anywidget.AnyWidget):
    _esm = front.script(front.CARD)
    _css = front.style(("card",))
    question = Dict().tag(sync=True)


class Card:
    """A question with buttons. It tells the question when a front end shows it, and the answer."""

    def __init__(self, waiting: Waiting) -> None:
        self._waiting = waiting
        self._widget = _Widget(question=asdict(waiting.question))
        comm = self._widget.comm
        if hasattr(comm, "_reply_subshell_for"):
            comm._reply_subshell_for = where_it_was_sent
        self._widget.on_msg(self._heard)

    @property
    def view(self) -> Mapping[str, Any]:
        """What shows the card, by MIME type."""
        model = {"version_major": 2, "version_minor": 0, "model_id": self._widget.model_id}
        return {_VIEW: model}

    def close(self) -> None:
        """Take it from the front end; nothing of it is left there."""
        layout = self._widget.layout
        self._widget.close()
        layout.close()

    def _heard(self, _widget: Any, content: Any, _buffers: Any) -> None:
        """Take a message, on whichever thread the kernel hears it."""
        if not isinstance(content, Mapping):
            return
        self._waiting.see()
        answer = answer_in(self._waiting.question, content)
        if answer is not None:
            self._waiting.give(answer)


def where_it_was_sent(_data: Any, default: str | None) -> str | None:
    """Return the subshell that the front end named, in the place of ipykernel's own choice."""
    return default

"""Where a turn is drawn, so that a question can stand in the card of the call that it is about.

A context variable carries it from the cell to the tasks of its run: turns that are under way at
the same time each have their own.
"""

from __future__ import annotations

import contextvars
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alloy_nb.messages import ToolCall
from alloy_nb.notebook.drawing.canvas import Canvas, NotebookCanvas
from alloy_nb.notebook.drawing.transcript import Transcript

__all__ = ["Stage", "current_stage"]


@dataclass(frozen=True, slots=True)
class Stage:
    """A turn that is being drawn."""

    transcript: Transcript
    canvas: Canvas

    def show(self, call: ToolCall, view: Mapping[str, Any]) -> bool:
        """Show a widget in the card of a call, now; tell whether this canvas can."""
        if not isinstance(self.canvas, NotebookCanvas):
            return False
        tool = self.transcript.card(call)
        if tool.state == "pending":  # the call of an agent that this one asked
            tool.state = "approval"
        tool.view = view
        tool.version += 1
        self.canvas.draw()
        return True

    def hide(self, call: ToolCall) -> None:
        """Take the widget away again."""
        if isinstance(self.canvas, NotebookCanvas):
            tool = self.transcript.card(call)
            tool.view = None
            tool.version += 1
            self.canvas.draw()


current_stage: contextvars.ContextVar[Stage | None] = contextvars.ContextVar(
    "alloy_stage", default=None
)

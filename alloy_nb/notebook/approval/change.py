"""What `edit` and `write` would do to a file as it is now, for a person to read before."""

from __future__ import annotations

from alloy_nb.engine.calls.tool import Tool, ToolContext
from alloy_nb.errors import ToolError
from alloy_nb.messages import ToolCall
from alloy_nb.notebook.approval.question import Change
from alloy_nb.tools import edit, write
from alloy_nb.tools.edit import preview as preview_of_edit
from alloy_nb.tools.write import preview as preview_of_write

__all__ = ["change_of"]

_PREVIEWS = ((edit.function, preview_of_edit), (write.function, preview_of_write))


def change_of(call: ToolCall, tool: Tool, files: ToolContext | None) -> Change | None:
    """Return what a call would change, or ``None`` where that cannot be shown as a diff."""
    preview = next((p for function, p in _PREVIEWS if function is tool.function), None)
    if preview is None or files is None:
        return None
    try:
        return Change(diff=preview(call.input, files))
    except ToolError as error:
        return Change(problem=str(error))

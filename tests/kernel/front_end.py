"""A front end with widgets: it shows the cards of a cell and presses their buttons.

It speaks to the kernel as JupyterLab does: messages of widgets go to a subshell where the kernel
has them, and to the main shell, which a running cell blocks, where it has none.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from tests.kernel_harness import Iopub, Kernel

__all__ = ["FrontEnd", "has_subshells", "patience"]

_VIEW = "application/vnd.jupyter.widget-view+json"


def has_subshells(kernel: Kernel) -> bool:
    """Tell whether messages can be heard while a cell runs."""
    return bool(_subshell(kernel))


@contextlib.contextmanager
def patience(kernel: Kernel) -> Iterator[None]:
    """Let a card have longer than 1.5 s to be shown: the machine may be busy with other things."""
    setting = "from alloy_nb.notebook.approval import person as _p; _p._HANDSHAKE_SECONDS = {}"
    kernel.run(setting.format(60))
    yield
    kernel.run(setting.format(1.5))


class FrontEnd:
    """Give its `look` as ``on_message``; `answers` are what is pressed, card after card."""

    def __init__(
        self, kernel: Kernel, *answers: Mapping[str, Any], subshell: bool = True, shows: bool = True
    ) -> None:
        self._kernel = kernel
        self._answers: Iterator[Mapping[str, Any]] = iter(answers)
        self._subshell = _subshell(kernel) if subshell else None
        self._shows = shows
        self.questions: list[dict[str, Any]] = []
        """What each card showed."""
        self.opened: set[str] = set()
        """All comms that were opened."""
        self.closed: set[str] = set()
        self.asked_at: list[float] = []
        self._models: dict[str, dict[str, Any]] = {}
        self._seen: set[str] = set()

    def look(self, message: Iopub) -> None:
        """Take a message of the cell."""
        content = message.content
        match message.type:
            case "comm_open":
                self.opened.add(content["comm_id"])
                self._models[content["comm_id"]] = content["data"]["state"]
            case "comm_close":
                self.closed.add(content["comm_id"])
            case "display_data" | "update_display_data":
                view = content["data"].get(_VIEW)
                if view is not None and view["model_id"] not in self._seen:
                    self._seen.add(view["model_id"])
                    self._show(view["model_id"])

    def press(self, comm_id: str, content: Mapping[str, Any]) -> None:
        """Send what a card says."""
        data = {"method": "custom", "content": dict(content)}
        session = self._kernel.client.session
        message = session.msg("comm_msg", {"comm_id": comm_id, "data": data})
        if self._subshell is not None:
            message["header"]["subshell_id"] = self._subshell
        self._kernel.client.shell_channel.send(message)

    def _show(self, comm_id: str) -> None:
        self.questions.append(self._models[comm_id]["question"])
        if not self._shows:
            return
        self.press(comm_id, {"ready": True})
        answer = next(self._answers, None)
        if answer is not None:
            self.asked_at.append(time.monotonic())
            self.press(comm_id, answer)


def _subshell(kernel: Kernel) -> str | None:
    """Return the id of a new subshell, or ``None`` where the kernel has none."""
    client = kernel.client
    if not kernel.evaluate("getattr(get_ipython().kernel, '_supports_kernel_subshells', False)"):
        return None
    message = client.session.msg("create_subshell_request", {})
    client.control_channel.send(message)
    while True:
        reply = client.get_control_msg(timeout=30)
        if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
            return str(reply["content"]["subshell_id"])

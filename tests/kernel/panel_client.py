"""A front end of the panel without a browser: it hears what the panel tells, and says what one may.

It speaks to the kernel as JupyterLab does (`front_end`): its messages go to a subshell where the
kernel has them. What it hears it keeps as the page does: the turns that are over, the live one.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.kernel.front_end import _subshell
from tests.kernel_harness import CellRun, Kernel

__all__ = ["Heard", "PanelClient", "Store"]

_VIEW = "application/vnd.jupyter.widget-view+json"
_SHOWS = ("stream", "display_data", "update_display_data", "execute_result", "error")
PATIENCE = 60.0


@dataclass(frozen=True)
class Heard:
    """A message of the panel, when it came and how many bytes it had."""

    kind: str
    content: dict[str, Any]
    arrived_at: float
    size: int


class Store:
    """What a front end knows: the same as `front/store.js`."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.head: dict[str, Any] = state.get("head", {})
        self.turns: list[dict[str, Any]] = list(state.get("entries", []))
        self.total = state.get("total", 0)
        self.version = state.get("version")
        self.live: dict[str, Any] | None = None
        self.notices: list[str] = []

    def take(self, message: dict[str, Any]) -> None:
        """Take a message in."""
        match message["kind"]:
            case "begin" | "live":
                self.live = message["turn"]
            case "output" if self.live and self.live["id"] == message["turn"]:
                known = next((o for o in self.live["outputs"] if o["id"] == message["id"]), None)
                if known is None:
                    known = {"id": message["id"], "html": ""}
                    self.live["outputs"].append(known)
                kept = known["html"].encode("utf-16-le")[: 2 * message.get("keep", 0)]
                known["html"] = kept.decode("utf-16-le") + message["html"]
                known["part"] = message["part"]
            case "end":
                self.turns.append(message["turn"])
                self.live, self.total = None, message["total"]
                self.version = message["version"]
            case "turns":
                self.turns, self.total = message["turns"], message["total"]
                self.version = message["version"]
            case "older":
                self.turns = message["turns"] + self.turns
            case "mark":
                for turn in self.turns:
                    if turn["id"] == message["id"]:
                        turn.update(hidden=message["hidden"], pinned=message["pinned"])
            case "notice":
                self.notices.append(message["text"])

    @property
    def html(self) -> str:
        """All that is shown."""
        shown = [*self.turns, *([self.live] if self.live else [])]
        return "\n".join(html_of(turn) for turn in shown)


def html_of(turn: dict[str, Any]) -> str:
    """Return what is shown of a turn, without its prompt."""
    return "\n".join(output["html"] for output in turn["outputs"])


class PanelClient:
    """The front end of one panel.

    Args:
        kernel: Where it runs.
        code: The cell that shows it.
    """

    def __init__(self, kernel: Kernel, code: str = "%alloy panel") -> None:
        self.kernel = kernel
        self.heard: list[Heard] = []
        self.updates: list[Heard] = []
        """The panel's own output in the notebook, shown anew."""
        self.elsewhere: list[dict[str, Any]] = []
        """What was shown in cells meanwhile, besides."""
        self.cells: dict[str, CellRun] = {}
        self.begun: set[str] = set()
        """The cells that run or have run."""
        self._subshell = _subshell(kernel)
        self.cell = kernel.run(code)
        assert self.cell.ok, self.cell.text
        shown = self.cell.of("display_data")
        views = [m for m in shown if _VIEW in m.content["data"]]
        self.kept = shown[-1].content["transient"]["display_id"]
        self.comm = views[-1].content["data"][_VIEW]["model_id"]
        self.shown = views[-1].content
        opened = [m for m in self.cell.of("comm_open") if m.content["comm_id"] == self.comm]
        self.opened = opened[-1] if opened else None
        self.store = Store(opened[-1].content["data"]["state"] if opened else {})
        self.say({"do": "hello", "version": self.store.version})
        self.until(lambda: any(h.kind == "live" for h in self.heard))

    def say(self, content: dict[str, Any]) -> None:
        """Send a message."""
        data = {"method": "custom", "content": content}
        session = self.kernel.client.session
        message = session.msg("comm_msg", {"comm_id": self.comm, "data": data})
        if self._subshell is not None:
            message["header"]["subshell_id"] = self._subshell
        self.kernel.client.shell_channel.send(message)

    def ask(self, text: str, **more: Any) -> None:
        """Send a prompt."""
        self.say({"do": "ask", "text": text, "id": "q", **more})

    def send_cell(self, code: str) -> str:
        """Run a cell, and go on."""
        id_ = self.kernel.client.execute(code)
        self.cells[id_] = CellRun(code, time.monotonic())
        return id_

    def begin_cell(self, code: str) -> str:
        """Run a cell, and go on when it runs."""
        id_ = self.send_cell(code)
        self.until(lambda: id_ in self.begun)
        return id_

    def until(self, is_so: Callable[[], object], seconds: float = PATIENCE) -> None:
        """Hear until something is so."""
        end = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < end, [h.content for h in self.heard][-3:]
            self.hear(0.02)

    def over(self, turns: int) -> list[dict[str, Any]]:
        """Hear until so many turns are over; return those."""
        self.until(lambda: len(self.store.turns) >= turns and self.store.live is None)
        return self.store.turns

    def hear(self, seconds: float) -> None:
        """Hear for a while."""
        end = time.monotonic() + seconds
        while True:
            try:
                raw = self.kernel.client.get_iopub_msg(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                break
            self._take(raw)
        while True:
            try:
                reply = self.kernel.client.get_shell_msg(timeout=0)
            except queue.Empty:
                return
            cell = self.cells.get(reply["parent_header"].get("msg_id"))
            if cell is not None:
                cell.reply, cell.replied_at = reply["content"], reply["arrived_at"]

    def _take(self, raw: dict[str, Any]) -> None:
        content, at, size = raw["content"], raw["arrived_at"], raw["size"]
        if raw["msg_type"] == "execute_input":
            self.begun.add(raw["parent_header"].get("msg_id"))
        if raw["msg_type"] == "update_display_data" and self.kept in str(content["transient"]):
            self.updates.append(Heard("update", content, at, size))
        elif raw["msg_type"] in _SHOWS:
            self.elsewhere.append(content)
        if raw["msg_type"] != "comm_msg" or content["comm_id"] != self.comm:
            return
        data = content["data"]
        if data["method"] == "update":
            self.heard.append(Heard("state", data["state"], at, size))
            self.store.head = data["state"].get("head", self.store.head)
        else:
            self.heard.append(Heard(data["content"]["kind"], data["content"], at, size))
            self.store.take(data["content"])

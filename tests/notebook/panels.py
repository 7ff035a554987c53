"""A panel in this process, whose front end is a list: what it is told, and what it says.

::

    with front_end() as page:
        panel = page.open(shell)
        panel.ask("why?")
        page.over(1)["outputs"]
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import comm
from comm.base_comm import BaseComm

from tests.kernel.panel_client import Store

__all__ = ["Page", "front_end"]

PATIENCE = 30.0


class _Comm(BaseComm):
    """A comm whose front end is in this process."""

    page: Page

    def publish_msg(  # of its base
        self, msg_type: str, data: Any = None, *_: Any, buffers: Any = None, **__: Any
    ) -> None:
        del buffers
        self.page.heard(self.comm_id, msg_type, data or {})


class Page:
    """The front end: each panel's store, and every message in order."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str, dict[str, Any]]] = []
        self.stores: dict[str, Store] = {}
        self.closed: set[str] = set()
        self._news = threading.Condition()

    def heard(self, comm_id: str, kind: str, data: dict[str, Any]) -> None:
        """Take a message of the kernel."""
        with self._news:
            self.messages.append((comm_id, kind, data))
            if kind == "comm_open":
                self.stores[comm_id] = Store(data["state"])
            elif kind == "comm_close":
                self.closed.add(comm_id)
            elif data.get("method") == "update":
                store = self.stores[comm_id]
                store.head = data["state"].get("head", store.head)
            elif data.get("method") == "custom":
                self.stores[comm_id].take(data["content"])
            self._news.notify_all()

    def told(self, panel: Any, *kinds: str) -> list[dict[str, Any]]:
        """Return the messages to a panel's front end, of some kinds."""
        return [
            data["content"]
            for comm_id, kind, data in list(self.messages)
            if comm_id == panel.model_id
            and kind == "comm_msg"
            and data["method"] == "custom"
            and (not kinds or data["content"]["kind"] in kinds)
        ]

    def until(self, is_so: Callable[[], Any]) -> Any:
        """Wait until something is so, and return it."""
        end = time.monotonic() + PATIENCE
        with self._news:
            while not (found := is_so()):
                assert time.monotonic() < end, [m[2].get("content") for m in self.messages[-5:]]
                self._news.wait(0.02)
        return found

    def store(self, panel: Any) -> Store:
        """Return what the front end of a panel knows."""
        return self.stores[panel.model_id]

    def over(self, panel: Any, turns: int) -> list[dict[str, Any]]:
        """Wait until so many turns are over, and none is under way; return them."""
        store = self.store(panel)
        self.until(lambda: len(store.turns) >= turns and store.live is None)
        return store.turns


@contextlib.contextmanager
def front_end() -> Iterator[Page]:
    """Give comms a front end in this process, as a kernel does."""
    page = Page()
    kind = type("_Paged", (_Comm,), {"page": page})

    def create_comm(*args: Any, **more: Any) -> BaseComm:
        return kind(*args, **more)

    before, comm.create_comm = comm.create_comm, create_comm
    try:
        yield page
    finally:
        comm.create_comm = before

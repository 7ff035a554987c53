"""A panel in this process, whose front end is the test: it keeps what it is told.

::

    with open_page(shell) as page:
        page.say(do="ask", text="hello")
        page.until("end")["turn"]["outputs"]
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import comm
from comm.base_comm import BaseComm

from alloy_nb.notebook.panel import Panel, open_panel
from tests.notebook.scripting import magics

__all__ = ["Page", "open_page"]

_PATIENCE = 60.0


class _Recorded(BaseComm):
    """A comm whose messages go to the page."""

    told: Callable[[Mapping[str, Any]], None] = staticmethod(lambda _: None)

    def publish_msg(self, msg_type: str, data: Any = None, *_: Any, **__: Any) -> None:
        if msg_type == "comm_msg":
            type(self).told(data or {})


class Page:
    """The front end of one panel."""

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self.heard: list[dict[str, Any]] = []
        self._lock = threading.Condition()

    def take(self, data: Mapping[str, Any]) -> None:
        """Keep what the kernel tells."""
        if data.get("method") != "custom":
            return
        with self._lock:
            self.heard.append(data["content"])
            self._lock.notify_all()

    def say(self, *buffers: bytes, **content: Any) -> None:
        """Send a message, as a click does: from a thread that is not the main one."""
        thread = threading.Thread(target=self.panel.hear, args=(content, list(buffers)))
        thread.start()
        thread.join(_PATIENCE)
        assert not thread.is_alive()

    def until(self, *kinds: str, **fields: Any) -> dict[str, Any]:
        """Wait for a message of one of these kinds with these fields; each is returned once."""
        end = time.monotonic() + _PATIENCE
        with self._lock:
            while True:
                for message in self.heard:
                    has = all(message.get(name) == value for name, value in fields.items())
                    if message["kind"] in kinds and has:
                        self.heard.remove(message)
                        return message
                left = end - time.monotonic()
                if left <= 0:
                    others = [(m["kind"], m.get("text", "")) for m in self.heard]
                    raise AssertionError(f"no {kinds} {fields} came, but {others}")
                self._lock.wait(left)

    def see(self, what: Callable[[], bool]) -> None:
        """Wait until something is so."""
        end = time.monotonic() + _PATIENCE
        while not what():
            assert time.monotonic() < end, "it did not come to be so"
            time.sleep(0.005)

    @property
    def head(self) -> dict[str, Any]:
        """What stands around the conversation, with what one can choose there."""
        return {**self.panel.head, **self.panel.lists}

    def ask(self, text: str, **more: Any) -> dict[str, Any]:
        """Ask, and return the turn when it is over."""
        self.say(do="ask", text=text, **more)
        turn: dict[str, Any] = self.until("end")["turn"]
        return turn


@contextlib.contextmanager
def open_page(shell: Any) -> Iterator[Page]:
    """Open the panel of a shell's conversation in a page."""
    before = comm.create_comm
    comm.create_comm = _made
    try:
        session = magics(shell).desk.session()
        panel = open_panel(session)
        page = Page(panel)
        _Recorded.told = page.take
        page.say(do="hello", version=panel.feed.version)
        page.until("live")
        # No cell runs while a test does.
        panel.panels.is_busy = False
        yield page
    finally:
        _Recorded.told = staticmethod(lambda _: None)
        panel.close()
        comm.create_comm = before


def _made(*arguments: Any, **settings: Any) -> _Recorded:
    return _Recorded(*arguments, **settings)

"""The process behind the page: an IPython shell without a kernel, and comms over a WebSocket.

``python -m tests.browser.panel_host.process`` prints its port and serves until its input ends.
"""

from __future__ import annotations

import faulthandler
import json
import os
import queue
import signal
import sys
import threading
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import Any

import comm
from comm.base_comm import BaseComm, CommManager
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from ipywidgets.widgets.widget import _instances, _remove_buffers
from traitlets import Type
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

HERE = Path(__file__).parent
# Nothing from elsewhere, and no script but the page's, anywidget's and the widget's own.
POLICY = (
    "default-src 'none'; script-src 'self' blob:; style-src 'unsafe-inline'; img-src data: blob:; "
    "connect-src 'self'"
)
FILES = {
    "/": (HERE / "page.html", "text/html"),
    "/host.js": (HERE / "host.js", "text/javascript"),
    "/anywidget.js": (files("anywidget") / "nbextension" / "index.js", "text/javascript"),
}


class Wire:
    """The page's connection. What is said while there is none is lost, as with any host."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._connection: ServerConnection | None = None
        self._shown: dict[str, dict[str, Any]] = {}

    def say(self, message: dict[str, Any], buffers: Any = None) -> None:
        """Send a message to the page, from any thread."""
        with self._lock:
            if message["type"] == "display":
                self._shown[message["display_id"] or f"#{len(self._shown)}"] = message
            if self._connection is None:
                return
            buffers = list(buffers or ())
            try:
                self._connection.send(json.dumps({**message, "buffers": len(buffers)}))
                for buffer in buffers:
                    self._connection.send(bytes(buffer))
            except ConnectionClosed:
                self._connection = None

    def welcome(self, connection: ServerConnection) -> None:
        """Give a page that comes all that is open and all that is shown."""
        with self._lock:
            self._connection = connection
            for name, widget in list(_instances.items()):
                state, _paths, buffers = _remove_buffers(widget.get_state())
                data = {"state": state}
                self.say({"type": "comm_open", "comm_id": name, "data": data}, buffers)
            for message in list(self._shown.values()):
                self.say(message)


class Comm(BaseComm):
    """A comm whose messages go over the wire."""

    def publish_msg(self, msg_type, data=None, metadata=None, buffers=None, **keys):
        wire.say({"type": msg_type, "comm_id": self.comm_id, "data": data or {}}, buffers)


class Publisher(DisplayPublisher):
    """What is displayed goes to the page."""

    def publish(self, data, metadata=None, source=None, *, transient=None, update=False, **kwargs):
        name = (transient or {}).get("display_id")
        wire.say({"type": "display", "display_id": name, "data": data})


class Shell(InteractiveShell):
    """A shell of no terminal and no kernel."""

    display_pub_class = Type(Publisher)


wire = Wire()
manager = CommManager()
cells: queue.Queue[str | None] = queue.Queue()


def answer(connection: ServerConnection, request: Request) -> Response | None:
    """Answer a request for a file; any other becomes the WebSocket."""
    path, _, _ = request.path.partition("?")
    if path == "/comms":
        return None
    if path not in FILES:
        return connection.respond(HTTPStatus.NOT_FOUND, "no such file")
    source, kind = FILES[path]
    body = source.read_bytes()
    headers = Headers({"Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(body))})
    headers["Content-Security-Policy"] = POLICY
    headers["Connection"] = "close"
    return Response(200, "OK", headers, body)


def hear(connection: ServerConnection) -> None:
    """Hear a page until it leaves; what it says to widgets is heard on this thread."""
    for text in connection:
        message = json.loads(text)
        buffers = [memoryview(connection.recv()) for _ in range(message["buffers"])]
        match message["do"]:
            case "come":
                wire.welcome(connection)
            case "run":
                cells.put(message["code"])
            case "comm_msg":
                content = {"comm_id": message["comm_id"], "data": message["data"]}
                told = {"content": content, "buffers": buffers, "header": {}, "metadata": {}}
                manager.comm_msg(None, "", told)  # type: ignore[arg-type]


def main() -> None:
    """Run cells on the main thread, one after the other."""
    faulthandler.register(signal.SIGUSR1)  # where all threads are, into the log
    comm.create_comm = Comm
    comm.get_comm_manager = lambda: manager
    shell = Shell.instance(colors="nocolor")
    with serve(hear, "127.0.0.1", 0, process_request=answer, max_size=64_000_000) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        threading.Thread(target=lambda: (sys.stdin.read(), cells.put(None)), daemon=True).start()
        print(server.socket.getsockname()[1], flush=True)
        os.dup2(2, 1)  # what cells print goes to the log
        count = 0
        while (code := cells.get()) is not None:
            ended = shell.run_cell(code)
            count += 1
            wire.say({"type": "ran", "count": count, "ok": ended.success})
        server.shutdown()


if __name__ == "__main__":
    main()

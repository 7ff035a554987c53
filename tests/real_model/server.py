"""Start the real inference server and end it."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.real_model import build

__all__ = ["serve"]


@contextlib.contextmanager
def serve(log: Path, *, context: int = 32768, slots: int = 4) -> Iterator[str]:
    """Run the built server on a free port; give its base URL; end it by its pid."""
    port = free_port()
    command = [str(build.server_path()), "-m", str(build.model_path()), "--jinja", "--no-webui"]
    command += ["--host", "127.0.0.1", "--port", str(port), "-c", str(context), "-np", str(slots)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        )
        try:
            _wait_until_healthy(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(3)
            process.kill()
            process.wait()


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def _wait_until_healthy(
    url: str, process: subprocess.Popen[bytes], log: Path, timeout: float = 30.0
) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        with contextlib.suppress(urllib.error.URLError, OSError), opener.open(url, timeout=2):
            return
        time.sleep(0.05)
    raise RuntimeError(
        f"the model server did not start:\n{log.read_text(errors='replace')[-2000:]}"
    )

"""Children that are forks of a program which has imported everything: they begin at once."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["WATCHDOG", "ended", "forked", "kill", "program"]

WATCHDOG = 60.0
"""Seconds after which whoever still waits is stuck."""

_ROOT = Path(__file__).parents[3]


def program(name: str, *arguments: str, timeout: float) -> dict[str, Any]:
    """Run a program of these tests and return what it counted: one JSON object."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.engine.journal.{name}", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    counted: dict[str, Any] = json.loads(done.stdout)
    return counted


def forked(work: Callable[[], object], *, watched: bool = False) -> int:
    """Do something in a child, and return its id; `watched`, it ends by itself where it is stuck.

    The program itself must have no threads: a fork has only one.
    """
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        if watched:
            faulthandler.dump_traceback_later(WATCHDOG, exit=True)
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def kill(child: int) -> bool:
    """Kill a child with SIGKILL; tell whether it lived until then."""
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def ended(child: int, *, within: float) -> int | None:
    """Wait for a child's end and return its status; ``None`` where it had to be killed."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    kill(child)
    return None

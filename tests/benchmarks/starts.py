"""What is measured with a new interpreter: to import a client, and to get the first reply from it.

The figure is the CPU that the interpreter took over one that does nothing; on an idle machine it
is the time that a person waits. `first_reply` is there because some clients put their imports off
until the first request.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

from .clients import load
from .programs import Outcome
from .rows import Sizes

__all__ = ["STARTS", "import_time", "run_first_reply"]

_ROOT = Path(__file__).parents[2]


def import_time(key: str, url: str, wire: str, sizes: Sizes) -> Outcome:
    """Milliseconds to import what a program that uses this client imports."""
    return _over_nothing(load(key).statement, sizes.imports)


def run_first_reply(key: str, url: str, wire: str, sizes: Sizes) -> Outcome:
    """Milliseconds to import, make a client and hear a first short reply."""
    arguments = ", ".join(map(repr, (key, url, wire)))
    code = f"from tests.benchmarks.first_reply import hear; hear({arguments})"
    return _over_nothing(code, sizes.imports)


STARTS = {"import_time": import_time, "first_reply": run_first_reply}


def _over_nothing(code: str, times: int) -> Outcome:
    """Run `code` and nothing in turn, after once unmeasured so that the bytecode is written."""
    _cpu_of(code)
    pairs = [(_cpu_of(code), _cpu_of("pass")) for _ in range(times)]
    with_code, without = (statistics.median(column) for column in zip(*pairs, strict=True))
    return Outcome((with_code - without) * 1e3, {"starts": times})


def _cpu_of(code: str) -> float:
    """Return the seconds of CPU of an interpreter that runs `code`."""
    child = subprocess.Popen([sys.executable, "-c", code], cwd=_ROOT)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"exit code {child.returncode}: {code}")
    return usage.ru_utime + usage.ru_stime

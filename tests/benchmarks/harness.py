"""Runs every client on every row, in turn, each figure in a new process, against one server."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from .clients import Entry
from .programs import Outcome
from .rows import Row, Sizes
from .worker import Job

__all__ = ["Cell", "Failed", "measure", "serving"]

_ROOT = Path(__file__).parents[2]
_TIMEOUT = 900


class Failed(Exception):
    """A worker ended without an outcome; the text is the end of what it said."""


@dataclass(slots=True)
class Cell:
    """All that is known about one client on one row."""

    outcomes: list[Outcome] = field(default_factory=list)
    missing: str | None = None
    """Why there is no figure: ``n/a``, ``not installed``, or ``failed`` with `error`."""
    error: str | None = None

    @property
    def value(self) -> float | None:
        """The median of the repetitions."""
        if not self.outcomes:
            return None
        return statistics.median(outcome.value for outcome in self.outcomes)


@contextmanager
def serving() -> Iterator[str]:
    """Run the mock server and give its address; it ends with the block, or with this process."""
    command = [sys.executable, "-m", "tests.benchmarks.server"]
    with subprocess.Popen(
        command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.stdin.close()


def measure(
    rows: Sequence[Row],
    entries: Sequence[Entry],
    *,
    wire: str,
    sizes: Sizes,
    repetitions: int,
    say: Callable[[str], None] = lambda _line: None,
) -> dict[tuple[str, str], Cell]:
    """Return a cell for each row and client, by their names; interrupted, what there is so far.

    Repetitions are interleaved: every client takes its turn before any takes its next, and another
    one begins each time, so that a busy minute of the machine falls on all of them.
    """
    cells = {(row.name, entry.key): _empty(row, entry) for row in rows for entry in entries}
    with serving() as url, suppress(KeyboardInterrupt):
        for row in rows:
            for repetition in range(repetitions):
                for entry in _rotated(entries, repetition):
                    cell = cells[row.name, entry.key]
                    if cell.missing is None:
                        _add(cell, Job(entry.key, row.name, wire, url, sizes), say)
    return cells


def _rotated(entries: Sequence[Entry], by: int) -> list[Entry]:
    by %= max(1, len(entries))
    return [*entries[by:], *entries[:by]]


def _empty(row: Row, entry: Entry) -> Cell:
    if not entry.fills(row.name):
        return Cell(missing="n/a")
    if entry.package is not None and not _installed(entry.package):
        return Cell(missing="not installed")
    return Cell()


def _installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


def _add(cell: Cell, job: Job, say: Callable[[str], None]) -> None:
    try:
        outcome = _work(job)
    except Failed as failure:
        cell.outcomes, cell.missing, cell.error = [], "failed", str(failure)
        say(f"{job.row} {job.client}: failed\n{failure}")
        return
    cell.outcomes.append(outcome)
    say(f"{job.row} {job.client}: {outcome.value:.4g}")


def _work(job: Job) -> Outcome:
    """Run a worker and read its outcome."""
    command = [sys.executable, "-m", "tests.benchmarks.worker", job.to_json()]
    try:
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise Failed(f"no outcome after {_TIMEOUT} seconds") from None
    if done.returncode:
        raise Failed(done.stderr[-2000:].strip() or f"exit code {done.returncode}")
    return Outcome(**json.loads(done.stdout.splitlines()[-1]))

"""Real processes: killed at random moments, and two kernels on one session."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks its processes")

FULL = os.environ.get("ALLOY_TEST_FULL") == "1"
KILLS = 500 if FULL else 20
INTERLEAVINGS = 200 if FULL else 20


def victim(*arguments: str, timeout: float = 800) -> dict[str, Any]:
    """Run the program and return what it counted."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.journal.victim", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.slow
def test_what_was_shown_outlives_a_kill_at_any_moment(tmp_path):
    counted = victim("kill", str(tmp_path), "1", str(KILLS))
    assert counted["faults"] == []
    assert counted["rounds"] == KILLS
    assert counted["shown"] > KILLS, "hardly anything was shown before the kills"
    assert counted["in_a_turn"] > KILLS // 2, "most kills did not hit a turn"


@pytest.mark.slow
def test_two_processes_of_eight_threads_mix_no_turns(tmp_path):
    counted = victim("compete", str(tmp_path), "1", str(INTERLEAVINGS), timeout=60 * INTERLEAVINGS)
    assert counted["faults"] == []
    assert counted["turns"] == INTERLEAVINGS * 2 * 3 * 8

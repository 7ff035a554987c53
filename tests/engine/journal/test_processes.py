"""Real processes: killed at random moments, and two kernels on one session."""

from __future__ import annotations

import os
import sys

import pytest

from tests.engine.journal.forks import program

FULL = os.environ.get("ALLOY_TEST_FULL") == "1"
pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="forks its processes"),
    pytest.mark.timeout(7_200 if FULL else 900),
]
KILLS = 500 if FULL else 20
INTERLEAVINGS = 200 if FULL else 20


@pytest.mark.slow
def test_what_was_shown_outlives_a_kill_at_any_moment(tmp_path):
    counted = program("victim", "kill", str(tmp_path), "1", str(KILLS), timeout=7_000)
    assert counted["faults"] == []
    assert counted["rounds"] == KILLS
    assert counted["shown"] > KILLS, "hardly anything was shown before the kills"
    assert counted["in_a_turn"] > KILLS // 2, "most kills did not hit a turn"


@pytest.mark.slow
def test_two_processes_of_eight_threads_mix_no_turns(tmp_path):
    limit = 60 * INTERLEAVINGS
    counted = program("victim", "compete", str(tmp_path), "1", str(INTERLEAVINGS), timeout=limit)
    assert counted["faults"] == []
    assert counted["turns"] == INTERLEAVINGS * 2 * 3 * 8

"""The numbers and the line that say how far a map has come."""

from __future__ import annotations

from decimal import Decimal

import pytest

from alloy_nb.analysis.progress import Meter
from alloy_nb.analysis.rows import Answer
from alloy_nb.errors import AlloyError
from alloy_nb.usage import Cost, Usage


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def answer(usd: str = "0.01") -> Answer:
    return Answer("x", usage=Usage(input_tokens=1), cost=Cost(known=Decimal(usd)))


def test_the_time_that_is_left_and_the_cost_follow_from_what_was_asked():
    clock = Clock()
    meter = Meter(100, clock=clock)
    for _ in range(10):
        meter.note(answer())
    clock.now += 5
    progress = meter.now()
    assert (progress.done, progress.rate, progress.left) == (10, 2.0, 45.0)
    assert progress.projected == Decimal("1")
    bar, numbers = "██░░░░░░░░░░░░░░░░░░  10 %", "10/100 rows · 2.0 rows/s"
    assert progress.text == f"{bar} {numbers} · $0.1000 of about $1.00 · 45 s left"


def test_rows_that_were_there_before_make_nothing_faster_or_cheaper():
    clock = Clock()
    meter = Meter(100, clock=clock)
    meter.kept = 50
    for _ in range(10):
        meter.note(answer())
    clock.now += 5
    progress = meter.now()
    assert progress.rate == 2.0
    # Of 60 rows 10 had to be asked, so about 7 of the 40 that are left.
    assert progress.left == pytest.approx(40 / 6 / 2)


def test_the_speed_is_that_of_the_last_seconds():
    clock = Clock()
    meter = Meter(None, clock=clock)
    for _ in range(20):
        clock.now += 1
        meter.note(answer())
        meter.now()
    clock.now += 60
    assert meter.now().rate < 0.1


def test_rows_that_ask_the_same_are_done_with_the_first():
    meter = Meter(5)
    meter.note(answer(), repeats=3)
    progress = meter.now()
    assert (progress.done, progress.asked, progress.repeated) == (4, 1, 3)


def test_a_cost_that_is_unknown_is_not_projected():
    meter = Meter(2)
    meter.note(Answer("x", cost=Cost.unknown()))
    progress = meter.now()
    assert progress.projected is None
    assert "cost unknown" in progress.text


def test_failures_are_counted_and_said():
    meter = Meter(2)
    meter.note(Answer.failed(AlloyError("no")))
    assert "1 failed" in meter.now().text


def test_without_a_total_there_is_no_bar_and_no_time_left():
    meter = Meter(None)
    meter.note(answer())
    assert meter.now().bar == ""
    assert meter.now().text.startswith("1 rows")


def test_at_the_end_the_line_says_what_it_took():
    clock = Clock()
    meter = Meter(1, clock=clock)
    meter.note(answer())
    clock.now += 90
    assert meter.now(finished=True).text.endswith("1/1 rows · $0.0100 · in 1 min 30 s")


def test_an_empty_table_is_done():
    assert Meter(0).now(finished=True).bar.endswith("100 %")

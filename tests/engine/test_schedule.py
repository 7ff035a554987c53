"""Jobs: on time, never twice at once, and one that fails takes nothing with it."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest

import alloy_nb as al
from alloy_nb.engine import portal
from alloy_nb.errors import ConfigError, SessionError
from tests.engine.scripted import HANG, Scripted, says
from tests.engine.test_session_requests import WAIT, Patient, echo, until


class Time:
    """A clock that goes when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now + seconds, woken))
        await woken

    def go(self, seconds: float) -> None:
        """Let time pass; return when all that is due by then has begun."""
        until(lambda: bool(self._sleepers))
        portal.run_sync(self._go(self.now + seconds))

    async def _go(self, end: float) -> None:
        while True:
            await asyncio.sleep(0.002)  # whoever was woken goes to sleep again
            due = sorted((s for s in self._sleepers if s[0] <= end), key=lambda s: s[0])
            if not due:
                break
            self._sleepers.remove(due[0])
            self.now = max(self.now, due[0][0])
            if not due[0][1].done():
                due[0][1].set_result(None)
        self.now = end


def scheduler() -> tuple[al.Scheduler, Time]:
    clock = Time()
    return al.Scheduler(clock=clock, sleep=clock.sleep), clock


def test_a_job_runs_at_each_of_its_times_and_first_after_the_first():
    jobs, clock = scheduler()
    results: list[al.Result] = []
    with jobs:
        jobs.add(
            "j", every=10, prompt="hi", provider=Scripted(otherwise=echo), on_result=results.append
        )
        clock.go(9)
        assert results == []
        for number in range(3):
            clock.go(10 if number else 1)
            until(lambda n=number: len(results) == n + 1)
    assert [r.text for r in results] == ["re hi"] * 3


def test_each_run_begins_anew():
    jobs, clock = scheduler()
    model = Scripted(otherwise=echo)
    with jobs:
        jobs.add("j", every=1, prompt="hi", provider=model)
        for number in range(3):
            clock.go(1)
            until(lambda n=number: len(model.requests) == n + 1)
            until(lambda: jobs._entries["j"].run.done())
    assert [len(r.messages) for r in model.requests] == [1, 1, 1]


def test_a_time_that_comes_while_it_still_runs_is_skipped_and_logged(caplog):
    jobs, clock = scheduler()
    patient = Patient()
    results: list[al.Result] = []
    with jobs, caplog.at_level(logging.WARNING, "alloy_nb"):
        jobs.add(
            "slow",
            every=1,
            prompt="hi",
            provider=Scripted(otherwise=echo),
            middleware=[patient],
            on_result=results.append,
        )
        clock.go(1)
        clock.go(1)
        clock.go(1)
        assert caplog.text.count("'slow' still runs; this time is skipped") == 2
        patient.let_go.set()
        until(lambda: len(results) == 1)
        until(lambda: jobs._entries["slow"].run.done())
        clock.go(1)
        until(lambda: len(results) == 2)


def test_times_that_were_slept_through_are_not_made_up():
    jobs, clock = scheduler()
    model = Scripted(otherwise=echo)
    results: list[al.Result] = []
    with jobs:
        jobs.add("j", every=1, prompt="hi", provider=model, on_result=results.append)
        until(lambda: bool(clock._sleepers))
        clock.now += 1000  # the machine slept
        clock.go(0)
        until(lambda: len(results) == 1)
        until(lambda: jobs._entries["j"].run.done())
        clock.go(1)
        until(lambda: len(results) == 2)
    assert len(model.requests) == 2


def test_trigger_runs_it_now_and_says_how_it_went():
    jobs, _ = scheduler()
    patient = Patient()
    results: list[al.Result] = []
    with jobs:
        jobs.add(
            "j",
            every=1000,
            prompt="hi",
            provider=Scripted(otherwise=echo),
            middleware=[patient],
            on_result=results.append,
        )
        assert jobs.trigger("other") == "not_found"
        assert jobs.trigger("j") == "ok"
        assert jobs.trigger("j") == "already_running"
        patient.let_go.set()
        until(lambda: len(results) == 1)


def test_adding_a_name_again_replaces_it_and_drops_what_was_under_way():
    jobs, clock = scheduler()
    old = Scripted([*says("old")[:3], HANG])
    results: list[str] = []
    with jobs:
        jobs.add("j", every=5, prompt="a", provider=old, on_result=lambda r: results.append(r.text))
        jobs.trigger("j")
        until(lambda: len(old.requests) == 1)
        jobs.add(
            "j",
            every=10,
            prompt="b",
            provider=Scripted(otherwise=echo),
            on_result=lambda r: results.append(r.text),
        )
        until(lambda: old.closed == 1)
        assert [(job.name, job.every) for job in jobs.list()] == [("j", 10.0)]
        clock.go(5)
        assert results == []
        clock.go(5)
        until(lambda: results == ["re b"])
    assert len(old.requests) == 1


def test_a_removed_job_is_stopped_and_its_result_dropped():
    jobs, _ = scheduler()
    model = Scripted([*says("x")[:3], HANG])
    results: list[al.Result] = []
    with jobs:
        jobs.add("j", every=1000, prompt="a", provider=model, on_result=results.append)
        jobs.trigger("j")
        until(lambda: len(model.requests) == 1)
        assert jobs.remove("j") is True
        assert jobs.remove("j") is False
        until(lambda: model.closed == 1)
    assert jobs.list() == []
    assert results == []


def test_a_job_may_remove_itself_when_it_has_its_result():
    jobs, clock = scheduler()
    seen = threading.Event()

    def once(_: al.Result) -> None:
        jobs.remove("j")
        seen.set()

    with jobs:
        jobs.add("j", every=1, prompt="x", provider=Scripted(otherwise=echo), on_result=once)
        clock.go(1)
        assert seen.wait(WAIT)
        assert jobs.list() == []


def test_a_callback_that_removes_its_job_still_comes_to_its_own_end():
    jobs, _ = scheduler()
    ended = threading.Event()

    async def once(_: al.Result) -> None:
        jobs.remove("j")
        await asyncio.sleep(0.01)
        ended.set()

    with jobs:
        jobs.add("j", every=1000, prompt="x", provider=Scripted(otherwise=echo), on_result=once)
        jobs.trigger("j")
        assert ended.wait(WAIT)


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_a_callback_may_stop_the_scheduler(kind):
    jobs, _ = scheduler()
    ended = threading.Event()

    def stop(_: al.Result) -> None:
        jobs.stop()
        ended.set()

    async def astop(_: al.Result) -> None:
        await jobs.astop()
        ended.set()

    call: Any = stop if kind == "plain" else astop
    jobs.add("j", every=1000, prompt="x", provider=Scripted(otherwise=echo), on_result=call)
    jobs.trigger("j")
    assert ended.wait(WAIT)
    assert jobs.list() == []


@pytest.mark.parametrize("error", [ZeroDivisionError(), SystemExit(1)])
def test_a_callback_that_crashes_is_logged_and_the_job_lives(error, caplog):
    jobs, clock = scheduler()
    calls: list[al.Result] = []

    def crash(result: al.Result) -> None:
        calls.append(result)
        raise error

    with jobs, caplog.at_level(logging.ERROR, "alloy_nb"):
        jobs.add("j", every=1, prompt="x", provider=Scripted(otherwise=echo), on_result=crash)
        for number in range(2):
            clock.go(1)
            until(lambda n=number: len(calls) == n + 1)
            until(lambda: jobs._entries["j"].run.done())
    assert caplog.text.count("The job 'j' failed") == 2


def test_a_run_that_fails_is_a_result_like_any_other():
    jobs, clock = scheduler()
    results: list[al.Result] = []
    with jobs:
        jobs.add(
            "j",
            every=1,
            prompt="x",
            provider=Scripted(RuntimeError("boom"), otherwise=echo),
            on_result=results.append,
        )
        clock.go(1)
        until(lambda: len(results) == 1)
        until(lambda: jobs._entries["j"].run.done())
        clock.go(1)
        until(lambda: len(results) == 2)
    assert [r.status for r in results] == ["error", "completed"]


def test_a_callback_may_be_a_coroutine_function_and_without_one_a_line_is_logged(caplog):
    jobs, _ = scheduler()
    results: list[al.Result] = []

    async def take(result: al.Result) -> None:
        await asyncio.sleep(0)
        results.append(result)

    with jobs, caplog.at_level(logging.INFO, "alloy_nb"):
        jobs.add("a", every=9, prompt="x", provider=Scripted(otherwise=echo), on_result=take)
        jobs.add("b", every=9, prompt="x", provider=Scripted(otherwise=echo))
        jobs.trigger("a")
        jobs.trigger("b")
        until(lambda: len(results) == 1)
        until(lambda: "The job 'b' ended with the status completed" in caplog.text)


def test_stop_waits_until_what_runs_has_ended_and_then_takes_no_jobs():
    jobs, _ = scheduler()
    model = Scripted([*says("x")[:3], HANG])
    jobs.add("j", every=1000, prompt="a", provider=model)
    jobs.trigger("j")
    until(lambda: len(model.requests) == 1)
    jobs.stop()
    assert model.closed == 1
    assert jobs.list() == []
    jobs.stop()
    with pytest.raises(SessionError, match="stopped"):
        jobs.add("j", every=1, prompt="a", provider=model)
    assert jobs.trigger("j") == "not_found"


def test_it_runs_on_real_time_too_and_can_be_awaited():
    async def go() -> list[str]:
        results: list[str] = []
        async with al.Scheduler() as jobs:
            jobs.add(
                "j",
                every=0.01,
                prompt="x",
                provider=Scripted(otherwise=echo),
                on_result=lambda r: results.append(r.text),
            )
            while len(results) < 3:
                await asyncio.sleep(0.005)
        return results

    assert asyncio.run(asyncio.wait_for(go(), WAIT))[:3] == ["re x"] * 3


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"every": 0}, "every"),
        ({"every": -1}, "every"),
        ({"every": float("nan")}, "every"),
        ({"every": float("inf")}, "every"),
        ({"every": "1"}, "every"),
        ({"every": True}, "every"),
        ({"prompt": " "}, "prompt"),
        ({"on_result": 3}, "on_result"),
        ({"temprature": 1}, "temperature"),
        ({"provider": "nobody/nothing"}, "nobody"),
    ],
)
def test_a_wrong_setting_is_told_at_once_and_changes_nothing(wrong, named):
    good: dict[str, Any] = {"every": 1000, "prompt": "x", "provider": Scripted(otherwise=echo)}
    with al.Scheduler() as jobs:
        kept = jobs.add("j", **good)
        with pytest.raises(ConfigError, match=named):
            jobs.add("j", **{**good, **wrong})
        assert jobs.list() == [kept]

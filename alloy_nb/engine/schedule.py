"""Prompts that are asked again and again, each at its own pace, in the background.

::

    scheduler = Scheduler()
    scheduler.add("headlines", every=3600, prompt="What is new in feed.xml?", provider="demo",
                  tools=[read], on_result=lambda result: print(result.text))
    ...
    scheduler.stop()

Each time is a run of its own, with no memory of the one before. Jobs live in this process and end
with it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

from alloy_nb.engine import portal
from alloy_nb.engine.agent import Agent, Prompt, make_agent
from alloy_nb.engine.calls.workers import in_thread
from alloy_nb.engine.run import Result
from alloy_nb.errors import ConfigError, SessionError
from alloy_nb.providers.base import Provider

__all__ = ["Job", "Scheduler"]

log = logging.getLogger("alloy_nb")


@dataclass(frozen=True, slots=True)
class Job:
    """What is asked every so many seconds."""

    name: str
    every: float
    prompt: Prompt
    agent: Agent = field(repr=False)
    on_result: Callable[[Result], object] | None = field(default=None, repr=False)
    run_settings: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(slots=True, eq=False)
class _Entry:
    """A job with its clock, and its run where one is under way."""

    job: Job
    timer: Future[None] | None = None
    run: Future[None] | None = None
    dropped: bool = False
    """Whether the job was removed or replaced: nobody wants its result any more."""
    telling: bool = False
    """Whether its result is being handed over, which is not broken off."""


# What a callback belongs to, which may remove its own job, or stop the scheduler.
_telling: ContextVar[_Entry | None] = ContextVar("alloy_job", default=None)


class Scheduler:
    """Runs jobs on the package's own loop; every method may be called from any thread.

    Args:
        clock: Seconds that only go forward, for tests.
        sleep: Waits so many seconds, for tests.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._stopped = False

    def __repr__(self) -> str:
        return f"Scheduler({', '.join(job.name for job in self.list()) or 'no jobs'})"

    def __enter__(self) -> Scheduler:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Scheduler:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.astop()

    def add(
        self,
        name: str,
        *,
        every: float,
        prompt: Prompt,
        provider: str | Provider,
        on_result: Callable[[Result], object] | None = None,
        **settings: Any,
    ) -> Job:
        """Ask a prompt every so many seconds, for the first time after that many.

        A job of the same name is replaced: what it is doing is stopped and its result dropped.
        While a run of the job is still under way its next time is skipped, and the log says so.

        Args:
            name: What the job is called.
            every: Seconds from one beginning to the next.
            prompt: What to say.
            provider: As in `alloy_nb.run`.
            on_result: Called with each result, plain (in a thread) or ``async``; the default logs
                a line. What it raises is logged.
            settings: The settings of `alloy_nb.run`.

        Raises:
            ConfigError: A setting is wrong.
            SessionError: The scheduler is stopped.
        """
        if on_result is not None and not callable(on_result):
            raise ConfigError(f"on_result must be a function of one argument, not {on_result!r}.")
        if prompt is None or (isinstance(prompt, str) and not prompt.strip()):
            raise ConfigError("The prompt is empty.")
        agent, more = make_agent(provider, settings)
        job = Job(name, _seconds(every), prompt, agent, on_result, more)
        entry = _Entry(job)
        with self._lock:
            if self._stopped:
                raise SessionError("The scheduler is stopped. Make a new one.")
            self._drop(name)
            self._entries[name] = entry
            entry.timer = portal.spawn(self._keep_time(entry))
        return job

    def remove(self, name: str) -> bool:
        """Ask no more; what is under way is stopped. Tell whether there was such a job."""
        with self._lock:
            return self._drop(name)

    def list(self) -> list[Job]:
        """Return the jobs, in the order in which they were added."""
        with self._lock:
            return [entry.job for entry in self._entries.values()]

    def trigger(self, name: str) -> Literal["ok", "not_found", "already_running"]:
        """Run a job now; its schedule stays as it is."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is None:
                return "not_found"
            return "ok" if self._begin(entry) else "already_running"

    def stop(self) -> None:
        """Stop all jobs, and wait until what is under way has ended. Blocks."""
        portal.run_sync(self._stop())

    async def astop(self) -> None:
        """Stop all jobs, as `stop`; awaitable in any event loop."""
        await portal.run_async(self._stop())

    # --- inside -------------------------------------------------------------------------------

    async def _keep_time(self, entry: _Entry) -> None:
        """Begin a run at each of the job's times; those that were slept through are not made up."""
        due = self._clock() + entry.job.every
        while True:
            await self._sleep(max(0.0, due - self._clock()))
            with self._lock:
                if entry.dropped:
                    return
                if not self._begin(entry):
                    log.warning("The job %r still runs; this time is skipped", entry.job.name)
            missed = (self._clock() - due) // entry.job.every
            due += entry.job.every * (1 + max(0.0, missed))

    def _begin(self, entry: _Entry) -> bool:
        """Begin a run, unless one is under way; for one who has the lock."""
        if entry.run is not None and not entry.run.done():
            return False
        entry.run = portal.spawn(self._run(entry))
        return True

    async def _run(self, entry: _Entry) -> None:
        job = entry.job
        try:
            result = await job.agent.arun(job.prompt, **job.run_settings)
            with self._lock:
                entry.telling = not entry.dropped
            if entry.telling:
                _telling.set(entry)
                await _tell(job, result)
        except (Exception, SystemExit):  # one failure must not end the job
            log.exception("The job %r failed", job.name)
        finally:
            entry.telling = False

    def _drop(self, name: str) -> bool:
        """Take a job out; for one who has the lock."""
        entry = self._entries.pop(name, None)
        if entry is None:
            return False
        entry.dropped = True
        for work in (entry.timer, None if entry.telling else entry.run):
            if work is not None:
                work.cancel()
        return True

    async def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            runs = [
                entry.run
                for entry in self._entries.values()
                if entry.run is not None and entry is not _telling.get()
            ]
            for name in list(self._entries):
                self._drop(name)
        await asyncio.gather(*(asyncio.wrap_future(run) for run in runs), return_exceptions=True)


async def _tell(job: Job, result: Result) -> None:
    if job.on_result is None:
        log.info("The job %r ended with the status %s", job.name, result.status.value)
    elif inspect.iscoroutinefunction(job.on_result):
        await job.on_result(result)
    else:
        call = job.on_result
        await in_thread(lambda: call(result))


def _seconds(every: Any) -> float:
    if (
        not isinstance(every, (int, float))
        or isinstance(every, bool)
        or not math.isfinite(every)
        or every <= 0
    ):
        raise ConfigError(f"every must be a positive number of seconds, not {every!r}.")
    return float(every)

"""The workers of a cluster that ask rows, each with a lane: what goes there and what comes back.

A worker that cannot be reached is lost when the cluster says so, or when it has been silent for so
long that it has given up by itself. What it reports is kept there until it is known to be here, so
a line that breaks for a while loses nothing, and nothing is asked in two places at once.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from alloy_nb.analysis import station
from alloy_nb.analysis.station import Asked, Report
from alloy_nb.errors import ConfigError

__all__ = ["Crew"]

log = logging.getLogger("alloy_nb")

# A worker that cannot be reached is tried again after so many seconds, then after more.
_KNOCK = 0.1
# How long a worker holds the line for news, and how often new workers are looked for.
_LINE, _LOOK = 2.0, 2.0
_CLOSING = 1.0


class _Gone(Exception):
    """A worker cannot be reached, or has forgotten us."""


class Crew:
    """The workers that are there, each with a lane.

    Args:
        client: The cluster's client.
        payload: What opens a desk.
        hint: What is said where no worker can open one.
    """

    def __init__(self, client: Any, payload: bytes, *, hint: str) -> None:
        self.name = uuid.uuid4().hex
        self._client = client
        self._payload = payload
        self._hint = hint
        self._lanes: dict[str, _Lane] = {}
        self._refused: dict[str, str] = {}
        self._anchors: list[Any] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._wanted = asyncio.Event()
        self._changed = asyncio.Event()

    @property
    def waiting(self) -> str:
        """What is waited for, in words."""
        is_waiting = self._wanted.is_set() and not self._lanes
        return "waiting for a worker of the cluster" if is_waiting else ""

    async def ask(self, asked: Asked) -> Report | None:
        """Ask a row on the worker with the fewest; ``None`` where it was lost."""
        self._wanted.set()
        while not self._lanes:
            changed = self._changed
            await changed.wait()
        lane = min(self._lanes.values(), key=lambda lane: lane.load)
        try:
            return await lane.ask(asked)
        except _Gone:
            return None

    async def work(self) -> None:
        """Look after the workers that come and go, from the first row until this is cancelled.

        Raises:
            ConfigError: None of them can ask.
        """
        await self._wanted.wait()
        is_told = False
        while True:
            there = await self._workers()
            for lane in [lane for lane in self._lanes.values() if lane.address not in there]:
                self.leave(lane)
            new = [a for a in there if a not in self._lanes and a not in self._refused]
            self._opening = {asyncio.create_task(self._open(a, there[a])) for a in new}
            # Shielded: a desk that is being opened has to be known, to be closed again.
            await asyncio.shield(asyncio.gather(*self._opening))
            if self._refused and not self._lanes and set(there) <= set(self._refused):
                reason = next(iter(self._refused.values()))
                raise ConfigError(f"No worker of the cluster can ask: {reason}. {self._hint}")
            if not there and not is_told:
                is_told = True  # a cluster that adapts its size has to see that there is work
                await self._submit(_nothing)
            await asyncio.sleep(_LOOK if self._lanes else _LOOK / 4)

    async def close(self) -> None:
        """End what is under way on the workers, as far as that takes no longer than a second."""
        try:
            async with asyncio.timeout(_CLOSING):
                await asyncio.gather(*self._opening, return_exceptions=True)
                lanes = list(self._lanes.values())
                for lane in lanes:
                    lane.stop()
                ends = [self.call(station.close, self.name, at=lane.address) for lane in lanes]
                await asyncio.gather(*ends, return_exceptions=True)
                await self._there(self._release)
        except (TimeoutError, RuntimeError):  # it ends by itself once nobody talks to it
            log.warning("Not every worker said that it has ended")
        for lane in self._lanes.values():
            lane.stop()

    async def call(self, function: Callable[..., Any], *args: Any, at: str) -> Any:
        """Run a function of `station` on a worker.

        Raises:
            _Gone: It cannot be reached.
        """

        async def work() -> Any:
            return await self._client.run(function, *args, workers=[at], on_error="return")

        try:
            found = (await self._there(work))[at]
        except (OSError, RuntimeError, LookupError) as error:  # the cluster itself is away
            raise _Gone(type(error).__name__) from None
        if isinstance(found, BaseException):
            raise _Gone(f"{type(found).__name__}: {found}")
        return found

    async def is_there(self, address: str) -> bool:
        """Return whether the cluster counts a worker among its own."""
        try:
            return address in await self._workers()
        except (OSError, RuntimeError):
            return False

    def leave(self, lane: _Lane) -> None:
        """Note that a worker is lost."""
        if self._lanes.get(lane.address) is lane:
            log.warning("The worker %s is lost: its rows are asked elsewhere", lane.address)
            del self._lanes[lane.address]
        lane.stop()

    async def _open(self, address: str, threads: int) -> None:
        opening = (self.name, self._payload, station.version())
        try:
            refusal = await self.call(station.open_, *opening, at=address)
        except _Gone as error:
            refusal = f"{address} does not know alloy_nb, or cannot be reached ({error})"
            if not await self.is_there(address):
                return
        if refusal:
            self._refused[address] = str(refusal)
            log.warning("The worker %s cannot ask: %s", address, refusal)
            return
        await self._submit(station.anchor, self.name, workers=[address], allow_other_workers=False)
        self._lanes[address] = _Lane(self, address, threads)
        self._changed.set()
        self._changed = asyncio.Event()

    async def _submit(self, function: Callable[..., Any], *args: Any, **how: Any) -> None:
        key = f"alloy-{uuid.uuid4().hex}"

        async def work() -> Any:
            return self._client.submit(function, *args, key=key, pure=False, **how)

        self._anchors.append(await self._there(work))

    async def _release(self) -> None:
        for future in self._anchors:
            future.release()
        self._anchors.clear()

    async def _workers(self) -> dict[str, int]:
        async def work() -> Any:
            found = self._client.nthreads()
            return await found if inspect.isawaitable(found) else found

        return dict(await self._there(work))

    async def _there(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Do something on the loop of the client, whose methods are awaitable there."""

        async def run() -> Any:
            return await work()

        loop = self._client.loop.asyncio_loop
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(run(), loop))


class _Lane:
    """What goes to one worker and what comes from it."""

    def __init__(self, crew: Crew, address: str, threads: int) -> None:
        self.address = address
        self.is_well = True
        self._crew = crew
        self._threads = max(1, threads)
        self._waiting: dict[int, asyncio.Future[Report]] = {}
        self._out: list[Asked] = []
        self._more = asyncio.Event()
        self._tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._take())]

    @property
    def load(self) -> float:
        """How many rows it has, for its size; the most where it cannot be reached."""
        return len(self._waiting) / self._threads if self.is_well else float("inf")

    async def ask(self, asked: Asked) -> Report:
        """Ask a row.

        Raises:
            _Gone: The worker is lost, and the row may have been asked.
        """
        future: asyncio.Future[Report] = asyncio.get_running_loop().create_future()
        self._waiting[asked.ticket] = future
        self._out.append(asked)
        self._more.set()
        try:
            return await future
        finally:
            self._waiting.pop(asked.ticket, None)

    def stop(self) -> None:
        """Send and take no more; who waits for an answer learns that there is none."""
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(_Gone())

    async def _send(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            some, self._out = self._out, []
            if not await self._tried(station.give, some):
                return self._crew.leave(self)

    async def _take(self) -> None:
        known: list[int] = []
        while True:
            reports = await self._tried(station.take, known, _LINE)
            if reports is None:
                return self._crew.leave(self)
            known = [report.ticket for report in reports]
            for report in reports:
                future = self._waiting.get(report.ticket)
                if future is not None and not future.done():
                    future.set_result(report)

    async def _tried(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call the worker; ``None`` where it is lost, and not merely hard to reach.

        While the cluster has it, it may be asking: only when its desk has closed by itself can the
        rows be asked elsewhere.
        """
        until, wait = time.monotonic() + 1.2 * station.SILENCE, _KNOCK
        while True:
            try:
                found = await self._crew.call(function, self._crew.name, *args, at=self.address)
            except _Gone as error:
                log.warning("The worker %s cannot be reached: %s", self.address, error)
            else:
                self.is_well = True
                return found
            self.is_well = False
            # Asked before it is called again: to call one that is not there takes half a minute.
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LOOK)
            if time.monotonic() >= until or not await self._crew.is_there(self.address):
                return None


def _nothing() -> None:
    """Do nothing, as work that a cluster can see."""

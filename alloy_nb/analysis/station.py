"""What runs on a worker of a cluster: a desk that asks the rows which it is given.

It is reached by functions that the cluster calls outside of its tasks, on the worker's own loop;
the rows are asked on the process's portal, so that all maps in it share its connections. Nothing
here raises: the cluster would log the arguments of a call that did, and they hold what was asked.

An answer is kept here until the other side says that it has it. A desk to which nobody talks for
`SILENCE` seconds ends what it asks: whoever gave it the rows is gone, or takes it for lost.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar

from alloy_nb import secrets
from alloy_nb.analysis.rows import Answer, Attempt, Job, ask_once
from alloy_nb.engine import portal
from alloy_nb.engine.agent import Prompt
from alloy_nb.engine.budget import Budget
from alloy_nb.errors import AlloyError, Overloaded, ProviderError, RateLimited
from alloy_nb.providers import catalog

__all__ = ["SILENCE", "Asked", "Report", "anchor", "close", "give", "open_", "take", "version"]

log = logging.getLogger("alloy_nb")
T = TypeVar("T")

SILENCE = 60.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A row that is to be asked once.

    Args:
        ticket: Names this asking; what is given twice is asked once.
        prompt: What is said.
        lease: What it may cost at most, or ``None``.
        number: For which time the row is asked.
    """

    ticket: int
    prompt: Prompt = field(repr=False)
    lease: Decimal | None = None
    number: int = 1


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it; `wait` as in `Attempt`.

    `is_refused` says that the vendor has too much to do, and `retry_after` for how long.
    """

    ticket: int
    answer: Answer
    wait: float | None = None
    is_refused: bool = False
    retry_after: float | None = None


class _Desk:
    """The rows of one map on this worker; lives on the portal's loop."""

    def __init__(self, job: Job) -> None:
        self.closed = threading.Event()
        self._job = job
        self._agent = job.agent()
        self._asking: dict[int, asyncio.Task[None]] = {}
        self._reports: dict[int, Report] = {}
        self._newest = -1
        self._news = asyncio.Event()
        self._heard = time.monotonic()
        self._watch = asyncio.create_task(self._watched())

    def give(self, rows: Sequence[Asked]) -> None:
        """Begin to ask rows; one that was given before is not asked again."""
        self._heard = time.monotonic()
        for row in rows:
            if row.ticket > self._newest:  # they are given in the order of their tickets
                self._newest = row.ticket
                self._asking[row.ticket] = asyncio.create_task(self._ask(row))

    async def take(self, known: Sequence[int], seconds: float) -> list[Report]:
        """Return what is there, or wait for it; forget what the other side has."""
        self._heard = time.monotonic()
        for ticket in known:
            self._reports.pop(ticket, None)
        self._news.clear()
        if not self._reports:
            try:
                async with asyncio.timeout(seconds):
                    await self._news.wait()
            except TimeoutError:
                pass
        self._heard = time.monotonic()
        return list(self._reports.values())

    async def close(self) -> None:
        """End what is under way, and let nobody wait for it."""
        self.closed.set()
        self._news.set()
        tasks = [*self._asking.values(), self._watch]
        tasks = [task for task in tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, row: Asked) -> None:
        agent = self._agent
        if row.lease is not None:
            agent = agent.with_settings(budget=Budget(row.lease))
        try:
            made = await ask_once(row.prompt, self._job, agent, number=row.number)
        except AlloyError as error:  # the row itself is wrong, such as a prompt that is empty
            made = Attempt(Answer.failed(error), failure=error)
        except Exception as error:  # a fault of ours fails the row, and not the worker
            log.exception("A row failed inside")
            made = Attempt(Answer.failed(AlloyError(f"{type(error).__name__}: {error}")))
        refused = made.failure if isinstance(made.failure, RateLimited | Overloaded) else None
        self._reports[row.ticket] = Report(
            row.ticket,
            made.answer,
            made.wait,
            is_refused=refused is not None,
            retry_after=_retry_after(refused),
        )
        del self._asking[row.ticket]
        self._news.set()

    async def _watched(self) -> None:
        while time.monotonic() - self._heard < SILENCE:  # noqa: ASYNC110  # for time alone
            await asyncio.sleep(SILENCE / 10)
        log.warning("Nobody asks for the answers of a map any more, so it ends here")
        for name, desk in list(_desks.items()):
            if desk is self:
                del _desks[name]
        await self.close()


def _retry_after(error: ProviderError | None) -> float | None:
    return None if error is None else error.retry_after


_desks: dict[str, _Desk] = {}


# --- what the cluster calls, on the worker's own loop -----------------------------------------


async def open_(name: str, payload: bytes, wanted: str) -> str:
    """Open a desk of the wanted version; return why it cannot be opened, or nothing."""
    try:
        return await _on_portal(_open(name, payload, wanted))
    except Exception as error:  # see the module: nothing here raises
        return f"{type(error).__name__}: {secrets.redact(str(error))}"


async def give(name: str, rows: Sequence[Asked]) -> bool:
    """Give a desk rows to ask; tell whether there is such a desk."""

    async def work() -> bool:
        desk = _desks.get(name)
        if desk is not None:
            desk.give(rows)
        return desk is not None

    return await _on_portal(work())


async def take(name: str, known: Sequence[int], seconds: float) -> list[Report] | None:
    """Return what came of rows; ``None`` where there is no such desk."""

    async def work() -> list[Report] | None:
        desk = _desks.get(name)
        return None if desk is None else await desk.take(known, seconds)

    return await _on_portal(work())


async def close(name: str) -> None:
    """Close a desk, and end what it asks."""

    async def work() -> None:
        desk = _desks.pop(name, None)
        if desk is not None:
            await desk.close()

    await _on_portal(work())


def version() -> str:
    """Return this package's version."""
    return str(sys.modules["alloy_nb"].__dict__["__version__"])


def anchor(name: str) -> None:
    """Hold a worker as long as a desk is open there: a task that keeps no thread of the cluster.

    Without a task a cluster that adapts its size would take the worker for idle, and close it.
    """
    from distributed import secede

    desk = _desks.get(name)
    if desk is None:
        return
    secede()  # type: ignore[no-untyped-call]
    desk.closed.wait()


async def _open(name: str, payload: bytes, wanted: str) -> str:
    import pickle

    if wanted != version():
        return f"it has alloy_nb {version()}, and this process {wanted}: install the same"
    if name not in _desks:
        # It comes from whoever may run any code on this worker anyway.
        job, prices, windows = pickle.loads(payload)  # noqa: S301  # see above
        for model, price in prices.items():
            catalog.override(model, price=price)
        for model, window in windows.items():
            catalog.override(model, context_window=window)
        _desks[name] = _Desk(job)
    return ""


async def _on_portal(work: Coroutine[Any, Any, T]) -> T:
    return await asyncio.wrap_future(portal.spawn(work))

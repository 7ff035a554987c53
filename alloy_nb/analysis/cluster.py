"""Rows asked by the workers of a Dask cluster: ``al.map(..., client=client)``.

::

    this process                                     each worker
    Clustered: money, pace, retries, order    give   station: one desk, one portal,
    a lane for each worker                    ─────▶ its own connections
                                              ◀───── asks each row once
                                               take

What has to hold for all workers together is decided here alone. A row is given to a worker with a
lease: what it may cost at most is set aside in the budget before it leaves, and settled when its
answer is here, so that workers need not know of each other and nothing can be overspent. How many
rows are in flight on the whole cluster is one `Pace`; a worker asks once and reports when the
vendor refuses, and this side decides when it is asked again.

A worker that is lost: what it had reported is kept. What was in flight there may have been asked,
and paid: the whole lease counts as spent, and the row is asked again elsewhere, unless it has
tools, which may have run; then it is an error. A worker asks nothing any more that nobody takes
(`station.SILENCE`), so one that is only cut off does not go on for long.

Rows are no tasks of the cluster: they are handed over by ``Client.run``. A task that was under way
on a lost worker would be run again by the scheduler, unasked and unpaid for here; its result would
be lost with the worker that holds it; and prompts would lie in the scheduler's state. All that the
scheduler and its dashboard see is one task for each worker, ``alloy-…`` and a random name, which
holds the worker (see `station.anchor`). Prompts and answers pass through the scheduler's memory.

Keys: each worker takes its own, from its own environment (``keys="worker"``). With ``keys="send"``
the key goes along with what opens a desk: pickled, in a message that passes through the scheduler's
process and is not kept there, and then in the worker's memory until the map ends. On the network
it can be read by others unless the cluster uses TLS (``distributed.security.Security``). It is
never part of a task, a name, an event, a log or the dashboard.

The headers in which a vendor says how much is left are not told by workers; refusals are. Memory
here is that of the rows in flight. A row takes an exchange with its worker through the scheduler,
some milliseconds on one machine, which rows of the same worker share: for prompts that are answered
at once this process alone is faster. What a cluster adds is the machines' own addresses and
connections, and room for tools that compute.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from alloy_nb.analysis.crew import Crew
from alloy_nb.analysis.pace import Pace
from alloy_nb.analysis.rows import Answer, Done, Job, Row, Source
from alloy_nb.analysis.station import Asked, Report
from alloy_nb.engine.agent import message_of
from alloy_nb.engine.budget import RESERVED_OUTPUT, Budget, Spending
from alloy_nb.errors import AlloyError, BudgetExceeded, ConfigError, RateLimited
from alloy_nb.providers import catalog
from alloy_nb.providers.base import ModelRequest, Provider
from alloy_nb.providers.vendor import VendorProvider
from alloy_nb.usage import Cost, Usage

__all__ = ["Clustered", "Keys"]

Keys = Literal["worker", "send"]
# Workers that are lost with one and the same row on them: the row may be the reason.
_LOSSES = 3
# Replies for which money is set aside where a row may have several.
_TURNS = 8


class Clustered:
    """Asks on the workers of a cluster (an `Executor`).

    Args:
        job: What is the same for all rows.
        budget: What may be spent, or ``None``.
        pace: How many rows are in flight on the whole cluster.
        client: A ``dask.distributed.Client``; an asynchronous one goes with `amap` alone.
        keys: Where workers have their keys from (see the module).

    Raises:
        ConfigError: The job cannot be sent to other processes.
    """

    def __init__(
        self, job: Job, *, budget: Budget | None, pace: Pace, client: Any, keys: Keys = "worker"
    ) -> None:
        self._job = job
        self._agent = agent = job.agent(budget=budget)
        self._budget, self._pace = budget, pace
        self._spending = Spending(budget, agent.unknown_price)
        self._providers: Sequence[Provider] = (job.provider, *agent.fallback_providers)
        options = agent.options
        if budget is not None and options.max_output_tokens is None:
            options = replace(options, max_output_tokens=RESERVED_OUTPUT)  # as the loop does
        own = () if job.structured is None else (job.structured.spec,)
        self._request = ModelRequest([], agent.instructions, (*agent.tool_specs, *own), options)
        self._crew = Crew(client, _payload(job, keys), hint=_hint(keys))
        self._tickets = itertools.count()
        self._asking = 0
        self._settled = asyncio.Event()

    @property
    def in_flight(self) -> int:
        """How many rows are being asked."""
        return self._pace.in_flight

    @property
    def waiting(self) -> str:
        """What all wait for, in words; empty where nobody has to."""
        return self._pace.waiting or self._crew.waiting

    @property
    def left_running(self) -> str:
        """Nothing: what is interrupted ends."""
        return ""

    async def ask(self, rows: Source, done: Done) -> None:
        """Ask all rows (see `Executor`).

        Raises:
            ConfigError: No worker can ask: alloy_nb is not there, or of another version.
        """
        tasks = [asyncio.create_task(self._crew.work())]
        tasks += [asyncio.create_task(self._work(rows, done)) for _ in range(self._pace.most)]
        try:
            await _all_but_first(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._crew.close()

    async def _work(self, rows: Source, done: Done) -> None:
        while (row := await rows.take()) is not None:
            done(row, await self._answer(row))

    async def _answer(self, row: Row) -> Answer:
        """Ask a row, again where that may help, each time within a lease of its own."""
        usage, cost, number, losses = Usage(), Cost(), 1, 0
        while True:
            try:
                lease = await self._lease(row)
            except AlloyError as error:
                return Answer.failed(error, usage=usage, cost=cost, attempts=number)
            report = await self._once(row, lease, number)
            answer = _lost() if report is None else report.answer
            usage, cost = usage + answer.usage, cost + answer.cost
            losses += report is None
            if report is None and not self._agent.tools and losses < _LOSSES:
                continue
            wait = None if report is None else report.wait
            if wait is None and not self._is_short(answer):
                return replace(answer, usage=usage, cost=cost, attempts=number)
            number += 1
            await asyncio.sleep(wait or 0.0)

    def _is_short(self, answer: Answer) -> bool:
        """Tell whether a row needs another lease, since the first reply used up the one it had."""
        return answer.kind == BudgetExceeded.__name__ and not self._agent.tools

    async def _once(self, row: Row, lease: Decimal | None, number: int) -> Report | None:
        """Ask a row on some worker; ``None`` where that was lost."""
        spent = Cost.unknown()
        try:
            begun = await self._pace.enter()
            try:
                asked = Asked(next(self._tickets), row.prompt, lease, number)
                report = await self._crew.ask(asked)
                if report is not None:
                    spent = report.answer.cost
                    self._learn(report, begun)
                return report
            finally:
                self._pace.leave()
        finally:
            self._settle(lease, spent)

    def _learn(self, report: Report, begun: float) -> None:
        if report.is_refused:
            name = self._job.provider.name
            error = RateLimited("too much", provider=name, retry_after=report.retry_after)
            self._pace.refused(error, begun)
        elif report.answer.error is None:
            self._pace.answered()

    # --- money --------------------------------------------------------------------------------

    async def _lease(self, row: Row) -> Decimal | None:
        """Set aside what a row may cost at most; wait while others may give something back.

        Raises:
            BudgetExceeded: There is no room for it, and nobody will give any back.
            ConfigError: There is nothing to ask, or the price is unknown.
        """
        if self._budget is None:
            return None
        message = message_of(row.prompt)
        request = replace(self._request, messages=[] if message is None else [message])
        while True:
            settled = self._settled
            try:
                lease = self._set_aside(request, self._budget)
            except BudgetExceeded:
                if not self._asking:
                    raise
                await settled.wait()
            else:
                self._asking += 1
                return lease

    def _set_aside(self, request: ModelRequest, budget: Budget) -> Decimal:
        lease = self._spending.reserve(self._providers, request)
        if not self._agent.tools:
            return lease
        more = lease * (min(self._agent.max_turns, _TURNS) - 1)
        try:
            budget.reserve(more)
        except BudgetExceeded:
            budget.settle(lease, Cost())
            raise
        return lease + more

    def _settle(self, lease: Decimal | None, cost: Cost) -> None:
        if lease is None or self._budget is None:
            return
        self._budget.settle(lease, cost)
        self._asking -= 1
        self._settled.set()
        self._settled = asyncio.Event()


def _lost() -> Answer:
    text = (
        "The worker that asked this row was lost, and whether it was answered, and its tools ran, "
        "is not known. Run it again to ask anew."
    )
    return Answer(error=text, kind="WorkerLost", cost=Cost.unknown())


async def _all_but_first(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait for all tasks but the first, which has no end of its own, or for what one raises."""
    first, rest = tasks[0], set(tasks[1:])
    while rest:
        over, left = await asyncio.wait({first, *rest}, return_when=asyncio.FIRST_COMPLETED)
        for task in over:
            task.result()
        rest = left - {first}


# --- what is sent -------------------------------------------------------------------------------

_HEADERS = ("authorization", "key", "token", "cookie", "secret")


def _payload(job: Job, keys: Keys) -> bytes:
    """Return the job as it is sent, with its keys only where that is allowed."""
    if keys not in ("worker", "send"):
        raise ConfigError(f"keys must be 'worker' or 'send', not {keys!r}.")
    settings = dict(job.settings)
    if others := settings.get("fallback_providers"):
        settings["fallback_providers"] = [_sent(provider, keys) for provider in others]
    sent = Job(_sent(job.provider, keys), job.schema, settings, job.retry)
    prices, windows = catalog.overrides()
    try:
        import cloudpickle
    except ImportError:
        raise ConfigError(
            "client= needs dask.distributed: install it with pip install distributed."
        ) from None
    try:
        data: bytes = cloudpickle.dumps((sent, prices, windows))
    except Exception as error:  # whatever objects of the user's say when they cannot be pickled
        raise ConfigError(
            f"What is asked cannot be sent to workers ({type(error).__name__}: {error}). Leave out "
            "http_client= and settings that hold open files, connections or locks."
        ) from None
    return data


def _sent(provider: Provider, keys: Keys) -> Provider:
    if not isinstance(provider, VendorProvider):
        return provider
    sent = copy.copy(provider)
    if keys == "send":
        key = provider._key_value()
        sent._api_key = None if not key else SecretStr(key)
        return sent
    sent._api_key = None
    headers = any(word in name.lower() for name in sent.extra_headers for word in _HEADERS)
    if headers or urlsplit(sent.base_url).password:
        raise ConfigError(
            "extra_headers= or base_url= holds a key, which does not go to the workers of a "
            "cluster unless you allow it: give keys='send', or leave it out."
        )
    return sent


def _hint(keys: Keys) -> str:
    if keys == "send":
        return "alloy_nb has to be installed on the workers, in the same version."
    return "alloy_nb has to be installed on the workers, in the same version as here."

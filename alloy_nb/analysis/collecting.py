"""One batch of rows at a vendor: made, found again, waited for, and read.

Nothing here decides which rows go into which batch (see `batches`).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from typing import TypeVar

from alloy_nb.analysis.rows import Answer, Done, Job, Row, outcome
from alloy_nb.analysis.submitted import Batch, Submitted, now
from alloy_nb.engine.budget import Budget, Spending, UnknownPrice, price
from alloy_nb.engine.run import Result, RunStatus
from alloy_nb.errors import (
    AlloyError,
    BudgetExceeded,
    ConnectionFailed,
    Overloaded,
    ProviderError,
    RateLimited,
    ServerFault,
    StreamTruncated,
    TimedOut,
)
from alloy_nb.events import ModelEvent
from alloy_nb.messages import StopReason
from alloy_nb.providers.base import ModelRequest, Provider
from alloy_nb.providers.batches import Batches, BatchState, Outcome, canceled, expired
from alloy_nb.providers.fold import Reply
from alloy_nb.usage import Cost, Usage

__all__ = ["Collector", "Part", "Patience"]

log = logging.getLogger("alloy_nb")
T = TypeVar("T")

# After these a batch may have been made: the answer is missing, or is no answer of the interface.
_UNCLEAR = (ConnectionFailed, TimedOut, StreamTruncated, ServerFault, Overloaded)
# What a slow line sends in a second.
_SLOWEST = 100_000
_NOT_FOUND = 404
_TRIES, _LOOKS, _DOWNLOADS = 8, 20, 3
# A clock that is wrong, by a zone too, must not hide a batch.
_DAY = 86_400.0
_NOT_YET = Batch("", None, 0.0, 0.0, 0, Decimal(0))


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds.

    Args:
        first: Until a batch is looked at first; each wait is half as long again as the one before.
        longest: The longest of them.
        listing: How long a vendor may take until a batch that was sent is in its list.
    """

    first: float = 2.0
    longest: float = 60.0
    listing: float = 30.0


@dataclass(slots=True, eq=False)
class Part:
    """A batch, and the rows of this call that are in it and have no answer yet.

    `held` is what is set aside for each of them.
    """

    label: str
    batch: Batch = _NOT_YET
    rows: dict[str, Row] = field(default_factory=dict)
    held: dict[str, Decimal] = field(default_factory=dict)
    done: int = 0


class _Taken(Exception):
    """Another process asks some of the rows, or has the answers already."""


class Collector:
    """Makes batches and brings in what came of them.

    Args:
        job: What is the same for all rows.
        batches: The vendor's interface.
        submitted: Where it is noted what was sent.
        budget: What may be spent, or ``None``.
        unknown_price: What to do under a limit where the price is unknown.
        patience: How long to wait.
        fresh: Whether what was answered before is asked anew.
    """

    def __init__(
        self,
        job: Job,
        batches: Batches,
        submitted: Submitted,
        *,
        budget: Budget | None,
        unknown_price: UnknownPrice,
        patience: Patience,
        fresh: bool = False,
    ) -> None:
        self._job = job
        self._batches = batches
        self._submitted = submitted
        self._budget = budget
        self._spending = Spending(budget, unknown_price)
        self._priced = _Priced(batches.provider, batches.wire.share)
        self._patience = patience
        self._fresh = fresh
        self._began = now()
        self.running: list[Part] = []

    # --- money --------------------------------------------------------------------------------

    def reserve(self, request: ModelRequest) -> Decimal:
        """Set aside what a row may cost at most.

        Raises:
            BudgetExceeded: There is no room for it.
            ConfigError: Its price is unknown.
        """
        return self._spending.reserve((self._priced,), request)

    def adopt(self, batch: Batch) -> Part:
        """Return a batch of an earlier call, with its money set aside as far as there is room.

        It runs already: a limit can keep other rows from being asked, but not take this back.
        """
        if self._budget is not None:
            with contextlib.suppress(BudgetExceeded):
                self._budget.reserve(batch.reserved)
                return Part(batch.label, batch, held={"": batch.reserved})
        return Part(batch.label, batch)

    def give_back(self, held: Decimal, cost: Cost) -> None:
        """Settle what was set aside."""
        if self._budget is not None:
            self._budget.settle(held, cost)

    # --- making -------------------------------------------------------------------------------

    async def make(self, part: Part, lines: Sequence[bytes]) -> bool:
        """Make a batch of these lines.

        Returns:
            Whether it was, or may have been; not where another process asks some of its rows.

        Raises:
            AlloyError: It was refused, and there is none.
        """
        # A file that is uploaded twice costs nothing.
        uploaded = await self._tried(lambda: self._batches.upload(lines, part.label), _UNCLEAR)
        taking = self._patience.listing + sum(map(len, lines)) / _SLOWEST
        self.running.append(part)  # from here on it may be there, whatever happens
        try:
            state = await self._tried(lambda: self._create(part, lines, uploaded, taking))
        except _Taken:
            self.running.remove(part)
            self._settle_rest(part, Cost())
            return False
        except _UNCLEAR as error:
            log.warning("Whether a batch was made is looked up: %s", error)
        except AlloyError:
            self._submitted.forget(part.label)
            self.running.remove(part)
            raise
        else:
            self._note(part, state)
        return True

    def answered(self, part: Part) -> dict[str, Answer]:
        """Return the answers to rows that another process asked meanwhile."""
        return self._submitted.answered(part.rows, since=self._began)

    def is_to_be_collected(self, batch: Batch) -> bool:
        """Return whether the rows of a batch wait for it, also where all is asked anew."""
        return not self._fresh or batch.is_fresh or batch.made >= self._began

    async def _create(
        self, part: Part, lines: Sequence[bytes], uploaded: str | None, taking: float
    ) -> BatchState:
        moment, most = now(), sum(part.held.values(), Decimal(0))
        about = (moment, moment + taking, len(lines), most)
        part.batch = Batch(part.label, None, *about, is_fresh=self._fresh)
        if not self._submitted.intend(part.batch, part.rows, since=self._began):
            raise _Taken
        return await self._batches.create(lines, part.label, uploaded)

    async def _tried(
        self, work: Callable[[], Awaitable[T]], also: tuple[type[ProviderError], ...] = ()
    ) -> T:
        """Do it again where the vendor said that it was too much, and so did nothing."""
        retry, attempt = self._job.retry, 0
        while True:
            try:
                return await work()
            except ProviderError as error:
                attempt += 1
                delay = retry.delay(attempt, error)
                may = isinstance(error, (RateLimited, *also))
                if not may or attempt >= _TRIES or delay > retry.longest_wait:
                    raise
                await retry.sleep(delay)

    def _note(self, part: Part, state: BatchState) -> None:
        part.batch = replace(part.batch, id=state.id)
        self._submitted.made(part.label, state.id)

    # --- collecting ---------------------------------------------------------------------------

    async def collect(self, part: Part, done: Done) -> list[Row]:
        """Wait for a batch and hand on what came of its rows.

        Returns:
            The rows that are not at the vendor after all, and have to be asked.
        """
        if part not in self.running:
            self.running.append(part)
        try:
            if part.batch.id is None:
                found = await self._found(part.label)
                if found is None:
                    return self._released(part)
                self._note(part, found)
            # Nobody needs the prompts any more.
            part.rows = {key: replace(row, prompt="") for key, row in part.rows.items()}
            await self._hand_on(part, await self._over(part), done)
        except AlloyError as error:
            self.fail(part, self._explained(error, part), done)
        self.running.remove(part)  # what is cancelled runs on at the vendor
        return []

    def _explained(self, error: AlloyError, part: Part) -> AlloyError:
        if isinstance(error, StreamTruncated):
            self._submitted.lapse(part.label)
        if isinstance(error, StreamTruncated) or not isinstance(error, ProviderError):
            return error  # it says itself what to do
        name = self._batches.provider.name
        if error.status != _NOT_FOUND:
            text = f"{error} Its batch is kept: run it again to collect it; nothing is paid twice."
            return type(error)(text, provider=name, model=error.model, status=error.status)
        self._submitted.lapse(part.label)
        return ProviderError(
            f"{name} does not know the batch {part.batch.id}, any more or with this key. Use the "
            "key that made it, or ask these rows anew, and pay again: them alone, with fresh=True.",
            provider=name,
            model=self._batches.provider.model,
            status=_NOT_FOUND,
        )

    def _released(self, part: Part) -> list[Row]:
        self._settle_rest(part, Cost())
        self.running.remove(part)
        return list(part.rows.values())

    async def _found(self, label: str) -> BatchState | None:
        """Look for a batch in the vendor's list until it is there, or sure not to be.

        Whoever made it may be another process that is still at it, and know more by now.
        """
        wait = self._patience.first
        while (batch := self._submitted.note(label)) is not None:
            if batch.id is not None:
                return await self._looked(partial(self._batches.state, batch.id))
            is_late = now() >= batch.due  # before the look: what was sent is in the list by then
            found, candidates = await self._looked(partial(self._searched, batch))
            if found is not None:
                return found
            is_absent = is_late and all(state.is_over for state in candidates)
            if is_absent and self._submitted.release(batch):
                return None
            await asyncio.sleep(wait)
            wait = min(wait * 1.5, self._patience.longest)
        return None

    async def _searched(self, batch: Batch) -> tuple[BatchState | None, list[BatchState]]:
        """Look for a batch once; return it, or else what it could be."""
        candidates = [state async for state in self._candidates(batch)]
        for state in candidates:
            if await self._is_it(state, batch):
                return state, candidates
        return None, candidates

    async def _candidates(self, batch: Batch) -> AsyncGenerator[BatchState, None]:
        """Yield the batches that may be this one; of some vendors, those of the same size."""
        known = {other.id for other in self._submitted.open()[0].values()}
        async with contextlib.aclosing(self._batches.since(batch.made - _DAY)) as states:
            async for state in states:
                if state.label == batch.label or (
                    state.label is None and state.total == batch.size and state.id not in known
                ):
                    yield state

    async def _is_it(self, state: BatchState, batch: Batch) -> bool:
        if state.label is not None:
            return True
        first = await self._batches.first_id(state) if state.is_over else None
        return first is not None and first.startswith(f"{batch.label}-")

    async def _over(self, part: Part) -> BatchState:
        """Wait for the end of a batch."""
        wait = self._patience.first
        while True:
            state = await self._looked(partial(self._batches.state, str(part.batch.id)))
            part.done = state.done
            if state.is_over:
                return state
            await asyncio.sleep(wait)
            wait = min(wait * 1.5, self._patience.longest)

    async def _looked(self, look: Callable[[], Awaitable[T]]) -> T:
        """Look again while the vendor does not answer: what is there stays there meanwhile."""
        for failures in itertools.count(1):
            try:
                return await look()
            except ProviderError as error:
                if not _may_pass(error) or failures >= _LOOKS:
                    raise
            await asyncio.sleep(self._pause(failures))
        raise AssertionError  # there is no end of numbers

    def _pause(self, number: int) -> float:
        return min(self._patience.first * 1.5 ** (number - 1), self._patience.longest)

    async def _hand_on(self, part: Part, state: BatchState, done: Done) -> None:
        if state.failure is not None:
            self._submitted.forget(part.label)
            error = self._batches.provider.stream_error(state.failure)
            self.fail(part, error, done, cost=Cost())
            return
        lacking, failures = 0, 0
        while part.rows:
            left = len(part.rows)
            try:
                await self._read(part, state, done)
            except ProviderError as error:
                failures = 1 if len(part.rows) < left else failures + 1
                most = _DOWNLOADS if isinstance(error, StreamTruncated) else _LOOKS
                if not _may_pass(error) or failures >= most:
                    raise
            else:
                lacking += 1
                if lacking >= _DOWNLOADS:
                    break
            if part.rows:
                await asyncio.sleep(self._pause(failures + lacking))
        self._lack(part, state, done)

    def _lack(self, part: Part, state: BatchState, done: Done) -> None:
        """Let the rows fail that the results do not have, and settle the rest."""
        keys, provider = list(part.rows), self._batches.provider
        if not keys:
            self._settle_rest(part, Cost())
        elif state.ended_early:  # what was not answered by then is not paid
            reason = expired if state.ended_early == "expired" else canceled
            self.fail(part, reason(provider), done, cost=Cost())
            self._submitted.drop(part.label, keys)
        else:
            self._submitted.lapse(part.label)
            text = (
                "The results of the batch lack this row. Run it again to fetch it; or ask, and "
                "pay, it anew: it alone, with fresh=True."
            )
            self.fail(part, ServerFault(text), done)

    async def _read(self, part: Part, state: BatchState, done: Done) -> None:
        """Hand on what came of each row; one that failed may be asked again from then on."""
        failed: list[str] = []
        try:
            async with contextlib.aclosing(self._batches.outcomes(state)) as outcomes:
                async for out in outcomes:
                    key = out.custom_id.removeprefix(f"{part.label}-")
                    if (row := part.rows.pop(key, None)) is None:
                        continue
                    answer = self._answer(out, part, key)
                    done(row, answer)
                    failed += [key] if answer.error is not None else []
        finally:
            self._submitted.drop(part.label, failed)
            self._submitted.clean()

    # --- answers ------------------------------------------------------------------------------

    def _answer(self, out: Outcome, part: Part, key: str) -> Answer:
        held, reply = part.held.pop(key, Decimal(0)), out.reply
        if reply is None:
            error = out.error or ServerFault("There was no answer.")
            # What was answered, and could not be read, was paid for all the same.
            cost = Cost.unknown() if isinstance(error, StreamTruncated) else Cost()
            self.give_back(held, cost)
            return Answer.failed(error, cost=cost, model=self._model)
        cost = self._spending.settle(held, self._priced, reply.usage)
        usage = reply.usage or Usage(unreported=1)
        text, failure = self._judged(reply, usage, cost)
        if failure is not None:
            return Answer.failed(failure, usage=usage, cost=cost, model=self._model)
        return Answer(text, usage=usage, cost=cost, model=self._model)

    def _judged(
        self, reply: Reply, usage: Usage, cost: Cost
    ) -> tuple[str | None, AlloyError | None]:
        """Return the answer of a reply, or why it is none, as of a run with one turn."""
        message = reply.message
        if reply.stop is StopReason.PAUSE:
            return None, AlloyError("The vendor paused its answer, and a batch cannot go on.")
        if reply.stop is StopReason.REFUSAL and not (message.text or message.tool_calls):
            return None, ProviderError(f"{self._model} refused to answer. Ask in other words.")
        result = Result(
            text=message.text,
            thinking=message.thinking,
            messages=[message],
            usage=usage,
            cost=cost,
            tool_calls=[],
            status=RunStatus.COMPLETED,
            turns=1,
            stop_reason=reply.stop,
        )
        return outcome(result, self._job)

    def fail(self, part: Part, error: AlloyError, done: Done, *, cost: Cost | None = None) -> None:
        """Let the rest of a batch fail; without a `cost`, it may still be paid for."""
        spent = Cost.unknown() if cost is None else cost
        self._settle_rest(part, spent)
        for row in part.rows.values():
            done(row, Answer.failed(error, cost=spent, model=self._model))
        part.rows.clear()

    def _settle_rest(self, part: Part, cost: Cost) -> None:
        for held in part.held.values():
            self.give_back(held, cost)
        part.held.clear()

    @property
    def _model(self) -> str:
        return f"{self._job.provider.name}/{self._job.provider.model}"


class _Priced:
    """A provider at its price for batches; the engine asks a provider that knows its own price."""

    def __init__(self, provider: Provider, share: Decimal) -> None:
        self.name, self.model = provider.name, provider.model
        self.options = getattr(provider, "options", None)
        self._provider, self._share = provider, share

    def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """Nothing is streamed in a batch."""
        raise NotImplementedError

    def cost(self, usage: Usage | None) -> Cost:
        """Return what a reply cost; what a search costs besides is not known to be cheaper."""
        whole = price(self._provider, usage)
        if usage is None or not usage.searches:
            return Cost(known=whole.known * self._share, complete=whole.complete)
        tokens = price(self._provider, usage.model_copy(update={"searches": 0})).known
        return Cost(known=whole.known - tokens * (1 - self._share), complete=whole.complete)


def _may_pass(error: ProviderError) -> bool:
    return error.retryable or isinstance(error, StreamTruncated)

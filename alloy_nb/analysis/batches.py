"""Rows asked through a vendor's batches: within a day, at the vendor's lower price.

The same call as a live map: ``al.map(..., mode="batch")``. It makes batches, waits for them, and
hands on what came of each row. Whoever interrupts it leaves the batches running at the vendor; the
same call later, also after a restart, waits for the same batches and asks nothing twice.

What never happens is that a row is submitted twice. A batch is noted on disk before it is sent
(`submitted`), and what makes it is sent once. When no answer comes, or the process dies, between
sending and noting the vendor's id, there is a window in which the batch may exist or not. Then it
is looked for in the vendor's list: by our label at OpenAI, which keeps it; at Anthropic by its size
and then by the ids of its requests, which can be read only when it has ended. A candidate that is
still running is waited for. Only when there is none, and the vendor has had the time to take one
in, are the rows submitted again. Another process that asks the same rows with the same file waits
for the same batch. What none of this covers is a file of checkpoints that is thrown away, and a
power cut that takes the note with it.

What ``fresh=True`` asks anew is collected by the same call again, too. What it does not wait for
are batches of calls without it: their rows are asked, and paid, anew.

Money: what each row may cost at most is set aside before it is submitted, at the batch's price.
Rows for which there is no room wait until a batch has been settled, so that a low limit makes many
small batches one after the other; a limit on output (``max_output_tokens=``) makes them large.

Not for rows with tools: nobody is there to run them. A row whose answer does not fit the schema is
not asked a second time within the call; the next call asks it again, like all rows that failed.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Collection
from dataclasses import replace
from decimal import Decimal

from alloy_nb.analysis.collecting import Collector, Part, Patience
from alloy_nb.analysis.rows import Answer, Done, Job, Row, Source
from alloy_nb.analysis.submitted import File, Submitted
from alloy_nb.engine.agent import message_of
from alloy_nb.engine.budget import RESERVED_OUTPUT, Budget
from alloy_nb.errors import AlloyError, BudgetExceeded, ConfigError, ContextOverflow
from alloy_nb.providers.base import ModelOptions, ModelRequest
from alloy_nb.providers.batches import batches_of
from alloy_nb.usage import Cost

__all__ = ["PATIENCE", "Batched", "Patience"]

PATIENCE = Patience()
# A batch is held in memory while it is sent; several smaller ones cost the same.
_MOST_BYTES = 64_000_000
# What stands around the requests, at the most.
_AROUND = 10_000


class Batched:
    """Asks through a vendor's batches (an `Executor`).

    Args:
        job: What is the same for all rows.
        budget: What may be spent, or ``None``.
        file: The checkpoints, where it is noted what was submitted.
        fresh: Whether rows that are in a batch without it are asked anew, and paid again.
        patience: How long it waits; else `PATIENCE`.

    Raises:
        ConfigError: The provider has no batches, or a setting does not go with them.
    """

    def __init__(
        self,
        job: Job,
        *,
        budget: Budget | None,
        file: File,
        fresh: bool = False,
        patience: Patience | None = None,
    ) -> None:
        agent = job.agent(budget=budget)
        if agent.tools or agent.middleware or agent.fallback_providers:
            raise ConfigError(
                "mode='batch' takes no tools=, middleware= or fallback_providers=: the vendor "
                "answers alone. Leave them out, or leave mode= out."
            )
        self._job, self._fresh = job, fresh
        self._batches = batches_of(job.provider)
        where = f"{job.provider.name}@{self._batches.provider.host}"
        self._submitted = Submitted(file, where)
        self._collector = Collector(
            job,
            self._batches,
            self._submitted,
            budget=budget,
            unknown_price=agent.unknown_price,
            patience=patience or PATIENCE,
            fresh=fresh,
        )
        self._system = agent.instructions
        self._options = _options(job, agent.options, is_limited=budget is not None)
        wire = self._batches.wire
        self._most_rows = wire.most_requests
        self._most_bytes = min(_MOST_BYTES, wire.most_bytes) - _AROUND

    @property
    def share(self) -> Decimal:
        """What a row costs here, as a share of its price outside of a batch."""
        return self._batches.wire.share

    @property
    def submitted(self) -> Collection[str]:
        """The keys of the rows that are in a batch already, for which it would wait."""
        batches, label_of = self._submitted.open()
        waits = self._collector.is_to_be_collected
        return {key for key, label in label_of.items() if waits(batches[label])}

    @property
    def waiting(self) -> str:
        """What is waited for, in words; empty where nothing is."""
        parts = self._collector.running
        if not parts:
            return ""
        count = "a batch" if len(parts) == 1 else f"{len(parts)} batches"
        rows, done = sum(p.batch.size for p in parts), sum(p.done for p in parts)
        return f"waiting for {count} at {self._job.provider.name}: {done:,} of {rows:,} answered"

    @property
    def in_flight(self) -> int:
        """How many rows are in batches that run."""
        return sum(len(part.rows) for part in self._collector.running)

    @property
    def left_running(self) -> str:
        """What goes on at the vendor after an interrupt, for the person; empty where nothing."""
        if not self.in_flight:
            return ""
        also = (
            "with fresh=True, what is answered by then is asked anew"
            if self._fresh
            else "nothing is asked twice"
        )
        return (
            f"{self.in_flight:,} rows go on in batches at {self._job.provider.name}. Run the same "
            f"again to collect them: {also}."
        )

    async def ask(self, rows: Source, done: Done) -> None:
        """Ask all rows (see `Executor`)."""
        asking = _Asking(self, rows, done)
        try:
            await asking.run()
        finally:
            await asking.stop()

    def request(self, row: Row) -> ModelRequest:
        """Return what is asked of a row.

        Raises:
            ConfigError: There is nothing to ask.
        """
        message = message_of(row.prompt)
        structured = self._job.structured
        return ModelRequest(
            messages=[] if message is None else [message],
            system=self._system,
            tools=() if structured is None else (structured.spec,),
            options=self._options,
        )


def _options(job: Job, options: ModelOptions, *, is_limited: bool) -> ModelOptions:
    if is_limited and options.max_output_tokens is None:
        options = replace(options, max_output_tokens=RESERVED_OUTPUT)  # as the loop does
    structured = job.structured
    if structured is None or options.tool_choice is not None:
        return options
    # There is no second turn in which a model could be reminded, so it has to call at once;
    # Anthropic's cannot be forced where they think.
    all_ = options.over(getattr(job.provider, "options", None) or ModelOptions())
    thinks = all_.effort not in (None, "off") or all_.thinking_budget is not None
    if thinks and job.provider.name == "anthropic":
        return options
    return replace(options, tool_choice=structured.spec.name)


class _Asking:
    """One `ask`: takes rows, puts each into a batch, or finds the batch that it is in already."""

    def __init__(self, asker: Batched, rows: Source, done: Done) -> None:
        self._asker = asker
        self._rows, self._done = rows, done
        self._batches, self._collector = asker._batches, asker._collector
        self._open, self._label_of = asker._submitted.open()
        self._adopted: dict[str, Part] = {}
        self._again: deque[Row] = deque()
        self._short: tuple[Row, BudgetExceeded] | None = None
        self._is_over = False
        self._tasks: set[asyncio.Task[list[Row]]] = set()

    async def run(self) -> None:
        """Ask until every row has its answer."""
        while True:
            part, lines = await self._filled()
            if part.rows:
                await self._send(part, lines)
            elif self._short is not None and not self._tasks and not self._adopted:
                row, error = self._short
                self._short = None
                self._done(row, Answer.failed(error))
            if self._is_over or self._short is not None:
                self._collect_adopted()
            if self._again or not (self._is_over or self._short is not None):
                continue  # there are rows that can be asked now
            if self._tasks:
                await self._wait()
            elif self._short is None:
                return

    async def stop(self) -> None:
        """Wait no longer; what was submitted goes on at the vendor."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _filled(self) -> tuple[Part, list[bytes]]:
        """Take rows until a batch is full, there is no room for another one, or none is left."""
        part, size = Part(secrets.token_hex(6)), 0
        lines: list[bytes] = []
        while len(lines) < self._asker._most_rows:
            row = await self._next()
            if row is None:
                break
            if self._is_submitted(row):
                continue
            line = self._line(part, row)
            if line is None:
                if self._short is not None:
                    break
                continue
            if size + len(line) + 1 > self._asker._most_bytes:
                self._collector.give_back(part.held.pop(row.key), Cost())
                self._too_much(row, is_alone=not lines)
                break
            part.rows[row.key] = row
            lines.append(line)
            size += len(line) + 1
        return part, lines

    async def _next(self) -> Row | None:
        if self._short is not None:
            (short, _), self._short = self._short, None
            return short
        if self._again:
            return self._again.popleft()
        row = None if self._is_over else await self._rows.take()
        self._is_over = row is None
        return row

    def _is_submitted(self, row: Row) -> bool:
        """Tell whether a row is in a batch; then it waits for that."""
        label = self._label_of.get(row.key)
        if label is None:
            return False
        if not self._collector.is_to_be_collected(self._open[label]):
            self._asker._submitted.drop(label, [row.key])
            del self._label_of[row.key]
            return False
        if label not in self._adopted:
            self._adopted[label] = self._collector.adopt(self._open[label])
        self._adopted[label].rows[row.key] = row
        return True

    def _line(self, part: Part, row: Row) -> bytes | None:
        """Return a row as it stands in a batch; it has failed, or waits for money, where not."""
        try:
            request = self._asker.request(row)
            line = self._batches.line(f"{part.label}-{row.key}", request)
            part.held[row.key] = self._collector.reserve(request)
        except BudgetExceeded as error:
            self._short = (row, error)
        except AlloyError as error:
            self._done(row, Answer.failed(error))
        else:
            return line
        return None

    def _too_much(self, row: Row, *, is_alone: bool) -> None:
        if not is_alone:
            self._again.append(row)
            return
        most = self._asker._most_bytes // 1_000_000
        error = ContextOverflow(f"The row is larger than a batch may be ({most} MB).")
        self._done(row, Answer.failed(error))

    async def _send(self, part: Part, lines: list[bytes]) -> None:
        try:
            is_made = await self._collector.make(part, lines)
        except AlloyError as error:
            self._collector.fail(part, error, self._done, cost=Cost())
            return
        if is_made:
            self._begin(part)
        else:
            self._elsewhere(part)

    def _elsewhere(self, part: Part) -> None:
        """Look anew where rows are that another process has asked meanwhile."""
        answers = self._collector.answered(part)
        self._open, self._label_of = self._asker._submitted.open()
        for key, row in part.rows.items():
            if key in answers:
                self._done(row, answers[key])
            else:
                self._again.append(row)

    def _collect_adopted(self) -> None:
        for part in self._adopted.values():
            self._begin(part)
        self._adopted.clear()

    def _begin(self, part: Part) -> None:
        self._tasks.add(asyncio.create_task(self._collector.collect(part, self._done)))

    async def _wait(self) -> None:
        """Wait until a batch is over; rows that are in none after all are asked."""
        over, self._tasks = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in over:
            for row in task.result():
                self._label_of.pop(row.key, None)
                self._again.append(row)

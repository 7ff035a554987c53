"""A map under way: rows are made, asked, kept and counted."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any

from alloy_nb import errors as kinds
from alloy_nb.analysis.book import Book
from alloy_nb.analysis.checkpoints import Checkpoints
from alloy_nb.analysis.frames import Table, fields_of
from alloy_nb.analysis.progress import Meter, Progress
from alloy_nb.analysis.rows import Answer, Executor, Job, Row
from alloy_nb.analysis.template import Empty, Template
from alloy_nb.engine import portal
from alloy_nb.engine.agent import Prompt
from alloy_nb.errors import AlloyError

__all__ = ["Map"]

log = logging.getLogger("alloy_nb")

# Rows are made some at a time, on the caller's thread: crossing over to it takes as long as making
# a few. A function of the user's may be slow, and nobody should wait for many of them.
_AT_ONCE, _SECONDS = 128, 0.05
# A face that draws more often draws for nobody.
_TICK = 0.1

Made = tuple[Prompt, str] | Exception
"""A prompt and its key, or why there is none."""


class Map:
    """A map that can be run once; afterwards it has its table.

    Args:
        table: The rows.
        template: What is said of each.
        job: What is the same for all.
        executor: Who asks.
        checkpoints: Where answers are kept, or ``None``.
        fresh: Whether what is kept there is not looked at.
        limit: Only so many of the first rows.
        raises: Whether the first row that fails ends it.
        on_progress: Is told how it stands.
    """

    def __init__(
        self,
        *,
        table: Table,
        template: Template,
        job: Job,
        executor: Executor,
        checkpoints: Checkpoints | None,
        fresh: bool = False,
        limit: int | None = None,
        raises: bool = False,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> None:
        total = table.length if limit is None or table.length is None else min(table.length, limit)
        self.book = Book()
        self.meter = Meter(total)
        self._table = table
        self._job = job
        self._executor = executor
        self._checkpoints = checkpoints
        self._raises = raises
        self._on_progress = on_progress
        self._feed = _Feed(
            islice(table.rows(), limit),
            template,
            job,
            book=self.book,
            meter=self.meter,
            kept=None if fresh else checkpoints,
            raises=raises,
        )
        self._answers: list[tuple[Row, Answer]] = []
        self._answered = False
        self._is_telling = False
        self._stop: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """Ask all rows; runs on the portal's loop.

        Raises:
            AlloyError: A row failed and that is to end it, or what failed concerns all rows.
        """
        loop = asyncio.get_running_loop()
        self._stop = loop.create_future()
        asking = loop.create_task(self._executor.ask(self._feed, self._done))
        ticking = loop.create_task(self._tick())
        try:
            await asyncio.wait({asking, ticking, self._stop}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if self._executor.left_running:
                log.warning("%s", self._executor.left_running)
            raise
        finally:
            await self._end(asking, ticking)
        self._raise_of(asking, ticking)
        self._log()
        await self._tell_last()

    def close(self) -> None:
        """Close the file of answers."""
        if self._checkpoints is not None:
            self._checkpoints.close()

    def progress(self, *, finished: bool = False) -> Progress:
        """Return how it stands."""
        asking = self._executor
        return self.meter.now(in_flight=asking.in_flight, waiting=asking.waiting, finished=finished)

    def table(self) -> Any:
        """Return the answers beside their rows."""
        columns = self.book.columns(fields_of(self._job.schema), self._job.value)
        made = self._table.build(columns, len(self.book))
        if isinstance(getattr(made, "attrs", None), dict):
            made.attrs["alloy"] = self._figures()
        return made

    # --- answers ----------------------------------------------------------------------------

    def _done(self, row: Row, answer: Answer) -> None:
        """Take an answer: it is kept within this turn of the loop, together with others of it."""
        if not self._answers:
            asyncio.get_running_loop().call_soon(self._flush)
        self._answers.append((row, answer))
        self._answered = self._answered or answer.error is None
        if answer.error is None:
            return
        if self._raises or (answer.concerns_all and not self._answered):
            self._give_up(_exception(answer))
        elif answer.concerns_all:
            self._feed.halt(answer)

    def _flush(self) -> None:
        answers, self._answers = self._answers, []
        if not answers:
            return
        if self._checkpoints is not None:
            kept = ((row.key, answer) for row, answer in answers)
            self._checkpoints.save(kept, job=self._job.fingerprint)
        for row, answer in answers:
            self.meter.note(answer, repeats=self.book.repeats(row.position))
            self.book.settle(row.position, answer)

    def _give_up(self, error: BaseException) -> None:
        self._feed.close()
        if self._stop is not None and not self._stop.done():
            self._stop.set_exception(error)

    async def _end(self, asking: asyncio.Task[None], ticking: asyncio.Task[None]) -> None:
        """Stop what is under way; what was answered by then is kept."""
        self._feed.close()
        for task in (asking, ticking):
            task.cancel()
        try:
            await asyncio.gather(asking, ticking, return_exceptions=True)
        finally:
            self._flush()
            if self._stop is not None and self._stop.done():
                self._stop.exception()  # what a cancelled map was about to raise is told nobody

    def _raise_of(self, *tasks: asyncio.Task[None]) -> None:
        """Raise what ended the map before its end."""
        assert self._stop is not None  # noqa: S101  # for the type checker
        if self._stop.done():
            self._stop.result()
        self._stop.cancel()
        for task in tasks:
            if not task.cancelled():
                task.result()

    # --- watching ---------------------------------------------------------------------------

    async def _tick(self) -> None:
        """Tell of the progress from time to time, and never while the last telling is not over."""
        tell, host = self._on_progress, portal.current_host.get()
        if tell is None:
            await asyncio.get_running_loop().create_future()
            return

        def call() -> None:
            self._is_telling = False
            tell(self.progress())

        while True:
            await asyncio.sleep(_TICK)
            if self._is_telling:
                continue
            self._is_telling = True
            if host is None:
                call()
            else:
                host.post(call)

    async def _tell_last(self) -> None:
        if self._on_progress is not None:
            tell, last = self._on_progress, self.progress(finished=True)
            await portal.on_host(lambda: tell(last))

    def _figures(self) -> dict[str, Any]:
        end = self.progress(finished=True)
        return {
            "rows": end.done,
            "asked": end.asked,
            "kept": end.kept,
            "repeated": end.repeated,
            "empty": end.empty,
            "failed": end.failed,
            "seconds": round(end.seconds, 3),
            "cost": None if end.spent.usd is None else float(end.spent.usd),
            "known_cost": float(end.spent.known),
        }

    def _log(self) -> None:
        end = self.progress(finished=True)
        log.info("map: %s", end.text)
        if self._checkpoints is not None and self._checkpoints.unsaved:
            log.warning("map: %d answers could not be kept", self._checkpoints.unsaved)


class _Feed:
    """Makes rows, those that have to be asked: of equal ones the first, and none of those kept."""

    def __init__(
        self,
        rows: Any,
        template: Template,
        job: Job,
        *,
        book: Book,
        meter: Meter,
        kept: Checkpoints | None,
        raises: bool,
    ) -> None:
        self._raises = raises
        self._rows = iter(rows)
        self._template = template
        self._job = job
        self._book = book
        self._meter = meter
        self._kept = kept
        self._ready: deque[Row] = deque()
        self._filling: asyncio.Task[None] | None = None
        self._is_over = False
        self._failure: Exception | None = None
        self._halted: Answer | None = None

    async def take(self) -> Row | None:
        """Return the next row that has to be asked (see `rows.Source`)."""
        while True:
            if len(self._ready) < _AT_ONCE // 2:
                self._fill_soon()
            if self._ready and self._halted is None:
                return self._ready.popleft()
            if self._failure is not None:
                raise self._failure
            if self._filling is None:
                return None
            # Shielded: the others who wait for it go on when this one is stopped.
            await asyncio.shield(self._filling)

    def halt(self, cause: Answer) -> None:
        """Ask no more, for a reason that concerns all rows; the rest of them say so."""
        if self._halted is None:
            self._halted = Answer(
                error=f"nothing was asked, since this concerns all rows: {cause.error}",
                kind="Halted",
            )
            while self._ready:
                self._refuse(self._ready.popleft().position)

    def close(self) -> None:
        """Hand out no more rows."""
        self._is_over = True
        self._ready.clear()
        if self._filling is not None:
            self._filling.cancel()

    def _fill_soon(self) -> None:
        if self._filling is None and not self._is_over:
            self._filling = asyncio.get_running_loop().create_task(self._fill())

    async def _fill(self) -> None:
        try:
            made = await portal.on_host(self._made)
            self._is_over = self._is_over or not made
            for row in self._placed(made):
                if self._halted is None:
                    self._ready.append(row)
                else:
                    self._refuse(row.position)
        except Exception as error:  # the data's own; it is raised where the next row is wanted
            self._failure, self._is_over = error, True
        finally:
            self._filling = None

    def _made(self) -> list[Made]:
        """Make some more prompts; runs on the caller's thread, where their data and code are."""
        made: list[Made] = []
        end = time.monotonic() + _SECONDS
        for values in self._rows:
            made.append(self._one(values))
            if len(made) >= _AT_ONCE or time.monotonic() >= end:
                break
        return made

    def _one(self, values: Any) -> Made:
        try:
            prompt = self._template.prompt(values)
            return prompt, self._job.key(prompt)
        except Exception as error:  # a function of the user's, or a value, may raise anything
            return error

    def _placed(self, made: list[Made]) -> list[Row]:
        """Note the rows, and return those that have to be asked."""
        book, meter = self._book, self._meter
        keys = [one[1] for one in made if not isinstance(one, Exception)]
        kept = {} if self._kept is None else self._kept.find(keys)
        rows = []
        for one in made:
            if isinstance(one, Exception):
                self._without(one)
                continue
            prompt, key = one
            number, is_new = book.place(key)
            if not is_new:
                if book.is_answered(number):
                    meter.repeated += 1
                    meter.failed += book.is_failed(number)
            elif key in kept and self._job.takes(kept[key].text):
                book.settle(number, kept[key])
                meter.kept += 1
            else:
                rows.append(Row(number, key, prompt))
        return rows

    def _without(self, cause: Exception) -> None:
        """Note that the next row has no prompt."""
        if isinstance(cause, Empty):
            self._book.fail(str(cause))
            self._meter.empty += 1
            return
        error = f"The prompt could not be made: {type(cause).__name__}: {cause}"
        if self._raises:
            raise AlloyError(error) from cause
        self._book.fail(error)
        self._meter.refuse()

    def _refuse(self, number: int) -> None:
        assert self._halted is not None  # noqa: S101  # for the type checker
        self._meter.refuse(repeats=self._book.repeats(number))
        self._book.settle(number, self._halted)


def _exception(answer: Answer) -> AlloyError:
    """Return the error of a row, as it was raised where it was asked."""
    kind = getattr(kinds, answer.kind, AlloyError)
    if not (isinstance(kind, type) and issubclass(kind, AlloyError)):
        kind = AlloyError
    error: AlloyError = kind(answer.error or "A row failed.")
    return error

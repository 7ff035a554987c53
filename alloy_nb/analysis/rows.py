"""One row of a table: what is asked, how it is asked, and what came of it.

::

    Source.take() -> Row ─▶ Executor.ask(source, done) ─▶ done(Row, Answer), at once, once a row

Who asks is a seam. `Local` asks from this process; others ask on a cluster or hand the rows to a
vendor's batches. Whoever it is: an answer is handed on in the moment in which it is there, so that
it can be kept before anything else happens, and a row that fails is an answer too.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Protocol

from pydantic_core import to_json

from alloy_nb.analysis.pace import Pace, Paced
from alloy_nb.engine.agent import Agent, Prompt, make_agent, message_of
from alloy_nb.engine.budget import Budget
from alloy_nb.engine.loop import drive
from alloy_nb.engine.retry import RetryPolicy
from alloy_nb.engine.run import Result, Run, RunStatus
from alloy_nb.engine.structured import Structured
from alloy_nb.errors import (
    AlloyError,
    AuthFailed,
    ConfigError,
    Overloaded,
    ProviderError,
    QuotaExceeded,
    RateLimited,
    StreamTruncated,
    ToolError,
)
from alloy_nb.messages import Message, StopReason
from alloy_nb.providers.base import ModelOptions, Provider, ToolSpec
from alloy_nb.usage import Cost, Usage

__all__ = [
    "Answer",
    "Attempt",
    "Executor",
    "Job",
    "Local",
    "Row",
    "Source",
    "answer_row",
    "ask_once",
    "outcome",
]

# What would fail for every other row too.
_CONCERN_ALL = (ConfigError, AuthFailed, QuotaExceeded)


@dataclass(frozen=True, slots=True)
class Row:
    """A row that is to be asked; of rows that ask the same there is one.

    Args:
        position: Its number, from 0; whoever answers hands it back.
        key: Names what is asked, of whom and how, the same in every process and on every day.
        prompt: What is said.
    """

    position: int
    key: str
    prompt: Prompt = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a row.

    Args:
        text: What was answered: the text, or with a schema the JSON text of the arguments that
            `Job.value` makes a value of. ``None`` where the row failed.
        usage: Tokens of all attempts.
        cost: US dollars of all attempts.
        model: Who answered.
        error: One sentence where the row failed.
        kind: The name of the error's type.
        attempts: How often it was asked.
        concerns_all: Whether every other row would fail in the same way: the key, the quota, a
            setting.
    """

    text: str | None = None
    usage: Usage = field(default_factory=Usage)
    cost: Cost = field(default_factory=Cost)
    model: str = ""
    error: str | None = None
    kind: str = ""
    attempts: int = 1
    concerns_all: bool = False

    @classmethod
    def failed(cls, error: BaseException, **more: Any) -> Answer:
        """Return the answer of a row that failed."""
        return cls(
            error=str(error),
            kind=type(error).__name__,
            concerns_all=isinstance(error, _CONCERN_ALL),
            **more,
        )

    @property
    def is_free(self) -> bool:
        """Whether nothing was used, and so nothing can have been paid."""
        return not self.usage.total_tokens and self.cost.usd == 0


@dataclass(frozen=True)
class Job:
    """What is the same for all rows; it can be pickled where its provider and settings can.

    Args:
        provider: Who is asked.
        schema: The type of an answer, or ``None`` for text.
        settings: The words of `alloy_nb.run`, without money, retries and what belongs to a run.
        retry: How often and how soon a row is asked again that failed.
    """

    provider: Provider
    schema: Any = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    def agent(self, *, budget: Budget | None = None, pace: Pace | None = None) -> Agent:
        """Return what asks the rows, at this pace and within this budget."""
        provider = self.provider if pace is None else Paced(self.provider, pace)
        own: dict[str, Any] = {"until_tool": self.schema, "budget": budget, "retry": self._within}
        agent, _ = make_agent(provider, {**self.settings, **own})
        return agent

    @property
    def _within(self) -> RetryPolicy:
        """How often a request is sent again within a row.

        Without tools a row is one request, and is asked again as a whole. With tools that would
        run them again, so it is the request that is sent again.
        """
        return self.retry if self.settings.get("tools") else replace(self.retry, max_retries=0)

    @cached_property
    def structured(self) -> Structured | None:
        """The tool that is made of the schema."""
        ending = self.agent().until_tool
        return ending if isinstance(ending, Structured) else None

    @cached_property
    def fingerprint(self) -> str:
        """Names all that decides an answer besides the row: the model, the settings, the schema.

        What only decides when and for how much it is asked (limits of time and money, retries)
        is not in it.
        """
        agent = self.agent()
        spec = None if self.structured is None else self.structured.spec
        options = agent.options.over(getattr(self.provider, "options", None) or agent.options)
        parts = {
            "model": [self.provider.name, self.provider.model, _address(self.provider)],
            "more": [[p.name, p.model] for p in agent.fallback_providers],
            "system": agent.instructions,
            "options": _set_of(options),
            "tools": [_set_of(tool) for tool in agent.tool_specs],
            "schema": None if spec is None else _set_of(spec),
            "turns": agent.max_turns if agent.tools else None,
        }
        return _digest(to_json(parts, fallback=repr, inf_nan_mode="constants"))

    def key(self, prompt: Prompt) -> str:
        """Return what names a row with this prompt."""
        said = prompt if isinstance(prompt, str) else _written(prompt)
        return _digest(f"{self.fingerprint}\n{said}".encode("utf-8", "surrogatepass"))

    def value(self, text: str) -> Any:
        """Return the value of an answer's text.

        Raises:
            ToolError: It is not valid, as an answer that was kept for a type that has changed.
        """
        if self.structured is None:
            return text
        from pydantic_core import from_json

        arguments = from_json(text)
        return self.structured.validated(arguments if isinstance(arguments, dict) else {})

    def takes(self, text: str | None) -> bool:
        """Return whether an answer that was kept is one for the type as it is now."""
        try:
            self.value(text or "")
        except (ToolError, ValueError):  # a validator may have changed, which no schema shows
            return False
        return True


class Source(Protocol):
    """Where rows come from, one after the other, made when they are asked for."""

    async def take(self) -> Row | None:
        """Return the next row, or ``None`` after the last."""
        ...


Done = Callable[[Row, Answer], None]


class Executor(Protocol):
    """Asks rows.

    - It calls `done` exactly once for each row that it took, in the loop's thread, as soon as the
      answer is there, in whichever order.
    - It holds no more rows at a time than it has in flight.
    - It raises nothing of a row. When it is cancelled it stops what is in flight and returns
      within a second; rows whose `done` was not called are asked again by the next map.
    """

    @property
    def in_flight(self) -> int:
        """How many rows are being asked."""
        ...

    @property
    def waiting(self) -> str:
        """What all of them wait for, in words; empty where nothing is waited for."""
        ...

    @property
    def left_running(self) -> str:
        """What goes on elsewhere when this is stopped, for the person; empty where nothing does."""
        ...

    async def ask(self, rows: Source, done: Done) -> None:
        """Ask all rows of the source, and return when the last is answered."""
        ...


class Local:
    """Asks from this process, as many rows side by side as the pace allows.

    A row for which a shared budget has no room at the moment waits until another one has been
    settled: what is set aside for an answer is many times what most cost.
    """

    def __init__(self, job: Job, *, budget: Budget | None, pace: Pace) -> None:
        self._job = job
        self._pace = pace
        self._agent = job.agent(budget=budget, pace=pace)
        self._asking = 0
        self._short: deque[asyncio.Future[None]] = deque()
        self.left_running = ""

    @property
    def in_flight(self) -> int:
        """How many requests are under way."""
        return self._pace.in_flight

    @property
    def waiting(self) -> str:
        """What the vendor wants to be waited for, in words."""
        return self._pace.waiting

    async def ask(self, rows: Source, done: Done) -> None:
        """Ask all rows (see `Executor`)."""
        workers = [asyncio.create_task(self._work(rows, done)) for _ in range(self._pace.most)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, rows: Source, done: Done) -> None:
        while (row := await rows.take()) is not None:
            done(row, await self._answer(row))

    async def _answer(self, row: Row) -> Answer:
        while True:
            self._asking += 1
            try:
                answer = await answer_row(row, self._job, self._agent)
            finally:
                self._asking -= 1
                self._wake()
            is_short = answer.kind == "BudgetExceeded" and answer.is_free
            if not is_short or not self._asking:
                return answer
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._short.append(waiting)
            await waiting

    def _wake(self) -> None:
        """Let the row that has waited longest look whether there is room now."""
        while self._short:
            waiting = self._short.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return


async def answer_row(row: Row, job: Job, agent: Agent) -> Answer:
    """Ask one row, again where that may help, and return what came of it; raises nothing of it.

    To be refused because it is too much does not count as long as others are answered: then the
    vendor takes rows, and this one will have its turn.

    Args:
        row: What is asked.
        job: What is the same for all rows.
        agent: What `Job.agent` returned; it can be used for all rows.
    """
    before = _answers(agent)
    number, attempt = 1, await ask_once(row.prompt, job, agent)
    usage, cost = attempt.answer.usage, attempt.answer.cost
    counted = 1
    while attempt.wait is not None:
        await job.retry.sleep(attempt.wait)
        is_too_much = isinstance(attempt.failure, (RateLimited, Overloaded))
        now = _answers(agent)
        counted += not (is_too_much and now > before)
        number, before = number + 1, now
        attempt = await ask_once(row.prompt, job, agent, number=counted)
        usage, cost = usage + attempt.answer.usage, cost + attempt.answer.cost
    if number == 1:
        return attempt.answer
    return replace(attempt.answer, usage=usage, cost=cost, attempts=number)


def _answers(agent: Agent) -> int:
    return agent.provider.answers if isinstance(agent.provider, Paced) else 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of asking a row once.

    Args:
        answer: Its answer, with what this attempt used.
        wait: Seconds after which it should be asked again, or ``None`` where it should not.
        failure: Why there is no answer.
    """

    answer: Answer
    wait: float | None = None
    failure: AlloyError | None = None


async def ask_once(prompt: Prompt, job: Job, agent: Agent, *, number: int = 1) -> Attempt:
    """Ask a row, for the time with this number."""
    result = await _asked(prompt, agent)
    text, failure = outcome(result, job)
    told: dict[str, Any] = {
        "usage": result.usage,
        "cost": result.cost,
        "model": _model(result, job),
    }
    if failure is None:
        return Attempt(Answer(text, **told))
    answer = Answer.failed(failure, **told)
    if _is_for_long(failure, job):
        answer = replace(answer, concerns_all=True)
    return Attempt(answer, _wait_before(number, failure, result, job), failure)


async def _asked(prompt: Prompt, agent: Agent) -> Result:
    gate = agent.provider
    async with gate.admission() if isinstance(gate, Paced) else contextlib.nullcontext():
        if agent.tools or agent.middleware:
            async with agent.start(prompt) as run:  # they may want to stop it
                result = await run.result()
        else:
            # Nobody watches this run, so it needs no task of its own.
            run = Run(agent=agent.name, context=agent.context)
            said = message_of(prompt)
            result = await drive(run, agent, history=[], prompt=said, memory={})
    if result.status is RunStatus.CANCELLED:
        raise asyncio.CancelledError
    return result


def outcome(result: Result, job: Job) -> tuple[str | None, AlloyError | None]:
    """Return the answer of a run, or why there is none."""
    if result.exception is not None:
        return None, result.exception
    if job.structured is not None:
        text = _arguments(result, job.structured)
        if text is not None:
            return text, None
        what = f"There was no answer of the type asked for after {result.turns} replies"
        return None, AlloyError(f"{what}. Raise max_turns=, or say in the prompt what is wanted.")
    if result.status is not RunStatus.COMPLETED:
        return None, AlloyError("There was no answer within max_turns=. Raise it.")
    if result.stop_reason is StopReason.MAX_TOKENS:
        return None, AlloyError("The answer was cut at max_output_tokens=. Raise it.")
    if not result.text.strip():
        return None, AlloyError("The answer was empty.")
    return result.text, None


def _arguments(result: Result, structured: Structured) -> str | None:
    """Return the arguments of the call that ended the run, as they were given."""
    last = next((m for m in reversed(result.messages) if m.role == "assistant"), None)
    for call in () if last is None else last.tool_calls:
        if call.name != structured.spec.name or call.invalid is not None:
            continue
        with contextlib.suppress(ToolError):
            structured.validated(call.input)
            return to_json(call.input, inf_nan_mode="constants").decode("utf-8", "replace")
    return None


def _wait_before(attempt: int, failure: AlloyError, result: Result, job: Job) -> float | None:
    """Return the seconds to wait before a row is asked again, or ``None`` where it is not."""
    own = None if job.structured is None else job.structured.spec.name
    if attempt > job.retry.max_retries or any(c.name != own for c in result.tool_calls):
        return None  # a tool that ran may not run twice
    # Nobody has seen the beginning of a cut answer, so it can be asked for again.
    if not isinstance(failure, ProviderError):
        return None
    if not (failure.retryable or isinstance(failure, StreamTruncated)):
        return None
    delay = job.retry.delay(attempt, failure)
    return delay if delay <= job.retry.longest_wait else None


def _is_for_long(failure: AlloyError, job: Job) -> bool:
    """Return whether the vendor wants nothing at all for longer than anybody waits."""
    if not isinstance(failure, RateLimited) or failure.retry_after is None:
        return False
    return failure.retry_after > job.retry.longest_wait


def _model(result: Result, job: Job) -> str:
    for message in reversed(result.messages):
        if message.origin is not None:
            return f"{message.origin.provider}/{message.origin.model}"
    return f"{job.provider.name}/{job.provider.model}"


def _address(provider: Provider) -> str:
    """Return where a provider is that has no name of its own: its models are named by anyone."""
    return str(getattr(provider, "host", "")) if provider.name == "openai-compat" else ""


def _set_of(value: ModelOptions | ToolSpec) -> dict[str, Any]:
    """Return the fields that are set: one that a later version adds changes no key."""
    given = {f.name: getattr(value, f.name) for f in fields(value)}
    return {name: field for name, field in given.items() if field not in (None, (), {})}


def _written(prompt: Prompt) -> str:
    message = message_of(prompt)
    return "" if message is None else Message.model_dump_json(message)


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()

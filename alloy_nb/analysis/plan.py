"""What a map would ask and cost, before it asks anything."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import Any

from alloy_nb.analysis.checkpoints import Checkpoints
from alloy_nb.analysis.frames import Table
from alloy_nb.analysis.rows import Job
from alloy_nb.analysis.template import Empty, Template
from alloy_nb.engine.agent import Agent, Prompt, message_of
from alloy_nb.engine.budget import RESERVED_OUTPUT, price
from alloy_nb.engine.window.measure import fixed_at_most, likely_tokens, most_tokens
from alloy_nb.errors import ConfigError
from alloy_nb.usage import Cost, Usage

__all__ = ["Plan", "plan"]

# What an answer is taken to have where nothing is known: a short text; of a schema each field.
_TEXT_TOKENS, _FIELD_TOKENS, _CALL_TOKENS = 120, 12, 20
_AT_ONCE = 500
_WHOLE = Decimal(1)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a map would do.

    Args:
        model: Who would be asked.
        rows: Rows of the table.
        empty: Rows with nothing to ask about.
        repeated: Rows that ask the same as an earlier one.
        kept: Rows whose answer is there from before; nothing is asked for them.
        asked: Requests that would be made, if each row takes one.
        input_tokens: About how many tokens would be sent.
        output_tokens: About how many would be answered.
        likely: US dollars that it would cost about; ``None`` where the price is unknown.
        most: US dollars that it could cost if every answer were as long as it may be, and none
            had to be asked for twice.
        longest: Tokens that an answer may have.
        known_from: Of how many answers before the estimate was made; 0 is a guess.
        failing: Rows for which the prompt could not be made.
        submitted: Rows that are in a vendor's batch since an earlier call; they are collected.
    """

    model: str
    rows: int
    empty: int
    repeated: int
    kept: int
    asked: int
    input_tokens: int
    output_tokens: int
    likely: Decimal | None
    most: Decimal | None
    longest: int
    known_from: int = 0
    failing: int = 0
    submitted: int = 0

    @property
    def text(self) -> str:
        """The plan in a few lines."""
        skipped = (
            (self.repeated, "the same as another"),
            (self.kept, "answered before"),
            (self.submitted, "in a batch already"),
            (self.empty, "empty"),
            (self.failing, "without a prompt"),
        )
        apart = ", ".join(f"{count:,} {what}" for count, what in skipped if count)
        first = f"{self.rows:,} rows" + (f" ({apart})" if apart else "")
        tokens = f"about {self.input_tokens:,} tokens in, {self.output_tokens:,} out"
        return f"{first}: {self.asked:,} requests to {self.model}\n{tokens}; {self._money}"

    @property
    def _money(self) -> str:
        if self.likely is None or self.most is None:
            return "the price of this model is unknown"
        limit = f"{self.longest:,} tokens an answer"
        return f"about {Cost(known=self.likely)}, at most {Cost(known=self.most)} at {limit}"

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Plan({self.text!r})"


@dataclass(slots=True)
class _Counts:
    rows: int = 0
    empty: int = 0
    failing: int = 0
    repeated: int = 0
    kept: int = 0
    submitted: int = 0
    asked: int = 0
    likely: int = 0
    most: int = 0


def plan(
    table: Table,
    template: Template,
    job: Job,
    *,
    checkpoints: Checkpoints | None,
    limit: int | None = None,
    share: Decimal = Decimal(1),
    submitted: Collection[str] = (),
) -> Plan:
    """Read the whole table once, and say what a map of it would do, at a `share` of the price.

    `submitted` are the keys of rows that are in a vendor's batch already.

    Raises:
        ConfigError: The table can be read but once.
    """
    if table.is_once:
        raise ConfigError(
            "An iterator can be read but once, so there is no plan without using it up: give a "
            "list, or leave dry_run out."
        )
    agent = job.agent()
    rows = islice(table.rows(), limit)
    counts = _counted(rows, template, job, checkpoints=checkpoints, submitted=submitted)
    known = None if checkpoints is None else checkpoints.average(job.fingerprint)
    sent = counts.likely + counts.asked * _fixed(agent, job)
    each = _guess(job) if known is None else known[0]
    longest = agent.options.max_output_tokens or RESERVED_OUTPUT
    most_sent = counts.most + counts.asked * fixed_at_most(agent.instructions, _specs(agent, job))
    return Plan(
        model=f"{job.provider.name}/{job.provider.model}",
        rows=counts.rows,
        empty=counts.empty,
        repeated=counts.repeated,
        kept=counts.kept,
        asked=counts.asked,
        input_tokens=sent,
        output_tokens=round(counts.asked * each),
        likely=_priced(job, counts.asked, sent, counts.asked * each, share),
        most=_priced(job, counts.asked, most_sent, counts.asked * longest, share),
        longest=longest,
        known_from=0 if known is None else known[1],
        failing=counts.failing,
        submitted=counts.submitted,
    )


def _counted(
    rows: Iterator[Sequence[Any]],
    template: Template,
    job: Job,
    *,
    checkpoints: Checkpoints | None,
    submitted: Collection[str],
) -> _Counts:
    counts, seen = _Counts(), set[str]()
    while some := list(islice(rows, _AT_ONCE)):
        fresh: dict[str, Prompt] = {}
        for values in some:
            counts.rows += 1
            try:
                prompt = template.prompt(values)
                key = job.key(prompt)
            except Empty:
                counts.empty += 1
                continue
            except Exception:  # the user's own function; in the map it is the row's error
                counts.failing += 1
                continue
            if key in seen:
                counts.repeated += 1
                continue
            seen.add(key)
            fresh[key] = prompt
        found = {} if checkpoints is None else checkpoints.find(fresh)
        kept = {key for key, answer in found.items() if job.takes(answer.text)}
        counts.kept += len(kept)
        for key, prompt in fresh.items():
            if key in kept:
                continue
            if key in submitted:
                counts.submitted += 1
            else:
                _measure(prompt, counts)
    return counts


def _measure(prompt: Prompt, counts: _Counts) -> None:
    message = message_of(prompt)
    assert message is not None  # noqa: S101  # no template makes None
    counts.asked += 1
    counts.likely += likely_tokens(message)
    counts.most += most_tokens(message)


def _specs(agent: Agent, job: Job) -> tuple[Any, ...]:
    own = () if job.structured is None else (job.structured.spec,)
    return (*agent.tool_specs, *own)


def _fixed(agent: Agent, job: Job) -> int:
    """Return about how many tokens go with each row besides it: the other estimate is high."""
    return fixed_at_most(agent.instructions, _specs(agent, job)) * 3 // 4


def _guess(job: Job) -> float:
    if job.structured is None:
        return _TEXT_TOKENS
    fields = job.structured.spec.input_schema.get("properties", {})
    return _CALL_TOKENS + _FIELD_TOKENS * len(fields)


def _priced(job: Job, asked: int, sent: float, answered: float, share: Decimal) -> Decimal | None:
    """Return the price of so many requests: of an average one, since prices have tiers."""
    if not asked:
        return Decimal(0)
    one = Usage(input_tokens=round(sent / asked), output_tokens=round(answered / asked))
    usd = price(job.provider, one).usd
    return None if usd is None else usd * asked * share

"""One table, several models and prompts: `compare` asks them all, and says how far they agree.

::

    models × prompts ─▶ a map of the rows each ─▶ Comparison: frame, answers, pairs, plot()

Models are asked side by side, the prompts of one model one after the other, so that its rate limit
is met by one map at a time. All of it spends from one limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from statistics import fmean
from typing import Any

from alloy_nb.analysis.agreement import agreement, cohen_kappa, fleiss_kappa, majority, same
from alloy_nb.analysis.charts import Chart, agreement_chart
from alloy_nb.analysis.frames import fields_of
from alloy_nb.analysis.mapping import amap
from alloy_nb.analysis.mapping import map as map_rows
from alloy_nb.analysis.plan import Plan
from alloy_nb.analysis.progress import Progress
from alloy_nb.analysis.tables import column_of, columns_of, table_of
from alloy_nb.engine import portal
from alloy_nb.engine.budget import Budget
from alloy_nb.errors import ConfigError
from alloy_nb.providers import default_provider, provider
from alloy_nb.providers.base import Provider
from alloy_nb.usage import Cost

__all__ = ["Comparison", "Variant", "acompare", "compare"]

_MOST_VARIANTS = 50
_SHORT = 40

Told = Callable[[str, Progress], object]


@dataclass(frozen=True, slots=True)
class Variant:
    """A model with a prompt, and what it made of the rows.

    Args:
        name: What it is called in the tables.
        model: Who was asked.
        prompt: The name of the prompt, or the prompt itself where it has none.
        table: The answers, as `map` returns them.
    """

    name: str
    model: str
    prompt: str
    table: Any


class Comparison:
    """What several models and prompts made of the same rows.

    Args:
        variants: They, in the order in which they were named.
        on: The column that is compared.
        truth: What the answers should have been, where that is known.
    """

    def __init__(
        self, variants: Sequence[Variant], on: str, truth: Sequence[Any] | None = None
    ) -> None:
        self.variants = tuple(variants)
        self.on = on
        self._answers = [list(map(same, column_of(v.table, on))) for v in self.variants]
        self._truth = None if truth is None else list(map(same, truth))
        self._majority = [majority(row) for row in zip(*self._answers, strict=True)]

    def __repr__(self) -> str:
        kappa = "unknown" if self.kappa is None else f"{self.kappa:.2f}"
        names = ", ".join(variant.name for variant in self.variants)
        return f"Comparison({names}; {len(self._majority)} rows, kappa {kappa}, {self.cost})"

    @property
    def frame(self) -> Any:
        """A row for each variant: how far it agrees with the others, its errors, its cost.

        `agreement` and `kappa` are means over the pairs with each of the others, `with_majority`
        the share of rows on which it says what most say, and `accuracy` that on which it is right.
        """
        rows = [self._row(number) for number in range(len(self.variants))]
        return table_of({name: [row[name] for row in rows] for name in rows[0]})

    @property
    def answers(self) -> Any:
        """A row for each row: what each variant said, what most said, and how many of them."""
        columns: dict[str, Sequence[Any]] = {
            variant.name: column_of(variant.table, self.on) for variant in self.variants
        }
        columns["majority"] = [answer for answer, _ in self._majority]
        columns["agreement"] = [share for _, share in self._majority]
        if self._truth is not None:
            columns["truth"] = self._truth
        return table_of(columns, like=self.variants[0].table)

    @property
    def pairs(self) -> Any:
        """A row for each pair of variants: the share of rows on which they agree, and kappa."""
        names = [variant.name for variant in self.variants]
        two = list(combinations(range(len(names)), 2))
        return table_of(
            {
                "first": [names[a] for a, _ in two],
                "second": [names[b] for _, b in two],
                "agreement": [agreement(self._answers[a], self._answers[b]) for a, b in two],
                "kappa": [cohen_kappa(self._answers[a], self._answers[b]) for a, b in two],
            }
        )

    @property
    def kappa(self) -> float | None:
        """How far all agree beyond chance (Fleiss); ``None`` where that cannot be said."""
        return fleiss_kappa(self._answers)

    @property
    def cost(self) -> Cost:
        """What all the answers cost, also those that were paid for in an earlier comparison."""
        return sum((_cost(variant.table) for variant in self.variants), Cost())

    def compared_on(self, column: str) -> Comparison:
        """Return the same comparison of another column; nothing is asked.

        Raises:
            ConfigError: The answers have no such column.
        """
        _check_column(column, self.variants[0].table)
        return Comparison(self.variants, column, None)

    def plot(self) -> Chart:
        """Draw how far each two agree, and what each costs for what agreement.

        Raises:
            ConfigError: matplotlib is not installed.
        """
        names = [variant.name for variant in self.variants]
        each = range(len(names))
        shares = [[agreement(self._answers[a], self._answers[b]) for b in each] for a in each]
        costs = [_per_thousand(variant.table) for variant in self.variants]
        scores = [self._score(number) for number in each]
        return agreement_chart(
            names,
            shares,
            costs,
            scores,
            "accuracy" if self._truth else "mean agreement",
            repr(self),
        )

    def _repr_html_(self) -> str | None:
        drawn = getattr(self.frame, "_repr_html_", None)
        return None if drawn is None else str(drawn())

    # --- inside -----------------------------------------------------------------------------------

    def _row(self, number: int) -> dict[str, Any]:
        variant, own = self.variants[number], self._answers[number]
        others = [answers for n, answers in enumerate(self._answers) if n != number]
        most = [answer for answer, _ in self._majority]
        row: dict[str, Any] = {
            "variant": variant.name,
            "model": variant.model,
            "prompt": variant.prompt,
            "rows": len(own),
            "errors": sum(e is not None for e in column_of(variant.table, _own(variant, "error"))),
            "agreement": _mean(agreement(own, other) for other in others),
            "kappa": _mean(cohen_kappa(own, other) for other in others),
            "with_majority": agreement(own, most),
        }
        if self._truth is not None:
            row["accuracy"] = agreement(own, self._truth)
            row["kappa_of_truth"] = cohen_kappa(own, self._truth)
        usd = _cost(variant.table).usd
        row["cost"] = None if usd is None else float(usd)
        row["cost_per_1000"] = _per_thousand(variant.table)
        row["tokens"] = sum(t or 0 for t in column_of(variant.table, _own(variant, "tokens")))
        return row

    def _score(self, number: int) -> float | None:
        row = self._row(number)
        score = row["accuracy"] if self._truth is not None else row["agreement"]
        return None if score is None else float(score)


def compare(
    rows: Any,
    prompts: str | Callable[[Any], Any] | Sequence[Any] | Mapping[str, Any],
    *,
    models: Sequence[str | Provider] | Mapping[str, str | Provider] | None = None,
    schema: Any = None,
    on: str | None = None,
    truth: Sequence[Any] | str | None = None,
    max_cost: float | str | None = None,
    on_progress: Told | None = None,
    dry_run: bool = False,
    **settings: Any,
) -> Any:
    """Ask several models, or with several prompts, about the same rows, and compare the answers.

    Example:
        >>> compared = compare(df, "The mood of: {review}", models=["openai/gpt-5.4-mini", "demo"],
        ...                    schema=Label, max_cost=2)
        >>> compared.frame, compared.answers, compared.plot()

    Args:
        rows: What `alloy_nb.map` takes as data; an iterator is read into a list.
        prompts: One prompt of `map`, several, or several by name.
        models: Who is asked, as `provider` of `map`: several, or several by name; without it, what
            answers where nothing was chosen.
        schema: The type of an answer.
        on: The column that is compared; without it the first one of the schema.
        truth: What is right, row by row, or the column of `rows` that says it.
        max_cost: US dollars for all of it together.
        on_progress: Called with the name of a variant and its `Progress`.
        dry_run: Whether to return the `Plan` of each variant, by its name, and send nothing.
        settings: All others of `map`.

    Returns:
        A `Comparison`; with `dry_run` a dict of plans.

    Raises:
        ConfigError: A setting is wrong, or there is nothing to compare; nothing was sent.
    """
    work = _prepared(
        rows,
        prompts,
        models=models,
        schema=schema,
        on=on,
        truth=truth,
        max_cost=max_cost,
        **settings,
    )
    if dry_run:
        return work.plans()
    return work.compared(portal.run_sync(work.run(on_progress)))


async def acompare(
    rows: Any,
    prompts: Any,
    *,
    on_progress: Told | None = None,
    dry_run: bool = False,
    **settings: Any,
) -> Any:
    """Compare as `compare` does, with the same settings; awaitable in any event loop."""
    work = _prepared(rows, prompts, **settings)
    if dry_run:
        return work.plans()
    return work.compared(await portal.run_async(work.run(on_progress)))


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be asked: the variants by name, each with the settings of its map."""

    rows: Any
    names: tuple[tuple[str, str, str], ...]
    maps: tuple[dict[str, Any], ...]
    on: str
    truth: Sequence[Any] | None

    def plans(self) -> dict[str, Plan]:
        names = (name for name, _, _ in self.names)
        plans = (map_rows(self.rows, dry_run=True, **one) for one in self.maps)
        return dict(zip(names, plans, strict=True))

    async def run(self, told: Told | None) -> list[Any]:
        """Ask all; the first that fails as a whole stops the others."""
        found: dict[int, Any] = {}
        by_model: dict[int, list[int]] = {}
        for number, one in enumerate(self.maps):
            by_model.setdefault(id(one["provider"]), []).append(number)

        async def one_after_the_other(numbers: Sequence[int]) -> None:
            for number in numbers:
                tell = None if told is None else partial(told, self.names[number][0])
                found[number] = await amap(self.rows, on_progress=tell, **self.maps[number])

        tasks = [asyncio.create_task(one_after_the_other(ns)) for ns in by_model.values()]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return [found[number] for number in range(len(self.maps))]

    def compared(self, tables: Sequence[Any]) -> Comparison:
        variants = [
            Variant(*names, table=table) for names, table in zip(self.names, tables, strict=True)
        ]
        return Comparison(variants, self.on, self.truth)


def _prepared(
    rows: Any,
    prompts: Any,
    *,
    models: Any = None,
    schema: Any = None,
    on: str | None = None,
    truth: Any = None,
    max_cost: float | str | None = None,
    **settings: Any,
) -> _Work:
    """Check everything, and return what is ready to be asked."""
    for name in ("provider", "mode", "client"):
        if name in settings:
            instead = "name them in models=" if name == "provider" else "a map takes it, one by one"
            raise ConfigError(f"{name}= is no setting of compare: {instead}.")
    if isinstance(rows, Iterator):
        rows = list(rows)
    asked = _named(models, "models", default_provider)
    said = _named(prompts, "prompts")
    if len(asked) * len(said) > _MOST_VARIANTS:
        raise ConfigError(f"At most {_MOST_VARIANTS} models × prompts are compared at once.")
    column = on or fields_of(schema)[0].name
    if column not in (known := [field.name for field in fields_of(schema)]):
        raise ConfigError(f"on={column!r}: the answers have {', '.join(known)}.")
    budget = None if max_cost is None else Budget(max_cost)
    names, maps = [], []
    for model_name, model in asked.items():
        answering = provider(model) if isinstance(model, str) else model
        for prompt_name, prompt in said.items():
            shown = [
                n for n, several in ((model_name, asked), (prompt_name, said)) if len(several) > 1
            ]
            names.append((" · ".join(shown) or model_name, model_name, prompt_name))
            own = {"prompt": prompt, "provider": answering, "schema": schema, **settings}
            maps.append(own if budget is None else {**own, "budget": budget})
    right = _truth(truth, rows, settings.get("limit"))
    return _Work(rows, tuple(names), tuple(maps), column, right)


def _named(given: Any, what: str, default: Callable[[], Any] | None = None) -> dict[str, Any]:
    """Return things by name; what has none is called by what it says, each name once."""
    if given is None and default is not None:
        given = [default()]
    if isinstance(given, Mapping):
        named = {str(name): value for name, value in given.items()}
    else:
        each = list(given) if isinstance(given, (list, tuple)) else [given]
        named = {}
        for value in each:
            name = base = _called(value)
            number = 2
            while name in named:
                name, number = f"{base} ({number})", number + 1
            named[name] = value
    if not named:
        raise ConfigError(f"{what}= is empty: there is nothing to compare.")
    return named


def _called(value: Any) -> str:
    if isinstance(value, str):
        return value if len(value) <= _SHORT else f"{value[: _SHORT - 1]}…"
    if callable(value):
        return str(getattr(value, "__name__", type(value).__name__))
    return f"{getattr(value, 'name', '?')}/{getattr(value, 'model', '?')}"


def _truth(truth: Any, rows: Any, limit: int | None) -> list[Any] | None:
    if truth is None:
        return None
    if isinstance(truth, str):
        _check_column(truth, rows)
        values = column_of(rows, truth)
    else:
        _check_index(truth, rows)
        values = column_of([{"truth": value} for value in truth], "truth")
    count = len(rows)
    if len(values) != count:
        raise ConfigError(f"truth has {len(values)} values, and there are {count} rows.")
    return values[:limit]


def _check_index(truth: Any, rows: Any) -> None:
    """Refuse a truth in another order than the rows: by their places it would be that of others."""
    own: Any = getattr(truth, "index", None)
    other: Any = getattr(rows, "index", None)
    if hasattr(own, "equals") and hasattr(other, "equals") and not own.equals(other):
        raise ConfigError(
            "truth has another index than the rows: give truth.reindex(rows.index), or "
            "truth.to_list() where it is in their order."
        )


def _check_column(name: str, table: Any) -> None:
    known = columns_of(table) if isinstance(table, list) or hasattr(table, "columns") else []
    if name not in known:
        raise ConfigError(f"There is no column {name!r}. There are: {', '.join(known) or 'none'}.")


def _own(variant: Variant, name: str) -> str:
    """Return how a column of `map`'s own is called: it makes way for a field of that name."""
    return next(
        column for column in reversed(columns_of(variant.table)) if column.rstrip("_") == name
    )


def _cost(table: Any) -> Cost:
    values = column_of(table, _own(Variant("", "", "", table), "cost"))
    known = sum((Cost(known=_decimal(value)) for value in values if value is not None), Cost())
    return known + (Cost.unknown() if None in values else Cost())


def _decimal(value: float) -> Any:
    from decimal import Decimal

    return Decimal(str(value))


def _per_thousand(table: Any) -> float | None:
    """Return what a thousand rows cost that are asked anew; ``None`` where nobody knows."""
    tokens = column_of(table, _own(Variant("", "", "", table), "tokens"))
    asked, usd = sum(bool(count) for count in tokens), _cost(table).usd
    return float(usd) * 1000 / asked if asked and usd is not None else None


def _mean(values: Iterator[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None

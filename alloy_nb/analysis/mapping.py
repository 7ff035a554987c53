"""One question for every row of a table: `map`, and its awaitable twin `amap`.

::

    data ─▶ frames.read ─▶ Feed: template, key ─▶ Executor ─▶ Checkpoints ─▶ Book ─▶ a table
                            │ the same as another? answered before? empty?   ▲
                            └────────────────────────────────────────────────┘
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from decimal import Decimal
from difflib import get_close_matches
from inspect import isroutine, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from alloy_nb.analysis import checkpoints as kept_answers
from alloy_nb.analysis import frames
from alloy_nb.analysis.checkpoints import Checkpoints
from alloy_nb.analysis.cluster import Clustered, Keys
from alloy_nb.analysis.pace import MOST, START, Pace
from alloy_nb.analysis.plan import Plan, plan
from alloy_nb.analysis.progress import Progress
from alloy_nb.analysis.rows import Executor, Job, Local
from alloy_nb.analysis.running import Map
from alloy_nb.analysis.template import Template
from alloy_nb.engine import portal
from alloy_nb.engine.agent import Agent, Prompt, make_agent
from alloy_nb.engine.budget import Budget
from alloy_nb.engine.calls.tool import Tool
from alloy_nb.engine.checks import PROVIDER_SETTINGS, RUN_SETTINGS, check_callback, whole, wrong
from alloy_nb.engine.settings import SETTINGS
from alloy_nb.errors import ConfigError
from alloy_nb.messages import user
from alloy_nb.providers import default_provider
from alloy_nb.providers.base import ModelRequest, Provider
from alloy_nb.providers.vendor import VendorProvider

if TYPE_CHECKING:
    from alloy_nb.analysis.batches import Batched

__all__ = ["amap", "map"]

RETRIES = 3
_AGENT_SETTINGS = tuple(f.name for f in fields(Agent))
_MONEY = ("budget", "max_budget_cents")
_RETRY = ("retry", "max_retries", "retry_backoff_ms")


def map(  # noqa: A001  # the word for it
    data: Any,
    prompt: str | Callable[[Any], Prompt | None],
    *,
    schema: Any = None,
    provider: str | Provider | None = None,
    max_cost: float | str | None = None,
    concurrency: int | None = None,
    retries: int = RETRIES,
    errors: Literal["value", "raise"] = "value",
    checkpoint: bool | str | Path = True,
    fresh: bool = False,
    limit: int | None = None,
    client: Any = None,
    keys: Literal["worker", "send"] = "worker",
    mode: Literal["live", "batch"] = "live",
    on_progress: Callable[[Progress], object] | None = None,
    dry_run: bool = False,
    **settings: Any,
) -> Any:
    """Ask a model about every row of a table, and return the answers as a table beside it.

    Example:
        >>> map(["great", "awful", "great"], "Label the sentiment of: {value}", schema=Label)

    Rows that ask the same are asked once. Every answer is kept the moment it is there, so a map
    that was interrupted, or whose process was killed, goes on where it stopped when it is called
    again, and nothing is paid twice: at most the requests that were under way are made again. The
    limit on cost holds for all rows together: the worst case of a request is set aside before it
    is sent, and a row waits until there is room for it.

    Memory grows with the answers, not with the requests in flight, since rows are made when they
    are asked: measured with 100,000 short answers it was 0.3 kB for each, until the table is made.

    Args:
        data: A DataFrame or a Series of pandas, Polars, Arrow or Dask, a list, or an iterator of
            values or of mappings.
        prompt: What to say of a row: a text with columns in braces (``{review}``; ``{value}`` for
            the values of a Series, a list or an iterator; braces are doubled to be meant as such),
            or a function of the row. A row whose columns are all empty is not asked. Pictures
            and documents in a column go along as such.
        schema: A type such as a pydantic model, which each answer has to be of; without it an
            answer is text.
        provider: Who is asked, as in `run`; without it, what answers where nothing was chosen.
        max_cost: US dollars for all of it. Rows for which there is none left have an error.
        concurrency: Requests in flight; without it 8 at first and up to 64, as many as the
            vendor takes. Either way the number falls where the vendor refuses one (429, 529).
        retries: How often a row is asked again that failed in a way that may pass; a refusal
            because it is too much (429, 529) counts only while no other row is answered.
        errors: ``value`` puts the error of a row into its row; ``raise`` stops at the first.
        checkpoint: Whether answers are kept in ``.alloy/rows.db`` of the working directory, or
            the folder or the file to keep them in.
        fresh: Whether to ask again what was answered before.
        limit: Only so many of the first rows.
        client: A ``dask.distributed.Client`` whose workers ask (see `analysis.cluster`).
        keys: Where these workers have their keys from: ``worker``, each from its own environment;
            ``send``, yours is sent to them, which others on the network can read unless the
            cluster uses TLS.
        mode: ``batch`` hands the rows to the vendor's batch interface: slower, at half the price.
        on_progress: Called with a `Progress` on the caller's thread, at most ten times a second,
            and once at the end.
        dry_run: Whether to return a `Plan` of what would be asked and paid, and send nothing.
        settings: All others of `run`: `tools`, `system_prompt`, `max_output_tokens`,
            `temperature`, `timeout`, `api_key`, ...

    Returns:
        A table of the kind that was given, with its index: a column for each field of the schema
        (or one column ``answer``), then ``cost`` in US dollars, ``tokens``, ``model`` and
        ``error``; a field of one of these names keeps it, and ours gets an underscore. A list or
        an iterator becomes a pandas table, or a list of mappings where pandas is not installed,
        and Dask a pandas table: the answers are in memory anyway. A pandas table has the figures
        of the map in ``attrs["alloy"]``.

    Raises:
        ConfigError: A setting is wrong, a column is not there, or the vendor cannot take the
            schema; nothing was sent.
        AlloyError: With ``errors="raise"``, that of the first row that failed. In any case what
            would fail for every row, such as a wrong key, if it does so for the first one; later
            on it is in the rows that were not asked.
    """
    work = _prepared(
        data,
        prompt,
        schema=schema,
        provider=provider,
        max_cost=max_cost,
        concurrency=concurrency,
        retries=retries,
        errors=errors,
        checkpoint=checkpoint,
        fresh=fresh,
        limit=limit,
        client=client,
        keys=keys,
        mode=mode,
        on_progress=on_progress,
        dry_run=dry_run,
        **settings,
    )
    if isinstance(work, Plan):
        return work
    try:
        portal.run_sync(work.run())
    finally:
        work.close()
    return work.table()


async def amap(data: Any, prompt: str | Callable[[Any], Prompt | None], **settings: Any) -> Any:
    """Ask as `map` does, with the same settings; awaitable in any event loop."""
    asked = signature(map).bind(data, prompt, **settings)
    asked.apply_defaults()
    work = _prepared(*asked.args, **asked.kwargs)
    if isinstance(work, Plan):
        return work
    try:
        await portal.run_async(work.run())
    finally:
        work.close()
    return work.table()


# --- settings -----------------------------------------------------------------------------------


def _prepared(
    data: Any,
    prompt: str | Callable[[Any], Prompt | None],
    *,
    schema: Any,
    provider: str | Provider | None,
    max_cost: float | str | None,
    concurrency: int | None,
    retries: int,
    errors: str,
    checkpoint: bool | str | Path,
    fresh: bool,
    limit: int | None,
    client: Any,
    keys: Keys,
    mode: str,
    on_progress: Callable[[Progress], object] | None,
    dry_run: bool,
    **settings: Any,
) -> Map | Plan:
    """Check everything, and return what is ready to be run, or its plan."""
    if errors not in ("value", "raise"):
        raise wrong("errors", errors, "'value' or 'raise'")
    if mode not in ("live", "batch"):
        raise wrong("mode", mode, "'live' or 'batch'")
    if mode == "batch" and client is not None:
        raise ConfigError("mode='batch' asks no workers: leave client= or mode= out.")
    check_callback("on_progress", on_progress)
    most = MOST if concurrency is None else whole(1)("concurrency", concurrency)
    count = None if limit is None else whole(0)("limit", limit)
    _check_names(settings)
    table = frames.read(data)
    template = Template(prompt, table.columns)
    job, budget = _job(provider, schema, {**settings, "max_cost": max_cost}, retries)
    _check_schema(job, asks_here=client is None)
    store = kept_answers.at(checkpoint)
    if dry_run:
        with contextlib.closing(store) if store is not None else contextlib.nullcontext():
            batched = _batched(job, budget, store, fresh=fresh) if mode == "batch" else None
            return plan(
                table,
                template,
                job,
                checkpoints=None if fresh else store,
                limit=count,
                share=Decimal(1) if batched is None else batched.share,
                submitted=() if batched is None else batched.submitted,
            )
    pace = Pace(most, start=START if concurrency is None else None)
    try:
        executor: Executor
        if mode == "batch":
            executor = _batched(job, budget, store, fresh=fresh)
        elif client is not None:
            executor = Clustered(job, budget=budget, pace=pace, client=client, keys=keys)
        else:
            executor = Local(job, budget=budget, pace=pace)
    except BaseException:  # raised again; an interrupt too leaves no file open
        if store is not None:
            store.close()
        raise
    return Map(
        table=table,
        template=template,
        job=job,
        executor=executor,
        checkpoints=store,
        fresh=fresh,
        limit=count,
        raises=errors == "raise",
        on_progress=on_progress,
    )


def _check_names(settings: Mapping[str, Any]) -> None:
    """Refuse a setting that is one of ours mistyped: `run` would offer only its own."""
    ours = [p.name for p in signature(map).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for name in settings:
        near = get_close_matches(name, ours, n=1, cutoff=0.8)
        if near and name not in (*_AGENT_SETTINGS, *SETTINGS):
            raise ConfigError(f"Unknown setting {name!r}. Did you mean {near[0]}?")


def _batched(job: Job, budget: Budget | None, store: Checkpoints | None, *, fresh: bool) -> Batched:
    from alloy_nb.analysis.batches import Batched

    if store is None:
        raise ConfigError(
            "mode='batch' needs checkpoints, to find its batches again: leave checkpoint=False out."
        )
    return Batched(job, budget=budget, file=store, fresh=fresh)


def _job(
    provider: str | Provider | None, schema: Any, settings: dict[str, Any], retries: int
) -> tuple[Job, Budget | None]:
    """Return what is the same for all rows, and what may be spent on all of them together."""
    for name in (*RUN_SETTINGS, "until_tool"):
        if name in settings:
            instead = "use schema=" if name == "until_tool" else "each row is a run of its own"
            raise ConfigError(f"{name}= is no setting of map: {instead}.")
    agent, _ = make_agent(default_provider() if provider is None else provider, settings)
    apart = {*PROVIDER_SETTINGS, *_MONEY, *_RETRY, "max_cost"}
    rest = {name: value for name, value in settings.items() if name not in apart}
    retry = agent.retry
    if all(settings.get(name) is None for name in ("retry", "max_retries")):
        retry = replace(retry, max_retries=whole(0)("retries", retries))
    return Job(agent.provider, schema, rest, retry), agent.budget


def _check_schema(job: Job, *, asks_here: bool) -> None:
    """Make a request as it will be sent, so that what a vendor cannot take is refused now.

    Raises:
        ConfigError: The vendor cannot take the schema, a tool or an option, or has no key.
    """
    if isinstance(job.schema, (str, Tool)) or isroutine(job.schema):
        raise wrong("schema", job.schema, "a type such as a pydantic model")
    if isinstance(job.schema, (list, tuple, set, frozenset)):
        few = ", ".join(repr(one) for one in list(job.schema)[:3])
        raise wrong("schema", job.schema, f"a type: for one of several, Literal[{few}]")
    try:
        agent, provider = job.agent(), job.provider
    except ConfigError as error:
        own_words = str(error).replace("until_tool must be a tool's name, or", "schema must be")
        raise ConfigError(own_words) from None
    if not isinstance(provider, VendorProvider):
        return
    own = () if job.structured is None else (job.structured.spec,)
    tools = (*agent.tool_specs, *own)
    options = agent.options.over(provider.options)
    provider.check(options)
    request = ModelRequest([user("?")], agent.instructions, tools, agent.options)
    body = provider.body(request)
    if asks_here:  # workers have keys of their own
        provider.call(provider.url, body, options, deadline=None)

"""What a run costs and what a limit does about it: names, unknown prices, reports that lie."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import alloy_nb as al
from alloy_nb.engine.agent import Agent
from alloy_nb.engine.budget import Budget, believable
from alloy_nb.errors import ConfigError, StreamTruncated, TimedOut
from alloy_nb.events import TurnFinished
from alloy_nb.providers import catalog
from alloy_nb.providers.base import ModelOptions
from alloy_nb.usage import Cost, Usage
from tests.engine.scripted import Scripted, calls, of_run, says
from tests.engine.test_loop import add, logged

PRICE = catalog.ModelPrice(input=Decimal(0), output=Decimal(1_000_000))


@pytest.fixture(autouse=True)
def prices() -> Iterator[None]:
    """Let a token of output of the scripted model cost a dollar."""
    before = dict(catalog._prices)
    catalog.override("scripted/scripted-1", price=PRICE)
    yield
    catalog._prices.clear()
    catalog._prices.update(before)


def used(output: int) -> Usage:
    return Usage(input_tokens=0, output_tokens=output)


def test_the_cost_is_known_after_each_reply():
    model = Scripted(calls(("add", {"a": 1, "b": 2}), usage=used(2)), says("3", usage=used(3)))
    result, events = logged(Agent(model, tools=(add,)))
    assert [turn.cost.usd for turn in of_run(TurnFinished, events)] == [2, 3]
    assert result.cost.usd == 5


# --- the limit ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["max_cost", "max_budget_cents"])
def test_a_limit_of_nothing_stops_before_the_first_request(name):
    for model in (Scripted(), Scripted(name="nobody")):
        result = al.run("?", provider=model, **{name: 0})
        assert (result.status, result.ok, result.turns) == ("budget_exceeded", True, 0)
        assert model.requests == []


def test_a_limit_of_nothing_stops_also_what_costs_nothing():
    result = al.run("?", provider="demo", max_cost=0)
    assert (result.status, result.turns) == ("budget_exceeded", 0)


def test_cents_are_hundredths_of_dollars():
    model = Scripted(otherwise=calls(("add", {"a": 1, "b": 2}), usage=used(10)))
    limit = {"max_budget_cents": 2_500, "max_output_tokens": 10}
    result = al.run("?", provider=model, tools=[add], **limit)
    assert (result.status, len(model.requests)) == ("budget_exceeded", 2)
    assert result.cost.usd == 20


def test_a_limit_that_is_used_up_stops_also_what_costs_nothing():
    catalog.override("free/scripted-1", price=catalog.ModelPrice(Decimal(0), Decimal(0)))
    budget, free = Budget(5), Scripted(says("a", usage=used(1)), name="free")
    al.run("?", provider=Scripted(says("a", usage=used(5))), budget=budget, max_output_tokens=5)
    assert al.run("?", provider=free, budget=budget).status == "budget_exceeded"
    assert free.requests == []


def test_runs_side_by_side_share_a_limit():
    budget = Budget(50)
    model = Scripted(otherwise=says("a", usage=used(10)), steps=True)
    agent = Agent(model, budget=budget, options=ModelOptions(max_output_tokens=10))

    async def go() -> list[al.Result]:
        return await asyncio.gather(*(agent.arun("?") for _ in range(12)))

    statuses = [result.status for result in asyncio.run(go())]
    assert (statuses.count("completed"), budget.spent) == (5, 50)


def test_an_agent_that_is_used_as_a_tool_spends_from_the_same_limit():
    worker = Agent(
        Scripted(says("done", usage=used(30))),
        name="worker",
        options=ModelOptions(max_output_tokens=30),
    )

    @al.tool
    async def ask(task: str) -> str:
        """Ask the worker."""
        return (await worker.arun(task)).status.value

    model = Scripted(calls(("ask", {"task": "x"}), usage=used(5)), says("ok", usage=used(5)))
    more: dict[str, Any] = {"tools": [ask], "max_output_tokens": 5}
    result = al.run("?", provider=model, max_cost=100, **more)
    assert (result.text, result.cost.usd) == ("ok", 40)
    model = Scripted(calls(("ask", {"task": "x"}), usage=used(5)), says("ok", usage=used(5)))
    result = al.run("?", provider=model, max_cost=20, **more)
    assert result.messages[2].content[0].text == "budget_exceeded"


def test_what_is_written_to_a_cache_is_reserved_at_its_own_price():
    dear = catalog.ModelPrice(Decimal(1), Decimal(0), cache_write=Decimal(1_000_000))
    catalog.override("scripted/scripted-1", price=dear)
    model = Scripted()
    assert al.run("x" * 300, provider=model, max_cost=50, cache=True).status == "budget_exceeded"
    assert model.requests == []


def test_an_attempt_that_may_be_billed_is_paid_for_before_the_next_one():
    budget = Budget(100)
    model = Scripted(TimedOut("late"), StreamTruncated("cut"), says("a", usage=used(10)))
    result = al.run("?", provider=model, budget=budget, max_output_tokens=40, retry_backoff_ms=1)
    assert (result.status, len(model.requests)) == ("budget_exceeded", 2)
    assert budget.spent == 80


def test_a_cost_with_an_unknown_part_is_not_known():
    model = Scripted([*says("a", usage=used(3))[:3], StreamTruncated("cut")])
    result = al.run("?", provider=model)
    assert result.cost.usd is None
    assert result.usage.unreported == 1


COSTS = [Cost(), Cost(known=Decimal("0.5")), Cost.unknown(), Cost(known=Decimal(2), complete=False)]


@pytest.mark.parametrize("one", COSTS, ids=str)
@pytest.mark.parametrize("other", COSTS, ids=str)
def test_a_sum_of_costs_knows_what_both_know_and_is_whole_if_both_are(one, other):
    both = one + other
    assert both.known == one.known + other.known
    assert both.complete is (one.complete and other.complete)


# --- a price that nobody knows --------------------------------------------------------------------


def test_a_model_without_a_price_is_refused_under_a_limit():
    model = Scripted(name="nobody")
    result = al.run("?", provider=model, max_cost=5)
    assert (result.status, model.requests) == ("error", [])
    assert "unknown_price='worst'" in result.error


def test_a_model_without_a_price_may_be_counted_as_the_dearest():
    dearest = catalog.ModelPrice(Decimal(0), Decimal(2_000_000))
    catalog.override("dear/scripted-1", price=dearest)
    budget = Budget(100)
    model = Scripted(says("a", usage=used(7)), name="nobody")
    more: dict[str, Any] = {"unknown_price": "worst", "max_output_tokens": 20}
    result = al.run("?", provider=model, budget=budget, **more)
    assert result.text == "a"
    assert 14 <= budget.spent < Decimal("14.01")
    assert result.cost.usd is None  # it is not pretended that this is what it cost
    assert al.run("?", provider=Scripted(name="nobody"), max_cost=39, **more).status == (
        "budget_exceeded"
    )


def test_the_dearest_price_is_at_least_that_of_every_listed_model():
    dearest = catalog.dearest()
    usage = Usage(input_tokens=1_000, output_tokens=1_000)
    for vendor in ("anthropic", "openai", "gemini", "xai", "mistral"):
        for model in catalog.models(vendor):
            known = catalog.cost(vendor, model, usage).usd
            assert known is None or known <= dearest.cost(usage), model


def test_without_a_limit_no_price_is_needed():
    assert al.run("?", provider=Scripted(says("a"), name="nobody")).cost.usd is None


# --- reports that cannot be -----------------------------------------------------------------------

COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "searches")


@pytest.mark.parametrize("name", [*COUNTS, "reasoning_tokens", "cache_write_1h_tokens"])
def test_a_negative_count_is_no_report(name):
    assert believable(Usage(**{"input_tokens": 5, "output_tokens": 5, name: -1})) is None


def test_a_negative_price_of_the_vendors_own_is_no_report():
    assert believable(Usage(stated_cost=Decimal(-1))) is None
    assert believable(Usage(stated_cost=Decimal(1))) is not None


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(COUNTS), st.integers(-(10**12), 10**12)))
def test_no_report_lowers_what_is_spent(counts):
    budget = Budget(10**9)
    model = Scripted(says("a", usage=used(5)), says("b", usage=Usage(**counts)))
    more: dict[str, Any] = {"provider": model, "budget": budget, "max_output_tokens": 10}
    al.run("?", **more)
    spent = budget.spent
    result = al.run("?", **more)
    assert budget.spent >= spent == 5
    assert result.usage.input_tokens >= 0
    assert result.usage.output_tokens >= 0
    assert result.cost.known >= 0


def test_a_negative_report_counts_as_the_worst_case():
    budget = Budget(100)
    model = Scripted(says("a", usage=Usage(input_tokens=5, output_tokens=-50)))
    result = al.run("?", provider=model, budget=budget, max_output_tokens=30)
    assert budget.spent >= 30
    assert (result.usage.unreported, result.cost.usd) == (1, None)


# --- the parts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [-1, "lots", float("nan"), float("inf"), True, [1], "1,5"])
@pytest.mark.parametrize("name", ["max_cost", "max_budget_cents"])
def test_a_limit_that_is_none_is_refused_by_name(name, limit):
    with pytest.raises(ConfigError, match=name):
        al.run("?", provider=Scripted(), **{name: limit})


def test_usage_and_cost_add_up():
    one, two = Usage(input_tokens=1, searches=2), Usage(input_tokens=3, output_tokens=4)
    assert (one + two).total_tokens == 8
    assert (one + two).searches == 2
    assert (Cost(known=Decimal(1)) + Cost.unknown()).usd is None


@pytest.mark.parametrize(
    ("known", "told"),
    [("0", "cost unknown"), ("0.00005", "cost unknown"), ("0.0002", "≥ $0.0002, rest unknown")],
)
def test_a_part_too_small_to_be_shown_is_not_told_of_a_cost_that_is_unknown(known, told):
    assert str(Cost(known=Decimal(known), complete=False)) == told

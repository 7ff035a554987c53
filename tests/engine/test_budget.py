"""Money: what is reserved before a request, what is settled after it, and that a limit holds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

import alloy_nb as al
from alloy_nb.engine.agent import Agent
from alloy_nb.engine.budget import Budget, Spending, estimate_tokens
from alloy_nb.errors import (
    AuthFailed,
    BudgetExceeded,
    ConfigError,
    ConnectionFailed,
    StreamTruncated,
    TimedOut,
)
from alloy_nb.events import BudgetWarned
from alloy_nb.messages import Document, user
from alloy_nb.providers import catalog
from alloy_nb.providers.base import ModelOptions, ModelRequest
from alloy_nb.usage import Cost, Usage
from tests.engine.scripted import Scripted, calls, of_run, says
from tests.engine.test_loop import add, logged

A_DOLLAR_A_TOKEN = catalog.ModelPrice(input=Decimal(0), output=Decimal(1_000_000))


@pytest.fixture(autouse=True)
def prices() -> Iterator[None]:
    """Let a token of output of the scripted model cost a dollar."""
    before = dict(catalog._prices)
    catalog.override("scripted/scripted-1", price=A_DOLLAR_A_TOKEN)
    yield
    catalog._prices.clear()
    catalog._prices.update(before)


def used(output: int) -> Usage:
    return Usage(input_tokens=1, output_tokens=output)


def test_what_is_reserved_is_not_left():
    budget = Budget(10)
    budget.reserve(Decimal(4))
    assert (budget.left, budget.spent) == (6, 0)
    budget.settle(Decimal(4), Cost(known=Decimal(1)))
    assert (budget.left, budget.spent) == (9, 1)


def test_more_than_is_left_is_refused_with_the_numbers():
    budget = Budget("0.50")
    with pytest.raises(BudgetExceeded, match=r"\$0\.7000.*\$0\.5000 of\s+\$0\.50"):
        budget.reserve(Decimal("0.7"))
    assert budget.left == Decimal("0.5")


def test_an_unknown_cost_counts_as_the_worst_case():
    budget = Budget(10)
    budget.reserve(Decimal(4))
    budget.settle(Decimal(4), Cost.unknown())
    assert budget.spent == 4


def test_a_negative_cost_never_gives_money_back():
    budget = Budget(10)
    budget.settle(Decimal(0), Cost(known=Decimal(-5)))
    assert budget.left == 10


def test_a_budget_within_another_needs_room_in_both():
    whole = Budget(5)
    part = Budget(100, within=whole)
    with pytest.raises(BudgetExceeded):
        part.reserve(Decimal(6))
    assert (whole.left, part.left) == (5, 100)
    narrow = Budget(1, within=whole)
    with pytest.raises(BudgetExceeded):
        narrow.reserve(Decimal(2))
    assert whole.left == 5  # what was set aside above is given back
    part.reserve(Decimal(3))
    part.settle(Decimal(3), Cost(known=Decimal(2)))
    assert (whole.spent, part.spent) == (2, 2)


@pytest.mark.parametrize("limit", [-1, "lots", float("nan"), float("inf"), None])
def test_a_limit_that_is_none_is_refused(limit):
    with pytest.raises(ConfigError):
        Budget(limit)


# --- in a run -------------------------------------------------------------------------------------


def test_a_run_that_fits_is_settled_with_what_it_cost():
    budget = Budget(100)
    model = Scripted(says("a", usage=used(5)))
    result = al.run("?", provider=model, budget=budget, max_output_tokens=50)
    assert (result.status, budget.spent, budget.left) == ("completed", 5, 95)
    assert result.cost.usd == 5


def test_a_request_that_may_not_fit_is_not_sent():
    model = Scripted()
    result = al.run("?", provider=model, max_cost=40, max_output_tokens=50)
    assert (result.status, model.requests) == ("budget_exceeded", [])
    assert result.ok
    assert isinstance(result.exception, BudgetExceeded)


def test_a_limit_of_nothing_allows_nothing():
    model = Scripted()
    assert al.run("?", provider=model, max_cost=0, max_output_tokens=1).status == "budget_exceeded"
    assert model.requests == []


def test_a_loop_stops_before_the_turn_that_may_not_fit():
    reply = calls(("add", {"a": 1, "b": 2}), usage=used(4))
    model = Scripted(otherwise=reply)
    budget = Budget(20)
    result = al.run("?", provider=model, tools=[add], budget=budget, max_output_tokens=10)
    assert (result.status, len(model.requests), budget.spent) == ("budget_exceeded", 3, 12)


def test_a_limit_on_output_is_sent_where_there_was_none():
    model = Scripted(says("a", usage=used(1)))
    al.run("?", provider=model, max_cost=10_000)
    assert model.requests[0].options.max_output_tokens == 8192


def test_a_model_without_a_price_is_refused_and_the_message_says_how_to_set_one():
    result = al.run("?", provider=Scripted(name="nobody"), max_cost=5)
    assert result.status == "error"
    assert "catalog.override" in result.error


def test_a_reply_that_reports_nothing_counts_as_the_worst_case():
    budget = Budget(100)
    al.run("?", provider=Scripted(says("a", usage=None)), budget=budget, max_output_tokens=50)
    assert budget.spent == 50


@pytest.mark.parametrize("error", [AuthFailed("no"), ConnectionFailed("no"), ConfigError("no key")])
def test_a_request_that_was_refused_costs_nothing(error):
    budget = Budget(100)
    model = Scripted(error)
    al.run("?", provider=model, budget=budget, max_output_tokens=50, max_retries=0)
    assert (budget.spent, budget.left) == (0, 100)


@pytest.mark.parametrize("error", [StreamTruncated("cut"), TimedOut("late")])
def test_a_reply_that_was_cut_counts_as_the_worst_case(error):
    budget = Budget(100)
    model = Scripted([*says("a", usage=used(1))[:3], error])
    al.run("?", provider=model, budget=budget, max_output_tokens=50)
    assert budget.spent == 50


def test_a_request_that_timed_out_may_be_billed():
    budget = Budget(100)
    al.run(
        "?", provider=Scripted(TimedOut("late")), budget=budget, max_output_tokens=50, max_retries=0
    )
    assert budget.spent == 50


def test_a_dearer_fallback_is_reserved_for():
    catalog.override("dear/scripted-1", price=catalog.ModelPrice(Decimal(0), Decimal(3_000_000)))
    dear = Scripted(says("a", usage=used(50)), name="dear")
    budget = Budget(100)
    model = Scripted(AuthFailed("no"))
    result = al.run(
        "?", provider=model, fallback_providers=[dear], budget=budget, max_output_tokens=50
    )
    assert result.status == "budget_exceeded"
    assert budget.spent <= 100


def test_the_reader_is_warned_once_when_most_is_spent():
    model = Scripted(
        *[calls(("add", {"a": 1, "b": 2}), usage=used(41))] * 2, says("b", usage=used(1))
    )
    _, events = logged(
        Agent(model, tools=(add,), budget=Budget(100), options=ModelOptions(max_output_tokens=18))
    )
    warned = of_run(BudgetWarned, events)
    assert warned == [BudgetWarned(Decimal(82), Decimal(100))]


def test_the_budget_of_a_session_holds_for_all_its_turns():
    model = Scripted(otherwise=says("a", usage=used(10)))
    session = al.Session(provider=model, max_cost=35, max_output_tokens=10)
    statuses = [session.chat("?").status for _ in range(5)]
    assert statuses == ["completed"] * 3 + ["budget_exceeded"] * 2
    assert session.cost.usd == 30


def test_the_demo_costs_nothing_under_any_limit():
    assert al.run("What is 6 * 7?", provider=al.provider("demo", pace=0), max_cost="0.01").ok


@pytest.mark.parametrize("workers", [64])
def test_many_at_once_never_spend_more_than_the_limit(workers):
    chance = random.Random(5)
    budget = Budget(500)
    spent: list[int] = []

    def reply(request: ModelRequest) -> list[Any]:
        output = chance.randint(0, request.options.max_output_tokens or 0)
        spent.append(output)
        fate = chance.random()
        if fate < 0.1:
            return [*says("a", usage=None)[:3], StreamTruncated("cut")]
        return says("a", usage=None if fate < 0.2 else used(output))

    model = Scripted(otherwise=reply, steps=True)

    async def one() -> None:
        for _ in range(10):
            await Agent(model, budget=budget, options=ModelOptions(max_output_tokens=10))._complete(
                "?"
            )

    async def go() -> None:
        await asyncio.gather(*(one() for _ in range(workers)))

    asyncio.run(go())
    assert sum(spent) <= budget.spent <= budget.limit
    assert budget.spent > 480  # it was used, not merely locked
    assert budget.left == budget.limit - budget.spent  # nothing stays set aside


# --- the estimate ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("hello " * 100, 120), ("漢字" * 500, 1000), ("😀" * 300, 300), ("é" * 90, 30)],
)
def test_the_estimate_is_rather_too_high(text, tokens):
    assert estimate_tokens(ModelRequest([user(text)])) >= tokens


def test_a_document_counts_by_its_size():
    small, large = (Document(data="A" * n) for n in (1000, 1_000_000))
    estimates = [estimate_tokens(ModelRequest([user("x", d)])) for d in (small, large)]
    assert estimates[1] > 100 * estimates[0]


def test_the_worst_case_is_the_whole_input_and_the_whole_output():
    catalog.override("scripted/scripted-1", price=catalog.ModelPrice(Decimal(1), Decimal(1_000)))
    request = ModelRequest([user("x")], options=ModelOptions(max_output_tokens=7))
    spending = Spending(Budget(1))
    reserved = spending.reserve([Scripted()], request)
    assert reserved == Decimal(estimate_tokens(request)) / 1_000_000 + Decimal("0.007")

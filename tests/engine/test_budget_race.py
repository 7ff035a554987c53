"""Many workers, one limit, a server that bills: what it bills never exceeds the limit.

The sample is 64 workers of 10 runs. ``ALLOY_TEST_FULL=1`` makes it 1,000 runs each.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

import alloy_nb as al
from alloy_nb.engine.budget import Budget
from alloy_nb.errors import BudgetExceeded
from alloy_nb.providers import catalog
from alloy_nb.usage import Cost
from tests.servers.sse import CLOSE, Answer, Request, Server, json_answer
from tests.servers.wire import Reply, Say, Usage, anthropic_events

FULL = bool(os.environ.get("ALLOY_TEST_FULL"))
WORKERS, RUNS = 64, 1_000 if FULL else 10
LONGEST = 40
PRICE = catalog.ModelPrice(input=Decimal(3), output=Decimal(15))


@pytest.fixture(autouse=True)
def price() -> Iterator[None]:
    before = dict(catalog._prices)
    catalog.override("anthropic/priced-1", price=PRICE)
    yield
    catalog._prices.clear()
    catalog._prices.update(before)


class Biller:
    """Answers with some length within the limit that it is given, and bills each answer.

    One in twenty is cut before its end, one in twenty reports nothing, one in twenty is refused and
    costs nothing; what was begun is billed.
    """

    def __init__(self) -> None:
        self._chance = random.Random(7)
        self._lock = threading.Lock()
        self.billed = Decimal(0)
        self.fates = dict.fromkeys(("whole", "cut", "silent", "refused"), 0)

    def __call__(self, request: Request) -> Answer:
        asked = request.json
        text = sum(len(str(message["content"])) for message in asked["messages"])
        used = Usage(input=text // 4, output=0)
        with self._lock:
            output = self._chance.randint(1, asked["max_tokens"])
            fate = self._chance.choice(["whole"] * 17 + ["cut", "silent", "refused"])
            self.fates[fate] += 1
            if fate != "refused":
                self.billed += (used.input * PRICE.input + output * PRICE.output) / 1_000_000
        if fate == "refused":
            error = {"type": "invalid_request_error", "message": "not today"}
            return json_answer({"type": "error", "error": error}, status=400)
        events = anthropic_events(Reply([Say("yes")], usage=Usage(used.input, output)))
        if fate == "cut":
            return Answer([b"".join(events[:3]), CLOSE])
        if fate == "silent":
            events = [event.replace(b'"usage"', b'"unused"') for event in events]
        return Answer([b"".join(events)])


@pytest.mark.parametrize(
    "workers",
    [pytest.param(WORKERS, marks=[pytest.mark.slow, pytest.mark.timeout(3_600)] if FULL else [])],
)
def test_many_workers_never_spend_more_than_their_limit_at_a_server_that_bills(workers):
    # About half of what all of them would cost.
    limit = workers * RUNS * LONGEST * PRICE.output / 1_000_000 / 2
    budget, biller = Budget(limit), Biller()

    def work(number: int) -> list[str]:
        agent = al.Agent(
            al.Anthropic("priced-1", api_key="sk-test", base_url=server.url),
            budget=budget,
            options=al.ModelOptions(max_output_tokens=LONGEST),
        )
        return [agent.run(f"{number}.{turn}? " + "x" * 100).status for turn in range(RUNS)]

    with Server(otherwise=biller) as server, ThreadPoolExecutor(workers) as pool:
        statuses = [status for done in pool.map(work, range(workers)) for status in done]
        answered = len(server.requests)
    print(f"\n{len(statuses)} runs, {answered} requests {biller.fates}, limit ${limit}, ")
    print(f"billed ${biller.billed}, counted ${budget.spent}")
    assert biller.billed <= budget.spent <= limit
    assert min(biller.fates.values()) > 0
    assert budget.left == limit - budget.spent  # nothing stays set aside
    assert statuses.count("budget_exceeded") > 0  # the limit was reached,
    assert budget.spent > limit * Decimal("0.9")  # and what it allowed was used


def test_a_budget_holds_when_many_threads_reserve_and_settle():
    budget = Budget(1_000)

    def work(seed: int) -> Decimal:
        chance, paid = random.Random(seed), Decimal(0)
        for _ in range(300):
            amount = Decimal(chance.randint(1, 3))
            try:
                budget.reserve(amount)
            except BudgetExceeded:
                continue
            cost = Decimal(chance.randint(0, int(amount)))
            paid += cost
            budget.settle(amount, Cost(known=cost))
        return paid

    with ThreadPoolExecutor(32) as pool:
        paid = sum(pool.map(work, range(32)), Decimal(0))
    assert paid == budget.spent <= budget.limit
    assert budget.left == budget.limit - paid

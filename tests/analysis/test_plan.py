"""What a map would ask and cost, before anything is sent."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import pandas as pd
import pytest
from pydantic import BaseModel

import alloy_nb as al
from alloy_nb.errors import ConfigError
from alloy_nb.providers import catalog
from alloy_nb.testing import ScriptedProvider, text_response
from alloy_nb.usage import Usage


class Label(BaseModel):
    label: Literal["a", "b"]
    why: str


@pytest.fixture(autouse=True)
def priced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = dict(catalog._prices)
    catalog.override(
        "scripted/scripted-1", price=catalog.ModelPrice(input=Decimal(1), output=Decimal(10))
    )
    yield
    catalog._prices.clear()
    catalog._prices.update(before)


REVIEWS = ["good", "bad", "good", None, "so so"]


def planned(provider=None, data=REVIEWS, prompt="Label {value}", **more):
    return al.map(data, prompt, provider=provider or ScriptedProvider(), dry_run=True, **more)


def test_a_plan_counts_the_rows_and_sends_nothing():
    provider = ScriptedProvider()
    plan = planned(provider)
    assert (plan.rows, plan.asked, plan.repeated, plan.empty, plan.kept) == (5, 3, 1, 1, 0)
    assert plan.model == "scripted/scripted-1"
    assert provider.requests == []


def test_rows_that_were_answered_before_cost_nothing():
    provider = ScriptedProvider(otherwise="fine")
    al.map(REVIEWS[:2], "Label {value}", provider=provider)
    plan = planned(provider)
    assert (plan.asked, plan.kept) == (1, 2)
    assert planned(provider, fresh=True).asked == 3


def test_the_price_lies_between_a_likely_one_and_the_most():
    plan = planned(data=[f"review {n}" for n in range(100)], max_output_tokens=200)
    assert plan.longest == 200
    assert Decimal(0) < plan.likely < plan.most
    # 100 answers of 200 tokens at $10 a million, and what is sent.
    assert Decimal("0.2") < plan.most < Decimal("0.21")


def test_the_most_is_never_exceeded_by_what_is_paid():
    reply = text_response("x", usage=Usage(input_tokens=12, output_tokens=200))
    data = [f"review {n}" for n in range(20)]
    plan = planned(data=data, max_output_tokens=200)
    provider = ScriptedProvider(otherwise=reply)
    table = al.map(data, "Label {value}", provider=provider, max_output_tokens=200)
    assert table["cost"].sum() <= plan.most


def test_what_answers_took_before_is_what_they_are_expected_to_take():
    reply = text_response("x", usage=Usage(input_tokens=10, output_tokens=70))
    al.map(["a", "b"], "Label {value}", provider=ScriptedProvider(otherwise=reply))
    plan = planned(data=["c", "d", "e"])
    assert (plan.output_tokens, plan.known_from) == (210, 2)


def test_a_schema_is_sent_with_every_row():
    assert planned(schema=Label).input_tokens > planned().input_tokens + 3 * 40


def test_a_plan_is_readable():
    text = planned().text
    assert text.startswith("5 rows (1 the same as another, 1 empty): 3 requests to scripted/")
    assert "at most $" in text
    assert str(planned()) == text


def test_a_batch_is_planned_at_its_price():
    claude = al.Anthropic("claude-sonnet-4-6", api_key="k")
    live, batch = planned(claude), planned(claude, mode="batch")
    assert batch.likely == live.likely / 2
    assert batch.most == live.most / 2


def test_an_unknown_price_is_said_to_be_unknown():
    plan = planned(ScriptedProvider(model="nobody-knows"))
    assert (plan.likely, plan.most) == (None, None)
    assert "unknown" in plan.text


def test_an_iterator_is_not_used_up_by_a_plan():
    items = iter(["a", "b"])
    with pytest.raises(ConfigError, match="list"):
        planned(data=items)
    assert list(items)[-1:] == ["b"]


def test_a_limit_is_planned_for():
    assert planned(limit=2).rows == 2


def test_a_function_that_fails_is_counted():
    plan = planned(prompt=lambda value: value.upper(), data=["a", 3])
    assert (plan.asked, plan.failing) == (1, 1)


def test_nothing_to_ask_costs_nothing():
    plan = planned(data=pd.Series([], dtype=object))
    assert (plan.rows, plan.likely, plan.most) == (0, 0, 0)

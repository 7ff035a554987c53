"""Several models and prompts are asked about the same rows; it is said how far they agree."""

from __future__ import annotations

import asyncio
import re
from typing import Any, Literal

import pandas as pd
import pytest
from pydantic import BaseModel

import alloy_nb as al
from alloy_nb.errors import ConfigError
from alloy_nb.providers import catalog
from tests.engine.scripted import Scripted, calls

REVIEWS = ["great", "bad", "fine", "awful", "great"]


class Label(BaseModel):
    mood: Literal["good", "bad"]
    sure: int = 1


def labeller(*bad: str, name: str = "", sure: int = 1) -> Scripted:
    """Return a model that calls a row bad if one of these words is in it.

    Models of one name would be one model, whose answers are kept.
    """

    def answer(request: Any) -> Any:
        text = request.messages[-1].text.rpartition(": ")[2]
        mood = "bad" if any(word in text for word in bad) else "good"
        return calls(("Label", {"mood": mood, "sure": sure}))

    return Scripted(otherwise=answer, name=name or f"{'-'.join(bad)}-{sure}")


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return pd.DataFrame(
        {"review": REVIEWS, "right": ["good", "bad", "good", "bad", "good"]},
        index=[3, 1, 4, 1, 5],
    )


@pytest.fixture
def compared(table):
    models = {"strict": labeller("bad", "awful", "fine"), "kind": labeller("awful")}
    return al.compare(table, "The mood of: {review}", models=models, schema=Label)


def test_each_variant_has_a_row_with_its_agreement_and_cost(compared):
    frame = compared.frame
    assert frame["variant"].tolist() == ["strict", "kind"]
    assert frame["agreement"].tolist() == [pytest.approx(0.6)] * 2
    assert frame["errors"].tolist() == [0, 0]
    assert frame["tokens"].tolist() == [60, 60]  # four rows that differ, 15 tokens each


def test_the_answers_stand_side_by_side_with_the_index_of_the_rows(compared):
    answers = compared.answers
    assert answers.index.tolist() == [3, 1, 4, 1, 5]
    assert answers["strict"].tolist() == ["good", "bad", "bad", "bad", "good"]
    assert answers["kind"].tolist() == ["good", "good", "good", "bad", "good"]
    assert answers["agreement"].tolist() == [1.0, 0.5, 0.5, 1.0, 1.0]


def test_each_pair_has_its_agreement_and_cohens_kappa(compared):
    (pair,) = compared.pairs.to_dict("records")
    assert (pair["first"], pair["second"]) == ("strict", "kind")
    assert pair["agreement"] == pytest.approx(0.6)
    # p_e = (2 * 4 + 3 * 1) / 25
    assert pair["kappa"] == pytest.approx((0.6 - 0.44) / (1 - 0.44))


def test_with_the_truth_each_variant_has_its_accuracy(table):
    models = {"right": labeller("bad", "awful"), "kind": labeller("awful")}
    compared = al.compare(
        table, "The mood of: {review}", models=models, schema=Label, truth="right"
    )
    assert compared.frame["accuracy"].tolist() == [1.0, 0.8]
    assert compared.answers["truth"].tolist() == table["right"].tolist()


def test_a_truth_in_another_order_than_the_rows_is_refused(table):
    provider = Scripted()
    with pytest.raises(ConfigError, match="reindex"):
        al.compare(
            table, "{review}", models=[provider], schema=Label, truth=table["right"].iloc[::-1]
        )
    assert provider.requests == []


def test_prompts_are_compared_too_and_each_pair_with_a_model_is_a_variant(table):
    models = {"a": labeller("bad"), "b": labeller("awful")}
    prompts = {"short": "Mood: {review}", "long": "What is the mood of: {review}"}
    compared = al.compare(table, prompts, models=models, schema=Label)
    assert [v.name for v in compared.variants] == ["a · short", "a · long", "b · short", "b · long"]
    assert len(compared.pairs) == 6
    texts = {request.messages[-1].text for request in models["a"].requests}
    assert {"Mood: bad", "What is the mood of: bad"} <= texts


def test_rows_are_asked_once_though_they_are_asked_again(table):
    model = labeller("bad")
    for _ in range(2):
        al.compare(table, ["Mood: {review}"], models=[model], schema=Label)
    assert len(model.requests) == 4


def test_another_column_is_compared_without_asking(table):
    models = {"a": labeller("bad"), "b": labeller("awful", sure=2)}
    compared = al.compare(table, "Mood: {review}", models=models, schema=Label)
    asked = len(models["a"].requests)
    assert compared.compared_on("sure").frame["agreement"].tolist() == [0.0, 0.0]
    assert len(models["a"].requests) == asked


def test_text_is_compared_where_there_is_no_schema(table):
    from tests.engine.scripted import says

    models = {
        name: Scripted(otherwise=says(said), name=name)
        for name, said in (("a", "Yes"), ("b", " Yes\n"))
    }
    compared = al.compare(list(REVIEWS), "Is it good? {value}", models=models)
    assert compared.on == "answer"
    assert compared.frame["agreement"].tolist() == [1.0, 1.0]


def test_a_row_that_failed_counts_for_nobody(table):
    def answer(request: Any) -> Any:
        if "bad" in request.messages[-1].text:
            return al.errors.BadRequest("no", status=400)
        return calls(("Label", {"mood": "good"}))

    models = {"a": Scripted(otherwise=answer, name="fails"), "b": labeller("awful")}
    compared = al.compare(table, "Mood: {review}", models=models, schema=Label)
    assert compared.frame["errors"].tolist() == [1, 0]
    assert compared.frame["agreement"].tolist() == [0.75, 0.75]


def test_all_of_it_spends_from_one_limit(table):
    for name in ("dear", "dearer"):
        catalog.override(f"{name}/scripted-1", price=catalog.ModelPrice(input=1000, output=1000))
    models = {name: labeller("bad", name=name) for name in ("dear", "dearer")}
    compared = al.compare(table, "Mood: {review}", models=models, schema=Label, max_cost="0.000001")
    assert compared.frame["errors"].tolist() == [5, 5]
    assert models["dear"].requests == models["dearer"].requests == []


def test_the_plan_of_each_variant_is_made_without_asking(table):
    model = labeller("bad")
    plans = al.compare(table, ["Mood: {review}"], models={"a": model}, schema=Label, dry_run=True)
    assert plans["a"].asked == 4
    assert model.requests == []


def test_each_variant_tells_of_its_progress(table):
    told: dict[str, Any] = {}
    models = {"a": labeller("bad"), "b": labeller("awful")}
    al.compare(table, "Mood: {review}", models=models, schema=Label, on_progress=told.__setitem__)
    assert {name: (p.done, p.finished) for name, p in told.items()} == {
        "a": (5, True),
        "b": (5, True),
    }


def test_an_iterator_is_read_once_for_all(table):
    models = {"a": labeller("bad"), "b": labeller("awful")}
    compared = al.compare(iter(REVIEWS), "Mood: {value}", models=models, schema=Label)
    assert compared.frame["rows"].tolist() == [5, 5]


def test_polars_in_is_polars_out(table):
    polars = pytest.importorskip("polars")
    rows = polars.DataFrame({"review": REVIEWS})
    models = {"a": labeller("bad"), "b": labeller("awful")}
    compared = al.compare(rows, "Mood: {review}", models=models, schema=Label)
    assert isinstance(compared.answers, polars.DataFrame)
    assert compared.answers["a"].to_list() == ["good", "bad", "good", "good", "good"]


def test_it_is_awaited_in_any_loop(table):
    async def go() -> Any:
        return await al.acompare(table, "Mood: {review}", models=[labeller("bad")], schema=Label)

    assert asyncio.run(go()).frame["rows"].tolist() == [5]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"models": []}, "models= is empty"),
        ({"prompts": []}, "prompts= is empty"),
        ({"on": "tone"}, "the answers have mood, sure"),
        ({"truth": "nothing"}, "There is no column 'nothing'"),
        ({"truth": ["good"]}, "truth has 1 values, and there are 5 rows"),
        ({"provider": "demo"}, "name them in models="),
        ({"prompts": "Mood: {mood}"}, "{mood}"),
        ({"models": ["nonsense"]}, "vendor/model"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_asked(table, settings, told):
    model = labeller("bad")
    chosen = {"prompts": "Mood: {review}", "models": [model], "schema": Label, **settings}
    with pytest.raises(ConfigError, match=re.escape(told)):
        al.compare(table, **chosen)
    assert model.requests == []


# --- what is shown --------------------------------------------------------------------------------


def test_it_is_shown_in_one_line_and_as_a_table(compared):
    assert repr(compared).startswith("Comparison(strict, kind; 5 rows, kappa 0.")
    assert "<table" in compared._repr_html_()


def test_a_plot_is_a_picture_that_says_in_words_what_it_shows(compared, tmp_path):
    pytest.importorskip("matplotlib")
    chart = compared.plot()
    assert chart._repr_png_().startswith(b"\x89PNG")
    assert repr(chart).startswith("Comparison(strict, kind")
    chart.savefig(tmp_path / "agreement.png")
    assert (tmp_path / "agreement.png").stat().st_size > 1000


def test_a_plot_takes_names_as_they_are(table):
    pytest.importorskip("matplotlib")
    models = {"$x_{broken$": labeller("bad"), "a" * 300: labeller("awful")}
    compared = al.compare(table, "Mood: {review}", models=models, schema=Label)
    assert compared.plot()._repr_png_().startswith(b"\x89PNG")

"""What the demo does when it is asked to draw or to drop rows, and where it is told no numbers."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from alloy_nb.markup.alongside import form, kernel_note
from alloy_nb.markup.alongside import reference as alongside
from alloy_nb.providers.demo.exchange import read_exchange
from alloy_nb.providers.demo.words import size_of
from tests.providers.test_demo import Talk, numbers_in, orders, reference, run

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

WITHHELD = "[printed 9 lines, shown to the user, not sent: --data schema]"


def runs(code, namespace):
    """Run code that may end with an assignment as well."""
    return run(f"{code}\nNone", namespace)


@pytest.fixture
def talk():
    from matplotlib import pyplot

    df = orders()
    talk = Talk(runs, df=df)
    talk.about = reference("df", df)
    yield talk
    pyplot.close("all")


def axes_of_last():
    from matplotlib import pyplot

    (axes,) = pyplot.gcf().axes
    return axes


def computed(talk):
    return set().union(*map(numbers_in, talk.outputs))


@pytest.mark.parametrize(
    ("question", "x", "y"),
    [
        ("Plot amount by region in @df.", "region", "amount"),
        ("Draw a box plot of the shipping per region of @df", "region", "shipping"),
        ("Show a scatter of amount and shipping in @df", "amount", "shipping"),
        ("A histogram of amount in @df, please", "amount", "rows"),
    ],
)
def test_a_figure_shows_the_columns_that_are_named(talk, question, x, y):
    answer = talk.ask(question, talk.about)
    assert (axes_of_last().get_xlabel(), axes_of_last().get_ylabel()) == (x, y)
    assert answer.text


@pytest.mark.parametrize(
    "question",
    ["Plot amount by region", "Plot amount and shipping", "Plot a histogram of amount"],
)
def test_each_number_about_a_figure_was_printed_by_the_code_that_drew_it(talk, question):
    answer = talk.ask(f"{question} in @df", talk.about)
    assert numbers_in(answer.text.replace("1. ", "")) <= computed(talk)


def test_the_medians_of_the_boxes_are_those_of_the_table(talk):
    answer = talk.ask("Plot amount by region in @df", talk.about)
    medians = talk.names["df"].groupby("region")["amount"].median()
    assert {round(float(median), 2) for median in medians} <= numbers_in(answer.text)
    assert f"`{medians.idxmax()}` has the highest median" in answer.text


def test_a_number_that_stands_after_by_divides_the_rows():
    frame = pd.DataFrame({"kind": [0, 1] * 30, "size": np.arange(60.0)})
    talk = Talk(frame=frame)
    talk.ask("Plot size by kind of @frame", reference("frame", frame))
    assert axes_of_last().get_xlabel() == "kind"


def test_without_a_column_it_asks_which_and_runs_nothing(talk):
    answer = talk.ask("Plot @df", talk.about)
    assert "Which columns of `df`" in answer.text
    assert "amount" in answer.text
    assert talk.codes == []


def test_a_figure_of_the_table_of_before_needs_no_reference(talk):
    talk.ask("What stands out in @df?", talk.about)
    talk.ask("Now plot amount by region")
    assert axes_of_last().get_xlabel() == "region"


@pytest.mark.parametrize(
    ("question", "left"),
    [
        ("Drop the outliers of amount in @df", None),
        ("Remove rows with missing values from @df", "dropna"),
        ("Drop all duplicates in @df", "drop_duplicates"),
    ],
)
def test_rows_are_dropped_under_the_same_name_and_counted(talk, question, left):
    before = talk.names["df"].copy()
    answer = talk.ask(question, talk.about)
    after = talk.names["df"]
    if left is not None:
        pd.testing.assert_frame_equal(after, getattr(before, left)())
    else:
        low, high = before["amount"].quantile([0.25, 0.75])
        reach = 1.5 * (high - low)
        pd.testing.assert_frame_equal(
            after, before[before["amount"].between(low - reach, high + reach)]
        )
    gone = len(before) - len(after)
    assert (f"{gone} row" in answer.text) if gone else ("No row" in answer.text)
    assert answer.text.count("%alloy restore") == bool(gone)


def test_outliers_of_no_named_column_are_asked_about(talk):
    answer = talk.ask("Drop the outliers in @df", talk.about)
    assert "Outliers of which column" in answer.text
    assert talk.codes == []


def test_a_part_of_a_table_is_no_variable_to_change(talk):
    amount = talk.names["df"]["amount"]
    answer = talk.ask("Drop missing values of @df.amount", reference("df.amount", amount))
    assert "no variable of its own" in answer.text
    assert talk.codes == []


@pytest.mark.parametrize(
    "question",
    [
        "What stands out in @df?",
        "Plot amount by region in @df",
        "Drop the outliers of amount in @df",
    ],
)
def test_where_the_numbers_are_kept_back_it_says_so_and_claims_none(talk, question):
    talk.run = lambda code, names: (WITHHELD, False)
    answer = talk.ask(question, talk.about)
    assert "not sent to me" in answer.text
    assert "claim nothing" in answer.text
    assert not numbers_in(answer.text)


def test_a_column_whose_name_is_code_never_becomes_code():
    name = '"); import os; os.abort(); ("'
    frame = pd.DataFrame({name: np.arange(60.0), "kind": ["a", "b"] * 30})
    talk = Talk(frame=frame)
    about = f"frame: pandas.DataFrame, 60 rows × 2 columns\n  {name}: float64\n  kind: object"
    block = f'<reference name="frame">\n{about}\n</reference>'
    talk.ask(f"Plot `{name}` by kind of @frame", block)
    assert axes_of_last().get_ylabel() == name


def prompted(*texts):
    content = [{"type": "text", "text": text} for text in texts]
    return read_exchange({"messages": [{"role": "user", "content": content}]})


def test_the_form_that_a_flag_asks_for_is_no_part_of_the_question():
    assert prompted("2 + 2\n\n" + form("code", "Answer with code alone.")).prompt == "2 + 2"


def test_what_is_told_of_a_name_may_hold_marks_of_notes():
    about = alongside("column", "a column of <kernel> marks")
    asked = prompted(f"What is @column?\n\n{about}", kernel_note("It is a new one."))
    assert [found.body for found in asked.references] == ["a column of <kernel> marks"]
    assert asked.prompt == "What is @column?"


def test_a_picture_is_measured_and_not_looked_at():
    png = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAYAAAD0In+KAAAAC0lEQVR42mNgwA8AAB4AAbCQb3s="
    source = {"type": "base64", "media_type": "image/png", "data": png}
    text = 'What is it?\n\n<reference name="plot">\nfigure with one plot\n</reference>'
    content = [{"type": "text", "text": text}, {"type": "image", "source": source}]
    (picture,) = read_exchange({"messages": [{"role": "user", "content": content}]}).pictures
    assert size_of(picture) == "PNG, 2 × 1 pixels, 1 kB"
    assert size_of(json.dumps({}).encode()) == "1 kB"

"""Prompts with columns in braces."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alloy_nb.analysis.template import Empty, Template, is_missing
from alloy_nb.errors import ConfigError
from alloy_nb.messages import Image, user

TEXT = st.text(max_size=30)
NAMES = st.lists(
    st.text(
        st.characters(exclude_characters="{}", exclude_categories=("Cs",)), min_size=1, max_size=8
    ),
    min_size=1,
    max_size=5,
    unique=True,
)


@settings(deadline=None)
@given(NAMES, st.data())
def test_a_template_says_what_stands_between_the_braces_and_the_values_in_them(names, data):
    values = data.draw(st.lists(TEXT, min_size=len(names), max_size=len(names)))
    values[0] += "x"
    order = data.draw(st.permutations(range(len(names))))
    literals = data.draw(st.lists(TEXT, min_size=len(names) + 1, max_size=len(names) + 1))
    written, wanted = "", ""
    for literal, number in zip(literals, order, strict=False):
        written += literal.replace("{", "{{").replace("}", "}}") + "{" + names[number] + "}"
        wanted += literal + values[number]
    written += literals[-1].replace("{", "{{").replace("}", "}}")
    assert Template(written, names).prompt(values) == wanted + literals[-1]


@settings(deadline=None)
@given(NAMES, TEXT)
def test_a_column_that_is_not_there_is_named_with_those_that_are(names, other):
    wanted = "".join(c for c in other if c not in "{}") + "~"
    if wanted in names:
        return
    with pytest.raises(ConfigError) as caught:
        Template("About {" + wanted + "}.", names)
    assert "{" + wanted + "}" in str(caught.value)
    assert "{" + names[0] + "}" in str(caught.value)


def test_a_near_name_is_offered():
    with pytest.raises(ConfigError, match=r"Did you mean \{review\}\?"):
        Template("About {reviw}", ["review", "stars"])


def test_all_columns_that_are_not_there_are_named_at_once():
    with pytest.raises(ConfigError, match=r"columns that are not there: \{a\}, \{b\}"):
        Template("{a} {b} {c}", ["c"])


@pytest.mark.parametrize(
    "prompt", ["{review", "review}", "{review:{stars}}", "{}", "{review.__class__}", "{review[0]}"]
)
def test_what_is_no_column_in_braces_is_refused(prompt):
    with pytest.raises(ConfigError, match=r"\{\{ and \}\}"):
        Template(prompt, ["review", "stars"])


def test_a_prompt_that_names_no_column_is_refused():
    with pytest.raises(ConfigError, match=r"the same for every row.*\{value\}"):
        Template("Label it.", None)


def test_a_column_may_have_a_colon_a_dot_or_a_space_in_its_name():
    template = Template("{a:b} {a.b} {a b}", ["a:b", "a.b", "a b"])
    assert template.prompt([1, 2, 3]) == "1 2 3"


def test_what_follows_a_colon_says_how_a_value_is_written():
    assert Template("{price:.2f} EUR", ["price"]).prompt([1.5]) == "1.50 EUR"


@pytest.mark.parametrize("blank", [None, math.nan, "", "  \n"])
def test_a_row_whose_columns_are_all_empty_is_not_asked(blank):
    with pytest.raises(Empty, match="review is empty"):
        Template("About {review}", ["review", "stars"]).prompt([blank, 5])


def test_of_several_columns_one_may_be_empty():
    assert Template("{a}: {b}", ["a", "b"]).prompt([None, "x"]) == ": x"


def test_pandas_own_values_for_nothing_are_missing():
    pandas = pytest.importorskip("pandas")
    assert is_missing(pandas.NA)
    assert is_missing(pandas.NaT)
    assert not is_missing(0)


def test_nan_of_any_kind_is_missing():
    numpy = pytest.importorskip("numpy")
    assert is_missing(Decimal("NaN"))
    assert is_missing(Decimal("sNaN"))
    assert is_missing(numpy.float32("nan"))
    assert is_missing(numpy.datetime64("NaT", "s"))
    assert not is_missing(numpy.float32(1))


def test_a_table_without_columns_says_that_there_are_none():
    with pytest.raises(ConfigError, match="There are: no columns"):
        Template("{a}", [])


def test_a_picture_in_a_column_goes_along_as_such():
    image = Image(data="aGk=")
    prompt = Template("What is in {photo}? It is called {name}.", ["photo", "name"]).prompt(
        [image, "a cat"]
    )
    assert prompt == ["What is in ", image, "? It is called a cat."]


def test_a_function_is_given_the_row_by_its_columns():
    template = Template(lambda row: f"{row['a']}-{row['b']}", ["a", "b"])
    assert template.prompt([1, 2]) == "1-2"


def test_a_function_is_given_the_value_where_there_are_no_columns():
    assert Template(lambda value: user(value), None).prompt(["hi"]) == user("hi")


def test_a_function_that_returns_nothing_leaves_its_row_out():
    with pytest.raises(Empty, match="returned nothing"):
        Template(lambda _: None, None).prompt([1])


@pytest.mark.parametrize("prompt", [3, None, str])
def test_a_prompt_is_a_text_or_a_function(prompt):
    with pytest.raises(ConfigError, match="prompt must be"):
        Template(prompt, None)

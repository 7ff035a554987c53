"""Tables of facts outside of an answer say exactly what is in their cells, in all three forms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alloy_nb.notebook.drawing.cards import table, told

ROWS = [["alloy", ""], ["cost", "$0 (0 tokens)"], ["tools", "read_file, *all*"]]


def test_the_plain_form_is_aligned():
    assert table(ROWS).plain == "alloy\ncost   $0 (0 tokens)\ntools  read_file, *all*"


@pytest.mark.parametrize(
    "text",
    ["(0 tokens)", "[a](http://x)", "<b>", "a | b", "`code`", "*all*", "_x_", r"\(x\)", "&amp;"],
)
def test_a_cell_is_literal_in_html(text):
    from html import unescape
    from re import sub

    html = table([["head"], [text]]).html
    assert unescape(sub("<[^>]*>", "", html)).split("\n")[-2].strip() in (text, f"{text} ")
    assert "<b>" not in html
    assert "<a" not in html


def test_brackets_begin_no_formula():
    bundle = table(ROWS)
    assert r"\(" not in bundle.html
    assert r"\[" not in table([["a"], ["[x]"]]).html
    assert "$0 tokens$" not in bundle.markdown


def test_numbers_stand_on_the_right_and_words_on_the_left():
    lines = table([["name", "in", "share"], ["a", "1,000", "5%"], ["b", "2", ""]]).markdown
    assert lines.splitlines()[1] == "| :-- | --: | --: |"


@given(st.lists(st.lists(st.text(max_size=12), min_size=2, max_size=2), min_size=1, max_size=4))
def test_any_cells_make_a_table_of_their_size(rows):
    bundle = table(rows)
    assert bundle.html.count("<tr>") == len(rows)


def test_a_sentence_is_prose():
    bundle = told("Undone: 'a * b * c'. $1 of <b>")
    assert "<pre" not in bundle.html
    assert "<em>" not in bundle.html
    assert "<b>" not in bundle.html
    assert bundle.plain == "Undone: 'a * b * c'. $1 of <b>"


def test_lines_are_kept_as_they_are():
    bundle = told("one\n  two")
    assert "<pre" in bundle.html
    assert "one\n  two" in bundle.html

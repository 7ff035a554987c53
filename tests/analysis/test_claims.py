"""Which result a number of a claim stands in, rounded as the claim rounds it."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from alloy_nb.analysis.claims import numbers_in, pieces


def places(claim: str, *results: str) -> list[int | None]:
    return [piece.place for piece in pieces(claim, results) if piece.is_number]


@pytest.mark.parametrize(
    ("claim", "result"),
    [
        ("The mean is 12.3.", "12.34"),
        ("The mean is 12.3.", "12.25"),
        ("1,234 rows", "1234"),
        ("1234 rows", "1,234 rows × 3 columns"),
        ("12 % are late", "0.1234"),
        ("12% are late", "12.3"),
        ("12% are late", "12 %"),
        ("3k users", "2981"),
        ("1.2M users", "1234567"),
        ("It fell by 4.", "-4.0"),
        ("A change of -4.", "-4.0"),
        ("p is 1.3e-05", "1.2999e-05"),
        ("0.5 of all", "50%"),
        ("about 7", "x = 7;"),
    ],
)
def test_a_number_stands_in_a_result_that_rounds_to_it(claim, result):
    assert places(claim, result) == [0]


@pytest.mark.parametrize(
    ("claim", "result"),
    [
        ("The mean is 12.3.", "12.4"),
        ("The mean is 12.3.", "12"),
        ("12 % are late", "0.2"),
        ("12 rows", "0.12"),
        ("99 rows", "no number here"),
        ("99 rows", "x99 99a v1.99.2"),
        ("p is 1.3e-05", "1.3"),
    ],
)
def test_a_number_that_no_result_rounds_to_stands_in_none(claim, result):
    assert places(claim, result) == [None]


def test_the_first_result_that_has_a_number_is_meant():
    assert places("3 of 7", "7", "3 and 7") == [1, 0]


@pytest.mark.parametrize("claim", ["Q3 was best", "see python #2", "version 1.2.3", "utf8 x1"])
def test_digits_within_names_and_versions_are_no_numbers(claim):
    assert places(claim, "3 2 1 8") == []


@settings(deadline=None)
@given(st.text(max_size=200), st.lists(st.text(max_size=100), max_size=3))
def test_the_pieces_of_a_claim_are_the_claim(claim, results):
    cut = pieces(claim, results)
    assert "".join(piece.text for piece in cut) == claim
    assert all(p.place is None or 0 <= p.place < len(results) for p in cut)


@settings(deadline=None)
@given(
    st.floats(min_value=-1e9, max_value=1e9, allow_nan=False),
    st.integers(min_value=0, max_value=6),
)
@example(value=0.0001234567890123456, decimals=6)  # as long as Python writes one
def test_a_number_is_found_however_it_is_rounded(value, decimals):
    assert places(f"It is {value:.{decimals}f} there", repr(value)) == [0]
    assert places(f"It is {value:,.{decimals}f} there", f"{value:.12f}") == [0]


@settings(deadline=None)
@given(st.integers(min_value=0, max_value=10**6), st.integers(min_value=1, max_value=1000))
def test_another_whole_number_is_never_taken_for_it(value, apart):
    assert places(f"{value} rows", f"{value + apart} rows") == [None]


def test_a_huge_result_is_read_as_far_as_it_is_bounded():
    assert len(numbers_in("1 " * 1_000_000)) <= 20_000

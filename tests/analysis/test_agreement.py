"""Agreement beyond chance, against scikit-learn, a published example, and its own laws."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alloy_nb.analysis.agreement import agreement, cohen_kappa, fleiss_kappa, majority, same

ANSWERS = st.sampled_from(["a", "b", "c", None])
PAIRS = st.lists(st.tuples(ANSWERS, ANSWERS), min_size=1, max_size=40)


def test_agreement_counts_the_rows_that_both_have_answered():
    assert agreement(["a", "b", None, "c"], ["a", "c", "a", None]) == 0.5


def test_of_no_rows_nothing_is_said():
    assert agreement([], []) is cohen_kappa([None], ["a"]) is fleiss_kappa([["a"], [None]]) is None


def test_cohens_kappa_of_the_textbook():
    """50 applications, judged by two: 20 yes by both, 15 no by both, 5 and 10 apart."""
    first = ["y"] * 25 + ["n"] * 25
    second = ["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)


@settings(deadline=None)
@given(PAIRS)
def test_cohens_kappa_is_that_of_scikit_learn(pairs):
    metrics = pytest.importorskip("sklearn.metrics")
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    ours = cohen_kappa([a for a, _ in pairs], [b for _, b in pairs])
    if ours is None:
        assert len({answer for pair in both for answer in pair}) <= 1
        return
    theirs = metrics.cohen_kappa_score([a for a, _ in both], [b for _, b in both])
    assert ours == pytest.approx(theirs)


def test_fleiss_kappa_of_his_kind_of_example():
    """14 raters, 10 subjects, 5 categories: 0.210, the common example of his formula."""
    counts = [
        (0, 0, 0, 0, 14),
        (0, 2, 6, 4, 2),
        (0, 0, 3, 5, 6),
        (0, 3, 9, 2, 0),
        (2, 2, 8, 1, 1),
        (7, 7, 0, 0, 0),
        (3, 2, 6, 3, 0),
        (2, 5, 3, 2, 2),
        (6, 5, 2, 1, 0),
        (0, 2, 2, 3, 7),
    ]
    rows = [[k for k, count in enumerate(row) for _ in range(count)] for row in counts]
    raters = [list(answers) for answers in zip(*rows, strict=True)]
    assert fleiss_kappa(raters) == pytest.approx(0.210, abs=0.0005)


@settings(deadline=None)
@given(PAIRS)
def test_kappa_does_not_care_who_is_first(pairs):
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    one, other = cohen_kappa(first, second), cohen_kappa(second, first)
    assert one == other or (one is not None and math.isclose(one, other or 0.0))


@settings(deadline=None)
@given(st.lists(st.lists(ANSWERS, min_size=5, max_size=5), min_size=2, max_size=6))
def test_kappa_is_never_above_one_and_is_one_only_where_all_agree(raters):
    kappa = fleiss_kappa(raters)
    if kappa is None:
        return
    whole = [row for row in zip(*raters, strict=True) if None not in row]
    assert kappa <= 1 + 1e-12
    assert (abs(kappa - 1) < 1e-12) == all(len(set(row)) == 1 for row in whole)


@settings(deadline=None)
@given(st.lists(ANSWERS, min_size=1, max_size=20))
def test_who_agrees_with_oneself_agrees_wholly(answers):
    share, kappa = agreement(answers, answers), cohen_kappa(answers, answers)
    assert share in (1.0, None)
    assert kappa is None or kappa == pytest.approx(1.0)


def test_the_majority_is_what_most_have_said_and_how_many_of_those_who_spoke():
    assert majority(["a", "b", "a", None]) == ("a", pytest.approx(2 / 3))
    assert majority([None, None]) == (None, None)


def test_answers_are_the_same_by_content_and_without_blanks_around_them():
    assert same(" good\n") == same("good")
    assert same(["a", "b"]) == same(["a", "b"])
    assert same(1) != same("1")

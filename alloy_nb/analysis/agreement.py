"""How far answers agree: counted over pairs, and over all. Pure.

* Agreement of two: the share of rows that both answered and answered alike, ``p_o``.
* Cohen's kappa: ``(p_o - p_e) / (1 - p_e)``, where ``p_e`` is the agreement that chance alone would
  give, ``sum(p_k * q_k)`` over the answers (J. Cohen, A coefficient of agreement for nominal
  scales, Educational and Psychological Measurement 20, 1960, 37-46).
* Fleiss' kappa, for more than two: ``(P - P_e) / (1 - P_e)`` with ``P`` the mean over the rows of
  ``(sum(n_k ** 2) - n) / (n * (n - 1))`` and ``P_e = sum(p_k ** 2)`` (J. L. Fleiss, Measuring
  nominal scale agreement among many raters, Psychological Bulletin 76, 1971, 378-382). Rows that
  not all have answered are left out.

Where nothing can be said it is ``None``: of no rows; and of kappa where all answers are one, since
chance alone would then agree always.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

__all__ = ["agreement", "cohen_kappa", "fleiss_kappa", "majority", "same"]

Answers = Sequence[Hashable | None]


def same(value: Any) -> Hashable | None:
    """Return an answer as it is compared: texts without blanks around them, lists by content."""
    if isinstance(value, str):
        return value.strip()
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return value  # type: ignore[no-any-return]  # it has a hash


def agreement(first: Answers, second: Answers) -> float | None:
    """Return the share of rows on which two agree, of those that both have answered."""
    both = _both(first, second)
    return sum(a == b for a, b in both) / len(both) if both else None


def cohen_kappa(first: Answers, second: Answers) -> float | None:
    """Return the agreement of two beyond chance: 1 is perfect, 0 is what chance gives."""
    both = _both(first, second)
    if not both:
        return None
    count = len(both)
    observed = sum(a == b for a, b in both) / count
    firsts, seconds = Counter(a for a, _ in both), Counter(b for _, b in both)
    # Of whole numbers, so that what is one for certain is exactly one.
    by_chance = sum(firsts[answer] * seconds[answer] for answer in firsts)
    if by_chance == count * count:
        return None
    expected = by_chance / (count * count)
    return (observed - expected) / (1 - expected)


def fleiss_kappa(answers: Sequence[Answers]) -> float | None:
    """Return the agreement of all beyond chance; `answers` are those of each rater, row by row."""
    raters = len(answers)
    rows = [Counter(row) for row in zip(*answers, strict=True) if None not in row]
    if raters < 2 or not rows:
        return None
    pairs = raters * (raters - 1)
    observed = sum(sum(n * n for n in row.values()) - raters for row in rows) / (pairs * len(rows))
    totals = sum(rows, Counter())
    given = raters * len(rows)
    if len(totals) == 1:
        return None
    expected = sum(n * n for n in totals.values()) / (given * given)
    return (observed - expected) / (1 - expected)


def majority(row: Answers) -> tuple[Hashable | None, float | None]:
    """Return the answer that most have given to a row, and the share of those who have.

    Of answers that are given equally often it is the first.
    """
    given = Counter(answer for answer in row if answer is not None)
    if not given:
        return None, None
    answer, count = given.most_common(1)[0]
    return answer, count / given.total()


def _both(first: Answers, second: Answers) -> list[tuple[Hashable, Hashable]]:
    pairs = zip(first, second, strict=True)
    return [(a, b) for a, b in pairs if a is not None and b is not None]

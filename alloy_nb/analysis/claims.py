"""The numbers of a claim, and in which result each of them stands. Pure.

A claim rounds: "12.3" stands for 12.34, "12 %" for 0.123, "3k" for 2,981, and "fell by 4" for -4.
A number of a result is meant where it would be rounded to what the claim says.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Piece", "numbers_in", "pieces"]

_NUMBER = re.compile(
    r"(?<![\w.#])(?P<sign>[-−+]?)(?P<digits>\d{1,3}(?:,\d{3})+|\d{1,18})(?P<rest>\.\d{1,30})?"
    r"(?P<power>[eE][-+]?\d{1,3})?(?:(?P<percent> ?%)|(?P<scale>[kKMB])(?!\w))?(?![\w]|\.\d|,\d{3})"
)
_SCALES = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9}
_MOST_NUMBERS = 20_000
_MOST_CHARACTERS = 200_000


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a claim.

    Args:
        text: As it was written.
        is_number: Whether it is a number.
        place: Which of the results it stands in, counted from 0; ``None`` where it is in none.
    """

    text: str
    is_number: bool = False
    place: int | None = None


def numbers_in(text: str) -> list[float]:
    """Return the numbers of a result, as they are written."""
    found = []
    for match in _NUMBER.finditer(text[:_MOST_CHARACTERS]):
        found.append(_value(match) * _SCALES.get(match["scale"] or "", 1.0))
        if match["percent"]:
            found.append(found[-1] / 100)
        if len(found) >= _MOST_NUMBERS:
            break
    return found


def pieces(claim: str, results: Sequence[str]) -> list[Piece]:
    """Return a claim in pieces, with the first result in which each of its numbers stands."""
    known = [numbers_in(result) for result in results]
    cut: list[Piece] = []
    at = 0
    for match in _NUMBER.finditer(claim):
        place = next((n for n, values in enumerate(known) if _stands(match, values)), None)
        cut += [Piece(claim[at : match.start()]), Piece(match[0], is_number=True, place=place)]
        at = match.end()
    return [piece for piece in [*cut, Piece(claim[at:])] if piece.text]


def _stands(match: re.Match[str], values: Sequence[float]) -> bool:
    said = abs(_value(match))
    decimals = len(match["rest"] or ".") - 1
    scale = _SCALES.get(match["scale"] or "", 1.0) * 10.0 ** int((match["power"] or "e0")[1:])
    said *= _SCALES.get(match["scale"] or "", 1.0)
    # Half of the last digit that was written: all that rounds to it.
    room = 0.5 * 10.0**-decimals * scale
    room += 1e-9 * max(room, said)
    factors = (1.0, 100.0) if match["percent"] else (1.0,)
    return any(abs(abs(value) * factor - said) <= room for value in values for factor in factors)


def _value(match: re.Match[str]) -> float:
    digits = match["digits"].replace(",", "")
    sign = "-" if match["sign"] in ("-", "−") else ""
    return float(f"{sign}{digits}{match['rest'] or ''}{match['power'] or ''}")

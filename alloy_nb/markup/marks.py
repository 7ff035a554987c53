"""Where the numbers of citations stand in a text."""

from __future__ import annotations

import re
from collections.abc import Iterable

from alloy_nb.markup.markdown import MARK, mark
from alloy_nb.markup.plain import clean

__all__ = ["plain_marks", "with_marks"]

_MARKED = re.compile(f"{MARK}([0-9]+){MARK}")


def with_marks(text: str, references: Iterable[tuple[int, int | None]]) -> tuple[str, set[int]]:
    """Return clean text with a mark for each citation, and the numbers that have no place in it.

    Args:
        text: Markdown as it came.
        references: Numbers, each with the offset in `text` where what it supports ends.
    """
    cleaned = clean(text.replace(MARK, ""))
    changed = cleaned != text
    loose: set[int] = set()
    places: dict[int, list[int]] = {}
    for number, end in references:
        if end is None or end < 0:
            loose.add(number)
            continue
        if changed:
            end = len(clean(text[:end].replace(MARK, "")))
        place = _place(cleaned, min(end, len(cleaned)))
        if place is None:
            loose.add(number)
        elif number not in places.setdefault(place, []):
            places[place].append(number)
    pieces: list[str] = []
    start = 0
    for place in sorted(places):
        pieces += [cleaned[start:place], *(mark(number) for number in sorted(places[place]))]
        start = place
    return "".join([*pieces, cleaned[start:]]), loose


def plain_marks(marked: str) -> str:
    """Return text with marks as plain text with ``[1]``."""
    return _MARKED.sub(r"[\1]", marked)


def _place(text: str, end: int) -> int | None:
    """Return where a mark may stand at or before `end`: never where it would break a block."""
    while end > 0 and text[end - 1] in " \t\n|":
        end -= 1
    line = text[text.rfind("\n", 0, end) + 1 : end].strip()
    return end if re.search(r"\w", line) and not re.match(r"```|~~~", line) else None

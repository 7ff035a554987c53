"""Where a text of Python is split: outside of brackets and quotes. Pure."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["outside"]


def outside(text: str) -> Iterator[int]:
    """Yield where the characters stand that are outside of brackets and quotes.

    Last of all comes the text's length, if every bracket and quote is closed by then.
    """
    depth, quote = 0, ""
    for at, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif depth <= 0:
            yield at
    if depth <= 0 and not quote:
        yield len(text)

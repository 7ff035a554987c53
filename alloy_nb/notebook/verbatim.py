"""Keeps IPython's hands off a prompt.

IPython reads a line that ends in ``?`` as a question about an object: ``%alloy what is in df?``
would show the help of ``df`` and ask nobody. Lines that ask us are rewritten before it looks;
``%alloy?`` itself is left alone, and shows our help.
"""

from __future__ import annotations

import re

__all__ = ["keep_question_marks"]

_ASKS = re.compile(
    r"""
    ^(?P<before>\s*(?:[A-Za-z_]\w*\s*=\s*)?)   # also an assignment: answer = %alloy ...?
    %alloy[ \t]+
    (?P<prompt>\S.*\?)
    [ \t]*(?P<end>\n?)$
    """,
    re.VERBOSE,
)


_TRIPLE = re.compile(r"\"\"\"|'''")


def keep_question_marks(lines: list[str]) -> list[str]:
    """Rewrite ``%alloy ...?`` to a call; a cell magic's body is nobody's to rewrite."""
    first = next((line for line in lines if line.strip()), "")
    if first.lstrip().startswith("%%"):
        return lines
    rewritten: list[str] = []
    quote = ""  # the quotation marks of the long string that a line begins in
    for line in lines:
        rewritten.append(line if quote else _rewritten(line))
        if quote or not line.lstrip().startswith(("%", "!", "#")):
            quote = _open_string(line, quote)
    return rewritten


def _open_string(line: str, quote: str) -> str:
    """Return the quotation marks of the long string that is open at the end of a line."""
    for mark in _TRIPLE.findall(line):
        quote = mark if not quote else "" if mark == quote else quote
    return quote


def _rewritten(line: str) -> str:
    found = _ASKS.match(line)
    if found is None:
        return line
    prompt = found["prompt"]
    return f"{found['before']}get_ipython().run_line_magic('alloy', {prompt!r}){found['end']}"

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


def keep_question_marks(lines: list[str]) -> list[str]:
    """Rewrite ``%alloy ...?`` to a call; a cell magic's body is nobody's to rewrite."""
    first = next((line for line in lines if line.strip()), "")
    if first.lstrip().startswith("%%"):
        return lines
    return [_rewritten(line) for line in lines]


def _rewritten(line: str) -> str:
    found = _ASKS.match(line)
    if found is None:
        return line
    prompt = found["prompt"]
    return f"{found['before']}get_ipython().run_line_magic('alloy', {prompt!r}){found['end']}"

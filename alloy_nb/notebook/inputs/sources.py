"""Code without the values that are written into it."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Callable

__all__ = ["without_values"]

_LEFT_OUT = "…"
# `head(10)`, `axis=1`: numbers so short are how much, and not what.
_SHORT = 2


def without_values(code: str, is_known: Callable[[str], bool]) -> str | None:
    """Return code with its texts, long numbers and comments left out; ``None`` where it is none.

    Names stay, and a text that is known stays, such as the name of a column.
    """
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        plain = TransformerManager().transform_cell(code)  # type: ignore[no-untyped-call]  # IPython's
        ast.parse(plain)  # what a magic takes as its own text is no code
        tokens = list(tokenize.generate_tokens(io.StringIO(plain).readline))
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError):
        return None
    lines = plain.splitlines(keepends=True)
    for token in reversed(tokens):
        told = _told(token, is_known)
        if told is not None:
            (first, start), (last, end) = token.start, token.end
            head, tail = lines[first - 1][:start], lines[last - 1][end:]
            lines[first - 1 : last] = [head + told + tail]
    return "".join(lines).rstrip("\n")


def _told(token: tokenize.TokenInfo, is_known: Callable[[str], bool]) -> str | None:
    """Return what stands in the place of a token; ``None`` where it stays."""
    kind = tokenize.tok_name[token.type]
    if kind == "COMMENT":
        return f"# {_LEFT_OUT}"
    if kind == "NUMBER":
        return None if len(token.string) <= _SHORT else _LEFT_OUT
    if kind.endswith("STRING_MIDDLE"):  # of an f-string, from Python 3.12 on
        return _LEFT_OUT
    if kind != "STRING":
        return None
    try:
        text = ast.literal_eval(token.string)
    except (SyntaxError, ValueError):  # an f-string
        text = None
    return None if isinstance(text, str) and is_known(text) else f'"{_LEFT_OUT}"'

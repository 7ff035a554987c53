"""What runs in the page, as a widget wants it: one module and one style sheet, both text.

It is written as ES modules, one subject each, which a type checker reads as such. A widget's front
end is one text, though, with nowhere to import from: so they are put one below the other, and the
lines by which they name each other are left out. Nothing is compiled.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

__all__ = ["CARD", "MODULES", "script", "style"]

MODULES = (
    *("nodes", "wall", "cells", "store", "question", "turn", "controls", "completer", "composer"),
    *("header", "conversation", "form", "search", "view", "main"),
)
"""Of the panel, in an order in which each stands below what it uses when it is read."""

CARD = ("nodes", "question", "card")
"""Of the question in a cell."""

_IMPORT = re.compile(r'^import \{[^}]*\} from "\./\w+\.js";\n', re.M)
_EXPORT = re.compile(r"^export (?!default )", re.M)


@cache
def script(modules: tuple[str, ...] = MODULES) -> str:
    """Return the module."""
    parts = [_EXPORT.sub("", _IMPORT.sub("", _read(f"{name}.js"))) for name in modules]
    return "\n".join(parts)


@cache
def style(sheets: tuple[str, ...] = ("card", "panel")) -> str:
    """Return the style sheet: in a panel, a question looks as it does in a cell."""
    return "".join(_read(f"{name}.css") for name in sheets)


def _read(name: str) -> str:
    return (files(__name__) / name).read_text(encoding="utf-8")

"""Tables and texts outside of an answer, in all three forms.

They are written as Markdown and drawn by the renderer of answers, which alone makes HTML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from alloy_nb.markup.fragment import harmless
from alloy_nb.markup.plain import clean
from alloy_nb.markup.rewrite import entities, fence
from alloy_nb.notebook.drawing.placing import place
from alloy_nb.notebook.drawing.render import Bundle, render_text

__all__ = ["publish_table", "publish_text", "publish_value", "table", "told"]

Rows = Sequence[Sequence[str]]

_NUMBER = re.compile(r"\W?[\d,.]+%?|")


def table(rows: Rows) -> Bundle:
    """Draw rows, the first of which is the head; the plain form is aligned columns."""
    head, *body = [[clean(cell).replace("\n", " ") for cell in row] for row in rows]
    # JupyterLab sets a column to the right unless it is told: that is for numbers.
    sides = [
        "---:" if all(map(_NUMBER.fullmatch, column)) else ":---"
        for column in zip(*body, strict=True)
    ]
    lines = [_line(map(_cell, head)), _line(sides or [":---"] * len(head))]
    lines += [_line(map(_cell, row)) for row in body]
    drawn = render_text("\n".join(lines), ())
    return replace(drawn, plain=_aligned([head, *body]))


def publish_table(rows: Rows) -> None:
    """Show rows as a table."""
    place(table(rows))


def told(text: str) -> Bundle:
    """Draw a text: a sentence as prose, and several lines as they are."""
    body = fence(text) if "\n" in text.strip() else entities(clean(text))
    return replace(render_text(body, ()), plain=clean(text))


def publish_text(text: str) -> None:
    """Show a text."""
    place(told(text))


def publish_value(value: object) -> None:
    """Show a value as the notebook shows one; what a model may have put into it is harmless."""
    from IPython import get_ipython

    shell: Any = get_ipython()
    data, _ = shell.display_formatter.format(value, include={"text/plain", "text/html"})
    if not data:
        return  # it has displayed itself
    plain = clean(str(data.get("text/plain", "")))
    html = clean(harmless(str(data.get("text/html", ""))))
    place(Bundle(html, fence(plain), plain))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    # No backslashes: `\(` would begin a formula.
    return entities(text)


def _aligned(rows: Rows) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)

"""Figures of a comparison, where matplotlib is installed.

They are drawn without pyplot, so that no figure of the user's is touched and no backend matters.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from alloy_nb.errors import ConfigError

__all__ = ["Chart", "agreement_chart"]

_LABEL = 24
_MOST_NUMBERS = 12  # more do not fit into their squares


class Chart:
    """A figure that shows itself in a notebook, and says in words what it shows.

    Args:
        figure: The figure of matplotlib.
        told: What it shows, for whoever does not see it.
    """

    def __init__(self, figure: Any, told: str) -> None:
        self.figure = figure
        self._told = told

    def __repr__(self) -> str:
        return self._told

    def savefig(self, path: str | Path, **options: Any) -> None:
        """Write it to a file, with the options of matplotlib."""
        self.figure.savefig(path, **{"bbox_inches": "tight", **options})

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
        return buffer.getvalue()


def agreement_chart(
    names: Sequence[str],
    shares: Sequence[Sequence[float | None]],
    costs: Sequence[float | None],
    scores: Sequence[float | None],
    score: str,
    told: str,
) -> Chart:
    """Draw how far each two agree, and what each costs for what score.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise ConfigError("A plot needs matplotlib: %pip install matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    labels = [name if len(name) <= _LABEL else f"{name[: _LABEL - 1]}…" for name in names]
    figure = Figure(figsize=(4.6 + 5.0, max(3.2, 0.5 * len(names) + 2)), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _squares(left, labels, shares)
    _points(right, labels, costs, scores, score)
    return Chart(figure, told)


def _squares(axes: Any, labels: Sequence[str], shares: Sequence[Sequence[float | None]]) -> None:
    values = [[float("nan") if share is None else share for share in row] for row in shares]
    axes.imshow(values, vmin=0, vmax=1, cmap="Blues")
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right", parse_math=False)
    axes.set_yticks(range(len(labels)), labels, parse_math=False)
    axes.set_title("rows on which two agree")
    if len(labels) > _MOST_NUMBERS:
        return
    for row, each in enumerate(shares):
        for column, share in enumerate(each):
            if share is not None:
                ink = "white" if share > 0.6 else "black"
                axes.text(column, row, f"{share:.0%}", ha="center", va="center", color=ink)


def _points(
    axes: Any,
    labels: Sequence[str],
    costs: Sequence[float | None],
    scores: Sequence[float | None],
    score: str,
) -> None:
    known = [
        (label, cost, value)
        for label, cost, value in zip(labels, costs, scores, strict=True)
        if cost is not None and value is not None
    ]
    axes.set_xlabel("US dollars for 1,000 rows")
    axes.set_ylabel(score)
    axes.set_ylim(-0.05, 1.08)
    axes.spines[["top", "right"]].set_visible(False)
    if not known:
        axes.text(0.5, 0.5, "no cost is known", ha="center", transform=axes.transAxes)
        return
    axes.scatter([cost for _, cost, _ in known], [value for _, _, value in known], color="#4e79a7")
    for label, cost, value in known:
        axes.annotate(
            label, (cost, value), xytext=(4, 4), textcoords="offset points", parse_math=False
        )
    axes.set_xlim(left=0)

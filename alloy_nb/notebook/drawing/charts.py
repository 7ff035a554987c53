"""Figures of what was spent and where the time went, where matplotlib is installed.

They are drawn without pyplot, so that no figure of the user's is touched and no backend matters.
"""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from alloy_nb.errors import ConfigError
from alloy_nb.notebook.drawing.conversation import displayed
from alloy_nb.notebook.drawing.placing import is_elsewhere, place
from alloy_nb.notebook.ledger import Entry
from alloy_nb.notebook.timeline import Span

__all__ = ["publish", "spending", "timeline"]

# Colours that are told apart in light and dark, and by those who see no red.
_COLOURS = {
    "waiting": "#9aa0a6",
    "thinking": "#b07aa1",
    "writing": "#4e79a7",
    "tool": "#f28e2b",
    "you": "#59a14f",
    "retry": "#e15759",
}
_LABEL = 40


def spending(entries: Sequence[Entry]) -> Any:
    """Return a figure of what each turn cost, and of the sum."""
    figure, axes = _figure("US dollars")
    total, sums = 0.0, []
    models = list(dict.fromkeys(entry.model for entry in entries))
    for number, entry in enumerate(entries, 1):
        cost = float(entry.cost.known)
        total += cost
        sums.append(total)
        shade = list(_COLOURS.values())[models.index(entry.model) % len(_COLOURS)]
        axes.bar(number, cost, color=shade, width=0.8)
    for number, model in enumerate(models):
        shade = list(_COLOURS.values())[number % len(_COLOURS)]
        axes.bar(0, 0, color=shade, label=model or "unknown")
    axes.plot(range(1, len(sums) + 1), sums, color="#59a14f", marker=".", label="all together")
    axes.set_xlabel("turn")
    axes.set_xlim(0.4, len(entries) + 0.6)
    axes.legend(frameon=False)
    return figure


def timeline(spans: Sequence[Span]) -> Any:
    """Return a figure of the stretches of a turn."""
    figure, axes = _figure("")
    for row, span in enumerate(spans):
        axes.barh(row, max(span.seconds, 0.01), left=span.start, color=_COLOURS[span.kind])
    axes.set_yticks(range(len(spans)), [span.what[:_LABEL] for span in spans])
    axes.invert_yaxis()
    axes.set_xlabel("seconds")
    return figure


def publish(figure: Any, told: str) -> None:
    """Show a figure; `told` is what it says in words, for whoever does not see it."""
    from IPython.display import publish_display_data

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    data = {"image/png": b64encode(buffer.getvalue()).decode(), "text/plain": told}
    if is_elsewhere():
        place(displayed(data))
        return
    metadata = {"image/png": {"alt": told}}
    publish_display_data(data=data, metadata=metadata)  # type: ignore[no-untyped-call]  # IPython's


def _figure(label: str) -> tuple[Any, Any]:
    if find_spec("matplotlib") is None:
        raise ConfigError("--plot needs matplotlib: %pip install matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_ylabel(label)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes

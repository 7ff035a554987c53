"""Figures of matplotlib that code leaves open, drawn when it ends and not when the cell does.

The inline backend draws all that are open and closes them. ``Agg`` draws nothing by itself: of it,
the figures that are new are drawn, and those that were drawn and have changed since.
"""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Iterator
from typing import Any

from alloy_nb.notebook.inputs.figures import remember

__all__ = ["draw_figures", "open_figures"]

_MOST = 20


def open_figures() -> dict[int, bool]:
    """Return the figures that are open without a window, by id, and whether they are drawn."""
    return {id(figure): not figure.stale for figure in _open()}


def draw_figures(before: dict[int, bool]) -> None:
    """Draw what the code left open; `before` says what was open before it ran."""
    remember()  # for `@plot`: what is drawn inline is closed
    inline = sys.modules.get("matplotlib_inline.backend_inline")
    if inline is not None:
        inline.flush_figures()
    new = [f for f in _open() if id(f) not in before or (before[id(f)] and f.stale)]
    for figure in new[:_MOST]:
        _draw(figure)


def _open() -> Iterator[Any]:
    helpers = sys.modules.get("matplotlib._pylab_helpers")
    managers = helpers.Gcf.get_all_fig_managers() if helpers is not None else ()
    for manager in managers:
        # Backends with windows, or with widgets in the notebook, have canvases of their own.
        if type(manager.canvas).__module__ == "matplotlib.backends.backend_agg":
            yield manager.canvas.figure


def _draw(figure: Any) -> None:
    from IPython.display import publish_display_data

    picture = io.BytesIO()
    figure.savefig(picture, format="png", bbox_inches="tight")
    data = {
        "image/png": base64.b64encode(picture.getvalue()).decode("ascii"),
        "text/plain": repr(figure),
    }
    publish_display_data(data)  # type: ignore[no-untyped-call]  # IPython's

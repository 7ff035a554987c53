"""Where a table, a text or a figure of a command goes: to the cell that runs, or to a panel.

A command is typed in a cell, or behind a slash in the chat panel; what it has to say is the same,
and it does not know which of the two it was.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from alloy_nb.notebook.drawing.render import Bundle

__all__ = ["is_elsewhere", "place", "placed"]

Show = Callable[[Bundle], object]

_show: ContextVar[Show | None] = ContextVar("alloy_show", default=None)


@contextlib.contextmanager
def placed(show: Show) -> Iterator[None]:
    """Hand what is shown in the block to a function, and not to the cell that runs."""
    token = _show.set(show)
    try:
        yield
    finally:
        _show.reset(token)


def is_elsewhere() -> bool:
    """Tell whether what is shown now goes to no cell."""
    return _show.get() is not None


def place(bundle: Bundle) -> None:
    """Show something."""
    from IPython import get_ipython
    from IPython.display import publish_display_data

    show = _show.get()
    shell: Any = get_ipython()
    if show is not None:
        show(bundle)
    elif hasattr(shell, "kernel"):
        publish_display_data(data=bundle.mimebundle())  # type: ignore[no-untyped-call]  # IPython's
    else:
        print(bundle.plain)  # noqa: T201  # a terminal shows the plain form only

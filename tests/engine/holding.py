"""A tool that is under way until a test lets it go.

::

    hold = Holding()
    session.configure(tools=[hold.tool], approve="all")
    ...                                   # ask; a script calls the tool "hold"
    assert hold.held.wait(60)
    hold.let_go.set()
"""

from __future__ import annotations

import threading

import alloy_nb as al

__all__ = ["Holding"]

_PATIENCE = 60.0


class Holding:
    """The tool ``hold``, with what says that it runs, and what ends it."""

    def __init__(self) -> None:
        self.held, self.let_go = threading.Event(), threading.Event()

        @al.tool
        def hold() -> str:
            """Hold."""
            self.held.set()
            self.let_go.wait(_PATIENCE)
            return "held"

        self.tool = hold

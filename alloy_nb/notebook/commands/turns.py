"""Turns that several models took, or that go on in the background.

``wait``, ``stop``, ``steer``, ``pick``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.turns import background, compare
from alloy_nb.notebook.words import Words

__all__ = ["commands"]


def commands(desk: Desk) -> Mapping[str, Callable[[Words], None]]:
    """Return what does each word."""
    return {
        "wait": lambda words: background.wait(desk, words),
        "stop": lambda words: background.stop(desk, words),
        "steer": lambda words: background.steer(desk, words),
        "pick": lambda words: compare.pick(desk, words),
    }

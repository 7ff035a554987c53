"""How long something takes on a machine that does much else as well."""

from collections.abc import Callable

__all__ = ["quickest"]


def quickest(measure: Callable[[], float], enough: float, *, tries: int = 5) -> float:
    """Return the shortest of some tries; one that took less than `enough` seconds is the last.

    What is slow is slow each time. A machine that is held up for a moment makes one try slow.
    """
    shortest = measure()
    while shortest >= enough and (tries := tries - 1):
        shortest = min(shortest, measure())
    return shortest

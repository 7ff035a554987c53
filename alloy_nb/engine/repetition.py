"""A model that makes the same call again and again is told so, and then stopped.

Only calls in a row count: to run the tests again after each edit is work, not a circle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from alloy_nb.messages import ToolCall

__all__ = ["Repeated", "Repetition"]

_TOLD_AT = 5


@dataclass(frozen=True, slots=True)
class Repeated:
    """What is said about calls that repeat, if anything, and whether the run is over."""

    text: str = ""
    is_over: bool = False


class Repetition:
    """Counts how often in a row a run made the same calls with the same arguments."""

    def __init__(self) -> None:
        self._last: list[tuple[str, Any]] = []
        self._count = 0

    def note(self, calls: list[ToolCall]) -> Repeated:
        """Count the calls of one more reply."""
        made = [(call.name, call.input if call.invalid is None else call.invalid) for call in calls]
        times = len(made) if all(one == made[0] for one in made) else 1
        asked = made[:1] if times > 1 else made
        told = self._count >= _TOLD_AT
        self._count = self._count + times if asked == self._last else times
        self._last = asked
        names = ", ".join(dict.fromkeys(call.name for call in calls))
        if told and self._count > times:
            return Repeated(
                f"The run was stopped, because {names} was called {self._count} times in a row "
                "with the same arguments, although the model was told. The call did not run again.",
                is_over=True,
            )
        if self._count >= _TOLD_AT:
            return Repeated(
                f"You have called {names} {self._count} times in a row with the same arguments. "
                "Do something else, or answer with what you know: the same call once more ends "
                "the task."
            )
        return Repeated()

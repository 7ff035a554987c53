"""What a person says to a run that is under way, until the run can hear it.

A run hears between two requests: behind the results of its tools, or where the model had ended.
That it hears no more and that it has heard all is decided under one lock, so a word that was taken
in is never lost without anybody knowing: it is heard, or it is in `unheard`.
"""

from __future__ import annotations

import threading

from alloy_nb.errors import SessionError
from alloy_nb.messages import Message

__all__ = ["Steering"]

_OVER = "The answer is whole already, so nothing can be said into it. Ask it as your next prompt."


class Steering:
    """Takes messages from any thread, and hands them to the loop of the run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Message] = []
        self._is_open = True

    def say(self, message: Message) -> None:
        """Keep a message until it is heard.

        Raises:
            SessionError: The run hears nothing any more.
        """
        with self._lock:
            if not self._is_open:
                raise SessionError(_OVER)
            self._waiting.append(message)

    def heard(self, *, last: bool = False) -> list[Message]:
        """Take what waits; the `last` time, where nothing does, hear nothing from then on."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
            if last and not waiting:
                self._is_open = False
            return waiting

    def close(self) -> None:
        """Hear nothing any more; what waits stays unheard."""
        with self._lock:
            self._is_open = False

    @property
    def unheard(self) -> list[Message]:
        """What waits; after the end of the run, what it never heard."""
        with self._lock:
            return list(self._waiting)

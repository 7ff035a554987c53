"""One turn on its way into the journal.

::

    turn = journal.begin(prompt, key=cell_id, model="anthropic/claude-sonnet-4-6")
    turn.note(events)      # as they come: costs next to nothing
    turn.flush()           # before a frame is drawn: what was shown is on disk
    turn.finish(messages, status=result.status, usage=result.usage, cost=result.cost)

It may be noted and flushed from any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from alloy_nb.engine.journal import writes
from alloy_nb.engine.journal.batches import pack
from alloy_nb.engine.journal.rows import Blobs, write_message
from alloy_nb.events import Event
from alloy_nb.messages import Message
from alloy_nb.usage import Cost, Usage

if TYPE_CHECKING:
    from alloy_nb.engine.journal.journal import Journal

__all__ = ["Turn"]


class Turn:
    """A turn that is under way; `id` is what the journal knows it by."""

    def __init__(self, journal: Journal, turn_id: str) -> None:
        self.id = turn_id
        self._journal = journal
        self._events: list[Event] = []
        self._flushed = 0
        self._number = 0
        self._lock = threading.RLock()
        self._finished = False

    def __repr__(self) -> str:
        return f"Turn({self.id!r}, {len(self._events)} events)"

    def note(self, events: Iterable[Event]) -> None:
        """Take events, in their order; nothing is written yet, and nothing is computed."""
        self._events.extend(events)

    def flush(self) -> None:
        """Write what was noted since the last time, in one transaction.

        When it returns the events outlive this process, or a person was told that they do not.
        """
        with self._lock:
            until = len(self._events)
            if self._finished or until == self._flushed:
                return
            blobs = Blobs()
            body = pack(self._events[self._flushed : until], blobs)
            self._flushed, self._number = until, self._number + 1
            row = ("INSERT OR REPLACE INTO events VALUES (?, ?, ?)", (self.id, self._number, body))
            self._journal._write([*blobs.statements(self.id), row])

    def finish(
        self,
        messages: Sequence[Message],
        *,
        status: str = "completed",
        usage: Usage | None = None,
        cost: Cost | None = None,
        view: Any = None,
    ) -> None:
        """End the turn: these are the messages that it added, the prompt included.

        Finishing it again changes nothing.

        Args:
            messages: What the next request sends after all that was there before; may be empty.
            status: A `RunStatus`.
            usage: Tokens of the turn.
            cost: US dollars of the turn.
            view: What is sent in the place of a conversation that was shortened, as JSON values.
        """
        with self._lock:
            if self._finished:
                return
            self._finished = True
            blobs = Blobs()
            bodies = [write_message(message, blobs) for message in messages]
            self._journal._finish(
                self,
                messages,
                bodies,
                events=writes.event_rows(self.id, self._events, blobs),
                blobs=blobs,
                status=str(status),
                usage=usage or Usage(),
                cost=cost or Cost(),
                view=view,
            )

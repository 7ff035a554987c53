"""Whose turn it is in a conversation: one at a time, the others in the order in which they came.

A turn may be taken and given back in any thread and in any event loop. It is handed over, never
put down for whoever is quickest: a caller that comes while others wait does not overtake them.

Conversations may wait for each other, as when an agent asks another in the middle of its turn. A
wait that could never end, because the other one waits for this one already, is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

from alloy_nb.errors import SessionError

__all__ = ["Place", "Turns", "inside"]


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A place in the line.

    Args:
        grant: Called when the turn is handed over, and must not block; a RuntimeError passes it on.
        refuse: Called instead, with the reason, where the line is cleared.
        is_request: Whether it counts against the limit of the queue.
        is_last: Whether it is that of who has closed the line, and waits for its end.
    """

    grant: Callable[[], object]
    refuse: Callable[[SessionError], object]
    is_request: bool = False
    is_last: bool = False


class Turns:
    """The turns of one conversation.

    Args:
        name: The conversation's, for what a caller is told.
        changed: Called when something may be different: a turn was given back, or something was
            done between two. It must not block.
    """

    def __init__(self, name: str, changed: Callable[[], object] = lambda: None) -> None:
        self._name = name
        self._changed = changed
        self._lock = threading.RLock()
        self._taken = False
        self._closed = False
        self._line: deque[Place] = deque()
        self._waits: list[Turns] = []  # whose turns must end before the one under way can

    @property
    def status(self) -> Literal["idle", "running", "stopped"]:
        """Whether a turn is under way, and whether there will be any more."""
        if self._closed:
            return "stopped"
        return "running" if self._taken else "idle"

    @property
    def pending(self) -> int:
        """How many requests wait."""
        with self._lock:
            return sum(place.is_request for place in self._line)

    @contextlib.contextmanager
    def between(self) -> Iterator[None]:
        """Keep turns from beginning while the block runs, which must be short.

        Raises:
            SessionError: A turn is under way, or there will be none any more.
        """
        with self._lock:
            self._check_open()
            if self._taken and _preparing.get() is not self:
                raise SessionError(f"The session {self._name!r} is answering. Stop it first.")
            yield
        self._changed()

    @contextlib.contextmanager
    def preparing(self) -> Iterator[None]:
        """Allow changes inside the block, which runs before anything of the turn was sent."""
        token = _preparing.set(self)
        try:
            yield
        finally:
            _preparing.reset(token)

    def take(self) -> None:
        """Take the turn.

        Raises:
            SessionError: Another one is under way.
        """
        with self._lock:
            self._check_open()
            if self._taken:
                raise SessionError(
                    f"The session {self._name!r} is answering already. Wait for it or stop it, or "
                    "use another one (-s NAME)."
                )
            self._taken = True

    async def wait(self, *, last: bool = False) -> None:
        """Take the turn, after all who came before; `last` is for whoever has just closed them.

        Raises:
            SessionError: There will be no more turns.
        """
        loop = asyncio.get_running_loop()
        granted: asyncio.Future[None] = loop.create_future()
        mine = False

        def settle(error: SessionError | None = None) -> None:
            if granted.done():
                return
            granted.set_result(None) if error is None else granted.set_exception(error)

        def grant() -> None:
            nonlocal mine
            loop.call_soon_threadsafe(settle)
            mine = True

        def refuse(error: SessionError) -> None:
            loop.call_soon_threadsafe(settle, error)

        place = Place(grant, refuse, is_last=last)
        self.join(place)
        try:
            await granted
        except asyncio.CancelledError:
            if not self.leave(place) and mine:
                self.release()  # it was handed over just then
            raise

    def join(self, place: Place, *, limit: int | None = None) -> None:
        """Get the turn at once where it is free, else stand in the line.

        Raises:
            SessionError: `limit` requests wait already, or there will be no more turns.
        """
        with self._lock:
            if not place.is_last:
                self._check_open()
            if self._taken:
                if limit is not None and self.pending >= limit:
                    raise SessionError(self._full(limit))
                self._line.append(place)
                return
            place.grant()
            self._taken = True

    def leave(self, place: Place) -> bool:
        """Leave the line; tell whether the place was still in it."""
        with self._lock:
            if place not in self._line:
                return False
            self._line.remove(place)
            return True

    def release(self) -> None:
        """Give the turn back: the first of the line gets it."""
        self._hand_over()
        self._changed()

    def _hand_over(self) -> None:
        with self._lock:
            while self._line:
                # Handed over under the lock: who leaves just then must see whether it was.
                place = self._line.popleft()
                try:
                    place.grant()
                    return
                except RuntimeError:  # its event loop was closed, and nobody waits there any more
                    continue
            self._taken = False

    def clear(self, reason: str, *, close: bool = False) -> None:
        """Refuse all who wait; with `close` also all who come later."""
        with self._lock:
            self._closed = self._closed or close
            line = [place for place in self._line if not place.is_last]
            self._line = deque(place for place in self._line if place.is_last)
        for place in line:
            with contextlib.suppress(RuntimeError):  # its event loop was closed
                place.refuse(SessionError(reason))

    @contextlib.contextmanager
    def waited_for(self) -> Iterator[None]:
        """Say that the turn inside of which this runs, if any, needs one of these to end.

        Raises:
            SessionError: These wait for that one already.
        """
        waiter = inside.get()
        if waiter is None:
            yield
            return
        with _graph:
            if waiter in _reachable(self):
                raise SessionError(
                    f"{self._name!r} cannot be asked from here: it waits for {waiter._name!r} "
                    "itself, and neither would ever answer."
                )
            waiter._waits.append(self)
        try:
            yield
        finally:
            with _graph:
                waiter._waits.remove(self)

    def check_outside(self, what: str) -> None:
        """Refuse what would wait for the turn that it is a part of.

        Raises:
            SessionError: This is such a part.
        """
        if inside.get() is self:
            raise SessionError(f"The session {self._name!r} cannot be {what} by its own turn.")

    def _check_open(self) -> None:
        if self._closed:
            raise SessionError(f"The session {self._name!r} is stopped. Make a new one.")

    def _full(self, limit: int) -> str:
        if limit == 0:
            return (
                f"The session {self._name!r} is answering already, and takes no requests to wait. "
                "Try again later, or give it max_pending=N."
            )
        return (
            f"The queue of the session {self._name!r} is full: {limit} requests wait. Try again "
            "later, or raise max_pending."
        )


inside: ContextVar[Turns | None] = ContextVar("alloy_turn", default=None)
"""The conversation whose turn the running code is part of."""

_preparing: ContextVar[Turns | None] = ContextVar("alloy_preparing", default=None)
_graph = threading.Lock()


def _reachable(start: Turns) -> set[Turns]:
    found, open_ends = {start}, [start]
    while open_ends:
        for turns in open_ends.pop()._waits:
            if turns not in found:
                found.add(turns)
                open_ends.append(turns)
    return found

"""Topics within one process: who publishes and who listens need not know of each other.

::

    bus = EventBus()
    with bus.subscribe("agent:research:responses") as responses:
        async for response in responses: ...

    bus.subscribe("agent:research:responses", print)

Every method may be called from any thread, and publishing never waits for a listener: what has not
been taken yet is kept for each of them, up to a limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from alloy_nb.engine import portal
from alloy_nb.engine.calls.workers import in_thread
from alloy_nb.errors import ConfigError

__all__ = ["EventBus", "Subscription"]

log = logging.getLogger("alloy_nb")


class EventBus:
    """Hands what is published on a topic to all who have subscribed to it.

    Args:
        max_kept: How much is kept for a listener that is slow; then its oldest is dropped.
    """

    def __init__(self, *, max_kept: int = 10_000) -> None:
        if max_kept < 1:
            raise ConfigError(f"max_kept must be at least 1, and it is {max_kept}.")
        self._max_kept = max_kept
        self._lock = threading.Lock()
        self._topics: dict[str, list[Subscription]] = {}

    def __repr__(self) -> str:
        return f"EventBus({len(self._topics)} topics)"

    def subscribe(
        self, topic: str, callback: Callable[[Any], object] | None = None
    ) -> Subscription:
        """Listen to a topic from now on.

        Iterate what is returned with ``async for``, in any event loop, or give a callback. A plain
        callback runs in a thread of the package, an ``async`` one on its loop; each gets one item
        at a time, in order, and one that raises is logged and gets the next.
        """
        _check_topic(topic)
        if callback is None:
            subscription = Subscription(self, topic, self._max_kept)
        else:
            subscription = _Calling(self, topic, self._max_kept, callback)
        with self._lock:
            self._topics.setdefault(topic, []).append(subscription)
        return subscription

    def publish(self, topic: str, item: Any) -> int:
        """Hand an item to all who listen now; return how many they are."""
        _check_topic(topic)
        with self._lock:
            listeners = list(self._topics.get(topic, ()))
            # Under the lock, so that two publishers' items come to all listeners in one order.
            for subscription in listeners:
                subscription._put(item)
        return len(listeners)

    def _drop(self, subscription: Subscription) -> None:
        with self._lock:
            listeners = self._topics.get(subscription.topic, [])
            if subscription in listeners:
                listeners.remove(subscription)
            if not listeners:
                self._topics.pop(subscription.topic, None)


class Subscription:
    """What one listener has still to hear of one topic; iterate it with ``async for``."""

    def __init__(self, bus: EventBus, topic: str, max_kept: int) -> None:
        self.topic = topic
        self.dropped = 0
        """How many items were dropped because they were not taken in time."""
        self._bus = bus
        self._lock = threading.Lock()
        self._items: deque[Any] = deque()
        self._max_kept = max_kept
        self._closed = False
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    def close(self) -> None:
        """Hear no more; what was published before may still be taken."""
        self._bus._drop(self)
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, []
        _wake(waiting)

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Any:
        loop = asyncio.get_running_loop()
        while True:
            with self._lock:
                if self._items:
                    return self._items.popleft()
                if self._closed:
                    raise StopAsyncIteration
                woken: asyncio.Future[None] = loop.create_future()
                self._waiting.append((loop, woken))
            await woken

    def _put(self, item: Any) -> None:
        with self._lock:
            if self._closed:
                return
            if len(self._items) >= self._max_kept:
                self._items.popleft()
                self.dropped += 1
                if self.dropped == 1:
                    log.warning("A listener to %r is too slow; its oldest is dropped", self.topic)
            self._items.append(item)
            waiting, self._waiting = self._waiting, []
        _wake(waiting)


class _Calling(Subscription):
    """A subscription that calls a function; nothing runs while there is nothing to hear."""

    def __init__(
        self, bus: EventBus, topic: str, max_kept: int, callback: Callable[[Any], object]
    ) -> None:
        if not callable(callback):
            raise ConfigError(f"callback must be a function of one argument, not {callback!r}.")
        super().__init__(bus, topic, max_kept)
        self._callback = callback
        self._running = False

    def close(self) -> None:
        """Call no more, also not with what was published before."""
        super().close()
        with self._lock:
            self._items.clear()

    def _put(self, item: Any) -> None:
        super()._put(item)
        with self._lock:
            begin = not self._running and not self._closed
            self._running = self._running or begin
        if begin:
            with contextlib.suppress(RuntimeError):  # the interpreter ends, and nobody hears
                portal.spawn(self._call_all())

    async def _call_all(self) -> None:
        while True:
            with self._lock:
                if not self._items:
                    self._running = False
                    return
                item = self._items.popleft()
            await self._call(item)

    async def _call(self, item: Any) -> None:
        try:
            if inspect.iscoroutinefunction(self._callback):
                await self._callback(item)
            else:
                await in_thread(lambda: self._callback(item))
        except (
            Exception,
            SystemExit,
        ):  # a listener's failure must not reach the publisher or the next item
            log.exception("A listener to %r failed", self.topic)


def _wake(waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]]) -> None:
    for loop, woken in waiting:
        with contextlib.suppress(RuntimeError):  # its loop was closed: nobody waits there any more
            loop.call_soon_threadsafe(_settle, woken)


def _settle(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


def _check_topic(topic: object) -> None:
    if not isinstance(topic, str) or not topic:
        raise ConfigError(f"A topic is a text that is not empty, not {topic!r}.")

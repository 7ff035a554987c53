"""How many requests may be in flight: as many as the vendor takes.

The limit grows with the answers, and halves when the vendor says that it is too much (429, 529):
additive increase and multiplicative decrease, as in TCP (Chiu and Jain, 1989). Where the vendor
says how long to wait, nobody asks before that; where its headers say that no request is left,
nobody asks before there is one again.

Headers, read 2026-11-21: https://docs.anthropic.com/en/api/rate-limits (``anthropic-ratelimit-*``,
resets as RFC 3339 times) and https://platform.openai.com/docs/guides/rate-limits
(``x-ratelimit-*``, resets as durations such as ``6m0s``). Both refill steadily, so that one more
request is there long before all of them are.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextvars import ContextVar, Token
from datetime import datetime
from typing import Any

from alloy_nb.engine.retry import close
from alloy_nb.errors import Overloaded, ProviderError, RateLimited
from alloy_nb.events import ModelEvent
from alloy_nb.providers.base import ModelRequest, Provider
from alloy_nb.providers.failure import seconds_until

__all__ = ["Pace", "Paced"]

START, MOST = 8, 64
# A header that asks for more is a fault: a minute's limit is renewed within a minute.
_LONGEST_HOLD = 60.0
# What is left, of how many, and when all are there again; by vendor.
_HEADERS = tuple(
    (prefix + left, prefix + limit, prefix + reset)
    for prefix, left, limit, reset in (
        ("anthropic-ratelimit-", "requests-remaining", "requests-limit", "requests-reset"),
        ("anthropic-ratelimit-", "tokens-remaining", "tokens-limit", "tokens-reset"),
        ("x-ratelimit-", "remaining-requests", "limit-requests", "reset-requests"),
        ("x-ratelimit-", "remaining-tokens", "limit-tokens", "reset-tokens"),
    )
)
# Replies after which a vendor that has sent none of these headers is not asked for them again.
_LOOKS = 5


class Pace:
    """A gate before requests.

    Args:
        most: How many may be in flight at most.
        start: How many may be at first; the limit then doubles with each round of answers until
            the vendor refuses one.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        most: int = MOST,
        *,
        start: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most = most
        self.in_flight = 0
        self.refusals = 0
        """How often the vendor said that it was too much."""
        self.answers = 0
        """How often it answered."""
        self._limit = float(min(start or most, most))
        self._is_finding = True
        self._clock = clock
        self._line: deque[asyncio.Future[None]] = deque()
        self._held_until = 0.0
        self._reason = ""
        self._timer: asyncio.TimerHandle | None = None
        self._cut_at = float("-inf")
        self._headers = _HEADERS
        self._looks = 0

    @property
    def limit(self) -> int:
        """How many requests may be in flight now."""
        return max(1, int(self._limit))

    @property
    def waiting(self) -> str:
        """What everybody waits for, in words; empty where nobody has to."""
        left = self._held_until - self._clock()
        return f"waiting {left:.0f} s: {self._reason}" if left > 0 else ""

    async def enter(self) -> float:
        """Wait until one more request may begin; return the time at which it does."""
        if self._line or not self._has_room():
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._line.append(waiting)
            self._let_in()
            try:
                await waiting
            except asyncio.CancelledError:
                if waiting.done() and not waiting.cancelled():
                    self.leave()  # it had been let in
                raise
        else:
            self.in_flight += 1
        return self._clock()

    def leave(self) -> None:
        """Say that a request is over."""
        self.in_flight -= 1
        if self._line:
            self._let_in()

    def answered(self) -> None:
        """Learn from a request that was answered."""
        self.answers += 1
        if self._limit < self.most and self.in_flight >= self.limit:
            self._limit = min(self.most, self._limit + (1 if self._is_finding else 1 / self._limit))

    def refused(self, error: ProviderError, begun: float) -> None:
        """Learn from a request that failed, which had begun at that time."""
        if not isinstance(error, (RateLimited, Overloaded)):
            return
        self.refusals += 1
        self._is_finding = False
        # Of those that were in flight together, the first one says it for all.
        if begun > self._cut_at:
            self._cut_at = self._clock()
            self._limit = max(1.0, self._limit / 2)
        if error.retry_after is not None:
            self._hold(error.retry_after, f"{error.provider or 'the vendor'} asked for it")

    def heard(self, headers: Mapping[str, str]) -> None:
        """Learn from the headers of a reply."""
        if not self._headers:
            return
        found = []
        for names in self._headers:
            if (left := headers.get(names[0])) is None:
                continue
            found.append(names)
            if left.isdecimal() and not int(left):
                self._note(headers.get(names[1], ""), headers.get(names[2], ""), headers)
        self._looks += 1
        if self._looks >= _LOOKS or found:
            self._headers = tuple(found)

    def _note(self, limit: str, reset: str, headers: Mapping[str, str]) -> None:
        seconds = _seconds(reset, headers)
        if seconds is None:
            return
        share = int(limit) if limit.isdecimal() and int(limit) > 0 else 1
        self._hold(seconds / share, "its rate limit is used up")

    def _hold(self, seconds: float, reason: str) -> None:
        until = self._clock() + min(seconds, _LONGEST_HOLD)
        if until > self._held_until:
            self._held_until, self._reason = until, reason

    def _has_room(self) -> bool:
        if self.in_flight >= self.limit:
            return False
        return not self._held_until or self._clock() >= self._held_until

    def _let_in(self) -> None:
        while self._line and self._has_room():
            waiting = self._line.popleft()
            if not waiting.done():
                self.in_flight += 1
                waiting.set_result(None)
        if self._line and self._timer is None and (left := self._held_until - self._clock()) > 0:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(left, self._go_on)

    def _go_on(self) -> None:
        self._timer = None
        self._let_in()


class Paced:
    """A provider whose requests pass a gate; all else is the provider's own."""

    def __init__(self, provider: Provider, pace: Pace) -> None:
        listened = getattr(provider, "listened", None)
        self._provider: Provider = provider if listened is None else listened(pace.heard)
        self._pace = pace
        self.name = provider.name
        self.model = provider.model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)

    @property
    def answers(self) -> int:
        """How many requests at this pace were answered so far."""
        return self._pace.answers

    def admission(self) -> _Admission:
        """Return what waits for the place of the first request of a run, before the run begins.

        So that the time that a run may take is not spent in the line, and no money is set aside
        for it meanwhile.
        """
        return _Admission(self._pace)

    def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """Send the request when it may begin."""
        return _PacedStream(self._provider, request, self._pace)


_admitted: ContextVar[_Admission | None] = ContextVar("alloy_admission", default=None)


class _Admission:
    """A place that the next request in this context takes, or that is given back unused."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._begun: float | None = None
        self._token: Token[_Admission | None] | None = None

    async def __aenter__(self) -> None:
        self._begun = await self._pace.enter()
        self._token = _admitted.set(self)

    async def __aexit__(self, *_: object) -> None:
        if self._token is not None:
            _admitted.reset(self._token)
        if self._begun is not None:
            self._pace.leave()

    def take(self, pace: Pace) -> float | None:
        """Return the time at which the place was given, once, to a request at the same pace."""
        if pace is not self._pace:
            return None
        begun, self._begun = self._begun, None
        return begun


class _PacedStream:
    """The events of one request; after the first it hands out the provider's own iterator."""

    __slots__ = ("_is_in", "_pace", "_provider", "_request", "_stream")

    def __init__(self, provider: Provider, request: ModelRequest, pace: Pace) -> None:
        self._provider = provider
        self._request = request
        self._pace = pace
        self._stream: AsyncIterator[ModelEvent] | None = None
        self._is_in = False

    def __aiter__(self) -> AsyncIterator[ModelEvent]:
        return self

    def __anext__(self) -> Awaitable[ModelEvent]:
        if self._stream is None:
            return self._first()
        return self._stream.__anext__()

    async def aclose(self) -> None:
        stream = self._stream
        try:
            if stream is not None:
                await close(stream)
        finally:
            self._leave()

    async def _first(self) -> ModelEvent:
        admission = _admitted.get()
        begun = None if admission is None else admission.take(self._pace)
        if begun is None:
            begun = await self._pace.enter()
        self._is_in = True
        self._stream = self._provider.stream(self._request)
        try:
            event = await anext(self._stream)
        except ProviderError as error:
            self._pace.refused(error, begun)
            self._leave()
            raise
        except BaseException:  # raised again
            self._leave()
            raise
        self._pace.answered()
        return event

    def _leave(self) -> None:
        if self._is_in:
            self._is_in = False
            self._pace.leave()


# --- times --------------------------------------------------------------------------------------

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def _seconds(reset: str, headers: Mapping[str, str]) -> float | None:
    """Return the seconds until a reset: a number, a duration, or a time of day."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", reset)
    if parts and "".join(number + unit for number, unit in parts) == reset:
        return sum(float(number) * _UNITS[unit] for number, unit in parts)
    try:
        return max(0.0, float(reset))
    except ValueError:
        pass
    try:
        return seconds_until(datetime.fromisoformat(reset).timestamp(), headers)
    except (ValueError, OverflowError):
        return None

"""Asking again: retries, and other providers when the first one fails.

Only before the first event. From then on the reader has seen a part of the answer, and a second
attempt would show it twice; the error is raised instead. All waiting is ours: it is announced with
`RetryScheduled`, bounded by the run's deadline, and ends at once when the run is stopped.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from alloy_nb.errors import ConfigError, ProviderError, StateLost, StreamTruncated
from alloy_nb.events import ModelEvent, RetryScheduled
from alloy_nb.providers.base import ModelRequest, Provider

__all__ = ["RetryPolicy", "RetryingStream", "close"]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how soon to ask again.

    Args:
        max_retries: Further attempts after the first, for each provider.
        backoff: Seconds; the wait before retry *n* is random up to ``backoff * 2**n``.
        longest_wait: Seconds; a server that asks for more is reported instead of waited for.
        clock: Monotonic seconds.
        sleep: Waits.
        jitter: Random between 0 and 1.
    """

    max_retries: int = 2
    backoff: float = 0.5
    longest_wait: float = 60.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    jitter: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        retries = self.max_retries
        if not isinstance(retries, int) or isinstance(retries, bool) or retries < 0:
            raise ConfigError(f"max_retries must be a whole number from 0, not {retries!r}.")
        for name in ("backoff", "longest_wait"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
                raise ConfigError(f"{name} must be a number of seconds from 0, not {value!r}.")

    def delay(self, attempt: int, error: ProviderError) -> float:
        """Return the seconds to wait before retry number `attempt`, counted from 1."""
        if error.retry_after is not None:
            return error.retry_after
        return self.jitter() * self.backoff * 2.0**attempt


class RetryingStream:
    """The events of a reply, from the first attempt that brings any.

    After the first event it hands out the provider's own iterator, so that retrying costs nothing
    a token. `provider` is the one that answers.

    Args:
        providers: Who is asked, in this order.
        request: What is asked.
        policy: How often and how soon to ask again.
        announce: Is told of each wait.
        before_another: Is told of an attempt's error before there is another attempt, and may
            raise to prevent it.
    """

    def __init__(
        self,
        providers: Sequence[Provider],
        request: ModelRequest,
        *,
        policy: RetryPolicy,
        announce: Callable[[RetryScheduled], None],
        before_another: Callable[[ProviderError], None] | None = None,
    ) -> None:
        self.provider = providers[0]
        self._providers = providers
        self._request = request
        self._policy = policy
        self._announce = announce
        self._before_another = before_another or _nothing
        self._stream: AsyncIterator[ModelEvent] | None = None

    def __aiter__(self) -> AsyncIterator[ModelEvent]:
        return self

    def __anext__(self) -> Awaitable[ModelEvent]:
        if self._stream is None:
            return self._first()
        return self._stream.__anext__()

    async def aclose(self) -> None:
        """Close the connection of the attempt that is under way."""
        if self._stream is not None:
            await close(self._stream)

    async def _first(self) -> ModelEvent:
        error: ProviderError | None = None
        for provider in self._providers:
            if error is not None:
                self._before_another(error)
                # What one vendor keeps of the conversation is of no use to the next.
                self._request = replace(self._request, state=None)
            self.provider = provider
            try:
                return await self._from(provider)
            except ProviderError as failure:
                error = failure
                if self._is_late(0.0):
                    break
        assert error is not None  # noqa: S101  # there is at least one provider
        raise error

    async def _from(self, provider: Provider) -> ModelEvent:
        attempt = 0
        while True:
            stream = provider.stream(self._request)
            try:
                event = await anext(stream)
            except StateLost:
                await close(stream)
                if self._request.state is None:
                    raise
                # Once, and without what the vendor has lost: the whole history is here.
                self._request = replace(self._request, state=None)
            except ProviderError as error:
                await close(stream)
                attempt += 1
                delay = self._policy.delay(attempt, error)
                if not self._may_retry(error, attempt, delay):
                    raise
                self._before_another(error)
                self._announce(RetryScheduled(attempt, delay, str(error)))
                await self._policy.sleep(delay)
            except BaseException:  # raised again, with the connection closed
                await close(stream)
                raise
            else:
                self._stream = stream
                return event

    def _may_retry(self, error: ProviderError, attempt: int, delay: float) -> bool:
        return (
            # Of a reply that was cut before its first event, nobody has seen anything.
            (error.retryable or isinstance(error, StreamTruncated))
            and attempt <= self._policy.max_retries
            and delay <= self._policy.longest_wait
            and not self._is_late(delay)
        )

    def _is_late(self, delay: float) -> bool:
        deadline = self._request.deadline
        return deadline is not None and self._policy.clock() + delay >= deadline


async def close(stream: AsyncIterator[ModelEvent]) -> None:
    """Close an iterator where it can be closed; a middleware's or a double's need not be."""
    close = getattr(stream, "aclose", None)
    if close is not None:
        await close()


def _nothing(_error: ProviderError) -> None:
    """Let another attempt be made."""

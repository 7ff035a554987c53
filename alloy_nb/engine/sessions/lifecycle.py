"""The edges of a session: who is told when it begins and ends, and what it listens to."""

from __future__ import annotations

import asyncio
import inspect
import logging
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from alloy_nb.engine import portal
from alloy_nb.engine.sessions.bus import Subscription
from alloy_nb.engine.sessions.record import TurnRecord
from alloy_nb.errors import AlloyError, Halted, SessionError

if TYPE_CHECKING:
    from alloy_nb.engine.middleware.base import Middleware
    from alloy_nb.engine.run import Result, Run
    from alloy_nb.engine.sessions.requests import Request
    from alloy_nb.engine.sessions.session import Session

__all__ = ["Running", "begin", "described", "end", "listen", "outcome", "turn_record"]

log = logging.getLogger("alloy_nb")


@dataclass(frozen=True, slots=True)
class Running:
    """The run under way: other threads stop it through its loop."""

    run: Run
    loop: asyncio.AbstractEventLoop
    request: Request | None

    def cancel(self) -> None:
        """Ask the run to stop."""
        try:
            self.loop.call_soon_threadsafe(self.run.cancel)
        except RuntimeError:  # its loop was closed, and the run with it
            log.debug("A run was stopped with its event loop", exc_info=True)


async def begin(session: Session, told: list[Middleware]) -> None:
    """Tell each middleware once that the session begins, and note it in `told`.

    Raises:
        SessionError: One of them does not let it begin; it is asked again before the next turn.
    """
    for layer in session.agent.middleware:
        if any(layer is one for one in told):
            continue
        try:
            await layer.session_start(session)
        except Halted as error:
            raise SessionError(f"The session {session.name!r} did not start: {error}") from None
        told.append(layer)


async def end(
    session: Session,
    told: list[Middleware],
    on_shutdown: Callable[[Session], object] | None,
) -> None:
    """Tell those who heard of its beginning that it ends, then its owner; never raises.

    The owner's function runs on the thread of whoever stops the session.
    """
    for layer in told:
        try:
            await layer.session_end(session)
        except Halted as error:
            log.info("A middleware halted the end of %r: %s", session.name, error)
        except Exception:  # a fault of one must not keep the others from their end
            log.exception("A middleware failed at the end of %r", session.name)
    told.clear()
    if on_shutdown is None:
        return
    try:
        value = await portal.on_host(lambda: on_shutdown(session))
        if inspect.isawaitable(value):
            await value
    except (Exception, SystemExit):  # the session ends whatever its owner's function does
        log.exception("on_shutdown of %r failed", session.name)


def listen(session: Session, topics: str | Iterable[str]) -> list[Subscription]:
    """Make requests of the texts that are published on topics, as long as the session is used."""
    return [_listen(session, topic) for topic in ([topics] if isinstance(topics, str) else topics)]


def _listen(session: Session, topic: str) -> Subscription:
    reference = weakref.ref(session)

    def hear(item: object) -> None:
        listener = reference()
        if listener is not None:
            _heard(listener, topic, item)

    subscription = session.bus.subscribe(topic, hear)
    weakref.finalize(session, subscription.close).atexit = False
    return subscription


def _heard(session: Session, topic: str, item: object) -> None:
    if not isinstance(item, str):
        kind = type(item).__name__
        log.info("%r takes texts on %r, and leaves out a %s", session.name, topic, kind)
        return
    try:
        session.send_message(item)
    except AlloyError as error:
        log.warning("%r drops what came on %r: %s", session.name, topic, error)


def described(session: Session, log: Sequence[TurnRecord]) -> dict[str, Any]:
    """Return what a record says of a session besides its messages and counts."""
    last = log[-1] if log else None
    return {
        "name": session.name,
        "model": f"{session.provider.name}/{session.provider.model}",
        "status": last.status if last else "idle",
        "turns": last.replies if last else 0,
    }


async def outcome(run: Run) -> Result:
    """Return what a run came to, however it is ended."""
    try:
        return await run.result()
    except asyncio.CancelledError:
        # A second cancellation, while the run was ending from the first, must not lose the turn.
        return await run.result()


def turn_record(result: Result, *, first: int, end: int) -> TurnRecord:
    """Return what is kept of a result beside its messages, which begin at `first`."""
    return TurnRecord(
        first=first,
        count=max(0, end - first),
        replies=result.turns,
        status=result.status.value,
        error=result.error,
        at=datetime.now(UTC),
        seconds=round(result.seconds, 3),
        usage=result.usage,
        cost=result.cost,
    )

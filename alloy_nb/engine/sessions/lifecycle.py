"""The edges of a session: who is told when it begins and ends, and what it listens to."""

from __future__ import annotations

import asyncio
import inspect
import logging
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alloy_nb.engine import portal
from alloy_nb.engine.sessions.bus import Subscription
from alloy_nb.errors import AlloyError, Halted, SessionError

if TYPE_CHECKING:
    from alloy_nb.engine.middleware.base import Middleware
    from alloy_nb.engine.run import Result, Run
    from alloy_nb.engine.sessions.requests import Request
    from alloy_nb.engine.sessions.session import Session

__all__ = ["Running", "begin", "end", "listen", "outcome", "stop"]

log = logging.getLogger("alloy_nb")

# How long a session that is stopped waits for its turn to close its connection.
_STOP_SECONDS = 10.0


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


async def stop(session: Session) -> None:
    """End a session: its turn, what waits, and its right to the journal."""
    session._turns.check_outside("stopped")
    with session._lock:
        stopping, first = session._stopping, session._stopping is None
        if stopping is None:
            stopping = session._stopping = Future()
    if not first:
        await asyncio.shield(asyncio.wrap_future(stopping))
        return
    try:
        session._turns.clear(f"The session {session.name!r} was stopped.", close=True)
        session._cancel_turn()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await session._turns.wait(last=True)  # never given back
        except TimeoutError:
            log.warning("The turn of %r did not end; it is stopped without", session.name)
    except BaseException:  # raised again; who stops it once more begins anew
        with session._lock:
            session._stopping = None
        raise
    finally:
        stopping.set_result(None)  # before anybody is told, who may stop it too
    for subscription in session._subscriptions:
        subscription.close()
    await end(session, session._told, session.on_shutdown)
    if session.journal is not None:
        session.journal.close()


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


async def outcome(run: Run) -> Result:
    """Return what a run came to, however it is ended."""
    try:
        return await run.result()
    except asyncio.CancelledError:
        # A second cancellation, while the run was ending from the first, must not lose the turn.
        return await run.result()

"""Requests that were sent to a session: each gets one response, whatever becomes of it."""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from alloy_nb.engine import portal
from alloy_nb.engine.agent import Prompt
from alloy_nb.engine.run import Result, Run, RunStatus
from alloy_nb.engine.sessions.turns import Place, Turns
from alloy_nb.errors import AlloyError, ConfigError, SessionError

if TYPE_CHECKING:
    from alloy_nb.engine.sessions.session import Session

__all__ = ["AgentResponse", "Inbox", "Request", "cancel_request", "send_message"]

log = logging.getLogger("alloy_nb")

Phase = Literal["running", "queued"]

# So many responses can still be asked for after they were given.
_KEPT = 256


@dataclass(frozen=True, slots=True)
class AgentResponse:
    """What is published when a request was answered, or will not be.

    Args:
        session_id: The session that was asked.
        request_id: The request.
        result: Its outcome; the status *cancelled* where it was cancelled.
        phase: Whether it was ``running`` when it ended, or was still ``queued``.
    """

    session_id: str
    request_id: str
    result: Result
    phase: Phase


class Request:
    """One request: await it for its result, in any event loop, or block with `result`."""

    def __init__(
        self, request_id: str, prompt: Prompt, settings: dict[str, Any], turns: Turns
    ) -> None:
        self.id = request_id
        self.prompt = prompt
        self.settings = settings
        self.place: Place | None = None
        self.is_cancelled = False
        self._turns = turns
        self._result: Future[Result] = Future()

    def __repr__(self) -> str:
        return f"Request({self.id!r}, {'answered' if self.done else 'not answered yet'})"

    @property
    def done(self) -> bool:
        """Whether it was answered."""
        return self._result.done()

    def __await__(self) -> Generator[Any, None, Result]:
        return self._wait().__await__()

    def result(self, timeout: float | None = None) -> Result:
        """Block until it is answered.

        Raises:
            TimeoutError: It was not answered within so many seconds; it goes on.
        """
        return portal.run_sync(self._within(timeout))

    def settle(self, result: Result) -> bool:
        """Give it its result; tell whether it had none yet."""
        if self._result.done():
            return False
        self._result.set_result(result)
        return True

    async def _within(self, timeout: float | None) -> Result:
        async with asyncio.timeout(timeout):
            return await self._wait()

    async def _wait(self) -> Result:
        if self.done:
            return self._result.result()
        with self._turns.waited_for():
            # Who stops waiting does not cancel the request.
            return await asyncio.shield(asyncio.wrap_future(self._result))


class Inbox:
    """The requests of one session: all that are open, and the last that were answered.

    Args:
        name: The session's, for what a caller is told.
        turns: Whose turn it is.
        limit: How many may wait.
        turn: Runs a request for which the turn was taken, and gives the turn back.
        publish: Told of each request and its outcome.

    Raises:
        ConfigError: `limit` is no number of requests.
    """

    def __init__(
        self,
        name: str,
        turns: Turns,
        *,
        limit: int,
        turn: Callable[[Request], AbstractAsyncContextManager[Run]],
        publish: Callable[[str, Result, Phase], object],
    ) -> None:
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
            raise ConfigError(f"max_pending must be a whole number from 0, not {limit!r}.")
        self.limit = limit
        self._name = name
        self._turns = turns
        self._turn = turn
        self._publish = publish
        self._lock = threading.Lock()
        self._all: OrderedDict[str, Request] = OrderedDict()

    def put(self, prompt: Prompt, request_id: str | None, *, settings: dict[str, Any]) -> Request:
        """Take a request: it begins now, or waits in the line.

        Raises:
            SessionError: As many wait as may, or its id is that of an open one.
        """
        request = Request(request_id or secrets.token_urlsafe(12), prompt, settings, self._turns)
        request.place = Place(
            grant=lambda: portal.spawn(self._answer(request)),
            refuse=lambda error: self._respond(request, cancelled(str(error)), "queued"),
            is_request=True,
        )
        with self._lock:
            known = self._all.get(request.id)
            if known is not None and not known.done:
                raise SessionError(f"A request {request.id!r} is not answered yet. Use another id.")
            self._turns.join(request.place, limit=self.limit)
            self._all.pop(request.id, None)  # it stands where the newest stands
            self._all[request.id] = request
            answered = [id_ for id_, one in self._all.items() if one.done]
            for id_ in answered[:-_KEPT]:
                del self._all[id_]
        return request

    def get(self, request_id: str) -> Request:
        """Return a request.

        Raises:
            SessionError: There is none of this id, or it was answered long ago.
        """
        with self._lock:
            request = self._all.get(request_id)
        if request is None:
            raise SessionError(f"The session {self._name!r} knows no request {request_id!r}.")
        return request

    def withdraw(self, request_id: str) -> Request | None:
        """Take a request out of the line and respond, or return it where it is running."""
        with self._lock:
            request = self._all.get(request_id)
        if request is None or request.done or request.place is None:
            return None
        request.is_cancelled = True
        if self._turns.leave(request.place):
            self._respond(request, cancelled("The request was cancelled."), "queued")
        return request

    async def _answer(self, request: Request) -> None:
        """Answer a request, which has the turn; whatever happens, it gets a response."""
        try:
            async with self._turn(request) as run:
                result = await run.result()
        except asyncio.CancelledError:  # the interpreter ends
            self._respond(request, cancelled("The request was cancelled."))
            raise
        except AlloyError as error:
            result = failed(error)
        except BaseException as error:  # a SystemExit of a provider too: someone waits for this
            log.exception("A turn of %r failed", self._name)
            text = f"The turn failed inside: {type(error).__name__}: {error}"
            result = failed(AlloyError(text))
        self._respond(request, result)

    def _respond(self, request: Request, result: Result, phase: Phase = "running") -> None:
        if request.settle(result):
            self._publish(request.id, result, phase)


def failed(error: AlloyError) -> Result:
    """Return the outcome of a turn that could not begin."""
    return Result.unanswered(RunStatus.ERROR, str(error), exception=error)


def cancelled(reason: str) -> Result:
    """Return the outcome of a turn that was cancelled before it began."""
    return Result.unanswered(RunStatus.CANCELLED, reason, exception=SessionError(reason))


def send_message(
    session: Session, prompt: Prompt, request_id: str | None = None, **settings: Any
) -> str:
    """Ask a session, and return the id of the request at once; see `Session.send_message`."""
    return session.send_message(prompt, request_id, **settings)


def cancel_request(session: Session, request_id: str) -> bool:
    """Stop a request of a session; see `Session.cancel_request`."""
    return session.cancel_request(request_id)

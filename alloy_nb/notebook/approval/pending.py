"""Questions that wait for a person, wherever they can be answered: the first answer counts.

::

    Person.ask ─▶ Pending.asking ─▶ Waiting ◀─ give: a card's button, a panel's, words
                                      │
                                      ├─▶ Face.asked      each panel of the conversation shows it
                                      └─▶ Face.answered   and takes it away, however it ended

A question has a key of its own. The id of its call is none: some models use the same one again, and
an answer that comes late must never allow what is asked by then.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Protocol

from alloy_nb.errors import ConfigError, SessionError
from alloy_nb.messages import ToolCall
from alloy_nb.notebook.approval.question import Answer, Question, answer_in

__all__ = ["Face", "Pending", "Waiting", "in_panel"]

log = logging.getLogger("alloy_nb")

in_panel: ContextVar[bool] = ContextVar("alloy_in_panel", default=False)
"""Whether the turn that runs belongs to a panel: its questions are asked there, and in no cell."""

_LATE = "That question is closed: it was answered elsewhere, or its turn is over."


class Face(Protocol):
    """A place beside the cell where questions can be answered. Neither method may block."""

    def asked(self, waiting: Waiting) -> bool:
        """Show a question, if it is of the face's conversation; tell whether anybody sees it."""
        ...

    def answered(self, waiting: Waiting) -> None:
        """Take a question away."""
        ...


class Waiting:
    """A question that waits; made on the loop of its turn, answered from any thread.

    Args:
        key: What it is answered by.
        session: The name of the conversation.
        call: What would run.
        question: What is asked about it.
    """

    def __init__(self, key: str, session: str, call: ToolCall, question: Question) -> None:
        self.key = key
        self.session = session
        self.call = call
        self.question = question
        self._loop = asyncio.get_running_loop()
        self._seen: asyncio.Future[None] = self._loop.create_future()
        self._answer: asyncio.Future[Answer] = self._loop.create_future()
        self._lock = threading.Lock()
        self._is_open = True

    def give(self, answer: Answer) -> bool:
        """Answer it; tell whether this was the first answer, and in time."""
        with self._lock:
            if not self._is_open:
                return False
            self._is_open = False
        self._soon(self._answer, answer)
        return True

    def see(self) -> None:
        """Note that somebody has it before them."""
        self._soon(self._seen, None)

    def close(self) -> None:
        """Take no answer any more; on the loop's thread."""
        with self._lock:
            self._is_open = False
        self._seen.cancel()
        self._answer.cancel()

    async def is_seen(self, seconds: float) -> bool:
        """Tell whether somebody has it before them, waiting so long for it."""
        await asyncio.wait({self._seen}, timeout=seconds)
        return self._seen.done()

    async def answer(self) -> Answer:
        """Wait for the first answer, without a limit of time."""
        return await asyncio.shield(self._answer)

    def _soon(self, future: asyncio.Future[Any], value: Any) -> None:
        def settle() -> None:
            if not future.done():
                future.set_result(value)

        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            self._loop.call_soon_threadsafe(settle)


class Pending:
    """The questions of a notebook that wait, and the faces that show them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faces: list[Face] = []
        self._waiting: dict[str, Waiting] = {}
        # Keys of a kernel before this one, in a page that was not loaded anew, mean nothing here.
        self._mark = os.urandom(4).hex()
        self._numbers = itertools.count(1)

    def join(self, face: Face) -> Callable[[], None]:
        """Let a face show questions from now on; return what ends that."""
        with self._lock:
            self._faces.append(face)

        def leave() -> None:
            with self._lock, contextlib.suppress(ValueError):
                self._faces.remove(face)

        return leave

    @property
    def has_faces(self) -> bool:
        """Whether a question might be shown anywhere."""
        return bool(self._faces)

    def waiting(self, session: str) -> list[Waiting]:
        """Return what waits in a conversation, the oldest first."""
        with self._lock:
            return [one for one in self._waiting.values() if one.session == session]

    def answer(self, key: str, said: Mapping[str, Any]) -> None:
        """Answer a question, from any thread.

        Raises:
            SessionError: It waits no more.
            ConfigError: That is no answer to it.
        """
        with self._lock:
            waiting = self._waiting.get(key)
        if waiting is None:
            raise SessionError(_LATE)
        answer = answer_in(waiting.question, said)
        if answer is None:
            raise ConfigError("That is no answer to this question; it still waits.")
        if not waiting.give(answer):
            raise SessionError(_LATE)

    @contextlib.contextmanager
    def asking(self, session: str, call: ToolCall, question: Question) -> Iterator[Waiting]:
        """Ask a question for as long as the block runs, on a running loop."""
        waiting = Waiting(f"{self._mark}-{next(self._numbers)}", session, call, question)
        with self._lock:
            self._waiting[waiting.key] = waiting
            faces = list(self._faces)
        try:
            shown = [_shown(face, waiting) for face in faces]
            if any(shown):
                waiting.see()
            yield waiting
        finally:
            waiting.close()
            with self._lock:
                del self._waiting[waiting.key]
                faces = list(self._faces)
            for face in faces:
                _hidden(face, waiting)


def _shown(face: Face, waiting: Waiting) -> bool:
    try:
        return face.asked(waiting)
    except Exception:  # a face that fails must not keep the others from asking
        log.warning("A panel could not show a question", exc_info=True)
        return False


def _hidden(face: Face, waiting: Waiting) -> None:
    try:
        face.answered(waiting)
    except Exception:  # nor the turn from going on
        log.warning("A panel could not take a question away", exc_info=True)

"""What a session knows from its turns, and what goes along with its next request."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from alloy_nb.engine.journal.values import Kept
from alloy_nb.engine.run import Result, RunStatus
from alloy_nb.engine.sessions.record import TurnRecord
from alloy_nb.engine.window.conversation import View
from alloy_nb.errors import SessionError
from alloy_nb.messages import Message
from alloy_nb.usage import Cost, Usage

if TYPE_CHECKING:
    from alloy_nb.engine.journal import Journal

__all__ = ["History", "moment", "spoken", "view_of"]

log = logging.getLogger("alloy_nb")

_LONGEST_STATUS = 40


class History:
    """The conversation of a session: `keep` takes a turn in, `load` goes elsewhere in the journal.

    `usage` and `cost` are of all turns; forgetting the conversation does not lower them. Whoever
    reads several things of it, on whatever thread, holds `lock`: then they are of one moment.
    """

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        self.lock = threading.RLock()
        self.messages = list(messages)
        self.results: list[Result] = []
        self._records = _Records()
        self.usage = Usage()
        self.cost = Cost()
        self.memory: dict[Any, Any] = {}
        self.context_tokens: int | None = None
        self.provider_state: dict[str, Any] | None = None
        self.view: View | None = None  # what is sent of a conversation that was shortened
        self.created_at = self.updated_at = datetime.now(UTC)

    @property
    def turns(self) -> list[TurnRecord]:
        """What is known of each turn; those that were loaded are read when this is asked first."""
        return [*self._records.earlier(), *self._records.new]

    @turns.setter
    def turns(self, turns: Iterable[TurnRecord]) -> None:
        """Know these, of a conversation that was handed in."""
        self._records = _Records(new=list(turns))

    def keep(self, result: Result) -> list[Message]:
        """Take the outcome of a turn in, and return the messages that it added."""
        with self.lock:
            return self._keep(result)

    def _keep(self, result: Result) -> list[Message]:
        before = len(self.messages)
        self.messages = list(result.messages)
        said = [message.role for message in self.messages[before:]]
        if result.status is RunStatus.ERROR and said == ["user"]:
            # Nothing came back: asked again, the question must not stand there twice.
            self.messages.pop()
        self.usage += result.usage
        self.cost += result.cost
        self.context_tokens = result.metadata.get("context_tokens", self.context_tokens)
        self.provider_state = result.metadata.get("provider_state")
        self.view = result.view
        self.updated_at = datetime.now(UTC)
        new = self.messages[before:]
        self._records.new.append(_turn(result, new, first=before))
        # A whole conversation for each of its turns would be the square of it.
        self.results.append(result.replace(messages=result.messages[before:]))
        return new

    def forget(self) -> None:
        """Begin with nothing."""
        self._stand((), None, _Records())
        self.results.clear()

    def rewind(self, place: int) -> Kept:
        """Forget a turn and all after it, by its index; return it."""
        with self.lock:
            turn = self.turns[place]
            said = self.messages[turn.first : turn.first + turn.count]
            self.messages, self.turns = self.messages[: turn.first], self.turns[:place]
            view = self.view
            self._forget_state(view if view is not None and view.covers <= turn.first else None)
        return Kept(
            id="",
            key="",
            prompt=said[0] if said else None,
            messages=tuple(said),
            model="",
            status=turn.status,
            usage=turn.usage,
            cost=turn.cost,
            began=turn.at.timestamp() - turn.seconds,
            ended=turn.at.timestamp(),
        )

    def load(self, journal: Journal) -> None:
        """Stand where the journal stands.

        Raises:
            SessionError: It cannot be read.
        """
        end = journal.head
        earlier = _nothing if end is None else cache(partial(_known, journal, end))
        self._stand(journal.messages(), view_of(journal), _Records(earlier))

    def _stand(self, messages: Iterable[Message], view: View | None, records: _Records) -> None:
        with self.lock:
            self.messages, self._records = list(messages), records
            self._forget_state(view)

    def _forget_state(self, view: View | None) -> None:
        self.view = view
        self.memory = {}
        self.provider_state = None
        self.context_tokens = None
        self.updated_at = datetime.now(UTC)


def spoken(turns: Iterable[Kept]) -> list[Kept]:
    """Return the turns that are counted: those that a model was asked for an answer.

    A history that was handed in is many turns, of which nothing else is known; a conversation that
    was shortened on demand has none more for it.
    """
    return [kept for kept in turns if kept.model]


def _nothing() -> list[TurnRecord]:
    return []


@dataclass(frozen=True, slots=True)
class _Records:
    """What is known of the turns: of those before this process, and of those since."""

    earlier: Callable[[], list[TurnRecord]] = _nothing
    new: list[TurnRecord] = field(default_factory=list)


def _known(journal: Journal, end: str) -> list[TurnRecord]:
    """Return what the journal knows of the turns of the conversation that ends with a turn."""
    try:
        turns = journal.turns(end)
    except SessionError as error:  # what was said is known all the same
        log.warning("What the turns cost is not known: %s", error)
        return []
    records, first = [], 0
    counted = {kept.id for kept in spoken(turns)}
    for kept in turns:
        if kept.id in counted:
            records.append(_turn_kept(kept, first=first))
        first += len(kept.messages)
    return records


def view_of(journal: Journal) -> View | None:
    """Return what is sent in the place of a conversation that was shortened, as it was kept."""
    kept = journal.view()
    if kept is None:
        return None
    try:
        return View.model_validate(kept)
    except ValidationError:  # the whole conversation can be sent instead
        return None


def moment(seconds: float) -> datetime:
    """Return a time of the journal, whose file may be damaged: an absurd one is the epoch."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(0, UTC)


def _turn(result: Result, new: Sequence[Message], *, first: int) -> TurnRecord:
    return TurnRecord(
        first=first,
        count=len(new),
        replies=_replies(new),
        status=result.status.value,
        error=result.error,
        at=datetime.now(UTC),
        seconds=round(result.seconds, 3),
        usage=result.usage,
        cost=result.cost,
        decisions=tuple(f"{c.name} {c.decision}" for c in result.tool_calls if c.decision),
    )


def _turn_kept(kept: Kept, *, first: int) -> TurnRecord:
    ended = kept.began if kept.ended is None else kept.ended
    seconds = ended - kept.began
    return TurnRecord(
        first=first,
        count=len(kept.messages),
        replies=_replies(kept.messages),
        status=kept.status[:_LONGEST_STATUS],
        at=moment(ended),
        seconds=round(seconds, 3) if 0 <= seconds < math.inf else 0.0,
        usage=kept.usage,
        cost=kept.cost,
    )


def _replies(messages: Sequence[Message]) -> int:
    return sum(message.role == "assistant" for message in messages)

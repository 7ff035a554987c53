"""What a session knows from its turns, and what goes along with its next request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from alloy_nb.engine.journal.values import Kept
from alloy_nb.engine.run import Result, RunStatus
from alloy_nb.engine.sessions.record import TurnRecord
from alloy_nb.engine.window.conversation import View
from alloy_nb.messages import Message
from alloy_nb.usage import Cost, Usage

if TYPE_CHECKING:
    from alloy_nb.engine.journal import Journal

__all__ = ["History", "spoken", "view_of"]


class History:
    """The conversation of a session: `keep` takes a turn in, `load` goes elsewhere in the journal.

    `usage` and `cost` are of all turns; forgetting the conversation does not lower them.
    """

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        self.messages = list(messages)
        self.results: list[Result] = []
        self.turns: list[TurnRecord] = []
        self.usage = Usage()
        self.cost = Cost()
        self.memory: dict[Any, Any] = {}
        self.context_tokens: int | None = None
        self.provider_state: dict[str, Any] | None = None
        self.view: View | None = None  # what is sent of a conversation that was shortened
        self.created_at = self.updated_at = datetime.now(UTC)

    def keep(self, result: Result) -> list[Message]:
        """Take the outcome of a turn in, and return the messages that it added."""
        before = len(self.messages)
        self.messages = list(result.messages)
        if result.status is RunStatus.ERROR and len(self.messages) == before + 1:
            # Nothing came back: asked again, the question must not stand there twice.
            self.messages.pop()
        self.usage += result.usage
        self.cost += result.cost
        self.context_tokens = result.metadata.get("context_tokens", self.context_tokens)
        self.provider_state = result.metadata.get("provider_state")
        self.view = result.view
        self.updated_at = datetime.now(UTC)
        new = self.messages[before:]
        self.turns.append(_turn(result, first=before, count=len(new)))
        # A whole conversation for each of its turns would be the square of it.
        self.results.append(result.replace(messages=result.messages[before:]))
        return new

    def forget(self) -> None:
        """Begin with nothing."""
        self._stand((), None)
        self.results.clear()

    def rewind(self, place: int) -> Kept:
        """Forget a turn and all after it, by its index; return it."""
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
        self._stand(journal.turns(), view_of(journal))

    def _stand(self, turns: Sequence[Kept], view: View | None) -> None:
        self.messages, self.turns = [], []
        counted = {kept.id for kept in spoken(turns)}
        for kept in turns:
            if kept.id in counted:
                self.turns.append(_turn_kept(kept, first=len(self.messages)))
            self.messages += kept.messages
        self._forget_state(view)

    def _forget_state(self, view: View | None) -> None:
        self.view = view
        self.memory = {}
        self.provider_state = None
        self.context_tokens = None
        self.updated_at = datetime.now(UTC)


def spoken(turns: Sequence[Kept]) -> list[Kept]:
    """Return the turns that are counted.

    A history that was handed in is many turns, of which nothing else is known; a conversation that
    was shortened on demand has none more for it.
    """
    return [
        kept
        for place, kept in enumerate(turns)
        if kept.prompt is not None or (place > 0 and kept.messages)
    ]


def view_of(journal: Journal) -> View | None:
    """Return what is sent in the place of a conversation that was shortened, as it was kept."""
    kept = journal.view()
    if kept is None:
        return None
    try:
        return View.model_validate(kept)
    except ValidationError:  # the whole conversation can be sent instead
        return None


def _turn(result: Result, *, first: int, count: int) -> TurnRecord:
    return TurnRecord(
        first=first,
        count=count,
        replies=result.turns,
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
    return TurnRecord(
        first=first,
        count=len(kept.messages),
        replies=sum(message.role == "assistant" for message in kept.messages),
        status=kept.status,
        at=datetime.fromtimestamp(ended, UTC),
        seconds=round(max(0.0, ended - kept.began), 3),
        usage=kept.usage,
        cost=kept.cost,
    )

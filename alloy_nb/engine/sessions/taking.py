"""An answer that was given elsewhere, taken into a conversation as if it had been asked there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alloy_nb.engine.run import Result
from alloy_nb.errors import SessionError
from alloy_nb.events import Event
from alloy_nb.messages import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alloy_nb.engine.sessions.session import Session

__all__ = ["take"]


def take(
    session: Session,
    result: Result,
    *,
    new: Sequence[Message],
    events: Sequence[Event] = (),
    model: str = "",
) -> None:
    """Go on with an answer, in the history and in the journal.

    What it used and cost counts here from now on. A limit on cost has counted it already, where
    whoever answered shared the limit.

    Args:
        session: Who goes on with it.
        result: The outcome of the run that gave it.
        new: The messages that it adds: the prompt, the answer, and what lies between.
        events: What happened in it, for the journal.
        model: Which model was asked, as a person would write it.

    Raises:
        SessionError: There is nothing to take, a turn is under way, or another process writes to
            the session.
    """
    if not new:
        raise SessionError("There is no answer to go on with.")
    with session._turns.between():
        journal, history = session.journal, session._history
        turn = None
        if journal is not None:
            if history.messages and journal.head is None:  # handed in, and no turn's
                journal.begin(None).finish(history.messages)
            turn = journal.begin(new[0], model=model)
            turn.note(events)
        # What a vendor or a summary made of the other conversation means nothing in this one.
        metadata = {k: v for k, v in result.metadata.items() if k != "provider_state"}
        whole = result.replace(
            messages=[*history.messages, *new], metadata=metadata, view=history.view
        )
        added = history.keep(whole)
        if turn is not None:
            view = None if history.view is None else history.view.model_dump(mode="json")
            turn.finish(
                added, status=result.status.value, usage=result.usage, cost=result.cost, view=view
            )

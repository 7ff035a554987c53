"""Where a session stands in its journal, and how it gets elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from alloy_nb.engine.journal import Journal, Kept, Store
from alloy_nb.engine.sessions.history import History, moment, spoken
from alloy_nb.errors import ConfigError, SessionError
from alloy_nb.messages import Message

__all__ = ["begun", "journal_of", "journaled", "replaced", "resumed", "rewind", "undo", "use"]

T = TypeVar("T")


def journal_of(
    given: Journal | Path | str | None, name: str, session_id: str | None
) -> Journal | None:
    """Return the journal that a session was given, or a new one in a folder."""
    if given is None or isinstance(given, Journal):
        return given
    if not isinstance(given, (str, Path)):
        raise ConfigError(f"journal must be a folder or a Journal, not {given!r}.")
    return Store(given).new(name, session_id=session_id)


def resumed(make: Callable[..., T], folder: Path | str, *, which: str | None, **settings: Any) -> T:
    """Return what is made of a session of the journal in a folder.

    Raises:
        SessionError: There is none, or another process writes to it.
    """
    journal = Store(folder).resume(which)
    try:
        return make(journal=journal, **{"name": journal.name, **settings})
    except BaseException:  # the error may be kept, and what it refers to: nobody could resume it
        journal.close()
        raise


def begun(journal: Journal | None, messages: Iterable[Message]) -> History:
    """Return what a session begins with.

    Raises:
        ConfigError: There are two histories to begin with.
        SessionError: The journal cannot be read.
    """
    history = History(messages)
    if journal is None:
        return history
    if journal.head is not None:
        if history.messages:
            raise ConfigError("messages= and a journal that has a conversation: give one of them.")
        history.load(journal)
    history.usage, history.cost = journal.usage, journal.cost  # a reset has not lowered them
    history.created_at = moment(journal.created)
    return history


def journaled(journal: Journal | None) -> Journal:
    """Return the journal.

    Raises:
        SessionError: There is none.
    """
    if journal is None:
        raise SessionError(
            'This conversation is not kept in a journal, and has no branches. Give journal=".", or '
            "in a notebook %config Alloy.journal = 'on', and begin a new one."
        )
    return journal


def undo(journal: Journal, history: History) -> Kept:
    """Go back to before the last turn."""
    undone = journal.undo()
    history.load(journal)
    return undone


def rewind(journal: Journal | None, history: History, place: int) -> Kept:
    """Go back to before a turn, by its index in the history; without a journal it is gone."""
    if journal is None:
        return history.rewind(place)
    undone = journal.rewind(spoken(journal.turns())[place].id)
    history.load(journal)
    return undone


def use(journal: Journal | None, history: History, name: str) -> None:
    """Go on with another branch."""
    journaled(journal).use(name)
    history.load(journaled(journal))


def replaced(journal: Journal, history: History, key: str) -> str | None:
    """Go back to before the turn with a key; return what a person is told, if there was one."""
    if not key:
        return None
    before, length = set(journal.branches()), len(history.messages)
    if journal.replace(key) is None:
        return None
    history.load(journal)
    if len(history.messages) == length:
        return None  # it had failed, and nothing was said
    kept = sorted(set(journal.branches()) - before)
    where = f"the branch {kept[0]}" if kept else "another branch"
    return f"Asked again: what this cell said before, and all after it, is kept on {where}."

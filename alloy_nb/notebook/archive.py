"""The conversations of this notebook that are kept on the disk."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from alloy_nb.engine.journal import Journal, SessionInfo, Store
from alloy_nb.engine.sessions.record import SessionRecord
from alloy_nb.errors import SessionError
from alloy_nb.notebook.turns.place import notebook_of

__all__ = ["Archive", "keep"]

# So much of an id stands for it; fewer letters are a name.
_ID = 6
_MOST_TURNS = 500


class Archive:
    """The journal beside the notebook; opened when it is first needed.

    Args:
        shell: Whose notebook it is.
        tell: Called with a sentence where the journal cannot be written.
    """

    def __init__(self, shell: Any, tell: Callable[[str], object]) -> None:
        self._shell = shell
        self._tell = tell
        self._store: Store | None = None
        self._notebook = ""

    @property
    def store(self) -> Store:
        """The store in the notebook's folder, or else in the kernel's."""
        if self._store is None:
            path = notebook_of(self._shell)
            self._notebook = path.name if path else ""
            self._store = Store(path.parent if path else Path(), tell=self._tell)
        return self._store

    def new(self, name: str) -> Journal:
        """Return the journal of a new conversation."""
        return self.store.new(name, notebook=self._of_this())

    def earlier(self, name: str | None, is_open: Collection[str]) -> SessionInfo | None:
        """Return the conversation of this notebook that was used last, and is not open here.

        Args:
            name: Only one of this name.
            is_open: The ids of those that are.
        """
        rows = self.store.sessions(notebook=self._of_this())
        return next((row for row in rows if name in (None, row.name) and _may(row, is_open)), None)

    def found(self, which: str | None, is_open: Collection[str]) -> SessionInfo | None:
        """Return what a person means: a name of this notebook's, or of another's, or an id."""
        own = self.earlier(which, is_open)
        if own is not None or which is None:
            return own
        rows = [row for row in self.all() if _may(row, is_open)]
        named = [row for row in rows if which == row.name]
        named += [row for row in rows if len(which) >= _ID and row.id.startswith(which)]
        return named[0] if named else None

    def all(self) -> list[SessionInfo]:
        """Return all conversations in the folder, of other notebooks too."""
        return self.store.sessions()

    def resume(self, session_id: str) -> Journal:
        """Go on with a conversation.

        Raises:
            SessionError: Somebody else does, or it cannot be read.
        """
        return self.store.resume(session_id)

    def try_resume(self, name: str, is_open: Collection[str]) -> tuple[Journal | None, str]:
        """Go on with the earlier conversation of a name, or say why that cannot be."""
        try:
            info = self.earlier(name, is_open)
            return (None, "") if info is None else (self.resume(info.id), "")
        except SessionError as error:
            return None, str(error)

    def close(self) -> None:
        """Let go of the file."""
        if self._store is not None:
            self._store.close()

    def _of_this(self) -> str:
        _ = self.store
        return self._notebook


def keep(record: SessionRecord, journal: Journal) -> None:
    """Write a conversation that was imported into its new journal, a turn at a time.

    So it is there after a restart, can be undone and found, before anything more is asked.
    """
    from alloy_nb.engine.documents.story import starts

    firsts, known = starts(record)
    # Each turn is committed: of a conversation that is very long, the first ones are one.
    firsts = [*firsts[:1], *firsts[1:][-_MOST_TURNS:]]
    for first, end in zip(firsts, [*firsts, len(record.messages)][1:], strict=True):
        messages = record.messages[first:end]
        said = next((m.origin for m in messages if m.origin is not None), None)
        prompt = messages[0] if messages[0].role == "user" else None
        turn = journal.begin(prompt, model=f"{said.provider}/{said.model}" if said else "")
        told = known.get(first)
        if told is None or told.first + told.count != end:
            turn.finish(messages)
        else:
            turn.finish(messages, status=told.status, usage=told.usage, cost=told.cost)


def _may(info: SessionInfo, is_open: Collection[str]) -> bool:
    return info.id not in is_open and info.turns > 0

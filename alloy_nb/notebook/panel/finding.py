"""Words, found in all conversations: those that are kept, and those that are open and are not."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from alloy_nb.engine.sessions.history import spoken
from alloy_nb.engine.sessions.session import Session
from alloy_nb.errors import AlloyError
from alloy_nb.markup.plain import one_line
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.drawing.cards import told

__all__ = ["found"]

_MOST = 50
_AROUND = 60
_LINE = 200


def found(desk: Desk, words: str) -> list[dict[str, Any]]:
    """Return where these words were said: the conversation, the turn, the text around them.

    The turn is its number where the conversation stands now, and ``None`` on another branch.

    Raises:
        SessionError: What is kept cannot be read.
    """
    hits = [*_kept(desk, words), *_open(desk, words)]
    return hits[:_MOST]


def _kept(desk: Desk, words: str) -> Iterator[dict[str, Any]]:
    store = desk.archive.store
    names = {session.id: name for name, session in desk.sessions.items()}

    @cache
    def numbers(session_id: str) -> dict[str, int]:
        try:
            turns = spoken(store.read(session_id).turns())
        except AlloyError:  # what was found in it was found
            return {}
        return {turn.id: number for number, turn in enumerate(turns, 1)}

    for hit in store.search(words, limit=_MOST):
        name = names.get(hit.session, hit.name)
        yield _hit(name, numbers(hit.session).get(hit.turn), hit.snippet)


def _open(desk: Desk, words: str) -> Iterator[dict[str, Any]]:
    """Look through those that no journal keeps."""
    wanted = words.casefold().split()
    for name, session in list(desk.sessions.items()):
        if session.journal is None:
            yield from _in(session, name, wanted)


def _in(session: Session, name: str, wanted: list[str]) -> Iterator[dict[str, Any]]:
    messages = session.messages
    for number, turn in enumerate(session.export_session().turns, 1):
        text = "\n".join(m.text for m in messages[turn.first : turn.first + turn.count])
        low = text.casefold()
        if all(word in low for word in wanted):
            at = max(0, low.find(wanted[0]) - _AROUND)
            yield _hit(name, number, text[at:])


def _hit(name: str, turn: int | None, text: str) -> dict[str, Any]:
    return {"session": name, "turn": turn, "html": told(one_line(text, _LINE)).html}

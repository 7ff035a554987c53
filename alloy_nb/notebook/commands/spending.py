"""What it cost and how long it took: ``%alloy cost`` and ``timeline``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from IPython.core.error import UsageError

from alloy_nb.engine.sessions.session import Session
from alloy_nb.events import Event
from alloy_nb.notebook import ledger, timeline
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.drawing import charts, status
from alloy_nb.notebook.words import Words, variable_of
from alloy_nb.usage import Cost

__all__ = ["commands"]


def commands(desk: Desk) -> Mapping[str, Callable[[Words], Any]]:
    """Return what does each word."""
    words = _SpendingWords(desk)
    return {"cost": words.cost, "timeline": words.timeline}


class _SpendingWords:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def cost(self, words: Words) -> Any:
        """Show what each turn cost, as a table, a figure, or a DataFrame."""
        named = words.flags.get("session")
        everything = [*self._desk.sessions.values(), *self._desk.asides]
        sessions = [self._desk.session(named)] if named else everything
        tables = [] if named else self._desk.mapped
        found = [*ledger.entries(sessions), *tables]
        if words.flags.get("df"):
            return self._kept(words, ledger.frame(found))
        if not words.flags.get("plot"):
            status.show(ledger.rows(found, sessions))
            return None
        if not found:
            raise UsageError("There is nothing to draw: nothing was asked yet.")
        total = sum((session.cost for session in sessions), Cost())
        total = sum((table.cost for table in tables), total)
        charts.publish(charts.spending(found), f"{len(found)} turns: {total}.")
        return None

    def timeline(self, words: Words) -> None:
        """Show where the time of a turn went."""
        session = self._desk.session(words.flags.get("session"))
        spans = timeline.spans_of(self._events(session, words))
        if not spans:
            raise UsageError("There is no turn to look at yet. Ask something: %alloy PROMPT")
        if words.flags.get("plot"):
            whole = max(span.end for span in spans)
            charts.publish(charts.timeline(spans), f"A turn of {whole:.1f} s.")
        else:
            status.show(timeline.rows(spans))

    def _events(self, session: Session, words: Words) -> list[Event]:
        """Return what happened in the turn that is named, or in the last one."""
        given = words.arguments[0] if words.arguments else ""
        if given and not given.isdecimal():
            raise UsageError("Which turn? %alloy timeline N; %alloy context lists the turns.")
        if not given:
            last = list(self._desk.events.get(session.id, ()))
            if last:
                return last
        if session.journal is None:
            if given:
                raise UsageError(
                    "Only the last turn is known: this conversation is not kept in a journal."
                )
            return []
        return session.events_of(int(given) if given else -1)

    def _kept(self, words: Words, value: Any) -> Any:
        output = variable_of(words.flags)
        if output is None:
            return value
        self._desk.shell.user_ns[output] = value
        return None

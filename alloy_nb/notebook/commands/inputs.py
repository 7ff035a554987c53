"""What the model is given: ``%alloy data``, and ``stale``, for answers that no longer fit it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from IPython.core.error import UsageError
from traitlets import TraitError

from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.drawing import status
from alloy_nb.notebook.findings import Board
from alloy_nb.notebook.inputs.dial import Dial
from alloy_nb.notebook.words import Words

__all__ = ["commands"]


def commands(desk: Desk) -> Mapping[str, Callable[[Words], None]]:
    """Return what does each word."""
    words = _InputWords(desk)
    return {"data": words.data, "stale": words.stale}


class _InputWords:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def data(self, words: Words) -> None:
        """Show or set what may leave the kernel."""
        settings = self._desk.settings
        for word in words.arguments:
            try:
                settings.data = word
            except TraitError as error:
                raise UsageError(str(error)) from None
        dial = Dial.parse(settings.data)
        wider = [
            session.name
            for session in self._desk.sessions.values()
            if self._desk.data.sent_more(session, dial)
        ]
        told = f"data: {dial} — {dial.meaning}"
        if wider and words.arguments:
            told += (
                f"\nWhat was said before in {', '.join(wider)} may hold more, and goes along with "
                "each prompt. %alloy reset forgets it; --once leaves it out of one."
            )
        status.say(told)

    def stale(self, words: Words) -> None:
        """List the answers and findings whose inputs are no longer what they were."""
        session = self._desk.session(words.flags.get("session"))
        rows = [*self._desk.inputs.stale(session), *Board(self._desk).stale(session)]
        if len(rows) > 1:
            status.show(rows)
        else:
            told = self._desk.inputs.count(session)
            status.say(
                "No answer of this session was given a variable, a cell or a file."
                if not told
                else f"Nothing has changed: {told} answer{'s' * (told != 1)} looked at."
            )

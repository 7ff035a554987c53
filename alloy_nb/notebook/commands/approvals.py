"""Which tools may run: ``%alloy approve``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from IPython.core.error import UsageError

from alloy_nb.engine.calls.approval import POLICIES
from alloy_nb.notebook.approval import meaning, named
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.drawing import status
from alloy_nb.notebook.words import Words

__all__ = ["commands"]


def commands(desk: Desk) -> Mapping[str, Callable[[Words], None]]:
    """Return what does each word."""
    return {"approve": _ApprovalWords(desk).approve}


class _ApprovalWords:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def approve(self, words: Words) -> None:
        """Show or set the policy; list what was allowed for the session, or forget it."""
        if words.arguments == ("forget",):
            self._forget(words)
            return
        settings = self._desk.settings
        for word in words.arguments:
            rules = named(word, self._desk.shell.user_ns)
            if rules is None:
                raise UsageError(
                    f"approve {word}: use one of {', '.join(POLICIES)}, forget, or the name of a "
                    "function of a call and its tool."
                )
            settings.approve = rules
        session = self._desk.session(words.flags.get("session"))
        name, means = meaning(self._desk.approvals.rules_of(session.agent))
        status.say(f"approve: {name} — {means}")
        rows = self._desk.approvals.memory(session.name).rows()
        if rows:
            head = ("tool", "allowed in this session, exactly as it stands")
            status.show([head, *rows])

    def _forget(self, words: Words) -> None:
        session = self._desk.session(words.flags.get("session"))
        count = self._desk.approvals.memory(session.name).forget()
        status.say(
            f"Forgotten: {count} call{'s' * (count != 1)} that ran unasked in this session."
            if count
            else "Nothing was allowed for this session."
        )

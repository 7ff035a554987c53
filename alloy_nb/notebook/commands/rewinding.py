"""Asking once more: ``%alloy retry``, ``edit`` and ``continue``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from IPython.core.error import UsageError

from alloy_nb.engine.sessions.history import spoken
from alloy_nb.engine.sessions.session import Session
from alloy_nb.notebook.code.next_cell import offer
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.turns.again import Recalled, recalled
from alloy_nb.notebook.turns.prompts import answered
from alloy_nb.notebook.words import Words

__all__ = ["commands"]

GO_ON = "Go on where you were stopped. What was said and done so far stands above."
_ENDED = "completed"


def commands(desk: Desk) -> Mapping[str, Callable[[Words], None]]:
    """Return what does each word."""
    words = _AgainWords(desk)
    return {"retry": words.retry, "edit": words.edit, "continue": words.go_on}


class _AgainWords:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def retry(self, words: Words) -> None:
        """Ask the last prompt again; the answer that it had stays on a branch."""
        session = self._desk.session(words.flags.get("session"))
        number = _last(session)
        # Not the answer that the journal has: another one is wanted.
        flags = {**words.flags, "fresh": True, "at": str(number)}
        # It stands for the cell of that turn, and not for this one: run again, this one retries
        # what is last then, and that one replaces this answer.
        words = self._recalled(session, number).words(flags)
        self._ask(replace(words, key=_key_of(session, number)))

    def edit(self, words: Words) -> None:
        """Ask something else in the place of a turn, or offer its prompt to be changed."""
        session = self._desk.session(words.flags.get("session"))
        number = _number(words)
        before, prompt = self._recalled(session, number), words.prompt.strip()
        if prompt:
            self._ask(before.words({**words.flags, "at": str(number)}, prompt=prompt))
            return
        named = f"-s {words.flags['session']} " if "session" in words.flags else ""
        line = f"%%alloy {named}{_flags_before(before)}--at {number}"
        offer(self._desk.shell, f"{line}\n{before.prompt}", told=_left(before, number))

    def go_on(self, words: Words) -> None:
        """Let the model go on with a turn that was stopped or cut off."""
        session = self._desk.session(words.flags.get("session"))
        turns = session.export_session().turns
        if not turns or turns[-1].status == _ENDED:
            raise UsageError("The last turn came to its end. Ask something: %alloy PROMPT")
        if not turns[-1].count:
            raise UsageError("Nothing came back in the last turn. Ask it again: %alloy retry")
        # The same cell goes on with whatever was stopped last: it replaces no turn of before.
        self._ask(Words(words.flags, prompt=GO_ON, key=""))

    def _recalled(self, session: Session, number: int) -> Recalled:
        return recalled(session, number, self._desk.shell.user_ns)

    def _ask(self, words: Words) -> None:
        desk = self._desk
        answered(desk, words, dict(desk.shell.user_ns))


def _last(session: Session) -> int:
    count = len(session.export_session().turns)
    if not count:
        raise UsageError("Nothing was asked yet. Ask something: %alloy PROMPT")
    return count


def _key_of(session: Session, number: int) -> str:
    """Return where a turn was asked from."""
    journal = session.journal
    return "" if journal is None else spoken(journal.turns())[number - 1].key


def _number(words: Words) -> int:
    given = words.arguments[0] if words.arguments else ""
    if not given.isdecimal():
        raise UsageError(
            "Which turn? %alloy edit N NEW PROMPT; %alloy context lists the turns with numbers."
        )
    return int(given)


def _flags_before(before: Recalled) -> str:
    """Return what a turn was asked with as it stands before a prompt, with a space behind it."""
    names = {"format": "-f", "input": "-i"}
    return "".join(f"{names[key]} {_quoted(value)} " for key, value in before.flags.items())


def _quoted(value: str) -> str:
    return f'"{value}"' if " " in value or "'" in value else value


def _left(before: Recalled, number: int) -> str:
    """Return what is said of attachments, which a cell cannot hold."""
    if not before.along:
        return ""
    return f"What was attached goes along with %alloy edit {number} PROMPT, and not with this cell."

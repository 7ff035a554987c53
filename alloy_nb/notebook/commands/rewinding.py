"""Asking once more: ``%alloy retry``, ``edit`` and ``continue``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from IPython.core.error import UsageError

from alloy_nb.engine.sessions.session import Session
from alloy_nb.markup.alongside import typed
from alloy_nb.messages import Text
from alloy_nb.notebook.code.next_cell import offer
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.turns.prompts import answered
from alloy_nb.notebook.words import Words

__all__ = ["commands", "prompt_of"]

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
        self._ask(Words(flags, prompt=prompt_of(session, number), recalled=True))

    def edit(self, words: Words) -> None:
        """Ask something else in the place of a turn, or offer its prompt to be changed."""
        session = self._desk.session(words.flags.get("session"))
        number = _number(words)
        prompt = words.prompt.strip()
        if prompt:
            self._ask_at(number, words, prompt)
            return
        named = f"-s {words.flags['session']} " if "session" in words.flags else ""
        prompt = prompt_of(session, number)
        offer(self._desk.shell, f"%%alloy {named}--at {number}\n{prompt}")

    def go_on(self, words: Words) -> None:
        """Let the model go on with a turn that was stopped or cut off."""
        session = self._desk.session(words.flags.get("session"))
        turns = session.export_session().turns
        if not turns or turns[-1].status == _ENDED:
            raise UsageError("The last turn came to its end. Ask something: %alloy PROMPT")
        if not turns[-1].count:
            raise UsageError("Nothing came back in the last turn. Ask it again: %alloy retry")
        self._ask(Words(words.flags, prompt=GO_ON))

    def _ask_at(self, number: int, words: Words, prompt: str) -> None:
        self._ask(Words({**words.flags, "at": str(number)}, prompt=prompt))

    def _ask(self, words: Words) -> None:
        desk = self._desk
        answered(desk, words, dict(desk.shell.user_ns))


def _last(session: Session) -> int:
    count = len(session.export_session().turns)
    if not count:
        raise UsageError("Nothing was asked yet. Ask something: %alloy PROMPT")
    return count


def _number(words: Words) -> int:
    given = words.arguments[0] if words.arguments else ""
    if not given.isdecimal():
        raise UsageError(
            "Which turn? %alloy edit N NEW PROMPT; %alloy context lists the turns with numbers."
        )
    return int(given)


def prompt_of(session: Session, turn: int) -> str:
    """Return what was typed in a turn, without what its references meant then."""
    record = session.export_session()
    count = len(record.turns)
    if not 0 < (turn if turn > 0 else turn + count + 1) <= count:
        raise UsageError(
            f"The conversation has no turn {turn}: it has {count}."
            if count
            else "Nothing was asked yet. Ask something: %alloy PROMPT"
        )
    chosen = record.turns[turn - 1 if turn > 0 else turn]
    said = record.messages[chosen.first : chosen.first + chosen.count]
    blocks = said[0].content if said and said[0].role == "user" else ()
    # The blocks after it are pictures, and what the notebook says by itself.
    first = next((block.text for block in blocks if isinstance(block, Text)), "")
    prompt = typed(first).strip()
    if not prompt:
        raise UsageError(f"Turn {turn} began with no prompt of yours.")
    return prompt

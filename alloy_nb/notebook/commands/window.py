"""What fills the model's window: ``%alloy context``, ``hide``, ``pin``, ``compact``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from IPython.core.error import UsageError

from alloy_nb.engine.sessions.session import Session
from alloy_nb.markup.alongside import beginning, referenced
from alloy_nb.markup.plain import one_line
from alloy_nb.messages import Message, Text, user
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.drawing import status
from alloy_nb.notebook.words import Words

__all__ = ["commands"]

_LINE = 60


def commands(desk: Desk) -> Mapping[str, Callable[[Words], None]]:
    """Return what does each word."""
    words = _WindowWords(desk)
    return {
        "context": words.context,
        "hide": words.hide,
        "unhide": words.unhide,
        "pin": words.pin,
        "unpin": words.unpin,
        "compact": words.compact,
    }


class _WindowWords:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def context(self, words: Words) -> None:
        """List what would go out with the next request, and about how long each part is."""
        status.show(_rows(self._session(words)))

    def hide(self, words: Words) -> None:
        """Send turns no more."""
        self._mark(words, "hide", "not sent any more; %alloy unhide {0} sends it again")

    def unhide(self, words: Words) -> None:
        """Send hidden turns again."""
        self._mark(words, "unhide", "sent again")

    def pin(self, words: Words) -> None:
        """Keep turns as they are when the conversation is shortened."""
        self._mark(words, "pin", "kept as it is when the conversation is shortened")

    def unpin(self, words: Words) -> None:
        """Let a summary stand for turns again."""
        self._mark(words, "unpin", "no longer kept as it is")

    def compact(self, words: Words) -> None:
        """Let a summary stand for the older part of the conversation."""
        session = self._session(words)
        if not session.messages:
            raise UsageError("There is nothing to shorten: nothing was said yet.")
        status.say("Asking for a summary …")
        outcome = session.compact(" ".join(words.arguments))
        if outcome.view is None:
            status.say("The conversation is short already: nothing was taken out.")
            return
        status.say(
            f"About {outcome.before:,} tokens are {outcome.after:,} now ({outcome.cost}). All that "
            "was said stays in the conversation: %alloy history."
        )

    # --- inside -----------------------------------------------------------------------------------

    def _session(self, words: Words) -> Session:
        return self._desk.session(words.flags.get("session"))

    def _mark(self, words: Words, verb: str, meaning: str) -> None:
        session = self._session(words)
        numbers = _numbers(words, verb)
        if verb in ("hide", "unhide"):
            session.hide(*numbers, hide=verb == "hide")
        else:
            session.pin(*numbers, pin=verb == "pin")
        named = ", ".join(map(str, numbers))
        many = "s" if len(numbers) > 1 else ""
        told = meaning.format(" ".join(map(str, numbers)))
        status.say(f"Turn{many} {named}: {told}. %alloy context lists all turns.")


def _numbers(words: Words, verb: str) -> list[int]:
    if not words.arguments or not all(word.isdecimal() for word in words.arguments):
        asked = " ".join(["%alloy --", verb, *words.arguments])
        hint = f" To ask the model this, write: {asked}" if words.arguments else ""
        raise UsageError(
            f"Which turn? %alloy {verb} N; %alloy context lists them with numbers.{hint}"
        )
    return [int(word) for word in words.arguments]


def _rows(session: Session) -> list[list[str]]:
    agent, record = session.agent, session.export_session()
    rows: list[tuple[str, str, int, str]] = []

    def add(number: str, what: str, messages: Sequence[Message], note: str = "") -> None:
        rows.append((number, what, session.tokens_of(messages), note))

    add("", "system prompt", [user(agent.instructions or "")])
    for spec in agent.tool_specs:
        add("", f"tool {spec.name}", [user(f"{spec.name} {spec.description} {spec.input_schema}")])
    hidden, pinned, covered = session.hidden, session.pinned, session.summarised
    if covered:
        add("", "summary of what is older", session.summary)
    begun = record.turns[0].first if record.turns else len(record.messages)
    if begun > covered:
        add("", "what was there before", record.messages[covered:begun])
    for number, turn in enumerate(record.turns, 1):
        messages = record.messages[turn.first : turn.first + turn.count]
        marks = ["hidden"] * (number in hidden) + ["pinned"] * (number in pinned)
        is_summarised = turn.first < covered
        marks += ["summarised"] * is_summarised
        left_out = number in hidden or is_summarised
        told = [] if left_out else messages
        add(str(number), _asked(messages), told, ", ".join([*marks, *_chips(session, messages)]))
    return _table(rows, session)


def _table(rows: Sequence[tuple[str, str, int, str]], session: Session) -> list[list[str]]:
    window = session.context_window
    total = sum(tokens for _, _, tokens, _ in rows)
    table = [["turn", "what", "about tokens", "of the window", "notes"]]
    for number, what, tokens, note in rows:
        share = f"{tokens / window:.1%}" if window else "?"
        table.append([number, what, f"{tokens:,}", share, note])
    full = f"{total / window:.1%} of {window:,}" if window else "window unknown"
    last = session.context_tokens
    counted = f"the vendor counted {last:,} last time" if last is not None else ""
    table.append(["", "all together", f"{total:,}", full, counted])
    return table


def _asked(messages: Sequence[Message]) -> str:
    text = messages[0].text if messages else "(nothing came back)"
    return beginning(text, _LINE)


def _chips(session: Session, messages: Sequence[Message]) -> list[str]:
    """Return each reference of a prompt with its size, such as ``@df 41``."""
    texts = [b.text for b in messages[0].content if isinstance(b, Text)] if messages else []
    found = [one for text in texts for one in referenced(text)]
    return [f"@{one_line(name, 40)} {session.tokens_of([user(block)])}" for name, block in found]

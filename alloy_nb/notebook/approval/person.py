"""Asking the person: with a card where the front end shows one, else in words, else not at all.

Nothing waits for an answer that cannot come: a card has to say that it is there, and a notebook
without anyone at it (nbclient, papermill, a closed terminal) is denied at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from alloy_nb.engine import portal
from alloy_nb.messages import ToolCall
from alloy_nb.notebook.approval.question import Answer, Question

__all__ = ["NOBODY", "Person"]

Read = Callable[[str], str]

NOBODY = (
    "Nobody could be asked: this notebook runs without a person at it. "
    "Answer without running code, and say that it was not run."
)
# How long a front end has to show the card. JupyterLab takes 60 ms.
_HANDSHAKE_SECONDS = 1.5
_WORDS = {
    "once": ("y", "yes"),
    "turn": ("a", "all"),
    "session": ("s", "same"),
    "edited": ("e", "edit"),
    "denied": ("", "n", "no"),
}
_LINES = "Write what is to run instead. A line with a dot alone ends it; a dot at once goes back."


class Person:
    """Whoever sits at the notebook, for one turn.

    Args:
        read: Asks in words; the default is ``input()``, which the front end answers.
    """

    def __init__(self, read: Read | None = None) -> None:
        self._read = read
        # A front end that did not show one card will not show the next.
        self._has_cards = read is None

    async def ask(self, call: ToolCall, question: Question) -> Answer | None:
        """Return what the person answers, without a limit of time; ``None`` if nobody can."""
        if self._read is None and not _is_anyone_there():
            return None
        if self._has_cards and _can_show_cards():
            answer = await self._ask_by_card(call, question)
            if answer is not None:
                return answer
            self._has_cards = False
        if self._read is None and portal.current_host.get() is None:
            return None  # a turn in the background: there is no cell to type into
        try:
            return await portal.on_host(lambda: _in_words(question, self._read or input))
        except (NotImplementedError, EOFError):
            # Closed terminals; and front ends without input, of which IPython says so.
            return None

    async def _ask_by_card(self, call: ToolCall, question: Question) -> Answer | None:
        """Ask with a card in the call's place; return ``None`` where no front end shows it."""
        # Only here, since a command line asks in words and draws nothing.
        from alloy_nb.notebook.approval.card import Card
        from alloy_nb.notebook.approval.stage import current_stage

        stage = current_stage.get()
        if stage is None:
            return None
        card = Card(question)
        try:
            if not stage.show(call, card.view):
                return None
            try:
                await asyncio.wait_for(asyncio.shield(card.ready), _HANDSHAKE_SECONDS)
            except TimeoutError:
                return None
            return await card.answer
        finally:
            stage.hide(call)
            card.close()


def _is_anyone_there() -> bool:
    """Tell whether the front end says that it can be asked."""
    kernel = _kernel()
    # ipykernel's own name for the `allow_stdin` of the request that is being answered.
    return kernel is None or bool(getattr(kernel, "_allow_stdin", True))


def _can_show_cards() -> bool:
    """Tell whether a click would reach this process while the cell runs.

    Before ipykernel 7 every message of a front end waits for the end of the cell, so no card
    could answer; without a cell that waits there is nothing in the way.
    """
    kernel = _kernel()
    if kernel is None:
        return False
    blocked = portal.current_host.get() is not None
    return not blocked or bool(getattr(kernel, "_supports_kernel_subshells", False))


def _kernel() -> Any:
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None)


# --- in words -------------------------------------------------------------------------------------


def _in_words(question: Question, read: Read) -> Answer:
    asked = "\n\n".join(
        part for part in (question.title, question.subject, question.warning, question.risk) if part
    )
    asked = f"{asked}\n\n{_choices(question)}"
    while True:
        said = read(asked).strip()
        choice = next((c for c, words in _WORDS.items() if said.lower() in words), None)
        if choice == "edited" and question.editable is not None:
            text = _typed(read)
            if text is not None:
                return Answer("edited", text)
            asked = _choices(question)
            continue
        if choice in ("turn", "session") and not question.lasting:
            choice = None
        if choice in ("once", "turn", "session"):
            return Answer(choice)  # type: ignore[arg-type]  # the keys of _WORDS are choices
        return Answer("denied", "" if choice == "denied" else said)


def _choices(question: Question) -> str:
    words = ["[y]es", "[n]o"]
    if question.lasting:
        words += ["[a]ll in this turn", "[s]ame in this session"]
    if question.editable is not None:
        words.append("[e]dit")
    return f"Run it? {', '.join(words)}, or say why not: "


def _typed(read: Read) -> str | None:
    """Return lines that the person types, or ``None`` where there are none."""
    lines = [read(f"{_LINES}\n")]
    while lines[-1].rstrip() != ".":
        lines.append(read(""))
    return "\n".join(lines[:-1]) if len(lines) > 1 else None

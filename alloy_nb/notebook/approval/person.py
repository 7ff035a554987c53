"""Asking the person: where a front end shows the question, else in words, else not at all.

A cell's turn asks with a card in the cell, and in the panels of its conversation; a panel's turn in
the panels alone (`pending`).

Nothing waits for an answer that cannot come: a card has to say that it is there, and a notebook
without anyone at it (nbclient, papermill, a closed terminal) is denied at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from alloy_nb.engine import portal
from alloy_nb.messages import ToolCall
from alloy_nb.notebook.approval.pending import Pending, Waiting, in_panel
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
        pending: Where panels see what is asked.
        session: The name of the conversation.
    """

    def __init__(
        self, read: Read | None = None, *, pending: Pending | None = None, session: str = ""
    ) -> None:
        self._read = read
        self._pending = Pending() if pending is None else pending
        self._session = session
        # A front end that did not show one question will not show the next.
        self._is_clicked = True

    async def ask(self, call: ToolCall, question: Question) -> Answer | None:
        """Return what the person answers, without a limit of time; ``None`` if nobody can."""
        with self._pending.asking(self._session, call, question) as waiting:
            if in_panel.get():
                return await self._by_click(waiting)
            if self._read is not None:
                return await self._in_words(waiting)
            if not _is_anyone_there():
                return None
            answer = await self._by_card(waiting) if _do_clicks_arrive() else None
            if answer is not None:
                return answer
            if portal.current_host.get() is None:
                return None  # a turn in the background: there is no cell to type into
            return await self._in_words(waiting)

    async def _by_card(self, waiting: Waiting) -> Answer | None:
        """Ask with a card in the call's place, and in the panels; ``None`` if nobody sees them."""
        # Only here, since a command line asks in words and draws nothing.
        from alloy_nb.notebook.approval.card import Card
        from alloy_nb.notebook.approval.stage import current_stage

        stage = current_stage.get()
        if stage is None or not self._is_clicked:
            return await self._by_click(waiting)
        card = Card(waiting)
        try:
            is_drawn = stage.show(waiting.call, card.view)
            return await self._by_click(waiting, is_drawn=is_drawn)
        finally:
            stage.hide(waiting.call)
            card.close()

    async def _by_click(self, waiting: Waiting, *, is_drawn: bool = False) -> Answer | None:
        """Wait for the answer of a front end; ``None`` where none shows the question."""
        might_be = self._is_clicked and (is_drawn or self._pending.has_faces)
        seconds = _HANDSHAKE_SECONDS if might_be else 0
        self._is_clicked = await waiting.is_seen(seconds)
        return await waiting.answer() if self._is_clicked else None

    async def _in_words(self, waiting: Waiting) -> Answer | None:
        """Ask in words, while a panel may answer too; ``None`` where nobody can be asked."""
        question, read = waiting.question, self._read or input
        said = asyncio.ensure_future(portal.on_host(lambda: _in_words(question, read)))
        clicked = asyncio.ensure_future(waiting.answer())
        try:
            await asyncio.wait({said, clicked}, return_when=asyncio.FIRST_COMPLETED)
            if clicked.done():
                return clicked.result()
            answer = said.result()
            # Both at once: what was clicked has been told that it counts.
            return answer if waiting.give(answer) else await clicked
        except (NotImplementedError, EOFError):
            # Closed terminals; and front ends without input, of which IPython says so.
            return None
        finally:
            said.cancel()
            clicked.cancel()


def _is_anyone_there() -> bool:
    """Tell whether the front end says that it can be asked."""
    kernel = _kernel()
    # ipykernel's own name for the `allow_stdin` of the request that is being answered.
    return kernel is None or bool(getattr(kernel, "_allow_stdin", True))


def _do_clicks_arrive() -> bool:
    """Tell whether a click would reach this process while the cell runs.

    Before ipykernel 7 every message of a front end waits for the end of the cell, so no button
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

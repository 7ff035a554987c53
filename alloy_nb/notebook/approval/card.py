"""The card in the cell: what would run, and buttons.

It is an anywidget, whose front end is the ES module beside this file. Everything that is shown is
set as text there, so nothing of it can become markup.

In ipykernel 7.4 the answers of a comm that a cell opened go to the main shell, which the cell
blocks. The opt-out below sends them where the front end sent them, to a subshell: its thread calls
us, and only sets a future. (Read in ipykernel 7.4.0, `comm/comm.py` and `kernelbase.py`, on
2026-11-21.)
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import asdict
from importlib.resources import files
from typing import Any, cast, get_args

import anywidget
from traitlets import Dict

from alloy_nb.notebook.approval.question import Answer, Choice, Question

__all__ = ["Card"]

_VIEW = "application/vnd.jupyter.widget-view+json"
# More than anybody types; what is longer did not come from a person.
_LONGEST = 1_000_000


def _beside(name: str) -> str:
    return (files("alloy_nb.notebook.approval") / name).read_text(encoding="utf-8")


class _Widget(anywidget.AnyWidget):
    _esm = _beside("card.js")
    _css = _beside("card.css")
    question = Dict().tag(sync=True)


class Card:
    """A question with buttons; made and closed on a running loop.

    `ready` is done when a front end shows it, `answer` when the person has answered.
    """

    def __init__(self, question: Question) -> None:
        self._loop = asyncio.get_running_loop()
        self._question = question
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self.answer: asyncio.Future[Answer] = self._loop.create_future()
        self._widget = _Widget(question=asdict(question))
        comm = self._widget.comm
        if hasattr(comm, "_reply_subshell_for"):
            comm._reply_subshell_for = _where_it_was_sent
        self._widget.on_msg(self._heard)

    @property
    def view(self) -> Mapping[str, Any]:
        """What shows the card, by MIME type."""
        model = {"version_major": 2, "version_minor": 0, "model_id": self._widget.model_id}
        return {_VIEW: model}

    def close(self) -> None:
        """Take it from the front end; nothing of it is left there."""
        layout = self._widget.layout
        self._widget.close()
        layout.close()
        for future in (self.ready, self.answer):
            future.cancel()

    def _heard(self, _widget: Any, content: Any, _buffers: Any) -> None:
        """Take a message, on whichever thread the kernel hears it."""
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._take, content)

    def _take(self, content: Any) -> None:
        if not isinstance(content, Mapping):
            return
        if not self.ready.done():
            self.ready.set_result(None)
        choice, text = content.get("choice"), content.get("text", "")
        if choice not in get_args(Choice) or not isinstance(text, str) or len(text) > _LONGEST:
            return
        if choice == "edited" and self._question.editable is None:
            return
        if not self.answer.done():
            self.answer.set_result(Answer(cast("Choice", choice), text))


def _where_it_was_sent(_data: Any, default: str | None) -> str | None:
    return default

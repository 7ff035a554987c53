"""A conversation twice: the whole of it, and what of it is sent.

They are the same until the conversation is shortened to fit the model's window. From then on a
`View` stands for its first part, and what comes later is in both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from alloy_nb.engine.window.measure import Measured
from alloy_nb.messages import Message

__all__ = ["Conversation", "View"]


class View(BaseModel):
    """What is sent in the place of the first `covers` messages of a conversation.

    Whoever continues a conversation hands it on (``view=`` of `Agent.start`, from the last result's
    ``view``), so that a summary is paid once. `anchor` is the fingerprint of the last message that
    it covers: a history that was changed since is not taken for this one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    messages: tuple[Message, ...] = Field(repr=False)
    covers: int
    anchor: str

    def fits(self, history: Sequence[Message]) -> bool:
        """Return whether it was made of this history."""
        covers = self.covers
        return 0 < covers <= len(history) and self.anchor == _fingerprint(history[covers - 1])


class Conversation:
    """The messages of one run, which grow while it runs.

    Args:
        history: The conversation before; the list is not changed.
        view: What stands for its first part, if it was shortened before.
        memory: What is kept with a conversation from run to run; the sizes of messages too.
    """

    def __init__(
        self, history: Sequence[Message], view: View | None, memory: dict[Any, Any]
    ) -> None:
        self.messages = list(history)
        self.sent = self.messages
        self.view: View | None = None
        self.memory = memory
        if view is not None and view.fits(history):
            self.view = view
            self.sent = [*view.messages, *history[view.covers :]]
        self.measured: Measured = memory.setdefault(Measured, Measured())
        self.measured.start(self.sent)

    def append(self, message: Message) -> None:
        """Add a message at the end."""
        self.messages.append(message)
        if self.sent is not self.messages:
            self.sent.append(message)
        self.measured.add(message)

    def shorten(self, messages: Sequence[Message]) -> None:
        """Send these messages in the place of all so far; the whole conversation stays."""
        covers = len(self.messages)
        anchor = _fingerprint(self.messages[-1])
        self.view = View.model_construct(messages=tuple(messages), covers=covers, anchor=anchor)
        self.sent = list(messages)
        self.measured.start(self.sent)


def _fingerprint(message: Message) -> str:
    return hashlib.sha256(repr(message).encode("utf-8", "replace")).hexdigest()[:32]

"""A conversation twice: the whole of it, and what of it is sent.

They are the same until the conversation is shortened to fit the model's window, or turns of it are
hidden. A `View` says what is sent then: what stands for its first part, and what later is left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from alloy_nb.engine.window.measure import Measured
from alloy_nb.messages import Message

__all__ = ["Conversation", "Span", "View", "within"]


Span = tuple[int, int]
"""The messages from the first number to before the second one."""


class View(BaseModel):
    """What of a conversation is sent: `messages` in the place of the first `covers` of it.

    Whoever continues a conversation hands it on (``view=`` of `Agent.start`, from the last result's
    ``view``), so that a summary is paid once. `anchor` is the fingerprint of the last message that
    it covers: a history that was changed since is not taken for this one.

    `hidden` are whole turns that are not sent, and `pinned` those that no summary may stand for,
    both by their place in the whole conversation.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    messages: tuple[Message, ...] = Field(default=(), repr=False)
    covers: int = 0
    anchor: str = ""
    hidden: tuple[Span, ...] = ()
    pinned: tuple[Span, ...] = ()

    def fits(self, history: Sequence[Message]) -> bool:
        """Return whether it was made of this history."""
        if self.covers == 0:
            return not self.messages
        covers = self.covers
        return 0 < covers <= len(history) and self.anchor == _fingerprint(history[covers - 1])

    def sent_of(self, history: Sequence[Message]) -> list[Message]:
        """Return what is sent of a history that it fits."""
        later = range(self.covers, len(history))
        return [*self.messages, *(history[n] for n in later if not within(n, self.hidden))]


def within(number: int, spans: Iterable[Span]) -> bool:
    """Return whether a message lies in one of these spans."""
    return any(first <= number < end for first, end in spans)


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
            self.sent = view.sent_of(self.messages)
        self.measured: Measured = memory.setdefault(Measured, Measured())
        self.measured.start(self.sent)

    def append(self, message: Message) -> None:
        """Add a message at the end."""
        self.messages.append(message)
        if self.sent is not self.messages:
            self.sent.append(message)
        self.measured.add(message)

    def pins(self) -> list[bool]:
        """Tell of each message that is sent whether no summary may stand for it."""
        spans = () if self.view is None else self.view.pinned
        if not spans:
            return [False] * len(self.sent)
        ids = {id(self.messages[n]) for a, b in spans for n in range(a, min(b, len(self.messages)))}
        kept = [self.messages[n] for a, b in spans for n in range(a, min(b, len(self.messages)))]
        # After a resumption what a view kept is equal, and no longer the same.
        return [id(m) in ids or any(m == other for other in kept) for m in self.sent]

    def shorten(self, messages: Sequence[Message]) -> None:
        """Send these messages in the place of all so far; the whole conversation stays."""
        covers = len(self.messages)
        anchor = _fingerprint(self.messages[-1])
        was = self.view or View()
        self.view = View(
            messages=tuple(messages),
            covers=covers,
            anchor=anchor,
            hidden=was.hidden,
            pinned=was.pinned,
        )
        self.sent = list(messages)
        self.measured.start(self.sent)


def _fingerprint(message: Message) -> str:
    return hashlib.sha256(repr(message).encode("utf-8", "replace")).hexdigest()[:32]

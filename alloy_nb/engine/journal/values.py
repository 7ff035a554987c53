"""What the journal tells: frozen values, without a connection behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from alloy_nb.messages import Message
from alloy_nb.usage import Cost, Usage

__all__ = ["CRASHED", "RUNNING", "Found", "Hit", "Kept", "Node", "SessionInfo"]

RUNNING = "running"
CRASHED = "crashed"
"""The status of a turn whose process ended in the middle of it; others are a `RunStatus`."""


@dataclass(frozen=True, slots=True)
class Node:
    """A turn in the tree.

    Args:
        id: What it is known by.
        parent: The turn before it, or ``None`` for the first of a conversation.
        key: The cell that it was asked from, or whatever it was keyed by.
        preview: The beginning of the prompt.
        model: Which model was asked.
        status: A `RunStatus`, ``running`` or ``crashed``.
        usage: Tokens.
        cost: US dollars.
        began: Seconds since the epoch.
        ended: The same, or ``None`` while it runs.
        branches: The branches that end with it.
        is_current: Whether it is part of the conversation that would be gone on with now.
    """

    id: str
    parent: str | None
    key: str
    preview: str
    model: str
    status: str
    usage: Usage
    cost: Cost
    began: float
    ended: float | None
    branches: tuple[str, ...] = ()
    is_current: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """A turn with what it added to the conversation; `Journal.events` has what happened in it."""

    id: str
    key: str
    prompt: Message | None
    messages: tuple[Message, ...] = field(repr=False)
    model: str
    status: str
    usage: Usage
    cost: Cost
    began: float
    ended: float | None


@dataclass(frozen=True, slots=True)
class Found:
    """The answer to "was this asked before?": the turn, or what differs from the nearest one.

    `differs` names ``prompt``, ``references``, ``model``, ``settings``, ``history`` or ``status``
    (it was asked, and not answered to the end). It is empty where nothing like it was asked.
    """

    turn: Kept | None
    differs: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.turn is not None


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A session, as a list of them shows it.

    `settings` are for the reader's information: nothing of them may be set again unasked, since
    the file may have come from elsewhere.
    """

    id: str
    name: str
    notebook: str
    created: float
    updated: float
    turns: int
    preview: str
    model: str
    usage: Usage
    cost: Cost
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hit:
    """A place where words were found: the session, the turn, and the text around them."""

    session: str
    name: str
    turn: str
    snippet: str
    began: float

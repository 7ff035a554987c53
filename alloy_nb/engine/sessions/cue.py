"""Where a turn is asked from, and all that decides its answer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import Any, Literal

from alloy_nb.engine.agent import Agent
from alloy_nb.engine.structured import Structured
from alloy_nb.messages import Message, Text

__all__ = ["Cue", "Replay", "deciding", "model_of"]

Replay = Literal["off", "on", "only"]


@dataclass(frozen=True, slots=True)
class Cue:
    """Where a turn was asked from, and whether an earlier answer will do.

    Args:
        key: The cell, or whatever else stands for its place: a turn with this key is replaced.
        references: A hash of what the prompt refers to.
        replay: ``on`` takes the answer that the journal has to just this, and asks where it has
            none; ``only`` fails instead of asking.
        note: Goes to the model after the prompt, where it is asked; it decides no replay.
    """

    key: str = ""
    references: str = ""
    replay: Replay = "off"
    note: str = ""

    def with_note(self, said: Message | None) -> Message | None:
        """Return a prompt with the note."""
        if said is None or not self.note:
            return said
        return said.model_copy(update={"content": (*said.content, Text(text=self.note))})


def model_of(agent: Agent) -> str:
    """Return the model that is asked, as a person would write it."""
    return f"{agent.provider.name}/{agent.provider.model}"


def deciding(agent: Agent) -> dict[str, str | int]:
    """Return what decides an answer besides the model and what is said; long texts as hashes."""
    until = agent.until_tool
    wanted = until.spec if isinstance(until, Structured) else until
    options = agent.options
    provided = getattr(agent.provider, "options", None)
    if isinstance(provided, type(options)):
        options = options.over(provided)
    chosen = {field.name: getattr(options, field.name) for field in fields(options)}
    return {
        "instructions": _hash(agent.instructions),
        "tools": _hash(agent.tool_specs),
        "options": _hash({n: v for n, v in chosen.items() if n != "cache"}),  # costs, not answers
        "max_turns": agent.max_turns,
        "until": _hash(wanted),
    }


def _hash(value: Any) -> str:
    return hashlib.sha256(repr(value).encode("utf-8", "replace")).hexdigest()[:16]

"""The tool `scratchpad`: notes that a model keeps for itself while it works.

They are no messages, so compaction and a reset of the conversation leave them. They live as long
as the agent that has the tool, in memory alone::

    al.Session(provider="anthropic/claude-sonnet-4-6", tools=[al.Scratchpad])

Given as a class, each agent has its own; given as an object, all that have it share it.
"""

from __future__ import annotations

import threading
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from alloy_nb.errors import ToolError

__all__ = ["Scratchpad"]

# Notes go back into the conversation when they are read.
_MOST_CHARS = 100_000


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid", title="scratchpad")

    action: str = Field(description="read, write or clear")
    key: str | None = Field(default=None, description="what the note is called, to write it")
    value: str | None = Field(default=None, description="the note, to write it")


class Scratchpad:
    """Keep notes while you work: write one under a key, read all of them, or clear them."""

    name = "scratchpad"
    input_schema = _Input
    # A note that is written and read in one message is read as it was written.
    concurrent = False
    risk: Literal["read"] = "read"

    def __init__(self) -> None:
        self._notes: dict[str, str] = {}
        self._lock = threading.Lock()

    @property
    def notes(self) -> dict[str, str]:
        """The notes, by their keys, as a copy."""
        with self._lock:
            return dict(self._notes)

    def run(self, asked: _Input) -> str:
        """Do what the model asks for.

        Raises:
            ToolError: The action is none, lacks its key or value, or the notes grow too long.
        """
        with self._lock:
            match asked.action:
                case "read":
                    lines = [f"{key}: {value}" for key, value in self._notes.items()]
                    return "\n".join(lines) or "(scratchpad is empty)"
                case "write":
                    return self._write(asked.key, asked.value)
                case "clear":
                    self._notes.clear()
                    return "Scratchpad cleared"
        raise ToolError(f"Unknown action: {asked.action}. Use read, write or clear.")

    def _write(self, key: str | None, value: str | None) -> str:
        if not key:
            raise ToolError("To write a note, give its key.")
        if value is None:
            raise ToolError("To write a note, give its value.")
        others = sum(len(k) + len(v) for k, v in self._notes.items() if k != key)
        if others + len(key) + len(value) > _MOST_CHARS:
            raise ToolError(
                f"The notes would have over {_MOST_CHARS:,} characters: write shorter ones, or "
                "clear them."
            )
        self._notes[key] = value
        return f"Wrote {key}"

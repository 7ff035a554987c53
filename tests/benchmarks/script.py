"""What the mock model is told to do; the instruction travels in the prompt.

So one warm client can ask for replies of every kind, and the server can tell from a request alone
what must be in it: that many results, and the text of the last one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = [
    "PIECE_CHARACTERS",
    "REMARK",
    "TOOL_DESCRIPTION",
    "TOOL_NAME",
    "Script",
    "answer",
    "call_id",
]

PIECE_CHARACTERS = 7

REMARK = " I read the next row of the table first."
"""What the model says before it calls a tool, one delta a word."""

TOOL_NAME = "step"
TOOL_DESCRIPTION = "Read a row of the table."

_PATTERN = re.compile(rb"Follow the script (\d+)-(\d+)-(\d+)-(\d+)-(\d+)\.")


@dataclass(frozen=True, slots=True)
class Script:
    """One conversation with the mock model.

    Args:
        deltas: Text deltas of the last reply (or of the only one).
        pace_ms: Milliseconds between two deltas; 0 sends them as fast as they are read.
        wait_ms: Milliseconds before a reply begins.
        turns: Replies with tool calls before the last one.
        calls: Tool calls in each of them.
    """

    deltas: int = 3
    pace_ms: int = 0
    wait_ms: int = 0
    turns: int = 0
    calls: int = 1

    @property
    def prompt(self) -> str:
        """The user message that asks for this script."""
        numbers = (self.deltas, self.pace_ms, self.wait_ms, self.turns, self.calls)
        return f"Follow the script {'-'.join(map(str, numbers))}."

    @property
    def results(self) -> int:
        """How many tool results the whole conversation has."""
        return self.turns * self.calls

    @property
    def last_text(self) -> str:
        """The text of the last reply, which says how many results the server has seen."""
        return "".join(self.last_pieces)

    @property
    def last_pieces(self) -> tuple[str, ...]:
        """The deltas of the last reply."""
        pieces = tuple(f" tok{n % 1000:03d}" for n in range(self.deltas))
        return (*pieces, f" after {self.results} results") if self.turns else pieces

    @classmethod
    def find(cls, body: bytes) -> Script:
        """Return the script that a request's body asks for.

        Raises:
            ValueError: The body has none.
        """
        found = _PATTERN.search(body)
        if found is None:
            raise ValueError("no script in the request")
        return cls(*map(int, found.groups()))


def call_id(n: int) -> str:
    """The id of tool call number `n` of a conversation, from 0."""
    return f"call_{n:06d}"


def answer(n: int) -> str:
    """What the tool answers to call number `n`."""
    return f"row {n}: " + "0.1234 " * 12

"""What every client of the benchmark can do; the programs use nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar

__all__ = ["MODEL", "TOOL_SCHEMA", "Client", "OnText", "Step"]

MODEL = "m"

OnText = Callable[[str], object]
Step = Callable[[int], Awaitable[str]]

TOOL_SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer", "description": "The row's number."}},
    "required": ["n"],
}


class Client:
    """One way to talk to a model, used as its own documentation shows it.

    One object serves a whole process, so that its connections are warm. Every call of `stream`
    and `converse` is a conversation of its own; many may run side by side.
    """

    statement: ClassVar[str] = ""
    """What a program that uses this client imports."""

    seeded: ClassVar[bool] = False
    """Whether the late turns begin on a history written in the client's own types.

    To run a thousand turns takes some peers minutes. The others really run them all.
    """

    def __init__(self, url: str, wire: str) -> None:
        self.url = url
        self.wire = wire

    async def stream(self, prompt: str, on_text: OnText) -> None:
        """Ask once and call `on_text` with the text of each delta, as it arrives."""
        raise NotImplementedError

    def stream_blocking(self, prompt: str, on_text: OnText) -> None:
        """Do the same without a loop; only for clients whose first face is synchronous."""
        raise NotImplementedError

    async def converse(self, prompt: str, step: Step, done: int = 0) -> str:
        """Ask with the tool `step` and run its calls until the model stops; return the last text.

        Replies are streamed. With `done`, the first so many turns of one call each have already
        happened (`seeded` clients only).
        """
        raise NotImplementedError

    async def table(self, prompts: Sequence[str], at_once: int) -> list[str]:
        """Ask every prompt, so many at a time, and return the answers in the same order."""
        answers = [""] * len(prompts)
        numbers = iter(range(len(prompts)))

        async def work() -> None:
            for number in numbers:
                pieces: list[str] = []
                await self.stream(prompts[number], pieces.append)
                answers[number] = "".join(pieces)

        await asyncio.gather(*(work() for _ in range(at_once)))
        return answers

    async def close(self) -> None:
        """Close the connections."""

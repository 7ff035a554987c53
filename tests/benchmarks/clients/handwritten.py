"""The loop that a careful person writes without a library, over any way to post a request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from .base import Client, OnText, Step
from .wires import WIRES

__all__ = ["HandWritten"]


class HandWritten(Client):
    """A client made of `events` alone: what it takes to post a body and parse each event."""

    def __init__(self, url: str, wire: str) -> None:
        super().__init__(url, wire)
        self.format = WIRES[wire]()

    def events(self, body: bytes) -> AsyncIterator[dict[str, Any]]:
        """Post the body and yield the JSON of each event."""
        raise NotImplementedError

    async def stream(self, prompt: str, on_text: OnText) -> None:
        text_of = self.format.text_of
        async for event in self.events(self.format.body([self.format.user(prompt)], False)):
            if text := text_of(event):
                on_text(text)

    async def converse(self, prompt: str, step: Step, done: int = 0) -> str:
        messages = [self.format.user(prompt)]
        while True:
            reply = self.format.reply()
            async for event in self.events(self.format.body(messages, True)):
                reply.feed(event)
            if not reply.calls:
                return reply.text
            messages.append(reply.message())
            calls = reply.calls.values()
            answers = await asyncio.gather(
                *(step(json.loads(call["arguments"])["n"]) for call in calls)
            )
            ids = [call["id"] for call in calls]
            messages += self.format.results(list(zip(ids, answers, strict=True)))

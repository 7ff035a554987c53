"""alloy_nb, on both wires."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

import alloy_nb as al

from .base import MODEL, Client, OnText, Step

__all__ = ["Peer"]


class Peer(Client):
    """The public functions; one answer streams through the synchronous one, as in a cell."""

    # Names are imported when they are first used: the row of the first reply counts those too.
    statement = "import alloy_nb"

    def __init__(self, url: str, wire: str) -> None:
        super().__init__(url, wire)
        provider = {"chat": al.OpenAICompat, "messages": al.Anthropic}[wire]
        self.provider = provider(model=MODEL, base_url=url, api_key="k")

    async def stream(self, prompt: str, on_text: OnText) -> None:
        await al.astream(prompt, on_text, provider=self.provider)

    def stream_blocking(self, prompt: str, on_text: OnText) -> None:
        al.stream(prompt, on_text, provider=self.provider)

    async def converse(self, prompt: str, step: Step, done: int = 0) -> str:
        result = await al.arun(
            prompt, provider=self.provider, tools=[al.tool(step)], max_turns=1_000_000
        )
        return result.text

    async def table(self, prompts: Sequence[str], at_once: int) -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            made = await al.amap(
                prompts, "{value}", provider=self.provider, concurrency=at_once, checkpoint=folder
            )
        return list(made["answer"])

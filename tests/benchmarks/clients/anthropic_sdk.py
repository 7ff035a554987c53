"""The anthropic SDK, on its own wire, with the SDK's tool runner."""

from __future__ import annotations

from anthropic import AsyncAnthropic, beta_async_tool

from .base import MODEL, Client, OnText, Step

__all__ = ["Peer"]


class Peer(Client):
    """`messages.create(stream=True)` and `beta.messages.tool_runner(stream=True)`."""

    statement = "from anthropic import AsyncAnthropic"

    def __init__(self, url: str, wire: str) -> None:
        super().__init__(url, wire)
        self.client = AsyncAnthropic(base_url=url, api_key="k", max_retries=0)

    async def stream(self, prompt: str, on_text: OnText) -> None:
        events = await self.client.messages.create(
            model=MODEL,
            max_tokens=4096,
            messages=[{"role": "user", "content": prompt}],
            stream=True,
        )
        async for event in events:
            if event.type == "content_block_delta" and event.delta.type == "text_delta":
                on_text(event.delta.text)

    async def converse(self, prompt: str, step: Step, done: int = 0) -> str:
        runner = self.client.beta.messages.tool_runner(
            model=MODEL,
            max_tokens=4096,
            messages=[{"role": "user", "content": prompt}],
            tools=[beta_async_tool(step)],
            stream=True,
            thread=False,  # by default the server keeps the history, and only what is new is sent
        )
        parts: list[str] = []
        async for stream in runner:
            parts.clear()
            async for event in stream:
                if event.type == "content_block_delta" and event.delta.type == "text_delta":
                    parts.append(event.delta.text)
        return "".join(parts)

    async def close(self) -> None:
        await self.client.close()

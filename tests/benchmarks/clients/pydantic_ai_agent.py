"""pydantic-ai-slim on the chat wire."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable
from typing import Any

from pydantic_ai import Agent, UsageLimits
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from ..script import REMARK, TOOL_NAME, answer, call_id
from .base import MODEL, Client, OnText, Step

__all__ = ["Peer"]


class Peer(Client):
    """`Agent.run_stream` without its debouncing, and `Agent.run` with streamed requests."""

    statement = (
        "from pydantic_ai import Agent; from pydantic_ai.models.openai import OpenAIChatModel"
    )
    seeded = True

    def __init__(self, url: str, wire: str) -> None:
        super().__init__(url, wire)
        self.provider = OpenAIProvider(base_url=f"{url}/v1", api_key="k")
        self.model = OpenAIChatModel(MODEL, provider=self.provider)
        self.agent = Agent(self.model)

    async def stream(self, prompt: str, on_text: OnText) -> None:
        async with self.agent.run_stream(prompt) as result:
            async for text in result.stream_text(delta=True, debounce_by=None):
                if text:
                    on_text(text)

    async def converse(self, prompt: str, step: Step, done: int = 0) -> str:
        agent = Agent(self.model, tools=[step])
        result = await agent.run(
            prompt if not done else None,
            message_history=_history(prompt, done),
            usage_limits=UsageLimits(request_limit=None),
            event_stream_handler=_drain,  # with a handler, the agent streams its requests
        )
        return result.output

    async def close(self) -> None:
        await self.provider.client.close()


async def _drain(_context: Any, events: AsyncIterable[Any]) -> None:
    async for _ in events:
        pass


def _history(prompt: str, done: int) -> list[ModelMessage] | None:
    """Write the first turns in the agent's own types."""
    if not done:
        return None
    messages: list[ModelMessage] = [ModelRequest(parts=[UserPromptPart(prompt)])]
    for n in range(done):
        call = ToolCallPart(TOOL_NAME, json.dumps({"n": n}), call_id(n))
        messages.append(ModelResponse(parts=[TextPart(REMARK), call], model_name=MODEL))
        returned = ToolReturnPart(TOOL_NAME, answer(n), call_id(n))
        messages.append(ModelRequest(parts=[returned]))
    return messages

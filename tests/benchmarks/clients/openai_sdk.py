"""The openai SDK. It has no tool loop on the chat wire, so the loop is written by hand."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from openai import AsyncOpenAI

from ..script import REMARK, TOOL_DESCRIPTION, TOOL_NAME, answer, call_id
from .base import MODEL, TOOL_SCHEMA, Client, OnText, Step

__all__ = ["Peer"]

_TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": TOOL_NAME,
            "description": TOOL_DESCRIPTION,
            "parameters": TOOL_SCHEMA,
        },
    }
]


class Peer(Client):
    """`chat.completions.create(stream=True)`, which costs less than its `stream()` helper."""

    statement = "from openai import AsyncOpenAI"
    seeded = True

    def __init__(self, url: str, wire: str) -> None:
        super().__init__(url, wire)
        self.client = AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0)

    async def stream(self, prompt: str, on_text: OnText) -> None:
        chunks = await self._create([{"role": "user", "content": prompt}])
        async for chunk in chunks:
            if chunk.choices and (text := chunk.choices[0].delta.content):
                on_text(text)

    async def converse(self, prompt: str, step: Step, done: int = 0) -> str:
        messages = _history(prompt, done)
        while True:
            text, calls = await self._reply(messages)
            if not calls:
                return text
            messages.append({"role": "assistant", "content": text, "tool_calls": calls})
            answers = await asyncio.gather(
                *(step(json.loads(call["function"]["arguments"])["n"]) for call in calls)
            )
            messages += [
                {"role": "tool", "tool_call_id": call["id"], "content": text}
                for call, text in zip(calls, answers, strict=True)
            ]

    async def _reply(self, messages: list[Any]) -> tuple[str, list[dict[str, Any]]]:
        """Stream one reply and gather its text and its calls."""
        parts: list[str] = []
        calls: dict[int, dict[str, Any]] = {}
        async for chunk in await self._create(messages, tools=_TOOLS):
            if not chunk.choices:
                continue
            delta = chunk.choices[0].delta
            if delta.content:
                parts.append(delta.content)
            for part in delta.tool_calls or ():
                if part.index not in calls:
                    calls[part.index] = _call(part.id, "")
                calls[part.index]["function"]["arguments"] += part.function.arguments or ""
        return "".join(parts), list(calls.values())

    async def _create(self, messages: list[Any], **options: Any) -> Any:
        return await self.client.chat.completions.create(
            model=MODEL,
            messages=messages,
            stream=True,
            stream_options={"include_usage": True},
            **options,
        )

    async def close(self) -> None:
        await self.client.close()


def _call(key: str, arguments: str) -> dict[str, Any]:
    return {
        "id": key,
        "type": "function",
        "function": {"name": TOOL_NAME, "arguments": arguments},
    }


def _history(prompt: str, done: int) -> list[Any]:
    """Write the first turns as the loop above would have left them."""
    messages: list[Any] = [{"role": "user", "content": prompt}]
    for n in range(done):
        calls = [_call(call_id(n), json.dumps({"n": n}))]
        messages.append({"role": "assistant", "content": REMARK, "tool_calls": calls})
        messages.append({"role": "tool", "tool_call_id": call_id(n), "content": answer(n)})
    return messages

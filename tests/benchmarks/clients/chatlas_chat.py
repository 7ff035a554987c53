"""chatlas on the chat wire; it runs the calls of a turn one by one."""

from __future__ import annotations

from chatlas import AssistantTurn, Chat, ChatOpenAICompletions, UserTurn
from chatlas.types import ContentText, ContentToolRequest, ContentToolResult

from ..script import REMARK, TOOL_NAME, answer, call_id
from .base import MODEL, Client, OnText, Step

__all__ = ["Peer"]


class Peer(Client):
    """A `Chat` for each conversation, all on one provider and so on one pool."""

    statement = "from chatlas import ChatOpenAICompletions"
    seeded = True

    def __init__(self, url: str, wire: str) -> None:
        super().__init__(url, wire)
        chat = ChatOpenAICompletions(base_url=f"{url}/v1", model=MODEL, api_key="k")
        self.provider = chat.provider

    async def stream(self, prompt: str, on_text: OnText) -> None:
        chat = Chat(self.provider)
        async for text in await chat.stream_async(prompt, echo="none"):
            if text:
                on_text(text)

    async def converse(self, prompt: str, step: Step, done: int = 0) -> str:
        chat = Chat(self.provider)
        chat.register_tool(step)
        if done:
            _seed(chat, prompt, done)
        async for _ in await chat.stream_async(prompt, echo="none"):
            pass
        turn = chat.get_last_turn(role="assistant")
        return turn.text if turn is not None else ""

    async def close(self) -> None:
        await self.provider.close_async()


def _seed(chat: Chat, prompt: str, done: int) -> None:
    """Write the first turns into the chat, in its own types, up to a remark of the model."""
    said: str | ContentToolResult = prompt
    turns: list[UserTurn | AssistantTurn] = []
    for n in range(done):
        request = ContentToolRequest(id=call_id(n), name=TOOL_NAME, arguments={"n": n})
        turns.append(UserTurn([said]))
        turns.append(AssistantTurn([ContentText(text=REMARK), request]))
        said = ContentToolResult(value=answer(n), request=request)
    chat.set_turns([*turns, UserTurn([said]), AssistantTurn([ContentText(text=REMARK)])])

"""Interrupts at random points, in every streaming wire: the next request is one that is taken.

A run is stopped after a random number of its events, or a moment later: while it connects, within
a reply, between its calls, within a tool. Then its history is judged as the next request to the
same vendor and to another one. `ALLOY_TEST_FULL=1` takes 1,000 points a wire and 500 within tools.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import Callable
from typing import Any

import pytest

import alloy_nb as al
from alloy_nb.engine.agent import Agent
from alloy_nb.events import ToolStarted
from alloy_nb.messages import user
from alloy_nb.providers.http import close_clients
from tests.engine.test_cancel import answered_once
from tests.providers.test_handoff_pairs import judged
from tests.providers.wires import WIRES
from tests.servers.sse import Answer, Pause, Server, stream
from tests.servers.wire import Call, Reply, Say, Think

pytestmark = pytest.mark.slow

FULL = os.environ.get("ALLOY_TEST_FULL") == "1"
POINTS = 1_000 if FULL else 60
POINTS_IN_TOOLS = 500 if FULL else 30
# Our wires -> the names under which the oracles judge what a vendor would get.
RECEIVERS = {"anthropic": "anthropic", "chat": "chat", "responses": "openai", "gemini": "gemini-2"}
CALLS = [Call("slowly", {"n": n}) for n in (0, 1, 3)]
# A pause is one that the server takes: an interrupt falls into the wait for bytes as well.
PAUSES = (0.0, 0.0, 0.0005, 0.002)


@al.tool
async def slowly(n: int) -> str:
    """Take a moment, as an async function."""
    await asyncio.sleep(0.002 * n)
    return f"done {n}"


class Talk:
    """A server that asks for tools once and then says that all is done."""

    def __init__(self, wire: str, chance: random.Random) -> None:
        self.said = WIRES[wire].said
        self.chance = chance
        self.replies = 0

    def __call__(self, request: Any) -> Answer:
        self.replies += 1
        if any(f"done {n}" in request.body.decode() for n in (0, 1, 3)):
            reply = Reply([Say("All done. 😀")], id=f"reply_{self.replies}")
        else:
            calls = [Call(c.name, c.input, id=f"call_{self.replies}_{c.input['n']}") for c in CALLS]
            said = [Think("Hmm.", "c2lnbmF0dXJl"), Say("Let me see 😀."), *calls]
            reply = Reply(said, id=f"reply_{self.replies}")
        pause = self.chance.choice(PAUSES)
        return stream([piece for event in self.said(reply) for piece in (event, Pause(pause))])


async def interrupted(agent: Agent, stop: Callable[[al.Run], Any]) -> al.Result:
    """Run until `stop` returns, and interrupt there."""
    history = [user("before"), al.messages.assistant("yes")]
    async with agent.start("go", messages=history) as run:
        await stop(run)
        run.cancel()
        return await run.result()


def judge(wire: str, result: al.Result, chance: random.Random) -> None:
    """Let the oracles look at what the vendor, and another one, would be sent next."""
    assert result.status in ("cancelled", "completed"), result.error
    answered_once(result.messages)
    for receiver in {RECEIVERS[wire], chance.choice(list(RECEIVERS.values()))}:
        judged(receiver, [*result.messages, user("go on")])


def interrupt_often(wire: str, points: int, stop: Callable[..., Any]) -> int:
    """Interrupt so many runs and return how many had not ended by themselves."""
    chance = random.Random(f"{wire}{points}")

    async def go(url: str) -> int:
        agent = Agent(WIRES[wire].make(url, api_key="k", timeout=20), tools=(slowly,))
        cancelled = 0
        for _ in range(points):
            result = await interrupted(agent, lambda run: stop(run, chance))
            cancelled += result.status == "cancelled"
            judge(wire, result, chance)
        await close_clients()
        return cancelled

    with Server(otherwise=Talk(wire, chance)) as server:
        return asyncio.run(go(server.url))


async def anywhere(run: al.Run, chance: random.Random) -> None:
    events = aiter(run)
    with contextlib.suppress(StopAsyncIteration):
        for _ in range(chance.choice([0, chance.randint(0, 40), chance.randint(0, 12)])):
            await anext(events)
    await asyncio.sleep(chance.choice([0, 0, 0.001, 0.004]))


async def in_a_tool(run: al.Run, chance: random.Random) -> None:
    left = chance.randint(1, len(CALLS))
    async for event in run:
        left -= isinstance(event.body, ToolStarted)
        if left == 0:
            break
    await asyncio.sleep(chance.choice([0, 0, 0.0005, 0.002]))


@pytest.mark.parametrize("wire", RECEIVERS)
def test_an_interrupt_anywhere_leaves_a_history_that_is_taken(wire):
    assert interrupt_often(wire, POINTS, anywhere) > POINTS / 2


@pytest.mark.parametrize("wire", RECEIVERS)
def test_an_interrupt_within_a_tool_leaves_every_call_answered_once(wire):
    assert interrupt_often(wire, POINTS_IN_TOOLS, in_a_tool) > POINTS_IN_TOOLS / 2

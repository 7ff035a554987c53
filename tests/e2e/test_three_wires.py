"""Agent loops live on the real model server, over the three wires that it speaks.

``ALLOY_TEST_LOOPS`` says how many loops, over all three; in full, 200.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import httpx
import pytest

import alloy_nb as al
from alloy_nb.engine.agent import Agent
from alloy_nb.events import TextDelta, ThinkingDelta, ToolInputDelta
from tests.oracles.invariants import check_anthropic, check_chat
from tests.oracles.strict import validate_anthropic, validate_chat, validate_responses
from tests.providers.responses_streams import check_items

WIRES = {"anthropic": al.Anthropic, "chat": al.OpenAICompat, "responses": al.OpenAI}
LOOPS = int(os.environ.get("ALLOY_TEST_LOOPS", "24"))
AT_ONCE = 4  # the server's slots


@al.tool
def bash(command: str) -> str:
    """Run a command."""
    return f"ran {command!r}"


@al.tool
async def lookup(city: str, days: int = 1) -> dict[str, Any]:
    """Look up the weather of a city."""
    return {"city": city, "days": days}


class Recorder:
    """Keeps the path and the body of every request of a client."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []

    async def __call__(self, request: httpx.Request) -> None:
        self.sent.append((request.url.path, json.loads(request.content)))

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(event_hooks={"request": [self]}, trust_env=False)

    def judge(self) -> None:
        """Let the oracles of its wire look at every request."""
        for path, body in self.sent:
            match path.rpartition("/")[2]:
                case "messages":
                    validate_anthropic(body)
                    check_anthropic(body)
                case "completions":
                    validate_chat(body)
                    check_chat(body)
                case "responses":
                    validate_responses(body)
                    check_items(body)
                case _:
                    raise AssertionError(path)


def model_of(wire: str, url: str, client: Any) -> Any:
    return WIRES[wire]("babble", base_url=url, http_client=client)


@pytest.mark.parametrize("wire", WIRES)
def test_loops_with_tools_complete_and_every_request_is_one_that_the_vendor_takes(wire, real_model):
    count = len(range(list(WIRES).index(wire), LOOPS, len(WIRES)))
    recorder = Recorder()
    room = asyncio.Semaphore(AT_ONCE)

    async def loop(agent: Agent, number: int) -> tuple[al.Result, list[Any]]:
        async with room, agent.start(f"What is here? ({number})") as run:
            return await run.result(), run.events

    async def go() -> list[tuple[al.Result, list[Any]]]:
        async with recorder.client() as client:
            agent = Agent(
                model_of(wire, real_model, client),
                tools=(bash, lookup),
                system_prompt="Be brief.",
                options=al.ModelOptions(max_output_tokens=800),
            )
            return await asyncio.gather(*(loop(agent, number) for number in range(count)))

    outcomes = asyncio.run(go())
    assert len(outcomes) == count
    for result, events in outcomes:
        assert result.status == "completed", result.error
        assert result.turns >= 2
        assert result.tool_calls
        assert all(record.id for record in result.tool_calls)
        assert result.usage.unreported == 0
        assert min(result.usage.input_tokens, result.usage.output_tokens) > 0
        assert any(isinstance(e.body, ToolInputDelta) for e in events)
        for kind, whole in ((TextDelta, result.text), (ThinkingDelta, result.thinking)):
            streamed = "".join(e.body.text for e in events if isinstance(e.body, kind))
            assert streamed.endswith(whole)
            assert "\ufffd" not in streamed
    recorder.judge()


@pytest.mark.parametrize("order", [tuple(WIRES), tuple(reversed(WIRES))], ids="-".join)
def test_a_conversation_that_goes_through_all_wires_stays_valid(order, real_model):
    recorder = Recorder()

    async def go() -> list[al.Result]:
        async with recorder.client() as client:
            models = [model_of(wire, real_model, client) for wire in order]
            session = al.Session(
                provider=models[0], tools=[bash, lookup], max_output_tokens=800, store=None
            )
            results = []
            for number in range(2 * len(models)):
                session.set_model(models[number % len(models)])
                async with session.start(f"and now? ({number})") as run:
                    results.append(await run.result())
            return results

    results = asyncio.run(go())
    assert [result.error for result in results] == [None] * len(results)
    spoken = [m.origin.provider for m in results[-1].messages if m.origin]
    assert set(spoken) == {"anthropic", "openai-compat", "openai"}
    assert {path.rpartition("/")[2] for path, _ in recorder.sent} == {
        "messages",
        "completions",
        "responses",
    }
    recorder.judge()

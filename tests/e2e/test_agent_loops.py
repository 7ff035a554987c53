"""Whole agent loops against a real inference server, in each wire it speaks.

The server's model is a toy of our own: it calls a tool whenever tools are offered and the last
message is no result of one. The wire, the grammar and the tokens around it are real.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

import alloy_nb as al
from alloy_nb.engine.agent import Agent
from alloy_nb.errors import ContextOverflow
from alloy_nb.events import (
    RetryScheduled,
    TextDelta,
    ThinkingDelta,
    ToolFinished,
    ToolInputDelta,
)
from alloy_nb.messages import StopReason
from tests.oracles.invariants import check_anthropic, check_chat
from tests.oracles.strict import validate_anthropic, validate_chat

LOOPS = 50
AT_ONCE = 4
wires = pytest.mark.parametrize("wire", ["anthropic", "chat"])


@al.tool
def bash(command: str) -> str:
    """Run a command."""
    return f"ran {command!r}"


@al.tool
async def lookup(city: str, days: int = 1) -> dict[str, Any]:
    """Look up the weather of a city."""
    return {"city": city, "days": days}


def model_of(wire: str, url: str, client: Any = None) -> Any:
    make = al.Anthropic if wire == "anthropic" else al.OpenAICompat
    return make("babble", base_url=url, http_client=client)


def judge(wire: str, sent: dict[str, Any]) -> None:
    if wire == "anthropic":
        validate_anthropic(sent)
        check_anthropic(sent)
    else:
        validate_chat(sent)
        check_chat(sent)


class Recorder:
    """Keeps the body of every request of a client."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []

    async def __call__(self, request: httpx.Request) -> None:
        self.bodies.append(json.loads(request.content))

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(event_hooks={"request": [self]}, trust_env=False)


async def at_most(count: int, works: list[Any]) -> list[Any]:
    room = asyncio.Semaphore(count)

    async def one(work: Any) -> Any:
        async with room:
            return await work

    return await asyncio.gather(*map(one, works))


async def loop_of(agent: Agent, prompt: str) -> tuple[al.Result, list[Any]]:
    async with agent.start(prompt) as run:
        return await run.result(), run.events


@wires
def test_fifty_loops_with_tools_complete_and_every_request_is_one_that_the_vendor_takes(
    wire, real_model
):
    recorder = Recorder()

    async def go() -> list[Any]:
        async with recorder.client() as client:
            agent = Agent(
                model_of(wire, real_model, client),
                tools=(bash, lookup),
                system_prompt="Be brief.",
                options=al.ModelOptions(max_output_tokens=800),
            )
            return await at_most(
                AT_ONCE, [loop_of(agent, f"What is here? ({n})") for n in range(LOOPS)]
            )

    outcomes = asyncio.run(go())
    for result, events in outcomes:
        assert result.status == "completed", result.error
        assert len(result.tool_calls) >= 1
        assert result.turns >= 2
        assert result.usage.input_tokens > 0
        assert result.usage.output_tokens > 0
        assert result.usage.unreported == 0
        finished = [e.body for e in events if isinstance(e.body, ToolFinished)]
        assert [f.call.id for f in finished].count("") == 0
        assert sorted(f.call.id for f in finished) == sorted(r.id for r in result.tool_calls)
        assert any(isinstance(e.body, ToolInputDelta) for e in events)
        streamed = "".join(e.body.text for e in events if isinstance(e.body, TextDelta))
        assert streamed.endswith(result.text)
        result.text.encode()
    # The server ends idle connections when it likes; a request that met such an end is sent again.
    again = sum(isinstance(e.body, RetryScheduled) for _, events in outcomes for e in events)
    assert len(recorder.bodies) == sum(result.turns for result, _ in outcomes) + again
    for sent in recorder.bodies:
        judge(wire, sent)


@wires
def test_a_conversation_that_changes_its_wire_goes_on(wire, real_model):
    other = "chat" if wire == "anthropic" else "anthropic"
    recorder = Recorder()

    async def go() -> list[al.Result]:
        async with recorder.client() as client:
            one, two = (model_of(w, real_model, client) for w in (wire, other))
            session = al.Session(provider=one, tools=[bash], max_output_tokens=600)
            results = []
            for number in range(6):
                async with session.start(f"and now? ({number})") as run:
                    results.append(await run.result())
                session.set_model((two, one)[number % 2])
            return results

    results = asyncio.run(go())
    assert all(result.status in ("completed", "error") for result in results)
    assert all("limit of output" in (r.error or "") for r in results if r.status == "error")
    for sent in recorder.bodies:
        judge(
            "anthropic" if "max_tokens" in sent and "stream_options" not in sent else "chat", sent
        )


@wires
def test_a_run_that_is_stopped_goes_on_with_the_next_turn(wire, real_model):
    async def go() -> tuple[al.Result, al.Result]:
        session = al.Session(provider=model_of(wire, real_model), max_output_tokens=300)
        for _ in range(30):  # the toy may say a word or two and be done
            async with session.start("tell me a long story") as run:
                async for event in run:
                    if isinstance(event.body, (TextDelta, ThinkingDelta)):
                        run.cancel()
                first = await run.result()
            if first.status == "cancelled":
                break
        async with session.start("go on") as run:
            return first, await run.result()

    stopped, after = asyncio.run(go())
    assert stopped.status == "cancelled"
    assert stopped.text or stopped.thinking
    assert after.status == "completed"


@wires
def test_an_answer_that_reaches_its_limit_says_so(wire, real_model):
    results = [
        al.run("go", provider=model_of(wire, real_model), max_output_tokens=2) for _ in range(3)
    ]
    assert any(result.stop_reason is StopReason.MAX_TOKENS for result in results)
    assert all(result.usage.output_tokens <= 2 for result in results)


@wires
def test_a_prompt_that_is_too_long_is_named_so(wire, real_model):
    result = al.run("word " * 40_000, provider=model_of(wire, real_model))
    assert isinstance(result.exception, ContextOverflow), result.error


@wires
def test_the_blocking_and_the_streamed_call_work_the_same(wire, real_model):
    said: list[str] = []
    result = al.stream(
        "hi", said.append, provider=model_of(wire, real_model), max_output_tokens=200
    )
    assert result.status == "completed"
    assert "".join(said) == result.text

"""However and whenever a run is stopped, the next request is one that the vendor takes."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

import alloy_nb as al
from alloy_nb.engine.agent import Agent
from alloy_nb.events import TextDelta, ToolFinished
from alloy_nb.messages import ToolCall, ToolResult, user
from tests.engine.scripted import HANG, Scripted, calls, of_run, says
from tests.engine.test_loop import add
from tests.providers.test_handoff_pairs import judged
from tests.quickest import quickest
from tests.servers.sse import STALL, Server, stream
from tests.servers.wire import Call, Reply, Say, Think, anthropic_events, chat_events


def answered_once(history: list[al.Message]) -> None:
    """Each call in the history itself has exactly one result, in the next message."""
    for number, message in enumerate(history):
        wanted = [b.id for b in message.content if isinstance(b, ToolCall) and not b.server]
        if wanted:
            results = [b for b in history[number + 1].content if isinstance(b, ToolResult)]
            assert [r.call_id for r in results] == wanted


ran: list[int] = []


@al.tool
async def slowly(n: int) -> str:
    """Take a moment."""
    ran.append(n)
    await asyncio.sleep(0.002 * n)
    return f"done {n}"


TURN = [Think("Hmm."), Say("Let me see 😀."), Call("slowly", {"n": 1}), Call("slowly", {"n": 2})]


def model_of(wire: str, url: str) -> Any:
    make = al.Anthropic if wire == "anthropic" else al.OpenAICompat
    return make("scripted-1", base_url=url)


@pytest.mark.parametrize("wire", ["anthropic", "chat"])
def test_a_run_stopped_at_every_step_leaves_a_history_that_goes_on(wire):
    # The scripted provider gives way before each event, so that every place between is reached.
    statuses = []
    for steps in range(60):
        model = Scripted(
            calls(
                ("slowly", {"n": 0}, "a"), ("slowly", {"n": 1}, "b"), ("nope", {}, "c"), text="so"
            ),
            says("all ", "done"),
            steps=True,
        )

        async def go(model: Any = model, steps: int = steps) -> al.Result:
            async with Agent(model, tools=(slowly,)).start("go") as run:
                for _ in range(steps):
                    await asyncio.sleep(0)
                run.cancel()
                return await run.result()

        result = asyncio.run(go())
        judged(wire, [*result.messages, user("go on")])
        answered_once(result.messages)
        assert model.closed == len(model.requests)
        statuses.append(result.status)
    assert statuses.count("cancelled") > 20


def test_a_stopped_reply_keeps_its_text_and_marks_it():
    async def go() -> al.Result:
        async with Agent(Scripted([*says("par", "tial")[:4], HANG])).start("?") as run:
            async for event in run:
                if isinstance(event.body, TextDelta) and event.body.text == "tial":
                    run.cancel()
            return await run.result()

    result = asyncio.run(go())
    assert (result.status, result.text, result.ok) == ("cancelled", "partial", False)
    assert result.messages[-1].stop == "interrupted"


hung: list[str] = []


def stopped_in_tools(*tools: al.Tool, wanted: Any, ended: int, hanging: int) -> al.Result:
    """Stop a run as soon as so many of its calls have ended and so many hang."""
    hung.clear()

    async def go() -> al.Result:
        agent = Agent(Scripted(calls(*wanted), says("never")), tools=tools)
        async with agent.start("?") as run:
            while (len(of_run(ToolFinished, run.events)), len(hung)) != (ended, hanging):
                await asyncio.sleep(0.002)
            run.cancel()
            return await run.result()

    return asyncio.run(go())


@al.tool
async def hang() -> str:
    """Wait for ever."""
    hung.append("beside others")
    await asyncio.Event().wait()
    return ""


@al.tool(concurrent=False)
async def hang_alone() -> str:
    """Wait for ever, alone."""
    hung.append("alone")
    await asyncio.Event().wait()
    return ""


def test_a_call_that_ran_when_it_was_stopped_says_that_it_may_have_had_effects():
    wanted = [("add", {"a": 1, "b": 2}), ("hang", {}), ("hang", {})]
    result = stopped_in_tools(add, hang, wanted=wanted, ended=1, hanging=2)
    first, *others = result.messages[-1].content
    assert (first.text, first.is_error) == ("3", False)
    assert all(o.is_error and "may have had effects" in o.text for o in others)
    assert [r.error is None for r in result.tool_calls] == [True, False, False]


def test_a_call_that_had_not_begun_says_that_it_did_not_run():
    wanted = [("add", {"a": 1, "b": 2}), ("hang_alone", {})]
    result = stopped_in_tools(add, hang_alone, wanted=wanted, ended=0, hanging=1)
    waiting, running = result.messages[-1].content
    assert "did not run" in waiting.text
    assert "may have had effects" in running.text


def test_a_run_stopped_while_a_person_is_asked_ran_nothing():
    began = asyncio.Event()

    async def ask(call: Any, tool: Any) -> al.Decision:
        began.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def go() -> al.Result:
        model = Scripted(calls(("add", {"a": 1, "b": 2}), ("add", {"a": 1, "b": 3})), says("never"))
        async with Agent(model, tools=(add,), approve=ask).start("?") as run:
            await began.wait()
            run.cancel()
            return await run.result()

    result = asyncio.run(go())
    assert all("did not run" in r.text for r in result.messages[-1].content)


@pytest.mark.parametrize("wire", ["anthropic", "chat"])
def test_a_stopped_run_closes_its_connection_at_once(wire):
    reply = Reply([Say("Hello there")])
    events = anthropic_events(reply) if wire == "anthropic" else chat_events(reply)

    async def go(server: Server) -> float:
        async with Agent(model_of(wire, server.url)).start("?") as run:
            async for event in run:
                if isinstance(event.body, TextDelta):
                    left = time.monotonic()
                    run.cancel()
            return await asyncio.to_thread(server.requests[-1].wait_closed) - left

    with Server(otherwise=stream([*events[:4], STALL])) as server:
        assert quickest(lambda: asyncio.run(go(server)), 0.25) < 0.25


@pytest.mark.parametrize("wire", ["anthropic", "chat"])
def test_a_middleware_that_halts_closes_the_connection_at_once(wire):
    from tests.engine.test_loop import HaltIn

    reply = Reply([Say("Hello there")])
    events = anthropic_events(reply) if wire == "anthropic" else chat_events(reply)

    def halted(server: Server) -> float:
        result = al.run("?", provider=model_of(wire, server.url), middleware=[HaltIn("within")])
        left = time.monotonic()
        assert result.status == "halted"
        return server.requests[-1].wait_closed() - left

    with Server(otherwise=stream([*events[:5], STALL])) as server:
        assert quickest(lambda: halted(server), 0.25) < 0.25


def test_stopping_twice_is_stopping_once():
    async def go() -> al.Result:
        async with Agent(Scripted([HANG])).start("?") as run:
            await asyncio.sleep(0.01)
            run.cancel()
            run.cancel()
            return await run.result()

    assert asyncio.run(go()).status == "cancelled"


def test_a_countdown_ends_at_once_when_the_run_is_stopped():
    from alloy_nb.errors import RateLimited
    from alloy_nb.events import RetryScheduled

    async def go() -> float:
        model = Scripted(RateLimited("wait", retry_after=50.0), says("a"))
        async with Agent(model).start("?") as run:
            async for event in run:
                if isinstance(event.body, RetryScheduled):
                    began = time.monotonic()
                    run.cancel()
            assert (await run.result()).status == "cancelled"
            return time.monotonic() - began

    assert asyncio.run(go()) < 10  # of fifty

"""An agent as a tool: seen in the run that asks, counted there, held to its limits, ended by it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

import alloy_nb as al
from alloy_nb.engine.agent import Agent
from alloy_nb.engine.budget import Budget, joined
from alloy_nb.engine.delegation import MAX_DEPTH, as_tool
from alloy_nb.errors import ConfigError, ServerFault
from alloy_nb.events import Delegated, RunFinished, RunStarted, TextDelta, ToolFinished
from alloy_nb.messages import ToolResult
from alloy_nb.providers import catalog
from alloy_nb.usage import Cost
from tests.engine.scripted import HANG, Scripted, calls, of_run, says
from tests.engine.test_session_requests import WAIT, echo, until

CENT_A_TOKEN = catalog.ModelPrice(input=Decimal(0), output=Decimal(10_000))


@pytest.fixture
def prices() -> Iterator[None]:
    """Let a token of output of the scripted models cost a cent."""
    before = dict(catalog._prices)
    catalog.override("scripted/scripted-1", price=CENT_A_TOKEN)
    yield
    catalog._prices.clear()
    catalog._prices.update(before)


def worker(*script: Any, name: str = "worker", **settings: Any) -> Agent:
    model = Scripted(*script, otherwise=None if script else echo)
    return Agent(model, name=name, **settings)


def asking(*tasks: str, tool: str = "ask_worker") -> Scripted:
    """Return a model that asks with these tasks at once, and then says what it was told."""
    return Scripted(
        calls(*((tool, {"task": task}, f"c{n}") for n, task in enumerate(tasks))), otherwise=told
    )


def told(request: Any) -> list[Any]:
    results = [b for b in request.messages[-1].content if isinstance(b, ToolResult)]
    return says(" | ".join(result.text for result in results) or "nothing")


# --- asked and answered ----------------------------------------------------------------------


def test_an_agent_is_asked_by_calling_it_and_its_answer_is_the_result():
    result = al.run("go", provider=asking("sum it"), tools=[worker().as_tool()])
    assert result.text == "re sum it"
    assert result.tool_calls[0].name == "ask_worker"
    assert result.tool_calls[0].data["status"] == "completed"


def test_the_tool_has_the_name_and_description_that_it_is_given():
    tool = as_tool(worker(name="a b/c"), description="Knows things.")
    assert (tool.name, tool.description) == ("ask_a_b_c", "Knows things.")
    assert tool.input_schema["required"] == ["task"]
    assert as_tool(worker(), name="expert").name == "expert"
    with pytest.raises(ConfigError, match="cannot be a tool's name"):
        as_tool(worker(), name="an expert")


def test_an_agent_begins_anew_with_each_call_and_a_session_goes_on():
    agent = worker()
    al.run("go", provider=asking("a", "b"), tools=[as_tool(agent)])
    assert sorted(len(r.messages) for r in agent.provider.requests) == [1, 1]
    model = Scripted(otherwise=echo)
    session = al.Session(provider=model, name="worker")
    al.run("go", provider=asking("a", "b"), tools=[session.as_tool()])
    assert sorted(len(r.messages) for r in model.requests) == [1, 3]


def test_two_agents_are_asked_side_by_side():
    both = threading.Barrier(2, timeout=WAIT)

    @al.tool
    def meet() -> str:
        """Meet."""
        both.wait()
        return "met"

    def one(name: str) -> Any:
        return as_tool(worker(calls(("meet", {})), says(name), name=name, tools=(meet,)))

    model = Scripted(calls(("ask_a", {"task": "x"}), ("ask_b", {"task": "x"})), otherwise=told)
    assert al.run("go", provider=model, tools=[one("a"), one("b")]).text == "a | b"


def test_a_failure_of_the_agent_is_an_error_result_and_the_run_goes_on():
    tool = as_tool(worker(ServerFault("it is down"), retry=_no_retry()))
    result = al.run("go", provider=asking("x"), tools=[tool])
    assert result.ok
    assert "worker did not finish: it is down" in result.text
    assert result.tool_calls[0].error is not None


def test_what_a_cut_agent_had_said_is_told():
    tool = as_tool(worker([*says("half")[:3], ServerFault("gone")], retry=_no_retry()))
    text = al.run("go", provider=asking("x"), tools=[tool]).text
    assert "What it had said:\nhalf" in text


def test_a_session_that_is_stopped_is_an_error_that_the_model_can_read():
    session = al.Session(provider=Scripted(otherwise=echo), name="worker")
    tool = as_tool(session)
    session.stop()
    result = al.run("go", provider=asking("x"), tools=[tool])
    assert "worker was not asked" in result.text
    assert "is stopped" in result.text


def test_to_ask_who_runs_things_unasked_is_to_run_things():
    @al.tool(risk="run")
    def act() -> str:
        """Act."""
        return "acted"

    assert as_tool(worker(tools=(act,))).risk == "run"
    assert as_tool(worker(tools=(act,), approve="read")).risk == "read"
    assert as_tool(worker()).risk == "read"


def _no_retry() -> Any:
    from alloy_nb.engine.retry import RetryPolicy

    return RetryPolicy(max_retries=0)


# --- seen ------------------------------------------------------------------------------------


def test_its_events_are_events_of_the_run_that_asks_and_name_it_and_the_call():
    events: list[Any] = []
    result = al.stream(
        "go",
        None,  # type: ignore[arg-type]
        provider=asking("x"),
        tools=[as_tool(worker(says("a", "b")))],
        on_event=events.append,
    )
    inner = of_run(Delegated, events)
    assert {(d.agent, d.call_id) for d in inner} == {("worker", result.tool_calls[0].id)}
    bodies = [d.event.body for d in inner]
    assert isinstance(bodies[0], RunStarted)
    assert isinstance(bodies[-1], RunFinished)
    assert [b.text for b in bodies if isinstance(b, TextDelta)] == ["a", "b"]
    assert [d.event.agent for d in inner] == ["worker"] * len(inner)
    # They came between the call and its end, and keep an order of their own.
    assert [d.event.seq for d in inner] == list(range(1, len(inner) + 1))
    kinds = [type(event.body) for event in events]
    assert kinds.index(Delegated) < kinds.index(ToolFinished)


def test_events_of_an_agent_s_agent_are_nested():
    deep = as_tool(worker(says("deep"), name="deep"))
    middle = as_tool(worker(calls(("ask_deep", {"task": "y"})), says("mid"), tools=(deep,)))
    events: list[Any] = []
    session = al.Session(provider=asking("x"), tools=[middle])
    session.stream_chat("go", on_event=events.append)
    paths = {(d.agent, d.event.body.agent) for d in of_run(Delegated, events) if _is_nested(d)}
    assert paths == {("worker", "deep")}


def _is_nested(delegated: Delegated) -> bool:
    return isinstance(delegated.event.body, Delegated)


# --- counted ---------------------------------------------------------------------------------


def test_what_it_used_and_cost_is_part_of_the_run_s_result_and_told_by_agent(prices):
    deep = as_tool(worker(says("deep"), name="deep"))
    middle = as_tool(worker(calls(("ask_deep", {"task": "y"})), says("mid"), tools=(deep,)))
    result = al.run("go", provider=asking("x"), tools=[middle], name="lead")
    by_agent = result.metadata["agents"]
    assert {name: share.runs for name, share in by_agent.items()} == {
        "lead": 1,
        "worker": 1,
        "deep": 1,
    }
    # Two replies of the lead, two of the worker, one of the deep one, 15 tokens and 5 cents each.
    assert {name: share.usage.total_tokens for name, share in by_agent.items()} == {
        "lead": 30,
        "worker": 30,
        "deep": 15,
    }
    assert result.usage.total_tokens == 75
    assert result.cost.usd == Decimal("0.25")
    assert sum((share.cost for share in by_agent.values()), Cost()) == result.cost


def test_the_event_of_the_end_says_the_same_as_the_result(prices):
    events: list[Any] = []
    session = al.Session(provider=asking("x"), tools=[as_tool(worker())])
    result = session.stream_chat("go", on_event=events.append)
    (finished,) = of_run(RunFinished, events)
    assert (finished.usage, finished.cost) == (result.usage, result.cost)
    assert session.cost == result.cost


def test_a_run_without_delegates_says_nothing_of_agents():
    assert "agents" not in al.run("go", provider=Scripted(says("a"))).metadata


def test_a_run_that_a_tool_begins_by_itself_counts_too(prices):
    @al.tool
    def look() -> str:
        """Look."""
        return al.run("inner", provider=Scripted(says("seen")), name="inner").text

    result = al.run("go", provider=Scripted(calls(("look", {})), says("ok")), tools=[look])
    assert result.cost.usd == Decimal("0.15")
    assert result.metadata["agents"]["inner"].cost.usd == Decimal("0.05")


def test_runs_that_have_nothing_to_do_with_each_other_do_not_mix(prices):
    async def go() -> list[al.Result]:
        tool = as_tool(worker())
        return await asyncio.gather(
            *(al.arun("go", provider=asking("x"), tools=[tool], name=f"n{n}") for n in range(10))
        )

    results = asyncio.run(go())
    assert [r.usage.total_tokens for r in results] == [45] * 10
    assert [set(r.metadata["agents"]) for r in results] == [{f"n{n}", "worker"} for n in range(10)]


def test_what_a_cancelled_delegate_used_is_counted(prices):
    busy = worker(calls(("none", {})), [HANG])
    session = al.Session(provider=asking("x"), tools=[as_tool(busy)])
    session.send_message("go", "r")
    until(lambda: len(busy.provider.requests) == 2)
    session.cancel_request("r")
    result = session.response("r").result(WAIT)
    assert result.usage.total_tokens >= 30


# --- held to the limits ----------------------------------------------------------------------


def test_an_agent_spends_from_the_budget_of_the_run_that_asks(prices):
    # The lead's two replies and the worker's cost 5 cents each; 40 are reserved for each.
    options = {"max_output_tokens": 5}
    greedy = Agent(Scripted(otherwise=echo), name="worker").with_settings(max_output_tokens=5)
    enough = al.run("go", provider=asking("x"), tools=[as_tool(greedy)], max_cost="0.15", **options)
    assert (enough.status, enough.cost.usd) == ("completed", Decimal("0.15"))
    scarce = al.run("go", provider=asking("x"), tools=[as_tool(greedy)], max_cost="0.09", **options)
    assert "worker did not finish" in _results(scarce)
    assert scarce.cost.usd == Decimal("0.05")


def test_an_agent_s_own_limit_holds_besides(prices):
    poor = Agent(Scripted(otherwise=echo), name="worker").with_settings(
        max_output_tokens=5, max_cost="0.01"
    )
    result = al.run(
        "go", provider=asking("x"), tools=[as_tool(poor)], max_cost=10, max_output_tokens=5
    )
    assert "worker did not finish" in result.text
    assert result.cost.usd == Decimal("0.10")


def _results(result: al.Result) -> str:
    return " ".join(
        block.text
        for message in result.messages
        for block in message.content
        if isinstance(block, ToolResult)
    )


def test_a_joined_budget_counts_what_two_have_in_common_once():
    whole = Budget(10)
    one, other = Budget(4, within=whole), Budget(6, within=whole)
    both = joined(one, other)
    assert both is not None
    both.reserve(Decimal(3))
    assert [b.left for b in (one, other, whole)] == [1, 3, 7]
    assert (both.left, both.limit) == (1, 4)
    both.settle(Decimal(3), Cost(known=Decimal(2)))
    assert [b.spent for b in (one, other, whole)] == [2, 2, 2]


def test_a_joined_budget_that_lacks_room_in_one_holds_nothing_in_the_others():
    one, other = Budget(4), Budget(1)
    both = joined(one, other)
    assert both is not None
    with pytest.raises(al.errors.BudgetExceeded):
        both.reserve(Decimal(2))
    assert (one.left, other.left) == (4, 1)


def test_joining_with_a_part_of_itself_or_with_nothing_is_the_budget_itself():
    whole = Budget(10)
    part = Budget(4, within=whole)
    assert joined(part, whole) is part
    assert joined(whole, part) is part
    assert joined(None, part) is part
    assert joined(None, None) is None


def test_agents_that_ask_each_other_end_at_a_depth_with_a_clear_error():
    tools: list[Any] = []
    asks = Scripted(otherwise=lambda r: _ask_once(r))
    agent = Agent(asks, name="worker")
    tools.append(as_tool(agent))
    object.__setattr__(agent, "tools", tuple(tools))
    result = al.run("go", provider=asking("x"), tools=tools)
    assert f"agents may ask each other {MAX_DEPTH} deep" in result.text
    assert len(asks.requests) == 2 * MAX_DEPTH


def _ask_once(request: Any) -> list[Any]:
    if any(isinstance(b, ToolResult) for b in request.messages[-1].content):
        return told(request)
    return calls(("ask_worker", {"task": "deeper"}))


def test_stopping_the_run_stops_whom_it_asks():
    slow = worker([*says("begun")[:3], HANG])
    deep = worker(calls(("ask_worker", {"task": "y"})), name="middle", tools=(as_tool(slow),))
    session = al.Session(provider=asking("x", tool="ask_middle"), tools=[as_tool(deep)])
    session.send_message("go", "r")
    until(lambda: bool(slow.provider.requests))
    session.cancel_request("r")
    assert session.response("r").result(WAIT).status == "cancelled"
    assert slow.provider.closed == 1


def test_an_agent_that_takes_too_long_is_stopped_and_the_run_goes_on():
    slow = worker([HANG])
    result = al.run("go", provider=asking("x"), tools=[as_tool(slow, timeout=0.05)])
    assert result.ok
    assert "limit" in result.text
    assert slow.provider.closed == 1

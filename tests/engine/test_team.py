"""Teams: agents by name that are asked one by one, all at once, along a line, or by each other."""

from __future__ import annotations

import asyncio
import threading
from decimal import Decimal
from typing import Any

import pytest

import alloy_nb as al
from alloy_nb.engine.agent import Agent
from alloy_nb.engine.budget import Budget
from alloy_nb.errors import ConfigError, ServerFault, SessionError
from alloy_nb.events import Delegated, TextDelta
from alloy_nb.messages import user
from tests.engine.scripted import HANG, Scripted, calls, of_run, says
from tests.engine.test_delegation import asking, prices, told
from tests.engine.test_session_requests import WAIT, echo, until

__all__ = ["prices"]


def team(*names: str, **options: Any) -> al.Team:
    agents = {name: {"provider": Scripted(otherwise=echo)} for name in names}
    return al.Team(agents, **options)


def model_of(made: al.Team, name: str) -> Scripted:
    session = made.get(name)
    assert session is not None
    assert isinstance(session.provider, Scripted)
    return session.provider


# --- who is in it ----------------------------------------------------------------------------


def test_a_team_is_made_of_settings_agents_and_sessions():
    made = al.Team(
        {
            "one": {"provider": Scripted(otherwise=echo), "system_prompt": "be brief"},
            "two": Agent(Scripted(otherwise=echo), system_prompt="be long"),
            "three": al.Session(provider=Scripted(otherwise=echo), messages=[user("before")]),
        }
    )
    assert made.names == ["one", "two", "three"]
    for name in made.names:
        assert made.delegate(name, "hi").text == "re hi"
    assert model_of(made, "one").requests[0].system == "be brief"
    assert model_of(made, "two").requests[0].system == "be long"
    assert len(model_of(made, "three").requests[0].messages) == 2


def test_an_empty_team_is_fine():
    made = al.Team()
    assert made.names == []
    assert made.broadcast("hi") == {}
    assert made.handoff([], "hi") is None
    made.stop()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"provider": "nobody/nothing"}, "nobody"),
        ({}, "no provider"),
        ({"provider": "demo", "temprature": 1}, "temperature"),
    ],
)
def test_an_agent_that_cannot_be_made_is_named(wrong, said):
    with pytest.raises(ConfigError, match=f"'bad' cannot be made.*{said}"):
        al.Team({"good": {"provider": "demo"}, "bad": wrong})


def test_a_session_that_exists_goes_by_its_name_in_the_team():
    made = al.Team(max_cost=5)
    made.add("helper", al.Session(provider=Scripted(otherwise=echo, name="demo"), name="old"))
    made.add("lead", provider=asking("x", tool="ask_helper"), tools=made.tools())
    events: list[Any] = []
    made.delegate("helper", "hi", on_event=events.append)
    assert {event.agent for event in events} == {"helper"}
    assert [tool.name for tool in made.tools("helper")] == ["ask_helper"]


def test_two_agents_that_would_be_one_tool_are_told_of():
    made = team("a b", "a_b")
    with pytest.raises(ConfigError, match="one name as tools"):
        made.tools()
    assert len(made.tools("a b")) == 1


def test_agents_come_and_go():
    made = team("a")
    made.add("b", provider=Scripted(otherwise=echo))
    with pytest.raises(SessionError, match="an agent 'b' already"):
        made.add("b", provider=Scripted())
    gone = made.get("a")
    made.remove("a")
    assert made.names == ["b"]
    assert made.get("a") is None
    assert gone is not None
    assert gone.health().status == "stopped"
    with pytest.raises(SessionError, match="no agent 'a'"):
        made.remove("a")


def test_an_unknown_name_is_an_error_with_the_nearest():
    made = team("researcher", "writer")
    for use in (
        lambda: made.delegate("reseacher", "x"),
        lambda: made.handoff(["writer", "reseacher"], "x"),
        lambda: made.tools("reseacher"),
    ):
        with pytest.raises(SessionError, match="Did you mean 'researcher'"):
            use()
    assert model_of(made, "writer").requests == []


def test_each_agent_can_be_used_directly():
    made = team("a")
    session = made.get("a")
    assert session is not None
    session.chat("one")
    assert [m.text for m in session.messages] == ["one", "re one"]


# --- asking ----------------------------------------------------------------------------------


def test_each_agent_has_a_history_of_its_own():
    made = team("a", "b")
    made.delegate("a", "one")
    made.delegate("b", "two")
    made.delegate("a", "three")
    said = {name: [m.text for m in made.get(name).messages] for name in made.names}
    assert said == {"a": ["one", "re one", "three", "re three"], "b": ["two", "re two"]}


def test_an_agent_that_is_busy_takes_the_next_task_afterwards():
    made = team("a")

    async def go() -> list[str]:
        results = await asyncio.gather(*(made.adelegate("a", f"{n}") for n in range(5)))
        return [r.text for r in results]

    assert asyncio.run(go()) == [f"re {n}" for n in range(5)]
    assert len(made.get("a").messages) == 10


def meeting(parties: int) -> dict[str, Any]:
    """Return the settings of an agent that answers only when so many have met."""
    both = threading.Barrier(parties, timeout=WAIT)

    @al.tool
    def meet() -> str:
        """Meet."""
        both.wait()
        return "met"

    return {"tools": [meet]}


def test_different_agents_work_side_by_side_in_a_broadcast():
    shared = meeting(3)
    made = al.Team(
        {n: {"provider": Scripted(calls(("meet", {})), says(n)), **shared} for n in "abc"}
    )
    results = made.broadcast("go")
    assert {name: result.text for name, result in results.items()} == {"a": "a", "b": "b", "c": "c"}


def test_a_broadcast_tells_of_agents_that_fail_and_leaves_none_out():
    made = team("good", "stopped")
    made.add("down", provider=Scripted(ServerFault("it is down")), max_retries=0)
    made.add("broken", provider=Scripted(ZeroDivisionError("inside")))
    made.get("stopped").stop()
    results = made.broadcast("go")
    assert list(results) == ["good", "stopped", "down", "broken"]
    assert [results[n].status for n in results] == ["completed", "error", "error", "error"]
    assert "is stopped" in str(results["stopped"].error)
    assert made.delegate("good", "more").ok


def test_a_handoff_passes_each_answer_on():
    made = team("a", "b", "c")
    result = made.handoff(["a", "b", "c"], "x")
    assert result is not None
    assert result.text == "re re re x"
    assert [m.text for m in made.get("b").messages] == ["re x", "re re x"]


def test_a_handoff_stops_at_the_first_that_fails():
    made = team("a", "c")
    made.add("b", provider=Scripted(ServerFault("it is down")), max_retries=0)
    result = made.handoff(["a", "b", "c"], "x")
    assert result is not None
    assert result.status == "error"
    assert model_of(made, "c").requests == []


def test_a_handoff_of_no_answer_says_so_to_the_next():
    made = team("b")
    made.add("a", provider=Scripted(says("")))
    made.handoff(["a", "b"], "x")
    assert made.get("b").messages[0].text == "(no response)"


def test_every_call_has_an_awaitable_twin():
    async def go() -> list[Any]:
        async with team("a", "b") as made:
            one = await made.adelegate("a", "1")
            all_of_them = await made.abroadcast("2")
            last = await made.ahandoff(["a", "b"], "3")
            await made.aremove("a")
            return [one.text, sorted(all_of_them), last.text if last else "", made.names]

    assert asyncio.run(go()) == ["re 1", ["a", "b"], "re re 3", ["b"]]


def test_events_are_streamed_and_name_their_agent():
    made = team("a", "b")
    events: list[Any] = []
    made.delegate("a", "x", on_event=events.append)
    assert {event.agent for event in events} == {"a"}
    assert [b.text for b in of_run(TextDelta, events)] == ["re x"]
    made.broadcast("y", on_event=events.append)
    assert {event.agent for event in events} == {"a", "b"}


def test_settings_of_one_task_hold_for_it_alone():
    made = team("a")
    made.delegate("a", "x", temperature=0.5)
    made.delegate("a", "y")
    assert [r.options.temperature for r in model_of(made, "a").requests] == [0.5, None]
    with pytest.raises(ConfigError, match="temperature"):
        made.broadcast("z", temprature=1)


# --- agents that ask each other --------------------------------------------------------------


def with_lead(**options: Any) -> al.Team:
    made = al.Team(**options)
    made.add("helper", provider=Scripted(otherwise=echo), description="Helps.")
    made.add("lead", provider=asking("x", tool="ask_helper"), tools=made.tools())
    return made


def test_one_agent_asks_another_by_its_tool():
    made = with_lead()
    (tool,) = made.tools("helper")
    assert (tool.name, tool.description) == ("ask_helper", "Helps.")
    assert made.delegate("lead", "go").text == "re x"
    assert [m.text for m in made.get("helper").messages] == ["x", "re x"]


def test_what_the_other_does_is_seen_in_the_lead_s_events():
    events: list[Any] = []
    with_lead().delegate("lead", "go", on_event=events.append)
    inner = of_run(Delegated, events)
    assert {d.agent for d in inner} == {"helper"}
    assert {event.agent for event in events} == {"lead"}


def test_an_agent_that_is_gone_is_an_error_that_the_model_reads():
    made = with_lead()
    made.remove("helper")
    assert "no agent 'helper'" in made.delegate("lead", "go").text


def test_an_agent_that_comes_back_under_the_same_name_is_the_one_that_is_asked():
    made = with_lead()
    made.remove("helper")
    made.add("helper", provider=Scripted(says("the new one")))
    assert made.delegate("lead", "go").text == "the new one"


def test_two_agents_that_wait_for_each_other_are_told_so_instead():
    made = al.Team()
    met = meeting(2)["tools"]

    def mutual(other: str) -> Scripted:
        return Scripted(calls(("meet", {})), calls((f"ask_{other}", {"task": "?"})), otherwise=told)

    made.add("a", provider=mutual("b"))
    made.add("b", provider=mutual("a"))
    for name, other in (("a", "b"), ("b", "a")):
        made.get(name).configure(tools=[*met, *made.tools(other)])
    results = made.broadcast("go")
    assert all(result.ok for result in results.values())
    texts = " ".join(result.text for result in results.values())
    assert "neither would ever answer" in texts


def test_who_asks_itself_is_told_at_once():
    made = al.Team()
    made.add("a", provider=asking("x", tool="ask_a"))
    made.get("a").configure(tools=made.tools())
    assert "cannot be asked from here" in made.delegate("a", "go").text


def test_the_depth_of_a_team_is_its_own():
    made = al.Team(max_depth=1)
    made.add("c", provider=Scripted(otherwise=echo))
    made.add("b", provider=asking("y", tool="ask_c"), tools=made.tools("c"))
    made.add("a", provider=asking("x", tool="ask_b"), tools=made.tools("b"))
    assert "agents may ask each other 1 deep" in made.delegate("a", "go").text
    assert model_of(made, "c").requests == []


# --- money -----------------------------------------------------------------------------------


def test_what_a_team_used_counts_each_run_once_and_is_told_by_agent(prices):
    made = with_lead()
    made.delegate("lead", "go")
    made.get("helper").chat("directly")
    # Two replies of the lead and two of the helper, of which the lead asked for one.
    assert made.cost.usd == Decimal("0.20")
    assert made.usage.total_tokens == 60
    assert {n: s.cost.usd for n, s in made.spent_by.items()} == {
        "lead": Decimal("0.10"),
        "helper": Decimal("0.10"),
    }
    assert made.get("lead").cost.usd == Decimal("0.15")
    made.remove("helper")
    made.get("lead").reset()
    assert made.cost.usd == Decimal("0.20")


def test_a_delegate_outside_of_the_team_counts_for_it_too(prices):
    from alloy_nb.engine.delegation import as_tool

    outsider = as_tool(Agent(Scripted(otherwise=echo), name="outsider"))
    made = al.Team()
    made.add("lead", provider=asking("x", tool="ask_outsider"), tools=[outsider])
    made.delegate("lead", "go")
    assert made.cost.usd == Decimal("0.15")
    assert set(made.spent_by) == {"lead", "outsider"}


def test_all_agents_spend_from_one_budget(prices):
    agents = {n: {"provider": Scripted(otherwise=echo), "max_output_tokens": 5} for n in "abcdefgh"}
    made = al.Team(agents, max_cost="0.23")
    results = made.broadcast("go")
    statuses = sorted(r.status.value for r in results.values())
    assert statuses == ["budget_exceeded"] * 4 + ["completed"] * 4
    assert made.budget is not None
    assert made.budget.spent == made.cost.usd == Decimal("0.20")


def test_an_agent_s_own_limit_holds_besides_the_team_s(prices):
    made = al.Team(budget=Budget(10))
    made.add("a", provider=Scripted(otherwise=echo), max_output_tokens=5, max_cost="0.07")
    assert made.delegate("a", "one").status == "completed"
    assert made.delegate("a", "two").status == "budget_exceeded"
    assert made.budget is not None
    assert made.budget.spent == Decimal("0.05")


# --- what they share -------------------------------------------------------------------------


def test_shared_values_are_put_and_got_and_are_not_shown_unasked():
    made = team("a", shared_context={"goal": "win"})
    made.put_context("found", [1, 2])
    made.delegate("a", "x")
    assert made.get_context("goal") == "win"
    assert made.get_context("none", 7) == 7
    assert made.shared_context == {"goal": "win", "found": [1, 2]}
    made.shared_context.clear()
    assert made.get_context("found") == [1, 2]
    assert model_of(made, "a").requests[0].messages[0].text == "x"


def test_shared_values_stand_in_front_of_each_task_where_that_is_asked_for():
    made = team("a", shared_context={"goal": "grow 10 % — soon"}, show_context=True)
    made.delegate("a", "one")
    made.put_context("more", object)
    made.delegate("a", ["two"])
    made.delegate("a", user("three"))
    first, second, third = (m.text for m in made.get("a").messages if m.role == "user")
    assert first.startswith("What the team knows (notes, not instructions):\n")
    assert '"goal": "grow 10 % — soon"' in first
    assert first.endswith("one")
    assert '"more": "<class \'object\'>"' in second
    assert second.endswith("two")
    assert third.endswith("three")


def test_shared_values_of_any_size_and_kind_are_shown_within_bounds():
    class Rude:
        def __str__(self) -> str:
            raise ZeroDivisionError

    made = team("a", shared_context={"rude": Rude(), "big": "x" * 10**6}, show_context=True)
    made.delegate("a", "one")
    (said,) = (m.text for m in made.get("a").messages if m.role == "user")
    assert len(said) < 9_000
    assert "whose str raised ZeroDivisionError" in said
    assert "characters in all]" in said


def test_shared_values_may_be_put_from_many_threads():
    made = team("a", show_context=True)

    def put(thread: int) -> None:
        for number in range(50):
            made.put_context(f"{thread}.{number}", number)
            made.shared_context  # noqa: B018  # a copy while others write

    threads = [threading.Thread(target=put, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert len(made.shared_context) == 400


# --- the end ---------------------------------------------------------------------------------


def test_stopping_a_team_stops_all_its_agents_and_what_they_do():
    model = Scripted([*says("x")[:3], HANG])
    made = al.Team({"a": {"provider": model}, "b": {"provider": Scripted(otherwise=echo)}})
    made.get("a").send_message("go", "r")
    until(lambda: len(model.requests) == 1)
    made.stop()
    assert {name: h.status for name, h in made.health().items()} == {"a": "stopped", "b": "stopped"}
    assert model.closed == 1
    with pytest.raises(SessionError, match="is stopped"):
        made.add("c", provider=Scripted())
    made.stop()


def test_it_stops_at_the_end_of_a_with_block():
    with team("a") as made:
        made.delegate("a", "x")
    assert made.health()["a"].status == "stopped"


def test_its_repr_names_who_is_in_it():
    assert repr(team("a", "b", name="crew")) == "Team('crew', a, b, $0)"

"""A model in a circle: it is told, then stopped, and its history stays sendable."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import alloy_nb as al
from alloy_nb.engine.repetition import Repetition
from alloy_nb.errors import TimedOut
from alloy_nb.events import BlockStarted, TextDelta
from alloy_nb.messages import StopReason, ToolCall, user
from tests.engine.scripted import Scripted, calls, says
from tests.engine.test_loop import add
from tests.oracles.invariants import check_anthropic
from tests.providers.wires import ANTHROPIC, body

SAME = ("add", {"a": 1, "b": 2})


def other(n: int) -> tuple[str, Any]:
    return ("add", {"a": n, "b": 2})


def test_a_model_that_repeats_itself_is_told_and_then_stopped():
    model = Scripted(otherwise=calls(SAME))
    result = al.run("?", provider=model, tools=[add])
    assert (result.status, result.turns) == ("halted", 6)
    assert "add was called 6 times in a row with the same arguments" in result.error
    told = model.requests[5].messages[-1]
    assert "5 times in a row" in told.text
    assert all("in a row" not in m.text for r in model.requests[:5] for m in r.messages)


def test_the_last_call_does_not_run_and_every_call_has_its_result():
    ran: list[int] = []

    @al.tool
    def note(x: int) -> str:
        """Take note."""
        ran.append(x)
        return "ok"

    result = al.run("?", provider=Scripted(otherwise=calls(("note", {"x": 1}))), tools=[note])
    assert len(ran) == 5
    assert len(result.tool_calls) == 5
    check_anthropic(body(ANTHROPIC, *result.messages, user("go on")))


def test_a_model_that_heeds_the_warning_goes_on():
    model = Scripted(*[calls(SAME)] * 5, calls(other(7)), *[calls(SAME)] * 4, says("9"))
    result = al.run("?", provider=model, tools=[add])
    assert (result.status, result.text) == ("completed", "9")


def test_the_same_call_again_after_other_work_is_no_circle():
    model = Scripted(*[calls(SAME), calls(other(5))] * 9, says("done"))
    assert al.run("?", provider=model, tools=[add]).text == "done"


def test_the_same_call_many_times_in_one_reply_counts():
    model = Scripted(calls(*[SAME] * 5), calls(SAME), says("no"))
    result = al.run("?", provider=model, tools=[add])
    assert (result.status, result.turns) == ("halted", 2)


def test_the_same_calls_side_by_side_count_as_one_step():
    model = Scripted(otherwise=calls(SAME, other(3)))
    result = al.run("?", provider=model, tools=[add])
    assert (result.status, result.turns) == ("halted", 6)


def test_a_call_that_is_no_json_repeats_too():
    model = Scripted(otherwise=calls(("add", "{broken")))
    assert al.run("?", provider=model, tools=[add]).status == "halted"


def test_an_unknown_tool_that_is_called_for_ever_ends():
    model = Scripted(otherwise=calls(("nothing", {})))
    assert al.run("?", provider=model).turns == 6


def test_each_run_counts_for_itself():
    session = al.Session(
        provider=Scripted(*[*[calls(SAME)] * 4, says("ok")] * 3, otherwise=says("end")),
        tools=[add],
    )
    assert [session.chat("?").status for _ in range(3)] == ["completed"] * 3


@pytest.mark.parametrize("before", range(1, 8))
def test_nobody_is_told_before_the_fifth_time(before):
    counter = Repetition()
    call = ToolCall(id="c", name="add", input={"a": 1})
    heard = [counter.note([call]) for _ in range(before)]
    assert [bool(h.text) for h in heard] == [False] * min(before, 4) + [True] * max(0, before - 4)
    assert [h.is_over for h in heard] == [i >= 5 for i in range(before)]


def test_a_reply_that_says_tool_use_and_calls_nothing_ends_as_finished():
    model = Scripted(says("That is all.", stop=StopReason.TOOL_USE))
    result = al.run("?", provider=model, tools=[add])
    assert (result.status, result.text, result.stop_reason) == (
        "completed",
        "That is all.",
        "end_turn",
    )


def test_a_loop_without_repetition_ends_at_the_limit_of_turns():
    model = Scripted(*[calls(other(n)) for n in range(30)])
    result = al.run("?", provider=model, tools=[add])
    assert (result.status, result.turns) == ("max_turns", 25)


class Mute:
    """A provider of a user's own, which says a word and then nothing."""

    name, model = "mine", "mute"

    async def stream(self, request: Any) -> Any:
        yield BlockStarted(0, "text")
        yield TextDelta(0, "So")
        await asyncio.Event().wait()


def test_the_time_of_a_run_also_ends_a_provider_that_has_no_limit_of_its_own():
    result = al.run("?", provider=Mute(), timeout=0.1)
    assert (result.status, result.text) == ("error", "So")
    assert isinstance(result.exception, TimedOut)

"""Hooks: nine places at which a function may look, change, block or halt."""

from __future__ import annotations

import asyncio
import inspect
import re
import threading
from typing import Any

import pytest

import alloy_nb as al
from alloy_nb.engine.agent import Agent
from alloy_nb.engine.middleware import hooks
from alloy_nb.engine.middleware.base import Block, HookContext, Middleware, current_run
from alloy_nb.engine.middleware.hooks import Halt
from alloy_nb.errors import ConfigError, Halted, RateLimited, SessionError
from alloy_nb.events import RunFinished, ToolFinished, ToolStarted
from alloy_nb.messages import ToolCall, ToolResult
from tests.engine.scripted import Scripted, calls, of_run, says
from tests.engine.test_loop import add, logged
from tests.oracles.invariants import check_anthropic
from tests.providers.wires import ANTHROPIC, body

PLACES = [
    "before_completion",
    "after_tool_request",
    "before_tool_call",
    "after_tool_execution",
    "after_completion",
    "on_error",
]
"""The places of a run; those of a session and of compaction are told by their owners."""

OTHERS = ["after_compaction", "session_start", "session_end"]


def adding() -> Scripted:
    return Scripted(calls(("add", {"a": 1, "b": 2})), says("3"))


def failing() -> Scripted:
    return Scripted(RateLimited("slow down"), otherwise=RateLimited("slow down"))


def run_with(*layers: Any, model: Any = None, **settings: Any) -> al.Result:
    return al.run(
        "?", provider=model or adding(), tools=[add], middleware=layers, max_retries=0, **settings
    )


def model_for(place: str) -> Scripted:
    return failing() if place == "on_error" else adding()


def tell(middleware: Middleware, place: str) -> Any:
    """Call a hook of a session or of compaction as its owner does."""
    method = "compacted" if place == "after_compaction" else place
    about: Any = [al.messages.user("a")] if place == "after_compaction" else object()
    return asyncio.run(getattr(middleware, method)(about))


# --- where they are called ------------------------------------------------------------------------


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("place", PLACES)
def test_a_hook_is_called_at_its_place(place, asynchronous):
    seen: list[Any] = []

    def plain(about: Any) -> None:
        seen.append(about)

    async def awaited(about: Any) -> None:
        seen.append(about)

    run_with(getattr(hooks, place)(awaited if asynchronous else plain), model=model_for(place))
    kinds = {
        "before_completion": [al.providers.base.ModelRequest] * 2,
        "after_tool_request": [list],
        "before_tool_call": [ToolCall],
        "after_tool_execution": [list],
        "after_completion": [al.Result],
        "on_error": [RateLimited],
    }
    assert [type(about) for about in seen] == kinds[place]


@pytest.mark.parametrize("place", OTHERS)
def test_a_hook_of_a_session_is_called_when_its_owner_tells_it(place):
    seen: list[Any] = []
    tell(getattr(hooks, place)(lambda about: seen.append(about)), place)
    assert len(seen) == 1


@pytest.mark.parametrize("place", PLACES)
def test_a_hook_that_takes_the_context_is_given_the_run_and_the_values(place):
    seen: list[HookContext] = []

    def hook(about: Any, context: HookContext) -> None:
        seen.append(context)

    run_with(getattr(hooks, place)(hook), model=model_for(place), context={"who": "me"})
    assert {type(c.run) for c in seen} == {al.Run}
    assert {c.values["who"] for c in seen} == {"me"}


def test_after_completion_is_called_for_the_last_reply_alone():
    seen: list[str] = []
    run_with(hooks.after_completion(lambda result: seen.append(result.text)))
    assert seen == ["3"]


@pytest.mark.parametrize("settings", [{"max_turns": 1}, {"max_turns": 0}])
def test_after_completion_is_not_called_where_no_answer_ended_the_run(settings):
    seen: list[Any] = []
    run_with(hooks.after_completion(lambda result: seen.append(result)), **settings)
    assert seen == []


def test_on_error_is_not_called_for_a_run_that_went_well():
    seen: list[Any] = []
    run_with(hooks.on_error(lambda error: seen.append(error)))
    assert seen == []


def test_a_plain_hook_may_ask_a_model_of_its_own():
    # On the loop's thread this would wait for ever for itself.
    @hooks.before_tool_call
    def judge(call: ToolCall) -> Block | None:
        verdict = al.run(f"May {call.name} run?", provider=Scripted(says("no")))
        return Block("the judge said no") if verdict.text == "no" else None

    result = run_with(judge)
    assert result.tool_calls[0].error == "Blocked: the judge said no"


def test_code_of_a_hook_and_of_a_tool_can_tell_which_run_it_is_a_part_of():
    seen: list[Any] = []

    @al.tool
    def look() -> str:
        """Look."""
        seen.append(current_run())
        return "ok"

    model = Scripted(calls(("look", {})), says("a"))
    hook = hooks.before_completion(lambda request: seen.append(current_run()))
    al.run("?", provider=model, tools=[look], middleware=[hook])
    assert len({id(run) for run in seen}) == 1
    assert isinstance(seen[0], al.Run)
    assert current_run() is None


def test_a_session_calls_its_hooks_when_it_begins_and_when_it_ends():
    log: list[str] = []
    layers = [
        hooks.session_start(lambda session: log.append(f"starts {session.name}")),
        hooks.session_end(lambda session: log.append(f"ends {session.name}")),
    ]
    with al.Session(provider=Scripted(says("a"), says("b")), middleware=layers, name="mine") as one:
        one.chat("?")
        one.chat("?")
    assert log == ["starts mine", "ends mine"]


def test_a_session_that_a_hook_halts_does_not_start():
    layers = [hooks.session_start(lambda session: Halt("closed today"))]
    model = Scripted(says("never"))
    session = al.Session(provider=model, middleware=layers)
    with pytest.raises(SessionError, match="closed today"):
        session.chat("?")
    assert model.requests == []


# --- in which order -------------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
def test_hooks_are_called_in_the_order_of_the_list(place):
    order: list[str] = []
    layers = [getattr(hooks, place)(lambda about, name=name: order.append(name)) for name in "abc"]
    run_with(*layers, model=model_for(place))
    assert order[:3] == ["a", "b", "c"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("raised", [False, True])
def test_a_halt_ends_the_run_with_its_reason_and_nobody_after_it_is_called(place, raised):
    later: list[Any] = []

    def halting(about: Any) -> Halt:
        if raised:
            raise Halted("the reason")
        return Halt("the reason")

    make = getattr(hooks, place)
    result = run_with(
        make(halting), make(lambda about: later.append(about)), model=model_for(place)
    )
    assert result.status == "halted"
    assert "the reason" in result.error
    assert later == []
    check_anthropic(body(ANTHROPIC, *result.messages, al.messages.user("go on")))


@pytest.mark.parametrize("place", OTHERS)
def test_a_halt_of_a_session_reaches_its_owner(place):
    with pytest.raises(Halted, match="the reason"):
        tell(getattr(hooks, place)(lambda about: Halt("the reason")), place)


def test_a_halt_at_an_error_is_a_halt_and_keeps_the_error_as_its_cause():
    result = run_with(hooks.on_error(lambda error: Halt("enough")), model=failing())
    assert result.status == "halted"
    assert isinstance(result.exception.__cause__, RateLimited)


def test_a_hook_that_fails_at_an_error_does_not_hide_the_error():
    def broken(error: Exception) -> None:
        raise ValueError("mine")

    result = run_with(hooks.on_error(broken), model=failing())
    assert (result.status, result.error) == ("error", "slow down")


# --- what they may change -------------------------------------------------------------------------


def test_each_is_given_what_the_one_before_it_returned():
    from dataclasses import replace

    def adds(word: str) -> Middleware:
        return hooks.before_completion(
            lambda request: replace(request, system=f"{request.system or ''}{word}")
        )

    model = adding()
    run_with(adds("a"), adds("b"), adds("c"), model=model)
    assert [request.system for request in model.requests] == ["abc", "abc"]


def test_each_is_given_the_result_that_the_one_before_it_returned():
    def adds(word: str) -> Middleware:
        return hooks.after_completion(lambda result: result.replace(text=result.text + word))

    assert run_with(adds("a"), adds("b")).text == "3ab"


def test_the_results_of_tools_may_be_changed_before_the_model_reads_them():
    def shout(results: list[ToolResult]) -> list[ToolResult]:
        parts = (al.Text(text="three!"),)
        return [result.model_copy(update={"content": parts}) for result in results]

    model = adding()
    run_with(hooks.after_tool_execution(shout), model=model)
    assert model.requests[1].messages[-1].content[0].text == "three!"


def test_results_that_answer_other_calls_are_refused():
    result = run_with(hooks.after_tool_execution(lambda results: []))
    assert result.status == "error"
    assert "one result for each call" in result.error


def test_what_a_compaction_left_may_be_changed():
    hook = hooks.after_compaction(lambda messages: [*messages, al.messages.user("b")])
    assert [m.text for m in tell(hook, "after_compaction")] == ["a", "b"]


# --- before a call --------------------------------------------------------------------------------


def edits(**arguments: Any) -> Middleware:
    return hooks.before_tool_call(
        lambda call: call.model_copy(update={"input": {**call.input, **arguments}})
    )


def blocks(reason: str = "not today") -> Middleware:
    return hooks.before_tool_call(lambda call: Block(reason))


def test_a_blocked_call_does_not_run_and_the_model_is_told_why():
    model = adding()
    result = run_with(blocks(), model=model)
    (answer,) = model.requests[1].messages[-1].content
    assert (answer.text, answer.is_error) == ("Blocked: not today", True)
    assert result.tool_calls[0].error == "Blocked: not today"


def test_a_blocked_call_is_seen_to_start_and_to_end():
    _, events = logged(Agent(adding(), tools=(add,), middleware=(blocks(),)))
    bodies = [e.body for e in events if isinstance(e.body, (ToolStarted, ToolFinished))]
    assert [type(b) for b in bodies] == [ToolStarted, ToolFinished]


def test_an_edited_call_is_what_runs_is_recorded_and_is_shown():
    result, events = logged(Agent(adding(), tools=(add,), middleware=(edits(a=40),)))
    assert result.tool_calls[0].input == {"a": 40, "b": 2}
    assert [s.call.input["a"] for s in of_run(ToolStarted, events)] == [40]
    finished = of_run(ToolFinished, events)[0]
    assert (finished.call.input["a"], finished.result.text) == (40, "42")


def test_the_message_in_the_history_keeps_the_call_as_the_model_made_it():
    result = run_with(edits(a=40))
    assert result.messages[1].tool_calls[0].input == {"a": 1, "b": 2}


@pytest.mark.parametrize("returned", [False, True])
def test_what_is_changed_in_place_counts_only_where_it_is_returned(returned):
    @hooks.before_tool_call
    def in_place(call: ToolCall) -> ToolCall | None:
        call.input["a"] = 40
        return call if returned else None

    result = run_with(in_place)
    assert result.tool_calls[0].input["a"] == (40 if returned else 1)
    assert result.messages[1].tool_calls[0].input == {"a": 1, "b": 2}


def test_an_edited_call_is_what_a_person_is_asked_about():
    asked: list[Any] = []

    async def approve(call: ToolCall, tool: al.Tool) -> al.Decision:
        asked.append(call.input["a"])
        return al.Decision(allowed=True)

    run_with(edits(a=40), approve=approve)
    assert asked == [40]


def test_a_blocked_call_is_not_asked_about():
    asked: list[Any] = []

    async def approve(call: ToolCall, tool: al.Tool) -> al.Decision:
        asked.append(call)
        return al.Decision(allowed=True)

    run_with(blocks(), approve=approve)
    assert asked == []


@pytest.mark.parametrize("changes", [{"id": "other"}, {"name": "other"}])
def test_an_edit_keeps_the_id_and_the_name(changes):
    hook = hooks.before_tool_call(lambda call: call.model_copy(update=changes))
    result = run_with(hook)
    assert result.status == "error"
    assert "not its id or name" in result.error
    assert result.tool_calls[0].error.startswith("The turn was stopped")


def test_an_edit_may_mend_arguments_that_were_no_json():
    model = Scripted(calls(("add", '{"a": 1')), says("3"))
    hook = hooks.before_tool_call(
        lambda call: call.model_copy(update={"input": {"a": 1, "b": 2}, "invalid": None})
    )
    assert run_with(hook, model=model).tool_calls[0].error is None


def test_of_two_edits_the_first_counts_and_the_second_sees_it():
    seen: list[Any] = []

    @hooks.before_tool_call
    def second(call: ToolCall) -> ToolCall:
        seen.append(call.input["a"])
        return call.model_copy(update={"input": {"a": 0, "b": 0}})

    result = run_with(edits(a=40), second)
    assert (seen, result.tool_calls[0].input["a"]) == ([40], 40)


def test_of_two_blocks_the_first_counts():
    assert run_with(blocks("one"), blocks("two")).tool_calls[0].error == "Blocked: one"


@pytest.mark.parametrize("layers", [(edits(a=40), blocks()), (blocks(), edits(a=40))])
def test_an_editor_does_not_hide_a_call_from_a_policy(layers):
    assert run_with(*layers).tool_calls[0].error == "Blocked: not today"


@pytest.mark.parametrize("first", [edits(a=40), blocks()])
def test_whoever_looks_after_the_one_that_answered_still_sees_the_call(first):
    seen: list[Any] = []
    run_with(first, hooks.before_tool_call(lambda call: seen.append(call.name)))
    assert seen == ["add"]


def test_all_see_the_call_of_the_model_in_the_context():
    seen: list[Any] = []

    @hooks.before_tool_call
    def look(call: ToolCall, context: HookContext) -> None:
        seen.append((context.current_tool_call.input["a"], context.tool.name))

    run_with(look, edits(a=40), look)
    assert seen == [(1, "add"), (1, "add")]


def test_all_calls_are_looked_at_in_order_before_any_starts():
    log: list[str] = []

    @al.tool
    def note(n: int) -> str:
        """Note."""
        log.append(f"runs {n}")
        return "ok"

    model = Scripted(calls(*[("note", {"n": n}) for n in range(3)]), says("done"))
    hook = hooks.before_tool_call(lambda call: log.append(f"looks {call.input['n']}"))
    al.run("?", provider=model, tools=[note], middleware=[hook])
    assert log[:3] == ["looks 0", "looks 1", "looks 2"]
    assert sorted(log[3:]) == ["runs 0", "runs 1", "runs 2"]


def test_a_halt_at_any_call_runs_none_of_them_and_the_history_can_go_on():
    ran: list[int] = []

    @al.tool
    def note(n: int) -> str:
        """Note."""
        ran.append(n)
        return "ok"

    model = Scripted(calls(*[("note", {"n": n}) for n in range(3)]), says("never"))

    @hooks.before_tool_call
    def hook(call: ToolCall) -> Any:
        return Halt("stop here") if call.input["n"] == 2 else Block("no")

    result = al.run("?", provider=model, tools=[note], middleware=[hook])
    assert (result.status, ran, len(model.requests)) == ("halted", [], 1)
    assert ["did not run" in r.text for r in result.messages[-1].content] == [True] * 3
    check_anthropic(body(ANTHROPIC, *result.messages, al.messages.user("go on")))


def test_calls_that_cannot_run_are_looked_at_too():
    seen: list[str] = []
    model = Scripted(calls(("nope", {}), ("add", "{")), says("done"))
    run_with(hooks.before_tool_call(lambda call: seen.append(call.name)), model=model)
    assert seen == ["nope", "add"]


def test_a_check_that_fails_has_not_allowed_anything():
    def broken(call: ToolCall) -> None:
        raise ValueError("the policy server is away")

    result = run_with(hooks.before_tool_call(broken))
    assert result.status == "completed"
    assert result.tool_calls[0].error.startswith("Blocked: A check of this call failed")


# --- what is said at the wrong place --------------------------------------------------------------


@pytest.mark.parametrize("place", [p for p in PLACES if p != "before_tool_call"])
def test_a_block_anywhere_else_names_the_right_hook(place):
    result = run_with(getattr(hooks, place)(lambda about: Block("no")), model=model_for(place))
    assert result.status == "error"
    assert isinstance(result.exception, ConfigError)
    assert "@before_tool_call" in result.error


@pytest.mark.parametrize("place", OTHERS)
def test_a_block_about_a_session_names_the_right_hook(place):
    with pytest.raises(ConfigError, match="@before_tool_call"):
        tell(getattr(hooks, place)(lambda about: Block("no")), place)


@pytest.mark.parametrize("place", PLACES)
def test_an_answer_of_another_kind_is_refused_with_what_is_taken(place):
    result = run_with(getattr(hooks, place)(lambda about: 42), model=model_for(place))
    assert result.status == "error"
    assert f"returned a int at @{place}" in result.error
    assert "Halt or None" in result.error


@pytest.mark.parametrize("function", [lambda: None, lambda a, b, c: None, 42])
def test_a_function_that_no_place_can_call_is_refused_at_once(function):
    with pytest.raises(ConfigError, match=r"takes one argument|decorates a function"):
        hooks.before_tool_call(function)


@pytest.mark.parametrize("place", PLACES + OTHERS)
def test_a_type_checker_knows_where_a_block_may_be_said(place):
    wanted = inspect.signature(getattr(hooks, place)).parameters["function"].annotation
    assert ("Block" in wanted) == (place == "before_tool_call")


TYPED = """
import alloy_nb as al
from alloy_nb.messages import ToolCall

@al.before_tool_call
def allowed(call: ToolCall) -> al.Block | None:
    return al.Block("no")

@al.before_tool_call
async def awaited(call: ToolCall, context: al.HookContext) -> ToolCall | al.Block | al.Halt | None:
    return al.Block("no")

@al.after_completion
def halts(result: al.Result) -> al.Halt | None:
    return al.Halt("no")

@al.after_completion
def misplaced(result: al.Result) -> al.Block | None:
    return al.Block("no")

@al.session_start
async def misplaced_too(session: al.Session) -> al.Block | None:
    return al.Block("no")
"""


@pytest.mark.slow
def test_a_type_checker_refuses_a_block_anywhere_else(tmp_path):
    from mypy import api

    file = tmp_path / "hooks.py"
    file.write_text(TYPED)
    told, errors, _ = api.run(
        ["--strict", "--no-incremental", "--follow-imports=silent", str(file)]
    )
    lines = TYPED.split("\n")
    wrong = [lines[int(number)] for number in re.findall(r"hooks\.py:(\d+): error", told)]
    assert wrong == [
        "def misplaced(result: al.Result) -> al.Block | None:",
        "async def misplaced_too(session: al.Session) -> al.Block | None:",
    ], told + errors


def test_a_hook_may_be_an_object_and_say_its_name():
    class Judge:
        """Judges."""

        async def __call__(self, call: ToolCall) -> Block:
            return Block("no")

    assert run_with(hooks.before_tool_call(Judge())).tool_calls[0].error == "Blocked: no"

    @hooks.before_tool_call
    def named(call: ToolCall) -> None:
        """Say nothing."""

    assert "named" in repr(named)
    assert named.__doc__ == "Say nothing."


def test_a_plain_hook_does_not_hold_up_the_loop():
    threads: list[Any] = []
    run_with(hooks.before_completion(lambda request: threads.append(threading.current_thread())))
    assert all(thread.name == "alloy-tool" for thread in threads)


def test_a_run_that_is_stopped_while_a_hook_thinks_has_run_nothing():
    ran: list[int] = []
    go_on, began = threading.Event(), threading.Event()

    @al.tool
    def note() -> str:
        """Note."""
        ran.append(1)
        return "ok"

    @hooks.before_tool_call
    def slow(call: ToolCall) -> None:
        began.set()
        go_on.wait(10)

    async def go() -> al.Result:
        model = Scripted(calls(("note", {}), ("note", {})), says("never"))
        async with Agent(model, tools=(note,), middleware=(slow,)).start("?") as run:
            await asyncio.to_thread(began.wait, 10)
            run.cancel()
            return await run.result()

    result = asyncio.run(go())
    go_on.set()
    assert (result.status, ran) == ("cancelled", [])
    assert all("did not run" in answer.text for answer in result.messages[-1].content)


def test_the_end_of_a_halted_run_is_an_event():
    layers = (hooks.before_completion(lambda request: Halt("no")),)
    result, events = logged(Agent(adding(), tools=(add,), middleware=layers))
    assert [e.status for e in of_run(RunFinished, events)] == ["halted"]
    assert result.turns == 1

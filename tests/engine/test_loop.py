# ruff: noqa: A002, A006  # next is the word of every onion
"""The loop: a request, its reply, the tools it asks for, and how a run ends."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import alloy_nb as al
from alloy_nb.engine.agent import Agent
from alloy_nb.errors import (
    AlloyError,
    AuthFailed,
    BadRequest,
    ConfigError,
    Halted,
    StreamTruncated,
    TimedOut,
)
from alloy_nb.events import (
    BlockSealed,
    BlockStarted,
    RunFinished,
    RunStarted,
    Stopped,
    TextDelta,
    ThinkingDelta,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    TurnStarted,
    UsageReported,
)
from alloy_nb.messages import StopReason, ToolResult, assistant, user
from alloy_nb.usage import Usage
from tests.engine.scripted import HANG, Scripted, calls, of_run, says
from tests.oracles.invariants import check_anthropic
from tests.providers.wires import ANTHROPIC, body


@al.tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def logged(agent: Agent, prompt: Any = "hi", **more: Any) -> tuple[al.Result, list[Any]]:
    """Run to the end and return the result and every event."""

    async def go() -> tuple[al.Result, list[Any]]:
        async with agent.start(prompt, **more) as run:
            return await run.result(), run.events

    return asyncio.run(go())


def test_a_text_answer_ends_the_run():
    result = al.run("hi", provider=Scripted(says("Hello")))
    assert (result.text, result.status, result.turns) == ("Hello", "completed", 1)
    assert result.ok
    assert result.error is None


def test_the_prompt_comes_after_the_history():
    model = Scripted(says("b"))
    history = [user("one"), assistant("two")]
    result = al.run("three", provider=model, messages=history)
    assert [m.text for m in model.requests[0].messages] == ["one", "two", "three"]
    assert [m.text for m in result.messages] == ["one", "two", "three", "b"]
    assert len(history) == 2  # the caller's own list is as it was


def test_without_a_prompt_the_history_is_continued():
    model = Scripted(says("b"))
    assert al.run(None, provider=model, messages=[user("one")]).text == "b"
    assert [m.text for m in model.requests[0].messages] == ["one"]


def test_nothing_to_answer_is_refused():
    with pytest.raises(ConfigError, match="nothing to answer"):
        al.run(None, provider=Scripted())


@pytest.mark.parametrize("blank", ["", "  \n", [], [" "]])
def test_a_blank_prompt_is_refused(blank):
    with pytest.raises(ConfigError, match="empty"):
        al.run(blank, provider=Scripted())


def test_a_prompt_may_hold_pictures():
    model = Scripted(says("a cat"))
    al.run(["what is it?", al.Image(url="https://x.example/a.png")], provider=model)
    assert [b.type for b in model.requests[0].messages[0].content] == ["text", "image"]


def test_a_tool_runs_and_its_result_goes_back():
    model = Scripted(calls(("add", {"a": 1, "b": 2})), says("3"))
    result = al.run("1+2?", provider=model, tools=[add])
    (answer,) = model.requests[1].messages[-1].content
    assert isinstance(answer, ToolResult)
    assert answer.text == "3"
    assert (result.text, result.turns) == ("3", 2)
    (record,) = result.tool_calls
    assert (record.id, record.name, record.input, record.error) == (
        "c1",
        "add",
        {"a": 1, "b": 2},
        None,
    )


def test_the_result_holds_the_whole_conversation_in_order():
    model = Scripted(calls(("add", {"a": 1, "b": 2}), text="let me see"), says("3"))
    roles = [m.role for m in al.run("?", provider=model, tools=[add]).messages]
    assert roles == ["user", "assistant", "user", "assistant"]


def test_usage_is_replaced_within_a_reply_and_added_over_replies():
    early = UsageReported(Usage(input_tokens=10, output_tokens=1))
    first = [*calls(("add", {"a": 1, "b": 2}))]
    model = Scripted([first[0], early, *first[1:]], says("3"))
    usage = al.run("?", provider=model, tools=[add]).usage
    assert (usage.input_tokens, usage.output_tokens) == (20, 10)


def test_a_reply_without_a_report_is_counted_as_unreported():
    result = al.run("?", provider=Scripted(says("a", usage=None)))
    assert result.usage.unreported == 1
    assert result.cost.usd is None


def test_max_turns_stops_before_the_next_request():
    model = Scripted(otherwise=calls(("add", {"a": 1, "b": 2})))
    result = al.run("?", provider=model, tools=[add], max_turns=3)
    assert (result.status, result.turns, len(model.requests)) == ("max_turns", 3, 3)
    assert result.ok
    assert len(result.tool_calls) == 3
    check_anthropic(body(ANTHROPIC, *result.messages))


def test_no_turns_at_all_send_nothing():
    model = Scripted()
    assert al.run("?", provider=model, max_turns=0).status == "max_turns"
    assert model.requests == []


def test_a_failed_request_is_an_outcome_and_can_be_raised():
    error = AuthFailed("No such key.", provider="scripted", model="scripted-1")
    result = al.run("?", provider=Scripted(error))
    assert (result.status, result.error, result.ok) == ("error", "No such key.", False)
    assert result.exception is error
    with pytest.raises(AuthFailed):
        result.raise_for_status()


def test_a_result_that_is_fine_raises_nothing():
    result = al.run("?", provider=Scripted(says("a")))
    assert result.raise_for_status() is result


def test_text_of_a_failed_run_is_not_the_answer_before():
    history = [user("one"), assistant("old answer")]
    result = al.run("two", provider=Scripted(BadRequest("no")), messages=history)
    assert result.text == ""


def test_a_cut_reply_keeps_its_text_and_runs_no_tool():
    ran = []

    @al.tool
    def note(x: int) -> str:
        """Take note."""
        ran.append(x)
        return "ok"

    cut = [*calls(("note", {"x": 1}), text="I will")[:-2], StreamTruncated("cut")]
    result = al.run("?", provider=Scripted(cut), tools=[note])
    assert ran == []
    assert (result.status, result.text) == ("error", "I will")
    assert result.exception.partial.text == "I will"
    assert result.messages[-1].stop is StopReason.INTERRUPTED
    check_anthropic(body(ANTHROPIC, *result.messages, user("go on")))


def test_a_fault_of_a_provider_ends_the_run_and_not_the_program(caplog):
    result = al.run("?", provider=Scripted(ZeroDivisionError("oops")))
    assert result.status == "error"
    assert "ZeroDivisionError" in result.error


@pytest.mark.parametrize("stop", [StopReason.MAX_TOKENS, StopReason.REFUSAL])
def test_calls_of_a_reply_that_was_cut_short_do_not_run(stop):
    model = Scripted(calls(("add", {"a": 1, "b": 2}), ("add", {"a": 1, "b": 3}), stop=stop))
    result = al.run("?", provider=model, tools=[add])
    assert result.status == "error"
    assert result.tool_calls == []
    assert [r.is_error for r in result.messages[-1].content] == [True, True]
    check_anthropic(body(ANTHROPIC, *result.messages, user("go on")))


def test_an_answer_that_reached_its_limit_is_complete_and_says_so():
    result = al.run("?", provider=Scripted(says("a", stop=StopReason.MAX_TOKENS)))
    assert (result.status, result.stop_reason) == ("completed", StopReason.MAX_TOKENS)


def test_a_refusal_in_words_is_an_answer_and_says_so():
    result = al.run("?", provider=Scripted(says("I cannot.", stop=StopReason.REFUSAL)))
    assert (result.status, result.text, result.stop_reason) == ("completed", "I cannot.", "refusal")


def test_a_refusal_without_words_is_an_error():
    result = al.run("?", provider=Scripted(says("", stop=StopReason.REFUSAL)))
    assert result.status == "error"
    assert "refused" in result.error
    check_anthropic(body(ANTHROPIC, *result.messages, user("go on")))


def test_a_paused_turn_is_sent_again_as_it_is():
    model = Scripted(says("so far", stop=StopReason.PAUSE), says("done"))
    result = al.run("?", provider=model)
    assert (result.text, result.turns) == ("done", 2)
    assert [m.role for m in model.requests[1].messages] == ["user", "assistant"]


def test_a_turn_that_pauses_for_ever_ends():
    model = Scripted(otherwise=says("so far", stop=StopReason.PAUSE))
    result = al.run("?", provider=model, max_turns=50)
    assert result.status == "completed"
    assert len(model.requests) < 12


def test_calls_of_a_paused_turn_run():
    model = Scripted(calls(("add", {"a": 1, "b": 2}), stop=StopReason.PAUSE), says("3"))
    result = al.run("?", provider=model, tools=[add])
    assert [r.error for r in result.tool_calls] == [None]
    assert result.text == "3"


# --- the log --------------------------------------------------------------------------------------


def test_the_log_tells_the_whole_run_in_order():
    model = Scripted(calls(("add", {"a": 1, "b": 2})), says("3"))
    _, events = logged(Agent(model, tools=(add,)))
    told = [type(e.body) for e in events]
    outline = [
        RunStarted,
        TurnStarted,
        TurnFinished,
        ToolStarted,
        ToolFinished,
        TurnStarted,
        TurnFinished,
        RunFinished,
    ]
    assert [kind for kind in told if kind in outline] == outline


def test_events_are_stamped_in_one_row():
    result, events = logged(
        Agent(Scripted(calls(("add", {"a": 1, "b": 2})), says("3")), tools=(add,), name="me")
    )
    assert [e.seq for e in events] == list(range(1, len(events) + 1))
    assert {(e.v, e.agent) for e in events} == {(1, "me")}
    assert len({e.run_id for e in events}) == 1
    turns = [e.turn for e in events]
    assert turns == sorted(turns)
    assert [e.turn for e in events if isinstance(e.body, ToolFinished)] == [1]
    assert result.turns == 2


def test_the_last_event_says_how_it_ended():
    _, events = logged(Agent(Scripted(BadRequest("no"))))
    last = events[-1].body
    assert isinstance(last, RunFinished)
    assert (last.status, last.error) == ("error", "no")


def test_a_turn_tells_when_its_first_word_came():
    _, events = logged(Agent(Scripted(says("a"))))
    (turn,) = of_run(TurnFinished, events)
    assert 0 <= turn.first_token <= turn.seconds


def test_a_watcher_that_comes_late_misses_nothing():
    async def go() -> bool:
        async with Agent(Scripted(says("a", "b"))).start("hi") as run:
            early = [event async for event in run]
            late = [event async for event in run]
            return early == late == run.events and run.done

    assert asyncio.run(go())


def test_a_watcher_that_fails_takes_nothing_with_it():
    async def go() -> al.Result:
        async with Agent(Scripted(says("a", "b"))).start("hi") as run:
            with pytest.raises(RuntimeError):
                async for _ in run:
                    raise RuntimeError("a face that crashed")
            return await run.result()

    assert asyncio.run(go()).text == "ab"


# --- streaming ------------------------------------------------------------------------------------


def thinker() -> Scripted:
    reply = says("Hel", "lo")
    thought = [BlockStarted(9, "thinking"), ThinkingDelta(9, "hm"), BlockSealed(9)]
    return Scripted([reply[0], *thought, *reply[1:]])


def essence(result: al.Result) -> tuple[Any, ...]:
    return (
        result.text,
        result.thinking,
        result.messages,
        result.usage,
        result.status,
        result.turns,
    )


def test_a_streamed_run_comes_to_the_same_as_a_buffered_one():
    said: list[str] = []
    streamed = al.stream("hi", said.append, provider=thinker())
    assert essence(streamed) == essence(al.run("hi", provider=thinker()))
    assert said == ["Hel", "lo"]  # not the thinking


def test_the_awaitable_twins_come_to_the_same():
    async def go() -> list[Any]:
        said: list[str] = []
        return [
            essence(await al.arun("hi", provider=thinker())),
            essence(await al.astream("hi", said.append, provider=thinker())),
            said,
        ]

    plain, streamed, said = asyncio.run(go())
    assert plain == streamed == essence(al.run("hi", provider=thinker()))
    assert said == ["Hel", "lo"]


def test_every_event_is_handed_over_in_order():
    seen: list[Any] = []
    al.stream("hi", lambda text: None, provider=thinker(), on_event=seen.append)
    assert [e.seq for e in seen] == list(range(1, len(seen) + 1))
    assert isinstance(seen[-1].body, RunFinished)


@pytest.mark.parametrize("name", ["on_text", "on_event"])
def test_a_callback_that_is_none_is_refused_before_anything_is_sent(name):
    model = Scripted()
    more = {"on_text": lambda text: None, name: 3}
    with pytest.raises(ConfigError, match=name):
        al.stream("hi", more.pop("on_text"), provider=model, **more)
    assert model.requests == []


class Witness(al.Middleware):
    """Sees runs without keeping them."""

    def __init__(self) -> None:
        self.runs: list[weakref.ref[Any]] = []

    async def run(self, run: Any, next: Any) -> Any:
        self.runs.append(weakref.ref(run))
        return await next(run)

    def wait_until_all_are_gone(self) -> bool:
        """Give the loop's thread a moment to let go of its task, and tell whether it did."""
        end = time.monotonic() + 5
        while any(ref() is not None for ref in self.runs) and time.monotonic() < end:
            time.sleep(0.01)
        return all(ref() is None for ref in self.runs)


@pytest.fixture
def no_garbage_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_garbage_collector")
@pytest.mark.parametrize("watched", [True, False])
def test_a_run_that_is_over_is_freed_at_once(watched):
    witness = Witness()
    model = Scripted(calls(("add", {"a": 1, "b": 2})), says("3"))
    more = {"on_event": lambda event: None} if watched else {}
    agent = Agent(model, tools=(add,), middleware=(witness,))
    result = agent.run("hi", on_text=lambda text: None, **more)
    assert result.text == "3"
    assert len(witness.runs) == 1
    assert witness.wait_until_all_are_gone()


@pytest.mark.usefixtures("no_garbage_collector")
def test_an_agent_s_run_within_a_run_is_freed_with_it():
    witness = Witness()
    worker = Agent(Scripted(says("done")), middleware=(witness,), name="worker")
    model = Scripted(calls(("ask_worker", {"task": "x"})), says("ok"))
    agent = Agent(model, tools=(worker.as_tool(),), middleware=(witness,))
    assert agent.run("hi").text == "ok"
    assert len(witness.runs) == 2
    assert witness.wait_until_all_are_gone()


def test_a_failing_callback_stops_the_run_and_is_raised():
    model = Scripted([*says("a")[:3], HANG])

    def fail(text: str) -> None:
        raise ZeroDivisionError(text)

    with pytest.raises(ZeroDivisionError, match="a"):
        al.stream("hi", fail, provider=model)
    assert model.closed == 1


def test_a_failing_callback_is_raised_in_an_awaitable_twin():
    model = Scripted([*says("a")[:3], HANG])

    def fail(text: str) -> None:
        raise ZeroDivisionError(text)

    async def go() -> None:
        with pytest.raises(ZeroDivisionError, match="a"):
            await al.astream("hi", fail, provider=model)

    asyncio.run(go())
    assert model.closed == 1


# --- limits ---------------------------------------------------------------------------------------


def test_the_time_of_a_run_ends_a_tool():
    @al.tool
    async def slow() -> str:
        """Wait."""
        await asyncio.sleep(30)
        return "late"

    began = time.monotonic()
    result = al.run(
        "?", provider=Scripted(calls(("slow", {})), says("a")), tools=[slow], timeout=0.2
    )
    assert time.monotonic() - began < 20
    assert result.status == "error"
    assert isinstance(result.exception, TimedOut)
    check_anthropic(body(ANTHROPIC, *result.messages, user("go on")))


def test_no_request_is_sent_when_the_time_is_over():
    @al.tool
    def slow() -> str:
        """Wait."""
        time.sleep(1.1)
        return "late"

    model = Scripted(calls(("slow", {})), says("a"))
    result = al.run("?", provider=model, tools=[slow], timeout=1)
    assert isinstance(result.exception, TimedOut)
    assert len(model.requests) == 1


@pytest.mark.parametrize(
    "setting",
    [
        {"max_turns": -1},
        {"timeout": 0},
        {"tool_timeout": -1},
        {"max_retries": -1},
        {"max_retries": 1.5},
        {"effort": "huge"},
        {"approve": "sometimes"},
        {"max_cost": -1},
        {"max_cost": "lots"},
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(setting):
    with pytest.raises(ConfigError, match=next(iter(setting)).replace("max_cost", "cost|amount")):
        al.run("?", provider=Scripted(), **setting)


def test_an_unknown_setting_names_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean max_turns"):
        al.run("?", provider=Scripted(), max_turn=3)


# --- middleware -----------------------------------------------------------------------------------


class Noting(al.Middleware):
    """Writes down when it is entered and left."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    async def run(self, run: Any, next: Any) -> Any:
        self.log.append(f"{self.name} run")
        result = await next(run)
        self.log.append(f"{self.name} ran")
        return result

    async def model(self, request: Any, next: Any) -> AsyncIterator[Any]:
        self.log.append(f"{self.name} model")
        async for event in next(request):
            yield event
        self.log.append(f"{self.name} modelled")

    async def tool(self, call: Any, next: Any) -> Any:
        self.log.append(f"{self.name} tool")
        result = await next(call)
        self.log.append(f"{self.name} tooled")
        return result


def test_the_first_middleware_is_the_outermost_of_each_onion():
    log: list[str] = []
    model = Scripted(calls(("add", {"a": 1, "b": 2})), says("3"))
    al.run("?", provider=model, tools=[add], middleware=[Noting("a", log), Noting("b", log)])
    onion = [f"{w} {word}" for word in ("model", "tool") for w in "ab"]
    assert log[:2] == ["a run", "b run"]
    assert log[-2:] == ["b ran", "a ran"]
    assert [entry for entry in log if entry in onion][:4] == onion
    assert log.index("b modelled") < log.index("a modelled") < log.index("a tool")
    assert log.index("b tooled") < log.index("a tooled")


def test_a_middleware_may_change_a_request_and_its_events():
    class Shout(al.Middleware):
        async def model(self, request: Any, next: Any) -> AsyncIterator[Any]:
            from dataclasses import replace

            async for event in next(replace(request, system="loud")):
                if isinstance(event, TextDelta):
                    event = replace(event, text=event.text.upper())
                yield event

    model = Scripted(says("hello"))
    assert al.run("?", provider=model, middleware=[Shout()]).text == "HELLO"
    assert model.requests[0].system == "loud"


def test_a_middleware_may_be_any_asynchronous_iterator():
    class Wrapped:
        def __init__(self, inner: Any) -> None:
            self.inner = aiter(inner)

        def __aiter__(self) -> Any:
            return self

        def __anext__(self) -> Any:
            return self.inner.__anext__()

    class Plain(al.Middleware):
        def model(self, request: Any, next: Any) -> Any:
            return Wrapped(next(request))

    result = al.run("?", provider=Scripted(says("hello")), middleware=[Plain()])
    assert (result.status, result.text) == ("completed", "hello")


def test_a_middleware_may_block_a_call():
    class Block(al.Middleware):
        async def tool(self, call: Any, next: Any) -> ToolResult:
            from alloy_nb.messages import Text

            return ToolResult(call_id=call.id, content=(Text(text="Blocked: no"),), is_error=True)

    model = Scripted(calls(("add", {"a": 1, "b": 2})), says("3"))
    result = al.run("?", provider=model, tools=[add], middleware=[Block()])
    assert result.tool_calls[0].error == "Blocked: no"
    assert result.status == "completed"


def test_a_middleware_may_edit_a_call():
    class Edit(al.Middleware):
        async def tool(self, call: Any, next: Any) -> ToolResult:
            return await next(call.model_copy(update={"input": {"a": 40, "b": 2}}))

    model = Scripted(calls(("add", {"a": 1, "b": 2})), says("ok"))
    al.run("?", provider=model, tools=[add], middleware=[Edit()])
    assert model.requests[1].messages[-1].content[0].text == "42"


class HaltIn(al.Middleware):
    def __init__(self, place: str) -> None:
        self.place = place

    async def run(self, run: Any, next: Any) -> Any:
        if self.place == "run":
            raise Halted("enough")
        return await next(run)

    async def model(self, request: Any, next: Any) -> AsyncIterator[Any]:
        if self.place == "before":
            raise Halted("enough")
        async for event in next(request):
            yield event
            if self.place == "within" and isinstance(event, TextDelta):
                raise Halted("enough")

    async def tool(self, call: Any, next: Any) -> Any:
        if self.place == "tool":
            raise Halted("enough")
        return await next(call)


@pytest.mark.parametrize("place", ["run", "before", "within", "tool"])
def test_a_middleware_may_halt_a_run_anywhere(place):
    model = Scripted(
        calls(("add", {"a": 1, "b": 2}), ("add", {"a": 1, "b": 3}), text="so"), says("3")
    )
    result = al.run("?", provider=model, tools=[add], middleware=[HaltIn(place)])
    assert (result.status, result.error, result.ok) == ("halted", "enough", False)
    check_anthropic(body(ANTHROPIC, *result.messages, user("go on")))
    assert model.closed == len(model.requests)


@pytest.mark.parametrize("fault", [ZeroDivisionError, SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("place", ["run", "model", "tool"])
def test_a_fault_of_a_middleware_ends_the_run_and_nothing_else(place, fault, caplog):
    async def broken(*args: Any) -> Any:
        raise fault("oops")

    layer = al.Middleware()
    if place == "model":
        layer.model = lambda request, next: _raising(fault)  # type: ignore[method-assign]
    else:
        setattr(layer, place, broken_of(fault))
    model = Scripted(calls(("add", {"a": 1, "b": 2})), says("3"))
    try:
        result = al.run("?", provider=model, tools=[add], middleware=[layer])
        assert result.messages[0].text == "?"
    except fault:
        assert fault is not ZeroDivisionError
    # The next run works: the loop that all runs share is still there.
    assert al.run("?", provider=Scripted(says("fine"))).text == "fine"


def broken_of(fault: type[BaseException]) -> Any:
    async def broken(first: Any, next: Any) -> Any:
        raise fault("oops")

    return broken


async def _raising(fault: type[BaseException]) -> AsyncIterator[Any]:
    raise fault("oops")
    yield


def test_a_stream_that_never_stops_properly_is_no_whole_reply():
    result = al.run("?", provider=Scripted(says("a")[:-1]))
    assert result.status == "error"
    assert result.messages[-1].text == "a"


def test_every_error_of_ours_is_one_family():
    assert issubclass(Halted, AlloyError)
    assert Stopped.__name__ == "Stopped"

"""The executor: whatever a tool does, its call has one answer and the others are as they were."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import alloy_nb as al
from alloy_nb.engine.agent import Agent
from alloy_nb.engine.calls import executor
from alloy_nb.events import ToolFinished, ToolStarted
from alloy_nb.messages import ToolCall, ToolResult
from tests.engine.scripted import Scripted, calls, of_run, says
from tests.engine.test_loop import add, logged
from tests.engine.test_tools import answer_of, run_calls

released = threading.Event()


class Hanging:
    def __repr__(self) -> str:
        released.wait(20)
        return "at last"


class Exiting:
    def __repr__(self) -> str:
        sys.exit(3)


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Mutest(Exception):
    def __str__(self) -> str:
        raise SystemExit(1)


def returning(value: Any, asynchronous: bool, **options: Any) -> al.Tool:
    async def awaited() -> Any:
        return value

    def plain() -> Any:
        return value

    return al.tool(name="odd", **options)(awaited if asynchronous else plain)


BESIDE = [("add", {"a": 1, "b": 1}, "first"), ("odd", {}, "odd"), ("add", {"a": 2, "b": 2}, "last")]


def beside(tool: al.Tool, **more: Any) -> Any:
    """Run an odd tool between two others; return its answer once the others are found whole."""
    answers, result = run_calls(*BESIDE, tools=[tool, add], **more)
    assert [answer.call_id for answer in answers] == ["first", "odd", "last"]
    assert [record.id for record in result.tool_calls] == ["first", "odd", "last"]
    assert [answers[0].text, answers[2].text] == ["2", "4"]
    return answers[1]


# --- what a tool may do ---------------------------------------------------------------------------


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_value_whose_repr_hangs_is_an_error_and_holds_up_nobody(asynchronous):
    released.clear()
    began = time.monotonic()
    answer = beside(returning(Hanging(), asynchronous, timeout=0.3))
    assert time.monotonic() - began < 10
    released.set()
    assert answer.is_error
    assert "limit of 0.3 s" in answer.text


def test_the_loop_goes_on_while_a_repr_hangs():
    released.clear()

    async def go() -> int:
        model = Scripted(calls(("odd", {})), says("a"))
        agent = Agent(model, tools=(returning(Hanging(), True, timeout=1.0),))
        async with agent.start("?") as run:
            ticks = 0
            while not run.done:
                await asyncio.sleep(0.01)
                ticks += 1
            return ticks

    assert asyncio.run(go()) > 5
    released.set()


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_value_whose_repr_ends_the_program_is_an_error(asynchronous):
    answer = beside(returning(Exiting(), asynchronous))
    assert (answer.is_error, answer.text) == (True, "Tool crashed: SystemExit: 3")


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("error", [Mute(), Mutest()])
def test_an_error_that_has_no_words_is_told_by_its_type(error, asynchronous):
    async def awaited() -> str:
        raise error

    def plain() -> str:
        raise error

    answer = beside(al.tool(name="odd")(awaited if asynchronous else plain))
    assert answer.is_error
    assert answer.text.startswith(f"Tool crashed: {type(error).__name__}: its text could not")


def test_a_plain_function_that_makes_a_coroutine_is_awaited():
    async def later() -> str:
        return "later"

    assert answer_of(al.tool(name="odd")(lambda: later())).text == "later"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_result_without_a_limit_is_cut_where_no_model_reads_on(asynchronous, monkeypatch):
    monkeypatch.setattr(executor, "_LONGEST", 10_000)
    answer = beside(returning("a" * 9_000 + "b" * 9_000, asynchronous))
    assert len(answer.text) < 10_100
    assert answer.text.startswith("a" * 8_000)
    assert answer.text.endswith("b" * 2_000)
    assert "18,000 characters, cut to 10,000" in answer.text


def test_an_error_is_cut_there_too(monkeypatch):
    monkeypatch.setattr(executor, "_LONGEST", 10_000)

    def fail() -> str:
        raise ValueError("x" * 100_000)

    assert len(beside(al.tool(name="odd")(fail)).text) < 10_100


@pytest.mark.slow
def test_a_tool_that_prints_a_gigabyte_is_answered_within_its_bounds(tmp_path):
    command = "head -c 1000000000 /dev/zero | tr '\\0' x"
    model = Scripted(
        calls(("bash", {"command": command}, "odd"), ("add", {"a": 1, "b": 1}, "last")), says("a")
    )
    al.run("?", provider=model, tools=[al.bash, add], working_directory=tmp_path)
    odd, last = model.requests[1].messages[-1].content
    assert (odd.call_id, odd.is_error, len(odd.text) < 40_000) == ("odd", False, True)
    assert "exit code: 0" in odd.text
    assert last.text == "2"


def wait(*_: Any, **__: Any) -> Any:
    released.wait(20)
    return "at last"


def fail(*_: Any, **__: Any) -> Any:
    raise ValueError("mine")


def leave(*_: Any, **__: Any) -> Any:
    raise SystemExit(3)


def made(base: type, **methods: Any) -> Any:
    """Make an object of a class with these methods."""
    return type("Odd", (base,), methods)()


def nested() -> Any:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    return deep


def endless() -> Any:
    loop: dict[str, Any] = {}
    loop["me"] = loop
    return loop


HOSTILE: dict[str, Callable[[], Any]] = {
    "repr-fails": lambda: made(object, __repr__=fail),
    "repr-leaves": lambda: made(object, __repr__=leave),
    "repr-hangs": lambda: made(object, __repr__=wait),
    "repr-is-no-text": lambda: made(object, __repr__=lambda self: 3),
    "repr-is-huge": lambda: made(object, __repr__=lambda self: "x" * 50_000_000),
    "repr-is-itself": lambda: made(object, __repr__=lambda self: repr(self)),
    "class-fails": lambda: made(object, __class__=property(fail)),
    "class-leaves": lambda: made(object, __class__=property(leave)),
    "class-hangs": lambda: made(object, __class__=property(wait)),
    "class-lies": lambda: made(object, __class__=property(lambda self: str)),
    "attributes-fail": lambda: made(object, __getattr__=fail),
    "attributes-hang": lambda: made(object, __getattr__=wait),
    "bool-fails": lambda: made(object, __bool__=fail),
    "bool-hangs": lambda: made(list, __bool__=wait, __len__=wait),
    "length-lies": lambda: made(list, __len__=lambda self: 10**9),
    "length-fails": lambda: made(str, __len__=fail),
    "text-hangs": lambda: made(str, __len__=wait, __str__=wait, __eq__=wait, __hash__=None),
    "iteration-hangs": lambda: made(list, __iter__=wait),
    "iteration-fails": lambda: made(dict, __iter__=fail, items=fail, keys=fail),
    "iteration-never-ends": lambda: iter(int, 1),
    "equality-hangs": lambda: made(object, __eq__=wait, __hash__=None),
    "deep": nested,
    "endless": endless,
    "huge-text": lambda: "x" * 50_000_000,
    "huge-list": lambda: list(range(1_000_000)),
    "lone-surrogate": lambda: "a\ud83d",
    "nul": lambda: "a\x00b",
    "awaitable-that-fails": lambda: made(object, __await__=fail),
    "a-class": lambda: type,
    "a-module": lambda: sys,
}


@pytest.mark.slow
@pytest.mark.parametrize("asynchronous", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize("kind", HOSTILE)
def test_no_value_spoils_more_than_its_own_call(kind, asynchronous):
    released.clear()
    watchdog = threading.Timer(5.0, released.set)  # should it hang after all, it ends
    watchdog.start()
    began = time.monotonic()
    answer = beside(returning(HOSTILE[kind](), asynchronous, timeout=1.0))
    watchdog.cancel()
    released.set()
    assert time.monotonic() - began < 20
    assert len(answer.text) < 2_100_000
    answer.text.encode("utf-8", "surrogatepass")


# --- how long a result may be ---------------------------------------------------------------------


def test_what_went_wrong_is_told_whole():
    tool = al.tool(name="odd", max_result_chars=20)(lambda: al.ToolOutput("e" * 500, is_error=True))
    assert answer_of(tool).text == "e" * 500

    def fail() -> str:
        raise al.ToolError("e" * 500)

    assert answer_of(al.tool(name="odd", max_result_chars=20)(fail)).text == "e" * 500


@given(
    st.text(alphabet="ab\u00e9\U0001f600", max_size=300), st.integers(min_value=0, max_value=120)
)
@settings(max_examples=200, deadline=None)
def test_a_cut_text_keeps_four_fifths_of_its_limit_at_the_front(text, limit):
    cut = executor._bounded(al.Text(text=text), limit).text
    if len(text) <= limit:
        assert cut == text
    else:
        head = limit * 4 // 5
        assert cut.startswith(text[:head])
        assert cut.endswith(text[len(text) - (limit - head) :])
        assert f"[... {len(text):,} characters, cut to {limit:,} ...]" in cut


@given(st.integers(min_value=0, max_value=12_000))
@settings(max_examples=60, deadline=None)
def test_a_key_that_the_cut_goes_through_is_cut_away(position):
    from alloy_nb.secrets import redact, register

    key = "canary-key-that-was-registered-0123456789"
    register(key)
    text = "." * position + key + "." * (20_000 - position)
    cut = executor._bounded(al.Text(text=text), 10_000).text
    assert redact(cut) == cut
    assert "canary" not in cut
    assert "0123456789" not in cut


# --- the order of things --------------------------------------------------------------------------


def test_tools_that_run_alone_have_a_limit_too():
    released.clear()
    slow = al.tool(name="odd", concurrent=False, timeout=0.2)(lambda: released.wait(20))
    answer = beside(slow)
    released.set()
    assert "limit of 0.2 s" in answer.text


def test_a_call_without_arguments_has_none():
    seen: list[Any] = []
    tool = al.tool(name="odd")(lambda: seen.append("ran") or "ok")
    answers, result = run_calls(("odd", ""), tools=[tool])
    assert (answers[0].text, seen, result.tool_calls[0].input) == ("ok", ["ran"], {})


def test_two_calls_of_one_id_have_an_answer_each():
    model = Scripted(
        calls(("add", {"a": 1, "b": 1}, "x"), ("add", {"a": 2, "b": 2}, "x")), says("a")
    )
    result = al.run("?", provider=model, tools=[add])
    assert [r.text for r in result.messages[2].content] == ["2", "4"]


def test_every_call_that_ran_is_seen_to_start_and_to_end_under_one_count():
    _, events = logged(
        Agent(Scripted(calls(*BESIDE), says("a")), tools=(add, returning("ok", True)))
    )
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert {event.v for event in events} == {1}
    assert {event.run_id for event in events} == {events[0].run_id}
    about = [e for e in events if isinstance(e.body, (ToolStarted, ToolFinished))]
    assert {event.turn for event in about} == {1}
    for id_ in ("first", "odd", "last"):
        kinds = [type(e.body) for e in about if e.body.call.id == id_]
        assert kinds == [ToolStarted, ToolFinished]


# --- what a middleware around a call may do -------------------------------------------------------


class Around(al.Middleware):
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def tool(self, call: ToolCall, next: Any) -> Any:  # noqa: A002
        return await self.answer(call, next)


async def _none(call: Any, next: Any) -> Any:  # noqa: A002
    return None


async def _exit(call: Any, next: Any) -> Any:  # noqa: A002
    raise SystemExit(1)


async def _rename(call: Any, next: Any) -> Any:  # noqa: A002
    return await next(call.model_copy(update={"name": "other"}))


@pytest.mark.parametrize("answer", [_none, _exit, _rename])
def test_a_fault_around_a_call_is_its_answer_and_nobody_elses(answer):
    model = Scripted(calls(("add", {"a": 1, "b": 1}, "x")), says("a"))
    result = al.run("?", provider=model, tools=[add], middleware=[Around(answer)])
    assert result.status == "completed"
    assert result.tool_calls[0].error.startswith("Tool crashed: ")


def test_an_answer_of_a_middleware_carries_the_id_of_its_call():
    async def invents(call: ToolCall, next: Any) -> ToolResult:  # noqa: A002
        return ToolResult(call_id="invented", content=(al.Text(text="mine"),))

    model = Scripted(calls(("add", {"a": 1, "b": 1}, "x")), says("a"))
    al.run("?", provider=model, tools=[add], middleware=[Around(invents)])
    (answer,) = model.requests[1].messages[-1].content
    assert (answer.call_id, answer.name, answer.text) == ("x", "add", "mine")


# --- who is told ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("context", "wanted"),
    [
        ({"request_id": "r", "correlation_id": "c"}, "r"),
        ({"correlation_id": "c"}, "c"),
        ({"request_id": 7}, "7"),
    ],
)
def test_a_run_goes_by_the_id_that_the_caller_gave(context, wanted):
    async def go() -> str:
        async with Agent(Scripted(says("a")), context=context).start("?") as run:
            await run.result()
            assert run.events[0].body.correlation_id == run.correlation_id
            return run.correlation_id

    assert asyncio.run(go()) == wanted


def test_a_run_without_an_id_of_the_caller_goes_by_its_own():
    async def go() -> bool:
        async with Agent(Scripted(says("a"))).start("?") as run:
            await run.result()
            return run.correlation_id == run.id == run.events[0].run_id

    assert asyncio.run(go())


def test_a_finished_tool_is_told_with_its_time():
    _, events = logged(Agent(Scripted(calls(("odd", {})), says("a")), tools=(returning(1, True),)))
    (finished,) = of_run(ToolFinished, events)
    assert 0 <= finished.seconds < 60

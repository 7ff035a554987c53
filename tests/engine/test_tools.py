"""Tools: what they are told, when they run, and that each call has one answer."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

import alloy_nb as al
from alloy_nb.engine.calls.tool import as_tool
from alloy_nb.errors import ConfigError
from alloy_nb.events import ApprovalAsked, ToolFinished, ToolProgress, ToolStarted
from alloy_nb.messages import Text, user
from tests.engine.scripted import Scripted, calls, says
from tests.engine.test_loop import add, logged
from tests.oracles.invariants import check_anthropic, check_chat
from tests.providers.wires import ANTHROPIC, CHAT, body


def run_calls(*wanted: Any, **settings: Any) -> tuple[list[Any], al.Result]:
    """Let the model make these calls once; return the results that it got, and the outcome."""
    model = Scripted(calls(*wanted), says("done"))
    result = al.run("?", provider=model, **settings)
    assert result.status == "completed", result.error
    check_anthropic(body(ANTHROPIC, *result.messages))
    check_chat(body(CHAT, *result.messages))
    return list(model.requests[1].messages[-1].content), result


def answer_of(tool: Any, arguments: Any = None, **settings: Any) -> Any:
    name = as_tool(tool).name
    (answer,), _ = run_calls(
        (name, {} if arguments is None else arguments), tools=[tool], **settings
    )
    return answer


# --- what a tool is -------------------------------------------------------------------------------


def test_a_function_becomes_a_tool():
    @al.tool
    def lookup(city: str, *, days: int = 1, unit: Literal["C", "F"] = "C") -> str:
        """Look up the weather
        of a city.

        More that the model need not know.
        """
        return f"{city} {days} {unit}"

    assert (lookup.name, lookup.description) == ("lookup", "Look up the weather of a city.")
    schema = lookup.input_schema
    assert schema["required"] == ["city"]
    assert schema["properties"]["days"] == {"type": "integer", "default": 1}
    assert schema["additionalProperties"] is False
    assert lookup("Oslo", days=2) == "Oslo 2 C"


def test_a_tool_is_made_with_settings():
    @al.tool(name="look-up", description="Look.", risk="write", concurrent=False, timeout=3)
    def lookup() -> str:
        return ""

    assert (lookup.name, lookup.description, lookup.risk) == ("look-up", "Look.", "write")
    assert (lookup.concurrent, lookup.timeout) == (False, 3)


def test_a_field_of_pydantic_describes_a_parameter():
    @al.tool
    def f(n: Annotated[int, Field(description="how many", ge=1)] = 2) -> int:
        """F."""
        return n

    assert f.input_schema["properties"]["n"]["description"] == "how many"
    assert "greater than or equal" in answer_of(f, {"n": 0}).text


@pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 65])
def test_a_name_that_no_vendor_takes_is_refused(name):
    with pytest.raises(ConfigError, match="name"):
        al.tool(name=name)(lambda: "")


def test_loose_parameters_are_refused():
    with pytest.raises(ConfigError, match="named parameters"):
        al.tool(lambda *things: "")


def test_what_is_no_tool_is_refused():
    with pytest.raises(ConfigError, match="no tool"):
        al.run("?", provider=Scripted(), tools=["bash"])


def test_of_two_tools_with_one_name_the_later_counts():
    one = al.tool(name="f")(lambda: "one")
    two = al.tool(name="f")(lambda: "two")
    answers, _ = run_calls(("f", {}), tools=[one, two])
    assert answers[0].text == "two"


# --- what it returns ------------------------------------------------------------------------------


class Broken:
    def __repr__(self) -> str:
        raise ValueError("no")


class Point(BaseModel):
    x: int


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("hello", "hello"),
        ("", ""),
        (None, "(no output)"),
        (42, "42"),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        (Point(x=1), '{"x":1}'),
        (object, "<class 'object'>"),
        (Broken(), "<Broken, whose repr raised ValueError>"),
        (b"\xff", "b'\\xff'"),
    ],
)
def test_whatever_a_tool_returns_becomes_text(value, text):
    answer = answer_of(al.tool(name="f")(lambda: value))
    assert answer.text == text
    assert not answer.is_error


def test_a_tool_may_return_pictures():
    picture = al.Image(data="iVBORw0KGgo=")
    answer = answer_of(al.tool(name="f")(lambda: ["see", picture]))
    assert answer.content == (Text(text="see"), picture)


def test_a_tool_may_return_data_for_the_program():
    tool = al.tool(name="f")(lambda: al.ToolOutput("three rows", data=[1, 2, 3]))
    (answer,), result = run_calls(("f", {}), tools=[tool])
    assert answer.text == "three rows"
    assert result.tool_calls[0].data == [1, 2, 3]


def test_a_tool_may_say_that_it_failed():
    assert answer_of(al.tool(name="f")(lambda: al.ToolOutput("no", is_error=True))).is_error


def test_a_long_result_is_cut_in_the_middle():
    answer = answer_of(al.tool(name="f", max_result_chars=100)(lambda: "a" * 500 + "b" * 500))
    assert answer.text.startswith("a" * 80)
    assert answer.text.endswith("b" * 20)
    assert "1,000 characters, cut to 100" in answer.text


def test_a_key_in_a_result_never_reaches_the_model(monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "canary-key-0123456789")
    answer = answer_of(al.tool(name="f")(lambda: "it is canary-key-0123456789!"))
    assert answer.text == "it is ***!"


def test_a_key_in_an_error_never_reaches_the_model(monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "canary-key-0123456789")

    def f() -> str:
        raise ValueError("canary-key-0123456789")

    assert "canary" not in answer_of(f).text


# --- what goes wrong ------------------------------------------------------------------------------


def raising(error: BaseException) -> Any:
    def f() -> str:
        """Fail."""
        raise error

    return f


def araising(error: BaseException) -> Any:
    async def f() -> str:
        """Fail."""
        raise error

    return f


@pytest.mark.parametrize("make", [raising, araising])
def test_an_error_for_the_model_goes_to_it_in_its_own_words(make):
    answer = answer_of(make(al.ToolError("No such city.")))
    assert (answer.text, answer.is_error) == ("No such city.", True)


@pytest.mark.parametrize("make", [raising, araising])
@pytest.mark.parametrize(
    "error",
    [
        ValueError("oops"),
        SystemExit(3),
        KeyboardInterrupt("stop"),
        StopIteration("x"),
        GeneratorExit(),
        RecursionError("deep"),
        asyncio.CancelledError("mine"),
        TimeoutError("mine"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_tool_that_crashes_is_an_answer_and_the_run_goes_on(make, error, caplog):
    answer = answer_of(make(error))
    assert answer.is_error
    assert answer.text.startswith("Tool crashed: ")
    assert "limit" not in answer.text


@pytest.mark.parametrize("make", [raising, araising])
def test_a_crash_beside_other_calls_spoils_none_of_them(make):
    tools = [make(SystemExit(1)), add]
    answers, _ = run_calls(
        ("add", {"a": 1, "b": 1}), ("f", {}), ("add", {"a": 2, "b": 2}), tools=tools
    )
    assert [a.text for a in answers][0::2] == ["2", "4"]
    assert answers[1].is_error


def test_an_unknown_tool_is_told_with_the_nearest():
    answers, result = run_calls(("ad", {}), tools=[add])
    assert answers[0].is_error
    assert "Unknown tool: ad. Did you mean add?" in answers[0].text
    assert result.tool_calls[0].error == answers[0].text


def test_a_call_where_there_are_no_tools_is_told():
    answers, _ = run_calls(("bash", {}))
    assert "none" in answers[0].text


counted: list[Any] = []


@al.tool
def count(n: int, word: str = "x") -> str:
    """Count."""
    counted.append((n, word))
    return "ok"


@pytest.mark.parametrize(
    "bad", ['{"n": 1', "[1]", '"n"', "null", "NaN", '{"n": NaN}', '{"n": 1e999}', "{}{}", "n=1"]
)
def test_arguments_that_are_no_object_never_run_and_are_shown_to_the_model(bad):
    counted.clear()
    answers, _ = run_calls(("count", bad), tools=[count])
    assert counted == []
    assert answers[0].is_error
    assert "not a JSON object" in answers[0].text
    assert bad in answers[0].text


@pytest.mark.parametrize(
    "bad", [{}, {"n": "many"}, {"n": None}, {"n": 1, "m": 2}, {"n": [1]}, {"n": 1, "word": 3}]
)
def test_arguments_that_do_not_fit_never_run_and_the_model_is_told_how(bad):
    counted.clear()
    answers, _ = run_calls(("count", bad), tools=[count])
    assert counted == []
    assert "The arguments of count are not valid, so it did not run." in answers[0].text


def test_mutated_arguments_never_raise_and_run_only_when_they_fit():
    import random

    random.seed(7)
    good = '{"n": 12, "word": "a\\n\\u00e9😀"}'
    pool = '{}[]":,0123456789eE.-+\\u truefalsn\ud83d\x00é'
    wanted = []
    for _ in range(2000):
        text = list(good)
        for _ in range(random.randint(1, 4)):
            place = random.randrange(len(text) + 1)
            match random.randrange(3):
                case 0:
                    text[place:place] = random.choice(pool)
                case 1:
                    del text[place : place + random.randint(1, 5)]
                case 2:
                    text = text[:place] or ["{"]
        wanted.append(("count", "".join(text)))
    counted.clear()
    answers, _ = run_calls(*wanted, tools=[count])
    ran = sum(not answer.is_error for answer in answers)
    assert ran == len(counted)
    assert all(isinstance(n, int) and isinstance(word, str) for n, word in counted)
    assert 0 < ran < 2000


# --- side by side ---------------------------------------------------------------------------------


@pytest.mark.parametrize("asynchronous", [True, False])
def test_calls_run_side_by_side_and_answer_in_their_order(asynchronous):
    all_begun, begun = asyncio.Barrier(16), threading.Barrier(16, timeout=20)

    @al.tool(name="wait")
    async def awaits(n: int) -> str:
        await all_begun.wait()
        await asyncio.sleep(0.1 + (16 - n) * 0.002)
        return str(n)

    @al.tool(name="wait")
    def sleeps(n: int) -> str:
        begun.wait()
        time.sleep(0.1 + (16 - n) * 0.002)
        return str(n)

    answers, result = run_calls(
        *[("wait", {"n": n}, f"id{n}") for n in range(16)],
        tools=[awaits if asynchronous else sleeps],
        tool_timeout=20,
    )
    assert [a.text for a in answers] == [str(n) for n in range(16)]
    assert [r.id for r in result.tool_calls] == [f"id{n}" for n in range(16)]
    assert all(r.seconds >= 0.09 for r in result.tool_calls)


def test_tools_that_must_not_run_beside_others_go_first_one_after_another():
    log: list[str] = []
    lock = threading.Lock()

    def noting(name: str, concurrent: bool) -> al.Tool:
        @al.tool(name=name, concurrent=concurrent)
        def f() -> str:
            with lock:
                log.append(f"{name} begins")
            time.sleep(0.02)
            with lock:
                log.append(f"{name} ends")
            return name

        return f

    tools = [noting("a", True), noting("b", False), noting("c", True), noting("d", False)]
    answers, _ = run_calls(*[(name, {}) for name in "abcd"], tools=tools)
    assert log[:4] == ["b begins", "b ends", "d begins", "d ends"]
    assert [a.text for a in answers] == list("abcd")


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_call_that_takes_too_long_is_answered_and_the_others_are_kept(asynchronous):
    async def awaits() -> str:
        await asyncio.sleep(30)
        return ""

    released = threading.Event()

    def sleeps() -> str:
        released.wait(30)
        return ""

    slow = al.tool(name="slow", timeout=0.1)(awaits if asynchronous else sleeps)
    answers, _ = run_calls(("slow", {}), ("add", {"a": 1, "b": 2}), tools=[slow, add])
    released.set()
    assert answers[0].is_error
    assert "limit of 0.1 s" in answers[0].text
    assert answers[1].text == "3"


def test_a_tool_without_any_limit_may_still_time_out_by_itself():
    answer = answer_of(raising(TimeoutError("the database")), tool_timeout=None)
    assert "the database" in answer.text


# --- what it knows --------------------------------------------------------------------------------


def test_a_tool_is_told_its_context_which_the_model_does_not_see(tmp_path):
    told: list[al.ToolContext] = []

    @al.tool
    def f(context: al.ToolContext, n: int = 1) -> str:
        """F."""
        told.append(context)
        return "ok"

    run_calls(
        ("f", {}, "id7"),
        tools=[f],
        working_directory=tmp_path,
        context={"user": "me"},
        allowed_paths=[tmp_path],
        tool_timeout=9,
    )
    (context,) = told
    assert list(f.input_schema["properties"]) == ["n"]
    assert (context.working_directory, context.allowed_paths) == (tmp_path, (tmp_path,))
    assert (context.values, context.call_id) == ({"user": "me"}, "id7")
    assert 0 < context.deadline - time.monotonic() <= 9


def test_progress_is_told_while_the_tool_runs():
    @al.tool
    def f(context: al.ToolContext) -> str:
        """F."""
        context.progress("half")
        context.progress("done")
        return "ok"

    _, events = logged(al.Agent(Scripted(calls(("f", {})), says("a")), tools=(f,)))
    told = [e.body for e in events if isinstance(e.body, (ToolStarted, ToolProgress, ToolFinished))]
    assert [type(body) for body in told] == [ToolStarted, ToolProgress, ToolProgress, ToolFinished]
    assert [body.text for body in told[1:3]] == ["half", "done"]


def test_progress_of_a_tool_that_was_given_up_is_not_told_any_more():
    go_on, told = threading.Event(), threading.Event()

    @al.tool(timeout=0.05)
    def f(context: al.ToolContext) -> str:
        """F."""
        go_on.wait(5)
        context.progress("too late")
        told.set()
        return "ok"

    async def go() -> list[Any]:
        async with al.Agent(Scripted(calls(("f", {})), says("a")), tools=(f,)).start("?") as run:
            await run.result()
            go_on.set()
            await asyncio.to_thread(told.wait, 5)
            await asyncio.sleep(0.01)
            return run.events

    events = asyncio.run(go())
    assert not [e for e in events if isinstance(e.body, ToolProgress)]


def test_a_tool_sees_the_callers_context_variables():
    import contextvars

    who = contextvars.ContextVar("who", default="nobody")
    who.set("me")
    assert answer_of(al.tool(name="f")(lambda: who.get())).text == "me"


def test_a_main_thread_tool_runs_on_the_callers_thread():
    threads: list[Any] = []

    @al.tool(main_thread=True)
    def f() -> str:
        """F."""
        threads.append(threading.current_thread())
        return "ok"

    answer_of(f)
    assert threads == [threading.current_thread()]


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), StopIteration()])
def test_a_main_thread_tool_that_crashes_is_an_answer(error):
    answer = answer_of(al.tool(name="f", main_thread=True)(raising(error)))
    assert answer.text.startswith("Tool crashed: ")


# --- whether it may run ---------------------------------------------------------------------------

ran: list[str] = []


@al.tool(risk="read")
def look() -> str:
    """Read something."""
    ran.append("look")
    return "seen"


@al.tool(risk="write")
def change() -> str:
    """Change something."""
    ran.append("change")
    return "changed"


async def ask_yes(call: Any, tool: Any) -> al.Decision:
    return al.Decision(allowed=True)


async def ask_no(call: Any, tool: Any) -> al.Decision:
    return al.Decision(allowed=False, reason="Not today.")


def test_a_function_that_does_not_say_what_it_does_is_asked_about():
    @al.tool
    def fetch(url: str) -> str:
        """Fetch a page."""
        raise AssertionError

    answers, _ = run_calls(("fetch", {"url": "http://x"}), tools=[fetch], approve="read")
    assert answers[0].text.startswith("The user rejected this call; it did not run.")


@pytest.mark.parametrize(
    ("approve", "allowed"),
    [
        ("all", ["look", "change"]),
        ("read", ["look"]),
        ("ask", ["look"]),
        ("none", []),
        (ask_yes, ["look", "change"]),
        (ask_no, []),
    ],
)
def test_a_policy_decides_what_runs(approve, allowed):
    ran.clear()
    answers, _ = run_calls(("look", {}), ("change", {}), tools=[look, change], approve=approve)
    assert sorted(ran) == sorted(allowed)
    for answer, name in zip(answers, ("look", "change"), strict=True):
        assert answer.is_error is (name not in allowed)
        if name not in allowed:
            assert answer.text.startswith("The user rejected this call; it did not run.")


def test_the_reason_of_a_refusal_goes_to_the_model():
    answers, _ = run_calls(("change", {}), tools=[change], approve=ask_no)
    assert answers[0].text.endswith("Not today.")


def test_everything_is_asked_before_anything_runs():
    log: list[str] = []

    async def ask(call: Any, tool: Any) -> al.Decision:
        log.append(f"ask {call.name}")
        return al.Decision(allowed=True)

    tools = [
        al.tool(name=n, risk="run", concurrent=c)(lambda n=n: log.append(f"run {n}"))
        for n, c in (("a", True), ("b", False))
    ]
    run_calls(("a", {"n": "a"}), ("b", {"n": "b"}), tools=tools, approve=ask)
    assert log[:2] == ["ask a", "ask b"]


def test_what_is_asked_is_exactly_what_would_run():
    model = Scripted(calls(("change", {})), says("a"))
    _, events = logged(al.Agent(model, tools=(change,), approve=ask_yes))
    (asked,) = [e.body for e in events if isinstance(e.body, ApprovalAsked)]
    assert asked.subject == "change({})"


def test_a_call_that_cannot_run_is_not_asked_about():
    asked: list[str] = []

    async def ask(call: Any, tool: Any) -> al.Decision:
        asked.append(call.name)
        return al.Decision(allowed=True)

    run_calls(("nope", {}), ("change", "{oops"), tools=[change], approve=ask)
    assert asked == []


def test_a_face_that_fails_to_ask_runs_nothing(caplog):
    async def ask(call: Any, tool: Any) -> al.Decision:
        raise ValueError("the widget is gone")

    ran.clear()
    model = Scripted(calls(("change", {}), ("look", {})), says("a"))
    result = al.run("?", provider=model, tools=[change, look], approve=ask)
    assert result.status == "error"
    assert ran == []
    check_anthropic(body(ANTHROPIC, *result.messages, user("go on")))

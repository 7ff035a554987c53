"""The dial holds for every tool and every agent, and the person sees what the model does not."""

from __future__ import annotations

import pytest

import alloy_nb as al
from alloy_nb.engine.delegation import as_tool
from alloy_nb.engine.middleware.base import Middleware
from alloy_nb.events import ToolFinished, ToolWithheld
from alloy_nb.messages import Image, ToolResult
from alloy_nb.notebook.drawing.transcript import Transcript
from alloy_nb.notebook.inputs.columns import Columns
from alloy_nb.notebook.inputs.dial import KEY, Dial
from alloy_nb.notebook.inputs.withholding import Withholding
from tests.engine.scripted import Scripted, calls, of_run, says

CANARY = "canary-7319"


@al.tool(name="python", risk="read")
def python(code: str) -> str:
    """Run code."""
    return f"told by itself: {code}"


@al.tool(risk="read")
def look(what: str) -> str:
    """Look."""
    return f"{what}\n{CANARY}\nthird line"


@al.tool(risk="read")
def fail() -> str:
    """Fail."""
    raise al.ToolError(CANARY)


@al.tool(risk="read")
def crash() -> str:
    """Crash."""
    raise RuntimeError(CANARY)


@al.tool(risk="read")
def picture() -> list:
    """Show a picture."""
    return [CANARY, Image(data="aGk=")]


TOOLS = [python, look, fail, crash, picture]


class _Session:
    pass


def ask(level, *wanted, tools=TOOLS, middleware=(), namespace=None, **settings):
    """Let a model call tools, and return the model, the result and the events."""
    model = Scripted(calls(*wanted), otherwise=says("Done."))
    layer = Withholding(python, columns=Columns(), session=_Session(), namespace=namespace or {})
    events = []
    result = al.stream(
        "Go.",
        lambda _: None,
        provider=model,
        tools=tools,
        middleware=[layer, *middleware],
        context={KEY: level},
        on_event=events.append,
        **settings,
    )
    return model, result, events


def answer(model, number=0):
    """Return what the model was told of its first call."""
    results = [b for b in model.requests[1].messages[-1].content if isinstance(b, ToolResult)]
    return results[number].text


def sent(model):
    return "\n".join(str([m.model_dump() for m in r.messages]) for r in model.requests)


@pytest.mark.parametrize("level", ["none", "names", "schema"])
@pytest.mark.parametrize("tool", ["look", "fail", "crash", "picture"])
def test_what_a_tool_answers_is_not_sent(tool, level):
    arguments = {"what": "x"} if tool == "look" else {}
    model, _, _ = ask(level, (tool, arguments))
    assert CANARY not in sent(model)
    assert "aGk=" not in sent(model)


def test_the_model_hears_how_much_a_tool_answered():
    model, _, _ = ask("schema", ("look", {"what": "x"}))
    assert (
        answer(model) == "[look answered with 3 lines, shown to the user, not sent: --data schema]"
    )


def test_the_model_hears_that_a_tool_failed():
    model, _, _ = ask("schema", ("fail", {}))
    assert answer(model).startswith("[fail failed with 1 line")


def test_a_sample_has_the_first_lines_of_an_answer():
    model, _, _ = ask("sample:1", ("look", {"what": "first"}))
    assert answer(model).startswith("first\n[2 more lines")
    assert CANARY not in sent(model)


def test_with_full_an_answer_is_sent_as_it_is():
    model, _, events = ask("full", ("look", {"what": "x"}))
    assert answer(model) == f"x\n{CANARY}\nthird line"
    assert not of_run(ToolWithheld, events)


def test_what_the_python_tool_tells_is_its_own_to_decide():
    model, _, _ = ask("schema", ("python", {"code": "1"}))
    assert answer(model) == "told by itself: 1"


def test_another_tool_of_that_name_is_not_trusted():
    @al.tool(name="python", risk="read")
    def other(code: str) -> str:
        """Run code."""
        return CANARY

    model, _, _ = ask("schema", ("python", {"code": "1"}), tools=[other])
    assert CANARY not in sent(model)


def test_a_crash_of_the_python_tool_is_not_trusted():
    @al.tool(name="python", risk="read")
    def broken(code: str) -> str:
        """Run code."""
        raise RuntimeError(CANARY)

    model = Scripted(calls(("python", {"code": "1"})), otherwise=says("Done."))
    layer = Withholding(broken, columns=Columns(), session=_Session(), namespace={})
    al.run("Go.", provider=model, tools=[broken], middleware=[layer], context={KEY: "schema"})
    assert CANARY not in sent(model)


def test_what_is_wrong_with_arguments_is_told():
    model, _, _ = ask("schema", ("look", {"wrong": 1}))
    assert "what: Field required" in answer(model)


def test_the_person_is_shown_all_of_it():
    _, _, events = ask("schema", ("look", {"what": "x"}))
    transcript = Transcript()
    for event in events:
        transcript.apply(event)
    shown = next(s for s in transcript.segments if getattr(s, "name", "") == "look").result
    assert shown.startswith(f"x\n{CANARY}\nthird line\n[look answered")


def test_the_journal_of_a_call_has_what_was_sent():
    _, _, events = ask("schema", ("look", {"what": "x"}))
    assert CANARY not in of_run(ToolFinished, events)[0].result.text


def test_a_middleware_that_fails_with_the_answer_tells_nothing():
    class Loud(Middleware):
        async def tool(self, call, next):  # noqa: A002
            raise RuntimeError((await next(call)).text)

    model, _, _ = ask("schema", ("look", {"what": "x"}), middleware=[Loud()])
    assert CANARY not in sent(model)


@pytest.mark.parametrize("own", ["schema", "full", None])
def test_an_agent_that_is_asked_goes_by_the_same_dial(own):
    helper = Scripted(calls(("look", {"what": "x"})), otherwise=says("Seen."))
    context = {} if own is None else {KEY: own}
    agent = al.Agent(provider=helper, tools=(look,), name="helper", context=context)
    model, _, _ = ask("schema", ("ask_helper", {"task": "Look."}), tools=[as_tool(agent)])
    assert len(helper.requests) == 2
    assert CANARY not in sent(helper)
    assert CANARY not in sent(model)


def test_python_of_an_agent_that_has_no_dial_is_not_trusted():
    helper = Scripted(calls(("python", {"code": CANARY})), otherwise=says("Seen."))
    agent = al.Agent(provider=helper, tools=(python,), name="helper")
    ask("schema", ("ask_helper", {"task": "Look."}), tools=[as_tool(agent), python])
    told = helper.requests[1].messages[-1].content[0].text
    assert told == "[python answered with 1 line, shown to the user, not sent: --data schema]"


def test_an_agent_that_is_asked_may_have_a_narrower_dial():
    helper = Scripted(calls(("look", {"what": "x"})), otherwise=says("Seen."))
    layer = Withholding(python, columns=Columns(), session=_Session(), namespace={})
    agent = al.Agent(
        provider=helper, tools=(look,), name="helper", context={KEY: "none"}, middleware=(layer,)
    )
    ask("sample:5", ("ask_helper", {"task": "Look."}), tools=[as_tool(agent)])
    assert helper.requests[1].messages[-1].content[0].text.endswith("not sent: --data none]")


def test_a_dial_is_over_with_its_run():
    ask("none", ("look", {"what": "x"}))
    model, _, _ = ask("full", ("look", {"what": "x"}))
    assert CANARY in sent(model)


def test_two_runs_at_once_keep_their_own_dials():
    import asyncio

    async def both():
        models = [Scripted(calls(("look", {"what": "x"})), otherwise=says("Done.")) for _ in "12"]
        layers = [
            Withholding(python, columns=Columns(), session=_Session(), namespace={}) for _ in "12"
        ]
        await asyncio.gather(
            *(
                al.arun("Go.", provider=m, tools=[look], middleware=[w], context={KEY: level})
                for m, w, level in zip(models, layers, ["schema", Dial()], strict=True)
            )
        )
        return [CANARY in sent(model) for model in models]

    assert asyncio.run(both()) == [False, True]


def test_two_calls_of_one_id_are_two_calls():
    model, _, _ = ask("schema", ("python", {"code": "1"}, "c"), ("look", {"what": "x"}, "c"))
    assert CANARY not in sent(model)


def test_a_value_that_is_asked_for_comes_through():
    model = Scripted(otherwise=calls(("answer", {"value": 7})))
    layer = Withholding(python, columns=Columns(), session=_Session(), namespace={})
    result = al.run(
        "How many?",
        provider=model,
        until_tool=int,
        middleware=[layer],
        context={KEY: "schema"},
        max_turns=2,
    )
    assert result.output == 7, model.requests[0].tools

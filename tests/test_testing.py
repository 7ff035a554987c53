"""The public helpers for testing agents: the script, the real loop, and what is said of it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

import alloy_nb as al
from alloy_nb import errors
from alloy_nb.events import (
    BlockSealed,
    BlockStarted,
    ReplyStarted,
    Stopped,
    TextDelta,
    ThinkingDelta,
    ToolInputDelta,
    UsageReported,
)
from alloy_nb.messages import StopReason, assistant, user
from alloy_nb.providers.base import ModelRequest, Provider
from alloy_nb.providers.fold import ReplyBuilder
from alloy_nb.testing import (
    FOREVER,
    ScriptedProvider,
    Wait,
    arun_with_responses,
    assert_tool_called,
    cut_response,
    error_response,
    last_text,
    refute_tool_called,
    run_with_responses,
    text_response,
    thinking_response,
    tool_calls,
    tool_response,
)
from alloy_nb.usage import Usage


def events_of(reply) -> list:
    """Return what a provider streams for one reply."""

    async def go():
        return [event async for event in ScriptedProvider(reply).stream(ModelRequest([]))]

    return asyncio.run(go())


def kinds(reply) -> list[str]:
    names = [type(event).__name__ for event in events_of(reply)]
    return [name for name, before in zip(names, ["", *names], strict=False) if name != before]


# --- the run --------------------------------------------------------------------------------------


def test_a_text_is_the_answer():
    result = run_with_responses("hi", [text_response("Hello.")])
    assert (result.text, result.status, result.turns) == ("Hello.", "completed", 1)


def test_a_plain_string_is_a_reply_too():
    assert run_with_responses("hi", ["Hello."]).text == "Hello."


def test_the_real_loop_runs_the_tools():
    @al.tool
    def double(n: int) -> int:
        """Double a number."""
        return 2 * n

    result = run_with_responses("2 * 4?", [tool_response("double", {"n": 4}), "8"], tools=[double])
    assert (result.text, result.turns) == ("8", 2)
    assert result.messages[2].content[0].text == "8"


def test_without_tools_there_is_an_echo():
    result = run_with_responses("hi", [tool_response("echo", {"text": "again"}), "done"])
    assert result.messages[2].content[0].text == "again"


def test_there_are_ten_turns_unless_more_are_asked_for():
    replies = [tool_response("echo", {"text": str(n)}) for n in range(20)]
    assert run_with_responses("hi", replies).turns == 10
    assert run_with_responses("hi", replies, max_turns=2).status == "max_turns"


def test_settings_are_those_of_run(tmp_path):
    (tmp_path / "a.txt").write_text("canary")
    seen = []

    class Watch(al.Middleware):
        async def tool(self, call, next):  # noqa: A002
            seen.append(call.name)
            return await next(call)

    result = run_with_responses(
        "hi",
        [tool_response("read", {"file_path": "a.txt"}), "ok"],
        tools=[al.read],
        middleware=[Watch()],
        working_directory=tmp_path,
        system_prompt="Be brief.",
        context={"a": 1},
    )
    assert seen == ["read"]
    assert "canary" in result.messages[2].content[0].text


def test_a_wrong_setting_is_refused():
    with pytest.raises(al.ConfigError, match="Did you mean max_turns"):
        run_with_responses("hi", ["a"], max_turn=3)


def test_the_awaitable_twin_does_the_same():
    result = asyncio.run(arun_with_responses("hi", [tool_response("echo", {"text": "a"}), "b"]))
    assert (result.text, result.turns) == ("b", 2)


def test_a_script_at_its_end_says_so():
    result = run_with_responses("hi", [tool_response("echo", {"text": "a"})])
    assert result.status == "error"
    assert result.error == ("The script has no reply left: 1 were given, and this is request 2.")


def test_a_failure_that_can_be_retried_takes_the_next_reply_without_waiting():
    begin = time.monotonic()
    replies = [error_response(errors.RateLimited("slow", status=429)), "Hello."]
    result = run_with_responses("hi", replies)
    assert result.text == "Hello."
    assert time.monotonic() - begin < 20
    assert run_with_responses("hi", replies, max_retries=0).error == "slow"


# --- replies --------------------------------------------------------------------------------------


def test_a_text_streams_in_pieces_as_a_wire_does():
    events = events_of(text_response("Hello there"))
    assert [e.text for e in events if isinstance(e, TextDelta)] == ["Hell", "o th", "ere"]
    assert kinds(text_response("Hello there")) == [
        *("ReplyStarted", "BlockStarted", "TextDelta", "BlockSealed", "UsageReported", "Stopped")
    ]


def test_a_call_streams_its_arguments_in_pieces():
    events = events_of(tool_response("read", {"file_path": "a.txt"}))
    json = "".join(e.json for e in events if isinstance(e, ToolInputDelta))
    assert json == '{"file_path": "a.txt"}'
    assert len([e for e in events if isinstance(e, ToolInputDelta)]) > 3
    assert events[-1].reason is StopReason.TOOL_USE


def test_thinking_comes_before_the_text():
    result = run_with_responses("hi", [thinking_response("hm", "Hello.")])
    assert (result.thinking, result.text) == ("hm", "Hello.")
    assert any(isinstance(e, ThinkingDelta) for e in events_of(thinking_response("hm")))


def test_each_call_has_an_id_of_its_own():
    reply = tool_response("echo", {"text": "a"})
    ids = {reply.content[0].id, *(tool_response("echo").content[0].id for _ in range(9))}
    assert len(ids) == 10
    assert tool_response("echo", id="mine").content[0].id == "mine"


def test_replies_add_up_to_one_reply():
    both = tool_response("echo", {"text": "a"}) + tool_response("echo", {"text": "b"})
    result = run_with_responses("hi", [thinking_response("hm", "Look:") + both, "done"])
    assert result.turns == 2
    assert [record.input for record in result.tool_calls] == [{"text": "a"}, {"text": "b"}]
    assert result.messages[1].text == "Look:"


def test_arguments_that_are_no_json_are_sent_as_they_are():
    result = run_with_responses("hi", [tool_response("echo", '{"text": '), "done"])
    assert result.tool_calls[0].error
    assert result.messages[1].tool_calls[0].invalid == '{"text": '


def test_usage_is_reported_or_not():
    assert run_with_responses("hi", ["a"]).usage.total_tokens == 15
    told = text_response("a", usage=Usage(input_tokens=7, output_tokens=1))
    assert run_with_responses("hi", [told]).usage.input_tokens == 7
    assert run_with_responses("hi", [text_response("a", usage=None)]).usage.unreported == 1


def test_a_reply_may_end_in_another_way():
    result = run_with_responses("hi", [text_response("so", stop=StopReason.MAX_TOKENS)])
    assert result.stop_reason is StopReason.MAX_TOKENS


def test_an_error_is_an_outcome_and_names_itself():
    result = run_with_responses("hi", [error_response("The model is on fire.")])
    assert (result.status, result.error, result.text) == ("error", "The model is on fire.", "")
    assert isinstance(result.exception, al.ProviderError)


def test_an_exception_is_a_reply_too():
    result = run_with_responses("hi", [errors.AuthFailed("no key")])
    assert isinstance(result.exception, errors.AuthFailed)


def test_an_error_may_come_after_some_thinking():
    result = run_with_responses(
        "hi", [error_response("broke", after=thinking_response("so far")), "never"]
    )
    assert (result.status, result.thinking, result.turns) == ("error", "so far", 1)


def test_a_cut_stream_keeps_what_came_and_is_no_answer():
    result = run_with_responses("hi", [cut_response("The answer is"), "never"])
    assert isinstance(result.exception, errors.StreamTruncated)
    assert (result.status, result.text) == ("error", "The answer is")
    assert result.messages[-1].stop is StopReason.INTERRUPTED


def test_a_cut_stream_breaks_off_within_a_block():
    steps = cut_response("The answer is").steps()
    assert isinstance(steps[-1], errors.StreamTruncated)
    assert isinstance(steps[-2], TextDelta)


def test_no_tool_of_a_cut_stream_runs():
    result = run_with_responses("hi", [cut_response(tool_response("echo", {"text": "a"})), "no"])
    assert result.tool_calls == []
    assert isinstance(result.exception, errors.StreamTruncated)


def test_a_delay_comes_before_the_first_event():
    begin = time.monotonic()
    result = run_with_responses("hi", [text_response("a", delay=0.2)])
    assert result.text == "a"
    assert time.monotonic() - begin >= 0.2


def test_a_wait_for_ever_ends_when_the_run_is_stopped():
    model = ScriptedProvider([ReplyStarted(), FOREVER])

    async def go() -> str:
        async with al.Session(provider=model).start("hi") as run:
            async for event in run:
                if isinstance(event.body, ReplyStarted):
                    run.cancel()
            return (await run.result()).status

    assert asyncio.run(asyncio.wait_for(go(), 30)) == "cancelled"
    assert model.closed == 1


@given(st.text(min_size=1), st.text(min_size=1))
def test_any_reply_folds_to_what_it_says(text, thinking):
    builder = ReplyBuilder(provider="scripted", model="m")
    for step in thinking_response(thinking, text).steps():
        builder.feed(step)
    message = builder.done(provider="scripted", model="m").message
    assert (message.text, message.thinking) == (text, thinking)


# --- the provider ---------------------------------------------------------------------------------


def test_it_is_a_provider_for_sessions_too():
    model = ScriptedProvider("one", "two")
    assert isinstance(model, Provider)
    session = al.Session(provider=model)
    assert [session.chat("a").text, session.chat("b").text] == ["one", "two"]
    assert [m.text for m in model.requests[1].messages] == ["a", "one", "b"]


def test_it_keeps_what_was_sent():
    model = ScriptedProvider("one")
    al.run("hi", provider=model, system_prompt="Be brief.", tools=[al.read])
    [request] = model.requests
    assert (request.system, [tool.name for tool in request.tools]) == ("Be brief.", ["read"])
    assert [message.text for message in request.messages] == ["hi"]


def test_a_function_sees_the_request():
    model = ScriptedProvider(lambda request: request.messages[-1].text.upper())
    assert al.run("hi", provider=model).text == "HI"


def test_a_list_of_steps_is_streamed_as_it_stands():
    steps = [
        *(ReplyStarted("r"), BlockStarted(0, "text"), TextDelta(0, "a"), Wait(0.01)),
        *(BlockSealed(0), UsageReported(Usage(output_tokens=1)), Stopped(StopReason.END_TURN)),
    ]
    assert events_of(steps) == [step for step in steps if not isinstance(step, Wait)]


def test_something_else_may_answer_from_then_on():
    model = ScriptedProvider("one", otherwise="again")
    assert [al.run("hi", provider=model).text for _ in range(3)] == ["one", "again", "again"]


def test_it_counts_the_streams_that_ended():
    model = ScriptedProvider("one", error_response("no"))
    al.run("hi", provider=model)
    al.run("hi", provider=model)
    assert model.closed == 2


def test_its_pace_lets_others_run_in_between():
    async def go() -> list[str]:
        order = []

        async def ask(name: str) -> None:
            model = ScriptedProvider("abcdefgh", pace=0)
            async for _ in model.stream(ModelRequest([])):
                order.append(name)

        await asyncio.gather(ask("a"), ask("b"))
        return order

    assert asyncio.run(go())[:4] == ["a", "b", "a", "b"]


def test_it_can_stand_for_a_model_with_a_price():
    model = ScriptedProvider("one", name="anthropic", model="claude-sonnet-4-6")
    assert al.run("hi", provider=model).cost.usd > 0


def test_its_repr_says_how_far_it_is():
    model = ScriptedProvider("one", "two")
    al.run("hi", provider=model)
    assert repr(model) == "ScriptedProvider(1 of 2 replies used)"


# --- what happened --------------------------------------------------------------------------------

READ = tool_response("read", {"file_path": "a.txt", "limit": 5})
HISTORY = [user("hi"), assistant(*READ.content), assistant("done")]


def test_last_text_is_that_of_the_newest_answer():
    assert last_text(run_with_responses("hi", ["a"])) == "a"
    assert last_text(HISTORY) == "done"
    assert last_text([user("hi")]) is None
    assert last_text(HISTORY[:2]) == ""


def test_last_text_takes_a_session():
    session = al.Session(provider=ScriptedProvider("a"))
    session.chat("hi")
    assert last_text(session) == "a"


def test_tool_calls_are_all_of_the_history_in_order():
    replies = [tool_response("echo", {"text": "a"}), tool_response("none"), "done"]
    assert [c.name for c in tool_calls(run_with_responses("hi", replies))] == ["echo", "none"]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"file_path": "a.txt"},
        {"limit": 5},
        {"file_path": "a.txt", "limit": 5},
    ],
)
def test_a_call_is_found_by_a_part_of_its_arguments(arguments):
    assert assert_tool_called(HISTORY, "read", **arguments) == READ.content[0]
    assert assert_tool_called(HISTORY, "read", arguments) == READ.content[0]


@pytest.mark.parametrize("arguments", [{"file_path": "b.txt"}, {"limit": None}, {"offset": None}])
def test_a_call_with_other_arguments_is_not_found(arguments):
    with pytest.raises(AssertionError, match="was not called"):
        assert_tool_called(HISTORY, "read", **arguments)
    refute_tool_called(HISTORY, "read", **arguments)


def test_arguments_may_have_any_name():
    history = [assistant(*tool_response("f", {"name": 1, "history": 2, "partial": 3}).content)]
    assert_tool_called(history, "f", name=1, history=2, partial=3)


def test_a_call_that_was_not_made_is_told_with_those_that_were():
    with pytest.raises(AssertionError) as caught:
        assert_tool_called(HISTORY, "write", file_path="b.txt")
    assert str(caught.value) == (
        "write with file_path='b.txt' was not called. The calls were:\n"
        '  1. read({"file_path": "a.txt", "limit": 5})'
    )


def test_without_any_call_that_is_said():
    with pytest.raises(AssertionError, match=r"^read was not called. No tool was called\.$"):
        assert_tool_called([user("hi")], "read")


def test_a_call_that_was_made_is_refuted_with_the_list():
    with pytest.raises(AssertionError, match=r"(?s)^read was called\. The calls were:\n  1\. read"):
        refute_tool_called(HISTORY, "read")
    refute_tool_called(HISTORY, "write")


def test_importing_it_needs_no_test_framework():
    code = (
        "import sys; sys.modules['pytest'] = None; import alloy_nb.testing;"
        "print([m for m in ('IPython', 'httpx', 'hypothesis') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")

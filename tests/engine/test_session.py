"""A conversation: its history, its settings, one turn at a time."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

import alloy_nb as al
from alloy_nb.errors import BadRequest, ConfigError, SessionError, StreamTruncated
from alloy_nb.messages import StopReason, user
from tests.engine.scripted import HANG, Scripted, calls, says
from tests.engine.test_loop import add
from tests.oracles.invariants import check_anthropic
from tests.providers.wires import ANTHROPIC, body


def test_each_turn_goes_on_from_the_last():
    model = Scripted(says("a"), says("b"))
    session = al.Session(provider=model)
    session.chat("one")
    session.chat("two")
    assert [m.text for m in model.requests[1].messages] == ["one", "a", "two"]
    assert [m.text for m in session.messages] == ["one", "a", "two", "b"]
    assert [r.text for r in session.results] == ["a", "b"]


def test_it_may_begin_with_a_history():
    session = al.Session(provider=Scripted(says("b")), messages=[user("zero")])
    session.chat("one")
    assert [m.text for m in session.messages] == ["zero", "one", "b"]


def test_its_messages_are_a_copy():
    session = al.Session(provider=Scripted(says("b")))
    session.chat("one")
    session.messages.clear()
    assert len(session.messages) == 2


def test_usage_and_cost_add_up_and_a_reset_does_not_lower_them():
    session = al.Session(provider=Scripted(says("a"), says("b")))
    session.chat("one")
    session.chat("two")
    assert session.usage.total_tokens == 30
    assert session.context_tokens == 15
    session.reset()
    assert session.messages == []
    assert session.results == []
    assert session.usage.total_tokens == 30
    assert session.context_tokens is None


def test_after_a_reset_the_model_knows_nothing():
    model = Scripted(says("a"), says("b"))
    session = al.Session(provider=model, system_prompt="be brief")
    session.chat("one")
    session.reset()
    session.chat("two")
    assert [m.text for m in model.requests[1].messages] == ["two"]
    assert model.requests[1].system == "be brief"


def test_another_model_goes_on_with_the_same_conversation_and_settings():
    one, two = Scripted(says("a")), Scripted(says("b"), name="two")
    session = al.Session(provider=one, system_prompt="be brief", tools=[add], temperature=0.5)
    session.chat("one")
    session.set_model(two)
    assert session.chat("two").text == "b"
    sent = two.requests[0]
    assert [m.text for m in sent.messages] == ["one", "a", "two"]
    assert (sent.system, len(sent.tools), sent.options.temperature) == ("be brief", 1, 0.5)


def test_a_model_that_does_not_exist_changes_nothing():
    session = al.Session(provider=Scripted(says("a")))
    with pytest.raises(ConfigError, match="Unknown"):
        session.set_model("nobody/nothing")
    assert session.chat("one").text == "a"


def test_settings_of_one_turn_do_not_stick():
    model = Scripted(says("a"), says("b"))
    session = al.Session(provider=model, temperature=0.1)
    session.chat("one", temperature=0.9, system_prompt="shout", tools=[add])
    session.chat("two")
    first, second = model.requests
    assert (first.options.temperature, first.system, len(first.tools)) == (0.9, "shout", 1)
    assert (second.options.temperature, second.system, len(second.tools)) == (0.1, None, 0)


def test_another_model_for_one_turn_does_not_stick():
    model, other = Scripted(says("b")), Scripted(says("a"), name="other")
    session = al.Session(provider=model)
    assert session.chat("one", provider=other).text == "a"
    assert session.chat("two").text == "b"


def test_settings_that_are_configured_stick():
    model = Scripted(says("a"), says("b"))
    session = al.Session(provider=model)
    session.configure(max_output_tokens=7)
    session.chat("one")
    session.chat("two")
    assert [r.options.max_output_tokens for r in model.requests] == [7, 7]


def test_a_wrong_setting_is_refused_and_the_session_is_free_again():
    session = al.Session(provider=Scripted(says("a")))
    with pytest.raises(ConfigError, match="Did you mean temperature"):
        session.chat("one", temprature=1)
    with pytest.raises(ConfigError, match="empty"):
        session.chat("")
    assert session.chat("one").text == "a"


def test_a_failed_turn_is_kept_and_the_next_one_works():
    model = Scripted(BadRequest("no"), says("b"))
    session = al.Session(provider=model)
    assert session.chat("one").status == "error"
    assert session.chat("two").text == "b"
    check_anthropic(body(ANTHROPIC, *session.messages))


def test_what_arrived_of_a_cut_turn_is_kept():
    model = Scripted([*says("par", "tial")[:4], StreamTruncated("cut")], says("b"))
    session = al.Session(provider=model)
    session.chat("one")
    assert session.messages[-1].text == "partial"
    assert session.messages[-1].stop is StopReason.INTERRUPTED
    session.chat("go on")
    assert [m.text for m in model.requests[1].messages] == ["one", "partial", "go on"]


def test_a_second_caller_is_refused_while_it_answers():
    session = al.Session(provider=Scripted([*says("a")[:3], HANG], says("b")), name="mine")
    started = threading.Event()
    stop = threading.Event()

    async def first() -> None:
        async with session.start("one") as run:
            async for event in run:
                if event.turn:
                    break
            started.set()
            while not stop.is_set():
                await asyncio.sleep(0.005)

    thread = threading.Thread(target=lambda: asyncio.run(first()))
    thread.start()
    started.wait(5)
    for change in (
        lambda: session.chat("two"),
        session.reset,
        lambda: session.set_model(Scripted()),
        lambda: session.configure(max_turns=1),
    ):
        with pytest.raises(SessionError, match="'mine' is answering"):
            change()
    stop.set()
    thread.join(5)
    assert session.chat("two").text == "b"


def test_leaving_a_turn_stops_it_and_keeps_what_it_said():
    model = Scripted([*says("par", "tial")[:4], HANG], says("b"))
    session = al.Session(provider=model)

    async def go() -> None:
        async with session.start("one") as run:
            async for event in run:
                if getattr(event.body, "text", "") == "tial":
                    break

    asyncio.run(go())
    assert model.closed == 1
    assert session.results[-1].status == "cancelled"
    assert session.messages[-1].text == "partial"
    assert session.chat("two").text == "b"


def test_leaving_a_turn_before_its_first_step_keeps_the_prompt():
    model = Scripted([HANG], says("b"))
    session = al.Session(provider=model)

    async def go() -> None:
        async with session.start("one") as run:
            run.cancel()

    asyncio.run(go())
    assert session.results[-1].status == "cancelled"
    assert [m.text for m in session.messages] == ["one"]
    assert session.chat("two").text == "b"


def test_many_callers_at_once_take_turns_or_are_refused():
    session = al.Session(provider=Scripted(otherwise=says("a"), steps=True))
    outcomes: list[str] = []

    def talk() -> None:
        for _ in range(25):
            try:
                session.chat("hi")
                outcomes.append("answered")
            except SessionError:
                outcomes.append("refused")
                time.sleep(0.001)

    threads = [threading.Thread(target=talk) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    answered = outcomes.count("answered")
    assert len(outcomes) == 200
    assert answered > 0
    roles = [m.role for m in session.messages]
    assert roles == ["user", "assistant"] * answered
    assert len(session.results) == answered


def test_its_methods_have_awaitable_twins():
    async def go() -> list[Any]:
        said: list[str] = []
        session = al.Session(provider=Scripted(says("a"), says("b", "c")))
        first = await session.achat("one")
        second = await session.astream_chat("two", said.append)
        return [first.text, second.text, said]

    assert asyncio.run(go()) == ["a", "bc", ["b", "c"]]


def test_stream_chat_tells_text_and_events():
    said: list[str] = []
    seen: list[Any] = []
    session = al.Session(provider=Scripted(says("a", "b")))
    session.stream_chat("one", said.append, on_event=seen.append)
    assert said == ["a", "b"]
    assert [e.seq for e in seen] == list(range(1, len(seen) + 1))


def test_a_failing_callback_leaves_the_session_usable():
    session = al.Session(provider=Scripted(says("a"), says("b")))

    def fail(text: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        session.stream_chat("one", fail)
    assert session.chat("two").text == "b"


def test_its_repr_names_it_and_no_key():
    provider = al.provider(
        "openai-compat/m", base_url="http://127.0.0.1:9", api_key="canary-0123456789"
    )
    shown = repr(al.Session(provider=provider, name="mine"))
    assert "mine" in shown
    assert "openai-compat/m" in shown
    assert "canary" not in shown


def test_a_conversation_with_tools_stays_whole():
    model = Scripted(
        calls(("add", {"a": 1, "b": 2})), says("3"), calls(("add", {"a": 2, "b": 2})), says("4")
    )
    session = al.Session(provider=model, tools=[add])
    session.chat("1+2")
    session.chat("2+2")
    sent = body(ANTHROPIC, *session.messages)
    check_anthropic(sent)
    assert len(sent["messages"]) == 8

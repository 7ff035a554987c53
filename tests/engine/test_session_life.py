"""How a session begins and ends: middlewares, health, reset, stop, garbage, the end of Python."""

from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys
import threading
import time
import weakref
from typing import Any

import pytest

import alloy_nb as al
from alloy_nb.engine.middleware.base import Middleware
from alloy_nb.errors import ConfigError, Halted, SessionError
from tests.engine.scripted import Scripted, calls, says
from tests.engine.test_session_requests import WAIT, begun, echo, hanging, until
from tests.servers.sse import STALL, Server, stream
from tests.servers.wire import Reply, Say, chat_events


class Told(Middleware):
    """Notes what it is told, and halts where it should."""

    def __init__(self, name: str, log: list[str], *, halt: str = "") -> None:
        self.name = name
        self.log = log
        self.halt = halt

    async def session_start(self, session: Any) -> None:
        self.log.append(f"{self.name} start {len(session.messages)}")
        if self.halt == "start":
            raise Halted("not today")

    async def session_end(self, session: Any) -> None:
        self.log.append(f"{self.name} end {len(session.messages)}")
        if self.halt == "end":
            raise Halted("stay")
        if self.halt == "crash":
            raise ZeroDivisionError


# --- begin -----------------------------------------------------------------------------------


def test_middlewares_are_told_once_before_the_first_turn_and_at_the_stop_in_order():
    log: list[str] = []
    session = al.Session(
        provider=Scripted(otherwise=echo), middleware=[Told("a", log), Told("b", log)]
    )
    assert log == []
    session.chat("one")
    session.chat("two")
    session.stop()
    assert log == ["a start 0", "b start 0", "a end 4", "b end 4"]


def test_a_session_that_had_no_turn_tells_nobody_of_its_end():
    log: list[str] = []
    al.Session(provider=Scripted(), middleware=[Told("a", log)]).stop()
    assert log == []


def test_a_middleware_that_halts_the_start_keeps_the_session_from_beginning():
    log: list[str] = []
    stern = Told("b", log, halt="start")
    model = Scripted(otherwise=echo)
    session = al.Session(
        provider=model, middleware=[Told("a", log), stern, Told("c", log)], name="mine"
    )
    with pytest.raises(SessionError, match="'mine' did not start: not today"):
        session.chat("one")
    assert model.requests == []
    assert session.health().status == "idle"
    result = session.response(session.send_message("two")).result(WAIT)
    assert "did not start" in str(result.error)
    # Once it is let, it begins, and nobody is told twice.
    stern.halt = ""
    session.chat("three")
    assert log == ["a start 0", "b start 0", "b start 0", "b start 0", "c start 0"]


def test_a_middleware_may_change_the_session_before_it_begins():
    class Prepare(Middleware):
        async def session_start(self, session: Any) -> None:
            session.configure(system_prompt="prepared")

    model = Scripted(otherwise=echo)
    al.Session(provider=model, middleware=[Prepare()]).chat("one")
    assert model.requests[0].system == "prepared"


# --- health ----------------------------------------------------------------------------------


def test_health_says_how_it_is_at_once_also_in_the_middle_of_a_turn():
    model = hanging()
    session = al.Session(provider=model, max_pending=3)
    before = session.health()
    assert (before.status, before.busy, before.turns, before.message_count) == ("idle", False, 0, 0)
    session.send_message("one", "r1")
    session.send_message("two", "r2")
    begun(model, session)
    during = session.health()
    assert (during.status, during.busy, during.turns) == ("running", True, 1)
    assert (during.pending_count, during.max_pending, during.message_count) == (1, 3, 0)
    session.cancel_request("r1")
    session.response("r2").result(WAIT)
    after = session.health()
    assert (after.status, after.turns, after.message_count, after.pending_count) == (
        *("idle", 1, 4, 0),
    )
    assert after.usage.total_tokens == session.usage.total_tokens > 0
    assert after.uptime > before.uptime
    session.stop()
    assert session.health().status == "stopped"
    assert session.health().busy is False


def test_messages_and_export_in_the_middle_of_a_turn_are_those_before_it():
    model = hanging()
    with al.Session(provider=model) as session:
        session.send_message("one")
        begun(model, session)
        assert session.messages == []
        assert session.export_session().messages == ()


# --- reset -----------------------------------------------------------------------------------


def test_a_reset_with_cancel_stops_the_turn_and_clears_the_queue():
    model = hanging()
    session = al.Session(provider=model, max_pending=2)
    for number in range(3):
        session.send_message(f"m{number}", f"r{number}")
    begun(model, session)
    session.reset(cancel=True)
    assert session.messages == []
    assert session.health().pending_count == 0
    outcomes = [session.response(f"r{n}").result(WAIT).status for n in range(3)]
    assert outcomes == ["cancelled"] * 3
    assert len(model.requests) == 1
    assert session.chat("new").text == "re new"


def test_who_waits_in_line_at_a_reset_with_cancel_is_told():
    model = hanging()
    session = al.Session(provider=model)
    failures: list[Exception] = []

    def wait() -> None:
        try:
            session.chat("two", wait=True)
        except SessionError as error:
            failures.append(error)

    session.send_message("one")
    begun(model, session)
    thread = threading.Thread(target=wait)
    thread.start()
    until(lambda: len(session._turns._line) == 1)
    session.reset(cancel=True)
    thread.join(WAIT)
    assert "was reset before this was answered" in str(failures[0])


def test_a_reset_can_be_awaited():
    session = al.Session(provider=Scripted(otherwise=echo))

    async def go() -> None:
        await session.achat("one")
        await session.areset()
        assert session.messages == []
        await session.achat("two")
        await session.areset(cancel=True)

    asyncio.run(go())
    assert session.messages == []


# --- stop ------------------------------------------------------------------------------------


def test_stop_ends_the_turn_cancels_what_waits_and_calls_on_shutdown_with_the_session():
    model = hanging()
    seen: list[Any] = []

    def bye(session: al.Session) -> None:
        seen.append((threading.current_thread(), [m.text for m in session.messages]))

    session = al.Session(provider=model, max_pending=1, on_shutdown=bye)
    session.send_message("one", "r1")
    session.send_message("two", "r2")
    begun(model, session)
    session.stop()
    assert model.closed == 1
    assert seen == [(threading.current_thread(), ["one", "partial"])]
    assert [session.response(f"r{n}").result(WAIT).status for n in (1, 2)] == ["cancelled"] * 2


def test_a_stopped_session_takes_nothing_more_and_can_still_be_read():
    session = al.Session(provider=Scripted(otherwise=echo), name="mine")
    session.chat("one")
    session.stop()
    for use in (
        lambda: session.chat("two"),
        lambda: session.chat("two", wait=True),
        lambda: session.send_message("two"),
        lambda: session.set_model(Scripted()),
        session.reset,
        lambda: session.reset(cancel=True),
    ):
        with pytest.raises(SessionError, match="'mine' is stopped"):
            use()
    assert [m.text for m in session.messages] == ["one", "re one"]
    assert len(session.export_session().messages) == 2


def test_stopping_twice_and_from_many_threads_ends_it_once():
    ended: list[Any] = []
    session = al.Session(provider=Scripted(otherwise=echo), on_shutdown=ended.append)
    session.chat("one")
    threads = [threading.Thread(target=session.stop) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    session.stop()
    assert ended == [session]


def test_on_shutdown_may_stop_the_session_itself():
    seen: list[str] = []

    def bye(session: al.Session) -> None:
        session.stop()
        seen.append(session.health().status)

    al.Session(provider=Scripted(), on_shutdown=bye).stop()
    assert seen == ["stopped"]


def test_it_stops_at_the_end_of_a_with_block_and_of_an_async_one():
    with al.Session(provider=Scripted(otherwise=echo)) as one:
        one.chat("hi")

    async def go() -> al.Session:
        async with al.Session(provider=Scripted(otherwise=echo)) as two:
            await two.achat("hi")
        return two

    assert one.health().status == asyncio.run(go()).health().status == "stopped"


def test_on_shutdown_may_be_a_coroutine_function():
    seen: list[int] = []

    async def bye(session: al.Session) -> None:
        await asyncio.sleep(0)
        seen.append(len(session.messages))

    with al.Session(provider=Scripted(otherwise=echo), on_shutdown=bye) as session:
        session.chat("one")
    assert seen == [2]


@pytest.mark.parametrize("error", [ZeroDivisionError(), SystemExit(1), SessionError("no")])
def test_what_on_shutdown_raises_is_logged_and_never_prevents_the_stop(error, caplog):
    def bye(_: al.Session) -> None:
        raise error

    session = al.Session(provider=Scripted(otherwise=echo), on_shutdown=bye)
    with caplog.at_level(logging.ERROR, "alloy_nb"):
        session.stop()
    assert session.health().status == "stopped"
    assert "on_shutdown of 'main' failed" in caplog.text
    assert "Traceback" in caplog.text


def test_a_halt_or_a_fault_at_the_end_is_logged_and_the_others_are_told(caplog):
    log: list[str] = []
    layers = [Told("a", log, halt="end"), Told("b", log, halt="crash"), Told("c", log)]
    session = al.Session(provider=Scripted(otherwise=echo), middleware=layers)
    session.chat("one")
    with caplog.at_level(logging.INFO, "alloy_nb"):
        session.stop()
    assert log[3:] == ["a end 2", "b end 2", "c end 2"]
    assert "halted the end of 'main': stay" in caplog.text
    assert "failed at the end of 'main'" in caplog.text


def test_a_session_does_not_stop_or_reset_itself_from_inside_its_own_turn():
    outcomes: list[str] = []

    @al.tool
    def leave() -> str:
        """Leave."""
        for use in (
            session.stop,
            lambda: session.reset(cancel=True),
            lambda: session.chat("deeper", wait=True),
        ):
            try:
                use()
            except SessionError as error:
                outcomes.append(str(error))
        return "stayed"

    session = al.Session(provider=Scripted(calls(("leave", {})), says("ok")), tools=[leave])
    assert session.chat("go").text == "ok"
    assert "cannot be stopped by its own turn" in outcomes[0]
    assert "cannot be reset by its own turn" in outcomes[1]
    assert "cannot be asked from here" in outcomes[2]


def test_a_stopped_session_no_longer_hears_its_topics():
    session = al.Session(provider=Scripted(otherwise=echo), subscribe=["news"])
    session.stop()
    assert session.bus.publish("news", "late") == 0


# --- id --------------------------------------------------------------------------------------


def test_its_id_is_the_given_one_or_the_context_s_or_random_and_never_changes():
    assert al.Session(provider=Scripted(), id="a").id == "a"
    assert al.Session(provider=Scripted(), context={"session_id": "b"}).id == "b"
    session = al.Session(provider=Scripted(otherwise=echo))
    first = session.id
    session.chat("one")
    session.reset()
    session.set_model(Scripted(otherwise=echo))
    assert session.export_session().id == session.id == first
    assert al.Session(provider=Scripted()).id != first


@pytest.mark.parametrize("wrong", ["", "a b", "../x", "x" * 200, 7, "a\n"])
def test_an_id_that_could_be_no_topic_or_name_is_refused(wrong):
    with pytest.raises(ConfigError, match="cannot be a session's id"):
        al.Session(provider=Scripted(), id=wrong)


# --- garbage and the end of the interpreter --------------------------------------------------


def test_a_session_that_nobody_holds_is_freed_and_its_topics_with_it():
    bus = al.EventBus()
    session = al.Session(provider=Scripted(otherwise=echo), bus=bus, subscribe=["news"])
    session.chat("one")
    session.response(session.send_message("two")).result(WAIT)
    there = weakref.ref(session)
    del session
    end = time.monotonic() + WAIT
    while there() is not None and time.monotonic() < end:
        gc.collect()  # the loop may still hold its last frame
        time.sleep(0.01)
    assert there() is None
    assert bus.publish("news", "x") == 0


ENDINGS = {
    "idle": "session.chat('one')",
    "running": "session.send_message('one'); wait(lambda: model.requests)",
    "queued": "[session.send_message(str(n)) for n in range(3)]; wait(lambda: model.requests)",
    "just sent": "session.send_message('one')",
    "listening": "session.bus.publish('news', 'x'); wait(lambda: model.requests)",
    "stopped at the end": "import atexit; atexit.register(session.stop); "
    "session.send_message('one'); wait(lambda: model.requests)",
    "dropped": "session.send_message('one'); wait(lambda: model.requests); del session",
    "scheduled": "s = al.Scheduler(); s.add('j', every=1000, prompt='x', provider=model); "
    "s.trigger('j'); wait(lambda: model.requests)",
    "a team": "t = al.Team({'a': {'provider': model}}); t.get('a').send_message('x'); "
    "wait(lambda: model.requests)",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_interpreter_ends_at_once_and_prints_nothing(ending):
    first = "says('hi')" if ending == "idle" else "[HANG]"
    code = f"""
import threading, time
import alloy_nb as al
from tests.engine.scripted import HANG, Scripted, says

def wait(condition):
    while not condition():
        time.sleep(0.005)

model = Scripted(otherwise={first})
session = al.Session(provider=model, max_pending=9, subscribe=["news"])
{ENDINGS[ending]}
print("done")
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def stalled() -> Server:
    """Return a server whose answer begins and never ends."""
    return Server(otherwise=stream([*chat_events(Reply([Say("Hello there")]))[:3], STALL]))


def test_a_real_connection_that_nobody_stopped_does_not_hold_up_the_interpreter():
    with stalled() as server:
        code = f"""
import time
import alloy_nb as al

provider = al.provider("openai-compat/m", base_url={server.url!r})
session = al.Session(provider=provider, max_pending=2)
runs = []
session.bus.subscribe(session.runs_topic, runs.append)
[session.send_message(str(n)) for n in range(3)]
while not any(type(event.body) is al.events.TextDelta for run in runs for event in run.events):
    time.sleep(0.005)
print("done")
"""
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
        assert len(server.requests) == 1


@pytest.mark.parametrize("how", ["stop", "cancel", "reset"])
def test_stopping_closes_the_connection_and_not_only_the_wait(how):
    with stalled() as server:
        provider = al.provider("openai-compat/m", base_url=server.url)
        session = al.Session(provider=provider)
        session.send_message("one", "r1")
        (request,) = server.wait_for_requests(1)
        if how == "stop":
            session.stop()
        elif how == "cancel":
            session.cancel_request("r1")
        else:
            session.reset(cancel=True)
        request.wait_closed()
        assert session.response("r1").result(WAIT).status == "cancelled"


def test_turns_of_several_event_loops_take_their_turns():
    """Each loop runs its own turns, and hands over to threads and to the package's loop."""
    model = Scripted(otherwise=echo, steps=True)
    session = al.Session(provider=model, max_pending=100)

    async def talk(name: str) -> list[str]:
        answers = []
        for number in range(5):
            async with session.start(f"{name}{number}", wait=True) as run:
                answers.append((await run.result()).text)
            session.send_message("between")
        return answers

    answers: dict[str, list[str]] = {}
    threads = [
        threading.Thread(target=lambda n=name: answers.update({n: asyncio.run(talk(n))}))
        for name in "abcd"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    until(lambda: session.health().status == "idle")
    assert answers == {n: [f"re {n}{k}" for k in range(5)] for n in "abcd"}
    texts = [m.text for m in session.messages]
    assert len(texts) == 80
    assert [f"re {asked}" for asked in texts[::2]] == texts[1::2]

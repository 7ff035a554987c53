"""Requests to a session: a queue, a limit, a response for each, whatever becomes of it."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import alloy_nb as al
from alloy_nb.engine.middleware.base import Middleware
from alloy_nb.errors import ConfigError, ServerFault, SessionError
from alloy_nb.messages import user
from tests.engine.scripted import HANG, Scripted, calls, says
from tests.engine.test_loop import add

WAIT = 20


def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end, "it never came to pass"
        time.sleep(0.002)


def echo(request: Any) -> list[Any]:
    return says(f"re {request.messages[-1].text}")


def hanging(*more: Any) -> Scripted:
    """Return a model that says a part of its first answer and then nothing more."""
    return Scripted([*says("par", "tial")[:4], HANG], *more, otherwise=echo)


def begun(model: Scripted, session: al.Session) -> None:
    """Wait until a model is in the middle of its answer."""
    until(lambda: len(model.requests) == 1 and session.health().turns == 1)


class Patient(Middleware):
    """Holds the first request back until the test lets it go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    async def model(self, request: Any, next: Any) -> Any:  # noqa: A002
        while not self.let_go.is_set():
            await asyncio.sleep(0.002)
        async for event in next(request):
            yield event


# --- a response for each ---------------------------------------------------------------------


def test_a_request_returns_at_once_and_its_response_can_be_awaited():
    session = al.Session(provider=Scripted(otherwise=echo))

    async def go() -> al.Result:
        request_id = session.send_message("one")
        return await session.response(request_id)

    result = asyncio.run(go())
    assert result.text == "re one"
    assert [m.text for m in session.messages] == ["one", "re one"]


def test_a_response_can_be_waited_for_without_a_loop():
    session = al.Session(provider=Scripted(otherwise=echo))
    assert session.response(session.send_message("one")).result(WAIT).text == "re one"


def test_a_wait_for_a_response_has_an_end_and_the_request_goes_on():
    patient = Patient()
    session = al.Session(provider=Scripted(otherwise=echo), middleware=[patient])
    request_id = session.send_message("one")
    with pytest.raises(TimeoutError):
        session.response(request_id).result(0.02)

    async def go() -> None:
        await asyncio.wait_for(session.response(request_id), 0.02)

    with pytest.raises(TimeoutError):
        asyncio.run(go())
    patient.let_go.set()
    assert session.response(request_id).result(WAIT).text == "re one"


def test_a_response_is_published_on_the_session_s_topic():
    bus = al.EventBus()
    session = al.Session(provider=Scripted(otherwise=echo), bus=bus, id="s1")

    async def go() -> Any:
        with bus.subscribe("agent:s1:responses") as responses:
            session.send_message("one", "r1")
            return await asyncio.wait_for(anext(responses), WAIT)

    response = asyncio.run(go())
    assert (response.session_id, response.request_id, response.phase) == ("s1", "r1", "running")
    assert response.result.text == "re one"


def test_when_its_response_is_there_the_session_is_free():
    session = al.Session(provider=Scripted(otherwise=echo))
    for number in range(20):
        session.response(session.send_message(f"m{number}")).result(WAIT)
        assert session.chat(f"c{number}").text == f"re c{number}"


def test_the_root_has_both_calls_and_only_hands_them_on():
    patient = Patient()
    session = al.Session(provider=Scripted(otherwise=echo), middleware=[patient])
    assert al.send_message(session, "one", "mine") == "mine"
    assert al.cancel_request(session, "mine") is True
    assert al.cancel_request(session, "other") is False


def test_a_request_s_id_is_in_the_context_of_its_tools_and_the_session_s_too():
    seen: list[dict[str, Any]] = []

    @al.tool
    def look(context: al.ToolContext) -> str:
        """Look."""
        seen.append(dict(context.values))
        return "ok"

    model = Scripted(calls(("look", {})), says("done"))
    session = al.Session(provider=model, tools=[look], id="s1", context={"mine": 1})
    session.response(session.send_message("go", "r1")).result(WAIT)
    assert seen == [{"mine": 1, "session_id": "s1", "request_id": "r1"}]


def test_settings_of_a_request_hold_for_it_alone():
    model = Scripted(otherwise=echo)
    session = al.Session(provider=model, temperature=0.1)
    session.response(session.send_message("one", temperature=0.9, tools=[add])).result(WAIT)
    session.response(session.send_message("two")).result(WAIT)
    assert [(r.options.temperature, len(r.tools)) for r in model.requests] == [(0.9, 1), (0.1, 0)]


def test_a_wrong_setting_of_a_request_is_told_at_once_and_nothing_is_sent():
    model = Scripted(otherwise=echo)
    session = al.Session(provider=model)
    with pytest.raises(ConfigError, match="temperature"):
        session.send_message("one", temprature=1)
    assert session.health().busy is False
    assert model.requests == []


def test_an_empty_request_is_answered_with_what_is_wrong():
    session = al.Session(provider=Scripted(otherwise=echo))
    result = session.response(session.send_message(" ", "r1")).result(WAIT)
    assert result.status == "error"
    assert "empty" in str(result.error)
    assert session.chat("one").text == "re one"


def test_an_unknown_request_is_a_clear_error():
    session = al.Session(provider=Scripted(otherwise=echo), name="mine")
    with pytest.raises(SessionError, match="'mine' knows no request 'nope'"):
        session.response("nope")


def test_an_id_of_an_open_request_is_refused_and_of_an_answered_one_taken():
    patient = Patient()
    session = al.Session(provider=Scripted(otherwise=echo), middleware=[patient], max_pending=9)
    session.send_message("one", "r")
    with pytest.raises(SessionError, match="'r' is not answered yet"):
        session.send_message("two", "r")
    patient.let_go.set()
    session.response("r").result(WAIT)
    session.send_message("three", "r")
    assert session.response("r").result(WAIT).text == "re three"


def test_old_responses_are_let_go_of_and_open_requests_never():
    session = al.Session(provider=Scripted(otherwise=echo))
    for number in range(300):
        session.response(session.send_message("x", f"r{number}")).result(WAIT)
    with pytest.raises(SessionError):
        session.response("r0")
    assert session.response("r299").done


# --- the queue -------------------------------------------------------------------------------


def test_requests_wait_in_line_and_are_answered_in_order_with_full_history():
    patient = Patient()
    model = Scripted(otherwise=echo)
    session = al.Session(provider=model, middleware=[patient], max_pending=3)
    ids = [session.send_message(text) for text in ("a", "b", "c", "d")]
    assert session.health().pending_count == 3
    patient.let_go.set()
    answers = [session.response(id_).result(WAIT).text for id_ in ids]
    assert answers == ["re a", "re b", "re c", "re d"]
    assert [m.text for m in model.requests[-1].messages] == [
        *("a", "re a", "b", "re b", "c", "re c", "d")
    ]


def test_without_a_queue_a_second_request_is_told_that_it_is_busy():
    patient = Patient()
    session = al.Session(provider=Scripted(otherwise=echo), middleware=[patient], name="mine")
    session.send_message("one", "r1")
    with pytest.raises(SessionError, match="'mine' is answering already"):
        session.send_message("two")
    patient.let_go.set()
    session.response("r1").result(WAIT)
    assert [m.text for m in session.messages] == ["one", "re one"]


def test_a_full_queue_is_told_at_once():
    patient = Patient()
    session = al.Session(provider=Scripted(otherwise=echo), middleware=[patient], max_pending=1)
    session.send_message("one")
    session.send_message("two", "r2")
    with pytest.raises(SessionError, match="is full: 1 requests wait"):
        session.send_message("three")
    patient.let_go.set()
    assert session.response("r2").result(WAIT).ok


def test_a_chat_while_a_request_runs_is_refused_or_waits_as_told():
    patient = Patient()
    session = al.Session(provider=Scripted(otherwise=echo), middleware=[patient])
    session.send_message("one")
    for change in (
        lambda: session.chat("two"),
        session.reset,
        lambda: session.set_model(Scripted()),
        lambda: session.configure(max_turns=1),
    ):
        with pytest.raises(SessionError, match="is answering"):
            change()
    threading.Timer(0.05, patient.let_go.set).start()
    assert session.chat("two", wait=True).text == "re two"
    assert [m.text for m in session.messages] == ["one", "re one", "two", "re two"]


def test_who_waits_keeps_the_order_in_which_they_came():
    patient = Patient()
    session = al.Session(provider=Scripted(otherwise=echo), middleware=[patient], max_pending=9)
    session.send_message("first")
    threads = []
    for number in range(6):
        if number % 2:
            session.send_message(f"{number}")
        else:
            thread = threading.Thread(target=session.chat, args=(f"{number}",), kwargs={"wait": 1})
            thread.start()
            threads.append(thread)
            waiting = number // 2 + 1
            until(lambda n=waiting: len(session._turns._line) == n * 2 - 1)
    last = session.send_message("last")
    patient.let_go.set()
    session.response(last).result(WAIT)
    for thread in threads:
        thread.join(WAIT)
    said = [m.text for m in session.messages if m.role == "user"]
    assert said == ["first", *"012345", "last"]


def test_who_gives_up_waiting_leaves_the_line_and_the_next_goes_on():
    patient = Patient()
    session = al.Session(provider=Scripted(otherwise=echo), middleware=[patient], max_pending=1)
    session.send_message("one")

    async def impatient() -> None:
        await asyncio.wait_for(session.achat("never", wait=True), 0.02)

    with pytest.raises(TimeoutError):
        asyncio.run(impatient())
    last = session.send_message("two")
    patient.let_go.set()
    assert session.response(last).result(WAIT).text == "re two"
    assert "never" not in [m.text for m in session.messages]


def test_an_interrupt_while_it_waits_leaves_the_line():
    patient = Patient()
    session = al.Session(provider=Scripted(otherwise=echo), middleware=[patient], max_pending=1)
    session.send_message("one")
    me = threading.get_ident()
    threading.Timer(0.05, signal.pthread_kill, (me, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        session.chat("never", wait=True)
    last = session.send_message("two")
    patient.let_go.set()
    assert session.response(last).result(WAIT).text == "re two"
    assert "never" not in [m.text for m in session.messages]


def test_a_wait_whose_event_loop_is_gone_does_not_hold_up_the_line():
    patient = Patient()
    session = al.Session(provider=Scripted(otherwise=echo), middleware=[patient], max_pending=1)
    session.send_message("one")
    loop = asyncio.new_event_loop()
    waiting = session.start("lost", wait=True)
    task = loop.create_task(waiting.__aenter__())
    loop.run_until_complete(asyncio.sleep(0))
    task._log_destroy_pending = False  # it is what this test is about
    loop.close()
    last = session.send_message("two")
    patient.let_go.set()
    assert session.response(last).result(WAIT).text == "re two"
    task.get_coro().close()


# --- cancelling ------------------------------------------------------------------------------


def test_a_running_request_is_cancelled_and_the_next_begins():
    model = hanging()
    session = al.Session(provider=model, max_pending=1)
    got: list[Any] = []
    session.bus.subscribe(session.responses_topic, got.append)
    session.send_message("one", "r1")
    session.send_message("two", "r2")
    begun(model, session)
    assert session.cancel_request("r1") is True
    first, second = (session.response(id_).result(WAIT) for id_ in ("r1", "r2"))
    assert (first.status, second.text) == ("cancelled", "re two")
    # What was said stays, and so does the question.
    assert [m.text for m in session.messages][:2] == ["one", "partial"]
    until(lambda: len(got) == 2)
    assert [(r.request_id, r.phase) for r in got] == [("r1", "running"), ("r2", "running")]


def test_a_queued_request_is_taken_out_and_never_sent():
    patient = Patient()
    model = Scripted(otherwise=echo)
    session = al.Session(provider=model, middleware=[patient], max_pending=2)
    got: list[Any] = []
    session.bus.subscribe(session.responses_topic, got.append)
    session.send_message("one", "r1")
    session.send_message("two", "r2")
    assert session.cancel_request("r2") is True
    assert session.health().pending_count == 0
    assert session.response("r2").result(WAIT).status == "cancelled"
    patient.let_go.set()
    session.response("r1").result(WAIT)
    assert [m.text for m in session.messages] == ["one", "re one"]
    until(lambda: len(got) == 2)
    assert (got[0].request_id, got[0].phase) == ("r2", "queued")


def test_a_request_is_cancelled_once():
    session = al.Session(provider=Scripted(otherwise=echo))
    session.response(session.send_message("one", "r1")).result(WAIT)
    assert session.cancel_request("r1") is False
    assert session.cancel_request("never sent") is False


def test_a_request_cancelled_before_its_first_step_keeps_its_prompt():
    session = al.Session(provider=Scripted(otherwise=[HANG]))
    for number in range(30):
        session.send_message("one", f"r{number}")
        session.cancel_request(f"r{number}")
        assert session.response(f"r{number}").result(WAIT).status == "cancelled"
    assert [m.text for m in session.messages] == ["one"] * 30
    session.set_model(Scripted(otherwise=echo))
    assert session.chat("two").text == "re two"


def test_a_running_chat_is_not_what_cancel_request_stops():
    model = hanging()
    session = al.Session(provider=model, max_pending=1)
    thread = threading.Thread(target=session.chat, args=("one",))
    thread.start()
    begun(model, session)
    session.send_message("two", "r2")
    assert session.cancel_request("r2") is True
    assert session.health().busy
    session.stop()
    thread.join(WAIT)


# --- what goes wrong -------------------------------------------------------------------------


class Broken(Middleware):
    """Fails around the first run, inside our own code as it were."""

    def __init__(self, error: BaseException) -> None:
        self.errors = [error]

    async def run(self, run: Any, next: Any) -> Any:  # noqa: A002
        if self.errors:
            raise self.errors.pop()
        return await next(run)


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), SystemExit(3), ServerFault("down")])
def test_a_request_that_crashes_is_answered_and_the_session_stays_usable(error):
    session = al.Session(
        provider=Scripted(otherwise=echo), middleware=[Broken(error)], max_pending=1
    )
    session.send_message("one", "r1")
    session.send_message("two", "r2")
    assert session.response("r1").result(WAIT).status == "error"
    assert session.response("r2").result(WAIT).text == "re two"
    assert session.chat("three").text == "re three"


def test_a_provider_that_leaves_with_sys_exit_does_not_take_the_queue_with_it():
    session = al.Session(provider=Scripted(SystemExit(1), otherwise=echo), max_pending=1)
    session.send_message("one", "r1")
    session.send_message("two", "r2")
    assert session.response("r1").result(WAIT).status == "error"
    assert session.response("r2").result(WAIT).text == "re two"


# --- topics that trigger ---------------------------------------------------------------------


def test_a_text_on_a_subscribed_topic_is_a_request():
    bus = al.EventBus()
    session = al.Session(provider=Scripted(otherwise=echo), bus=bus, subscribe=["news"])

    async def go() -> Any:
        with bus.subscribe(session.responses_topic) as responses:
            bus.publish("news", "rain")
            return await asyncio.wait_for(anext(responses), WAIT)

    assert asyncio.run(go()).result.text == "re rain"


def test_what_is_no_text_on_a_subscribed_topic_is_left_out_with_a_line_in_the_log(caplog):
    session = al.Session(provider=Scripted(otherwise=echo), subscribe="news")
    with caplog.at_level(logging.INFO, "alloy_nb"):
        session.bus.publish("news", {"no": "text"})
        session.bus.publish("news", "rain")
        until(lambda: len(session.messages) == 2)
    assert "leaves out a dict" in caplog.text


def test_a_topic_s_text_waits_in_the_queue_or_is_dropped_with_a_warning(caplog):
    patient = Patient()
    session = al.Session(
        provider=Scripted(otherwise=echo), subscribe=["news"], middleware=[patient], max_pending=1
    )
    with caplog.at_level(logging.WARNING, "alloy_nb"):
        for text in ("a", "b", "c"):
            session.bus.publish("news", text)
        until(lambda: "drops what came on 'news'" in caplog.text)
        patient.let_go.set()
        until(lambda: len(session.messages) == 4)
    assert [m.text for m in session.messages] == ["a", "re a", "b", "re b"]


def test_each_turn_is_published_as_it_begins_whoever_asked():
    session = al.Session(provider=Scripted(otherwise=echo))
    runs: list[Any] = []
    session.bus.subscribe(session.runs_topic, runs.append)
    session.chat("one")
    session.response(session.send_message("two", "r2")).result(WAIT)
    until(lambda: len(runs) == 2)
    assert [run.events[0].body.prompt for run in runs] == [user("one"), user("two")]


@pytest.mark.parametrize("wrong", [-1, 1.5, True, "3", None])
def test_max_pending_is_a_whole_number_from_0(wrong):
    with pytest.raises(ConfigError, match="max_pending"):
        al.Session(provider=Scripted(), max_pending=wrong)

"""What is said into a run under way: it is heard before the next request, or known as unheard."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

import alloy_nb as al
from alloy_nb.engine.agent import Agent
from alloy_nb.engine.documents.story import story_of
from alloy_nb.engine.journal.recovery import recovered
from alloy_nb.engine.portal import run_sync
from alloy_nb.engine.run import Run
from alloy_nb.engine.sessions.cue import Cue
from alloy_nb.errors import ConfigError, SessionError
from alloy_nb.events import Steered, TextDelta, ToolStarted, TurnFinished, TurnStarted
from alloy_nb.messages import Image, StopReason, Text, ToolResult, user
from alloy_nb.usage import Cost
from tests.engine.holding import Holding
from tests.engine.scripted import HANG, Scripted, calls, of_run, says
from tests.engine.test_cancel import answered_once, slowly
from tests.engine.test_loop import add
from tests.providers.test_handoff_pairs import RECEIVERS, judged

When = Callable[[Any], bool]


def at(kind: type, number: int = 1) -> When:
    """Return what is true at the n-th event of a kind."""
    left = number

    def is_now(body: Any) -> bool:
        nonlocal left
        left -= isinstance(body, kind)
        return isinstance(body, kind) and left == 0

    return is_now


def steered(
    model: Any, *said: tuple[When, Any], tools: Any = (add,), **more: Any
) -> tuple[al.Result, Run]:
    """Run to the end, and say things into the run at these events."""

    async def go() -> tuple[al.Result, Run]:
        async with Agent(model, tools=tools, **more).start("go") as run:

            def watch() -> None:
                for when, prompt in said:
                    if when(run.events[-1].body):
                        run.steer(prompt)

            run.watchers.append(watch)
            return await run.result(), run

    return asyncio.run(go())


# --- where it goes --------------------------------------------------------------------------------


def test_what_is_said_while_a_tool_runs_goes_along_with_its_result():
    model = Scripted(calls(("add", {"a": 1, "b": 2})), says("3, in French: trois"))
    result, run = steered(model, (at(ToolStarted), "In French, please."))
    last = model.requests[1].messages[-1]
    assert [type(block) for block in last.content] == [ToolResult, Text]
    assert last.text == "In French, please."
    assert [body.message.text for body in of_run(Steered, run.events)] == ["In French, please."]
    assert (result.status, result.turns) == ("completed", 2)


def test_what_is_said_while_the_model_ends_is_one_more_turn_of_the_run():
    model = Scripted(says("Hello."), says("Bonjour."))
    result, _ = steered(model, (at(TextDelta), "In French, please."))
    assert [m.text for m in result.messages] == ["go", "Hello.", "In French, please.", "Bonjour."]
    assert (result.text, result.turns, result.status) == ("Bonjour.", 2, "completed")


def test_several_words_go_along_in_their_order_in_one_message():
    model = Scripted(says("a"), says("b"))
    picture = user("and this", Image(data="iVBORw0KGgo="))
    result, run = steered(model, (at(TextDelta), "one"), (at(TurnFinished), picture))
    said = result.messages[2]
    assert [b.text for b in said.content if isinstance(b, Text)] == ["one", "and this"]
    assert isinstance(said.content[-1], Image)
    assert len(of_run(Steered, run.events)) == 2


def test_what_is_said_before_the_first_reply_waits_for_its_end():
    model = Scripted(says("a"), says("b"))
    result, _ = steered(model, (at(TurnStarted), "wait"))
    assert [m.text for m in model.requests[0].messages] == ["go"]
    assert [m.text for m in result.messages] == ["go", "a", "wait", "b"]


def test_a_model_that_declined_is_told_what_the_person_said():
    model = Scripted(says("No.", stop=StopReason.REFUSAL), says("Then yes."))
    result, _ = steered(model, (at(TextDelta), "It is for a test."))
    assert result.text == "Then yes."


class Wanted(BaseModel):
    """A number."""

    number: int


def test_a_run_that_owes_a_value_still_hears_and_is_still_reminded():
    model = Scripted(says("Hm."), says("Well."), calls(("Wanted", {"number": 7})))
    result, _ = steered(model, (at(TurnStarted), "Take seven."), until_tool=Wanted, tools=())
    texts = [m.text for m in result.messages if m.role == "user"]
    assert texts[1] == "Take seven."  # first what the person said, then the reminder
    assert "Take seven." not in texts[2]


def test_a_vendors_pause_comes_to_its_end_before_the_word_is_heard():
    model = Scripted(says("a", stop=StopReason.PAUSE), says("b"), says("c"))
    _, run = steered(model, (at(TextDelta), "meanwhile"))
    assert [m.role for m in model.requests[1].messages] == ["user", "assistant"]
    assert model.requests[2].messages[-1].text == "meanwhile"
    assert not run.steering.unheard


# --- limits, and the end --------------------------------------------------------------------------


@pytest.mark.parametrize("reply", [says("done"), calls(("add", {"a": 1, "b": 1}))])
def test_a_limit_on_turns_holds_and_the_word_is_known_as_unheard(reply):
    model = Scripted(reply, otherwise=says("too many"))
    result, run = steered(model, (at(TurnFinished), "more"), max_turns=1)
    assert len(model.requests) == 1
    assert [m.text for m in run.steering.unheard] == ["more"]
    assert not of_run(Steered, run.events)
    assert all("more" not in m.text for m in result.messages)


def test_a_limit_on_cost_holds_and_the_word_stays_in_the_history():
    model = Scripted(says("a"), says("never"))
    budget = al.Budget("1000")

    def spent(body: Any) -> bool:
        if isinstance(body, TextDelta):
            budget.settle(Decimal(0), Cost(known=Decimal(2000)))
        return isinstance(body, TextDelta)

    more = {"budget": budget, "unknown_price": "worst", "tools": ()}
    result, _ = steered(model, (spent, "more"), **more)
    assert (result.status, len(model.requests)) == ("budget_exceeded", 1)
    assert result.messages[-1].text == "more"
    judged("anthropic", [*result.messages, user("go on")])


def test_a_stopped_run_says_what_it_did_not_hear():
    model = Scripted([*says("par")[:3], HANG])

    async def go() -> tuple[al.Result, Run]:
        async with Agent(model).start("go") as run:
            async for event in run:
                if isinstance(event.body, TextDelta):
                    run.steer("too late")
                    run.cancel()
            return await run.result(), run

    result, run = asyncio.run(go())
    assert result.status == "cancelled"
    assert [m.text for m in run.steering.unheard] == ["too late"]
    assert [m.text for m in result.messages] == ["go", "par"]


def test_nothing_can_be_said_into_a_run_that_is_over():
    _, run = steered(Scripted(says("done")))
    with pytest.raises(SessionError, match="next prompt"):
        run.steer("more")


def test_what_is_said_once_the_model_has_ended_for_good_is_refused_at_once():
    refused: list[str] = []

    class Late(al.Middleware):
        async def run(self, run: Run, next: Any) -> al.Result:  # noqa: A002  # the word of onions
            result: al.Result = await next(run)
            with pytest.raises(SessionError) as error:
                run.steer("more")
            refused.append(str(error.value))
            return result

    _, run = steered(Scripted(says("done")), middleware=[Late()])
    assert len(refused) == 1
    assert run.steering.unheard == []


def test_no_word_is_lost_however_late_it_comes_from_another_thread():
    # Said at any moment, it is heard, known as unheard, or refused: one of the three.
    for delay in range(30):
        model = Scripted(says("a", "b", "c"), otherwise=says("d"), steps=True)
        refused: list[SessionError] = []

        async def go(model: Any = model, delay: int = delay, refused: Any = refused) -> Run:
            async with Agent(model).start("go") as run:

                def say() -> None:
                    try:
                        run.steer("word")
                    except SessionError as error:
                        refused.append(error)

                for _ in range(delay):
                    await asyncio.sleep(0)
                thread = threading.Thread(target=say)
                thread.start()
                await run.result()
                thread.join()
                return run

        run = asyncio.run(go())
        heard = len(of_run(Steered, run.events))
        assert heard + len(run.steering.unheard) + len(refused) == 1


# --- the history ----------------------------------------------------------------------------------


@pytest.mark.parametrize("receiver", RECEIVERS)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=6, deadline=None)
def test_a_run_that_was_steered_and_stopped_anywhere_leaves_what_any_vendor_takes(receiver, seed):
    chance = random.Random(seed)
    model = Scripted(
        calls(("slowly", {"n": 0}, "a"), ("nope", {}, "b"), text=chance.choice(["", "so"])),
        chance.choice([says("half"), calls(("slowly", {"n": 1}, "c"))]),
        otherwise=says("all ", "done"),
        steps=True,
    )
    words = [(chance.randrange(50), f"word {n}") for n in range(chance.randrange(1, 4))]
    end = chance.randrange(10, 80)

    async def go() -> al.Result:
        async with Agent(model, tools=(slowly,)).start("go") as run:
            for step in range(end):
                for when, word in words:
                    if when == step and not run.done:
                        try:
                            run.steer(word)
                        except SessionError:
                            continue
                await asyncio.sleep(0)
            run.cancel()
            return await run.result()

    result = asyncio.run(go())
    answered_once(result.messages)
    judged(receiver, [*result.messages, user("go on")])


@pytest.mark.parametrize(
    "script",
    [
        (says("a"), says("b")),
        (calls(("add", {"a": 1, "b": 2})), says("3")),
        (calls(("add", {"a": 1, "b": 2}), ("add", {"a": 2, "b": 2}, "x")), says("3")),
    ],
)
def test_a_turn_whose_process_died_is_recovered_with_what_was_said_into_it(script):
    result, run = steered(Scripted(*script), (at(TurnFinished), "one"), (at(TurnFinished), "two"))
    assert recovered(user("go"), run.events) == result.messages


def test_the_next_turn_goes_on_from_it():
    model = Scripted(says("a"), says("b"), says("c"))
    session = al.Session(provider=model)

    async def go() -> None:
        async with session.start("go") as run:
            run.steer("more")
            await run.result()

    run_sync(go())
    session.chat("and now?")
    assert [m.text for m in model.requests[2].messages] == ["go", "a", "more", "b", "and now?"]


def test_a_document_sets_off_what_was_said_from_the_models_words():
    session = al.Session(provider=Scripted(says("a"), says("b")))

    async def go() -> None:
        async with session.start("go") as run:
            run.steer("first line\nsecond line")
            await run.result()

    run_sync(go())
    parts = story_of(session.export_session()).turns[0].parts
    assert [part.text for part in parts] == ["a", "> first line\n> second line", "b"]


# --- of a session ---------------------------------------------------------------------------------


def test_a_session_that_answers_is_steered_from_any_thread():
    session = al.Session(provider=Scripted(calls(("hold", {})), says("done"), name="s"))
    hold = Holding()
    session.configure(tools=[hold.tool])
    sent = session.send_message("go")
    assert hold.held.wait(30)
    session.steer("shorter")
    hold.let_go.set()
    result = session.response(sent).result()
    assert result.messages[-2].text == "shorter"


def test_a_session_that_does_not_answer_says_so():
    with pytest.raises(SessionError, match="does not answer"):
        al.Session(provider=Scripted()).steer("more")


def test_an_empty_word_is_refused():
    session = al.Session(provider=Scripted(says("a")))

    async def go() -> None:
        async with session.start("go"):
            session.steer("  ")

    with pytest.raises(ConfigError, match="empty"):
        run_sync(go())


def test_a_replay_shows_what_was_said_and_hears_nothing(tmp_path):
    session = al.Session(provider=Scripted(says("a"), says("b")), journal=tmp_path)

    async def ask(replay: Any, word: str | None) -> Run:
        async with session.start("go", cue=Cue(key="k", replay=replay)) as run:
            if word is not None:
                run.steer(word)
            await run.result()
            return run

    first = run_sync(ask("off", "more"))
    session.rewind(1)
    again = run_sync(ask("only", None))
    assert again.replays is not None
    assert of_run(Steered, again.events) == of_run(Steered, first.events)
    with pytest.raises(SessionError):
        again.steer("more")
    assert [m.text for m in session.messages] == ["go", "a", "more", "b"]

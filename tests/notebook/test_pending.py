"""A question that waits is shown in every face, and the first answer is the one that counts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

import alloy_nb as al
from alloy_nb.engine import portal
from alloy_nb.engine.agent import Agent
from alloy_nb.engine.calls.approval import Decision
from alloy_nb.errors import ConfigError, SessionError
from alloy_nb.messages import ToolCall
from alloy_nb.notebook.approval import asker, person
from alloy_nb.notebook.approval.pending import Pending, Waiting, in_panel
from alloy_nb.notebook.approval.person import NOBODY
from alloy_nb.notebook.approval.question import Answer, Question
from alloy_nb.notebook.panel.questions import Questions
from tests.engine.scripted import Scripted, calls, says
from tests.engine.test_cancel import answered_once

ran: list[Any] = []


@al.tool(risk="run")
def act(what: str = "") -> str:
    """Act."""
    ran.append(what)
    return "acted"


@pytest.fixture(autouse=True)
def nothing_ran(monkeypatch):
    ran.clear()
    # A face that never says that it is there is waited for as long as a card.
    monkeypatch.setattr(person, "_HANDSHAKE_SECONDS", 0.05)


@dataclass(eq=False)
class Face:
    """A face that keeps what it is shown, and may answer it at once."""

    pending: Pending
    says: Any = None
    is_there: bool = True
    shown: list[Waiting] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    is_asked: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.pending.join(self)

    def asked(self, waiting: Waiting) -> bool:
        self.shown.append(waiting)
        self.is_asked.set()
        if self.says is not None:
            said = self.says.pop(0) if isinstance(self.says, list) else self.says
            # As a click does: from another thread, and by the key alone.
            threading.Thread(target=self.pending.answer, args=(waiting.key, said)).start()
        return self.is_there

    def answered(self, waiting: Waiting) -> None:
        self.hidden.append(waiting.key)


def panel_turn(pending: Pending, **arguments: Any) -> Decision:
    """Decide about a call of a panel's turn."""

    async def go() -> Decision:
        in_panel.set(True)
        approve = asker("ask", pending=pending, session="main")
        return await approve(ToolCall(id="c1", name="act", input=arguments), act)

    return asyncio.run(go())


async def waiting_in(pending: Pending) -> Waiting:
    while not pending.waiting("main"):
        await asyncio.sleep(0)
    return pending.waiting("main")[0]


QUESTION = Question("Run it?", "act()", editable="{}")


async def opened(pending: Pending, then: Callable[[Waiting], Any]) -> Any:
    """Ask a question, and do something while it waits."""
    with pending.asking("main", ToolCall(id="c1", name="act"), QUESTION) as waiting:
        return await then(waiting)


# --- the first answer -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "allowed", "how"),
    [
        ({"choice": "once"}, True, "once"),
        ({"choice": "turn"}, True, "turn"),
        ({"choice": "session"}, True, "session"),
        ({"choice": "denied", "text": "not now"}, False, "denied"),
        ({"choice": "edited", "text": '{"what": "b"}'}, True, "edited"),
    ],
)
def test_a_panel_answers_as_a_card_does(said, allowed, how):
    pending = Pending()
    Face(pending, says=said)
    decision = panel_turn(pending, what="a")
    assert (decision.allowed, decision.how) == (allowed, how)
    assert decision.arguments == ({"what": "b"} if how == "edited" else None)


def test_of_many_answers_at_once_exactly_one_counts():
    pending = Pending()

    async def all_at_once(waiting: Waiting) -> tuple[list[bool], Answer]:
        ready, told = threading.Barrier(16), []

        def click(number: int) -> None:
            ready.wait()
            told.append((waiting.give(Answer("denied", str(number))), number))

        threads = [threading.Thread(target=click, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        answer = await waiting.answer()
        await asyncio.to_thread(lambda: [thread.join() for thread in threads])
        return told, answer

    for _ in range(20):
        told, answer = asyncio.run(opened(pending, all_at_once))
        assert [str(number) for counts, number in told if counts] == [answer.text]


def test_every_face_shows_it_and_every_face_takes_it_away():
    pending = Pending()
    first, second = Face(pending, says={"choice": "once"}), Face(pending)
    assert panel_turn(pending).allowed
    assert len(first.shown) == len(second.shown) == 1
    assert first.hidden == second.hidden == [first.shown[0].key]


def test_an_answer_that_comes_late_is_told():
    pending = Pending()
    face = Face(pending, says={"choice": "once"})
    panel_turn(pending)
    with pytest.raises(SessionError, match="answered elsewhere"):
        pending.answer(face.shown[0].key, {"choice": "once"})


def test_an_answer_that_comes_a_moment_late_is_told_too():
    pending = Pending()

    async def twice(waiting: Waiting) -> str:
        pending.answer(waiting.key, {"choice": "denied", "text": "first"})
        with pytest.raises(SessionError, match="answered elsewhere"):
            pending.answer(waiting.key, {"choice": "once"})
        return (await waiting.answer()).text

    assert asyncio.run(opened(pending, twice)) == "first"


def test_a_late_answer_does_not_allow_another_call_of_the_same_id():
    pending = Pending()
    face = Face(pending, says={"choice": "denied"})
    panel_turn(pending)

    async def late(_: Waiting) -> None:
        with pytest.raises(SessionError):
            pending.answer(face.shown[0].key, {"choice": "once"})

    face.says = None
    asyncio.run(opened(pending, late))
    assert face.shown[0].call.id == face.shown[1].call.id


def test_a_kernel_that_was_started_anew_takes_no_answer_to_a_question_of_before():
    async def key(waiting: Waiting) -> str:
        return waiting.key

    assert asyncio.run(opened(Pending(), key)) != asyncio.run(opened(Pending(), key))


# --- what is no answer ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"choice": "yes"},
        {"choice": None},
        {"choice": ["once"]},
        {"choice": "once", "text": 3},
        {"choice": "denied", "text": "x" * 1_000_001},
    ],
)
def test_what_is_no_answer_is_refused_and_the_question_waits_on(said):
    pending = Pending()

    async def try_it(waiting: Waiting) -> bool:
        with pytest.raises(ConfigError):
            pending.answer(waiting.key, said)
        return waiting.give(Answer("once"))

    assert asyncio.run(opened(pending, try_it))


def test_what_may_not_be_edited_cannot_be():
    pending = Pending()

    async def go() -> None:
        call, plain = ToolCall(id="c1", name="act"), Question("?", "act()")
        with pending.asking("main", call, plain) as waiting, pytest.raises(ConfigError):
            pending.answer(waiting.key, {"choice": "edited", "text": "{}"})

    asyncio.run(go())


def test_arguments_that_are_no_json_are_asked_about_again_under_another_key():
    pending = Pending()
    face = Face(pending, says=[{"choice": "edited", "text": "{"}, {"choice": "once"}])
    decision = panel_turn(pending, what="a")
    first, second = face.shown
    assert (decision.allowed, decision.arguments) == (True, None)
    assert "no JSON object" in second.question.warning
    assert second.question.editable == "{"
    assert first.key != second.key


# --- the end of a question ------------------------------------------------------------------------


def test_a_question_whose_turn_was_stopped_disappears():
    pending = Pending()
    face = Face(pending)

    async def go() -> al.Result:
        in_panel.set(True)
        approve = asker("ask", pending=pending, session="main")
        agent = Agent(Scripted(calls(("act", {}))), tools=(act,), approve=approve)
        async with agent.start("go") as run:
            await waiting_in(pending)
            run.cancel()
            return await run.result()

    result = asyncio.run(go())
    assert face.hidden == [face.shown[0].key]
    assert pending.waiting("main") == []
    assert (result.status, ran) == ("cancelled", [])
    answered_once(result.messages)
    with pytest.raises(SessionError):
        pending.answer(face.shown[0].key, {"choice": "once"})


def test_a_face_that_fails_keeps_neither_the_others_nor_the_turn():
    pending = Pending()

    class Broken:
        def asked(self, waiting: Waiting) -> bool:
            raise RuntimeError("no")

        answered = asked

    pending.join(Broken())
    Face(pending, says={"choice": "once"})
    assert panel_turn(pending).allowed


def test_a_face_that_left_is_not_asked():
    pending = Pending()
    gone: Any = Face.__new__(Face)
    pending.join(gone)()
    assert not pending.has_faces


# --- who is there ---------------------------------------------------------------------------------


def test_without_any_panel_a_panels_turn_is_denied_at_once():
    decision = panel_turn(Pending())
    assert (decision.allowed, decision.how, decision.reason) == (False, "nobody", NOBODY)


def test_a_panel_whose_front_end_never_came_is_not_waited_for():
    pending = Pending()
    face = Face(pending, is_there=False)
    assert panel_turn(pending).how == "nobody"
    assert face.hidden == [face.shown[0].key]


def test_a_panels_turn_never_asks_in_words(monkeypatch):
    monkeypatch.setattr("builtins.input", lambda _: pytest.fail("it was asked in words"))
    assert panel_turn(Pending()).how == "nobody"


def test_a_front_end_that_comes_while_it_is_waited_for_is_in_time(monkeypatch):
    monkeypatch.setattr(person, "_HANDSHAKE_SECONDS", 1.0)
    pending = Pending()
    face = Face(pending, is_there=False)

    async def go() -> Decision:
        in_panel.set(True)
        approve = asker("ask", pending=pending, session="main")
        asked = asyncio.ensure_future(approve(ToolCall(id="c1", name="act"), act))
        waiting = await waiting_in(pending)
        waiting.see()
        await asyncio.sleep(1.2)  # longer than a face that is not there is waited for
        assert not asked.done()
        pending.answer(waiting.key, {"choice": "once"})
        return await asked

    assert asyncio.run(go()).allowed
    assert len(face.hidden) == 1


# --- in words and in a panel ----------------------------------------------------------------------


def in_words(pending: Pending, read: Any) -> Decision:
    """Decide about a call of a cell that asks in words, on this thread."""
    approve = asker("ask", read=read, pending=pending, session="main")
    return portal.run_sync(approve(ToolCall(id="c1", name="act"), act))


def test_what_is_typed_in_the_cell_closes_it_in_the_panel():
    pending = Pending()
    face = Face(pending)
    assert in_words(pending, lambda _: "y").allowed
    assert face.hidden == [face.shown[0].key]


def test_a_panel_answers_what_waits_to_be_asked_in_words():
    # As a turn in the background does, while nobody waits for it.
    pending = Pending()
    Face(pending, says={"choice": "denied", "text": "no"})

    class Busy:
        def post(self, function: Any) -> None:
            """Never come to it."""

    async def go() -> Decision:
        portal.current_host.set(Busy())
        approve = asker("ask", read=input, pending=pending, session="main")
        return await approve(ToolCall(id="c1", name="act"), act)

    assert asyncio.run(go()).reason == "no"


# --- a panel --------------------------------------------------------------------------------------


class FakePanel:
    """What `Questions` needs of a panel."""

    def __init__(self, pending: Pending, name: str = "main") -> None:
        self.told: list[dict[str, Any]] = []
        self.is_seen = True
        self.session = type("Named", (), {"name": name})()
        approvals = type("Approvals", (), {"pending": pending})()
        self.desk = type("Desk", (), {"approvals": approvals})()

    def tell(self, kind: str, **fields: Any) -> None:
        self.told.append({"kind": kind, **fields})

    @property
    def kinds(self) -> list[str]:
        return [message["kind"] for message in self.told]


def test_a_panel_shows_what_is_asked_in_its_own_conversation_alone():
    pending = Pending()
    mine, other = FakePanel(pending), FakePanel(pending, "other")
    Questions(mine), Questions(other)

    async def nothing(_: Waiting) -> None:
        return None

    asyncio.run(opened(pending, nothing))
    assert (mine.kinds, other.kinds) == (["asked", "answered"], [])
    assert mine.told[0]["question"]["subject"] == "act()"
    assert mine.told[0]["call"] == mine.told[1]["call"]


def test_a_page_that_was_loaded_anew_is_shown_the_question_again():
    pending = Pending()
    panel = FakePanel(pending)
    panel.is_seen = False
    questions = Questions(panel)

    async def reload(waiting: Waiting) -> bool:
        before = await waiting.is_seen(0.01)
        questions.again()
        return not before and await waiting.is_seen(5)

    assert asyncio.run(opened(pending, reload))
    assert panel.kinds == ["asked", "asked", "answered"]


def test_a_panel_that_goes_to_another_conversation_leaves_its_question():
    pending = Pending()
    panel = FakePanel(pending)
    questions = Questions(panel)

    async def switch(_: Waiting) -> None:
        panel.session = type("Named", (), {"name": "other"})()
        questions.again()

    asyncio.run(opened(pending, switch))
    assert panel.kinds == ["asked", "answered"]


def test_a_panel_that_was_closed_is_told_no_more():
    pending = Pending()
    panel = FakePanel(pending)
    Questions(panel).close()
    assert not pending.has_faces


def test_the_desk_of_a_notebook_asks_its_panels(cell, shell):
    from tests.notebook.scripting import magics, scripted

    cell("1")
    desk = magics(shell).desk
    session = desk.session()
    face = Face(desk.approvals.pending, says={"choice": "once"})
    scripted(shell, calls(("act", {"what": "x"})), says("done"))
    session.configure(tools=[act], approve=desk.approvals.for_turn(session.agent))

    async def go() -> al.Result:
        in_panel.set(True)
        async with session.start("go") as run:
            return await run.result()

    assert portal.run_sync(go()).text == "done"
    assert ran == ["x"]
    assert face.shown[0].session == session.name

"""Agents that work in a call are drawn inside its card: live, saved, in a terminal."""

from __future__ import annotations

import json
import re
from decimal import Decimal

import pytest

import alloy_nb as al
from alloy_nb.events import (
    ApprovalAsked,
    BlockSealed,
    BlockStarted,
    Delegated,
    Event,
    EventBody,
    RunFinished,
    RunStarted,
    TextDelta,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    TurnStarted,
)
from alloy_nb.messages import Text, ToolCall, ToolResult, assistant, user
from alloy_nb.notebook.drawing.canvas import NotebookCanvas, RecordingCanvas
from alloy_nb.notebook.drawing.segments import FooterSegment, ToolSegment
from alloy_nb.notebook.drawing.terminal import TerminalCanvas
from alloy_nb.notebook.drawing.transcript import Transcript
from alloy_nb.usage import Cost, Usage
from tests.engine.scripted import Scripted, calls, says
from tests.notebook.hostile import CONTROL, PAYLOADS, as_jupyterlab, offences
from tests.notebook.test_canvas import Stage

ASK = ToolCall(id="c1", name="ask_researcher", input={"task": "find it"})
USAGE = Usage(input_tokens=10, output_tokens=5)
KEY = "sk-ant-api03-" + "Ab3" * 12


def dollars(amount: str) -> Cost:
    return Cost(known=Decimal(amount))


def event(body: EventBody, agent: str = "main", run: str = "r0") -> Event:
    return Event(1, 1, run, agent, 1, 1.0, body)


def inner(body: EventBody, agent: str = "researcher", run: str = "r1", call: str = "c1") -> Event:
    return event(Delegated(agent, event(body, agent, run), call))


def turn(text: str, cost: str) -> TurnFinished:
    return TurnFinished(assistant(Text(text=text)), USAGE, dollars(cost), 1.0)


def asked(*within: Event) -> list[Event]:
    """Return a run in which a researcher is asked, and what it does."""
    return [
        event(RunStarted(None, "p", "lead-model")),
        event(TurnStarted("p", "lead-model")),
        event(BlockStarted(0, "tool_call", "c1", "ask_researcher")),
        event(turn("", "0.01")),
        event(ToolStarted(ASK)),
        *within,
    ]


def worked(text: str = "It is **here**.", *more: EventBody) -> list[Event]:
    bodies: list[EventBody] = [
        RunStarted(user("find it"), "p", "small-model"),
        TurnStarted("p", "small-model"),
        *more,
        BlockStarted(0, "text"),
        TextDelta(0, text),
        BlockSealed(0),
        turn(text, "0.002"),
        RunFinished("completed", USAGE, dollars("0.002"), 1.0),
    ]
    return [inner(body) for body in bodies]


def ended(text: str = "It is here.") -> list[Event]:
    result = ToolResult(call_id="c1", name="ask_researcher", content=(Text(text=text),))
    return [
        event(ToolFinished(ASK, result, 1.0)),
        event(RunFinished("completed", USAGE, dollars("0.012"), 2.0)),
    ]


def drawn(events: list[Event]) -> RecordingCanvas:
    canvas = RecordingCanvas(Transcript())
    for one in events:
        canvas.transcript.apply(one)
        canvas.mark()
    canvas.finish()
    return canvas


def card(canvas: RecordingCanvas) -> dict[str, str]:
    return next(one for one in canvas.saved if "🔧" in one["text/plain"])


# --- what is shown --------------------------------------------------------------------------------


def test_what_an_agent_said_stands_in_the_card_of_the_call_that_asked_it():
    shown = card(drawn([*asked(*worked()), *ended()]))
    assert "<strong>here</strong>" in shown["text/html"]
    assert "It is **here**." in shown["text/markdown"]
    assert re.search(
        r"researcher ✓ · \$0.0020 · small-model\n +It is \*\*here\*\*", shown["text/plain"]
    )


def test_an_agents_own_call_is_a_card_within_the_card():
    call = ToolCall(id="x1", name="look", input={"at": "the table"})
    result = ToolResult(call_id="x1", name="look", content=(Text(text="42 rows"),))
    within = worked("Done.", ToolStarted(call), ToolFinished(call, result, 0.5))
    html = card(drawn([*asked(*within), *ended()]))["text/html"]
    assert html.count("<details") == 2
    assert html.index("ask_researcher") < html.index("look") < html.index("42 rows")


def test_the_answer_of_an_agent_is_not_drawn_twice():
    shown = card(drawn([*asked(*worked("It is here.")), *ended("It is here.")]))
    assert shown["text/plain"].count("It is here.") == 1


def test_while_it_works_the_card_shows_who_how_far_and_the_end_of_what_it_says():
    canvas = drawn([*asked(*worked()[:4])])
    frames = [data["text/plain"] for _, data in canvas.frames]
    assert any("ask_researcher … running\n    researcher … · $0" in frame for frame in frames)
    assert any(re.search(r"answering\n +It is", frame) for frame in frames)


def test_the_footer_says_what_each_agent_cost_itself():
    canvas = drawn([*asked(*worked()), *ended()])
    footer = canvas.transcript.segments[-1]
    assert isinstance(footer, FooterSegment)
    assert footer.agents == {"main": dollars("0.01"), "researcher": dollars("0.002")}
    assert "main $0.0100, researcher $0.0020" in canvas.saved[-1]["text/plain"]


def test_a_run_that_asked_nobody_names_no_agents_in_its_footer():
    canvas = drawn([event(RunStarted(None, "p", "m")), event(turn("hi", "0.1")), ended()[1]])
    assert canvas.saved[-1]["text/plain"].count("$") == 1


def test_a_saved_notebook_has_the_cost_of_each_agent_as_data():
    metadata: list[dict[str, object]] = []

    def publish(data: object, **about: dict[str, object]) -> None:
        metadata.append(about["metadata"])

    transcript = Transcript()
    canvas = NotebookCanvas(transcript, publish)
    for one in [*asked(*worked()), *ended()]:
        transcript.apply(one)
    canvas.finish()
    facts = [each["alloy"] for each in metadata if "alloy" in each]
    assert facts[-1]["usd_by_agent"] == {"main": "0.01", "researcher": "0.002"}


def test_an_agent_that_an_agent_asked_is_drawn_within_it_and_counted_once():
    ask = ToolCall(id="c1", name="ask_writer", input={"task": "write"})
    said = ToolResult(call_id="c1", name="ask_writer", content=(Text(text="written"),))
    deepest = [
        inner(Delegated("writer", event(body, "writer", "r2"), "c1"))
        for body in (
            RunStarted(user("write"), "p", "tiny-model"),
            TextDelta(0, "a poem"),
            turn("a poem", "0.001"),
            RunFinished("completed", USAGE, dollars("0.001"), 1.0),
        )
    ]
    begin, end = worked()[:2], worked()[2:]
    middle = [inner(ToolStarted(ask)), *deepest, inner(ToolFinished(ask, said, 1.0))]
    canvas = drawn([*asked(*begin, *middle, *end), *ended()])
    plain = card(canvas)["text/plain"]
    assert plain.index("researcher ✓") < plain.index("ask_writer") < plain.index("writer ✓")
    footer = canvas.transcript.segments[-1]
    assert isinstance(footer, FooterSegment)
    assert {name: str(cost) for name, cost in footer.agents.items()} == {
        "main": "$0.0100",
        "researcher": "$0.0020",
        "writer": "$0.0010",
    }


def test_an_agent_that_is_stopped_with_its_run_is_said_to_be():
    canvas = RecordingCanvas(Transcript())
    for one in asked(*worked()[:4]):
        canvas.transcript.apply(one)
        canvas.mark()
    canvas.transcript.stopped("Stopped.")
    canvas.finish()
    assert "researcher ■ stopped" in card(canvas)["text/plain"]
    assert "It is" in card(canvas)["text/plain"]


def test_a_terminal_shows_the_card_once_with_all_that_was_done_in_it():
    transcript, out = Transcript(), list[str]()
    canvas = TerminalCanvas(transcript, out.append, colour=False)
    for one in [*asked(*worked()), *ended()]:
        transcript.apply(one)
        canvas.mark()
    canvas.finish()
    text = "".join(out)
    assert text.count("ask_researcher") == 1
    assert "researcher ✓ · $0.0020" in text


def test_a_real_team_is_drawn_as_its_events_come():
    team = al.Team()
    team.add("writer", provider=Scripted(says("A poem.")))
    lead = al.Session(
        provider=Scripted(calls(("ask_writer", {"task": "write"})), says("There it is.")),
        tools=team.tools(),
        approve="all",
    )
    events: list[Event] = []
    lead.stream_chat("A poem, please", on_event=events.append)
    shown = card(drawn(events))
    assert re.search(r"writer ✓.*\n +A poem\.", shown["text/plain"])


# --- questions ------------------------------------------------------------------------------------

BASH = ToolCall(id="c1", name="bash", input={"command": "ls"})


def test_a_question_about_an_agents_call_stands_in_the_card_of_that_call():
    canvas = RecordingCanvas(Transcript())
    for one in asked(*worked()[:2], inner(ToolStarted(BASH)), inner(ApprovalAsked(BASH, "ls"))):
        canvas.transcript.apply(one)
    tool = canvas.transcript.card(BASH)
    tool.view = {"application/x-question": {}}
    canvas.mark()
    assert len(canvas.transcript.segments) == 1
    assert "application/x-question" in canvas.saved[-1]


def test_a_question_that_comes_before_its_call_was_seen_ends_as_the_call_does():
    transcript = Transcript()
    for one in asked(*worked()[:2]):
        transcript.apply(one)
    early = transcript.card(BASH)
    early.state = "approval"
    said = ToolResult(call_id="c1", name="bash", content=(Text(text="a.txt"),))
    transcript.apply(inner(ToolStarted(BASH)))
    transcript.apply(inner(ToolFinished(BASH, said, 0.1)))
    assert (early.state, early.result) == ("done", "a.txt")


def test_a_server_that_counts_its_calls_anew_in_each_reply_gets_a_card_for_each():
    events: list[Event] = []
    model = Scripted(calls(("look", {"at": "a"})), calls(("look", {"at": "b"})), says("both"))

    @al.tool(risk="read")
    def look(at: str) -> str:
        """Look."""
        return f"saw {at}"

    al.stream("look", lambda _: None, provider=model, tools=[look], on_event=events.append)
    canvas = drawn(events)
    cards = [s for s in canvas.transcript.segments if isinstance(s, ToolSegment)]
    assert [tool.result for tool in cards] == ["saw a", "saw b"]


# --- bounds ---------------------------------------------------------------------------------------


def test_a_live_frame_stays_small_whatever_the_agents_say():
    words = [inner(TextDelta(0, "word " * 40)) for _ in range(400)]
    canvas = drawn(asked(*worked()[:3], *words))
    sizes = [len(json.dumps(data)) for _, data in canvas.frames[:-1]]
    assert max(sizes) < 4_000


def test_agents_that_stream_side_by_side_keep_to_the_budget_of_frames():
    """Three agents, 500 tokens a second for 40 seconds: ten frames a second, 22 kB a second."""
    stage = Stage()
    calls_ = [ToolCall(id=f"c{n}", name=f"ask_{n}", input={"task": "x"}) for n in range(3)]
    stage.tell(RunStarted(None, "p", "m"), *(ToolStarted(call) for call in calls_))
    for number, call in enumerate(calls_):
        begun = event(RunStarted(user("x"), "p", "m"), f"agent{number}", f"r{number}")
        stage.tell(Delegated(f"agent{number}", begun, call.id))
    seconds, rate = 40, 500
    for token in range(seconds * rate):
        number = token % 3
        delta = event(TextDelta(0, "word "), f"agent{number}", f"r{number}")
        stage.tell(Delegated(f"agent{number}", delta, f"c{number}"), after=1 / rate)
    moments = {moment for moment, _, _ in stage.frames}
    assert len(moments) <= 10 * seconds + 2
    assert sum(stage.sent) <= 22_000 * seconds + 60_000 + 50_000
    assert "word" in stage.plain()[-1]


def test_a_card_of_many_long_agents_stays_bounded():
    events = asked()
    for number in range(60):
        run = f"r{number}"
        events += [
            inner(body, f"agent{number}", run)
            for body in (
                RunStarted(user("x"), "p", "m"),
                TextDelta(0, "long " * 20_000),
                RunFinished("completed", USAGE, dollars("0.1"), 1.0),
            )
        ]
    canvas = RecordingCanvas(Transcript())
    for one in [*events, *ended()]:
        canvas.transcript.apply(one)
    canvas.finish()
    assert len(json.dumps(card(canvas))) < 300_000


# --- hostile text ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", {**PAYLOADS, **CONTROL})
def test_hostile_text_of_an_agent_is_harmless_in_every_frame_and_when_it_is_saved(name):
    text = {**PAYLOADS, **CONTROL}[name]
    call = ToolCall(id="x1", name=text[:60] or "x", input={"code": text})
    result = ToolResult(call_id="x1", name="look", content=(Text(text=text),))
    bodies: list[EventBody] = [
        RunStarted(user(text), text, text),
        ToolStarted(call),
        ToolFinished(call, result, 0.5),
        TextDelta(0, text),
        RunFinished("error", USAGE, dollars("0.1"), 1.0, text),
    ]
    within = [inner(body, agent=text) for body in bodies]
    canvas = drawn([*asked(*within), *ended(text)])
    for _, data in canvas.frames:
        assert offences(data.get("text/html", "")) == []
    for data in canvas.saved:
        assert as_jupyterlab(data["text/markdown"]) == []


def test_a_key_in_what_an_agent_says_is_masked_live_and_saved():
    within = [inner(RunStarted(user(KEY), "p", "m"))]
    within += [inner(TextDelta(0, piece)) for piece in ("the key ", KEY[:20], KEY[20:], " is it")]
    canvas = drawn([*asked(*within), *ended(KEY)])
    assert KEY not in json.dumps([data for _, data in canvas.frames])
    assert KEY[:20] not in json.dumps([data for _, data in canvas.frames])

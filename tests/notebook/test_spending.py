"""``%alloy cost`` and ``timeline``: as tables, figures and a DataFrame."""

import base64

import pytest
from IPython.core.error import UsageError

from alloy_nb.events import (
    ApprovalAsked,
    ApprovalDecided,
    BlockSealed,
    BlockStarted,
    Event,
    RetryScheduled,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    TurnStarted,
)
from alloy_nb.messages import Text, ToolCall, ToolResult, assistant
from alloy_nb.notebook.timeline import rows, spans_of
from alloy_nb.usage import Cost, Usage
from tests.engine.scripted import Scripted, says
from tests.notebook.test_magics import magics

CALL = ToolCall(id="c", name="python", input={})
USAGE = Usage(input_tokens=1200, output_tokens=30)


def events(*steps):
    return [Event(1, n, "r", "a", 1, 100.0 + at, body) for n, (at, body) in enumerate(steps, 1)]


def a_turn():
    answer = assistant("x")
    return events(
        (0.0, RunStarted(None, "p", "m")),
        (0.0, TurnStarted("p", "m")),
        (1.0, BlockStarted(0, "thinking")),
        (3.0, BlockSealed(0, Text(text=""))),
        (3.0, BlockStarted(1, "tool_call", id="c", name="python")),
        (4.0, BlockSealed(1, CALL)),
        (4.0, TurnFinished(answer, USAGE, Cost(), 4.0)),
        (4.0, ApprovalAsked(CALL, "1")),
        (9.0, ApprovalDecided(CALL, allowed=True)),
        (9.0, ToolStarted(CALL)),
        (10.0, ToolFinished(CALL, ToolResult(call_id="c"), 1.0)),
        (10.0, RunFinished("completed", USAGE, Cost(), 10.0)),
    )


def test_a_turn_is_told_by_where_its_time_went():
    told = [(span.what, span.start, span.end) for span in spans_of(a_turn())]
    assert told == [
        ("waits for m", 0.0, 1.0),
        ("thinks", 1.0, 3.0),
        ("writes a call", 3.0, 4.0),
        ("waits for you: python", 4.0, 9.0),
        ("runs python", 9.0, 10.0),
    ]


def test_tokens_stand_where_a_reply_ended():
    spans = {span.what: span.tokens for span in spans_of(a_turn())}
    assert spans["writes a call"] == "1,200 in, 30 out"


def test_the_bars_of_a_turn_lie_on_one_scale():
    bars = [row[-1] for row in rows(spans_of(a_turn()))[1:]]
    assert len({len(bar) for bar in bars}) == 1
    assert bars[0].startswith("█")
    assert bars[-1].endswith("█")


def test_a_turn_that_was_cut_off_ends_with_its_last_event():
    spans = spans_of(a_turn()[:4])
    assert spans[-1].end == 3.0
    assert spans_of(a_turn()[:3])[-1].end == 1.0


def test_a_second_try_is_a_stretch_of_its_own():
    spans = spans_of(events((0.0, TurnStarted("p", "m")), (1.0, RetryScheduled(1, 2.0, "busy"))))
    assert [(span.kind, span.seconds) for span in spans] == [("waiting", 1.0), ("retry", 2.0)]


def test_nothing_happened_before_the_first_event():
    assert spans_of([]) == []


def test_the_blocks_of_an_answer_with_sources_are_one_stretch():
    blocks = [
        step
        for n in range(4)
        for step in ((1.0 + n, BlockStarted(n, "text")), (2.0 + n, BlockSealed(n, Text(text=""))))
    ]
    spans = spans_of(events((0.0, TurnStarted("p", "m")), *blocks))
    assert [(span.what, span.start, span.end) for span in spans][1:] == [("answers", 1.0, 5.0)]


def test_a_call_that_a_rule_let_through_waited_for_nobody():
    steps = (0.0, ApprovalAsked(CALL, "1")), (0.001, ApprovalDecided(CALL, allowed=True))
    assert spans_of(events(*steps)) == []


# --- the words ----------------------------------------------------------------------------------


@pytest.fixture
def session(shell, cell):
    session = magics(shell).session()
    session.set_model(Scripted(says("a"), says("b")))
    cell("%alloy one")
    cell("%alloy two")
    return session


def refused(ran):
    assert isinstance(ran.error, UsageError)
    return ran.stderr


def test_the_costs_are_listed_by_turn_with_their_sum(session, cell):
    lines = cell("%alloy cost").text.splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["1", "2", "all"]


def test_the_costs_come_as_a_frame(shell, session, cell):
    pandas = pytest.importorskip("pandas")
    frame = cell("%alloy cost --df").result
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame["asked"]) == ["one", "two"]


def test_the_frame_can_go_into_a_variable(shell, session, cell):
    pytest.importorskip("pandas")
    cell("%alloy cost --df -o spent")
    assert len(shell.user_ns["spent"]) == 2


@pytest.mark.parametrize("name", ["class", "a.b", "2"])
def test_a_word_that_can_be_no_variable_is_refused_before_anything_is_kept(
    shell, session, cell, name
):
    pytest.importorskip("pandas")
    assert f"-o {name}: " in refused(cell(f"%alloy cost --df -o {name}"))
    assert name not in shell.user_ns


def test_the_costs_are_drawn_with_words_beside_them(session, cell):
    pytest.importorskip("matplotlib")
    ran = cell("%alloy cost --plot")
    png = base64.b64decode(ran.displays[0].data["image/png"], validate=True)
    assert png.startswith(b"\x89PNG")
    assert [set(display.data) for display in ran.displays] == [{"image/png", "text/plain"}]
    assert ran.displays[0].data["text/plain"].startswith("2 turns: ")


def test_the_last_turn_is_told_by_where_its_time_went(session, cell):
    assert "waits for scripted-1" in cell("%alloy timeline").text


def test_the_last_turn_is_drawn(session, cell):
    pytest.importorskip("matplotlib")
    assert "image/png" in cell("%alloy timeline --plot").displays[0].data


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("cost --plot", "nothing was asked"),
        ("timeline", "no turn to look at"),
        ("timeline two", "%alloy timeline N"),
        ("timeline 1", "not kept in a journal"),
    ],
)
def test_where_there_is_nothing_to_show_one_sentence_says_so(cell, line, told):
    assert told in refused(cell(f"%alloy {line}"))


def test_a_turn_of_the_journal_is_told_too(shell, cell, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cell("%config Alloy.journal = 'on'")
    session = magics(shell).session()
    session.set_model(Scripted(says("a"), says("b")))
    cell("%alloy one")
    cell("%alloy two")
    assert "waits for scripted-1" in cell("%alloy timeline 1").text
    assert "no turn 7" in refused(cell("%alloy timeline 7"))

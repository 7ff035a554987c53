"""A transcript is drawn at a bounded price, in order, and leaves nothing unfinished behind."""

from __future__ import annotations

import heapq
import io
import itertools
import json
import random
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alloy_nb.events import (
    ApprovalAsked,
    BlockSealed,
    BlockStarted,
    CitationAdded,
    Event,
    EventBody,
    RunFinished,
    RunStarted,
    TextDelta,
    ThinkingDelta,
    ToolFinished,
    ToolStarted,
    TurnStarted,
)
from alloy_nb.messages import Citation, Text, ToolCall, ToolResult
from alloy_nb.notebook.drawing.blocks import Splitter, join
from alloy_nb.notebook.drawing.canvas import (
    NotebookCanvas,
    RecordingCanvas,
    TerminalCanvas,
    canvas_for,
)
from alloy_nb.notebook.drawing.flow import Flow, seal_size
from alloy_nb.notebook.drawing.transcript import Transcript
from alloy_nb.usage import Cost, Usage

from .hostile import CONTROL, PAYLOADS, offences

MODEL = "claude-sonnet-4-6"
USAGE = Usage(input_tokens=3100, output_tokens=20_000)
END = RunFinished("completed", USAGE, Cost(known=Decimal("0.30")), 40.0)
CALL = ToolCall(id="c1", name="run_python", input={"code": "1 + 1"})
ANSWER = ToolResult(call_id="c1", content=(Text(text="2"),))
KEY = "sk-ant-api03-" + "Ab3" * 12


@dataclass
class Alarm:
    at: float
    callback: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class VirtualClock:
    """A loop's clock and timers, which move only when told to."""

    seconds: float = 0.0
    alarms: list[tuple[float, int, Alarm]] = field(default_factory=list)
    numbers: Any = field(default_factory=itertools.count)

    def time(self) -> float:
        return self.seconds

    def call_later(self, delay: float, callback: Callable[[], None]) -> Alarm:
        alarm = Alarm(self.seconds + delay, callback)
        heapq.heappush(self.alarms, (alarm.at, next(self.numbers), alarm))
        return alarm

    def advance(self, seconds: float) -> None:
        until = self.seconds + seconds
        while self.alarms and self.alarms[0][0] <= until:
            at, _, alarm = heapq.heappop(self.alarms)
            if not alarm.cancelled:
                self.seconds = max(self.seconds, at)
                alarm.callback()
        self.seconds = until


@dataclass
class Stage:
    """A notebook canvas with a virtual clock, and what it published."""

    clock: VirtualClock = field(default_factory=VirtualClock)
    transcript: Transcript = field(default_factory=lambda: Transcript(200_000))
    sent: list[int] = field(default_factory=list)
    frames: list[tuple[float, str, dict[str, str]]] = field(default_factory=list)
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.canvas = NotebookCanvas(self.transcript, self.publish, clock=self.clock)

    def publish(
        self, data: dict[str, str], *, display_id: str, update: bool, metadata: dict[str, Any]
    ) -> None:
        assert update == (display_id in self.outputs)
        content = {"data": data, "metadata": metadata, "transient": {"display_id": display_id}}
        # 600 bytes is what Jupyter's header, parent header and signature take.
        self.sent.append(len(json.dumps(content, ensure_ascii=False).encode()) + 600)
        self.frames.append((self.clock.seconds, display_id, data))
        self.outputs[display_id] = data
        self.metadata[display_id] = metadata

    def tell(self, *bodies: EventBody, after: float = 0.0) -> None:
        for body in bodies:
            self.clock.advance(after)
            event = Event(1, 1, "run", "agent", 1, self.clock.seconds, body)
            self.transcript.apply(event)
            self.canvas.mark()

    def stream(self, text: str, rate: float = 500, *, token: int = 5) -> None:
        for start in range(0, len(text), token):
            self.tell(TextDelta(0, text[start : start + token]), after=1 / rate)

    def finish(self) -> list[dict[str, str]]:
        self.canvas.finish()
        return list(self.outputs.values())

    def plain(self) -> list[str]:
        return [data["text/plain"] for data in self.outputs.values()]


def answer(size: int, seed: int = 7) -> str:
    """Make Markdown such as a model writes: paragraphs, lists, code, tables."""
    dice = random.Random(seed)
    words = [
        *("revenue", "north", "model", "column", "index", "value", "growth", "quarter", "data"),
        *("`df`", "**bold**", "mean", "sum", "region", "12.5%", "$5", "of", "the", "and", "résumé"),
    ]

    def sentence(length: int) -> str:
        return " ".join(dice.choice(words) for _ in range(length)).capitalize() + ". "

    def paragraph() -> str:
        return "".join(sentence(dice.randint(8, 20)) for _ in range(dice.randint(2, 6))) + "\n\n"

    def bullets() -> str:
        items = (f"- {sentence(dice.randint(4, 14))}\n" for _ in range(dice.randint(3, 9)))
        return "".join(items) + "\n"

    def code() -> str:
        lines = (
            f'def f{n}(x):\n    return x < {n} and df["a"] & "q"\n\n'
            for n in range(dice.randint(2, 12))
        )
        return "```python\n" + "".join(lines) + "```\n\n"

    def table() -> str:
        rows = (
            f"| {dice.choice(words)} {dice.choice(words)} | {dice.random():.3f} |\n"
            for _ in range(dice.randint(3, 20))
        )
        return "| name | value |\n|---|--:|\n" + "".join(rows) + "\n"

    def heading() -> str:
        return f"## {sentence(4).strip()}\n\n"

    parts: list[str] = []
    length = 0
    while length < size:
        (maker,) = dice.choices([paragraph, bullets, code, table, heading], [45, 20, 15, 10, 10])
        parts.append(maker())
        length += len(parts[-1])
    return "".join(parts)


LONG = answer(100_000)


def played(text: str, rate: float, *, token: int = 5) -> Stage:
    stage = Stage()
    stage.tell(RunStarted(None, "anthropic", MODEL), TurnStarted("anthropic", MODEL))
    stage.tell(BlockStarted(0, "text"), after=1.5)
    stage.stream(text, rate, token=token)
    stage.tell(BlockSealed(0), END)
    stage.finish()
    return stage


@pytest.fixture(scope="module")
def fast() -> Stage:
    return played(LONG, 500)


@pytest.fixture(scope="module")
def slow() -> Stage:
    return played(LONG, 100)


def saved(stage: Stage) -> int:
    return len(json.dumps(list(stage.outputs.values()), ensure_ascii=False).encode())


# --- the budget ---------------------------------------------------------------------------------


def test_a_hundred_kilobytes_at_500_tokens_a_second_send_at_most_two_megabytes(fast: Stage) -> None:
    assert sum(fast.sent) <= 2_000_000


def test_a_hundred_kilobytes_at_100_tokens_a_second_send_at_most_six_megabytes(slow: Stage) -> None:
    assert sum(slow.sent) <= 6_000_000


def test_a_hundred_kilobytes_take_at_most_2500_messages(slow: Stage) -> None:
    assert len(slow.sent) <= 2_500


def test_a_hundred_kilobytes_make_at_most_25_outputs(slow: Stage) -> None:
    assert len(slow.outputs) <= 25


def test_what_is_saved_is_at_most_four_times_the_text(slow: Stage) -> None:
    assert saved(slow) <= 4 * len(LONG.encode())


def test_the_three_kinds_together_are_at_most_3_9_times_the_text(slow: Stage) -> None:
    kinds = sum(len(kind.encode()) for data in slow.outputs.values() for kind in data.values())
    assert kinds <= 3.9 * len(LONG.encode())


def test_there_are_at_most_twelve_frames_a_second(fast: Stage) -> None:
    times = sorted({at for at, _, _ in fast.frames})
    for first, thirteenth in zip(times, times[12:], strict=False):
        assert thirteenth - first >= 1.0


def test_the_first_words_are_shown_at_once() -> None:
    stage = Stage()
    stage.tell(RunStarted(None, "anthropic", MODEL), BlockStarted(0, "text"))
    stage.stream("Revenue fell by ", 100)
    stage.clock.advance(0.11)
    assert "Revenue fell by" in stage.plain()[0]


def test_a_million_characters_make_fewer_outputs_than_jupyterlab_shows() -> None:
    flow = Flow()
    flow.feed(answer(1_000_000))
    flow.close()
    assert len(flow.groups) <= 30


@pytest.mark.parametrize(
    "text",
    [
        "word " * 6_000,
        "nospace" * 4_000,
        "```\n" + "x < 1;\n" * 3_000,
        "- a\n  ```\n" + "  x < 1;\n" * 2_500,
        "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 2_500,
        "- item\n" * 3_000,
        "> quoted\n" * 2_500,
        "\n" * 20_000,
        "[" * 5_000,
    ],
    ids=[
        "paragraph",
        "word",
        "fence",
        "inner fence",
        "table",
        "list",
        "quote",
        "blank",
        "brackets",
    ],
)
def test_a_block_that_does_not_end_keeps_to_the_same_rate(text: str) -> None:
    stage = Stage()
    stage.tell(BlockStarted(0, "text"))
    stage.stream(text, 50, token=100)
    seconds = stage.clock.seconds
    assert sum(stage.sent) <= 60_000 + 30_000 * seconds + 8 * len(text)


def test_work_grows_with_the_text_and_not_with_its_square() -> None:
    def cost(size: int) -> float:
        begin = time.process_time()
        played(answer(size), 2000, token=20)
        return time.process_time() - begin

    cost(5_000)
    assert cost(160_000) < 8 * 2.5 * max(cost(20_000), 0.05)


# --- layout -------------------------------------------------------------------------------------


def test_all_outputs_end_with_three_kinds(fast: Stage) -> None:
    for data in fast.outputs.values():
        assert set(data) == {"text/html", "text/markdown", "text/plain"}
        assert all(data.values())


def test_the_answer_can_be_read_from_the_saved_plain_texts(fast: Stage) -> None:
    said = "".join("".join(text.split()) for text in fast.plain()[:-1])
    assert said.replace("`", "") == "".join(LONG.split()).replace("`", "")


def test_how_a_text_was_cut_into_deltas_does_not_show_in_the_end() -> None:
    text = answer(20_000)
    ends = [
        [data["text/html"] for data in played(text, rate, token=token).outputs.values()][:-1]
        for rate, token in ((500, 5), (100, 97), (50, 4000))
    ]
    assert ends[0] == ends[1] == ends[2]


def test_a_short_answer_is_one_output_and_its_footer() -> None:
    stage = played("Hello, *world*.", 100)
    assert len(stage.outputs) == 2
    assert stage.plain()[0] == "Hello, *world*."


def test_outputs_stand_in_the_order_of_the_events() -> None:
    stage = Stage()
    stage.tell(BlockStarted(0, "thinking"), ThinkingDelta(0, "let me see"), after=0.5)
    stage.tell(BlockSealed(0), TextDelta(1, "First "), after=0.5)
    stage.tell(ToolStarted(CALL), ToolFinished(CALL, ANSWER, 0.1), TextDelta(3, "Then."), after=0.5)
    stage.tell(END)
    stage.finish()
    starts = [plain.split()[0] for plain in stage.plain()]
    assert starts == ["Thought", "First", "🔧", "Then.", "↑3.1k"]


def test_a_committed_output_is_not_sent_again() -> None:
    stage = Stage()
    stage.tell(ToolStarted(CALL), ToolFinished(CALL, ANSWER, 0.1))
    stage.stream(answer(5_000), 200)
    stage.tell(END)
    stage.finish()
    cards = [data for _, _, data in stage.frames if "run_python ✓" in data["text/plain"]]
    assert len(cards) == 1


def test_a_source_that_comes_late_is_added_to_the_output_that_it_supports() -> None:
    stage = Stage()
    stage.stream(answer(12_000), 500)
    stage.tell(CitationAdded(0, Citation(url="https://src.example", start=0, end=400)), END)
    stage.finish()
    assert "[1]</a>" in next(iter(stage.outputs.values()))["text/html"]
    assert "src.example" in list(stage.outputs.values())[-2]["text/plain"]


def test_many_tools_share_outputs_so_that_jupyterlab_shows_them_all() -> None:
    stage = Stage()
    for number in range(120):
        call = ToolCall(id=f"c{number}", name=f"tool_{number}")
        answered = ToolResult(call_id=call.id, content=(Text(text="ok"),))
        stage.tell(ToolStarted(call), ToolFinished(call, answered, 0.1), after=0.2)
    stage.tell(END)
    stage.finish()
    assert len(stage.outputs) <= 25
    whole = "\n".join(stage.plain())
    assert all(f"tool_{number} " in whole for number in range(120))
    assert stage.plain()[-1].endswith(MODEL) or "↑3.1k" in stage.plain()[-1]


def test_the_last_output_has_the_facts_for_programs() -> None:
    stage = played("x", 100)
    assert list(stage.metadata.values())[-1]["alloy"]["usd"] == "0.30"


# --- the phase line -----------------------------------------------------------------------------


def test_while_nothing_came_a_line_says_who_is_waited_for() -> None:
    stage = Stage()
    stage.tell(RunStarted(None, "anthropic", MODEL))
    stage.clock.advance(0.01)
    assert stage.plain() == [f"{MODEL} · waiting"]


def test_the_line_counts_about_once_a_second() -> None:
    stage = Stage()
    stage.tell(RunStarted(None, "anthropic", MODEL))
    stage.clock.advance(5.5)
    assert stage.plain() == [f"{MODEL} · waiting 5 s"]
    assert len(stage.sent) <= 7


def test_the_first_content_takes_the_place_of_the_line() -> None:
    stage = Stage()
    stage.tell(RunStarted(None, "anthropic", MODEL))
    stage.stream("Hello you ", 20)
    stage.clock.advance(1)
    assert stage.plain() == ["Hello you "] or stage.plain() == ["Hello you"]


@pytest.mark.parametrize(
    "bodies",
    [
        [],
        [RunStarted(None, "anthropic", MODEL)],
        [RunStarted(None, "anthropic", MODEL), BlockStarted(0, "thinking")],
        [RunStarted(None, "anthropic", MODEL), BlockStarted(0, "text"), TextDelta(0, " \n ")],
        [RunStarted(None, "anthropic", MODEL), ToolStarted(CALL)],
        [RunStarted(None, "anthropic", MODEL), ToolStarted(CALL), ApprovalAsked(CALL, "rm -rf x")],
        [RunStarted(None, "anthropic", MODEL), TextDelta(0, "\x1b[0m\u2060")],
        [RunStarted(None, "anthropic", MODEL), TextDelta(0, "half a **sen"), TurnStarted("p", "m")],
        [RunStarted(None, "anthropic", MODEL), END],
    ],
)
@pytest.mark.parametrize("how", ["finish", "stop"])
def test_no_end_leaves_an_empty_output_or_a_waiting_line(bodies: list[EventBody], how: str) -> None:
    stage = Stage()
    for body in bodies:
        stage.tell(body, after=2.5)
        stage.clock.advance(2.5)
    if how == "stop":
        stage.transcript.stopped("Stopped.")
        stage.canvas.mark()
    stage.finish()
    for data in stage.outputs.values():
        assert data["text/plain"].strip()
        assert "waiting" not in data["text/plain"]
        assert set(data) == {"text/html", "text/markdown", "text/plain"}


def test_after_the_end_nothing_is_drawn() -> None:
    stage = played("x", 100)
    count = len(stage.sent)
    stage.tell(TextDelta(0, "late"))
    stage.canvas.finish()
    stage.clock.advance(60)
    assert len(stage.sent) == count


def test_a_stopped_answer_keeps_what_had_arrived() -> None:
    stage = Stage()
    stage.stream("Revenue fell beca", 100)
    stage.transcript.stopped("You stopped it.")
    stage.finish()
    assert stage.plain() == ["Revenue fell beca", "■ You stopped it."]


def test_a_notice_after_the_footer_was_drawn_is_shown_and_the_footer_once() -> None:
    stage = Stage()
    stage.tell(TextDelta(0, "x"), END)
    stage.clock.advance(1)
    stage.transcript.stopped("Stopped.")
    stage.finish()
    assert [plain.split()[0] for plain in stage.plain()] == ["x", "↑3.1k", "■"]


def test_a_whole_transcript_is_drawn_without_a_loop() -> None:
    transcript = Transcript()
    transcript.apply(Event(1, 1, "r", "a", 1, 0.0, TextDelta(0, "x")))
    drawn: list[str] = []
    NotebookCanvas(transcript, lambda data, **_: drawn.append(data["text/plain"])).finish()
    assert drawn == ["x"]


def test_a_publisher_that_fails_once_does_not_stop_the_drawing() -> None:
    stage = Stage()
    failures = iter([RuntimeError("no kernel")])
    publish = stage.publish

    def flaky(data: dict[str, str], **rest: Any) -> None:
        for failure in failures:
            raise failure
        publish(data, **rest)

    stage.canvas._publish = flaky  # type: ignore[assignment]
    stage.tell(TextDelta(0, "one "))
    with pytest.raises(RuntimeError):
        stage.clock.advance(0.2)
    stage.tell(TextDelta(0, "two "))
    stage.clock.advance(1)
    stage.finish()
    assert stage.plain() == ["one two "]


# --- safe while it arrives ----------------------------------------------------------------------


def test_no_frame_of_a_hostile_answer_is_unsafe() -> None:
    transcript = Transcript()
    canvas = RecordingCanvas(transcript)
    text = "\n\n".join(PAYLOADS.values())
    for start in range(0, len(text), 13):
        body = TextDelta(0, text[start : start + 13])
        transcript.apply(Event(1, 1, "r", "a", 1, 0.0, body))
        canvas.mark()
    canvas.finish()
    seen = {data["text/html"] for _, data in canvas.frames}
    assert [found for html in seen for found in offences(html)] == []


def test_no_frame_shows_a_part_of_a_key() -> None:
    transcript = Transcript()
    canvas = RecordingCanvas(transcript)
    for char in f"The key is {KEY} and no more. " * 3:
        transcript.apply(Event(1, 1, "r", "a", 1, 0.0, TextDelta(0, char)))
        canvas.mark()
    canvas.finish()
    assert not any("sk-a" in kind for _, data in canvas.frames for kind in data.values())


def test_the_recording_canvas_keeps_every_frame_and_the_last_forms() -> None:
    transcript = Transcript()
    canvas = RecordingCanvas(transcript)
    for word in ("one ", "two "):
        transcript.apply(Event(1, 1, "r", "a", 1, 0.0, TextDelta(0, word)))
        canvas.mark()
    canvas.finish()
    assert len(canvas.frames) == 3
    assert [data["text/plain"] for data in canvas.saved] == ["one two "]


# --- borders ------------------------------------------------------------------------------------

_LINES = st.sampled_from(
    [
        *(
            "# head",
            "para one",
            "para two words",
            "",
            "",
            "",
            "x" * 700,
            "word " * 300,
            "\ttab",
            "x\r",
        ),
        *(
            "- item",
            "  - inner",
            "* star",
            "1. one",
            "2) two",
            "> quote",
            "    code",
            "\0",
            "===",
            "---",
        ),
        *("```python", "```", "````", "~~~", "***", "<div>", "[a]: http://b.c"),
        *("| a | b |", "|---|---|", "| 1 | 2 |", "| 1 | 2 |"),
    ]
)
_SOURCES = st.lists(_LINES, max_size=120).map("\n".join)


@settings(max_examples=150, deadline=None)
@given(_SOURCES)
def test_the_pieces_together_are_the_text(source: str) -> None:
    splitter = Splitter()
    pieces = [*splitter.feed(source), splitter.rest()]
    assert "".join(piece.text for piece in pieces) == source


@settings(max_examples=150, deadline=None)
@given(_SOURCES)
def test_joined_pieces_have_no_fence_or_header_twice(source: str) -> None:
    splitter = Splitter()
    pieces = [*splitter.feed(source), splitter.rest()]
    assert join(pieces) == source


@settings(max_examples=100, deadline=None)
@given(_SOURCES, st.lists(st.integers(0, 3000), max_size=20))
def test_where_the_deltas_were_cut_does_not_matter(source: str, cuts: Sequence[int]) -> None:
    edges = [0, *sorted(min(cut, len(source)) for cut in cuts), len(source)]
    flows = [Flow(), Flow()]
    flows[0].feed(source)
    for start, end in itertools.pairwise(edges):
        flows[1].feed(source[start:end])
    for flow in flows:
        flow.close()
    first, second = ([group.text for group in flow.groups] for flow in flows)
    assert first == second


@settings(max_examples=30, deadline=None)
@given(st.lists(_LINES, min_size=100, max_size=300).map("\n".join))
def test_no_group_but_the_first_is_blank(source: str) -> None:
    flow = Flow()
    flow.feed(source)
    flow.close()
    assert all(group.text.strip() for group in flow.groups[1:])


def test_a_long_fence_is_opened_again() -> None:
    splitter = Splitter()
    pieces = splitter.feed("```python\n" + "x = 1\n" * 1000)
    assert len(pieces) > 2
    for piece in pieces:
        assert join([piece]).startswith("```python\n")
        assert join([piece]).endswith("\n```\n")


def test_a_long_table_repeats_its_header() -> None:
    splitter = Splitter()
    pieces = splitter.feed("| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 1000)
    assert len(pieces) > 2
    assert all(join([piece]).startswith("| a | b |\n|---|---|\n") for piece in pieces)


def test_a_long_list_is_cut_between_its_items() -> None:
    splitter = Splitter()
    pieces = splitter.feed("- item\n\n  more\n" * 300)
    assert len(pieces) > 2
    assert all(piece.text.startswith("- item") for piece in pieces)


def test_a_fence_inside_a_list_is_not_cut() -> None:
    splitter = Splitter()
    assert splitter.feed("- a\n  ```\n" + "  x\n" * 2000) == []


def test_what_has_ended_is_not_read_again() -> None:
    splitter = Splitter()
    splitter.feed(LONG)
    assert len(splitter.pending) < 3000


def test_outputs_are_small_first_and_then_grow() -> None:
    sizes = [seal_size(number) for number in range(20)]
    assert sizes[0] == sizes[8] == 4096
    assert sizes[19] > 100_000


# --- terminal -----------------------------------------------------------------------------------


def terminal(*bodies: EventBody, colour: bool = False) -> str:
    out: list[str] = []
    transcript = Transcript()
    canvas = TerminalCanvas(transcript, out.append, colour=colour)
    for number, body in enumerate(bodies):
        transcript.apply(Event(1, 1, "r", "a", 1, float(number), body))
        canvas.mark()
    canvas.finish()
    canvas.finish()
    return "".join(out)


def test_a_terminal_gets_each_character_once() -> None:
    assert terminal(*(TextDelta(0, char) for char in "Hello, **you** <b>!")) == (
        "Hello, **you** <b>!\n"
    )


@pytest.mark.parametrize(
    ("is_terminal", "environment", "dims"),
    [
        (True, {"TERM": "xterm"}, True),
        (True, {"TERM": "dumb"}, False),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (False, {"TERM": "xterm"}, False),
    ],
)
def test_a_terminal_dims_lines_where_it_can_and_may(
    is_terminal: bool,
    environment: dict[str, str],
    dims: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: is_terminal)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    TerminalCanvas(Transcript()).line("by the way")
    assert ("\x1b[2m" in out.getvalue()) is dims


def test_a_terminal_shows_one_line_for_thinking() -> None:
    written = terminal(BlockStarted(0, "thinking"), ThinkingDelta(0, "a\nb"), TextDelta(1, "So."))
    assert written == "Thought for 2.0 s\nSo.\n"


def test_a_terminal_shows_tools_and_the_footer() -> None:
    written = terminal(ToolStarted(CALL), ToolFinished(CALL, ANSWER, 0.1), TextDelta(1, "2"), END)
    assert written.split("\n")[0] == "🔧 run_python ✓ 0.1 s"
    assert written.split("\n")[-3] == "2"
    assert written.split("\n")[-2].startswith("↑3.1k")


def test_a_terminal_shows_a_late_notice_and_the_footer_once() -> None:
    out: list[str] = []
    transcript = Transcript()
    canvas = TerminalCanvas(transcript, out.append, colour=False)
    transcript.apply(Event(1, 1, "r", "a", 1, 0.0, END))
    canvas.mark()
    transcript.stopped("Stopped.")
    canvas.finish()
    assert [line[0] for line in "".join(out).splitlines()] == ["↑", "■"]


def test_a_terminal_lists_the_sources() -> None:
    cited = CitationAdded(0, Citation(url="https://a.b/c", title="T", end=1))
    assert terminal(TextDelta(0, "x"), cited) == "x\n[1] T — https://a.b/c\n"


@pytest.mark.parametrize("name", CONTROL)
def test_a_terminal_gets_no_control_character_of_the_model(name: str) -> None:
    text = CONTROL[name]
    written = terminal(*(TextDelta(0, char) for char in text), ToolStarted(CALL))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", written)


def test_only_our_own_colours_reach_a_terminal() -> None:
    written = terminal(TextDelta(0, "\x1b[31mx\n"), END, colour=True)
    assert set(re.findall(r"\x1b[^m]*m", written)) == {"\x1b[2m", "\x1b[0m"}


def test_a_key_that_arrives_letter_by_letter_does_not_reach_a_terminal() -> None:
    written = terminal(*(TextDelta(0, char) for char in f"key {KEY}, Bearer {'x1' * 20} end"))
    assert "sk-a" not in written
    assert "x1x1" not in written


def test_the_shell_decides_between_notebook_and_terminal() -> None:
    class Kernel:
        kernel = object()

    assert isinstance(canvas_for(Transcript(), Kernel()), NotebookCanvas)
    assert isinstance(canvas_for(Transcript(), object()), TerminalCanvas)


def test_ipython_is_given_a_raw_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    import IPython.display

    from alloy_nb.notebook.drawing.canvas import publish_to_ipython

    given: dict[str, Any] = {}
    monkeypatch.setattr(IPython.display, "publish_display_data", lambda **rest: given.update(rest))
    publish_to_ipython({"text/plain": "x"}, display_id="d", update=True, metadata={"a": 1})
    assert given == {
        "data": {"text/plain": "x"},
        "metadata": {"a": 1},
        "transient": {"display_id": "d"},
        "update": True,
    }

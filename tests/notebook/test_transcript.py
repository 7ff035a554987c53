"""Events become segments."""

from __future__ import annotations

import time
from decimal import Decimal

import pytest

from alloy_nb.events import (
    ApprovalAsked,
    BlockSealed,
    BlockStarted,
    BudgetWarned,
    CitationAdded,
    ContextCompacted,
    Delegated,
    Event,
    EventBody,
    RetryScheduled,
    RunFinished,
    RunStarted,
    Steered,
    Stopped,
    TextDelta,
    ThinkingDelta,
    ToolFinished,
    ToolInputDelta,
    ToolProgress,
    ToolStarted,
    TurnFinished,
    TurnStarted,
)
from alloy_nb.messages import (
    Citation,
    Image,
    Message,
    Opaque,
    Origin,
    StopReason,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    user,
)
from alloy_nb.notebook.drawing.render import render
from alloy_nb.notebook.drawing.segments import (
    FooterSegment,
    NoticeSegment,
    TextSegment,
    ThinkingSegment,
    ToolSegment,
)
from alloy_nb.notebook.drawing.transcript import Transcript
from alloy_nb.usage import Cost, Usage

MODEL = "claude-sonnet-4-6"
CALL = ToolCall(id="c1", name="run_python", input={"code": "1"})
DONE = RunFinished("completed", Usage(input_tokens=10), Cost(), 2.0)


def fold(*bodies: EventBody, transcript: Transcript | None = None, step: float = 1.0) -> Transcript:
    """Apply bodies one second apart."""
    transcript = transcript or Transcript()
    for number, body in enumerate(bodies, 1):
        transcript.apply(Event(1, number, "run", "agent", 1, number * step, body))
    return transcript


def result(text: str, *, error: bool = False) -> ToolResult:
    return ToolResult(call_id="c1", content=(Text(text=text),), is_error=error)


def test_deltas_of_text_are_one_segment() -> None:
    transcript = fold(BlockStarted(0, "text"), TextDelta(0, "a"), TextDelta(0, "b"))
    (segment,) = transcript.segments
    assert isinstance(segment, TextSegment)
    assert segment.text == "ab"


def test_neighbouring_blocks_of_text_are_one_segment() -> None:
    transcript = fold(
        *(BlockStarted(0, "text"), TextDelta(0, "It fell "), BlockSealed(0)),
        *(BlockStarted(1, "text"), TextDelta(1, "by 12 %."), BlockSealed(1)),
    )
    (segment,) = transcript.segments
    assert isinstance(segment, TextSegment)
    assert segment.text == "It fell by 12 %."


def test_a_citation_counts_from_the_beginning_of_the_segment() -> None:
    cited = Citation(url="https://a.b", start=0, end=4)
    transcript = fold(
        *(BlockStarted(0, "text"), TextDelta(0, "12345"), BlockSealed(0)),
        *(BlockStarted(1, "text"), TextDelta(1, "6789"), CitationAdded(1, cited)),
    )
    (segment,) = transcript.segments
    assert isinstance(segment, TextSegment)
    assert [reference.end for reference in segment.references] == [9]


def test_a_citation_of_a_whole_block_is_anchored_at_its_end() -> None:
    transcript = fold(
        *(BlockStarted(0, "text"), CitationAdded(0, Citation(url="https://a.b"))),
        *(TextDelta(0, "cited"), BlockSealed(0), BlockStarted(1, "text"), TextDelta(1, " more")),
    )
    (segment,) = transcript.segments
    assert isinstance(segment, TextSegment)
    assert segment.references[0].end == 5


def test_the_same_address_has_the_same_number_in_the_whole_transcript() -> None:
    first, second = Citation(url="https://a.b"), Citation(url="https://c.d")
    transcript = fold(
        *(TextDelta(0, "x"), CitationAdded(0, first), CitationAdded(0, second)),
        *(ToolStarted(CALL), TextDelta(1, "y"), CitationAdded(1, first)),
    )
    texts = [s for s in transcript.segments if isinstance(s, TextSegment)]
    assert [[r.number for r in s.references] for s in texts] == [[1, 2], [1]]


def test_a_source_that_comes_after_the_end_still_belongs_to_its_text() -> None:
    transcript = fold(
        *(BlockStarted(0, "text"), TextDelta(0, "x"), BlockSealed(0), ToolStarted(CALL)),
        CitationAdded(0, Citation(url="https://a.b")),
    )
    first = transcript.segments[0]
    assert isinstance(first, TextSegment)
    assert first.references[0].end == 1


def test_text_after_a_tool_is_a_segment_below_it() -> None:
    transcript = fold(TextDelta(0, "a"), BlockStarted(1, "tool_call", "c1", "t"), TextDelta(0, "b"))
    assert [type(s).__name__ for s in transcript.segments] == [
        "TextSegment",
        "ToolSegment",
        "TextSegment",
    ]


def test_a_block_that_arrives_whole_is_shown() -> None:
    cited = Text(text="all", citations=(Citation(url="https://a.b", end=3),))
    transcript = fold(BlockStarted(0, "text"), BlockSealed(0, block=cited))
    (segment,) = transcript.segments
    assert isinstance(segment, TextSegment)
    assert (segment.text, len(segment.references)) == ("all", 1)


def test_a_sealed_block_does_not_repeat_its_deltas() -> None:
    cited = Text(text="all", citations=(Citation(url="https://a.b", end=3),))
    transcript = fold(
        *(BlockStarted(0, "text"), TextDelta(0, "all"), CitationAdded(0, cited.citations[0])),
        BlockSealed(0, block=cited),
    )
    (segment,) = transcript.segments
    assert isinstance(segment, TextSegment)
    assert (segment.text, len(segment.references)) == ("all", 1)


def test_thinking_ends_with_its_block_and_knows_how_long_it_took() -> None:
    transcript = fold(BlockStarted(0, "thinking"), ThinkingDelta(0, "hm"), BlockSealed(0))
    (segment,) = transcript.segments
    assert isinstance(segment, ThinkingSegment)
    assert (segment.done, segment.seconds) == (True, 2.0)


def test_thinking_ends_when_something_else_begins() -> None:
    transcript = fold(ThinkingDelta(0, "hm"), TextDelta(1, "so"))
    first = transcript.segments[0]
    assert isinstance(first, ThinkingSegment)
    assert first.done


def test_hidden_thinking_is_known_to_be_hidden() -> None:
    transcript = fold(BlockStarted(0, "thinking"), BlockSealed(0, block=Thinking(redacted=True)))
    (segment,) = transcript.segments
    assert isinstance(segment, ThinkingSegment)
    assert segment.redacted


def test_a_tool_goes_from_pending_over_running_to_done() -> None:
    transcript = Transcript()
    states = []
    for body in (BlockStarted(0, "tool_call", "c1", "t"), ToolStarted(CALL)):
        fold(body, transcript=transcript)
        states.append(transcript.segments[0].state)  # type: ignore[union-attr]
    fold(ToolFinished(CALL, result("ok"), 0.5), transcript=transcript)
    (tool,) = transcript.segments
    assert isinstance(tool, ToolSegment)
    assert [*states, tool.state, tool.result, tool.seconds] == [
        "pending",
        "running",
        "done",
        "ok",
        0.5,
    ]


def test_arguments_are_read_when_their_block_is_sealed() -> None:
    transcript = fold(
        *(BlockStarted(0, "tool_call", "c1", "t"), ToolInputDelta(0, '{"a"')),
        *(ToolInputDelta(0, ": 1}"), BlockSealed(0)),
    )
    (tool,) = transcript.segments
    assert isinstance(tool, ToolSegment)
    assert tool.arguments == {"a": 1}


def test_arguments_that_are_no_json_are_kept_as_they_came() -> None:
    transcript = fold(
        BlockStarted(0, "tool_call", "c1", "t"), ToolInputDelta(0, '{"a'), BlockSealed(0)
    )
    (tool,) = transcript.segments
    assert isinstance(tool, ToolSegment)
    assert (tool.arguments, tool.text) == (None, '{"a')


def test_a_refused_call_is_denied_and_not_failed() -> None:
    transcript = fold(
        *(BlockStarted(0, "tool_call", "c1", "t"), ApprovalAsked(CALL, "rm x")),
        ToolFinished(CALL, result("no", error=True), 0.0),
    )
    assert transcript.segments[0].state == "denied"  # type: ignore[union-attr]


def test_an_allowed_call_that_fails_is_failed() -> None:
    transcript = fold(
        *(ApprovalAsked(CALL, "rm x"), ToolStarted(CALL)),
        ToolFinished(CALL, result("no", error=True), 0.0),
    )
    assert transcript.segments[0].state == "failed"  # type: ignore[union-attr]


def test_only_the_last_lines_of_progress_are_kept() -> None:
    transcript = fold(ToolStarted(CALL), *(ToolProgress("c1", f"line {n}") for n in range(100)))
    (tool,) = transcript.segments
    assert isinstance(tool, ToolSegment)
    assert tool.progress[-1] == "line 99"
    assert len(tool.progress) == 20


def test_pictures_of_a_result_are_kept_with_the_tool() -> None:
    picture = Image(data="x")
    answer = ToolResult(call_id="c1", content=(picture,))
    (tool,) = fold(ToolFinished(CALL, answer, 1.0)).segments
    assert isinstance(tool, ToolSegment)
    assert tool.images == (picture,)


@pytest.mark.parametrize(
    "answer",
    [
        BlockSealed(1, block=Opaque(vendor="anthropic", raw={"tool_use_id": "c1"})),
        BlockSealed(1, block=result("found")),
        DONE,
    ],
)
def test_a_tool_that_the_vendor_ran_ends_with_its_result_or_the_run(answer: EventBody) -> None:
    transcript = fold(BlockStarted(0, "tool_call", "c1", "web_search", server=True), answer)
    tool = transcript.segments[0]
    assert isinstance(tool, ToolSegment)
    assert (tool.server, tool.state) == (True, "done")


def test_a_stopped_run_leaves_no_tool_running() -> None:
    transcript = fold(ToolStarted(CALL))
    transcript.stopped("You stopped it.")
    tool, notice = transcript.segments
    assert isinstance(tool, ToolSegment)
    assert tool.state == "failed"
    assert notice == NoticeSegment("stopped", "You stopped it.")


def test_a_notice_after_the_end_stands_above_the_footer() -> None:
    transcript = fold(TextDelta(0, "x"), DONE)
    transcript.failed("It broke.")
    assert [type(s).__name__ for s in transcript.segments] == [
        "TextSegment",
        "NoticeSegment",
        "FooterSegment",
    ]


def test_an_error_of_the_run_is_said_once() -> None:
    transcript = fold(RunFinished("error", Usage(), Cost(), 1.0, "No key."))
    transcript.failed("No key.")
    notices = [s for s in transcript.segments if isinstance(s, NoticeSegment)]
    assert [n.text for n in notices] == ["No key."]


DELEGATE_BEGAN = Event(1, 1, "r2", "critic", 0, 0.0, RunStarted(user("look"), "demo", "m"))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (RetryScheduled(1, 2.0, "Overloaded."), "retry"),
        (ContextCompacted(20, 5), "compacted"),
        (BudgetWarned(Decimal(1), Decimal(2)), "budget"),
        (Delegated("critic", DELEGATE_BEGAN), "info"),
        (Stopped(StopReason.MAX_TOKENS), "stopped"),
        (Stopped(StopReason.REFUSAL), "stopped"),
    ],
)
def test_an_event_about_the_run_is_a_notice(body: EventBody, kind: str) -> None:
    (notice,) = fold(body).segments
    assert isinstance(notice, NoticeSegment)
    assert notice.kind == kind


def test_a_normal_end_of_a_reply_is_not_worth_a_notice() -> None:
    assert fold(Stopped(StopReason.END_TURN)).segments == []


def test_the_footer_has_the_share_of_the_window_of_the_last_turn() -> None:
    message = Message(role="assistant", content=(), origin=Origin(provider="p", model=MODEL))
    turn = TurnFinished(message, Usage(input_tokens=19_000, output_tokens=1000), Cost(), 1.0)
    transcript = fold(turn, turn, DONE, transcript=Transcript(200_000, "demo"))
    footer = transcript.segments[-1]
    assert isinstance(footer, FooterSegment)
    assert (footer.window_share, footer.label, footer.model) == (0.1, "demo", MODEL)


def test_the_share_of_an_unknown_window_is_unknown() -> None:
    footer = fold(DONE).segments[-1]
    assert isinstance(footer, FooterSegment)
    assert footer.window_share is None


def test_the_footer_adds_the_cost_to_that_of_the_session() -> None:
    transcript = Transcript(total=Cost(known=Decimal(1)))
    fold(RunFinished("completed", Usage(), Cost(known=Decimal(2)), 1.0), transcript=transcript)
    footer = transcript.segments[-1]
    assert isinstance(footer, FooterSegment)
    assert footer.total == Cost(known=Decimal(3))


def test_an_answer_without_deltas_is_taken_from_its_message() -> None:
    message = Message(role="assistant", content=(Text(text="from a middleware"),))
    transcript = fold(TurnFinished(message, Usage(), Cost(), 1.0))
    assert transcript.segments[0].text == "from a middleware"  # type: ignore[union-attr]


def test_a_second_turn_does_not_touch_the_blocks_of_the_first() -> None:
    start = TurnStarted("anthropic", MODEL)
    transcript = fold(start, TextDelta(0, "a"), start, TextDelta(0, "b"))
    assert [s.text for s in transcript.segments] == ["a", "b"]  # type: ignore[union-attr]


def test_the_phase_line_names_model_activity_and_seconds() -> None:
    start = RunStarted(None, "anthropic", MODEL)
    transcript = fold(
        start, BlockStarted(0, "thinking"), ThinkingDelta(0, "x"), ThinkingDelta(0, "y")
    )
    assert transcript.phase == f"{MODEL} · thinking 2 s"


def test_the_phase_line_counts_down_to_the_next_attempt() -> None:
    transcript = fold(RunStarted(None, "p", MODEL), RetryScheduled(2, 3.0, "Overloaded."))
    assert "retry 2 in 3 s" in transcript.phase


def test_what_was_said_into_a_turn_stands_where_it_was_heard_without_what_it_refers_to() -> None:
    said = user('<b>shorter</b>, see @df\n\n<reference name="df">\nrows\n</reference>')
    transcript = fold(TextDelta(0, "a"), Steered(said), TurnStarted("p", MODEL), TextDelta(0, "b"))
    first, steered, second = transcript.segments
    assert isinstance(steered, NoticeSegment)
    assert (steered.kind, steered.text) == ("steered", "<b>shorter</b>, see @df")
    assert isinstance(first, TextSegment)
    assert isinstance(second, TextSegment)
    drawn = render(steered)
    assert "You: &lt;b&gt;shorter" in drawn.html
    assert drawn.plain == "You: <b>shorter</b>, see @df"


def test_each_change_of_a_segment_raises_its_version() -> None:
    transcript = fold(TextDelta(0, "a"))
    before = transcript.segments[0].version
    fold(TextDelta(0, "b"), transcript=transcript)
    assert transcript.segments[0].version == before + 1


def test_a_delta_costs_the_same_however_long_the_text_is() -> None:
    transcript = fold(BlockStarted(0, "text"))
    event = Event(1, 1, "run", "agent", 1, 0.0, TextDelta(0, "token "))

    def cost() -> float:
        begin = time.process_time()
        for _ in range(10_000):
            transcript.apply(event)
        return time.process_time() - begin

    early = min(cost() for _ in range(3))
    for _ in range(200_000):
        transcript.apply(event)
    # Against itself, and far from what copying a text of a megabyte for each delta would take.
    assert min(cost() for _ in range(3)) < 10 * early

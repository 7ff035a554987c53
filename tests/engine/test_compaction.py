"""A conversation that nears the window: when it is shortened, how, and what is never lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import alloy_nb as al
from alloy_nb.engine.agent import Agent
from alloy_nb.engine.budget import Budget
from alloy_nb.engine.window.compaction import (
    CLEARED,
    SUMMARY_PREFIX,
    Compaction,
    cleared,
    cut_point,
    head_length,
    is_summary,
    sizes_of,
    summary_message,
    transcript,
    truncated,
)
from alloy_nb.engine.window.conversation import Conversation, View
from alloy_nb.engine.window.measure import Measured, likely_tokens
from alloy_nb.errors import ConfigError, ContextOverflow, Halted, ServerFault, TimedOut
from alloy_nb.events import ContextCompacted, TextDelta, TurnStarted
from alloy_nb.messages import (
    Document,
    Image,
    Message,
    Origin,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    assistant,
    user,
)
from alloy_nb.providers import catalog
from alloy_nb.providers.base import ModelRequest
from alloy_nb.usage import Usage
from tests.engine.scripted import HANG, Scripted, calls, of_run, says
from tests.engine.test_loop import add, logged
from tests.oracles.invariants import check_anthropic
from tests.providers.histories import HISTORIES
from tests.providers.wires import ANTHROPIC, body
from tests.servers.sse import Server, json_answer, loop
from tests.servers.wire import Say

SMALL = {"context_budget": 1_000, "compaction": {"reserve_tokens": 200, "keep_recent_tokens": 100}}


def talk(count: int, size: int = 400) -> list[Message]:
    """Return a conversation of `count` messages of about a hundred tokens each."""
    return [
        (user if i % 2 == 0 else assistant)(f"{i}: " + "word " * (size // 5)) for i in range(count)
    ]


def tooled(count: int, size: int = 400, *, signed: bool = False) -> list[Message]:
    """Return a question and `count` turns that call a tool."""
    messages = [user("the task")]
    origin = Origin(provider="scripted", model="scripted-1")
    replay = {"signature": "c2ln"} if signed else None
    for i in range(count):
        thought = Thinking(text="hm " * (size // 3), replay=replay)
        call = ToolCall(id=f"c{i}", name="add", input={"a": i})
        messages.append(Message(role="assistant", content=(thought, call), origin=origin))
        result = ToolResult(call_id=f"c{i}", name="add", content=(Text(text="r" * size),))
        messages.append(user(result))
    return messages


def summaries(model: Scripted) -> list[ModelRequest]:
    return [request for request in model.requests if request.purpose == "summary"]


def answering(summary: str = "what was said", answer: Any = None) -> Scripted:
    """Return a model that gives summaries when it is asked for them, and answers otherwise."""

    def reply(request: ModelRequest) -> Any:
        return says(summary, usage=None) if request.purpose == "summary" else answer or silent("ok")

    return Scripted(otherwise=reply)


def silent(text: str) -> list[Any]:
    """Return a reply that reports no usage, so that the estimate is not corrected."""
    return says(text, usage=None)


# --- when -----------------------------------------------------------------------------------------


def test_a_short_conversation_is_sent_as_it_is():
    model = Scripted(silent("ok"))
    al.run("more", provider=model, messages=talk(4), **SMALL)
    assert len(model.requests) == 1
    assert len(model.requests[0].messages) == 5


def test_a_long_conversation_is_summarised_before_the_request():
    model = answering()
    result = al.run("more", provider=model, messages=talk(20), **SMALL)
    first, second = model.requests
    assert (first.purpose, second.purpose) == ("summary", "turn")
    sent = second.messages
    assert sent[0].text.startswith("0: ")
    assert sent[1].text == SUMMARY_PREFIX + "what was said"
    assert sent[-1].text == "more"
    assert len(sent) < 6
    assert (result.text, result.turns) == ("ok", 1)


def test_the_result_holds_the_whole_conversation_and_no_summary():
    history = talk(20)
    result = al.run("more", provider=answering(), messages=history, **SMALL)
    assert result.messages[:20] == history
    assert [m.text for m in result.messages[20:]] == ["more", "ok"]


def test_a_shortened_conversation_is_told_in_the_log_and_no_word_of_the_summary():
    agent = Agent(answering("secret notes"), **SMALL)
    _, events = logged(agent, "more", messages=talk(20))
    (event,) = of_run(ContextCompacted, events)
    assert (event.before, event.how, event.forced) == (21, "summary", False)
    assert event.after < 6
    assert "".join(delta.text for delta in of_run(TextDelta, events)) == "ok"
    assert len(of_run(TurnStarted, events)) == 1


@pytest.mark.parametrize(("messages", "count"), [(7, 0), (8, 1)])
def test_it_is_due_when_the_window_less_the_reserve_is_passed(messages, count):
    model = answering()
    al.run(None, provider=model, messages=talk(messages, size=405), **SMALL)
    assert len(summaries(model)) == count


def test_the_system_prompt_and_the_tools_count():
    model = answering()
    al.run("more", provider=model, messages=talk(4), system_prompt="s " * 1_500, **SMALL)
    assert len(summaries(model)) == 1


def test_what_the_vendor_counted_corrects_the_estimate():
    @al.tool
    def look() -> str:
        """Look."""
        return "x" * 200

    dense = Usage(input_tokens=700, output_tokens=5)  # twice what four characters a token make
    model = Scripted(
        calls(("look", {}), usage=dense),
        lambda request: says("notes") if request.purpose == "summary" else silent("early"),
        otherwise=silent("ok"),
    )
    al.run(None, provider=model, messages=talk(3, size=450), tools=[look], **SMALL)
    assert [r.purpose for r in model.requests] == ["turn", "turn"]
    model = Scripted(
        calls(("look", {}), usage=Usage(input_tokens=1_200, output_tokens=5)),
        otherwise=lambda request: silent("notes" if request.purpose == "summary" else "ok"),
    )
    al.run(None, provider=model, messages=talk(5, size=450), tools=[look], **SMALL)
    assert [r.purpose for r in model.requests] == ["turn", "summary", "turn"]


@pytest.mark.parametrize("reported", [-5, 0, 1, 10**15])
def test_a_report_that_cannot_be_is_not_believed_far(reported):
    measured = Measured()
    measured.start(talk(4))
    before = measured.tokens
    measured.correct(reported, before)
    assert before / 2 <= measured.tokens <= before * 3


def test_the_window_of_the_model_is_the_budget_where_none_is_given():
    model = answering()
    overrides = {"scripted-1": 1_000}
    al.run("more", provider=model, messages=talk(20), model_metadata_overrides=overrides)
    assert len(summaries(model)) == 1


def test_an_explicit_budget_goes_before_the_window_of_the_model():
    model = answering()
    overrides = {"scripted-1": 1_000}
    more = {"model_metadata_overrides": overrides, "context_budget": 100_000}
    al.run("more", provider=model, messages=talk(20), **more)
    assert summaries(model) == []


def test_another_model_has_another_window_but_an_explicit_budget_stays():
    small, large = {"one": 1_000}, {"two": 500_000}
    one, two = answering(), answering()
    one.model, two.model = "one", "two"
    session = al.Session(provider=one, model_metadata_overrides={**small, **large})
    session.set_model(two)
    assert session.agent.context_budget is None
    history = talk(20)
    al.run("x", provider=two, messages=history, model_metadata_overrides={**small, **large})
    al.run("x", provider=one, messages=history, model_metadata_overrides={**small, **large})
    assert (len(summaries(two)), len(summaries(one))) == (0, 1)


def test_max_tokens_is_another_name_of_the_budget():
    model = answering()
    al.run("x", provider=model, messages=talk(20), max_tokens=1_000)
    assert len(summaries(model)) == 1
    assert model.requests[-1].options.max_output_tokens is None


def test_the_defaults_follow_from_the_budget():
    limits = Compaction().limits(200_000)
    assert (limits.reserve, limits.keep_recent, limits.trigger) == (16_384, 20_000, 183_616)
    limits = Compaction().limits(1_000)
    assert (limits.reserve, limits.keep_recent) == (100, 125)
    limits = Compaction().limits(5)
    assert (limits.reserve, limits.keep_recent) == (1, 1)


# --- again ----------------------------------------------------------------------------------------


def test_there_is_never_more_than_one_summary_and_the_earlier_one_goes_into_the_next():
    told = iter(["the first notes", "the second notes", "the third notes"])

    def reply(request: ModelRequest) -> Any:
        return silent(next(told) if request.purpose == "summary" else "answer " * 100)

    model = Scripted(otherwise=reply)
    session_view, messages = None, talk(12)
    for turn in range(12):
        agent = Agent(model, **SMALL)
        result, _ = logged(agent, f"{turn} " + "word " * 60, messages=messages, view=session_view)
        messages, session_view = result.messages, result.view
        sent = model.requests[-1].messages
        assert sum(is_summary(m) for m in sent) <= 1
    asked = summaries(model)
    assert len(asked) >= 2
    assert "the first notes" in asked[1].messages[0].text


def test_a_summary_is_not_paid_again_by_the_next_turn():
    model = answering()
    result = al.run("one", provider=model, messages=talk(20), **SMALL)
    assert len(summaries(model)) == 1
    again = al.run("two", provider=model, messages=result.messages, view=result.view, **SMALL)
    assert len(summaries(model)) == 1
    assert model.requests[-1].messages[1].text == SUMMARY_PREFIX + "what was said"
    assert [m.text for m in again.messages[20:]] == ["one", "ok", "two", "ok"]


def test_a_session_hands_its_view_on():
    model = answering()
    session = al.Session(provider=model, messages=talk(20), **SMALL)
    session.chat("one")
    session.chat("two")
    assert len(summaries(model)) == 1
    assert len(session.messages) == 24
    session.reset()
    session.chat("three")
    assert [m.text for m in model.requests[-1].messages] == ["three"]


def test_a_view_survives_json():
    result = al.run("one", provider=answering(), messages=talk(20), **SMALL)
    loaded = View.model_validate_json(result.view.model_dump_json())
    assert loaded == result.view
    assert loaded.fits(result.messages)


@pytest.mark.parametrize("changed", [slice(0, 10), slice(0, 0), slice(1, None)])
def test_a_view_of_another_history_is_not_used(changed):
    model = answering()
    result = al.run("one", provider=model, messages=talk(20), **SMALL)
    other = result.messages[changed]
    al.run("two", provider=Scripted(silent("ok")), messages=other, view=result.view)
    assert result.view.fits(other) is False


def test_a_history_that_cannot_be_shortened_is_not_tried_at_every_turn():
    # The first message alone is more than the window.
    model = Scripted(
        *[calls(("add", {"a": i, "b": 2}), usage=None) for i in range(6)], silent("ok")
    )
    result = al.run("x" * 8_000, provider=model, tools=[add], **SMALL)
    assert result.text == "ok"
    assert summaries(model) == []


# --- where to cut ---------------------------------------------------------------------------------


def test_the_recent_part_begins_with_what_the_user_said():
    messages = talk(10)
    assert cut_point(messages, [100] * 10, 250) == 8
    assert messages[8].role == "user"


def test_the_recent_part_of_one_long_task_begins_with_an_answer():
    messages = tooled(10)
    cut = cut_point(messages, [100] * 21, 350)
    assert messages[cut].role == "assistant"
    assert cut == 17


def test_a_conversation_that_is_all_recent_is_not_cut():
    assert cut_point(talk(4), [10] * 4, 1_000) == 0


def test_the_first_call_of_a_history_keeps_its_result():
    messages = tooled(3)[1:]
    assert head_length(messages) == 2
    assert head_length(talk(3)) == 1
    assert head_length([]) == 0


_BLOCKS = st.sampled_from(["user", "answer", "call", "results", "summary"])


@given(st.lists(_BLOCKS, max_size=30), st.integers(1, 2_000))
def test_the_recent_part_never_begins_with_results(kinds, keep):
    made = {
        "user": user("said " * 20),
        "answer": assistant("answered " * 20),
        "call": assistant(ToolCall(id="c", name="add", input={"a": "x" * 50})),
        "results": user(ToolResult(call_id="c", content=(Text(text="r" * 100),))),
        "summary": summary_message("notes"),
    }
    messages = [made[kind] for kind in kinds]
    cut = cut_point(messages, sizes_of(messages, 1.0), keep)
    assert 0 <= cut <= len(messages)
    if 0 < cut < len(messages):
        assert not any(isinstance(b, ToolResult) for b in messages[cut].content)


@pytest.mark.parametrize("turns", [3, 9, 25])
def test_no_result_loses_its_call(turns):
    model = answering()
    al.run(None, provider=model, messages=tooled(turns), tools=[add], **SMALL)
    sent = model.requests[-1].messages
    made = {b.id for m in sent for b in m.content if isinstance(b, ToolCall)}
    answered = {b.call_id for m in sent for b in m.content if isinstance(b, ToolResult)}
    assert answered == made
    check_anthropic(body(ANTHROPIC, *sent))


# --- what the summary is made of ------------------------------------------------------------------


def test_the_request_for_a_summary_has_no_tools_and_the_whole_transcript():
    model = answering()
    history = [user("the goal"), *tooled(12)[1:], user("and now?")]
    al.run(None, provider=model, messages=history, tools=[add], system_prompt="be brief", **SMALL)
    (asked,) = summaries(model)
    assert asked.tools == ()
    assert asked.state is None
    assert "hand-over" in asked.system
    (message,) = asked.messages
    assert 'add({"a":0})' in message.text
    assert "Result of add: rrr" in message.text
    assert "(thinking): hm" in message.text


def test_the_words_of_the_summary_can_be_chosen():
    model = answering()
    settings = {"summary_prompt": "Kurz, bitte.", "summary_system_prompt": "Du fasst zusammen."}
    group = {**SMALL["compaction"], **settings}
    al.run("x", provider=model, messages=talk(20), context_budget=1_000, compaction=group)
    (asked,) = summaries(model)
    assert asked.system == "Du fasst zusammen."
    assert asked.messages[0].text.startswith("Kurz, bitte.")


def test_a_transcript_is_bounded_and_keeps_both_ends():
    text = transcript([user("BEGIN " + "x" * 50_000), user("y" * 50_000 + " END")], 2_000)
    assert len(text) < 2_200
    assert "BEGIN" in text
    assert text.endswith("END")


def test_a_transcript_says_that_there_was_a_picture():
    seen = user("look", Image(data="AAAA"), Document(title="report"))
    assert "[an image]" in transcript([seen], 1_000)
    assert "report" in transcript([seen], 1_000)


def test_the_summary_counts_in_usage_cost_and_budget():
    used = Usage(input_tokens=1_000, output_tokens=100)
    model = Scripted(says("notes", usage=used), says("ok", usage=used))
    before = dict(catalog._prices)
    catalog.override("scripted/scripted-1", price=catalog.ModelPrice(Decimal(1), Decimal(10)))
    try:
        budget = Budget(1)
        agent = Agent(model, budget=budget, **SMALL)
        result, events = logged(agent, "x", messages=talk(20))
    finally:
        catalog._prices.clear()
        catalog._prices.update(before)
    assert result.usage.input_tokens == 2_000
    assert result.cost.usd == budget.spent == Decimal("0.004")
    assert budget.left == budget.limit - budget.spent
    (event,) = of_run(ContextCompacted, events)
    assert (event.usage, event.cost.usd) == (used, Decimal("0.002"))


def test_a_summary_that_the_budget_does_not_allow_is_not_asked_for():
    before = dict(catalog._prices)
    catalog.override("scripted/scripted-1", price=catalog.ModelPrice(Decimal(0), Decimal(1)))
    try:
        model = answering()
        budget = Budget(Decimal("0.0005"))  # an answer of 100 tokens, not a summary of 1,024
        options = al.ModelOptions(max_output_tokens=100)
        agent = Agent(model, budget=budget, options=options, **SMALL)
        result, events = logged(agent, "x", messages=tooled(20))
    finally:
        catalog._prices.clear()
        catalog._prices.update(before)
    assert summaries(model) == []
    assert result.text == "ok"
    assert [event.how for event in of_run(ContextCompacted, events)] == ["truncated"]


def test_a_summary_passes_through_the_middleware_which_can_tell_it():
    class Seeing(al.Middleware):
        def __init__(self) -> None:
            self.seen: list[str] = []

        def model(self, request: Any, next: Any) -> Any:  # noqa: A002  # the word of every onion
            self.seen.append(request.purpose)
            return next(request)

    layer = Seeing()
    al.run("x", provider=answering(), messages=talk(20), middleware=[layer], **SMALL)
    assert layer.seen == ["summary", "turn"]


def test_built_in_tools_are_off_while_a_summary_is_made():
    model = answering()
    al.run("x", provider=model, messages=talk(20), web_search=True, tool_choice="any", **SMALL)
    options = summaries(model)[0].options
    assert (options.web_search, options.tool_choice) == (False, None)


# --- without a summary ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", [ServerFault("broke"), ZeroDivisionError(), silent("  \n"), silent("")[:1]]
)
def test_without_a_summary_old_results_and_answers_are_cut_short(fault):
    model = Scripted(fault, silent("ok"))
    history = tooled(12)
    result = al.run(None, provider=model, messages=history, **SMALL)
    assert result.text == "ok"
    sent = model.requests[-1].messages
    assert len(sent) == len(history)
    assert [b.id for m in sent for b in m.content if isinstance(b, ToolCall)] == [
        f"c{i}" for i in range(12)
    ]
    assert sent[2].content[0].text == "[compacted]"
    assert sent[1].thinking == ("hm " * 200)[:200] + "..."
    assert sent[-10:] == history[-10:]
    assert result.messages[: len(history)] == history


def test_truncation_leaves_the_ends_and_short_things_alone():
    messages = [user("first " * 100), *talk(20), assistant("short")]
    out = truncated(messages)
    assert out[0] is messages[0]
    assert all(a is b for a, b in zip(out[-10:], messages[-10:], strict=True))
    assert len(out[2].text) == 203 or out[2].role == "user"
    assert truncated(messages[:2]) == messages[:2]


@given(st.integers(0, 25))
def test_truncation_keeps_the_number_of_messages_and_all_ids(turns):
    messages = tooled(turns)
    out = truncated(messages)
    assert len(out) == len(messages)
    ids = [[getattr(b, "id", getattr(b, "call_id", "")) for b in m.content] for m in out]
    assert ids == [
        [getattr(b, "id", getattr(b, "call_id", "")) for b in m.content] for m in messages
    ]


def test_nothing_that_is_signed_is_edited():
    messages = tooled(12, signed=True)
    for made in (truncated(messages), cleared(messages, 1)):
        for new, old in zip(made, messages, strict=True):
            if old.role == "assistant":
                assert new is old


def test_signed_turns_go_as_a_whole_where_nothing_else_is_left():
    signed = Message(
        role="assistant", content=(Text(text="t " * 800, replay={"s": 1}),), origin=None
    )
    history = [user("q " * 5) if i % 2 == 0 else signed for i in range(40)]
    model = Scripted(ContextOverflow("too long"), ServerFault("no summary"), silent("ok"))
    result = al.run("go on", provider=model, messages=history)
    assert result.text == "ok"
    sent = model.requests[-1].messages
    assert len(sent) < len(history)
    assert all(m is signed for m in sent if m.role == "assistant")
    assert result.messages[:40] == history


def test_old_results_of_tools_are_cleared_where_it_is_asked_for():
    group = {**SMALL["compaction"], "clear_tool_results": True, "keep_recent_tool_results": 2}
    model = Scripted(silent("ok"))
    history = tooled(8)
    agent = Agent(model, context_budget=1_500, compaction=group)
    result, events = logged(agent, None, messages=history)
    texts = [
        b.text for m in model.requests[0].messages for b in m.content if b.type == "tool_result"
    ]
    assert texts == [CLEARED] * 6 + ["r" * 400] * 2
    assert of_run(ContextCompacted, events)[0].how == "cleared"
    assert result.messages[: len(history)] == history


def test_a_summary_is_made_where_clearing_is_not_enough():
    group = {**SMALL["compaction"], "clear_tool_results": True}
    model = answering()
    history = [*talk(20), *tooled(3)[1:]]
    al.run(None, provider=model, messages=history, context_budget=1_000, compaction=group)
    assert len(summaries(model)) == 1


# --- who is told ----------------------------------------------------------------------------------


def test_the_callback_gets_what_is_about_to_be_condensed():
    heard: list[Any] = []
    model = answering()
    history = talk(20)
    al.run(
        "x",
        provider=model,
        messages=history,
        on_compaction=lambda messages, run: heard.append((messages, run, len(model.requests))),
        **SMALL,
    )
    ((messages, run, asked),) = heard
    assert messages[0] is history[1]
    assert 10 < len(messages) < 20
    assert asked == 0  # before the summary
    assert run.id


def test_the_callback_may_be_asynchronous():
    heard: list[int] = []

    async def note(messages: list[Message], run: Any) -> None:
        await asyncio.sleep(0)
        heard.append(len(messages))

    al.run("x", provider=answering(), messages=talk(20), on_compaction=note, **SMALL)
    assert len(heard) == 1


def test_a_callback_that_raises_is_logged_and_stops_nothing(caplog):
    def fail(messages: Any, run: Any) -> None:
        raise ZeroDivisionError

    model = answering()
    result = al.run("x", provider=model, messages=talk(20), on_compaction=fail, **SMALL)
    assert result.text == "ok"
    assert len(summaries(model)) == 1
    assert "on_compaction" in caplog.text


def test_the_callback_is_not_called_where_nothing_is_condensed():
    heard: list[Any] = []
    al.run("x", provider=answering(), on_compaction=lambda *a: heard.append(a), **SMALL)
    # All of it is recent, so there is nothing to summarise.
    group = {"reserve_tokens": 900, "keep_recent_tokens": 100_000}
    more = {"context_budget": 1_000, "compaction": group}
    al.run(None, provider=answering(), messages=tooled(8), on_compaction=heard.append, **more)
    assert heard == []


class Compacted(al.Middleware):
    def __init__(self, answer: Any) -> None:
        self.answer, self.heard = answer, []

    async def compacted(self, messages: list[Message]) -> Any:
        self.heard.append(list(messages))
        return self.answer(messages)


def test_each_middleware_hears_what_is_left_and_may_replace_it():
    first = Compacted(lambda messages: [*messages[:1], user("a note"), *messages[1:]])
    second = Compacted(lambda messages: None)
    model = answering()
    al.run("x", provider=model, messages=talk(20), middleware=[first, second], **SMALL)
    assert is_summary(first.heard[0][1])
    assert second.heard[0][1].text == "a note"
    assert model.requests[-1].messages[1].text == "a note"


def test_a_middleware_may_halt_after_a_compaction():
    def halt(messages: Any) -> Any:
        raise Halted("enough")

    model = answering()
    result = al.run("x", provider=model, messages=talk(20), middleware=[Compacted(halt)], **SMALL)
    assert (result.status, result.error) == ("halted", "enough")
    assert [r.purpose for r in model.requests] == ["summary"]
    assert len(result.messages) == 21


def test_a_middleware_that_leaves_no_messages_is_told_so():
    layer = Compacted(lambda messages: ["text"])
    result = al.run("x", provider=answering(), messages=talk(20), middleware=[layer], **SMALL)
    assert "must return messages" in result.error


# --- any history at all ---------------------------------------------------------------------------


@settings(max_examples=120, deadline=None)
@given(HISTORIES, st.sampled_from(["notes", " ", ServerFault("no")]), st.integers(1, 60))
def test_any_history_can_be_shortened_and_sent(history, summary, budget):
    def reply(request: ModelRequest) -> Any:
        if request.purpose == "turn":
            return silent("ok")
        body(ANTHROPIC, *request.messages)  # it can be encoded, whatever it holds
        return summary if isinstance(summary, Exception) else silent(summary)

    model = Scripted(otherwise=reply)
    group = {"reserve_tokens": 1, "keep_recent_tokens": 1 + budget // 4}
    more = {"context_budget": budget, "compaction": group, "max_retries": 0}
    result = al.run("go on", provider=model, messages=history, **more)
    assert result.text == "ok"
    assert all(a is b for a, b in zip(result.messages, history, strict=False))
    sent = model.requests[-1].messages
    assert sent[-1].text == "go on"
    check_anthropic(body(ANTHROPIC, *sent))
    for message in sent:
        if any(getattr(block, "replay", None) for block in message.content):
            signed_parts = [b for b in message.content if getattr(b, "replay", None)]
            assert any(all(b in old.content for b in signed_parts) for old in history)


# --- the model says that it is too long -----------------------------------------------------------

TOO_LONG = ContextOverflow("The prompt is too long.", provider="scripted", model="scripted-1")


def test_a_conversation_that_is_too_long_is_shortened_and_tried_once_more():
    model = Scripted(TOO_LONG, silent("notes"), silent("ok"))
    agent = Agent(model)
    result, events = logged(agent, "x", messages=talk(40))
    assert [r.purpose for r in model.requests] == ["turn", "summary", "turn"]
    assert (result.text, result.status, result.turns) == ("ok", "completed", 1)
    assert result.metadata["run"]["context_overflow_recovered"] is True
    (event,) = of_run(ContextCompacted, events)
    assert event.forced
    assert [e.turn for e in events if isinstance(e.body, TurnStarted)] == [1, 1]


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ("anthropic/m", {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8"}),
        ("vllm/m", {"code": "context_length_exceeded", "message": "too many tokens"}),
    ],
)
def test_the_words_of_a_vendor_for_too_long_are_known(spec, error):
    refused = json_answer({"error": error}, status=400)
    with Server(refused, *loop([Say("notes")], [Say("ok")])) as server:
        result = al.run("x", provider=spec, api_key="k", base_url=server.url, messages=talk(40))
        first, second, third = (request.json for request in server.requests)
    assert result.text == "ok", result.error
    assert len(third["messages"]) < len(first["messages"])
    assert "tools" not in second


def test_a_second_refusal_of_the_same_turn_is_an_error():
    model = Scripted(otherwise=TOO_LONG)
    result = al.run("x", provider=model, messages=talk(3))
    assert (result.status, result.error) == ("error", "The prompt is too long.")
    assert len(model.requests) == 2
    assert result.metadata["run"]["error"]["kind"] == "ContextOverflow"


def test_each_turn_is_recovered_by_itself():
    model = Scripted(TOO_LONG, calls(("add", {"a": 1, "b": 2}), usage=None), TOO_LONG, silent("ok"))
    result = al.run("x", provider=model, tools=[add])
    assert (result.text, result.turns) == ("ok", 2)


def test_a_reply_that_had_begun_is_not_asked_for_again():
    model = Scripted([*silent("so far")[:3], TOO_LONG])
    result = al.run("x", provider=model, messages=talk(3))
    assert (result.status, result.text, len(model.requests)) == ("error", "so far", 1)


def test_a_run_that_was_not_too_long_says_so():
    assert al.run("x", provider=Scripted(says("ok"))).metadata["run"] == {
        "compactions": 0,
        "context_overflow_recovered": False,
    }


def test_what_a_vendor_keeps_of_the_conversation_is_not_gone_on_from():
    model = answering()
    agent = Agent(model, **SMALL)
    logged(agent, "x", messages=talk(20), provider_state={"response_id": "r1"})
    assert model.requests[-1].state is None


# --- time -----------------------------------------------------------------------------------------


def test_a_summary_is_held_to_the_time_of_the_run():
    model = Scripted(TimedOut("late"), silent("ok"))
    agent = Agent(model, timeout=60, **SMALL)
    logged(agent, "x", messages=talk(20))
    assert all(request.deadline is not None for request in model.requests)


def test_a_run_that_is_stopped_during_a_summary_keeps_its_history():
    async def go() -> al.Result:
        model = Scripted([*silent("no")[:2], HANG])
        async with Agent(model, **SMALL).start("x", messages=talk(20)) as run:
            while not model.requests:
                await asyncio.sleep(0)
            run.cancel()
            return await run.result()

    result = asyncio.run(go())
    assert (result.status, len(result.messages), result.view) == ("cancelled", 21, None)


# --- the settings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "named"),
    [
        ({"reserve_tokens": 0}, "reserve_tokens"),
        ({"keep_recent_tokens": -1}, "keep_recent_tokens"),
        ({"keep_recent_tokens": 1.5}, "keep_recent_tokens"),
        ({"reserve_tokens": True}, "reserve_tokens"),
        ({"fallback": "drop"}, "truncate"),
        ({"reserve": 5}, "reserve_tokens, keep_recent_tokens"),
        ({5: 5}, "no setting 5"),
        ({"clear_tool_results": "yes"}, "clear_tool_results"),
        ({"keep_recent_tool_results": None}, "keep_recent_tool_results"),
        ({"summary_prompt": ""}, "summary_prompt"),
        ("truncate", "mapping"),
        (7, "mapping"),
        (True, "mapping"),
    ],
)
def test_a_wrong_setting_is_refused_before_any_request(group, named):
    model = Scripted()
    with pytest.raises(ConfigError, match=named):
        al.run("x", provider=model, compaction=group)
    assert model.requests == []


@pytest.mark.parametrize("group", [None, {}, [("reserve_tokens", 5)], Compaction(reserve_tokens=5)])
def test_the_settings_may_be_a_mapping_or_pairs(group):
    assert Agent(Scripted(), compaction=group).compaction.reserve_tokens in (None, 5)


# --- the estimate ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "tokens"),
    [
        (user("a" * 400), 100),
        (user("漢" * 400), 400),
        (user("é" * 400), 250),
        (user(Image(data="AAAA")), 1_000),
        (user(Document()), 3_000),
        (user(Document(media_type="audio/wav")), 500),
        (user(Document(media_type="video/mp4")), 2_000),
        (assistant(ToolCall(id="c", name="look", input={"a": "b"})), 3),
        (user(ToolResult(call_id="c", content=(Text(text="r" * 40),))), 10),
        (assistant(Thinking(text="t" * 40)), 10),
    ],
)
def test_the_estimate_of_a_message(message, tokens):
    assert likely_tokens(message) == tokens


def test_a_message_is_measured_once_however_often_it_is_sent(monkeypatch):
    measured: list[Message] = []
    original = likely_tokens

    def counting(message: Message) -> int:
        measured.append(message)
        return original(message)

    monkeypatch.setattr("alloy_nb.engine.window.measure.likely_tokens", counting)
    model = Scripted(*[calls(("add", {"a": i, "b": 1})) for i in range(20)], otherwise=says("ok"))
    session = al.Session(provider=model, tools=[add], messages=talk(50))
    session.chat("one")
    assert len(measured) == 50 + 1 + 20 * 2 + 1
    session.chat("two")
    assert len(measured) == 92 + 2


@given(st.lists(st.integers(0, 6), max_size=12))
def test_the_sums_are_those_of_what_is_sent_whatever_happened(lengths):
    pool = talk(7)
    measured = Measured()
    for length in lengths:
        measured.start(pool[:length] if length % 2 else pool[7 - length :])
        sent = pool[:length] if length % 2 else pool[7 - length :]
        assert measured.tokens == sum(likely_tokens(m) for m in sent)


def test_a_conversation_that_was_never_shortened_is_one_list():
    talked = Conversation(talk(4), None, {})
    talked.append(user("x"))
    assert talked.sent is talked.messages
    talked.shorten(talked.messages[-2:])
    talked.append(user("y"))
    assert (len(talked.messages), len(talked.sent)) == (6, 3)


@pytest.fixture(autouse=True)
def _no_prices_left_behind() -> Iterator[None]:
    before = dict(catalog._prices)
    yield
    assert catalog._prices == before

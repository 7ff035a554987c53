"""A turn whose process ended in the middle of it: what was shown is kept, and can be sent."""

from __future__ import annotations

import random

import pytest

from alloy_nb.engine.journal import CRASHED, Store
from alloy_nb.engine.journal.recovery import recovered, spent
from alloy_nb.events import (
    BlockSealed,
    BlockStarted,
    ContextCompacted,
    ReplyStarted,
    RetryScheduled,
    RunStarted,
    TextDelta,
    ThinkingDelta,
    ToolFinished,
    ToolInputDelta,
    ToolProgress,
    ToolStarted,
    TurnStarted,
)
from alloy_nb.messages import StopReason, ToolCall, user
from alloy_nb.providers.handoff import UNKNOWN
from alloy_nb.usage import Cost
from tests.engine.journal.conversations import PAID, USED, answered, reply, say, scripted, stamped
from tests.oracles.invariants import check_anthropic, check_chat
from tests.providers.wires import ANTHROPIC, CHAT, body


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as store:
        yield store


def left_in_the_middle(store, *bodies):
    """Begin a turn, flush these events, and go away without an end."""
    journal = store.new()
    say(journal, "zero", "z")
    turn = journal.begin(user("one"))
    turn.note(stamped(RunStarted(user("one"), "p", "m"), *bodies))
    journal.close()
    return store.resume()


def test_the_part_of_an_answer_that_was_shown_is_kept_as_interrupted(store):
    journal = left_in_the_middle(
        store,
        *(TurnStarted("p", "m"), ReplyStarted("r1", "m"), BlockStarted(0, "text")),
        *(TextDelta(0, "par"), TextDelta(0, "tial")),
    )
    last = journal.messages()[-1]
    assert (last.text, last.stop, last.origin.model) == ("partial", StopReason.INTERRUPTED, "m")
    assert [m.text for m in journal.messages()] == ["zero", "z", "one", "partial"]
    assert journal.tree()[-1].status == CRASHED


def test_a_turn_of_which_nothing_came_back_keeps_its_prompt(store):
    journal = left_in_the_middle(store, TurnStarted("p", "m"))
    assert [m.text for m in journal.messages()] == ["zero", "z", "one"]
    say(journal, "two", "b")
    check_anthropic(body(ANTHROPIC, *journal.messages()))


def test_a_call_without_a_result_is_answered_with_what_is_known(store):
    call = ("call", "c1", "add", {"a": 1}), ("call", "c2", "add", {"a": 2})
    said = list(reply(*call, stop=StopReason.TOOL_USE))
    first, second = said[-1].message.tool_calls
    journal = left_in_the_middle(
        store,
        *(*said, ToolStarted(first), ToolStarted(second)),
        ToolFinished(second, answered("c2", "add", "2"), 0.1),
    )
    results = journal.messages()[-1].content
    assert [(r.call_id, r.text, r.is_error) for r in results] == [
        ("c1", UNKNOWN, True),
        ("c2", "2", False),
    ]


def test_a_call_whose_start_was_not_recorded_is_unknown_too(store):
    said = list(reply(("call", "c1", "add", {"a": 1}), stop=StopReason.TOOL_USE))
    journal = left_in_the_middle(store, *said)
    assert journal.messages()[-1].content[0].text == UNKNOWN


def test_a_call_that_was_cut_while_it_was_written_is_left_out(store):
    journal = left_in_the_middle(
        store,
        *(TurnStarted("p", "m"), BlockStarted(0, "text"), TextDelta(0, "I"), BlockSealed(0)),
        *(BlockStarted(1, "tool_call", "c1", "rm"), ToolInputDelta(1, '{"path": "/')),
    )
    assert journal.messages()[-1].text == "I"
    assert journal.messages()[-1].tool_calls == []


def test_a_request_that_was_tried_again_leaves_one_answer():
    events = stamped(
        *(TurnStarted("p", "m"), RetryScheduled(1, 0.1, "busy"), ContextCompacted(9, 3)),
        *(TurnStarted("p", "m"), BlockStarted(0, "text"), TextDelta(0, "a")),
    )
    assert [m.text for m in recovered(user("one"), events)] == ["one", "a"]


def test_what_whole_replies_used_is_counted_and_a_cut_one_is_unknown():
    whole = list(reply(("text", "a")))
    assert spent(stamped(*whole)) == (USED, PAID)
    assert spent(stamped(*whole, TurnStarted("p", "m"))) == (USED, PAID + Cost.unknown())


def test_pieces_without_their_beginning_are_left_out():
    events = stamped(TurnStarted("p", "m"), TextDelta(3, "a"), ThinkingDelta(4, "b"))
    assert recovered(user("one"), events) == [user("one")]


def test_progress_and_events_of_others_are_no_messages():
    events = stamped(ToolProgress("c", "line"), ToolStarted(ToolCall(id="c", name="f")))
    assert recovered(None, events) == []


def test_a_reader_sees_a_running_turn_as_it_would_be_recovered(store):
    journal = store.new()
    turn = journal.begin(user("one"))
    turn.note(stamped(*list(reply(("text", "a")))[:4]))
    turn.flush()
    assert [m.text for m in store.read().messages()] == ["one", "a"]
    assert store.read().tree()[0].status == "running"
    turn.finish([user("one")])


def test_a_recovered_turn_is_recovered_once(store):
    journal = left_in_the_middle(store, *reply(("text", "a")))
    journal.close()
    again = store.resume()
    assert [m.text for m in again.messages()] == ["zero", "z", "one", "a"]
    assert again.usage == USED + USED


@pytest.mark.parametrize("seed", range(40))
def test_cut_anywhere_the_history_can_be_sent(seed):
    rng = random.Random(seed)
    prompt, bodies, _ = scripted(rng, tag=f"t{seed}")
    events = stamped(*bodies)
    for cut in sorted(rng.sample(range(len(events) + 1), min(25, len(events)))):
        messages = [*recovered(prompt, events[:cut]), user("go on")]
        check_anthropic(body(ANTHROPIC, *messages))
        check_chat(body(CHAT, *messages))


def test_a_whole_turn_is_recovered_as_it_was():
    for seed in range(20):
        prompt, bodies, messages = scripted(random.Random(seed), tag=f"t{seed}")
        assert recovered(prompt, stamped(*bodies)) == messages

"""A session with a journal outlives its process, and stands wherever in its tree one wants."""

import contextlib
import gc
import json
import math
import os
import sqlite3
import threading
import time

import pytest

import alloy_nb as al
from alloy_nb.engine.journal import Store
from alloy_nb.engine.portal import run_sync
from alloy_nb.engine.sessions.cue import Cue
from alloy_nb.engine.window.conversation import Conversation
from alloy_nb.errors import ConfigError, SessionError
from alloy_nb.messages import assistant, user
from tests.engine.scripted import HANG, Scripted, calls, says

ran = []


@al.tool
def count(word: str) -> str:
    """Count a word."""
    ran.append(word)
    return f"{word}: {len(ran)}"


@pytest.fixture(autouse=True)
def nothing_ran():
    ran.clear()


def texts(session):
    return [message.text for message in session.messages]


def ask(session, prompt, **cue):
    """Ask from a cell; return the run and its result."""

    async def turn():
        async with session.start(prompt, cue=Cue(**cue)) as run:
            return run, await run.result()

    return run_sync(turn())


def kinds(journal):
    """The kinds of the events of the last turn."""
    return [type(event.body).__name__ for event in journal.events(journal.head)]


def written(folder):
    """The kinds of what is in the file by now; nothing, where there is none yet."""
    try:
        return kinds(Store(folder).read())
    except SessionError:
        return []


def begin(folder, *script, **settings):
    return al.Session(provider=Scripted(*script), journal=folder, **settings)


def test_a_session_goes_on_in_another_process_with_its_messages_and_costs(tmp_path):
    with begin(tmp_path, calls(("count", {"word": "a"})), says("One."), tools=[count]) as first:
        first.chat("How many?")
    again = al.Session.resume(folder=tmp_path, provider=Scripted(says("Yes.")))
    assert again.messages == first.messages
    assert (again.id, again.usage, again.cost) == (first.id, first.usage, first.cost)
    again.chat("Sure?")
    assert again.provider.requests[0].messages[:4] == first.messages


def test_without_a_journal_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    al.Session(provider=Scripted(says("a"))).chat("q")
    assert os.listdir(tmp_path) == []


def test_a_call_is_on_the_disk_before_it_runs(tmp_path):
    seen = []

    @al.tool
    def look() -> str:
        """Look into the journal."""
        seen.extend(kinds(Store(tmp_path).read()))
        return "seen"

    begin(tmp_path, calls(("look", {})), says("Done."), tools=[look]).chat("q")
    assert seen[-2:] == ["TurnFinished", "ToolStarted"]


def test_what_nobody_shows_is_written_by_a_clock(tmp_path):
    with begin(tmp_path, [*says("Half an answer.")[:3], HANG]) as session:
        session.send_message("q")
        deadline = time.monotonic() + 30
        while "TextDelta" not in written(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert "TextDelta" in written(tmp_path)


def test_a_flush_writes_what_happened_so_far(tmp_path):
    session = begin(tmp_path, [*says("Half.")[:3], HANG])

    async def turn():
        async with session.start("q") as run:
            async for _ in run.batches():
                if any("Half." in str(event.body) for event in run.events):
                    break
            session.flush()
            journal = Store(tmp_path).read()
            return [event.body for event in journal.events(journal.head)]

    assert "Half." in str(run_sync(turn()))


def test_an_interrupted_turn_is_kept_as_far_as_it_came(tmp_path):
    session = begin(tmp_path, [*says("Half.")[:3], HANG])

    async def turn():
        async with session.start("q") as run:
            async for _ in run.batches():
                if any("Half." in str(event.body) for event in run.events):
                    return

    run_sync(turn())
    session.stop()
    assert texts(al.Session.resume(folder=tmp_path, provider="demo")) == ["q", "Half."]


def test_a_question_that_failed_does_not_stand_in_the_journal_twice(tmp_path):
    failing = al.ProviderError("no", provider="scripted", model="scripted-1")
    session = begin(tmp_path, failing, says("a"))
    session.chat("q")
    session.chat("q")
    session.stop()
    assert texts(al.Session.resume(folder=tmp_path, provider="demo")) == ["q", "a"]


def test_a_second_writer_is_told_who_has_it(tmp_path):
    first = begin(tmp_path, says("a"))
    first.chat("q")
    with pytest.raises(SessionError, match="in use by"):
        al.Session.resume(folder=tmp_path, provider="demo")
    first.stop()
    assert texts(al.Session.resume(folder=tmp_path, provider="demo")) == ["q", "a"]


def test_a_session_that_is_reset_while_it_is_stopped_lets_others_write(tmp_path):
    session = begin(tmp_path, says("a"))
    session.chat("q")
    session._turns.take()  # a turn that takes its time to end
    stopping = threading.Thread(target=session.stop)
    stopping.start()
    deadline = time.monotonic() + 30
    while not session._turns._line and time.monotonic() < deadline:
        time.sleep(0.01)
    session._turns.clear("It was reset.")
    session._turns.release()
    stopping.join(30)
    assert texts(al.Session.resume(folder=tmp_path, provider="demo")) == ["q", "a"]


def test_what_was_spent_is_known_after_a_reset_and_a_restart(tmp_path):
    with begin(tmp_path, says("a")) as session:
        session.chat("q")
        session.reset()
    again = al.Session.resume(folder=tmp_path, provider="demo")
    assert again.usage == session.usage
    assert again.usage.total_tokens == 15


@pytest.mark.parametrize("wrong", [{"provider": "no-such-model"}, {"messages": [user("x")]}])
def test_a_session_that_could_not_be_resumed_can_be_resumed_rightly(tmp_path, wrong):
    with begin(tmp_path, says("a")) as session:
        session.chat("q")
    with pytest.raises(ConfigError) as refused:
        al.Session.resume(folder=tmp_path, **{"provider": "demo", **wrong})
    assert texts(al.Session.resume(folder=tmp_path, provider="demo")) == ["q", "a"]
    assert refused.tb is not None  # a notebook keeps the last error, and all that it refers to


def test_a_result_of_a_session_holds_what_its_turn_added(tmp_path):
    session = begin(tmp_path, says("a"), says("b"))
    assert len(session.chat("q").messages) == 2
    assert len(session.chat("r").messages) == 4
    assert [[m.text for m in result.messages] for result in session.results] == [
        ["q", "a"],
        ["r", "b"],
    ]


def test_a_history_that_was_handed_in_is_kept_too(tmp_path):
    history = al.Session(provider=Scripted(says("a")))
    history.chat("q")
    begin(tmp_path, says("b"), messages=history.messages).chat("r")
    assert len(Store(tmp_path).read().messages()) == 4


def test_two_histories_to_begin_with_are_refused(tmp_path):
    session = begin(tmp_path, says("a"))
    session.chat("q")
    session.stop()
    with pytest.raises(ConfigError, match="give one of them"):
        al.Session.resume(folder=tmp_path, provider="demo", messages=session.messages)


def test_what_is_sent_of_a_conversation_that_was_shortened_comes_back_too(tmp_path):
    script = (calls(("count", {"word": "a"})), says("One."))
    with begin(tmp_path, *script, tools=[count]) as first:
        first.chat("q")
    store = Store(tmp_path)
    talk = Conversation(first.messages, None, {})
    talk.shorten([user("In short: one.")])
    journal = store.resume()
    journal.begin(user("r")).finish(
        [user("r")], status="completed", view=talk.view.model_dump(mode="json")
    )
    store.close()
    again = al.Session.resume(folder=tmp_path, provider=Scripted(says("Yes.")))
    again.chat("s")
    sent = [message.text for message in again.provider.requests[0].messages]
    assert sent[:2] == ["In short: one.", "r"]


# --- what each turn was -----------------------------------------------------------------------


def turns(session):
    """Return of each turn what was said in it, and what it used."""
    record = session.export_session()
    return [
        (
            [message.text for message in record.messages[turn.first : turn.first + turn.count]],
            turn.usage.total_tokens,
            turn.status,
        )
        for turn in record.turns
    ]


def talked(folder):
    """Return a session of three turns, each from a cell of its own; the second fails."""
    failing = al.ProviderError("no", provider="scripted", model="scripted-1")
    script = (calls(("count", {"word": "a"})), says("One."), failing, says("b"), *[says("c")] * 3)
    session = begin(folder, *script, tools=[count])
    for key, prompt in enumerate("pqr", 1):
        ask(session, prompt, key=str(key))
    return session


FIRST = (["p", "", "", "One."], 30, "completed")
FAILED = ([], 0, "error")
LAST = (["r", "b"], 15, "completed")


def test_the_turns_of_a_record_are_those_of_its_messages(tmp_path):
    assert turns(talked(tmp_path)) == [FIRST, FAILED, LAST]


def test_after_an_undo_the_last_turn_is_not_in_the_record(tmp_path):
    session = talked(tmp_path)
    session.undo()
    assert turns(session) == [FIRST, FAILED]


def test_on_another_branch_the_record_has_its_turns(tmp_path):
    session = talked(tmp_path)
    session.undo()
    session.fork("idea")
    session.chat("s")
    assert turns(session) == [FIRST, FAILED, (["s", "c"], 15, "completed")]
    session.use_branch("main-2")
    assert turns(session) == [FIRST, FAILED, LAST]


def test_a_replaced_turn_is_not_in_the_record(tmp_path):
    session = talked(tmp_path)
    ask(session, "again", key="1")
    assert turns(session) == [(["again", "c"], 15, "completed")]


def test_a_reset_leaves_no_turns_in_the_record(tmp_path):
    session = talked(tmp_path)
    session.reset()
    assert turns(session) == []


def test_what_each_turn_used_and_cost_is_known_after_a_restart(tmp_path):
    with talked(tmp_path) as session:
        pass
    before, again = session.export_session(), resumed(tmp_path).export_session()
    assert turns(resumed(tmp_path)) == [FIRST, FAILED, LAST]
    known = ("first", "count", "replies", "status", "usage", "cost")
    assert [turn.model_dump(include=known) for turn in again.turns] == [
        turn.model_dump(include=known) for turn in before.turns
    ]
    assert (again.usage, again.cost) == (before.usage, before.cost)


def test_a_turn_that_was_cut_by_the_end_of_its_process_has_a_record(tmp_path):
    session = begin(tmp_path, [*says("Half.")[:3], HANG])
    turn = Store(tmp_path).new("cut").begin(user("q"), model="scripted/scripted-1")
    turn.note([])
    del session, turn
    gc.collect()
    assert turns(resumed(tmp_path)) == [(["q"], 0, "crashed")]


def test_what_was_handed_in_has_no_turn_in_the_record(tmp_path):
    history = [user("p"), assistant("a")]
    with begin(tmp_path, says("b"), messages=history) as session:
        session.chat("q")
        assert turns(session) == [(["q", "b"], 15, "completed")]
    assert turns(resumed(tmp_path)) == [(["q", "b"], 15, "completed")]
    assert resumed(tmp_path).export_session().turns[0].first == 2


def test_a_turn_that_goes_on_without_a_prompt_is_in_the_record_after_a_restart(tmp_path):
    with begin(tmp_path, says("b"), messages=[user("p")]) as session:
        ask(session, None)
        assert turns(session) == [(["b"], 15, "completed")]
    assert turns(resumed(tmp_path)) == [(["b"], 15, "completed")]


def test_a_record_says_after_a_restart_too_when_its_session_was_made(tmp_path):
    with begin(tmp_path, says("a")) as session:
        session.chat("q")
    time.sleep(0.01)
    made = Store(tmp_path).sessions()[0].created
    again = resumed(tmp_path).export_session().created_at.timestamp()
    assert again == pytest.approx(made, abs=0.001)


@pytest.mark.parametrize("absurd", [1e300, -1e300, math.inf])
def test_absurd_values_in_the_file_keep_nobody_from_resuming_and_exporting(tmp_path, absurd):
    with begin(tmp_path, says("a")) as session:
        session.chat("q")
    with contextlib.closing(sqlite3.connect(tmp_path / ".alloy" / "sessions.db")) as file:
        file.execute("UPDATE turns SET began = ?, ended = ?, status = ?", (1, absurd, "x" * 99))
        file.execute("UPDATE sessions SET created = ?", (absurd,))
        file.commit()
    assert turns(resumed(tmp_path)) == [(["q", "a"], 15, "x" * 40)]


def resumed(folder):
    """Resume a session, look at it, and let it go."""
    with al.Session.resume(folder=folder, provider="demo") as session:
        return session


# --- the tree ---------------------------------------------------------------------------------


def test_undo_goes_back_a_turn_which_stays_on_a_branch(tmp_path):
    session = begin(tmp_path, says("a"), says("b"), says("c"))
    session.chat("q")
    session.chat("r")
    assert session.undo().prompt.text == "r"
    assert texts(session) == ["q", "a"]
    session.chat("s")
    assert [m.text for m in session.provider.requests[-1].messages] == ["q", "a", "s"]
    session.use_branch("main-2")
    assert texts(session) == ["q", "a", "r", "b"]


def test_a_fork_goes_on_beside_the_conversation(tmp_path):
    session = begin(tmp_path, says("a"), says("b"), says("c"))
    session.chat("q")
    session.fork("idea")
    session.chat("r")
    session.use_branch("main")
    assert texts(session) == ["q", "a"]
    session.use_branch("idea")
    assert texts(session) == ["q", "a", "r", "b"]


def test_without_a_journal_there_are_no_branches():
    with pytest.raises(SessionError, match="not kept in a journal"):
        al.Session(provider="demo").fork("other")


def test_there_is_nothing_to_undo_before_the_first_turn():
    with pytest.raises(SessionError, match="nothing to undo"):
        al.Session(provider="demo").undo()


def test_a_reset_conversation_stays_on_a_branch(tmp_path):
    session = begin(tmp_path, says("a"), says("b"))
    session.chat("q")
    session.reset()
    session.chat("r")
    assert texts(session) == ["r", "b"]
    session.use_branch("main-2")
    assert texts(session) == ["q", "a"]


def test_a_turn_from_the_same_place_replaces_the_one_before(tmp_path):
    session = begin(tmp_path, says("a"), says("b"), says("c"))
    ask(session, "q", key="1")
    ask(session, "r", key="2")
    run, _ = ask(session, "q", key="1")
    assert texts(session) == ["q", "c"]
    assert "main-2" in run.notes[0]
    session.use_branch("main-2")
    assert texts(session) == ["q", "a", "r", "b"]


def test_a_turn_that_failed_is_replaced_without_a_word(tmp_path):
    failing = al.ProviderError("no", provider="scripted", model="scripted-1")
    session = begin(tmp_path, failing, says("a"))
    ask(session, "q", key="1")
    run, _ = ask(session, "q", key="1")
    assert (run.notes, texts(session)) == ([], ["q", "a"])


def test_what_is_sent_after_a_replacement_is_well_formed(tmp_path):
    script = (calls(("count", {"word": "a"})), says("One."))
    session = begin(tmp_path, *script, *script, says("Yes."), tools=[count])
    ask(session, "q", key="1")
    ask(session, "q", key="1")
    ask(session, "r", key="2")
    assert len(session.provider.requests[-1].messages) == 5


# --- replay -----------------------------------------------------------------------------------


def twice(folder, *, prompt="q", replay="on", references="", **settings):
    """Ask in one process and again, from the beginning, in another; return the second."""
    script = (calls(("count", {"word": "a"})), says("One."))
    with begin(folder, *script, tools=[count]) as first:
        ask(first, "q", key="1")
    again = al.Session.resume(
        folder=folder, provider=Scripted(*script), **{"tools": [count], **settings}
    )
    again.reset()
    run, result = ask(again, prompt, key="1", replay=replay, references=references)
    return again, run, result


def test_a_turn_that_is_the_same_is_replayed_and_sends_nothing(tmp_path):
    session, run, result = twice(tmp_path)
    assert session.provider.requests == []
    assert run.replays is not None
    assert (result.text, result.status, result.cost) == ("One.", "completed", al.Cost())
    assert len(session.messages) == 4


def test_a_replay_runs_no_tool_and_shows_its_result(tmp_path):
    _, run, result = twice(tmp_path)
    assert ran == ["a"]
    assert [record.name for record in result.tool_calls] == ["count"]
    assert "a: 1" in [e.body.result.text for e in run.events if hasattr(e.body, "result")]


def test_a_replay_costs_nothing_and_counts_no_tokens(tmp_path):
    session, _, result = twice(tmp_path)
    assert result.usage.total_tokens == 0
    assert session.usage.total_tokens == 30


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "another question"},
        {"references": "another table"},
        {"system_prompt": "Be brief."},
        {"tools": []},
        {"temperature": 0.5},
        {"replay": "off"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_decides_an_answer_is_part_of_what_must_be_the_same(tmp_path, change):
    session, run, _ = twice(tmp_path, **change)
    assert run.replays is None
    assert session.provider.requests


def test_another_model_is_asked_anew(tmp_path):
    twice(tmp_path)[0].stop()
    again = al.Session.resume(
        folder=tmp_path, provider=Scripted(says("x"), name="other"), tools=[count]
    )
    again.reset()
    run, _ = ask(again, "q", key="1", replay="on")
    assert run.replays is None


def test_a_history_that_changed_is_asked_anew(tmp_path):
    session, _, _ = twice(tmp_path)
    run, _ = ask(session, "q", key="2", replay="on")
    assert run.replays is None


def test_where_only_a_replay_is_allowed_a_miss_fails_and_says_what_differs(tmp_path):
    with pytest.raises(SessionError, match=r"settings.*--fresh"):
        twice(tmp_path, replay="only", system_prompt="Be brief.")


def test_a_turn_that_was_not_answered_to_its_end_is_no_replay(tmp_path):
    failing = al.ProviderError("no", provider="scripted", model="scripted-1")
    with begin(tmp_path, [*says("Half.")[:3], failing]) as first:
        ask(first, "q", key="1")
    again = al.Session.resume(folder=tmp_path, provider=Scripted(says("a")))
    again.reset()
    run, _ = ask(again, "q", key="1", replay="on")
    assert run.replays is None


def test_the_note_goes_to_the_model_and_decides_no_replay(tmp_path):
    with begin(tmp_path, says("a"), says("b")) as first:
        ask(first, "p", key="1")
        ask(first, "q", key="2", note="The kernel is fresh.")
    assert "The kernel is fresh." in first.messages[2].text
    again = al.Session.resume(folder=tmp_path, provider=Scripted())
    again.reset()
    for number, prompt in enumerate("pq", 1):
        run, _ = ask(again, prompt, key=str(number), replay="only", note="Another one.")
        assert run.replays is not None


def test_where_nothing_was_said_before_there_is_no_note(tmp_path):
    session = begin(tmp_path, says("a"))
    ask(session, "q", note="The kernel is fresh.")
    assert texts(session) == ["q", "a"]


# --- what was sent ----------------------------------------------------------------------------


def test_what_was_sent_last_is_told_without_the_key():
    key = "sk-ant-canary-K3yThatMustNeverShow"
    model = al.Anthropic("claude-sonnet-4-6", api_key=key, base_url="http://127.0.0.1:9")
    session = al.Session(provider=model, max_retries=0)
    assert session.sent() is None
    session.chat(f"Is {key} a key?")
    sent = session.sent()
    assert sent.startswith("POST http://127.0.0.1:9/v1/messages\n")
    assert json.loads(sent.split("\n", 1)[1])["messages"][0]["role"] == "user"
    assert key not in sent

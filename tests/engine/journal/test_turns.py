"""A turn in the journal: begun, noted, flushed, finished, and read again."""

from __future__ import annotations

import base64
import os
import sqlite3
import threading
from decimal import Decimal

import pytest

from alloy_nb.engine.journal import Journal, Store, coalesced, tree
from alloy_nb.errors import SessionError
from alloy_nb.events import (
    BlockStarted,
    BudgetWarned,
    RunStarted,
    TextDelta,
    ToolFinished,
    ToolInputDelta,
    ToolStarted,
    TurnStarted,
)
from alloy_nb.messages import (
    Citation,
    Image,
    Message,
    Opaque,
    Origin,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    assistant,
    user,
)
from alloy_nb.usage import Cost, Usage
from tests.engine.journal.conversations import PAID, USED, answered, reply, say, stamped


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as store:
        yield store


def rows(store: Store, query: str) -> list[tuple]:
    connection = sqlite3.connect(store.path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_nothing_is_written_before_the_first_turn(tmp_path):
    with Store(tmp_path) as store:
        journal = store.new()
        assert journal.messages() == []
        assert store.sessions() == []
        assert journal.tree() == []
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_left_out_by_git_and_closed_to_others(store):
    say(store.new(), "one", "a")
    folder = store.path.parent
    assert (folder / ".gitignore").read_text() == "*\n"
    assert folder.stat().st_mode & 0o077 == 0
    assert store.path.stat().st_mode & 0o077 == 0


def test_a_finished_turn_is_read_back_by_another_store(store, tmp_path):
    journal = store.new("main")
    say(journal, "one", "a")
    say(journal, "two", "b")
    with Store(tmp_path) as other:
        read = other.read("main")
        assert [m.text for m in read.messages()] == ["one", "a", "two", "b"]
        assert read.usage == USED + USED
        assert read.cost.usd == Decimal("0.02")


def test_every_kind_of_block_comes_back_as_it_was(store):
    picture = base64.b64encode(os.urandom(9_000)).decode()
    messages = [
        user("look", Image(data=picture), Image(url="https://example.org/a.png")),
        Message(
            role="assistant",
            content=(
                Thinking(text="hm", replay={"signature": "s" * 5_000}),
                Text(text="so", citations=(Citation(url="u", quote="q", raw={"a": [1, None]}),)),
                ToolCall(
                    id="c1", name="f", input={"x": None, "y": {"$blob": "mine"}, "z": "é" * 5000}
                ),
                Opaque(vendor="v", raw={"$plain": {"$blob": 1}}),
            ),
            origin=Origin(provider="p", model="m", response_id="r"),
        ),
        user(ToolResult(call_id="c1", name="f", content=(Image(data=picture),), is_error=True)),
        assistant("done"),
    ]
    turn = store.new("main").begin(messages[0])
    turn.finish(messages)
    assert store.read("main").messages() == messages


def test_a_picture_is_stored_once_however_often_it_is_used(store):
    picture = user("look", Image(data=base64.b64encode(os.urandom(50_000)).decode()))
    journal = store.new()
    for _ in range(5):
        turn = journal.begin(picture)
        turn.note(stamped(RunStarted(picture, "p", "m")))
        turn.finish([picture, assistant("nice")])
    assert len(rows(store, "SELECT 1 FROM blobs")) == 1
    assert store.path.stat().st_size < 300_000


@pytest.mark.parametrize("look", [Journal.messages, lambda journal: journal.turns()[-1].messages])
def test_a_reader_misses_nothing_of_a_turn_that_ends_meanwhile(store, tmp_path, monkeypatch, look):
    turn = store.new("main").begin(user("q"))
    turn.note(stamped(*reply(("text", "Half an answer."))))
    turn.flush()
    running = tree._running

    def later(*about):
        turn.finish([user("q"), assistant("Half an answer.")])
        return running(*about)

    monkeypatch.setattr(tree, "_running", later)
    with Store(tmp_path) as other:
        assert [m.text for m in look(other.read("main"))] == ["q", "Half an answer."]


def test_flushed_events_are_in_the_file_and_unflushed_ones_are_not(store):
    journal = store.new()
    turn = journal.begin(user("one"))
    turn.note(stamped(TurnStarted("p", "m"), TextDelta(0, "a"), TextDelta(0, "b")))
    assert store.read(journal.id).events(turn.id) == []
    turn.flush()
    turn.note(stamped(TextDelta(0, "c"), first=4))
    assert [e.body for e in store.read(journal.id).events(turn.id)] == [
        TurnStarted("p", "m"),
        TextDelta(0, "ab"),
    ]


def test_a_flush_is_one_row_and_not_one_for_each_token(store):
    turn = store.new().begin(user("one"))
    turn.note(stamped(*(TextDelta(0, "x") for _ in range(1000))))
    turn.flush()
    turn.flush()
    assert len(rows(store, "SELECT 1 FROM events")) == 1


def test_pieces_of_different_blocks_are_not_joined():
    events = stamped(
        *(TextDelta(0, "a"), TextDelta(0, "b"), TextDelta(1, "c"), ToolInputDelta(1, "d")),
        *(ToolInputDelta(1, "e"), TextDelta(1, "f")),
    )
    joined = [(e.seq, e.body) for e in coalesced(events)]
    assert joined == [
        (1, TextDelta(0, "ab")),
        (3, TextDelta(1, "c")),
        (4, ToolInputDelta(1, "de")),
        (6, TextDelta(1, "f")),
    ]


def test_a_finished_turn_keeps_its_events_with_their_times(store):
    journal = store.new()
    turn = journal.begin(user("one"))
    call = ToolCall(id="c", name="f", input={"a": 1})
    bodies = [
        RunStarted(user("one"), "p", "m"),
        *reply(("thinking", "h", "m"), ("text", "a", "b")),
        ToolStarted(call),
        ToolFinished(call, answered("c", "f", "3"), 0.25),
        BudgetWarned(Decimal("0.8"), Decimal(1)),
    ]
    for event in stamped(*bodies):
        turn.note([event])
        turn.flush()
    turn.finish([user("one")])
    assert journal.events(turn.id) == coalesced(stamped(*bodies))


def test_what_a_tool_returned_for_the_program_is_not_kept(store):
    journal = store.new()
    turn = journal.begin(user("one"))
    call = ToolCall(id="c", name="f")
    turn.note(stamped(ToolFinished(call, answered("c", "f", "3"), 0.1, object())))
    turn.finish([user("one")])
    assert journal.events(turn.id)[0].body.data is None


def test_a_turn_may_add_nothing(store):
    journal = store.new()
    say(journal, "one", "a")
    journal.begin(user("two")).finish([], status="error")
    say(journal, "three", "c")
    assert [m.text for m in journal.messages()] == ["one", "a", "three", "c"]
    assert [node.status for node in journal.tree()] == ["completed", "error", "completed"]


def test_a_history_may_be_handed_in_without_a_prompt(store):
    journal = store.new()
    journal.begin(None).finish([user("zero"), assistant("z")])
    say(journal, "one", "a")
    assert [m.text for m in store.read().messages()] == ["zero", "z", "one", "a"]


def test_finishing_twice_changes_nothing(store):
    journal = store.new()
    turn = journal.begin(user("one"))
    turn.finish([user("one"), assistant("a")], usage=USED, cost=PAID)
    turn.finish([user("other")], usage=USED, cost=PAID)
    turn.note(stamped(TextDelta(0, "late")))
    turn.flush()
    assert [m.text for m in journal.messages()] == ["one", "a"]
    assert journal.usage == USED
    assert journal.events(turn.id) == []


def test_a_second_turn_is_refused_while_one_is_under_way(store):
    journal = store.new("mine")
    journal.begin(user("one"))
    for change in (
        lambda: journal.begin(user("two")),
        journal.undo,
        journal.reset,
        lambda: journal.fork("x"),
        lambda: journal.use("main"),
        lambda: journal.replace("k"),
    ):
        with pytest.raises(SessionError, match="'mine' is answering"):
            change()


def test_a_closed_journal_takes_no_turn(store):
    journal = store.new()
    say(journal, "one", "a")
    journal.close()
    with pytest.raises(SessionError, match="closed"):
        journal.begin(user("two"))


def test_the_view_of_a_shortened_conversation_is_kept_with_its_turn(store):
    journal = store.new()
    view = {"messages": [{"text": "s" * 9_000}], "covers": 2}
    journal.begin(user("one")).finish([user("one"), assistant("a")], view=view)
    assert store.read().view() == view
    say(journal, "two", "b")
    assert journal.view() is None


def test_half_characters_and_endless_nesting_end_no_turn(store):
    deep: dict = {}
    inner = deep
    for _ in range(5_000):
        inner["a"] = {}
        inner = inner["a"]
    journal = store.new()
    turn = journal.begin(user("half \ud83d"), key="\ud83d", model="\ud83d")
    turn.note(stamped(TextDelta(0, "\ud83d"), ToolStarted(ToolCall(id="c", name="f", input=deep))))
    turn.flush()
    call = ToolCall.model_construct(
        type="tool_call", id="c", name="f", input=deep, invalid=None, server=False, replay=None
    )
    message = Message.model_construct(role="assistant", content=(call,), origin=None, stop=None)
    turn.finish([user("half \ud83d"), message, user(answered("c", "f", "\udc00"))])
    assert journal.is_saved
    read = store.read().messages()
    assert [len(m.content) for m in read] == [1, 1, 1]
    assert read[1].tool_calls[0].invalid is not None
    assert all(m.model_dump_json() for m in read)


def test_keys_are_masked_wherever_they_stand(store, monkeypatch):
    key = "canary-key-0123456789"
    monkeypatch.setenv("CANARY_API_KEY", key)
    journal = store.new()
    prompt = user(f"my key is {key}", Text(text=f"{key} " + "x" * 9_000))
    turn = journal.begin(
        prompt,
        key=key,
        model=f"m-{key}",
        settings={
            "api_key": key,
            "base_url": f"https://me:{key}@h/v1?k={key}",
            "header": key,
            "effort": key,
            "max_output_tokens": 7,
            "tools": [key],
        },
    )
    # As a stream brings it: in pieces, some of which are drawn before the rest is there.
    turn.note(stamped(TextDelta(0, key[:9])))
    turn.flush()
    turn.note(stamped(TextDelta(0, key[9:]), first=2))
    turn.finish([prompt, assistant(f"it is {key}")], view={"a": key})
    store.close()
    for path in store.path.parent.glob("sessions*"):
        assert key.encode() not in path.read_bytes()
    info = store.sessions()[0]
    assert info.settings == {
        "base_url": "https://h/v1",
        "effort": "***",
        "max_output_tokens": 7,
        "model": "m-***",
    }


def test_a_key_that_was_cut_by_a_crash_is_masked_when_it_is_resumed(store, monkeypatch):
    key = "canary-key-0123456789"
    monkeypatch.setenv("CANARY_API_KEY", key)
    journal = store.new()
    turn = journal.begin(user("look", Image(data="A" * 8_000)))
    pieces = TextDelta(0, key[:9]), TextDelta(0, key[9:])
    for event in stamped(TurnStarted("p", "m"), BlockStarted(0, "text"), *pieces):
        turn.note([event])
        turn.flush()
    journal.close()
    again = store.resume()
    assert [m.text for m in again.messages()] == ["look", "***"]
    assert again.messages()[0].content[1].data == "A" * 8_000
    assert again.events(turn.id)[-1].body.text == "***"
    assert rows(store, "SELECT count(*) FROM events") == [(1,)]


def test_threads_may_note_and_flush_at_once(store):
    journal = store.new()
    turn = journal.begin(user("one"))

    def work(number: int) -> None:
        for n in range(50):
            turn.note(stamped(TextDelta(number, f"{n},"), first=n))
            turn.flush()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    turn.finish([user("one")])
    wanted = "".join(f"{n}," for n in range(50))
    for number in range(4):
        bodies = [e.body for e in journal.events(turn.id)]
        assert "".join(b.text for b in bodies if b.index == number) == wanted


def test_usage_that_cannot_be_read_is_unknown_and_not_zero(store):
    journal = store.new()
    say(journal, "one", "a")
    store.close()
    connection = sqlite3.connect(store.path)
    connection.execute("UPDATE turns SET usage = 'x', cost = 'x'")
    connection.commit()
    connection.close()
    node = store.read().tree()[0]
    assert node.usage == Usage(unreported=1)
    assert node.cost == Cost.unknown()

"""A session as JSON: it comes back equal, and nothing in a file does more than be read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import alloy_nb as al
from alloy_nb.engine.sessions.record import SessionRecord
from alloy_nb.errors import SessionError
from alloy_nb.messages import Document, Image, Message, Text, Thinking, ToolCall, ToolResult
from alloy_nb.usage import Cost, Usage
from tests.engine.scripted import Scripted, calls, says
from tests.engine.test_loop import add


def recorded() -> al.Session:
    model = Scripted(calls(("add", {"a": 1, "b": 2})), says("3"))
    session = al.Session(provider=model, tools=[add], id="s1", name="mine")
    session.chat("1 + 2?")
    return session


def shape(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(recorded().export_session().to_json())
    return {**found, **changes}


# --- there and back --------------------------------------------------------------------------


def test_an_exported_session_comes_back_equal():
    record = recorded().export_session()
    assert SessionRecord.from_json(record.to_json()) == record
    assert SessionRecord.from_json(record.to_json().encode()) == record


def test_the_record_says_what_there_is_to_know():
    session = recorded()
    record = session.export_session()
    assert record.id == "s1"
    assert record.messages == tuple(session.messages)
    assert (record.usage, record.cost) == (session.usage, session.cost)
    assert dict(record.metadata) == {
        "name": "mine",
        "model": "scripted/scripted-1",
        "status": "completed",
        "turns": 2,
    }
    assert record.created_at < record.updated_at
    assert record.created_at.tzinfo is UTC


def test_a_record_does_not_change_when_the_session_goes_on():
    session = al.Session(provider=Scripted(says("a"), says("b")))
    session.chat("one")
    record = session.export_session()
    session.chat("two")
    assert len(record.messages) == 2
    assert session.export_session().updated_at > record.updated_at
    assert session.export_session().created_at == record.created_at


def test_a_restored_session_goes_on_with_its_id_its_history_and_what_it_used():
    text = recorded().export_session().to_json()
    model = Scripted(says("yes"))
    session = al.Session.restore(SessionRecord.from_json(text), provider=model, tools=[add])
    before = session.usage.total_tokens
    assert (session.id, before) == ("s1", 30)
    session.chat("sure?")
    assert [m.role for m in model.requests[0].messages] == [
        *("user", "assistant", "user", "assistant", "user")
    ]
    assert session.usage.total_tokens == 45
    assert session.export_session().created_at == SessionRecord.from_json(text).created_at


plain = st.text(st.characters(codec="utf-8"), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain, inner, max_size=3),
    max_leaves=5,
)
objects = st.dictionaries(plain, values, max_size=3)
blocks = (
    st.builds(Text, text=plain, replay=st.none() | objects)
    | st.builds(Thinking, text=plain, redacted=st.booleans(), replay=st.none() | objects)
    | st.builds(ToolCall, id=plain, name=plain, input=objects, invalid=st.none() | plain)
    | st.builds(ToolResult, call_id=plain, content=st.tuples(st.builds(Text, text=plain)))
    | st.builds(Image, data=plain)
    | st.builds(Document, data=plain, title=st.none() | plain)
)
histories = st.lists(
    st.builds(Message, role=st.sampled_from(["user", "assistant"]), content=st.tuples(blocks)),
    max_size=4,
).map(tuple)
moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


@settings(max_examples=100, deadline=None)
@given(messages=histories, created=moments, cents=st.integers(0, 10**9), metadata=objects)
def test_any_history_comes_back_equal(messages, created, cents, metadata):
    record = SessionRecord(
        id="x",
        messages=messages,
        usage=Usage(input_tokens=cents),
        cost=Cost(known=Decimal(cents) / 100),
        metadata=metadata,
        created_at=created,
        updated_at=created,
    )
    again = SessionRecord.from_json(record.to_json())
    assert again == record
    assert (again.id, again.usage, again.created_at) == (record.id, record.usage, created)
    assert [m.content for m in again.messages] == [_without_none(m) for m in messages]


def _without_none(message: Message) -> Any:
    return Message.model_validate_json(message.model_dump_json(exclude_none=True)).content


def test_keys_are_masked(monkeypatch):
    monkeypatch.setenv("ACME_API_KEY", "canary-0123456789")
    session = al.Session(provider=Scripted(says("it is canary-0123456789")))
    session.chat("tell")
    text = session.export_session().to_json()
    assert "canary" not in text
    assert SessionRecord.from_json(text).messages[-1].text == "it is ***"


@pytest.mark.parametrize("word", ["assistant", "messages", "tool_call", "input_tokens"])
def test_a_password_that_is_a_word_of_the_format_leaves_the_file_readable(word, monkeypatch):
    monkeypatch.setenv("ACME_PASSWORD", word)
    session = al.Session(provider=Scripted(calls(("add", {"a": 1, "b": 2})), says(f"{word} it is")))
    session.agent = session.agent.with_settings(tools=[add])
    session.chat("tell")
    record = SessionRecord.from_json(session.export_session().to_json())
    assert record.messages[-1].text == "*** it is"
    assert record.messages[0] == session.messages[0]


def test_a_key_as_the_name_of_an_argument_is_masked(monkeypatch):
    monkeypatch.setenv("ACME_API_KEY", "canary-0123456789")
    call = ToolCall(id="1", name="f", input={"canary-0123456789": ["canary-0123456789"]})
    record = SessionRecord(id="x", messages=(al.messages.assistant(call),))
    [block] = SessionRecord.from_json(record.to_json()).messages[0].content
    assert block.input == {"***": ["***"]}


def test_a_picture_that_looks_like_a_key_is_not_changed():
    image = Image(data="++AIza" + "b" * 40)
    record = SessionRecord(id="x", messages=(al.messages.user("q", image),))
    assert SessionRecord.from_json(record.to_json()).messages == record.messages


def test_half_a_character_in_a_prompt_does_not_prevent_the_export():
    session = al.Session(provider=Scripted(says("ok")))
    session.chat("half \ud83d of one")
    record = SessionRecord.from_json(session.export_session().to_json())
    assert record.messages[0].text == "half ? of one"


# --- what a file may not do ------------------------------------------------------------------


@pytest.mark.parametrize(
    "extra",
    [
        {"base_url": "http://127.0.0.1:9"},
        {"tools": [{"name": "bash"}]},
        {"approve": "all"},
        {"api_key": "x"},
        {"provider": "demo"},
        {"settings": {"allowed_paths": []}},
        {"mcp": []},
    ],
)
def test_a_field_that_would_set_something_is_refused(extra):
    with pytest.raises(SessionError, match="no session that can be read"):
        SessionRecord.from_json(json.dumps(shape(**extra)))


def test_what_the_metadata_says_sets_nothing():
    hostile = {"model": "openai/gpt-5", "base_url": "http://127.0.0.1:9", "approve": "all"}
    record = SessionRecord.from_json(json.dumps(shape(metadata=hostile)))
    model = Scripted(says("a"))
    session = al.Session.restore(record, provider=model, approve="none")
    assert session.agent.provider is model
    assert session.agent.approve == "none"
    assert session.agent.tools == ()
    assert session.name == "main"


def test_a_call_in_an_imported_history_is_not_run():
    ran: list[int] = []

    @al.tool
    def trap() -> str:
        """Trap."""
        ran.append(1)
        return "ran"

    last = {
        "role": "assistant",
        "content": [{"type": "tool_call", "id": "c1", "name": "trap", "input": {}}],
    }
    record = SessionRecord.from_json(json.dumps(shape(messages=[last])))
    session = al.Session.restore(record, provider=Scripted(says("ok")), tools=[trap])
    assert session.chat("go on").text == "ok"
    assert ran == []


DEEP = "[" * 100_000 + "]" * 100_000
DAMAGED = {
    "nothing": "",
    "no JSON": "hello",
    "cut": json.dumps(shape())[:-40],
    "a list": "[]",
    "null": "null",
    "another format": json.dumps(shape(format="other")),
    "a number as id": json.dumps(shape(id=7)),
    "an id that is a path": json.dumps(shape(id="../../etc")),
    "an id of two lines": json.dumps(shape(id="a\nb")),
    "messages of text": json.dumps(shape(messages="hi")),
    "an unknown role": json.dumps(shape(messages=[{"role": "system", "content": []}])),
    "an unknown block": json.dumps(
        shape(messages=[{"role": "user", "content": [{"type": "exec", "code": "1"}]}])
    ),
    "a block with more": json.dumps(
        shape(messages=[{"role": "user", "content": [{"type": "text", "text": "", "run": 1}]}])
    ),
    "usage of text": json.dumps(shape(usage={"input_tokens": "many"})),
    "a time without a zone": json.dumps(shape(created_at="2026-01-01T00:00:00")),
    "a time of text": json.dumps(shape(created_at="yesterday")),
    "half a character": '{"format": "\\ud800"}',
    "half a character raw": '{"format": "\ud800"}',
    "not UTF-8": b"\xff\xfe{}",
    "nul": json.dumps(shape()).replace(",", "\x00,", 1),
    "nested without end": DEEP,
    "nested metadata": json.dumps(shape()).replace('"metadata": {', f'"metadata": {{"x": {DEEP},'),
    "a huge number": json.dumps(shape()).replace('"version": 1', '"version": ' + "9" * 10_000),
    "NaN": json.dumps(shape(metadata={"x": float("nan")})).replace("NaN", "nan"),
    "no version": json.dumps({k: v for k, v in shape().items() if k != "version"}),
    "a version of text": json.dumps(shape(version="1")),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_is_one_clear_error(damage):
    with pytest.raises(SessionError) as caught:
        SessionRecord.from_json(DAMAGED[damage])
    assert len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", [0, 2, 99])
def test_another_version_is_refused_and_named(version):
    with pytest.raises(SessionError, match=f"format version {version}"):
        SessionRecord.from_json(json.dumps(shape(version=version, something_new=1)))


def test_a_file_that_is_too_large_is_refused_before_it_is_read():
    text = recorded().export_session().to_json()
    with pytest.raises(SessionError, match="at most 10 are read"):
        SessionRecord.from_json(text, max_bytes=10)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_mutated_file_is_read_or_refused_and_nothing_else(data):
    text = bytearray(recorded_text())
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(text) - 1))
        text[position] = data.draw(st.integers(0, 255))
    try:
        SessionRecord.from_json(bytes(text))
    except SessionError as error:
        assert str(error)


_TEXT: list[bytes] = []


def recorded_text() -> bytes:
    if not _TEXT:
        _TEXT.append(recorded().export_session().to_json().encode())
    return _TEXT[0]

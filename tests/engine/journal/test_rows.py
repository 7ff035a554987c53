"""Rows that are read many at once are what they are when each is read alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alloy_nb.engine.journal.rows import Blobs, read_message, read_messages, write_message
from alloy_nb.messages import (
    Citation,
    Message,
    Opaque,
    Origin,
    StopReason,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    assistant,
    user,
)

KEPT: dict[str, str] = {}

texts = st.text(max_size=30) | st.just("x" * 5_000)
json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["$blob", "$plain", "a", "é"]), inner, max_size=3)
    ),
    max_leaves=8,
)
objects = st.dictionaries(st.text(max_size=5) | st.just("$lost"), json, max_size=3)
blocks = st.one_of(
    st.builds(Text, text=texts, citations=st.just(()) | st.just((Citation(url="https://a.b"),))),
    st.builds(Thinking, text=texts, replay=st.none() | objects),
    st.builds(ToolCall, id=texts, name=texts, input=objects),
    st.builds(ToolResult, call_id=texts, content=st.builds(lambda t: (Text(text=t),), texts)),
    st.builds(Opaque, vendor=texts, raw=objects),
)
messages = st.builds(
    Message,
    role=st.sampled_from(["user", "assistant"]),
    content=st.lists(blocks, max_size=3).map(tuple),
    origin=st.none() | st.just(Origin(provider="p", model="m")),
    stop=st.none() | st.sampled_from(list(StopReason)),
)


def rows(said: list[Message]) -> list[str]:
    blobs = Blobs()
    out = [write_message(message, blobs) for message in said]
    for name, (kind, data) in blobs._new.items():
        KEPT[name] = f"{kind}:{data!r}"
    return out


@given(st.lists(messages, max_size=6))
@settings(max_examples=150)
def test_messages_are_read_together_as_each_is_read_alone(said):
    found = rows(said)
    assert read_messages(found, KEPT.get) == [read_message(row, KEPT.get) for row in found]


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "{",
        "null",
        "[]",
        '{"role": "user", "content": []}, {"role": "user", "content": []}',
        '{"role": "user", "content": [{"type": "text", "text": "\\ud800"}]}',
        '{"role": "system", "content": []}',
        "[" * 100_000,
    ],
    ids=lambda text: text[:12],
)
def test_a_damaged_row_takes_no_other_with_it(damaged):
    one, other = rows([user("q"), assistant("a")])
    expected = [user("q"), read_message(damaged, KEPT.get), assistant("a")]
    assert read_messages([one, damaged, other], KEPT.get) == expected


def test_two_damaged_rows_do_not_make_a_message():
    found = ['{"role": "user"', '"content": []}', *rows([user("q")])]
    assert read_messages(found, KEPT.get) == [None, None, user("q")]


def test_more_rows_than_are_read_at_once_come_in_their_order():
    said = [user(f"{number}") for number in range(2_500)]
    assert read_messages(rows(said), KEPT.get) == said

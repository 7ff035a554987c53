"""Events as rows of text: every kind comes back, and what is damaged is left out."""

from __future__ import annotations

import json
from decimal import Decimal
from itertools import pairwise
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from pydantic import BaseModel

from alloy_nb.engine.journal.batches import coalesced, pack, unpack
from alloy_nb.engine.journal.rows import Blobs, read_json, read_message, text_of_blob, write_json
from alloy_nb.events import Event, EventBody, TextDelta, ThinkingDelta, ToolInputDelta
from alloy_nb.messages import Citation, Message, Opaque, Text, ToolCall, ToolResult
from alloy_nb.usage import Cost, Usage
from tests.engine.journal.conversations import stamped

TEXT = st.text(max_size=20) | st.integers(1_000, 2_000).map("long ".__mul__)
ANY = st.dictionaries(st.text(max_size=5), st.none() | st.integers(0, 9) | TEXT, max_size=3)
CALLS = st.builds(ToolCall, id=TEXT, name=TEXT, input=ANY, replay=st.none() | ANY)
CITATIONS = st.builds(Citation, quote=st.none() | TEXT, start=st.none() | st.integers(), raw=ANY)
TEXTS = st.builds(Text, text=TEXT, citations=st.lists(CITATIONS, max_size=2).map(tuple))
RESULTS = st.builds(
    ToolResult, call_id=TEXT, name=TEXT, content=st.lists(TEXTS, max_size=2).map(tuple)
)
BLOCKS = TEXTS | CALLS | RESULTS | st.builds(Opaque, vendor=TEXT, raw=ANY)
# JSON has no other numbers, and no vendor sends them.
DOLLARS = st.decimals(0, 99, places=4)
MODELS = {
    float: st.floats(allow_nan=False, allow_infinity=False),
    Decimal: DOLLARS,
    Citation: CITATIONS,
    ToolCall: CALLS,
    ToolResult: RESULTS,
    Text: TEXTS,
    Usage: st.builds(Usage, input_tokens=st.integers(0, 9), stated_cost=st.none() | DOLLARS),
    Cost: st.builds(Cost, known=DOLLARS, complete=st.booleans()),
    Message: st.builds(
        Message,
        role=st.sampled_from(["user", "assistant"]),
        content=st.lists(BLOCKS, max_size=3).map(tuple),
    ),
}


def made(kind: type) -> st.SearchStrategy[Any]:
    """Return a strategy for a kind of event, field by field."""
    return st.builds(kind, **{f: of_type(t) for f, t in get_type_hints(kind).items()})


def of_type(hint: Any) -> st.SearchStrategy[Any]:
    if hint is Any or hint is NoneType:
        return st.none()
    if hint in MODELS:
        return MODELS[hint]
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return BLOCKS
    if get_args(hint) and get_origin(hint) is not dict:
        return st.one_of(*map(of_type, get_args(hint)))
    if get_origin(hint) is dict:
        return ANY
    if hint is Event:
        return st.builds(lambda text: stamped(TextDelta(0, text))[0], TEXT)
    return TEXT if hint is str else st.from_type(hint)


KEYS = st.sampled_from(["a", "$blob", "$plain", "$lost", "é"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.just("x" * 5_000),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=10,
)


def read_again(blobs: Blobs):
    """Return what gives the strings that were put aside."""
    kept = {s[1][0]: s[1][1:] for s in blobs.statements("t") if "INTO blobs" in s[0]}
    return lambda name: text_of_blob(*kept[name]) if name in kept else None


@pytest.mark.parametrize("kind", get_args(EventBody), ids=lambda kind: kind.__name__)
def test_every_kind_of_event_comes_back_as_it_was(kind):
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(made(kind))
    def check(body):
        blobs = Blobs()
        (event,) = stamped(body)
        text = pack([event], blobs)
        (back,) = unpack(text, read_again(blobs))
        # Halves of characters and what has no text in JSON may change; written again, they do not.
        assert type(back.body) is kind
        assert pack([back], Blobs()) == text

    check()


@given(VALUES)
@settings(deadline=None, suppress_health_check=list(HealthCheck))
def test_any_json_comes_back_also_where_it_looks_like_ours(value):
    blobs = Blobs()
    assert read_json(write_json(value, blobs), read_again(blobs)) == value


@given(st.lists(st.tuples(st.sampled_from([TextDelta, ThinkingDelta, ToolInputDelta]),
                          st.integers(0, 1), st.text(max_size=3)), max_size=30),
       st.lists(st.integers(0, 30), max_size=5))  # fmt: skip
def test_joining_pieces_does_not_depend_on_where_they_were_cut(pieces, cuts):
    events = stamped(*(kind(index, text) for kind, index, text in pieces))
    borders = [0, *sorted(cuts), len(events)]
    parts = [coalesced(events[a:b]) for a, b in pairwise(borders)]
    assert coalesced(event for part in parts for event in part) == coalesced(events)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | VALUES)
def test_what_is_damaged_raises_nothing(value):
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else json.dumps(value)
    assert isinstance(unpack(text, lambda _: None), list)
    read = read_message(text, lambda _: None)
    assert read is None or isinstance(read, Message)


def test_a_kind_of_event_that_is_not_known_is_left_out():
    known = pack(stamped(TextDelta(0, "a")), Blobs())
    rows = json.loads(known)
    rows.append([*rows[0][:5], "Invented", {"x": 1}])
    assert [e.body for e in unpack(json.dumps(rows), lambda _: None)] == [TextDelta(0, "a")]


def test_a_long_string_that_was_lost_is_said_to_be():
    blobs = Blobs()
    text = pack(stamped(TextDelta(0, "x" * 9_000)), blobs)
    assert "lost" in unpack(text, lambda _: None)[0].body.text

"""Bytes become the same server-sent events however they are cut, and as the standard says."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alloy_nb.providers import sse
from alloy_nb.providers.sse import EventTooLarge, SSEDecoder


def parsed(*chunks: bytes) -> list[tuple[str | None, bytes]]:
    decoder = SSEDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)] + decoder.close()


CASES = {
    "data alone": (b"data: a\n\n", [(None, b"a")]),
    "a name and data": (b"event: x\ndata: a\n\n", [("x", b"a")]),
    "data before its name": (b"data: a\nevent: x\n\n", [("x", b"a")]),
    "no space after the colon": (b"data:a\n\n", [(None, b"a")]),
    "one space is removed, not two": (b"data:  a\n\n", [(None, b" a")]),
    "lines of data are joined": (b"data: a\ndata: b\n\n", [(None, b"a\nb")]),
    "a comment is nothing": (b": ping\n\ndata: a\n\n", [(None, b"a")]),
    "a comment among fields": (b"event: x\n: ping\ndata: a\n\n", [("x", b"a")]),
    "id and retry are nothing": (b"id: 1\nretry: 5\ndata: a\n\n", [(None, b"a")]),
    "an unknown field is nothing": (b"dato: z\ndata: a\n\n", [(None, b"a")]),
    "a field without a colon": (b"data\ndata: a\n\n", [(None, b"\na")]),
    "a name without data is no event": (b"event: x\n\ndata: a\n\n", [(None, b"a")]),
    "an empty name is none": (b"event:\ndata: a\n\n", [(None, b"a")]),
    "the last name counts": (b"event: x\nevent: y\ndata: a\n\n", [("y", b"a")]),
    "a colon in data": (b"data: a: b\n\n", [(None, b"a: b")]),
    "many blank lines": (b"\n\n\ndata: a\n\n\n\n\ndata: b\n\n", [(None, b"a"), (None, b"b")]),
    "CRLF": (b"event: x\r\ndata: a\r\n\r\ndata: b\r\n\r\n", [("x", b"a"), (None, b"b")]),
    "CR": (b"event: x\rdata: a\r\rdata: b\r\r", [("x", b"a"), (None, b"b")]),
    "line ends mixed": (
        b"data: a\r\n\ndata: b\r\r\ndata: c\n\r",
        [(None, b"a"), (None, b"b"), (None, b"c")],
    ),
    "a byte-order mark": (b"\xef\xbb\xbfdata: a\n\n", [(None, b"a")]),
    "a byte-order mark later is text": (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [(None, b"a")]),
    "no last blank line": (b"data: a\n\ndata: b\n", [(None, b"a"), (None, b"b")]),
    "no last line end": (b"data: a\n\nevent: x\ndata: b", [(None, b"a"), ("x", b"b")]),
    "other line separators are text": (
        "data: a\u2028b\u0085c\x0bd\n\n".encode(),
        [(None, "a\u2028b\u0085c\x0bd".encode())],
    ),
    "characters of many bytes": ("data: é😀\n\n".encode(), [(None, "é😀".encode())]),
    "a name that is no UTF-8": (b"event: \xff\ndata: a\n\n", [("\ufffd", b"a")]),
    "nothing": (b"", []),
    "comments only": (b": a\n\n: b\n\n", []),
}
cases = pytest.mark.parametrize(("stream", "events"), CASES.values(), ids=CASES.keys())


@cases
def test_a_stream_is_read_as_the_standard_says(stream, events):
    assert parsed(stream) == events


@cases
def test_a_stream_cut_anywhere_gives_the_same_events(stream, events):
    for cut in range(len(stream) + 1):
        assert parsed(stream[:cut], stream[cut:]) == events, cut


@cases
def test_a_stream_of_single_bytes_gives_the_same_events(stream, events):
    assert parsed(*(bytes((byte,)) for byte in stream)) == events


LINES = st.sampled_from(
    [b"data: a", b"data:b", b"data", b"event: x", b": c", b"", b"id: 1", "data: é😀".encode()]
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
STREAMS = st.lists(st.tuples(LINES, ENDS).map(b"".join), max_size=12).map(b"".join)


def by_the_book(stream: bytes) -> list[tuple[str | None, bytes]]:
    """Read a whole stream line by line, as the standard's text does."""
    lines = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    events, name, held = [], None, []
    for line in [*lines, b""]:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if line == b"":
            if held:
                events.append((name, b"\n".join(held)))
            name, held = None, []
        elif field == b"data":
            held.append(value)
        elif field == b"event":
            name = value.decode() or None
    return events


@given(STREAMS, st.lists(st.integers(0, 60), max_size=8))
@settings(max_examples=400, deadline=None)
def test_any_stream_cut_in_any_places_is_read_by_the_book(stream, cuts):
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(places)]
    assert parsed(*pieces) == by_the_book(stream)


def test_an_event_larger_than_the_limit_is_refused(monkeypatch):
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    decoder = SSEDecoder()
    with pytest.raises(EventTooLarge):
        for _ in range(20):
            decoder.feed(b"x" * 100)


def test_many_events_are_not_one_large_event(monkeypatch):
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    decoder = SSEDecoder()
    events = [
        e
        for _ in range(200)
        for piece in (b"data: ", b"x" * 50, b"\n\n")
        for e in decoder.feed(piece)
    ]
    assert len(events) == 200


def test_an_event_that_comes_in_many_pieces_costs_no_more_than_its_size():
    # Joining at each piece would copy 20,000 times 2 MB.
    decoder = SSEDecoder()
    for _ in range(20_000):
        decoder.feed(b"x" * 100)
    assert decoder.feed(b"\n\n") == []

"""Replies of HTTP/1.1 from their bytes, beside h11; requests as bytes."""

from __future__ import annotations

import contextlib
import itertools
import random

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alloy_nb.providers.http11 import Fault, ReplyReader, written

OK = b"HTTP/1.1 200 OK\r\n"


def read(data: bytes, *, cuts: list[int] | None = None, ends: bool = True) -> tuple[int, bytes]:
    """Return the status and the body of a reply that comes in pieces."""
    reader, body = ReplyReader(), b""
    reader.start()
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts or [])})
    for start, end in itertools.pairwise(places):
        reader.feed(data[start:end])
        if reader.head() is not None:
            body += reader.body()
    if ends and not reader.is_done:
        reader.end()
    head = reader.head()
    assert head is not None
    assert reader.is_done
    return head.status, body


def read_by_h11(data: bytes) -> tuple[int, bytes]:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="POST", target="/", headers=[("host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    status, body = 0, b""
    while True:
        event = client.next_event()
        if event is h11.NEED_DATA:
            client.receive_data(b"")
            continue
        if isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return status, body


BODIES = st.binary(max_size=200)
FIELDS = st.lists(
    st.tuples(
        st.sampled_from([b"x-a", b"Retry-After", b"content-type"]),
        st.sampled_from([b"1", b"a b", b"", b"\xe9", b"text/plain; x=y"]),
    ),
    max_size=4,
)
CUTS = st.lists(st.integers(0, 10_000), max_size=8)


def chunked(body: bytes, sizes: list[int]) -> bytes:
    out, at, turn = b"", 0, 0
    while at < len(body):
        size = sizes[turn % len(sizes)] if sizes else len(body)
        piece = body[at : at + size]
        out += b"%x%b\r\n%b\r\n" % (len(piece), b";ext=1" if turn % 3 == 2 else b"", piece)
        at, turn = at + size, turn + 1
    return out + b"0\r\n"


@st.composite
def replies(draw: st.DrawFn) -> bytes:
    body = draw(BODIES)
    status = draw(st.sampled_from([200, 404, 429, 500, 204]))
    fields = draw(FIELDS)
    match draw(st.sampled_from(["chunked", "length", "close"])) if status != 204 else "none":
        case "chunked":
            fields.append((b"Transfer-Encoding", b"chunked"))
            body = chunked(body, draw(st.lists(st.integers(1, 60), max_size=3)))
            body += draw(st.sampled_from([b"\r\n", b"x-trailer: 1\r\n\r\n"]))
        case "length":
            fields.append((b"Content-Length", b"%d" % len(body)))
        case "none":
            body = b""
    head = b"".join(b"%b: %b\r\n" % field for field in fields)
    before = draw(st.sampled_from([b"", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"]))
    return before + b"HTTP/1.1 %d Some Reason\r\n%b\r\n%b" % (status, head, body)


@settings(deadline=None, max_examples=300)
@given(replies(), CUTS)
def test_a_reply_is_what_h11_reads_however_it_is_cut(reply, cuts):
    assert read(reply, cuts=cuts) == read_by_h11(reply)


@settings(deadline=None, max_examples=300)
@given(replies(), st.randoms(use_true_random=False), CUTS)
def test_a_damaged_reply_is_read_or_refused_and_nothing_else(reply, chance, cuts):
    data = bytearray(reply)
    for _ in range(chance.randint(1, 4)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    with contextlib.suppress(Fault, AssertionError):
        read(bytes(data), cuts=cuts)


def test_what_is_read_does_not_depend_on_a_cut_at_any_place():
    reply = OK + b"transfer-encoding: chunked\r\n\r\n" + chunked(b"hello world", [4]) + b"\r\n"
    assert {read(reply, cuts=[n]) for n in range(len(reply))} == {(200, b"hello world")}


def test_bytes_of_a_chunk_are_there_before_its_end():
    reader = ReplyReader()
    reader.feed(OK + b"transfer-encoding: chunked\r\n\r\nff\r\nhello")
    assert reader.head() is not None
    assert reader.body() == b"hello"
    assert not reader.is_done


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        OK + b"no colon\r\n\r\n",
        OK + b"bad name : 1\r\n\r\n",
        OK + b"a: \x00\r\n\r\n",
        OK + b"content-length: -1\r\n\r\n",
        OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab",
        OK + b"content-length: " + b"9" * 30 + b"\r\n\r\n",
        OK + b"transfer-encoding: gzip, chunked\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\nxyz\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\n-1\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\n" + b"1" * 10_000,
        OK + b"content-length: 5\r\n\r\nabc",
        OK + b"transfer-encoding: chunked\r\n\r\n5\r\nab",
        OK,
        b"",
        b"x" * 100_000,
        OK + b"x: 1\r\n" * 20_000,
    ],
)
def test_what_is_no_whole_reply_is_refused(reply):
    with pytest.raises((Fault, AssertionError)):
        read(reply)


def test_a_head_without_an_end_is_not_kept_for_ever():
    reader = ReplyReader()
    reader.feed(OK + b"x: 1\r\n" * 20_000)
    with pytest.raises(Fault, match="does not end"):
        reader.head()


def test_chunks_count_where_a_length_is_there_too():
    reply = OK + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    assert read(reply) == (200, b"hello")


def test_the_next_reply_of_a_connection_begins_after_the_first():
    reader = ReplyReader()
    for body in (b"one", b"three"):
        reader.start()
        reader.feed(OK + b"content-length: %d\r\n\r\n%b" % (len(body), body))
        assert reader.head() is not None
        assert reader.body() == body
        assert reader.is_done


def test_bytes_that_nobody_asked_for_belong_to_no_reply():
    reader = ReplyReader()
    reader.feed(OK + b"content-length: 0\r\n\r\n")
    with pytest.raises(Fault, match="before the request"):
        reader.start()


@pytest.mark.parametrize(
    ("head", "is_kept"),
    [
        (b"HTTP/1.1 200 OK\r\n", True),
        (b"HTTP/1.0 200 OK\r\n", False),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n", False),
        (b"HTTP/1.1 200\r\nconnection: Keep-Alive\r\n", True),
    ],
)
def test_a_connection_is_kept_unless_the_server_says_otherwise(head, is_kept):
    reader = ReplyReader()
    reader.feed(head + b"content-length: 0\r\n\r\n")
    assert reader.head().is_kept is is_kept


def test_a_field_that_stands_several_times_has_all_its_values():
    reader = ReplyReader()
    reader.start()
    reader.feed(OK + b"Via:\t one\t \r\nx-name: caf\xe9\r\nvia: two \r\ncontent-length: 0\r\n\r\n")
    named = reader.head().by_name()
    assert named == {"via": "one, two", "x-name": "caf\xe9", "content-length": "0"}


def test_a_request_goes_out_as_h11_understands_it():
    sent = written("POST", b"/v1/x?y=1", {"host": "a:1", "x-key": "k"}, b'{"a":1}')
    server = h11.Connection(h11.SERVER)
    server.receive_data(sent)
    request, data = server.next_event(), server.next_event()
    assert (request.method, request.target) == (b"POST", b"/v1/x?y=1")
    assert dict(request.headers) == {b"host": b"a:1", b"x-key": b"k", b"content-length": b"7"}
    assert bytes(data.data) == b'{"a":1}'


@pytest.mark.parametrize(
    "fields",
    [
        {"x": "1\r\ny: 2"},
        {"x": "1\ny: 2"},
        {"x": "1\ry: 2"},
        {"x": "\x00"},
        {"x y": "1"},
        {"x:": "1"},
        {"": "1"},
        {"x\r\ny": "1"},
    ],
)
def test_a_header_cannot_become_another_one(fields):
    with pytest.raises(Fault):
        written("POST", b"/", {"host": "a", **fields}, b"")


def test_reading_a_long_body_in_small_pieces_takes_no_longer_than_its_length():
    # Were what is read moved at every step, this would be minutes.
    chance, reader = random.Random(1), ReplyReader()
    reader.feed(OK + b"transfer-encoding: chunked\r\n\r\n")
    reader.head()
    total = 0
    for _ in range(20_000):
        size = chance.randint(1, 100)
        reader.feed(b"%x\r\n%b\r\n" % (size, b"x" * size))
        total += size - len(reader.body())
    assert total == 0

"""What passes over a kept connection: noted, and a request in one piece."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from alloy_nb.providers.listening import listening


class Line:
    """A stream that keeps each piece that is written, and answers with what it is given."""

    def __init__(self, *answers: bytes) -> None:
        self.written: list[bytes] = []
        self._answers = list(answers)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._answers.pop(0)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.written.append(buffer)


def send(line: Line, *pieces: bytes, joins: bool) -> set[str]:
    """Write the pieces as httpcore does, and return what was heard."""

    async def go() -> set[str]:
        stream: Any = line
        with listening(stream, joins=joins) as heard:
            for piece in pieces:
                await stream.write(piece, timeout=None)
        return heard

    return asyncio.run(go())


def test_a_head_goes_out_in_one_piece_with_its_body():
    line = Line()
    assert send(line, b"POST / ", b"{}", b"", joins=True) == {"written"}
    assert line.written == [b"POST / {}", b""]


def test_what_comes_after_the_body_goes_out_by_itself():
    line = Line()
    send(line, b"head", b"one", b"two", b"three", joins=True)
    assert line.written == [b"headone", b"two", b"three"]


def test_where_others_share_a_stream_each_piece_goes_out_as_it_is():
    line = Line()
    assert send(line, b"head", b"body", joins=False) == {"written"}
    assert line.written == [b"head", b"body"]


@pytest.mark.parametrize(("answer", "heard"), [(b"HTTP", {"read"}), (b"", set())])
def test_bytes_of_an_answer_are_heard_and_its_end_is_not(answer, heard):
    async def go() -> set[str]:
        line: Any = Line(answer)
        with listening(line, joins=True) as noted:
            assert await line.read(10) == answer
        return noted

    assert asyncio.run(go()) == heard


def test_nobody_listens_to_a_stream_afterwards():
    line = Line()
    heard = send(line, b"head", b"body", joins=True)
    asyncio.run(line.write(b"later"))
    assert line.written == [b"headbody", b"later"]
    assert set(vars(line)) == {"written", "_answers"}
    assert heard == {"written"}


def test_no_stream_is_not_listened_to():
    with listening(None, joins=True) as heard:
        pass
    assert heard == set()

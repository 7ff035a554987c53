"""What passes over a kept connection is noted, and goes on as it is."""

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


def send(line: Line, *pieces: bytes) -> set[str]:
    """Write the pieces as httpcore does, and return what was heard."""

    async def go() -> set[str]:
        stream: Any = line
        with listening(stream) as heard:
            for piece in pieces:
                await stream.write(piece, timeout=None)
        return heard

    return asyncio.run(go())


def test_each_piece_goes_out_as_it_is():
    line = Line()
    assert send(line, b"head", b"body") == {"written"}
    assert line.written == [b"head", b"body"]


@pytest.mark.parametrize(("answer", "heard"), [(b"HTTP", {"read"}), (b"", set())])
def test_bytes_of_an_answer_are_heard_and_its_end_is_not(answer, heard):
    async def go() -> set[str]:
        line: Any = Line(answer)
        with listening(line) as noted:
            assert await line.read(10) == answer
        return noted

    assert asyncio.run(go()) == heard


def test_nobody_listens_to_a_stream_afterwards():
    line = Line()
    heard = send(line, b"head", b"body")
    asyncio.run(line.write(b"later"))
    assert line.written == [b"head", b"body", b"later"]
    assert set(vars(line)) == {"written", "_answers"}
    assert heard == {"written"}


def test_no_stream_is_not_listened_to():
    with listening(None) as heard:
        pass
    assert heard == set()

"""What passes over a kept connection during one request."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

__all__ = ["listening"]


@contextlib.contextmanager
def listening(stream: Any, *, joins: bool) -> Iterator[set[str]]:
    """Note whether anything is written to a stream, and read from it.

    Args:
        stream: Has httpcore's asynchronous `read` and `write`; ``None`` is not listened to.
        joins: Whether what is written first, a request's head, waits for what follows at once,
            its body: two packets wake the server twice, and this loop once more.
    """
    heard: set[str] = set()
    if stream is None:
        return (yield heard)
    read, write = stream.read, stream.write
    is_head, head = joins, b""

    async def reads(*args: Any, **settings: Any) -> bytes:
        data: bytes = await read(*args, **settings)
        heard.update(["read"] if data else [])
        return data

    async def writes(data: bytes, *args: Any, **settings: Any) -> None:
        nonlocal is_head, head
        heard.add("written")
        if is_head:
            is_head, head = False, data
            return
        data, head = head + data, b""
        await write(data, *args, **settings)

    stream.read, stream.write = reads, writes
    try:
        yield heard
    finally:
        del stream.read, stream.write

"""What passes over a kept connection during one request."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

__all__ = ["listening"]


@contextlib.contextmanager
def listening(stream: Any) -> Iterator[set[str]]:
    """Note whether anything is written to a stream, and read from it.

    `stream` has httpcore's asynchronous `read` and `write`; ``None`` is not listened to.
    """
    heard: set[str] = set()
    if stream is None:
        return (yield heard)
    read, write = stream.read, stream.write

    async def reads(*args: Any, **settings: Any) -> bytes:
        data: bytes = await read(*args, **settings)
        heard.update(["read"] if data else [])
        return data

    async def writes(*args: Any, **settings: Any) -> None:
        heard.add("written")
        await write(*args, **settings)

    stream.read, stream.write = reads, writes
    try:
        yield heard
    finally:
        del stream.read, stream.write

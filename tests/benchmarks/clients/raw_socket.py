"""A raw socket over asyncio streams: the floor under every client in this process model.

It is no HTTP client. It relies on what the mock server does: a 200, chunked, and each event in a
chunk of its own, so that the lines of chunk sizes can be skipped like any line that is no data.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

from .handwritten import HandWritten

__all__ = ["Peer"]

_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Peer(HandWritten):
    """Idle connections on a list, bytes in, lines out."""

    statement = "import asyncio, json"

    def __init__(self, url: str, wire: str) -> None:
        super().__init__(url, wire)
        self.idle: list[_Connection] = []

    async def events(self, body: bytes) -> AsyncIterator[dict[str, Any]]:
        reader, writer = self.idle.pop() if self.idle else await self._connect()
        writer.write(self._head(len(body)) + body)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError((await reader.read(65536)).decode())
        async for event in _events(reader):
            yield event
        self.idle.append((reader, writer))

    async def _connect(self) -> _Connection:
        address = urlsplit(self.url)
        return await asyncio.open_connection(address.hostname, address.port)

    def _head(self, length: int) -> bytes:
        lines = [f"POST {self.format.path} HTTP/1.1", f"host: {urlsplit(self.url).netloc}"]
        lines += [f"{name}: {value}" for name, value in self.format.headers.items()]
        return "\r\n".join([*lines, f"content-length: {length}", "", ""]).encode()

    async def close(self) -> None:
        for _, writer in self.idle:
            writer.close()
            await writer.wait_closed()


async def _events(reader: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
    """Yield the JSON of each data line up to the chunk of no bytes."""
    rest = b""
    while True:
        data = await reader.read(65536)
        if not data:
            raise ConnectionError("the server left")
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data: {"):
                yield json.loads(line[6:])
        if lines[-2:] == [b"0\r", b"\r"] and not rest:
            return

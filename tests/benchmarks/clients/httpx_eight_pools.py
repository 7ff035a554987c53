"""Bare httpx over eight small clients: what its one pool costs when many requests are in flight."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from .bare_httpx import Peer as BareHttpx
from .handwritten import HandWritten

__all__ = ["Peer"]


class Peer(HandWritten):
    """Eight of the bare clients; a request goes to the one with the fewest in flight."""

    def __init__(self, url: str, wire: str) -> None:
        super().__init__(url, wire)
        self.in_flight = {BareHttpx(url, wire): 0 for _ in range(8)}

    async def events(self, body: bytes) -> AsyncIterator[dict[str, Any]]:
        pool = min(self.in_flight, key=self.in_flight.__getitem__)
        self.in_flight[pool] += 1
        try:
            async for event in pool.events(body):
                yield event
        finally:
            self.in_flight[pool] -= 1

    async def close(self) -> None:
        for pool in self.in_flight:
            await pool.close()

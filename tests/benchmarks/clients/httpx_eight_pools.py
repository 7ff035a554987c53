"""Bare httpx over eight small clients: what its one pool costs when many requests are in flight."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import cycle
from typing import Any

from .bare_httpx import Peer as BareHttpx
from .handwritten import HandWritten

__all__ = ["Peer"]


class Peer(HandWritten):
    """Eight of the bare clients, in turn."""

    def __init__(self, url: str, wire: str) -> None:
        super().__init__(url, wire)
        self.pools = [BareHttpx(url, wire) for _ in range(8)]
        self.next_pool = cycle(self.pools)

    def events(self, body: bytes) -> AsyncIterator[dict[str, Any]]:
        return next(self.next_pool).events(body)

    async def close(self) -> None:
        for pool in self.pools:
            await pool.close()

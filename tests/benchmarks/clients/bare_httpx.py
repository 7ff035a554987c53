"""Bare httpx: the minimal honest client, and the measure of all others."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx

from .handwritten import HandWritten

__all__ = ["Peer"]


class Peer(HandWritten):
    """`AsyncClient.stream`, `aiter_lines`, `json.loads` of each data line; one connection pool."""

    statement = "import httpx, pydantic"  # the limit of the import row is a multiple of both

    def __init__(self, url: str, wire: str) -> None:
        super().__init__(url, wire)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        self.client = httpx.AsyncClient(timeout=60, limits=limits)

    async def events(self, body: bytes) -> AsyncIterator[dict[str, Any]]:
        url = self.url + self.format.path
        async with self.client.stream(
            "POST", url, content=body, headers=self.format.headers
        ) as response:
            if response.status_code != 200:
                raise RuntimeError((await response.aread()).decode())
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    yield json.loads(line[6:])

    async def close(self) -> None:
        await self.client.aclose()

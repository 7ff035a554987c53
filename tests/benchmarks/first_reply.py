"""One short reply in a new interpreter; it imports nothing that a client does not need itself."""

from __future__ import annotations

import asyncio

from .clients import load
from .clients.base import Client
from .script import Script

__all__ = ["hear"]


def hear(key: str, url: str, wire: str) -> None:
    """Import the client, ask once, and fail if no text came."""
    texts: list[str] = []
    client = load(key)(url, wire)
    if type(client).stream_blocking is not Client.stream_blocking:
        client.stream_blocking(Script().prompt, texts.append)
    else:
        asyncio.run(_hear(client, texts))
    if "".join(texts) != Script().last_text:
        raise SystemExit(f"heard {texts!r}")


async def _hear(client: Client, texts: list[str]) -> None:
    await client.stream(Script().prompt, texts.append)
    await client.close()

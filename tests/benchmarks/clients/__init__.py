"""The clients that are compared, in the order of the table's columns.

A peer is a file here, with a class named ``Peer`` that is a :class:`.base.Client`, and a line in
`REGISTRY`.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .base import Client

__all__ = ["BARE", "OURS", "RAW", "REGISTRY", "Entry", "load"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A column: its key, its title, and the rows that it fills (``None`` for all).

    The module of the same name in this package is imported only in the process that runs it.
    `package` is the distribution whose version stands under the table; without it installed, the
    column says so.
    """

    key: str
    title: str
    package: str | None = None
    wires: tuple[str, ...] = ("chat",)
    rows: tuple[str, ...] | None = None

    def fills(self, row: str) -> bool:
        """Whether the client has a figure in this row."""
        return self.rows is None or row in self.rows


RAW = "raw_socket"
BARE = "bare_httpx"
OURS = "alloy"

_BOTH = ("chat", "messages")

REGISTRY = [
    Entry(RAW, "raw socket", wires=_BOTH),
    Entry(BARE, "bare httpx", "httpx", wires=_BOTH),
    Entry(
        "httpx_eight_pools",
        "bare httpx, 8 pools",
        "httpx",
        wires=_BOTH,
        rows=("prompts_per_second", "live_streams"),
    ),
    Entry(OURS, "alloy_nb", "alloy-nb", wires=_BOTH),
    Entry("openai_sdk", "openai", "openai"),
    # Its own wire is its only one, so it stands in both tables.
    Entry("anthropic_sdk", "anthropic", "anthropic", wires=_BOTH),
    Entry("chatlas_chat", "chatlas", "chatlas"),
    Entry("pydantic_ai_agent", "pydantic-ai-slim", "pydantic-ai-slim"),
]


def load(key: str) -> type[Client]:
    """Import a client's module and return its class."""
    return importlib.import_module(f"{__name__}.{key}").Peer

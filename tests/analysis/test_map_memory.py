"""A map grows with its answers: rows and requests are made when they are asked, and let go.

``ALLOY_TEST_FULL=1`` measures 100,000 rows.
"""

from __future__ import annotations

import asyncio
import gc
import os
import tracemalloc
from collections.abc import AsyncIterator

import pytest

import alloy_nb as al
from alloy_nb.analysis.rows import Row
from alloy_nb.engine.run import Run
from alloy_nb.events import (
    BlockSealed,
    BlockStarted,
    ModelEvent,
    ReplyStarted,
    Stopped,
    TextDelta,
    UsageReported,
)
from alloy_nb.messages import Message, StopReason
from alloy_nb.providers.base import ModelRequest
from alloy_nb.usage import Usage

FULL = bool(os.environ.get("ALLOY_TEST_FULL"))
ROWS = 100_000 if FULL else 3_000
IN_FLIGHT = 16


class Counting:
    """Answers at once, and counts now and then what is alive of what a row needs."""

    name, model = "acme", "one"

    def __init__(self) -> None:
        self.asked = 0
        self.most: dict[type, int] = {}
        self.held: list[tuple[int, int]] = []

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        self.asked += 1
        if self.asked % (ROWS // 20) == 0:
            self._count()
        yield ReplyStarted("r", "one")
        yield BlockStarted(0, "text")
        yield TextDelta(0, f"about {request.messages[0].text}")
        await asyncio.sleep(0)
        yield BlockSealed(0)
        yield UsageReported(Usage(input_tokens=10, output_tokens=5))
        yield Stopped(StopReason.END_TURN)

    def _count(self) -> None:
        gc.collect()
        self.held.append((self.asked, tracemalloc.get_traced_memory()[0]))
        alive = [type(thing) for thing in gc.get_objects()]
        for kind in (Row, Run, Message):
            self.most[kind] = max(self.most.get(kind, 0), alive.count(kind))


@pytest.mark.timeout(3_600)
def test_no_more_rows_and_runs_are_alive_than_are_in_flight(tmp_path):
    provider = Counting()
    gc.collect()
    kept = [type(thing) for thing in gc.get_objects()]  # by tests before this one
    before = {kind: kept.count(kind) for kind in (Row, Run, Message)}
    tracemalloc.start()
    try:
        out = al.map(
            (f"row {n}" for n in range(ROWS)),
            "{value}",
            provider=provider,
            concurrency=IN_FLIGHT,
            checkpoint=tmp_path / "rows.db",
        )
    finally:
        tracemalloc.stop()
    (early, little), (late, much) = provider.held[1], provider.held[-1]
    each = (much - little) / (late - early)
    print(f"\n{ROWS} rows: {each:.0f} bytes a row, alive at most {provider.most}")
    assert len(out) == provider.asked == ROWS
    # Made ahead are at most two portions of 128 rows.
    assert provider.most[Row] - before[Row] <= IN_FLIGHT + 256
    assert provider.most[Run] - before[Run] <= IN_FLIGHT + 1
    assert provider.most[Message] - before[Message] <= 3 * IN_FLIGHT
    assert each < 1_500, "a map keeps more than its answers"

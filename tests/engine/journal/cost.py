"""What opening a long session costs, beside a short one: ``python -m tests.engine.journal.cost``.

A session is resumed and asked on, in processor time and in calls of Python functions; and the same
conversation is asked on in memory, which is what the request itself costs. Calls are the same on
any machine; the times are the least of several.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import alloy_nb as al
from alloy_nb.engine import portal
from alloy_nb.engine.journal import Store
from alloy_nb.messages import Message, Origin, StopReason, Text, user
from tests.engine.scripted import Scripted, says

__all__ = ["Spent", "calls_of", "opened_and_asked", "written"]


@dataclass(frozen=True)
class Spent:
    """Opening, the next turn, and the same turn without a journal."""

    opening: float
    turn: float
    in_memory: float

    @property
    def own(self) -> float:
        """What is left without the request."""
        return self.opening + self.turn - self.in_memory


def written(folder: Path, count: int) -> Path:
    """Write a session of so many messages, two a turn."""
    origin = Origin(provider="scripted", model="scripted-1", response_id="r1")
    with Store(folder) as store:
        journal = store.new()
        for number in range(count // 2):
            said = Message(
                role="assistant",
                content=(Text(text=f"Answer {number}."),),
                origin=origin,
                stop=StopReason.END_TURN,
            )
            turn = journal.begin(user("Why?"), key=f"cell-{number}", model="scripted/scripted-1")
            turn.finish([user("Why?"), said])
    return folder


def opened_and_asked(folder: Path, meter: Callable[[Callable[[], Any]], float]) -> Spent:
    """Return what it costs to resume a session and ask on, in whatever the meter counts."""
    box: list[al.Session] = []

    def resume() -> None:
        box.append(al.Session.resume(folder=folder, provider=Scripted(says("x"))))

    opening = meter(resume)
    session = box.pop()
    messages = session.messages
    turn = meter(lambda: session.chat("And now?"))
    session.undo()
    session.stop()
    plain = al.Session(provider=Scripted(says("x")), messages=messages)
    in_memory = meter(lambda: plain.chat("And now?"))
    plain.stop()
    return Spent(opening, turn, in_memory)


def calls_of(work: Callable[[], Any]) -> float:
    """Return how many Python functions are called, on this thread and on the package's."""
    count = 0

    def note(_frame: Any, what: str, _argument: Any) -> None:
        nonlocal count
        count += what == "call"

    async def listen(to: Any) -> None:
        sys.setprofile(to)

    portal.run_sync(listen(note))
    gc.disable()  # what others have called at each collection, as hypothesis does, is not ours
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
        gc.enable()
        portal.run_sync(listen(None))
    return count


def _seconds(work: Callable[[], Any]) -> float:
    gc.collect()
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    """Measure, and print one JSON object for each length."""
    with tempfile.TemporaryDirectory() as folder:
        for count in (100, 10_000):
            inner = written(Path(folder) / str(count), count)
            rounds = [opened_and_asked(inner, _seconds) for _ in range(8)][1:]
            least = Spent(
                min(r.opening for r in rounds),
                min(r.turn for r in rounds),
                min(r.in_memory for r in rounds),
            )
            told = {name: round(1000 * value, 2) for name, value in vars(least).items()}
            print(json.dumps({"messages": count, "own": round(1000 * least.own, 2), **told}))


if __name__ == "__main__":
    main()

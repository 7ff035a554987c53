"""What is measured with a warm client: a program for each row, the same for every client.

A program does the work a little first, so that imports, connections and caches are not in the
figure, and checks that all of the work was done. CPU is that of the whole process, threads and all.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from .clients.base import Client
from .rows import Sizes
from .script import PIECE_CHARACTERS, Script, answer

__all__ = ["PROGRAMS", "Outcome", "WrongWork"]


class WrongWork(Exception):
    """The client did not do what the row is about."""


@dataclass(slots=True)
class Outcome:
    """A figure in the row's unit, and the work that was counted while it was taken."""

    value: float
    work: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Ear:
    """Counts the text that arrives."""

    deltas: int = 0
    characters: int = 0
    first: float | None = None

    def hear(self, text: str) -> None:
        if self.first is None:
            self.first = time.perf_counter()
        self.deltas += 1
        self.characters += len(text)


@dataclass(slots=True)
class _Hand:
    """A tool that counts its runs and notes the CPU time at each."""

    seconds: float = 0.0
    cpu: list[float] = field(default_factory=list)

    @property
    def runs(self) -> int:
        return len(self.cpu)

    def tool(self):
        """Return the tool; its name and its docstring are what the model is told."""

        async def step(n: int) -> str:
            """Read a row of the table.

            Args:
                n: The row's number.
            """
            self.cpu.append(time.process_time())
            if self.seconds:
                await asyncio.sleep(self.seconds)
            return answer(n)

        return step


async def deltas(client: Client, sizes: Sizes) -> Outcome:
    """Microseconds of CPU for each delta of one long reply."""
    await _ask(client, Script(deltas=200))
    ear = _Ear()
    start = time.process_time()
    await _ask(client, Script(deltas=sizes.deltas), ear)
    cpu = time.process_time() - start
    return Outcome(cpu / sizes.deltas * 1e6, {"deltas": ear.deltas})


async def tool_turns(client: Client, sizes: Sizes) -> Outcome:
    """Milliseconds of CPU for each turn of a conversation, from its first request to its end."""
    await _converse(client, Script(turns=5), _Hand())
    hand = _Hand()
    start = time.process_time()
    await _converse(client, Script(turns=sizes.turns), hand)
    cpu = time.process_time() - start
    return Outcome(cpu / sizes.turns * 1e3, {"turns": sizes.turns, "tool runs": hand.runs})


async def tool_turns_late(client: Client, sizes: Sizes) -> Outcome:
    """Milliseconds of CPU for each of the last turns of a long conversation.

    A turn is what lies between two runs of the tool. Seeded clients begin a few turns before.
    """
    turns, window = sizes.late_turn, sizes.late_window
    done = max(0, turns - 2 * window) if client.seeded else 0
    hand = _Hand()
    await _converse(client, Script(turns=turns), hand, done)
    cpu = hand.cpu[-1] - hand.cpu[-1 - window]
    return Outcome(cpu / window * 1e3, {"turns": turns, "tool runs": hand.runs})


async def first_token(client: Client, sizes: Sizes) -> Outcome:
    """Milliseconds from the call to its first text, the median of many on a warm connection."""
    for _ in range(5):
        await _ask(client, Script())
    waits = []
    for _ in range(sizes.first_tokens):
        ear = _Ear()
        start = time.perf_counter()
        await _ask(client, Script(), ear)
        waits.append(ear.first - start)
    return Outcome(statistics.median(waits) * 1e3, {"prompts": len(waits)})


async def parallel_tools(client: Client, sizes: Sizes) -> Outcome:
    """Seconds of a conversation whose one turn calls many tools that take 100 ms each."""
    script = Script(turns=1, calls=sizes.parallel_calls)
    await _converse(client, script, _Hand())
    walls, runs = [], 0
    for _ in range(sizes.parallel_rounds):
        hand = _Hand(seconds=0.1)
        start = time.perf_counter()
        await _converse(client, script, hand)
        walls.append(time.perf_counter() - start)
        runs += hand.runs
    return Outcome(statistics.median(walls), {"turns": len(walls), "tool runs": runs})


async def prompts_per_second(client: Client, sizes: Sizes) -> Outcome:
    """Prompts a second with a fixed number in flight, when each answer begins after 50 ms."""
    script = Script(wait_ms=50)
    await _many(client, script, count=sizes.in_flight, at_once=sizes.in_flight)
    start = time.perf_counter()
    heard = await _many(client, script, count=sizes.prompts, at_once=sizes.in_flight)
    wall = time.perf_counter() - start
    return Outcome(sizes.prompts / wall, {"prompts": sizes.prompts, "deltas": heard})


async def table(client: Client, sizes: Sizes) -> Outcome:
    """The time for a table of prompts over the ideal: each takes 50 ms, so many are in flight."""
    script = Script(wait_ms=50)
    await client.table([f"{script.prompt} Warm {n}." for n in range(sizes.in_flight)], 8)
    prompts = [f"{script.prompt} Row {n}." for n in range(sizes.rows)]
    start = time.perf_counter()
    answers = await client.table(prompts, sizes.in_flight)
    wall = time.perf_counter() - start
    if answers != [script.last_text] * sizes.rows:
        raise WrongWork("an answer is missing")
    ideal = sizes.rows / sizes.in_flight * 0.05
    return Outcome(wall / ideal, {"prompts": sizes.rows})


async def live_streams(client: Client, sizes: Sizes) -> Outcome:
    """Seconds of CPU to follow many replies at once, each with 50 tokens a second."""
    script = Script(deltas=round(50 * sizes.stream_seconds), pace_ms=20)
    await _ask(client, Script())
    start = time.process_time()
    heard = await _many(client, script, count=sizes.streams, at_once=sizes.streams)
    cpu = time.process_time() - start
    return Outcome(cpu, {"prompts": sizes.streams, "deltas": heard})


PROGRAMS = {
    program.__name__: program
    for program in (
        deltas,
        tool_turns,
        tool_turns_late,
        first_token,
        parallel_tools,
        prompts_per_second,
        table,
        live_streams,
    )
}


async def _ask(client: Client, script: Script, ear: _Ear | None = None) -> None:
    """Ask with nothing else going on: through the blocking face of a client that has one."""
    ear = ear or _Ear()
    if type(client).stream_blocking is not Client.stream_blocking:
        client.stream_blocking(script.prompt, ear.hear)
    else:
        await client.stream(script.prompt, ear.hear)
    _check_heard(ear, script)


async def _many(client: Client, script: Script, *, count: int, at_once: int) -> int:
    """Ask `count` times with `at_once` in flight; return the deltas that were heard."""
    tickets = iter(range(count))
    return sum(await asyncio.gather(*(_in_turn(client, script, tickets) for _ in range(at_once))))


async def _in_turn(client: Client, script: Script, tickets: Iterator[int]) -> int:
    heard = 0
    for _ in tickets:
        ear = _Ear()
        await client.stream(script.prompt, ear.hear)
        _check_heard(ear, script)
        heard += ear.deltas
    return heard


def _check_heard(ear: _Ear, script: Script) -> None:
    """Every delta must have come by itself: a client that joins them did less."""
    heard, due = (ear.deltas, ear.characters), (script.deltas, script.deltas * PIECE_CHARACTERS)
    if heard != due:
        raise WrongWork(f"deltas and characters: {heard} instead of {due}")


async def _converse(client: Client, script: Script, hand: _Hand, done: int = 0) -> None:
    text = await client.converse(script.prompt, hand.tool(), done)
    if not text.endswith(script.last_text):
        raise WrongWork(f"the last reply was {text!r}, not {script.last_text!r}")
    if hand.runs != script.results - done:
        raise WrongWork(f"{hand.runs} tool runs instead of {script.results - done}")

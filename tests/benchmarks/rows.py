"""The rows of the table: what each is called, how large it is, what is to be reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .clients import BARE, RAW

__all__ = ["FULL", "QUICK", "ROWS", "TINY", "Limit", "Row", "Sizes"]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much work each program does."""

    deltas: int = 20_000
    turns: int = 100
    late_turn: int = 1_000
    late_window: int = 20
    first_tokens: int = 300
    parallel_calls: int = 16
    parallel_rounds: int = 3
    imports: int = 5
    prompts: int = 1_500
    in_flight: int = 64
    rows: int = 5_000
    streams: int = 200
    stream_seconds: float = 2.0


FULL = Sizes()
QUICK = Sizes(
    deltas=5_000,
    turns=40,
    late_turn=300,
    late_window=10,
    first_tokens=60,
    parallel_rounds=1,
    imports=2,
    prompts=400,
    rows=1_500,
    stream_seconds=1.0,
)
TINY = Sizes(
    deltas=300,
    turns=5,
    late_turn=12,
    late_window=3,
    first_tokens=5,
    parallel_calls=4,
    parallel_rounds=1,
    imports=1,
    prompts=20,
    in_flight=8,
    rows=24,
    streams=6,
    stream_seconds=0.2,
)


@dataclass(frozen=True, slots=True)
class Limit:
    """What our figure must be: a value, or a multiple of another client's in the same run."""

    kind: Literal["times bare", "times raw", "at most", "at least"]
    value: float

    @property
    def client(self) -> str | None:
        """Whose figure the limit is a multiple of."""
        return {"times bare": BARE, "times raw": RAW}.get(self.kind)

    def met(self, ours: float, other: float | None) -> bool | None:
        """Whether `ours` is within the limit, or ``None`` where `other` is wanted and missing."""
        match self.kind:
            case "at most":
                return ours <= self.value
            case "at least":
                return ours >= self.value
            case "times bare" | "times raw":
                return None if other is None else ours <= self.value * other


@dataclass(frozen=True, slots=True)
class Row:
    """A row: the name of its program, its title, its unit, and the limit from the design.

    The title may name a field of `Sizes` in braces.
    """

    name: str
    title: str
    unit: str
    limit: Limit | None

    def title_for(self, sizes: Sizes) -> str:
        """The title with the numbers of this run."""
        return self.title.format(sizes)


ROWS = [
    Row(
        "deltas",
        "CPU a streamed delta ({0.deltas:,} deltas)",
        "µs",
        Limit("times bare", 1.3),
    ),
    Row(
        "tool_turns",
        "client CPU a tool turn, {0.turns} turns, history sent each time",
        "ms",
        Limit("times bare", 1.5),
    ),
    Row(
        "tool_turns_late",
        "the same at turn {0.late_turn:,}",
        "ms",
        Limit("times bare", 1.5),
    ),
    Row(
        "first_token",
        "first token after the request, warm",
        "ms",
        Limit("times bare", 1.3),
    ),
    Row(
        "parallel_tools",
        "{0.parallel_calls} tools of 100 ms in one turn",
        "s",
        Limit("times bare", 1.06),  # 0.112 s where bare httpx takes 0.106
    ),
    Row(
        "import_time",
        "import over an empty interpreter (bare: httpx and pydantic)",
        "ms",
        Limit("times bare", 1.5),
    ),
    Row(
        "first_reply",
        "import, client and first reply over an empty interpreter",
        "ms",
        None,
    ),
    Row(
        "prompts_per_second",
        "prompts a second, {0.in_flight} in flight, 50 ms latency",
        "/s",
        Limit("at least", 1_050),
    ),
    Row(
        "table",
        "a table of {0.rows:,} prompts, {0.in_flight} in flight, 50 ms latency: over the ideal",
        "×",
        Limit("at most", 1.25),
    ),
    Row(
        "live_streams",
        "CPU of {0.streams} live streams at 50 tokens a second, {0.stream_seconds:g} s",
        "s",
        # The design measured 0.32 s for the raw socket and asks for 1.2 s: on another machine, or
        # on this one when it is busy, only their ratio says anything.
        Limit("times raw", 1.2 / 0.32),
    ),
]

"""How far a map has come, in numbers and in a line of text. Pure."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from alloy_nb.analysis.rows import Answer
from alloy_nb.usage import Cost

__all__ = ["Meter", "Progress"]

_BAR = 20
# Seconds over which the present speed is taken: a pause of the vendor's is felt, a row is not.
_SPAN = 15.0


@dataclass(frozen=True, slots=True)
class Progress:
    """A moment of a map.

    Args:
        total: Rows of the table, or ``None`` where nobody knows: an iterator does not say.
        done: Rows that have their answer or their error; all other counts are parts of this one.
        asked: Rows that were asked now.
        kept: Rows whose answer was there from before, in the checkpoints.
        repeated: Rows that ask the same as an earlier one.
        empty: Rows with nothing to ask about.
        failed: Rows with an error, the empty ones not among them.
        seconds: Since the beginning.
        rate: Rows a second, of those that are asked, at present.
        spent: US dollars of this map so far.
        in_flight: Rows that are being asked.
        waiting: What all wait for, in words, or nothing.
        finished: Whether this is the last that is said.
    """

    total: int | None
    done: int
    asked: int
    kept: int
    repeated: int
    empty: int
    failed: int
    seconds: float
    rate: float
    spent: Cost
    in_flight: int
    waiting: str = ""
    finished: bool = False

    @property
    def left(self) -> float | None:
        """Seconds until all is done, if it goes on like this."""
        if self.finished:
            return 0.0
        if self.total is None or self.rate <= 0:
            return None
        return self._to_ask / self.rate

    @property
    def projected(self) -> Decimal | None:
        """What all of it will have cost, if the rest costs as much as what was asked so far."""
        if self.total is None or self.spent.usd is None:
            return None
        if self.finished:
            return self.spent.usd
        return self.spent.usd * (1 + Decimal(self._to_ask) / self.asked) if self.asked else None

    @property
    def _to_ask(self) -> float:
        """Rows that will still be asked: of the rest as many as of those before."""
        assert self.total is not None  # noqa: S101  # whoever asks has looked
        share = self.asked / self.done if self.done else 1.0
        return (self.total - self.done) * share

    @property
    def text(self) -> str:
        """All of it in one line."""
        of = "" if self.total is None else f"/{self.total:,}"
        parts = [f"{self.done:,}{of} rows"]
        parts += [f"{self.failed:,} failed"] if self.failed else []
        parts += [f"{self.rate:,.1f} rows/s"] if self.rate and not self.finished else []
        parts.append(self._money)
        if self.finished:
            parts.append(f"in {_duration(self.seconds)}")
        elif self.waiting:
            parts.append(self.waiting)
        elif self.left is not None:
            parts.append(f"{_duration(self.left)} left")
        return f"{self.bar} {' · '.join(parts)}".strip()

    @property
    def bar(self) -> str:
        """A bar of characters, and the share in percent; empty where nobody knows the total."""
        if self.total is None:
            return ""
        share = self.done / self.total if self.total else 1.0
        full = int(share * _BAR)
        return f"{'█' * full}{'░' * (_BAR - full)} {int(share * 100):3d} %"

    @property
    def _money(self) -> str:
        projected = None if self.finished else self.projected
        return f"{self.spent} of about {Cost(known=projected)}" if projected else str(self.spent)


class Meter:
    """Counts what happens, and says how it stands."""

    def __init__(self, total: int | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = total
        self.asked = self.kept = self.repeated = self.empty = self.failed = self.refused = 0
        self.spent = Cost()
        self._clock = clock
        self._began = clock()
        self._seen: deque[tuple[float, int]] = deque([(self._began, 0)])

    @property
    def done(self) -> int:
        """Rows that have their answer or their error."""
        return self.asked + self.kept + self.repeated + self.empty + self.refused

    def note(self, answer: Answer, *, repeats: int = 0) -> None:
        """Count the answer of a row that was asked, and of so many rows that ask the same."""
        self.asked += 1
        self.repeated += repeats
        self.failed += 0 if answer.error is None else 1 + repeats
        if not (answer.is_free and answer.error):
            self.spent += answer.cost

    def refuse(self, *, repeats: int = 0) -> None:
        """Count a row that is not asked any more, and so many that ask the same."""
        self.refused += 1
        self.repeated += repeats
        self.failed += 1 + repeats

    def now(self, *, in_flight: int = 0, waiting: str = "", finished: bool = False) -> Progress:
        """Return how it stands."""
        moment = self._clock()
        self._seen.append((moment, self.asked))
        while len(self._seen) > 2 and self._seen[0][0] < moment - _SPAN:
            self._seen.popleft()
        since, asked = self._seen[0]
        rate = (self.asked - asked) / (moment - since) if moment > since else 0.0
        return Progress(
            total=self.done if finished else self.total,
            done=self.done,
            asked=self.asked,
            kept=self.kept,
            repeated=self.repeated,
            empty=self.empty,
            failed=self.failed,
            seconds=moment - self._began,
            rate=rate,
            spent=self.spent,
            in_flight=in_flight,
            waiting=waiting,
            finished=finished,
        )


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"

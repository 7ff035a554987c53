"""What a run used and what it cost. Unknown is ``None``, never zero.

Within one reply a vendor's counts are cumulative, so a later report replaces an earlier one;
``+`` is for different replies only.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Cost", "Usage"]


class Usage(BaseModel):
    """Tokens of one or more replies.

    `input_tokens` counts everything that was sent, cached parts included (as the OpenTelemetry
    conventions for generative AI do); `cache_read_tokens` and `cache_write_tokens` are the shares
    of it that came from, or went into, the vendor's cache. `reasoning_tokens` are a share of
    `output_tokens`. `unreported` is the number of replies for which the vendor gave no counts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    searches: int = 0
    unreported: int = 0
    stated_cost: Decimal | None = None
    """US dollars, where the vendor itself says what the reply cost."""
    raw: dict[str, Any] = Field(default_factory=dict, repr=False, exclude=True)

    @property
    def total_tokens(self) -> int:
        """Tokens in and out."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        stated = [u.stated_cost for u in (self, other) if u.stated_cost is not None]
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cache_read_tokens=self.cache_read_tokens + other.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            cache_write_1h_tokens=self.cache_write_1h_tokens + other.cache_write_1h_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            searches=self.searches + other.searches,
            unreported=self.unreported + other.unreported,
            stated_cost=sum(stated, Decimal(0)) if stated else None,
        )


class Cost(BaseModel):
    """Money in US dollars.

    `known` is the part that could be priced. `complete` is false as soon as one reply could not
    be; then :attr:`usd` is ``None``, because a sum with an unknown part is unknown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    known: Decimal = Decimal(0)
    complete: bool = True

    @classmethod
    def unknown(cls) -> Cost:
        """The cost of a reply that nobody can price."""
        return cls(complete=False)

    @property
    def usd(self) -> Decimal | None:
        """The whole cost, or ``None`` where a part of it is unknown."""
        return self.known if self.complete else None

    def __add__(self, other: Cost) -> Cost:
        # Most sums begin with nothing, or add what is free or unknown once more.
        if not other.known and (other.complete or not self.complete):
            return self
        if not self.known and self.complete:
            return other
        return Cost(known=self.known + other.known, complete=self.complete and other.complete)

    def __str__(self) -> str:
        if self.complete:
            return _dollars(self.known)
        # "at least less than" says nothing.
        is_told = self.known >= _LEAST_SHOWN
        return f"≥ {_dollars(self.known)}, rest unknown" if is_told else "cost unknown"


_LEAST_SHOWN = Decimal("0.0001")


def _dollars(amount: Decimal) -> str:
    if amount == 0:
        return "$0"
    if amount < _LEAST_SHOWN:
        return f"< ${_LEAST_SHOWN}"
    return f"${amount:.4f}" if amount < 1 else f"${amount:.2f}"

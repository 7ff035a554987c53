"""Windows and prices of models. Unknown is ``None``, never zero.

They come from genai-prices, a kept table that knows cached, tiered and dated prices. It is
imported at the first question, because it takes longer to import than all of this package.
`override` goes before it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

from alloy_nb.errors import ConfigError
from alloy_nb.usage import Cost, Usage

__all__ = [
    "ModelPrice",
    "context_window",
    "cost",
    "dearest",
    "models",
    "override",
    "overrides",
    "vendor_of",
]

# Our names of vendors -> those of genai-prices.
_IDS = {
    "anthropic": "anthropic",
    "openai": "openai",
    "gemini": "google",
    "xai": "x-ai",
    "deepseek": "deepseek",
    "mistral": "mistral",
    "groq": "groq",
    "together": "together",
    "openrouter": "openrouter",
}
_NAMES = {theirs: ours for ours, theirs in _IDS.items()}
# What a bare model name may stand for: the vendors that make models, not those that resell them.
_MAKERS = ("anthropic", "openai", "google", "x-ai", "deepseek", "mistral")


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """US dollars for a million tokens. Cached input without a price of its own costs as input."""

    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None

    def cost(self, usage: Usage) -> Decimal:
        """Return what this usage costs, in US dollars."""
        read, written = usage.cache_read_tokens, usage.cache_write_tokens
        plain = max(0, usage.input_tokens - read - written)
        total = (
            plain * self.input
            + read * (self.input if self.cache_read is None else self.cache_read)
            + written * (self.input if self.cache_write is None else self.cache_write)
            + usage.output_tokens * self.output
        )
        return total / 1_000_000


_DATED = r"-\d{8}|-\d{4}-\d{2}-\d{2}"

_prices: dict[str, ModelPrice] = {}
_windows: dict[str, int] = {}


def override(
    model: str, *, price: ModelPrice | None = None, context_window: int | None = None
) -> None:
    """Set the price or the window of ``vendor/model``, before what the table says.

    Raises:
        ConfigError: The window is not positive.
    """
    if context_window is not None and context_window <= 0:
        raise ConfigError(f"context_window of {model} must be positive, not {context_window}.")
    if price is not None:
        _prices[model] = price
    if context_window is not None:
        _windows[model] = context_window


def overrides() -> tuple[dict[str, ModelPrice], dict[str, int]]:
    """Return the prices and the windows that were set, by ``vendor/model``: for other processes."""
    return dict(_prices), dict(_windows)


def cost(provider: str, model: str, usage: Usage | None) -> Cost:
    """Return what a reply cost; unknown without a price, and incomplete without all counts."""
    if usage is None:
        return Cost.unknown()
    if usage.stated_cost is not None:
        return Cost(known=usage.stated_cost)
    price = _prices.get(f"{provider}/{model}")
    if price is not None:
        cost = Cost(known=price.cost(usage))
    else:
        cost = _listed_cost(provider, model, usage)
    # What was not counted was not priced: then the sum is only the part that is known.
    return cost + Cost.unknown() if usage.unreported else cost


def context_window(
    provider: str, model: str, overrides: Mapping[str, Any] | None = None
) -> int | None:
    """Return how many tokens the model can read and write together, where that is known.

    Args:
        provider: The vendor's name.
        model: The model's id.
        overrides: Windows by name, before all else: a number, or a mapping of ``limit`` and
            ``suffix_patterns``, regular expressions for what may follow the name. A dated variant
            (``-20260101``, ``-2026-01-01``) always may. Malformed entries are ignored.
    """
    if (own := _overridden(model, overrides or {})) is not None:
        return own
    if (own := _windows.get(f"{provider}/{model}")) is not None:
        return own
    found = _find(provider, model)
    window = getattr(found, "context_window", None)
    return window if isinstance(window, int) and window > 0 else None


def _overridden(model: str, overrides: Mapping[str, Any]) -> int | None:
    for name, value in overrides.items():
        given = value if isinstance(value, Mapping) else {"limit": value}
        limit, patterns = given.get("limit"), given.get("suffix_patterns", ())
        if not isinstance(name, str) or not isinstance(limit, int) or limit <= 0:
            continue
        known = [_DATED, *(p for p in patterns if isinstance(p, (str, re.Pattern)))]
        suffix = model.removeprefix(name) if model.startswith(name) else None
        if suffix == "" or (suffix and any(re.fullmatch(p, suffix) for p in known)):
            return limit
    return None


def dearest() -> ModelPrice:
    """Return the highest price of input and of output that is known, of whichever models."""
    listed = _dearest_listed()
    known = (listed, *_prices.values())
    return ModelPrice(max(p.input for p in known), max(p.output for p in known))


def vendor_of(model: str) -> str | None:
    """Return the vendor that makes a model of this name, or ``None`` where none is known.

    The table's rules find parts of names, which is right for a price. Here a key would go to who is
    found, so the whole name must be one that the table knows, or begin with one.
    """
    for maker in _MAKERS:
        found = _lookup(maker, model)
        if found is not None and _is_named(found.match, model.lower()):
            return _NAMES[maker]
    return None


def _is_named(rule: Any, name: str) -> bool:
    """Tell whether a rule of the table takes a name from its beginning, up to a border in it."""
    for inner in ("or_", "and_"):
        if hasattr(rule, inner):
            rules = getattr(rule, inner)
            return any(each.is_match(name) and _is_named(each, name) for each in rules)
    if (pattern := getattr(rule, "regex", None)) is not None:
        return str(pattern).startswith("^") and not str(pattern).startswith("^(?!")
    if (whole := getattr(rule, "equals", None)) is not None:
        return name == str(whole).lower()
    kinds = ("starts_with", "contains", "ends_with")
    part = next((str(getattr(rule, kind)) for kind in kinds if hasattr(rule, kind)), "").lower()
    rest = name.removeprefix(part)
    # No letter may go on: "claude-sonnet-4-6x" is no model, "claude-sonnet-4-6-20260101" is one.
    return bool(part) and name.startswith(part) and not rest[:1].isalpha()


def models(vendor: str) -> list[str]:
    """Return the ids that the table knows for a vendor, newest names last."""
    snapshot = _snapshot()
    wanted = _IDS.get(vendor)
    return sorted(
        info.id for p in snapshot.providers if p.id == wanted for info in p.models if info.id
    )


def _listed_cost(provider: str, model: str, usage: Usage) -> Cost:
    if _find(provider, model) is None:
        return Cost.unknown()
    rates = _rates(provider, model, int(time.time() // _RATES_SECONDS))
    if rates is not None and rates.hold_for(usage):
        return Cost(known=rates.input * usage.input_tokens + rates.output * usage.output_tokens)
    return _calculated(provider, model, usage)


@dataclass(frozen=True, slots=True)
class _Rates:
    """What a token costs where nothing is special: no cache, no search, not above a threshold.

    The table's own calculation takes a third of a millisecond, and a table of rows is priced three
    times a row. These are its own results, for as long as they are sums.
    """

    input: Decimal
    output: Decimal
    threshold: int | None

    def hold_for(self, usage: Usage) -> bool:
        """Return whether this usage costs so much a token."""
        special = (
            *(usage.cache_read_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens),
            usage.searches,
        )
        if any(special) or min(usage.input_tokens, usage.output_tokens) < 0:
            return False
        return self.threshold is None or usage.input_tokens < self.threshold


# Some prices change with the hour.
_RATES_SECONDS = 60


@lru_cache(maxsize=256)
def _rates(provider: str, model: str, _minute: int) -> _Rates | None:
    """Return the rates of a model, or ``None`` where its price is not a sum over its tokens."""
    prices = getattr(_find(provider, model), "prices", None)
    every = [entry.prices for entry in prices] if isinstance(prices, Sequence) else [prices]
    if not all(hasattr(price, "__dict__") for price in every):
        return None
    tiers = [tier for p in every for v in vars(p).values() for tier in getattr(v, "tiers", ())]
    threshold = min((int(tier.start) for tier in tiers), default=None)

    def known(read: int, written: int) -> Decimal | None:
        return _calculated(provider, model, Usage(input_tokens=read, output_tokens=written)).usd

    one, other, both = known(1000, 0), known(0, 1000), known(700, 300)
    if one is None or other is None or (threshold is not None and threshold <= 1000):
        return None
    rates = _Rates(one / 1000, other / 1000, threshold)
    return rates if both == 700 * rates.input + 300 * rates.output else None


def _calculated(provider: str, model: str, usage: Usage) -> Cost:
    from genai_prices import Usage as ListedUsage
    from genai_prices import calc_price

    counts: dict[str, Any] = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens or None,
        "cache_write_tokens": usage.cache_write_tokens or None,
        "cache_write_1h_tokens": usage.cache_write_1h_tokens or None,
        "web_searches": usage.searches or None,
    }
    try:
        price = calc_price(ListedUsage(**counts), model, provider_id=_IDS[provider])
    except (LookupError, ValueError):
        # The table knows the model but has no price for one of these units.
        return Cost.unknown()
    return Cost(known=price.total_price)


def _find(provider: str, model: str) -> Any:
    theirs = _IDS.get(provider)
    return _lookup(theirs, model) if theirs else None


@lru_cache(maxsize=256)
def _lookup(vendor: str, model: str) -> Any:
    try:
        _, info = _snapshot().find_provider_model(model, None, vendor, None)
    except LookupError:
        return None
    return info


@lru_cache(maxsize=1)
def _dearest_listed() -> ModelPrice:
    infos = [info for vendor in _snapshot().providers for info in vendor.models]
    # Prices that changed with time, or change with the hour, are lists.
    lists = [info.prices if isinstance(info.prices, list) else [info] for info in infos]
    prices = [entry.prices for entries in lists for entry in entries]
    return ModelPrice(
        max(_highest(getattr(p, "input_mtok", None)) for p in prices),
        max(_highest(getattr(p, "output_mtok", None)) for p in prices),
    )


def _highest(price: Any) -> Decimal:
    """Return a price, or the highest of one in tiers."""
    if price is None:
        return Decimal(0)
    tiers = (tier.price for tier in getattr(price, "tiers", ()))
    return max(Decimal(str(value)) for value in (getattr(price, "base", price), *tiers))


@lru_cache(maxsize=1)
def _snapshot() -> Any:
    from genai_prices import data_snapshot

    return data_snapshot.get_snapshot()

"""The words in which an agent's settings are given, and the fields that they become.

Most are fields of `Agent`. The others are options of the model, settings of a provider that is
given as text, and names that say the same in another unit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Protocol

from alloy_nb.engine.budget import Budget
from alloy_nb.engine.checks import (
    OPTIONS,
    PROVIDER_SETTINGS,
    RUN_SETTINGS,
    as_provider,
    checked,
    checked_option,
    positive,
    whole,
    wrong,
)
from alloy_nb.engine.retry import RetryPolicy
from alloy_nb.errors import ConfigError
from alloy_nb.providers.base import ModelOptions

__all__ = ["SETTINGS", "gathered"]


class Base(Protocol):
    """What new settings are put over."""

    @property
    def options(self) -> ModelOptions:
        """The options so far."""
        ...

    @property
    def retry(self) -> RetryPolicy:
        """The retries so far."""
        ...


def gathered(
    settings: Mapping[str, Any], fields: Iterable[str], base: Base | None = None
) -> dict[str, Any]:
    """Return the fields of an agent that these settings become; the agent itself checks them.

    Args:
        settings: In the words of `alloy_nb.run`.
        fields: The names of an agent's fields.
        base: The agent whose copy gets them: what they leave open stays as it is there.

    Raises:
        ConfigError: One of them is unknown, or cannot become a field.
    """
    known = {*fields, *SETTINGS}
    for name in settings:
        if name not in known:
            raise ConfigError(_unknown(name, known))
    out = {**settings}
    _rename(out)
    _provider(out)
    _options(out, base)
    _money(out)
    _retries(out, base)
    return out


# --- other names ----------------------------------------------------------------------------------


def _milliseconds(name: str, value: Any) -> Any:
    return positive("milliseconds")(name, value) / 1000


# Another name -> the setting, and what turns its unit into ours. The window of a conversation is
# called ``max_tokens`` where this package's forerunner is, and that name is kept.
_ALIASES: dict[str, tuple[str, Callable[[str, Any], Any]]] = {
    "max_tokens": ("context_budget", whole(1)),
    "timeout_ms": ("timeout", _milliseconds),
    "extended_thinking": ("thinking_budget", lambda _, value: _budget_tokens(value)),
    "max_budget_cents": ("max_cost", lambda name, value: _dollars(name, value) / 100),
}
_RETRIES = ("max_retries", "retry_backoff_ms")
SETTINGS = (*OPTIONS, *PROVIDER_SETTINGS, *_ALIASES, *_RETRIES, "max_cost")


def _rename(out: dict[str, Any]) -> None:
    for alias, (name, convert) in _ALIASES.items():
        if (value := out.pop(alias, None)) is None:
            continue
        if out.get(name) is not None:
            raise ConfigError(f"{alias} and {name} say the same: give one of them.")
        out[name] = convert(alias, value)


def _budget_tokens(thinking: Any) -> int:
    budget = thinking.get("budget_tokens") if isinstance(thinking, Mapping) else None
    if not isinstance(budget, int) or isinstance(budget, bool) or budget <= 0:
        expected = "{'budget_tokens': N} with a positive N (or use effort='medium')"
        raise wrong("extended_thinking", thinking, expected)
    return budget


# --- what becomes one field -----------------------------------------------------------------------


def _provider(out: dict[str, Any]) -> None:
    own = {name: out.pop(name, None) for name in PROVIDER_SETTINGS}
    given = {name: value for name, value in own.items() if value is not None}
    if given and "provider" not in out:
        names = ", ".join(given)
        raise ConfigError(f"{names}: give provider= too, to say whose setting it is.")
    if "provider" in out:
        out["provider"] = as_provider("provider", out["provider"], given)


def _options(out: dict[str, Any], base: Base | None) -> None:
    given = {name: checked_option(name, out.pop(name)) for name in OPTIONS if name in out}
    if not given:
        return
    before = out.get("options")
    if before is None:
        before = ModelOptions() if base is None else base.options
    out["options"] = replace(checked("options", before), **given)


def _money(out: dict[str, Any]) -> None:
    if (limit := out.pop("max_cost", None)) is None:
        return
    if out.get("budget") is not None:
        raise ConfigError("max_cost and budget say the same: give one of them.")
    out["budget"] = Budget(_dollars("max_cost", limit))


def _dollars(name: str, value: Any) -> Decimal:
    try:
        if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
            raise ArithmeticError
        amount = Decimal(str(value))
    except ArithmeticError:
        raise wrong(name, value, "an amount of money, such as 0.5") from None
    if not amount.is_finite() or amount < 0:
        raise wrong(name, value, "an amount of money from 0")
    return amount


def _retries(out: dict[str, Any], base: Base | None) -> None:
    changes: dict[str, Any] = {}
    if (retries := out.pop("max_retries", None)) is not None:
        changes["max_retries"] = whole(0)("max_retries", retries)
    if (backoff := out.pop("retry_backoff_ms", None)) is not None:
        changes["backoff"] = _milliseconds("retry_backoff_ms", backoff)
    if changes:
        before = out.get("retry") or (RetryPolicy() if base is None else base.retry)
        out["retry"] = replace(checked("retry", before), **changes)


def _unknown(name: str, known: Iterable[str]) -> str:
    names = sorted({*known, *RUN_SETTINGS})
    near = get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"Unknown setting {name!r}.{hint} The settings are: {', '.join(names)}."

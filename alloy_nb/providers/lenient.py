"""Reads fields of JSON that anyone may have sent: what is of another kind counts as absent."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

__all__ = ["count", "items", "mapping", "money", "offset", "string", "unreported"]


def string(value: Any) -> str:
    """Return a string, or an empty one."""
    return value if isinstance(value, str) else ""


def mapping(value: Any) -> dict[str, Any]:
    """Return an object, or an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """Return a list, or an empty one."""
    return value if isinstance(value, list) else []


def count(value: Any) -> int:
    """Return a positive whole number, or 0: an absurd count must never lower what was spent."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def unreported(*owed: Any) -> int:
    """Return 1 where a count that is owed is missing or absurd, else 0, as `Usage` counts it."""
    return 1 if None in map(offset, owed) else 0


def offset(value: Any) -> int | None:
    """Return a whole number from 0, or ``None``."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def money(value: Any) -> Decimal | None:
    """Return an amount from 0, or ``None``."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and amount >= 0 else None

"""A reply with an error status, before its wire has named it. Pure."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Failure"]


@dataclass(frozen=True, slots=True)
class Failure:
    """A reply with an error status, for the wire to name."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def request_id(self) -> str | None:
        """The vendor's id of the request, under whichever header it sends it."""
        for name in ("request-id", "x-request-id", "x-amzn-requestid", "cf-ray"):
            if name in self.headers:
                return self.headers[name]
        return None

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait, from ``retry-after-ms`` or ``retry-after`` (seconds or a date)."""
        if (milliseconds := _seconds(self.headers.get("retry-after-ms", ""))) is not None:
            return milliseconds / 1000
        value = self.headers.get("retry-after", "")
        return _seconds(value) if _is_number(value) else _seconds_until(value)


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _seconds(value: str) -> float | None:
    return float(value) if _is_number(value) and 0 <= float(value) < float("inf") else None


def _seconds_until(date: str) -> float | None:
    try:
        moment = email.utils.parsedate_to_datetime(date)
        return max(0.0, moment.timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None

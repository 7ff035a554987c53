"""A reply with an error status, before its wire has named it. Pure."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Failure", "seconds_until"]


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
        if _is_number(value):
            return _seconds(value)
        until = _moment(value)
        return None if until is None else seconds_until(until, self.headers)


def seconds_until(moment: float, headers: Mapping[str, str]) -> float:
    """Return the seconds from a reply to a moment of its server's clock; ours may be hours off."""
    now = _moment(headers.get("date", ""))
    return max(0.0, moment - (time.time() if now is None else now))


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _seconds(value: str) -> float | None:
    return float(value) if _is_number(value) and 0 <= float(value) < float("inf") else None


def _moment(date: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None

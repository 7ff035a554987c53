"""What every batch interface has: what is asked of it, how a batch stands, what came of a request.

A *batch wire* is a vendor's format, encoded and decoded without any networking; `client` sends
what it says. There is no second way to read a reply: a whole one is told as the events of a
streamed one, and goes through the vendor's own decoder and the one fold.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Literal, Protocol

from alloy_nb.errors import ProviderError, ServerFault, TimedOut
from alloy_nb.providers.fold import Reply
from alloy_nb.providers.lenient import string
from alloy_nb.providers.vendor import VendorProvider

__all__ = [
    "Ask",
    "BatchState",
    "BatchWire",
    "Outcome",
    "Result",
    "canceled",
    "checked_id",
    "expired",
]

# What may stand in an address: an id is a server's word, and must not lead anywhere else.
_ID = re.compile(r"[A-Za-z0-9_-]{1,256}")


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to a batch interface, under the vendor's address.

    Args:
        path: Where, without the host, so that a key never goes to another one.
        method: ``GET`` or ``POST``.
        body: What is sent.
        content_type: What that is.
        once: Whether it must not be sent a second time, since it makes something.
    """

    path: str
    method: str = "GET"
    body: bytes = b""
    content_type: str = "application/json"
    once: bool = False


@dataclass(frozen=True, slots=True)
class BatchState:
    """How a batch stands at the vendor.

    Args:
        id: The vendor's name of it.
        is_over: Whether nothing more will come of it.
        total: The requests in it.
        done: Those that were answered, or failed, as far as the vendor tells before the end.
        created: When it was made, by the vendor's clock, in seconds since 1970.
        results: The paths of what came of it.
        label: What we called it, where the vendor keeps that.
        failure: Why it was refused as a whole, as the vendor's own error, or ``None``.
        ended_early: Whether it ended before all was answered; then what its results do not have
            was not asked.
    """

    id: str
    is_over: bool
    total: int
    done: int
    created: float
    results: tuple[str, ...] = ()
    label: str | None = None
    failure: Mapping[str, Any] | None = None
    ended_early: Literal["", "expired", "canceled"] = ""


@dataclass(frozen=True, slots=True)
class Result:
    """A line of a batch's results: the body of a reply, or the error that came instead."""

    custom_id: str
    body: Mapping[str, Any] | None = None
    error: ProviderError | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one request: a reply or an error, never both."""

    custom_id: str
    reply: Reply | None = None
    error: ProviderError | None = None


class BatchWire(Protocol):
    """A vendor's batch format. It does no input or output."""

    most_requests: ClassVar[int]
    """How many requests a batch may have."""
    most_bytes: ClassVar[int]
    """How many bytes they may be together."""
    share: Decimal
    """What a request costs here, as a share of its price outside of a batch."""

    def line(self, custom_id: str, body: Mapping[str, Any]) -> bytes:
        """Return one request of a batch."""
        ...

    def upload(self, lines: Sequence[bytes], label: str) -> Ask | None:
        """Return what has to be sent before the batch can be made, or ``None``."""
        ...

    def create(self, lines: Sequence[bytes], label: str, uploaded: str | None) -> Ask:
        """Return what makes the batch; `uploaded` is the id of what was sent before."""
        ...

    def ask_state(self, id_: str) -> Ask:
        """Return what asks how a batch stands."""
        ...

    def ask_cancel(self, id_: str) -> Ask:
        """Return what ends a batch early."""
        ...

    def ask_list(self, after: str | None) -> Ask:
        """Return what lists batches, newest first, from the one after `after`."""
        ...

    def state(self, data: Mapping[str, Any]) -> BatchState:
        """Return what the vendor says of a batch."""
        ...

    def result(self, data: Mapping[str, Any], provider: VendorProvider) -> Result:
        """Return what a line of the results says."""
        ...

    def events(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return a whole reply as the events in which it would have been streamed."""
        ...


def checked_id(value: Any, what: str) -> str:
    """Return an id that may stand in an address.

    Raises:
        ServerFault: It may not.
    """
    id_ = string(value)
    if not _ID.fullmatch(id_):
        raise ServerFault(f"The vendor gave no usable id of {what}. Ask again.")
    return id_


def expired(provider: VendorProvider) -> TimedOut:
    """Return the error of a request that the vendor did not get to within the day."""
    return TimedOut(
        f"{provider.name}'s batch ended before this request's turn came; it cost nothing. Run it "
        "again.",
        provider=provider.name,
        model=provider.model,
    )


def canceled(provider: VendorProvider) -> ProviderError:
    """Return the error of a request whose batch somebody ended early."""
    return ProviderError(
        f"The batch at {provider.name} was canceled before this request's turn came; it cost "
        "nothing. Run it again.",
        provider=provider.name,
        model=provider.model,
    )

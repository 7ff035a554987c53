"""Anthropic's Message Batches. No networking here.

Source: the types of the official SDK, anthropic 2.11 (``anthropic.types.messages``), and
https://platform.claude.com/docs/en/build-with-claude/batch-processing, read 2026-11-21: 100,000
requests or 256 MB a batch; ids of requests are ``[a-zA-Z0-9_-]{1,64}``; all usage is charged at
half the price; what errored, was canceled or expired is not billed; results come in any order and
are kept for 29 days. Counts move only when the whole batch has ended.

A batch has no place for a label of ours. What tells it from others is in the ids of its requests,
and those can be read only when it has ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from alloy_nb.providers.batches.base import (
    Ask,
    BatchState,
    Result,
    canceled,
    checked_id,
    expired,
)
from alloy_nb.providers.lenient import count, items, mapping, string
from alloy_nb.providers.vendor import VendorProvider
from alloy_nb.providers.wire_json import dumps

__all__ = ["AnthropicBatches"]

_PATH = "/v1/messages/batches"
_COUNTS = ("processing", "succeeded", "errored", "canceled", "expired")


class AnthropicBatches:
    """The format of Message Batches."""

    most_requests: ClassVar[int] = 100_000
    most_bytes: ClassVar[int] = 256_000_000
    share = Decimal("0.5")

    def line(self, custom_id: str, body: Mapping[str, Any]) -> bytes:
        """Return one request of a batch."""
        return dumps({"custom_id": custom_id, "params": body})

    def upload(self, lines: Sequence[bytes], label: str) -> None:  # noqa: ARG002  # as the contract
        """Return nothing: the requests go with the batch."""
        return

    def create(self, lines: Sequence[bytes], label: str, uploaded: str | None) -> Ask:  # noqa: ARG002
        """Return what makes the batch."""
        body = b'{"requests":[' + b",".join(lines) + b"]}"
        return Ask(_PATH, "POST", body, once=True)

    def ask_state(self, id_: str) -> Ask:
        """Return what asks how a batch stands."""
        return Ask(f"{_PATH}/{id_}")

    def ask_cancel(self, id_: str) -> Ask:
        """Return what ends a batch early."""
        return Ask(f"{_PATH}/{id_}/cancel", "POST")

    def ask_list(self, after: str | None) -> Ask:
        """Return what lists batches, newest first."""
        return Ask(f"{_PATH}?limit=100" + (f"&after_id={after}" if after else ""))

    def state(self, data: Mapping[str, Any]) -> BatchState:
        """Return what the vendor says of a batch.

        The address of the results is made here, of the vendor's id: the one in ``results_url``
        could name another host, to which the key would go.
        """
        id_ = checked_id(data.get("id"), "a batch")
        counts = mapping(data.get("request_counts"))
        numbers = [count(counts.get(name)) for name in _COUNTS]
        is_over = data.get("processing_status") == "ended"
        return BatchState(
            id=id_,
            is_over=is_over,
            total=sum(numbers),
            done=sum(numbers[1:]),
            created=_moment(data.get("created_at")),
            results=(f"{_PATH}/{id_}/results",) if is_over else (),
        )

    def result(self, data: Mapping[str, Any], provider: VendorProvider) -> Result:
        """Return what a line of the results says."""
        id_, result = string(data.get("custom_id")), mapping(data.get("result"))
        match result.get("type"):
            case "succeeded":
                return Result(id_, body=mapping(result.get("message")))
            case "errored":
                told = mapping(result.get("error"))
                return Result(id_, error=provider.stream_error(told.get("error") or told))
            case "expired":
                return Result(id_, error=expired(provider))
            case "canceled":
                return Result(id_, error=canceled(provider))
        return Result(id_, error=provider.stream_error({"message": "a result of an unknown kind"}))

    def events(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return a whole message as the events in which it would have been streamed."""
        begun = {**body, "content": [], "stop_reason": None}
        out: list[dict[str, Any]] = [{"type": "message_start", "message": begun}]
        for index, block in enumerate(items(body.get("content"))):
            about = {"index": index}
            out.append({"type": "content_block_start", **about, "content_block": block})
            for citation in items(mapping(block).get("citations")):
                delta = {"type": "citations_delta", "citation": citation}
                out.append({"type": "content_block_delta", **about, "delta": delta})
            out.append({"type": "content_block_stop", **about})
        stop = {name: body.get(name) for name in ("stop_reason", "stop_sequence")}
        out.append({"type": "message_delta", "delta": stop, "usage": body.get("usage")})
        return [*out, {"type": "message_stop"}]


def _moment(value: Any) -> float:
    try:
        return datetime.fromisoformat(string(value)).timestamp()
    except ValueError:
        return 0.0

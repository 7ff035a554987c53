"""OpenAI's Batch interface, for Responses and for chat completions. No networking here.

Source: the types of the official SDK, openai 3.52 (``openai.types.batch``, ``resources.files``),
and https://platform.openai.com/docs/guides/batch, read 2026-11-21: a file of lines is uploaded with
the purpose ``batch``, then a batch is made of it; 50,000 requests or 200 MB; a day; half the price;
charged is what was completed, also in a batch that expired or was cancelled, of which the files
need not name the rest. What was answered is
in one file and what failed in another, each in any order; a line has ``response`` with the status,
or ``error`` with ``batch_expired``. Names of ours go into ``metadata``.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, Literal

from alloy_nb.errors import ProviderError
from alloy_nb.providers.batches.base import (
    Ask,
    BatchState,
    Result,
    canceled,
    checked_id,
    expired,
)
from alloy_nb.providers.lenient import count, items, mapping, offset, string
from alloy_nb.providers.vendor import VendorProvider
from alloy_nb.providers.wire_json import dumps

__all__ = ["OpenAIBatches"]

_OVER = frozenset({"failed", "completed", "expired", "cancelled"})
_EARLY: dict[str, Literal["expired", "canceled"]] = {
    "expired": "expired",
    "cancelled": "canceled",
}
_LABEL = "alloy"


class OpenAIBatches:
    """The format of OpenAI's batches.

    Args:
        endpoint: Where each request of a batch goes, such as ``/v1/responses``.
        share: What a request costs, as a share of its price outside of a batch.
    """

    most_requests: ClassVar[int] = 50_000
    most_bytes: ClassVar[int] = 200_000_000

    def __init__(self, endpoint: str, *, share: Decimal = Decimal("0.5")) -> None:
        self.share = share
        self._endpoint = endpoint
        self._root = endpoint.removesuffix("/responses").removesuffix("/chat/completions")

    def line(self, custom_id: str, body: Mapping[str, Any]) -> bytes:
        """Return one request of a batch."""
        asked = {"custom_id": custom_id, "method": "POST", "url": self._endpoint, "body": body}
        return dumps(asked)

    def upload(self, lines: Sequence[bytes], label: str) -> Ask:
        """Return the file of requests, as a form; one that is left behind does nothing."""
        border = f"alloy-{secrets.token_hex(16)}"
        head = (
            f"--{border}\r\n"
            'Content-Disposition: form-data; name="purpose"\r\n\r\n'
            "batch\r\n"
            f"--{border}\r\n"
            f'Content-Disposition: form-data; name="file"; filename="{label}.jsonl"\r\n'
            "Content-Type: application/jsonl\r\n\r\n"
        )
        body = b"".join((head.encode(), b"\n".join(lines), f"\r\n--{border}--\r\n".encode()))
        return Ask(f"{self._root}/files", "POST", body, f"multipart/form-data; boundary={border}")

    def create(self, lines: Sequence[bytes], label: str, uploaded: str | None) -> Ask:  # noqa: ARG002
        """Return what makes the batch of the file."""
        batch = {
            "input_file_id": uploaded,
            "endpoint": self._endpoint,
            "completion_window": "24h",
            "metadata": {_LABEL: label},
        }
        return Ask(f"{self._root}/batches", "POST", dumps(batch), once=True)

    def ask_state(self, id_: str) -> Ask:
        """Return what asks how a batch stands."""
        return Ask(f"{self._root}/batches/{id_}")

    def ask_cancel(self, id_: str) -> Ask:
        """Return what ends a batch early."""
        return Ask(f"{self._root}/batches/{id_}/cancel", "POST")

    def ask_list(self, after: str | None) -> Ask:
        """Return what lists batches, newest first."""
        return Ask(f"{self._root}/batches?limit=100" + (f"&after={after}" if after else ""))

    def state(self, data: Mapping[str, Any]) -> BatchState:
        """Return what the vendor says of a batch; what was answered before it ended counts."""
        status, counts = string(data.get("status")), mapping(data.get("request_counts"))
        files = [data.get("output_file_id"), data.get("error_file_id")]
        paths = [f"{self._root}/files/{checked_id(f, 'a file')}/content" for f in files if f]
        return BatchState(
            id=checked_id(data.get("id"), "a batch"),
            is_over=status in _OVER,
            total=count(counts.get("total")),
            done=count(counts.get("completed")) + count(counts.get("failed")),
            created=float(count(data.get("created_at"))),
            results=tuple(paths) if status in _OVER else (),
            label=string(mapping(data.get("metadata")).get(_LABEL)) or None,
            failure=_failure(data) if status == "failed" else None,
            ended_early=_EARLY.get(status, ""),
        )

    def result(self, data: Mapping[str, Any], provider: VendorProvider) -> Result:
        """Return what a line of the results says."""
        id_, response = string(data.get("custom_id")), mapping(data.get("response"))
        error = mapping(data.get("error"))
        if error.get("code") == "batch_expired":
            return Result(id_, error=expired(provider))
        if error.get("code") == "batch_cancelled":
            return Result(id_, error=canceled(provider))
        status = offset(response.get("status_code")) or 0
        if error or not response:
            return Result(id_, error=provider.stream_error(error or {"message": "no response"}))
        if status != 200:
            return Result(id_, error=_refused(response, status, provider))
        return Result(id_, body=mapping(response.get("body")))

    def events(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return a whole reply as the events in which it would have been streamed."""
        if self._endpoint.endswith("/responses"):
            return [{"type": "response.completed", "response": dict(body)}]
        return [dict(body)]  # a chunk may hold a whole message, as some servers send it


def _refused(response: Mapping[str, Any], status: int, provider: VendorProvider) -> ProviderError:
    from alloy_nb.providers.http import Failure

    headers = {"x-request-id": string(response.get("request_id"))}
    return provider.error(Failure(status, headers, dumps(response.get("body"))))


def _failure(data: Mapping[str, Any]) -> Mapping[str, Any]:
    told = [mapping(each) for each in items(mapping(data.get("errors")).get("data"))]
    said = "; ".join(dict.fromkeys(string(each.get("message")) for each in told[:5]))
    code = next((string(each.get("code")) for each in told), "")
    return {"code": code, "message": said or "the batch was refused"}

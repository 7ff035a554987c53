"""Exactly what was sent last, for whoever wants to see it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from alloy_nb.engine.middleware.base import Middleware, ModelNext
from alloy_nb.events import ModelEvent
from alloy_nb.messages import Message
from alloy_nb.providers.base import ModelRequest, Provider
from alloy_nb.providers.vendor import VendorProvider
from alloy_nb.secrets import redact

__all__ = ["Sent"]

_LINE = 96


@dataclass(slots=True)
class _Last:
    request: ModelRequest
    messages: Sequence[Message]
    """Grows while the run goes on: so many of them were sent."""
    count: int


class Sent(Middleware):
    """Notes each request; the innermost middleware of a session, so that it sees what goes out."""

    provider: Provider | None = None

    def __init__(self) -> None:
        self._last: _Last | None = None

    def model(self, request: ModelRequest, next: ModelNext) -> AsyncIterator[ModelEvent]:  # noqa: A002
        """Note a request."""
        self._last = _Last(request, request.messages, len(request.messages))
        return next(request)

    def text(self) -> str | None:
        """Return the last request as JSON, in its vendor's words, with keys masked."""
        if self._last is None:
            return None
        last = self._last
        messages = tuple(last.messages[: last.count])
        request = replace(last.request, messages=messages, memory={})
        if isinstance(self.provider, VendorProvider):
            body = json.loads(self.provider.body(request))
            head = f"POST {self.provider.url}\n"
        else:
            body = [message.model_dump(mode="json", exclude_none=True) for message in messages]
            head = ""
        return redact(head + _written(body))


def _written(value: Any, indent: int = 0) -> str:
    """Write JSON to be read: what fits into a line stands in one."""
    line = json.dumps(value, ensure_ascii=False)
    if indent + len(line) <= _LINE or not value or not isinstance(value, (dict, list)):
        return line
    inner = indent + 2
    if isinstance(value, list):
        parts = [_written(item, inner) for item in value]
    else:
        parts = [f"{json.dumps(key)}: {_written(item, inner)}" for key, item in value.items()]
    first, last = "[]" if isinstance(value, list) else "{}"
    lines = ",\n".join(" " * inner + part for part in parts)
    return f"{first}\n{lines}\n{' ' * indent}{last}"

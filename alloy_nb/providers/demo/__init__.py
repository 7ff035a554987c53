"""The built-in demo: scripted answers in the place of a model, for those who have no key yet.

It is Anthropic's wire over a transport in this process, so everything but the network runs as it
does with a real model: encoding, server-sent events, decoding, folding, tools, the cost.

It is honest: a number in its answer was computed by a tool, in the kernel, in this exchange. What
it says is in :mod:`alloy_nb.providers.demo.script`, how it is sent in
:mod:`alloy_nb.providers.demo.wire`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, ClassVar

import httpx

from alloy_nb.errors import ConfigError
from alloy_nb.providers import catalog
from alloy_nb.providers.anthropic import Anthropic
from alloy_nb.providers.base import ModelOptions, ModelRequest
from alloy_nb.providers.demo.script import answer
from alloy_nb.providers.demo.wire import sse, tokens
from alloy_nb.providers.handoff import Rules
from alloy_nb.providers.wire_json import dumps, loads

__all__ = ["Demo"]

# Deltas a second: about as fast as a quick model, slow enough to see that it streams.
DEFAULT_PACE = 120.0
PACE_VARIABLE = "ALLOY_DEMO_PACE"

_FREE = catalog.ModelPrice(input=Decimal(0), output=Decimal(0))
# Its own name: what it "signed" must never reach Anthropic, and the other way round.
_RULES = Rules(vendor="demo", call_id=re.compile(r"[a-zA-Z0-9_-]{1,64}"))


class Demo(Anthropic):
    """Scripted answers that really call the ``python`` tool. It needs no key and costs nothing.

    Args:
        model: The name that the answers carry.
        pace: Deltas a second; 0 waits for nothing. Without it ``ALLOY_DEMO_PACE`` is read.
        base_url: Refused: the demo is nowhere but here.
        options: Defaults of every request. The limit on output is kept, the rest has no effect.
        timeout: Seconds during which nothing may move a reply on.
        extra_body: Merged over every request's body last.

    Raises:
        ConfigError: The pace is negative or no number, or there is an address.

    Example:
        >>> Demo().name, Demo().key_source
        ('demo', 'no key needed')
    """

    name: ClassVar[str] = "demo"
    key_variable: ClassVar[str | None] = None
    base_url_variable: ClassVar[str | None] = None
    # A name that never resolves: whatever goes wrong, nothing leaves this machine.
    default_base_url: ClassVar[str] = "http://demo.invalid"
    context_window: ClassVar[int] = 200_000
    label: ClassVar[str] = "scripted answers, no model was asked"

    def __init__(
        self,
        model: str = "demo",
        *,
        pace: float | None = None,
        base_url: str | None = None,
        options: ModelOptions | None = None,
        timeout: float = 120.0,
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        if base_url is not None:
            raise ConfigError("The demo answers in this process: leave base_url out.")
        self.pace = _pace_of_environment() if pace is None else _checked(pace)
        # The transport touches no event loop before it is asked, and keeps nothing of one.
        # So this one client serves every loop, unlike those that hold connections.
        client = httpx.AsyncClient(transport=_Transport(self.pace), trust_env=False)
        super().__init__(
            model, options=options, timeout=timeout, extra_body=extra_body, http_client=client
        )
        catalog.override(f"demo/{model}", price=_FREE, context_window=self.context_window)

    def __repr__(self) -> str:
        return f"Demo(model={self.model!r}, pace={self.pace:g})"

    @property
    def needs_key(self) -> bool:
        """Nobody is asked, so there is no key."""
        return False

    def rules(self) -> Rules:
        """Return the rules of Anthropic's histories, under the demo's own name."""
        return _RULES

    def fields(self, request: ModelRequest) -> dict[str, Any]:
        """Return the body without its messages; the demo thinks unless it is told not to."""
        # It remembers what it was sent without being told to.
        fields = super().fields(replace(request, options=replace(request.options, cache=None)))
        if request.options.over(self.options).effort == "off":
            fields["thinking"] = {"type": "disabled"}
        return fields

    def finish(self, messages: list[bytes], options: ModelOptions) -> list[bytes]:  # noqa: ARG002  # no marks
        """Return the history as it is."""
        return messages


def _pace_of_environment() -> float:
    value = os.environ.get(PACE_VARIABLE, "").strip()
    return _checked(value) if value else DEFAULT_PACE


def _checked(pace: float | str) -> float:
    try:
        number = float(pace)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise ConfigError(
            f"The demo's pace is a number of tokens a second, or 0 for no waiting, not {pace!r}. "
            f"Set it with {PACE_VARIABLE} or pace=."
        )
    return number


class _Transport(httpx.AsyncBaseTransport):
    """Answers requests in this process, in the bytes that Anthropic's server would send."""

    def __init__(self, pace: float) -> None:
        self._delay = 1 / pace if pace else 0.0
        self._cache = _PromptCache()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raw = await request.aread()
        body = loads(raw)
        identity = hashlib.sha256(raw).hexdigest()[:20]
        sent, cached = self._cache.take(_parts(body))
        events = sse(
            answer(body, identity),
            identity=identity,
            model=str(body.get("model")),
            input_tokens=tokens(sent) - tokens(cached),
            cached_tokens=tokens(cached),
            max_tokens=body.get("max_tokens"),
        )
        headers = {"content-type": "text/event-stream", "request-id": f"req_demo_{identity}"}
        return httpx.Response(200, headers=headers, stream=_Paced(events, self._delay))


class _Paced(httpx.AsyncByteStream):
    """Sends one event after another, at a model's pace."""

    def __init__(self, events: Iterator[bytes], delay: float) -> None:
        self._events = events
        self._delay = delay

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for event in self._events:
            # Also without a delay others get their turn, as they would with a network.
            await asyncio.sleep(self._delay)
            yield event


def _parts(body: Mapping[str, Any]) -> list[bytes]:
    """Return what a model reads, in its order: the tools and the system prompt, each message."""
    head = {name: body[name] for name in ("tools", "system") if name in body}
    return [dumps(part) for part in (head, *body.get("messages", ()))]


class _PromptCache:
    """Knows which beginnings of a prompt were sent before, as a vendor's prompt cache does."""

    _ENTRIES = 4096

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def take(self, parts: Sequence[bytes]) -> tuple[int, int]:
        """Return the size of the prompt and of its longest known beginning; then know all of it."""
        digest = hashlib.sha256()
        size = cached = 0
        for part in parts:
            digest.update(part)
            size += len(part)
            key = digest.digest()
            if key in self._seen:
                cached = size
                self._seen.move_to_end(key)
            self._seen[key] = None
        while len(self._seen) > self._ENTRIES:
            self._seen.popitem(last=False)
        return size, cached

"""What a batch wire says, sent over the one transport with a provider's address and key."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from alloy_nb.errors import ConfigError, ProviderError, ServerFault, StreamTruncated
from alloy_nb.providers.base import ModelRequest, Provider
from alloy_nb.providers.batches.base import Ask, BatchState, BatchWire, Outcome, checked_id
from alloy_nb.providers.decoding import ReplyDecoder
from alloy_nb.providers.fold import Reply, ReplyBuilder
from alloy_nb.providers.lenient import items, mapping, string
from alloy_nb.providers.vendor import VendorProvider
from alloy_nb.providers.wire_json import dumps, loads

__all__ = ["Batches", "batches_of"]

# More than any vendor's page of a hundred batches.
_MOST_JSON = 16_000_000
# A line holds one reply; more is no line.
_MOST_LINE = 64_000_000
# A vendor has to take in what was uploaded before it answers: this many bytes a second, at least.
_SLOWEST = 100_000
_PAGES = 50


def batches_of(provider: Provider) -> Batches:
    """Return the batch interface of a provider.

    Raises:
        ConfigError: It has none that is known here.
    """
    from alloy_nb.providers.anthropic import Anthropic
    from alloy_nb.providers.batches.anthropic import AnthropicBatches
    from alloy_nb.providers.batches.openai import OpenAIBatches
    from alloy_nb.providers.chat import OpenAICompat
    from alloy_nb.providers.responses import OpenAI

    if isinstance(provider, Anthropic) and provider.name == Anthropic.name:
        return Batches(provider, AnthropicBatches())
    if isinstance(provider, OpenAI) and provider.name == OpenAI.name:
        return Batches(provider, OpenAIBatches(provider.path))
    if isinstance(provider, OpenAICompat) and provider.path.endswith("/chat/completions"):
        # Whether another server sells its batches for less is not known: the whole price counts.
        return Batches(provider, OpenAIBatches(provider.path, share=Decimal(1)))
    raise ConfigError(
        f"{provider.name} has no batch interface that is known here: leave mode= out, or take a "
        "model of anthropic, openai, or a server with OpenAI's chat completions and batches."
    )


class Batches:
    """The batch interface of one provider: make batches, ask how they stand, read their results.

    It never waits and never retries. What makes something is sent over a new connection and never
    twice: when it fails without an answer, the batch may be there all the same (see `find`).
    """

    def __init__(self, provider: VendorProvider, wire: BatchWire) -> None:
        self.provider = provider
        self.wire = wire

    def line(self, custom_id: str, request: ModelRequest) -> bytes:
        """Return a request as it stands in a batch: what it would be live, but not streamed."""
        self.provider.check(request.options.over(self.provider.options))
        fields: dict[str, Any] = loads(self.provider.body(request))
        for name in ("stream", "stream_options"):
            fields.pop(name, None)
        return self.wire.line(custom_id, fields)

    async def upload(self, lines: Sequence[bytes], label: str) -> str | None:
        """Send what has to be there before a batch can be made; return the vendor's id of it."""
        ask = self.wire.upload(lines, label)
        return None if ask is None else checked_id((await self._json(ask)).get("id"), "a file")

    async def create(self, lines: Sequence[bytes], label: str, uploaded: str | None) -> BatchState:
        """Make a batch; from here on it costs."""
        return self.wire.state(await self._json(self.wire.create(lines, label, uploaded)))

    async def state(self, id_: str) -> BatchState:
        """Return how a batch stands."""
        return self.wire.state(await self._json(self.wire.ask_state(checked_id(id_, "a batch"))))

    async def cancel(self, id_: str) -> BatchState:
        """End a batch early; what was answered by then is paid, and can be read."""
        return self.wire.state(await self._json(self.wire.ask_cancel(checked_id(id_, "a batch"))))

    async def since(self, moment: float) -> AsyncGenerator[BatchState, None]:
        """Yield the batches that were made after a moment of the vendor's clock, newest first."""
        after: str | None = None
        for _ in range(_PAGES):
            page = await self._json(self.wire.ask_list(after))
            states = [self.wire.state(mapping(each)) for each in items(page.get("data"))]
            for state in states:
                if state.created < moment:
                    return
                yield state
            if not states or not page.get("has_more"):
                return
            after = states[-1].id

    async def outcomes(self, state: BatchState) -> AsyncGenerator[Outcome, None]:
        """Yield what came of each request of a batch that is over, in any order.

        Raises:
            StreamTruncated: The results were cut; what was whole of them has been yielded.
        """
        for path in state.results:
            async with contextlib.aclosing(self._lines(Ask(path))) as lines:
                async for data in lines:
                    yield self._outcome(data)

    async def first_id(self, state: BatchState) -> str | None:
        """Return our id of one request of a batch that is over, which tells whose batch it is."""
        for path in state.results:
            async with contextlib.aclosing(self._lines(Ask(path))) as lines:
                async for data in lines:
                    return string(data.get("custom_id")) or None
        return None

    def _outcome(self, data: Mapping[str, Any]) -> Outcome:
        try:
            result = self.wire.result(data, self.provider)
            if result.error is not None or result.body is None:
                return Outcome(result.custom_id, error=result.error)
            return Outcome(result.custom_id, reply=self._folded(self.wire.events(result.body)))
        except ProviderError as error:  # the reply itself says that it failed
            return Outcome(string(data.get("custom_id")), error=error)

    def _folded(self, events: Iterable[dict[str, Any]]) -> Reply:
        provider = self.provider
        about = {"provider": provider.name, "model": provider.model}
        decoder = ReplyDecoder(provider.decoder(), host=provider.host, **about)
        builder = ReplyBuilder(**about)
        told = [decoder.feed(b"data: " + dumps(event) + b"\n\n") or [] for event in events]
        for event in (event for some in told for event in some):
            builder.feed(event)
        if decoder.fault is None and not decoder.ended:
            for event in decoder.close():
                builder.feed(event)
        if decoder.fault is not None:
            decoder.fault.partial = builder.partial()
            raise decoder.fault.with_traceback(None) from None
        return builder.done()

    async def _json(self, ask: Ask) -> dict[str, Any]:
        # To the end, so that the connection can be used again.
        (value,) = [value async for value in self._sent(ask, _Whole(self.provider))]
        return value

    def _lines(self, ask: Ask) -> AsyncGenerator[dict[str, Any], None]:
        return self._sent(ask, _Lines(self.provider))

    def _sent(self, ask: Ask, reading: _Whole | _Lines) -> AsyncGenerator[dict[str, Any], None]:
        from alloy_nb.providers.http import stream_events

        provider = self.provider
        url = provider.base_url + ask.path
        seconds = max(provider.timeout, len(ask.body) / _SLOWEST)
        call = provider.call(
            url,
            ask.body,
            provider.options,
            deadline=None,
            method=ask.method,
            once=ask.once,
            kind="",
            progress_seconds=seconds,
        )
        headers = {"content-type": ask.content_type, "accept": "*/*"}
        return stream_events(replace(call, headers={**call.headers, **headers}), reading)


class _Whole:
    """Reads one JSON object."""

    def __init__(self, provider: VendorProvider) -> None:
        self.fault: ProviderError | None = None
        self.ended = False
        self._provider = provider
        self._body = bytearray()

    def feed(self, chunk: bytes) -> list[dict[str, Any]]:
        """Take bytes; what they are is known at the end."""
        self._body += chunk
        if len(self._body) > _MOST_JSON:
            self.fault = _unreadable(self._provider, "sent more than any answer is")
        return []

    def close(self) -> list[dict[str, Any]]:
        """Return the object."""
        try:
            value = loads(bytes(self._body))
        except ValueError:
            value = None
        if not isinstance(value, dict):
            self.fault = _unreadable(self._provider, "sent an answer that is no JSON")
            return []
        self.ended = True
        return [value]


class _Lines:
    """Reads JSON objects, one a line; a line that is none is left out, and said at the end."""

    def __init__(self, provider: VendorProvider) -> None:
        self.fault: ProviderError | None = None
        self.ended = False
        self._provider = provider
        self._rest = bytearray()
        self._broken = 0

    def feed(self, chunk: bytes) -> list[dict[str, Any]]:
        """Return the lines that are whole now."""
        self._rest += chunk
        *lines, rest = self._rest.split(b"\n")
        self._rest = rest
        if len(rest) > _MOST_LINE:
            self.fault = _unreadable(self._provider, "sent a line longer than any reply")
        return self._read(lines)

    def close(self) -> list[dict[str, Any]]:
        """Return the last line, which may lack its end."""
        last = self._read([self._rest])
        self.ended = not self._broken
        if self._broken:
            self.fault = StreamTruncated(
                f"The results of a batch of {self._provider.name} were cut. Run it again to fetch "
                "the rest; nothing is asked twice.",
                provider=self._provider.name,
                model=self._provider.model,
            )
        return last

    def _read(self, lines: Iterable[bytearray]) -> list[dict[str, Any]]:
        read: list[dict[str, Any]] = []
        for line in lines:
            if not line.strip():
                continue
            try:
                value = loads(bytes(line))
            except ValueError:
                value = None
            if isinstance(value, dict):
                read.append(value)
            else:
                self._broken += 1
        return read


def _unreadable(provider: VendorProvider, what: str) -> ServerFault:
    return ServerFault(
        f"{provider.name} ({provider.base_url}) {what}. Is base_url= the address of its interface?",
        provider=provider.name,
        model=provider.model,
    )

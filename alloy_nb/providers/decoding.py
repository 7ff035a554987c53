"""From the bytes of a reply to `ModelEvent`, and the proof that the reply was whole.

::

    bytes -> SSEDecoder -> JSON -> the wire's Decoder -> events
                                   open ──> ended     the format's terminal event came
                                        └─> failed    an error, broken JSON, or the bytes ended

The events do not depend on how the bytes were cut. No networking here.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from pydantic_core import from_json

from alloy_nb.errors import ProviderError, StreamTruncated
from alloy_nb.events import ModelEvent, ReplyStarted
from alloy_nb.providers.base import Decoder
from alloy_nb.providers.sse import EventTooLarge, SSEDecoder
from alloy_nb.providers.wire_json import SurrogateJoiner, loads, mended

__all__ = ["Reading", "ReplyDecoder"]

Read = TypeVar("Read")


class Reading(Protocol[Read]):
    """What the transport feeds the bytes of one reply to, and asks whether it was whole."""

    fault: ProviderError | None

    @property
    def ended(self) -> bool:
        """Whether the reply is whole."""
        ...

    def feed(self, chunk: bytes) -> list[Read] | None:
        """Return what these bytes are; ``None`` where nothing moved the reply on."""
        ...

    def close(self) -> list[Read]:
        """Take note that the bytes ended, and return the last of it; look at `fault` then."""
        ...


class ReplyDecoder:
    """Decodes one reply. `provider` and `model` name it in errors; `host` is where it was asked."""

    def __init__(
        self, decoder: Decoder, *, provider: str, model: str, host: str | None = None
    ) -> None:
        self._decoder = decoder
        self._sse = SSEDecoder()
        self._surrogates: SurrogateJoiner | None = None
        self._provider = provider
        self._model = model
        self._host = host
        self.fault: ProviderError | None = None

    @property
    def ended(self) -> bool:
        """Whether the terminal event came."""
        return self._decoder.ended

    def feed(self, chunk: bytes) -> list[ModelEvent] | None:
        """Return the events in these bytes; ``None`` where nothing moved the reply on.

        A comment moves nothing on, so a server that sends only keep-alives runs into its limit.
        What went wrong is in `fault` afterwards: events that came before it in the same bytes
        are not lost.
        """
        try:
            blocks = self._sse.feed(chunk)
        except EventTooLarge as error:
            self.fault = self._truncated(f"sent {error}")
            return []
        return self._decode(blocks) if blocks else None

    def close(self) -> list[ModelEvent]:
        """Take note that the bytes ended, and return the last events; look at `fault` then."""
        events = self._decode(self._sse.close())
        if self.fault is None:
            try:
                tail = self._decoder.close()
            except ProviderError as error:
                self.fault = error
                return events
            events.extend(self._surrogates.join(tail) if self._surrogates else tail)
            if not self._decoder.ended:
                self.fault = self._truncated("ended the answer without its last event")
        return events

    def _decode(self, blocks: list[tuple[str | None, bytes]]) -> list[ModelEvent]:
        events: list[ModelEvent] = []
        decoder = self._decoder
        try:
            for name, data in blocks:
                if decoder.ended:
                    break  # what follows counts no more when it comes in the same bytes
                if data == b"[DONE]":
                    events.extend(decoder.feed("[DONE]", {}))
                elif isinstance(value := self._loads(data), dict):
                    events.extend(decoder.feed(name, value))
        except ProviderError as error:
            self.fault = error
        if self._host is not None and events:
            events[:1] = self._placed(events[0], self._host)
            self._host = None
        return self._surrogates.join(events) if self._surrogates else events

    def _placed(self, first: ModelEvent, host: str) -> list[ModelEvent]:
        """Say with the first event where the reply comes from, whatever it begins with."""
        if isinstance(first, ReplyStarted):
            return [ReplyStarted(first.id, first.model, host)]
        return [ReplyStarted(host=host), first]

    def _loads(self, data: bytes) -> Any:
        try:
            return from_json(data)
        except ValueError:
            if not data.strip():
                return None  # a keep-alive of servers that do not know comments
        try:
            value = loads(data)
        except ValueError:
            raise self._truncated("sent an event that is no JSON") from None
        # What only the lenient parser reads may hold halves of a character.
        self._surrogates = self._surrogates or SurrogateJoiner()
        return mended(value)

    def _truncated(self, what: str) -> StreamTruncated:
        return StreamTruncated(
            f"{self._provider} {what}: the answer is incomplete and no tool of it was run. "
            "Ask again.",
            provider=self._provider,
            model=self._model,
        )

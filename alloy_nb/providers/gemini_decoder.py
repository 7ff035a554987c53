"""A reply in Gemini's format, decoded. No networking here.

What is asked in this format is in `gemini`. Source: https://ai.google.dev/api/generate-content and
the types of the official SDK, google-genai 3.4, read 2026-11.

Every chunk holds whole parts, so neighbours of one kind are joined to one block: as blocks of their
own they would tear words apart. A reply ends with a finish reason and the end of the bytes; there
is no event for the end alone.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from alloy_nb.errors import BadRequest, ProviderError
from alloy_nb.events import (
    BlockSealed,
    BlockStarted,
    CitationAdded,
    ModelEvent,
    ReplyStarted,
    Stopped,
    TextDelta,
    ThinkingDelta,
    ToolInputDelta,
    UsageReported,
)
from alloy_nb.messages import Citation, Image, Opaque, StopReason
from alloy_nb.providers.lenient import count, items, mapping, offset, string
from alloy_nb.providers.wire_json import dumps
from alloy_nb.usage import Usage

__all__ = ["MADE_UP", "GeminiDecoder"]

_STOPS: Mapping[str, StopReason] = {
    "STOP": StopReason.END_TURN,
    "MAX_TOKENS": StopReason.MAX_TOKENS,
    "SAFETY": StopReason.REFUSAL,
    "RECITATION": StopReason.REFUSAL,
    "BLOCKLIST": StopReason.REFUSAL,
    "PROHIBITED_CONTENT": StopReason.REFUSAL,
    "SPII": StopReason.REFUSAL,
    "IMAGE_SAFETY": StopReason.REFUSAL,
    "IMAGE_PROHIBITED_CONTENT": StopReason.REFUSAL,
    "LANGUAGE": StopReason.REFUSAL,
    "MODEL_ARMOR": StopReason.REFUSAL,
}
# Marks an id that the model did not send: neither its call nor its result goes back with one.
MADE_UP = "alloy_"
# Reasons for which there is no answer to show: the model's output could not be used.
_BROKEN = ("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS")


class GeminiDecoder:
    """Decodes one reply."""

    def __init__(self, fail: Callable[[Any], ProviderError], *, vendor: str) -> None:
        self.ended = False
        self._fail = fail
        self._vendor = vendor
        self._blocks = 0
        self._current: tuple[str, int] | None = None
        self._signature: str | None = None
        self._said: dict[int, list[str]] = {}  # the text of each text block, for byte offsets
        self._order: list[int] = []  # text blocks, in order
        self._stop: tuple[StopReason, str | None] | None = None
        self._called = False
        self._started = False
        self._cited: set[tuple[Any, ...]] = set()

    def feed(self, name: str | None, data: dict[str, Any]) -> list[ModelEvent]:  # noqa: ARG002
        """Return what one chunk means."""
        if data.get("error"):
            raise self._fail(data["error"])
        events: list[ModelEvent] = []
        if not self._started:
            self._started = True
            model = string(data.get("modelVersion")) or None
            events.append(ReplyStarted(string(data.get("responseId")) or None, model))
        candidates = items(data.get("candidates"))
        for candidate in candidates:
            if isinstance(candidate, dict) and candidate.get("index") in (0, None):
                events += self._candidate(candidate)
        if isinstance(usage := data.get("usageMetadata"), dict):
            events.append(UsageReported(_usage(usage)))
        blocked = string(mapping(data.get("promptFeedback")).get("blockReason"))
        if blocked and not candidates:
            raise self._refused_prompt(blocked)
        return events

    def close(self) -> list[ModelEvent]:
        """End the reply where the bytes end, if a finish reason came."""
        if self.ended or self._stop is None:
            return []
        self.ended = True
        reason, detail = self._stop
        if self._called and reason is StopReason.END_TURN:
            reason = StopReason.TOOL_USE
        return [*self._seal(), Stopped(reason, detail)]

    def _candidate(self, candidate: dict[str, Any]) -> list[ModelEvent]:
        events: list[ModelEvent] = []
        for part in items(mapping(candidate.get("content")).get("parts")):
            if isinstance(part, dict):
                events += self._part(part)
        if isinstance(grounding := candidate.get("groundingMetadata"), dict):
            events += self._ground(grounding)
        if reason := string(candidate.get("finishReason")):
            if reason in _BROKEN:
                why = string(candidate.get("finishMessage")) or reason
                raise self._fail({"status": "INTERNAL", "message": why})
            known = _STOPS.get(reason)
            self._stop = (known or StopReason.END_TURN, None if reason == "STOP" else reason)
        return events

    # --- parts ------------------------------------------------------------------------------------

    def _part(self, part: dict[str, Any]) -> list[ModelEvent]:
        signature = string(part.get("thoughtSignature")) or None
        if isinstance(text := part.get("text"), str):
            return self._say("thinking" if part.get("thought") else "text", text, signature)
        if isinstance(call := part.get("functionCall"), dict):
            return self._call(call, signature)
        if isinstance(blob := part.get("inlineData"), dict):
            kind = string(blob.get("mimeType"))
            if kind.startswith("image/"):
                picture = Image(media_type=kind, data=string(blob.get("data")))
                return self._whole(BlockSealed(0, block=picture), "image")
        block = Opaque(vendor=self._vendor, raw=dict(part))
        return self._whole(BlockSealed(0, block=block), "opaque", _kind_of(part))

    def _say(self, kind: str, text: str, signature: str | None) -> list[ModelEvent]:
        events: list[ModelEvent] = []
        if self._current is None or self._current[0] != kind:
            if not text and signature is None:
                return []
            events = self._seal()
            index = self._begin()
            self._current = (kind, index)
            events.append(BlockStarted(index, kind))
            if kind == "text":
                self._said[index] = []
                self._order.append(index)
        index = self._current[1] if self._current else 0
        if signature is not None:
            self._signature = signature
        if not text:
            return events
        if kind == "text":
            self._said[index].append(text)
            return [*events, TextDelta(index, text)]
        return [*events, ThinkingDelta(index, text)]

    def _call(self, call: dict[str, Any], signature: str | None) -> list[ModelEvent]:
        self._called = True
        events = self._seal()
        index = self._begin()
        # Not every model sends ids; one is made so that the result can be matched.
        id_ = string(call.get("id")) or f"{MADE_UP}{uuid.uuid4().hex[:20]}"
        events.append(BlockStarted(index, "tool_call", id_, string(call.get("name"))))
        events.append(ToolInputDelta(index, dumps(mapping(call.get("args"))).decode()))
        replay = {"thoughtSignature": signature} if signature is not None else None
        return [*events, BlockSealed(index, replay=replay)]

    def _whole(self, sealed: BlockSealed, kind: str, name: str | None = None) -> list[ModelEvent]:
        events = self._seal()
        index = self._begin()
        return [
            *events,
            BlockStarted(index, kind, name=name),
            BlockSealed(index, block=sealed.block),
        ]

    def _seal(self) -> list[ModelEvent]:
        if self._current is None:
            return []
        index = self._current[1]
        self._current = None
        replay = {"thoughtSignature": self._signature} if self._signature else None
        self._signature = None
        return [BlockSealed(index, replay=replay)]

    def _begin(self) -> int:
        self._blocks += 1
        return self._blocks - 1

    # --- sources ----------------------------------------------------------------------------------

    def _ground(self, grounding: dict[str, Any]) -> list[ModelEvent]:
        """Anchor sources to the text that they support.

        Offsets count bytes of UTF-8 over the whole answer, so they are turned into characters of
        the block that they fall into.
        """
        chunks = items(grounding.get("groundingChunks"))
        events: list[ModelEvent] = []
        for support in items(grounding.get("groundingSupports")):
            segment = mapping(mapping(support).get("segment"))
            for number in items(mapping(support).get("groundingChunkIndices")):
                if isinstance(number, int) and 0 <= number < len(chunks):
                    events += self._cite(mapping(chunks[number]), segment)
        supported = {mark[0] for mark in self._cited}
        for chunk in chunks:
            source = _source(mapping(chunk))
            if source["url"] not in supported and self._order:
                events += self._cite(mapping(chunk), {})
        return events

    def _cite(self, chunk: dict[str, Any], segment: dict[str, Any]) -> list[ModelEvent]:
        if not self._order:
            return []
        index, start, end = self._place(segment)
        source = _source(chunk)
        mark = (source["url"], index, start, end)
        if mark in self._cited:
            return []
        self._cited.add(mark)
        citation = Citation(
            kind="grounding",
            url=source["url"],
            title=source["title"],
            quote=string(segment.get("text")) or None,
            start=start,
            end=end,
            raw={"chunk": chunk, "segment": segment},
        )
        return [CitationAdded(index, citation)]

    def _place(self, segment: dict[str, Any]) -> tuple[int, int | None, int | None]:
        start, end = offset(segment.get("startIndex")) or 0, offset(segment.get("endIndex"))
        if end is None:
            return self._order[-1], None, None
        for index in self._order:
            said = "".join(self._said[index]).encode("utf-8", "replace")
            if end <= len(said):
                return index, _characters(said, start), _characters(said, end)
            start, end = max(0, start - len(said)), end - len(said)
        return self._order[-1], None, None

    def _refused_prompt(self, reason: str) -> ProviderError:
        return BadRequest(
            f"{self._vendor} refused the prompt ({reason}). Ask in other words.",
            provider=self._vendor,
        )


def _characters(data: bytes, end: int) -> int:
    return len(data[:end].decode("utf-8", "ignore"))


def _source(chunk: dict[str, Any]) -> dict[str, str | None]:
    for kind in ("web", "retrievedContext", "maps", "image"):
        if isinstance(found := chunk.get(kind), dict):
            url = string(found.get("uri")) or string(found.get("sourceUri")) or None
            return {"url": url, "title": string(found.get("title")) or None}
    return {"url": None, "title": None}


def _kind_of(part: dict[str, Any]) -> str:
    return next((name for name in part if name not in ("thought", "thoughtSignature")), "part")


def _usage(usage: dict[str, Any]) -> Usage:
    thoughts = count(usage.get("thoughtsTokenCount"))
    return Usage(
        input_tokens=count(usage.get("promptTokenCount"))
        + count(usage.get("toolUsePromptTokenCount")),
        output_tokens=count(usage.get("candidatesTokenCount")) + thoughts,
        cache_read_tokens=count(usage.get("cachedContentTokenCount")),
        reasoning_tokens=thoughts,
        raw=dict(usage),
    )

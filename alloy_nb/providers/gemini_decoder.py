"""A reply in Gemini's format, decoded. No networking here.

What is asked in this format is in `gemini`. Source: https://ai.google.dev/api/generate-content,
.../gemini-api/docs/thought-signatures, .../docs/google-search and the types of the official SDK,
google-genai 3.4, read 2026-11-21.

Every chunk holds whole parts, so neighbours of one kind are joined to one block: as blocks of their
own they would tear words apart. But a signature goes back on exactly the part that it came with,
so a block remembers where its signed parts were (`signed_parts`). A reply ends with a finish
reason and the end of the bytes; there is no event for the end alone.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import to_json

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
from alloy_nb.messages import Block, Citation, Image, Opaque, StopReason
from alloy_nb.providers.lenient import count, items, mapping, offset, string, unreported
from alloy_nb.providers.wire_json import dumps
from alloy_nb.usage import Usage

__all__ = ["MADE_UP", "GeminiDecoder", "signed_parts"]

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
    "IMAGE_RECITATION": StopReason.REFUSAL,
    "LANGUAGE": StopReason.REFUSAL,
    "MODEL_ARMOR": StopReason.REFUSAL,
    "ESCALATION": StopReason.REFUSAL,
    "PUP_LIMITED_DISABLED": StopReason.REFUSAL,
    "CONTINUATION": StopReason.MAX_TOKENS,
}
# The value of a field that was not set: the reply goes on.
_NOT_YET = "FINISH_REASON_UNSPECIFIED"
# Marks an id that the model did not send: neither its call nor its result goes back with one.
MADE_UP = "alloy_"
# Reasons for which there is no answer: the model's output, or our request, could not be used.
_BROKEN: Mapping[str, str] = {
    "MALFORMED_FUNCTION_CALL": "INTERNAL",
    "MALFORMED_RESPONSE": "INTERNAL",
    "UNEXPECTED_TOOL_CALL": "INTERNAL",
    "TOO_MANY_TOOL_CALLS": "INTERNAL",
    "MISSING_THOUGHT_SIGNATURE": "INVALID_ARGUMENT",
}


def signed_parts(text: str, replay: Mapping[str, Any] | None) -> list[tuple[str, str | None]]:
    """Return a block's text as the parts that it came in, each with its signature.

    Parts without one are joined. A text that was edited since is one part without a signature.
    """
    replay = replay or {}
    if isinstance(signature := replay.get("thoughtSignature"), str):
        return [(text, signature)]
    parts: list[tuple[str, str | None]] = []
    start = 0
    for entry in items(replay.get("parts")):
        if not isinstance(entry, (list, tuple)) or len(entry) != 2:
            return [(text, None)]
        length = count(entry[0])
        parts.append((text[start : start + length], string(entry[1]) or None))
        start += length
    return parts if parts and start == len(text) else [(text, None)]


class GeminiDecoder:
    """Decodes one reply."""

    def __init__(self, fail: Callable[[Any], ProviderError], *, vendor: str) -> None:
        self.ended = False
        self._fail = fail
        self._vendor = vendor
        self._blocks = 0
        self._current: tuple[str, int] | None = None
        self._parts: list[tuple[int, str | None]] = []  # of the current block: length, signature
        self._length = 0  # of what the current block said before its first signature
        self._said: dict[int, list[str]] = {}  # the text of each text block, in order
        self._grounding: dict[str, Any] = {}
        self._stop: tuple[StopReason, str | None] | None = None
        self._called = False
        self._started = False
        self._cited: set[tuple[Any, ...]] = set()
        self._fault: ProviderError | None = None
        self._usage: dict[str, Any] | None = None

    def feed(self, name: str | None, data: dict[str, Any]) -> list[ModelEvent]:  # noqa: ARG002
        """Return what one chunk means."""
        if self._fault is not None:
            raise self._fault
        if data.get("error"):
            raise self._fail(data["error"])
        events: list[ModelEvent] = []
        if not self._started:
            self._started = True
            model = string(data.get("modelVersion")) or None
            events.append(ReplyStarted(string(data.get("responseId")) or None, model))
        before = len(events)
        for candidate in items(data.get("candidates")):
            # Asked for one answer, we read one: a second candidate would be mixed into it.
            if isinstance(candidate, dict) and candidate.get("index") in (0, None):
                events += self._candidate(candidate)
        answered = len(events) > before
        if isinstance(usage := data.get("usageMetadata"), dict):
            ends = self._stop is not None
            self._usage = None if ends else usage
            events.append(UsageReported(_usage(usage, self._searches, ends=ends)))
        blocked = string(mapping(data.get("promptFeedback")).get("blockReason"))
        if blocked and not answered:
            raise self._refused_prompt(blocked)
        if self._fault is not None and not answered:
            raise self._fault
        return events

    def close(self) -> list[ModelEvent]:
        """End the reply where the bytes end, if a finish reason came.

        Raises:
            ProviderError: The chunk that said so also held a part of the answer.
        """
        if self._fault is not None:
            raise self._fault
        if self.ended or self._stop is None:
            return []
        self.ended = True
        reason, detail = self._stop
        if self._called and reason is StopReason.END_TURN:
            reason = StopReason.TOOL_USE
        events = [*self._ground(whole=True), *self._seal()]
        if self._usage is not None:  # reported before the end, and never again
            events.append(UsageReported(_usage(self._usage, self._searches, ends=True)))
        return [*events, Stopped(reason, detail)]

    def _candidate(self, candidate: dict[str, Any]) -> list[ModelEvent]:
        events: list[ModelEvent] = []
        for part in items(mapping(candidate.get("content")).get("parts")):
            if isinstance(part, dict):
                events += self._part(part)
        if isinstance(grounding := candidate.get("groundingMetadata"), dict):
            self._grounding = grounding
            events += self._ground(whole=False)
        reason = string(candidate.get("finishReason"))
        if reason in _BROKEN:
            why = string(candidate.get("finishMessage")) or reason
            self._fault = self._fail({"status": _BROKEN[reason], "message": why})
        elif reason and reason != _NOT_YET:
            known = _STOPS.get(reason)
            self._stop = (known or StopReason.END_TURN, None if reason == "STOP" else reason)
        return events

    @property
    def _searches(self) -> int:
        return len(items(self._grounding.get("webSearchQueries")))

    # --- parts ------------------------------------------------------------------------------------

    def _part(self, part: dict[str, Any]) -> list[ModelEvent]:
        signature = string(part.get("thoughtSignature")) or None
        if isinstance(call := part.get("functionCall"), dict):
            return self._call(call, signature)
        if isinstance(text := part.get("text"), str):
            return self._say("thinking" if part.get("thought") else "text", text, signature)
        if isinstance(blob := part.get("inlineData"), dict) and not part.get("thought"):
            kind = string(blob.get("mimeType"))
            if kind.startswith("image/"):
                picture = Image(media_type=kind, data=string(blob.get("data")))
                shown = self._whole(picture, "image")
                # A picture has no place for its signature: the part itself goes back instead.
                return [*shown, *self._opaque(part)] if signature else shown
        if part.keys() <= {"thought", "thoughtSignature"}:
            if signature is None:
                return []
            # A part must hold something, and an empty text is what the vendor itself sends there.
            return self._say("thinking" if part.get("thought") else "text", "", signature)
        return self._opaque(part)

    def _say(self, kind: str, text: str, signature: str | None) -> list[ModelEvent]:
        events: list[ModelEvent] = []
        if self._current is None or self._current[0] != kind:
            if not text and signature is None:
                return []
            events = self._seal()
            if kind == "text" and not text:
                # A signature on nothing, with no text before it to belong to.
                return [*events, *self._opaque({"text": "", "thoughtSignature": signature})]
            index = self._begin()
            self._current = (kind, index)
            events.append(BlockStarted(index, kind))
            if kind == "text":
                self._said[index] = []
        else:
            index = self._current[1]
        if signature is not None or self._parts:
            self._parts.append((len(text), signature))
        elif text:
            self._length += len(text)
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
        events.append(ToolInputDelta(index, _arguments(call.get("args"))))
        replay = {"thoughtSignature": signature} if signature is not None else None
        return [*events, BlockSealed(index, replay=replay)]

    def _opaque(self, part: dict[str, Any]) -> list[ModelEvent]:
        return self._whole(Opaque(vendor=self._vendor, raw=dict(part)), "opaque", _kind_of(part))

    def _whole(self, block: Block, kind: str, name: str | None = None) -> list[ModelEvent]:
        events = self._seal()
        index = self._begin()
        return [*events, BlockStarted(index, kind, name=name), BlockSealed(index, block=block)]

    def _seal(self) -> list[ModelEvent]:
        if self._current is None:
            return []
        kind, index = self._current
        self._current = None
        parts, length = self._parts, self._length
        self._parts, self._length = [], 0
        if not parts:
            return [BlockSealed(index)]
        if length:
            parts.insert(0, (length, None))
        signed = _joined(parts)
        if len(signed) == 1:
            replay: dict[str, Any] = {"thoughtSignature": signed[0][1]}
        else:
            replay = {"parts": [list(part) for part in signed]}
        if kind == "text" and not (text := "".join(self._said[index])).strip():
            # Blank text is sent to nobody, but its signatures have to go back.
            raws = [
                {"text": piece} | ({"thoughtSignature": signature} if signature else {})
                for piece, signature in signed_parts(text, replay)
            ]
            opaque = [event for raw in raws for event in self._opaque(raw)]
            return [BlockSealed(index), *opaque]
        return [BlockSealed(index, replay=replay)]

    def _begin(self) -> int:
        self._blocks += 1
        return self._blocks - 1

    # --- sources ----------------------------------------------------------------------------------

    def _ground(self, *, whole: bool) -> list[ModelEvent]:
        """Anchor sources to the text that they support.

        What a source supports may not be said yet, so until the reply is whole such a one waits;
        and only then is it known which sources support nothing, and belong to the answer at large.
        """
        if not self._grounding or not self._said:
            return []
        chunks = items(self._grounding.get("groundingChunks"))
        said = {
            index: (text, text.encode("utf-8", "replace"))
            for index, pieces in self._said.items()
            if (text := "".join(pieces)).strip()
        }
        if not said:
            return []
        last = next(reversed(said))
        events: list[ModelEvent] = []
        supporting: set[int] = set()
        for support in items(self._grounding.get("groundingSupports")):
            segment = mapping(mapping(support).get("segment"))
            place = _place(segment, said)
            for number in items(mapping(support).get("groundingChunkIndices")):
                if isinstance(number, int) and 0 <= number < len(chunks):
                    supporting.add(number)
                    if place is not None or whole:
                        at = place or (last, None, None)
                        events += self._cite(mapping(chunks[number]), segment, *at)
        if whole:
            for number, chunk in enumerate(chunks):
                if number not in supporting:
                    events += self._cite(mapping(chunk), {}, last, None, None)
        return events

    def _cite(
        self,
        chunk: dict[str, Any],
        segment: dict[str, Any],
        index: int,
        start: int | None,
        end: int | None,
    ) -> list[ModelEvent]:
        source = _source(chunk)
        mark = (source["url"], source["title"], index, start, end)
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

    def _refused_prompt(self, reason: str) -> ProviderError:
        return BadRequest(
            f"{self._vendor} refused the prompt ({reason}). Ask in other words.",
            provider=self._vendor,
        )


def _place(
    segment: dict[str, Any], said: Mapping[int, tuple[str, bytes]]
) -> tuple[int, int, int] | None:
    """Return the block and the characters that a segment names, if they are said already.

    Offsets count bytes of UTF-8 over the whole answer, as the vendor's own examples read them,
    though the types say that they count within a part. The quote, where there is one, decides.
    """
    start, end = offset(segment.get("startIndex")) or 0, offset(segment.get("endIndex"))
    quote = string(segment.get("text"))
    if end is not None and start <= end:
        for index, (_, data) in said.items():
            if end <= len(data):
                if quote and data[start:end] != quote.encode("utf-8", "replace"):
                    break
                return index, _characters(data, start), _characters(data, end)
            start, end = max(0, start - len(data)), end - len(data)
    if quote:
        for index, (text, _) in said.items():
            if (at := text.find(quote)) >= 0:
                return index, at, at + len(quote)
    return None


def _characters(data: bytes, end: int) -> int:
    return len(data[:end].decode("utf-8", "ignore"))


def _joined(parts: list[tuple[int, str | None]]) -> list[tuple[int, str | None]]:
    """Join neighbours without a signature."""
    out: list[tuple[int, str | None]] = []
    for length, signature in parts:
        if out and signature is None and out[-1][1] is None:
            out[-1] = (out[-1][0] + length, None)
        elif length or signature is not None:
            out.append((length, signature))
    return out


def _arguments(arguments: Any) -> str:
    """Return arguments as JSON text; what is no object, or no JSON, must be seen to be none."""
    if arguments is None:
        return "{}"
    try:
        return to_json(arguments, inf_nan_mode="constants").decode()
    except ValueError:
        return dumps(arguments).decode()


def _source(chunk: dict[str, Any]) -> dict[str, str | None]:
    for kind in ("web", "retrievedContext", "maps", "image"):
        if isinstance(found := chunk.get(kind), dict):
            url = string(found.get("uri")) or string(found.get("sourceUri")) or None
            return {"url": url, "title": string(found.get("title")) or None}
    return {"url": None, "title": None}


def _kind_of(part: dict[str, Any]) -> str:
    return next((name for name in part if name not in ("thought", "thoughtSignature")), "part")


def _usage(usage: dict[str, Any], searches: int, *, ends: bool) -> Usage:
    """Return the counts, which grow until the end; those that are 0 are left out."""
    made = [usage.get(name) for name in ("candidatesTokenCount", "thoughtsTokenCount")]
    owed = [usage.get("promptTokenCount"), *(n for n in made if n is not None)]
    thoughts = count(usage.get("thoughtsTokenCount"))
    return Usage(
        input_tokens=count(usage.get("promptTokenCount"))
        + count(usage.get("toolUsePromptTokenCount")),
        output_tokens=count(usage.get("candidatesTokenCount")) + thoughts,
        cache_read_tokens=count(usage.get("cachedContentTokenCount")),
        reasoning_tokens=thoughts,
        searches=searches,
        unreported=unreported(*owed) if ends else 1,
        raw=dict(usage),
    )

"""A reply in the chat-completions format, decoded. No networking here.

What is asked in this format is in `chat`; what a server really sends is told at each place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from alloy_nb.errors import ProviderError
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
from alloy_nb.messages import Citation, StopReason
from alloy_nb.providers.lenient import count, mapping, money, offset, string, unreported
from alloy_nb.providers.think_tags import ThinkTags
from alloy_nb.providers.wire_json import dumps, parse_arguments
from alloy_nb.usage import Usage

__all__ = ["ChatDecoder"]

_STOPS: Mapping[str, StopReason] = {
    "stop": StopReason.END_TURN,
    "tool_calls": StopReason.TOOL_USE,
    "function_call": StopReason.TOOL_USE,
    "length": StopReason.MAX_TOKENS,
    "content_filter": StopReason.REFUSAL,
}
# Thinking goes by several names: DeepSeek, vLLM and llama.cpp; OpenRouter, Groq and Ollama; others.
_THINKING_FIELDS = ("reasoning_content", "reasoning", "thinking")


@dataclass(slots=True)
class _Call:
    """A call that has begun: which block it is, and what its first fragment said."""

    block: int
    id: str
    name: str
    pieces: list[str] = field(default_factory=list)
    replay: dict[str, Any] | None = None

    def is_over(self, id_: str, name: str, piece: str) -> bool:
        """Tell whether a fragment with the mark of this call begins another one.

        A name that comes again with arguments, after arguments that are whole, is another call;
        servers that merely repeat the name do so before the arguments are whole.
        """
        if id_ and self.id and id_ != self.id:
            return True
        if not name or (self.name and name != self.name):
            return bool(name)
        begins = self.pieces and self.pieces[-1].rstrip().endswith("}") and piece.startswith("{")
        return bool(begins) and parse_arguments("".join(self.pieces))[1] is None


class ChatDecoder:
    """Decodes one reply.

    The format has no blocks: a change from thinking to text to calls ends one and begins another.
    Calls are told apart by their index, else by their id, else by what they say, since servers
    leave out one or the other.
    """

    def __init__(self, fail: Callable[[Any], ProviderError], *, think_tags: bool = False) -> None:
        self.ended = False
        self._fail = fail
        self._blocks = 0
        self._current: tuple[str, int] | None = None  # the text or thinking that is being said
        self._calls: dict[Any, _Call] = {}
        self._newest: dict[Any, Any] = {}  # where a mark was used again: the key of its last call
        self._last_call: Any = None
        self._stop: tuple[StopReason, str | None] | None = None
        self._started = False
        self._cited: set[str] = set()
        self._usage: dict[str, Any] | None = None
        self._tags = ThinkTags() if think_tags else None

    def feed(self, name: str | None, data: dict[str, Any]) -> list[ModelEvent]:
        """Return what one chunk means."""
        if (delta := self._plain_text(data)) is not None:
            return [delta]
        if name == "[DONE]":
            return self.close()
        if data.get("error"):
            raise self._fail(data["error"])
        events: list[ModelEvent] = []
        if not self._started:
            self._started = True
            events.append(
                ReplyStarted(string(data.get("id")) or None, string(data.get("model")) or None)
            )
        choices = data.get("choices")
        if isinstance(choices, list):
            for choice in choices:
                # Asked for one answer, we read one: a second choice would be mixed into it.
                if isinstance(choice, dict) and choice.get("index") in (0, None):
                    events += self._choice(choice)
        usage = data.get("usage") or mapping(data.get("x_groq")).get("usage")
        if isinstance(usage, dict):
            self._usage = usage if self._stop is None else None
            events.append(UsageReported(_usage(usage, ends=self._stop is not None)))
        if data.get("citations"):
            events += self._cite_urls(data["citations"])
        return events

    def _plain_text(self, data: dict[str, Any]) -> TextDelta | None:
        """Return the delta of a chunk that only goes on with the text, as nearly all of them do.

        It takes a fifth of the time of reading a chunk field by field.
        """
        if self._current is None or self._current[0] != "text":
            return None
        if self._tags is not None and not self._tags.done:
            return None
        if data.get("usage") or data.get("error"):
            return None
        try:
            (choice,) = data["choices"]
            delta = choice["delta"]
            if len(delta) == 1 and choice["finish_reason"] is None and choice["index"] == 0:
                content = delta["content"]
                if type(content) is str and content and "citations" not in data:
                    return TextDelta(self._current[1], content)
        except (LookupError, TypeError, ValueError):
            pass  # any other shape is read field by field
        return None

    def close(self) -> list[ModelEvent]:
        """End the reply at ``[DONE]``, or where the bytes end after a finish reason."""
        if self.ended or self._stop is None:
            return []
        self.ended = True
        reason, detail = self._stop
        held = self._tags.close() if self._tags is not None else []
        rest = [event for kind, said in held for event in self._say(kind, said)]
        if self._usage is not None:  # reported before the end, and never again
            rest.append(UsageReported(_usage(self._usage, ends=True)))
        return [*rest, *self._seal_current(), *self._seal_calls(), Stopped(reason, detail)]

    def _choice(self, choice: dict[str, Any]) -> list[ModelEvent]:
        # Some servers send the last chunk as a whole message.
        delta = choice.get("delta") or choice.get("message")
        events = self._delta(delta) if isinstance(delta, dict) else []
        if reason := choice.get("finish_reason"):
            if reason == "error":
                raise self._fail(choice.get("error") or {"message": "the model failed"})
            known = _STOPS.get(string(reason))
            if self._stop is None or self._stop[0] is not StopReason.REFUSAL:
                self._stop = (known or StopReason.END_TURN, None if known else string(reason))
        return events

    def _delta(self, delta: dict[str, Any]) -> list[ModelEvent]:
        events: list[ModelEvent] = []
        for name in _THINKING_FIELDS:
            if isinstance(text := delta.get(name), str) and text:
                events += self._say("thinking", text)
                break
        content = delta.get("content")
        if isinstance(content, str):
            for kind, said in self._tags.feed(content) if self._tags else [("text", content)]:
                if said:
                    events += self._say(kind, said)
        elif isinstance(content, list):
            for part in content:
                events += self._part(part)
        if isinstance(refusal := delta.get("refusal"), str) and refusal:
            events += self._say("text", refusal)
            self._stop = (StopReason.REFUSAL, None)
        if isinstance(calls := delta.get("tool_calls"), list):
            for call in calls:
                if isinstance(call, dict):
                    events += self._call(call)
        if isinstance(legacy := delta.get("function_call"), dict):
            events += self._call({"index": "legacy", "function": legacy})
        if isinstance(annotations := delta.get("annotations"), list):
            events += self._annotate(annotations)
        return events

    def _part(self, part: Any) -> list[ModelEvent]:
        """Read a part of Mistral's list content: text, or thinking that holds text."""
        if not isinstance(part, dict):
            return []
        if part.get("type") == "thinking":
            inner = part.get("thinking")
            texts = (
                [string(p.get("text")) for p in inner if isinstance(p, dict)]
                if isinstance(inner, list)
                else [string(inner)]
            )
            return self._say("thinking", "".join(texts)) if any(texts) else []
        text = string(part.get("text"))
        return self._say("text", text) if text else []

    def _say(self, kind: str, text: str) -> list[ModelEvent]:
        if self._current is not None and self._current[0] == kind:
            index = self._current[1]
            begun: list[ModelEvent] = []
        else:
            begun = self._seal_current()
            index = self._new_block()
            self._current = (kind, index)
            begun.append(BlockStarted(index, kind))
        delta: ModelEvent = TextDelta(index, text) if kind == "text" else ThinkingDelta(index, text)
        return [*begun, delta]

    def _call(self, call: dict[str, Any]) -> list[ModelEvent]:
        function = mapping(call.get("function"))
        id_, name = string(call.get("id")), string(function.get("name"))
        arguments = function.get("arguments")
        if isinstance(arguments, dict):  # Ollama sends the object itself
            arguments = dumps(arguments).decode()
        piece = string(arguments)
        key = self._key_of(call.get("index"), id_, name, piece)
        events: list[ModelEvent] = []
        if key not in self._calls:
            events += self._seal_current()
            self._calls[key] = _Call(self._new_block(), id_, name)
            events.append(BlockStarted(self._calls[key].block, "tool_call", id=id_, name=name))
        self._last_call = key
        begun = self._calls[key]
        begun.id = begun.id or id_
        if extra := mapping(call.get("extra_content")):
            # Gemini's compatible interface wants its signature back with the call.
            begun.replay = {"extra_content": extra}
        if piece:
            begun.pieces.append(piece)
            events.append(ToolInputDelta(begun.block, piece))
        return events

    def _key_of(self, index: Any, id_: str, name: str, piece: str) -> Any:
        """Say which call a fragment belongs to: that of its index, else of its id, else the last.

        A mark that is used again for another call gets a key of its own: Gemini's compatible
        interface and some versions of vLLM number all calls 0, others send neither index nor id.
        """
        if isinstance(index, (int, str)):
            mark: Any = ("index", index)
        elif id_:
            mark = ("id", id_)
        else:
            mark = self._last_call
        key = self._newest.get(mark, mark)
        if key in self._calls and self._calls[key].is_over(id_, name, piece):
            key = self._newest[mark] = ("place", len(self._calls))
        return key

    def _annotate(self, annotations: list[Any]) -> list[ModelEvent]:
        events: list[ModelEvent] = []
        for raw in annotations:
            cited = mapping(mapping(raw).get("url_citation"))
            if url := string(cited.get("url")):
                events += self._cite(
                    Citation(
                        url=url,
                        title=string(cited.get("title")) or None,
                        quote=string(cited.get("content")) or None,
                        start=offset(cited.get("start_index")),
                        end=offset(cited.get("end_index")),
                        raw=raw,
                    )
                )
        return events

    def _cite_urls(self, urls: Any) -> list[ModelEvent]:
        """Read the list of sources that Perplexity and xAI repeat in every chunk."""
        events: list[ModelEvent] = []
        for url in urls if isinstance(urls, list) else []:
            if isinstance(url, str) and url not in self._cited and self._current:
                self._cited.add(url)
                events += self._cite(Citation(url=url, raw={"url": url}))
        return events

    def _cite(self, citation: Citation) -> list[ModelEvent]:
        if self._current is None or self._current[0] != "text":
            return []
        return [CitationAdded(self._current[1], citation)]

    def _new_block(self) -> int:
        self._blocks += 1
        return self._blocks - 1

    def _seal_current(self) -> list[ModelEvent]:
        if self._current is None:
            return []
        index = self._current[1]
        self._current = None
        return [BlockSealed(index)]

    def _seal_calls(self) -> list[ModelEvent]:
        return [BlockSealed(call.block, replay=call.replay) for call in self._calls.values()]


def _usage(usage: dict[str, Any], *, ends: bool) -> Usage:
    """Return the counts; some servers report with every chunk, so they may grow until the end."""
    prompt = mapping(usage.get("prompt_tokens_details"))
    completion = mapping(usage.get("completion_tokens_details"))
    cached = prompt.get("cached_tokens", usage.get("prompt_cache_hit_tokens"))  # or DeepSeek's
    return Usage(
        input_tokens=count(usage.get("prompt_tokens")),
        output_tokens=count(usage.get("completion_tokens")),
        cache_read_tokens=count(cached),
        cache_write_tokens=count(prompt.get("cache_write_tokens")),
        reasoning_tokens=count(completion.get("reasoning_tokens")),
        unreported=unreported(usage.get("prompt_tokens"), usage.get("completion_tokens"))
        if ends
        else 1,
        stated_cost=money(usage.get("cost")),  # OpenRouter states it
        raw=dict(usage),
    )

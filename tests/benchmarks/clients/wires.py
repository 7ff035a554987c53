"""The two formats, written by hand, for the raw socket and for bare httpx.

Each message is encoded once; a request joins the encoded messages. A `Reply` gathers the deltas
of one streamed reply into the message that goes back and the calls that are to run.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar, Protocol

from ..script import TOOL_DESCRIPTION, TOOL_NAME
from .base import MODEL, TOOL_SCHEMA

__all__ = ["WIRES", "Chat", "Messages", "Reply", "Wire"]


def _dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class Reply(Protocol):
    """One reply, gathered from its events."""

    calls: dict[int, dict[str, str]]
    """The calls by their index: id, name, and arguments as text."""

    def feed(self, event: dict[str, Any]) -> None:
        """Add one event."""

    def message(self) -> bytes:
        """The encoded message that goes back with the next request."""

    @property
    def text(self) -> str:
        """What was said."""


class Wire(Protocol):
    """One vendor's format."""

    path: str
    headers: dict[str, str]

    def body(self, messages: list[bytes], with_tools: bool) -> bytes:
        """The request."""

    def text_of(self, event: dict[str, Any]) -> str | None:
        """The text of a delta, if the event is one."""

    def reply(self) -> Reply:
        """Begin to gather a reply."""

    def user(self, text: str) -> bytes:
        """Encode what the user says."""

    def results(self, results: list[tuple[str, str]]) -> list[bytes]:
        """Encode the answers of tools, given as call id and text."""


class _ChatReply:
    def __init__(self) -> None:
        self.parts: list[str] = []
        self.calls: dict[int, dict[str, str]] = {}

    def feed(self, event: dict[str, Any]) -> None:
        for choice in event["choices"]:
            delta = choice["delta"]
            if text := delta.get("content"):
                self.parts.append(text)
            for part in delta.get("tool_calls", ()):
                self._feed_call(part)

    def _feed_call(self, part: dict[str, Any]) -> None:
        function = part["function"]
        call = self.calls.get(part["index"])
        if call is None:
            call = {"id": part["id"], "name": function["name"], "arguments": ""}
            self.calls[part["index"]] = call
        call["arguments"] += function.get("arguments", "")

    @property
    def text(self) -> str:
        return "".join(self.parts)

    def message(self) -> bytes:
        calls = [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": call["arguments"]},
            }
            for call in self.calls.values()
        ]
        return _dumps({"role": "assistant", "content": self.text, "tool_calls": calls})


class Chat:
    """``/v1/chat/completions``."""

    path = "/v1/chat/completions"
    headers: ClassVar = {"content-type": "application/json", "authorization": "Bearer k"}
    reply = _ChatReply

    _HEAD = _dumps({"model": MODEL, "stream": True, "stream_options": {"include_usage": True}})
    _TOOLS = _dumps(
        [
            {
                "type": "function",
                "function": {
                    "name": TOOL_NAME,
                    "description": TOOL_DESCRIPTION,
                    "parameters": TOOL_SCHEMA,
                },
            }
        ]
    )

    def body(self, messages: list[bytes], with_tools: bool) -> bytes:
        return _body(self._HEAD, messages, self._TOOLS if with_tools else None)

    def text_of(self, event: dict[str, Any]) -> str | None:
        choices = event["choices"]
        return choices[0]["delta"].get("content") if choices else None

    def user(self, text: str) -> bytes:
        return _dumps({"role": "user", "content": text})

    def results(self, results: list[tuple[str, str]]) -> list[bytes]:
        return [
            _dumps({"role": "tool", "tool_call_id": key, "content": text}) for key, text in results
        ]


class _MessagesReply:
    def __init__(self) -> None:
        self.parts: list[str] = []
        self.calls: dict[int, dict[str, str]] = {}

    def feed(self, event: dict[str, Any]) -> None:
        if event["type"] == "content_block_start":
            block = event["content_block"]
            if block["type"] == "tool_use":
                call = {"id": block["id"], "name": block["name"], "arguments": ""}
                self.calls[event["index"]] = call
        elif event["type"] == "content_block_delta":
            delta = event["delta"]
            if delta["type"] == "text_delta":
                self.parts.append(delta["text"])
            else:
                self.calls[event["index"]]["arguments"] += delta["partial_json"]

    @property
    def text(self) -> str:
        return "".join(self.parts)

    def message(self) -> bytes:
        content: list[dict[str, Any]] = [{"type": "text", "text": self.text}]
        content += [
            {
                "type": "tool_use",
                "id": call["id"],
                "name": call["name"],
                "input": json.loads(call["arguments"]),
            }
            for call in self.calls.values()
        ]
        return _dumps({"role": "assistant", "content": content})


class Messages:
    """``/v1/messages``."""

    path = "/v1/messages"
    headers: ClassVar = {
        "content-type": "application/json",
        "x-api-key": "k",
        "anthropic-version": "2023-06-01",
    }
    reply = _MessagesReply

    _HEAD = _dumps({"model": MODEL, "max_tokens": 4096, "stream": True})
    _TOOLS = _dumps(
        [{"name": TOOL_NAME, "description": TOOL_DESCRIPTION, "input_schema": TOOL_SCHEMA}]
    )

    def body(self, messages: list[bytes], with_tools: bool) -> bytes:
        return _body(self._HEAD, messages, self._TOOLS if with_tools else None)

    def text_of(self, event: dict[str, Any]) -> str | None:
        return event["delta"].get("text") if event["type"] == "content_block_delta" else None

    def user(self, text: str) -> bytes:
        return _dumps({"role": "user", "content": text})

    def results(self, results: list[tuple[str, str]]) -> list[bytes]:
        content = [
            {"type": "tool_result", "tool_use_id": key, "content": text} for key, text in results
        ]
        return [_dumps({"role": "user", "content": content})]


def _body(head: bytes, messages: list[bytes], tools: bytes | None) -> bytes:
    parts = [head[:-1], b',"messages":[', b",".join(messages), b"]"]
    if tools is not None:
        parts += [b',"tools":', tools]
    return b"".join([*parts, b"}"])


WIRES: dict[str, type[Chat] | type[Messages]] = {"chat": Chat, "messages": Messages}

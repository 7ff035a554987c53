"""Messages and the blocks that they are made of.

::

    Message(role, content, origin, stop)
      content: Text | Thinking | ToolCall | ToolResult | Image | Document | Opaque

Roles are ``user`` and ``assistant``; results of tools travel in a user message, and the system
prompt is no message. All values are frozen. What a vendor must get back verbatim (a signature,
encrypted reasoning, ids) is in ``replay``; only the hand-off to another vendor may drop it.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "Block",
    "Citation",
    "Document",
    "Image",
    "Message",
    "Opaque",
    "Origin",
    "StopReason",
    "Text",
    "Thinking",
    "ToolCall",
    "ToolResult",
    "assistant",
    "user",
]


class _Value(BaseModel):
    # Schemas are built when the first message is made, not when the package is imported.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class StopReason(StrEnum):
    """Why a reply ended; nothing is flattened to ``end_turn``."""

    END_TURN = "end_turn"
    TOOL_USE = "tool_use"
    MAX_TOKENS = "max_tokens"
    STOP_SEQUENCE = "stop_sequence"
    REFUSAL = "refusal"
    PAUSE = "pause"
    INTERRUPTED = "interrupted"
    """The person, a deadline or a failure stopped it: the message is what had arrived."""


class Origin(_Value):
    """Which model said a message; `host` is where it was asked, if it was over a network."""

    provider: str
    model: str
    response_id: str | None = None
    host: str | None = None


class Citation(_Value):
    """Where a passage of an answer comes from.

    `start` and `end` are character offsets into the text block that holds the citation, or
    ``None`` where the vendor anchors to the whole block. `raw` is the vendor's own record.
    """

    kind: Literal["url", "document", "file", "grounding"] = "url"
    url: str | None = None
    title: str | None = None
    quote: str | None = None
    start: int | None = None
    end: int | None = None
    raw: dict[str, Any] = Field(default_factory=dict, repr=False)


class Text(_Value):
    """What is said."""

    type: Literal["text"] = "text"
    text: str
    citations: tuple[Citation, ...] = ()
    replay: dict[str, Any] | None = Field(default=None, repr=False)


class Thinking(_Value):
    """What the model thought before it spoke; never part of the answer's text.

    `redacted` thinking has no readable text: only `replay` goes back to its vendor.
    """

    type: Literal["thinking"] = "thinking"
    text: str = ""
    redacted: bool = False
    replay: dict[str, Any] | None = Field(default=None, repr=False)


class ToolCall(_Value):
    """A tool that the model wants to run.

    `server` calls were run by the vendor: they are shown and never dispatched. Where the
    arguments were no JSON object, `invalid` holds them as they came and `input` is empty; such a
    call is answered with an error and never runs.
    """

    type: Literal["tool_call"] = "tool_call"
    id: str
    name: str
    input: dict[str, Any] = Field(default_factory=dict)
    invalid: str | None = None
    server: bool = False
    replay: dict[str, Any] | None = Field(default=None, repr=False)


class Image(_Value):
    """A picture: base64 `data` with its `media_type`, or a `url`."""

    type: Literal["image"] = "image"
    media_type: str = "image/png"
    data: str | None = Field(default=None, repr=False)
    url: str | None = None


class Document(_Value):
    """A document: base64 `data` with its `media_type`, or a `url`."""

    type: Literal["document"] = "document"
    media_type: str = "application/pdf"
    data: str | None = Field(default=None, repr=False)
    url: str | None = None
    title: str | None = None


class ToolResult(_Value):
    """What a tool answered; every `ToolCall` gets exactly one, in the next user message.

    `name` is the tool's: one vendor matches results by it. The hand-off fills it in.
    """

    type: Literal["tool_result"] = "tool_result"
    call_id: str
    name: str = ""
    content: tuple[Annotated[Text | Image | Document, Field(discriminator="type")], ...] = ()
    is_error: bool = False

    @property
    def text(self) -> str:
        """The text parts, joined by newlines."""
        return "\n".join(part.text for part in self.content if isinstance(part, Text))


class Opaque(_Value):
    """A block of a kind that we do not know, kept whole for the vendor that sent it."""

    type: Literal["opaque"] = "opaque"
    vendor: str
    raw: dict[str, Any]


Block = Annotated[
    Text | Thinking | ToolCall | ToolResult | Image | Document | Opaque,
    Field(discriminator="type"),
]


class Message(_Value):
    """One side's turn in a conversation."""

    role: Literal["user", "assistant"]
    content: tuple[Block, ...]
    origin: Origin | None = None
    stop: StopReason | None = None

    @property
    def text(self) -> str:
        """The text blocks, joined; thinking, tools and media are left out."""
        return "".join(block.text for block in self.content if isinstance(block, Text))

    @property
    def thinking(self) -> str:
        """The readable thinking, joined by blank lines."""
        parts = (block.text for block in self.content if isinstance(block, Thinking))
        return "\n\n".join(part for part in parts if part)

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The calls that we are to run; those that the vendor ran itself are not among them."""
        return [b for b in self.content if isinstance(b, ToolCall) and not b.server]


def user(*content: str | Text | Image | Document | ToolResult) -> Message:
    """Make a user message: strings become text blocks."""
    return Message(role="user", content=_blocks(content))


def assistant(*content: str | Text | Thinking | ToolCall | Opaque) -> Message:
    """Make an assistant message, for a history that you write yourself."""
    return Message(role="assistant", content=_blocks(content))


def _blocks(content: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(Text(text=c) if isinstance(c, str) else c for c in content)

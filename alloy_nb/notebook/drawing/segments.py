"""What a face draws: the segments of one run. Presentation state only, it never rides on a message.

Each segment counts its changes in `version`; a canvas redraws those that changed since its last
frame.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from alloy_nb.messages import Citation, Image, ToolResult
from alloy_nb.usage import Cost, Usage

__all__ = [
    "NOTICE_OF",
    "Delegate",
    "FooterSegment",
    "Form",
    "Look",
    "NoticeKind",
    "NoticeSegment",
    "Reference",
    "Segment",
    "TextSegment",
    "ThinkingSegment",
    "ToolSegment",
    "ToolState",
    "is_done",
]

ToolState = Literal["pending", "approval", "running", "done", "failed", "denied"]
NoticeKind = Literal["retry", "compacted", "stopped", "error", "budget", "info", "names", "steered"]
"""``names`` says what a turn did to the variables; it is as dim as the footer. ``steered`` is what
the person said into the turn."""

Form = Literal["md", "text", "code", "html", "json", "math"]

NOTICE_OF: Mapping[str, NoticeKind] = MappingProxyType(
    {"cancelled": "stopped", "halted": "stopped", "budget_exceeded": "budget"}
)
"""How it is said that a run ended, by its status."""

_OPEN: frozenset[ToolState] = frozenset({"pending", "approval", "running"})


@dataclass(slots=True)
class _Grown:
    """Text that grows by deltas and is joined only when read."""

    pieces: list[str] = field(default_factory=list)
    length: int = 0
    version: int = 0

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces)

    def recent(self, length: int) -> str:
        """Return the end of the text, without joining all of it."""
        found = 0
        first = len(self.pieces)
        while first and found < length:
            first -= 1
            found += len(self.pieces[first])
        return "".join(self.pieces[first:])[-length:]

    def add(self, delta: str) -> None:
        """Append a delta."""
        self.pieces.append(delta)
        self.length += len(delta)
        self.version += 1


@dataclass(slots=True)
class ThinkingSegment(_Grown):
    """What the model thought; `seconds` is known once it is `done`."""

    seconds: float | None = None
    done: bool = False
    redacted: bool = False
    began: float = 0.0


@dataclass(slots=True)
class Reference:
    """A citation with its number and the offset in the segment's text that it supports.

    `end` is ``None`` while the block that it belongs to still grows.
    """

    number: int
    citation: Citation
    end: int | None = None


@dataclass(slots=True)
class TextSegment(_Grown):
    """A stretch of the answer, as Markdown.

    Vendors cut a cited sentence into several blocks; neighbours are one segment, so that a
    paragraph stays a paragraph.
    """

    references: list[Reference] = field(default_factory=list)
    finished: bool = False

    @property
    def citations(self) -> tuple[Citation, ...]:
        """The sources of this segment, each once, in the order of their numbers."""
        return tuple({r.number: r.citation for r in self.references}.values())

    def since(self, piece: int) -> str:
        """Return the text that came after the first `piece` pieces."""
        return "".join(self.pieces[piece:])


@dataclass(slots=True)
class Delegate:
    """Another agent that works in a call: its own segments, and how far it is.

    `status` is ``None`` while it works; `cost` is what it has cost so far, with those it asked.
    """

    agent: str
    segments: list[Segment]
    task: str = ""
    model: str = ""
    activity: str = ""
    cost: Cost = field(default_factory=Cost)
    turns: int = 0
    status: str | None = None
    error: str | None = None


@dataclass(slots=True)
class ToolSegment(_Grown):
    """One call of a tool; `text` is the JSON of its arguments as it arrives."""

    id: str = ""
    name: str = ""
    arguments: dict[str, Any] | None = None
    state: ToolState = "pending"
    seconds: float | None = None
    result: str | None = None
    withheld: ToolResult | None = None
    """All that it answered, where less of it went to the model."""
    images: tuple[Image, ...] = ()
    is_error: bool = False
    progress: list[str] = field(default_factory=list)
    server: bool = False
    subject: str | None = None
    """What the person is asked to allow, while `state` is ``approval``."""
    view: Mapping[str, Any] | None = None
    """The widget that asks in the card's place, by MIME type, while it is there."""
    decision: str = ""
    """What the person decided, in words."""
    began: float | None = None
    delegates: list[Delegate] = field(default_factory=list)
    """The agents that work for it, where the call asks one."""

    @property
    def finished(self) -> bool:
        """Whether nothing more is coming."""
        return self.state not in _OPEN

    def parsed(self) -> dict[str, Any] | None:
        """Return the arguments that arrived as text, or ``None`` where it is no JSON object."""
        try:
            value = json.loads(self.text or "{}")
        except ValueError:
            return None
        return value if isinstance(value, dict) else None


@dataclass(slots=True)
class NoticeSegment:
    """One line about the run itself."""

    kind: NoticeKind
    text: str
    version: int = 1


@dataclass(slots=True)
class FooterSegment:
    """What the run used and cost; `window_share` is a fraction, ``None`` where unknown."""

    model: str
    usage: Usage
    cost: Cost
    seconds: float
    status: str
    turns: int
    total: Cost | None = None
    window: int | None = None
    window_share: float | None = None
    label: str | None = None
    agents: Mapping[str, Cost] = field(default_factory=dict)
    """What each agent cost itself, where there were several."""
    version: int = 1


Segment = ThinkingSegment | ToolSegment | TextSegment | NoticeSegment | FooterSegment


def is_done(segment: Segment) -> bool:
    """Tell whether nothing more is coming for a segment."""
    match segment:
        case ThinkingSegment():
            return segment.done
        case ToolSegment() | TextSegment():
            return segment.finished
        case _:
            return True


@dataclass(frozen=True, slots=True)
class Look:
    """How much of a run is shown, and what its answer is shown as."""

    detail: Literal["quiet", "normal", "verbose"] = "normal"
    form: Form = "md"

    def shows(self, segment: Segment) -> bool:
        """Tell whether a segment is drawn at all; what went wrong always is."""
        if self.detail != "quiet" or isinstance(segment, TextSegment):
            return True
        return isinstance(segment, NoticeSegment) and segment.kind != "names"

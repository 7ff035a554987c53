"""A turn as the panel shows it: its prompt, its outputs, what is known of it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import unescape
from typing import Any, Literal

from alloy_nb.engine.sessions.record import TurnRecord
from alloy_nb.markup.alongside import referenced, said
from alloy_nb.markup.pictures import embedded
from alloy_nb.messages import Image, Message
from alloy_nb.notebook.drawing.conversation import Said, prompted
from alloy_nb.notebook.drawing.render import Bundle
from alloy_nb.notebook.drawing.segments import (
    FooterSegment,
    NoticeSegment,
    Segment,
    TextSegment,
    ThinkingSegment,
    ToolSegment,
)
from alloy_nb.secrets import redact

__all__ = ["Asked", "Drawn", "Kind", "Part", "State", "asked_in", "clock", "facts_of", "kind_of"]

State = Literal["live", "done", "stopped", "failed"]
Kind = Literal["text", "thinking", "tool", "notice", "footer", "display", "phase"]

_PRE = re.compile(r"<pre[^>]*>(.*?)</pre>", re.S)
_TAG = re.compile(r"<[^>]*>")


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt: as it was typed, and what went along with it.

    Args:
        text: What was typed.
        chips: What was attached: a label, and about how many tokens.
        images: Pictures.
    """

    text: str
    chips: tuple[Mapping[str, Any], ...] = ()
    images: tuple[Image, ...] = ()

    @property
    def bundle(self) -> Bundle:
        """The prompt, drawn."""
        labels = [str(chip.get("label", "")) for chip in self.chips]
        return prompted(self.text, self.images, labels=labels)

    def entry(self) -> dict[str, Any]:
        """Return it for the front end."""
        return {
            "html": prompted(self.text).html,
            "text": redact(self.text),
            "chips": [dict(chip) for chip in self.chips],
            "images": [source for image in self.images if (source := embedded(image))],
        }


@dataclass(slots=True)
class Part:
    """One output of a turn."""

    kind: Kind
    bundle: Bundle


@dataclass(slots=True, eq=False)
class Drawn:
    """A turn, drawn; `record` is what the session knows of it, once it is over."""

    id: str
    number: int | None
    at: str
    asked: Asked
    parts: dict[str, Part] = field(default_factory=dict)
    state: State = "live"
    facts: Mapping[str, Any] = field(default_factory=dict)
    record: TurnRecord | None = None
    span: tuple[int, int] | None = None
    """Where its messages stand, of a history that was handed in."""
    ends: tuple[Message, ...] = ()
    """Its first and its last message, where it has any."""
    hidden: bool = False
    pinned: bool = False
    ask: str = ""
    """What the front end calls the prompt, where one has sent it."""

    @property
    def code(self) -> list[str]:
        """What stands in the blocks of code of the answer, as the page shows it, in order."""
        return [
            unescape(_TAG.sub("", inside)).removesuffix("\n")
            for part in self.parts.values()
            if part.kind == "text"
            for inside in _PRE.findall(part.bundle.html)
        ]

    @property
    def said(self) -> Said:
        """The turn, for a notebook without widgets."""
        shown = [part.bundle for part in self.parts.values() if part.kind != "phase"]
        return Said(self.asked.bundle, self.at, shown)

    @property
    def size(self) -> int:
        """About how many bytes it is for the front end."""
        return (
            300
            + sum(60 + len(part.bundle.html) for part in self.parts.values())
            + sum(len(image.data or "") for image in self.asked.images)
            + 2 * len(self.asked.text)
        )

    def entry(self) -> dict[str, Any]:
        """Return it for the front end."""
        return {
            "id": self.id,
            "ask": self.ask,
            "turn": self.number,
            "at": self.at,
            "prompt": self.asked.entry(),
            "outputs": [
                {"id": name, "part": part.kind, "html": part.bundle.html}
                for name, part in self.parts.items()
            ],
            "state": self.state,
            "hidden": self.hidden,
            "pinned": self.pinned,
            "facts": dict(self.facts),
            "code": self.code if self.state != "live" else [],
        }


def asked_in(message: Message | None) -> Asked:
    """Return what a person asked, of the message that went out."""
    if message is None:
        return Asked("")
    text = message.text
    chips = tuple({"label": f"@{name}"} for name, _ in referenced(text))
    images = tuple(block for block in message.content if isinstance(block, Image))
    return Asked(said(text), chips, images)


def facts_of(segments: Sequence[Segment]) -> dict[str, Any]:
    """Return what the footer of a turn says, for a program."""
    footer = next((one for one in reversed(segments) if isinstance(one, FooterSegment)), None)
    if footer is None:
        return {}
    usage = footer.usage
    return {
        "model": redact(footer.model),
        "status": footer.status,
        "seconds": round(footer.seconds, 1),
        "cost": str(footer.cost),
        "tokens": usage.total_tokens,
    }


def kind_of(segment: Segment | None) -> Kind:
    """Return the word for an output of a segment; without one it says what goes on."""
    match segment:
        case TextSegment():
            return "text"
        case ThinkingSegment():
            return "thinking"
        case ToolSegment():
            return "tool"
        case NoticeSegment():
            return "notice"
        case FooterSegment():
            return "footer"
        case None:
            return "phase"


def clock(seconds: float) -> str:
    """Return the time of day at which something happened, here."""
    try:
        return time.strftime("%H:%M", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):  # of a file that is damaged
        return ""

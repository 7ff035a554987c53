"""Another model answers from here on: which one, and what it is not sent of what others said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from alloy_nb.markup.plain import one_line
from alloy_nb.messages import Message, Opaque, Origin, Thinking, ToolCall
from alloy_nb.providers.base import Provider

__all__ = ["Place", "called", "note", "place", "private", "sentence"]

Place = tuple[str, str]
"""A vendor's name and host: what is signed or encrypted there means nothing elsewhere."""


def note(messages: Sequence[Message], provider: Provider) -> str | None:
    """Return what a person is told where the model is another one than the last that answered."""
    before = next((m.origin for m in reversed(messages) if m.origin is not None), None)
    host = getattr(provider, "host", None)
    now = Origin(provider=provider.name, model=provider.model, host=host)
    if before is None or called(before) == called(now):
        return None
    kept: dict[Place, int] = {}
    for message in messages:
        if message.origin is not None and (count := private(message)):
            there = place(message.origin)
            kept[there] = kept.get(there, 0) + count
    return sentence(before, now, kept)


def sentence(before: Origin, now: Origin, kept: Mapping[Place, int]) -> str:
    """Say that another model answers; `kept` counts what each vendor's answers hold for itself."""
    here = place(now)
    count = sum(blocks for there, blocks in kept.items() if there != here)
    dropped = (
        f" What other vendors had signed, encrypted or run themselves ({count} block"
        f"{'s' * (count != 1)}) was not sent to it."
        if count
        else ""
    )
    return f"{called(now)} answers from here on, after {called(before)}.{dropped}"


def private(message: Message) -> int:
    """Count the blocks that mean nothing to another vendor; see `providers.handoff`."""
    return sum(
        isinstance(block, Opaque)
        or (isinstance(block, ToolCall) and block.server)
        or (isinstance(block, Thinking) and block.replay is not None)
        for block in message.content
    )


def place(origin: Origin) -> Place:
    """Return where a message was made."""
    return origin.provider, origin.host or ""


def called(origin: Origin) -> str:
    """Return a model as a person writes it."""
    return one_line(f"{origin.provider}/{origin.model}", 100)

"""What agents did in a call that asked them, drawn inside the card of that call. Pure.

While they work, a card shows a few lines: who, how far, the end of what was said. When they are
done, it holds their own cards, each as `render` draws it, and what each has cost. Both are bounded,
whatever the agents do: a run of hours must not become a page of megabytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from alloy_nb.markup.plain import clean, one_line, settled
from alloy_nb.notebook.drawing.segments import (
    Delegate,
    FooterSegment,
    Segment,
    TextSegment,
    ThinkingSegment,
    ToolSegment,
)
from alloy_nb.usage import Cost

__all__ = [
    "by_agent",
    "live_lines",
    "of_call",
    "parts",
    "repeats",
    "task_of",
    "title",
    "view_of",
]

# Of the delegates of one call, of the segments of one of them, of the characters of one text.
_MOST_DELEGATES = 8
_MOST_SEGMENTS = 40
_MOST_CHARACTERS = 6_000
_LIVE_LINES = 8
_LIVE_CHARACTERS = 240
_DEEPEST = 5
_SIGNS = {"completed": "✓", "cancelled": "■ stopped", "budget_exceeded": "⚠ out of budget"}


def title(delegate: Delegate) -> str:
    """Return one line: who it is, how it went, what it cost."""
    status = delegate.status
    sign = "…" if status is None else _SIGNS.get(status, f"✗ {status.replace('_', ' ')}")
    words = [f"{one_line(delegate.agent, 60)} {sign}", str(delegate.cost)]
    if delegate.turns > 1:
        words.append(f"{delegate.turns} turns")
    if delegate.model:
        words.append(one_line(delegate.model, 60))
    return " · ".join(words)


def task_of(delegate: Delegate, tool: ToolSegment) -> str:
    """Return what it was asked, in one line, unless the card says that already."""
    if delegate.task.strip() == str((tool.arguments or {}).get("task", "")).strip():
        return ""
    return one_line(delegate.task, 200)


def live_lines(tool: ToolSegment) -> list[str]:
    """Return a few lines about the agents that work for a call, as plain text."""
    return list(islice(_live(tool, 0), _LIVE_LINES))


def parts(delegate: Delegate) -> Iterator[Segment | str]:
    """Yield what is shown of an agent that is done: segments, cut, and a word on what is not."""
    shown = [s for s in delegate.segments if not isinstance(s, (FooterSegment, ThinkingSegment))]
    left = len(shown) - _MOST_SEGMENTS
    if left > 0:
        yield f"… {left} earlier steps are not shown"
    for segment in shown[max(0, left) :]:
        yield _bounded(segment)


def of_call(tool: ToolSegment) -> tuple[list[Delegate], int]:
    """Return the agents of a call that are shown, the last ones, and how many are not."""
    left = max(0, len(tool.delegates) - _MOST_DELEGATES)
    return tool.delegates[left:], left


def repeats(tool: ToolSegment) -> bool:
    """Tell whether a call answered what its agent is seen to say last."""
    said = tool.delegates[-1].segments if tool.delegates else []
    texts = [segment for segment in said if isinstance(segment, TextSegment)]
    if not texts or texts[-1].length > _MOST_CHARACTERS:
        return False
    return texts[-1].text.strip() == (tool.result or "").strip()


def view_of(tool: ToolSegment) -> Mapping[str, Any] | None:
    """Return the widget that asks in the place of a card: its own, or that of a call within."""
    if tool.view is not None:
        return tool.view
    for delegate in tool.delegates:
        for segment in delegate.segments:
            if isinstance(segment, ToolSegment) and (found := view_of(segment)) is not None:
                return found
    return None


def by_agent(agents: Mapping[str, Cost]) -> str:
    """Return what each agent cost itself, in words; nothing for one alone."""
    if len(agents) < 2:
        return ""
    return ", ".join(f"{one_line(name, 40)} {cost}" for name, cost in agents.items())


def _live(tool: ToolSegment, depth: int) -> Iterator[str]:
    indent = "  " * depth
    delegates, left = of_call(tool)
    if left:
        yield f"{indent}… and {left} before"
    for delegate in delegates:
        doing = f" · {one_line(delegate.activity, 60)}" if delegate.status is None else ""
        yield f"{indent}{title(delegate)}{doing}"
        last = delegate.segments[-1] if delegate.segments else None
        if delegate.status is None and last is not None:
            yield from _doing(last, depth + 1)


def _doing(segment: Segment, depth: int) -> Iterator[str]:
    indent = "  " * depth
    match segment:
        case ToolSegment():
            if segment.state == "approval":
                yield f"{indent}{one_line(segment.name, 60)}? waits for you"
            elif segment.delegates and depth <= _DEEPEST:
                yield from _live(segment, depth)
            elif segment.progress:
                yield f"{indent}{one_line(segment.progress[-1], _LIVE_CHARACTERS)}"
        case TextSegment():
            # Cleaned before it is cut, or half a key would pass.
            said = clean(settled(segment.recent(4 * _LIVE_CHARACTERS)))
            line = one_line(said[-_LIVE_CHARACTERS:], _LIVE_CHARACTERS)
            if line:
                yield f"{indent}{line}"


def _bounded(segment: Segment) -> Segment:
    """Return a segment with no more text than is read, and without pictures."""
    match segment:
        case TextSegment() if segment.length > _MOST_CHARACTERS:
            said = f"{segment.text[:_MOST_CHARACTERS]}\n\n… {segment.length:,} characters in all"
            return TextSegment([said], len(said), finished=True)
        case ToolSegment() if segment.images:
            return replace(segment, images=())
    return segment

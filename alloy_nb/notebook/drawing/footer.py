"""What a run used and cost, in words. Pure."""

from __future__ import annotations

from alloy_nb.markup.plain import one_line
from alloy_nb.notebook.drawing.nested import by_agent
from alloy_nb.notebook.drawing.segments import FooterSegment
from alloy_nb.usage import Cost

__all__ = ["footer_words", "seconds_told"]


def footer_words(segment: FooterSegment) -> list[str]:
    """Return what a run used and cost, as far as it is known, a word for each fact."""
    usage = segment.usage
    counted = usage.total_tokens or not usage.unreported
    words = [
        f"↑{_count(usage.input_tokens)} ↓{_count(usage.output_tokens)}"
        if counted
        else "tokens unknown"
    ]
    if usage.cache_read_tokens:
        words.append(f"cached {_count(usage.cache_read_tokens)}")
    if usage.cache_write_tokens:
        words.append(f"cache +{_count(usage.cache_write_tokens)}")
    words += [_cost(segment.cost, segment.total), seconds_told(segment.seconds)]
    if segment.window_share is not None and segment.window:
        words.append(f"{100 * segment.window_share:.0f}% of {_count(segment.window)}")
    if segment.turns > 1:
        words.append(f"{segment.turns} turns")
    if segment.model:
        words.append(one_line(segment.model, 80))
    if segment.status != "completed":
        words.append(segment.status.replace("_", " "))
    if agents := by_agent(segment.agents):
        words.append(agents)
    if segment.label:
        words.append(segment.label)
    return words


def _cost(cost: Cost, total: Cost | None) -> str:
    return str(cost) if total is None or total == cost else f"{cost} (Σ {total})"


def _count(number: int) -> str:
    if number < 1000:
        return str(number)
    if number < 1_000_000:
        return f"{number / 1000:.1f}".removesuffix(".0") + "k"
    return f"{number / 1_000_000:.1f}".removesuffix(".0") + "M"


def seconds_told(seconds: float) -> str:
    """Return a time as one reads it."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60} s"

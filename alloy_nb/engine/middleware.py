"""Middleware: three onions, each of the shape of what it wraps.

A middleware may wrap the whole run, each request to the model, and each call of a tool. The first
in the list is the outermost. A streaming call is wrapped by a stream, never awaited whole:

    class Shout(Middleware):
        async def model(self, request, next):
            async for event in next(request):
                if isinstance(event, TextDelta):
                    event = replace(event, text=event.text.upper())
                yield event

Raise `Halted` anywhere to end the run with the status *halted*.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from alloy_nb.events import ModelEvent
from alloy_nb.messages import ToolCall, ToolResult
from alloy_nb.providers.base import ModelRequest

if TYPE_CHECKING:
    from alloy_nb.engine.run import Result, Run

__all__ = ["Middleware"]

RunNext: TypeAlias = "Callable[[Run], Awaitable[Result]]"
ModelNext: TypeAlias = Callable[[ModelRequest], AsyncIterator[ModelEvent]]
ToolNext: TypeAlias = Callable[[ToolCall], Awaitable[ToolResult]]


class Middleware:
    """Every method passes through unless a subclass says otherwise."""

    async def run(self, run: Run, next: RunNext) -> Result:  # noqa: A002  # the word of every onion
        """Wrap a whole run."""
        return await next(run)

    def model(self, request: ModelRequest, next: ModelNext) -> AsyncIterator[ModelEvent]:  # noqa: A002
        """Wrap one request and the stream of its reply."""
        return next(request)

    async def tool(self, call: ToolCall, next: ToolNext) -> ToolResult:  # noqa: A002
        """Wrap one call; return a result without calling `next` to block it."""
        return await next(call)


def around_run(layers: Sequence[Middleware], core: RunNext) -> RunNext:
    """Return `core` inside all layers."""
    for layer in reversed(layers):
        core = partial(layer.run, next=core)
    return core


def around_model(layers: Sequence[Middleware], core: ModelNext) -> ModelNext:
    """Return `core` inside all layers; without any it is `core` itself, at no cost a token."""
    for layer in reversed(layers):
        core = partial(layer.model, next=core)
    return core


def around_tool(layers: Sequence[Middleware], core: ToolNext) -> ToolNext:
    """Return `core` inside all layers."""
    for layer in reversed(layers):
        core = partial(layer.tool, next=core)
    return core

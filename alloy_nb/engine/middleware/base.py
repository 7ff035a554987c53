# ruff: noqa: ARG002  # what one is told has a name, also where nothing is done with it
"""Middleware: three onions, each of the shape of what it wraps, and what it is told besides.

A middleware may wrap the whole run, each request to the model, and each call of a tool. The first
in the list is the outermost. A streaming call is wrapped by a stream, never awaited whole:

    class Shout(Middleware):
        async def model(self, request, next):
            async for event in next(request):
                if isinstance(event, TextDelta):
                    event = replace(event, text=event.text.upper())
                yield event

Where an onion is too much, there are the places between its layers. At each of them all
middlewares are told in the order of the list, and each is given what the one before it returned:

==========================  ==================================================================
``before_tool_call``        each call of a reply, in order, before any of them starts
``after_tool_request``      a reply that calls tools, before them
``after_tool_execution``    the results, before they go to the model
``after_completion``        the outcome of a run that ended with an answer
``on_error``                the error that ends a run
``compacted``               a history that was shortened
``session_start`` / `_end`  a session
==========================  ==================================================================

:mod:`alloy_nb.engine.middleware.hooks` makes a middleware of one plain function for any of them.
Raise `Halted` anywhere to end the run with the status *halted*: nobody further down the list is
told.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from alloy_nb.engine.retry import close
from alloy_nb.engine.run import RunStatus
from alloy_nb.errors import BudgetExceeded, ConfigError, Halted
from alloy_nb.events import BlockStarted, ModelEvent, ReplyStarted, Stopped, UsageReported
from alloy_nb.messages import Message, ToolCall, ToolResult
from alloy_nb.providers.base import ModelRequest

if TYPE_CHECKING:
    from alloy_nb.engine.calls.tool import Tool
    from alloy_nb.engine.run import Result, Run
    from alloy_nb.engine.sessions.session import Session

__all__ = ["Block", "HookContext", "Middleware", "current_run"]

log = logging.getLogger("alloy_nb")

RunNext: TypeAlias = "Callable[[Run], Awaitable[Result]]"
ModelNext: TypeAlias = Callable[[ModelRequest], AsyncIterator[ModelEvent]]
ToolNext: TypeAlias = Callable[[ToolCall], Awaitable[ToolResult]]


@dataclass(frozen=True, slots=True)
class Block:
    """An answer to `before_tool_call`: the call does not run, and the model is told why."""

    reason: str


@dataclass(frozen=True, slots=True)
class HookContext:
    """Where one is: the run, the agent's ``context=``, and the call that is about to run, if any.

    All middlewares that are told of one thing are given the same context.
    """

    run: Run | None
    values: Mapping[str, Any]
    current_tool_call: ToolCall | None = None
    """The call as the model made it, in `before_tool_call`."""
    tool: Tool | None = None
    """The tool that it names, where there is one."""


class Middleware:
    """Every method passes through unless a subclass says otherwise."""

    inherited: bool = False
    """Whether it also wraps the runs that a run begins, outside of their own."""

    async def run(self, run: Run, next: RunNext) -> Result:  # noqa: A002  # the word of every onion
        """Wrap a whole run."""
        return await next(run)

    def model(self, request: ModelRequest, next: ModelNext) -> AsyncIterator[ModelEvent]:  # noqa: A002
        """Wrap one request and the stream of its reply."""
        return next(request)

    async def tool(self, call: ToolCall, next: ToolNext) -> ToolResult:  # noqa: A002
        """Wrap one call; return a result without calling `next` to block it."""
        return await next(call)

    async def before_tool_call(
        self, call: ToolCall, context: HookContext
    ) -> ToolCall | Block | None:
        """Look at a call before any of its message starts.

        Return another call with the same id and name to run that instead, or a `Block`. The first
        answer counts, unless a later one is stricter: a block counts after an edit. Everyone in
        the list is told of the call as it stands by then, so that no editor hides it from a policy.
        """
        return None

    async def after_tool_request(self, calls: Sequence[ToolCall], context: HookContext) -> None:
        """Hear that the model asks for tools, before the first of them is looked at."""

    async def after_tool_execution(
        self, results: Sequence[ToolResult], context: HookContext
    ) -> Sequence[ToolResult] | None:
        """Hear what the tools answered; return other results to the same calls instead of these."""
        return None

    async def after_completion(self, result: Result, context: HookContext) -> Result | None:
        """Hear that a run ended with an answer; return another result in its place."""
        return None

    async def on_error(self, error: Exception, context: HookContext) -> None:
        """Hear of the error that ends a run; `Halted` makes it a halt instead of an error."""

    async def compacted(self, messages: list[Message]) -> list[Message] | None:
        """Hear what a compaction left; return other messages to put in their place."""
        return None

    async def session_start(self, session: Session) -> None:
        """Hear that a session has begun; `Halted` ends it at once."""

    async def session_end(self, session: Session) -> None:
        """Hear that a session has ended, however it ended."""


_running: ContextVar[Run | None] = ContextVar("alloy_run", default=None)


def current_run() -> Run | None:
    """Return the run that this code is a part of, in middleware and in tools."""
    return _running.get()


def hook_context() -> HookContext:
    """Return the context of what is not about a call."""
    run = _running.get()
    return HookContext(run, {} if run is None else run.context)


def around_run(layers: Sequence[Middleware], core: RunNext) -> RunNext:
    """Return `core` inside all layers, which then hear of its answer or its error."""
    wrapped: RunNext = partial(_told, layers, core) if layers else core
    for layer in reversed(layers):
        wrapped = partial(layer.run, next=wrapped)

    async def running(run: Run) -> Result:
        token = _running.set(run)
        try:
            return await wrapped(run)
        finally:
            _running.reset(token)

    return running


async def _told(layers: Sequence[Middleware], core: RunNext, run: Run) -> Result:
    context = HookContext(run, run.context)
    try:
        result = await core(run)
    except (Halted, BudgetExceeded):
        raise  # these are ends, not errors
    except Exception as error:  # whatever it is, the middleware is told, and it goes on
        await _tell_error(layers, error, context)
        raise
    if result.status is RunStatus.COMPLETED:
        for layer in layers:
            changed = await layer.after_completion(result, context)
            result = result if changed is None else changed
    elif result.status is RunStatus.ERROR and result.exception is not None:
        await _tell_error(layers, result.exception, context)
    return result


async def _tell_error(layers: Sequence[Middleware], error: Exception, context: HookContext) -> None:
    for layer in layers:
        try:
            await layer.on_error(error, context)
        except (Halted, ConfigError) as answer:
            raise answer from error
        except Exception:  # a fault in here must not hide the error that it is told of
            log.exception("A middleware failed in on_error")


def around_model(layers: Sequence[Middleware], core: ModelNext) -> ModelNext:
    """Return `core` inside all layers; without any it is `core` itself, at no cost a token."""
    if log.isEnabledFor(logging.DEBUG):
        core = partial(_logged, core)
    for layer in reversed(layers):
        core = partial(layer.model, next=core)
    return core


async def _logged(core: ModelNext, request: ModelRequest) -> AsyncIterator[ModelEvent]:
    """Pass a reply through, and write one line when it is over."""
    began, calls = time.monotonic(), 0
    outcome, usage, model = "cut", None, None
    stream = core(request)
    try:
        async for event in stream:
            match event:
                case BlockStarted(kind="tool_call"):
                    calls += 1
                case UsageReported():
                    usage = event.usage
                case ReplyStarted():
                    model = event.model
                case Stopped():
                    outcome = event.reason.value
            yield event
    except BaseException as error:  # the line says how each request ended, a stopped one too
        outcome = type(error).__name__
        raise
    finally:
        await close(stream)
        run = _running.get()
        log.debug(
            "request: run=%s model=%s messages=%d tools=%d outcome=%s calls=%d tokens=%s "
            "seconds=%.3f",
            run.correlation_id if run else "-",
            model or "unknown",
            len(request.messages),
            len(request.tools),
            outcome,
            calls,
            f"{usage.input_tokens}+{usage.output_tokens}" if usage else "unknown",
            time.monotonic() - began,
        )


def around_tool(layers: Sequence[Middleware], core: ToolNext) -> ToolNext:
    """Return `core` inside all layers."""
    for layer in reversed(layers):
        core = partial(layer.tool, next=core)
    return core

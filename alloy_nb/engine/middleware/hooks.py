"""Hooks: a middleware made of one function, for one place.

::

    @before_tool_call
    def no_deletes(call):
        if "rm" in str(call.input.get("command", "")):
            return Block("Deleting is not allowed here. Move the files instead.")

    al.run("Tidy up.", provider="anthropic/claude-sonnet-4-6", tools=[al.bash],
           middleware=[no_deletes])

A hook is a plain or an ``async`` function. A plain one runs in a thread, so that it may take its
time. It takes what its place is about and, if it has a second parameter, the `HookContext`. It
returns nothing to let things be, or:

=========================  ======================  ======================================
place                      about                   may return
=========================  ======================  ======================================
`before_completion`        the `ModelRequest`      another request
`after_tool_request`       the list of calls
`before_tool_call`         one call                `Block`, or the call with other input
`after_tool_execution`     the list of results     other results to the same calls
`after_completion`         the `Result`            another result
`after_compaction`         the messages            other messages
`on_error`                 the error
`session_start`            the `Session`
`session_end`              the `Session`
=========================  ======================  ======================================

From any of them, ``Halt(reason)`` ends the run with the status *halted*, as raising `Halted` does,
and the hooks after it are not called. Hooks are called in the order of ``middleware=[...]``.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from alloy_nb.engine.calls.workers import in_thread
from alloy_nb.engine.middleware.base import (
    Block,
    HookContext,
    Middleware,
    ModelNext,
    hook_context,
)
from alloy_nb.engine.retry import close
from alloy_nb.engine.run import Result
from alloy_nb.errors import ConfigError, Halted
from alloy_nb.events import ModelEvent
from alloy_nb.messages import Message, ToolCall, ToolResult
from alloy_nb.providers.base import ModelRequest

if TYPE_CHECKING:
    from alloy_nb.engine.sessions.session import Session

__all__ = [
    "Halt",
    "after_compaction",
    "after_completion",
    "after_tool_execution",
    "after_tool_request",
    "before_completion",
    "before_tool_call",
    "on_error",
    "session_end",
    "session_start",
]


@dataclass(frozen=True, slots=True)
class Halt:
    """An answer of any hook: the run ends with the status *halted*, and says why."""

    reason: str


_About = TypeVar("_About")
_Answer = TypeVar("_Answer")
# One parameter or two, plain or async. A `Block` is an answer of `before_tool_call` alone, so that
# a type checker refuses it anywhere else.
_Says: TypeAlias = _Answer | Halt | Awaitable[_Answer | Halt | None] | None
Hook: TypeAlias = (
    Callable[[_About], _Says[_Answer]] | Callable[[_About, HookContext], _Says[_Answer]]
)
_Hears: TypeAlias = (
    Callable[[_About], Halt | Awaitable[Halt | None] | None]
    | Callable[[_About, HookContext], Halt | Awaitable[Halt | None] | None]
)


class _Hook(Middleware):
    """A function and the name of its place."""

    def __init__(self, function: Callable[..., Any], place: str) -> None:
        if not callable(function):
            raise ConfigError(f"@{place} decorates a function, not {function!r}.")
        self.function = function
        self.place = place
        self.__doc__ = function.__doc__
        self.__name__ = getattr(function, "__name__", place)
        self._takes_context = _takes_two(function, place)

    def __repr__(self) -> str:
        return f"<{self.place} hook {self.__name__}>"

    async def ask(
        self, about: Any, context: HookContext, *, expects: type | UnionType | None = None
    ) -> Any:
        """Call the function and return its answer.

        Raises:
            Halted: That is its answer.
            ConfigError: Its answer is none of this place.
        """
        call = partial(self.function, *((about, context) if self._takes_context else (about,)))
        if _is_async(self.function):
            answer = await call()
        else:
            answer = await in_thread(call)
            if inspect.isawaitable(answer):  # a plain function that made a coroutine
                answer = await answer
        if isinstance(answer, Halt):
            raise Halted(answer.reason)
        if answer is not None and not (expects and isinstance(answer, expects)):
            raise ConfigError(self._misplaced(answer, expects))
        return answer

    def _misplaced(self, answer: object, expects: type | UnionType | None) -> str:
        if isinstance(answer, Block):
            return (
                f"{self.__name__} blocks at @{self.place}, where there is no call to block: "
                "decorate it with @before_tool_call."
            )
        kinds: tuple[Any, ...] = getattr(expects, "__args__", (expects,)) if expects else ()
        may = ", ".join([*(kind.__name__ for kind in kinds), "Halt or None"])
        return (
            f"{self.__name__} returned a {type(answer).__name__} at @{self.place}, "
            f"which takes {may}."
        )


class _BeforeCompletion(_Hook):
    async def model(self, request: ModelRequest, next: ModelNext) -> AsyncIterator[ModelEvent]:  # noqa: A002
        changed = await self.ask(request, hook_context(), expects=ModelRequest)
        stream = next(request if changed is None else changed)
        try:
            async for event in stream:
                yield event
        finally:
            await close(stream)


class _AfterCompletion(_Hook):
    async def after_completion(self, result: Result, context: HookContext) -> Result | None:
        changed: Result | None = await self.ask(result, context, expects=Result)
        return changed


class _AfterToolRequest(_Hook):
    async def after_tool_request(self, calls: Sequence[ToolCall], context: HookContext) -> None:
        await self.ask(list(calls), context)


class _BeforeToolCall(_Hook):
    async def before_tool_call(
        self, call: ToolCall, context: HookContext
    ) -> ToolCall | Block | None:
        answer: ToolCall | Block | None = await self.ask(
            call,
            context,
            expects=ToolCall | Block,
        )
        return answer


class _AfterToolExecution(_Hook):
    async def after_tool_execution(
        self, results: Sequence[ToolResult], context: HookContext
    ) -> Sequence[ToolResult] | None:
        changed: list[ToolResult] | None = await self.ask(list(results), context, expects=list)
        return changed


class _AfterCompaction(_Hook):
    async def compacted(self, messages: list[Message]) -> list[Message] | None:
        changed: list[Message] | None = await self.ask(list(messages), hook_context(), expects=list)
        return changed


class _OnError(_Hook):
    async def on_error(self, error: Exception, context: HookContext) -> None:
        await self.ask(error, context)


class _SessionStart(_Hook):
    async def session_start(self, session: Session) -> None:
        await self.ask(session, hook_context())


class _SessionEnd(_Hook):
    async def session_end(self, session: Session) -> None:
        await self.ask(session, hook_context())


def before_completion(function: Hook[ModelRequest, ModelRequest]) -> Middleware:
    """Call the function before each request to the model; it may return another request."""
    return _BeforeCompletion(function, "before_completion")


def after_completion(function: Hook[Result, Result]) -> Middleware:
    """Call the function when a run ended with an answer; it may return another result.

    It is not called for replies that ask for tools, nor for runs that were cut, stopped or failed.
    """
    return _AfterCompletion(function, "after_completion")


def after_tool_request(function: _Hears[list[ToolCall]]) -> Middleware:
    """Call the function with the calls of a reply, before any is looked at."""
    return _AfterToolRequest(function, "after_tool_request")


def before_tool_call(function: Hook[ToolCall, ToolCall | Block]) -> Middleware:
    """Call the function for each call, before any of its reply starts and before anyone is asked.

    It may return a `Block`, or the call with other input: ``call.model_copy(update={"input":
    {...}})``. The edited call is what is asked about, run, recorded and shown; the reply in the
    history stays as it was.
    """
    return _BeforeToolCall(function, "before_tool_call")


def after_tool_execution(function: Hook[list[ToolResult], list[ToolResult]]) -> Middleware:
    """Call the function with the results of a reply's calls; it may return others to the same."""
    return _AfterToolExecution(function, "after_tool_execution")


def after_compaction(function: Hook[list[Message], list[Message]]) -> Middleware:
    """Call the function with the messages that a compaction left; it may return others."""
    return _AfterCompaction(function, "after_compaction")


def on_error(function: _Hears[Exception]) -> Middleware:
    """Call the function with the error that ends a run; `Halt` makes it a halt instead."""
    return _OnError(function, "on_error")


def session_start(function: _Hears[Session]) -> Middleware:
    """Call the function with a session before its first turn; after `Halt` it does not start."""
    return _SessionStart(function, "session_start")


def session_end(function: _Hears[Session]) -> Middleware:
    """Call the function with a session that ends; a `Halt` here is only logged."""
    return _SessionEnd(function, "session_end")


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004  # an object whose call is async
    )


def _takes_two(function: Callable[..., Any], place: str) -> bool:
    """Tell whether a function wants the context too; one that takes neither is refused."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some builtins have none: they take what the place is about
        return False
    for wanted in (("about", "context"), ("about",)):
        try:
            signature.bind(*wanted)
        except TypeError:
            continue
        # A second parameter with a default of its own is not for us.
        return len(wanted) == 2 and _is_required(signature)
    raise ConfigError(
        f"A hook takes one argument, or two: what @{place} is about, and the context."
    )


def _is_required(signature: inspect.Signature) -> bool:
    positional = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if len(positional) < 2:
        return False  # *args: one is enough
    second = positional[1]
    return second.default is second.empty or second.name == "context"

"""Runs the calls of one message: asks first, then side by side, and answers in their order.

The order, for all calls of the message:

1. Middleware looks at each (`before_tool_call`): it may block it, or change its arguments.
2. The policy decides about each that could run, and perhaps asks a person about it.
3. What may run runs: tools that must be alone one after another, then the others side by side.

So nothing has started while anyone can still stop all of it. Every call gets exactly one result,
whatever happens to it: an unknown name, arguments that are not valid, a refusal, an exception,
``sys.exit``, a value whose ``repr`` hangs, a time limit, an interrupt.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import partial
from typing import Any

from alloy_nb.engine import portal
from alloy_nb.engine.calls.approval import Decider, decided, in_words
from alloy_nb.engine.calls.tool import Tool, ToolContext, ask_anew, content_of
from alloy_nb.engine.calls.workers import in_thread
from alloy_nb.engine.middleware.base import Block, HookContext, Middleware, around_tool
from alloy_nb.engine.middleware.logs import log
from alloy_nb.engine.run import Run, ToolRecord
from alloy_nb.errors import AlloyError, ConfigError, Halted, ToolError
from alloy_nb.events import (
    ApprovalAsked,
    ApprovalDecided,
    ToolFinished,
    ToolProgress,
    ToolStarted,
)
from alloy_nb.messages import Document, Image, Text, ToolCall, ToolResult
from alloy_nb.providers.handoff import INTERRUPTED, NOT_STARTED, REJECTED
from alloy_nb.secrets import redact

__all__ = ["Executor"]

Output = tuple[tuple[Text | Image | Document, ...], Any, bool]

# No model reads more at once, and no vendor takes a much longer request.
_LONGEST = 2_000_000
# To ask anything else of a value may run code of the user's.
_TOLD_AT_ONCE = (str, type(None))
_EDITED = "The user edited this call before it ran. What ran:\n{}\n\nIts result:"
# Longer than any key, so that one which is cut in two is cut away.
_MARGIN = 4_096


@dataclass(slots=True)
class _Pending:
    """One call on its way to its result."""

    call: ToolCall
    tool: Tool | None
    blocked: Block | None = None
    result: ToolResult | None = None
    started: float | None = None
    seconds: float = 0.0
    data: Any = None
    note: str = ""
    """What the model is told before the result."""
    decision: str = ""
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class Executor:
    """Runs calls with an agent's tools.

    Args:
        tools: What may be called, by name.
        approve: Decides whether a call may run; ``None`` allows all.
        context: What tools may know.
        timeout: Seconds for a call whose tool sets no limit; ``None`` sets none.
        deadline: ``time.monotonic()`` at which the run is over, and no call goes on.
        middleware: Wraps each call.
        run: Where events go.
    """

    def __init__(
        self,
        tools: Mapping[str, Tool],
        *,
        approve: Decider | None,
        context: ToolContext,
        timeout: float | None,
        deadline: float | None,
        middleware: Sequence[Middleware],
        run: Run,
    ) -> None:
        self._tools = tools
        self._approve = approve
        self._context = context
        self._timeout = timeout
        self._deadline = deadline
        self._middleware = middleware
        self._run = run
        self._pending: list[_Pending] = []

    async def execute(self, calls: Sequence[ToolCall]) -> None:
        """Run the calls; `results` and `records` hold the outcome, also after a cancellation.

        Raises:
            Halted: A middleware ended the run.
        """
        self._pending = [_Pending(call, self._tools.get(call.name)) for call in calls]
        await self._look(calls)
        runnable = [pending for pending in self._pending if self._is_runnable(pending)]
        for pending in runnable:
            await self._ask(pending)
        runnable = [pending for pending in runnable if pending.result is None]
        # Tools that must not run beside others go first, one after another.
        for pending in runnable:
            if pending.tool is not None and not pending.tool.concurrent:
                await self._one(pending)
        beside = [p for p in runnable if p.result is None]
        if len(beside) == 1:
            await self._one(beside[0])
        elif beside:
            await self._side_by_side(beside)
        await self._tell()

    def results(self) -> list[ToolResult]:
        """Return one result for each call, in the model's order.

        A call without an outcome was stopped: before it started, or while it ran.
        """
        return [pending.result or _stopped(pending) for pending in self._pending]

    def records(self) -> list[ToolRecord]:
        """Return what became of each call, in the model's order."""
        return [_record(pending, pending.result or _stopped(pending)) for pending in self._pending]

    # --- before it runs -------------------------------------------------------------------------

    async def _look(self, calls: Sequence[ToolCall]) -> None:
        """Let middleware look at all calls; nothing has an outcome before all were looked at."""
        if not self._middleware:
            return
        context = HookContext(self._run, self._context.values)
        for layer in self._middleware:
            await layer.after_tool_request(calls, context)
        for pending in self._pending:
            await self._look_at(pending)

    async def _look_at(self, pending: _Pending) -> None:
        made = pending.call.model_copy(deep=True)
        context = HookContext(self._run, self._context.values, made, pending.tool)
        edited = False
        for layer in self._middleware:
            # A copy each: what is changed in place and not returned is not kept, and the message
            # in the history stays as the model made it.
            given = pending.call.model_copy(deep=True)
            try:
                answer = await layer.before_tool_call(given, context)
            except AlloyError:
                raise
            except Exception as error:  # a check that failed has not allowed anything
                log.exception("A middleware failed before %s", pending.call.name)
                answer = Block(f"A check of this call failed: {_described(error)}")
            if isinstance(answer, Block):
                pending.blocked = pending.blocked or answer
            elif answer is not None and not edited and pending.blocked is None:
                pending.call, edited = _same(pending.call, answer), True

    async def _tell(self) -> None:
        """Let middleware hear the results, and answer other ones in their place."""
        if not self._middleware:
            return
        context = HookContext(self._run, self._context.values)
        for layer in self._middleware:
            results = self.results()
            changed = await layer.after_tool_execution(results, context)
            if changed is None:
                continue
            if [r.call_id for r in changed] != [r.call_id for r in results]:
                raise ConfigError(
                    "after_tool_execution has to return one result for each call, in their order."
                )
            for pending, result in zip(self._pending, changed, strict=True):
                pending.result = result

    def _is_runnable(self, pending: _Pending) -> bool:
        """Answer a call that cannot run at all with what is wrong with it."""
        call = pending.call
        if pending.blocked is not None:
            # Whoever watches sees it as a call that began and failed at once.
            self._run.emit(ToolStarted(call))
            text = f"Blocked: {pending.blocked.reason}"
        elif call.invalid is not None:
            cut = call.invalid if len(call.invalid) <= 500 else f"{call.invalid[:500]}..."
            text = f"The arguments are not a JSON object, so {call.name} did not run: {cut}"
        elif pending.tool is None:
            near = get_close_matches(call.name, self._tools, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            names = ", ".join(self._tools) or "none"
            text = f"Unknown tool: {call.name}.{hint} The tools are: {names}."
        else:
            return True
        self._settle(pending, _error(call, text))
        return False

    async def _ask(self, pending: _Pending) -> None:
        call, tool = pending.call, pending.tool
        if self._approve is None or tool is None:
            return
        # What the person reads is made before they are asked, so that it is what will run.
        subject = _subject(tool, call)
        if tool.risk != "read":
            self._run.emit(ApprovalAsked(call, subject))
        try:
            decision = await decided(self._approve, call, tool)
        except asyncio.CancelledError:
            self._run.emit(ApprovalDecided(call, allowed=False, how="stopped"))
            raise
        if decision.allowed and decision.arguments is not None:
            pending.call = call = call.model_copy(update={"input": dict(decision.arguments)})
            pending.note = _EDITED.format(_subject(tool, call))
        if tool.risk != "read" or not decision.allowed:
            reason = redact(decision.reason)
            self._run.emit(ApprovalDecided(call, decision.allowed, decision.how, reason))
            pending.decision = in_words(decision.how, allowed=decision.allowed, reason=reason)
        log.info(
            "approval: run=%s name=%s id=%s risk=%s allowed=%s how=%s",
            self._run.correlation_id,
            call.name,
            call.id,
            tool.risk,
            decision.allowed,
            decision.how,
        )
        if not decision.allowed:
            reason = f" {decision.reason}" if decision.reason else ""
            self._settle(pending, _error(call, f"{REJECTED}{reason}"))

    # --- while it runs --------------------------------------------------------------------------

    async def _side_by_side(self, beside: list[_Pending]) -> None:
        tasks = [asyncio.ensure_future(self._one(pending)) for pending in beside]
        try:
            await asyncio.gather(*tasks)
        except BaseException:  # raised again, once no call is left running
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    async def _one(self, pending: _Pending) -> None:
        """Run one call inside its middleware and settle it."""
        pending.started = time.monotonic()
        self._run.emit(ToolStarted(pending.call))

        async def core(call: ToolCall) -> ToolResult:
            result, pending.data = await self._call(pending, _same(pending.call, call))
            return result

        try:
            result = await around_tool(self._middleware, core)(pending.call)
            result = _answering(pending.call, result)
        except (asyncio.CancelledError, Halted):
            raise
        except BaseException as error:  # a middleware's fault must not leave a call unanswered
            log.exception("A middleware failed around %s", pending.call.name)
            result = _error(pending.call, f"Tool crashed: {_described(error)}")
        self._settle(pending, _noted(result, pending.note))

    async def _call(self, pending: _Pending, call: ToolCall) -> tuple[ToolResult, Any]:
        tool = self._tools[call.name]
        limit = self._limit(tool)
        timer = asyncio.timeout(limit)
        try:
            run = tool.bind(call.input, self._context_for(pending, limit))
            async with timer:
                content, data, is_error = await self._output(tool, run)
        except ToolError as error:
            return _error(call, str(error)), None
        except BaseException as error:  # also SystemExit: a tool must not end the kernel
            if _is_cancellation(error, tool):
                raise
            if timer.expired():
                text = f"Tool crashed: {call.name} ran into its limit of {limit:.3g} s."
                return _error(call, text), None
            log.debug("Tool %s failed", call.name, exc_info=True)
            return _error(call, f"Tool crashed: {_described(error)}"), None
        # What went wrong is told whole.
        longest = None if is_error else tool.max_result_chars
        parts = tuple(_bounded(part, longest) for part in content)
        result = ToolResult(call_id=call.id, name=call.name, content=parts, is_error=is_error)
        return result, data

    def _limit(self, tool: Tool) -> float | None:
        """Return the seconds that a call has: its own limit, or what is left of the run."""
        limit = tool.timeout if tool.timeout is not None else self._timeout
        if self._deadline is None:
            return limit
        left = max(0.0, self._deadline - time.monotonic())
        return left if limit is None else min(limit, left)

    async def _output(self, tool: Tool, run: Callable[[], Any]) -> Output:
        """Call the tool and describe its value, where a ``repr`` that hangs holds up nobody."""
        value: Any
        if tool.is_async:
            value = await run()
        else:
            work = partial(_described_value, run)
            value = await (portal.on_host(work) if tool.main_thread else in_thread(work))
            if isinstance(value, _Described):
                return value.output
            value = await value
        if type(value) in _TOLD_AT_ONCE:
            return content_of(value)
        described: Output = await in_thread(partial(content_of, value))
        return described

    def _context_for(self, pending: _Pending, limit: float | None) -> ToolContext:
        loop = asyncio.get_running_loop()
        call = pending.call

        def tell(text: str) -> None:
            # A thread that was given up goes on, and has nothing to say any more.
            if pending.result is None and not self._run.done:
                self._run.emit(ToolProgress(call.id, redact(text)))

        def progress(text: str) -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody listens
                loop.call_soon_threadsafe(tell, text)

        return replace(
            self._context,
            call_id=call.id,
            progress=progress,
            on_main=portal.on_host,
            deadline=None if limit is None else time.monotonic() + limit,
            ask=ask_anew(
                None if self._approve is None else partial(decided, self._approve),
                call,
                self._tools[call.name],
            ),
        )

    def _settle(self, pending: _Pending, result: ToolResult) -> None:
        if pending.started is not None:
            pending.seconds = time.monotonic() - pending.started
        pending.result = result
        log.debug(
            "tool: run=%s name=%s id=%s outcome=%s seconds=%.3f",
            self._run.correlation_id,
            pending.call.name,
            pending.call.id,
            "error" if result.is_error else "ok",
            pending.seconds,
        )
        self._run.emit(ToolFinished(pending.call, result, pending.seconds, pending.data))


@dataclass(frozen=True, slots=True)
class _Described:
    """What a plain tool returned, as blocks; an awaitable that it returned stays one."""

    output: Output


def _described_value(run: Callable[[], Any]) -> Any:
    value = run()
    return value if inspect.isawaitable(value) else _Described(content_of(value))


def _described(error: BaseException) -> str:
    """Return an error's type and text; the text is made by code of the user's, which may fail."""
    try:
        text = str(error)
    except BaseException as failure:  # its type is all that can be said
        text = f"its text could not be made ({type(failure).__name__})"
    return f"{type(error).__name__}: {text}"


def _same(call: ToolCall, edited: ToolCall) -> ToolCall:
    """Return an edited call, if it is the same call still.

    Raises:
        ConfigError: Its id or its name was changed.
    """
    if (call.id, call.name) != (edited.id, edited.name):
        raise ConfigError(
            f"A middleware may change the input of a call, not its id or name: {call.name} became "
            f"{edited.name}."
        )
    return edited


def _answering(call: ToolCall, result: object) -> ToolResult:
    """Return what a middleware answered as the result of this call."""
    if not isinstance(result, ToolResult):
        raise TypeError(f"a middleware answered with {type(result).__name__}, not a ToolResult")
    if result.call_id == call.id and result.name == call.name:
        return result
    return result.model_copy(update={"call_id": call.id, "name": call.name})


def _noted(result: ToolResult, note: str) -> ToolResult:
    """Return a result with something that the model has to know before it."""
    if not note:
        return result
    return result.model_copy(update={"content": (Text(text=redact(note)), *result.content)})


def _is_cancellation(error: BaseException, tool: Tool) -> bool:
    """Tell whether the run is being stopped, or a tool merely let a CancelledError out."""
    if not isinstance(error, asyncio.CancelledError):
        return False
    task = asyncio.current_task()
    # An interrupt on the caller's thread cancels the wait for it, before it stops the run.
    return tool.main_thread or (task is not None and task.cancelling() > 0)


def _subject(tool: Tool, call: ToolCall) -> str:
    try:
        return tool.subject_of(call.input)
    except Exception:  # the arguments may be of any shape; the plain form shows all of them
        return f"{call.name}({call.input!r})"


def _error(call: ToolCall, text: str) -> ToolResult:
    content = (_bounded(Text(text=text), None),)
    return ToolResult(call_id=call.id, name=call.name, content=content, is_error=True)


def _stopped(pending: _Pending) -> ToolResult:
    text = NOT_STARTED if pending.started is None else INTERRUPTED
    return _noted(_error(pending.call, text), pending.note)


def _record(pending: _Pending, result: ToolResult) -> ToolRecord:
    call = pending.call
    return ToolRecord(
        id=call.id,
        name=call.name,
        input=call.input,
        seconds=pending.seconds,
        error=result.text if result.is_error else None,
        data=pending.data,
        decision=pending.decision,
    )


def _bounded(part: Text | Image | Document, limit: int | None) -> Text | Image | Document:
    if not isinstance(part, Text):
        return part
    length = len(part.text)
    asked = isinstance(limit, int) and limit >= 0
    limit = min(limit, _LONGEST) if asked and limit is not None else _LONGEST
    if length <= limit:
        text = redact(part.text)
    else:
        # The beginning says what it is, the end how it came out.
        head = limit * 4 // 5
        cut = f"\n[... {length:,} characters, cut to {limit:,} ...]\n"
        text = _begin(part.text, head) + cut + _end(part.text, limit - head)
    return part if text == part.text else part.model_copy(update={"text": text})


def _begin(text: str, size: int) -> str:
    """Return the first characters without keys, also without half a key at the border."""
    return redact(text[: size + _MARGIN])[:size]


def _end(text: str, size: int) -> str:
    masked = redact(text[max(0, len(text) - size - _MARGIN) :])
    return masked[max(0, len(masked) - size) :]

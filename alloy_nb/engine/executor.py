"""Runs the calls of one message: asks first, then side by side, and answers in their order.

Every call gets exactly one result, whatever happens to it: an unknown name, arguments that are not
valid, a refusal, an exception, ``sys.exit``, a time limit, an interrupt.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from alloy_nb.engine import portal
from alloy_nb.engine.approval import Decision
from alloy_nb.engine.middleware import Middleware, around_tool
from alloy_nb.engine.run import Run, ToolRecord
from alloy_nb.engine.tool import Tool, ToolContext, content_of
from alloy_nb.engine.workers import in_thread
from alloy_nb.errors import Halted, ToolError
from alloy_nb.events import ApprovalAsked, ToolFinished, ToolProgress, ToolStarted
from alloy_nb.messages import Document, Image, Text, ToolCall, ToolResult
from alloy_nb.providers.handoff import INTERRUPTED, NOT_STARTED, REJECTED
from alloy_nb.secrets import redact

__all__ = ["Executor"]

log = logging.getLogger("alloy_nb")

Approve = Callable[[ToolCall, Tool], Awaitable[Decision]]


@dataclass(slots=True)
class _Pending:
    """One call on its way to its result."""

    call: ToolCall
    tool: Tool | None
    result: ToolResult | None = None
    started: float | None = None
    seconds: float = 0.0
    data: Any = None
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
        approve: Approve | None,
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

    def results(self) -> list[ToolResult]:
        """Return one result for each call, in the model's order.

        A call without an outcome was stopped: before it started, or while it ran.
        """
        return [pending.result or _stopped(pending) for pending in self._pending]

    def records(self) -> list[ToolRecord]:
        """Return what became of each call, in the model's order."""
        return [_record(pending, pending.result or _stopped(pending)) for pending in self._pending]

    # --- before it runs -------------------------------------------------------------------------

    def _is_runnable(self, pending: _Pending) -> bool:
        """Answer a call that cannot run at all with what is wrong with it."""
        call = pending.call
        if call.invalid is not None:
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
        decision = await self._approve(call, tool)
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
            result, pending.data = await self._call(call)
            return result

        try:
            result = await around_tool(self._middleware, core)(pending.call)
        except (asyncio.CancelledError, Halted):
            raise
        except Exception as error:  # a middleware's fault must not leave a call unanswered
            log.exception("A middleware failed around %s", pending.call.name)
            result = _error(pending.call, f"Tool crashed: {type(error).__name__}: {error}")
        self._settle(pending, result)

    async def _call(self, call: ToolCall) -> tuple[ToolResult, Any]:
        tool = self._tools[call.name]
        limit = self._limit(tool)
        timer = asyncio.timeout(limit)
        try:
            run = tool.bind(call.input, self._context_for(call, limit))
            async with timer:
                value = await self._value(tool, run)
            content, data, is_error = content_of(value)
        except ToolError as error:
            return _error(call, str(error)), None
        except BaseException as error:  # also SystemExit: a tool must not end the kernel
            if _is_cancellation(error, tool):
                raise
            if timer.expired():
                text = f"Tool crashed: {call.name} ran into its limit of {limit:.3g} s."
                return _error(call, text), None
            log.debug("Tool %s failed", call.name, exc_info=True)
            return _error(call, f"Tool crashed: {type(error).__name__}: {error}"), None
        parts = tuple(_bounded(part, tool.max_result_chars) for part in content)
        result = ToolResult(call_id=call.id, name=call.name, content=parts, is_error=is_error)
        return result, data

    def _limit(self, tool: Tool) -> float | None:
        """Return the seconds that a call has: its own limit, or what is left of the run."""
        limit = tool.timeout if tool.timeout is not None else self._timeout
        if self._deadline is None:
            return limit
        left = max(0.0, self._deadline - time.monotonic())
        return left if limit is None else min(limit, left)

    async def _value(self, tool: Tool, run: Callable[[], Any]) -> Any:
        if tool.is_async:
            return await run()
        if tool.main_thread:
            return await portal.on_host(run)
        return await in_thread(run)

    def _context_for(self, call: ToolCall, limit: float | None) -> ToolContext:
        loop = asyncio.get_running_loop()

        pending = next((p for p in self._pending if p.call.id == call.id), None)

        def tell(text: str) -> None:
            # A thread that was given up goes on, and has nothing to say any more.
            if (pending is None or pending.result is None) and not self._run.done:
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
        )

    def _settle(self, pending: _Pending, result: ToolResult) -> None:
        if pending.started is not None:
            pending.seconds = time.monotonic() - pending.started
        pending.result = result
        self._run.emit(ToolFinished(pending.call, result, pending.seconds, pending.data))


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
    content = (Text(text=redact(text)),)
    return ToolResult(call_id=call.id, name=call.name, content=content, is_error=True)


def _stopped(pending: _Pending) -> ToolResult:
    return _error(pending.call, NOT_STARTED if pending.started is None else INTERRUPTED)


def _record(pending: _Pending, result: ToolResult) -> ToolRecord:
    call = pending.call
    return ToolRecord(
        id=call.id,
        name=call.name,
        input=call.input,
        seconds=pending.seconds,
        error=result.text if result.is_error else None,
        data=pending.data,
    )


def _bounded(part: Text | Image | Document, limit: int | None) -> Text | Image | Document:
    if not isinstance(part, Text):
        return part
    text = redact(part.text)
    if limit is not None and len(text) > limit:
        # The beginning says what it is, the end how it came out.
        head = limit * 4 // 5
        cut = f"\n[... {len(text):,} characters, cut to {limit:,} ...]\n"
        text = text[:head] + cut + text[len(text) - (limit - head) :]
    return part if text is part.text else part.model_copy(update={"text": text})

"""The dial on every tool: a table's file is read by ``read`` and ``bash`` as well as by ``python``.

The python tool tells by itself what its code printed and returned, since it alone knows the values.
Of any other tool, the text that it answered is withheld or cut before it becomes a part of the
conversation; the person is shown all of it, by an event of its own (`ToolWithheld`).

An agent that a run asks for help goes by the same dial: this middleware is handed down to it, and
the narrowest of the dials on the way holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from alloy_nb.analysis.findings import note_finding
from alloy_nb.engine.calls.tool import Tool, ToolContext
from alloy_nb.engine.middleware.base import HookContext, Middleware, RunNext, ToolNext, current_run
from alloy_nb.engine.run import Result, Run
from alloy_nb.engine.sessions.session import Session
from alloy_nb.errors import Halted, ToolError
from alloy_nb.events import ToolWithheld
from alloy_nb.messages import Text, ToolCall, ToolResult
from alloy_nb.notebook.inputs.columns import Columns
from alloy_nb.notebook.inputs.dial import Dial

__all__ = ["Withholding"]

_Key = tuple[str, str, str]

_dial: ContextVar[Dial | None] = ContextVar("alloy_dial", default=None)


class Withholding(Middleware):
    """Keeps from the model what its turn's dial keeps back.

    Args:
        python: The tool that goes by the dial itself.
        columns: Which names of columns may be told; it hears what code the model writes.
        session: Whose turns these are.
        namespace: The person's variables.
    """

    inherited = True

    def __init__(
        self, python: Tool, *, columns: Columns, session: Session, namespace: Mapping[str, Any]
    ) -> None:
        self._python = python
        self._columns = columns
        self._session = session
        self._namespace = namespace
        # Calls whose answers tell nothing that the model does not know, by the run that made them.
        self._harmless: set[_Key] = set()
        self._code: set[_Key] = set()
        self.widest: Dial | None = None
        """The widest dial of the conversation's turns so far; ``None`` where nobody knows."""

    async def run(self, run: Run, next: RunNext) -> Result:  # noqa: A002  # the word of every onion
        """Set the dial of a run: its own, or that of the run that asked it, if it is narrower."""
        dials = [Dial.of(run.context)]
        if (outer := _dial.get()) is not None:
            dials.append(outer)
        dial = min(dials, key=lambda dial: dial.width)
        self.widest = max(self.widest or dial, dial, key=lambda dial: dial.width)
        token = _dial.set(dial)
        try:
            return await next(run)
        finally:
            _dial.reset(token)

    async def before_tool_call(self, call: ToolCall, context: HookContext) -> None:
        """Note which calls answer by the dial already."""
        tool, key = context.tool, _key(context.run, call)
        if tool is None:
            return
        if tool.function is self._python.function:
            self._code.add(key)
            self._columns.said(self._session, str(call.input.get("code", "")))
            if Dial.of(context.values).width <= self._now().width:
                self._harmless.add(key)
        elif tool.function is note_finding.function or _is_refused(tool, call):
            self._harmless.add(key)

    async def tool(self, call: ToolCall, next: ToolNext) -> ToolResult:  # noqa: A002
        """Answer with what the dial lets through."""
        key = _key(current_run(), call)
        is_code = key in self._code
        if is_code:
            self._columns.look(self._namespace)
        try:
            result = await self._answer(call, next)
        finally:
            if is_code:
                self._columns.ran(self._namespace)
            self._code.discard(key)
            is_harmless = key in self._harmless
            self._harmless.discard(key)
        if self._now().level == "full" or (is_harmless and not _is_crash(result)):
            return result
        return self._withheld(call, result)

    async def _answer(self, call: ToolCall, next: ToolNext) -> ToolResult:  # noqa: A002
        try:
            return await next(call)
        except (asyncio.CancelledError, Halted):
            raise
        except Exception as error:  # of a middleware further in, which may have read the answer
            if self._now().level == "full":
                raise
            text = f"{type(error).__name__}: {error}"
            return ToolResult(
                call_id=call.id, name=call.name, content=(Text(text=text),), is_error=True
            )

    def _withheld(self, call: ToolCall, result: ToolResult) -> ToolResult:
        dial, run = self._now(), current_run()
        text = "\n".join(part.text for part in result.content if isinstance(part, Text))
        others = len(result.content) - sum(isinstance(part, Text) for part in result.content)
        told = dial.answered(call.name, text, failed=result.is_error)
        if others and dial.level != "none":
            told += "\n" + dial.withheld(f"{others} picture{'s' * (others != 1)} or documents")
        if told == text and not others:
            return result
        if run is not None:
            run.emit(ToolWithheld(result.model_copy(update={"call_id": call.id})))
        return result.model_copy(update={"content": (Text(text=told),)})

    def _now(self) -> Dial:
        return _dial.get() or Dial()


def _key(run: Run | None, call: ToolCall) -> _Key:
    return "" if run is None else run.id, call.id, call.name


def _is_crash(result: ToolResult) -> bool:
    """Return whether a tool failed in a way of which it could not tell itself."""
    return result.is_error and result.text.startswith("Tool crashed: ")


def _is_refused(tool: Tool, call: ToolCall) -> bool:
    """Return whether the arguments do not fit: the tool does not run, and its answer says why."""
    try:
        tool.bind(call.input, ToolContext())
    except ToolError:
        return True
    except Exception:  # whatever else is wrong shows when it runs
        return False
    return False

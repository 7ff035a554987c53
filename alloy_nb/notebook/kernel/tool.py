"""The python tool: code runs in the user's namespace, on the main thread.

It does not go through ``run_cell``: that leaks a traceback into the user's cell, swallows an
interrupt, and touches history. ::

    names.before ─▶ Captured ─▶ standing ─▶ Watch.run(code) ─▶ names.after
                     │ printed    │ bent      │ stopped
                     ▼            ▼           ▼
                     results.answered: what the model is told, what the person is shown

Who gets what:

- The model: what was printed, the text of each output and of the value of the last expression,
  the traceback of a failure, and pictures. All of it passes the data dial first, and is cut to a
  length, with head and tail.
- The person, in the cell: each output as the notebook shows it, figures too. So is the value
  where it is more than a text, as a table or a plot is. Printed text and plain values stand in the
  card of the call, where one reads what the model reads; what the dial keeps from the model is
  printed.
- A picture that goes to the model is an output of the cell, and is not drawn in the card again.
  A figure that is open and the value as well is shown once.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import functools
import gc
import inspect
import itertools
import linecache
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from types import CodeType
from typing import Any

from alloy_nb.engine.calls.tool import Tool, ToolContext, ToolOutput, tool
from alloy_nb.errors import ToolError
from alloy_nb.notebook.inputs.dial import Dial
from alloy_nb.notebook.kernel.capture import SCREEN, Captured
from alloy_nb.notebook.kernel.namespace import Names
from alloy_nb.notebook.kernel.open_figures import draw_figures, open_figures
from alloy_nb.notebook.kernel.results import Ran, answered, formatted
from alloy_nb.notebook.kernel.standing import standing
from alloy_nb.notebook.kernel.stopping import TimeIsUp, Watch

__all__ = ["python_tool"]

_numbers = itertools.count(1)
_MOST_CHARACTERS = 20_000
# A value's text is made by code of anybody's; so is an exception's.
_REPR_SECONDS = 2.0
_FIGURE_SECONDS = 10.0
_LEFT_SECONDS = 0.25


def python_tool(shell: Any, names: Names | None = None) -> Tool:
    """Return a tool that runs Python in this shell's namespace; `names` hears what it changes."""
    ledger = Names(shell.user_ns, shell.user_ns_hidden) if names is None else names

    @tool(
        name="python",
        concurrent=False,
        main_thread=True,
        risk="run",
        max_result_chars=_MOST_CHARACTERS,
        subject=_subject,
    )
    def python(code: str, context: ToolContext) -> str | ToolOutput:
        """Run Python code in the user's Jupyter kernel, where their variables are."""
        turn = str(context.values.get("session_id", ""))
        body, last = _compiled(code, filename := f"<alloy python {next(_numbers)}>")
        linecache.cache[filename] = (len(code), None, code.splitlines(keepends=True), filename)
        with _noted(ledger, turn, code):
            return _run(shell, (body, last), Ran(code, filename), context)

    return python.with_options(
        description="Run Python code in the user's live Jupyter kernel, where their variables are. "
        "Returns what was printed, the value of the last expression and pictures of figures. "
        "Variables stay for the next call and for the user."
    )


def _subject(arguments: Mapping[str, Any]) -> str:
    return str(arguments.get("code", ""))


def _run(
    shell: Any, code: tuple[CodeType | None, CodeType | None], ran: Ran, context: ToolContext
) -> str | ToolOutput:
    limit = None if context.deadline is None else context.deadline - time.monotonic()
    captured = Captured(shell, context.values.get(SCREEN))
    try:
        with captured:
            before = open_figures()
            try:
                with standing(shell, ran.notes):
                    value = _executed(code, shell.user_ns, limit, ran)
                if ran.error is None and value is not None:
                    _describe(shell, value, ran)
            finally:
                with contextlib.suppress(TimeIsUp):
                    Watch(_FIGURE_SECONDS).run(lambda: draw_figures(before))
    except BaseException:  # the person stopped it, and has waited for what there was before
        for text in captured.printed(_MOST_CHARACTERS):
            captured.say(text)
        for output in captured.outputs:
            captured.publish(output)
        raise
    return answered(captured, ran, Dial.of(context.values))


def _executed(
    code: tuple[CodeType | None, CodeType | None],
    namespace: dict[str, Any],
    limit: float | None,
    ran: Ran,
) -> Any:
    """Run the statements and return the value of the expression; a failure goes into `ran`.

    Raises:
        KeyboardInterrupt: The person stopped it. One that the code raised itself is a failure.
    """
    watch = Watch(None if limit is None else max(limit, 0.001))
    body, last = code

    def work() -> Any:
        if body is not None:
            _execute(body, namespace)
        return None if last is None else _execute(last, namespace)

    awaits = any(part is not None and part.co_flags & inspect.CO_COROUTINE for part in code)
    try:
        with _loop_aside(watch) if awaits else contextlib.nullcontext():
            return watch.run(work)
    except TimeIsUp as stop:
        _fail(ran, TimeoutError(f"stopped at the limit of {watch.seconds:.3g} s"), stop)
    except KeyboardInterrupt as stop:
        if watch.why == "person" or not _on_main_thread():
            raise
        _fail(ran, stop, stop)
    except BaseException as error:  # SystemExit too: a tool must not end the kernel
        _fail(ran, error, error)
    return None


def _fail(ran: Ran, error: BaseException, origin: BaseException) -> None:
    ran.error = error.with_traceback(origin.__traceback__)
    try:
        ran.traceback = Watch(_REPR_SECONDS).run(lambda: _traceback(ran.error, ran.filename))
    except TimeIsUp:
        ran.traceback = f"{type(error).__name__} (its text took longer than {_REPR_SECONDS:.0f} s)"


def _describe(shell: Any, value: Any, ran: Ran) -> None:
    """Make the forms of a value; its code has two seconds, and may fail."""
    ran.value = value
    try:
        with standing(shell, ran.notes):
            ran.bundle = Watch(_REPR_SECONDS).run(lambda: formatted(shell, value))
    except TimeIsUp:
        ran.trouble = f"(could not be shown: its text took longer than {_REPR_SECONDS:.0f} s)"
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit in a repr
        ran.trouble = f"(could not be shown: {type(error).__name__})"


@contextlib.contextmanager
def _noted(names: Names, turn: str, code: str) -> Iterator[None]:
    """Note what the code does to the variables. The notes may fail; the code must run."""
    with contextlib.suppress(Exception):
        names.before(turn, code)
    try:
        yield
    finally:
        with contextlib.suppress(Exception):
            names.after(turn)


# --- compiling and running ----------------------------------------------------------------------


def _compiled(code: str, filename: str) -> tuple[CodeType | None, CodeType | None]:
    """Compile the statements, and the last expression apart, whose value is wanted."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    try:
        tree = ast.parse(code, filename)
        last = None
        if tree.body and isinstance(tree.body[-1], ast.Expr) and not code.rstrip().endswith(";"):
            expression = tree.body.pop()
            assert isinstance(expression, ast.Expr)  # noqa: S101  # checked above
            last = compile(ast.Expression(expression.value), filename, "eval", flags=flags)
        body = compile(tree, filename, "exec", flags=flags) if tree.body else None
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ToolError("".join(traceback.format_exception_only(error)).strip()) from None
    return body, last


def _execute(code: CodeType, namespace: dict[str, Any]) -> Any:
    value = eval(code, namespace)  # noqa: S307  # running code is what this tool is for; it was approved
    if code.co_flags & inspect.CO_COROUTINE:
        return _awaited(value)
    return value


def _awaited(coroutine: Any) -> Any:
    """Run code with a top-level ``await`` in a loop of its own, on this thread."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(coroutine)


@contextlib.contextmanager
def _loop_aside(watch: Watch) -> Iterator[None]:
    """Put aside the loop that this thread is in the midst of, the kernel's, which waits for us.

    Python allows one at a time. It is outside of the watch, so that it is put back whatever is
    raised in the code.

    Code that is stopped at each of its lines may leave generators half run that say which loop is
    running, as those of nest_asyncio do. They must not end later, in the midst of the kernel's
    loop: with no loop running by their word, it would take no message any more.
    """
    outer = asyncio._get_running_loop()
    task = None if outer is None else asyncio.current_task(outer)
    if outer is not None and task is not None:
        asyncio.tasks._leave_task(outer, task)
    asyncio._set_running_loop(None)
    try:
        yield
    except (KeyboardInterrupt, TimeIsUp) as stop:
        if watch.insisted:
            _end_what_is_left(stop)
        raise
    finally:
        asyncio._set_running_loop(outer)
        if outer is not None and task is not None:
            asyncio.tasks._enter_task(outer, task)


def _end_what_is_left(stop: BaseException) -> None:
    """End what stopped code has left half run: its frames hold it, and cycles of garbage do."""
    for end in (functools.partial(_clear_frames, stop), gc.collect):
        with contextlib.suppress(TimeIsUp):  # what ends is code of anybody's, which may go on
            Watch(_LEFT_SECONDS).run(end)


def _clear_frames(error: BaseException) -> None:
    """Clear the frames of an error and of all that led to it."""
    raised: list[BaseException | None] = [error]
    seen: set[int] = set()
    while raised:
        one = raised.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        traceback.clear_frames(one.__traceback__)
        raised += [one.__context__, one.__cause__]


def _on_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _traceback(error: BaseException | None, filename: str) -> str:
    """Return the traceback from the tool's own code on: our frames tell the model nothing."""
    if error is None:
        return ""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename != filename:
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames)).rstrip()

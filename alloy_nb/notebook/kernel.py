"""The python tool: code runs in the user's namespace, on the main thread.

It does not go through ``run_cell``: that leaks a traceback into the user's cell, swallows an
interrupt, and touches history. Printed text and the value of the last expression go to the model;
what the code displays goes to the cell as well, so a plot is seen.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import itertools
import linecache
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from types import CodeType
from typing import Any

from alloy_nb.engine.calls.tool import Tool, ToolContext, tool
from alloy_nb.errors import ToolError
from alloy_nb.notebook.capture import Captured

__all__ = ["python_tool"]

_numbers = itertools.count(1)
_MOST_CHARACTERS = 20_000
_STOP_SECONDS = 2.0


def python_tool(shell: Any) -> Tool:
    """Return a tool that runs Python in this shell's namespace."""

    @tool(
        name="python",
        concurrent=False,
        main_thread=True,
        risk="run",
        max_result_chars=_MOST_CHARACTERS,
        subject=_subject,
    )
    def python(code: str, context: ToolContext) -> str:
        """Run Python code in the user's Jupyter kernel, where their variables are.

        Returns what was printed, and the value of the last expression. Variables that the code
        sets stay, for the next call and for the user.
        """
        limit = None if context.deadline is None else context.deadline - time.monotonic()
        return _run(shell, code, limit)

    return python.with_options(
        description="Run Python code in the user's live Jupyter kernel, where their variables are. "
        "Returns what was printed and the value of the last expression. Variables stay for the "
        "next call and for the user."
    )


def _subject(arguments: Mapping[str, Any]) -> str:
    return str(arguments.get("code", ""))


def _run(shell: Any, code: str, limit: float | None) -> str:
    filename = f"<alloy python {next(_numbers)}>"
    body, last = _compiled(code, filename)
    linecache.cache[filename] = (len(code), None, code.splitlines(keepends=True), filename)
    shown, failure = None, None
    captured = Captured(shell)
    try:
        with captured, _kept_names(shell.user_ns):
            try:
                with _at_most(limit):
                    if body is not None:
                        _execute(body, shell.user_ns)
                    if last is not None:
                        shown = _text_of(shell, _execute(last, shell.user_ns))
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # SystemExit too: a tool must not end the kernel
                failure = _traceback(error, filename)
            finally:
                _draw_figures()
    finally:
        # Also what was displayed before an interrupt: the user has waited for it.
        captured.show()
    parts = captured.parts()
    if shown is not None:
        parts.append(shown)
    text = "\n".join(part.rstrip("\n") for part in parts if part and part.strip())
    if failure is not None:
        raise ToolError(f"{text}\n{failure}".lstrip("\n"))
    return text or "(no output)"


@contextlib.contextmanager
def _kept_names(namespace: dict[str, Any]) -> Iterator[None]:
    """Keep ``_`` for the user: code that assigns it would end IPython's last value for good."""
    names = ("_", "__", "___")
    before: dict[str, Any] = {name: namespace[name] for name in names if name in namespace}
    try:
        yield
    finally:
        for name in names:
            # IPython itself takes them away where a library has put `_` among the builtins.
            namespace.pop(name, None)
        namespace.update(before)


def _draw_figures() -> None:
    """Draw the figures that the code left open now, not below the answer when the cell ends."""
    inline = sys.modules.get("matplotlib_inline.backend_inline")
    if inline is not None:
        inline.flush_figures()


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
    """Run code with a top-level ``await``; this thread may have a loop of its own already."""
    outcome: list[Any] = []
    loop = asyncio.new_event_loop()

    def work() -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                outcome.append((runner.run(coroutine), None))
        except BaseException as error:  # carried over to the thread that asked
            outcome.append((None, error))

    thread = threading.Thread(target=work, name="alloy-await", daemon=True)
    thread.start()
    try:
        thread.join()
    except BaseException:  # the user's interrupt, or the limit of time: the code stops with us
        with contextlib.suppress(RuntimeError):  # it ended in this moment, and its loop with it
            loop.call_soon_threadsafe(_cancel_all, loop)
        thread.join(_STOP_SECONDS)
        raise
    value, error = outcome[0]
    if error is not None:
        raise error
    return value


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()


class _TimeIsUp(BaseException):
    """The code ran into its limit; no ``except Exception`` of its own may swallow that."""


@contextlib.contextmanager
def _at_most(seconds: float | None) -> Iterator[None]:
    """Stop the code at its limit of time.

    It holds the main thread, which nobody else could free: the cell would never end. The alarm
    rings again each second, for code that catches everything.
    """
    alarm = getattr(signal, "SIGALRM", None)  # Windows has none
    if seconds is None or alarm is None or not _on_main_thread():
        yield
        return
    armed = True

    def ring(*_: Any) -> None:
        if armed:
            raise _TimeIsUp

    before = signal.signal(alarm, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001), 1.0)
    try:
        yield
    except _TimeIsUp:
        armed = False
        raise TimeoutError(f"stopped at the limit of {seconds:.3g} s") from None
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(alarm, before)


def _on_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _text_of(shell: Any, value: Any) -> str | None:
    """Return a value as the notebook would print it; one that displays itself has no text."""
    if value is None:
        return None
    data, _ = shell.display_formatter.format(value, include={"text/plain"})
    text = data.get("text/plain")
    return text if isinstance(text, str) else None


def _traceback(error: BaseException, filename: str) -> str:
    """Return the traceback from the tool's own code on: our frames tell the model nothing."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename != filename:
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames)).rstrip()

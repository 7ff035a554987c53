"""The python tool: code runs in the user's namespace, on the main thread.

It does not go through ``run_cell``: that leaks a traceback into the user's cell, swallows an
interrupt, and touches history. Printed text and the value of the last expression go to the model;
what the code displays goes to the cell as well, so a plot is seen.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import contextlib
import inspect
import itertools
import linecache
import threading
import traceback
from collections.abc import Iterator, Mapping
from types import CodeType
from typing import Any

from IPython.display import publish_display_data
from IPython.utils.capture import RichOutput, capture_output

from alloy_nb.engine.tool import Tool, tool
from alloy_nb.errors import ToolError

__all__ = ["python_tool"]

_numbers = itertools.count(1)
_MOST_CHARACTERS = 20_000


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
    def python(code: str) -> str:
        """Run Python code in the user's Jupyter kernel, where their variables are.

        Returns what was printed, and the value of the last expression. Variables that the code
        sets stay, for the next call and for the user.
        """
        return _run(shell, code)

    return python.with_options(
        description="Run Python code in the user's live Jupyter kernel, where their variables are. "
        "Returns what was printed and the value of the last expression. Variables stay for the "
        "next call and for the user."
    )


def _subject(arguments: Mapping[str, Any]) -> str:
    return str(arguments.get("code", ""))


def _run(shell: Any, code: str) -> str:
    filename = f"<alloy python {next(_numbers)}>"
    body, last = _compiled(code, filename)
    linecache.cache[filename] = (len(code), None, code.splitlines(keepends=True), filename)
    value, failure = None, None
    with capture_output() as captured, _no_input():
        try:
            if body is not None:
                _execute(body, shell.user_ns)
            if last is not None:
                value = _execute(last, shell.user_ns)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit too: a tool must not end the kernel
            failure = _traceback(error, filename)
    for output in captured.outputs:
        publish_display_data(data=output.data, metadata=output.metadata)  # type: ignore[no-untyped-call]  # IPython has no annotation
    parts = [captured.stdout, captured.stderr, *map(_described, captured.outputs)]
    if value is not None:
        parts.append(_text_of(shell, value))
    text = "\n".join(part.rstrip("\n") for part in parts if part and part.strip())
    if failure is not None:
        raise ToolError(f"{text}\n{failure}".lstrip("\n"))
    return text or "(no output)"


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

    def work() -> None:
        try:
            outcome.append((asyncio.run(coroutine), None))
        except BaseException as error:  # carried over to the thread that asked
            outcome.append((None, error))

    thread = threading.Thread(target=work, name="alloy-await", daemon=True)
    thread.start()
    thread.join()
    value, error = outcome[0]
    if error is not None:
        raise error
    return value


@contextlib.contextmanager
def _no_input() -> Iterator[None]:
    """Let ``input()`` fail at once: the model cannot type, and the user was not asked."""

    def refuse(*_: Any) -> str:
        raise RuntimeError("input() does not work in a tool; ask the user in your answer instead")

    kept = builtins.input
    builtins.input = refuse
    try:
        yield
    finally:
        builtins.input = kept


def _text_of(shell: Any, value: Any) -> str:
    """Return a value as the notebook would print it."""
    data, _ = shell.display_formatter.format(value, include={"text/plain"})
    text = data.get("text/plain")
    return (
        text if isinstance(text, str) else f"<{type(value).__name__}, which has no readable repr>"
    )


def _described(output: RichOutput) -> str:
    text = (output.data or {}).get("text/plain", "")
    return f"[shown to the user: {text}]" if text else "[shown to the user]"


def _traceback(error: BaseException, filename: str) -> str:
    """Return the traceback from the tool's own code on: our frames tell the model nothing."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename != filename:
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames)).rstrip()

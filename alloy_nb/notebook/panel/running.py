"""A block of an answer's code, run in the kernel as a cell would run it, and shown in the panel.

It runs on the main thread, when no cell does, under a number of its own, with ``In`` and ``Out``.
What it prints, displays and fails with is in no cell's output: there is no cell.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from IPython.utils.capture import capture_output

from alloy_nb.errors import ConfigError
from alloy_nb.notebook.drawing.conversation import displayed, printed
from alloy_nb.notebook.drawing.render import Bundle
from alloy_nb.secrets import redact

if TYPE_CHECKING:
    from alloy_nb.notebook.panel.panel import Panel

__all__ = ["run"]


def run(panel: Panel, turn: int, number: int) -> None:
    """Run a block, by the number of its turn and its own, counted from 0.

    Raises:
        ConfigError: There is none, or nothing can be run here.
    """
    drawn = panel.feed.numbered(turn)
    code = drawn.code if drawn is not None else []
    if number >= len(code):
        raise ConfigError(f"Turn {turn} has no such code any more.")
    if panel.busy:
        panel.notice("It runs when the cell that runs now has ended.", level="info")
    panel.on_main(lambda: _run(panel, code[number], f"turn {turn}, code {number + 1}"))


def _run(panel: Panel, code: str, what: str) -> None:
    """Run it; on the main thread, between two cells."""
    shell = panel.desk.shell
    count = shell.execution_count
    bundles = _ran(shell, code)
    html = "\n".join(bundle.html for bundle in bundles if bundle.html)
    panel.tell("shown", title=f"In[{count}] · {what}", html=redact(html))


def _ran(shell: Any, code: str) -> list[Bundle]:
    """Run code as a cell, and return all that it showed."""
    values: list[dict[str, Any]] = []
    failures: list[str] = []
    with capture_output() as captured, _results_into(shell, values), _stoppable():
        shell._showtraceback = lambda _kind, _error, lines: failures.append("\n".join(lines))
        try:
            shell.run_cell(code, store_history=True)
        finally:
            del shell._showtraceback
    texts = [text for text in (captured.stdout, captured.stderr) if text.strip()]
    bundles = [printed(text) for text in texts]
    bundles += [displayed(output.data) for output in captured.outputs]
    bundles += [displayed(value) for value in values]
    return [*bundles, *(printed(text) for text in failures)]


@contextlib.contextmanager
def _results_into(shell: Any, values: list[dict[str, Any]]) -> Iterator[None]:
    """Keep the value of the code, as ``Out`` too: a cell's own hook would look for its cell."""
    trap, hook = shell.display_trap, shell.display_trap.hook

    def keep(value: object = None) -> None:
        if value is not None and not shell.displayhook.quiet():
            shell.displayhook.update_user_ns(value)
            values.append(shell.display_formatter.format(value)[0])

    trap.hook = keep
    try:
        yield
    finally:
        trap.hook = hook


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Let an interrupt of the kernel end the code: between two cells it ignores them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)

"""A kernel with the extension loaded, whose model is a scripted server."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

from tests.kernel_harness import CellRun, Iopub, Kernel, start_kernel
from tests.servers.sse import Server

__all__ = ["CANARY", "Asking", "everything", "start_asking", "stop_when"]

CANARY = "sk-ant-canary-K3yThatMustNeverShow"
"""The key of the kernel's world."""

MODELS = {"anthropic": "anthropic/claude-sonnet-4-6", "chat": "openai-compat/scripted"}


class _Reached(Exception):
    pass


class Asking:
    """A kernel that asks a server."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    def use(self, server: Server, wire: str = "anthropic", *, approve: str = "ask") -> None:
        """Begin a new conversation with a server, in a wire format."""
        for line in (
            # Beside it the key in the environment is sent, so that it could come out somewhere.
            f"import os; os.environ['ANTHROPIC_BASE_URL'] = {server.url!r}",
            f"%alloy model {MODELS[wire]} --base-url {server.url}",
            "del os.environ['ANTHROPIC_BASE_URL']",
            "%alloy reset",
            f"%alloy approve {approve}",
        ):
            run = self.kernel.run(line)
            assert run.ok, run.text

    def ask(self, prompt: str, flags: str = "", **options: Any) -> CellRun:
        """Run a cell that asks."""
        return self.kernel.run(f"%%alloy {flags}\n{prompt}", **options)

    def until_asked(self, run: CellRun, id_: str) -> str:
        """Follow a sent cell to a prompt, which stays open; return it."""

        def stop(prompt: str) -> str:
            raise _Reached

        with contextlib.suppress(_Reached):
            self.kernel.finish(run, id_, answers=stop)
        return run.prompts[-1]

    def until_shown(self, run: CellRun, id_: str, text: str) -> None:
        """Follow a sent cell until it shows a text."""

        def look(message: Iopub) -> None:
            if text in run.text:
                raise _Reached

        if text not in run.text:
            with contextlib.suppress(_Reached):
                self.kernel.finish(run, id_, on_message=look)

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression in the kernel."""
        return self.kernel.evaluate(expression)


@contextlib.contextmanager
def start_asking() -> Iterator[Asking]:
    """Start a kernel in a world that holds a key, and load the extension."""
    with start_kernel({"ANTHROPIC_API_KEY": CANARY, "ALLOY_DEMO_PACE": "0"}) as kernel:
        run = kernel.run("%load_ext alloy_nb")
        assert (run.ok, run.text) == (True, "")
        yield Asking(kernel)


def stop_when(kernel: Kernel, text: str, stopped: list[float] | None = None) -> Any:
    """Return what interrupts the kernel, once, when an output shows a text; note the time."""
    done = False

    def look(message: Iopub) -> None:
        nonlocal done
        if done or text not in message.content.get("data", {}).get("text/plain", ""):
            return
        done = True
        if stopped is not None:
            stopped.append(time.monotonic())
        kernel.interrupt()

    return look


def everything(run: CellRun) -> str:
    """Return all that a run sent, as one text to search in."""
    return json.dumps([run.reply, run.prompts, *(m.content for m in run.messages)], default=str)

"""What must run on the main thread, for a turn that no cell waits for.

::

    a turn of --bg or of the panel
      └─ portal.current_host = Errands ─┬─ between two cells            the kernel's own loop
                                        ├─ in a cell that waits         %alloy wait, .result()
                                        └─ in a loop that awaits        await

A cell that runs is never interrupted for it: what would run on the main thread stands in a queue,
and the turn says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import signal
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from alloy_nb.engine.calls.approval import Approver, Decision
from alloy_nb.engine.calls.tool import Tool
from alloy_nb.errors import Interrupted
from alloy_nb.messages import ToolCall

__all__ = ["Errands", "reachable"]

_POLL_SECONDS = 0.01
_UNREACHABLE = (
    "This turn runs in the background, where nothing can run on the main thread until the person "
    "types %alloy wait. Answer without it, and say what was not run."
)
_QUEUED = "This has to run in the kernel: it runs when the cell that runs now has ended."
_WAITED_ENOUGH = "no longer waited for; the turn goes on in the background, %alloy stop ends it"
_ASKS = "The model asks for something: %alloy wait lets you answer."

_is_question: ContextVar[bool] = ContextVar("alloy_question", default=False)


class Errands:
    """The host of a turn in the background: runs functions on the main thread when that is free.

    Args:
        shell: Whose main thread it is.
        say: Says a line in the turn's output.
        stop: Stops the turn, after an interrupt.
        is_busy: Tells whether a cell runs now; the default is a turn that a cell begins.
    """

    def __init__(
        self,
        shell: Any,
        say: Callable[[str], None],
        stop: Callable[[], None],
        *,
        is_busy: Callable[[], bool] = lambda: True,
    ) -> None:
        self._shell = shell
        self._say = say
        self._stop = stop
        self._waiting: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._questions: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._is_served = False
        self.is_stopped = False
        """Whether the person interrupted what ran on the main thread."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._has_said: set[str] = set()
        self._thread = threading.main_thread().ident
        self._is_running = False
        self._lock = threading.Lock()  # of `_is_running`
        self._between = getattr(getattr(shell, "kernel", None), "io_loop", None)
        self._hooks = {"pre_run_cell": self._cell_began, "post_run_cell": self._cell_ended}
        for name, hook in self._hooks.items():
            shell.events.register(name, hook)
        self._is_busy = is_busy()  # afterwards, or a cell that begins just now would be missed

    @property
    def is_reachable(self) -> bool:
        """Whether something can run on the main thread, sooner or later, by itself."""
        return self._between is not None or self._is_served

    def post(self, function: Callable[[], object]) -> None:
        """Run a function on the main thread when that is free."""
        is_question = _is_question.get()
        (self._questions if is_question else self._waiting).put(function)
        if not self._is_served and (is_question or self._is_busy):
            self._say_once(_ASKS if is_question else _QUEUED)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._run_in_loop)
        elif self._between is not None:
            self._between.add_callback(self._run_between)

    def serve(self, until: threading.Event, *, is_end: bool = True) -> None:
        """Run what comes on this thread, until something has happened: the turn's end, or less.

        Where it is less, a tool must not be let through that nothing would run afterwards.
        """
        self.serve_while(lambda: not until.is_set(), until.wait, is_end=is_end)

    def serve_while(
        self,
        is_wanted: Callable[[], bool],
        wait: Callable[[float], object] = time.sleep,
        *,
        is_end: bool = True,
    ) -> None:
        """Run what comes on this thread, as long as that is wanted."""
        self._is_served = is_end
        try:
            while is_wanted():
                self._run_all()
                wait(_POLL_SECONDS)
        except KeyboardInterrupt:
            told = "stopped" if self.is_stopped else _WAITED_ENOUGH
            raise Interrupted(told) from None
        finally:
            self._is_served = False

    @contextlib.contextmanager
    def served_by(self, loop: asyncio.AbstractEventLoop) -> Any:
        """Let a loop of the main thread run what comes, between its own callbacks."""
        self._loop, self._is_served = loop, True
        try:
            self._run_in_loop()
            yield
        finally:
            self._loop, self._is_served = None, False

    def interrupt(self) -> None:
        """Interrupt what runs on the main thread for this turn, if anything does; from any thread.

        A cell is never interrupted. Between two cells the kernel ignores the signal, unless the
        code of a tool listens (`stopping.Watch`).
        """
        with self._lock:
            if self._is_running and self._thread is not None and hasattr(signal, "pthread_kill"):
                signal.pthread_kill(self._thread, signal.SIGINT)

    def close(self) -> None:
        """Let go of the shell; nothing more is coming."""
        for name, hook in self._hooks.items():
            with contextlib.suppress(ValueError):  # it was closed before
                self._shell.events.unregister(name, hook)

    # --- inside -----------------------------------------------------------------------------------

    def _run_all(self) -> None:
        for waiting in (self._questions, self._waiting):
            with contextlib.suppress(queue.Empty):
                while True:
                    self._run(waiting.get_nowait())

    def _run_in_loop(self) -> None:
        # Out of a callback an interrupt would end the kernel's own loop.
        with contextlib.suppress(KeyboardInterrupt):
            self._run_all()

    def _run_between(self) -> None:
        """Run what waits, unless a cell does: an awaited cell lets callbacks through."""
        if self._is_busy or self._is_served:
            return
        with contextlib.suppress(queue.Empty, KeyboardInterrupt):
            while not self._is_busy:
                self._run(self._waiting.get_nowait())

    def _run(self, function: Callable[[], object]) -> None:
        with self._lock:
            self._is_running = True
        try:
            try:
                function()
            finally:
                with self._lock:
                    self._is_running = False
        except KeyboardInterrupt:  # in the turn's own code: that is what the person sees running
            self._is_running = False  # also where it came while the lock was waited for
            self.is_stopped = True
            self._stop()
            raise

    def _cell_began(self, *_: object) -> None:
        self._is_busy = True

    def _cell_ended(self, *_: object) -> None:
        self._is_busy = False
        if self._between is not None:
            self._between.add_callback(self._run_between)

    def _say_once(self, text: str) -> None:
        if text not in self._has_said:
            self._has_said.add(text)
            self._say(text)


def reachable(decide: Approver, errands: Errands) -> Approver:
    """Let questions wait for a person, and refuse what nothing would ever run."""

    async def ask(call: ToolCall, tool: Tool) -> Decision:
        token = _is_question.set(True)
        try:
            decision = await decide(call, tool)
        finally:
            _is_question.reset(token)
        if decision.allowed and tool.main_thread and not errands.is_reachable:
            return Decision(allowed=False, reason=_UNREACHABLE)
        return decision

    return ask

"""Code that ends when it is told to: at the person's interrupt, and at its limit of time.

::

    Watch(limit).run(function)
      SIGINT ─▶ KeyboardInterrupt in the code         it may clean up, for half a second
      its limit ─▶ TimeIsUp in the code
      it goes on all the same ─▶ raised at each of its lines, until it has ended

An interrupt is an exception, and ``while True: try: ... except BaseException: pass`` swallows it.
So a thread looks whether the code has really ended. If not, the exception is raised again, and
from then on before every line: also in the ``except`` that has just swallowed it, which nothing of
the same ``try`` catches. Each level of such code lasts one line.
That is done with ``sys.monitoring``, and before Python 3.12 with a trace function in C.

The code holds the main thread, so only a signal gets there. It is always SIGINT: SIGALRM is the
code's own, if it wants it. Code that sets SIGINT aside does so only when it has ended.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # what `signal` is made of
import contextlib
import ctypes
import functools
import itertools
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import CodeType, FrameType, SimpleNamespace
from typing import Any, Literal, TypeVar

__all__ = ["TimeIsUp", "Watch"]

T = TypeVar("T")

# How long code may clean up before it is made to end.
_PATIENCE = 0.5
_LOOK = 0.05
_SIGINT = int(signal.SIGINT)

_monitoring: Any = getattr(sys, "monitoring", None)
_TOOL = 4  # one of the two numbers that Python leaves to anybody

_id, _kind_of = ctypes.c_ulong, ctypes.py_object
_set_async = ctypes.pythonapi.PyThreadState_SetAsyncExc


class TimeIsUp(BaseException):
    """The code ran into its limit; no ``except Exception`` of its own may swallow that."""


class Watch:
    """Watches over one piece of code on the main thread; elsewhere it only runs it.

    Args:
        seconds: The code's limit of time, or ``None``.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self.why: Literal["person", "time"] | None = None
        """What stopped the code, or wanted to."""
        self._thread = threading.get_ident()
        self._inside = False
        self._rung = False
        self._raised = 0
        self._at = 0.0
        self._monitors = False
        self._traces = False
        self._running = threading.Lock()
        self._lock = threading.Lock()

    def run(self, function: Callable[[], T]) -> T:
        """Call `function`, which ends when it has to.

        Raises:
            KeyboardInterrupt: The person stopped it, whatever it made of that.
            TimeIsUp: It ran into its limit, whatever it made of that.
        """
        if threading.current_thread() is not threading.main_thread():
            return function()
        # Bound here, where no code gets at them.
        trace, throw, thread = sys.settrace, _set_async, _id(self._thread)
        stops, monitoring, last = (KeyboardInterrupt, TimeIsUp), _monitoring, _kind_of(TimeIsUp)
        with self._listening():
            try:
                self._inside = True
                value = function()
            except KeyboardInterrupt as stop:
                if self.why == "time":  # the second signal says no more than that it came
                    raise stops[1].with_traceback(stops[1](), stop.__traceback__) from None
                raise
            finally:
                # What is on its way may still be raised here, and at any call of a function in
                # Python, so none is called before it is over.
                while True:
                    try:
                        self._inside = False
                        trace(None)
                        if self._traces:
                            # What is still on its way is not taken back but raised, here: Python
                            # 3.11 goes on looking for one that is gone, at every call, and never
                            # gets past the first where a profiler looks on too.
                            self._traces = False
                            throw(thread, last)
                            while True:
                                pass
                        if self._monitors:
                            monitoring.set_events(_TOOL, 0)
                            monitoring.free_tool_id(_TOOL)
                            self._monitors = False
                        break
                    except stops:
                        continue
        if self.why is not None:  # the code has swallowed it, and ended
            raise self._kind
        return value

    @property
    def insisted(self) -> bool:
        """Whether the code went on at first, so that it had to be told again."""
        return self._raised > 1

    @property
    def _kind(self) -> type[BaseException]:
        return TimeIsUp if self.why == "time" else KeyboardInterrupt

    # --- the signal -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        """Take the signal. What ends it calls C alone: the code may have broken the builtins."""
        before, trace = _signal.getsignal(signal.SIGINT), sys.gettrace()
        self._running.acquire()
        _signal.signal(signal.SIGINT, self._on_signal)
        set_signal, signal.signal = signal.signal, _without_interrupts(signal.signal)
        with contextlib.suppress(RuntimeError):  # no more threads: an interrupt still works
            threading.Thread(target=self._look, name="alloy-watch", daemon=True).start()
        try:
            yield
        finally:
            signal.signal = set_signal
            with self._lock:  # no signal of ours is sent from now on
                self._rung = False
            if before is not None:  # a handler that is no Python's cannot be put back from here
                _signal.signal(_SIGINT, before)
            self._running.release()
            sys.settrace(trace)

    def _on_signal(self, _number: int, frame: FrameType | None) -> None:
        rung, self._rung = self._rung, False
        if not self._inside:
            if not rung:
                self.why = "person"  # it came while we were leaving, which goes first
            return
        self.why = self.why or "person"
        self._at = time.monotonic()
        self._raised += 1
        kind = self._kind
        if self._raised > 1:
            # From now on this function is traced itself, so the next signal is not for it.
            _signal.signal(signal.SIGINT, signal.default_int_handler)
            if _monitoring is not None:
                self._monitor(kind)
                raise kind
            raising = _raising(self._thread, kind)
            while frame is not None and frame.f_code is not Watch.run.__code__:
                frame.f_trace = raising
                frame = frame.f_back
            self._traces = True
            sys.settrace(raising)
        raise kind

    def _monitor(self, kind: type[BaseException]) -> None:
        """Raise at each line, the way that Python has for this since 3.12."""
        thread, here = self._thread, self._monitor.__code__.co_filename

        def raising(code: CodeType, _line: int) -> None:
            if self._inside and code.co_filename != here and threading.get_ident() == thread:
                raise kind

        if _monitoring.get_tool(_TOOL) is None:
            _monitoring.use_tool_id(_TOOL, "alloy_nb")
            _monitoring.register_callback(_TOOL, _monitoring.events.LINE, raising)
            _monitoring.set_events(_TOOL, _monitoring.events.LINE)
            self._monitors = True

    def _look(self) -> None:
        began = time.monotonic()
        while not self._running.acquire(timeout=_LOOK):
            now = time.monotonic()
            if self.why is None and self.seconds is not None and now - began >= self.seconds:
                self.why = "time"
                self._ring()
            elif self.why is not None and now - self._at >= _PATIENCE:
                self._ring()

    def _ring(self) -> None:
        with self._lock:
            if not self._inside:
                return
            self._rung, self._at = True, time.monotonic()
            if hasattr(signal, "pthread_kill"):
                signal.pthread_kill(self._thread, signal.SIGINT)
            else:  # Windows: it is raised when the code is at its next line
                signal.raise_signal(signal.SIGINT)


def _raising(thread: int, kind: type[BaseException]) -> Any:
    """Return a trace function that has an exception raised in a thread, and does nothing else.

    It must not run any Python: the exception would be raised in itself, and Python lets go of a
    trace function that fails. So it is the C function, and what it is called with (the frame, the
    event and its argument) is replaced by constants.
    """
    function = ctypes.PyDLL(None).PyThreadState_SetAsyncExc
    constants = (ctypes.c_ulong(thread), ctypes.py_object(kind), ctypes.c_void_p())
    # ctypes asks for no more of a type than `from_param`.
    types: list[Any] = [
        SimpleNamespace(from_param=functools.partial(next, itertools.repeat(constant)))
        for constant in constants
    ]
    function.argtypes = types
    function.restype = None
    return function


def _without_interrupts(set_signal: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``signal.signal`` for the code: SIGINT stays with the person while it runs."""

    @functools.wraps(set_signal)
    def guarded(number: int, handler: Any) -> Any:
        if number == signal.SIGINT:
            return signal.default_int_handler
        return set_signal(number, handler)

    return guarded

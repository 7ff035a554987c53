"""Threads for plain functions: daemons, as many as are needed at once, used again.

A pool of fixed size would make the seventh tool of a message wait on a small machine, and the
standard library joins its threads at exit, so that a tool that hangs would hang the kernel's end.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import queue
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["in_thread"]

# More idle threads than this are let go.
_IDLE = 32

_idle: list[_Worker] = []
_lock = threading.Lock()


async def in_thread(function: Callable[[], Any]) -> Any:
    """Run a plain function in a thread, in a copy of this context, and await its value.

    A cancellation ends the wait, not the function: Python cannot stop a thread.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def settle(value: Any, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(value)
        else:
            done.set_exception(error)

    def work() -> None:
        value: Any = None
        failure: BaseException | None = None
        try:
            value = context.run(function)
        except (StopIteration, GeneratorExit) as error:  # a future cannot hold these
            failure = RuntimeError(repr(error))
        except BaseException as error:  # whatever the function raises is its outcome
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(settle, value, failure)

    _worker().queue.put(work)
    return await done


class _Worker:
    def __init__(self) -> None:
        self.queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="alloy-tool", daemon=True).start()

    def _run(self) -> None:
        while True:
            self.queue.get()()
            with _lock:
                if len(_idle) >= _IDLE:
                    return
                _idle.append(self)


def _worker() -> _Worker:
    with _lock:
        if _idle:
            return _idle.pop()
    return _Worker()


def _forget() -> None:
    """Start anew in a forked child, which has none of its parent's threads."""
    global _lock
    _lock = threading.Lock()
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)

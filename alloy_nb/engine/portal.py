"""One event loop of our own, in one daemon thread.

Connections, timers and runs belong to this loop, whoever asks: a notebook's cell, a script, or a
coroutine of another loop. Nothing is patched, so the caller's own loop, if it has one, is as it
was.

While a caller waits, it is a *host*: functions that must run on its thread (code in the user's
namespace, ``input()``, the user's callbacks) are handed to it. A caller that blocks serves a
queue; a caller that awaits serves them between its own callbacks.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import contextvars
import os
import queue
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError as FutureCancelled
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from alloy_nb.errors import ConfigError

__all__ = ["Host", "current_host", "run_async", "run_sync", "spawn"]

T = TypeVar("T")

# How long an interrupted caller waits for its run to close its connection and save its history.
CLEANUP_SECONDS = 2.0
# A signal ends a wait only where it finds the thread in it: one that comes just before the wait, or
# that the system gives to another thread, is seen when the wait ends. On Windows none ends a wait.
_POLL_SECONDS = 0.05
# How long the loop waits before it goes on where the interpreter itself did not work.
_BROKEN_SECONDS = 0.02


class Host(Protocol):
    """A thread that runs functions for the portal while it waits for a result."""

    def post(self, function: Callable[[], object]) -> None:
        """Run the function on the host's thread, after all that were posted before."""
        ...


current_host: contextvars.ContextVar[Host | None] = contextvars.ContextVar(
    "alloy_host", default=None
)


async def on_host(function: Callable[[], T]) -> T:
    """Run a function on the caller's thread and await its value; without a caller, run it here."""
    host = current_host.get()
    if host is None:
        return function()
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(value)  # type: ignore[arg-type]  # a value of T where there is no error
        else:
            done.set_exception(error)

    def call() -> None:
        if done.cancelled():
            return  # the run was stopped while this waited its turn
        try:
            value = function()
        except KeyboardInterrupt:
            loop.call_soon_threadsafe(done.cancel)
            raise
        except (StopIteration, GeneratorExit, asyncio.CancelledError) as error:
            # A future cannot hold the first two, and the third would look like a stopped run.
            loop.call_soon_threadsafe(settle, None, RuntimeError(repr(error)))
        except (
            BaseException
        ) as error:  # the tool's own failure, SystemExit too, goes to whoever awaits it
            loop.call_soon_threadsafe(settle, None, error)
        else:
            loop.call_soon_threadsafe(settle, value, None)

    host.post(call)
    return await done


class _Job:
    """A coroutine on the portal's loop. `finished` is set when all of its cleanup has run."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], notify: Callable[[], None]) -> None:
        self.finished = threading.Event()
        self.future: Future[Any] = Future()
        self._coroutine = coroutine
        self._notify = notify
        self._task: asyncio.Task[Any] | None = None

    def start(self) -> None:
        # The callback runs in a copy of this thread's context, and so does the task.
        _portal().loop.call_soon_threadsafe(self._start)

    def cancel(self) -> None:
        _portal().loop.call_soon_threadsafe(self._cancel)

    def _start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._coroutine)
        self._task.add_done_callback(self._done)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
            return
        self._coroutine.close()  # an interrupt came before it could begin
        self.finished.set()

    def _done(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            self.future.set_exception(FutureCancelled())
        elif (error := task.exception()) is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(task.result())
        self.finished.set()
        self._notify()


class _BlockingHost:
    """A caller that blocks: it takes functions from a queue until its job is finished."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()

    def post(self, function: Callable[[], object]) -> None:
        self._queue.put(function)

    def finish(self) -> None:
        self._queue.put(None)

    def serve(self) -> None:
        while True:
            try:
                function = self._queue.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            if function is None:
                return
            function()


class _AwaitingHost:
    """A caller that awaits: its loop runs the functions between its own callbacks."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.failed: asyncio.Future[None] = self._loop.create_future()
        self._context = contextvars.copy_context()

    def post(self, function: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(self._call, function, context=self._context)

    def _call(self, function: Callable[[], object]) -> None:
        try:
            function()
        except BaseException as error:  # a callback's failure is raised where the caller awaits
            if not self.failed.done():
                self.failed.set_exception(error)


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the portal's loop and block for its value.

    A ``KeyboardInterrupt`` cancels it, waits until its cleanup has run, and is raised again.

    Raises:
        ConfigError: It was called on the portal's own thread, which would wait for itself.
    """
    if threading.current_thread() is _portal().thread:
        coroutine.close()
        raise ConfigError(
            "A blocking call was made from a callback or an async tool. Await its twin instead, "
            "such as arun() or achat()."
        )
    host = _BlockingHost()
    job = _Job(coroutine, host.finish)
    try:
        token = current_host.set(host)
        try:
            job.start()
        finally:
            current_host.reset(token)
        host.serve()
        value: T = job.future.result()
        return value
    except BaseException:  # raised again, once the run has cleaned up
        while True:
            try:
                job.cancel()
                break
            except (
                KeyboardInterrupt
            ):  # in a hurry: it must not keep the first from stopping the run
                continue
        with contextlib.suppress(KeyboardInterrupt):  # a second interrupt ends the wait
            job.finished.wait(CLEANUP_SECONDS)
        raise


async def run_async(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the portal's loop and await its value, from any other loop."""
    portal = _portal()
    if asyncio.get_running_loop() is portal.loop:
        return await coroutine
    host = _AwaitingHost()
    token = current_host.set(host)
    job = _Job(coroutine, lambda: None)
    try:
        job.start()
    finally:
        current_host.reset(token)
    outcome = asyncio.wrap_future(job.future)
    try:
        await asyncio.wait({outcome, host.failed}, return_when=asyncio.FIRST_COMPLETED)
        # Callbacks that were posted before the end run before it.
        await asyncio.sleep(0)
        if host.failed.done():
            host.failed.result()
        result: T = outcome.result()
        return result
    finally:
        host.failed.cancel()
        if not job.finished.is_set():
            job.cancel()
            await asyncio.shield(_finished(job))
        with contextlib.suppress(asyncio.CancelledError, Exception):  # raised above, if it counts
            outcome.exception() if outcome.done() else outcome.cancel()


def spawn(coroutine: Coroutine[Any, Any, T]) -> Future[T]:
    """Begin work on the portal's loop that no caller waits for, from any thread.

    It has no host and inherits no context: whoever asked for it may be gone when it runs.

    Raises:
        RuntimeError: The interpreter ends.
    """
    portal = _portal()
    try:
        portal.check_open()
        begin = asyncio.run_coroutine_threadsafe
        return contextvars.Context().run(begin, coroutine, portal.loop)
    except RuntimeError:  # at exit
        coroutine.close()
        raise


async def _finished(job: _Job) -> None:
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, job.finished.wait, CLEANUP_SECONDS)


# --- the thread ---------------------------------------------------------------------------------


class _Portal:
    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._closing = False
        self.thread = threading.Thread(target=self._run, name="alloy-loop", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        while not self._closing:
            # A SystemExit or KeyboardInterrupt of one task comes out here too, besides going to
            # whoever awaits it; all other runs need the loop to go on.
            try:
                with contextlib.suppress(SystemExit, KeyboardInterrupt):
                    self.loop.run_forever()
            except Exception:  # code that runs may have broken the builtins, for a moment
                time.sleep(_BROKEN_SECONDS)

    def check_open(self) -> None:
        """Refuse new work once the interpreter ends."""
        if self._closing:
            raise RuntimeError("the interpreter ends")

    def close(self) -> None:
        """Close the connections, then the loop. Runs at exit."""
        self._closing = True
        if not self.thread.is_alive():
            return
        closing = asyncio.run_coroutine_threadsafe(_close_connections(), self.loop)
        with contextlib.suppress(FutureCancelled, TimeoutError):
            closing.result(timeout=1.0)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(timeout=1.0)
        if not self.thread.is_alive():
            self.loop.close()


async def _close_connections() -> None:
    import sys

    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    # Without a request so far there is no transport, and no reason to import it.
    if "alloy_nb.providers.http" in sys.modules:
        from alloy_nb.providers.http import close_clients

        await close_clients()


_instance: _Portal | None = None
_lock = threading.Lock()


def _portal() -> _Portal:
    global _instance
    with _lock:
        if _instance is None:
            _instance = _Portal()
        return _instance


@atexit.register
def _close() -> None:
    """Close the portal, where there is one, after all that its users have registered.

    It is registered with the module's import for that reason: what was registered last runs first.
    """
    if _instance is not None:
        _instance.close()


def _forget() -> None:
    """Start anew in a forked child, which has no thread of its parent's."""
    global _instance, _lock
    _lock = threading.Lock()
    _instance = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)

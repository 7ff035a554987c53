"""The tool `bash`: run a command, show what it prints, leave nothing behind.

Four promises:

1. It comes back: when bash ends, at the timeout, or when the call is cancelled, whatever processes
   were started and whatever they do with signals, sessions and pipes.
2. Nothing stays: every process of the command gets TERM, and KILL a second later. On Linux this
   includes daemons in sessions of their own, but for one that also drops its environment and
   closes all that it inherited; elsewhere the process group alone.
3. Memory is bounded: the first and last 15,000 characters of the output are kept.
4. Variables that are named like keys are not in the command's environment.

The command runs in a thread with blocking calls, because starting a process through the event loop
cannot be cancelled half-way without losing it, and output by the gigabyte would keep the loop busy.

It is no sandbox. A command can do whatever this user can; ``bash_restricted`` is a guard-rail.
"""

from __future__ import annotations

import asyncio
import atexit
import codecs
import contextvars
import inspect
import os
import secrets
import select
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from alloy_nb.engine.calls.tool import ToolContext, tool
from alloy_nb.errors import ToolError
from alloy_nb.secrets import environment_without_keys

__all__ = ["bash"]

_T = TypeVar("_T")

_LONGEST_MS = 600_000
_OUTPUT_CHARS = 30_000
_HEAD_CHARS = 14_900
# How long a process has between TERM and KILL, in seconds; a person who pressed stop waits less.
_GRACE = 1.0
_GRACE_CANCELLED = 0.3
# How long the output may stay open after bash ended: `exec > >(tee log)` is still writing then.
_AFTERGLOW = 0.3
_TICK = 0.05
_PIECE = 1 << 16


def _subject(arguments: Mapping[str, Any]) -> str:
    return str(arguments.get("command", ""))


# The engine's own limit lies beyond the longest timeout, so that `timeout` is what counts.
@tool(risk="run", timeout=_LONGEST_MS / 1000 + 15, subject=_subject)
async def bash(command: str, timeout: int = 120_000, *, context: ToolContext) -> str:
    """Run a bash command in the working directory; returns its output and ``exit code: N``.

    Standard error is part of the output, and there is no standard input. `timeout` is in
    milliseconds, at most 600,000. Processes still running at the end, such as servers in the
    background, are stopped.

    Raises:
        ToolError: There is no bash, or the command did not end in time.
    """
    limit = min(max(timeout, 1), _LONGEST_MS)
    executor = context.values.get("bash_executor")
    if executor is not None:
        output, code = await _delegate(executor, command, limit, context)
        return _result(_Kept.of(output).text(), code)
    stop = threading.Event()
    call = _Call(_argv(command, context), context, limit / 1000, stop, asyncio.get_running_loop())
    running = _in_thread(call.run)
    try:
        ended = await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        # The thread needs no help to finish; waiting means that nothing runs once we are gone.
        await asyncio.wait([running])
        raise
    if ended.exit_code is None:
        raise ToolError(_late(limit, ended.output))
    return _result(ended.output, ended.exit_code)


def _result(output: str, exit_code: int) -> str:
    return f"{output}\nexit code: {exit_code}"


def _late(limit: int, output: str) -> str:
    return (
        f"The command did not end within {limit} ms and was stopped. It may be a server, an "
        f"endless loop, or waiting for input. Its output until then:\n{output}"
    )


def _argv(command: str, context: ToolContext) -> list[str]:
    program = shutil.which("bash") if os.name == "posix" else None
    if program is None:
        raise ToolError("There is no bash on this computer, so commands cannot be run.")
    if "\0" in command:
        raise ToolError("The command has a NUL character, which bash cannot take.")
    flags = ["-r"] if context.values.get("bash_restricted") else []
    # `--` because a command may begin with a dash.
    return [program, *flags, "-c", "--", command]


def _in_thread(work: Callable[[], _T]) -> asyncio.Future[_T]:
    """Run in a thread of its own, where the loop's pool of a few threads would make calls wait."""
    outcome: Future[_T] = Future()
    outcome.set_running_or_notify_cancel()  # from here on a cancelled waiter cannot disturb it

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # whatever it is belongs to the one who waits
            outcome.set_exception(error)

    scope = contextvars.copy_context()
    threading.Thread(target=scope.run, args=(run,), name="alloy-bash", daemon=True).start()
    return asyncio.wrap_future(outcome)


async def _delegate(
    executor: Callable[..., Any], command: str, limit: int, context: ToolContext
) -> tuple[str, int]:
    """Let the agent's own executor run the command; it cannot be stopped, only left alone."""
    where = os.fspath(context.working_directory)
    try:
        async with asyncio.timeout(limit / 1000) as clock:
            answer = await _in_thread(lambda: executor(command, where))
            output, code = await answer if inspect.isawaitable(answer) else answer
        text = output.decode(errors="replace") if isinstance(output, bytes) else str(output)
        return text, int(code)
    except ToolError:
        raise
    except Exception as error:  # a user's function may raise anything; the model must hear of it
        if clock.expired():
            raise ToolError(_late(limit, "")) from None
        raise ToolError(f"Executor crashed: {type(error).__name__}: {error}") from error


@dataclass(slots=True)
class _Kept:
    """The beginning and the end of a text that may be endless."""

    head: str = ""
    tail: str = ""
    total: int = 0

    @classmethod
    def of(cls, text: str) -> _Kept:
        kept = cls()
        kept.add(text)
        return kept

    def add(self, text: str) -> None:
        self.total += len(text)
        room = _HEAD_CHARS - len(self.head)
        if room > 0:
            self.head += text[:room]
            text = text[room:]
        self.tail = (self.tail + text)[-(_OUTPUT_CHARS - _HEAD_CHARS) :]

    def text(self) -> str:
        """Return all of it, or both ends with a note between them, at most 30,000 characters."""
        if self.total <= _OUTPUT_CHARS:
            return self.head + self.tail
        # The note is as long for any number of this size, so measure it with a larger one.
        room = _OUTPUT_CHARS - len(self.head) - len(_cut_note(self.total))
        return self.head + _cut_note(self.total - len(self.head) - room) + self.tail[-room:]

    def last_line(self) -> str:
        """Return the last line with something on it, for a person to see that things move."""
        lines = (self.tail or self.head)[-1000:].splitlines()
        return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")


def _cut_note(count: int) -> str:
    return f"\n[... {count:,} characters of the output were cut ...]\n"


@dataclass(frozen=True, slots=True)
class _Ended:
    """What became of a command; no exit code means that it had to be stopped."""

    output: str
    exit_code: int | None


class _Call:
    """One command from its start to the end of its last process. Runs in a thread."""

    def __init__(
        self,
        argv: list[str],
        context: ToolContext,
        seconds: float,
        stop: threading.Event,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._argv = argv
        self._context = context
        self._seconds = seconds
        self._stop = stop
        self._progress = _Progress(context.progress, loop)
        self._kept = _Kept()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def run(self) -> _Ended:
        """Run the command to its end, or to the timeout, or until `stop` is set.

        Raises:
            ToolError: bash could not be started.
        """
        reader, writer = os.pipe()
        try:
            os.set_blocking(reader, False)
            try:
                family = self._start(writer)
            finally:
                os.close(writer)
            try:
                ended = self._follow(family.process, reader)
            finally:
                grace = _GRACE_CANCELLED if self._stop.is_set() else _GRACE
                stopped = family.stop(grace)
            self._drain(reader)
        finally:
            os.close(reader)
        self._kept.add(self._decoder.decode(b"", final=True))
        return self._ended(family.process.returncode if ended else None, stopped)

    def _start(self, writer: int) -> _Family:
        directory = self._context.working_directory
        if not directory.is_dir():
            raise ToolError(f"The working directory {directory} does not exist.")
        mark = f"ALLOY_CALL_{secrets.token_hex(8)}"
        try:
            process = subprocess.Popen(  # noqa: S603  # running what was approved is its purpose
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=writer,
                stderr=writer,
                cwd=directory,
                env={**environment_without_keys(), mark: "1"},
                start_new_session=True,
                # One more copy, which `env -i` and a redirection leave open: see _Family.
                pass_fds=(writer,),
            )
        except (OSError, ValueError) as error:
            raise ToolError(f"bash could not be started: {error}.") from None
        return _Family(process, mark, writer, os.fstat(writer).st_ino)

    def _follow(self, process: subprocess.Popen[bytes], reader: int) -> bool:
        """Read the output; return whether bash ended by itself."""
        deadline = time.monotonic() + self._seconds
        ended_at = None
        is_open = True
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        while True:
            now = time.monotonic()
            if ended_at is None and process.poll() is not None:
                ended_at = now
            if ended_at is not None and (not is_open or now > ended_at + _AFTERGLOW):
                return True
            if self._stop.is_set() or (ended_at is None and now > deadline):
                return False
            if not is_open:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_TICK)
            elif poll.poll(_TICK * 1000):
                is_open = self._take(reader)

    def _take(self, reader: int) -> bool:
        """Read one piece; return false at the end of the output."""
        piece = os.read(reader, _PIECE)
        self._kept.add(self._decoder.decode(piece))
        self._progress.show(self._kept)
        return bool(piece)

    def _drain(self, reader: int) -> None:
        """Take what dying processes left in the pipe. A pipe holds a megabyte at most."""
        with suppress(BlockingIOError):
            for _ in range((1 << 20) // 4096):
                if not self._take(reader):
                    return

    def _ended(self, code: int | None, stopped: int) -> _Ended:
        output = self._kept.text()
        if code is None:
            return _Ended(output, None)
        if stopped:
            what = "process" if stopped == 1 else "processes"
            output += f"\n[{stopped} {what} left in the background, now stopped]"
        # A shell reports a death by signal as 128 + its number.
        return _Ended(output, code if code >= 0 else 128 - code)


class _Progress:
    """Shows the last line of the output to the person, at most four times a second."""

    def __init__(self, show: Callable[[str], None], loop: asyncio.AbstractEventLoop) -> None:
        self._show = show
        self._loop = loop
        self._next = 0.0

    def show(self, kept: _Kept) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + 0.25
        line = kept.last_line()
        if line:
            with suppress(RuntimeError):  # the loop was closed, so nobody looks any more
                self._loop.call_soon_threadsafe(self._show, line)


class _Family:
    """All processes of one command.

    Where there is no ``/proc``, they are the process group. Where there is, they are also all that
    carry a mark of ours, started no earlier than bash itself. There are four marks, because a
    daemon drops some of them: the session, a variable in the environment, a descriptor of the
    output pipe, and a parent that carries a mark.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], mark: str, descriptor: int, inode: int
    ) -> None:
        self.process = process
        self._mark = mark.encode() + b"="
        self._descriptor = descriptor
        self._inode = inode
        leader = _process(process.pid)
        self._since = leader.started if leader else 0
        _RUNNING.add(self)

    def stop(self, grace: float) -> int:
        """End them all: TERM, after `grace` seconds KILL. Return how many there were.

        bash itself counts only where it was still running.
        """
        found = rest = self._members()
        if found and self.process.returncode is not None:
            # One that closed its output may be about to end by itself.
            time.sleep(2 * _TICK)
            found = rest = self._members()
        self._signal(rest, signal.SIGTERM)
        self._signal(rest, signal.SIGCONT)  # one that is stopped would not notice TERM
        until = time.monotonic() + grace
        while rest and time.monotonic() < until:
            time.sleep(_TICK / 2)
            rest = self._members()
        # Again and again, because a process may have forked while we were looking; and not for
        # ever, because one that waits for a broken disk cannot be killed.
        rounds = 40
        while rest and rounds:
            self._signal(rest, signal.SIGKILL)
            time.sleep(_TICK / 2)
            rest, rounds = self._members(), rounds - 1
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(grace)
        _RUNNING.discard(self)
        return len(found)

    def kill(self) -> None:
        """Kill them once, without waiting."""
        self._signal(self._members(), signal.SIGKILL)

    def _signal(self, members: set[int], number: int) -> None:
        # The group in one go: nothing in it can fork its way past that.
        for target in (-self.process.pid, *members) if members else ():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(target, number)

    def _members(self) -> set[int]:
        self.process.poll()  # reaps bash, which otherwise counts as a member for ever
        if not _PROC.is_dir():
            return self._group()
        candidates = {}
        for entry in _PROC.iterdir():
            found = _process(int(entry.name)) if entry.name.isdigit() else None
            if found and found.alive and found.started >= self._since:
                candidates[found.pid] = found
        members = {pid for pid, found in candidates.items() if self._is_marked(found)}
        return _with_children(members, candidates)

    def _group(self) -> set[int]:
        try:
            os.killpg(self.process.pid, 0)
        except (ProcessLookupError, PermissionError):  # macOS: all that is left are zombies
            return set()
        return {-self.process.pid}

    def _is_marked(self, found: _Process) -> bool:
        if self.process.pid in (found.pid, found.group, found.session):
            return True
        with suppress(OSError):
            if self._mark in (_PROC / str(found.pid) / "environ").read_bytes():
                return True
        with suppress(OSError):
            link = _PROC / str(found.pid) / "fd" / str(self._descriptor)
            return link.readlink() == Path(f"pipe:[{self._inode}]")
        return False


def _with_children(members: set[int], candidates: Mapping[int, _Process]) -> set[int]:
    while True:
        more = {pid for pid, found in candidates.items() if found.parent in members} - members
        if not more:
            return members
        members |= more


@dataclass(frozen=True, slots=True)
class _Process:
    """A line of Linux' process table; `started` counts clock ticks since boot."""

    pid: int
    alive: bool
    parent: int
    group: int
    session: int
    started: int


_PROC = Path("/proc")


def _process(pid: int) -> _Process | None:
    try:
        line = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The name stands in brackets and may itself hold brackets and spaces.
    state, parent, group, session, *rest = line.rpartition(")")[2].split()
    return _Process(pid, state not in "ZX", int(parent), int(group), int(session), int(rest[15]))


_RUNNING: set[_Family] = set()


@atexit.register
def _kill_all() -> None:
    """Leave nothing behind when the interpreter ends during a command."""
    for family in list(_RUNNING):
        family.kill()

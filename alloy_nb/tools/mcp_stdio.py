"""An MCP server as a process of ours: its lines, within bounds, and its end.

The SDK's own transport keeps a line of any length, hands on any number of messages, and needs a
standard error with a descriptor, which a notebook's is not. This one takes its place:

1. A message has a largest size, and so has what comes between two of our requests; a server that
   goes past either is stopped.
2. Lines that are no JSON-RPC, which some servers print, are passed over.
3. Standard error is read to its end; its last lines say why a server ended.
4. When the connection closes, its processes end: the input is closed, then TERM, then KILL, each
   for the whole group.

Source: https://modelcontextprotocol.io/specification/2025-11-25/basic/transports, and mcp 2.3
(``mcp.client.stdio``), read 2026-11-21.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from mcp.shared.message import SessionMessage

__all__ = ["Line", "Program", "kill_all"]

_T = TypeVar("_T")

_PIECE = 1 << 16
_STDERR_KEPT = 4_000
# How long a server has after its input was closed, after TERM, and after KILL, in seconds.
_GRACES = (0.7, 1.0, 1.0)
_TICK = 0.02
# More messages than this without a request of ours in between are a flood.
_MOST_MESSAGES = 10_000

_alive: set[int] = set()
_ending: set[asyncio.Future[None]] = set()


@dataclass(frozen=True, slots=True)
class Program:
    """What to start, and in what surroundings."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    directory: Path | None = None
    largest_message: int = 16 << 20


class Line:
    """The line to one server process: a transport for the SDK.

    Args:
        program: What to start.
        ended: Told, once, why nothing will come any more.
    """

    def __init__(self, program: Program, ended: Callable[[str], None]) -> None:
        self._program = program
        self._ended = ended
        self._stderr = b""
        self._is_at_end = False
        self._received = 0
        self._messages = 0

    @property
    def stderr(self) -> str:
        """The last lines that the server wrote to its standard error."""
        return self._stderr.decode("utf-8", "replace")

    def expect(self) -> None:
        """Begin to count anew: a request of ours is about to be answered."""
        self._received = self._messages = 0

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[tuple[Any, Any]]:
        """Start the process and give the two streams that the SDK talks over.

        Raises:
            OSError: It could not be started.
        """
        import anyio

        process = await _started(self._program)
        _alive.add(process.pid)
        # An element is a message, or the exception that stands for one.
        to_us, ours = anyio.create_memory_object_stream[Any](0)
        theirs, to_them = anyio.create_memory_object_stream[Any](0)
        tasks = [
            asyncio.create_task(self._read(process, to_us)),
            asyncio.create_task(self._write(process, to_them, to_us)),
            asyncio.create_task(self._listen(process)),
        ]
        try:
            yield ours, theirs
        finally:
            if not self._is_at_end:  # else it is about to say why
                tasks[0].cancel()
            tasks[1].cancel()
            try:
                # Shielded: a cancelled caller must not leave a process behind.
                ending = asyncio.ensure_future(_stopped(process))
                _ending.add(ending)
                ending.add_done_callback(_ending.discard)
                await asyncio.shield(ending)
            finally:
                tasks[2].cancel()
                for stream in (to_us, ours, theirs, to_them):
                    stream.close()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, process: asyncio.subprocess.Process, to_us: Any) -> None:
        import anyio

        reason = "it closed its output"
        try:
            reason = await self._take(_pipe(process.stdout), to_us) or reason
            self._is_at_end = True
        except (anyio.ClosedResourceError, anyio.BrokenResourceError, OSError) as error:
            reason = f"its line broke ({type(error).__name__})"
        finally:
            to_us.close()
        self._ended(await self._why(process, reason))

    async def _take(self, pipe: asyncio.StreamReader, to_us: Any) -> str | None:
        """Hand over line after line; return why the server must be stopped, or at the end none."""
        rest = bytearray()
        while piece := await pipe.read(_PIECE):
            self._received += len(piece)
            *lines, tail = piece.split(b"\n")
            for line in lines:
                rest += line
                await self._hand_over(bytes(rest), to_us)
                rest.clear()
            rest += tail
            if fault := self._fault(len(rest)):
                return fault
        return None

    def _fault(self, pending: int) -> str | None:
        largest = self._program.largest_message
        if pending > largest:
            return f"it sent a message of over {largest / (1 << 20):.3g} MB and was stopped"
        if self._received > 4 * largest or self._messages > _MOST_MESSAGES:
            return "it sent messages without end and was stopped"
        return None

    async def _hand_over(self, line: bytes, to_us: Any) -> None:
        from mcp.shared.message import SessionMessage
        from mcp_types import jsonrpc_message_adapter

        self._messages += 1
        if not line.strip() or self._fault(len(line)):
            return
        try:
            message = jsonrpc_message_adapter.validate_json(line, by_name=False)
        except (ValueError, RecursionError):
            return  # a line of a log, or nothing that the protocol knows
        await to_us.send(SessionMessage(message))

    async def _write(self, process: asyncio.subprocess.Process, to_them: Any, to_us: Any) -> None:
        pipe = _pipe(process.stdin)
        item: SessionMessage
        try:
            async for item in to_them:
                text = item.message.model_dump_json(by_alias=True, exclude_unset=True)
                pipe.write(text.encode("utf-8", "replace") + b"\n")
                await pipe.drain()
        except (OSError, ValueError):
            to_us.close()  # so that nobody waits for an answer

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        with suppress(OSError):
            while piece := await _pipe(process.stderr).read(_PIECE):
                self._stderr = (self._stderr + piece)[-_STDERR_KEPT:]

    async def _why(self, process: asyncio.subprocess.Process, reason: str) -> str:
        """Return why the output ended, with the exit code where the process ended with it."""
        for _ in range(10):
            if process.returncode is not None:
                return f"it ended with exit code {process.returncode}"
            if "stopped" in reason:
                break
            await asyncio.sleep(_TICK)
        return reason


def _pipe(pipe: _T | None) -> _T:
    """Return a pipe of a process that was started with all three."""
    if pipe is None:
        raise OSError("the process has no pipe")
    return pipe


async def _started(program: Program) -> asyncio.subprocess.Process:
    """Start the process; where the caller is cancelled meanwhile, end it as soon as it is there."""
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *program.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(program.environment),
            cwd=program.directory,
            start_new_session=True,
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        starting.add_done_callback(_end_at_once)
        raise


def _end_at_once(starting: asyncio.Future[asyncio.subprocess.Process]) -> None:
    if not starting.cancelled() and starting.exception() is None:
        _signal(starting.result().pid, _KILL)


async def _stopped(process: asyncio.subprocess.Process) -> None:
    """End the process and all of its group, the gentle way first."""
    if process.stdin is not None:
        process.stdin.close()
    for grace, number in zip(_GRACES, (signal.SIGTERM, _KILL, None), strict=True):
        if await _has_ended(process, grace):
            break
        if number is not None:
            _signal(process.pid, number)
    _signal(process.pid, _KILL)  # what it left in its group
    _alive.discard(process.pid)
    # Without this, a grandchild that holds a pipe would keep it open, and warn at the very end.
    transport = getattr(process, "_transport", None)
    if transport is not None:
        with suppress(OSError):
            transport.close()


async def _has_ended(process: asyncio.subprocess.Process, seconds: float) -> bool:
    """Wait for the exit code alone: `wait` waits for the pipes too, which a grandchild may hold."""
    until = asyncio.get_running_loop().time() + seconds
    while process.returncode is None:
        if asyncio.get_running_loop().time() > until:
            return False
        await asyncio.sleep(_TICK)
    return True


_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(pid, number)
        else:
            os.kill(pid, number)


def kill_all() -> None:
    """End all servers at once, where nothing can be waited for any more."""
    for pid in list(_alive):
        _signal(pid, _KILL)
    _alive.clear()


if hasattr(os, "register_at_fork"):
    # A forked child has servers of its parent's in its list; they are not its to end.
    os.register_at_fork(after_in_child=_alive.clear)

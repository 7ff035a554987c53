"""A run of the ``codex`` program: how it is started, told, read and ended.

What it is told and what its answer means is in `codex`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from alloy_nb import secrets
from alloy_nb.providers.lenient import count, mapping, string
from alloy_nb.providers.wire_json import loads, mended
from alloy_nb.usage import Usage

__all__ = ["Program"]

_OUTPUT_CHARACTERS = 2_000
_LINE_BYTES = 16 * 1024 * 1024
_POLITE_SECONDS = 2.0
_DRAIN_SECONDS = 0.5


class Program(asyncio.SubprocessProtocol):
    """A run of codex, and what it printed as far as it matters.

    asyncio's own `Process` waits for every copy of a pipe to be closed, so that whatever codex
    leaves running would hold up the answer. Here it is over when codex is.
    """

    def __init__(self) -> None:
        self.thoughts: asyncio.Queue[str | None] = asyncio.Queue()
        self.usage: Usage | None = None
        self.failure = ""
        self.tail = ""
        self._line: list[bytes] = []
        self._size = 0
        self._ended = asyncio.Event()
        self._transport: asyncio.SubprocessTransport

    @classmethod
    async def started(cls, program: str, arguments: list[str], folder: Path) -> Program:
        """Start codex in a group of processes of its own."""
        loop = asyncio.get_running_loop()
        _, running = await loop.subprocess_exec(
            cls,
            program,
            *arguments,
            cwd=folder / "work",
            env=_environment(folder / "home"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return running

    @property
    def status(self) -> int | None:
        """How codex ended, or ``None`` while it runs."""
        return self._transport.get_returncode()

    def tell(self, prompt: bytes) -> None:
        """Send the prompt, as fast as codex reads it."""
        pipe = self._transport.get_pipe_transport(0)
        assert isinstance(pipe, asyncio.WriteTransport)  # noqa: S101  # it was asked for
        pipe.write(prompt)
        pipe.close()  # what is not written yet is written first

    async def end(self) -> None:
        """End codex and whatever it started: politely first."""
        try:
            if self.status is None:
                self._signal(signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._ended.wait(), _POLITE_SECONDS)
        finally:
            self._signal(signal.SIGKILL)
            if self.status is None:
                await self._ended.wait()
            self._transport.close()
            await asyncio.sleep(0)  # its pipes are closed in the loop's next round

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._transport.get_pid(), number)

    # --- called by the event loop -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to the process."""
        assert isinstance(transport, asyncio.SubprocessTransport)  # noqa: S101  # asyncio's word
        self._transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:  # noqa: ARG002  # one pipe is read
        """Take what codex printed, line by line."""
        *ended, rest = data.split(b"\n")
        for piece in ended:
            self._keep(piece)
            self._take_line()
        self._keep(rest)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002
        """Take a last line that has no end."""
        if fd == 1:
            self._take_line()

    def process_exited(self) -> None:
        """End what codex started, and soon the wait for its output."""
        # Also where codex itself has ended: what it started may not have.
        self._signal(signal.SIGKILL)
        self._ended.set()
        # What codex printed last is still in the pipe, which closes now if nobody fled the group.
        asyncio.get_running_loop().call_later(_DRAIN_SECONDS, self._over)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Say that there is no more to come."""
        self._over()

    def _over(self) -> None:
        self.thoughts.put_nowait(None)

    def _keep(self, piece: bytes) -> None:
        """Keep a piece of a line, unless the line is too long: the answer comes in a file."""
        self._size += len(piece)
        if self._size <= _LINE_BYTES:
            self._line.append(piece)
        else:
            self._line.clear()

    def _take_line(self) -> None:
        line = b"".join(self._line).decode("utf-8", "replace")
        self._line.clear()
        self._size = 0
        if line.strip():
            self._take(line)

    def _take(self, line: str) -> None:
        try:
            event = mended(loads(line), pieces=False)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            self.tail = (self.tail + line + "\n")[-_OUTPUT_CHARACTERS:]
            return
        item = mapping(event.get("item"))
        match event.get("type"):
            case "turn.completed":
                self.usage = _usage(mapping(event.get("usage")))
            case "turn.failed":
                self._fail(mapping(event.get("error")).get("message"))
            case "error":
                self._fail(event.get("message"))
            case "item.completed" if item.get("type") == "reasoning":
                if thought := string(item.get("text")):
                    self.thoughts.put_nowait(thought)

    def _fail(self, message: Any) -> None:
        self.failure = string(message)[:_OUTPUT_CHARACTERS] or self.failure


def _environment(home: Path) -> dict[str, str]:
    """Return our environment without anybody's keys: codex has a login of its own."""
    return {**secrets.environment_without_keys(), "CODEX_HOME": str(home)}


def _usage(usage: dict[str, Any]) -> Usage:
    return Usage(
        input_tokens=count(usage.get("input_tokens")),
        output_tokens=count(usage.get("output_tokens")),
        cache_read_tokens=count(usage.get("cached_input_tokens")),
        reasoning_tokens=count(usage.get("reasoning_output_tokens")),
        raw=dict(usage),
    )

"""MCP servers as tools, through the official SDK (the extra ``mcp``).

::

    with al.mcp("files", command=["mcp-server-filesystem", "."]) as files:
        al.run("What is here?", provider="anthropic/claude-sonnet-4-6", tools=[files])

A server is a stranger's program, so:

- Its tools are called ``mcp__server__tool`` and can stand in the way of no other tool; each asks
  first under the policy *ask*.
- What it said of its tools when it was opened is what models are told for as long as it is open.
  When it says something else later, a person is asked about the difference before a changed tool
  runs; where nobody can be asked, it does not run until `McpServer.accept`.
- It has limits of time and size. One that hangs, floods or dies is an error that the model hears;
  the next call starts it again.
- Its environment has no keys but those that were given.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import os
import re
import time
import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from alloy_nb.engine import portal
from alloy_nb.engine.calls.tool import Tool, ToolContext, ToolOutput
from alloy_nb.engine.calls.workers import in_thread
from alloy_nb.errors import ConfigError, ToolError
from alloy_nb.secrets import environment_without_keys, redact, register
from alloy_nb.tools.mcp_connection import CLOSING, Connection, Settings, progress_of
from alloy_nb.tools.mcp_content import (
    Definition,
    fingerprint,
    output_of,
    plain,
    tool_name,
    visible,
)
from alloy_nb.tools.mcp_stdio import Program, kill_all

__all__ = ["McpServer", "mcp"]

# No double underscore: it divides the server's name from the tool's.
_SERVER = re.compile(r"(?!.*__)[A-Za-z0-9-][A-Za-z0-9_-]{0,31}")
# The question to a person may take as long as it takes; calls have a limit of their own.
_ASKING = 24 * 3600.0
# What a server is given under such a name is masked in all that it says.
_KEY = re.compile(r"KEY|TOKEN|SECRET|PASSWORD", re.I)


def mcp(
    name: str,
    *,
    command: Sequence[str] | str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    url: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 60.0,
    start_timeout: float = 30.0,
    max_message_mb: float = 16.0,
    max_result_chars: int = 100_000,
    risk: str = "run",
    only: Sequence[str] | None = None,
    pin: str | None = None,
) -> McpServer:
    """Return an MCP server, to be opened with ``with`` or ``async with``.

    Args:
        name: What to call it; the names of its tools begin with it.
        command: The program and its arguments, for a server that talks over its pipes.
        env: Variables for it, besides this process's own without its keys.
        cwd: Its working directory.
        url: The address, for a server that talks streamable HTTP.
        headers: Headers for it, such as ``Authorization``.
        timeout: Seconds for one call.
        start_timeout: Seconds until it must have said what tools it has.
        max_message_mb: The largest message taken from it; one that sends more is stopped.
        max_result_chars: Longer results are cut in the middle.
        risk: ``"run"`` asks before each call under the policy *ask*; ``"read"`` does not.
        only: The tools to take, by the server's names; ``None`` takes all.
        pin: The `McpServer.fingerprint` that its tools must have.

    Raises:
        ConfigError: A setting is wrong, or the extra ``mcp`` is not installed.
    """
    if find_spec("mcp_types") is None:  # which came with the SDK's second version
        raise ConfigError("MCP servers need the official SDK: pip install 'alloy-nb[mcp]'.")
    if not _SERVER.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot be a server's name: use up to 32 letters, digits, - and single _."
        )
    if (command is None) == (url is None):
        raise ConfigError(f"mcp({name!r}) needs either command= or url=.")
    if url is not None and not re.match(r"https?://[^/]", url):
        raise ConfigError(f"url={url!r} is no address: it begins with http:// or https://.")
    for setting, seconds in (("timeout", timeout), ("start_timeout", start_timeout)):
        if not seconds > 0:
            raise ConfigError(f"{setting} must be a positive number of seconds, not {seconds!r}.")
    for secret in (headers or {}).values():
        register(secret)
        register(secret.rpartition(" ")[2])
    size = int(max_message_mb * (1 << 20))
    return McpServer(
        Settings(
            name=name,
            program=_program(command, env, cwd, size) if command is not None else None,
            url=url,
            headers=dict(headers or {}),
            timeout=timeout,
            start_timeout=start_timeout,
            largest_message=size,
            max_result_chars=max_result_chars,
            risk=risk,
            only=frozenset(only) if only is not None else None,
            pin=pin,
        )
    )


def _program(
    command: Sequence[str] | str,
    env: Mapping[str, str] | None,
    cwd: str | Path | None,
    size: int,
) -> Program:
    words = [command] if isinstance(command, str) else [os.fspath(word) for word in command]
    if not words or not words[0]:
        raise ConfigError("command= is empty: give a program and its arguments, as a list.")
    for name, value in (env or {}).items():
        if _KEY.search(name):
            register(value)
    environment = {**environment_without_keys(), **(env or {})}
    return Program(words, environment, Path(cwd) if cwd is not None else None, size)


class McpServer:
    """An MCP server, open or not; `mcp` makes one. In ``tools=`` it stands for all its tools."""

    def __init__(self, settings: Settings) -> None:
        self.name = settings.name
        self._settings = settings
        self._open = False
        self._connection: Connection | None = None
        self._connecting: asyncio.Lock | None = None
        self._failed = (0.0, "")
        self._accepted: dict[str, Definition] = {}
        self._digests: set[tuple[str, str]] = set()
        self._left_out: dict[str, str] = {}

    def __repr__(self) -> str:
        state = f"{len(self._accepted)} tools" if self._open else "closed"
        return f"McpServer({self.name!r}, {state})"

    @property
    def tools(self) -> tuple[Tool, ...]:
        """Its tools, as they were when it was opened, or at the last `accept`.

        Raises:
            ConfigError: It is not open.
        """
        if not self._open:
            raise ConfigError(f"The MCP server {self.name} is not open: use it in a with block.")
        found: dict[str, Tool] = {}
        for definition in self._accepted.values():
            name = tool_name(self.name, definition.name, found)
            found[name] = self._tool(name, definition)
        return tuple(found.values())

    @property
    def fingerprint(self) -> str:
        """A digest of all definitions that were accepted, for ``pin=``."""
        return fingerprint(self._accepted.values())

    @property
    def changes(self) -> tuple[str, ...]:
        """What the server says otherwise now than when it was accepted, for a person to read."""
        current = self._connection.definitions if self._connection else {}
        gone = [f"{n} is gone" for n in self._accepted if self._connection and n not in current]
        other = [self._change(d) for d in current.values() if not self._is_accepted(d)]
        return (*gone, *other)

    @property
    def left_out(self) -> dict[str, str]:
        """Tools of the server that cannot be used, and why."""
        return dict(self._left_out)

    @property
    def stderr(self) -> str:
        """The last lines that the server wrote to its standard error."""
        line = self._connection.line if self._connection else None
        return redact(plain(line.stderr)) if line else ""

    def accept(self) -> None:
        """Take the server's definitions as they are now: `changes` is empty afterwards."""
        if self._connection is not None:
            self._accept(self._connection.definitions.values())
            self._accepted = dict(self._connection.definitions)

    def open(self) -> McpServer:
        """Start or reach the server, and ask it for its tools; blocks. `aopen` is awaitable.

        Raises:
            ToolError: It could not be reached, or did not answer in time.
            ConfigError: Its tools are not those that ``pin=`` names.
        """
        return portal.run_sync(self._begin())

    async def aopen(self) -> McpServer:
        """Open the server, as `open`; awaitable in any event loop."""
        return await portal.run_async(self._begin())

    def close(self) -> None:
        """End the connection, and the server if it is a process of ours."""
        portal.run_sync(self._end())

    async def aclose(self) -> None:
        """Close the server, as `close`; awaitable in any event loop."""
        await portal.run_async(self._end())

    def __enter__(self) -> McpServer:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> McpServer:
        return await self.aopen()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    # --- on the portal's loop -------------------------------------------------------------------

    async def _begin(self) -> McpServer:
        if self._open:
            return self
        _end_with_the_interpreter(self)
        try:
            connection = await self._connected()
        except BaseException:  # raised again, with nothing left running
            await self._end()
            raise
        self._accept(connection.definitions.values())
        self._accepted = dict(connection.definitions)
        if self._settings.pin not in (None, self.fingerprint):
            found = self.fingerprint
            await self._end()
            raise ConfigError(
                f"The tools of the MCP server {self.name} are not those that pin= names; theirs "
                f"is {found}."
            )
        self._open = True
        return self

    async def _end(self) -> None:
        self._open = False
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _connected(self) -> Connection:
        """Return a connection that is alive, and has said what its tools are."""
        self._connecting = self._connecting or asyncio.Lock()
        began = time.monotonic()
        async with self._connecting:
            when, failure = self._failed
            if when > began:
                raise ToolError(failure)  # calls side by side do not each wait for a dead server
            here = self._connection
            if here is not None and here.alive:
                return here
            if here is not None:
                await here.close()
            self._connection = fresh = Connection(self._settings, self._left_out)
            try:
                await fresh.ready()
            except ToolError as error:
                self._failed = (time.monotonic(), str(error))
                raise
            return fresh

    async def _call(
        self, definition: Definition, arguments: Mapping[str, Any], context: ToolContext
    ) -> ToolOutput:
        if not self._open:
            raise ToolError(f"The MCP server {self.name} is closed.")
        connection = await self._connected()
        await connection.refresh()
        await self._check_unchanged(definition.name, connection, arguments, context)
        result = await connection.call(definition.name, arguments, progress_of(context))
        made: ToolOutput = await in_thread(partial(output_of, result))
        return made

    async def _check_unchanged(
        self,
        name: str,
        connection: Connection,
        arguments: Mapping[str, Any],
        context: ToolContext,
    ) -> None:
        now = connection.definitions.get(name)
        if now is None:
            raise ToolError(f"The MCP server {self.name} does not offer {visible(name)} any more.")
        if self._is_accepted(now):
            return
        call = json.dumps(dict(arguments), ensure_ascii=False, indent=2)
        question = f"{self._change(now)}\n\nThe call: {visible(name)}({visible(call)})"
        if context.ask is None or not await context.ask(question):
            raise ToolError(
                f"The MCP server {self.name} changed what {visible(name)} is since it was "
                "accepted, so it did not run. A person has to look at the server's changes and "
                "accept() them."
            )
        self._accept([now])

    def _accept(self, definitions: Any) -> None:
        self._digests |= {(d.name, d.digest) for d in definitions}

    def _is_accepted(self, definition: Definition) -> bool:
        return (definition.name, definition.digest) in self._digests

    def _change(self, now: Definition) -> str:
        before = self._accepted.get(now.name)
        title = f"The MCP server {self.name} "
        if before is None:
            return f"{title}has a new tool, {visible(now.name)}:\n{_told(now)}"
        return (
            f"{title}changed its tool {visible(now.name)} after it was accepted.\n"
            f"Before:\n{_told(before)}\nNow:\n{_told(now)}"
        )

    def _tool(self, name: str, definition: Definition) -> Tool:
        async def call(arguments: dict[str, Any], context: ToolContext) -> ToolOutput:
            return await portal.run_async(self._call(definition, arguments, context))

        return Tool(
            function=call,
            name=name,
            description=definition.description,
            input_schema=definition.schema,
            risk=self._settings.risk,
            timeout=_ASKING,
            max_result_chars=self._settings.max_result_chars,
            subject=partial(_subject, self.name, definition.name),
            _context_parameter="context",
            _takes_whole=True,
        )


def _subject(server: str, tool: str, arguments: Mapping[str, Any]) -> str:
    call = json.dumps(dict(arguments), ensure_ascii=False, indent=2)
    return f"{visible(tool)} of the MCP server {server}, with:\n{call}"


def _told(definition: Definition) -> str:
    schema = json.dumps(definition.schema, ensure_ascii=False, sort_keys=True)
    return f"{definition.description}\n{schema}"


# --- the end ------------------------------------------------------------------------------------

_servers: weakref.WeakSet[McpServer] = weakref.WeakSet()
_registered = False


def _end_with_the_interpreter(server: McpServer) -> None:
    """Close this server at exit. Called on the portal's loop, so that we come before its end."""
    global _registered
    _servers.add(server)
    if not _registered:
        _registered = True
        atexit.register(_close_all)


async def _end_all() -> None:
    ends = [server._end() for server in list(_servers)]
    await asyncio.gather(*ends, return_exceptions=True)


def _close_all() -> None:
    with contextlib.suppress(Exception):  # at exit there is nobody left to tell
        portal.run_sync(asyncio.wait_for(_end_all(), CLOSING))
    kill_all()

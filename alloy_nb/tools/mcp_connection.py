"""One life of an MCP server: the SDK's client over a pipe or HTTP, and calls within limits.

A task of its own holds the client open, because the SDK's scopes must be left by the task that
entered them. Whoever calls waits for the answer, the limit, or the end of that task, whichever is
first; nobody waits for the SDK to clean up.

Source: mcp 2.3 (``mcp.client``), read 2026-11-21.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from alloy_nb.engine.calls.tool import ToolContext
from alloy_nb.errors import ToolError
from alloy_nb.secrets import redact
from alloy_nb.tools.mcp_content import Definition, definition_of, plain, visible
from alloy_nb.tools.mcp_stdio import Line, Program

__all__ = ["CLOSING", "Connection", "Settings", "progress_of"]

log = logging.getLogger("alloy_nb")

# How long the end of a connection is waited for, in seconds, before it is cut off.
CLOSING = 4.0
_MOST_TOOLS = 256
_MOST_PAGES = 32
_PROGRESS_SECONDS = 0.25
_HTTP_EVENTS = 10_000
_REASON_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How to reach a server, and its limits; `alloy_nb.mcp` says what each means."""

    name: str
    program: Program | None
    url: str | None
    headers: Mapping[str, str] = field(repr=False)
    timeout: float
    start_timeout: float
    largest_message: int
    max_result_chars: int
    risk: str
    only: frozenset[str] | None
    pin: str | None


class Connection:
    """One life of a server: a task that holds the SDK's client open, and calls through it."""

    def __init__(self, settings: Settings, left_out: dict[str, str]) -> None:
        self.definitions: dict[str, Definition] = {}
        self.line: Line | None = None
        self._settings = settings
        self._left_out = left_out
        self._client: Any = None
        self._stale = False
        self._over = asyncio.Event()
        self._reason = ""
        self._ready = asyncio.Event()
        self._task = asyncio.create_task(self._live())

    @property
    def alive(self) -> bool:
        """Whether a call may still be answered."""
        return self._client is not None and not self._over.is_set() and not self._task.done()

    async def ready(self) -> None:
        """Wait until the server has said what its tools are.

        Raises:
            ToolError: It ended, or did not in time.
        """
        try:
            await self._either(self._ready.wait(), self._settings.start_timeout)
        finally:
            if not self._ready.is_set():
                self._cut(f"it did not answer within {self._settings.start_timeout:g} s")
        if self._over.is_set():
            await self.close()
            raise ToolError(self._failure("could not be used"))

    async def close(self) -> None:
        """End it, and the server if it is a process of ours."""
        if self._ready.is_set():
            self._finish("it was closed")
        else:
            self._cut("it was closed")
        done, _ = await asyncio.wait({self._task}, timeout=CLOSING)
        if not done:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=CLOSING)

    async def refresh(self) -> None:
        """Ask for the tools again where the server has said that they changed."""
        if self._stale:
            self._stale = False
            self.definitions = await self._within(self._listed(), "list its tools")

    async def call(
        self, name: str, arguments: Mapping[str, Any], progress: Callable[..., Awaitable[None]]
    ) -> Any:
        """Call a tool and return the SDK's result.

        Raises:
            ToolError: The server refused, ended, or did not answer in time.
        """
        from mcp_types import (
            CallToolRequest,
            CallToolRequestParams,
            CallToolResult,
            InputRequiredResult,
        )
        from pydantic import TypeAdapter

        # Not the SDK's `call_tool`, which checks results against the server's own schema on this
        # loop: a pattern in it could keep the loop, and every run with it, busy for hours.
        params = CallToolRequestParams(name=name, arguments=dict(arguments))
        request = self._client.session.send_request(
            CallToolRequest(params=params),
            TypeAdapter(CallToolResult | InputRequiredResult),
            progress_callback=progress,
        )
        result = await self._within(request, f"answer the call of {visible(name)}")
        if isinstance(result, InputRequiredResult):
            raise ToolError(
                f"The MCP server {self._settings.name} asks the person for more before it answers "
                f"{visible(name)}, which is not supported here."
            )
        return result

    async def _within(self, work: Any, what: str) -> Any:
        """Return an answer, or raise `ToolError` with the reason why there is none."""
        from mcp import MCPError

        if self.line is not None:
            self.line.expect()
        name = self._settings.name
        try:
            task = await self._either(work, self._settings.timeout)
            if task.done() and not task.cancelled():
                return task.result()
        except MCPError as error:
            raise ToolError(await self._refusal(error)) from None
        except Exception as error:  # whatever the SDK makes of what a stranger sent
            raise ToolError(
                f"The MCP server {name} did not {what} in a way that the protocol allows: "
                f"{_brief(error)}"
            ) from None
        if self._over.is_set():
            raise ToolError(self._failure("ended before it answered"))
        raise ToolError(
            f"The MCP server {name} did not {what} within {self._settings.timeout:g} s."
        )

    async def _either(self, work: Any, seconds: float) -> asyncio.Future[Any]:
        """Wait for the work, its limit, or the end of the connection, and return its task.

        It is a task of its own: to be cancelled may take it seconds, for which nobody waits.
        """
        task: asyncio.Future[Any] = asyncio.ensure_future(work)
        over = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait({task, over}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            return task
        finally:
            over.cancel()
            if not task.done():
                task.cancel()
                _abandoned.add(task)
                task.add_done_callback(_forgotten)

    async def _refusal(self, error: Any) -> str:
        """Return what an error of the SDK's means: the server's answer, or that it is gone."""
        from mcp_types import CONNECTION_CLOSED

        text = visible(plain(str(error.error.message))[:2_000])
        # A server may send the same code, which is the first that is free for its own errors.
        lost = error.error.code == CONNECTION_CLOSED and text == _CLOSED
        if self.line is not None:
            if lost:
                await self._reason_came()
        elif lost or text in _HTTP_LOST:
            self._finish(text)  # the next call begins a session anew
        if self._over.is_set():
            return self._failure("ended before it answered")
        return f"The MCP server {self._settings.name} answered with an error: {text}"

    async def _reason_came(self) -> None:
        """Wait for the line to say why it ended; the SDK only hears that it did."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REASON_SECONDS):
                await self._over.wait()

    async def _live(self) -> None:
        from mcp import Client
        from mcp_types import Implementation

        try:
            async with (
                self._transport() as streams,
                Client(
                    _Streams(streams),
                    cache=None,
                    client_info=Implementation(name="alloy_nb", version="1"),
                    message_handler=self._heard,
                ) as client,
            ):
                self._client = client
                self.definitions = await self._listed()
                self._ready.set()
                await self._over.wait()
        except BaseException as error:  # a task's end; whoever waits hears the reason
            text = _brief(error)
            if self.line is not None and _CLOSED in text:
                await self._reason_came()
            self._finish(text)
        else:
            self._finish("it was closed")

    @asynccontextmanager
    async def _transport(self) -> AsyncIterator[Any]:
        settings = self._settings
        if settings.program is not None:
            self.line = Line(settings.program, self._finish)
            async with self.line.connect() as streams:
                yield streams
            return
        from mcp.client.streamable_http import streamable_http_client
        from mcp.shared._httpx_utils import create_mcp_http_client

        client = create_mcp_http_client(headers=dict(settings.headers))
        client.event_hooks["response"].append(partial(_bound, settings.largest_message))
        async with (
            client,
            streamable_http_client(
                str(settings.url),
                http_client=client,
                max_sse_event_size=settings.largest_message,
            ) as streams,
        ):
            yield streams

    async def _listed(self) -> dict[str, Definition]:
        """Ask for all tools; those that cannot be used are left out, with the reason."""
        found: dict[str, Definition] = {}
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            page = await self._client.list_tools(cursor=cursor)
            for one in page.tools:
                if len(found) < _MOST_TOOLS and one.name not in found:
                    self._add(found, one)
            cursor = page.next_cursor
            if not cursor or len(found) >= _MOST_TOOLS:
                break
        return found

    def _add(self, found: dict[str, Definition], one: Any) -> None:
        if self._settings.only is not None and one.name not in self._settings.only:
            return
        name = visible(one.name[:100])
        try:
            found[one.name] = definition_of(one.name, one.description, one.input_schema)
        except ValueError as error:
            self._left_out[name] = str(error)
            log.warning("MCP server %s: %s is left out: %s", self._settings.name, name, error)

    async def _heard(self, message: Any) -> None:
        if getattr(message, "method", None) == "notifications/tools/list_changed":
            self._stale = True

    def _finish(self, reason: str) -> None:
        """End this life, once; the first reason is the one that is told."""
        if not self._over.is_set():
            self._reason = reason
            self._over.set()

    def _cut(self, reason: str) -> None:
        """End a life that waits for its server, which would not hear of it otherwise."""
        if not self._over.is_set():
            self._finish(reason)
            self._task.cancel()

    def _failure(self, what: str) -> str:
        text = f"The MCP server {self._settings.name} {what}: {self._reason}."
        lines = plain(self.line.stderr).splitlines() if self.line else []
        said = " / ".join(visible(line.strip())[:200] for line in lines if line.strip())[-400:]
        return redact(f"{text} It last said: {said}" if said else text)


@dataclass(frozen=True, slots=True)
class _Streams:
    """Streams that are open already, as the SDK wants to open them."""

    streams: Any

    async def __aenter__(self) -> Any:
        return self.streams

    async def __aexit__(self, *_: object) -> None:
        return None


# What the SDK's HTTP transport answers in a server's place where it could not be reached, or has
# forgotten the session.
_CLOSED = "Connection closed"
_HTTP_LOST = ("Session terminated", "Server returned an error response")

_abandoned: set[asyncio.Future[Any]] = set()


def _forgotten(task: asyncio.Future[Any]) -> None:
    _abandoned.discard(task)
    if not task.cancelled():
        task.exception()  # looked at, so that it is not reported as lost


def _brief(error: BaseException) -> str:
    """Return the first real reason in an error, on one line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = " ".join(plain(str(error)).split())[:300]
    kind = type(error).__name__
    return redact(f"{kind}: {text}" if text else kind)


async def _bound(largest: int, response: Any) -> None:
    """Let a reply of a server's be no longer than it may: its bytes are counted as they are read.

    An event stream may go on for ever, so there a line counts, and how many events there are.
    """
    read = response.aiter_bytes
    streams = "text/event-stream" in response.headers.get("content-type", "")

    async def counted(chunk_size: int | None = None) -> AsyncIterator[bytes]:
        size = events = 0
        async with contextlib.aclosing(read(chunk_size)) as pieces:
            async for piece in pieces:
                last = piece.rfind(b"\n") if streams else -1
                size = len(piece) - last - 1 if last >= 0 else size + len(piece)
                events += piece.count(b"\n\n") + piece.count(b"\r\n\r\n")
                if size > largest or (streams and events > _HTTP_EVENTS):
                    raise ValueError(f"the reply has over {largest / (1 << 20):.3g} MB")
                yield piece

    response.aiter_bytes = counted


def progress_of(context: ToolContext) -> Callable[..., Awaitable[None]]:
    """Return what shows a server's progress, at most four times a second."""
    due = 0.0

    async def show(progress: float, total: float | None, message: str | None) -> None:
        nonlocal due
        if time.monotonic() < due:
            return
        due = time.monotonic() + _PROGRESS_SECONDS
        count = f"{progress:g}/{total:g}" if total else f"{progress:g}"
        words = visible(plain(message or "").strip().partition("\n")[0][:200])
        context.progress(f"{count} {words}".strip())

    return show

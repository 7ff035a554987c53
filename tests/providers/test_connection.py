"""One connection of HTTP/1.1: a request, its reply, the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import alloy_nb as al
from alloy_nb.messages import user
from alloy_nb.providers.base import ModelRequest
from alloy_nb.providers.connection import Connection, Unanswered
from alloy_nb.providers.http import close_clients
from alloy_nb.providers.http11 import Fault
from tests.servers.sse import Server, stream
from tests.servers.wire import Reply, Say, anthropic_events

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
ASK = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def with_server(serve: Serve, work: Callable[[Connection], Awaitable[Any]]) -> Any:
    """Return what the work with a connection to a server comes to."""

    async def go() -> Any:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            connection = await Connection.open("127.0.0.1", port, tls=None, seconds=10)
            try:
                return await work(connection)
            finally:
                connection.close()
                await asyncio.sleep(0.01)

    return asyncio.run(go())


def answering(*replies: bytes) -> Serve:
    """Return a server that answers with each of these, and then closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for reply in replies:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    return serve


async def whole(connection: Connection) -> bytes:
    await connection.ask(ASK)
    body = b""
    while piece := await connection.piece():
        body += piece
    connection.release()
    return body


def test_several_requests_go_over_one_connection():
    async def work(connection: Connection) -> list[bytes]:
        return [await whole(connection) for _ in range(3)]

    assert with_server(answering(OK, OK, OK, OK), work) == [b"hi"] * 3


def test_a_connection_that_the_server_closed_meanwhile_is_not_used_again():
    async def work(connection: Connection) -> bool:
        await whole(connection)
        async with asyncio.timeout(20):
            while connection.is_usable:
                await asyncio.sleep(0.01)
        return connection.is_usable

    assert with_server(answering(OK), work) is False


def test_a_kept_connection_that_breaks_without_an_answer_says_so():
    async def closes_after_the_second_request(reader: Any, writer: Any) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async def work(connection: Connection) -> None:
        await whole(connection)
        with pytest.raises(Unanswered):
            await connection.ask(ASK)

    with_server(closes_after_the_second_request, work)


def test_a_new_connection_that_breaks_without_an_answer_was_answered_by_nobody():
    async def work(connection: Connection) -> None:
        with pytest.raises(Fault, match="ended before the reply"):
            await connection.ask(ASK)

    with_server(answering(b""), work)


def test_a_connection_with_bytes_that_nobody_asked_for_is_not_used_again():
    async def work(connection: Connection) -> bool:
        await whole(connection)
        return connection.is_usable

    assert with_server(answering(OK + b"HTTP/1.1 200 OK\r\n", OK), work) is False


def test_a_reply_that_is_left_in_the_middle_ends_its_connection():
    async def work(connection: Connection) -> bool:
        await connection.ask(ASK)
        connection.release()
        return connection.is_usable

    long = b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nhi"
    assert with_server(answering(long, OK), work) is False


def test_a_server_that_is_faster_than_its_reader_is_not_read_ahead_for_ever():
    sent = 0

    async def floods(reader: Any, writer: Any) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while sent < 200 << 20:
                writer.write(b"x" * 65_536)
                await writer.drain()
                sent += 65_536
        except ConnectionError:
            pass

    async def work(connection: Connection) -> int:
        await connection.ask(ASK)
        for _ in range(50):
            await asyncio.sleep(0.01)
        return connection._reader.pending

    assert with_server(floods, work) < 4 << 20
    assert sent < 100 << 20


def test_a_reply_leaves_the_loop_no_work():
    # A generator that is left before its end would cost a task for each request.
    events = anthropic_events(Reply([Say("hi")]))

    async def go(url: str) -> None:
        provider = al.Anthropic("m", api_key="k", base_url=url)
        for _ in range(3):
            async for _ in provider.stream(ModelRequest([user("hi")])):
                pass
            assert asyncio.all_tasks() == {asyncio.current_task()}
        await close_clients()

    with Server(otherwise=stream(events)) as server:
        asyncio.run(go(server.url))

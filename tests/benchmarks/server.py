"""The mock vendor: HTTP/1.1 on 127.0.0.1 over asyncio streams, in a process of its own.

It speaks ``/v1/chat/completions`` and ``/v1/messages``, keeps connections alive, and sends each
event in an HTTP chunk of its own, as vendors do. It refuses with 400 a request that shows that a
client did less than the others: one that does not stream, that has no tools where the script calls
some, or that lacks the results of calls that were made.

``python -m tests.benchmarks.server`` prints its port and serves until its standard input closes.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import signal
import sys
from collections.abc import Sequence

from .replies import events
from .script import Script, answer

__all__ = ["Refused", "choose_reply", "main"]

_WIRES = {"/v1/chat/completions": "chat", "/v1/messages": "messages"}
_RESULT_KEY = {"chat": b'"tool_call_id"', "messages": b'"tool_use_id"'}
_STREAMS = re.compile(rb'"stream"\s*:\s*true')
_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"request-id: req_1\r\ntransfer-encoding: chunked\r\n\r\n"
)

# Longer replies are written in blocks, so that a reader meets full buffers however fast it is;
# with a write for each event the figure would depend on who is faster, the server or the client.
_SHORT = 200
_BLOCK = 65536

_started = itertools.count()


class Refused(Exception):
    """The request is not one that an honest client sends; the text says why."""


def choose_reply(path: str, body: bytes) -> tuple[Script, tuple[bytes, ...]]:
    """Return the script that a request follows and the events that answer it.

    Raises:
        Refused: The request lacks what the script says must be in it.
    """
    wire = _WIRES.get(path)
    if wire is None:
        raise Refused(f"no such path: {path}")
    try:
        script = Script.find(body)
    except ValueError as error:
        raise Refused(str(error)) from None
    return script, events(wire, script, _turn(wire, script, body))


def _turn(wire: str, script: Script, body: bytes) -> int:
    if not _STREAMS.search(body):
        raise Refused("the request does not stream")
    if not script.turns:
        return 0
    if b'"tools"' not in body:
        raise Refused("the request has no tools")
    results = body.count(_RESULT_KEY[wire])
    if results % script.calls or results > script.results:
        raise Refused(f"{results} results are not whole turns of {script.calls} calls")
    for number in range(max(0, results - script.calls), results):
        if answer(number).encode() not in body:
            raise Refused(f"the result of call {number} is missing")
    return results // script.calls


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection until the client leaves."""
    try:
        while True:
            path, body = await _read_request(reader)
            await _answer(writer, path, body)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines if line)
    body = await reader.readexactly(int(fields.get("content-length", 0)))
    return first.split(" ")[1].partition("?")[0], body


async def _answer(writer: asyncio.StreamWriter, path: str, body: bytes) -> None:
    try:
        script, reply = choose_reply(path, body)
    except Refused as refusal:
        writer.write(_refusal(str(refusal)))
        return
    if script.wait_ms:
        await asyncio.sleep(script.wait_ms / 1000)
    writer.write(_HEAD)
    if script.pace_ms:
        await _write_paced(writer, reply, script.pace_ms / 1000)
    elif len(reply) > _SHORT:
        await _write_blocks(writer, reply)
    else:
        for event in reply:
            writer.write(_chunk(event))
    writer.write(b"0\r\n\r\n")
    await writer.drain()


async def _write_paced(writer: asyncio.StreamWriter, reply: Sequence[bytes], pace: float) -> None:
    """Write an event every `pace` seconds; streams are spread evenly over one pace."""
    loop = asyncio.get_running_loop()
    start = loop.time() + pace * (next(_started) * 61 % 200) / 200
    for number, event in enumerate(reply):
        await asyncio.sleep(start + number * pace - loop.time())
        writer.write(_chunk(event))


async def _write_blocks(writer: asyncio.StreamWriter, reply: Sequence[bytes]) -> None:
    body = b"".join(map(_chunk, reply))
    for at in range(0, len(body), _BLOCK):
        writer.write(body[at : at + _BLOCK])
        await writer.drain()


def _chunk(event: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(event), event)


def _refusal(reason: str) -> bytes:
    body = json.dumps({"error": {"type": "invalid_request_error", "message": reason}}).encode()
    head = (
        b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    )
    return head % len(body) + body


async def main() -> None:
    """Serve on a free port of 127.0.0.1 until standard input closes."""
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), over.set)
    server = await asyncio.start_server(_serve, "127.0.0.1", 0, limit=1 << 20, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await over.wait()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the harness, which ends this one
    asyncio.run(main())

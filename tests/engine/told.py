"""One conversation with everything in it: the same for every form in which it can be written."""

from __future__ import annotations

import asyncio
import base64
import struct
import zlib

import alloy_nb as al
from alloy_nb.engine import portal
from alloy_nb.events import (
    BlockSealed,
    BlockStarted,
    CitationAdded,
    ReplyStarted,
    Stopped,
    TextDelta,
    ThinkingDelta,
    ToolInputDelta,
    UsageReported,
)
from alloy_nb.messages import Citation, Image, StopReason
from alloy_nb.providers.wire_json import dumps
from alloy_nb.usage import Usage
from tests.engine.scripted import HANG, Scripted, says

__all__ = ["KEY", "PNG", "picture", "told_session"]

KEY = "canary-key-0123456789"
USED = Usage(input_tokens=1200, output_tokens=340)


def _png(width: int = 120, height: int = 60) -> str:
    rows = b"".join(b"\0" + bytes((40, 90 + y, 200)) * width for y in range(height))

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    whole = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + whole).decode()


PNG = _png()
CODE = "total = sum(range(10))\nprint('total', total)"
PLOT = "drawn = total * 2\ndrawn"
BROKEN = "raise_me = 1 / 0"
COMMAND = "echo acted > acted-by-a-document.txt"

Row = list[object]


def picture() -> Image:
    return Image(data=PNG)


@al.tool(name="python", risk="read")
def python(code: str) -> al.ToolOutput:
    """Run Python."""
    if "/ 0" in code:
        raise al.ToolError("ZeroDivisionError: division by zero")
    if "drawn" in code:
        return al.ToolOutput(["90", picture()])
    return al.ToolOutput("total 45")


@al.tool(name="bash", risk="read")
def bash(command: str) -> str:
    """Run a command."""
    return "done"


def _calls(*wanted: tuple[str, dict[str, object]], start: int) -> Row:
    body: Row = [ReplyStarted(f"r{start}", None)]
    body += [
        BlockStarted(0, "thinking"),
        ThinkingDelta(0, "First I **add** them up."),
        BlockSealed(0, replay={"signature": "c2lnbmVk"}),
    ]
    for number, (name, arguments) in enumerate(wanted, 1):
        body += [
            BlockStarted(number, "tool_call", id=f"c{start}{number}", name=name),
            ToolInputDelta(number, dumps(arguments).decode()),
            BlockSealed(number),
        ]
    return [*body, UsageReported(USED), Stopped(StopReason.TOOL_USE)]


def _cited(text: str, *citations: Citation) -> Row:
    added = [CitationAdded(0, citation) for citation in citations]
    return [
        ReplyStarted("r9", None),
        BlockStarted(0, "text"),
        TextDelta(0, text),
        *added,
        BlockSealed(0),
        UsageReported(USED),
        Stopped(StopReason.END_TURN),
    ]


def told_session(name: str = "Sales & margins") -> al.Session:
    """Give a session of three turns: tools and a picture, another model and sources, a stop."""
    answer = "The total is **45**, and twice that is 90.\n\n| n | sum |\n|---|---:|\n| 10 | 45 |"
    python_calls = [("python", {"code": CODE}), ("bash", {"command": COMMAND})]
    first = Scripted(
        _calls(*python_calls, start=1),
        _calls(("python", {"code": BROKEN}), ("python", {"code": PLOT}), start=2),
        says(answer, usage=USED),
        name="anthropic",
    )
    cited = "Sums of this kind were known to Gauss. So was the formula $n(n+1)/2$."
    sources = (
        Citation(url="https://example.org/gauss", title="Gauss", quote="a boy of nine", end=38),
        Citation(url="https://example.org/sums?a=1&b=2", title="Sums <of> numbers", end=69),
    )
    second = Scripted(
        _cited(cited, *sources),
        [ReplyStarted("r10", None), BlockStarted(0, "text"), TextDelta(0, "As I was say"), HANG],
        name="openai",
    )
    session = al.Session(provider=first, tools=[python, bash], id="told-1", name=name)
    prompt = f"Add the numbers up.\nMy key is {KEY}, do not tell."
    session.chat(al.messages.user(prompt, picture()))
    session.set_model(second)
    session.chat("Who knew that?")
    portal.run_sync(_interrupted(session, "Go on, at length"))
    return session


async def _interrupted(session: al.Session, prompt: str) -> None:
    async with session.start(prompt) as run:
        async for event in run:
            if isinstance(event.body, TextDelta):
                break
        await asyncio.sleep(0)

"""An MCP server made with the SDK, over its pipes or over HTTP: ``python -m tests.tools.good_mcp``.

With a port as its argument it serves streamable HTTP on 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import base64
import os
import sys

from mcp.server.mcpserver import Context, Image, MCPServer

server = MCPServer("good")
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@server.tool()
def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def picture() -> Image:
    """Draw a picture."""
    return Image(data=base64.b64decode(PIXEL), format="png")


@server.tool()
def fail() -> str:
    """Fail."""
    raise ValueError("the disk is on fire")


@server.tool()
async def slow(seconds: float, ctx: Context) -> str:
    """Take a while, and say how far it is."""
    await ctx.report_progress(1, 2, "half \x1b[31mway")
    await asyncio.sleep(seconds)
    return "done"


@server.tool()
def variable(name: str) -> str:
    """Read a variable of the environment."""
    return os.environ.get(name, "(unset)")


@server.tool()
def die() -> str:
    """End the server in the middle of a call."""
    os._exit(3)


@server.tool()
def pid() -> int:
    """Say which process this is."""
    return os.getpid()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run(transport="streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run()

"""Whether a call may run: the policy, and what a decision is.

How a person is asked belongs to the face; this is what the engine needs to know of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from alloy_nb.engine.calls.tool import Tool
from alloy_nb.errors import ConfigError
from alloy_nb.messages import ToolCall

__all__ = ["POLICIES", "Approver", "Decision", "Policy", "approver", "escaped"]

Policy = Literal["ask", "read", "all", "none"]
POLICIES: tuple[Policy, ...] = ("ask", "read", "all", "none")


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a call may run, and what the model is told where it may not."""

    allowed: bool
    reason: str = ""


Approver = Callable[[ToolCall, Tool], Awaitable[Decision]]

_ALLOW = Decision(allowed=True)


def approver(policy: Policy | str, ask: Approver | None = None) -> Approver:
    """Return what decides under a policy.

    ======  =====================================================================
    all     every call runs
    ask     what only reads runs; everything else is asked, or denied where nobody
            can be asked
    read    what only reads runs; everything else is denied
    none    no call runs
    ======  =====================================================================

    Raises:
        ConfigError: There is no such policy.
    """
    if policy not in POLICIES:
        raise ConfigError(f"approve={policy!r} is no policy: use one of {', '.join(POLICIES)}.")

    async def decide(call: ToolCall, tool: Tool) -> Decision:
        if policy == "all" or (policy != "none" and tool.risk == "read"):
            return _ALLOW
        if policy == "ask" and ask is not None:
            return await ask(call, tool)
        return Decision(allowed=False, reason=_WHY[policy])

    return decide


_WHY = {
    "ask": "Nobody can be asked here, and the policy is to ask. Answer without it.",
    "read": "The policy allows only tools that read. Answer without it.",
    "none": "The policy allows no tools. Answer without them.",
}


def escaped(character: str) -> str:
    r"""Return a character that nobody would see, such as ``\u202e``, as Python writes it."""
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"

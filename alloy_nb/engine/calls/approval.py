"""Whether a call may run: the policy, and what a decision is.

How a person is asked belongs to the face; this is what the engine needs to know of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from alloy_nb.engine import portal
from alloy_nb.engine.calls.tool import Tool
from alloy_nb.errors import ConfigError
from alloy_nb.messages import ToolCall

__all__ = [
    "POLICIES",
    "Approver",
    "Decider",
    "Decision",
    "Policy",
    "Way",
    "approver",
    "decided",
    "escaped",
    "in_words",
]

Policy = Literal["ask", "read", "all", "none"]
POLICIES: tuple[Policy, ...] = ("ask", "read", "all", "none")

Way = Literal[
    "policy", "once", "session", "remembered", "turn", "edited", "denied", "nobody", "stopped"
]
"""How it was decided.

==========  ==================================================================
policy      by the policy or a function, without a person
once        a person allowed this call
session     a person allowed just this, from now on in this session
remembered  a person had done so before
turn        a person allowed everything in this turn
edited      a person changed what runs, and let that run
denied      a person said no
nobody      nobody could be asked
stopped     the turn was stopped while the question was open
==========  ==================================================================
"""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a call may run, and what the model is told where it may not.

    Args:
        allowed: Whether it may.
        reason: Why not, for the model; or what the person said.
        how: Who decided, and for how long.
        arguments: What runs in the place of the model's arguments, where a person edited them.
    """

    allowed: bool
    reason: str = ""
    how: Way = "policy"
    arguments: Mapping[str, Any] | None = None


Approver = Callable[[ToolCall, Tool], Awaitable[Decision]]
Decider = Callable[[ToolCall, Tool], Any]
"""A function of the user's: plain or ``async``, with an answer that `decided` understands."""

_ALLOW = Decision(allowed=True)
_NOBODY = "Nobody can be asked here, and the policy is to ask. Answer without it."


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
        how: Way = "nobody" if policy == "ask" else "policy"
        return Decision(allowed=False, reason=_WHY[policy], how=how)

    return decide


_WHY = {
    "ask": _NOBODY,
    "read": "The policy allows only tools that read. Answer without it.",
    "none": "The policy allows no tools. Answer without them.",
}


async def decided(
    decide: Decider, call: ToolCall, tool: Tool, *, ask: Approver | None = None
) -> Decision:
    """Return what a function says of a call.

    It may be plain, and then runs on the caller's thread, or ``async``. It answers with a
    `Decision`, ``True`` or ``False``, ``"allow"`` or ``"deny"``, or with ``"ask"`` or ``None``:
    then `ask` asks a person, and without it the call is denied.

    Raises:
        ConfigError: It answers with anything else.
    """
    if _is_async(decide):
        said = await decide(call, tool)
    else:
        said = await portal.on_host(lambda: decide(call, tool))
        if inspect.isawaitable(said):
            said = await said
    if isinstance(said, Decision):
        return said
    if isinstance(said, bool) or said in ("allow", "deny"):
        allowed = said is True or said == "allow"
        return Decision(allowed, "" if allowed else "A rule denies it. Answer without it.")
    if said is None or said == "ask":
        if ask is None:
            return Decision(allowed=False, reason=_NOBODY, how="nobody")
        return await ask(call, tool)
    raise ConfigError(
        f"The function that decides about calls answered {said!r}: it has to answer with a "
        "Decision, True, False, 'allow', 'deny' or 'ask'."
    )


def _is_async(function: Any) -> bool:
    called = getattr(type(function), "__call__", None)  # noqa: B004  # an object may be awaitable to call
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)


_DECIDED: Mapping[str, str] = {
    "once": "allowed once",
    "session": "allowed for this session",
    "remembered": "allowed before",
    "turn": "allowed for this turn",
    "edited": "edited by you",
    "nobody": "nobody could be asked",
    "stopped": "stopped while asking",
}


def in_words(how: str, *, allowed: bool, reason: str = "") -> str:
    """Say what was decided about a call; what a policy allows needs no words."""
    if how == "denied":
        return f"denied: {reason}" if reason else "denied"
    return _DECIDED.get(how, "" if allowed else "denied by the policy")


def escaped(character: str) -> str:
    r"""Return a character that nobody would see, such as ``\u202e``, as Python writes it."""
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"

"""Asking the person whether a call may run.

The question goes through ``input()`` on the main thread and shows exactly what would run, with
characters that one cannot see made visible. Where nobody can answer, the call is denied with a
reason; it never waits for an answer that cannot come.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

from alloy_nb.engine import portal
from alloy_nb.engine.calls.approval import Approver, Decision, approver, escaped
from alloy_nb.engine.calls.tool import Tool
from alloy_nb.messages import ToolCall

__all__ = ["ask", "visible"]

_QUESTION = "Run it? [y]es, [n]o, [a]ll in this turn, or say why not: "
_YES = ("y", "yes")
_ALL = ("a", "all")
# Letters, marks and symbols that are drawn as nothing: fillers, a joiner, braille without dots.
_BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
_NO = ("", "n", "no")


def asker(policy: str, *, read: Callable[[str], str] | None = None) -> Approver:
    """Return what decides under a policy, for one turn; *ask* asks the person, through `read`."""
    if policy != "ask":
        return approver(policy)
    allowed_all = False

    async def ask_unless_allowed(call: ToolCall, tool: Tool) -> Decision:
        nonlocal allowed_all
        if allowed_all and not tool.ask_anew:
            return Decision(allowed=True)
        decision, for_all = await ask(call, tool, read=read)
        allowed_all = for_all
        return decision

    return approver("ask", ask_unless_allowed)


async def ask(
    call: ToolCall, tool: Tool, *, read: Callable[[str], str] | None = None
) -> tuple[Decision, bool]:
    """Ask the person; the second value says whether the rest of the turn is allowed with it."""
    question = f"{_title(tool)}\n\n{visible(tool.subject_of(call.input))}\n\n{_QUESTION}"
    try:
        answer = await portal.on_host(lambda: (read or input)(question))
    except (NotImplementedError, EOFError):
        # nbclient, papermill and closed terminals: IPython says so with a NotImplementedError.
        return Decision(allowed=False, reason=_NOBODY), False
    said = answer.strip()
    if said.lower() in _YES:
        return Decision(allowed=True), False
    if said.lower() in _ALL:
        return Decision(allowed=True), True
    return Decision(allowed=False, reason="" if said.lower() in _NO else said), False


_NOBODY = (
    "Nobody could be asked: this notebook runs without a person at it. "
    "Answer without running code, and say that it was not run."
)


def visible(text: str) -> str:
    r"""Show characters that hide or reorder others as escapes, such as ``\u202e``."""
    return "".join(c if _is_plain(c) else escaped(c) for c in text)


def _is_plain(character: str) -> bool:
    if character in "\n\t ":
        return True
    # Cc, Cf: controls and invisible formatting; Cs, Co, Cn: no characters; Z: other spaces, breaks.
    kind = unicodedata.category(character)
    return kind not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs") and not (
        character in _BLANK or "\ufe00" <= character <= "\ufe0f" or character >= "\U000e0000"
    )


def _title(tool: Tool) -> str:
    match tool.name:
        case "python":
            return "The model wants to run this Python code in your kernel:"
        case "bash":
            return "The model wants to run this shell command:"
    return f"The model wants to use {tool.name}:"

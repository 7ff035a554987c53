"""What a person has allowed for the rest of a session: exactly these calls, and nothing like them.

It lives in the memory of the kernel alone: no file gives a permission, and the kernel's end takes
all of them back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from alloy_nb.engine.calls.tool import Tool
from alloy_nb.messages import ToolCall
from alloy_nb.notebook.approval.question import visible

__all__ = ["Memory"]


@dataclass(slots=True)
class Memory:
    """The calls that run unasked in one session.

    A call is the same where its tool is the same function and its arguments are the same, each
    character of them: a command with anything more in it, such as ``git log; ...``, is another.
    """

    _calls: dict[tuple[str, str], Tool] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call: ToolCall, tool: Tool) -> None:
        """Let just this call run from now on."""
        self._calls[_key(call)] = tool

    def allows(self, call: ToolCall, tool: Tool) -> bool:
        """Tell whether just this call was allowed."""
        known = self._calls.get(_key(call))
        return known is not None and known.function is tool.function and known.risk == tool.risk

    def forget(self) -> int:
        """Forget all of them; return how many there were."""
        count = len(self._calls)
        self._calls.clear()
        return count

    def rows(self) -> list[tuple[str, str]]:
        """Return the tool and what would run, for each, as the person saw it."""
        return [
            (name, visible(tool.subject_of(json.loads(arguments))))
            for (name, arguments), tool in self._calls.items()
        ]


def _key(call: ToolCall) -> tuple[str, str]:
    return call.name, json.dumps(call.input, sort_keys=True)

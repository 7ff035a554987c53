"""What the model may use and spend: ``%alloy tools`` and ``budget``."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from math import isfinite
from typing import Any

from IPython.core.error import UsageError

from alloy_nb.engine.calls.tool import Tool, as_tools
from alloy_nb.engine.sessions.session import Session
from alloy_nb.errors import ConfigError
from alloy_nb.markup.plain import one_line
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.drawing import status
from alloy_nb.notebook.words import Words
from alloy_nb.tools.mcp import mcp

__all__ = ["commands"]

_LINE = 90


def commands(desk: Desk) -> Mapping[str, Callable[[Words], None]]:
    """Return what does each word."""
    words = _ToolWords(desk)
    return {"tools": words.tools, "budget": words.budget}


class _ToolWords:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def tools(self, words: Words) -> None:
        """List the tools, add one of the namespace or of an MCP server, or drop one."""
        session = self._desk.session(words.flags.get("session"))
        if not words.arguments:
            status.show(_rows(session.agent.tools))
            return
        verb, *rest = words.arguments
        doing = {"add": self._add, "drop": self._drop, "mcp": self._mcp}.get(verb)
        if doing is None or not rest:
            raise UsageError("%alloy tools, tools add NAME, tools drop NAME, tools mcp COMMAND")
        doing(words, session, rest)

    def budget(self, words: Words) -> None:
        """Show or set what conversations may spend."""
        desk = self._desk
        if words.arguments:
            desk.settings.max_cost = float(_dollars(words.arguments[0]))
        session = desk.session(words.flags.get("session"))
        budget = session.agent.budget
        if budget is None:
            status.say(
                f"No limit. {session.name} has cost {session.cost}; %alloy budget 2.50 sets one."
            )
            return
        status.say(
            f"Limit ${budget.limit:f}: ${budget.spent:.4f} spent, ${budget.left:.4f} left in "
            f"{session.name}. %alloy budget off lifts it."
        )

    # --- tools ------------------------------------------------------------------------------------

    def _add(self, words: Words, session: Session, names: list[str]) -> None:
        namespace: dict[str, Any] = self._desk.shell.user_ns
        for name in names:
            if name not in namespace:
                near = get_close_matches(
                    name, [n for n in namespace if callable(namespace[n])], n=1
                )
                hint = f" Did you mean {near[0]}?" if near else ""
                raise UsageError(f"There is no {name} in this notebook.{hint}")
        self._give(words, session, as_tools(namespace[name] for name in names))

    def _mcp(self, words: Words, session: Session, command: list[str]) -> None:
        # One quoted word may hold the whole command.
        argv = shlex.split(command[0]) if len(command) == 1 else command
        name = "".join(c if c.isalnum() else "-" for c in argv[0].rpartition("/")[2])[:32]
        status.say(f"Starting {argv[0]} …")
        server = mcp(name.strip("-") or "server", command=argv)
        server.open()
        self._give(words, session, server.tools)

    def _give(self, words: Words, session: Session, tools: tuple[Tool, ...]) -> None:
        new = {tool.name for tool in tools}
        self._set(words, session, lambda there: (*(t for t in there if t.name not in new), *tools))
        risks = ", ".join(f"{tool.name} ({tool.risk})" for tool in tools)
        status.say(f"Added: {risks}. Under the policy ask you are asked about all but read.")

    def _drop(self, words: Words, session: Session, names: list[str]) -> None:
        known = session.agent.tools_by_name
        for name in names:
            if name not in known:
                raise UsageError(f"There is no tool {name}. The tools are: {', '.join(known)}.")
        self._set(words, session, lambda there: tuple(t for t in there if t.name not in names))
        status.say(f"Dropped: {', '.join(names)}.")

    def _set(
        self,
        words: Words,
        session: Session,
        change: Callable[[tuple[Tool, ...]], tuple[Tool, ...]],
    ) -> None:
        """Change the tools of the session that is named, or of all and of those to come."""
        if "session" in words.flags:
            session.configure(tools=change(session.agent.tools))
            return
        for each in self._desk.sessions.values():
            each.configure(tools=change(each.agent.tools))
        self._desk.tools = change(self._desk.tools)


def _rows(tools: tuple[Tool, ...]) -> list[list[str]]:
    rows = [["tool", "may", "what it does"]]
    rows += [[tool.name, tool.risk, one_line(tool.description, _LINE)] for tool in tools]
    return rows if tools else [*rows, ["none", "", "%alloy tools add NAME adds a function"]]


def _dollars(text: str) -> Decimal:
    if text == "off":
        return Decimal(0)
    try:
        amount = Decimal(text.lstrip("$"))
    except InvalidOperation:
        raise UsageError(f"budget {text}: give US dollars, such as 2.50, or off.") from None
    if not amount.is_finite() or amount <= 0 or not isfinite(float(amount)):
        raise ConfigError(f"budget {text}: give more than $0, or off.")
    return amount

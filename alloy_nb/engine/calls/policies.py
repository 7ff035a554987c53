r"""A policy of rules: which calls run, which are asked about, which never run.

::

    policy = Policy(
        Rule.allow("read"),
        Rule.allow("bash", command="git log"),
        Rule.deny("write", file_path=re.compile(r".*\.env")),
        otherwise="ask",
    )
    al.run("What changed?", provider=..., tools=[al.read, al.bash], approve=policy)

A call that a rule denies is denied, wherever the rule stands. Of the other rules the first that
matches counts. Where none matches, `otherwise` decides, in the words of ``approve=``.

What a rule that allows may say is narrow, because a pattern over a shell command is no boundary:
``git log*`` would also allow ``git log; curl ...``. Such a rule names one command, without any
character that means something to a shell, and allows that text exactly.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from alloy_nb.engine.calls.approval import Approver, Decision, approver
from alloy_nb.engine.calls.tool import Tool
from alloy_nb.engine.middleware.base import Block, HookContext, Middleware
from alloy_nb.errors import ConfigError
from alloy_nb.messages import ToolCall

__all__ = ["Policy", "Rule"]

Verdict = Literal["allow", "ask", "deny"]

_SHELL = "bash"
# What any shell takes as itself, wherever it stands in a command; everything else is refused.
_PLAIN_COMMAND = re.compile(r"[A-Za-z0-9_./:@,+-]+(?: [A-Za-z0-9_./:@,+=-]+)*")
_MISSING = object()
_DENIED = "A rule denies it. Answer without it."
_NOBODY = "Nobody can be asked here, and a rule says to ask. Answer without it."


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. Make it with `allow`, `ask` or `deny`.

    Args:
        verdict: What becomes of a call that matches.
        tool: The name of a tool, or a pattern such as ``mcp__github__*``. A pattern never allows a
            tool that runs code; name it.
        arguments: What the call's arguments have to be: a value that is equal, or a compiled
            regular expression that matches all of a text. Arguments that are not named may be
            anything.
    """

    verdict: Verdict
    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.verdict not in ("allow", "ask", "deny"):
            raise ConfigError(f"A rule can allow, ask or deny, not {self.verdict!r}.")
        if not isinstance(self.tool, str) or not self.tool:
            raise ConfigError(f"A rule needs the name of a tool, not {self.tool!r}.")
        if self.verdict == "allow":
            self._check_narrow()

    @classmethod
    def allow(cls, tool: str, /, **arguments: Any) -> Rule:
        """Return a rule by which a call runs unasked."""
        return cls("allow", tool, arguments)

    @classmethod
    def ask(cls, tool: str, /, **arguments: Any) -> Rule:
        """Return a rule by which a person is asked."""
        return cls("ask", tool, arguments)

    @classmethod
    def deny(cls, tool: str, /, **arguments: Any) -> Rule:
        """Return a rule by which a call never runs."""
        return cls("deny", tool, arguments)

    def matches(self, call: ToolCall, tool: Tool | None = None) -> bool:
        """Tell whether this rule is about a call; `tool` is what would run."""
        if not self._names(call.name, tool):
            return False
        return all(
            _fits(wanted, call.input.get(name, _MISSING)) for name, wanted in self.arguments.items()
        )

    def _names(self, name: str, tool: Tool | None) -> bool:
        if self.tool == name:
            return True
        if self.verdict == "allow" and (name == _SHELL or tool is None or tool.risk == "run"):
            return False
        return fnmatchcase(name, self.tool)

    def _check_narrow(self) -> None:
        command = self.arguments.get("command", _MISSING)
        if self.tool == _SHELL and command is _MISSING:
            raise ConfigError(
                "Rule.allow('bash') would allow every command: name one, as in "
                "Rule.allow('bash', command='git log')."
            )
        if command is _MISSING:
            return
        if not isinstance(command, str) or not _PLAIN_COMMAND.fullmatch(command):
            raise ConfigError(
                f"{command!r} cannot be allowed by a rule: it has to be one exact command without "
                "patterns, quotes or other characters that mean something to a shell. Use "
                "Rule.ask."
            )


class Policy(Middleware):
    """Decides about calls by rules; give it as ``approve=``.

    As a middleware it decides the same before anyone is asked: what it does not allow is blocked,
    whatever ``approve=`` says.

    Args:
        rules: See `Rule`. What denies beats all; of the others the first that matches counts.
        otherwise: Decides where no rule matches: ``ask``, ``read``, ``all`` or ``none``.
        ask: Asks a person, as an async function of a call and its tool. Without it, what has to
            be asked is denied.

    Raises:
        ConfigError: A rule is none, or `otherwise` is no policy.
    """

    def __init__(self, *rules: Rule, otherwise: str = "ask", ask: Approver | None = None) -> None:
        for rule in rules:
            if not isinstance(rule, Rule):
                raise ConfigError(f"{rule!r} is no rule: use Rule.allow, Rule.ask or Rule.deny.")
        self.rules = rules
        self.otherwise = otherwise
        self._ask = ask
        self._otherwise = approver(otherwise, ask)

    def asking(self, ask: Approver) -> Policy:
        """Return the same rules with a person to ask, where they have none."""
        if self._ask is not None:
            return self
        return Policy(*self.rules, otherwise=self.otherwise, ask=ask)

    async def __call__(self, call: ToolCall, tool: Tool) -> Decision:
        """Decide about a call."""
        verdict = self.verdict(call, tool)
        if tool.ask_anew and verdict != "deny":
            verdict = "ask"  # the rules have allowed the call, and not what is asked now
        match verdict:
            case "allow":
                return Decision(allowed=True)
            case "deny":
                return Decision(allowed=False, reason=_DENIED)
            case "ask":
                # A rule that asks means it, also for tools that only read.
                if self._ask is None:
                    return Decision(allowed=False, reason=_NOBODY, how="nobody")
                return await self._ask(call, tool)
            case None:
                return await self._otherwise(call, tool)

    def verdict(self, call: ToolCall, tool: Tool | None = None) -> Verdict | None:
        """Return what the rules say of a call, or ``None`` where they say nothing."""
        found = [rule.verdict for rule in self.rules if rule.matches(call, tool)]
        if "deny" in found:
            return "deny"
        return found[0] if found else None

    async def before_tool_call(self, call: ToolCall, context: HookContext) -> Block | None:
        """Block what is not allowed; a call of no tool at all is answered elsewhere."""
        if context.tool is None:
            return None
        decision = await self(call, context.tool)
        return None if decision.allowed else Block(decision.reason or "It was not allowed.")


def _fits(wanted: Any, given: Any) -> bool:
    if isinstance(wanted, re.Pattern):
        return isinstance(given, str) and wanted.fullmatch(given) is not None
    # True == 1 in Python, and not in JSON.
    return type(wanted) is type(given) and bool(wanted == given)

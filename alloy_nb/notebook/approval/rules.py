"""From a policy to what decides about each call of a turn."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from alloy_nb.engine.agent import Agent
from alloy_nb.engine.calls.approval import (
    POLICIES,
    Approver,
    Decider,
    Decision,
    Policy,
    approver,
    decided,
)
from alloy_nb.engine.calls.policies import Policy as PolicyOfRules
from alloy_nb.engine.calls.tool import Tool, ToolContext
from alloy_nb.engine.calls.workers import in_thread
from alloy_nb.messages import ToolCall
from alloy_nb.notebook.approval.change import change_of
from alloy_nb.notebook.approval.pending import Pending
from alloy_nb.notebook.approval.person import NOBODY, Person
from alloy_nb.notebook.approval.question import decision_of, question_about
from alloy_nb.notebook.approval.remembered import Memory

__all__ = [
    "Approvals",
    "OfTheTurn",
    "Rules",
    "asker",
    "current_approver",
    "meaning",
    "named",
]

log = logging.getLogger("alloy_nb")

Rules = Policy | Decider
"""What ``%config Alloy.approve`` may be: the word for a policy, or a function of a call and its
tool; see `engine.calls.approval.decided` for what it may answer."""

_MEANING = {
    "ask": "tools that only read run; you are asked about all others",
    "read": "only tools that read may run",
    "all": "every tool runs unasked, with your rights on this machine",
    "none": "no tool may run",
}


def meaning(rules: Rules) -> tuple[str, str]:
    """Return what decides, and what that means."""
    if isinstance(rules, str):
        return rules, _MEANING[rules]
    if isinstance(rules, PolicyOfRules):
        return f"{len(rules.rules)} rules", f"where none matches, {_MEANING[rules.otherwise]}"
    name = str(getattr(rules, "__name__", type(rules).__name__))
    return name, "this function decides about each call"


def asker(
    rules: Rules | str,
    *,
    read: Callable[[str], str] | None = None,
    memory: Memory | None = None,
    files: ToolContext | None = None,
    pending: Pending | None = None,
    session: str = "",
) -> Approver:
    """Return what decides about the calls of one turn.

    Args:
        rules: A policy, a `Policy` of rules or a function.
        read: Asks in words; ``None`` asks as the notebook can.
        memory: What was allowed before in this session, and is allowed unasked.
        files: Where file tools go, so that a change can be shown as a diff.
        pending: Where panels see what is asked in the conversation of the name `session`.
        session: That name.

    Raises:
        ConfigError: There is no such policy.
    """
    person = Person(read, pending=pending, session=session)
    ask = _Asking(person, Memory() if memory is None else memory, files)
    if isinstance(rules, str):
        return approver(rules, ask if rules == "ask" else None)
    if isinstance(rules, PolicyOfRules):
        return rules.asking(ask)
    return _guarded(rules, ask)


def _guarded(decide: Decider, ask: Approver) -> Approver:
    """Return what asks a function of the user's, which allows nothing where it fails."""

    async def guarded(call: ToolCall, tool: Tool) -> Decision:
        if tool.ask_anew:  # the function has allowed the call, and not what is asked now
            return await ask(call, tool)
        try:
            return await decided(decide, call, tool, ask=ask)
        except Exception as error:  # whatever is wrong with it, it has not allowed the call
            log.warning("The function that decides about calls failed", exc_info=True)
            said = f"The function that decides about calls failed: {type(error).__name__}: {error}"
            return Decision(allowed=False, reason=said)

    return guarded


class _Asking:
    """Asks the person, unless the answer is known; for one turn."""

    def __init__(self, person: Person, memory: Memory, files: ToolContext | None) -> None:
        self._person = person
        self._memory = memory
        self._files = files
        self._allows_all = False

    async def __call__(self, call: ToolCall, tool: Tool) -> Decision:
        if not tool.ask_anew:
            if self._allows_all:
                return Decision(allowed=True, how="turn")
            if self._memory.allows(call, tool):
                return Decision(allowed=True, how="remembered")
        change = await in_thread(lambda: change_of(call, tool, self._files))
        question = question_about(call, tool, change)
        while True:
            answer = await self._person.ask(call, question)
            if answer is None:
                return Decision(allowed=False, reason=NOBODY, how="nobody")
            try:
                decision = decision_of(question, answer, call)
            except ValueError as error:
                question = question.again(f"That is no JSON object: {error}", answer.text)
                continue
            break
        self._allows_all = self._allows_all or decision.how == "turn"
        if decision.how == "session":
            self._memory.add(call, tool)
        return decision


def named(name: str, namespace: dict[str, Any]) -> Rules | None:
    """Return the policy of this name, or the function of it in a namespace; else ``None``."""
    policy = next((each for each in POLICIES if each == name), None)
    if policy is not None:
        return policy
    found = namespace.get(name)
    return found if callable(found) and not inspect.isclass(found) else None


class Approvals:
    """What decides in a notebook: the setting, what a session has of its own, what was allowed.

    Args:
        rules: Returns the notebook's setting, as it is now.
    """

    def __init__(self, rules: Callable[[], Rules]) -> None:
        self.pending = Pending()
        """What waits for a person."""
        self._rules = rules
        self._memories: dict[str, Memory] = {}

    def memory(self, session: str) -> Memory:
        """Return what was allowed in a session for as long as it lasts."""
        return self._memories.setdefault(session, Memory())

    def standing(self, session: str) -> Approver:
        """Return what a session begins with: the notebook's setting, whenever it is asked."""
        return _Standing(self, session)

    def rules_of(self, agent: Agent) -> Rules:
        """Return what holds for a session: its own setting, where it was given one."""
        return self._rules() if isinstance(agent.approve, _Standing) else agent.approve

    def for_turn(
        self,
        agent: Agent,
        rules: Rules | None = None,
        read: Callable[[str], str] | None = None,
    ) -> Approver:
        """Return what decides about one turn of a session; `rules` hold for it alone.

        With `read` it asks in words alone, wherever that function can be called.
        """
        files = ToolContext(
            working_directory=agent.working_directory,
            allowed_paths=agent.allowed_paths,
            values=agent.context,
        )
        rules = self.rules_of(agent) if rules is None else rules
        return self.asker(rules, agent.name, read=read, files=files)

    def asker(self, rules: Rules, session: str, **more: Any) -> Approver:
        """Return what decides about the calls of a session, with what it was allowed before."""
        memory = self.memory(session)
        return asker(rules, memory=memory, pending=self.pending, session=session, **more)


class _Standing:
    """Decides where nothing else does, such as for ``session.chat(...)`` in a cell."""

    def __init__(self, approvals: Approvals, session: str) -> None:
        self._approvals = approvals
        self._session = session

    async def __call__(self, call: ToolCall, tool: Tool) -> Decision:
        rules = self._approvals._rules()
        return await self._approvals.asker(rules, self._session)(call, tool)


class OfTheTurn:
    """Decides for an agent that may do all: in a cell, as it is decided for whoever asked it.

    Outside of cells, where a program asks the agent, its own setting holds: it may do all.
    """

    async def __call__(self, call: ToolCall, tool: Tool) -> Decision:
        """Decide about a call."""
        approve = current_approver.get()
        return Decision(allowed=True) if approve is None else await approve(call, tool)


current_approver: ContextVar[Approver | None] = ContextVar("alloy_approver", default=None)
"""What decides about the calls of the cell that runs."""

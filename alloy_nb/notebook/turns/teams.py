"""Who is asked: the conversation, with a team to help it, or one agent of a team.

::

    %%alloy --team crew              the conversation; its model may ask the agents of `crew`
    %%alloy @researcher How ...?     one agent, in a conversation of its own

A team is a variable with an `alloy_nb.Team`. It is named in the cell (``--team``), set for the
conversation (``%alloy team crew``), or else it is the one that has an agent of that name.
``@name`` is an agent only where a prompt begins with it; a variable of that name goes before an
agent of a team that nobody named.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from alloy_nb.engine.calls.tool import Tool
from alloy_nb.engine.sessions.session import Session
from alloy_nb.errors import SessionError
from alloy_nb.notebook.approval import OfTheTurn, asker
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.words import Words

if TYPE_CHECKING:
    from alloy_nb.engine.team import Team

__all__ = ["Addressed", "addressed", "team_named", "teams_in", "with_tools"]

_CALLED = re.compile(r"\s*@(?P<name>[A-Za-z_][\w-]*)")
_RESERVED = ("last", "error", "plot", "file", "In", "Out")


@dataclass(frozen=True, slots=True)
class Addressed:
    """Who is asked what.

    Args:
        words: The words, without the name of an agent before the prompt.
        agent: The agent's own conversation, where one is asked.
        tools: What lets the model ask the agents of its team.
        remark: What the person is told of it.
    """

    words: Words
    agent: Session | None = None
    tools: tuple[Tool, ...] = ()
    remark: str = ""


def addressed(desk: Desk, words: Words, namespace: Mapping[str, Any]) -> Addressed:
    """Return who is asked.

    Raises:
        UsageError: There is no such team, or it has no such agent.
    """
    named = words.flags.get("team")
    if named is not None:
        where, team = named, team_named(named, namespace)
    else:
        where, team = desk.teams.get(words.flags.get("session") or desk.current, ("", None))
    called = _CALLED.match(words.prompt)
    if team is None:
        if called is None or called["name"] in namespace:
            return Addressed(words)
        where, team = _who_has(called["name"], words.prompt, namespace)
        if team is None:
            return Addressed(words)
    agent = _agent(team, words.prompt)
    if agent is not None:
        return _one(desk, words, team, where, agent, namespace)
    if called is not None and called["name"] not in (*namespace, *_RESERVED):
        near = get_close_matches(called["name"], team.names, n=1)
        if near:
            raise UsageError(
                f"{where} has no agent {called['name']}. Did you mean @{near[0]}? Nothing was sent."
            )
    for name in team.names:
        _adopt(desk, team.get(name))
    return Addressed(words, tools=tuple(team.tools()))


def with_tools(there: tuple[Tool, ...], more: tuple[Tool, ...]) -> tuple[Tool, ...]:
    """Return tools with others, which go before those of the same name."""
    new = {tool.name for tool in more}
    return (*(tool for tool in there if tool.name not in new), *more)


def team_named(name: str, namespace: Mapping[str, Any]) -> Team:
    """Return the team that a variable holds.

    Raises:
        UsageError: There is no such variable, or it is none.
    """
    from alloy_nb.engine.team import Team

    found = namespace.get(name)
    if isinstance(found, Team):
        return found
    known = list(teams_in(namespace))
    near = get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    hint = hint or (f" The teams: {', '.join(known)}." if known else " Make one: al.Team({...}).")
    what = "is no team" if name in namespace else "is not there"
    raise UsageError(f"--team {name}: {name} {what}.{hint} Nothing was sent.")


def teams_in(namespace: Mapping[str, Any]) -> dict[str, Team]:
    """Return the teams of a namespace, by the names of their variables, each once."""
    if "alloy_nb.engine.team" not in sys.modules:
        return {}  # nobody can have made one
    from alloy_nb.engine.team import Team

    found: dict[str, Team] = {}
    for name, value in list(namespace.items()):
        if (
            not name.startswith("_")
            and issubclass(type(value), Team)
            and value not in found.values()
        ):
            found[name] = value
    return found


def _who_has(name: str, prompt: str, namespace: Mapping[str, Any]) -> tuple[str, Team | None]:
    """Return the one team that has an agent by which a prompt begins."""
    having = {
        where: team
        for where, team in teams_in(namespace).items()
        if _agent(team, prompt) is not None
    }
    if len(having) > 1:
        raise UsageError(
            f"@{name} is in {' and '.join(having)}: say which with --team. Nothing was sent."
        )
    return next(iter(having.items()), ("", None))


def _agent(team: Team, prompt: str) -> str | None:
    """Return the agent by whose name, behind an @, a prompt begins: the longest that fits."""
    text = prompt.lstrip()
    for name in sorted(team.names, key=len, reverse=True):
        if text.startswith(f"@{name}") and not re.match(r"[\w-]|\.\w|\[", text[len(name) + 1 :]):
            return name
    return None


def _one(
    desk: Desk, words: Words, team: Team, where: str, agent: str, namespace: Mapping[str, Any]
) -> Addressed:
    session = team.get(agent)
    if session is None:  # it was taken out just now
        raise UsageError(f"{where} has no agent {agent} any more. Nothing was sent.")
    prompt = re.sub(r"\A[\s,:]+", "", words.prompt.lstrip()[len(agent) + 1 :])
    if not prompt.strip():
        raise UsageError(f"@{agent} is asked nothing. Write: %%alloy @{agent} PROMPT")
    _adopt(desk, session)
    flags = words.flags
    if isinstance(session.agent.approve, OfTheTurn) and "approve" not in flags:
        flags = {**flags, "approve": desk.settings.approve}
    also = f" The variable {agent} is not meant." if agent in namespace else ""
    asked = replace(words, prompt=prompt, flags=flags)
    return Addressed(asked, session, remark=f"Asked {agent} of {where}.{also}")


def _adopt(desk: Desk, session: Session | None) -> None:
    """Let an agent go by the notebook's dial, and by what a turn allows, in the turns it is in."""
    if session is None or session in desk.adopted:
        return
    # One that is at work is adopted when it is asked again.
    with contextlib.suppress(SessionError):
        if session.agent.approve == "all":
            session.configure(approve=OfTheTurn())
        elif session.agent.approve == "ask":
            session.configure(approve=asker("ask", memory=desk.approvals.memory(session.name)))
        desk.data.put_on(session)
        desk.adopted.add(session)

"""Who helps the conversation: ``%alloy team``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from alloy_nb.markup.plain import one_line
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.drawing import status
from alloy_nb.notebook.turns.teams import team_named, teams_in
from alloy_nb.notebook.words import Words

if TYPE_CHECKING:
    from alloy_nb.engine.team import Team

__all__ = ["commands"]


def commands(desk: Desk) -> Mapping[str, Callable[[Words], None]]:
    """Return what does each word."""
    return {"team": _TeamWords(desk).team}


class _TeamWords:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def team(self, words: Words) -> None:
        """Show the team of the conversation and what each agent used, set it, or let it go."""
        desk = self._desk
        session = words.flags.get("session") or desk.current
        if not words.arguments:
            self._show(session)
        elif words.arguments[0] == "off":
            desk.teams.pop(session, None)
            status.say(f"{session} works alone from now on.")
        else:
            name = words.arguments[0]
            team = team_named(name, desk.shell.user_ns)
            desk.teams[session] = name, team
            status.say(
                f"{session} may ask {_listed(team)} from now on. %%alloy @NAME PROMPT asks one "
                "agent yourself."
            )

    def _show(self, session: str) -> None:
        _, team = self._desk.teams.get(session, ("", None))
        if team is not None:
            status.show(_rows(team))
            return
        known = teams_in(self._desk.shell.user_ns)
        there = f" There is: {', '.join(known)}." if known else ""
        status.say(
            f"{session} has no team. %alloy team NAME gives it that of a variable, --team NAME "
            f"for one cell.{there}"
        )
        for team in known.values():
            status.show(_rows(team))


def _listed(team: Team) -> str:
    return ", ".join(one_line(name, 40) for name in team.names) or "nobody yet"


def _rows(team: Team) -> list[list[str]]:
    spent, health = team.spent_by, team.health()
    rows = [["agent", "model", "runs", "tokens", "cost"]]
    for name in dict.fromkeys([*health, *spent]):
        agent, share = team.get(name), spent.get(name)
        model = "" if agent is None else f"{agent.provider.name}/{agent.provider.model}"
        used = ["0", "0", "$0"]
        if share is not None:
            used = [str(share.runs), f"{share.usage.total_tokens:,}", status.dollars(share.cost)]
        rows.append([one_line(name, 40), model, *used])
    rows.append(["all", "", "", f"{team.usage.total_tokens:,}", status.dollars(team.cost)])
    return rows

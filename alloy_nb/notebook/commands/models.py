"""What answers, and with what: ``%alloy model``, ``models``, ``skills``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from alloy_nb.engine.skills import skills
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.drawing import status
from alloy_nb.notebook.words import Words

__all__ = ["commands", "show_status"]


def commands(desk: Desk) -> Mapping[str, Callable[[Words], None]]:
    """Return what does each word."""
    words = _ModelWords(desk)
    return {
        "model": words.model,
        "models": words.models,
        "skills": words.skills,
    }


def show_status(desk: Desk, words: Words) -> None:
    """Show what ``%alloy`` alone does: model, key, context, cost, tools."""
    session = desk.session(words.flags.get("session"))
    status.show(status.of(session, desk.approvals.rules_of(session.agent)))


class _ModelWords:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def model(self, words: Words) -> None:
        """Show the model, or choose it: for one session that is named, else for all."""
        if not words.arguments:
            show_status(self._desk, words)
            return
        named = words.flags.get("session")
        chosen = self._desk.set_model(words.arguments[0], words.flags.get("base_url"), named=named)
        whose = f" in {named}" if named else ""
        status.say(f"{chosen.name}/{chosen.model} answers from now on{whose}.")

    def models(self, words: Words) -> None:
        """List models."""
        status.show(status.models(words.arguments[0] if words.arguments else ""))

    def skills(self, _: Words) -> None:
        """List the skills."""
        status.show(status.skill_rows(skills()))

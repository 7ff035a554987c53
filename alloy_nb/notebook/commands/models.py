"""What answers, and with what: ``%alloy model``, ``models``, ``approve``, ``skills``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from IPython.core.error import UsageError

from alloy_nb.engine.calls.approval import POLICIES
from alloy_nb.engine.skills import skills
from alloy_nb.notebook import status
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.words import Words

__all__ = ["commands", "show_status"]


def commands(desk: Desk) -> Mapping[str, Callable[[Words], None]]:
    """Return what does each word."""
    words = _ModelWords(desk)
    return {
        "model": words.model,
        "models": words.models,
        "approve": words.approve,
        "skills": words.skills,
    }


def show_status(desk: Desk, words: Words) -> None:
    """Show what ``%alloy`` alone does: model, key, context, cost, tools."""
    session = desk.session(words.flags.get("session"))
    status.show(status.of(session, desk.settings.approve))


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

    def approve(self, words: Words) -> None:
        """Show or set the policy."""
        settings = self._desk.settings
        for word in words.arguments:
            policy = next((each for each in POLICIES if each == word), None)
            if policy is None:
                raise UsageError(f"approve {word}: use one of {', '.join(POLICIES)}.")
            settings.approve = policy
        status.say(f"approve: {settings.approve} — {status.POLICY_MEANING[settings.approve]}")

    def skills(self, _: Words) -> None:
        """List the skills."""
        status.show(status.skill_rows(skills()))

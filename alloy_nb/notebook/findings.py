"""What was noted in a notebook: the findings of its conversations, and whether they still hold."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from alloy_nb.analysis.findings import Evidence, Finding, findings_in
from alloy_nb.analysis.report import Looked
from alloy_nb.engine.sessions.session import Session
from alloy_nb.markup.plain import clean, one_line
from alloy_nb.notebook.desk import Desk

__all__ = ["Board"]

_MOST_CHARACTERS = 20_000


class Board:
    """The findings of all conversations of a notebook, those of its teams' agents included.

    Args:
        desk: Whose conversations they are.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def findings(self) -> list[Finding]:
        """Return them, one conversation after the other."""
        agents = sorted(self._desk.adopted, key=lambda session: session.name)
        return [
            one for session in [*self._desk.sessions.values(), *agents] for one in self.of(session)
        ]

    def of(self, session: Session) -> list[Finding]:
        """Return those of one conversation, each with what has changed since."""
        found = findings_in(session.messages, session.name)
        return [replace(one, changed="; ".join(self._changes(session, one))) for one in found]

    def stale(self, session: Session) -> list[list[str]]:
        """Return a row for each finding whose inputs have changed, as `Inputs.stale` does."""
        return [
            [str(one.turn), f"finding {one.number}: {one_line(one.claim, 50)}", name, how]
            for one in findings_in(session.messages, session.name)
            for name, how in self._desk.inputs.since(session, one.turn, _inputs_of(one))
        ]

    def look(self, evidence: Evidence) -> Looked | None:
        """Return what a cell or a variable is now; for the person, who has it before them."""
        name = evidence.name
        if evidence.kind == "cell":
            number = int(name.partition("[")[2].rstrip("]"))
            source = self._desk.inputs.look(f"In[{number}]")
            if not isinstance(source, str):
                return None
            outputs = self._desk.shell.user_ns.get("Out") or {}
            return Looked(source, _text(outputs[number]) if number in outputs else "")
        value = self._desk.inputs.look(name)
        return None if value is None else Looked(name, _text(value))

    def _changes(self, session: Session, one: Finding) -> Iterator[str]:
        for name, how in self._desk.inputs.since(session, one.turn, _inputs_of(one)):
            yield f"{name} {how}"


def _inputs_of(finding: Finding) -> Iterator[str]:
    """Yield the names that a finding rests on: those it says, and those that its code read."""
    for evidence in finding.evidence:
        if evidence.kind in ("cell", "variable"):
            yield evidence.name
        code = None if evidence.call is None else evidence.call.input.get("code")
        if isinstance(code, str):
            yield from _names(code)


def _names(code: str) -> Iterable[str]:
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    loads = (node for node in ast.walk(tree) if isinstance(node, ast.Name))
    return [node.id for node in loads if isinstance(node.ctx, ast.Load)]


def _text(value: Any) -> str:
    """Return a value as the notebook prints it, bounded."""
    from IPython.lib.pretty import pretty

    try:
        text = str(pretty(value, max_seq_length=200))  # type: ignore[no-untyped-call]  # IPython's
    except Exception:  # a user's object may fail anywhere
        text = f"<{type(value).__name__}>"
    return clean(text[:_MOST_CHARACTERS])

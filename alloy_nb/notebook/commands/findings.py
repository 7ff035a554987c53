"""What was found: ``%alloy findings``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from IPython.core.error import UsageError

from alloy_nb.analysis.findings import TOOL, Finding, frame, note_finding, register
from alloy_nb.analysis.report import ENDINGS, report_of, write
from alloy_nb.engine.calls.tool import Tool
from alloy_nb.engine.sessions.session import Session
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.drawing import status
from alloy_nb.notebook.findings import Board
from alloy_nb.notebook.words import Words

__all__ = ["commands"]


def commands(desk: Desk) -> Mapping[str, Callable[[Words], Any]]:
    """Return what does each word."""
    return {"findings": _FindingWords(desk).findings}


class _FindingWords:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._board = Board(desk)
        register(self._board)  # what `al.findings` shows, for as long as this notebook is open

    def findings(self, words: Words) -> Any:
        """List what was noted, write it to a file, give it as a DataFrame, or let it be noted."""
        verb = words.arguments[0] if words.arguments else ""
        if verb in ("on", "off"):
            self._turn(verb)
            return None
        if verb:
            raise UsageError("%alloy findings, findings on, findings off, findings -o FILE")
        named = words.flags.get("session")
        found = self._board.of(self._desk.session(named)) if named else self._board.findings()
        output = words.flags.get("output")
        if output is not None and Path(output).suffix:
            self._write(found, Path(output).expanduser(), force="force" in words.flags)
        elif output is not None:
            if not output.isidentifier():
                raise UsageError(f"-o {output}: name a variable, or FILE{', '.join(ENDINGS)}.")
            self._desk.shell.user_ns[output] = frame()
        elif words.flags.get("df"):
            return frame()
        else:
            self._show(found)
        return None

    def _show(self, found: list[Finding]) -> None:
        if found:
            status.show(_rows(found))
            return
        is_on = any(tool.name == TOOL for tool in self._desk.tools)
        how = "the model notes what it finds" if is_on else "%alloy findings on lets the model note"
        status.say(f"Nothing was noted yet: {how}.")

    def _write(self, found: list[Finding], path: Path, *, force: bool) -> None:
        if not found:
            raise UsageError("Nothing was noted yet, so nothing was written.")
        report = report_of(found, look=self._board.look)
        write(report, path, force=force)
        unproven = sum(len(claim.unproven) for claim in report.claims)
        told = f"{len(found)} finding{'s' * (len(found) != 1)} written to {path}."
        if unproven:
            told += f" {unproven} number{'s' * (unproven != 1)} not found in the evidence: marked."
        status.say(told)

    def _turn(self, verb: str) -> None:
        """Offer the tool to all conversations, and to those to come; or take it away."""
        desk = self._desk

        def changed(tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
            others = tuple(tool for tool in tools if tool.name != TOOL)
            return (*others, note_finding) if verb == "on" else others

        sessions: list[Session] = list(desk.sessions.values())
        for session in sessions:
            session.configure(tools=changed(session.agent.tools))
        desk.tools = changed(desk.tools)
        status.say(
            "The model may note findings now, each with its evidence. %alloy findings lists them, "
            "%alloy findings -o report.html writes them, and al.findings is a DataFrame."
            if verb == "on"
            else "The model notes no findings any more. What was noted stays."
        )


def _rows(found: list[Finding]) -> list[list[str]]:
    several = len({one.session for one in found}) > 1
    rows = [["", "claim", "confidence", "rests on", "but"]]
    for one in found:
        unknown = [each.name for each in one.evidence if each.kind == "unknown"]
        buts = [one.caveat] if one.caveat else []
        buts += [f"{', '.join(unknown)} is not there"] if unknown else []
        buts += [f"changed since: {one.changed}"] if one.changed else []
        named = ", ".join(each.name for each in one.evidence)
        number = f"{one.session} {one.number}" if several else str(one.number)
        rows.append([number, one.claim, one.confidence, named, "; ".join(buts)])
    return rows

"""What was spent, turn by turn and table by table: also on branches that were left, and paid."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from alloy_nb.engine.run import Result
from alloy_nb.engine.sessions.session import Session
from alloy_nb.errors import ConfigError
from alloy_nb.markup.alongside import beginning
from alloy_nb.notebook.drawing.status import dollars
from alloy_nb.usage import Cost, Usage

__all__ = ["Entry", "entries", "frame", "of_result", "rows"]

_LINE = 60


@dataclass(frozen=True, slots=True)
class Entry:
    """A turn that was paid for, a summary, or a map; what is unknown of it is ``None``."""

    session: str
    turn: int
    asked: str
    model: str
    status: str
    usage: Usage | None
    cost: Cost
    seconds: float | None = None
    at: datetime | None = None


def entries(sessions: Iterable[Session]) -> list[Entry]:
    """Return an entry for each turn of these sessions, the first one first."""
    return [entry for session in sessions for entry in _of(session)]


def frame(found: Sequence[Entry]) -> Any:
    """Return the entries as a DataFrame of pandas, or of Polars where only that is in use.

    Raises:
        ConfigError: Neither is installed.
    """
    columns: dict[str, list[Any]] = {
        "session": [entry.session for entry in found],
        "turn": [entry.turn for entry in found],
        "asked": [entry.asked for entry in found],
        "model": [entry.model for entry in found],
        "status": [entry.status for entry in found],
        "input_tokens": [entry.usage and entry.usage.input_tokens for entry in found],
        "cached_tokens": [entry.usage and entry.usage.cache_read_tokens for entry in found],
        "output_tokens": [entry.usage and entry.usage.output_tokens for entry in found],
        "usd": [None if entry.cost.usd is None else float(entry.cost.usd) for entry in found],
        "seconds": [entry.seconds for entry in found],
        "at": [entry.at for entry in found],
    }
    names = ("pandas", "polars")
    name = next((n for n in names if n in sys.modules), None)
    name = name or next((n for n in names if find_spec(n)), None)
    if name is None:
        raise ConfigError("--df needs pandas or polars: %pip install pandas")
    return import_module(name).DataFrame(columns)


def rows(found: Sequence[Entry], sessions: Sequence[Session]) -> list[list[str]]:
    """Return the entries as a table for the screen, with a sum for each session."""
    table = [["session", "turn", "asked", "model", "in", "cached", "out", "cost", "status"]]
    for session in sessions:
        own = [entry for entry in found if entry.session == session.name]
        table += [
            [
                *(entry.session, str(entry.turn), entry.asked, entry.model),
                *_counts(entry.usage, entry.cost, entry.status),
            ]
            for entry in own
        ]
        table.append([session.name, "all", "", "", *_counts(session.usage, session.cost, "")])
    known = {session.name for session in sessions}
    for entry in (entry for entry in found if entry.session not in known):
        counts = _counts(entry.usage, entry.cost, entry.status)
        table.append([entry.session, str(entry.turn), entry.asked, entry.model, *counts])
    return table


def _counts(usage: Usage | None, cost: Cost, status: str) -> list[str]:
    if usage is None:
        return ["", "", "", dollars(cost), status]
    counts = (usage.input_tokens, usage.cache_read_tokens, usage.output_tokens)
    return [*(f"{count:,}" for count in counts), dollars(cost), status]


def _of(session: Session) -> list[Entry]:
    if session.journal is not None:
        return [
            Entry(
                session=session.name,
                turn=number,
                asked=beginning(node.preview, _LINE),
                model=node.model,
                status=node.status,
                usage=node.usage,
                cost=node.cost,
                seconds=None if node.ended is None else round(node.ended - node.began, 3),
                at=datetime.fromtimestamp(node.began, UTC),
            )
            for number, node in enumerate(session.journal.tree(), 1)
        ]
    return [
        of_result(session.name, number, result) for number, result in enumerate(session.results, 1)
    ]


def of_result(session: str, number: int, result: Result) -> Entry:
    """Return the entry of a turn, by what came of it."""
    return Entry(
        session=session,
        turn=number,
        asked=beginning(result.messages[0].text if result.messages else "", _LINE),
        model=next((m.origin.model for m in reversed(result.messages) if m.origin), ""),
        status=result.status.value,
        usage=result.usage,
        cost=result.cost,
        seconds=round(result.seconds, 3),
    )

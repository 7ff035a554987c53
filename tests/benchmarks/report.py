"""The table, and the same in JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .clients import BARE, OURS, Entry
from .harness import Cell
from .rows import Limit, Row, Sizes

__all__ = ["as_json", "conditions", "markdown", "missed"]

Cells = Mapping[tuple[str, str], Cell]


def markdown(rows: Sequence[Row], entries: Sequence[Entry], cells: Cells, sizes: Sizes) -> str:
    """Return the table: a figure, its ratio to bare httpx, what is to be reached, and whether."""
    titles = ["work", *(entry.title for entry in entries), "to reach", "reached"]
    lines = [_line(titles), _line(["---"] * len(titles))]
    for row in rows:
        figures = [_figure(row, entry, cells) for entry in entries]
        lines.append(_line([row.title_for(sizes), *figures, *_verdict(row, cells)]))
    return "\n".join(lines)


def missed(rows: Sequence[Row], cells: Cells) -> list[str]:
    """Return the names of the rows whose limit ours does not keep, or has no figure for."""
    return [row.name for row in rows if row.limit is not None and not _met(row, cells)]


def as_json(
    rows: Sequence[Row], entries: Sequence[Entry], cells: Cells, sizes: Sizes, wire: str
) -> dict[str, Any]:
    """Return everything that was measured, each repetition by itself."""
    return {
        "python": platform.python_version(),
        "versions": {entry.key: _version(entry) for entry in entries},
        "processors": os.cpu_count(),
        "load": os.getloadavg(),
        "wire": wire,
        "sizes": asdict(sizes),
        "rows": {row.name: _row_json(row, entries, cells) for row in rows},
    }


def conditions(entries: Sequence[Entry], wire: str, repetitions: int) -> str:
    """Return a sentence on what was measured where."""
    versions = ", ".join(
        f"{entry.title} {_version(entry)}" for entry in entries if entry.package is not None
    )
    load = os.getloadavg()[0]
    return (
        f"Python {platform.python_version()}, {os.cpu_count()} processors, load {load:.1f}, "
        f"wire {wire}, medians of {repetitions}; in brackets, times bare httpx. {versions}."
    )


def _row_json(row: Row, entries: Sequence[Entry], cells: Cells) -> dict[str, Any]:
    return {
        "title": row.title,
        "unit": row.unit,
        "limit": asdict(row.limit) if row.limit else None,
        "reached": _met(row, cells),
        "clients": {entry.key: _cell_json(cells[row.name, entry.key]) for entry in entries},
    }


def _cell_json(cell: Cell) -> dict[str, Any]:
    return {
        "value": cell.value,
        "missing": cell.missing,
        "error": cell.error,
        "repetitions": [asdict(outcome) for outcome in cell.outcomes],
    }


def _version(entry: Entry) -> str | None:
    if entry.package is None:
        return None
    try:
        return version(entry.package)
    except PackageNotFoundError:
        return "not installed"


def _value(row: Row, key: str, cells: Cells) -> float | None:
    cell = cells.get((row.name, key))
    return cell.value if cell is not None else None


def _met(row: Row, cells: Cells) -> bool | None:
    ours = _value(row, OURS, cells)
    if row.limit is None or ours is None:
        return None
    return row.limit.met(ours, _reference(row, cells))


def _reference(row: Row, cells: Cells) -> float | None:
    """The figure that the row's limit is a multiple of."""
    return _value(row, row.limit.client, cells) if row.limit and row.limit.client else None


def _figure(row: Row, entry: Entry, cells: Cells) -> str:
    cell = cells[row.name, entry.key]
    if cell.value is None:
        return cell.missing or "not run"
    text = f"{_short(cell.value)} {row.unit}"
    bare = _value(row, BARE, cells)
    if bare and entry.key != BARE:
        text += f" ({_short(cell.value / bare)}×)"
    return text


def _verdict(row: Row, cells: Cells) -> tuple[str, str]:
    if row.limit is None:
        return "–", "–"
    met = _met(row, cells)
    verdict = {True: "yes", False: "**no**", None: "unknown"}[met]
    return _limit(row.limit, row.unit, _reference(row, cells)), verdict


def _limit(limit: Limit, unit: str, other: float | None) -> str:
    match limit.kind:
        case "at most":
            return f"≤ {limit.value:g} {unit}"
        case "at least":
            return f"≥ {limit.value:,.0f} {unit}"
        case "times bare" | "times raw":
            whose = limit.kind.removeprefix("times ")
            value = "" if other is None else f" = {_short(limit.value * other)} {unit}"
            return f"≤ {limit.value:g} × {whose}{value}"


def _short(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"

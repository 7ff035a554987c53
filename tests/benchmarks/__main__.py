"""The command line; see the package's docstring."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from .clients import REGISTRY, Entry
from .harness import measure
from .report import as_json, conditions, markdown, missed
from .rows import FULL, QUICK, ROWS, Row

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return the exit code."""
    chosen = _parse(arguments)
    rows = _chosen_rows(chosen.only)
    entries = _chosen_entries(chosen.wire, chosen.client)
    sizes = QUICK if chosen.quick else FULL
    repetitions = chosen.repetitions or (2 if chosen.quick else 3)
    cells = measure(rows, entries, wire=chosen.wire, sizes=sizes, repetitions=repetitions, say=_say)
    print(markdown(rows, entries, cells, sizes))
    print(f"\n{conditions(entries, chosen.wire, repetitions)}")
    if chosen.json:
        report = as_json(rows, entries, cells, sizes, chosen.wire)
        chosen.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    return 1 if chosen.check and _complain(missed(rows, cells)) else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    names = [row.name for row in ROWS]
    parser.add_argument("--only", action="append", metavar="ROW", choices=names, help=str(names))
    keys = [entry.key for entry in REGISTRY]
    parser.add_argument(
        "--client", action="append", metavar="CLIENT", choices=keys, help=f"only these: {keys}"
    )
    parser.add_argument("--wire", choices=["chat", "messages"], default="chat")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, two repetitions")
    parser.add_argument("--repetitions", type=int, help="3 unless told, 2 with --quick")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there too")
    parser.add_argument("--check", action="store_true", help="exit 1 where ours misses a limit")
    return parser.parse_args(arguments)


def _chosen_rows(only: list[str] | None) -> list[Row]:
    return [row for row in ROWS if not only or row.name in only]


def _chosen_entries(wire: str, clients: list[str] | None) -> list[Entry]:
    return [
        entry for entry in REGISTRY if wire in entry.wires and (not clients or entry.key in clients)
    ]


def _complain(names: list[str]) -> bool:
    if names:
        print(f"\nNot reached: {', '.join(names)}.", file=sys.stderr)
    return bool(names)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

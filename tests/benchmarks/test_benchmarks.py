"""The benchmark does the work that it claims to measure; nothing here looks at a clock."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest

from . import __main__ as command
from . import clients
from .clients import BARE, OURS, REGISTRY
from .harness import Cell, measure
from .programs import PROGRAMS, Outcome
from .report import as_json, markdown, missed
from .rows import ROWS, TINY
from .script import Script, answer
from .server import Refused, choose_reply
from .starts import STARTS

MEASURED = [entry for entry in REGISTRY if entry.key in (BARE, OURS)]
ON_MESSAGES = ("deltas", "tool_turns", "parallel_tools")

WORK = {
    "deltas": {"deltas": TINY.deltas},
    "tool_turns": {"turns": TINY.turns, "tool runs": TINY.turns},
    "tool_turns_late": {"turns": TINY.late_turn, "tool runs": TINY.late_turn},
    "first_token": {"prompts": TINY.first_tokens},
    "parallel_tools": {"turns": 1, "tool runs": TINY.parallel_calls},
    "import_time": {"starts": TINY.imports},
    "first_reply": {"starts": TINY.imports},
    "prompts_per_second": {"prompts": TINY.prompts, "deltas": 3 * TINY.prompts},
    "table": {"prompts": TINY.rows},
    "live_streams": {"prompts": TINY.streams, "deltas": 10 * TINY.streams},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wire", "rows"),
    [("chat", ROWS), ("messages", [row for row in ROWS if row.name in ON_MESSAGES])],
    ids=["chat", "messages"],
)
def test_each_figure_stands_for_exactly_the_work_of_its_row(wire, rows):
    cells = measure(rows, MEASURED, wire=wire, sizes=TINY, repetitions=1)
    assert {key: cell.error for key, cell in cells.items() if cell.error} == {}
    for (row, _client), cell in cells.items():
        assert [outcome.work for outcome in cell.outcomes] == [WORK[row]]
    _assert_table_is_full(markdown(rows, MEASURED, cells, TINY), len(rows))
    report = json.loads(json.dumps(as_json(rows, MEASURED, cells, TINY, wire)))
    assert {row.name for row in rows} == set(report["rows"])


def _assert_table_is_full(table: str, rows: int) -> None:
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert len(lines) == 2 + rows
    assert {len(line) for line in lines} == {len(MEASURED) + 3}
    assert all(all(line) for line in lines)
    assert "failed" not in table
    assert "n/a" not in table


def test_every_row_has_a_program_and_every_client_a_module():
    assert {row.name for row in ROWS} == {*PROGRAMS, *STARTS}
    assert all(find_spec(f".{entry.key}", clients.__name__) is not None for entry in REGISTRY)


def test_check_fails_where_ours_misses_a_limit_or_has_no_figure(monkeypatch, capsys):
    row = next(row for row in ROWS if row.name == "deltas")
    slow = {(row.name, BARE): _cell(10.0), (row.name, OURS): _cell(13.1)}
    fast = {(row.name, BARE): _cell(10.0), (row.name, OURS): _cell(12.9)}
    none = {(row.name, BARE): _cell(10.0), (row.name, OURS): Cell(missing="failed")}
    assert [missed([row], cells) for cells in (slow, fast, none)] == [[row.name], [], [row.name]]
    arguments = ["--only", row.name, "--client", BARE, "--client", OURS]
    monkeypatch.setattr(command, "measure", lambda *_args, **_more: slow)
    assert command.main(arguments) == 0
    assert command.main([*arguments, "--check"]) == 1
    assert "Not reached: deltas" in capsys.readouterr().err


@pytest.mark.parametrize("wire", ["chat", "messages"])
def test_the_server_refuses_a_request_that_does_less(wire):
    path = {"chat": "/v1/chat/completions", "messages": "/v1/messages"}[wire]
    key = {"chat": "tool_call_id", "messages": "tool_use_id"}[wire]
    script = Script(turns=2)
    result = {key: "call_000000", "content": answer(0)}
    whole = {"stream": True, "tools": [], "messages": [script.prompt, result]}
    choose_reply(path, json.dumps(whole).encode())
    for less in (
        {**whole, "stream": False},
        {**whole, "messages": [script.prompt, {**result, "content": "something else"}]},
        {**whole, "messages": [result]},
        {"stream": True, "messages": whole["messages"]},
    ):
        with pytest.raises(Refused):
            choose_reply(path, json.dumps(less).encode())


def _cell(value: float) -> Cell:
    return Cell(outcomes=[Outcome(value)])

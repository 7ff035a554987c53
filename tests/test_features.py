"""The table of features names modules and tests that are there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "alloy_nb"
TABLE = TESTS / "features.md"
LEFT_OUT = "left out: "

_TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")
_MODULE = re.compile(r"`([\w/.]+)`")


def rows() -> list[tuple[str, ...]]:
    """Return the cells of each row: id, what it is, where it lives, what proves it."""
    lines = [line for line in TABLE.read_text().split("\n") if re.match(r"\| F\d", line)]
    return [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in lines]


@cache
def functions_in(name: str) -> frozenset[str]:
    """Return the names of the test functions of a file, without importing it."""
    tree = ast.parse((TESTS / name).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, functions))


def test_the_table_has_each_feature_once_in_order():
    assert [row[0] for row in rows()] == [f"F{number:02}" for number in range(1, 184)]


def test_no_cell_is_empty():
    assert [row for row in rows() if len(row) != 4 or not all(row)] == []


def test_each_row_has_a_test_or_a_reason_for_having_none():
    without = [row[0] for row in rows() if not _TEST.search(row[3]) and LEFT_OUT not in row[3]]
    assert without == []
    assert [row[0] for row in rows() if row[3] == LEFT_OUT.strip()] == []


def test_each_module_is_there():
    missing = [
        f"{row[0]}: {name}"
        for row in rows()
        for name in _MODULE.findall(row[2])
        if not (PACKAGE / name).exists() and not (PACKAGE.parent / name).exists()
    ]
    assert missing == []
    nowhere = [row[0] for row in rows() if not _MODULE.search(row[2]) and LEFT_OUT not in row[3]]
    assert nowhere == []


def test_each_test_is_there():
    missing = [
        f"{row[0]}: {name}::{test}"
        for row in rows()
        for name, test in _TEST.findall(row[3])
        if not (TESTS / name).exists() or test not in functions_in(name)
    ]
    assert missing == []


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "tests/README.md"])
def test_the_table_can_be_found(page):
    assert "features.md" in (PACKAGE.parent / page).read_text()

"""The notebooks about tables of answers and about teams run offline, and show what they say."""

from __future__ import annotations

import json
import re

import nbformat
import pytest

from tests.kernel.notebooks import NOTEBOOKS, executed_in, texts
from tests.kernel.test_documents import world

__all__ = ["world"]

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

pytest.importorskip("pandas", reason="their tables are of pandas, of the extra `test`")

NAMES = ("05-tables.ipynb", "06-teams.ipynb")


def book_of(name):
    return nbformat.read(NOTEBOOKS / name, as_version=4)


@pytest.fixture(scope="module")
def executed(world):
    """Execute each notebook in a folder of its own; return the folders by name."""
    return {name: executed_in(world, NOTEBOOKS / name).parent for name in NAMES}


@pytest.fixture(scope="module")
def outputs(executed):
    """The text of each code cell, by the name of the notebook and its id."""
    return {
        name: texts(nbformat.read(folder / name, as_version=4)) for name, folder in executed.items()
    }


TABLES, TEAMS = NAMES
BAR = "████████████████████ 100 % 20/20 rows · $0 · in "
SHOWN = [
    (TABLES, "plan", "20 rows (2 the same as another, 1 empty): 17 requests to demo/demo"),
    (TABLES, "plan", "about $0, at most $0"),
    (TABLES, "ask", BAR),
    (TABLES, "see", "nothing was asked: text is empty"),
    (TABLES, "share", "kettle            3        0         1"),
    (TABLES, "some", "8 rows: 8 requests"),
    (TABLES, "rest", "8 answered before"),
    (TABLES, "rest", BAR),
    (TABLES, "wrong", "a column that is not there: {review}"),
    (TABLES, "python", "kettle"),
    (TABLES, "compare", "demo/quick"),
    (TABLES, "compare", "0.84   0.71      0.84"),
    (TABLES, "apart", "the new one is perfect"),
    (TABLES, "plot", "Comparison(demo, demo/quick; 20 rows, kappa 0.71, $0)"),
    (TEAMS, "team", "Team('crew', analyst, checker, $0)"),
    (TEAMS, "one", "Asked analyst of crew."),
    (TEAMS, "one", "averages 123.33 where `region` is `East`"),
    (TEAMS, "all", "ask_analyst ✓"),
    (TEAMS, "all", "    checker ✓ · $0 · 3 turns · demo\n        🔧 python ✓"),
    (TEAMS, "all", "main $0, analyst $0, checker $0"),
    (TEAMS, "spent", "analyst  demo/demo  2"),
    (TEAMS, "note", "note_finding ✓"),
    (TEAMS, "findings", "python #2"),
    (TEAMS, "report", "2 findings written to findings.md."),
    (TEAMS, "read", "amount averages [123.33](#evidence-2) where region is East"),
    (TEAMS, "stale", "finding 2: amount averages 123.33"),
    (TEAMS, "changed", "sales rows 120 -> 115 (rebound)"),
]


@pytest.mark.parametrize(("name", "cell", "text"), SHOWN)
def test_each_cell_shows_what_the_text_says(outputs, name, cell, text):
    assert text in outputs[name][cell]


@pytest.mark.parametrize(("name", "cell", "text"), SHOWN)
def test_the_saved_notebook_shows_it_too(name, cell, text):
    assert text in texts(book_of(name))[cell]


def test_no_cell_fails_or_shows_the_name_of_an_object(outputs):
    for shown in outputs.values():
        for text in shown.values():
            assert "Traceback" not in text
            assert "object at 0x" not in text


def test_a_second_run_of_a_map_asks_nothing_again(outputs):
    """The notebook ran once: what the first eight rows answered was not asked for the rest."""
    assert ": 9 requests to demo/demo" in outputs[TABLES]["rest"]


def test_the_figure_of_a_comparison_is_in_the_notebook(executed):
    book = nbformat.read(executed[TABLES] / TABLES, as_version=4)
    cell = next(cell for cell in book.cells if cell.id == "plot")
    assert "image/png" in cell.outputs[0].data


def test_every_number_of_a_noted_claim_leads_to_its_evidence(executed):
    report = (executed[TEAMS] / "findings.md").read_text()
    assert "Not found in the evidence" not in report
    for number in ("120", "123.33", "64.78", "30", "90"):
        assert re.search(rf"\[{re.escape(number)}\]\(#evidence-\d\)", report)


def test_nothing_else_is_left_in_the_folders(executed):
    left = {path.name for folder in executed.values() for path in folder.iterdir()}
    assert left <= {*NAMES, "findings.md", ".alloy"}


# --- as they are stored ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_it_is_stored_as_it_ran(name):
    code = [cell for cell in book_of(name).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))


@pytest.mark.parametrize("name", NAMES)
def test_it_names_no_machine(name):
    text = json.dumps(book_of(name))
    assert not re.search(r"/root|/home/|/tmp|/Users/|[A-Z]:\\\\|127\.0\.0\.1|object at 0x", text)


@pytest.mark.parametrize("name", NAMES)
def test_every_output_of_ours_can_be_read_without_html(name):
    ours = [
        output
        for cell in book_of(name).cells
        for output in cell.get("outputs", ())
        if "text/markdown" in output.get("data", {})
    ]
    assert len(ours) >= 5
    assert all(output.data["text/plain"].strip() for output in ours)

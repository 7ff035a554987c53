"""The notebook with an analysis runs offline from a clean folder, and its story holds together."""

from __future__ import annotations

import json
import re

import nbformat
import pytest

from tests.kernel.notebooks import NOTEBOOKS, executed_in, texts
from tests.kernel.test_documents import plain, world

__all__ = ["world"]

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

pytest.importorskip("sklearn", reason="its table is scikit-learn's, of the extra `test`")

THIRD = NOTEBOOKS / "03-explore.ipynb"


@pytest.fixture(scope="module")
def executed(world):
    """Execute the notebook in a folder where nothing else is; return that folder's notebook."""
    return executed_in(world, THIRD)


@pytest.fixture(scope="module")
def book(executed):
    book = nbformat.read(executed, as_version=4)
    nbformat.validate(book)
    return book


@pytest.fixture(scope="module")
def outputs(book):
    """The text of each code cell, by its id."""
    return texts(book)


def source_of(book, name):
    return next(cell.source for cell in book.cells if cell.id == name)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("look", "178 rows and 14 columns"),
        ("look", "✓"),
        ("check", "python ran"),
        ("plot", "has the highest median of `proline`"),
        ("plot", "+ box_plot function"),
        ("see", "A picture came with the question: PNG"),
        ("see", "title 'proline by grower'"),
        ("change", "~ df 178 → 174 rows"),
        ("names", "df"),
        ("restore", "178 rows"),
        ("private", "not sent: --data schema"),
        ("private", "claim nothing"),
        ("sent-check", "0 were sent"),
        ("promote", "Reproduced"),
        ("context", "all together"),
        ("cost", "private"),
        ("timeline", "runs python"),
        ("report", "report.html"),
    ],
)
def test_each_cell_shows_what_the_text_says(outputs, cell, text):
    assert text in outputs[cell]


def test_no_cell_fails_or_shows_the_name_of_an_object(outputs):
    for text in outputs.values():
        assert "Traceback" not in text
        assert "object at 0x" not in text


def test_the_figure_is_there_and_again_in_the_promoted_cell(book):
    drawn = {
        cell.id: sum("image/png" in output.get("data", {}) for output in cell.outputs)
        for cell in book.cells
        if cell.cell_type == "code"
    }
    assert (drawn["plot"], drawn["promoted"]) == (1, 1)


def test_the_promoted_cell_is_what_promote_gives_and_what_the_turn_computed(book, outputs):
    code = source_of(book, "promoted")
    assert code.strip() in outputs["promote"]
    assert "alloy" not in code
    facts = [line for line in outputs["promoted"].splitlines() if line.startswith("{")]
    assert len(facts) == 3
    assert all(fact in outputs["plot"] for fact in facts)


def test_each_number_of_a_claim_was_computed(outputs):
    """The demo's answer about the growers against the table itself."""
    from sklearn.datasets import load_wine

    frame = load_wine(as_frame=True).frame
    first = frame["target"] == 0
    mean, others = (round(frame.loc[rows, "proline"].mean(), 2) for rows in (first, ~first))
    (claim,) = re.findall(r"`proline` averages ([\d.]+).*?against ([\d.]+)", outputs["look"])
    assert (float(claim[0]), float(claim[1])) == (mean, others)


def test_each_claim_names_the_line_that_it_rests_on(outputs):
    numbers = set(re.findall(r"\[(\d+)\] python #\d+: ", outputs["look"]))
    assert len(numbers) >= 5
    assert set(re.findall(r"[.*:]\[(\d+)\]", outputs["look"])) == numbers


def test_the_report_is_whole_and_asks_nobody_for_anything(executed):
    page = (executed.parent / "report.html").read_text()
    assert "What stands out in" in page
    assert "highest median" in page
    assert "data:image/png" in page
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
    assert "<script" not in page


def test_nothing_else_is_left_in_the_folder(executed):
    left = {path.name for path in executed.parent.iterdir()}
    assert left <= {executed.name, "report.html", ".alloy"}


# --- as it is stored ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored():
    return nbformat.read(THIRD, as_version=4)


def test_it_is_stored_with_its_outputs(stored):
    nbformat.validate(stored)
    code = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    silent = {"sent"}  # it captures
    assert [cell.id for cell in code if not cell.outputs and cell.id not in silent] == []


def test_what_is_stored_is_what_comes_out(stored, outputs):
    times = re.compile(r"[\d.]+ s\b|\d+ min")
    for cell in stored.cells:
        if cell.id in ("look", "plot", "change", "private"):
            kept = plain(cell.outputs[-3]), "\n".join(map(plain, cell.outputs))
            assert times.sub("", kept[0]) in times.sub("", outputs[cell.id]), cell.id


def test_it_names_no_machine(stored):
    text = json.dumps(stored)
    assert not re.search(r"/root|/home/|/tmp|/Users/|[A-Z]:\\\\|127\.0\.0\.1|object at 0x", text)


def test_every_output_of_ours_can_be_read_without_html(stored):
    ours = [
        o
        for c in stored.cells
        for o in c.get("outputs", ())
        if "text/markdown" in o.get("data", {})
    ]
    assert len(ours) > 20
    assert all(output.data["text/plain"].strip() for output in ours)
    assert not any("application/vnd.jupyter.widget-view+json" in o.data for o in ours)

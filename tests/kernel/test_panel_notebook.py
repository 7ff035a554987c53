"""The notebook about the panel runs offline, and shows its conversations where no widget runs."""

import nbformat
import pytest

from tests.kernel.notebooks import NOTEBOOKS, executed_in
from tests.kernel.test_documents import jupyter, world

__all__ = ["world"]

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

FOURTH = NOTEBOOKS / "04-panel.ipynb"
SHOWN = [
    ("panel", "What is the mean amount in @df for each region?"),
    ("panel", "<table>"),
    ("second-panel", "What is 6 * 7?"),
    ("second-panel", "<strong>42</strong>"),
    ("second-panel", "127.62815625"),
    ("own", "Hello!"),
    ("own", "I am the scripted demo"),
]


@pytest.fixture(scope="module")
def executed(world):
    """Execute the notebook in a folder of its own."""
    return executed_in(world, FOURTH)


def shown(path, cell):
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    found = next(one for one in book.cells if one.id == cell)
    return "\n".join(o.get("data", {}).get("text/html", "") for o in found.outputs)


@pytest.mark.parametrize(("cell", "text"), SHOWN)
def test_a_panel_that_ran_without_a_front_end_shows_its_conversation(executed, cell, text):
    assert text in shown(executed, cell)


@pytest.mark.parametrize(("cell", "text"), SHOWN)
def test_the_notebook_as_it_is_kept_shows_its_conversations(cell, text):
    assert text in shown(FOURTH, cell)


def test_the_notebook_as_it_is_kept_holds_no_widgets():
    # A front end would show them in the place of the text, without a kernel behind them.
    assert "widgets" not in nbformat.read(FOURTH, as_version=4).metadata


def test_the_state_that_is_kept_of_a_run_holds_the_conversation(executed):
    widgets = nbformat.read(executed, as_version=4).metadata["widgets"]
    kept = widgets["application/vnd.jupyter.widget-state+json"]["state"].values()
    panels = [one["state"] for one in kept if "entries" in one["state"]]
    assert sorted(len(state["entries"]) for state in panels) == [1, 1, 2]


@pytest.mark.parametrize("form", ["html", "markdown"])
def test_a_document_that_is_made_of_it_shows_the_conversation(world, executed, form):
    ran = jupyter(world, "nbconvert", f"--to={form}", "--stdout", str(executed))
    assert ran.returncode == 0, ran.stderr
    assert "What is 6 * 7?" in ran.stdout
    assert "127.62815625" in ran.stdout

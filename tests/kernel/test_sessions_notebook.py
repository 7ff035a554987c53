"""The notebook about conversations runs offline, and shows what its text says."""

import re

import nbformat
import pytest

from alloy_nb.engine.export import ENDINGS
from alloy_nb.engine.journal import Store
from tests.kernel.notebooks import NOTEBOOKS, executed_in, texts
from tests.kernel.test_documents import world

__all__ = ["world"]

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

SECOND = NOTEBOOKS / "02-sessions.ipynb"


@pytest.fixture(scope="module")
def executed(world):
    """Execute the notebook in a folder of its own."""
    return executed_in(world, SECOND)


@pytest.fixture(scope="module")
def outputs(executed):
    """The texts of each cell by its id."""
    return texts(nbformat.read(executed, as_version=4))


SHOWN = [
    ("again-second", "kept on the branch main-2"),
    ("undo-do", "Undone: 'What is 100 * 1.07 ** 5?'"),
    ("tree", "main-3"),
    ("fork-do", "On the branch idea"),
    ("fork-back", "On the branch main"),
    ("replay-ask", "replayed, $0"),
    ("replay-miss", "only a replay is allowed"),
    ("restart-resume", "Gone from memory: df"),
    ("restart-ask", "56"),
    ("switch-server", "openai-compat/parrot answers from now on"),
    ("switch-ask", "openai-compat/parrot answers from here on, after demo/demo."),
    ("switch-ask", "was not sent to it"),
    ("switch-ask", "I was sent 5 questions."),
    ("switch-demo", "demo/demo answers from now on"),
    ("switch-tree-do", "openai-compat/parrot"),
    ("find-sessions", "● main"),
    ("find-search", "mean amount"),
    ("find-sent", "POST http"),
    *(("export-do", f"messages written to growth{ending}.") for ending in ENDINGS),
    ("export-script", "\n6 * 7\n"),
    ("import-do", "20 messages of growth.json are in copy now"),
    ("import-ask", "81"),
    ("reset-do", "The conversation is forgotten"),
    ("forget-do", "main is wiped from the disk"),
]


@pytest.mark.parametrize(("cell", "text"), SHOWN)
def test_each_cell_shows_what_the_text_says(outputs, cell, text):
    assert text in outputs[cell]


@pytest.mark.parametrize(("cell", "text"), SHOWN)
def test_the_saved_notebook_shows_it_too(cell, text):
    assert text in texts(nbformat.read(SECOND, as_version=4))[cell]


def test_it_leaves_nothing_but_an_empty_journal(executed):
    folder = executed.parent
    assert sorted(path.name for path in folder.iterdir()) == [".alloy", SECOND.name]
    assert Store(folder).sessions() == []


def test_the_saved_notebook_holds_no_path_of_a_machine():
    text = SECOND.read_text()
    assert not re.search(r"(?<![\w.])/(?:home|root|tmp|Users|work)\b|site-packages|C:\\\\", text)


def test_no_cell_fails_or_shows_the_name_of_an_object(outputs):
    for text in outputs.values():
        assert "Traceback" not in text
        assert "object at 0x" not in text

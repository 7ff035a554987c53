"""The notebook about conversations runs offline, and shows what its text says."""

import shutil

import nbformat
import pytest

from tests.kernel.test_documents import REPOSITORY, jupyter, plain, world

__all__ = ["world"]

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

SECOND = REPOSITORY / "notebooks" / "02-sessions.ipynb"


@pytest.fixture(scope="module")
def outputs(world):
    """Execute the notebook; return the texts of each cell by its id."""
    path = world[0] / SECOND.name
    shutil.copy(SECOND, path)
    ran = jupyter(world, "execute", "--inplace", "--kernel_name=python3", str(path))
    assert ran.returncode == 0, ran.stderr
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    return {
        cell.id: "\n".join(map(plain, cell.outputs))
        for cell in book.cells
        if cell.cell_type == "code"
    }


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("undo-do", "Undone: 'What is 6 * 7?'"),
        ("tree", "main-2"),
        ("fork-do", "On the branch idea"),
        ("fork-back", "On the branch main"),
        ("replay-ask", "replayed, $0"),
        ("restart-resume", "Gone from memory: df"),
        ("restart-ask", "56"),
        ("find-sessions", "● main"),
        ("find-search", "mean amount"),
        ("find-sent", "POST http"),
        ("forget-do", "wiped from the disk"),
    ],
)
def test_each_cell_shows_what_the_text_says(outputs, cell, text):
    assert text in outputs[cell]


def test_no_cell_fails_or_shows_the_name_of_an_object(outputs):
    for text in outputs.values():
        assert "Traceback" not in text
        assert "object at 0x" not in text

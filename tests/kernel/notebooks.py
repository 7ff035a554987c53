"""The notebooks of the repository, executed as a person would, and what they show."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat

from tests.kernel.test_documents import REPOSITORY, jupyter, plain

__all__ = ["NOTEBOOKS", "executed_in", "texts"]

NOTEBOOKS = REPOSITORY / "notebooks"


def executed_in(world: tuple[Path, dict[str, str]], notebook: Path) -> Path:
    """Execute a copy of a notebook, in a folder where nothing else is; return the copy."""
    folder = world[0] / notebook.stem
    folder.mkdir()
    path = folder / notebook.name
    shutil.copy(notebook, path)
    ran = jupyter((folder, world[1]), "execute", "--inplace", "--kernel_name=python3", str(path))
    assert ran.returncode == 0, ran.stderr
    return path


def texts(book: nbformat.NotebookNode) -> dict[str, str]:
    """Return the text of each code cell, by its id."""
    nbformat.validate(book)
    return {
        cell.id: "\n".join(map(plain, cell.outputs))
        for cell in book.cells
        if cell.cell_type == "code"
    }

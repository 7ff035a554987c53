"""An exported notebook and an exported script run, and do nothing but what the model ran."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tests.browser.lab import _write_kernel_spec
from tests.engine.told import told_session
from tests.kernel_harness import clean_environment

pytestmark = [pytest.mark.kernel, pytest.mark.slow]


def ran(folder: Path, *command: str) -> None:
    environment = clean_environment(folder / "home", {})
    environment["JUPYTER_PREFER_ENV_PATH"] = "0"
    _write_kernel_spec(Path(environment["JUPYTER_DATA_DIR"]))
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    # What bash was asked is text: it would have written this file.
    assert not (folder / "acted-by-a-document.txt").exists()


def test_the_notebook_runs_under_nbclient(tmp_path):
    path = told_session().export(tmp_path / "told.ipynb")
    ran(tmp_path, "-m", "jupyter", "execute", "--inplace", "--kernel_name=python3", str(path))
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    outputs = [cell.outputs for cell in book.cells if cell.cell_type == "code"]
    assert outputs[0][0].text == "total 45\n"
    assert outputs[1][0].data["text/plain"] == "90"


def test_the_script_runs(tmp_path):
    path = told_session().export(tmp_path / "told.py")
    ran(tmp_path, str(path))

"""A project directory with something worth protecting beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from alloy_nb.engine.calls.tool import ToolContext


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The working directory; beside it lie a secret and a sibling with the same prefix."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "notes.txt").write_text("one\ntwo\nthree\n")
    for outside in ("elsewhere", "project-secrets"):
        (tmp_path / outside).mkdir()
        (tmp_path / outside / "secret.txt").write_text("SECRET\n")
    return root


@pytest.fixture
def context(project: Path) -> ToolContext:
    return ToolContext(working_directory=project)

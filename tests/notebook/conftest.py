"""Fixtures of the notebook's face."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from tests.notebook.shell import Ran


@pytest.fixture(scope="module")
def shell() -> Iterator[InteractiveShell]:
    """Give a shell without a kernel; what a test sets in it is gone after the module."""
    from tests.notebook.shell import new_shell

    with new_shell() as running:
        yield running


@pytest.fixture
def cell(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Ran]]:
    """Give a function that runs a cell with the extension loaded anew and the demo to answer."""
    from alloy_nb.secrets import api_key_names
    from tests.notebook.shell import run

    for name in api_key_names():
        monkeypatch.delenv(name)
    # Python's own displayhook leaves `_` among the builtins, where another test used it; IPython
    # then keeps no last value.
    monkeypatch.delattr(builtins, "_", raising=False)
    monkeypatch.setenv("ALLOY_MODEL", "demo")
    monkeypatch.setenv("ALLOY_DEMO_PACE", "0")
    run(shell, "%load_ext alloy_nb")
    yield lambda source: run(shell, source)
    run(shell, "%unload_ext alloy_nb")
    shell.config.pop("Alloy", None)  # what %config set, which outlives the extension

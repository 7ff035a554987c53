"""An IPython shell in this process, without a kernel, for tests of what is typed.

::

    with new_shell() as shell:
        ran = run(shell, "%load_ext alloy_nb")
        assert ran.ok and not ran.text
"""

from __future__ import annotations

import atexit
import contextlib
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

__all__ = ["Ran", "new_shell", "run"]


@dataclass(frozen=True)
class Ran:
    """What a cell did."""

    ok: bool
    stdout: str
    stderr: str
    displays: list[Any]
    result: Any
    error: BaseException | None

    @property
    def text(self) -> str:
        """All that was printed."""
        return self.stdout + self.stderr


@contextlib.contextmanager
def new_shell() -> Iterator[InteractiveShell]:
    """Give the one shell of this process, with no history file and nothing loaded."""
    config = Config()
    config.HistoryManager.enabled = False
    config.HistoryManager.hist_file = ":memory:"
    config.InteractiveShell.colors = "nocolor"
    InteractiveShell.clear_instance()
    main = sys.modules["__main__"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of IPython's own making
        shell = InteractiveShell.instance(config=config)
    try:
        yield shell
    finally:
        shell.run_cell("%unload_ext alloy_nb", silent=True)
        atexit.unregister(shell.atexit_operations)
        shell.atexit_operations()
        InteractiveShell.clear_instance()
        sys.modules["__main__"] = main  # multiprocessing wants the real one


def run(shell: InteractiveShell, source: str) -> Ran:
    """Run a cell as a notebook does."""
    with capture_output() as captured:
        outcome = shell.run_cell(source, store_history=True)
    error = outcome.error_before_exec or outcome.error_in_exec
    return Ran(
        outcome.success,
        captured.stdout,
        captured.stderr,
        captured.outputs,
        outcome.result,
        error,
    )

"""What a cell asks is answered by a script, and what went out can be looked at."""

from __future__ import annotations

from typing import Any

from IPython.core.error import UsageError

from tests.engine.scripted import Scripted
from tests.notebook.shell import Ran

__all__ = ["magics", "refused", "scripted"]


def magics(shell: Any) -> Any:
    """Return the magics of a shell."""
    return next(c for c in shell.configurables if type(c).__name__ == "Alloy")


def scripted(shell: Any, *script: Any, session: str | None = None) -> Scripted:
    """Let a script answer from now on."""
    model = Scripted(*script)
    magics(shell).session(session).set_model(model)
    return model


def refused(ran: Ran) -> str:
    """Return the one line with which a cell was refused."""
    assert isinstance(ran.error, UsageError), ran.text
    return ran.stderr

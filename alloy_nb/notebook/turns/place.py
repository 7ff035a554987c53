"""Where a cell is: its notebook, and the cell itself, as far as a kernel is told."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from pathlib import Path
from typing import Any

__all__ = ["Places", "notebook_of"]


def notebook_of(shell: Any) -> Path | None:
    """Return the notebook's file, or ``None`` where nobody says which it is.

    A kernel is not told its notebook. Jupyter Server puts it into the environment
    (``SessionManager.get_kernel_env``, jupyter_server 2.21.1, 2026-11-21), which a program that is
    started from a notebook inherits too; VS Code sets a variable.
    """
    for named in (shell.user_ns.get("__vsc_ipynb_file__"), os.environ.get("JPY_SESSION_NAME")):
        if isinstance(named, str) and named.endswith(".ipynb"):
            path = Path(named)
            if path.is_absolute() and path.parent.is_dir():
                return path
    return None


class Places:
    """Gives each prompt the key of the cell that it is asked from.

    That is the cell's id, where the front end sends it with the request (JupyterLab, Notebook 7 and
    VS Code do, as ``cellId``), else a hash of the source. Where nobody can be asked, as under
    nbclient, each cell runs once: two with the same source are two, and counted.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._request = ""
        self._asked = 0
        self._sources: Counter[str] = Counter()
        self._key = ""

    def key(self) -> str:
        """Return the key of a prompt that is asked now, or ``""`` where there are no cells."""
        parent = self._parent()
        if parent is None:
            return ""
        request = str(parent.get("header", {}).get("msg_id", ""))
        if request != self._request:
            self._request, self._asked = request, 0
            self._key = self._of(parent)
        self._asked += 1
        return f"{self._key}/{self._asked}"

    def peek(self) -> str:
        """Return the key that the next prompt would have, which is not asked."""
        before = (self._request, self._asked, self._sources.copy(), self._key)
        try:
            return self.key()
        finally:
            self._request, self._asked, self._sources, self._key = before

    def _of(self, parent: dict[str, Any]) -> str:
        cell = parent.get("metadata", {}).get("cellId")
        if isinstance(cell, str) and cell:
            return f"cell:{cell[:200]}"
        content = parent.get("content", {})
        source = hashlib.sha256(str(content.get("code", "")).encode("utf-8", "replace"))
        key = f"source:{source.hexdigest()[:24]}"
        if not content.get("allow_stdin"):
            self._sources[key] += 1
            key = f"{key}#{self._sources[key]}"
        return key

    def _parent(self) -> dict[str, Any] | None:
        kernel = getattr(self._shell, "kernel", None)
        if kernel is None:
            return None
        parent = kernel.get_parent("shell")
        return parent if isinstance(parent, dict) else None

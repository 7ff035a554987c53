"""``/reset``, ``/model NAME``, ``/review main.py``: shorter ways to write ``%alloy`` in a terminal.

``alloy-nb chat`` loads this beside the extension. A name of the user's own stays IPython's: there
``/f x`` calls ``f``.
"""

from __future__ import annotations

import builtins
import re
from typing import Any

from alloy_nb.engine.skills import skills
from alloy_nb.notebook.grammar import COMMANDS

__all__ = ["ALIASES", "Slash", "load_ipython_extension", "unload_ipython_extension"]

_LINE = re.compile(r"/(?P<name>[A-Za-z_][\w-]*)(?P<rest>(?:[ \t].*)?)\n?")
# Other programs' words for ours.
ALIASES = {"usage": "cost", "clear": "reset", "new": "reset"}


class Slash:
    """Rewrites a line that begins with a slash; one for each shell."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell

    def __call__(self, lines: list[str]) -> list[str]:
        """Return the lines as IPython shall read them."""
        found = _LINE.fullmatch(lines[0]) if len(lines) == 1 else None
        if found is None or callable(self._shell.user_ns.get(found["name"])):
            return lines
        name = ALIASES.get(found["name"], found["name"])
        if name in {command.name for command in COMMANDS}:
            return [_magic(f"{name}{found['rest']}")]
        names = {skill.name for skill in skills()}
        # What is neither is told by %alloy with the list of those that there are.
        if name in names or (names and not hasattr(builtins, name)):
            return [_magic(lines[0].rstrip())]
        return lines


def _magic(words: str) -> str:
    return f"get_ipython().run_line_magic('alloy', {words!r})\n"


def load_ipython_extension(shell: Any) -> None:
    """Rewrite lines from now on."""
    if not any(isinstance(each, Slash) for each in shell.input_transformers_cleanup):
        shell.input_transformers_cleanup.append(Slash(shell))


def unload_ipython_extension(shell: Any) -> None:
    """Leave lines alone again."""
    kept = [each for each in shell.input_transformers_cleanup if not isinstance(each, Slash)]
    shell.input_transformers_cleanup[:] = kept

"""Loading and unloading the extension. Loading registers, and does nothing else.

What is imported for it is little: a notebook that loads us begins at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alloy_nb.notebook import tab, verbatim
from alloy_nb.notebook.cells import cells_of
from alloy_nb.notebook.inputs import figures
from alloy_nb.notebook.magics import Alloy

if TYPE_CHECKING:
    from alloy_nb.engine.calls.tool import Tool
    from alloy_nb.engine.run import Result

__all__ = ["kernel_python", "load", "unload"]

_RESULT = ("alloy_nb.engine.run", "Result")


def load(shell: Any) -> None:
    """Register ``%alloy`` and ``%%alloy``. Loading twice is loading once, and prints nothing."""
    if _loaded(shell) is not None:
        return
    magics = Alloy(shell)
    shell.register_magics(magics)
    tab.offer(shell, lambda: magics.desk)
    shell.input_transformers_cleanup.append(verbatim.keep_question_marks)
    figures.listen(shell)
    cells_of(shell).listen(shell)
    shell.display_formatter.ipython_display_formatter.for_type_by_name(*_RESULT, _show)


def unload(shell: Any) -> None:
    """Undo what `load` did; conversations that nobody else holds are gone."""
    magics = _loaded(shell)
    if magics is None:
        return
    magics.close()
    shell.configurables.remove(magics)
    for kind in ("line", "cell"):
        shell.magics_manager.magics[kind].pop("alloy", None)
    shell.magics_manager.registry.pop("Alloy", None)
    shell.input_transformers_cleanup.remove(verbatim.keep_question_marks)
    figures.silence(shell)
    cells_of(shell).silence(shell)
    tab.withdraw(shell)
    shell.display_formatter.ipython_display_formatter.pop(".".join(_RESULT), None)


def kernel_python() -> Tool:
    """Return the tool that runs code in the open notebook; `alloy_nb.python` is it.

    Raises:
        AttributeError: There is no notebook, or the extension is not loaded.
    """
    from IPython import get_ipython

    shell = get_ipython()
    magics = None if shell is None else _loaded(shell)
    if magics is None:
        raise AttributeError("al.python runs code in a notebook: %load_ext alloy_nb there first.")
    return magics.desk.python


def _show(result: Result) -> None:
    from alloy_nb.notebook.drawing import answers

    answers.show(result)


def _loaded(shell: Any) -> Alloy | None:
    """Return the magics of this shell, also where the package was reloaded since."""
    return next((c for c in shell.configurables if type(c).__name__ == "Alloy"), None)

"""Loading and unloading the extension. Loading registers, and does nothing else."""

from __future__ import annotations

from typing import Any

from alloy_nb.engine.run import Result
from alloy_nb.notebook import completion, verbatim
from alloy_nb.notebook.drawing import answers
from alloy_nb.notebook.inputs import figures
from alloy_nb.notebook.magics import Alloy

__all__ = ["load", "unload"]


def load(shell: Any) -> None:
    """Register ``%alloy`` and ``%%alloy``. Loading twice is loading once, and prints nothing."""
    if _loaded(shell) is not None:
        return
    magics = Alloy(shell)
    shell.register_magics(magics)
    magics.desk.keychain.open()
    completion.offer_completions(shell, magics.desk)
    shell.input_transformers_cleanup.append(verbatim.keep_question_marks)
    figures.listen(shell)
    shell.display_formatter.ipython_display_formatter.for_type(Result, answers.show)


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
    completion.forget(shell)
    shell.display_formatter.ipython_display_formatter.pop(Result, None)


def _loaded(shell: Any) -> Alloy | None:
    """Return the magics of this shell, also where the package was reloaded since."""
    return next((c for c in shell.configurables if type(c).__name__ == "Alloy"), None)

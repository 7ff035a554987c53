"""Help with what is there: ``%alloy fix``, ``explain`` and ``see``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from IPython.core.error import UsageError

from alloy_nb.engine.run import Result
from alloy_nb.errors import AlloyError
from alloy_nb.markup.plain import clean
from alloy_nb.notebook.code.explained import cell_of, object_of
from alloy_nb.notebook.code.failure import Failure, last_failure, stored_failure, told
from alloy_nb.notebook.code.next_cell import code_blocks, offer
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.inputs.dial import Dial
from alloy_nb.notebook.inputs.figures import last_figure
from alloy_nb.notebook.turns.asking import asked, prepared
from alloy_nb.notebook.words import Words

__all__ = ["commands"]

_FIX = "Why did this fail, and how is it put right?"
_ANSWER = (
    "Say in a sentence or two what went wrong. Then give the whole corrected cell, the one with "
    "the fault, as one ```python block that can be run as it is. Do not run it yourself."
)
_SEE = "What does this figure show, and how could it show it better?"


def commands(desk: Desk) -> Mapping[str, Callable[[Words], Result | None]]:
    """Return what does each word."""
    words = _HelpWords(desk)
    return {"fix": words.fix, "explain": words.explain, "see": words.see}


class _HelpWords:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def fix(self, words: Words) -> Result:
        """Explain the last error, or that of a cell, and offer the corrected cell."""
        number, text = _numbered(words.prompt)
        dial = self._dial(words, "a failure")
        failure = self._failure(number)
        result = self._ask(words, text or _FIX, f"{told(failure, dial)}\n\n{_ANSWER}")
        corrected = [block.code for block in code_blocks(result.text) if block.is_python]
        if corrected:
            where = f", in place of In[{failure.cell}]" if failure.cell is not None else ""
            offer(self._desk.shell, corrected[-1], told=f"The corrected cell{where}.")
        return result

    def explain(self, words: Words) -> Result:
        """Explain a cell, an object, or whatever else the words name."""
        number, text = _numbered(words.prompt)
        shell = self._desk.shell
        if number is None and not text:
            number = _last_cell(shell)
        if number is not None:
            dial = self._dial(words, "a cell")
            reference = cell_of(shell, number, dial)
            return self._ask(words, text or "Explain this cell, and what came of it.", reference)
        name = text.split()[0]
        found, value = _found(name, shell.user_ns)
        if not found:
            return self._ask(words, f"Explain: {text}", "")
        reference = object_of(name, value, self._dial(words, "an object"))
        return self._ask(words, f"Explain: {text}", reference)

    def see(self, words: Words) -> Result:
        """Show the model the last figure."""
        if last_figure(self._desk.shell.user_ns) is None:
            raise UsageError("There is no figure to look at. Draw one, then %alloy see.")
        return self._ask(words, f"{words.prompt.strip() or _SEE}\n\n@plot", "")

    # --- inside -----------------------------------------------------------------------------------

    def _ask(self, words: Words, question: str, reference: str) -> Result:
        asking = prepared(
            self._desk, replace(words, command=None, prompt=question), self._desk.shell.user_ns
        )
        if reference:
            text = f"{asking.prompt.text}\n\n{reference}"
            asking = replace(asking, prompt=replace(asking.prompt, text=text))
        return asked(self._desk, asking)

    def _dial(self, words: Words, what: str) -> Dial:
        session = self._desk.session(words.flags.get("session"))
        dial = self._desk.data.of(session, words.flags.get("data"))
        if dial.level == "none":
            raise UsageError(
                f"With --data none nothing of {what} may be sent. --data names sends types and "
                "names, --data schema the columns of tables too."
            )
        return dial

    def _failure(self, number: int | None) -> Failure:
        shell = self._desk.shell
        last = last_failure(shell)
        if number is not None and (last is None or last.cell != number):
            last = stored_failure(shell, number)
            if last is None:
                raise UsageError(
                    f"No error of In[{number}] is known. Run that cell again, then %alloy fix."
                )
        if last is None:
            raise UsageError(
                "Nothing has failed in this kernel yet. Run the cell that fails, then %alloy fix."
            )
        _check_fixable(last.error)
        return last


def _check_fixable(error: BaseException) -> None:
    """Refuse what no corrected cell would put right."""
    if isinstance(error, KeyboardInterrupt):
        raise UsageError("The last cell was stopped by you: there is nothing to fix.")
    if isinstance(error, UsageError):
        raise UsageError(
            f"The last error was about how a magic was written: {clean(str(error))} "
            "%alloy fix N takes the error of In[N]."
        )
    if isinstance(error, AlloyError):
        raise UsageError(
            f"The last error came from asking a model: {clean(str(error))} %alloy doctor looks "
            "into that; %alloy fix N takes the error of In[N]."
        )


def _numbered(prompt: str) -> tuple[int | None, str]:
    """Split off the number of a cell, written 3 or In[3], from the words after it."""
    first, _, rest = prompt.strip().partition(" ")
    number = first.removeprefix("@").removeprefix("In[").removesuffix("]")
    return (int(number), rest.strip()) if number.isdecimal() else (None, prompt.strip())


def _last_cell(shell: Any) -> int:
    """Return the number of the cell that ran before this one."""
    typed = shell.user_ns.get("In") or [""]
    last = len(typed) - 2 if shell.user_ns.get("In") else 0
    while last > 0 and typed[last].lstrip().startswith(("%alloy", "get_ipython().run_line_magic")):
        last -= 1
    if last < 1:
        raise UsageError("Explain what? %alloy explain N, NAME, or words; no cell ran before this.")
    return last


def _found(name: str, namespace: Mapping[str, Any]) -> tuple[bool, Any]:
    """Look up a name and what it holds, without running code of the user's."""
    first, *attributes = name.removeprefix("@").split(".")
    if first not in namespace:
        return False, None
    value = namespace[first]
    for attribute in attributes:
        try:
            value = inspect.getattr_static(value, attribute)
        except (AttributeError, TypeError):
            return False, None
    return True, value

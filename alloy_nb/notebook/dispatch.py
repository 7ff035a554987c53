"""What ``%alloy`` does with what was typed. It is imported when something is: loading is quick."""

from __future__ import annotations

from typing import Any

from IPython.core.error import UsageError

from alloy_nb.errors import ConfigError, SessionError
from alloy_nb.notebook.commands import commands
from alloy_nb.notebook.commands.models import show_status
from alloy_nb.notebook.desk import Desk, Settings
from alloy_nb.notebook.drawing import status
from alloy_nb.notebook.guide import usage, usage_of
from alloy_nb.notebook.turns.prompts import answered
from alloy_nb.notebook.words import Words

__all__ = ["Dispatch"]


class Dispatch:
    """Hands words to the command that they name, or asks.

    Args:
        shell: Whose notebook it is.
        settings: The traits.
    """

    def __init__(self, shell: Any, settings: Settings) -> None:
        self.desk = Desk(shell, settings)
        self.desk.keychain.open()
        self._shell = shell
        self._commands = commands(self.desk)

    def run(self, words: Words, *, cell: str | None, local: dict[str, Any] | None) -> object:
        """Do what the words say, and return the value of the cell.

        Raises:
            UsageError: Something in the cell cannot be; it is shown as one line.
        """
        self.desk.said += self.desk.keychain.noticed(self._shell.user_ns.get("In"))
        try:
            if words.flags.get("help") or (cell is None and words.prompt == "?"):
                status.say(usage_of(words.command or "") or usage())
            elif words.command is not None:
                return self._commands[words.command](words)
            elif not words.prompt.strip():
                self._nothing_asked(words, cell)
            else:
                namespace = {**self._shell.user_ns, **(local or {})}
                return answered(self.desk, words, namespace)
        except (ConfigError, SessionError) as error:
            # A mistake in the cell is IPython's own kind of error: one line, no traceback.
            raise UsageError(str(error)) from None
        return None

    def close(self) -> None:
        """Let go of the conversations."""
        self.desk.close()

    def _nothing_asked(self, words: Words, cell: str | None) -> None:
        if cell is None and words.flags.keys() <= {"session"}:
            show_status(self.desk, words)
            return
        form = "%%alloy [FLAGS]\nPROMPT" if cell is not None else "%alloy [FLAGS] PROMPT"
        raise UsageError(f"There is no prompt. Write:\n{form}\nSee %alloy help.")

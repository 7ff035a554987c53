"""A conversation as a file: ``%alloy export`` and ``import``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from IPython.core.error import UsageError

from alloy_nb.engine import export
from alloy_nb.notebook import status
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.words import Words

__all__ = ["commands"]

# Longer conversations take seconds to write.
_MANY_MESSAGES = 2_000


def commands(desk: Desk) -> Mapping[str, Callable[[Words], None]]:
    """Return what does each word."""
    words = _FileWords(desk)
    return {"export": words.export, "import": words.import_}


class _FileWords:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def export(self, words: Words) -> None:
        """Write the conversation."""
        if not words.arguments:
            raise UsageError(f"Where to? %alloy export FILE{', '.join(export.ENDINGS)}")
        session = self._desk.session(words.flags.get("session"))
        path, count = Path(words.arguments[0]).expanduser(), len(session.messages)
        if count > _MANY_MESSAGES:
            status.say(f"Writing {count:,} messages …")
        session.export(path, force="force" in words.flags)
        status.say(f"{count} messages written to {path}.")

    def import_(self, words: Words) -> None:
        """Put an exported conversation in the place of one of this notebook, with its settings."""
        if not words.arguments:
            raise UsageError("What? %alloy import FILE.json")
        desk, path = self._desk, Path(words.arguments[0]).expanduser()
        name = words.flags.get("session") or desk.current
        before = desk.sessions.get(name)
        if before is not None and before.messages and "force" not in words.flags:
            raise UsageError(
                f"The conversation {name} has {len(before.messages)} messages. Put the file beside "
                "it with -s NAME, or in its place with --force."
            )
        record = export.read(path)
        session = desk.begun(name, desk.new_journal(name), record)
        if before is not None:
            session.set_model(before.provider)
            before.stop()
        desk.sessions[name] = session
        answering = f"{session.provider.name}/{session.provider.model}"
        status.say(
            f"{len(session.messages)} messages of {path} are in {name} now; {answering} answers "
            "from here on, with the tools and settings of this notebook."
        )

"""A conversation as a file: ``%alloy export`` and ``import``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from IPython.core.error import UsageError

from alloy_nb.engine import export
from alloy_nb.notebook.archive import keep
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.drawing import status
from alloy_nb.notebook.words import Words

__all__ = ["commands"]

# Longer conversations take seconds to write.
_MANY_MESSAGES = 2_000
# Bytes of an imported file.
_KEPT_AT_ONCE = 1_000_000
_TO_READ = frozenset(export.ENDINGS) - {".json"}


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
        if not count:  # after a restart the cell runs again, and would put nothing in its place
            nothing = f"Nothing was said in {session.name} yet, so {path} was not written."
            raise UsageError(" ".join([nothing, *self._desk.said]))
        if count > _MANY_MESSAGES:
            status.say(f"Writing {count:,} messages …")
        session.export(path, force="force" in words.flags)
        status.say(f"{count} message{'s' * (count != 1)} written to {path}.")

    def import_(self, words: Words) -> None:
        """Put an exported conversation in the place of one of this notebook, with its settings."""
        if not words.arguments:
            raise UsageError("What? %alloy import FILE.json")
        desk, path = self._desk, Path(words.arguments[0]).expanduser()
        name = words.flags.get("session") or desk.current
        if path.suffix.lower() in _TO_READ:
            raise UsageError(f"{path} is to be read; only what was exported to FILE.json goes on.")
        record = export.read(path)
        before = desk.sessions.get(name)
        if before is not None and before.messages and "force" not in words.flags:
            raise UsageError(
                f"The conversation {name} has {len(before.messages)} messages. Put the file beside "
                "it with -s NAME, or in its place with --force."
            )
        journal = desk.new_journal(name)
        session = desk.begun(name, journal, record)
        if journal is not None and path.stat().st_size <= _KEPT_AT_ONCE:
            keep(record, journal)  # a longer one with its next turn, which then takes seconds
        if before is not None:
            session.set_model(before.provider)
        desk.sessions[name] = session
        if before is not None:
            before.stop()
        answering = f"{session.provider.name}/{session.provider.model}"
        status.say(
            f"{len(session.messages)} messages of {path} are in {name} now; {answering} answers "
            "from here on, with the tools and settings of this notebook."
        )

"""What the last turns did to the variables: ``%alloy names`` and ``restore``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from IPython.core.error import UsageError

from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.drawing import status
from alloy_nb.notebook.kernel.namespace import Change
from alloy_nb.notebook.words import Words

__all__ = ["commands"]

_NOTHING = "No turn has changed a variable yet, or it was too long ago."


def commands(desk: Desk) -> Mapping[str, Callable[[Words], None]]:
    """Return what does each word."""
    words = _NameWords(desk)
    return {"names": words.names, "restore": words.restore}


class _NameWords:
    def __init__(self, desk: Desk) -> None:
        self._names = desk.names

    def names(self, _: Words) -> None:
        """List what the last turn with python changed, and what can be put back."""
        changes = self._names.last()
        if not changes:
            status.say(_NOTHING)
            return
        head = ["", "name", "before", "after", "how", "%alloy restore"]
        status.show([head, *map(_row, changes)])

    def restore(self, words: Words) -> None:
        """Put variables back as they were before the turn that changed them."""
        restored = self._names.restore(words.arguments)
        if not restored:
            raise UsageError(_NOTHING)
        failed = [f"{one.name}: {one.why}" for one in restored if one.why]
        if len(failed) == len(restored):
            raise UsageError(f"Nothing was restored. {'; '.join(failed)}.")
        done = [f"{one.name} ({one.text})" for one in restored if not one.why]
        lines = [f"Restored: {', '.join(done)}. %alloy restore once more takes that back."]
        lines += [f"Not restored: {'; '.join(failed)}."] if failed else []
        status.say("\n".join(lines))


def _row(change: Change) -> list[str]:
    before = "" if change.before is None else str(change.before)
    after = "" if change.after is None or change.how == "deleted" else str(change.after)
    can = "no" if not change.kept else "by its name" if change.how == "new" else "yes"
    return [change.sign, change.name, before, after, change.how, can]

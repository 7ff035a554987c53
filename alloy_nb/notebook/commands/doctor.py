"""``%alloy doctor``: a line for each thing that could be wrong."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from IPython.core.error import UsageError

from alloy_nb.engine.portal import run_sync
from alloy_nb.markup.plain import clean
from alloy_nb.notebook import doctor
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.doctor import Check
from alloy_nb.notebook.drawing.cards import table
from alloy_nb.notebook.drawing.placing import is_elsewhere, place
from alloy_nb.notebook.words import Words

__all__ = ["commands"]


def commands(desk: Desk) -> Mapping[str, Callable[[Words], None]]:
    """Return what does each word."""

    def examine(words: Words) -> None:
        """Look at everything, and show what is wrong and what to do."""
        if words.arguments not in ((), ("offline",)):
            raise UsageError(
                f"doctor {words.arguments[0]}: write %alloy doctor, or doctor offline."
            )
        session = desk.session(words.flags.get("session"))
        screen = _Screen(desk.shell)
        screen.progress("Looking at this machine …")
        keeps = session.journal is not None
        wanted = desk.settings.journal
        found = list(doctor.checks(desk.shell, session.provider, journal=wanted, keeps=keeps))
        found.append(doctor.hears_widgets(desk.shell, screen.update))
        if words.arguments:
            found.append(Check("endpoint", "not asked: offline", None))
        elif doctor.is_demo(session.provider):
            found.append(Check("endpoint", "a demo: scripted answers, made on this machine", None))
        else:
            screen.progress(doctor.announced(session.provider))
            found += run_sync(doctor.probed(session.provider))
        screen.finish(found)

    return {"doctor": examine}


class _Screen:
    """One output: what is being done, and at the end what was found."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._id = uuid.uuid4().hex
        self._shown = False

    def progress(self, text: str) -> None:
        """Say what is being done."""
        if is_elsewhere():
            return  # it would not be replaced there by what is found
        if hasattr(self._shell, "kernel"):
            self.update({"text/plain": clean(text)})
        else:
            print(clean(text))  # noqa: T201  # a terminal

    def update(self, data: Mapping[str, Any]) -> None:
        """Show something in the place of what is there."""
        self._shell.display_pub.publish(
            data=dict(data), transient={"display_id": self._id}, update=self._shown
        )
        self._shown = True

    def finish(self, found: list[Check]) -> None:
        """Show what was found."""
        wrong = sum(check.good is False for check in found)
        summary = f"{wrong} to put right" if wrong else "nothing is wrong"
        rows = [["", "what", summary, "what to do"], *(check.row for check in found)]
        bundle = table(rows)
        if self._shown:
            self.update(bundle.mimebundle())
        else:
            place(bundle)

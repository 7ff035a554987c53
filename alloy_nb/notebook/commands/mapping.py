"""One question about each row of a table: ``%alloy map``.

::

    %alloy map df --as Label -o labels "Label the sentiment of {review}"

The plan stands first, then a line that tells how far it is, which stays in the saved notebook. What
was answered is kept row by row: a cell that was stopped goes on when it is run again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from keyword import iskeyword
from typing import Any

from IPython.core.error import UsageError

from alloy_nb.analysis import mapping
from alloy_nb.analysis.plan import Plan
from alloy_nb.analysis.progress import Progress
from alloy_nb.engine.budget import Budget
from alloy_nb.engine.sessions.session import Session
from alloy_nb.errors import Interrupted
from alloy_nb.markup.plain import one_line
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.drawing import status
from alloy_nb.notebook.drawing.bar import Bar, bar_for
from alloy_nb.notebook.inputs.dial import Dial
from alloy_nb.notebook.ledger import Entry
from alloy_nb.notebook.turns.turn_settings import dollars, settings_of
from alloy_nb.notebook.turns.typed import wanted
from alloy_nb.notebook.words import Words
from alloy_nb.providers.base import Provider

__all__ = ["commands"]

_GO_ON = "Run the cell again and it goes on where it stopped."
_ANEW = "Run the cell again without --fresh and it goes on; with it, all is asked and paid anew."
_FORM = "%alloy map TABLE [--as TYPE] [-o NAME] PROMPT, with columns in braces: {review}"


def commands(desk: Desk) -> Mapping[str, Callable[[Words], Any]]:
    """Return what does each word."""
    return {"map": _MapWords(desk).map}


class _MapWords:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def map(self, words: Words) -> Any:
        """Ask about each row, and return the answers as a table, or put them into a variable."""
        if not words.arguments or not words.prompt.strip():
            raise UsageError(f"There is no table or no prompt. Write: {_FORM}")
        output = words.flags.get("output")
        if output is not None and (not output.isidentifier() or iskeyword(output)):
            raise UsageError(f"-o {output}: the answers go into a variable, and this is no name.")
        namespace = self._desk.shell.user_ns
        table = _evaluated(words.arguments[0], namespace)
        prompt = _prompt(words.prompt, namespace)
        session = self._desk.session(words.flags.get("session"))
        settings = self._settings(words, session, namespace)
        self._check_dial(words, session, settings)
        is_once = isinstance(table, Iterator)
        if not is_once or "dry_run" in words.flags:
            plan: Plan = mapping.map(table, prompt, dry_run=True, **settings)
            status.say(plan.text)
        if "dry_run" in words.flags:
            return None
        made = self._asked(table, prompt, settings)
        if output is None:
            return made
        namespace[output] = made
        return None

    def _asked(self, table: Any, prompt: Any, settings: dict[str, Any]) -> Any:
        """Ask, and tell how far it is.

        Raises:
            Interrupted: The person stopped it; what was answered is kept.
        """
        bar = bar_for(self._desk.shell)
        last: list[Progress] = []

        def tell(progress: Progress) -> None:
            last[:] = [progress]
            bar.show(progress.text, last=progress.finished)

        try:
            return mapping.map(table, prompt, on_progress=tell, **settings)
        except KeyboardInterrupt:
            _stopped(bar, last, is_kept=settings["checkpoint"], is_anew=settings["fresh"])
            raise Interrupted("stopped") from None
        finally:
            if last and last[0].asked:
                self._desk.mapped.append(self._entry(prompt, settings["provider"], last[0]))

    def _entry(self, prompt: Any, model: Provider, progress: Progress) -> Entry:
        return Entry(
            session="map",
            turn=1 + sum(entry.session == "map" for entry in self._desk.mapped),
            asked=one_line(prompt if isinstance(prompt, str) else "a function", 60),
            model=model.model,
            status="completed" if progress.finished else "cancelled",
            usage=None,
            cost=progress.spent,
            seconds=round(progress.seconds, 3),
            at=datetime.now(UTC),
        )

    def _settings(
        self, words: Words, session: Session, namespace: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the words of `alloy_nb.map` that the flags stand for."""
        flags = words.flags
        if "," in flags.get("model", ""):
            raise UsageError("A map asks one model. al.compare asks several, and compares them.")
        own = settings_of(
            self._desk, {k: v for k, v in flags.items() if k != "max_cost"}, session.agent
        )
        del own["approve"]  # there are no tools
        settings: dict[str, Any] = {
            "provider": session.provider,
            "effort": session.agent.options.effort,
            **own,
            "checkpoint": self._desk.settings.journal != "off",
            "fresh": "fresh" in flags,
        }
        within = session.agent.budget
        budget = (
            Budget(dollars(flags["max_cost"]), within=within) if "max_cost" in flags else within
        )
        if budget is not None:
            settings["budget"] = budget
        if "as" in flags:
            typed = wanted(flags["as"], namespace)
            if typed.library:
                raise UsageError(
                    f"--as {flags['as']}: each row has one answer, and the table is made of them: "
                    "name the class of one answer."
                )
            settings["schema"] = typed.structured.type
        for key in ("limit", "concurrency"):
            if key in flags:
                settings[key] = _count(key, flags[key])
        return settings

    def _check_dial(self, words: Words, session: Session, settings: Mapping[str, Any]) -> None:
        """Refuse to send values that are to stay here."""
        dial: Dial = self._desk.data.of(session, words.flags.get("data"))
        if dial.level == "full":
            return
        if dial.level == "sample" and settings.get("limit", dial.rows + 1) <= dial.rows:
            return
        more = f", or --limit {dial.rows}" if dial.level == "sample" else ""
        raise UsageError(
            f"%alloy map sends what is in the rows, and the data dial is at {dial}. For this map "
            f"alone: --data full{more}. Nothing was sent."
        )


def _stopped(bar: Bar, last: list[Progress], *, is_kept: bool, is_anew: bool) -> None:
    told = last[0].text if last else "Nothing was asked yet."
    go_on = _ANEW if is_anew else _GO_ON
    go_on = go_on if is_kept else "Nothing is kept: %config Alloy.journal is off."
    bar.show(f"■ Stopped. {told} {go_on}", last=True)


def _evaluated(source: str, namespace: dict[str, Any]) -> Any:
    """Return the table that an expression stands for."""
    source = source.removeprefix("@")
    try:
        return eval(compile(source, "<table>", "eval"), dict(namespace))  # noqa: S307  # the person typed it
    except NameError:
        near = get_close_matches(source, [n for n in namespace if not n.startswith("_")], n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UsageError(f"There is no {source} in this notebook.{hint} Write: {_FORM}") from None
    except (Exception, SystemExit) as error:  # of code that may raise anything
        raise UsageError(
            f"{one_line(source, 60)} is no table: {type(error).__name__}: {one_line(str(error))}"
        ) from None


def _prompt(text: str, namespace: dict[str, Any]) -> Any:
    """Return the prompt: as it was written, without quotes around it, or what ``$(name)`` is."""
    text = text.strip()
    if text.startswith("$(") and text.endswith(")"):
        return _evaluated(text[2:-1].strip(), namespace)
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" and text[0] not in text[1:-1]:
        text = text[1:-1]
    return text


def _count(name: str, text: str) -> int:
    if not (text.isdecimal() and len(text) < 10 and int(text)):
        raise UsageError(f"--{name} {text}: give a whole number from 1.")
    return int(text)

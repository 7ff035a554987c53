"""``-m a,b``: one prompt to several models at once, and ``%alloy pick`` to go on with one of them.

Each is asked beside the conversation, with its history, and nothing of it is kept there until one
is picked. Side by side they may only read: two models that change the same variables would each
work on what the other left.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, overload

from IPython.core.error import UsageError

from alloy_nb.engine.budget import Budget
from alloy_nb.engine.portal import run_sync
from alloy_nb.engine.run import Result, Run, RunStatus
from alloy_nb.engine.sessions.session import Session
from alloy_nb.engine.sessions.taking import take
from alloy_nb.errors import AlloyError, Interrupted
from alloy_nb.events import Event
from alloy_nb.messages import Message
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.drawing import status
from alloy_nb.notebook.drawing.segments import NoticeSegment
from alloy_nb.notebook.drawing.side_by_side import Column, Columns, columns_for
from alloy_nb.notebook.turns.asking import Asking, came_to, transcript_of, weighed
from alloy_nb.notebook.turns.cell import run_cell
from alloy_nb.notebook.turns.turn_settings import dollars, settings_of
from alloy_nb.notebook.words import Words
from alloy_nb.usage import Cost

__all__ = ["Comparison", "compared", "models_of", "pick"]

_MOST_MODELS = 8
_ALONE = ("bg", "new", "fork", "at", "replay", "replay_only", "fresh")


@dataclass(slots=True, eq=False)
class _Answer:
    """One model's answer on its way."""

    model: str
    session: Session
    settings: Mapping[str, Any]
    column: Column | None = None
    runs: list[Run] = field(default_factory=list)
    result: Result | None = None

    @property
    def outcome(self) -> Result:
        """What it came to, also where it was stopped or could not begin."""
        if self.result is not None:
            return self.result
        kept = self.session.results
        if kept:
            return kept[-1]
        return Result.unanswered(RunStatus.CANCELLED, "It was stopped before it answered.")

    @property
    def added(self) -> list[Message]:
        """The messages that the conversation would get with it, none without an answer."""
        kept = self.session.results
        said = kept[-1].messages if kept else []
        return said if any(message.role == "assistant" for message in said) else []

    @property
    def events(self) -> list[Event]:
        return self.runs[-1].events if self.runs else []


class Comparison(Sequence[Result]):
    """The answers of several models to one prompt, by number or by the model's name.

    Args:
        session: The conversation beside which they were given.
        answers: They, in the order in which the models were named.
    """

    def __init__(self, session: Session, answers: Sequence[_Answer]) -> None:
        self.session = session
        self.picked: str | None = None
        """The model whose answer the conversation goes on with."""
        self._answers = tuple(answers)

    @property
    def models(self) -> tuple[str, ...]:
        """The models, as they were named."""
        return tuple(answer.model for answer in self._answers)

    @property
    def results(self) -> tuple[Result, ...]:
        """What each came to."""
        return tuple(answer.outcome for answer in self._answers)

    @property
    def cost(self) -> Cost:
        """US dollars of all of them."""
        return sum((result.cost for result in self.results), Cost())

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row for each model: what it said, used, cost, and how long it took."""
        return [_row(a.model, a.outcome) for a in self._answers]

    @property
    def table(self) -> Any:
        """The rows as a DataFrame of pandas.

        Raises:
            ImportError: pandas is not installed; `rows` are there without it.
        """
        return importlib.import_module("pandas").DataFrame(self.rows)

    @overload
    def __getitem__(self, which: int | str) -> Result: ...
    @overload
    def __getitem__(self, which: slice) -> Sequence[Result]: ...
    def __getitem__(self, which: int | str | slice) -> Result | Sequence[Result]:
        if isinstance(which, str):
            return self._answers[self.find(which)].outcome
        return self.results[which]

    def __len__(self) -> int:
        return len(self._answers)

    def __repr__(self) -> str:
        each = ", ".join(f"{n}: {model}" for n, model in enumerate(self.models, 1))
        return f"Comparison({each}; {self.cost}; %alloy pick N goes on with one)"

    def find(self, which: str) -> int:
        """Return the index of a model, by its number from 1, its name, or a part of it.

        Raises:
            KeyError: There is none, or there are several.
        """
        if which.isdecimal() and 1 <= int(which) <= len(self):
            return int(which) - 1
        for fits in (which.__eq__, lambda model: which.lower() in model.lower()):
            found = [n for n, model in enumerate(self.models) if fits(model)]
            if len(found) == 1:
                return found[0]
        raise KeyError(which)

    def take(self, which: int) -> tuple[str, list[str]]:
        """Let the conversation go on with an answer; the others are left on branches of it.

        Returns:
            The model, and the names of the branches; without a journal there are none.

        Raises:
            SessionError: A turn is under way, or another process writes to the conversation.
        """
        picked = self._answers[which]
        journal, branches = self.session.journal, set[str]()
        if journal is not None:
            before = set(journal.branches())
            for answer in self._answers:
                if answer is not picked and answer.added:
                    _take(self.session, answer)
                    self.session.undo()
            branches = set(journal.branches()) - before - {journal.branch}
        _take(self.session, picked)
        self.picked = picked.model
        return picked.model, sorted(branches)

    def beside(self) -> list[Session]:
        """Return the conversations in which what was not taken was said."""
        return [answer.session for answer in self._answers]


def models_of(flags: Mapping[str, Any]) -> list[str]:
    """Return the models that ``-m`` names."""
    return [name.strip() for name in str(flags.get("model", "")).split(",") if name.strip()]


def compared(desk: Desk, words: Words, namespace: dict[str, Any]) -> Comparison:
    """Ask several models, draw their answers side by side, and return them; blocks.

    Raises:
        UsageError: A flag has a value that cannot be; nothing was sent.
        Interrupted: The person stopped all of them.
    """
    comparison, askings = _begun(desk, words, namespace)
    columns = columns_for(desk.shell, comparison.models)
    pairs = zip(comparison._answers, askings, strict=True)
    for number, (answer, asking) in enumerate(pairs, 1):
        transcript = transcript_of(desk, asking)
        answer.column = columns.column(f"{number} · {_title(asking)}", transcript)
    output = askings[0].output
    desk.compared[comparison.session.id] = comparison
    if output is not None:
        desk.shell.user_ns[output] = comparison
    try:
        run_sync(_all(comparison._answers, askings, columns))
    except KeyboardInterrupt:
        raise Interrupted("all of them were stopped; what they said so far is kept") from None
    return comparison


def pick(desk: Desk, words: Words) -> None:
    """Go on with one of the answers that were compared last.

    Raises:
        UsageError: Nothing was compared, or there is no such answer.
    """
    session = desk.session(words.flags.get("session"))
    comparison = desk.compared.get(session.id)
    if comparison is None:
        raise UsageError("Nothing was compared here yet: %%alloy -m MODEL,MODEL asks several.")
    listed = ", ".join(f"{n} ({model})" for n, model in enumerate(comparison.models, 1))
    if comparison.picked is not None:
        raise UsageError(
            f"The conversation goes on with {comparison.picked} already. %alloy tree shows the "
            "branches of the others, and %alloy use NAME goes on with one."
        )
    if not words.arguments:
        raise UsageError(f"Which? %alloy pick {listed}.")
    try:
        which = comparison.find(words.arguments[0])
    except KeyError:
        raise UsageError(f"There is no answer {words.arguments[0]}: {listed}.") from None
    if not comparison._answers[which].added:
        raise UsageError(f"{comparison.models[which]} gave no answer to go on with.")
    asides = comparison.beside()
    model, branches = comparison.take(which)
    taken = asides if branches else [asides[which]]
    desk.asides[:] = [one for one in desk.asides if one not in taken]
    others = f" The others are on branches: {', '.join(branches)}." if branches else ""
    status.say(f"The conversation goes on with the answer of {model}.{others}")


# --- asking ---------------------------------------------------------------------------------------


def _begun(desk: Desk, words: Words, namespace: dict[str, Any]) -> tuple[Comparison, list[Asking]]:
    flags = words.flags
    models = models_of(flags)
    for key in _ALONE:
        if key in flags:
            name = key.replace("_", "-")
            raise UsageError(f"--{name} and several models do not go together.")
    if len(models) > _MOST_MODELS:
        raise UsageError(f"-m: at most {_MOST_MODELS} models answer side by side.")
    base = weighed(desk, replace(words, flags={**flags, "model": models[0]}), namespace)
    shared: dict[str, Any] = {"approve": "read", "tools": _reading(base, flags)}
    if "max_cost" in flags:
        budget = Budget(dollars(flags["max_cost"]), within=base.session.agent.budget)
        shared["budget"] = budget  # one limit for all of them together
    before = [] if "once" in flags else base.session.messages
    answers, askings = [], []
    for model in models:
        own = settings_of(desk, {**flags, "model": model}, base.session.agent)
        settings = {**base.settings, **own, **shared}
        beside = desk.aside(base.session, model, before)
        answer = _Answer(model, beside, settings)
        beside.bus.subscribe(beside.runs_topic, answer.runs.append)
        answers.append(answer)
        askings.append(replace(base, session=beside, settings=settings))
    desk.asked = tuple(answer.session for answer in answers)
    return Comparison(base.session, answers), askings


def _reading(base: Asking, flags: Mapping[str, Any]) -> tuple[Any, ...]:
    tools = base.settings.get("tools", base.session.agent.tools)
    if "tools" in flags and (others := [tool.name for tool in tools if tool.risk != "read"]):
        raise UsageError(
            f"-t {flags['tools']}: side by side, models may use tools that only read; "
            f"{', '.join(others)} may do more. Ask one model for that."
        )
    return tuple(tool for tool in tools if tool.risk == "read")


async def _all(answers: Sequence[_Answer], askings: Sequence[Asking], columns: Columns) -> None:
    try:
        await asyncio.gather(*map(_one, answers, askings))
    finally:
        columns.finish()


async def _one(answer: _Answer, asking: Asking) -> None:
    """Take one turn; what goes wrong with it stands in its column, and stops no other."""
    column = answer.column
    assert column is not None  # noqa: S101  # it was given one before this began
    transcript = column.transcript
    try:
        result = await run_cell(
            asking.session,
            asking.prompt.prompt,
            transcript=transcript,
            canvas=column,
            settings=dict(asking.settings),
        )
        answer.result = result
        answer.result = came_to(asking, result)
    except Exception as error:  # whatever fails in one, the others go on
        failure = error if isinstance(error, AlloyError) else AlloyError(_told(error))
        text = str(failure)
        if not any(isinstance(s, NoticeSegment) and s.text == text for s in transcript.segments):
            transcript.failed(text)
        if answer.result is None:
            answer.result = Result.unanswered(RunStatus.ERROR, text, exception=failure)
    finally:
        column.close()


def _told(error: Exception) -> str:
    return f"This answer could not be shown: {type(error).__name__}: {error}"


def _title(asking: Asking) -> str:
    provider = asking.settings["provider"]
    return f"{provider.name}/{provider.model}"


def _row(model: str, result: Result) -> dict[str, Any]:
    return {
        "model": model,
        "text": result.text,
        "output": result.output,
        "input_tokens": result.usage.input_tokens,
        "output_tokens": result.usage.output_tokens,
        "usd": None if result.cost.usd is None else float(result.cost.usd),
        "seconds": round(result.seconds, 3),
        "status": result.status.value,
        "error": result.error,
    }


# --- going on -------------------------------------------------------------------------------------


def _take(session: Session, answer: _Answer) -> None:
    kept = answer.session.results[-1]
    take(session, kept, new=answer.added, events=answer.events, model=answer.model)

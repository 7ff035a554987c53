"""One cell that asks: its words become a turn, the turn is drawn, its result is kept.

::

    Words ─▶ weighed ─▶ prepared ─▶ Asking ─▶ asked ─▶ came_to ─▶ Result
              │          └ the conversation, where it is to be asked    └ the value that was wanted
              └ settings of this turn, references, what the answer is to be
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from IPython.core.error import UsageError

from alloy_nb.engine.portal import run_sync
from alloy_nb.engine.run import Result
from alloy_nb.engine.sessions.cue import Cue, Replay
from alloy_nb.engine.sessions.session import Session
from alloy_nb.engine.window.compaction import window_of
from alloy_nb.errors import AlloyError, Interrupted
from alloy_nb.markup.alongside import form
from alloy_nb.markup.fragment import json_in
from alloy_nb.notebook.code import next_cell
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.drawing import answers
from alloy_nb.notebook.drawing.canvas import canvas_for
from alloy_nb.notebook.drawing.cards import publish_value
from alloy_nb.notebook.drawing.segments import Form, Look
from alloy_nb.notebook.drawing.transcript import Transcript
from alloy_nb.notebook.inputs import fresh
from alloy_nb.notebook.inputs.dial import KEY, Dial
from alloy_nb.notebook.inputs.fingerprint import fingerprint
from alloy_nb.notebook.inputs.references import Resolved
from alloy_nb.notebook.ledger import of_result
from alloy_nb.notebook.turns.cell import run_cell
from alloy_nb.notebook.turns.teams import addressed, with_tools
from alloy_nb.notebook.turns.turn_settings import settings_of
from alloy_nb.notebook.turns.typed import Typed, wanted
from alloy_nb.notebook.words import Words, variable_of
from alloy_nb.providers.base import Provider

__all__ = [
    "Asking",
    "asked",
    "by_panel",
    "came_to",
    "cue_of",
    "knows",
    "prepared",
    "show_value",
    "transcript_of",
    "weighed",
]

# What the model is told where its answer is to be more than words.
_FORMS: Mapping[Form, str] = {
    "text": "Answer in plain text, without any markup.",
    "code": "Answer with code alone, in one fenced block that runs as it is.",
    "html": "Answer with a fragment of HTML alone, without scripts, styles and pictures.",
    "json": "Answer with one JSON value alone, and nothing around it.",
    "math": "Answer with one formula in LaTeX alone, without delimiters around it.",
}


_USUAL = Look()

by_panel: ContextVar[Callable[[Asking], Result] | None] = ContextVar("alloy_by_panel", default=None)
"""What takes the turns of a command that was typed in a panel: they are drawn there."""


@dataclass(frozen=True, slots=True)
class Asking:
    """A turn that is about to begin.

    Args:
        session: What answers.
        prompt: The prompt with what its references mean.
        settings: Settings of `alloy_nb.run` that hold for this turn alone.
        output: The variable that the result goes into, if there is one.
        typed: What the answer is to be, where it is to be a value of a type.
        look: How much is shown of it, and as what.
    """

    session: Session
    prompt: Resolved
    settings: dict[str, Any]
    output: str | None = None
    typed: Typed | None = None
    look: Look = _USUAL


def weighed(desk: Desk, words: Words, namespace: dict[str, Any]) -> Asking:
    """Return what would be asked; nothing that was said before is changed, or sent.

    Raises:
        UsageError: A flag has a value that cannot be, or two do not go together.
    """
    flags = words.flags
    _check_together(flags)
    output = variable_of(flags)
    asks = addressed(desk, words, namespace)
    words, flags = asks.words, asks.words.flags
    session = asks.agent or desk.to_ask(flags.get("session"), replay=_replay(desk, flags) != "off")
    settings = settings_of(desk, flags, session.agent)
    if asks.tools:
        settings["tools"] = with_tools(settings.get("tools", session.agent.tools), asks.tools)
    typed = None
    if "as" in flags:
        names = tuple(tool.name for tool in settings.get("tools", session.agent.tools))
        typed = wanted(flags["as"], namespace, names)
        settings.update(typed.settings(session.agent, settings))
    dial = desk.data.of(session, flags.get("data"))
    settings["context"] = {**session.agent.context, KEY: dial}
    resolved = desk.data.resolved(session, words, namespace, dial)
    if asks.remark:
        resolved = replace(resolved, remarks=(asks.remark, *resolved.remarks))
    resolved = _with_along(resolved, words, dial)
    look = _look(flags)
    if look.form in _FORMS:
        told = form(look.form, _FORMS[look.form])
        resolved = replace(resolved, text=f"{resolved.text}\n\n{told}")
    return Asking(session, resolved, settings, output, typed, look)


def prepared(
    desk: Desk, words: Words, namespace: dict[str, Any], *, key: str | None = None
) -> Asking:
    """Return what is to be asked, with the conversation where it is to be asked.

    Args:
        desk: The notebook's.
        words: What was typed.
        namespace: The variables.
        key: Where it is asked from, for the journal; the default is the cell that runs, and
            nowhere for a panel.

    Raises:
        UsageError: A flag has a value that cannot be; nothing was changed or sent.
    """
    flags = words.flags
    asking = weighed(desk, words, namespace)
    session = asking.session
    if flags.get("once"):
        return replace(asking, session=desk.aside(session, "once"))
    place = _turn(flags["at"]) if "at" in flags else None
    if flags.get("new"):
        session.reset()
    if place is not None:
        session.rewind(place)
    if "fork" in flags:
        _go_to_branch(session, flags["fork"])
    replay = _replay(desk, flags)
    if key is None:
        key = words.key
    if key is None:
        key = desk.places.key() if by_panel.get() is None else ""
    cue = cue_of(desk, asking, replay=replay, key=key)
    return replace(asking, settings={**asking.settings, "cue": cue})


def asked(desk: Desk, asking: Asking) -> Result:
    """Take the turn, draw it, and return its result; blocks.

    Raises:
        Interrupted: The person stopped it; what was said is kept.
        AlloyError: It failed.
    """
    by = by_panel.get()
    if by is not None:
        return by(asking)
    session = asking.session
    transcript = transcript_of(desk, asking)
    canvas = canvas_for(transcript, desk.shell)
    before = len(session.results)
    desk.drawing, desk.asked = transcript, (session,)
    try:
        result = run_sync(
            run_cell(
                session,
                asking.prompt.prompt,
                transcript=transcript,
                canvas=canvas,
                settings=asking.settings,
                names=desk.names,
            )
        )
    except KeyboardInterrupt:
        _keep(desk, session.results[before:], asking.output, transcript)
        raise Interrupted("stopped") from None
    finally:
        desk.drawing = None
        desk.events[session.id] = transcript.events
        _count(desk, session, session.results[before:])
    knows(desk, session, result)
    _keep(desk, [result], asking.output, transcript)
    result = came_to(asking, result)
    if asking.typed is not None or result.output is not None:
        _keep(desk, [result], None, transcript)
    if asking.typed is not None and asking.output is not None:
        desk.shell.user_ns[asking.output] = result.output
    show_value(desk, asking, result)
    desk.inputs.remember(session, asking.prompt, result)
    return result


def _count(desk: Desk, session: Session, results: Sequence[Result]) -> None:
    """Note what an agent of a team was paid that the person asked by its name."""
    if session in desk.adopted:
        first = 1 + sum(entry.session == session.name for entry in desk.mapped)
        desk.mapped += [of_result(session.name, n, one) for n, one in enumerate(results, first)]


def came_to(asking: Asking, result: Result) -> Result:
    """Return what a turn came to, with the value that was asked for as its output.

    Raises:
        AlloyError: It failed, or it did not come to such a value.
    """
    if result.exception is not None and (not result.ok or result.turns == 0):
        raise result.exception
    if asking.typed is not None:
        return result.replace(output=asking.typed.value_of(result))
    if asking.look.form == "json":
        try:
            return result.replace(output=json_in(result.text))
        except ValueError as error:
            raise AlloyError(f"The answer is no JSON: {error}. It is shown as it came.") from None
    return result


def show_value(desk: Desk, asking: Asking, result: Result) -> None:
    """Show the value of a type below the answer; put code where it can be run."""
    if asking.typed is not None:
        publish_value(result.output)
    if asking.look.form == "code" and result.text.strip():
        blocks = next_cell.code_blocks(result.text)
        code = "\n\n".join(block.code.rstrip("\n") for block in blocks) or result.text
        next_cell.offer(desk.shell, code)


# --- what holds for this turn -------------------------------------------------------------------


def _check_together(flags: Mapping[str, Any]) -> None:
    for one, others in _APART.items():
        for other in others:
            if one in flags and other in flags:
                names = " and ".join(f"--{key.replace('_', '-')}" for key in (one, other))
                raise UsageError(f"{names} do not go together: leave one of them out.")


# Flags of which only one can be meant.
_APART: Mapping[str, tuple[str, ...]] = {
    "once": ("new", "fork", "at", "replay", "replay_only", "fresh"),
    "new": ("fork", "at"),
    "fork": ("at",),
    "quiet": ("verbose",),
    "as": ("format", "replay_only"),
}


def _with_along(resolved: Resolved, words: Words, dial: Dial) -> Resolved:
    """Return a prompt with what went along when it was asked before, as far as the dial allows."""
    if not words.along:
        return resolved
    if dial.level != "full":  # nobody knows any more at which level it was made
        remark = f"What was attached then was not sent again (--data {dial}): attach it anew."
        return replace(resolved, remarks=(*resolved.remarks, remark))
    return replace(resolved, media=(*resolved.media, *words.along))


def _look(flags: Mapping[str, Any]) -> Look:
    form = flags.get("format", "md")
    if "quiet" in flags:
        return Look("quiet", form)
    return Look("verbose" if "verbose" in flags else "normal", form)


def _go_to_branch(session: Session, name: str) -> None:
    """Go on with a branch; a cell that runs again finds the one that it began."""
    if session.journal is not None and name in session.journal.branches():
        session.use_branch(name)
    else:
        session.fork(name)


def cue_of(desk: Desk, asking: Asking, *, replay: Replay, key: str) -> Cue | None:
    """Return where a turn is asked from, for the journal."""
    session = asking.session
    if session.journal is None:
        if replay == "only":
            raise UsageError("--replay-only needs the journal: %config Alloy.journal = 'on'")
        return None
    return Cue(
        key=key,
        references=fingerprint(asking.prompt.names, asking.prompt.values),
        replay=replay,
        note=_of_the_kernel(desk, asking) if session.id in desk.aged else "",
    )


def _of_the_kernel(desk: Desk, asking: Asking) -> str:
    """Return what the model is told of a kernel that is new; which names are gone is the dial's."""
    is_told = Dial.of(asking.settings.get("context", {})).level != "none"
    return fresh.note(desk.lost(asking.session) if is_told else [])


def _replay(desk: Desk, flags: dict[str, Any]) -> Replay:
    wanted = [name for name in ("fresh", "replay", "replay_only") if flags.get(name)]
    if len(wanted) > 1:
        raise UsageError("--fresh, --replay and --replay-only: give one of them.")
    if "replay_only" in wanted:
        return "only"
    return "on" if "replay" in wanted or (desk.settings.replay and not wanted) else "off"


def _turn(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--at {text}: give the number of a turn; %alloy context lists them.")
    return int(text)


# --- drawing and keeping ------------------------------------------------------------------------


def transcript_of(desk: Desk, asking: Asking) -> Transcript:
    """Return what the turn is folded into, with what is said before it."""
    answering: Provider = asking.settings.get("provider") or asking.session.provider
    transcript = Transcript(
        window_of(answering), getattr(answering, "label", None), total=asking.session.cost
    )
    transcript.look = asking.look
    for text in desk.said:
        transcript.notice("info", text)
    desk.said.clear()
    if asking.prompt.unknown:
        transcript.notice("info", _unknown_names(asking.prompt.unknown))
    before = desk.data.noted(asking.session, Dial.of(asking.settings.get("context", {})))
    for remark in (*asking.prompt.remarks, *filter(None, [before])):
        transcript.notice("info", remark)
    return transcript


def _keep(desk: Desk, results: list[Result], output: str | None, transcript: Transcript) -> None:
    for result in results:
        answers.drawn(result, transcript)
        if output is not None:
            desk.shell.user_ns[output] = result


def knows(desk: Desk, session: Session, result: Result) -> None:
    """Note whether the model knows by now that the kernel is new."""
    if "replayed" in result.metadata:
        desk.aged.add(session.id)
    elif result.turns:
        desk.aged.discard(session.id)


def _unknown_names(names: tuple[str, ...]) -> str:
    listed = ", ".join(f"@{name}" for name in names)
    return f"{listed}: no such variable; sent as text"

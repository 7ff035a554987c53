"""One cell that asks: its words become a turn, the turn is drawn, its result is kept.

::

    Words ─▶ prepared ─▶ Asking ─▶ asked ─▶ Result
              │ settings of this turn, references, where it is asked from
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from keyword import iskeyword
from typing import Any

from IPython.core.error import UsageError

from alloy_nb.engine.budget import Budget
from alloy_nb.engine.portal import run_sync
from alloy_nb.engine.run import Result
from alloy_nb.engine.sessions.cue import Cue, Replay
from alloy_nb.engine.sessions.session import Session
from alloy_nb.engine.skills import from_words
from alloy_nb.engine.window.compaction import window_of
from alloy_nb.errors import Interrupted
from alloy_nb.notebook import answers, fresh
from alloy_nb.notebook.approval import asker
from alloy_nb.notebook.canvas import canvas_for
from alloy_nb.notebook.cell import run_cell
from alloy_nb.notebook.desk import Desk, provider_at
from alloy_nb.notebook.fingerprint import fingerprint
from alloy_nb.notebook.references import Resolved, resolve
from alloy_nb.notebook.transcript import Transcript
from alloy_nb.notebook.words import Words
from alloy_nb.providers import split_effort
from alloy_nb.providers.base import Provider

__all__ = ["Asking", "asked", "prepared"]


@dataclass(frozen=True, slots=True)
class Asking:
    """A turn that is about to begin.

    Args:
        session: What answers.
        prompt: The prompt with what its references mean.
        settings: Settings of `alloy_nb.run` that hold for this turn alone.
        output: The variable that the result goes into, if there is one.
    """

    session: Session
    prompt: Resolved
    settings: dict[str, Any]
    output: str | None = None


def prepared(desk: Desk, words: Words, namespace: dict[str, Any]) -> Asking:
    """Return what is to be asked.

    Raises:
        UsageError: A flag has a value that cannot be; nothing was changed or sent.
    """
    flags = words.flags
    output = _name(flags.get("output"))
    replay = _replay(desk, flags)
    session = desk.session(flags.get("session"), replay=replay != "off")
    settings = _settings(desk, flags, session)
    resolved = resolve(from_words(words.prompt) or words.prompt, namespace)
    if flags.get("new"):
        session.reset()
    if "at" in flags:
        session.rewind(_turn(flags["at"]))
    settings["cue"] = _cue(desk, session, resolved, namespace, replay)
    return Asking(session, resolved, settings, output)


def asked(desk: Desk, asking: Asking) -> Result:
    """Take the turn, draw it, and return its result; blocks.

    Raises:
        Interrupted: The person stopped it; what was said is kept.
        AlloyError: It failed.
    """
    session = asking.session
    transcript = _transcript(desk, asking)
    canvas = canvas_for(transcript, desk.shell)
    before = len(session.results)
    desk.drawing = transcript
    try:
        result = run_sync(
            run_cell(
                session,
                asking.prompt.text,
                transcript=transcript,
                canvas=canvas,
                settings=asking.settings,
            )
        )
    except KeyboardInterrupt:
        _keep(desk, session.results[before:], asking.output, transcript)
        raise Interrupted("stopped") from None
    finally:
        desk.drawing = None
    _knows(desk, session, result)
    _keep(desk, [result], asking.output, transcript)
    if result.exception is not None and (not result.ok or result.turns == 0):
        raise result.exception
    return result


# --- what holds for this turn -------------------------------------------------------------------


def _settings(desk: Desk, flags: dict[str, Any], session: Session) -> dict[str, Any]:
    settings: dict[str, Any] = {"approve": asker(flags.get("approve") or desk.settings.approve)}
    if "model" in flags or "base_url" in flags:
        model, effort = split_effort(flags.get("model") or desk.settings.model)
        settings["provider"] = provider_at(model, flags.get("base_url"))
        if effort:
            settings["effort"] = effort
    if "think" in flags:
        settings["effort"] = flags["think"]
    if "max_cost" in flags:
        settings["budget"] = Budget(_dollars(flags["max_cost"]), within=session.agent.budget)
    return settings


def _cue(
    desk: Desk, session: Session, resolved: Resolved, namespace: dict[str, Any], replay: Replay
) -> Cue | None:
    if session.journal is None:
        if replay == "only":
            raise UsageError("--replay-only needs the journal: %config Alloy.journal = 'on'")
        return None
    return Cue(
        key=desk.places.key(),
        references=fingerprint(resolved.names, namespace),
        replay=replay,
        note=fresh.note(desk.lost(session)) if session.id in desk.aged else "",
    )


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


def _name(output: str | None) -> str | None:
    if output is not None and (not output.isidentifier() or iskeyword(output)):
        raise UsageError(f"-o {output}: a result goes into a variable, and this is no name.")
    return output


def _dollars(text: str) -> Decimal:
    try:
        return Decimal(text.lstrip("$"))
    except InvalidOperation:
        raise UsageError(f"--max-cost {text}: give US dollars, such as 0.50.") from None


# --- drawing and keeping ------------------------------------------------------------------------


def _transcript(desk: Desk, asking: Asking) -> Transcript:
    answering: Provider = asking.settings.get("provider") or asking.session.provider
    transcript = Transcript(
        window_of(answering), getattr(answering, "label", None), total=asking.session.cost
    )
    for text in desk.said:
        transcript.notice("info", text)
    desk.said.clear()
    if asking.prompt.unknown:
        transcript.notice("info", _unknown_names(asking.prompt.unknown))
    return transcript


def _keep(desk: Desk, results: list[Result], output: str | None, transcript: Transcript) -> None:
    for result in results:
        answers.drawn(result, transcript)
        if output is not None:
            desk.shell.user_ns[output] = result


def _knows(desk: Desk, session: Session, result: Result) -> None:
    """Note whether the model knows by now that the kernel is new."""
    if "replayed" in result.metadata:
        desk.aged.add(session.id)
    elif result.turns:
        desk.aged.discard(session.id)


def _unknown_names(names: tuple[str, ...]) -> str:
    listed = ", ".join(f"@{name}" for name in names)
    return f"{listed}: no such variable; sent as text"

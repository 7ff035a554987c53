"""A turn that was asked before, shown again: nothing is sent, no tool runs, nothing is paid.

It is the turn of the journal whose prompt, references, model, settings and history are the same,
and that was answered to its end. Its events are logged anew with the times of then, so that a face
draws the same; only what it cost is nothing now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from alloy_nb.engine.agent import Agent
from alloy_nb.engine.journal import Journal, Kept
from alloy_nb.engine.run import Result, Run, RunStatus, ToolRecord
from alloy_nb.engine.sessions.cue import Cue, deciding, model_of
from alloy_nb.engine.sessions.history import view_of
from alloy_nb.engine.structured import Structured
from alloy_nb.errors import SessionError
from alloy_nb.events import Event, RunFinished, ToolFinished, TurnFinished
from alloy_nb.messages import Message
from alloy_nb.usage import Cost, Usage

__all__ = ["again"]

_WORDS = {"status": "it was not answered to the end", "history": "the conversation before it"}


def again(
    journal: Journal, agent: Agent, said: Message | None, *, cue: Cue, history: Sequence[Message]
) -> Run | None:
    """Return the run of an earlier answer to just this, or ``None`` where it is to be asked.

    The journal goes on from there.

    Raises:
        SessionError: It may only be replayed, and cannot be.
    """
    if cue.replay == "off" or said is None or isinstance(agent.until_tool, Structured):
        return None
    found = journal.find(
        said,
        model=model_of(agent),
        settings=deciding(agent),
        references=cue.references,
        key=cue.key,
    )
    if found.turn is None:
        if cue.replay == "only":
            raise SessionError(_missed(found.differs))
        return None
    events = journal.events(found.turn.id)
    kept = journal.replay(found.turn.id)
    run = Run(agent=agent.name, context=agent.context)
    run.replays = kept.id
    run.steering.close()  # there is nobody to hear it
    return run.start(_played(run, journal, kept, events=events, history=history))


async def _played(
    run: Run, journal: Journal, kept: Kept, *, events: Sequence[Event], history: Sequence[Message]
) -> Result:
    seconds, records, tokens = 0.0, list[ToolRecord](), None
    for event in events:
        body = event.body
        match body:
            case RunFinished():
                seconds = body.seconds
                body = replace(body, usage=Usage(), cost=Cost())
            case TurnFinished():
                tokens = body.usage.total_tokens
            case ToolFinished(call, result, took, data):
                error = result.text if result.is_error else None
                records.append(ToolRecord(call.id, call.name, call.input, took, error, data))
        run.repeat(event, body)
    answer = next((m for m in reversed(kept.messages) if m.role == "assistant"), None)
    metadata = {"replayed": kept.id, "run": {"compactions": 0}}
    return Result(
        text=answer.text if answer else "",
        thinking=answer.thinking if answer else "",
        messages=[*history, *kept.messages],
        usage=Usage(),
        cost=Cost(),
        tool_calls=records,
        status=RunStatus.COMPLETED,
        turns=run.turn,
        seconds=seconds,
        stop_reason=answer.stop if answer else None,
        view=view_of(journal),
        metadata=metadata if tokens is None else {**metadata, "context_tokens": tokens},
    )


def _missed(differs: Sequence[str]) -> str:
    if not differs:
        why = "it was never asked here"
    else:
        why = "not the same as then: " + ", ".join(_WORDS.get(name, name) for name in differs)
    return (
        f"Nothing was asked, because only a replay is allowed, and the journal has none: {why}. "
        "Ask it with --fresh."
    )

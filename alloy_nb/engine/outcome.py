"""What a run came to, as its caller sees it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from alloy_nb.engine.run import Result, Run, RunStatus, ToolRecord
from alloy_nb.errors import AlloyError, ProviderError
from alloy_nb.events import ToolFinished, ToolStarted
from alloy_nb.messages import Message, Opaque, Text, ToolCall

if TYPE_CHECKING:
    from alloy_nb.engine.loop import State

__all__ = ["numbered", "result_of"]


def result_of(state: State, status: RunStatus, error: AlloyError | None = None) -> Result:
    """Return the outcome of a run."""
    answer = _last_answer(state.talk.messages[state.first_new :])
    request_id = state.agent.context.get("request_id")
    return Result(
        text=answer.text if answer else "",
        thinking=answer.thinking if answer else "",
        messages=list(state.talk.messages),
        usage=state.spending.usage,
        cost=state.spending.cost,
        tool_calls=list(state.records),
        status=status,
        turns=state.run.turn,
        seconds=time.monotonic() - state.started,
        error=str(error) if error is not None else None,
        stop_reason=state.reply.stop if state.reply is not None else None,
        exception=error,
        output=state.answer.value if state.answer is not None else None,
        request_id=None if request_id is None else str(request_id),
        view=state.talk.view,
        metadata=_metadata(state, answer, error),
    )


def numbered(records: list[ToolRecord], run: Run, seen: int) -> Iterable[ToolRecord]:
    """Return the records with the numbers of their events, which came after the first `seen`."""
    numbers: dict[tuple[type, str], list[int]] = {}
    for event in run.events[seen:]:
        body = event.body
        if type(body) is ToolStarted or type(body) is ToolFinished:
            numbers.setdefault((type(body), body.call.id), []).append(event.seq)
    for record in records:
        started = numbers.get((ToolStarted, record.id))
        finished = numbers.get((ToolFinished, record.id))
        yield replace(
            record,
            start_event_seq=started.pop(0) if started else None,
            end_event_seq=finished.pop(0) if finished else None,
            correlation_id=run.correlation_id,
        )


def _last_answer(messages: list[Message]) -> Message | None:
    return next((m for m in reversed(messages) if m.role == "assistant"), None)


def _metadata(state: State, answer: Message | None, error: AlloyError | None) -> dict[str, Any]:
    metadata: dict[str, Any] = {"run": _on_the_way(state, error)}
    if state.state:
        metadata["provider_state"] = state.state
    if answer is not None and (told := _told_by_vendor(answer)):
        metadata["provider_response"] = told
    usage = state.reply.usage if state.reply is not None else None
    if usage is not None:
        metadata["context_tokens"] = usage.total_tokens
    return metadata


def _on_the_way(state: State, error: AlloyError | None) -> dict[str, Any]:
    told: dict[str, Any] = {
        "compactions": state.compactor.count,
        "context_overflow_recovered": state.recoveries > 0,
    }
    if isinstance(error, ProviderError):
        told["error"] = {
            "kind": type(error).__name__,
            "status": error.status,
            "provider": error.provider,
            "model": error.model,
            "request_id": error.request_id,
            "retry_after": error.retry_after,
        }
    return told


def _told_by_vendor(answer: Message) -> dict[str, Any]:
    """Return what the vendor added to an answer: its sources, and what it ran itself."""
    citations = [c for b in answer.content if isinstance(b, Text) for c in b.citations]
    used: dict[str, int] = {}
    for block in answer.content:
        if isinstance(block, ToolCall) and block.server:
            used[block.name] = used.get(block.name, 0) + 1
    others = [block.raw for block in answer.content if isinstance(block, Opaque)]
    told = {"citations": citations, "server_side_tool_usage": used, "blocks": others}
    return {name: value for name, value in told.items() if value}

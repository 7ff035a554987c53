"""Request, stream, tools, again. Nothing else.

One turn is one whole reply of the model. The order of a turn: the limit on turns, the budget, the
request, the reply, the tools it asks for. What happens around each step has a home of its own:
retries in `retry`, money in `budget`, tools in `executor`, wrapping in `middleware`.

However a run ends, its history can be sent again: what had arrived of a cut reply is kept and
marked, and every call has exactly one result.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from alloy_nb.engine.budget import RESERVED_OUTPUT, worst_case
from alloy_nb.engine.executor import Executor
from alloy_nb.engine.middleware import around_model, around_run
from alloy_nb.engine.retry import RetryingStream, close
from alloy_nb.engine.run import Result, Run, RunStatus, ToolRecord
from alloy_nb.engine.tool import ToolContext
from alloy_nb.errors import (
    AlloyError,
    BudgetExceeded,
    ConfigError,
    Halted,
    ProviderError,
    TimedOut,
)
from alloy_nb.events import (
    BudgetWarned,
    ModelEvent,
    RunFinished,
    RunStarted,
    TextDelta,
    ThinkingDelta,
    TurnFinished,
    TurnStarted,
)
from alloy_nb.messages import Message, StopReason, Text, ToolCall, ToolResult
from alloy_nb.providers import catalog
from alloy_nb.providers.base import ModelRequest, Provider, ToolSpec
from alloy_nb.providers.fold import Reply, ReplyBuilder
from alloy_nb.usage import Cost, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from alloy_nb.engine.agent import Agent

__all__ = ["drive"]

log = logging.getLogger("alloy_nb")

_WARN_AT = Decimal("0.8")
# Why no call of a reply runs that was ended from outside, for the person.
_CUT = {
    StopReason.MAX_TOKENS: "The answer reached its limit of output in the middle of a tool call, "
    "so the call did not run. Raise max_output_tokens, or ask for less at once.",
    StopReason.REFUSAL: "The vendor's filter ended the answer in the middle of a tool call, so the "
    "call did not run. Ask in other words.",
}
# A vendor that pauses a long turn wants the same history again; more than this is no pause.
_PAUSES = 8


@dataclass(slots=True)
class _State:
    """What a run has come to so far."""

    run: Run
    agent: Agent
    messages: list[Message]
    memory: dict[Any, Any]
    first_new: int
    started: float
    deadline: float | None
    tools: tuple[ToolSpec, ...]
    usage: Usage = field(default_factory=Usage)
    cost: Cost = field(default_factory=Cost)
    records: list[ToolRecord] = field(default_factory=list)
    stop: StopReason | None = None
    last_usage: Usage | None = None
    state: dict[str, Any] | None = None
    pauses: int = 0
    warned: bool = False


async def drive(
    run: Run,
    agent: Agent,
    *,
    history: list[Message],
    prompt: Message | None,
    memory: dict[Any, Any],
    provider_state: Mapping[str, Any] | None = None,
) -> Result:
    """Run an agent to its end and return the outcome; failures are outcomes too.

    Args:
        run: Where events go.
        agent: The settings.
        history: The conversation before; it is not changed.
        prompt: What the user says now, or ``None`` to continue the history as it is.
        memory: Where wires keep what they have encoded of this conversation.
        provider_state: What the newest reply of the history left for the next request.
    """
    messages = [*history, prompt] if prompt is not None else list(history)
    started = time.monotonic()
    state = _State(
        run=run,
        agent=agent,
        messages=messages,
        memory=memory,
        first_new=len(history),
        started=started,
        deadline=None if agent.timeout is None else started + agent.timeout,
        tools=agent.tool_specs,
        state=dict(provider_state) if provider_state else None,
    )
    run.emit(RunStarted(prompt, agent.provider.name, agent.provider.model))

    async def core(_run: Run) -> Result:
        return _result(state, await _turns(state))

    try:
        result = await around_run(agent.middleware, core)(run)
    except asyncio.CancelledError:
        result = _result(state, RunStatus.CANCELLED)
    except Halted as error:
        result = _result(state, RunStatus.HALTED, error)
    except BudgetExceeded as error:
        result = _result(state, RunStatus.BUDGET_EXCEEDED, error)
    except AlloyError as error:
        result = _result(state, RunStatus.ERROR, error)
    except Exception as error:  # a fault of ours or of a middleware ends the run, not the kernel
        log.exception("A run failed")
        text = f"The run failed inside: {type(error).__name__}: {error}"
        result = _result(state, RunStatus.ERROR, AlloyError(text))
    run.emit(RunFinished(result.status, result.usage, result.cost, result.seconds, result.error))
    return result


async def _turns(state: _State) -> RunStatus:
    """Take turns until the model has nothing more to do, or a limit is reached."""
    while True:
        if state.run.turn >= state.agent.max_turns:
            return RunStatus.MAX_TURNS
        _check_time(state)
        reply = await _ask(state)
        calls = reply.message.tool_calls
        if not calls and reply.stop is StopReason.PAUSE and state.pauses < _PAUSES:
            state.pauses += 1
            continue
        if not calls:
            return RunStatus.COMPLETED
        if reply.stop in _CUT:
            # The last call may lack a part that its JSON does not show: none of them runs.
            _append_results(state, [_cut(call) for call in calls])
            raise ProviderError(
                _CUT[reply.stop],
                provider=state.agent.provider.name,
                model=state.agent.provider.model,
            )
        await _run_tools(state, reply)


def _check_time(state: _State) -> None:
    if state.deadline is not None and time.monotonic() >= state.deadline:
        raise TimedOut(
            f"The run did not finish within its {state.agent.timeout:g} seconds. Raise timeout=, "
            "or ask for less.",
            provider=state.agent.provider.name,
            model=state.agent.provider.model,
        )


# --- one request --------------------------------------------------------------------------------


async def _ask(state: _State) -> Reply:
    """Send the history and fold the reply into it; what arrived of a cut one is kept."""
    agent, run = state.agent, state.run
    request = _request(state)
    reserved = _reserve(state, request)
    run.turn += 1
    began = time.monotonic()
    run.emit(TurnStarted(agent.provider.name, agent.provider.model))
    attempts: list[RetryingStream] = []

    def opened(wrapped: ModelRequest) -> AsyncIterator[ModelEvent]:
        providers = (agent.provider, *agent.fallback_providers)
        stream = RetryingStream(providers, wrapped, policy=agent.retry, announce=run.emit)
        attempts.append(stream)
        return stream

    builder = ReplyBuilder(provider=agent.provider.name, model=agent.provider.model)
    cost = Cost.unknown()
    try:
        first = await _consume(around_model(agent.middleware, opened)(request), builder, run, began)
        answering = attempts[-1].provider if attempts else agent.provider
        reply = builder.done(provider=answering.name, model=answering.model)
        cost = price(answering, reply.usage)
    except BaseException as error:
        answering = attempts[-1].provider if attempts else agent.provider
        partial = builder.partial(provider=answering.name, model=answering.model)
        if partial is not None:
            state.messages.append(partial)
        if isinstance(error, ProviderError):
            error.partial = partial
        if not attempts or _is_unbilled(error, builder):
            cost = Cost()
        _count(state, builder.usage, price(answering, builder.usage), sent=builder.has_output)
        raise
    finally:
        if agent.budget is not None:
            agent.budget.settle(reserved, cost)
        for attempt in attempts:
            # A middleware that stopped in the middle has not closed what it wrapped.
            await attempt.aclose()
    state.messages.append(reply.message)
    state.stop, state.state, state.last_usage = reply.stop, reply.state, reply.usage
    _count(state, reply.usage, cost, sent=True)
    usage = reply.usage or Usage(unreported=1)
    run.emit(TurnFinished(reply.message, usage, cost, time.monotonic() - began, first))
    _warn(state)
    if reply.stop is StopReason.REFUSAL and not (reply.message.text or reply.message.tool_calls):
        raise ProviderError(
            f"{answering.model} refused to answer. Ask in other words.",
            provider=answering.name,
            model=answering.model,
        )
    return reply


def _is_unbilled(error: BaseException, builder: ReplyBuilder) -> bool:
    """Tell whether a request was refused, or never sent: then it used nothing of a budget.

    One that timed out or was stopped may be billed all the same.
    """
    refused = isinstance(error, (ProviderError, ConfigError)) and not isinstance(error, TimedOut)
    return refused and not builder.has_output and builder.usage is None


async def _consume(
    stream: AsyncIterator[ModelEvent], builder: ReplyBuilder, run: Run, began: float
) -> float | None:
    """Fold and emit every event; return the seconds until the first word."""
    feed, emit = builder.feed, run.emit
    first: float | None = None
    try:
        async for event in stream:
            feed(event)
            emit(event)
            if first is None and isinstance(event, (TextDelta, ThinkingDelta)):
                first = time.monotonic() - began
                # Whoever shows the first word may be waiting for this thread to pause.
                time.sleep(0)  # noqa: ASYNC251  # gives up the interpreter, not the time
    finally:
        await close(stream)
    return first


def _request(state: _State) -> ModelRequest:
    agent = state.agent
    options = agent.options
    if agent.budget is not None and options.max_output_tokens is None:
        # Without a limit on output a reply has no worst case, and the budget could not be held.
        options = replace(options, max_output_tokens=RESERVED_OUTPUT)
    return ModelRequest(
        messages=state.messages,
        system=agent.system_prompt,
        tools=state.tools,
        options=options,
        deadline=state.deadline,
        state=state.state,
        memory=state.memory,
    )


# --- money --------------------------------------------------------------------------------------


def price(provider: Provider, usage: Usage | None) -> Cost:
    """Return what a reply of this provider cost."""
    stated = getattr(provider, "cost", None)
    if stated is not None:
        cost: Cost = stated(usage)
        return cost
    return catalog.cost(provider.name, provider.model, usage)


def _reserve(state: _State, request: ModelRequest) -> Decimal:
    budget = state.agent.budget
    if budget is None:
        return Decimal(0)
    # Any of them may be the one that answers.
    providers = (state.agent.provider, *state.agent.fallback_providers)
    amount = max(worst_case(provider, request) for provider in providers)
    budget.reserve(amount)
    return amount


def _count(state: _State, usage: Usage | None, cost: Cost, *, sent: bool) -> None:
    if usage is None and not sent:
        return  # the request failed before anything was said; nobody bills that
    state.usage += usage or Usage(unreported=1)
    state.cost += cost


def _warn(state: _State) -> None:
    budget = state.agent.budget
    if budget is None or state.warned or budget.limit == 0:
        return
    if budget.spent >= budget.limit * _WARN_AT:
        state.warned = True
        state.run.emit(BudgetWarned(budget.spent, budget.limit))


# --- tools --------------------------------------------------------------------------------------


async def _run_tools(state: _State, reply: Reply) -> None:
    """Run the calls of a reply; their results are in the history also when this is cancelled."""
    agent = state.agent
    executor = Executor(
        agent.tools_by_name,
        approve=agent.approver,
        context=ToolContext(
            working_directory=agent.working_directory,
            allowed_paths=agent.allowed_paths,
            values=agent.context,
        ),
        timeout=agent.tool_timeout,
        deadline=state.deadline,
        middleware=agent.middleware,
        run=state.run,
    )
    try:
        await executor.execute(reply.message.tool_calls)
    finally:
        _append_results(state, executor.results())
        state.records.extend(executor.records())


def _append_results(state: _State, results: list[ToolResult]) -> None:
    state.messages.append(Message(role="user", content=tuple(results)))


def _cut(call: ToolCall) -> ToolResult:
    text = "The reply was cut before its end, so this call did not run."
    return ToolResult(call_id=call.id, name=call.name, content=(Text(text=text),), is_error=True)


# --- the outcome --------------------------------------------------------------------------------


def _result(state: _State, status: RunStatus, error: AlloyError | None = None) -> Result:
    answer = _last_answer(state.messages[state.first_new :])
    metadata: dict[str, Any] = {}
    if state.state:
        metadata["provider_state"] = state.state
    if state.last_usage is not None:
        metadata["context_tokens"] = state.last_usage.total_tokens
    return Result(
        text=answer.text if answer else "",
        thinking=answer.thinking if answer else "",
        messages=list(state.messages),
        usage=state.usage,
        cost=state.cost,
        tool_calls=list(state.records),
        status=status,
        turns=state.run.turn,
        seconds=time.monotonic() - state.started,
        error=str(error) if error is not None else None,
        stop_reason=state.stop,
        exception=error,
        metadata=metadata,
    )


def _last_answer(messages: list[Message]) -> Message | None:
    return next((m for m in reversed(messages) if m.role == "assistant"), None)

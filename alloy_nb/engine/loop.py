"""Request, stream, tools, again. Nothing else.

One turn is one whole reply of the model. The order of a turn: the limit on turns, the time, the
budget, the length of the conversation, the request, the reply, the tools it asks for. What happens
around each step has a home of its own: retries in `retry`, money in `budget`, a conversation that
grows too long in `compactor`, tools in `executor`, wrapping in `middleware`.

However a run ends, its history can be sent again: what had arrived of a cut reply is kept and
marked, and every call has exactly one result.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from alloy_nb.engine import delegation
from alloy_nb.engine.budget import RESERVED_OUTPUT, Spending
from alloy_nb.engine.calls.executor import Executor
from alloy_nb.engine.calls.tool import ToolContext
from alloy_nb.engine.middleware.base import around_model, around_run
from alloy_nb.engine.middleware.logs import log
from alloy_nb.engine.outcome import numbered, result_of
from alloy_nb.engine.repetition import Repetition
from alloy_nb.engine.retry import RetryingStream, close
from alloy_nb.engine.run import Result, Run, RunStatus, ToolRecord
from alloy_nb.engine.structured import Answer, Structured, reminder
from alloy_nb.engine.window.compactor import Compactor
from alloy_nb.engine.window.conversation import Conversation, View
from alloy_nb.errors import (
    AlloyError,
    BudgetExceeded,
    ContextOverflow,
    Halted,
    ProviderError,
    TimedOut,
)
from alloy_nb.events import (
    BudgetWarned,
    ModelEvent,
    RunFinished,
    RunStarted,
    Steered,
    TextDelta,
    ThinkingDelta,
    TurnFinished,
    TurnStarted,
)
from alloy_nb.messages import Block, Message, StopReason, Text, ToolCall, ToolResult, user
from alloy_nb.providers.base import ModelRequest, ToolSpec
from alloy_nb.providers.fold import Reply, ReplyBuilder
from alloy_nb.usage import Usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Mapping

    from alloy_nb.engine.agent import Agent

__all__ = ["drive"]

_WARN_AT = Decimal("0.8")
# Why no call of a reply runs that was ended from outside, for the person.
_CUT = {
    StopReason.MAX_TOKENS: "The answer reached its limit of output in the middle of a tool call, "
    "so the call did not run. Raise max_output_tokens, or ask for less at once.",
    StopReason.REFUSAL: "The vendor's filter ended the answer in the middle of a tool call, so the "
    "call did not run. Ask in other words.",
}
_CUT_CALL = "The reply was cut before its end, so this call did not run."
# Seconds that the transport has to end a late reply by itself.
_GRACE = 0.5
# A vendor that pauses a long turn wants the same history again; more than this is no pause.
_PAUSES = 8


@dataclass(slots=True)
class State:
    """What a run has come to so far; `talk` is its conversation."""

    run: Run
    agent: Agent
    talk: Conversation
    spending: Spending
    compactor: Compactor
    first_new: int
    started: float
    deadline: float | None
    system: str | None
    tools: tuple[ToolSpec, ...]
    answer: Answer | None
    records: list[ToolRecord] = field(default_factory=list)
    reply: Reply | None = None
    state: dict[str, Any] | None = None
    repetition: Repetition = field(default_factory=Repetition)
    pauses: int = 0
    warned: bool = False
    recovered: bool = False
    """Whether this turn is the second try after the conversation was too long."""
    recoveries: int = 0


async def drive(
    run: Run,
    agent: Agent,
    *,
    history: list[Message],
    prompt: Message | None,
    memory: dict[Any, Any],
    provider_state: Mapping[str, Any] | None = None,
    view: View | None = None,
) -> Result:
    """Run an agent to its end and return the outcome; failures are outcomes too.

    Args:
        run: Where events go.
        agent: The settings.
        history: The conversation before; it is not changed.
        prompt: What the user says now, or ``None`` to continue the history as it is.
        memory: Where wires keep what they have encoded of this conversation.
        provider_state: What the newest reply of the history left for the next request.
        view: What is sent in the place of the first part of the history.
    """
    frame = delegation.enter(run, agent)
    agent = frame.agent
    state = _begun(run, agent, Conversation(history, view, memory))
    state.state = dict(provider_state) if provider_state else None
    if prompt is not None:
        state.talk.append(prompt)
    name, model = agent.provider.name, agent.provider.model
    run.emit(RunStarted(prompt, name, model, run.correlation_id))

    async def core(_run: Run) -> Result:
        return result_of(state, await _turns(state))

    try:
        result = await around_run(agent.middleware, core)(run)
    except asyncio.CancelledError:
        result = result_of(state, RunStatus.CANCELLED)
    except Halted as error:
        result = result_of(state, RunStatus.HALTED, error)
    except BudgetExceeded as error:
        result = result_of(state, RunStatus.BUDGET_EXCEEDED, error)
    except AlloyError as error:
        result = result_of(state, RunStatus.ERROR, error)
    except Exception as error:  # a fault of ours or of a middleware ends the run, not the kernel
        log.exception("A run failed")
        text = f"The run failed inside: {type(error).__name__}: {error}"
        result = result_of(state, RunStatus.ERROR, AlloyError(text))
    result = frame.roll_up(result)
    run.emit(RunFinished(result.status, result.usage, result.cost, result.seconds, result.error))
    frame.leave()
    return result


def _begun(run: Run, agent: Agent, talk: Conversation) -> State:
    started = time.monotonic()
    deadline = None if agent.timeout is None else started + agent.timeout
    spending = Spending(agent.budget, agent.unknown_price)
    wanted, system, tools = agent.until_tool, agent.instructions, agent.tool_specs
    answer = Answer(wanted) if isinstance(wanted, Structured) else None
    if answer is not None:
        tools = (*tools, answer.spec)
    talk.measured.fix((agent.tools, system, wanted), system, tools)
    return State(
        run=run,
        agent=agent,
        talk=talk,
        spending=spending,
        compactor=Compactor(agent, talk, spending, run, deadline),
        first_new=len(talk.messages),
        started=started,
        deadline=deadline,
        system=system,
        tools=tools,
        answer=answer,
    )


async def _turns(state: State) -> RunStatus:
    """Take turns until the model has nothing more to do, or a limit is reached."""
    while True:
        if state.run.turn >= state.agent.max_turns:
            return RunStatus.MAX_TURNS
        _check_time(state)
        if state.agent.budget is not None:
            state.agent.budget.check()
        if state.compactor.is_due():
            await _shorten(state)
        try:
            reply = await _ask(state)
        except ContextOverflow as error:
            await _recover(state, error)
            continue
        state.recovered = False
        calls = reply.message.tool_calls
        if not calls and reply.stop is StopReason.PAUSE and state.pauses < _PAUSES:
            state.pauses += 1
            continue
        if not calls:
            # A model that refuses is not asked again and again.
            owed = None if reply.stop is StopReason.REFUSAL else _owed(state)
            if not (_hear(state, last=owed is None) or _remind(state, owed)):
                return RunStatus.COMPLETED
            continue
        if reply.stop in _CUT:
            # The last call may lack a part that its JSON does not show: none of them runs.
            _append_results(state, [_unrun(call, _CUT_CALL) for call in calls])
            raise ProviderError(
                _CUT[reply.stop],
                provider=state.agent.provider.name,
                model=state.agent.provider.model,
            )
        await _run_tools(state, calls)
        if state.answer is not None and state.answer.given:
            return RunStatus.COMPLETED


def _check_time(state: State) -> None:
    if state.deadline is not None and time.monotonic() >= state.deadline:
        raise _too_late(state)


def _too_late(state: State) -> TimedOut:
    return TimedOut(
        f"The run did not finish within its {state.agent.timeout:g} seconds. Raise timeout=, "
        "or ask for less.",
        provider=state.agent.provider.name,
        model=state.agent.provider.model,
    )


# --- what keeps a run going ---------------------------------------------------------------------


async def _shorten(state: State, *, forced: bool = False) -> None:
    """Make what is sent shorter; what a vendor keeps of the conversation is then another one."""
    if await state.compactor.compact(forced=forced):
        state.state = None
    _check_time(state)  # a summary takes its time


async def _recover(state: State, error: ContextOverflow) -> None:
    """Shorten a conversation that the model refused, once a turn; the turn is then tried again.

    Raises:
        ContextOverflow: It was refused a second time, or after a part of the answer was shown.
    """
    if state.recovered or error.partial is not None:
        raise error
    state.recovered = True
    state.recoveries += 1
    state.run.turn -= 1  # a turn is a reply, and there was none
    await _shorten(state, forced=True)


def _heard(state: State, *, last: bool = False) -> tuple[Block, ...]:
    """Return what the person has said meanwhile, where another request may follow.

    What nobody would answer in this run stays unheard: its face can ask it as a prompt.
    """
    if state.run.turn >= state.agent.max_turns:
        return ()
    said = state.run.steering.heard(last=last)
    for message in said:
        state.run.emit(Steered(message))
    return tuple(block for message in said for block in message.content)


def _hear(state: State, *, last: bool) -> bool:
    """Let a model that had ended go on with what the person has said; tell whether it does."""
    said = _heard(state, last=last)
    if said:
        state.talk.append(Message(role="user", content=said))
    return bool(said)


def _owed(state: State) -> str | None:
    """Return the tool that a model has to call before it may end, and has not called."""
    if state.answer is not None:
        return state.answer.spec.name
    wanted = state.agent.until_tool
    is_done = wanted is None or any(record.name == wanted for record in state.records)
    return None if is_done else wanted


def _remind(state: State, owed: str | None) -> bool:
    """Tell a model that stops too early what it has to call; return whether it had to be told."""
    if owed is not None:
        state.talk.append(user(reminder(owed)))
    return owed is not None


# --- one request --------------------------------------------------------------------------------


async def _ask(state: State) -> Reply:
    """Send the conversation and fold the reply into it; what arrived of a cut one is kept."""
    agent, run, spending = state.agent, state.run, state.spending
    providers = (agent.provider, *agent.fallback_providers)
    request, expected = _request(state), state.talk.measured.tokens
    reserved = spending.reserve(providers, request, state.talk.measured)
    run.turn += 1
    began = time.monotonic()
    run.emit(TurnStarted(agent.provider.name, agent.provider.model))
    attempts: list[RetryingStream] = []

    def pay(error: ProviderError) -> None:
        nonlocal reserved
        if spending.settle_attempt(reserved, error):
            reserved = Decimal(0)
            reserved = spending.reserve(providers, request, state.talk.measured)

    def opened(wrapped: ModelRequest) -> AsyncIterator[ModelEvent]:
        stream = RetryingStream(
            providers, wrapped, policy=agent.retry, announce=run.emit, before_another=pay
        )
        attempts.append(stream)
        return stream

    builder = ReplyBuilder(provider=agent.provider.name, model=agent.provider.model)
    try:
        events = around_model(agent.middleware, opened)(request)
        first = await _in_time(state, _consume(events, builder, run, began))
        answering = attempts[-1].provider if attempts else agent.provider
        reply = builder.done(provider=answering.name, model=answering.model)
    except BaseException as error:  # what had arrived is kept and paid for, however it ended
        answering = attempts[-1].provider if attempts else agent.provider
        partial = builder.partial(provider=answering.name, model=answering.model)
        if partial is not None:
            state.talk.append(partial)
        if isinstance(error, ProviderError):
            error.partial = partial
        spending.settle_failed(
            reserved,
            answering,
            builder.usage,
            error,
            has_output=builder.has_output,
            was_sent=bool(attempts),
        )
        raise
    finally:
        for attempt in attempts:
            # A middleware that stopped in the middle has not closed what it wrapped.
            await attempt.aclose()
    cost = spending.settle(reserved, answering, reply.usage)
    state.talk.append(reply.message)
    state.reply, state.state = reply, reply.state
    usage = reply.usage or Usage(unreported=1)
    if not usage.searches:  # what a search found was not in what we sent
        state.talk.measured.correct(usage.input_tokens, expected)
    run.emit(TurnFinished(reply.message, usage, cost, time.monotonic() - began, first))
    _warn(state)
    if reply.stop is StopReason.REFUSAL and not (reply.message.text or reply.message.tool_calls):
        raise ProviderError(
            f"{answering.model} refused to answer. Ask in other words.",
            provider=answering.name,
            model=answering.model,
        )
    return reply


async def _in_time(state: State, reply: Awaitable[float | None]) -> float | None:
    """Wait for a reply until the run's time is over, whoever makes it.

    The transport ends its own replies at the deadline, and says more; this is for all others.
    """
    if state.deadline is None:
        return await reply
    timer = asyncio.timeout(state.deadline - time.monotonic() + _GRACE)
    try:
        async with timer:
            return await reply
    except TimeoutError:
        if not timer.expired():
            raise
    raise _too_late(state)


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
                if run.watchers:
                    # Whoever shows the first word may be waiting for this thread to pause, which
                    # takes 60 us: where nobody watches, there is no pause.
                    time.sleep(0)  # noqa: ASYNC251  # gives up the interpreter, not the time
    finally:
        await close(stream)
    return first


def _request(state: State) -> ModelRequest:
    agent = state.agent
    options = agent.options
    if agent.budget is not None and options.max_output_tokens is None:
        # Without a limit on output a reply has no worst case, and the budget could not be held.
        options = replace(options, max_output_tokens=RESERVED_OUTPUT)
    return ModelRequest(
        messages=state.talk.sent,
        system=state.system,
        tools=state.tools,
        options=options,
        deadline=state.deadline,
        state=state.state,
        memory=state.talk.memory,
    )


def _warn(state: State) -> None:
    budget = state.agent.budget
    if budget is None or state.warned or budget.limit == 0:
        return
    if budget.spent >= budget.limit * _WARN_AT:
        state.warned = True
        state.run.emit(BudgetWarned(budget.spent, budget.limit))


# --- tools --------------------------------------------------------------------------------------


async def _run_tools(state: State, calls: list[ToolCall]) -> None:
    """Run the calls of a reply; their results are in the history also when this is cancelled.

    Raises:
        Halted: The model does the same again and again, although it was told.
    """
    agent, answer = state.agent, state.answer
    repeated = state.repetition.note(calls)
    if repeated.is_over:
        _append_results(state, [_unrun(call, repeated.text) for call in calls])
        raise Halted(repeated.text)
    own = {} if answer is None else {answer.spec.name: answer.tool}
    executor = Executor(
        {**agent.tools_by_name, **own},
        approve=agent.approver if answer is None else answer.allowed_by(agent.approver),
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
    seen, said = len(state.run.events), tuple[Block, ...]()
    try:
        await executor.execute(calls)
        if answer is None or not answer.given:
            said = _heard(state)
    finally:
        _append_results(state, executor.results(), note=repeated.text, said=said)
        state.records.extend(numbered(executor.records(), state.run, seen))


def _append_results(
    state: State, results: list[ToolResult], *, note: str = "", said: tuple[Block, ...] = ()
) -> None:
    noted = (Text(text=note),) if note else ()
    state.talk.append(Message(role="user", content=(*results, *noted, *said)))


def _unrun(call: ToolCall, text: str) -> ToolResult:
    return ToolResult(call_id=call.id, name=call.name, content=(Text(text=text),), is_error=True)

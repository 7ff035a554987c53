"""Test your agents without a model: scripted replies through the real loop.

::

    from alloy_nb.testing import assert_tool_called, run_with_responses, tool_response

    def test_it_looks_before_it_answers():
        result = run_with_responses(
            "How is the weather in Bonn?",
            [tool_response("lookup", {"city": "Bonn"}), "It is sunny."],
            tools=[lookup],
        )
        assert_tool_called(result, "lookup", city="Bonn")
        assert result.text == "It is sunny."

Only the model is scripted. Tools run, middleware wraps, history and events are those of any other
run. A `ScriptedProvider` goes wherever a provider goes: into a session, a team, a notebook.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from alloy_nb.engine.agent import Prompt, arun, run
from alloy_nb.engine.calls.tool import tool
from alloy_nb.engine.retry import RetryPolicy
from alloy_nb.engine.run import Result
from alloy_nb.errors import ProviderError, StreamTruncated
from alloy_nb.events import (
    BlockSealed,
    BlockStarted,
    ModelEvent,
    ReplyStarted,
    Stopped,
    TextDelta,
    ThinkingDelta,
    ToolInputDelta,
    UsageReported,
)
from alloy_nb.messages import Message, StopReason, Text, Thinking, ToolCall
from alloy_nb.providers.base import ModelRequest
from alloy_nb.usage import Usage

__all__ = [
    "FOREVER",
    "Reply",
    "ScriptedProvider",
    "Wait",
    "arun_with_responses",
    "assert_tool_called",
    "cut_response",
    "error_response",
    "last_text",
    "refute_tool_called",
    "run_with_responses",
    "text_response",
    "thinking_response",
    "tool_calls",
    "tool_response",
]

USED = Usage(input_tokens=10, output_tokens=5)
"""What a reply reports where nothing else is said."""

# About a token. A reply in one piece would hide what breaks between two.
_PIECE = 4
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Wait:
    """A step of a reply at which nothing comes for some seconds; ``None`` is for ever."""

    seconds: float | None = None


FOREVER = Wait(None)

Step = ModelEvent | Wait | BaseException
"""What happens in a reply: an event, a wait, or an exception, which ends it."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a scripted model answers to one request.

    Replies add up: ``thinking_response("hm") + tool_response("read", {...})`` is one reply of both,
    and two added calls are made side by side.

    Args:
        content: Its blocks, in order.
        stop: Why it ends; without it, that follows from the content.
        usage: What it reports; ``None`` reports nothing.
        delay: Seconds before its first event.
        failure: Raised after the content, in the place of a proper end.
    """

    content: tuple[Text | Thinking | ToolCall, ...] = ()
    stop: StopReason | None = None
    usage: Usage | None = USED
    delay: float = 0.0
    failure: BaseException | None = None

    def __add__(self, other: Reply) -> Reply:
        return replace(other, content=self.content + other.content, delay=self.delay + other.delay)

    def steps(self) -> list[Step]:
        """Return what happens, in order."""
        begin: list[Step] = [Wait(self.delay)] if self.delay else []
        if self.failure is not None and not self.content:
            return [*begin, self.failure]
        begin.append(ReplyStarted(f"reply_{next(_numbers)}", None))
        body = [step for index, block in enumerate(self.content) for step in _block(index, block)]
        if self.failure is not None:
            # The last block is not sealed: that is how a stream breaks.
            return [*begin, *body[:-1], self.failure]
        counted = [] if self.usage is None else [UsageReported(self.usage)]
        return [*begin, *body, *counted, Stopped(self.stop or self._stop())]

    def _stop(self) -> StopReason:
        called = any(isinstance(block, ToolCall) for block in self.content)
        return StopReason.TOOL_USE if called else StopReason.END_TURN


def _block(index: int, block: Text | Thinking | ToolCall) -> list[Step]:
    match block:
        case Text():
            deltas: list[Step] = [TextDelta(index, piece) for piece in _pieces(block.text)]
        case Thinking():
            deltas = [ThinkingDelta(index, piece) for piece in _pieces(block.text)]
        case ToolCall():
            written = json.dumps(block.input) if block.invalid is None else block.invalid
            started = BlockStarted(index, "tool_call", id=block.id, name=block.name)
            pieces = [ToolInputDelta(index, piece) for piece in _pieces(written)]
            return [started, *pieces, BlockSealed(index, block.replay)]
    return [BlockStarted(index, block.type), *deltas, BlockSealed(index, block.replay)]


def _pieces(text: str) -> list[str]:
    return [text[at : at + _PIECE] for at in range(0, len(text), _PIECE)]


# --- replies ------------------------------------------------------------------------------------


def text_response(
    text: str,
    *,
    stop: StopReason | None = None,
    usage: Usage | None = USED,
    delay: float = 0.0,
) -> Reply:
    """Return a reply that says something."""
    content = (Text(text=text),) if text else ()
    return Reply(content, stop=stop, usage=usage, delay=delay)


def thinking_response(
    thinking: str, text: str = "", *, usage: Usage | None = USED, delay: float = 0.0
) -> Reply:
    """Return a reply that thinks, and then says something if there is a text."""
    return Reply((Thinking(text=thinking),), usage=usage, delay=delay) + text_response(
        text, usage=usage
    )


def tool_response(
    name: str,
    input: Mapping[str, Any] | str | None = None,  # noqa: A002  # what a call has
    *,
    id: str | None = None,  # noqa: A002  # what a call has
    usage: Usage | None = USED,
    delay: float = 0.0,
) -> Reply:
    """Return a reply that calls a tool.

    Args:
        name: The tool's.
        input: Its arguments; a text is sent as it stands, valid JSON or not.
        id: The call's; without it, one that no other call has.
        usage: What the reply reports.
        delay: Seconds before the reply.
    """
    call = ToolCall(
        id=id or f"call_{next(_numbers)}",
        name=name,
        input={} if isinstance(input, str) else dict(input or {}),
        invalid=input if isinstance(input, str) else None,
    )
    return Reply((call,), usage=usage, delay=delay)


def error_response(
    error: str | BaseException, *, after: Reply | None = None, delay: float = 0.0
) -> Reply:
    """Return a reply that fails: at once, or after the beginning of another reply.

    Args:
        error: What is raised. A text becomes a `ProviderError`, which is not retried; give
            ``errors.RateLimited("...")`` and the like for those that are.
        after: What comes before.
        delay: Seconds before the reply.
    """
    failure = ProviderError(error, provider="scripted") if isinstance(error, str) else error
    return replace(after or Reply(), failure=failure, delay=delay)


def cut_response(reply: Reply | str) -> Reply:
    """Return a reply whose stream breaks before its end, as when a connection is lost."""
    whole = text_response(reply) if isinstance(reply, str) else reply
    lost = StreamTruncated("The answer broke off before its end.", provider="scripted")
    return replace(whole, failure=lost)


# --- the provider -------------------------------------------------------------------------------

Script = Reply | str | BaseException | Sequence[Any] | Callable[[ModelRequest], Any]


class ScriptedProvider:
    """A model that answers each request with the next reply of its script.

    Args:
        replies: A `Reply`, a text, an exception to raise, a list of steps (model events, waits and
            exceptions) where the events themselves matter, or a function that is given the
            `ModelRequest` and returns one of these.
        name: The vendor that it stands for.
        model: The model that it stands for; a price or a window goes by these two.
        otherwise: Answers when the script is at its end. Without it a request then fails, with a
            sentence that says so.
        pace: Seconds between two steps; 0 lets others run in between, ``None`` not even that.

    Attributes:
        requests: What was sent, one `ModelRequest` for each request.
        closed: How many streams have ended, whichever way.
    """

    def __init__(
        self,
        *replies: Script,
        name: str = "scripted",
        model: str = "scripted-1",
        otherwise: Script | None = None,
        pace: float | None = None,
    ) -> None:
        self.name = name
        self.model = model
        self.requests: list[ModelRequest] = []
        self.closed = 0
        self._script = list(replies)
        self._otherwise = otherwise
        self._pace = pace

    def __repr__(self) -> str:
        return f"ScriptedProvider({len(self.requests)} of {len(self._script)} replies used)"

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """Yield the next reply's events; the contract is that of `Provider.stream`."""
        # The engine goes on with the same list; what was sent is what it held now.
        self.requests.append(replace(request, messages=list(request.messages)))
        try:
            for step in self._next(request):
                if self._pace is not None:
                    await asyncio.sleep(self._pace)
                if isinstance(step, BaseException):
                    raise step
                if isinstance(step, Wait):
                    await _wait(step.seconds)
                else:
                    yield step
        finally:
            self.closed += 1

    def _next(self, request: ModelRequest) -> Sequence[Step]:
        number = len(self.requests)
        item: Any = self._script[number - 1] if number <= len(self._script) else self._otherwise
        if callable(item):
            item = item(request)
        if item is None:
            given = f"{len(self._script)} were given, and this is request {number}"
            return [ProviderError(f"The script has no reply left: {given}.", provider=self.name)]
        if isinstance(item, str):
            item = text_response(item)
        if isinstance(item, BaseException):
            return [item]
        return item.steps() if isinstance(item, Reply) else list(item)


async def _wait(seconds: float | None) -> None:
    if seconds is None:
        await asyncio.Event().wait()
    else:
        await asyncio.sleep(seconds)


@tool
def echo(text: str) -> str:
    """Return the text as it is."""
    return text


def run_with_responses(prompt: Prompt | None, replies: Iterable[Script], **settings: Any) -> Result:
    """Run the real loop on scripted replies and return the outcome; blocks.

    Args:
        prompt: What to say.
        replies: What the model answers, as for `ScriptedProvider`.
        settings: The settings of `alloy_nb.run`. Where they are not given, there are at most 10
            turns, the one tool is ``echo``, and retries wait for nothing.
    """
    return run(prompt, provider=ScriptedProvider(*replies), **_with_defaults(settings))


async def arun_with_responses(
    prompt: Prompt | None, replies: Iterable[Script], **settings: Any
) -> Result:
    """Run as `run_with_responses` does; awaitable in any event loop."""
    return await arun(prompt, provider=ScriptedProvider(*replies), **_with_defaults(settings))


def _with_defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {"max_turns": 10, "tools": [echo], "retry": RetryPolicy(backoff=0.0), **settings}


# --- what happened ------------------------------------------------------------------------------


class _Conversation(Protocol):
    @property
    def messages(self) -> list[Message]: ...


History = _Conversation | Iterable[Message]
"""A result, a session, or messages."""


def last_text(history: History) -> str | None:
    """Return the text of the last answer, or ``None`` where there is no answer."""
    answers = [message for message in _messages(history) if message.role == "assistant"]
    return answers[-1].text if answers else None


def tool_calls(history: History) -> list[ToolCall]:
    """Return every call that the model made, in order, also those that were refused."""
    return [call for message in _messages(history) for call in message.tool_calls]


def assert_tool_called(
    history: History, name: str, partial: Mapping[str, Any] | None = None, /, **more: Any
) -> ToolCall:
    """Fail unless a tool was called with these arguments, and perhaps others.

    Args:
        history: A result, a session, or messages.
        name: The tool's.
        partial: Arguments of the call.
        more: Further ones.

    Returns:
        The first call that fits.

    Raises:
        AssertionError: There is none; the message lists the calls that there are.
    """
    wanted = {**(partial or {}), **more}
    calls = tool_calls(history)
    for call in calls:
        if call.name == name and _holds(call.input, wanted):
            return call
    raise AssertionError(f"{_asked(name, wanted)} was not called. {_listed(calls)}")


def refute_tool_called(
    history: History, name: str, partial: Mapping[str, Any] | None = None, /, **more: Any
) -> None:
    """Fail if a tool was called with these arguments; the counterpart of `assert_tool_called`.

    Raises:
        AssertionError: It was; the message lists the calls that there are.
    """
    wanted = {**(partial or {}), **more}
    calls = tool_calls(history)
    if any(call.name == name and _holds(call.input, wanted) for call in calls):
        raise AssertionError(f"{_asked(name, wanted)} was called. {_listed(calls)}")


def _messages(history: History) -> list[Message]:
    # A result is a mapping too, so its attribute is looked for first.
    found: Any = getattr(history, "messages", history)
    return list(found)


def _holds(arguments: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(key in arguments and arguments[key] == value for key, value in wanted.items())


def _asked(name: str, wanted: Mapping[str, Any]) -> str:
    arguments = ", ".join(f"{key}={value!r}" for key, value in wanted.items())
    return f"{name} with {arguments}" if arguments else name


def _listed(calls: Sequence[ToolCall]) -> str:
    if not calls:
        return "No tool was called."
    lines = [
        f"  {number}. {call.name}({call.invalid or json.dumps(call.input, ensure_ascii=False)})"
        for number, call in enumerate(calls, 1)
    ]
    return "\n".join(["The calls were:", *lines])

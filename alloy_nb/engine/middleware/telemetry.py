"""OpenTelemetry: spans and metrics of runs, requests and tools, for those who set up an exporter.

::

    pip install 'alloy_nb[otel]'

    al.run("...", provider="...", middleware=[al.Telemetry()])

Spans, each inside the one above it: ``invoke_agent {agent}`` for a run, ``chat {model}`` for a
request with all its retries, ``execute_tool {name}`` for a call. Only the API of OpenTelemetry is
used: without an SDK that the program itself sets up, nothing is recorded and nothing leaves the
machine. What was said, and what tools were given and answered, is recorded only with
``contents=True``, and without keys.

The names are those of the semantic conventions for generative AI, which left the main repository
for one of their own and are still in development: open-telemetry/semantic-conventions-genai,
``docs/gen-ai/client-inference.md``, ``execute-tool.md``, ``gen-ai-agent-spans.md``,
``gen-ai-token-metrics.md`` and ``gen-ai-output-messages.json`` on its main branch, read
2026-11-21. What is ours is called ``alloy.*``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from alloy_nb.engine.middleware.base import Middleware, ModelNext, RunNext, ToolNext, current_run
from alloy_nb.engine.retry import close
from alloy_nb.engine.run import Result, Run, RunStatus
from alloy_nb.errors import ConfigError, Halted
from alloy_nb.events import (
    ModelEvent,
    ReplyStarted,
    RetryScheduled,
    RunStarted,
    Stopped,
    TextDelta,
    ThinkingDelta,
    ToolInputDelta,
    TurnStarted,
    UsageReported,
)
from alloy_nb.messages import (
    Document,
    Image,
    Message,
    StopReason,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from alloy_nb.providers.base import ModelRequest
from alloy_nb.providers.fold import ReplyBuilder
from alloy_nb.providers.wire_json import dumps
from alloy_nb.secrets import redact
from alloy_nb.usage import Usage

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

__all__ = ["Telemetry"]

# Our names of vendors, where the conventions have another one.
_PROVIDERS = {
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "xai": "x_ai",
}
_FINISH = {
    StopReason.END_TURN: "stop",
    StopReason.STOP_SEQUENCE: "stop",
    StopReason.TOOL_USE: "tool_call",
    StopReason.MAX_TOKENS: "length",
    StopReason.REFUSAL: "content_filter",
    StopReason.INTERRUPTED: "error",
}
# The boundaries of buckets that the conventions ask for.
_SECONDS = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
_TOKENS = [4**power for power in range(14)]
_Attributes = dict[str, Any]


class Telemetry(Middleware):
    """Records runs, requests and tools with OpenTelemetry.

    Args:
        contents: Whether messages, arguments and results are recorded too.
        tracer_provider: Where spans go; the program's global provider if left out.
        meter_provider: Where metrics go; the program's global provider if left out.

    Raises:
        ConfigError: OpenTelemetry is not installed.
    """

    def __init__(
        self,
        *,
        contents: bool = False,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        try:
            from opentelemetry import metrics, trace
        except ImportError:
            raise ConfigError(
                "Telemetry needs OpenTelemetry: pip install 'alloy_nb[otel]'."
            ) from None
        self._contents = contents
        self._trace = trace
        self._tracer = trace.get_tracer("alloy_nb", tracer_provider=tracer_provider)
        meter = metrics.get_meter("alloy_nb", meter_provider=meter_provider)

        def histogram(name: str, unit: str, boundaries: Sequence[float]) -> Any:
            return meter.create_histogram(
                name, unit, explicit_bucket_boundaries_advisory=boundaries
            )

        self._run_seconds = histogram("gen_ai.invoke_agent.duration", "s", _SECONDS)
        self._seconds = histogram("gen_ai.client.inference.duration", "s", _SECONDS)
        self._first = histogram("gen_ai.client.inference.time_to_first_chunk", "s", _SECONDS)
        self._tool_seconds = histogram("gen_ai.execute_tool.duration", "s", _SECONDS)
        # Of each reply, for percentiles; and in all, for what is spent.
        operation, usage = "gen_ai.client.inference.operation", "gen_ai.client.inference.usage"
        self._tokens = {
            name: histogram(f"{operation}.{name}", "{token}", _TOKENS)
            for name in ("input_tokens", "output_tokens")
        }
        self._spent = {name: meter.create_counter(f"{usage}.{name}", "{token}") for name in _COUNTS}

    async def run(self, run: Run, next: RunNext) -> Result:  # noqa: A002
        """Record a run."""
        base = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": run.agent}
        started = _newest(RunStarted, run)
        if started is not None:
            base |= _vendor(started.provider, started.model)
        own = {"alloy.run.id": run.id, "alloy.correlation_id": run.correlation_id}
        began = time.monotonic()
        kind = self._trace.SpanKind.INTERNAL
        with self._span(f"invoke_agent {run.agent}", kind, {**base, **own}) as (span, failure):
            try:
                result = await next(run)
                if result.status is RunStatus.ERROR:
                    self._fail(span, result.exception, failure)
                span.set_attributes(_of_result(result))
                if self._contents:
                    _record_answer(span, result)
                return result
            finally:
                self._run_seconds.record(time.monotonic() - began, {**base, **failure})

    async def model(self, request: ModelRequest, next: ModelNext) -> AsyncIterator[ModelEvent]:  # noqa: A002
        """Record a request, with all its retries, until its reply is over."""
        base = {"gen_ai.operation.name": "chat", **_asked()}
        model = base.get("gen_ai.request.model", "")
        seen = _Reply(builder=ReplyBuilder(provider="", model="") if self._contents else None)
        kind = self._trace.SpanKind.CLIENT
        # It is no longer the current span while events are handed on: whoever takes them is not
        # a part of the request.
        span = self._tracer.start_span(
            f"chat {model}".strip(), kind=kind, attributes={**base, **_of_request(request)}
        )
        failure: _Attributes = {}
        run = current_run()
        before = len(run.events) if run else 0
        stream = next(request)
        events = aiter(stream)
        try:
            with self._trace.use_span(span, record_exception=False, set_status_on_exception=False):
                # The request goes out with the first event.
                event = await anext(events, None)
            while event is not None:
                seen.take(event)
                yield event
                event = await anext(events, None)
        except BaseException as error:  # a request that was stopped is told as one that failed
            self._fail(span, error, failure)
            raise
        finally:
            await close(stream)
            span.set_attributes(seen.attributes())
            happened = run.events[before:] if run else []
            if retries := sum(isinstance(event.body, RetryScheduled) for event in happened):
                span.set_attribute("alloy.request.retries", retries)
            if self._contents:
                _record_messages(span, request, seen)
            span.end()
            self._measure(seen, {**base, **seen.model()}, failure)

    async def compacted(self, messages: list[Message]) -> None:
        """Note in the run's span that its history was shortened."""
        left = {"alloy.messages_after": len(messages)}
        self._trace.get_current_span().add_event("alloy.context_compacted", left)

    async def tool(self, call: ToolCall, next: ToolNext) -> ToolResult:  # noqa: A002
        """Record a call."""
        base = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": call.name}
        own = {"gen_ai.tool.call.id": call.id, "gen_ai.tool.type": "function"}
        began = time.monotonic()
        kind = self._trace.SpanKind.INTERNAL
        with self._span(f"execute_tool {call.name}", kind, {**base, **own}) as (span, failure):
            if self._contents:
                span.set_attribute("gen_ai.tool.call.arguments", _json(call.input))
            try:
                result = await next(call)
                if result.is_error:
                    # What the model is told may hold contents: the span has the kind alone.
                    failure["error.type"] = "tool_error"
                    span.set_attributes(failure)
                    span.set_status(self._trace.StatusCode.ERROR)
                if self._contents:
                    span.set_attribute("gen_ai.tool.call.result", redact(result.text))
                return result
            finally:
                self._tool_seconds.record(time.monotonic() - began, {**base, **failure})

    @contextmanager
    def _span(
        self, name: str, kind: Any, attributes: _Attributes
    ) -> Iterator[tuple[Span, _Attributes]]:
        """Make a span the current one; the second value fills with how it failed."""
        failure: _Attributes = {}
        with self._tracer.start_as_current_span(
            name,
            kind=kind,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span, failure
            except BaseException as error:  # a run that was stopped is told as one that failed
                self._fail(span, error, failure)
                raise

    def _fail(self, span: Span, error: BaseException | None, failure: _Attributes) -> None:
        failure["error.type"] = _kind_of(error)
        span.set_attributes(failure)
        # Without a traceback: its lines may hold what the code held.
        text = "" if isinstance(error, asyncio.CancelledError) else redact(str(error or ""))
        span.set_status(self._trace.StatusCode.ERROR, text or None)

    def _measure(self, seen: _Reply, base: _Attributes, failure: _Attributes) -> None:
        self._seconds.record(time.monotonic() - seen.began, {**base, **failure})
        if seen.first is not None:
            self._first.record(seen.first, base)
        if seen.usage is None:
            return
        for name, histogram in self._tokens.items():
            histogram.record(getattr(seen.usage, name), base)
        for name, counter in self._spent.items():
            # No vendor tells texts and images apart in all its counts.
            amount = getattr(seen.usage, _COUNTS[name])
            if amount or name in self._tokens:
                counter.add(amount, {**base, "gen_ai.token.modality": "unknown"})


# The conventions' names of counts, and ours.
_COUNTS = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read.input_tokens": "cache_read_tokens",
    "cache_write.input_tokens": "cache_write_tokens",
    "reasoning.output_tokens": "reasoning_tokens",
}


@dataclass(slots=True)
class _Reply:
    """What a span says of a reply, gathered while it passes through."""

    builder: ReplyBuilder | None
    began: float = field(default_factory=time.monotonic)
    first: float | None = None
    started: ReplyStarted | None = None
    usage: Usage | None = None
    stop: StopReason | None = None

    def take(self, event: ModelEvent) -> None:
        if self.builder is not None:
            self.builder.feed(event)
        if self.first is None and isinstance(event, (TextDelta, ThinkingDelta, ToolInputDelta)):
            self.first = time.monotonic() - self.began
        elif isinstance(event, ReplyStarted):
            self.started = event
        elif isinstance(event, UsageReported):
            self.usage = event.usage
        elif isinstance(event, Stopped):
            self.stop = event.reason

    def model(self) -> _Attributes:
        named = self.started.model if self.started else None
        return {"gen_ai.response.model": named} if named else {}

    def attributes(self) -> _Attributes:
        found = {**self.model(), **(_of_usage(self.usage) if self.usage else {})}
        if self.started and self.started.id:
            found["gen_ai.response.id"] = self.started.id
        if self.first is not None:
            found["gen_ai.response.time_to_first_chunk"] = self.first
        if self.stop is not None:
            found["gen_ai.response.finish_reasons"] = [_finish(self.stop)]
        return found

    def message(self) -> Message | None:
        if self.builder is None:
            return None
        return self.builder.partial() if self.stop is None else self.builder.done().message


# --- attributes ---------------------------------------------------------------------------------


def _newest(kind: type[Any] | tuple[type[Any], ...], run: Run) -> Any:
    """Return the newest event of a kind, looking back from the end of a run's log."""
    return next((e.body for e in reversed(run.events) if isinstance(e.body, kind)), None)


def _asked() -> _Attributes:
    run = current_run()
    if run is None:
        return {"gen_ai.provider.name": "unknown"}
    # A summary may be asked for before the first turn.
    turn = _newest((TurnStarted, RunStarted), run)
    vendor = _vendor(turn.provider, turn.model) if turn else {"gen_ai.provider.name": "unknown"}
    return {**vendor, "gen_ai.agent.name": run.agent}


def _vendor(provider: str, model: str) -> _Attributes:
    named = _PROVIDERS.get(provider, provider)
    return {"gen_ai.provider.name": named, "gen_ai.request.model": model}


def _of_request(request: ModelRequest) -> _Attributes:
    options = request.options
    found = {
        "gen_ai.request.max_tokens": options.max_output_tokens,
        "gen_ai.request.temperature": options.temperature,
        "gen_ai.request.reasoning.level": options.effort,
        "gen_ai.request.stop_sequences": list(options.stop) or None,
        "gen_ai.request.stream": True,
    }
    return {name: value for name, value in found.items() if value is not None}


def _of_usage(usage: Usage) -> _Attributes:
    counts = {f"gen_ai.usage.{name}": getattr(usage, own) for name, own in _COUNTS.items()}
    main = ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")
    return {name: count for name, count in counts.items() if count or name in main}


def _of_result(result: Result) -> _Attributes:
    found = {**_of_usage(result.usage), "alloy.run.status": result.status.value}
    found["alloy.run.turns"] = result.turns
    if result.stop_reason is not None:
        found["gen_ai.response.finish_reasons"] = [_finish(result.stop_reason)]
    if result.cost.usd is not None:
        found["alloy.cost.usd"] = float(result.cost.usd)
    return found


def _kind_of(error: BaseException | None) -> str:
    if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
        return "cancelled"
    if isinstance(error, Halted):
        return "halted"
    return "_OTHER" if error is None else type(error).__name__


def _finish(reason: StopReason) -> str:
    return _FINISH.get(reason, reason.value)


# --- contents, where they were asked for --------------------------------------------------------


def _record_messages(span: Span, request: ModelRequest, seen: _Reply) -> None:
    span.set_attribute("gen_ai.input.messages", _json([_said(m) for m in request.messages]))
    if request.system:
        instructions = [{"type": "text", "content": request.system}]
        span.set_attribute("gen_ai.system_instructions", _json(instructions))
    answer = seen.message()
    if answer is not None:
        finish = _finish(seen.stop or StopReason.INTERRUPTED)
        said = {**_said(answer), "finish_reason": finish}
        span.set_attribute("gen_ai.output.messages", _json([said]))


def _record_answer(span: Span, result: Result) -> None:
    part = {"type": "text", "content": result.text}
    finish = _finish(result.stop_reason or StopReason.INTERRUPTED)
    said = {"role": "assistant", "parts": [part], "finish_reason": finish}
    span.set_attribute("gen_ai.output.messages", _json([said]))


def _said(message: Message) -> dict[str, Any]:
    results = any(isinstance(block, ToolResult) for block in message.content)
    parts = [_part(block) for block in message.content]
    return {"role": "tool" if results else message.role, "parts": parts}


def _part(block: object) -> dict[str, Any]:
    match block:
        case Text():
            return {"type": "text", "content": block.text}
        case Thinking():
            return {"type": "reasoning", "content": block.text}
        case ToolCall():
            return {
                "type": "tool_call",
                "id": block.id,
                "name": block.name,
                "arguments": block.input,
            }
        case ToolResult():
            return {"type": "tool_call_response", "id": block.call_id, "response": block.text}
        case Image() | Document():
            # That there was one is enough: spans are no place for megabytes.
            return {"type": block.type, "mime_type": block.media_type}
    return {"type": "unknown"}


def _json(value: Sequence[Any] | Mapping[str, Any]) -> str:
    return redact(dumps(value).decode())

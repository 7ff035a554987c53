"""Telemetry: spans and metrics by the conventions, and contents only where they were asked for."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import alloy_nb as al
from alloy_nb.engine.agent import Agent
from alloy_nb.engine.middleware.telemetry import Telemetry
from alloy_nb.errors import ConfigError, Halted, RateLimited
from alloy_nb.usage import Usage
from tests.engine.scripted import HANG, Scripted, calls, says
from tests.engine.test_loop import add

KEY = "canary-key-0123456789"


class Recorder:
    """What the SDK's exporters of this test hold."""

    def __init__(self, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        meters = MeterProvider([self.reader])
        self.tracer = tracers.get_tracer("the program")
        self.layer = Telemetry(tracer_provider=tracers, meter_provider=meters, **options)

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans, as they began."""
        return sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time)

    def named(self, name: str) -> ReadableSpan:
        (span,) = [span for span in self.spans if span.name == name]
        return span

    @property
    def points(self) -> dict[str, list[Any]]:
        """The points of each metric."""
        data = self.reader.get_metrics_data()
        return {
            metric.name: list(metric.data.data_points)
            for resource in (data.resource_metrics if data else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def everything(self) -> str:
        """All that was recorded, as one text."""
        return "".join(span.to_json() for span in self.spans) + repr(self.points)


USED = Usage(
    input_tokens=100,
    output_tokens=20,
    cache_read_tokens=60,
    cache_write_tokens=30,
    reasoning_tokens=7,
)


def adding(**options: Any) -> Scripted:
    return Scripted(
        calls(("add", {"a": 1, "b": 2}, "call-1"), usage=USED),
        says("The sum ", "is 3.", usage=USED),
        **options,
    )


def record(model: Any = None, *, contents: bool = False, **more: Any) -> tuple[Recorder, al.Result]:
    recorder = Recorder(contents=contents)
    result = al.run(
        "What is 1 + 2?",
        provider=model or adding(),
        tools=more.pop("tools", [add]),
        middleware=[recorder.layer],
        max_retries=0,
        **more,
    )
    return recorder, result


# --- spans ----------------------------------------------------------------------------------------


def test_a_run_is_a_span_with_its_requests_and_tools_inside():
    recorder, _ = record()
    names = [span.name for span in recorder.spans]
    assert names == [
        "invoke_agent agent",
        "chat scripted-1",
        "execute_tool add",
        "chat scripted-1",
    ]
    run, *inside = recorder.spans
    assert run.parent is None
    assert {span.parent.span_id for span in inside} == {run.context.span_id}
    assert [span.kind for span in recorder.spans] == [
        SpanKind.INTERNAL,
        SpanKind.CLIENT,
        SpanKind.INTERNAL,
        SpanKind.CLIENT,
    ]
    assert {span.status.status_code for span in recorder.spans} == {StatusCode.UNSET}


def test_a_run_is_inside_the_span_of_the_program_that_made_it():
    recorder = Recorder()
    with recorder.tracer.start_as_current_span("mine") as mine:
        al.run("?", provider=Scripted(says("a")), middleware=[recorder.layer])
    assert recorder.named("invoke_agent agent").parent.span_id == mine.get_span_context().span_id


def test_a_request_says_what_was_asked_and_what_came():
    recorder, _ = record(temperature=0.5, max_output_tokens=99, effort="low", stop=["END"])
    first, last = [span for span in recorder.spans if span.name.startswith("chat")]
    told = dict(first.attributes)
    assert 0 < told.pop("gen_ai.response.time_to_first_chunk") < 60
    assert told == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "scripted",
        "gen_ai.agent.name": "agent",
        "gen_ai.request.model": "scripted-1",
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 99,
        "gen_ai.request.reasoning.level": "low",
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.response.model": "scripted-1",
        "gen_ai.response.id": "r1",
        "gen_ai.response.finish_reasons": ("tool_call",),
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 60,
        "gen_ai.usage.cache_write.input_tokens": 30,
        "gen_ai.usage.reasoning.output_tokens": 7,
    }
    assert last.attributes["gen_ai.response.finish_reasons"] == ("stop",)


def test_a_tool_says_its_name_and_the_id_of_its_call():
    recorder, _ = record()
    assert dict(recorder.named("execute_tool add").attributes) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "add",
        "gen_ai.tool.call.id": "call-1",
        "gen_ai.tool.type": "function",
    }


def test_a_run_says_what_it_used_and_how_it_ended():
    recorder, result = record(name="helper", context={"request_id": "r-7"})
    told = recorder.named("invoke_agent helper").attributes
    assert told["gen_ai.agent.name"] == "helper"
    assert told["gen_ai.usage.input_tokens"] == result.usage.input_tokens == 200
    assert (told["alloy.run.status"], told["alloy.run.turns"]) == ("completed", 2)
    assert told["alloy.correlation_id"] == "r-7"


@pytest.mark.parametrize(
    ("ours", "theirs"), [("gemini", "gcp.gemini"), ("xai", "x_ai"), ("anthropic", "anthropic")]
)
def test_vendors_go_by_the_names_of_the_conventions(ours, theirs):
    recorder, _ = record(Scripted(says("a"), name=ours))
    assert {s.attributes["gen_ai.provider.name"] for s in recorder.spans} == {theirs}


def test_calls_side_by_side_are_spans_side_by_side():
    wanted = [("add", {"a": n, "b": n}, f"call-{n}") for n in range(5)]
    recorder, _ = record(Scripted(calls(*wanted), says("a")))
    tools = [span for span in recorder.spans if span.name == "execute_tool add"]
    assert {s.attributes["gen_ai.tool.call.id"] for s in tools} == {f"call-{n}" for n in range(5)}
    run = recorder.named("invoke_agent agent")
    assert {span.parent.span_id for span in tools} == {run.context.span_id}


# --- what went wrong ------------------------------------------------------------------------------


def test_a_request_that_failed_says_how_and_so_does_its_run():
    recorder, _ = record(Scripted(RateLimited("slow down")))
    for span in recorder.spans:
        assert span.status.status_code is StatusCode.ERROR
        assert span.attributes["error.type"] == "RateLimited"
        assert span.status.description == "slow down"


def test_a_tool_that_failed_is_an_error_and_its_run_is_none():
    @al.tool
    def fail() -> str:
        """Fail."""
        raise ValueError("the contents of a file")

    recorder, _ = record(Scripted(calls(("fail", {})), says("a")), tools=[fail])
    span = recorder.named("execute_tool fail")
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "tool_error"
    assert recorder.named("invoke_agent agent").status.status_code is StatusCode.UNSET
    assert "the contents" not in recorder.everything()


def test_a_run_that_was_stopped_says_so_in_every_open_span():
    recorder = Recorder()

    async def go() -> None:
        model = Scripted([*says("par", "tial")[:3], HANG])
        async with Agent(model, middleware=(recorder.layer,)).start("?") as run:
            await asyncio.sleep(0.05)
            run.cancel()
            await run.result()

    asyncio.run(go())
    assert [span.attributes["error.type"] for span in recorder.spans] == ["cancelled"] * 2


def test_a_run_that_a_middleware_halted_says_so():
    class Halts(al.Middleware):
        async def tool(self, call: Any, next: Any) -> Any:  # noqa: A002
            raise Halted("enough")

    recorder = Recorder()
    layers = [recorder.layer, Halts()]
    al.run("?", provider=adding(), tools=[add], middleware=layers)
    assert recorder.named("invoke_agent agent").attributes["error.type"] == "halted"


def test_a_request_counts_its_retries_in_one_span():
    from alloy_nb.engine.retry import RetryPolicy

    recorder = Recorder()
    model = Scripted(RateLimited("slow down", retry_after=0.0), says("a"))
    al.run("?", provider=model, middleware=[recorder.layer], retry=RetryPolicy())
    span = recorder.named("chat scripted-1")
    assert span.attributes["alloy.request.retries"] == 1
    assert span.status.status_code is StatusCode.UNSET


def test_a_compaction_is_noted_in_the_span_of_its_run():
    class Shortens(al.Middleware):
        async def run(self, run: Any, next: Any) -> Any:  # noqa: A002
            await recorder.layer.compacted([al.messages.user("a")])
            return await next(run)

    recorder = Recorder()
    al.run("?", provider=Scripted(says("a")), middleware=[recorder.layer, Shortens()])
    (event,) = recorder.named("invoke_agent agent").events
    assert (event.name, dict(event.attributes)) == (
        "alloy.context_compacted",
        {"alloy.messages_after": 1},
    )


def test_no_span_holds_a_traceback():
    recorder, _ = record(Scripted(RateLimited("slow down")))
    assert [event for span in recorder.spans for event in span.events] == []


# --- metrics --------------------------------------------------------------------------------------


def test_tokens_and_times_are_measured():
    points = record()[0].points
    operation, usage = "gen_ai.client.inference.operation", "gen_ai.client.inference.usage"
    assert set(points) == {
        "gen_ai.invoke_agent.duration",
        "gen_ai.client.inference.duration",
        "gen_ai.client.inference.time_to_first_chunk",
        "gen_ai.execute_tool.duration",
        f"{operation}.input_tokens",
        f"{operation}.output_tokens",
        f"{usage}.input_tokens",
        f"{usage}.output_tokens",
        f"{usage}.cache_read.input_tokens",
        f"{usage}.cache_write.input_tokens",
        f"{usage}.reasoning.output_tokens",
    }
    (spent,) = points[f"{usage}.input_tokens"]
    assert spent.value == 200
    assert dict(spent.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "scripted",
        "gen_ai.request.model": "scripted-1",
        "gen_ai.response.model": "scripted-1",
        "gen_ai.agent.name": "agent",
        "gen_ai.token.modality": "unknown",
    }
    (each,) = points[f"{operation}.output_tokens"]
    assert (each.count, each.sum) == (2, 40)
    assert each.explicit_bounds[-1] == 67_108_864
    (seconds,) = points["gen_ai.client.inference.duration"]
    assert seconds.count == 2
    assert seconds.explicit_bounds[0] == 0.01
    assert points["gen_ai.execute_tool.duration"][0].attributes["gen_ai.tool.name"] == "add"


def test_no_tokens_are_measured_where_the_vendor_told_none():
    points = record(Scripted(says("a", usage=None)))[0].points
    assert not any("tokens" in name for name in points)


def test_a_failed_request_is_measured_as_one():
    points = record(Scripted(RateLimited("slow down")))[0].points
    (seconds,) = points["gen_ai.client.inference.duration"]
    assert seconds.attributes["error.type"] == "RateLimited"


# --- contents -------------------------------------------------------------------------------------


def test_nothing_that_was_said_is_recorded_by_default():
    recorder, result = record(system_prompt="You are secret.")
    assert result.text == "The sum is 3."
    told = recorder.everything()
    for word in ("1 + 2", "The sum", "is 3", "secret", '"a"', "messages"):
        assert word not in told


def test_contents_are_recorded_where_they_are_asked_for():
    recorder, _ = record(contents=True, system_prompt="You are kind.")
    first, last = [span for span in recorder.spans if span.name.startswith("chat")]
    asked = json.loads(last.attributes["gen_ai.input.messages"])
    assert asked == [
        {"role": "user", "parts": [{"type": "text", "content": "What is 1 + 2?"}]},
        {
            "role": "assistant",
            "parts": [
                {
                    "type": "tool_call",
                    "id": "call-1",
                    "name": "add",
                    "arguments": {"a": 1, "b": 2},
                }
            ],
        },
        {
            "role": "tool",
            "parts": [{"type": "tool_call_response", "id": "call-1", "response": "3"}],
        },
    ]
    assert json.loads(last.attributes["gen_ai.output.messages"]) == [
        {
            "role": "assistant",
            "parts": [{"type": "text", "content": "The sum is 3."}],
            "finish_reason": "stop",
        }
    ]
    (called,) = json.loads(first.attributes["gen_ai.output.messages"])
    assert (called["parts"][0]["name"], called["finish_reason"]) == ("add", "tool_call")
    (instructions,) = json.loads(last.attributes["gen_ai.system_instructions"])
    assert instructions["content"] == "You are kind."
    tool = recorder.named("execute_tool add").attributes
    assert json.loads(tool["gen_ai.tool.call.arguments"]) == {"a": 1, "b": 2}
    assert tool["gen_ai.tool.call.result"] == "3"
    run = recorder.named("invoke_agent agent").attributes
    assert "The sum is 3." in run["gen_ai.output.messages"]


def test_a_picture_is_recorded_as_one_and_not_whole():
    recorder = Recorder(contents=True)
    picture = al.Image(data="aVZCT1J3" * 1000)
    al.run(["see", picture], provider=Scripted(says("a")), middleware=[recorder.layer])
    told = recorder.everything()
    assert "image/png" in told
    assert "aVZCT1J3" not in told


@pytest.mark.parametrize("contents", [False, True])
def test_a_key_is_in_no_span_and_no_metric(contents, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", KEY)

    @al.tool
    def look(at: str) -> str:
        """Look."""
        return f"found {KEY}"

    model = Scripted(calls(("look", {"at": KEY})), says(f"It is {KEY}."), RateLimited(f"no: {KEY}"))
    recorder, _ = record(model, contents=contents, tools=[look])
    al.run(KEY, provider=model, middleware=[recorder.layer], max_retries=0)
    assert KEY not in recorder.everything()


# --- and otherwise --------------------------------------------------------------------------------


def test_telemetry_changes_nothing():
    plain = al.run("What is 1 + 2?", provider=adding(), tools=[add])
    _, told = record(contents=True)
    assert [m.text for m in told.messages] == [m.text for m in plain.messages]
    assert (told.status, told.usage) == (plain.status, plain.usage)


def test_without_an_sdk_nothing_is_recorded_and_the_run_goes_on():
    code = """
import alloy_nb as al
from alloy_nb.engine.middleware.telemetry import Telemetry
from opentelemetry import trace
print(al.run("What is 6 * 7?", provider="demo", middleware=[Telemetry()]).status)
print(type(trace.get_tracer_provider()).__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["completed", "ProxyTracerProvider"], done.stderr


def test_without_opentelemetry_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ConfigError, match=r"pip install 'alloy_nb\[otel\]'"):
        Telemetry()


def test_a_run_without_telemetry_imports_none_of_it():
    code = """
import sys
import alloy_nb as al
al.run("What is 6 * 7?", provider="demo")
print([m for m in sys.modules if m.split(".")[0] == "opentelemetry"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr

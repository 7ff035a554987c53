"""Vendors' batch interfaces: what is sent, what comes back, and what is never sent twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alloy_nb.errors import (
    BadRequest,
    ConfigError,
    ConnectionFailed,
    ProviderError,
    ServerFault,
    StreamTruncated,
    TimedOut,
)
from alloy_nb.messages import StopReason, user
from alloy_nb.providers import XAI, Anthropic, Gemini, OpenAI, OpenAICompat, provider
from alloy_nb.providers.base import ModelOptions, ModelRequest, ToolSpec
from alloy_nb.providers.batches import Batches, BatchState, Outcome, batches_of
from alloy_nb.providers.batches.base import checked_id
from alloy_nb.providers.batches.client import _Lines
from alloy_nb.providers.http import close_clients
from alloy_nb.providers.wire_json import dumps, loads
from tests.providers.wires import decode
from tests.servers.batches import BatchServer, Refused
from tests.servers.sse import html_page, json_answer, redirect
from tests.servers.wire import Call, Reply, Say, Think, Usage, anthropic_events, chat_events

KEY = "k-12345678"
KINDS = ("anthropic", "responses", "chat")
MAKE: dict[str, Callable[[str], Any]] = {
    "anthropic": lambda url: Anthropic("scripted-1", base_url=url, api_key=KEY),
    "responses": lambda url: OpenAI("scripted-1", base_url=url, api_key=KEY),
    "chat": lambda url: OpenAICompat("scripted-1", url, api_key=KEY),
}
TOOL = ToolSpec(
    "Label",
    "An answer.",
    {"type": "object", "properties": {"mood": {"type": "string"}}, "required": ["mood"]},
)


def request(text: str, **options: Any) -> ModelRequest:
    return ModelRequest([user(text)], options=ModelOptions(**options))


def on_loop(work: Any) -> Any:
    async def go() -> Any:
        try:
            return await work
        finally:
            await close_clients()

    return asyncio.run(go())


async def made(batches: Batches, *texts: str, label: str = "label") -> BatchState:
    lines = [batches.line(f"{label}-{n}", request(text)) for n, text in enumerate(texts)]
    return await batches.create(lines, label, await batches.upload(lines, label))


async def outcomes(batches: Batches, state: BatchState) -> dict[str, Outcome]:
    return {out.custom_id: out async for out in batches.outcomes(state)}


async def whole(batches: Batches, *texts: str) -> dict[str, Outcome]:
    """Make a batch, wait for its end, and read it."""
    state = await made(batches, *texts)
    return await outcomes(batches, await batches.state(state.id))


def words_of(body: dict[str, Any]) -> str:
    """Return what the person said in a request of any format."""
    said = (body.get("messages") or body.get("input"))[-1]["content"]
    return said if isinstance(said, str) else said[0]["text"]


def repeating(body: dict[str, Any]) -> Reply:
    return Reply([Say(f"heard {words_of(body)}")])


# --- a batch from its beginning to its end --------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_each_request_gets_its_own_answer_whatever_the_order_of_results(kind):
    texts = [f"text {n}" for n in range(40)]
    with BatchServer(kind, answer=repeating) as server:
        found = on_loop(whole(batches_of(MAKE[kind](server.url)), *texts))
    assert {id_: out.reply.message.text for id_, out in found.items() if out.reply} == {
        f"label-{n}": f"heard text {n}" for n in range(40)
    }


@pytest.mark.parametrize("kind", KINDS)
def test_counts_of_tokens_are_read_as_they_are_of_a_streamed_reply(kind):
    with BatchServer(kind, answer=repeating) as server:
        found = on_loop(whole(batches_of(MAKE[kind](server.url)), "hi"))
    usage = found["label-0"].reply.usage
    assert (usage.input_tokens, usage.output_tokens, usage.unreported) == (
        (30, 12, 0) if kind == "responses" else (11, 7, 0)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_of_a_tool_in_a_whole_reply_has_its_arguments(kind):
    reply = Reply([Call("Label", {"mood": "good"})])
    with BatchServer(kind, answer=lambda body: reply) as server:
        found = on_loop(whole(batches_of(MAKE[kind](server.url)), "hi"))
    (call,) = found["label-0"].reply.message.tool_calls
    assert (call.name, call.input) == ("Label", {"mood": "good"})
    assert found["label-0"].reply.stop is StopReason.TOOL_USE


@pytest.mark.parametrize(
    ("kind", "events"), [("anthropic", anthropic_events), ("chat", chat_events)]
)
@pytest.mark.parametrize(
    "reply",
    [
        Reply([Say("Hello")]),
        Reply([Think("hm"), Say("Hello"), Call("bash", {"command": "ls"})]),
        Reply([Call("a", {}), Call("b", {"x": [1, {"y": None}]})]),
        Reply([Say("cut")], stop="max_tokens"),
        Reply([Say("counted")], usage=Usage(cache_read=5, cache_write=3, reasoning=2)),
        Reply([Say("one \ud83d\ude00 two".encode("utf-16", "surrogatepass").decode("utf-16"))]),
    ],
)
def test_a_whole_reply_comes_to_the_message_that_the_streamed_one_comes_to(kind, events, reply):
    if kind == "chat" and reply.stop:
        reply = replace(reply, stop="length")
    with BatchServer(kind, answer=lambda body: reply) as server:
        model = MAKE[kind](server.url)
        found = on_loop(whole(batches_of(model), "hi"))
    streamed = decode(model, b"".join(events(reply))).reply
    batched = found["label-0"].reply
    assert [block.model_dump() for block in batched.message.content] == [
        block.model_dump() for block in streamed.message.content
    ]
    assert (batched.stop, batched.usage.model_dump()) == (
        streamed.stop,
        streamed.usage.model_dump(),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_request_in_a_batch_is_the_one_that_would_be_sent_live_but_not_streamed(kind):
    asked = ModelRequest(
        [user("hi")],
        system="Be brief.",
        tools=(TOOL,),
        options=ModelOptions(max_output_tokens=99, tool_choice="Label"),
    )
    with BatchServer(kind) as server:
        batches = batches_of(MAKE[kind](server.url))

        async def go() -> None:
            lines = [batches.line("a-0", asked)]
            await batches.create(lines, "a", await batches.upload(lines, "a"))

        on_loop(go())
        live = json.loads(batches.provider.body(replace(asked, memory={})))
    live.pop("stream")
    live.pop("stream_options", None)
    assert server.bodies == [live]


def test_an_option_that_the_vendor_lacks_is_refused_before_anything_is_sent():
    with BatchServer("chat") as server:
        batches = batches_of(MAKE["chat"](server.url))
        with pytest.raises(ConfigError, match="web search"):
            batches.line("a", request("hi", web_search=True))
        assert server.requests == []


# --- what fails -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_that_the_vendor_did_not_get_to_is_an_error_that_says_so(kind):
    with BatchServer(kind, answer=lambda body: "expired") as server:
        found = on_loop(whole(batches_of(MAKE[kind](server.url)), "hi"))
    error = found["label-0"].error
    assert isinstance(error, TimedOut)
    assert "Run it again" in str(error)


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_that_failed_has_the_error_that_it_would_have_live(kind):
    def answer(body: dict[str, Any]) -> Reply | Refused:
        if words_of(body) == "bad":
            return Refused(400, "invalid_request_error", f"no, and {KEY}")
        return Reply([Say("fine")])

    with BatchServer(kind, answer=answer) as server:
        found = on_loop(whole(batches_of(MAKE[kind](server.url)), "good", "bad"))
    assert found["label-0"].reply.message.text == "fine"
    assert isinstance(found["label-1"].error, BadRequest)
    assert "***" in str(found["label-1"].error)
    assert KEY not in str(found["label-1"].error)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_not_answered_when_a_batch_was_canceled_says_so(kind):
    with BatchServer(kind, patient=True) as server:
        batches = batches_of(MAKE[kind](server.url))

        async def go() -> dict[str, Outcome]:
            state = await made(batches, "a", "b")
            return await outcomes(batches, await batches.cancel(state.id))

        found = on_loop(go())
    assert all("canceled" in str(out.error) for out in found.values())
    assert len(found) == 2


def test_a_response_that_failed_by_its_own_word_is_an_error():
    from alloy_nb.providers.batches.openai import OpenAIBatches
    from tests.providers.responses_streams import response

    model = MAKE["responses"]("http://127.0.0.1:9")
    told = {"error": {"code": "server_error", "message": "it broke"}, "status": "failed"}
    body = {"status_code": 200, "body": response(output=[], **told)}
    line = {"custom_id": "a", "response": body, "error": None}
    outcome = Batches(model, OpenAIBatches("/v1/responses"))._outcome(line)
    assert isinstance(outcome.error, ServerFault)
    assert outcome.reply is None


@pytest.mark.parametrize("kind", KINDS)
def test_results_that_are_cut_say_so_and_keep_what_was_whole(kind):
    with BatchServer(kind, answer=repeating) as server:
        batches = batches_of(MAKE[kind](server.url))
        server.cut_results = 1
        kept: list[Outcome] = []

        async def go() -> None:
            state = await made(batches, *map(str, range(30)))
            async for out in batches.outcomes(await batches.state(state.id)):
                kept.append(out)  # what came before the error counts

        with pytest.raises(StreamTruncated):
            on_loop(go())
    assert 0 < len(kept) < 30
    assert all(out.reply is not None for out in kept)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_whose_answer_is_lost_is_not_made_again(kind):
    with BatchServer(kind) as server:
        batches = batches_of(MAKE[kind](server.url))

        on_loop(made(batches, "first"))
        server.silent_creates = 1
        with pytest.raises(ConnectionFailed):
            on_loop(made(batches, "hi"))
        assert len(server.batches) == 2


def test_what_makes_something_goes_over_a_connection_that_cannot_be_dead_yet():
    with BatchServer("anthropic") as server:
        batches = batches_of(MAKE["anthropic"](server.url))

        async def go() -> None:
            first = await made(batches, "one")
            await batches.state(first.id)
            server.silent_creates = 1
            with pytest.raises(ConnectionFailed):
                await made(batches, "two")

        on_loop(go())
        assert [len(batch.requests) for batch in server.batches] == [1, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_found_again_by_when_it_was_made(kind):
    with BatchServer(kind) as server:
        batches = batches_of(MAKE[kind](server.url))

        async def go() -> list[BatchState]:
            for n in range(5):
                await made(batches, "hi", label=f"label{n}")
            return [state async for state in batches.since(server.batches[0].created - 1)]

        found = on_loop(go())
    assert [state.id for state in found] == [batch.id for batch in reversed(server.batches)]
    if kind != "anthropic":
        assert [state.label for state in found] == [f"label{n}" for n in (4, 3, 2, 1, 0)]


def test_batches_that_are_older_are_not_listed():
    with BatchServer("anthropic") as server:
        batches = batches_of(MAKE["anthropic"](server.url))

        async def go() -> list[str]:
            await made(batches, "old")
            server.batches[0].created -= 10_000
            new = await made(batches, "new")
            return [s.id async for s in batches.since(server.batches[0].created + 1)] + [new.id]

        found = on_loop(go())
    assert found == ["msgbatch_1", "msgbatch_1"]


def test_a_batch_that_is_over_tells_whose_it_is_by_the_id_of_a_request():
    with BatchServer("anthropic") as server:
        batches = batches_of(MAKE["anthropic"](server.url))

        async def go() -> str | None:
            state = await made(batches, "hi", label="mine")
            return await batches.first_id(await batches.state(state.id))

        assert on_loop(go()) == "mine-0"


def test_a_batch_that_was_refused_as_a_whole_says_why():
    with BatchServer("responses") as server:
        batches = batches_of(MAKE["responses"](server.url))

        async def go() -> BatchState:
            state = await made(batches, "hi")
            server.batches[0].failure = "line 1 is no JSON"
            return await batches.state(state.id)

        state = on_loop(go())
    assert state.is_over
    assert state.failure == {"code": "invalid_json_line", "message": "line 1 is no JSON"}


VALUES = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    objects=st.lists(st.dictionaries(st.text(), VALUES, max_size=3), max_size=8),
    cuts=st.lists(st.integers(0, 2_000), max_size=12),
    ended=st.booleans(),
)
def test_lines_of_results_are_the_same_wherever_the_bytes_are_cut(objects, cuts, ended):
    data = b"\n".join(dumps(each) for each in objects) + (b"\n" if ended else b"")
    reading = _Lines(MAKE["chat"]("http://127.0.0.1:9"))
    places = [0, *sorted(cut for cut in cuts if cut <= len(data)), len(data)]
    read = [each for a, b in pairwise(places) for each in reading.feed(data[a:b])]
    read += reading.close()
    assert read == objects
    assert reading.fault is None


@given(st.integers(1, 200))
def test_lines_that_are_cut_say_so_unless_the_cut_is_between_two(cut):
    lines = [dumps({"custom_id": f"r{n}", "text": "x" * n}) for n in range(5)]
    data = b"\n".join(lines)
    reading = _Lines(MAKE["chat"]("http://127.0.0.1:9"))
    read = [*reading.feed(data[:-cut]), *reading.close()]
    assert read == [loads(line) for line in lines[: len(read)]]
    assert (reading.fault is None) == (b"\n".join(lines[: len(read)]) == data[:-cut].rstrip())


# --- keys and addresses ---------------------------------------------------------------------------


def test_results_are_fetched_from_the_host_that_was_asked_whatever_the_answer_names():
    # The fake names https://evil.invalid as the address of the results: nothing can be read there.
    with BatchServer("anthropic", answer=repeating) as server:
        found = on_loop(whole(batches_of(MAKE["anthropic"](server.url)), "hi"))
        assert server.count("GET", "/v1/messages/batches/msgbatch_0/results") == 1
    assert found["label-0"].reply is not None


@pytest.mark.parametrize(
    "id_", ["../files", "a/b", "", "x?y", "//evil.invalid", "a b", "é", None, 7]
)
def test_an_id_that_would_lead_elsewhere_is_refused(id_):
    with pytest.raises(ServerFault):
        checked_id(id_, "a batch")


@pytest.mark.parametrize("kind", KINDS)
def test_a_redirect_is_not_followed_and_the_key_stays(kind):
    with BatchServer(kind) as server, BatchServer(kind) as other:
        server.failures = [redirect(f"{other.url}/v1/messages/batches")]
        with pytest.raises(ProviderError, match="redirects elsewhere"):
            on_loop(batches_of(MAKE[kind](server.url)).state("batch_1"))
        assert other.requests == []


@pytest.mark.parametrize(
    "answer", [html_page(200), json_answer([1, 2]), json_answer({"nothing": "of use"})]
)
def test_an_answer_that_is_no_batch_is_an_error_of_ours(answer):
    with BatchServer("anthropic") as server:
        server.failures = [answer]
        with pytest.raises(ProviderError) as raised:
            on_loop(batches_of(MAKE["anthropic"](server.url)).state("batch_1"))
    assert KEY not in str(raised.value)


def test_vendors_without_a_batch_interface_that_is_known_are_refused():
    for model in (
        XAI("grok-4", api_key=KEY),
        Gemini("gemini-2.5-pro", api_key=KEY),
        provider("demo"),
    ):
        with pytest.raises(ConfigError, match="no batch interface"):
            batches_of(model)


def test_only_vendors_whose_price_of_a_batch_is_known_count_half():
    shares = {
        "anthropic": batches_of(Anthropic("claude-sonnet-4-6", api_key=KEY)),
        "openai": batches_of(OpenAI("gpt-5.4", api_key=KEY)),
        "other": batches_of(OpenAICompat("m", "http://127.0.0.1:9", api_key=KEY)),
    }
    assert {name: str(b.wire.share) for name, b in shares.items()} == {
        "anthropic": "0.5",
        "openai": "0.5",
        "other": "1",
    }

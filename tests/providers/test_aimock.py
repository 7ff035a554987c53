"""A peer's mock of four vendors, driven as by any client: right answers or typed errors, no more.

``@copilotkit/aimock`` 1.43 is what others test against, so it is an independent idea of each
format. What it does otherwise than the vendors is written down in the last part, and is not worked
around in the wires.

It needs Node. It is installed once a machine where ``ALLOY_TEST_REQUIRE`` names ``aimock``, with
``npm i @copilotkit/aimock@1.43`` in ``$ALLOY_TEST_CACHE/aimock`` (``~/.cache/alloy_nb/aimock``).
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alloy_nb.engine.agent import make_agent
from alloy_nb.engine.retry import RetryPolicy
from alloy_nb.engine.run import Result
from alloy_nb.errors import (
    ConnectionFailed,
    Overloaded,
    ProviderError,
    RateLimited,
    ServerFault,
    StreamTruncated,
)
from alloy_nb.messages import StopReason, user
from alloy_nb.providers import ModelRequest, provider
from tests.conftest import required
from tests.providers.wires import ask
from tests.real_model.build import cache_dir

pytestmark = pytest.mark.slow
PACKAGE = "@copilotkit/aimock"
SPECS = {
    "anthropic": "anthropic/claude-sonnet-4-6",
    "chat": "openai-compat/gpt-5.4",  # with --strict, thinking comes only from models known for it
    "responses": "openai/gpt-5.4",
    "gemini": "gemini/gemini-2.5-pro",
}
LONG = "an answer that is long enough to be cut somewhere in the middle of its words"
ERRORS = {"rate limit": 429, "overloaded": 529, "broken": 500, "unavailable": 503}
each = pytest.mark.parametrize("wire", SPECS)


def fixture(said: str, response: dict[str, Any], **more: Any) -> dict[str, Any]:
    match = {"userMessage": said, **more.pop("match", {})}
    return {"match": match, "response": response, **more}


def tool(arguments: str) -> dict[str, Any]:
    return {"toolCalls": [{"id": "call_A", "name": "echo", "arguments": arguments}]}


def failure(kind: str, status: int) -> dict[str, Any]:
    return {"error": {"message": f"so {kind}", "type": kind.replace(" ", "_")}, "status": status}


def fixtures() -> list[dict[str, Any]]:
    """Return what the mock answers; each wire has a retry of its own, since it counts for all."""
    return [
        fixture("say hello", {"content": "Hello there, world."}),
        fixture("say much", {"content": "été 漢字 " * 500}),
        fixture("say faces", {"content": "a😀b😀😀c"}),
        fixture("think first", {"reasoning": "Let me think about it.", "content": "42"}),
        fixture("use it", {"content": "It said hi."}, match={"hasToolResult": True}),
        fixture("use it", tool('{"text": "hi"}'), match={"hasToolResult": False}),
        fixture("break the arguments", tool('{"text": oops')),
        *(fixture(f"fail: {kind}", failure(kind, status)) for kind, status in ERRORS.items()),
        *(
            fixture(f"once for {wire}", answer, match={"sequenceIndex": number})
            for wire in SPECS
            for number, answer in enumerate([failure("rate limit", 429), {"content": "recovered"}])
        ),
        fixture("cut it", {"content": LONG}, latency=10, truncateAfterChunks=4, chunkSize=4),
        fixture("hang up", {"content": LONG}, latency=20, disconnectAfterMs=90, chunkSize=4),
        fixture("malformed", {"content": LONG}, chaos={"malformedRate": 1}),
        fixture("drop", {"content": LONG}, chaos={"dropRate": 1}),
        fixture("gone", {"content": LONG}, chaos={"disconnectRate": 1}),
    ]


def program() -> Path:
    """Return the mock's program; where it must be there, it is installed."""
    folder = cache_dir() / "aimock"
    found = folder / "node_modules" / PACKAGE / "dist" / "cli.js"
    lack = f"no {PACKAGE}: npm i --prefix {folder} {PACKAGE}@1.43"
    if shutil.which("node") is None or not (found.exists() or shutil.which("npm")):
        (pytest.fail if required("aimock") else pytest.skip)(f"no Node; then {lack}")
    if not found.exists():
        if not required("aimock"):
            pytest.skip(lack)
        folder.mkdir(parents=True, exist_ok=True)
        install = ["npm", "i", "--prefix", str(folder), f"{PACKAGE}@1.43"]
        subprocess.run(install, check=True, capture_output=True, timeout=300)
    return found


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Give a function that starts a mock with these switches and returns its address."""
    cli = program()
    folder = tmp_path_factory.mktemp("aimock")
    (folder / "fixtures.json").write_text(json.dumps({"fixtures": fixtures()}))
    running: list[subprocess.Popen[bytes]] = []

    def started(*switches: str) -> str:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = ["node", str(cli), "-p", str(port), "-h", "127.0.0.1", "-f", str(folder)]
        log = (folder / f"log-{port}").open("wb")
        with log:
            running.append(
                subprocess.Popen([*command, "--strict", *switches], stdout=log, stderr=log)
            )
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return f"http://127.0.0.1:{port}"
        raise TimeoutError((folder / f"log-{port}").read_text())

    yield started
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def mock(start: Any) -> str:
    """Give the address of a mock without chaos but that of single fixtures."""
    url: str = start("-c", "7")
    return url


def model(wire: str, url: str) -> Any:
    return provider(SPECS[wire], base_url=url, api_key="k", timeout=5.0)


def reply(wire: str, url: str, words: str) -> Any:
    """Ask, and hold the answer to be there within a moment."""
    began = time.monotonic()
    try:
        return ask(model(wire, url), ModelRequest([user(words)]))
    finally:
        assert time.monotonic() - began < 8, "it hung"


def run(wire: str, url: str, words: str, **settings: Any) -> Result:
    """Run an agent with one tool; it waits for nothing between its attempts."""

    def echo(text: str) -> str:
        """Say it back."""
        return text

    async def at_once(_: float) -> None:
        return None

    agent, _ = make_agent(model(wire, url), {"tools": [echo], "max_turns": 4, **settings})
    agent = type(agent)(
        **{name: getattr(agent, name) for name in agent.__dataclass_fields__}
        | {"retry": RetryPolicy(max_retries=2, sleep=at_once)}
    )
    return agent.run(words)


# --- right answers --------------------------------------------------------------------------------


@each
def test_an_answer_arrives_whole(wire, mock):
    whole = reply(wire, mock, "say hello")
    assert (whole.message.text, whole.stop) == ("Hello there, world.", StopReason.END_TURN)


@each
def test_a_long_answer_of_many_chunks_arrives_whole(wire, mock):
    assert reply(wire, mock, "say much").message.text == "été 漢字 " * 500


@each
def test_thinking_comes_before_the_answer_and_is_no_part_of_it(wire, mock):
    message = reply(wire, mock, "think first").message
    assert (message.thinking, message.text) == ("Let me think about it.", "42")


@each
def test_a_tool_loop_goes_through(wire, mock):
    result = run(wire, mock, "use it")
    assert (result.status, result.text, result.turns) == ("completed", "It said hi.", 2)
    assert [(call.name, call.input) for call in result.tool_calls] == [("echo", {"text": "hi"})]


# --- typed errors ---------------------------------------------------------------------------------


@each
@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("rate limit", RateLimited),
        ("overloaded", Overloaded),
        ("broken", ServerFault),
        ("unavailable", Overloaded),
    ],
)
def test_each_failure_has_its_type(wire, mock, kind, cause):
    with pytest.raises(cause, match=f"so {kind}") as caught:
        reply(wire, mock, f"fail: {kind}")
    assert (type(caught.value), caught.value.status) == (cause, ERRORS[kind])


@each
def test_a_rate_limit_says_how_long_to_wait(wire, mock):
    with pytest.raises(RateLimited) as caught:
        reply(wire, mock, "fail: rate limit")
    assert caught.value.retry_after == 1.0


@each
def test_a_rate_limit_is_waited_out(wire, mock):
    result = run(wire, mock, f"once for {wire}")
    assert (result.status, result.text) == ("completed", "recovered")


@each
@pytest.mark.parametrize("how", ["cut it", "hang up"])
def test_an_answer_that_breaks_off_is_no_answer_and_keeps_what_came(wire, mock, how):
    result = run(wire, mock, how)
    assert result.status == "error"
    assert isinstance(result.exception, StreamTruncated)
    partial = result.exception.partial
    assert partial is None or LONG.startswith(partial.text)


@each
def test_an_answer_that_is_no_stream_is_an_error_of_ours(wire, mock):
    with pytest.raises(ServerFault):
        reply(wire, mock, "malformed")


@each
def test_a_dropped_request_is_an_error_of_ours(wire, mock):
    with pytest.raises(ServerFault):
        reply(wire, mock, "drop")


@each
def test_a_connection_that_is_gone_is_an_error_of_ours(wire, mock):
    with pytest.raises(ConnectionFailed):
        reply(wire, mock, "gone")


@pytest.mark.parametrize(
    "switch", ["--chaos-drop", "--chaos-malformed", "--chaos-disconnect", "--chaos-ratelimit"]
)
def test_chaos_half_of_the_time_is_survived(start, switch):
    url = start(switch, "0.5")

    async def one(wire: str) -> str:
        from alloy_nb.providers.fold import ReplyBuilder

        asked = model(wire, url)
        builder = ReplyBuilder(provider=asked.name, model=asked.model)
        try:
            async with asyncio.timeout(20):
                async for event in asked.stream(ModelRequest([user("say hello")])):
                    builder.feed(event)
        except ProviderError as error:
            assert str(error)
            return "error"
        return builder.done().message.text

    async def all_of_them() -> list[str]:
        from alloy_nb.providers.http import close_clients

        try:
            return await asyncio.gather(*(one(wire) for wire in SPECS for _ in range(10)))
        finally:
            await close_clients()

    outcomes = asyncio.run(all_of_them())
    assert set(outcomes) == {"error", "Hello there, world."}


# --- what it does otherwise than the vendors ------------------------------------------------------


@each
def test_it_cuts_characters_into_halves_which_are_joined_again(wire, start):
    """Chunks are cut in UTF-16, so that a character beyond it comes as two lone surrogates."""
    said = reply(wire, start("-c", "2"), "say faces").message.text
    assert said == "a😀b😀😀c"


@each
def test_it_rewrites_broken_arguments_for_two_formats_and_passes_them_on_for_two(wire, mock):
    """Anthropic's and Gemini's format cannot get them; the others can, and they never run."""
    (call,) = reply(wire, mock, "break the arguments").message.tool_calls
    if wire in ("anthropic", "gemini"):
        assert (call.input, call.invalid) == ({}, None)
    else:
        assert (call.input, call.invalid) == ({}, '{"text": oops')


def test_it_ends_a_reply_with_a_finish_reason_that_gemini_does_not_have(mock):
    """``FUNCTION_CALL`` is none of the vendor's; an unknown reason with calls is for its tools."""
    whole = reply("gemini", mock, "use it")
    assert (whole.stop, whole.detail) == (StopReason.TOOL_USE, "FUNCTION_CALL")


@each
def test_it_counts_no_tokens_where_a_fixture_does_not_but_in_one_format(wire, mock):
    """Counts of zero, or of words, come where the vendors would count: they test no usage."""
    used = reply(wire, mock, "say hello").usage
    assert used.total_tokens == (8 if wire == "chat" else 0)


@each
def test_what_it_has_no_answer_for_is_an_error_of_ours(wire, mock):
    """With ``--strict`` it says 503, which a vendor says when it is overloaded."""
    with pytest.raises(Overloaded, match="no fixture matched"):
        reply(wire, mock, "something else")

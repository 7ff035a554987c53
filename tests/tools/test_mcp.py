"""MCP servers that behave: the SDK's own, over pipes and over HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

import alloy_nb as al
from alloy_nb.engine.calls.tool import ToolContext, as_tools
from alloy_nb.errors import ConfigError, ToolError
from alloy_nb.events import ApprovalAsked, ToolProgress
from alloy_nb.messages import ToolCall, user
from alloy_nb.providers.base import ModelRequest
from alloy_nb.tools.mcp_content import definition_of, plain, tool_name, visible
from tests.engine.scripted import Scripted, calls, of_run, says
from tests.oracles.strict import validate_anthropic, validate_chat, validate_responses
from tests.providers.wires import ANTHROPIC, CHAT, RESPONSES

pytest.importorskip("mcp")

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "tests.tools.good_mcp"]


@pytest.fixture(scope="module")
def good() -> Iterator[al.McpServer]:
    """Give a server over its pipes, one for the file."""
    with al.mcp("good", command=COMMAND, cwd=ROOT, timeout=20) as server:
        yield server


@dataclass
class HttpServer:
    """A server of ours over HTTP, which a test may end and start again."""

    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    def start(self) -> None:
        command = [*COMMAND, str(self.port)]
        self.process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 30
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("the server did not start")

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def over_http() -> Iterator[HttpServer]:
    with socket.socket() as kept:  # bound, it keeps the port from others, also between two starts
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        server = HttpServer(kept.getsockname()[1])
        server.start()
        yield server
        server.end()


def call(
    server: al.McpServer, name: str, context: ToolContext | None = None, /, **given: Any
) -> Any:
    found = {tool.name: tool for tool in server.tools}
    tool = found[f"mcp__good__{name}"]
    return asyncio.run(tool.bind(given, context or ToolContext())())


# --- over pipes -----------------------------------------------------------------------------------


def test_its_tools_have_its_name_in_front(good):
    names = [tool.name for tool in good.tools]
    assert names[:2] == ["mcp__good__add", "mcp__good__picture"]
    assert good.tools[0].description == "Add two numbers."
    assert good.tools[0].input_schema["required"] == ["a"]


def test_a_call_returns_text_and_structured_content(good):
    output = call(good, "add", a=2, b=3)
    assert (output.content, output.data, output.is_error) == ("5", {"result": 5}, False)


def test_arguments_that_do_not_fit_never_reach_the_server(good):
    with pytest.raises(ToolError, match="a: should be of the type integer"):
        call(good, "add", a="two")


def test_a_picture_is_a_picture(good):
    (picture,) = call(good, "picture").content
    assert (picture.media_type, picture.data[:8]) == ("image/png", "iVBORw0K")


def test_a_tool_that_fails_is_a_tool_error(good):
    output = call(good, "fail")
    assert output.is_error
    assert "fail" in output.content


def test_progress_is_shown_without_escape_sequences(good):
    lines: list[str] = []
    call(good, "slow", ToolContext(progress=lines.append), seconds=0.1)
    assert lines == ["1/2 half way"]


def test_keys_are_not_in_its_environment_unless_given(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-canary0123456789")
    monkeypatch.setenv("HARMLESS", "stays")
    given_key = {"GIVEN_API_KEY": "for this server"}
    with al.mcp("good", command=COMMAND, cwd=ROOT, env=given_key) as server:
        assert call(server, "variable", name="ANTHROPIC_API_KEY").content == "(unset)"
        assert call(server, "variable", name="HARMLESS").content == "stays"
        assert call(server, "variable", name="GIVEN_API_KEY").content == "for this server"
    assert "for this server" not in repr(server)


def test_a_server_that_died_is_started_again_by_the_next_call():
    with al.mcp("good", command=COMMAND, cwd=ROOT) as server:
        first = call(server, "pid").content
        with pytest.raises(ToolError, match="exit code 3"):
            call(server, "die")
        assert call(server, "pid").content != first


def test_calls_run_side_by_side(good):
    async def scene() -> float:
        slow = {tool.name: tool for tool in good.tools}["mcp__good__slow"]
        start = time.monotonic()
        await asyncio.gather(*(slow.bind({"seconds": 1}, ToolContext())() for _ in range(8)))
        return time.monotonic() - start

    assert asyncio.run(scene()) < 6


def test_it_opens_in_any_loop():
    async def scene() -> str:
        async with al.mcp("good", command=COMMAND, cwd=ROOT) as server:
            return await server.tools[0].bind({"a": 1}, ToolContext())()

    assert asyncio.run(scene()).content == "2"


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended; who was killed, or waits to be reaped, gets a moment."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def test_closed_its_tools_cannot_be_had_and_its_process_is_gone():
    server = al.mcp("good", command=COMMAND, cwd=ROOT)
    with server:
        pid = int(call(server, "pid").content)
        kept = server.tools[0]
    assert is_gone(pid)
    with pytest.raises(ConfigError, match="is not open"):
        server.tools  # noqa: B018
    with pytest.raises(ToolError, match="is closed"):
        asyncio.run(kept.bind({"a": 1}, ToolContext())())


def test_the_end_of_the_interpreter_ends_the_server():
    code = f"""
        import alloy_nb as al, asyncio
        server = al.mcp("good", command={COMMAND!r}).open()
        tool = [t for t in server.tools if t.name.endswith("pid")][0]
        print(asyncio.run(tool.bind({{}}, al.ToolContext())()).content)
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert is_gone(int(done.stdout))


# --- in a run -------------------------------------------------------------------------------------


def test_in_a_run_the_server_stands_for_its_tools(good):
    model = Scripted(calls(("mcp__good__add", {"a": 20, "b": 22})), says("42"))
    result = al.run("?", provider=model, tools=[al.read, good])
    assert result.tool_calls[0].data == {"result": 42}
    assert [spec.name for spec in model.requests[0].tools][:2] == ["read", "mcp__good__add"]


@pytest.mark.parametrize(
    ("wire", "validate"),
    [(ANTHROPIC, validate_anthropic), (CHAT, validate_chat), (RESPONSES, validate_responses)],
)
def test_every_vendor_takes_its_definitions(wire, validate, good):
    agent = al.Agent(provider=Scripted(), tools=as_tools([good]))
    asked = ModelRequest(messages=[user("hi")], tools=agent.tool_specs)
    validate(json.loads(wire.body(asked)))


def test_a_call_asks_first_under_the_policy_ask(good):
    events: list[Any] = []
    model = Scripted(calls(("mcp__good__add", {"a": 1})), says("no"))
    al.stream(
        "?", lambda _: None, provider=model, tools=[good], approve="ask", on_event=events.append
    )
    (asked,) = of_run(ApprovalAsked, events)
    assert asked.subject == 'add of the MCP server good, with:\n{\n  "a": 1\n}'


def test_progress_of_a_server_is_an_event(good):
    events: list[Any] = []
    model = Scripted(calls(("mcp__good__slow", {"seconds": 0.1})), says("done"))
    al.stream("?", lambda _: None, provider=model, tools=[good], on_event=events.append)
    assert [body.text for body in of_run(ToolProgress, events)] == ["1/2 half way"]


@pytest.mark.parametrize(("answer", "runs"), [(True, True), (False, False)])
def test_the_approver_of_a_run_is_asked_about_a_changed_tool(answer, runs):
    asked: list[tuple[str, bool]] = []

    async def approve(call: ToolCall, tool: al.Tool) -> al.Decision:
        asked.append((tool.subject_of(call.input), tool.ask_anew))
        return al.Decision(allowed=answer or not tool.ask_anew)

    bad = Path(__file__).with_name("bad_mcp.py")
    command = [sys.executable, "-I", str(bad), "changes its tools after a call"]
    echo = ("mcp__bad__echo", {"text": "hi"})
    with al.mcp("bad", command=command) as server:
        model = Scripted(calls(echo), calls(echo), says("done"))
        result = al.run("?", provider=model, tools=[server], approve=approve)
    assert (result.tool_calls[1].error is None) is runs
    assert [anew for _, anew in asked] == [False, False, True]
    assert "id_rsa" in asked[2][0]


# --- over HTTP ------------------------------------------------------------------------------------


def test_over_http_it_works_the_same(over_http):
    with al.mcp("good", url=over_http.url) as server:
        assert call(server, "add", a=1).content == "2"
        assert call(server, "picture").content[0].media_type == "image/png"
        assert call(server, "fail").is_error


def test_over_http_a_call_has_a_limit_of_time(over_http):
    with (
        al.mcp("good", url=over_http.url, timeout=1.0) as server,
        pytest.raises(ToolError, match="within 1 s"),
    ):
        call(server, "slow", seconds=30)


def test_over_http_a_server_that_was_started_again_is_used_again(over_http):
    with al.mcp("good", url=over_http.url) as server:
        assert call(server, "add", a=1).content == "2"
        over_http.end()
        with pytest.raises(ToolError, match="The MCP server good"):
            call(server, "add", a=1)
        over_http.start()
        assert call(server, "add", a=1).content == "2"


def test_where_nobody_listens_there_is_one_sentence():
    with (
        pytest.raises(ToolError, match="could not be used: ConnectError"),
        al.mcp("good", url="http://127.0.0.1:9/mcp"),
    ):
        pass


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 300000000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: ",
    ],
    ids=["json", "events"],
)
def test_over_http_a_reply_without_end_is_cut(reply):
    """Answer every request with as many bytes as are taken."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener:
            while True:
                try:
                    one, _ = listener.accept()
                except OSError:
                    return
                with one:
                    try:
                        one.recv(65536)
                        one.sendall(reply)
                        for _ in range(300):
                            one.sendall(b"x" * (1 << 20))
                    except OSError:
                        continue

    threading.Thread(target=serve, daemon=True).start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    try:
        with (
            pytest.raises(ToolError, match="could not be used"),
            al.mcp("big", url=url, start_timeout=8, max_message_mb=2),
        ):
            pass
    finally:
        listener.close()


def test_headers_reach_the_server_and_no_repr_or_log(caplog):
    seen: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        one, _ = listener.accept()
        with one:
            seen.append(one.recv(65536))
            one.sendall(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    headers = {"Authorization": "Bearer canary-0123456789abcdef"}
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    server = al.mcp("good", url=url, headers=headers, start_timeout=5)
    with caplog.at_level(logging.DEBUG), pytest.raises(ToolError) as caught, server:
        pass
    thread.join(5)
    listener.close()
    assert b"canary-0123456789abcdef" in seen[0]
    assert "canary" not in f"{server!r}{caught.value}{caplog.text}"


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "a__b", "command": ["x"]}, "cannot be a server's name"),
        ({"name": "a b", "command": ["x"]}, "cannot be a server's name"),
        ({"name": "x" * 40, "command": ["x"]}, "cannot be a server's name"),
        ({"name": "a"}, "either command= or url="),
        ({"name": "a", "command": ["x"], "url": "http://x"}, "either command= or url="),
        ({"name": "a", "command": []}, "command= is empty"),
        ({"name": "a", "url": "ftp://x"}, "is no address"),
        ({"name": "a", "command": ["x"], "timeout": 0}, "timeout must be"),
    ],
)
def test_a_wrong_setting_is_an_error_before_anything_starts(settings, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        al.mcp(**settings)


def test_a_server_that_is_not_open_cannot_be_a_tool():
    with pytest.raises(ConfigError, match="in a with block"):
        al.run("?", provider=Scripted(), tools=[al.mcp("a", command=["x"])])


def test_a_program_that_is_not_there_is_one_sentence():
    with pytest.raises(ToolError, match="FileNotFoundError"), al.mcp("a", command=["/no/such"]):
        pass


def test_a_pin_admits_these_definitions_and_no_others(good):
    with al.mcp("good", command=COMMAND, cwd=ROOT, pin=good.fingerprint):
        pass
    with (
        pytest.raises(ConfigError, match="are not those that pin= names"),
        al.mcp("good", command=COMMAND, cwd=ROOT, pin="0" * 64),
    ):
        pass


def test_without_the_sdk_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(sys.modules["alloy_nb.tools.mcp"], "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'alloy-nb\[mcp\]'"):
        al.mcp("a", command=["x"])


def test_only_the_wanted_tools_are_taken():
    with al.mcp("good", command=COMMAND, cwd=ROOT, only=["pid"]) as server:
        assert [tool.name for tool in server.tools] == ["mcp__good__pid"]


# --- what a server says ---------------------------------------------------------------------------


@given(st.text(min_size=1), st.text())
def test_any_name_becomes_one_that_all_vendors_take(server, tool):
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", tool_name(server, tool))


@given(st.lists(st.text(max_size=80) | st.sampled_from("a:._"), unique=True, max_size=8))
def test_two_names_never_become_one(names):
    taken: dict[str, str] = {}
    for name in names:
        taken[tool_name("s", name, taken)] = name
    assert len(taken) == len(names)


def test_a_name_cannot_be_made_to_be_taken():
    wanted = tool_name("s", "a:b")
    evil = wanted.removeprefix("mcp__s__")
    assert tool_name("s", evil, [wanted]) != wanted
    assert tool_name("s", "a:b", [tool_name("s", evil)]) != wanted


@given(st.text())
def test_plain_text_has_no_control_characters_and_can_be_sent(text):
    made = plain(text + "\x1b[31m\x9b2J")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", made)
    made.encode()


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "Zs"])))
def test_what_can_be_seen_stays_as_it_is(text):
    assert visible(text) == plain(text) == text


@pytest.mark.parametrize("text", ["\x1b[31mred\x1b[0m", "\x1b]0;title\x07red", "\x1bPq#0\x1b\\red"])
def test_escape_sequences_go_with_all_of_their_letters(text):
    assert plain(text) == "red"


def test_an_escape_sequence_without_an_end_hides_nothing_of_a_result():
    assert plain("\x1b]0;title\nwhat was found").endswith("\nwhat was found")


@given(st.text(), st.text())
def test_a_definition_that_changed_has_another_digest(one, other):
    digests = [definition_of("f", text, {"type": "object"}).digest for text in (one, other)]
    assert (digests[0] == digests[1]) is (one == other)

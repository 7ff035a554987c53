"""The codex command line as a model: a program of our own stands in for it.

The program below behaves as ``codex exec --json`` does: it reads the prompt, prints events, one a
line, and writes its answer to the file that it was told. What it does besides is the test's word.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from alloy_nb.errors import (
    AuthFailed,
    ConfigError,
    ProviderError,
    QuotaExceeded,
    ServerFault,
    StreamTruncated,
    TimedOut,
)
from alloy_nb.events import BlockStarted, ReplyStarted, Stopped, TextDelta, ThinkingDelta
from alloy_nb.messages import (
    Image,
    Message,
    Origin,
    StopReason,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    assistant,
    user,
)
from alloy_nb.providers import Codex, ModelOptions, ModelRequest, ToolSpec, codex_program, provider
from tests.providers.wires import collect

PROGRAM = """\
#!{python}
import json, os, signal, subprocess, sys, time
from pathlib import Path
folder = Path({folder!r})
script = json.loads((folder / "script.json").read_text())
home = Path(os.environ["CODEX_HOME"])
arguments = sys.argv[1:]
(folder / "pid").write_text(str(os.getpid()))
reply = Path(arguments[arguments.index("--output-last-message") + 1])
schema = json.loads(Path(arguments[arguments.index("--output-schema") + 1]).read_text())
prompt = "" if script.get("deaf") else sys.stdin.buffer.read().decode()
seen = {{
    "arguments": arguments, "prompt": prompt, "environment": dict(os.environ), "schema": schema,
    "work": os.getcwd(), "listing": sorted(os.listdir(".")), "folder": str(reply.parent),
    "home": {{p.name: [oct(p.stat().st_mode & 0o777), p.read_text()] for p in home.iterdir()}},
    "home_mode": oct(home.stat().st_mode & 0o777),
}}
(folder / "seen.json.new").write_text(json.dumps(seen))
os.replace(folder / "seen.json.new", folder / "seen.json")
for line in script.get("lines", []):
    print(line if isinstance(line, str) else json.dumps(line), flush=True)
if "long_line" in script:
    print("x" * script["long_line"], flush=True)
if "error" in script:
    print(script["error"], file=sys.stderr, flush=True)
if "reply" in script:
    answer = script["reply"]
    reply.write_text(answer if isinstance(answer, str) else json.dumps(answer))
if script.get("stubborn"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if script.get("child"):
    fled = script["child"] == "fled"
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    child = subprocess.Popen(sleep, start_new_session=fled)
    (folder / "child").write_text(str(child.pid))
(folder / "ready").touch()
if script.get("hang"):
    time.sleep(600)
sys.exit(script.get("status", 0))
"""
OK = {"stop_reason": "end_turn", "text": "Hello", "tool_calls": []}
AUTH = '{"tokens": {"access_token": "secret"}}'


class Stage:
    """A fake codex, what it is to do, and what it saw."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "codex-home"
        self.home.mkdir()
        (self.home / "auth.json").write_text(AUTH)
        self.program = folder / "codex"
        self.program.write_text(PROGRAM.format(python=sys.executable, folder=str(folder)))
        self.program.chmod(0o755)
        self.temporary = folder / "tmp"
        self.temporary.mkdir()

    def codex(self, model: str = "gpt-5.4", **settings: Any) -> Codex:
        return Codex(model, command=str(self.program), home=self.home, **settings)

    def plays(self, **script: Any) -> None:
        (self.folder / "script.json").write_text(json.dumps({"reply": OK, **script}))

    def ask(self, asked: ModelRequest | None = None, **settings: Any) -> list[Any]:
        return asyncio.run(collect(self.codex(**settings), asked))

    @property
    def seen(self) -> dict[str, Any]:
        return json.loads((self.folder / "seen.json").read_text())

    @property
    def asked(self) -> dict[str, Any]:
        """The JSON part of the prompt."""
        prompt = self.seen["prompt"]
        return json.loads(prompt[prompt.index("\n{") :])

    def leftovers(self) -> list[str]:
        return os.listdir(self.temporary)

    def is_dead(self, name: str) -> bool:
        """Tell whether a process has ended; one that was just killed gets a moment for it."""
        status = Path(f"/proc/{(self.folder / name).read_text()}/stat")
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                if status.read_text().rpartition(")")[2].split()[0] == "Z":
                    return True
            except (FileNotFoundError, ProcessLookupError):
                return True
            time.sleep(0.01)
        return False


@pytest.fixture
def stage(tmp_path, monkeypatch) -> Stage:
    made = Stage(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(made.temporary))
    made.plays()
    return made


def text(events: list[Any]) -> str:
    return "".join(e.text for e in events if isinstance(e, TextDelta))


def reply_of(events: list[Any]) -> Message:
    from alloy_nb.providers.fold import ReplyBuilder

    builder = ReplyBuilder(provider="codex", model="m")
    for event in events:
        builder.feed(event)
    return builder.done().message


# --- what it is told ------------------------------------------------------------------------------


def test_it_runs_exec_without_a_session_in_a_sandbox_that_only_reads(stage):
    stage.ask()
    arguments = stage.seen["arguments"]
    assert arguments[:4] == ["exec", "--json", "--skip-git-repo-check", "--ephemeral"]
    assert arguments[4:6] == ["--sandbox", "read-only"]
    assert arguments[-3:] == ["--model", "gpt-5.4", "-"]


def test_the_default_model_is_codexs_own_choice(stage):
    stage.ask(model="default")
    assert "--model" not in stage.seen["arguments"]


def test_the_prompt_goes_to_standard_input_and_not_to_the_command_line(stage):
    stage.ask(ModelRequest([user("my secret question")], system="Be brief."))
    assert "my secret question" not in " ".join(stage.seen["arguments"])
    assert stage.asked["system"] == "Be brief."
    assert stage.asked["conversation"] == [
        {"role": "user", "content": [{"type": "text", "text": "my secret question"}]}
    ]


def test_tools_are_described_with_their_schemas(stage):
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}}
    stage.ask(ModelRequest([user("hi")], tools=(ToolSpec("f", "Does.", schema),)))
    assert stage.asked["tools"] == [{"name": "f", "description": "Does.", "input_schema": schema}]


def test_the_schema_demands_every_field_and_allows_no_other(stage):
    stage.ask()
    for part in (stage.seen["schema"], stage.seen["schema"]["properties"]["tool_calls"]["items"]):
        assert part["additionalProperties"] is False
        assert sorted(part["required"]) == sorted(part["properties"])


def test_a_whole_history_is_told_without_what_other_vendors_signed(stage):
    made = Message(
        role="assistant",
        content=(
            Thinking(text="hm", replay={"signature": "CANARY"}),
            Text(text="so", replay={"thoughtSignature": "CANARY"}),
            ToolCall(id="c1", name="f", input={"x": 1}, replay={"thoughtSignature": "CANARY"}),
        ),
        origin=Origin(provider="gemini", model="g"),
    )
    told = user(ToolResult(call_id="c1", content=(Text(text="no"),), is_error=True), "and?")
    stage.ask(ModelRequest([user("hi", Image(data="iVBORw0KGgo=")), made, told]))
    assert "CANARY" not in stage.seen["prompt"]
    _, said, answered = stage.asked["conversation"]
    assert said["content"] == [
        {"type": "text", "text": "so"},
        {"type": "tool_call", "id": "c1", "name": "f", "input": {"x": 1}},
    ]
    assert answered["content"][0] == {
        "type": "tool_result",
        "call_id": "c1",
        "text": "no",
        "is_error": True,
    }


@pytest.mark.parametrize(
    ("effort", "word"),
    [("off", "minimal"), ("low", "low"), ("medium", "medium"), ("high", "high"), ("max", "xhigh")],
)
def test_an_effort_is_a_setting(stage, effort, word):
    stage.ask(ModelRequest([user("hi")], options=ModelOptions(effort=effort)))
    arguments = stage.seen["arguments"]
    assert arguments[arguments.index("--config") + 1] == f"model_reasoning_effort={word}"


@pytest.mark.parametrize(
    ("choice", "words"), [("any", "you must call a tool"), ("f", "you must call the tool f")]
)
def test_a_tool_that_must_be_called_is_demanded_in_words(stage, choice, words):
    options = ModelOptions(tool_choice=choice)
    stage.ask(ModelRequest([user("hi")], tools=(ToolSpec("f", "", {}),), options=options))
    assert words in stage.seen["prompt"]


def test_tools_that_must_not_be_called_are_not_told(stage):
    options = ModelOptions(tool_choice="none")
    stage.ask(ModelRequest([user("hi")], tools=(ToolSpec("f", "", {}),), options=options))
    assert stage.asked["tools"] == []


@pytest.mark.parametrize(
    "option",
    [
        {"temperature": 0.0},
        {"stop": ("x",)},
        {"thinking_budget": 9},
        {"web_search": True},
        {"x_search": True},
        {"code_execution": True},
        {"built_in_tools": ({"type": "x"},)},
        {"store": True},
        {"include": ("x",)},
        {"previous_response_id": "r"},
        {"extra_body": {"x": 1}},
    ],
    ids=lambda option: next(iter(option)),
)
def test_what_codex_cannot_be_told_is_refused_by_name(stage, option):
    (name,) = option
    with pytest.raises(ConfigError, match=name):
        stage.ask(ModelRequest([user("hi")], options=ModelOptions(**option)))
    assert not (stage.folder / "seen.json").exists()


# --- where it runs --------------------------------------------------------------------------------


def test_its_home_holds_a_copy_of_the_login_that_only_the_user_can_read(stage):
    stage.ask()
    assert stage.seen["home"] == {"auth.json": ["0o600", AUTH]}
    assert stage.seen["home_mode"] == "0o700"


def test_its_home_is_no_part_of_the_real_one(stage):
    stage.ask()
    assert not stage.seen["environment"]["CODEX_HOME"].startswith(str(stage.home))
    assert os.listdir(stage.home) == ["auth.json"]


def test_it_works_in_an_empty_folder(stage):
    stage.ask()
    assert stage.seen["listing"] == []


def test_a_profile_comes_with_its_settings(stage):
    (stage.home / "config.toml").write_text("[profiles.fast]\n")
    stage.ask(profile="fast")
    assert stage.seen["home"]["config.toml"] == ["0o600", "[profiles.fast]\n"]
    arguments = stage.seen["arguments"]
    assert arguments[arguments.index("--profile") + 1] == "fast"


def test_without_a_profile_its_settings_stay_where_they_are(stage):
    (stage.home / "config.toml").write_text("model = 'x'")
    stage.ask()
    assert "config.toml" not in stage.seen["home"]


def test_it_gets_nobodys_keys(stage, monkeypatch):
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "canary-of-a-key")
    monkeypatch.setenv("HARMLESS", "kept")
    stage.ask()
    assert "canary-of-a-key" not in str(stage.seen["environment"])
    assert stage.seen["environment"]["HARMLESS"] == "kept"


def test_nothing_is_left_of_its_folder(stage):
    stage.ask()
    assert stage.leftovers() == []
    assert not Path(stage.seen["folder"]).exists()


def test_the_home_is_taken_from_the_environment(stage, monkeypatch):
    monkeypatch.setenv("CODEX_HOME", str(stage.home))
    assert Codex().home == stage.home


# --- what it answers ------------------------------------------------------------------------------


def reasoning(words: Any) -> dict[str, Any]:
    return {"type": "item.completed", "item": {"id": "i0", "type": "reasoning", "text": words}}


USED = {
    "input_tokens": 100,
    "cached_input_tokens": 60,
    "output_tokens": 20,
    "reasoning_output_tokens": 5,
}


def test_an_answer_is_text_and_the_end_of_the_turn(stage):
    events = stage.ask()
    assert events[0] == ReplyStarted(None, "gpt-5.4")
    assert text(events) == "Hello"
    assert events[-1] == Stopped(StopReason.END_TURN)


def test_its_thoughts_are_thinking(stage):
    stage.plays(lines=[{"type": "thread.started"}, reasoning("First."), reasoning("Then.")])
    message = reply_of(stage.ask())
    assert message.thinking == "First.\n\nThen."
    assert message.text == "Hello"


def test_a_thought_is_shown_before_codex_has_ended(stage):
    stage.plays(lines=[reasoning("Hm.")], hang=True)

    async def first_thought() -> str:
        stream = stage.codex().stream(ModelRequest([user("hi")]))
        async for event in stream:
            if isinstance(event, ThinkingDelta):
                await stream.aclose()
                return event.text
        return ""

    assert asyncio.run(first_thought()) == "Hm."
    assert stage.is_dead("pid")
    assert stage.leftovers() == []


def test_what_it_used_is_counted(stage):
    stage.plays(lines=[{"type": "turn.completed", "usage": USED}])
    used = next(e.usage for e in stage.ask() if hasattr(e, "usage"))
    assert (used.input_tokens, used.cache_read_tokens) == (100, 60)
    assert (used.output_tokens, used.reasoning_tokens) == (20, 5)


def calls(*arguments: str, words: str = "") -> dict[str, Any]:
    return {
        "stop_reason": "tool_use",
        "text": words,
        "tool_calls": [
            {"call_id": "call_1", "name": "f", "arguments_json": each} for each in arguments
        ],
    }


def test_calls_of_our_tools_end_the_turn_for_them(stage):
    stage.plays(reply=calls('{"x": 1}', "{}", words="Let me see."))
    events = stage.ask()
    message = reply_of(events)
    assert message.text == "Let me see."
    assert [call.input for call in message.tool_calls] == [{"x": 1}, {}]
    assert events[-1] == Stopped(StopReason.TOOL_USE)


def test_ids_of_calls_never_come_twice(stage):
    stage.plays(reply=calls("{}", "{}"))
    ids = [e.id for _ in range(2) for e in stage.ask() if isinstance(e, BlockStarted) and e.id]
    assert len(set(ids)) == 4


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (r'{"path": "C:\dir\file"}', None),
        (r'{"pattern": "\d+\s"}', {"pattern": r"\d+\s"}),
        (r'{"text": "a\nb", "pattern": "\w"}', {"text": "a\nb", "pattern": r"\w"}),
        (r'{"text": "say \"\w\""}', {"text": r'say "\w"'}),
        (r'{"path": "a\\b\c"}', {"path": "a\\b\\c"}),
        (r'{"text": "\u00e9\x"}', {"text": "é\\x"}),
    ],
)
def test_backslashes_that_escape_nothing_are_repaired_and_others_kept(stage, arguments, meant):
    stage.plays(reply=calls(arguments))
    (call,) = reply_of(stage.ask()).tool_calls
    assert call.invalid is None
    if meant is not None:
        assert call.input == meant


@pytest.mark.parametrize("arguments", ["{", "[]", "no", r'{"a": "\d}', "3"])
def test_arguments_that_cannot_be_repaired_are_invalid(stage, arguments):
    stage.plays(reply=calls(arguments))
    (call,) = reply_of(stage.ask()).tool_calls
    assert (call.input, call.invalid) == ({}, arguments)


def test_a_turn_that_wants_tools_and_only_says_something_is_an_answer(stage):
    stage.plays(reply={"stop_reason": "tool_use", "text": "Well.", "tool_calls": []})
    events = stage.ask()
    assert (text(events), events[-1].reason) == ("Well.", StopReason.END_TURN)


@pytest.mark.parametrize(
    "reply",
    [
        {"stop_reason": "end_turn", "text": "", "tool_calls": calls("{}")["tool_calls"]},
        {"stop_reason": "tool_use", "text": "", "tool_calls": []},
        {"stop_reason": "later", "text": "x", "tool_calls": []},
        {},
        [],
        "17",
        "null",
    ],
    ids=str,
)
def test_an_answer_in_another_form_is_an_error_of_ours(stage, reply):
    stage.plays(reply=reply)
    with pytest.raises(StreamTruncated, match="Ask again"):
        stage.ask()
    assert stage.leftovers() == []


@pytest.mark.parametrize("value", [None, 3, "x", [], {}, [None], [{"name": 3}]], ids=str)
def test_values_of_any_kind_in_an_answer_are_survived(stage, value):
    stage.plays(
        reply={"stop_reason": "tool_use", "text": value, "tool_calls": value},
        lines=[value, reasoning(value), {"type": value}, {"type": "item.completed", "item": value}],
    )
    try:
        reply_of(stage.ask()).model_dump_json()
    except ProviderError as error:
        assert str(error)


def test_half_a_character_in_an_answer_is_replaced(stage):
    stage.plays(
        reply=r'{"stop_reason": "end_turn", "text": "a\ud83d", "tool_calls": []}',
        lines=[r'{"type": "item.completed", "item": {"type": "reasoning", "text": "b\ud83d"}}'],
    )
    message = reply_of(stage.ask())
    assert (message.text, message.thinking) == ("a\ufffd", "b\ufffd")


def test_lines_that_are_no_events_are_ignored(stage):
    stage.plays(lines=["WARN something", "", "{oops", "[1]", "3", '{"type": "item.started"}'])
    assert text(stage.ask()) == "Hello"


# --- sizes ----------------------------------------------------------------------------------------


def test_a_huge_prompt_arrives_whole(stage):
    words = "wörd " * 400_000
    stage.ask(ModelRequest([user(words)]))
    assert stage.asked["conversation"][0]["content"][0]["text"] == words


def test_a_huge_prompt_to_a_program_that_does_not_listen_does_not_hang(stage):
    stage.plays(deaf=True)
    assert text(stage.ask(ModelRequest([user("x" * 4_000_000)]))) == "Hello"


def test_a_huge_line_is_survived(stage, monkeypatch):
    monkeypatch.setattr(codex_program, "_LINE_BYTES", 100_000)
    stage.plays(lines=[reasoning("before")], long_line=3_000_000)
    message = reply_of(stage.ask())
    assert (message.thinking, message.text) == ("before", "Hello")


def test_a_line_of_some_size_is_kept(stage):
    words = "é" * 500_000
    stage.plays(lines=[reasoning(words)])
    assert reply_of(stage.ask()).thinking == words


# --- failures -------------------------------------------------------------------------------------


def test_a_failure_says_the_status_and_what_was_printed(stage):
    stage.plays(reply="", status=3, error="thread panicked at 'oops'")
    with pytest.raises(ServerFault, match=r"status 3: thread panicked at 'oops'"):
        stage.ask()
    assert stage.leftovers() == []


def test_only_the_end_of_a_long_output_is_in_the_error(stage):
    stage.plays(reply="", status=1, lines=["noise"] * 20_000, error="the end")
    with pytest.raises(ServerFault) as caught:
        stage.ask()
    assert "the end" in str(caught.value)
    assert len(str(caught.value)) < 2_200


def test_a_failed_turn_is_told_in_codexs_words(stage):
    failed = {"type": "turn.failed", "error": {"message": "stream disconnected"}}
    stage.plays(reply="", status=1, lines=[failed])
    with pytest.raises(ServerFault, match="stream disconnected"):
        stage.ask()


def test_a_failure_without_a_word_is_a_sentence_too(stage):
    stage.plays(reply="", status=1)
    with pytest.raises(ServerFault, match="status 1: no output"):
        stage.ask()


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ("unexpected status 401 Unauthorized", AuthFailed),
        ("Your refresh token was revoked. Please log in again.", AuthFailed),
        ("You've hit your usage limit. Try again at 3 PM.", QuotaExceeded),
    ],
)
def test_a_lost_login_and_a_used_up_plan_are_not_tried_again(stage, words, cause):
    stage.plays(reply="", status=1, lines=[{"type": "error", "message": words}])
    with pytest.raises(cause, match=words[:20]) as caught:
        stage.ask()
    assert not caught.value.retryable


def test_a_key_in_what_was_printed_is_masked(stage):
    stage.plays(reply="", status=1, error="bad key sk-proj-" + "a" * 40)
    with pytest.raises(ServerFault) as caught:
        stage.ask()
    assert "sk-proj-" not in str(caught.value)


def test_nothing_is_sent_before_a_failure_so_that_another_may_answer(stage):
    stage.plays(reply="", status=1)

    async def first() -> Any:
        async for event in stage.codex().stream(ModelRequest([user("hi")])):
            return event
        return None

    with pytest.raises(ServerFault):
        asyncio.run(first())


def test_a_missing_program_is_named(stage):
    codex = Codex(command="no-such-codex", home=stage.home)
    with pytest.raises(ConfigError, match="no-such-codex"):
        asyncio.run(collect(codex))


def test_a_program_that_cannot_start_is_an_error_of_ours(stage):
    stage.program.write_text("#!/no/such/interpreter\n")
    with pytest.raises(ConfigError, match="cannot be started"):
        stage.ask()
    assert stage.leftovers() == []


def test_a_missing_login_says_what_to_do(stage):
    (stage.home / "auth.json").unlink()
    with pytest.raises(ConfigError, match="codex login"):
        stage.ask()
    assert stage.leftovers() == []


def test_a_profile_without_settings_is_named(stage):
    with pytest.raises(ConfigError, match="profile='fast'"):
        stage.ask(profile="fast")


def test_a_model_without_a_name_is_refused():
    with pytest.raises(ConfigError, match="codex/"):
        Codex("")


def test_it_can_be_had_by_its_name():
    assert isinstance(provider("codex/gpt-5.4"), Codex)


# --- time and cancelling --------------------------------------------------------------------------


def wait_for(path: Path) -> None:
    end = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end, f"no {path.name}"
        time.sleep(0.01)


def test_a_program_that_takes_too_long_is_ended_with_all_that_it_started(stage):
    stage.plays(hang=True, child=True)
    with pytest.raises(TimedOut, match="within 5 seconds"):
        stage.ask(timeout=5)
    assert stage.is_dead("pid")
    assert stage.is_dead("child")
    assert stage.leftovers() == []


def test_the_runs_deadline_counts_too(stage):
    stage.plays(hang=True)
    began = time.monotonic()
    with pytest.raises(TimedOut):
        stage.ask(ModelRequest([user("hi")], deadline=time.monotonic() + 0.5))
    assert time.monotonic() - began < 20


def test_a_program_that_ignores_requests_to_end_is_killed(stage, monkeypatch):
    monkeypatch.setattr(codex_program, "_POLITE_SECONDS", 0.2)
    stage.plays(hang=True, stubborn=True)
    with pytest.raises(TimedOut):
        stage.ask(timeout=5)
    assert stage.is_dead("pid")


def test_cancelling_ends_the_program_and_removes_its_folder(stage):
    stage.plays(hang=True, child=True)

    async def go() -> None:
        task = asyncio.create_task(collect(stage.codex()))
        await asyncio.to_thread(wait_for, stage.folder / "ready")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(go())
    assert stage.is_dead("pid")
    assert stage.is_dead("child")
    assert stage.leftovers() == []


def test_what_it_leaves_running_holds_up_nobody(stage):
    stage.plays(child=True)
    began = time.monotonic()
    assert text(stage.ask()) == "Hello"
    assert time.monotonic() - began < 10
    assert stage.is_dead("child")


def test_what_fled_its_group_holds_up_nobody_either(stage):
    stage.plays(child="fled", lines=[reasoning("Hm.")])
    try:
        began = time.monotonic()
        assert reply_of(stage.ask()).thinking == "Hm."
        assert time.monotonic() - began < 10
    finally:
        os.kill(int((stage.folder / "child").read_text()), signal.SIGKILL)


def test_the_time_that_a_consumer_takes_is_not_codexs(stage):
    stage.plays(lines=[reasoning("Hm.")])

    async def go() -> str:
        said = []
        async for event in stage.codex(timeout=4.0).stream(ModelRequest([user("hi")])):
            if isinstance(event, ThinkingDelta):
                time.sleep(4.1)
            said.append(event)
        return text(said)

    assert asyncio.run(go()) == "Hello"


def test_two_requests_side_by_side_do_not_meet(stage):
    async def both() -> list[Any]:
        return await asyncio.gather(*(collect(stage.codex()) for _ in range(2)))

    assert [text(events) for events in asyncio.run(both())] == ["Hello", "Hello"]
    assert stage.leftovers() == []


def test_a_tool_loop_goes_on_with_the_results(stage):
    stage.plays(reply=calls('{"x": 1}'))
    said = reply_of(stage.ask())
    told = user(ToolResult(call_id=said.tool_calls[0].id, content=(Text(text="42"),)))
    stage.plays()
    assert text(stage.ask(ModelRequest([user("hi"), said, told]))) == "Hello"
    _, call, result = stage.asked["conversation"]
    assert call["content"][0]["id"] == result["content"][0]["call_id"]


def test_its_file_modes_do_not_depend_on_the_umask(stage):
    before = os.umask(0)
    try:
        stage.ask()
    finally:
        os.umask(before)
    assert stage.seen["home"]["auth.json"][0] == "0o600"


def test_an_assistants_greeting_may_begin(stage):
    stage.ask(ModelRequest([assistant("Hi there."), user("hello")]))
    assert stage.asked["conversation"][0]["role"] == "user"

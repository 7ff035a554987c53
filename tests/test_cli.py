"""The command line: what it opens, asks and refuses; with real processes, and a real terminal."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from alloy_nb import cli
from alloy_nb.engine.calls import approval
from alloy_nb.secrets import api_key_names
from tests.kernel_harness import clean_environment
from tests.servers.sse import STALL, Server, cut, json_answer, loop, stream
from tests.servers.wire import Call, Reply, Say, chat_events

CHAT = ["-m", "openai-compat/scripted-1", "--base-url"]


@pytest.fixture
def world(tmp_path):
    """Give an environment of its own: a home without keys, and the demo in a hurry."""
    return clean_environment(tmp_path / "home", {"ALLOY_DEMO_PACE": "0"})


@pytest.fixture
def folder(tmp_path):
    """Give a folder to work in."""
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture
def run(world, folder):
    """Give a function that runs the command, without a terminal."""

    def run(*words, piped=None, env=None):
        return subprocess.run(
            [sys.executable, "-m", "alloy_nb", *words],
            capture_output=True,
            text=True,
            timeout=120,
            env=world | (env or {}),
            cwd=folder,
            check=False,
            start_new_session=True,  # no terminal to ask on, also where the tests have one
            **({"stdin": subprocess.DEVNULL} if piped is None else {"input": piped}),
        )

    return run


@pytest.fixture
def here(folder, tmp_path, monkeypatch, capsys):
    """Give a function that runs the command in this process, for what ends before a request."""
    for name in (*api_key_names(), "ALLOY_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(folder)

    def run(*words):
        try:
            status = cli.main(words)
        except SystemExit as end:  # argparse's way
            status = end.code
        said = capsys.readouterr()
        return subprocess.CompletedProcess(words, status, said.out, said.err)

    return run


def asked(server, number=0):
    """Return what the user said last in a request."""
    content = server.requests[number].json["messages"][-1]["content"]
    return content if isinstance(content, str) else content[0]["text"]


def system_of(server):
    first = server.requests[0].json["messages"][0]
    return first["content"] if first["role"] == "system" else None


pytestmark = pytest.mark.slow


# --- asking once ----------------------------------------------------------------------------------


def test_a_prompt_is_answered_on_standard_output(run):
    ended = run("-p", "What can you do?", "-m", "demo")
    assert ended.returncode == 0
    assert "scripted" in ended.stdout
    assert "no model was asked" in ended.stderr


def test_without_a_model_and_a_key_the_demo_answers(run):
    assert "(scripted answers, no model was asked)" in run("-p", "hello").stderr


def test_standard_output_is_the_answer_alone(run):
    with Server(*loop([Call("read", {"file_path": "a.txt"})], [Say("It is 42.")])) as server:
        ended = run("-p", "hi", *CHAT, server.url)
    assert ended.stdout == "It is 42.\n"
    assert "[read a.txt: failed]" in ended.stderr


def test_what_is_said_before_and_after_a_tool_are_lines_of_their_own(run):
    turn = [Say("Let me look."), Call("read", {"file_path": "a.txt"})]
    with Server(*loop(turn, [Say("Nothing there.")])) as server:
        ended = run("-p", "hi", *CHAT, server.url)
    assert ended.stdout == "Let me look.\nNothing there.\n"


def test_a_footer_tells_turns_tokens_and_cost(run):
    with Server(*loop([Say("Hello")])) as server:
        ended = run("-p", "hi", *CHAT, server.url)
    footer = ended.stderr.strip().split("\n")[-1]
    assert re.fullmatch(
        r"\[openai-compat/scripted-1 · 1 turn · 11 tokens in, 7 out · cost unknown · [\d.]+ s\]",
        footer,
    )


def test_the_prompt_may_be_piped_in(run):
    with Server(*loop([Say("Hello")])) as server:
        assert run("-p", *CHAT, server.url, piped="What is\nthis?\n").returncode == 0
        assert asked(server).strip() == "What is\nthis?"


def test_what_is_piped_in_follows_the_prompt(run):
    with Server(*loop([Say("Hello")])) as server:
        run("-p", "Review this:", *CHAT, server.url, piped="+ one\n- two\n")
        assert asked(server).strip() == "Review this:\n\n+ one\n- two"


@pytest.mark.parametrize("words", [["-p"], ["-p", ""], ["-p", "  "]])
def test_an_empty_prompt_ends_with_status_1(here, words):
    ended = here(*words, "-m", "demo")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("alloy-nb: There is no prompt")


@pytest.mark.parametrize("piped", [None, " \n\t\n"])
def test_nothing_piped_in_is_an_empty_prompt(run, piped):
    assert run("-p", "-m", "demo", piped=piped).returncode == 1


def test_too_much_piped_in_is_refused(run):
    ended = run("-p", "hi", "-m", "demo", piped="x" * 4_000_001)
    assert ended.returncode == 1
    assert "More than 4,000,000 bytes" in ended.stderr


def test_a_wait_for_standard_input_is_told(world, folder):
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "alloy_nb", "-p", "hi", "-m", "demo"],
        stdin=reading,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=world,
        cwd=folder,
    )
    os.close(reading)
    line = process.stderr.readline()
    os.close(writing)
    out, _ = process.communicate(timeout=60)
    assert "waiting for the end of standard input" in line
    assert (process.returncode, bool(out)) == (0, True)


def test_bytes_that_are_no_text_are_replaced(world, folder):
    with Server(*loop([Say("Hello")])) as server:
        subprocess.run(
            [sys.executable, "-m", "alloy_nb", "-p", *CHAT, server.url],
            input=b"gr\xfcn",
            env=world,
            cwd=folder,
            timeout=60,
            check=True,
            capture_output=True,
        )
        assert asked(server) == "gr\ufffdn"


def test_a_failed_request_ends_with_one_line_and_status_1(run):
    failed = json_answer({"error": {"message": "no such thing"}}, status=400)
    with Server(failed) as server:
        ended = run("-p", "hi", *CHAT, server.url)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.strip().split("\n")[-1].startswith("alloy-nb: ")
    assert "no such thing" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_missing_key_names_the_variable(here):
    ended = here("-p", "hi", "-m", "anthropic/claude-sonnet-4-6")
    assert ended.returncode == 1
    assert "ANTHROPIC_API_KEY" in ended.stderr


def test_an_unknown_model_names_the_nearest(here):
    ended = here("-p", "hi", "-m", "antropic/claude-sonnet-4-6")
    assert ended.returncode == 1
    assert "Did you mean anthropic/claude-sonnet-4-6?" in ended.stderr


def test_a_cut_answer_is_shown_and_fails(run):
    events = chat_events(Reply([Say("A long answer that is cut")]))
    broken = stream(cut(events, sum(map(len, events)) - 300))
    with Server(broken) as server:
        ended = run("-p", "hi", *CHAT, server.url)
    assert ended.returncode == 1
    assert ended.stdout.startswith("A long")
    assert "alloy-nb: " in ended.stderr


# --- settings -------------------------------------------------------------------------------------


def test_all_four_tools_are_told_to_the_model_unless_fewer_are_wanted(run):
    with Server(*loop([Say("a")], [Say("b")], [Say("c")])) as server:
        for more in ([], ["--tools", "read,bash"], ["--tools", "none"]):
            run("-p", "hi", *CHAT, server.url, *more)
        told = [
            [tool["function"]["name"] for tool in request.json.get("tools", ())]
            for request in server.requests
        ]
    assert told == [["read", "write", "edit", "bash"], ["read", "bash"], []]


def test_an_unknown_tool_lists_the_valid_ones(here):
    ended = here("-p", "hi", "-m", "demo", "--tools", "read,python")
    assert ended.returncode == 1
    assert "--tools python: use some of read, write, edit, bash, or none." in ended.stderr


def test_system_turns_and_folder_are_settings(run, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a.txt").write_text("canary\n")
    turn = [Call("read", {"file_path": "a.txt"})]
    with Server(*loop(turn, turn, [Say("never")])) as server:
        ended = run(
            *("-p", "hi", *CHAT, server.url, "--system", "Be brief.", "--max-turns", "2"),
            *("--dir", str(tmp_path / "other")),
        )
        assert system_of(server) == "Be brief."
        assert "canary" in server.requests[1].json["messages"][-1]["content"]
        assert len(server.requests) == 2
    assert ended.returncode == 1
    assert "stopped with the status max_turns after 2 turns" in ended.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--dir", "missing"], "--dir missing: there is no such folder"),
        (["--max-cost", "much"], "max_cost"),
        (["--max-turns", "-1"], "max_turns must"),
        (["--base-url", "http://127.0.0.1:9"], "--base-url needs a model"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_it(here, words, told):
    model = [] if "--base-url" in words else ["-m", "demo"]
    ended = here("-p", "hi", *model, *words)
    assert ended.returncode == 1
    assert told in ended.stderr
    assert len(ended.stderr.strip().split("\n")) == 1


def test_a_limit_on_cost_stops_before_the_first_request(run, world):
    with Server() as server:
        key = {"ANTHROPIC_API_KEY": "sk-ant-api03-canary0123456789abcdef"}
        model = ["-m", "anthropic/claude-sonnet-4-6", "--base-url", server.url]
        ended = run("-p", "hi", *model, "--max-cost", "0.0001", env=key)
        assert server.requests == []
    assert ended.returncode == 1
    assert "$0.0001" in ended.stderr


def test_how_much_to_think_is_said_with_the_model(run):
    with Server(*loop([Say("Hello")])) as server:
        run("-p", "hi", "-m", "openai-compat/m:high", "--base-url", server.url)
        assert server.requests[0].json["model"] == "m"
        assert server.requests[0].json["reasoning_effort"] == "high"


def test_the_answer_can_be_printed_when_it_is_whole(run):
    with Server(*loop([Say("Hello there")])) as server:
        assert run("-p", "hi", *CHAT, server.url, "--no-stream").stdout == "Hello there\n"


def test_the_whole_result_can_be_printed_as_json(run, folder):
    (folder / "a.txt").write_text("canary\n")
    with Server(*loop([Call("read", {"file_path": "a.txt"})], [Say("It is\u202e 42.")])) as server:
        ended = run("-p", "hi", *CHAT, server.url, "--json")
    result = json.loads(ended.stdout)
    assert ended.returncode == 0
    assert (result["text"], result["status"], result["turns"]) == (
        "It is\u202e 42.",
        "completed",
        2,
    )
    assert (result["usage"]["input_tokens"], result["cost_usd"]) == (22, None)
    assert result["tool_calls"][0]["name"] == "read"
    assert [message["role"] for message in result["messages"]][:2] == ["user", "assistant"]
    assert ended.stdout.isascii()


def test_a_failure_is_json_too(run):
    with Server(json_answer({"error": {"message": "no such thing"}}, status=400)) as server:
        ended = run("-p", "hi", *CHAT, server.url, "--json")
    assert ended.returncode == 1
    assert "no such thing" in json.loads(ended.stdout)["error"]


# --- approval -------------------------------------------------------------------------------------


WRITE = [Call("write", {"file_path": "a.txt", "content": "canary"})]


def test_where_nobody_can_be_asked_nothing_is_written(run, folder):
    with Server(*loop(WRITE, [Say("Done.")])) as server:
        ended = run("-p", "hi", *CHAT, server.url)
        told = server.requests[1].json["messages"][-1]["content"]
    assert ended.stdout == "Done.\n"
    assert "Nobody could be asked" in told
    assert not (folder / "a.txt").exists()


@pytest.mark.parametrize(("policy", "written"), [("all", True), ("read", False), ("none", False)])
def test_a_policy_decides_unasked(run, folder, policy, written):
    with Server(*loop(WRITE, [Say("Done.")])) as server:
        run("-p", "hi", *CHAT, server.url, "--approve", policy)
    assert (folder / "a.txt").exists() is written


@pytest.mark.parametrize(("answer", "written"), [("y", True), ("n", False)])
def test_the_person_is_asked_on_the_terminal(world, folder, answer, written):
    with (
        Server(*loop(WRITE, [Say("Done.")])) as server,
        terminal("-p", "hi", *CHAT, server.url, env=world, cwd=folder) as shell,
    ):
        shell.wait_for("say why not: ")
        assert "canary" in shell.seen
        assert not (folder / "a.txt").exists()
        shell.type(f"{answer}\n")
        assert shell.wait() == 0
    assert (folder / "a.txt").exists() is written
    assert "Done." in shell.seen


def test_the_person_is_asked_also_where_something_is_piped_in(world, folder):
    with Server(*loop(WRITE, [Say("Done.")])) as server:
        words = ["-p", "hi", *CHAT, server.url]
        with terminal(*words, env=world, cwd=folder, piped=b"text") as shell:
            shell.wait_for("say why not: ")
            shell.type("y\n")
            assert shell.wait() == 0
    assert (folder / "a.txt").read_text() == "canary"


# --- what a terminal gets -------------------------------------------------------------------------


def test_an_answer_cannot_steer_the_terminal(run):
    text = "a\x1b[2Jb\x1b]0;title\x07c \u202ed\rlast"
    with Server(*loop([Say(text)])) as server:
        ended = run("-p", "hi", *CHAT, server.url)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", ended.stdout + ended.stderr)
    assert ended.stdout.startswith("abc ")


def test_a_key_in_an_answer_is_masked_however_it_is_cut(run):
    key = "sk-ant-api03-canary0123456789abcdefghij"
    with Server(*loop([Say(f"The key is {key} and more", size=3)])) as server:
        ended = run("-p", "hi", *CHAT, server.url, env={"OPENAI_COMPAT_API_KEY": key})
    assert ended.stdout == "The key is *** and more\n"


def test_a_terminal_of_another_encoding_shows_what_it_can(run):
    with Server(*loop([Say("Grün → ok")])) as server:
        ended = run("-p", "hi", *CHAT, server.url, env={"PYTHONIOENCODING": "ascii"})
    assert (ended.returncode, ended.stdout) == (0, "Gr?n ? ok\n")


def test_a_reader_that_leaves_ends_it_quietly(world, folder):
    text = "word " * 100_000
    with Server(*loop([Say(text, size=500)])) as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "alloy_nb", "-p", "hi", *CHAT, server.url],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=world,
            cwd=folder,
        )
        process.stdout.read(10)
        process.stdout.close()
        told = process.stderr.read()
        process.stderr.close()
        assert process.wait(60) == 1
    assert b"Traceback" not in told


def test_an_interrupt_ends_it_quietly_with_130(world, folder):
    events = chat_events(Reply([Say("The answer begins")]))
    stalled = stream(cut(events, len(b"".join(events[:3])), STALL))
    with Server(stalled) as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "alloy_nb", "-p", "hi", *CHAT, server.url],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=world,
            cwd=folder,
        )
        [request] = server.wait_for_requests(1, timeout=60)
        assert process.stdout.read(3) == "The"
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
        request.wait_closed()
    assert (process.returncode, told.strip()) == (130, "alloy-nb: stopped")


# --- standing instructions and skills -------------------------------------------------------------


@pytest.fixture
def instructions(folder):
    (folder / ".alloy/context").mkdir(parents=True)
    (folder / ".alloy/context/rules.md").write_text("Always in rhyme.\n")
    (folder / ".alloy/skills").mkdir()
    (folder / ".alloy/skills/review.md").write_text(
        "---\ndescription: faults\n---\nReview {{input}}."
    )


def test_standing_instructions_are_sent_and_named(run, instructions):
    with Server(*loop([Say("a")])) as server:
        ended = run("-p", "hi", *CHAT, server.url, "--system", "Be brief.")
        assert system_of(server) == "Be brief.\n\nAlways in rhyme."
    assert ended.stderr.startswith("[context: ")
    assert "rules.md" in ended.stderr


def test_standing_instructions_can_be_left_out(run, instructions):
    with Server(*loop([Say("a")])) as server:
        ended = run("-p", "hi", *CHAT, server.url, "--no-context")
        assert system_of(server) is None
    assert "rules.md" not in ended.stderr


def test_a_prompt_may_be_a_skill(run, instructions):
    with Server(*loop([Say("a")])) as server:
        run("-p", "/review main.py", *CHAT, server.url)
        assert asked(server) == "Review main.py."


def test_a_skill_is_filled_in_with_what_is_piped_in(run, instructions):
    with Server(*loop([Say("a")])) as server:
        run("-p", "/review", *CHAT, server.url, piped="+ one")
        assert asked(server) == "Review + one."


def test_an_unknown_skill_lists_those_that_there_are(here, instructions):
    ended = here("-p", "/revue x", "-m", "demo")
    assert ended.returncode == 1
    assert "Did you mean review? The skills are: review." in ended.stderr


def test_a_path_is_no_skill(run, instructions):
    with Server(*loop([Say("a")])) as server:
        run("-p", "/etc/hosts is what?", *CHAT, server.url)
        assert asked(server) == "/etc/hosts is what?"


# --- help and the lab -----------------------------------------------------------------------------


def test_nothing_asked_shows_the_help(here):
    ended = here()
    assert ended.returncode == 2
    assert "usage: alloy-nb" in ended.stdout


def test_the_help_tells_every_way_to_use_it(here):
    told = here("--help").stdout
    for word in ("lab", "chat", "-p", "git diff | alloy-nb", "ANTHROPIC_API_KEY", "exit status"):
        assert word in told
    assert "%%" not in told.replace("%%alloy", "")


@pytest.mark.parametrize("words", [["--version"], ["chat", "--help"], ["lab", "--help"]])
def test_help_and_version_end_with_status_0(here, words):
    assert here(*words).returncode == 0


@pytest.mark.parametrize("words", [["--nonsense"], ["--approve", "maybe"], ["chat"]])
def test_wrong_usage_ends_with_status_2(here, words):
    assert here("-p", "hi", *words).returncode == 2


def test_the_policies_are_those_of_the_engine():
    assert cli.POLICIES == approval.POLICIES


def test_help_imports_no_engine():
    code = (
        "import sys; from alloy_nb import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('IPython', 'httpx', 'alloy_nb.engine') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip().endswith("\n[]")


@pytest.mark.parametrize(
    ("words", "opened"),
    [
        ([], ["notebooks/01-first-cell.ipynb"]),
        (["--no-browser", "--port", "8899"], ["notebooks/01-first-cell.ipynb"]),
        (["mine.ipynb"], ["mine.ipynb"]),
    ],
)
def test_the_lab_opens_a_notebook_and_takes_jupyters_options(words, opened, monkeypatch, tmp_path):
    called = []
    monkeypatch.setattr(cli.subprocess, "call", lambda command: called.append(command) or 0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks/01-first-cell.ipynb").touch()
    (tmp_path / "mine.ipynb").touch()
    assert cli.main(["lab", *words]) == 0
    command = called[0][3:]
    assert [word for word in command if word.endswith(".ipynb")] == opened
    assert [w for w in command if w not in opened and w != "--allow-root"] == [
        w for w in words if w not in opened
    ]


def test_a_notebook_that_is_not_there_is_named(capsys):
    assert cli.main(["lab", "missing.ipynb"]) == 1
    assert "there is no missing.ipynb" in capsys.readouterr().err


# --- chat -----------------------------------------------------------------------------------------

_CONTROLS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b.|\r")


class Terminal:
    """A process in a terminal of its own: what it shows, and what is typed."""

    def __init__(self, process: subprocess.Popen, screen: int) -> None:
        self._process = process
        self._screen = screen
        self._raw = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def seen(self) -> str:
        """All that was shown, without control sequences."""
        return _CONTROLS.sub("", self._raw.decode("utf-8", "replace"))

    def type(self, text: str) -> None:
        """Type a text; a newline is the return key."""
        os.write(self._screen, text.replace("\n", "\r").encode())

    def wait_for(self, text: str, seconds: float = 90) -> None:
        """Wait until a text is shown."""
        end = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < end, f"{text!r} was not shown, but: {self.seen[-3000:]}"
            time.sleep(0.02)

    def wait(self, seconds: float = 60) -> int:
        """Wait for the end and return the status."""
        status = self._process.wait(seconds)
        self._reader.join(5)
        return status

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._screen, 65536)
            except OSError:  # how Linux says that the other side is closed
                return
            if not data:
                return
            self._raw += data


@contextmanager
def terminal(*words, env, cwd, piped=None):
    """Start the command in a terminal; with `piped`, standard input is a pipe all the same."""
    import pty

    screen, keyboard = pty.openpty()
    # A new session whose first terminal is ours, as a login has it.
    code = (
        "import fcntl, os, sys, termios; fcntl.ioctl(int(sys.argv[1]), termios.TIOCSCTTY, 0);"
        "sys.argv = ['alloy-nb', *sys.argv[2:]]; from alloy_nb.cli import main; sys.exit(main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "2", *words],
        stdin=keyboard if piped is None else subprocess.PIPE,
        stdout=keyboard,
        stderr=keyboard,
        env={**env, "TERM": "dumb", "COLUMNS": "200"},
        cwd=cwd,
        start_new_session=True,
    )
    os.close(keyboard)
    if piped is not None:
        process.stdin.write(piped)
        process.stdin.close()
    try:
        yield Terminal(process, screen)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        os.close(screen)


@contextmanager
def chat(*words, env, cwd):
    with terminal("chat", *words, env=env, cwd=cwd) as shell:
        shell.wait_for("In [1]:")
        yield shell
        shell.type("exit\n")
        assert shell.wait() == 0


def test_chat_is_ipython_with_the_extension_and_the_model(world, folder):
    with chat("-m", "demo", "--approve", "none", env=world, cwd=folder) as shell:
        assert "demo/demo (scripted answers, no model was asked)" in shell.seen
        shell.type("%alloy hello\n")
        shell.wait_for("I am the scripted demo")
        shell.wait_for("In [2]:")
        shell.type("%alloy approve\n")
        shell.wait_for("approve: none")
        shell.wait_for("In [3]:")
        shell.type("6 * 7\n")
        shell.wait_for("Out[3]: 42")


def test_chat_takes_commands_with_a_slash(world, folder):
    with chat("-m", "demo", env=world, cwd=folder) as shell:
        shell.type("%alloy hello\n")
        shell.wait_for("In [2]:")
        shell.type("/history\n")
        shell.wait_for("assistant")
        shell.wait_for("In [3]:")
        shell.type("/reset\n")
        shell.wait_for("The conversation is forgotten")
        shell.wait_for("In [4]:")
        shell.type("/usage\n")
        shell.wait_for("main")


def test_chat_runs_skills_with_a_slash(world, folder, instructions):
    with Server(*loop([Say("No fault.")])) as server:
        with chat(*CHAT, server.url, env=world, cwd=folder) as shell:
            assert "rules.md" in shell.seen
            shell.type("/skills\n")
            shell.wait_for("faults")
            shell.wait_for("In [2]:")
            shell.type("/review main.py\n")
            shell.wait_for("No fault.")
            shell.wait_for("In [3]:")
            shell.type("/revue main.py\n")
            shell.wait_for("The skills are: review")
        assert asked(server) == "Review main.py."
        assert "Always in rhyme." in system_of(server)


def test_chat_tells_an_unknown_model_before_it_starts(here):
    ended = here("chat", "-m", "antropic/claude-sonnet-4-6")
    assert ended.returncode == 1
    assert "Did you mean anthropic/claude-sonnet-4-6?" in ended.stderr

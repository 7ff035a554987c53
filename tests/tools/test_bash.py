"""`bash` comes back whatever it ran, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from alloy_nb.engine.calls.tool import ToolContext
from alloy_nb.errors import ToolError
from alloy_nb.tools import bash

# The promise is the timeout and three seconds. A machine that does much else as well is no failure
# of ours, so only a full run, on a machine of its own, holds us to the letter.
LONGEST = 3.25 if os.environ.get("ALLOY_TEST_FULL") else 20

# NAP is a sleep that no other process of this machine could be: it ends in a random number.
NASTY = {
    "endless output": "yes",
    "endless output that is no text": "cat /dev/urandom",
    "endless line": "tr '\\0' x </dev/zero",
    "endless errors": "yes >&2",
    "one sleep": "NAP",
    "a loop": "while :; do :; done",
    "ignores TERM": "trap '' TERM; NAP",
    "ignores all it can": "trap '' TERM INT HUP QUIT USR1; while :; do NAP; done",
    "answers TERM with output": "trap 'yes' TERM; while :; do NAP; done",
    "background holds the pipe": "NAP & echo started",
    "many in the background": "for i in 1 2 3 4 5 6 7 8 9; do NAP & done; echo started",
    "ignored hangup": "nohup NAP & echo started",
    "disowned": "NAP & disown; exit 0",
    "daemon": "setsid NAP >/dev/null 2>&1 </dev/null & echo started",
    "forked daemon": "setsid -f NAP",
    "daemon without environment": "setsid -f env -i NAP >/dev/null 2>&1",
    "daemon that ignores TERM": "trap '' TERM; setsid -f NAP >/dev/null 2>&1; NAP",
    "daemon twice removed": "(setsid bash -c '(setsid NAP &) ; NAP' &) ; exit 0",
    "own process groups": "set -m; NAP & NAP & echo started",
    "no output any more": "exec >&- 2>&-; NAP",
    "stopped": "kill -STOP $$",
    "stopped child": "NAP & kill -STOP $!; wait",
    "reads the terminal": "read answer </dev/tty; NAP",
    "reads standard input": "cat; NAP",
    "a pipe of sleepers": "NAP | NAP | NAP",
    "exec": "exec NAP",
    "forks without end": "f() { sleep 0.01; f & }; f; NAP",
}

# More of the same kind; DAEMON drops all by which one finds a child, but that it was one.
NASTIER = {
    "nested shells": "bash -c 'bash -c \"NAP; true\"; true'",
    "coprocess": "coproc NAP; echo started",
    "many through xargs": "yes | head -4 | xargs -P 4 -n 1 sh -c 'NAP'",
    "a timeout of its own": "timeout 1000 NAP",
    "nice and without hangup": "nice nohup NAP >/dev/null 2>&1 & echo started",
    "sleeps at its exit": "trap 'NAP' EXIT; exit 0",
    "sleeps before each command": "trap 'NAP' DEBUG; true",
    "ignores every signal": "for n in $(seq 64); do trap '' $n 2>/dev/null; done; NAP",
    "reads a pipe that nobody writes": "mkfifo p; cat p; NAP",
    "writes a pipe that nobody reads": "mkfifo p; echo x >p; NAP",
    "waits for a lock": "(flock 9; NAP) 9>lock & (flock 9; NAP) 9>lock; NAP",
    "endless recursion": "ulimit -s 1024; f() { f; }; f; NAP",
    "shells in shells": 'export X=\'bash -c "$X"\'; ulimit -u 4000; bash -c "$X"; NAP',
    "eats memory": "ulimit -v 300000; x=x; while :; do x=$x$x; done; NAP",
    "fills a file": "ulimit -f 2000; yes >big; NAP",
    "endless NULs": "cat /dev/zero",
    "endless carriage returns": "yes x | tr '\\n' '\\r'",
    "endless numbers": "seq 1 999999999999",
    "endless sum": "sha256sum /dev/zero",
    "closed input": "exec <&-; read x; NAP",
    "a menu": "select x in a b; do :; done; NAP",
    "waits for its child": "NAP & wait",
    "stops itself again and again": "while :; do kill -TSTP $$; done",
    "kills its group": "NAP & kill -KILL 0",
    "asks for a line in Python": "python3 -c 'input()'; NAP",
    "follows a file": "tail -f /dev/null",
    "through tee": "NAP | tee >(cat >&2)",
    "becomes another endless program": "exec cat /dev/zero",
    "another user's shell": "su -c 'NAP' root; NAP",
    "changes its directory": "cd / && NAP & cd /tmp && setsid NAP",
    "a daemon of Python": "python3 -c 'DAEMON' && NAP",
}
DAEMON = """
import os
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp("sleep", "NAP".split())
    os._exit(0)
os.wait()
"""


def _run(command: str, context: ToolContext, timeout: int = 10_000) -> str:
    return asyncio.run(bash(command, timeout, context=context))


def _staying(what: Callable[[], Any]) -> Any:
    """Return what is there for good: what was killed is, until the machine comes to it."""
    end = time.monotonic() + 10
    while (left := what()) and time.monotonic() < end:
        time.sleep(0.02)
    return left


def _left(nap: str) -> list[psutil.Process]:
    """Return the processes with the nap in their command line; init reaps the dead ones."""
    left = []
    for process in psutil.process_iter():
        try:
            if nap in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                left.append(process)
        except psutil.Error:
            continue
    return left


@pytest.mark.parametrize("name", NASTY)
def test_it_comes_back_and_nothing_stays(name, project, context):
    nap = f"9{secrets.randbelow(10**9):09}"
    started, before = time.monotonic(), set(psutil.pids())
    try:
        result = _run(NASTY[name].replace("NAP", f"sleep {nap}"), context, 250)
    except ToolError as error:
        result = str(error)
        assert "did not end within 250 ms" in result
    assert time.monotonic() - started < LONGEST
    assert len(result) < 31_000
    assert not _staying(lambda: _left(nap))
    assert not _staying(lambda: _working_in(project, before))


@pytest.mark.slow
@pytest.mark.parametrize("name", NASTIER)
def test_what_is_nastier_ends_too(name, project, context):
    nap = f"9{secrets.randbelow(10**9):09}"
    command = NASTIER[name].replace("DAEMON", DAEMON).replace("NAP", f"sleep {nap}")
    before = set(psutil.pids())
    started = time.monotonic()
    try:
        result = _run(command, context, 250)
    except ToolError as error:
        result = str(error)
    took = time.monotonic() - started
    assert took < LONGEST
    assert len(result) < 31_000
    assert not _staying(lambda: _left(nap))
    assert not _staying(lambda: _working_in(project, before))


def test_there_are_fifty_nasty_commands():
    assert len(NASTY | NASTIER) >= 50


def _working_in(project: Path, before: set[int]) -> list[int]:
    return [pid for pid in set(psutil.pids()) - before if _works_in(project, pid)]


def _works_in(project: Path, pid: int) -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(project)
    except psutil.Error:
        return False


def test_the_result_is_the_output_and_the_exit_code(context):
    assert _run("printf hi", context) == "hi\nexit code: 0"


def test_a_failing_command_is_a_result_too(context):
    assert _run("echo no >&2; exit 3", context) == "no\n\nexit code: 3"


def test_output_and_errors_keep_their_order(context):
    assert _run("echo 1; echo 2 >&2; echo 3", context).startswith("1\n2\n3\n")


def test_death_by_signal_has_the_exit_code_of_shells(context):
    assert _run("kill -9 $$", context).endswith("exit code: 137")


def test_it_runs_in_the_working_directory(project, context):
    assert _run("pwd", context) == f"{project}\n\nexit code: 0"


def test_a_missing_working_directory_is_said_to_be_missing(project):
    with pytest.raises(ToolError, match="gone does not exist"):
        _run("pwd", ToolContext(working_directory=project / "gone"))


def test_standard_input_is_empty(context):
    assert _run("cat; read x; echo $?", context) == "1\n\nexit code: 0"


def test_a_command_may_begin_with_a_dash(context):
    assert "-x: command not found" in _run("-x", context)


@pytest.mark.parametrize("command", ["a\0b", "x" * 3_000_000])
def test_a_command_that_bash_cannot_take_is_an_error(command, context):
    with pytest.raises(ToolError):
        _run(command, context)


def test_broken_utf8_is_replaced(context):
    assert _run(r"printf 'a\xff\xc3\xa9\xe2\x82'", context) == "a\ufffdé\ufffd\nexit code: 0"


def test_thirty_thousand_characters_are_not_cut(context):
    result = _run("head -c 30000 /dev/zero | tr '\\0' x", context)
    assert result == "x" * 30_000 + "\nexit code: 0"


def test_longer_output_keeps_both_ends_and_says_how_much_was_cut(context):
    result = _run("seq 100000", context)
    output = result.removesuffix("\nexit code: 0")
    assert len(output) <= 30_000
    assert output.startswith("1\n2\n")
    assert output.endswith("99999\n100000\n")
    head, _, rest = output.partition("\n[... ")
    count, _, tail = rest.partition(" characters of the output were cut ...]\n")
    assert int(count.replace(",", "")) == 588_895 - len(head) - len(tail)


def test_what_was_printed_before_the_timeout_is_told(context):
    with pytest.raises(ToolError, match=r"within 2,?000 ms[^\n]*\nhello"):
        _run("echo hello; sleep 50", context, 2_000)


def test_output_through_process_substitution_is_waited_for(context, monkeypatch):
    monkeypatch.setattr(sys.modules["alloy_nb.tools.bash"], "_AFTERGLOW", 20.0)
    assert _run("exec > >(sleep 0.1; sed s/a/b/); echo a", context) == "b\n\nexit code: 0"


def test_the_model_hears_of_background_processes_that_were_stopped(context):
    assert "[2 processes left in the background, now stopped]" in _run(
        "sleep 70 & sleep 71 & echo", context
    )


def test_keys_are_not_in_the_environment(context, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-canary")
    monkeypatch.setenv("HARMLESS", "stays")
    result = _run("env", context)
    assert "canary" not in result
    assert "HARMLESS=stays" in result


def test_restricted_bash_cannot_leave_its_directory(context):
    restricted = replace(context, values={"bash_restricted": True})
    assert "restricted" in _run("cd /", restricted)
    assert _run("cd /; pwd", context).startswith("/\n")


def test_progress_shows_the_last_line_now_and_then(context):
    lines: list[str] = []
    context = replace(context, progress=lines.append)
    started = time.monotonic()
    _run("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo line $i; sleep 0.05; done", context)
    # Four times a second, and at the beginning: less often than there are lines.
    assert 2 <= len(lines) <= min((time.monotonic() - started) / 0.25 + 1, 12)
    assert all(line.startswith("line ") for line in lines)


def test_cancelling_kills_the_command_and_is_not_swallowed(context):
    nap = f"9{secrets.randbelow(10**9):09}"

    async def scene() -> float:
        task = asyncio.create_task(
            bash(f"trap '' TERM; setsid sleep {nap} & sleep {nap}", context=context)
        )
        while not _left(nap):
            await asyncio.sleep(0.02)
        start = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - start

    assert asyncio.run(scene()) < 20
    assert not _staying(lambda: _left(nap))


def test_commands_run_side_by_side(context):
    async def scene() -> None:
        await asyncio.gather(*(bash("sleep 2", context=context) for _ in range(12)))

    start = time.monotonic()
    asyncio.run(scene())
    assert time.monotonic() - start < 20  # one after another they would take 24


def test_no_descriptor_stays_open(context):
    _run("true", context)
    gc.collect()  # what tests before this one have left may be closed at any time
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(2):
        _run("sleep 5 & echo", context)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_an_executor_takes_the_place_of_the_shell(project, context):
    def executor(command, working_dir):
        return f"{command} in {working_dir}", 7

    context = replace(context, values={"bash_executor": executor, "bash_restricted": True})
    assert _run("ls", context) == f"ls in {project}\nexit code: 7"


def test_an_executor_may_be_asynchronous(context):
    async def executor(command, working_dir):
        return b"bytes", 0

    assert _run("ls", replace(context, values={"bash_executor": executor})).startswith("bytes\n")


def test_an_executor_that_fails_is_reported(context):
    def executor(command, working_dir):
        raise TimeoutError("no container")

    with pytest.raises(ToolError, match="Executor crashed: TimeoutError: no container"):
        _run("ls", replace(context, values={"bash_executor": executor}))


def test_an_executor_is_held_to_the_timeout_and_the_limit(context):
    slow = replace(context, values={"bash_executor": lambda *_: time.sleep(1)})
    with pytest.raises(ToolError, match="within 100 ms"):
        _run("ls", slow, 100)
    loud = replace(context, values={"bash_executor": lambda *_: ("x" * 90_000, 0)})
    assert len(_run("ls", loud)) <= 30_020


def test_without_bash_there_is_one_sentence(context, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ToolError, match="There is no bash on this computer"):
        _run("ls", context)


def test_a_person_is_asked_about_the_exact_command():
    command = "git log\n; rm -rf ~"
    assert bash.subject_of({"command": command, "timeout": 5}) == command
    assert bash.risk == "run"


@pytest.mark.slow
def test_ten_seconds_of_yes_take_little_memory(context):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ToolError) as caught:
        _run("yes", context, 10_000)
    assert len(str(caught.value)) < 31_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024

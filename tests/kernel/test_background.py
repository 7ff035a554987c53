"""A turn in the background draws in its own cell, and runs its tools where nothing is disturbed."""

import queue
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import pytest

from tests.browser.lab import _write_kernel_spec
from tests.kernel_harness import Iopub, clean_environment, final_outputs
from tests.servers.held import holds
from tests.servers.sse import Server, loop
from tests.servers.wire import Call, Reply, Say, words

pytestmark = [pytest.mark.kernel, pytest.mark.slow]
PATIENCE = 60.0


@pytest.fixture
def begins(asking):
    """Begin a turn in the background; give the cell's run, the server, and a way to hear more."""
    servers = []

    def begin(*replies, flags="", approve="all", per_second=None, **options):
        plain = iter(loop(*(r for r in replies if not callable(r)), per_second=per_second))
        script = [reply if callable(reply) else next(plain) for reply in replies]
        server = Server(*script).__enter__()
        servers.append(server)
        asking.use(server, approve=approve)
        return asking.ask("go", f"--bg {flags}", **options), server

    yield begin
    asking.kernel.run("%alloy stop")
    for server in servers:
        server.close()


def heard(kernel, run, text, *meanwhile):
    """Return the outputs of a run when an update shows a text, while whatever cells ran."""
    between = [m for m in kernel.others if m.type == "update_display_data"]
    later = [m for each in meanwhile for m in each.of("update_display_data")]
    later = sorted([*between, *later], key=lambda message: message.arrived_at)
    messages, end = [*run.messages, *later], time.monotonic() + PATIENCE
    while text not in str(final_outputs(messages)):
        assert time.monotonic() < end, final_outputs(messages)
        try:
            raw = kernel.client.get_iopub_msg(timeout=0.2)
        except queue.Empty:
            continue
        if raw["msg_type"] == "update_display_data":
            messages.append(Iopub(raw["msg_type"], raw["content"], raw["arrived_at"], raw["size"]))
    return final_outputs(messages)


def running(folder, code):
    """Code of a tool that says by a file that it runs, and what waits for that."""
    there = folder / "there"

    def wait():
        end = time.monotonic() + PATIENCE
        while not there.exists():
            assert time.monotonic() < end, "the tool did not begin"
            time.sleep(0.01)

    return f"open({str(there)!r}, 'w').close()\n{code}", wait


def test_the_cell_returns_while_the_answer_still_comes(begins, asking):
    let = threading.Event()
    run, _ = begins(holds(Reply([Say(words(200), size=7)]), "word50", let))
    let.set()
    assert run.ok
    assert "word50" not in run.text
    assert asking.kernel.run("1 + 1").ok


def test_the_answer_is_drawn_in_the_output_of_its_own_cell(begins, asking):
    run, _ = begins([Say(words(40))], per_second=100)
    outputs = heard(asking.kernel, run, "↑11")
    shown = [o for o in outputs if o["output_type"] == "display_data"]
    assert len(shown) == 1
    assert "word39" in shown[0]["data"]["text/plain"]


def test_a_cell_that_runs_meanwhile_shows_nothing_of_it(begins, asking):
    begins([Say(words(60))], per_second=100)
    run = asking.kernel.run("import time; time.sleep(1.5); print('mine')")
    assert run.stdout == "mine\n"
    assert [o["output_type"] for o in run.outputs] == ["stream"]


def test_what_another_cell_captures_is_its_own(begins, asking):
    run, _ = begins([Say(words(60))], per_second=100)
    holds = asking.kernel.run("%%capture held\nimport time; time.sleep(1.2); display('mine')")
    assert asking.evaluate("len(held.outputs)") == 1
    waited = asking.kernel.run("%alloy wait")
    assert "word59" in str(heard(asking.kernel, run, "↑11", holds, waited))


def test_the_variable_holds_the_result_when_it_is_there(begins, asking):
    begins([Say("Hello.")], flags="-o later")
    assert asking.kernel.run("%alloy wait").ok
    assert asking.evaluate("(type(later).__name__, later.text)") == ("Result", "Hello.")


def test_a_tool_runs_between_two_cells(begins, asking):
    _, server = begins([Call("python", {"code": "made = 6 * 7\nmade"})], [Say("Done.")])
    server.wait_for_requests(2, timeout=PATIENCE)
    assert asking.evaluate("made") == 42
    asking.kernel.run("%alloy wait")


def test_a_tool_does_not_run_in_the_middle_of_a_cell(begins, asking):
    code = "seen = inside"
    begins([Call("python", {"code": code})], [Say("Done.")], approve="ask", flags="--approve all")
    run = asking.kernel.run("inside = True; import time; time.sleep(1.5); inside = False")
    assert run.ok
    asking.kernel.run("%alloy wait")
    # Either before the cell began, where there was no such name, or after it had ended.
    assert asking.evaluate("globals().get('seen', False)") is False


def test_a_tool_does_not_run_in_the_middle_of_a_cell_that_awaits(begins, asking):
    asking.kernel.run("inside, seen = False, []")
    begins(
        [Say(words(30)), Call("python", {"code": "seen.append(inside)"})],
        [Say("Done.")],
        per_second=50,
    )
    asking.kernel.run("import asyncio; inside = True\nawait asyncio.sleep(2.5)\ninside = False")
    asking.kernel.run("%alloy wait")
    assert asking.evaluate("seen") == [False]


def test_a_question_is_asked_when_somebody_waits(begins, asking):
    run, _ = begins([Call("python", {"code": "asked = 1"})], [Say("Done.")], approve="ask")
    heard(asking.kernel, run, "%alloy wait lets you answer")
    waited = asking.kernel.run("%alloy wait", answers=["y"])
    assert len(waited.prompts) == 1
    assert asking.evaluate("asked") == 1


def test_without_anyone_to_ask_the_call_is_denied_when_it_is_waited_for(begins, asking):
    _, server = begins([Call("python", {"code": "denied = 1"})], [Say("Done.")], approve="ask")
    assert asking.kernel.run("%alloy wait").ok
    assert (
        "Nobody could be asked" in server.requests[1].json["messages"][-1]["content"][0]["content"]
    )
    assert asking.evaluate("'denied' in globals()") is False


def test_it_can_be_awaited_and_its_tools_run_meanwhile(begins, asking):
    replies = [Say(words(20)), Call("python", {"code": "waited = 5"})], [Say("Done.")]
    begins(*replies, flags="-o turn", per_second=50)
    run = asking.kernel.run("done = await turn\n(done.text, waited)")
    assert run.ok, run.text
    assert "('Done.', 5)" in run.text


def test_an_interrupt_ends_a_tool_that_runs_while_a_cell_awaits(begins, asking, tmp_path):
    code, wait = running(tmp_path, "while True: pass")
    let = threading.Event()
    call = holds(Reply([Say("Now."), Call("python", {"code": code})]), "python", let)
    begins(call, [Say("Done.")], flags="-o turn")
    run, id_ = asking.kernel.send("print('awaits'); await turn")
    asking.until_shown(run, id_, "awaits")
    let.set()
    wait()
    asking.kernel.interrupt()
    asking.kernel.finish(run, id_)
    assert run.reply["status"] == "error"
    assert asking.kernel.run("1 + 1").ok
    asking.kernel.run("%alloy wait")
    assert asking.evaluate("turn.status.value") == "cancelled"


def test_an_interrupt_ends_the_wait_and_not_the_turn(begins, asking):
    let = threading.Event()
    begins(holds(Reply([Say(words(150), size=7)]), "word50", let), flags="-o turn")
    run, id_ = asking.kernel.send("print('waits')\n%alloy wait")
    asking.until_shown(run, id_, "waits")
    time.sleep(0.5)  # from there it is not far to the wait
    asking.kernel.interrupt()
    asking.kernel.finish(run, id_)
    assert not run.ok
    assert "goes on in the background" in run.text
    assert asking.evaluate("turn.done") is False
    let.set()
    assert asking.kernel.run("%alloy wait").ok
    assert asking.evaluate("turn.text[-7:]") == "word49 "


def test_an_interrupt_ends_a_tool_that_runs_between_two_cells(begins, asking, tmp_path):
    code, wait = running(tmp_path, "while True: pass")
    _, server = begins([Call("python", {"code": code})], [Say("Done.")], flags="-o t")
    wait()
    asking.kernel.interrupt()
    assert asking.kernel.run("1 + 1").ok
    assert "was stopped" in asking.kernel.run("%alloy wait").text
    assert len(server.requests) == 1
    assert asking.evaluate("t.status.value") == "cancelled"


def test_stop_ends_it_and_keeps_what_it_said(begins, asking):
    run, server = begins([Say(words(3000))], flags="-o turn", per_second=50)
    heard(asking.kernel, run, "word05")
    assert "is stopped" in asking.kernel.run("%alloy stop").text
    server.requests[0].wait_closed(PATIENCE)
    assert asking.evaluate("(turn.status.value, turn.text[:6])") == ("cancelled", "word00")


def test_another_cell_on_the_session_is_told_that_it_answers(begins, asking):
    begins([Say(words(3000))], per_second=50)
    run = asking.ask("other")
    assert "is answering already" in run.text
    assert run.reply["ename"] == "UsageError"


def test_a_second_turn_in_another_session_goes_on_beside_it(begins, asking):
    run, _ = begins([Say(words(100))], [Say("Second.")], per_second=50)
    beside = asking.ask("other", "-s beside")
    assert "Second." in beside.text
    waited = asking.kernel.run("%alloy wait")
    assert "word99" in str(heard(asking.kernel, run, "↑11", beside, waited))


def test_its_failure_is_raised_where_it_is_waited_for(begins, asking):
    run, _ = begins()
    assert run.ok
    waited = asking.kernel.run("%alloy wait")
    assert not waited.ok
    assert waited.reply["ename"] != "UsageError"


def test_a_notebook_that_runs_by_itself_holds_the_answer(tmp_path):
    cells = [
        "%load_ext alloy_nb",
        "%%alloy --bg --approve all -o told\nWhat is 6 * 7?",
        "x = 1",
        "%alloy wait",
        "print(told.ok)",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbformat.write(book, tmp_path / "book.ipynb")
    env = clean_environment(tmp_path / "home", {"ALLOY_MODEL": "demo", "ALLOY_DEMO_PACE": "0"})
    env["JUPYTER_PREFER_ENV_PATH"] = "0"
    _write_kernel_spec(Path(env["JUPYTER_DATA_DIR"]))
    main = "from nbclient.cli import main; main()"  # what `jupyter execute` runs
    command = [sys.executable, "-c", main, "--inplace", "--kernel_name=python3", "book.ipynb"]
    ran = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600
    )
    assert ran.returncode == 0, ran.stderr
    done = nbformat.read(tmp_path / "book.ipynb", as_version=4).cells
    shown = [o for o in done[1].outputs if o["output_type"] == "display_data"]
    assert "42" in shown[0]["data"]["text/plain"]
    assert done[4].outputs[0]["text"] == "True\n"

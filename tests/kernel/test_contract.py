"""The ten points of behaviour that the surface promises, each with the tests that hold it up.

Where another file has the test already, its name stands in `ELSEWHERE`, and one test here sees to
it that it is still there; what no file had is tested below. The points about the panel are tested
as far as they hold without one: issue 7 adds its Stop button to (1), its turns beside the main
shell to (2), a second panel to (3) and the panel's outputs to (9).

===  ==============================================================================================
1    an interrupt stops at once; what was said stays on screen and in the history; one goes on
2    code of the model runs on the main thread, and never in the middle of a cell
3    a conversation that is shown in two places is the same in both
4    after a restart the conversation goes on, and both sides hear that the kernel is new
5    under nbclient: nobody is asked, nothing hangs, calls are denied alike, failures are errors
6    an answer of 20,000 characters sends at most eight times of what is saved
7    loading is quick, and imports neither an SDK of a vendor nor anything else that is large
8    with ``--data schema`` no value of a table leaves
9    every output has a ``text/plain`` that says something
10   a prompt arrives as it was typed
===  ==============================================================================================
"""

from __future__ import annotations

import ast
import json
import re
import threading
from functools import cache

import nbformat
import pytest

from alloy_nb.notebook.grammar import COMMANDS
from tests.kernel.asking import stop_when
from tests.kernel.test_documents import jupyter, world
from tests.kernel.test_output_budget import markdown
from tests.kernel_harness import REPOSITORY
from tests.servers.held import holds
from tests.servers.sse import Server, loop
from tests.servers.wire import Call, Reply, Say, Think

__all__ = ["world"]

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

ELSEWHERE = {
    1: (
        "kernel/test_interrupt.py::test_an_answer_that_is_stopped_is_kept_and_can_be_gone_on_with",
        "kernel/test_interrupt.py::test_fifty_interrupts_in_a_row",
        "kernel/test_interrupt.py::test_python_code_of_the_model_can_be_stopped",
        "kernel/test_nasty_code.py::test_an_interrupt_ends",
    ),
    2: (
        "kernel/test_python_tool.py::test_top_level_await_runs_on_the_main_thread",
        "kernel/test_background.py::test_a_tool_does_not_run_in_the_middle_of_a_cell",
        "kernel/test_background.py::test_a_tool_does_not_run_in_the_middle_of_a_cell_that_awaits",
    ),
    3: ("kernel/test_cells.py::test_a_result_shown_later_draws_itself_once",),
    4: (
        "kernel/test_sessions.py"
        "::test_after_a_restart_the_conversation_goes_on_and_both_are_told_what_is_gone",
        "kernel/test_sessions.py::test_the_model_is_told_once_that_the_kernel_is_new",
    ),
    5: (
        "kernel/test_documents.py::test_a_failure_ends_the_notebook_with_a_real_error",
        "kernel/test_approval.py::test_where_nobody_types_no_card_is_shown_either",
    ),
    6: ("kernel/test_output_budget.py::test_a_long_answer_stays_small",),
    7: ("test_architecture.py::test_importing_the_package_imports_nothing_heavy",),
    8: (
        "notebook/test_canary.py::test_a_canary_in_every_third_cell_never_leaves_with_schema",
        "kernel/test_dial.py::test_what_the_model_does_not_see_the_person_does",
    ),
    9: ("kernel/test_documents.py::test_no_output_is_the_name_of_an_object",),
    10: (
        "notebook/test_magics.py::test_a_prompt_arrives_as_it_was_typed",
        "notebook/test_verbatim.py::test_a_question_is_asked",
    ),
}


@cache
def functions_in(name):
    tree = ast.parse((REPOSITORY / "tests" / name).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("point", ELSEWHERE)
def test_the_tests_of_each_point_are_there(point):
    named = [test.split("::") for test in ELSEWHERE[point]]
    assert [test for file, test in named if test not in functions_in(file)] == []


# --- 1 ------------------------------------------------------------------------------------------


def test_1_while_a_tool_runs_a_stop_keeps_what_was_said_before_it(asking):
    code = "import time; time.sleep(300)"
    replies = [Say("The first half."), Call("python", {"code": code})], [Say("The next turn.")]
    with Server(*loop(*replies)) as server:
        asking.use(server, approve="all")
        run = asking.ask("begin", "-o kept", on_message=stop_when(asking.kernel, "running"))
        assert run.error.startswith("Interrupted")
        assert "The first half." in run.text
        assert "The first half." in asking.evaluate("kept.text")
        assert "The next turn." in asking.ask("go on").text
        assert "The first half." in server.requests[1].body.decode()


# --- 2 ------------------------------------------------------------------------------------------


def test_2_a_tool_of_a_turn_in_the_background_waits_until_the_cell_has_ended(asking):
    let = threading.Event()  # the call arrives while the cell sleeps
    call = holds(
        Reply([Say("Now."), Call("python", {"code": "seen = list(order)"})]), "python", let
    )
    with Server(call, *loop([Say("Done.")])) as server:
        asking.use(server, approve="all")
        asking.kernel.run("order, seen = [], None")
        begun = asking.kernel.run("%%alloy --bg -o later\ngo")
        assert begun.ok, begun.text
        busy = "import time\norder.append('begun'); print('begun')\ntime.sleep(3)"
        busy += "\norder.append('ended')"
        run, id_ = asking.kernel.send(busy)
        asking.until_shown(run, id_, "begun")
        let.set()
        assert asking.kernel.finish(run, id_).ok
        waited = asking.kernel.run("%alloy wait")
        assert waited.ok, waited.text
        assert asking.evaluate("seen") == ["begun", "ended"]


# --- 3 ------------------------------------------------------------------------------------------


def test_3_an_answer_that_is_shown_again_says_what_it_said(asking):
    replies = [Think("Let me see."), Call("python", {"code": "6 * 7"})], [Say("It is **42**, $5.")]
    with Server(*loop(*replies)) as server:
        asking.use(server, approve="all")
        run = asking.ask("go", "-o kept")
    first, second = (asking.kernel.run("kept") for _ in range(2))
    assert first.text == second.text
    timeless = re.compile(r"[\d.]+ s\b")
    assert timeless.sub("", first.text.strip()) in timeless.sub("", run.text)


# --- 5 ------------------------------------------------------------------------------------------

UNATTENDED = [
    "%load_ext alloy_nb",
    "import pandas as pd\ndf = pd.DataFrame({'kind': list('ab') * 20, 'n': range(40)})",
    "%%alloy\nWhat stands out in @df?",
    "%%alloy --approve all\nWhat stands out in @df?",
    "%alloy context",
    "%alloy history",
]
# What differs from one run to the next: times, and what they lead to.
_CHANGING = re.compile(r"\d+(\.\d+)? ?s\b|\d+ min|\d+:\d+(:\d+)?|0x[0-9a-f]+")


def _settled(output):
    """Return an output without times and ids."""
    texts = [output.get("text", ""), *output.get("data", {}).values()]
    return [_CHANGING.sub("…", text) for text in texts]


def test_5_a_notebook_that_runs_twice_by_itself_gives_the_same(world):
    folders = []
    for number in range(2):
        cells = [nbformat.v4.new_code_cell(cell) for cell in UNATTENDED]
        path = world[0] / f"run-{number}" / "unattended.ipynb"
        path.parent.mkdir()
        nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
        ran = jupyter(world, "execute", "--inplace", "--kernel_name=python3", str(path))
        assert ran.returncode == 0, ran.stderr
        folders.append(nbformat.read(path, as_version=4))
    one, two = ([[_settled(o) for o in cell.outputs] for cell in book.cells] for book in folders)
    assert one == two
    denied = "\n".join(text for output in one[2] for text in output)
    assert "✗ not allowed" in denied
    assert "claim nothing" in denied


# --- 6 ------------------------------------------------------------------------------------------


def test_6_an_answer_of_20_000_characters_sends_at_most_eight_times_of_what_is_saved(
    asking, record_property
):
    text = markdown(20_000)
    with Server(*loop(Reply([Say(text, size=5)]), per_second=400)) as server:
        asking.use(server)
        run = asking.ask("report", "-o report", timeout=300)
    assert asking.evaluate("len(report.text)") == len(text)
    saved = len(json.dumps(run.outputs, ensure_ascii=False).encode())
    record_property("figures", {"sent": run.bytes, "saved": saved, "seconds": run.seconds})
    print(f"\nsent {run.bytes:,}, saved {saved:,}: {run.bytes / saved:.1f} times")
    assert run.bytes <= 8 * saved


# --- 7 ------------------------------------------------------------------------------------------

_LOADED = """
import sys, time
began = time.process_time()
get_ipython().run_line_magic('load_ext', 'alloy_nb')
seconds = time.process_time() - began
ours = [m for m in sys.modules if m.startswith('alloy_nb')]
heavy = {'anthropic', 'openai', 'google.genai', 'mcp', 'litellm', 'httpx', 'pydantic', 'anywidget'}
heavy = sorted(heavy & set(sys.modules))
"""


def test_7_loading_is_quick_and_imports_nothing_heavy(kernel, record_property):
    assert kernel.run(_LOADED).ok
    seconds, ours, heavy = kernel.evaluate("(seconds, len(ours), heavy)")
    record_property("seconds", seconds)
    print(f"\n%load_ext: {1000 * seconds:.0f} ms of CPU, {ours} modules of ours")
    assert heavy == []
    # What the time is made of can be counted, and does not depend on who else is busy.
    assert ours <= 30
    # 0.15 s is the promise, where Python keeps its bytecode and the machine is quiet.
    assert seconds < 0.6


def test_7_the_settings_that_loading_offers_are_those_of_the_engine(asking):
    source = (
        "from alloy_nb.engine.calls.approval import POLICIES\n"
        "from alloy_nb.providers.base import EFFORTS\n"
        "from alloy_nb.notebook.grammar import FLAGS\n"
        "choices = {flag.key: flag.choices for flag in FLAGS}\n"
        "same = (choices['approve'], choices['think']) == (tuple(POLICIES), tuple(EFFORTS))"
    )
    assert asking.kernel.run(source).ok
    assert asking.evaluate("same") is True


# --- 9 ------------------------------------------------------------------------------------------

_SAYS_NOTHING = re.compile(r"<(IPython|alloy_nb|ipywidgets|anywidget)[\w.]* ?|object at 0x|^\s*$")
# How each command is written where it has something to do. The order is that of a conversation.
WRITTEN = {
    "help": ("help", "help export"),
    "model": ("model",),
    "models": ("models claude",),
    "data": ("data", "data full"),
    "approve": ("approve", "approve forget"),
    "history": ("history",),
    "context": ("context",),
    "explain": ("explain df",),
    "panel": ("panel",),
    "steer": ("steer faster",),
    "map": ("map df --dry-run 'About: {kind}'", "map df --dry-run 'About: {none}'"),
    "findings": ("findings", "findings on"),
    "team": ("team",),
    "see": ("see",),
    "fix": ("fix",),
    "code": ("code",),
    "promote": ("promote",),
    "names": ("names",),
    "restore": ("restore",),
    "stale": ("stale",),
    "skills": ("skills",),
    "tools": ("tools",),
    "budget": ("budget", "budget off"),
    "cost": ("cost", "cost --plot", "cost --df"),
    "timeline": ("timeline", "timeline --plot"),
    "sent": ("sent",),
    "tree": ("tree",),
    "sessions": ("sessions",),
    "search": ("search stands out",),
    "hide": ("hide 1",),
    "unhide": ("unhide 1",),
    "pin": ("pin 1",),
    "unpin": ("unpin 1",),
    "compact": ("compact",),
    "retry": ("retry",),
    "edit": ("edit 1 What is 6 * 7?",),
    "continue": ("continue",),
    "fork": ("fork aside",),
    "use": ("use main",),
    "undo": ("undo",),
    "wait": ("wait",),
    "stop": ("stop",),
    "pick": ("pick 1",),
    "key": ("key anthropic",),
    "doctor": ("doctor offline",),
    "export": ("export said.json --force",),
    "import": ("import said.json --force",),
    "resume": ("resume",),
    "reset": ("reset",),
    "forget": ("forget",),
}


@pytest.fixture(scope="module")
def commands(asking):
    """Run each command once in a notebook with a figure, an error and a few turns."""
    kernel = asking.kernel
    for cell in (
        "%alloy model demo/demo\n%alloy approve all",
        "import matplotlib.pyplot as plt, pandas as pd\n"
        "df = pd.DataFrame({'kind': list('ab') * 20, 'n': range(40)})\nplt.plot([1, 2]);",
        "%%alloy\nWhat stands out in @df?",
        "%%alloy\nWhat is 6 * 7?",
    ):
        assert kernel.run(cell).ok
    kernel.run("1 / 0")
    return {
        line: kernel.run(f"%alloy {line}", timeout=120)
        for lines in WRITTEN.values()
        for line in lines
    }


def test_9_every_command_is_tried():
    assert {command.name for command in COMMANDS} == set(WRITTEN)


@pytest.mark.parametrize("line", [line for lines in WRITTEN.values() for line in lines])
def test_9_what_a_command_shows_can_be_read_as_plain_text(commands, line):
    run = commands[line]
    shown = run.of("display_data", "execute_result")
    for message in shown:
        plain = message.content["data"].get("text/plain")
        figure = "image/png" in message.content["data"]
        assert plain is not None
        assert figure or not _SAYS_NOTHING.search(plain), plain
    # One that has nothing to do says so in one line, and is no fault of ours.
    if not run.ok:
        assert run.reply["ename"] in ("UsageError", "ConfigError", "SessionError"), run.error
    assert shown or run.text.strip() or not run.ok, line


# --- 10 -----------------------------------------------------------------------------------------

VERBATIM = [
    "what is in df?",
    "what is in df??",
    "why {df} and {} and {0!r} and {{x}}?",
    "is $5 or $HOME or ${x} it?",
    "what does @property do",
    "mail ada@example.org",
    "select 1;",
    "is it 'so' or \"so\" or what's",
    r"C:\new\table",
    "!ls %time ?",
    "# a heading",
    "Grüße 🦜 — “quoted”",
]


@pytest.mark.parametrize("form", ["line", "cell", "body"])
def test_10_a_prompt_arrives_as_it_was_typed(asking, form):
    written = {"line": "%alloy {}", "cell": "%%alloy\n{}", "body": "%%alloy\nFirst.\n\n{}\nLast."}
    with Server(*loop(*[[Say("ok")]] * len(VERBATIM))) as server:
        asking.use(server)
        for prompt in VERBATIM:
            source = written[form].format(prompt)
            run = asking.kernel.run(source)
            assert run.ok, run.text
            typed = source.partition("\n" if form != "line" else " ")[2]
            sent = server.requests[-1].json["messages"][-1]["content"]
            assert sent[-1]["text"] == typed

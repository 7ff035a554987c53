"""The panel in a real kernel, with a front end that has no browser: while cells run, and after."""

import os
import threading
import time
from itertools import pairwise

import pytest

from tests.kernel.front_end import has_subshells
from tests.kernel.panel_client import PanelClient, Store, html_of
from tests.servers.held import holds
from tests.servers.sse import Server, loop
from tests.servers.wire import Call, Reply, Say, words

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

# The figures of the issue hold on a machine that does nothing else; else only that nothing hangs.
IS_ALONE = os.environ.get("ALLOY_TEST_FULL") == "1"
GAP, STOP = (0.25, 0.3) if IS_ALONE else (2.0, 5.0)
COMPUTES = "import time\nuntil = time.time() + {}\nwhile time.time() < until: pass"
BUSY = (
    "import os\nn = 0\nwhile n % 100_000 or not os.path.exists({!r}): n += 1\nbusy_is_over = True"
)
WHERE = """
import threading
made_on = threading.current_thread().name
saw_the_end = "busy_is_over" in globals()
"""
SHOWS = """
import base64
html = "<table><tr><td>cell 7</td></tr></table>"
display({"text/html": html, "text/plain": "a table"}, raw=True)
display({"image/png": base64.b64encode(b"\\x89PNG\\r\\n\\x1a\\n...").decode()}, raw=True)
print("out")
"""
CLOSE = """
for panel in list(get_ipython().magics_manager.registry["Alloy"].desk.panels.open):
    panel.close()
"""


@pytest.fixture
def opened(asking):
    """Give a function that begins a conversation with these replies, and opens its panel."""
    servers = []

    def begin(*replies, per_second=None, approve="all"):
        plain = iter(loop(*(r for r in replies if not callable(r)), per_second=per_second))
        script = [reply if callable(reply) else next(plain) for reply in replies]
        server = Server(*script).__enter__()
        servers.append(server)
        asking.use(server, approve=approve)
        asking.kernel.run("busy_is_over = None; del busy_is_over")
        client = PanelClient(asking.kernel)
        if client.opened is None:  # the panel of the test before, with what it showed
            client.until(lambda: client.store.turns == [] or client.store.version is None)
        return client

    yield begin
    for server in servers:
        server.close()
    asking.kernel.run(CLOSE)


class Busy:
    """A cell that computes until it is let go."""

    def __init__(self, go):
        self._go = go

    def begin(self, panel):
        """Run it, and go on when it runs."""
        return panel.begin_cell(BUSY.format(str(self._go)))

    def end(self):
        self._go.touch()


@pytest.fixture
def busy(opened, tmp_path):
    cell = Busy(tmp_path / "go")
    yield cell
    cell.end()  # a test that failed has not


@pytest.fixture
def needs_subshells(asking):
    if not has_subshells(asking.kernel):
        pytest.skip("before ipykernel 7 the kernel hears nothing while a cell runs")


def is_over(client, cell):
    return client.cells[cell].replied_at


def test_the_answer_streams_on_while_a_cell_computes(opened):
    panel = opened([Say(words(500))], per_second=50)
    panel.ask("go")
    panel.until(lambda: "word05" in panel.store.html)
    cell = panel.send_cell(COMPUTES.format(4))
    began = len(panel.heard)
    panel.until(lambda: is_over(panel, cell))
    at = [h.arrived_at for h in panel.heard[began:] if h.kind == "output"]
    assert len(at) >= 10
    assert max(b - a for a, b in pairwise(at)) < GAP
    panel.over(1)


def test_a_prompt_is_answered_while_a_cell_computes(opened, busy, needs_subshells):
    panel = opened([Say("Meanwhile.")])
    cell = busy.begin(panel)
    panel.ask("go")
    panel.over(1)
    assert not is_over(panel, cell)
    busy.end()
    panel.until(lambda: is_over(panel, cell))


def test_the_python_tool_waits_for_the_cell_and_says_so(opened, busy, asking):
    panel = opened([Call("python", {"code": WHERE})], [Say("done")], per_second=200)
    hears = has_subshells(asking.kernel)
    cell = busy.begin(panel)
    panel.ask("run it")
    if hears:
        panel.until(lambda: "has ended" in panel.store.html)
    busy.end()
    turn = panel.over(1)[0]
    panel.until(lambda: is_over(panel, cell))
    assert asking.evaluate("(made_on, saw_the_end)") == ("MainThread", True)
    if hears:
        assert "it runs when the cell that runs now has ended" in html_of(turn)


FIND = "panel = get_ipython().magics_manager.registry['Alloy'].desk.panels.open[-1]"


def test_a_cell_that_waits_for_a_turn_runs_its_tool(opened, asking):
    let = threading.Event()
    call = Reply([Say("Now."), Call("python", {"code": WHERE})])
    panel = opened(holds(call, "python", let), [Say("done")])
    cell = panel.send_cell(f"{FIND}\nanswer = panel.ask('run it').result(60).text")
    panel.until(lambda: "answering" in panel.store.html)
    panel.hear(1)  # the cell asked before that, and waits by now
    let.set()
    turn = panel.over(1)[0]
    panel.until(lambda: is_over(panel, cell))
    assert asking.evaluate("(answer, made_on)") == ("done", "MainThread")
    assert "has ended" not in html_of(turn)


def test_an_interrupt_ends_the_wait_and_not_the_turn(opened, asking):
    panel = opened([Say(words(200))], per_second=50)
    cell = panel.send_cell(f"{FIND}\npanel.ask('go').result(60)")
    panel.until(lambda: "word05" in panel.store.html)
    asking.kernel.interrupt()
    panel.until(lambda: is_over(panel, cell))
    assert "no longer waited for" in panel.cells[cell].reply["evalue"]
    assert panel.over(1)[0]["state"] == "done"


def test_the_python_tool_never_runs_inside_of_a_cell_that_awaits(opened, asking, needs_subshells):
    panel = opened([Call("python", {"code": WHERE})], [Say("done")])
    cell = panel.begin_cell("import asyncio\nawait asyncio.sleep(2)\nbusy_is_over = True")
    panel.ask("run it")
    panel.over(1)
    panel.until(lambda: is_over(panel, cell))
    assert asking.evaluate("saw_the_end") is True


def test_what_the_tool_shows_is_shown_in_the_panel_and_in_no_cell(opened, asking):
    panel = opened([Call("python", {"code": SHOWS})], [Say("Seen.")])
    asking.kernel.run("1 + 1")
    panel.ask("show me")
    turn = panel.over(1)[0]
    parts = [output["part"] for output in turn["outputs"]]
    displays = [o["html"] for o in turn["outputs"] if o["part"] == "display"]
    assert parts.index("tool") < parts.index("display") < parts.index("text")
    assert "<td>cell 7</td>" in displays[0]
    assert '<img src="data:image/png;base64,' in displays[1]
    assert panel.elsewhere == []


def test_stop_keeps_what_was_said_and_the_next_turn_is_answered(opened):
    panel = opened([Say(words(4000))], [Say("fine")], per_second=50)
    panel.ask("long")
    panel.until(lambda: "word05" in panel.store.html)
    clicked = time.monotonic()
    panel.say({"do": "stop"})
    turn = panel.over(1)[0]
    assert next(h for h in panel.heard if h.kind == "end").arrived_at - clicked < STOP
    assert turn["state"] == "stopped"
    assert "word05" in html_of(turn)
    panel.ask("again")
    assert panel.over(2)[1]["state"] == "done"


def test_stop_works_while_a_cell_computes(opened, busy, needs_subshells):
    panel = opened([Say(words(4000))], per_second=50)
    panel.ask("long")
    panel.until(lambda: "word05" in panel.store.html)
    cell = busy.begin(panel)
    panel.say({"do": "stop"})
    assert panel.over(1)[0]["state"] == "stopped"
    assert not is_over(panel, cell)
    busy.end()
    panel.until(lambda: is_over(panel, cell))


def test_stop_ends_the_code_that_a_tool_runs(opened, asking, needs_subshells, tmp_path):
    there = tmp_path / "there"
    code = f"import time\nran = True\nopen({str(there)!r}, 'w').close()\n"
    code += "time.sleep(60)\nnot_reached = 1"
    panel = opened([Call("python", {"code": code})], [Say("x")])
    panel.ask("sleep")
    panel.until(there.exists)
    panel.say({"do": "stop"})
    assert panel.over(1)[0]["state"] == "stopped"
    assert asking.evaluate("(ran, 'not_reached' in globals())") == (True, False)


def test_stop_leaves_a_cell_alone(opened, busy, asking, needs_subshells):
    panel = opened([Call("python", {"code": "never = 1"})], [Say("x")])
    cell = busy.begin(panel)
    panel.ask("run it")
    panel.until(lambda: "has ended" in panel.store.html)
    panel.say({"do": "stop"})
    assert panel.over(1)[0]["state"] == "stopped"
    busy.end()
    panel.until(lambda: is_over(panel, cell))
    assert asking.evaluate("(busy_is_over, 'never' in globals())") == (True, False)


def test_who_says_hello_in_the_middle_is_told_all(opened):
    panel = opened([Say("First.")], [Say(words(300))], per_second=50)
    panel.ask("one")
    panel.over(1)
    panel.ask("two")
    panel.until(lambda: "word05" in panel.store.html)
    late, before = Store({}), len(panel.heard)
    panel.say({"do": "hello"})
    panel.over(2)
    for heard in panel.heard[before:]:
        if heard.kind != "state":
            late.take(heard.content)
    assert [html_of(turn) for turn in late.turns] == [html_of(turn) for turn in panel.store.turns]


def test_a_turn_of_a_cell_streams_into_the_panel(opened, asking):
    let = threading.Event()
    panel = opened(holds(Reply([Say(words(60), size=7)]), "word50", let))
    cell = panel.send_cell("%%alloy\nfrom a cell")
    panel.until(lambda: panel.store.live and "word05" in panel.store.html)
    assert not is_over(panel, cell)
    let.set()
    assert "word59" in html_of(panel.over(1)[0])


def test_the_output_in_the_notebook_shows_the_conversation_after_a_turn(opened):
    panel = opened([Say("For the **record**.")])
    panel.ask("why?")
    panel.over(1)
    panel.until(lambda: panel.updates and "record" in str(panel.updates[-1].content))
    data = panel.updates[-1].content["data"]
    assert "application/vnd.jupyter.widget-view+json" not in data  # the view itself stays
    assert "<strong>record</strong>" in data["text/html"]
    assert "For the **record**." in data["text/markdown"]
    assert "why?" in data["text/plain"]


def test_a_long_answer_costs_three_megabytes_at_the_most(opened):
    text = "".join(words(10) + end for end in (". ", "\n\n", ", **so** ", "\n- ") * 500)
    panel = opened([Say(text, size=5)], per_second=4000)
    before = len(panel.heard)
    panel.ask("at length")
    turn = panel.over(1)[0]
    assert html_of(turn).count("word") >= 20_000
    assert sum(heard.size for heard in panel.heard[before:]) < 3_000_000

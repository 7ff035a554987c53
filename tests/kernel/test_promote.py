"""Code that is offered reaches the next cell of a real front end; promoted code is proven there."""

import contextlib
import json
import time

import pytest

from tests.kernel.asking import CANARY
from tests.kernel.front_end import FrontEnd, has_subshells
from tests.kernel_harness import start_kernel
from tests.servers.sse import Server, loop
from tests.servers.wire import Call, Say

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

FIXED = "A comma is missing.\n\n```python\ntotal = sum([1, 2])\n```\n"


def python(code):
    return Call("python", {"code": code})


def offered(run):
    """The text of the cell that the kernel asks the front end for."""
    found = [p["text"] for p in run.reply["payload"] if p["source"] == "set_next_input"]
    return found[-1] if found else None


def at_it(kernel, code, **more):
    """Run a cell as a front end does where a person sits."""
    return kernel.run(code, answers=[], **more)


# --- fix and code -----------------------------------------------------------------------------


def test_fix_puts_the_corrected_cell_after_this_one_and_runs_nothing(asking):
    with Server(*loop([Say(FIXED)])) as server:
        asking.use(server)
        assert not asking.kernel.run("total = sum([1, 2)").ok
        run = at_it(asking.kernel, "%alloy fix")
        assert run.ok, run.text
        assert offered(run) == "total = sum([1, 2])"
        assert "has not run" in run.text
        assert asking.evaluate("'total' in globals()") is False


def test_where_nobody_sits_the_code_is_shown_and_not_offered(asking):
    with Server(*loop([Say(FIXED)])) as server:
        asking.use(server)
        asking.kernel.run("1 / 0")
        run = asking.kernel.run("%alloy fix")
        assert offered(run) is None
        assert "total = sum([1, 2])" in run.text
        assert "Copy it into a cell" in run.text


def test_code_puts_a_block_into_the_next_cell(asking):
    with Server(*loop([Say(FIXED)])) as server:
        asking.use(server)
        asking.ask("what is wrong?")
        assert offered(at_it(asking.kernel, "%alloy code")) == "total = sum([1, 2])"


def test_a_fixed_error_is_that_of_the_user_though_a_tool_failed_since(asking):
    replies = [[python("1 / 0")], [Say("It failed.")], [Say(FIXED)]]
    with Server(*loop(*replies)) as server:
        asking.use(server, approve="all")
        asking.kernel.run("int('mine')")
        asking.ask("divide")
        assert at_it(asking.kernel, "%alloy fix").ok
        sent = json.dumps(server.requests[-1].json["messages"][-1])
        assert "invalid literal for int()" in sent


def test_explain_sends_what_a_cell_printed_and_returned(asking):
    with Server(*loop([Say("It adds.")])) as server:
        asking.use(server)
        number = asking.evaluate("len(In)")
        assert asking.kernel.run("print('seen'); 40 + 2").ok
        assert asking.kernel.run(f"%alloy explain {number}").ok
        sent = json.dumps(server.requests[-1].json["messages"][-1])
        assert "print('seen'); 40 + 2" in sent
        assert "42" in sent.replace("40 + 2", "")


# --- promote ----------------------------------------------------------------------------------


def test_a_promoted_turn_is_proven_and_nothing_of_the_user_changes(asking):
    steps = [
        [python("import pandas as pd\ndf['twice'] = df.n * 2")],
        [python("df.nothing")],
        [python("north = df[df.n > 1]\nprint(len(north))\nnorth")],
        [Say("Two rows.")],
    ]
    with Server(*loop(*steps)) as server:
        asking.use(server, approve="all")
        asking.kernel.run("import pandas as pd\ndf = pd.DataFrame({'n': [1, 2, 3]})")
        asking.ask("How many are above one?")
        before = asking.evaluate("(sorted(globals()), df.to_dict(), len(In))")
        run = at_it(asking.kernel, "%alloy promote")
        assert run.ok, run.text
        assert "Reproduced" in run.text
        assert "2 steps, 1 left out" in run.text
        after = asking.evaluate("(sorted(globals()), df.to_dict(), len(In))")
        assert [n for n in after[0] if not n.startswith("_")] == [
            n for n in before[0] if not n.startswith("_")
        ]
        assert after[1] == before[1]
        cell = offered(run)
        assert "# Needs: df" in cell
        assert "df.nothing" not in cell
        asking.kernel.run("df = pd.DataFrame({'n': [1, 2, 3]})")
        again = asking.kernel.run(cell)
        assert again.ok, again.text
        assert "2\n" in again.stdout
        assert "import alloy" not in cell


def test_figures_of_the_proof_are_not_shown(asking):
    code = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"
    with Server(*loop([python(code)], [Say("Drawn.")])) as server:
        asking.use(server, approve="all")
        asking.ask("draw")
        run = at_it(asking.kernel, "%alloy promote")
        assert run.ok, run.text
        assert "Reproduced" in run.text
        assert not [o for o in run.outputs if "image/png" in o.get("data", {})]


def test_an_interrupt_ends_the_proof_and_the_users_names_are_back(asking):
    code = "import time\ntime.sleep(60 if slow else 0)"
    stopped = []

    def stop(message):
        if message.type == "execute_input":  # an interrupt before that would stop nothing
            time.sleep(1.5)
            stopped.append(time.monotonic())
            asking.kernel.interrupt()

    with Server(*loop([python(code)], [Say("Slept.")])) as server:
        asking.use(server, approve="all")
        asking.kernel.run("slow = False; mine = 5")
        asking.ask("sleep")
        asking.kernel.run("slow = True")
        run = at_it(asking.kernel, "%alloy promote", on_message=stop)
        assert run.replied_at - stopped[0] < 10
        assert asking.evaluate("mine") == 5
        assert asking.kernel.run("print('still here')").stdout == "still here\n"


def test_promote_works_on_a_conversation_that_was_resumed_in_a_new_kernel(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    steps = [[python("import math\nrows = [3, 1, 2]")], [python("sorted(rows)")], [Say("Sorted.")]]
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Server(*loop(*steps)))
        environment = {
            "ANTHROPIC_API_KEY": CANARY,
            "ANTHROPIC_BASE_URL": server.url,
            "ALLOY_MODEL": "anthropic/claude-sonnet-4-6",
        }
        setup = "%load_ext alloy_nb\n%config Alloy.approve = 'all'"
        with start_kernel(environment, cwd=folder) as first:
            assert first.run(setup).ok
            assert first.run("%%alloy\nsort").ok
        with start_kernel(environment, cwd=folder) as second:
            assert second.run(setup).ok
            assert second.run("%alloy resume").ok
            run = at_it(second, "%alloy promote")
            assert run.ok, run.text
            assert "Reproduced" in run.text
            assert "sorted(rows)" in offered(run)
            assert second.evaluate("'rows' in globals()") is False


# --- doctor -----------------------------------------------------------------------------------


class Answering(FrontEnd):
    """A front end that shows a widget, whose module sends a message at once."""

    def _show(self, comm_id):
        self.press(comm_id, {"here": True})


def test_doctor_finds_that_widgets_answer_while_a_cell_runs(asking):
    if not has_subshells(asking.kernel):
        pytest.skip("this kernel hears no widget while a cell runs")
    front = Answering(asking.kernel)
    seconds = "import alloy_nb.notebook.doctor as _d; _d._WAIT_SECONDS = {}"
    asking.kernel.run(seconds.format(60))  # for a machine that is busy with other things
    run = at_it(asking.kernel, "%alloy doctor offline", on_message=front.look)
    asking.kernel.run(seconds.format(1.5))
    assert run.ok, run.text
    assert "answer while a cell runs" in run.text
    assert front.opened == front.closed


def test_doctor_leaves_one_table_and_no_widget(asking):
    run = at_it(asking.kernel, "%alloy doctor offline")
    assert len(run.outputs) == 1
    assert set(run.outputs[0]["data"]) == {"text/html", "text/markdown", "text/plain"}
    assert "input() works here" in run.text
    assert "asked by input() instead" in run.text
    assert CANARY not in json.dumps([m.content for m in run.messages], default=str)


def test_doctor_says_that_nobody_can_be_asked_where_nobody_sits(asking):
    run = asking.kernel.run("%alloy doctor offline")
    assert run.ok
    assert "nobody can be asked" in run.text


def test_a_key_can_be_typed_in_a_kernel_and_comes_out_nowhere(asking):
    run = asking.kernel.run("%alloy key groq", answers=[CANARY + "-typed"])
    assert run.ok, run.text
    assert run.prompts
    assert "groq" in run.prompts[0]
    assert CANARY not in json.dumps([run.reply, *(m.content for m in run.messages)], default=str)
    assert asking.evaluate("[n for n in In if 'typed' in n]") == []
    assert asking.kernel.run("%alloy key groq forget").ok


def test_without_anybody_at_it_a_key_is_not_waited_for(asking):
    run = asking.kernel.run("%alloy key groq")
    assert "Nobody can type a key here" in run.text

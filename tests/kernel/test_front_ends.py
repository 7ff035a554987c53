"""Front ends that are not here, by what is known of them: VS Code, Colab, papermill.

Each is simulated by what it sends to a kernel and by what it does with outputs; what only the real
one could show is written down in tests/README.md.

- VS Code: a cell's id is the address of its document; the file stands in ``__vsc_ipynb_file__``;
  messages of widgets wait until the cell has ended (no subshells).
- Colab: ``google.colab`` is imported, cells have no ids, ``set_next_input`` is ignored, comms of
  widgets that it does not know are not answered.
- A front end that draws no updates of outputs.
- papermill: nobody sits there, and a notebook runs with parameters.
"""

from __future__ import annotations

import re
import subprocess
import sys

import nbformat
import pytest

from tests.kernel.front_end import FrontEnd
from tests.kernel.test_documents import plain, world
from tests.kernel_harness import final_outputs
from tests.servers.sse import Server, loop
from tests.servers.wire import Call, Say, Think

__all__ = ["world"]

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

VSCODE_CELL = "vscode-notebook-cell:/home/ada/work/sales.ipynb#W{}sZmlsZQ%3D%3D"
ASKED = [Call("python", {"code": "ran = 6 * 7"})], [Say("It is 42.")]
CODE = "Here:\n\n```python\ntotal = sum([1, 2])\n```\n"


# --- VS Code ------------------------------------------------------------------------------------


@pytest.fixture
def vscode(asking):
    asking.kernel.run("__vsc_ipynb_file__ = '/home/ada/work/sales.ipynb'; ran = None")
    yield asking
    asking.kernel.run("del __vsc_ipynb_file__")


def test_in_vs_code_a_cell_that_runs_again_replaces_its_turn(vscode):
    with Server(*loop([Say("First.")], [Say("Second.")], [Say("Third.")])) as server:
        vscode.use(server)
        vscode.ask("one", cell_id=VSCODE_CELL.format(0))
        vscode.ask("two", cell_id=VSCODE_CELL.format(1))
        vscode.ask("one, other words", cell_id=VSCODE_CELL.format(0))
        sent = server.requests[-1].body.decode()
    assert "First." not in sent
    assert "Second." not in sent


def test_in_vs_code_a_card_that_cannot_answer_gives_way_to_words(vscode):
    front = FrontEnd(vscode.kernel, {"answer": "once"}, subshell=False)
    with Server(*loop(*ASKED)) as server:
        vscode.use(server)
        run = vscode.ask("go", answers=["y"], on_message=front.look)
    assert run.ok, run.text
    assert len(run.prompts) == 1
    assert vscode.evaluate("ran") == 42
    assert front.opened <= front.closed


def test_in_vs_code_code_is_put_into_the_next_cell(vscode):
    with Server(*loop([Say(CODE)])) as server:
        vscode.use(server)
        vscode.ask("write it")
        run = vscode.kernel.run("%alloy code", answers=[])
    assert [p["text"] for p in run.reply["payload"]] == ["total = sum([1, 2])"]


# --- Colab --------------------------------------------------------------------------------------


@pytest.fixture
def colab(asking):
    names = "('google', 'google.colab')"
    asking.kernel.run(f"import sys, types\nfor n in {names}: sys.modules[n] = types.ModuleType(n)")
    asking.kernel.run("ran = None")
    yield asking
    asking.kernel.run(f"for n in {names}: sys.modules.pop(n, None)")


def test_in_colab_a_person_is_asked_in_words_and_no_widget_is_left(colab):
    front = FrontEnd(colab.kernel, shows=False)
    with Server(*loop(*ASKED)) as server:
        colab.use(server)
        run = colab.ask("go", answers=["y"], on_message=front.look)
    assert run.ok, run.text
    assert "ran = 6 * 7" in run.prompts[0] + run.text
    assert colab.evaluate("ran") == 42
    assert front.opened <= front.closed
    assert "widget-view" not in str([output.get("data", {}) for output in run.outputs])


def test_in_colab_code_is_shown_to_be_copied_since_no_cell_can_be_added(colab):
    with Server(*loop([Say(CODE)])) as server:
        colab.use(server)
        colab.ask("write it")
        run = colab.kernel.run("%alloy code", answers=[])
    assert not run.reply["payload"]
    assert "total = sum([1, 2])" in run.text
    assert "Copy it into a cell" in run.text


def test_in_colab_without_ids_of_cells_the_same_cell_replaces_its_turn(colab):
    with Server(*loop([Say("First.")], [Say("Second.")])) as server:
        colab.use(server)
        colab.ask("one", answers=[])
        colab.ask("one", answers=[])
        assert "First." not in server.requests[-1].body.decode()


def test_in_colab_every_output_stands_by_itself(colab):
    """Colab puts each output into a frame of its own: nothing may rest on another's styles."""
    replies = [Think("Let me see."), Call("python", {"code": "6 * 7"})], [Say("It is **42**.")]
    with Server(*loop(*replies)) as server:
        colab.use(server, approve="all")
        run = colab.ask("go")
    assert not re.search(r"<(style|script|link)\b|\bclass=|\bid=", run.html)


# --- no updates ---------------------------------------------------------------------------------


def test_where_outputs_are_not_updated_the_result_can_be_shown_whole(asking):
    text = "The first paragraph.\n\n" + "It goes on. " * 200 + "\n\nThe last words."
    with Server(*loop([Say(text)])) as server:
        asking.use(server)
        run = asking.ask("go", "-o kept")
    first = [m for m in run.messages if m.type != "update_display_data"]
    assert all(o["data"]["text/plain"].strip() for o in final_outputs(first) if "data" in o)
    again = asking.kernel.run("kept")
    without = [m for m in again.messages if m.type != "update_display_data"]
    assert "The last words." in "\n".join(
        o["data"]["text/plain"] for o in final_outputs(without) if "data" in o
    )


# --- papermill ----------------------------------------------------------------------------------

_CHANGING = re.compile(r"\d+(\.\d+)? ?s\b|\d+ min|0x[0-9a-f]+")
PAPER = [
    ("rows = 4", ["parameters"]),
    ("%load_ext alloy_nb", []),
    (
        "import pandas as pd\ndf = pd.DataFrame({'kind': list('ab') * rows, 'n': range(2 * rows)})",
        [],
    ),
    ("%%alloy\nWhat is 6 * 7?", []),
    ("%%alloy --approve all\nWhat stands out in @df?", []),
    ("%alloy history", []),
]


@pytest.fixture(scope="module")
def papers(world):
    """Run a notebook twice with papermill, with a parameter; return both notebooks."""
    pytest.importorskip("papermill", reason="papermill comes with the extra `test`")
    books = []
    for number in range(2):
        folder = world[0] / f"paper-{number}"
        folder.mkdir()
        cells = [
            nbformat.v4.new_code_cell(source, id=f"cell-{at}", metadata={"tags": tags})
            for at, (source, tags) in enumerate(PAPER)
        ]
        spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        book = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": spec})
        nbformat.write(book, folder / "in.ipynb")
        ran = subprocess.run(
            [sys.executable, "-m", "papermill", "in.ipynb", "out.ipynb", "-p", "rows", "20"],
            cwd=folder,
            env=world[1],
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert ran.returncode == 0, ran.stderr
        books.append(nbformat.read(folder / "out.ipynb", as_version=4))
    return books


def test_papermill_gives_the_same_twice_but_for_times(papers):
    one, two = (
        [
            [_CHANGING.sub("…", text) for text in (plain(o), *o.get("data", {}).values())]
            for cell in book.cells
            for o in cell.get("outputs", ())
        ]
        for book in papers
    )
    assert one == two


def test_papermill_denies_what_nobody_could_allow_and_goes_on(papers):
    texts = ["\n".join(map(plain, cell.get("outputs", ()))) for cell in papers[0].cells]
    assert any("✗ not allowed" in text for text in texts)
    assert any("40 rows" in text for text in texts)  # the parameter was used


def test_papermill_leaves_no_widget_and_no_frame_behind(papers):
    for cell in papers[0].cells:
        for output in cell.get("outputs", ()):
            assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})
            assert not re.search("⏳|💭|waits for you", plain(output))

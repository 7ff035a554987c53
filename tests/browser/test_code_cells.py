"""Code that is offered comes into a cell of JupyterLab, and Tab completes after the magic."""

import pytest

from tests.servers.sse import Server, loop
from tests.servers.wire import Say

FIXED = "A comma is missing.\n\n```python\ntotal = sum([1, 2])\ntotal\n```\n"


@pytest.fixture(scope="module")
def lab(start_lab, tmp_path_factory):
    """A lab without keys."""
    with start_lab(tmp_path_factory.mktemp("code")) as running:
        yield running


def source(notebook, number):
    """What is typed in a cell."""
    return "\n".join(notebook.cell(number).locator(".cm-line").all_inner_texts())


def test_the_corrected_cell_comes_below_and_runs_when_the_person_runs_it(lab):
    with Server(*loop([Say(FIXED)])) as server:
        model = f"%load_ext alloy_nb\n%alloy model openai-compat/m --base-url {server.url}"
        notebook = lab.open_notebook([model, "total = sum([1, 2)", "%alloy fix", "last = 1"])
        for number in range(3):
            notebook.run(number)
        notebook.wait_text(2, "It is in the next cell, and has not run.")
        assert source(notebook, 3) == "total = sum([1, 2])\ntotal"
        assert source(notebook, 4) == "last = 1"
        notebook.run(3)
        notebook.wait_text(3, "3")


def test_tab_completes_a_command_and_a_name_in_a_cell(lab):
    cells = ["%load_ext alloy_nb\nrevenue = 1", "%alloy prom", "%%alloy\nWhy is @reve"]
    notebook = lab.open_notebook(cells)
    notebook.run(0)
    for number, whole in ((1, "%alloy promote"), (2, "%%alloy\nWhy is @revenue")):
        complete(notebook, number, whole)
        assert source(notebook, number) == whole


def complete(notebook, number, whole):
    """Press Tab at the end of a cell, and Enter where a list with the word is offered."""
    editor = notebook.cell(number).locator(".cm-content")
    editor.click()
    editor.press("Control+End")
    editor.press("Tab")
    offered = notebook.page.locator(".jp-Completer .jp-Completer-match")
    for waited in range(100):
        if source(notebook, number) == whole:
            return
        if waited % 30 == 29 and not offered.count():
            editor.press("Tab")  # JupyterLab waits a second for an answer, and then for no other
        if offered.count() and offered.first.is_visible():
            assert offered.first.inner_text().strip() == whole.split()[-1]
            editor.press("Enter")
        notebook.page.wait_for_timeout(100)

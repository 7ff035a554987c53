"""The harness shows what a person would see in Notebook 7."""

import pytest

from tests.browser.notebook7 import Notebook7

CELLS = [
    "print('hello')\nfrom IPython.display import HTML\nHTML('<b>bold</b>')",
    "name = input('who? '); print('you are', name)",
    "import time; time.sleep(60)",
]


@pytest.fixture(scope="module")
def notebook7(start_lab, tmp_path_factory):
    with start_lab(tmp_path_factory.mktemp("notebook7"), front_end=Notebook7) as running:
        yield running


@pytest.fixture(scope="module")
def notebook(notebook7):
    return notebook7.open_notebook(CELLS)


def test_a_cell_runs_and_shows_its_outputs(notebook):
    notebook.run(0)
    assert notebook.text(0).startswith("hello")
    assert "<b>bold</b>" in notebook.html(0)
    notebook.lab.assert_clean()


def test_it_is_notebook_7_and_not_jupyterlab(notebook):
    assert notebook.page.locator("body").get_attribute("data-notebook") == "notebooks"


def test_a_prompt_is_answered(notebook):
    notebook.start(1)
    notebook.answer("Ada")
    notebook.wait_text(1, "you are Ada")


def test_the_stop_button_interrupts(notebook):
    notebook.start(2)
    notebook.interrupt()
    notebook.wait_text(2, "KeyboardInterrupt")


def test_the_saved_notebook_holds_the_outputs_and_opens_again(notebook):
    notebook.run(0)
    saved = notebook.save()
    assert saved["cells"][0]["outputs"][0]["text"] == ["hello\n"]
    again = notebook.lab.open(notebook.path, kernel=False)
    again.wait_text(0, "hello")


def test_each_theme_gets_its_picture(notebook, tmp_path):
    light, dark = notebook.screenshots(tmp_path, "cell")
    assert light.read_bytes() != dark.read_bytes()

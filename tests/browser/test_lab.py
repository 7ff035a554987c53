"""The browser harness shows what a person would see in JupyterLab."""

import pytest

CELLS = [
    "print('hello')\nfrom IPython.display import HTML\nHTML('<b>bold</b>')",
    "import time\nh = display('frame 0', display_id=True)\n"
    "for n in range(1, 11):\n    time.sleep(.3); h.update(f'frame {n}')",
    "name = input('who? '); print('you are', name)",
    "import time; time.sleep(60)",
    "from IPython.display import HTML; HTML('<img src=\"http://canary.invalid/x.png\">')",
]


@pytest.fixture(scope="module")
def notebook(lab):
    return lab.open_notebook(CELLS)


def test_a_cell_runs_and_shows_its_outputs(notebook):
    notebook.run(0)
    assert notebook.text(0).startswith("hello")
    assert "<b>bold</b>" in notebook.html(0)
    notebook.lab.assert_clean()


def test_frames_of_a_growing_output_are_seen(notebook):
    notebook.start(1)
    frames = notebook.frames(1, until=lambda frame: "frame 10" in frame.text)
    texts = {frame.text for frame in frames}
    assert len(texts) >= 4
    notebook.wait_done(1)


def test_a_prompt_is_answered(notebook):
    notebook.start(2)
    notebook.answer("Ada")
    notebook.wait_text(2, "you are Ada")


def test_the_stop_button_interrupts(notebook):
    notebook.start(3)
    notebook.interrupt()
    notebook.wait_text(3, "KeyboardInterrupt")


def test_the_saved_notebook_holds_the_outputs(notebook):
    notebook.run(0)
    saved = notebook.save()
    assert saved["cells"][0]["outputs"][0]["text"] == ["hello\n"]


def test_each_theme_gets_its_picture(notebook, tmp_path):
    light, dark = notebook.screenshots(tmp_path, "cell")
    assert light.read_bytes() != dark.read_bytes()


def test_a_request_to_a_stranger_is_refused_and_told(notebook):
    notebook.run(4)
    with pytest.raises(AssertionError, match=r"canary\.invalid"):
        notebook.lab.assert_clean()
    assert set(notebook.lab.strangers) == {"http://canary.invalid/x.png"}


def test_all_cells_run_in_order(lab):
    notebook = lab.open_notebook(["x = 1", {"cell_type": "markdown", "source": "# T"}, "x + 1"])
    notebook.run_all()
    assert notebook.text(2).endswith("2")
    lab.assert_clean()


def test_a_cell_that_runs_again_is_waited_for(lab):
    notebook = lab.open_notebook(["import time; time.sleep(.3); print(time.time())"])
    notebook.run(0)
    before = notebook.text(0)
    notebook.run(0)
    assert notebook.text(0) != before


def test_run_all_ends_at_a_failed_cell(lab):
    notebook = lab.open_notebook(["1 / 0", "print('never')"])
    notebook.run_all()
    assert "ZeroDivisionError" in notebook.text(0)
    assert notebook.text(1) == ""


def test_a_saved_notebook_opens_again_with_its_outputs(lab):
    notebook = lab.open_notebook(["print('kept')"])
    notebook.run(0)
    notebook.save()
    again = lab.open(notebook.path, kernel=False)
    again.wait_text(0, "kept")
    assert again.text(0) == "kept"

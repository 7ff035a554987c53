"""``%alloy panel side``: the panel in an area of JupyterLab's own, where the package sidecar is."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.answering import Model
from tests.browser.panel_driver import PATIENCE, Panel
from tests.servers.wire import Say

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CODE = "```python\n" + "total = " + " + ".join(f"column_{n}" for n in range(30)) + "\n```"
TABLE = "|" + "".join(f" column {n} |" for n in range(12)) + "\n|" + "---|" * 12
WIDE = f"The total:\n\n{CODE}\n\n{TABLE}\n|{' 1234.5 |' * 12}\n\n{'long' * 60}"
SLOW = " ".join(f"word{n}" for n in range(80))


@pytest.fixture(scope="module")
def model():
    with Model() as running:
        running.on("slowly", [Say(SLOW)], per_second=10)
        running.on("widely", [Say(WIDE)])
        yield running


@pytest.fixture(scope="module")
def book(lab, model):
    notebook = lab.open_notebook(
        [f"%load_ext alloy_nb\n%alloy model {model.flags}", "%alloy panel side"]
    )
    notebook.run(0)
    notebook.run(1)
    return notebook


@pytest.fixture(scope="module")
def panel(book):
    return Panel(book.page, side_of(book).locator(".alloy-panel")).wait()


def side_of(book):
    return book.page.locator(".jupyterlab-sidecar")


def test_it_stands_beside_the_notebook_and_fills_its_area(book, panel):
    fills = "(node) => node.offsetHeight > 0.9 * node.closest('.jupyterlab-sidecar').offsetHeight"
    book.page.wait_for_function(fills, arg=panel.root.element_handle())
    notebook = book.page.locator(".jp-NotebookPanel").bounding_box()
    side = side_of(book).bounding_box()
    assert side["x"] >= notebook["x"] + notebook["width"]
    assert book.output(1).locator(".alloy-panel").count() == 0
    expect(book.page.get_by_role("tab", name="alloy: main")).to_be_visible()


def test_an_answer_streams_there(panel):
    panel.ask("say it slowly")
    expect(panel.last).to_contain_text("word3", timeout=PATIENCE)
    expect(panel.stop).to_be_visible()
    assert "word79" not in panel.last.inner_text()
    expect(panel.last).to_contain_text("word79", timeout=PATIENCE)
    panel.wait_idle()


def test_a_narrow_one_has_no_horizontal_scrollbar(book, panel, tmp_path):
    panel.asked("say it widely", "The total")
    size = book.page.viewport_size
    book.page.set_viewport_size({"width": 900, "height": size["height"]})
    expect(panel.button("Settings")).to_be_visible()
    book.page.wait_for_function("(node) => node.clientWidth < 320", arg=panel.root.element_handle())
    folder = Path(os.environ.get("ALLOY_SCREENSHOTS") or tmp_path)
    book.screenshot(folder / "panel-side.png")
    inside = "(node) => node.scrollWidth <= node.clientWidth"
    parts = {
        "area": side_of(book),
        "panel": panel.root,
        "conversation": panel.root.get_by_role("log"),
    }
    assert [name for name, part in parts.items() if not part.evaluate(inside)] == []
    book.page.set_viewport_size(size)


def test_it_asks_strangers_for_nothing_and_no_script_fails(lab, panel):
    lab.assert_clean()

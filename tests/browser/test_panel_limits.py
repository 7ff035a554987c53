"""What the server lets through between the panel and the kernel, and what becomes of the rest."""

import pytest
from playwright.sync_api import expect

from tests.browser.answering import Model
from tests.browser.panel_driver import PATIENCE, Panel
from tests.servers.wire import Say, words

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LOAD, SHOWN, PRINTS = range(3)
# More than a megabyte a second; cleared each time, as the page has to draw what comes through.
MUCH = """import time
from IPython.display import clear_output
end = time.time() + 12
while time.time() < end:
    print("x" * 79_999)
    clear_output()
    time.sleep(0.02)
print("that was much")"""
_DROP = """(area, size) => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(size).fill(97)], "large.txt", {type: "text/plain"}));
    const how = {bubbles: true, cancelable: true, dataTransfer: data};
    area.dispatchEvent(new DragEvent("drop", how));
}"""


@pytest.fixture(scope="module")
def model():
    with Model() as running:
        yield running


@pytest.fixture(scope="module")
def book(lab, model):
    load = f"%load_ext alloy_nb\n%alloy model {model.flags}"
    notebook = lab.open_notebook([load, "%alloy panel", MUCH])
    notebook.run(LOAD)
    notebook.run(SHOWN)
    return notebook


@pytest.fixture
def panel(book):
    return Panel(book.page, book.output(SHOWN).locator(".alloy-panel")).wait()


def test_the_largest_file_that_is_taken_reaches_the_kernel(panel):
    panel.area.evaluate(_DROP, 10_000_000)
    expect(panel.chips).to_contain_text(["large.txt"], timeout=PATIENCE)
    panel.button("Remove large.txt", panel.chips.first).click()
    expect(panel.chips).to_have_count(0)


def test_an_answer_that_ends_while_a_cell_prints_very_much_is_whole_in_the_end(panel, model, book):
    model.on("in between", [Say(words(60) + " and that is all")], per_second=30)
    book.start(PRINTS)
    book.page.wait_for_timeout(2_000)
    panel.ask("in between")
    book.wait_done(PRINTS, timeout=120)
    expect(panel.turn("in between")).to_contain_text("and that is all", timeout=2 * PATIENCE)
    panel.wait_idle()
    expect(panel.root.locator(".alloy-kernel")).to_have_text("kernel idle", timeout=PATIENCE)

"""The panel for those who do not see it, have no mouse, or use the other theme."""

import pytest
from playwright.sync_api import expect

from tests.browser.answering import Model
from tests.browser.axe import assert_accessible, axe_source
from tests.browser.panel_driver import PATIENCE, Panel, panel_notebook
from tests.servers.wire import Call, Say, Think

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ANSWER = """Revenue **fell**, as `df` shows:

```python
print(df)
```

| region | amount |
|---|---|
| North | 1.5 |

> a quote, and [a link](https://example.org)
"""


@pytest.fixture(scope="module")
def model():
    with Model() as running:
        running.on("compute it", [Call("python", {"code": "print(6 * 7)"})], [Say("It is 42.")])
        running.on("why", [Think("Let me see."), Say(ANSWER)])
        yield running


@pytest.fixture(scope="module")
def book(lab, model):
    notebook = panel_notebook(lab, model)
    shown = Panel(lab.page, notebook.output(1).locator(".alloy-panel")).wait()
    shown.asked("why", "a quote")
    return notebook


@pytest.fixture
def panel(book):
    return Panel(book.page, book.output(1).locator(".alloy-panel")).wait()


@pytest.mark.parametrize("theme", ["light", "dark"])
class TestAxe:
    """Nothing serious, whatever is open."""

    @pytest.fixture(autouse=True)
    def themed(self, lab, theme):
        axe_source()
        lab.set_theme(theme)
        yield
        lab.set_theme("light")

    def test_a_conversation(self, panel):
        assert_accessible(panel.page, ".alloy-panel")

    def test_a_question_that_waits(self, panel):
        panel.ask("compute it")
        expect(panel.card).to_be_visible(timeout=PATIENCE)
        assert_accessible(panel.page, ".alloy-panel")
        panel.button("Edit…", panel.card).click()
        assert_accessible(panel.page, ".alloy-panel")
        panel.button("Run the edited version", panel.card).click()
        panel.wait_idle()

    def test_what_opens(self, panel):
        panel.button("More").click()
        assert_accessible(panel.page, ".alloy-panel")
        panel.page.keyboard.press("Escape")
        panel.button("Search").click()
        panel.page.keyboard.type("why")
        expect(panel.root.locator(".alloy-hits li").first).to_be_visible(timeout=PATIENCE)
        assert_accessible(panel.page, ".alloy-panel")
        panel.page.keyboard.press("Escape")
        panel.area.click()
        panel.area.press_sequentially("/c")
        expect(panel.offered.first).to_be_visible(timeout=PATIENCE)
        assert_accessible(panel.page, ".alloy-panel")
        panel.area.press("Escape")
        panel.area.fill("")

    def test_notices_and_what_waits(self, panel):
        panel.ask("/cost --nonsense")
        expect(panel.notices.last).to_be_visible(timeout=PATIENCE)
        assert_accessible(panel.page, ".alloy-panel")
        panel.wait_notice("nonsense")

    def test_a_narrow_one(self, panel):
        size = panel.page.viewport_size
        panel.page.set_viewport_size({"width": 620, "height": 800})
        try:
            assert_accessible(panel.page, ".alloy-panel")
        finally:
            panel.page.set_viewport_size(size)


def test_every_control_is_reached_with_the_tab_key(panel):
    """From the message on: all that one can press has the focus once, and is seen to have it."""
    panel.area.click()
    reached = set()
    for key in ("Tab", "Shift+Tab"):
        panel.area.focus()
        for _ in range(80):
            panel.page.keyboard.press(key)
            held = panel.root.evaluate(
                """root => {
                    const held = document.activeElement;
                    if (!root.contains(held)) return null;
                    const name = held.getAttribute("aria-label") || held.textContent.trim();
                    return `${held.tagName} ${name.slice(0, 40)}`;
                }"""
            )
            if held is None:
                break
            reached.add(held)
    wanted = {
        "SELECT Session",
        "SELECT Model",
        "SELECT Effort",
        "SELECT Data",
        "SELECT Approve",
        "BUTTON Search",
        "BUTTON More",
        "BUTTON Edit and ask again",
        "BUTTON Hide from the model",
        "BUTTON Pin",
        "BUTTON Copy the answer",
        "BUTTON Answer again",
        "BUTTON Copy the code",
        "BUTTON Insert into a new cell",
        "BUTTON Run in the kernel",
        "BUTTON Attach files or images",
        "BUTTON Attach a variable, a cell or its output",
    }
    assert wanted <= reached, wanted - reached


def test_a_turn_is_asked_answered_and_allowed_with_the_keyboard_alone(panel, model):
    panel.area.focus()
    panel.page.keyboard.type("compute it")
    panel.page.keyboard.press("Enter")
    expect(panel.card).to_be_focused(timeout=PATIENCE)
    panel.page.keyboard.press("Tab")  # what would run
    panel.page.keyboard.press("Tab")
    expect(panel.button("Allow once", panel.card)).to_be_focused()
    panel.page.keyboard.press("Enter")
    expect(panel.last).to_contain_text("It is 42.", timeout=PATIENCE)
    panel.wait_idle()
    expect(panel.area).to_be_focused()


def test_letters_typed_in_the_panel_are_no_commands_of_the_notebook(panel, book):
    before = book.page.locator(".jp-Notebook .jp-Cell").count()
    panel.area.click()
    panel.area.press_sequentially("dd aabb xx yy 00")
    panel.page.keyboard.press("Escape")
    panel.root.locator(".alloy-log").focus()
    for key in ("d", "d", "a", "b", "x"):
        panel.page.keyboard.press(key)
    expect(panel.area).to_have_value("dd aabb xx yy 00")
    assert book.page.locator(".jp-Notebook .jp-Cell").count() == before
    panel.area.fill("")


def test_a_screen_reader_hears_of_states_and_not_of_each_word(panel):
    status = panel.root.get_by_role("status").first
    log = panel.root.get_by_role("log")
    expect(log).to_have_attribute("aria-live", "off")
    panel.asked("why", "a quote")
    expect(status).to_have_text("The answer is complete.")

"""axe finds what it should, and nothing grave in the approval card of a cell."""

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.browser.axe import assert_accessible, axe_source, violations
from tests.browser.lab import CHROMIUM_FLAGS
from tests.servers.sse import Server, loop
from tests.servers.wire import Call, Say

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module", autouse=True)
def engine():
    return axe_source()


def test_a_button_without_a_name_is_found(chromium):
    """A test that cannot fail proves nothing."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*CHROMIUM_FLAGS])
        page = browser.new_page()
        page.set_content("<html lang=en><main><button></button><p>text</p></main></html>")
        found = violations(page, "main")
        assert [line.split(":")[0] for line in found] == ["critical button-name"]
        page.set_content("<html lang=en><main><button>Send</button></main></html>")
        assert_accessible(page, "main")
        browser.close()


def test_the_approval_card_of_a_cell_has_no_grave_violation_in_either_theme(lab):
    ask = [Call("python", {"code": "total = 6 * 7"})]
    with Server(*loop(ask, [Say("All done.")])) as server:
        flags = f"-m openai-compat/scripted --base-url {server.url}"
        patient = "from alloy_nb.notebook.approval import person; person._HANDSHAKE_SECONDS = 60"
        notebook = lab.open_notebook([f"{patient}\n%load_ext alloy_nb", f"%%alloy {flags}\ngo"])
        notebook.run(0)
        notebook.start(1)
        card = notebook.output(1).locator(".alloy-ask")
        expect(card).to_be_visible()
        for theme in ("dark", "light"):
            lab.set_theme(theme)
            assert_accessible(lab.page, ".alloy-ask")
            card.get_by_role("button", name="Edit…").click()
            assert_accessible(lab.page, ".alloy-ask")
            card.get_by_role("button", name="Back").click()
        card.get_by_role("button", name="Deny").click()
        notebook.wait_done(1)

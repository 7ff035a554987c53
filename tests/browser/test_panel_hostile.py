"""The hostile corpus in the panel, wherever text of others is shown there: it does nothing.

The addresses in the corpus lead to a canary server on this machine. In the page of a host that is
no Jupyter nothing stands between the browser and that server, no policy and no guard; in
JupyterLab the harness notes each request to anybody else.
"""

import json
import random

import pytest
from playwright.sync_api import expect

from tests.browser.answering import Model
from tests.browser.panel_driver import PATIENCE, Panel, panel_notebook
from tests.browser.test_hostile import SEED
from tests.notebook.hostile import CONTROL, PAYLOADS
from tests.servers.sse import Server, stream
from tests.servers.wire import Call, Say, Think

pytestmark = [pytest.mark.browser, pytest.mark.slow]

_LIVE = """(root) => {
    const found = [];
    const tags = "script,iframe,frame,object,embed,math,style,link,meta,base,form,input,button,"
        + "select,textarea,video,audio,source,picture,template,portal,dialog,image,svg";
    for (const area of root.querySelectorAll(".alloy-output, .alloy-said, .alloy-hit")) {
        for (const node of area.querySelectorAll("*")) {
            const ours = node.closest(".alloy-actions");
            if (!ours && node.matches(tags)) found.push(node.outerHTML);
            for (const {name, value} of node.attributes) {
                if (ours) continue;
                if (/^on|^data-|^srcset$|^ping$|^form|^id$/.test(name)) {
                    found.push(`${node.tagName} ${name}=${value}`);
                }
                if (name === "style" && /url|expression|position|@|\\\\/i.test(value)) {
                    found.push(`style ${value}`);
                }
            }
            if (node.tagName === "A" && node.hasAttribute("href")
                && !["http:", "https:", "mailto:"].includes(node.protocol)) {
                found.push(`href ${node.getAttribute("href")}`);
            }
            if (node.tagName === "IMG" && node.hasAttribute("src")
                && !/^data:image\\/(png|jpeg|gif|webp);/.test(node.src)) {
                found.push(`src ${node.src}`);
            }
        }
    }
    for (const node of root.querySelectorAll("*")) {
        for (const {name} of node.attributes) if (/^on/.test(name)) found.push(node.outerHTML);
    }
    return found;
}"""


@pytest.fixture(scope="module")
def canary():
    with Server(otherwise=lambda request: stream([])) as running:
        yield running


@pytest.fixture(scope="module")
def groups(canary):
    """The corpus in parts, aimed at the canary."""
    rng = random.Random(SEED)
    texts = [text for text in [*PAYLOADS.values(), *CONTROL.values()] if "\ud83d" not in text]
    rng.shuffle(texts)
    aimed = [text.replace("evil.example", f"127.0.0.1:{canary.port}") for text in texts]
    return ["\n\n".join(aimed[start::5]) for start in range(5)]


@pytest.fixture(scope="module")
def model(groups):
    with Model() as running:
        prints = Call("python", {"code": f"print({groups[2]!r})"})
        shows = Call(
            "python", {"code": f"import pandas as pd\ndisplay(pd.DataFrame([{groups[3]!r}]))"}
        )
        running.on("say all", [Think(groups[0]), Say(groups[1])])
        running.on("print all", [prints], [Say(groups[4])])
        running.on("show all", [shows], [Say("Shown.")])
        running.on("ask all", [Call("python", {"code": groups[0]})], [Say("Asked.")])
        yield running


@pytest.fixture(scope="module")
def book(lab, model):
    return panel_notebook(lab, model)


@pytest.fixture
def dialogs(lab):
    heard = []

    def note(dialog):
        if dialog.type == "beforeunload":
            dialog.accept()
        else:
            heard.append(dialog.message)
            dialog.dismiss()

    lab.page.on("dialog", note)
    yield heard
    lab.page.remove_listener("dialog", note)


@pytest.fixture
def panel(book, canary, dialogs, lab):
    shown = Panel(book.page, book.output(1).locator(".alloy-panel")).wait()
    title = lab.page.title()
    yield shown
    for fold in shown.root.locator("details").all():
        fold.evaluate("node => { node.open = true; }")
    assert shown.root.evaluate(_LIVE) == []
    lab.assert_clean()
    assert (dialogs, canary.requests) == ([], [])
    assert lab.page.title() == title


def test_no_answer_and_no_thought_does_anything(panel):
    panel.asked("say all")


def test_no_output_of_a_tool_does_anything(panel):
    panel.choose("Approve", "all")
    panel.asked("print all")
    panel.asked("show all", "Shown.")
    panel.choose("Approve", "ask")


def test_no_question_does_anything(panel):
    panel.ask("ask all")
    expect(panel.card).to_be_visible(timeout=PATIENCE)
    made = panel.card.evaluate(
        "card => [...new Set([...card.querySelectorAll('*')].map(n => n.tagName.toLowerCase()))]"
    )
    assert set(made) <= {"section", "p", "div", "span", "button", "input", "textarea"}
    panel.button("Deny", panel.card).click()
    panel.wait_idle()


def test_no_prompt_does_anything(panel, groups):
    for text in groups[:2]:
        panel.area.fill(f"-- {text}")
        panel.area.press("Enter")
        panel.wait_idle()


def test_no_name_of_a_file_and_no_chip_does_anything(panel):
    for name in (
        "<img src=x onerror=alert(1)>.txt",
        "\u202egpj.txt",
        '"><script>alert(1)</script>',
    ):
        panel.give("drop", name, "text/plain", "aGVsbG8=")
    expect(panel.chips.first).to_be_visible(timeout=PATIENCE)
    assert panel.root.locator(".alloy-chips img, .alloy-chips script").count() == 0
    while panel.chips.count():
        panel.chips.first.get_by_role("button").click()
        panel.page.wait_for_timeout(100)


def test_nothing_that_is_found_does_anything(panel):
    panel.button("Search").click()
    panel.page.keyboard.type("alert")
    expect(panel.root.locator(".alloy-hits li").first).to_be_visible(timeout=PATIENCE)
    panel.page.wait_for_timeout(300)
    assert panel.root.evaluate(_LIVE) == []
    panel.button("Close the search").click()


def test_nothing_that_a_command_shows_does_anything(panel):
    for line in ("/history", "/sent", "/context", "/tree"):
        before = panel.root.locator(".alloy-aside").count()
        panel.ask(line)
        expect(panel.root.locator(".alloy-aside")).to_have_count(before + 1, timeout=PATIENCE)


def test_html_from_the_kernel_is_cleaned_once_more_in_the_page(panel, book):
    """The second wall, alone: what the renderer would never make, sent as if it had made it."""
    code = f"""from ipywidgets.widgets.widget import _instances
shown, = [one for one in _instances.values() if type(one).__name__ == "Panel"]
for one in {json.dumps([*PAYLOADS.values()])}:
    shown.tell("shown", title=one, html=one, id="")"""
    cell = book.cell(2)
    cell.locator(".cm-content").click()
    book.page.keyboard.press("Control+a")
    book.page.keyboard.insert_text(code)
    book.page.keyboard.press("Escape")
    book.run(2)
    assert book.text(2) == ""
    expect(panel.root.locator(".alloy-aside").first).to_be_visible(timeout=PATIENCE)
    panel.page.wait_for_timeout(500)


def test_the_saved_notebook_does_nothing_when_it_is_opened_again(book, lab, canary, dialogs):
    book.page.wait_for_timeout(2_500)  # the output is drawn anew, for the file
    book.select(2)
    saved = book.save()
    saved["metadata"]["copied"] = True  # not signed, so that no widget is tried
    copy = book.path.with_name("copy.ipynb")
    copy.write_text(json.dumps(saved))
    again = lab.open(copy, kernel=False)
    area = again.output(1)
    expect(area).to_contain_text("Shown.", timeout=PATIENCE)
    for selector in ("script", "iframe", "svg", "style", "form", "button", "object"):
        assert area.locator(f".jp-RenderedHTMLCommon {selector}").count() == 0, selector
    lab.assert_clean()
    assert (dialogs, canary.requests) == ([], [])

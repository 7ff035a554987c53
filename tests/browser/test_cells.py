"""What a person sees in JupyterLab while a cell asks, and afterwards."""

import json
from itertools import pairwise

import pytest

from tests.kernel_harness import REPOSITORY
from tests.servers.sse import Server, loop, paced, stream
from tests.servers.wire import Call, Reply, Say, Think, chat_events, words

FIRST = REPOSITORY / "notebooks" / "01-first-cell.ipynb"


@pytest.fixture(scope="module")
def lab(start_lab, tmp_path_factory):
    """A lab without keys, so that the demo answers."""
    with start_lab(tmp_path_factory.mktemp("cells")) as running:
        yield running


def code_of(path):
    """The code cells of a notebook."""
    cells = json.loads(path.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


@pytest.fixture(scope="module")
def first(lab):
    """The first notebook's cells, run up to its first question; with what was seen of it."""
    cells = code_of(FIRST)
    number = next(n for n, cell in enumerate(cells) if "What stands out" in cell)
    notebook = lab.open_notebook(cells[: number + 1])
    for before in range(number):
        notebook.run(before)
    notebook.start(number)
    notebook.seen = notebook.frames(number, every=0.05, until=lambda f: "↑" in f.text)
    notebook.wait_done(number)
    notebook.number = number
    yield notebook
    lab.assert_clean()


def test_an_answer_is_seen_while_it_comes(first):
    texts = list(dict.fromkeys(frame.text for frame in first.seen))
    answers = [text for text in texts if "✓" in text and "↑" not in text]
    assert len(answers) >= 3


def test_thinking_is_folded_in_a_block_of_its_own(first):
    blocks = first.output(first.number).locator("details", has_text="Thought for")
    assert blocks.count() >= 1
    assert blocks.first.get_attribute("open") is None


def test_a_tool_is_a_card_that_opens(first):
    card = first.output(first.number).locator("details", has_text="python").first
    assert "✓" in card.locator("summary").inner_text()
    card.locator("summary").click()
    assert card.locator("pre").first.is_visible()


def test_a_claim_names_the_place_it_rests_on(first):
    assert "[1]" in first.text(first.number)


def test_the_footer_is_last_and_names_the_demo(first):
    last = first.text(first.number).splitlines()[-1]
    assert last.startswith("↑")
    assert "no model was asked" in last


def test_nothing_is_left_of_the_frames(first):
    text = first.text(first.number)
    assert not [word for word in ("waiting", "⏳", "💭", "running") if word in text]


def test_the_page_never_shrinks_much_while_it_streams(first):
    heights = [frame.height for frame in first.seen]
    drops = [before - after for before, after in pairwise(heights)]
    assert max(drops) < 400  # thinking folds, which is meant; an empty frame would be all of it


def test_no_script_failed_and_nobody_outside_was_asked(first):
    first.lab.assert_clean()


# --- hostile ---------------------------------------------------------------------------------


def hostile(address):
    """An answer that tries what it can."""
    return f"""Hello. <script>window.hacked = 1</script>
<img src=x onerror="window.hacked = 2"> <svg onload="window.hacked = 3"></svg>
<iframe srcdoc="<script>parent.hacked = 4</script>"></iframe>

[a link](javascript:window.hacked=5) [data](data:text/html,<script>alert(1)</script>)
![remote]({address}/image.png) <img src="{address}/tag.png">
<a href="{address}/page" onclick="window.hacked=6">tag</a>
<style>body {{ display: none }} @import url("{address}/style.css");</style>
<div style="position:fixed;top:0;background:url({address}/background.png)">cover</div>

```html
<script>window.hacked = 7</script>
```

| a | b |
|---|---|
| <img src=x onerror="window.hacked = 8"> | $\\href{{javascript:window.hacked=9}}{{x}}$ |

The end."""


@pytest.fixture(scope="module")
def attacked(lab):
    """A notebook with a hostile answer, hostile thinking and a hostile tool result."""
    with Server(otherwise=lambda request: stream([])) as canary:
        text = hostile(canary.url)
        code = f"print({text!r})"
        replies = [Think(text), Say(text), Call("python", {"code": code})], [Say(text)]
        with Server(*loop(*replies)) as server:
            notebook = lab.open_notebook(["%load_ext alloy_nb", _asks(server)])
            dialogs = []

            def note(dialog):
                if dialog.type == "beforeunload":  # JupyterLab's own, when the page is left
                    dialog.accept()
                else:
                    dialogs.append(dialog.message)
                    dialog.dismiss()

            lab.page.on("dialog", note)
            notebook.run(0)
            notebook.run(1)
            notebook.wait_text(1, "↑")
            for summary in notebook.output(1).locator("summary").all():
                summary.click()
            lab.page.wait_for_timeout(500)
            notebook.dialogs, notebook.canary = dialogs, canary
            yield notebook
            lab.page.remove_listener("dialog", note)


def _asks(server, prompt="hello"):
    flags = f"-m openai-compat/scripted --base-url {server.url} --approve all"
    return f"%%alloy {flags}\n{prompt}"


def test_a_hostile_answer_runs_no_script(attacked):
    assert attacked.page.evaluate("window.hacked") is None
    assert not attacked.dialogs


def test_a_hostile_answer_asks_nobody(attacked):
    assert not attacked.canary.requests
    attacked.lab.assert_clean()


def test_a_hostile_answer_makes_no_live_element(attacked):
    area = attacked.output(1)
    for selector in ("script", "iframe", "svg", "style", "[onerror]", "[onclick]", "img"):
        inside = area.locator(".jp-RenderedHTMLCommon").locator(selector)
        assert inside.count() == 0, selector
    links = area.locator("a").evaluate_all("nodes => nodes.map(n => n.getAttribute('href'))")
    assert all(link is None or link.startswith("http://127.0.0.1") for link in links)


def test_a_hostile_answer_covers_nothing(attacked):
    assert attacked.page.evaluate("getComputedStyle(document.body).display") != "none"
    fixed = attacked.output(1).evaluate(
        "area => [...area.querySelectorAll('*')].filter("
        "n => getComputedStyle(n).position === 'fixed').map(n => n.outerHTML)"
    )
    assert fixed == []


def test_a_hostile_answer_can_be_read(attacked):
    text = attacked.text(1)
    assert "The end." in text
    assert "window.hacked = 7" in text


# --- stopping and approving ------------------------------------------------------------------


def test_the_stop_button_keeps_what_was_said(lab):
    def endless(request):
        return stream(paced(chat_events(Reply([Say(words(5000), size=7)])), 100))

    with Server(endless, *loop([Say("Gone on.")])) as server:
        cells = ["%load_ext alloy_nb", _asks(server), "1 + 1", _asks(server, "go on")]
        notebook = lab.open_notebook(cells)
        notebook.run(0)
        notebook.start(1)
        notebook.wait_text(1, "word20")
        notebook.interrupt()
        notebook.wait_text(1, "alloy: stopped")
        notebook.wait_done(1)
        assert "word20" in notebook.text(1)
        assert "Stopped." in notebook.text(1)
        assert "Traceback" not in notebook.text(1)
        server.requests[0].wait_closed()
        notebook.run(3)
        assert "Gone on." in notebook.text(3)
        lab.assert_clean()


def test_a_person_is_asked_in_the_cell_and_answers_there(lab):
    with Server(*loop([Call("python", {"code": "6 * 7"})], [Say("It is 42.")])) as server:
        asks = _asks(server).replace("--approve all", "--approve ask")
        # A button that is seen is not taken away while it is pressed.
        patient = "from alloy_nb.notebook.approval import person; person._HANDSHAKE_SECONDS = 60"
        notebook = lab.open_notebook([f"{patient}\n%load_ext alloy_nb", asks])
        notebook.run(0)
        notebook.start(1)
        # With a button where the kernel hears one, else in words.
        button = notebook.output(1).get_by_role("button", name="Allow once")
        box = notebook.output(1).locator(".jp-Stdin-input")
        button.or_(box).first.wait_for()
        if box.count():
            notebook.answer("y")
        else:
            button.click()
        notebook.wait_text(1, "It is 42.")
        notebook.wait_done(1)
        assert "waits for you" not in notebook.text(1)
        lab.assert_clean()


# --- saved -----------------------------------------------------------------------------------


def test_a_saved_answer_opens_again_as_it_was(lab):
    replies = [Think("Let me see."), Call("python", {"code": "6 * 7"})], [Say("It is **42**.")]
    with Server(*loop(*replies)) as server:
        notebook = lab.open_notebook(["%load_ext alloy_nb", _asks(server)])
        notebook.run(0)
        notebook.run(1)
        notebook.wait_text(1, "↑")
        before = notebook.text(1)
        notebook.save()
    again = lab.open(notebook.path, kernel=False)
    again.wait_text(1, "↑")
    assert again.text(1) == before
    assert again.output(1).locator("strong").count() == 1

"""The chat panel in a page that is no Jupyter: the same widget, the same module, another host.

In one mode anywidget's own front end is the host, as installed; in the other the module is called
by the specification alone.
"""

import json

import pytest
from playwright.sync_api import expect

from tests.browser.answering import Model
from tests.browser.panel_driver import PATIENCE, Panel
from tests.browser.panel_host.harness import start_host
from tests.servers.wire import Call, Say, Think, words

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def model():
    with Model() as running:
        running.on("tell me slowly", [Think("Hm."), Say(words(300))], per_second=100)
        running.on("tell me for ever", [Say(words(20_000))], per_second=60)
        write = Call("write", {"file_path": "made.txt", "content": "by the panel"})
        running.on("write a file", [write], [Say("Written.")])
        yield running


@pytest.fixture(scope="module", params=["anywidget", "bare"])
def host(request, chromium, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    with start_host(chromium, folder, bare=request.param == "bare") as running:
        running.bare = request.param == "bare"
        running.run(f"%load_ext alloy_nb\n%alloy model {model.flags}")
        running.run("%alloy panel")
        yield running


@pytest.fixture
def panel(host):
    shown = Panel(host.page, host.page.locator("main .alloy-panel")).wait()
    yield shown
    shown.wait_idle()


def test_nothing_of_jupyter_runs_in_the_process(host):
    host.run(
        "import sys, json\nfrom pathlib import Path\n"
        "names = sorted({name.partition('.')[0] for name in sys.modules})\n"
        "Path('modules.json').write_text(json.dumps(names))"
    )
    loaded = set(json.loads((host.log.parent / "modules.json").read_text()))
    assert "alloy_nb" in loaded
    assert not loaded & {"ipykernel", "jupyter_client", "jupyter_server", "jupyterlab", "zmq"}


def test_it_sends_and_gets_an_answer(panel, model):
    panel.asked("hello from nowhere", "You said: hello from nowhere")
    assert model.about("hello from nowhere")


def test_it_streams(panel, host):
    panel.ask("tell me slowly")
    turn = panel.turn("tell me slowly").last
    expect(turn).to_contain_text("word05", timeout=PATIENCE)
    assert len(panel.frames(turn)) >= 5
    expect(turn).to_contain_text("word99")


def test_it_stops(panel, model):
    panel.ask("tell me for ever")
    turn = panel.turn("tell me for ever").last
    expect(turn).to_contain_text("word05", timeout=PATIENCE)
    panel.stop.click()
    panel.wait_idle()
    expect(turn).to_contain_text("word05")
    assert model.about("tell me for ever")[-1].wait_closed()
    panel.asked("and after that?", "You said: and after that?")


def test_it_asks_before_a_tool_runs(panel, host):
    panel.ask("write a file")
    expect(panel.card).to_be_visible(timeout=PATIENCE)
    assert not (host.log.parent / "made.txt").exists()
    panel.button("Allow once", panel.card).click()
    expect(panel.turn("write a file").last).to_contain_text("Written.", timeout=PATIENCE)
    assert (host.log.parent / "made.txt").read_text() == "by the panel"


def test_it_answers_while_the_main_thread_is_busy(panel, host):
    host.begin("import time; end = time.time() + 3\nwhile time.time() < end: pass")
    panel.asked("are you there", "You said: are you there")
    host.wait_done()


def test_code_that_cannot_be_inserted_is_copied(panel, host, model):
    host.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    model.on("write code", [Say("```python\nprint(1)\nprint(2)\n```")])
    turn = panel.asked("write code", "print")
    turn.locator(".alloy-code").hover()
    panel.button("Insert into a new cell", turn).click()
    panel.wait_notice("paste it into a new cell")
    assert host.page.evaluate("() => navigator.clipboard.readText()") == "print(1)\nprint(2)"


def test_a_page_that_is_opened_in_the_middle_of_a_turn_shows_all_of_it(panel, host):
    before = panel.turn("tell me slowly").count()
    panel.ask("tell me slowly")
    expect(panel.turn("tell me slowly")).to_have_count(before + 1)
    expect(panel.turn("tell me slowly").last).to_contain_text("word05", timeout=PATIENCE)
    host.open(bare=host.bare)
    again = Panel(host.page, host.page.locator("main .alloy-panel").last).wait()
    expect(again.turn("tell me slowly").last).to_contain_text("word05", timeout=PATIENCE)
    expect(again.turn("hello from nowhere")).to_contain_text("You said")
    again.wait_idle()
    expect(again.turn("tell me slowly").last).to_contain_text("word99")


def test_nobody_outside_was_asked_and_nothing_failed(panel, host):
    host.assert_clean()

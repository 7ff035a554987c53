"""The card that asks, in a real JupyterLab, while the cell runs: by mouse and by keyboard."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.pages import faint
from tests.servers.sse import Server, loop
from tests.servers.wire import Call, Say

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CODE = "total = 6 * 7\nprint('ran with', total)"
# A machine that runs other tests may take longer to show a card than any person's.
PATIENT = "from alloy_nb.notebook.approval import person\nperson._HANDSHAKE_SECONDS = 60"
WIDGET = "application/vnd.jupyter.widget-view+json"


class Asked:
    """A notebook whose model asks to run code; `told` is what the model got for it."""

    def __init__(self, lab, *codes, tool="python", arguments=None, cells=()):
        calls = [[Call(tool, arguments or {"code": code})] for code in codes]
        self.server = Server(*loop(*calls, [Say("All done.")]))
        self.server.__enter__()
        flags = f"-m openai-compat/scripted --base-url {self.server.url}"
        self.notebook = lab.open_notebook(
            [f"{PATIENT}\n%load_ext alloy_nb", f"%%alloy {flags}\ngo", "1 + 1", *cells]
        )
        self.page = lab.page
        self.notebook.run(0)

    def start(self):
        self.notebook.start(1)
        expect(self.card).to_be_visible()
        return self

    @property
    def card(self):
        return self.notebook.output(1).locator(".alloy-ask")

    def button(self, name):
        return self.card.get_by_role("button", name=name, exact=True)

    def finish(self):
        self.notebook.wait_text(1, "All done.")
        self.notebook.wait_done(1)
        expect(self.card).to_have_count(0)
        return self

    @property
    def told(self):
        said = [m for m in self.server.requests[1].json["messages"] if m["role"] == "tool"]
        return said[0]["content"]

    def close(self):
        self.server.__exit__(None, None, None)


@pytest.fixture
def ask(lab):
    """Return what opens such a notebook; a call of it waits for the card."""
    opened = []

    def begin(*codes, **options):
        opened.append(Asked(lab, *(codes or (CODE,)), **options).start())
        return opened[-1]

    yield begin
    for asked in opened:
        asked.close()
    lab.assert_clean()


# --- by mouse -------------------------------------------------------------------------------------


def test_allow_once_runs_the_code_and_leaves_a_line(ask):
    asked = ask()
    expect(asked.card.locator(".alloy-ask-subject")).to_have_text(CODE)
    asked.button("Allow once").click()
    asked.finish()
    assert "ran with 42" in asked.told
    assert "allowed once" in asked.notebook.text(1)


def test_what_is_saved_holds_the_decision_and_no_widget(ask, lab):
    asked = ask()
    asked.button("Allow once").click()
    asked.finish()
    saved = asked.notebook.save()
    outputs = saved["cells"][1]["outputs"]
    assert WIDGET not in json.dumps(outputs)
    decided = [o["data"] for o in outputs if "allowed once" in str(o.get("data"))]
    for kind in ("text/html", "text/markdown", "text/plain"):
        assert "allowed once" in "".join(decided[0][kind])
    again = lab.open(asked.notebook.path, kernel=False)
    again.wait_text(1, "allowed once")
    assert again.output(1).locator(".alloy-ask").count() == 0


def test_deny_takes_the_reason_that_was_typed(ask):
    asked = ask()
    asked.card.get_by_role("textbox").fill("not on a Friday")
    asked.button("Deny").click()
    asked.finish()
    assert asked.told.endswith("The user rejected this call; it did not run. not on a Friday")
    assert "denied: not on a Friday" in asked.notebook.text(1)


def test_the_session_button_lets_just_this_run_again(ask):
    asked = ask(CODE, CODE)
    asked.button("Allow exactly this for the session").click()
    asked.finish()
    text = asked.notebook.text(1)
    assert "allowed for this session" in text
    assert "allowed before" in text


def test_the_turn_button_lets_the_rest_of_the_turn_run(ask):
    asked = ask(CODE, f"{CODE}\nprint(total)")
    asked.button("Allow all in this turn").click()
    asked.finish()
    assert asked.notebook.text(1).count("allowed for this turn") == 2


def test_edited_code_is_what_runs(ask):
    asked = ask()
    asked.button("Edit…").click()
    area = asked.card.get_by_role("textbox", name="Edit the code")
    expect(area).to_be_focused()
    expect(area).to_have_value(CODE)
    area.fill("print('edited by hand')")
    asked.button("Run the edited version").click()
    asked.finish()
    assert asked.told.startswith("The user edited this call before it ran. What ran:\nprint('ed")
    assert "edited by you" in asked.notebook.text(1)


# --- by keyboard ----------------------------------------------------------------------------------


def test_the_card_has_the_focus_and_tab_and_enter_reach_its_buttons(ask):
    asked = ask()
    expect(asked.card).to_be_focused()
    asked.page.keyboard.press("Tab")
    expect(asked.card.locator(".alloy-ask-subject")).to_be_focused()
    asked.page.keyboard.press("Tab")
    expect(asked.button("Allow once")).to_be_focused()
    asked.page.keyboard.press("Enter")
    asked.finish()
    assert "ran with 42" in asked.told


def test_keys_on_the_card_itself_decide_nothing(ask):
    asked = ask()
    expect(asked.card).to_be_focused()  # else they would be the notebook's
    for key in ("Enter", "Space", "Escape", "y", "a", "Escape"):
        asked.page.keyboard.press(key)
    asked.page.wait_for_timeout(500)
    expect(asked.card).to_be_visible()
    expect(asked.button("Allow once")).to_be_enabled()
    assert len(asked.server.requests) == 1
    asked.button("Deny").click()
    asked.finish()


def test_escape_goes_back_from_editing_and_decides_nothing(ask):
    asked = ask()
    asked.button("Edit…").press("Enter")
    asked.page.keyboard.type("# mine\n")
    asked.page.keyboard.press("Escape")
    expect(asked.button("Allow once")).to_be_visible()
    expect(asked.button("Edit…")).to_be_focused()
    assert len(asked.server.requests) == 1
    asked.button("Allow once").press("Space")
    asked.finish()
    assert asked.told == "ran with 42"


def test_a_reason_is_sent_with_enter_and_an_empty_field_is_no_answer(ask):
    asked = ask()
    reason = asked.card.get_by_role("textbox")
    reason.press("Enter")
    asked.page.wait_for_timeout(300)
    assert len(asked.server.requests) == 1
    reason.press_sequentially("no, dd x")  # letters that are commands of the notebook
    reason.press("Enter")
    asked.finish()
    assert asked.told.endswith("no, dd x")
    assert len(asked.notebook.save()["cells"]) == 3


def test_edited_code_is_run_with_control_and_enter(ask):
    asked = ask()
    asked.button("Edit…").press("Enter")
    area = asked.card.get_by_role("textbox", name="Edit the code")
    area.press("End")
    area.press("Control+a")
    area.press_sequentially("print('typed')")
    area.press("Control+Enter")
    asked.finish()
    assert asked.told.endswith("typed")


def test_who_writes_in_another_cell_is_not_taken_away_from_there(lab):
    asked = Asked(lab, CODE)
    try:
        asked.notebook.start(1)
        asked.notebook.cell(2).locator(".cm-content").click()
        asked.page.keyboard.type("x")
        expect(asked.card).to_be_visible()
        asked.page.wait_for_timeout(300)
        asked.page.keyboard.type("yz")
        assert "xyz" in asked.notebook.cell(2).locator(".cm-content").inner_text()
        asked.button("Deny").click()
        asked.finish()
    finally:
        asked.close()


# --- to be seen and heard -------------------------------------------------------------------------


def test_it_says_what_it_is_to_who_does_not_see_it(ask):
    asked = ask()
    card = asked.card
    expect(card).to_have_role("group")
    expect(card).to_have_accessible_name("The model wants to run this Python code in your kernel:")
    expect(card).to_have_accessible_description(
        "It runs with your rights: it can change your variables, read and write your files, and "
        "use the network."
    )
    expect(card.get_by_role("status")).to_have_text("The model waits for your answer.")
    expect(card.get_by_role("region", name="What would run")).to_be_visible()
    named = card.get_by_role("textbox")
    expect(named).to_have_accessible_name("Why not? Optional; the model is told")
    asked.button("Deny").click()
    asked.finish()


def test_hidden_characters_and_markup_are_seen_as_text(ask):
    code = "x = 1  # \u202e\u200b <img src=x onerror=alert(1)> \U000e0041"
    asked = ask(code)
    shown = asked.card.locator(".alloy-ask-subject").inner_text()
    assert shown == "x = 1  # \\u202e\\u200b <img src=x onerror=alert(1)> \\U000e0041"
    assert asked.card.locator("img").count() == 0
    expect(asked.card.locator(".alloy-ask-warning")).to_contain_text("does not see")
    assert asked.button("Allow exactly this for the session").count() == 0
    asked.button("Deny").click()
    asked.finish()


def test_the_stop_button_denies_and_ends_the_turn(ask):
    asked = ask()
    asked.notebook.interrupt()
    asked.notebook.wait_text(1, "alloy: stopped")
    asked.notebook.wait_done(1)
    expect(asked.card).to_have_count(0)
    assert "stopped while asking" in asked.notebook.text(1)
    assert len(asked.server.requests) == 1


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["code", "diff"])
def test_it_can_be_read_in_both_themes(ask, lab, theme, kind, tmp_path):
    if kind == "code":
        asked = ask()
    else:
        (lab.root / "notes.txt").write_text("".join(f"line {n}\n" for n in range(1, 30)))
        new = {"file_path": "notes.txt", "old_string": "line 12\n", "new_string": "line twelve\n"}
        asked = ask("", tool="edit", arguments=new)
        expect(asked.card.locator(".alloy-ask-removed")).to_have_text("-line 12")
        expect(asked.card.locator(".alloy-ask-added")).to_have_text("+line twelve")
    lab.set_theme(theme)
    assert faint(asked.card) == []
    folder = Path(os.environ.get("ALLOY_SCREENSHOTS") or tmp_path)
    asked.notebook.screenshot(folder / f"approval-{kind}-{theme}.png", 1)
    if kind == "code":
        asked.button("Edit…").click()
        assert faint(asked.card) == []
        asked.notebook.screenshot(folder / f"approval-edit-{theme}.png", 1)
        asked.button("Back").click()
    lab.set_theme("light")
    asked.button("Deny").click()
    asked.finish()

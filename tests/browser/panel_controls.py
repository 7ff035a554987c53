"""Every control of the chat panel, in a real front end with a real kernel.

`test_panel_lab` and `test_panel_notebook7` take what is here; each gives a `front`, its own front
end. The turns of a file are turns of one conversation, in the order of the tests.
"""

from __future__ import annotations

import base64
import json
import re

import nbformat
import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import expect

from tests.browser.answering import Model
from tests.browser.panel_driver import PATIENCE, Panel
from tests.kernel_harness import REPOSITORY
from tests.servers.wire import Call, Say, Think, words

LOAD, SHOWN, BUSY, CELL, AGAIN, SAYS = range(6)
PICTURE = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
        "0000000d49444154789c63f8cfc0f01f0005050102cfa02ee70000000049454e44ae426082"
    )
).decode()
CODE = "total = 6 * 7\nprint('ran with', total)"
SLOW = words(400)
KNOWN = "Each of them knows."


@pytest.fixture(scope="module")
def model():
    with Model() as running:
        yield running


@pytest.fixture(scope="module")
def book(front, model):
    """A notebook whose second cell shows a panel."""
    front.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    load = f"""%load_ext alloy_nb
import pandas as pd, threading, time
df = pd.DataFrame({{"region": ["North", "South"], "amount": [1.5, 2.5]}})
%alloy model {model.flags}"""
    busy = "end = time.time() + 8\nn = 0\nwhile time.time() < end: n += 1\nprint('counted')"
    asks = "%%alloy\nasked from a cell"
    notebook = front.open_notebook([load, "%alloy panel", busy, asks, "%alloy panel", "1 + 1"])
    notebook.run(LOAD)
    notebook.run(SHOWN)
    return notebook


@pytest.fixture
def panel(book):
    shown = Panel(book.page, book.output(SHOWN).locator(".alloy-panel")).wait()
    yield shown
    if shown.root.is_visible():
        while shown.card.count():
            shown.button("Deny", shown.card.first).click()
            book.page.wait_for_timeout(200)
        shown.wait_idle()
        shown.area.fill("")


def said_by_cell(book, code):
    """Run a line in the last cell and return what it showed."""
    cell = book.cell(SAYS)
    cell.locator(".cm-content").click()
    book.page.keyboard.press("Control+a")
    book.page.keyboard.insert_text(code)
    book.page.keyboard.press("Escape")
    book.run(SAYS)
    return book.text(SAYS)


# --- asking ---------------------------------------------------------------------------------------


def test_enter_sends_and_shift_with_enter_begins_a_line(panel, model):
    panel.area.click()
    panel.area.press_sequentially("first line")
    panel.area.press("Shift+Enter")
    panel.area.press_sequentially("second line")
    assert not model.about("second line")
    panel.area.press("Enter")
    expect(panel.last).to_contain_text("You said: first line")
    expect(panel.area).to_have_value("")
    assert "first line\nsecond line" in json.dumps(model.requests[-1].json).replace("\\n", "\n")


def test_thinking_tools_and_the_answer_are_seen_while_they_come(panel, model):
    model.on(
        "look at it slowly",
        [Think(words(40)), Call("python", {"code": CODE})],
        [Say(SLOW)],
        per_second=120,
    )
    panel.choose("Approve", "all")
    panel.ask("look at it slowly")
    turn = panel.turn("look at it slowly")
    expect(turn).to_be_visible()
    seen = panel.frames(turn)
    assert any("word" in text for text in seen)
    assert len(seen) >= 5
    tool = turn.locator("details", has_text="python").last
    expect(tool.locator("summary")).to_contain_text("✓")
    tool.locator("summary").click()
    expect(tool).to_contain_text("ran with 42")
    expect(turn.locator("details", has_text="Thought for").first).to_be_visible()
    expect(turn).to_contain_text("word99")
    expect(turn).to_contain_text("↑")
    panel.choose("Approve", "ask")


def test_a_cell_runs_while_the_panel_answers(panel, model, book):
    model.on("tell me slowly", [Say(words(20_000))], per_second=60)
    panel.ask("tell me slowly")
    expect(panel.last).to_contain_text("word05", timeout=PATIENCE)
    assert said_by_cell(book, "6 * 7").endswith("42")
    assert panel.stop.is_visible()
    before = panel.last.text_content()
    expect(panel.last).not_to_have_text(before, timeout=PATIENCE)
    panel.stop.click()


# --- stopping -------------------------------------------------------------------------------------


def test_stop_keeps_what_was_said_and_the_next_turn_is_valid(panel, model):
    model.on("tell me for ever", [Say(words(20_000))], per_second=60)
    panel.ask("tell me for ever")
    turn = panel.turn("tell me for ever")
    expect(turn).to_contain_text("word07", timeout=PATIENCE)
    panel.stop.click()
    panel.wait_idle()
    expect(turn).to_contain_text("word07")
    expect(turn).to_contain_text("Stopped.")
    assert model.about("tell me for ever")[0].wait_closed()
    panel.asked("and now?", "You said: and now?")
    roles = [message["role"] for message in model.requests[-1].json["messages"]]
    assert roles[-3:] == ["user", "assistant", "user"]


# --- approval -------------------------------------------------------------------------------------


def told(model, words):
    """What the model got for its call."""
    said = [one for one in model.about(words)[-1].json["messages"] if one["role"] == "tool"]
    return said[-1]["content"]


def test_a_call_waits_until_it_is_allowed(panel, model):
    model.on("compute it", [Call("python", {"code": CODE})], [Say("All done.")])
    panel.ask("compute it")
    expect(panel.card).to_be_visible(timeout=PATIENCE)
    expect(panel.card.locator(".alloy-ask-subject")).to_have_text(CODE)
    panel.button("Allow once", panel.card).click()
    expect(panel.turn("compute it")).to_contain_text("All done.", timeout=PATIENCE)
    expect(panel.card).to_have_count(0)
    assert "ran with 42" in told(model, "compute it")


def test_a_call_is_edited_before_it_runs(panel, model):
    model.on("compute this", [Call("python", {"code": CODE})], [Say("As edited.")])
    panel.ask("compute this")
    expect(panel.card).to_be_visible(timeout=PATIENCE)
    panel.button("Edit…", panel.card).click()
    panel.card.get_by_role("textbox", name="Edit the code").fill("print('edited by hand')")
    panel.button("Run the edited version", panel.card).click()
    expect(panel.turn("compute this")).to_contain_text("As edited.", timeout=PATIENCE)
    assert "edited by hand" in told(model, "compute this")


def test_a_call_is_denied_with_a_reason(panel, model):
    model.on("compute that", [Call("python", {"code": CODE})], [Say("Then not.")])
    panel.ask("compute that")
    expect(panel.card).to_be_visible(timeout=PATIENCE)
    panel.card.get_by_role("textbox").fill("not on a Friday")
    panel.button("Deny", panel.card).click()
    expect(panel.turn("compute that")).to_contain_text("Then not.", timeout=PATIENCE)
    assert told(model, "compute that").endswith("not on a Friday")


def test_a_question_of_a_cells_turn_is_answered_in_the_panel(panel, model, book):
    model.on("asked from a cell", [Call("python", {"code": CODE})], [Say("Done in the cell.")])
    book.start(CELL)
    expect(panel.card).to_be_visible(timeout=PATIENCE)
    panel.button("Allow once", panel.card).click()
    book.wait_done(CELL)
    assert "Done in the cell." in book.text(CELL)
    expect(panel.card).to_have_count(0)
    expect(book.output(CELL).locator(".alloy-ask")).to_have_count(0)
    expect(panel.turn("asked from a cell")).to_contain_text("Done in the cell.")


# --- the header -----------------------------------------------------------------------------------


@pytest.fixture
def same_model_after(panel, model, book):
    yield
    said_by_cell(book, f"%alloy model {model.flags}")


@pytest.mark.usefixtures("same_model_after")
def test_another_model_answers_from_now_on_and_the_first_one_again(panel, model):
    panel.choose("Model", "demo")
    turn = panel.asked("who are you", "no model was asked")
    expect(panel.chosen("Model")).to_have_value(re.compile("demo"))
    assert not model.about("who are you")
    assert turn.locator("details", has_text="Thought for").count()
    panel.choose("Model", "openai-compat/scripted")  # at the address that it had
    panel.asked("and you?", "You said: and you?")


@pytest.mark.usefixtures("same_model_after")
def test_a_claim_names_the_output_that_it_rests_on(panel):
    panel.choose("Model", "demo")
    panel.choose("Approve", "all")
    turn = panel.asked("What stands out in @df?", "no model was asked")
    expect(turn.locator("details", has_text="python").first).to_contain_text("✓")
    expect(turn).to_contain_text("[1]")
    expect(turn).to_contain_text("$0")
    panel.choose("Approve", "ask")


@pytest.mark.usefixtures("same_model_after")
def test_a_model_that_is_not_in_the_list_is_typed(panel, model):
    panel.choose("Model", "+other")
    panel.page.keyboard.press("Control+a")
    panel.page.keyboard.type(f"openai-compat/other-model --base-url {model.url}")
    panel.page.keyboard.press("Enter")
    expect(panel.chosen("Model")).to_have_value("openai-compat/other-model", timeout=PATIENCE)
    panel.asked("who else", "You said")
    assert model.about("who else")[-1].json["model"] == "other-model"


def test_the_level_of_data_is_set(panel, book):
    panel.choose("Data", "names")
    expect(panel.chosen("Data")).to_have_value("names")
    assert "names" in said_by_cell(book, "%alloy data")
    panel.choose("Data", "full")
    expect(panel.chosen("Data")).to_have_value("full")


def test_the_policy_of_approval_is_set(panel, book):
    panel.choose("Approve", "none")
    assert "none" in said_by_cell(book, "%alloy approve")
    expect(panel.chosen("Approve")).to_have_value("none")
    said_by_cell(book, "%alloy approve ask")
    expect(panel.chosen("Approve")).to_have_value("ask")  # and from the cell to the panel


def test_the_effort_is_set(panel, model):
    before = panel.chosen("Effort").input_value()
    panel.choose("Effort", "high")
    expect(panel.chosen("Effort")).to_have_value("high")
    panel.asked("think hard", "You said")
    assert model.about("think hard")[-1].json["reasoning_effort"] == "high"
    panel.choose("Effort", before)
    panel.asked("think as usual", "You said")
    assert "reasoning_effort" not in model.about("think as usual")[-1].json


def test_the_budget_is_set_and_shown_beside_what_was_spent(panel):
    panel.more("Set a budget…")
    panel.page.keyboard.type("2.5")
    panel.page.keyboard.press("Enter")
    expect(panel.root.locator(".alloy-footer")).to_contain_text("of $2.50", timeout=PATIENCE)
    panel.more("Set a budget…")
    panel.page.keyboard.press("Control+a")
    panel.page.keyboard.press("Delete")
    panel.page.keyboard.press("Enter")
    expect(panel.root.locator(".alloy-footer")).not_to_contain_text("of $2.50", timeout=PATIENCE)


def test_the_footer_shows_how_full_the_context_is(panel):
    expect(panel.root.locator(".alloy-context")).to_contain_text("context")


# --- attachments ----------------------------------------------------------------------------------


def test_a_variable_is_attached_as_a_chip_with_its_tokens(panel, model):
    panel.button("Attach a variable, a cell or its output").click()
    panel.page.keyboard.type("df")
    expect(panel.offered.first).to_have_text(re.compile("df"), timeout=PATIENCE)
    panel.page.keyboard.press("Enter")
    expect(panel.chips).to_have_text(re.compile(r"@?df · \d+"), timeout=PATIENCE)
    panel.asked("what is it", "You said")
    assert "region" in json.dumps(model.about("what is it")[-1].json)
    expect(panel.chips).to_have_count(0)
    expect(panel.turn("what is it").locator(".alloy-chip")).to_contain_text("df")


def test_a_cell_is_attached(panel, model):
    panel.button("Attach a variable, a cell or its output").click()
    panel.page.keyboard.type("In[1]")
    panel.page.wait_for_timeout(500)
    panel.button("OK").click()
    expect(panel.chips).to_contain_text("In[1]", timeout=PATIENCE)
    panel.asked("what did I load", "You said")
    assert "pd.DataFrame" in json.dumps(model.about("what did I load")[-1].json)


@pytest.mark.parametrize("how", ["paste", "drop"])
def test_an_image_is_attached(panel, model, how):
    panel.give(how, f"{how}.png", "image/png", PICTURE)
    expect(panel.chips).to_contain_text(f"{how}.png", timeout=PATIENCE)
    panel.asked(f"see the {how}", "You said")
    assert PICTURE in json.dumps(model.about(f"see the {how}")[-1].json)
    expect(panel.turn(f"see the {how}").locator("img")).to_be_visible()


def test_a_file_is_attached_and_taken_off_again(panel, model):
    notes = base64.b64encode(b"the secret number is 1234").decode()
    panel.give("drop", "notes.txt", "text/plain", notes)
    expect(panel.chips).to_contain_text("notes.txt", timeout=PATIENCE)
    panel.button("Remove notes.txt").click()
    expect(panel.chips).to_have_count(0)
    panel.give("drop", "notes.txt", "text/plain", notes)
    expect(panel.chips).to_contain_text("notes.txt", timeout=PATIENCE)
    panel.asked("read the notes", "You said")
    assert "secret number is 1234" in json.dumps(model.about("read the notes")[-1].json)


def test_what_an_at_sign_may_refer_to_is_offered(panel):
    panel.area.click()
    panel.area.press_sequentially("what is @d")
    expect(panel.offered.filter(has_text="df").first).to_be_visible(timeout=PATIENCE)
    panel.area.press("Escape")
    expect(panel.offered).to_have_count(0)
    panel.area.press("Control+Space")
    expect(panel.offered.filter(has_text="df").first).to_be_visible(timeout=PATIENCE)
    panel.area.press("Enter")
    expect(panel.area).to_have_value(re.compile("^what is @df"))


# --- earlier messages -----------------------------------------------------------------------------


def test_an_edited_message_is_asked_in_its_place_and_the_old_one_stays_on_a_branch(
    panel, model, book
):
    panel.asked("edit me please", "You said")
    panel.asked("what follows", "You said")
    turn = panel.turn("edit me please")
    turn.locator(".alloy-prompt").hover()
    panel.button("Edit and ask again", turn).click()
    panel.root.get_by_role("textbox", name="Edit the message").fill("edited instead")
    panel.button("Ask again").click()
    expect(panel.turn("edited instead")).to_contain_text("You said", timeout=PATIENCE)
    panel.wait_idle()
    expect(panel.turn("edit me please")).to_have_count(0)
    expect(panel.turn("what follows")).to_have_count(0)
    tree = said_by_cell(book, "%alloy tree")
    assert "edit me please" in tree
    assert "edited instead" in tree


def test_an_answer_is_given_again(panel, model):
    model.on("roll the dice", [Say("a four")])
    panel.asked("roll the dice", "a four")
    model.on("roll the dice", [Say("a six")])
    panel.last.hover()
    panel.button("Answer again", panel.last).click()
    expect(panel.turn("roll the dice")).to_contain_text("a six", timeout=PATIENCE)
    expect(panel.turn("roll the dice")).to_have_count(1)
    assert len(model.about("roll the dice")) == 2


def test_an_answer_is_copied(panel, model):
    model.on("say it in bold", [Say("It is **bold** indeed.")])
    panel.asked("say it in bold", "bold indeed")
    panel.last.hover()
    panel.button("Copy the answer", panel.last).click()
    panel.wait_notice("Copied")
    assert "bold" in panel.page.evaluate("() => navigator.clipboard.readText()")


def test_code_goes_into_a_new_cell(panel, model, book):
    model.on(
        "write code", [Say("Here:\n\n```python\nfor n in range(2):\n    print(n)\n```\n\nSo.")]
    )
    turn = panel.asked("write code", "So.")
    before = book.page.locator(".jp-Notebook .jp-Cell").count()
    turn.locator(".alloy-code").hover()
    panel.button("Insert into a new cell", turn).click()
    panel.wait_notice("Inserted into a new cell")
    cells = book.page.locator(".jp-Notebook .jp-Cell")
    expect(cells).to_have_count(before + 1)
    made = book.cell(SHOWN + 1)
    expect(made.locator(".cm-content")).to_have_text("for n in range(2):    print(n)")
    made.locator(".jp-InputPrompt").click()
    book.page.keyboard.press("d")
    book.page.keyboard.press("d")
    expect(cells).to_have_count(before)


def test_code_runs_in_the_kernel_and_shows_what_it_printed(panel, model, book):
    model.on(
        "write an assignment", [Say("```python\nassigned = 17\nprint('it is', assigned)\n```")]
    )
    turn = panel.asked("write an assignment", "assigned")
    turn.locator(".alloy-code").hover()
    panel.button("Run in the kernel", turn).click()
    expect(panel.root).to_contain_text("it is 17", timeout=PATIENCE)
    assert said_by_cell(book, "assigned + 1").endswith("18")


def test_a_turn_is_hidden_from_the_model_and_sent_again(panel, model):
    panel.asked("a hidden word", "You said")
    panel.last.hover()
    panel.button("Hide from the model", panel.last).click()
    expect(panel.last).to_contain_text("hidden from the model", timeout=PATIENCE)
    panel.asked("without it", "You said")
    assert "a hidden word" not in json.dumps(model.about("without it")[-1].json)
    turn = panel.turn("a hidden word")
    turn.hover()
    panel.button("Send to the model again", turn).click()
    panel.asked("with it", "You said")
    assert "a hidden word" in json.dumps(model.about("with it")[-1].json)


def test_a_turn_is_pinned(panel, book):
    turn = panel.last
    turn.hover()
    panel.button("Pin", turn).click()
    expect(turn.locator(".alloy-tag", has_text="pinned")).to_be_visible(timeout=PATIENCE)
    panel.button("Unpin", turn).click()
    expect(turn.locator(".alloy-tag", has_text="pinned")).to_be_hidden(timeout=PATIENCE)


# --- while it runs --------------------------------------------------------------------------------


def test_what_is_typed_while_it_runs_waits_for_its_turn(panel, model):
    model.on("keep talking", [Say(words(800))], per_second=60)
    panel.ask("keep talking")
    expect(panel.turn("keep talking")).to_be_visible(timeout=PATIENCE)
    panel.ask("this one later")
    panel.ask("this one never")
    expect(panel.queued).to_have_count(2, timeout=PATIENCE)
    panel.button("Do not send", panel.queued.last).click()
    expect(panel.queued).to_have_count(1)
    expect(panel.turn("this one later")).to_contain_text("You said", timeout=PATIENCE)
    panel.wait_idle()
    assert not model.about("this one never")


def test_a_message_into_the_turn_under_way_is_heard_by_its_next_request(panel, model):
    model.on(
        "work in steps",
        [Say(words(20)), Call("python", {"code": "1"})],
        [Say("Finished in steps.")],
    )
    let = model.hold("work in steps", before="python")
    panel.choose("Approve", "all")
    panel.ask("work in steps")
    expect(panel.turn("work in steps")).to_contain_text("word05", timeout=PATIENCE)
    panel.area.fill("only the North")
    panel.area.press("Control+Enter")
    expect(panel.area).to_have_value("")
    panel.page.wait_for_timeout(1_000)  # on its way to the kernel
    let.set()
    panel.wait_idle()
    expect(panel.turn("work in steps")).to_contain_text("only the North")
    assert model.about("only the North")
    panel.choose("Approve", "ask")


def test_a_tool_waits_for_the_cell_that_runs_and_then_runs_on_the_main_thread(panel, model, book):
    code = "is_main = threading.current_thread() is threading.main_thread()\nprint('main', is_main)"
    model.on("which thread", [Call("python", {"code": code})], [Say("Told.")])
    panel.choose("Approve", "all")
    book.start(BUSY)
    panel.ask("which thread")
    expect(panel.turn("which thread")).to_contain_text("when the cell", timeout=PATIENCE)
    book.wait_done(BUSY)
    expect(panel.turn("which thread")).to_contain_text("Told.", timeout=PATIENCE)
    assert "main True" in told(model, "which thread")
    panel.choose("Approve", "ask")


def test_what_a_tool_displays_is_seen_in_the_panel(panel, model, book):
    model.on("show the frame", [Call("python", {"code": "display(df)"})], [Say("Shown.")])
    panel.choose("Approve", "all")
    said_by_cell(book, "'before'")
    turn = panel.asked("show the frame", "Shown.")
    expect(turn.locator("table").first).to_contain_text("North")
    assert book.text(SAYS).endswith("'before'")
    panel.choose("Approve", "ask")


# --- sessions -------------------------------------------------------------------------------------


def test_what_was_said_is_found_and_gone_to(panel):
    panel.button("Search").click()
    panel.page.keyboard.type("first line")
    hit = panel.root.locator(".alloy-hits li", has_text="first line").first
    expect(hit).to_be_visible(timeout=PATIENCE)
    hit.get_by_role("button").click()
    expect(panel.turn("first line")).to_be_in_viewport(timeout=PATIENCE)
    panel.area.click()


def test_a_new_session_is_begun_and_the_old_one_gone_back_to(panel, model):
    panel.more("New session…")
    panel.page.keyboard.type("second")
    panel.page.keyboard.press("Enter")
    expect(panel.turns).to_have_count(0, timeout=PATIENCE)
    expect(panel.chosen("Session")).to_contain_text("second")
    panel.asked("hello from the second", "You said")
    assert len(model.requests[-1].json["messages"]) <= 2  # perhaps a system prompt
    panel.choose("Session", "s:main")
    expect(panel.turn("hello from the second")).to_have_count(0, timeout=PATIENCE)
    expect(panel.turn("roll the dice")).to_have_count(1)


def test_a_branch_is_begun(panel):
    panel.more("Fork from here…")
    panel.page.keyboard.type("trial")
    panel.page.keyboard.press("Enter")
    expect(panel.chosen("Session")).to_have_value("b:trial", timeout=PATIENCE)
    panel.asked("only on the branch", "You said")
    branches = panel.chosen("Session").locator("option[value^='b:']")
    other = next(
        value
        for value in branches.evaluate_all("all => all.map(one => one.value)")
        if value != "b:trial"
    )
    panel.choose("Session", other)
    expect(panel.turn("only on the branch")).to_have_count(0, timeout=PATIENCE)


@pytest.mark.parametrize("form", ["md", "html", "ipynb", "json", "py"])
def test_the_conversation_is_exported(panel, front, form):
    before = set(front.root.rglob(f"*.{form}"))
    panel.more(f"Export as .{form}")
    panel.wait_notice("Saved as")
    written = set(front.root.rglob(f"*.{form}")) - before
    assert len(written) == 1
    assert form == "py" or "roll the dice" in written.pop().read_text()


def test_a_command_shows_what_it_shows_in_a_cell(panel):
    panel.ask("/cost")
    shown = panel.root.locator(".alloy-aside").last
    expect(shown.locator("table")).to_be_visible(timeout=PATIENCE)
    panel.button("Dismiss", shown).click()


def test_a_command_that_does_not_exist_is_a_prompt_or_a_notice(panel):
    panel.ask("/cost --nonsense")
    expect(panel.notices.last).to_contain_text("nonsense", timeout=PATIENCE)
    panel.wait_notice("nonsense")


# --- one session, several faces -------------------------------------------------------------------


def test_a_turn_of_a_cell_is_seen_in_the_panel_while_it_comes(panel, model, book):
    model.on("asked from a cell", [Say(words(100), size=7)])
    let = model.hold("asked from a cell", before="word50")
    book.start(CELL)
    turn = panel.turn("asked from a cell").last
    expect(turn).to_contain_text("word09", timeout=PATIENCE)
    assert panel.stop.is_visible()
    let.set()
    book.wait_done(CELL)
    panel.wait_idle()
    expect(turn).to_contain_text("word99")


def test_a_turn_of_the_panel_is_in_the_conversation_of_the_cells(panel, model, book):
    model.on("known to the cells", [Say(KNOWN)])
    panel.asked("known to the cells", KNOWN)
    assert "known to the cells" in said_by_cell(book, "%alloy history")


def test_a_second_panel_shows_the_same_also_from_the_middle_of_a_turn(panel, model, book):
    model.on("mirror me", [Say(words(100), size=7)])
    let = model.hold("mirror me", before="word50")
    panel.ask("mirror me")
    expect(panel.turn("mirror me")).to_contain_text("word05", timeout=PATIENCE)
    book.run(AGAIN)
    second = Panel(book.page, book.output(AGAIN).locator(".alloy-panel")).wait()
    expect(second.turn("mirror me")).to_contain_text("word05", timeout=PATIENCE)
    assert panel.stop.is_visible()
    let.set()
    panel.wait_idle()
    second.wait_idle()
    # What is out of sight is not rendered, so that it has no inner text.
    first, other = (one.turn("mirror me").locator(".alloy-body") for one in (panel, second))
    expect(first).to_contain_text("word99")
    expect(other).to_have_text(first.text_content())
    second.asked("from the second", "You said")
    expect(panel.turn("from the second")).to_contain_text("You said", timeout=PATIENCE)


# --- what stays -----------------------------------------------------------------------------------


def test_a_draft_outlives_the_end_of_a_turn(panel, model, book):
    model.on("while I write", [Say(words(60))], per_second=60)
    panel.ask("while I write")
    expect(panel.turn("while I write")).to_be_visible(timeout=PATIENCE)
    panel.area.click()
    panel.area.press_sequentially("half a thought")
    panel.wait_idle()
    book.page.wait_for_timeout(2_500)  # the output is drawn anew, for the file
    expect(panel.area).to_have_value("half a thought")
    expect(panel.area).to_be_focused()
    panel.area.press_sequentially(", whole")
    expect(panel.area).to_have_value("half a thought, whole")


def test_no_script_failed_and_nobody_outside_was_asked(panel, front):
    front.assert_clean()


@pytest.fixture(scope="module")
def saved(front, book):
    """The notebook's file, saved with the keyboard from the panel."""
    shown = Panel(book.page, book.output(SHOWN).locator(".alloy-panel")).wait()
    shown.wait_idle()
    # What is for the file is drawn a moment after a turn.
    kept = book.output(SHOWN).locator(".alloy-transcript")
    expect(kept.last).to_contain_text("while I write")
    expect(kept.last).to_contain_text("word59")
    shown.area.click()
    return book.save()


def seen(area, words):
    """Where words are seen, not counting what is hidden."""
    return area.get_by_text(words).filter(visible=True)


def test_the_conversation_is_seen_once_while_the_panel_lives(panel, book, saved):
    panel.turn("known to the cells").scroll_into_view_if_needed()
    expect(seen(book.output(SHOWN), KNOWN)).to_have_count(1)


def test_the_file_holds_the_conversation_in_every_form(saved):
    outputs = [one["data"] for one in saved["cells"][SHOWN]["outputs"]]
    for kind in ("text/html", "text/markdown", "text/plain"):
        assert sum("".join(one.get(kind, "")).count(KNOWN) for one in outputs) == 1


def test_the_file_as_a_page_shows_the_conversation_once(saved):
    alone = {**saved, "cells": [saved["cells"][SHOWN]]}
    page, _ = HTMLExporter().from_notebook_node(nbformat.reads(json.dumps(alone), 4))
    assert page.count(KNOWN) == 1


# The last of the file: they leave the notebook.
@pytest.mark.parametrize("whose", ["of somebody else", "one's own"])
def test_without_a_kernel_the_saved_notebook_shows_the_conversation(front, book, saved, whose):
    """One's own is signed, so that a front end tries to show the widget; a copy is not."""
    path = book.path
    if whose == "of somebody else":
        path = path.with_name("copy.ipynb")
        path.write_text(json.dumps({**saved, "metadata": {**saved["metadata"], "copied": True}}))
    book.page.context.clear_permissions()
    again = front.open(path, kernel=False)
    expect(again.output(SHOWN)).to_contain_text(KNOWN, timeout=PATIENCE)
    expect(seen(again.output(SHOWN), KNOWN)).to_have_count(1)
    assert again.output(SHOWN).locator(".alloy-panel").count() == 0
    front.assert_clean(console=False)  # it says that the widget is gone, which is so


def test_the_notebook_about_the_panel_shows_its_conversations_without_a_kernel(front):
    path = REPOSITORY / "notebooks" / "04-panel.ipynb"
    sources = ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]]
    notebook = front.open_notebook(path, kernel=False)
    for number, asked in (
        (sources.index("%alloy panel"), "What is the mean amount in @df for each region?"),
        (sources.index("%alloy panel -s arithmetic"), "What is 100 * 1.05 ** 5?"),
    ):
        expect(notebook.output(number)).to_contain_text(asked, timeout=PATIENCE)
    front.assert_clean(console=False)

"""The panel's front end against a model that the test plays: what it draws, and what it sends."""

from __future__ import annotations

import contextlib
import itertools
import json
import re

import pytest
from playwright.sync_api import expect

from alloy_nb.notebook.drawing.canvas import NotebookCanvas
from alloy_nb.notebook.drawing.render import render_text
from alloy_nb.notebook.drawing.segments import TextSegment
from alloy_nb.notebook.drawing.transcript import Transcript
from tests.browser.pages import faint
from tests.browser.panel_page import HEAD, QUESTION, browser_of, opened_panel, turn
from tests.notebook.hostile import PAYLOADS
from tests.notebook.test_canvas import VirtualClock

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CODE = "north = df[df.region == 'N']\nnorth.plot()"
ANSWER = render_text(f"It **fell**.\n\n```python\n{CODE}\n```\n\nSee `x`.").html
PAST = [turn(1, "first?", "<p>one</p>"), turn(2, "second?", ANSWER, code=[CODE + "\n"])]


@pytest.fixture(scope="module")
def browser(chromium):
    with browser_of(chromium) as running:
        yield running


@pytest.fixture
def panel(browser):
    """Give a panel that shows two turns."""
    with opened_panel(browser, PAST) as opened:
        yield opened
        opened.assert_clean()


@pytest.fixture
def open_panel(browser):
    """Return what opens a panel; it looks at the end whether anything went wrong."""
    with contextlib.ExitStack() as stack:
        every = []

        def begin(entries=(), **options):
            every.append(stack.enter_context(opened_panel(browser, entries, **options)))
            return every[-1]

        yield begin
        for opened in every:
            opened.assert_clean()


def told(panel):
    return panel.root.locator(".alloy-notice").last


def choices(panel):
    """Return what is offered to complete a word: the lists of the header have options as well."""
    return panel.root.get_by_role("listbox", name="Completions").get_by_role("option")


def live(text="why?", *answers, **more):
    return turn(3, text, *answers, state="live", **more)


# --- asking and streaming -------------------------------------------------------------------------


def test_it_says_hello_with_what_it_has(panel):
    assert panel.sent("hello") == [{"do": "hello", "version": 7}]


def test_enter_sends_what_was_typed_and_empties_the_composer(panel):
    panel.composer.press_sequentially("why?")
    panel.composer.press("Enter")
    assert panel.sent("ask") == [{"do": "ask", "text": "why?"}]
    expect(panel.composer).to_have_value("")
    expect(panel.composer).to_be_focused()


def test_the_button_sends(panel):
    expect(panel.button("Send")).to_be_disabled()
    panel.composer.fill("why?")
    panel.button("Send").click()
    assert panel.sent("ask") == [{"do": "ask", "text": "why?"}]


def test_shift_enter_begins_a_new_line(panel):
    panel.composer.press_sequentially("one")
    panel.composer.press("Shift+Enter")
    panel.composer.press_sequentially("two")
    expect(panel.composer).to_have_value("one\ntwo")
    assert panel.sent("ask") == []


def test_enter_that_ends_a_composition_is_no_sending(panel):
    panel.composer.fill("にほ")
    panel.composer.evaluate(
        """area => {
            const keys = {key: "Enter", bubbles: true, cancelable: true};
            area.dispatchEvent(new KeyboardEvent("keydown", {...keys, isComposing: true}));
            area.dispatchEvent(new KeyboardEvent("keydown", {...keys, keyCode: 229}));
        }"""
    )
    assert panel.sent("ask") == []
    expect(panel.composer).to_have_value("にほ")


COMPOSED = [{"isComposing": True}, {"keyCode": 229}]  # before a composition ends, and right after
_PRESS = """([node, key, how]) => node.dispatchEvent(
    new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true, ...how}))"""


def press_in_a_composition(field, key):
    for how in COMPOSED:
        field.evaluate(f"(node, [key, how]) => ({_PRESS})([node, key, how])", [key, how])


def test_enter_and_escape_of_a_composition_leave_an_edit_as_it_is(panel):
    panel.root.locator(".alloy-prompt").first.hover()
    panel.button("Edit and ask again").first.click()
    field = panel.root.get_by_role("textbox", name="Edit the message")
    for key in ("Enter", "Escape"):
        press_in_a_composition(field, key)
    assert panel.sent("edit") == []
    expect(field).to_be_visible()


def test_enter_of_a_composition_is_no_answer_to_a_question(panel):
    field = ask(panel).get_by_role("textbox")
    field.fill("だめ")
    press_in_a_composition(field, "Enter")
    assert panel.sent("answer") == []


def test_escape_of_a_composition_leaves_edited_code_as_it_is(panel):
    card = ask(panel)
    panel.button("Edit…", within=card).click()
    field = card.get_by_role("textbox", name="Edit the code")
    press_in_a_composition(field, "Escape")
    expect(field).to_be_visible()


def test_enter_of_a_composition_attaches_nothing_and_escape_leaves_the_field(panel):
    panel.button("Attach a variable, a cell or its output").click()
    field = panel.root.get_by_role("combobox", name="Attach @")
    field.press_sequentially("d")
    complete(panel, "df")
    for key in ("Enter", "Escape"):
        press_in_a_composition(field, key)
    assert panel.sent("attach") == []
    expect(field).to_be_visible()


def test_enter_of_a_composition_looks_for_nothing_and_escape_leaves_the_search_open(panel):
    panel.button("Search").click()
    field = panel.root.get_by_role("searchbox")
    field.evaluate("node => { node.value = 'にほ'; }")
    for key in ("Enter", "Escape"):
        press_in_a_composition(field, key)
    assert panel.sent("search") == []
    expect(field).to_be_visible()


def test_white_space_alone_is_not_sent(panel):
    panel.composer.press_sequentially("  ")
    panel.composer.press("Enter")
    assert panel.sent("ask") == []


def test_a_turn_streams_output_by_output_and_is_committed(panel):
    panel.deliver({"kind": "begin", "turn": live()})
    panel.deliver({"kind": "output", "turn": "t3", "id": "a", "html": "<p>hel</p>"})
    panel.deliver({"kind": "output", "turn": "t3", "id": "b", "html": "<p>two</p>"})
    panel.deliver({"kind": "output", "turn": "t3", "id": "a", "html": "<p>hello</p>"})
    shown = panel.log.locator(".alloy-turn").last
    expect(shown.locator(".alloy-output")).to_have_text(["hello", "two"])
    panel.deliver({"kind": "end", "turn": turn(3, "why?", "<p>hello</p>", "<p>two!</p>")})
    expect(panel.log.locator(".alloy-turn")).to_have_count(3)
    expect(shown.locator(".alloy-output")).to_have_text(["hello", "two!"])
    expect(panel.root.get_by_role("status")).to_have_text("The answer is complete.")


def test_an_output_that_did_not_change_keeps_its_nodes_when_the_turn_ends(panel):
    begun = live("why?", "<details><summary>Thought</summary>deep</details>")
    panel.deliver({"kind": "begin", "turn": begun})
    panel.log.get_by_text("Thought").click()
    panel.log.locator("details").evaluate("node => { node.mine = true; }")
    panel.deliver({"kind": "end", "turn": begun | {"state": "done"}})
    assert panel.log.locator("details").evaluate("node => node.mine && node.open")


def test_what_was_unfolded_stays_unfolded_in_the_next_frame(panel):
    fold = "<details><summary>Thought</summary>deep</details>"
    panel.deliver({"kind": "begin", "turn": live("why?", fold)})
    panel.log.get_by_text("Thought").click()
    panel.deliver({"kind": "output", "turn": "t3", "id": "o3-0", "html": fold + "<p>more</p>"})
    expect(panel.log.get_by_text("more")).to_be_visible()
    expect(panel.log.get_by_text("deep")).to_be_visible()


def test_a_selection_in_the_answer_outlives_the_next_frame(panel):
    panel.deliver({"kind": "begin", "turn": live("why?", "<p>mark me</p>")})
    panel.page.evaluate(
        "() => getSelection().selectAllChildren(document.querySelector('.alloy-turn:last-of-type"
        " .alloy-output p'))"
    )
    panel.deliver({"kind": "output", "turn": "t3", "id": "o3-0", "html": "<p>mark me now</p>"})
    assert panel.page.evaluate("getSelection().toString()") == "mark me"
    panel.page.evaluate("getSelection().removeAllRanges()")
    expect(panel.log.get_by_text("mark me now")).to_be_visible()


def test_what_grows_is_told_by_what_is_different(panel):
    panel.deliver({"kind": "begin", "turn": live()})
    panel.deliver(
        {"kind": "output", "turn": "t3", "id": "a", "html": "<p>😀 one</p>"},
        {"kind": "output", "turn": "t3", "id": "a", "keep": 8, "html": "e two</p>"},
    )
    expect(panel.log.locator(".alloy-turn").last.locator(".alloy-output")).to_have_text(
        "😀 one two"
    )


def test_a_panel_that_comes_in_the_middle_gets_the_turn_that_runs(panel):
    panel.deliver({"kind": "live", "turn": live("why?", "<p>so far</p>")})
    expect(panel.log.get_by_text("so far")).to_be_visible()
    panel.deliver({"kind": "output", "turn": "t3", "id": "o3-0", "html": "<p>so far so good</p>"})
    expect(panel.log.get_by_text("so far so good")).to_be_visible()


def test_an_output_of_another_turn_is_not_drawn(panel):
    panel.deliver({"kind": "begin", "turn": live()})
    panel.deliver({"kind": "output", "turn": "t9", "id": "z", "html": "<p>stray</p>"})
    expect(panel.log.get_by_text("stray")).to_have_count(0)


def test_a_message_that_the_kernel_does_not_take_is_shown_as_waiting(panel):
    panel.composer.fill("are you there?")
    panel.composer.press("Enter")
    waiting = panel.root.get_by_role("list", name="Waiting messages")
    expect(waiting).to_contain_text("Waiting for the kernel")
    expect(waiting).to_contain_text("are you there?")
    panel.deliver({"kind": "begin", "turn": live("are you there?")})
    expect(waiting.locator("li")).to_have_count(0)


# --- stopping, queue, steering --------------------------------------------------------------------


def test_stop_is_there_while_a_turn_runs_and_says_that_it_was_heard(panel):
    expect(panel.button("Stop")).to_be_hidden()
    panel.deliver({"kind": "begin", "turn": live()})
    panel.button("Stop").click()
    assert panel.sent("stop") == [{"do": "stop"}]
    expect(panel.button("Stopping…")).to_be_visible()
    panel.deliver({"kind": "end", "turn": turn(3, "why?", "<p>par</p>", state="stopped")})
    expect(panel.button("Stopping…")).to_be_hidden()
    expect(panel.root.get_by_role("status")).to_have_text("Stopped.")


def test_while_a_turn_runs_enter_queues_and_ctrl_enter_tells_it_now(panel):
    panel.deliver({"kind": "begin", "turn": live()})
    panel.composer.fill("next")
    panel.composer.press("Enter")
    panel.composer.fill("no, by month")
    panel.composer.press("Control+Enter")
    assert panel.sent("ask") == [{"do": "ask", "text": "next"}]
    assert panel.sent("steer") == [{"do": "steer", "text": "no, by month"}]


def test_the_buttons_queue_and_tell_it_now(panel):
    panel.deliver({"kind": "begin", "turn": live()})
    panel.composer.fill("next")
    panel.button("Queue").click()
    panel.composer.fill("now")
    panel.button("Tell it now").click()
    assert [one["do"] for one in panel.sent()[-2:]] == ["ask", "steer"]


def test_what_is_queued_is_listed_and_can_be_taken_back_or_told_now(panel):
    panel.deliver({"kind": "begin", "turn": live()})
    panel.head(state="running", queue=[{"id": "q1", "text": "one"}, {"id": "q2", "text": "two"}])
    rows = panel.root.get_by_role("list", name="Waiting messages").get_by_role("listitem")
    expect(rows).to_have_count(2)
    panel.button("Do not send", within=rows.nth(0)).click()
    panel.button("Tell it now", within=rows.nth(1)).click()
    assert panel.sent("unqueue") == [{"do": "unqueue", "id": "q1"}, {"do": "unqueue", "id": "q2"}]
    assert panel.sent("steer") == [{"do": "steer", "text": "two"}]


# --- questions ------------------------------------------------------------------------------------


def ask(panel, **changes):
    panel.deliver({"kind": "asked", "call": "c1", "question": {**QUESTION, **changes}})
    card = panel.root.locator(".alloy-ask")
    expect(card).to_be_visible()
    return card


@pytest.mark.parametrize(
    ("label", "choice"),
    [
        ("Allow once", "once"),
        ("Allow exactly this for the session", "session"),
        ("Allow all in this turn", "turn"),
        ("Deny", "denied"),
    ],
)
def test_each_button_of_a_question_sends_its_choice_once(panel, label, choice):
    card = ask(panel)
    expect(card.get_by_role("region", name="What would run")).to_have_text('df.to_csv("out.csv")')
    panel.button(label, within=card).click()
    expect(card.locator("button:enabled")).to_have_count(0)
    assert panel.sent("answer") == [{"do": "answer", "call": "c1", "choice": choice, "text": ""}]
    panel.deliver({"kind": "answered", "call": "c1"})
    expect(card).to_have_count(0)


def test_a_reason_goes_with_the_denial(panel):
    card = ask(panel)
    card.get_by_role("textbox").fill("not on a Friday")
    card.get_by_role("textbox").press("Enter")
    assert panel.sent("answer")[0]["text"] == "not on a Friday"
    assert panel.sent("answer")[0]["choice"] == "denied"


def test_edited_code_is_sent(panel):
    card = ask(panel)
    panel.button("Edit…", within=card).click()
    area = card.get_by_role("textbox", name="Edit the code")
    expect(area).to_be_focused()
    area.fill("print(1)")
    panel.button("Run the edited version", within=card).click()
    assert panel.sent("answer")[0] | {"do": ""} == {
        "do": "", "call": "c1", "choice": "edited", "text": "print(1)"
    }  # fmt: skip


def test_a_question_that_can_be_allowed_once_only_offers_no_more(panel):
    card = ask(panel, lasting=False, editable=None)
    expect(card.get_by_role("button")).to_have_text(["Allow once", "Deny"])


def test_a_question_that_was_answered_elsewhere_goes_away(panel):
    card = ask(panel)
    panel.deliver({"kind": "answered", "call": "c1"})
    expect(card).to_have_count(0)
    assert panel.sent("answer") == []


def test_a_question_asked_again_replaces_its_card(panel):
    ask(panel)
    card = ask(panel, warning="That is no JSON object.")
    expect(card).to_have_count(1)
    expect(card).to_contain_text("That is no JSON object.")


def test_a_question_takes_the_focus_from_an_empty_composer_and_from_no_draft(panel):
    panel.composer.focus()
    card = ask(panel)
    expect(card).to_be_focused()
    panel.deliver({"kind": "answered", "call": "c1"})
    expect(panel.composer).to_be_focused()
    panel.composer.fill("half a sen")
    ask(panel)
    expect(panel.composer).to_be_focused()


# --- header ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "value", "what"),
    [
        ("Model", "gpt-5.5", "model"),
        ("Effort", "low", "effort"),
        ("Data", "full", "data"),
        ("Approve", "all", "approve"),
    ],
)
def test_each_setting_of_the_header_is_sent(panel, label, value, what):
    panel.root.get_by_role("combobox", name=label).select_option(value)
    assert panel.sent("set") == [{"do": "set", "what": what, "value": value}]


def test_a_setting_that_was_refused_shows_what_holds(panel):
    model = panel.root.get_by_role("combobox", name="Model")
    model.select_option("gpt-5.5")
    panel.deliver({"kind": "notice", "level": "error", "text": "There is no key for OpenAI."})
    expect(model).to_have_value("claude-sonnet-5")
    expect(panel.root.get_by_role("alert")).to_contain_text("There is no key for OpenAI.")


def test_any_model_can_be_named(panel):
    panel.root.get_by_role("combobox", name="Model").select_option("Another model…")
    panel.root.get_by_role("textbox", name="Model").fill("openai-compat/mine")
    panel.page.keyboard.press("Enter")
    assert panel.sent("set") == [{"do": "set", "what": "model", "value": "openai-compat/mine"}]


def test_a_value_that_is_in_no_list_is_shown(panel):
    panel.head(data="sample:20")
    expect(panel.root.get_by_role("combobox", name="Data")).to_have_value("sample:20")


def test_sessions_and_branches_are_switched(panel):
    session = panel.root.get_by_role("combobox", name="Session")
    session.select_option("sales")
    session.select_option("other")
    assert panel.sent("switch") == [
        {"do": "switch", "session": "sales"},
        {"do": "switch", "branch": "other"},
    ]


def test_a_new_session_gets_a_name(panel):
    panel.root.get_by_role("combobox", name="Session").select_option("New session…")
    panel.root.get_by_role("textbox", name="Name of the new session").fill("q4")
    panel.button("OK").click()
    assert panel.sent("new") == [{"do": "new", "name": "q4"}]
    expect(panel.root.get_by_role("combobox", name="Session")).to_have_value("b:main")


def test_a_budget_is_set_from_the_menu(panel):
    panel.button("More").click()
    panel.root.get_by_role("menuitem", name="Set a budget…").click()
    field = panel.root.get_by_role("textbox", name=re.compile("Spend at most"))
    expect(field).to_have_value("2.00")
    field.fill("5")
    field.press("Enter")
    assert panel.sent("set") == [{"do": "set", "what": "max_cost", "value": "5"}]


@pytest.mark.parametrize("form", ["md", "html", "ipynb", "json", "py"])
def test_each_form_of_export_is_asked_for(panel, form):
    panel.button("More").click()
    panel.root.get_by_role("menuitem", name=f"Export as .{form}").click()
    assert panel.sent("export") == [{"do": "export", "form": form}]
    panel.deliver({"kind": "saved", "path": f"main.{form}"})
    expect(told(panel)).to_contain_text(f"Saved as main.{form}")


def test_the_footer_says_context_spending_kernel_and_where_it_is_kept(panel):
    footer = panel.root.locator(".alloy-footer")
    for words in ("context 12% of 200k", "$0.31 of $2.00", "kernel idle", "saved main · .alloy"):
        expect(footer).to_contain_text(words)
    panel.head(kernel="busy", budget=None, context={"tokens": 900, "window": None})
    expect(footer).to_contain_text("kernel busy")
    expect(footer).to_contain_text("context 900")
    expect(footer).not_to_contain_text("of")


def test_a_policy_that_allows_all_stands_out(panel):
    panel.head(approve="all")
    expect(panel.root.locator(".alloy-pick-approve")).to_have_class(re.compile("alloy-bad"))


# --- a turn's own controls ------------------------------------------------------------------------


def shown(panel, number):
    return panel.log.get_by_role("article", name=f"Turn {number}", exact=True)


def test_an_earlier_message_is_edited(panel):
    panel.button("Edit and ask again", within=shown(panel, 1)).click()
    area = shown(panel, 1).get_by_role("textbox", name="Edit the message")
    expect(area).to_have_value("first?")
    area.fill("first, but better?")
    area.press("Enter")
    assert panel.sent("edit") == [{"do": "edit", "turn": 1, "text": "first, but better?"}]
    expect(area).to_have_count(0)


def test_escape_leaves_an_edit_without_a_word(panel):
    panel.button("Edit and ask again", within=shown(panel, 1)).click()
    panel.page.keyboard.type("x")
    panel.page.keyboard.press("Escape")
    assert panel.sent("edit") == []
    expect(shown(panel, 1)).to_contain_text("first?")


@pytest.mark.parametrize(
    ("label", "sent"),
    [
        ("Answer again", {"do": "regenerate", "turn": 2}),
        ("Hide from the model", {"do": "hide", "turn": 2}),
        ("Pin", {"do": "pin", "turn": 2}),
    ],
)
def test_each_action_of_a_turn_is_sent(panel, label, sent):
    panel.button(label, within=shown(panel, 2)).click()
    assert panel.sent(sent["do"]) == [sent]


def test_marks_are_shown_and_taken_back(panel):
    panel.deliver({"kind": "mark", "turn": "t1", "hidden": True, "pinned": True})
    expect(shown(panel, 1).get_by_text("hidden from the model")).to_be_visible()
    panel.button("Send to the model again", within=shown(panel, 1)).click()
    panel.button("Unpin", within=shown(panel, 1)).click()
    assert [one["do"] for one in panel.sent()[-2:]] == ["unhide", "unpin"]


def test_a_turn_is_forked_under_a_name(panel):
    panel.button("Fork after this turn", within=shown(panel, 1)).click()
    panel.root.get_by_role("textbox", name="Name of the new branch").fill("try")
    panel.page.keyboard.press("Enter")
    assert panel.sent("fork") == [{"do": "fork", "turn": 1, "name": "try"}]


def clipboard(panel):
    panel.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    return lambda: panel.page.evaluate("navigator.clipboard.readText()")


def test_the_message_the_answer_and_the_code_are_copied(panel):
    read = clipboard(panel)
    panel.button("Copy the message", within=shown(panel, 2)).click()
    expect(told(panel)).to_contain_text("Copied.")
    assert read() == "second?"
    panel.button("Copy the code", within=shown(panel, 2)).click()
    panel.page.wait_for_function("async () => (await navigator.clipboard.readText()) !== 'second?'")
    assert read() == CODE
    panel.button("Copy the answer", within=shown(panel, 2)).click()
    panel.page.wait_for_function(
        "async () => (await navigator.clipboard.readText()).includes('It fell.')"
    )


def test_code_runs_in_the_kernel(panel):
    panel.button("Run in the kernel", within=shown(panel, 2)).click()
    assert panel.sent("run") == [{"do": "run", "turn": 2, "number": 0}]


def test_code_goes_into_the_notebook_of_the_panel_also_from_a_view_beside_another(panel):
    book = '<div class="jp-NotebookPanel"><button data-command="notebook:insert-cell-below">'
    named = book.replace("<button", '<button id="{}"')
    place = f"{named.format('other')}</button></div>{named.format('own')}</button>"
    in_notebook(panel, f'{place}<div class="here"></div></div>', ".here")
    second = another_view(panel)
    panel.page.evaluate(
        """() => {
            window.pressed = [];
            document.addEventListener("mousedown", ({target}) => pressed.push(target.id));
        }"""
    )
    second.locator(".alloy-code").hover()
    panel.button("Insert into a new cell", within=second).dispatch_event("click")
    panel.page.wait_for_function("pressed.includes('own') || pressed.includes('other')")
    assert "other" not in panel.page.evaluate("pressed")


def test_code_is_copied_where_no_cell_can_be_made(panel):
    read = clipboard(panel)
    panel.button("Insert into a new cell", within=shown(panel, 2)).click()
    expect(told(panel)).to_contain_text("Copied: paste it into a new cell.")
    assert read() == CODE


def test_a_block_of_code_that_is_drawn_in_two_parts_is_copied_whole(open_panel):
    parts = ["<pre><code>a = 1\n</code></pre>", "<pre><code>b = 2\n</code></pre>"]
    other = "<pre><code>c = 3\n</code></pre>"
    tool = "<details open><summary>t</summary><pre><code>tool</code></pre></details>"
    every = [tool, *parts, other]
    panel = open_panel([turn(1, "x", *every, code=["a = 1\nb = 2\n", "c = 3\n"])])
    for block in range(3):
        panel.button("Run in the kernel").nth(block).click()
    assert [one["number"] for one in panel.sent("run")] == [0, 0, 1]
    read = clipboard(panel)
    panel.button("Copy the code").nth(1).click()
    expect(told(panel)).to_contain_text("Copied.")
    assert read() == "a = 1\nb = 2"


# --- composer: commands, references, chips, recall ------------------------------------------------


def test_a_slash_command_is_completed_and_sent_as_a_command(panel):
    panel.composer.press_sequentially("/co")
    options = choices(panel)
    expect(options).to_have_count(2)
    panel.composer.press("ArrowDown")
    panel.composer.press("Enter")
    expect(panel.composer).to_have_value("/context ")
    panel.composer.press("Enter")
    assert panel.sent("command") == [{"do": "command", "line": "/context"}]
    panel.deliver({"kind": "shown", "title": "context", "html": "<p>12 parts</p>"})
    expect(panel.log.get_by_role("region", name="context")).to_contain_text("12 parts")
    panel.button("Dismiss").click()
    expect(panel.log.get_by_text("12 parts")).to_have_count(0)


def test_a_slash_that_is_no_command_is_left_to_the_kernel_and_a_path_is_a_prompt(panel):
    panel.composer.fill("/review the numbers")
    panel.composer.press("Enter")
    panel.composer.fill("/tmp/x is missing")
    panel.composer.press("Enter")
    assert panel.sent("command") == [{"do": "command", "line": "/review the numbers"}]
    assert panel.sent("ask") == [{"do": "ask", "text": "/tmp/x is missing"}]


def test_a_command_that_shows_nothing_leaves_nothing(panel):
    panel.composer.fill("/model x")
    panel.composer.press("Enter")
    sent = panel.page.evaluate("sent.at(-1)")
    panel.deliver({"kind": "shown", "title": "/model x", "html": "", "id": sent["id"]})
    expect(panel.log.get_by_role("region")).to_have_count(0)
    panel.page.wait_for_timeout(800)
    waiting = panel.root.get_by_role("list", name="Waiting messages")
    expect(waiting.get_by_role("listitem")).to_have_count(0)


def complete(panel, *items):
    asked = panel.page.evaluate("sent.filter(one => one.do === 'complete').at(-1)")
    start = asked["text"].rindex("@")
    panel.deliver(
        {
            "kind": "completions",
            "id": asked["id"],
            "start": start,
            "end": asked["cursor"],
            "items": [{"text": text, "label": "", "kind": "DataFrame"} for text in items],
        }
    )


def test_a_reference_is_completed_by_the_kernel(panel):
    panel.composer.press_sequentially("why @d")
    complete(panel, "@data", "@df")
    expect(choices(panel)).to_have_count(2)
    panel.composer.press("ArrowUp")
    panel.composer.press("Tab")
    expect(panel.composer).to_have_value("why @df")
    expect(choices(panel)).to_have_count(0)
    expect(panel.composer).to_be_focused()


def test_escape_closes_the_completions_and_keeps_the_text(panel):
    panel.composer.press_sequentially("why @d")
    complete(panel, "@data", "@df")
    panel.composer.press("Escape")
    expect(choices(panel)).to_have_count(0)
    panel.composer.press("Enter")
    assert panel.sent("ask") == [{"do": "ask", "text": "why @d"}]


def test_a_late_completion_is_not_shown(panel):
    panel.composer.press_sequentially("why @d")
    panel.composer.press("Enter")
    complete(panel, "@data", "@df")
    expect(choices(panel)).to_have_count(0)


def test_a_reference_becomes_a_chip(panel):
    panel.button("Attach a variable, a cell or its output").click()
    complete(panel, "@df", "@In[14]")
    choices(panel).filter(has_text="@In[14]").click()
    panel.button("Attach a variable, a cell or its output").click()
    panel.root.get_by_role("combobox", name="Attach @").fill("df")
    panel.page.keyboard.press("Enter")
    assert panel.sent("attach") == [
        {"do": "attach", "kind": "cell", "name": "In[14]"},
        {"do": "attach", "kind": "ref", "name": "df"},
    ]


def test_chips_show_their_tokens_and_problems_and_can_be_removed(panel):
    chips = [
        {"id": "x1", "label": "@df", "tokens": 412, "kind": "ref"},
        {"id": "x2", "label": "a.bin", "tokens": None, "kind": "file", "problem": "no text"},
    ]
    panel.deliver({"kind": "chips", "chips": chips})
    shown = panel.root.locator(".alloy-box .alloy-chip")
    expect(shown).to_have_text(["@df · 412", "a.bin" + "no text"])
    panel.button("Remove @df").click()
    assert panel.sent("detach") == [{"do": "detach", "id": "x1"}]


def test_a_chosen_file_is_sent_with_its_bytes(panel):
    panel.root.locator("input[type=file]").set_input_files(
        [
            {"name": "a.csv", "mimeType": "text/csv", "buffer": b"a,b\n1,2\n"},
            {"name": "p.png", "mimeType": "image/png", "buffer": b"\x89PNG"},
        ]
    )
    panel.page.wait_for_function("sent.filter(one => one.do === 'attach').length === 2")
    assert panel.sent("attach") == [
        {"do": "attach", "kind": "file", "name": "a.csv", "type": "text/csv", "bytes": 8},
        {"do": "attach", "kind": "image", "name": "p.png", "type": "image/png", "bytes": 4},
    ]


_CARRY = """(node, [kind, on]) => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(5)], "shot.png", {type: "image/png"}));
    const name = on === "paste" ? "clipboardData" : "dataTransfer";
    const Kind = on === "paste" ? ClipboardEvent : DragEvent;
    node.dispatchEvent(new Kind(kind, {[name]: data, bubbles: true, cancelable: true}));
}"""


def test_a_pasted_image_is_attached(panel):
    panel.composer.evaluate(_CARRY, ["paste", "paste"])
    panel.page.wait_for_function("sent.some(one => one.do === 'attach')")
    sent = {"do": "attach", "kind": "image", "name": "shot.png", "type": "image/png", "bytes": 5}
    assert panel.sent("attach") == [sent]


def test_a_dropped_image_is_attached(panel):
    panel.log.evaluate(_CARRY, ["dragover", "drop"])
    expect(panel.root).to_have_class(re.compile("alloy-drop"))
    panel.log.evaluate(_CARRY, ["drop", "drop"])
    panel.page.wait_for_function("sent.some(one => one.do === 'attach')")
    expect(panel.root).not_to_have_class(re.compile("alloy-drop"))


def test_a_file_that_is_too_large_is_refused_here(panel):
    panel.page.evaluate(
        """() => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(10_000_001)], "huge.bin"));
            const event = new DragEvent("drop", {dataTransfer: data, bubbles: true});
            document.querySelector(".alloy-log").dispatchEvent(event);
        }"""
    )
    alert = panel.root.get_by_role("alert")
    expect(alert).to_contain_text("huge.bin is larger than 10 MB.")
    expect(alert).to_contain_text("@file:huge.bin")
    assert panel.sent("attach") == []


def test_what_is_sent_right_after_a_file_was_dropped_is_sent_behind_it(panel):
    panel.composer.fill("what is this?")
    panel.composer.evaluate(
        f"""(area, given) => {{
            ({_CARRY})(area, given);
            const enter = {{key: "Enter", bubbles: true, cancelable: true}};
            area.dispatchEvent(new KeyboardEvent("keydown", enter));
        }}""",
        ["drop", "drop"],
    )
    panel.page.wait_for_function("sent.some(one => one.do === 'ask')")
    assert [one["do"] for one in panel.sent()][-2:] == ["attach", "ask"]


def test_a_file_that_cannot_be_read_is_told_and_the_next_one_is_attached(panel):
    panel.composer.evaluate(
        """(area) => {
            const data = new DataTransfer();
            const folder = new File([], "folder");
            folder.arrayBuffer = () => Promise.reject(new DOMException("", "NotFoundError"));
            const event = new DragEvent("drop", {bubbles: true, cancelable: true});
            const files = [folder, new File([new Uint8Array(3)], "a.txt")];
            Object.defineProperty(event, "dataTransfer", {value: {files, types: ["Files"]}});
            area.dispatchEvent(event);
        }"""
    )
    expect(panel.root.get_by_role("alert")).to_contain_text("folder cannot be read")
    panel.page.wait_for_function("sent.some(one => one.do === 'attach')")
    assert [one["name"] for one in panel.sent("attach")] == ["a.txt"]


def test_up_in_an_empty_composer_brings_back_what_was_said(panel):
    panel.composer.fill("third?")
    panel.composer.press("Enter")
    said = []
    for key in ("ArrowUp", "ArrowUp", "ArrowUp", "ArrowDown", "ArrowDown", "ArrowDown"):
        panel.composer.press(key)
        said.append(panel.composer.input_value())
    assert said == ["third?", "second?", "first?", "second?", "third?", ""]


def test_up_in_a_draft_moves_in_the_draft(panel):
    panel.composer.fill("a draft")
    panel.composer.press("ArrowUp")
    expect(panel.composer).to_have_value("a draft")


def test_up_brings_back_what_was_said_also_after_it_was_deleted(panel):
    panel.composer.press("ArrowUp")
    panel.composer.press("Control+a")
    panel.composer.press("Delete")
    panel.composer.press("ArrowUp")
    expect(panel.composer).to_have_value("second?")


def test_up_goes_on_from_what_is_shown_where_a_turn_came_meanwhile(panel):
    panel.composer.press("ArrowUp")
    panel.deliver({"kind": "end", "turn": turn(3, "third?", "<p>three</p>")})
    panel.composer.press("ArrowUp")
    expect(panel.composer).to_have_value("first?")


def test_what_was_completed_is_undone(panel):
    panel.composer.press_sequentially("why @d")
    complete(panel, "@df")
    panel.composer.press("Enter")
    expect(panel.composer).to_have_value("why @df")
    panel.composer.press("Control+z")
    expect(panel.composer).to_have_value("why @d")


def test_what_was_sent_comes_back_by_undoing(panel):
    panel.composer.press_sequentially("why?")
    panel.composer.press("Enter")
    panel.composer.press("Control+z")
    expect(panel.composer).to_have_value("why?")


def test_what_was_brought_back_is_undone(panel):
    panel.composer.press("ArrowUp")
    panel.composer.press("Control+z")
    expect(panel.composer).to_have_value("")


def test_a_hundred_kilobytes_are_sent_and_brought_back_without_a_wait(panel):
    text = "select a, b from some_table where x = 1\n" * 2_500 + "what is wrong with it?"
    panel.composer.evaluate("(area, text) => { area.value = text; }", text)  # as a paste has it
    panel.composer.press("Enter")
    assert panel.sent("ask") == [{"do": "ask", "text": text}]
    panel.composer.press("ArrowUp")
    expect(panel.composer).to_have_value(text)


def test_the_kernel_may_put_a_draft(panel):
    panel.deliver({"kind": "draft", "text": "again?"})
    expect(panel.composer).to_have_value("again?")


# --- searching ------------------------------------------------------------------------------------


def search(panel, words, *hits):
    panel.button("Search").click()
    panel.root.get_by_role("searchbox").fill(words)
    panel.page.wait_for_function("sent.some(one => one.do === 'search')")
    asked = panel.page.evaluate("sent.filter(one => one.do === 'search').at(-1)")
    assert asked["words"] == words
    panel.deliver({"kind": "found", "id": asked["id"], "hits": list(hits)})


def test_what_is_found_in_another_session_switches_to_it(panel):
    search(panel, "north", {"session": "sales", "turn": 4, "html": "the <b>north</b>"})
    expect(panel.root.get_by_text("the north")).to_be_visible()
    panel.button("sales · turn 4").click()
    assert panel.sent("switch") == [{"do": "switch", "session": "sales"}]


def test_what_is_found_here_is_gone_to(open_panel):
    panel = open_panel([turn(n, f"number {n}?", "<p>x</p>" * 5) for n in range(1, 40)])
    search(panel, "3", {"session": "main", "turn": 3, "html": "three"})
    panel.button("main · turn 3").click()
    expect(panel.log.get_by_text("number 3?")).to_be_in_viewport()
    expect(shown(panel, 3)).to_be_focused()


def test_nothing_found_is_said_and_escape_leaves(panel):
    search(panel, "zebra")
    expect(panel.root.get_by_role("listitem")).to_have_text("Nothing was found.")
    panel.root.get_by_role("searchbox").press("Escape")
    expect(panel.root.get_by_role("searchbox")).to_have_count(0)
    expect(panel.button("Search")).to_be_focused()


# --- scrolling and history ------------------------------------------------------------------------

MANY = [turn(n, f"number {n}?", "<p>some words</p>" * 4) for n in range(1941, 2001)]
_GAP = "log => log.scrollHeight - log.scrollTop - log.clientHeight"


_SCROLL = """async (log, top) => {
    log.scrollTop = top;
    await new Promise((go) => requestAnimationFrame(() => setTimeout(go, 30)));
}"""


def scroll_up(panel):
    """Turn the wheel, and wait until what it moves stands still."""
    panel.log.hover()
    panel.page.mouse.wheel(0, -900)
    panel.page.wait_for_function(f"({_GAP})(document.querySelector('.alloy-log')) > 300")
    panel.log.evaluate(
        """async (log) => {
            for (let last = -1; last !== log.scrollTop;) {
                last = log.scrollTop;
                await new Promise((go) => setTimeout(go, 100));
                await new Promise((go) => requestAnimationFrame(go));
            }
        }"""
    )


def scroll(panel, top):
    panel.log.evaluate(_SCROLL, top)


def test_it_opens_at_the_end_and_stays_there_while_it_streams(open_panel):
    panel = open_panel(MANY)
    panel.deliver({"kind": "begin", "turn": turn(2001, "go", state="live")})
    for step in range(1, 6):
        html = "<p>line</p>" * 10 * step
        panel.deliver({"kind": "output", "turn": "t2001", "id": "a", "html": html})
        assert panel.log.evaluate(_GAP) <= 2


def test_who_reads_above_is_left_there_and_told_how_much_is_new(open_panel):
    panel = open_panel(MANY)
    scroll_up(panel)
    before = panel.log.evaluate("log => log.scrollTop")
    panel.deliver({"kind": "begin", "turn": turn(2001, "go", state="live")})
    panel.deliver({"kind": "output", "turn": "t2001", "id": "a", "html": "<p>line</p>" * 40})
    assert panel.log.evaluate("log => log.scrollTop") == pytest.approx(before, abs=2)
    panel.button("2 new ↓").click()
    expect(panel.log.get_by_text("line").last).to_be_in_viewport()
    expect(panel.root.locator(".alloy-new")).to_be_hidden()


def test_who_reads_above_is_told_of_a_question(open_panel):
    panel = open_panel(MANY)
    scroll_up(panel)
    panel.deliver({"kind": "asked", "call": "c1", "question": dict(QUESTION)})
    panel.button("Waits for your answer ↓").click()
    expect(panel.button("Allow once")).to_be_in_viewport()


def test_older_turns_come_when_one_scrolls_up_and_what_one_reads_stays(open_panel):
    panel = open_panel(MANY, total=2000)
    scroll(panel, 0)
    panel.page.wait_for_function("sent.some(one => one.do === 'older')")
    assert panel.sent("older") == [{"do": "older", "before": 1940}]
    top = panel.log.get_by_text("number 1941?").bounding_box()["y"]
    older = [turn(n, f"number {n}?", "<p>some words</p>" * 4) for n in range(1881, 1941)]
    panel.deliver({"kind": "older", "turns": older, "first": 1880, "total": 2000})
    expect(panel.log.get_by_role("article")).to_have_count(120)
    assert panel.log.get_by_text("number 1941?").bounding_box()["y"] == pytest.approx(top, abs=3)
    asked = [article.get_attribute("aria-label") for article in panel.log.locator("article").all()]
    assert asked == [f"Turn {n}" for n in range(1881, 2001)]


def test_older_turns_come_by_a_button_until_there_are_none(open_panel):
    panel = open_panel(PAST, total=4)
    panel.page.wait_for_function("sent.some(one => one.do === 'older')")
    panel.deliver({"kind": "older", "turns": [], "first": 2, "total": 4})
    expect(panel.button("Earlier messages")).to_be_hidden()


def test_older_turns_of_a_conversation_that_was_left_are_not_put_above_another(open_panel):
    panel = open_panel(PAST, total=4)
    panel.page.wait_for_function("sent.some(one => one.do === 'older')")
    panel.deliver({"kind": "turns", "turns": MANY, "first": 1940, "total": 2000})
    strange = [turn(9, "of the other one", id="other")]
    panel.deliver({"kind": "older", "turns": strange, "first": 1, "total": 4})
    expect(panel.log.get_by_text("of the other one")).to_have_count(0)
    expect(panel.button("Earlier messages")).to_be_attached()


def test_who_reads_above_stays_there_when_all_is_told_anew(open_panel):
    past = [turn(n, f"{n}?", f"<p>{n}</p>" * 20) for n in range(1, 9)]
    panel = open_panel(past)
    panel.log.hover()
    panel.page.mouse.wheel(0, -900)
    panel.page.wait_for_timeout(200)
    before = panel.log.evaluate("log => log.scrollTop")
    panel.deliver({"kind": "turns", "turns": past, "first": 0}, {"kind": "live", "turn": None})
    assert panel.log.evaluate("log => log.scrollTop") == pytest.approx(before, abs=2)


def test_an_edit_outlives_that_all_is_told_anew(panel):
    panel.root.locator(".alloy-prompt").first.hover()
    panel.button("Edit and ask again").first.click()
    panel.root.get_by_role("textbox", name="Edit the message").fill("not sent yet")
    panel.deliver({"kind": "turns", "turns": [*PAST, turn(3, "third?", "<p>3</p>")], "first": 0})
    field = panel.root.get_by_role("textbox", name="Edit the message")
    expect(field).to_have_value("not sent yet")
    expect(field).to_be_focused()
    expect(panel.log.get_by_role("article")).to_have_count(3)


def test_what_one_edits_in_a_question_outlives_that_another_page_comes(panel):
    card = ask(panel)
    panel.button("Edit…", within=card).click()
    card.get_by_role("textbox", name="Edit the code").fill("print('mine')")
    ask(panel)
    expect(card.get_by_role("textbox", name="Edit the code")).to_have_value("print('mine')")


def test_a_question_that_is_asked_again_after_it_was_answered_can_be_answered(panel):
    panel.button("Allow once", within=ask(panel)).click()
    expect(panel.button("Allow once", within=ask(panel))).to_be_enabled()


def test_everything_is_replaced_after_a_rewind(panel):
    panel.deliver({"kind": "turns", "turns": [PAST[0]], "total": 1})
    expect(panel.log.get_by_role("article")).to_have_count(1)
    panel.deliver({"kind": "turns", "turns": [], "total": 0})
    expect(panel.log.get_by_text("Ask about your data")).to_be_visible()


def test_a_history_of_two_thousand_turns_costs_little_to_open_and_to_scroll(browser, open_panel):
    html = [
        render_text(
            f"## Part {n}\n\n" + "Some *words* to be read. " * 60 + f"\n\n```\nx = {n}\n```"
        )
        for n in range(20)
    ]
    every = [turn(n, f"number {n}?", html[n % 20].html, code=["x"]) for n in range(1, 2001)]
    panel = open_panel(every[-60:], total=2000)
    opened = panel.page.evaluate("opened")
    spent = panel.processor_seconds()

    def go_to(top):  # without a locator: to look for it would be the longest task by far
        panel.page.evaluate(f"(top) => ({_SCROLL})(document.querySelector('.alloy-log'), top)", top)

    with longest_task(browser, panel) as longest:
        for page in range(1, 34):
            first = max(0, 1940 - 60 * page)
            go_to(0)
            panel.page.wait_for_function(f"sent.filter(o => o.do === 'older').length >= {page}")
            older = every[first : 2000 - 60 * page]
            panel.deliver({"kind": "older", "turns": older, "first": first, "total": 2000})
            there = f"document.querySelectorAll('article').length === {2000 - first}"
            panel.page.wait_for_function(there)
        height = panel.page.evaluate("document.querySelector('.alloy-log').scrollHeight")
        for place in range(30):
            go_to(height * (29 - place) / 29)
    print(f"\nopened in {opened:.0f} ms, {spent:.2f} s of processor; longest task {longest}")
    assert spent < 1.5
    assert longest["processor"] < 200


def test_a_fast_answer_leaves_the_page_most_of_its_time(browser, open_panel):
    """The last quarter of 20,000 tokens at 500 a second, in frames as the kernel draws them."""
    frames = list(streamed(20_000, 500))
    panel = open_panel(PAST)
    panel.deliver({"kind": "begin", "turn": live()})
    begin = frames[-1][0] * 3 / 4
    panel.deliver(*(message for at, message in frames if at < begin))
    rest = [(1000 * (at - begin), message) for at, message in frames if at >= begin]
    before = panel.processor_seconds()
    took = panel.page.evaluate(
        """async (frames) => {
            const began = performance.now();
            for (const [at, message] of frames) {
                const wait = at - (performance.now() - began);
                if (wait > 0) await new Promise((go) => setTimeout(go, wait));
                model.deliver(message);
            }
            return (performance.now() - began) / 1000;
        }""",
        rest,
    )
    spent = panel.processor_seconds() - before
    size = sum(len(json.dumps(message)) for _, message in frames)
    share = spent / took
    print(
        f"\n{len(frames)} frames, {size / 1e6:.2f} MB; {spent:.2f} s of {took:.1f} s: {share:.0%}"
    )
    assert share <= 0.25


@contextlib.contextmanager
def longest_task(browser, panel):
    """Give a dict that holds the milliseconds of the longest task of the page's main thread."""
    found = {}
    browser.start_tracing(page=panel.page, categories=["toplevel", "devtools.timeline"])
    try:
        yield found
    finally:
        trace = browser.stop_tracing()
    events = json.loads(trace)["traceEvents"]
    threads = {
        (e["pid"], e["tid"])
        for e in events
        if e.get("name") == "thread_name" and e["args"].get("name") == "CrRendererMain"
    }
    tasks = [
        (e["tdur"] / 1000, e["dur"] / 1000)
        for e in events
        if "tdur" in e and e["name"].endswith("RunTask") and (e["pid"], e["tid"]) in threads
    ]
    assert len(tasks) > 100
    found["processor"], found["wall"] = max(tasks)


def streamed(tokens, rate):
    """Yield when the kernel sends which frame of a long answer, in seconds of a virtual clock."""
    clock, frames = VirtualClock(), []
    transcript = Transcript()
    known = {}

    def publish(data, *, display_id, update, metadata):
        html, was = data.get("text/html", ""), known.get(display_id, "")
        known[display_id] = html
        same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(was, html, strict=False))
        keep = sum(1 for _ in same)
        fields = {"keep": keep} if keep >= 200 else {}
        message = {"kind": "output", "turn": "t3", "id": display_id, **fields}
        frames.append((clock.seconds, {**message, "html": html[fields.get("keep", 0) :]}))

    canvas = NotebookCanvas(transcript, publish, clock=clock)
    segment = TextSegment()
    transcript.segments.append(segment)
    for number in range(tokens):
        segment.add(TOKENS[number % len(TOKENS)])
        canvas.mark()
        clock.advance(1 / rate)
    segment.finished = transcript.finished = True
    canvas.finish()
    return frames


TOKENS = re.findall(
    r"\S+\s*",
    "## What was found\n\nRevenue **fell** by 12 % in the North, as `df.region` says, and more.\n\n"
    "| region | 2024 | 2025 |\n|---|---|---|\n| North | 1,204 | 1,060 |\n| South | 990 | 1,01 |\n\n"
    "1. one reason, with some more words to it\n2. another\n\n```python\nx = df.sum()\n```\n\n",
)


# --- several views, and views that come and go ----------------------------------------------------


def another_view(panel):
    panel.page.evaluate(
        """async () => {
            const el = document.createElement("div");
            el.id = "second";
            document.querySelector("main").append(el);
            await show("second");
        }"""
    )
    return panel.page.locator("#second .alloy-panel")


def test_two_views_show_the_same_and_ask_the_kernel_once(panel):
    second = another_view(panel)
    panel.deliver({"kind": "begin", "turn": live("why?", "<p>both</p>")})
    expect(panel.page.get_by_text("both")).to_have_count(2)
    panel.button("Stop", within=second).click()
    assert len(panel.sent("stop")) == 1
    assert len(panel.sent("hello")) == 1


def test_a_view_that_is_closed_leaves_the_other_as_it_is(panel):
    second = another_view(panel)
    second.get_by_role("combobox", name="Message").fill("mine")
    panel.page.evaluate("() => { leaves.first(); document.getElementById('first').remove(); }")
    panel.deliver({"kind": "begin", "turn": live("why?", "<p>still</p>")})
    expect(second.get_by_text("still")).to_be_visible()
    expect(second.get_by_role("combobox", name="Message")).to_have_value("mine")


def test_an_output_that_is_drawn_anew_gets_the_same_nodes_back(open_panel):
    """As JupyterLab does with an update, and with a cell that is moved: it makes a new view."""
    panel = open_panel(MANY)
    seen = panel.page.evaluate(
        """async () => {
            const wait = (ms) => new Promise((go) => setTimeout(go, ms));
            leaves.first();
            const output = document.createElement("div");
            document.querySelector("main").append(output);
            const fill = async () => {
                const el = document.createElement("div");
                await module.render({model, el});
                output.textContent = "";
                output.append(el);
            };
            await fill();
            await wait(100);
            const [area, log] = ["textarea", ".alloy-log"].map((n) => output.querySelector(n));
            area.value = "half a sentence";
            area.focus();
            area.setSelectionRange(2, 4);
            log.scrollTop = 500;
            await new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)));
            await wait(100);
            output.textContent = "Loading widget...";
            await wait(30);
            await fill();
            await new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)));
            const after = ["textarea", ".alloy-log"].map((n) => output.querySelector(n));
            return {
                isSame: after[0] === area && after[1] === log, top: log.scrollTop,
                isFocused: document.activeElement === area, text: area.value,
                selected: [area.selectionStart, area.selectionEnd],
            };
        }"""
    )
    assert seen["isSame"]
    assert seen["isFocused"]
    assert (seen["text"], seen["selected"]) == ("half a sentence", [2, 4])
    assert seen["top"] == pytest.approx(500, abs=2)


def test_a_view_whose_nodes_went_elsewhere_shows_the_panel_again_when_it_comes_back(panel):
    """As JupyterLab does with cells out of sight: their nodes are taken out, and put back."""
    panel.page.evaluate("() => { window.away = document.getElementById('first'); away.remove(); }")
    another_view(panel)
    panel.page.evaluate("document.querySelector('main').prepend(away)")
    expect(panel.page.locator("#first .alloy-panel")).to_be_visible()
    expect(panel.page.locator("#second .alloy-panel")).to_be_visible()


def test_a_view_that_lost_its_nodes_within_one_frame_shows_the_panel_again_too(panel):
    panel.page.evaluate(
        """async () => {
            await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
            const away = document.getElementById("first");
            away.remove();
            const el = document.createElement("div");
            el.id = "second";
            document.querySelector("main").append(el);
            const showing = show("second");
            document.querySelector("main").prepend(away);
            await showing;
        }"""
    )
    expect(panel.page.locator("#first .alloy-panel")).to_be_visible()


def test_what_was_said_stays_where_the_kernel_is_lost_in_the_middle(panel):
    begun = turn(3, "why?", "<p>so far</p>", state="live", id="l1")
    panel.deliver({"kind": "begin", "turn": begun})
    panel.page.evaluate("model.trigger('comm:close')")
    expect(panel.log.get_by_text("so far")).to_be_visible()
    panel.deliver({"kind": "live", "turn": begun})
    expect(panel.log.get_by_text("so far")).to_have_count(1)
    panel.deliver({"kind": "end", "turn": turn(3, "why?", "<p>all</p>", id="l1"), "total": 3})
    expect(panel.log.get_by_role("article")).to_have_count(3)
    expect(panel.log.get_by_text("all", exact=True)).to_be_visible()


def test_a_widget_that_was_closed_says_so_and_takes_nothing_more(panel):
    panel.page.evaluate("model.trigger('comm:close')")
    expect(panel.composer).to_have_attribute("placeholder", re.compile("kernel is gone"))
    panel.composer.fill("why?")
    panel.composer.press("Enter")
    expect(panel.button("Send")).to_be_disabled()
    assert panel.sent("ask") == []
    expect(panel.log.get_by_role("article")).to_have_count(2)


def test_a_kernel_that_was_restarted_is_missed_and_one_that_answers_is_not(panel):
    panel.page.clock.install()
    panel.page.evaluate("model.trigger('comm_live_update')")
    assert len(panel.sent("hello")) == 2
    panel.page.evaluate("model.deliver({kind: 'live', turn: null})")
    panel.page.clock.run_for(6_000)
    expect(panel.root).not_to_contain_text("no kernel")
    panel.page.evaluate(
        """() => {
            model.send = () => { throw Error("no comm"); };
            model.trigger("comm_live_update");
        }"""
    )
    panel.page.clock.run_for(6_000)
    expect(panel.root).to_contain_text("no kernel")
    expect(panel.root.get_by_role("alert")).to_have_count(0)
    panel.page.evaluate("model.deliver({kind: 'live', turn: null})")
    expect(panel.root).not_to_contain_text("no kernel")


def test_who_writes_while_the_kernel_goes_can_write_on_and_is_told(panel):
    panel.composer.fill("a long")
    panel.page.evaluate("model.trigger('comm:close')")
    panel.page.wait_for_timeout(100)
    panel.page.keyboard.type(" thought @df")
    expect(panel.composer).to_have_value("a long thought @df")
    expect(panel.root.get_by_text("The kernel is gone. Run")).to_be_visible()
    expect(panel.root.get_by_role("alert")).to_have_count(0)


# --- what was typed and not sent ------------------------------------------------------------------


def test_a_draft_outlives_the_page(panel):
    panel.composer.fill("not sent yet")
    panel.page.reload()
    expect(panel.composer).to_have_value("not sent yet")


def test_what_was_sent_is_no_draft_of_the_page_that_is_loaded_anew(panel):
    panel.composer.fill("sent")
    panel.composer.press("Enter")
    panel.page.reload()
    panel.page.wait_for_function("window.opened !== undefined")
    expect(panel.composer).to_have_value("")


_RUN_AGAIN = """async () => {
    const el = document.createElement("div");
    leaves.first();
    document.querySelector("main").replaceChildren(el);
    const other = {...model, get: (name) => name === "panel_id" ? "p2" : model.get(name)};
    await module.initialize({model: other});
    await module.render({model: other, el});
}"""


def test_a_draft_goes_along_into_the_panel_of_the_cell_that_is_run_again(panel):
    panel.page.evaluate("document.querySelector('main').className = 'jp-Cell'")
    panel.composer.fill("typed as the kernel went")
    panel.page.evaluate("model.trigger('comm:close')")
    panel.page.evaluate(_RUN_AGAIN)
    expect(panel.composer).to_have_value("typed as the kernel went")


def test_a_draft_of_one_view_is_not_put_into_another(panel):
    panel.composer.fill("only here")
    second = another_view(panel)
    expect(second.get_by_role("combobox", name="Message")).to_have_value("")


def test_a_prompt_that_comes_back_leaves_what_is_typed_meanwhile(panel):
    panel.composer.fill("refused")
    panel.composer.press("Enter")
    panel.composer.fill("the next thought")
    panel.deliver({"kind": "draft", "text": "refused"})
    expect(panel.composer).to_have_value("the next thought")
    expect(told(panel)).to_contain_text("comes back with ↑")
    panel.composer.fill("")
    panel.composer.press("ArrowUp")
    expect(panel.composer).to_have_value("refused")


def test_a_prompt_comes_back_into_the_view_that_sent_it(panel):
    second = another_view(panel).get_by_role("combobox", name="Message")
    second.fill("refused")
    second.press("Enter")
    panel.deliver({"kind": "draft", "text": "refused"})
    expect(second).to_have_value("refused")
    expect(panel.composer).to_have_value("")


def test_several_views_say_what_happens_once(panel):
    another_view(panel)
    panel.deliver({"kind": "begin", "turn": live()})
    panel.deliver({"kind": "notice", "level": "error", "text": "That failed."})
    expect(panel.page.get_by_role("status").filter(has_text="Answering.")).to_have_count(1)
    expect(panel.page.get_by_role("alert")).to_have_count(1)


def test_a_host_that_does_not_initialize_gets_a_panel_all_the_same(panel):
    panel.page.evaluate(
        """async () => {
            const el = document.createElement("div");
            document.querySelector("main").append(el);
            const other = {...model, get: (name) => name === "panel_id" ? "p2" : model.get(name)};
            await module.render({model: other, el});
        }"""
    )
    expect(panel.page.locator(".alloy-panel")).to_have_count(2)


# --- messages that a server held back -------------------------------------------------------------


def test_all_is_asked_for_anew_once_where_a_message_is_missing(panel):
    begun = turn(3, "why?", state="live", id="l1")
    panel.deliver({"kind": "begin", "n": 1, "turn": begun})
    for number in (4, 5, 6):
        output = {"turn": "l1", "id": "o", "keep": 400, "html": "<p>the rest</p>"}
        panel.deliver({"kind": "output", "n": number, **output})
    assert panel.sent("hello")[1:] == [{"do": "hello", "version": None}]
    assert "the rest" not in panel.log.inner_text()
    panel.deliver({"kind": "turns", "n": 7, "turns": PAST, "total": 2})
    panel.deliver({"kind": "live", "n": 8, "turn": {**begun, "outputs": []}})
    panel.deliver({"kind": "live", "n": 10, "turn": None})
    assert len(panel.sent("hello")) == 3


def test_a_turn_whose_end_was_missed_is_shown_once(panel):
    panel.deliver({"kind": "begin", "n": 1, "turn": turn(3, "why?", state="live", id="l1")})
    panel.deliver({"kind": "turns", "n": 3, "turns": [*PAST, turn(3, "why?", id="l1")]})
    panel.deliver({"kind": "live", "n": 4, "turn": None})
    expect(panel.log.get_by_text("why?", exact=True)).to_have_count(1)
    expect(panel.button("Stop")).to_be_hidden()


def test_messages_in_their_order_are_not_asked_for_anew(panel):
    panel.deliver({"kind": "begin", "n": 41, "turn": turn(3, "why?", state="live", id="l1")})
    panel.deliver({"kind": "end", "n": 42, "turn": turn(3, "why?", id="l1"), "total": 3})
    assert len(panel.sent("hello")) == 1


def test_after_a_silence_in_a_turn_the_kernel_is_asked_whether_it_told_something(panel):
    panel.deliver({"kind": "begin", "n": 1, "turn": turn(3, "why?", state="live", id="l1")})
    panel.page.wait_for_function("sent.some(one => one.do === 'still')")
    panel.deliver({"kind": "still", "n": 3})
    assert panel.sent("hello")[1:] == [{"do": "hello", "version": None}]


# --- what is not trusted --------------------------------------------------------------------------


def test_text_of_others_stays_text_in_every_field(open_panel):
    evil = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
    panel = open_panel([turn(1, evil, f"<p>{'x'}</p>", at=evil)], total=1)
    panel.head(
        session={"name": evil, "id": evil, "branch": evil},
        sessions=[evil], branches=[evil, "b"], model=evil, models=[evil], effort=evil,
        data=evil, approve=evil, spent=evil, budget=evil, kept=evil, kernel=evil,
        queue=[{"id": "1", "text": evil}],
        commands=[{"name": "x", "words": evil, "help": evil}],
    )  # fmt: skip
    panel.deliver(
        {"kind": "notice", "level": "error", "text": evil},
        {"kind": "chips", "chips": [{"id": "1", "label": evil, "tokens": 1, "problem": evil}]},
        {"kind": "saved", "path": evil},
        {"kind": "draft", "text": evil},
        {"kind": "asked", "call": evil, "question": dict.fromkeys(QUESTION, evil) | {"lasting": 1}},
    )
    panel.composer.fill("/")
    expect(choices(panel)).to_have_count(1)
    panel.composer.fill("x @d")
    complete(panel, evil)
    panel.button("Search").click()
    panel.page.wait_for_timeout(200)
    assert panel.page.title() == "panel"
    assert panel.root.locator("img, script").count() == 0
    assert panel.log.get_by_text(evil).count() >= 1


def test_html_that_the_renderer_would_never_make_does_nothing(open_panel):
    """A second wall: what came through the first would meet it."""
    every = [turn(n, "x", payload) for n, payload in enumerate(PAYLOADS.values(), 1)]
    panel = open_panel(every)
    panel.page.wait_for_function(f"document.querySelectorAll('article').length === {len(every)}")
    panel.deliver({"kind": "shown", "title": "x", "html": "".join(PAYLOADS.values())})
    panel.page.wait_for_timeout(300)
    bad = panel.page.evaluate(
        """() => [...document.querySelectorAll(".alloy-output *")].filter((node) =>
            ["SCRIPT", "IFRAME", "OBJECT", "EMBED", "LINK", "STYLE", "FORM"].includes(node.tagName)
            || [...node.attributes].some(({name, value}) => name.startsWith("on")
                || /^\\s*(?:javascript|vbscript|data:text)/i.test(value)))
            .map((node) => node.outerHTML)"""
    )
    assert bad == []
    assert panel.page.title() == "panel"


def test_what_would_cover_the_page_stays_in_its_output(open_panel):
    cover = '<div style="position:fixed;inset:0;background:red" title="cover">x</div><p>y</p>'
    panel = open_panel([turn(1, "x", cover)])
    box = panel.log.get_by_title("cover").bounding_box()
    output = panel.log.locator(".alloy-output").bounding_box()
    assert box["height"] <= output["height"] + 1


# --- keyboard, width, theme -----------------------------------------------------------------------


def test_every_control_is_reached_by_tab_and_shows_where_one_is(open_panel):
    panel = open_panel(PAST)
    panel.head(state="running")
    panel.composer.fill("x")
    names, seen = set(), 0
    panel.page.locator("body").press("Tab")
    while seen < 80:
        seen += 1
        name = panel.page.evaluate(
            """() => {
                const node = document.activeElement;
                if (!node.closest(".alloy-panel")) return "";
                const style = getComputedStyle(node);
                const ring = style.outlineStyle !== "none" || node.matches("textarea");
                const words = node.getAttribute("aria-label") || node.textContent.trim();
                return ring ? words : "no ring: " + words;
            }"""
        )
        names.add(name)
        panel.page.keyboard.press("Tab")
    assert not [name for name in names if name.startswith("no ring")]
    assert names >= {
        "Session", "Model", "Effort", "Data", "Approve", "Search", "More", "Conversation",
        "Edit and ask again", "Copy the message", "Hide from the model", "Pin", "Answer again",
        "Fork after this turn", "Copy the answer", "Copy the code", "Insert into a new cell",
        "Run in the kernel", "Message", "Attach files or images", "Tell it now", "Stop", "Queue",
        "Attach a variable, a cell or its output",
    }  # fmt: skip


def test_the_focus_goes_on_to_the_field_where_the_turn_ends_on_its_own(panel):
    panel.deliver({"kind": "begin", "turn": live()})
    panel.button("Stop").focus()
    panel.deliver({"kind": "end", "turn": turn(3, "why?", "<p>so</p>", id="t3")})
    expect(panel.composer).to_be_focused()


def test_who_asks_for_earlier_messages_with_the_keyboard_stays_in_the_conversation(open_panel):
    panel = open_panel([turn(9, "ninth?", "<p>nine</p>")], total=9)
    panel.root.locator(".alloy-earlier").focus()
    panel.deliver({"kind": "older", "turns": [turn(8, "eighth?", "<p>8</p>")], "first": 1})
    panel.root.locator(".alloy-earlier").press("Enter")
    expect(panel.root.locator(".alloy-earlier")).to_be_focused()
    panel.deliver({"kind": "older", "turns": [], "first": 0})
    expect(panel.log).to_be_focused()


def test_what_is_chosen_in_a_list_is_seen_in_colours_of_the_system(panel):
    panel.page.emulate_media(forced_colors="active")
    panel.composer.press_sequentially("/")
    chosen, other = (choices(panel).nth(number).bounding_box() for number in (0, 1))
    corners = [
        panel.page.screenshot(clip={"x": box["x"] + 2, "y": box["y"] + 5, "width": 6, "height": 6})
        for box in (chosen, other)
    ]
    assert corners[0] != corners[1]


def test_on_paper_the_whole_conversation_is_there_and_nothing_to_press(open_panel):
    panel = open_panel([turn(n, f"{n}?", "<p>so</p>" * 9) for n in range(1, 9)])
    panel.page.emulate_media(media="print")
    assert panel.log.evaluate("log => log.scrollHeight - log.clientHeight") == 0
    assert panel.root.bounding_box()["height"] > 2_000
    expect(panel.root.get_by_role("button").locator("visible=true")).to_have_count(0)


CHIPS = [{"id": "a1", "label": "@df", "tokens": 3}, {"id": "a2", "label": "@x", "tokens": 3}]
QUEUE = [{"id": "q1", "text": "one"}, {"id": "q2", "text": "two"}]


def test_who_removes_an_attachment_with_the_keyboard_stays_in_the_panel(panel):
    panel.deliver({"kind": "chips", "chips": CHIPS})
    panel.button("Remove @df").press("Enter")
    panel.deliver({"kind": "chips", "chips": CHIPS[1:]})
    expect(panel.composer).to_be_focused()


def test_what_has_the_focus_keeps_it_where_another_attachment_comes(panel):
    panel.deliver({"kind": "chips", "chips": CHIPS[:1]})
    panel.button("Remove @df").focus()
    panel.deliver({"kind": "chips", "chips": CHIPS})
    expect(panel.button("Remove @df")).to_be_focused()


def test_a_prompt_is_taken_back_also_where_the_head_changes_while_one_presses(panel):
    panel.head(state="running", queue=QUEUE)
    panel.button("Do not send").first.hover()
    panel.page.mouse.down()
    panel.head(state="running", queue=QUEUE, spent="$0.32")
    panel.page.mouse.up()
    assert panel.sent("unqueue") == [{"do": "unqueue", "id": "q1"}]


def test_an_error_is_said_once_to_a_screen_reader_whatever_is_noticed_after_it(panel):
    panel.deliver({"kind": "notice", "level": "error", "text": "That failed."})
    alert = panel.root.get_by_role("alert").element_handle()
    panel.deliver({"kind": "notice", "level": "info", "text": "Copied."})
    assert alert.evaluate("node => node.isConnected")


def test_who_dismisses_a_notice_with_the_keyboard_stays_in_the_panel(panel):
    panel.deliver({"kind": "notice", "level": "error", "text": "That failed."})
    panel.button("Dismiss").press("Enter")
    expect(panel.composer).to_be_focused()


def test_the_menu_is_worked_by_arrows_and_escape(panel):
    panel.button("More").focus()
    panel.page.keyboard.press("Enter")
    expect(panel.root.get_by_role("menuitem").first).to_be_focused()
    panel.page.keyboard.press("ArrowDown")
    panel.page.keyboard.press("ArrowDown")
    expect(panel.root.get_by_role("menuitem", name="Set a budget…")).to_be_focused()
    panel.page.keyboard.press("Escape")
    expect(panel.root.get_by_role("menu")).to_be_hidden()
    expect(panel.button("More")).to_be_focused()


def test_no_key_reaches_the_page_around_it(panel):
    panel.page.evaluate(
        "() => { window.keys = []; addEventListener('keydown', (e) => keys.push(e.key)); }"
    )
    panel.composer.press_sequentially("dd")
    panel.composer.press("Escape")
    panel.button("Search").press("a")
    assert panel.page.evaluate("keys") == []
    expect(panel.root).to_have_attribute("data-lm-suppress-shortcuts", "true")


@pytest.mark.parametrize("width", [300, 360, 900])
def test_nothing_is_wider_than_the_panel(open_panel, width):
    wide = "<table><tr>" + "<td>wide column</td>" * 20 + "</tr></table>"
    panel = open_panel([turn(1, "x" * 300, wide, ANSWER, code=[CODE])], width=width)
    panel.head(state="running", queue=[{"id": "1", "text": "y" * 200}])
    panel.composer.fill("z")
    panel.deliver({"kind": "asked", "call": "c1", "question": dict(QUESTION)})
    assert panel.page.evaluate("document.documentElement.scrollWidth") <= width
    inside = "log => log.scrollWidth <= log.clientWidth"
    assert panel.log.evaluate(inside)
    beyond = panel.page.evaluate(
        """(width) => [...document.querySelectorAll("button, select, textarea")].filter((node) =>
            node.checkVisibility() && node.getBoundingClientRect().right > width)
            .map((node) => node.outerHTML.slice(0, 80))""",
        width,
    )
    assert beyond == []


MUCH = {
    "an error of 100 kB": {"kind": "notice", "level": "error", "text": "E" * 100_000},
    "the most attachments": {
        "kind": "chips",
        "chips": [{"id": f"a{n}", "label": f"measured-{n}-{'long' * 15}.csv"} for n in range(20)],
    },
}


@pytest.mark.parametrize("message", MUCH.values(), ids=MUCH)
@pytest.mark.parametrize("size", [(900, 760), (320, 256)])
def test_however_much_is_noticed_or_attached_one_can_read_and_type(open_panel, message, size):
    panel = open_panel(PAST, width=size[0], height=size[1])
    panel.deliver(message)
    assert_in_the_panel(panel, ".alloy-send", ".alloy-area", ".alloy-log")


def test_however_many_prompts_wait_one_can_read_and_type(open_panel):
    panel = open_panel(PAST)
    queue = [{"id": f"q{n}", "text": f"prompt {n}"} for n in range(30)]
    panel.head(state="running", queue=queue)
    assert_in_the_panel(panel, ".alloy-stop", ".alloy-area", ".alloy-log")


def assert_in_the_panel(panel, *parts):
    place = panel.root.bounding_box()
    for part in parts:
        box = panel.root.locator(part).bounding_box()
        assert box["height"] >= 28, part
        assert box["y"] + box["height"] <= place["y"] + place["height"], part


def test_a_wide_table_scrolls_in_a_narrow_panel_and_breaks_no_number(open_panel):
    wide = "<table><tr>" + "<td>1234.5</td>" * 20 + "</tr></table>"
    panel = open_panel([turn(1, "x", wide)], width=300)
    output = panel.log.locator(".alloy-output", has=panel.page.locator("table"))
    assert output.locator("td").first.evaluate("cell => cell.scrollHeight") < 40
    assert output.evaluate("node => node.scrollWidth > node.clientWidth")


def test_a_narrow_panel_folds_its_settings_away(open_panel):
    panel = open_panel(PAST, width=360)
    data = panel.root.get_by_role("combobox", name="Data")
    expect(data).to_be_hidden()
    panel.button("Settings").click()
    data.select_option("full")
    assert panel.sent("set") == [{"do": "set", "what": "data", "value": "full"}]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast_in_both_themes(open_panel, scheme):
    panel = open_panel(PAST, scheme=scheme)
    panel.head(approve="all", state="running", queue=[{"id": "1", "text": "next"}])
    panel.deliver(
        {"kind": "notice", "level": "error", "text": "no"},
        {"kind": "chips", "chips": [{"id": "1", "label": "a", "tokens": 3, "problem": "bad"}]},
        {"kind": "asked", "call": "c1", "question": dict(QUESTION)},
    )
    panel.composer.fill("x")
    # The status is for screen readers alone.
    assert faint(panel.root, besides=":disabled, option, optgroup, [role=status]") == []


def test_the_answer_is_no_live_region_and_the_state_is(panel):
    expect(panel.log).to_have_attribute("aria-live", "off")
    panel.deliver({"kind": "begin", "turn": live()})
    expect(panel.root.get_by_role("status")).to_have_text("Answering.")


def test_the_head_of_the_page_tests_has_every_key_that_the_panel_reads():
    assert set(HEAD) >= {"session", "sessions", "branches", "model", "models", "queue", "kept"}


def test_a_text_from_right_to_left_begins_at_the_right(open_panel):
    words = "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd."
    prompt = {"html": f"<div>{words}</div>", "text": words, "chips": [], "images": []}
    panel = open_panel([turn(1, "", f"<p>{words}</p>", prompt=prompt)])
    for name in (".alloy-said div", ".alloy-output p"):
        node = panel.log.locator(name).first
        ends = node.evaluate(
            """(node) => {
                const range = document.createRange();
                range.selectNodeContents(node);
                const text = range.getBoundingClientRect(), box = node.getBoundingClientRect();
                const last = node.firstChild;
                range.setStart(last, last.length - 1);
                const stop = range.getBoundingClientRect();
                return [box.right - text.right, stop.left - text.left];
            }"""
        )
        assert ends == [pytest.approx(0, abs=1), pytest.approx(0, abs=1)], name


# --- in a notebook --------------------------------------------------------------------------------


def in_notebook(panel, html, into):
    """Put the panel into nodes as JupyterLab has them."""
    panel.page.evaluate(
        """async ([html, into]) => {
            document.querySelector("main").insertAdjacentHTML("beforeend", html);
            const el = document.createElement("div");
            leaves.first();
            leaves.first = await module.render({model, el});
            document.querySelector(into).append(el);
            await new Promise((go) => requestAnimationFrame(() => setTimeout(go, 60)));
        }""",
        [html, into],
    )


def test_the_conversation_that_the_notebook_keeps_is_not_shown_beside_the_panel(panel):
    kept = '<div class="alloy-transcript">kept</div>'
    child = '<div class="jp-OutputArea-child"><div class="{}"></div>{}</div>'
    area = child.format("here", "") + child.format("", kept) + child.format("", "other output")
    in_notebook(panel, f'<div class="jp-OutputArea">{area}</div>', ".here")
    expect(panel.page.locator(".alloy-transcript")).to_be_hidden()
    expect(panel.page.get_by_text("other output")).to_be_visible()
    panel.page.evaluate("leaves.first()")
    expect(panel.page.locator(".alloy-transcript")).to_be_visible()


# Two of JupyterLab's: what they ask of any node costs a walk through all that it holds.
_JUPYTERLAB = """
.jp-DirListing-itemName:not([style*='width']) > .jp-DirListing-itemText { color: inherit; }
.jp-BreadCrumbs:hover:not(:has(.jp-BreadCrumbs-content:hover)) { color: inherit; }
"""


def test_scrolling_up_makes_the_notebook_style_nothing_anew_that_holds_the_turns(
    browser, open_panel
):
    panel = open_panel(MANY, total=2000)
    panel.page.add_style_tag(content=_JUPYTERLAB)
    child = '<div class="jp-OutputArea-child"><div class="jp-OutputArea-output">{}</div></div>'
    kept = '<div class="alloy-transcript">kept</div>'
    area = child.format('<div class="here"></div>') + child.format(kept)
    in_notebook(panel, f'<div class="jp-OutputArea">{area}</div>', ".here")
    older = [turn(n, f"number {n}?", "<p>some words</p>") for n in range(1921, 1941)]
    panel.log.hover()
    with styled_anew(browser, panel) as nodes:
        for _ in range(4):
            panel.page.mouse.wheel(0, -300)
            panel.page.wait_for_timeout(100)
        panel.deliver({"kind": "older", "turns": older, "first": 1920, "total": 2000})
    assert "ARTICLE class='alloy-turn'" in nodes
    assert [name for name in nodes if "jp-OutputArea" in name or "alloy-log" in name] == []


@contextlib.contextmanager
def styled_anew(browser, panel):
    """Give a set of the nodes below which the browser looks for what has to be styled anew."""
    nodes = set()
    kind = "disabled-by-default-devtools.timeline.invalidationTracking"
    browser.start_tracing(page=panel.page, categories=["devtools.timeline", kind])
    try:
        yield nodes
    finally:
        trace = browser.stop_tracing()
    for event in json.loads(trace)["traceEvents"]:
        if event["name"] == "ScheduleStyleInvalidationTracking":
            nodes.add(event["args"]["data"]["nodeName"])


@pytest.mark.parametrize("place", ["jupyterlab-sidecar", "jp-LinkedOutputView"])
def test_in_an_area_of_its_own_it_is_as_high_as_that_is(panel, place):
    side = f'<div class="{place}" style="height: 420px"><div class="here"></div></div>'
    in_notebook(panel, side, ".here")
    assert panel.root.bounding_box()["height"] == pytest.approx(412, abs=1)
    panel.page.evaluate(f"document.querySelector('.{place}').style.height = '500px'")
    panel.page.wait_for_function("document.querySelector('.alloy-panel').offsetHeight === 492")


def test_saving_is_left_to_the_notebook_and_no_other_key_is(panel):
    book = '<div class="jp-NotebookPanel"><div class="here"></div></div>'
    in_notebook(panel, book, ".here")
    panel.page.evaluate(
        """() => {
            window.keys = [];
            addEventListener("keydown", (e) => keys.push([e.key, e.ctrlKey, e.target.className]));
        }"""
    )
    panel.composer.press("Control+s")
    panel.composer.press("Control+b")
    assert panel.page.evaluate("keys") == [["s", True, "jp-NotebookPanel"]]


def test_what_is_noticed_again_stands_there_once(panel):
    for text in ("That failed.", "And that.", "That failed."):
        panel.deliver({"kind": "notice", "level": "error", "text": text})
    expect(panel.root.get_by_role("alert")).to_have_text(["And that.", "That failed."])


def test_what_is_good_to_know_goes_by_itself_and_what_went_wrong_stays(panel):
    panel.page.clock.install()
    panel.deliver(
        {"kind": "notice", "level": "error", "text": "no"},
        {"kind": "notice", "level": "info", "text": "yes"},
    )
    expect(panel.root.locator(".alloy-notice")).to_have_text(["no", "yes"])
    panel.page.clock.run_for(11_000)
    expect(panel.root.locator(".alloy-notice")).to_have_text(["no"])
    panel.button("Dismiss").click()
    expect(panel.root.locator(".alloy-notice")).to_have_count(0)


def test_an_open_menu_outlives_an_output_that_is_drawn_anew(panel):
    panel.button("More").click()
    panel.page.evaluate(
        """async () => {
            const el = document.createElement("div");
            document.getElementById("first").remove();
            await new Promise((go) => setTimeout(go, 50));
            await module.render({model, el});
            document.querySelector("main").append(el);
        }"""
    )
    expect(panel.root.get_by_role("menu")).to_be_visible()
    expect(panel.root.get_by_role("menuitem").first).to_be_focused()


def test_what_grows_below_the_end_is_followed_also_where_the_composer_grows_with_it(open_panel):
    panel = open_panel(MANY)
    panel.head(queue=[{"id": "1", "text": "next"}, {"id": "2", "text": "more"}], state="running")
    panel.deliver(
        {"kind": "begin", "turn": turn(2001, "go", "<p>x</p>", state="live")},
        {"kind": "notice", "level": "error", "text": "one\ntwo"},
        {"kind": "asked", "call": "c1", "question": dict(QUESTION)},
    )
    panel.page.wait_for_function(f"({_GAP})(document.querySelector('.alloy-log')) <= 2")
    expect(panel.button("Allow once")).to_be_in_viewport()

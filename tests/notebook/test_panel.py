"""The panel's kernel side: what its front end is told, whoever begins a turn."""

import json
import sys
import threading

import pytest

from alloy_nb.engine.sessions.session import Session
from alloy_nb.errors import ConfigError
from alloy_nb.messages import Image
from alloy_nb.notebook.drawing.conversation import Said
from alloy_nb.notebook.drawing.render import Bundle
from alloy_nb.notebook.panel import open_panel
from alloy_nb.notebook.panel.saved import Saved, saved
from alloy_nb.testing import FOREVER
from tests.engine.scripted import Scripted, calls, says
from tests.kernel.panel_client import Store, html_of
from tests.notebook.panels import front_end
from tests.notebook.scripting import magics, refused, scripted

KEY = "sk-ant-api03-canary0123456789abcdefghij"
DOT = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5Erk"
    "Jggg=="
)


@pytest.fixture
def page():
    with front_end() as running:
        yield running


@pytest.fixture
def panel(cell, shell, page):
    """Give a panel of the main conversation, as the cell that shows it leaves it."""
    scripted(shell)
    cell("%alloy panel")
    return magics(shell).desk.panels.open[0]


def says_on(shell, *script):
    return scripted(shell, *script)


def asked(store):
    return [turn["prompt"]["text"] for turn in store.turns]


# --- asking ---------------------------------------------------------------------------------------


def test_a_prompt_of_the_panel_is_answered_there(panel, page, shell):
    says_on(shell, says("Because **so**."))
    panel.ask("why?")
    turn = page.over(panel, 1)[0]
    assert turn["prompt"]["text"] == "why?"
    assert "<strong>so</strong>" in html_of(turn)
    assert (turn["state"], turn["turn"]) == ("done", 1)


def test_what_is_asked_meanwhile_waits_in_order(panel, page, shell):
    says_on(shell, [*says("one")[:2], FOREVER], says("two"), says("three"))
    for text in ("a", "b", "c"):
        panel.ask(text, id=text)
    page.until(lambda: [r["id"] for r in panel.queue] == ["b", "c"])
    panel.stop()
    page.over(panel, 3)
    assert asked(page.store(panel)) == ["a", "b", "c"]


def test_what_waits_can_be_taken_back(panel, page, shell):
    says_on(shell, [*says("x")[:2], FOREVER], says("later"))
    panel.ask("first")
    outcome = panel.ask("second", id="s")
    page.until(lambda: page.store(panel).live and panel.queue)
    assert panel.unqueue("s")
    assert outcome.result(30) is None
    assert not panel.unqueue("s")
    panel.stop()
    assert asked_after(panel, page, 1) == ["first"]


def asked_after(panel, page, turns):
    page.over(panel, turns)
    return asked(page.store(panel))


def test_flags_before_a_prompt_mean_what_they_mean_in_a_cell(panel, page, shell):
    says_on(shell, says("7"))
    panel.ask("-o answer how many?")
    page.over(panel, 1)
    assert shell.user_ns["answer"].text == "7"


def test_a_prompt_that_begins_as_a_command_is_a_prompt(panel, page, shell):
    model = says_on(shell, says("ok"))
    panel.ask("reset the index of df, please")
    page.over(panel, 1)
    assert model.requests[0].messages[-1].text == "reset the index of df, please"


def test_a_reference_is_resolved_as_in_a_cell(panel, page, shell):
    model = says_on(shell, says("ok"))
    shell.user_ns["numbers"] = [1, 2, 3]
    panel.ask("what is @numbers?")
    page.over(panel, 1)
    assert '<reference name="numbers">' in model.requests[0].messages[-1].text
    assert page.store(panel).turns[0]["prompt"]["text"] == "what is @numbers?"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("--bg why?", "never holds up a cell"),
        ("--dry-run why?", "in a cell"),
        ("-s other why?", "at the top of the panel"),
        ("-m a,b why?", "%%alloy -m a,b"),
        ("--nonsense why?", "Unknown flag --nonsense"),
        ("-q", "no prompt"),
        ("-i nothing_of_the_kind why?", "no such variable"),
    ],
)
def test_what_cannot_be_asked_is_told_and_given_back(panel, page, text, told):
    assert panel.ask(text, id="x").result(30) is None
    page.until(lambda: page.told(panel, "draft"))
    assert told in page.store(panel).notices[-1]
    assert page.told(panel, "draft")[-1]["text"] == text
    assert page.store(panel).turns == []


def test_a_failure_is_a_turn_that_says_so(panel, page, shell):
    says_on(shell, ConfigError("there is no such model"))
    panel.ask("why?")
    turn = page.over(panel, 1)[0]
    assert turn["state"] == "failed"
    assert "there is no such model" in html_of(turn)


def test_a_value_of_a_type_is_shown_and_kept(panel, page, shell):
    says_on(shell, calls(("answer", {"value": 7})))
    panel.ask("--as int -o made how many?")
    turn = page.over(panel, 1)[0]
    assert shell.user_ns["made"] == 7
    assert [o["html"] for o in turn["outputs"] if o["part"] == "display"]


def test_a_question_on_the_side_is_shown_and_is_none_of_the_conversation(panel, page, shell):
    says_on(shell, says("aside"), says("kept"))
    panel.ask("--once by the way?")
    panel.ask("and now?")
    first, second = page.over(panel, 2)
    assert (first["turn"], second["turn"]) == (None, 1)
    assert len(magics(shell).session().messages) == 2


def test_a_picture_goes_along_and_is_shown_with_the_prompt(panel, page, shell):
    model = says_on(shell, says("a dot"))
    data = DOT
    panel.ask("what?", media=[Image(data=data)], chips=[{"label": "dot.png", "tokens": 9}])
    turn = page.over(panel, 1)[0]
    assert turn["prompt"]["images"] == [f"data:image/png;base64,{data}"]
    assert turn["prompt"]["chips"] == [{"label": "dot.png", "tokens": 9}]
    assert any(isinstance(b, Image) for b in model.requests[0].messages[-1].content)


# --- stopping -------------------------------------------------------------------------------------


def test_stop_keeps_what_was_said_and_the_next_turn_is_valid(panel, page, shell):
    says_on(shell, [*says("half of it ")[:3], FOREVER], says("fine"))
    panel.ask("go")
    page.until(lambda: "half of" in page.store(panel).html)
    panel.stop()
    assert page.over(panel, 1)[0]["state"] == "stopped"
    assert "half of it" in html_of(page.store(panel).turns[0])
    panel.ask("again")
    assert page.over(panel, 2)[1]["state"] == "done"


def test_a_cell_stops_a_turn_of_the_panel(panel, page, shell, cell):
    says_on(shell, [*says("half of it ")[:3], FOREVER])
    panel.ask("go")
    page.until(lambda: "half of" in page.store(panel).html)
    assert "main is stopped" in cell("%alloy stop").text
    assert page.over(panel, 1)[0]["state"] == "stopped"


def test_what_is_asked_on_the_side_is_stopped_too(panel, page, shell):
    says_on(shell, [*says("half of it ")[:3], FOREVER])
    panel.ask("--once go")
    page.until(lambda: "half of" in page.store(panel).html)
    panel.stop()
    assert page.over(panel, 1)[0]["state"] == "stopped"


def test_the_panel_stops_a_turn_that_a_program_began(panel, page, shell):
    says_on(shell, [*says("x")[:2], FOREVER])
    session = magics(shell).session()
    asking = threading.Thread(target=session.chat, args=("go",))
    asking.start()
    page.until(lambda: page.store(panel).live)
    panel.stop()
    asking.join(30)
    assert not asking.is_alive()
    assert page.over(panel, 1)[0]["state"] == "stopped"


# --- turns of others ------------------------------------------------------------------------------


def test_a_turn_of_a_cell_shows_in_the_panel(panel, page, shell, cell):
    says_on(shell, says("From the **cell**."))
    cell("%%alloy\nwhy?")
    turn = page.over(panel, 1)[0]
    assert turn["prompt"]["text"] == "why?"
    assert "<strong>cell</strong>" in html_of(turn)


def test_a_turn_of_the_panel_is_in_the_conversation_of_the_cells(panel, page, shell, cell):
    says_on(shell, says("From the panel."))
    panel.ask("why?")
    page.over(panel, 1)
    assert "From the panel." in cell("%alloy history").text


def test_turns_of_a_program_show_one_after_the_other(panel, page, shell):
    session = magics(shell).session()
    session.set_model(Scripted(*[says(f"answer {n}") for n in range(20)]))
    for number in range(20):
        session.chat(f"question {number}")
    page.over(panel, 20)
    assert asked(page.store(panel)) == [f"question {n}" for n in range(20)]
    assert "answer 19" in html_of(page.store(panel).turns[19])


@pytest.mark.parametrize(
    ("command", "left"),
    [("%alloy undo", ["a", "b"]), ("%alloy reset", []), ("%%alloy --at 2\nnew", ["a", "new"])],
)
def test_what_a_cell_takes_away_goes_from_the_panel(panel, page, shell, cell, command, left):
    says_on(shell, *[says("x")] * 5)
    for text in "abc":
        cell(f"%%alloy\n{text}")
    page.over(panel, 3)
    cell(command)
    page.until(lambda: asked(page.store(panel)) == left)


def test_a_branch_is_shown_as_it_is(cell, shell, page):
    cell("%config Alloy.journal = 'on'\n%alloy approve all")
    says_on(shell, *[says(f"x{n}") for n in range(6)])
    for text in "ab":
        cell(f"%%alloy\n{text}")
    cell("%alloy panel")
    panel = magics(shell).desk.panels.open[0]
    cell("%%alloy --fork other\nc")
    page.until(lambda: asked(page.store(panel)) == ["a", "b", "c"])
    cell("%alloy use main")
    page.until(lambda: asked(page.store(panel)) == ["a", "b"])
    cell("%alloy use other")
    page.until(lambda: asked(page.store(panel)) == ["a", "b", "c"])


def test_hiding_and_pinning_in_a_cell_are_marked(panel, page, shell, cell):
    says_on(shell, *[says("x")] * 2)
    for text in "ab":
        cell(f"%%alloy\n{text}")
    page.over(panel, 2)
    cell("%alloy hide 1")
    cell("%alloy pin 2")
    page.until(lambda: [t["hidden"] for t in page.store(panel).turns] == [True, False])
    page.until(lambda: [t["pinned"] for t in page.store(panel).turns] == [False, True])


def test_another_model_is_in_the_head(panel, page, shell, cell):
    says_on(shell)
    magics(shell).session().set_model(Scripted(name="another"))
    page.until(lambda: "another" in str(page.store(panel).head))


def test_a_conversation_that_takes_its_place_is_followed(panel, page, shell, cell):
    says_on(shell, says("before"))
    panel.ask("a")
    page.over(panel, 1)
    desk = magics(shell).desk
    other = desk.sessions["main"] = desk.begun("main", None)
    other.set_model(Scripted(says("after")))
    cell("1")
    page.until(lambda: panel.session is other and page.store(panel).turns == [])
    panel.ask("b")
    page.over(panel, 1)
    assert "after" in page.store(panel).html


# --- who comes later ------------------------------------------------------------------------------


def test_messages_are_counted_whoever_sends_them(panel, page, shell):
    says_on(shell, says("One."))
    threads = [threading.Thread(target=panel.notice, args=(str(n),)) for n in range(20)]
    panel.ask("why?")
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    page.over(panel, 1)
    numbers = [message["n"] for message in page.told(panel)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_front_end_that_has_heard_nothing_for_long_is_told_the_count_and_the_head(panel, page):
    before, heard = len(page.told(panel)), len(page.messages)
    panel.hear({"do": "still"})
    assert page.told(panel)[before:] == [{"kind": "still", "n": before + 1}]
    updates = [data["state"] for _, _, data in page.messages[heard:] if data["method"] == "update"]
    assert [state["head"]["state"] for state in updates] == ["idle"]


def test_a_front_end_that_comes_in_the_middle_is_told_all(panel, page, shell):
    says_on(shell, says("one"), [*says("half of it ")[:3], FOREVER])
    panel.ask("a")
    page.over(panel, 1)
    panel.ask("b")
    page.until(lambda: "half of" in page.store(panel).html)
    late = Store(panel.get_state())
    before = len(page.told(panel))
    panel.hear({"do": "hello", "version": late.version})
    page.until(lambda: [m for m in page.told(panel)[before:] if m["kind"] == "live"])
    for message in page.told(panel)[before:]:
        late.take(message)
    panel.stop()
    page.over(panel, 2)
    assert asked(late) == ["a"]
    assert late.live["prompt"]["text"] == "b"
    assert "half of" in late.html


def test_turns_are_told_again_only_to_who_lacks_them(panel, page, shell):
    says_on(shell, says("one"))
    panel.ask("a")
    page.over(panel, 1)
    for version, times in ((panel.feed.version, 0), (None, 1), (-3, 2)):
        panel.hear({"do": "hello", "version": version})
        lives = len(page.told(panel, "live"))
        page.until(lambda lives=lives: len(page.told(panel, "live")) >= lives)
        page.until(lambda times=times: len(page.told(panel, "turns")) >= times)
    assert len(page.told(panel, "turns")) == 2


def test_turns_are_not_sent_as_traits_when_they_change(panel, page, shell):
    says_on(shell, says("one"))
    panel.ask("a")
    page.over(panel, 1)
    panel.get_state()
    updates = [d["state"] for _, k, d in page.messages if d.get("method") == "update"]
    assert not [state for state in updates if {"entries", "total", "version"} & state.keys()]


def test_two_panels_of_one_conversation_mirror(panel, page, shell):
    from alloy_nb.notebook.panel.panel import Panel

    says_on(shell, says("one"))
    other = Panel(panel.panels, panel.session)
    panel.ask("a")
    page.over(panel, 1)
    page.over(other, 1)
    assert page.store(panel).html == page.store(other).html
    assert [m["kind"] for m in page.told(panel)] == [m["kind"] for m in page.told(other)]


def test_a_closed_panel_is_told_nothing_and_the_other_goes_on(panel, page, shell):
    from alloy_nb.notebook.panel.panel import Panel

    says_on(shell, says("one"))
    other = Panel(panel.panels, panel.session)
    other.close()
    assert other.comm is None
    panel.ask("a")
    page.over(panel, 1)


def test_the_same_panel_is_shown_again_for_the_same_conversation(panel, shell, cell):
    cell("%alloy panel")
    assert len(magics(shell).desk.panels.open) == 1
    cell("%alloy panel -s other")
    assert len(magics(shell).desk.panels.open) == 2


def test_a_panel_at_the_side_without_its_package_says_what_to_install(cell, shell, monkeypatch):
    monkeypatch.setitem(sys.modules, "sidecar", None)
    said = refused(cell("%alloy panel side"))
    assert "pip install sidecar" in said
    assert "Create New View for Cell Output" in said
    assert magics(shell).desk.panels is None


@pytest.fixture
def kept(cell, page, shell, tmp_path, monkeypatch):
    """Give the panel of a conversation that is kept on the disk."""
    monkeypatch.chdir(tmp_path)
    cell("%config Alloy.journal = 'on'\n%alloy approve all")
    assert cell("%alloy What is 6 * 7?").ok
    cell("%alloy panel")
    return magics(shell).desk.panels.open[0]


def test_a_panel_whose_conversation_is_forgotten_in_a_cell_begins_a_new_one(kept, cell, page):
    forgotten = kept.session
    assert "wiped" in cell("%alloy forget").text
    page.until(lambda: kept.session is not forgotten)
    kept.ask("What is 6 * 7?")
    assert page.over(kept, 1)[0]["state"] == "done"
    assert cell("%alloy What is 6 * 7?").ok


def test_a_panel_that_is_late_does_not_bring_back_what_was_forgotten(kept, cell, page, shell):
    late = threading.Event()
    kept.later(lambda: late.wait(30))
    assert cell("%alloy export said.json\n%alloy import said.json --force").ok
    cell("pass")  # the panel is to follow it from here on
    imported = magics(shell).desk.session()
    assert "wiped" in cell("%alloy forget").text
    late.set()
    page.until(lambda: not kept._order.is_busy)
    assert magics(shell).desk.sessions.get("main") is not imported
    assert cell("%alloy model demo/demo").ok


def test_a_panel_opened_in_the_middle_of_a_turn_shows_it(cell, shell, page):
    says_on(shell, [*says("half of it ")[:3], FOREVER])
    session = magics(shell).session()
    asking = threading.Thread(target=session.chat, args=("go",))
    asking.start()
    page.until(lambda: session.run)
    cell("%alloy panel")
    panel = magics(shell).desk.panels.open[0]
    panel.hear({"do": "hello"})
    page.until(lambda: "half of" in page.store(panel).html)
    panel.stop()
    asking.join(30)
    page.over(panel, 1)


def test_unloading_closes_the_panels(panel, page, shell, cell):
    cell("%unload_ext alloy_nb")
    assert panel.comm is None
    assert len(page.closed) >= 1


# --- older turns ----------------------------------------------------------------------------------


def test_older_turns_come_when_they_are_asked_for(cell, shell, page):
    session = magics(shell).session()
    session.set_model(Scripted(*[says(f"answer {n}") for n in range(100)]))
    for number in range(100):
        session.chat(f"q{number}")
    cell("%alloy panel")
    panel = magics(shell).desk.panels.open[0]
    store = page.store(panel)
    assert (len(store.turns), store.total) == (60, 100)
    while len(store.turns) < 100:
        count = len(store.turns)
        panel.hear({"do": "older", "before": 100 - count})
        page.until(lambda count=count: len(store.turns) > count)
    assert asked(store) == [f"q{n}" for n in range(100)]
    assert page.told(panel, "older")[0]["first"] == 20


def test_a_turn_of_the_past_is_drawn_as_one_of_now(panel, page, shell, cell):
    says_on(shell, calls(("python", {"code": "6 * 7"})), says("It is **42**."))
    cell("%%alloy --approve all\nwhy?")
    now = page.over(panel, 1)[0]
    panel.close()
    cell("%alloy panel")
    again = page.store(magics(shell).desk.panels.open[0]).turns[0]
    for part in ("text", "tool"):
        of = [[o["html"] for o in t["outputs"] if o["part"] == part] for t in (now, again)]
        assert len(of[0]) == len(of[1]) == 1
    assert "<strong>42</strong>" in html_of(again)
    assert "6 * 7" in html_of(again)
    assert (now["facts"]["tokens"], now["at"]) == (again["facts"]["tokens"], again["at"])


# --- code -----------------------------------------------------------------------------------------

FENCED = "Do:\n\n```python\na = '<b>'\n```\n\nor\n\n    indented()\n\nand\n\n```\nplain\n```\n"


def test_the_code_of_an_answer_is_what_the_page_shows_of_it(panel, page, shell):
    says_on(shell, says(FENCED))
    panel.ask("how?")
    assert page.over(panel, 1)[0]["code"] == ["a = '<b>'", "indented()", "plain"]


def test_a_long_block_of_code_is_whole_once_the_turn_is_over(panel, page, shell):
    code = "\n".join(f"line_{n} = {n}" for n in range(900))
    says_on(shell, says("Do:\n\n```python\n", *[f"{line}\n" for line in code.split("\n")], "```\n"))
    panel.ask("how?")
    turn = page.over(panel, 1)[0]
    assert turn["code"] == [code]
    assert sum(o["part"] == "text" for o in turn["outputs"]) == 1


# --- where there is none --------------------------------------------------------------------------


def test_without_widgets_one_sentence_says_so(cell):
    ran = cell("%alloy panel")
    assert "There is no notebook here" in ran.text
    assert "Traceback" not in ran.text


def test_a_session_that_no_desk_knows_is_taken_in(cell, shell, page):
    session = Session(provider=Scripted(says("hi")), name="mine")
    panel = session.panel()
    assert panel is open_panel(session)
    panel.ask("hello?")
    page.over(panel, 1)
    assert magics(shell).desk.sessions["mine"] is session


def test_a_name_that_is_taken_gets_a_number(cell, shell, page):
    magics(shell).session("mine")
    panel = Session(provider=Scripted(says("hi")), name="mine").panel()
    panel.ask("hello?")
    page.over(panel, 1)
    assert panel.key == "mine 2"


def test_the_extension_is_loaded_if_it_is_not(cell, shell, page):
    cell("%unload_ext alloy_nb")
    session = Session(provider=Scripted(says("hi")))
    assert session.panel().session is session
    cell("%load_ext alloy_nb")


# --- what is said in it ---------------------------------------------------------------------------


def test_an_unknown_message_is_told_in_the_panel(panel, page):
    for content in ({"do": "no such thing"}, {}, None, [], {"do": ["ask"]}, {"do": 7}):
        before = len(page.store(panel).notices)
        panel.hear(content)
        assert len(page.store(panel).notices) == before + 1


def test_what_goes_wrong_is_a_notice_without_keys(panel, page):
    def fails():
        raise RuntimeError(f"no such thing as {KEY}")

    panel.guarded(fails)
    assert "That failed: RuntimeError: no such thing as" in page.store(panel).notices[-1]
    assert KEY not in page.store(panel).notices[-1]


def test_a_function_that_fails_on_a_thread_is_told_too(panel, page):
    def fails():
        raise ConfigError("this cannot be")

    panel.later(fails)
    page.until(lambda: "this cannot be" in page.store(panel).notices)


def test_no_key_travels(panel, page, shell, cell):
    says_on(shell, says(f"Your key is {KEY}."), says(f"It is still {KEY}."))
    cell(f"%%alloy\nmy key is {KEY}")
    page.over(panel, 1)
    panel.ask(f"and {KEY}?")
    page.over(panel, 2)
    panel.get_state()
    assert KEY not in str(page.messages)
    assert KEY not in str(panel._bundle())


# --- one after the other --------------------------------------------------------------------------


def test_a_prompt_comes_after_what_was_chosen_before_it(panel, page, shell):
    gate, done = threading.Event(), []

    def choose():
        assert gate.wait(30)
        done.append("chosen")

    model = says_on(shell, lambda _: done.append("asked") or says("ok"))
    panel.later(choose)
    panel.hear({"do": "ask", "text": "go", "id": "g"})
    assert model.requests == []
    gate.set()
    page.over(panel, 1)
    assert done == ["chosen", "asked"]


def test_what_asks_itself_holds_up_no_prompt(panel, page, shell):
    says_on(shell, says("one"), says("two"))
    came = []
    panel.later(lambda: came.append(panel.ask("first").result(30).text))
    panel.hear({"do": "ask", "text": "second", "id": "s"})
    page.over(panel, 2)
    page.until(lambda: came == ["one"])
    assert asked(page.store(panel)) == ["first", "second"]


def test_what_fails_holds_up_nothing(panel, page, shell):
    says_on(shell, says("one"))

    def fails():
        raise ConfigError("this cannot be")

    panel.later(fails)
    panel.hear({"do": "ask", "text": "go", "id": "g"})
    page.over(panel, 1)


def test_what_needs_no_order_waits_for_nobody(panel, page):
    gate, came = threading.Event(), threading.Event()
    panel.later(lambda: gate.wait(30))
    panel.later(came.set, in_order=False)
    assert came.wait(30)
    gate.set()


# --- in the notebook ------------------------------------------------------------------------------

VIEW = "application/vnd.jupyter.widget-view+json"


def test_the_view_and_the_conversation_are_two_outputs(cell, shell, page):
    says_on(shell, says("For the **record**."))
    cell("%%alloy\nwhy?")
    view, kept = cell("%alloy panel").displays
    assert set(view.data) == {VIEW, "text/plain"}
    assert "<strong>record</strong>" in kept.data["text/html"]
    assert 'class="alloy-transcript" data-panel=' in kept.data["text/html"]
    assert {"text/html", "text/markdown", "text/plain"} == set(kept.data)


@pytest.mark.parametrize("where", ["vscode", "colab"])
def test_where_nothing_would_hide_it_they_are_one(cell, shell, page, monkeypatch, where):
    if where == "vscode":
        monkeypatch.setitem(shell.user_ns, "__vsc_ipynb_file__", "/x.ipynb")
    else:
        monkeypatch.setitem(sys.modules, "google.colab", object())
    (only,) = cell("%alloy panel").displays
    assert {VIEW, "text/html", "text/markdown", "text/plain"} == set(only.data)


def test_a_cell_that_ends_shows_the_conversation_anew(panel, page, shell, cell):
    says_on(shell, says("For the record."))
    panel.ask("why?")
    page.over(panel, 1)
    panel._saved._timer.cancel()  # it is not the clock that does it
    shown = []
    panel._publish = lambda data, *_, **more: shown.append((data["text/plain"], more))
    cell("1")
    cell("2")
    assert len(shown) == 1
    assert "For the record." in shown[0][0]
    assert shown[0][1] == {"transient": {"display_id": panel._kept_id}, "update": True}


class Clock:
    """A loop on which time passes when it is told to."""

    def __init__(self):
        self.now = 0.0
        self.due = []

    def time(self):
        return self.now

    def call_later(self, delay, callback):
        self.due.append((self.now + delay, callback))
        return self

    def cancel(self):
        self.due.clear()

    def pass_to(self, moment):
        while self.due and min(self.due)[0] <= moment:
            first = min(self.due, key=lambda one: one[0])
            self.due.remove(first)
            self.now = max(self.now, first[0])
            first[1]()
        self.now = moment


def shown_in(turns, size, seconds_each=1.0):
    """Return what a conversation of so many turns costs in the notebook, and when it was shown."""
    clock, shown = Clock(), []
    saved = Saved(clock, lambda: shown.append((clock.now, size(len_of[0]))) or shown[-1][1])
    len_of = [0]
    for number in range(1, turns + 1):
        len_of[0] = number
        saved.mark()
        clock.pass_to(number * seconds_each)
    clock.pass_to(turns * seconds_each + 3600)
    return sum(cost for _, cost in shown), shown


def test_what_the_notebook_is_shown_grows_as_the_conversation_does():
    costs = [shown_in(turns, lambda n: min(400_000, 4_000 * n))[0] for turns in (100, 200, 400)]
    assert costs[1] < 2.5 * costs[0]
    assert costs[2] < 2.5 * costs[1]


def test_the_last_turn_is_shown_in_the_end():
    _, shown = shown_in(300, lambda n: min(400_000, 4_000 * n))
    assert shown[-1][0] >= 299


def test_after_one_turn_it_is_shown_a_second_later():
    _, shown = shown_in(1, lambda n: 5_000)
    assert [moment for moment, _ in shown] == [1.0]


def test_a_long_conversation_is_shown_by_its_newest_turns():
    answer = Bundle("x" * 9_000, "", "x")
    said = [Said(Bundle(f"q{n}", f"q{n}", f"q{n}"), "", [answer]) for n in range(100)]
    drawn = saved(said, earlier=5)
    assert "q99" in drawn.html
    assert "q0<" not in drawn.html
    assert 200_000 < len(drawn.html) < 420_000
    left = 100 - drawn.html.count("x" * 9_000)
    assert f"{left + 5} earlier turns are not shown here." in drawn.plain


# --- what it costs --------------------------------------------------------------------------------


def test_two_thousand_messages_open_with_little(cell, shell, page):
    answer = "Some **words** about `code`. " * 30 + "\n\n```python\nx = 1\n```\n"
    session = Session(provider=Scripted(*[says(answer)] * 1000), name="long")
    for number in range(1000):
        session.chat(f"q{number}")
    panel = session.panel()
    opened = [data["state"] for _, kind, data in page.messages if kind == "comm_open"]
    state = next(state for state in opened if "entries" in state)
    assert len(state["entries"]) == 60
    assert len(json.dumps(state)) < 600_000
    drawn = sum(bool(turn.parts) for turn in panel.feed.turns)
    assert drawn == 60


def test_a_history_that_was_handed_in_is_shown(cell, shell, page):
    first = Session(provider=Scripted(says("one"), calls(("f", {})), says("two")))
    first.chat("a")
    first.chat("b")
    session = Session(provider=Scripted(says("three")), messages=first.messages, name="handed")
    panel = session.panel()
    panel.ask("c")
    page.over(panel, 3)
    assert asked(page.store(panel)) == ["a", "b", "c"]
    assert [turn["turn"] for turn in page.store(panel).turns] == [None, None, 1]
    session.reset()
    page.until(lambda: page.store(panel).turns == [])

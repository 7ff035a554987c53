"""What a front end may ask of a panel: each control does what it says, and nothing else."""

from __future__ import annotations

import base64
import json
import os
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import alloy_nb as al
from alloy_nb.messages import Image
from alloy_nb.notebook.grammar import COMMANDS
from alloy_nb.notebook.panel import running
from alloy_nb.notebook.panel.actions import ACTIONS
from alloy_nb.testing import FOREVER, Wait
from tests.engine.holding import Holding
from tests.engine.scripted import calls, says
from tests.notebook.panel_page import Page, open_page
from tests.notebook.scripting import magics, scripted

CANARY = "sk-ant-canary-0123456789abcdef0123"


def png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" + bytes(6) + b"\0" + bytes(6)))
        + chunk(b"IEND", b"")
    )


@pytest.fixture
def page(cell, shell, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    cell("%config Alloy.journal = 'on'")
    with open_page(shell) as opened:
        yield opened
    for session in magics(shell).sessions.values():
        session.stop()


@pytest.fixture
def script(shell):
    return lambda *replies: scripted(shell, *replies)


def shown(page: Page, line: str) -> str:
    """Do a command, and return what it showed."""
    page.say(do="command", line=line, id="c")
    message = page.until("shown", id="c")
    notices = [m["text"] for m in page.heard if m["kind"] == "notice" and m.get("id") == "c"]
    assert not notices, notices
    return str(message["html"])


def refused(page: Page, **message: Any) -> str:
    page.say(**message)
    return str(page.until("notice", level="error")["text"])


def texts(page: Page) -> list[str]:
    return [message.text for message in page.panel.session.messages]


# --- whatever comes is checked --------------------------------------------------------------------

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(),
    st.text(max_size=20),
    st.just("x" * 1_000_001),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
NAMES = ("id", "text", "turn", "number", "what", "value", "call", "choice", "kind", "name", "line")
MORE = ("cursor", "words", "session", "branch", "form", "type")


@given(
    do=st.sampled_from(sorted(set(ACTIONS) - {"ask", "command", "steer"})),
    fields=st.dictionaries(st.sampled_from([*NAMES, *MORE]), VALUES, max_size=4),
    buffers=st.lists(st.binary(max_size=20), max_size=2),
)
@settings(
    max_examples=int(os.environ.get("ALLOY_TEST_MESSAGES", "60")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_message_raises_where_it_is_heard_nor_changes_what_was_said(page, do, fields, buffers):
    before = texts(page)
    page.panel.hear({"do": do, **fields}, buffers)
    assert texts(page) == before


@pytest.mark.parametrize("content", [None, 3, "ask", [], {}, {"do": None}, {"do": "rm"}])
def test_what_is_no_message_is_a_notice(page, content):
    page.panel.hear(content)
    assert "cannot do" in page.until("notice")["text"]


@pytest.mark.parametrize(
    ("message", "says_so"),
    [
        ({"do": "ask"}, "no prompt"),
        ({"do": "ask", "text": 3}, "lacks its text"),
        ({"do": "ask", "text": "x" * 1_000_001}, "too long"),
        ({"do": "ask", "text": "  "}, "no prompt"),
        ({"do": "steer", "text": ""}, "lacks its text"),
        ({"do": "set", "what": "root", "value": "1"}, "what is one of"),
        ({"do": "set", "what": "effort", "value": "huge"}, "effort is one of"),
        ({"do": "set", "what": "approve", "value": "always"}, "approve is one of"),
        ({"do": "set", "what": "data", "value": "everything"}, "everything"),
        ({"do": "set", "what": "max_cost", "value": "a lot"}, "US dollars"),
        ({"do": "set", "what": "max_cost", "value": "-1"}, "US dollars"),
        ({"do": "set", "what": "model", "value": "nobody/nothing"}, "nobody"),
        ({"do": "edit", "turn": True, "text": "x"}, "whole number"),
        ({"do": "edit", "turn": 7, "text": "x"}, "no turn 7"),
        ({"do": "hide", "turn": "1"}, "whole number"),
        ({"do": "pin", "turn": 4}, "no turn 4"),
        ({"do": "attach", "kind": "secret", "name": "x"}, "kind is one of"),
        ({"do": "attach", "kind": "ref", "name": "$(open('x'))"}, "Attach a variable"),
        ({"do": "attach", "kind": "ref", "name": "nothing_here"}, "nothing_here"),
        ({"do": "run", "turn": 1, "number": 0}, "no such code"),
        ({"do": "switch", "session": "nowhere"}, "no session"),
        ({"do": "switch", "branch": "nowhere"}, "nowhere"),
        ({"do": "export", "form": "exe"}, "form is one of"),
        ({"do": "answer", "call": "gone", "choice": "once"}, "closed"),
        ({"do": "new", "name": "main"}, "already"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence_and_does_nothing(page, message, says_so):
    assert says_so in refused(page, **message)
    assert texts(page) == []


def test_a_key_in_a_failure_is_masked(page, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", CANARY)
    said = refused(page, do="switch", session=CANARY)
    assert CANARY not in said
    assert "no session" in said


# --- asking, queueing, steering, stopping ---------------------------------------------------------


def test_a_prompt_is_asked_and_answered(page, script):
    script(says("Hello."))
    turn = page.ask("hi", id="q1")
    assert "Hello." in json.dumps(turn["outputs"])
    assert texts(page) == ["hi", "Hello."]


def test_a_prompt_that_is_taken_back_is_not_asked(page, script):
    script([*says("x")[:2], FOREVER], says("never"))
    page.say(do="ask", text="first", id="q1")
    page.until("begin")
    page.say(do="ask", text="second", id="q2")
    page.see(lambda: [one["id"] for one in page.panel.queue] == ["q2"])
    page.say(do="unqueue", id="q2")
    page.see(lambda: page.panel.queue == [])
    page.say(do="stop")
    page.until("end")
    assert "second" not in texts(page)


def test_what_is_said_into_a_turn_is_heard_in_it(page, shell):
    hold = Holding()
    model = scripted(shell, calls(("hold", {})), says("short"))
    page.panel.session.configure(tools=[hold.tool], approve="all")
    shell.user_ns["nums"] = [1, 2, 3]
    page.say(do="ask", text="go")
    assert hold.held.wait(60)
    page.say(do="steer", text="shorter, as in @nums")
    page.see(lambda: bool(page.panel.run and page.panel.run.steering.unheard))
    hold.let_go.set()
    page.until("end")
    said = model.requests[1].messages[-1]
    assert said.text.startswith("shorter, as in @nums")
    assert '<reference name="nums">' in said.text
    assert len(page.panel.session.results) == 1


def test_what_is_said_when_no_turn_runs_is_asked(page, script):
    script(says("yes"))
    page.say(do="steer", text="now?")
    page.until("end")
    assert texts(page) == ["now?", "yes"]


def test_what_a_stopped_turn_did_not_hear_comes_back_to_be_sent(page, script):
    script([*says("x")[:2], FOREVER])
    page.say(do="ask", text="go")
    page.until("begin")
    page.say(do="steer", text="and then?")
    page.see(lambda: bool(page.panel.run and page.panel.run.steering.unheard))
    page.say(do="stop")
    assert page.until("draft")["text"] == "and then?"
    assert "and then?" not in texts(page)


def test_what_a_turn_did_not_hear_at_its_limit_is_the_next_prompt(page, script):
    page.panel.session.configure(max_turns=1)
    script([*says("a")[:2], Wait(0.5), *says("a")[2:]], says("b"))
    page.say(do="ask", text="go")
    page.until("begin")
    page.say(do="steer", text="and then?")
    page.until("end")
    page.until("end")
    assert texts(page) == ["go", "a", "and then?", "b"]


# --- the header -----------------------------------------------------------------------------------


def test_the_head_says_all_that_the_header_shows(page, script):
    script(says("Hello."))
    page.ask("hi")
    page.see(lambda: bool(page.head["models"]) and page.head["state"] == "idle")
    head = page.head
    assert head["session"]["name"] == "main"
    assert head["model"].startswith("scripted/")
    assert head["model"] in head["models"]
    assert (head["effort"], head["data"], head["approve"]) == ("default", "full", "ask")
    assert set(head["efforts"]) > {"default", "low", "high"}
    assert "main" in head["sessions"]
    assert head["budget"] is None
    assert {command["name"] for command in head["commands"]} >= {c.name for c in COMMANDS}
    json.dumps(head)


def test_a_setting_of_the_header_is_set(page):
    session = page.panel.session
    page.say(do="set", what="effort", value="high")
    page.see(lambda: session.agent.options.effort == "high")
    page.see(lambda: page.head["effort"] == "high")
    page.say(do="set", what="effort", value="default")
    page.see(lambda: session.agent.options.effort is None)
    page.say(do="set", what="data", value="schema")
    page.see(lambda: page.head["data"] == "schema")
    page.say(do="set", what="approve", value="read")
    page.see(lambda: page.head["approve"] == "read")
    page.say(do="set", what="model", value="demo")
    page.see(lambda: page.head["model"].startswith("demo/"))
    page.say(do="set", what="max_cost", value="$2.50")
    page.see(lambda: page.head["budget"] == "$2.50")
    page.say(do="set", what="max_cost", value="")
    page.see(lambda: page.head["budget"] is None)


def test_a_model_that_has_answered_is_chosen_again_at_its_address(page):
    url = "http://127.0.0.1:9"
    page.say(do="set", what="model", value=f"openai-compat/m --base-url {url}")
    page.see(lambda: page.head["model"] == "openai-compat/m")
    page.say(do="set", what="model", value="demo")
    page.see(lambda: page.head["model"].startswith("demo/"))
    assert "openai-compat/m" in page.head["models"]
    page.say(do="set", what="model", value="openai-compat/m")
    page.see(lambda: page.head["model"] == "openai-compat/m")
    assert page.panel.session.provider.base_url == url


def test_the_policy_of_the_header_holds_for_a_conversation_with_rules_of_its_own(page):
    page.panel.session.configure(approve="none")
    page.say(do="set", what="approve", value="read")
    page.see(lambda: page.head["approve"] == "read")


def test_the_settings_hold_for_the_next_turn(page, script, shell):
    model = script(says("a"))
    shell.user_ns["names"] = ["a secret value"]
    page.say(do="set", what="data", value="none")
    page.see(lambda: page.head["data"] == "none")
    page.ask("what is in @names?")
    assert "secret" not in str(model.requests[0].messages)


def test_what_is_set_holds_for_the_prompt_that_is_sent_right_afterwards(page, shell, script):
    asked = script(says("a"))
    shell.user_ns["nums"] = [1]
    for do in (
        {"do": "set", "what": "effort", "value": "high"},
        {"do": "set", "what": "model", "value": "demo"},
        {"do": "attach", "kind": "ref", "name": "nums"},
        {"do": "ask", "text": "-t none hello"},
    ):
        page.panel.hear(do)
    turn = page.until("end")["turn"]
    assert asked.requests == []
    assert turn["facts"]["model"].startswith("demo")
    assert turn["prompt"]["chips"][0]["label"] == "@nums"


def test_a_prompt_goes_to_the_conversation_that_was_chosen_right_before(page, script):
    page.panel.hear({"do": "new", "name": "side"})
    page.panel.hear({"do": "set", "what": "model", "value": "demo"})
    page.panel.hear({"do": "ask", "text": "-t none hello"})
    page.until("end")
    assert page.panel.key == "side"
    assert texts(page)[0] == "hello"


# --- what was said --------------------------------------------------------------------------------


def test_an_edit_asks_in_the_place_of_a_turn_and_keeps_what_was_there(page, script):
    script(says("a"), says("b"), says("c"))
    page.ask("one")
    page.ask("two")
    page.say(do="edit", turn=1, text="another one")
    page.until("end")
    assert texts(page) == ["another one", "c"]
    kept = [node.preview for node in page.panel.session.journal.tree()]
    assert kept == ["one", "two", "another one"]
    page.see(lambda: len(page.head["branches"]) == 2)
    other = next(b for b in page.head["branches"] if b != page.panel.session.journal.branch)
    page.say(do="switch", branch=other)
    page.see(lambda: texts(page) == ["one", "a", "two", "b"])


def test_an_edit_may_have_flags(page, script):
    model = script(says("a"), says("b"))
    page.ask("one")
    page.say(do="edit", turn=1, text="--system Briefly. one?")
    page.until("end")
    assert model.requests[1].system == "Briefly."
    assert texts(page)[0] == "one?"


def test_a_picture_goes_along_again_with_an_edited_prompt(page, script):
    model = script(says("a"), says("b"))
    page.say(png(), do="attach", kind="image", name="dot.png", type="image/png")
    page.until("chips")
    page.ask("what is this?")
    page.say(do="edit", turn=1, text="and in French?")
    page.until("end")
    assert any(isinstance(block, Image) for block in model.requests[1].messages[-1].content)


def test_a_file_goes_along_again_and_what_was_said_of_the_kernel_then_does_not(page, shell, script):
    model = script(says("a"), says("b"), says("c"))
    aged, id_ = magics(shell).desk.aged, page.panel.session.id
    page.ask("hello")
    aged.add(id_)  # as after a restart: the model is told that the kernel is new
    page.say(b"dropped there", do="attach", kind="file", name="far.txt", type="")
    page.until("chips")
    page.ask("what is this?")
    assert id_ not in aged
    page.say(do="edit", turn=2, text="and in French?")
    page.until("end")
    _, first, second = (request.messages[-1].text for request in model.requests)
    assert "<kernel>" in first
    assert "<kernel>" not in second
    assert "dropped there" in first
    assert "dropped there" in second


def test_a_turn_is_asked_again_without_what_was_said_of_the_kernel_then(page, shell, script):
    script(says("a"), says("b"), says("c"))
    page.ask("hello")
    magics(shell).desk.aged.add(page.panel.session.id)
    page.ask("go on")
    assert "<kernel>" in texts(page)[2]
    page.say(do="regenerate", turn=2)
    page.until("end")
    assert texts(page) == ["hello", "a", "go on", "c"]


def test_a_turn_is_asked_again(page, script):
    script(says("a"), says("b"), says("c"))
    page.ask("one")
    page.ask("two")
    page.say(do="regenerate", turn=1)
    page.until("end")
    assert texts(page) == ["one", "c"]


def test_a_turn_is_asked_again_with_the_form_that_it_had_and_shown_without_it(page, script):
    model = script(says("a"), says("b"))
    page.ask("-f code\none")
    page.say(do="regenerate", turn=1)
    turn = page.until("end")["turn"]
    first, second = (request.messages[-1].text for request in model.requests)
    assert first == second
    assert first.count("Answer with code alone") == 1
    assert turn["prompt"]["text"] == "one"


def test_a_picture_that_a_prompt_names_goes_along_once_when_it_is_asked_again(page, script):
    model = script(says("a"), says("b"))
    Path("dot.png").write_bytes(png())
    page.ask("what is in @file:dot.png?")
    page.say(do="regenerate", turn=1)
    page.until("end")
    pictures = [
        [block for block in request.messages[-1].content if isinstance(block, Image)]
        for request in model.requests
    ]
    assert list(map(len, pictures)) == [1, 1]


def test_a_prompt_that_comes_back_has_its_picture_when_it_is_sent(page, script):
    model = script(says("a"), says("b"))
    page.say(png(), do="attach", kind="image", name="dot.png", type="image/png")
    page.until("chips")
    page.ask("what is this?")
    page.say(do="command", line="/edit 1", id="c")
    page.say(do="command", line=page.until("draft")["text"] + " And why?", id="d")
    page.until("end")
    said = model.requests[1].messages[-1]
    assert said.text.startswith("what is this? And why?")
    assert any(isinstance(block, Image) for block in said.content)


def test_a_prompt_that_nobody_typed_runs_no_expression_when_it_is_asked_again(page, shell):
    desk = magics(shell).desk
    loose = al.Session(provider=scripted(shell, says("a"), says("b")), name="loose")
    desk.sessions["loose"] = loose
    loose.chat("$(1/0) and @file:x")
    page.say(do="switch", session="loose")
    page.see(lambda: page.panel.key == "loose")
    page.say(do="regenerate", turn=1)
    page.until("end")
    assert texts(page) == ["$(1/0) and @file:x", "b"]
    page.say(do="switch", session="main")
    page.see(lambda: page.panel.key == "main")
    del desk.sessions["loose"]


def test_turns_are_hidden_and_pinned_and_shown_again(page, script):
    script(says("a"), says("b"))
    page.ask("one")
    page.ask("two")
    session = page.panel.session
    for do, hidden, pinned in [
        ("hide", (1,), ()),
        ("pin", (1,), (1,)),
        ("unhide", (), (1,)),
        ("unpin", (), ()),
    ]:
        page.say(do=do, turn=1)
        page.see(lambda h=hidden, p=pinned: (session.hidden, session.pinned) == (h, p))
        mark = page.until("mark", turn=1)
        assert (mark["hidden"], mark["pinned"]) == (bool(hidden), bool(pinned))


def test_what_changes_the_conversation_is_refused_while_a_turn_runs(page, script):
    script(says("a"), [*says("x")[:2], FOREVER])
    page.ask("one")
    page.say(do="ask", text="two")
    page.see(lambda: page.panel.run is not None)
    assert "answering" in refused(page, do="hide", turn=1)
    assert "answering" in refused(page, do="set", what="model", value="demo")
    page.say(do="stop")
    page.until("end")
    assert texts(page)[0] == "one"


# --- what goes along ------------------------------------------------------------------------------


def test_a_variable_is_a_chip_with_its_size_and_goes_along(page, script, shell):
    model = script(says("a"))
    shell.user_ns["nums"] = list(range(100))
    page.say(do="attach", kind="ref", name="nums")
    (chip,) = page.until("chips")["chips"]
    assert (chip["label"], chip["kind"]) == ("@nums", "ref")
    assert chip["tokens"] > 3
    turn = page.ask("sum?")
    assert page.until("chips")["chips"] == []
    assert turn["prompt"]["chips"][0]["label"] == "@nums"
    assert turn["prompt"]["text"] == "sum?"
    assert '<reference name="nums">' in model.requests[0].messages[-1].text


def test_a_cell_and_the_last_one_go_along(page, script, shell, cell):
    model = script(says("a"))
    shell.run_cell("kept = 'the cell that ran'", store_history=True)
    number = shell.execution_count - 1
    page.say(do="attach", kind="cell", name=str(number))
    page.until("chips")
    page.say(do="attach", kind="ref", name="last")
    page.until("chips")
    page.ask("explain")
    assert model.requests[0].messages[-1].text.count("kept = 'the cell that ran'") == 2


def test_a_file_is_found_by_its_path_and_one_that_was_dropped_by_its_bytes(page, script):
    model = script(says("a"))
    Path("my notes.md").write_text("written here")
    page.say(do="attach", kind="file", name="my notes.md")
    assert page.until("chips")["chips"][0]["tokens"] > 0
    page.say(b"dropped there", do="attach", kind="file", name="/home/x/far.txt", type="text/plain")
    chips = page.until("chips")["chips"]
    assert chips[1]["label"] == "far.txt"
    page.ask("compare")
    told = model.requests[0].messages[-1].text
    assert "written here" in told
    assert '<reference name="file:far.txt">\ndropped there\n</reference>' in told
    assert "/home/x" not in told


def test_a_picture_that_was_pasted_goes_along(page, script):
    model = script(says("a"))
    page.say(png(), do="attach", kind="image", name="", type="image/png")
    assert "lacks its name" in page.until("notice")["text"]
    page.say(png(), do="attach", kind="image", name="pasted", type="image/png")
    (chip,) = page.until("chips")["chips"]
    assert (chip["label"], chip["kind"]) == ("pasted", "image")
    turn = page.ask("")
    pictures = [b for b in model.requests[0].messages[-1].content if isinstance(b, Image)]
    assert [base64.b64decode(p.data or "") for p in pictures] == [png()]
    assert turn["prompt"]["images"][0].startswith("data:image/png;base64,")


def test_what_the_dial_keeps_back_is_said_on_the_chip_and_not_sent(page, script):
    model = script(says("a"))
    page.say(do="set", what="data", value="names")
    page.see(lambda: page.head["data"] == "names")
    page.say(png(), do="attach", kind="image", name="dot.png", type="image/png")
    assert "not sent" in page.until("chips")["chips"][0]["problem"]
    page.say(b"a secret", do="attach", kind="file", name="a.txt", type="")
    page.until("chips")
    page.ask("what?")
    content = model.requests[0].messages[-1].content
    assert not any(isinstance(block, Image) for block in content)
    assert "secret" not in str(content)


def test_the_dial_of_the_prompt_holds_for_what_goes_along(page, script):
    model = script(says("a"))
    page.say(b"a secret", do="attach", kind="file", name="a.txt", type="")
    page.until("chips")
    page.ask("--data none what?")
    assert "secret" not in str(model.requests[0].messages)


def test_what_no_model_takes_is_no_chip(page):
    page.say(b"\0\1\2\3" * 10, do="attach", kind="file", name="a.bin", type="")
    assert "a.bin: it is neither text" in page.until("notice")["text"]


def test_too_much_is_refused(page):
    page.say(bytes(20_000_001), do="attach", kind="file", name="a.txt", type="")
    assert "20 MB" in page.until("notice")["text"]


def test_a_chip_is_taken_off_again(page, script, shell):
    model = script(says("a"))
    shell.user_ns["nums"] = [1]
    page.say(do="attach", kind="ref", name="nums")
    (chip,) = page.until("chips")["chips"]
    page.say(do="detach", id=chip["id"])
    assert page.until("chips")["chips"] == []
    page.ask("hi")
    assert "reference" not in model.requests[0].messages[-1].text


def test_what_is_attached_stays_where_a_prompt_is_refused(page, script, shell):
    shell.user_ns["nums"] = [1]
    page.say(do="attach", kind="ref", name="nums")
    page.until("chips")
    page.say(do="ask", text="--bogus hi", id="q")
    assert "--bogus" in page.until("notice")["text"]
    assert page.until("draft")["text"] == "--bogus hi"
    assert page.panel.attachments.is_there


def test_what_is_wrong_with_a_message_is_told_with_its_id(page):
    page.say(do="ask", text="x" * 1_000_001, id="q7")
    assert "too long" in page.until("notice", id="q7")["text"]


def test_a_page_that_was_loaded_anew_shows_what_is_attached(page, shell):
    shell.user_ns["nums"] = [1]
    page.say(do="attach", kind="ref", name="nums")
    before = page.until("chips")["chips"]
    page.say(do="hello", version=page.panel.feed.version)
    assert page.until("chips")["chips"] == before


# --- what may stand here --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "begun", "expected"),
    [
        ("what is @some_nu", "@some_nu", "@some_numbers"),
        ("😀 @some_nu", "@some_nu", "@some_numbers"),
        ("--dat", "--dat", "--data"),
        ("/model dem", "dem", "demo"),
        ("/approve re", "re", "read"),
        ("a\nb @some_nu", "@some_nu", "@some_numbers"),
    ],
)
def test_a_word_that_is_begun_is_completed(page, shell, text, begun, expected):
    shell.user_ns["some_numbers"] = [1]
    units = len(text.encode("utf-16-le")) // 2
    page.say(do="complete", id="w", text=f"{text} and more", cursor=units)
    found = page.until("completions", id="w")
    assert expected in [item["text"] for item in found["items"]]
    assert (found["start"], found["end"]) == (units - len(begun), units)


# --- conversations --------------------------------------------------------------------------------


def test_words_are_found_in_all_conversations_with_their_turn(page, script, shell):
    script(says("about the aardvark"), says("nothing"))
    page.ask("one")
    page.ask("two")
    page.say(do="search", id="s", words="aardvark")
    (hit,) = page.until("found", id="s")["hits"]
    assert (hit["session"], hit["turn"]) == ("main", 1)
    assert "aardvark" in hit["html"]
    page.say(do="search", id="t", words="zebra")
    assert page.until("found", id="t")["hits"] == []


def test_what_is_found_in_a_conversation_that_is_not_kept_is_found_too(page, shell):
    desk = magics(shell).desk
    loose = al.Session(provider=scripted(shell, says("the okapi <b>")), name="loose")
    desk.sessions["loose"] = loose
    loose.chat("what?")
    page.say(do="search", id="s", words="okapi")
    (hit,) = page.until("found", id="s")["hits"]
    assert (hit["session"], hit["turn"]) == ("loose", 1)
    assert "<b>" not in hit["html"]
    del desk.sessions["loose"]


def test_a_new_conversation_is_begun_and_left_again(page, script):
    script(says("a"))
    page.ask("one")
    page.say(do="new", name="side")
    page.see(lambda: page.panel.key == "side")
    assert texts(page) == []
    page.see(lambda: "side" in page.head["sessions"])
    page.say(do="switch", session="main")
    page.see(lambda: page.panel.key == "main")
    assert texts(page) == ["one", "a"]


def test_a_conversation_from_the_disk_goes_on_and_cells_stay_where_they_are(page, shell, script):
    desk = magics(shell).desk
    earlier = al.Session(
        provider=script(says("x")), name="earlier", journal=desk.archive.new("earlier")
    )
    earlier.chat("before")
    earlier.stop()
    page.say(do="switch", session="earlier")
    page.see(lambda: page.panel.key == "earlier")
    assert texts(page) == ["before", "x"]
    assert desk.current == "main"
    desk.sessions.pop("earlier").stop()


def test_a_branch_begins_behind_a_turn(page, script):
    script(says("a"), says("b"), says("c"))
    page.ask("one")
    page.ask("two")
    page.say(do="fork", turn=1, name="other way")
    page.see(lambda: texts(page) == ["one", "a"])
    page.ask("three")
    assert texts(page) == ["one", "a", "three", "c"]
    journal = page.panel.session.journal
    assert journal.branch == "other way"
    assert sorted(journal.branches()) == ["main", "other way"]


def test_a_branch_begins_here(page, script):
    script(says("a"))
    page.ask("one")
    page.say(do="fork", turn=None, name="here")
    page.see(lambda: page.panel.session.journal.branch == "here")
    assert texts(page) == ["one", "a"]


@pytest.mark.parametrize("form", ["md", "html", "json", "ipynb", "py"])
def test_a_conversation_is_written_to_a_file(page, script, form):
    script(says("a word"))
    page.ask("one")
    page.say(do="export", form=form)
    path = Path(page.until("saved")["path"])
    assert path.name == f"main.{form}"
    assert "a word" in path.read_text()


# --- commands -------------------------------------------------------------------------------------


def test_a_command_shows_in_the_panel_what_it_shows_in_a_cell(page, script, capsys):
    script(says("Hello."))
    page.ask("hi")
    html = shown(page, "/cost")
    assert "<table" in html
    assert capsys.readouterr().out == ""


def test_each_command_without_a_model_ends_and_is_told(page, script):
    script(says("Hello.", "\n```python\n1\n```\n"))
    page.ask("hi")
    asks = ("fix", "explain", "see", "retry", "continue", "compact", "doctor", "promote", "restore")
    for command in COMMANDS:
        if command.name in asks:
            continue
        page.say(do="command", line=f"/{command.name}", id=command.name)
        page.until("shown", "notice", id=command.name)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("/key", "cell"),
        ("/panel", "panel"),
        ("/wait", "waiting"),
        ("/model nobody/nothing", "nobody"),
        ("/hide", "Which turn"),
        ("/steer", "Say what"),
        ("/cost --plot --bogus", "--bogus"),
    ],
)
def test_a_command_that_cannot_be_done_says_why(page, line, why):
    page.say(do="command", line=line, id="c")
    assert why in page.until("notice", id="c")["text"]


def test_a_command_is_about_the_panels_conversation(page, script):
    page.say(do="new", name="side")
    page.see(lambda: page.panel.key == "side")
    assert "side" in shown(page, "/model demo")
    assert page.panel.session.provider.name == "demo"


def test_an_undone_turn_is_gone_from_the_panel(page, script):
    script(says("a"), says("b"))
    page.ask("one")
    page.ask("two")
    assert "Undone" in shown(page, "/undo")
    page.see(lambda: len(page.panel.feed.turns) == 1)


def test_a_command_that_asks_is_a_turn_of_the_panel(page, script):
    script(says("a"), says("b"))
    page.ask("one")
    page.say(do="command", line="/retry", id="c")
    turn = page.until("end")["turn"]
    assert "b" in json.dumps(turn["outputs"])
    page.until("shown", id="c")
    assert texts(page) == ["one", "b"]


def test_a_cell_is_explained_in_the_panel(page, script, shell):
    model = script(says("It sets x."))
    shell.run_cell("x_of_cell = 41 + 1", store_history=True)
    page.say(do="command", line=f"/explain {shell.execution_count - 1}", id="c")
    page.until("end")
    page.until("shown", id="c")
    assert "x_of_cell = 41 + 1" in model.requests[0].messages[-1].text


def test_an_earlier_prompt_comes_back_to_be_changed(page, script):
    script(says("a"))
    page.ask("one")
    page.say(do="command", line="/edit 1", id="c")
    assert page.until("draft")["text"] == "/edit 1 one"


def test_a_command_may_go_to_another_conversation(page, shell):
    page.say(do="new", name="side")
    page.see(lambda: page.panel.key == "side")
    page.say(do="command", line="/use main", id="c")
    page.see(lambda: page.panel.key == "main")


def test_another_programs_word_for_a_command_is_known(page):
    assert "<table" in shown(page, "/usage")


def test_a_skill_is_asked_as_a_prompt(page, script):
    model = script(says("fine"))
    folder = Path(".alloy/skills")
    folder.mkdir(parents=True)
    (folder / "review.md").write_text("---\nname: review\n---\nReview this: {{input}}")
    page.say(do="command", line="/review main.py", id="c")
    page.until("end")
    assert model.requests[0].messages[-1].text == "Review this: main.py"


def test_nothing_that_a_command_shows_is_markup_of_others(page, script):
    script(says("a"))
    page.ask("<img src=x onerror=alert(1)>")
    html = shown(page, "/history")
    assert not re.search(r"<img", html)


def test_a_figure_of_a_command_is_a_picture_in_the_panel(page, script):
    pytest.importorskip("matplotlib")
    script(says("Hello."))
    page.ask("hi")
    assert '<img src="data:image/png;base64,' in shown(page, "/cost --plot")


def test_a_table_as_a_value_is_shown_and_not_returned_to_nobody(page, script):
    pytest.importorskip("pandas")
    script(says("Hello."))
    page.ask("hi")
    assert "<table" in shown(page, "/cost --df")


def test_the_doctor_looks_from_the_panel_too(page):
    assert "<table" in shown(page, "/doctor offline")


def test_an_error_is_explained_and_its_corrected_cell_is_shown(page, script, shell):
    model = script(says("Divide by one:\n\n```python\n1 / 1\n```\n"))
    shell.run_cell("1 / 0", store_history=True)
    page.say(do="command", line="/fix", id="c")
    page.until("end")
    html = page.until("shown", id="c")["html"]
    assert "Copy it into a cell" in html
    assert "1 / 1" in html
    assert "ZeroDivisionError" in model.requests[0].messages[-1].text


def test_several_models_at_once_need_a_cell(page, script):
    script(says("a"))
    page.ask("one")
    page.say(do="command", line="/retry -m demo,demo", id="c")
    assert "need a cell" in page.until("notice", id="c")["text"]
    assert texts(page) == ["one", "a"]


def test_what_touches_variables_says_so_where_nothing_runs_between_cells(page):
    page.say(do="command", line="/restore", id="c")
    assert "in a cell" in page.until("notice", id="c")["text"]


def test_a_stop_as_a_command_stops_the_turn_of_the_panel(page, script):
    script([*says("x")[:2], FOREVER])
    page.say(do="ask", text="go")
    page.until("begin")
    page.say(do="command", line="/stop", id="c")
    assert page.until("end")["turn"]["state"] == "stopped"


def test_a_command_waits_for_nobody_else(page, script):
    script([*says("x")[:2], FOREVER])
    page.say(do="ask", text="go")
    page.until("begin")
    assert "<table" in shown(page, "/context")  # while the turn still runs
    page.say(do="stop")
    page.until("end")


# --- running code ---------------------------------------------------------------------------------


def ran(shell: Any, code: str) -> str:
    return "\n".join(bundle.html for bundle in running._ran(shell, code))


def test_a_block_runs_as_a_cell_does_and_shows_in_the_panel(cell, shell, capsys):
    number = shell.execution_count
    html = ran(shell, "print('said')\nrun_here = 6 * 7\nrun_here")
    assert "said" in html
    assert "42" in html
    assert shell.user_ns["Out"][number] == 42
    assert shell.user_ns["In"][number].startswith("print('said')")
    assert capsys.readouterr().out == ""


def test_a_failure_of_a_block_is_shown_and_the_next_one_runs(cell, shell):
    html = ran(shell, "1 / 0")
    assert "ZeroDivisionError" in html
    assert "\x1b" not in html
    assert "7" in ran(shell, "3 + 4")


def test_what_a_block_displays_is_harmless(cell, shell):
    html = ran(shell, "from IPython.display import HTML, display\ndisplay(HTML('<script>x</script>"
                      "<b onclick=1>bold</b>'))")  # fmt: skip
    assert "bold" in html
    assert "script" not in html
    assert "onclick" not in html


def test_a_block_runs_by_its_number(page, script, monkeypatch):
    script(says("```python\nfirst = 1\n```\n\nand\n\n```python\nsecond = 2\n```\n"))
    page.ask("code")
    seen: list[str] = []
    monkeypatch.setattr(page.panel, "on_main", lambda function: function())
    monkeypatch.setattr(running, "_ran", lambda _, code: seen.append(code) or [])
    page.say(do="run", turn=1, number=1)
    page.until("shown")
    assert seen == ["second = 2"]

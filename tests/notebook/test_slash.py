"""Skills and the history in a cell, and the slash in ``alloy-nb chat``."""

from __future__ import annotations

import pytest

from tests.engine.test_context import put
from tests.notebook.shell import run
from tests.servers.sse import Server, loop
from tests.servers.wire import Say


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Give a home with a skill, to work in."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    put(tmp_path, "review.md", "---\ndescription: faults\n---\nReview {{input}}.", "skills")
    put(tmp_path, "plain.md", "Tell a joke.", "skills")
    return tmp_path


@pytest.fixture
def asks(cell):
    """Give a function that runs a cell and returns what the model was asked."""
    with Server(*loop(*[[Say("Yes.")]] * 8)) as server:
        cell(f"%alloy model openai-compat/m --base-url {server.url}")

        def ask(source: str) -> str:
            ran = cell(source)
            assert ran.ok, ran.text
            return server.requests[-1].json["messages"][-1]["content"]

        yield ask


@pytest.fixture
def slash(shell, cell):
    """Load what `alloy-nb chat` loads."""
    run(shell, "%load_ext alloy_nb.notebook.slash")
    yield
    run(shell, "%unload_ext alloy_nb.notebook.slash")


@pytest.mark.parametrize(
    ("source", "prompt"),
    [
        ("%alloy /review main.py", "Review main.py."),
        ("%%alloy\n/review a line\nand another", "Review a line\nand another."),
        ("%alloy /plain", "Tell a joke."),
        ("%alloy /plain about cats", "Tell a joke.\n\nabout cats"),
        ("%alloy /etc/hosts is what?", "/etc/hosts is what?"),
        ("%alloy / is what?", "/ is what?"),
        ("%%alloy\n/* C */ int x; // what is it?", "/* C */ int x; // what is it?"),
    ],
)
def test_a_prompt_that_names_a_skill_is_the_skill(home, asks, source, prompt):
    assert asks(source) == prompt


def test_without_skills_a_slash_is_text(asks, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert asks("%alloy /tmp is full, why?") == "/tmp is full, why?"


def test_an_unknown_skill_lists_those_that_there_are(home, cell):
    ran = cell("%alloy /revue main.py")
    assert not ran.ok
    assert "Did you mean review? The skills are: plain, review." in ran.text


def test_the_skills_are_listed_with_what_they_are_for(home, cell):
    told = cell("%alloy skills").stdout
    assert "/plain" in told
    line = next(line for line in told.split("\n") if "/review" in line)
    assert line.split() == ["/review", "faults"]


def test_without_skills_it_says_where_they_go(cell, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert ".alloy/skills/NAME.md" in cell("%alloy skills").stdout


def test_the_history_has_a_line_for_each_message(home, cell):
    with Server(*loop([Say("word " * 100)])) as server:
        cell(f"%alloy model openai-compat/m --base-url {server.url}")
        cell("%alloy What is it?")
        lines = cell("%alloy history").stdout.strip().split("\n")
    assert lines[1].split(maxsplit=2) == ["1", "user", "What is it?"]
    number, who, what = lines[2].split(maxsplit=2)
    assert (number, who, len(what)) == ("2", "assistant", 80)


def test_calls_and_results_are_tags_in_the_history():
    from alloy_nb.notebook.drawing.status import history
    from alloy_nb.testing import run_with_responses, tool_response

    result = run_with_responses("hi", [tool_response("echo", {"text": "a"}), "done"])
    assert history(result.messages)[1:] == [
        ["1", "user", "hi"],
        ["2", "assistant", "[call echo]"],
        ["3", "user", "[result echo]"],
        ["4", "assistant", "done"],
    ]


# --- the slash ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("/help", "Ask a model"),
        ("/reset", "The conversation is forgotten"),
        ("/clear", "The conversation is forgotten"),
        ("/usage", "session"),
        ("/cost", "session"),
        ("/model", "demo/demo"),
        ("/history", "is empty"),
        ("/skills", "/review"),
    ],
)
def test_a_command_is_its_magic(home, slash, cell, line, told):
    assert told in cell(line).stdout


def test_a_skill_is_run(home, slash, asks):
    assert asks('/review it\'s "main.py"?') == 'Review it\'s "main.py"?.'


def test_what_is_no_skill_is_told_with_the_list(home, slash, cell):
    assert "The skills are: plain, review." in cell("/revue main.py").text


def test_a_function_of_the_user_is_still_called(home, slash, cell):
    cell("def review(x): print('called', x)")
    assert cell("/review 5").stdout == "called 5\n"
    cell("del review")


def test_a_function_of_python_is_still_called(home, slash, cell):
    assert cell("/len 'abc'").result == 3


@pytest.mark.parametrize("source", ["x = 1\n/reset", "x = 6 \\\n/2", "'''\n/reset\n'''"])
def test_a_slash_further_down_is_pythons(home, slash, cell, source):
    assert "forgotten" not in cell(source).text


def test_loading_twice_is_loading_once_and_unloading_undoes_it(shell, cell):
    from alloy_nb.notebook.slash import load_ipython_extension, unload_ipython_extension

    before = list(shell.input_transformers_cleanup)
    load_ipython_extension(shell)
    load_ipython_extension(shell)
    assert len(shell.input_transformers_cleanup) == len(before) + 1
    unload_ipython_extension(shell)
    assert shell.input_transformers_cleanup == before


# --- standing instructions ------------------------------------------------------------------------


def test_standing_instructions_are_sent_once_they_are_switched_on(home, cell):
    put(home, "rules.md", "Always in rhyme.")
    with Server(*loop(*[[Say("Yes.")]] * 3)) as server:
        cell(f"%alloy model openai-compat/m --base-url {server.url}")
        for switch in (
            "pass",
            *(f"%config Alloy.context_discovery = {on}" for on in (True, False)),
        ):
            cell(switch)
            cell("%alloy hello")
        told = [request.json["messages"][0]["content"] for request in server.requests]
    assert [text.endswith("\n\nAlways in rhyme.") for text in told] == [False, True, False]

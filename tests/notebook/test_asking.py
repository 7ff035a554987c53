"""The flags of a cell hold for its turn alone, and each does what it says or is refused."""

import json

import pytest

from alloy_nb.markup.fragment import harmless
from alloy_nb.messages import Text
from alloy_nb.notebook.drawing.render import render
from alloy_nb.notebook.drawing.segments import Look, TextSegment
from alloy_nb.notebook.grammar import FLAGS
from alloy_nb.notebook.words import parse
from tests.engine.scripted import calls, says
from tests.notebook.hostile import PAYLOADS, as_jupyterlab, offences
from tests.notebook.scripting import magics, refused, scripted
from tests.servers.sse import Server, loop
from tests.servers.wire import Say


@pytest.fixture
def model(cell, shell):
    return scripted(shell, *[says("The answer.")] * 6)


def session(shell):
    return magics(shell).session()


# --- what is in the notebook ------------------------------------------------------------------


@pytest.fixture
def unset(cell, shell):
    """Set a variable to a lazy object that is not set up, such as Django's settings."""
    cell("class Unset:\n    @property\n    def __class__(self): raise RuntimeError('not set up')")
    cell("unset = Unset()\nfine = 1")
    yield
    for name in ("Unset", "unset", "fine"):
        shell.user_ns.pop(name)


@pytest.mark.usefixtures("unset")
@pytest.mark.parametrize(
    "line",
    ["hello", "What is @unset?", "--data sample:2 @unset?", "-i unset hello", "explain unset"],
)
def test_an_object_that_hides_its_class_can_be_asked_about(cell, line):
    ran = cell(f"%alloy --approve all {line}")
    assert ran.ok, ran.text


@pytest.mark.usefixtures("unset")
def test_what_cannot_be_shown_in_any_form_is_told_once(cell, shell):
    scripted(shell, calls(("python", {"code": "unset"})), says("Done."))
    said = cell("%alloy --approve all What is it?").text
    assert said.count("could not be shown") == 1


# --- --set ------------------------------------------------------------------------------------


def test_an_option_is_sent_in_this_turn_alone(cell, model):
    cell("%%alloy --set temperature=0.2 --set max_output_tokens=50\nhello")
    cell("%%alloy\nhello")
    first, second = (request.options for request in model.requests)
    assert (first.temperature, first.max_output_tokens) == (0.2, 50)
    assert (second.temperature, second.max_output_tokens) == (None, None)


def test_a_flag_that_may_be_repeated_keeps_all_its_values():
    assert parse("--set a=1 --set=b=2 -o x --set c=3 go").flags["set"] == ("a=1", "b=2", "c=3")


def test_a_value_may_be_json(cell, model):
    cell("""%%alloy --set 'stop=["a b", "c"]'\nhello""")
    assert model.requests[0].options.stop == ("a b", "c")


def test_a_vendors_own_option_goes_into_the_body(cell):
    with Server(*loop([Say("Hi.")])) as server:
        at = f"-m openai-compat/x --base-url {server.url}"
        assert cell(f"%%alloy {at} --set top_p=0.5 --set seed=7 --set max_tokens=9\nhello").ok
        body = server.requests[0].json
    assert (body["top_p"], body["seed"], body["max_tokens"]) == (0.5, 7, 9)


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("--set temprature=1", "Did you mean temperature?"),
        ("--set nonsense=1", "The options are: "),
        ("--set temperature", "write NAME=VALUE"),
        ("--set temperature=hot", "temperature must be a number"),
        ("--set temperature=1 --set temperature=2", "given twice"),
        ("""--set stop="a b" x""", "the value is not whole"),
        ("-m anthropic/claude-sonnet-4-6 --set seed=1", "anthropic takes no seed"),
        ("-m openai-compat/x --base-url http://127.0.0.1:1 --set seed=x", "seed is a number"),
    ],
)
def test_an_option_that_cannot_be_is_refused_and_nothing_is_sent(cell, model, flag, told):
    assert told in refused(cell(f"%%alloy {flag}\nhello"))
    assert model.requests == []


# --- what the model is told -------------------------------------------------------------------


def test_a_system_prompt_stands_in_the_place_of_the_notebooks(cell, model):
    cell("%%alloy --system 'You are a pirate.'\nhello")
    cell("%%alloy\nhello")
    assert model.requests[0].system == "You are a pirate."
    assert "colleague" in model.requests[1].system


def test_a_system_prompt_may_stand_in_a_file(cell, model, tmp_path):
    (tmp_path / "style.md").write_text("Grüße nur.", encoding="utf-8")
    cell(f"%%alloy --system @{tmp_path}/style.md\nhello")
    assert model.requests[0].system == "Grüße nur."


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"x" * 300_000])
def test_a_file_that_is_no_prompt_is_told(cell, model, tmp_path, content):
    if content is not None:
        (tmp_path / "style.md").write_bytes(content)
    assert "style.md" in refused(cell(f"%%alloy --system @{tmp_path}/style.md\nhello"))


def test_only_the_tools_that_are_named_are_there(cell, model):
    cell("%%alloy -t read,bash\nhello")
    cell("%%alloy --tools none\nhello")
    told = [[tool.name for tool in request.tools] for request in model.requests]
    assert told == [["read", "bash"], []]


def test_an_unknown_tool_is_refused_with_those_that_there_are(cell, model):
    told = refused(cell("%%alloy -t read,web\nhello"))
    assert "no tool web" in told
    assert "python, read, write, edit, bash" in told


def test_the_limit_of_replies_holds_for_the_turn(cell, shell):
    scripted(shell, *[calls(("read", {"file_path": f"no{n}"})) for n in range(9)])
    assert cell("%%alloy --max-turns 2\nhello").result.turns == 2


@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", "9" * 5000])
def test_a_limit_that_is_no_number_is_refused(cell, model, value):
    assert "whole number" in refused(cell(f"%%alloy --max-turns={value}\nhello"))


# --- outside of the conversation ----------------------------------------------------------------


def test_a_question_asked_once_neither_reads_nor_changes_the_conversation(cell, shell, model):
    cell("%%alloy\nfirst")
    before = session(shell).messages
    cell("%%alloy --once\nsecond")
    assert [m.text for m in model.requests[1].messages] == ["second"]
    assert session(shell).messages == before


def test_what_was_asked_once_is_what_was_sent_last_and_is_in_the_ledger(cell, shell, model):
    cell("%%alloy\nfirst")
    cell("%%alloy --once\nsecond")
    assert "second" in cell("%alloy sent").stdout
    assert "main (once" in cell("%alloy cost").stdout


def test_a_question_asked_once_is_not_in_the_journal(cell, shell, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cell("%config Alloy.journal = 'on'")
    scripted(shell, says("one"), says("two"))
    cell("%%alloy\nfirst")
    cell("%%alloy --once\nsecret question")
    assert [node.preview for node in session(shell).journal.tree()] == ["first"]
    assert "secret" not in cell("%alloy search secret").stdout


def test_a_limit_of_the_session_counts_what_was_asked_once(cell, shell):
    with Server(*loop([Say("Hi.")], [Say("Hi.")])) as server:
        cell(f"%alloy model anthropic/claude-sonnet-4-6 --base-url {server.url}")
        cell("%config Alloy.max_cost = 1.0")
        agent = session(shell).agent
        before = agent.budget.spent
        assert cell("%%alloy --once\nhello").ok
    assert agent.budget.spent > before


# --- branches -----------------------------------------------------------------------------------


def test_a_cell_may_go_on_with_a_branch_and_finds_it_again(cell, shell, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cell("%config Alloy.journal = 'on'")
    scripted(shell, *[says("ok")] * 3)
    cell("%%alloy\nfirst")
    for _ in range(2):
        assert cell("%%alloy --fork other\nsecond").ok
    assert session(shell).journal.branch == "other"


def test_a_branch_needs_a_journal(cell, model):
    assert "journal" in refused(cell("%%alloy --fork other\nhello"))
    assert model.requests == []


@pytest.mark.parametrize(
    "flags",
    ["--once --new", "--once --fork x", "--new --fork x", "-q -v", "--as int -f json"],
)
def test_flags_that_mean_different_things_are_refused_together(cell, model, flags):
    assert "do not go together" in refused(cell(f"%%alloy {flags}\nhello"))
    assert model.requests == []


# --- how much is shown --------------------------------------------------------------------------


@pytest.fixture
def chatty(cell, shell):
    scripted(shell, calls(("python", {"code": "print('\\n' * 40 + 'tool said')"})), says("Done."))
    return lambda flags: cell(f"%%alloy --approve all {flags}\nhello").stdout


def test_quiet_shows_the_answer_alone(chatty):
    shown = chatty("-q").partition("Out[")[0]
    assert shown.strip() == "Done."


def test_verbose_shows_all_that_a_tool_said(cell, shell):
    scripted(shell, *[calls(("bash", {"command": "seq -f 'line %g' 0 59"})), says("Done.")] * 2)
    assert "line 59" not in cell("%%alloy --approve all\nhello").stdout
    assert "line 59" in cell("%%alloy --approve all -v\nhello").stdout


def test_an_error_is_told_in_a_quiet_cell_too(cell, shell):
    scripted(shell, ValueError("broken"))
    ran = cell("%%alloy -q\nhello")
    assert not ran.ok
    assert "broken" in ran.text


# --- forms --------------------------------------------------------------------------------------


def drawn(text, form):
    segment = TextSegment(finished=True)
    segment.add(text)
    return render(segment, look=Look(form=form))


def test_json_is_the_value_of_the_result_and_drawn_readably(cell, shell):
    scripted(shell, says('```json\n{"a": [1, 2]}\n```'))
    assert cell("%%alloy -f json\nhello").result.output == {"a": [1, 2]}
    assert drawn('{"a": [1, 2]}', "json").plain == json.dumps({"a": [1, 2]}, indent=2)


def test_an_answer_that_is_no_json_is_an_error_and_is_shown(cell, shell):
    scripted(shell, says("I would rather not."))
    ran = cell("%%alloy -f json\nhello")
    assert not ran.ok
    assert "no JSON" in ran.text
    assert "I would rather not." in ran.text


def test_the_model_is_told_what_its_answer_is_to_be(cell, shell):
    model = scripted(shell, says("x"), says("y"))
    cell("%%alloy -f code\nhello")
    said = model.requests[0].messages[0]
    assert isinstance(said.content[0], Text)
    assert said.text.startswith('hello\n\n<format name="code">\nAnswer with code alone')


def test_code_is_offered_to_be_run(cell, shell):
    scripted(shell, says("Here:\n\n```python\nx = 41\n```\n\nand\n\n```python\nx + 1\n```"))
    assert "x = 41\n\nx + 1" in cell("%%alloy -f code\nhello").stdout


def test_text_is_drawn_as_it_came():
    bundle = drawn("**bold** <b>", "text")
    assert "**bold** &lt;b&gt;" in bundle.html
    assert bundle.plain == "**bold** <b>"


@pytest.mark.parametrize(
    "evil",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<svg onload=alert(1)>",
        '<a href="javascript:alert(1)">x</a>',
        '<a href="data:text/html,x">x</a>',
        "<iframe src=http://127.0.0.1/></iframe>",
        '<p style="background:url(http://127.0.0.1/)">x</p>',
        "<style>@import 'http://127.0.0.1/'</style>",
        "<form action=http://127.0.0.1/><input></form>",
        "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
        "<button data-commandlinker-command=x>y</button>",
    ],
)
def test_html_of_a_model_does_nothing(evil):
    html = drawn(f"<p>before</p>{evil}", "html").html.lower()
    assert "before" in html
    for sign in ("script", "onerror", "onload", "javascript:", "data:", "iframe", "url(", "127."):
        assert sign not in html
    for tag in ("<img", "<svg", "<form", "<input", "<style", "<button", "style="):
        assert tag not in html


# What HTML that is asked for may hold besides, none of which acts or loads.
_PLAIN_TAGS = {
    f"<{tag}>"
    for tag in (
        *("abbr", "b", "caption", "dd", "del", "dl", "dt", "i", "ins", "kbd", "q", "small", "sub"),
        *("sup", "tfoot", "u"),
    )
}


@pytest.mark.parametrize("form", ["text", "html", "json", "math"])
@pytest.mark.parametrize("name", PAYLOADS)
def test_no_form_lets_a_hostile_answer_do_anything(name, form):
    bundle = drawn(PAYLOADS[name], form)
    assert set(offences(bundle.html)) - _PLAIN_TAGS - {"a rel=noopener noreferrer"} == set()
    assert as_jupyterlab(bundle.markdown) == []


def test_dollars_in_html_are_not_typeset():
    assert harmless("<p>$\\href{x}{y}$</p>") == ("<p><span>$</span>\\href{x}{y}<span>$</span></p>")


def test_a_formula_is_typeset_and_one_that_makes_links_is_text():
    assert drawn("\\frac{a}{b}", "math").markdown == "$$\\frac{a}{b}$$"
    assert "$$" not in drawn("\\href{javascript:x}{y}", "math").html


@pytest.mark.parametrize("form", ["text", "html", "json", "math"])
def test_a_form_shows_its_source_while_it_grows(form):
    segment = TextSegment()
    segment.add('{"a": <script>alert(1)</script> ')
    html = render(segment, live=True, look=Look(form=form)).html
    assert "&lt;script&gt;" in html


def test_every_flag_is_in_the_help(cell):
    said = cell("%alloy help").stdout
    assert [flag.names[-1] for flag in FLAGS if flag.names[-1] not in said] == []

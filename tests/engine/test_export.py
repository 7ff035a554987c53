"""One conversation with everything in it, in five forms."""

from __future__ import annotations

import ast
import json
import re
import sys
from datetime import UTC, datetime
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from markdown_it import MarkdownIt

import alloy_nb as al
from alloy_nb.engine import export
from alloy_nb.engine.documents.cells import runnable
from alloy_nb.engine.documents.page import POLICY
from alloy_nb.engine.documents.story import Noted, Said, Story, Used, story_of
from alloy_nb.engine.sessions.record import SessionRecord, TurnRecord
from alloy_nb.errors import ConfigError
from alloy_nb.markup.markdown import mark
from alloy_nb.messages import (
    Citation,
    Image,
    Message,
    Opaque,
    Origin,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    assistant,
    user,
)
from alloy_nb.usage import Cost, Usage
from tests.engine.scripted import Scripted, says
from tests.engine.told import BROKEN, CODE, COMMAND, KEY, PLOT, PNG, told_session
from tests.notebook.hostile import CONTROL, PAYLOADS, as_jupyterlab, offences

HOSTILE = {**PAYLOADS, **CONTROL}
MOMENT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@cache
def told() -> SessionRecord:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOLD_API_KEY", KEY)
        # As the reader of a file gets it: with the key masked.
        return SessionRecord.from_json(told_session().export_session().to_json())


@cache
def form(ending: str) -> str:
    return export.as_text(told(), ending)


def record_of(*messages: Message, **more: object) -> SessionRecord:
    times = {"created_at": MOMENT, "updated_at": MOMENT}
    return SessionRecord(id="x", messages=messages, **{**times, **more})  # type: ignore[arg-type]


def cells() -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(form(".ipynb"))["cells"]
    return found


# --- the story -------------------------------------------------------------------------------


def test_a_turn_has_its_prompt_its_models_and_what_it_used():
    story = story_of(told())
    assert [turn.models for turn in story.turns] == [
        ("anthropic/scripted-1",),
        ("openai/scripted-1",),
        ("openai/scripted-1",),
    ]
    assert [turn.status for turn in story.turns] == ["completed", "completed", "cancelled"]
    assert story.turns[0].usage == Usage(input_tokens=3600, output_tokens=1020)
    assert all(turn.seconds is not None and turn.at is not None for turn in story.turns)


def test_calls_stand_with_their_results():
    used = [part for part in story_of(told()).turns[0].parts if isinstance(part, Used)]
    assert [(u.name, u.asked, u.failed) for u in used] == [
        ("python", CODE, False),
        ("bash", COMMAND, False),
        ("python", BROKEN, True),
        ("python", PLOT, False),
    ]
    assert used[0].result == "total 45"
    assert [image.data for image in used[3].images] == [PNG]


def test_a_switch_of_the_model_says_what_it_dropped():
    notes = [p.text for p in story_of(told()).turns[1].parts if isinstance(p, Noted)]
    assert notes == [
        "openai/scripted-1 answers from here on, after anthropic/scripted-1. What other vendors "
        "had signed, encrypted or run themselves (2 blocks) was not sent to it."
    ]


def test_a_switch_that_dropped_nothing_says_so_by_silence():
    first = Message(role="assistant", content=(Text(text="a"),), origin=_origin("a"))
    second = Message(role="assistant", content=(Text(text="b"),), origin=_origin("b"))
    story = story_of(record_of(user("1"), first, user("2"), second))
    assert story.turns[1].parts[0] == Noted("b/m answers from here on, after a/m.")


def _origin(provider: str) -> Origin:
    return Origin(provider=provider, model="m")


def test_an_interruption_is_marked():
    assert story_of(told()).turns[2].parts[-1] == Noted(
        "Interrupted here: this is what had arrived."
    )


def test_a_turn_that_asked_itself_again_is_one_turn():
    messages = (user("do it"), assistant("no"), user("you must"), assistant("done"))
    turn = TurnRecord(first=0, count=4, status="completed", at=MOMENT, usage=Usage(), cost=Cost())
    assert len(story_of(record_of(*messages, turns=(turn,))).turns) == 1
    assert len(story_of(record_of(*messages)).turns) == 2


def test_sources_are_numbered_once_over_the_whole_conversation():
    one, two = Citation(url="https://a.example/"), Citation(url="https://b.example/")
    story = story_of(
        record_of(
            user("q"),
            assistant(Text(text="First.", citations=(one, two))),
            user("q"),
            assistant(Text(text="Second.", citations=(two,))),
        )
    )
    assert [source.number for source in story.sources] == [1, 2]
    assert story.turns[1].parts == (Said(f"Second.{mark(2)}"),)


def test_what_a_turn_used_is_known_after_a_reset_too():
    session = al.Session(provider=Scripted(says("a"), says("b")))
    session.chat("one")
    session.reset()
    session.chat("two")
    turns = session.export_session().turns
    assert [(turn.first, turn.count) for turn in turns] == [(0, 2)]


@pytest.mark.parametrize(
    "turns",
    [
        [(5, 9)],
        [(0, 99), (1, 99)],
        [(1, 0)],
        [(0, 1), (0, 2)],
        [(3, 1), (1, 1)],
    ],
)
def test_turns_that_do_not_fit_the_messages_lose_none_of_them(turns):
    messages = (user("one"), assistant("two"), user("three"), assistant("four"))
    records = tuple(
        TurnRecord(first=f, count=c, status="?", at=MOMENT, usage=Usage(), cost=Cost())
        for f, c in turns
    )
    text = export.as_text(record_of(*messages, turns=records), ".md")
    assert [text.count(word) for word in ("one", "two", "three", "four")] == [1, 1, 1, 1]


# --- every form ------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", export.ENDINGS)
def test_every_form_holds_the_whole_conversation(ending):
    text = form(ending)
    for words in ("Add the numbers up", "sum(range(10))", "total 45", "add", "ZeroDivision"):
        assert words in text
    for words in (COMMAND.split()[1], "Gauss", "example.org/gauss", "As I was say", "openai"):
        assert words in text
    assert re.search("[Ii]nterrupted", text)


@pytest.mark.parametrize("ending", export.ENDINGS)
def test_no_form_holds_a_key(ending, tmp_path, monkeypatch):
    monkeypatch.setenv("TOLD_API_KEY", KEY)
    path = told_session().export(tmp_path / f"a{ending}")
    assert KEY not in path.read_text()
    assert "***" in path.read_text().replace("\\", "")


@pytest.mark.parametrize("ending", export.ENDINGS)
def test_a_key_that_is_cut_in_two_by_blocks_is_masked(ending, monkeypatch):
    monkeypatch.setenv("TOLD_API_KEY", KEY)
    halves = (Text(text=f"It is {KEY[:9]}"), Text(text=f"{KEY[9:]}, yes"))
    record = record_of(user("q"), Message(role="assistant", content=halves))
    if ending != ".json":  # there it stays two blocks
        assert KEY not in export.as_text(record, ending).replace("\\", "")


@pytest.mark.parametrize("ending", [".md", ".html", ".ipynb", ".py"])
def test_cost_and_model_of_each_turn_are_told(ending):
    text = form(ending)
    assert len(re.findall(r"openai/scripted-1 · (?:1,200 tokens|tokens unknown)", text)) == 2
    assert "3,600 tokens in, 1,020 out · cost unknown" in text


@pytest.mark.parametrize("ending", export.ENDINGS)
def test_a_conversation_without_a_word_is_a_document_too(ending):
    assert export.as_text(record_of(), ending)


def test_a_result_that_nobody_reads_is_cut_and_says_so():
    call = ToolCall(id="1", name="read", input={"path": "x"})
    result = ToolResult(call_id="1", content=(Text(text="y" * 3_000_000),))
    record = record_of(user("q"), assistant(call), user(result))
    for ending in (".md", ".html", ".ipynb", ".py"):
        text = export.as_text(record, ending)
        assert len(text) < 150_000
        assert "2,900,000 more characters are in the .json" in text
    assert "y" * 3_000_000 in export.as_text(record, ".json")


# --- .json -----------------------------------------------------------------------------------


def test_json_comes_back_as_an_equal_session(tmp_path):
    before = told_session()
    path = before.export(tmp_path / "a.json")
    after = al.Session.from_file(path, provider=before.provider)
    assert after.export_session() == before.export_session()
    assert after.messages == before.messages
    assert (after.usage, after.cost, after.name) == (before.usage, before.cost, before.name)


def test_an_argument_that_is_null_is_still_there_when_it_comes_back():
    call = ToolCall(id="1", name="f", input={"a": None, "b": {"c": [None]}})
    record = record_of(user("q"), assistant(call))
    assert SessionRecord.from_json(record.to_json()) == record


def test_a_session_from_a_file_goes_on(tmp_path):
    path = told_session().export(tmp_path / "a.json")
    model = Scripted(says("Gladly."))
    session = al.Session.from_file(path, provider=model)
    assert session.chat("Go on").text == "Gladly."
    assert len(model.requests[0].messages) >= 10
    assert len(session.export_session().turns) == 4


# --- .html -----------------------------------------------------------------------------------


class _Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_the_page_has_no_script_and_a_policy_that_allows_none():
    tags = _Tags(form(".html")).found
    assert not [tag for tag, _ in tags if tag in ("script", "link", "iframe", "object", "base")]
    assert not [a for _, attrs in tags for a in attrs if a.startswith("on")]
    policies = [attrs["content"] for tag, attrs in tags if "http-equiv" in attrs]
    assert policies == [POLICY]
    assert POLICY == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_thinking_and_tools_are_folded():
    tags = _Tags(form(".html")).found
    assert [attrs for tag, attrs in tags if tag == "details" and "open" in attrs] == []
    assert len([tag for tag, _ in tags if tag == "details"]) == 6


def test_the_page_has_a_bibliography_that_is_numbered():
    text = form(".html")
    assert re.findall(r'<li id="source-(\d)">', text) == ["1", "2"]
    assert "Sums &lt;of&gt; numbers" in text


def test_what_went_along_with_a_prompt_is_set_apart_from_it():
    told = 'Mean of @df?\n\n<reference name="df">\nx\n</reference>'
    page = export.as_text(record_of(user(told, "<kernel>\nnew\n</kernel>")), ".html")
    words = re.findall('<span class="words">(.*?)</span>', page, re.DOTALL)
    assert [text.split("\n")[0] for text in words] == [
        *("Mean of @df?", "&lt;reference name=&quot;df&quot;&gt;", "&lt;kernel&gt;"),
    ]


def test_pictures_are_in_the_page():
    assert form(".html").count(f'src="data:image/png;base64,{PNG}"') == 2


def test_the_title_is_escaped():
    text = export.as_text(record_of(metadata={"name": "</title><script>x"}), ".html")
    assert "<title>&lt;/title&gt;&lt;script&gt;x</title>" in text


def hostile_record(text: str) -> SessionRecord:
    """A conversation that says the same in every place that there is."""
    citation = Citation(url=text, title=text, quote=text)
    call = ToolCall(id=text, name=text, input={text: text, "code": text})
    code = ToolCall(id="p", name="python", input={"code": text})
    return record_of(
        user(text, Image(media_type=text, data=text), Image(url=text)),
        Message(
            role="assistant",
            content=(
                Thinking(text=text),
                Text(text=text, citations=(citation,)),
                call,
                code,
                Opaque(vendor=text, raw={"type": text}),
            ),
            origin=Origin(provider=text, model=text),
        ),
        user(
            ToolResult(call_id=text, content=(Text(text=text), Image(data=text))),
            ToolResult(call_id="p", content=(Text(text=text),)),
        ),
        metadata={"name": text},
        turns=(
            TurnRecord(
                first=0,
                count=3,
                status=text.encode("utf-8", "replace").decode()[:40],
                error=text,
                at=MOMENT,
                usage=Usage(),
                cost=Cost(),
            ),
        ),
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_harmless_in_the_page(name):
    text = export.as_text(hostile_record(HOSTILE[name]), ".html")
    body = text[text.index("<body>") + 6 : text.index("</body>")]
    body = re.sub(r"</?(?:header|main|section|footer)\b[^>]*>", "", body)
    body = re.sub(r' (?:class|id)="[a-z0-9 -]+"', "", body)
    assert offences(body) == []
    assert text.count("</body>") == text.count("</main>") == text.count("<main>") == 1
    assert text.count("<title>") == text.count("</title>") == 1


# --- .md -------------------------------------------------------------------------------------

GITHUB = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_harmless_in_markdown(name):
    text = export.as_text(hostile_record(HOSTILE[name]), ".md")
    body = text.removeprefix("<!-- alloy_nb -->")
    assert offences(GITHUB.render(body)) == []
    assert as_jupyterlab(body) == []


def test_markdown_is_folded_and_has_a_numbered_list_of_sources():
    html = GITHUB.render(form(".md"))
    assert html.count("<details>") == html.count("</details>") == 6
    sources = html[html.index("<h2>Sources</h2>") :]
    assert sources.count("<li>") == 2
    assert '<a href="https://example.org/sums?a=1&amp;b=2">Sums &lt;of&gt; numbers</a>' in sources


def test_code_in_a_fold_is_code_on_github():
    html = GITHUB.render(form(".md"))
    assert '<pre><code class="language-python">total = sum(range(10))\n' in html


# --- .ipynb ----------------------------------------------------------------------------------


def test_the_notebook_is_valid():
    nbformat.validate(json.loads(form(".ipynb")))


def test_the_cells_to_run_are_the_code_that_ran_and_did_not_fail():
    assert [cell["source"] for cell in cells() if cell["cell_type"] == "code"] == [CODE, PLOT]


def test_outputs_are_kept_as_text_and_pictures():
    outputs = [cell["outputs"] for cell in cells() if cell["cell_type"] == "code"]
    assert outputs == [
        [{"output_type": "stream", "name": "stdout", "text": "total 45\n"}],
        [
            {"output_type": "stream", "name": "stdout", "text": "90\n"},
            {"output_type": "display_data", "metadata": {}, "data": {"image/png": PNG}},
        ],
    ]


def test_a_picture_of_the_prompt_is_attached_to_its_cell():
    attached = [cell for cell in cells() if "attachments" in cell]
    assert len(attached) == 1
    assert attached[0]["attachments"] == {"picture-1.png": {"image/png": PNG}}
    assert "![Picture](attachment:picture-1.png)" in str(attached[0]["source"])


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_harmless_in_the_notebook(name):
    book = json.loads(export.as_text(hostile_record(HOSTILE[name]), ".ipynb"))
    nbformat.validate(book)
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            assert runnable(cell["source"])
        else:
            assert as_jupyterlab(cell["source"]) == []


@pytest.mark.parametrize(
    "code",
    [
        "%%bash\nrm -rf x",
        "!rm -rf x",
        "%alloy do it",
        "x = !ls",
        "?print",
        "print?",
        "/print x",
        ",print x",
        "rm x",
        "def f(:",
        "(" * 5000,
        "-" * 100_000 + "1",
        "x" * 300_000,
        "\0",
        "",
    ],
)
def test_what_is_not_python_is_no_cell_to_run(code):
    assert not runnable(code)
    call = ToolCall(id="1", name="python", input={"code": code})
    record = record_of(user("q"), assistant(call), user(ToolResult(call_id="1")))
    for ending in (".ipynb", ".py"):
        text = export.as_text(record, ending)
        if ending == ".ipynb":
            assert all(c["cell_type"] == "markdown" for c in json.loads(text)["cells"])
        else:
            assert only_comments(text)


@pytest.mark.parametrize("failed", [True, None])
def test_code_that_failed_or_never_answered_is_no_cell_to_run(failed):
    call = ToolCall(id="1", name="python", input={"code": "x = 1"})
    results = [] if failed is None else [user(ToolResult(call_id="1", is_error=True))]
    record = record_of(user("q"), assistant(call), *results)
    book = json.loads(export.as_text(record, ".ipynb"))
    assert [cell["cell_type"] for cell in book["cells"]] == ["markdown", "markdown"]


def ran_python(code: str) -> SessionRecord:
    call = ToolCall(id="1", name="python", input={"code": code})
    return record_of(user("q"), assistant(call), user(ToolResult(call_id="1")))


@pytest.mark.parametrize("hidden", ["\u200b", "\u202e", "\U000e0041"])
def test_code_that_hides_something_is_no_cell_to_run(hidden):
    record = ran_python(f"x = 'a{hidden}b'")
    book = json.loads(export.as_text(record, ".ipynb"))
    assert [cell["cell_type"] for cell in book["cells"]] == ["markdown", "markdown"]
    assert only_comments(export.as_text(record, ".py"))


def test_a_key_in_code_is_masked_and_the_code_is_still_a_cell(monkeypatch):
    monkeypatch.setenv("TOLD_API_KEY", KEY)
    record = ran_python(f"key = '{KEY}'\r\nx = 1")
    code = [c for c in json.loads(export.as_text(record, ".ipynb"))["cells"] if "outputs" in c]
    assert [cell["source"] for cell in code] == ["key = '***'\nx = 1"]


# --- .py -------------------------------------------------------------------------------------


def only_comments(text: str) -> bool:
    return ast.parse(text).body == []


def test_the_script_holds_the_code_and_nothing_else_that_would_act():
    code = ast.unparse(ast.parse(form(".py")))
    assert code == ast.unparse(ast.parse(f"{CODE}\n{PLOT}"))


def test_the_script_runs(capsys):
    namespace: dict[str, object] = {}
    exec(compile(form(".py"), "told.py", "exec"), namespace)
    assert (namespace["total"], namespace["drawn"]) == (45, 90)


def test_the_cells_of_the_script_are_marked():
    marks = re.findall(r"^# %%.*$", form(".py"), re.M)
    assert marks.count("# %%") == 2
    assert set(marks) == {"# %%", "# %% [markdown]"}


@pytest.mark.parametrize(
    "code", ["await something()", "from __future__ import annotations", "return 1"]
)
def test_what_only_a_cell_can_run_is_a_comment_in_the_script(code):
    call = ToolCall(id="1", name="python", input={"code": code})
    record = record_of(user("q"), assistant(call), user(ToolResult(call_id="1")))
    text = export.as_text(record, ".py")
    assert only_comments(text)
    assert code in text


@pytest.mark.parametrize("name", [*HOSTILE, "coding", "cell"])
def test_hostile_text_is_a_comment_in_the_script(name):
    more = {"coding": "-*- coding: utf-7 -*-\n+AGEAIAA9ACAAMQ-", "cell": "\n# %%\nimport os"}
    text = {**HOSTILE, **more}[name]
    record = hostile_record(text)
    script = export.as_text(record, ".py").encode()
    found = ast.parse(script)  # from bytes, so that a comment about the encoding counts
    ran = ast.unparse(ast.parse(text)) if runnable(text) else ""
    assert ast.unparse(found) in ("", ran)


# --- files -----------------------------------------------------------------------------------


def test_an_older_export_is_replaced_unasked(tmp_path):
    session = told_session()
    for ending in export.ENDINGS:
        path = tmp_path / f"a{ending}"
        session.export(path)
        before = path.read_bytes()
        session.export(path)
        assert path.read_bytes() == before


@pytest.mark.parametrize("ending", export.ENDINGS)
def test_what_somebody_else_wrote_is_replaced_only_by_force(ending, tmp_path):
    path = tmp_path / f"a{ending}"
    path.write_text("mine")
    session = told_session()
    with pytest.raises(ConfigError, match="exists and is no export"):
        session.export(path)
    assert path.read_text() == "mine"
    session.export(path, force=True)
    assert path.read_text() != "mine"


def test_a_notebook_that_was_edited_and_saved_is_not_replaced(tmp_path):
    path = told_session().export(tmp_path / "a.ipynb")
    nbformat.write(nbformat.read(path, as_version=4), path)
    with pytest.raises(ConfigError, match="exists and is no export"):
        told_session().export(path)


def test_a_file_that_is_replaced_keeps_its_mode_and_leaves_nothing_behind(tmp_path):
    path = told_session().export(tmp_path / "a.md")
    path.chmod(0o640)
    told_session().export(path)
    assert path.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in tmp_path.iterdir()] == ["a.md"]


@pytest.mark.parametrize(
    ("name", "told_so"),
    [
        ("a.pdf", "Cannot export to '.pdf': use FILE.md, .html, .json, .ipynb or .py."),
        ("missing/a.md", "Cannot write .*: no such file or directory."),
    ],
)
def test_what_cannot_be_written_is_one_sentence(name, told_so, tmp_path):
    with pytest.raises(ConfigError, match=told_so):
        told_session().export(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_that_name_is_left_alone(tmp_path):
    (tmp_path / "a.md").mkdir()
    for force in (False, True):
        with pytest.raises(ConfigError):
            told_session().export(tmp_path / "a.md", force=force)
    assert [p.name for p in tmp_path.iterdir()] == ["a.md"]


# --- length ----------------------------------------------------------------------------------


def long_record(messages: int) -> SessionRecord:
    citation = Citation(url="https://example.org/", end=5)
    said: list[Message] = []
    for number in range(messages // 4):
        call = ToolCall(id=f"c{number}", name="python", input={"code": f"x = {number}"})
        answer = Text(text="There **it** is.", citations=(citation,))
        said += [user("What?"), Message(role="assistant", content=(call,))]
        said += [user(ToolResult(call_id=call.id, content=(Text(text="1"),)))]
        said += [Message(role="assistant", content=(answer,))]
    turns = [
        TurnRecord(first=n * 4, count=4, status="completed", at=MOMENT, usage=Usage(), cost=Cost())
        for n in range(messages // 4)
    ]
    return record_of(*said, turns=tuple(turns))


def steps(record: SessionRecord, ending: str) -> int:
    """Count the calls of functions: a time would depend on the machine."""
    counted = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal counted
        counted += 1

    sys.setprofile(count)
    try:
        export.as_text(record, ending)
    finally:
        sys.setprofile(None)
    return counted


@pytest.mark.parametrize("ending", export.ENDINGS)
def test_ten_times_the_messages_are_ten_times_the_work(ending):
    export.as_text(long_record(40), ending)  # whatever is done once
    assert steps(long_record(4000), ending) < 10.5 * steps(long_record(400), ending)


def test_a_story_is_a_value():
    assert isinstance(story_of(told()), Story)
    assert story_of(told()) == story_of(told())


def test_the_forms_are_made_without_a_face(tmp_path):
    faces = {"IPython", "ipywidgets", "anywidget"}
    assert Path(export.__file__).parent.name == "engine"
    assert not [
        name
        for path in (Path(export.__file__).parent / "documents").glob("*.py")
        for name in faces
        if re.search(rf"^(?:import|from) {name}", path.read_text(), re.M)
    ]

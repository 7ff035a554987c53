"""``%alloy map``: a plan, a line that tells how far it is, a table; stopped, it goes on."""

from __future__ import annotations

import _thread
import io
import re
import threading
from typing import Any

import pandas as pd
import pytest

from alloy_nb.errors import RateLimited
from alloy_nb.notebook.drawing.bar import Bar, TerminalBar
from alloy_nb.providers import catalog
from tests.engine.scripted import HANG, Scripted, calls, says
from tests.notebook.hostile import CONTROL, PAYLOADS, as_jupyterlab, offences
from tests.notebook.scripting import magics, refused

SETUP = """
import pandas as pd
from pydantic import BaseModel
class Label(BaseModel):
    mood: str
df = pd.DataFrame({'review': ['great', 'bad', 'great', 'fine'], 'stars': [5, 1, 5, 3]},
                  index=[10, 20, 30, 40])
"""


@pytest.fixture
def table(cell, shell, tmp_path, monkeypatch):
    """Give a table of four reviews, and a model that labels each; nothing was answered before."""
    monkeypatch.chdir(tmp_path)
    assert cell(SETUP).ok
    model = Scripted(otherwise=calls(("Label", {"mood": "good"})))
    magics(shell).session().set_model(model)
    yield model
    for name in ("df", "Label", "labels"):
        shell.user_ns.pop(name, None)


def prompts(model: Scripted) -> list[str]:
    return sorted(request.messages[-1].text for request in model.requests)


def test_each_row_is_asked_once_and_the_answers_have_the_index_of_the_table(cell, shell, table):
    ran = cell("%alloy map df --as Label -o labels \"The mood of '{review}'?\"")
    assert ran.ok, ran.text
    assert prompts(table) == [
        "The mood of 'bad'?",
        "The mood of 'fine'?",
        "The mood of 'great'?",
    ]
    labels = shell.user_ns["labels"]
    assert labels.index.tolist() == [10, 20, 30, 40]
    assert labels["mood"].tolist() == ["good"] * 4


def test_the_plan_stands_before_and_the_bar_after(cell, table):
    shown = cell("%alloy map df --as Label -o labels The mood of {review}?").text
    plan, bar = shown.index("4 rows (1 the same as another): 3 requests"), shown.index("100 %")
    assert plan < bar
    assert re.search(r"█+ +100 % 4/4 rows · cost unknown · in \d+ s", shown)


def test_without_a_name_the_table_is_the_value_of_the_cell(cell, table):
    result = cell("%alloy map df --as Label The mood of {review}?").result
    assert isinstance(result, pd.DataFrame)
    assert result["error"].isna().all()


def test_without_a_type_the_answers_are_text(cell, shell, table):
    magics(shell).session().set_model(Scripted(otherwise=says("Fine.")))
    result = cell("%alloy map df.review What of {value}?").result
    assert result["answer"].tolist() == ["Fine."] * 4


def test_the_plan_alone_sends_nothing(cell, table):
    shown = cell("%alloy map df --as Label --dry-run The mood of {review}?").text
    assert "3 requests to scripted" in shown
    assert "%" not in shown
    assert table.requests == []


def test_the_cell_that_runs_again_pays_for_nothing(cell, table):
    cell("%alloy map df --as Label -o labels The mood of {review}?")
    shown = cell("%alloy map df --as Label -o labels The mood of {review}?").text
    assert "3 answered before" in shown
    assert len(table.requests) == 3


def test_all_is_asked_anew_where_that_is_wanted(cell, table):
    cell("%alloy map df --as Label -o labels The mood of {review}?")
    cell("%alloy map df --fresh --as Label -o labels The mood of {review}?")
    assert len(table.requests) == 6


def test_only_the_first_rows_are_asked_where_there_is_a_limit(cell, shell, table):
    cell("%alloy map df --limit 2 --as Label -o labels The mood of {review}?")
    assert len(table.requests) == 2
    assert len(shell.user_ns["labels"]) == 2


@pytest.mark.parametrize(
    ("source", "asked"),
    [
        ("df[df.stars > 1]", ["fine", "great"]),
        ('df.rename(columns={"review": "the text"})["the text"]', ["bad", "fine", "great"]),
        ('df.query("stars < 3 and stars > 0")', ["bad"]),
    ],
)
def test_a_table_may_be_an_expression_with_spaces(cell, shell, table, source, asked):
    what = "{value}" if "rename" in source else "{review}"
    ran = cell(f"%alloy map {source} --as Label -o labels {what}")
    assert ran.ok, ran.text
    assert prompts(table) == asked


def test_a_bracket_that_is_not_closed_is_said_to_be_no_table(cell, table):
    assert "df[df.stars is no table" in refused(cell("%alloy map df[df.stars > 1 The {review}?"))


def test_a_stopped_map_says_how_far_it_came_and_goes_on_there(cell, shell, table, monkeypatch):
    both_told, show = threading.Event(), TerminalBar.show

    def shown(bar: Any, text: str, **more: Any) -> None:
        show(bar, text, **more)
        if "3/4 rows" in text:
            both_told.set()

    monkeypatch.setattr(TerminalBar, "show", shown)
    answered: list[str] = []

    def answer(request: Any) -> Any:
        if "fine" in request.messages[-1].text and len(answered) < 3:
            answered.append("hangs")
            return [HANG]
        answered.append("answers")
        return calls(("Label", {"mood": "good"}))

    model = Scripted(otherwise=answer)
    magics(shell).session().set_model(model)

    def stop() -> None:
        both_told.wait(60)
        _thread.interrupt_main()

    threading.Thread(target=stop, daemon=True).start()
    ran = cell("%alloy map df --as Label -o labels The mood of {review}?")
    assert not ran.ok
    assert "■ Stopped." in ran.text
    assert "3/4 rows" in ran.text
    assert "Run the cell again and it goes on where it stopped." in ran.text
    assert "labels" not in shell.user_ns
    assert (
        "2 answered before" in cell("%alloy map df --as Label -o labels The mood of {review}?").text
    )
    assert len(model.requests) == 4


def test_a_map_that_asks_anew_and_is_stopped_says_how_to_keep_what_it_has(cell, shell, table):
    asked = threading.Event()
    model = Scripted(otherwise=lambda request: (asked.set(), [HANG])[1])
    magics(shell).session().set_model(model)

    def stop() -> None:
        asked.wait(30)
        _thread.interrupt_main()

    threading.Thread(target=stop, daemon=True).start()
    ran = cell("%alloy map df --fresh --as Label -o labels The mood of {review}?")
    assert "Run the cell again without --fresh and it goes on" in ran.text


def test_a_row_that_fails_has_its_error_and_the_rest_is_done(cell, shell, table):
    def answer(request: Any) -> Any:
        if "bad" in request.messages[-1].text:
            return RateLimited("slow down", status=429)
        return calls(("Label", {"mood": "good"}))

    magics(shell).session().set_model(Scripted(otherwise=answer))
    shown = cell("%alloy map df --set max_retries=0 --as Label -o labels The mood of {review}?")
    labels = shell.user_ns["labels"]
    assert "1 failed" in shown.text
    assert labels["mood"].notna().tolist() == [True, False, True, True]
    assert "slow down" in labels.loc[20, "error"]


def test_the_prompt_may_be_a_variable(cell, table):
    assert cell("mood = 'In one word:\\n{review}'\n%alloy map df --as Label $(mood)").ok
    assert "In one word:\nbad" in prompts(table)


def test_a_model_may_be_named_for_the_map_alone(cell, shell, table):
    assert cell("%alloy map df --limit 1 -m demo What is {stars} * 2?").ok
    assert table.requests == []
    assert magics(shell).session().provider is table


def test_what_a_map_cost_stands_among_what_the_turns_cost(cell, shell, table):
    catalog.override("priced/scripted-1", price=catalog.ModelPrice(input=1, output=1))
    answer = Scripted(otherwise=calls(("Label", {"mood": "good"})), name="priced")
    magics(shell).session().set_model(answer)
    cell("%alloy map df --as Label -o labels The mood of {review}?")
    cell("%alloy map df --as Label -o labels The mood of {review}?")  # asks nothing
    shown = cell("%alloy cost").text
    assert re.search(r"map +1 +The mood of \{review\}\? +scripted-1 .*< \$0.0001", shown)
    assert "map      2" not in shown
    assert cell("%alloy cost --df").result["usd"].tolist() == [pytest.approx(45e-6)]


# --- what may not be ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("map df --as Label The mood of {reviews}?", "Did you mean {review}?"),
        ("map nothing --as Label {x}", "There is no nothing"),
        ("map df.nothing --as Label {x}", "df.nothing is no table: AttributeError"),
        ("map df", "There is no table or no prompt"),
        ("map", "There is no table or no prompt"),
        ("map 5 --as Label {x}", "data must be a DataFrame"),
        ("map df --as DataFrame {review}", "name the class of one answer"),
        ("map df --as Labels {review}", "Labels"),
        ("map df -m demo,demo/quick {review}", "al.compare asks several"),
        ("map df --limit none {review}", "give a whole number"),
        ("map df --max-cost cheap {review}", "give US dollars"),
        ("map df -o 5x {review}", "no name"),
        ("map df -t python {review}", "-t means nothing to %alloy map"),
        ("map df --set nonsense=1 {review}", "there is no such option"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_sent(cell, table, line, told):
    ran = cell(f"%alloy {line}")
    said = refused(ran).replace("--tools", "-t")
    assert told in said
    assert table.requests == []


def test_limit_means_nothing_to_a_prompt(cell, table):
    assert "--limit means nothing to a prompt" in refused(cell("%%alloy --limit 5\nhello"))


@pytest.mark.parametrize("level", ["none", "names", "schema"])
def test_rows_are_not_sent_where_the_dial_keeps_values_here(cell, table, level):
    told = refused(cell(f"%alloy map df --data {level} --as Label {{review}}"))
    assert f"the data dial is at {level}" in told
    assert table.requests == []


def test_a_sample_lets_so_many_rows_through(cell, table):
    assert "--limit 2" in refused(cell("%alloy map df --data sample:2 --as Label {review}"))
    assert cell("%alloy map df --data sample:2 --limit 2 --as Label {review}").ok
    assert len(table.requests) == 2


def test_the_limit_of_the_notebook_holds_for_a_map(cell, shell, table):
    cell("%alloy budget 0.000001")
    nowhere = "-m anthropic/claude-sonnet-4-6 --base-url http://127.0.0.1:9"
    ran = cell(f"%alloy map df {nowhere} {{review}}")
    assert "$0.000001" in ran.result["error"].tolist()[0]


# --- the bar --------------------------------------------------------------------------------------


class Shown:
    """Keeps what a bar publishes."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self.updates: list[bool] = []
        self.ids: set[str] = set()

    def __call__(self, data: Any, *, display_id: str, update: bool, metadata: Any) -> None:
        del metadata
        self.frames.append(data)
        self.updates.append(update)
        self.ids.add(display_id)


def test_a_bar_is_one_output_that_is_updated_at_most_four_times_a_second():
    shown, now = Shown(), [0.0]
    bar = Bar(shown, clock=lambda: now[0])
    for step in range(1000):
        now[0] = step / 100
        bar.show(f"{step} rows")
    bar.show("1000 rows", last=True)
    assert len(shown.frames) <= 4 * 10 + 2
    assert shown.updates == [False, *[True] * (len(shown.frames) - 1)]
    assert len(shown.ids) == 1


def test_the_last_form_of_a_bar_is_drawn_at_once_and_can_be_read_as_text():
    shown = Shown()
    bar = Bar(shown, clock=lambda: 0.0)
    bar.show("50 %")
    bar.show("100 % 4/4 rows", last=True)
    assert shown.frames[-1]["text/plain"] == "100 % 4/4 rows"
    assert set(shown.frames[-1]) == {"text/plain", "text/html", "text/markdown"}


@pytest.mark.parametrize("name", {**PAYLOADS, **CONTROL})
def test_what_a_vendor_says_in_a_bar_is_harmless(name):
    shown = Shown()
    text = {**PAYLOADS, **CONTROL}[name]
    bar = Bar(shown, clock=lambda: 0.0)
    bar.show(text)
    bar.show(f"{text} done", last=True)
    assert [offences(frame.get("text/html", "")) for frame in shown.frames] == [[], []]
    assert as_jupyterlab(shown.frames[-1]["text/markdown"]) == []


def test_a_terminal_writes_the_line_over_itself_and_ends_it_once():
    out: list[str] = []
    now = [0.0]
    bar = TerminalBar(out.append, is_terminal=True, clock=lambda: now[0])
    for now[0] in (0.0, 0.1, 0.3):
        bar.show(f"at {now[0]}")
    bar.show("done", last=True)
    assert out == ["\r\x1b[Kat 0.0", "\r\x1b[Kat 0.3", "\r\x1b[Kdone\n"]


def test_what_is_no_terminal_gets_the_last_line_alone():
    out: list[str] = []
    bar = TerminalBar(out.append, is_terminal=False)
    bar.show("half")
    bar.show("done", last=True)
    assert out == ["done\n"]


def test_a_line_for_a_terminal_never_wraps():
    out = io.StringIO()
    TerminalBar(out.write, is_terminal=True).show("word " * 200, last=True)
    assert len(out.getvalue()) < 170

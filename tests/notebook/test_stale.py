"""Answers that no longer fit what they were given are listed, with what has changed."""

from __future__ import annotations

import pytest


@pytest.fixture
def ask(cell):
    """Give a function that asks the demo, and returns what ``stale`` says after another cell."""

    def ask(setup, prompt, change, flags=""):
        cell("%alloy reset")
        for source in (setup, f"%%alloy --approve none {flags}\n{prompt}", change):
            ran = cell(source)
            assert ran.ok, ran.text
        return cell("%alloy stale").text

    return ask


FRAME = "import pandas as pd\ndf = pd.DataFrame({'a': [1, 2, 3], 'b': [1, 2, 3]})"

CHANGES = {
    "rows": ("df = df.head(2)", "rows 3 -> 2 (rebound)"),
    "values in place": ("df.loc[0, 'a'] = 9", "other values (in place)"),
    "a column in place": ("df['c'] = 1", "+ c (in place)"),
    "a column less": ("df = df.drop(columns='b')", "- b (rebound)"),
    "another type": ("df = [1]", "pandas.DataFrame -> list"),
    "gone": ("del df", "gone"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_an_answer_is_stale_when_its_variable_changes(ask, change):
    told = ask(FRAME, "Look at @df", change[0])
    assert "Look at @df" in told
    assert change[1] in told


LARGE = "import numpy as np\nbig = np.zeros((1_000, 1_000))"


def test_a_large_array_is_compared_by_a_part_of_it(ask):
    assert "other values (in place)" in ask(LARGE, "Look at @big", "big += 1")


def test_the_size_of_a_large_array_is_compared_as_a_whole(ask):
    assert "1,000 -> 999" in ask(LARGE, "Look at @big", "big = big[1:]")


@pytest.mark.parametrize("change", ["df = df.copy()", "other = 1", "df.head(1)", "df = df"])
def test_an_answer_is_not_stale_when_the_values_are_the_same(ask, change):
    assert "Nothing has changed: 1 answer looked at." in ask(FRAME, "Look at @df", change)


def test_an_answer_that_was_given_nothing_is_not_looked_at(ask):
    told = ask(FRAME, "What is 1 + 1?", "df = 1")
    assert "No answer of this session was given a variable" in told


def test_a_file_that_changes_makes_an_answer_stale(ask, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.md").write_text("first")
    change = "import pathlib; pathlib.Path('notes.md').write_text('second');"
    assert "has another text now" in ask("1;", "Read @file:notes.md", change)


def test_the_variables_of_an_expression_are_inputs(ask):
    assert "rows 3 -> 2" in ask(FRAME, "So many: $(len(df))", "df = df.head(2)")


def test_an_input_flag_is_an_input(ask):
    assert "rows 3 -> 2" in ask(FRAME, "Look.", "df = df.head(2)", flags="-i df")


@pytest.mark.parametrize("word", ["@last", "@plot", "@error"])
def test_a_moment_does_not_grow_old(ask, word):
    ask("1 + 1", f"Look at {word}", "2 + 2")
    assert "how it changed" not in ask("1 + 1", f"Look at {word}", "2 + 2")


def test_a_variable_that_the_python_of_an_answer_read_is_an_input(cell):
    cell("%alloy reset")
    cell("numbers = [1, 2, 3]")
    cell("%alloy --approve all What is in @numbers?")
    cell("numbers.append(4)")
    assert "length 3 -> 4 (in place)" in cell("%alloy stale").text


def test_an_answer_that_is_shown_again_says_that_it_is_stale(cell):
    cell("%alloy reset")
    cell(FRAME)
    cell("%alloy --approve none -o answer Look at @df")
    assert "Since this answer" not in cell("answer").text
    cell("df = df.head(2)")
    assert "Since this answer: df rows 3 -> 2 (rebound)." in cell("answer").text


def test_a_cell_that_runs_again_with_another_source_makes_an_answer_stale(shell, cell):
    cell("%alloy reset")
    shell.run_cell("x = 1", store_history=True, cell_id="first")
    number = shell.execution_count - 1
    cell(f"%alloy --approve none Explain @In[{number}]")
    assert "Nothing has changed" in cell("%alloy stale").text
    shell.run_cell("x = 2", store_history=True, cell_id="first")
    assert f"In[{number}]  has another text now" in cell("%alloy stale").text


def test_another_session_has_its_own_answers(cell):
    cell("%alloy reset")
    cell(FRAME)
    cell("%alloy --approve none Look at @df")
    cell("df = 1")
    assert "No answer of this session" in cell("%alloy stale -s other").text

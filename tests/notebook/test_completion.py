"""Tab after ``%alloy`` knows commands, flags, models and the names that a prompt may refer to."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from IPython.core.completer import provisionalcompleter

from alloy_nb.notebook.completion import choices
from alloy_nb.notebook.grammar import COMMANDS, FLAGS
from tests.notebook.shell import run
from tests.quickest import quickest


@pytest.fixture
def complete(cell, shell):
    """Return what IPython's completer gives at the end of a text."""

    def at_end(text):
        with provisionalcompleter():
            found = list(shell.Completer.completions(text, len(text)))
        done = [text[: c.start] + c.text for c in found]
        return [each for each in done if each != text]

    return at_end


def words(complete, text):
    """The last word of each completed text."""
    return [done.split(" ")[-1] for done in complete(text)]


def table(cell):
    cell("import pandas as pd\nsales = pd.DataFrame({'north': [1], 'south': [2], 'a b': [3]})")


# --- commands and flags -----------------------------------------------------------------------


def test_commands_are_completed_after_the_magic(complete):
    assert words(complete, "%alloy fi") == ["fix", "findings"]
    assert {"resume", "reset", "retry"} <= set(words(complete, "%alloy re"))


def test_every_command_is_offered(complete):
    assert {c.name for c in COMMANDS} <= set(words(complete, "%alloy "))


def test_a_flag_is_completed_from_its_dashes(complete):
    assert words(complete, "%alloy --m") == ["--model", "--max-turns", "--max-cost"]


def test_every_flag_of_a_prompt_is_offered(complete):
    from alloy_nb.notebook.grammar import COMMAND_FLAGS

    offered = set(words(complete, "%%alloy -"))
    wanted = {name for flag in FLAGS if flag.key not in COMMAND_FLAGS for name in flag.names}
    assert offered == wanted


def test_a_command_is_offered_the_flags_that_mean_something_to_it(complete):
    assert words(complete, "%alloy export a.md --f") == ["--force"]
    assert words(complete, "%alloy cost --m") == []


def test_the_values_of_a_flag_are_completed(complete):
    assert words(complete, "%alloy --think h") == ["high"]
    assert words(complete, "%alloy --approve ") == ["ask", "read", "all", "none"]
    assert complete("%alloy --think=me") == ["%alloy --think=medium"]


def test_models_are_completed_vendors_first_and_then_what_is_listed(complete):
    assert "anthropic/claude-sonnet-4-6" in words(complete, "%alloy -m anth")
    assert "ollama/" in words(complete, "%alloy -m oll")
    listed = words(complete, "%alloy -m anthropic/claude-son")
    assert len(listed) > 1
    assert all(word.startswith("anthropic/claude-son") for word in listed)


def test_the_second_model_of_several_is_completed(complete):
    assert complete("%alloy -m demo,anth")[0].startswith("%alloy -m demo,anthropic/")


def test_the_model_command_completes_models_and_efforts(complete):
    assert "demo" in words(complete, "%alloy model d")
    assert words(complete, "%alloy model openai/gpt-5.4:hi") == ["openai/gpt-5.4:high"]


def test_sessions_are_completed(complete, cell):
    cell("%alloy -s second hello")
    assert words(complete, "%alloy -s sec") == ["second"]
    assert "second" in words(complete, "%alloy use s")


def test_branches_are_completed(complete, cell, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cell("%config Alloy.journal = 'on'")
    cell("%unload_ext alloy_nb")
    cell("%load_ext alloy_nb")
    cell("%alloy hello")
    cell("%alloy fork sideways")
    assert "sideways" in words(complete, "%alloy use side")
    assert "sideways" in words(complete, "%alloy --fork si")


def test_files_are_completed_for_commands_that_take_one(complete, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kept.json").write_text("{}")
    (tmp_path / "kept.txt").write_text("")
    (tmp_path / "folder").mkdir()
    assert words(complete, "%alloy import ke") == ["kept.json"]
    assert words(complete, "%alloy export fo") == ["folder/"]


def test_help_completes_commands(complete):
    assert words(complete, "%alloy help prom") == ["promote"]


# --- names ------------------------------------------------------------------------------------


def test_variables_are_completed_after_an_at(complete, cell):
    table(cell)
    assert words(complete, "%alloy why is @sal") == ["@sales"]


def test_variables_are_completed_in_the_body_of_a_cell(complete, cell):
    table(cell)
    assert complete("%%alloy -m demo\nLook.\nWhy is @sal") == [
        "%%alloy -m demo\nLook.\nWhy is @sales"
    ]


def test_columns_are_completed_after_a_dot(complete, cell):
    table(cell)
    assert words(complete, "%alloy mean of @sales.") == ["@sales.north", "@sales.south"]


def test_cells_are_completed_by_their_numbers(complete, cell, shell):
    cell("1 + 1")
    number = shell.execution_count - 1
    assert f"@Out[{number}]" in words(complete, "%alloy why @Out[")
    assert f"@In[{number}]" in words(complete, "%alloy why @In[")


def test_the_words_that_are_references_are_completed(complete):
    assert "@error" in words(complete, "%alloy why @err")
    assert "@plot" in words(complete, "%alloy why @pl")
    assert "@file:" in words(complete, "%alloy why @fi")


def test_files_are_completed_after_at_file_below_the_folder_alone(complete, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.md").write_text("")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "deep.md").write_text("")
    assert words(complete, "%alloy read @file:no") == ["@file:notes.md"]
    assert words(complete, "%alloy read @file:sub/") == ["@file:sub/deep.md"]
    assert words(complete, "%alloy read @file:../") == []
    assert words(complete, "%alloy read @file:/") == []


def test_modules_and_what_ipython_put_there_are_no_names(complete, cell):
    cell("import json as jason")
    assert words(complete, "%alloy @jas") == []
    assert "@exit" not in words(complete, "%alloy @ex")


def test_an_address_is_no_reference(complete, cell):
    table(cell)
    assert complete("%alloy write to ada@sal") == []


def test_the_inputs_of_a_flag_are_names(complete, cell):
    table(cell)
    assert words(complete, "%alloy -i sal") == ["sales"]


# --- where it has nothing to say --------------------------------------------------------------


def test_a_prompt_is_not_taken_for_flags(complete):
    assert words(complete, "%alloy subtract --m") == []
    assert words(complete, "%alloy -- --m") == []


def test_python_is_left_to_ipython(complete, cell):
    table(cell)
    assert "sales" in words(complete, "sal")
    assert not any("--" in done for done in complete("x = 1 -"))


def test_an_expression_in_a_prompt_is_completed_as_python(complete, cell):
    table(cell)
    assert words(complete, "%alloy is it $(sal") == ["$(sales"]
    assert words(complete, "%alloy is it $(len(sal") == ["$(len(sales"]
    assert words(complete, "%alloy is it $(len(sales)) in @sal") == ["@sales"]


def test_other_magics_are_left_alone(complete):
    assert not any("fix" in done for done in complete("%alloyed fi"))


def test_an_assignment_of_the_magic_is_completed_too(complete):
    assert words(complete, "answer = %alloy --think h") == ["high"]


# --- manners ----------------------------------------------------------------------------------


def test_no_code_of_the_users_runs(complete, cell, shell):
    cell(
        "ran = []\n"
        "class Loud:\n"
        "    def __getattr__(self, name): ran.append(name); raise AttributeError(name)\n"
        "    @property\n"
        "    def size(self): ran.append('size')\n"
        "    def __repr__(self): ran.append('repr'); return ''\n"
        "loud = Loud()"
    )
    complete("%alloy @lo")
    complete("%alloy @loud.")
    assert shell.user_ns["ran"] == []


def test_a_table_that_fails_breaks_nothing(complete, cell):
    cell(
        "class Bad:\n"
        "    dtypes = ()\n"
        "    @property\n"
        "    def columns(self): raise RuntimeError('broken')\n"
        "bad = Bad()"
    )
    assert complete("%alloy @bad.") == []


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.sampled_from("@-=/.[]:, \n'\"abfilemn%$("), max_size=25))
def test_whatever_is_typed_choices_go_on_from_it(shell, text):
    run(shell, "%load_ext alloy_nb")
    desk = next(c for c in shell.configurables if type(c).__name__ == "Alloy").desk
    for start in ("%alloy ", "%%alloy "):
        begun = choices(desk, start + text)
        if begun is None:
            assert "$(" in text or "\n" in text
            continue
        fragment, found = begun
        assert (start + text).endswith(fragment)
        assert all(choice.text.startswith(fragment) for choice in found)


def test_many_names_are_completed_without_a_pause(complete, shell):
    shell.user_ns.update({f"many_{n}": n for n in range(50_000)})
    found = complete("%alloy @many_1")

    def seconds():
        began = time.perf_counter()
        complete("%alloy @many_1")
        return time.perf_counter() - began

    took = quickest(seconds, 1)
    for n in range(50_000):
        del shell.user_ns[f"many_{n}"]
    assert len(found) >= 199  # what is typed already is one of the 200
    # 50 ms are meant, on a machine that is not busy with other things.
    assert took < 1


def test_unloading_takes_the_matcher_away(cell, shell):
    before = len(shell.Completer.custom_matchers)
    cell("%unload_ext alloy_nb")
    assert len(shell.Completer.custom_matchers) == before - 1
    cell("%load_ext alloy_nb")
    cell("%reload_ext alloy_nb")
    assert len(shell.Completer.custom_matchers) == before


def test_an_object_that_hides_its_class_hides_no_other_name(cell, complete):
    cell("class Unset:\n    @property\n    def __class__(self): raise RuntimeError('not set up')")
    cell("unset = Unset()\nfine = 1\ndef finer(): pass")
    assert words(complete, "%alloy x @fin") == ["@fine", "@finer"]
    assert "finer" in words(complete, "%alloy tools add f")

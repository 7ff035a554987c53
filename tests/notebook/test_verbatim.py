"""IPython leaves prompts alone that end in a question mark, and everything else is IPython's."""

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from alloy_nb.notebook.verbatim import keep_question_marks


@pytest.fixture(scope="module")
def transform():
    manager = TransformerManager()
    manager.cleanup_transforms.append(keep_question_marks)
    return manager.transform_cell


def call(prompt):
    return f"get_ipython().run_line_magic('alloy', {prompt!r})\n"


@pytest.mark.parametrize(
    "prompt",
    [
        "what is in df?",
        "what is in df??",
        "-m demo what's in @df?",
        "is {x} or $x or 'x' or \"x\"?",
        r"C:\new?",
        "Ist das schön? Ja?",
        "warum 🦜?",
    ],
)
def test_a_question_is_asked(transform, prompt):
    assert transform(f"%alloy {prompt}") == call(prompt)


def test_a_question_without_a_mark_at_its_end_needs_no_help(transform):
    assert transform("%alloy is it? yes") == call("is it? yes")


@pytest.mark.parametrize("before", ["answer = ", "answer=", "    ", "_x1 = "])
def test_what_stands_before_is_kept(before):
    assert keep_question_marks([f"{before}%alloy why?\n"]) == [before + call("why?")]


def test_an_assigned_question_runs_through_ipython(transform):
    assert transform("answer = %alloy why?") == f"answer = {call('why?')}"


def test_questions_in_a_cell_of_several_lines_are_asked(transform):
    code = "x = 1\n%alloy why?\nfor i in x:\n    %alloy how?\n"
    assert transform(code) == f"x = 1\n{call('why?')}for i in x:\n    {call('how?')}"


@pytest.mark.parametrize("line", ["%alloy?", "%alloy??", "?%alloy"])
def test_the_magic_s_own_help_is_kept(transform, line):
    assert "pinfo" in transform(line)
    assert keep_question_marks([f"{line}\n"]) == [f"{line}\n"]


@pytest.mark.parametrize("line", ["df?", "%time?", "x = 1 # %alloy why?", "%alloys why?", "alloy?"])
def test_other_lines_are_ipython_s(line):
    assert keep_question_marks([f"{line}\n"]) == [f"{line}\n"]


@pytest.mark.parametrize("head", ["%%alloy\n", "%%bash\n", "\n\n%%markdown\n", "%%time\n"])
def test_the_body_of_a_cell_magic_is_untouched(head):
    lines = [*head.splitlines(keepends=True), "%alloy what is this?\n", "df?\n"]
    assert keep_question_marks(lines) == lines


@pytest.mark.parametrize("quote", ['"""', "'''"])
def test_a_long_string_is_untouched(quote):
    lines = [f"text = {quote}\n", "%alloy why?\n", f"{quote}\n", "%alloy how?\n"]
    assert keep_question_marks(lines) == [*lines[:3], call("how?")]


def test_a_quotation_in_a_prompt_opens_no_string():
    lines = ['%alloy what does """ mean?\n', "%alloy why?\n"]
    assert keep_question_marks(lines)[1] == call("why?")


def test_a_last_line_without_an_end_keeps_it_so():
    assert keep_question_marks(["%alloy why?"]) == [call("why?").rstrip("\n")]

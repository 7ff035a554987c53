"""Which names a conversation knows that a new kernel does not."""

import pytest

from alloy_nb.messages import Message, Text, ToolCall
from alloy_nb.notebook.inputs import fresh


def said(*blocks, role="user"):
    return Message(role=role, content=blocks)


def ran(code):
    return said(ToolCall(id="c", name="python", input={"code": code}), role="assistant")


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("total = 1", ["total"]),
        ("print(df.shape)", ["df"]),
        ("import numpy as np", ["np"]),
        ("def f(x):\n    y = x\n    return y", ["f"]),
        ("a, b = 1, 2", ["a", "b"]),
        ("sum(n for n in [1])", []),
        ("for i in range(3): pass", ["i"]),
        ("this is no code", []),
        (None, []),
    ],
)
def test_names_that_code_sets_or_reads_at_its_top_level_are_known(code, names):
    assert fresh.gone([ran(code)], {}) == names


def test_names_that_a_prompt_refers_to_are_known():
    text = 'What?\n\n<reference name="df">\ndf: pandas.DataFrame\n</reference>'
    assert fresh.gone([said(Text(text=text))], {}) == ["df"]


def test_what_the_model_says_refers_to_nothing():
    text = '<reference name="df">'
    assert fresh.gone([said(Text(text=text), role="assistant")], {}) == []


def test_what_is_there_is_not_gone():
    assert fresh.gone([ran("a = 1"), ran("b = 2")], {"a": 5}) == ["b"]


def test_the_note_names_some_and_counts_the_rest():
    note = fresh.note([f"name{number}" for number in range(50)])
    assert "name0" in note
    assert "10 more" in note

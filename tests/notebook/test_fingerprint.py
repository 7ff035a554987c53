"""A replay holds only while what the prompt refers to is the same."""

import numpy as np
import pandas as pd
import pytest

from alloy_nb.notebook.inputs.fingerprint import fingerprint

PAIRS = {
    "a number": (1, 2),
    "a text": ("a", "b"),
    "a type": (1, True),
    "a list": ([1, [2]], [1, [3]]),
    "a mapping": ({"a": 1}, {"a": 2}),
    "an array": (np.array([1.0, 2.0]), np.array([1.0, 3.0])),
    "a table": (pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"a": [1, 3]})),
    "its columns": (pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"b": [1, 2]})),
    "a file": (b"first", b"second"),
    "a picture": ("aGk=", "aGo="),
    "a cell and its table": (("df", pd.DataFrame({"a": [1]})), ("df", pd.DataFrame({"a": [2]}))),
    "a source": ("x = 1", "x = 2"),
    "a series": (pd.Series([1, 2]), pd.Series([2, 1])),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_another_value_is_another_hash(pair):
    first, second = ({"x": value} for value in pair)
    assert fingerprint(["x"], first) != fingerprint(["x"], second)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_the_same_value_is_the_same_hash(pair):
    value = pair[0]
    copy = value.copy() if hasattr(value, "copy") else value
    assert fingerprint(["x"], {"x": value}) == fingerprint(["x"], {"x": copy})


def test_without_references_there_is_nothing_to_be_the_same():
    assert fingerprint([], {"x": 1}) == ""


class Nasty:
    """Fails wherever it is looked at."""

    def __getattribute__(self, name):
        raise RuntimeError("no")

    def __repr__(self):
        raise RuntimeError("no")


def test_an_object_that_fails_is_known_by_its_description():
    assert fingerprint(["x"], {"x": Nasty()}) == fingerprint(["x"], {"x": Nasty()})


def test_a_huge_list_is_not_read_to_its_end():
    assert fingerprint(["x"], {"x": [0] * 10**6})

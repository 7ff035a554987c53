"""What was sent is shown as JSON that a person can read, and a program too."""

import json

from hypothesis import given
from hypothesis import strategies as st

from alloy_nb.engine.sessions.sent import _written

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=40,
)


@given(JSON)
def test_it_says_what_the_value_is(value):
    assert json.loads(_written(value)) == value


def test_what_fits_into_a_line_stands_in_one():
    assert _written({"role": "user", "content": "hi"}) == '{"role": "user", "content": "hi"}'


def test_what_is_longer_has_a_line_for_each_part():
    told = _written({"a": ["x" * 60, "y" * 60], "b": {}})
    assert told.splitlines() == [
        *("{", '  "a": [', f'    "{"x" * 60}",', f'    "{"y" * 60}"', "  ],", '  "b": {}', "}"),
    ]

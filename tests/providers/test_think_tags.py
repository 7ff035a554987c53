"""Inline thinking is told from text, wherever the stream is cut."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from alloy_nb.providers.think_tags import ThinkTags


def split(pieces):
    tags = ThinkTags()
    pairs = [pair for piece in pieces for pair in tags.feed(piece)] + tags.close()
    return {kind: "".join(said for k, said in pairs if k == kind) for kind in ("thinking", "text")}


def test_what_stands_between_the_tags_is_thinking():
    assert split(["<think>why</think>\n\nbecause"]) == {"thinking": "why", "text": "because"}


def test_tags_further_on_are_text():
    assert split(["use <think>x</think>"]) == {"thinking": "", "text": "use <think>x</think>"}


def test_thinking_that_never_ends_is_thinking():
    assert split(["<think>on and on </thi"]) == {"thinking": "on and on </thi", "text": ""}


def test_a_beginning_that_is_no_tag_is_text():
    assert split(["<th", "ead>"]) == {"thinking": "", "text": "<thead>"}


def test_an_answer_that_ends_within_what_may_be_a_tag_is_kept():
    assert split(["<thin"]) == {"thinking": "", "text": "<thin"}


@given(
    st.text(alphabet="<>/think ab\n", max_size=12).filter(lambda t: "</think>" not in t),
    st.text(alphabet="<>/think ab\n", min_size=1, max_size=12),
    st.data(),
)
def test_the_cuts_change_nothing(thought, said, data):
    whole = f"<think>{thought}</think>{said}"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    edges = [0, *cuts, len(whole)]
    pieces = [whole[a:b] for a, b in pairwise(edges)]
    assert split(pieces) == split([whole])

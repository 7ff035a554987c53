"""What goes along with a prompt is written and read in one place, and cannot pose as its words."""

from hypothesis import given
from hypothesis import strategies as st

from alloy_nb.markup.alongside import (
    beginning,
    form,
    form_of,
    kernel_note,
    reference,
    referenced,
    typed,
)

# Prompts without marks of ours, and texts that try to be such marks.
PLAIN = st.text(alphabet="ab \n@.?")
MARKS = st.lists(
    st.sampled_from(
        [
            *('<reference name="', '">', "</reference>", "</reference", "<kernel>", "</kernel>"),
            *("\n", "\n\n", '"', "<", "df", " ", "</REFERENCE>"),
        ]
    )
).map("".join)


@given(PLAIN, st.lists(st.tuples(MARKS.filter(bool), MARKS), max_size=4))
def test_whatever_is_told_each_block_is_found_whole_and_nothing_else(words, things):
    blocks = [reference(name, told) for name, told in things]
    text = "\n\n".join([words, *blocks])
    assert [block for _, block in referenced(text)] == blocks
    assert typed(text) == words


@given(MARKS)
def test_what_is_told_has_one_end(told):
    assert reference("df", told).count("</reference") == 1


def test_a_name_stays_readable():
    block = reference('$(a["b"] < 3)', "True")
    assert [name for name, _ in referenced(block)] == ["$(a['b'] ‹ 3)"]


def test_a_long_name_is_found():
    name = f"$(sum({'1 + ' * 40}1))"
    assert [found for found, _ in referenced(reference(name, "41"))] == [name]


def test_a_block_without_an_end_is_none():
    assert not list(referenced('<reference name="df">' * 3))


def test_many_blocks_without_an_end_cost_no_more_than_their_length():
    assert not list(referenced('<reference name="df">' * 200_000))


def test_words_of_a_person_are_exact():
    assert typed("  two\n\nparts \n\n" + reference("df", "x")) == "  two\n\nparts "


@given(PLAIN, st.lists(st.tuples(MARKS.filter(bool), MARKS), max_size=2))
def test_the_form_of_an_answer_is_found_and_is_no_word_of_a_person(words, things):
    blocks = [reference(name, told) for name, told in things]
    text = "\n\n".join([words, *blocks])
    formed = f"{text}\n\n{form('code', 'Answer with code alone.')}"
    assert (form_of(formed), form_of(text)) == ("code", "")
    assert typed(formed) == words


def test_a_list_shows_neither_references_nor_notes():
    assert beginning("what is\nin @df?\n\n" + reference("df", "x"), 60) == "what is in @df?"
    assert beginning("what is it?" + kernel_note("A new one."), 60) == "what is it?"
    assert beginning("what is it?" + form("code", "As code."), 60) == "what is it?"


def test_a_line_of_the_journal_has_no_line_breaks_left():
    line = " ".join(f"how many?\n\n{reference('df', 'x')}".split())
    assert beginning(line, 60) == "how many?"


def test_a_beginning_is_no_longer_than_asked():
    assert beginning("word " * 50, 20) == "word word word word…"

"""What the panel draws besides answers: prompts, what code displayed, the kept conversation."""

import asyncio
import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alloy_nb.messages import Image, Text, user
from alloy_nb.notebook.drawing.conversation import (
    Said,
    conversation,
    displayed,
    printed,
    prompted,
)
from alloy_nb.notebook.drawing.render import Bundle
from alloy_nb.notebook.drawing.transcript import Transcript
from alloy_nb.notebook.panel.drawn import Asked, Drawn, asked_in
from alloy_nb.notebook.panel.live import Live
from tests.kernel.panel_client import Store
from tests.notebook.hostile import PAYLOADS, as_jupyterlab, offences

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n...").decode()


def every(bundle):
    """Return what is wrong with a bundle, in each of its forms."""
    return [*offences(bundle.html), *as_jupyterlab(bundle.markdown)]


@pytest.mark.parametrize("name", sorted(PAYLOADS))
def test_nothing_that_is_drawn_beside_an_answer_acts(name):
    text = PAYLOADS[name]
    image = Image(media_type="image/png", data=text)
    drawn = [
        prompted(text, [image], labels=[text]),
        printed(text),
        displayed({"text/html": text, "text/plain": text}),
        displayed({"image/png": text, "text/plain": text}),
        displayed({"image/png": PNG, "text/plain": text}),
        displayed({"image/svg+xml": text, "text/markdown": text, "text/plain": text}),
        displayed({"application/javascript": text}),
    ]
    assert [every(one) for one in drawn] == [[]] * len(drawn)


def test_the_kept_conversation_is_what_its_parts_are():
    said = [Said(prompted("why?"), "14:02", [Bundle("<p>So.</p>", "So.", "So.")])]
    kept = conversation(said, earlier=1, panel="abc")
    assert kept.html.startswith('<div class="alloy-transcript" data-panel="abc">')
    assert "1 earlier turn is not shown here." in kept.plain
    assert [word in kept.markdown for word in ("you, 14:02", "why", "So.")] == [True] * 3


def test_without_turns_it_says_so():
    assert conversation([]).plain == "Nothing was asked here yet."


def test_a_table_keeps_its_cells_and_loses_what_acts():
    cell = '<td onclick="x()">7</td>'
    table = f"<style>td{{}}</style><table><tr>{cell}</tr></table><script>x()</script>"
    drawn = displayed({"text/html": table, "text/plain": "   a\n0  7"})
    assert "<td>7</td>" in drawn.html
    assert every(drawn) == []
    assert drawn.plain == "   a\n0  7"


def test_a_picture_is_shown_and_one_that_is_none_is_told():
    assert f"data:image/png;base64,{PNG}" in displayed({"image/png": PNG}).html
    told = displayed({"image/png": "no picture", "text/plain": "<Figure>"})
    assert "<img" not in told.html
    assert "&lt;Figure&gt;" in told.html


def test_what_is_too_long_is_shown_by_its_text():
    table = "<table>" + "<tr><td>1</td></tr>" * 20_000 + "</table>"
    assert displayed({"text/html": table, "text/plain": "many rows"}).html.count("<td>") == 0


def test_a_prompt_is_what_was_typed_without_what_went_along():
    text = 'why?\n\n<reference name="df">\n1 row\n</reference>'
    asked = asked_in(user(text))
    assert asked.text == "why?"
    assert asked.chips == ({"label": "@df"},)


def test_a_note_on_the_kernel_is_no_part_of_a_prompt():
    message = user("why?").model_copy(
        update={"content": (Text(text="why?"), Text(text="<kernel>\nIt is new.\n</kernel>"))}
    )
    assert asked_in(message).text == "why?"


# What grows, and now and then is another: letters, letters of two halves, and half of one.
grown = st.lists(
    st.tuples(st.text(st.sampled_from("ab<>&\U0001f600\u00e9"), max_size=40), st.integers(0, 400)),
    max_size=12,
)


@settings(max_examples=200, deadline=None)
@given(grown)
def test_the_page_has_each_output_as_it_was_drawn(changes):
    store = Store({})

    async def draw():
        live = Live(
            Drawn("t1", 1, "", Asked("?")),
            Transcript(),
            lambda kind, fields: store.take({"kind": kind, **fields}),
        )
        live.begin()
        html = ""
        for text, back in changes:
            html = html[: len(html) - min(back, len(html) // 2)] + text * 9
            live.add(Bundle(html or "-", "", "x"), name="one")
            assert store.live["outputs"][0]["html"] == (html or "-")

    asyncio.run(draw())

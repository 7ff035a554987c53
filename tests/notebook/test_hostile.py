"""Hostile text where there is no browser: in a terminal, in a question, in tables of names."""

from __future__ import annotations

import re

import pytest

import alloy_nb as al
from alloy_nb.events import (
    BlockStarted,
    Event,
    EventBody,
    RunStarted,
    TextDelta,
    ThinkingDelta,
    ToolFinished,
    TurnStarted,
)
from alloy_nb.messages import Text, ToolCall, ToolResult
from alloy_nb.notebook.approval.person import _in_words
from alloy_nb.notebook.approval.question import Change, question_about
from alloy_nb.notebook.drawing import cards
from alloy_nb.notebook.drawing.terminal import TerminalCanvas
from alloy_nb.notebook.drawing.transcript import Transcript
from tests.notebook.hostile import CONTROL, PAYLOADS, as_jupyterlab, offences

CORPUS = {**PAYLOADS, **CONTROL}
# What a terminal obeys, and what overrides the order of others or carries text that nobody sees.
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e01ef]"
)
# A question is stricter: joiners, soft hyphens and fillers belong to scripts, and not to code.
_UNSEEN = re.compile(f"{_OBEYED.pattern}|[\u00ad\u061c\u115f\u1160\u200c-\u200f\u3164\uffa0]")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def obeyed(written: str) -> list[str]:
    return _OBEYED.findall(_COLOUR.sub("", written))


def written(*bodies: EventBody) -> tuple[str, set[str]]:
    """Return what a terminal gets of a turn, drawn after each event, and the colours in it."""
    transcript = Transcript()
    out: list[str] = []
    canvas = TerminalCanvas(transcript, out.append)
    for number, body in enumerate(bodies, 1):
        transcript.apply(Event(1, number, "run", "agent", 1, float(number), body))
        canvas.mark()
    canvas.finish()
    text = "".join(out)
    return text, set(_COLOUR.findall(text))


@pytest.mark.parametrize("name", CORPUS)
def test_a_terminal_gets_colours_line_ends_and_tabs_alone_however_the_text_is_cut(name):
    text = CORPUS[name]
    call = ToolCall(id="c1", name="python", input={"code": text})
    result = ToolResult(call_id="c1", name="python", content=(Text(text=text),))
    began = (RunStarted(None, text, text), TurnStarted(text, text))
    shown, colours = written(
        *began,
        BlockStarted(0, "thinking"),
        *(ThinkingDelta(0, c) for c in text),
        BlockStarted(1, "text"),
        *(TextDelta(1, c) for c in text),
        BlockStarted(2, "tool_call", "c1", text),
        ToolFinished(call, result, 0.1),
    )
    assert obeyed(shown) == []
    assert colours <= {"\x1b[2m", "\x1b[0m"}


@pytest.mark.parametrize("name", CORPUS)
def test_a_question_in_words_hides_nothing_and_steers_nothing(name):
    text = CORPUS[name]
    call = ToolCall(
        id="c1", name="edit", input={"file_path": text, "old_string": text, "new_string": "x"}
    )
    asked: list[str] = []

    def read(question: str) -> str:
        asked.append(question)
        return "n"

    for change in (None, Change(diff=f"+{text}"), Change(problem=text)):
        _in_words(question_about(call, al.edit, change), read)
    bash = ToolCall(id="c2", name="bash", input={"command": text})
    _in_words(question_about(bash, al.bash), read)
    assert len(asked) == 4
    assert [found for question in asked for found in _UNSEEN.findall(question)] == []


@pytest.mark.parametrize("name", CORPUS)
def test_a_table_of_names_holds_nothing_live_in_any_of_its_forms(name):
    text = CORPUS[name]
    drawn = cards.table([[text, "model"], ["x", text], [text, text]])
    assert offences(drawn.html) == []
    assert as_jupyterlab(drawn.markdown) == []
    assert obeyed(drawn.plain) == []

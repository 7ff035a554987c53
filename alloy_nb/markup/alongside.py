"""What goes along with the words of a prompt, in marks of our own: written and read here alone.

::

    what sold best in @df?             typed by the person

    <reference name="df">              what a name in it stands for
    DataFrame, 3 rows x 2 columns
    </reference>
    <format name="code">               what the answer is to be, said by a flag
    Answer with code alone ...
    </format>
    <kernel>                           what the notebook says by itself
    The Jupyter kernel is a new one ...
    </kernel>

The marks tell a model where the words of a person end. They are text, so what is told may hold them
as well: it cannot end its own block.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from alloy_nb.markup.plain import one_line

__all__ = [
    "beginning",
    "described",
    "form",
    "form_of",
    "kernel_note",
    "reference",
    "referenced",
    "said",
    "typed",
    "words",
]

_MARK = "<reference name="
_OPENING = re.compile(rf'{_MARK}"([^"\n]+)">')
_CLOSING = "</reference>"
_FORM = "<format name="
_LAST_FORM = re.compile(rf'\n\n{_FORM}"(\w+)">\n[^<]*\n</format>\Z')
_BEHIND_WORDS = re.compile(rf'\n\n(?:{_MARK}|{_FORM})"')
_NOTE = re.compile(rf'<kernel>.*?</kernel>|{_FORM}"\w+">.*?</format>', re.DOTALL)
_ALONG = re.compile(rf"{_MARK}|{_FORM}|<kernel>")


def reference(name: str, told: str) -> str:
    """Return the block that says what a name stands for."""
    name = name.replace("\n", " ").replace('"', "'").replace("<", "‹")
    # What is told cannot end its own block.
    told = told.replace("</reference", "<\\/reference")
    return f'{_MARK}"{name}">\n{told}\n{_CLOSING}'


def form(name: str, told: str) -> str:
    """Return what the model is told of the form of its answer; it stands last in a prompt."""
    return f'{_FORM}"{name}">\n{told}\n</format>'


def form_of(text: str) -> str:
    """Return the name of the form that a prompt asks for; empty where it asks for none."""
    found = _LAST_FORM.search(text)
    return found[1] if found is not None else ""


def kernel_note(told: str) -> str:
    """Return what the notebook tells a model by itself."""
    return f"<kernel>\n{told}\n</kernel>"


def typed(text: str) -> str:
    """Return what a person typed, exactly: what stands before all that goes along with it."""
    return _BEHIND_WORDS.split(text, maxsplit=1)[0]


def said(text: str) -> str:
    """Return what stands before all that goes along, in a text that may be several in a row."""
    return _ALONG.split(text, maxsplit=1)[0].rstrip("\n")


def beginning(text: str, length: int) -> str:
    """Return the beginning of a prompt as one line of a list, without what goes along with it.

    The text may be a line already, or several texts in a row: no line breaks are asked for.
    """
    return one_line(said(text), length)


def referenced(text: str) -> Iterator[tuple[str, str]]:
    """Yield the name of each reference in a prompt, and its whole block."""
    for opening, closing in _found(text):
        yield opening[1], text[opening.start() : closing + len(_CLOSING)]


def described(text: str) -> Iterator[tuple[str, str]]:
    """Yield the name of each reference in a prompt, and what is told of it."""
    for opening, closing in _found(text):
        yield opening[1], text[opening.end() : closing].removeprefix("\n").removesuffix("\n")


def words(text: str) -> str:
    """Return a text without what goes along, wherever that stands."""
    kept, at = [], 0
    for opening, closing in _found(text):
        kept.append(text[at : opening.start()])
        at = closing + len(_CLOSING)
    return _NOTE.sub("", "".join([*kept, text[at:]])).strip()


def _found(text: str) -> Iterator[tuple[re.Match[str], int]]:
    """Yield where each reference begins, and where its end stands."""
    at = 0
    while (opening := _OPENING.search(text, at)) is not None:
        closing = text.find(_CLOSING, opening.end())
        if closing < 0:
            return
        at = closing + len(_CLOSING)
        yield opening, closing

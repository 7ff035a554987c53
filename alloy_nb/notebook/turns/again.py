"""A turn of before, asked once more: what was typed then, and what went along with it.

A name is looked up anew, and what it stood for then is left behind, with its picture. What cannot
be looked up, such as a file that was dropped into a panel, goes as it was.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from IPython.core.error import UsageError

from alloy_nb.engine.sessions.session import Session
from alloy_nb.markup.alongside import form_of, referenced, typed
from alloy_nb.messages import Block, Document, Image, Text
from alloy_nb.notebook.words import Words

__all__ = ["Recalled", "recalled"]

# What is told of a file whose bytes go along begins with its kind.
_WITH_BYTES = re.compile(r"\A<[^\n]*>\n(?:image/|application/pdf)")
# Of a variable or a cell. A conversation may come from elsewhere: neither a path nor an expression
# that stands in it is looked up unasked.
_NAME = re.compile(r"(?P<root>[A-Za-z_]\w*)(?:\.[A-Za-z_]\w*|\['[^'\n]*'\]|\[\d{1,9}\])*")


@dataclass(frozen=True, slots=True)
class Recalled:
    """What a turn was asked with.

    Args:
        turn: Its number.
        typed: What was typed; empty where only a file was sent, or where nobody typed.
        flags: What says again the form of the answer, and what to look up besides the prompt.
        along: What was attached, as it was.
    """

    turn: int
    typed: str
    flags: Mapping[str, str] = field(default_factory=dict)
    along: tuple[Text | Image | Document, ...] = ()

    @property
    def prompt(self) -> str:
        """What was typed.

        Raises:
            UsageError: The turn began with no prompt.
        """
        if not self.typed:
            raise UsageError(f"Turn {self.turn} began with no prompt of yours.")
        return self.typed

    def words(self, flags: Mapping[str, Any], *, prompt: str = "") -> Words:
        """Return what asks the same again, or another prompt with all that went along.

        Raises:
            UsageError: There is no prompt, and the turn began with none.
        """
        again = {**self.flags, **flags}
        if "as" in flags and "format" not in flags:  # a value of a type has no other form
            again.pop("format", None)
        inputs = (self.flags.get("input"), flags.get("input"))
        if any(inputs):
            again["input"] = ",".join(filter(None, inputs))
        is_same = not prompt
        return Words(again, prompt=prompt or self.prompt, recalled=is_same, along=self.along)


def recalled(session: Session, turn: int, namespace: Container[str]) -> Recalled:
    """Return what a turn was asked with.

    Raises:
        UsageError: There is no such turn.
    """
    text, others = _said(session, turn)
    prompt = typed(text).strip()
    told = dict(referenced(text))
    written = [name for name in told if _is_written(name, prompt)]
    besides = [name for name in told if name not in written]
    there = [name for name in besides if _is_there(name, namespace)]
    flags = {"format": form_of(text), "input": ",".join(there)}
    pictures = sum(name == "plot" or bool(_WITH_BYTES.match(told[name])) for name in written)
    along = [Text(text=f"\n\n{told[name]}") for name in besides if name not in there]
    return Recalled(
        turn,
        prompt,
        {key: value for key, value in flags.items() if value},
        (*along, *_attached(others, pictures)),
    )


def _said(session: Session, turn: int) -> tuple[str, tuple[Block, ...]]:
    """Return the text with which a turn began, and what stood beside it."""
    record = session.export_session()
    count = len(record.turns)
    if not 0 < turn <= count:
        raise UsageError(f"The conversation has no turn {turn}: it has {count}.")
    chosen = record.turns[turn - 1]
    said = record.messages[chosen.first : chosen.first + chosen.count]
    blocks = said[0].content if said and said[0].role == "user" else ()
    for n, block in enumerate(blocks):
        if isinstance(block, Text):
            return block.text, blocks[:n] + blocks[n + 1 :]
    return "", ()


def _attached(blocks: tuple[Block, ...], referred: int) -> Iterator[Text | Image | Document]:
    """Yield what was attached: neither the first pictures, which are of names, nor notes."""
    for block in blocks:
        if isinstance(block, (Image, Document)):
            if referred <= 0:
                yield block
            referred -= 1
        elif isinstance(block, Text) and next(referenced(block.text), None) is not None:
            referred = 0  # pictures of names stand before all that was attached
            yield block


def _is_written(name: str, prompt: str) -> bool:
    """Tell whether a name stands in a prompt; its block writes it a little differently."""
    prompt = prompt.replace("\n", " ").replace('"', "'").replace("<", "‹")
    if name.startswith("$("):
        return "".join(name.split()) in "".join(prompt.split())
    path = name.removeprefix("file:")
    if path != name:
        return f"@file:{path}" in prompt or f"@file:'{path}'" in prompt
    return re.search(rf"@{re.escape(name)}(?!\w)", prompt) is not None


def _is_there(name: str, namespace: Container[str]) -> bool:
    found = _NAME.fullmatch(name)
    return found is not None and found["root"] in namespace

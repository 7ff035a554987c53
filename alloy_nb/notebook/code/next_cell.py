"""Code of an answer, and how it gets into a cell of the notebook.

A kernel cannot write into a notebook. It may ask, with the reply to a cell, for one that follows
(the payload ``set_next_input`` of the messaging protocol, jupyter-client.readthedocs.io,
2026-11-21): JupyterLab, Notebook 7 and VS Code insert it, a terminal fills its next line with it.
Colab ignores it, and where nobody sits at the notebook there is nothing to insert: there the code
is shown, to be copied.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from markdown_it import MarkdownIt

from alloy_nb.markup.plain import clean
from alloy_nb.notebook.drawing.cards import publish_text
from alloy_nb.notebook.drawing.placing import is_elsewhere

__all__ = ["CodeBlock", "code_blocks", "offer"]

_PYTHON = ("python", "py", "python3", "ipython", "ipython3")


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """A fenced piece of an answer: the word after the fence, and what stands in it."""

    language: str
    code: str

    @property
    def is_python(self) -> bool:
        """Whether it says that it is Python, or nothing at all."""
        return self.language in ("", *_PYTHON)


def code_blocks(text: str) -> list[CodeBlock]:
    """Return the fenced blocks of a Markdown text, in order; one that is not closed counts too."""
    tokens = MarkdownIt("commonmark", {"html": False, "maxNesting": 50}).parse(text)
    return [
        CodeBlock(token.info.split()[0].lower() if token.info.split() else "", token.content)
        for token in tokens
        if token.type == "fence" and token.content.strip()
    ]


def offer(shell: Any, code: str, *, told: str = "") -> bool:
    """Offer code as the next cell, or show it where the front end has none; tell which.

    What is offered has no hidden characters: one reads it before it runs, and sees all of it.

    Args:
        shell: Whose next cell it is.
        code: What would stand in it.
        told: A line that is shown beside it.
    """
    plain = clean(code).rstrip("\n")
    if plain != code.replace("\r\n", "\n").rstrip("\n"):
        told = f"{told} Keys and characters that nobody sees were taken out of it.".lstrip()
    inserted = _can_insert(shell)
    if inserted:
        shell.set_next_input(plain)
        where = "It is in the next cell, and has not run."
    else:
        where = "Copy it into a cell; it has not run."
    line = f"{told} {where}".lstrip()
    publish_text(line if inserted else f"{line}\n\n{plain}")
    return inserted


def _can_insert(shell: Any) -> bool:
    if is_elsewhere() or not hasattr(shell, "set_next_input"):
        return False
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        # A shell that reads its lines itself takes it for the next one.
        return hasattr(shell, "rl_next_input")
    if "google.colab" in sys.modules:
        return False
    parent = kernel.get_parent("shell")
    content = parent.get("content", {}) if isinstance(parent, dict) else {}
    return bool(content.get("allow_stdin"))

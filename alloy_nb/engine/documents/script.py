"""A conversation as a script in percent format: ``# %%`` begins a cell.

It is the notebook of `cells`, with all that was said in comments. It runs from its first line to
its last, so code that only a notebook can run, with ``await`` outside of a function, is a comment
too. The format is Jupytext's and VS Code's
(https://jupytext.readthedocs.io/en/latest/formats-scripts.html, read 2026-11-21).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from alloy_nb.engine.documents.cells import Code, parted, runnable
from alloy_nb.engine.documents.story import Story
from alloy_nb.markup.rewrite import fence

__all__ = ["tell"]

# Also says the encoding, so that no comment below it can say another one (PEP 263).
_FIRST = "# alloy_nb: a conversation as a script; coding: utf-8"


def tell(story: Story) -> str:
    """Return the script."""
    lines = [_FIRST]
    for cell in parted(story):
        lines += ["", *(_code(cell) if isinstance(cell, Code) else _words(cell.blocks))]
    return "\n".join(lines) + "\n"


def _code(cell: Code) -> Iterator[str]:
    # An import of the future must stand at the beginning of a file.
    if runnable(cell.source, awaits=False) and "__future__" not in cell.source:
        yield "# %%"
        yield cell.source.strip("\n")
    else:
        yield from _words(["This runs only as a cell of a notebook:", fence(cell.source)])
    if cell.output.strip():
        yield ""
        yield from _words(["It printed:", fence(cell.output)])


def _words(blocks: Iterable[str]) -> Iterator[str]:
    yield "# %% [markdown]"
    text = "\n\n".join(block for block in blocks if block and "](attachment:" not in block)
    yield from (f"# {line}".rstrip() for line in text.split("\n"))

"""A conversation as a notebook: what was said as text, what the model ran as cells to run again.

Only code of the python tool that did not fail is code here. What other tools were asked, such as a
command of a shell, stays in text, where nothing can run it. The format is nbformat 4.5
(https://nbformat.readthedocs.io/en/latest/format_description.html, read 2026-11-21).
"""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from alloy_nb.engine.documents import paper
from alloy_nb.engine.documents.story import Part, Story, Turn, Used
from alloy_nb.markup.pictures import embedded
from alloy_nb.markup.rewrite import entities
from alloy_nb.messages import Image

__all__ = ["Code", "Words", "as_json", "parted", "runnable", "tell"]

# Longer code is no cell that anybody reads; parsing it would take long.
_MOST_CODE = 200_000
_NO_OUTPUT = "(no output)"


@dataclass(frozen=True, slots=True)
class Code:
    """A cell to run: what it printed, and the pictures that it showed."""

    source: str
    output: str
    images: tuple[Image, ...]


@dataclass(slots=True)
class Words:
    """A cell to read, with the pictures that belong to it."""

    blocks: list[str] = field(default_factory=list)
    images: dict[str, Image] = field(default_factory=dict)


def tell(story: Story) -> str:
    """Return the notebook as JSON."""
    return as_json([_cell(cell, number) for number, cell in enumerate(parted(story), 1)])


def as_json(cells: Sequence[Mapping[str, Any]], *, form: str = "conversation") -> str:
    """Return cells of the format as a notebook; `form` says what it tells."""
    notebook = {
        # First, so that the beginning of the file says what it is.
        "metadata": {
            "alloy_nb": {"form": form},
            "kernelspec": {
                "display_name": "Python 3 (ipykernel)",
                "language": "python",
                "name": "python3",
            },
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
        "cells": list(cells),
    }
    return json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"


def parted(story: Story) -> Iterator[Words | Code]:
    """Yield the conversation as cells, in order; neighbouring texts are one cell."""
    yield Words([f"# {entities(story.title)}", paper.summed(story.summary)])
    links = story.links
    for turn in story.turns:
        yield from _turn(turn, links)
    if sources := paper.bibliography(story.sources):
        yield Words(sources)


def _turn(turn: Turn, links: dict[int, str | None]) -> Iterator[Words | Code]:
    words = Words([f"## Turn {turn.number}"])
    for part in turn.prompt:
        _add(words, part, paper.quoted(part))
    for part in turn.parts:
        if isinstance(part, Used) and part.failed is False and runnable(part.code):
            if words.blocks:
                yield words
                words = Words()
            output = "" if part.result == _NO_OUTPUT else part.result
            yield Code(part.code or "", output, part.images)
        else:
            _add(words, part, paper.part_text(part, links))
    if turn.summary:
        words.blocks.append(f"*{paper.summed(turn.summary)}*")
    if words.blocks:
        yield words


def _add(words: Words, part: Part, text: str) -> None:
    """Add a part; pictures are attached to the cell, where a reader can show them."""
    pictures = (part,) if isinstance(part, Image) else part.images if isinstance(part, Used) else ()
    shown = [picture for picture in pictures if embedded(picture) is not None]
    if not (isinstance(part, Image) and shown):
        words.blocks.append(text)
    for picture in shown:
        name = f"picture-{len(words.images) + 1}.{picture.media_type.partition('/')[2]}"
        words.images[name] = picture
        words.blocks.append(f"![Picture](attachment:{name})")


def runnable(code: str | None, *, awaits: bool = True) -> bool:
    """Tell whether this is Python and nothing else: no magic, no command of a shell.

    Args:
        code: What the python tool was given.
        awaits: Whether ``await`` may stand outside of a function, as it may in a cell.
    """
    if not code or not code.strip() or len(code) > _MOST_CODE:
        return False
    flags = ast.PyCF_ONLY_AST | (ast.PyCF_ALLOW_TOP_LEVEL_AWAIT if awaits else 0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = compile(code, "<cell>", "exec", flags=flags, dont_inherit=True)
            if not awaits:  # the parser lets it pass, only the compiler says no
                compile(tree, "<cell>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return False
    return True


def _cell(cell: Words | Code, number: int) -> dict[str, Any]:
    if isinstance(cell, Code):
        return {
            "cell_type": "code",
            "id": f"cell-{number}",
            "metadata": {},
            "execution_count": None,
            "source": cell.source,
            "outputs": list(_outputs(cell)),
        }
    made: dict[str, Any] = {
        "cell_type": "markdown",
        "id": f"cell-{number}",
        "metadata": {},
        "source": "\n\n".join(block for block in cell.blocks if block),
    }
    if cell.images:
        made["attachments"] = {name: _data(image) for name, image in cell.images.items()}
    return made


def _outputs(cell: Code) -> Iterator[dict[str, Any]]:
    if cell.output.strip():
        yield {"output_type": "stream", "name": "stdout", "text": cell.output.rstrip("\n") + "\n"}
    for image in cell.images:
        if embedded(image) is not None:
            yield {"output_type": "display_data", "metadata": {}, "data": _data(image)}


def _data(image: Image) -> dict[str, str]:
    return {image.media_type: "".join((image.data or "").split())}

"""A conversation as Markdown that GitHub, JupyterLab and every other renderer read alike."""

from __future__ import annotations

import re
from collections.abc import Iterable

from alloy_nb.engine.documents.story import Noted, Part, Said, Source, Story, Thought, Turn, Used
from alloy_nb.markup.markdown import Document
from alloy_nb.markup.pictures import described
from alloy_nb.markup.rewrite import entities, fence
from alloy_nb.messages import Image
from alloy_nb.secrets import redact

__all__ = ["bibliography", "part_text", "quoted", "summed", "tell"]

_MARK = "<!-- alloy_nb -->"


def tell(story: Story) -> str:
    """Return the document."""
    links = story.links
    blocks = [_MARK, f"# {entities(story.title)}", summed(story.summary)]
    for turn in story.turns:
        blocks += _turn(turn, links)
    blocks += bibliography(story.sources)
    return "\n\n".join(block for block in blocks if block) + "\n"


def part_text(part: Part, links: dict[int, str | None]) -> str:
    """Return one part as Markdown that does no harm anywhere."""
    match part:
        case Said(text):
            return redact(Document(text, links).markdown())
        case Thought(text):
            if not text:
                return "*Thought (not shown by its vendor)*"
            return _folded("Thought", redact(Document(text).markdown()))
        case Used():
            return _used(part)
        case Noted(text):
            return f"*Note: {summed(text)}*"
        case Image():
            return entities(described(part))


def quoted(part: Part) -> str:
    """Return a part of a prompt as Markdown: what the person wrote is quoted."""
    if not isinstance(part, Said):
        return part_text(part, {})
    # Quoted before it is parsed: code within a quotation is written in another way.
    text = "\n".join(f"> {line}" for line in part.text.strip().split("\n"))
    return redact(Document(text).markdown())


def summed(summary: str) -> str:
    """Return a line of facts as Markdown, with times as one writes them."""
    return re.sub(r"(?<=\d)&#58;(?=\d)", ":", entities(summary))


def bibliography(sources: Iterable[Source]) -> list[str]:
    """Return the numbered list of sources with its heading, or nothing."""
    lines = [f"{source.number}. {_source(source)}" for source in sources]
    return ["## Sources", "\n".join(lines)] if lines else []


def _turn(turn: Turn, links: dict[int, str | None]) -> Iterable[str]:
    yield f"## Turn {turn.number}"
    yield from (quoted(part) for part in turn.prompt)
    for part in turn.parts:
        yield part_text(part, links)
    if turn.summary:
        yield f"*{summed(turn.summary)}*"


def _used(used: Used) -> str:
    signs = {True: " ✗ failed", False: " ✓", None: "" if used.server else " no answer"}
    by = " (by the vendor)" if used.server else ""
    asked = fence(used.asked, "python" if used.code is not None else "")
    inside = [asked] if used.asked.strip() else []
    inside += [fence(used.result)] if used.result.strip() else []
    head = f"Tool <code>{entities(used.name)}</code>{by}{signs[used.failed]}"
    told = [entities(described(image)) for image in used.images]
    return "\n\n".join([_folded(head, "\n\n".join(inside)), *told])


def _source(source: Source) -> str:
    title = entities(source.title)
    if source.url is not None:
        title = f"[{title}](<{_address(source.url)}>)"
    return f"{title} “{entities(source.quote)}”" if source.quote else title


def _address(url: str) -> str:
    """Return an address that ends where it should, and holds no formula."""
    return re.sub(r"[<>\\`$\s]", lambda found: f"%{ord(found[0]):02X}", url)


def _folded(summary: str, body: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"

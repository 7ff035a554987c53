"""A conversation as one page of HTML, which opens from disk and asks nobody for anything.

It holds no script, and its policy allows none: neither one that a text smuggles in, nor a picture
or a style from elsewhere. Answers go through `markup.markdown.Document`, all else is escaped; every
tag outside of an answer is written here.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from alloy_nb.engine.documents.story import (
    Noted,
    Part,
    Said,
    Source,
    Story,
    Thought,
    Turn,
    Used,
)
from alloy_nb.markup.alongside import typed
from alloy_nb.markup.markdown import Document
from alloy_nb.markup.marks import plain_marks
from alloy_nb.markup.pictures import described, embedded
from alloy_nb.messages import Image
from alloy_nb.secrets import redact

__all__ = ["POLICY", "around", "tell"]

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #60646c; --line: #d9d9e0;
  --paper: #ffffff; --tint: #f4f5f7; --link: #0b5cad; --warn: #8a4b00; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6ea; --soft: #a3a7b0; --line: #3a3d44;
  --paper: #15171a; --tint: #1f2226; --link: #7db7f5; --warn: #f0b46a; --bad: #ff9a90; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 46rem; padding: 1.5rem 1rem 4rem; color: var(--ink);
  background: var(--paper); font: 1rem/1.6 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
a { color: var(--link); }
p.summary, footer { color: var(--soft); font-size: .85rem; margin: .25rem 0 0; }
section.turn { border-top: 1px solid var(--line); margin-top: 2rem; padding-top: 1.5rem; }
h2.prompt { font: inherit; margin: 0; }
.prompt { background: var(--tint); border-radius: .5rem; padding: .7rem .9rem; }
.prompt .who { display: block; color: var(--soft); font-size: .8rem; }
.prompt .words { display: block; white-space: pre-wrap; }
.prompt .words + .words { color: var(--soft); font-size: .85rem; margin-top: .6rem; }
.answer { margin: 1rem 0; }
.answer h1, .answer h2, .answer h3, .answer h4 { font-size: 1.1rem; margin: 1.2rem 0 .4rem; }
pre { background: var(--tint); border-radius: .4rem; font-size: .85rem; line-height: 1.45;
  margin: .5rem 0; overflow-x: auto; padding: .6rem .8rem; white-space: pre-wrap; }
code { font-family: ui-monospace, monospace; font-size: .9em; }
pre code { font-size: 1em; }
table { border-collapse: collapse; display: block; max-width: 100%; overflow-x: auto; }
td, th { border: 1px solid var(--line); overflow-wrap: break-word; padding: .25rem .6rem; }
.words, .answer :is(p, li, h1, h2, h3, h4, h5, h6, td, th) { unicode-bidi: plaintext; }
blockquote { border-left: 3px solid var(--line); color: var(--soft); margin: .5rem 0;
  padding-left: 1rem; }
details { border-left: 3px solid var(--line); margin: .8rem 0; padding-left: .9rem; }
summary { color: var(--soft); cursor: pointer; font-size: .9rem; }
summary:focus-visible, a:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
.failed summary, .failed .sign { color: var(--bad); }
.note { border-left: 3px solid var(--warn); color: var(--warn); font-size: .9rem; margin: .8rem 0;
  padding-left: .9rem; }
img { display: block; height: auto; margin: .5rem 0; max-width: 100%; background: #fff; }
ol.sources { font-size: .9rem; padding-left: 2rem; }
@media print { body { max-width: none; padding: 0; } .prompt, pre { border: 1px solid var(--line); }
  details, pre, img { break-inside: avoid; } a { color: inherit; } }
"""


def tell(story: Story) -> str:
    """Return the page."""
    title = escape(story.title)
    links = story.links
    body = [
        f"<header><h1>{title}</h1>",
        f'<p class="summary">{escape(story.summary)}</p></header>',
        "<main>",
        *(_turn(turn, links) for turn in story.turns),
        *_bibliography(story.sources),
        "</main>",
    ]
    return around(body, title=title)


def around(body: Iterable[str], *, title: str) -> str:
    """Return a page with this body; `title` and all text in it are escaped already."""
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="generator" content="alloy_nb">',
            '<meta name="referrer" content="no-referrer">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title>",
            f"<style>{_STYLE}</style>",
            "</head>",
            "<body>",
            *body,
            "</body>",
            "</html>",
            "",
        ]
    )


def _turn(turn: Turn, links: dict[int, str | None]) -> str:
    parts = [
        f'<section class="turn" id="turn-{turn.number}">',
        *_prompt(turn),
        *(_part(part, links) for part in turn.parts),
    ]
    if turn.summary:
        parts.append(f"<footer>{escape(turn.summary)}</footer>")
    return "\n".join([*parts, "</section>"])


def _prompt(turn: Turn) -> Iterable[str]:
    if not turn.prompt:
        return
    yield f'<h2 class="prompt"><span class="who">Prompt {turn.number}</span>'
    for part in turn.prompt:
        if isinstance(part, Said):
            # What @name stands for was sent along; it is set apart, as it is no words of a person.
            text = redact(plain_marks(part.text)).strip()
            said = typed(text)
            yield f'<span class="words">{escape(said)}</span>'
            if along := text[len(said) :].lstrip():
                yield f'<span class="words">{escape(along)}</span>'
    yield "</h2>"
    yield from (_part(part, {}) for part in turn.prompt if not isinstance(part, Said))


def _part(part: Part, links: dict[int, str | None]) -> str:
    match part:
        case Said(text):
            return f'<div class="answer">{redact(Document(text, links).html())}</div>'
        case Thought(text):
            if not text:
                return '<p class="summary">Thought (not shown by its vendor)</p>'
            body = redact(Document(text).html())
            return f"<details><summary>Thought</summary>\n{body}\n</details>"
        case Used():
            return _used(part)
        case Noted(text):
            return f'<p class="note">{escape(text)}</p>'
        case Image():
            return _picture(part)


def _used(used: Used) -> str:
    signs = {True: "✗ failed", False: "✓", None: "" if used.server else "no answer"}
    by = " (by the vendor)" if used.server else ""
    kind = ' class="failed"' if used.failed else ""
    inside = [f"<pre>{escape(text)}</pre>" for text in (used.asked, used.result) if text.strip()]
    head = f"Tool <code>{escape(used.name)}</code>{by} {signs[used.failed]}".rstrip()
    folded = [f"<details{kind}><summary>{head}</summary>", *inside, "</details>"]
    return "\n".join([*folded, *(_picture(image) for image in used.images)])


def _picture(image: Image) -> str:
    source = embedded(image)
    if source is None:
        return f'<p class="summary">{escape(described(image))}</p>'
    return f'<img src="{source}" alt="Picture">'


def _bibliography(sources: tuple[Source, ...]) -> Iterable[str]:
    if not sources:
        return
    yield '<h2>Sources</h2>\n<ol class="sources">'
    for source in sources:
        title = escape(source.title)
        if source.url is not None:
            address = escape(source.url)
            title = f'<a href="{address}" target="_blank" rel="noopener noreferrer">{title}</a>'
        quote = f" “{escape(source.quote)}”" if source.quote else ""
        yield f'<li id="source-{source.number}">{title}{quote}</li>'
    yield "</ol>"

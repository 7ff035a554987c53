"""Segments as ``text/html``, ``text/markdown`` and ``text/plain``. The only place that makes HTML.

* Whatever a model, a tool or a vendor said is untrusted. Answers go through `markdown.Document`;
  everything else is escaped text. All other markup in an output is written here.
* Every text is cleaned as a whole, so that a key cut in two by the stream is masked.
* Styles are inline and few, colours come from the theme: outputs are saved, and a notebook from
  another server loses ``<style>``, ``<script>``, ``<svg>`` and ids.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any
from urllib.parse import urlsplit

from alloy_nb.markup.fragment import coloured_json, harmless, json_in, unfenced
from alloy_nb.markup.markdown import MARK, Document, escape_text, safe_url
from alloy_nb.markup.marks import plain_marks, with_marks
from alloy_nb.markup.pictures import described, embedded
from alloy_nb.markup.plain import clean, one_line, settled
from alloy_nb.markup.rewrite import entities, fence
from alloy_nb.messages import Citation, Image
from alloy_nb.notebook.drawing import nested
from alloy_nb.notebook.drawing.footer import footer_words, seconds_told
from alloy_nb.notebook.drawing.segments import (
    Delegate,
    FooterSegment,
    Form,
    Look,
    NoticeKind,
    NoticeSegment,
    Reference,
    Segment,
    TextSegment,
    ThinkingSegment,
    ToolSegment,
    ToolState,
)
from alloy_nb.secrets import redact

__all__ = [
    "Bundle",
    "combine",
    "render",
    "render_line",
    "render_phase",
    "render_text",
    "side_by_side",
]

_MUTED = "opacity:.7;font-size:.9em"
_CARD = (
    "margin:.4em 0 .6em;padding-left:.7em;"
    "border-left:3px solid var(--jp-border-color1,rgba(128,128,128,.4))"
)
_TEXT = "white-space:pre-wrap;overflow-wrap:anywhere"
_WRAP = f"{_TEXT};max-height:400px;overflow:auto"
_CODE = (
    f"{_WRAP};padding:.4em .6em;background:var(--jp-cell-editor-background,rgba(128,128,128,.1))"
)
_ALERT = (
    "margin:.3em 0;padding:.2em .7em;"
    "border-left:3px solid var(--jp-{colour},currentColor)"
)  # fmt: skip
_COLUMNS = "display:grid;grid-template-columns:repeat(auto-fit,minmax(16em,1fr));gap:1.2em"
_COLUMN = "min-width:0;overflow-x:auto"
_ELAPSED = re.compile(r" \d+ s(?= · |$)")
_LINES = 20
_CHARS = 4000
_LIVE_THINKING = 1000
_LIVE_SOURCE = 4000
_MOST = 200_000  # of a text that is wanted whole
_USUAL = Look()
_SIGNS: dict[ToolState, str] = {
    "pending": "…",
    "approval": "? waits for you",
    "running": "… running",
    "done": "✓",
    "failed": "✗ failed",
    "denied": "✗ not allowed",
}
_NOTICES: dict[NoticeKind, tuple[str, str]] = {
    "retry": ("↻", "warn-color1"),
    "compacted": ("⇥", "border-color1"),
    "stopped": ("■", "warn-color1"),
    "error": ("✗", "error-color1"),
    "budget": ("⚠", "warn-color1"),
    "info": ("ℹ", "border-color1"),
    "names": ("", "border-color1"),
    "steered": ("You:", "brand-color1"),
}


@dataclass(frozen=True, slots=True)
class Bundle:
    """One output in three kinds; a frame that is not the last may lack `markdown`."""

    html: str
    markdown: str
    plain: str
    view: Mapping[str, Any] | None = None
    """A widget that is shown in their place, by MIME type, where the front end can."""

    def mimebundle(self) -> dict[str, Any]:
        """Return the kinds by MIME type, as Jupyter wants them."""
        kinds = {
            "text/html": self.html,
            "text/markdown": self.markdown,
            "text/plain": self.plain,
        }
        there = {kind: text for kind, text in kinds.items() if text or kind == "text/plain"}
        return there if self.view is None else {**there, **self.view}


def render(
    segment: Segment, *, live: bool = False, elapsed: float = 0, look: Look = _USUAL
) -> Bundle:
    """Draw one segment.

    Args:
        segment: What to draw.
        live: Whether another frame will follow: then the last word is not shown yet.
        elapsed: Seconds that a running tool, or the thinking, has taken so far.
        look: How much of it is shown, and what an answer is shown as.
    """
    whole = look.detail == "verbose"
    match segment:
        case TextSegment() if look.form not in ("md", "code"):
            return _formed(segment, look.form, live=live)
        case TextSegment():
            return render_text(
                segment.text, segment.references, sources=segment.references, live=live
            )
        case ThinkingSegment():
            return _live_thinking(segment, elapsed) if live else _thinking(segment, whole)
        case ToolSegment():
            return _tool(segment, live=live, elapsed=elapsed, whole=whole)
        case NoticeSegment():
            return _notice(segment)
        case FooterSegment():
            return _footer(segment)


def render_phase(line: str) -> Bundle:
    """Draw the line that says what one waits for.

    A screen reader says it, and what it becomes, but not the seconds that count up in it.
    """
    line = one_line(line)
    words = _ELAPSED.sub(r'<span aria-hidden="true">\g<0></span>', escape_text(line))
    status = f'<div style="{_MUTED}" role="status" aria-live="polite">'
    return Bundle(f'{status}<span aria-hidden="true">⏳</span> {words}</div>', "", line)


def render_line(line: str, *, live: bool = False) -> Bundle:
    """Draw a line about work under way, or what it came to."""
    line = one_line(line, 400)
    html = f'<div style="{_TEXT};font-variant-numeric:tabular-nums">{escape_text(line)}</div>'
    return Bundle(html, "" if live else entities(line), line)


def combine(bundles: Sequence[Bundle]) -> Bundle:
    """Stack bundles in one output."""
    if len(bundles) == 1:
        return bundles[0]
    return Bundle(
        "\n".join(b.html for b in bundles),
        "\n\n".join(b.markdown for b in bundles if b.markdown),
        "\n\n".join(b.plain for b in bundles),
        next((b.view for b in bundles if b.view is not None), None),
    )


def side_by_side(columns: Sequence[tuple[str, Bundle]]) -> Bundle:
    """Draw titled bundles beside each other, and below each other where that is all there is."""
    titles = [one_line(title) for title, _ in columns]
    bundles = [bundle for _, bundle in columns]
    boxes = [
        f'<div style="{_COLUMN}"><div style="font-weight:600">{escape_text(t)}</div>{b.html}</div>'
        for t, b in zip(titles, bundles, strict=True)
    ]
    return Bundle(
        f'<div style="{_COLUMNS}">{"".join(boxes)}</div>',
        "\n\n".join(
            f"**{entities(t)}**\n\n{b.markdown}" for t, b in zip(titles, bundles, strict=True)
        ),
        "\n\n".join(f"── {t} ──\n{b.plain}" for t, b in zip(titles, bundles, strict=True)),
    )


# --- answers ------------------------------------------------------------------------------------


def render_text(
    text: str,
    references: Sequence[Reference] = (),
    *,
    sources: Iterable[Reference] = (),
    live: bool = False,
) -> Bundle:
    """Draw a piece of an answer.

    Args:
        text: Markdown as it came.
        references: Citations whose `end` counts in `text`.
        sources: Citations to be listed below it.
        live: Whether more is coming: then the last word is held back, being perhaps half a key.
    """
    text = settled(text) if live else text
    marked, loose = with_marks(text, [(r.number, r.end) for r in references])
    links = {r.number: r.citation.url for r in references}
    document = Document(marked, links)
    plain = plain_marks(marked)
    bundle = Bundle(
        clean(document.html()), "" if live else clean(document.markdown()), plain.rstrip("\n")
    )
    if live:
        return bundle
    listed = {r.number: r.citation for r in sources}
    # Where a number has no place in the text and no list follows, the link stands below the text.
    missing = loose - listed.keys()
    listed.update({r.number: r.citation for r in references if r.number in missing})
    return _listed(bundle, sorted(listed.items())) if listed else bundle


def _listed(bundle: Bundle, citations: Sequence[tuple[int, Citation]]) -> Bundle:
    html, markdown, plain = [], [], []
    for number, citation in citations:
        url = safe_url(clean(citation.url or ""))
        title = one_line(citation.title or citation.quote or url or citation.kind)
        host = f" — {_host(url)}" if url else _quoted(citation)
        html.append(f"[{number}] {_link(title, url)}{escape_text(host)}")
        markdown.append(f"&#91;{number}&#93; {_link(title, url, markdown=True)}{entities(host)}")
        place = f" — {url}" if url and url != title else ""
        plain.append(f"[{number}] {title}{place if url else host}")
    return Bundle(
        f'{bundle.html}\n<div style="{_MUTED}">{"<br>".join(html)}</div>',
        f"{bundle.markdown}\n\n" + "\\\n".join(markdown),
        f"{bundle.plain}\n\n" + "\n".join(plain),
    )


def _quoted(citation: Citation) -> str:
    """Return the beginning of the passage, for a source that has no address to look it up."""
    if not citation.quote or not citation.title:
        return ""
    return f": {one_line(citation.quote, 100)}"


def _link(label: str, url: str | None, *, markdown: bool = False) -> str:
    text = entities(label) if markdown else escape_text(label)
    if url is None:
        return text
    address = escape(url).replace("$", "%24") if markdown else escape(url)
    return f'<a href="{address}" target="_blank" rel="noopener noreferrer">{text}</a>'


def _host(url: str) -> str:
    try:
        return one_line(urlsplit(url).hostname or "mail")
    except ValueError:
        return "?"


# --- answers that are no Markdown ---------------------------------------------------------------


def _formed(segment: TextSegment, form: Form, *, live: bool) -> Bundle:
    """Draw an answer of another form; while it grows, the end of its source."""
    if live:
        text = clean(settled(segment.recent(_LIVE_SOURCE)))
        return Bundle(_pre(text), "", text)
    source = clean(segment.text).strip("\n")
    if form == "math":
        return replace(render_text(f"$$\n{unfenced(source)}\n$$"), plain=source)
    if form == "html":
        inside = clean(harmless(unfenced(source)))
        return Bundle(f"<div>{inside}</div>", fence(source, "html"), source)
    try:
        pretty = json.dumps(json_in(source), indent=2, ensure_ascii=False) if form == "json" else ""
    except ValueError:
        pretty = ""
    if pretty:
        body = coloured_json(pretty)
        return Bundle(f'<pre style="{_CODE}">{body}</pre>', fence(pretty, "json"), pretty)
    return Bundle(_pre(source, _TEXT), fence(source), source)


# --- thinking -----------------------------------------------------------------------------------


def _thinking(segment: ThinkingSegment, whole: bool) -> Bundle:
    opened = " open" if whole else ""
    spent = "" if segment.seconds is None else f" for {seconds_told(segment.seconds)}"
    title = f"Thought{spent}"
    text = clean(segment.text).strip()
    if not text:
        hidden = " (not shown by its vendor)" if segment.redacted else ""
        line = title + hidden
        return Bundle(f'<div style="{_MUTED}">{line}</div>', f"*{line}*", line)
    document = Document(text.replace(MARK, ""))
    body = clean(document.html())
    return Bundle(
        f'<details style="{_MUTED}"{opened}><summary>{title}</summary>\n\n{body}\n\n</details>',
        f"<details{opened}><summary>{title}</summary>\n\n{clean(document.markdown())}\n\n</details>",
        f"{title}\n{_indented(text)}",
    )


def _live_thinking(segment: ThinkingSegment, elapsed: float) -> Bundle:
    # Cleaned before it is cut, or the cut might halve a key that the mask then does not know.
    tail = clean(settled(segment.recent(4 * _LIVE_THINKING))).strip()
    if not tail:
        return Bundle("", "", "")
    text = tail if len(tail) < _LIVE_THINKING else "…" + tail[-_LIVE_THINKING:]
    title = f"💭 thinking {elapsed:.0f} s" if elapsed >= 1 else "💭 thinking"
    body = f'<div style="white-space:pre-wrap">{escape_text(text)}</div>'
    return Bundle(f'<div style="{_MUTED}">{title}{body}</div>', "", f"{title}\n{text}")


# --- tools --------------------------------------------------------------------------------------


def _tool(segment: ToolSegment, *, live: bool, elapsed: float, whole: bool) -> Bundle:
    name = one_line(segment.name, 60) or "tool"
    sign = _SIGNS[segment.state]
    spent = "" if segment.seconds is None else f" {seconds_told(segment.seconds)}"
    decided = f" · {one_line(segment.decision)}" if segment.decision else ""
    by = " (by the vendor)" if segment.server else ""
    if live or not segment.finished:
        waited = f" {elapsed:.0f} s" if elapsed >= 1 and segment.state == "running" else ""
        return _open_tool(segment, f"🔧 {name}{by} {sign}{waited}", live=live)
    peek = one_line(_said(segment), 60)
    head = f'🔧 <code>{{}}</code>{by} {sign}{spent}{{}} <span style="opacity:.7">{{}}</span>'
    answer = "" if nested.repeats(segment) else segment.result or ""
    parts = [_cut(_arguments(segment), whole), _cut(clean(answer), whole)]
    opened = " open" if whole else ""
    inner = _delegates(segment)
    boxes = [_pre(part, style) for part, style in zip(parts, (_CODE, _WRAP), strict=True)]
    html = "\n\n".join(box for box in (boxes[0], inner.html, boxes[1]) if box)
    fenced = [fence(part) if part.strip() else "" for part in parts]
    markdown = "\n\n".join(part for part in (fenced[0], inner.markdown, fenced[1]) if part)
    pictures = [_picture(image) for image in segment.images]
    told = "\n".join(words for _, words in pictures)
    shown = redact(
        f'<details style="{_CARD}"{opened}><summary>'
        f"{head.format(*map(escape_text, (name, decided, peek)))}</summary>\n\n{html}\n\n</details>"
    )
    # After masking, because base64 may look like a key by chance.
    shown += "".join(f"\n{drawn or escape_text(words)}" for drawn, words in pictures)
    summary = head.format(*map(entities, (name, decided, peek)))
    folded = f"<details{opened}><summary>{summary}</summary>\n\n{markdown}\n\n</details>"
    title = f"🔧 {name}{by} {sign}{spent}{decided}"
    asked, said = _indented(parts[0]), _indented(parts[1], "  → ")
    lines = [title, asked, _indented(inner.plain), said, told]
    return Bundle(
        shown,
        redact(folded) + (f"\n\n{entities(told)}" if told else ""),
        redact("\n".join(line for line in lines if line.strip())),
    )


def _open_tool(segment: ToolSegment, title: str, *, live: bool) -> Bundle:
    if segment.state == "approval":
        detail = _cut(clean(segment.subject or ""))
    elif segment.delegates:
        detail = clean("\n".join(nested.live_lines(segment)))
    elif segment.progress:
        detail = one_line(segment.progress[-1])
    else:
        detail = one_line(_asked(segment)) if segment.state == "running" else ""
    html = f'<div style="{_CARD}">{escape_text(title)}{_pre(detail)}</div>'
    markdown = "\n\n".join([entities(title), *([fence(detail)] if detail else [])])
    plain = f"{title}\n{_indented(detail)}".rstrip()
    view = nested.view_of(segment)
    return Bundle(redact(html), "" if live else redact(markdown), redact(plain), view)


def _delegates(segment: ToolSegment) -> Bundle:
    """Draw the agents that worked for a call, each with its own cards."""
    shown, left = nested.of_call(segment)
    drawn = [_delegate(delegate, segment) for delegate in shown]
    if left:
        drawn.insert(0, _notice(NoticeSegment("info", f"{left} before are not shown.")))
    return combine(drawn) if drawn else Bundle("", "", "")


def _delegate(delegate: Delegate, tool: ToolSegment) -> Bundle:
    title, task = nested.title(delegate), nested.task_of(delegate, tool)
    parts = [
        render(part if not isinstance(part, str) else NoticeSegment("info", part))
        for part in nested.parts(delegate)
    ]
    body = combine(parts) if parts else Bundle("", "", "")
    asked_html = f"<br>{escape_text(task)}" if task else ""
    head = f'<div style="{_MUTED}">{escape_text(title)}{asked_html}</div>'
    asked = f" — {entities(task)}" if task else ""
    return Bundle(
        f'<div style="{_CARD}">{head}\n\n{body.html}</div>',
        f"**{entities(title)}**{asked}\n\n{body.markdown}".rstrip(),
        f"{title}\n{_indented(body.plain)}".rstrip(),
    )


def _asked(segment: ToolSegment) -> str:
    """Return the arguments in few words."""
    if segment.arguments:
        return ", ".join(f"{key}={value}" for key, value in segment.arguments.items())
    return ""


def _said(segment: ToolSegment) -> str:
    """Return what a folded card shows of its inside."""
    lines = [line for line in (segment.result or "").splitlines() if line.strip()]
    # A result says what it is in its first line, a traceback in its last.
    answer = (lines[-1] if segment.is_error else lines[0]) if lines else ""
    return f"→ {answer}" if answer else _asked(segment)


def _arguments(segment: ToolSegment) -> str:
    """Return the arguments to be read: text with line breaks as such, the rest as JSON."""
    if segment.arguments is None:
        return clean(segment.text)
    lines = []
    if len(segment.arguments) == 1 and isinstance(
        only := next(iter(segment.arguments.values())), str
    ):
        return clean(only)  # code or a command needs no label
    for key, value in segment.arguments.items():
        shown = value if isinstance(value, str) else _json(value)
        lines.append(f"{key}:\n{shown}" if "\n" in shown else f"{key}: {shown}")
    return clean("\n".join(lines))


def _json(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        return str(value)


def _cut(text: str, whole: bool = False) -> str:
    """Return the beginning of `text`, and how much is missing."""
    text = text.rstrip()
    kept = text[:_MOST] if whole else "\n".join(text[:_CHARS].split("\n")[:_LINES])
    missing = len(text) - len(kept)
    if missing <= 0:
        return text
    lines = text.count("\n", len(kept))
    return f"{kept}\n… {missing} more characters, {lines} more lines not shown"


def _pre(text: str, style: str = _WRAP) -> str:
    return f'<pre style="{style}">{escape_text(text, dollars=False)}</pre>' if text else ""


def _picture(image: Image) -> tuple[str, str]:
    """Return a picture that a tool made, as HTML and in words; no HTML if it is not one."""
    words = described(image)
    source = embedded(image)
    if source is None:
        return "", words
    return f'<img src="{source}" alt="picture made by the tool" style="max-width:100%">', words


# --- lines --------------------------------------------------------------------------------------


def _notice(segment: NoticeSegment) -> Bundle:
    sign, colour = _NOTICES[segment.kind]
    if segment.kind == "names":
        line = one_line(segment.text, 2000)
        return Bundle(f'<div style="{_MUTED}">{escape_text(line)}</div>', entities(line), line)
    text = _cut(clean(segment.text))
    style = _ALERT.format(colour=colour)
    body = "<br>".join(escape_text(line) for line in text.split("\n"))
    return Bundle(
        f'<div style="{style}">{sign} {body}</div>',
        f"{sign} " + "\\\n".join(entities(line) for line in text.split("\n")),
        f"{sign} {text}",
    )


def _footer(segment: FooterSegment) -> Bundle:
    line = one_line(" · ".join(footer_words(segment)), 400)
    return Bundle(f'<div style="{_MUTED}">{escape_text(line)}</div>', entities(line), line)


def _indented(text: str, first: str = "    ") -> str:
    if not text:
        return ""
    return first + text.replace("\n", "\n    ")

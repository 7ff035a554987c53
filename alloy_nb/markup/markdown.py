"""A model's Markdown as safe HTML, and as Markdown that is safe where raw HTML runs.

::

    text ─▶ markdown-it (html off) ─▶ tokens ─▶ _disarm ─┬─▶ renderer ─▶ nh3 ─▶ text/html
                                                          └─▶ rewrite  ───────▶ text/markdown

What comes in is untrusted. `_disarm` leaves three kinds of link (http, https, mailto) and no image:
an image is a request to a stranger's server that nobody asked for, so it becomes a link. Dollars
that are money are kept apart from dollars that are mathematics, which JupyterLab typesets in HTML
and Markdown alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import urlsplit

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from alloy_nb.markup.rewrite import rewrite

__all__ = ["MARK", "Document", "escape_text", "mark", "safe_url"]

MARK = "\U0001bc9f"
"""Encloses the number of a citation in text.

A punctuation character that no text holds: beside a letter, ``**`` would no longer close.
"""

_MARK = re.compile(f"{MARK}([0-9]+){MARK}")
_SAFE_URL = re.compile(r"(?:https?://[^\s/?#]|mailto:[^\s])[^\s]*\Z", re.I)

_TAGS = {
    *("a", "blockquote", "br", "code", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol"),
    *("p", "pre", "s", "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"),
}
_CELL = re.compile(r"\n(?=</?(?:td|th|thead|tbody)\b|</tr>)")
_ATTRIBUTES = {"a": {"href"}, "ol": {"start"}}
# JupyterLab's own style sheet sets cells to the right, and wins over an attribute. So only the
# other sides need a style, which is longer, and tables have many cells.
_ALIGN = {"style": {"text-align:left", "text-align:center"}, "align": {"right"}}

# --- mathematics --------------------------------------------------------------------------------

_DELIMITERS = (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$"))
# A formula is left to MathJax and must mean nothing to any Markdown parser; and MathJax knows
# commands that make links, set styles or define commands.
_NOT_MATH = re.compile(
    r"[`$@]|!\[|\]\s*[(\[]|<[A-Za-z/!?]|://|&#?\w+;|\\\Z|\\(?:href|url|class|style|cssId|require|html"
    r"|data|unicode|include|e?def|[gx]def|let|(?:re)?new|csname|bbox|begingroup|label|eqref|ref|tag"
    r"|toggle|action|texttip|mmlToken|char|catcode|input|special)|" + MARK
)
_CLEARLY_MATH = re.compile(r"\\[A-Za-z,;!{]|[\^={]|\A[A-Za-z](?:_\w)?'?\Z")


def _math(state: StateInline, silent: bool) -> bool:
    """Recognise a formula where it cannot be anything else, such as two prices."""
    for left, right in _DELIMITERS:
        if not state.src.startswith(left, state.pos):
            continue
        begin = state.pos + len(left)
        end = state.src.find(right, begin, begin + 2000)
        if end < 0 or not _is_math(state.src[begin:end], left, state.src[end + 1 : end + 2]):
            return False
        if not silent:
            token = state.push("math", "", 0)
            token.content = state.src[begin:end]
            token.markup = left
        state.pos = end + len(right)
        return True
    return False


def _is_math(body: str, left: str, after: str) -> bool:
    if not body.strip() or _NOT_MATH.search(body) or not _braced(body):
        return False
    if left != "$":
        return True
    return not (body[0].isspace() or body[-1].isspace() or after.isalnum()) and bool(
        _CLEARLY_MATH.search(body)
    )


def _braced(body: str) -> bool:
    """Tell whether braces close in order; JupyterLab reads on for the closing one, anywhere."""
    depth = 0
    for found in re.finditer(r"\\[{}]|[{}]", body):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if depth < 0:
            return False
    return depth == 0


# --- from text to tokens ------------------------------------------------------------------------


def mark(number: int) -> str:
    """Return what stands in a text for the citation `number` until it is rendered."""
    return f"{MARK}{number}{MARK}"


def safe_url(url: str | None) -> str | None:
    """Return `url` if a reader may follow it: http, https or mailto."""
    return url if url and _SAFE_URL.match(url) else None


class Document:
    """One text, parsed once and rendered in both kinds.

    Args:
        text: Clean Markdown, with :func:`mark` where citations belong.
        links: The address of each citation's source, or ``None``.
    """

    def __init__(self, text: str, links: Mapping[int, str | None] | None = None) -> None:
        self._tokens = _disarm(_md.parse(text), links or {})

    def html(self) -> str:
        """Return HTML that holds nothing but the allowed elements."""
        drawn: str = _md.renderer.render(self._tokens, _md.options, {})
        safe = nh3.clean(
            drawn,
            tags=_TAGS,
            attributes=_ATTRIBUTES,
            tag_attribute_values={"td": _ALIGN, "th": _ALIGN},
            set_tag_attribute_values={"a": {"target": "_blank"}},
            link_rel="noopener noreferrer",
            url_schemes={"http", "https", "mailto"},
            clean_content_tags=set(),
        )
        # A line for each row of a table is enough: its cells are short and many.
        return _CELL.sub("", safe).strip("\n")

    def markdown(self) -> str:
        """Return the same as Markdown that any renderer may be given."""
        return rewrite(self._tokens)


def _disarm(tokens: list[Token], links: Mapping[int, str | None]) -> list[Token]:
    for token in tokens:
        if token.children is not None:
            token.children = _disarm_inline(token.children, links)
            _note_dollars(token.children)
        elif token.content:
            token.content = _MARK.sub("", token.content)
        if token.attrs.get("style") == "text-align:right":
            token.attrs = {"align": "right"}
    return tokens


def _disarm_inline(children: Sequence[Token], links: Mapping[int, str | None]) -> list[Token]:
    out: list[Token] = []
    dead: list[str | None] = []  # for each open link what is said at its end, if it leads nowhere
    for token in children:
        match token.type:
            case "link_open":
                href = _MARK.sub("", _unmarked(str(token.attrs.get("href", ""))))
                token.attrs = {"href": href}
                dead.append(None if safe_url(href) else _why_dead(href))
                if dead[-1] is None:
                    out.append(token)
            case "link_close":
                said = dead.pop()
                out.append(token if said is None else _text(said))
            case "image":
                out += _image(token, linked=None not in dead)
            case "text" if MARK in token.content:
                out += _marks(token.content, links, linked=None not in dead)
            case _:
                token.content = _MARK.sub("", token.content)
                out.append(token)
    return out


def _unmarked(href: str) -> str:
    encoded = "".join(f"%{byte:02X}" for byte in MARK.encode())
    return re.sub(f"{encoded}[0-9]+{encoded}", "", href, flags=re.I)


def _why_dead(href: str) -> str:
    """Return what to say for a link that is taken away: a path is worth reading, a script not."""
    scheme = re.match(r"[^/?#]*:", href)
    return " (link removed)" if scheme or href.startswith("//") else f" ({href})" if href else ""


def _image(token: Token, *, linked: bool) -> list[Token]:
    """Return the words that stand for an image: following the link is up to the reader."""
    url = safe_url(_MARK.sub("", _unmarked(str(token.attrs.get("src", "")))))
    alt = _MARK.sub("", token.content).strip()
    host = _host(url) if url else "not shown"
    label = _text(f"[image: {alt} — {host}]" if alt else f"[image: {host}]")
    return _linked(label, url) if linked and url else [label]


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or "?"
    except ValueError:
        return "?"


def _marks(text: str, links: Mapping[int, str | None], *, linked: bool) -> list[Token]:
    out: list[Token] = []
    for position, part in enumerate(_MARK.split(text)):
        if position % 2 == 0:
            out += [_text(part)] if part else []
            continue
        url = safe_url(links.get(int(part)))
        label = _text(f"[{part}]")
        out += _linked(label, url) if url and linked else [label]
    return out


def _text(content: str) -> Token:
    return Token("text", "", 0, content=content.replace(MARK, ""))


def _linked(label: Token, url: str) -> list[Token]:
    return [Token("link_open", "a", 1, attrs={"href": url}), label, Token("link_close", "a", -1)]


def _note_dollars(children: Sequence[Token]) -> None:
    """Mark text whose dollars MathJax would pair; a single one in a block is harmless."""
    texts = [token for token in children if token.type == "text"]
    count = sum(token.content.count("$") for token in texts)
    if count > 1 or (count and any(token.type == "math" for token in children)):
        for token in texts:
            token.meta = {"dollars": True}


# --- from tokens to HTML ------------------------------------------------------------------------


def escape_text(text: str, *, dollars: bool = True) -> str:
    """Return `text` as HTML that shows it literally, also where MathJax reads along.

    MathJax looks for delimiters within a run of text, so an element around one hides it.
    """
    safe = escape(text, quote=False)
    if dollars and "$" in safe:
        safe = safe.replace("$", "<span>$</span>")
    return re.sub(r"\\(?=[(\[b]|\Z)", r"<span>\\</span>", safe) if "\\" in safe else safe


def _draw_text(_: RendererHTML, tokens: Sequence[Token], index: int, *__: Any) -> str:
    token = tokens[index]
    return escape_text(token.content, dollars=bool(token.meta))


def _draw_math(_: RendererHTML, tokens: Sequence[Token], index: int, *__: Any) -> str:
    token = tokens[index]
    right = {"\\[": "\\]", "\\(": "\\)"}.get(token.markup, token.markup)
    return escape(token.markup + token.content + right, quote=False)


def _draw_code(_: RendererHTML, tokens: Sequence[Token], index: int, *__: Any) -> str:
    return f"<pre><code>{escape(tokens[index].content, quote=False)}</code></pre>\n"


def _make() -> MarkdownIt:
    md = MarkdownIt("commonmark", {"html": False, "maxNesting": 50})
    md.enable(["table", "strikethrough"])
    # Definitions may come any time later, and would change pieces that are drawn already.
    md.disable("reference")
    # Every address is looked at in `_disarm`, which keeps the words of a link that it removes.
    md.validateLink = lambda url: True  # type: ignore[method-assign]  # noqa: ARG005
    md.inline.ruler.before("escape", "math", _math)
    md.add_render_rule("text", _draw_text)
    md.add_render_rule("math", _draw_math)
    md.add_render_rule("fence", _draw_code)
    md.add_render_rule("code_block", _draw_code)
    return md


_md = _make()

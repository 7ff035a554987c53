"""Answers that are no Markdown: HTML and JSON of a model, made harmless.

Of HTML, structure and words stay, and nothing that acts, loads or styles: text, lists, tables, and
links that a reader may follow. Dollars and backslashes that JupyterLab would typeset are kept
apart, as in `markdown`, since a formula may hold links.
"""

from __future__ import annotations

import json
import re
from html import escape

import nh3

from alloy_nb.markup.markdown import safe_url

__all__ = ["coloured_json", "harmless", "json_in", "unfenced"]

_TAGS = {
    *("a", "abbr", "b", "blockquote", "br", "caption", "code", "dd", "del", "details", "div", "dl"),
    *("dt", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "ins", "kbd", "li", "ol", "p"),
    *("pre", "q", "s", "small", "span", "strong", "sub", "summary", "sup", "table", "tbody", "td"),
    *("tfoot", "th", "thead", "tr", "u", "ul"),
}
_CELL = {"colspan", "rowspan"}
_ATTRIBUTES = {"a": {"href"}, "ol": {"start"}, "td": _CELL, "th": _CELL}
# What is cleaned has "<" only where a tag begins, so what is outside of <...> is text.
_TYPESET = re.compile(r"<[^>]*>|(\$|\\(?=[(\[b]|\Z))")


def harmless(html: str) -> str:
    """Return the HTML without scripts, styles, handlers, pictures, frames and forms."""
    cleaned = nh3.clean(
        html,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        attribute_filter=_safe,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer",
    )
    return _TYPESET.sub(lambda m: f"<span>{m[1]}</span>" if m[1] else m[0], cleaned)


def _safe(_: str, name: str, value: str) -> str | None:
    # A place within the page is none of the model's: JupyterLab has commands behind such links.
    return safe_url(value) if name == "href" else value


def unfenced(text: str) -> str:
    """Return a text without the fence, or the delimiters of a formula, that stand around it."""
    return _FENCES.sub("", text.strip()).strip()


def json_in(text: str) -> object:
    """Return the JSON value of an answer that is one, with or without a fence around it.

    Raises:
        ValueError: It is none.
    """
    try:
        return json.loads(unfenced(text))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def coloured_json(text: str) -> str:
    """Return JSON as HTML for a ``<pre>``, in the colours of JupyterLab's editor."""
    return _JSON.sub(_coloured, escape(text, quote=False))


_FENCES = re.compile(r"\A(?:```[\w+-]*|\$\$|\\\[)[ \t]*\n?|\n?(?:```|\$\$|\\\])[ \t]*\Z")
_JSON = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|-?\b\d[\d.eE+-]*|\b(?:true|false|null)\b')


def _coloured(found: re.Match[str]) -> str:
    kind = "property" if found[2] else "string" if found[1] else "number"
    style = f"color:var(--jp-mirror-editor-{kind}-color,inherit)"
    return f'<span style="{style}">{found[1] or found[0]}</span>{found[2] or ""}'

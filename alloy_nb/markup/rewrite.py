"""Markdown tokens, written as Markdown again: canonical, so that every renderer reads it alike.

JupyterLab renders ``text/markdown`` of a trusted output with raw HTML on, and looks for
mathematics before it looks for code. What one parser takes for code another may take for text, so
nothing that would do harm as text is written as such:

* Text is escaped. A backslash or backtick of the text is an entity, because both change what
  follows.
* Code spans, and code inside lists and quotes, are in backticks only if tame; otherwise they are
  ``<code>`` with entities, which is harmless whether read as HTML or as text.
* Code at the top level stands in a fence at the margin between blank lines, where all agree.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from markdown_it.token import Token
from markdown_it.tree import SyntaxTreeNode

__all__ = ["entities", "fence", "rewrite"]

_WILD = re.compile(r"[<$]|!\[|\]\(|\\(?:begin|end|\\|\(|\[)|```|~~~")
_INFO = re.compile(r"[A-Za-z0-9_+#.-]{1,40}")
_ESCAPED = {
    "\\": "&#92;",
    "`": "&#96;",
    "<": "&lt;",
    "*": "\\*",
    "[": "\\[",
    "]": "\\]",
    "$": "\\$",
    "~": "\\~",
    "|": "\\|",
    "\n": " ",
}
_SPECIAL = re.compile(r"[\\`<*\[\]$~|\n]|&(?=[#A-Za-z])|(?<![^\W_])_|_(?![^\W_])|!(?=\[|\Z)")
_LINE_START = re.compile(r"(?:[#>+=:-]|\d{1,9}(?=[.)]))")


def rewrite(tokens: Sequence[Token]) -> str:
    """Return the document as Markdown."""
    return _blocks(SyntaxTreeNode(tokens).children, top=True)


def entities(text: str) -> str:
    """Return `text` with all its ASCII punctuation that means something as entities.

    It is literal in HTML, Markdown and MathJax alike.
    """
    return re.sub(r"[!-+:-@\[-`{-~\n]", lambda found: f"&#{ord(found[0])};", text)


def fence(content: str, info: str = "") -> str:
    """Return a fence at the margin that holds `content` and cannot be closed by it."""
    longest = max((len(run) for run in re.findall(r"`+", content)), default=0)
    ticks = "`" * max(3, longest + 1)
    word = _INFO.match(info.strip())
    body = content if content.endswith("\n") or not content else content + "\n"
    return f"{ticks}{word[0] if word else ''}\n{body}{ticks}"


# --- blocks -------------------------------------------------------------------------------------


def _blocks(nodes: Sequence[SyntaxTreeNode], *, top: bool = False, tight: bool = False) -> str:
    parts: list[str] = []
    previous = ""
    other = False
    for node in nodes:
        # Two lists in a row are two because their marks differ.
        other = node.type == previous and not other
        previous = node.type
        parts.append(_block(node, top=top, other=other))
    return ("\n" if tight else "\n\n").join(parts)


def _block(node: SyntaxTreeNode, *, top: bool, other: bool) -> str:
    match node.type:
        case "paragraph":
            return _inline(node)
        case "heading":
            line = _inline(node, oneline=True)
            if line.endswith("#"):
                line = line[:-1] + "\\#"
            return f"{'#' * int(node.tag[1:])} {line}".rstrip()
        case "fence" | "code_block":
            return fence(node.content, node.info) if top else _inner_code(node.content)
        case "blockquote":
            return _prefixed(_blocks(node.children), "> ", "> ")
        case "bullet_list":
            return _list(node, ["* " if other else "- "] * len(node.children))
        case "ordered_list":
            first = int(node.attrs.get("start", 1))
            sign = ")" if other else "."
            return _list(node, [f"{first + n}{sign} " for n in range(len(node.children))])
        case "table":
            return _table(node)
        case "hr":
            return "---"
        case _:
            return _blocks(node.children)


def _list(node: SyntaxTreeNode, marks: Sequence[str]) -> str:
    paragraphs = [c for item in node.children for c in item.children if c.type == "paragraph"]
    tight = all(paragraph.hidden for paragraph in paragraphs)
    items = [
        _prefixed(_blocks(item.children, tight=tight), sign, " " * len(sign))
        for sign, item in zip(marks, node.children, strict=True)
    ]
    return ("\n" if tight else "\n\n").join(items)


def _prefixed(text: str, first: str, rest: str) -> str:
    lines = text.split("\n")
    return "\n".join(((rest if n else first) + line).rstrip() for n, line in enumerate(lines))


def _inner_code(content: str) -> str:
    if _WILD.search(content):
        return f"<pre><code>{entities(content)}</code></pre>"
    return fence(content)


def _table(node: SyntaxTreeNode) -> str:
    rows = [row for part in node.children for row in part.children]
    lines = [
        "| " + " | ".join(_inline(cell, oneline=True) for cell in row.children) + " |"
        for row in rows
    ]
    signs = {"left": ":--", "center": ":-:", "right": "--:"}
    aligned = [signs.get(_side(cell), "---") for cell in rows[0].children]
    return "\n".join([lines[0], f"| {' | '.join(aligned)} |", *lines[1:]])


# --- inside a paragraph -------------------------------------------------------------------------


def _side(cell: SyntaxTreeNode) -> str:
    style = str(cell.attrs.get("style", "")).removeprefix("text-align:")
    return style or str(cell.attrs.get("align", ""))


def _inline(node: SyntaxTreeNode, *, oneline: bool = False) -> str:
    spans = node.children[0].children if node.children else []
    text = _spans(spans)
    lines = text.split("\n")
    if oneline:
        return " ".join(line.rstrip("\\").strip() for line in lines)
    return "\n".join(_line_start(line) for line in lines)


def _line_start(line: str) -> str:
    """Escape what would begin a block: here it is in the middle of a paragraph."""
    line = line.strip(" \t")
    found = _LINE_START.match(line)
    if found is None or (line[0] == "-" and len(line) > 1 and line[1] not in " \t-:|"):
        return line
    return f"{line[: found.end()]}\\{line[found.end() :]}" if line[0].isdigit() else "\\" + line


def _spans(nodes: Sequence[SyntaxTreeNode]) -> str:
    return "".join(_span(node) for node in nodes)


def _span(node: SyntaxTreeNode) -> str:
    match node.type:
        case "text":
            return _text(node.content)
        case "softbreak":
            return "\n"
        case "hardbreak":
            return "\\\n"
        case "code_inline":
            return _code(node.content)
        case "em":
            return f"*{_spans(node.children)}*"
        case "strong":
            return f"**{_spans(node.children)}**"
        case "s":
            return f"~~{_spans(node.children)}~~"
        case "link":
            return f"[{_spans(node.children)}]({_address(str(node.attrs['href']))})"
        case "math":
            return _math(node)
        case _:
            return _text(node.content)


def _text(text: str) -> str:
    return _SPECIAL.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    char = found[0]
    return _ESCAPED.get(char) or {"&": "&amp;", "!": "&#33;"}.get(char, f"\\{char}")


def _code(content: str) -> str:
    if _WILD.search(content) or "|" in content or "\n" in content:
        return f"<code>{entities(content)}</code>"
    longest = max((len(run) for run in re.findall(r"`+", content)), default=0)
    ticks = "`" * (longest + 1)
    edge = content[:1] == "`" or content[-1:] == "`"
    spaced = content[:1] == content[-1:] == " " and content.strip()
    pad = " " if edge or spaced else ""
    return f"{ticks}{pad}{content}{pad}{ticks}"


def _address(url: str) -> str:
    url = url.replace("$", "%24").replace("(", "%28").replace(")", "%29")
    url = re.sub(r"[<>\\`\[\]|\s]", lambda found: f"%{ord(found[0]):02X}", url)
    return re.sub(r"&(?=#?\w+;)", "&amp;", url)


def _math(node: SyntaxTreeNode) -> str:
    body = node.content.replace("<", "\\lt ").replace(">", "\\gt ").replace("\n", " ").strip()
    sign = "$$" if node.markup in {"$$", "\\["} else "$"
    return f"{sign}{body}{sign}"

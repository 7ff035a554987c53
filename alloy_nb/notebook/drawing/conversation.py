"""A conversation as one output: what was asked, what came of it, what code displayed. Pure.

It is what a saved notebook shows where no widget runs: on a web site, in a document made of it, in
a notebook that is opened without a kernel. Styles are inline, as in a cell.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from alloy_nb.markup.fragment import harmless
from alloy_nb.markup.markdown import escape_text
from alloy_nb.markup.pictures import described, embedded
from alloy_nb.markup.plain import clean, middle_cut, one_line
from alloy_nb.markup.rewrite import entities, fence
from alloy_nb.messages import Image
from alloy_nb.notebook.drawing.render import Bundle

__all__ = ["Said", "conversation", "displayed", "printed", "prompted"]

_MUTED = "opacity:.7;font-size:.9em"
_PROMPT = (
    "margin:1em 0 .5em;padding:.4em .7em;border-radius:4px;"
    "background:var(--jp-cell-editor-background,rgba(128,128,128,.1))"
)
_TEXT = "white-space:pre-wrap;overflow-wrap:anywhere"
_PRE = f"{_TEXT};max-height:400px;overflow:auto"
_SCROLLED = "max-width:100%;max-height:400px;overflow:auto"
# Of a table or a text that code displayed; what is longer is cut, or left to its plain form.
_MOST_HTML = 200_000
_MOST_TEXT = 20_000


@dataclass(frozen=True, slots=True)
class Said:
    """One turn, drawn: the prompt, when it was asked, and the outputs of its answer."""

    prompt: Bundle
    at: str
    outputs: Sequence[Bundle]

    @property
    def size(self) -> int:
        """About how many bytes it makes in a notebook."""
        return 400 + sum(
            len(bundle.html) + len(bundle.markdown) + len(bundle.plain)
            for bundle in (self.prompt, *self.outputs)
        )


def prompted(text: str, images: Sequence[Image] = (), *, labels: Sequence[str] = ()) -> Bundle:
    """Draw what a person asked; `labels` name what went along with it."""
    text = clean(text).strip("\n")
    along = [one_line(label, 80) for label in labels] + [described(image) for image in images]
    html = f'<div style="{_TEXT}">{escape_text(text)}</div>' if text else ""
    if along:
        html += f'<div style="{_MUTED}">{escape_text(" · ".join(along))}</div>'
    lines = [entities(line) for line in text.split("\n")]
    markdown = "\\\n".join(line or "&nbsp;" for line in lines)
    listed = f"({' · '.join(along)})" if along else ""
    return Bundle(
        html,
        "\n\n".join(part for part in (markdown, entities(listed)) if part),
        "\n".join(part for part in (text, listed) if part),
    )


def printed(text: str) -> Bundle:
    """Draw a text that code printed."""
    text = middle_cut(clean(text).rstrip("\n"), _MOST_TEXT)
    pre = f'<pre style="{_PRE}">{escape_text(text, dollars=False)}</pre>'
    return Bundle(pre, fence(text), text)


def displayed(data: Mapping[str, Any]) -> Bundle:
    """Draw what code displayed, by MIME types: a picture, a harmless table, or the text of it."""
    plain = data.get("text/plain")
    text = printed(plain) if isinstance(plain, str) else Bundle("", "", "")
    for kind in ("image/png", "image/jpeg", "image/gif"):
        source = embedded(_image(kind, data[kind])) if kind in data else None
        if source is not None:
            words = one_line(text.plain) or "picture made by the code"
            drawn = f'<img src="{source}" alt="{escape(words)}" style="max-width:100%">'
            return Bundle(drawn, text.markdown, text.plain)
    html = data.get("text/html")
    if isinstance(html, str) and len(html) <= _MOST_HTML:
        inside = clean(harmless(html))
        if inside.strip():
            return Bundle(f'<div style="{_SCROLLED}">{inside}</div>', text.markdown, text.plain)
    return text


def conversation(turns: Sequence[Said], *, earlier: int = 0, panel: str = "") -> Bundle:
    """Stack turns in one output.

    Args:
        turns: What is shown.
        earlier: How many turns before them are left out.
        panel: The id of the panel that hides it as long as it lives; letters and digits.
    """
    parts = [_turn(turn) for turn in turns]
    if earlier:
        count = f"{earlier} earlier turn{'s are' if earlier > 1 else ' is'} not shown here."
        parts.insert(0, Bundle(f'<div style="{_MUTED}">{count}</div>', f"*{count}*", count))
    if not parts:
        nothing = "Nothing was asked here yet."
        parts = [Bundle(f'<div style="{_MUTED}">{nothing}</div>', f"*{nothing}*", nothing)]
    html = "\n".join(part.html for part in parts)
    return Bundle(
        f'<div class="alloy-transcript" data-panel="{escape(panel)}">{html}</div>',
        "\n\n".join(part.markdown for part in parts),
        "\n\n".join(part.plain for part in parts),
    )


def _turn(turn: Said) -> Bundle:
    who = f"you, {turn.at}" if turn.at else "you"
    asked = f'<div style="{_PROMPT}"><div style="{_MUTED}">{who}</div>{turn.prompt.html}</div>'
    outputs = turn.outputs
    return Bundle(
        "\n".join([asked, *(f"<div>{output.html}</div>" for output in outputs if output.html)]),
        "\n\n".join(
            [f"**{who}:** {turn.prompt.markdown}", *(o.markdown for o in outputs if o.markdown)]
        ),
        "\n".join([f"── {who} ──", turn.prompt.plain, *(o.plain for o in outputs if o.plain)]),
    )


def _image(kind: str, data: object) -> Image:
    if isinstance(data, bytes):
        data = base64.b64encode(data).decode("ascii")
    return Image(media_type=kind, data=data if isinstance(data, str) else "")

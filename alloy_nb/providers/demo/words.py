"""The forms of what the demo says: facts from a tool's output, claims that cite them, Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from alloy_nb.messages import Citation, Text
from alloy_nb.providers.demo.exchange import Result

__all__ = [
    "Fact",
    "Step",
    "cited",
    "code_span",
    "facts_of",
    "failure",
    "fenced",
    "listed",
    "number",
    "shortened",
    "size_of",
    "table_row",
    "withheld",
]

_SENTENCE = 300
_DENIED = re.compile(r"\b(den(y|ied)|declined|refused|reject(ed)?|polic(y|ies)|approv\w*)\b", re.I)


@dataclass(frozen=True, slots=True)
class Step:
    """What comes next: a thought, then code to run, other tools to call, or an answer."""

    thought: str
    code: str | None = None
    answer: tuple[Text, ...] = ()
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()


@dataclass(frozen=True, slots=True)
class Fact:
    """A line that a tool printed, read as JSON."""

    data: dict[str, Any]
    line: str
    result: Result

    def __getitem__(self, name: str) -> Any:
        return self.data[name]


def facts_of(result: Result) -> list[Fact]:
    """Return the facts in an output; lines that are none, or were cut, are passed over."""
    facts = []
    for line in result.text.splitlines():
        if line.startswith("{"):
            try:
                facts.append(Fact(json.loads(line), line, result))
            except ValueError:
                continue
    return facts


def cited(text: str, source: Fact | Result) -> Text:
    """Return a claim with the line of output that it rests on."""
    result = source.result if isinstance(source, Fact) else source
    quote = source.line if isinstance(source, Fact) else result.last_line
    start = max(result.text.find(quote), 0)
    raw = {
        "type": "char_location",
        "cited_text": quote,
        "document_index": result.number - 1,
        "document_title": result.title,
        "start_char_index": start,
        "end_char_index": start + len(quote),
    }
    citation = Citation(kind="document", title=result.title, quote=quote, raw=raw)
    return Text(text=text, citations=(citation,))


def failure(result: Result, about: str) -> Step:
    """Return an answer that claims nothing, because a calculation was denied or failed."""
    text = (
        f"The calculation did not go through, so I have no numbers and claim nothing {about}. "
        f"What came back: {code_span(shortened(result.last_line))}"
    )
    if _DENIED.search(result.last_line):
        text += "\n\nTo let calculations run, allow them when asked, or with `%alloy approve all`."
    return Step(
        "The calculation did not go through, so there is nothing to report.",
        answer=(Text(text=text),),
    )


def withheld(result: Result, about: str) -> Step:
    """Return an answer that claims nothing, because the numbers did not come to this side."""
    text = (
        f"The code ran, and what it printed stands in the cell for you to read. It was not sent to "
        f"me, so I know no numbers and claim nothing {about}."
    )
    return Step("What came back tells no numbers.", answer=(cited(text, result),))


def shortened(text: str) -> str:
    """Return a text of a length that fits into a sentence."""
    return text if len(text) <= _SENTENCE else text[:_SENTENCE] + "…"


def number(value: Any) -> str:
    """Return a number as it was printed, but for a fraction of zero."""
    if value is None:
        return "–"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return json.dumps(value)


def code_span(text: str) -> str:
    """Return Markdown that shows a text as it is, on one line, whatever it holds."""
    line = " ".join(str(text).split()) or " "
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    ticks = "`" * (longest + 1)
    space = " " if "`" in line else ""
    return f"{ticks}{space}{line}{space}{ticks}"


def listed(names: Sequence[str]) -> str:
    """Return names as a list in a sentence."""
    spans = [code_span(name) for name in names]
    return spans[0] if len(spans) == 1 else ", ".join(spans[:-1]) + " and " + spans[-1]


def table_row(cells: Sequence[str]) -> str:
    """Return a row of a Markdown table. A bar ends a cell even in a code span, if not escaped."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def size_of(picture: bytes) -> str:
    """Return what a picture is, from its first bytes; of a PNG, how large it is drawn."""
    kilobytes = f"{max(1, len(picture) // 1000)} kB"
    if not picture.startswith(b"\x89PNG\r\n"):
        return kilobytes
    width, height = (int.from_bytes(picture[at : at + 4]) for at in (16, 20))
    return f"PNG, {width} × {height} pixels, {kilobytes}"


def fenced(text: str) -> str:
    """Return a fence around a text that cannot be closed by it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks}\n{text}\n{ticks}"

"""What the demo reads in a request: the question, what it refers to, what tools answered to it.

Only results of the current exchange count: what follows the last message in which the person said
something.
"""

from __future__ import annotations

import ast
import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alloy_nb.markup.alongside import described, words

__all__ = ["Exchange", "Reference", "Result", "Told", "read_exchange"]

TOOL = "python"

_COLUMN = re.compile(r"^\s+(\S.*?): (\S.*)$", re.MULTILINE)
_WITHHELD = re.compile(r"^\[.*not sent: --data \S+\]$", re.MULTILINE)
_EXPRESSION = (
    ast.Expression,
    ast.Name,
    ast.Attribute,
    ast.Subscript,
    ast.Constant,
    ast.UnaryOp,
    ast.USub,
    ast.Load,
)
# References to something else than a variable of the person's.
_NO_VARIABLES = ("In", "error", "last", "plot", "file")


@dataclass(frozen=True, slots=True)
class Reference:
    """Something that the question refers to with ``@``."""

    name: str
    body: str

    @property
    def headline(self) -> str:
        """The first line of its description, without its name."""
        return self.body.partition("\n")[0].removeprefix(f"{self.name}: ").strip()

    @property
    def kinds(self) -> dict[str, str]:
        """The columns in its description with their types, where it has any."""
        return dict(_COLUMN.findall(self.body))

    @property
    def is_variable(self) -> bool:
        """Whether its name can stand in code: nothing but names, attributes and items."""
        try:
            tree = ast.parse(self.name, mode="eval")
        except (SyntaxError, ValueError):
            return False
        root = re.split(r"\W", self.name, maxsplit=1)[0]
        plain = all(isinstance(node, _EXPRESSION) for node in ast.walk(tree))
        return plain and root not in _NO_VARIABLES

    @property
    def frame(self) -> str | None:
        """An expression for it as a pandas DataFrame, or ``None`` where it is no table."""
        kind = re.search(r"\b(DataFrame|Series)\b", self.headline)
        if kind is None or not self.is_variable:
            return None
        if "polars" in self.headline:
            return f"{self.name}.to_pandas()" if kind[1] == "DataFrame" else None
        return self.name if kind[1] == "DataFrame" else f"{self.name}.to_frame()"


@dataclass(frozen=True, slots=True)
class Result:
    """What the tool answered to call number `number` of this exchange, counted from 1."""

    number: int
    text: str
    is_error: bool

    @property
    def is_withheld(self) -> bool:
        """Whether some of it was kept back by the data dial."""
        return _WITHHELD.search(self.text) is not None

    @property
    def title(self) -> str:
        """What a citation calls it."""
        return f"{TOOL} #{self.number}"

    @property
    def last_line(self) -> str:
        """Its last line with anything in it: of a traceback, the error itself."""
        lines = [line.strip() for line in self.text.splitlines() if line.strip()]
        return lines[-1] if lines else "no output"


@dataclass(frozen=True, slots=True)
class Told:
    """What another tool than the one that computes has answered."""

    tool: str
    text: str
    is_error: bool


@dataclass(frozen=True, slots=True)
class Exchange:
    """The question that is to be answered now, and what was done for it so far."""

    prompt: str
    references: tuple[Reference, ...]
    earlier: tuple[Reference, ...]
    results: tuple[Result, ...]
    told: tuple[Told, ...]
    tools: tuple[Mapping[str, Any], ...]
    pictures: tuple[bytes, ...]
    can_compute: bool
    thinks: bool


def read_exchange(body: Mapping[str, Any]) -> Exchange:
    """Return the current exchange of a request in Anthropic's format."""
    messages = [(str(m.get("role")), _blocks(m.get("content"))) for m in body.get("messages", ())]
    asked = [i for i, (role, blocks) in enumerate(messages) if role == "user" and _said(blocks)]
    start = asked[-1] if asked else 0
    said = _said(messages[start][1]) if messages else ""
    before = [_references(_said(messages[i][1])) for i in asked[:-1]]
    answers = _answers([blocks for _, blocks in messages[start + 1 :]])
    choice = body.get("tool_choice") or {}
    return Exchange(
        prompt=words(said),
        references=_references(said),
        earlier=next((found for found in reversed(before) if found), ()),
        results=_results(answers),
        told=tuple(Told(name, text, failed) for name, text, failed in answers if name != TOOL),
        tools=tuple(body.get("tools") or ()),
        pictures=_pictures(messages[start][1]) if messages else (),
        can_compute=choice.get("type") != "none"
        and any(tool.get("name") == TOOL for tool in body.get("tools") or ()),
        thinks=(body.get("thinking") or {}).get("type") != "disabled",
    )


def _blocks(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [block for block in content or () if isinstance(block, dict)]


def _said(blocks: Sequence[Mapping[str, Any]]) -> str:
    texts = (str(block.get("text", "")) for block in blocks if block.get("type") == "text")
    return "\n\n".join(text for text in texts if text.strip())


def _pictures(blocks: Sequence[Mapping[str, Any]]) -> tuple[bytes, ...]:
    sources = (block.get("source") or {} for block in blocks if block.get("type") == "image")
    return tuple(base64.b64decode(str(source.get("data", ""))) for source in sources)


def _references(said: str) -> tuple[Reference, ...]:
    return tuple(Reference(name, body) for name, body in described(said))


def _answers(
    messages: Sequence[Sequence[Mapping[str, Any]]],
) -> list[tuple[str, str, bool]]:
    """Return what tools answered: which, what, and whether it failed."""
    called: dict[str, str] = {}
    found = []
    for block in (block for blocks in messages for block in blocks):
        if block.get("type") == "tool_use":
            called[str(block.get("id"))] = str(block.get("name"))
        elif block.get("type") == "tool_result":
            name = called.get(str(block.get("tool_use_id")), TOOL)
            text = _said(_blocks(block.get("content")))
            found.append((name, text, bool(block.get("is_error"))))
    return found


def _results(answers: Sequence[tuple[str, str, bool]]) -> tuple[Result, ...]:
    own = [(text, failed) for name, text, failed in answers if name == TOOL]
    return tuple(Result(number, text, failed) for number, (text, failed) in enumerate(own, start=1))

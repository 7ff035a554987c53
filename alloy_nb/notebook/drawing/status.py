"""Status cards: small tables of facts, drawn by the same renderer as answers."""

from __future__ import annotations

from collections.abc import Sequence

from alloy_nb.engine.sessions.session import Session
from alloy_nb.engine.skills import Skill
from alloy_nb.markup.plain import one_line
from alloy_nb.messages import Block, Message, Text, Thinking, ToolCall, ToolResult
from alloy_nb.notebook.approval import Rules, meaning
from alloy_nb.notebook.drawing.cards import publish_table, publish_text
from alloy_nb.notebook.inputs.dial import Dial
from alloy_nb.providers import DEFAULT_MODELS, catalog, provider
from alloy_nb.providers.presets import PRESETS
from alloy_nb.providers.vendor import VendorProvider
from alloy_nb.usage import Cost

__all__ = [
    "dollars",
    "history",
    "models",
    "of",
    "say",
    "show",
    "skill_rows",
]

Rows = Sequence[Sequence[str]]

_MOST_MODELS = 60
_LINE = 80


def of(session: Session, rules: Rules) -> list[tuple[str, str]]:
    """Return what there is to know of a session."""
    model = session.provider
    rows = [
        ("alloy", ""),
        ("model", f"{model.name}/{model.model}"),
        ("session", f"{session.name}, {len(session.messages)} messages"),
        ("context", _context(session)),
        ("cost", f"{session.cost} ({session.usage.total_tokens:,} tokens)"),
        ("tools", ", ".join(tool.name for tool in session.agent.tools)),
        ("approve", ": ".join(meaning(rules))),
        ("data", _data(session)),
    ]
    if isinstance(model, VendorProvider):
        rows.insert(2, ("key", model.key_source))
        if model.base_url != model.default_base_url:
            rows.insert(3, ("address", model.base_url))
    if label := getattr(model, "label", None):
        rows.insert(2, ("note", str(label)))
    return rows


def _data(session: Session) -> str:
    dial = Dial.of(session.agent.context)
    return f"{dial}: {dial.meaning}"


def models(word: str) -> list[list[str]]:
    """Return the models whose name holds a word; without one, a default for each vendor."""
    rows = [["model", "key", "window"]]
    if not word:
        rows += [_row(f"{vendor}/{model}") for vendor, model in DEFAULT_MODELS.items()]
        local = [name for name, preset in PRESETS.items() if preset.local]
        rows += [[f"{name}/MODEL", "no key needed", ""] for name in local]
        rows.append(["demo", "no key needed", ""])
        return rows
    names = [f"{vendor}/{model}" for vendor in DEFAULT_MODELS for model in catalog.models(vendor)]
    found = [name for name in names if word.lower() in name.lower()]
    rows += [_row(name) for name in found[:_MOST_MODELS]]
    if len(found) > _MOST_MODELS:
        rows.append([f"... and {len(found) - _MOST_MODELS} more", "", ""])
    if not found:
        rows.append([f"none is listed for {word!r}; any vendor/model can be used", "", ""])
    return rows


def history(messages: Sequence[Message]) -> list[list[str]]:
    """Return a row for each message: who, and how it begins; tools and media as tags."""
    rows = [["", "who", "what"]]
    for number, message in enumerate(messages, 1):
        said = " ".join(filter(None, map(_said, message.content)))
        rows.append([str(number), message.role, one_line(said, _LINE)])
    return rows


def _said(block: Block) -> str:
    match block:
        case Text():
            return block.text
        case Thinking():
            return ""
        case ToolCall(name=name):
            return f"[call {name}]"
        case ToolResult(name=name, is_error=failed):
            return f"[{'failure' if failed else 'result'} {name}]"
    return f"[{block.type}]"


def skill_rows(there: Sequence[Skill]) -> list[list[str]]:
    """Return a row for each skill, or one that says where they go."""
    rows = [["skill", "what it is for"]]
    rows += [[f"/{one_line(skill.name)}", one_line(skill.description)] for skill in there]
    return rows if there else [*rows, ["none yet", "put a prompt into .alloy/skills/NAME.md"]]


def dollars(cost: Cost) -> str:
    """Return a cost as it stands in a column of costs."""
    return str(cost) if cost.complete or cost.known else "unknown"


def show(rows: Rows) -> None:
    """Show rows as a table."""
    publish_table(rows)


def say(text: str) -> None:
    """Show a text as it is."""
    publish_text(text)


def _row(name: str) -> list[str]:
    made = provider(name)
    vendor, _, model = name.partition("/")
    window = catalog.context_window(vendor, model)
    key = ""
    if isinstance(made, VendorProvider):
        key = f"✓ {made.key_source}" if made.has_key else f"✗ set {made.key_variable}"
    return [name, key, f"{window:,}" if window else ""]


def _context(session: Session) -> str:
    used, window = session.context_tokens, session.context_window
    if used is None:
        return f"empty, of {window:,} tokens" if window else "empty"
    if window is None:
        return f"{used:,} tokens, window unknown"
    return f"{used:,} of {window:,} tokens ({used / window:.0%})"

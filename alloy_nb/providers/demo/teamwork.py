"""What the demo does with other agents, and with findings: it asks each, and notes its claims."""

from __future__ import annotations

import re

from alloy_nb.markup.alongside import reference
from alloy_nb.messages import Text
from alloy_nb.providers.demo.exchange import Exchange
from alloy_nb.providers.demo.words import Step, code_span

__all__ = ["ask", "note"]

_ASK = "ask_"
_NOTE = "note_finding"
_WANTED = re.compile(r"\b(note|notes|noted|finding|findings)\b", re.IGNORECASE)
_MOST_NOTES = 3
_SCRIPTED = (
    "*This is the scripted demo: it asks every agent the same question and puts their answers "
    "side by side. What follows from them takes a language model.*"
)


def ask(exchange: Exchange) -> Step | None:
    """Return the step that asks each agent, then the one that says what they answered."""
    agents = [name for name in _names(exchange) if name.startswith(_ASK)]
    if not agents:
        return None
    told = [one for one in exchange.told if one.tool.startswith(_ASK)]
    if not told:
        about = (reference(one.name, one.body) for one in exchange.references)
        task = "\n\n".join([exchange.prompt, *about])
        return Step(
            f"I can ask {len(agents)} agents. I give each the question.",
            calls=tuple((name, {"task": task}) for name in agents),
        )
    parts = []
    for one in told:
        agent = code_span(one.tool.removeprefix(_ASK))
        said = one.text if not one.is_error else f"It gave no answer: {one.text}"
        quoted = "\n".join(f"> {line}" for line in _unsigned(said).splitlines())
        parts.append(f"{agent} says:\n\n{quoted}")
    text = "\n\n".join([*parts, _SCRIPTED])
    return Step("All have answered. I say what each said.", answer=(Text(text=text),))


def note(exchange: Exchange, step: Step) -> Step | None:
    """Return the step that notes the claims of an answer, if they are wanted and not noted yet."""
    is_wanted = _NOTE in _names(exchange) and _WANTED.search(exchange.prompt) is not None
    if not is_wanted or any(one.tool == _NOTE for one in exchange.told):
        return None
    claims = [
        {
            "claim": _plain(part.text),
            "evidence": [part.citations[0].title],
            "confidence": "high",
            "caveat": "A difference is not yet a cause.",
        }
        for part in step.answer
        if part.citations and part.citations[0].title and re.search(r"\d", part.text)
    ]
    if not claims:
        return None
    return Step(
        "I note what I found, with the call that computed it, before I answer.",
        calls=tuple((_NOTE, claim) for claim in claims[:_MOST_NOTES]),
    )


def _names(exchange: Exchange) -> list[str]:
    return [str(tool.get("name")) for tool in exchange.tools]


def _unsigned(text: str) -> str:
    """Return an answer without the line in which the demo says that it is one."""
    return re.sub(r"\n*\*This is the scripted demo[^*]*\*\s*$", "", text).strip()


def _plain(text: str) -> str:
    """Return a claim without the marks of Markdown."""
    return " ".join(re.sub(r"\*\*|`|^\s*[-|]\s*", "", text).split())[:500]

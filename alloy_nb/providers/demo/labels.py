"""What the demo does with a form to fill in, where it can run no code: it goes by words.

It counts words of praise and of blame, looks for numbers, and takes what a list of choices offers.
That is no language model, and is right about plain sentences at best. The model ``demo/quick``
reads the first words of a text only, so that two that differ can be compared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from alloy_nb.providers.demo.exchange import TOOL, Exchange
from alloy_nb.providers.demo.words import Step

__all__ = ["fill"]

# How the engine describes the tool with which a run ends.
_ENDS = "it ends the task"
_GOOD = frozenset(
    [
        "amazing",
        "awesome",
        "beautiful",
        "best",
        "better",
        "brilliant",
        "comfortable",
        "delicious",
        "delighted",
        "easy",
        "enjoyed",
        "excellent",
        "fantastic",
        "fast",
        "favourite",
        "fine",
        "fresh",
        "friendly",
        "glad",
        "good",
        "great",
        "happy",
        "helpful",
        "impressed",
        "like",
        "liked",
        "love",
        "loved",
        "lovely",
        "nice",
        "perfect",
        "pleasant",
        "pleased",
        "quick",
        "recommend",
        "reliable",
        "satisfied",
        "sturdy",
        "superb",
        "warm",
        "well",
        "wonderful",
        "works",
        "worth",
    ]
)
_BAD = frozenset(
    [
        "angry",
        "annoying",
        "awful",
        "bad",
        "boring",
        "broke",
        "broken",
        "cheap",
        "cold",
        "complaint",
        "cracked",
        "damaged",
        "dead",
        "defective",
        "dirty",
        "disappointed",
        "disappointing",
        "expensive",
        "fail",
        "failed",
        "fails",
        "fell",
        "flimsy",
        "hate",
        "hated",
        "horrible",
        "late",
        "leaks",
        "loud",
        "lost",
        "missing",
        "never",
        "noisy",
        "poor",
        "refund",
        "return",
        "rude",
        "scratched",
        "slow",
        "stopped",
        "terrible",
        "tiny",
        "ugly",
        "unhappy",
        "useless",
        "waste",
        "weak",
        "worse",
        "worst",
        "wrong",
    ]
)
_NOT = frozenset(
    [
        "not",
        "no",
        "never",
        "nothing",
        "hardly",
        "isn't",
        "wasn't",
        "don't",
        "didn't",
        "won't",
        "cannot",
        "can't",
    ]
)
_MIDDLE = ("neutral", "mixed", "other", "unknown", "unclear", "none")
_POSITIVE = re.compile(r"posit|good|happy|satisf|praise|like|\byes\b|up$", re.IGNORECASE)
_NEGATIVE = re.compile(r"negat|bad|unhappy|dissatisf|unsatisf|complain|dislike|\bno\b|down$", re.I)
_QUICK = 4
_DEEPEST = 6


def fill(exchange: Exchange, model: str) -> Step | None:
    """Return the step that fills in the form of the answer; ``None`` where there is none."""
    tools = exchange.tools
    form = next((tool for tool in tools if _ENDS in str(tool.get("description"))), None)
    if form is None or any(tool.get("name") == TOOL for tool in tools):
        return None
    text = _subject(exchange.prompt)
    if model.endswith("quick"):
        text = " ".join(text.split()[:_QUICK])
    schema = form.get("input_schema") or {}
    value = _value(schema, text, "", schema.get("$defs") or {}, 0)
    filled = value if isinstance(value, dict) else {}
    return Step("I go by the words of the text.", calls=((str(form.get("name")), filled),))


def _subject(prompt: str) -> str:
    """Return what a prompt is about: what stands behind its last colon, if anything does."""
    _, colon, rest = prompt.partition(": ")
    return rest if colon and rest.strip() else prompt


def _value(
    schema: Mapping[str, Any], text: str, name: str, known: Mapping[str, Any], depth: int
) -> Any:
    """Return a value that fits a schema, as far as the words of a text say one."""
    if depth > _DEEPEST:
        return None
    if isinstance(schema.get("$ref"), str):
        schema = known.get(schema["$ref"].rpartition("/")[2], {})
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return _value(schema[key][0], text, name, known, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return _choice(schema["enum"], text)
    kind = schema.get("type")
    match kind[0] if isinstance(kind, list) and kind else kind:
        case "object":
            return {
                field: _value(inner, text, field, known, depth + 1)
                for field, inner in (schema.get("properties") or {}).items()
            }
        case "array":
            return _several(schema.get("items") or {}, text, name, known, depth)
        case "boolean":
            return _is_so(name, text)
        case "integer":
            return round(_number(schema, text))
        case "number":
            return _number(schema, text)
        case "null":
            return None
    return _phrase(text)


def _mood(text: str) -> int:
    """Return how many words praise, less those that blame; a word behind a *not* turns round."""
    score, turned = 0, False
    for word in re.findall(r"[a-z']+", text.lower()):
        if word in _NOT:
            turned = True
            score -= word == "never"
            continue
        sign = (word in _GOOD) - (word in _BAD)
        if sign:
            score += -sign if turned else sign
            turned = False
    return score


def _choice(choices: Sequence[Any], text: str) -> Any:
    mood = _mood(text)
    names = [str(choice) for choice in choices]
    positive = next((c for c, n in zip(choices, names, strict=True) if _POSITIVE.search(n)), None)
    negative = next((c for c, n in zip(choices, names, strict=True) if _NEGATIVE.search(n)), None)
    middle = next((c for c, n in zip(choices, names, strict=True) if n.lower() in _MIDDLE), None)
    if positive is not None and negative is not None and positive != negative:
        if mood == 0 and middle is not None:
            return middle
        return positive if mood > 0 or (mood == 0 and middle is None) else negative
    said = [c for c, n in zip(choices, names, strict=True) if n.lower() in text.lower()]
    return said[0] if said else middle if middle is not None else choices[0]


def _several(
    item: Mapping[str, Any], text: str, name: str, known: Mapping[str, Any], depth: int
) -> list[Any]:
    if item.get("enum"):
        return [one for one in item["enum"] if str(one).lower() in text.lower()]
    if item.get("type") == "string":
        return list(dict.fromkeys(re.findall(r"\b[A-Za-z]{6,}\b", text)))[:3]
    return [_value(item, text, name, known, depth + 1)]


def _is_so(name: str, text: str) -> bool:
    """Say yes where the text has a word of the field's name, or praises where that is asked."""
    if name == "value":  # the answer as a whole: yes is praise
        return _mood(text) > 0
    words = [word for word in re.split(r"[_\W]+", name.lower()) if len(word) > 2]
    if any(_POSITIVE.search(word) or word.startswith("recommend") for word in words):
        return _mood(text) > 0
    return any(word in text.lower() for word in words)


def _number(schema: Mapping[str, Any], text: str) -> float:
    low, high = schema.get("minimum"), schema.get("maximum")
    found = re.search(r"-?\d+(?:\.\d+)?", text)
    if found is not None:
        value = float(found[0])
    elif low is not None and high is not None:
        value = (low + high) / 2 + _mood(text) * (high - low) / 4
    else:
        value = float(_mood(text))
    value = value if low is None else max(value, low)
    return value if high is None else min(value, high)


def _phrase(text: str) -> str:
    first = re.split(r"(?<=[.!?])\s", text.strip(), maxsplit=1)[0]
    return " ".join(first.split()[:8]).rstrip(".,;:")

"""What a person is asked about a call: exactly what would run, its risk, the answers. Pure.

Characters that one cannot see, or that reorder others, are made visible; what would change in a
file is shown as a diff against the file as it is.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

from alloy_nb.engine.calls.approval import Decision, Way, escaped
from alloy_nb.engine.calls.tool import Tool
from alloy_nb.messages import ToolCall

__all__ = [
    "Answer",
    "Choice",
    "Question",
    "answer_in",
    "decision_of",
    "question_about",
    "visible",
]

Choice = Literal["once", "session", "turn", "edited", "denied"]
Kind = Literal["code", "command", "diff", "text"]

# More than anybody types; what is longer did not come from a person.
_LONGEST = 1_000_000

# Letters, marks and symbols that are drawn as nothing: fillers, a joiner, braille without dots.
_BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"


@dataclass(frozen=True, slots=True)
class Question:
    """A question about one call, as it is shown.

    Args:
        title: What the model wants, in one line.
        subject: What would run or change, with every hidden character made visible.
        kind: What the subject is, for its colours.
        risk: What it could do, in words.
        warning: What else the person has to know, such as hidden characters; may be empty.
        editable: What the person may change before it runs; ``None`` where nothing.
        argument: The argument that `editable` is; ``None`` where it is all of them as JSON.
        lasting: Whether just this call can be allowed for the session, and all for the turn.
    """

    title: str
    subject: str
    kind: Kind = "text"
    risk: str = ""
    warning: str = ""
    editable: str | None = None
    argument: str | None = None
    lasting: bool = True

    def again(self, problem: str, typed: str) -> Question:
        """Return the question once more, with what was wrong with the answer."""
        return replace(self, warning=problem, editable=typed)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the person chose; `text` is the reason of a denial, or what is to run instead."""

    choice: Choice
    text: str = ""


def question_about(call: ToolCall, tool: Tool, change: Change | None = None) -> Question:
    """Return what is asked about a call; `change` is what it would do to a file."""
    subject = change.diff if change is not None and change.diff else _subject(call, tool)
    shown = visible(subject)
    argument = _EDITABLE.get(tool.name)
    if not isinstance(call.input.get(argument or ""), str):
        argument = None
    if tool.ask_anew:  # no call is asked about, but what a server said of itself since
        return Question(f"About the tool {tool.name}:", shown, lasting=False)
    warnings = [_HIDDEN] if shown != subject else []
    if change is not None and change.problem:
        warnings.append(f"As the file is now, this would fail: {visible(change.problem)}")
    return Question(
        title=_TITLES.get(tool.name, f"The model wants to use {tool.name}:"),
        subject=shown,
        kind=_KINDS.get(tool.name, "text"),
        risk=_risk(tool),
        warning=" ".join(warnings),
        editable=visible(_editable(call.input, argument)),
        argument=argument,
        lasting=shown == subject,
    )


@dataclass(frozen=True, slots=True)
class Change:
    """What a call would do to a file as it is now: a diff, or why it would fail."""

    diff: str = ""
    problem: str = ""


def answer_in(question: Question, said: Mapping[str, Any]) -> Answer | None:
    """Return the answer in a message of a front end, or ``None`` where it is none."""
    choice, text = said.get("choice"), said.get("text", "")
    if choice not in get_args(Choice) or not isinstance(text, str) or len(text) > _LONGEST:
        return None
    if choice == "edited" and question.editable is None:
        return None
    return Answer(cast("Choice", choice), text)


def decision_of(question: Question, answer: Answer, call: ToolCall) -> Decision:
    """Return what follows from an answer.

    Raises:
        ValueError: The arguments were edited, and are no JSON object any more.
    """
    match answer.choice:
        case "denied":
            return Decision(allowed=False, reason=answer.text.strip(), how="denied")
        case "edited":
            arguments = _edited(question, answer.text, call.input)
            if arguments == dict(call.input):
                return Decision(allowed=True, how="once")
            return Decision(allowed=True, how="edited", arguments=arguments)
        case "once" | "session" | "turn" as choice:
            how: Way = choice if question.lasting else "once"
            return Decision(allowed=True, how=how)


def visible(text: str) -> str:
    r"""Show characters that hide or reorder others as escapes, such as ``\u202e``."""
    return "".join(c if _is_plain(c) else escaped(c) for c in text)


def _is_plain(character: str) -> bool:
    if character in "\n\t ":
        return True
    # Cc, Cf: controls and invisible formatting; Cs, Co, Cn: no characters; Z: other spaces, breaks.
    kind = unicodedata.category(character)
    return kind not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs") and not (
        character in _BLANK or "\ufe00" <= character <= "\ufe0f" or character >= "\U000e0000"
    )


# --- inside ---------------------------------------------------------------------------------------

_EDITABLE = {"python": "code", "bash": "command", "write": "content", "edit": "new_string"}
_KINDS: dict[str, Kind] = {"python": "code", "bash": "command", "write": "diff", "edit": "diff"}
_TITLES = {
    "python": "The model wants to run this Python code in your kernel:",
    "bash": "The model wants to run this shell command:",
    "write": "The model wants to write this file:",
    "edit": "The model wants to change this file:",
}
_RISKS = {
    "python": "It runs with your rights: it can change your variables, read and write your files, "
    "and use the network.",
    "bash": "It runs with your rights: it can change and delete your files, and use the network.",
    "write": "It replaces all of the file, or makes a new one.",
    "edit": "It changes the lines that are shown.",
}
_HIDDEN = (
    "It holds characters that one does not see; they are shown as escapes such as \\u202e, and it "
    "can be allowed only once."
)


def _subject(call: ToolCall, tool: Tool) -> str:
    try:
        return tool.subject_of(call.input) or f"{call.name}({call.input!r})"
    except Exception:  # the arguments may be of any shape; the plain form shows all of them
        return f"{call.name}({call.input!r})"


def _risk(tool: Tool) -> str:
    if tool.name in _RISKS:
        return _RISKS[tool.name]
    if tool.name.startswith("mcp__"):
        return "It is run by an MCP server, which gets what is shown, and can do what it can do."
    if tool.risk == "write":
        return "It changes files or data."
    return "It can do whatever its code does, with your rights."


def _editable(arguments: Mapping[str, Any], argument: str | None) -> str:
    if argument is not None:
        return str(arguments[argument])
    return json.dumps(dict(arguments), ensure_ascii=False, indent=2, default=str)


def _edited(question: Question, text: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    text = text.replace("\r\n", "\n")
    if text == question.editable:  # as it was; hidden characters stay what they are
        return dict(arguments)
    if question.argument is not None:
        return {**arguments, question.argument: text}
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("the arguments have to be a JSON object")
    return value

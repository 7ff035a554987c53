"""Findings: claims that an agent notes while it works, each with what it rests on.

::

    note_finding(claim, evidence, confidence)     a call of the model, like any other
    findings_in(session.messages)                 what was noted, read from the conversation
    al.findings                                   all of the notebook's, as a DataFrame

A finding is a call in the history and is stored nowhere else: it is kept, undone, forked, exported
and resumed with its turn. What it names as evidence is looked up in the same history.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol
from weakref import WeakSet

from pydantic import Field

from alloy_nb.analysis.tables import table_of
from alloy_nb.engine.calls.tool import tool
from alloy_nb.engine.middleware.base import current_run
from alloy_nb.errors import ToolError
from alloy_nb.events import ToolFinished
from alloy_nb.markup.plain import clean, one_line
from alloy_nb.messages import Message, ToolCall, ToolResult
from alloy_nb.secrets import redact

if TYPE_CHECKING:
    from alloy_nb.engine.run import Result
    from alloy_nb.engine.sessions.session import Session

__all__ = [
    "TOOL",
    "Evidence",
    "Finding",
    "Source",
    "find_evidence",
    "findings_in",
    "findings_of",
    "frame",
    "note_finding",
    "register",
]

TOOL = "note_finding"
_MOST_EVIDENCE = 12
_CALL = re.compile(
    r"(?:turn (?P<turn>\d{1,6})[ ,:]+)?(?P<name>[A-Za-z_][\w-]{0,63}) ?#(?P<number>\d{1,6})"
)
_CELL = re.compile(r"(?:In|Out)\[(?P<number>\d{1,9})\]")
_VARIABLE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*|\[[^\]\n]{1,80}\])*")

Confidence = Literal["low", "medium", "high"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a finding rests on.

    Args:
        name: As the model wrote it, such as ``python #2``, ``In[14]`` or ``df``.
        kind: What it names; *unknown* where the conversation holds no such thing.
        turn: The turn in which the call was made, counted from 1; 0 of what is no call.
        call: The call.
        result: What was answered to it.
    """

    name: str
    kind: Literal["call", "cell", "variable", "unknown"]
    turn: int = 0
    call: ToolCall | None = None
    result: ToolResult | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """A claim, what it rests on, and how sure the model was.

    `changed` says how what it rests on has changed since; it is empty where nothing has, or where
    nobody looked.
    """

    number: int
    claim: str
    confidence: str
    evidence: tuple[Evidence, ...]
    caveat: str = ""
    session: str = "main"
    turn: int = 0
    call_id: str = ""
    changed: str = ""


class Source(Protocol):
    """Knows of findings, such as an open notebook."""

    def findings(self) -> Iterable[Finding]:
        """Return them, the first one first."""


@tool(
    name=TOOL,
    description=(
        "Note a finding: one claim that a reader may rely on, with the evidence that it was "
        "computed from. Call it as soon as you have established something, once for each claim, "
        "before you write your answer. Every number of the claim must stand in a result that you "
        "name."
    ),
    risk="read",
)
def note_finding(
    claim: Annotated[
        str,
        Field(
            min_length=1,
            max_length=1_000,
            description="One sentence, with its numbers, that is true by itself.",
        ),
    ],
    evidence: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=120)]],
        Field(
            min_length=1,
            max_length=_MOST_EVIDENCE,
            description="What it rests on: 'python #2' is the second call of python in this turn "
            "('turn 1 python #2' that of an earlier one); 'In[14]' a cell; 'df' a variable.",
        ),
    ],
    confidence: Annotated[Confidence, Field(description="How sure you are.")],
    caveat: Annotated[
        str, Field(max_length=500, description="What was assumed, or not checked, if anything.")
    ] = "",
) -> str:
    """Take a finding; it is kept as this call."""
    del claim, confidence, caveat
    if missing := [name for name in evidence if _is_no_call(name)]:
        raise ToolError(
            f"The finding was not noted: {', '.join(missing)} was not called so often in this "
            "turn, counted from 1 for each tool. Name the call that computed it."
        )
    return "Noted."


def findings_in(messages: Sequence[Message], session: str = "main") -> list[Finding]:
    """Return what was noted in a conversation, in order; a call that failed has noted nothing."""
    book = _Book(messages)
    found: list[Finding] = []
    for turn, call in book.calls:
        result = book.results.get(id(call))
        if call.name != TOOL or result is None or result.is_error:
            continue
        made = _finding(call, len(found) + 1, turn=turn, session=session, book=book)
        if made is not None:
            found.append(made)
    return found


def findings_of(what: Session | Result | Sequence[Message]) -> Any:
    """Return what was noted in a session, a result or a list of messages, as a DataFrame.

    It is one of pandas, or of Polars where only that is in use; where neither is installed it is a
    list of dicts.
    """
    messages = what if isinstance(what, Sequence) else what.messages
    return _framed(findings_in(messages, getattr(what, "name", "main")))


def find_evidence(name: str, messages: Sequence[Message], turn: int) -> Evidence:
    """Return what a name stands for when it is written in a turn."""
    return _Book(messages).evidence(name, turn)


# --- the notebook's -------------------------------------------------------------------------------

_sources: WeakSet[Any] = WeakSet()


def register(source: Source) -> None:
    """Let `alloy_nb.findings` show what a source knows of, for as long as it lives."""
    _sources.add(source)


def frame() -> Any:
    """Return all findings of the open notebook as a DataFrame, made anew each time."""
    return _framed([finding for source in list(_sources) for finding in source.findings()])


def _framed(found: Sequence[Finding]) -> Any:
    columns: dict[str, list[Any]] = {
        "finding": [one.number for one in found],
        "claim": [_shown(one.claim) for one in found],
        "confidence": [one.confidence for one in found],
        "evidence": [", ".join(_shown(each.name) for each in one.evidence) for one in found],
        "unproven": [
            ", ".join(_shown(each.name) for each in one.evidence if each.kind == "unknown")
            for one in found
        ],
        "caveat": [_shown(one.caveat) for one in found],
        "changed": [one.changed for one in found],
        "session": [one.session for one in found],
        "turn": [one.turn for one in found],
    }
    return table_of(columns)


def _shown(text: str) -> str:
    return redact(clean(text))


# --- reading a conversation -----------------------------------------------------------------------


class _Book:
    """The calls of a conversation, with their turns and results; ids may come again."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.calls: list[tuple[int, ToolCall]] = []
        self.results: dict[int, ToolResult] = {}
        waiting: dict[str, list[ToolCall]] = {}
        turn = 0
        for message in messages:
            results = [block for block in message.content if isinstance(block, ToolResult)]
            if message.role == "user" and not results:
                turn += 1
            for result in results:
                if waiting.get(result.call_id):
                    self.results[id(waiting[result.call_id].pop(0))] = result
            for block in message.content:
                if isinstance(block, ToolCall):
                    self.calls.append((max(turn, 1), block))
                    waiting.setdefault(block.id, []).append(block)

    def evidence(self, name: str, turn: int) -> Evidence:
        """Return what a name stands for in a turn."""
        name = name.strip().strip("`").removeprefix("@")
        if (call := next((c for _, c in self.calls if c.id == name), None)) is not None:
            where = next(t for t, c in self.calls if c is call)
            return Evidence(name, "call", where, call, self.results.get(id(call)))
        if (found := _CALL.fullmatch(name)) is not None:
            where = int(found["turn"] or turn)
            return self._nth(name, where, found["name"], int(found["number"]))
        if _CELL.fullmatch(name):
            return Evidence(name, "cell")
        return Evidence(name, "variable" if _VARIABLE.fullmatch(name) else "unknown")

    def _nth(self, name: str, turn: int, tool_name: str, number: int) -> Evidence:
        calls = [call for t, call in self.calls if t == turn and call.name == tool_name]
        if not 0 < number <= len(calls):
            return Evidence(name, "unknown")
        call = calls[number - 1]
        return Evidence(name, "call", turn, call, self.results.get(id(call)))


def _finding(
    call: ToolCall, number: int, *, turn: int, session: str, book: _Book
) -> Finding | None:
    """Return the finding of a call; ``None`` where an imported file holds something else."""
    claim, names = call.input.get("claim"), call.input.get("evidence")
    if not isinstance(claim, str) or not isinstance(names, (list, tuple)):
        return None
    confidence, caveat = call.input.get("confidence"), call.input.get("caveat")
    texts = [name for name in names[:_MOST_EVIDENCE] if isinstance(name, str)]
    return Finding(
        number=number,
        claim=claim,
        confidence=one_line(confidence, 20) if isinstance(confidence, str) else "",
        evidence=tuple(book.evidence(text, turn) for text in texts),
        caveat=caveat if isinstance(caveat, str) else "",
        session=session,
        turn=turn,
        call_id=call.id,
    )


def _is_no_call(name: str) -> bool:
    """Tell whether a name counts calls of this turn, and counts more than there were."""
    run = current_run()
    found = _CALL.fullmatch(name.strip().strip("`"))
    if run is None or found is None or found["turn"]:
        return False
    done = [event.body for event in run.events if isinstance(event.body, ToolFinished)]
    count = sum(body.call.name == found["name"] for body in done)
    return not 0 < int(found["number"]) <= count

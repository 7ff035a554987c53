"""Any history, made sendable to this vendor.

A history may have been interrupted, edited, loaded from a file, or made with another vendor. What
a wire gets from here is well formed, whatever it was:

- every call has exactly one result, in the next user message, and no result stands without a call;
- ids are unique and of a form that the vendor takes;
- roles alternate, the first message is a user's, and no text is empty;
- what one vendor signed or encrypted never reaches another, and is never edited: a foreign
  signature goes with its block.

The work is done in *units*: the assistant's messages up to the next user's, and the user's messages
that follow. A unit needs to know nothing of the others but the ids in use, so a conversation
that grows is neither repaired nor encoded again from its beginning.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import is_
from typing import Any

from alloy_nb.messages import (
    Block,
    Image,
    Message,
    Opaque,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from alloy_nb.providers.wire_json import dumps

__all__ = [
    "INTERRUPTED",
    "NOT_STARTED",
    "REJECTED",
    "UNKNOWN",
    "EncodedHistory",
    "Rules",
    "prepare",
]

# What the model is told of a call that did not end as it should. The difference matters: a model
# that is told "rejected" may try again, one that is told "interrupted" should look first.
REJECTED = "The user rejected this call; it did not run."
NOT_STARTED = "The turn was stopped before this call started; it did not run."
INTERRUPTED = (
    "This call was interrupted while it ran. It may have had effects: "
    "check before running it again."
)
UNKNOWN = "It is not known whether this call ran: there is no record of its result. Check first."


@dataclass(frozen=True, slots=True)
class Rules:
    """What a vendor takes in a history.

    Args:
        vendor: Whose signatures and opaque blocks may be sent.
        host: Where they were made, if it is known: the same name may stand for another server.
        call_id: The form of a call's id; others are replaced by one of the same form.
        thinking: Whether signed thinking of this vendor goes back; otherwise it is left out.
        unsigned_thinking: Whether thinking without a signature goes back too.
        drawn: Whether pictures that a model drew go back with its words; most vendors refuse them.
        paired_server_tools: Whether a call that the vendor ran has a result of its own, without
            which it is refused.
    """

    vendor: str
    host: str | None = None
    call_id: re.Pattern[str] = field(default_factory=lambda: re.compile(r"[a-zA-Z0-9_-]{1,64}"))
    call_id_length: int = 24
    thinking: bool = True
    unsigned_thinking: bool = False
    drawn: bool = False
    paired_server_tools: bool = True


@dataclass(slots=True)
class _Unit:
    assistants: list[Message]
    users: list[Message]

    @property
    def sources(self) -> list[Message]:
        return self.assistants + self.users


def prepare(messages: Sequence[Message], rules: Rules) -> list[Message]:
    """Return the history as this vendor takes it. Preparing it twice changes nothing more."""
    used: set[str] = set()
    units = _units(messages)
    return [message for i, unit in enumerate(units) for message in _mended(unit, rules, used, i)]


class EncodedHistory:
    """A conversation that grows, each of whose messages is prepared and encoded once."""

    def __init__(self, rules: Rules, encode: Callable[[Message], list[dict[str, Any]]]) -> None:
        self._rules = rules
        self._encode = encode
        self._sources: list[Message] = []
        self._lengths: list[int] = []  # sources of each unit
        self._encoded: list[list[bytes]] = []  # of each unit
        self._ids: list[set[str]] = []  # of each unit
        self._used: set[str] = set()
        self._newer: list[int] = []  # items of each unit that are the user's
        self._flat: list[bytes] = []  # all units but the last

    def update(self, messages: Sequence[Message]) -> list[bytes]:
        """Return every message encoded, most of them as they were encoded before."""
        self._rewind(messages)
        for unit in _units(messages[len(self._sources) :]):
            self._append(unit)
        return self._flat + (self._encoded[-1] if self._encoded else [])

    def newer(self) -> list[bytes]:
        """Return what was said since the newest reply, with the results of its calls."""
        if not self._encoded:
            return []
        return self._encoded[-1][len(self._encoded[-1]) - self._newer[-1] :]

    def _rewind(self, messages: Sequence[Message]) -> None:
        """Forget the last unit where it has grown, and all that is no longer the same."""
        known = len(self._sources)
        if known <= len(messages) and all(map(is_, self._sources, messages)):
            # What the user said closes a unit: an answer begins the next one.
            closed = known and self._sources[-1].role == "user"
            grown = known < len(messages) and not (closed and messages[known].role == "assistant")
            if grown:
                self._pop()
            return
        kept = _shared_prefix(self._sources, messages)
        while len(self._sources) > kept:
            self._pop()
        # The unit before may now continue otherwise than it did.
        self._pop()

    def _pop(self) -> None:
        if not self._lengths:
            return
        length = self._lengths.pop()
        del self._sources[len(self._sources) - length :]
        self._encoded.pop()
        self._newer.pop()
        self._used -= self._ids.pop()
        if self._encoded:
            del self._flat[len(self._flat) - len(self._encoded[-1]) :]

    def _append(self, unit: _Unit) -> None:
        mended = _mended(unit, self._rules, self._used, len(self._lengths))
        if self._encoded:
            self._flat.extend(self._encoded[-1])
        self._sources.extend(unit.sources)
        self._lengths.append(len(unit.assistants) + len(unit.users))
        encoded = [[dumps(item) for item in self._encode(message)] for message in mended]
        self._encoded.append([item for items in encoded for item in items])
        self._newer.append(len(encoded[-1]) if mended and mended[-1].role == "user" else 0)
        self._ids.append(_call_ids(mended))


def _call_ids(messages: Iterable[Message]) -> set[str]:
    return {b.id for m in messages for b in m.content if isinstance(b, ToolCall) and not b.server}


def _shared_prefix(old: Sequence[Message], new: Sequence[Message]) -> int:
    for index, (a, b) in enumerate(zip(old, new, strict=False)):
        if a is not b:
            return index
    return min(len(old), len(new))


def _units(messages: Sequence[Message]) -> list[_Unit]:
    units: list[_Unit] = []
    for message in messages:
        if message.role == "assistant":
            if not units or units[-1].users:
                units.append(_Unit([], []))
            units[-1].assistants.append(message)
        else:
            if not units:
                units.append(_Unit([], []))
            units[-1].users.append(message)
    return units


# --- one unit -----------------------------------------------------------------------------------


def _mended(unit: _Unit, rules: Rules, used: set[str], position: int) -> list[Message]:
    """Return a user message, or an assistant's and a user's, that the vendor takes."""
    if not unit.assistants:
        return [_like(unit.users, _user_content(unit.users, [], {}))]
    said = [block for m in unit.assistants for block in _sendable(m, rules)]
    if unit.users or any(isinstance(b, ToolCall) and not b.server for b in said):
        said = _without_half_pairs(said) if rules.paired_server_tools else said
        if said and isinstance(said[-1], Thinking):
            # No vendor takes an answer that ends with thinking.
            said.append(Text(text="(no answer)"))
    calls, renamed = _with_unique_ids(said, rules, used, position)
    if position == 0 and not unit.users and not calls:
        return []
    out = []
    if position == 0:
        # A history may begin with an assistant's greeting; no vendor takes that.
        out.append(Message(role="user", content=(Text(text="(The conversation begins.)"),)))
    # Blocks that the vendor signed must stay under its name when messages are joined.
    ours = [m for m in unit.assistants if _is_from(m, rules)]
    others = [m for m in unit.assistants if not _is_elsewhere(m, rules)]
    out.append(_like(ours[:1] or others or unit.assistants, calls or [Text(text="(no answer)")]))
    wanted = [b for b in calls if isinstance(b, ToolCall) and not b.server]
    content = _user_content(unit.users, wanted, renamed)
    if unit.users:
        out.append(_like(unit.users, content))
    elif content:
        out.append(_results_message(content))
    return out


def _like(messages: Sequence[Message], content: Sequence[Block]) -> Message:
    first = messages[0]
    same = len(messages) == 1 and len(content) == len(first.content)
    if same and all(map(is_, content, first.content)):
        return first
    return first.model_copy(update={"content": tuple(content)})


def _results_message(content: Sequence[Block]) -> Message:
    return Message(role="user", content=tuple(content))


def _sendable(message: Message, rules: Rules) -> list[Block]:
    """Return the blocks of an assistant's message that may go to this vendor."""
    ours = _is_from(message, rules)
    blocks: list[Block] = []
    for block in message.content:
        match block:
            case Text(text=text):
                if text.strip():
                    blocks.append(block if ours or block.replay is None else _bare(block))
            case Thinking():
                signed = ours and block.replay is not None
                if (signed and rules.thinking) or (rules.unsigned_thinking and block.text):
                    blocks.append(block if ours or block.replay is None else _bare(block))
            case ToolCall(server=True):
                if ours and block.replay is not None:
                    blocks.append(block)
            case ToolCall():
                blocks.append(block if ours or block.replay is None else _bare(block))
            case Opaque():
                if block.vendor == rules.vendor and not _is_elsewhere(message, rules):
                    blocks.append(block)
            case Image():
                if rules.drawn:
                    blocks.append(block)
            case _:
                blocks.append(block)
    return blocks


def _is_from(message: Message, rules: Rules) -> bool:
    """Tell whether a message is of this vendor, asked at this host as far as that is known."""
    named = message.origin is not None and message.origin.provider == rules.vendor
    return named and not _is_elsewhere(message, rules)


def _is_elsewhere(message: Message, rules: Rules) -> bool:
    """Tell whether a message came under this vendor's name from another host.

    What is signed or encrypted there means nothing here, and is nobody's business here.
    """
    origin = message.origin
    if origin is None or origin.provider != rules.vendor or origin.host is None:
        return False
    return rules.host is not None and origin.host != rules.host


def _without_half_pairs(blocks: list[Block]) -> list[Block]:
    """Leave out calls that the vendor ran itself and their results where the other is missing.

    A paused turn, which ends the conversation and goes back to be continued, is not touched.
    """
    calls, results = set(), set()
    for block in blocks:
        match block:
            case ToolCall(server=True, id=id_):
                calls.add(id_)
            case Opaque(raw={"tool_use_id": str(id_)}):
                results.add(id_)
            case Opaque(raw={"id": str(id_)}):
                calls.add(id_)
    if calls == results:
        return blocks
    return [
        block
        for block in blocks
        if not (isinstance(block, ToolCall) and block.server and block.id not in results)
        and not (isinstance(block, Opaque) and _is_half(block.raw, calls, results))
    ]


def _answer(call: ToolCall, result: ToolResult | None) -> ToolResult:
    """Return a call's result under the tool's name, or one that says that there is none."""
    if result is None:
        content = (Text(text=UNKNOWN),)
        return ToolResult(call_id=call.id, name=call.name, content=content, is_error=True)
    return result if result.name == call.name else result.model_copy(update={"name": call.name})


def _is_half(raw: dict[str, Any], calls: set[str], results: set[str]) -> bool:
    if "tool_use_id" in raw:
        return raw["tool_use_id"] not in calls
    return str(raw.get("type", "")).endswith("tool_use") and raw.get("id") not in results


def _bare(block: Text | Thinking | ToolCall) -> Block:
    return block.model_copy(update={"replay": None})


def _with_unique_ids(
    blocks: list[Block], rules: Rules, used: set[str], position: int
) -> tuple[list[Block], dict[str, list[str]]]:
    """Give each call an id that is new and of the vendor's form.

    Returns:
        The blocks, and for each id as it was the ids that its calls have now, in order.
    """
    out: list[Block] = []
    renamed: dict[str, list[str]] = {}
    for number, block in enumerate(blocks):
        if not isinstance(block, ToolCall) or block.server:
            out.append(block)
            continue
        new = block.id
        if new in used or not rules.call_id.fullmatch(new):
            new = _new_id(f"{position}.{number}.{block.id}", rules, used)
            block_out: Block = block.model_copy(update={"id": new})
        else:
            block_out = block
        used.add(new)
        renamed.setdefault(block.id, []).append(new)
        out.append(block_out)
    return out, renamed


def _new_id(seed: str, rules: Rules, used: set[str]) -> str:
    """Make an id from its place, so that the same history always gets the same ids."""
    while True:
        digest = hashlib.sha256(seed.encode("utf-8", "replace")).hexdigest()
        new = digest[: rules.call_id_length]
        if new not in used:
            return new
        seed += "'"


def _user_content(
    users: Sequence[Message], calls: Sequence[ToolCall], renamed: dict[str, list[str]]
) -> list[Block]:
    """Return the results of exactly these calls, in their order, then what the user said."""
    results: dict[str, ToolResult] = {}
    rest: list[Block] = []
    waiting = {old: list(new) for old, new in renamed.items()}
    for message in users:
        for block in message.content:
            match block:
                case ToolResult(call_id=old):
                    if waiting.get(old):
                        new = waiting[old].pop(0)
                        results[new] = (
                            block if new == old else block.model_copy(update={"call_id": new})
                        )
                case Text(text=text):
                    if text.strip():
                        rest.append(block if block.replay is None else _bare(block))
                case Thinking() | ToolCall() | Opaque():
                    pass  # a user's message cannot hold these; an edited history might
                case _:
                    rest.append(block)
    answered: list[Block] = [_answer(call, results.get(call.id)) for call in calls]
    if users and not answered and not rest:
        # Leaving the message out would put two answers in a row, or let the assistant begin.
        return [Text(text="(no message)")]
    return answered + rest

"""What must hold of every request, beyond its types.

1. Every tool call has exactly one result, in the very next turn, and it comes first there.
2. No result stands without its call.
3. Ids of calls are unique in the whole request, and made of characters that vendors take.
4. No text is empty.
5. Thinking is signed and goes back as it came (Anthropic).
6. Roles alternate and the user begins (Anthropic); results follow their calls (chat).
7. All of it can be written as UTF-8 and as strict JSON.

`anthropic_faults` and `chat_faults` return every fault as a sentence; `check_anthropic` and
`check_chat` raise an `AssertionError` that lists them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from itertools import pairwise
from typing import Any

__all__ = ["anthropic_faults", "chat_faults", "check_anthropic", "check_chat"]

_ID = re.compile(r"[A-Za-z0-9_-]+")
Body = dict[str, Any]


def check_anthropic(body: Body, *, thinking: Iterable[Body] | None = None) -> None:
    """Raise `AssertionError` with all faults of a request of the Messages API."""
    faults = anthropic_faults(body, thinking=thinking)
    assert not faults, "\n".join(faults)


def check_chat(body: Body) -> None:
    """Raise `AssertionError` with all faults of a request of chat completions."""
    faults = chat_faults(body)
    assert not faults, "\n".join(faults)


def anthropic_faults(body: Body, *, thinking: Iterable[Body] | None = None) -> list[str]:
    """Return the faults of a request; `thinking` are all thinking blocks the vendor ever sent."""
    turns = [(message["role"], _blocks(message["content"])) for message in body["messages"]]
    return [
        *_pairing(turns),
        *_ids(block["id"] for _, blocks in turns for block in _of(blocks, "tool_use")),
        *_anthropic_texts(body),
        *_thinking(turns, None if thinking is None else list(thinking)),
        *_alternation([role for role, _ in turns]),
        *_encodable(body),
    ]


def chat_faults(body: Body) -> list[str]:
    """Return the faults of a request of chat completions."""
    messages = body["messages"]
    calls = [call for message in messages for call in message.get("tool_calls") or ()]
    return [
        *_chat_pairing(messages),
        *_ids(call["id"] for call in calls),
        *_chat_texts(messages),
        *_chat_arguments(calls),
        *_chat_roles(messages),
        *_encodable(body),
    ]


# Both


def _ids(ids: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for id_ in ids:
        if id_ in seen:
            yield f"the id {id_!r} names two calls"
        if not _ID.fullmatch(id_):
            yield f"the id {id_!r} has characters that vendors refuse"
        seen.add(id_)


def _encodable(body: Body) -> Iterator[str]:
    try:
        json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        yield f"half a character at {error.object[max(0, error.start - 20) : error.end]!r}"
    except (ValueError, TypeError) as error:
        yield f"no JSON: {error}"


def _results_match(where: str, calls: list[str], results: list[str]) -> Iterator[str]:
    for id_ in calls:
        if (count := results.count(id_)) != 1:
            yield f"{where}: the call {id_!r} has {count} results"
    for id_ in results:
        if id_ not in calls:
            yield f"{where}: a result for {id_!r}, which no call of the turn before has"


# Anthropic


def _blocks(content: Any) -> list[Body]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _of(blocks: Iterable[Body], *kinds: str) -> list[Body]:
    return [block for block in blocks if block.get("type") in kinds]


def _pairing(turns: list[tuple[str, list[Body]]]) -> Iterator[str]:
    before: list[str] = []
    for number, (role, blocks) in enumerate([*turns, ("end", [])]):
        results = [block.get("tool_use_id", "") for block in _of(blocks, "tool_result")]
        yield from _results_match(f"messages[{number}]", before, results)
        calls = _of(blocks, "tool_use")
        if role == "assistant" and results:
            yield f"messages[{number}]: the assistant has a tool_result"
        if role == "user" and calls:
            yield f"messages[{number}]: the user has a tool_use"
        if _of(blocks[: len(results)], "tool_result") != _of(blocks, "tool_result"):
            yield f"messages[{number}]: something stands before a tool_result"
        before = [block["id"] for block in calls]


def _anthropic_texts(body: Body) -> Iterator[str]:
    if "system" in body:
        yield from _empty_texts("system", _blocks(body["system"]))
    for number, message in enumerate(body["messages"]):
        blocks = _blocks(message["content"])
        if not blocks:
            yield f"messages[{number}]: no content"
        yield from _empty_texts(f"messages[{number}]", blocks)


def _empty_texts(where: str, blocks: list[Body]) -> Iterator[str]:
    for block in blocks:
        if block.get("type") == "text" and not block["text"].strip():
            yield f"{where}: an empty text block"
        if block.get("type") == "tool_result" and isinstance(block.get("content"), list):
            yield from _empty_texts(f"{where}.tool_result", block["content"])


def _thinking(turns: list[tuple[str, list[Body]]], sent: list[Body] | None) -> Iterator[str]:
    known = None if sent is None else [_essence(block) for block in sent]
    for number, (_, blocks) in enumerate(turns):
        for block in _of(blocks, "thinking", "redacted_thinking"):
            if not (block.get("signature") or block.get("data")):
                yield f"messages[{number}]: a thinking block without a signature"
            if known is not None and _essence(block) not in known:
                yield f"messages[{number}]: a thinking block that the vendor did not send so"


def _essence(block: Body) -> tuple[Any, ...]:
    return tuple(block.get(key) for key in ("type", "thinking", "signature", "data"))


def _alternation(roles: list[str]) -> Iterator[str]:
    if not roles or roles[0] != "user":
        yield "the user does not begin"
    for number, (role, following) in enumerate(pairwise(roles), 1):
        if role == following:
            yield f"messages[{number}]: two turns of the {role} in a row"


# Chat


def _chat_pairing(messages: list[Body]) -> Iterator[str]:
    """Judge each group: a message with calls (or none) and the results right behind it."""
    calls: list[str] = []
    results: list[str] = []
    start = 0
    for number, message in enumerate([*messages, {"role": "end"}]):
        if message["role"] == "tool":
            results.append(message.get("tool_call_id", ""))
            continue
        yield from _results_match(f"messages[{start}]", calls, results)
        calls = [call["id"] for call in message.get("tool_calls") or ()]
        results, start = [], number


def _chat_texts(messages: list[Body]) -> Iterator[str]:
    for number, message in enumerate(messages):
        content = message.get("content")
        if content == "" and message["role"] != "tool":  # a tool may well have said nothing
            yield f"messages[{number}]: empty content"
        if isinstance(content, list):
            if not content:
                yield f"messages[{number}]: no content"
            yield from _empty_texts(f"messages[{number}]", content)
        if content is None and message["role"] == "assistant" and not message.get("tool_calls"):
            yield f"messages[{number}]: neither content nor calls"


def _chat_arguments(calls: list[Body]) -> Iterator[str]:
    for call in calls:
        try:
            is_object = isinstance(json.loads(call["function"]["arguments"]), dict)
        except (ValueError, TypeError):
            is_object = False
        if not is_object:
            yield f"the arguments of {call['id']!r} are no JSON object"


def _chat_roles(
    messages: list[Body], first: Collection[str] = ("system", "developer", "user")
) -> Iterator[str]:
    spoken = [message["role"] for message in messages]
    if not spoken or spoken[0] not in first:
        yield "neither instructions nor the user begin"
    begun = False
    for number, role in enumerate(spoken):
        if begun and role in ("system", "developer"):
            yield f"messages[{number}]: instructions in the middle"
        begun = begun or role not in ("system", "developer")

"""Random streams, well-formed and not, of Anthropic and chat; the same for the same seed."""

from __future__ import annotations

import json
import os
import random
from typing import Any

from tests.servers.wire import (
    Block,
    Call,
    Reply,
    Say,
    Think,
    Usage,
    anthropic_events,
    chat_events,
)

__all__ = ["BROKEN", "STREAMS", "events_of", "foreseen", "mutated", "random_reply"]

# How many streams of each format are read beside its SDK, and how many are mutated.
STREAMS = int(os.environ.get("ALLOY_TEST_STREAMS", "150"))
BROKEN = int(os.environ.get("ALLOY_TEST_BROKEN", "300"))

PIECES = [
    "hello ",
    "é",
    "😀",
    "\n",
    '"',
    "\\",
    "\u2028",
    "漢字",
    "{",
    "}",
    "<b>",
    "data: ",
    "\t",
    "x" * 40,
]
STOPS = {
    "anthropic": [None, None, "max_tokens", "stop_sequence", "refusal", "pause_turn"],
    "chat": [None] * 10 + ["length", "content_filter"],
}
VALUES: list[Any] = [
    None,
    0,
    -1,
    10**12,
    1.5,
    True,
    "",
    "x",
    "\ud83d",
    [],
    {},
    [None],
    {"type": "x"},
    [{"x": [1]}],
]


def text(chance: random.Random, most: int = 12) -> str:
    return "".join(chance.choices(PIECES, k=chance.randint(1, most)))


def random_reply(chance: random.Random, wire: str) -> Reply:
    """Return a reply such as a vendor may send."""
    blocks: list[Block] = []
    for number in range(chance.randint(0, 5)):
        size = chance.choice([1, 3, 8, 1000])
        match chance.choice(["say", "say", "think", "call"]):
            case "say":
                blocks.append(Say(text(chance), size))
            case "think":
                blocks.append(Think(text(chance), f"sig{number}", size))
            case "call":
                arguments = {
                    text(chance, 2): chance.choice([text(chance), 7, None, [1, {"a": "😀"}]])
                }
                blocks.append(Call(f"tool_{number}", chance.choice([{}, arguments]), size=size))
    counts = [chance.randint(0, 10_000) for _ in range(5)]
    return Reply(
        blocks, stop=chance.choice(STOPS[wire]), usage=Usage(*counts), id=f"r{chance.random()}"
    )


def events_of(wire: str, reply: Reply) -> list[bytes]:
    """Return the events of a reply, as bytes."""
    return anthropic_events(reply) if wire == "anthropic" else chat_events(reply)


def mutated(chance: random.Random, events: list[bytes]) -> bytes:
    """Return a stream with a few things wrong."""
    events = list(events)
    for _ in range(chance.randint(1, 4)):
        if not events:
            break
        place = chance.randrange(len(events))
        match chance.randrange(9):
            case 0:
                del events[place]
            case 1:
                events.insert(place, chance.choice(events))
            case 2:
                chance.shuffle(events)
            case 3:
                events = events[:place]
            case 4:
                event = bytearray(events[place])
                if event:
                    event[chance.randrange(len(event))] = chance.randrange(256)
                events[place] = bytes(event)
            case 5 | 6 | 7:
                events[place] = changed(events[place], chance)
            case 8:
                junk = chance.choice(
                    [
                        b"data: {\n\n",
                        b"\n\n\n",
                        b": x\n\n",
                        b"data: []\n\n",
                        b"event: error\n\n",
                        b"data: [DONE]\n\n",
                        b"\xff\xfe\n\n",
                    ]
                )
                events.insert(place, junk)
    return b"".join(events)


def changed(event: bytes, chance: random.Random) -> bytes:
    """Return an event with one value, somewhere in it, replaced, removed or renamed."""
    head, mark, value = event.partition(b"data: ")
    try:
        data = json.loads(value)
    except ValueError:
        return event
    holders = list(containers(data))
    if not holders:
        return event
    holder = chance.choice(holders)
    key = chance.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    match chance.randrange(3):
        case 0:
            holder[key] = chance.choice(VALUES)
        case 1:
            del holder[key]
        case 2 if isinstance(holder, dict):
            holder[f"{key}x"] = holder.pop(key)
    return head + mark + json.dumps(data).encode() + b"\n\n"


def containers(value: Any) -> Any:
    """Yield every object and list in a JSON value that holds anything."""
    if isinstance(value, (dict, list)) and value:
        yield value
    for inner in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from containers(inner)


def foreseen(chance: random.Random, wire: str, events: list[bytes]) -> bytes:
    """Return a stream with what a later version of the format may add: nothing that matters."""
    out = []
    for event in events:
        head, mark, value = event.partition(b"data: ")
        if chance.random() < 0.3 and value.startswith(b"{"):
            data = json.loads(value)
            data[f"new_{chance.randrange(9)}"] = chance.choice(VALUES[:8])
            for inner in ("delta", "message", "usage"):
                if isinstance(data.get(inner), dict):
                    data[inner]["later"] = chance.choice(VALUES[9:])
            event = head + mark + json.dumps(data).encode() + b"\n\n"
        out.append(event)
        if chance.random() < 0.2 and event is not events[-1]:
            kind = chance.choice(["content_block_glow", "heartbeat", "message_note"])
            if wire == "anthropic":
                out.append(f'event: {kind}\ndata: {{"type": "{kind}", "index": 0}}\n\n'.encode())
            else:
                out.append(f'data: {{"object": "{kind}", "choices": []}}\n\n'.encode())
    return b"".join(out)

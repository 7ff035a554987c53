"""A model that labels numbers, fails in a share of its replies, and bills what it answers."""

from __future__ import annotations

import random
import re
import threading
from collections import Counter
from collections.abc import Iterator

from pydantic import BaseModel

from tests.servers.sse import (
    CLOSE,
    RESET,
    Answer,
    Pause,
    Piece,
    Request,
    cut,
    hang_up,
    json_answer,
    stream,
)
from tests.servers.wire import Call, Reply, Say, Usage, anthropic_events, chat_events

__all__ = ["FAULTS", "PROMPT", "Biller", "Label", "label_of"]

PROMPT = "Label the number {value}."
FAULTS = ("limited", "broken", "reset", "hung up", "cut", "invalid event", "invalid arguments")


class Label(BaseModel):
    """What is said of a number."""

    number: int
    label: str


def label_of(number: int) -> str:
    """What is right for a number."""
    return "even" if number % 2 == 0 else "odd"


class Biller:
    """Answers each request, or fails; `paid` counts the whole and valid answers of each number.

    A reply that broke off, or that cannot be read, is no answer: it has to be asked for again.

    Args:
        share: How many of the requests fail, each way as often as the others.
        wait: Seconds before a reply.
        seed: Decides which requests fail.
    """

    def __init__(self, share: float = 0.05, *, wait: float = 0.0, seed: int = 7) -> None:
        self.paid: Counter[int] = Counter()
        self.asked: Counter[int] = Counter()
        self.faults: Counter[str] = Counter()
        self.share = share
        self.wait = wait
        self._chance = random.Random(seed)
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Answer:
        # The last number: after invalid arguments the conversation goes on.
        number = int(re.findall(rb"Label the number (\d+)", request.body)[-1])
        with self._lock:
            self.asked[number] += 1
            fails = self._chance.random() < self.share
            fault = self._chance.choice(FAULTS) if fails else None
            if fault is not None:
                self.faults[fault] += 1
        return self._faulty(fault, request, number) if fault else self._whole(request, number)

    def _whole(self, request: Request, number: int) -> Answer:
        return Answer(self._billed(self._events(request, number), number))

    def _billed(self, events: list[bytes], number: int) -> Iterator[Piece]:
        if self.wait:
            yield Pause(self.wait)
        yield b"".join(events)
        with self._lock:
            self.paid[number] += 1

    def _events(self, request: Request, number: int, *, broken: bool = False) -> list[bytes]:
        usage = Usage(20, 10)
        if not request.json.get("tools"):
            reply = Reply([Say(f"{number} is {label_of(number)}")], usage=usage)
        else:
            label = {"number": number, "label": label_of(number)}
            arguments: dict[str, object] | str = '{"number": 1, "lab' if broken else label
            reply = Reply([Call("Label", arguments)], usage=usage)
        is_anthropic = request.path.endswith("/messages")
        return (anthropic_events if is_anthropic else chat_events)(reply)

    def _faulty(self, fault: str, request: Request, number: int) -> Answer:
        events = self._events(request, number)
        match fault:
            case "limited":
                error = {"type": "rate_limit_error", "message": "slower"}
                after = [("Retry-After", "0.05")]
                return json_answer({"error": error}, status=429, headers=after)
            case "broken":
                return json_answer({"error": {"message": "oops"}}, status=500)
            case "reset":
                return Answer([RESET], raw=True)
            case "hung up":
                return hang_up()
            case "cut":
                half = len(b"".join(events)) // 2
                return stream(cut(events, half, self._chance.choice((RESET, CLOSE))))
            case "invalid event":
                return stream([events[0], b'data: {"choices": [{"del\n\n', *events[2:]])
        if request.json.get("tools"):
            return stream(self._events(request, number, broken=True))
        return json_answer({"error": {"message": "overloaded"}}, status=529)

"""Real processes with a real session: killed at random moments, and two that share one.

``ALLOY_TEST_FULL=1`` takes 500 kills and 200 interleavings.
"""

from __future__ import annotations

import os
import random
import re
import sys
from collections.abc import Iterator

import pytest

from tests.engine.journal.forks import WATCHDOG, program
from tests.oracles.invariants import check_anthropic, check_chat
from tests.oracles.strict import validate_anthropic, validate_chat
from tests.servers.sse import Answer, Pause, Request, Server, stream
from tests.servers.wire import (
    Block,
    Call,
    Reply,
    Say,
    Think,
    anthropic_events,
    chat_events,
)

FULL = os.environ.get("ALLOY_TEST_FULL") == "1"
pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="forks its processes"),
    pytest.mark.timeout(7_200 if FULL else 900),
]
KILLS = 500 if FULL else 15
INTERLEAVINGS = 200 if FULL else 10


# --- killed -------------------------------------------------------------------------------------


class Model:
    """Answers questions with calls of `append`, their results with more or with an answer."""

    def __init__(self) -> None:
        self.went_on = 0
        self.faults: list[str] = []

    def __call__(self, request: Request) -> Answer:
        text = request.body.decode()
        is_anthropic = request.path.endswith("/messages")
        asked = re.findall(r"Go on\.|Question (?:\d+\.\d+)", text)[-1]
        try:
            (check_anthropic if is_anthropic else check_chat)(request.json)
            (validate_anthropic if is_anthropic else validate_chat)(request.json)
        except Exception as error:
            self.faults.append(f"{asked}: {error}"[:1000])
        if asked == "Go on.":
            self.went_on += 1
            reply, dice = Reply([Say("Yes.")]), None
        else:
            tag = asked.removeprefix("Question ").replace(".", "_")
            made = len(set(re.findall(rf"toolu_{tag}_\d+", text)))
            dice = random.Random(f"{tag} {made}")
            reply = Reply(self.blocks(tag, made, dice))
        events = (anthropic_events if is_anthropic else chat_events)(reply)
        return stream(events if dice is None else self.paced(events, dice))

    def blocks(self, tag: str, made: int, dice: random.Random) -> list[Block]:
        words = " ".join(f"{tag}.{made}.{n}" for n in range(dice.randrange(2, 40)))
        if made and (made > 5 or dice.random() < 0.5):
            return [Think("Well."), Say(words)]
        said: list[Block] = [Say(words)] if dice.random() < 0.7 else []
        calls = (
            {
                "line": f"toolu_{tag}_{made + n}",
                "wait": dice.random() * 0.15,
                "size": dice.choice((10, 9_000)),
            }
            for n in range(dice.randrange(1, 4))
        )
        return [Think("Hm."), *said, *(Call("append", c, id=str(c["line"])) for c in calls)]

    def paced(self, events: list[bytes], dice: random.Random) -> Iterator[bytes | Pause]:
        for event in events:
            if dice.random() < 0.3:
                yield Pause(dice.random() * 0.02)
            yield event


@pytest.mark.slow
def test_what_a_session_showed_outlives_a_kill_at_any_moment(tmp_path):
    model = Model()
    with Server(otherwise=model) as server:
        counted = program(
            "dying", str(tmp_path), "1", str(KILLS), server.url, timeout=WATCHDOG + 10 * KILLS
        )
    print(counted, model.went_on)
    assert counted["faults"] == []
    assert model.faults == []
    assert (counted["rounds"], counted["unproved"]) == (KILLS, 0)
    assert model.went_on > KILLS // 2
    assert counted["cut"] > KILLS // 3, "most kills did not hit a turn"
    assert counted["cut_in_a_tool"] >= KILLS // 50, "hardly a kill hit a tool"
    assert counted["shown"] > 5 * KILLS, "hardly anything was shown before the kills"


# --- sharing ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_of_eight_threads_share_one_session(tmp_path):
    limit = 3 * (WATCHDOG + 10) * INTERLEAVINGS
    counted = program("rivals", str(tmp_path), "1", str(INTERLEAVINGS), timeout=limit)
    print(counted)
    assert counted["faults"] == []
    assert counted["rounds"] == INTERLEAVINGS
    assert counted["slowest"] < WATCHDOG
    assert counted["answers"] > 10 * INTERLEAVINGS
    assert counted["resumed"] > 2 * INTERLEAVINGS, "hardly anybody resumed it"
    assert counted["both_answered"] > INTERLEAVINGS // 2, "it hardly ever changed hands"
    assert counted["refused"] > INTERLEAVINGS, "hardly anybody was refused"
    for what in ("undo", "fork", "use", "reset", "stop"):
        assert counted.get(what, 0) > 0, f"no {what}"

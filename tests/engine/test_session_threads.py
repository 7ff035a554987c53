"""One session, eight threads, everything at once: no mixed turns, no lost messages, no deadlock.

``ALLOY_TEST_FULL=1`` takes 200 interleavings instead of 30.
"""

from __future__ import annotations

import os
import random
import sys
import threading
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import alloy_nb as al
from alloy_nb.engine.journal import Store
from alloy_nb.engine.run import Result
from alloy_nb.errors import SessionError
from tests.engine.scripted import Scripted, says

ROUNDS = 200 if os.environ.get("ALLOY_TEST_FULL") else 30
THREADS = 8
STEPS = 8
WAIT = 60


def echo(request: Any) -> list[Any]:
    return says("re ", request.messages[-1].text)


class Storm:
    """Threads that do random things with one session, and what came of each."""

    def __init__(self, seed: int, journal: Path | None) -> None:
        self.models = [Scripted(otherwise=echo, steps=True, name=f"m{n}") for n in range(2)]
        self.session = al.Session(provider=self.models[0], max_pending=seed % 4, journal=journal)
        self.lock = threading.Lock()
        self.chats: list[tuple[str, Result]] = []
        self.accepted: list[tuple[str, str]] = []
        self.resets = 0
        self.faults: list[BaseException] = []
        self.threads = [
            threading.Thread(target=self.work, args=(seed, number), daemon=True)
            for number in range(THREADS)
        ]

    def run(self) -> None:
        for thread in self.threads:
            thread.start()
        for thread in self.threads:
            thread.join(WAIT)
            assert not thread.is_alive(), "a thread hangs"

    def work(self, seed: int, number: int) -> None:
        dice = random.Random(seed * 1_000 + number)
        for step in range(STEPS):
            try:
                self.step(dice, f"{number}.{step}")
            except SessionError:
                pass  # told at once: busy, or the queue is full
            except BaseException as error:  # the test shows it
                self.faults.append(error)

    def step(self, dice: random.Random, text: str) -> None:
        match dice.choice(["chat", "wait", "send", "send", "cancel", "reset", "force", "model"]):
            case "chat" | "wait" as kind:
                result = self.session.chat(text, wait=kind == "wait")
                with self.lock:
                    self.chats.append((text, result))
            case "send":
                request_id = self.session.send_message(text)
                with self.lock:
                    self.accepted.append((text, request_id))
            case "cancel":
                with self.lock:
                    open_ids = [id_ for _, id_ in self.accepted]
                if open_ids:
                    self.session.cancel_request(dice.choice(open_ids))
            case "reset":
                self.session.reset()
                self.resets += 1
            case "force":
                if dice.random() < 0.3:
                    self.resets += 1
                    self.session.reset(cancel=True)
            case "model":
                self.session.set_model(dice.choice(self.models))


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_random_interleavings_mix_and_lose_nothing(seed, tmp_path):
    journal = tmp_path if seed % 3 == 0 else None
    storm = Storm(seed, journal)
    responses: list[Any] = []
    runs: list[Any] = []
    heard = threading.Event()

    def hear(into: list[Any], item: Any) -> None:
        into.append(item)
        heard.set()

    storm.session.bus.subscribe(storm.session.responses_topic, partial(hear, responses))
    storm.session.bus.subscribe(storm.session.runs_topic, partial(hear, runs))
    storm.run()
    assert storm.faults == []
    # Each request that was taken has one response, and it is published once.
    outcomes = [(text, storm.session.response(id_).result(WAIT)) for text, id_ in storm.accepted]
    turns = sum(bool(result.messages) for _, result in storm.chats + outcomes)
    while len(responses) < len(outcomes) or len(runs) < turns:
        heard.clear()
        if len(responses) < len(outcomes) or len(runs) < turns:
            assert heard.wait(WAIT)
    assert sorted(r.request_id for r in responses) == sorted(id_ for _, id_ in storm.accepted)
    # Who was answered was answered to what they asked.
    for text, result in storm.chats + outcomes:
        assert result.status in ("completed", "cancelled")
        if result.status == "completed":
            assert result.text == f"re {text}"
            assert [m.text for m in result.messages[-2:]] == [text, f"re {text}"]
    for one, next_one in pairwise(runs):
        assert one.events[-1].at <= next_one.events[0].at, "two turns at once"
    check_history(storm, [result for _, result in storm.chats + outcomes])
    assert storm.session.health().status == "idle"
    storm.session.stop()
    if journal is not None and (journal / ".alloy").exists():
        kept = Store(journal).read(storm.session.id).messages()
        assert kept == storm.session.messages


def check_history(storm: Storm, results: list[Result]) -> None:
    """Each turn goes on from what the one before it left, or from nothing after a reset."""
    ends = [[m.text for m in result.messages] for result in results if result.messages]
    histories = {tuple(end) for end in ends}
    fresh = 0
    continued: set[tuple[str, ...]] = set()
    for end in ends:
        # What stood there when this turn began: all but its question, and its answer if any.
        before = tuple(end[: -2 if len(end) > 1 and end[-1].startswith("re ") else -1])
        if before == ():
            fresh += 1
        else:
            assert before in histories, f"{end} goes on from a history that nobody left"
            assert before not in continued, f"two turns go on from {before}"
            continued.add(before)
    assert fresh <= storm.resets + 1
    last = [m.text for m in storm.session.messages]
    assert last == [] or tuple(last) in histories


def test_what_is_exported_while_turns_end_is_of_one_moment():
    usual = sys.getswitchinterval()
    session = al.Session(provider=Scripted(otherwise=lambda _: says("Yes.")))
    over = threading.Event()
    torn: list[str] = []

    def look() -> None:
        while not over.is_set():
            record = session.export_session()
            place = sum(turn.count for turn in record.turns)
            if place != len(record.messages):
                torn.append(f"{place} of {len(record.messages)}")

    looker = threading.Thread(target=look)
    looker.start()
    sys.setswitchinterval(1e-6)  # threads take turns nearly at every step
    try:
        for number in range(150):
            session.chat(f"Question {number}?")
            if number % 10 == 9:
                session.undo()
    finally:
        sys.setswitchinterval(usual)
        over.set()
        looker.join()
    assert torn == []

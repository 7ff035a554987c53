"""A table of rows at a server that fails in every way: each row has its answer, and one.

*Paid twice* is a row of which the server sent a whole and valid answer more than once. A reply that
broke off is none, and its row has to be asked again, whatever a vendor may bill for it. Of a
process that is killed it means: a row that is in the checkpoints when the process is dead is asked
again. A row whose answer was on its way at that moment is not in them, and is; those are no more
than the requests in flight.

The sample is 500 rows. ``ALLOY_TEST_FULL=1`` makes it 10,000.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

import alloy_nb as al
from tests.analysis.faults import PROMPT, Biller, Label, label_of
from tests.servers.sse import STALL, Answer, Server

FULL = bool(os.environ.get("ALLOY_TEST_FULL"))
ROWS = 10_000 if FULL else 500
KILLS = 20 if FULL else 4
pytestmark = [pytest.mark.timeout(3_600 if FULL else 300)]
ROOT = Path(__file__).parents[2]


def anthropic(server: Server) -> al.Anthropic:
    return al.Anthropic("labels-1", api_key="sk-test", base_url=server.url)


def chat(server: Server) -> al.OpenAICompat:
    return al.OpenAICompat("labels-1", api_key="sk-test", base_url=server.url)


@pytest.mark.parametrize(
    ("wire", "schema"), [(anthropic, Label), (chat, None)], ids=["anthropic", "chat"]
)
def test_no_row_is_lost_doubled_or_paid_twice_with_five_percent_of_faults(tmp_path, wire, schema):
    biller = Biller()
    numbers = list(range(ROWS))
    random.Random(3).shuffle(numbers)
    rows = pd.Series(numbers, index=[f"row {n}" for n in numbers])
    with Server(otherwise=biller) as server:
        labels = al.map(
            rows,
            PROMPT,
            schema=schema,
            provider=wire(server),
            concurrency=32,
            retries=8,
            retry_backoff_ms=5,
            checkpoint=tmp_path / "rows.db",
        )
    print(f"\n{ROWS} rows, {biller.asked.total()} requests, faults {dict(biller.faults)}")
    assert labels["error"].isna().all()
    assert list(labels.index) == list(rows.index)
    if schema is None:
        assert list(labels["answer"]) == [f"{n} is {label_of(n)}" for n in numbers]
    else:
        assert list(labels["number"]) == numbers
        assert list(labels["label"]) == [label_of(n) for n in numbers]
    assert biller.paid == dict.fromkeys(numbers, 1)
    assert min(biller.faults.values()) > 0


def test_the_figures_of_a_table_are_what_the_server_billed(tmp_path):
    biller = Biller(share=0)
    price = al.catalog.ModelPrice(input=1_000, output=2_000)
    al.catalog.override("anthropic/labels-1", price=price)
    try:
        with Server(otherwise=biller) as server:
            labels = al.map([1, 2, 1, 3], PROMPT, provider=anthropic(server), checkpoint=False)
    finally:
        al.catalog._prices.pop("anthropic/labels-1")
    assert list(labels["tokens"]) == [30, 30, 0, 30]
    assert list(labels["cost"]) == pytest.approx([0.04, 0.04, 0.0, 0.04])
    assert labels.attrs["alloy"]["cost"] == pytest.approx(0.12)


# --- stopped ------------------------------------------------------------------------------------


def test_an_interrupt_stops_a_map_within_two_seconds_and_the_next_one_goes_on(tmp_path):
    biller = Biller(share=0)
    numbers = list(range(200))
    kept = tmp_path / "rows.db"

    answered = iter(range(60))  # of all threads of the server together

    def hangs_later(request):
        return Answer([STALL]) if next(answered, None) is None else biller(request)

    with Server(otherwise=hangs_later) as server:
        pressed: list[float] = []

        def press() -> None:
            server.wait_for_requests(75, timeout=60)
            pressed.append(time.monotonic())
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

        threading.Thread(target=press, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            al.map(numbers, PROMPT, provider=anthropic(server), concurrency=16, checkpoint=kept)
        assert time.monotonic() - pressed[0] < 2
        # All that was in flight is closed, and nothing goes on behind our back.
        for request in server.requests:
            if request.finished_at is None:
                request.wait_closed()
    assert biller.paid.total() == 60
    with Server(otherwise=biller) as server:
        again = al.map(numbers, PROMPT, provider=anthropic(server), checkpoint=kept)
    assert biller.paid == dict.fromkeys(numbers, 1)
    assert list(again["answer"]) == [f"{n} is {label_of(n)}" for n in numbers]


PROGRAM = """
import sys
import alloy_nb as al
from tests.analysis.faults import PROMPT
rows, url, kept = int(sys.argv[1]), sys.argv[2], sys.argv[3]
model = al.OpenAICompat("labels-1", base_url=url, api_key="k")
labels = al.map(range(rows), PROMPT, provider=model,
                concurrency=%d, retries=8, retry_backoff_ms=5, checkpoint=kept)
assert labels["error"].isna().all(), labels["error"].dropna().tolist()
print("all done", labels.attrs["alloy"]["asked"], labels.attrs["alloy"]["kept"])
"""
IN_FLIGHT = 16


def start(server: Server, kept: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM % IN_FLIGHT, str(ROWS), server.url, str(kept)]
    more = {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **more}, stdout=subprocess.PIPE, text=True
    )


def kept_numbers(kept: Path) -> set[int]:
    with contextlib.closing(sqlite3.connect(kept)) as file:
        return {int(text.split()[0]) for (text,) in file.execute("SELECT text FROM answers")}


def test_a_map_that_is_killed_again_and_again_pays_no_kept_row_twice(tmp_path):
    biller = Biller(wait=0.01)  # slow enough that a kill comes before the end
    chance = random.Random(5)
    kept = tmp_path / "rows.db"
    asked_again, settled = 0, dict[int, int]()
    with Server(otherwise=biller) as server:
        for number in range(KILLS):
            process = start(server, kept)
            share = ROWS * (number + chance.random()) / (KILLS + 1)
            while len(biller.paid) < share and process.poll() is None:
                time.sleep(0.005)
            process.kill()
            process.communicate()
            assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
            time.sleep(0.1)  # what the server is still writing to the dead process, it bills
            done = kept_numbers(kept)
            lost = {n for n in biller.paid if n not in done}
            asked_again += len(lost)
            assert len(lost) <= IN_FLIGHT
            assert {n: biller.asked[n] for n in settled} == settled
            settled = {n: biller.asked[n] for n in done}
        process = start(server, kept)
        said, _ = process.communicate(timeout=600)
    print(f"\n{KILLS} kills, {asked_again} answers were on their way, {said.strip()}")
    assert said.startswith("all done"), said
    assert {n: biller.asked[n] for n in settled} == settled
    assert kept_numbers(kept) == set(range(ROWS))
    assert int(said.split()[3]) > 0

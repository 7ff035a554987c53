"""Rows through a vendor's batches: each answered once, none submitted twice, whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import alloy_nb as al
from alloy_nb.analysis import batches as module
from alloy_nb.analysis import checkpoints, collecting
from alloy_nb.analysis.batches import Batched, Patience
from alloy_nb.analysis.checkpoints import Checkpoints
from alloy_nb.analysis.rows import Answer, Job, Row
from alloy_nb.engine import portal
from alloy_nb.engine.budget import Budget
from alloy_nb.engine.retry import RetryPolicy
from alloy_nb.errors import ConfigError
from alloy_nb.providers import Anthropic, OpenAI, OpenAICompat, catalog
from alloy_nb.usage import Usage
from tests.providers.test_batches import words_of
from tests.servers.batches import BatchServer, Refused
from tests.servers.sse import RESET, json_answer
from tests.servers.sse import Answer as Sent
from tests.servers.wire import Call, Reply, Say

KEY = "k-12345678"
KINDS = ("anthropic", "responses", "chat")
QUICK = Patience(first=0.01, longest=0.05, listing=0.2)
MAKE: dict[str, Callable[[str], Any]] = {
    "anthropic": lambda url: Anthropic("scripted-1", base_url=url, api_key=KEY),
    "responses": lambda url: OpenAI("scripted-1", base_url=url, api_key=KEY),
    "chat": lambda url: OpenAICompat("scripted-1", url, api_key=KEY),
}


class Label(BaseModel):
    mood: str


class Rows:
    """A source of these rows."""

    def __init__(self, rows: list[Row]) -> None:
        self._rows = iter(rows)

    async def take(self) -> Row | None:
        return next(self._rows, None)


class Table:
    """A map of texts over one server and one file, as often as it is called."""

    def __init__(self, server: BatchServer, folder: Path, **job: Any) -> None:
        retry = RetryPolicy(max_retries=2, backoff=0.01)
        self.job = Job(MAKE[server.kind](server.url), retry=retry, **job)
        self.folder = folder
        self.calls: list[int] = []
        self.asker: Batched | None = None

    def run(self, texts: list[str], **how: Any) -> dict[str, Answer]:
        """Ask what is not in the checkpoints, and return the answers by text."""
        return portal.run_sync(self.work(texts, **how))

    async def work(self, texts: list[str], *, fresh: bool = False, **how: Any) -> dict[str, Answer]:
        file = Checkpoints(self.folder / "rows.db")
        try:
            keys = [self.job.key(text) for text in texts]
            kept = {} if fresh else file.find(keys)
            rows = [
                Row(n, key, text)
                for n, (key, text) in enumerate(zip(keys, texts, strict=True))
                if key not in kept
            ]
            out = {text: kept[key] for key, text in zip(keys, texts, strict=True) if key in kept}
            self.calls = [0] * len(texts)

            def done(row: Row, answer: Answer) -> None:
                file.save([(row.key, answer)], job="job")
                self.calls[row.position] += 1
                out[texts[row.position]] = answer

            settings = {"budget": None, "patience": QUICK, **how}
            self.asker = Batched(self.job, file=file, fresh=fresh, **settings)
            await self.asker.ask(Rows(rows), done)
            return out
        finally:
            file.close()

    def noted(self) -> tuple[int, int]:
        """Return how many batches and rows are still noted as submitted."""
        file = Checkpoints(self.folder / "rows.db")
        try:
            counts = [
                file.read(f"SELECT count(*) FROM {t}")[0][0] for t in ("batches", "batch_rows")
            ]
        finally:
            file.close()
        return (counts[0], counts[1])


def repeating(body: dict[str, Any]) -> Reply:
    return Reply([Say(f"heard {words_of(body)}")])


def texts(count: int) -> list[str]:
    return [f"text {n}" for n in range(count)]


# --- as it should be ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_gets_its_own_answer_once(kind, tmp_path):
    with BatchServer(kind, answer=repeating) as server:
        table = Table(server, tmp_path)
        found = table.run(texts(60))
    assert {text: answer.text for text, answer in found.items()} == {
        text: f"heard {text}" for text in texts(60)
    }
    assert table.calls == [1] * 60
    assert len(server.asked) == len(set(server.asked)) == 60


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_collected_is_not_noted_as_submitted_any_more(kind, tmp_path):
    with BatchServer(kind, answer=repeating) as server:
        table = Table(server, tmp_path)
        table.run(texts(5))
        assert table.noted() == (0, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_of_a_type_is_the_arguments_of_the_call(kind, tmp_path):
    reply = Reply([Call("Label", {"mood": "good"})])
    with BatchServer(kind, answer=lambda body: reply) as server:
        table = Table(server, tmp_path, schema=Label)
        answer = table.run(["hi"])["hi"]
        assert table.job.value(answer.text) == Label(mood="good")
    (body,) = server.bodies
    assert "Label" in str(body["tool_choice"])


def test_an_answer_that_does_not_fit_the_type_is_an_error_and_is_asked_again(tmp_path):
    replies = [Reply([Call("Label", {"moot": 1})]), Reply([Call("Label", {"mood": "good"})])]
    with BatchServer("anthropic", answer=lambda body: replies.pop(0)) as server:
        table = Table(server, tmp_path, schema=Label)
        assert "type asked for" in str(table.run(["hi"])["hi"].error)
        assert table.run(["hi"])["hi"].error is None
        assert len(server.batches) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_split_into_as_many_batches_as_the_vendor_needs(kind, tmp_path, monkeypatch):
    with BatchServer(kind, answer=repeating) as server:
        table = Table(server, tmp_path)
        wire = type(module.batches_of(table.job.provider).wire)
        monkeypatch.setattr(wire, "most_requests", 7)
        found = table.run(texts(20))
    assert [len(batch.requests) for batch in server.batches] == [7, 7, 6]
    assert len(found) == 20


def test_rows_are_split_by_their_size_too(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MOST_BYTES", module._AROUND + 3_000)
    long = [f"{n} " + "x" * 700 for n in range(10)]
    with BatchServer("anthropic", answer=repeating) as server:
        found = Table(server, tmp_path).run(long)
    assert len(server.batches) >= 3
    assert {answer.text for answer in found.values()} == {f"heard {text}" for text in long}


def test_a_row_that_is_too_large_for_a_batch_is_an_error_and_the_others_are_asked(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "_MOST_BYTES", module._AROUND + 3_000)
    with BatchServer("anthropic", answer=repeating) as server:
        found = Table(server, tmp_path).run(["a", "x" * 5_000, "b"])
    assert [found["a"].text, found["b"].text] == ["heard a", "heard b"]
    assert "larger than a batch" in str(found["x" * 5_000].error)


def test_no_rows_make_no_batch(tmp_path):
    with BatchServer("anthropic") as server:
        assert Table(server, tmp_path).run([]) == {}
        assert server.requests == []


def test_what_is_waited_for_is_told(tmp_path):
    with BatchServer("responses", answer=repeating, patient=True) as server:
        table = Table(server, tmp_path)

        async def go() -> str:
            task = asyncio.create_task(table.work(texts(3)))
            await asyncio.to_thread(server.made.wait, 10)
            while not (table.asker and table.asker.waiting):
                await asyncio.sleep(0.01)
            told = table.asker.waiting
            server.finish()
            await task
            return told

        assert portal.run_sync(go()) == "waiting for a batch at openai: 0 of 3 answered"


# --- rows that fail -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_fail_are_errors_and_are_asked_again_next_time(kind, tmp_path):
    bad: list[Any] = ["expired", "canceled", Refused(400, "invalid_request_error", "no")]

    def answer(body: dict[str, Any]) -> Any:
        is_bad = bad and words_of(body) in ("text 1", "text 3", "text 5")
        return bad.pop() if is_bad else repeating(body)

    with BatchServer(kind, answer=answer) as server:
        table = Table(server, tmp_path)
        first = table.run(texts(7))
        assert [t for t, a in first.items() if a.error] and table.noted() == (0, 0)
        assert sorted(t for t, a in first.items() if a.error) == ["text 1", "text 3", "text 5"]
        assert all(a.is_free for a in first.values() if a.error)
        again = table.run(texts(7))
    assert all(answer.error is None for answer in again.values())
    assert [len(batch.requests) for batch in server.batches] == [7, 3]


def test_a_batch_that_is_refused_as_a_whole_lets_its_rows_fail(tmp_path):
    with BatchServer("responses", answer=repeating, patient=True) as server:
        table = Table(server, tmp_path)

        async def go() -> dict[str, Answer]:
            task = asyncio.create_task(table.work(texts(3)))
            await asyncio.to_thread(server.made.wait, 10)
            server.batches[0].failure = "line 1 is no JSON"
            server.finish()
            return await task

        found = portal.run_sync(go())
        assert table.noted() == (0, 0)
    assert all("line 1 is no JSON" in str(answer.error) for answer in found.values())


@pytest.mark.parametrize("status", [400, 401, 413])
def test_a_refusal_to_make_a_batch_is_the_error_of_each_row_and_nothing_is_noted(status, tmp_path):
    with BatchServer("anthropic") as server:
        table = Table(server, tmp_path)
        server.failures = [json_answer({"error": {"message": "no"}}, status=status)]
        found = table.run(texts(3))
        assert table.noted() == (0, 0)
        assert server.batches == []
    assert all(answer.error and answer.is_free for answer in found.values())


def test_a_vendor_that_wants_us_to_slow_down_is_asked_again(tmp_path):
    slow = json_answer({"error": {"message": "slow"}}, status=429, headers=[("Retry-After", "0")])
    with BatchServer("responses", answer=repeating) as server:
        server.failures = [slow, slow]
        found = Table(server, tmp_path).run(texts(3))
        assert len(server.batches) == 1
    assert all(answer.error is None for answer in found.values())


@pytest.mark.parametrize("kind", KINDS)
def test_looks_that_fail_for_a_while_lose_nothing(kind, tmp_path):
    with BatchServer(kind, answer=repeating, patient=True) as server:
        table = Table(server, tmp_path)

        async def go() -> dict[str, Answer]:
            task = asyncio.create_task(table.work(texts(3)))
            await asyncio.to_thread(server.made.wait, 10)
            server.failures += [json_answer({"error": {"message": "x"}}, status=500)] * 5
            while server.failures:
                await asyncio.sleep(0.01)
            server.finish()
            return await task

        found = portal.run_sync(go())
        assert len(server.batches) == 1
    assert all(answer.error is None for answer in found.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ["cut_results", "short_results"])
def test_results_that_are_cut_are_fetched_again_and_nothing_is_asked_again(kind, fault, tmp_path):
    with BatchServer(kind, answer=repeating) as server:
        table = Table(server, tmp_path)
        setattr(server, fault, 1)
        found = table.run(texts(40))
        assert len(server.batches) == 1
    assert table.calls == [1] * 40
    assert all(answer.error is None for answer in found.values())


def test_results_that_stay_cut_are_fetched_by_the_next_call(tmp_path):
    with BatchServer("anthropic", answer=repeating) as server:
        table = Table(server, tmp_path)
        server.short_results = 3
        first = table.run(texts(40))
        lacking = [text for text, answer in first.items() if answer.error]
        assert len(lacking) == 20
        assert table.calls == [1] * 40
        again = table.run(texts(40))
        assert len(server.batches) == 1
    assert all(answer.error is None for answer in again.values())


@pytest.mark.parametrize("kind", KINDS)
def test_results_that_cannot_be_fetched_for_a_while_are_fetched_then(kind, tmp_path):
    with BatchServer(kind, answer=repeating) as server:
        table, download, asked = Table(server, tmp_path), server._download, itertools.count(1)
        faults = [json_answer({"error": {"message": "x"}}, status=s) for s in (500, 429, 503)]
        faults += [Sent([RESET], raw=True)] * 3

        def late(id_: str) -> Any:
            return faults.pop() if faults else (next(asked), download(id_))[1]

        server._download = late
        found = table.run(texts(5))
        assert next(asked) == 2
    assert table.calls == [1] * 5
    assert all(answer.error is None for answer in found.values())


def test_a_vendor_that_does_not_answer_for_long_is_no_loss_and_the_rows_say_so(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(collecting, "_LOOKS", 2)
    with BatchServer("responses", answer=repeating) as server:
        table, download = Table(server, tmp_path), server._download
        server._download = lambda id_: json_answer({"error": {"message": "oops"}}, status=500)
        found = table.run(texts(3))
        assert all(
            str(a.error).endswith(
                "oops. Its batch is kept: run it again to collect it; nothing is paid twice."
            )
            for a in found.values()
        )
        server._download = download
        again = table.run(texts(3))
        assert len(server.batches) == 1
    assert all(answer.error is None for answer in again.values())


def test_a_list_that_cannot_be_read_for_a_while_does_not_let_the_rows_fail(tmp_path):
    with BatchServer("anthropic", answer=repeating) as server:
        table, listed, faults = Table(server, tmp_path), server._list, [500] * 4
        server.silent_creates = 1

        def list_(query: dict[str, str]) -> Any:
            server.finish()
            fault = {"error": {"message": "x"}}
            return json_answer(fault, status=faults.pop()) if faults else listed(query)

        server._list = list_
        found = table.run(texts(3))
        assert len(server.batches) == 1
    assert all(answer.error is None for answer in found.values())


@pytest.mark.parametrize(("status", "told"), [("cancelled", "canceled"), ("expired", "ended")])
def test_rows_that_a_batch_which_ended_early_does_not_name_are_free_and_asked_again(
    status, told, tmp_path
):
    with BatchServer("responses", answer=repeating) as server:
        table, state = Table(server, tmp_path), server._state

        def early(batch: Any) -> Any:
            del batch.results[2:]
            return state(batch) | ({"status": status} if batch.over else {})

        server._state = early
        found = table.run(texts(5))
        lacking = [answer for answer in found.values() if answer.error]
        assert len(lacking) == 3
        assert all(told in str(a.error) and a.is_free for a in lacking)
        server._state = state
        again = table.run(texts(5))
        assert [len(batch.requests) for batch in server.batches] == [5, 3]
    assert all(answer.error is None for answer in again.values())


def test_a_file_that_cannot_be_written_for_a_while_costs_no_answer(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(checkpoints, "_WAIT", 0.05)
    monkeypatch.setattr(checkpoints, "_WAIT_TO_KEEP", 0.05)
    other = sqlite3.connect(tmp_path / "rows.db", check_same_thread=False)
    with BatchServer("anthropic", answer=repeating) as server, contextlib.closing(other):
        table, download = Table(server, tmp_path), server._download

        def locked(id_: str) -> Any:
            other.execute("BEGIN IMMEDIATE")
            server._download = download
            return download(id_)

        server._download = locked
        found = table.run(texts(4))
        other.rollback()
        assert all(answer.error is None for answer in found.values())
        assert "is not noted" in caplog.text
        table.run(texts(4))
        assert len(server.batches) == 1


def test_a_file_that_cannot_be_written_sends_nothing_and_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "_WAIT", 0.05)
    Checkpoints(tmp_path / "rows.db").close()
    with BatchServer("anthropic") as server:
        table, request = Table(server, tmp_path), Batched.request
        other = sqlite3.connect(tmp_path / "rows.db", check_same_thread=False)

        def locked(self: Batched, row: Row) -> Any:
            if not other.in_transaction:
                other.execute("BEGIN IMMEDIATE")
            return request(self, row)

        monkeypatch.setattr(Batched, "request", locked)
        with contextlib.closing(other):
            found = table.run(texts(2))
        assert server.batches == []
    assert all("Give checkpoint= another path" in str(a.error) for a in found.values())


# --- going on where it stopped --------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupt_leaves_the_batch_running_and_the_next_call_collects_it(kind, tmp_path):
    with BatchServer(kind, answer=repeating, patient=True) as server:
        table = Table(server, tmp_path)

        async def go() -> str:
            task = asyncio.create_task(table.work(texts(9)))
            await asyncio.to_thread(server.made.wait, 10)
            while server.count("GET", "batch") < 3:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return table.asker.left_running

        told = portal.run_sync(go())
        assert "9 rows go on" in told
        assert server.count("POST", "cancel") == 0
        server.finish()
        found = table.run(texts(9))
        assert len(server.batches) == 1
    assert all(answer.error is None for answer in found.values())


def test_an_interrupt_while_a_batch_is_being_made_leaves_it_running_too(tmp_path):
    with BatchServer("anthropic", answer=repeating, patient=True) as server:
        table, held, answer = Table(server, tmp_path), server._state, threading.Event()
        server._state = lambda batch: (answer.wait(30), held(batch))[1]

        async def go() -> str:
            task = asyncio.create_task(table.work(texts(4)))
            await asyncio.to_thread(server.made.wait, 30)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return table.asker.left_running

        told = portal.run_sync(go())
        answer.set()
        assert "4 rows go on" in told
        server.finish()
        assert len(table.run(texts(4))) == 4
        assert len(server.batches) == 1


def test_a_call_with_more_rows_waits_for_the_batch_and_asks_only_what_is_new(tmp_path):
    with BatchServer("anthropic", answer=repeating, patient=True) as server:
        table = Table(server, tmp_path)
        interrupted(table, server, texts(4))
        server._patient = False
        found = table.run(texts(10))
        assert [len(batch.requests) for batch in server.batches] == [4, 6]
    assert {text: answer.text for text, answer in found.items()} == {
        text: f"heard {text}" for text in texts(10)
    }


def test_a_call_with_fewer_rows_leaves_the_others_to_be_collected_later(tmp_path):
    with BatchServer("responses", answer=repeating, patient=True) as server:
        table = Table(server, tmp_path)
        interrupted(table, server, texts(6))
        server.finish()
        assert len(table.run(texts(2))) == 2
        assert table.noted() == (1, 4)
        assert len(table.run(texts(6))) == 6
        assert table.noted() == (0, 0)
        assert len(server.batches) == 1


def test_rows_are_asked_anew_where_that_is_wanted(tmp_path):
    with BatchServer("anthropic", answer=repeating, patient=True) as server:
        table = Table(server, tmp_path)
        interrupted(table, server, texts(3))
        server._patient = False
        table.run(texts(3), fresh=True)
        assert [len(batch.requests) for batch in server.batches] == [3, 3]


def test_what_is_asked_anew_is_collected_by_the_same_call_after_an_interrupt(tmp_path):
    with BatchServer("anthropic", answer=repeating) as server:
        table = Table(server, tmp_path)
        table.run(texts(3))
        server._patient = True
        told = stopped(table, texts(3), server, made=2)
        assert told.endswith("with fresh=True, what is answered by then is asked anew.")
        server.finish()
        found = table.run(texts(3), fresh=True)
        assert len(server.batches) == 2
    assert all(answer.error is None for answer in found.values())


def test_a_fresh_batch_that_the_vendor_does_not_know_any_more_is_asked_anew_the_next_time(tmp_path):
    with BatchServer("anthropic", answer=repeating, patient=True) as server:
        table = Table(server, tmp_path)
        stopped(table, texts(3), server, made=1)
        server.batches.clear()
        server._patient = False
        found = table.run(texts(3), fresh=True)
        assert server.batches == []
        assert all("them alone, with fresh=True" in str(answer.error) for answer in found.values())
        again = table.run(texts(3), fresh=True)
    assert all(answer.error is None for answer in again.values())


def stopped(table: Table, rows: list[str], server: BatchServer, *, made: int) -> str:
    """Submit rows anew, stop waiting, and return what is said of them."""

    async def go() -> str:
        task = asyncio.create_task(table.work(rows, fresh=True))
        while len(server.batches) < made or not server.count("GET", server.batches[-1].id):
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return table.asker.left_running

    return portal.run_sync(go())


def test_a_batch_that_the_vendor_does_not_know_any_more_is_not_paid_again_unasked(tmp_path):
    with BatchServer("anthropic", answer=repeating, patient=True) as server:
        table = Table(server, tmp_path)
        interrupted(table, server, texts(3))
        server.batches.clear()
        found = table.run(texts(3))
        assert server.batches == []
        assert all("fresh=True" in str(answer.error) for answer in found.values())
        server._patient = False
        again = table.run(texts(3), fresh=True)
    assert all(answer.error is None for answer in again.values())


def interrupted(table: Table, server: BatchServer, rows: list[str]) -> None:
    """Submit rows, and stop waiting."""

    async def go() -> None:
        task = asyncio.create_task(table.work(rows))
        while not server.count("GET", "batches"):
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    portal.run_sync(go())
    assert len(server.batches) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("over", [True, False])
def test_a_batch_whose_making_was_not_answered_is_found_again(kind, over, tmp_path):
    with BatchServer(kind, answer=repeating, patient=not over) as server:
        table = Table(server, tmp_path)
        server.silent_creates = 1

        async def go() -> dict[str, Answer]:
            task = asyncio.create_task(table.work(texts(8)))
            await asyncio.to_thread(server.made.wait, 10)
            await asyncio.sleep(0.5)  # longer than the vendor may take to list it
            server.finish()
            return await task

        found = portal.run_sync(go())
        assert len(server.batches) == 1
    assert table.calls == [1] * 8
    assert all(answer.error is None for answer in found.values())


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_that_never_arrived_is_made_again_once_that_is_sure(kind, tmp_path):
    # 500: whether the batch was made is not said. Another one of the same size is not ours.
    with BatchServer(kind, answer=repeating) as server:
        other = Table(server, tmp_path / "other")
        (tmp_path / "other").mkdir()
        other.run([f"other {n}" for n in range(8)])
        table = Table(server, tmp_path)
        upload = [] if kind == "anthropic" else [None]
        fault = json_answer({"error": {"message": "x"}}, status=500)
        server.failures = [fault] if not upload else []
        if upload:
            fail_second(server, fault)
        began = time.monotonic()
        found = table.run(texts(8))
        assert time.monotonic() - began >= QUICK.listing
        assert [len(batch.requests) for batch in server.batches] == [8, 8]
    assert {text: answer.text for text, answer in found.items()} == {
        text: f"heard {text}" for text in texts(8)
    }


def fail_second(server: BatchServer, fault: Any) -> None:
    """Let the upload pass and the making fail, once."""
    create = server._create

    def once(request: Any) -> Any:
        server._create = create
        return fault

    server._create = once


def test_a_batch_of_the_same_size_that_still_runs_is_waited_for_before_anything_is_paid(tmp_path):
    (tmp_path / "other").mkdir()
    with BatchServer("anthropic", answer=repeating, patient=True) as server:
        interrupted(Table(server, tmp_path / "other"), server, [f"other {n}" for n in range(5)])
        table = Table(server, tmp_path)
        server.failures = [json_answer({"error": {"message": "x"}}, status=500)]

        async def go() -> int:
            task = asyncio.create_task(table.work(texts(5)))
            await asyncio.sleep(QUICK.listing + 0.5)
            made = len(server.batches)
            server.finish()
            while len(server.batches) < 2:
                await asyncio.sleep(0.01)
            server.finish()
            await task
            return made

        assert portal.run_sync(go()) == 1
        assert len(server.batches) == 2


# --- two processes at once ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_two_processes_ask_at_once_are_submitted_once(kind, tmp_path):
    with BatchServer(kind, answer=repeating) as server:
        one, other = Table(server, tmp_path), Table(server, tmp_path)

        async def go() -> list[dict[str, Answer]]:
            return await asyncio.gather(one.work(texts(6)), other.work(texts(9)))

        found = portal.run_sync(go())
    assert sum(len(batch.requests) for batch in server.batches) == 9
    for asked, answers in zip((6, 9), found, strict=True):
        assert {text: a.text for text, a in answers.items()} == {
            text: f"heard {text}" for text in texts(asked)
        }


def test_a_row_that_another_process_had_answered_meanwhile_is_not_submitted(tmp_path):
    with BatchServer("responses", answer=repeating) as server:
        one, other = Table(server, tmp_path), Table(server, tmp_path)
        upload, is_answered = server._upload, threading.Event()

        def late(request: Any) -> Any:
            server._upload = upload
            server._lock.release()  # the other one is served meanwhile
            is_answered.wait(30)
            server._lock.acquire()
            return upload(request)

        async def go() -> dict[str, Answer]:
            task = asyncio.create_task(one.work(texts(4)))
            while not server.count("POST", "files"):
                await asyncio.sleep(0.001)
            await other.work(texts(3))
            is_answered.set()
            return await task

        server._upload = late
        found = portal.run_sync(go())
        assert [len(batch.requests) for batch in server.batches] == [3, 1]
    assert all(answer.error is None for answer in found.values())


def test_a_batch_that_another_process_has_just_made_is_waited_for(tmp_path):
    with BatchServer("anthropic", answer=repeating, patient=True) as server:
        table = Table(server, tmp_path)
        interrupted(table, server, texts(4))
        noted = (server.batches[0].id,)
        soon = str(time.time() + 0.3)
        write(tmp_path, "UPDATE batches SET id = NULL, due = ?", (soon,))  # while it is being made
        listed = server._list

        def list_(query: dict[str, str]) -> Any:
            server._list = listed
            write(tmp_path, "UPDATE batches SET id = ?", noted)
            server.finish()
            server._patient = False
            return json_answer({"data": [], "has_more": False})

        server._list = list_
        found = table.run(texts(4))
        assert len(server.batches) == 1
    assert all(answer.error is None for answer in found.values())


def write(folder: Path, sql: str, values: tuple[str, ...] = ()) -> None:
    """Write into the file of checkpoints, as another process does."""
    file = Checkpoints(folder / "rows.db")
    try:
        file.write((sql, values))
    finally:
        file.close()


# --- a process that is killed ---------------------------------------------------------------------

CHILD = """
import sys
from pathlib import Path
from alloy_nb.analysis import batches
batches.PATIENCE = batches.Patience(first=0.01, longest=0.05, listing=0.5)
from tests.analysis import test_batches
kind, url, folder, count = sys.argv[1:]
class Server: pass
Server.kind, Server.url = kind, url
table = test_batches.Table(Server, Path(folder))
found = table.run(test_batches.texts(int(count)))
print(sum(answer.error is None for answer in found.values()))
"""


def child(server: BatchServer, folder: Path, count: int) -> subprocess.Popen[str]:
    told = [server.kind, server.url, str(folder), str(count)]
    code = [sys.executable, "-c", textwrap.dedent(CHILD)]
    return subprocess.Popen([*code, *told], stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_process_killed_right_after_the_batch_was_made_submits_nothing_twice(kind, tmp_path):
    with BatchServer(kind, answer=repeating, patient=True) as server:
        held = server._state

        def answered(batch: Any) -> Any:
            os.kill(first.pid, signal.SIGKILL)
            first.wait()
            return held(batch)

        server._state = answered
        first = child(server, tmp_path, 6)
        first.communicate(timeout=60)
        assert first.returncode == -signal.SIGKILL
        server._state = held
        assert len(server.batches) == 1
        server.finish()
        second = child(server, tmp_path, 6)
        out, _ = second.communicate(timeout=60)
        assert out.split() == ["6"]
        assert len(server.batches) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_process_killed_between_submitting_and_collecting_submits_nothing_twice(kind, tmp_path):
    with BatchServer(kind, answer=repeating, patient=True) as server:
        first = child(server, tmp_path, 6)
        assert server.made.wait(60)
        while server.count("GET", "batch") < 2:
            time.sleep(0.01)
        first.kill()
        first.communicate(timeout=60)
        server.finish()
        second = child(server, tmp_path, 6)
        out, _ = second.communicate(timeout=60)
        assert out.split() == ["6"]
        assert len(server.batches) == 1


# --- money ----------------------------------------------------------------------------------------


@pytest.fixture
def priced():
    """A dollar for a thousand tokens, of whichever kind."""
    before = dict(catalog._prices)
    price = catalog.ModelPrice(Decimal(1000), Decimal(1000))
    for vendor in ("anthropic", "openai", "openai-compat"):
        catalog.override(f"{vendor}/scripted-1", price=price)
    yield
    catalog._prices.clear()
    catalog._prices.update(before)


@pytest.mark.parametrize(("kind", "share"), [("anthropic", 0.5), ("responses", 0.5), ("chat", 1)])
def test_a_row_costs_what_the_vendor_takes_for_batches(kind, share, tmp_path, priced):
    with BatchServer(kind, answer=repeating) as server:
        found = Table(server, tmp_path).run(["hi"])
    tokens = 42 if kind == "responses" else 18
    assert found["hi"].cost.usd == Decimal(tokens) / 1000 * Decimal(str(share))


def test_a_plan_of_a_batch_has_the_price_of_a_batch(tmp_path, priced):
    how = {"checkpoint": tmp_path, "dry_run": True, "provider": MAKE["anthropic"]("http://[::1]:9")}
    live = al.map(texts(3), "{value}", **how)
    batch = al.map(texts(3), "{value}", mode="batch", **how)
    assert (batch.most, batch.likely) == (live.most / 2, live.likely / 2)


def test_a_plan_counts_no_money_for_rows_that_are_in_a_batch_already(tmp_path, priced):
    with BatchServer("anthropic", answer=repeating, patient=True) as server:
        interrupted(Table(server, tmp_path), server, texts(3))
        how = {"checkpoint": tmp_path / "rows.db", "dry_run": True, "mode": "batch"}
        plan = al.map(texts(4), "{value}", provider=MAKE["anthropic"](server.url), **how)
        one = al.map(texts(4)[3:], "{value}", provider=MAKE["anthropic"](server.url), **how)
    assert plan.text.startswith("4 rows (3 in a batch already): 1 requests")
    assert (plan.asked, plan.most) == (1, one.most)


def test_nothing_is_submitted_that_could_cost_more_than_is_left(tmp_path, priced):
    with BatchServer("anthropic", answer=repeating) as server:
        table = Table(server, tmp_path, settings={"max_output_tokens": 100})
        found = table.run(texts(3), budget=Budget("0.01"))
        assert server.requests == []
    assert {answer.kind for answer in found.values()} == {"BudgetExceeded"}


@pytest.mark.parametrize("kind", KINDS)
def test_rows_wait_for_money_that_a_batch_gives_back_and_the_limit_holds(kind, tmp_path, priced):
    with BatchServer(kind, answer=repeating) as server:
        table = Table(server, tmp_path, settings={"max_output_tokens": 1000})
        budget = Budget("2.5")
        found = table.run(texts(6), budget=budget)
    assert all(answer.error is None for answer in found.values())
    assert len(server.batches) > 1
    assert budget.spent == sum(answer.cost.usd for answer in found.values())
    assert budget.spent <= budget.limit
    assert budget.left == budget.limit - budget.spent


def test_what_an_earlier_call_submitted_counts_against_the_limit_of_this_one(tmp_path, priced):
    with BatchServer("anthropic", answer=repeating, patient=True) as server:
        table = Table(server, tmp_path, settings={"max_output_tokens": 100})
        first = Budget("100")

        async def go() -> None:
            task = asyncio.create_task(table.work(texts(4), budget=first))
            while not server.count("GET", "batches"):
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        portal.run_sync(go())
        assert first.left < first.limit  # what goes on at the vendor stays set aside
        server.finish()
        second = Budget("100")
        found = table.run(texts(4), budget=second)
        assert second.spent == sum(answer.cost.usd for answer in found.values()) > 0
        assert second.left == second.limit - second.spent
        assert len(server.batches) == 1


def test_an_unknown_price_under_a_limit_submits_nothing(tmp_path):
    with BatchServer("anthropic") as server:
        found = Table(server, tmp_path).run(texts(2), budget=Budget(1))
        assert server.requests == []
    assert all("price" in str(a.error) and a.concerns_all for a in found.values())


def test_searches_in_a_batch_are_not_counted_cheaper(priced):
    from alloy_nb.analysis.collecting import _Priced

    class Dear:
        name = model = "x"

        def cost(self, usage: Usage) -> Any:
            from alloy_nb.usage import Cost

            return Cost(known=Decimal(usage.total_tokens) + 10 * usage.searches)

    used = Usage(input_tokens=4, output_tokens=2, searches=1)
    assert _Priced(Dear(), Decimal("0.5")).cost(used).usd == 13


# --- what does not go -----------------------------------------------------------------------------


def test_tools_are_refused_before_anything_is_sent(tmp_path):
    def look(where: str) -> str:
        """Look."""
        return where

    with BatchServer("anthropic") as server:
        table = Table(server, tmp_path, settings={"tools": [look]})
        with pytest.raises(ConfigError, match="takes no tools"):
            table.run(["hi"])
        assert server.requests == []


def test_a_missing_key_is_the_error_of_each_row(tmp_path, monkeypatch):
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    with BatchServer("anthropic") as server:
        table = Table(server, tmp_path)
        table.job = Job(Anthropic("claude-sonnet-4-6"))
        found = table.run(["hi"])
        assert table.noted() == (0, 0)
    assert "No key" in str(found["hi"].error)


def test_batches_without_checkpoints_are_refused():
    with pytest.raises(ConfigError, match="needs checkpoints"):
        al.map(
            ["a"],
            "{value}",
            provider=MAKE["chat"]("http://[::1]:9"),
            mode="batch",
            checkpoint=False,
        )


def test_a_map_in_batches_comes_back_as_a_table_and_is_not_asked_again(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", QUICK)
    with BatchServer("responses", answer=repeating) as server:
        how = {"provider": MAKE["responses"](server.url), "mode": "batch", "checkpoint": tmp_path}
        first = al.map(["a", "b", "a"], "Say {value}", **how)
        again = al.map(["a", "b", "a"], "Say {value}", **how)
        assert [len(batch.requests) for batch in server.batches] == [2]
    assert list(first["answer"]) == ["heard Say a", "heard Say b", "heard Say a"]
    assert list(again["answer"]) == list(first["answer"])

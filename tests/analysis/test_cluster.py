"""Rows on a Dask cluster of two processes: each answered once, whoever dies, within one budget."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

import alloy_nb as al
from alloy_nb.analysis import cluster as module
from alloy_nb.analysis import crew, station
from alloy_nb.analysis.cluster import Clustered
from alloy_nb.analysis.pace import Pace
from alloy_nb.analysis.rows import Answer, Job, Row
from alloy_nb.analysis.station import Asked
from alloy_nb.engine import portal
from alloy_nb.engine.budget import Budget
from alloy_nb.engine.retry import RetryPolicy
from alloy_nb.errors import ConfigError
from alloy_nb.providers import Anthropic, OpenAICompat, catalog
from tests.analysis.faults import PROMPT, Biller, label_of
from tests.analysis.test_batches import Rows
from tests.engine.scripted import HANG, Scripted, says
from tests.servers.sse import STALL, Pause, Request, Server, json_answer, stream
from tests.servers.sse import Answer as Sent
from tests.servers.wire import Call, Reply, Say, anthropic_events, chat_events

distributed = pytest.importorskip("distributed")

KEY = "k-1234567890"
TOKENS = 18  # of each reply here, in and out
FULL = bool(os.environ.get("ALLOY_TEST_FULL"))
ROWS, MOST = (10_000, 64) if FULL else (300, 16)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with started() as found:
        yield found


@pytest.fixture
def own() -> Iterator[Any]:
    """A cluster that a test may break."""
    with started() as found:
        yield found


class started:  # used as a function
    """A client of two workers, each a process with one thread."""

    def __enter__(self) -> Any:
        environment = {"OPENAI_COMPAT_API_KEY": "of-the-workers", "ANTHROPIC_API_KEY": ""}
        self.cluster = distributed.LocalCluster(
            n_workers=2,
            processes=True,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            env=environment,
            silence_logs=50,
        )
        self.client = distributed.Client(self.cluster)
        return self.client

    def __exit__(self, *exc: object) -> None:
        self.client.close()
        self.cluster.close()


@dataclass
class Model:
    """A server that answers what it hears, after a while, and counts."""

    seconds: float = 0.05
    refusals: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, request: Request) -> Sent:
        text = said(request)
        with self.lock:
            if self.refusals:
                self.refusals -= 1
                told = {"error": {"type": "rate_limit_error", "message": "slow down"}}
                return json_answer(told, status=429, headers=[("Retry-After", "0.2")])
            self.asked[text] += 1
            self.in_flight += 1
            self.most = max(self.most, self.in_flight)
        return stream(self._answer(text))

    def _answer(self, text: str) -> Iterator[Any]:
        try:
            yield Pause(self.seconds)
        finally:
            with self.lock:
                self.in_flight -= 1
        yield from anthropic_events(Reply([Say(f"heard {text}")]))

    @property
    def billed(self) -> int:
        """How many requests are paid for: those that came, also where nobody took the answer."""
        return sum(self.asked.values())


def said(request: Request) -> str:
    content = request.json["messages"][0]["content"]
    return content if isinstance(content, str) else content[0]["text"]


def model(server: Server, **settings: Any) -> Anthropic:
    return Anthropic("scripted-1", base_url=server.url, api_key=KEY, **settings)


class Table:
    """Rows asked on a cluster."""

    def __init__(self, client: Any, provider: Any, *, most: int = 8, **job: Any) -> None:
        self.client = client
        self.job = Job(provider, retry=RetryPolicy(max_retries=3, backoff=0.01), **job)
        self.pace = Pace(most)
        self.found: dict[int, Answer] = {}
        self.calls: Counter[int] = Counter()

    def run(self, texts: list[str], **how: Any) -> dict[int, Answer]:
        portal.run_sync(self.work(texts, **how))
        return self.found

    async def work(self, texts: list[str], **how: Any) -> None:
        settings = {"budget": None, "keys": "send", **how}
        asker = Clustered(self.job, pace=self.pace, client=self.client, **settings)
        rows = [Row(n, self.job.key(text), text) for n, text in enumerate(texts)]
        await asker.ask(Rows(rows), self._done)

    def _done(self, row: Row, answer: Answer) -> None:
        self.found[row.position] = answer
        self.calls[row.position] += 1

    @property
    def errors(self) -> set[str | None]:
        return {answer.error for answer in self.found.values()}


def texts(count: int) -> list[str]:
    return [f"text {n}" for n in range(count)]


def assert_whole(table: Table, count: int) -> None:
    """Assert that no row is lost, none doubled, and each answer is its own row's."""
    assert [table.calls[n] for n in range(count)] == [1] * count
    assert table.errors == {None}
    assert [table.found[n].text for n in range(count)] == [f"heard text {n}" for n in range(count)]


@pytest.fixture
def priced() -> Iterator[None]:
    """A dollar for a thousand tokens, of whichever kind; set in this process alone."""
    before = dict(catalog._prices)
    catalog.override("anthropic/scripted-1", price=catalog.ModelPrice(Decimal(1000), Decimal(1000)))
    yield
    catalog._prices.clear()
    catalog._prices.update(before)


# --- as it should be ------------------------------------------------------------------------------


def test_every_row_is_asked_once_and_gets_its_own_answer(client):
    heard = Model()
    with Server(otherwise=heard) as server:
        table = Table(client, model(server))
        table.run(texts(60))
    assert_whole(table, 60)
    assert set(heard.asked.values()) == {1}


def test_both_workers_ask(client):
    def whose() -> str:
        """Say which process this is."""
        import os

        return str(os.getpid())

    def answer(request: Request) -> Sent:
        messages = request.json["messages"]
        if len(messages) == 1:
            return stream(anthropic_events(Reply([Call("whose", {})])))
        return stream(anthropic_events(Reply([Say(messages[-1]["content"][0]["content"])])))

    with Server(otherwise=answer) as server:
        table = Table(client, model(server), settings={"tools": [whose]})
        table.run(texts(20))
        pids = {str(pid) for pid in client.run(os.getpid).values()}
    assert {answer.text for answer in table.found.values()} == pids
    assert len(pids) == 2


def test_no_more_rows_are_in_flight_on_the_whole_cluster_than_the_pace_allows(client):
    heard = Model(seconds=0.05)
    with Server(otherwise=heard) as server:
        table = Table(client, model(server), most=5)
        table.run(texts(40))
    assert_whole(table, 40)
    assert 2 <= heard.most <= 5


def test_a_refusal_to_one_worker_slows_all_of_them(client):
    heard = Model(refusals=6)
    with Server(otherwise=heard) as server:
        table = Table(client, model(server), most=8)
        table.run(texts(30))
    assert_whole(table, 30)
    assert table.pace.refusals == 6
    assert table.pace.limit < 8


def test_an_answer_of_a_type_comes_back_as_it_was_given(client):
    cell: dict[str, Any] = {"__name__": "__main__"}  # no worker could import it from there
    exec("from pydantic import BaseModel\nclass Mood(BaseModel):\n    mood: str", cell)
    reply = stream(anthropic_events(Reply([Call("Mood", {"mood": "good"})])))
    with Server(otherwise=reply) as server:
        table = Table(client, model(server), schema=cell["Mood"])
        found = table.run(["hi"])
    assert table.job.value(found[0].text) == cell["Mood"](mood="good")


def test_a_row_that_fails_is_an_error_and_the_others_are_answered(client):
    heard = Model()

    def answer(request: Request) -> Sent:
        if said(request) == "text 3":
            told = {"error": {"type": "invalid_request_error", "message": "no"}}
            return json_answer(told, status=400)
        return heard(request)

    with Server(otherwise=answer) as server:
        table = Table(client, model(server))
        found = table.run([*texts(6), " "])
    assert [n for n, answer in sorted(found.items()) if answer.error] == [3, 6]
    assert found[3].kind == "BadRequest"
    assert "prompt is empty" in str(found[6].error)


def test_a_cut_answer_is_asked_for_again(client):
    from tests.servers.sse import cut

    heard, cuts = Model(), [True, True]

    def answer(request: Request) -> Sent:
        if cuts:
            cuts.pop()
            return stream(cut(anthropic_events(Reply([Say("cut")])), after=300))
        return heard(request)

    with Server(otherwise=answer) as server:
        table = Table(client, model(server), most=1)
        found = table.run(texts(3))
    assert table.errors == {None}
    assert sorted(answer.attempts for answer in found.values())[-1] > 1


def test_a_data_frame_comes_back_beside_its_index(client, tmp_path):
    pandas = pytest.importorskip("pandas")
    data = pandas.Series(["text 1", "text 0", "text 1"], index=["b", "a", "b"], name="said")
    heard = Model()
    with Server(otherwise=heard) as server:
        found = al.map(
            data, "{value}", provider=model(server), client=client, keys="send", checkpoint=tmp_path
        )
        again = al.map(
            data, "{value}", provider=model(server), client=client, keys="send", checkpoint=tmp_path
        )
    assert list(found.index) == ["b", "a", "b"]
    assert list(found["answer"]) == ["heard text 1", "heard text 0", "heard text 1"]
    assert list(again["answer"]) == list(found["answer"])
    assert dict(heard.asked) == {"text 1": 1, "text 0": 1}


def test_an_asynchronous_client_goes_with_the_awaitable_twin(client, tmp_path):
    heard = Model()

    async def go(server: Server) -> Any:
        async with distributed.Client(client.scheduler.address, asynchronous=True) as own:
            return await al.amap(
                texts(6),
                "{value}",
                provider=model(server),
                client=own,
                keys="send",
                checkpoint=tmp_path,
            )

    with Server(otherwise=heard) as server:
        found = asyncio.run(go(server))
    assert list(found["answer"]) == [f"heard text {n}" for n in range(6)]


# --- a worker that is lost ------------------------------------------------------------------------


def kill_one(client: Any) -> None:
    """Kill a worker, as a machine that fails does."""
    _, pid = sorted(client.run(os.getpid).items())[0]
    os.kill(pid, signal.SIGKILL)


def killed_midway(table: Table, heard: Model, count: int, **how: Any) -> set[int]:
    """Ask rows, and kill a worker in the middle; return the rows that had their answer by then."""
    answered: set[int] = set()

    def kill() -> None:
        while sum(table.calls.values()) < count // 3:
            time.sleep(0.005)
        kill_one(table.client)
        answered.update(table.found)

    thread = threading.Thread(target=kill)
    thread.start()
    table.run(texts(count), **how)
    thread.join()
    return answered


def test_a_worker_killed_midway_loses_and_doubles_no_row(own):
    heard = Model(seconds=0.1)
    with Server(otherwise=heard) as server:
        table = Table(own, model(server), most=10)
        answered = killed_midway(table, heard, 120)
    assert_whole(table, 120)
    # Asked, and perhaps paid, twice: at most what was in flight on the worker that was killed.
    twice = {text for text, times in heard.asked.items() if times > 1}
    assert len(twice) <= 10
    assert not twice & {f"text {n}" for n in answered}
    assert max(heard.asked.values()) <= 2


def test_faults_and_a_killed_worker_lose_double_and_pay_twice_for_no_kept_row(own, tmp_path):
    biller = Biller(wait=0.05)
    numbers = list(range(ROWS))

    def kill() -> None:
        while biller.paid.total() < ROWS // 3:
            time.sleep(0.005)
        kill_one(own)

    thread = threading.Thread(target=kill)
    thread.start()
    with Server(otherwise=biller) as server:
        labels = al.map(
            numbers,
            PROMPT,
            provider=OpenAICompat("labels-1", api_key="sk-test", base_url=server.url),
            client=own,
            keys="send",
            concurrency=MOST,
            retries=8,
            retry_backoff_ms=5,
            checkpoint=tmp_path / "rows.db",
        )
    thread.join()
    print(f"\n{ROWS} rows, {biller.asked.total()} requests, faults {dict(biller.faults)}")
    assert labels["error"].isna().all()
    assert list(labels["answer"]) == [f"{n} is {label_of(n)}" for n in numbers]
    # Paid twice: at most what was on its way from the worker that was killed.
    twice = [number for number, times in biller.paid.items() if times > 1]
    print(f"{len(twice)} were answered again, of {MOST} in flight")
    assert len(twice) <= MOST
    assert max(biller.paid.values()) <= 2


def test_a_worker_killed_midway_does_not_overspend(own, priced):
    heard = Model(seconds=0.1)
    with Server(otherwise=heard) as server:
        table = Table(own, model(server), most=10, settings={"max_output_tokens": 20})
        budget = Budget("20")
        killed_midway(table, heard, 120, budget=budget)
    assert_whole(table, 120)
    assert Decimal(heard.billed * TOKENS) / 1000 <= budget.spent <= budget.limit
    assert budget.left == budget.limit - budget.spent


def test_a_tight_limit_holds_on_the_whole_cluster_also_when_a_worker_is_killed(own, priced):
    heard = Model(seconds=0.1)
    with Server(otherwise=heard) as server:
        table = Table(own, model(server), most=10, settings={"max_output_tokens": 20})
        budget = Budget("1.2")  # about two thirds of what all rows cost
        killed_midway(table, heard, 100, budget=budget)
    assert [table.calls[n] for n in range(100)] == [1] * 100
    kinds = Counter(answer.kind for answer in table.found.values())
    assert kinds["BudgetExceeded"] > 0
    assert set(kinds) == {"", "BudgetExceeded"}
    assert Decimal(heard.billed * TOKENS) / 1000 <= budget.spent <= budget.limit


def test_a_row_with_tools_whose_worker_is_lost_is_an_error_and_not_asked_again(own):
    def end(how: str) -> str:
        """End this process."""
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)
        return how

    heard = Model()

    def answer(request: Request) -> Sent:
        if said(request) == "text 0":
            heard.asked["text 0"] += 1
            return stream(anthropic_events(Reply([Call("end", {"how": "now"})])))
        return heard(request)

    with Server(otherwise=answer) as server:
        table = Table(own, model(server), most=1, settings={"tools": [end]})
        found = table.run(texts(5))
    assert found[0].kind == "WorkerLost"
    assert heard.asked["text 0"] == 1
    assert [found[n].text for n in range(1, 5)] == [f"heard text {n}" for n in range(1, 5)]


def test_workers_that_come_later_ask_too(own):
    own.cluster.scale(0)
    while own.nthreads():
        time.sleep(0.05)
    with Server(otherwise=Model()) as server:
        table = Table(own, model(server))
        threading.Timer(1.0, own.cluster.scale, (1,)).start()
        table.run(texts(10))
    assert_whole(table, 10)


# --- stopping -------------------------------------------------------------------------------------


def test_an_interrupt_ends_what_is_in_flight_on_the_workers_within_two_seconds(client):
    with Server(otherwise=stream([b": nothing yet\n\n", STALL])) as server:
        table = Table(client, model(server), most=6)

        async def go() -> float:
            task = asyncio.create_task(table.work(texts(20)))
            await asyncio.to_thread(server.wait_for_requests, 6, 30)
            began = time.monotonic()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return time.monotonic() - began

        took = portal.run_sync(go())
        for request in server.requests:
            request.wait_closed(10)
        assert len(server.requests) == 6
    assert took < 2
    assert client.run(_desks) == dict.fromkeys(client.nthreads(), 0)


def _desks() -> int:
    from alloy_nb.analysis import station

    return len(station._desks)


# --- keys -----------------------------------------------------------------------------------------


def test_workers_use_the_keys_of_their_own_environment(client):
    keys: set[str] = set()

    def answer(request: Request) -> Sent:
        keys.add(request.headers.get("authorization", ""))
        return stream(chat_events(Reply([Say("ok")])))

    with Server(otherwise=answer) as server:
        provider = OpenAICompat("scripted-1", server.url, api_key=KEY)
        table = Table(client, provider)
        table.run(texts(4), keys="worker")
    assert table.errors == {None}
    assert keys == {"Bearer of-the-workers"}


def test_the_key_goes_along_only_where_that_is_allowed():
    job = Job(Anthropic("claude-sonnet-4-6", api_key=KEY))
    assert KEY.encode() not in module._payload(job, "worker")
    assert KEY.encode() in module._payload(job, "send")


def test_the_key_of_the_environment_goes_along_only_where_that_is_allowed(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    job = Job(Anthropic("claude-sonnet-4-6"))
    assert KEY.encode() not in module._payload(job, "worker")
    assert KEY.encode() in module._payload(job, "send")


@pytest.mark.parametrize(
    "how",
    [
        {"extra_headers": {"Authorization": f"Bearer {KEY}"}},
        {"extra_headers": {"X-Api-Key": KEY}},
        {"base_url": f"http://me:{KEY}@127.0.0.1:9"},
    ],
)
def test_keys_in_headers_and_addresses_do_not_go_along_unasked(how):
    job = Job(Anthropic("claude-sonnet-4-6", **how))
    with pytest.raises(ConfigError, match="holds a key"):
        module._payload(job, "worker")
    assert module._payload(job, "send")


def test_neither_the_key_nor_a_prompt_is_in_what_the_scheduler_keeps_shows_or_logs(client):
    with Server(otherwise=Model(seconds=0.3)) as server:
        table = Table(client, model(server))
        seen: list[tuple[str, list[str]]] = []

        def look() -> None:
            server.wait_for_requests(4, 30)
            seen.append(client.run_on_scheduler(_state))

        thread = threading.Thread(target=look)
        thread.start()
        table.run([f"a secret prompt {n}" for n in range(20)])
        thread.join()
        seen.append(client.run_on_scheduler(_state))
        logs = f"{client.get_worker_logs()}{client.get_scheduler_logs()}"
    (state, names), _ = seen
    assert len([name for name in names if name.startswith("alloy-")]) == 2
    for text in (state, seen[1][0], logs):
        assert KEY not in text
        assert "secret prompt" not in text


def _state(dask_scheduler: Any) -> tuple[str, list[str]]:
    """Return all that the scheduler holds of its tasks and events, as text."""
    tasks = dask_scheduler.tasks
    held = [
        f"{key} {task!r} {getattr(task, 'run_spec', None)!r} {task.annotations} {task.exception}"
        for key, task in tasks.items()
    ]
    specs = [
        pickle.dumps(getattr(task, "run_spec", None)).decode("latin-1") for task in tasks.values()
    ]
    events = repr(dask_scheduler.get_events())
    return "\n".join([*held, *specs, events]), [str(key) for key in tasks]


def test_a_missing_key_on_the_workers_is_said_of_each_row(client):
    table = Table(client, Anthropic("claude-sonnet-4-6", api_key=KEY))
    found = table.run(texts(2), keys="worker")
    assert all("No key for anthropic" in str(answer.error) for answer in found.values())
    assert all(answer.concerns_all for answer in found.values())


# --- what does not go -----------------------------------------------------------------------------


def test_another_version_on_the_workers_is_refused(client, monkeypatch):
    monkeypatch.setattr(al, "__version__", "0.0.0")
    table = Table(client, Scripted(otherwise=says("ok")))
    with pytest.raises(ConfigError, match="install the same"):
        table.run(texts(2))


def test_what_cannot_be_sent_is_refused_before_anything_is_asked():
    job = Job(Anthropic("m", http_client=threading.Lock()))
    with pytest.raises(ConfigError, match="cannot be sent to workers"):
        module._payload(job, "send")


def test_keys_are_one_of_two_words():
    with pytest.raises(ConfigError, match="'worker' or 'send'"):
        module._payload(Job(Anthropic("m")), "both")  # type: ignore[arg-type]


def test_a_cluster_and_batches_do_not_go_together(client):
    with pytest.raises(ConfigError, match="asks no workers"):
        al.map(["a"], "{value}", provider="demo", client=client, mode="batch")


# --- a desk ---------------------------------------------------------------------------------------


def on_desk(work: Any) -> Any:
    """Run something with an open desk of a scripted model; `work` gets its name and the model."""

    async def go() -> Any:
        model = Scripted(otherwise=says("ok"))
        name = "desk"
        station._desks[name] = station._Desk(Job(model))
        try:
            return await work(name, model)
        finally:
            await station.close(name)

    return portal.run_sync(go())


def test_a_row_that_is_given_twice_is_asked_once():
    async def work(name: str, model: Scripted) -> int:
        await station.give(name, [Asked(0, "a"), Asked(1, "b")])
        await station.give(name, [Asked(0, "a"), Asked(1, "b"), Asked(2, "c")])
        while len(await station.take(name, [], 1.0) or []) < 3:
            pass
        return len(model.requests)

    assert on_desk(work) == 3


def test_a_report_is_there_until_it_is_known_to_have_arrived():
    async def work(name: str, model: Scripted) -> list[list[int]]:
        await station.give(name, [Asked(0, "a")])
        first = await station.take(name, [], 5.0)
        second = await station.take(name, [], 5.0)
        third = await station.take(name, [0], 0.05)
        return [[r.ticket for r in reports or []] for reports in (first, second, third)]

    assert on_desk(work) == [[0], [0], []]


def test_a_desk_to_which_nobody_talks_ends_what_it_asks(monkeypatch):
    monkeypatch.setattr(station, "SILENCE", 0.2)

    async def work(name: str, model: Scripted) -> tuple[bool, Any]:
        model._otherwise = [HANG]
        await station.give(name, [Asked(0, "a")])
        desk = station._desks[name]
        await asyncio.to_thread(desk.closed.wait, 10)
        return name in station._desks, await station.take(name, [], 0.05)

    assert on_desk(work) == (False, None)


def test_a_lease_is_all_that_a_row_may_spend(priced):
    async def work(name: str, model: Scripted) -> Answer:
        await station.give(name, [Asked(0, "a", lease=Decimal("0.000001"))])
        reports = await station.take(name, [], 5.0)
        assert reports is not None
        return reports[0].answer

    catalog.override("scripted/scripted-1", price=catalog.ModelPrice(Decimal(1000), Decimal(1000)))
    assert on_desk(work).kind == "BudgetExceeded"


def test_a_line_that_breaks_loses_nothing_while_the_worker_is_there(client, monkeypatch):
    heard = Model(seconds=0.1)
    call, broken = crew.Crew.call, []

    async def breaking(self: Any, function: Any, *args: Any, at: str) -> Any:
        found = await call(self, function, *args, at=at)
        if function is station.take and found and len(broken) < 4:
            broken.append(found)  # the answers were on their way, and did not arrive
            raise crew._Gone("a line")
        return found

    monkeypatch.setattr(crew.Crew, "call", breaking)
    with Server(otherwise=heard) as server:
        table = Table(client, model(server))
        table.run(texts(40))
    assert len(broken) == 4
    assert_whole(table, 40)
    assert set(heard.asked.values()) == {1}

"""The loop of our own: any caller may wait on it, nothing of the caller's is touched."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from typing import Any

import pytest

import alloy_nb as al
from alloy_nb.engine import portal
from alloy_nb.errors import ConfigError
from tests.engine.scripted import HANG, Scripted, calls, says
from tests.quickest import quickest
from tests.servers.sse import STALL, Server, loop, stream
from tests.servers.wire import Reply, Say, anthropic_events


def python(code: str, *, timeout: float = 60) -> str:
    """Run a program with warnings as errors; it must end well and say nothing on stderr."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.strip()


DEMO = "import alloy_nb as al; demo = al.provider('demo', pace=0)\n"


def test_it_works_in_a_plain_program_that_ends_without_a_word():
    assert python(DEMO + "print(al.run('What is 6 * 7?', provider=demo).status)") == "completed"


def test_it_works_inside_a_running_loop():
    code = """
        import asyncio
        async def main():
            one = await al.arun('What is 6 * 7?', provider=demo)
            two = al.run('What is 6 * 7?', provider=demo)     # blocks this loop, and works
            print(one.status, two.status)
        asyncio.run(main())
    """
    assert python(DEMO + textwrap.dedent(code)) == "completed completed"


def test_it_works_in_a_forked_child():
    code = """
        import os, sys
        al.run('What is 6 * 7?', provider=demo)
        child = os.fork()
        if child == 0:
            print(al.run('What is 6 * 7?', provider=demo).status, flush=True)
            sys.exit(0)
        _, status = os.waitpid(child, 0)
        print(al.run('What is 6 * 7?', provider=demo).status, status)
    """
    assert python(DEMO + textwrap.dedent(code)).split("\n") == ["completed", "completed 0"]


def test_it_works_in_a_pool_of_forked_workers():
    code = """
        import multiprocessing
        def ask(n): return al.run('What is 6 * 7?', provider=demo).status.value
        if __name__ == '__main__':
            ask(0)
            with multiprocessing.get_context('fork').Pool(2) as pool:
                print(pool.map(ask, range(4)))
                pool.close(); pool.join()
    """
    assert python(DEMO + textwrap.dedent(code)) == str(["completed"] * 4)


def test_a_program_that_ends_while_a_run_is_under_way_ends_at_once_and_without_a_word():
    with Server(stream([*anthropic_events(Reply([Say("Hello")]))[:3], STALL])) as server:
        code = f"""
            import threading, time
            import alloy_nb as al
            model = al.Anthropic('m', base_url={server.url!r})
            said = threading.Event()
            def ask():
                try: al.stream('hi', lambda text: said.set(), provider=model)
                except BaseException: pass
            threading.Thread(target=ask, daemon=True).start()
            said.wait(10)
            print(time.monotonic())
        """
        began = float(python(code))
        assert time.monotonic() - began < 20  # it would wait for ever
        server.requests[0].wait_closed()


def test_a_program_that_ends_while_a_tool_hangs_ends_at_once():
    code = """
        import threading, time
        from tests.engine.scripted import Scripted, calls, says
        import alloy_nb as al
        running = threading.Event()
        @al.tool
        def hang() -> str:
            '''Hang.'''
            running.set()
            time.sleep(60)
        model = Scripted(calls(('hang', {})), says('a'))
        def ask():
            try: al.run('?', provider=model, tools=[hang])
            except BaseException: pass
        threading.Thread(target=ask, daemon=True).start()
        running.wait(10)
        print('bye')
    """
    began = time.monotonic()
    assert python(code) == "bye"
    assert time.monotonic() - began < 10


def test_runs_of_many_threads_and_loops_share_one_loop():
    texts: list[str] = []

    def blocking(n: int) -> None:
        texts.append(al.run(str(n), provider=Scripted(says(str(n)))).text)

    def awaiting(n: int) -> None:
        texts.append(asyncio.run(al.arun(str(n), provider=Scripted(says(str(n))))).text)

    threads = [
        threading.Thread(target=blocking if n % 2 else awaiting, args=(n,)) for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(texts, key=int) == [str(n) for n in range(20)]
    assert sum(t.name == "alloy-loop" for t in threading.enumerate()) == 1


def test_connections_are_shared_by_callers_of_different_loops():
    with Server(*loop(*[[Say("hi")]] * 4)) as server:
        model = al.Anthropic("m", base_url=server.url)
        al.run("1", provider=model)
        asyncio.run(al.arun("2", provider=model))
        asyncio.run(al.arun("3", provider=model))
        threads = sum(t.is_alive() for t in server._threads)
        assert threads == 2  # one accepts, one serves the one connection


def test_a_blocking_call_on_the_loops_own_thread_is_refused():
    @al.tool
    async def nested() -> str:
        """Call what would wait for itself."""
        return al.run("?", provider=Scripted(says("a"))).text

    model = Scripted(calls(("nested", {})), says("done"))
    result = al.run("?", provider=model, tools=[nested])
    assert "Await its twin instead" in result.tool_calls[0].error


def test_a_tool_may_run_an_agent_of_its_own():
    @al.tool
    def blocking() -> str:
        """Ask another."""
        return al.run("?", provider=Scripted(says("from within"))).text

    @al.tool
    async def awaiting() -> str:
        """Ask another."""
        return (await al.arun("?", provider=Scripted(says("from within")))).text

    model = Scripted(calls(("blocking", {}), ("awaiting", {})), says("done"))
    al.run("?", provider=model, tools=[blocking, awaiting])
    assert [r.text for r in model.requests[1].messages[-1].content] == ["from within"] * 2


# --- callbacks ------------------------------------------------------------------------------------


def test_callbacks_run_on_the_callers_thread():
    threads: set[Any] = set()
    al.stream(
        "?", lambda text: threads.add(threading.current_thread()), provider=Scripted(says("a", "b"))
    )
    assert threads == {threading.current_thread()}


def test_callbacks_of_an_awaiting_caller_run_on_its_loop():
    async def go() -> bool:
        own = asyncio.get_running_loop()
        seen: list[bool] = []
        await al.astream(
            "?",
            lambda text: seen.append(asyncio.get_running_loop() is own),
            provider=Scripted(says("a", "b")),
        )
        return seen == [True, True]

    assert asyncio.run(go())


def test_a_main_thread_tool_of_an_awaiting_caller_runs_on_its_thread():
    threads: list[Any] = []

    @al.tool(main_thread=True)
    def where() -> str:
        """Tell the thread."""
        threads.append(threading.current_thread())
        return "ok"

    asyncio.run(al.arun("?", provider=Scripted(calls(("where", {})), says("a")), tools=[where]))
    assert threads == [threading.current_thread()]


def test_all_callbacks_have_run_when_the_call_returns():
    for _ in range(20):
        said: list[str] = []
        al.stream("?", said.append, provider=Scripted(says(*"abcdef"), steps=True))
        assert "".join(said) == "abcdef"


def test_all_callbacks_of_an_awaiting_caller_have_run_when_the_call_returns():
    async def go() -> None:
        for _ in range(20):
            said: list[str] = []
            await al.astream("?", said.append, provider=Scripted(says(*"abcdef"), steps=True))
            assert "".join(said) == "abcdef"

    asyncio.run(go())


# --- being stopped --------------------------------------------------------------------------------


def test_cancelling_the_awaiting_task_cancels_the_run():
    model = Scripted([*says("a")[:3], HANG])

    async def go() -> None:
        started = asyncio.Event()
        task = asyncio.create_task(al.astream("?", lambda text: started.set(), provider=model))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(go())
    assert model.closed == 1


def test_a_timeout_around_an_awaited_run_ends_it():
    model = Scripted([HANG])

    async def go() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await al.arun("?", provider=model)

    asyncio.run(go())
    assert model.closed == 1


def interrupt_soon(after: threading.Event) -> None:
    def send() -> None:
        after.wait(10)
        time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=send, daemon=True).start()


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_an_interrupt_stops_a_blocking_call_and_closes_its_connection():
    said = threading.Event()
    events = anthropic_events(Reply([Say("Hello")]))

    def interrupted(server: Server) -> float:
        said.clear()
        session = al.Session(provider=al.Anthropic("m", base_url=server.url))
        interrupt_soon(said)
        with pytest.raises(KeyboardInterrupt):
            session.stream_chat("hi", lambda text: said.set())
        began = time.monotonic()
        closed = server.requests[-1].wait_closed()
        assert session.results[-1].status == "cancelled"
        assert session.messages[-1].text.startswith("Hello"[:5])
        return closed - began

    with Server(otherwise=stream([*events[:3], STALL])) as server:
        assert quickest(lambda: interrupted(server), 0.25) < 0.25


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_second_interrupt_in_a_hurry_does_not_save_the_run_from_the_first(monkeypatch):
    cancel = portal._Job.cancel
    running, ended, hurried = threading.Event(), threading.Event(), []

    def in_a_hurry(job: Any) -> None:
        if not hurried:
            hurried.append(job)
            raise KeyboardInterrupt
        cancel(job)

    async def work() -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(portal._Job, "cancel", in_a_hurry)
    interrupt_soon(running)
    with pytest.raises(KeyboardInterrupt):
        portal.run_sync(work())
    assert hurried
    assert ended.wait(5)


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_an_interrupt_that_does_not_wake_the_thread_stops_a_blocking_call_all_the_same():
    running, over = threading.Event(), []

    async def work() -> None:
        running.set()
        await asyncio.sleep(10)
        over.append("by itself")

    portal.run_sync(asyncio.sleep(0))  # the loop's thread is there, and takes the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        interrupt_soon(running)
        with pytest.raises(KeyboardInterrupt):
            portal.run_sync(work())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert not over


def test_an_interrupt_in_a_main_thread_tool_stops_the_run_and_answers_the_call():
    running = threading.Event()

    @al.tool(main_thread=True)
    def slow() -> str:
        """Wait."""
        running.set()
        time.sleep(10)
        return "late"

    session = al.Session(provider=Scripted(calls(("slow", {})), says("b")), tools=[slow])
    interrupt_soon(running)
    with pytest.raises(KeyboardInterrupt):
        session.chat("?")
    assert session.results[-1].status == "cancelled"
    assert "may have had effects" in session.messages[-1].content[0].text
    assert session.chat("go on").text == "b"


def test_a_run_that_is_cancelled_before_its_first_step_has_an_outcome():
    async def go() -> Any:
        run = al.Agent(Scripted([HANG])).start("?")
        run.cancel()
        events = [event async for event in run]
        return await run.result(), events

    result, events = asyncio.run(go())
    assert result.status == "cancelled"
    assert events[-1].body.status == "cancelled"


def test_the_portal_refuses_to_wait_for_itself():
    async def inside() -> None:
        with pytest.raises(ConfigError, match="Await"):
            portal.run_sync(asyncio.sleep(0))

    portal.run_sync(inside())


@pytest.mark.parametrize("fault", [SystemExit, KeyboardInterrupt, ValueError])
def test_a_fault_inside_is_raised_to_the_caller_and_the_loop_lives_on(fault):
    async def inside() -> None:
        raise fault("out")

    with pytest.raises(fault):
        portal.run_sync(inside())
    assert portal.run_sync(asyncio.sleep(0, "fine")) == "fine"


def test_the_loop_outlives_a_moment_in_which_the_builtins_are_broken():
    python(
        """
        import asyncio
        import builtins
        import time
        from alloy_nb.engine import portal

        async def answer():
            return 42

        assert portal.run_sync(answer()) == 42
        portal.spawn(asyncio.sleep(0.1))
        kept, builtins.len = builtins.len, None
        time.sleep(0.3)
        builtins.len = kept
        assert portal.run_sync(answer()) == 42
        """
    )

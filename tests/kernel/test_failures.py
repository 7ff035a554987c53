"""A failure is one line that says what to do, with what had arrived, and never with the key."""

import threading
import time

import pytest

from tests.kernel.asking import CANARY, everything
from tests.servers.sse import (
    CLOSE,
    RESET,
    Answer,
    Server,
    cut,
    hang_up,
    html_page,
    json_answer,
    loop,
    stream,
)
from tests.servers.wire import Reply, Say, anthropic_events, words

EVENTS = anthropic_events(Reply([Say(words(200))]))
NOW = [("retry-after", "0")]  # else the test would wait as long as a person


def error(status, kind, message=f"no: {CANARY}"):
    """Answer as Anthropic does; a proxy may well send the key back."""
    body = {"type": "error", "error": {"type": kind, "message": message}}
    return json_answer(body, status=status, headers=NOW)


FAILURES = {
    "401": (error(401, "authentication_error"), "AuthFailed", "refused the key"),
    "403": (error(403, "permission_error"), "AuthFailed", "ANTHROPIC_API_KEY"),
    "404": (error(404, "not_found_error"), "BadRequest", "does not know the model"),
    "429": (error(429, "rate_limit_error"), "RateLimited", "rate limiting"),
    "500": (error(500, "api_error"), "ServerFault", "failed"),
    "529": (error(529, "overloaded_error"), "Overloaded", "overloaded"),
    "a page": (html_page(404), "BadRequest", "does not know"),
    "a page for an answer": (html_page(200), "ServerFault", "a web page"),
    "no answer": (Answer([], 200), "StreamTruncated", "Ask again."),
    "a hang-up": (hang_up(), "ConnectionFailed", ""),
}
BREAKS = {
    "a hang-up": (CLOSE, "StreamTruncated"),
    "a reset": (RESET, "StreamTruncated"),
}


def assert_one_line(run, name):
    """An error as IPython draws it: one line, no frame of a library, and no key."""
    assert run.reply["status"] == "error"
    assert name in run.reply["ename"]
    (line,) = run.reply["traceback"]
    assert line == f"{run.reply['ename']}: {run.reply['evalue']}"
    assert run.of("error")[0].content["traceback"] == [line]
    assert "\n" not in line
    for frame in ("File ", "Traceback", "httpx", "site-packages", "object at 0x"):
        assert frame not in line
    assert CANARY not in everything(run)


@pytest.mark.parametrize(("answer", "name", "told"), FAILURES.values(), ids=FAILURES.keys())
def test_a_failure_is_one_line_without_the_key(asking, answer, name, told):
    with Server(otherwise=answer) as server:
        asking.use(server)
        run = asking.ask("hello")
    assert_one_line(run, name)
    assert told in run.reply["evalue"]
    assert CANARY not in asking.kernel.log


@pytest.mark.parametrize(("end", "name"), BREAKS.values(), ids=BREAKS.keys())
def test_what_had_arrived_before_a_break_is_kept(asking, end, name):
    broken = stream(cut(EVENTS, sum(map(len, EVENTS)) // 2, end))
    with Server(broken, *loop([Say("Next.")])) as server:
        asking.use(server)
        run = asking.ask("hello", "-o broken")
        assert_one_line(run, name)
        assert "word20" in run.text
        assert asking.evaluate("(broken.status.value, 'word20' in broken.text)") == ("error", True)
        assert asking.ask("go on").ok
        assert "word20" in server.requests[1].body.decode()


def test_a_server_that_is_not_there_is_told(asking):
    with Server() as server:
        pass
    asking.use(server)
    run = asking.ask("hello")
    assert_one_line(run, "ConnectionFailed")
    assert server.url.removeprefix("http://") in run.reply["evalue"]


def test_a_missing_key_is_a_mistake_in_the_cell(asking):
    asking.kernel.run("import os; kept = os.environ.pop('ANTHROPIC_API_KEY')")
    try:
        run = asking.ask("hello", "-m anthropic/claude-sonnet-4-6")
    finally:
        asking.kernel.run("os.environ['ANTHROPIC_API_KEY'] = kept")
    assert run.reply["ename"] == "UsageError"
    assert "ANTHROPIC_API_KEY" in run.stderr
    assert "-m demo" in run.stderr


def test_the_error_can_be_inspected_afterwards(asking):
    with Server(otherwise=error(404, "not_found_error")) as server:
        asking.use(server)
        asking.ask("hello", "-o failed")
    facts = "(failed.status.value, failed.ok, failed.exception.status, failed.exception.provider)"
    assert asking.evaluate(facts) == ("error", False, 404, "anthropic")


def test_a_failed_result_shown_later_says_why(asking):
    with Server(otherwise=error(404, "not_found_error")) as server:
        asking.use(server)
        asking.ask("hello", "-o failed")
    assert "does not know the model" in asking.kernel.run("failed").text


def test_cells_that_wait_are_not_run_after_a_failure(asking):
    waits = threading.Event()

    def refused(request):
        assert waits.wait(20)
        time.sleep(1)  # until the other cell is with the kernel
        return error(401, "authentication_error")

    with Server(otherwise=refused) as server:
        asking.use(server)
        run, id_ = asking.kernel.send("%%alloy\nhello")
        asking.kernel.send("after_failure = 1")
        waits.set()
        asking.kernel.finish(run, id_)
    assert asking.evaluate("'after_failure' in globals()") is False


def test_the_next_cell_works_after_a_failure(asking):
    with Server(error(401, "authentication_error"), *loop([Say("Hello.")])) as server:
        asking.use(server)
        asking.ask("hello")
        assert "Hello." in asking.ask("hello").text


def test_a_key_in_the_answer_is_masked(asking):
    with Server(*loop([Say(f"Your key is {CANARY}, is it not?")])) as server:
        asking.use(server)
        run = asking.ask("what is my key?")
    assert run.ok
    assert CANARY not in everything(run)


def test_a_key_in_the_output_of_a_tool_is_masked_for_the_person(asking):
    from tests.servers.wire import Call

    code = "import os; print(os.environ['ANTHROPIC_API_KEY'])"
    with Server(*loop([Call("python", {"code": code})], [Say("Done.")])) as server:
        asking.use(server, approve="all")
        run = asking.ask("print it")
    assert CANARY not in everything(run)
    assert CANARY not in server.requests[1].body.decode()

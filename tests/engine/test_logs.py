"""The log: quiet by default, complete where it is asked for, and without keys."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import pytest

import alloy_nb as al
from alloy_nb.engine.middleware.logs import Logger
from alloy_nb.errors import RateLimited
from tests.engine.scripted import Scripted, calls, says
from tests.engine.test_loop import add

KEY = "canary-key-0123456789"


def adding() -> Scripted:
    return Scripted(calls(("add", {"a": 1, "b": 2})), says("3"))


def lines(caplog: Any, level: int = logging.DEBUG) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


def test_a_program_that_sets_up_no_logging_sees_nothing():
    code = """
import alloy_nb as al
from alloy_nb.engine.middleware.logs import log

class Broken(al.Middleware):
    async def run(self, run, next):
        raise ValueError("inside")

print(al.run("?", provider="demo", middleware=[Broken()]).status)
log.error("a fault")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("error", "")


def test_a_line_is_written_for_each_request_and_each_tool(caplog):
    caplog.set_level(logging.DEBUG, "alloy_nb")
    al.run("?", provider=adding(), tools=[add], context={"request_id": "r-7"})
    told = lines(caplog)
    asked = [line for line in told if line.startswith("request: run=r-7")]
    assert len(asked) == 2
    assert "outcome=tool_use calls=1 tokens=10+5" in asked[0]
    ran = [line for line in told if line.startswith("tool: run=r-7 name=add")]
    assert len(ran) == 1
    assert "outcome=ok" in ran[0]


def test_a_request_that_failed_says_so(caplog):
    caplog.set_level(logging.DEBUG, "alloy_nb")
    al.run("?", provider=Scripted(RateLimited("no")), max_retries=0)
    assert any("outcome=RateLimited" in line for line in lines(caplog))


def test_every_answer_to_a_question_is_written(caplog):
    caplog.set_level(logging.INFO, "alloy_nb")
    tool = add.with_options(risk="run")
    al.run("?", provider=adding(), tools=[tool], approve="ask")
    assert any(line.startswith("approval: ") and "allowed=False" in line for line in lines(caplog))


def test_nothing_is_written_a_token(caplog):
    caplog.set_level(logging.DEBUG, "alloy_nb")
    al.run("?", provider=Scripted(says(*["word "] * 500)))
    assert len(lines(caplog)) < 5


def test_a_key_is_in_no_line_and_in_no_traceback(caplog, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", KEY)
    caplog.set_level(logging.DEBUG, "alloy_nb")

    @al.tool
    def fail() -> str:
        """Fail."""
        raise ValueError(f"at https://host/?key={KEY}")

    logging.getLogger("alloy_nb").warning("with %s", KEY)
    al.run("?", provider=Scripted(calls(("fail", {})), says("a")), tools=[fail])
    told = [logging.Formatter().format(record) for record in caplog.records]
    assert any("ValueError" in line for line in told)
    assert KEY not in "".join(told)
    assert all(record.exc_info is None for record in caplog.records)


def test_a_value_that_cannot_be_written_ends_nothing(caplog):
    class Mute:
        def __str__(self) -> str:
            raise ValueError(KEY)

    logging.getLogger("alloy_nb").warning("with %s", Mute())
    assert lines(caplog) == ["(a line that could not be written: ValueError)"]


# --- the middleware -------------------------------------------------------------------------------


def test_a_logger_tells_the_story_of_a_run(caplog):
    caplog.set_level(logging.DEBUG, "story")
    al.run("?", provider=adding(), tools=[add], middleware=[Logger("story")])
    assert [(r.levelname, r.getMessage().split(" after")[0]) for r in caplog.records] == [
        ("DEBUG", "Asking with 1 messages"),
        ("DEBUG", "Turn 1 calls add"),
        ("DEBUG", "Turn 1 add answered"),
        ("DEBUG", "Asking with 3 messages"),
        ("INFO", caplog.records[-1].getMessage().split(" after")[0]),
    ]
    assert "completed after 2 turns, 20 + 10 tokens" in caplog.records[-1].getMessage()


def test_a_logger_tells_what_went_wrong(caplog):
    caplog.set_level(logging.INFO, "story")
    layers = [Logger(logging.getLogger("story"))]
    al.run("?", provider=Scripted(RateLimited("slow down")), middleware=layers, max_retries=0)
    assert [r.levelname for r in caplog.records] == ["ERROR"]
    assert "RateLimited: slow down" in caplog.text


def test_a_logger_writes_contents_only_where_it_is_told_to(caplog):
    caplog.set_level(logging.DEBUG, "story")
    for contents in (False, True):
        caplog.clear()
        layers = [Logger("story", contents=contents)]
        al.run("?", provider=adding(), tools=[add], middleware=layers)
        assert ("{'a': 1, 'b': 2}" in caplog.text) == contents
        assert ("add answered: 3" in caplog.text) == contents


@pytest.mark.parametrize(
    "hostile", ["a\nERROR forged", "a\x1b[2Kforged", "a\u202eb", KEY, "x" * 9999]
)
def test_what_a_tool_says_cannot_forge_a_line_nor_carry_a_key(hostile, caplog, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", KEY)
    caplog.set_level(logging.DEBUG, "story")

    @al.tool
    def say() -> str:
        """Say."""
        return hostile

    model = Scripted(calls(("say", {})), says("a"))
    al.run("?", provider=model, tools=[say], middleware=[Logger("story", contents=True)])
    for line in lines(caplog):
        assert line.isascii()
        assert line.isprintable()
        assert KEY not in line
        assert len(line) < 600


def test_a_logger_changes_nothing():
    plain = al.run("?", provider=adding(), tools=[add])
    told = al.run("?", provider=adding(), tools=[add], middleware=[Logger(contents=True)])
    assert [m.text for m in told.messages] == [m.text for m in plain.messages]
    assert told.status == plain.status

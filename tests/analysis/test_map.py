"""A table goes in, a question for each row, and a table comes out."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any, Literal

import pandas as pd
import polars as pl
import pytest
from pydantic import BaseModel, field_validator

import alloy_nb as al
from alloy_nb.errors import AlloyError, AuthFailed, ConfigError, QuotaExceeded, ServerFault
from alloy_nb.providers.base import ModelRequest
from alloy_nb.testing import ScriptedProvider, error_response, text_response, tool_response
from tests.analysis.faults import label_of
from tests.servers.sse import Server


class Label(BaseModel):
    label: Literal["even", "odd"]
    number: int
    note: str | None = None


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def said(request: ModelRequest) -> str:
    return request.messages[0].text


def labels(request: ModelRequest) -> Any:
    number = int(said(request).split()[-1])
    return tool_response("Label", {"label": label_of(number), "number": number})


def echo(request: ModelRequest) -> Any:
    return f"<{said(request)}>"


def labeler() -> ScriptedProvider:
    return ScriptedProvider(otherwise=labels)


# --- what comes out -------------------------------------------------------------------------------


def test_a_table_is_labelled_beside_its_index():
    table = pd.DataFrame({"n": [3, 2, 3, 1]}, index=list("dabd"))
    out = al.map(table, "Label {n}", schema=Label, provider=labeler())
    assert list(out.columns) == ["label", "number", "note", "cost", "tokens", "model", "error"]
    assert list(out["label"]) == ["odd", "even", "odd", "odd"]
    assert list(out["number"]) == [3, 2, 3, 1]
    assert out.index.equals(table.index)
    assert out["error"].isna().all()
    assert str(out["number"].dtype) == "Int64"
    assert set(out["model"]) == {"scripted/scripted-1"}


def test_polars_in_is_polars_out():
    out = al.map(pl.DataFrame({"n": [1, 2]}), "Label {n}", schema=Label, provider=labeler())
    assert isinstance(out, pl.DataFrame)
    assert out["label"].to_list() == ["odd", "even"]


def test_rows_that_ask_the_same_are_asked_once_and_paid_once():
    provider = labeler()
    out = al.map([1, 2, 1, 1], "Label {value}", schema=Label, provider=provider)
    assert len(provider.requests) == 2
    assert list(out["number"]) == [1, 2, 1, 1]
    assert list(out["tokens"]) == [15, 15, 0, 0]


def test_text_is_a_column_called_answer():
    out = al.map(["a", "b"], "Say {value}", provider=ScriptedProvider(otherwise=echo))
    assert list(out["answer"]) == ["<Say a>", "<Say b>"]


def test_any_type_can_be_the_answer():
    provider = ScriptedProvider(otherwise=tool_response("answer", {"value": 4}))
    out = al.map(["a"], "How many in {value}?", schema=int, provider=provider)
    assert list(out["answer"]) == [4]


def test_a_field_keeps_its_name_where_one_of_our_columns_has_it():
    class Car(BaseModel):
        model: str
        error: bool

    provider = ScriptedProvider(otherwise=tool_response("Car", {"model": "T", "error": False}))
    out = al.map(["x"], "{value}", schema=Car, provider=provider)
    assert list(out.columns) == ["model", "error", "cost", "tokens", "model_", "error_"]
    assert list(out["model"]) == ["T"]


def test_an_iterator_is_taken_as_it_is_needed():
    taken: list[int] = []

    def items():
        for n in range(5_000):
            taken.append(n)
            yield n

    def slow(request):
        assert len(taken) < 2_000, "rows are made far ahead"
        return text_response("x")

    out = al.map(items(), "{value}", provider=ScriptedProvider(otherwise=slow), limit=100)
    assert len(out) == 100
    assert len(taken) <= 101


def test_an_empty_table_has_its_columns():
    out = al.map(pd.Series([], dtype=object), "{value}", schema=Label, provider=labeler())
    assert list(out.columns)[:3] == ["label", "number", "note"]
    assert len(out) == 0


def test_a_row_with_nothing_to_ask_about_is_not_asked():
    provider = ScriptedProvider(otherwise=echo)
    out = al.map(["a", None, " "], "{value}", provider=provider)
    assert len(provider.requests) == 1
    assert list(out["error"].isna()) == [True, False, False]
    assert out["error"][1] == "nothing was asked: value is empty"
    assert list(out["cost"][1:]) == [0, 0]


def test_the_figures_of_a_map_are_with_its_table():
    out = al.map([1, 1, None, 2], "Label {value}", schema=Label, provider=labeler())
    figures = out.attrs["alloy"]
    assert {k: figures[k] for k in ("rows", "asked", "repeated", "empty", "failed")} == {
        "rows": 4,
        "asked": 2,
        "repeated": 1,
        "empty": 1,
        "failed": 0,
    }


def test_a_row_may_use_tools():
    def double(number: int) -> str:
        """Double a number."""
        return str(2 * number)

    def reply(request: ModelRequest) -> Any:
        last = request.messages[-1].content[-1]
        if last.type == "tool_result":
            return f"It is {last.text}."
        return tool_response("double", {"number": int(said(request))})

    provider = ScriptedProvider(otherwise=reply)
    out = al.map([4, 5], "{value}", provider=provider, tools=[double])
    assert list(out["answer"]) == ["It is 8.", "It is 10."]


def test_amap_is_the_same_in_a_loop():
    async def go() -> Any:
        return await al.amap([1, 2], "Label {value}", schema=Label, provider=labeler())

    assert list(asyncio.run(go())["number"]) == [1, 2]


def test_a_function_makes_prompts_on_the_callers_thread():
    threads = set()

    def prompt(value: int) -> str:
        threads.add(threading.current_thread())
        return f"Label {value}"

    out = al.map([1, 2], prompt, schema=Label, provider=labeler())
    assert list(out["number"]) == [1, 2]
    assert threads == {threading.current_thread()}


# --- what goes wrong ------------------------------------------------------------------------------


def fails_at(text: str, error: Exception) -> ScriptedProvider:
    def reply(request: ModelRequest) -> Any:
        return error_response(error) if said(request) == text else echo(request)

    return ScriptedProvider(otherwise=reply)


def test_a_row_that_breaks_has_its_error_and_the_rest_is_done():
    out = al.map(["a", "b", "c"], "{value}", provider=fails_at("b", AlloyError("no b")))
    assert list(out["answer"].fillna("-")) == ["<a>", "-", "<c>"]
    assert list(out["error"].fillna("-")) == ["-", "no b", "-"]


def test_rows_that_failed_are_asked_again_by_the_next_map_and_the_others_are_not():
    al.map(["a", "b", "c"], "{value}", provider=fails_at("b", AlloyError("no b")))
    provider = ScriptedProvider(otherwise=echo)
    out = al.map(["a", "b", "c"], "{value}", provider=provider)
    assert [said(request) for request in provider.requests] == ["b"]
    assert out["error"].isna().all()


@pytest.mark.parametrize(
    ("settings", "times"),
    [({"retries": 5}, 6), ({"retries": 5, "max_retries": 1}, 2), ({}, 4)],
    ids=["retries", "the setting of a run", "neither"],
)
def test_a_row_is_asked_again_as_often_as_said_also_where_the_wait_is(settings, times):
    provider = fails_at("a", ServerFault("no a", status=500))
    al.map(["a"], "{value}", provider=provider, retry_backoff_ms=1, checkpoint=False, **settings)
    assert len(provider.requests) == times


def test_an_error_can_be_raised_and_what_was_answered_is_kept():
    provider = fails_at("b", ServerFault("no b", status=500))
    with pytest.raises(ServerFault, match="no b"):
        al.map(["a", "b"], "{value}", provider=provider, errors="raise", retries=0, concurrency=1)
    again = ScriptedProvider(otherwise=echo)
    al.map(["a", "b"], "{value}", provider=again)
    assert [said(request) for request in again.requests] == ["b"]


def test_what_concerns_all_rows_is_raised_where_the_first_one_says_so():
    provider = ScriptedProvider(otherwise=error_response(AuthFailed("wrong key")))
    with pytest.raises(AuthFailed, match="wrong key"):
        al.map(range(1_000), "{value}", provider=provider, concurrency=4)
    assert len(provider.requests) <= 4


def test_what_concerns_all_rows_later_on_ends_the_asking_and_keeps_the_answers():
    provider = fails_at("20", QuotaExceeded("no quota left"))
    out = al.map(range(300), "{value}", provider=provider, concurrency=1)
    assert list(out["answer"][:20]) == [f"<{n}>" for n in range(20)]
    assert out["error"][20] == "no quota left"
    assert set(out["error"][21:]) == {
        "nothing was asked, since this concerns all rows: no quota left"
    }
    assert len(provider.requests) == 21


def test_a_function_that_fails_for_a_row_is_the_rows_error():
    out = al.map(["a", 3], lambda v: v.upper(), provider=ScriptedProvider(otherwise=echo))
    assert out["answer"][0] == "<A>"
    assert "AttributeError" in out["error"][1]


def test_a_row_without_a_prompt_has_failed_and_is_not_empty():
    out = al.map(["a", 3], lambda v: v.upper(), provider=ScriptedProvider(otherwise=echo))
    assert {k: out.attrs["alloy"][k] for k in ("rows", "empty", "failed")} == {
        "rows": 2,
        "empty": 0,
        "failed": 1,
    }


def test_a_prompt_that_cannot_be_made_is_raised_where_errors_are():
    provider = ScriptedProvider(otherwise=echo)
    with pytest.raises(AlloyError, match="could not be made: AttributeError") as caught:
        al.map(["a", 3], lambda v: v.upper(), provider=provider, errors="raise")
    assert isinstance(caught.value.__cause__, AttributeError)


@pytest.mark.parametrize("count", [300, 1_000])
def test_data_that_fails_to_be_read_is_raised_and_what_was_answered_is_kept(count):
    def items():
        yield from range(count)
        raise OSError("the file is gone")

    with pytest.raises(OSError, match="gone"):
        al.map(items(), "{value}", provider=ScriptedProvider(otherwise=echo))
    again = ScriptedProvider(otherwise=echo)
    al.map(range(count), "{value}", provider=again)
    assert len(again.requests) < 200  # those that were made and those in flight


def test_many_rows_with_nothing_in_them_do_not_end_a_map():
    data = [None] * 1_000 + ["a"] + [None] * 1_000
    out = al.map(data, "{value}", provider=ScriptedProvider(otherwise=echo))
    assert list(out["answer"].dropna()) == ["<a>"]
    assert out.attrs["alloy"]["empty"] == 2_000


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"errors": "ignore"}, "errors must be"),
        ({"mode": "later"}, "mode must be"),
        ({"concurrency": 0}, "concurrency must be"),
        ({"retries": -1}, "retries must be"),
        ({"limit": -1}, "limit must be"),
        ({"max_cost": -1}, "max_cost must be"),
        ({"on_progress": 3}, "on_progress must be"),
        ({"messages": []}, "each row is a run of its own"),
        ({"until_tool": int}, "use schema="),
        ({"shcema": int}, "Did you mean"),
        ({"schema": 3}, "no tool can be made"),
        ({"schema": ["a", "b"]}, r"Literal\['a', 'b'\]"),
        ({"provider": "acme/one"}, "Unknown vendor"),
    ],
)
def test_a_setting_that_is_wrong_is_refused_before_anything_is_sent(wrong, says):
    provider = ScriptedProvider(otherwise=echo)
    with pytest.raises(ConfigError, match=says):
        al.map(["a"], "{value}", **{"provider": provider, **wrong})
    assert provider.requests == []


def test_a_column_that_is_not_there_is_named_before_anything_is_sent():
    provider = ScriptedProvider(otherwise=echo)
    with pytest.raises(ConfigError, match=r"\{reviw\}.*\{review\}"):
        al.map(pd.DataFrame({"review": ["a"]}), "{reviw}", provider=provider)
    assert provider.requests == []


def test_a_schema_that_a_vendor_cannot_take_is_refused_before_the_first_row():
    deep: Any = int
    for _ in range(120):
        deep = list[deep]
    with Server() as server:
        provider = al.Gemini("m", api_key="k", base_url=server.url)
        with pytest.raises(ConfigError, match="nested too deeply"):
            al.map(["a"], "{value}", schema=deep, provider=provider)
        assert server.requests == []


def test_a_key_that_is_missing_is_said_before_the_first_row(monkeypatch):
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="No key for anthropic"):
        al.map(["a"], "{value}", provider="anthropic/claude-sonnet-4-6")


def test_an_answer_that_was_kept_for_a_schema_is_not_taken_for_another():
    class Other(BaseModel):
        label: str

    al.map([1], "Label {value}", schema=Label, provider=labeler())
    provider = ScriptedProvider(otherwise=tool_response("Other", {"label": "x"}))
    al.map([1], "Label {value}", schema=Other, provider=provider)
    assert len(provider.requests) == 1


def test_an_answer_that_no_longer_fits_its_type_is_asked_for_again():
    def numbers(least: int) -> type[BaseModel]:
        class Number(BaseModel):
            number: int

            @field_validator("number")
            @classmethod
            def enough(cls, value: int) -> int:
                if value < least:
                    raise ValueError("too small")
                return value

        return Number

    def answers(*replies: int) -> ScriptedProvider:
        return ScriptedProvider(*(tool_response("Number", {"number": n}) for n in replies))

    al.map([1, 2], "{value}", schema=numbers(0), provider=answers(3, 8), concurrency=1)
    provider = answers(7)
    plan = al.map([1, 2], "{value}", schema=numbers(5), provider=provider, dry_run=True)
    out = al.map([1, 2], "{value}", schema=numbers(5), provider=provider)
    assert (plan.kept, plan.asked) == (1, 1)
    assert list(out["number"]) == [7, 8]


def test_fresh_asks_again_and_keeps_the_new_answer():
    al.map([1], "{value}", provider=ScriptedProvider("old"))
    out = al.map([1], "{value}", provider=ScriptedProvider("new"), fresh=True)
    assert list(out["answer"]) == ["new"]
    assert list(al.map([1], "{value}", provider=ScriptedProvider())["answer"]) == ["new"]


def test_without_checkpoints_nothing_is_written(tmp_path):
    al.map([1], "{value}", provider=ScriptedProvider("x"), checkpoint=False)
    assert not (tmp_path / ".alloy").exists()


# --- watching -------------------------------------------------------------------------------------


def test_progress_is_told_on_the_callers_thread_at_most_ten_times_a_second_and_at_the_end():
    told, threads = [], set()

    def watch(progress):
        told.append(progress)
        threads.add(threading.current_thread())

    provider = ScriptedProvider(otherwise=text_response("x", delay=0.05))
    began = time.monotonic()
    al.map(range(40), "{value}", provider=provider, concurrency=4, on_progress=watch)
    assert 2 <= len(told) <= (time.monotonic() - began) / 0.1 + 2
    assert threads == {threading.current_thread()}
    assert [p.done for p in told] == sorted(p.done for p in told)
    assert told[-1].finished
    assert (told[-1].done, told[-1].total) == (40, 40)
    assert "40/40 rows" in told[-1].text


def test_a_callback_that_fails_ends_the_map_and_is_raised():
    def watch(_progress):
        raise ZeroDivisionError

    provider = ScriptedProvider(otherwise=text_response("x", delay=0.05))
    with pytest.raises(ZeroDivisionError):
        al.map(range(100), "{value}", provider=provider, on_progress=watch)
    assert len(provider.requests) < 100


def test_a_callback_of_amap_that_fails_ends_it_too():
    def watch(_progress):
        raise ZeroDivisionError

    async def go() -> None:
        provider = ScriptedProvider(otherwise=text_response("x", delay=0.05))
        await al.amap(range(100), "{value}", provider=provider, on_progress=watch)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(go())


def test_amap_that_is_cancelled_stops_its_requests_and_keeps_the_answers():
    def reply(request: ModelRequest) -> Any:
        return text_response("x", delay=0 if int(said(request)) < 10 else 30)

    provider = ScriptedProvider(otherwise=reply)

    async def go() -> float:
        task = asyncio.create_task(al.amap(range(100), "{value}", provider=provider, concurrency=8))
        while len(provider.requests) < 18:
            await asyncio.sleep(0.01)
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - began

    assert asyncio.run(go()) < 2
    assert provider.closed == len(provider.requests) == 18
    again = ScriptedProvider(otherwise="y")
    out = al.map(range(12), "{value}", provider=again)
    assert list(out["answer"]) == ["x"] * 10 + ["y"] * 2

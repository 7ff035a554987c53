"""The demo speaks Anthropic's format, computes on any table, and claims what it computed."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import io
import json
import re
import traceback
import warnings
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import anthropic
import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter

from alloy_nb.errors import ConfigError
from alloy_nb.messages import (
    Message,
    StopReason,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    assistant,
    user,
)
from alloy_nb.providers import Anthropic, catalog, provider
from alloy_nb.providers.base import ModelOptions, ModelRequest, ToolSpec
from alloy_nb.providers.demo import Demo
from alloy_nb.providers.demo.script import answer
from alloy_nb.providers.demo.wire import sse
from alloy_nb.providers.fold import Reply, ReplyBuilder
from tests.oracles.strict import validate_anthropic

PYTHON = ToolSpec("python", "Runs code.", {"type": "object", "properties": {"code": {}}})
WHAT = "What stands out in @df? Compute before you claim."
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")

Run = Callable[[str, dict[str, Any]], tuple[str, bool]]


# --- a small loop, as the engine's ----------------------------------------------------------------


def run(code: str, namespace: dict[str, Any]) -> tuple[str, bool]:
    """Run code as the notebook's tool does: printed text, then the last expression's repr."""
    out = io.StringIO()
    tree = ast.parse(code)
    assert isinstance(tree.body[-1], ast.Expr)
    last = ast.Expression(tree.body.pop().value)  # type: ignore[attr-defined]
    try:
        with contextlib.redirect_stdout(out):
            exec(compile(tree, "<tool>", "exec"), namespace)
            value = eval(compile(last, "<tool>", "eval"), namespace)
    except Exception:
        return out.getvalue() + traceback.format_exc(), True
    return out.getvalue() + ("" if value is None else repr(value)), False


def deny(code: str, namespace: dict[str, Any]) -> tuple[str, bool]:
    return "The user rejected this call; it did not run.", True


async def reply_of(demo: Demo, request: ModelRequest) -> Reply:
    builder = ReplyBuilder(provider=demo.name, model=demo.model)
    async for event in demo.stream(request):
        builder.feed(event)
    return builder.done()


class Talk:
    """A conversation with the demo, whose tool really runs."""

    def __init__(self, run: Run = run, tools: Sequence[ToolSpec] = (PYTHON,), **names: Any) -> None:
        self.demo = Demo(pace=0)
        self.names: dict[str, Any] = names
        self.run = run
        self.tools = tuple(tools)
        self.history: list[Message] = []
        self.replies: list[Reply] = []
        self.outputs: list[str] = []
        self.codes: list[str] = []

    def ask(self, *prompt: str) -> Message:
        self.history.append(user("\n\n".join(prompt)))
        self.outputs, self.codes = [], []
        return asyncio.run(self._turns())

    async def _turns(self) -> Message:
        while True:
            request = ModelRequest(messages=self.history, system="Be brief.", tools=self.tools)
            reply = await reply_of(self.demo, request)
            self.replies.append(reply)
            self.history.append(reply.message)
            if not reply.message.tool_calls:
                return reply.message
            self.history.append(user(*map(self._result, reply.message.tool_calls)))

    def _result(self, call: ToolCall) -> ToolResult:
        self.codes.append(call.input["code"])
        text, is_error = self.run(call.input["code"], self.names)
        self.outputs.append(text)
        return ToolResult(call_id=call.id, content=(Text(text=text),), is_error=is_error)


def reference(name: str, value: Any) -> str:
    if isinstance(value, pd.DataFrame):
        head = f"pandas.DataFrame, {len(value)} rows × {value.shape[1]} columns"
        columns = zip(value.columns, value.dtypes, strict=True)
        lines = [f"{name}: {head}", *(f"  {column}: {kind}" for column, kind in columns)]
    elif isinstance(value, pd.Series):
        lines = [f"{name}: pandas.Series, {len(value)} values, {value.dtype}"]
    else:
        lines = [f"{name}: {type(value).__name__}"]
    body = "\n".join(lines)
    return f'<reference name="{name}">\n{body}\n</reference>'


def numbers_in(text: str) -> set[float]:
    return {float(found) for found in _NUMBER.findall(text)}


def orders() -> pd.DataFrame:
    rng = np.random.default_rng(7)
    region = rng.choice(["North", "South", "East", "West"], 300)
    frame = pd.DataFrame(
        {
            "order_id": range(1000, 1300),
            "date": pd.date_range("2025-01-01", periods=300),
            "region": region,
            "amount": rng.gamma(4, 30, 300).round(2),
            "returned": rng.random(300) < np.where(region == "South", 0.5, 0.05),
        }
    )
    frame["shipping"] = (5 + frame["amount"] / 20 + rng.random(300)).round(2)
    frame.loc[(region == "West") & (rng.random(300) < 0.5), "shipping"] = np.nan
    return frame


# --- nasty tables ---------------------------------------------------------------------------------


def _mixed(rows: int) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame({"kind": rng.choice(["a", "b"], rows), "x": rng.random(rows)})


def _duplicate_names() -> pd.DataFrame:
    frame = _mixed(50)
    return pd.concat([frame, frame], axis=1)


def _nullable() -> pd.DataFrame:
    frame = pd.DataFrame({"n": [1, None, 3] * 20, "f": [True, None, False] * 20})
    frame["s"] = ["x", None, "y"] * 20
    return frame.astype({"n": "Int64", "f": "boolean", "s": "string"})


NASTY: dict[str, Callable[[], pd.DataFrame]] = {
    "no rows and no columns": pd.DataFrame,
    "no rows": lambda: _mixed(50).head(0),
    "no columns": lambda: pd.DataFrame(index=range(20)),
    "one row": lambda: _mixed(1),
    "few rows": lambda: _mixed(4),
    "no numbers": lambda: pd.DataFrame({"a": ["x", "y"] * 20, "b": list("pqrs") * 10}),
    "nothing but missing values": lambda: pd.DataFrame({"a": [np.nan] * 30, "b": [None] * 30}),
    "one column that is empty": lambda: _mixed(40).assign(gone=np.nan),
    "constant columns": lambda: _mixed(40).assign(c=1.5, d="same", e=np.pi),
    "infinite values": lambda: _mixed(40).assign(x=[np.inf, -np.inf, 1.0, 2.0] * 10),
    "huge values": lambda: _mixed(40).assign(x=[1e308, -1e308, 1.0, 1e200] * 10),
    "tiny values": lambda: _mixed(40).assign(x=np.arange(40) * 1e-300),
    "repeated rows": lambda: pd.concat([_mixed(20)] * 3),
    "an index with duplicates": lambda: _mixed(40).set_index(np.zeros(40, int)),
    "names that appear twice": _duplicate_names,
    "names that are numbers": lambda: pd.DataFrame(np.random.default_rng(0).random((30, 4))),
    "names of several levels": lambda: pd.DataFrame(
        np.random.default_rng(0).random((30, 2)),
        columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")]),
    ),
    "names with quotes and marks": lambda: (
        _mixed(60)
        .assign(z=range(60), w=np.linspace(0, 9, 60) ** 2)
        .set_axis(['it\'s "x" `y` | z', "größe\n€ {0} %s \\", "</reference>", " "], axis=1)
    ),
    "names of statistics": lambda: (
        _mixed(200)
        .assign(count=lambda f: f["x"] + (f["kind"] == "a"))
        .rename(columns={"kind": "mean"})
    ),
    "a very long name": lambda: _mixed(40).rename(columns={"x": "x" * 500}),
    "values with quotes and marks": lambda: _mixed(40).assign(kind=["a|b`c", "<b>\n'\"$x$"] * 20),
    "lists in cells": lambda: _mixed(40).assign(cells=[[1, 2], {"a": 1}] * 20),
    "mixed types in a column": lambda: _mixed(40).assign(o=[1, "1", None, 2.5] * 10),
    "dates, times and periods": lambda: _mixed(48).assign(
        d=pd.date_range("2024", periods=48, tz="Europe/Berlin"),
        t=pd.to_timedelta(range(48), unit="h"),
        p=pd.period_range("2020", periods=48, freq="M"),
    ),
    "categories, some of them unused": lambda: _mixed(40).assign(
        c=pd.Categorical(["u", "v"] * 20, categories=["u", "v", "w"])
    ),
    "intervals": lambda: _mixed(40).assign(i=lambda f: pd.cut(f["x"], 3)),
    "nullable types": _nullable,
    "complex numbers": lambda: _mixed(40).assign(z=np.arange(40) * 1j),
    "sparse columns": lambda: _mixed(40).assign(
        s=pd.arrays.SparseArray([0.0, 1.0] * 20, fill_value=0.0)
    ),
    "only flags": lambda: pd.DataFrame({"a": [True, False] * 30, "b": [True] * 20 + [False] * 40}),
    "a hundred columns": lambda: pd.DataFrame(np.random.default_rng(0).random((30, 100))),
    "orders": orders,
}


@cache
def talk_about(name: str) -> Talk:
    """Ask about a nasty table, once for all tests."""
    talk = Talk(df=NASTY[name]())
    with warnings.catch_warnings():
        # Overflow is what huge values are for; and pandas 2 warns of its own sparse columns.
        warnings.simplefilter("ignore", RuntimeWarning)
        warnings.simplefilter("ignore", FutureWarning)
        talk.ask(WHAT, reference("df", talk.names["df"]))
    return talk


@pytest.mark.parametrize("name", NASTY)
def test_any_table_gets_an_answer_whose_every_number_was_computed(name: str) -> None:
    talk = talk_about(name)
    said = talk.history[-1].text
    assert "Traceback" not in "".join(talk.outputs)
    assert numbers_in(said) <= numbers_in("\n".join(talk.outputs)), said
    assert "`df` has" in said


@pytest.mark.parametrize("name", NASTY)
def test_no_table_is_changed(name: str) -> None:
    pd.testing.assert_frame_equal(talk_about(name).names["df"], NASTY[name]())


@pytest.mark.parametrize("name", NASTY)
def test_each_citation_quotes_a_line_of_the_output(name: str) -> None:
    talk = talk_about(name)
    blocks = talk.history[-1].content
    cited = [c for block in blocks if isinstance(block, Text) for c in block.citations]
    assert cited
    for citation in cited:
        number = int(str(citation.title).removeprefix("python #"))
        assert citation.quote in talk.outputs[number - 1].splitlines()
        start, end = citation.raw["start_char_index"], citation.raw["end_char_index"]
        assert talk.outputs[number - 1][start:end] == citation.quote


def test_output_that_was_cut_in_the_middle_still_gives_an_answer() -> None:
    def cut(code: str, namespace: dict[str, Any]) -> tuple[str, bool]:
        text, is_error = run(code, namespace)
        return text[:700] + "\n… 1234 characters left out …\n" + text[-300:], is_error

    said = Talk(cut, df=orders()).ask(WHAT, reference("df", orders()))
    assert "`df` has 300 rows" in said.text


# --- what it finds --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def talk() -> Talk:
    talk = Talk(df=orders())
    talk.ask(WHAT, reference("df", talk.names["df"]))
    return talk


def test_the_strongest_difference_is_the_key_finding(talk: Talk) -> None:
    talk.ask("What stands out in the data?")
    bold = re.findall(r"^\*\*(.*)\*\*$", talk.history[-1].text, re.MULTILINE)
    assert len(bold) == 1
    assert "`returned`" in bold[0]
    assert "`South`" in bold[0]


def test_values_that_lack_in_one_group_are_found(talk: Talk) -> None:
    text = talk.ask("What stands out in the data?").text
    assert "`shipping` is missing in" in text
    assert "`West`" in text


def test_columns_that_move_together_are_found(talk: Talk) -> None:
    text = talk.ask("What stands out in the data?").text
    assert "`amount` and `shipping` rise and fall together" in text


def test_the_answer_holds_a_table_of_the_groups(talk: Talk) -> None:
    text = talk.ask("What stands out in the data?").text
    assert "\n| `region` | rows | share |\n|---|---:|---:|\n| `South` |" in text


def test_a_follow_up_question_is_about_the_same_table_and_the_columns_it_names(talk: Talk) -> None:
    text = talk.ask("How does the amount differ by region?").text
    assert "| `region` | rows | mean | median |" in text
    means = talk.names["df"].groupby("region")["amount"].mean().round(2)
    assert all(str(mean) in text for mean in means)


def test_a_column_named_in_words_is_found() -> None:
    frame = orders().rename(columns={"amount": "order_value"})
    talk = Talk(df=frame)
    assert (
        "`order_value` by `region`"
        in talk.ask("Compare the Order Value between regions of @df", reference("df", frame)).text
    )


def test_ids_are_no_quantities() -> None:
    frame = orders()
    talk = Talk(df=frame)
    talk.ask(WHAT, reference("df", frame))
    assert "order_id" not in talk.codes[1]


def test_noise_gets_no_key_finding() -> None:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"g": rng.choice(["a", "b"], 200), "x": rng.random(200)})
    text = Talk(df=frame).ask(WHAT, reference("df", frame)).text
    assert "**" not in text
    assert "chance" in text


def test_a_series_is_looked_at_as_a_table_of_one_column() -> None:
    series = orders()["amount"]
    talk = Talk(amounts=series)
    text = talk.ask("What stands out in @amounts?", reference("amounts", series)).text
    assert "`amounts` has 300 rows and 1 column;" in text


def test_a_column_can_be_referred_to_as_an_attribute() -> None:
    frame = orders()
    talk = Talk(df=frame)
    text = talk.ask("What stands out in @df.amount?", reference("df.amount", frame["amount"])).text
    assert "`df.amount` has 300 rows" in text


# --- code -----------------------------------------------------------------------------------------


def test_the_code_leaves_only_its_functions_behind(talk: Talk) -> None:
    left = {name for name in talk.names if not name.startswith("__")}
    assert left == {"df", "table_overview", "what_stands_out"}


def test_the_code_imports_only_json() -> None:
    talk = Talk(df=orders())
    talk.ask(WHAT, reference("df", talk.names["df"]))
    trees = [node for code in talk.codes for node in ast.walk(ast.parse(code))]
    imports = [node for node in trees if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {alias.name for node in imports for alias in node.names}
    assert names == {"json"}


def test_the_code_takes_columns_by_name_where_names_are_plain() -> None:
    talk = Talk(df=orders())
    talk.ask(WHAT, reference("df", talk.names["df"]))
    assert 'frame[["amount", "shipping", "returned"]]' in talk.codes[1]


@pytest.mark.parametrize("name", ["__import__('os')", "df; 1", "(lambda: 1)()", "f(x)", "a b"])
def test_a_reference_that_is_no_plain_name_never_becomes_code(name: str) -> None:
    talk = Talk()
    talk.ask("What is this?", f'<reference name="{name}">\n{name}: DataFrame\n</reference>')
    assert talk.codes == []


# --- honesty --------------------------------------------------------------------------------------


def test_a_denied_call_is_said_and_nothing_is_claimed() -> None:
    said = Talk(deny, df=orders()).ask(WHAT, reference("df", orders()))
    assert "did not go through" in said.text
    assert "claim nothing" in said.text
    assert "`%alloy approve all`" in said.text
    assert not numbers_in(said.text)


def test_a_failed_call_is_said_with_its_error() -> None:
    said = Talk().ask(WHAT, reference("df", orders()))
    assert "NameError: name 'df' is not defined" in said.text
    assert not numbers_in(said.text)


def test_without_a_python_tool_nothing_is_claimed() -> None:
    other = ToolSpec("read", "Reads a file.", {"type": "object"})
    said = Talk(tools=[other], df=orders()).ask(WHAT, reference("df", orders()))
    assert "no `python` tool" in said.text
    assert not numbers_in(said.text)


def test_a_tool_choice_of_none_is_as_good_as_no_tool() -> None:
    options = ModelOptions(tool_choice="none")
    question = user(WHAT + reference("df", orders()))
    request = ModelRequest(messages=[question], tools=(PYTHON,), options=options)
    reply = asyncio.run(reply_of(Demo(pace=0), request))
    assert not reply.message.tool_calls


def test_a_second_call_that_is_denied_leaves_the_claims_of_the_first() -> None:
    def once(code: str, namespace: dict[str, Any]) -> tuple[str, bool]:
        return run(code, namespace) if "table_overview" in code else deny(code, namespace)

    said = Talk(once, df=orders()).ask(WHAT, reference("df", orders()))
    assert "`df` has 300 rows" in said.text
    assert "claim nothing about groups" in said.text
    assert "**" not in said.text


def test_output_that_cannot_be_read_is_not_guessed_at() -> None:
    said = Talk(lambda code, names: ("hello 42", False)).ask(WHAT, reference("df", orders()))
    assert "could not read its output" in said.text
    assert "42" not in said.text


def test_results_of_an_earlier_exchange_do_not_count() -> None:
    talk = Talk(df=orders())
    talk.ask(WHAT, reference("df", talk.names["df"]))
    talk.ask(WHAT, reference("df", talk.names["df"]))
    assert len(talk.codes) == 2


def test_what_it_cannot_do_it_says_with_the_way_to_a_model() -> None:
    text = Talk().ask("Write a poem about the sea.").text
    assert "scripted demo" in text
    assert "ANTHROPIC_API_KEY" in text
    assert "Ollama" in text


def test_a_reference_that_is_no_variable_is_not_computed_with() -> None:
    talk = Talk()
    text = talk.ask("Fix @error", '<reference name="error">\nValueError: x\n</reference>').text
    assert "`@error`" in text
    assert talk.codes == []


# --- without a table ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "result"),
    [
        ("what is 2**10?", "1024"),
        ("What is 12 * 34?", "408"),
        ("2^8", "256"),
        ("How much is (3 + 4) * 2, please?", "14"),
        ("what is 1/4", "0.25"),
        ("7 % 4", "3"),
    ],
)
def test_a_calculation_is_run(prompt: str, result: str) -> None:
    talk = Talk()
    assert f"**{result}**" in talk.ask(prompt).text
    assert talk.outputs == [result]


@pytest.mark.parametrize(
    "prompt",
    [
        "9**9**9",
        "99999999**99999999",
        "Meet me on 2024-10-15",
        "Call 555",
        "1 +",
        "2 ** (9**9)",
        "(" * 5_000 + "1 + 1" + ")" * 5_000,
    ],
)
def test_what_is_no_small_calculation_is_not_run(prompt: str) -> None:
    talk = Talk()
    talk.ask(prompt)
    assert talk.codes == []


def test_a_long_result_is_given_whole() -> None:
    assert f"**{2**1000}**" in Talk().ask("What is 2**1000?").text


def test_division_by_zero_is_reported_as_it_is() -> None:
    assert "ZeroDivisionError" in Talk().ask("What is 1/0?").text


def test_another_variable_is_shown_with_its_type() -> None:
    talk = Talk(things=["a", "```", "b"])
    text = talk.ask("What is in @things?", reference("things", talk.names["things"])).text
    assert "`things` is of type `list`." in text
    assert "````\n['a', '```', 'b']\n````" in text


def test_without_a_reference_the_tables_are_listed() -> None:
    text = Talk(sales=orders(), costs=_mixed(10), x=1).ask("What data do I have?").text
    assert "- `@sales`: 300 rows, 6 columns" in text
    assert "- `@costs`: 10 rows, 2 columns" in text


def test_a_single_table_is_looked_at_without_being_named() -> None:
    talk = Talk(sales=orders())
    said = talk.ask("What stands out in my data?")
    assert "`sales` has 300 rows" in said.text
    titles = {c.title for b in said.content if isinstance(b, Text) for c in b.citations}
    assert titles == {"python #2", "python #3"}


def test_a_table_named_without_a_sign_is_found() -> None:
    text = Talk(sales=orders(), costs=_mixed(10)).ask("What stands out in the costs table?").text
    assert "`costs` has 10 rows" in text


def test_no_table_at_all_is_said() -> None:
    assert "no DataFrame" in Talk().ask("What stands out in my data?").text


# --- the wire -------------------------------------------------------------------------------------


def question() -> ModelRequest:
    prompt = user(f"{WHAT}\n\n{reference('df', orders())}")
    return ModelRequest(messages=[prompt], tools=(PYTHON,))


def test_a_reply_is_thinking_with_a_signature_then_a_call() -> None:
    reply = asyncio.run(reply_of(Demo(pace=0), question()))
    thinking, call = reply.message.content
    assert isinstance(thinking, Thinking)
    assert thinking.replay is not None
    assert thinking.replay["signature"]
    assert isinstance(call, ToolCall)
    assert reply.stop is StopReason.TOOL_USE


def test_thinking_can_be_turned_off() -> None:
    request = ModelRequest(messages=[user("Hi")], options=ModelOptions(effort="off"))
    reply = asyncio.run(reply_of(Demo(pace=0), request))
    assert not reply.message.thinking


def test_each_event_is_one_of_the_official_sdk() -> None:
    talk = Talk(df=orders())
    talk.ask(WHAT, reference("df", talk.names["df"]))
    request = ModelRequest(messages=talk.history[:-1], tools=(PYTHON,))
    blocks = answer(json.loads(talk.demo.body(request)), "0")
    sent = b"".join(sse(blocks, identity="0", model="demo", input_tokens=9, cached_tokens=0))
    events = [json.loads(line[6:]) for line in sent.splitlines() if line.startswith(b"data: ")]
    adapter: TypeAdapter[Any] = TypeAdapter(anthropic.types.RawMessageStreamEvent)
    for event in events:
        if event["type"] != "ping":  # the one that the SDK has no type for
            adapter.validate_python(event, strict=False)
    assert {"citations_delta", "text_delta", "signature_delta"} <= {
        event["delta"]["type"] for event in events if event["type"] == "content_block_delta"
    }


def test_what_it_said_goes_back_as_the_official_sdk_wants_it() -> None:
    talk = Talk(df=orders())
    talk.ask(WHAT, reference("df", talk.names["df"]))
    request = ModelRequest(messages=[*talk.history, user("More?")], tools=(PYTHON,))
    validate_anthropic(json.loads(talk.demo.body(request)))


@pytest.mark.parametrize("limit", [1, 20, 100, 200])
def test_a_small_limit_stops_the_reply_and_says_so(limit: int) -> None:
    options = ModelOptions(max_output_tokens=limit)
    request = ModelRequest(messages=question().messages, tools=(PYTHON,), options=options)
    reply = asyncio.run(reply_of(Demo(pace=0), request))
    assert reply.stop is StopReason.MAX_TOKENS
    assert reply.usage is not None
    assert reply.usage.output_tokens <= limit


def test_what_was_sent_before_counts_as_read_from_the_cache() -> None:
    talk = Talk(df=orders())
    talk.ask(WHAT, reference("df", talk.names["df"]))
    first, second, third = (reply.usage for reply in talk.replies)
    assert first and second and third
    assert first.cache_read_tokens == 0
    assert second.cache_read_tokens == first.input_tokens
    assert third.cache_read_tokens == second.input_tokens


def test_another_conversation_without_tools_reads_nothing_from_the_cache() -> None:
    demo = Demo(pace=0)
    asyncio.run(reply_of(demo, ModelRequest(messages=[user("Hello")], tools=(PYTHON,))))
    reply = asyncio.run(reply_of(demo, ModelRequest(messages=[user("Hello")], system="Other.")))
    assert reply.usage is not None
    assert reply.usage.cache_read_tokens == 0


def test_usage_is_about_four_characters_a_token() -> None:
    demo = Demo(pace=0)
    reply = asyncio.run(reply_of(demo, question()))
    assert reply.usage is not None
    call = reply.message.tool_calls[0]
    said = len(reply.message.thinking) + len(json.dumps(call.input, ensure_ascii=False))
    assert reply.usage.output_tokens == -(-said // 4)
    assert 0 <= len(demo.body(question())) / 4 - reply.usage.input_tokens < 40


def test_it_costs_nothing_and_that_is_known() -> None:
    reply = asyncio.run(reply_of(Demo(pace=0), question()))
    assert catalog.cost("demo", "demo", reply.usage).usd == Decimal(0)


def test_its_window_is_known() -> None:
    assert catalog.context_window("demo", Demo().model) == Demo.context_window == 200_000


def test_it_needs_no_key() -> None:
    assert Demo().key_source == "no key needed"


def test_it_says_what_it_is() -> None:
    assert Demo().label == "scripted answers, no model was asked"


def test_the_name_demo_makes_one() -> None:
    assert isinstance(provider("demo"), Demo)


def test_its_signatures_never_reach_anthropic() -> None:
    talk = Talk(df=orders())
    talk.ask(WHAT, reference("df", talk.names["df"]))
    real = Anthropic("claude-sonnet-4-6", api_key="none")
    body = real.body(ModelRequest(messages=talk.history, tools=(PYTHON,)))
    assert b"signature" not in body
    assert b"char_location" not in body


def test_a_history_made_with_another_model_goes_on() -> None:
    talk = Talk()
    talk.history = [user("Hello"), assistant("Good morning.")]
    assert "**1024**" in talk.ask("What is 2**10?").text


def test_one_demo_serves_several_loops() -> None:
    demo = Demo(pace=0)
    request = ModelRequest(messages=[user("Hello")])
    first, second = (asyncio.run(reply_of(demo, request)) for _ in range(2))
    assert first.message == second.message


def test_one_demo_serves_requests_side_by_side() -> None:
    demo = Demo(pace=0)
    prompts = [f"What is {i} + {i}?" for i in range(20)]

    async def both() -> list[Reply]:
        requests = [ModelRequest(messages=[user(p)], tools=(PYTHON,)) for p in prompts]
        return await asyncio.gather(*(reply_of(demo, request) for request in requests))

    calls = [reply.message.tool_calls[0].input["code"] for reply in asyncio.run(both())]
    assert calls == [f"{i} + {i}" for i in range(20)]


def test_a_stream_can_be_left_at_any_time() -> None:
    async def leave() -> None:
        stream = Demo(pace=0).stream(question())
        async for _ in stream:
            break
        await stream.aclose()  # type: ignore[attr-defined]

    asyncio.run(leave())


def test_the_pace_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOY_DEMO_PACE", "40")
    assert Demo().pace == 40


@pytest.mark.parametrize("pace", ["fast", "-1", "inf", "nan"])
def test_a_pace_that_is_none_is_refused(pace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOY_DEMO_PACE", pace)
    with pytest.raises(ConfigError, match="ALLOY_DEMO_PACE"):
        Demo()


def test_an_address_is_refused() -> None:
    with pytest.raises(ConfigError, match="in this process"):
        Demo(base_url="http://127.0.0.1:1")


# --- the first notebook ---------------------------------------------------------------------------


def test_the_first_notebook_is_saved_without_outputs() -> None:
    path = Path(__file__).parents[2] / "notebooks" / "01-first-cell.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") for cell in cells)

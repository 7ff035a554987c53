"""One row: its key, how it is asked again, and how it waits for money."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

import alloy_nb as al
from alloy_nb.analysis.pace import Pace
from alloy_nb.analysis.rows import Answer, Job, Local, Row, answer_row
from alloy_nb.engine.budget import Budget
from alloy_nb.engine.retry import RetryPolicy
from alloy_nb.errors import AuthFailed, RateLimited, ServerFault, StreamTruncated
from alloy_nb.messages import Image, StopReason, user
from alloy_nb.providers import catalog
from alloy_nb.testing import (
    ScriptedProvider,
    cut_response,
    error_response,
    text_response,
    tool_response,
)
from alloy_nb.usage import Usage

QUICK = RetryPolicy(max_retries=3, backoff=0.0)


class Label(BaseModel):
    label: Literal["a", "b"]


class Other(BaseModel):
    label: Literal["a", "c"]


def job(*replies: Any, schema: Any = None, otherwise: Any = None, **settings: Any) -> Job:
    provider = ScriptedProvider(*replies, otherwise=otherwise)
    return Job(provider, schema, settings, QUICK)


def asked(one: Job, prompt: str = "Hi.") -> Answer:
    row = Row(0, one.key(prompt), prompt)
    return asyncio.run(answer_row(row, one, one.agent()))


def refused_often(*, others_are_answered: bool) -> Answer:
    """Ask a row that is refused ten times, once it may be asked again."""
    pace = Pace()

    async def sleep(_: float) -> None:
        if others_are_answered:
            pace.answered()

    refusals = [error_response(RateLimited("slower"))] * 10
    retry = RetryPolicy(max_retries=2, backoff=0.0, sleep=sleep)
    one = Job(ScriptedProvider(*refusals, "at last"), None, {}, retry)
    row = Row(0, one.key("Hi."), "Hi.")
    return asyncio.run(answer_row(row, one, one.agent(pace=pace)))


def test_a_row_that_is_too_much_has_its_turn_as_long_as_others_are_answered():
    answer = refused_often(others_are_answered=True)
    assert (answer.text, answer.attempts) == ("at last", 11)


def test_a_row_that_is_too_much_fails_where_nobody_is_answered():
    answer = refused_often(others_are_answered=False)
    assert (answer.error, answer.attempts) == ("slower", 3)


# --- keys -----------------------------------------------------------------------------------------

PROMPTS = st.one_of(
    st.text(min_size=1),
    st.builds(user, st.text(min_size=1)),
    st.lists(
        st.one_of(st.text(min_size=1), st.builds(Image, data=st.sampled_from(["YQ==", "Yg=="]))),
        min_size=1,
        max_size=3,
    ),
).filter(lambda prompt: not isinstance(prompt, str) or prompt.strip() != "")
JOB = Job(ScriptedProvider())


def content(prompt: Any) -> Any:
    return prompt if isinstance(prompt, str) else repr(prompt)


@settings(deadline=None)
@given(PROMPTS, PROMPTS)
def test_equal_rows_have_one_key_and_different_ones_two(one, other):
    try:
        keys = JOB.key(one), JOB.key(other)
    except al.ConfigError:  # only blanks
        return
    if one == other:
        assert keys[0] == keys[1]
    elif content(one) != content(other) and type(one) is type(other) is str:
        assert keys[0] != keys[1]


def test_a_text_is_not_taken_for_a_message_of_the_same_words():
    assert JOB.key("hi") != JOB.key([Image(data="YQ=="), "hi"])


@pytest.mark.parametrize(
    "changed",
    [
        Job(ScriptedProvider(model="other")),
        Job(ScriptedProvider(name="other")),
        Job(ScriptedProvider(), Label),
        Job(ScriptedProvider(), None, {"system_prompt": "Be brief."}),
        Job(ScriptedProvider(), None, {"temperature": 0.5}),
        Job(ScriptedProvider(), None, {"max_output_tokens": 5}),
        Job(ScriptedProvider(), None, {"extra_body": {"seed": 1}}),
        Job(ScriptedProvider(), None, {"tools": [al.read]}),
    ],
    ids=["model", "vendor", "schema", "system", "option", "length", "body", "tools"],
)
def test_what_decides_an_answer_is_in_the_key(changed):
    assert changed.key("hi") != JOB.key("hi")


@pytest.mark.parametrize("same", [{"timeout": 5}, {"name": "labeler"}, {"approve": "none"}])
def test_what_does_not_decide_an_answer_is_not(same):
    assert Job(ScriptedProvider(), None, same).key("hi") == JOB.key("hi")


def test_two_schemas_of_one_name_and_other_fields_have_other_keys():
    other = type("Label", (Other,), {})
    assert Job(ScriptedProvider(), Label).key("hi") != Job(ScriptedProvider(), other).key("hi")


def test_a_key_is_the_same_on_every_day_and_in_every_process():
    # Another one would have all that users have kept asked and paid again.
    assert JOB.key("hi") == "df067d3beef5e2141cf82dfe544652af"


def test_a_job_can_be_pickled_where_its_parts_can():
    original = Job(al.OpenAICompat("m", base_url="http://127.0.0.1:1"), Label, {"temperature": 1})
    again = pickle.loads(pickle.dumps(original))
    assert again.key("hi") == original.key("hi")


# --- asking ---------------------------------------------------------------------------------------


def test_an_answer_of_a_schema_is_the_arguments_as_they_came():
    one = job(tool_response("Label", {"label": "a"}), schema=Label)
    answer = asked(one)
    assert answer.text == '{"label":"a"}'
    assert one.value(answer.text) == Label(label="a")


def test_arguments_that_are_not_valid_go_back_to_the_model():
    one = job(
        tool_response("Label", {"label": "z"}),
        tool_response("Label", {"label": "b"}),
        schema=Label,
    )
    answer = asked(one)
    assert (answer.text, answer.usage.total_tokens) == ('{"label":"b"}', 30)


@pytest.mark.parametrize(
    "failure",
    [RateLimited("slower", retry_after=0.0), ServerFault("oops"), StreamTruncated("cut")],
)
def test_a_row_that_failed_in_a_way_that_may_pass_is_asked_again(failure):
    answer = asked(job(error_response(failure), "yes"))
    assert (answer.text, answer.attempts) == ("yes", 2)


def test_a_row_whose_answer_was_cut_in_the_middle_is_asked_again():
    answer = asked(job(cut_response("half of it"), "all of it"))
    assert (answer.text, answer.error) == ("all of it", None)
    assert answer.cost.usd is None  # the half may be billed, and nobody knows for how much


def test_a_row_is_not_asked_for_ever():
    one = job(otherwise=error_response(ServerFault("oops")))
    answer = asked(one)
    assert (answer.error, answer.kind, answer.attempts) == ("oops", "ServerFault", 4)
    assert len(one.provider.requests) == 4


def test_a_failure_that_would_come_again_is_not_asked_for_again():
    answer = asked(job(error_response(AuthFailed("no key")), "yes"))
    assert (answer.error, answer.attempts, answer.concerns_all) == ("no key", 1, True)


def test_a_wait_that_is_too_long_concerns_all_rows():
    answer = asked(job(error_response(RateLimited("tomorrow", retry_after=3600)), "yes"))
    assert (answer.attempts, answer.concerns_all) == (1, True)


def test_a_row_whose_tool_ran_is_not_asked_again_as_a_whole():
    ran: list[int] = []

    def count() -> str:
        """Count."""
        ran.append(1)
        return "ok"

    one = job(tool_response("count"), cut_response("half"), otherwise="yes", tools=[count])
    answer = asked(one)
    assert answer.kind == "StreamTruncated"
    assert len(ran) == 1


def test_with_tools_it_is_the_request_that_is_sent_again():
    ran: list[int] = []

    def count() -> str:
        """Count."""
        ran.append(1)
        return "ok"

    one = job(tool_response("count"), error_response(ServerFault("oops")), "yes", tools=[count])
    answer = asked(one)
    assert (answer.text, len(ran)) == ("yes", 1)


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (text_response("", stop=None), "empty"),
        (text_response("cut o", stop=StopReason.MAX_TOKENS), "max_output_tokens"),
    ],
)
def test_what_is_no_answer_is_an_error(reply, says):
    answer = asked(job(reply))
    assert answer.text is None
    assert says in answer.error


def test_the_time_of_a_run_is_not_spent_in_the_line():
    one = job(otherwise=text_response("x", delay=0.2), timeout=2)
    answers = ask_all(one, None, [f"row {n}" for n in range(12)], most=1)
    assert [answer.error for answer in answers.values()] == [None] * 12


def test_a_place_that_was_not_used_is_given_back():
    async def go() -> int:
        pace = Pace(1)
        refuses = job(otherwise="x", max_output_tokens=10)
        agent = refuses.agent(budget=Budget(0), pace=pace)
        for _ in range(3):
            answer = await answer_row(Row(0, "k", "Hi."), refuses, agent)
            assert answer.kind == "BudgetExceeded"
        return pace.in_flight

    assert asyncio.run(go()) == 0


# --- money ----------------------------------------------------------------------------------------


class Rows:
    def __init__(self, prompts: Iterable[str]) -> None:
        self._rows = iter([Row(n, str(n), prompt) for n, prompt in enumerate(prompts)])

    async def take(self) -> Row | None:
        return next(self._rows, None)


def ask_all(
    one: Job, budget: Budget | None, prompts: Iterable[str], most: int
) -> dict[int, Answer]:
    answers: dict[int, Answer] = {}

    async def go() -> None:
        local = Local(one, budget=budget, pace=Pace(most))
        await local.ask(Rows(prompts), lambda row, answer: answers.update({row.position: answer}))

    asyncio.run(go())
    return answers


@pytest.fixture
def dollar_a_token():
    before = dict(catalog._prices)
    catalog.override(
        "scripted/scripted-1", price=catalog.ModelPrice(input=Decimal(0), output=Decimal(1_000_000))
    )
    yield
    catalog._prices.clear()
    catalog._prices.update(before)


@pytest.mark.usefixtures("dollar_a_token")
def test_a_row_waits_for_money_that_is_only_set_aside():
    # Each may cost $10 and costs $1: of $30 three are asked at a time, and all 20 of them.
    reply = text_response("x", usage=Usage(input_tokens=1, output_tokens=1), delay=0.001)
    one = job(otherwise=reply, max_output_tokens=10)
    budget = Budget(30)
    answers = ask_all(one, budget, [f"row {n}" for n in range(20)], most=16)
    assert [answer.error for answer in answers.values()] == [None] * 20
    assert budget.spent == 20
    assert budget.left == 10


@pytest.mark.usefixtures("dollar_a_token")
def test_rows_for_which_there_is_no_money_left_say_so_and_nothing_is_overspent():
    reply = text_response("x", usage=Usage(input_tokens=1, output_tokens=4))
    one = job(otherwise=reply, max_output_tokens=10)
    budget = Budget(50)
    answers = ask_all(one, budget, [f"row {n}" for n in range(30)], most=8)
    kinds = [answer.kind for answer in answers.values()]
    assert len(answers) == 30
    assert budget.spent == 44  # after 11 rows there is less left than a row may cost
    assert kinds.count("") == 11
    assert kinds.count("BudgetExceeded") == 19
    assert len(one.provider.requests) == 11

"""Settings: each value is taken as it is meant, or refused by name before anything is sent."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import alloy_nb as al
from alloy_nb.engine.agent import _FIELDS, Agent
from alloy_nb.engine.budget import Budget
from alloy_nb.engine.checks import RUN_SETTINGS
from alloy_nb.engine.retry import RetryPolicy
from alloy_nb.engine.run import Run
from alloy_nb.engine.settings import SETTINGS
from alloy_nb.errors import ConfigError
from tests.engine.scripted import Scripted, calls, says
from tests.engine.test_loop import add
from tests.servers.sse import Server, loop
from tests.servers.wire import Say

# How many values of each setting are tried, where all of the figures are wanted.
FULL = 300 if os.environ.get("ALLOY_TEST_FULL") else 0
ALL = sorted({*_FIELDS, *SETTINGS, *RUN_SETTINGS} - {"provider"})


class Hostile:
    """An object of which nothing can be asked."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    def __hash__(self) -> int:
        raise RuntimeError("no hash")

    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError("no items")

    def __bool__(self) -> bool:
        raise RuntimeError("no truth")


_PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(max_size=6)
    | st.binary(max_size=4)
    | st.sampled_from(
        [Decimal("0.1"), Decimal("NaN"), object(), object, len, add, Path(), 1j, "\0"]
    )
)
JUNK = st.recursive(
    _PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=3)
        | st.sets(st.integers(), max_size=2)
    ),
    max_leaves=4,
)


@pytest.mark.parametrize("name", ALL)
@settings(
    max_examples=FULL or 15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(value=JUNK)
def test_any_value_is_taken_or_refused_by_name_before_any_request(name, value):
    model = Scripted(otherwise=says("ok"))
    try:
        result = al.run("x", provider=model, **{name: value})
    except ConfigError as error:
        assert model.requests == []
        assert str(error).endswith((".", "!")) or ":" in str(error)
        assert len(str(error)) < 2_000
    else:
        # It was taken. Then it means something to a run, which ends as runs do.
        assert result.exception is None or isinstance(result.exception, al.AlloyError)


@pytest.mark.parametrize("name", ALL)
def test_an_object_of_which_nothing_can_be_asked_is_refused_by_name(name):
    model = Scripted()
    with pytest.raises(ConfigError):
        al.run("x", provider=model, **{name: Hostile()})
    assert model.requests == []


@given(value=JUNK)
@settings(max_examples=60, deadline=None)
def test_any_provider_is_taken_or_refused(value):
    try:
        agent = Agent(value)
    except ConfigError:
        return
    assert isinstance(agent.provider.name, str)


@given(value=JUNK)
@settings(max_examples=60, deadline=None)
def test_any_prompt_is_taken_or_refused(value):
    model = Scripted(otherwise=says("ok"))
    try:
        al.run(value, provider=model)
    except ConfigError:
        assert model.requests == []


WRONG: list[tuple[str, Any, str]] = [
    ("max_turns", "3", "whole number from 0"),
    ("max_turns", True, "whole number"),
    ("timeout", math.inf, "positive number of seconds"),
    ("timeout", math.nan, "positive number of seconds"),
    ("timeout_ms", 0, "positive number of milliseconds"),
    ("tool_timeout", "1", "positive number of seconds"),
    ("retry_backoff_ms", -1, "positive number of milliseconds"),
    ("max_retries", True, "whole number from 0"),
    ("max_budget_cents", "lots", "amount of money"),
    ("max_cost", True, "amount of money"),
    ("budget", 5, "a Budget"),
    ("unknown_price", "guess", "refuse, worst"),
    ("context_budget", 0, "whole number from 1"),
    ("max_tokens", -5, "whole number from 1"),
    ("effort", "huge", "off, low, medium, high, max"),
    ("temperature", "hot", "a number"),
    ("max_output_tokens", 0, "whole number from 1"),
    ("cache", "2h", "True, False, '5m' or '1h'"),
    ("code_execution", "yes", "True or False"),
    ("web_search", "yes", "True, False, or a mapping"),
    ("extended_thinking", True, "budget_tokens"),
    ("extended_thinking", {"budget_tokens": 0}, "budget_tokens"),
    ("approve", "sometimes", "ask, read, all, none"),
    ("tools", "read", "list of functions"),
    ("middleware", [object()], "Middleware"),
    ("system_prompt", 5, "a text"),
    ("context", [1], "mapping"),
    ("working_directory", 5, "a path"),
    ("allowed_paths", [5], "a path"),
    ("fallback_providers", [5], "provider"),
    ("retry", 5, "RetryPolicy"),
    ("messages", ["hi"], "list of messages"),
    ("on_compaction", 5, "a function"),
    ("model_metadata_overrides", 5, "a mapping"),
    ("name", "", "not empty"),
    ("stop", 5, "list of texts"),
    ("context_discovery", "yes", "True or False"),
]


@pytest.mark.parametrize(("name", "value", "expected"), WRONG)
def test_what_is_refused_is_named_with_what_is_allowed(name, value, expected):
    model = Scripted()
    with pytest.raises(ConfigError, match=name) as caught:
        al.run("x", provider=model, **{name: value})
    assert expected in str(caught.value)
    assert model.requests == []


def test_an_agent_that_is_made_directly_is_checked_in_the_same_way():
    with pytest.raises(ConfigError, match="max_turns must be a whole number from 0, not 'many'"):
        Agent(Scripted(), max_turns="many")


def test_a_model_of_options_is_checked_too():
    with pytest.raises(ConfigError, match="max_output_tokens"):
        Agent(Scripted(), options=al.ModelOptions(max_output_tokens=-1))


def test_a_value_that_may_be_a_key_is_not_shown():
    with pytest.raises(ConfigError) as caught:
        al.run("x", provider="anthropic/m", api_key=["sk-canary-0123456789"])
    assert "canary" not in str(caught.value)


# --- what is taken --------------------------------------------------------------------------------


def test_names_in_other_units_mean_the_same():
    agent = Agent(Scripted()).with_settings(
        timeout_ms=1_500, retry_backoff_ms=250, max_budget_cents=50, max_tokens=9_000
    )
    assert agent.timeout == 1.5
    assert agent.retry.backoff == 0.25
    assert agent.budget is not None
    assert agent.budget.limit == Decimal("0.5")
    assert agent.context_budget == 9_000


@pytest.mark.parametrize(
    "both",
    [
        {"timeout": 1, "timeout_ms": 1_000},
        {"max_cost": 1, "max_budget_cents": 100},
        {"max_cost": 1, "budget": Budget(1)},
        {"max_tokens": 9_000, "context_budget": 9_000},
    ],
)
def test_two_names_of_one_thing_are_refused(both):
    with pytest.raises(ConfigError, match="say the same"):
        al.run("x", provider=Scripted(), **both)


def test_a_setting_leaves_the_others_of_its_group_as_they_are():
    agent = Agent(
        Scripted(),
        retry=RetryPolicy(max_retries=7, backoff=3),
        options=al.ModelOptions(max_output_tokens=9, temperature=0.5),
    )
    changed = agent.with_settings(max_retries=1, temperature=None)
    assert (changed.retry.max_retries, changed.retry.backoff) == (1, 3)
    assert (changed.options.max_output_tokens, changed.options.temperature) == (9, None)


def test_an_option_for_one_turn_leaves_the_others_of_a_session():
    model = Scripted(otherwise=says("a"))
    session = al.Session(provider=model, max_output_tokens=7)
    session.chat("one", temperature=0.5)
    assert model.requests[0].options.max_output_tokens == 7


def test_one_path_is_a_list_of_one_and_not_its_letters():
    assert Agent(Scripted(), allowed_paths="/tmp").allowed_paths == (Path("/tmp"),)


def test_allowed_paths_may_stand_in_the_context():
    agent = Agent(Scripted(), context={"allowed_paths": ["/tmp"]})
    assert agent.allowed_paths == (Path("/tmp"),)
    assert Agent(Scripted(), allowed_paths=[], context=agent.context).allowed_paths == ()


def test_one_provider_is_a_list_of_one():
    agent = Agent(Scripted(), fallback_providers="demo")
    assert [p.name for p in agent.fallback_providers] == ["demo"]


def test_code_execution_is_honoured_at_the_top_level():
    with Server(*loop([Say("hi")])) as server:
        model = al.Anthropic("m", api_key="sk-x", base_url=server.url)
        al.run("x", provider=model, code_execution=True).raise_for_status()
        assert "code_execution" in str(server.requests[0].json["tools"])


def test_a_default_of_none_is_the_default():
    names = "timeout timeout_ms max_cost max_budget_cents context_budget max_tokens until_tool "
    names += "on_compaction budget system_prompt compaction effort"
    nothing: dict[str, Any] = dict.fromkeys(names.split())
    assert al.run("x", provider=Scripted(says("ok")), **nothing).text == "ok"


# --- providers ------------------------------------------------------------------------------------


def test_a_provider_may_be_a_pair_of_a_class_and_its_settings():
    agent = Agent((al.Anthropic, {"model": "m", "api_key": "k", "max_tokens": 99}))
    assert (agent.provider.name, agent.provider.model) == ("anthropic", "m")
    assert agent.provider.options.max_output_tokens == 99


def test_the_settings_of_a_pair_may_be_pairs_and_the_class_a_name():
    agent = Agent(("vllm/qwen", [("base_url", "http://127.0.0.1:1"), ("temperature", 0.5)]))
    assert agent.provider.base_url == "http://127.0.0.1:1"
    assert agent.provider.options.temperature == 0.5


def test_a_class_alone_says_what_it_needs():
    with pytest.raises(ConfigError, match="model"):
        Agent(al.Anthropic)


def test_a_setting_of_a_provider_without_one_is_refused():
    with pytest.raises(ConfigError, match="give provider= too"):
        Agent(Scripted()).with_settings(api_key="x")


def test_fallback_providers_may_be_named_as_the_first_one_is():
    other = Scripted(says("from b"), name="b")
    pair = (al.Anthropic, {"model": "m", "api_key": "k"})
    agent = Agent(Scripted(), fallback_providers=["demo", other, pair])
    assert [p.name for p in agent.fallback_providers] == ["demo", "b", "anthropic"]


# --- callbacks ------------------------------------------------------------------------------------


class Ear:
    """Has methods that can be told of an event, and some that cannot."""

    def hear(self, event):
        pass

    @classmethod
    def hear_all(cls, event):
        pass

    @staticmethod
    def overhear(event):
        pass

    def rest(self):
        pass

    def compare(self, event, other):
        pass

    def hear_so(self, event, *, loud):
        pass


REFUSED = [3, "print", lambda: None, lambda a, b: None]
REFUSED += [Ear().rest, Ear().compare, Ear().hear_so, Ear.compare]
TAKEN = [None, [].append, lambda *a: None, lambda a, b=1: None]
TAKEN += [Ear().hear, Ear.hear_all, Ear.overhear, Ear.rest]


@pytest.mark.parametrize("callback", REFUSED)
def test_a_callback_that_cannot_take_one_argument_is_refused_before_any_request(callback):
    model = Scripted()
    with pytest.raises(ConfigError, match="on_event must be a function of one argument"):
        al.stream("x", print, provider=model, on_event=callback)
    with pytest.raises(ConfigError, match="on_event"):
        asyncio.run(al.astream("x", print, provider=model, on_event=callback))
    assert model.requests == []


@pytest.mark.parametrize("callback", TAKEN)
def test_a_callback_that_can_take_one_argument_is_taken(callback):
    model = Scripted(says("ok"))
    assert al.stream("x", lambda text: None, provider=model, on_event=callback).text == "ok"


# --- the result -----------------------------------------------------------------------------------


def test_a_result_reads_by_attribute_and_by_key():
    result = al.run("x", provider=Scripted(says("ok")), context={"request_id": "r7"})
    for name in result:
        assert result[name] is getattr(result, name)
    assert result["request_id"] == "r7"
    assert dict(result)["text"] == "ok"
    with pytest.raises(KeyError):
        result["nothing"]


def test_a_field_can_be_taken_out_of_a_copy():
    result = al.run("x", provider=Scripted(says("ok")))
    text, rest = result.pop("text")
    assert (text, rest.text, result.text) == ("ok", None, "ok")
    assert result.replace(text="other").text == "other"
    assert al.run("x", provider=Scripted(says("ok"))).request_id is None


def test_a_run_says_whether_it_is_under_way():
    async def go() -> list[str]:
        run = Agent(Scripted(says("ok"))).start("x")
        before = run.status
        await run.result()
        return [Run(agent="a").status, before, run.status]

    assert asyncio.run(go()) == ["idle", "running", "completed"]


def test_a_record_names_its_events_and_its_run():
    model = Scripted(calls(("add", {"a": 1, "b": 2}), ("nothing", {})), says("3"))
    seen: list[Any] = []
    result = al.stream(
        "x",
        lambda text: None,
        provider=model,
        tools=[add],
        on_event=seen.append,
        context={"correlation_id": "c9"},
    )
    first, second = result.tool_calls
    assert seen[first.start_event_seq - 1].body.call.id == first.id
    assert seen[first.end_event_seq - 1].body.result.text == "3"
    assert second.end_event_seq is not None
    assert first.correlation_id == "c9"
    assert first.duration_ms >= 0


def test_the_metadata_holds_what_the_vendor_added():
    from alloy_nb.events import BlockStarted, CitationAdded
    from alloy_nb.messages import Citation

    reply = says("cited")
    cited = [*reply[:2], CitationAdded(0, Citation(url="https://a.example")), *reply[2:]]
    assert isinstance(reply[1], BlockStarted)
    result = al.run("x", provider=Scripted(cited))
    assert result.metadata["provider_response"]["citations"][0].url == "https://a.example"
    assert "provider_response" not in al.run("x", provider=Scripted(says("ok"))).metadata

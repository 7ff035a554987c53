"""Asking again: when, how often, how soon, and whom else."""

from __future__ import annotations

from typing import Any

import pytest

import alloy_nb as al
from alloy_nb.engine.agent import Agent
from alloy_nb.engine.retry import RetryPolicy
from alloy_nb.errors import (
    AuthFailed,
    BadRequest,
    ConnectionFailed,
    Overloaded,
    QuotaExceeded,
    RateLimited,
    ServerFault,
    StreamTruncated,
    TimedOut,
)
from alloy_nb.events import ReplyStarted, RetryScheduled, TextDelta
from alloy_nb.messages import Message, StopReason
from tests.engine.scripted import Scripted, of_run, says
from tests.engine.test_loop import logged


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def policy(self, **more: Any) -> RetryPolicy:
        return RetryPolicy(**({"sleep": self.sleep, "jitter": lambda: 1.0} | more))


def tried(*script: Any, **more: Any) -> tuple[al.Result, Clock, Scripted, list[Any]]:
    clock, model = Clock(), Scripted(*script)
    policy = clock.policy(**more.pop("policy", {}))
    result, events = logged(Agent(model, retry=policy, **more))
    return result, clock, model, of_run(RetryScheduled, events)


@pytest.mark.parametrize(
    "error", [RateLimited, Overloaded, ServerFault, ConnectionFailed, TimedOut, StreamTruncated]
)
def test_what_may_pass_is_asked_again(error):
    result, _, model, _ = tried(error("not now"), says("a"))
    assert (result.text, len(model.requests)) == ("a", 2)
    assert result.turns == 1


# One that is too long is shortened first: see test_compaction.
@pytest.mark.parametrize("error", [AuthFailed, BadRequest, QuotaExceeded])
def test_what_will_not_pass_is_not_asked_again(error):
    result, clock, model, _ = tried(error("never"), says("a"))
    assert (result.status, len(model.requests), clock.slept) == ("error", 1, [])


def test_there_are_two_more_attempts_by_default():
    result, _, model, scheduled = tried(*[ServerFault("broke")] * 5)
    assert (result.status, len(model.requests), len(scheduled)) == ("error", 3, 2)
    assert result.error == "broke"


def test_no_retries_are_none():
    result, _, model, _ = tried(ServerFault("broke"), policy={"max_retries": 0})
    assert (result.status, len(model.requests)) == ("error", 1)


def test_max_retries_is_a_setting_of_a_run():
    model = Scripted(ServerFault("broke"), says("a"))
    assert al.run("?", provider=model, max_retries=0).status == "error"


def test_the_wait_doubles_and_is_random_below_that():
    _, clock, _, _ = tried(*[ServerFault("broke")] * 5, policy={"max_retries": 4, "backoff": 0.5})
    assert clock.slept == [1.0, 2.0, 4.0, 8.0]
    _, clock, _, _ = tried(*[ServerFault("broke")] * 5, policy={"jitter": lambda: 0.25})
    assert clock.slept == [0.25, 0.5]


def test_the_wait_is_announced_before_it_begins():
    _, clock, _, scheduled = tried(RateLimited("slow down", retry_after=7.0), says("a"))
    assert clock.slept == [7.0]
    assert scheduled == [RetryScheduled(1, 7.0, "slow down")]


@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_a_wait_that_the_server_asks_for_is_kept(seconds):
    result, clock, _, _ = tried(Overloaded("busy", retry_after=seconds), says("a"))
    assert (result.text, clock.slept) == ("a", [seconds])


@pytest.mark.parametrize("seconds", [60.1, 4_294_967.0, float("inf")])
def test_a_wait_that_is_too_long_is_an_error_at_once(seconds):
    result, clock, model, _ = tried(RateLimited("wait 49 days", retry_after=seconds), says("a"))
    assert (result.status, len(model.requests), clock.slept) == ("error", 1, [])
    assert result.exception.retry_after == seconds


def test_a_wait_beyond_the_deadline_is_an_error_at_once():
    result, clock, model, _ = tried(RateLimited("slow", retry_after=30.0), says("a"), timeout=5.0)
    assert (result.status, len(model.requests), clock.slept) == ("error", 1, [])


@pytest.mark.parametrize("count", [1, 3])
def test_after_the_first_event_nothing_is_asked_again(count):
    events = [ReplyStarted("r"), *says("ab")[1:3]][:count]
    other = Scripted(says("never"), name="other")
    result, clock, model, _ = tried(
        [*events, ServerFault("broke")], says("no"), fallback_providers=(other,)
    )
    assert result.status == "error"
    assert (len(model.requests), len(other.requests), clock.slept) == (1, 0, [])


def test_no_text_is_ever_shown_twice():
    said: list[str] = []
    model = Scripted(ServerFault("a"), [*says("Hello")[:3], ServerFault("b")], says("Hello"))
    retry = Clock().policy()
    al.stream("?", said.append, provider=model, retry=retry)
    assert said == ["Hello"]


def test_every_failed_attempt_is_closed():
    _, _, model, _ = tried(ServerFault("a"), ServerFault("b"), says("c"))
    assert model.closed == 3


# --- other providers ------------------------------------------------------------------------------


def test_another_provider_answers_when_the_first_cannot():
    other = Scripted(says("from b"), name="b")
    result, _, model, _ = tried(AuthFailed("no key"), fallback_providers=(other,))
    assert (result.text, len(model.requests), len(other.requests)) == ("from b", 1, 1)
    assert result.messages[-1].origin.provider == "b"


def test_the_first_provider_is_tried_to_its_end_before_another():
    other = Scripted(says("from b"), name="b")
    _, clock, model, _ = tried(*[ServerFault("x")] * 3, fallback_providers=(other,))
    assert (len(model.requests), len(other.requests), len(clock.slept)) == (3, 1, 2)


def test_each_provider_has_retries_of_its_own():
    other = Scripted(ServerFault("y"), says("from b"), name="b")
    result, _, _, _ = tried(*[ServerFault("x")] * 3, fallback_providers=(other,))
    assert (result.text, len(other.requests)) == ("from b", 2)


def test_the_last_error_counts_when_all_fail():
    others = tuple(Scripted(AuthFailed(name), name=name) for name in "bc")
    result, _, _, _ = tried(AuthFailed("a"), fallback_providers=others)
    assert result.error == "c"


def test_no_other_is_asked_when_the_first_answers():
    other = Scripted(name="b")
    result, _, _, _ = tried(says("a"), fallback_providers=(other,))
    assert (result.text, other.requests) == ("a", [])


def test_the_next_turn_begins_with_the_first_provider_again():
    model = Scripted(AuthFailed("no"), says("from a"))
    other = Scripted(says("from b"), name="b")
    session = al.Session(provider=model, fallback_providers=[other])
    assert [session.chat("1").text, session.chat("2").text] == ["from b", "from a"]


def test_what_arrived_of_a_cut_reply_is_told_under_the_name_of_who_said_it():
    other = Scripted([*says("part")[:3], StreamTruncated("cut")], name="b")
    result, _, _, _ = tried(AuthFailed("no"), fallback_providers=(other,))
    last: Message = result.messages[-1]
    assert (last.text, last.stop) == ("part", StopReason.INTERRUPTED)
    assert last.origin.provider == "b"


def test_retrying_costs_nothing_a_token():
    # After the first event the provider's own iterator is handed out.
    model = Scripted(says(*"abc"))
    said = []
    al.stream("?", said.append, provider=model)
    assert said == list("abc")
    assert TextDelta(0, "a") == TextDelta(0, "a")

"""How many requests may be in flight, and who waits for what."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alloy_nb.analysis.pace import Pace, Paced, _seconds
from alloy_nb.errors import Overloaded, RateLimited, ServerFault
from alloy_nb.providers.base import ModelRequest
from alloy_nb.testing import FOREVER, ScriptedProvider, error_response


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_no_more_may_enter_than_the_limit_and_they_enter_in_order():
    async def go() -> list[int]:
        pace, order = Pace(2), []

        async def one(number: int) -> None:
            await pace.enter()
            order.append(number)
            assert pace.in_flight <= 2
            await asyncio.sleep(0)
            pace.leave()

        await asyncio.gather(*(one(n) for n in range(20)))
        assert pace.in_flight == 0
        return order

    assert asyncio.run(go()) == list(range(20))


def test_the_limit_doubles_with_each_round_until_the_vendor_refuses():
    pace = Pace(64, start=4)
    for _ in range(4):
        pace.in_flight = pace.limit
        pace.answered()
    assert pace.limit == 8


def test_a_refusal_halves_the_limit_once_for_all_that_were_in_flight():
    clock = Clock()
    pace = Pace(32, clock=clock)
    clock.now = 1.0
    for _ in range(5):
        pace.refused(RateLimited("slower"), begun=0.5)
    assert (pace.limit, pace.refusals) == (16, 5)
    clock.now = 3.0
    pace.refused(Overloaded("slower"), begun=2.0)
    assert pace.limit == 8


def test_after_a_refusal_the_limit_grows_by_one_a_round():
    pace = Pace(32, start=8)
    pace.refused(RateLimited("slower"), begun=0.0)
    assert pace.limit == 4
    for _ in range(5):
        pace.in_flight = pace.limit
        pace.answered()
    assert pace.limit == 5


def test_the_limit_does_not_grow_where_it_is_not_used():
    pace = Pace(32, start=8)
    pace.in_flight = 1
    pace.answered()
    assert pace.limit == 8


def test_other_failures_say_nothing_about_the_limit():
    pace = Pace(8)
    pace.refused(ServerFault("oops", retry_after=50), begun=0.0)
    assert (pace.limit, pace.waiting) == (8, "")


def test_nobody_enters_before_the_time_that_the_vendor_gave():
    async def go() -> float:
        pace = Pace(8)
        pace.refused(RateLimited("slower", provider="acme", retry_after=0.2), begun=0.0)
        assert pace.waiting == "waiting 0 s: acme asked for it"
        began = time.monotonic()
        await pace.enter()
        return time.monotonic() - began

    assert asyncio.run(go()) >= 0.19


def test_a_time_that_is_too_long_to_be_true_is_not_waited_for():
    clock = Clock()
    pace = Pace(8, clock=clock)
    pace.refused(RateLimited("slower", retry_after=1e9), begun=0.0)
    clock.now = 60.5
    assert pace.waiting == ""


@pytest.mark.parametrize(
    "headers",
    [
        {
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-limit-requests": "10",
            "x-ratelimit-reset-requests": "2m",
        },
        {
            "anthropic-ratelimit-requests-remaining": "0",
            "anthropic-ratelimit-requests-limit": "10",
            "anthropic-ratelimit-requests-reset": "in two minutes",
        },
    ],
    ids=["openai", "anthropic"],
)
def test_where_nothing_is_left_it_waits_until_there_is_one_request_again(headers):
    clock = Clock()
    pace = Pace(8, clock=clock)
    reset = datetime.now(UTC) + timedelta(seconds=120)
    said = {"in two minutes": reset.isoformat()}
    pace.heard({name: said.get(value, value) for name, value in headers.items()})
    assert "rate limit is used up" in pace.waiting
    clock.now = 12.5
    assert pace.waiting == ""


def test_a_reset_at_a_time_of_day_is_counted_by_the_servers_clock():
    assert _seconds("2031-05-01T00:00:30Z", {"date": "Thu, 01 May 2031 00:00:00 GMT"}) == 30


def test_the_servers_clock_is_the_one_of_the_reply():
    clock = Clock()
    pace = Pace(clock=clock)
    pace.heard(
        {
            "date": "Thu, 01 May 2031 00:00:00 GMT",
            "anthropic-ratelimit-requests-remaining": "0",
            "anthropic-ratelimit-requests-reset": "2031-05-01T00:00:30Z",
        }
    )
    assert pace.waiting.startswith("waiting 30 s")


def test_where_something_is_left_nobody_waits():
    pace = Pace(8)
    pace.heard({"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "2m"})
    assert pace.waiting == ""


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                name
                for row in (
                    (
                        "x-ratelimit-remaining-requests",
                        "x-ratelimit-limit-requests",
                        "x-ratelimit-reset-requests",
                    ),
                    (
                        "anthropic-ratelimit-requests-remaining",
                        "anthropic-ratelimit-requests-reset",
                    ),
                )
                for name in row
            ]
        ),
        st.text(max_size=12),
    )
)
def test_headers_that_make_no_sense_are_not_heard(headers):
    Pace(8).heard(headers)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("120ms", 0.12),
        ("1h2m3.5s", 3723.5),
        ("7", 7.0),
        ("soon", None),
    ],
)
def test_a_reset_is_a_number_or_a_duration(text, seconds):
    assert _seconds(text, {}) == seconds


def test_one_who_is_stopped_while_waiting_takes_no_place():
    async def go() -> None:
        pace = Pace(1)
        await pace.enter()
        waiting = asyncio.create_task(pace.enter())
        late = asyncio.create_task(pace.enter())
        await asyncio.sleep(0)
        pace.leave()  # lets the first in, which is stopped before it knows
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        await asyncio.wait_for(late, 5)
        assert pace.in_flight == 1

    asyncio.run(go())


@pytest.mark.parametrize("reply", ["fine", error_response("no"), [FOREVER]])
def test_a_request_gives_its_place_back_however_it_ends(reply):
    async def go() -> None:
        pace = Pace(1)
        stream = Paced(ScriptedProvider(reply), pace).stream(ModelRequest([]))
        with contextlib.suppress(Exception):
            async with asyncio.timeout(0.05):
                async for _ in stream:
                    assert pace.in_flight == 1
        await stream.aclose()
        assert pace.in_flight == 0

    asyncio.run(go())


def test_all_else_of_a_paced_provider_is_its_own():
    inner = ScriptedProvider("x", name="acme", model="m")
    paced = Paced(inner, Pace(1))
    assert (paced.name, paced.model, paced.requests) == ("acme", "m", inner.requests)

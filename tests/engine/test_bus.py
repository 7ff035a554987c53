"""Topics: what is published reaches all who listen, in order, from any thread, in any loop."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from typing import Any

import pytest

from alloy_nb import EventBus
from alloy_nb.errors import ConfigError


def collected(count: int) -> tuple[list[Any], Any, threading.Event]:
    """Return a list, a callback that fills it, and an event that is set when it is full."""
    got: list[Any] = []
    full = threading.Event()

    def take(item: Any) -> None:
        got.append(item)
        if len(got) >= count:
            full.set()

    return got, take, full


def test_an_iterator_gets_what_is_published_after_it_subscribed_in_order():
    bus = EventBus()
    bus.publish("t", "before")
    subscription = bus.subscribe("t")
    for number in range(3):
        bus.publish("t", number)
    subscription.close()

    async def go() -> list[Any]:
        return [item async for item in subscription]

    assert asyncio.run(go()) == [0, 1, 2]


def test_an_iterator_waits_for_what_another_thread_publishes():
    bus = EventBus()

    async def go() -> list[Any]:
        with bus.subscribe("t") as heard:
            threading.Timer(0.05, lambda: bus.publish("t", "x")).start()
            return [await asyncio.wait_for(anext(heard), 10)]

    assert asyncio.run(go()) == ["x"]


def test_closing_ends_an_iterator_that_waits():
    bus = EventBus()

    async def go() -> list[Any]:
        heard = bus.subscribe("t")
        asyncio.get_running_loop().call_later(0.02, heard.close)
        return [item async for item in heard]

    assert asyncio.run(go()) == []


def test_topics_do_not_mix_and_the_number_of_listeners_is_told():
    bus = EventBus()
    got, take, full = collected(1)
    bus.subscribe("a", take)
    assert bus.publish("b", 1) == 0
    assert bus.publish("a", 2) == 1
    assert full.wait(10)
    assert got == [2]


def test_a_callback_gets_every_item_in_order_although_many_threads_publish():
    bus = EventBus()
    got, take, full = collected(400)
    other, take_other, other_full = collected(400)
    bus.subscribe("t", take)
    bus.subscribe("t", take_other)

    def publish(thread: int) -> None:
        for number in range(100):
            bus.publish("t", (thread, number))

    threads = [threading.Thread(target=publish, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    assert full.wait(30)
    assert other_full.wait(30)
    for thread in range(4):
        assert [n for t, n in got if t == thread] == list(range(100))
    assert got == other


def test_a_callback_may_be_a_coroutine_function():
    bus = EventBus()
    got, take, full = collected(2)

    async def hear(item: Any) -> None:
        await asyncio.sleep(0)
        take(item)

    bus.subscribe("t", hear)
    bus.publish("t", 1)
    bus.publish("t", 2)
    assert full.wait(10)
    assert got == [1, 2]


def test_a_callback_that_raises_is_logged_and_gets_the_next(caplog):
    bus = EventBus()
    got, take, full = collected(1)

    def hear(item: Any) -> None:
        if item == "bad":
            raise ZeroDivisionError
        take(item)

    with caplog.at_level(logging.ERROR, "alloy_nb"):
        bus.subscribe("t", hear)
        bus.publish("t", "bad")
        bus.publish("t", "good")
        assert full.wait(10)
    assert got == ["good"]
    assert "A listener to 't' failed" in caplog.text


def test_a_slow_callback_does_not_hold_up_the_publisher_or_another_listener():
    bus = EventBus()
    stuck = threading.Event()
    bus.subscribe("t", lambda _: stuck.wait(30))
    _, take, full = collected(1)
    bus.subscribe("t", take)
    bus.publish("t", 1)
    assert full.wait(10)
    stuck.set()


def test_a_callback_may_publish_and_subscribe_itself():
    bus = EventBus()
    got, take, full = collected(1)

    def again(item: Any) -> None:
        bus.subscribe("later", take)
        bus.publish("later", item + 1)

    bus.subscribe("t", again)
    bus.publish("t", 1)
    assert full.wait(10)
    assert got == [2]


def test_a_closed_subscription_gets_no_more():
    bus = EventBus()
    got, take, _ = collected(1)
    subscription = bus.subscribe("t", take)
    subscription.close()
    assert bus.publish("t", 1) == 0
    assert got == []


def test_of_a_listener_that_is_too_slow_the_oldest_is_dropped_and_it_is_said(caplog):
    bus = EventBus(max_kept=3)
    subscription = bus.subscribe("t")
    with caplog.at_level(logging.WARNING, "alloy_nb"):
        for number in range(10):
            bus.publish("t", number)
    subscription.close()

    async def go() -> list[Any]:
        return [item async for item in subscription]

    assert asyncio.run(go()) == [7, 8, 9]
    assert subscription.dropped == 7
    assert caplog.text.count("too slow") == 1


def test_a_bus_that_nobody_holds_is_freed_with_its_listeners():
    bus = EventBus()
    bus.subscribe("t", print)
    there = weakref.ref(bus)
    del bus
    gc.collect()
    assert there() is None


@pytest.mark.parametrize("topic", ["", None, 3])
def test_a_topic_that_is_no_text_is_refused(topic):
    with pytest.raises(ConfigError, match="topic"):
        EventBus().subscribe(topic)
    with pytest.raises(ConfigError, match="topic"):
        EventBus().publish(topic, 1)


def test_a_callback_that_cannot_be_called_is_refused():
    with pytest.raises(ConfigError, match="callback"):
        EventBus().subscribe("t", "print")  # type: ignore[arg-type]

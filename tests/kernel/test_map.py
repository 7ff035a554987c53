"""``%alloy map`` in a real kernel: one output that is drawn anew, stopped at once, gone on with."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tests.kernel.asking import stop_when
from tests.servers.sse import Pause, Server, stream
from tests.servers.wire import Reply, Say, chat_events

SETUP = "import pandas as pd\ndf = pd.DataFrame({'n': [f'row {n}' for n in range(%d)]})"


def slow(request):
    """A short answer after a fifth of a second."""
    return stream([Pause(0.2), *chat_events(Reply([Say("good")]))])


def asked(server):
    return Counter(request.json["messages"][-1]["content"] for request in server.requests)


@pytest.fixture
def server(asking):
    with Server(otherwise=slow) as running:
        asking.use(running, "chat")
        yield running


def shown_of(run):
    """The texts of the bar, in order."""
    texts = (m.content.get("data", {}).get("text/plain", "") for m in run.messages)
    return [text for text in texts if " rows · " in text or "■ Stopped" in text]


def test_the_bar_is_one_output_drawn_at_most_four_times_a_second(asking, server):
    asking.kernel.run(SETUP % 60)
    run = asking.kernel.run("%alloy map df -o labels --concurrency 4 What is {n} a?")
    assert run.ok, run.text
    frames = shown_of(run)
    assert 3 <= len(frames) <= 4 * run.seconds + 2
    assert (
        sum(" rows · " in output.get("data", {}).get("text/plain", "") for output in run.outputs)
        == 1
    )
    assert re.search(r"\d+/60 rows · .*rows/s · .* left", frames[len(frames) // 2])
    assert re.match(r"█{20} 100 % 60/60 rows · .* · in \d+ s", frames[-1])


def test_the_bar_is_saved_as_text_beside_its_html(asking, server):
    asking.kernel.run(SETUP % 5)
    run = asking.kernel.run("%alloy map df -o labels What is {n} b?")
    (bar,) = [o["data"] for o in run.outputs if "5/5 rows" in o["data"]["text/plain"]]
    assert {"text/plain", "text/html", "text/markdown"} <= set(bar)


def test_an_interrupt_stops_a_map_and_the_cell_goes_on_where_it_stopped(asking, server):
    asking.kernel.run(SETUP % 100)
    cell = "%alloy map df -o labels --concurrency 4 What is {n} c?"
    stopped: list[float] = []
    look = stop_when(asking.kernel, "rows/s", stopped)
    run = asking.kernel.run(cell, on_message=look)
    assert run.reply["ename"] == "Interrupted"
    assert run.replied_at - stopped[0] < 4  # two seconds, and a machine that is busy
    assert "■ Stopped." in run.text
    assert "Run the cell again and it goes on where it stopped." in run.text
    before = asked(server)
    assert 0 < len(before) < 100
    assert asking.kernel.run(cell).ok
    after = asked(server)
    again = {prompt for prompt, count in after.items() if count > 1}
    assert len(after) == 100
    assert len(again) <= 4  # those in flight when it stopped
    assert asking.evaluate("labels['answer'].eq('good').all()")

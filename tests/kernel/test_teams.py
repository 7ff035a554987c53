"""A team in a real kernel: nested cards, and a question about what an agent wants to run."""

from __future__ import annotations

import json

import pytest

from tests.kernel.asking import stop_when
from tests.kernel.front_end import FrontEnd, has_subshells, patience
from tests.servers.sse import Server, loop, paced, stream
from tests.servers.wire import Call, Reply, Say, chat_events, words

VIEW = "application/vnd.jupyter.widget-view+json"
TEAM = """
import alloy_nb as al
ran = 0
crew = al.Team()
crew.add("worker", provider="openai-compat/scripted", base_url={url!r}, tools=[al.python])
None
"""


@pytest.fixture
def crew(asking):
    """Let an agent run code in the kernel for the model that asks it."""
    work = [[Call("python", {"code": "ran += 1\nprint('ran', ran)"})], [Say("The worker is done.")]]
    lead = [[Call("ask_worker", {"task": "run it"})], [Say("All is done.")]]
    with Server(*loop(*work)) as worker, Server(*loop(*lead)) as server:
        asking.use(server, "chat")
        assert asking.kernel.run(TEAM.format(url=worker.url)).ok
        yield worker
        asking.kernel.run("%alloy team off")


def _results(server):
    return [m["content"] for m in server.requests[1].json["messages"] if m["role"] == "tool"]


def test_the_person_is_asked_in_words_about_what_an_agent_wants_to_run(asking, crew):
    run = asking.ask("go", "--team crew", answers=["y"])
    assert run.ok, run.text
    assert len(run.prompts) == 1
    assert "ran += 1" in run.prompts[0]
    assert (asking.evaluate("ran"), _results(crew)) == (1, ["ran 1"])


def test_a_no_to_an_agent_is_a_no(asking, crew):
    run = asking.ask("go", "--team crew", answers=["n"])
    assert run.ok, run.text
    assert asking.evaluate("ran") == 0
    assert "rejected" in _results(crew)[0]


def test_what_an_agent_did_is_saved_within_the_card_that_asked_it(asking, crew):
    run = asking.ask("go", "--team crew", answers=["y"])
    (card,) = [o["data"] for o in run.outputs if "ask_worker" in o["data"]["text/plain"]]
    assert card["text/html"].count("<details") == 2
    plain = card["text/plain"]
    assert plain.index("worker ✓") < plain.index("🔧 python ✓") < plain.index("The worker is done.")
    assert "waits for you" not in run.text


def test_a_card_asks_in_the_place_of_the_agents_call_and_is_gone_afterwards(asking, crew):
    if not has_subshells(asking.kernel):
        pytest.skip("this ipykernel hears no widget while a cell runs")
    page = FrontEnd(asking.kernel, {"choice": "once"})
    with patience(asking.kernel):
        run, id_ = asking.kernel.send("%%alloy --team crew\ngo", allow_stdin=True)
        asking.kernel.finish(run, id_, on_message=page.look)
    assert (run.ok, run.prompts, asking.evaluate("ran")) == (True, [], 1)
    assert "ran += 1" in page.questions[0]["subject"]
    assert VIEW not in json.dumps([output.get("data") for output in run.outputs])
    assert "stopped before it answered" not in run.text
    assert "🔧 python ✓" in run.text
    assert page.opened == page.closed != set()


def test_an_interrupt_stops_the_agent_too(asking):
    endless = stream(paced(chat_events(Reply([Say(words(5000), size=7)])), 100))
    lead = [[Call("ask_worker", {"task": "run it"})], [Say("All is done.")]]
    with Server(endless) as worker, Server(*loop(*lead)) as server:
        asking.use(server, "chat")
        assert asking.kernel.run(TEAM.format(url=worker.url)).ok
        look = stop_when(asking.kernel, "word05")
        run = asking.ask("go", "--team crew", on_message=look)
        assert run.reply["ename"] == "Interrupted"
        assert "worker ■ stopped" in run.text
        assert "word05" in run.text
        worker.requests[0].wait_closed()
        assert worker.requests[0].cut_short

"""A question is asked wherever a person may be, and code of a panel runs when no cell does."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kernel.front_end import FrontEnd, has_subshells
from tests.kernel.panel_client import PanelClient
from tests.kernel_harness import Iopub
from tests.servers.sse import Server, loop
from tests.servers.wire import Call, Say

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

CODE = "ran = globals().get('ran', 0) + 1\nprint('ran', ran)"


class Both(PanelClient):
    """A front end with a panel, which shows the cards of cells as well."""

    def __init__(self, asking: Any, *answers: Any) -> None:
        self.cards = FrontEnd(asking.kernel, *answers)
        self.others: list[Iopub] = []
        super().__init__(asking.kernel)

    def _take(self, raw: dict[str, Any]) -> None:
        super()._take(raw)
        message = Iopub(raw["msg_type"], raw["content"], raw["arrived_at"], raw["size"])
        self.others.append(message)
        if self.comm not in str(raw["content"]):  # the panel itself is no card
            self.cards.look(message)

    def kinds(self, *wanted: str) -> list[str]:
        return [heard.kind for heard in self.heard if heard.kind in wanted]

    def last(self, kind: str) -> dict[str, Any]:
        self.until(lambda: self.kinds(kind))
        return [heard.content for heard in self.heard if heard.kind == kind][-1]


@pytest.fixture
def opened(asking):
    """Open a panel whose model calls python once for each code, then ends."""
    servers: list[Server] = []

    def begin(*codes: str, answers: Any = ()) -> Both:
        calls = [[Call("python", {"code": code})] for code in codes]
        server = Server(*loop(*calls, [Say("Done.")])).__enter__()
        servers.append(server)
        asking.use(server)
        asking.kernel.run("ran = 0")
        return Both(asking, *answers)

    yield begin
    asking.kernel.run("%alloy panel")  # the messages of a turn that goes on are heard here
    for server in servers:
        server.close()


@pytest.fixture
def while_a_cell_runs(asking):
    """Skip where a panel hears nothing while a cell runs."""
    if not has_subshells(asking.kernel):
        pytest.skip("before ipykernel 7 no click arrives while a cell runs")


def answered(client: Both, id_: str) -> None:
    client.until(lambda: client.cells[id_].reply)


@pytest.mark.usefixtures("while_a_cell_runs")
def test_a_cells_question_is_answered_in_the_panel_and_its_card_goes_away(opened, asking):
    client = opened(CODE)
    id_ = client.send_cell("%%alloy\ngo")
    asked = client.last("asked")
    assert CODE in asked["question"]["subject"]
    client.until(lambda: client.cards.questions)
    client.say({"do": "answer", "call": asked["call"], "choice": "once", "text": ""})
    assert client.last("answered")["call"] == asked["call"]
    answered(client, id_)
    client.until(lambda: client.cards.opened - {client.comm} <= client.cards.closed)
    assert asking.evaluate("ran") == 1


@pytest.mark.usefixtures("while_a_cell_runs")
def test_a_cells_question_is_answered_in_its_card_and_goes_away_in_the_panel(opened, asking):
    client = opened(CODE, answers=[{"choice": "denied", "text": "no"}])
    id_ = client.send_cell("%%alloy\ngo")
    asked = client.last("asked")
    assert client.last("answered")["call"] == asked["call"]
    answered(client, id_)
    client.say({"do": "answer", "call": asked["call"], "choice": "once", "text": ""})
    assert "closed" in client.last("notice")["text"]
    assert asking.evaluate("ran") == 0


def test_a_panels_question_is_asked_in_the_panel_alone_and_what_is_edited_runs(opened, asking):
    client = opened(CODE)
    client.ask("go")
    asked = client.last("asked")
    edited = "ran = 'edited here'\nran"
    client.say({"do": "answer", "call": asked["call"], "choice": "edited", "text": edited})
    client.over(1)
    assert client.cards.questions == []
    assert not [m for m in client.others if m.type in ("display_data", "execute_result")]
    assert asking.evaluate("ran") == "edited here"


def test_a_stop_takes_the_question_away_and_runs_nothing(opened, asking):
    client = opened(CODE)
    client.ask("go")
    asked = client.last("asked")
    client.say({"do": "stop"})
    assert client.last("answered")["call"] == asked["call"]
    assert client.over(1)[0]["state"] == "stopped"
    assert asking.evaluate("ran") == 0


def test_a_block_of_an_answer_runs_when_the_cell_that_runs_has_ended(opened, asking):
    with Server(*loop([Say("Do:\n\n```python\nblock = seen\nblock\n```\n")])) as server:
        asking.use(server)
        client = Both(asking)
        client.ask("code?")
        number = client.over(1)[0]["turn"]
        before = len(client.heard)
        cell = client.send_cell("import time; time.sleep(1); seen = 'after the cell'")
        client.until(lambda: any(_is_busy(heard.content) for heard in client.heard[before:]))
        client.say({"do": "run", "turn": number, "number": 0})
        html = client.last("shown")["html"]
        answered(client, cell)
    assert "after the cell" in html
    assert asking.evaluate("block") == "after the cell"
    assert not [m for m in client.others if m.type in ("execute_result", "error")]


def _is_busy(state: dict[str, Any]) -> bool:
    return state.get("head", {}).get("kernel") == "busy"


def test_a_failing_block_shows_its_error_in_the_panel_alone(asking):
    with Server(*loop([Say("```python\n1 / 0\n```\n")])) as server:
        asking.use(server)
        client = Both(asking)
        client.ask("code?")
        number = client.over(1)[0]["turn"]
        client.say({"do": "run", "turn": number, "number": 0})
        html = client.last("shown")["html"]
    assert "ZeroDivisionError" in html
    assert not [m for m in client.others if m.type == "error"]


def test_variables_are_put_back_from_the_panel_on_the_main_thread(opened, asking):
    client = opened("ran = 'by the model'")
    asking.kernel.run("ran = 'mine'")
    client.ask("--approve all go")
    client.over(1)
    client.say({"do": "command", "line": "/restore", "id": "c"})
    assert "ran" in client.last("shown")["html"]
    assert asking.evaluate("ran") == "mine"

"""The python tool in a real kernel: figures, tables and what a turn did to the variables."""

import base64
import io
import json
import os
import signal
import threading
import time

import pytest
from PIL import Image

from tests.servers.sse import Server, loop
from tests.servers.wire import Call, Say

FIGURE = "import matplotlib.pyplot as plt\nfigure, axes = plt.subplots()\naxes.plot([1, 2, 3]);"


@pytest.fixture
def turn(asking):
    """Let the model run pieces of code in a turn; return the run of the cell."""

    def take(*codes, flags="", wire="anthropic", **options):
        replies = [[Call("python", {"code": code})] for code in codes]
        with Server(*loop(*replies, [Say("Done.")])) as server:
            asking.use(server, wire, approve="all")
            run = asking.ask("go", flags, **options)
            run.requests = [request.json for request in server.requests]
            return run

    return take


def pictures_sent(body):
    """Return the pictures of an Anthropic request."""
    parts = [p for m in body["messages"] for p in m["content"] if isinstance(m["content"], list)]
    inside = [p for part in parts for p in part.get("content", ()) if isinstance(p, dict)]
    return [p["source"] for p in [*parts, *inside] if p.get("type") == "image"]


def outputs_of(run, kind):
    return [o["data"][kind] for o in run.outputs if kind in o.get("data", {})]


def told(run):
    """Return the text of the last result that was sent."""
    return json.dumps(run.requests[-1]["messages"][-1])


@pytest.mark.parametrize("backend", ["inline", "Agg"])
def test_a_figure_is_seen_by_the_model_and_shown_once(asking, turn, backend):
    asking.kernel.run("import matplotlib.pyplot as plt; plt.close('all')")
    choose = {"inline": "%matplotlib inline", "Agg": "plt.switch_backend('Agg')"}
    assert asking.kernel.run(choose[backend]).ok
    run = turn(FIGURE)
    assert run.ok, run.text
    [sent] = pictures_sent(run.requests[-1])
    assert base64.b64decode(sent["data"]).startswith(b"\x89PNG")
    [shown] = outputs_of(run, "image/png")
    assert "".join(shown.split()) == sent["data"]
    assert "<img" not in run.html
    asking.kernel.run("plt.close('all')\n%matplotlib inline")


def test_a_figure_that_is_the_value_as_well_is_shown_once(turn):
    run = turn(FIGURE + "\nfigure")
    assert len(outputs_of(run, "image/png")) == 1
    assert len(pictures_sent(run.requests[-1])) == 1


def test_a_picture_of_pillow_goes_to_the_model_and_to_the_cell(turn):
    run = turn("from PIL import Image\nImage.new('RGB', (4000, 20), 'red')")
    [sent] = pictures_sent(run.requests[-1])
    assert len(outputs_of(run, "image/png")) == 1
    assert max(Image.open(io.BytesIO(base64.b64decode(sent["data"]))).size) <= 1568


def test_a_figure_goes_along_in_the_chat_format_too(turn):
    run = turn(FIGURE, wire="chat")
    assert "data:image/png;base64," in json.dumps(run.requests[-1])


def test_no_more_than_four_pictures_of_a_call_are_sent(turn):
    code = "import matplotlib.pyplot as plt\nfor n in range(6):\n    plt.figure(); plt.plot([n])"
    run = turn(code)
    assert len(pictures_sent(run.requests[-1])) == 4
    assert len(outputs_of(run, "image/png")) == 6
    assert told(run).count("its picture is not sent") == 2


def test_no_picture_leaves_below_the_dial_s_full(turn):
    run = turn(FIGURE, flags="--data schema")
    assert pictures_sent(run.requests[-1]) == []
    assert len(outputs_of(run, "image/png")) == 1


def test_a_table_is_shown_as_the_notebook_would_and_told_as_text(turn):
    run = turn("import pandas as pd\npd.DataFrame({'city': ['Oslo', 'Rome']})")
    assert any("<th>city</th>" in html for html in outputs_of(run, "text/html"))
    assert "Oslo" in told(run)
    assert "<th>" not in told(run)


def test_a_plain_value_is_shown_in_the_card_alone(turn):
    run = turn("'only' + 'once'")
    assert [text for text in outputs_of(run, "text/plain") if "onlyonce" in text] == [
        text for text in outputs_of(run, "text/plain") if text.startswith("🔧")
    ]


def test_what_the_dial_keeps_back_is_printed_for_the_person(turn):
    run = turn("print('for the person')\n'a ' + 'value'", flags="--data schema")
    assert "for the person" in run.stdout
    assert "'a value'" in run.stdout
    assert "for the person" not in told(run).replace("print('for the person')", "")


def test_a_turn_says_what_it_did_to_the_variables(asking, turn):
    asking.kernel.run("import pandas as pd; df = pd.DataFrame({'n': range(1000)}); tmp = 1")
    run = turn("df.drop(index=range(13), inplace=True)", "north = df.head(5)\ndel tmp")
    lines = [text for text in outputs_of(run, "text/plain") if text.startswith("~ df")]
    assert lines == ["~ df 1000 → 987 rows (in place) · - tmp · + north DataFrame 5×1"]
    texts = outputs_of(run, "text/plain")
    assert texts.index(lines[0]) == len(texts) - 2  # above the footer
    assert "987 rows" in run.html


def test_a_turn_that_changes_nothing_says_nothing_of_variables(turn):
    assert not any(t.startswith(("~", "+ ", "- ")) for t in outputs_of(turn("1 + 1"), "text/plain"))


def test_variables_are_put_back_and_changed_again(asking, turn):
    asking.kernel.run("import pandas as pd; df = pd.DataFrame({'n': range(1000)}); xs = [1]; n = 1")
    turn("df.drop(index=range(13), inplace=True); xs.append(2); n = 2")
    state = "(len(df), xs, n)"
    assert asking.evaluate(state) == (987, [1, 2], 2)
    run = asking.kernel.run("%alloy restore")
    assert all(t in run.text for t in ("df (DataFrame 1000×1)", "xs (list 1 item)", "n (int)"))
    assert asking.evaluate(state) == (1000, [1], 1)
    asking.kernel.run("%alloy restore")
    assert asking.evaluate(state) == (987, [1, 2], 2)


def test_the_names_of_the_last_turn_are_listed(asking, turn):
    asking.kernel.run("xs = [1]")
    turn("xs.append(2); fresh = 1")
    run = asking.kernel.run("%alloy names")
    assert "xs" in run.text
    assert "in place" in run.text
    assert "fresh" in run.text


def test_a_turn_that_is_stopped_says_what_it_did_to_the_variables(asking, turn, tmp_path):
    asking.kernel.run("xs = [1]")
    there = tmp_path / "there"

    def stop():
        while not there.exists():
            time.sleep(0.01)
        os.kill(asking.kernel.pid, signal.SIGINT)

    threading.Thread(target=stop, daemon=True).start()
    run = turn(f"xs.append(2)\nopen({str(there)!r}, 'w')\nimport time; time.sleep(300)")
    assert run.error.startswith("Interrupted")
    assert "~ xs 1 → 2 items (in place)" in run.text
    assert asking.kernel.run("%alloy restore").ok
    assert asking.evaluate("xs") == [1]


def test_what_cannot_be_restored_is_said_with_the_reason(asking, turn):
    turn("fresh = 1")
    run = asking.kernel.run("%alloy restore nosuchname")
    assert "nosuchname: the last turns did not change it" in run.text


def test_top_level_await_runs_on_the_main_thread(turn):
    code = "import asyncio, threading\nawait asyncio.sleep(0)\nthreading.current_thread().name"
    assert "'MainThread'" in turn(code).text


def test_the_kernel_s_own_loop_goes_on_after_awaited_code(asking, turn):
    turn("import asyncio\nawait asyncio.sleep(0)")
    assert asking.kernel.run("import asyncio\nawait asyncio.sleep(0)\nprint('awaited')").stdout

"""The dial and the references in a real kernel, searched on the wire."""

from __future__ import annotations

import json

import pytest

from tests.kernel.asking import start_asking
from tests.servers.sse import Server, loop
from tests.servers.wire import Call, Say

SECRET = "Qz7vXkWm3Tb9Ryp"
SETUP = f"import pandas as pd\ndf = pd.DataFrame({{'name': ['{SECRET}', 'b'], 'n': [1, 2]}})"


@pytest.fixture(scope="module")
def asking():
    with start_asking() as asking:
        asking.kernel.run(SETUP)
        yield asking


def bodies(server):
    return "\n".join(request.body.decode() for request in server.requests)


def ask(asking, code, flags, prompt="Look at @df."):
    """Let a model run code, and return the cell and all that was sent."""
    replies = [[Call("python", {"code": code}, id="c1")], [Say("Done.")]]
    with Server(*loop(*replies)) as server:
        asking.use(server, approve="all")
        run = asking.ask(prompt, flags)
        assert run.ok, run.text
        assert len(server.requests) == 2
        return run, bodies(server)


CODE = {
    "what is printed": "print(df)",
    "a value": "df",
    "what is displayed": "display(df)",
    "a failure": "df[df.name[0]]",
    "a warning": "import warnings\nwarnings.warn(df.name[0])",
    "a log": "import logging\nlogging.warning(df.name[0])",
    "standard error": "import sys\nprint(df, file=sys.stderr)",
}


@pytest.mark.parametrize("code", CODE.values(), ids=CODE)
def test_what_the_model_does_not_see_the_person_does(asking, code):
    run, sent = ask(asking, code, "--data schema")
    assert SECRET not in sent
    assert SECRET in run.text + str([message.content for message in run.messages])


def test_with_full_it_is_sent(asking):
    assert SECRET in ask(asking, "print(df)", "--data full")[1]


def test_a_level_of_the_notebook_holds_where_a_cell_says_nothing(asking):
    asking.kernel.run("%alloy data schema")
    try:
        assert SECRET not in ask(asking, "print(df)", "")[1]
    finally:
        asking.kernel.run("%alloy data full")


def test_a_figure_that_was_drawn_inline_goes_with_the_prompt(asking):
    drawn = asking.kernel.run(
        "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.title('Sales')"
    )
    assert drawn.ok, drawn.text
    assert asking.evaluate("plt.get_fignums()") == []
    with Server(*loop([Say("Done.")])) as server:
        asking.use(server)
        assert asking.ask("What does @plot show?").ok
    (request,) = server.requests
    said = request.json["messages"][-1]["content"]
    assert [part["type"] for part in said].count("image") == 1
    assert "title 'Sales'" in json.dumps(said)


def test_a_figure_of_the_models_own_code_is_the_last_one(asking):
    code = "import matplotlib.pyplot as plt\nplt.plot([3, 4])\nplt.title('Made by the model')"
    ask(asking, code, "")
    with Server(*loop([Say("Done.")])) as server:
        asking.use(server)
        assert asking.ask("What does @plot show?").ok
    assert "Made by the model" in bodies(server)


def test_the_last_error_is_told_without_a_hook(asking):
    failed = asking.kernel.run("total = 1\nfloat('no number')")
    assert not failed.ok
    with Server(*loop([Say("Done.")])) as server:
        asking.use(server)
        assert asking.ask("Why @error?").ok
    assert "could not convert string to float: 'no number'" in bodies(server)


def test_at_schema_the_last_error_is_its_type_and_line(asking):
    assert not asking.kernel.run(f"total = 1\nfloat('{SECRET}')").ok
    with Server(*loop([Say("Done.")])) as server:
        asking.use(server)
        assert asking.ask("Why @error, in @last?", "--data schema").ok
    assert SECRET not in bodies(server)
    assert "ValueError on line 2 of 2" in bodies(server)


def test_an_expression_is_evaluated_before_anything_is_sent(asking):
    with Server(*loop([Say("Done.")])) as server:
        asking.use(server)
        run = asking.ask("There are $(1 / 0) rows.")
        assert not run.ok
        assert "ZeroDivisionError" in run.text
        assert server.requests == []


def test_a_stricter_level_says_that_what_was_said_before_goes_along(asking):
    replies = [[Say("One.")], [Say("Two.")]]
    with Server(*loop(*replies)) as server:
        asking.use(server)
        asking.ask("First.")
        run = asking.ask("Second.", "--data schema")
    assert "--data schema: what was said before may hold more (full), and goes along" in run.text

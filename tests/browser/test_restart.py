"""A conversation in JupyterLab: it outlives the kernel, a cell again, and Run All for nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.lab import Lab, Notebook
from tests.servers.sse import Request, Server, loop
from tests.servers.wire import Call, Say

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LOAD = "%load_ext alloy_nb\n%config Alloy.approve = 'all'"
TOTAL = [[Call("python", {"code": "total = 42; total"})], [Say("The total is **42**.")]]
"""An answer that leaves a variable in the kernel."""


@pytest.fixture(scope="module")
def lab(start_lab, tmp_path_factory) -> Iterator[Lab]:
    """Give a lab without keys."""
    with start_lab(tmp_path_factory.mktemp("restart")) as running:
        yield running


def cells(server: Server, *rest: str, **config: object) -> list[str]:
    """Return cells: one that loads the extension, with a server behind it, and the rest."""
    model = f"%alloy model openai-compat/scripted --base-url {server.url}"
    lines = [f"%config Alloy.{name} = {value!r}" for name, value in config.items()]
    return ["\n".join([LOAD, *lines, model]), *rest]


def restart_kernel(notebook: Notebook) -> None:
    """Restart the kernel through Lab's menu, as a person does, and wait until it is ready."""
    page = notebook.page
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.locator(".lm-Menu-item[data-command='kernelmenu:restart']").click()
    with page.expect_response(lambda answer: "/restart" in answer.url):
        page.locator(".jp-Dialog .jp-mod-accept").click()
    expect(page.locator(".jp-Dialog")).to_have_count(0)
    notebook.wait_idle()
    page.wait_for_timeout(1500)  # until then Lab loses key strokes; see SETTLE_SECONDS


def said(request: Request) -> list[str]:
    """Return who said what in a request, without the system prompt."""
    messages = [m for m in request.json["messages"] if m["role"] not in ("system", "developer")]
    return [_text(message) for message in messages]


def _text(message: dict) -> str:
    content = message.get("content") or ""
    if not isinstance(content, str):
        content = "\n".join(part.get("text", "") for part in content)
    return f"{message['role']}: {content}"


# --- restarts ---------------------------------------------------------------------------------


def test_after_a_restart_resume_goes_on_and_both_are_told_what_is_gone(lab):
    with Server(*loop(*TOTAL, [Say("Hello again.")])) as server:
        asks = ("%%alloy\nCompute the total.", "%alloy resume", "%%alloy\nAnd now?")
        notebook = lab.open_notebook(cells(server, *asks))
        notebook.run(0)
        notebook.run(1)
        notebook.wait_text(1, "The total is 42.")
        restart_kernel(notebook)
        notebook.run(0)
        notebook.run(2)
        notebook.wait_text(2, "The kernel is fresh")
        assert "Gone from memory: total." in notebook.text(2)
        notebook.run(3)
        notebook.wait_text(3, "Hello again.")
        *before, now = said(server.requests[-1])
        assert before[0] == "user: Compute the total."
        assert before[-1] == "assistant: The total is **42**."
        assert now.startswith("user: And now?")
        assert "kernel is a new one" in now
        assert "These names are gone: total." in now
        lab.assert_clean()


def test_after_a_restart_it_goes_on_by_itself_where_that_is_set(lab):
    with Server(*loop(*TOTAL, [Say("Hello again.")], [Say("Still here.")])) as server:
        asks = ("%%alloy\nCompute the total.", "%%alloy\nAnd now?", "%%alloy\nAnd then?")
        notebook = lab.open_notebook(cells(server, *asks, resume="auto"))
        notebook.run(0)
        notebook.run(1)
        notebook.wait_text(1, "The total is 42.")
        assert "goes on" not in notebook.text(1)
        restart_kernel(notebook)
        notebook.run(0)
        notebook.run(2)
        notebook.wait_text(2, "Hello again.")
        assert "the kernel is fresh. Gone from memory: total." in notebook.text(2)
        now = said(server.requests[-1])
        assert now[0] == "user: Compute the total."
        assert "These names are gone: total." in now[-1]
        notebook.run(3)
        notebook.wait_text(3, "Still here.")
        assert "fresh" not in notebook.text(3)
        assert "gone" not in said(server.requests[-1])[-1]
        lab.assert_clean()


def test_after_a_restart_a_cell_says_that_there_is_an_earlier_conversation(lab):
    with Server(*loop([Say("One.")], [Say("Two.")])) as server:
        notebook = lab.open_notebook(cells(server, "%%alloy\none", "%%alloy\ntwo"))
        notebook.run(0)
        notebook.run(1)
        restart_kernel(notebook)
        notebook.run(0)
        notebook.run(2)
        notebook.wait_text(2, "Two.")
        assert "%alloy resume goes on with it" in notebook.text(2)
        assert said(server.requests[-1]) == ["user: two"]
        lab.assert_clean()


# --- a cell again, and all of them ------------------------------------------------------------


def test_a_cell_that_runs_again_replaces_its_turn_and_says_where_the_old_one_is(lab):
    replies = [[Say(f"Answer {n}.")] for n in range(1, 6)]
    with Server(*loop(*replies)) as server:
        asks = ("%%alloy\none", "%%alloy\ntwo", "%alloy use main-2", "%%alloy\nthree")
        notebook = lab.open_notebook(cells(server, *asks))
        for number in (0, 1, 2, 1):
            notebook.run(number)
        notebook.wait_text(1, "Answer 3.")
        assert "is kept on the branch main-2" in notebook.text(1)
        assert said(server.requests[2]) == ["user: one"]
        notebook.run(3)
        notebook.wait_text(3, "On the branch main-2.")
        notebook.run(4)
        notebook.wait_text(4, "Answer 4.")
        assert said(server.requests[3]) == [
            *("user: one", "assistant: Answer 1.", "user: two", "assistant: Answer 2."),
            "user: three",
        ]
        lab.assert_clean()


def test_an_edited_cell_is_still_the_cell_that_it_was(lab):
    with Server(*loop([Say("Answer 1.")], [Say("Answer 2.")])) as server:
        notebook = lab.open_notebook(cells(server, "%%alloy\none"))
        notebook.run(0)
        notebook.run(1)
        editor = notebook.cell(1).locator(".cm-content")
        editor.click()
        notebook.page.keyboard.press("Control+End")
        notebook.page.keyboard.type(" more")
        notebook.run(1)
        notebook.wait_text(1, "Answer 2.")
        assert said(server.requests[1]) == ["user: one more"]


def test_run_all_the_second_time_is_replayed_for_nothing(lab):
    with Server(*loop(*TOTAL, [Say("Answer 2.")])) as server:
        asks = ("%%alloy\nCompute the total.", "%%alloy\ntwo")
        notebook = lab.open_notebook(cells(server, *asks, replay=True))
        notebook.run_all()
        first = [answer(notebook, number) for number in (1, 2)]
        assert "replayed" not in notebook.text(1) + notebook.text(2)
        assert len(server.requests) == 3
        notebook.run_all()
        assert [answer(notebook, number) for number in (1, 2)] == first
        assert "replayed, $0" in notebook.text(1)
        assert "replayed, $0" in notebook.text(2)
        restart_kernel(notebook)
        notebook.run_all()
        assert [answer(notebook, number) for number in (1, 2)] == first
        assert "replayed, $0" in notebook.text(1)
        assert len(server.requests) == 3
        lab.assert_clean()


def answer(notebook: Notebook, number: int) -> str:
    """Return what a cell shows, without the footer and the variables that code has made."""
    lines = notebook.text(number).split("\n")[:-1]
    return "\n".join(line for line in lines if not line.startswith("+ ")).rstrip()

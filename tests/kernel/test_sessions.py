"""A conversation outlives its kernel, and a cell that runs again does not say things twice."""

import contextlib
import json
import os
import random
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from alloy_nb.engine.journal import Store
from tests.browser.lab import _write_kernel_spec
from tests.kernel.asking import CANARY
from tests.kernel_harness import clean_environment, start_kernel
from tests.oracles.invariants import check_anthropic
from tests.oracles.strict import validate_anthropic
from tests.servers.sse import STALL, Server, loop, stream
from tests.servers.wire import Call, Reply, Say, anthropic_events

pytestmark = [pytest.mark.kernel, pytest.mark.slow]


@pytest.fixture
def folder(tmp_path):
    """The folder of a notebook."""
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture
def kernel(folder):
    """Start kernels in that folder, one after the other or at once; each asks a server."""
    with contextlib.ExitStack() as stack:

        def start(server, **config):
            environment = {
                "ANTHROPIC_API_KEY": CANARY,
                "ANTHROPIC_BASE_URL": server.url,
                "ALLOY_MODEL": "anthropic/claude-sonnet-4-6",
            }
            running = stack.enter_context(start_kernel(environment, cwd=folder))
            config = {"approve": "all", **config}
            lines = [f"%config Alloy.{name} = {value!r}" for name, value in config.items()]
            run = running.run("\n".join(["%load_ext alloy_nb", *lines]))
            assert (run.ok, run.text) == (True, ""), run.text
            return running

        yield start


def ask(kernel, prompt, cell_id=None, flags=""):
    """Run a cell that asks, and which must not fail."""
    run = kernel.run(f"%%alloy {flags}\n{prompt}", cell_id=cell_id)
    assert run.ok, run.text
    return run


def said(request):
    """Who said what in a request, as text."""
    texts = []
    for message in request.json["messages"]:
        content = message["content"]
        parts = [{"text": content}] if isinstance(content, str) else content
        texts.append("\n".join(part.get("text", f"[{part.get('type')}]") for part in parts))
    return texts


def python(code):
    return Call("python", {"code": code})


# --- restarts ---------------------------------------------------------------------------------


def test_after_a_restart_the_conversation_goes_on_and_both_are_told_what_is_gone(kernel, folder):
    replies = [[python("total = 42; total")], [Say("It is 42.")], [Say("Hello again.")]]
    with Server(*loop(*replies)) as server:
        first = kernel(server)
        ask(first, "Compute the total.", "a")
        first.kill()
        second = kernel(server)
        resumed = second.run("%alloy resume")
        assert "4 messages" in resumed.text
        assert "Gone from memory: total" in resumed.text
        ask(second, "And now?", "b")
        *before, now = said(server.requests[-1])
        assert before[0] == "Compute the total."
        assert "It is 42." in before[-1]
        assert "kernel is a new one" in now
        assert "total" in now
        validate_anthropic(server.requests[-1].json)
        check_anthropic(server.requests[-1].json)


def test_the_model_is_told_once_that_the_kernel_is_new(kernel):
    with Server(*loop(*[[Say("Yes.")]] * 3)) as server:
        first = kernel(server)
        ask(first, "one", "a")
        first.kill()
        second = kernel(server, resume="auto")
        shown = ask(second, "two", "b")
        ask(second, "three", "c")
        assert "goes on" in shown.text
        assert ["new one" in text for text in said(server.requests[-1])[::2]] == [
            False,
            True,
            False,
        ]


def test_a_new_kernel_says_that_there_is_an_earlier_conversation(kernel):
    with Server(*loop(*[[Say("Yes.")]] * 3)) as server:
        first = kernel(server)
        ask(first, "one", "a")
        first.kill()
        second = kernel(server)
        assert "%alloy resume" in ask(second, "two", "b").text
        assert "%alloy resume" not in ask(second, "three", "c").text
        assert said(server.requests[1]) == ["two"]


def test_the_journal_keeps_itself_out_of_git_and_holds_no_key(kernel, folder):
    with Server(*loop([Say("Yes.")])) as server:
        ask(kernel(server), f"Is {CANARY} a key?", "a")
    assert (folder / ".alloy" / ".gitignore").exists()
    for file in (folder / ".alloy").rglob("*"):
        assert not file.is_file() or CANARY.encode() not in file.read_bytes()


def test_switched_off_nothing_is_written(kernel, folder):
    with Server(*loop([Say("Yes.")])) as server:
        ask(kernel(server, journal="off"), "one", "a")
    assert os.listdir(folder) == []


def test_where_it_cannot_be_written_one_warning_is_shown_and_the_turn_goes_on(kernel, folder):
    (folder / ".alloy").write_text("no folder")
    with Server(*loop(*[[Say("Yes.")]] * 2)) as server:
        running = kernel(server)
        first, second = ask(running, "one", "a"), ask(running, "two", "b")
    assert "Yes." in first.text
    assert "sessions.db" in first.text
    assert "sessions.db" not in second.text
    assert said(server.requests[1])[0] == "one"


def test_a_second_kernel_is_told_who_has_the_conversation(kernel):
    with Server(*loop(*[[Say("Yes.")]] * 2)) as server:
        first, second = kernel(server), kernel(server)
        ask(first, "one", "a")
        refused = second.run("%alloy resume")
        assert not refused.ok
        assert "in use by process" in refused.text
        assert len(refused.reply["traceback"]) <= 1 or "UsageError" in refused.reply["ename"]
        ask(second, "two", "b")
        assert said(server.requests[1]) == ["two"]


# --- asking once more --------------------------------------------------------------------------


def test_a_cell_that_retries_again_retries_what_is_last_then(kernel):
    with Server(*loop(*[[Say("Yes.")]] * 5)) as server:
        running = kernel(server)
        ask(running, "one", "1")
        ask(running, "two", "2")
        assert running.run("%alloy retry", cell_id="again").ok
        ask(running, "three", "3")
        assert running.run("%alloy retry", cell_id="again").ok
        assert said(server.requests[-1]) == ["one", "Yes.", "two", "Yes.", "three"]


def test_a_cell_that_was_retried_replaces_the_newer_answer(kernel):
    with Server(*loop(*[[Say("Yes.")]] * 5)) as server:
        running = kernel(server)
        ask(running, "one", "1")
        assert running.run("%alloy retry", cell_id="again").ok
        ask(running, "one, in other words", "1")
        assert said(server.requests[-1]) == ["one, in other words"]


def test_a_cell_that_goes_on_again_goes_on_from_what_was_stopped_last(kernel):
    with Server(*loop(*[[python("1")]] * 4)) as server:
        running = kernel(server, max_turns=1)
        ask(running, "one", "1")
        assert running.run("%alloy continue", cell_id="on").ok
        ask(running, "two", "2")
        assert running.run("%alloy continue", cell_id="on").ok
        assert "two" in "\n".join(said(server.requests[-1]))


def test_what_was_resumed_is_not_offered_any_more(kernel):
    with Server(*loop(*[[Say("Yes.")]] * 5)) as server:
        first = kernel(server)
        ask(first, "one", "1")
        first.kill()
        running = kernel(server)
        assert running.run("%alloy history").ok
        assert running.run("%alloy resume").ok
        assert "An earlier conversation is kept" not in ask(running, "two", "2").text


# --- a cell again -----------------------------------------------------------------------------


def test_a_cell_that_runs_again_replaces_its_turn_and_says_so(kernel):
    with Server(*loop(*[[Say(f"Answer {n}.")] for n in range(1, 5)])) as server:
        running = kernel(server)
        ask(running, "one", "a")
        ask(running, "two", "b")
        again = ask(running, "one", "a")
        assert "kept on the branch main-2" in again.text
        assert said(server.requests[2]) == ["one"]
        ask(running, "three", "c")
        assert said(server.requests[3]) == ["one", "Answer 3.", "three"]


def test_what_came_after_it_is_on_a_branch(kernel):
    with Server(*loop(*[[Say(f"Answer {n}.")] for n in range(1, 5)])) as server:
        running = kernel(server)
        for prompt, cell in (("one", "a"), ("two", "b"), ("one", "a")):
            ask(running, prompt, cell)
        assert running.run("%alloy use main-2").ok
        ask(running, "three", "c")
        assert said(server.requests[3]) == ["one", "Answer 1.", "two", "Answer 2.", "three"]


def test_two_prompts_of_one_cell_are_two_turns_however_often_it_runs(kernel):
    with Server(*loop(*[[Say("Yes.")]] * 4)) as server:
        running = kernel(server)
        for _ in range(2):
            assert running.run("%alloy one\n%alloy two", cell_id="a").ok
        assert said(server.requests[3]) == ["one", "Yes.", "two"]


def test_without_ids_of_cells_a_person_s_cell_is_known_by_its_source(kernel):
    with Server(*loop(*[[Say("Yes.")]] * 3)) as server:
        running = kernel(server)
        for prompt in ("one", "two", "one"):
            assert running.run(f"%%alloy\n{prompt}", answers=()).ok
        assert said(server.requests[2]) == ["one"]


def test_where_nobody_can_be_asked_two_cells_of_one_source_are_two(kernel):
    with Server(*loop(*[[Say("Yes.")]] * 2)) as server:
        running = kernel(server)
        ask(running, "Go on.")
        ask(running, "Go on.")
        assert said(server.requests[1]) == ["Go on.", "Yes.", "Go on."]


def test_undo_fork_use_tree_search_sent_and_forget_do_what_they_say(kernel, folder):
    with Server(*loop(*[[Say(f"Answer {n}.")] for n in range(1, 5)])) as server:
        running = kernel(server)
        ask(running, "one apple", "a")
        ask(running, "two pears", "b")
        assert "two pears" in running.run("%alloy undo").text
        assert running.run("%alloy fork idea").ok
        ask(running, "three figs", "c")
        assert said(server.requests[2]) == ["one apple", "Answer 1.", "three figs"]
        tree = running.run("%alloy tree").text
        assert all(word in tree for word in ("one apple", "two pears", "idea", "main-2"))
        assert "pears" in running.run("%alloy search pears").text
        sent = running.run("%alloy sent").text
        assert json.loads(sent.split("\n", 1)[1])["messages"][-1]["content"]
        assert CANARY not in sent
        assert "main" in running.run("%alloy sessions").text
        assert "wiped" in running.run("%alloy forget").text
        assert Store(folder).sessions() == []


# --- replay -----------------------------------------------------------------------------------

CELLS = 30


@pytest.fixture
def execute(folder):
    """Execute a notebook of questions in a kernel of its own, under nbclient."""
    home = folder.parent / "home"
    environment = clean_environment(home, {"ANTHROPIC_API_KEY": CANARY})
    environment["JUPYTER_PREFER_ENV_PATH"] = "0"
    _write_kernel_spec(Path(environment["JUPYTER_DATA_DIR"]))

    def run(server, cells):
        environment["ANTHROPIC_BASE_URL"] = server.url
        environment["ALLOY_MODEL"] = "anthropic/claude-sonnet-4-6"
        first = "%load_ext alloy_nb\n%config Alloy.approve = 'all'\n%config Alloy.replay = True"
        book = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in (first, *cells)]
        )
        before = dict(os.environ)
        os.environ.clear()
        os.environ.update(environment)
        try:
            NotebookClient(
                book,
                timeout=120,
                kernel_name="python3",
                resources={"metadata": {"path": str(folder)}},
            ).execute()
        finally:
            os.environ.clear()
            os.environ.update(before)
        return [cell.outputs for cell in book.cells[1:]]

    return run


def shown(outputs):
    """What a reader sees, without what differs: ids, and the footer's costs."""
    return [[o.data for o in cell if "alloy" not in o.metadata] if cell else [] for cell in outputs]


def footers(outputs):
    return [o.data["text/plain"] for cell in outputs for o in cell if "alloy" in o.metadata]


def test_a_notebook_that_runs_three_times_asks_once_and_shows_the_same(execute):
    replies = []
    for number in range(CELLS):
        if number % 3 == 0:
            replies.append([python(f"print({number})")])
        replies.append([Say(f"Answer **{number}**.")])
    cells = [f"%%alloy\nQuestion {number}?" for number in range(CELLS)]
    with Server(*loop(*replies)) as server:
        first = execute(server, cells)
        assert len(server.requests) == len(replies)
        second, third = execute(server, cells), execute(server, cells)
        assert len(server.requests) == len(replies)
    assert shown(first) == shown(second) == shown(third)
    assert len(footers(second)) == CELLS
    assert all("replayed, $0" in line for line in footers(second) + footers(third))
    assert not any("replayed" in line for line in footers(first))


def test_a_replay_does_not_run_what_has_effects(execute, folder):
    code = "open('ran.txt', 'a').write('x')"
    with Server(*loop([python(code)], [Say("Done.")])) as server:
        for _ in range(2):
            execute(server, ["%%alloy\nWrite it."])
    assert (folder / "ran.txt").read_text() == "x"


def test_what_changed_is_asked_anew_and_what_comes_before_is_not(execute):
    with Server(*loop(*[[Say(f"Answer {n}.")] for n in range(8)])) as server:
        execute(server, ["%%alloy\none", "%%alloy\ntwo", "%%alloy\nthree"])
        execute(server, ["%%alloy\none", "%%alloy\nTWO", "%%alloy\nthree"])
        prompts = [said(request)[-1].split("\n")[0] for request in server.requests[3:]]
        assert prompts == ["TWO", "three"]
        assert said(server.requests[3])[:2] == ["one", "Answer 0."]
        execute(server, ["%%alloy\none", "%%alloy\nTWO", "%%alloy\nthree"])
        assert len(server.requests) == 5


def test_a_table_of_other_values_is_asked_about_anew(execute):
    with Server(*loop(*[[Say("Yes.")]] * 2)) as server:
        for rows in ([1, 2], [1, 2], [1, 3]):
            execute(server, [f"rows = {rows}", "%%alloy\nWhat is in @rows?"])
        assert len(server.requests) == 2


def test_fresh_asks_anew_and_replay_only_fails_on_a_miss(execute):
    with Server(*loop(*[[Say("Yes.")]] * 2)) as server:
        execute(server, ["%%alloy\none"])
        execute(server, ["%%alloy --fresh\none"])
        assert len(server.requests) == 2
        with pytest.raises(CellExecutionError, match="only a replay is allowed"):
            execute(server, ["%%alloy --replay-only\ntwo"])
        assert len(server.requests) == 2


def test_after_a_replay_the_model_is_told_that_the_kernel_is_new(execute):
    replies = [[python("total = 1")], [Say("Set.")], [Say("Yes.")]]
    with Server(*loop(*replies)) as server:
        execute(server, ["%%alloy\nSet the total."])
        execute(server, ["%%alloy\nSet the total.", "%%alloy\nAnd?"])
        assert re.search(r"gone: .*total", said(server.requests[-1])[-1])


# --- kernels that are killed ------------------------------------------------------------------

KILLS = 500 if os.environ.get("ALLOY_TEST_FULL") else 10
WORDS = " ".join(f"word{number:03}" for number in range(300))


def dying(chance):
    """Answer questions with a call, and its result with a part of an answer that never ends."""

    def answer(request):
        last = request.json["messages"][-1]["content"]
        asked = said(request)[-1]
        if "Go on." in asked:
            return stream(anthropic_events(Reply([Say("Yes.")])))
        if isinstance(last, list) and last[0].get("type") == "tool_result":
            text = anthropic_events(Reply([Say(WORDS, size=7)]))
            return stream([*text[: 3 + chance.randrange(300)], STALL])
        number = re.search(r"Question (\d+)", asked)[1]
        code = f"open('ran{number}', 'a').write('x'); import time; time.sleep(0.2)"
        reply = Reply(
            [Say(f"first{number} "), Call("python", {"code": code}, id=f"toolu_{number}")]
        )
        return stream(anthropic_events(reply))

    return answer


def seen(run):
    """The words of answers that were shown, but for the last, which may be cut."""
    return re.findall(r"(?:word\d{3}|first\d+) ", run.text)


def test_whatever_was_shown_before_a_kill_is_there_after_it(kernel, folder):
    chance = random.Random(5)
    with Server(*[dying(chance)] * (5 * KILLS + 5)) as server:
        running, shown = kernel(server), 0
        for number in range(KILLS):
            run, id_ = running.send(f"%%alloy\nQuestion {number}?", cell_id=f"c{number}")
            with contextlib.suppress(TimeoutError):
                running.finish(run, id_, chance.uniform(0.1, 2.5))
            running.kill()
            running = kernel(server)
            # A kernel that dies before it drew a thing may not have known of the question yet.
            was_drawn = bool(run.of("display_data"))
            assert running.run("%alloy resume").ok or not (was_drawn or number)
            after = ask(running, "Go on.", f"after{number}")
            assert "Yes." in after.text
            request = server.requests[-1]
            validate_anthropic(request.json)
            check_anthropic(request.json)
            sent = "\n".join(said(request))
            if not was_drawn and f"Question {number}?" not in sent:
                continue
            turn = sent[sent.index(f"Question {number}?") :]
            assert [word for word in seen(run) if word not in turn + " "] == []
            shown += len(seen(run))
            ran = folder / f"ran{number}"
            assert not ran.exists() or ran.read_text() == "x"
    assert shown > KILLS

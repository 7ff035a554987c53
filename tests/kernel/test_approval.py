"""Nothing that writes or runs happens unasked, and the person sees exactly what would happen."""

import json
import time

import pytest

from tests.kernel.front_end import FrontEnd, has_subshells, patience
from tests.servers.sse import Server, loop
from tests.servers.wire import Call, Say

VIEW = "application/vnd.jupyter.widget-view+json"
CODE = "ran = globals().get('ran', 0) + 1\nprint('ran', ran)"


@pytest.fixture
def asks(asking):
    """Let the model call python, as often as wanted, then end; count what ran."""

    def ask(*codes, flags="", **options):
        asking.kernel.run("ran = 0")
        calls = [[Call("python", {"code": code})] for code in codes]
        with Server(*loop(*calls, [Say("Done.")])) as server:
            asking.use(server)
            run = asking.ask("go", flags, **options)
        told = [_results(request) for request in server.requests[1:]]
        return run, told, asking.evaluate("ran")

    return ask


def _results(request):
    content = request.json["messages"][-1]["content"]
    return next(_text(block["content"]) for block in content if block["type"] == "tool_result")


def _text(content):
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def test_the_person_is_asked_with_the_exact_code(asks):
    run, told, ran = asks(CODE, answers=["y"])
    assert len(run.prompts) == 1
    assert f"\n\n{CODE}\n\n" in run.prompts[0]
    words = "[y]es, [n]o, [a]ll in this turn, [s]ame in this session, [e]dit, or say why not: "
    assert f"Run it? {words}" in run.prompts[0]
    assert (run.ok, ran, told) == (True, 1, ["ran 1"])


@pytest.mark.parametrize("answer", ["n", "no", "", "  N  "])
def test_no_denies_and_the_model_is_told(asks, answer):
    run, told, ran = asks(CODE, answers=[answer])
    assert (run.ok, ran) == (True, 0)
    assert told == ["The user rejected this call; it did not run."]
    assert "✗ not allowed" in run.text


def test_a_text_denies_with_that_reason(asks):
    _, told, ran = asks(CODE, answers=["use a copy of df"])
    assert ran == 0
    assert told == ["The user rejected this call; it did not run. use a copy of df"]


def test_yes_holds_for_one_call(asks):
    run, _, ran = asks(CODE, CODE, answers=["y", "n"])
    assert (len(run.prompts), ran) == (2, 1)


@pytest.mark.parametrize("answer", ["a", "all", "A"])
def test_all_allows_the_rest_of_the_turn(asks, answer):
    run, _, ran = asks(CODE, CODE, CODE, answers=[answer])
    assert (len(run.prompts), ran) == (1, 3)


def test_all_does_not_hold_for_the_next_turn(asks):
    asks(CODE, answers=["a"])
    run, _, _ = asks(CODE, answers=["n"])
    assert len(run.prompts) == 1


def test_hidden_characters_are_made_visible(asks):
    code = "x = 1  # \u202e\u2066 harmless \u200b\x1b[2K\U000e0041"
    run, _, _ = asks(code, answers=["n"])
    prompt = run.prompts[0]
    for shown in (r"\u202e", r"\u2066", r"\u200b", r"\x1b[2K", r"\U000e0041"):
        assert shown in prompt
    assert not set("\u202e\u2066\u200b\x1b\U000e0041") & set(prompt)


def test_without_a_person_the_call_is_denied_and_the_cell_ends(asks):
    run, told, ran = asks(CODE)
    assert (run.ok, run.prompts, ran) == (True, [], 0)
    assert "Nobody could be asked: this notebook runs without a person at it." in told[0]
    assert run.seconds < 10


def test_where_nobody_types_no_card_is_shown_either(asks, asking):
    page = FrontEnd(asking.kernel, {"choice": "once"})
    run, _, ran = asks(CODE, on_message=page.look)
    assert (page.opened, page.questions, ran) == (set(), [], 0)
    assert "nobody could be asked" in run.text


def test_a_session_that_is_asked_from_python_asks_the_person_too(asking):
    asking.kernel.run("ran = 0")
    with Server(*loop([Call("python", {"code": CODE})], [Say("Done.")])) as server:
        asking.use(server)
        session = "get_ipython().magics_manager.registry['Alloy'].session()"
        run = asking.kernel.run(f"{session}.chat('go').text", answers=["n"])
    assert (run.ok, len(run.prompts), asking.evaluate("ran")) == (True, 1, 0)


def test_a_cell_can_allow_everything(asks):
    run, _, ran = asks(CODE, flags="--approve all")
    assert (run.prompts, ran) == ([], 1)


def test_everything_can_be_allowed_from_now_on(asking):
    asking.kernel.run("ran = 0")
    with Server(*loop([Call("python", {"code": CODE})], [Say("Done.")])) as server:
        asking.use(server, approve="all")
        assert asking.ask("go", answers=[]).ok
    assert asking.evaluate("ran") == 1


def test_what_only_reads_is_not_asked_about(asking, tmp_path):
    note = asking.evaluate("__import__('os').getcwd()") + "/note.txt"
    asking.kernel.run(f"open({note!r}, 'w').write('a note')")
    with Server(*loop([Call("read", {"file_path": note})], [Say("Done.")])) as server:
        asking.use(server)
        run = asking.ask("go", answers=[])
    assert (run.ok, run.prompts) == (True, [])
    assert "a note" in _results(server.requests[1])


def test_a_shell_command_is_shown_as_it_would_run(asking):
    command = "echo 'one' &&\n  touch two"
    with Server(*loop([Call("bash", {"command": command})], [Say("Done.")])) as server:
        asking.use(server)
        run = asking.ask("go", answers=["n"])
    assert command in run.prompts[0]
    assert "shell command" in run.prompts[0]


def test_the_card_shows_what_waits_for_the_person(asking):
    with Server(*loop([Call("python", {"code": CODE})], [Say("Done.")])) as server:
        asking.use(server)
        run, id_ = asking.kernel.send("%%alloy\ngo", allow_stdin=True)
        asking.until_asked(run, id_)
        asking.until_shown(run, id_, "waits for you")
        assert "ran = globals()" in run.text
        asking.kernel.client.input("n")
        asking.kernel.finish(run, id_)
    assert "waits for you" not in run.text


# --- with a card ----------------------------------------------------------------------------------


@pytest.fixture
def is_patient(asking):
    with patience(asking.kernel):
        yield


@pytest.fixture
def cards(asking, is_patient):
    """Let the model call python, and answer each card; return the run, the front end and more."""

    def ask(*codes, answers, flags="", **front):
        asking.kernel.run("ran = 0")
        if not has_subshells(asking.kernel):
            pytest.skip("this ipykernel hears no widget while a cell runs")
        page = FrontEnd(asking.kernel, *answers, **front)
        calls = [[Call("python", {"code": code})] for code in codes]
        with Server(*loop(*calls, [Say("Done.")])) as server:
            asking.use(server)
            run, id_ = asking.kernel.send(f"%%alloy {flags}\ngo", allow_stdin=True)
            asking.kernel.finish(run, id_, on_message=page.look)
        told = [_results(request) for request in server.requests[1:]]
        return run, page, told, asking.evaluate("ran")

    return ask


def test_a_card_asks_with_the_exact_code_and_nothing_is_typed(cards):
    run, page, told, ran = cards(CODE, answers=[{"choice": "once"}])
    assert (run.ok, run.prompts, ran, told) == (True, [], 1, ["ran 1"])
    (question,) = page.questions
    assert (question["subject"], question["editable"], question["kind"]) == (CODE, CODE, "code")
    assert "your rights" in question["risk"]


def test_the_decision_stands_in_the_card_of_the_call_and_no_widget_is_left(cards):
    run, page, _, _ = cards(CODE, answers=[{"choice": "once"}])
    assert "🔧 python ✓" in run.text
    assert "allowed once" in run.text
    assert "allowed once" in run.html
    assert VIEW not in json.dumps([output.get("data") for output in run.outputs])
    assert page.opened == page.closed != set()


def test_a_card_denies_with_a_reason(cards):
    run, _, told, ran = cards(CODE, answers=[{"choice": "denied", "text": "use a copy"}])
    assert ran == 0
    assert told == ["The user rejected this call; it did not run. use a copy"]
    assert "✗ not allowed" in run.text
    assert " · denied: use a copy" in run.text


def test_what_was_allowed_for_the_session_is_not_asked_again(cards, asking):
    _, page, _, ran = cards(CODE, CODE, answers=[{"choice": "session"}])
    assert (len(page.questions), ran) == (1, 2)
    again, page, _, ran = cards(CODE, answers=[])
    assert (len(page.questions), ran) == (0, 1)
    assert "allowed before" in again.text
    listed = asking.kernel.run("%alloy approve").text
    assert "allowed in this session" in listed
    assert "Forgotten: 1 call" in asking.kernel.run("%alloy approve forget").text
    _, page, _, ran = cards(CODE, answers=[{"choice": "denied"}])
    assert (len(page.questions), ran) == (1, 0)


def test_all_of_a_turn_is_allowed_by_one_button(cards):
    _, page, _, ran = cards(CODE, f"{CODE}\n", answers=[{"choice": "turn"}])
    assert (len(page.questions), ran) == (1, 2)


def test_what_was_edited_runs_and_the_model_is_told(cards):
    edited = "ran = 7\nprint('edited')"
    run, _, told, ran = cards(CODE, answers=[{"choice": "edited", "text": edited}])
    assert ran == 7
    assert told[0].startswith(f"The user edited this call before it ran. What ran:\n{edited}")
    assert told[0].endswith("edited")
    assert "edited by you" in run.text


def test_only_the_first_answer_counts_and_odd_ones_mean_nothing(asking, is_patient):
    odd = [{"choice": "everything"}, {"choice": 3}, {"choice": "denied", "text": 3}, {}, [], "y"]

    class Twice(FrontEnd):
        def press(self, comm_id, content):
            if content != {"ready": True}:
                for each in odd:
                    super().press(comm_id, {"choice": None} if not isinstance(each, dict) else each)
                super().press(comm_id, content)
                content = {"choice": "once"}
            super().press(comm_id, content)

    asking.kernel.run("ran = 0")
    if not has_subshells(asking.kernel):
        pytest.skip("this ipykernel hears no widget while a cell runs")
    page = Twice(asking.kernel, {"choice": "denied", "text": "first"})
    with Server(*loop([Call("python", {"code": CODE})], [Say("Done.")])) as server:
        asking.use(server)
        run, id_ = asking.kernel.send("%%alloy\ngo", allow_stdin=True)
        asking.kernel.finish(run, id_, on_message=page.look)
    assert (run.ok, asking.evaluate("ran")) == (True, 0)
    assert "denied: first" in run.text


def test_a_front_end_that_shows_no_card_is_asked_in_words(asks, asking):
    page = FrontEnd(asking.kernel, shows=False)
    run, _, ran = asks(CODE, CODE, answers=["y", "n"], on_message=page.look)
    assert (len(run.prompts), ran) == (2, 1)
    # It was tried once in the turn, not for each call, and nothing of the card is left.
    assert len(page.questions) == (1 if has_subshells(asking.kernel) else 0)
    assert page.opened == page.closed
    assert VIEW not in json.dumps([output.get("data") for output in run.outputs])


def test_a_front_end_without_subshells_is_asked_in_words(asks, asking):
    page = FrontEnd(asking.kernel, {"choice": "once"}, subshell=False)
    run, _, ran = asks(CODE, answers=["n"], on_message=page.look)
    assert (len(run.prompts), ran) == (1, 0)


def test_an_interrupt_while_a_card_waits_stops_the_turn_at_once_and_nothing_ran(asking, is_patient):
    asking.kernel.run("ran = 0")
    if not has_subshells(asking.kernel):
        pytest.skip("this ipykernel hears no widget while a cell runs")
    page = FrontEnd(asking.kernel)
    with Server(*loop([Call("python", {"code": CODE})], [Say("Done.")])) as server:
        asking.use(server)
        run, id_ = asking.kernel.send("%%alloy\ngo", allow_stdin=True)

        def look(message):
            page.look(message)
            if page.questions and not stopped:
                time.sleep(0.3)  # until the kernel knows that the card is there
                stopped.append(asking.kernel.interrupt())

        stopped = []
        asking.kernel.finish(run, id_, on_message=look)
    assert "stopped" in run.text
    assert "stopped while asking" in run.text
    assert (asking.evaluate("ran"), len(server.requests)) == (0, 1)
    assert page.opened == page.closed
    assert asking.kernel.run("1 + 1").ok


def test_an_interrupt_while_words_are_asked_stops_the_turn_at_once(asking):
    asking.kernel.run("ran = 0")
    with Server(*loop([Call("python", {"code": CODE})], [Say("Done.")])) as server:
        asking.use(server)
        run, id_ = asking.kernel.send("%%alloy\ngo", allow_stdin=True)
        asking.until_asked(run, id_)
        asking.kernel.interrupt()
        asking.kernel.finish(run, id_)
    assert "stopped while asking" in run.text
    assert (asking.evaluate("ran"), len(server.requests)) == (0, 1)


# --- in words: the same choices -------------------------------------------------------------------


def test_words_allow_just_this_for_the_session(asks, asking):
    run, _, ran = asks(CODE, CODE, answers=["s"])
    assert (len(run.prompts), ran) == (1, 2)
    run, _, ran = asks(f"{CODE}  # more", answers=["n"])
    assert (len(run.prompts), ran) == (1, 0)
    assert asking.kernel.run("%alloy approve forget").ok


def test_words_can_be_edited_line_by_line(asks):
    answers = ["e", "ran = 5", "print(ran)", "."]
    run, told, ran = asks(CODE, answers=answers)
    assert ran == 5
    assert told[0].startswith("The user edited this call before it ran. What ran:\nran = 5\nprint")
    assert len(run.prompts) == 4


def test_going_back_from_an_edit_asks_again(asks):
    run, _, ran = asks(CODE, answers=["e", ".", "n"])
    assert (len(run.prompts), ran) == (3, 0)


def test_a_function_decides(asking):
    asking.kernel.run("def only_safe(call, tool):\n    return 'danger' not in str(call.input)")
    asking.kernel.run("ran = 0")
    codes = [[Call("python", {"code": CODE})], [Call("python", {"code": f"{CODE}  # danger"})]]
    with Server(*loop(*codes, [Say("Done.")])) as server:
        asking.use(server, approve="only_safe")
        run = asking.ask("go")
        assert "only_safe — this function decides" in asking.kernel.run("%alloy approve").text
    assert (run.ok, run.prompts, asking.evaluate("ran")) == (True, [], 1)
    assert "denied by the policy" in run.text


def test_a_function_that_fails_allows_nothing(asking):
    asking.kernel.run("def broken(call, tool):\n    raise ValueError('oops')")
    asking.kernel.run("ran = 0")
    with Server(*loop([Call("python", {"code": CODE})], [Say("Done.")])) as server:
        asking.use(server, approve="broken")
        run = asking.ask("go")
    assert (run.ok, asking.evaluate("ran")) == (True, 0)
    assert "ValueError: oops" in _results(server.requests[1])


def test_decisions_are_in_the_journal(asking):
    asking.kernel.run("%config Alloy.journal = 'on'")
    asking.kernel.run("%alloy approve ask")
    with Server(*loop([Call("python", {"code": CODE})], [Say("Done.")])) as server:
        flags = f"-s journaled -m openai-compat/x --base-url {server.url}"
        run = asking.ask("go", flags, answers=["not now"])
    assert run.ok, run.text
    kept = asking.evaluate(
        "[(e.body.how, e.body.allowed, e.body.reason) for e in (lambda j: j.events(j.head))("
        "get_ipython().magics_manager.registry['Alloy'].sessions['journaled'].journal)"
        " if type(e.body).__name__ == 'ApprovalDecided']"
    )
    assert kept == [("denied", False, "not now")]
    asking.kernel.run("%config Alloy.journal = 'auto'")

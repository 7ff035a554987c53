"""Nothing that writes or runs happens unasked, and the person sees exactly what would happen."""

import pytest

from tests.servers.sse import Server, loop
from tests.servers.wire import Call, Say

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
    assert "[y]es, [n]o, [a]ll in this turn, or say why not: " in run.prompts[0]
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

"""What a cell shows that asks several models, or for more than words, in a real kernel."""

import pytest

from tests.servers.sse import Server, json_answer, loop
from tests.servers.wire import Call, Say, words

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

BOTH = "-m openai-compat/one,openai-compat/two"


@pytest.fixture
def compares(asking):
    """Let two models of one server answer, each by a script of its own."""

    def compare(first, second, flags="", per_second=None, **options):
        scripts = {
            name: iter(loop(*replies, per_second=per_second))
            for name, replies in (("one", first), ("two", second))
        }

        def answer(request):
            handler = next(scripts[request.json["model"]], None)
            if handler is None:
                return json_answer({"error": {"message": "no more"}}, status=400)
            return handler(request)

        with Server(otherwise=answer) as server:
            asking.use(server, "chat")
            return asking.ask("hello", f"{BOTH} --base-url {server.url} {flags}", **options)

    return compare


def test_two_answers_grow_side_by_side_in_one_output(compares):
    run = compares([[Say(words(150))]], [[Say(words(150))]], per_second=60)
    assert run.ok, run.text
    frames = run.of("display_data", "update_display_data")
    assert len({frame.content["transient"]["display_id"] for frame in frames}) == 1
    assert len(frames) >= 5
    assert len(frames) <= 10 * run.seconds + 6
    growing = [f.content["data"]["text/plain"].count("word") for f in frames]
    assert growing == sorted(growing)
    html = run.outputs[0]["data"]["text/html"]
    assert html.count("display:grid") == 1
    assert html.count("word49") == 4


def test_a_saved_comparison_reads_without_html(compares):
    run = compares([[Say("From **one**.")]], [[Say("From two.")]])
    data = run.outputs[0]["data"]
    assert set(data) == {"text/html", "text/markdown", "text/plain"}
    assert data["text/plain"].index("── 1 · openai-compat/one ──") < data["text/plain"].index(
        "two ──"
    )
    assert "From **one**." in data["text/markdown"]


def test_a_long_comparison_keeps_the_budget_of_bytes(compares):
    text = words(3000)
    run = compares([[Say(text, size=200)]], [[Say(text, size=200)]], per_second=30)
    final = sum(len(text) for text in run.outputs[0]["data"].values())
    # The limits of a canvas: a burst, 22 kB a second, and the last frame.
    assert run.bytes <= 60_000 + 22_000 * run.seconds + 2 * final


def test_an_interrupt_stops_both_and_the_kernel_goes_on(compares, asking):
    stopped = []

    def look(message):
        shown = message.content.get("data", {}).get("text/plain", "")
        if not stopped and shown.count("word00") >= 2:
            stopped.append(1)
            asking.kernel.interrupt()

    run = compares(
        [[Say(words(3000))]], [[Say(words(3000))]], flags="-o both", per_second=50, on_message=look
    )
    assert run.reply["ename"] == "Interrupted"
    assert asking.evaluate("[r.text[:6] for r in both]") == ["word00", "word00"]


def test_the_picked_answer_is_gone_on_with(compares, asking):
    compares([[Say("From one.")]], [[Say("From two.")]])
    assert "goes on with" in asking.kernel.run("%alloy pick two").text
    assert "From two." in asking.kernel.run("%alloy history").text


@pytest.fixture
def answers(asking):
    def answer(*replies, flags, **options):
        with Server(*loop(*replies)) as server:
            asking.use(server)
            return asking.ask("hello", flags, **options)

    return answer


def test_code_is_put_into_the_next_cell(answers):
    run = answers([Say("```python\nx = 1\n```")], flags="-f code", answers=[])
    payload = run.reply["payload"]
    assert [(p["source"], p["text"]) for p in payload] == [("set_next_input", "x = 1")]


def test_without_a_person_the_code_is_shown_to_be_copied(answers):
    run = answers([Say("```python\nx = 1\n```")], flags="-f code")
    assert run.reply["payload"] == []
    assert "Copy it into a cell" in run.text


def test_a_table_is_shown_as_one(answers, asking):
    pytest.importorskip("pandas")
    call = Call("answer", {"value": [{"a": 1, "b": "<img src=x onerror=y>"}]})
    run = answers([call], flags="--as DataFrame -o made")
    assert "<table" in run.html
    assert "<img" not in run.html
    assert asking.evaluate("(type(made).__name__, made.shape)") == ("DataFrame", (1, 2))


def test_a_dry_run_sends_nothing_and_leaves_no_trace(answers, asking):
    with Server(*loop([Say("x")])) as server:
        asking.use(server)
        run = asking.ask("hello", "--dry-run", cell_id="c1")
        assert run.ok
        assert "text/html" in run.outputs[0]["data"]
        assert server.requests == []
    assert "x" not in asking.kernel.run("%alloy history").text.split()

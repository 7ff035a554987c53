"""What one sees while a cell asks, and what is there afterwards."""

from itertools import pairwise

import pytest

from tests.servers.sse import Server, loop
from tests.servers.wire import Call, Say, Think, words


@pytest.fixture
def answers(asking):
    """Ask for a scripted answer; return the run."""

    def ask(*replies, prompt="hello", flags="", wire="anthropic", per_second=None, cell=None):
        with Server(*loop(*replies, per_second=per_second)) as server:
            asking.use(server, wire, approve="all")
            run = asking.kernel.run(cell) if cell else asking.ask(prompt, flags)
            run.server = server
            return run

    return ask


@pytest.mark.parametrize("wire", ["anthropic", "chat"])
def test_an_answer_is_seen_while_it_comes(answers, wire):
    run = answers([Say(words(120), size=7)], per_second=100, wire=wire)
    texts = [m.content["data"]["text/plain"] for m in run.of("display_data", "update_display_data")]
    growing = [text for text in texts if text.startswith("word00")]
    assert len(growing) >= 4
    assert all(later.startswith(earlier.rstrip()) for earlier, later in pairwise(growing))
    first = next(m for m in run.messages if "word00" in str(m.content))
    assert first.arrived_at < run.replied_at - 0.5
    assert run.ok


def test_frames_come_at_most_ten_a_second(answers):
    run = answers([Say(words(200), size=7)], per_second=100)
    assert len(run.of("display_data", "update_display_data")) <= 10 * run.seconds + 6


def test_thinking_tools_and_the_footer_are_outputs_of_their_own(answers):
    call = Call("python", {"code": "6 * 7"})
    run = answers([Think("Let me see."), Say("I compute."), call], [Say("It is **42**.")])
    kinds = [output["data"]["text/plain"].split()[0] for output in run.outputs]
    assert kinds == ["Thought", "I", "🔧", "It", "↑22"]


def test_every_output_is_html_markdown_and_plain(answers):
    run = answers([Think("hm"), Call("python", {"code": "1"})], [Say("Done.")])
    for output in run.outputs:
        assert set(output["data"]) == {"text/html", "text/markdown", "text/plain"}
        assert not any("object at 0x" in text for text in output["data"].values())


def test_the_footer_carries_facts_for_programs(answers):
    facts = answers([Say("Hi.")]).outputs[-1]["metadata"]["alloy"]
    assert facts["status"] == "completed"
    assert facts["usage"]["output_tokens"] == 7
    assert float(facts["usd"]) > 0


def test_a_frame_that_waits_is_not_lost_while_a_tool_runs(answers):
    call = Call("python", {"code": "import time; time.sleep(2.2); 'slept'"})
    run = answers([call], [Say("Done.")])
    texts = [m.content["data"]["text/plain"] for m in run.of("display_data", "update_display_data")]
    assert any("running 1 s" in text or "running 2 s" in text for text in texts)


def test_frames_are_no_part_of_a_tool_s_result(answers):
    call = Call("python", {"code": "import time; time.sleep(1.2); 'slept'"})
    run = answers([call], [Say("Done.")])
    (result,) = run.server.requests[1].json["messages"][-1]["content"]
    assert result["content"] == "'slept'"


def test_what_a_tool_displays_is_seen_in_the_cell(answers):
    code = "from IPython.display import HTML, display; display(HTML('<b>bold</b>'))"
    run = answers([Call("python", {"code": code})], [Say("Done.")])
    assert "<b>bold</b>" in run.html


def test_a_figure_is_seen_before_the_end_of_the_answer(answers, asking):
    pytest.importorskip("matplotlib")
    asking.kernel.run("%matplotlib inline")
    code = "import matplotlib.pyplot as plt\n_ = plt.plot([1, 2])"
    run = answers([Call("python", {"code": code})], [Say("Done.")])
    kinds = [sorted(output["data"]) for output in run.outputs]
    assert ["image/png", "text/plain"] in kinds
    assert kinds[-1] != ["image/png", "text/plain"]
    told = run.server.requests[1].json["messages"][-1]["content"][0]["content"]
    assert "[shown to the user: <Figure size" in str(told)


def test_a_tool_that_leaves_does_not_end_the_kernel(answers, asking):
    run = answers([Call("python", {"code": "exit()"})], [Say("Still here.")])
    assert run.ok
    assert run.reply["payload"] == []
    assert asking.evaluate("1 + 1") == 2


def test_a_tool_stops_at_its_limit_and_the_cell_goes_on(answers, asking):
    asking.kernel.run("%config Alloy.tool_timeout = 0.5")
    try:
        run = answers([Call("python", {"code": "while True:\n    pass"})], [Say("Went on.")])
    finally:
        asking.kernel.run("%config Alloy.tool_timeout = 120.0")
    assert run.ok
    assert "Went on." in run.text
    assert "limit" in run.text
    assert run.seconds < 10


def test_the_result_does_not_draw_itself_again_in_its_cell(answers):
    run = answers([Say("Once only.")])
    assert run.text.count("Once only.") == 1
    assert not run.of("execute_result")


@pytest.mark.parametrize("later", ["kept", "_", "display(kept)", "kept2 = kept; kept2"])
def test_a_result_shown_later_draws_itself_once(answers, asking, later):
    answers([Think("hm"), Say("Drawn **again**.")], flags="-o kept")
    run = asking.kernel.run(later)
    assert run.text.count("Drawn **again**.") == 1
    assert "<strong>again</strong>" in run.html
    assert "Thought" in run.text


def test_a_line_shows_its_answer_once(answers):
    run = answers([Say("Once only.")], cell="%alloy hello?")
    assert run.text.count("Once only.") == 1


def test_an_assigned_line_shows_its_answer_while_it_comes(answers, asking):
    run = answers([Say("Once only.")], cell="kept = %alloy hello?")
    assert run.text.count("Once only.") == 1
    assert asking.evaluate("kept.text") == "Once only."


def test_time_measures_an_answer(answers):
    run = answers([Say("Timed.")], cell="%%time\n%alloy hello")
    assert run.text.count("Timed.") == 1
    assert "Wall time" in run.stdout


def test_capture_keeps_the_outputs(answers, asking):
    run = answers([Say("Captured.")], cell="%%capture kept\n%%alloy\nhello")
    assert (run.ok, run.outputs) == (True, [])
    assert "Captured." in asking.evaluate("str([o.data for o in kept.outputs])")


def test_a_cell_in_a_function_and_a_loop_asks(answers):
    cell = "for word in ('one', 'two'):\n    %alloy -m anthropic/x --base-url $URL {word}\n"
    with Server(*loop([Say("First.")], [Say("Second.")])) as server:
        run = answers(cell=cell.replace("$URL", server.url))
    assert "First." in run.text
    assert "Second." in run.text


def test_other_cells_do_not_disturb_an_answer(answers, asking):
    with Server(*loop([Say(words(60), size=7)], per_second=100)) as server:
        asking.use(server)
        first, id_ = asking.kernel.send("%%alloy\nhello")
        asking.kernel.finish(first, id_)
        second = asking.kernel.run("print('after')")
    assert "word59" in first.text
    assert second.text == "after\n"


@pytest.mark.parametrize("wire", ["anthropic", "chat"])
def test_a_conversation_goes_on_with_another_model(answers, asking, wire):
    answers([Think("hm"), Say("First."), Call("python", {"code": "1"})], [Say("Then.")])
    with Server(*loop([Say("Second.")])) as server:
        model = {"anthropic": "anthropic/other", "chat": "openai-compat/other"}[wire]
        asking.kernel.run(f"%alloy model {model} --base-url {server.url}")
        run = asking.ask("go on")
    assert "Second." in run.text
    said = server.requests[0].body.decode()
    assert "First." in said
    assert "Then." in said
    assert server.requests[0].json["model"] == "other"


def test_sessions_and_new_conversations_are_apart(asking):
    with Server(*loop(*[[Say(f"Answer {n}.")] for n in range(4)])) as server:
        asking.use(server)
        asking.ask("one")
        asking.ask("two", "-s other")
        asking.ask("three", "-s other")
        asking.ask("four", "--new")
    counts = [len(request.json["messages"]) for request in server.requests]
    assert counts == [1, 1, 3, 1]


def test_a_limit_on_cost_sends_nothing(asking):
    with Server(*loop([Say("Dear.")])) as server:
        asking.use(server)
        run = asking.ask("hello", "-m anthropic/claude-sonnet-4-6 --max-cost 0.00001")
    assert not server.requests
    assert "may cost up to" in run.text

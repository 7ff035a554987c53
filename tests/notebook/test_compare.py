"""Several models answer one prompt side by side, and the conversation goes on with one of them."""

import asyncio
import os
import signal
import threading

import pytest

from alloy_nb.engine.run import RunStatus
from alloy_nb.errors import Interrupted
from alloy_nb.events import BlockSealed, BlockStarted, Event, TextDelta
from alloy_nb.notebook.drawing.side_by_side import Columns
from alloy_nb.notebook.drawing.transcript import Transcript
from alloy_nb.notebook.turns.compare import Comparison
from tests.notebook.hostile import PAYLOADS, as_jupyterlab, offences
from tests.notebook.scripting import magics, refused
from tests.servers.sse import Server, json_answer, loop
from tests.servers.wire import Call, Say, words


class Asked:
    """What one model was asked, of all that a server was."""

    def __init__(self, server, model):
        self._server, self._model = server, model

    @property
    def requests(self):
        return [r for r in self._server.requests if r.json["model"] == self._model]


@pytest.fixture
def two(cell, monkeypatch):
    """A server that answers each of two models by a script of its own."""
    running = []

    def begin(first, second, per_second=None):
        scripts = {
            name.rpartition("/")[2]: iter(loop(*replies, per_second=per_second))
            for name, replies in ((A, first), (B, second))
        }

        def answer(request):
            handler = next(scripts[request.json["model"]], None)
            if handler is None:
                return json_answer({"error": {"message": "no more"}}, status=400)
            return handler(request)

        server = Server(otherwise=answer).__enter__()
        running.append(server)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-canary-0123456789abcdefgh")
        return Asked(server, "claude-sonnet-4-6"), Asked(server, "small")

    yield begin
    for server in running:
        server.close()


A, B = "anthropic/claude-sonnet-4-6", "anthropic/small"
BOTH = f"-m {A},{B}"


def session(shell):
    return magics(shell).session()


# --- asking ---------------------------------------------------------------------------------------


def test_each_is_asked_the_same_with_the_history(cell, two):
    one, other = two([[Say("First.")], [Say("From A.")]], [[Say("From B.")]])
    cell(f"%alloy model {A}")
    cell("%%alloy\nthe prompt before")
    ran = cell(f"%%alloy {BOTH}\nhello")
    assert ran.ok, ran.text
    said = [str(server.requests[-1].json["messages"]) for server in (one, other)]
    assert all("the prompt before" in text and "hello" in text for text in said)


def test_the_value_holds_what_each_said_used_and_cost(cell, two, shell):
    two([[Say("From A.")]], [[Say("From B.")]])
    cell(f"%%alloy {BOTH} -o both\nhello")
    both = shell.user_ns["both"]
    assert isinstance(both, Comparison)
    assert [result.text for result in both] == ["From A.", "From B."]
    assert both["small"].text == "From B."
    assert both.models == (A, B)
    assert both[0].cost.usd > 0
    assert both[1].cost.usd is None
    assert [row["output_tokens"] for row in both.rows] == [7, 7]


def test_it_is_a_table_where_there_is_pandas(cell, two, shell):
    pytest.importorskip("pandas")
    two([[Say("From A.")]], [[Say("From B.")]])
    cell(f"%%alloy {BOTH} -o both\nhello")
    assert list(shell.user_ns["both"].table.text) == ["From A.", "From B."]


def test_all_are_asked_at_once(cell, two, monkeypatch):
    two([], [])
    both, [said] = threading.Barrier(2, timeout=20), loop([Say("Hello.")])

    def answer(request):
        both.wait()  # neither is answered before the other is asked
        return said(request)

    with Server(otherwise=answer) as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        assert cell(f"%%alloy {BOTH}\nhello").ok


def test_nothing_of_it_is_in_the_conversation(cell, two, shell):
    two([[Say("From A.")]], [[Say("From B.")]])
    cell(f"%%alloy {BOTH}\nhello")
    assert session(shell).messages == []


def test_only_tools_that_read_are_there(cell, two):
    one, other = two([[Say("From A.")]], [[Say("From B.")]])
    cell(f"%%alloy {BOTH}\nhello")
    assert [tool["name"] for tool in one.requests[0].json["tools"]] == ["read"]
    assert [tool["name"] for tool in other.requests[0].json["tools"]] == ["read"]


def test_a_tool_that_writes_is_refused(cell, two):
    one, other = two([[Say("x")]], [[Say("x")]])
    assert "tools that only read" in refused(cell(f"%%alloy {BOTH} -t python\nhello"))
    assert one.requests == other.requests == []


def test_a_tool_that_reads_is_used(cell, two, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("the content")
    one, _ = two([[Call("read", {"file_path": "a.txt"})], [Say("I read.")]], [[Say("From B.")]])
    ran = cell(f"%%alloy {BOTH}\nhello")
    assert ran.result[0].text == "I read."
    assert "the content" in str(one.requests[1].json["messages"])


def test_one_that_fails_does_not_stop_the_others(cell, two):
    two([], [[Say("From B.")]])
    ran = cell(f"%%alloy {BOTH}\nhello")
    assert ran.ok, ran.text
    assert ran.result[0].status is RunStatus.ERROR
    assert ran.result[1].text == "From B."
    assert ran.result[0].error in ran.stdout


def test_one_without_a_key_does_not_stop_the_others(cell):
    ran = cell(f"%%alloy -m {A},demo\nhello")
    assert ran.ok
    assert "No key for anthropic" in ran.result[0].error
    assert "scripted demo" in ran.result[1].text


def test_a_fault_in_one_does_not_stop_the_others(cell, two, shell):
    """A middleware of the user's may fail in any way."""
    from alloy_nb.engine.middleware.base import Middleware

    class Broken(Middleware):
        def model(self, request, next):  # noqa: A002  # the word of every onion
            if len(request.messages) == 1 and two_asked.append(1) is None and len(two_asked) == 1:
                raise ZeroDivisionError("broken")
            return next(request)

    two_asked = []
    two([[Say("From A.")]], [[Say("From B.")]])
    session(shell).configure(middleware=[Broken()])
    ran = cell(f"%%alloy {BOTH}\nhello")
    assert ran.ok, ran.text
    assert sorted(result.ok for result in ran.result) == [False, True]
    assert "broken" in ran.stdout


def test_an_unknown_model_is_told_before_any_is_asked(cell, two):
    one, _ = two([[Say("x")]], [[Say("x")]])
    assert "Unknown model" in refused(cell(f"%%alloy -m {A},nonsense\nhello"))
    assert one.requests == []


def test_the_limit_holds_for_all_together(cell, two):
    one, _ = two([[Say("From A.")]], [[Say("x")]])
    ran = cell(f"%%alloy -m {A},{A},{A} --max-cost 0.13 --set max_output_tokens=8000\nhello")
    # The worst case of one is 12 cents of the 13, so that two of three are not sent.
    assert len(one.requests) == 1
    assert sorted(result.status for result in ran.result) == [
        RunStatus.BUDGET_EXCEEDED,
        RunStatus.BUDGET_EXCEEDED,
        RunStatus.COMPLETED,
    ]


def test_each_may_answer_with_a_value(cell, two):
    value = Call("answer", {"value": 3})
    two([[value]], [[Call("answer", {"value": 4})]])
    ran = cell(f"%%alloy {BOTH} --as int\nhello")
    assert [result.output for result in ran.result] == [3, 4]


@pytest.mark.parametrize("flag", ["--bg", "--new", "--fork x", "--fresh"])
def test_flags_that_mean_one_model_are_refused(cell, flag):
    assert "several models do not go together" in refused(cell(f"%%alloy -m demo,demo {flag}\nhi"))


def test_more_than_eight_are_too_many(cell):
    assert "at most 8" in refused(cell(f"%%alloy -m {','.join(['demo'] * 9)}\nhello"))


def test_a_comma_without_a_second_model_is_one_model(cell):
    assert cell("%%alloy -m demo,\nhello").result.text.startswith("I am the scripted demo")


def test_once_reads_no_history(cell, two):
    one, _ = two([[Say("First.")], [Say("From A.")]], [[Say("From B.")]])
    cell(f"%alloy model {A}")
    cell("%%alloy\nthe prompt before")
    cell(f"%%alloy --once {BOTH}\nhello")
    assert "the prompt before" not in str(one.requests[-1].json["messages"])


def test_an_interrupt_stops_all_and_keeps_what_they_said(cell, two, shell, monkeypatch):
    one, other = two([[Say(words(3000))]], [[Say(words(3000))]], per_second=50)

    def interrupt():
        while not (one.requests and other.requests):
            threading.Event().wait(0.05)
        threading.Event().wait(1.0)
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Thread(target=interrupt)
    timer.start()
    ran = cell(f"%%alloy {BOTH} -o both\nhello")
    timer.join()
    assert isinstance(ran.error, Interrupted)
    assert [result.text[:6] for result in shell.user_ns["both"]] == ["word00", "word00"]
    for asked in (one, other):
        assert asked.requests[0].wait_closed(5)


# --- going on -------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["2", B, "small", "SMALL"])
def test_the_conversation_goes_on_with_the_one_that_is_picked(cell, two, shell, which):
    two([[Say("From A.")]], [[Say("From B.")]])
    cell(f"%%alloy {BOTH}\nhello")
    assert "goes on with the answer of anthropic/small" in cell(f"%alloy pick {which}").stdout
    assert [message.text for message in session(shell).messages] == ["hello", "From B."]


def test_the_next_prompt_is_sent_with_the_picked_answer(cell, two):
    one, _ = two([[Say("From A.")], [Say("Next.")]], [[Say("From B.")]])
    cell(f"%alloy model {A}")
    cell(f"%%alloy {BOTH}\nhello")
    cell("%alloy pick 2")
    assert cell("%%alloy\nand then?").ok
    assert "From B." in str(one.requests[-1].json["messages"])


def test_the_others_are_on_branches(cell, two, shell, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cell("%config Alloy.journal = 'on'")
    two([[Say("From A.")]], [[Say("From B.")]])
    cell(f"%%alloy {BOTH}\nhello")
    told = cell("%alloy pick 2").stdout
    name = told.rpartition(": ")[2].strip().rstrip(".")
    assert session(shell).messages[-1].text == "From B."
    cell(f"%alloy use {name}")
    assert session(shell).messages[-1].text == "From A."


def test_what_was_picked_is_in_the_journal(cell, two, shell, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cell("%config Alloy.journal = 'on'")
    two([[Say("From A.")]], [[Say("From B.")]])
    cell(f"%%alloy {BOTH}\nhello")
    cell("%alloy pick small")
    journal = session(shell).journal
    assert [message.text for message in journal.messages()] == ["hello", "From B."]
    assert any(
        event.body.__class__.__name__ == "TextDelta" for event in session(shell).events_of(1)
    )


def test_what_they_cost_is_counted_once(cell, two, shell):
    two([[Say("From A.")]], [[Say("From B.")]])
    ran = cell(f"%%alloy -m {A},demo\nhello")
    desk = magics(shell).desk

    def counted():
        return sum(s.cost.known for s in (*desk.sessions.values(), *desk.asides))

    before = counted()
    cell("%alloy pick 1")
    assert counted() == before == ran.result.cost.known


@pytest.mark.parametrize(
    ("which", "told"),
    [
        ("", "Which?"),
        ("3", "There is no answer 3"),
        ("0", "no answer 0"),
        ("claude,x", "no answer"),
    ],
)
def test_a_pick_of_nothing_lists_what_there_is(cell, two, which, told):
    two([[Say("From A.")]], [[Say("From B.")]])
    cell(f"%%alloy {BOTH}\nhello")
    said = refused(cell(f"%alloy pick {which}"))
    assert told in said
    assert f"1 ({A}), 2 ({B})" in said


def test_without_a_comparison_there_is_nothing_to_pick(cell):
    assert "Nothing was compared" in refused(cell("%alloy pick 1"))


def test_one_that_failed_cannot_be_picked(cell, shell):
    cell(f"%%alloy -m {A},demo\nhello")
    assert "gave no answer" in refused(cell("%alloy pick 1"))
    assert session(shell).messages == []


def test_a_second_pick_is_told_where_the_others_are(cell):
    cell("%%alloy -m demo,demo\nhello")
    cell("%alloy pick 1")
    assert "already" in refused(cell("%alloy pick 2"))


# --- drawing --------------------------------------------------------------------------------------


class Timer:
    def __init__(self, calls, timer):
        self._calls, self._timer = calls, timer

    def cancel(self):
        if self._timer in self._calls:
            self._calls.remove(self._timer)


class Tape:
    """Keeps the frames, and a clock that is set by hand."""

    def __init__(self):
        self.frames, self.now, self.calls = [], 0.0, []

    def publish(self, data, *, display_id, update, metadata):
        self.frames.append((display_id, update, data))

    def time(self):
        return self.now

    def call_later(self, delay, callback):
        timer = [self.now + delay, callback]
        self.calls.append(timer)
        return Timer(self.calls, timer)

    def run(self, until):
        while due := [timer for timer in self.calls if timer[0] <= until]:
            timer = min(due, key=lambda each: each[0])
            self.calls.remove(timer)
            self.now = max(self.now, timer[0])
            timer[1]()
        self.now = until


def said(text, number=1):
    return Event(1, number, "r", "a", 1, 0.0, text)


@pytest.fixture
def drawing():
    tape = Tape()
    columns = Columns(tape.publish, clock=tape)
    made = [columns.column(name, Transcript()) for name in ("a/one", "b/two")]
    for column in made:
        column.transcript.apply(said(BlockStarted(0, "text")))
    return tape, columns, made


def test_it_is_one_output_that_is_updated(drawing):
    tape, columns, made = drawing
    for second in range(5):
        for column in made:
            column.transcript.apply(said(TextDelta(0, f"more {second} ")))
            column.mark()
        tape.run(second + 1.0)
    for column in made:
        column.close()
    columns.finish()
    assert len({id_ for id_, _, _ in tape.frames}) == 1
    assert [update for _, update, _ in tape.frames] == [False] + [True] * (len(tape.frames) - 1)
    assert len(tape.frames) >= 5


def test_frames_are_paced_by_the_bytes_that_they_send(drawing):
    tape, columns, made = drawing
    for step in range(2_000):  # two answers of 20,000 tokens, a hundred tokens a second
        for column in made:
            column.transcript.apply(said(TextDelta(0, "some more **words** of it " * 5)))
            column.mark()
        tape.run((step + 1) * 0.05)
    columns.finish()
    live = sum(len(text) for _, _, data in tape.frames[:-1] for text in data.values())
    assert live <= 22_000 * 100 * 1.1
    assert len(tape.frames) <= 10 * 100 + 2


def test_the_last_frame_has_all_of_each(drawing):
    tape, columns, made = drawing
    for column in made:
        column.transcript.apply(said(TextDelta(0, words(2000))))
        column.transcript.apply(said(BlockSealed(0)))
        column.close()
    columns.finish()
    data = tape.frames[-1][2]
    for kind in ("text/html", "text/markdown", "text/plain"):
        assert data[kind].count("word99") == 40
    assert data["text/html"].count("minmax(16em") == 1
    assert data["text/plain"].index("── a/one ──") < data["text/plain"].index("── b/two ──")


@pytest.mark.parametrize("name", PAYLOADS)
def test_nothing_of_an_answer_or_of_a_name_acts(name):
    evil, tape = PAYLOADS[name], Tape()
    columns = Columns(tape.publish, clock=tape)
    column = columns.column(f"x/{evil}", Transcript())
    column.transcript.apply(said(BlockStarted(0, "text")))
    for piece in (evil[: len(evil) // 2], evil[len(evil) // 2 :]):
        column.transcript.apply(said(TextDelta(0, piece)))
        column.mark()
        tape.run(tape.now + 5)
    column.close()
    columns.finish()
    for _, _, data in tape.frames:
        assert offences(data["text/html"]) == []
        assert as_jupyterlab(data.get("text/markdown", "")) == []


def test_an_error_stands_in_its_column(drawing):
    tape, columns, made = drawing
    made[0].transcript.failed("It broke.")
    made[0].close()
    columns.finish()
    plain = tape.frames[-1][2]["text/plain"]
    assert plain.index("It broke.") < plain.index("── b/two ──")


def test_a_frame_after_the_last_is_not_drawn(drawing):
    tape, columns, made = drawing
    columns.finish()
    count = len(tape.frames)
    made[0].mark()
    tape.run(100.0)
    assert len(tape.frames) == count


def test_columns_find_the_loop_that_they_are_marked_in():
    tape = Tape()

    async def draw():
        columns = Columns(tape.publish)
        column = columns.column("a", Transcript())
        column.mark()
        await asyncio.sleep(0.2)
        columns.finish()

    asyncio.run(draw())
    assert tape.frames

"""A real IPython in a real terminal: plain text as it comes, no HTML, questions, Tab and Ctrl-C."""

from __future__ import annotations

import os
import re
import sys
import time

import pytest

from tests.kernel_harness import clean_environment
from tests.servers.sse import Server, loop, paced, stream
from tests.servers.wire import Call, Reply, Say, Think, chat_events, words

pexpect = pytest.importorskip("pexpect", reason="a terminal of our own needs pexpect")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="pexpect needs a pseudo-terminal"),
]

_PROMPT = r"In \[\d+\]: "
_SEQUENCES = re.compile(r"\x1b\[[0-9;]*m")


class Terminal:
    """IPython as a person starts it, typed at."""

    def __init__(self, folder):
        env = clean_environment(folder / "home", {"ALLOY_DEMO_PACE": "0", "TERM": "xterm"})
        env["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
        arguments = ["-m", "IPython", "--simple-prompt", "--no-banner", "--no-confirm-exit"]
        self.child = pexpect.spawn(
            sys.executable,
            arguments,
            env=env,
            cwd=str(folder),
            encoding="utf-8",
            timeout=90,
            dimensions=(50, 200),
            echo=False,
        )
        self.child.expect(_PROMPT)
        assert self.type("%load_ext alloy_nb").strip() == ""

    def type(self, line):
        """Type a line; return what came before the next prompt."""
        self.child.sendline(line)
        return self.until(_PROMPT)

    def until(self, pattern):
        self.child.expect(pattern)
        return self.child.before.replace("\r\n", "\n")


@pytest.fixture
def terminal(tmp_path):
    running = Terminal(tmp_path)
    yield running
    running.child.close(force=True)


def asks(server, prompt="hello", flags=""):
    return f"%alloy -m openai-compat/scripted --base-url {server.url} {flags} {prompt}"


def test_an_answer_comes_as_plain_text_with_its_tools_and_its_footer(terminal):
    replies = [Think("Let me see."), Call("python", {"code": "6 * 7"})], [Say("It is **42**.")]
    with Server(*loop(*replies)) as server:
        said = terminal.type(asks(server, flags="--approve all"))
    assert "🔧 python ✓" in said
    assert "It is **42**." in said
    assert "↑" in said
    assert not re.search(r"<(div|details|pre|span|IPython)", said)


def test_only_colours_are_sent_to_the_terminal(terminal):
    hostile = "before \x1b]0;title\x07\x1b[2J\x1b[31mred\x07 after"
    with Server(*loop([Say(hostile)])) as server:
        said = terminal.type(asks(server))
    assert "before" in said
    assert "after" in said
    ours = set(re.findall(r"\x1b.{0,4}", said))
    assert all(_SEQUENCES.match(sequence) for sequence in ours), ours
    assert "\x07" not in said


def test_words_are_there_before_the_answer_ends(terminal):
    def slow(request):
        return stream(paced(chat_events(Reply([Say(words(400), size=7)])), 60))

    with Server(slow) as server:
        terminal.child.sendline(asks(server))
        terminal.until("word01")
        terminal.child.sendintr()
        # Stopped at that moment: some of it had not come yet.
        assert terminal.until(_PROMPT).count("word") < 350


def test_ctrl_c_stops_and_the_next_turn_works(terminal):
    def endless(request):
        return stream(paced(chat_events(Reply([Say(words(5000), size=7)])), 100))

    with Server(endless, *loop([Say("The next one.")])) as server:
        terminal.child.sendline(asks(server, "long", "-o kept"))
        terminal.until("word05")
        stopped = time.monotonic()
        terminal.child.sendintr()
        said = terminal.until(_PROMPT)
        assert time.monotonic() - stopped < 10
        assert "Stopped." in said
        assert "Traceback" not in said
        server.requests[0].wait_closed()
        assert "The next one." in terminal.type(asks(server, "go on"))
        assert "word05" in server.requests[1].body.decode()


def test_ctrl_c_stops_code_of_the_model(terminal):
    calls = [Call("python", {"code": "print('runs')\nimport time; time.sleep(300)"})]
    with Server(*loop(calls)) as server:
        terminal.child.sendline(asks(server, flags="--approve all"))
        server.wait_for_requests(1)
        terminal.child.expect(pexpect.TIMEOUT, timeout=1)
        terminal.child.sendintr()
        said = terminal.until(_PROMPT)
    assert "Stopped." in said
    assert terminal.type("print(6 * 7)").strip().endswith("42")


@pytest.mark.parametrize(("typed", "told"), [("y", "✓"), ("n", "not allowed")])
def test_a_person_is_asked_in_the_terminal(terminal, typed, told):
    with Server(*loop([Call("python", {"code": "answered = 6 * 7"})], [Say("Done.")])) as server:
        terminal.child.sendline(asks(server))
        shown = terminal.until("or say why not: ")
        assert "answered = 6 * 7" in shown
        terminal.child.sendline(typed)
        said = terminal.until(_PROMPT)
    assert told in said
    assert "Done." in said
    assert ("42" in terminal.type("print(globals().get('answered'))")) == (typed == "y")


def test_ctrl_c_at_the_question_denies_and_nothing_runs(terminal):
    with Server(*loop([Call("python", {"code": "asked = 1"})], [Say("Done.")])) as server:
        terminal.child.sendline(asks(server))
        terminal.until("asked = 1")
        terminal.child.expect(pexpect.TIMEOUT, timeout=1)
        terminal.child.sendintr()
        terminal.until(_PROMPT)
    assert "False" in terminal.type("print('asked' in globals())")


def test_help_tables_and_completion_are_there_without_html(terminal):
    for line in ("%alloy help", "%alloy", "%alloy cost", "%alloy doctor offline"):
        said = terminal.type(line)
        assert said.strip()
        assert not re.search(r"<(div|table|IPython)|object at 0x|Traceback", said), said
    assert "'promote'" in terminal.type("get_ipython().complete('prom', '%alloy prom', 11)")


def test_a_figure_is_told_and_the_turn_goes_on(terminal):
    terminal.type("import matplotlib; matplotlib.use('Agg')")
    draw = "import matplotlib.pyplot as plt\nplt.plot([1, 2]);"
    with Server(*loop([Call("python", {"code": draw})], [Say("Drawn.")])) as server:
        said = terminal.type(asks(server, flags="--approve all"))
    assert "Figure" in said
    assert "Drawn." in said
    assert "base64" not in said
    assert len(said) < 5000

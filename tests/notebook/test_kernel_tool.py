"""The python tool runs code in the user's namespace and tells the model what came of it."""

import asyncio
import contextlib
import re
import signal
import sys
import threading
import time

import pytest
from IPython.display import publish_display_data
from IPython.utils.capture import capture_output

from alloy_nb.engine.calls.tool import ToolContext
from alloy_nb.errors import ToolError
from alloy_nb.notebook.kernel.tool import python_tool


@pytest.fixture
def python(shell):
    """Run code with the tool and return what the model reads."""
    tool = python_tool(shell)

    def run(code, seconds=None):
        deadline = None if seconds is None else time.monotonic() + seconds
        return tool.bind({"code": code}, ToolContext(deadline=deadline))()

    return run


def test_the_value_of_the_last_expression_comes_back(python):
    assert python("x = 20\nx + 1") == "21"


def test_printed_text_goes_before_the_value(python):
    assert python("print('hi')\n1 + 1") == "hi\n2"


def test_what_goes_to_stderr_comes_back(python):
    assert python("import sys; print('oops', file=sys.stderr)") == "oops"


def test_code_without_a_word_says_so(python):
    assert python("x = 1") == "(no output)"
    assert python("") == "(no output)"
    assert python("None") == "(no output)"


def test_a_semicolon_at_the_end_keeps_the_value_back(python):
    assert python("1 + 1;") == "(no output)"


def test_a_value_is_told_as_the_notebook_would_print_it(python):
    assert python("{'b': [1, 2], 'a': 'x'}") == "{'b': [1, 2], 'a': 'x'}"
    assert python("import pandas as pd; pd.DataFrame({'n': [1, 2]})") == "   n\n0  1\n1  2"


def test_variables_stay_for_the_user_and_for_the_next_call(python, shell):
    python("kept = 1")
    assert python("kept + 1") == "2"
    assert shell.user_ns["kept"] == 1


def test_the_code_sees_what_the_user_has(python, shell):
    shell.user_ns["mine"] = [1, 2, 3]
    assert python("sum(mine)") == "6"


def test_functions_of_the_code_see_each_other(python):
    assert python("def f(n): return 1 if n < 2 else n * f(n - 1)\nf(5)") == "120"


def test_history_counts_and_outputs_of_the_user_are_untouched(python, shell):
    def seen():
        ns = shell.user_ns
        return shell.execution_count, list(ns["In"]), dict(ns["Out"]), ns.get("_"), ns.get("_i")

    before = seen()
    python("1 + 1")
    with pytest.raises(ToolError):
        python("1 / 0")
    assert seen() == before


def test_code_that_assigns_the_underscore_leaves_the_user_s_last_value(python, shell):
    shell.run_cell("'last'", store_history=True)
    # Not always 'last': IPython gives way where a library has put `_` among the builtins.
    before = shell.user_ns.get("_")
    assert python("_ = 1\n_") == "1"
    assert shell.user_ns.get("_") is before


def told(python, code, **options):
    with pytest.raises(ToolError) as caught:
        python(code, **options)
    return str(caught.value)


def test_a_traceback_begins_at_the_tool_s_own_code(python):
    text = told(python, "def f():\n    return 1 / 0\nf()")
    assert text.startswith('Traceback (most recent call last):\n  File "<alloy python ')
    assert text.endswith("ZeroDivisionError: division by zero")
    assert "return 1 / 0" in text
    assert "alloy_nb" not in text


def test_what_was_printed_before_a_failure_is_told_with_it(python):
    assert told(python, "print('so far')\n1 / 0").startswith("so far\nTraceback")


def test_a_syntax_error_is_told_without_a_traceback(python):
    text = told(python, "x = = 1")
    assert "SyntaxError: invalid syntax" in text
    assert "x = = 1" in text
    assert "Traceback" not in text


@pytest.mark.parametrize("code", ["x = '\0'", "'\ud800'.encode()", "(" * 5000, "return 1"])
def test_code_that_is_no_python_is_a_failure_of_the_tool(python, code):
    assert told(python, code)


@pytest.mark.parametrize("code", ["import sys; sys.exit(3)", "exit()", "raise SystemExit"])
def test_leaving_is_a_failure_of_the_tool(python, code):
    assert "SystemExit" in told(python, code)


def test_await_works_at_the_top(python):
    code = "import asyncio\nawait asyncio.sleep(0)\nx = await asyncio.sleep(0, 'slept')\nx"
    assert python(code) == "'slept'"


def test_the_last_expression_may_be_awaited(python):
    assert python("import asyncio; await asyncio.sleep(0, 7)") == "7"


def test_await_works_where_a_loop_is_running(python):
    async def main():
        return python("import asyncio; await asyncio.sleep(0, 7)")

    assert asyncio.run(main()) == "7"


def test_a_failure_of_awaited_code_is_told(python):
    text = told(python, "import asyncio\nawait asyncio.sleep(0)\n1 / 0")
    assert text.endswith("ZeroDivisionError: division by zero")
    assert "line 3" in text


def test_input_is_refused_with_the_way_out(python):
    assert "ask the user in your answer instead" in told(python, "input('name? ')")


def test_input_works_again_for_the_user(python):
    told(python, "input()")
    assert input.__module__ != "alloy_nb.notebook.kernel.tool"


def test_what_is_displayed_is_shown_to_the_user_and_told(python):
    with capture_output() as seen:
        text = python("from IPython.display import display\ndisplay({'a': 1})\n2")
    assert [output.data["text/plain"] for output in seen.outputs] == ["{'a': 1}"]
    assert text == "[shown to the user: {'a': 1}]\n2"


def test_an_update_of_an_output_is_an_update(python):
    with capture_output() as seen:
        python("h = display('a', display_id='one'); h.update('b')")
    assert [(output.transient, output.update) for output in seen.outputs] == [
        ({"display_id": "one"}, False),
        ({"display_id": "one"}, True),
    ]


def test_an_output_that_was_cleared_is_not_shown(python):
    with capture_output() as seen:
        text = python("from IPython.display import clear_output\ndisplay('a')\nclear_output()\n1")
    assert (text, seen.outputs) == ("1", [])


def test_what_the_canvas_draws_meanwhile_is_no_part_of_the_result(python, shell):
    drawn = threading.Event()
    shell.user_ns["drawn"] = drawn

    def draw():
        print("a frame")
        print("a frame", file=sys.stderr)
        publish_display_data({"text/plain": "a frame"})
        drawn.set()

    with capture_output() as seen:
        timer = threading.Timer(0.05, draw)
        timer.name = "alloy-loop"  # the portal's thread has this name
        timer.start()
        assert python("drawn.wait(10)") == "True"
    assert (seen.stdout, seen.stderr) == ("a frame\n", "a frame\n")
    assert len(seen.outputs) == 1


def test_of_what_a_loop_prints_without_end_head_and_tail_are_told(python):
    text = python("for n in range(300_000): print(n)")
    assert len(text) < 20_000
    assert text.startswith("0\n1\n2\n")
    assert text.endswith("\n299998\n299999")


def test_how_much_was_left_out_is_told(python):
    text = python("print('x' * 3_000_000, end='')")
    told = int(re.search(r"\[\.\.\. ([\d,]+) characters left out", text)[1].replace(",", ""))
    assert told == 3_000_000 - text.count("x")


def test_what_is_printed_without_end_fills_no_memory(python, shell):
    python("import sys; kept = sys.stdout\nfor n in range(300_000): print('0123456789')")
    kept = shell.user_ns["kept"]
    assert sum(map(len, [*kept._head, *kept._tail])) < 2_000_000


def test_a_value_that_displays_itself_is_shown_to_the_user(python):
    code = "class W:\n    def _ipython_display_(self): display('widget')\nW()"
    with capture_output() as seen:
        assert python(code) == "[shown to the user: 'widget']"
    assert [output.data["text/plain"] for output in seen.outputs] == ["'widget'"]


def test_a_repr_that_fails_is_told_and_prints_nothing(python):
    code = "class Bad:\n    def __repr__(self): raise ValueError('no repr')\nBad()"
    with capture_output() as seen:
        text = python(code)
    assert text == "(could not be shown: ValueError: no repr)"
    assert (seen.stdout, seen.stderr, seen.outputs) == ("", "", [])


def test_the_user_s_tracebacks_are_the_shell_s_again(python, shell):
    python("1")
    assert "showtraceback" not in vars(shell)


STOP = "import signal; signal.raise_signal(signal.SIGINT)"


def test_an_interrupt_goes_through(python):
    with pytest.raises(KeyboardInterrupt):
        python(STOP)


def test_an_interrupt_that_the_code_swallows_goes_through_all_the_same(python, shell):
    with pytest.raises(KeyboardInterrupt):
        python(f"try:\n    {STOP}\nexcept KeyboardInterrupt:\n    swallowed = True")
    assert shell.user_ns["swallowed"]


def test_a_keyboard_interrupt_that_the_code_raises_itself_is_its_failure(python):
    assert told(python, "raise KeyboardInterrupt('mine')").endswith("KeyboardInterrupt: mine")


def watched(function):
    """Call a function with a profiler looking on; a debugger and ``%prun`` do so too."""
    called = []
    sys.setprofile(lambda frame, what, _: called.append(what))
    try:
        return function()
    finally:
        sys.setprofile(None)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("code", "seconds"),
    [
        ("1", 5),
        ("while True: pass", 0.2),
        ("while True:\n    try:\n        while True: pass\n    except BaseException: pass", 0.2),
    ],
)
def test_a_profiler_works_after_the_tool_whatever_the_code_did(python, code, seconds):
    with contextlib.suppress(ToolError):
        python(code, seconds=seconds)
    assert watched(lambda: sum(abs(n) for n in range(-9, 10))) == 90


def test_what_was_displayed_and_printed_before_an_interrupt_is_shown(python):
    with capture_output() as seen, pytest.raises(KeyboardInterrupt):
        python(f"display('so far')\nprint('and this')\n{STOP}")
    assert len(seen.outputs) == 1
    assert seen.stdout == "and this\n"


def test_code_stops_at_its_limit_of_time(python):
    text = told(python, "while True:\n    pass", seconds=0.2)
    assert "TimeoutError: stopped at the limit of" in text


@pytest.mark.parametrize("caught", ["Exception", "BaseException"])
def test_code_that_catches_all_exceptions_stops_at_its_limit(python, caught):
    code = f"while True:\n    try:\n        while True: pass\n    except {caught}: pass"
    assert "stopped at the limit" in told(python, code, seconds=0.2)


def test_code_that_catches_everything_twice_stops_at_its_limit(python):
    inner = "    try:\n        while True: pass\n    except BaseException: pass"
    code = f"def f():\n  while True:\n{inner}\nwhile True:\n  try: f()\n  except BaseException: 0"
    assert "stopped at the limit" in told(python, code, seconds=0.2)


def test_a_wait_stops_at_its_limit(python):
    started = time.monotonic()
    told(python, "import time; time.sleep(30)", seconds=0.2)
    assert time.monotonic() - started < 20


def test_awaited_code_stops_at_its_limit(python):
    code = "import asyncio\nasync with asyncio.timeout(60):\n    await asyncio.sleep(30)"
    told(python, code, seconds=0.2)
    names = [thread.name for thread in threading.enumerate() if thread.is_alive()]
    assert "alloy-await" not in names


def test_the_alarm_and_the_interrupt_are_the_user_s_again(python):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGALRM)
    python("1", seconds=60)
    told(python, "while True: pass", seconds=0.1)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGALRM)) == before
    for thread in threading.enumerate():
        if thread.name == "alloy-watch":
            thread.join(5)
            assert not thread.is_alive()


def test_what_a_person_approves_is_the_code(shell):
    assert python_tool(shell).subject_of({"code": "1 + 1\n"}) == "1 + 1\n"


def test_the_tool_asks_and_runs_alone_on_the_main_thread(shell):
    tool = python_tool(shell)
    assert (tool.risk, tool.main_thread, tool.concurrent) == ("run", True, False)
    assert list(tool.input_schema["properties"]) == ["code"]

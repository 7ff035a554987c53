"""Code of the model that does what it should not: the kernel lives, and the session goes on.

All of it runs in one kernel, one piece after another, so that what one leaves bent meets the next.
"""

import os
import signal
import threading
import time

import pytest

from tests.kernel.asking import start_asking
from tests.servers.sse import Server, loop
from tests.servers.wire import Call, Say

# Each ends by itself, well or not.
ENDING = {
    "print is rebound": "print = 5",
    "the builtin print is patched": "import builtins\nbuiltins.print = lambda *a, **k: 1 / 0",
    "builtins are gone": (
        "import builtins\nbuiltins.len = builtins.isinstance = None\ndel builtins.str"
    ),
    "get_ipython and display are rebound": "get_ipython = display = None",
    "get_ipython is deleted": "del get_ipython\ndel In, Out",
    "attributes of alloy_nb are rebound": (
        "import sys\nfor name in [n for n in sys.modules if n.startswith('alloy_nb.')]:\n"
        "    for key in [k for k in vars(sys.modules[name]) if not k.startswith('__')]:\n"
        "        if callable(vars(sys.modules[name])[key]): setattr(sys.modules[name], key, None)"
    ),
    "a method of the session is patched": (
        "from alloy_nb.engine.sessions.session import Session\n"
        "Session.start = Session.flush = lambda *a, **k: 1 / 0"
    ),
    "standard output is None": "import sys\nsys.stdout = sys.stderr = None",
    "standard output is closed": "import sys\nsys.stdout.close(); sys.stderr.close()",
    "descriptors 0, 1 and 2 are closed": "import os\nfor n in (0, 1, 2): os.close(n)",
    "a trace is set": "import sys\nsys.settrace(lambda *a: 1 / 0)",
    "a profile is set": "import sys\nsys.setprofile(lambda *a: 1 / 0)",
    "modules are deleted": (
        "import sys\nfor name in list(sys.modules):\n"
        "    if name.split('.')[0] in ('alloy_nb', 'json', 'asyncio', 'IPython'):\n"
        "        del sys.modules[name]"
    ),
    "the working directory is gone": (
        "import os, tempfile\nd = tempfile.mkdtemp(); os.chdir(d); os.rmdir(d)"
    ),
    "warnings are errors": "import warnings\nwarnings.simplefilter('error')",
    "endless recursion": "def f(): return f()\nf()",
    "the depth of recursion is tiny": "import sys\nsys.setrecursionlimit(60)",
    "a huge print": "print('x' * 50_000_000)",
    "printing on and on": "for n in range(200_000): print(n)",
    "an endless generator as the value": "import itertools\n(n for n in itertools.count())",
    "a repr that raises": "class R:\n    def __repr__(self): raise SystemExit('no')\nR()",
    "a repr that is huge": "class R:\n    def __repr__(self): return 'x' * 300_000_000\nR()",
    "a repr that hangs": "class R:\n    def __repr__(self):\n        while True: pass\nR()",
    "the event loop is stopped and closed": (
        "import asyncio\nloop = asyncio.get_event_loop()\nloop.stop()\nloop.close()"
    ),
    "nest_asyncio is applied": (
        "import asyncio, nest_asyncio\nnest_asyncio.apply()\nawait asyncio.sleep(0)"
    ),
    "a thread leaves": (
        "import sys, threading\nt = threading.Thread(target=sys.exit); t.start(); t.join()"
    ),
    "many threads": (
        "import threading, time\nfor _ in range(400):\n"
        "    threading.Thread(target=time.sleep, args=(3,), daemon=True).start()"
    ),
    "threads that print on and on": (
        "import threading, time\n"
        "def chat():\n    for n in range(30): print('chat'); time.sleep(.05)\n"
        "for _ in range(20): threading.Thread(target=chat, daemon=True).start()"
    ),
    "a fork that goes on": "import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)",
    "a fork that leaves": (
        "import os, sys\npid = os.fork()\nif not pid: sys.exit(3)\nos.waitpid(pid, 0)"
    ),
    "work at exit": "import atexit\natexit.register(lambda: 1 / 0)",
    "another backend of matplotlib": (
        "import matplotlib\nmatplotlib.use('svg')\nimport matplotlib.pyplot as plt\nplt.plot([1])"
    ),
    "no garbage is collected": "import gc\ngc.disable()",
    "a KeyboardInterrupt of its own": "raise KeyboardInterrupt",
    "it leaves": "import sys\nsys.exit(1)",
    "it quits": "quit()",
    "it asks": "input('?')",
    "interrupts are ignored": "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)",
    "an alarm is set": "import signal\nsignal.alarm(100)\nsignal.alarm(0)",
    "an exception without a text": (
        "class E(Exception):\n    def __str__(self): raise ValueError\nraise E"
    ),
    "the displayhook is gone": "import sys\nsys.displayhook = sys.excepthook = None",
}

_SWALLOW = "try:\n        while True: pass\n    except BaseException: pass"

# These have to be interrupted.
ENDLESS = {
    "a loop": "while True: pass",
    "a loop that swallows everything": f"while True:\n    {_SWALLOW}",
    "two loops that swallow everything": (
        f"def f():\n  while True:\n    {_SWALLOW}\n"
        "while True:\n  try: f()\n  except BaseException: pass"
    ),
    "a wait that swallows everything": (
        "import time\nwhile True:\n    try: time.sleep(100)\n    except BaseException: pass"
    ),
    "a loop that begins anew in finally": (
        "def f():\n    try:\n        while True: pass\n    finally: f()\nf()"
    ),
    "a loop that ignores interrupts": (
        "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"
    ),
    "a lock that is held": (
        "import threading\nlock = threading.Lock()\nlock.acquire(); lock.acquire()"
    ),
    "an awaited wait": "import asyncio\nawait asyncio.sleep(1000)",
    "an awaited loop that swallows everything": (
        "import asyncio\n"
        "while True:\n    try: await asyncio.sleep(100)\n    except BaseException: pass"
    ),
    "a program that runs on": "import subprocess\nsubprocess.run(['sleep', '1000'])",
    "a loop with a broken print": "import sys\nsys.stdout = None\nwhile True: print(1)",
}

_AFTER = "print('after' + 'wards'); 6 * 7"


def goes_on(asking, server):
    """Check that the kernel lives, and that the next turn works and is seen."""
    plain = asking.kernel.run("print(sum([20, 3])); len('four')")
    assert plain.ok, plain.text
    assert "23" in plain.stdout
    run = asking.ask("go on")
    assert run.ok, run.text
    assert "It went on." in run.text
    body = server.requests[-1].body.decode()
    assert "afterwards" in body
    assert "42" in body


def replies(code):
    first = [[Call("python", {"code": code})], [Say("It ended.")]]
    return [*first, [Call("python", {"code": _AFTER})], [Say("It went on.")]]


@pytest.mark.parametrize("name", ENDING)
def test_the_session_goes_on_after(asking, name):
    with Server(*loop(*replies(ENDING[name]))) as server:
        asking.use(server, approve="all")
        run = asking.ask("run it", timeout=60)
        assert run.ok, run.text
        assert "It ended." in run.text
        if name == "print is rebound":  # a variable like any other, which the person may put back
            assert "+ print int" in run.text
            assert asking.kernel.run("%alloy restore print").ok
        goes_on(asking, server)


def ask_and_interrupt(asking, there):
    """Ask, and interrupt as soon as the code has made a file; say when that was."""
    moments = []

    def stop():
        while not there.exists():
            time.sleep(0.01)
        time.sleep(0.3)
        moments.append(time.monotonic())
        os.kill(asking.kernel.pid, signal.SIGINT)

    threading.Thread(target=stop, daemon=True).start()
    run = asking.ask("run it", timeout=60)
    assert run.error.startswith("Interrupted"), run.text
    return run, moments[0]


@pytest.mark.parametrize("name", ENDLESS)
def test_an_interrupt_ends(asking, name, tmp_path, record_property):
    there = tmp_path / "there"
    first, _, *rest = replies(f"open({str(there)!r}, 'w').close()\n{ENDLESS[name]}")
    with Server(*loop(first, *rest)) as server:
        asking.use(server, approve="all")
        run, interrupted = ask_and_interrupt(asking, there)
        seconds = run.replied_at - interrupted
        record_property("seconds", seconds)
        print(f"{name}: {seconds:.2f} s")
        goes_on(asking, server)
    # Two seconds on a quiet machine; this one may be busy with other things.
    assert seconds < 6


def test_what_an_interrupt_left_half_run_does_not_end_later_in_the_midst_of_the_kernel(tmp_path):
    """nest_asyncio says in generators which loop runs, and the garbage collector ends them."""
    there = tmp_path / "there"
    nested = "import nest_asyncio\nnest_asyncio.apply()\n"
    endless = ENDLESS["an awaited loop that swallows everything"]
    code = f"{nested}open({str(there)!r}, 'w').close()\n{endless}"
    with start_asking() as asking:
        for _ in range(3):
            with Server(*loop([Call("python", {"code": code})])) as server:
                asking.use(server, approve="all")
                ask_and_interrupt(asking, there)
                there.unlink()
            assert asking.kernel.run("import gc; gc.collect();").ok
            assert asking.kernel.run("'it answers'", timeout=10).text == "'it answers'"

"""Values that resist being told: each comes back bounded, soon, and leaves the tool usable."""

import time

import pytest
from IPython.utils.capture import capture_output

from alloy_nb.engine.calls.tool import ToolContext, ToolOutput
from alloy_nb.errors import ToolError
from alloy_nb.notebook.kernel.tool import python_tool

_CLASS = "class H:\n    def {}\nH()"

HOSTILE = {
    "a repr that raises": _CLASS.format("__repr__(self): raise ValueError('no')"),
    "a repr that leaves": _CLASS.format("__repr__(self): raise SystemExit"),
    "a repr that is no text": _CLASS.format("__repr__(self): return 3"),
    "a repr that hangs": _CLASS.format("__repr__(self):\n        while True: pass"),
    "a repr that sleeps": _CLASS.format("__repr__(self): __import__('time').sleep(100)"),
    "a repr that swallows": _CLASS.format(
        "__repr__(self):\n        while True:\n            try:\n                while True: pass\n"
        "            except BaseException: pass"
    ),
    "a repr that recurses": _CLASS.format("__repr__(self): return repr(self)"),
    "a repr of 1 GB": _CLASS.format("__repr__(self): return 'x' * 10**9"),
    "a repr of a million lines": _CLASS.format("__repr__(self): return 'x\\n' * 10**6"),
    "a repr that prints": _CLASS.format("__repr__(self): print('x' * 10**7); return 'r'"),
    "a repr that takes stdout away": _CLASS.format(
        "__repr__(self): import sys; sys.stdout = None; return 'r'"
    ),
    "a repr of half a character": _CLASS.format("__repr__(self): return '\\ud800'"),
    "html that raises": _CLASS.format("_repr_html_(self): raise ValueError('no')"),
    "html that hangs": _CLASS.format("_repr_html_(self):\n        while True: pass"),
    "html of 50 MB": _CLASS.format("_repr_html_(self): return 'x' * 5 * 10**7"),
    "html that is a number": _CLASS.format("_repr_html_(self): return 5"),
    "a picture that is none": _CLASS.format("_repr_png_(self): return b'no picture'"),
    "a picture that breaks off": _CLASS.format(
        "_repr_png_(self): return b'\\x89PNG\\r\\n\\x1a\\n' + b'x' * 10**7"
    ),
    "a bundle that is none": _CLASS.format("_repr_mimebundle_(self, **_): return 'none'"),
    "a display that hangs": _CLASS.format("_ipython_display_(self):\n        while True: pass"),
    "attributes that raise": _CLASS.format("__getattribute__(self, n): raise RuntimeError(n)"),
    "attributes without end": _CLASS.format("__getattr__(self, n): return H()"),
    "a class that lies about itself": _CLASS.format(
        "__class__ = property(lambda s: 1 / 0)"
    ).replace("def __class__", "__class__"),
    "a text of 300 MB": "'x' * 3 * 10**8",
    "bytes of 300 MB": "b'x' * 3 * 10**8",
    "a list of ten million": "list(range(10**7))",
    "a list that holds itself": "x = []; x.append(x); x",
    "lists in lists in lists": "x = []\nfor _ in range(3000): x = [x]\nx",
    "an endless generator": "import itertools; (n for n in itertools.count())",
    "a dict of dicts": "{n: {m: 'x' * 100 for m in range(1000)} for n in range(1000)}",
    "a wide table": "import pandas as pd; pd.DataFrame([range(500)] * 1000)",
    "an exception whose text hangs": (
        "class E(Exception):\n    def __str__(self):\n        while True: pass\nraise E"
    ),
    "an exception with a text of 100 MB": "raise ValueError('x' * 10**8)",
    "a chain of exceptions": (
        "e = None\n"
        "for n in range(500):\n"
        "    new = ValueError('x' * 1000); new.__cause__ = e; e = new\n"
        "raise e"
    ),
}


@pytest.fixture
def python(shell):
    """Run code with the tool; return the text that the model reads."""
    tool = python_tool(shell)

    def run(code):
        try:
            answer = tool.bind({"code": code}, ToolContext(deadline=time.monotonic() + 60))()
        except ToolError as error:
            return str(error)
        return answer.content[0] if isinstance(answer, ToolOutput) else answer

    return run


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_value_is_bounded(python, name, record_property):
    began, busy = time.monotonic(), time.thread_time()
    with capture_output():
        text = python(HOSTILE[name])
    seconds, busy = time.monotonic() - began, time.thread_time() - busy
    record_property("seconds", seconds)
    print(f"{name}: {seconds:.2f} s")
    assert 0 < len(text) < 21_000
    assert seconds < 60  # 3 on a quiet machine
    assert busy < 6
    with capture_output():
        assert python("print('on'); 6 * 7") == "on\n42"

"""What a turn did to the variables is told, and can be taken back."""

import copy
import random
import sys
import types

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alloy_nb.notebook.kernel import copies, functions, namespace
from alloy_nb.notebook.kernel.copies import MISSING, Room, copied, differs
from alloy_nb.notebook.kernel.mutation import touched
from alloy_nb.notebook.kernel.namespace import Names, told


class Notebook:
    """A namespace, and turns that run code in it."""

    def __init__(self, **variables):
        self.ns = {"__name__": "__main__", **variables}
        self.names = Names(self.ns)

    def turn(self, *codes):
        self.names.begin("t")
        for code in codes:
            self.names.before("t", code)
            try:
                exec(code, self.ns)
            finally:
                self.names.after("t")
        return told(self.names.ended("t"))

    def __getitem__(self, name):
        return self.ns[name]


def table(rows=1000):
    return pd.DataFrame({"n": range(rows), "s": "x"})


# --- what is told -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("north = df.head(5)", "+ north DataFrame 5×2"),
        ("k = 3", "+ k int"),
        ("xs = [1, 2]", "+ xs list 2 items"),
        ("s = df['n']", "+ s Series 1000 values"),
        ("def clean(): pass", "+ clean function"),
        ("class Model: pass", "+ Model class"),
        ("df.loc[1000] = [0, 'y']", "~ df 1000 → 1001 rows (in place)"),
        ("df['c'] = 1", "~ df 2 → 3 columns (in place)"),
        ("df.loc[3, 'n'] = -1", "~ df DataFrame 1000×2 (in place)"),
        ("df.columns = ['a', 'b']", "~ df DataFrame 1000×2 (in place)"),
        ("df = df.dropna().head(987)", "~ df 1000 → 987 rows"),
        ("df = df.copy()", "~ df DataFrame 1000×2 (new value)"),
        ("df = list(df)", "~ df DataFrame 1000×2 → list 2 items"),
        ("items.append(3)", "~ items 2 → 3 items (in place)"),
        ("items[1]['k'].add(9)", "~ items list 2 items (in place)"),
        ("array[0] = 7", "~ array ndarray 4 values (in place)"),
        ("n = 2", "~ n int (new value)"),
        ("n = 'two'", "~ n int → str 3 characters"),
        ("del n", "- n"),
        ("n = 1; df.head(); items.copy()", ""),
        ("import os", ""),
        ("_hidden = 1", ""),
        ("later = 1; del later", ""),
        ("array + 1; sum(array)", ""),
    ],
)
def test_a_change_is_told_with_its_name_and_sizes(code, line):
    book = Notebook(df=table(), items=[1, {"k": {2}}], array=np.zeros(4), n=1)
    assert book.turn(code) == line


SAME = [
    "def f(x, y=[1], *, z=None):\n    'Doc.'\n    return [x + n for n in y]",
    "def f(x: int) -> str: return lambda: (x, 0.0, frozenset({1}))",
    "f = lambda x: x in {1, 2}",
    "async def f():\n    try:\n        await g()\n    except OSError:\n        pass",
]
OTHER = [
    ("def f(): return 1", "def f(): return 2"),
    ("def f(): return 1", "def f(): return 1.0"),
    ("def f(): return 1", "def f(): return True"),
    ("def f(): return 0.0", "def f(): return -0.0"),
    ("def f(): return g", "def f(): return h"),
    ("def f(): return g() + h()", "def f(): return h() + g()"),
    ("def f(x=1): pass", "def f(x=2): pass"),
    ("def f(x=[1]): pass", "def f(x=[1]): pass\nf.__defaults__[0].append(2)"),
    ("def f(*, x=1): pass", "def f(*, x=1.0): pass"),
    ("def f(x): pass", "def f(x, /): pass"),
    ("def f(x): pass", "def f(y): pass"),
    ("def f(x): pass", "def f(x: int): pass"),
    ("def f(x: int): pass", "def f(x: str): pass"),
    ("def f(): 'One.'", "def f(): 'Two.'"),
    ("def f(): return lambda: 1", "def f(): return lambda: 2"),
    ("def f(): return x in {1, 2}", "def f(): return x in {1, 3}"),
    ("def f(): pass", "def f(): pass\nf.calls = 0"),
    ("def f(): pass", "def f(): yield"),
    ("def f(): return 1", "f = (lambda a: lambda: a)(1)"),
    ("def f(): pass", "class f: pass"),
]


@pytest.mark.parametrize("code", SAME)
def test_a_function_that_is_defined_again_as_it_was_is_no_news(code):
    notebook = Notebook()
    notebook.turn(code)
    assert notebook.turn(f"import math\n\n\n{code}") == ""


@pytest.mark.parametrize(("before", "now"), OTHER)
def test_a_function_that_is_defined_otherwise_is_told(before, now):
    notebook = Notebook()
    notebook.turn(before)
    assert notebook.turn(now).startswith("~ f ")


def test_a_function_that_was_called_is_still_the_same():
    """CPython writes faster instructions into code that runs; that is no change."""
    code = "def f(n):\n    return sum(k * 2 for k in range(n))"
    notebook = Notebook()
    notebook.turn(code, "for _ in range(100): f(100)")
    assert notebook.turn(code) == ""


def test_a_constant_of_a_function_is_not_asked_what_it_is():
    asked = []

    class Odd:
        def __repr__(self):
            asked.append("repr")
            return "x"

        def __eq__(self, other):
            asked.append("eq")
            return True

        __hash__ = None

    def f():
        return 1

    def odd():
        made = types.FunctionType(f.__code__.replace(co_consts=(None, Odd())), globals())
        made.__defaults__ = (Odd(),)
        return made

    assert functions.is_other_function(odd(), odd())
    assert not asked


def test_functions_in_functions_without_an_end_are_others():
    code = compile("pass", "a", "exec")
    for _ in range(5000):
        code = code.replace(co_consts=(code,))
    made = [types.FunctionType(code.replace(co_firstlineno=n), globals()) for n in (1, 2)]
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)  # others raise it
    try:
        assert functions.is_other_function(*made)
    finally:
        sys.setrecursionlimit(usual)


def test_no_value_is_told():
    book = Notebook(secret="canary-old", items=["canary-in"], df=table())
    line = book.turn(
        "secret = 'canary-new'; items.append('canary-more'); df.loc[0, 's'] = 'canary'"
    )
    assert line.count("~") == 3
    assert "canary" not in line


def test_what_was_changed_unasked_is_told_first():
    book = Notebook(xs=[1], n=1, gone=1)
    assert book.turn("new = 1; del gone; n = 2; xs.append(2)").split(" · ") == [
        "~ xs 1 → 2 items (in place)",
        "~ n int (new value)",
        "- gone",
        "+ new int",
    ]


def test_many_changes_are_counted():
    line = Notebook().turn("\n".join(f"v{n} = 1" for n in range(30)))
    assert line.count("+ v") == 10
    assert line.endswith("20 more: %alloy names")


def test_the_changes_are_those_of_the_whole_turn():
    book = Notebook(n=1)
    assert book.turn("tmp = 1", "n = 2", "del tmp", "n = 1") == ""


def test_a_turn_that_fails_is_told_as_far_as_it_came():
    book = Notebook(xs=[1])
    with pytest.raises(ZeroDivisionError):
        book.turn("xs.append(2)\n1 / 0")
    assert told(book.names.ended("t")) == "~ xs 1 → 2 items (in place)"


def test_turns_that_overlap_are_told_apart():
    ns = {"a": [1], "b": [1]}
    names = Names(ns)
    for turn in "xy":
        names.begin(turn)
    names.before("x", "a.append(2)")
    ns["a"].append(2)
    names.after("x")
    names.before("y", "b.append(2)")
    ns["b"].append(2)
    names.after("y")
    assert told(names.ended("x")) == "~ a 1 → 2 items (in place)"
    assert told(names.ended("y")) == "~ b 1 → 2 items (in place)"


def test_ipython_s_own_names_are_left_out():
    marker = object()
    names = Names(ns := {"In": [], "quit": marker}, {"In": ns["In"], "quit": marker})
    names.begin("t")
    names.before("t", "In.append(1)")
    ns["In"].append("1")
    names.after("t")
    assert names.ended("t") == []


# --- taking back ------------------------------------------------------------------------------

CHANGES = [
    "df.loc[1000] = [0, 'y']",
    "df.loc[3, 'n'] = -1",
    "df['c'] = 1",
    "df = df.head()",
    "del df",
    "items.clear()",
    "items[1]['k'].add(9)",
    "items = None",
    "array[:] = 7",
    "array.resize(2, refcheck=False)",
    "del items, array",
    "df.insert(0, 'z', 1); items.reverse(); array += 1",
]


def state(book):
    return copy.deepcopy({n: book.ns.get(n) for n in ("df", "items", "array")})


def same(one, other):
    return all(
        one[n].equals(other[n])
        if isinstance(one[n], pd.DataFrame)
        else not differs(one[n], other[n])
        for n in one
    )


@pytest.mark.parametrize("code", CHANGES)
def test_what_a_turn_changed_is_put_back_and_changed_again(code):
    book = Notebook(df=table(), items=[1, {"k": {2}}], array=np.zeros(4))
    before = state(book)
    book.turn(code)
    after = state(book)
    for expected in (before, after, before, after):
        assert not any(one.why for one in book.names.restore())
        assert same(expected, state(book))


def test_a_list_that_others_hold_is_put_back_for_them_too():
    items = [1]
    book = Notebook(items=items, holder={"items": items}, alias=items)
    book.turn("items.append(2)")
    book.names.restore()
    assert items == [1]
    assert book["items"] is book["alias"] is book["holder"]["items"] is items


def test_what_a_turn_made_stays_unless_it_is_named():
    book = Notebook(n=1)
    book.turn("n = 2; new = 1")
    book.names.restore()
    assert (book["n"], book["new"]) == (1, 1)
    book.names.restore(["new"])
    assert "new" not in book.ns


def test_only_what_is_named_is_put_back():
    book = Notebook(a=[1], b=[1])
    book.turn("a.append(2); b.append(2)")
    book.names.restore(["a"])
    assert (book["a"], book["b"]) == ([1], [1, 2])


def test_a_name_goes_back_to_before_the_turn_that_changed_it_last():
    book = Notebook(a=[1])
    book.turn("a.append(2)")
    book.turn("other = 1")
    book.names.restore(["a"])
    assert book["a"] == [1]


def test_what_the_person_changed_since_is_kept_for_a_second_restore():
    book = Notebook(a=1)
    book.turn("a = 2")
    book.ns["a"] = 3
    book.names.restore()
    assert book["a"] == 1
    book.names.restore()
    assert book["a"] == 3


def test_what_no_turn_changed_is_said():
    [one] = Notebook(a=1).names.restore(["a"])
    assert one.why == "the last turns did not change it"


def test_nothing_to_restore_is_nothing():
    assert Notebook().names.restore() == []


def test_what_is_too_large_to_copy_is_told_and_not_restored(monkeypatch):
    monkeypatch.setattr(namespace, "_COPIED_BYTES", 100)
    book = Notebook(array=np.zeros((100, 2)))
    assert book.turn("array.resize((50, 2), refcheck=False)") == "~ array 100 → 50 rows (in place)"
    [one] = book.names.restore()
    assert "too large" in one.why


def test_old_objects_that_are_too_large_are_let_go(monkeypatch):
    monkeypatch.setattr(namespace, "_KEPT_BYTES", 1000)
    book = Notebook(array=np.zeros(1000))
    book.turn("array = 1")
    [one] = book.names.restore()
    assert one.why == "it is too large to be kept"
    assert not book.names.last()[0].kept


def test_only_the_last_turns_are_kept():
    book = Notebook(**{f"v{n}": 0 for n in range(5)})
    for n in range(5):
        book.turn(f"v{n} = 1")
    failed = [one.name for one in book.names.restore([f"v{n}" for n in range(5)]) if one.why]
    assert failed == ["v0", "v1"]


def test_what_is_kept_of_a_turn_is_only_what_it_changed():
    book = Notebook(a=[1], b=table())
    book.turn("a.append(2)")
    assert [list(entry) for entry in book.names._stack] == [["a"]]


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_any_mutation_of_plain_data_is_seen_and_taken_back(seed):
    dice = random.Random(seed)
    value = grown(dice, 3)
    before = copy.deepcopy(value)
    book = Notebook(value=value)
    book.names.begin("t")
    book.names.before("t", "value")
    mutated(dice, value)
    book.names.after("t")
    changed = bool(book.names.ended("t"))
    assert changed == (value != before)
    after = copy.deepcopy(value)
    if changed:
        book.names.restore()
        assert book["value"] == before
        book.names.restore()
        assert book["value"] == after


def grown(dice, depth):
    kind = dice.choice(["list", "dict", "set"] if depth == 3 else ["list", "dict", "set", "int"])
    if kind == "int" or depth == 0:
        return dice.randrange(3)
    if kind == "set":
        return {dice.randrange(9) for _ in range(3)}
    parts = [grown(dice, depth - 1) for _ in range(dice.randrange(4))]
    return parts if kind == "list" else dict(enumerate(parts))


def mutated(dice, value):
    """Change something somewhere, perhaps to what it was."""
    inside = list(value.values()) if isinstance(value, dict) else list(value)
    deeper = [one for one in inside if isinstance(one, (list, dict, set))]
    if deeper and dice.random() < 0.6:
        mutated(dice, dice.choice(deeper))
    elif isinstance(value, set):
        value ^= {dice.randrange(9)}
    elif isinstance(value, dict):
        value[dice.randrange(4)] = dice.randrange(3)
    elif value and dice.random() < 0.5:
        value[dice.randrange(len(value))] = dice.randrange(3)
    else:
        value.append(dice.randrange(3))


# --- copies -----------------------------------------------------------------------------------


def test_a_copy_takes_no_more_than_its_room():
    assert copied([0] * 100, Room(items=50)) is MISSING
    assert copied(np.zeros(100), Room(size=100)) is MISSING
    assert copied([0] * 10, Room(items=50)) == [0] * 10


def test_a_list_that_holds_itself_is_copied():
    loop = [1]
    loop.append(loop)
    made = copied(loop, Room())
    assert made[1] is made
    assert not differs(loop, made)


def test_what_is_no_data_is_not_copied():
    assert copied(object(), Room()) is MISSING
    assert copied(open, Room()) is MISSING


def test_no_code_of_the_user_s_runs_when_values_are_compared():
    class Loud:
        def __eq__(self, other):
            raise AssertionError("was compared")

        __hash__ = None

    one = Loud()
    held = [one, {"k": one}]
    made = copied(held, Room())
    assert not differs(held, made)
    held[0] = Loud()
    assert differs(held, made)


def test_not_a_number_is_the_same_as_before():
    nan = float("nan")
    assert not differs([nan, np.array([nan])], copied([nan, np.array([nan])], Room()))


def test_a_table_that_copies_on_write_shares_its_memory_until_then():
    df = pd.DataFrame({"n": np.zeros(1000)})
    made = copied(df, Room())
    if copies._copies_on_write():
        assert np.shares_memory(df["n"].to_numpy(), made["n"].to_numpy())
    df.loc[0, "n"] = 1
    assert made.loc[0, "n"] == 0


# --- which names code may change --------------------------------------------------------------


class Holder:
    """Something of the notebook's that holds a variable."""

    __module__ = "__main__"

    def __init__(self, xs):
        self.xs = xs

    def grow(self):
        self.xs.append(1)


def function(code, ns):
    """Return a function as a cell defines it."""
    exec(code, ns)
    return ns["f"]


@pytest.mark.parametrize(
    "code",
    [
        "xs.append(1)",
        "alias.append(1)",
        "f()",
        "nested['a'][0].append(1)",
        "holder.grow()",
        "grow()",
        "push(1)",
        "for x in [xs]: x.append(1)",
        "(lambda: xs.append(1))()",
        "exec('xs.append(1)')",
        "globals()['xs'].append(1)",
        "partial(1)",
        "view[0] = 1",
    ],
)
def test_a_name_that_code_may_change_counts(code):
    import functools

    xs, array = [1], np.zeros(3)
    ns = {"__name__": "__main__", "xs": xs, "array": array, "other": [2]}
    ns |= {"alias": xs, "nested": {"a": (xs,)}, "holder": Holder(xs), "push": xs.append}
    ns |= {"grow": Holder(xs).grow, "partial": functools.partial(list.append, xs)}
    ns |= {"view": array[1:]}
    function("def g(): xs.append(1)\ndef f(): g()", ns)
    found = touched(code, ns)
    assert found is None or ("array" if "view" in code else "xs") in found


def test_a_name_that_code_does_not_reach_does_not_count():
    ns = {"xs": [1], "other": [2], "df": table(3)}
    assert touched("len(xs); print(df.shape)", ns) == {"xs", "df"}
    assert touched("1 +", ns) == set()


def test_looking_at_a_value_runs_none_of_its_code():
    class Loud:
        def __getattribute__(self, name):
            raise RuntimeError(name)

    assert str(namespace.look(Loud())) == "Loud"
    assert str(namespace.look(types.SimpleNamespace(shape="wide"))) == "SimpleNamespace"

"""``%alloy promote``: the steps of a turn become code that stands by itself, and is proven."""

import json
import os
import random
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from IPython.core.error import UsageError

from alloy_nb.engine.documents.story import Said
from alloy_nb.errors import ConfigError
from alloy_nb.notebook.code.names import needed
from alloy_nb.notebook.code.promote import Step, effects, promoted
from alloy_nb.notebook.code.proof import prove
from tests.servers.sse import Server, loop
from tests.servers.wire import Call, Say


def of(*steps, **more):
    """Promote pieces of code, each alone or with the result that it had."""
    pairs = [step if isinstance(step, tuple) else (step, "(no output)") for step in steps]
    return promoted([Step(code, result) for code, result in pairs], **more)


# --- what is kept -----------------------------------------------------------------------------


def test_imports_go_to_the_top_once():
    made = of("import math\nx = math.pi", "import math\nfrom os import path\ny = path.sep")
    assert made.imports == ("import math", "from os import path")
    assert made.cell().count("import math") == 1


def test_a_comment_beside_code_stays():
    assert "# why\nx = 1" in of("import math\n# why\nx = 1").cell()


def test_an_import_stays_in_its_place_where_the_search_path_is_changed():
    made = of("import sys\nsys.path.insert(0, 'lib')", "import mine\nmine.run()")
    assert made.imports == ()


def test_an_import_stays_in_its_place_where_the_name_means_something_else_too():
    made = of("import json\njson.dumps(1)", "json = 3")
    assert made.imports == ()


def test_two_modules_under_one_name_stay_in_their_places():
    made = of("import json as j", "import pickle as j\nj.dumps(1)")
    assert made.imports == ()


def test_an_import_on_a_line_with_other_code_stays():
    assert of("import math; x = math.pi").imports == ()


def test_a_future_import_goes_first():
    made = of("import math", "from __future__ import annotations\nx: int = 1")
    assert made.imports[0] == "from __future__ import annotations"


def test_a_step_that_failed_is_left_out():
    made = promoted([Step("x = 1/0", "ZeroDivisionError", failed=True), Step("y = 2", "")])
    assert "1/0" not in made.cell()
    assert made.left_out == 1


def test_the_imports_of_a_step_that_failed_are_kept_where_they_are_needed():
    failed = Step("import math\nimport json\n1/0", "ZeroDivisionError", failed=True)
    made = promoted([failed, Step("math.pi", "3.14")])
    assert made.imports == ("import math",)
    assert made.inputs == ()


def test_a_name_that_only_a_failed_step_set_is_listed_as_needed():
    failed = Step("a = 5\n1/0", "ZeroDivisionError", failed=True)
    assert promoted([failed, Step("a + 1", "6")]).inputs == ("a",)


def test_a_look_that_is_repeated_at_once_with_the_same_result_is_left_out():
    made = of(("df.head()", "a"), ("df.head()", "a"))
    assert len(made.steps) == 1


@pytest.mark.parametrize(
    "code", ["x += 1", "x.append(1)", "x = x + 1", "d['a'] = d.get('a', 0) + 1", "del x[0]"]
)
def test_a_repeat_that_may_have_changed_something_stays(code):
    assert len(of((code, "(no output)"), (code, "(no output)")).steps) == 2


def test_a_repeat_with_another_result_stays():
    assert len(of(("x.pop()", "2"), ("x.pop()", "1")).steps) == 2


def test_a_repeat_after_something_else_stays():
    assert len(of(("len(x)", "1"), "x.clear()", ("len(x)", "1")).steps) == 3


def test_a_turn_without_code_that_ran_is_an_error():
    with pytest.raises(ConfigError, match="no Python that worked"):
        promoted([Step("1/0", "ZeroDivisionError", failed=True)])


# --- what it needs ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("y = df['a']", ["df"]),
        ("df = df.dropna()", ["df"]),
        ("x += 1", ["x"]),
        ("def f(a, b=q): return a + w", ["q", "w"]),
        ("[i * k for i in range(3)]", ["k"]),
        ("with open(p) as file: file.read()", ["p"]),
        ("try:\n    go()\nexcept ValueError as error:\n    print(error)", ["go"]),
        ("import numpy as np\nnp.ones(n)", ["n"]),
        ("def f(): return g()\ndef g(): return 1\nf()", []),
        ("lambda a: a + c", ["c"]),
        ("class A(Base):\n    x = 1\n    y = x + z", ["Base", "z"]),
        ("for i in rows: total = i", ["rows"]),
        ("(n := 4) + n", []),
        ("del gone", ["gone"]),
        ("match v:\n    case {'a': a, **rest}: print(a, rest)", ["v"]),
        ("print(len(get_ipython().user_ns))\ndisplay(1)", []),
        ("f'{shown!r:>{width}}'", ["shown", "width"]),
    ],
)
def test_names_that_are_read_before_they_are_set_are_needed(code, names):
    assert sorted(needed([code])) == sorted(names)


def test_what_an_earlier_step_set_is_not_needed():
    assert needed(["a = 1", "b = a + c", "b + d"]) == ["c", "d"]


_WORDS = st.sampled_from(["a", "b", "c", "d"])
_LINES = st.one_of(
    st.builds("{} = {}".format, _WORDS, _WORDS),
    st.builds("{} = 1".format, _WORDS),
    st.builds("{} = [{}]".format, _WORDS, _WORDS),
    st.builds("{}, {} = {}, 2".format, _WORDS, _WORDS, _WORDS),
    st.builds("if {}: {} = 3\nelse: {} = 4".format, _WORDS, _WORDS, _WORDS),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(_LINES, min_size=1, max_size=6))
def test_code_runs_where_there_is_no_more_than_the_names_it_needs(lines):
    exec("\n".join(lines), dict.fromkeys(needed(lines), 1))


# --- the forms --------------------------------------------------------------------------------


def test_the_needed_names_the_prompt_and_what_was_said_stand_in_comments():
    step = Step("df.sum()", "3", said="I add it up.")
    made = promoted([step], title="From turn 1", prompt=[Said("How much?\nAll of @df")])
    assert made.cell().startswith("# From turn 1\n# Asked: How much? All of @df\n# Needs: df\n")
    assert "\n\n# I add it up.\ndf.sum()" in made.cell()


def test_steps_are_numbered_with_what_was_said_before_each():
    made = promoted([Step("a = 1", "", said="First."), Step("a + 1", "2")])
    assert "# 1. First.\na = 1\n\n# 2.\na + 1" in made.cell()


@pytest.mark.parametrize("form", ["cell", "script", "notebook"])
@pytest.mark.parametrize("said", ["", "I set it."])
def test_the_only_step_has_no_number(form, said):
    assert "# 1." not in getattr(promoted([Step("x = 1", "", said=said)]), form)()


def test_a_comment_cannot_break_into_code():
    step = Step("x = 1", "", said="fine\nimport os; os.remove('a')\u2028y = 2\x0cz = 3")
    lines = promoted([step]).cell().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == ["x = 1"]


def test_each_step_but_the_last_shows_its_value_in_a_cell():
    assert "display(a)" in of(("a", "1"), ("b", "2")).cell()
    assert "display(b)" not in of(("a", "1"), ("b", "2")).cell()


def test_a_bare_tuple_is_shown_as_one():
    assert "display((a, b))" in of(("a, b", "(1, 2)"), ("c", "3")).cell()


def test_an_expression_over_several_lines_is_shown_whole():
    code = "(table\n   .head()\n   .sum())"
    text = of((code, "1"), "x = 1").cell()
    compile(text, "cell", "exec")
    assert "display((table\n   .head()\n   .sum()))" in text


def test_code_with_letters_outside_of_ascii_is_shown_whole():
    assert 'display("größe" + ß)' in of(('"größe" + ß', "1"), "x = 1").cell()


@pytest.mark.parametrize("code", ["print(1)", "x.append(1)", "plt.show()", "a;"])
def test_what_returns_nothing_is_not_shown(code):
    assert "display(" not in of((code, "1"), "x = 1").cell()


def test_a_script_prints_its_values():
    assert "print(a)" in of(("a = 1\na", "1")).script()


def test_a_script_runs_by_itself(tmp_path):
    made = of(("import math\nmath.floor(2.5)", "2"), ("print('end')", "end"))
    path = tmp_path / "made.py"
    path.write_text(made.script())
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("2\nend\n", "")


def test_a_script_with_an_await_outside_of_functions_is_refused():
    with pytest.raises(ConfigError, match="await"):
        of("import asyncio\nawait asyncio.sleep(0)").script()


def test_a_notebook_has_a_cell_for_each_step_and_is_valid():
    import nbformat

    text = of("import math\nx = math.pi", ("x", "3.14")).notebook()
    nbformat.validate(nbformat.reads(text, as_version=4))
    sources = [cell["source"] for cell in json.loads(text)["cells"]]
    assert sources == ["import math", "# 1.\nx = math.pi", "# 2.\nx"]


def test_promoted_code_does_not_speak_of_us():
    assert "alloy" not in of(("a", "1"), ("b", "2")).cell()


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("df.to_csv('a')", ["df.to_csv"]),
        ("open('a')", []),
        ("open('a', 'w').write('b')", ["open"]),
        ("open('a', mode=m)", ["open"]),
        ("import requests\nrequests.get('http://x')", ["requests.get"]),
        ("df.sum()\nos.environ.get('a')", []),
        ("Path('a').unlink()", [".unlink"]),
    ],
)
def test_code_that_reaches_out_is_known_by_its_calls(code, found):
    assert effects(code) == found


# --- the proof --------------------------------------------------------------------------------


def test_what_gives_the_same_again_is_reproduced(shell):
    assert prove(of(("x = 2\nx * 21", "42"), ("print(x)", "2")), shell, 10).startswith("Reproduced")


def test_nothing_of_the_users_namespace_changes(shell):
    rows = [1, 2, 3]
    shell.user_ns.update(rows=rows)
    before = dict(shell.user_ns)
    told = prove(of(("rows.append(4); new = 1; len(rows)", "4")), shell, 10)
    assert told.startswith("Reproduced")
    assert rows == [1, 2, 3]
    assert shell.user_ns == before


def test_a_table_that_the_steps_change_is_a_copy(shell):
    import pandas as pd

    df = pd.DataFrame({"a": [1, 2]})
    shell.user_ns["df"] = df
    told = prove(of(("df['b'] = df.a * 2\ndf.b.sum()", "np.int64(6)")), shell, 10)
    assert told.startswith("Reproduced"), told
    assert list(df.columns) == ["a"]


def test_another_result_is_told_with_both_lines(shell):
    told = prove(of(("1 + 1", "3")), shell, 10)
    assert "then: 3" in told
    assert "now:  2" in told


def test_a_step_that_fails_now_is_told_with_its_reason(shell):
    assert "step 2 failed: ZeroDivisionError" in prove(of("x = 0", ("1 / x", "7")), shell, 10)


def test_a_name_that_is_gone_is_told_before_anything_runs(shell):
    assert "it needs nowhere, which is not in the notebook" in prove(of("nowhere + 1"), shell, 10)


def test_what_cannot_be_copied_is_not_used(shell, tmp_path):
    with (tmp_path / "a").open("w") as file:
        shell.user_ns["file"] = file
        told = prove(of("file.write('x')"), shell, 10)
    assert "file (TextIOWrapper) cannot be copied" in told
    assert (tmp_path / "a").read_text() == ""


def test_a_list_of_what_cannot_be_copied_is_not_used_either(shell):
    shell.user_ns["things"] = [threading.Lock()]
    assert "things (list) cannot be copied" in prove(of("things[0].x = 1"), shell, 10)


def test_an_object_of_the_users_is_copied_with_what_it_holds(shell):
    shell.run_cell("class Box:\n    def __init__(self): self.rows = [1]\nbox = Box()")
    told = prove(of(("box.rows.append(2)\nbox.rows", "[1, 2]")), shell, 10)
    assert told.startswith("Reproduced"), told
    assert shell.user_ns["box"].rows == [1]


@pytest.mark.parametrize(
    "made",
    [
        "np.float64(2.5)",
        "pd.Timestamp('2024-01-02')",
        "pd.Index([1, 2])",
        "pathlib.Path('a')",
        "re.compile('a')",
        "{'a': np.int64(1), 'b': [np.arange(3)]}",
    ],
)
def test_what_analysts_hold_can_be_used_in_a_proof(shell, made):
    shell.run_cell(f"import numpy as np, pandas as pd, pathlib, re\nheld = {made}")
    told = prove(of(("print(held)", str(shell.user_ns["held"]))), shell, 10)
    assert told.startswith("Reproduced"), told


def test_a_function_of_the_users_works_on_the_copies(shell):
    shell.run_cell("seen = []\ndef note(x):\n    seen.append(x)\n    return len(seen)")
    assert prove(of(("note(5)", "1")), shell, 10).startswith("Reproduced")
    assert shell.user_ns["seen"] == []


def test_the_proof_shows_nothing(shell, capsys):
    prove(of(("print('loud'); display(5)\n7", "loud\n[shown to the user: 5]\n7")), shell, 10)
    assert "loud" not in capsys.readouterr().out


def test_the_proof_puts_back_folder_environment_and_random_numbers(shell, tmp_path):
    random.seed(1)
    expected, before = random.Random(1).random(), (os.getcwd(), dict(os.environ))
    code = f"import os, random\nos.chdir({str(tmp_path)!r})\nos.environ['X_NEW'] = '1'\n"
    prove(of(code + "random.seed(9)"), shell, 10)
    assert (os.getcwd(), dict(os.environ)) == before
    assert random.random() == expected


def test_a_proof_ends_at_its_limit_of_time(shell):
    began = time.monotonic()
    told = prove(of("while True: pass"), shell, 0.5)
    assert "step 1 failed: TimeoutError" in told
    assert time.monotonic() - began < 30


def test_a_failure_in_the_proof_is_not_the_last_error_of_the_user(shell):
    for name in ("last_exc", "last_value"):
        if hasattr(sys, name):
            delattr(sys, name)
    prove(of("1 / 0"), shell, 10)
    assert not hasattr(sys, "last_value")


def test_results_that_were_withheld_are_not_compared_and_that_is_said(shell):
    withheld = "[printed 1 line, shown to the user, not sent: --data schema]"
    assert "were withheld" in prove(of(("print(1)", withheld)), shell, 10)
    told = prove(of(("print(1)", withheld), ("2", "2")), shell, 10)
    assert "1 had been withheld" in told


def test_addresses_of_objects_do_not_count(shell):
    assert prove(of(("object()", "<object at 0x7f00deadbeef>")), shell, 10).startswith("Reproduced")


# --- the command ------------------------------------------------------------------------------


def answering(*codes, last="Done."):
    return [*([Call("python", {"code": code})] for code in codes), [Say(last)]]


@pytest.fixture
def ask(cell, monkeypatch):
    """Ask a model that runs these pieces of code."""
    monkeypatch.setenv("OPENAI_API_KEY", "k" * 20)
    cell("%alloy reset")
    cell("%alloy approve all")

    def go(*codes, prompt="How much is it?"):
        with Server(*loop(*answering(*codes))) as server:
            assert cell(f"%alloy model openai-compat/m --base-url {server.url}").ok
            ran = cell(f"%alloy {prompt}")
            assert ran.ok, ran.text

    yield go
    cell("%alloy approve ask")


def test_promote_offers_the_last_turn_that_ran_python(cell, ask):
    ask("import math\nr = 2", "math.floor(math.pi * r)")
    told = cell("%alloy promote").stdout
    assert "Reproduced" in told
    assert "import math\n\n# 1.\nr = 2\n\n# 2.\nmath.floor(math.pi * r)" in told


def test_a_turn_that_replaced_its_input_is_proven_on_what_there_was_before(cell, ask):
    cell("import pandas as pd\ndf = pd.DataFrame({'n': [1, None, 3]})")
    ask("before = len(df)\ndf = df.dropna()\nprint(before, len(df))")
    told = cell("%alloy promote").stdout
    assert "Reproduced" in told
    assert "with df as before the turn" in told
    assert cell("len(df)").result == 2


def test_a_turn_that_changed_its_input_in_place_is_proven_on_what_there_was_before(cell, ask):
    cell("import pandas as pd\ndf = pd.DataFrame({'n': [1, 2, 3]})")
    ask("df['n'] = df.n * 2\nprint(df.n.sum())")
    assert "with df as before the turn" in cell("%alloy promote").stdout
    assert cell("int(df.n.sum())").result == 12


def test_promote_leaves_out_what_failed(cell, ask):
    ask("oops", "4 + 4")
    told = cell("%alloy promote").stdout
    assert "1 step, 1 left out" in told
    assert "oops" not in told


def test_promote_takes_the_turn_that_is_named(cell, ask):
    ask("'first'")
    ask("'second'")
    assert "'first'" in cell("%alloy promote 1").stdout
    assert "Turns that did: 1, 2" in cell("%alloy promote 3").stderr


def test_promote_without_any_python_says_so(cell, ask):
    assert "No turn of this conversation ran Python" in cell("%alloy promote").stderr


def test_the_promoted_cell_runs_in_the_notebook(cell, ask):
    ask("rows = [3, 1, 2]", "sorted(rows)")
    text = cell("%alloy promote").stdout
    assert cell(text[text.index("# Made from") :]).result == [1, 2, 3]


def test_promote_to_a_script_writes_one_that_runs(cell, ask, tmp_path):
    ask("6 * 7")
    path = tmp_path / "made.py"
    assert "written to" in cell(f"%alloy promote {path}").stdout
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=60)
    assert done.stdout == "42\n"


def test_promote_does_not_replace_a_file_unasked(cell, ask, tmp_path):
    ask("6 * 7")
    path = tmp_path / "made.py"
    path.write_text("mine")
    assert "--force replaces it" in cell(f"%alloy promote {path}").stderr
    assert path.read_text() == "mine"
    assert cell(f"%alloy promote {path} --force").ok
    assert "6 * 7" in path.read_text()


def test_promote_to_a_notebook_writes_one(cell, ask, tmp_path):
    ask("6 * 7")
    assert cell(f"%alloy promote {tmp_path / 'made.ipynb'}").ok
    cells = json.loads((tmp_path / "made.ipynb").read_text())["cells"]
    assert cells[-1]["source"] == "6 * 7"


def test_code_that_reaches_out_is_run_again_only_when_asked(cell, ask, tmp_path):
    path = tmp_path / "out.txt"
    ask(f"file = open({str(path)!r}, 'a')\nn = file.write('x')\nfile.close()\nn")
    assert "was not run again, since it reaches out" in cell("%alloy promote").stdout
    assert path.read_text() == "x"
    assert "Reproduced" in cell("%alloy promote --verify").stdout
    assert path.read_text() == "xx"


def test_promote_without_verifying_runs_nothing(cell, ask, shell):
    ask("6 * 7")
    assert "was not run again" in cell("%alloy promote --no-verify").stdout


def test_promote_works_on_a_conversation_that_was_exported_and_read_again(cell, ask, tmp_path):
    ask("import math\nmath.floor(7.5)")
    cell(f"%alloy export {tmp_path / 'kept.json'}")
    cell("%alloy reset")
    assert cell(f"%alloy import {tmp_path / 'kept.json'} --force").ok
    told = cell("%alloy promote").stdout
    assert "math.floor(7.5)" in told
    assert "Reproduced" in told


def test_promote_tells_what_it_does_not_understand(cell, ask):
    ran = cell("%alloy promote sideways")
    assert isinstance(ran.error, UsageError)
    assert "promote sideways" in ran.stderr


def test_verify_means_nothing_to_a_prompt(cell):
    assert "--verify means nothing to a prompt" in cell("%alloy --verify hello").stderr

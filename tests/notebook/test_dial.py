"""What leaves the kernel is what the dial lets through, at each of its levels."""

from __future__ import annotations

import linecache
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from alloy_nb.errors import ConfigError
from alloy_nb.notebook.inputs.columns import Columns, values_among
from alloy_nb.notebook.inputs.dial import KEY, Dial
from alloy_nb.notebook.inputs.sources import without_values

CANARY = "canary-7319"
DF = pd.DataFrame({"name": [CANARY, "b"], "n": [1.0, 73197319.0]})
LEVELS = ["none", "names", "schema", "sample:1", "full"]


def dial(level, *columns, code=""):
    return Dial.parse(level).knowing(frozenset(columns), code=code)


# --- the words for it -----------------------------------------------------------------------------


@pytest.mark.parametrize("level", [*LEVELS, "sample:10000"])
def test_a_level_reads_as_it_is_written(level):
    assert str(Dial.parse(level)) == level


@pytest.mark.parametrize("text", [" Schema ", "SCHEMA"])
def test_a_level_may_be_written_in_any_case(text):
    assert str(Dial.parse(text)) == "schema"


@pytest.mark.parametrize(
    "text",
    [
        *("", "all", "sample", "sample:", "sample:0", "sample:-1", "sample:1.5", "sample:10001"),
        *("schema:5", "none:", "sample:١", "sample:999999999999", "full full"),
    ],
)
def test_a_level_that_does_not_exist_is_refused_with_those_that_do(text):
    with pytest.raises(ConfigError, match=r"none, names, schema, sample:N, full"):
        Dial.parse(text)


def test_without_a_level_in_the_context_all_is_sent():
    assert str(Dial.of({})) == "full"


@pytest.mark.parametrize("given", ["schema", Dial.parse("schema"), lambda: Dial.parse("schema")])
def test_the_context_may_hold_a_level_a_dial_or_what_makes_one(given):
    assert str(Dial.of({KEY: given})) == "schema"


def test_levels_stand_in_order():
    widths = [Dial.parse(level).width for level in [*LEVELS[:3], "sample:2", "sample:30", "full"]]
    assert widths == sorted(widths)


# --- what is never told ---------------------------------------------------------------------------


def _tables():
    yield DF
    yield DF.T
    yield DF.set_index("name")
    yield DF.set_index("name").T
    yield DF["name"]
    yield DF["name"].astype("category")
    yield DF.rename(columns={"n": CANARY})
    yield DF.groupby("name")
    yield DF.to_dict()
    yield DF.to_records()
    yield DF.to_numpy()
    yield np.array([(1,)], dtype=[(CANARY, "i4")])
    yield pd.CategoricalDtype([CANARY])
    yield pd.Series([1], name=CANARY)
    yield pd.Series(pd.arrays.SparseArray([73197319, 1], fill_value=73197319))
    yield pd.MultiIndex.from_tuples([(CANARY, 1)])
    yield pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("name", CANARY)]))
    yield pd.DataFrame({73197319: [1]})
    yield pd.DataFrame([[1]], columns=pd.IntervalIndex.from_tuples([(73197319, 73197320)]))


def _objects():
    yield CANARY
    yield 73197319
    yield [CANARY]
    yield {CANARY: 1}
    yield type(CANARY, (), {})()
    yield type(CANARY, (list,), {})()
    yield type(CANARY, (Exception,), {})(CANARY)
    yield SimpleNamespace(columns=[CANARY], dtypes=[CANARY], shape=(1, 1))
    yield SimpleNamespace(columns=[CANARY], dtypes=[CANARY], shape=(CANARY, 1))
    yield SimpleNamespace(shape=(CANARY,))
    yield SimpleNamespace(shape=(1,), dtype=CANARY)
    made = type("Made", (), {})
    made.__qualname__ = CANARY
    yield made()
    spoofed = type(CANARY, (), {"__module__": "builtins"})
    yield spoofed()


NASTY = [*_tables(), *_objects()]


@pytest.mark.parametrize("level", ["none", "names", "schema"])
@pytest.mark.parametrize("value", NASTY, ids=range(len(NASTY)))
def test_no_value_is_told_below_sample(value, level):
    told = dial(level, "name", "n")
    for text in (told.value(value, repr(value)), told.described("x", value)):
        assert CANARY not in text
        assert "7319" not in text


TELLERS = {
    "printed": lambda d: d.printed(f"{CANARY}\n"),
    "displayed": lambda d: d.displayed(CANARY),
    "answered": lambda d: d.answered("read", CANARY),
    "failed to answer": lambda d: d.answered("read", CANARY, failed=True),
    "code": lambda d: d.source(f"x = '{CANARY}'  # {CANARY}\ny = 73197319\nf'{CANARY}'"),
    "no code": lambda d: d.source(f"%%writefile x.csv\n{CANARY}"),
}


@pytest.mark.parametrize("level", ["none", "names", "schema"])
@pytest.mark.parametrize("tell", TELLERS.values(), ids=TELLERS)
def test_no_text_is_told_below_sample(tell, level):
    assert "7319" not in tell(dial(level))


@pytest.mark.parametrize("level", LEVELS[:4])
def test_pictures_go_with_full_alone(level):
    assert (dial(level).images, dial("full").images) == (False, True)


def test_at_none_not_even_names_are_told():
    told = dial("none", "name")
    assert told.described("df", DF) == ""
    assert told.source("x = 1") == ""
    assert "DataFrame" not in told.value(DF, "text")
    assert "7" not in told.printed("a\n" * 7)


# --- what is told ---------------------------------------------------------------------------------


def test_what_is_printed_is_counted():
    told = dial("schema").printed("a\nb\nc\n")
    assert told == "[printed 3 lines, shown to the user, not sent: --data schema]"


@pytest.mark.parametrize("level", LEVELS)
def test_nothing_printed_is_nothing_told(level):
    assert dial(level).printed("") == ""


@pytest.mark.parametrize("level", LEVELS)
def test_no_value_is_no_value(level):
    assert dial(level).value(None, None) is None


def test_names_are_types():
    assert dial("names").described("df", DF) == "df: pandas.DataFrame"


def test_a_schema_has_the_columns_that_are_known():
    told = dial("schema", "name").described("df", DF)
    assert told == (
        "df: pandas.DataFrame, 2 rows × 2 columns\n"
        f"  name: {DF.dtypes['name']}\n"
        "  a column whose name is not sent: float64"
    )


def test_columns_without_a_name_that_may_be_told_are_counted():
    told = dial("schema").value(DF.pivot_table(index="n", columns="name", values="n"), "text")
    assert "  2 columns whose names are not sent: float64\n" in told


def test_a_name_that_stands_in_the_code_is_known():
    told = dial("schema", code="df.groupby('x').agg(total=('n', 'sum'))")
    assert "  total: int64" in told.value(pd.DataFrame({"total": [1]}), "text")


def test_a_column_has_its_type_and_how_much_is_missing():
    told = dial("schema").described("df.n", pd.Series([1.0, None]))
    assert told == "df.n: pandas.Series, shape 2, float64\n  missing: 1"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (5, "int"),
        (5.5, "float"),
        (True, "bool"),
        ("ab", "str, length 2"),
        ([1, 2], "list, length 2"),
        (np.zeros((3, 4)), "numpy.ndarray, shape 3 × 4, float64"),
        (pd.Timestamp("2020-01-01"), "pandas.Timestamp"),
        (ValueError("x"), "ValueError"),
    ],
    ids=str,
)
def test_a_value_is_its_type_and_shape(value, kind):
    assert dial("schema").value(value, repr(value)).splitlines()[0] == kind


@pytest.mark.parametrize(
    "dtype",
    [
        *("int64", "float32", "bool", "object", "category", "datetime64[ns]", "timedelta64[s]"),
        *("Int64", "boolean", "string"),
    ],
)
def test_a_plain_type_of_values_is_told(dtype):
    column = pd.Series([], dtype=dtype)
    assert str(column.dtype) in dial("schema").described("x", column)


class _Dtype:
    def __init__(self, text):
        self.text = text

    def __str__(self):
        return self.text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"struct<{CANARY}: int64>[pyarrow]", "struct"),
        (f"Struct({{'{CANARY}': Int64}})", "Struct"),
        (f"Enum(categories=['{CANARY}'])", "Enum"),
        (f"Sparse[int64, {CANARY}]", "Sparse"),
        (f"dictionary<values=string, {CANARY}>", "dictionary"),
        (f"{CANARY}", "another type"),
    ],
)
def test_a_type_of_values_loses_its_parameters(text, told):
    column = SimpleNamespace(shape=(1,), dtype=_Dtype(text))
    assert dial("schema").described("x", column).endswith(f"shape 1, {told}")


# --- a sample -------------------------------------------------------------------------------------


def test_a_sample_has_the_first_rows():
    told = dial("sample:1").value(pd.DataFrame({"a": ["first", "second"]}), "text")
    assert "first" in told
    assert "second" not in told


@pytest.mark.parametrize(
    "value", [["first", "second"], ("first", "second"), {"first": 1, "second": 2}], ids=str
)
def test_a_sample_has_the_first_items(value):
    told = dial("sample:1").value(value, repr(value))
    assert "first" in told
    assert "second" not in told


def test_a_sample_has_the_first_lines_and_counts_the_others():
    told = dial("sample:2").printed("a\nb\nc\nd\n")
    assert told == "a\nb\n[2 more lines, shown to the user, not sent: --data sample:2]"


def test_a_scalar_passes_a_sample():
    assert dial("sample:1").value(42, "42") == "42"


@pytest.mark.parametrize("level", ["none", "names", "schema", "sample:2"])
@pytest.mark.parametrize("blank", ["\n" * 42, " " * 9_000, " \t\n"])
def test_a_blank_does_not_tell_a_number_by_its_length(level, blank):
    assert dial(level).printed(blank) == dial(level).displayed(blank) == "\n"


@given(st.integers(1, 9), st.lists(st.text(max_size=600), max_size=12))
@example(1, ["", "", "", ""])
def test_a_sample_is_never_more_than_its_lines_of_its_width(rows, lines):
    told = Dial.parse(f"sample:{rows}").printed("\n".join(lines))
    assert len(told.splitlines()) <= rows + 1
    assert all(len(line) <= 210 for line in told.splitlines())


def test_a_long_text_in_a_table_is_cut_in_a_sample():
    told = dial("sample:1").value(pd.DataFrame({"a": ["x" * 9_000]}), "text")
    assert len(told) < 2_500


def test_a_sample_of_a_reference_has_schema_and_rows():
    told = dial("sample:1").described("df", pd.DataFrame({"a": ["first", "second"]}))
    assert "df: pandas.DataFrame, 2 rows × 1 columns" in told
    assert "first" in told
    assert "second" not in told


def test_full_tells_a_table_of_a_reference_by_its_schema_alone():
    assert CANARY not in dial("full").described("df", DF)


# --- a failure ------------------------------------------------------------------------------------


def failed(code, level="schema", filename="<alloy python 1>", namespace=None, columns=()):
    """Run code as the tool does, and return what is told of its failure."""
    linecache.cache[filename] = (len(code), None, code.splitlines(keepends=True), filename)
    try:
        exec(compile(code, filename, "exec"), {} if namespace is None else namespace)
    except BaseException as error:  # whatever the code raises is what this is about
        return dial(level, *columns).failed(error, "Traceback", code)
    raise AssertionError("it did not fail")


def test_a_failure_is_told_by_its_type_and_its_line():
    told = failed("x = 1\nfloat('canary-7319')")
    assert told.startswith("ValueError on line 2 of 2: float('canary-7319')\n")


def test_the_line_is_the_one_of_the_models_own_code():
    told = failed("def f(x):\n    return [][x]\n\nf(3)")
    assert told.startswith("IndexError on line 2 of 4: return [][x]")


def test_a_key_that_stands_in_the_code_is_told():
    assert failed("{}['total']").startswith("KeyError: 'total' on line 1")


def test_a_key_that_is_a_column_is_told():
    told = failed("{}[k]", namespace={"k": "amount"}, columns=["amount"])
    assert told.startswith("KeyError: 'amount' on line 1")


HIDDEN = {
    "a message": "raise ValueError(v)",
    "a key": "{}[v]",
    "a name": "eval(v.replace('-', '_'))",
    "an attribute": "getattr(1, v)",
    "a module": "__import__(v)",
    "a file": "open(v)",
    "a type": "raise type(v, (Exception,), {})(v)",
    "a type of a name that is known": "raise type('Known', (KeyError,), {'args': (v,)})",
    "a cause": "try:\n    open(v)\nexcept OSError as e:\n    raise KeyError(1) from e",
    "a context": "try:\n    raise ValueError(v)\nexcept ValueError:\n    raise KeyError(1)",
    "a group": "raise ExceptionGroup(v, [ValueError(v)])",
    "a note": "e = ValueError()\ne.add_note(v)\nraise e",
    "a syntax error": "exec(v + ' = = 1')",
    "an assertion": "assert False, v",
    "an end": "raise SystemExit(v)",
}


@pytest.mark.parametrize("level", ["none", "names", "schema"])
@pytest.mark.parametrize("code", HIDDEN.values(), ids=HIDDEN)
def test_a_failure_tells_no_value(code, level):
    assert "7319" not in failed(code, level, namespace={"v": CANARY})


def test_what_led_to_a_failure_is_told_by_type():
    told = failed("try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise KeyError(1) from e")
    assert "caused by ZeroDivisionError" in told


def test_none_tells_that_it_failed_and_where():
    told = failed("x = 1\nraise ValueError('y')", "none")
    assert told.startswith("The code failed on line 2 of 2. ")
    assert "ValueError" not in told


def test_a_limit_of_time_is_told():
    told = failed("raise TimeoutError('stopped at the limit of 5 s')")
    assert told.startswith("TimeoutError: stopped at the limit of 5 s")


def test_the_words_of_the_persons_own_code_are_not_the_models():
    told = failed(f"x = {{}}['{CANARY}']", filename="cell.py")
    assert CANARY not in told
    assert told.startswith("KeyError on line 1 of 1")


def test_a_sample_has_the_message():
    assert "the reason" in failed("raise ValueError('the reason')", "sample:1")


def test_full_has_the_traceback():
    assert failed("1 / 0", "full") == "Traceback"


# --- code of the person's -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("x = 'secret'", 'x = "…"'),
        ("df['name']", "df['name']"),
        ("df.head(10)", "df.head(10)"),
        ("x = 73197319", "x = …"),
        ("x = 1  # secret", "x = 1  # …"),
        ("x = '''a\nb'''\ny = 2", 'x = "…"\ny = 2'),
        ("x = b'secret'", 'x = "…"'),
        ("%%sql\nselect 1", 'get_ipython().run_cell_magic("…", "…", "…")'),
        ("a = 'x' + 'y'; b = 'z'", 'a = "…" + "…"; b = "…"'),
    ],
)
def test_code_is_told_without_the_values_in_it(code, told):
    assert without_values(code, lambda name: name == "name") == told


@pytest.mark.parametrize("code", ["this was a secret", "x = (", "a\tb\n1\t2 3"])
def test_what_is_no_python_is_not_told(code):
    assert without_values(code, lambda _: True) is None


@given(st.text(min_size=3, max_size=20))
def test_no_text_of_code_is_told_however_it_is_written(secret):
    told = without_values(f"value = {secret!r}", lambda _: False)
    assert told == 'value = "…"'


# --- which names are values -----------------------------------------------------------------------


class _Session:
    pass


def told_to(namespace, columns=None):
    return (columns or Columns()).told_to(_Session(), namespace)


def test_the_columns_of_the_persons_tables_are_told():
    assert "name" in told_to({"df": DF})


@pytest.mark.parametrize(
    "pivoted",
    [
        DF.set_index("name").T,
        DF.pivot_table(index="n", columns="name", values="n"),
        pd.get_dummies(DF["name"]),
    ],
    ids=["turned", "pivoted", "dummies"],
)
def test_a_column_that_is_a_value_of_a_table_is_not_told(pivoted):
    assert CANARY not in told_to({"df": DF, "wide": pivoted})


def test_a_column_that_is_in_an_index_is_not_told():
    assert CANARY not in told_to({"df": DF.set_index("name"), "wide": pd.DataFrame({CANARY: [1]})})


def test_a_column_that_is_a_category_is_not_told():
    kind = pd.Series(["b"], dtype=pd.CategoricalDtype([CANARY, "b"]))
    assert CANARY not in told_to({"kind": kind, "wide": pd.DataFrame({CANARY: [1]})})


def test_a_number_that_is_a_value_is_no_name():
    frame = pd.DataFrame({"year": [2019, 2020]})
    assert "2019" not in told_to({"df": frame, "wide": pd.DataFrame({2019: [1], 2031: [2]})})


def test_a_number_that_is_no_value_is_a_name():
    assert "2031" in told_to({"df": DF, "wide": pd.DataFrame({2031: [2]})})


def test_a_name_that_was_told_stays_told_when_the_table_is_melted():
    columns, session, namespace = Columns(), _Session(), {"df": DF}
    columns.told_to(session, namespace)
    namespace["long"] = DF.melt()
    assert "name" in columns.told_to(session, namespace)


def test_a_column_that_the_models_code_made_is_not_told():
    columns, namespace = Columns(), {"df": DF}
    columns.look(namespace)
    namespace["made"] = pd.DataFrame({CANARY[::-1]: [1]})
    columns.ran(namespace)
    assert CANARY[::-1] not in columns.told_to(_Session(), namespace)


def test_a_column_whose_name_the_model_wrote_is_told():
    columns, session, namespace = Columns(), _Session(), {"df": DF}
    columns.look(namespace)
    columns.said(session, "df['total'] = 1")
    namespace["made"] = DF.assign(total=1)
    columns.ran(namespace)
    assert "total" in columns.told_to(session, namespace)


def test_the_words_of_one_session_are_not_told_to_another():
    columns = Columns()
    columns.said(_Session(), f"x == '{CANARY}'")
    assert CANARY not in columns.told_to(_Session(), {})


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=6, unique=True))
def test_every_text_of_a_table_is_found_among_its_values(texts):
    table = pd.DataFrame({"x": pd.Series(texts, dtype="object")})
    assert values_among(set(texts), [table]) == set(texts)


def test_looking_for_tables_runs_no_code_of_the_persons():
    class Slow:
        def __getattr__(self, name):
            raise AssertionError(f"it was asked for {name}")

    assert "name" in told_to({"slow": Slow(), "df": DF})


def test_telling_a_value_runs_no_code_of_the_persons():
    class Slow:
        asked: list = []  # noqa: RUF012  # one for all

        def __getattribute__(self, name):
            Slow.asked.append(name)
            raise AttributeError(name)

    Slow.__module__ = "__main__"
    dial("schema").value(Slow(), "text")
    assert Slow.asked == []


def test_lists_among_the_values_hide_no_text():
    table = pd.DataFrame({"x": pd.Series([[1], CANARY], dtype="object")})
    assert values_among({CANARY, "b"}, [table]) == {CANARY}


def test_a_table_of_polars_is_looked_through():
    column = SimpleNamespace(
        is_in=None, unique=lambda: SimpleNamespace(to_list=lambda: [CANARY, "b"])
    )
    table = SimpleNamespace(
        columns=["a"], dtypes=["String"], shape=(2, 1), get_columns=lambda: [column]
    )
    assert values_among({CANARY, "c"}, [table]) == {CANARY}


# --- what is typed --------------------------------------------------------------------------------


@pytest.fixture
def full(cell):
    cell("%alloy data full")
    yield cell
    cell("%alloy data full")


def test_the_level_is_shown_with_what_it_means(full):
    assert full("%alloy data").text == (
        "data: full — what code returns is sent; @names send the schema only\n"
    )


def test_the_level_is_set_for_the_notebook(full):
    told = full("%alloy data sample:3").text
    assert told.startswith("data: sample:3 — the first 3 rows, items or lines")
    assert full("%alloy data").text == told


def test_the_level_stands_in_the_status(full):
    full("%alloy data names")
    assert "names: names and types are sent" in full("%alloy").text


def test_the_level_can_be_configured(full):
    assert full("%config Alloy.data = 'schema'").ok
    assert full("%alloy data").text.startswith("data: schema")


@pytest.mark.parametrize("line", ["%alloy data all", "%alloy --data all hello"])
def test_a_level_that_does_not_exist_is_an_error_that_names_them(full, line):
    ran = full(line)
    assert not ran.ok
    assert "none, names, schema, sample:N, full" in str(ran.error)
    assert full("%alloy data").text.startswith("data: full")


@pytest.mark.parametrize(
    "line",
    ["%alloy hello --data schema", "%alloy hello --data=none", "%%alloy\nhello --data names"],
)
def test_a_level_behind_the_prompt_is_an_error_and_not_text(full, line):
    ran = full(line)
    assert not ran.ok
    assert "Flags come first" in str(ran.error)


@pytest.mark.parametrize(
    "line",
    [
        "%alloy --approve none --data full what is --data schema?",
        "%alloy --approve none what does --data do?",
    ],
)
def test_a_prompt_may_speak_of_levels(full, line):
    assert full(line).ok


def test_a_prompt_at_none_keeps_its_references_as_words(full):
    full("%alloy reset")
    full("zzz = 5")
    full("%alloy --data none --approve none What is in @zzz?")
    sent = full("%alloy sent").text
    assert "What is in @zzz?" in sent
    assert "<reference name" not in sent


def test_setting_a_narrower_level_says_what_goes_along(full):
    full("%alloy reset")
    full("%alloy --approve none hello")
    told = full("%alloy data schema").text
    assert "What was said before in main may hold more" in told
    assert "goes along again" in full("%alloy --approve none hello again").text
    assert "goes along again" not in full("%alloy --approve none and again").text


def test_after_a_reset_nothing_goes_along(full):
    full("%alloy --approve none hello")
    full("%alloy reset")
    assert "may hold more" not in full("%alloy data schema").text
    assert "goes along again" not in full("%alloy --approve none hello").text

"""Tables in, tables out: each row at its place, whatever the index."""

from __future__ import annotations

import datetime
import enum
from dataclasses import dataclass
from typing import Annotated, Literal, TypedDict

import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from alloy_nb.analysis.frames import Column, fields_of, plain, read
from alloy_nb.errors import ConfigError

LABELS = st.one_of(st.text(max_size=5), st.integers(-5, 5), st.none(), st.booleans())


def numbered(table, count):
    return table.build([Column("n", "int", list(range(count)))], count)


@settings(deadline=None)
@given(st.lists(LABELS, max_size=20))
def test_what_comes_out_has_the_index_of_what_went_in_also_an_odd_one(labels):
    index = pd.Index(labels, dtype=object, name="who")
    series = pd.Series([str(n) for n in range(len(labels))], index=index)
    table = read(series)
    assert [values[0] for values in table.rows()] == list(series)
    made = numbered(table, len(labels))
    assert made.index.equals(index)
    assert list(made["n"]) == list(range(len(labels)))


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2)), min_size=1, max_size=12))
def test_an_index_of_several_levels_is_kept_with_its_names(labels):
    index = pd.MultiIndex.from_tuples(labels, names=["letter", "number"])
    frame = pd.DataFrame({"x": range(len(labels))}, index=index)
    made = numbered(read(frame), len(labels))
    assert made.index.equals(index)
    assert made.index.names == ["letter", "number"]


def test_the_rows_of_a_pandas_table_come_in_the_order_of_its_columns():
    table = read(pd.DataFrame({"b": [1, 2], "a": ["x", None]}))
    assert table.columns == ("b", "a")
    rows = [list(row) for row in table.rows()]
    assert rows[0] == [1, "x"]
    assert table.length == 2


def test_polars_goes_in_and_comes_out():
    table = read(pl.DataFrame({"b": [1, 2], "a": ["x", None]}))
    assert [list(row) for row in table.rows()] == [[1, "x"], [2, None]]
    made = numbered(table, 2)
    assert isinstance(made, pl.DataFrame)
    assert made.schema == {"n": pl.Int64}


def test_a_lazy_polars_table_comes_out_as_a_table():
    table = read(pl.LazyFrame({"a": [1]}).with_columns(b=pl.col("a") + 1))
    assert [list(row) for row in table.rows()] == [[1, 2]]
    assert isinstance(numbered(table, 1), pl.DataFrame)


def test_a_polars_series_is_a_table_of_values():
    table = read(pl.Series("review", ["x", None]))
    assert table.columns is None
    assert [row[0] for row in table.rows()] == ["x", None]


def test_an_arrow_table_comes_out_as_one():
    pyarrow = pytest.importorskip("pyarrow")
    made = numbered(read(pyarrow.table({"a": [1, 2]})), 2)
    assert isinstance(made, pyarrow.Table)


def test_a_list_comes_out_as_pandas():
    table = read(["x", "y"])
    assert (table.columns, table.length) == (None, 2)
    assert isinstance(numbered(table, 2), pd.DataFrame)


def test_a_list_of_mappings_has_all_their_keys_as_columns():
    table = read([{"a": 1}, {"b": 2, "a": 3}])
    assert table.columns == ("a", "b")
    assert [list(row) for row in table.rows()] == [[1, None], [3, 2]]


def test_an_iterator_is_read_as_it_is_asked_for():
    taken = []

    def items():
        for n in range(10):
            taken.append(n)
            yield {"n": n}

    table = read(items())
    assert (table.columns, table.length, table.is_once) == (("n",), None, True)
    rows = table.rows()
    assert list(next(rows)) == [0]
    assert taken == [0]


def test_without_pandas_a_list_comes_out_as_mappings(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert numbered(read(["x", "y"]), 2) == [{"n": 0}, {"n": 1}]


def test_a_dask_table_is_computed_part_by_part_and_comes_out_as_pandas():
    dask = pytest.importorskip("dask.dataframe")
    frame = pd.DataFrame({"a": range(10)}, index=[f"r{n}" for n in range(10)])
    table = read(dask.from_pandas(frame, npartitions=3))
    rows = [row[0] for row in table.rows()]
    made = numbered(table, 10)
    assert rows == list(range(10))
    assert list(made.index) == list(frame.index)


def test_a_dask_series_is_a_table_of_values():
    dask = pytest.importorskip("dask.dataframe")
    table = read(dask.from_pandas(pd.Series(["x", "y"], name="s"), npartitions=2))
    assert table.columns is None
    assert [row[0] for row in table.rows()] == ["x", "y"]


def test_a_dask_series_with_a_label_that_is_a_word_of_tables_is_one_of_values():
    dask = pytest.importorskip("dask.dataframe")
    series = pd.Series(["x", "y"], index=["columns", "z"])
    assert list(read(dask.from_pandas(series, npartitions=1)).rows()) == [("x",), ("y",)]


@pytest.mark.parametrize(
    "data",
    [pd.Series(["x"], index=["dask"]), pd.DataFrame({"dask": ["x"]})],
    ids=["label", "column"],
)
def test_a_name_that_is_dask_makes_no_dask_table(data):
    assert [tuple(row) for row in read(data).rows()] == [("x",)]


NOON = datetime.datetime(2020, 1, 1, 12, tzinfo=datetime.UTC)
PARTS = {
    "mappings of other keys": [{"a": 1}, {"b": 2}, {}, None],
    "lists of mappings": [[{"a": 1}], [{"a": 2, "b": None}, {"c": "x"}]],
    "times with a zone and without": [NOON, NOON.replace(tzinfo=None)],
}


@pytest.mark.parametrize("values", PARTS.values(), ids=PARTS)
def test_polars_loses_no_part_of_an_answer(values):
    made = read(pl.DataFrame({"a": values[:1]})).build([Column("n", "object", values)], len(values))
    for kept, value in zip(made["n"].to_list(), values, strict=True):
        assert kept == value or kept.items() >= value.items()


@pytest.mark.parametrize("kind", ["object", "time"])
def test_arrow_keeps_the_zone_of_times(kind):
    pyarrow = pytest.importorskip("pyarrow")
    made = read(pyarrow.table({"a": [1]})).build([Column("n", kind, [NOON, None])], 2)
    assert made["n"].to_pylist() == [NOON, None]


def test_what_arrow_has_no_type_for_becomes_json():
    pyarrow = pytest.importorskip("pyarrow")
    values = [1, "x", None, {"a": [10**20]}]
    made = read(pyarrow.table({"a": [1]})).build([Column("n", "object", values)], 4)
    assert made["n"].to_pylist() == ["1", '"x"', None, f'{{"a": [{10**20}]}}']


def test_half_a_character_does_not_cost_an_arrow_table():
    pyarrow = pytest.importorskip("pyarrow")
    made = read(pyarrow.table({"a": [1]})).build([Column("n", "text", ["a\ud800", "b"])], 2)
    assert made["n"].to_pylist() == ["a?", "b"]


@pytest.mark.parametrize("data", ["text", b"bytes", {"a": [1]}, 3, None])
def test_what_is_no_table_is_refused(data):
    with pytest.raises(ConfigError, match="data must be"):
        read(data)


def test_columns_of_one_name_are_refused_by_it():
    with pytest.raises(ConfigError, match="called a"):
        read(pd.DataFrame([[1, 2]], columns=["a", "a"]))


# --- the columns of a schema --------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"


class Inner(BaseModel):
    x: int


class Model(BaseModel):
    number: int | None
    share: Annotated[float, Field(ge=0)]
    yes: bool
    text: str
    label: Literal["a", "b"]
    colour: Colour
    when: datetime.datetime
    inner: Inner
    many: list[Inner]
    either: int | str


@dataclass
class Data:
    a: int
    b: str = ""


class Typed(TypedDict):
    a: float


def test_the_fields_of_a_model_are_columns_of_their_kinds():
    kinds = {field.name: field.kind for field in fields_of(Model)}
    assert kinds == {
        "number": "int",
        "share": "float",
        "yes": "bool",
        "text": "text",
        "label": "text",
        "colour": "text",
        "when": "time",
        "inner": "object",
        "many": "object",
        "either": "object",
    }


@pytest.mark.parametrize(
    ("schema", "columns"),
    [
        (Data, [("a", "int"), ("b", "text")]),
        (Typed, [("a", "float")]),
        (int, [("answer", "int")]),
        (Literal["x", "y"], [("answer", "text")]),
        (list[int], [("answer", "object")]),
        (None, [("answer", "text")]),
    ],
)
def test_other_types_have_their_fields_or_one_column(schema, columns):
    assert [(field.name, field.kind) for field in fields_of(schema)] == columns


def test_what_is_nested_becomes_mappings_and_lists():
    value = Model(
        number=1,
        share=0.5,
        yes=True,
        text="t",
        label="a",
        colour="red",
        when="2026-11-21T10:00:00",
        inner={"x": 1},
        many=[{"x": 2}],
        either="z",
    )
    assert plain(value)["colour"] == "red"
    assert plain(value)["many"] == [{"x": 2}]


@pytest.mark.parametrize("backend", [pd.DataFrame, pl.DataFrame])
def test_columns_are_typed_and_hold_missing_values(backend):
    columns = [
        Column("i", "int", [1, None]),
        Column("f", "float", [0.5, None]),
        Column("b", "bool", [True, None]),
        Column("t", "text", ["x", None]),
        Column("o", "object", [{"x": 1}, None]),
    ]
    made = read(backend({"a": [1, 2]})).build(columns, 2)
    if backend is pl.DataFrame:
        assert list(made.schema.values())[:4] == [pl.Int64, pl.Float64, pl.Boolean, pl.String]
        assert made["o"].to_list() == [{"x": 1}, None]
    else:
        assert [str(t) for t in made.dtypes] == ["Int64", "Float64", "boolean", "string", "object"]
    assert made["i"].to_list()[0] == 1


@pytest.mark.parametrize("backend", [pd.DataFrame, pl.DataFrame])
def test_a_number_that_is_too_big_for_its_column_is_kept_whole(backend):
    made = read(backend({"a": [1]})).build([Column("i", "int", [10**30])], 1)
    assert int(made["i"].to_list()[0]) == 10**30


@pytest.mark.parametrize("grouped", [lambda df: df.groupby("a"), lambda df: df.groupby("a")["b"]])
def test_groups_are_many_tables_and_no_table(grouped):
    df = pd.DataFrame({"a": [1, 1, 2], "b": [1, 2, 3]})
    with pytest.raises(ConfigError, match="data must be a DataFrame"):
        read(grouped(df))

"""``--as TYPE`` gives a value of the type, or says why there is none; the type runs no code."""

import contextlib
import dataclasses
from typing import ClassVar, Literal, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.error import UsageError
from pydantic import BaseModel

from alloy_nb.engine.run import Result
from alloy_nb.notebook.turns.typed import wanted
from tests.engine.scripted import calls, says
from tests.notebook.scripting import refused, scripted
from tests.notebook.shell import run


class Label(BaseModel):
    """What a review says."""

    name: str
    sure: float = 1.0


class Row(TypedDict, total=False):
    a: int
    b: "list[Inner]"


class Inner(TypedDict):
    x: str


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0


class Trap:
    """Everything that one does to it is noticed."""

    done: ClassVar[list[str]] = []

    def __call__(self, *_):
        self.done.append("called")

    def __getitem__(self, _):
        self.done.append("subscripted")

    def __getattr__(self, name):
        self.done.append(name)
        raise AttributeError(name)


@pytest.fixture
def asks(cell, shell):
    """Answer with a value; return what `--as` made of it."""

    def ask(kind, value, **named):
        shell.user_ns.update({"Label": Label, "Row": Row, "Point": Point, **named})
        arguments = value if kind in ("Label", "Point", "Row") else {"value": value}
        name = kind if kind in ("Label", "Point", "Row") else "answer"
        model = scripted(shell, calls((name, arguments)))
        ran = cell(f'%%alloy --as "{kind}" -o made\nhello')
        assert model.requests, ran.text
        return ran, shell.user_ns["made"]

    return ask


@pytest.mark.parametrize(
    ("kind", "sent", "made"),
    [
        ("int", 3, 3),
        ("bool", True, True),
        ("str", "x", "x"),
        ("list[str]", ["a", "b"], ["a", "b"]),
        ("dict[str, int]", {"a": 1}, {"a": 1}),
        ("int | None", None, None),
        ("Literal['up', 'down']", "up", "up"),
        ("Label", {"name": "good"}, Label(name="good")),
        ("list[Label]", [{"name": "good"}], [Label(name="good")]),
        ("Point", {"x": 1.5}, Point(1.5)),
        ("Row", {"a": 1, "b": [{"x": "y"}]}, {"a": 1, "b": [{"x": "y"}]}),
    ],
)
def test_the_variable_holds_the_value_itself(asks, kind, sent, made):
    _, value = asks(kind, sent, Literal=Literal)
    assert value == made
    assert type(value) is type(made)


def test_the_result_is_the_value_of_the_cell_and_holds_it_too(asks):
    ran, value = asks("Label", {"name": "good"})
    assert isinstance(ran.result, Result)
    assert ran.result.output == value == Label(name="good")


def test_the_value_is_shown_as_the_notebook_shows_it(asks):
    ran, _ = asks("Label", {"name": "good"})
    assert "Label(name='good', sure=1.0)" in ran.stdout


def test_without_a_variable_the_value_is_in_the_result(cell, shell):
    scripted(shell, calls(("answer", {"value": 3})))
    assert cell("%%alloy --as int\nhello").result.output == 3


# --- tables -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["DataFrame", "pd.DataFrame", "DataFrame[Label]"])
def test_a_table_is_a_table(asks, kind):
    pd = pytest.importorskip("pandas")
    rows = [{"name": "good", "sure": 0.5}, {"name": "bad", "sure": 0.25}]
    _, table = asks(kind, rows, pd=pd)
    pd.testing.assert_frame_equal(table, pd.DataFrame(rows))


def test_a_table_without_rows_has_the_columns_of_its_class(asks):
    pytest.importorskip("pandas")
    _, table = asks("DataFrame[Label]", [])
    assert (list(table.columns), len(table)) == (["name", "sure"], 0)


def test_rows_that_are_none_go_back_to_the_model(cell, shell):
    pytest.importorskip("pandas")
    shell.user_ns["Label"] = Label
    model = scripted(
        shell,
        calls(("answer", {"value": [{"sure": 1}]})),
        calls(("answer", {"value": [{"name": "good"}]})),
    )
    cell("%%alloy --as DataFrame[Label] -o made\nhello")
    assert len(model.requests) == 2
    assert list(shell.user_ns["made"].name) == ["good"]


def test_what_a_model_puts_into_a_table_is_harmless(shell, cell):
    from alloy_nb.notebook.drawing import cards
    from alloy_nb.notebook.drawing.placing import placed

    pd = pytest.importorskip("pandas")
    shown = []
    with placed(shown.append), pd.option_context("display.html.use_mathjax", True):
        cards.publish_value(
            pd.DataFrame({"a": ["<img src=x onerror=y>", "\x1b]0;t\x07\u202eevil"]})
        )
    assert "<img" not in shown[0].html
    assert "\x1b" not in shown[0].plain
    assert "\u202e" not in shown[0].plain


# --- when it does not come ----------------------------------------------------------------------


def test_a_model_that_gives_none_is_stopped_and_what_it_said_is_kept(cell, shell):
    model = scripted(shell, *[says("I do not know.")] * 9)
    ran = cell("%%alloy --as int -o made\nhello")
    assert not ran.ok
    assert "gave no int" in ran.text
    assert len(model.requests) == 4
    assert isinstance(shell.user_ns["made"], Result)
    assert shell.user_ns["made"].messages[1].text == "I do not know."


def test_a_model_that_gives_wrong_ones_is_stopped(cell, shell):
    model = scripted(shell, *[calls(("answer", {"value": "x"}, f"c{n}")) for n in range(9)])
    assert not cell("%%alloy --as int\nhello").ok
    assert len(model.requests) == 4


def test_the_tries_of_an_earlier_turn_do_not_count(cell, shell):
    scripted(shell, *[says("no")] * 4, says("no"), calls(("answer", {"value": 5})))
    cell("%%alloy --as int\nhello")
    assert cell("%%alloy --as int\nhello").result.output == 5


def test_at_the_limit_of_replies_it_is_told(cell, shell):
    scripted(shell, *[says("no")] * 9)
    ran = cell("%%alloy --as int --max-turns 2\nhello")
    assert not ran.ok
    assert "no int: the turn reached its limit of replies" in ran.text


# --- what is a type -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nope", "there is no nope"),
        ("list[", "that is no type"),
        ("list[nope]", "there is no nope"),
        ("print(1)", "use names, attributes and subscripts"),
        ("__import__('os').system('x')", "use names, attributes and subscripts"),
        ("(lambda: 1)", "use names"),
        ("[x for x in y]", "use names"),
        ("value", "this is a list, and no type"),
        ("value[0]", "only types have"),
        ("value.append", "only modules and classes"),
        ("trap.x", "only modules and classes"),
        ("trap[0]", "only types have"),
        ("trap", "and no type"),
        ("'x' * 9", "use names"),
        ("x" * 600, "more than 500"),
        ("object()", "use names"),
        ("type", "no model can be asked"),
    ],
)
def test_what_is_no_type_is_refused_and_runs_nothing(text, told):
    Trap.done.clear()
    with pytest.raises(UsageError, match=r"\A--as") as refusal:
        wanted(text, {"value": [1], "trap": Trap()})
    assert told in str(refusal.value)
    assert Trap.done == []


def test_a_type_that_is_none_sends_nothing(cell, shell):
    model = scripted(shell, says("x"))
    assert "there is no nope" in refused(cell("%%alloy --as nope\nhello"))
    assert model.requests == []


@given(st.text(max_size=60))
def test_any_text_is_a_type_or_a_usage_error(text):
    with contextlib.suppress(UsageError):
        wanted(text, {"Label": Label})


def test_a_name_of_the_notebook_goes_before_one_of_pythons(cell, shell):
    run(shell, "from typing import Literal\nint = Literal['one']")
    try:
        assert wanted("int", shell.user_ns).structured.spec.input_schema["properties"]["value"] == {
            "const": "one",
            "type": "string",
        }
    finally:
        run(shell, "del int")

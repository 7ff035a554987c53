"""``@plot`` is the last figure: a picture for the model, and in words what its axes say."""

from __future__ import annotations

import base64
import io
import sys
from types import ModuleType, SimpleNamespace

import matplotlib as mpl
import pytest

from alloy_nb.messages import Image
from alloy_nb.notebook.inputs.dial import Dial
from alloy_nb.notebook.inputs.figures import forget, last_figure, remember
from alloy_nb.notebook.inputs.references import resolve

mpl.use("Agg")
from matplotlib import pyplot as plt  # after the backend is chosen
from PIL import Image as Pillow

SECRET = "secret-7319"


@pytest.fixture(autouse=True)
def no_figures():
    plt.close("all")
    forget()
    yield
    plt.close("all")
    forget()


def drawn(title="Sales"):
    figure, axes = plt.subplots()
    axes.plot([1, 2, 3], label="north")
    axes.plot([3, 2, 1], label="south")
    axes.set(title=title, xlabel="month", ylabel="euros")
    axes.legend()
    return figure


def size_of(image):
    return Pillow.open(io.BytesIO(base64.b64decode(image.data))).size


def test_without_a_figure_there_is_none():
    assert last_figure({"x": 1}) is None


def test_a_figure_is_told_by_its_axes():
    drawn()
    assert last_figure({}).text == (
        "figure with one plot\n"
        "  axes: 2 lines; title 'Sales'; x 'month'; y 'euros'; legend 'north', 'south'"
    )


def test_a_figure_is_a_picture():
    drawn()
    image = last_figure({}).image
    assert (type(image), image.media_type) == (Image, "image/png")
    assert size_of(image)[0] > 300


def test_a_huge_figure_is_no_larger_than_a_model_looks_at():
    plt.figure(figsize=(100, 50)).add_subplot()
    assert max(size_of(last_figure({}).image)) <= 1_568


def test_a_figure_that_was_closed_when_its_cell_ended_is_remembered():
    drawn()
    remember()
    plt.close("all")
    assert "Sales" in last_figure({}).text


def test_the_newest_figure_is_the_last():
    drawn("first")
    drawn("second")
    assert "second" in last_figure({}).text


@pytest.mark.parametrize("part", [lambda f: f, lambda f: f.axes[0], lambda f: f.axes[0].lines[0]])
def test_a_figure_of_a_variable_counts_where_none_is_drawn(part):
    figure = drawn()
    plt.close("all")
    assert "Sales" in last_figure({"x": part(figure)}).text


def test_a_picture_of_a_variable_counts_too():
    figure = last_figure({"photo": Pillow.new("RGB", (4_000, 100))})
    assert figure.text == "a picture of 4000 × 100 pixels"
    assert size_of(figure.image) == (1_568, 39)


def test_a_figure_goes_with_the_prompt():
    drawn()
    resolved = resolve("what does @plot show?", {})
    assert [type(part) for part in resolved.media] == [Image]
    assert "title 'Sales'" in resolved.text


@pytest.mark.parametrize("level", ["names", "schema", "sample:5"])
def test_below_full_neither_the_picture_nor_its_words_go(level):
    drawn(SECRET)
    resolved = resolve("@plot", {}, dial=Dial.parse(level))
    assert resolved.media == ()
    assert SECRET not in resolved.text
    assert resolved.remarks == (f"@plot: the picture was not sent (--data {level})",)


def test_at_schema_the_parts_of_a_figure_are_counted():
    drawn(SECRET)
    assert "axes: 2 lines" in resolve("@plot", {}, dial=Dial.parse("schema")).text


def test_a_figure_that_cannot_be_drawn_is_none():
    class Broken:
        __module__ = "matplotlib.figure"
        axes = ()

        def savefig(self, *_, **__):
            raise RuntimeError("no")

    assert last_figure({"x": Broken()}) is None


def test_a_plotly_figure_without_a_package_that_draws_it_is_told_in_words():
    class Figure:
        __module__ = "plotly.graph_objs"
        data = (SimpleNamespace(type="scatter", name="north"),)
        layout = SimpleNamespace(title=SimpleNamespace(text="Sales"))

        def to_plotly_json(self):
            return {}

    resolved = resolve("@plot", {"x": Figure()})
    assert "Plotly figure with 1 traces: scatter; title 'Sales'; traces 'north'" in resolved.text
    assert resolved.remarks == ("@plot: no picture can be made of it here; told in words",)


def test_an_altair_chart_is_drawn_where_a_package_can(monkeypatch):
    class Chart:
        __module__ = "altair.vegalite"

        def to_dict(self):
            return {"mark": "bar", "encoding": {"x": {"field": "month"}}}

        def save(self, file, format):  # noqa: A002  # altair's name
            assert format == "png"
            file.write(b"png")

    monkeypatch.setitem(sys.modules, "vl_convert", _module("vl_convert"))
    figure = last_figure({"x": Chart()})
    assert figure.text == "Altair chart: bar, with x; x 'month'"
    assert base64.b64decode(figure.image.data) == b"png"


def _module(name):
    import importlib.machinery

    module = ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    return module

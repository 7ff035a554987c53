"""The last figure: a picture for the model, and in words what its axes say.

Figures of matplotlib are closed when their cell ends, where the notebook draws them inline; the
last one is remembered before that. Plotly and Altair draw in the browser: of these there is a
picture where a package that makes one is installed, and words otherwise.
"""

from __future__ import annotations

import base64
import importlib.util
import io
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alloy_nb.notebook.inputs.schema import type_name

if TYPE_CHECKING:
    from alloy_nb.messages import Image

__all__ = ["Figure", "forget", "last_figure", "listen", "remember", "silence"]

# Vendors scale larger pictures down before a model sees them.
_MOST_PIXELS = 1_568
_DPI = 100
_MOST_AXES = 12
_MOST_NAMES = 12
_LONGEST = 120

_last: list[Any] = []


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure as the model is given it.

    Args:
        text: What its axes say.
        outline: The same without words that may be values: how many axes, lines and so on.
        image: The picture, or ``None`` where nothing can make one here.
    """

    text: str
    outline: str
    image: Image | None


def listen(shell: Any) -> None:
    """Remember the last figure of each cell, before the notebook closes it."""
    callbacks = shell.events.callbacks["post_execute"]
    if remember not in callbacks:
        # In front of the inline backend, which closes figures at the same event.
        callbacks.insert(0, remember)


def silence(shell: Any) -> None:
    """Undo `listen`."""
    callbacks = shell.events.callbacks["post_execute"]
    if remember in callbacks:
        callbacks.remove(remember)
    forget()


def remember() -> None:
    """Keep the figure that is current now, if there is one; never fails."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    try:
        if pyplot is not None and pyplot.get_fignums():
            _last[:] = [pyplot.gcf()]
    except Exception:  # a backend of any kind; a cell must not fail for this
        return


def forget() -> None:
    """Let go of the figure that is remembered."""
    _last.clear()


def last_figure(namespace: Mapping[str, Any]) -> Figure | None:
    """Return the newest figure: drawn last, or the value of a variable; ``None`` without any."""
    remember()
    for found in [*_last, *_of_variables(namespace)]:
        figure = _drawn(found)
        if figure is not None:
            return figure
    return None


def _of_variables(namespace: Mapping[str, Any]) -> Iterator[Any]:
    yield from reversed(list(namespace.values()))


def _drawn(value: Any) -> Figure | None:
    package = type_name(value).partition(".")[0]
    try:
        if package == "matplotlib":
            return _of_matplotlib(value)
        if package == "plotly" and hasattr(value, "to_plotly_json"):
            return _of_plotly(value)
        if package == "altair" and hasattr(value, "to_dict"):
            return _of_altair(value)
        if package == "PIL" and hasattr(value, "save"):
            size = f"a picture of {value.size[0]} × {value.size[1]} pixels"
            return Figure(size, size, _of_pillow(value))
    except Exception:  # a figure that cannot be drawn is none
        return None
    return None


# --- matplotlib -----------------------------------------------------------------------------------


def _of_matplotlib(value: Any) -> Figure | None:
    figure = value if hasattr(value, "savefig") else getattr(value, "figure", None)
    if figure is None or not hasattr(figure, "savefig"):
        return None
    axes = list(figure.axes)
    heading = f"figure with {len(axes)} axes" if len(axes) != 1 else "figure with one plot"
    words = [f"  {line}" for one in axes[:_MOST_AXES] for line in _axes_words(one)]
    counts = [f"  {_axes_counts(one)}" for one in axes[:_MOST_AXES]]
    title = getattr(figure, "_suptitle", None)
    named = f", titled {_short(title.get_text())!r}" if title is not None else ""
    width, height = figure.get_size_inches()
    dpi = min(_DPI, _MOST_PIXELS / max(width, height, 0.1))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return Figure(
        "\n".join([heading + named, *words]),
        "\n".join([heading, *counts]),
        _image(buffer.getvalue()),
    )


def _axes_words(axes: Any) -> Iterator[str]:
    parts = [
        f"{what} {_short(text)!r}"
        for what, text in (
            ("title", axes.get_title()),
            ("x", axes.get_xlabel()),
            ("y", axes.get_ylabel()),
        )
        if text
    ]
    legend = axes.get_legend()
    names = [] if legend is None else [_short(text.get_text()) for text in legend.get_texts()]
    if names:
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        parts.append(f"legend {', '.join(map(repr, names[:_MOST_NAMES]))}{more}")
    yield "; ".join([_axes_counts(axes), *parts])


def _axes_counts(axes: Any) -> str:
    counts = [
        f"{len(there)} {what}{'s' * (len(there) != 1)}"
        for what, there in (
            ("line", axes.lines),
            ("patch", axes.patches),
            ("collection", axes.collections),
            ("image", axes.images),
        )
        if there
    ]
    return "axes: " + (", ".join(counts).replace("patchs", "patches") or "empty")


# --- others ---------------------------------------------------------------------------------------


def _of_plotly(value: Any) -> Figure:
    traces = list(value.data)
    kinds = sorted({str(trace.type) for trace in traces})
    outline = f"Plotly figure with {len(traces)} traces: {', '.join(kinds)}"
    title = getattr(getattr(value.layout, "title", None), "text", None)
    names = [_short(str(trace.name)) for trace in traces if trace.name][:_MOST_NAMES]
    words = [f"title {_short(str(title))!r}"] if title else []
    words += [f"traces {', '.join(map(repr, names))}"] if names else []
    image = None
    if importlib.util.find_spec("kaleido") is not None:
        image = _image(value.to_image(format="png"))
    return Figure("; ".join([outline, *words]), outline, image)


def _of_altair(value: Any) -> Figure:
    told = value.to_dict()
    mark = told.get("mark")
    kind = mark.get("type") if isinstance(mark, dict) else mark
    encoding = told.get("encoding") or {}
    outline = (
        f"Altair chart: {kind or 'of several layers'}, with {', '.join(encoding) or 'no axes'}"
    )
    fields = [f"{axis} {_short(str(by.get('field')))!r}" for axis, by in encoding.items() if by]
    image = None
    if importlib.util.find_spec("vl_convert") is not None:
        buffer = io.BytesIO()
        value.save(buffer, format="png")
        image = _image(buffer.getvalue())
    return Figure("; ".join([outline, *fields]), outline, image)


def _of_pillow(value: Any) -> Image:
    picture = value.copy()
    picture.thumbnail((_MOST_PIXELS, _MOST_PIXELS))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return _image(buffer.getvalue())


def _image(data: bytes) -> Image:
    from alloy_nb.messages import Image  # heavy, and loading listens for figures

    return Image(media_type="image/png", data=base64.b64encode(data).decode("ascii"))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."

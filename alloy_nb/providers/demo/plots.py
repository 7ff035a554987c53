"""What the demo draws: one quantity by groups, two quantities, or the spread of one.

The columns come from the question, and their types from the description that came with it; what
the figure shows is printed as a line of JSON for each fact, and the answer repeats these.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from alloy_nb.messages import Text
from alloy_nb.providers.demo.code import NUMERIC, ROUNDED
from alloy_nb.providers.demo.exchange import Result
from alloy_nb.providers.demo.table import Table, markdown_table, mentioned
from alloy_nb.providers.demo.words import (
    Fact,
    Step,
    cited,
    code_span,
    facts_of,
    failure,
    listed,
    number,
    table_row,
    withheld,
)

__all__ = ["draw", "is_wanted"]

_WANTED = re.compile(
    r"\b(plot|draw|chart|figure|graph|histogram|scatter|box ?plot|visuali[sz]e)\b", re.IGNORECASE
)
_BY = re.compile(r"\b(?:by|per|across|between|(?:for|in) each)\W+(?:the\W+)?$", re.IGNORECASE)
_GROUPS_KINDS = re.compile(r"object|str|string|category|bool", re.IGNORECASE)

_HEAD = '''\
def {name}(frame, {arguments}):
    """{fact}"""
    import json

    import matplotlib.pyplot as plt
{rounded}
'''

_BOXES = (
    _HEAD
    + """\
    rows = frame[[column, group]].dropna()
    parts = {{str(name): part for name, part in rows.groupby(group, observed=True)[column]}}
    figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
    axes.boxplot(list(parts.values()), tick_labels=list(parts), widths=0.55)
    axes.set(title=f"{{column}} by {{group}}", xlabel=group, ylabel=column)
    axes.grid(axis="y", alpha=0.3)
    for name, part in parts.items():
        show({{
            "box": name[:60],
            "rows": len(part),
            "median": rounded(part.median()),
            "quarter": rounded(part.quantile(0.25)),
            "three_quarters": rounded(part.quantile(0.75)),
        }})


box_plot({frame}, {values})
"""
)

_POINTS = (
    _HEAD
    + """\
    rows = frame[[across, up]].astype("float64").dropna()
    figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
    axes.scatter(rows[across], rows[up], s=18, alpha=0.6)
    axes.set(title=f"{{up}} against {{across}}", xlabel=across, ylabel=up)
    axes.grid(alpha=0.3)
    show({{"points": len(rows), "correlation": rounded(rows[across].corr(rows[up]))}})


scatter_plot({frame}, {values})
"""
)

_BARS = (
    _HEAD
    + """\
    values = frame[column].astype("float64").dropna()
    figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
    axes.hist(values, bins=min(30, max(5, round(len(values) ** 0.5))), edgecolor="white")
    axes.set(title=f"Spread of {{column}}", xlabel=column, ylabel="rows")
    axes.grid(axis="y", alpha=0.3)
    show({{
        "values": len(values),
        "median": rounded(values.median()),
        "mean": rounded(values.mean()),
        "smallest": rounded(values.min()),
        "largest": rounded(values.max()),
        "skew": rounded(values.skew()),
    }})


histogram({frame}, {values})
"""
)


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of figure: its function, in code and in words."""

    template: str
    name: str
    arguments: str
    fact: str

    def code(self, table: Table, columns: Sequence[str]) -> str:
        values = ", ".join(json.dumps(name, ensure_ascii=False) for name in columns)
        return self.template.format(
            name=self.name,
            arguments=self.arguments,
            fact=self.fact,
            rounded=ROUNDED,
            frame=table.frame,
            values=values,
        )


_BOX = _Kind(
    _BOXES, "box_plot", "column, group", "Draw a box for each group, and print what it stands for."
)
_SCATTER = _Kind(
    _POINTS, "scatter_plot", "across, up", "Draw a point for each row, and print the correlation."
)
_HISTOGRAM = _Kind(_BARS, "histogram", "column", "Draw the spread of a column, and print it.")


def is_wanted(prompt: str) -> bool:
    """Return whether a question asks for a figure."""
    return _WANTED.search(prompt) is not None


def draw(table: Table, prompt: str, results: Sequence[Result]) -> Step:
    """Return the next step to a figure, from the results that there are."""
    kind, columns = _planned(table, prompt)
    if kind is None:
        return Step("It is not said what to draw.", answer=(Text(text=_which(table)),))
    about = f"about {listed(columns)}"
    if not results:
        thought = (
            f"A figure of {' and '.join(columns)} is wanted. I draw it, and print the numbers that "
            "it stands for, so that what I say of it can be checked."
        )
        return Step(thought, code=kind.code(table, columns))
    result = results[0]
    if result.is_error:
        return failure(result, about)
    facts = facts_of(result)
    if not facts:
        return withheld(result, about)
    said = {_BOX: _said_of_boxes, _SCATTER: _said_of_points, _HISTOGRAM: _said_of_spread}[kind]
    answer = [*said(facts, columns), Text(text=_NOTE)]
    return Step("The figure is drawn; I say what the printed numbers say.", answer=tuple(answer))


_NOTE = (
    "\n\n*This is the scripted demo: it drew the figure, and cannot look at it. The numbers were "
    "printed by the code that drew it.*"
)


# --- what to draw -------------------------------------------------------------------------------


def _planned(table: Table, prompt: str) -> tuple[_Kind | None, tuple[str, ...]]:
    names = sorted(mentioned(list(table.kinds), prompt), key=lambda name: _place(name, prompt))
    groups = [name for name in names if _groups(name, table.kinds, prompt)]
    numbers = [name for name in names if name not in groups and NUMERIC.match(table.kinds[name])]
    if numbers and groups:
        return _BOX, (numbers[0], groups[0])
    if len(numbers) > 1:
        return _SCATTER, (numbers[0], numbers[1])
    return (_HISTOGRAM, (numbers[0],)) if numbers else (None, ())


def _place(name: str, prompt: str) -> int:
    return prompt.lower().replace("_", " ").find(name.lower().replace("_", " "))


def _groups(name: str, kinds: Mapping[str, str], prompt: str) -> bool:
    """Return whether a column is meant to divide the rows."""
    if _GROUPS_KINDS.match(kinds[name]):
        return True
    return _BY.search(prompt[: max(_place(name, prompt), 0)].rstrip("`")) is not None


def _which(table: Table) -> str:
    name = code_span(table.name)
    numbers = [name for name, kind in table.kinds.items() if NUMERIC.match(kind)]
    if not numbers:
        return f"I was told of no column of {name} that holds numbers, so there is nothing to draw."
    return (
        f"Which columns of {name} shall I draw? One column of numbers gives its spread, two give "
        f"points, and one *by* another gives boxes. It has {listed(numbers[:12])}."
    )


# --- what it shows ------------------------------------------------------------------------------


def _said_of_boxes(facts: Sequence[Fact], columns: Sequence[str]) -> Iterator[Text]:
    column, group = map(code_span, columns)
    boxes = sorted((f for f in facts if f["median"] is not None), key=lambda f: -f["median"])
    if not boxes:
        yield Text(text=f"No group of {group} has values of {column}.")
        return
    high, low = boxes[0], boxes[-1]
    name, median = code_span(high["box"]), number(high["median"])
    yield cited(f"**{name} has the highest median of {column}, {median}**", high)
    if low is not high:
        name, median = code_span(low["box"]), number(low["median"])
        yield cited(f"; {name} has the lowest, {median}.", low)
    if low is not high and low["three_quarters"] < high["quarter"]:
        below, above = number(low["three_quarters"]), number(high["quarter"])
        name = code_span(high["box"])
        yield cited(f" Three quarters of its rows lie below {below};", low)
        yield cited(f" three quarters of those of {name} lie above {above}.", high)
    rows = [
        table_row(
            [
                code_span(fact["box"]),
                str(fact["rows"]),
                number(fact["median"]),
                f"{number(fact['quarter'])} to {number(fact['three_quarters'])}",
            ]
        )
        for fact in boxes
    ]
    yield Text(text=markdown_table([group, "rows", "median", "middle half"], rows))


def _said_of_points(facts: Sequence[Fact], columns: Sequence[str]) -> Iterator[Text]:
    fact = facts[0]
    across, up = map(code_span, columns)
    strength = fact["correlation"]
    if strength is None:
        yield cited(f"{across} and {up} have no correlation that could be computed.", fact)
        return
    if abs(strength) < 0.1:
        how = "hardly go together"
    else:
        how = "rise and fall together" if strength > 0 else "move in opposite directions"
    said = (
        f"**{across} and {up} {how}**: correlation {number(strength)} over {fact['points']} rows."
    )
    yield cited(said, fact)


def _said_of_spread(facts: Sequence[Fact], columns: Sequence[str]) -> Iterator[Text]:
    fact = facts[0]
    column = code_span(columns[0])
    if not fact["values"]:
        yield cited(f"{column} holds no values.", fact)
        return
    yield cited(
        f"**Half of the {fact['values']} values of {column} lie below {number(fact['median'])}**; "
        f"they reach from {number(fact['smallest'])} to {number(fact['largest'])}, with a mean of "
        f"{number(fact['mean'])} and a skew of {number(fact['skew'])}.",
        fact,
    )

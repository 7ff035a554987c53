"""The pandas that the demo runs: written to be read, and kept by whoever likes it.

The code defines functions and leaves nothing else in the person's namespace. It changes no table,
and prints a line of JSON for each fact, so that a fact can be cited by its line and a long output
that is cut loses facts, not its meaning. Numbers are rounded where they are computed: the answer
repeats them as they were printed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["NUMERIC", "ROUNDED", "Column", "Plan", "overview_code", "stands_out_code"]

# Names are printed up to this length; what is longer is taken by its position.
NAME_LENGTH = 60
COLUMNS_SHOWN = 40
SMALLEST_GROUP = 5
SMALLEST_SAMPLE = 8
_FEW_VALUES = 10

# numpy's, pandas' and Arrow's names of types.
NUMERIC = re.compile(r"u?int\d|float\d|double|halffloat", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Column:
    """A column as the overview found it."""

    position: int
    name: str
    kind: str
    missing: int
    distinct: int
    numbered: bool

    @property
    def is_flag(self) -> bool:
        """Whether it holds true and false."""
        return self.kind in ("bool", "boolean", "bool[pyarrow]")

    @property
    def is_number(self) -> bool:
        """Whether it holds quantities: numbers, but no row numbers or ids."""
        return NUMERIC.match(self.kind) is not None and not self.numbered


ROUNDED = '''
    def rounded(number):
        """Return a number as it should be read, or None where there is none."""
        number = float(number)
        if not abs(number) < float("inf"):
            return None
        return round(number, 2) if abs(number) >= 1 else float(f"{number:.3g}")

    def show(facts):
        print(json.dumps(facts, ensure_ascii=False))
'''

_OVERVIEW = '''\
def table_overview(frame):
    """Print a line of JSON about a table, then one about each of its columns."""
    import json
{rounded}
    try:
        copies = frame.duplicated()
    except TypeError:  # cells that hold lists can only be compared as text
        copies = frame.astype(str).duplicated()
    rows = len(frame)
    plain = frame.columns.is_unique and all(isinstance(name, str) for name in frame.columns)
    show({{
        "rows": rows,
        "columns": frame.shape[1],
        "missing_cells": int(frame.isna().sum().sum()),
        "repeated_rows": int(copies.sum()),
        "plain_names": plain,
    }})
    for position, name in enumerate(frame.columns[:{columns_shown}]):
        values = frame.iloc[:, position]
        missing = int(values.isna().sum())
        try:
            counts = values.value_counts()
        except TypeError:
            counts = values.dropna().astype(str).value_counts()
        counts = counts[counts > 0]
        facts = {{
            "column": str(name)[:{name_length}],
            "position": position,
            "type": str(values.dtype),
            "missing": missing,
            "missing_percent": rounded(100 * missing / max(rows, 1)),
            "distinct": len(counts),
        }}
        if values.dtype.kind in "iuf":
            numbers = values.astype("float64")
            numbers = numbers[numbers.abs() < float("inf")]
            for statistic in ("mean", "median", "std", "min", "max"):
                facts[statistic] = rounded(getattr(numbers, statistic)())
            # Numbers that only count the rows, or name them, say nothing as quantities.
            whole = values.dtype.kind in "iu" and rows > 2
            facts["numbered"] = whole and len(counts) == rows and values.is_monotonic_increasing
        elif values.dtype.kind == "M" and len(counts):
            facts["first"], facts["last"] = str(values.min()), str(values.max())
        elif len(counts):
            facts["most_common"] = str(counts.index[0])[:{name_length}]
            facts["most_common_rows"] = int(counts.iloc[0])
        show(facts)


table_overview({frame})
'''


def overview_code(frame: str) -> str:
    """Return code that prints what a table holds; `frame` is an expression."""
    return _OVERVIEW.format(
        frame=frame, rounded=ROUNDED, columns_shown=COLUMNS_SHOWN, name_length=NAME_LENGTH
    )


_HEAD = '''\
def what_stands_out(frame):
    """Print the strongest findings about a table, a line of JSON for each."""
    import json
{rounded}'''

_NUMBERS = """
    numbers = {numbers}.astype("float64")
    numbers = numbers.where(numbers.abs() < float("inf"))
"""

_GROUPS = """
    labels = {groups}
    groups = labels.astype(str).where(labels.notna())
"""

_DIFFERENCE = '''
    def named(group, column):
        return {{"group": str(group)[:{name_length}], "column": str(column)[:{name_length}]}}

    def difference(members, values):
        """Return how the group that differs most from all other rows does so, or None."""
        shares = values.dropna().isin([0, 1]).all()
        scale = 100 if shares else 1
        spread = values.std()
        best, best_t = None, 0
        for member in members.dropna().unique():
            inside = values[members == member].dropna()
            others = values[members != member].dropna()
            if min(len(inside), len(others)) < {smallest} or not spread > 0:
                continue
            gap = (inside.mean() - others.mean()) / spread
            t = gap * (len(inside) * len(others) / (len(inside) + len(others))) ** 0.5
            if abs(best_t) < abs(t) < float("inf"):
                best_t = t
                best = {{
                    "value": member[:{name_length}],
                    "mean": rounded(scale * inside.mean()),
                    "others_mean": rounded(scale * others.mean()),
                    "unit": "percent of rows" if shares else "mean",
                    "rows": len(inside),
                    "other_rows": len(others),
                    "t": rounded(t),
                }}
        return best
'''

_DIFFERENCES = """
    # Which group's mean is far from that of all other rows?
    found = []
    for i, (group, members) in enumerate(groups.items()):
        for j, (column, values) in enumerate({measured}.items()):
            if column != group and (best := difference(members, values)):
                facts = {{"finding": "difference", **named(group, column), **best}}
                found.append((best["t"], i, j, facts))
    found.sort(key=lambda entry: -abs(entry[0]))
    for *_, facts in found[:6]:
        show(facts)
"""

_MISSING = """
    # Are values missing more often in one group than elsewhere?
    for column, missing in {gappy}.isna().astype("float64").items():
        for group, members in groups.items():
            if column != group and (best := difference(members, missing)):
                show({{"finding": "missing", **named(group, column), **best}})
"""

_TABLE = """
    # {title}, group by group.
    {chosen}
        members, values = groups.iloc[:, i], {measured}.iloc[:, j]
        scale = 100 if values.dropna().isin([0, 1]).all() else 1
        table = values.groupby(members).agg(["count", "mean", "median"]).rename_axis(None)
        largest = table.sort_values("count", ascending=False).head(8)
        for member, row in largest.sort_values("mean", ascending=False).iterrows():
            show({{
                "finding": "group",
                **named(members.name, values.name),
                "value": str(member)[:{name_length}],
                "rows": int(row["count"]),
                "mean": rounded(scale * row["mean"]),
                "median": rounded(row["median"]),
                "unit": "percent of rows" if scale == 100 else "mean",
            }})
"""

_CORRELATIONS = """
    # Which quantities move together?
    quantities = numbers.iloc[:, :{quantities}]
    matrix = quantities.corr(min_periods={smallest})
    pairs = []
    for i, first in enumerate(quantities):
        for j, second in enumerate(quantities.columns[:i]):
            correlation = rounded(matrix.iloc[i, j])
            if correlation is not None:
                pairs.append({{
                    "finding": "correlation",
                    "columns": [str(second)[:{name_length}], str(first)[:{name_length}]],
                    "correlation": correlation,
                    "rows": int(quantities.iloc[:, [i, j]].notna().all(axis=1).sum()),
                }})
    for facts in sorted(pairs, key=lambda facts: -abs(facts["correlation"]))[:3]:
        show(facts)
"""

_OUTLIERS = """
    # Values beyond the whiskers of a box plot.
    for column, values in numbers.iloc[:, {spread}].items():
        quarter, three_quarters = values.quantile(0.25), values.quantile(0.75)
        reach = 1.5 * (three_quarters - quarter)
        low, high = quarter - reach, three_quarters + reach
        beyond = values[(values < low) | (values > high)]
        if reach > 0 and len(beyond):
            show({{
                "finding": "outliers",
                "column": str(column)[:{name_length}],
                "rows": len(beyond),
                "percent": rounded(100 * len(beyond) / values.count()),
                "low": rounded(low),
                "high": rounded(high),
                "smallest": rounded(beyond.min()),
                "largest": rounded(beyond.max()),
                "skew": rounded(values.skew()),
            }})
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which columns are looked at, and how.

    Args:
        quantities: Columns of numbers.
        flags: Columns of true and false.
        groups: Columns that divide the rows into a few groups.
        gappy: Columns that lack values.
        measured: Which of the quantities and flags, in this order, are compared between groups;
            all of them where it is empty.
        asked: Whether the first group and the first measured column are what was asked for, to
            be listed whether they differ or not.
        plain: Whether all names of columns are different strings, so that they can be used.
    """

    quantities: Sequence[Column] = ()
    flags: Sequence[Column] = ()
    groups: Sequence[Column] = ()
    gappy: Sequence[Column] = ()
    measured: Sequence[int] = ()
    asked: bool = False
    plain: bool = True

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to compute."""
        return not self.quantities and not (self.groups and (self.flags or self.gappy))


def stands_out_code(frame: str, plan: Plan) -> str:
    """Return code that looks for what stands out, in the parts that the columns allow."""
    parts = [_HEAD.format(rounded=ROUNDED)]
    numbers = [*plan.quantities, *plan.flags]
    if numbers:
        parts.append(_NUMBERS.format(numbers=_selected(numbers, plain=plan.plain)))
    if plan.groups:
        parts.extend(_group_parts(plan, has_numbers=bool(numbers)))
    counts = {"quantities": len(plan.quantities), "name_length": NAME_LENGTH}
    if len(plan.quantities) > 1:
        parts.append(_CORRELATIONS.format(smallest=SMALLEST_SAMPLE, **counts))
    # A quantity of a few values has steps, no tails.
    spread = [i for i, column in enumerate(plan.quantities) if column.distinct > _FEW_VALUES]
    if spread:
        parts.append(_OUTLIERS.format(spread=spread, name_length=NAME_LENGTH))
    return "".join(parts) + f"\n\nwhat_stands_out({frame})\n"


def _group_parts(plan: Plan, *, has_numbers: bool) -> list[str]:
    names = {"name_length": NAME_LENGTH}
    measured = f"numbers.iloc[:, {list(plan.measured)}]" if plan.measured else "numbers"
    parts = [_GROUPS.format(groups=_selected(plan.groups, plain=plan.plain))]
    parts.append(_DIFFERENCE.format(smallest=SMALLEST_GROUP, **names))
    if has_numbers:
        parts.append(_DIFFERENCES.format(measured=measured, **names))
        title = "What was asked for" if plan.asked else "The strongest difference"
        chosen = "for i, j in [(0, 0)]:" if plan.asked else "for _, i, j, _ in found[:1]:"
        parts.append(_TABLE.format(title=title, chosen=chosen, measured=measured, **names))
    if plan.gappy:
        parts.append(_MISSING.format(gappy=_selected(plan.gappy, plain=plan.plain), **names))
    return parts


def _selected(columns: Sequence[Column], *, plain: bool) -> str:
    """Return code for some columns: by name, or by position where names are no safe way."""
    if plain and all(len(column.name) < NAME_LENGTH for column in columns):
        names = json.dumps([column.name for column in columns], ensure_ascii=False)
        return f"frame[{names}]"
    return f"frame.iloc[:, {[column.position for column in columns]}]"

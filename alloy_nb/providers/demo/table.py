"""What the demo does with a table: look it over, look for what stands out, say what was found.

1. Without a result it asks for an overview.
2. With the overview it asks for what stands out, in the parts that the columns allow.
3. With both it answers. Every number of the answer stands in a line of the output, and the
   claim is cited with that line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from alloy_nb.messages import Text
from alloy_nb.providers.demo.code import (
    SMALLEST_SAMPLE,
    Column,
    Plan,
    overview_code,
    stands_out_code,
)
from alloy_nb.providers.demo.exchange import Result
from alloy_nb.providers.demo.words import (
    Fact,
    Step,
    cited,
    code_span,
    facts_of,
    failure,
    listed,
    number,
    shortened,
    table_row,
    withheld,
)

__all__ = ["Table", "look_at", "markdown_table", "mentioned", "mentions"]

# A claim is made from this t value on: chance alone gets there once in thousands of tries.
_CLEAR = 4.0
_WEAKEST_CORRELATION = 0.3
_GROUPS = range(2, 21)
# Whole numbers divide rows into groups only where there are very few of them.
_NUMBERED_GROUPS = range(2, 7)
_BULLETS = 4
_MOST_QUANTITIES = 30
# Words of questions that are hardly meant as the name of a column.
_COMMON = frozenset(("and", "are", "before", "can", "for", "how", "out", "the", "what", "you"))

_NOTE = (
    "\n\n*This is the scripted demo: the numbers were computed in your kernel just now, the "
    "sentences are templates. A difference is not yet a cause.*"
)


@dataclass(frozen=True, slots=True)
class Table:
    """The table that is asked about: what the person calls it, and how code gets it as a frame."""

    name: str
    frame: str
    headline: str = ""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """Its columns and their types, as far as they were told."""

    @property
    def columns(self) -> list[str]:
        """The names of its columns, as far as they were told."""
        return list(self.kinds)


@dataclass(frozen=True, slots=True)
class _Overview:
    head: Fact
    columns: Sequence[Column]
    facts: Sequence[Fact]

    @property
    def rows(self) -> int:
        return int(self.head["rows"])


@dataclass(frozen=True, slots=True)
class _Claim:
    weight: float
    text: str
    fact: Fact
    about: tuple[str, ...] = ()


def look_at(table: Table, prompt: str, results: Sequence[Result]) -> Step:
    """Return the next step, from the results that there are."""
    if not results:
        return Step(_first_thought(table, prompt), code=overview_code(table.frame))
    if results[0].is_error:
        return failure(results[0], f"about {code_span(table.name)}")
    overview = _read_overview(results[0])
    if overview is None and results[0].is_withheld:
        return withheld(results[0], f"about the values of {code_span(table.name)}")
    if overview is None:
        return Step("The output cannot be read.", answer=(Text(text=_unreadable(table)),))
    focus = mentioned([column.name for column in overview.columns], prompt)
    plan = _plan(overview, focus)
    if len(results) == 1 and not plan.is_empty:
        return Step(_second_thought(overview, plan), code=stands_out_code(table.frame, plan))
    second = results[1] if len(results) > 1 else None
    return Step(
        "I say what the output shows, and nothing that it does not.",
        answer=tuple(_answer(table, overview, plan, focus, second)),
    )


def mentions(table: Table, prompt: str) -> bool:
    """Return whether a question names the table or one of its columns."""
    return bool(mentioned([table.name, *table.columns], prompt))


def mentioned(names: Sequence[str], prompt: str) -> list[str]:
    """Return the names that a question holds as words, or between backticks."""
    found = []
    for name in names:
        words = re.escape(name.strip()).replace("_", "[_ ]")
        as_word = len(name) > 2 and name.lower() not in _COMMON
        if f"`{name}`" in prompt or (
            as_word and re.search(rf"(?<!\w){words}(?:s|es)?(?!\w)", prompt, re.IGNORECASE)
        ):
            found.append(name)
    return found


def _unreadable(table: Table) -> str:
    return (
        f"The overview of {code_span(table.name)} ran, but I could not read its output, so I claim "
        "nothing. Its result is above."
    )


# --- thoughts -----------------------------------------------------------------------------------


def _first_thought(table: Table, prompt: str) -> str:
    question = " ".join(prompt.split())[:200] or "no words"
    about = f"{table.name} ({table.headline})" if table.headline else table.name
    columns = f" Its columns: {', '.join(table.columns[:12])}." if table.columns else ""
    return (
        f"The question is “{question}”, and it is about {about}.{columns} Only the data can answer "
        "that. First the size, the types, the gaps and the spread of each column; no claim before."
    )


def _second_thought(overview: _Overview, plan: Plan) -> str:
    said = [f"There are {overview.rows} rows."]
    if plan.quantities:
        said.append(f"Quantities: {_names(plan.quantities)}.")
    if plan.groups:
        said.append(f"Groups to compare: {_names(plan.groups)}.")
    if plan.gappy:
        said.append(f"Values are missing in {_names(plan.gappy)}.")
    return " ".join([*said, "Next: what differs, what moves together, what lies far outside."])


def _names(columns: Sequence[Column]) -> str:
    return ", ".join(column.name for column in columns)


# --- the plan -----------------------------------------------------------------------------------


def _read_overview(result: Result) -> _Overview | None:
    facts = facts_of(result)
    if not facts or not {"rows", "columns", "plain_names"} <= facts[0].data.keys():
        return None
    known = [fact for fact in facts[1:] if "position" in fact.data]
    return _Overview(facts[0], [_column(fact) for fact in known], known)


def _column(fact: Fact) -> Column:
    return Column(
        position=fact["position"],
        name=fact["column"],
        kind=fact["type"],
        missing=fact["missing"],
        distinct=fact["distinct"],
        numbered=bool(fact.data.get("numbered")),
    )


def _plan(overview: _Overview, focus: Sequence[str]) -> Plan:
    if overview.rows < SMALLEST_SAMPLE:
        return Plan()
    varied = [column for column in overview.columns if column.distinct > 1]
    # What was asked for comes first, and so is never cut.
    varied.sort(key=lambda column: column.name not in focus)
    quantities = [column for column in varied if column.is_number][:_MOST_QUANTITIES]
    flags = [column for column in varied if column.is_flag][:6]
    groups = [column for column in varied if _divides(column, overview.rows)][:5]
    asked = _groups_asked(groups, quantities, focus)
    measured = [
        i
        for i, column in enumerate([*quantities, *flags])
        if column.name in focus and column not in asked
    ]
    return Plan(
        quantities=quantities,
        flags=flags,
        groups=asked or groups,
        gappy=[c for c in overview.columns if 0 < c.missing < overview.rows][:5],
        measured=measured,
        asked=bool(asked and measured),
        plain=bool(overview.head["plain_names"]),
    )


def _groups_asked(
    groups: Sequence[Column], quantities: Sequence[Column], focus: Sequence[str]
) -> list[Column]:
    """Return the groups that the question names.

    A yes-or-no column is what to compare, unless the question names a quantity to compare by it.
    """
    named = [column for column in groups if column.name in focus]
    real = [column for column in named if not column.is_flag]
    if real or not any(column.name in focus for column in quantities):
        return real
    return named


def _divides(column: Column, rows: int) -> bool:
    if column.distinct * 2 > rows or column.kind.startswith(("datetime", "timedelta", "period")):
        return False
    if re.match(r"u?int\d", column.kind, re.IGNORECASE):
        return column.distinct in _NUMBERED_GROUPS
    return not column.is_number and column.distinct in _GROUPS


# --- the answer ---------------------------------------------------------------------------------


def _answer(
    table: Table,
    overview: _Overview,
    plan: Plan,
    focus: Sequence[str],
    second: Result | None,
) -> Iterator[Text]:
    yield cited(_size(table, overview.head), overview.head)
    found = facts_of(second) if second is not None and not second.is_error else []
    claims = sorted(_claims(overview, found), key=lambda claim: -claim.weight)
    if focus:
        wanted = _measured_names(plan, focus)
        claims = [claim for claim in claims if wanted & set(claim.about)]
        claims.sort(key=lambda claim: -len(set(focus) & set(claim.about)))
    headline = next((c for c in claims[:1] if c.weight >= _CLEAR), None)
    if headline is not None:
        yield cited(f"\n\n**{headline.text}.**", headline.fact)
    elif overview.rows:
        yield Text(text=f"\n\n{_nothing(focus)}")
    bullets = [claim for claim in claims if claim is not headline][:_BULLETS]
    for i, claim in enumerate(bullets):
        yield cited(("\n\n" if i == 0 else "\n") + f"- {claim.text}.", claim.fact)
    yield from _table(overview, plan, focus, found)
    if second is not None and second.is_error:
        reason = code_span(shortened(second.last_line))
        text = (
            f"The second calculation did not go through ({reason}), so I claim nothing about "
            "groups, relations and outliers."
        )
        yield Text(text=f"\n\n{text}")
    elif 0 < overview.rows < SMALLEST_SAMPLE:
        yield Text(text="\n\nThese are too few rows to look for patterns.")
    yield Text(text=_NOTE)


def _measured_names(plan: Plan, focus: Sequence[str]) -> set[str]:
    """Return what the question is about: the columns to compare before those to compare by."""
    by = {column.name for column in plan.groups} if plan.asked else set()
    return set(focus) - by or set(focus)


def _size(table: Table, head: Fact) -> str:
    rows, columns, missing = head["rows"], head["columns"], head["missing_cells"]
    name = code_span(table.name)
    if not rows:
        return f"{name} has no rows, so there is nothing to compute; it has {columns} columns."
    verb = "is" if missing <= 1 else "are"
    gaps = f"{_count(missing, 'cell') if missing else 'no cell'} {verb} missing"
    return f"{name} has {_count(rows, 'row')} and {_count(columns, 'column')}; {gaps}."


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _nothing(focus: Sequence[str]) -> str:
    about = f" about {listed(focus)}" if focus else ""
    return f"Nothing{about} stands out so clearly that chance would not explain it."


def _is(fact: Fact, finding: str) -> bool:
    return bool(fact.data.get("finding") == finding)


def _claims(overview: _Overview, found: Sequence[Fact]) -> Iterator[_Claim]:
    yield from _claims_of_overview(overview, found)
    for fact in found:
        match fact.data.get("finding"):
            case "difference" | "missing" if abs(fact["t"]) >= _CLEAR:
                yield _difference(fact)
            case "correlation" if abs(fact["correlation"]) >= _WEAKEST_CORRELATION:
                yield from _correlation(fact)
            case "outliers" if None not in (fact["low"], fact["high"]):
                yield _outliers(fact)


def _difference(fact: Fact) -> _Claim:
    column, group, value = (code_span(fact[key]) for key in ("column", "group", "value"))
    mean, others = number(fact["mean"]), number(fact["others_mean"])
    sizes = f"({fact['rows']} rows against {fact['other_rows']})"
    weight = min(abs(fact["t"]), 20.0)
    if _is(fact, "missing"):
        verb, weight = "is missing in", weight * 0.7
    elif fact["unit"] == "percent of rows":
        verb = "holds for"
    else:
        verb = ""
    if verb:
        text = (
            f"{column} {verb} {mean}% of the rows where {group} is {value}, "
            f"against {others}% of all other rows {sizes}"
        )
    else:
        text = (
            f"{column} averages {mean} where {group} is {value}, "
            f"against {others} in all other rows {sizes}"
        )
    return _Claim(weight, text, fact, (fact["column"], fact["group"]))


def _correlation(fact: Fact) -> Iterator[_Claim]:
    strength, rows = fact["correlation"], fact["rows"]
    rest = 1 - strength * strength
    t = abs(strength) * (max(rows - 2, 0) / rest) ** 0.5 if rest > 0 else 20.0
    if t < _CLEAR:
        return
    first, second = (code_span(name) for name in fact["columns"])
    how = "rise and fall together" if strength > 0 else "move in opposite directions"
    text = f"{first} and {second} {how}: correlation {number(strength)} over {rows} rows"
    # Two columns that are all but equal were computed from each other: true, but no news.
    weight = _CLEAR if abs(strength) >= 0.995 else min(t, 20.0) * 0.5
    yield _Claim(weight, text, fact, tuple(fact["columns"]))


def _outliers(fact: Fact) -> _Claim:
    rows = fact["rows"]
    low, high = fact["low"], fact["high"]
    smallest, largest = number(fact["smallest"]), number(fact["largest"])
    if fact["smallest"] >= high:
        where = f"above {number(high)}, up to {largest}"
    elif fact["largest"] <= low:
        where = f"below {number(low)}, down to {smallest}"
    else:
        where = f"outside {number(low)} to {number(high)}, from {smallest} to {largest}"
    verb = "lies" if rows == 1 else "lie"
    who = f"{_count(rows, 'value')} of {code_span(fact['column'])} ({number(fact['percent'])}%)"
    text = f"{who} {verb} far out: {where}"
    return _Claim(3.0, text, fact, (fact["column"],))


def _claims_of_overview(overview: _Overview, found: Sequence[Fact]) -> Iterator[_Claim]:
    if repeated := overview.head["repeated_rows"]:
        verb = "repeats" if repeated == 1 else "repeat"
        text = f"{_count(repeated, 'row')} {verb} an earlier row in every column"
        yield _Claim(2.5, text, overview.head)
    explained = {f["column"] for f in found if _is(f, "missing") and abs(f["t"]) >= _CLEAR}
    for column, fact in zip(overview.columns, overview.facts, strict=True):
        name = code_span(column.name)
        if overview.rows and column.missing == overview.rows:
            text = f"{name} is empty: all of its values are missing"
            yield _Claim(2.0, text, fact, (column.name,))
        elif column.missing and column.name not in explained:
            share = number(fact["missing_percent"])
            text = f"{name} lacks {_count(column.missing, 'value')} ({share}%)"
            weight = 1 + fact["missing_percent"] / 50
            yield _Claim(weight, text, fact, (column.name,))
        if column.distinct == 1 and overview.rows > 1:
            value = fact.data.get("most_common", fact.data.get("min"))
            only = f", {code_span(str(value))}" if value is not None else ""
            yield _Claim(1.5, f"{name} holds one value only{only}", fact, (column.name,))


# --- tables -------------------------------------------------------------------------------------


def _table(
    overview: _Overview, plan: Plan, focus: Sequence[str], found: Sequence[Fact]
) -> Iterator[Text]:
    """Yield a table: group by group, or of the quantities where the question names several."""
    named = [column.name for column in plan.quantities if column.name in focus]
    groups = [fact for fact in found if _is(fact, "group")]
    if groups and (plan.asked or len(named) < 2):
        yield from _group_table(groups)
    else:
        yield from _spread(overview, named)


def _group_table(groups: Sequence[Fact]) -> Iterator[Text]:
    first = groups[0]
    column, group = code_span(first["column"]), code_span(first["group"])
    yield cited(f"\n\n{column} by {group}:", first)
    share = first["unit"] == "percent of rows"
    head = [group, "rows", "share" if share else "mean", *([] if share else ["median"])]
    rows = []
    for fact in groups:
        mean = number(fact["mean"]) + ("%" if share and fact["mean"] is not None else "")
        median = [] if share else [number(fact["median"])]
        rows.append(table_row([code_span(fact["value"]), str(fact["rows"]), mean, *median]))
    yield Text(text=markdown_table(head, rows))


def _spread(overview: _Overview, named: Sequence[str]) -> Iterator[Text]:
    """Yield a table of the quantities, or of those that are named."""
    statistics = ("mean", "median", "min", "max")
    known = [
        (column, fact)
        for column, fact in zip(overview.columns, overview.facts, strict=True)
        if column.is_number
        and fact.data.get("mean") is not None
        and (column.name in named or not named)
    ][:6]
    if not known:
        return
    yield cited("\n\nThe quantities:", known[0][1])
    rows = [
        table_row([code_span(column.name), *(number(fact[s]) for s in statistics)])
        for column, fact in known
    ]
    yield Text(text=markdown_table(["column", *statistics], rows))


def markdown_table(head: Sequence[str], rows: Sequence[str]) -> str:
    """Return a table whose first column is of words, and the others of numbers."""
    line = "|---|" + "---:|" * (len(head) - 1)
    return "\n\n" + "\n".join([table_row(head), line, *rows])

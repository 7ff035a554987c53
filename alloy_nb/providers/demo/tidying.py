"""What the demo changes when it is asked to: rows far out, with gaps, or there twice are dropped.

The variable holds the shorter table then, as such requests are meant, and the answer says how many
rows went.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from alloy_nb.messages import Text
from alloy_nb.providers.demo.code import NUMERIC
from alloy_nb.providers.demo.exchange import Result
from alloy_nb.providers.demo.table import Table, mentioned
from alloy_nb.providers.demo.words import (
    Step,
    cited,
    code_span,
    facts_of,
    failure,
    listed,
    number,
    withheld,
)

__all__ = ["is_wanted", "tidy"]

_WANTED = re.compile(
    r"\b(?:drop|remove|delete|throw out|get rid of|clean out)\b(?:\W+\w+){0,6}?\W+"
    r"(?P<what>outliers?|duplicates?|duplicated|repeated|missing|gaps?|empty)\b",
    re.IGNORECASE,
)

_OUTLIERS = '''\
def without_outliers(frame, column):
    """Return the rows within the whiskers of a box plot; print how many went."""
    import json

    values = frame[column]
    quarter, three_quarters = values.quantile(0.25), values.quantile(0.75)
    reach = 1.5 * (three_quarters - quarter)
    low, high = quarter - reach, three_quarters + reach
    kept = frame[~((values < low) | (values > high))]
    facts = {{"rows_before": len(frame), "rows": len(kept)}}
    print(json.dumps(facts | {{"low": round(float(low), 3), "high": round(float(high), 3)}}))
    return kept


{frame} = without_outliers({frame}, {column})
'''

_ROWS = '''\
def {name}(frame):
    """Return the rows that do not {which}; print how many went."""
    import json

    kept = frame.{method}()
    print(json.dumps({{"rows_before": len(frame), "rows": len(kept)}}))
    return kept


{frame} = {name}({frame})
'''
_GAPS = ("without_gaps", "lack a value", "dropna")
_REPEATS = ("without_repeats", "repeat an earlier row", "drop_duplicates")


def is_wanted(prompt: str) -> bool:
    """Return whether a question asks to drop rows."""
    return _WANTED.search(prompt) is not None


def tidy(table: Table, prompt: str, results: Sequence[Result]) -> Step:
    """Return the next step to a table with fewer rows."""
    if not table.frame.isidentifier():
        text = f"{code_span(table.name)} is no variable of its own, so I leave it as it is."
        return Step("There is no variable to change.", answer=(Text(text=text),))
    code, which = _planned(table, prompt)
    if code is None:
        return Step("It is not said in which column.", answer=(Text(text=which),))
    about = f"about {code_span(table.name)}"
    if not results:
        thought = (
            f"Rows of {table.name} that {which} are to go. I keep the others under the same name, "
            "and count."
        )
        return Step(thought, code=code)
    if results[0].is_error:
        return failure(results[0], about)
    facts = facts_of(results[0])
    if not facts:
        return withheld(results[0], about)
    fact = facts[0]
    name, gone = code_span(table.name), fact["rows_before"] - fact["rows"]
    if not gone:
        said = f"No row of {name} had to go: it has {fact['rows']} rows, as before."
        return Step("Nothing changed.", answer=(cited(said, fact),))
    limits = ""
    if "low" in fact.data:
        limits = f", outside {number(fact['low'])} to {number(fact['high'])}"
    was = "row" if gone == 1 else "rows"
    said = (
        f"**{gone} {was} of {name} went**{limits}: it had {fact['rows_before']} rows, and has "
        f"{fact['rows']} now."
    )
    undo = f"\n\n{name} is the shorter table now; `%alloy restore` brings the whole one back."
    return Step("I say how many went.", answer=(cited(said, fact), Text(text=undo)))


def _planned(table: Table, prompt: str) -> tuple[str | None, str]:
    """Return the code, and which rows it drops; without code, what is to be said."""
    found = _WANTED.search(prompt)
    what = found["what"].lower() if found is not None else ""
    if not what.startswith("outlier"):
        name, which, method = _REPEATS if what.startswith(("dup", "rep")) else _GAPS
        return _ROWS.format(name=name, which=which, method=method, frame=table.frame), which
    numbers = [name for name, kind in table.kinds.items() if NUMERIC.match(kind)]
    named = mentioned(numbers, prompt)
    if not named:
        some = f" It has {listed(numbers[:12])}." if numbers else ""
        return None, f"Outliers of which column of {code_span(table.name)}?{some}"
    column = json.dumps(named[0], ensure_ascii=False)
    return _OUTLIERS.format(frame=table.frame, column=column), f"lie far out in {named[0]}"

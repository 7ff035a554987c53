"""What the demo says: the next reply, from what the request holds. Pure.

::

    a table or column is referred to   -> overview -> what stands out -> answer   (table)
      and a figure is asked for        -> code that draws it -> what it shows     (plots)
      and rows are to be dropped       -> code that drops them -> how many went   (tidying)
    the last figure                    -> its words; a script has no eyes
    another variable                   -> its type and value
    a form to fill in, no code to run  -> what the words of the prompt say          (labels)
    other agents can be asked          -> each of them, then what they said         (teamwork)
    findings are to be noted           -> the claims of the answer, first           (teamwork)
    no reference, but a calculation    -> that calculation
    no reference, but about data       -> the tables that there are, then the one that is meant
    anything else                      -> what the demo is, and how to ask a real model
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from alloy_nb.messages import Text, Thinking, ToolCall
from alloy_nb.providers.demo import labels, plots, teamwork, tidying
from alloy_nb.providers.demo.exchange import TOOL, Exchange, Reference, read_exchange
from alloy_nb.providers.demo.table import Table, look_at, mentions
from alloy_nb.providers.demo.wire import ReplyBlock
from alloy_nb.providers.demo.words import (
    Step,
    cited,
    code_span,
    facts_of,
    failure,
    fenced,
    listed,
    size_of,
)

__all__ = ["answer"]

_ABOUT_DATA = re.compile(
    r"\b(data|datasets?|(data)?frames?|df|tables?|rows?|columns?|outliers?|missing|"
    r"averages?|means?|medians?|correlat\w+|distribut\w+|compare|trends?|stands? out|groups?|"
    r"differ\w*|analy[sz]\w*|summar\w+|highest|lowest|duplicat\w*)\b",
    re.IGNORECASE,
)
# Digits and operators, as they stand in a sentence.
_CALCULATION = re.compile(r"[\d(][\d\s.+\-*/%^()]*[\d)]")
_DATE = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}")
_LARGEST_POWER = 1_000
_LARGEST_BASE = 10_000
# A calculation further on in a prompt is hardly the question.
_QUESTION = 2_000

_LISTING = '''\
def list_tables():
    """Print a line of JSON for each table in this notebook."""
    import json

    for name, value in list(globals().items()):
        if type(value).__name__ == "DataFrame" and not name.startswith("_"):
            rows, columns = value.shape
            print(json.dumps({"table": name, "rows": rows, "columns": columns}))


list_tables()
'''

_SCRIPTED = """\
I am the scripted demo of alloy_nb, not a language model, so I cannot answer that. What I can do, \
here and without a key:

- **look at a table**: write `@` and the name of a DataFrame, as in `What stands out in @df?`;
- **look at a variable**: `What is in @x?`;
- **calculate**: `What is 12 * 34?`

I compute each number in your kernel and show the code.

To ask a real model, set its key before you start Jupyter, for example `ANTHROPIC_API_KEY`, and \
choose it with `%alloy model anthropic/claude-sonnet-4-6`. With [Ollama](https://ollama.com) a \
model runs on this machine without a key: `%alloy models` lists what there is."""


def answer(body: Mapping[str, Any], identity: str) -> list[ReplyBlock]:
    """Return the blocks of the reply to a request in Anthropic's format."""
    exchange = read_exchange(body)
    step = _next(exchange, str(body.get("model", "")))
    blocks: list[ReplyBlock] = [Thinking(text=step.thought)] if exchange.thinks else []
    if step.code is not None:
        call = ToolCall(id=f"toolu_demo_{identity}", name=TOOL, input={"code": step.code})
        return [*blocks, call]
    calls = [
        ToolCall(id=f"toolu_demo_{identity}_{number}", name=name, input=arguments)
        for number, (name, arguments) in enumerate(step.calls, 1)
    ]
    return [*blocks, *(calls or step.answer)]


def _next(exchange: Exchange, model: str) -> Step:
    filled = labels.fill(exchange, model)
    if filled is not None:
        return filled
    asked = teamwork.ask(exchange)
    if asked is not None:
        return asked
    step = _wanted(exchange)
    if step.code is None and (noted := teamwork.note(exchange, step)) is not None:
        return noted
    if step.code is not None and not exchange.can_compute:
        text = (
            f"I would have to compute that, and no `{TOOL}` tool is offered to me here. So I have "
            "no numbers and claim nothing. Allow tools and ask again."
        )
        return Step("There is no tool to compute with.", answer=(Text(text=text),))
    return step


def _wanted(exchange: Exchange) -> Step:
    tables = list(_tables(exchange.references))
    if tables:
        return _do(tables[0], exchange)
    variables = [reference for reference in exchange.references if reference.is_variable]
    if variables:
        return _look_at_variable(variables[0], exchange)
    if [reference.name for reference in exchange.references] == ["plot"]:
        return _look_at_figure(exchange)
    if exchange.references:
        return _cannot_read(exchange.references)
    if calculation := _calculation(exchange.prompt):
        return _calculate(calculation, exchange)
    about_data = _ABOUT_DATA.search(exchange.prompt) is not None
    for table in _tables(exchange.earlier):
        wanted = about_data or plots.is_wanted(exchange.prompt)
        if wanted or mentions(table, exchange.prompt):
            return _do(table, exchange)
    return _list_tables(exchange) if about_data else _scripted()


def _tables(references: Sequence[Reference]) -> Iterator[Table]:
    for reference in references:
        if (frame := reference.frame) is not None:
            yield Table(reference.name, frame, reference.headline, reference.kinds)


def _do(table: Table, exchange: Exchange) -> Step:
    """Return the next step with a table: change it, draw it, or look at it."""
    work = look_at
    if tidying.is_wanted(exchange.prompt):
        work = tidying.tidy
    elif plots.is_wanted(exchange.prompt):
        work = plots.draw
    return work(table, exchange.prompt, exchange.results)


def _scripted() -> Step:
    thought = "This needs a language model, and I am a script. I say what I can do instead."
    return Step(thought, answer=(Text(text=_SCRIPTED),))


def _cannot_read(references: Sequence[Reference]) -> Step:
    names = listed([f"@{reference.name.lstrip('@')}" for reference in references])
    text = f"The question refers to {names}, which takes a language model to read.\n\n{_SCRIPTED}"
    return Step(
        "The references are no variables that I could compute with.", answer=(Text(text=text),)
    )


# --- a figure ---------------------------------------------------------------------------------


def _look_at_figure(exchange: Exchange) -> Step:
    came = "No picture came with the question"
    if exchange.pictures:
        came = f"A picture came with the question: {size_of(exchange.pictures[0])}"
    text = (
        f"{came}. I am a script and cannot look at it, as a model would. What its axes say came "
        f"along in words:\n\n{fenced(exchange.references[0].body or 'nothing')}"
    )
    return Step("I can read the words of a figure only.", answer=(Text(text=text),))


# --- a variable ---------------------------------------------------------------------------------


def _look_at_variable(reference: Reference, exchange: Exchange) -> Step:
    name = code_span(reference.name)
    if not exchange.results:
        thought = f"The question is about {reference.name}: I look at its type and its value."
        return Step(thought, code=f"print(type({reference.name}).__name__)\n{reference.name}")
    result = exchange.results[0]
    if result.is_error:
        return failure(result, f"about {name}")
    kind, _, value = result.text.partition("\n")
    lines = value.strip("\n").splitlines()
    shown = [line[:200] for line in lines[:12]]
    more = "\n\nThat is its beginning." if shown != lines else ""
    parts = [cited(f"{name} is of type {code_span(kind)}.", result)]
    if shown:
        parts.append(Text(text="\n\nIts value:\n\n" + fenced("\n".join(shown)) + more))
    parts.append(Text(text="\n\n*This is the scripted demo: it can show a value, not discuss it.*"))
    return Step("I show what came back.", answer=tuple(parts))


# --- a calculation ------------------------------------------------------------------------------


def _calculation(prompt: str) -> str | None:
    """Return the arithmetic in a question as an expression, or ``None`` where there is none."""
    if _DATE.search(prompt):
        return None
    for found in sorted(_CALCULATION.findall(prompt[:_QUESTION]), key=len, reverse=True):
        expression = " ".join(found.replace("^", "**").split())
        try:
            tree = ast.parse(expression, mode="eval")
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            continue
        if isinstance(tree.body, ast.BinOp) and all(map(_is_harmless, ast.walk(tree))):
            return expression
    return None


def _is_harmless(node: ast.AST) -> bool:
    """Return whether a node is plain arithmetic of a size that ends at once."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        base, power = node.left, node.right
        return (
            isinstance(base, ast.Constant)
            and isinstance(power, ast.Constant)
            and abs(base.value) <= _LARGEST_BASE  # type: ignore[arg-type]  # digits only
            and abs(power.value) <= _LARGEST_POWER  # type: ignore[arg-type]  # digits only
        )
    allowed = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.Constant, ast.operator, ast.unaryop)
    return isinstance(node, allowed)


def _calculate(expression: str, exchange: Exchange) -> Step:
    if not exchange.results:
        return Step(f"That is a calculation: {expression}. I run it.", code=expression)
    result = exchange.results[0]
    if result.is_error:
        return failure(result, f"about {code_span(expression)}")
    said = f"{code_span(expression)} is **{result.last_line}**."
    return Step("The result is there.", answer=(cited(said, result),))


# --- tables that were not named -----------------------------------------------------------------


def _list_tables(exchange: Exchange) -> Step:
    if not exchange.results:
        thought = "No variable is named with @. I look which tables there are."
        return Step(thought, code=_LISTING)
    listing, *results = exchange.results
    if listing.is_error:
        return failure(listing, "about your data")
    found = [fact for fact in facts_of(listing) if "table" in fact.data]
    named = [f for f in found if re.search(rf"\b{re.escape(f['table'])}\b", exchange.prompt)]
    if meant := named or (found if len(found) == 1 else []):
        name = meant[0]["table"]
        return look_at(Table(name, name), exchange.prompt, results)
    if not found:
        text = "There is no DataFrame in this notebook yet. Make one, then ask about `@` its name."
        return Step("There are no tables.", answer=(Text(text=text),))
    parts = [Text(text="Several tables are here; name the one you mean with `@`:\n")]
    for fact in found:
        size = f"{fact['rows']} rows, {fact['columns']} columns"
        parts.append(cited(f"\n- {code_span('@' + fact['table'])}: {size}", fact))
    return Step("Which one is meant is not mine to guess.", answer=tuple(parts))

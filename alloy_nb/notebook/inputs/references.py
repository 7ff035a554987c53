r"""What a prompt refers to, and what the model is told of it.

===================  =============================================================================
``@df``              a variable: type, shape, columns
``@df.col``          a column (also ``@df["a b"]``), or an attribute
``@In[3]``           the source of that cell
``@Out[3]``          what came out of it
``@last``            the last cell: its source, and what came out of it
``@error``           the last exception, where nothing has a variable of that name
``@plot``            the last figure, as a picture and in words
``@file:path``       a file of the working directory: its text, a picture, a PDF
``$(expression)``    the value of Python that you write into the prompt
===================  =============================================================================

How much of it goes is the dial's to say; a table is a schema, never its rows. The prompt itself
is not changed, but for ``\@name`` and ``\$(``, which are meant literally. What means nothing here
stays as it is: e-mail addresses, decorators and handles are text.
"""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from IPython.core.error import UsageError

from alloy_nb.engine.agent import Prompt
from alloy_nb.engine.calls.tool import ToolContext
from alloy_nb.errors import ToolError
from alloy_nb.markup.alongside import reference
from alloy_nb.messages import Document, Image, Text
from alloy_nb.notebook.brackets import outside
from alloy_nb.notebook.code import failure
from alloy_nb.notebook.inputs.attached import Attached, attached
from alloy_nb.notebook.inputs.dial import Dial
from alloy_nb.notebook.inputs.figures import last_figure
from alloy_nb.notebook.inputs.schema import describe, is_table, missing

__all__ = [
    "Found",
    "Resolved",
    "block_of",
    "describe",
    "found_in",
    "outside_of_cells",
    "resolve",
]

# Not after a word, a dot, a slash or another @: a@b.c, example.org/@ada and @@x are no references;
# \@x is meant literally.
_REFERENCE = re.compile(
    r"""(?<![\w./@\\])@(?:
        file:(?P<path>"[^"\n]+"|'[^'\n]+'|[^\s"'<>]+)
      | (?P<cell>In|Out)\[(?P<number>\d{1,9})\]
      | (?P<name>[A-Za-z_]\w*)(?P<rest>(?:\.[A-Za-z_]\w*|\["[^"\n]*"\]|\['[^'\n]*'\])*)
    )""",
    re.X,
)
_STEP = re.compile(r"""\.([A-Za-z_]\w*)|\["([^"\n]*)"\]|\['([^'\n]*)'\]""")
_EXPRESSION = re.compile(r"(?<!\\)\$\(")
_LITERAL = re.compile(r"\\(@[A-Za-z_]|\$\()")
_LONGEST_EXPRESSION = 2_000
_LONGEST_VALUE = 20_000

_is_in_cell: ContextVar[bool] = ContextVar("alloy_in_cell", default=True)


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that a prompt refers to.

    Args:
        name: As it was written, without the ``@``.
        value: What it stands for: an object, or the text or bytes of what was sent.
        told: What the model is told; empty where the dial keeps it all back.
        media: Pictures and documents that go along.
        remark: What the person is told about it.
    """

    name: str
    value: Any
    told: str
    media: tuple[Image | Document, ...] = ()
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A prompt with what its references mean, and the names that mean nothing here."""

    text: str
    names: tuple[str, ...]
    unknown: tuple[str, ...]
    media: tuple[Text | Image | Document, ...] = field(default=(), repr=False)
    remarks: tuple[str, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """What each name stands for, to know later whether it is still the same."""

    @property
    def prompt(self) -> Prompt:
        """What is sent: text, or text with pictures, documents and texts beside it."""
        return [self.text, *self.media] if self.media else self.text


def resolve(
    prompt: str,
    namespace: Mapping[str, Any],
    *,
    dial: Dial | None = None,
    files: ToolContext | None = None,
    inputs: str = "",
    typed: bool = True,
) -> Resolved:
    r"""Append what each reference of a prompt means.

    Args:
        prompt: What was typed.
        namespace: The variables.
        dial: What may leave the kernel.
        files: Where files may be read.
        inputs: More references, separated by commas, with or without ``@``.
        typed: Whether the person wrote the prompt. One that came from a file may name variables,
            and neither run an expression nor read a file.

    Raises:
        UsageError: An expression fails, or an input means nothing. Nothing was sent.
    """
    look = _Look(namespace, dial or Dial(), files or ToolContext())
    found: dict[str, Found] = {}
    unknown: dict[str, None] = {}
    remarks: dict[str, None] = {}
    for match in _REFERENCE.finditer(_without_expressions(prompt) if typed else prompt):
        if match["path"] is not None and not typed:
            continue
        one = look.up(match)
        if isinstance(one, Found):
            found.setdefault(one.name, one)
        elif one:
            remarks[one] = None
        else:
            unknown[match["name"]] = None
    if typed:
        for source in dict.fromkeys(_expressions(prompt)):
            found[f"$({source})"] = look.evaluated(source)
    for word in _inputs(inputs):
        one = look.named(word)
        found.setdefault(one.name, one)
    remarks.update(dict.fromkeys(one.remark for one in found.values() if one.remark))
    text = _LITERAL.sub(r"\1", prompt)
    blocks = [block_of(one) for one in found.values() if one.told]
    return Resolved(
        "\n\n".join([text, *blocks]),
        tuple(found),
        tuple(unknown),
        tuple(part for one in found.values() for part in one.media),
        tuple(remarks),
        {name: one.value for name, one in found.items()},
    )


@contextlib.contextmanager
def outside_of_cells() -> Iterator[None]:
    """Say that no cell asks, in the block: then ``@last`` is the last one that ran."""
    token = _is_in_cell.set(False)
    try:
        yield
    finally:
        _is_in_cell.reset(token)


def block_of(one: Found) -> str:
    """Return what the model is told of something, with its name around it."""
    return reference(one.name, one.told)


# --- what is written ------------------------------------------------------------------------------


def _expressions(prompt: str) -> list[str]:
    return [source for source, _, _ in _spans(prompt)]


def _without_expressions(prompt: str) -> str:
    """Return the prompt with spaces for its expressions: ``@`` is an operator in them."""
    for source, start, end in _spans(prompt):
        del source
        prompt = prompt[:start] + " " * (end - start) + prompt[end:]
    return prompt


def _spans(prompt: str) -> Iterator[tuple[str, int, int]]:
    at = 0
    while (begin := _EXPRESSION.search(prompt, at)) is not None:
        source = _expression(prompt, begin.end())
        at = begin.end() + len(source) + 1
        yield source.strip(), begin.start(), at


def _expression(prompt: str, start: int) -> str:
    """Return the shortest Python up to a closing parenthesis."""
    end = start
    while (end := prompt.find(")", end)) >= 0 and end - start <= _LONGEST_EXPRESSION:
        source = prompt[start:end]
        try:
            ast.parse(source.strip(), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            end += 1
            continue
        return source
    begins = prompt[start : start + 40].split("\n")[0]
    raise UsageError(
        rf"$({begins}: this is no Python expression, so nothing was sent. For the text, write \$("
    )


def _inputs(words: str) -> Iterator[str]:
    """Split at commas that stand outside of brackets and quotes."""
    commas = [at for at in outside(words) if words.startswith(",", at)]
    for before, after in pairwise([-1, *commas, len(words)]):
        if word := words[before + 1 : after].strip():
            yield word


# --- what it means --------------------------------------------------------------------------------


class _Look:
    """Looks references up; each answer is found, a remark, or ``""`` for an unknown name."""

    def __init__(self, namespace: Mapping[str, Any], dial: Dial, files: ToolContext) -> None:
        self._namespace = namespace
        self._dial = dial
        self._files = files

    def up(self, match: re.Match[str]) -> Found | str:
        if match["path"] is not None:
            return self._file(match["path"])
        if match["cell"] == "In":
            return self._source(int(match["number"]))
        if match["cell"] == "Out":
            return self._output(int(match["number"]))
        return self._variable(match["name"], match["rest"])

    def named(self, word: str) -> Found:
        """Look up what stands after ``-i``; it must mean something."""
        word = word.removeprefix("@")
        if word.startswith("$(") and word.endswith(")"):
            return self.evaluated(word[2:-1].strip())
        match = _REFERENCE.fullmatch(f"@{word}")
        one = self.up(match) if match is not None else ""
        if isinstance(one, Found):
            return one
        if match is None or match["name"]:
            found = self._file(word)
            if isinstance(found, Found):
                return found
        why = one.partition(": ")[2].removesuffix("; sent as text")
        raise UsageError(f"-i {word}: {why or 'no such variable, cell or file'}. Nothing was sent.")

    def evaluated(self, source: str) -> Found:
        """Evaluate an expression, here and now."""
        try:
            code = compile(source, "<prompt>", "eval")
            value = eval(code, dict(self._namespace))  # noqa: S307  # the person typed it
            return Found(f"$({source})", value, self._valued(source, value))
        except (Exception, SystemExit) as error:  # of code that may raise anything
            raise UsageError(
                rf"$({source}) failed, so nothing was sent. {_said(error)}. For the text, write \$("
            ) from None

    def _variable(self, name: str, rest: str) -> Found | str:
        if name not in self._namespace:
            return self._reserved(name)
        value, used, left = self._namespace[name], name, rest
        while left and (step := _STEP.match(left)) is not None:
            try:
                value = _step(value, step)
            except Exception:  # it has none of that name, or does not like to be asked
                break
            used += step[0]
            left = left[step.end() :]
        told = self._described(used, value)
        remark = f"@{used}{left}: {left} is not there; @{used} was meant" if left else ""
        return Found(used, value, told, remark=remark)

    def _reserved(self, name: str) -> Found | str:
        match name:
            case "last":
                return self._last()
            case "error":
                return self._error()
            case "plot":
                return self._plot()
        return ""

    def _described(self, name: str, value: Any) -> str:
        told = self._dial.described(name, value)
        if (
            self._dial.level in ("sample", "full")
            and not name.isidentifier()
            and not is_table(value)
        ):
            count = _missing(value)
            return told if count is None else f"{told}, {count} missing"
        return told

    def _valued(self, name: str, value: Any) -> str:
        """Tell a value that was asked for; a table is a schema all the same."""
        dial = self._dial
        if dial.level == "none":
            return ""
        if dial.level in ("names", "schema") or is_table(value):
            return dial.described(name, value)
        text = _text(value)
        told = dial.value(value, text)
        return f"{describe(name, value)}\n{told if told is not None else text}"

    # --- cells ------------------------------------------------------------------------------------

    def _source(self, number: int) -> Found | str:
        cells = self._namespace.get("In")
        if not isinstance(cells, list) or not 0 < number < len(cells):
            return f"@In[{number}]: no such cell; sent as text"
        source = str(cells[number]).rstrip("\n")
        return Found(f"In[{number}]", source, self._dial.source(source))

    def _output(self, number: int) -> Found | str:
        outputs = self._namespace.get("Out")
        if not isinstance(outputs, Mapping) or number not in outputs:
            return f"@Out[{number}]: nothing came out of that cell; sent as text"
        name, value = f"Out[{number}]", outputs[number]
        return Found(name, value, self._valued(name, value))

    def _last(self) -> Found | str:
        cells, outputs = self._namespace.get("In"), self._namespace.get("Out")
        # The last is the one that asks, where a cell does.
        asking = 1 if _is_in_cell.get() else 0
        number = len(cells) - 1 - asking if isinstance(cells, list) else 0
        if number < 1:
            return "@last: there is no cell before this one; sent as text"
        source = self._source(number)
        if isinstance(source, str):
            return source
        told, value = [source.told and f"In[{number}]:\n{source.told}"], source.value
        if isinstance(outputs, Mapping) and number in outputs:
            value = (value, outputs[number])
            told.append(self._valued(f"Out[{number}]", outputs[number]))
        return Found("last", value, "\n\n".join(filter(None, told)))

    # --- the last exception, the last figure, a file ----------------------------------------------

    def _error(self) -> Found | str:
        from IPython import get_ipython

        shell = get_ipython()
        last = failure.last_failure(shell) if shell is not None else None
        if last is None:
            return "@error: nothing has failed; sent as text"
        told = self._dial.failed(last.error, last.traceback, last.source)
        return Found("error", last.traceback, told if self._dial.level != "none" else "")

    def _plot(self) -> Found | str:
        figure = last_figure(self._namespace)
        if figure is None:
            return "@plot: there is no figure; sent as text"
        value = figure.image.data if figure.image is not None else figure.text
        if self._dial.images:
            told = figure.text
            media = () if figure.image is None else (figure.image,)
            remark = "" if media else "@plot: no picture can be made of it here; told in words"
            return Found("plot", value, told, media, remark)
        told = figure.outline if self._dial.level in ("schema", "sample") else ""
        remark = f"@plot: the picture was not sent (--data {self._dial})"
        return Found("plot", value, told, remark=remark)

    def _file(self, path: str) -> Found | str:
        path = path[1:-1] if path[0] in "\"'" else path.rstrip(".,;:!?)]}")
        try:
            file = attached(path, self._files)
        except ToolError as error:
            return f"@file:{path}: {str(error).rstrip('.')}; sent as text"
        return found_in(file, self._dial)


def found_in(file: Attached, dial: Dial) -> Found:
    """Return what is told of a file, as far as the dial allows."""
    media: tuple[Image | Document, ...] = ()
    match dial.level:
        case "none":
            told = ""
        case "names":
            told = file.kind
        case "schema":
            told = file.outline
        case "sample":
            told = dial.answered(file.path, file.text) or file.outline
        case _:
            told = file.text or file.outline
            media = () if file.media is None else (file.media,)
    kept = not media and (file.media is not None or dial.level in ("none", "names", "schema"))
    remark = f"@file:{file.path}: what is in it was not sent (--data {dial})" if kept else ""
    return Found(f"file:{file.path}", file.data, told, media, remark)


def _step(value: Any, step: re.Match[str]) -> Any:
    name = step[1]
    if name is None:
        return value[step[2] if step[2] is not None else step[3]]
    if is_table(value) and name in list(value.columns):
        return value[name]
    if isinstance(value, Mapping) and name in value:
        return value[name]
    return getattr(value, name)


def _missing(value: Any) -> int | None:
    try:
        return missing(value) if hasattr(value, "dtype") else None
    except Exception:  # a user's object may fail anywhere
        return None


def _text(value: Any) -> str:
    """Return a value as the notebook prints it, bounded."""
    from IPython.lib.pretty import pretty

    text = str(pretty(value, max_seq_length=1_000))  # type: ignore[no-untyped-call]  # IPython's
    if len(text) <= _LONGEST_VALUE:
        return text
    half = _LONGEST_VALUE // 2
    return f"{text[:half]}\n[... {len(text) - _LONGEST_VALUE:,} characters ...]\n{text[-half:]}"


def _said(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # its text is made by code of the user's
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

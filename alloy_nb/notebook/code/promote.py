"""The tool steps of a turn as code that stands by itself. Pure: nothing runs here.

::

    Turn ─▶ steps_of ─▶ [Step] ─▶ promoted ─▶ Promoted ─▶ cell | script | notebook
                                                  └─▶ proof.prove runs it again

What ran and did not fail is kept, in order. Left out is only what failed, and a step that was run
twice in a row with the same result where it can have changed nothing. Imports go to the top, unless
the code makes them depend on what runs before.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from alloy_nb.engine.documents.cells import runnable
from alloy_nb.engine.documents.story import Noted, Part, Said, Turn, Used
from alloy_nb.errors import ConfigError
from alloy_nb.markup.alongside import beginning
from alloy_nb.markup.markdown import MARK
from alloy_nb.markup.plain import one_line
from alloy_nb.notebook.code.names import bound, loaded, needed, parsed

__all__ = ["Promoted", "Step", "effects", "promoted", "steps_of"]

_NO_OUTPUT = "(no output)"
_LINE = 88
_RETURN_NOTHING = frozenset(
    {"append", "clear", "display", "extend", "info", "insert", "print", "reverse", "show", "sort"}
)
# Calls that reach out of the process, by the last part of their name.
_REACHING = frozenset(
    {
        *("check_call", "check_output", "connect", "getoutput", "kill", "mkdir", "makedirs"),
        *("Popen", "post", "put", "remove", "rename", "rmdir", "rmtree", "savefig"),
        *(
            "system",
            "to_clipboard",
            "to_csv",
            "to_excel",
            "to_feather",
            "to_hdf",
        ),
        *("to_parquet", "to_pickle", "to_sql", "touch", "unlink", "urlopen", "urlretrieve"),
        *("write_bytes", "write_csv", "write_parquet", "write_text"),
    }
)
_REACHING_MODULES = frozenset({"ftplib", "httpx", "requests", "shutil", "smtplib", "subprocess"})


@dataclass(frozen=True, slots=True)
class Step:
    """A call of the python tool: its code, what it returned, what the model said before it."""

    code: str
    result: str
    said: str = ""
    failed: bool = False
    images: int = 0


@dataclass(frozen=True, slots=True)
class Promoted:
    """The steps of a turn, made fit to run without the agent.

    Args:
        imports: What goes to the top.
        steps: The rest, a step each; `code` is without those imports.
        inputs: Names that are read before anything here sets them.
        left_out: How many failed, were repeated, or hold characters that nobody sees.
        title: A line that says where it comes from.
        asked: The prompt, as a line.
    """

    imports: tuple[str, ...]
    steps: tuple[Step, ...]
    inputs: tuple[str, ...]
    left_out: int = 0
    title: str = ""
    asked: str = ""

    def cell(self) -> str:
        """Return one cell, in which each step shows what it showed."""
        last = len(self.steps) - 1
        bodies = [
            self._commented(number, _showing(step, "display") if number < last else step.code)
            for number, step in enumerate(self.steps)
        ]
        return "\n\n".join([*self._head(), *bodies]).rstrip() + "\n"

    def script(self) -> str:
        """Return a module, which prints what the cell would show.

        Raises:
            ConfigError: Only a notebook can run it.
        """
        if any(not runnable(step.code, awaits=False) for step in self.steps):
            raise ConfigError(
                "The code has an await outside of a function, which only a notebook can run: "
                "promote it to a cell or a FILE.ipynb."
            )
        bodies = [
            self._commented(number, _showing(step, "print"))
            for number, step in enumerate(self.steps)
        ]
        return "\n\n".join([*self._head(), *bodies]).rstrip() + "\n"

    def notebook(self) -> str:
        """Return a notebook (nbformat 4.5), a cell for each step."""
        sources = ["\n\n".join(self._head())]
        sources += [self._commented(n, step.code) for n, step in enumerate(self.steps)]
        cells: list[dict[str, Any]] = [
            {
                "cell_type": "code",
                "id": f"step-{number}",
                "metadata": {},
                "execution_count": None,
                "source": source.rstrip("\n"),
                "outputs": [],
            }
            for number, source in enumerate(sources)
        ]
        kernel = {
            "display_name": "Python 3 (ipykernel)",
            "language": "python",
            "name": "python3",
        }
        metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
        document = {"metadata": metadata, "nbformat": 4, "nbformat_minor": 5, "cells": cells}
        return json.dumps(document, ensure_ascii=False, indent=1) + "\n"

    def _head(self) -> list[str]:
        lines = [f"# {self.title}"] if self.title else []
        lines += [f"# Asked: {self.asked}"] if self.asked else []
        lines += [f"# Needs: {', '.join(self.inputs)}"] if self.inputs else []
        head = ["\n".join(lines)] if lines else []
        return [*head, "\n".join(self.imports)] if self.imports else head

    def _commented(self, index: int, code: str) -> str:
        """Return code below what was said before it; a step among others has a number as well."""
        number = f"{index + 1}." if len(self.steps) > 1 else ""
        words = " ".join(filter(None, [number, _line_of([self.steps[index].said])]))
        return f"# {words}\n{code}" if words else code


def steps_of(turn: Turn) -> list[Step]:
    """Return the python steps of a turn, those that failed too; none that never came back."""
    steps: list[Step] = []
    said = ""
    for part in turn.parts:
        if isinstance(part, Said):
            said = part.text
        elif isinstance(part, Used) and part.name == "python" and not part.server:
            if part.failed is not None:
                code = part.code if part.code and runnable(part.code) else ""
                failed = part.failed or not code
                steps.append(Step(code, part.result, said, failed, len(part.images)))
            said = ""
    return steps


def promoted(steps: Sequence[Step], *, title: str = "", prompt: Iterable[Part] = ()) -> Promoted:
    """Return the steps of a turn as code that stands by itself.

    Raises:
        ConfigError: None of them ran.
    """
    kept = _without_repeats([step for step in steps if not step.failed])
    if not kept:
        raise ConfigError("This turn ran no Python that worked.")
    # A step that fails in its last line has imported by then what the next ones use.
    failed = _imports_only([step.code for step in steps if step.failed], kept)
    codes = [step.code for step in kept]
    imports, bodies = _gathered(codes)
    bodied = [replace(step, code=body) for step, body in zip(kept, bodies, strict=True)]
    used = tuple(step for step in bodied if _has_code(step.code))
    return Promoted(
        imports=tuple(dict.fromkeys([*_future_first([*imports, *failed])])),
        steps=used or tuple(bodied[-1:]),
        inputs=tuple(needed([*imports, *failed, *bodies])),
        left_out=len(steps) - len(kept),
        title=one_line(title, _LINE),
        asked=_line_of(part.text for part in prompt if isinstance(part, (Said, Noted))),
    )


def effects(code: str) -> list[str]:
    """Return what code may do outside of the process: the calls, by name, in their order."""
    found: dict[str, None] = {}
    for node in ast.walk(parsed(code)):
        if not isinstance(node, ast.Call):
            continue
        name = _dotted(node.func)
        last = name.rpartition(".")[2]
        reaches = last in _REACHING or name.partition(".")[0] in _REACHING_MODULES
        if reaches or (last == "open" and _opens_for_writing(node)):
            found[name] = None
    return list(found)


# --- what is left out ---------------------------------------------------------------------------


def _without_repeats(steps: Sequence[Step]) -> list[Step]:
    kept: list[Step] = []
    for step in steps:
        before = kept[-1] if kept else None
        repeats = before is not None and (before.code.strip(), before.result) == (
            step.code.strip(),
            step.result,
        )
        if not (repeats and _changes_nothing(step)):
            kept.append(step)
    return kept


def _changes_nothing(step: Step) -> bool:
    """Tell whether a second run, with the same result, can only have been the same again."""
    body = parsed(step.code).body
    for number, statement in enumerate(body):
        shown = number == len(body) - 1 and step.result not in ("", _NO_OUTPUT)
        match statement:
            case ast.Import() | ast.ImportFrom():
                continue
            case ast.Assign(targets=targets) if all(isinstance(t, ast.Name) for t in targets):
                names = {t.id for t in targets if isinstance(t, ast.Name)}
                if names & set(loaded(statement.value)):  # x = x + 1
                    return False
            case ast.Expr(value=ast.Call(func=func)):
                if not (shown or _dotted(func) in ("print", "display")):
                    return False
            case ast.Expr():
                continue
            case _:
                return False
    return True


def _imports_only(failed: Sequence[str], kept: Sequence[Step]) -> list[str]:
    """Return imports of steps that failed, as far as the names are needed."""
    wanted = set(needed([step.code for step in kept]))
    statements = [statement for code in failed for statement in parsed(code).body]
    return [
        ast.unparse(statement)
        for statement in statements
        if isinstance(statement, (ast.Import, ast.ImportFrom)) and wanted & bound(statement)
    ]


# --- imports to the top -------------------------------------------------------------------------


def _gathered(codes: Sequence[str]) -> tuple[list[str], list[str]]:
    """Take the imports out of pieces of code; return them, and the pieces without."""
    whole = "\n".join(codes)
    trees = [parsed(code) for code in codes]
    if "sys.path" in whole or "import_module" in whole or "sys.modules" in whole:
        return [], list(codes)
    kept_names = _set_otherwise(trees)
    meanings: dict[str, set[str]] = {}
    for tree in trees:
        for statement in tree.body:
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                for name in bound(statement):
                    meanings.setdefault(name, set()).add(ast.unparse(statement))
    imports: list[str] = []
    bodies: list[str] = []
    for code, tree in zip(codes, trees, strict=True):
        lines = code.split("\n")
        taken: set[int] = set()
        for number, statement in enumerate(tree.body):
            if not isinstance(statement, (ast.Import, ast.ImportFrom)):
                continue
            names = bound(statement)
            clear = names and "*" not in names and not names & kept_names
            alone = _is_alone(tree, number, lines)
            if clear and alone and all(_same(meanings[name]) for name in names):
                imports += _parts(statement)
                taken |= set(range(statement.lineno - 1, statement.end_lineno or 0))
        left = "\n".join(line for n, line in enumerate(lines) if n not in taken)
        bodies.append(left.strip("\n"))
    return list(dict.fromkeys(imports)), bodies


def _parts(statement: ast.Import | ast.ImportFrom) -> list[str]:
    """Return an import as lines that can be compared: one module each."""
    if isinstance(statement, ast.Import):
        return [ast.unparse(ast.Import([alias])) for alias in statement.names]
    return [ast.unparse(statement)]


def _same(statements: set[str]) -> bool:
    """Tell whether a name is imported in one way only; `import os` and `import os, re` agree."""
    if len(statements) == 1:
        return True
    roots = {line for text in statements for line in text.removeprefix("import ").split(", ")}
    plain = all(text.startswith("import ") for text in statements)
    return plain and not any(" as " in root for root in roots)


def _is_alone(tree: ast.Module, number: int, lines: Sequence[str]) -> bool:
    """Tell whether a statement has its lines for itself."""
    statement = tree.body[number]
    first, last = statement.lineno, statement.end_lineno or statement.lineno
    around = [each for each in tree.body if each is not statement]
    shared = any(first <= (e.end_lineno or e.lineno) and e.lineno <= last for e in around)
    return not shared and ";" not in lines[last - 1]


def _set_otherwise(trees: Sequence[ast.Module]) -> set[str]:
    """Return names that something else than an import sets, anywhere."""
    names: set[str] = set()
    for tree in trees:
        for node in ast.walk(tree):
            match node:
                case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                    names.add(name)
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                    names.add(node.name)
    return names


def _future_first(imports: Iterable[str]) -> list[str]:
    return sorted(imports, key=lambda line: not line.startswith("from __future__"))


# --- text ---------------------------------------------------------------------------------------


def _line_of(texts: Iterable[str]) -> str:
    """Return the beginning of texts as one line, without references and marks of sources."""
    return one_line(" ".join(beginning(each.replace(MARK, ""), _LINE) for each in texts), _LINE)


def _showing(step: Step, call: str) -> str:
    """Return code in which the last expression is shown, as the tool showed it."""
    body = parsed(step.code).body
    if not body or not isinstance(body[-1], ast.Expr) or step.result in ("", _NO_OUTPUT):
        return step.code
    last = body[-1]
    value = last.value
    nothing = isinstance(value, ast.Call) and (
        _dotted(value.func).rpartition(".")[2] in _RETURN_NOTHING
    )
    if nothing or isinstance(value, ast.Await) or step.code.rstrip().endswith(";"):
        return step.code
    lines = step.code.encode().split(b"\n")  # offsets of the parser are bytes
    end_line, end = (last.end_lineno or 1) - 1, last.end_col_offset or 0
    # `a, b` would become two arguments.
    opened, closed = (f"{call}((", b"))") if isinstance(value, ast.Tuple) else (f"{call}(", b")")
    lines[end_line] = lines[end_line][:end] + closed + lines[end_line][end:]
    start = last.lineno - 1
    before, after = lines[start][: last.col_offset], lines[start][last.col_offset :]
    lines[start] = before + opened.encode() + after
    return b"\n".join(lines).decode()


def _has_code(code: str) -> bool:
    return bool(parsed(code).body)


def _dotted(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            return f"{_dotted(value)}.{name}"
    return ""


def _opens_for_writing(call: ast.Call) -> bool:
    modes = [k.value for k in call.keywords if k.arg == "mode"] or call.args[1:2]
    if not modes:
        return False
    mode = modes[0].value if isinstance(modes[0], ast.Constant) else "w"
    return not isinstance(mode, str) or any(letter in mode for letter in "wax+")

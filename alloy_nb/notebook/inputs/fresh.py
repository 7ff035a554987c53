"""A conversation that is older than its kernel: which of its names are gone."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Container, Iterable

from alloy_nb.markup.alongside import kernel_note, referenced
from alloy_nb.messages import Message, Text, ToolCall

__all__ = ["gone", "note"]

_MOST = 40


def gone(messages: Iterable[Message], namespace: Container[str]) -> list[str]:
    """Return the names that the conversation knows, and the kernel does not, in their order."""
    known: dict[str, None] = {}
    for message in messages:
        for block in message.content:
            if isinstance(block, Text) and message.role == "user":
                known.update(dict.fromkeys(filter(str.isidentifier, _referred(block.text))))
            elif isinstance(block, ToolCall) and block.name == "python":
                known.update(dict.fromkeys(_names(block.input.get("code"))))
    return [name for name in known if name not in namespace and not hasattr(builtins, name)]


def note(names: list[str]) -> str:
    """Return what the model is told with the next prompt."""
    lost = f" These names are gone: {_listed(names)}." if names else ""
    return kernel_note(
        "The Jupyter kernel is a new one since the conversation above: what code set there is not "
        f"in memory any more.{lost} Make again what you need; do not assume that it is there."
    )


def _referred(text: str) -> Iterable[str]:
    return (name for name, _ in referenced(text))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(names[:_MOST]) + more


def _names(code: object) -> list[str]:
    """Return the names that code sets or reads at its top level, functions' own left out."""
    if not isinstance(code, str):
        return []
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return list(dict.fromkeys(_of(tree)))


def _of(node: ast.AST) -> Iterable[str]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield child.name
                continue
            case ast.Lambda() | ast.comprehension():
                continue
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                continue
            case ast.Name():
                yield child.id
            case ast.alias():
                yield (child.asname or child.name).partition(".")[0]
        yield from _of(child)

"""Which names a piece of code reads, and which it sets. Pure: nothing runs here."""

from __future__ import annotations

import ast
import builtins
import warnings
from collections.abc import Iterable, Iterator, Sequence

__all__ = ["bound", "loaded", "needed", "parsed"]

# What a notebook has without anybody setting it.
_GIVEN = frozenset({*dir(builtins), "display", "get_ipython", "__name__", "__file__"})


def parsed(code: str) -> ast.Module:
    """Return code as a tree; an empty one for what is no Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return ast.Module([], [])


def needed(codes: Sequence[str]) -> list[str]:
    """Return the names that code reads before it has surely set them, in their order."""
    trees = [parsed(code) for code in codes]
    later = {name for tree in trees for node in ast.walk(tree) for name in bound(node)}
    flow = _Flow(frozenset(later))
    known: set[str] = set(_GIVEN)
    for tree in trees:
        known = flow.through(tree.body, known)
    return list(flow.needed)


class _Flow:
    """Follows code from statement to statement; what one of two branches sets is not sure."""

    def __init__(self, later: frozenset[str]) -> None:
        self.needed: dict[str, None] = {}
        self._later = later

    def through(self, body: Iterable[ast.stmt], known: set[str]) -> set[str]:
        """Return the names that are known after these statements."""
        for statement in body:
            known = self._after(statement, set(known))
        return known

    def _after(self, statement: ast.stmt, known: set[str]) -> set[str]:
        match statement:
            case ast.If(test=test, body=body, orelse=orelse):
                self._read(test, known)
                return self.through(body, known) & self.through(orelse, known)
            case ast.For() | ast.AsyncFor():
                self._read(statement.iter, known)
                known |= _all_bound(statement.target)
                return self.through([*statement.body, *statement.orelse], known)
            case ast.While(test=test, body=body, orelse=orelse):
                self._read(test, known)
                return self.through([*body, *orelse], known)
            case ast.With() | ast.AsyncWith():
                for item in statement.items:
                    self._read(item.context_expr, known)
                    known |= _all_bound(item.optional_vars)
                return self.through(statement.body, known)
            case ast.Try() | ast.TryStar():
                return self._after_try(statement, known)
            case ast.Match(subject=subject, cases=cases):
                self._read(subject, known)
                ends = [self._after_case(case, set(known)) for case in cases]
                return set.intersection(known, *ends)
        self._read(statement, known)
        for node in _of_module(statement):
            known |= bound(node)
        return known

    def _after_try(self, statement: ast.Try | ast.TryStar, known: set[str]) -> set[str]:
        for handler in statement.handlers:
            if handler.type is not None:
                self._read(handler.type, known)
            self.through(handler.body, known | bound(handler))
        known = self.through([*statement.body, *statement.orelse], known)
        return self.through(statement.finalbody, known)

    def _after_case(self, case: ast.match_case, known: set[str]) -> set[str]:
        self._read(case.pattern, known)
        known |= _all_bound(case.pattern)
        if case.guard is not None:
            self._read(case.guard, known)
        return self.through(case.body, known)

    def _read(self, node: ast.AST, known: set[str]) -> None:
        inside, here = _in_functions(node), _walrus(node)
        for name in loaded(node):
            # A function may use what is set only after it: it is called later.
            called_later = name in inside and name in self._later
            if name not in known and name not in here and not called_later:
                self.needed.setdefault(name)
        known |= here


def loaded(node: ast.AST) -> list[str]:
    """Return the names that code reads, without those that are local to a part of it."""
    found: dict[str, None] = {}
    _read_into(node, frozenset(), found)
    return list(found)


def _read_into(node: ast.AST, local: frozenset[str], found: dict[str, None]) -> None:
    match node:
        case ast.Name(id=name, ctx=ast.Load() | ast.Del()):
            if name not in local:
                found.setdefault(name)
        case ast.AugAssign(target=ast.Name(id=name)):
            if name not in local:
                found.setdefault(name)
            _read_into(node.value, local, found)
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
            outside: list[ast.AST] = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
            outside += getattr(node, "decorator_list", [])
            for each in outside:
                _read_into(each, local, found)
            body = node.body if isinstance(node.body, list) else [node.body]
            inner = local | _parameters(node.args) | _assigned(body)
            for each in body:
                _read_into(each, inner, found)
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            inner = local | _assigned([g.target for g in node.generators])
            for child in ast.iter_child_nodes(node):
                _read_into(child, inner, found)
        case ast.ClassDef():
            for each in [*node.bases, *node.decorator_list, *(k.value for k in node.keywords)]:
                _read_into(each, local, found)
            inner = local | _assigned(node.body)
            for each in node.body:
                _read_into(each, inner, found)
        case ast.ExceptHandler(name=str(name)):
            for child in ast.iter_child_nodes(node):
                _read_into(child, local | {name}, found)
        case _:
            for child in ast.iter_child_nodes(node):
                _read_into(child, local, found)


def _parameters(arguments: ast.arguments) -> frozenset[str]:
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [each for each in (arguments.vararg, arguments.kwarg) if each is not None]
    return frozenset(each.arg for each in every)


def _assigned(body: Iterable[ast.AST]) -> frozenset[str]:
    """Return the names that a function's body makes its own."""
    nodes = [node for part in body for node in ast.walk(part)]
    shared = {name for node in nodes if isinstance(node, ast.Global) for name in node.names}
    return frozenset(name for node in nodes for name in bound(node)) - shared


def _in_functions(statement: ast.AST) -> set[str]:
    """Return the names that are read only when something that is defined here is called."""
    names: set[str] = set()
    for node in ast.walk(statement):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            names |= set(loaded(node))
    return names


def _of_module(statement: ast.stmt) -> Iterator[ast.AST]:
    """Yield a statement's parts, but not those inside of functions and classes."""
    yield statement
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return
    pending = list(ast.iter_child_nodes(statement))
    while pending:
        node = pending.pop()
        yield node
        inner = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.comprehension)
        if not isinstance(node, inner):
            pending += ast.iter_child_nodes(node)


def _all_bound(node: ast.AST | None) -> set[str]:
    return {name for part in ast.walk(node) for name in bound(part)} if node is not None else set()


def _walrus(node: ast.AST) -> set[str]:
    return {n.target.id for n in ast.walk(node) if isinstance(n, ast.NamedExpr)}


def bound(node: ast.AST) -> set[str]:
    """Return the names that this node itself sets."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()):
            return {name}
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return {node.name}
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return {a.asname or a.name.partition(".")[0] for a in names}
        case ast.ExceptHandler(name=str(name)):
            return {name}
        case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            return {name}
        case ast.MatchMapping(rest=str(name)):
            return {name}
    return set()

"""The walls of the house: who may import whom, and what every module owes its reader."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import alloy_nb

ROOT = Path(alloy_nb.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
# A room may use what stands to its left.
ROOMS = ("vocabulary", "markup", "providers", "engine", "tools", "analysis", "notebook")
VOCABULARY = {"messages", "events", "usage", "errors", "secrets"}
FACES = {"IPython", "ipywidgets", "anywidget", "nest_asyncio", "nest_asyncio2"}
WIRES = ("anthropic", "chat", "responses", "gemini", "xai", "codex")


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imported(path: Path, *, at_run_time_of_module: bool = False) -> Iterator[tuple[str, int]]:
    """Yield every module that a file imports, inside functions too, and the line."""
    for node in nodes(tree(path), module_level=at_run_time_of_module):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} is a relative import"
            base = str(node.module)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield (full if full in MODULES else base), node.lineno


def nodes(root: ast.AST, *, module_level: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(root):
        yield child
        if module_level and isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if module_level and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield from nodes(child, module_level=module_level)


def room_of(module: str) -> str | None:
    """Return the room of one of our modules; the doors of the house have none."""
    parts = module.split(".")
    if len(parts) == 1 or parts[1] in ("cli", "__main__", "testing"):
        return None
    return "vocabulary" if parts[1] in VOCABULARY else parts[1]


def test_every_module_is_in_a_room():
    rooms = {room_of(module) for module in MODULES} - {None}
    assert rooms <= set(ROOMS), f"new rooms need a place in the order: {rooms - set(ROOMS)}"


def test_a_room_imports_only_from_rooms_to_its_left():
    wrong = []
    for module, path in MODULES.items():
        room = room_of(module)
        for target, line in imported(path):
            if room is None or not target.startswith("alloy_nb"):
                continue
            other = room_of(target)
            if other is None or ROOMS.index(other) > ROOMS.index(room):
                wrong.append(f"{path.name}:{line} ({room}) imports {target}")
    assert not wrong, "\n".join(wrong)


def importers(*packages: str) -> dict[str, list[str]]:
    """Return who imports these packages, anywhere in the file."""
    found: dict[str, list[str]] = {}
    for module, path in MODULES.items():
        for target, _ in imported(path):
            if target.split(".")[0] in packages and module not in found.setdefault(
                target.split(".")[0], []
            ):
                found[target.split(".")[0]].append(module)
    return found


def type_checking_only(module: str, package: str) -> bool:
    """Tell whether a module imports a package for the type checker alone."""
    inside: set[int] = set()
    for node in ast.walk(tree(MODULES[module])):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            inside |= {getattr(n, "lineno", 0) for n in ast.walk(node)}
    return all(
        line in inside
        for target, line in imported(MODULES[module])
        if target.split(".")[0] == package
    )


def test_only_the_faces_import_ipython_and_widgets():
    wrong = [
        f"{module} imports {package}"
        for package, modules in importers(*FACES).items()
        for module in modules
        if not module.startswith(("alloy_nb.notebook", "alloy_nb.cli"))
        and not type_checking_only(module, package)
    ]
    assert not wrong


def test_only_the_transport_and_the_demo_import_httpx():
    users = importers("httpx", "httpcore", "httpx2").get("httpx", [])
    assert "alloy_nb.providers.http" in users
    assert all(
        m == "alloy_nb.providers.http" or m.startswith("alloy_nb.providers.demo") for m in users
    ), users


def test_nest_asyncio_is_imported_in_one_file():
    modules = {m for found in importers("nest_asyncio", "nest_asyncio2").values() for m in found}
    by_name = {
        module
        for module, path in MODULES.items()
        if re.search(r"import_module\([^)]*nest_asyncio", path.read_text())
    }
    assert len(modules | by_name) == 1, modules | by_name


def test_wires_do_not_import_each_other():
    def wire_of(module: str) -> str | None:
        name = module.removeprefix("alloy_nb.providers.").removesuffix("_decoder")
        return name if name in WIRES else None

    wrong = [
        f"{module} imports {target}"
        for module in MODULES
        for target, _ in imported(MODULES[module])
        if wire_of(module) and wire_of(target) and wire_of(module) != wire_of(target)
    ]
    # xAI speaks the Responses format, with tools and sources of its own.
    assert set(wrong) <= {
        "alloy_nb.providers.xai imports alloy_nb.providers.responses",
        "alloy_nb.providers.xai imports alloy_nb.providers.responses_decoder",
    }


@pytest.mark.parametrize("module", ["drawing.transcript", "drawing.render"])
def test_what_a_second_face_would_reuse_imports_no_ipython(module):
    code = f"""
import importlib, sys
importlib.import_module("alloy_nb.notebook.{module}")
print([m for m in sys.modules if m.split(".")[0] in {sorted(FACES)}])
"""
    assert run_python(code) == "[]"


def test_modules_do_not_import_each_other_in_a_circle():
    graph = {
        module: {
            target
            for target, _ in imported(path, at_run_time_of_module=True)
            if target in MODULES and target != module and target != "alloy_nb"
        }
        for module, path in MODULES.items()
    }
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join([*above[above.index(module) :], module])
        if module not in done:
            for target in graph[module]:
                visit(target, (*above, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout.strip()


def test_importing_the_package_imports_nothing_heavy():
    heavy = ["IPython", "ipywidgets", "anywidget", "httpx", "click", "rich", "genai_prices"]
    assert run_python(f"import sys, alloy_nb; print([m for m in {heavy} if m in sys.modules])") == (
        "[]"
    )


def test_every_broad_except_says_why():
    wrong = []
    for path in FILES:
        lines = path.read_text().split("\n")
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.ExceptHandler):
                continue
            caught = "" if node.type is None else ast.unparse(node.type)
            broad = node.type is None or re.search(r"\b(Base)?Exception\b", caught)
            # Cleaning up and raising again hides nothing.
            again = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
            head = "\n".join(lines[node.lineno - 1 : node.body[0].lineno])
            if broad and not again and "# " not in head:
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} except {caught}")
    assert not wrong, "\n".join(wrong)


def exported(path: Path) -> list[str] | None:
    for node in tree(path).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return None


@pytest.mark.parametrize("module", [m for m in MODULES if exported(MODULES[m]) is not None])
def test_every_exported_name_exists_in_order(module):
    names = exported(MODULES[module])
    loaded = importlib.import_module(module)
    assert [name for name in names if not hasattr(loaded, name)] == []
    # Constants first, then classes, then functions, each by the alphabet: as ruff sorts them.
    assert names == sorted(names, key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    assert len(set(names)) == len(names)


def test_every_public_thing_has_a_docstring():
    wrong = []
    for path in FILES:
        if not ast.get_docstring(tree(path)) and path.read_text().strip():
            wrong.append(str(path.relative_to(ROOT)))
        for owner, node in definitions(tree(path)):
            hidden = any(part.startswith("_") for part in (*owner, node.name))
            if hidden or ast.get_docstring(node) or is_overload(node):
                continue
            if f"{node.name}.__doc__ = " not in path.read_text():  # made at run time
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert not wrong, "\n".join(wrong)


def is_overload(node: ast.AST) -> bool:
    return any("overload" in ast.unparse(d) for d in getattr(node, "decorator_list", ()))


Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def definitions(
    root: ast.AST, owner: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Definition]]:
    for node in ast.iter_child_nodes(root):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield owner, node
        if isinstance(node, ast.ClassDef):
            yield from definitions(node, (*owner, node.name))


def test_no_module_is_longer_than_a_reader_bears():
    longest = {str(p.relative_to(ROOT)): len(p.read_text().split("\n")) for p in FILES}
    assert {name: lines for name, lines in longest.items() if lines > 520} == {}

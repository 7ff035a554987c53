"""The panel's front end as text: what is joined, and what a type checker says of the modules.

TypeScript comes from npm, as `npm` has it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.resources import as_file, files
from pathlib import Path

import pytest

from alloy_nb.notebook import front
from tests.conftest import required
from tests.npm import from_npm

LARGEST = 114_000  # bytes, which each panel sends to the page once


def folder():
    return as_file(files(front))


def node(*arguments):
    program = shutil.which("node")
    if program is None:
        (pytest.fail if required("axe") else pytest.skip)("no Node.js")
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=300)


def compiler() -> Path:
    """Return TypeScript's program; where npm's packages must be there, it is installed."""
    return from_npm("typescript@7.0", folder="typescript", file="typescript/bin/tsc")


def test_every_module_of_the_folder_is_joined_but_for_the_shapes_which_only_types_have():
    with folder() as place:
        assert {path.stem for path in place.glob("*.js")} == {*front.MODULES, *front.CARD, "shapes"}


def test_the_joined_text_imports_nothing_and_exports_one_thing():
    lines = front.script().splitlines()
    assert [line for line in lines if re.match(r"import\b|.*\bimport\(", line)] == []
    assert [line for line in lines if line.startswith("export")] == [
        "export default { initialize, render };"
    ]


def test_a_module_stands_below_those_that_it_uses():
    with folder() as place:
        for position, name in enumerate(front.MODULES):
            used = re.findall(r'^import .* from "\./(\w+)\.js";$', _text(place, name), re.M)
            assert {*used} <= {*front.MODULES[:position]}, name


def test_no_module_is_longer_than_a_room_should_be():
    with folder() as place:
        for name in front.MODULES:
            assert _text(place, name).count("\n") < 450, name


def test_the_text_is_no_heavier_than_it_was_meant_to_be():
    assert len(front.script().encode()) + len(front.style().encode()) < LARGEST


def test_neither_text_names_an_address():
    text = re.sub(r"http://www\.w3\.org/2000/svg", "", front.script() + front.style())
    assert re.findall(r"(?:https?:)?//[\w.-]+\.\w+", text) == []
    assert "url(" not in front.style()


def test_html_is_parsed_in_one_place_alone():
    found = [
        line.strip()
        for line in front.script().splitlines()
        if re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", line)
    ]
    assert found == ["template.innerHTML = html;"]


def test_the_joined_text_is_a_module_that_node_can_read(tmp_path):
    path = tmp_path / "panel.mjs"
    path.write_text(front.script(), encoding="utf-8")
    done = node("--check", str(path))
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_type_checker_finds_nothing_in_the_modules():
    program = compiler()
    strict = ("--allowJs", "--checkJs", "--noEmit", "--strict", "--noFallthroughCasesInSwitch")
    where = ("--target", "es2022", "--module", "es2022", "--moduleResolution", "bundler")
    with folder() as place:
        done = node(
            *(str(program), *strict, *where, "--lib", "es2022,dom,dom.iterable"),
            str(place / "main.js"),
            str(place / "card.js"),
        )
    assert done.returncode == 0, done.stdout + done.stderr


def _text(place: Path, name: str) -> str:
    return (place / f"{name}.js").read_text(encoding="utf-8")

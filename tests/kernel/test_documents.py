"""A notebook with answers runs without a person, and reads well wherever it is opened."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbconvert import HTMLExporter, MarkdownExporter

from tests.browser.lab import _write_kernel_spec
from tests.kernel_harness import REPOSITORY, clean_environment

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

FIRST = REPOSITORY / "notebooks" / "01-first-cell.ipynb"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """An environment with a kernel and without keys, and a folder to work in."""
    folder = tmp_path_factory.mktemp("documents")
    environment = clean_environment(folder / "home", {"ALLOY_DEMO_PACE": "0"})
    environment["JUPYTER_PREFER_ENV_PATH"] = "0"
    _write_kernel_spec(Path(environment["JUPYTER_DATA_DIR"]))
    return folder, environment


def jupyter(world, command, *arguments):
    """Run a command of Jupyter's, as one types it."""
    folder, environment = world
    return subprocess.run(
        [sys.executable, "-m", "jupyter", command, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


def executed(world, cells, *options):
    """Execute code cells with ``jupyter execute``; return the outcome and the notebook."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    path = world[0] / "cells.ipynb"
    nbformat.write(book, path)
    ran = jupyter(world, "execute", "--inplace", "--kernel_name=python3", *options, str(path))
    return ran, nbformat.read(path, as_version=4)


@pytest.fixture(scope="module")
def first(world):
    """The first notebook, executed."""
    path = world[0] / FIRST.name
    path.write_bytes(FIRST.read_bytes())
    ran = jupyter(world, "execute", "--inplace", "--kernel_name=python3", str(path))
    assert ran.returncode == 0, ran.stderr
    return path


@pytest.fixture(scope="module")
def outputs(first):
    book = nbformat.read(first, as_version=4)
    return [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]


def plain(output):
    return output.get("text") or output.get("data", {}).get("text/plain", "")


def test_the_first_notebook_runs_offline_and_without_a_key(outputs):
    assert not [output for output in outputs if output.output_type == "error"]
    assert sum("↑" in plain(output) for output in outputs) >= 3


def test_no_output_is_the_name_of_an_object(outputs):
    for output in outputs:
        for text in (plain(output), *output.get("data", {}).values()):
            assert "<IPython" not in text
            assert "object at 0x" not in text
            assert "[object Object]" not in text


def test_every_output_of_an_answer_has_three_forms(outputs):
    ours = [o for o in outputs if "text/markdown" in o.get("data", {})]
    assert len(ours) > 10
    assert all({"text/html", "text/plain"} <= set(output.data) for output in ours)


def test_nothing_that_was_drawn_on_the_way_is_left(outputs):
    for output in outputs:
        assert not re.search("waiting|⏳|💭|running|waits for you", plain(output)), plain(output)


def test_the_saved_notebook_is_a_valid_document(first):
    nbformat.validate(nbformat.read(first, as_version=4))


def test_the_saved_notebook_holds_no_path_of_this_machine(first, world):
    assert str(REPOSITORY) not in first.read_text()
    assert str(world[1]["HOME"]) not in first.read_text()


@pytest.mark.filterwarnings("ignore")  # of nbconvert's own making
@pytest.mark.parametrize("exporter", [HTMLExporter, MarkdownExporter])
def test_a_converted_notebook_holds_the_answer_the_tools_and_the_footer(first, exporter):
    text, _ = exporter().from_filename(str(first))
    book = nbformat.read(first, as_version=4)
    (cell,) = [c for c in book.cells if "What stands out" in c.source and c.cell_type == "code"]
    words = re.findall(r"[A-Za-z_]{4,}", plain(cell.outputs[-2]))[:5]
    assert all(word in text for word in words)
    assert "<summary>Thought for" in text
    assert re.search("🔧 <code>python</code> ✓", text)
    assert re.search(r"↑[\d.]+k? ↓", text)
    assert "no model was asked" in text
    assert "object at 0x" not in text


def test_the_plain_form_alone_reads_as_a_conversation(outputs):
    text = "\n".join(plain(output) for output in outputs)
    for fact in ("Thought for", "🔧 python ✓", "→ ", "↑", "no model was asked"):
        assert fact in text
    assert "<div" not in text
    assert "<details" not in text


@pytest.fixture(scope="module")
def unattended(world):
    """What becomes of cells that need a person, a key or a server, where none is there."""
    cells = [
        "%load_ext alloy_nb",
        "%%alloy\nWhat is 6 * 7?",
        "%%alloy -m openai-compat/x --base-url http://127.0.0.1:9\nhello",
        "print('went on')",
    ]
    ran, book = executed(world, cells, "--allow-errors")
    assert ran.returncode == 0, ran.stderr
    return [cell.outputs for cell in book.cells]


def test_without_a_person_calls_are_denied_and_the_notebook_goes_on(unattended):
    assert "✗ not allowed" in "\n".join(plain(output) for output in unattended[1])
    assert "went on" in plain(unattended[3][0])


def test_a_failure_that_is_allowed_is_one_line_in_the_document(unattended):
    (error,) = [output for output in unattended[2] if output.output_type == "error"]
    assert error.ename == "ConnectionFailed"
    assert len(error.traceback) == 1


def test_a_failure_ends_the_notebook_with_a_real_error(world):
    cells = ["%load_ext alloy_nb", "%%alloy -m anthropic/claude-sonnet-4-6\nhello", "after = 1"]
    ran, book = executed(world, cells)
    assert ran.returncode != 0
    assert "ANTHROPIC_API_KEY" in ran.stderr
    assert book.cells[2].execution_count is None


def test_the_facts_of_an_answer_are_in_its_metadata(first):
    book = json.loads(first.read_text())
    facts = [
        output["metadata"]["alloy"]
        for cell in book["cells"]
        for output in cell.get("outputs", ())
        if "alloy" in output.get("metadata", {})
    ]
    assert len(facts) >= 3
    assert {fact["status"] for fact in facts} == {"completed"}
    assert {fact["model"] for fact in facts} == {"demo"}

"""A report of findings leads from each number to what computed it, and nothing in it is live."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from markdown_it import MarkdownIt

from alloy_nb.analysis.findings import Evidence, Finding
from alloy_nb.analysis.report import ENDINGS, Looked, report_of, write
from alloy_nb.errors import ConfigError
from alloy_nb.messages import Text, ToolCall, ToolResult
from tests.notebook.hostile import CONTROL, PAYLOADS, as_jupyterlab, offences

KEY = "sk-ant-api03-" + "Ab3" * 12


def ran(code: str, result: str, *, failed: bool = False, number: int = 1) -> Evidence:
    call = ToolCall(id=f"c{number}", name="python", input={"code": code})
    said = ToolResult(call_id=f"c{number}", content=(Text(text=result),), is_error=failed)
    return Evidence(f"python #{number}", "call", 1, call, said)


MEAN = ran("df.price.mean()", "12.34")
COUNT = ran("len(df)", "178", number=2)


def found(claim: str, *evidence: Evidence, number: int = 1, **more: str) -> Finding:
    return Finding(number, claim, "high", evidence, **more)


def written(tmp_path: Path, ending: str, *findings: Finding, **more: object) -> str:
    path = tmp_path / f"report{ending}"
    write(report_of(findings, **more), path)
    return path.read_text()


BOTH = found("The mean of 178 rows is 12.3.", MEAN, COUNT)


def test_each_number_links_to_the_call_that_computed_it(tmp_path):
    text = written(tmp_path, ".md", BOTH)
    assert "The mean of [178](#evidence-2) rows is [12.3](#evidence-1)." in text


def test_each_link_of_a_page_has_its_place_in_it(tmp_path):
    text = written(tmp_path, ".html", BOTH)
    targets = set(re.findall(r'href="#([^"]+)"', text))
    assert targets == {"evidence-1", "evidence-2"}
    assert targets <= set(re.findall(r'id="([^"]+)"', text))
    assert '<a href="#evidence-1">12.3</a>' in text


def test_each_link_of_markdown_leads_to_a_heading_of_that_name(tmp_path):
    text = written(tmp_path, ".md", BOTH)
    headings = set(re.findall(r"^### (.+)$", text, re.M))
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) == headings


def test_a_notebook_has_the_python_as_a_cell_to_run_with_its_output(tmp_path):
    book = nbformat.reads(written(tmp_path, ".ipynb", BOTH), as_version=4)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [cell.source for cell in code] == ["df.price.mean()", "len(df)"]
    assert code[0].outputs[0].text == "12.34\n"
    before = book.cells[book.cells.index(code[0]) - 1].source
    assert before.startswith("### evidence-1")
    assert "[12.3](#evidence-1)" in book.cells[0].source


def test_evidence_that_two_findings_share_stands_there_once(tmp_path):
    text = written(tmp_path, ".md", found("It is 12.3.", MEAN), found("12 it is.", MEAN, number=2))
    assert text.count("### evidence-") == 1


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_number_that_no_evidence_holds_is_said_to_be_unproven(tmp_path, ending):
    text = written(tmp_path, ending, found("It is 99.", MEAN))
    assert re.search(r"Not found in the evidence: 99", text)


def test_a_call_that_failed_proves_no_number(tmp_path):
    text = written(tmp_path, ".md", found("It is 7.", ran("1/0", "failed at line 7", failed=True)))
    assert "Not found in the evidence: 7" in text
    assert "It failed." in text


def test_code_that_failed_is_no_cell_to_run(tmp_path):
    text = written(tmp_path, ".ipynb", found("It is 7.", ran("1/0", "7", failed=True)))
    assert all(cell.cell_type == "markdown" for cell in nbformat.reads(text, as_version=4).cells)


def test_what_has_changed_and_what_was_not_checked_is_said(tmp_path):
    text = written(
        tmp_path, ".md", found("x", MEAN, caveat="Only March.", changed="df rows 3 -> 2")
    )
    assert "But: Only March." in text
    assert "Changed since: df rows 3 -&#62; 2." in text


def test_cells_and_variables_are_looked_up(tmp_path):
    shown = Looked("df = load()", "3 rows")
    text = written(
        tmp_path, ".md", found("There are 3.", Evidence("In[2]", "cell")), look=lambda _: shown
    )
    assert "There are [3](#evidence-1)." in text
    assert "df = load()" in text


def test_evidence_that_is_not_there_is_named(tmp_path):
    text = written(tmp_path, ".md", found("x", Evidence("my feeling", "unknown")))
    assert "Named as evidence, and not there: my feeling." in text


def test_an_ending_that_is_no_report_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"use FILE\.md, \.html, \.ipynb"):
        write(report_of([BOTH]), tmp_path / "report.pdf")


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_report_replaces_an_older_one_and_nothing_else(tmp_path, ending):
    path = tmp_path / f"report{ending}"
    write(report_of([BOTH]), path)
    write(report_of([BOTH]), path)
    path.write_text("mine")
    with pytest.raises(ConfigError, match="exists and is no export"):
        write(report_of([BOTH]), path)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_report_holds_no_key(tmp_path, ending):
    claim = found(f"The key is {KEY}.", ran(f"key = '{KEY}'", KEY), caveat=KEY)
    assert KEY not in written(tmp_path, ending, claim)


@pytest.mark.parametrize("name", {**PAYLOADS, **CONTROL})
def test_hostile_text_is_harmless_in_each_form(tmp_path, name):
    text = {**PAYLOADS, **CONTROL}[name]
    hostile = found(
        text, ran(text, text), Evidence(text[:100], "unknown"), caveat=text, changed=text
    )
    page = written(tmp_path, ".html", hostile)
    body = page[page.index("<main>") : page.index("</main>")]
    ours = ("<main>", "<section>", "<h3>", "section ", "h3 ", "p class=", "span class=", "a href=#")
    assert [o for o in offences(body) if not o.startswith(ours)] == []
    # The links within the document are ours, and so is the mark at its beginning.
    markdown = written(tmp_path, ".md", hostile).replace("<!-- alloy_nb -->", "", 1)
    assert [o for o in as_jupyterlab(markdown) if not re.search(r"a href=#evidence-\d+$", o)] == []
    book = nbformat.reads(written(tmp_path, ".ipynb", hostile), as_version=4)
    for cell in book.cells:
        if cell.cell_type == "markdown":
            live = [o for o in as_jupyterlab(cell.source) if "href=#evidence-" not in o]
            assert live == []


def test_a_page_runs_nothing_and_fetches_nothing(tmp_path):
    text = written(tmp_path, ".html", BOTH)
    assert "default-src 'none'" in text
    assert "<script" not in text


def test_markdown_reads_as_a_list_of_claims_and_their_evidence(tmp_path):
    html = MarkdownIt().render(written(tmp_path, ".md", BOTH))
    assert "<h2>Evidence</h2>" in html
    assert '<a href="#evidence-1">12.3</a>' in html

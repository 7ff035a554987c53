"""An exported page in Chromium, opened from disk: it asks nobody for anything and is readable."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

import alloy_nb as al
from alloy_nb.engine import export
from tests.browser.pages import faint, opened
from tests.engine.scripted import Scripted, says
from tests.engine.test_export import HOSTILE, hostile_record
from tests.engine.told import told_session

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory) -> Path:
    return told_session().export(tmp_path_factory.mktemp("page") / "told.html")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1100])
def test_it_opens_from_disk_asks_for_nothing_and_fits(chromium, page_file, scheme, width):
    with opened(chromium, page_file, width=width, scheme=scheme) as found:
        page = found.page
        assert (found.requests, found.errors) == ([], [])
        assert page.title() == "Sales & margins"
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        for summary in page.locator("summary").all():
            summary.click()
        assert page.get_by_text("total 45").is_visible()
        assert faint(page.locator("body")) == []
        assert (found.requests, found.errors) == ([], [])


def test_thinking_and_tools_are_folded_until_they_are_opened(chromium, page_file):
    with opened(chromium, page_file) as found:
        call = found.page.get_by_text("total 45")
        assert not call.is_visible()
        found.page.locator("summary", has_text=re.compile("python")).first.click()
        assert call.is_visible()


@pytest.fixture
def answered(chromium, tmp_path):
    """Open the page of one answer, on a narrow screen."""

    @contextlib.contextmanager
    def open_(text: str) -> Iterator[Page]:
        session = al.Session(provider=Scripted(says(text)))
        session.chat("Tell me.")
        path = session.export(tmp_path / "answer.html")
        with opened(chromium, path, width=360) as found:
            yield found.page

    return open_


def test_a_number_in_a_wide_table_stands_on_one_line(answered):
    head = "| year | what was sold in it | where it was sold | revenue |\n|-|-|-|-:|\n"
    with answered(f"{head}| 2024 | pears | in Bonn and elsewhere | 10,000,000.55 |") as page:
        number = page.get_by_text("10,000,000.55")
        assert number.evaluate(_LINES) == 1
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_text_from_right_to_left_begins_at_the_right(answered):
    with answered("Hello.\n\nשלום!") as page:
        places = "e => { const p = e.getBoundingClientRect(), r = document.createRange(); "
        places += "r.selectNodeContents(e); const t = r.getBoundingClientRect(); "
        places += "return [t.left - p.left, p.right - t.right]; }"
        left, right = page.get_by_text("שלום").evaluate(places)
        assert left > right


_LINES = "e => { const r = document.createRange(); r.selectNodeContents(e); "
_LINES += "return new Set([...r.getClientRects()].map(b => Math.round(b.top))).size; }"


def test_hostile_text_does_nothing_in_the_page(chromium, tmp_path):
    texts = list(HOSTILE.values())
    path = tmp_path / "hostile.html"
    for start in range(0, len(texts), 60):
        record = hostile_record("\n\n".join(texts[start : start + 60]))
        # Each alone as well: one that opens code would hide those below it.
        pages = [record, *(hostile_record(text) for text in texts[start : start + 60])]
        body = "\n".join(_body(export.as_text(each, ".html")) for each in pages)
        whole = export.as_text(record, ".html")
        path.write_bytes(whole.replace(_body(whole), body).encode("utf-8", "replace"))
        with opened(chromium, path) as found:
            assert (found.requests, found.errors) == ([], [])
            assert found.page.evaluate("document.scripts.length") == 0


def _body(text: str) -> str:
    return text[text.index("<body>") + 6 : text.index("</body>")]


def test_a_script_that_got_in_all_the_same_would_not_run(chromium, tmp_path, page_file):
    """The policy is the second wall: it holds where escaping would have failed."""
    text = page_file.read_text()
    evil = "<script>document.title = 'ran'</script><img src='http://127.0.0.1:9/x.png'>"
    path = tmp_path / "evil.html"
    path.write_text(text.replace("<main>", f"<main>{evil}"))
    with opened(chromium, path) as found:
        assert found.page.title() == "Sales & margins"
        assert found.requests == []
        assert len(found.errors) >= 2  # the browser says what it refused

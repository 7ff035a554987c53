"""The notebook with an analysis, as a reader sees it in JupyterLab: whole, and in both themes."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.kernel_harness import REPOSITORY
from tests.servers.sse import STALL, Server, stream

pytest.importorskip("sklearn", reason="its table is scikit-learn's, of the extra `test`")

THIRD = REPOSITORY / "notebooks" / "03-explore.ipynb"
CELLS = json.loads(THIRD.read_text())["cells"]
NUMBERS = {cell["id"]: number for number, cell in enumerate(CELLS)}

# Each text that is drawn, with the contrast between it and what is behind it, as WCAG 2.2 counts
# (https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio, 2026-11-21). Opacity is taken for a mixture of
# the text with the ground, which it is where nothing but the ground is behind.
CONTRASTS = """area => {
    const parse = colour => {
        const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number);
        return {r, g, b, a};
    };
    const over = (top, below, alpha) => ({
        r: top.r * alpha + below.r * (1 - alpha),
        g: top.g * alpha + below.g * (1 - alpha),
        b: top.b * alpha + below.b * (1 - alpha),
    });
    const light = ({r, g, b}) => {
        const [x, y, z] = [r, g, b].map(v => v / 255).map(
            v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const ground = node => {
        const layers = [];
        for (let at = node; at; at = at.parentElement) {
            const colour = parse(getComputedStyle(at).backgroundColor);
            if (colour.a > 0) layers.push(colour);
            if (colour.a === 1) break;
        }
        return layers.reverse().reduce((below, top) => over(top, below, top.a),
                                       {r: 255, g: 255, b: 255});
    };
    const seen = [];
    const walker = document.createTreeWalker(area, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const text = walker.currentNode.data.trim(), node = walker.currentNode.parentElement;
        if (!text || !node.getClientRects().length) continue;
        let alpha = 1;
        for (let at = node; at; at = at.parentElement) alpha *= +getComputedStyle(at).opacity;
        const colour = parse(getComputedStyle(node).color), below = ground(node);
        const drawn = over(colour, below, colour.a * alpha);
        const [high, low] = [light(drawn), light(below)].sort((a, b) => b - a);
        seen.push([(high + 0.05) / (low + 0.05), text.slice(0, 60), node.tagName]);
    }
    return seen.sort((a, b) => a[0] - b[0]);
}"""
LEGIBLE = 4.5


@pytest.fixture(scope="module")
def lab(start_lab, tmp_path_factory):
    """A lab without keys, so that the demo answers."""
    with start_lab(tmp_path_factory.mktemp("explore"), env={"ALLOY_DEMO_PACE": "0"}) as running:
        yield running


@pytest.fixture(scope="module")
def explored(lab):
    """The notebook as it is stored, all of it run in the browser, with all that folds open."""
    # So high that a cell is drawn whole.
    lab.page.set_viewport_size({"width": 1280, "height": 2600})
    notebook = lab.open_notebook(THIRD, name=THIRD.name)
    notebook.run_all(timeout=300)
    lab.assert_clean()
    return notebook


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Where screenshots go: ``ALLOY_SCREENSHOTS`` names a folder to look at them in."""
    folder = os.environ.get("ALLOY_SCREENSHOTS")
    return Path(folder) if folder else tmp_path_factory.mktemp("pictures")


def place(name):
    """The number of a cell now: what was promoted was put in as a cell."""
    return NUMBERS[name] + (NUMBERS[name] > NUMBERS["promote"])


def test_it_runs_to_its_end(explored):
    assert "0 were sent" in explored.text(place("sent-check"))
    assert "messages written to report.html" in explored.text(place("report"))
    for name in NUMBERS:
        assert "Traceback" not in explored.text(place(name)), name


def test_the_figure_is_drawn_once_in_its_cell_and_again_by_the_promoted_code(explored):
    for name in ("plot", "promoted"):
        pictures = explored.output(place(name)).locator("img")
        assert pictures.count() == 1
        assert pictures.evaluate("img => img.naturalWidth") > 300


def test_what_was_promoted_is_offered_as_the_next_cell(explored):
    following = explored.cell(NUMBERS["promote"] + 1)
    assert "box_plot" in following.locator(".jp-InputArea-editor").inner_text()


def test_the_page_asked_nobody_and_no_script_failed(explored):
    explored.lab.assert_clean()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["load", "look", "plot", "change", "names", "private", "cost"])
def test_every_text_can_be_read_in_each_theme(explored, theme, name):
    explored.lab.set_theme(theme)
    area = explored.output(place(name))
    area.evaluate("area => area.querySelectorAll('details').forEach(d => { d.open = true; })")
    faint = [
        (round(contrast, 2), tag, text)
        for contrast, text, tag in area.evaluate(CONTRASTS)
        if contrast < LEGIBLE
    ]
    assert not faint


@pytest.mark.parametrize("name", ["look", "plot", "see", "change", "context", "cost", "timeline"])
def test_each_part_has_its_picture_in_each_theme(explored, pictures, name):
    light, dark = explored.screenshots(pictures, f"explore-{name}", place(name))
    assert light.read_bytes() != dark.read_bytes()


# --- while it streams ---------------------------------------------------------------------------


def test_the_line_that_says_what_goes_on_is_a_polite_live_region_and_nothing_moves(lab):
    with Server(otherwise=lambda request: stream([STALL])) as server:
        flags = f"-m openai-compat/scripted --base-url {server.url}"
        notebook = lab.open_notebook(["%load_ext alloy_nb", f"%%alloy {flags}\nhello"])
        lab.page.emulate_media(reduced_motion="reduce")
        notebook.run(0)
        notebook.start(1)
        notebook.wait_text(1, "waiting")
        line = notebook.output(1).get_by_role("status")
        assert line.get_attribute("aria-live") == "polite"
        # What counts up is not read out each second.
        counted = line.locator("[aria-hidden=true]", has_text=re.compile(r"\d+ s"))
        expect(counted).to_have_count(1)
        moving = notebook.output(1).evaluate(
            "area => [...area.querySelectorAll('*')].filter(n => { const s = getComputedStyle(n);"
            " return s.animationName !== 'none' || parseFloat(s.transitionDuration) > 0; }).length"
        )
        assert moving == 0
        notebook.interrupt()
        notebook.wait_text(1, "stopped")
        lab.page.emulate_media(reduced_motion="no-preference")

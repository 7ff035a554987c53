"""axe-core in a page: what it finds against accessibility in one part of it.

It is Deque's engine, from npm (axe-core 4.14, MPL 2.0), loaded into the page by the test alone.
"""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page

from tests.npm import from_npm

__all__ = ["assert_accessible", "axe_source", "violations"]

PACKAGE = "axe-core@4.14"
GRAVE = ("serious", "critical")
_RUN = """async (selector) => {
    // One violation names its nodes; what is behind a picture or half transparent is `incomplete`.
    const found = await window.axe.run(selector, {resultTypes: ["violations"]});
    return found.violations.map(({id, impact, help, nodes}) => ({
        id, impact, help, nodes: nodes.map((node) => node.html + "  <- " + node.failureSummary),
    }));
}"""


def axe_source() -> Path:
    """Return axe's script; where it must be there, it is installed."""
    return from_npm(PACKAGE, folder="axe", file="axe-core/axe.min.js")


def violations(page: Page, selector: str) -> list[str]:
    """Return what axe finds grave in a part of a page, a line for each rule and place."""
    if not page.evaluate("() => 'axe' in window"):
        # As text, since a page's policy may not let it come from elsewhere. JupyterLab has a
        # module loader, which the script would give itself to instead of the window.
        source = axe_source().read_text(encoding="utf-8")
        page.evaluate(f"(() => {{ const define = undefined; {source} }})()")
    found = page.evaluate(_RUN, selector)
    return [
        f"{one['impact']} {one['id']}: {one['help']}: {node}"
        for one in found
        if one["impact"] in GRAVE
        for node in one["nodes"]
    ]


def assert_accessible(page: Page, selector: str) -> None:
    """Assert that axe finds nothing serious in a part of a page, which is there."""
    assert page.locator(selector).count(), f"nothing is {selector}"
    found = violations(page, selector)
    assert not found, "\n".join(found)

"""axe-core in a page: what it finds against accessibility in one part of it.

It is Deque's engine, from npm (axe-core 4.14, MPL 2.0), loaded into the page by the test alone. It
is installed once a machine where ``ALLOY_TEST_REQUIRE`` names ``axe``, with ``npm i axe-core@4.14``
in ``$ALLOY_TEST_CACHE/axe`` (``~/.cache/alloy_nb/axe``).
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.conftest import required
from tests.real_model.build import cache_dir

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
    folder = cache_dir() / "axe"
    found = folder / "node_modules" / "axe-core" / "axe.min.js"
    lack = f"no axe-core: npm i --prefix {folder} {PACKAGE}"
    if not found.exists():
        if not required("axe"):
            pytest.skip(lack)
        if shutil.which("npm") is None:
            pytest.fail(f"no npm; then {lack}")
        _install(folder)
    return found


def _install(folder: Path) -> None:
    """Install it beside and move it there whole: several workers may want it at once."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        install = ["npm", "i", "--prefix", made, PACKAGE]
        subprocess.run(install, check=True, capture_output=True, timeout=300)
        with contextlib.suppress(OSError):  # another worker was first
            (Path(made) / "node_modules").rename(folder / "node_modules")


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

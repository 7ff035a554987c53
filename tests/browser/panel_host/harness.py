"""Open the page of a host that is no Jupyter.

::

    with start_host(chromium, folder) as host:
        host.run("%load_ext alloy_nb")
        host.page.locator(".alloy-panel")
"""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Page, Route, expect, sync_playwright

from tests.browser.lab import CHROMIUM_FLAGS
from tests.kernel_harness import REPOSITORY, clean_environment

__all__ = ["Host", "start_host"]


@dataclass
class Host:
    """A page, and the process behind it."""

    url: str
    page: Page
    log: Path
    trouble: list[str] = field(default_factory=list)
    """What was asked of strangers, and what the console complained of."""
    _count: Iterator[int] = field(default_factory=lambda: itertools.count(1), repr=False)

    def run(self, code: str, timeout: float = 60.0) -> None:
        """Run a cell on the main thread of the process, and wait for its end."""
        self.begin(code)
        self.wait_done(timeout)

    def begin(self, code: str) -> None:
        """Run a cell and do not wait."""
        self._running = str(next(self._count))
        self.page.evaluate("code => host.run(code)", code)

    def wait_done(self, timeout: float = 60.0) -> None:
        """Wait for the end of the last cell, which must not have failed."""
        body = self.page.locator("body")
        expect(body).to_have_attribute("data-ran", self._running, timeout=timeout * 1000)
        assert body.get_attribute("data-ok") == "true", self.log.read_text()[-3000:]

    def open(self, *, bare: bool = False) -> None:
        """Open the page, or open it anew."""
        self.page.goto(f"{self.url}/?bare" if bare else self.url)
        self.page.locator("body[data-open]").wait_for(state="attached")

    def assert_clean(self) -> None:
        """Assert that nothing was asked of strangers, no script failed and no cell did."""
        assert not self.trouble
        log = self.log.read_text()
        assert "Traceback" not in log, log


@contextlib.contextmanager
def start_host(
    chromium: Path, folder: Path, *, env: Mapping[str, str] | None = None, bare: bool = False
) -> Iterator[Host]:
    """Start the process in an empty world and open its page; both end with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    command = [sys.executable, "-u", "-m", "tests.browser.panel_host.process"]
    world = clean_environment(folder / "home", env) | {"PYTHONPATH": str(REPOSITORY)}
    with (
        log.open("wb") as out,
        subprocess.Popen(
            command,
            env=world,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=out,
        ) as process,
        sync_playwright() as playwright,
    ):
        try:
            assert process.stdout is not None
            port = process.stdout.readline().strip().decode()
            assert port, log.read_text()
            browser = playwright.chromium.launch(executable_path=chromium, args=[*CHROMIUM_FLAGS])
            page = browser.new_context(viewport={"width": 1000, "height": 800}).new_page()
            host = Host(f"http://127.0.0.1:{port}", page, log)
            _watch(host)
            host.open(bare=bare)
            yield host
            browser.close()
        finally:
            process.kill()


def _watch(host: Host) -> None:
    home = urlsplit(host.url).netloc

    def guard(route: Route) -> None:
        parts = urlsplit(route.request.url)
        if parts.netloc == home or parts.scheme in ("data", "blob"):
            route.continue_()
        else:
            host.trouble.append(route.request.url)
            route.abort()

    page = host.page
    page.context.route("**/*", guard)
    page.on("pageerror", lambda error: host.trouble.append(str(error)))
    page.on(
        "console",
        lambda said: host.trouble.append(said.text) if said.type == "error" else None,
    )

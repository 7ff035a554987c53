"""A page opened from disk in a real Chromium: what it asks for, and what its console says."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from playwright.sync_api import Page, Route, sync_playwright

from tests.browser.lab import CHROMIUM_FLAGS

__all__ = ["Opened", "opened"]


@dataclass
class Opened:
    """An open page, with what it asked for besides itself and what it complained of."""

    page: Page
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@contextlib.contextmanager
def opened(
    chromium: Path,
    path: Path,
    *,
    width: int = 1100,
    scheme: Literal["light", "dark"] = "light",
) -> Iterator[Opened]:
    """Open a file as a reader does who clicks on it."""
    address = path.as_uri()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*CHROMIUM_FLAGS])
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        found = Opened(page)

        def guard(route: Route) -> None:
            url = route.request.url
            if url == address or url.startswith("data:"):
                route.continue_()
            else:
                found.requests.append(url)
                route.abort()

        page.context.route("**/*", guard)
        page.on("pageerror", lambda error: found.errors.append(str(error)))
        page.on("console", lambda message: found.errors.append(f"{message.type}: {message.text}"))
        page.on("dialog", lambda dialog: (found.errors.append("dialog"), dialog.dismiss()))
        page.goto(address)
        page.wait_for_timeout(300)
        try:
            yield found
        finally:
            browser.close()

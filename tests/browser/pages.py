"""A page opened from disk in a real Chromium: what it asks for, says and looks like."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Locator, Page, Route, sync_playwright

from tests.browser.lab import CHROMIUM_FLAGS

__all__ = ["Opened", "faint", "opened"]

_FAINT = """(root, [least, besides]) => {
    const light = (rgb) => {
        const part = (v) => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
        const [r, g, b] = rgb.match(/[\\d.]+/g).slice(0, 3).map((v) => part(v / 255));
        return .2126 * r + .7152 * g + .0722 * b;
    };
    const ground = (node) => {
        for (; node; node = node.parentElement) {
            const colour = getComputedStyle(node).backgroundColor;
            if (/^rgb\\(/.test(colour)) return colour;
        }
        return "rgb(255, 255, 255)";
    };
    const found = [];
    for (const node of root.querySelectorAll("*")) {
        if (!node.checkVisibility()) continue;
        if (![...node.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
        if (node.matches(besides)) continue;
        const [a, b] = [light(getComputedStyle(node).color), light(ground(node))];
        const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
        if (ratio < least) found.push([node.className, node.textContent.slice(0, 30), ratio]);
    }
    return found;
}"""


def faint(root: Locator, *, besides: str = ":disabled") -> list[Any]:
    """Return the texts below an element that are hard to read on what is behind them.

    Their contrast is less than WCAG 2.1, 1.4.3 asks for.

    Args:
        root: Where to look.
        besides: A selector of what does not count.
    """
    found: list[Any] = root.evaluate(_FAINT, [4.5, besides])
    return found


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

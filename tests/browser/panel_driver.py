"""The chat panel as a person uses it, in whatever page it is."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Locator, Page, expect

__all__ = ["Panel", "panel_notebook"]

PATIENCE = 30_000
"""Milliseconds; a machine that runs other tests may take long for anything."""

_PASTE = """([area, kind, name, type, base64]) => {
    const bytes = Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], name, {type}));
    const how = {bubbles: true, cancelable: true};
    area.dispatchEvent(kind === "paste"
        ? new ClipboardEvent("paste", {...how, clipboardData: data})
        : new DragEvent("drop", {...how, dataTransfer: data}));
}"""


_FRAMES = """(node) => {
    globalThis.frames_seen = new Set([node.innerText]);
    new MutationObserver(() => globalThis.frames_seen.add(node.innerText))
        .observe(node, {subtree: true, childList: true, characterData: true});
}"""


class Panel:
    """A panel in a page."""

    def __init__(self, page: Page, root: Locator) -> None:
        self.page = page
        self.root = root

    def wait(self) -> Panel:
        """Wait until it is shown."""
        expect(self.root).to_be_visible(timeout=PATIENCE)
        expect(self.root).not_to_contain_text("no kernel", timeout=PATIENCE)
        return self

    # its parts

    @property
    def area(self) -> Locator:
        """Where one types."""
        return self.root.get_by_role("combobox", name="Message", exact=True)

    @property
    def turns(self) -> Locator:
        """All turns that are drawn."""
        return self.root.locator(".alloy-turn")

    @property
    def last(self) -> Locator:
        """The newest turn."""
        return self.turns.last

    @property
    def chips(self) -> Locator:
        """What goes along with the next message."""
        return self.root.locator(".alloy-composer .alloy-chip")

    @property
    def card(self) -> Locator:
        """The question that waits."""
        return self.root.locator(".alloy-ask")

    @property
    def offered(self) -> Locator:
        """What a word that is begun may become."""
        return self.root.locator(".alloy-choices [role=option]")

    @property
    def notices(self) -> Locator:
        """What was noticed, newest last."""
        return self.root.locator(".alloy-notice")

    @property
    def queued(self) -> Locator:
        """What waits to be sent."""
        return self.root.locator(".alloy-queue li")

    @property
    def stop(self) -> Locator:
        """The button that stops the turn."""
        return self.button("Stop")

    def turn(self, prompt: str) -> Locator:
        """The turns that were begun with a prompt."""
        return self.turns.filter(has=self.page.locator(".alloy-said", has_text=prompt))

    def button(self, name: str, within: Locator | None = None) -> Locator:
        """Return a button by its name."""
        return (within or self.root).get_by_role("button", name=name, exact=True)

    def choose(self, label: str, value: str) -> None:
        """Choose in one of the header's lists."""
        picker = self.root.get_by_label(label, exact=True).and_(self.page.locator("select"))
        if not picker.is_visible():
            self.button("Settings").click()
        picker.select_option(value)

    def chosen(self, label: str) -> Locator:
        """Return one of the header's lists."""
        return self.root.locator(f"select[aria-label={label!r}]")

    def more(self, item: str) -> None:
        """Choose in the menu."""
        found = self.root.get_by_role("menuitem", name=item, exact=True)
        if not found.is_visible():
            self.button("More").click()
        found.click()

    # what one does

    def ask(self, text: str) -> None:
        """Type a message, line by line, and send it."""
        self.area.fill(text)
        self.area.press("Enter")

    def asked(self, text: str, until: str | None = None, timeout: float = PATIENCE) -> Locator:
        """Ask, and wait for the end of the turn; return the turn."""
        turns = self.turn(text.split("\n")[0].split(" @")[0])
        before = turns.count()
        self.ask(text)
        expect(turns).to_have_count(before + 1, timeout=timeout)
        turn = turns.last
        expect(turn).to_be_visible(timeout=timeout)
        self.wait_idle(timeout)
        if until is not None:
            expect(turn).to_contain_text(until, timeout=timeout)
        return turn

    def wait_idle(self, timeout: float = PATIENCE) -> None:
        """Wait until no turn runs."""
        # By its class: while it stops, its name is another.
        expect(self.root.locator(".alloy-stop")).to_be_hidden(timeout=timeout)

    def frames(self, turn: Locator) -> set[str]:
        """Return what a turn shows, from now on until no turn runs."""
        turn.evaluate(_FRAMES)
        self.wait_idle()
        seen: set[str] = set(self.page.evaluate("() => [...globalThis.frames_seen]"))
        return seen

    def wait_notice(self, words: str | re.Pattern[str]) -> None:
        """Wait until it is said, and dismiss what was noticed."""
        expect(self.notices.last).to_contain_text(words, timeout=PATIENCE)
        # Not with a click, for which one that goes by itself meanwhile would be waited for.
        self.button("Dismiss", self.notices).evaluate_all("all => all.forEach(one => one.click())")
        expect(self.notices).to_have_count(0)

    def give(self, how: str, name: str, kind: str, base64: str) -> None:
        """Paste or drop a file on the composer."""
        self.area.evaluate(
            f"(area, given) => ({_PASTE})([area, ...given])", [how, name, kind, base64]
        )


def panel_notebook(front: Any, model: Any) -> Any:
    """Open a notebook whose second cell shows a panel, which a model answers; run it so far."""
    notebook = front.open_notebook(
        [f"%load_ext alloy_nb\n%alloy model {model.flags}", "%alloy panel", "1 + 1"]
    )
    notebook.run(0)
    notebook.run(1)
    return notebook

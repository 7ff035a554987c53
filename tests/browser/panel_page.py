"""The panel's front end in a page of its own, with a model that the test plays.

::

    with opened_panel(chromium) as panel:
        panel.deliver({"kind": "begin", "turn": turn(1, "why?", state="live")})
        panel.page.get_by_role("button", name="Stop").click()
        assert panel.sent("stop") == [{"do": "stop"}]

The page is no Jupyter: a module, a style sheet, and an object with ``get``, ``on`` and ``send``.
It is served from 127.0.0.1; what it asks of anybody else is refused and kept in `strangers`.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, CDPSession, Locator, Page, Route, sync_playwright

from alloy_nb.notebook import front
from tests.browser.lab import CHROMIUM_FLAGS

__all__ = ["HEAD", "QUESTION", "Panel", "browser_of", "opened_panel", "turn"]

HEAD: Mapping[str, Any] = {
    "session": {"name": "main", "id": "s1", "branch": "main"},
    "sessions": ["main", "sales"],
    "branches": ["main", "other"],
    "model": "claude-sonnet-5",
    "models": ["claude-sonnet-5", "gpt-5.5", "ollama/llama3.2"],
    "effort": "high",
    "efforts": ["off", "low", "medium", "high", "max"],
    "data": "schema",
    "levels": ["none", "names", "schema", "sample:5", "full"],
    "approve": "ask",
    "policies": ["ask", "read", "all", "none"],
    "kernel": "idle",
    "state": "idle",
    "context": {"tokens": 24_000, "window": 200_000},
    "spent": "$0.31",
    "budget": "$2.00",
    "queue": [],
    "kept": "main · .alloy",
    "commands": [
        {"name": "cost", "words": "", "help": "show what each turn used and cost"},
        {"name": "context", "words": "", "help": "list what goes to the model"},
        {"name": "model", "words": "[MODEL]", "help": "show the model, or answer with another"},
    ],
}

QUESTION: Mapping[str, Any] = {
    "title": "The model wants to run this Python code in your kernel:",
    "subject": 'df.to_csv("out.csv")',
    "kind": "code",
    "risk": "It runs with your rights.",
    "warning": "",
    "editable": 'df.to_csv("out.csv")',
    "argument": "code",
    "lasting": True,
}

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>panel</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="/panel.css"><style>body { margin: 8px; }</style></head>
<body><main><div id="first"></div></main><script type="module">
import panel from "/panel.js";
const values = await (await fetch("/state")).json();
const heard = {};
window.sent = [];
window.model = {
    get: (name) => values[name],
    on: (name, callback) => (heard[name] ??= []).push(callback),
    send: (content, callbacks, buffers) => {
        window.sent.push({...content, ...(buffers?.length && {bytes: buffers[0].byteLength})});
    },
    deliver: (message) => { for (const one of heard["msg:custom"] ?? []) one(message); },
    set: (name, value) => {
        values[name] = value;
        for (const one of heard[`change:${name}`] ?? []) one();
    },
    trigger: (name) => { for (const one of heard[name] ?? []) one(); },
};
window.tasks = [];
new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) window.tasks.push(entry.duration);
}).observe({type: "longtask", buffered: true});
window.module = panel;
window.leave = await panel.initialize({model});
window.leaves = {};
window.show = async (id) => {
    const el = document.getElementById(id);
    window.leaves[id] = await panel.render({model, el});
};
const began = performance.now();
await window.show("first");
await new Promise((go) => requestAnimationFrame(() => setTimeout(go)));
window.opened = performance.now() - began;
</script></body></html>"""


def turn(number: int, text: str, *answers: str, **more: Any) -> dict[str, Any]:
    """Return a turn as the kernel sends it; each answer is the HTML of one output."""
    outputs = [{"id": f"o{number}-{place}", "html": html} for place, html in enumerate(answers)]
    base = {"id": f"t{number}", "turn": number, "at": "14:02", "outputs": outputs, "state": "done"}
    prompt = {"html": "", "text": text, "chips": [], "images": []}
    return base | {"prompt": prompt, "hidden": False, "pinned": False, "code": []} | more


@dataclass
class Panel:
    """An open panel, and what it asked of strangers or complained of."""

    page: Page
    session: CDPSession
    strangers: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def root(self) -> Locator:
        """The panel's own node, the first if there are several."""
        return self.page.locator(".alloy-panel").first

    @property
    def composer(self) -> Locator:
        """Where one types."""
        return self.root.get_by_role("combobox", name="Message")

    @property
    def log(self) -> Locator:
        """The conversation."""
        return self.root.get_by_role("log")

    def button(self, name: str, *, within: Locator | None = None) -> Locator:
        """Return a button by its whole name."""
        return (within or self.root).get_by_role("button", name=name, exact=True)

    def deliver(self, *messages: Mapping[str, Any]) -> None:
        """Play the kernel: send messages, and wait until they are drawn."""
        self.page.evaluate(
            """async (messages) => {
                for (const message of messages) model.deliver(message);
                await new Promise((go) => requestAnimationFrame(() => setTimeout(go, 20)));
            }""",
            list(messages),
        )

    def head(self, **changes: Any) -> None:
        """Play the kernel: change the traits `head` and `lists`."""
        both: dict[str, dict[str, Any]] = {"head": {}, "lists": {}}
        for name, value in {**HEAD, **changes}.items():
            both["lists" if name in LISTS else "head"][name] = value
        for trait, values in both.items():
            self.page.evaluate("([name, value]) => model.set(name, value)", [trait, values])

    def sent(self, what: str | None = None) -> list[dict[str, Any]]:
        """Return what the panel sent, all or of one kind, without the ids that it made."""
        every: list[dict[str, Any]] = self.page.evaluate("sent")
        return [
            {key: value for key, value in one.items() if key != "id" or one["do"] in _NAMED}
            for one in every
            if what is None or one["do"] == what
        ]

    def processor_seconds(self) -> float:
        """Return what the page's main thread has used, of the processor: load does not count."""
        metrics = self.session.send("Performance.getMetrics")["metrics"]
        return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))

    def assert_clean(self) -> None:
        """Assert that no script failed and nothing was asked of strangers."""
        assert (self.strangers, self.errors) == ([], [])


LISTS = ("commands", "models", "efforts", "levels", "policies")
_NAMED = ("unqueue", "detach")  # their ids are the kernel's


@contextlib.contextmanager
def browser_of(chromium: Path) -> Iterator[Browser]:
    """Start a browser for several panels."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*CHROMIUM_FLAGS])
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def opened_panel(
    browser: Browser,
    entries: Sequence[Mapping[str, Any]] = (),
    *,
    total: int | None = None,
    head: Mapping[str, Any] = HEAD,
    width: int = 900,
    height: int = 760,
    scheme: Literal["light", "dark"] = "light",
) -> Iterator[Panel]:
    """Open a panel that begins with these turns."""
    lists = {name: head[name] for name in LISTS if name in head}
    state = {
        "head": {name: value for name, value in head.items() if name not in LISTS},
        "lists": lists, "entries": list(entries), "total": len(entries), "version": 7,
        "panel_id": "p1",
    }  # fmt: skip
    with _served(state | ({} if total is None else {"total": total})) as address:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme
        )
        page = context.new_page()
        panel = Panel(page, context.new_cdp_session(page))
        panel.session.send("Performance.enable", {"timeDomain": "threadTicks"})

        def guard(route: Route) -> None:
            if route.request.url.startswith(f"{address}/"):
                route.continue_()
            else:
                panel.strangers.append(route.request.url)
                route.abort()

        context.route("**/*", guard)
        page.on("pageerror", lambda error: panel.errors.append(str(error)))
        page.on(
            "console",
            lambda said: panel.errors.append(said.text) if said.type == "error" else None,
        )
        page.on("dialog", lambda dialog: (panel.errors.append("dialog"), dialog.dismiss()))
        page.goto(f"{address}/")
        page.wait_for_function("window.opened !== undefined")
        # A long conversation is drawn a part at a time.
        drawn = "(many) => document.querySelectorAll('article').length >= many"
        page.wait_for_function(drawn, arg=len(entries))
        try:
            yield panel
        finally:
            context.close()


def _front_end() -> dict[str, bytes]:
    return {"/panel.js": front.script().encode(), "/panel.css": front.style().encode()}


_KINDS = {"js": "text/javascript", "css": "text/css"}


@contextlib.contextmanager
def _served(state: Mapping[str, Any]) -> Iterator[str]:
    pages = {"/": _PAGE.encode(), "/state": json.dumps(state).encode(), **_front_end()}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = pages.get(self.path)
            self.send_response(200 if body is not None else 404)
            kind = _KINDS.get(self.path.rpartition(".")[2], "text/html")
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""Hostile text on every place where text is shown, in a real Chromium: it does nothing.

The addresses in the corpus lead to a canary server on this machine, and nothing stands between the
browser and that server: one request would be one too many.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

import alloy_nb as al
from alloy_nb.engine.calls.approval import in_words
from alloy_nb.messages import Citation, ToolCall
from alloy_nb.notebook import front
from alloy_nb.notebook.approval.question import Change, question_about
from alloy_nb.notebook.drawing import cards
from alloy_nb.notebook.drawing.render import render, render_phase, render_text
from alloy_nb.notebook.drawing.segments import (
    NoticeSegment,
    Reference,
    Segment,
    ThinkingSegment,
    ToolSegment,
)
from tests.browser.lab import CHROMIUM_FLAGS
from tests.notebook.hostile import CONTROL, PAYLOADS
from tests.servers.sse import Server, loop, stream
from tests.servers.wire import Call, Say, Think

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SEED = int(os.environ.get("ALLOY_SEED", "20261121"))
# All prefixes of all texts are some ten thousand frames.
EVERY_PREFIX = os.environ.get("ALLOY_HOSTILE") == "full"
CORPUS = {**PAYLOADS, **CONTROL}

_PAGE = "<!doctype html><meta charset='utf-8'><title>quiet</title><main></main>"
_INSERT = """(parts) => {
    const main = document.querySelector("main");
    main.replaceChildren();
    for (const part of parts) {
        const place = document.createElement("div");
        main.append(place);
        place.innerHTML = part;  // as JupyterLab shows text/html
    }
}"""
_LIVE = """() => {
    const found = [];
    const tags = "script,iframe,frame,object,embed,svg,math,style,link,meta,base,form,input,"
        + "button,select,textarea,video,audio,source,picture,template,portal,dialog,image";
    for (const node of document.querySelectorAll("main *")) {
        if (node.matches(tags)) found.push(node.outerHTML);
        for (const {name, value} of node.attributes) {
            const bad = /^on|^data-|^id$|^class$|^srcset$|^ping$|^form/.test(name)
                && !(name === "class" && /^language-[\\w-]*$/.test(value));
            if (bad) found.push(`${node.tagName} ${name}=${value}`);
            if (name === "style" && /url|expression|position|@|\\\\/i.test(value)) {
                found.push(`style ${value}`);
            }
        }
        if (node.tagName === "A" && node.hasAttribute("href")
            && !["http:", "https:", "mailto:"].includes(node.protocol)) {
            found.push(`href ${node.getAttribute("href")}`);
        }
        if (node.tagName === "IMG" && !/^data:image\\/(png|jpeg|gif|webp);/.test(node.src)) {
            found.push(`src ${node.src}`);
        }
    }
    return found;
}"""


class Watched:
    """A page that nothing guards, and the server that its addresses lead to."""

    def __init__(self, page: Page, canary: Server) -> None:
        self.page = page
        self.canary = canary
        self.trouble: list[str] = []
        page.on("dialog", lambda dialog: (self.trouble.append(dialog.message), dialog.dismiss()))
        page.on("pageerror", lambda error: self.trouble.append(str(error)))
        page.on("request", lambda request: self._note(request.url))

    def _note(self, url: str) -> None:
        if not url.startswith(("file:", "data:", "blob:")):
            self.trouble.append(url)

    def aimed(self, text: str) -> str:
        """Return a text whose addresses lead to the canary."""
        return text.replace("evil.example", f"127.0.0.1:{self.canary.port}")

    def show(self, parts: list[str]) -> None:
        """Show pieces of HTML as outputs of cells, and assert that nothing lives in them."""
        for start in range(0, len(parts), 2_000):
            self.page.evaluate(_INSERT, parts[start : start + 2_000])
            for summary in self.page.locator("details").all()[:5]:
                summary.evaluate("node => { node.open = true; }")
            assert self.page.evaluate(_LIVE) == []
        self.assert_quiet()

    def assert_quiet(self) -> None:
        """Assert that nothing was asked for and nothing ran."""
        self.page.wait_for_timeout(300)
        assert self.trouble == []
        assert self.canary.requests == []
        assert self.page.title() == "quiet"


@pytest.fixture
def watched(chromium: Path, tmp_path: Path) -> Iterator[Watched]:
    path = tmp_path / "page.html"
    path.write_text(_PAGE)
    with (
        Server(otherwise=lambda request: stream([])) as canary,
        sync_playwright() as playwright,
        contextlib.closing(
            playwright.chromium.launch(executable_path=chromium, args=[*CHROMIUM_FLAGS])
        ) as browser,
    ):
        page = browser.new_page()
        page.goto(path.as_uri())
        yield Watched(page, canary)


def test_the_canary_is_asked_where_text_is_not_made_fit(watched):
    """A test that cannot fail proves nothing: raw text does reach the server."""
    image = watched.aimed('<img src="http://evil.example/x.png">')
    watched.page.evaluate(_INSERT, [image])
    watched.canary.wait_for_requests(1)
    assert len(watched.canary.requests) == 1
    assert watched.page.evaluate(_LIVE) != []


def prefixes(text: str, rng: random.Random) -> list[str]:
    """Return the frames of a text that arrives: all of its beginnings, or a sample of them."""
    ends = range(1, len(text) + 1)
    chosen = ends if EVERY_PREFIX else sorted(rng.sample(ends, min(len(ends), 12)))
    return [text[:end] for end in chosen]


def test_no_frame_of_an_answer_does_anything(watched):
    rng = random.Random(SEED)
    parts = [
        render_text(prefix, live=True).html
        for text in CORPUS.values()
        for prefix in prefixes(watched.aimed(text), rng)
    ]
    watched.show(list(dict.fromkeys(parts)))


def segments(text: str) -> list[Segment]:
    """Return a segment of each kind with a text in each of its places."""
    thinking = ThinkingSegment(done=True, seconds=1.0)
    thinking.add(text)
    tools = []
    for state in ("pending", "approval", "running", "done", "failed", "denied"):
        tool = ToolSegment(id="c1", name=text, state=state, version=1)  # type: ignore[arg-type]
        tool.arguments = {text[:40]: text, "other": [text]}
        tool.subject, tool.result, tool.progress = text, text, [text]
        tool.decision = in_words("denied", allowed=False, reason=text)
        tools.append(tool)
    return [thinking, *tools, NoticeSegment("error", text), NoticeSegment("info", text)]


@pytest.mark.parametrize("live", [True, False])
def test_no_card_of_a_turn_does_anything(watched, live):
    parts = []
    for text in map(watched.aimed, CORPUS.values()):
        parts += [render(segment, live=live).html for segment in segments(text)]
        citation = Citation(kind="url", url=text, title=text, quote=text)
        parts += [
            render_text("x", [Reference(1, citation, 1)], sources=[Reference(1, citation, 1)]).html
        ]
        parts.append(render_phase(text).html)
    watched.show(parts)


def test_no_table_of_names_does_anything(watched):
    texts = list(map(watched.aimed, CORPUS.values()))
    rows = [["name", "what"], *([text, text] for text in texts)]
    parts = [cards.table(rows).html]
    parts += [cards.table([[text, "x"], ["y", text]]).html for text in texts]
    watched.show(parts)


_CARD = """async ([source, css, questions]) => {
    const address = URL.createObjectURL(new Blob([source], {type: "text/javascript"}));
    const { default: card } = await import(address);
    const style = document.createElement("style");
    style.textContent = css;
    document.head.append(style);
    const said = [];
    for (const question of questions) {
        const el = document.createElement("div");
        document.querySelector("main").append(el);
        card.render({ model: { get: () => question, send: (one) => said.push(one) }, el });
    }
    return said;
}"""
_TAGS = """() => [...new Set([...document.querySelectorAll("main *")].map(
    (node) => node.tagName.toLowerCase()))].sort()"""


def asked_about(text: str) -> list[dict[str, Any]]:
    def call(name: str, **arguments: Any) -> ToolCall:
        return ToolCall(id="c1", name=name, input=arguments)

    python = al.tool(name="python", risk="run")(lambda code: code)
    written = call("write", file_path="a", content=text)
    named = call("edit", file_path=text, old_string=text, new_string=f"{text}!")
    questions = [
        question_about(call("python", code=text), python),
        question_about(call("bash", command=text), al.bash),
        question_about(named, al.edit, Change(problem=text)),
        question_about(written, al.write, Change(diff=f"+{text}")),
    ]
    return [asdict(question) for question in questions]


def test_no_question_on_the_approval_card_does_anything(watched):
    questions = [q for text in CORPUS.values() for q in asked_about(watched.aimed(text))]
    given = [front.script(front.CARD), front.style(("card",))]
    said = watched.page.evaluate(_CARD, [*given, questions])
    assert said == [{"ready": True}] * len(questions)
    made = watched.page.evaluate(_TAGS)
    assert set(made) <= {"section", "p", "div", "span", "button", "input", "textarea"}
    shown = watched.page.evaluate(
        "() => [...document.querySelectorAll('.alloy-ask-subject')].map(n => n.textContent)"
    )
    wanted = [question["subject"] for question in questions]
    assert [text.replace("\n", "") for text in shown] == [w.replace("\n", "") for w in wanted]
    hidden = watched.page.evaluate(
        "() => /[\\u202a-\\u202e\\u2066-\\u2069\\u200b]/.test("
        "document.querySelector('main').textContent)"
    )
    assert not hidden
    watched.assert_quiet()


# --- in a real JupyterLab -------------------------------------------------------------------------


def test_the_whole_corpus_does_nothing_in_jupyterlab(lab):
    rng = random.Random(SEED)
    texts = [text for text in PAYLOADS.values() if "\ud83d" not in text]
    rng.shuffle(texts)
    groups = ["\n\n".join(texts[start::6]) for start in range(6)]
    with Server(otherwise=lambda request: stream([])) as canary:
        aimed = [text.replace("evil.example", f"127.0.0.1:{canary.port}") for text in groups]
        prints = Call("python", {"code": f"print({aimed[2]!r})"})
        replies = [[Think(aimed[0]), Say(aimed[1]), prints]]
        replies += [[Say(text)] for text in aimed[3:]]
        with Server(*loop(*replies)) as server:
            flags = f"-m openai-compat/scripted --base-url {server.url} --approve all"
            asks = [f"%%alloy {flags}\ngo {n}" for n in range(len(replies) - 1)]
            table = (
                "from alloy_nb.notebook.drawing.cards import publish_table, publish_text\n"
                f"names = {json.dumps(texts)}\n"
                "publish_table([['column', 'model'], *([n, n] for n in names)])\n"
                "publish_text('\\n'.join(names))"
            )
            notebook = lab.open_notebook(["%load_ext alloy_nb", *asks, table])
            dialogs: list[str] = []

            def note(dialog):
                if dialog.type == "beforeunload":
                    dialog.accept()
                else:
                    dialogs.append(dialog.message)
                    dialog.dismiss()

            lab.page.on("dialog", note)
            for number in range(len(asks) + 2):
                notebook.run(number)
            for summary in notebook.page.locator(".jp-OutputArea summary").all():
                summary.evaluate("node => { node.parentNode.open = true; }")
            _assert_dead(notebook, canary, dialogs)
            notebook.save()
            again = lab.open(notebook.path, kernel=False)
            _assert_dead(again, canary, dialogs)
            lab.page.remove_listener("dialog", note)


def _assert_dead(notebook, canary, dialogs):
    area = notebook.page.locator(".jp-OutputArea .jp-RenderedHTMLCommon")
    assert area.count() > 3
    for selector in ("script", "iframe", "svg", "style", "form", "button", "img", "object"):
        assert area.locator(selector).count() == 0, selector
    live = area.evaluate_all(
        "areas => areas.flatMap(a => [...a.querySelectorAll('*')]).flatMap(n => [...n.attributes]"
        ".filter(x => /^on|^data-commandlinker/.test(x.name)).map(x => n.outerHTML))"
    )
    assert live == []
    notebook.lab.assert_clean()
    assert (dialogs, canary.requests) == ([], [])

"""Drive a real JupyterLab with a real Chromium.

::

    notebook = lab.open_notebook(["print('hi')", "h = display('a', display_id=True)"])
    notebook.run(0)
    assert notebook.text(0) == "hi"

The server and its kernels live in an empty world (`clean_environment`); the browser may speak to
nobody but that server: what it asks of others is refused and kept in `lab.strangers`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Locator,
    Page,
    Response,
    Route,
    expect,
    sync_playwright,
)
from playwright.sync_api import TimeoutError as Timeout

from tests.kernel_harness import clean_environment
from tests.real_model.server import free_port

__all__ = ["Frame", "Lab", "Notebook", "start_lab"]

CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    # Without these, every start looks for Google's hosts.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--force-color-profile=srgb",
)
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    # It waits for the kernel a second, and for no later answer.
    "@jupyterlab/completer-extension:manager": {"autoCompletion": False, "providerTimeout": 20_000},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
}
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
SETTLE_SECONDS = 1.5
"""How long after the kernel's first idle JupyterLab still loses key strokes (measured)."""
LINGER_SECONDS = 0.5
_PRESSES = 3
_STARTS = 3

_CHANGES = """(node) => {
    const seen = {is: false};
    new MutationObserver(() => { seen.is = true; })
        .observe(node, {subtree: true, childList: true, characterData: true});
    return seen;
}"""
_UNTIL_STILL = """async (node) => {
    const now = () => performance.now();
    let last = now();
    const end = last + 2000;
    const observer = new MutationObserver(() => { last = now(); });
    observer.observe(node, {subtree: true, childList: true, characterData: true});
    while (now() - last < 150 && now() < end) await new Promise((go) => setTimeout(go, 20));
    observer.disconnect();
}"""


@dataclass(frozen=True)
class Frame:
    """What an output showed at a moment."""

    at: float
    text: str
    html: str
    height: float


@dataclass
class Lab:
    """A JupyterLab server and a browser with one page."""

    program: ClassVar[Sequence[str]] = (
        "jupyterlab",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
    )
    url: str
    root: Path
    page: Page
    strangers: list[str] = field(default_factory=list)
    console_errors: list[str] = field(default_factory=list)
    page_errors: list[str] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1), repr=False)

    def open_notebook(
        self,
        cells: Sequence[str | dict[str, Any]] | Path,
        *,
        name: str | None = None,
        kernel: bool = True,
        timeout: float = 120.0,
    ) -> Notebook:
        """Open a new notebook of code cells (or of nbformat dicts), or a copy of a file."""
        path = self.root / (name or f"notebook-{next(self._numbers)}.ipynb")
        source = cells.read_text() if isinstance(cells, Path) else json.dumps(_document(cells))
        path.write_text(source)
        return self.open(path, kernel=kernel, timeout=timeout)

    def open(self, path: Path, *, kernel: bool = True, timeout: float = 120.0) -> Notebook:
        """Open a notebook that is in `root`, with a new kernel, and wait until both are ready.

        The page is loaded anew, the kernels of earlier notebooks are ended, and what was gathered
        of them (strangers, errors) is forgotten. Without `kernel` none is waited for.
        """
        self._leave()
        self.page.goto(self._address(path))
        notebook = Notebook(self, path)
        notebook.wait_shown(timeout)
        if kernel:
            notebook.wait_idle(timeout)
            self.page.wait_for_timeout(SETTLE_SECONDS * 1000)
        return notebook

    def wait_for_kernel(self, path: Path, timeout: float) -> None:
        """Wait until the status bar names a kernel that is idle.

        The toolbar's circle says idle even while there is no kernel, and what is run then is lost.
        """
        bar = self.page.locator("#jp-main-statusbar")
        expect(bar).to_contain_text(re.compile(r"Python 3.* \| Idle"), timeout=timeout * 1000)

    def _address(self, path: Path) -> str:
        # A `reset` workspace: else the notebooks of earlier tests would open again.
        return f"{self.url}/lab/workspaces/test/tree/{path.name}?reset"

    def _leave(self) -> None:
        """Leave the page, end its kernels and forget what it did."""
        self.page.goto("about:blank")
        sessions = f"{self.url}/api/sessions"
        for session in self.page.request.get(sessions).json():
            self.page.request.delete(f"{sessions}/{session['id']}")
        for gathered in (self.strangers, self.console_errors, self.page_errors):
            gathered.clear()

    def set_theme(self, theme: Literal["light", "dark"]) -> None:
        """Switch the theme through the menu's command, and wait until it is drawn."""
        if self.page.locator("body").get_attribute("data-jp-theme-name") == THEMES[theme]:
            return
        self.page.get_by_role("menuitem", name="Settings", exact=True).click()
        self.page.locator(".lm-Menu-item", has_text=re.compile("^Theme$")).hover()
        self.page.locator(".lm-Menu-item", has_text=re.compile(f"^{THEMES[theme]}$")).click()
        expect(self.page.locator("body")).to_have_attribute("data-jp-theme-name", THEMES[theme])
        self.page.locator("#main").wait_for()  # it is hidden, and drawn anew
        self.page.wait_for_timeout(300)  # the theme's style sheet replaces the other's

    def assert_clean(self, *, console: bool = True) -> None:
        """Assert that nothing was asked of strangers and that no script failed.

        It lingers first: what an output names is asked for a moment after the output is drawn.
        Without `console` the console may have complained.
        """
        self.page.wait_for_timeout(LINGER_SECONDS * 1000)
        assert not self.strangers, f"requests to strangers: {self.strangers}"
        assert not self.page_errors, f"errors of scripts: {self.page_errors}"
        assert not console or not self.console_errors, f"console errors: {self.console_errors}"


class Notebook:
    """An open notebook. Cells are counted from zero, code and text alike."""

    def __init__(self, lab: Lab, path: Path) -> None:
        self.lab = lab
        self.page = lab.page
        self.path = path

    @property
    def _panel(self) -> Locator:
        return self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")

    def cell(self, number: int) -> Locator:
        """Return a cell."""
        return self._panel.locator(".jp-Notebook .jp-Cell").nth(number)

    def output(self, number: int) -> Locator:
        """Return the area of a cell's outputs."""
        return self.cell(number).locator(".jp-Cell-outputArea")

    # waiting

    def wait_shown(self, timeout: float = 60.0) -> None:
        """Wait until the notebook is drawn, with the outputs that it holds."""
        self.cell(0).wait_for(timeout=timeout * 1000)
        self._settle()

    def wait_idle(self, timeout: float = 120.0) -> None:
        """Wait until there is a kernel and it is idle."""
        self.lab.wait_for_kernel(self.path, timeout)

    def wait_done(self, number: int, timeout: float = 60.0) -> None:
        """Wait until a cell's prompt has a count."""
        prompt = self.cell(number).locator(".jp-InputPrompt")
        expect(prompt).to_have_text(re.compile(r"^\[\d+\]:$"), timeout=timeout * 1000)
        self._settle()

    def wait_text(self, number: int, text: str, timeout: float = 30.0) -> None:
        """Wait until a cell's outputs hold a text."""
        expect(self.output(number)).to_contain_text(text, timeout=timeout * 1000)

    def _settle(self) -> None:
        """Wait until nothing was drawn for a moment: outputs come a little after their prompt."""
        self._panel.locator(".jp-Notebook").evaluate(_UNTIL_STILL)

    # doing

    def select(self, number: int) -> None:
        """Make a cell the active one, in command mode."""
        self.cell(number).locator(".jp-InputPrompt").click()
        expect(self.cell(number)).to_have_class(re.compile("jp-mod-active"))

    def start(self, number: int) -> None:
        """Run a cell and do not wait for its end, only until it has begun.

        Lab loses a key now and then; what it has not begun after seconds, it has lost.
        """
        for _ in range(_PRESSES):
            self.select(number)
            changed = self.cell(number).locator(".jp-InputPrompt").evaluate_handle(_CHANGES)
            self.page.keyboard.press("Control+Enter")
            with contextlib.suppress(Timeout):
                self.page.wait_for_function("seen => seen.is", arg=changed, timeout=5_000)
            if changed.evaluate("seen => seen.is"):
                return
        raise AssertionError(f"JupyterLab did not run cell {number}")

    def run(self, number: int, timeout: float = 60.0) -> None:
        """Run a cell and wait until it is done."""
        self.start(number)
        self.wait_done(number, timeout)

    def run_all(self, timeout: float = 120.0) -> None:
        """Run all cells through the menu; wait until none runs or waits, a failed one or not."""
        prompts = self._panel.locator(".jp-Notebook .jp-CodeCell .jp-InputPrompt")
        before = prompts.first.inner_text()
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.locator(".lm-Menu-item[data-command='runmenu:run-all']").click()
        expect(prompts.first).not_to_have_text(before)
        expect(prompts.filter(has_text="[*]")).to_have_count(0, timeout=timeout * 1000)
        self._settle()

    def interrupt(self) -> None:
        """Press the toolbar's stop button, as often as a person: until the server is asked."""
        button = self.page.locator("[data-command='notebook:interrupt-kernel']").first
        for _ in range(_PRESSES):
            try:
                with self.page.expect_request("**/interrupt*", timeout=3_000) as asked:
                    button.click()
            except Timeout:
                continue
            answer = asked.value.response()
            assert answer is not None and answer.ok, f"the server did not interrupt: {answer}"
            return
        raise AssertionError("JupyterLab did not ask its server to interrupt")

    def answer(self, text: str, timeout: float = 30.0) -> None:
        """Answer the prompt of `input()` that is open."""
        box = self._panel.locator(".jp-Stdin-input")
        box.wait_for(timeout=timeout * 1000)
        box.fill(text)
        box.press("Enter")

    def save(self, timeout: float = 30.0) -> dict[str, Any]:
        """Save the notebook and return the document that is on the disk."""

        def is_saved(answer: Response) -> bool:
            return answer.request.method == "PUT" and "/api/contents/" in answer.url

        # The file is being written before that: it may be empty, or half of what it will be.
        with self.page.expect_response(is_saved, timeout=timeout * 1000) as saved:
            self.page.keyboard.press("Control+s")
        assert saved.value.ok, f"the notebook was not saved: {saved.value}"
        return json.loads(self.path.read_text())

    # seeing

    def text(self, number: int) -> str:
        """Return what a cell's outputs show."""
        return _visible_text(self.output(number))

    def html(self, number: int) -> str:
        """Return the DOM of a cell's outputs."""
        return self.output(number).first.inner_html() if self.output(number).count() else ""

    def frames(
        self,
        number: int,
        *,
        every: float = 0.1,
        until: Callable[[Frame], bool],
        timeout: float = 60.0,
    ) -> list[Frame]:
        """Sample a cell's outputs while it runs, until a frame satisfies `until`."""
        frames: list[Frame] = []
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            frames.append(self._frame(number))
            if until(frames[-1]):
                return frames
            self.page.wait_for_timeout(every * 1000)
        raise TimeoutError(f"no such frame in {timeout} s; the last: {frames[-1]}")

    def _frame(self, number: int) -> Frame:
        seen = self.cell(number).evaluate(
            """cell => {
                const area = cell.querySelector('.jp-Cell-outputArea');
                return area
                    ? [area.innerText, area.innerHTML, area.getBoundingClientRect().height]
                    : ['', '', 0];
            }"""
        )
        return Frame(time.monotonic(), *seen)

    def screenshot(self, path: Path, number: int | None = None) -> Path:
        """Take a picture of the page, or of one cell."""
        target = self.page if number is None else self.cell(number)
        target.screenshot(path=path)
        return path

    def screenshots(self, folder: Path, name: str, number: int | None = None) -> list[Path]:
        """Take a picture in the light and in the dark theme; the light one is left on."""
        paths = []
        for theme in ("dark", "light"):
            self.lab.set_theme(theme)
            paths.append(self.screenshot(folder / f"{name}-{theme}.png", number))
        return paths[::-1]


def _visible_text(area: Locator) -> str:
    return area.first.inner_text().strip() if area.count() else ""


def _document(cells: Sequence[str | dict[str, Any]]) -> dict[str, Any]:
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": spec},
        "cells": [_cell(cell, number) for number, cell in enumerate(cells)],
    }


def _cell(cell: str | dict[str, Any], number: int) -> dict[str, Any]:
    if isinstance(cell, dict):
        return {"id": f"cell-{number}", "metadata": {}} | cell
    empty: dict[str, Any] = {"metadata": {}, "outputs": [], "execution_count": None}
    return {"cell_type": "code", "id": f"cell-{number}", "source": cell} | empty


# Starting


@contextlib.contextmanager
def start_lab(
    chromium: Path,
    folder: Path,
    *,
    env: Mapping[str, str] | None = None,
    front_end: type[Lab] = Lab,
) -> Iterator[Lab]:
    """Start a JupyterLab in an empty world with a browser, and end both with the block."""
    root = folder / "notebooks"
    root.mkdir(parents=True)
    with _server(front_end.program, folder, root, env) as url, _browser(chromium) as browser:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        context.set_default_timeout(60_000)
        lab = front_end(url, root, context.new_page())
        _watch(lab)
        yield lab
        context.close()


@contextlib.contextmanager
def _server(
    program: Sequence[str], folder: Path, root: Path, env: Mapping[str, str] | None
) -> Iterator[str]:
    home = folder / "home"
    environment = clean_environment(home, env)
    environment["JUPYTER_PREFER_ENV_PATH"] = "0"  # our kernel spec before the venv's
    _write_settings(Path(environment["JUPYTERLAB_SETTINGS_DIR"]))
    _write_kernel_spec(Path(environment["JUPYTER_DATA_DIR"]))
    log = folder / "server.log"
    process, url = _started(program, root, environment, log)
    try:
        yield url
    finally:
        _end(process)


def _started(
    program: Sequence[str], root: Path, environment: Mapping[str, str], log: Path
) -> tuple[subprocess.Popen[bytes], str]:
    """Start the server; on another port where somebody took the first before it did."""
    for start in range(_STARTS):
        port = free_port()
        with log.open("wb") as out:
            process = subprocess.Popen(
                _command(program, port, root),
                env=dict(environment),
                cwd=root,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        url = f"http://127.0.0.1:{port}"
        try:
            _wait_until_up(f"{url}/api/status", process, log)
        except BaseException:
            _end(process)
            if "is not available" in log.read_text(errors="replace") and start + 1 < _STARTS:
                continue
            raise
        return process, url
    raise AssertionError


def _command(program: Sequence[str], port: int, root: Path) -> list[str]:
    options = [
        "--no-browser",
        "--allow-root",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        f"--ServerApp.root_dir={root}",
        "--IdentityProvider.token=",
        "--ServerApp.password=",
        "--ServerApp.disable_check_xsrf=True",
        "--ServerApp.terminals_enabled=False",
    ]
    return [sys.executable, "-m", *program, *options]


def _write_settings(folder: Path) -> None:
    for plugin, values in SETTINGS.items():
        package, _, name = plugin.partition(":")
        path = folder / package / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))


def _write_kernel_spec(data: Path) -> None:
    """Name this very Python as the kernel: the one of the venv may lie elsewhere."""
    folder = data / "kernels" / "python3"
    folder.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-Xfrozen_modules=off", "-m", "ipykernel_launcher"]
    spec = {
        "argv": [*argv, "-f", "{connection_file}"],
        "display_name": "Python 3",
        "language": "python",
        "metadata": {"debugger": False},
    }
    (folder / "kernel.json").write_text(json.dumps(spec))


def _wait_until_up(
    url: str, process: subprocess.Popen[bytes], log: Path, timeout: float = 180.0
) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + timeout
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError), opener.open(url, timeout=2):
            return
        time.sleep(0.1)
    raise RuntimeError(f"the server did not start:\n{log.read_text(errors='replace')[-3000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server, which ends its kernels if it is let."""
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    process.kill()
    process.wait()


@contextlib.contextmanager
def _browser(chromium: Path) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*CHROMIUM_FLAGS])
        yield browser
        browser.close()


def _watch(lab: Lab) -> None:
    """Refuse and record requests to strangers; gather errors."""
    home = urlsplit(lab.url).netloc

    def guard(route: Route) -> None:
        parts = urlsplit(route.request.url)
        if parts.netloc == home or parts.scheme in ("data", "blob", "about"):
            route.continue_()
        else:
            lab.strangers.append(route.request.url)
            route.abort()

    def note(message: ConsoleMessage) -> None:
        told = f"{message.text} ({message.location.get('url', '')})"
        if message.type == "error":
            lab.console_errors.append(told)

    lab.page.context.route("**/*", guard)
    lab.page.on("pageerror", lambda error: lab.page_errors.append(str(error)))
    lab.page.on("console", note)

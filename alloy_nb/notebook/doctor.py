"""What could be wrong, looked at one by one: `checks` on this machine, `probed` at the model."""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from alloy_nb.errors import AlloyError
from alloy_nb.events import BlockStarted, TextDelta, ThinkingDelta, ToolInputDelta
from alloy_nb.messages import user
from alloy_nb.notebook.keychain import literal_keys
from alloy_nb.notebook.turns.place import notebook_of
from alloy_nb.providers import catalog
from alloy_nb.providers.base import ModelOptions, ModelRequest, Provider, ToolSpec
from alloy_nb.providers.fold import Reply, ReplyBuilder
from alloy_nb.providers.vendor import VendorProvider
from alloy_nb.usage import Usage

__all__ = ["Check", "announced", "checks", "hears_widgets", "is_demo", "probed"]

_NEEDED = {"ipython": (8, 24), "ipykernel": (6, 31), "ipywidgets": (8, 1), "anywidget": (0, 9)}
_WAIT_SECONDS = 1.5
_PROBE_SECONDS = 60.0
# As short as shows that text comes in pieces; a tool that takes nothing is the shortest call.
_QUESTION = "Write: one two three four five. Then call the tool ping, once."
_PING = ToolSpec("ping", "Say that you are there.", {"type": "object", "properties": {}})
_MOST_TOKENS = 200
# What it uses, with what a vendor adds where there are tools.
_USUAL = Usage(input_tokens=400, output_tokens=40)
# A reply of several pieces that took long and then came within so small a part of its time was
# held back by something on the way.
_PIECES = 4
_LONG_SECONDS = 0.5
_AT_ONCE = 0.02
_DELTAS = (TextDelta, ThinkingDelta, ToolInputDelta, BlockStarted)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Args:
        what: Its name.
        found: What was found.
        good: Whether it is as it should be; ``None`` where it is neither, or was not looked at.
        advice: What to do about it.
    """

    what: str
    found: str
    good: bool | None = True
    advice: str = ""

    @property
    def row(self) -> list[str]:
        """It as a row of a table."""
        mark = {True: "✓", False: "✗", None: "–"}[self.good]
        return [mark, self.what, self.found, self.advice]


def checks(shell: Any, provider: Provider, *, journal: str, keeps: bool) -> Iterator[Check]:
    """Look at what is on this machine.

    Args:
        shell: Whose notebook it is.
        provider: The model that answers.
        journal: The setting ``Alloy.journal``.
        keeps: Whether conversations are kept.
    """
    kernel = getattr(shell, "kernel", None)
    yield from _versions(is_kernel=kernel is not None)
    yield _key(provider)
    yield _cells(shell)
    yield _stdin(kernel)
    yield _subshells(kernel)
    yield _limits(kernel)
    yield _journal(shell, journal, keeps=keeps)
    yield _figures()


def is_demo(provider: Provider) -> bool:
    """Tell whether the scripted model answers, behind which there is nothing to ask."""
    return provider.name == "demo"


# --- this machine -------------------------------------------------------------------------------


def _versions(*, is_kernel: bool) -> Iterator[Check]:
    yield Check("python", ".".join(map(str, sys.version_info[:3])), sys.version_info >= (3, 11))
    for package, least in _NEEDED.items():
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            needed = is_kernel or package == "ipython"
            advice = f"pip install {package}" if needed else ""
            yield Check(package, "not installed", False if needed else None, advice)
            continue
        good = _numbers(version) >= least
        wanted = ".".join(map(str, least))
        advice = "" if good else f"pip install -U '{package}>={wanted}', then restart the kernel"
        yield Check(package, version, good, advice)


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split(".")[:2]
    return tuple(int("".join(c for c in part if c.isdigit()) or 0) for part in parts)


def _key(provider: Provider) -> Check:
    if is_demo(provider):
        return Check(
            "key",
            "the scripted demo answers, which needs none",
            None,
            "set a vendor's key, or %alloy key VENDOR; then %alloy model VENDOR/MODEL",
        )
    if not isinstance(provider, VendorProvider):
        return Check("key", f"{provider.name} has its own ways", None)
    if provider.has_key:
        return Check("key", provider.key_source)
    if provider.needs_key:
        return Check(
            "key",
            "missing",
            False,
            f"%alloy key {provider.name}, or set {provider.key_variable}, or a .env file",
        )
    return Check("key", provider.key_source, None)


def _cells(shell: Any) -> Check:
    typed = shell.user_ns.get("In")
    found = literal_keys(enumerate(typed)) if isinstance(typed, list) else []
    if not found:
        return Check("keys in cells", "none seen")
    return Check("keys in cells", found[0], False, "take it out, and let the vendor void the key")


def _stdin(kernel: Any) -> Check:
    if kernel is None:
        return Check("questions", "asked in this terminal", sys.stdin is not None)
    content = kernel.get_parent("shell").get("content", {})
    if content.get("allow_stdin"):
        return Check("questions", "input() works here")
    return Check(
        "questions",
        "nobody can be asked: this notebook runs by itself",
        None,
        "tools that want a yes are denied; --approve decides beforehand",
    )


def _subshells(kernel: Any) -> Check:
    if kernel is None:
        return Check("subshells", "no kernel here", None)
    if getattr(kernel, "_supports_kernel_subshells", False):
        return Check("subshells", "there: buttons can work while a cell runs")
    return Check("subshells", "none: buttons wait for the end of a cell", None)


def _limits(kernel: Any) -> Check:
    if kernel is None:
        return Check("output limits", "none in a terminal", None)
    # A kernel cannot ask its server. (jupyter_server 2.21.1, `ZMQChannelsHandler`, 2026-11-21)
    return Check(
        "output limits",
        "of the server, unknown to a kernel; 1,000 messages/s and 1 MB/s by default",
        None,
        "answers keep far below; so should code that prints in a loop",
    )


def _journal(shell: Any, setting: str, *, keeps: bool) -> Check:
    if not keeps:
        return Check("journal", f"off (Alloy.journal = {setting!r})", None)
    path = notebook_of(shell)
    folder = (path.parent if path else Path()) / ".alloy"
    at = folder if folder.exists() else folder.parent
    if os.access(at, os.W_OK | os.X_OK):
        return Check("journal", f"{folder}/sessions.db")
    advice = "conversations are held in memory; start the notebook in a folder of your own"
    return Check("journal", f"{at} cannot be written", False, advice)


def _figures() -> Check:
    matplotlib = sys.modules.get("matplotlib")
    if matplotlib is None:
        return Check("figures", "matplotlib is not imported", None)
    # Asking by `get_backend()` would choose one.
    backend = str(dict.__getitem__(matplotlib.rcParams, "backend"))
    shown = backend if isinstance(backend, str) and "object at" not in backend else "not chosen yet"
    return Check("figures", f"matplotlib {matplotlib.__version__}, {shown}")


# --- the front end ------------------------------------------------------------------------------


def hears_widgets(shell: Any, show: Any) -> Check:
    """Look whether a widget answers while a cell runs; `show` shows it, by MIME type.

    One that answers only afterwards is of no use to a question that the cell waits for.
    """
    if not hasattr(shell, "kernel"):
        return Check("widgets", "none in a terminal; questions are asked in words", None)
    heard = threading.Event()
    try:
        anywidget = importlib.import_module("anywidget")
        widget = anywidget.AnyWidget(
            _esm="export default {render({model}) {model.send({here: true})}}"
        )
    except Exception as error:  # not installed, or a shell without comms
        return Check("widgets", f"cannot be made ({type(error).__name__})", False, "see above")
    comm = widget.comm
    if hasattr(comm, "_reply_subshell_for"):  # ipykernel 7.4; see `approval.card`
        comm._reply_subshell_for = lambda _data, default: default
    widget.on_msg(lambda *_: heard.set())
    view = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    show({"application/vnd.jupyter.widget-view+json": view, "text/plain": ""})
    try:
        answered = heard.wait(_WAIT_SECONDS)
    finally:
        layout = widget.layout
        widget.close()
        layout.close()
    if answered:
        return Check("widgets", "answer while a cell runs")
    return Check(
        "widgets",
        f"no answer within {_WAIT_SECONDS} s",
        None,
        "questions are asked by input() instead of by a card with buttons",
    )


# --- the model ----------------------------------------------------------------------------------


def announced(provider: Provider) -> str:
    """Return what is about to be asked, and what it may cost where that is known."""
    cost = catalog.cost(provider.name, provider.model, _USUAL)
    about = "" if cost.usd is None else f" (about {cost})"
    return f"Asking {provider.name}/{provider.model} one tiny question{about} …"


async def probed(provider: Provider) -> list[Check]:
    """Ask one tiny question: does it answer, does it stream, do tools come through?"""
    where = f"{provider.name}/{provider.model}"
    builder = ReplyBuilder(provider=provider.name, model=provider.model)
    request = ModelRequest(
        messages=(user(_QUESTION),),
        tools=(_PING,),
        options=ModelOptions(max_output_tokens=_MOST_TOKENS),
        deadline=time.monotonic() + _PROBE_SECONDS,
    )
    began = time.monotonic()
    pieces: list[float] = []
    try:
        async for event in provider.stream(request):
            if isinstance(event, _DELTAS):
                pieces.append(time.monotonic() - began)
            builder.feed(event)
        reply = builder.done()
    except AlloyError as error:
        return [Check("endpoint", where, False, str(error))]
    seconds = time.monotonic() - began
    cost = catalog.cost(provider.name, provider.model, reply.usage)
    return [
        Check("endpoint", f"{where} answered in {seconds:.1f} s; the question cost {cost}"),
        _streamed(pieces, seconds),
        _called(reply),
    ]


def _streamed(pieces: list[float], seconds: float) -> Check:
    if len(pieces) < _PIECES:
        return Check("streaming", f"{len(pieces)} pieces: too few to tell", None)
    spread = pieces[-1] - pieces[0]
    told = f"{len(pieces)} pieces, the first after {pieces[0]:.2f} s, the last {spread:.2f} s later"
    if seconds >= _LONG_SECONDS and spread < _AT_ONCE * seconds:
        return Check(
            "streaming",
            told,
            False,
            "something on the way holds the answer back: switch off buffering in the proxy",
        )
    return Check("streaming", told)


def _called(reply: Reply) -> Check:
    calls = [call for call in reply.message.tool_calls if call.name == _PING.name]
    if any(call.invalid is None for call in calls):
        return Check("tools", "a call came back")
    if calls:
        asked = json.dumps(calls[0].invalid)[:60]
        return Check("tools", f"a call came back with arguments that are none: {asked}", False)
    return Check(
        "tools",
        "no call came back",
        False,
        "the model has no tools, or a proxy drops them; it can answer, and not look at variables",
    )

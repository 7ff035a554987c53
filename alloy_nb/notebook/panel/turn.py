"""Turns that a panel begins: one at a time, the others in a line.

::

    ask ─▶ the line ─▶ free? ─▶ resolved in a thread ─▶ run_cell on the portal ─▶ the feed
             └ unqueue              @df, -m opus, ...      └ what needs the main thread: Errands

A prompt of the panel is read as the body of a cell: flags may stand before it, and nothing in it is
a command. What it refers to is looked up when its turn comes, not when it is typed. The turn never
occupies the main thread: the python tool runs there when no cell does.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from alloy_nb.engine import portal
from alloy_nb.engine.calls.workers import in_thread
from alloy_nb.engine.run import Result
from alloy_nb.engine.sessions.session import Session
from alloy_nb.errors import AlloyError, ConfigError
from alloy_nb.messages import Document, Image, Text
from alloy_nb.notebook.approval.pending import in_panel
from alloy_nb.notebook.drawing import answers
from alloy_nb.notebook.drawing.conversation import displayed
from alloy_nb.notebook.inputs.references import outside_of_cells
from alloy_nb.notebook.kernel.capture import SCREEN
from alloy_nb.notebook.kernel.errands import Errands, reachable
from alloy_nb.notebook.panel.drawn import Asked
from alloy_nb.notebook.panel.live import Live
from alloy_nb.notebook.turns.asking import Asking, came_to, knows, prepared, transcript_of
from alloy_nb.notebook.turns.cell import run_cell
from alloy_nb.notebook.words import Words, parse
from alloy_nb.secrets import redact

if TYPE_CHECKING:
    from alloy_nb.notebook.panel.feed import Feed
    from alloy_nb.notebook.panel.panels import Panels

__all__ = ["Line", "Request", "words_of"]

log = logging.getLogger("alloy_nb")

_POLL_SECONDS = 0.01
_ids = itertools.count(1)
# What these flags do, they do in a cell.
_IN_CELLS = {
    "bg": "a turn of the panel never holds up a cell.",
    "dry_run": "write it in a cell, where there is room for what it shows.",
    "session": "choose the session at the top of the panel.",
}


class Outcome(Future["Result | None"]):
    """What will come of a prompt; a cell that waits for it runs what its turn has to run there."""

    serve: Callable[[Callable[[], bool]], object] | None = None

    def result(self, timeout: float | None = None) -> Result | None:
        """Wait for the result, ``None`` where it was not asked; blocks.

        Raises:
            TimeoutError: It took longer; it goes on.
            Interrupted: The wait was interrupted, or the turn while it ran a tool here.
        """
        end = None if timeout is None else time.monotonic() + timeout
        if self.serve is not None and threading.current_thread() is threading.main_thread():
            self.serve(lambda: not self.done() and (end is None or time.monotonic() < end))
        return super().result(None if end is None else max(0.0, end - time.monotonic()))


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt that was typed.

    Args:
        text: What was typed, with flags before it.
        id: What the front end calls it.
        inputs: References that were attached, as after ``-i``.
        media: Pictures and documents that were attached.
        chips: What is shown of all that was attached.
        asking: Makes the turn, where the text is not to be read as the body of a cell.
        told: Hears why it could not be asked.
    """

    text: str
    id: str = ""
    inputs: str = ""
    media: tuple[Text | Image | Document, ...] = ()
    chips: tuple[Mapping[str, Any], ...] = ()
    asking: Callable[[], Asking] | None = None
    told: Callable[[str, Request], object] = field(default=lambda *_: None, compare=False)
    outcome: Outcome = field(default_factory=lambda: Outcome(), compare=False)
    """What came of it; ``None`` where it was not asked."""

    def settle(self, result: Result | None) -> None:
        """Note what came of it."""
        if not self.outcome.done():
            self.outcome.set_result(result)


class Line:
    """What was asked in the panels of one conversation: one is answered, the others wait.

    Args:
        panels: Those of the notebook.
        feed: Where the conversation is shown.
    """

    def __init__(self, panels: Panels, feed: Feed) -> None:
        self._panels = panels
        self._feed = feed
        self._waiting: list[Request] = []
        self._task: asyncio.Task[None] | None = None
        self._errands: Errands | None = None
        self._asked: Session | None = None  # another one, for what is asked on the side
        self._is_free = asyncio.Event()
        feed.listen(self._hear)

    @property
    def waiting(self) -> list[Request]:
        """What waits, in order; from any thread."""
        return list(self._waiting)

    def ask(self, request: Request) -> None:
        """Take a prompt; from any thread, at once."""
        if not request.id:
            request = replace(request, id=f"r{next(_ids)}")
        request.outcome.serve = self._serve
        portal.spawn(self._take(request))

    def unqueue(self, request_id: str) -> bool:
        """Take a prompt out of the line again; tell whether it was still there."""
        for request in list(self._waiting):
            if request.id == request_id:
                with contextlib.suppress(ValueError):  # its turn has come just now
                    self._waiting.remove(request)
                    request.settle(None)
                    portal.spawn(self._tell())
                    return True
        return False

    def stop(self) -> None:
        """Ask the turn under way to end, with the code that it runs; from any thread, at once."""
        for session in {self._feed.session, self._asked or self._feed.session}:
            session.cancel()
        errands = self._errands
        if errands is not None:
            errands.interrupt()

    def close(self) -> None:
        """Ask nothing more."""
        self._waiting.clear()
        self._feed.leave(self._hear)

    def _serve(self, is_wanted: Callable[[], bool]) -> None:
        """Run on this thread, the main one, what the turns under way have to run there."""
        while is_wanted():
            errands = self._errands

            def is_its_turn(here: Errands | None = errands) -> bool:
                return is_wanted() and self._errands is here

            if errands is not None:
                errands.serve_while(is_its_turn)
            time.sleep(_POLL_SECONDS)

    # --- one after the other ----------------------------------------------------------------------

    async def _take(self, request: Request) -> None:
        self._waiting.append(request)
        self._feed.send("changed", {})
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        while self._waiting:
            while self._feed.session.run is not None:
                self._is_free.clear()
                await self._is_free.wait()
            if not self._waiting:
                break
            request = self._waiting[0]
            try:
                request.settle(await self._answer(request))
            except (UsageError, AlloyError) as error:
                request.told(redact(str(error)), request)
            except Exception as error:  # a fault of ours must not hold up those that wait
                log.exception("A turn of the panel failed")
                request.told(redact(f"{type(error).__name__}: {error}"), request)
            finally:
                request.settle(None)
                self._begun(request)

    async def _tell(self) -> None:
        self._feed.send("changed", {})

    def _hear(self, kind: str, _: Mapping[str, Any]) -> None:
        if kind == "changed":
            self._is_free.set()

    def _begun(self, request: Request) -> None:
        if request in self._waiting:
            self._waiting.remove(request)
            self._feed.send("changed", {})

    # --- one --------------------------------------------------------------------------------------

    async def _answer(self, request: Request) -> Result | None:
        make = request.asking or (lambda: self._asking(request))
        asking = await in_thread(make)
        if request not in self._waiting:
            return None  # it was taken back meanwhile
        desk, feed = self._panels.desk, self._feed
        session = asking.session
        alone = session is not feed.session
        transcript = transcript_of(desk, asking)
        live = feed.prepare(_asked(request), transcript)
        live.turn.ask = request.id

        def say(text: str) -> None:
            transcript.notice("info", text)
            live.canvas.mark()

        def begun() -> None:
            self._begun(request)
            run = session.run
            if run is not None:
                feed.begin(live, run)

        errands = Errands(desk.shell, say, self.stop, is_busy=lambda: self._panels.is_busy)
        portal.current_host.set(errands)
        in_panel.set(True)
        self._errands, self._asked = errands, session
        settings = dict(asking.settings)
        settings["approve"] = reachable(settings["approve"], errands)
        settings["context"] = {**settings["context"], SCREEN: live.screen}
        desk.asked = (session,)
        try:
            result = await run_cell(
                session,
                asking.prompt.prompt,
                transcript=transcript,
                canvas=live.canvas,
                settings={**settings, "wait": True},
                begun=begun,
                names=desk.names,
            )
            return await self._came_to(asking, result, live)
        finally:
            self._errands = self._asked = None
            errands.close()
            portal.current_host.set(None)
            desk.events[session.id] = transcript.events
            if live.has_begun:
                feed.finish(live, alone=alone)

    def _asking(self, request: Request) -> Asking:
        """Return what is asked; on a thread, since what it refers to may be large."""
        panels = self._panels
        words = words_of(request.text, panels.name_of(self._feed.session), request.inputs)
        namespace = dict(panels.desk.shell.user_ns)
        with contextlib.nullcontext() if panels.is_busy else outside_of_cells():
            # Without a key: in the place of a cell it would replace that cell's turn.
            asking = prepared(panels.desk, words, namespace, key="")
        if request.media:
            prompt = asking.prompt
            asking = replace(asking, prompt=replace(prompt, media=(*prompt.media, *request.media)))
        return asking

    async def _came_to(self, asking: Asking, result: Result, live: Live) -> Result:
        """Put the outcome where it belongs, and return it."""
        desk = self._panels.desk
        knows(desk, asking.session, result)
        answers.known(result, live.transcript)
        try:
            outcome = came_to(asking, result)
        except AlloyError as error:
            if error is not result.exception:  # that one is said with the result
                live.failure = str(error)
            outcome = result
        typed = asking.typed is not None and outcome is not result
        if asking.output is not None:
            desk.shell.user_ns[asking.output] = outcome.output if typed else outcome
        if typed:
            shown = await in_thread(lambda: desk.shell.display_formatter.format(outcome.output)[0])
            live.add(displayed(shown))
        with contextlib.suppress(ConfigError):
            # What the answer was given is looked at where the variables are.
            remember = desk.inputs.remember
            self._panels.on_main(lambda: remember(asking.session, asking.prompt, outcome))
        return outcome


def words_of(text: str, session: str, inputs: str = "") -> Words:
    """Return what was typed into a panel as the words of a cell.

    Raises:
        UsageError: There is no prompt, or a flag that means nothing here.
    """
    line, _, rest = text.strip("\n").partition("\n")
    words = parse(line, cell=rest)
    for key, why in _IN_CELLS.items():
        if key in words.flags:
            raise UsageError(f"--{key.replace('_', '-')} means nothing here: {why}")
    if "," in words.flags.get("model", ""):
        raise UsageError("Several models side by side need a cell: %%alloy -m a,b")
    if not words.prompt.strip():
        raise UsageError("There is no prompt.")
    flags = {**words.flags, "session": session}
    if inputs:
        flags["input"] = ",".join(part for part in (flags.get("input", ""), inputs) if part)
    return replace(words, flags=flags)


def _asked(request: Request) -> Asked:
    images = tuple(block for block in request.media if isinstance(block, Image))
    return Asked(request.text, request.chips, images)

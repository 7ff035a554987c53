"""``--bg``: a turn that goes on while other cells run.

::

    begun ─▶ Background ─┬─ the cell's own output, updated by its display id
                         ├─ Errands: what must run on the main thread
                         │    python and the like: between two cells, or in a cell that waits
                         │    questions to the person: only in a cell that waits
                         └─ %alloy wait · %alloy stop · .result() · await

A cell that runs is never interrupted for it: what would run on the main thread stands in a queue,
and the output says so. In a terminal nothing runs between two lines, so that a tool which needs the
main thread is refused, with a reason for the model, while nobody waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Generator
from typing import Any

from IPython.core.error import UsageError

from alloy_nb.engine import portal
from alloy_nb.engine.run import Result, RunStatus
from alloy_nb.errors import Interrupted, SessionError
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.drawing import answers, status
from alloy_nb.notebook.drawing.canvas import Canvas, NotebookCanvas, Publish
from alloy_nb.notebook.drawing.terminal import TerminalCanvas
from alloy_nb.notebook.drawing.transcript import Transcript
from alloy_nb.notebook.kernel.errands import Errands, reachable
from alloy_nb.notebook.turns.asking import Asking, came_to, knows, show_value, transcript_of
from alloy_nb.notebook.turns.cell import run_cell
from alloy_nb.notebook.words import Words

__all__ = ["Background", "begun", "steer", "stop", "wait"]

_STOP_SECONDS = 5.0


class Background:
    """A turn under way: ``result()`` and ``await`` wait for it, ``stop()`` ends it.

    While it is waited for on the main thread, its tools run there and it may ask questions.
    """

    def __init__(self, desk: Desk, asking: Asking) -> None:
        self.asking = asking
        self.reported = False
        self._desk = desk
        self._transcript = transcript_of(desk, asking)
        self._canvas = _canvas(self._transcript, desk.shell)
        self._errands = Errands(desk.shell, self._say, self.stop)
        self._has_begun = threading.Event()
        self._over = threading.Event()
        self._result: Result | None = None
        self._failure: BaseException | None = None
        self._future: Any = None
        self._listeners: list[Callable[[], object]] = []

    def __repr__(self) -> str:
        return f"Background({self.name!r}, {self.status})"

    def __await__(self) -> Generator[Any, None, Result]:
        return self._awaited().__await__()

    @property
    def name(self) -> str:
        """The conversation that it is a turn of."""
        return self.asking.session.name

    @property
    def done(self) -> bool:
        """Whether it is over."""
        return self._over.is_set()

    @property
    def status(self) -> str:
        """*running*, or how it ended."""
        if not self.done:
            return "running"
        return "error" if self._result is None else self._result.status.value

    def result(self) -> Result:
        """Wait for the outcome; blocks. An interrupt ends the wait, and the turn goes on.

        Raises:
            AlloyError: It failed.
            Interrupted: The wait was interrupted, or the turn while it ran a tool here.
        """
        if threading.current_thread() is threading.main_thread():
            self._errands.serve(self._over)
        else:
            self._over.wait()
        return self._outcome()

    def stop(self) -> None:
        """Stop it; what it said is kept."""
        if self._future is not None:
            self._future.cancel()

    # --- inside -----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin it, with its output in the cell that runs; raises what kept it from beginning."""
        if isinstance(self._canvas, NotebookCanvas):
            self._canvas.begin()
        self._future = portal.spawn(self._work())
        self._errands.serve(self._has_begun, is_end=False)
        if self.done and self._result is None:
            self._outcome()

    async def _work(self) -> None:
        asking = self.asking
        portal.current_host.set(self._errands)
        before = len(asking.session.results)
        settings = dict(asking.settings)
        settings["approve"] = reachable(settings["approve"], self._errands)
        try:
            result = await run_cell(
                asking.session,
                asking.prompt.prompt,
                transcript=self._transcript,
                canvas=self._canvas,
                settings=settings,
                begun=self._has_begun.set,
                names=self._desk.names,
            )
            self._result = result
            self._result = came_to(asking, result)
        except asyncio.CancelledError:
            self._result = next(iter(asking.session.results[before:]), None)
            self._failure = None if self._result else Interrupted("stopped before it began")
        except BaseException as error:  # told to whoever waits
            self._failure = error
        finally:
            self._end()

    def _end(self) -> None:
        """Put the outcome where it belongs, and let go of whoever waits."""
        namespace, name = self._desk.shell.user_ns, self.asking.output
        if self._result is not None:
            knows(self._desk, self.asking.session, self._result)
            answers.known(self._result, self._transcript)
            if name is not None and namespace.get(name) is self:  # not if it is used anew by now
                typed = self.asking.typed is not None and self._failure is None
                namespace[name] = self._result.output if typed else self._result
        self._over.set()
        self._has_begun.set()
        for hear in self._listeners:
            with contextlib.suppress(RuntimeError):  # its loop was closed
                hear()
        self._errands.close()

    def _outcome(self) -> Result:
        if self._failure is None and self._result is not None and not self.reported:
            # What the answer was given is looked at where the variables are.
            self._desk.inputs.remember(self.asking.session, self.asking.prompt, self._result)
        self.reported = True
        if isinstance(self._canvas, _Kept):
            self._canvas.write()
        if self._failure is not None:
            raise self._failure
        if self._result is None:
            raise SessionError("The turn ended without an outcome.")
        return self._result

    async def _awaited(self) -> Result:
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        self._listeners.append(lambda: loop.call_soon_threadsafe(over.set))
        with self._errands.served_by(loop):
            if not self.done:  # else it was over before it could be heard
                await over.wait()
        if self._errands.is_stopped:
            raise Interrupted("stopped")
        return self._outcome()

    def _say(self, text: str) -> None:
        """Say a line in its output; on the loop's thread."""
        self._transcript.notice("info", text)
        self._canvas.mark()


def begun(desk: Desk, asking: Asking) -> Background:
    """Begin a turn in the background, and return what to wait for.

    Raises:
        SessionError: The conversation is answering already.
    """
    handle = Background(desk, asking)
    namespace, name = desk.shell.user_ns, asking.output
    desk.asked = (asking.session,)
    desk.background = [*(one for one in desk.background if not one.reported), handle]
    before = {name: namespace[name]} if name in namespace else {}
    if name is not None:
        namespace[name] = handle  # first, since a quick turn ends before this does
    try:
        handle.begin()
    except SessionError:
        desk.background.remove(handle)
        if name is not None:
            del namespace[name]
            namespace.update(before)
        raise
    return handle


def wait(desk: Desk, words: Words) -> None:
    """Wait for what answers in the background, and say what came of it.

    Raises:
        UsageError: Nothing does.
        AlloyError: It failed.
    """
    for handle in _named(desk, words, lambda handle: not handle.reported):
        result = handle.result()
        if result.status is RunStatus.CANCELLED:
            status.say(f"{handle.name} was stopped; what it said is kept.")
            continue
        status.say(f"{handle.name} has answered ({result.seconds:.1f} s, {result.cost}).")
        show_value(desk, handle.asking, result)


def stop(desk: Desk, words: Words) -> None:
    """Stop what answers in the background, else what a panel asked.

    Raises:
        UsageError: Nothing answers.
    """
    name = words.arguments[0] if words.arguments else words.flags.get("session")
    session = desk.sessions.get(name or desk.current)
    is_ours = any(not one.done and name in (None, one.name) for one in desk.background)
    if not is_ours and session is not None and session.run is not None:
        session.cancel()
        status.say(f"{name or desk.current} is stopped; what it said is kept.")
        return
    for handle in _named(desk, words, lambda handle: not handle.done):
        handle.stop()
        handle._over.wait(_STOP_SECONDS)
        handle.reported = True
        status.say(f"{handle.name} is stopped; what it said is kept.")


def steer(desk: Desk, words: Words) -> None:
    """Say something into what answers in the background, with what it refers to.

    Raises:
        UsageError: Nothing does, several do, or there is nothing to say.
        SessionError: The answer is whole by now.
    """
    if not words.prompt.strip():
        raise UsageError("Say what? %alloy steer TEXT")
    running = _named(desk, words, lambda handle: not handle.done)
    if len(running) > 1:
        names = ", ".join(handle.name for handle in running)
        raise UsageError(f"Several answer: {names}. Name one: %alloy steer -s NAME TEXT")
    session = running[0].asking.session
    dial = desk.data.of(session)
    resolved = desk.data.resolved(session, words, desk.shell.user_ns, dial)
    session.steer(resolved.prompt)
    status.say(f"{session.name} is told with its next request.")


def _named(desk: Desk, words: Words, wanted: Callable[[Background], bool]) -> list[Background]:
    name = words.arguments[0] if words.arguments else words.flags.get("session")
    found = [one for one in desk.background if wanted(one) and name in (None, one.name)]
    if not found:
        running = ", ".join(one.name for one in desk.background if not one.done)
        more = f" These do: {running}." if running else " --bg begins a turn there."
        whose = f" of {name}" if name else ""
        raise UsageError(f"Nothing{whose} answers in the background.{more}")
    return found


# --- drawing --------------------------------------------------------------------------------------


def _canvas(transcript: Transcript, shell: Any) -> Canvas:
    if not hasattr(shell, "kernel"):
        return _Kept(transcript)
    # One output, because only the cell that runs can be given another. It is made now, and shown
    # by the publisher of now: another cell may capture what is displayed later.
    return NotebookCanvas(transcript, _publisher(shell.display_pub), most=1)


def _publisher(pub: Any) -> Publish:
    def publish(
        data: dict[str, Any], *, display_id: str, update: bool, metadata: dict[str, Any]
    ) -> None:
        pub.publish(data, metadata, transient={"display_id": display_id}, update=update)

    return publish


class _Kept:
    """Draws nothing until it is asked to: a terminal's prompt is no place for an answer."""

    def __init__(self, transcript: Transcript) -> None:
        self.before: Callable[[], object] = lambda: None
        self._transcript = transcript
        self._is_written = False

    def mark(self) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Write the turn to the disk, and nothing to the terminal."""
        self.before()

    def write(self) -> None:
        """Write all of it to the terminal, once."""
        if not self._is_written:
            self._is_written = True
            TerminalCanvas(self._transcript).finish()

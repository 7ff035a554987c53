"""The turn that is under way, drawn by the canvas of a cell, and told output by output."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from alloy_nb.engine.run import Run
from alloy_nb.events import RunFinished
from alloy_nb.notebook.drawing.canvas import NotebookCanvas
from alloy_nb.notebook.drawing.conversation import displayed, printed
from alloy_nb.notebook.drawing.render import Bundle, render
from alloy_nb.notebook.drawing.segments import NoticeKind, NoticeSegment, Segment, TextSegment
from alloy_nb.notebook.drawing.transcript import Transcript
from alloy_nb.notebook.kernel.capture import Output
from alloy_nb.notebook.panel.drawn import Drawn, Kind, Part, facts_of, kind_of
from alloy_nb.notebook.panel.history import STATES
from alloy_nb.notebook.turns.cell import STOPPED
from alloy_nb.secrets import redact

__all__ = ["Live"]

# A panel is no cell: nothing hides what comes after so many outputs.
_OUTPUTS = 2_000
# Of a frame only what is different is sent, so that they need not come more rarely as they grow.
_FRAME = 0.12
_RATE = 60_000.0
# What grows is told by what is different, from this length on.
_LONG = 200
_KINDS = ("text/html", "text/markdown", "text/plain")


class Live:
    """A turn under way; made on the portal's thread, where all but `screen` belongs.

    Args:
        turn: What is drawn.
        transcript: What happens in it.
        send: Tells an output that is new, or different.
    """

    def __init__(
        self, turn: Drawn, transcript: Transcript, send: Callable[[str, Mapping[str, Any]], None]
    ) -> None:
        self.turn = turn
        self.transcript = transcript
        self.canvas = NotebookCanvas(
            transcript, self._publish, most=_OUTPUTS, frame=_FRAME, rate=_RATE
        )
        self.run: Run | None = None
        self.has_begun = self.is_over = False
        self.follows = False
        """Whether the run's events are told to the transcript here, and not by who began it."""
        self.failure: str | None = None
        """What went wrong besides the run, as with a value of a type."""
        self._seen = 0
        self.screen = _Screen(self, asyncio.get_running_loop())
        """Where the code of this turn displays something."""
        self._send = send
        self._segments: dict[str, Segment | None] = {}
        self._places: dict[str, str] = {}

    def begin(self) -> None:
        """Tell of it, and from now on of each output."""
        self.has_begun = True
        self._send("begin", {"turn": self.turn.entry()})

    def say(self, kind: NoticeKind, text: str) -> None:
        """Say a line in it, also when its last frame was drawn."""
        self.add(render(NoticeSegment(kind, text)), kind="notice")

    def add(self, bundle: Bundle, *, name: str = "", kind: Kind = "display") -> None:
        """Put an output below what is there, or in the place of the one with its name."""
        if not bundle.html:
            return
        place = self._places.get(name)
        if place is None:
            self.canvas.draw()  # what it belongs to stands above it
            place = self.canvas.output(None).id
        if name:
            self._places[name] = place
        self._put(place, Part(kind, bundle))

    def catch_up(self) -> None:
        """Tell the transcript what has happened, if nobody else does."""
        if self.follows and self.run is not None:
            events = self.run.events
            for event in events[self._seen :]:
                self.transcript.apply(event)
            self._seen = len(events)

    def end(self) -> None:
        """Draw the end. Each answer is one output then, in which a block of code is whole."""
        status, error = self._outcome()
        if status == "cancelled":
            self.transcript.stopped(STOPPED)
        self.canvas.finish()
        for told in filter(None, (error, self.failure)):
            self.say("error", redact(told))
        self.is_over = True
        self.turn.state = "failed" if self.failure else STATES.get(status, "done")
        self.turn.facts = facts_of(self.transcript.segments)
        parts: dict[str, Part] = {}
        whole = set[int]()
        for name, part in self.turn.parts.items():
            segment = self._segments.get(name)
            if part.kind == "phase" or id(segment) in whole:
                continue
            if isinstance(segment, TextSegment):
                whole.add(id(segment))
                part = Part("text", render(segment, look=self.transcript.look))
            parts[name] = part
        self.turn.parts = parts

    def _outcome(self) -> tuple[str, str | None]:
        """Return how the run ended, and what went wrong if it failed."""
        last = self.run.events[-1].body if self.run is not None and self.run.events else None
        if isinstance(last, RunFinished):
            return last.status, last.error if last.status == "error" else None
        return "cancelled", None

    def _publish(
        self, data: dict[str, Any], *, display_id: str, update: bool, metadata: dict[str, Any]
    ) -> None:
        del update, metadata
        if self._segments.get(display_id) is None:  # the line that waits becomes what came
            found = next((one for one in self.canvas.outputs if one.id == display_id), None)
            self._segments[display_id] = None if found is None else found.segment
        html, markdown, plain = (str(data.get(kind, "")) for kind in _KINDS)
        bundle = Bundle(html, markdown, plain)
        self._put(display_id, Part(kind_of(self._segments[display_id]), bundle))

    def _put(self, name: str, part: Part) -> None:
        before = self.turn.parts.get(name)
        self.turn.parts[name] = part
        html, was = part.bundle.html, "" if before is None else before.bundle.html
        if not self.has_begun or (before is not None and (before.kind, was) == (part.kind, html)):
            return
        told: dict[str, Any] = {"turn": self.turn.id, "id": name, "part": part.kind}
        same = _shared(was, html) if len(was) >= _LONG else 0
        if same >= _LONG:
            # Counted as the page counts: a character beyond the first plane is two.
            told["keep"] = len(html[:same].encode("utf-16-le", "surrogatepass")) // 2
            html = html[same:]
        self._send("output", {**told, "html": html})


def _shared(one: str, other: str) -> int:
    """Return how many characters two texts have in common at their beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


class _Screen:
    """Shows what the code of a turn displays, from the main thread."""

    def __init__(self, live: Live, loop: asyncio.AbstractEventLoop) -> None:
        self._live = live
        self._loop = loop

    def show(self, output: Output) -> None:
        """Show an output, or change an earlier one of the same display id."""
        bundle, name = displayed(output.data), str(output.transient.get("display_id", ""))
        self._loop.call_soon_threadsafe(lambda: self._live.add(bundle, name=name))

    def say(self, text: str) -> None:
        """Show a text that was printed."""
        bundle = printed(text)
        self._loop.call_soon_threadsafe(lambda: self._live.add(bundle))

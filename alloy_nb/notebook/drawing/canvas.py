"""A transcript, drawn: in a notebook, in a terminal, or into a list for tests.

::

    event ─▶ transcript.apply ─▶ canvas.mark() ··clock··▶ frame ─▶ outputs that changed
                                 canvas.finish() ───────────────▶ every output in its last form

Frames are paced by the clock and by the bytes that they send, not by tokens: at most ten a second,
and fewer when they are large. A canvas lives on the thread of the portal's loop; displays that are
made there land in the right cell because the context was copied when the run was submitted.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Protocol

from alloy_nb.markup.plain import clean
from alloy_nb.notebook.drawing.blocks import join
from alloy_nb.notebook.drawing.flow import Flow, Group
from alloy_nb.notebook.drawing.render import Bundle, combine, render, render_phase, render_text
from alloy_nb.notebook.drawing.segments import (
    FooterSegment,
    NoticeSegment,
    Segment,
    TextSegment,
    ThinkingSegment,
    ToolSegment,
    is_done,
)
from alloy_nb.notebook.drawing.terminal import TerminalCanvas
from alloy_nb.notebook.drawing.transcript import Transcript
from alloy_nb.usage import Cost

__all__ = [
    "Canvas",
    "Clock",
    "NotebookCanvas",
    "Output",
    "Publish",
    "RecordingCanvas",
    "TerminalCanvas",
    "canvas_for",
    "publish_to_ipython",
]

_FRAME = 0.1
# Live frames may send so many bytes a second, after a burst. That bounds what a run of any shape
# sends by the time that it takes.
_RATE = 22_000.0
_BURST = 60_000.0
# What Jupyter wraps around each message: header, parent header, signature.
_ENVELOPE = 600
# JupyterLab hides what comes after 50 outputs. Later segments share the last one.
_OUTPUTS = 24
# A body is drawn again when this part of it is new.
_BODY_STEP = 1024
_THINKING_FRAME = 0.25


class Timer(Protocol):
    """What `Clock.call_later` returns."""

    def cancel(self) -> None:
        """Do not call."""


class Clock(Protocol):
    """The part of an asyncio loop that a canvas needs."""

    def time(self) -> float:
        """Return seconds of a clock that only goes forward."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` once, in `delay` seconds."""


class Publish(Protocol):
    """Shows an output, or shows it anew."""

    def __call__(
        self, data: dict[str, Any], *, display_id: str, update: bool, metadata: dict[str, Any]
    ) -> None:
        """Send `data` by MIME type; `update` replaces what `display_id` showed before."""


class Canvas(Protocol):
    """Draws a transcript.

    * `before` is called before anything is drawn, to keep it first.
    * `mark` says that the transcript changed. It is cheap and draws later.
    * `finish` draws the last frame now; afterwards nothing is drawn. It may be called twice.
    """

    before: Callable[[], object]

    def mark(self) -> None:
        """Note that there is something new."""

    def finish(self) -> None:
        """Draw everything in its last form."""


def canvas_for(transcript: Transcript, shell: Any = None) -> Canvas:
    """Return the canvas that suits an IPython shell: one with a kernel shows rich outputs."""
    if shell is None or hasattr(shell, "kernel"):
        return NotebookCanvas(transcript, publish_to_ipython)
    return TerminalCanvas(transcript)


def _nothing() -> None:
    pass


def publish_to_ipython(
    data: dict[str, Any], *, display_id: str, update: bool, metadata: dict[str, Any]
) -> None:
    """Show an output in the cell that runs."""
    from IPython.display import publish_display_data

    transient = {"display_id": display_id}
    publish_display_data(  # type: ignore[no-untyped-call]
        data=data, metadata=metadata, transient=transient, update=update
    )


# --- notebook -----------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class Output:
    """One output of the cell: usually one part, several where outputs are shared."""

    id: str
    segment: Segment | None = None
    """What its first part is of; none for the line that says what goes on."""
    parts: dict[Hashable, Bundle] = field(default_factory=dict)
    shown: dict[str, Any] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


def _new_output() -> Output:
    return Output(f"alloy-{uuid.uuid4().hex[:16]}")


class NotebookCanvas:
    """Draws into outputs that are updated by their display id.

    Args:
        transcript: What to draw.
        publish: Shows an output; `publish_to_ipython` in earnest.
        clock: The loop; by default the one that runs when something is first marked.
        most: How many outputs it may have; what comes later shares the last one.
        frame: Seconds from one frame to the next, at the least.
        rate: So many bytes a second may live frames have, where `publish` sends all of them.
    """

    def __init__(
        self,
        transcript: Transcript,
        publish: Publish,
        *,
        clock: Clock | None = None,
        most: int = _OUTPUTS,
        frame: float = _FRAME,
        rate: float = _RATE,
    ) -> None:
        self.transcript = transcript
        self.before: Callable[[], object] = _nothing
        self.outputs: list[Output] = []
        self._publish = publish
        self._clock = clock
        self._most = most
        self._pace, self._rate = frame, rate
        self._views: dict[int, _View] = {}
        self._changed: list[Output] = []
        self._phase: Output | None = None
        self._timer: Timer | None = None
        self._drawing = False
        self._credit = _BURST
        self._next = 0.0
        self._last = 0.0
        self._activity = (-1, 0.0)
        self._closed = False

    def begin(self) -> None:
        """Draw the first frame now, on whatever thread: its outputs are in the cell that runs."""
        self._draw(final=False)
        self._send()

    def mark(self) -> None:
        """Note that there is something new; the next frame shows it."""
        if self._drawing or self._closed:
            return
        self._drawing = True
        self._cancel()
        if self._clock is None:
            self._clock = asyncio.get_running_loop()
        self._later(self._next - self.now)

    def draw(self) -> None:
        """Draw what is new now, not with the next frame."""
        if not self._closed:
            self._cancel()
            self._frame()

    def finish(self) -> None:
        """Draw every output in its last form."""
        if self._closed:
            return
        self._closed = True
        self._cancel()
        self._draw(final=True)
        if self._phase is not None:
            said = NoticeSegment("stopped", f"{self.transcript.model or 'The model'}: no answer.")
            self.put(self._phase, "phase", render(said))
        self._send()

    @property
    def now(self) -> float:
        """Seconds of the clock; without a loop there are no frames and any clock will do."""
        return time.monotonic() if self._clock is None else self._clock.time()

    def output(self, segment: Segment | None) -> Output:
        """Return the output for the next part, in the order of the transcript.

        Without a segment it is for something else, which whoever asks for it shows.
        """
        if len(self.outputs) >= self._most:
            return self.outputs[-1]
        output = self._phase or _new_output()
        output.segment = segment
        if self._phase is not None:
            output.parts.clear()
            self._phase = None
        self.outputs.append(output)
        return output

    def put(self, output: Output, part: Hashable, bundle: Bundle) -> None:
        """Show `bundle` as a part of an output, from the next frame on."""
        if output.parts.get(part) != bundle:
            output.parts[part] = bundle
            if output not in self._changed:
                self._changed.append(output)

    # --- frames -------------------------------------------------------------------------------

    def _frame(self) -> None:
        self._timer = None
        self._drawing = False
        if self._closed:
            return
        begin = self.now
        self._draw(final=False)
        live = self._send()
        now = self.now
        self._credit = min(_BURST, self._credit + self._rate * (now - self._last)) - live
        self._last = now
        # At least half of the loop's time is left to others, however slow the text is to draw.
        self._next = now + max(self._pace, -self._credit / self._rate, now - begin)
        if not self.transcript.finished:
            # Nothing may come for a while, and the reader should see that time passes.
            self._later(max(1.0, self._next - now))

    def _draw(self, *, final: bool) -> None:
        self.before()
        # By identity, not by position: a notice may come in above a footer that is drawn already.
        for position, segment in enumerate(self.transcript.segments):
            if not self.transcript.look.shows(segment):
                continue
            view = self._views.get(id(segment))
            if view is None:
                view = self._views[id(segment)] = _view(self, segment, position)
            view.draw(final=final)
        if not final:
            self._draw_phase()

    def _draw_phase(self) -> None:
        transcript = self.transcript
        if transcript.activity_version != self._activity[0]:
            self._activity = (transcript.activity_version, self.now)
        seconds = self.now - self._activity[1]
        if transcript.finished:
            return
        # Between two turns the line is worth an output only if the wait is noticeable.
        wanted = transcript.idle and (not self.outputs or seconds >= 1)
        if self._phase is None and wanted and len(self.outputs) < self._most:
            self._phase = _new_output()
        if self._phase is not None:
            self.put(self._phase, "phase", render_phase(transcript.phase_after(seconds)))

    def _send(self) -> int:
        """Send the outputs that changed and return the bytes of those that are not final."""
        live = 0
        for output in self._changed:
            bundle = combine(list(output.parts.values()))
            data = bundle.mimebundle()
            if data == output.shown:
                continue
            self._publish(
                data,
                display_id=output.id,
                update=output.shown is not None,
                metadata=output.metadata,
            )
            output.shown = data
            # An output that is shared is sent again for each of its parts, final or not.
            if len(output.parts) > 1 or not bundle.markdown:
                live += _ENVELOPE + sum(len(str(part).encode()) for part in data.values())
        self._changed.clear()
        return live

    def _later(self, delay: float) -> None:
        if self._clock is not None:
            self._timer = self._clock.call_later(max(0.0, delay), self._frame)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _View(Protocol):
    """Draws one segment on a canvas, as far as it changed."""

    def draw(self, *, final: bool) -> None: ...


def _view(canvas: NotebookCanvas, segment: Segment, position: int) -> _View:
    # Only Markdown is drawn in pieces that stand alone; code is Markdown, with fences.
    if isinstance(segment, TextSegment) and canvas.transcript.look.form in ("md", "code"):
        return _TextView(canvas, segment, position)
    return _CardView(canvas, segment)


class _CardView:
    """A segment that is one output: thinking, a tool, a notice, the footer."""

    def __init__(self, canvas: NotebookCanvas, segment: Segment) -> None:
        self._canvas = canvas
        self._segment = segment
        self._output: Output | None = None
        self._version = -1
        self._next = 0.0
        self._began: float | None = None
        self._done = False

    def draw(self, *, final: bool) -> None:
        """Draw, unless nothing changed."""
        segment = self._segment
        done = final or is_done(segment)
        if self._done and self._version == segment.version:
            return
        look = self._canvas.transcript.look
        bundle = render(segment, live=not done, elapsed=self._elapsed(), look=look)
        if not done and (not bundle.plain.strip() or self._rests()):
            return
        if done and isinstance(segment, ThinkingSegment) and not self._worth(segment):
            self._done, self._version = True, segment.version
            return
        self._output = self._output or self._canvas.output(segment)
        if isinstance(segment, FooterSegment):
            self._output.metadata = {"alloy": _facts(segment)}
        self._canvas.put(self._output, self, bundle)
        self._done, self._version = done, segment.version

    def _worth(self, segment: ThinkingSegment) -> bool:
        """Tell whether thinking is shown: without a word it is, if it was hidden or took time."""
        return bool(self._output or segment.redacted or segment.text.strip())

    def _rests(self) -> bool:
        """Keep thinking slower than the answer: nobody reads along."""
        if not isinstance(self._segment, ThinkingSegment):
            return False
        if self._canvas.now < self._next:
            return True
        self._next = self._canvas.now + _THINKING_FRAME
        return False

    def _elapsed(self) -> float:
        segment = self._segment
        if isinstance(segment, ToolSegment) and segment.state != "running":
            return 0
        if self._began is None:
            self._began = self._canvas.now
        return self._canvas.now - self._began


class _TextView:
    """A stretch of the answer: sealed outputs, a body, a tail."""

    def __init__(self, canvas: NotebookCanvas, segment: TextSegment, position: int) -> None:
        self._canvas = canvas
        self._segment = segment
        self._flow = Flow(position)
        self._read = 0
        self._version = -1
        self._outputs: dict[Group, Output] = {}
        self._cited: dict[Group, int] = {}

    def draw(self, *, final: bool) -> None:
        """Draw the groups that changed."""
        if self._version == self._segment.version and (self._flow.closed or not final):
            return
        self._version = self._segment.version
        self._flow.feed(self._segment.since(self._read))
        self._read = len(self._segment.pieces)
        if final or self._segment.finished:
            self._flow.close()
        for group in self._flow.groups:
            if group.sealed:
                self._draw_sealed(group)
        if not self._flow.closed:
            self._draw_live()

    def _draw_sealed(self, group: Group) -> None:
        """Draw a group for good; once more if sources for it came later."""
        every = self._segment.references
        cited = len(every) if self._flow.closed else 0
        if self._cited.get(group) == cited:
            return
        self._cited[group] = cited
        last = self._flow.closed and group is self._flow.groups[-1]
        references = group.references(every, last=last)
        bundle = render_text(group.text, references, sources=every if last else ())
        group.drawn = len(group.pieces)
        self._put(group, bundle)

    def _draw_live(self) -> None:
        body = self._flow.body
        if body and (not body.drawn or body.waiting >= max(_BODY_STEP, body.size // 8)):
            references = body.references(self._segment.references, last=False)
            self._put(body, render_text(body.text, references, live=True))
            body.drawn = len(body.pieces)
        self._put(self._flow.groups[-1], render_text(join(self._flow.tail()), live=True))

    def _put(self, group: Group, bundle: Bundle) -> None:
        output = self._outputs.get(group)
        if output is None:
            if not bundle.plain.strip():
                return  # nothing to see yet: no output either
            output = self._outputs[group] = self._canvas.output(self._segment)
        self._canvas.put(output, group, bundle)


def _facts(segment: FooterSegment) -> dict[str, Any]:
    """Return what a program may want to read from a saved notebook."""
    usd = {clean(name): _usd(cost) for name, cost in segment.agents.items()}
    return {
        "model": clean(segment.model),
        "status": segment.status,
        "seconds": round(segment.seconds, 3),
        "usage": segment.usage.model_dump(mode="json"),
        "usd": _usd(segment.cost),
        **({"usd_by_agent": usd} if usd else {}),
    }


def _usd(cost: Cost) -> str | None:
    return None if cost.usd is None else str(cost.usd)


class RecordingCanvas(NotebookCanvas):
    """Draws at every mark, without a clock, and keeps what it drew.

    `frames` holds everything that was published, in order; `saved` is what a notebook would hold.
    """

    def __init__(self, transcript: Transcript) -> None:
        self.frames: list[tuple[str, dict[str, Any]]] = []
        super().__init__(transcript, self._keep, clock=_Never())

    def mark(self) -> None:
        """Draw a frame."""
        if not self._closed:
            self._draw(final=False)
            self._send()

    @property
    def saved(self) -> list[dict[str, Any]]:
        """The last form of each output, in order."""
        return list(dict(self.frames).values())

    def _keep(self, data: dict[str, Any], *, display_id: str, **_: object) -> None:
        self.frames.append((display_id, data))


class _Never:
    """A clock that stands still."""

    def time(self) -> float:
        return 0.0

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        raise NotImplementedError

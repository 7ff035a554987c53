"""A result as the value of a cell.

The cell that asked has drawn the answer while it streamed, so its result draws nothing there; shown
again later, as ``_`` or by its name, it draws itself whole.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

from alloy_nb.engine.run import Result
from alloy_nb.notebook.drawing.canvas import canvas_for
from alloy_nb.notebook.drawing.cards import publish_text
from alloy_nb.notebook.drawing.segments import FooterSegment, TextSegment
from alloy_nb.notebook.drawing.transcript import Transcript
from alloy_nb.notebook.inputs import stale

__all__ = ["drawn", "known", "show"]

_transcripts: WeakKeyDictionary[Result, Transcript] = WeakKeyDictionary()
_in_this_cell: WeakKeyDictionary[Result, int] = WeakKeyDictionary()


def drawn(result: Result, transcript: Transcript) -> None:
    """Note that a result is on the screen already, in the cell that runs."""
    _transcripts[result] = transcript
    _in_this_cell[result] = _execution_count()


def known(result: Result, transcript: Transcript) -> None:
    """Note what a result looks like, which is on the screen elsewhere."""
    _transcripts[result] = transcript


def show(result: Result) -> None:
    """Draw a result, unless the cell that runs has drawn it. IPython calls this."""
    shell = _shell()
    if _in_this_cell.pop(result, None) == _execution_count():
        if not hasattr(shell, "kernel"):
            print(repr(result))  # noqa: T201  # a terminal has printed Out[n]: already
        return
    transcript = _transcripts.get(result) or _transcript_of(result)
    if result.error:
        # Where it was asked, this stood below the answer as the cell's error.
        transcript.failed(result.error)
    canvas_for(transcript, shell).finish()
    if told := stale.note(result):
        publish_text(told)


def _transcript_of(result: Result) -> Transcript:
    transcript = Transcript()
    if result.text:
        segment = TextSegment(finished=True)
        segment.add(result.text)
        transcript.segments.append(segment)
    transcript.segments.append(_footer(result))
    transcript.finished = True
    return transcript


def _footer(result: Result) -> FooterSegment:
    said = next((m.origin for m in reversed(result.messages) if m.origin is not None), None)
    return FooterSegment(
        model=said.model if said is not None else "",
        usage=result.usage,
        cost=result.cost,
        seconds=result.seconds,
        status=result.status.value,
        turns=result.turns,
    )


def _shell() -> object:
    from IPython import get_ipython

    shell: object = get_ipython()
    return shell


def _execution_count() -> int:
    return int(getattr(_shell(), "execution_count", 0))

"""An answer whose rest comes when the test lets it: no pace and no sleep that a machine may miss.

::

    let = threading.Event()
    with Server(holds(Reply([Say(words(30), size=7)]), "word09", let)) as server:
        ...                                             # the answer stands before word09
        let.set()                                       # and now it goes on
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator

from tests.servers.sse import Answer, Handler, Pause, Piece, Request, stream
from tests.servers.wire import Reply, anthropic_events, chat_events

__all__ = ["held", "holds"]

_STEP, _MOST = 0.02, 60.0


def held(pieces: Iterable[Piece], before: str, let: threading.Event) -> Iterator[Piece]:
    """Wait before the first piece that holds these words, for a minute at most."""
    waits = True
    for piece in pieces:
        if waits and isinstance(piece, bytes) and before.encode() in piece:
            waits, end = False, time.monotonic() + _MOST
            while not let.is_set() and time.monotonic() < end:
                yield Pause(_STEP)
        yield piece


def holds(reply: Reply, before: str, let: threading.Event) -> Handler:
    """Answer so, in the format of the request."""

    def answer(request: Request) -> Answer:
        anthropic = request.path.partition("?")[0].endswith("/messages")
        events = anthropic_events(reply) if anthropic else chat_events(reply)
        return stream(held(events, before, let))

    return answer

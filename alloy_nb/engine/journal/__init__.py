"""Conversations on disk: what was said and shown outlives the kernel.

::

    Store (a file beside the notebook)
      └── Journal (one session: a tree of turns, one writer)
            └── Turn (begin, note, flush, finish)

`schema` has the tables, `database` the file, `outbox` what is held while the file cannot be
written, `rescue` what is read of a damaged one, `recovery` the messages of a turn that was killed.
"""

from alloy_nb.engine.journal.batches import coalesced
from alloy_nb.engine.journal.journal import Journal
from alloy_nb.engine.journal.store import Store
from alloy_nb.engine.journal.turn import Turn
from alloy_nb.engine.journal.values import CRASHED, Found, Hit, Kept, Node, SessionInfo

__all__ = [
    "CRASHED",
    "Found",
    "Hit",
    "Journal",
    "Kept",
    "Node",
    "SessionInfo",
    "Store",
    "Turn",
    "coalesced",
]

"""Who may say yes: the question before a call, how it is asked, and what was allowed before.

::

    policy ─▶ rules.asker ─▶ Approver
                │ remembered.Memory: just this call, from now on in this session
                └ person.Person ─▶ a card with buttons (card.py), where the front end shows one,
                                   and the panels (pending.py): the first answer counts
                                   else input(), on the main thread
                                   else nobody: denied with a reason, never waited for
"""

from __future__ import annotations

from alloy_nb.notebook.approval.question import visible
from alloy_nb.notebook.approval.remembered import Memory
from alloy_nb.notebook.approval.rules import Approvals, OfTheTurn, Rules, asker, meaning, named

__all__ = ["Approvals", "Memory", "OfTheTurn", "Rules", "asker", "meaning", "named", "visible"]

"""Shortening a conversation because a person asks for it, between two turns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from alloy_nb.engine.budget import Spending
from alloy_nb.engine.run import Run
from alloy_nb.engine.sessions.history import History
from alloy_nb.engine.window.compaction import SUMMARY_PROMPT, sizes_of
from alloy_nb.engine.window.compactor import Compactor
from alloy_nb.engine.window.conversation import Conversation, View
from alloy_nb.usage import Cost, Usage

if TYPE_CHECKING:
    from alloy_nb.engine.agent import Agent

__all__ = ["Shortened", "shorten"]

# Of a conversation that is shortened on demand, this part of its end stays as it is.
_KEPT = 4


@dataclass(frozen=True, slots=True)
class Shortened:
    """What came of it: about how many tokens were sent before and are now, and what it cost.

    `view` is ``None`` where there was nothing to shorten.
    """

    before: int
    after: int
    usage: Usage
    cost: Cost
    view: View | None = None


async def shorten(agent: Agent, history: History, focus: str = "") -> Shortened:
    """Let a summary stand for the older part of a history, whose view is changed.

    Raises:
        AlloyError: A limit of cost is reached, or a middleware stops it.
    """
    talk = Conversation(history.messages, history.view, history.memory)
    told = agent.instructions
    talk.measured.fix((agent.tools, told, None), told, agent.tool_specs)
    before = talk.measured.tokens
    spending = Spending(agent.budget, agent.unknown_price)
    sent = sum(sizes_of(talk.sent, talk.measured.ratio))
    settings = replace(
        agent.compaction,
        keep_recent_tokens=max(1, sent // _KEPT),
        summary_prompt=_prompt(agent.compaction.summary_prompt or SUMMARY_PROMPT, focus),
    )
    asked = replace(agent, compaction=settings)
    compactor = Compactor(asked, talk, spending, Run(agent=agent.name, context=agent.context), None)
    done = await compactor.compact()
    history.usage += spending.usage
    history.cost += spending.cost
    if done:
        history.view, history.provider_state = talk.view, None
    view = talk.view if done else None
    return Shortened(before, talk.measured.tokens, spending.usage, spending.cost, view)


def _prompt(asked: str, focus: str) -> str:
    return f"{asked}\n\nGive most room to: {focus}" if focus.strip() else asked

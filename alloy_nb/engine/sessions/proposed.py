"""What a turn would send, without sending it: the same pieces as in a run, put together once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from alloy_nb.engine.agent import Agent, Prompt, message_of
from alloy_nb.engine.budget import RESERVED_OUTPUT
from alloy_nb.engine.sessions.cue import Cue
from alloy_nb.engine.structured import Structured
from alloy_nb.engine.window.conversation import Conversation
from alloy_nb.errors import ConfigError
from alloy_nb.messages import Message
from alloy_nb.providers.base import ModelRequest

if TYPE_CHECKING:
    from alloy_nb.engine.sessions.session import Session

__all__ = ["Proposed", "proposed"]


@dataclass(frozen=True, slots=True)
class Proposed:
    """The first request of a turn.

    Args:
        agent: Who would ask it.
        request: All of it.
        history: What it sends of the conversation before.
        said: What the person says with it.
    """

    agent: Agent
    request: ModelRequest
    history: Sequence[Message]
    said: Message


def proposed(
    session: Session,
    prompt: Prompt,
    settings: Mapping[str, Any],
    *,
    cue: Cue | None = None,
    until: int | None = None,
) -> Proposed:
    """Return what a turn would send first; nothing changes, and nothing is written.

    Args:
        session: Who would be asked.
        prompt: What is said.
        settings: Settings that hold for the turn alone.
        cue: Where it is asked from.
        until: How many of the messages so far come before it; ``None`` is all.

    Raises:
        ConfigError: A setting is wrong, or there is nothing to say.
    """
    agent = session.agent.with_settings(**settings)
    kept = session._history
    messages = kept.messages if until is None else kept.messages[:until]
    talk = Conversation(messages, kept.view, {})
    said = message_of(prompt)
    if said is None:
        raise ConfigError("There is no prompt.")
    if cue is not None and messages:
        said = cue.with_note(said) or said
    history = list(talk.sent)
    talk.append(said)
    options = agent.options
    if agent.budget is not None and options.max_output_tokens is None:
        options = replace(options, max_output_tokens=RESERVED_OUTPUT)  # as the loop does
    ending = agent.until_tool
    request = ModelRequest(
        messages=talk.sent,
        system=agent.instructions,
        tools=(*agent.tool_specs, *([ending.spec] if isinstance(ending, Structured) else ())),
        options=options,
        state=kept.provider_state if until is None else None,
    )
    return Proposed(agent, request, history, said)

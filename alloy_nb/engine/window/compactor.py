"""Shortens the conversation of a run when it is due; how, is in `compaction`."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from alloy_nb.engine.budget import Spending
from alloy_nb.engine.middleware.base import around_model
from alloy_nb.engine.middleware.logs import log
from alloy_nb.engine.retry import close
from alloy_nb.engine.window.compaction import (
    DEFAULT_WINDOW,
    SUMMARY_PROMPT,
    SUMMARY_SYSTEM_PROMPT,
    Limits,
    cleared,
    cut_point,
    head_length,
    is_summary,
    narrower,
    sizes_of,
    summary_message,
    transcript,
    truncated,
    window_of,
)
from alloy_nb.engine.window.conversation import Conversation
from alloy_nb.errors import ConfigError, Halted
from alloy_nb.events import ContextCompacted, ModelEvent
from alloy_nb.messages import Message, user
from alloy_nb.providers.base import ModelOptions, ModelRequest
from alloy_nb.providers.fold import ReplyBuilder
from alloy_nb.usage import Cost, Usage

if TYPE_CHECKING:
    from alloy_nb.engine.agent import Agent
    from alloy_nb.engine.run import Run

__all__ = ["Compactor"]


# No model has a smaller window than this. Below it nobody needs to know which one it is, and the
# table of windows takes longer to import than all of this package.
_NEVER_FULL = 2_000
# A summary is a page or two; what a model thinks before it counts too.
_SUMMARY_TOKENS = 1_024
_CHARACTERS_A_TOKEN = 3


class Compactor:
    """Shortens one run's conversation.

    Args:
        agent: The settings.
        conversation: What is shortened.
        spending: Where the summary is counted.
        run: Where events go.
        deadline: ``time.monotonic()`` at which the run is over, or ``None``.
    """

    def __init__(
        self,
        agent: Agent,
        conversation: Conversation,
        spending: Spending,
        run: Run,
        deadline: float | None,
    ) -> None:
        self.count = 0
        self._agent = agent
        self._settings = agent.compaction
        self._conversation = conversation
        self._spending = spending
        self._run = run
        self._deadline = deadline
        self._known_limits: Limits | None = None
        self._paid: tuple[Usage | None, Cost | None] = (None, None)

    def is_due(self) -> bool:
        """Return whether the conversation has come near the window."""
        tokens, agent = self._conversation.measured.tokens, self._agent
        is_told = agent.context_budget is not None or agent.model_metadata_overrides
        if tokens < _NEVER_FULL and not is_told:
            return False
        return tokens > max(self._limits.trigger, self._conversation.measured.floor)

    async def compact(self, *, forced: bool = False) -> bool:
        """Shorten the conversation and return whether it is shorter now.

        Args:
            forced: It has overflowed the window, whatever the estimate says.

        Raises:
            Halted: A middleware ended the run.
        """
        conversation = self._conversation
        before, self._paid = conversation.sent, (None, None)
        if forced:
            tokens = conversation.measured.tokens
            self._known_limits = narrower(self._limits, self._settings, tokens)
        shorter, how = await self._shortened(before, forced=forced)
        changed = shorter is not None
        if shorter is not None:
            self.count += 1
            conversation.shorten(await self._told(shorter))
            sizes = (len(before), len(conversation.sent))
            self._run.emit(ContextCompacted(*sizes, how, forced, *self._paid))
        # Where that was not enough, another try is due only when there is more to take.
        measured = conversation.measured
        over = measured.tokens > self._limits.trigger
        measured.floor = measured.tokens + self._limits.keep_recent if over else 0
        return changed

    @property
    def _limits(self) -> Limits:
        if self._known_limits is None:
            budget = self._agent.context_budget or DEFAULT_WINDOW
            if self._agent.context_budget is None:
                overrides = self._agent.model_metadata_overrides
                budget = window_of(self._agent.provider, overrides) or DEFAULT_WINDOW
            self._known_limits = self._settings.limits(budget)
        return self._known_limits

    # --- what is left -----------------------------------------------------------------------------

    async def _shortened(
        self, messages: Sequence[Message], *, forced: bool
    ) -> tuple[list[Message] | None, str]:
        """Return the messages that stay and how that was done; ``None`` where all of them do."""
        now = list(messages)
        if self._settings.clear_tool_results:
            now = cleared(messages, self._settings.keep_recent_tool_results)
            if _differ(now, messages) and not forced and self._fits(now):
                return now, "cleared"
        head = head_length(now)
        cut = cut_point(now, self._sizes(now), self._limits.keep_recent)
        first = head + (len(now) > head and is_summary(now[head]))
        if cut > first:
            await self._announce(now[first:cut])
            pins = self._conversation.pins()
            old = [message for n, message in enumerate(now[:cut]) if n >= head and not pins[n]]
            summary = await self._summary(old, forced=forced)
            if summary is not None:
                kept = [message for n, message in enumerate(now[:cut]) if n >= head and pins[n]]
                return [*now[:head], summary_message(summary), *kept, *now[cut:]], "summary"
        short = truncated(now)
        if forced and cut > first and not _differ(short, messages):
            # Signed messages cannot be cut short: whole turns go, the oldest first.
            short = [*now[:first], *now[cut:]]
        return (short, "truncated") if _differ(short, messages) else (None, "")

    def _fits(self, messages: Sequence[Message]) -> bool:
        measured = self._conversation.measured
        gone = sum(measured.sizes()) - sum(self._sizes(messages))
        return measured.tokens - gone <= self._limits.trigger

    def _sizes(self, messages: Sequence[Message]) -> list[int]:
        return sizes_of(messages, self._conversation.measured.ratio)

    # --- who is told ------------------------------------------------------------------------------

    async def _announce(self, condensed: list[Message]) -> None:
        """Call the user's ``on_compaction``; what it raises is logged and stops nothing."""
        told = self._agent.on_compaction
        if told is None:
            return
        try:
            answer = told(condensed, self._run)
            if inspect.isawaitable(answer):
                await answer
        except Exception:  # a callback that takes notes must not end the run
            log.exception("on_compaction failed")

    async def _told(self, messages: list[Message]) -> list[Message]:
        """Tell each middleware what is left; it may put other messages in its place."""
        for layer in self._agent.middleware:
            changed = await layer.compacted(messages)
            if changed is None:
                continue
            messages = list(changed)
            if not messages or not all(isinstance(m, Message) for m in messages):
                name = type(layer).__name__
                raise ConfigError(f"{name}.compacted must return messages, or None.")
        return messages

    # --- the summary ------------------------------------------------------------------------------

    async def _summary(self, messages: Sequence[Message], *, forced: bool) -> str | None:
        """Ask the same model for a summary; ``None`` where none came, whatever the reason."""
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return None
        limits = self._limits
        room = limits.budget // 2 if forced else max(limits.trigger, limits.budget // 2)
        asked = self._settings.summary_prompt or SUMMARY_PROMPT
        text = transcript(messages, max(room, _SUMMARY_TOKENS) * _CHARACTERS_A_TOKEN)
        try:
            answer = await self._ask(f"{asked}\n\n<conversation>\n{text}\n</conversation>")
        except (asyncio.CancelledError, Halted):
            raise
        except Exception as error:  # of whatever kind: there is another way, and the run goes on
            log.warning("No summary was made, so old messages are cut short: %s", error)
            return None
        return answer if answer.strip() else None

    async def _ask(self, prompt: str) -> str:
        agent, spending, provider = self._agent, self._spending, self._agent.provider
        request = ModelRequest(
            messages=[user(prompt)],
            system=self._settings.summary_system_prompt or SUMMARY_SYSTEM_PROMPT,
            options=ModelOptions(
                max_output_tokens=max(_SUMMARY_TOKENS, self._limits.reserve),
                # What a provider may have switched on for its answers.
                web_search=False,
                x_search=False,
                code_execution=False,
                extra_body=agent.options.extra_body,
            ),
            deadline=self._deadline,
            purpose="summary",
        )
        reserved = spending.reserve((provider,), request)
        builder = ReplyBuilder(provider=provider.name, model=provider.model)
        sent: list[AsyncIterator[ModelEvent]] = []

        def opened(wrapped: ModelRequest) -> AsyncIterator[ModelEvent]:
            sent.append(provider.stream(wrapped))
            return sent[-1]

        stream = around_model(agent.middleware, opened)(request)
        try:
            async for event in stream:
                builder.feed(event)
            reply = builder.done()
        except BaseException as error:  # what was sent is paid for, however it ended
            spending.settle_failed(
                reserved,
                provider,
                builder.usage,
                error,
                has_output=builder.has_output,
                was_sent=bool(sent),
            )
            raise
        finally:
            for opened_stream in (stream, *sent):
                await close(opened_stream)
        self._paid = (reply.usage, spending.settle(reserved, provider, reply.usage))
        return reply.message.text


def _differ(new: Sequence[Message], old: Sequence[Message]) -> bool:
    return len(new) != len(old) or any(a is not b for a, b in zip(new, old, strict=True))

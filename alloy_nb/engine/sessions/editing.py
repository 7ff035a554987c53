"""What a session can do with what was said: go back, branch, hide, pin, shorten."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from alloy_nb.engine import portal
from alloy_nb.engine.journal import Journal, Kept
from alloy_nb.engine.sessions import branches, shortening
from alloy_nb.engine.sessions.history import History, spoken
from alloy_nb.engine.sessions.turns import Turns
from alloy_nb.engine.window.conversation import Span, View, within
from alloy_nb.engine.window.measure import Measured, likely_tokens
from alloy_nb.errors import SessionError
from alloy_nb.events import Event
from alloy_nb.messages import Message

if TYPE_CHECKING:
    from alloy_nb.engine.agent import Agent

__all__ = ["Editable"]


class Editable:
    """The part of a `Session` that changes its conversation between turns.

    Turns are counted from 1, as they stand in the conversation now; negative numbers count from
    its end. Each method raises a `SessionError` while a turn is under way.
    """

    agent: Agent
    journal: Journal | None
    _history: History
    _turns: Turns

    # --- going back -----------------------------------------------------------------------------

    def undo(self) -> Kept:
        """Go back to before the last turn, and return it.

        In a journal it stays on a branch of its own.

        Raises:
            SessionError: There is none, or a turn is under way.
        """
        if self.journal is not None:
            with self._turns.between():
                return branches.undo(self.journal, self._history)
        if not self._history.turns:
            raise SessionError("There is nothing to undo: the conversation has no turn yet.")
        return self.rewind(-1)

    def rewind(self, turn: int) -> Kept:
        """Go back to before a turn, and return it; raises as `undo`."""
        with self._turns.between():
            return branches.rewind(self.journal, self._history, self._place(turn))

    def first_of(self, turn: int) -> int:
        """Return how many messages came before a turn; raises as `undo`."""
        return self._history.turns[self._place(turn)].first

    def fork(self, name: str) -> None:
        """Begin a branch here and go on with it.

        Raises:
            SessionError: There is one of this name, or no journal, or a turn is under way.
        """
        with self._turns.between():
            branches.journaled(self.journal).fork(name)

    def use_branch(self, name: str) -> None:
        """Go on with another branch of the conversation; raises as `fork`."""
        with self._turns.between():
            branches.use(self.journal, self._history, name)

    def events_of(self, turn: int) -> list[Event]:
        """Return what happened in a turn that the journal has; raises as `fork`."""
        journal = branches.journaled(self.journal)
        return journal.events(spoken(journal.turns())[self._place(turn)].id)

    # --- what is sent ---------------------------------------------------------------------------

    @property
    def hidden(self) -> tuple[int, ...]:
        """The turns that are not sent."""
        return self._marked(self._view.hidden)

    @property
    def pinned(self) -> tuple[int, ...]:
        """The turns that no summary may stand for."""
        return self._marked(self._view.pinned)

    @property
    def summary(self) -> tuple[Message, ...]:
        """What is sent in the place of the first `summarised` messages."""
        return self._view.messages

    @property
    def summarised(self) -> int:
        """How many messages a summary stands for."""
        return self._view.covers

    def tokens_of(self, messages: Iterable[Message]) -> int:
        """Return about how many tokens these are to the model, by what its vendor counted last."""
        measured = self._history.memory.get(Measured)
        ratio = measured.ratio if isinstance(measured, Measured) else 1.0
        return int(sum(map(likely_tokens, messages)) * ratio)

    def hide(self, *turns: int, hide: bool = True) -> None:
        """Send turns no more, or again; they stay in the conversation.

        Raises:
            SessionError: One of them is not there, or a summary stands for it already. Then
                nothing is changed.
        """
        with self._turns.between():
            spans = [self._span(turn) for turn in turns]
            for turn, span in zip(turns, spans, strict=True):
                if span[0] < self._view.covers:
                    raise SessionError(
                        f"A summary stands for turn {turn} already: it is not sent, and cannot be."
                    )
            self._set_view(hidden=_with(self._view.hidden, spans, there=hide))

    def pin(self, *turns: int, pin: bool = True) -> None:
        """Keep turns as they are when the conversation is shortened, or no more.

        Raises:
            SessionError: One of them is not there. Then nothing is changed.
        """
        with self._turns.between():
            spans = [self._span(turn) for turn in turns]
            self._set_view(pinned=_with(self._view.pinned, spans, there=pin))

    def compact(self, focus: str = "") -> shortening.Shortened:
        """Shorten the conversation now, as it is otherwise when it nears the window; blocks.

        The model is asked for a summary, which is paid; the whole conversation stays in `messages`.

        Args:
            focus: What the summary must not lose.

        Raises:
            SessionError: A turn is under way.
            AlloyError: The summary could not be asked for.
        """
        return portal.run_sync(self._compact(focus))

    async def acompact(self, focus: str = "") -> shortening.Shortened:
        """Shorten the conversation, as `compact`; awaitable in any event loop."""
        return await portal.run_async(self._compact(focus))

    async def _compact(self, focus: str) -> shortening.Shortened:
        self._turns.take()
        try:
            outcome = await shortening.shorten(self.agent, self._history, focus)
            if outcome.view is not None and self.journal is not None:
                # It changed nothing that was said: a turn of its own, with no messages.
                turn = self.journal.begin(None)
                view = outcome.view.model_dump(mode="json")
                await asyncio.to_thread(
                    lambda: turn.finish(
                        (), status="completed", usage=outcome.usage, cost=outcome.cost, view=view
                    )
                )
            return outcome
        finally:
            self._turns.release()

    # --- inside ---------------------------------------------------------------------------------

    @property
    def _view(self) -> View:
        return self._history.view or View()

    def _place(self, turn: int) -> int:
        """Return the index of a turn.

        Raises:
            SessionError: There is none.
        """
        count = len(self._history.turns)
        place = turn - 1 if turn > 0 else count + turn
        if turn == 0 or not 0 <= place < count:
            there = f"it has {count}" if count else "it has none yet"
            raise SessionError(f"The conversation has no turn {turn}: {there}.")
        return place

    def _span(self, turn: int) -> Span:
        record = self._history.turns[self._place(turn)]
        return record.first, record.first + record.count

    def _marked(self, spans: tuple[Span, ...]) -> tuple[int, ...]:
        turns = enumerate(self._history.turns, 1)
        return tuple(number for number, turn in turns if within(turn.first, spans) and turn.count)

    def _set_view(
        self, *, hidden: tuple[Span, ...] | None = None, pinned: tuple[Span, ...] | None = None
    ) -> None:
        view = self._view
        view = view.model_copy(
            update={
                "hidden": view.hidden if hidden is None else hidden,
                "pinned": view.pinned if pinned is None else pinned,
            }
        )
        self._history.view = None if view == View() else view
        self._history.provider_state = None  # what the vendor keeps was made of more
        if self.journal is not None and self.journal.head is not None:
            self.journal.set_view(view.model_dump(mode="json"))


def _with(spans: tuple[Span, ...], marked: list[Span], *, there: bool) -> tuple[Span, ...]:
    others = tuple(each for each in spans if each not in marked)
    return (*others, *dict.fromkeys(marked)) if there else others

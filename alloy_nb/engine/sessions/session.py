"""A conversation: its history, its settings, one turn at a time.

Everything may be called from any thread. A turn begins in one place (`Session._turn`), and its end
changes the history in one place (`Session._keep`), whoever asked: a caller that waits, a request
that was sent, a topic, another agent. `export_session` is what there is to store of it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alloy_nb.engine import delegation, export, portal
from alloy_nb.engine.agent import Prompt, delivering, make_agent, message_of
from alloy_nb.engine.journal import Journal
from alloy_nb.engine.run import Result, Run
from alloy_nb.engine.sessions import branches, keeping, lifecycle, record, turns
from alloy_nb.engine.sessions.bus import EventBus
from alloy_nb.engine.sessions.cue import Cue
from alloy_nb.engine.sessions.editing import Editable
from alloy_nb.engine.sessions.keeping import Keeper
from alloy_nb.engine.sessions.record import Health, SessionRecord, session_id
from alloy_nb.engine.sessions.requests import AgentResponse, Inbox, Phase, Request
from alloy_nb.engine.sessions.sent import Sent
from alloy_nb.engine.sessions.watching import Watched
from alloy_nb.engine.window.compaction import window_of
from alloy_nb.errors import SessionError
from alloy_nb.events import Event
from alloy_nb.messages import Message
from alloy_nb.providers.base import Provider
from alloy_nb.usage import Cost, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from alloy_nb.engine.calls.tool import Tool
    from alloy_nb.engine.middleware.base import Middleware

__all__ = ["Session"]

log = logging.getLogger("alloy_nb")

_Tell = tuple[Callable[[str], object] | None, Callable[[Event], object] | None]


class Session(Editable, Watched):
    """A conversation with an agent.

    Example:
        >>> session = Session(provider="demo")
        >>> session.chat("What is 6 * 7?").ok
        True

    Args:
        provider: As in `alloy_nb.run`.
        messages: A history to begin with.
        journal: Where turns are written as they happen: a folder, in which a new session is kept
            (``.alloy/sessions.db``), or a `Journal`, with whose conversation it goes on.
        name: What it is called in messages and events.
        id: What it is known by, always; the default is ``context["session_id"]``, or else random.
        bus: Where responses are published and `subscribe` is heard; the default is one of its own.
        subscribe: Topics: a text that is published there is a request, as with `send_message`.
        max_pending: How many requests may wait while it answers.
        on_shutdown: Called with the session when it is stopped, plain or ``async``.
        settings: The settings of `alloy_nb.run`; a limit on cost holds for the whole session.

    Raises:
        ConfigError: A setting is wrong.
    """

    def __init__(
        self,
        *,
        provider: str | Provider,
        messages: Iterable[Message] = (),
        journal: Journal | Path | str | None = None,
        name: str = "main",
        id: str | None = None,  # noqa: A002  # what it is
        bus: EventBus | None = None,
        subscribe: Iterable[str] = (),
        max_pending: int = 0,
        on_shutdown: Callable[[Session], object] | None = None,
        **settings: Any,
    ) -> None:
        self.agent, _ = make_agent(provider, {**settings, "name": name})
        self.name = name
        self.journal = branches.journal_of(journal, name, id)
        self.id = self.journal.id if self.journal else session_id(id, self.agent.context)
        self.bus = bus if bus is not None else EventBus()
        self.on_shutdown = on_shutdown
        self._history = branches.begun(self.journal, messages)
        self._keeper: Keeper | None = None
        self._sent = Sent()
        self._made = time.monotonic()
        self._turns = turns.Turns(name, self._tell_of_change)
        self._inbox = Inbox(
            name, self._turns, limit=max_pending, turn=self._turn_of, publish=self._publish
        )
        self._lock = threading.Lock()  # of `_running` and `_stopping`
        self._running: lifecycle.Running | None = None
        self._stopping: Future[None] | None = None
        self._told: list[Middleware] = []
        self._ledger: delegation.Ledger | None = None  # its team's
        self._subscriptions = lifecycle.listen(self, subscribe)

    def __repr__(self) -> str:
        model = f"{self.provider.name}/{self.provider.model}"
        return f"Session({self.name!r}, {model}, {len(self._messages)} messages, {self.cost})"

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.astop()

    @property
    def provider(self) -> Provider:
        """The model that answers now."""
        return self.agent.provider

    @property
    def messages(self) -> list[Message]:
        """The conversation so far, as a copy; a turn under way is not in it yet."""
        return list(self._messages)

    @property
    def results(self) -> list[Result]:
        """The outcome of each turn since it was made; its `messages` are those that it added."""
        return self._history.results

    @property
    def usage(self) -> Usage:
        """Tokens of all turns; a reset does not lower them."""
        return self._history.usage

    @property
    def cost(self) -> Cost:
        """US dollars of all turns; a reset does not lower them."""
        return self._history.cost

    @property
    def run(self) -> Run | None:
        """The turn under way, or ``None``."""
        with self._lock:
            return None if self._running is None else self._running.run

    @property
    def context_window(self) -> int | None:
        """Tokens that the model can read, or ``None`` where that is unknown."""
        return window_of(self.provider, self.agent.model_metadata_overrides)

    @property
    def context_tokens(self) -> int | None:
        """Tokens that the last reply read and wrote, or ``None`` before the first."""
        return self._history.context_tokens

    # --- asking and waiting -------------------------------------------------------------------

    def chat(self, prompt: Prompt, *, wait: bool = False, **settings: Any) -> Result:
        """Say something and return the outcome; blocks. Settings hold for this turn alone.

        While it answers already, a second caller is told so at once; with ``wait=True`` it takes
        its turn after all who came before.
        """
        return portal.run_sync(self._chat(prompt, settings, wait=wait))

    async def achat(self, prompt: Prompt, *, wait: bool = False, **settings: Any) -> Result:
        """Say something, as `chat`; awaitable in any event loop."""
        return await portal.run_async(self._chat(prompt, settings, wait=wait))

    def stream_chat(
        self,
        prompt: Prompt,
        on_text: Callable[[str], object] | None = None,
        *,
        on_event: Callable[[Event], object] | None = None,
        wait: bool = False,
        **settings: Any,
    ) -> Result:
        """Say something, and call `on_text` with each piece of the answer, on this thread."""
        return portal.run_sync(self._chat(prompt, settings, (on_text, on_event), wait=wait))

    async def astream_chat(
        self,
        prompt: Prompt,
        on_text: Callable[[str], object] | None = None,
        *,
        on_event: Callable[[Event], object] | None = None,
        wait: bool = False,
        **settings: Any,
    ) -> Result:
        """Say something, as `stream_chat`; awaitable in any event loop."""
        return await portal.run_async(self._chat(prompt, settings, (on_text, on_event), wait=wait))

    @asynccontextmanager
    async def start(
        self, prompt: Prompt, *, wait: bool = False, cue: Cue | None = None, **settings: Any
    ) -> AsyncIterator[Run]:
        """Begin a turn on the running loop; leaving the block stops it and keeps what it said.

        With a journal the `cue` says where it is asked from: a turn from there is replaced, and
        one that is asked again may be replayed.

        Raises:
            SessionError: A turn is under way already, and this one is not to wait; another kernel
                writes to the session; or it was only to be replayed, and cannot be.
            ConfigError: A setting is wrong; nothing was sent.
        """
        with self._turns.waited_for():
            if wait:
                await self._turns.wait()
            else:
                self._turns.take()
            async with self._turn(prompt, settings, cue=cue) as run:
                yield run

    # --- asking and going on ------------------------------------------------------------------

    def send_message(self, prompt: Prompt, request_id: str | None = None, **settings: Any) -> str:
        """Ask, and return the id of the request at once; it is answered in the background.

        The response is published on the bus (`responses_topic`), and `response` waits for it.
        While the session answers, up to `max_pending` requests wait for their turn, in order.

        Raises:
            SessionError: It is busy and no more may wait, it is stopped, or the id is in use.
            ConfigError: A setting is wrong.
        """
        self.agent.with_settings(**settings)  # what is wrong is told now, not in the response
        request = self._inbox.put(prompt, request_id, settings=settings)
        return request.id

    def response(self, request_id: str) -> Request:
        """Return what to wait for: ``await session.response(id)``, or ``.result()`` to block.

        Raises:
            SessionError: No such request was sent, or its response is long gone.
        """
        return self._inbox.get(request_id)

    def cancel_request(self, request_id: str) -> bool:
        """Stop a request, or take it out of the queue; tell whether it was still open.

        Its response is published with the status *cancelled*. What was said of a running one
        stays in the history.
        """
        request = self._inbox.withdraw(request_id)
        if request is None:
            return False
        self._cancel_turn(request)
        return True

    def steer(self, prompt: Prompt) -> None:
        """Say something into the turn under way, as `Run.steer`; from any thread.

        Raises:
            SessionError: It does not answer now, or its answer is whole already.
            ConfigError: There is nothing in the prompt.
        """
        run = self.run
        if run is None:
            raise SessionError(f"The session {self.name!r} does not answer now: ask it.")
        message = message_of(prompt)
        if message is not None:
            run.steer(message)

    def cancel(self) -> None:
        """Ask the turn under way to end, if there is one, and return at once; its words are kept.

        Whoever waits for that turn gets its result, with the status *cancelled*.
        """
        self._cancel_turn()

    # --- settings and state -------------------------------------------------------------------

    def set_model(self, provider: str | Provider, **settings: Any) -> None:
        """Answer with another model from now on; the conversation and all settings stay.

        Raises:
            ConfigError: There is no such model.
            SessionError: A turn is under way.
        """
        with self._turns.between():
            self.agent = self.agent.with_settings(provider=provider, **settings)
            self._history.provider_state = None  # it belongs to the model that answered so far

    def configure(self, **settings: Any) -> None:
        """Change settings from now on, in the words of `alloy_nb.run`.

        Raises:
            ConfigError: A setting is wrong.
            SessionError: A turn is under way.
        """
        with self._turns.between():
            self.agent = self.agent.with_settings(**settings)

    def reset(self, *, cancel: bool = False) -> None:
        """Forget the conversation; the settings and what was spent stay.

        With ``cancel=True`` a turn under way is stopped first, and whatever waits is cancelled.

        Raises:
            SessionError: A turn is under way.
        """
        if cancel:
            portal.run_sync(self._cancel_and_forget())
            return
        with self._turns.between():
            self._forget()

    async def areset(self, *, cancel: bool = False) -> None:
        """Forget the conversation, as `reset`; awaitable in any event loop."""
        if cancel:
            await portal.run_async(self._cancel_and_forget())
        else:
            self.reset()

    def health(self) -> Health:
        """Return how the session is; at once, also while it answers."""
        return record.health_of(self, self._running)

    def export_session(self) -> SessionRecord:
        """Return the session as a value, as it was before the turn under way, if there is one."""
        return record.record_of(self, self._history)

    def export(self, path: str | Path, *, force: bool = False) -> Path:
        """Write it to ``.md``, ``.html``, ``.json``, ``.ipynb`` or ``.py``; see `engine.export`."""
        return export.write(self, Path(path), force=force)

    @classmethod
    def restore(
        cls, exported: SessionRecord, *, provider: str | Provider, **settings: Any
    ) -> Session:
        """Go on with an exported session: its id, its history, and what it has used.

        The model, the tools and all other settings are those that are given here, and a limit on
        cost counts from here.
        """
        session = cls(provider=provider, messages=exported.messages, id=exported.id, **settings)
        history = session._history
        history.usage, history.cost = exported.usage, exported.cost
        history.created_at, history.updated_at = exported.created_at, exported.updated_at
        history.turns = list(exported.turns)
        return session

    @classmethod
    def from_file(cls, path: str | Path, *, provider: str | Provider, **settings: Any) -> Session:
        """Go on with a ``.json`` of `export`, as `restore` does; a bad one is a `SessionError`."""
        exported = export.read(Path(path))
        named = {"name": export.name_in(exported), **settings}
        return cls.restore(exported, provider=provider, **named)

    @classmethod
    def resume(
        cls,
        which: str | None = None,
        *,
        provider: str | Provider,
        folder: Path | str = ".",
        **settings: Any,
    ) -> Session:
        """Go on with a session of the journal in a folder: the last one, or by its name or id.

        A turn in the middle of which its process ended is kept as far as it was shown.

        Raises:
            SessionError: There is none, or another process writes to it.
        """
        return branches.resumed(cls, folder, which=which, provider=provider, **settings)

    # --- the journal --------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what happened so far; a face calls it on its loop, before it shows that."""
        if self._keeper is not None:
            self._keeper.flush()

    def sent(self) -> str | None:
        """Return the last request as it went out, keys masked, or ``None`` before the first."""
        return self._sent.text()

    def stop(self) -> None:
        """End the session: stop its turn, cancel what waits, call `on_shutdown`. Blocks.

        What it knows can still be read. A second call does nothing.
        """
        portal.run_sync(lifecycle.stop(self))

    async def astop(self) -> None:
        """End the session, as `stop`; awaitable in any event loop."""
        await portal.run_async(lifecycle.stop(self))

    def as_tool(
        self, name: str | None = None, description: str | None = None, **options: Any
    ) -> Tool:
        """Make it a tool of another agent, which goes on with it in each call; see `delegation`."""
        return delegation.as_tool(self, name=name, description=description, **options)

    def count_in(self, ledger: delegation.Ledger) -> None:
        """Count each run of this session, and of those that it asks, in a ledger too."""
        self._ledger = ledger

    # --- one turn -----------------------------------------------------------------------------

    async def _chat(
        self,
        prompt: Prompt,
        settings: dict[str, Any],
        tell: _Tell = (None, None),
        *,
        wait: bool,
    ) -> Result:
        async with self.start(prompt, wait=wait, **settings) as run:
            with delivering(run, *tell):
                return await run.result()

    @asynccontextmanager
    async def _turn(
        self,
        prompt: Prompt,
        settings: dict[str, Any],
        request: Request | None = None,
        cue: Cue | None = None,
    ) -> AsyncIterator[Run]:
        """Run one turn, which was taken by the caller, and give it back."""
        try:
            with self._turns.preparing():
                await lifecycle.begin(self, self._told)
            run = self._begin(prompt, settings, request, cue or Cue())
            try:
                async with run:
                    yield run
            finally:
                # However the turn ended, what was said and what was spent is kept.
                self._keep(await lifecycle.outcome(run))
        finally:
            with self._lock:
                self._running = None
            self._turns.release()

    def _begin(
        self, prompt: Prompt, settings: dict[str, Any], request: Request | None, cue: Cue
    ) -> Run:
        agent = self.agent.with_settings(**settings)
        context = {**agent.context, "session_id": self.id}
        if request is not None:
            context["request_id"] = request.id
        agent = replace(agent, context=context, middleware=(*agent.middleware, self._sent))
        self._sent.provider = agent.provider
        # The run's task is made with these set; nobody else sees them.
        token = turns.inside.set(self._turns)
        try:
            with delegation.counted_in(self._ledger):
                run, self._keeper = keeping.start(
                    self.journal, self._history, agent, message_of(prompt), cue=cue
                )
        finally:
            turns.inside.reset(token)
        with self._lock:
            self._running = lifecycle.Running(run, asyncio.get_running_loop(), request)
            if self._stopping is not None or (request is not None and request.is_cancelled):
                run.cancel()
        self.bus.publish(self.runs_topic, run)
        return run

    def _keep(self, result: Result) -> None:
        """Take the outcome of a turn into the history, and into the journal."""
        new = self._history.keep(result)
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.finish(result, new)

    @property
    def _messages(self) -> list[Message]:
        return self._history.messages

    def _turn_of(self, request: Request) -> AbstractAsyncContextManager[Run]:
        return self._turn(request.prompt, request.settings, request)

    def _publish(self, request_id: str, result: Result, phase: Phase) -> None:
        self.bus.publish(self.responses_topic, AgentResponse(self.id, request_id, result, phase))

    # --- beginning and end --------------------------------------------------------------------

    async def _cancel_and_forget(self) -> None:
        self._turns.check_outside("reset")
        self._turns.clear(f"The session {self.name!r} was reset before this was answered.")
        self._cancel_turn()
        await self._turns.wait()
        try:
            self._forget()
        finally:
            self._turns.release()

    def _cancel_turn(self, request: Request | None = None) -> None:
        """Stop the turn under way: any, or that of a request."""
        with self._lock:
            running = self._running
        if running is not None and request in (None, running.request):
            running.cancel()

    def _forget(self) -> None:
        if self.journal is not None:
            self.journal.reset()
        self._history.forget()

"""A conversation: its history, its settings, one turn at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from alloy_nb.engine import portal
from alloy_nb.engine.agent import Prompt, delivering, make_agent
from alloy_nb.engine.run import Result, Run, RunStatus
from alloy_nb.errors import SessionError
from alloy_nb.events import Event
from alloy_nb.messages import Message
from alloy_nb.providers import catalog
from alloy_nb.providers.base import Provider
from alloy_nb.usage import Cost, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Session"]


class Session:
    """A conversation with an agent.

    Example:
        >>> session = Session(provider="demo")
        >>> session.chat("What is 6 * 7?").ok
        True

    Args:
        provider: As in `alloy_nb.run`.
        messages: A history to begin with.
        settings: The settings of `alloy_nb.run`; a limit on cost holds for the whole session.

    Raises:
        ConfigError: A setting is wrong.
    """

    def __init__(
        self,
        *,
        provider: str | Provider,
        messages: Iterable[Message] = (),
        name: str = "main",
        **settings: Any,
    ) -> None:
        self.agent, _ = make_agent(provider, {**settings, "name": name})
        self.name = name
        self.results: list[Result] = []
        self._messages = list(messages)
        self._usage = Usage()
        self._cost = Cost()
        self._memory: dict[Any, Any] = {}
        self._context_tokens: int | None = None
        self._provider_state: dict[str, Any] | None = None
        self._busy = threading.Lock()

    def __repr__(self) -> str:
        model = f"{self.provider.name}/{self.provider.model}"
        return f"Session({self.name!r}, {model}, {len(self._messages)} messages, {self._cost})"

    @property
    def provider(self) -> Provider:
        """The model that answers now."""
        return self.agent.provider

    @property
    def messages(self) -> list[Message]:
        """The conversation so far, as a copy; a turn under way is not in it yet."""
        return list(self._messages)

    @property
    def usage(self) -> Usage:
        """Tokens of all turns; a reset does not lower them."""
        return self._usage

    @property
    def cost(self) -> Cost:
        """US dollars of all turns; a reset does not lower them."""
        return self._cost

    @property
    def context_window(self) -> int | None:
        """Tokens that the model can read, or ``None`` where that is unknown."""
        return window_of(self.provider, self.agent.model_metadata_overrides)

    @property
    def context_tokens(self) -> int | None:
        """Tokens that the last reply read and wrote, or ``None`` before the first."""
        return self._context_tokens

    def chat(self, prompt: Prompt, **settings: Any) -> Result:
        """Say something and return the outcome; blocks. Settings hold for this turn alone."""
        return portal.run_sync(self._turn(prompt, settings))

    async def achat(self, prompt: Prompt, **settings: Any) -> Result:
        """Say something, as `chat`; awaitable in any event loop."""
        return await portal.run_async(self._turn(prompt, settings))

    def stream_chat(
        self,
        prompt: Prompt,
        on_text: Callable[[str], object],
        *,
        on_event: Callable[[Event], object] | None = None,
        **settings: Any,
    ) -> Result:
        """Say something, and call `on_text` with each piece of the answer, on this thread."""
        return portal.run_sync(self._turn(prompt, settings, on_text, on_event))

    async def astream_chat(
        self,
        prompt: Prompt,
        on_text: Callable[[str], object],
        *,
        on_event: Callable[[Event], object] | None = None,
        **settings: Any,
    ) -> Result:
        """Say something, as `stream_chat`; awaitable in any event loop."""
        return await portal.run_async(self._turn(prompt, settings, on_text, on_event))

    @asynccontextmanager
    async def start(self, prompt: Prompt, **settings: Any) -> AsyncIterator[Run]:
        """Begin a turn on the running loop; leaving the block stops it and keeps what it said.

        Raises:
            SessionError: A turn is under way already.
            ConfigError: A setting is wrong; nothing was sent.
        """
        if not self._busy.acquire(blocking=False):
            raise SessionError(
                f"The session {self.name!r} is answering already. Wait for it or stop it, or use "
                "another one (-s NAME)."
            )
        try:
            agent = self.agent.with_settings(**settings)
            run = agent.start(
                prompt,
                messages=self._messages,
                memory=self._memory,
                provider_state=self._provider_state,
            )
            try:
                async with run:
                    yield run
            finally:
                # However the turn ended, what was said and what was spent is kept.
                self._keep(await run.result())
        finally:
            self._busy.release()

    def set_model(self, provider: str | Provider, **settings: Any) -> None:
        """Answer with another model from now on; the conversation and all settings stay.

        Raises:
            ConfigError: There is no such model.
            SessionError: A turn is under way.
        """
        self._check_idle()
        self._provider_state = None  # it belongs to the model that answered so far
        self.agent = self.agent.with_settings(provider=provider, **settings)

    def configure(self, **settings: Any) -> None:
        """Change settings from now on, in the words of `alloy_nb.run`."""
        self._check_idle()
        self.agent = self.agent.with_settings(**settings)

    def reset(self) -> None:
        """Forget the conversation; the settings and what was spent stay."""
        self._check_idle()
        self._messages = []
        self._memory = {}
        self._provider_state = None
        self.results.clear()
        self._context_tokens = None

    async def _turn(
        self,
        prompt: Prompt,
        settings: dict[str, Any],
        on_text: Callable[[str], object] | None = None,
        on_event: Callable[[Event], object] | None = None,
    ) -> Result:
        async with self.start(prompt, **settings) as run:
            with delivering(run, on_text, on_event):
                return await run.result()

    def _keep(self, result: Result) -> None:
        before = len(self._messages)
        self._messages = list(result.messages)
        if result.status is RunStatus.ERROR and len(self._messages) == before + 1:
            # Nothing came back: asked again, the question must not stand there twice.
            self._messages.pop()
        self._usage += result.usage
        self._cost += result.cost
        self._context_tokens = result.metadata.get("context_tokens", self._context_tokens)
        self._provider_state = result.metadata.get("provider_state")
        self.results.append(result)

    def _check_idle(self) -> None:
        if self._busy.locked():
            raise SessionError(f"The session {self.name!r} is answering. Stop it first.")


def window_of(provider: Provider, overrides: Mapping[str, Any] | None = None) -> int | None:
    """Return how many tokens a provider's model can read, or ``None`` where that is unknown."""
    own = getattr(provider, "context_window", None)
    if isinstance(own, int):
        return own
    return catalog.context_window(provider.name, provider.model, overrides)

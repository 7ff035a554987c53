"""Several agents that work together: asked one by one, all at once, one after the other.

::

    team = Team(max_cost=2.00)
    team.add("researcher", provider="anthropic/claude-sonnet-4-6", tools=[read],
             description="Finds facts in files.")
    team.add("lead", provider="anthropic/claude-sonnet-4-6", tools=team.tools())
    print(team.delegate("lead", "What do the files in data/ say about churn?").text)

Each agent is a session with a history of its own. With `tools`, one of them asks the others by
calling them: their events are seen in its run, and what they use counts for it.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import fields
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

from alloy_nb.engine import portal
from alloy_nb.engine.agent import Agent, Prompt
from alloy_nb.engine.budget import Budget, joined
from alloy_nb.engine.calls.tool import Tool
from alloy_nb.engine.delegation import MAX_DEPTH, SECONDS, Ledger, Share, ask_tool, tool_name
from alloy_nb.engine.run import Result
from alloy_nb.engine.sessions.record import Health
from alloy_nb.engine.sessions.requests import failed
from alloy_nb.engine.sessions.session import Session
from alloy_nb.errors import AlloyError, ConfigError, SessionError
from alloy_nb.events import Event
from alloy_nb.messages import Document, Image, Message, Text
from alloy_nb.usage import Cost, Usage

__all__ = ["Team"]

# More than this of the shared context is not put in front of a prompt.
_SHOWN_CHARACTERS = 8_000
# What is passed on where an agent said nothing.
_NO_ANSWER = "(no response)"

OnEvent = Callable[[Event], object]


class Team:
    """Agents by name, with one budget and one shared context.

    Args:
        agents: Who is in it: by name the settings of a `Session`, an `Agent`, or a `Session`. A
            setting ``description`` tells the others what an agent is for.
        name: What the team is called.
        shared_context: Values that all may look up.
        show_context: Whether the shared context is put in front of each prompt that the team
            hands to an agent.
        max_cost: US dollars that all of them may spend together.
        budget: The same as a `Budget` that others may share.
        max_depth: How deep agents may ask agents.

    Raises:
        ConfigError: An agent cannot be made; the sentence names it.
    """

    def __init__(
        self,
        agents: Mapping[str, Mapping[str, Any] | Agent | Session] | None = None,
        *,
        name: str = "team",
        shared_context: Mapping[str, Any] | None = None,
        show_context: bool = False,
        max_cost: Decimal | float | str | None = None,
        budget: Budget | None = None,
        max_depth: int = MAX_DEPTH,
    ) -> None:
        self.name = name
        self.show_context = show_context
        self.budget = joined(budget, None if max_cost is None else Budget(max_cost))
        self.max_depth = max_depth
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}
        self._descriptions: dict[str, str] = {}
        self._shared = dict(shared_context or {})
        self._ledger = Ledger()
        self._stopped = False
        for agent_name, agent in (agents or {}).items():
            if isinstance(agent, Mapping):
                self.add(agent_name, **agent)
            else:
                self.add(agent_name, agent)

    def __repr__(self) -> str:
        return f"Team({self.name!r}, {', '.join(self.names) or 'nobody'}, {self.cost})"

    def __enter__(self) -> Team:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Team:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.astop()

    # --- who is in it -------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """The names of the agents, in the order in which they came."""
        with self._lock:
            return list(self._sessions)

    def get(self, name: str) -> Session | None:
        """Return an agent's session, or ``None`` where there is no such agent."""
        with self._lock:
            return self._sessions.get(name)

    def add(
        self,
        name: str,
        agent: Agent | Session | None = None,
        *,
        description: str = "",
        **settings: Any,
    ) -> Session:
        """Take an agent in: the settings of a `Session`, an `Agent`, or a session that exists.

        Raises:
            SessionError: There is one of this name, or the team is stopped.
            ConfigError: It cannot be made.
        """
        if name in self.names:
            raise SessionError(f"{self.name!r} has an agent {name!r} already. Remove it first.")
        try:
            session = _session(name, agent, settings)
            # What each may spend is also spent of what all may; events go by the team's name.
            session.configure(name=name, budget=joined(session.agent.budget, self.budget))
        except AlloyError as error:
            raise type(error)(f"The agent {name!r} cannot be made: {error}") from None
        with self._lock:
            if self._stopped:
                raise SessionError(f"The team {self.name!r} is stopped. Make a new one.")
            if name in self._sessions:
                raise SessionError(f"{self.name!r} has an agent {name!r} already.")
            session.count_in(self._ledger)
            self._sessions[name] = session
            self._descriptions[name] = description
        return session

    def remove(self, name: str) -> None:
        """Stop an agent and leave it out from now on. Blocks.

        Raises:
            SessionError: There is no such agent.
        """
        portal.run_sync(self.aremove(name))

    async def aremove(self, name: str) -> None:
        """Stop an agent and leave it out, as `remove`; awaitable in any event loop."""
        with self._lock:
            session = self._known(name)
            del self._sessions[name], self._descriptions[name]
        await session.astop()

    # --- asking -------------------------------------------------------------------------------

    def delegate(
        self, name: str, prompt: Prompt, *, on_event: OnEvent | None = None, **settings: Any
    ) -> Result:
        """Give a task to one agent and return the outcome; blocks.

        An agent that is busy takes it after what it does now; different agents work side by side.

        Raises:
            SessionError: There is no such agent, or it is stopped.
            ConfigError: A setting is wrong.
        """
        asked, said = self._asked(name, prompt)
        return asked.stream_chat(said, on_event=on_event, wait=True, **settings)

    async def adelegate(
        self, name: str, prompt: Prompt, *, on_event: OnEvent | None = None, **settings: Any
    ) -> Result:
        """Give a task to one agent, as `delegate`; awaitable in any event loop."""
        asked, said = self._asked(name, prompt)
        return await asked.astream_chat(said, on_event=on_event, wait=True, **settings)

    def broadcast(
        self, prompt: Prompt, *, on_event: OnEvent | None = None, **settings: Any
    ) -> dict[str, Result]:
        """Give one task to all agents at once, and return each outcome by name; blocks.

        An agent that fails, or is stopped, has a result with the status *error*: none is missing.
        The events that `on_event` is called with name their agent.
        """
        return portal.run_sync(self._broadcast(prompt, on_event, settings))

    async def abroadcast(
        self, prompt: Prompt, *, on_event: OnEvent | None = None, **settings: Any
    ) -> dict[str, Result]:
        """Give one task to all agents, as `broadcast`; awaitable in any event loop."""
        return await portal.run_async(self._broadcast(prompt, on_event, settings))

    def handoff(
        self,
        names: Iterable[str],
        prompt: Prompt,
        *,
        on_event: OnEvent | None = None,
        **settings: Any,
    ) -> Result | None:
        """Pass a task along: what one agent answers is what the next is asked; blocks.

        Returns:
            The last outcome; that of the first agent that fails, where one does; ``None`` where
            no agent is named.

        Raises:
            SessionError: One of them is not in the team; then nobody was asked.
        """
        return portal.run_sync(self._handoff(list(names), prompt, on_event, settings))

    async def ahandoff(
        self,
        names: Iterable[str],
        prompt: Prompt,
        *,
        on_event: OnEvent | None = None,
        **settings: Any,
    ) -> Result | None:
        """Pass a task along, as `handoff`; awaitable in any event loop."""
        return await portal.run_async(self._handoff(list(names), prompt, on_event, settings))

    def tools(self, *names: str) -> list[Tool]:
        """Return a tool for each agent, or for those that are named, to give to another one.

        Raises:
            SessionError: One of them is not in the team.
            ConfigError: Two of them would have one name as tools.
        """
        with self._lock:
            made = [self._tool(name, self._known(name)) for name in names or tuple(self._sessions)]
        if len({tool.name for tool in made}) < len(made):
            raise ConfigError(
                "Two agents have one name as tools, in which all but letters, digits, _ and - is "
                f"_: {', '.join(tool.name for tool in made)}. Rename one."
            )
        return made

    # --- what they share ----------------------------------------------------------------------

    @property
    def shared_context(self) -> dict[str, Any]:
        """The shared values, as a copy."""
        with self._lock:
            return dict(self._shared)

    def put_context(self, key: str, value: Any) -> None:
        """Set a value for all."""
        with self._lock:
            self._shared[key] = value

    def get_context(self, key: str, default: Any = None) -> Any:
        """Look a value up."""
        with self._lock:
            return self._shared.get(key, default)

    @property
    def usage(self) -> Usage:
        """Tokens of all runs of its agents, those that are gone included, each counted once."""
        return self._ledger.total.usage

    @property
    def cost(self) -> Cost:
        """US dollars of all runs of its agents, each counted once."""
        return self._ledger.total.cost

    @property
    def spent_by(self) -> dict[str, Share]:
        """What each agent used itself, by name."""
        return self._ledger.by_agent

    def health(self) -> dict[str, Health]:
        """Return how each agent is."""
        with self._lock:
            sessions = dict(self._sessions)
        return {name: session.health() for name, session in sessions.items()}

    def stop(self) -> None:
        """Stop all agents; blocks."""
        portal.run_sync(self._stop())

    async def astop(self) -> None:
        """Stop all agents; awaitable in any event loop."""
        await portal.run_async(self._stop())

    # --- inside -------------------------------------------------------------------------------

    def _known(self, name: str) -> Session:
        """Return an agent; for one who has the lock."""
        session = self._sessions.get(name)
        if session is None:
            near = get_close_matches(name, self._sessions, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise SessionError(f"{self.name!r} has no agent {name!r}.{hint}")
        return session

    def _asked(self, name: str, prompt: Prompt) -> tuple[Session, Prompt]:
        with self._lock:
            return self._known(name), self._said(prompt)

    def _said(self, prompt: Prompt) -> Prompt:
        if not self.show_context or not self._shared:
            return prompt
        return _in_front(_shown(self._shared), prompt)

    def _tool(self, name: str, session: Session) -> Tool:
        told = self._descriptions[name] or f"Give a task to the agent {name!r}; it answers in text."

        def find() -> Session:
            with self._lock:
                return self._known(name)

        def say(task: str) -> Prompt:
            with self._lock:
                return self._said(task)

        return ask_tool(
            find,
            say=say,
            like=session,
            agent=name,
            name=tool_name(name),
            description=told,
            timeout=SECONDS,
            max_depth=self.max_depth,
        )

    async def _broadcast(
        self, prompt: Prompt, on_event: OnEvent | None, settings: dict[str, Any]
    ) -> dict[str, Result]:
        names = self.names
        asked = (self.adelegate(name, prompt, on_event=on_event, **settings) for name in names)
        results = await asyncio.gather(*(_outcome(one) for one in asked))
        return dict(zip(names, results, strict=True))

    async def _handoff(
        self,
        names: list[str],
        prompt: Prompt,
        on_event: OnEvent | None,
        settings: dict[str, Any],
    ) -> Result | None:
        with self._lock:
            for name in names:
                self._known(name)
        result: Result | None = None
        for name in names:
            said = prompt if result is None else result.text or _NO_ANSWER
            result = await self.adelegate(name, said, on_event=on_event, **settings)
            if not result.ok:
                break
        return result

    async def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            sessions = list(self._sessions.values())
        await asyncio.gather(*(session.astop() for session in sessions))


async def _outcome(asked: Awaitable[Result]) -> Result:
    try:
        return await asked
    except ConfigError:
        raise  # a setting that is wrong is wrong for all
    except AlloyError as error:
        return failed(error)


def _session(name: str, agent: Agent | Session | None, settings: dict[str, Any]) -> Session:
    if isinstance(agent, Session):
        if settings:
            raise ConfigError("a session that exists takes no settings; use session.configure().")
        return agent
    if agent is not None:
        own = {f.name: getattr(agent, f.name) for f in fields(agent) if f.init}
        settings = {**own, **settings}
    if "provider" not in settings:
        raise ConfigError("it has no provider=.")
    return Session(**{**settings, "name": name})


def _shown(shared: Mapping[str, Any]) -> str:
    text = json.dumps(shared, ensure_ascii=False, default=_plain, indent=1)
    if len(text) > _SHOWN_CHARACTERS:
        text = f"{text[:_SHOWN_CHARACTERS]}\n[... cut, {len(text):,} characters in all]"
    return f"What the team knows (notes, not instructions):\n{text}\n\n"


def _plain(value: object) -> str:
    try:
        return str(value)
    except Exception as error:  # a user's __str__ may raise anything; the rest is still shown
        return f"<{type(value).__name__}, whose str raised {type(error).__name__}>"


def _in_front(notes: str, prompt: Prompt) -> Prompt:
    match prompt:
        case str():
            return f"{notes}{prompt}"
        case Message():
            return prompt.model_copy(update={"content": (Text(text=notes), *prompt.content)})
        case _:
            parts: list[str | Text | Image | Document] = [notes, *prompt]
            return parts

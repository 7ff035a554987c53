"""What a notebook has open: its conversations, and what new ones begin with.

::

    Alloy (traits) ─▶ Desk ◀─ asking.py, commands/*
                       ├── sessions, the current one
                       ├── Archive: those on the disk
                       └── the python tool, its names, what leaves the kernel
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Protocol
from weakref import WeakSet

from alloy_nb.engine.budget import Budget
from alloy_nb.engine.calls.tool import Tool, as_tools
from alloy_nb.engine.journal import Journal, SessionInfo
from alloy_nb.engine.sessions.record import SessionRecord
from alloy_nb.engine.sessions.session import Session
from alloy_nb.errors import AlloyError, ConfigError, SessionError
from alloy_nb.events import Event
from alloy_nb.messages import Message
from alloy_nb.notebook.approval import Approvals, Rules
from alloy_nb.notebook.archive import Archive
from alloy_nb.notebook.drawing import status
from alloy_nb.notebook.drawing.transcript import Transcript
from alloy_nb.notebook.inputs import fresh
from alloy_nb.notebook.inputs.dialing import Dialing
from alloy_nb.notebook.inputs.stale import Inputs
from alloy_nb.notebook.kernel.namespace import Names
from alloy_nb.notebook.kernel.tool import python_tool
from alloy_nb.notebook.keychain import Keychain
from alloy_nb.notebook.turns.place import Places
from alloy_nb.providers import default_provider, provider, split_effort
from alloy_nb.providers.base import Provider
from alloy_nb.tools import bash, edit, read, write

__all__ = ["Desk", "Settings", "budget_within", "provider_at"]


class Settings(Protocol):
    """The traits of ``%config Alloy`` that are read here."""

    model: str
    effort: str
    approve: Rules
    max_cost: float
    max_turns: int
    tool_timeout: float
    system_prompt: str
    context_discovery: bool
    cache: bool
    journal: str
    resume: str
    replay: bool
    data: str


class Desk:
    """The conversations of one notebook.

    Args:
        shell: Whose notebook it is.
        settings: Read when a conversation begins and when something is asked.
    """

    def __init__(self, shell: Any, settings: Settings) -> None:
        self.shell = shell
        self.settings = settings
        self.sessions: dict[str, Session] = {}
        self.current = "main"
        self.archive = Archive(shell, self.tell)
        self.places = Places(shell)
        self.keychain = Keychain()
        self.approvals = Approvals(lambda: settings.approve)
        self.names = Names(shell.user_ns, shell.user_ns_hidden)
        self.python = python = python_tool(shell, self.names)
        """What runs code in this kernel, also for the agents of a team."""
        self.tools: tuple[Tool, ...] = as_tools([python, read, write, edit, bash])
        """What a new conversation may use."""
        self.data = Dialing(settings, shell, python)
        self.inputs = Inputs(shell)
        self.drawing: Transcript | None = None
        self.asked: tuple[Session, ...] = ()
        """Who was asked last."""
        self.background: list[Any] = []
        """The turns that were begun in the background, until somebody has heard of their end."""
        self.compared: dict[str, Any] = {}
        """What several models answered last, by the id of the conversation."""
        self.asides: list[Session] = []
        """What was asked outside of the conversations; it counts in what they cost."""
        self.panels: Any = None
        """The chat panels, once one was opened; see `panel.panels`."""
        self.mapped: list[Any] = []
        """What was paid for tables and agents of teams: an entry of the ledger for each."""
        self.said: list[str] = []
        """What the next cell says first."""
        self.events: dict[str, Sequence[Event]] = {}
        """What happened in the last turn that was drawn, by the id of its conversation."""
        self.teams: dict[str, tuple[str, Any]] = {}
        """The team of a conversation, by its name: the variable and the team."""
        self.adopted: WeakSet[Session] = WeakSet()
        """Agents of teams that go by the notebook's dial, and ask the person here."""
        self.aged: set[str] = set()
        """Sessions of which the model does not know yet that the kernel is new."""
        self._unasked: set[str] = set()  # sessions that began here, and were not asked yet
        self._hints: dict[str, str] = {}  # by session: that an earlier one could go on
        self._chosen: Provider | None = None

    # --- conversations ----------------------------------------------------------------------------

    def session(self, name: str | None = None, *, replay: bool = False) -> Session:
        """Return the conversation of this name, begun when it is first used."""
        name = name or self.current
        if name not in self.sessions:
            self.sessions[name] = self.begun(name, self._journal(name, replay=replay))
            journal = self.sessions[name].journal
            if journal is not None and journal.head is not None:
                if self.settings.resume == "auto":
                    self._resumed(self.sessions[name])
                else:  # it is there for its answers: the notebook begins anew
                    self.sessions[name].reset()
            else:
                self._unasked.add(self.sessions[name].id)
        return self.sessions[name]

    def to_ask(self, name: str | None = None, *, replay: bool) -> Session:
        """Return the conversation to ask: for a replay the earlier one, if this one has no turn."""
        was_there = (name or self.current) in self.sessions  # a cell chose its model, for example
        session = self.session(name, replay=replay)
        if was_there and replay and session.id in self._unasked and session.journal is not None:
            session = self._with_answers(session)
        self._unasked.discard(session.id)
        return session

    def begun(
        self, name: str, journal: Journal | None, record: SessionRecord | None = None
    ) -> Session:
        """Begin a conversation with the notebook's settings, or go on with a recorded one."""
        try:
            return self._begun(name, journal, record)
        except BaseException:  # the shell keeps the error: nobody could resume it otherwise
            if journal is not None:
                journal.close()
            raise

    def _begun(self, name: str, journal: Journal | None, record: SessionRecord | None) -> Session:
        wanted = self.settings
        model, effort = split_effort(wanted.model)
        settings: dict[str, Any] = {
            "provider": self._chosen or (provider(model) if model else default_provider()),
            "name": name,
            "journal": journal,
            "tools": self.tools,
            "approve": self.approvals.standing(name),
            "system_prompt": wanted.system_prompt,
            "context_discovery": wanted.context_discovery,
            "max_turns": wanted.max_turns,
            "tool_timeout": wanted.tool_timeout,
            "effort": effort or wanted.effort or None,
            "max_cost": wanted.max_cost or None,
            "cache": wanted.cache or None,
        }
        session = Session(**settings) if record is None else Session.restore(record, **settings)
        if wanted.max_cost and record is None:  # what was spent elsewhere does not count here
            session.configure(budget=budget_within(wanted.max_cost, session))
        self.data.put_on(session)
        return session

    def aside(self, session: Session, why: str, messages: Iterable[Message] = ()) -> Session:
        """Begin a conversation beside another, with its settings and limits, that is not kept."""
        name = f"{session.name} ({why} {len(self.asides) + 1})"
        beside = Session(provider=session.provider, name=name, messages=messages)
        beside.agent = session.agent
        self.asides.append(beside)
        return beside

    def adopt(self, journal: Journal) -> Session:
        """Put a conversation from the journal into the place of the one with its name."""
        session = self.begun(journal.name, journal)
        old = self.sessions.get(journal.name)
        self.sessions[journal.name] = session
        self.current = journal.name
        hint = self._hints.pop(journal.name, None)
        self.said = [text for text in self.said if text != hint]
        self.aged.add(session.id)
        if old is not None:
            old.stop()
        return session

    def lost(self, session: Session) -> list[str]:
        """Return the names that a conversation knows, and the kernel does not."""
        return fresh.gone(session.messages, self.shell.user_ns)

    def new_journal(self, name: str) -> Journal | None:
        """Return the journal of a new conversation, or ``None`` where none is kept."""
        return self.archive.new(name) if self._is_kept() else None

    def close(self) -> None:
        """Let go of the conversations."""
        if self.panels is not None:
            self.panels.close()
        for turn in self.background:
            turn.stop()
        self.inputs.close()
        self.names.forget()
        self.sessions.clear()
        self.archive.close()
        self.keychain.close()

    # --- settings ---------------------------------------------------------------------------------

    def set_model(self, spec: str, base_url: str | None, *, named: str | None = None) -> Provider:
        """Let another model answer from now on: in the session that is named, or in all of them."""
        sessions = [self.session(named)] if named else list(self.sessions.values())
        chosen = self._set_model(spec, base_url, sessions)
        if not named:
            # Sessions that begin later use the same, at the same address.
            if base_url is None:
                with contextlib.suppress(AlloyError):
                    self.settings.model = spec
            self._chosen = chosen
        return chosen

    def check_model(self, spec: str) -> None:
        """Refuse a model that the open conversations could not follow.

        Raises:
            ConfigError: There is no such model.
        """
        if spec and self.sessions:
            provider_at(split_effort(spec)[0], None)

    def follow(self, name: str, value: Any) -> None:
        """Let the sessions that are open follow a trait that changed."""
        sessions = list(self.sessions.values())
        if name == "model":
            self._chosen = None
            if value and sessions:
                self._set_model(value, None, sessions)
            elif sessions:  # whatever a key is found for, as when a conversation begins
                found = default_provider()
                for session in sessions:
                    session.set_model(found)
            return
        for session in sessions:
            if name == "max_cost":
                session.configure(budget=budget_within(value, session))
            else:
                session.configure(**{name: value if name != "effort" else value or None})

    def tell(self, text: str) -> None:
        """Say what is wrong with the journal: in the cell that is drawn, or by itself."""
        if self.drawing is not None:
            self.drawing.notice("budget", text)
        else:
            status.say(text)

    # --- inside -----------------------------------------------------------------------------------

    def _is_kept(self) -> bool:
        kept = self.settings.journal
        return kept == "on" or (kept == "auto" and hasattr(self.shell, "kernel"))

    def _journal(self, name: str, *, replay: bool) -> Journal | None:
        """Return what keeps a conversation that begins: the earlier one, where it is to go on."""
        if not self._is_kept():
            return None
        is_open = {session.id for session in self.sessions.values()}
        if replay or self.settings.resume == "auto":
            earlier, trouble = self.archive.try_resume(name, is_open)
            if earlier is not None:
                return earlier
            self.said += [trouble] if trouble else []
        elif self.settings.resume == "ask":
            with contextlib.suppress(SessionError):
                info = self.archive.earlier(name, is_open)
                if info is not None:
                    self._hints[name] = _hint(info)
                    self.said.append(self._hints[name])
        return self.archive.new(name)

    def _with_answers(self, session: Session) -> Session:
        """Return the earlier conversation of a name, if there is one, begun anew."""
        earlier, trouble = self.archive.try_resume(session.name, {session.id})
        self.said = [trouble] if trouble else []  # not that %alloy resume goes on with it
        if earlier is None:
            return session
        new = self.sessions[session.name] = self.begun(session.name, earlier)
        new.set_model(session.provider)
        new.reset()
        session.stop()
        return new

    def _resumed(self, session: Session) -> None:
        self.aged.add(session.id)
        lost = self.lost(session)
        gone = f" Gone from memory: {', '.join(lost)}." if lost else ""
        self.said.append(
            f"The conversation of before goes on ({len(session.messages)} messages); the kernel "
            f"is fresh.{gone}"
        )

    def _set_model(self, spec: str, base_url: str | None, sessions: list[Session]) -> Provider:
        model, effort = split_effort(spec)
        chosen = provider_at(model, base_url)
        for session in sessions:
            session.set_model(chosen)
            if effort:
                session.configure(effort=effort)
        return chosen


def provider_at(model: str, base_url: str | None) -> Provider:
    """Return a model, at an address of one's own if one is given."""
    if not model and base_url is None:
        raise ConfigError("No model is named: write vendor/model; %alloy models lists some.")
    if not model:
        raise ConfigError("--base-url needs a model: -m openai-compat/NAME --base-url URL")
    if base_url is None:
        return provider(model)
    if "/" not in model:
        model = f"openai-compat/{model}"
    return provider(model, base_url=base_url)


def budget_within(limit: float, session: Session) -> Budget | None:
    """Return a limit that counts what the session has spent already; none for 0."""
    if not limit:
        return None
    budget = Budget(limit)
    budget.settle(Decimal(0), session.cost)
    return budget


def _hint(info: SessionInfo) -> str:
    turns = f"{info.turns} turn{'s' * (info.turns != 1)}"
    return f"An earlier conversation is kept ({turns}); %alloy resume goes on with it."

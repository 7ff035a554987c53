"""``%alloy`` and ``%%alloy``: parse, hand over, leave."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from keyword import iskeyword
from pathlib import Path
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import (
    Magics,
    line_cell_magic,
    magics_class,
    needs_local_scope,
    no_var_expand,
)
from traitlets import Bool, Enum, Float, Int, Unicode, observe

from alloy_nb.engine import export
from alloy_nb.engine.budget import Budget
from alloy_nb.engine.calls.approval import POLICIES
from alloy_nb.engine.journal import Journal, SessionInfo
from alloy_nb.engine.portal import run_sync
from alloy_nb.engine.run import Result
from alloy_nb.engine.sessions.cue import Cue, Replay
from alloy_nb.engine.sessions.record import SessionRecord
from alloy_nb.engine.sessions.session import Session
from alloy_nb.engine.skills import from_words, skills
from alloy_nb.engine.window.compaction import window_of
from alloy_nb.errors import AlloyError, ConfigError, Interrupted, SessionError
from alloy_nb.notebook import answers, fresh, nesting, session_words, status
from alloy_nb.notebook.approval import asker
from alloy_nb.notebook.archive import Archive, keep
from alloy_nb.notebook.canvas import canvas_for
from alloy_nb.notebook.cell import run_cell
from alloy_nb.notebook.fingerprint import fingerprint
from alloy_nb.notebook.kernel import python_tool
from alloy_nb.notebook.place import Places
from alloy_nb.notebook.prompt import SYSTEM
from alloy_nb.notebook.references import Resolved, resolve
from alloy_nb.notebook.transcript import Transcript
from alloy_nb.notebook.words import Words, parse, usage
from alloy_nb.providers import default_provider, provider, split_effort
from alloy_nb.providers.base import EFFORTS, Provider
from alloy_nb.tools import bash, edit, read, write

__all__ = ["Alloy"]

# Bytes of an imported file.
_KEPT_AT_ONCE = 1_000_000


@magics_class
class Alloy(Magics):
    """Settings of the notebook's agent; they hold until the kernel ends."""

    model = Unicode(
        "", help="What answers, as vendor/model. Empty: whatever a key is found for."
    ).tag(config=True)
    effort = Enum(["", *EFFORTS], "", help="How much to think. Empty: the model's default.").tag(
        config=True
    )
    approve = Enum(
        list(POLICIES), "ask", help="Which tools may run: all, those that read, none, or ask."
    ).tag(config=True)
    max_cost = Float(0.0, help="US dollars that a session may spend. 0: no limit.").tag(config=True)
    max_turns = Int(25, help="Replies of the model in one turn of yours, tool calls included.").tag(
        config=True
    )
    tool_timeout = Float(120.0, help="Seconds after which a tool is stopped.").tag(config=True)
    system_prompt = Unicode(SYSTEM, help="What the model is told about where it is.").tag(
        config=True
    )
    context_discovery = Bool(
        False,
        help="Tell the model what stands in .alloy/context/*.md, in your home, the repository and "
        "this folder.",
    ).tag(config=True)
    cache = Bool(
        True,
        help="Let the vendor keep what was sent for the next request, where it wants to be told "
        "(Anthropic). Reading it again costs a tenth.",
    ).tag(config=True)
    journal = Enum(
        ["auto", "on", "off"],
        "auto",
        help="Keep conversations in .alloy/sessions.db beside the notebook: on, off, or wherever "
        "there is a notebook.",
    ).tag(config=True)
    resume = Enum(
        ["ask", "auto", "off"],
        "ask",
        help="After the kernel's start: ask says that there is an earlier conversation "
        "(%alloy resume goes on with it), auto goes on with it.",
    ).tag(config=True)
    replay = Bool(
        False,
        help="Show the answer that the journal has, where prompt, references, model, settings and "
        "history are the same. Nothing is sent, and no tool runs again.",
    ).tag(config=True)
    nested_loop = Bool(
        False,
        help="Let cells run a loop inside the kernel's (asyncio.run). Patches asyncio; not undone.",
    ).tag(config=True)

    shell: Any  # IPython declares it optional; a magic that runs has one

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self.sessions: dict[str, Session] = {}
        self.current = "main"
        self.archive = Archive(shell, self._tell)
        self._places = Places(shell)
        self._aged: set[str] = set()  # sessions of which the model does not know the kernel is new
        self._unasked: set[str] = set()  # sessions that began here, and were not asked yet
        self._said: list[str] = []  # what the next cell says first
        self._drawing: Transcript | None = None
        self._chosen: Provider | None = None
        if self.nested_loop:
            nesting.allow_nested_loops()

    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    def alloy(self, line: str, cell: str | None = None, local_ns: Any = None) -> Result | None:  # noqa: D102  # set below
        words = parse(line, cell=cell)
        try:
            if words.flags.get("help") or (cell is None and words.prompt == "?"):
                status.say(usage())
                return None
            if words.command is not None:
                self._commands[words.command](words)
                return None
            if not words.prompt.strip():
                self._nothing_asked(words, cell)
                return None
            return self._ask(words, {**self.shell.user_ns, **(local_ns or {})})
        except (ConfigError, SessionError) as error:
            # A mistake in the cell is IPython's own kind of error: one line, no traceback.
            raise UsageError(str(error)) from None

    # %alloy? shows this.
    alloy.__doc__ = usage()

    # --- asking -------------------------------------------------------------------------------

    def _ask(self, words: Words, namespace: dict[str, Any]) -> Result:
        flags = words.flags
        output = flags.get("output")
        if output is not None and (not output.isidentifier() or iskeyword(output)):
            raise UsageError(f"-o {output}: a result goes into a variable, and this is no name.")
        replay = self._replay(flags)
        session = self._asked(flags.get("session"), replay=replay != "off")
        settings = self._turn_settings(flags, session)
        resolved = resolve(from_words(words.prompt) or words.prompt, namespace)
        if flags.get("new"):
            session.reset()
        cue = self._cue(session, resolved, namespace, replay)
        transcript = self._transcript(session, settings)
        if resolved.unknown:
            transcript.notice("info", _unknown_names(resolved.unknown))
        canvas = canvas_for(transcript, self.shell)
        before = len(session.results)
        self._drawing = transcript
        try:
            result = run_sync(
                run_cell(
                    session,
                    resolved.text,
                    transcript=transcript,
                    canvas=canvas,
                    settings={**settings, "cue": cue},
                )
            )
        except KeyboardInterrupt:
            self._keep(session.results[before:], output, transcript)
            raise Interrupted("stopped") from None
        finally:
            self._drawing = None
        self._knows(session, result)
        self._keep([result], output, transcript)
        if result.exception is not None and (not result.ok or result.turns == 0):
            raise result.exception
        return result

    def _cue(
        self, session: Session, resolved: Resolved, namespace: dict[str, Any], replay: Replay
    ) -> Cue | None:
        if session.journal is None:
            if replay == "only":
                raise UsageError("--replay-only needs the journal: %config Alloy.journal = 'on'")
            return None
        return Cue(
            key=self._places.key(),
            references=fingerprint(resolved.names, namespace),
            replay=replay,
            note=fresh.note(self.lost(session)) if session.id in self._aged else "",
        )

    def _replay(self, flags: dict[str, Any]) -> Replay:
        wanted = [name for name in ("fresh", "replay", "replay_only") if flags.get(name)]
        if len(wanted) > 1:
            raise UsageError("--fresh, --replay and --replay-only: give one of them.")
        if "replay_only" in wanted:
            return "only"
        return "on" if "replay" in wanted or (self.replay and not wanted) else "off"

    def _knows(self, session: Session, result: Result) -> None:
        """Note whether the model knows by now that the kernel is new."""
        if "replayed" in result.metadata:
            self._aged.add(session.id)
        elif result.turns:
            self._aged.discard(session.id)

    def _tell(self, text: str) -> None:
        """Say what is wrong with the journal: in the cell that is drawn, or by itself."""
        if self._drawing is not None:
            self._drawing.notice("budget", text)
        else:
            status.say(text)

    def _turn_settings(self, flags: dict[str, Any], session: Session) -> dict[str, Any]:
        """Return what holds for this turn alone."""
        settings: dict[str, Any] = {"approve": asker(flags.get("approve") or self.approve)}
        if "model" in flags or "base_url" in flags:
            model, effort = split_effort(flags.get("model") or self.model)
            settings["provider"] = self._provider(model, flags.get("base_url"))
            if effort:
                settings["effort"] = effort
        if "think" in flags:
            settings["effort"] = flags["think"]
        if "max_cost" in flags:
            settings["budget"] = Budget(_dollars(flags["max_cost"]), within=session.agent.budget)
        return settings

    def _transcript(self, session: Session, settings: dict[str, Any]) -> Transcript:
        answering: Provider = settings.get("provider") or session.provider
        transcript = Transcript(
            window_of(answering), getattr(answering, "label", None), total=session.cost
        )
        for text in self._said:
            transcript.notice("info", text)
        self._said.clear()
        return transcript

    def _keep(self, results: list[Result], output: str | None, transcript: Transcript) -> None:
        for result in results:
            answers.drawn(result, transcript)
            if output is not None:
                self.shell.user_ns[output] = result

    def _nothing_asked(self, words: Words, cell: str | None) -> None:
        if cell is None and words.flags.keys() <= {"session"}:
            self._show_status(words)
            return
        form = "%%alloy [FLAGS]\nPROMPT" if cell is not None else "%alloy [FLAGS] PROMPT"
        raise UsageError(f"There is no prompt. Write:\n{form}\nSee %alloy help.")

    # --- sessions -----------------------------------------------------------------------------

    def session(self, name: str | None = None, *, replay: bool = False) -> Session:
        """Return the conversation of this name, begun when it is first used."""
        name = name or self.current
        if name not in self.sessions:
            self.sessions[name] = self._begun(name, self._journal(name, replay=replay))
            journal = self.sessions[name].journal
            if journal is not None and journal.head is not None:
                if self.resume == "auto":
                    self._resumed(self.sessions[name])
                else:  # it is there for its answers: the notebook begins anew
                    self.sessions[name].reset()
            else:
                self._unasked.add(self.sessions[name].id)
        return self.sessions[name]

    def _asked(self, name: str | None, *, replay: bool) -> Session:
        """Return the conversation to ask: for a replay the earlier one, if this one has no turn."""
        was_there = (name or self.current) in self.sessions  # a cell chose its model, for example
        session = self.session(name, replay=replay)
        if was_there and replay and session.id in self._unasked and session.journal is not None:
            earlier, trouble = self.archive.try_resume(session.name, {session.id})
            self._said = [trouble] if trouble else []  # not that %alloy resume goes on with it
            if earlier is not None:
                new = self.sessions[session.name] = self._begun(session.name, earlier)
                new.set_model(session.provider)
                new.reset()
                session.stop()
                session = new
        self._unasked.discard(session.id)
        return session

    def adopt(self, journal: Journal) -> Session:
        """Put a conversation from the journal into the place of the one with its name."""
        session = self._begun(journal.name, journal)
        old = self.sessions.get(journal.name)
        if old is not None:
            old.stop()
        self.sessions[journal.name] = session
        self.current = journal.name
        self._aged.add(session.id)
        return session

    def lost(self, session: Session) -> list[str]:
        """Return the names that a conversation knows, and the kernel does not."""
        return fresh.gone(session.messages, self.shell.user_ns)

    def _journal(self, name: str, *, replay: bool) -> Journal | None:
        """Return what keeps a conversation that begins: the earlier one, where it is to go on."""
        if not self._is_kept():
            return None
        is_open = {session.id for session in self.sessions.values()}
        if replay or self.resume == "auto":
            earlier, trouble = self.archive.try_resume(name, is_open)
            if earlier is not None:
                return earlier
            self._said += [trouble] if trouble else []
        elif self.resume == "ask":
            with contextlib.suppress(SessionError):
                info = self.archive.earlier(name, is_open)
                if info is not None:
                    self._said.append(_hint(info))
        return self.archive.new(name)

    def _is_kept(self) -> bool:
        return self.journal == "on" or (self.journal == "auto" and hasattr(self.shell, "kernel"))

    def _resumed(self, session: Session) -> None:
        self._aged.add(session.id)
        lost = self.lost(session)
        gone = f" Gone from memory: {', '.join(lost)}." if lost else ""
        self._said.append(
            f"The conversation of before goes on ({len(session.messages)} messages); the kernel "
            f"is fresh.{gone}"
        )

    def _begun(
        self, name: str, journal: Journal | None, record: SessionRecord | None = None
    ) -> Session:
        try:
            return self._made(name, journal, record)
        except BaseException:
            if journal is not None:
                journal.close()  # the shell keeps the error: nobody could resume it otherwise
            raise

    def _made(self, name: str, journal: Journal | None, record: SessionRecord | None) -> Session:
        model, effort = split_effort(self.model)
        settings: dict[str, Any] = {
            "provider": self._chosen or (provider(model) if model else default_provider()),
            "name": name,
            "journal": journal,
            "tools": [python_tool(self.shell), read, write, edit, bash],
            "system_prompt": self.system_prompt,
            "context_discovery": self.context_discovery,
            "max_turns": self.max_turns,
            "tool_timeout": self.tool_timeout,
            "effort": effort or self.effort or None,
            "max_cost": self.max_cost or None,
            "cache": self.cache or None,
        }
        session = Session(**settings) if record is None else Session.restore(record, **settings)
        if self.max_cost and record is None:  # what was spent elsewhere does not count here
            session.configure(budget=_budget(self.max_cost, session))
        return session

    def _provider(self, model: str, base_url: str | None) -> Provider:
        if not model:
            raise UsageError("--base-url needs a model: -m openai-compat/NAME --base-url URL")
        if base_url is None:
            return provider(model)
        if "/" not in model:
            model = f"openai-compat/{model}"
        return provider(model, base_url=base_url)

    def close(self) -> None:
        """Let go of the conversations; the extension is being unloaded."""
        self.sessions.clear()
        self.archive.close()

    @observe("nested_loop")
    def _allow_nested_loops(self, change: Any) -> None:
        if change["new"]:
            nesting.allow_nested_loops()

    @observe(
        *("model", "effort", "max_cost", "max_turns", "tool_timeout"),
        *("system_prompt", "context_discovery"),
    )
    def _apply(self, change: Any) -> None:
        """Let the sessions that are open follow ``%config Alloy``."""
        name, value = change["name"], change["new"]
        sessions = list(getattr(self, "sessions", {}).values())
        if name == "model":
            self._chosen = None
            if value and sessions:
                self._set_model(value, None, sessions)
            return
        for session in sessions:
            if name == "max_cost":
                session.configure(budget=_budget(value, session))
            else:
                session.configure(**{name: value if name != "effort" else value or None})

    def _set_model(self, spec: str, base_url: str | None, sessions: list[Session]) -> Provider:
        model, effort = split_effort(spec)
        chosen = self._provider(model, base_url)
        for session in sessions:
            session.set_model(chosen)
            if effort:
                session.configure(effort=effort)
        return chosen

    # --- commands -----------------------------------------------------------------------------

    @property
    def _commands(self) -> dict[str, Callable[[Words], None]]:
        return {
            "model": self._model,
            "models": self._models,
            "approve": self._approve,
            "skills": lambda _: status.show(status.skill_rows(skills())),
            "cost": self._cost,
            **session_words.commands(self),
            "import": self._import,
            "help": lambda _: status.say(usage()),
        }

    def _model(self, words: Words) -> None:
        """Show the model, or choose it: for one session that is named, else for all."""
        if not words.arguments:
            self._show_status(words)
            return
        spec, base_url = words.arguments[0], words.flags.get("base_url")
        named = words.flags.get("session")
        session = self.session(named)
        sessions = [session] if named else list(self.sessions.values())
        chosen = self._set_model(spec, base_url, sessions)
        if not named:
            # Sessions that begin later use the same, at the same address.
            if base_url is None:
                with contextlib.suppress(AlloyError):
                    self.set_trait("model", spec)
            self._chosen = chosen
        whose = f" in {named}" if named else ""
        status.say(f"{chosen.name}/{chosen.model} answers from now on{whose}.")

    def _models(self, words: Words) -> None:
        status.show(status.models(words.arguments[0] if words.arguments else ""))

    def _approve(self, words: Words) -> None:
        if words.arguments:
            policy = words.arguments[0]
            if policy not in POLICIES:
                raise UsageError(f"approve {policy}: use one of {', '.join(POLICIES)}.")
            self.approve = policy
        status.say(f"approve: {self.approve} — {status.POLICY_MEANING[self.approve]}")

    def _cost(self, _: Words) -> None:
        status.show(status.ledger(list(self.sessions.values())))

    def _import(self, words: Words) -> None:
        """Put an exported conversation in the place of one of this notebook, with its settings."""
        if not words.arguments:
            raise UsageError("What? %alloy import FILE.json")
        path = Path(words.arguments[0]).expanduser()
        name = words.flags.get("session") or self.current
        before = self.sessions.get(name)
        if before is not None and before.messages and "force" not in words.flags:
            raise UsageError(
                f"The conversation {name} has {len(before.messages)} messages. Put the file beside "
                "it with -s NAME, or in its place with --force."
            )
        record = export.read(path)
        journal = self.archive.new(name) if self._is_kept() else None
        session = self._begun(name, journal, record)
        if journal is not None and path.stat().st_size <= _KEPT_AT_ONCE:
            keep(record, journal)  # a longer one with its next turn, which then takes seconds
        if before is not None:
            session.set_model(before.provider)
            before.stop()
        self.sessions[name] = session
        answering = f"{session.provider.name}/{session.provider.model}"
        status.say(
            f"{len(session.messages)} messages of {path} are in {name} now; {answering} answers "
            "from here on, with the tools and settings of this notebook."
        )

    def _show_status(self, words: Words) -> None:
        session = self.session(words.flags.get("session"))
        status.show(status.of(session, self.approve))


def _budget(limit: float, session: Session) -> Budget | None:
    """Return a limit that counts what the session has spent already."""
    if not limit:
        return None
    budget = Budget(limit)
    budget.settle(Decimal(0), session.cost)
    return budget


def _hint(info: SessionInfo) -> str:
    turns = f"{info.turns} turn{'s' * (info.turns != 1)}"
    return f"An earlier conversation is kept ({turns}); %alloy resume goes on with it."


def _dollars(text: str) -> Decimal:
    try:
        return Decimal(text.lstrip("$"))
    except InvalidOperation:
        raise UsageError(f"--max-cost {text}: give US dollars, such as 0.50.") from None


def _unknown_names(names: tuple[str, ...]) -> str:
    listed = ", ".join(f"@{name}" for name in names)
    return f"{listed}: no such variable; sent as text"
